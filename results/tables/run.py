"""Tables of one run (beside the paper's rows, its metrics, its classes) and of several; pandas loads on first use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.paper.paper_tables import PaperRow, cautions, paper_rows
from results.run_directory.schema import PaperCell, RunHeader
from results.run_directory.store import RunDirectory, StoreError
from results.tables.render import Column, Table, escape_markdown, to_csv, to_markdown
from results.tables.run_notes import facts_markdown, failures, is_comparable, method_label, method_name, remarks
from results.tables.task_words import words_of
from support.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

# Rows of the paper that CaR competes with; other groups use labels or further training.
_PEER_GROUPS = {"training-free", "zero-shot"}
_MAX_FAILED_ROWS = 50
_ABSENT = {True: "absent", False: ""}


def comparison_table(header: RunHeader, *, cell: PaperCell | None) -> Table:
    """This run beside the paper's rows.

    Columns: method, metric, percent, difference (to the paper's CaR row, or to CaR+SAM for a run with SAM),
    n_total, n_scored, n_failed, remarks. The run has a row for its task's headline figure (`task_words`), one for
    each of that figure's other reductions that differs, and the figures that go with it, without a difference.
    Remarks mark untrained weights and partial runs, which have no difference either (`run_notes.is_comparable`).

    Args:
        header: the run; one without metrics yet gets a blank figure.
        cell: the paper's table and column, or None to show the run alone.

    Raises:
        ValueError: the paper's data has no such table or column, or the task is not registered.
    """
    peers = _peers(cell) if cell else []
    reference = reference_row(header, cell) if cell else None
    notes: list[str] = []
    words = words_of(header.benchmark.task)
    theirs = [_paper_row(row, cell, words.paper_heading or words.heading, notes) for row in peers if cell]
    ours, with_difference = _run_rows(header), is_comparable(header)
    rows = [*theirs, *ours]
    for row in [*theirs, *(row for row in ours if with_difference and row["metric"] not in words.companions)]:
        row["difference"] = _minus(row["percent"], reference.value if reference else None)
    versus = f"vs. {reference.method} (paper)" if reference else "difference"
    columns = (
        Column("method", "method"),
        Column("metric", "metric"),
        Column("percent", "%", "percent"),
        Column("difference", versus, "difference"),
        Column("n_total", "n_total", "count"),
        Column("n_scored", "n_scored", "count"),
        Column("n_failed", "n_failed", "count"),
        Column("remarks", "remarks"),
    )
    title = f"Beside the paper's Table {_number(cell)}, column {cell.column}" if cell else "This run"
    return Table(title, columns, typed_frame(rows, columns), (*reduction_notes(header, rows), *notes))


def summary_table(headers: Sequence[RunHeader]) -> Table:
    """Several runs in one table, a row a run in the order given: its headline figure beside CaR's in the paper.

    Columns: benchmark, method, profile, metric, percent, paper (percent, blank where the paper has none), difference
    (of comparable runs), n_total, n_scored, n_failed, status, remarks (as in `comparison_table`). Notes say what each
    metric averages over.

    Raises:
        ValueError: a run names a table or column that the paper's data does not have, or a task that is not registered.
    """
    columns = (
        Column("benchmark", "benchmark"),
        Column("method", "method"),
        Column("profile", "profile"),
        Column("metric", "metric"),
        Column("percent", "%", "percent"),
        Column("paper", "CaR (paper)", "percent"),
        Column("difference", "difference", "difference"),
        Column("n_total", "n_total", "count"),
        Column("n_scored", "n_scored", "count"),
        Column("n_failed", "n_failed", "count"),
        Column("status", "status"),
        Column("remarks", "remarks"),
    )
    rows = [_summary_row(header) for header in headers]
    notes = dict.fromkeys(
        note for header, row in zip(headers, rows, strict=True) for note in reduction_notes(header, [row])
    )
    return Table("All runs", columns, typed_frame(rows, columns), tuple(notes))


def metrics_table(header: RunHeader) -> Table:
    """Every metric of the run: name, percent, and what it averages over or why it is undefined."""
    undefined = header.metrics.get("undefined", {})
    rows = [
        {
            "metric": name,
            "percent": to_percent(header.metrics.get(name)),
            "reduction": f"undefined: {undefined[name]}" if name in undefined else words,
        }
        for name, words in header.metrics.get("reductions", {}).items()
    ]
    columns = (
        Column("metric", "metric"),
        Column("percent", "%", "percent"),
        Column("reduction", "what it averages over"),
    )
    counts = header.counts
    note = f"n_total {counts.n_total}, n_scored {counts.n_scored}, n_failed {counts.n_failed}"
    return Table("Metrics", columns, typed_frame(rows, columns), (note,))


def per_class_table(header: RunHeader) -> Table:
    """IoU of every scored class in the order of the label space, with the pixels behind it."""
    columns = (
        Column("label", "label", "count"),
        Column("name", "class"),
        Column("percent", "IoU %", "percent"),
        Column("target_pixels", "target pixels", "count"),
        Column("predicted_pixels", "predicted pixels", "count"),
        Column("intersection_pixels", "pixels in both", "count"),
        Column("reason", "remarks"),
    )
    classes = header.metrics.get("per_class", [])
    # The reason is the same for every such class: once below the table, not in every row.
    rows = [
        {**entry, "percent": to_percent(entry["iou"]), "reason": _ABSENT[bool(entry["reason"])]} for entry in classes
    ]
    reasons = dict.fromkeys(entry["reason"] for entry in classes if entry["reason"])
    return Table("IoU by class", columns, typed_frame(rows, columns), tuple(f"absent: {reason}" for reason in reasons))


def failed_table(header: RunHeader) -> Table:
    """The failed samples with their errors, at most 50; the note says how many more there are."""
    columns = (Column("id", "id"), Column("error", "error"), Column("counted", "counted as"))
    failed = header.metrics.get("failed", [])
    rows = [
        {**entry, "counted": "empty prediction" if entry["counted_as_empty"] else "nothing: target unknown"}
        for entry in failed[:_MAX_FAILED_ROWS]
    ]
    n_more = len(failed) - len(rows)
    notes = (f"and {n_more} more in samples.jsonl",) if n_more else ()
    return Table("Failed samples", columns, typed_frame(rows, columns), notes)


def suite_table(title: str, headers: Mapping[str, RunHeader]) -> Table:
    """The runs of a suite by name, a row a headline figure and a row each figure that goes with it.

    Columns: run, metric, percent, n_total, n_failed, samples a second (decoding to mask, as the run's wall time has
    it), remarks.
    """
    columns = (
        Column("run", "run"),
        Column("metric", "metric"),
        Column("percent", "%", "percent"),
        Column("n_total", "n_total", "count"),
        Column("n_failed", "n_failed", "count"),
        Column("pace", "samples/s", "rate"),
        Column("remarks", "remarks"),
    )
    rows = [{**row, "run": name, "pace": pace(header)} for name, header in headers.items() for row in _run_rows(header)]
    notes = dict.fromkeys(note for header in headers.values() for note in reduction_notes(header, rows))
    return Table(title, columns, typed_frame(rows, columns), tuple(notes))


def pace(header: RunHeader) -> float | None:
    """Samples a second of a run, by its wall time; None for one that has not begun."""
    seconds = header.timings.wall_seconds
    return header.counts.n_total / seconds if seconds else None


def run_tables(header: RunHeader) -> list[Table]:
    """All tables of a run, those without a row left out."""
    tables = [comparison_table(header, cell=header.benchmark.paper), metrics_table(header)]
    tables += [per_class_table(header), failed_table(header)]
    return [table for table in tables if len(table.frame)]


def run_markdown(header: RunHeader) -> str:
    """All tables of a run as one Markdown page."""
    title = f"# {escape_markdown(f'{header.benchmark.name}: {method_label(header)}')}\n"
    cautious = "; ".join(filter(None, [remarks(header), failures(header)]))
    warning = [f"> **Read with care:** {escape_markdown(cautious)}.\n"] if cautious else []
    pages = [to_markdown(table) for table in run_tables(header)]
    return "\n".join([title, *warning, *pages, facts_markdown(header)])


def write_tables(run_dir: str | os.PathLike[str], header: RunHeader | None = None) -> tuple[Path, Path]:
    """Write table.md (all tables) and table.csv (the comparison) from run.json or `header`; returns both paths.

    Raises:
        StoreError: run.json is missing or unreadable, or names a table or column that the paper's data does not have,
            or a task that is not registered.
    """
    run = RunDirectory(run_dir)
    header = header or run.read_header()
    try:
        pages = {
            run.path / "table.md": run_markdown(header),
            run.path / "table.csv": to_csv(comparison_table(header, cell=header.benchmark.paper)),
        }
    except ValueError as error:
        raise StoreError(f"{run.header_path}: {error}") from error
    for path, text in pages.items():
        write_atomically(path, text)
    markdown, csv = pages
    return markdown, csv


def _peers(cell: PaperCell) -> list[PaperRow]:
    """The paper's rows to show, CaR's own last; rows without a figure in this column are left out."""
    rows = [
        row
        for row in paper_rows(cell.table, cell.column)
        if row.value is not None and (row.group is None or row.group in _PEER_GROUPS or _is_car(row))
    ]
    return sorted(rows, key=lambda row: (_is_car(row), len(row.method) if _is_car(row) else 0))


def _is_car(row: PaperRow) -> bool:
    return row.method in ("CaR", "CaR+SAM")


def reference_row(header: RunHeader, cell: PaperCell) -> PaperRow | None:
    """The paper's row to measure a run against: CaR's, or that of CaR+SAM for a run with SAM where there is one.

    None in an ablation, whose rows are all CaR. Raises ValueError if the paper's data has no such table or column.
    """
    rows = _peers(cell)
    with_sam = [row for row in rows if row.method == "CaR+SAM" and header.config.get("sam")]
    candidates = with_sam or [row for row in rows if row.method == "CaR"]
    return candidates[0] if len(candidates) == 1 else None


def _paper_row(row: PaperRow, cell: PaperCell, metric: str, notes: list[str]) -> dict[str, Any]:
    numbers = []
    for note in cautions(cell.table, cell.column, row.method):
        notes.append(f"Note {len(notes) + 1}: {note}")
        numbers.append(f"note {len(notes)}")
    return {
        "method": f"{row.method} (paper)",
        "metric": metric,
        "percent": row.value,
        "remarks": ", ".join(numbers),
    }


def _summary_row(header: RunHeader) -> dict[str, Any]:
    cell, metric = header.benchmark.paper, words_of(header.benchmark.task).headline
    reference = reference_row(header, cell) if cell else None
    percent, paper = to_percent(header.metrics.get(metric)), reference.value if reference else None
    return {
        "benchmark": header.benchmark.name,
        "method": method_name(header),
        "profile": header.config.get("profile", ""),
        "metric": metric,
        "percent": percent,
        "paper": paper,
        "difference": _minus(percent, paper) if is_comparable(header) else None,
        **header.counts.model_dump(),
        "status": header.status,
        "remarks": remarks(header),
    }


def _run_rows(header: RunHeader) -> list[dict[str, Any]]:
    words = words_of(header.benchmark.task)
    figure = header.metrics.get(words.headline)
    differing = [name for name in words.variants if name in header.metrics and header.metrics[name] != figure]
    companions = [name for name in words.companions if name in header.metrics]
    return [
        {
            "method": method_label(header),
            "metric": name,
            "percent": to_percent(header.metrics.get(name)),
            **header.counts.model_dump(),
            "remarks": remarks(header),
        }
        for name in (words.headline, *differing, *companions)
    ]


def reduction_notes(header: RunHeader, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What each metric of the rows averages over, a sentence each."""
    reductions = header.metrics.get("reductions", {})
    return [f"{row['metric']}: {reductions[row['metric']]}." for row in rows if row["metric"] in reductions]


def _number(cell: PaperCell) -> str:
    return cell.table.removeprefix("table")


def to_percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _minus(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value - reference


_DTYPES = {"text": "object", "count": "Int64"}


def typed_frame(rows: list[dict[str, Any]], columns: tuple[Column, ...]) -> pd.DataFrame:
    """A frame of these columns, each of the type that its kind is shown from; missing cells are blank."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=[column.key for column in columns])
    typed: pd.DataFrame = frame.astype({column.key: _DTYPES.get(column.kind, "float64") for column in columns})
    return typed
