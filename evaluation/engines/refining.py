"""Refinement in parallel with the model: processes turn proposals into masks while the next samples are segmented.

An image goes to its process through a pipe, and its masks come back with eight pixels per byte. For an image of VOC's
size that takes 2 ms next to half a second of CRF, so shared memory would gain almost nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from car_core.engine.stage_cache import StageCache
from car_core.images import size_of
from car_core.refine.crf import KernelCache
from car_core.refinement import CoarseSegmentation, RefineRequest, RefineResult, refine_masks
from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from evaluation.engines.worker_pool import Processes
from evaluation.tasks.segmenter import CoarseSegmenter, Segmenter, segment_samples
from support.text import described

REFINEMENT = "refinement"
"""Named in the error of a sample whose process was lost."""

Requests: TypeAlias = tuple[RefineRequest, ...]
Answer: TypeAlias = list[RefineResult] | str  # or the error that ended it


@dataclass(frozen=True)
class _CachedRequests:
    """Requests that a process works on or has answered, as an entry of a `StageCache`."""

    requests: Requests
    answer: Future[Answer]

    @property
    def nbytes(self) -> int:
        """Size in bytes of the answer and of the images in its cache key."""
        return sum(
            request.image.nbytes + len(request.proposals) * math.prod(size_of(request.image)) // 8
            for request in self.requests
        )

    @property
    def has_failed(self) -> bool:
        """Whether it ended without masks."""
        answer = self.answer
        return answer.done() and (answer.cancelled() or bool(answer.exception()) or isinstance(answer.result(), str))


@dataclass(frozen=True)
class PendingSegmentation:
    """The segmentation of an image whose refinement is under way. recalled: it was requested by another run."""

    coarse: CoarseSegmentation
    answer: Future[Answer]
    recalled: bool = False

    def result(self) -> Segmentation | str:
        """Wait for it, or for the error that ended it. Raises ProcessLost where its process died or took too long."""
        found = self.answer.result()
        if isinstance(found, str):
            return found
        return self.coarse.segmentation([replace(own, seconds=0.0) for own in found] if self.recalled else found)


class Refiner:
    """Segments samples and has processes refine the masks; without any, refines in this process.

    workers: processes; 0 for none. time_limit: seconds that a process may take per sample; None for no limit. As a
    context manager it starts and ends the processes.
    """

    def __init__(self, workers: int = 0, *, time_limit: float | None = None) -> None:
        self.workers = workers
        self._processes = Processes(_refine_all, workers, time_limit) if workers else None

    def __enter__(self) -> Refiner:
        if self._processes:
            self._processes.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._processes:
            self._processes.close()

    def segment(
        self, samples: Sequence[Sample], segmenter: Segmenter, label_space: LabelSpace, *, trace: bool = False
    ) -> Sequence[PendingSegmentation | Segmentation]:
        """One segmentation per sample, pending where a process refines it. The models run at once, and their errors
        are raised here.

        trace: keep every step's proposals, as `CaR.segment` does.
        """
        if self._processes is None or not isinstance(segmenter, CoarseSegmenter):
            return segment_samples(samples, segmenter, label_space, trace=trace)
        images, things, stuff = [sample.image for sample in samples], label_space.things, label_space.stuff
        if stuff:
            found = segmenter.segment_coarse_two_pass_batch(images, things, stuff, trace=trace)
        else:
            found = segmenter.segment_coarse_batch(images, [sample.queries for sample in samples], trace=trace)
        cache = getattr(segmenter, "cache", None)
        return [self._submit(coarse, self._processes, cache) for coarse in found]

    def _submit(
        self, coarse: CoarseSegmentation, processes: Processes[Requests, Answer], cache: StageCache | None
    ) -> PendingSegmentation:
        """cache: shared by the runs of this refiner; a request that failed for one run is repeated for the next."""
        requests = coarse.requests
        if cache is not None:
            inputs = tuple(item for request in requests for item in request.inputs)
            n_computed = cache.computed[REFINEMENT]
            cached = cache.get_or_compute(
                REFINEMENT, inputs, lambda: _CachedRequests(requests, processes.submit(requests))
            )
            was_cached = cache.computed[REFINEMENT] == n_computed
            if not cached.has_failed:
                return PendingSegmentation(coarse, cached.answer, recalled=was_cached)
        return PendingSegmentation(coarse, processes.submit(requests))


def default_workers(processes: int = 1) -> int:
    """Refining processes alongside a model: all cores but one, of each process's share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, cores // processes - 1)


# One per refining process.
_kernels = KernelCache()


def _refine_all(requests: Requests) -> Answer:
    torch.set_num_threads(1)  # the thread pool of the parent process does not survive the fork
    try:
        return [refine_masks(request, _kernels) for request in requests]
    except Exception as error:  # any failure is the sample's, not the run's
        return described(error)
