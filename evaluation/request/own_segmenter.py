"""A class from outside in the place of CaR: its results are checked, and what it does to the process is undone."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from car_core.engine.precision import fresh_torch
from car_core.models.weights import WeightsRecord
from car_core.queries import check_texts, require_any
from car_core.segmentation import Segmentation
from evaluation.request.own_methods import OwnConfig, constructor_arguments
from evaluation.tasks.task import find_task
from support.arrays import RGBArray
from support.console import TRACES
from support.errors import UserError
from support.text import described


class OwnMethodError(Exception):
    """A class from outside raised an error, took too long or gave no segmentation. One line naming class and method."""


class OwnMethodStartError(UserError):
    """A class from outside could not be built."""


class OwnSegmenter:
    """A segmenter as engines run it, of an object with `segment` or `segment_batch` (docs/own-methods.md).

    time_limit: seconds per image; None for no limit. Each call gets copies of the images and starts from torch's own
    settings and the same seeds of random, numpy and torch, so that no sample depends on those before it.
    """

    def __init__(
        self,
        made_by: type[Any],
        config: OwnConfig,
        weights: tuple[WeightsRecord, ...],
        device: str,
        task: str,
        time_limit: float | None = None,
    ) -> None:
        self.config, self.weights = config, weights
        self._made_by, self._name = made_by, made_by.__name__
        self._one_mask, self._time_limit = find_task(task).one_mask, time_limit
        given = constructor_arguments(made_by, settings=config.settings, device=device, task=task)
        try:
            with _contained():
                self._own = made_by(**given)
        except (Exception, SystemExit) as error:  # of the method
            raise OwnMethodStartError(f"{self._name}.__init__: {_described(error)}") from error

    def check_queries(self, queries: Sequence[str]) -> tuple[str, ...]:
        """The queries as a tuple. Raises QueryError for none, and for a blank or repeated one."""
        checked = check_texts("queries", queries)
        require_any(queries=checked)
        return checked

    def segment_batch(
        self, images: Sequence[RGBArray], queries_per_image: Sequence[Sequence[str]], *, trace: bool = False
    ) -> list[Segmentation]:
        """One segmentation per image. trace: of no use here. Raises QueryError and OwnMethodError."""
        queries = [list(self.check_queries(own)) for own in queries_per_image]
        if not hasattr(self._made_by, "segment_batch"):
            return [self._call("segment", image, own, own) for image, own in zip(images, queries, strict=True)]
        given = [image.copy() for image in images], [list(own) for own in queries]
        found, seconds = self._timed("segment_batch", len(images), *given)
        if not isinstance(found, (list, tuple)) or len(found) != len(images):
            what = f"{len(found)}" if isinstance(found, (list, tuple)) else type(found).__name__
            raise OwnMethodError(f"{self._name}.segment_batch: expected a list of {len(images)} results, found {what}")
        every = zip(images, queries, found, strict=True)
        return [self._checked("segment_batch", *each, seconds / len(images)) for each in every]

    def segment_two_pass_batch(
        self, images: Sequence[RGBArray], things: Sequence[str], stuff: Sequence[str], *, trace: bool = False
    ) -> list[Segmentation]:
        """One segmentation per image, of things and stuff together where the class does not distinguish them."""
        queries = self.check_queries([*things, *stuff])
        if not hasattr(self._made_by, "segment_things_and_stuff"):
            return self.segment_batch(images, [queries] * len(images))
        return [self._call("segment_things_and_stuff", image, queries, things, stuff) for image in images]

    def _call(self, method: str, image: RGBArray, queries: Sequence[str], *texts: Sequence[str]) -> Segmentation:
        found, seconds = self._timed(method, 1, image.copy(), *map(list, texts))
        return self._checked(method, image, queries, found, seconds)

    def _timed(self, method: str, n_images: int, *arguments: Any) -> tuple[Any, float]:
        start, limit = time.perf_counter(), self._time_limit and self._time_limit * n_images
        try:
            with _contained(), _alarm(limit):
                found = getattr(self._own, method)(*arguments)
        except (Exception, SystemExit, _TimeIsUpError) as error:  # of the method
            is_late = isinstance(error, _TimeIsUpError)
            reason = f"took longer than {limit:g} seconds" if is_late else _described(error)
            TRACES.debug("%s.%s:", self._name, method, exc_info=error)
            raise OwnMethodError(f"{self._name}.{method}: {reason}") from error
        return found, time.perf_counter() - start

    def _checked(
        self, method: str, image: RGBArray, queries: Sequence[str], found: object, seconds: float
    ) -> Segmentation:
        """What the class found as a segmentation of the image. Raises OwnMethodError unless it fits."""

        def require(is_right: bool, expected: str, actual: object) -> None:
            if not is_right:
                raise OwnMethodError(f"{self._name}.{method}: expected {expected}, found {actual}")

        size, n = image.shape[:2], len(queries)
        given = found if isinstance(found, Segmentation) else None
        if given:
            require(given.queries == tuple(queries), "a segmentation of the queries", list(given.queries))
            found = given.merged_mask if self._one_mask else given.label_map
        if isinstance(found, torch.Tensor):
            require(found.dtype != torch.bfloat16, "integers or booleans", found.dtype)
            found = found.detach().cpu().numpy()
        kinds, what = ("biu", "a bool mask or integer label map") if self._one_mask else ("iu", "an integer label map")
        require(isinstance(found, np.ndarray), f"{what} as an array or tensor", type(found).__name__)
        assert isinstance(found, np.ndarray)
        is_right = found.shape == size and found.dtype.kind in kinds
        require(is_right, f"{what} {list(size)}", f"{found.dtype} {list(found.shape)}")
        present = np.unique(found)
        outside = present[(present < 0) | (present > n)]
        require(not len(outside), f"labels 0..{n}, one per query", ", ".join(map(str, outside[:3])))
        labels, merged = found.astype(np.int32), found > 0 if self._one_mask else None  # copies
        if found.dtype.kind == "b":  # all queries are in the one mask
            kept, masks = tuple(range(n)) if merged is not None and merged.any() else (), np.stack([found] * n)
        else:
            kept = tuple(int(label) - 1 for label in present if label)
            masks = labels[None] == np.arange(1, n + 1)[:, None, None]
        if given:  # with its own scores, steps and overlapping masks
            fits = np.shape(given.masks) == (n, *size) and np.shape(given.scores) == (n,)
            require(fits, f"masks {[n, *size]} and {n} scores", [np.shape(given.masks), np.shape(given.scores)])
            require(all(0 <= i < n for i in given.kept), f"kept indices below {n}", given.kept)
            return replace(given, label_map=labels, merged_mask=merged, seconds={"method": seconds}, image=image)
        scores = np.zeros(n, np.float32)
        scores[list(kept)] = 1
        return Segmentation(
            tuple(queries), masks, scores, kept, labels, (), merged, seconds={"method": seconds}, image=image
        )


def _described(error: BaseException) -> str:
    """What was raised, and by which line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if len(frames) > 1 else ""
    return described(error) + where


@contextmanager
def _contained() -> Iterator[None]:
    """Torch as it comes and fixed seeds; afterwards settings, seeds and folder are as before.

    What is printed goes to standard error: it is not a result.
    """
    folder, states = os.getcwd(), (random.getstate(), np.random.get_state())  # noqa: NPY002 (of methods)
    with ExitStack() as stack:
        stack.callback(os.chdir, folder)
        stack.callback(random.setstate, states[0])
        stack.callback(np.random.set_state, states[1])
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(fresh_torch(inference=False))
        stack.enter_context(np.errstate())
        stack.enter_context(redirect_stdout(sys.stderr))
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(0)
        yield


class _TimeIsUpError(BaseException):
    """Not an Exception, so that a method's own handlers do not take it."""


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Raise _TimeIsUpError in the code within after `seconds`, and again each second until it ends.

    Python sees it between two of its steps: a call that never comes back from native code cannot be ended from here.
    Only a main thread has alarms, and Windows none: there is no limit elsewhere.
    """
    if not seconds or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        if is_within:
            raise _TimeIsUpError

    is_within, before = True, signal.signal(signal.SIGALRM, ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
            yield
        finally:
            is_within = False
    finally:  # also where it rang in the line above
        is_within = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)
