"""Measured tables of hand-written pages, filled in from run directories: ``python -m tools.docs_tables PAGE...``.

The table of the suite ``results/runs/NAME``, and what it was made with, is written between ``<!-- table of NAME -->``
and ``<!-- end of table -->``. Tables that come from the code: ``tools.generated_docs``.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable
from pathlib import Path

from results.run_directory.schema import RunHeader
from results.run_directory.store import StoreError
from results.run_directory.suite import read_runs, require_finished
from results.tables.render import escape_markdown, to_markdown
from results.tables.run_notes import run_facts
from results.tables.suite import read_suite_table
from support.files import write_atomically
from support.text import counted

_TABLE = re.compile(r"(<!-- table of (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_FACTS = ("data", "weights, proposal", "code", "system", "packages")


def fill_page(page: Path, runs: Path) -> int:
    """Write every table of a page from the suites below `runs`; returns the number of tables.

    Raises StoreError for a page without tables, and for a suite that does not exist or is not finished.
    """
    text, count = _TABLE.subn(lambda table: _filled(table, runs), page.read_text(encoding="utf-8"))
    if not count:
        raise StoreError(f"{page}: expected <!-- table of NAME --> and <!-- end of table -->, found neither")
    write_atomically(page, text)
    return count


def _filled(old: re.Match[str], runs: Path) -> str:
    start, name, end = old.groups()
    require_finished(runs / name)
    headers = read_runs(runs / name).values()
    unfinished = [header.benchmark.name for header in headers if header.status != "complete"]
    if unfinished:
        raise StoreError(
            f"{runs / name}: expected finished runs, found {len(unfinished)} of {len(headers)} that are not"
        )
    # The page has its own heading above the table.
    table = read_suite_table(runs / name)
    text = to_markdown(table).split("\n", 2)[2]
    return f"{start}\n{text}\n{made_with(headers, len(table.rows))}\n{end}"


def made_with(headers: Iterable[RunHeader], n_rows: int | None = None) -> str:
    """What runs were made with, as a list: data, weights, code, system, packages; number of runs and their time.

    n_rows: of their table; None for one per run.
    """
    runs = list(headers)
    distinct = {header.identity: header for header in runs}.values()
    facts = run_facts(runs[0])
    lines = [f"- {name}: {escape_markdown(facts[name], limit=1000)}" for name in _FACTS if name in facts]
    seconds = math.fsum(header.timings.wall_seconds for header in distinct)
    sizes = " or ".join(str(count) for count in sorted({header.counts.n_total for header in runs}))
    n_rows = n_rows or len(runs)
    made = f"{counted(n_rows, 'row')}, {counted(len(distinct), 'run')} of {sizes} images each"
    spent = f"- {made}, {seconds:.0f} s of run time in total"
    return "\n".join(["Made with:", "", *lines, spent]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("results/runs"), help="folder of the suites")
    given = parser.parse_args()
    for page in given.pages:
        print(f"{page}: {fill_page(page, given.runs)} tables written")
