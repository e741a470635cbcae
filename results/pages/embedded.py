"""Data for a page's script: the samples and the confusion matrix of a run as compact JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from results.run_directory.schema import SampleRecord
from results.tables.task_words import TaskWords
from support.text import visible

MISSED, WRONG = "missed", "wrong"
STATES = ("", MISSED, WRONG)
"""States of a class in a sample: in target and prediction, only in the target, only in the prediction."""


@dataclass(frozen=True)
class Matrix:
    """Confusion counts.

    labels: all of the label space. cells: (target, prediction, pixels), none of 0 pixels. n_left_out: smaller cells
    that are not among them.
    """

    labels: Sequence[str]
    cells: Sequence[tuple[int, int, int]]
    n_left_out: int = 0


def sample_columns(
    records: Sequence[SampleRecord],
    figures: Sequence[float | None],
    classes: Sequence[Sequence[tuple[str, str]]],
    words: TaskWords,
) -> dict[str, Any]:
    """The samples by column, in the order of the records; every text is made `visible`.

    classes: of each sample, (name, state) with a state of `STATES`; empty for a task without classes, whose texts that
    survived stand in their place. In the columns such a name is 3 * its position in "names" + the state's.

    Raises ValueError where figures or classes are not one per record.
    """
    names: dict[str, int] = {}
    shown = classes or [[(query, "") for query in record.queries_kept] for record in records]
    coded = [
        [3 * names.setdefault(visible(name), len(names)) + STATES.index(state) for name, state in found]
        for _, found in zip(records, shown, strict=True)
    ]
    return {
        "figure_name": words.sample_figure,
        "classes_name": "classes" if classes else "texts kept",
        "ids": [visible(record.id, limit=1000) for record in records],
        "figures": [None if value is None else round(value, 4) for value, _ in zip(figures, records, strict=True)],
        "classes": coded,
        "names": list(names),
        "steps": [record.steps for record in records],
        "seconds": [round(sum(record.seconds.values()), 3) for record in records],
        "errors": {
            place: visible(record.error or "") for place, record in enumerate(records) if record.status == "failed"
        },
    }


def matrix_columns(matrix: Matrix | None) -> dict[str, Any] | None:
    """The matrix as its labels and three lists of equal length: targets, predictions, pixels."""
    if matrix is None:
        return None
    targets, predictions, pixels = zip(*matrix.cells, strict=True) if matrix.cells else ((), (), ())
    labels = [visible(label) for label in matrix.labels]
    return {"labels": labels, "targets": targets, "predictions": predictions, "pixels": pixels}


def script_json(value: Any) -> Markup:
    """JSON that can stand in a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))
