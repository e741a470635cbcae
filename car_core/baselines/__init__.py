"""Other training-free segmenters on CLIP, and SAM 3, with CaR's interface; `BASELINES` lists them by name.

>>> import numpy as np
>>> from car_core.baselines import load_baseline
>>> method = load_baseline("clip-es", weights="miniature")  # for photographs: weights="openai"
>>> method.segment(np.zeros((48, 64, 3), np.uint8), ["cat", "dog"]).label_map.shape
(48, 64)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from car_core.baselines import attention
from car_core.baselines.attention import AttentionSegmenter
from car_core.baselines.base import BaselineConfig, BaselineSegmenter, ImageSegmenter
from car_core.baselines.clip_es import ClipESConfig, ClipESSegmenter
from car_core.baselines.corrclip import CorrCLIPConfig, CorrCLIPSegmenter, load_trunk_and_sam
from car_core.baselines.dino import load_trunk
from car_core.baselines.lposs import LPOSSConfig, LPOSSSegmenter
from car_core.baselines.proxyclip import ProxyCLIPConfig, ProxyCLIPSegmenter
from car_core.baselines.resclip import ResCLIPConfig, ResCLIPSegmenter
from car_core.baselines.sam3 import SAM3Config, SAM3Segmenter, load_sam3
from car_core.baselines.sc_clip import SCCLIPConfig, SCCLIPSegmenter
from car_core.config import Config
from car_core.models.weights import WeightsRecord, load_clip
from car_core.names import model_of

__all__ = ["BASELINES", "Baseline", "BaselineConfig", "BaselineSegmenter", "load_baseline"]


def _load_none(config: Config, **_: Any) -> tuple[dict[str, Any], tuple[WeightsRecord, ...]]:
    return {}, ()


@dataclass(frozen=True)
class Baseline:
    """A method's configuration and segmenter: segmenter(config, device=..., clip=..., **extra models), without clip if
    the configuration is not a `BaselineConfig`.

    names: family of the class texts that its authors use (docs/vocabularies.md); None for CaR's.
    extra_model_settings: for each additional model, settings that select it; ``--method all`` skips the method if none
    of a model's is set. load_extra_models: (config, device=...) -> the models by the segmenter's arguments, and the
    records of their weights; raises ModelError.
    """

    config: type[Config]
    segmenter: Callable[..., ImageSegmenter[Any]]
    extra_model_settings: tuple[frozenset[str], ...] = ()
    load_extra_models: Callable[..., tuple[dict[str, Any], tuple[WeightsRecord, ...]]] = _load_none
    names: str | None = "sclip"


_TRUNK = frozenset({"dino_model", "dino_weights"})
BASELINES: Mapping[str, Baseline] = {
    "clip": Baseline(attention.PlainConfig, AttentionSegmenter),
    "maskclip": Baseline(attention.MaskCLIPConfig, AttentionSegmenter),
    "sclip": Baseline(attention.SCLIPConfig, AttentionSegmenter),
    "clearclip": Baseline(attention.ClearCLIPConfig, AttentionSegmenter, names="clearclip"),
    "naclip": Baseline(attention.NACLIPConfig, AttentionSegmenter),
    "proxyclip": Baseline(ProxyCLIPConfig, ProxyCLIPSegmenter, (_TRUNK,), load_trunk, names="proxyclip"),
    "lposs": Baseline(LPOSSConfig, LPOSSSegmenter, (_TRUNK,), load_trunk, names="lposs"),
    "corrclip": Baseline(
        CorrCLIPConfig, CorrCLIPSegmenter, (_TRUNK, frozenset({"sam.model"})), load_trunk_and_sam, names="corrclip"
    ),
    "resclip": Baseline(ResCLIPConfig, ResCLIPSegmenter),
    "sc-clip": Baseline(SCCLIPConfig, SCCLIPSegmenter),
    "clip-es": Baseline(ClipESConfig, ClipESSegmenter, names=None),
    "sam3": Baseline(SAM3Config, SAM3Segmenter, (frozenset({"model"}),), load_sam3, names="segearth"),
}


def load_baseline(
    method: str | Config, *, weights: str, device: str | torch.device = "cpu", one_mask: bool = False
) -> ImageSegmenter[Any]:
    """The segmenter of a key of `BASELINES`, or of its configuration, on ``config.proposal_model`` if it has one.

    weights: CLIP's, a tag, file, miniature or random:SEED (see ``car_core.models.weights``); the miniature has its
    own architecture. one_mask: whether all queries mean one thing: their ``merged_mask`` is the pixels of any of them.
    Raises KeyError for an unknown method, ModelError if a model is not available.
    """
    config: Any = BASELINES[method].config() if isinstance(method, str) else method
    baseline = BASELINES[config.method]
    models: dict[str, Any] = {}
    records: tuple[WeightsRecord, ...] = ()
    if isinstance(config, BaselineConfig):
        model = model_of(config.proposal_model, weights)
        models["clip"], record = load_clip(model, weights, role="proposal", device=device)
        config, records = config.model_copy(update={"proposal_model": model}), (record,)
    extra_models, extra_records = baseline.load_extra_models(config, device=device)
    segmenter = baseline.segmenter(config, **models, **extra_models, device=device)
    segmenter.weights, segmenter.one_mask = records + extra_records, one_mask
    return segmenter
