"""The example notebook runs from top to bottom, and what it shows is what is stored in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (make setup)")


def texts(notebook: Any) -> list[list[str]]:
    """What each cell shows as text."""
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return [[o.get("text") or o.get("data", {}).get("text/plain", "") for o in each] for each in outputs]


def test_the_notebook_shows_what_is_stored(tmp_path: Path) -> None:
    from tools.notebook import NOTEBOOK, executed

    stored = nbformat.read(NOTEBOOK, as_version=4)
    assert os.path.getsize(NOTEBOOK) < 300_000
    pictures = [o for cell in stored.cells for o in cell.get("outputs", []) if "image/jpeg" in o.get("data", {})]
    assert len(pictures) == 2
    found = executed(tmp_path)
    assert [cell.source for cell in found.cells] == [cell.source for cell in stored.cells]
    assert texts(found) == texts(stored), "python -m tools.notebook stores what it shows now"
    shown = str(texts(found))
    assert "Segmentation(212 x 236, kept 'bottle' 0.97, 'motorbike' 0.81" in shown
    assert "miou" in shown
