"""What devices are called. Told without torch, which takes seconds; `engine.device` knows whether one is here."""

from __future__ import annotations

import re

from car_core.errors import ModelError

_DEVICE = re.compile(r"(cpu|cuda)(:(0|[1-9]\d?))?")


def check_device_name(name: str) -> None:
    """Raise ModelError for a name that is none of cpu, cuda and cuda:N."""
    if not _DEVICE.fullmatch(name):
        raise ModelError(f"device: expected cpu, cuda or cuda:N, found {name!r}")
