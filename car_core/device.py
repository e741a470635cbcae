"""The device a user names, checked before any model is loaded."""

from __future__ import annotations

import torch

from car_core.errors import ModelError


def as_device(name: str | torch.device) -> torch.device:
    """The torch device ``name``: cpu, cuda or cuda:N. Raises ModelError for any other and for one that is not here."""
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ModelError(f"device: expected cpu, cuda or cuda:N, found {str(name)!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"device: expected one that is here, found {str(name)!r} with {torch.cuda.device_count()} GPUs"
        )
    return device
