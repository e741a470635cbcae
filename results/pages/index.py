"""The index of many runs: their figures, how they changed over time, and links to each run's page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from results.pages.report import page_environment, static_style
from results.run_directory.found import FoundRun
from results.tables.columns import minus, to_percent
from results.tables.overview import facts_of, what_of
from results.tables.run_notes import remarks
from results.tables.task_words import words_of


@dataclass(frozen=True)
class RunLinked:
    """A run of the index. page: the file name of its report. name: its folder, from the one that all are in."""

    found: FoundRun
    page: str
    name: str


def page_names(runs: Sequence[FoundRun], top: Path) -> list[RunLinked]:
    """A file name for each run's page, after its folder below `top`; no two are equal, whatever the case of letters."""
    linked: list[RunLinked] = []
    taken = {"index"}
    for run in runs:
        name = run.path.relative_to(top).as_posix() if run.path.is_relative_to(top) else run.path.name
        stem = first = re.sub(r"[^A-Za-z0-9.=+_]+", "-", name)[:100].strip("-.") or "run"
        number = 1
        while stem.lower() in taken:
            number += 1
            stem = f"{first}-{number}"
        taken.add(stem.lower())
        linked.append(RunLinked(run, f"{stem}.html", name))
    return linked


def index_html(title: str, runs: Sequence[RunLinked], damaged: Sequence[str]) -> str:
    """The index as one HTML page, where runs over the same samples that are scored alike stand together.

    damaged: what is wrong with each run that has no page.
    """
    groups: dict[tuple[Any, ...], list[RunLinked]] = {}
    for run in sorted(runs, key=lambda run: run.found.header.updated_at, reverse=True):
        header = run.found.header
        protocol = header.identity_fields.get("protocol") or {}
        key = (header.benchmark.name, header.benchmark.dataset.fingerprint, header.counts.n_total, str(protocol))
        groups.setdefault(key, []).append(run)
    return (
        page_environment()
        .get_template("index.html")
        .render(
            title=title,
            n_runs=len(runs),
            groups=[_group(members) for _, members in sorted(groups.items(), key=lambda item: item[0])],
            damaged=damaged,
            style=static_style(),
        )
    )


def _group(runs: Sequence[RunLinked]) -> dict[str, Any]:
    """Runs over the same samples, the newest first."""
    header = runs[0].found.header
    rows = [{**facts_of(run.found), **run.found.progress(), "run": run} for run in runs]
    figures = [row["figure"] for row in rows if row["figure"] is not None and row["status"] == "complete"]
    best = max(figures, default=None)
    dataset, words = header.benchmark.dataset, words_of(header.benchmark.task)
    return {
        "name": header.benchmark.name,
        "samples": f"{header.counts.n_total} of {dataset.n_samples} {words.samples} of {dataset.name} {dataset.split}",
        "metric": rows[0]["metric"],
        "rows": [
            {
                "page": quote(row["run"].page),
                "name": row["run"].name,
                "what": what_of(row),
                "figure": row["figure"],
                "to_best": minus(to_percent(row["figure"]), to_percent(best)),
                "n_failed": row["failed"],
                "date": _date(row),
                "remarks": remarks(row["run"].found.header, changes=False),
            }
            for row in rows
        ],
        "trend": _trend([row for row in reversed(rows) if row["figure"] is not None]),
    }


def _date(row: Mapping[str, Any]) -> str:
    """Day and minute: many runs are of one day."""
    return str(row["updated_at"])[:16].replace("T", " ")


def _trend(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The figures from the oldest run to the newest, as shares of a box; None for less than two.

    A line connects the runs of one method with the same settings.
    """
    if len(rows) < 2:
        return None
    figures = [row["figure"] for row in rows]
    low, high = min(figures) - 0.005, max(figures) + 0.005
    points = [
        {"x": 100 * place / (len(rows) - 1), "y": 100 * (row["figure"] - low) / (high - low), "row": row}
        for place, row in enumerate(rows)
    ]
    lines = defaultdict[str, list[str]](list)
    for point in points:
        lines[what_of(point["row"])].append(f"{point['x']:.2f},{100 - point['y']:.2f}")
    return {
        "low": min(figures),
        "high": max(figures),
        "first": _date(rows[0]),
        "last": _date(rows[-1]),
        "lines": [" ".join(line) for line in lines.values() if len(line) > 1],
        "points": [
            {"x": point["x"], "y": point["y"], "row": point["row"], "page": quote(point["row"]["run"].page)}
            for point in points
        ],
    }
