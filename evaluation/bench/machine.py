"""Measurements of the machine: matrix products, processor time, memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

Result = TypeVar("Result")

MATRIX_SIZE = {"cpu": 1536, "cuda": 8192}


class Timing(NamedTuple):
    """Seconds of repeated runs. wall: wall time. busy: processor time of all threads; on a GPU, wall time."""

    wall: tuple[float, ...]
    busy: tuple[float, ...]


def spread(seconds: Sequence[float]) -> float:
    """Slowest over fastest, minus 1."""
    return max(seconds) / min(seconds) - 1


def timings(work: list[Callable[[], object]], repeats: int, device: torch.device) -> list[Timing]:
    """Time each piece of work, after one warm-up each; repeats are interleaved, so that a disturbance affects all."""
    for piece in work:
        piece()
    seen: list[list[tuple[float, float]]] = [[] for _ in work]
    for _ in range(repeats):
        for piece, rows in zip(work, seen, strict=True):
            start = time.perf_counter()
            _, busy = run_timed(piece, device)
            rows.append((time.perf_counter() - start, busy))
    return [Timing(*zip(*rows, strict=True)) for rows in seen]


def run_timed(work: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """The result of the work and its busy seconds: processor time, or wall time on a GPU."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    _synchronize(device)
    start = clock()
    result = work()
    _synchronize(device)
    return result, clock() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_product(device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Callable[[], object], float]:
    """A product of two square matrices, to be timed, and its number of floating-point operations."""
    size = MATRIX_SIZE.get(device.type, 1536)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return lambda: left @ right, 2.0 * size**3


def operations(work: Callable[[], object]) -> float:
    """Floating-point operations of one run in matrix products, convolutions and attention."""
    # torch counts only the attention kernels of GPUs.
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_operations}
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        work()
    return float(counter.get_total_flops())


def _attention_operations(
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *args: object,
    out_val: object = None,
    **kwargs: object,
) -> int:
    """Shapes are [B, H, L, d], [B, H, S, d] and [B, H, S, e]: query times key, and its weights times value."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])
