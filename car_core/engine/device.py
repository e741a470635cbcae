"""The device a user names, checked before any model is loaded, and how data gets there."""

from __future__ import annotations

import torch
from torch import Tensor

from car_core.errors import ModelError
from car_core.models.names import ALL_DEVICES, check_device_name, device_names


def as_device(name: str | torch.device) -> torch.device:
    """The torch device ``name``: cpu, cuda or cuda:N. Raises ModelError for any other name and for an absent GPU."""
    check_device_name(str(name))
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"device: expected one that is available here, found {str(name)!r} with {torch.cuda.device_count()} GPUs"
        )
    return device


def as_devices(text: str) -> list[str]:
    """The names in ``cpu``, ``cuda:1``, ``cuda:0,1`` or ``cuda:all``; raises ModelError as `as_device` for each."""
    names = device_names(text)
    if names == [ALL_DEVICES]:
        names = [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cuda"]
    for name in names:
        as_device(name)
    return names


def is_gpu(device: torch.device) -> bool:
    """Whether the device is massively parallel: then work is done in few large pieces."""
    return device.type == "cuda"


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device; to a GPU through page-locked memory, without waiting for the copy."""
    return values.pin_memory().to(device, non_blocking=True) if is_gpu(device) else values
