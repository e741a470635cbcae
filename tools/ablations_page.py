"""docs/ablations.md: tables and plots of sweeps as one page; ``make ablations PAGE=docs/ablations.md`` writes it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from results.pages.plots import PLOT_FILE
from results.run_directory.suite import read_runs, require_finished
from results.tables.render import to_markdown
from results.tables.suite import read_suite_table
from support.files import write_atomically
from tools.docs_tables import made_with

_HEAD = """\
# Ablations

The paper's ablations, and the switches that differ between the paper and the released code, on the miniature's Pascal
VOC. The miniature is a small, weak CLIP on emoji scenes: its figures say nothing about CLIP and are not comparable with
the paper's. Only the order of the points can be compared; this page mainly shows what each sweep prints. Points use the
settings of the paper's rows, including the thresholds of Pascal VOC, which are not tuned for the miniature. On the real
data set: `car sweep voc21 --preset table5 --data-root /data/VOCdevkit --weights openai`.

`make ablations PAGE=docs/ablations.md` runs the sweeps and writes this page. The preset `table3` (backbones) is
missing: it uses ViT-B/16 and ViT-L/14 in turn as f and g, and the miniature has only one architecture. To run it: `car
sweep voc21 --preset table3 --data-root /data/VOCdevkit --weights openai`.
"""


def write_page(sweeps: Sequence[Path], page: Path) -> None:
    """Write a page of finished sweeps, in this order, and copy their plots into the folder `images` next to it.

    Raises StoreError for a folder that does not hold a suite, and for an unfinished sweep.
    """
    images = page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    sections = []
    for sweep in sweeps:
        require_finished(sweep)
        name = f"ablations-{sweep.name.removeprefix('suite-')}.png"
        shutil.copyfile(sweep / PLOT_FILE, images / name)
        sections.append(f"{to_markdown(read_suite_table(sweep))}\n![The same figures as a plot](images/{name})\n")
    runs = [header for sweep in sweeps for header in read_runs(sweep).values()]
    write_atomically(page, "\n".join([_HEAD, made_with(runs), *sections]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("sweeps", type=Path, nargs="+")
    given = parser.parse_args()
    write_page(given.sweeps, given.page)
