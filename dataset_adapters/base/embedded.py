"""The data sets inside this package: emoji scenes in the official layouts (see tools/miniature)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dataset_adapters.base.sample import Adapter, DatasetError, find_sources
from support.files import expanded

_FOLDER = Path(__file__).parents[1] / "miniature"


def embedded_root(part: Literal["val", "tuning"] = "val") -> Path:
    """The folder that holds the official layouts side by side; thresholds are chosen on `tuning` alone."""
    return _FOLDER / part


def is_embedded(root: Path) -> bool:
    """Whether a data root lies inside the embedded data."""
    return expanded(root).resolve().is_relative_to(_FOLDER.resolve())


def holds(root: Path, name: str) -> bool:
    """Whether the layout of a data set is found at `root`. Raises DatasetError for an unknown data set."""
    return any(_finds(adapter, expanded(root).absolute()) for adapter in find_sources(name))


def _finds(adapter: Adapter, root: Path) -> bool:
    try:
        adapter.find_root(root)
    except DatasetError:
        return False
    return True
