"""The miniature data sets inside this package: emoji scenes in the official layouts (see tools/miniature)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

from dataset_adapters.base.adapter import find_sources
from dataset_adapters.errors import DatasetError
from support.files import expanded, resolved

_FOLDER = Path(__file__).parents[1] / "miniature"


def embedded_root(part: Literal["val", "tuning"] = "val") -> Path:
    """The folder that holds the official layouts side by side; thresholds are chosen only on `tuning`."""
    return _FOLDER / part


def is_embedded(root: Path) -> bool:
    """Whether a data root is inside the embedded data."""
    return resolved(expanded(root)).is_relative_to(resolved(_FOLDER))


def holds(root: Path, name: str) -> bool:
    """Whether `root` holds the layout of a data set. Raises DatasetError for an unknown data set."""
    for adapter in find_sources(name):
        with suppress(DatasetError):
            adapter.find_root(expanded(root).absolute())
            return True
    return False
