"""`car` in this process, settings that make its runs fast, and what equal runs have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from evaluation.cli.app import app
from results import RunDirectory

# One step over few texts, for what surrounds the method.
FAST: dict[str, Any] = {"templates": [], "background": ["grass"], "crf": None, "recurrence": "none"}
TIMES = {"created_at", "updated_at", "timings", "memory"}


def car(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def comparable(path: Path) -> tuple[str, dict[str, Any], dict[str, bytes]]:
    """run.json as text, the records by id, and saved pictures, but for times, memory and the order of the records."""
    header = RunDirectory(path).read_header().model_dump(exclude=TIMES)
    records = {record.id: record.model_dump(exclude={"seconds"}) for record in RunDirectory(path).read_records()}
    pictures = {file.name: file.read_bytes() for file in (path / "predictions").rglob("*.png")}
    return json.dumps(header), dict(sorted(records.items())), pictures
