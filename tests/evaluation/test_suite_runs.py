"""Suites as a user runs them, on the embedded miniature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import car
from helpers.parts import devices
from PIL import Image
from pydantic import ValidationError

from car_core import CaR, CaRConfig
from car_core.config import PROFILES
from car_core.errors import ModelError
from evaluation import RunOptions, evaluate
from evaluation.analysis.drawn_samples import previews
from evaluation.request.benchmark import BenchmarkError, benchmark_names
from evaluation.run.prepare import prepare
from evaluation.suites import runner as suite_module
from evaluation.suites.definitions import Suite, load_suite
from evaluation.suites.runner import Models, run_suite
from results import RunDirectory
from support.console import TRACES, show_traces

FAST = {"templates": [], "background": ["grass"], "crf": None}
SMALL: dict[str, Any] = {
    "name": "small",
    "title": "Small",
    "runs": [
        {"benchmark": "mini-voc", "settings": FAST, "pictures": 1},
        {"benchmark": "mini-voc", "variant": "once", "settings": {**FAST, "recurrence": "once"}},
        {"benchmark": "mini-refcoco", "pictures": 1},
    ],
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`car suite small` in an empty working folder."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("evaluation.suites.definitions.load_suite", lambda name: Suite.model_validate(SMALL))
    return tmp_path


def group_that_traces(handle: Any, group: Any) -> list[Any]:
    """What a process of a suite does, as far as the test below is concerned."""
    TRACES.debug("a traceback")
    return []


@pytest.mark.parametrize("wanted", [True, False])
def test_suite_in_processes_shows_tracebacks_when_asked(wanted: bool, capfd: pytest.CaptureFixture[str]) -> None:
    show_traces(wanted)
    try:
        assert suite_module.run_in_children([[]], ["cpu"], lambda event: None, group_that_traces) == [[]]
    finally:
        show_traces(False)
    assert ("a traceback" in capfd.readouterr().err) is wanted


def test_a_suite_takes_a_profile_which_only_car_has() -> None:
    suite = load_suite("mini")
    assert {run.profile for run in suite.options(profile="released")} == {"released"}
    assert {run.profile for run in suite.of_methods("sclip", {}).options(profile="released")} == {None}
    assert car("suite", "mini", "--profile=Released").stderr.count("did you mean released?") == 1


def test_mini_suite_has_every_embedded_benchmark() -> None:
    suite = load_suite("mini")
    assert {run.benchmark for run in suite.runs} == {name for name in benchmark_names() if name.startswith("mini-")}
    ablations = {run.variant: run.settings for run in suite.runs if run.benchmark == "mini-voc"}
    assert ablations == {
        None: {},
        "once": {"recurrence": "once"},
        "none": {"recurrence": "none"},
        "gradcam": {"cam": "gradcam"},
    }


def test_one_table_one_sheet_and_runs_like_any_other(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr(suite_module, "load_clip", _counting(suite_module.load_clip, loaded))
    result = car("suite", "small", "--limit=1", "--out=all")
    assert result.exit_code == 0
    assert len(loaded) == 1  # both models of all runs
    names = [line.split("|")[1].strip() for line in result.stdout.splitlines() if line.startswith("| mini")]
    assert list(dict.fromkeys(names)) == ["mini-voc", "mini-voc-once", "mini-refcoco"]
    assert "oiou_pooled" in result.stdout
    assert result.stdout == (small / "all/table.md").read_text() == car("table", "all").stdout[:-1]
    header = json.loads((small / "all/mini-voc-once/run.json").read_text())
    assert header["config"]["recurrence"] == "once"
    sheet = np.asarray(Image.open(small / "all/contact-sheet.png"))
    assert sheet.std() > 10
    again = car("suite", "small", "--limit=1", "--out=all")
    assert _figures(again.stdout) == _figures(result.stdout)  # finished records are read again
    golden = small / "golden.json"
    assert car("check", "all", "--golden", golden, "--update").exit_code == 0
    assert car("check", "all/mini-voc", "--golden", golden).exit_code == 0  # a single run, against its own part
    stored = json.loads(golden.read_text())
    stored["runs"]["mini-voc"]["figures"]["miou"]["expected"] += 0.01
    golden.write_text(json.dumps(stored))
    assert car("check", "all", "--golden", golden).exit_code == 4


def _figures(table: str) -> list[list[str]]:
    """Rows of a printed table without the speed, which takes in the time of looking for unfinished samples."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    speed = next(row for row in cells if "run" in row).index("samples/s")
    return [row[:speed] + row[speed + 1 :] for row in cells]


def _counting(load: Any, calls: list[Any]) -> Any:
    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return load(*arguments, **options)

    return counted


def test_without_out_the_runs_lie_where_eval_puts_them(small: Path) -> None:
    run_suite(Suite.model_validate({**SMALL, "runs": SMALL["runs"][2:]}), limit=1, workers=0)
    folders = {path.name.rsplit("-", 1)[0] for path in (small / "results/runs").iterdir()}
    assert folders == {"suite", "mini-refcoco-paper"}
    assert car("table", "results/runs/suite-small").exit_code == 0


def test_suite_in_processes_finds_the_same_and_reports_each_run(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    suite = Suite.model_validate({**SMALL, "runs": SMALL["runs"][1:]})
    one = run_suite(suite, out=small / "1", limit=1, workers=0)
    capsys.readouterr()
    two = run_suite(suite, out=small / "2", jobs=2, limit=1, workers=0)
    lines = sorted(capsys.readouterr().err.splitlines(), key=lambda line: line.partition(" ")[2])
    assert [line.partition(" ")[0] for line in sorted(lines)] == ["1/2", "2/2"]
    for line, (name, run) in zip(lines, sorted(two.runs.items()), strict=True):
        metric = "miou_mean_over_samples" if run.header.benchmark.task == "referring" else "miou"
        figure = f"{metric} {100 * run.header.metrics[metric]:.1f}"
        assert line.partition(" ")[2].startswith(f"{name}: {figure}, 1 image, 0 failed, 00:")
    found = [{name: run.header.metrics for name, run in finished.runs.items()} for finished in (one, two)]
    assert found[0] == found[1]
    sheets = [(finished.path / "contact-sheet.png").read_bytes() for finished in (one, two)]
    assert sheets[0] == sheets[1]


def test_each_process_of_a_suite_has_its_device(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Suite.model_validate({**SMALL, "runs": SMALL["runs"][1:]})
    parts: Any = [[(run, RunOptions(run.benchmark))] for run in suite.runs]
    assert suite_module.run_in_children(parts, ["cpu", "cuda:0"], lambda event: None, devices) == [["cpu"], ["cuda:0"]]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    asked_for = (("cuda:all", None), ("cuda:0,1", 3), ("cpu", 2), ("auto", 2))
    found = [suite_module.shared_out(suite, jobs, device=device)[0] for device, jobs in asked_for]
    assert found == [["cuda:0", "cuda:1"], ["cuda:0", "cuda:1", "cuda:0"], ["cpu"] * 2, ["auto"] * 2]
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(16))
    for jobs, asked, share in ((None, None, 7), (None, 3, 3), (4, None, 3)):
        _, runs = suite_module.shared_out(suite, jobs, device="cuda:all", refine_workers=asked)
        assert {(run.refine_workers, run.live) for run in runs} == {(share, False)}
    with pytest.raises(ModelError, match="jobs: expected at least one per device, 2, found 1"):
        run_suite(suite, out=small / "all", device="cuda:all", jobs=1)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 100)  # here, not in the processes of the runs
    with pytest.raises(ModelError, match="device: expected"):
        run_suite(Suite.model_validate({**SMALL, "runs": SMALL["runs"][1:2]}), device="cuda:99", jobs=2)


def test_previews_show_what_a_run_finds(small: Path) -> None:
    options = RunOptions("mini-voc", settings=FAST, limit=3)
    first, last = previews(prepare(options), 2)
    from dataset_adapters import embedded_root, load
    from evaluation.request.benchmark import load_benchmark, resolve_config
    from evaluation.tasks.semantic import predicted_labels

    dataset = load("voc21", embedded_root())
    car_ = CaR.from_config(resolve_config(load_benchmark("mini-voc"), "paper", FAST)[0], weights="miniature")
    for shown, sample in ((first, dataset[0]), (last, dataset[2])):
        assert np.array_equal(shown.image, sample.image)
        assert np.array_equal(shown.target, sample.target)
        found = car_.segment(sample.image, sample.queries)
        assert np.array_equal(shown.prediction, predicted_labels(found, sample, dataset.label_space))
    [referring] = previews(prepare(RunOptions("mini-refcoco", limit=1)), 4)
    assert set(np.unique(referring.target)) == {0, 1}
    [record] = RunDirectory(evaluate(RunOptions("mini-refcoco", limit=1, out=small / "r")).path).read_records()
    iou = record.counts["intersection"] / record.counts["union"]
    assert referring.caption.startswith(f"IoU {100 * iou:.1f}  ")


def test_failed_samples_set_the_exit_status(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(CaR, "segment_coarse_batch", fail)
    monkeypatch.setattr(suite_module, "previews", lambda *_, **__: [])
    result = car("suite", "small", "--limit=1", "--out=all")
    assert (result.exit_code, "3 of 3 samples failed" in result.stderr) == (3, True)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="suite: expected a known name, found 'mimi'; did you mean mini"):
        load_suite("mimi")
    run = {"benchmark": "mini-voc"}
    with pytest.raises(ValidationError, match="expected each run once, found mini-voc again"):
        Suite.model_validate({"name": "s", "title": "S", "runs": [run, run]})
    assert car("suite", "mimi").exit_code == 2


def test_all_models_of_a_suite_share_one_memory() -> None:
    """Else each combination of switches and models would have as much as one may have."""
    models = Models()
    by_role = [dict.fromkeys(("proposal", "classifier"), name) for name in ("miniature", "random:0")]
    configs = [
        CaRConfig(profile=profile, proposal_model="miniature", classifier_model="miniature") for profile in PROFILES
    ]
    made = [
        models.make(config, weights=weights, device="cpu", precision="float32")
        for weights in by_role
        for config in configs
    ]
    assert len({id(each.cache) for each in made}) == 1
    assert len({id(each.classifier_tower.visual) for each in made}) == 2  # one for each of the weights
