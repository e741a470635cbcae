"""Published figures, read from results/paper/*.csv: the tables of the CaR paper, and peers. Percent, as printed."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from support import strict_json

_FOLDER = Path(__file__).parent


class PaperRow(NamedTuple):
    """One row of a table, read at one column.

    method: the method's name; "CaR" in the ablations, whose rows are settings of CaR.
    group: the paper's group of methods ("training-free", ...), None in tables without groups.
    value: percent, None where the paper has a dash.
    cells: the whole row as printed, by column name; empty text for a dash.
    """

    method: str
    group: str | None
    value: float | None
    cells: Mapping[str, str]


def paper_rows(table: str, column: str) -> list[PaperRow]:
    """All rows of a table at one column of figures, in the paper's order.

    table: the paper's number, "table1" to "table8" or "tableJ". column: a column that holds figures, such as "voc21".
    Raises ValueError: no such table or column; the message lists those that exist.
    """
    rows = _read_csv(_table_file(table))
    texts = {name: [row[name] for row in rows if row[name]] for name in rows[0]}
    columns = [name for name, filled in texts.items() if filled and all(map(_is_number, filled))]
    if column not in columns:
        raise ValueError(f"{table} has no column of figures {column!r}; columns: {', '.join(columns)}")
    return [
        PaperRow(row.get("method", "CaR"), row.get("group"), float(row[column]) if row[column] else None, row)
        for row in rows
    ]


def car_columns(table: str) -> list[str]:
    """The columns of a table in which CaR has a figure, in the paper's order. Raises ValueError for no such table."""
    rows = _read_csv(_table_file(table))
    of_car = [row for row in rows if row.get("method") == "CaR"]
    return [name for name in rows[0] if any(_is_number(row[name]) for row in of_car)]


def row_labels(table: str) -> list[str]:
    """The methods of a table in the paper's order; where one occurs twice, with the settings in which its rows differ.

    Raises ValueError for no such table.
    """
    rows = _read_csv(_table_file(table))
    settings = [name for name in rows[0] if name != "method" and name not in car_columns(table)]
    labels = []
    for row in rows:
        same = [other for other in rows if other["method"] == row["method"]]
        differing = [name for name in settings if len({other[name] for other in same}) > 1]
        said = ", ".join(f"{name.replace('_', ' ')} {row[name] or 'none'}" for name in differing)
        labels.append(f"{row['method']} ({said})" if said else row["method"])
    return labels


EIGHT: Mapping[str, str] = {
    "voc21": "VOC21",
    "context60": "PC60",
    "coco-object": "Object",
    "voc20": "VOC20",
    "context59": "PC59",
    "coco-stuff": "Stuff",
    "cityscapes": "City",
    "ade150": "ADE",
}
"""The benchmarks on which papers compare training-free methods, in their usual order, with the headings of columns."""
_COLUMNS = {"context60": "pc60", "context59": "pc59", "coco-object": "coco_object"}  # of Table 1, if named otherwise


class PeerRow(NamedTuple):
    """One published row: mIoU of a method in percent, by benchmark. results/paper/README.md describes the fields.

    runs_as: the method, as tables name it, whose runs are compared with the row; else empty. figures: those published.
    """

    method: str
    year: str
    venue: str
    backbone: str
    supervision: str
    names: str
    ran_by: str
    runs_as: str
    grade: str
    notes: str
    source: str
    figures: Mapping[str, float]


def peer_rows(benchmarks: Collection[str]) -> list[PeerRow]:
    """Published rows on any of these benchmarks: CaR's own, then those of peers.csv in its order."""
    rows = [row for row in _read_csv(_FOLDER / "peers.csv") if row["metric"] == "mIoU"]
    own = {"year": "2024", "venue": "CVPR", "backbone": "OpenAI CLIP ViT-B/16 + ViT-L/14", "names": "own"}
    own |= {"ran_by": "authors", "runs_as": "", "grade": "V", "notes": "", "source": "arXiv 2312.07661 Table 1"}
    table1 = {row["method"]: row for row in _read_csv(_table_file("table1"))}
    for method, supervision in {"CaR+SAM": "SAM masks", "CaR": "none"}.items():
        figures = {name: table1[method].get(_COLUMNS.get(name, name), "") for name in benchmarks}
        rows.insert(0, {**own, "method": method, "supervision": supervision, **figures})
    about = [name for name in PeerRow._fields if name != "figures"]
    found = ({name: float(row[name]) for name in benchmarks if row.get(name)} for row in rows)
    return [
        PeerRow(**{name: row[name] for name in about}, figures=figures)
        for row, figures in zip(rows, found, strict=True)
        if figures
    ]


def mean_of_eight(figures: Mapping[str, float]) -> float | None:
    """The mean of the eight benchmarks' figures; None unless all are there."""
    return math.fsum(figures[name] for name in EIGHT) / len(EIGHT) if EIGHT.keys() <= figures.keys() else None


def cautions(table: str, column: str, method: str) -> list[str]:
    """Footnotes for a table that shows this figure of this method; often none."""
    return [
        entry["note"]
        for entry in strict_json.loads((_FOLDER / "cautions.json").read_bytes())
        if table in entry["tables"] and column in entry["columns"] and method in entry["methods"]
    ]


def _table_file(table: str) -> Path:
    files = {file.stem.split("_")[0]: file for file in _FOLDER.glob("table*.csv")}
    if table not in files:
        raise ValueError(f"the paper's data has no table {table!r}; tables: {', '.join(sorted(files))}")
    return files[table]


@cache
def _read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
