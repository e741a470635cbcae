"""The table of `car check --reference`: every quantity of a reference file beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.tables.render import Column, Table
from results.tables.run import typed_frame

_KINDS = {"value": "largest difference", "share": "share that differs"}


def reference_table(name: str, differences: Sequence[Mapping[str, Any]]) -> Table:
    """A row a quantity: what was compared, how, the difference, its tolerance, ok or DIFFERENT, remark.

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
    return Table(f"Beside {name}", columns, typed_frame(rows, columns), (note,))
