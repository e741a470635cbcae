"""Reading JSON-like files: every field is checked, and errors name file, entry and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dataset_adapters.base.sample import DatasetError


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises DatasetError if it is not JSON, OSError if it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path}: expected JSON, found other text: {error}") from error


def read_field(path: Path, where: str, entry: Any, field: str, kind: type | tuple[type, ...]) -> Any:
    """Return a field of `entry`. Raises DatasetError unless `entry` is a dict that has it, of that type."""
    if not isinstance(entry, dict):
        raise DatasetError(f"{path}: {where}: expected a dict, found {type(entry).__name__}")
    value = entry.get(field)
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        found = type(value).__name__ if field in entry else "nothing"
        raise DatasetError(f"{path}: {where}: {field}: expected {kinds}, found {found}")
    return value
