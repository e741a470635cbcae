"""CaR ("CLIP as RNN", CVPR 2024): segments any phrase in an image with two frozen CLIP models.

>>> import numpy as np
>>> from car_core import CaR, CaRConfig
>>> car = CaR.from_config(CaRConfig(theta=0.3), weights="miniature")  # for photographs: weights="openai"
>>> image = np.zeros((48, 64, 3), np.uint8)  # or the path of a file
>>> car.segment(image, ["Pepsi", "Coca Cola"]).label_map.shape
(48, 64)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from car_core.config import CaRConfig, CRFConfig, SAMConfig
from car_core.errors import ConfigError, ModelError, QueryError
from support.errors import ImageError

if TYPE_CHECKING:
    from car_core.car import CaR
    from car_core.segmentation import Segmentation, Step

__all__ = [
    "CRFConfig",
    "CaR",
    "CaRConfig",
    "ConfigError",
    "ImageError",
    "ModelError",
    "QueryError",
    "SAMConfig",
    "Segmentation",
    "Step",
]

# torch and open_clip take seconds to import; configuration and errors must not wait for them.
_LAZY = {"CaR": "car_core.car", "Segmentation": "car_core.segmentation", "Step": "car_core.segmentation"}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
