"""Methods beside each other: runs of one benchmark, and the published figures of newer training-free methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from results.paper.paper_tables import PeerRow, paper_rows, peer_rows
from results.run_directory.schema import PaperCell, RunHeader
from results.tables.render import Column, Table
from results.tables.run import pace, reduction_notes, typed_frame
from results.tables.run_notes import is_comparable, method_name, remarks
from results.tables.task_words import words_of

_GRADES = (
    "Grade of a published figure: A, the authors' repository or the paper at hand; B, a paper as quoted; C, a re-run."
)


def methods_table(title: str, headers: Mapping[str, RunHeader]) -> Table:
    """Runs of one benchmark by method, below the published figures of the same column, where there are any.

    Columns: method, metric (the task's headline figure), percent; where there are published figures, published
    (percent, of the same method under the same name) and difference, of comparable runs; samples a second (the run's
    wall time, texts and models' warm-up included), peak memory of the run's process (MiB), n_failed, remarks.
    """
    cell = next((header.benchmark.paper for header in headers.values() if header.benchmark.paper), None)
    published = _published(cell)
    beside = (Column("published", "published %", "percent"), Column("difference", "difference", "difference"))
    columns = (
        Column("method", "method"),
        Column("metric", "metric"),
        Column("percent", "%", "percent"),
        *(beside if published else ()),
        Column("pace", "samples/s", "rate"),
        Column("memory", "peak MiB", "count"),
        Column("n_failed", "n_failed", "count"),
        Column("remarks", "remarks"),
    )
    rows = [_run_row(header, published.get(method_name(header))) for header in headers.values()]
    peers = _peer_rows(cell)
    notes = dict.fromkeys(note for header in headers.values() for note in reduction_notes(header, rows))
    return Table(title, columns, typed_frame([*peers, *rows], columns), (*notes, *([_GRADES] if peers else [])))


def peer_tables(headers: Iterable[RunHeader]) -> dict[str, Table]:
    """For each column of the paper that runs stand beside: newer methods' figures and the runs', in rising order.

    Keys: "peers-voc21" and the like.
    Columns: method, backbone, helpers, percent, grade, source. Columns without a peer are left out.
    """
    by_column: dict[str, list[RunHeader]] = {}
    for header in headers:
        if header.benchmark.paper:
            by_column.setdefault(header.benchmark.paper.column, []).append(header)
    return {f"peers-{column}": _peer_table(column, runs) for column, runs in by_column.items() if peer_rows(column)}


def _peer_table(column: str, headers: Sequence[RunHeader]) -> Table:
    columns = (
        Column("method", "method"),
        Column("backbone", "backbone"),
        Column("helpers", "helpers"),
        Column("percent", "%", "percent"),
        Column("grade", "grade"),
        Column("source", "source"),
    )
    rows: list[dict[str, Any]] = [{**peer._asdict(), "percent": peer.value} for peer in peer_rows(column)]
    for header in headers:
        source = "; ".join(filter(None, ["this run", remarks(header)]))
        rows.append({"method": method_name(header), "percent": _percent(header), "source": source})
    rows.sort(key=lambda row: -1.0 if row["percent"] is None else row["percent"])
    return Table(f"Beside newer methods, column {column}", columns, typed_frame(rows, columns), (_GRADES,))


def _published(cell: PaperCell | None) -> dict[str, float]:
    """Published figures by method name: of newer methods, and of CaR and its rivals in the paper."""
    if cell is None:
        return {}
    peers = {peer.method: peer.value for peer in peer_rows(cell.column)}
    return {**peers, **{row.method: row.value for row in paper_rows(cell.table, cell.column) if row.value is not None}}


def _peer_rows(cell: PaperCell | None) -> list[dict[str, Any]]:
    return [_peer_row(peer) for peer in peer_rows(cell.column)] if cell else []


def _peer_row(peer: PeerRow) -> dict[str, Any]:
    models = " with ".join(filter(None, [peer.backbone, peer.helpers]))
    return {
        "method": f"{peer.method} (published)",
        "metric": "mIoU",
        "percent": peer.value,
        "remarks": f"{models}; grade {peer.grade}",
    }


def _run_row(header: RunHeader, published: float | None) -> dict[str, Any]:
    percent, memory = _percent(header), header.memory.peak_rss_mib
    reference = published if is_comparable(header) else None
    return {
        "method": method_name(header),
        "metric": words_of(header.benchmark.task).headline,
        "percent": percent,
        "published": published,
        "difference": None if percent is None or reference is None else percent - reference,
        "pace": pace(header),
        "memory": None if memory is None else round(memory),
        "n_failed": header.counts.n_failed,
        "remarks": remarks(header),
    }


def _percent(header: RunHeader) -> float | None:
    value = header.metrics.get(words_of(header.benchmark.task).headline)
    return None if value is None else 100 * value
