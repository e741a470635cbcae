"""Other training-free segmenters on CLIP, behind the interface of CaR: one file each, by name in `BASELINES`.

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

from car_core.baselines import clearclip, maskclip, naclip, plain, sclip
from car_core.baselines.attention import AttentionSegmenter
from car_core.baselines.base import BaselineSegmenter
from car_core.baselines.clip_es import ClipESSegmenter
from car_core.baselines.config import AttentionConfig, BaselineConfig, ClipESConfig
from car_core.baselines.proxyclip import ProxyCLIPConfig, load_proxyclip, load_trunk
from car_core.models.names import model_of
from car_core.models.weights import load_clip

__all__ = ["BASELINES", "Baseline", "BaselineConfig", "BaselineSegmenter", "load_baseline"]


@dataclass(frozen=True)
class Baseline:
    """A method's settings and how its segmenter is made of them: segmenter(config, clip=..., device=...).

    asks: settings that name a further model; where none of them is set, all methods together go without this one.
    load_asked: loads what they name, to find out beforehand whether it can be had; raises ModelError.
    """

    config: type[BaselineConfig]
    segmenter: Callable[..., BaselineSegmenter[Any]]
    asks: frozenset[str] = frozenset()
    load_asked: Callable[[Any], object] | None = None


def _dense(module: Any, config: type[AttentionConfig]) -> Baseline:
    return Baseline(config, partial(AttentionSegmenter, attend=module.attend))


BASELINES: Mapping[str, Baseline] = {
    "clip": _dense(plain, plain.PlainConfig),
    "maskclip": _dense(maskclip, maskclip.MaskCLIPConfig),
    "sclip": _dense(sclip, sclip.SCLIPConfig),
    "clearclip": _dense(clearclip, clearclip.ClearCLIPConfig),
    "naclip": _dense(naclip, naclip.NACLIPConfig),
    "proxyclip": Baseline(
        ProxyCLIPConfig, load_proxyclip, frozenset({"dino_model", "dino_weights"}), load_asked=load_trunk
    ),
    "clip-es": Baseline(ClipESConfig, ClipESSegmenter),
}


def load_baseline(
    method: str | BaselineConfig,
    *,
    weights: str,
    device: str | torch.device = "cpu",
) -> BaselineSegmenter[Any]:
    """The segmenter of a key of `BASELINES`, or of its configuration, on ``config.proposal_model``.

    weights: a tag, file, miniature or random:SEED (see ``car_core.models.weights``); the miniature brings its own
    architecture. Raises KeyError for another method, ModelError when a model cannot be had.
    """
    config = BASELINES[method].config() if isinstance(method, str) else method  # type: ignore[call-arg]
    model = model_of(config.proposal_model, weights)
    clip, record = load_clip(model, weights, role="proposal", device=device)
    config = config.model_copy(update={"proposal_model": model})
    segmenter = BASELINES[config.method].segmenter(config, clip=clip, device=device)
    segmenter.weights = (replace(record, role="proposal"), *segmenter.weights)
    return segmenter
