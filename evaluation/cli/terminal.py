"""Tables on standard output: drawn for people at a terminal, Markdown for pipes and files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from support.console import is_terminal, tell

if TYPE_CHECKING:
    from results import RunHeader
    from results.tables.render import Table


def terminal_width(most: int = 100) -> int:
    """Columns of output for people: the terminal's, but at most `most`."""
    return min(most, shutil.get_terminal_size((100, 24)).columns)


def tell_device(device: str, found: str | None = None) -> None:
    """Say which device was chosen where none was named. found: that of a run; None for what several share."""
    from car_core.engine.device import as_device, auto_described  # torch: seconds

    if device == "auto":
        tell(f"device: {auto_described(found or str(as_device(device)))}")


def show_tables(tables: Iterable[Table], *, whole: bool = False) -> None:
    """Print tables with their notes; empty ones are skipped. whole: all rows of those that have a tail."""
    from rich.console import Console
    from rich.text import Text

    from results.tables.render import to_markdown, to_rich, with_shared_remarks
    from support.text import visible

    width = terminal_width(160)  # more than prose: several runs need it
    for table in tables:
        if not table.rows:
            continue
        if not is_terminal(sys.stdout):
            typer.echo(to_markdown(table))
            continue
        table, n_rows = with_shared_remarks(table), len(table.rows)
        if table.tail and not whole and n_rows > table.tail:
            title = f"{table.title} (the last {table.tail} of {n_rows}; all: car table ... --details)"
            table = replace(table, title=title, rows=table.rows[-table.tail :], is_cut=True)
        Console(width=width, highlight=False).print(to_rich(table, width))
        console = Console(width=terminal_width(), highlight=False)
        for note in table.notes:
            console.print(Text(f"- {visible(note, limit=1000)}", style="dim"))
        console.print()


def show_run(path: Path, header: RunHeader | None = None, *, whole: bool = False) -> None:
    """Print the tables of a run or a suite: as in table.md, or drawn for a terminal, where its figure comes last.

    header: of a run; None for the one in run.json. whole: as for `show_tables`.
    """
    if not is_terminal(sys.stdout):
        typer.echo((path / "table.md").read_text(encoding="utf-8"), nl=False)
        return
    from rich.console import Console
    from rich.text import Text

    from results import RunDirectory
    from results.run_directory.suite import is_suite
    from results.tables.run import run_tables
    from results.tables.run_notes import caveats, method_label
    from results.tables.suite import read_suite_table
    from support.text import visible

    if is_suite(path):
        show_tables([read_suite_table(path)], whole=whole)
        return
    header = header or RunDirectory(path).read_header()
    console = Console(width=terminal_width(), highlight=False)
    console.print(Text(visible(f"{header.benchmark.name}: {method_label(header)}"), style="bold"))
    first, *details = run_tables(header)
    show_tables(reversed(details))
    if said := "; ".join(caveats(header)):
        console.print(Text(visible(f"Read with care: {said}.", limit=1000), style="yellow"))
    show_tables([first])
