"""Methods side by side: runs of one benchmark, below the published figures of the same methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from results.paper.paper_tables import PeerRow, paper_rows, peer_rows
from results.run_directory.schema import RunHeader
from results.tables.columns import (
    DIFFERENCE,
    METHOD,
    METRIC,
    N_FAILED,
    PACE,
    PERCENT,
    REMARKS,
    make_table,
    reduction_notes,
    run_cells,
)
from results.tables.peers import GRADES
from results.tables.render import Column, Table
from results.tables.run_notes import method_name, user_settings

# By how open_clip's tags of weights begin: as published rows call them.
_WEIGHTS = {"openai": "OpenAI CLIP", "laion2b": "OpenCLIP", "metaclip": "MetaCLIP"}
# Which models a method runs with, and what is in its name.
_MODEL_SETTINGS = {"proposal_model", "dino_model", "dino_weights", "sam", "pamr_steps", "pixels"}


def methods_table(title: str, headers: Mapping[str, RunHeader]) -> Table:
    """Runs of one benchmark by method, below the published figures of the same methods, where there are any.

    Columns: method, metric (the task's headline figure), percent; where there are published figures, published
    (percent, of the method as its authors run it) and difference, of comparable runs; samples per second (by the
    run's wall time, encoding of texts and warm-up of models included), peak memory of the run's process (MiB),
    n_failed, remarks.
    """
    cell = next((header.benchmark.paper for header in headers.values() if header.benchmark.paper), None)
    benchmark = next((header.benchmark.name for header in headers.values()), "")
    names = {method_name(header) for header in headers.values()}
    peers = [row for row in peer_rows([benchmark]) if row.runs_as in names]
    of_paper = {row.method: row.value for row in paper_rows(cell.table, cell.column)} if cell else {}
    rows: list[dict[str, Any]] = []
    for row in peers:
        texts = [row.backbone, f"names {row.names}" if row.names else "", row.ran_by]
        text = f"{', '.join(filter(None, texts))}; grade {row.grade}"
        label = f"{row.runs_as} (published)"
        rows.append({"method": label, "metric": "mIoU", "percent": row.figures[benchmark], "remarks": text})
    notes: list[str] = []
    for header in headers.values():
        name, memory = method_name(header), header.memory.peak_rss_mib
        own = [row for row in peers if row.runs_as == name]
        figure = next((row.figures[benchmark] for row in own if _is_as_published(row, header)), None)
        figure = of_paper.get(name) if figure is None and not own else figure
        peak = None if memory is None else round(memory)
        rows.append({**run_cells(header, reference=figure), "published": figure, "memory": peak})
        notes += reduction_notes(header, rows[-1:])
    columns = (
        METHOD,
        METRIC,
        PERCENT,
        *((Column("published", "published %", "percent"), DIFFERENCE) if peers or of_paper else ()),
        PACE,
        Column("memory", "peak MiB", "count"),
        N_FAILED,
        REMARKS,
    )
    return make_table(title, columns, rows, (*notes, *([GRADES] if peers else [])))


def _is_as_published(row: PeerRow, header: RunHeader) -> bool:
    """Whether a run has the backbone and the class texts of a published row, and its authors' settings."""
    weights = next((entry.name for entry in header.weights if entry.role == "proposal"), "")
    tower = str(header.config.get("proposal_model")).removesuffix("-quickgelu")
    kind = next((name for tags, name in _WEIGHTS.items() if weights.startswith(tags)), None)
    names, asked = header.benchmark.names, header.request.get("names", "own")
    changed = {setting.partition("=")[0] for setting in user_settings(header)} - _MODEL_SETTINGS
    return (
        kind is not None
        and row.backbone.startswith(f"{kind} {tower[:-3]}/{tower[-2:]}")
        and (asked == "own" or (names is not None and names.name == row.names))
        and not changed
    )
