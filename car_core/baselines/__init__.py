"""Other training-free segmenters on CLIP alone, behind the interface of CaR: one file each, by name in `BASELINES`.

>>> from car_core.baselines import load_baseline  # doctest: +SKIP
>>> load_baseline("naclip", weights="openai").segment(image, ["cat", "dog"]).label_map.shape  # doctest: +SKIP
(480, 640)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from car_core.baselines import clearclip, maskclip, naclip, plain, sclip
from car_core.baselines.base import BaselineSegmenter
from car_core.baselines.clip_es import ClipESSegmenter
from car_core.baselines.config import BaselineConfig, ClipESConfig, DenseConfig
from car_core.baselines.dense import DenseSegmenter
from car_core.weights import WeightsRecord, load_clip
from car_core.weights_names import model_of

__all__ = ["BASELINES", "Baseline", "BaselineConfig", "BaselineSegmenter", "load_baseline"]


@dataclass(frozen=True)
class Baseline:
    """A method's settings and how its segmenter is made of them: segmenter(config, clip=..., device=...)."""

    config: type[BaselineConfig]
    segmenter: Callable[..., BaselineSegmenter[Any]]


def _dense(module: Any, config: type[DenseConfig]) -> Baseline:
    return Baseline(config, partial(DenseSegmenter, attend=module.attend))


BASELINES: Mapping[str, Baseline] = {
    "clip": _dense(plain, plain.PlainConfig),
    "maskclip": _dense(maskclip, maskclip.MaskCLIPConfig),
    "sclip": _dense(sclip, sclip.SCLIPConfig),
    "clearclip": _dense(clearclip, clearclip.ClearCLIPConfig),
    "naclip": _dense(naclip, naclip.NACLIPConfig),
    "clip-es": Baseline(ClipESConfig, ClipESSegmenter),
}


def load_baseline(
    method: str | BaselineConfig,
    *,
    weights: str,
    device: str | torch.device = "cpu",
    load: Callable[..., tuple[nn.Module, WeightsRecord]] = load_clip,
) -> BaselineSegmenter[Any]:
    """The segmenter of a key of `BASELINES`, or of its configuration, on ``config.proposal_model``.

    weights: a tag, file, miniature or random:SEED (see ``car_core.weights``); the miniature brings its own
    architecture. load: reads a model as ``load_clip`` does. Raises KeyError for another method, ModelError when the
    model cannot be had.
    """
    config = BASELINES[method].config() if isinstance(method, str) else method  # type: ignore[call-arg]
    model = model_of(config.proposal_model, weights)
    clip, record = load(model, weights, role="proposal", device=device)
    config = config.model_copy(update={"proposal_model": model})
    segmenter = BASELINES[config.method].segmenter(config, clip=clip, device=device)
    segmenter.weights = (replace(record, role="proposal"),)
    return segmenter
