"""Runs with SAM: by the command line with random weights, and with an oracle in SAM's place."""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

import pytest
from oracles.oracle_masks import compare
from typer.testing import CliRunner

from evaluation.cli.app import app


def test_the_oracles_masks_lift_miou() -> None:
    without, with_oracle = compare(8, recurrence="once", templates=["a photo of a {}."], theta=0.1)
    assert with_oracle > without


def test_a_run_with_sam_says_so(tiny_run: Any) -> None:
    pytest.importorskip("transformers", reason="needs the extra sam")
    arguments = tiny_run.arguments("--sam", "random:0", "--set", "sam.points_per_side=2", "--limit", "2", "--json")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    header = json.loads(result.stdout)
    assert header["config"]["sam"]["points_per_side"] == 2
    assert header["config_sources"]["sam"] == "user"
    assert [(entry["role"], entry["trained"]) for entry in header["weights"]][-1] == ("sam", False)
    assert "model" not in header["identity_fields"]["config"]["sam"]
    version = importlib.metadata.version("transformers")
    assert header["identity_fields"]["packages"]["transformers"] == version
    assert header["environment"]["packages"]["transformers"] == version
    assert header["timings"]["seconds_by_stage"]["sam"] > 0
    assert "CaR+SAM" in (tiny_run.out / "table.md").read_text()
