"""One table of raw values, rendered to Markdown, CSV or LaTeX. Rounding and escaping happen only here."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from support.text import MAX_TEXT, display_width, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

_LONGEST_WORD = 33  # frequency_weighted_iou_gt_classes; longer ones, such as paths, may be folded
_TEXT_WIDTH = 11  # least terminal columns of longer text: narrower, it is a tower of words
_NAME_WIDTH = 24  # the same of a name that is folded because nothing else helps
_GRID_GAPS = 2, 1  # terminal columns between those of a table, the second where else it would not fit; one at its sides
_TEXTS = ("text", "word")
_GAP = "   "  # between the values of a block


@dataclass(frozen=True)
class Column:
    """How one column of a table is shown.

    key: its name in the rows and in CSV. heading: its name for readers; by default the key with blanks.
    kind: "text", "count" (integer), "percent" (one decimal), "difference" (percent points, signed, one decimal),
    "rate" (two decimals), "figure" (ten digits), "tolerance" (as short as it can be) or "word" (text that never wraps).
    missing: printed in place of a missing value.
    spare: a terminal that is too narrow for all columns leaves out those above 0, the largest first.
    """

    key: str
    heading: str = ""
    kind: str = "text"
    missing: str = ""
    spare: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "heading", self.heading or self.key.replace("_", " "))


@dataclass(frozen=True)
class Table:
    """Rows of unrounded values by column key, None for a missing one; the columns in order; notes.

    difference_rows: positions of the rows whose percentages are differences of such. is_cut: at a terminal each
    row is one line, and longer text is cut. tail: at a terminal only the last rows, unless all are requested.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()
    difference_rows: tuple[int, ...] = ()
    is_cut: bool = False
    tail: int | None = None

    def values(self, key: str) -> list[Any]:
        """A column from top to bottom."""
        return [row[key] for row in self.rows]


def without_empty_columns(table: Table) -> Table:
    """The table with the columns that show a value in at least one row; all of them where there is no row."""
    if not table.rows:
        return table
    return replace(table, columns=tuple(column for column in table.columns if any(_column_texts(table, column))))


def with_shared_remarks(table: Table) -> Table:
    """The table with remarks that all rows share moved to a note."""
    if len(table.rows) < 2 or all(column.key != "remarks" for column in table.columns):
        return table
    rows = [(text or "").split("; ") for text in table.values("remarks")]
    shared = [remark for remark in rows[0] if remark and all(remark in row for row in rows)]
    if not shared:
        return table
    own = ["; ".join(remark for remark in row if remark not in shared) for row in rows]
    changed = tuple({**row, "remarks": remarks} for row, remarks in zip(table.rows, own, strict=True))
    return replace(table, rows=changed, notes=(*table.notes, f"all rows: {'; '.join(shared)}"))


def to_markdown(table: Table) -> str:
    """A heading, a pipe table aligned for reading as plain text too, and the notes as a list.

    A column without any value is left out.
    """
    table = without_empty_columns(table)
    in_cell = partial(escape_markdown, starts_line=False)
    rows = [[in_cell(column.heading) for column in table.columns], *_cells(table, in_cell)]
    is_text = [column.kind in _TEXTS for column in table.columns]
    widths = [max(3, *map(display_width, texts)) for texts in zip(*rows, strict=True)]

    def pipes(cells: Sequence[str]) -> str:
        # str.ljust counts characters, but a wide character takes two columns.
        padding = [" " * (width - display_width(cell)) for cell, width in zip(cells, widths, strict=True)]
        padded = [cell + pad if left else pad + cell for cell, pad, left in zip(cells, padding, is_text, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if left else "-" * (width - 1) + ":" for width, left in zip(widths, is_text, strict=True)]
    lines = [pipes(row) for row in [rows[0], rule, *rows[1:]]]
    notes = [f"- {escape_markdown(note)}" for note in table.notes]
    return "\n".join([f"## {escape_markdown(table.title)}", "", *lines, *([""] if notes else []), *notes]) + "\n"


def to_rich(table: Table, width: int, *, folds: bool = False) -> RenderableType:
    """The table for a terminal of `width` columns, without the notes: text wraps, figures and usual words never do.

    Columns without any value are left out. If the others do not fit, spare ones are left out too; if that does not
    help, names are folded; else each row becomes a block of `heading: value`.

    folds: whether names (columns of kind "word") may be folded.
    """
    shown = without_empty_columns(table)
    texts = [[visible(cell) for cell in _column_texts(shown, column)] for column in shown.columns]
    least = []  # per column: the terminal columns below which figures or usual words would be cut
    for column, cells in zip(shown.columns, texts, strict=True):
        longest = max(map(display_width, cells), default=0)
        needed = longest if column.kind != "text" else max(_word_width(cells), min(longest, _TEXT_WIDTH))
        if table.is_cut and column.kind == "text":
            needed = min(longest, _TEXT_WIDTH)
        if folds and column.kind == "word":
            needed = min(longest, _NAME_WIDTH)
        least.append(max(_word_width([visible(column.heading)]), needed))
    for gap in _GRID_GAPS:
        if sum(least) <= (room := width - gap * len(least) + gap - 1):
            return _grid(shown, texts, least, room, gap)
    if spare := max(column.spare for column in shown.columns):
        return to_rich(replace(shown, columns=tuple(own for own in shown.columns if own.spare < spare)), width)
    if not folds:
        return to_rich(shown, width, folds=True)
    return _blocks(shown, texts, width)


def to_csv(table: Table) -> str:
    """Comma-separated, one line of keys first, figures to ten decimals, no notes.

    Text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    import numpy as np  # `car runs` prints no CSV

    columns = []
    for column in table.columns:
        cells = table.values(column.key)
        if column.kind in _TEXTS:
            cells = [visible(_shown(cell, "text")) for cell in cells]
            cells = [f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell for cell in cells]
        elif column.kind != "count":
            # Ten decimals hide the noise of 100 * x and keep every digit that means something.
            cells = [cell if cell is None else float(np.round(cell, 10)) for cell in cells]
        columns.append(cells)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    writer.writerows(zip(*columns, strict=True))
    return file.getvalue()


def to_latex(table: Table) -> str:
    """A table environment with booktabs rules (needs `\\usepackage{booktabs}`), the notes in a small font."""
    alignment = "".join("l" if column.kind in _TEXTS else "r" for column in table.columns)
    headings = [escape_latex(column.heading) for column in table.columns]
    head, *body = [" & ".join(row) + r" \\" for row in [headings, *_cells(table, escape_latex)]]
    notes = [rf"\par\footnotesize {escape_latex(note)}" for note in table.notes]
    tabular = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
    start = [r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(table.title)}}}"]
    return "\n".join([*start, *tabular, r"\end{tabular}", *notes, r"\end{table}", ""])


def escape_markdown(text: str, limit: int = MAX_TEXT, *, starts_line: bool = True) -> str:
    """`visible`, then escape what GitHub-flavoured Markdown gives a meaning, pipes and HTML included.

    starts_line: whether it may, where + and - begin a list.
    """
    escaped = re.sub(r"([\\`*\[\]<>|&$~])", r"\\\1", visible(text, limit))
    # An underscore inside a word is plain text, and escaping it would only make names hard to read.
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)
    return re.sub(r"^[#+=-]", r"\\\g<0>", escaped) if starts_line else escaped


def escape_latex(text: str) -> str:
    """Escape the characters that LaTeX gives a meaning."""
    return "".join(_LATEX.get(character, character) for character in visible(text))


_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "text": str,
    "word": str,
    "count": lambda value: str(int(value)),
    "percent": lambda value: f"{value:.1f}",
    "difference": lambda value: "0.0" if (text := f"{value:+.1f}") in ("+0.0", "-0.0") else text,
    "rate": lambda value: f"{value:.2f}",
    "figure": lambda value: f"{value:.10g}",
    "tolerance": lambda value: f"{value:g}",
}

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After a row's end these two would be read as an argument of it.
    "[": "{[}",
    "*": "{*}",
    **{character: "\\" + character for character in "{}$&#%_"},
}


def _cells(table: Table, escape: Callable[[str], str]) -> list[list[str]]:
    texts = [
        [escape(text) if column.kind in _TEXTS else text for text in _column_texts(table, column)]
        for column in table.columns
    ]
    return [list(row) for row in zip(*texts, strict=True)]


def _column_texts(table: Table, column: Column) -> list[str]:
    """A column's cells from top to bottom, neither escaped nor cut."""
    values = table.values(column.key)
    is_percent, differences = column.kind == "percent", set(table.difference_rows)
    kinds = ["difference" if is_percent and row in differences else column.kind for row in range(len(values))]
    return [_shown(value, kind, column.missing) for value, kind in zip(values, kinds, strict=True)]


def text_cells(table: Table) -> list[list[str]]:
    """The cells as shown, row by row, not escaped for any language."""
    return _cells(table, lambda text: visible(text, limit=1000))


def _grid(table: Table, texts: list[list[str]], least: list[int], room: int, gap: int) -> RenderableType:
    """The title and columns with fixed widths: given only minimum widths, rich overruns the console and crops."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, gap - 1, 0, 0))
    headings = [visible(column.heading) for column in table.columns]
    wanted = [max(map(display_width, [heading, *cells])) for heading, cells in zip(headings, texts, strict=True)]
    widths = list(least)
    for _ in range(room - sum(least)):  # what wraps most grows first
        index = max(range(len(widths)), key=lambda i: wanted[i] / max(1, widths[i]), default=None)
        if index is None or widths[index] >= wanted[index]:
            break
        widths[index] += 1
    for column, heading, width in zip(table.columns, headings, widths, strict=True):
        drawn.add_column(
            Text(heading),
            overflow="ellipsis" if table.is_cut else "fold",
            no_wrap=table.is_cut,
            width=width,
            justify="left" if column.kind in _TEXTS else "right",
        )
    for row in zip(*texts, strict=True):
        drawn.add_row(*map(Text, row))
    return Group(Text(visible(table.title), style="bold"), drawn)


def _blocks(table: Table, texts: list[list[str]], width: int) -> RenderableType:
    """The title and one block per row: its values with their headings, on as few lines as they fit on whole."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    headings = [f"{visible(column.heading)}: ".removeprefix(": ") for column in table.columns]
    parts: list[RenderableType] = [Text(visible(table.title), style="bold")]
    for row in zip(*texts, strict=True):
        items = [Text.assemble((heading, "dim"), cell) for heading, cell in zip(headings, row, strict=True) if cell]
        lines = [Text()]
        for item in items:
            joined = Text(_GAP).join([lines[-1], item]) if lines[-1] else item
            if lines[-1] and joined.cell_len > width - 2:  # an item wider than a line has its own
                lines.append(item)
            else:
                lines[-1] = joined
        parts += [Text(), lines[0], *(Padding(line, (0, 0, 0, 2), expand=False) for line in lines[1:])]
    return Group(*parts, Text())


def _word_width(cells: list[str]) -> int:
    """Columns of the longest word that is no longer than a metric's name."""
    widths = (display_width(word) for cell in cells for word in cell.split())
    return max((width for width in widths if width <= _LONGEST_WORD), default=1)


def _shown(value: Any, kind: str, missing: str = "") -> str:
    return missing if value is None else _FORMATS[kind](value)
