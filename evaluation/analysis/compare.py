"""Comparison of two runs over the same samples: what differs, and whether by more than chance."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.request.options import CAR
from evaluation.run.recompute import figures_of, scorer_of
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.task import find_task
from results import RunDirectory, RunHeader, SampleRecord
from results.tables.run_notes import names_note, outside_facts
from results.tables.two_runs import Change, Interval, RunComparison, SampleChange, SwitchChange
from support.errors import UserError
from support.garbage import uncollected

RESAMPLES = 2000
LEVEL = 0.95


class ComparisonError(UserError, ValueError):
    """Two runs that cannot be compared. One line: what was expected, what was found."""


@uncollected()
def compare(
    path_a: str | os.PathLike[str], path_b: str | os.PathLike[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> RunComparison:
    """Compare run B with run A over the samples recorded in both.

    Every figure is recomputed from the records of those samples. The interval is a paired percentile bootstrap:
    samples are drawn with replacement (``seed``), the same ones for both runs, and the headline figure of each draw
    comes from the summed integer counts. Raises StoreError for a damaged run, ComparisonError for runs of different
    tasks or scored classes, or without common samples.
    """
    runs = RunDirectory(path_a), RunDirectory(path_b)
    a, b = (run.read_header() for run in runs)
    if a.benchmark.task != b.benchmark.task:
        raise ComparisonError(f"task: expected two runs of one task, found {a.benchmark.task} and {b.benchmark.task}")
    for field, words in (("labels", "classes"), ("scored_labels", "scored classes")):
        if a.benchmark.label_space.get(field) != b.benchmark.label_space.get(field):
            both = f"{a.benchmark.name} in {path_a}, {b.benchmark.name} in {path_b}"
            raise ComparisonError(f"cannot compare runs of different {words}: {both}")
    made_by: list[dict[str, tuple[str, str | None]]] = []
    for header in (a, b):
        sources = {own.name: own.source for own in header.plugins if own.kind == "metrics"}
        versions = header.identity_fields.get("metrics") or {}
        made_by.append({name: (version, sources.get(name)) for name, version in versions.items()})
    scorer = scorer_of(runs[0], a)
    shared = tuple(each for each in scorer.metrics if made_by[0][each.name] == made_by[1].get(each.name))
    scorer = replace(scorer, metrics=shared, missing={})
    (by_id_a, figures_a), (by_id_b, figures_b) = (figures_of(run, scorer) for run in runs)
    ids = [sample_id for sample_id in by_id_a if sample_id in by_id_b]
    if not ids:
        raise ComparisonError(f"samples: expected common ones, found none in {path_a} and {path_b}")
    records_a, records_b = [by_id_a[i] for i in ids], [by_id_b[i] for i in ids]
    before, now = (
        figures["metrics"]
        if len(records) == len(by_id)
        else scorer.summarize({record.id: record for record in records})
        for by_id, figures, records in ((by_id_a, figures_a, records_a), (by_id_b, figures_b, records_b))
    )
    pairs = zip(before.get("per_class", ()), now.get("per_class", ()), strict=True)
    classes = [Change(one["name"], one["iou"], other["iou"]) for one, other in pairs]
    made_a, made_b = _provenance(a), _provenance(b)
    values = [(name, made_a.get(name, "absent"), made_b.get(name, "absent")) for name in {**made_a, **made_b}]
    return RunComparison(
        names=(str(path_a), str(path_b)),
        headers=(a, b),
        n_common=len(ids),
        n_only=(len(by_id_a) - len(ids), len(by_id_b) - len(ids)),
        headline=scorer.words.headline,
        metrics=tuple(Change(name, before[name], now[name]) for name in before["reductions"]),
        interval=_interval(scorer, records_a, records_b, seed, resamples),
        classes=tuple(sorted(classes, key=lambda change: -abs(change.difference or 0.0))),
        samples=_sample_changes(scorer, records_a, records_b),
        switches=tuple(SwitchChange(name, one, other) for name, one, other in values if one != other),
    )


def _sample_changes(scorer: Scorer, a: Sequence[SampleRecord], b: Sequence[SampleRecord]) -> tuple[SampleChange, ...]:
    """The samples whose figures differ, the largest change first."""
    # The others have the same figure.
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if (x.counts, x.status) != (y.counts, y.status)]
    sides = zip(*pairs, strict=True)
    figures = zip(*(scorer.sample_figures(records).tolist() for records in sides), strict=True)
    changes = [
        SampleChange(
            record.id,
            None if math.isnan(x) else x,
            None if math.isnan(y) else y,
            kept_a=tuple(record.queries_kept),
            kept_b=tuple(other.queries_kept),
            status_a=record.status,
            status_b=other.status,
        )
        for (record, other), (x, y) in zip(pairs, figures, strict=True)
        if x != y and not (math.isnan(x) and math.isnan(y))
    ]
    return tuple(sorted(changes, key=lambda change: (-abs(change.difference or 0.0), change.name)))


def _interval(
    scorer: Scorer, a: Sequence[SampleRecord], b: Sequence[SampleRecord], seed: int, resamples: int
) -> Interval | None:
    """None for fewer than two samples, dependent ones (frames), or no resample with a figure in both runs."""
    if len(a) < 2 or find_task(scorer.task).resample is None:
        return None
    differences = bootstrap_differences(scorer, a, b, seed=seed, resamples=resamples)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return None
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), LEVEL, len(differences), seed)


def bootstrap_differences(
    scorer: Scorer,
    a: Sequence[SampleRecord],
    b: Sequence[SampleRecord],
    *,
    seed: int,
    resamples: int,
    cells: int = 2_000_000,
) -> npt.NDArray[np.float64]:
    """The headline figure of b minus that of a on each of the resamples, float64 [resamples], NaN if undefined.

    a, b: records of the same samples in the same order. cells: weights at a time, so that they do not fill the memory.
    """
    generator, n = np.random.default_rng(seed), len(a)
    resamplers = scorer.resampler(b), scorer.resampler(a)
    step = max(1, cells // n)
    parts = []
    with ThreadPoolExecutor(2) as pool:  # the products of large arrays run outside of Python's lock
        for start in range(0, resamples, step):
            drawn = generator.integers(n, size=(min(step, resamples - start), n))
            weights = np.array([np.bincount(each, minlength=n) for each in drawn], np.float64)
            of_b, of_a = [pool.submit(resampler, weights) for resampler in resamplers]
            parts.append(of_b.result() - of_a.result())
    return np.concatenate(parts)


def _provenance(header: RunHeader) -> dict[str, str]:
    """What produced a run, as shown: its switches first, then everything else that matters."""
    fields = header.identity_fields
    switches = {name: f"{_shown(value)} ({header.config_sources[name]})" for name, value in header.config.items()}
    switches |= {"method": str(header.config.get("method", CAR))}
    weights = {f"weights, {entry.role}": f"{entry.name} {(entry.sha256 or '')[:12]}" for entry in header.weights}
    weights |= outside_facts(header)
    packages = {f"package {name}": str(version) for name, version in (fields.get("packages") or {}).items()}
    protocol = {f"protocol {name}": str(value) for name, value in (fields.get("protocol") or {}).items()}
    metrics = {f"metric {name}": str(version) for name, version in (fields.get("metrics") or {}).items()}
    data = {"benchmark": header.benchmark.name, "data": header.benchmark.dataset.fingerprint[:12]}
    code = {"code": str(fields.get("code", "unknown"))[:12], "device": header.environment.device}
    precision = {"precision": header.environment.dtype}
    queries = {"query texts": _shown(header.benchmark.label_space.get("queries"))}
    if names := names_note(header):
        queries |= {"names": names}
    return {**switches, **data, **queries, **protocol, **metrics, **weights, **packages, **code, **precision}


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
