"""``car eval --dry-run``: what it says, and that it writes no run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.command import car

from evaluation.engines.signals import Interrupted
from evaluation.run import dispatch, dry_run

FAST = ["--set=templates=[]", "--set=background=[grass]", "--workers=0", "--device=cpu"]


def test_it_says_what_would_be_run_and_writes_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    plan = car("eval", "mini-voc", "--limit=5", "--dry-run", *FAST)
    assert (plan.exit_code, list(Path().iterdir())) == (0, [])
    said = dict(line.split(maxsplit=1) for line in plan.stdout.splitlines())
    assert said["run"] == "mini-voc, car, 5 of 48 samples"
    assert said["device"] == "cpu, float32"
    assert said["weights"] == "proposal miniature, classifier miniature"
    assert said["time"].startswith("about ")
    assert car("eval", "mini-voc", "--limit=1", "--out=other", *FAST).exit_code == 0
    before = {path: path.read_bytes() for path in Path("other").iterdir()}
    # The folder that it names is the one that a run takes; there, what is done is counted, and another run is refused.
    one = car("eval", "mini-voc", "--limit=1", "--out=other", "--dry-run", *FAST)
    assert "folder   other (1 sample already done)" in one.stdout
    more = car("eval", "mini-voc", "--limit=3", "--out=other", "--dry-run", *FAST)
    assert "folder   other (1 sample already done)" in more.stdout
    refused = car("eval", "mini-voc", "--limit=1", "--out=other", "--dry-run", "--set=eta=0.9", *FAST)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: other holds a run of another identity; choose another folder")
    assert {path: path.read_bytes() for path in Path("other").iterdir()} == before


def test_an_interrupted_one_says_that_nothing_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def interrupted(prepared: object) -> None:
        raise Interrupted(15)

    monkeypatch.setattr(dry_run, "_measured", interrupted)
    for command in ("eval", "suite"):
        name = {"eval": "mini-voc", "suite": "mini"}[command]
        plan = car(command, name, "--limit=1", "--dry-run", "--device=cpu")
        assert (plan.exit_code, list(tmp_path.iterdir())) == (143, [])
        assert plan.stderr.splitlines()[-1] == "interrupted; nothing was written"
    monkeypatch.setattr("evaluation.run.prepare.build", interrupted)  # before models are loaded
    asked = ("eval", "mini-voc", "--dry-run", "--device=cpu", "--weights=random:0", "--set=proposal_model=miniature")
    assert car(*asked).stderr.splitlines() == [
        "notice: random weights of ViT-L-14; of the miniature's size: --set classifier_model=miniature",
        "interrupted; nothing was written",
    ]


def test_the_start_is_in_no_samples_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    clock = iter([0.0, 100, 102])  # the first sample ends after 100 s, a second one 2 s later
    monkeypatch.setattr(dry_run, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    plan = car("sweep", "mini-voc", "eta=0.3,0.5", "--limit=1", "--dry-run", *FAST)
    assert "time     about 4 s, measured on the first run of each" in plan.stdout


def test_several_processes_are_measured_in_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dispatch, "run_parallel", None)
    monkeypatch.setattr(dry_run, "_measured", lambda prepared, real=dry_run._measured: (real(prepared), (2.0, 10.0))[1])
    plan = car("eval", "mini-voc", "--limit=60", "--processes=2", "--dry-run", f"--out={tmp_path / 'new'}", *FAST)
    assert plan.exit_code == 0, plan.stderr
    # Both processes share the CPU: 48 samples of 2 s.
    assert "time     about 96 s, as measured: 2 s per sample after the start" in plan.stdout


def test_a_sweep_lists_its_runs_and_adds_up_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    measured: list[str] = []
    monkeypatch.setattr(dry_run, "_measured", lambda prepared: (measured.append(str(prepared.folder)), (2.0, 512.0))[1])
    assert car("eval", "mini-voc", "--limit=3", "--out=s/mini-voc-eta=0.3", "--set=eta=0.3", *FAST).exit_code == 0
    before = sorted(tmp_path.rglob("*"))
    plan = car("sweep", "mini-voc", "eta=0.3,0.5,0.6", "--limit=3", "--out=s", "--dry-run", *FAST)
    assert plan.exit_code == 0, plan.stderr
    assert sorted(tmp_path.rglob("*")) == before
    runs = [line for line in plan.stdout.splitlines() if line.startswith("run ")]
    assert "3 samples, folder s/mini-voc-eta=0.3 (3 samples already done)" in runs[0]
    assert [line.endswith(f"s/mini-voc-eta={eta}") for line, eta in zip(runs[1:], (0.5, 0.6), strict=True)] == [
        True,
        True,
    ]
    assert measured == ["s/mini-voc-eta=0.5"]  # stands for the other
    both = car("sweep", "mini-voc", "eta=0.3,0.5,0.6", "--limit=3", "--out=s", "--dry-run", "--jobs=2", *FAST)
    assert "time     about 12 s" in both.stdout  # on one CPU
    assert "all      3 runs, 6 samples to do" in plan.stdout
    assert "time     about 12 s" in plan.stdout
    assert "size     about 3.0 KiB" in plan.stdout
