"""Refinement beside the model: proposals become masks in processes of their own while the next samples are segmented.

An image goes to its process through a pipe, and its masks come back with eight pixels a byte: for an image of VOC's
size that is 2 ms beside half a second of CRF, so shared cache has next to nothing to win.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TypeAlias

import torch

from car_core.engine.refinement import CoarseSegmentation, RefineRequest, RefineResult, refine_masks
from car_core.engine.stage_cache import StageCache
from car_core.images import size_of
from car_core.refine.crf import KernelCache
from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from evaluation.engines.decoding import described
from evaluation.engines.processes import Processes
from evaluation.tasks.segmenter import CoarseSegmenter, Segmenter, segment_samples, segment_samples_coarse

STAGE = "refinement"
"""Stands in the error of a sample whose process was lost."""

Requests: TypeAlias = tuple[RefineRequest, ...]
Answer: TypeAlias = list[RefineResult] | str  # or the error it ended with


class RefinementError(Exception):
    """Refinement of a sample raised an error; the message names it."""


@dataclass(frozen=True)
class _CachedRequests:
    """Requests that a process works on or has answered, as a `StageCache` keeps them."""

    requests: Requests
    answer: Future[Answer]

    @property
    def nbytes(self) -> int:
        """Size of the answer in bytes, and of the images it is found by."""
        return sum(
            request.image.nbytes + len(request.proposals) * math.prod(size_of(request.image)) // 8
            for request in self.requests
        )

    @property
    def has_failed(self) -> bool:
        """Whether there is an answer, and it is none."""
        answer = self.answer
        return answer.done() and (answer.cancelled() or bool(answer.exception()) or isinstance(answer.result(), str))


@dataclass(frozen=True)
class PendingSegmentation:
    """A segmentation to come, of an image whose refinement will be answered. recalled: or was, for another run."""

    coarse: CoarseSegmentation
    answer: Future[Answer]
    recalled: bool = False

    def is_ready(self) -> bool:
        """Whether `result` would not wait."""
        return self.answer.done()

    def result(self) -> Segmentation:
        """Wait for it. Raises ProcessLost where its process died or took too long, and RefinementError."""
        found = self.answer.result()
        if isinstance(found, str):
            raise RefinementError(found)
        return self.coarse.segmentation([replace(own, seconds=0.0) for own in found] if self.recalled else found)


@dataclass(frozen=True)
class ReadySegmentation:
    """A segmentation that is there, as `PendingSegmentation` would be."""

    segmentation: Segmentation

    def is_ready(self) -> bool:
        """Yes."""
        return True

    def result(self) -> Segmentation:
        """The segmentation."""
        return self.segmentation


class Refiner:
    """Segments samples up to the refinement, which it leaves to processes; without any it is done here and now.

    workers: processes; 0 for none. time_limit: seconds that a sample may take in one; None for no limit. A context,
    which ends the processes.
    """

    def __init__(self, workers: int = 0, *, time_limit: float | None = None) -> None:
        self.workers = workers
        self._processes = Processes(_refine_all, workers, time_limit) if workers else None

    def __enter__(self) -> Refiner:
        if self._processes:
            self._processes.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._processes:
            self._processes.close()

    def segment(
        self, samples: Sequence[Sample], segmenter: Segmenter, label_space: LabelSpace, *, trace: bool = False
    ) -> Sequence[PendingSegmentation | ReadySegmentation]:
        """A segmentation to come of each sample. The model's part is done at once, and what goes wrong in it raises.

        trace: keep every step's proposals, as `CaR.segment` does.
        """
        if self._processes is None or not isinstance(segmenter, CoarseSegmenter):
            return [ReadySegmentation(found) for found in segment_samples(samples, segmenter, label_space, trace=trace)]
        coarse = segment_samples_coarse(samples, segmenter, label_space, trace=trace)
        cache = getattr(segmenter, "cache", None)
        return [self._submit(each, self._processes, cache) for each in coarse]

    def _submit(
        self, coarse: CoarseSegmentation, processes: Processes[Requests, Answer], cache: StageCache | None
    ) -> PendingSegmentation:
        """cache: of runs that share this refiner; what failed for one is tried again for the next."""
        requests = coarse.requests
        if cache is None:
            return PendingSegmentation(coarse, processes.submit(requests))
        before, inputs = cache.computed[STAGE], tuple(item for request in requests for item in request.inputs)
        cached = cache.get_or_compute(STAGE, inputs, lambda: _CachedRequests(requests, processes.submit(requests)))
        if cached.has_failed:
            return PendingSegmentation(coarse, processes.submit(requests))
        return PendingSegmentation(coarse, cached.answer, recalled=cache.computed[STAGE] == before)


class Refiners:
    """One `Refiner` of each kind for runs that go side by side. A context, which ends their processes."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._refiners: dict[tuple[int, float | None], Refiner] = {}

    def get(self, workers: int, time_limit: float | None) -> Refiner:
        """The refiner with so many processes and this limit, started when it is first asked for."""
        kind = workers, time_limit
        if kind not in self._refiners:
            self._refiners[kind] = self._open.enter_context(Refiner(workers, time_limit=time_limit))
        return self._refiners[kind]

    def __enter__(self) -> Refiners:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def default_workers() -> int:
    """Refining processes beside a model: the cores but one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, cores - 1)


# Of the refining process that this is.
_kernels = KernelCache()


def _refine_all(requests: Requests) -> Answer:
    torch.set_num_threads(1)  # the thread pool of the process that this one was forked from has no threads here
    try:
        return [refine_masks(request, _kernels) for request in requests]
    except Exception as error:  # whatever it is, it is the sample's
        return described(error)
