"""Tables on standard output: drawn for people at a terminal, Markdown for pipes and files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from support.console import is_terminal, tell

if TYPE_CHECKING:
    from results import RunHeader
    from results.tables.render import Table

TERMINAL_WIDTH = min(100, shutil.get_terminal_size((100, 24)).columns)
"""Most columns that output for people takes."""

_TABLE_WIDTH = min(160, shutil.get_terminal_size((100, 24)).columns)  # more than prose: several runs need it


def tell_device(device: str, found: str | None = None) -> None:
    """Say which device was chosen where none was named. found: that of a run; None for what several share."""
    from car_core.engine.device import as_device, auto_described  # torch: seconds

    if device == "auto":
        tell(f"device: {auto_described(found or str(as_device(device)))}")


def show_tables(tables: Iterable[Table]) -> None:
    """Print tables with their notes; empty ones are skipped."""
    from rich.console import Console
    from rich.text import Text

    from results.tables.render import to_markdown, to_rich, with_shared_remarks
    from support.text import visible

    for table in tables:
        if not table.rows:
            continue
        if not is_terminal(sys.stdout):
            typer.echo(to_markdown(table))
            continue
        table = with_shared_remarks(table)
        Console(width=_TABLE_WIDTH, highlight=False).print(to_rich(table, _TABLE_WIDTH))
        console = Console(width=TERMINAL_WIDTH, highlight=False)
        for note in table.notes:
            console.print(Text(f"- {visible(note, limit=1000)}", style="dim"))
        console.print()


def show_run(path: Path, header: RunHeader | None = None) -> None:
    """Print the tables of a run or a suite: as in table.md, or drawn for a terminal.

    header: of a run; None for the one in run.json.
    """
    if not is_terminal(sys.stdout):
        typer.echo((path / "table.md").read_text(encoding="utf-8"), nl=False)
        return
    from rich.console import Console
    from rich.text import Text

    from results import RunDirectory
    from results.run_directory.suite import is_suite, read_suite_table
    from results.tables.run import run_tables
    from results.tables.run_notes import failures, method_label, remarks
    from support.text import visible

    if is_suite(path):
        show_tables([read_suite_table(path)])
        return
    header = header or RunDirectory(path).read_header()
    console = Console(width=TERMINAL_WIDTH, highlight=False)
    console.print(Text(visible(f"{header.benchmark.name}: {method_label(header)}"), style="bold"))
    caveats = "; ".join(filter(None, [remarks(header), failures(header)]))
    if caveats:
        console.print(Text(visible(f"Read with care: {caveats}.", limit=1000), style="yellow"))
    show_tables(run_tables(header))
