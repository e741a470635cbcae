"""Wall time by stage, kept with every segmentation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch

from car_core.engine.device import is_gpu

StageTimes: TypeAlias = dict[str, float]
"""Wall seconds by stage."""


clock = time.perf_counter
"""What times the stages; a benchmark may set that of processor time."""


@contextmanager
def timed(stage: str, device: torch.device, *times: StageTimes) -> Iterator[None]:
    """Add the block's wall time to ``stage`` of each of ``times``, in equal parts."""
    start = clock()
    try:
        yield
    finally:
        if is_gpu(device):
            torch.cuda.synchronize(device)
        share = (clock() - start) / len(times)
        for each in times:
            each[stage] = each.get(stage, 0.0) + share
