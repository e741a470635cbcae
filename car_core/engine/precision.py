"""Data types of the encoders' products.

In half precision the matrix products, convolutions and attention of both image encoders take and give half numbers.
The residual stream to which they are added, layer norms, the trunk's softmax, projections, text features, gradients,
CAMs, affinity and scores stay in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from car_core.config import Precision
from car_core.engine.device import is_gpu
from car_core.errors import ModelError

DTYPES: Mapping[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_MULTIPLYING = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """The torch type of a precision. Raises ModelError for one that is unknown or slower than float32 there."""
    usual = [name for name in DTYPES if name != "float16" or is_gpu(device)]
    if precision not in usual:
        raise ModelError(f"precision: expected one of {', '.join(usual)} on {device.type}, found {precision!r}")
    return DTYPES[precision]


def exact_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """Context manager that disables TF32 for convolutions, the only operation for which torch enables it by default."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if is_gpu(device) else nullcontext()


def in_precision(visual: Any, dtype: torch.dtype) -> Any:
    """A vision tower whose multiplying layers have this type: the tower itself for float32, otherwise a copy."""
    if dtype == torch.float32:
        return visual
    lowered = copy.deepcopy(visual)
    for module in lowered.modules():
        if isinstance(module, _MULTIPLYING):
            module.to(dtype)
    return lowered
