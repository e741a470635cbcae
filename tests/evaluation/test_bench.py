"""The benchmark's document, table and picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from evaluation.bench import machine
from evaluation.bench.schema import BenchDocument
from evaluation.cli.app import app

STAGES = {
    *("decode", "trunk", "cam", "affinity", "prompts", "texts", "classifier", "refine", "counting", "waiting"),
}


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A picture of a few patches, and a small matrix product: what is measured is nothing to the tests."""
    monkeypatch.setitem(machine.MATRIX_SIZE, "cpu", 128)
    path = tmp_path / "image.png"
    Image.effect_noise((80, 64), 50).convert("RGB").save(path)
    return str(path)


def test_command_writes_table_document_and_picture(tmp_path: Path, image: str) -> None:
    pytest.importorskip("matplotlib")
    options = [
        image,
        "--n-images",
        "1",
        "--repeats",
        "1",
        "--batch-size",
        "1",
        "--threads",
        "1",
        "--queries",
        "1",
        "--plot",
        "--host",
    ]
    options += ["--baseline-templates", "2"]
    result = CliRunner().invoke(app, ["bench", *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "bench.json").read_text())
    assert BenchDocument.model_validate(document).model_dump(exclude_unset=True) == document  # as documented
    (entry,) = document["scaling"]
    assert set(entry["batch_sizes"]["1"]["stages"]) == STAGES
    assert {speed["name"] for speed in entry["encoders"]} == {"trunk", "classifier"}
    assert 0 < entry["batch_sizes"]["1"]["encoders_share"] < 1
    memory = document["memory"]
    assert (memory["images"], memory["batch_size"]) == (1, 1)
    assert memory["host_peak_mib"] > 100
    released = document["released_order"]
    assert released["templates"] == 2
    assert released["same_survivors"]
    assert released["largest_mask_difference"] <= 1e-4
    engine = document["engine"]
    assert (engine["images"], engine["batch_size"], engine["decoding_processes"]) == (1, 1, 2)
    assert engine["images_per_second"] > 0
    assert "stage by stage in one process" in result.output
    assert "whole engine, as `car eval` runs it" in result.output
    assert document["later_steps"]["later_over_first"] < 1
    (host,) = document["host"]
    assert set(host["stages"]) == {"decode", "affinity", "prompts", "resize", "other", "record", "refine"}
    in_main = [seconds for stage, seconds in host["stages"].items() if stage not in ("decode", "refine")]
    assert host["main_seconds"] == pytest.approx(sum(in_main)) == pytest.approx(1 / host["images_per_second"])
    assert host["gpu_main_seconds"] == pytest.approx(host["main_seconds"] - host["stages"]["resize"])
    assert 0 < host["gpu_main_seconds"] < host["main_seconds"]
    assert (host["threads"], host["survivors"]) == (1, 1)
    assert "Besides the encoders, 1 threads" in result.output
    crf = document["crf"]
    assert (crf["labels"], crf["same_label"] >= 0.995) == (2, True)
    assert min(crf["pydensecrf_seconds"], crf["torch_seconds"], document["load_seconds"]) > 0
    assert "the same label on" in result.output
    assert "models loaded in" in result.output
    assert (tmp_path / "bench.md").read_text() in result.output
    assert (tmp_path / "bench.png").read_bytes()[:4] == b"\x89PNG"


def test_in_half_precision_there_is_no_comparison(tmp_path: Path, image: str) -> None:
    """The released order of work is float32's. What costs much can be left out."""
    options = ["--n-images=1", "--repeats=1", "--batch-size=1", "--threads=1", "--queries=1", "--no-later-steps"]
    result = CliRunner().invoke(app, ["bench", image, *options, "--precision=bfloat16", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "bench.json").read_text())
    assert document["environment"]["dtype"] == "bfloat16"
    assert not {"released_order", "later_steps", "host"} & document.keys()
    assert "matrix product in bfloat16" in result.output


def test_bench_refuses_before_models_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading them would fail: no machine has this device."""
    monkeypatch.setenv("CAR_MAX_PIXELS", "600")
    bomb, text = tmp_path / "bomb.png", tmp_path / "text.png"
    Image.new("L", (30, 40)).save(bomb)
    text.write_text("no image")
    cases = {
        bomb: f"error: {bomb}: expected at most 600 pixels",
        text: f"error: {text}: expected an image file, found an unknown format",
    }
    for path, message in cases.items():
        result = CliRunner().invoke(app, ["bench", str(path), "--device=cuda:99", "--out", str(tmp_path / "out")])
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert result.stderr.startswith(message)
    result = CliRunner().invoke(app, ["bench", "--out", str(text / "below")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --out: expected a folder that can be written")
