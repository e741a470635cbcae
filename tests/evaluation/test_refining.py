"""Refinement in processes beside the model: the same records, and a lost process costs its sample alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_faults import Program, children_of, comparable, counts, is_running, lines, records, wait_until

from car_core import CaR
from car_core.refinement import refine_masks
from evaluation import RunOptions, evaluate
from evaluation.engines import refining
from evaluation.engines.refining import default_workers
from evaluation.engines.worker_pool import MAX_LOST_IN_A_ROW, LossCounter, WorkerError
from results import RunDirectory

SMALL: dict[str, Any] = {"templates": [], "background": ["grass"], "recurrence": "once", "crf": {"iterations": 2}}


def refining_at(monkeypatch: pytest.MonkeyPatch, height: int | None, fault: Callable[[], Any]) -> None:
    """Let a fault happen in the process that refines images of a height; None: of any."""

    def faulty(task: Any, *known: Any) -> Any:
        if height in (None, len(task.image)):
            fault()
        return refine_masks(task, *known)

    monkeypatch.setattr(refining, "refine_masks", faulty)


@pytest.mark.parametrize("benchmark", ["voc21", "mini-refcoco", "mini-context"])
def test_records_are_those_of_one_process(benchmark: str, tiny_run: Any, tmp_path: Any) -> None:
    """All in one CRF, a CRF a sentence, and two passes over an image."""
    own = replace(tiny_run.options(settings=SMALL), benchmark=benchmark)
    mini = RunOptions(benchmark, settings={**SMALL, "crf": {}}, limit=2, workers=0, quiet=True)
    options = own if benchmark == "voc21" else mini
    runs = [
        evaluate(replace(options, out=tmp_path / name, refine_workers=workers, batch_size=batch))
        for name, workers, batch in [("serial", 0, 4), ("one", 1, 2), ("three", 3, 1)][: 3 if options is own else 2]
    ]
    serial, *others = (run.path for run in runs)
    order = [record.id for record in RunDirectory(serial).read_records()]
    for path in others:
        assert comparable(path) == comparable(serial)
        assert counts(path) == counts(serial)
        assert [record.id for record in RunDirectory(path).read_records()] == order
        assert all(record.seconds["refine"] >= 0 for record in records(path).values())


def test_masks_come_back_whole_from_another_process() -> None:
    rng = np.random.default_rng(0)
    for shape in ((3, 7, 5), (1, 1, 1), (0, 4, 9)):
        masks = rng.random(shape) > 0.5
        there = refining.RefineResult(np.packbits(masks), masks.shape, 0.0)
        np.testing.assert_array_equal(there.masks, masks)
        assert there.masks.dtype == np.bool_


def test_refiner_that_dies_hangs_or_fails_costs_its_sample(
    tiny_run: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tiny_run.options(settings=SMALL, refine_workers=2, sample_timeout=2.0)

    def fault(task: Any, *known: Any) -> Any:
        faults = {28: lambda: os.kill(os.getpid(), signal.SIGKILL), 36: lambda: time.sleep(600), 44: lambda: 1 / 0}
        faults.get(len(task.image), lambda: None)()
        return refine_masks(task, *known)

    with monkeypatch.context() as patch:
        patch.setattr(refining, "refine_masks", fault)
        run = evaluate(options)
    assert {id_: record.error for id_, record in records(run.path).items() if record.status == "failed"} == {
        "2007_000001": "refinement: its process was killed by SIGKILL",
        "2007_000003": "refinement: took longer than 2 seconds",
        "2007_000005": "segmentation: ZeroDivisionError: division by zero",
    }
    assert (run.header.status, run.header.counts.n_total, run.header.counts.n_failed) == ("complete", 7, 3)
    assert evaluate(replace(options, sample_timeout=60.0)).header.counts.n_failed == 0  # the same command redoes them
    evaluate(replace(options, out=tmp_path / "straight", refine_workers=0))
    assert comparable(run.path) == comparable(tmp_path / "straight")


def test_refiners_that_all_die_end_the_run() -> None:
    losses = LossCounter("refinement")
    for lost in [*[True] * (MAX_LOST_IN_A_ROW - 1), False, *[True] * (MAX_LOST_IN_A_ROW - 1)]:
        losses.count(lost, "x")
    with pytest.raises(
        WorkerError, match=f"{MAX_LOST_IN_A_ROW} refinement processes in a row were lost, the last at y"
    ):
        losses.count(True, "y")


def test_signal_waits_for_refining_and_leaves_no_process(
    tiny_run: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tiny_run.options(settings=SMALL, refine_workers=2, batch_size=1)
    evaluate(replace(options, out=tmp_path / "straight"))
    with monkeypatch.context() as patch:
        refining_at(patch, None, lambda: time.sleep(0.3))
        patch.setattr(CaR, "segment_coarse_batch", _slowly(CaR.segment_coarse_batch))
        run = Program(tmp_path / "log", evaluate, options)
        wait_until(lambda: lines(tiny_run.out) > 0)
        children = children_of(run.process.pid or 0)
        run.send(signal.SIGINT)
        run.wait()
    assert len(children) == 2
    wait_until(lambda: not any(is_running(child) for child in children))
    assert 1 <= lines(tiny_run.out) < 7
    assert {record.status for record in records(tiny_run.out).values()} == {"ok"}
    evaluate(options)
    assert comparable(tiny_run.out) == comparable(tmp_path / "straight")
    assert counts(tiny_run.out) == counts(tmp_path / "straight")


def _slowly(call: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return call(*arguments, **options)

    return slow


def test_one_core_is_left_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, 0), (2, 1), (16, 15)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert default_workers() == expected
