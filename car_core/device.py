"""The device a user names, checked before any model is loaded."""

from __future__ import annotations

import torch

from car_core.errors import ModelError


def as_device(name: str | torch.device) -> torch.device:
    """The torch device ``name`` (cpu, cuda, cuda:1). Raises ModelError if torch does not know or see it."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"device: expected cpu, cuda or cuda:N, found {name!r}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device: expected one that is here, found {name!r} with {torch.cuda.device_count()} GPUs")
    return device
