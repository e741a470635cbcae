"""Runs in half precision: figures beside float32's, and what the run's header says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation import RunOptions, evaluate
from evaluation.request.benchmark import BenchmarkError
from evaluation.run.prepare import prepare
from evaluation.suites.runner import run_methods
from results import RunDirectory

N_PICTURES = 4


def test_half_precision_equals_float32_on_the_miniature() -> None:
    """Stated tolerance: first proposals within 0.03 on average, 3/4 of the images with equal survivors, 90 % of the
    pixels with equal labels."""
    exact, half = (
        prepare(RunOptions("mini-voc", precision=precision, settings={"crf": None}))
        for precision in ("float32", "bfloat16")
    )
    samples = [exact.dataset[i] for i in range(N_PICTURES)]
    asked = [sample.image for sample in samples], [sample.queries for sample in samples]
    pairs = list(
        zip(
            exact.segmenter.segment_batch(*asked, trace=True),
            half.segmenter.segment_batch(*asked, trace=True),
            strict=True,
        )
    )
    assert any(one.kept for one, _ in pairs)
    for one, other in pairs:
        difference = np.abs(one.steps[0].proposals - other.steps[0].proposals).mean()
        assert 0 < difference < 0.03
    assert np.mean([one.kept == other.kept for one, other in pairs]) >= 0.75
    assert np.mean([(one.label_map == other.label_map).mean() for one, other in pairs]) >= 0.9


def test_precision_is_part_of_the_identity_and_in_the_header(tiny_run: Any, tmp_path: Path) -> None:
    headers = {
        precision: evaluate(tiny_run.options(limit=1, precision=precision, out=tmp_path / precision)).header
        for precision in ("float32", "bfloat16")
    }
    assert len({header.identity for header in headers.values()}) == 2
    for precision, header in headers.items():
        assert header.environment.dtype == header.identity_fields["dtype"] == precision


def test_another_method_has_float32_alone() -> None:
    with pytest.raises(BenchmarkError, match=r"^precision: expected float32 with --method maskclip, found 'bfloat16'"):
        prepare(RunOptions("mini-voc", method="maskclip", precision="bfloat16"))


def test_all_methods_are_refused_before_the_first_runs(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"^precision: expected float32 with --method"):
        run_methods(RunOptions("mini-voc", method="all", precision="bfloat16", out=tmp_path / "all"))
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("benchmark", ["mini-voc", "mini-refcoco"])
def test_threads_batches_and_workers_change_no_metric(benchmark: str, tmp_path: Path) -> None:
    """Two threads split sums otherwise, so that scores may differ in the last bits; counts do not."""
    settings = {"background": ["grass", "sky"], "templates": ["a photo of a {}."]}
    ways = [(1, 4, 0, 0), (2, 1, 2, 1), (1, 3, 1, 2)]
    before, found = torch.get_num_threads(), []
    try:
        for number, (threads, batch_size, workers, refine_workers) in enumerate(ways):
            torch.set_num_threads(threads)
            run = evaluate(
                RunOptions(
                    benchmark,
                    settings=settings,
                    limit=4,
                    batch_size=batch_size,
                    workers=workers,
                    refine_workers=refine_workers,
                    out=tmp_path / str(number),
                    quiet=True,
                )
            )
            records = RunDirectory(run.path).read_records()
            found.append((run.header.metrics, [(each.id, each.counts, each.queries_kept) for each in records]))
    finally:
        torch.set_num_threads(before)
    assert all(way == found[0] for way in found)
