"""How the code is cut, room by room: `python tools/figures.py [ROOT]` prints a Markdown table.

The figures are symptoms to look at, not limits: nothing in the tests counts them.

- functions: `def`s, methods and nested ones included.
- called once: private functions (`_name`) whose name occurs twice in their file: the definition and one use.
- comments: `#` comments, on lines of their own and behind code.
- body: lines of a function without its signature and docstring; median, 90th percentile and longest.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOMS = ("support", "car_core", "dataset_adapters", "results", "evaluation", "tests")
PRODUCT = ROOMS[:-1]


@dataclass
class Figures:
    """What was counted in some files; figures of several add up."""

    files: int = 0
    lines: int = 0
    comments: int = 0
    called_once: int = 0
    bodies: list[int] = field(default_factory=list)  # lines of each function's body

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(getattr(self, name) + getattr(other, name) for name in vars(self)))


def figures_of(source: str) -> Figures:
    """The figures of one file's text."""
    bodies, called_once, occurrences = [], 0, Counter(re.findall(r"\w+", source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            bodies.append((body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0)
            is_private = node.name.startswith("_") and not node.name.startswith("__")
            called_once += is_private and occurrences[node.name] == 2
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = sum(token.type == tokenize.COMMENT for token in tokens)
    return Figures(1, source.count("\n"), comments, called_once, bodies)


def table(root: Path, rooms: Iterable[str] = ROOMS) -> str:
    """The figures of the rooms below ``root`` that are there, and of the product, as a Markdown table."""
    rows = [
        "| room | files | lines | functions per 1000 lines | called once per 1000 lines "
        "| comments per 1000 lines | body median / p90 / longest |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    product = Figures()
    for room in rooms:
        files = sorted((root / room).rglob("*.py"))
        if not files:
            continue
        own = sum((figures_of(file.read_text(encoding="utf-8")) for file in files), Figures())
        product = product + own if room in PRODUCT else product
        rows.append(_row(room, own))
    return "\n".join([*rows, _row("product", product)])


def _row(name: str, figures: Figures) -> str:
    def per_thousand(count: int) -> str:
        return f"{1000 * count / max(figures.lines, 1):.1f}"

    bodies = sorted(figures.bodies) or [0]
    body = f"{statistics.median(bodies):g} / {bodies[int(0.9 * (len(bodies) - 1))]} / {bodies[-1]}"
    cells = [name, figures.files, figures.lines, per_thousand(len(figures.bodies)), per_thousand(figures.called_once)]
    return f"| {' | '.join(map(str, [*cells, per_thousand(figures.comments), body]))} |"


if __name__ == "__main__":
    print(table(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]))
