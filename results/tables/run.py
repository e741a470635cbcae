"""Tables of one run (next to the paper's rows, its metrics, its classes) and of several."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from results.paper.paper_tables import PaperRow, cautions, paper_rows
from results.run_directory.schema import PaperCell, RunHeader
from results.run_directory.store import RunDirectory, StoreError
from results.tables.columns import (
    DIFFERENCE,
    METHOD,
    METRIC,
    N_FAILED,
    N_SCORED,
    N_TOTAL,
    PACE,
    PERCENT,
    REMARKS,
    make_table,
    minus,
    reduction_notes,
    run_cells,
    to_percent,
)
from results.tables.render import Column, Table, escape_markdown, to_csv, to_markdown
from results.tables.run_notes import caveats, figure_of, method_label, remarks, run_facts
from results.tables.task_words import words_of
from support.files import write_atomically

# Rows of the paper that CaR competes with; other groups use labels or further training.
_PEER_GROUPS = {"training-free", "zero-shot"}
_MAX_FAILED_ROWS = 50


def comparison_table(header: RunHeader) -> Table:
    """This run next to the paper's rows.

    Columns: method, metric, percent, difference (to the paper's CaR row, or to CaR+SAM for a run with SAM),
    n_total, n_scored, n_failed, remarks. The run has a row for its task's headline figure (`task_words`), one for
    each of that figure's other reductions that differs, and the figures that go with it, without a difference.
    Remarks mark untrained weights and partial runs, which have no difference either (`run_notes.is_comparable`).

    A run without metrics yet gets a blank figure, and one without a place in the paper's tables is shown by itself.
    Raises ValueError: the paper's data has no such table or column, or the task is not registered.
    """
    cell = header.benchmark.paper
    words = words_of(header.benchmark.task)
    title = "This run"
    reference = reference_row(header, cell)
    paper = reference.value if reference else None
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    if cell:
        title = f"Next to the paper's Table {cell.table.removeprefix('table')}, column {cell.column}"
        metric = words.paper_heading or words.heading
        for row in _peers(cell):
            numbers = []
            for note in cautions(cell.table, cell.column, row.method):
                notes.append(f"Note {len(notes) + 1}: {note}")
                numbers.append(f"note {len(notes)}")
            cells = {"method": f"{row.method} (paper)", "metric": metric, "percent": row.value}
            rows.append({**cells, "difference": minus(row.value, paper), "remarks": ", ".join(numbers)})
    rows += _run_rows(header, paper)
    difference = replace(DIFFERENCE, heading=f"vs. {reference.method} (paper)") if reference else DIFFERENCE
    columns = (METHOD, METRIC, PERCENT, difference, N_TOTAL, N_SCORED, N_FAILED, REMARKS)
    return make_table(title, columns, rows, (*reduction_notes(header, rows), *notes))


def summary_table(headers: Sequence[RunHeader]) -> Table:
    """Several runs in one table, one row per run in the order given: its headline figure next to CaR's in the paper.

    Columns: benchmark, method, profile, metric, percent, paper (percent, blank where the paper has none), difference
    (of comparable runs), n_total, n_scored, n_failed, status, remarks (as in `comparison_table`). Notes say what each
    metric averages over.

    Raises ValueError: a run names a table or column that the paper's data does not have, or a task that is not
    registered.
    """
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for header in headers:
        reference = reference_row(header, header.benchmark.paper)
        paper = reference.value if reference else None
        about = {"benchmark": header.benchmark.name, "profile": header.config.get("profile", "")}
        rows.append({**about, **run_cells(header, reference=paper), "paper": paper, "status": header.status})
        notes += reduction_notes(header, rows[-1:])
    figures = (METRIC, PERCENT, Column("paper", "CaR (paper)", "percent"), DIFFERENCE, N_TOTAL, N_SCORED, N_FAILED)
    columns = (Column("benchmark"), METHOD, Column("profile"), *figures, Column("status"), REMARKS)
    return make_table("All runs", columns, rows, notes)


def metrics_table(header: RunHeader) -> Table:
    """Every metric of the run: name, percent, and what it averages over or why it is undefined."""
    undefined = header.metrics.get("undefined", {})
    rows = [
        {
            "metric": name,
            "percent": to_percent(figure_of(header, name)),
            "reduction": f"undefined: {undefined[name]}" if name in undefined else words,
        }
        for name, words in header.metrics.get("reductions", {}).items()
    ]
    counts = header.counts
    note = f"n_total {counts.n_total}, n_scored {counts.n_scored}, n_failed {counts.n_failed}"
    return make_table("Metrics", (METRIC, PERCENT, Column("reduction", "what it averages over")), rows, [note])


def per_class_table(header: RunHeader) -> Table:
    """IoU of every scored class in the order of the label space, with its pixel counts; none if all samples failed."""
    columns = (
        Column("label", kind="count"),
        Column("name", "class"),
        replace(PERCENT, heading="IoU %"),
        Column("target_pixels", kind="count"),
        Column("predicted_pixels", kind="count"),
        Column("intersection_pixels", "pixels in both", "count"),
        Column("reason", "remarks"),
    )
    classes = header.metrics.get("per_class", []) if header.counts.n_scored else []
    # The reason is the same for every absent class: once below the table, not in every row.
    rows = [
        {**entry, "percent": to_percent(entry["iou"]), "reason": "absent" if entry["reason"] else ""}
        for entry in classes
    ]
    reasons = dict.fromkeys(entry["reason"] for entry in classes if entry["reason"])
    return make_table("IoU by class", columns, rows, (f"absent: {reason}" for reason in reasons))


def failed_table(header: RunHeader) -> Table:
    """The failed samples with their errors, at most 50; the note says how many more there are."""
    failed = header.metrics.get("failed", [])
    rows = [
        {**entry, "counted": "empty prediction" if entry["counted_as_empty"] else "nothing: target unknown"}
        for entry in failed[:_MAX_FAILED_ROWS]
    ]
    n_more = len(failed) - len(rows)
    columns = (Column("id"), Column("error"), Column("counted", "counted as"))
    return make_table("Failed samples", columns, rows, [f"and {n_more} more in samples.jsonl"] if n_more else [])


def suite_table(title: str, headers: Mapping[str, RunHeader]) -> Table:
    """The runs of a suite by name, one row per headline figure and one per figure that goes with it.

    Columns: run, metric, percent, n_total, n_failed, samples per second (by the run's wall time: decoding to mask),
    remarks.
    """
    rows = [{**row, "run": name} for name, header in headers.items() for row in _run_rows(header)]
    notes = (note for header in headers.values() for note in reduction_notes(header, rows))
    return make_table(title, (Column("run"), METRIC, PERCENT, N_TOTAL, N_FAILED, PACE, REMARKS), rows, notes)


def run_tables(header: RunHeader) -> list[Table]:
    """All tables of a run, those without a row left out.

    They are shown below the `caveats` of the run, and the metrics' table says what each averages over, so the first
    table repeats neither.
    """
    first = comparison_table(header)
    said, caveat = reduction_notes(header, first.rows), remarks(header)
    rows = [{**row, "remarks": "" if row["remarks"] == caveat else row["remarks"]} for row in first.rows]
    first = replace(first, rows=tuple(rows), notes=tuple(note for note in first.notes if note not in said))
    tables = [first, metrics_table(header), per_class_table(header), failed_table(header)]
    return [table for table in tables if table.rows]


def run_markdown(header: RunHeader) -> str:
    """All tables of a run as one Markdown page."""
    title = f"# {escape_markdown(f'{header.benchmark.name}: {method_label(header)}')}\n"
    said = "; ".join(caveats(header))
    warning = [f"> **Read with care:** {escape_markdown(said)}.\n"] if said else []
    pages = [to_markdown(table) for table in run_tables(header)]
    # A list: in a table, one long line of packages would push every row past the width of a screen.
    facts = [
        f"- {escape_markdown(item)}: {escape_markdown(text, limit=1000)}" for item, text in run_facts(header).items()
    ]
    return "\n".join([title, *warning, *pages, "## Run", "", *facts, ""])


def write_tables(run_dir: str | os.PathLike[str], header: RunHeader) -> None:
    """Write table.md (all tables) and table.csv (the comparison) of a run.

    Raises StoreError: it names a table or column that the paper's data does not have, or a task that is not registered.
    """
    run = RunDirectory(run_dir)
    try:
        pages = {
            run.path / "table.md": run_markdown(header),
            run.path / "table.csv": to_csv(comparison_table(header)),
        }
    except ValueError as error:
        raise StoreError(f"{run.header_path}: {error}") from error
    for path, text in pages.items():
        write_atomically(path, text)


def reference_row(header: RunHeader, cell: PaperCell | None) -> PaperRow | None:
    """The paper's row to compare a run with: CaR's, or that of CaR+SAM for a run with SAM if it exists.

    None without a cell, and in an ablation, whose rows are all CaR. Raises ValueError if the paper's data has no such
    table or column.
    """
    rows = _peers(cell) if cell else []
    with_sam = [row for row in rows if row.method == "CaR+SAM" and header.config.get("sam")]
    candidates = with_sam or [row for row in rows if row.method == "CaR"]
    return candidates[0] if len(candidates) == 1 else None


def _peers(cell: PaperCell) -> list[PaperRow]:
    """The paper's rows to show, CaR's own last; rows without a figure in this column are left out."""
    ours = ("CaR", "CaR+SAM")
    rows = [
        row
        for row in paper_rows(cell.table, cell.column)
        if row.value is not None and (row.group is None or row.group in _PEER_GROUPS or row.method in ours)
    ]
    return sorted(rows, key=lambda row: ours.index(row.method) if row.method in ours else -1)


def _run_rows(header: RunHeader, reference: float | None = None) -> list[dict[str, Any]]:
    """The run's headline figure, its other reductions where they differ, and the figures that go with it.

    Those of further metrics, "NAME/FIGURE", come last. reference: percent, for the headline figure and its reductions.
    """
    words, metrics = words_of(header.benchmark.task), header.metrics
    variants = [name for name in words.variants if name in metrics and metrics[name] != metrics.get(words.headline)]
    companions = [name for name in words.companions if name in metrics]
    further = [name for name in metrics.get("reductions", {}) if "/" in name]
    references = dict.fromkeys((words.headline, *variants), reference)
    names = (*references, *companions, *further)
    label = method_label(header)
    return [{**run_cells(header, name, reference=references.get(name)), "method": label} for name in names]
