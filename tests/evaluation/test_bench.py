"""The benchmark's document, table and picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluation.cli import app


def test_command_writes_table_document_and_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ["--n-images", "1", "--repeats", "1", "--batch-size", "1", "--threads", "1", "--queries", "1", "--plot"]
    result = CliRunner().invoke(app, ["bench", *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "bench.json").read_text())
    (entry,) = document["scaling"]
    assert {"decode", "trunk", "proposals", "prompts", "classifier", "refine", "counting", "waiting"} == set(
        entry["batch_sizes"]["1"]["stages"]
    )
    assert {speed["name"] for speed in entry["encoders"]} == {"trunk", "classifier"}
    released = document["released_order"]
    assert released["same_survivors"]
    assert released["largest_mask_difference"] <= 1e-4
    assert (tmp_path / "bench.md").read_text() in result.output
    assert (tmp_path / "bench.png").read_bytes()[:4] == b"\x89PNG"
