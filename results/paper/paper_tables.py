"""The tables of the CaR paper, read from results/paper/*.csv. Figures are percent, as printed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
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

    Args:
        table: the paper's number, "table1" to "table8" or "tableJ".
        column: a column that holds figures, such as "voc21".

    Raises:
        ValueError: no such table or column; the message lists those that exist.
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


class PeerRow(NamedTuple):
    """One newer training-free method's figure in peers.csv, percent.

    backbone: its CLIP. helpers: other models and steps it uses, empty for none. grade: quality of the source: A, the
    authors' repository or paper; B, quoted by another paper; C, re-run by someone else.
    """

    method: str
    backbone: str
    helpers: str
    value: float
    grade: str
    source: str


def peer_rows(column: str) -> list[PeerRow]:
    """The methods of peers.csv with a figure in a column of Table 1 (voc21, ...), in rising order; often none."""
    peers = [
        PeerRow(row["method"], row["backbone"], row["helpers"], float(row[column]), row["grade"], row["source"])
        for row in _read_csv(_FOLDER / "peers.csv")
        if row.get(column)
    ]
    return sorted(peers, key=lambda peer: peer.value)


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
