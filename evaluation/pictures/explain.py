"""Segmentations in words."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from car_core.segmentation import Segmentation
from car_core.steps import Step, step_names
from support.arrays import BoolArray
from support.text import visible

_BAR = 24
"""Width of a score's bar, characters."""
_UNBOUNDED = 1_000_000
"""Columns that no line has."""
LONE_PHRASE = "one phrase alone always scores 1.00, whatever the picture: name rival phrases for theta to decide"
"""What to know where one phrase was asked for: scores are a softmax over the phrases that are alive."""


def summary_line(path: Path, found: Segmentation) -> str:
    """What was found in an image file: each query with score and area, those dropped behind."""
    return f"{visible(str(path), limit=1000)}: {_outcome(found)}"


def _outcome(found: Segmentation) -> str:
    kept = [f"{visible(found.queries[i])} {found.scores[i]:.2f} ({_area(found.masks[i])})" for i in found.kept]
    dropped = [visible(query) for i, query in enumerate(found.queries) if i not in found.kept]
    parts = [", ".join(kept) or "nothing", *([f"dropped: {', '.join(dropped)}"] if dropped else [])]
    return "; ".join(parts)


def _area(mask: BoolArray) -> str:
    return f"{100 * mask.mean():.1f} % of the image" if mask.any() else "kept, but no pixel is left"


def explained(path: Path, found: Segmentation, *, longest_query: int | None = 40) -> RenderableType:
    """The recurrence as tables: every step's queries, best score first, with score, theta and who survived.

    longest_query: characters past which a query goes on in the next line; None for none.
    """
    theta = found.config.theta if found.config else None
    names = step_names(found.steps)
    tables = [
        _step_table(name, step, found, theta, longest_query) for name, step in zip(names, found.steps, strict=True)
    ]
    end = "no query survived" if not found.kept else f"stable after {_counted(len(found.steps), 'step')}"
    return Group(Text(visible(str(path), limit=1000), style="bold"), *tables, Text(f"{end}: {_outcome(found)}"), Text())


def explained_text(path: Path, found: Segmentation) -> str:
    """`explained` as text for a pipe: no line is wrapped, and none ends in blanks."""
    console = Console(file=StringIO(), width=_UNBOUNDED, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(explained(path, found, longest_query=None))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _step_table(name: str, step: Step, found: Segmentation, theta: float | None, longest_query: int | None) -> Table:
    title = f"{name}: {_counted(len(step.queries), 'query', 'queries')} alive"
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("query", overflow="fold", max_width=longest_query)
    table.add_column("score", justify="right")
    table.add_column("" if theta is None else f"theta {theta:g} at |", no_wrap=True)
    table.add_column("", no_wrap=True)
    for score, index in sorted(zip(step.scores.tolist(), step.queries, strict=True), key=lambda pair: -pair[0]):
        kept = index in step.kept
        style = "" if kept else "dim"
        cells = (visible(found.queries[index]), f"{score:.3f}", _bar(score, theta), "kept" if kept else "dropped")
        table.add_row(*(Text(cell, style=style) for cell in cells))
    return table


def _bar(score: float, theta: float | None) -> str:
    filled = round(min(max(score, 0.0), 1.0) * _BAR)
    cells = ["#"] * filled + ["."] * (_BAR - filled)
    if theta is not None:
        cells.insert(round(theta * _BAR), "|")
    return "".join(cells)


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
