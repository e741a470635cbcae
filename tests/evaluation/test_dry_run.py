"""``car eval --dry-run``: what it says, and that it writes no run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.command import car
from helpers.faults import FAULTY

from evaluation import RunOptions
from evaluation.run.dry_run import measured, plan_lines, suite_plan_lines
from evaluation.run.prepare import Prepared, prepare

SETTINGS = {"templates": [], "background": ["grass"]}
FAST = ["--set=templates=[]", "--set=background=[grass]", "--workers=0", "--device=cpu"]


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def options(**more: Any) -> RunOptions:
    return RunOptions("mini-voc", **{"settings": SETTINGS, "workers": 0, "device": "cpu", "quiet": True, **more})


def test_it_says_what_would_be_run_and_writes_no_run() -> None:
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


def test_an_interrupted_one_says_that_nothing_was_written(working_folder: Path) -> None:
    method = [f"--method={FAULTY}", "--set=fault=interrupt", "--device=cpu"]
    for arguments in (["eval", "mini-voc"], ["suite", "mini"]):
        plan = car(*arguments, "--limit=1", "--dry-run", *method)
        assert (plan.exit_code, list(working_folder.iterdir())) == (130, [])
        assert plan.stderr.splitlines()[-1] == "interrupted; nothing was written"


def test_large_untrained_models_on_small_data_are_noted_before_they_are_loaded(working_folder: Path) -> None:
    (working_folder.parent / "stops.py").write_text("raise KeyboardInterrupt")  # read before models are
    asked = ("eval", "mini-voc", "--dry-run", "--device=cpu", "--weights=random:0", "--set=proposal_model=miniature")
    assert car(*asked, "--track=../stops.py:Tracker").stderr.splitlines() == [
        "notice: random weights of ViT-L-14; of the miniature's size: --set classifier_model=miniature",
        "interrupted; nothing was written",
    ]


def test_the_start_is_in_no_samples_time() -> None:
    clock = iter([0.0, 100, 102])  # the first sample ends after 100 s, a second one 2 s later
    seconds, n_bytes = measured(prepare(options(limit=1)), clock=lambda: next(clock))
    assert (seconds, 100 < n_bytes < 10_000) == (2.0, True)


def test_several_processes_are_measured_in_this_one(working_folder: Path) -> None:
    own = working_folder / "own.py"
    own.write_text(
        "import os, numpy as np\nclass Own:\n    name, version = 'own', '1'\n    def segment(self, image, queries):\n"
        f"        open({str(working_folder.parent / 'pids')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "        return np.zeros(image.shape[:2], np.int32)\n"
    )
    run = prepare(options(method=f"{own}:Own", settings={}, limit=60, processes=2, out=working_folder / "new"))
    found: list[tuple[float, float]] = []
    lines = [*plan_lines(run, measure=lambda prepared: (found.append(measured(prepared)), (2.0, 10.0))[1])]
    assert {*(working_folder.parent / "pids").read_text().split()} == {str(os.getpid())}
    assert len(found) == 1
    # Both processes share the CPU: 48 samples of 2 s.
    assert "time     about 96 s, as measured: 2 s per sample after the start" in lines


def measure_into(folders: list[Path]) -> Callable[[Prepared], tuple[float, float]]:
    return lambda prepared: (folders.append(prepared.folder), (2.0, 512.0))[1]


def test_a_sweep_lists_its_runs_and_adds_up_what_is_left(working_folder: Path) -> None:
    assert car("eval", "mini-voc", "--limit=3", "--out=s/mini-voc-eta=0.3", "--set=eta=0.3", *FAST).exit_code == 0
    before = sorted(working_folder.rglob("*"))
    folders: list[Path] = []
    runs = {
        f"mini-voc-eta={eta}": options(settings={**SETTINGS, "eta": eta}, limit=3, out=Path(f"s/mini-voc-eta={eta}"))
        for eta in (0.3, 0.5, 0.6)
    }
    lines = [*suite_plan_lines(runs, measure=measure_into(folders))]
    assert folders == [Path("s/mini-voc-eta=0.5")]  # stands for the other
    assert lines == [
        "run      mini-voc-eta=0.3: 3 samples, folder s/mini-voc-eta=0.3 (3 samples already done)",
        "run      mini-voc-eta=0.5: 3 samples, folder s/mini-voc-eta=0.5",
        "run      mini-voc-eta=0.6: 3 samples, folder s/mini-voc-eta=0.6",
        "all      3 runs, 6 samples to do",
        "device   cpu",
        "time     about 12 s, measured on the first run of each benchmark and method, after its start; less where runs "
        "share work",
        "size     about 3.0 KiB of records",
    ]
    for more in ([], ["--jobs=2"]):  # on one CPU
        plan = car("sweep", "mini-voc", "eta=0.3,0.5,0.6", "--limit=3", "--out=s", "--dry-run", *more, *FAST)
        assert plan.exit_code == 0, plan.stderr
        assert plan.stdout.splitlines()[:5] == lines[:5]
    assert sorted(working_folder.rglob("*")) == before
