"""A suite's table.md and table.csv, made from suite.json and the runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from results.run_directory.suite import SuiteIndex, read_runs, read_suite_index, write_suite_index
from results.tables.methods import methods_table
from results.tables.peers import peers_table
from results.tables.render import Table, to_csv, to_markdown
from results.tables.run import suite_table
from results.tables.sweep import sweep_table
from support.files import write_atomically


def write_suite(path: Path, index: SuiteIndex) -> tuple[Path, Path]:
    """Write suite.json, table.md and table.csv; returns the paths of the tables.

    Raises:
        StoreError: a run is unreadable, or one of a complete suite is missing.
    """
    write_suite_index(path, index)
    return write_suite_tables(path)


def write_suite_tables(path: Path) -> tuple[Path, Path]:
    """Rewrite table.md and table.csv from suite.json and the runs; returns both paths. Raises StoreError."""
    table = read_suite_table(path)
    pages = {path / "table.md": to_markdown(table), path / "table.csv": to_csv(table)}
    for page, text in pages.items():
        write_atomically(page, text)
    markdown, csv = pages
    return markdown, csv


def read_suite_table(path: Path) -> Table:
    """The figures of a suite's finished runs, with a note on those that are missing. Raises StoreError."""
    index, headers = read_suite_index(path), read_runs(path)
    if index.kind == "eight":
        table = peers_table(index.title, headers.values())
    elif index.points:
        table = sweep_table(index.title, headers, index.points, index.paper)
    else:
        table = (methods_table if index.kind == "methods" else suite_table)(index.title, headers)
    missing = [name for name in index.runs if name not in headers]
    if not missing:
        return table
    # "Unfinished" comes first because long titles are cut.
    title = f"Unfinished, {len(index.runs) - len(missing)} of {len(index.runs)} runs: {table.title}"
    return replace(table, title=title, notes=(*table.notes, f"Missing: {', '.join(missing)}."))
