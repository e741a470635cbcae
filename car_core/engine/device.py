"""The device a user names, checked before any model is loaded; moving data there; timing work there."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from car_core.errors import ModelError
from car_core.names import ALL_DEVICES, AUTO, MINIATURE, check_device_name, device_names
from support.text import unwrapped

StageTimes: TypeAlias = dict[str, float]
"""Wall seconds by stage, kept with every segmentation."""


def as_device(name: str | torch.device) -> torch.device:
    """The torch device ``name``: auto, cpu, cuda, cuda:N or mps.

    auto: a CUDA GPU, else Apple's GPU (mps) if its results are the CPU's, else the CPU. Raises ModelError for any other
    name, for a GPU that is not available, and for mps if its results differ.
    """
    check_device_name(str(name))
    if str(name) == AUTO:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() and not mps_fault() else "cpu")
    device = torch.device(name)
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise ModelError("device: expected one that is available here, found 'mps' without an Apple GPU")
        if isinstance(name, str) and (fault := mps_fault()):
            raise ModelError(f"device: mps: expected the CPU's results, found {fault}; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        if not torch.cuda.device_count():
            raise ModelError("device: expected a CUDA GPU, found none; use --device cpu")
        raise ModelError(
            f"device: expected one that is available here, found {str(name)!r} with {torch.cuda.device_count()} GPUs"
        )
    return device


@functools.cache
def mps_fault(device: str = "mps") -> str | None:
    """What is wrong with CaR on a device, from a synthetic picture segmented there and on the CPU; None if nothing is.

    Scores may differ by 0.001, and masks in one pixel of a thousand.
    """
    from car_core.car import CaR  # which imports this module
    from car_core.config import CaRConfig

    across = np.linspace(0, 255, 96, dtype=np.uint8)
    picture = np.stack([np.tile(across, (64, 1)), np.tile(across[::-1], (64, 1)), np.full((64, 96), 90, np.uint8)], 2)
    config, queries = CaRConfig(profile="paper", theta=0.1), ("sun", "sea", "horse")
    try:
        found, expected = (
            CaR.from_config(config, weights=MINIATURE, device=torch.device(each)).segment(picture, queries)
            for each in (device, "cpu")
        )
    except (NotImplementedError, RuntimeError, TypeError) as error:  # an operation, or float64, is missing
        return unwrapped(error)
    if found.kept != expected.kept or float(np.abs(found.scores - expected.scores).max()) > 1e-3:
        return f"scores {found.scores.tolist()} in place of {expected.scores.tolist()}"
    different = float((found.masks != expected.masks).mean())
    return f"{different:.1%} of the pixels of masks different" if different > 1e-3 else None


def as_devices(text: str, *, compared: bool = True) -> list[str]:
    """The names in ``cpu``, ``cuda:1``, ``cuda:0,1`` or ``cuda:all``; for ``auto`` the one that it stands for.

    compared: whether `mps_fault` covers what will run, CaR without SAM; else ``auto`` is never mps. Raises ModelError
    as `as_device` for each.
    """
    names = device_names(text)
    if names == [AUTO]:
        names = ["cpu" if (name := str(as_device(AUTO))) == "mps" and not compared else name]
    if names == [ALL_DEVICES]:
        names = [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cuda"]
    for name in names:
        as_device(name)
    return names


def device_of_each(devices: Sequence[str], count: int | None, option: str) -> list[str]:
    """The device of each of `count` processes, by default one each. Raises ModelError, naming the option."""
    count = len(devices) if count is None else count
    if count < len(devices):
        raise ModelError(f"{option}: expected at least one per device, {len(devices)}, found {count}")
    return [devices[n % len(devices)] for n in range(count)]


def is_gpu(device: torch.device) -> bool:
    """Whether the device is massively parallel, so that work is done in few large pieces."""
    return device.type == "cuda"


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device; to a GPU through page-locked memory, without waiting for the copy."""
    return values.pin_memory().to(device, non_blocking=True) if is_gpu(device) else values


clock = time.perf_counter
"""What times the stages; a benchmark may set that of processor time."""


@contextmanager
def timed(stage: str, device: torch.device, *times: StageTimes) -> Iterator[None]:
    """Add the block's wall time to ``stage`` of each of ``times``, in equal parts; see `gpu_times_at_end`."""
    spans = getattr(_gpu_clock, "spans", None) if is_gpu(device) else None
    start = _gpu_mark(device) if spans is not None else clock()
    try:
        yield
    finally:
        if spans is not None:
            spans.append((start, _gpu_mark(device), stage, times))
        else:
            if is_gpu(device):
                torch.cuda.synchronize(device)
            _add_time(clock() - start, stage, times)


@contextmanager
def gpu_times_at_end() -> Iterator[None]:
    """Within, `timed` does not wait for a GPU, which notes the times itself; they are added when this ends."""
    spans: list[tuple[Any, Any, str, Sequence[StageTimes]]] = []
    _gpu_clock.spans = spans
    try:
        yield
    finally:
        _gpu_clock.spans = None
    for start, end, stage, times in spans:
        end.synchronize()
        _add_time(start.elapsed_time(end) / 1000, stage, times)


_gpu_clock = threading.local()


def _gpu_mark(device: torch.device) -> Any:
    mark = torch.cuda.Event(enable_timing=True)
    mark.record(torch.cuda.current_stream(device))
    return mark


def _add_time(seconds: float, stage: str, times: Sequence[StageTimes]) -> None:
    for each in times:
        each[stage] = each.get(stage, 0.0) + seconds / len(times)


def gpu_name(name: str) -> str:
    """A device for people: a CUDA GPU with its name."""
    return f"{name} ({torch.cuda.get_device_name(name)})" if name.startswith("cuda") else name


def auto_described(name: str) -> str:
    """The device that ``auto`` stands for, for people, and why it is not a faster one."""
    n_gpus = torch.cuda.device_count()
    if name == "cpu" and torch.backends.mps.is_available():
        return f"cpu (mps left out: {mps_fault() or 'it is compared with the CPU only for CaR without SAM'})"
    if name == "cpu":
        return "cpu (no GPU found)"
    return gpu_name(name) + (f", one of {n_gpus} GPUs (--device cuda:all takes all)" if n_gpus > 1 else "")
