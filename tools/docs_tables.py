"""Measured tables of hand-written pages, filled in from run directories: ``python -m tools.docs_tables PAGE...``.

Between ``<!-- table of NAME -->`` and ``<!-- end of table -->`` stands the table of the suite ``results/runs/NAME`` and
what it was made with.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

from results.run_directory.schema import RunHeader
from results.run_directory.store import StoreError
from results.run_directory.suite import read_runs, read_suite_table, require_finished
from results.tables.render import escape_markdown, to_markdown
from results.tables.run_notes import run_facts
from support.files import write_atomically

_PLACE = re.compile(r"(<!-- table of (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_FACTS = ("data", "weights, proposal", "code", "system", "packages")


def fill_page(page: Path, runs: Path) -> int:
    """Fill in every place of a page from the suites below `runs`; returns how many there are.

    Raises StoreError for a page without a place, and for a suite that is not there or not finished.
    """
    text, count = _PLACE.subn(lambda place: _filled(place, runs), page.read_text(encoding="utf-8"))
    if not count:
        raise StoreError(f"{page}: expected <!-- table of NAME --> and <!-- end of table -->, found neither")
    write_atomically(page, text)
    return count


def _filled(place: re.Match[str], runs: Path) -> str:
    start, name, end = place.groups()
    require_finished(runs / name)
    headers = read_runs(runs / name).values()
    unfinished = [header.benchmark.name for header in headers if header.status != "complete"]
    if unfinished:
        raise StoreError(
            f"{runs / name}: expected finished runs, found {len(unfinished)} of {len(headers)} that are not"
        )
    # The page's own heading stands above the place.
    table = to_markdown(read_suite_table(runs / name)).split("\n", 2)[2]
    return f"{start}\n{table}\n{made_with(headers)}\n{end}"


def made_with(headers: Iterable[RunHeader]) -> str:
    """What runs were made with, as a list: data, weights, code, system, packages; how many there are and their time."""
    runs = list(headers)
    distinct = {header.identity: header for header in runs}.values()
    facts = run_facts(runs[0])
    lines = [f"- {name}: {escape_markdown(facts[name], limit=1000)}" for name in _FACTS if name in facts]
    seconds = sum(header.timings.wall_seconds for header in distinct)
    sizes = " or ".join(str(count) for count in sorted({header.counts.n_total for header in runs}))
    spent = f"- {len(runs)} rows, {len(distinct)} runs of {sizes} images each, {seconds:.0f} s of runs in all"
    return "\n".join(["Made with:", "", *lines, spent]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("results/runs"), help="folder of the suites")
    given = parser.parse_args()
    for page in given.pages:
        print(f"{page}: {fill_page(page, given.runs)} filled in")
