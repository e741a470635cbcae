"""Wall time by stage, kept with every segmentation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch

from car_core.engine.device import is_gpu

Seconds: TypeAlias = dict[str, float]
"""Wall time by stage; 0 for one that is not there yet, as `collections.defaultdict` has it."""


@contextmanager
def timed(seconds: Seconds, stage: str, device: torch.device) -> Iterator[None]:
    """Add the block's wall time to ``stage``."""
    with timed_all([seconds], stage, device):
        yield


@contextmanager
def timed_all(accounts: list[Seconds], stage: str, device: torch.device) -> Iterator[None]:
    """Add the block's wall time to ``stage`` of the accounts, in equal parts."""
    start = time.perf_counter()
    try:
        yield
    finally:
        if is_gpu(device):
            torch.cuda.synchronize(device)
        elapsed = time.perf_counter() - start
        for account in accounts:
            account[stage] += elapsed / len(accounts)
