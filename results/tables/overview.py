"""A list of runs: what was run and set, its figure, its date and progress."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from results.run_directory.found import FoundRun
from results.run_directory.schema import RunHeader
from results.tables.columns import DIFFERENCE, PERCENT, make_table, minus, to_percent
from results.tables.render import Column, Table
from results.tables.run import reference_row
from results.tables.run_notes import caveats, figure_of, is_comparable
from results.tables.task_words import words_of
from support.text import mebibytes, shortened

_OWN_COLUMNS = {"benchmark", "method", "set", "protocol", "device"}


def facts_of(run: FoundRun) -> dict[str, Any]:
    """The facts of run.json, as JSON values. figure: the headline figure in 0..1; null if no sample is scored."""
    header = run.header
    try:
        metric: str | None = words_of(header.benchmark.task).headline
    except ValueError:  # a task of a module that is not loaded
        metric = None
    figure = figure_of(header, metric or "")
    return {
        "updated_at": header.updated_at,
        "benchmark": header.benchmark.name,
        "method": str(header.config.get("method", "car")),
        "set": asked_of(header),
        "metric": metric,
        "figure": figure if isinstance(figure, (int, float)) else None,
        "status": header.status,
        "failed": header.counts.n_failed,
        "identity": header.identity,
        "path": str(run.path),
    }


def what_of(facts: Mapping[str, Any]) -> str:
    """The method of a run and what was set, of its `facts_of`."""
    return " ".join([facts["method"], *facts["set"]])


def asked_of(header: RunHeader) -> list[str]:
    """The request of a run except benchmark, method and device, as on a command line: "eta=0.3", "limit=4"."""

    def typed(name: str, value: Any) -> str:
        return f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"

    asked = header.request.get("set")
    settings = asked if isinstance(asked, dict) else {}  # as short as the user wrote them
    switches = {name: header.config[name] for name, source in header.config_sources.items() if source == "user"}
    return [
        *(typed(name, settings.get(name, value)) for name, value in switches.items()),
        *header.benchmark.protocol_changed,
        *(typed(word, value) for word, value in header.request.items() if word not in _OWN_COLUMNS),
    ]


def overview_of(runs: Sequence[FoundRun]) -> Table:
    """The overview of finished runs, with differences from the paper's; notes say what a run lacks."""
    rows, noted = [], dict[str, list[str]]()
    for run in runs:
        header = run.header
        paper = reference_row(header, header.benchmark.paper)
        facts = facts_of(run) | run.progress()
        value = paper.value if paper and is_comparable(header) else None
        rows.append({**facts, "difference": minus(to_percent(facts["figure"]), value)})
        for remark in caveats(header, changes=False):
            noted.setdefault(remark, []).append(run.path.name)
    notes = [
        f"{'all' if len(names) == len(runs) else shortened(', '.join(names), 160)}: {remark}"
        for remark, names in noted.items()
    ]
    figures = dict.fromkeys(
        f"{row['metric']} ({run.header.benchmark.task})" for run, row in zip(runs, rows, strict=True)
    )
    return replace(overview(rows), notes=(f"%: {', '.join(figures)}", *notes))


def overview(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row per run of `facts_of` and `FoundRun.progress`.

    Columns: run (its folder, from the folder of all, which the title names), benchmark, what (the method, and all that
    was set), percent, difference (from the paper's CaR), done (samples, and of how many if the run is unfinished), date
    and time (UTC), size.
    """
    folders = [os.path.dirname(row["path"]) for row in rows]
    is_one_kind = len({os.path.isabs(folder) for folder in folders}) == 1
    top = os.path.commonpath(folders) if is_one_kind else ""
    cells = []
    for row in rows:
        of_all = f"/{'?' if row['wanted'] is None else row['wanted']} {row['status']}"
        failed = f", {row['failed']} failed" if row["failed"] else ""
        cells.append(
            {
                **row,
                "run": os.path.relpath(row["path"], top) if top else row["path"],
                "what": what_of(row),
                "percent": to_percent(row["figure"]),
                "done": f"{row['done']}{'' if row['status'] == 'complete' else of_all}{failed}",
                "date": row["updated_at"][:10],
                "time": row["updated_at"][11:16],
                "size": mebibytes(row["bytes"]),
            }
        )
    columns = (
        Column("run", kind="word"),
        Column("benchmark", spare=1),
        Column("what", "method and settings"),
        PERCENT,
        *([replace(DIFFERENCE, heading="vs. paper")] if any(row.get("difference") for row in rows) else []),
        Column("done"),
        Column("date", kind="word", spare=2),
        Column("time", "UTC", "word", spare=3),
        Column("size", kind="word", spare=4),
    )
    return make_table(f"Runs in {top}" if top else "Runs", columns, cells)
