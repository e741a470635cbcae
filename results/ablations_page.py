"""docs/ablations.md: tables and plots of sweeps as one page; ``make ablations PAGE=docs/ablations.md`` writes it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from results.atomic import write_atomically
from results.facts import run_facts
from results.render import escape_markdown, to_markdown
from results.schema import RunHeader
from results.suite import read_runs, read_suite_table
from results.sweep_plot import PLOT_FILE

_HEAD = """\
# Ablations

The paper's ablations and the switches in which paper and released code differ, on the miniature's Pascal VOC. The
miniature is a small, weak CLIP on emoji scenes: its figures are not comparable with the paper's. What can be compared
is the order of the points, and this page shows what each sweep prints. On the real data set:
`car sweep voc21 --preset table5 --data-root /data/VOCdevkit --weights openai`.

`make ablations PAGE=docs/ablations.md` runs the sweeps and writes this page. The preset `table3` (backbones) is not on
it: it needs weights of two architectures, and the miniature has one.
"""
_FACTS = ("data", "weights, proposal", "code", "system", "packages")


def write_page(sweeps: Sequence[Path], page: Path) -> None:
    """Write the page of finished sweeps, in this order, and copies of their plots into `images` beside it.

    Raises StoreError for a folder that is no suite's.
    """
    images = page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    sections = []
    for sweep in sweeps:
        name = f"ablations-{sweep.name.removeprefix('suite-')}.png"
        shutil.copyfile(sweep / PLOT_FILE, images / name)
        sections.append(f"{to_markdown(read_suite_table(sweep))}\n![The same as bars](images/{name})\n")
    write_atomically(page, "\n".join([_HEAD, _made_with(sweeps), *sections]))


def _made_with(sweeps: Sequence[Path]) -> str:
    runs = [header for sweep in sweeps for header in read_runs(sweep).values()]
    distinct = {header.identity: header for header in runs}.values()
    facts = run_facts(runs[0])
    lines = [f"- {name}: {escape_markdown(facts[name], limit=1000)}" for name in _FACTS if name in facts]
    seconds = sum(header.timings.wall_seconds for header in distinct)
    spent = (
        f"- {len(runs)} points, {len(distinct)} runs of {_samples(runs)} images each, {seconds:.0f} s of runs in all"
    )
    return "\n".join(["Made with:", "", *lines, spent]) + "\n"


def _samples(runs: Sequence[RunHeader]) -> str:
    return " or ".join(str(count) for count in sorted({header.counts.n_total for header in runs}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("sweeps", type=Path, nargs="+")
    given = parser.parse_args()
    write_page(given.sweeps, given.page)
