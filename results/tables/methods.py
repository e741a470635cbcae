"""Methods side by side: runs of one benchmark, and the published figures of newer training-free methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from results.paper.paper_tables import paper_rows, peer_rows
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
    minus,
    reduction_notes,
    run_cells,
)
from results.tables.render import Column, Table
from results.tables.run_notes import is_comparable

_GRADES = (
    "Grade of a published figure: A, the authors' repository or paper; B, quoted by another paper; C, re-run by others."
)


def methods_table(title: str, headers: Mapping[str, RunHeader]) -> Table:
    """Runs of one benchmark by method, below the published figures of the same column, where there are any.

    Columns: method, metric (the task's headline figure), percent; where there are published figures, published
    (percent, of the same method under the same name) and difference, of comparable runs; samples per second (by the
    run's wall time, encoding of texts and warm-up of models included), peak memory of the run's process (MiB),
    n_failed, remarks.
    """
    cell = next((header.benchmark.paper for header in headers.values() if header.benchmark.paper), None)
    peers = peer_rows(cell.column) if cell else ()
    published: dict[str, float | None] = {peer.method: peer.value for peer in peers}
    if cell:
        rows_of_paper = paper_rows(cell.table, cell.column)
        published |= {row.method: row.value for row in rows_of_paper if row.value is not None}
    rows: list[dict[str, Any]] = []
    for peer in peers:
        models = " with ".join(filter(None, [peer.backbone, peer.helpers]))
        method, text = f"{peer.method} (published)", f"{models}; grade {peer.grade}"
        rows.append({"method": method, "metric": "mIoU", "percent": peer.value, "remarks": text})
    notes: list[str] = []
    for header in headers.values():
        cells, memory = run_cells(header), header.memory.peak_rss_mib
        figure = published.get(cells["method"])
        difference = minus(cells["percent"], figure) if is_comparable(header) else None
        peak = None if memory is None else round(memory)
        rows.append({**cells, "published": figure, "difference": difference, "memory": peak})
        notes += reduction_notes(header, [cells])
    columns = (
        METHOD,
        METRIC,
        PERCENT,
        *((Column("published", "published %", "percent"), DIFFERENCE) if published else ()),
        PACE,
        Column("memory", "peak MiB", "count"),
        N_FAILED,
        REMARKS,
    )
    return make_table(title, columns, rows, (*dict.fromkeys(notes), *([_GRADES] if peers else [])))


def peer_tables(headers: Iterable[RunHeader]) -> dict[str, Table]:
    """For each column of the paper that the runs have: newer methods' figures and the runs', in rising order.

    Keys: "peers-voc21" and the like.
    Columns: method, backbone, helpers, percent, grade, source. Columns without a peer are left out.
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    for header in headers:
        if header.benchmark.paper:
            cells = run_cells(header)
            text = "; ".join(filter(None, ["this run", cells["remarks"]]))
            runs.setdefault(header.benchmark.paper.column, []).append({**cells, "source": text})
    backbone, helpers, grade, source = (Column(key, key) for key in ("backbone", "helpers", "grade", "source"))
    columns, tables = (METHOD, backbone, helpers, PERCENT, grade, source), {}
    for column, ours in runs.items():
        if peers := peer_rows(column):
            rows = [*({**peer._asdict(), "percent": peer.value} for peer in peers), *ours]
            rows.sort(key=lambda row: -1.0 if row["percent"] is None else row["percent"])
            tables[f"peers-{column}"] = make_table(f"Beside newer methods, column {column}", columns, rows, [_GRADES])
    return tables
