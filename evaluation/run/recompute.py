"""The figures of a run only from its records: no model, no data."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from typing import Any

from evaluation.tasks.extra_metrics import add_figures, recorded_figures
from evaluation.tasks.scorer import Scorer
from results import RunDirectory, RunHeader, SampleCounts, SampleRecord, StoreError, differences
from results.tables.golden import ROUNDING
from support import strict_json
from support.console import tell


def figures_of(
    store: RunDirectory, scorer: Scorer, records: dict[str, SampleRecord] | None = None
) -> tuple[dict[str, SampleRecord], dict[str, Any]]:
    """The records of a run by id, and its `metrics` and `counts` as in its header.

    records: those of the run; None to read them. Raises StoreError for damaged records, and for counts that are not the
    task's.
    """
    if records is None:
        records = {record.id: record for record in store.read_records()}
    failed = sum(record.status == "failed" for record in records.values())
    counts = SampleCounts(n_total=len(records), n_scored=len(records) - failed, n_failed=failed)
    try:
        metrics = scorer.summarize(records)
        if scorer.missing:
            add_figures(metrics, recorded_figures(store.header.metrics, scorer.missing))
    except Exception as error:  # counts are free-form in the schema, so edited ones break sums in any way
        reason = " ".join(str(error).split())
        raise StoreError(f"{store.samples_path}: expected counts of the task {scorer.task}, found {reason}") from error
    return records, {"metrics": metrics, "counts": counts}


def recompute(path: str | os.PathLike[str]) -> RunHeader:
    """The header of a run with the figures that its records give now; nothing is written.

    Raises StoreError for damaged files, and for a complete run whose run.json says anything else (but for the rounding
    of a sum): then one of the two was changed.
    """
    store = RunDirectory(path)
    header = store.read_header()
    _, found = figures_of(store, scorer_of(store, header))
    recomputed = header.model_copy(update=found)
    if header.status == "complete":
        _require_same_figures(store, header, recomputed)
    return recomputed


def scorer_of(store: RunDirectory, header: RunHeader) -> Scorer:
    """The scorer of a run's records; says which metrics cannot be computed here.

    Raises StoreError for an unknown task or label space.
    """
    try:
        scorer = Scorer.of_run(header)
    except Exception as error:  # the label space is free-form in the schema, so an edited one breaks in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{store.header_path}: benchmark: {reason}") from error
    for name, reason in scorer.missing.items():
        tell(f"notice: {store.path}: the figures of the metric {name} are not recomputed, because {reason}")
    return scorer


def require_unedited(store: RunDirectory, scorer: Scorer, ids: Collection[str]) -> None:
    """Raise StoreError where the files of a run over these samples, as its start found them, were edited.

    That is for a record that cannot be counted or is of another sample, and for a complete run with all its records
    whose run.json says anything else than they do.
    """
    if not store.records:
        return
    records, found = figures_of(store, scorer, store.records)
    own = set(ids)
    foreign = [sample_id for sample_id in records if sample_id not in own]
    if foreign:
        raise StoreError(
            f"{store.samples_path}: expected records of the run's samples, found {len(foreign)} of others, first "
            f"{foreign[0]!r}"
        )
    # Where records are gone there is nothing to compare with.
    if store.header.status == "complete" and len(records) == len(own):
        _require_same_figures(store, store.header, store.header.model_copy(update=found))


def _require_same_figures(store: RunDirectory, header: RunHeader, recomputed: RunHeader) -> None:
    recorded = _figures(header)
    changed = differences(recorded, _unless_rounding(recorded, _figures(recomputed)))
    if changed:
        raise StoreError(
            f"{store.samples_path}: expected the records behind {store.header_path.name}, found other figures: "
            f"{changed[0].replace(' there, ', ' in run.json, ').replace(' now', ' by the records')}"
            + (f", and {len(changed) - 1} more" if len(changed) > 1 else "")
        )


def _unless_rounding(recorded: Any, found: Any) -> Any:
    """What was found, with the recorded float in place of each that differs by no more than rounding."""
    if isinstance(recorded, float) and isinstance(found, float):
        return recorded if math.isclose(recorded, found, rel_tol=ROUNDING) else found
    if isinstance(recorded, dict) and isinstance(found, dict):
        return {key: _unless_rounding(recorded.get(key), value) for key, value in found.items()}
    if isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        return [_unless_rounding(*pair) for pair in zip(recorded, found, strict=True)]
    return found


def _figures(header: RunHeader) -> dict[str, Any]:
    # The words of the definitions are not figures: those of an older version are not a sign of an edit.
    metrics = {name: value for name, value in header.metrics.items() if name != "reductions"}
    fields = {"metrics": metrics, "counts": header.counts.model_dump()}
    # As read from a file: a tuple is a list there.
    figures: dict[str, Any] = strict_json.loads(strict_json.dumps(fields))
    return figures
