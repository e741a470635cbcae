"""Segmentations in words."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from car_core.segmentation import Segmentation
from car_core.steps import step_names
from support.text import counted, visible

LONE_PHRASE = "a single phrase always scores 1.00, whatever the picture; add competing phrases for theta to choose from"
"""Caveat for a single phrase: scores are a softmax over the remaining phrases."""
COMMA = "{query!r} is one phrase; separate phrases are separate {parts}"
"""Caveat for a phrase with a comma."""
_BAR = 24
"""Width of a score's bar, characters."""
_UNBOUNDED = 1_000_000
"""More columns than any line has."""


def summary_line(path: Path, segmentation: Segmentation) -> str:
    """What was found in an image file: each kept query with score and area, then the dropped ones."""
    return f"{visible(str(path), limit=1000)}: {_outcome(segmentation)}"


def explained(path: Path, segmentation: Segmentation, *, longest_query: int | None = 40) -> RenderableType:
    """The recurrence as one table per step: its queries, best score first, with score, theta and verdict.

    longest_query: characters after which a query is wrapped; None for never.
    """
    theta = segmentation.config.theta if segmentation.config else None
    tables = []
    for name, step in zip(step_names(segmentation.steps), segmentation.steps, strict=True):
        title = f"{name}: {counted(len(step.queries), 'query', 'queries')} alive, {len(step.kept)} kept"
        table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("query", overflow="fold", max_width=longest_query)
        table.add_column("score", justify="right")
        table.add_column("" if theta is None else f"| marks theta {theta:g}", no_wrap=True)
        table.add_column("", no_wrap=True)
        for score, index in sorted(zip(step.scores.tolist(), step.queries, strict=True), key=lambda pair: -pair[0]):
            filled = round(min(max(score, 0.0), 1.0) * _BAR)
            bar = "#" * filled + "." * (_BAR - filled)
            if theta is not None:
                tick = round(theta * _BAR)
                bar = f"{bar[:tick]}|{bar[tick:]}"
            kept = index in step.kept
            # One that seems to equal theta has as many digits as tell it from theta.
            digits = 3
            while theta is not None and digits < 9 and float(f"{score:.{digits}f}") == theta != score:
                digits += 1
            cells = (visible(segmentation.queries[index]), f"{score:.{digits}f}", bar, "kept" if kept else "dropped")
            table.add_row(*(Text(cell, style="" if kept else "dim") for cell in cells))
        tables.append(table)
    end = f"stable after {counted(len(segmentation.steps), 'step')}" if segmentation.kept else "no query survived"
    heading = Text(visible(str(path), limit=1000), style="bold")
    return Group(heading, *tables, Text(f"{end}: {_outcome(segmentation)}"), Text())


def explained_text(path: Path, segmentation: Segmentation) -> str:
    """`explained` as text for a pipe: no line is wrapped, and none has trailing blanks."""
    console = Console(file=StringIO(), width=_UNBOUNDED, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(explained(path, segmentation, longest_query=None))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _outcome(segmentation: Segmentation) -> str:
    outcomes = segmentation.outcomes()
    kept = [
        f"{visible(query.query)} {query.score:.2f} "
        + (f"({100 * query.area:.1f} % of the image)" if query.area else "(its mask is empty)")
        for query in (outcomes[index] for index in segmentation.kept)
    ]
    dropped = [visible(query.query) for query in outcomes if not query.kept]
    return "; ".join(
        [f"kept {', '.join(kept)}" if kept else "kept nothing", *([f"dropped {', '.join(dropped)}"] if dropped else [])]
    )
