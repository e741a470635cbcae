"""The table of `car check --reference`: every quantity of a reference file next to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.tables.columns import make_table
from results.tables.render import Column, Table

_KINDS = {"value": "largest difference", "share": "share that differs"}


def reference_table(name: str, differences: Sequence[Mapping[str, Any]]) -> Table:
    """One row per quantity: what was compared, how, the difference, its tolerance, ok or DIFFERENT, remark.

    differences: quantity, kind ("value" or "share"), difference (None where shapes differ), tolerance, agrees, remark.
    """
    columns = (
        Column("quantity", "quantity"),
        Column("measure", "measure"),
        Column("difference", "difference", "figure"),
        Column("tolerance", "tolerance", "tolerance"),
        Column("verdict", "verdict"),
        Column("remark", "remark"),
    )
    rows = [
        {**each, "measure": _KINDS[each["kind"]], "verdict": "ok" if each["agrees"] else "DIFFERENT"}
        for each in differences
    ]
    note = "A pixel that rounding carries over eta changes its prompted image and, through it, a score."
    return make_table(f"Compared with {name}", columns, rows, [note])
