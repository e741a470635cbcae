"""A suite's folder: suite.json says which runs belong together, table.md and table.csv show their figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from results import strict_json
from results.atomic import write_atomically
from results.render import Table, to_csv, to_markdown
from results.schema import RunHeader
from results.store import RunDirectory, StoreError, one_line

SUITE_FILE = "suite.json"


class SuiteIndex(BaseModel):
    """suite.json: the runs of a suite by name, as paths relative to its folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    """Version of this schema."""
    suite: str
    """Name of the suite."""
    title: str
    """Heading of its table."""
    runs: dict[str, str] = Field(min_length=1)
    """Folder of each run by the run's name, relative to the suite's."""
    points: dict[str, dict[str, Any]] = {}
    """Of a sweep: what each run sets."""
    paper: dict[str, float] = {}
    """Of a sweep: the paper's figure for a run, percent."""
    kind: Literal["runs", "methods"] = "runs"
    """methods: the runs are of one benchmark with one method each, every one in a process of its own."""


def write_suite(
    path: Path,
    suite: str,
    title: str,
    runs: Mapping[str, Path],
    points: Mapping[str, Mapping[str, Any]] | None = None,
    paper: Mapping[str, float] | None = None,
    kind: Literal["runs", "methods"] = "runs",
) -> tuple[Path, Path]:
    """Write suite.json, table.md and table.csv of finished runs; returns the paths of the tables.

    points, paper: of a sweep, what each run sets, and the paper's figures for those that have one. kind: see
    `SuiteIndex`.

    Raises:
        StoreError: a run is missing or unreadable.
    """
    path.mkdir(parents=True, exist_ok=True)
    index = SuiteIndex(
        suite=suite,
        title=title,
        runs={name: os.path.relpath(run, path) for name, run in runs.items()},
        points={name: dict(point) for name, point in (points or {}).items()},
        paper=dict(paper or {}),
        kind=kind,
    )
    write_atomically(path / SUITE_FILE, strict_json.dumps(index.model_dump(), indent=1) + "\n")
    return write_suite_tables(path)


def write_suite_tables(path: Path) -> tuple[Path, Path]:
    """Write table.md and table.csv anew from suite.json and the runs; returns both paths. Raises StoreError."""
    table = read_suite_table(path)
    pages = {path / "table.md": to_markdown(table), path / "table.csv": to_csv(table)}
    for page, text in pages.items():
        write_atomically(page, text)
    markdown, csv = pages
    return markdown, csv


def read_suite_table(path: Path) -> Table:
    """The figures of a suite's runs. Raises StoreError."""
    from results.methods_table import methods_table
    from results.sweep_table import sweep_table
    from results.tables import suite_table

    index, headers = _read_index(path), read_runs(path)
    if index.points:
        return sweep_table(index.title, headers, index.points, index.paper)
    return (methods_table if index.kind == "methods" else suite_table)(index.title, headers)


def is_suite(path: Path) -> bool:
    """Whether a folder is a suite's."""
    return (path / SUITE_FILE).exists()


def read_runs(path: Path) -> dict[str, RunHeader]:
    """The runs of a suite by name, or the one run of a run directory under its benchmark's name.

    Raises:
        StoreError: there is neither, or a file is unreadable.
    """
    if not is_suite(path):
        header = RunDirectory(path).read_header()
        return {header.benchmark.name: header}
    return {name: RunDirectory(run).read_header() for name, run in run_paths(path).items()}


def run_paths(path: Path) -> dict[str, Path]:
    """The folders of a suite's runs by name, or that of the one run there under its own. Raises StoreError."""
    return {name: path / run for name, run in _read_index(path).runs.items()} if is_suite(path) else {path.name: path}


def _read_index(path: Path) -> SuiteIndex:
    file = path / SUITE_FILE
    try:
        return SuiteIndex.model_validate(strict_json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise StoreError(f"{file}: {one_line(error)}") from None
