"""Sweeps: how points are made, and a sweep as a user runs it."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers.command import FAST, car
from PIL import Image
from test_faults import comparable, counts

from car_core.classifier.tower import ClassifierTower
from car_core.config import PROFILES
from car_core.proposal.generator import ProposalGenerator
from dataset_adapters.formats.images import MAX_PIXELS_VARIABLE
from evaluation import RunOptions, evaluate
from evaluation.engines.worker_pool import Processes
from evaluation.request.benchmark import BenchmarkError, load_benchmark, parse_settings, resolve_config
from evaluation.suites import runner as suite_module
from evaluation.suites.runner import run_suite
from evaluation.suites.sweep import as_suite, grid, load_preset, one_at_a_time, parse_axes, preset_names, sweep_of
from results import RunDirectory


def test_axes_are_yaml_and_a_grid_has_every_combination() -> None:
    axes = parse_axes(["eta=0.3,0.4", "prompts=[circle],[circle, blur]", "crf=null"])
    assert axes == {"eta": [0.3, 0.4], "prompts": [["circle"], ["circle", "blur"]], "crf": [None]}
    assert [(point["eta"], len(point["prompts"])) for point in grid(axes)] == [(0.3, 1), (0.3, 2), (0.4, 1), (0.4, 2)]


def test_one_at_a_time_stays_around_the_first_values() -> None:
    points = one_at_a_time({"eta": [0.4, 0.3, 0.5], "theta": [0.6, 0.7]})
    assert [tuple(point.values()) for point in points] == [(0.4, 0.6), (0.3, 0.6), (0.5, 0.6), (0.4, 0.7)]


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("points: [{eta: 0.3}, {eta: 0.4, theta: 0.5}]", [{"eta": 0.3}, {"eta": 0.4, "theta": 0.5}]),
        ("grid: {eta: [0.3, 0.4], crf: [null]}", [{"eta": 0.3, "crf": None}, {"eta": 0.4, "crf": None}]),
        ("one_at_a_time: {eta: [0.3, 0.4], theta: [0.5]}", [{"eta": 0.3, "theta": 0.5}, {"eta": 0.4, "theta": 0.5}]),
    ],
)
def test_a_file_holds_points_a_grid_or_one_at_a_time(text: str, points: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert [dict(point) for point in sweep_of([], file=file).points] == points
    assert sweep_of([], file=file).title == "mine"
    file.write_text(f"title: Mine\n{text}")
    assert len(as_suite(sweep_of([], file=file), "voc21", profile=None, settings={}).runs) == 2
    assert sweep_of([], file=file).title == "Mine"


@pytest.mark.parametrize(
    "text",
    [
        *("", "- eta", "points: 3", "points: []", "grid: {eta: []}", "grid: {eta: 3}", "points: ["),
        *("pionts: [{eta: 0.3}]", "points: [{eta: 0.3}]\ngrid: {eta: [1]}"),
        "points: !!python/object/apply:os.system [id]",
    ],
)
def test_a_file_that_is_no_sweep_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    for name in ("mine.yaml", "none.yaml"):
        result = car("sweep", "mini-voc", "--file", tmp_path / name, "--out", tmp_path / "out")
        assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
        assert name in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["eta"], "expected key=value,value,..., found 'eta'\n"),
        (["eta", "0.3,0.4"], "expected key=value,value,..., found 'eta'; type eta=0.3,0.4\n"),
        (["eta="], "expected key=value,value"),
        (["eta=0.3", "eta=0.4"], "expected each key once, found eta again"),
        (["eta=[0.3"], "expected YAML values"),
        ([], "expected key=value,value,... or a file or a preset"),
        (["eta=0.3,0.3"], "expected each point once, found eta=0.3 again"),
        (["eta=0.3,1.3"], "eta"),
        (["eta=1,1.0"], "expected each point once, found eta=1.0 again"),
        (["--preset=fidelity", "--profile=paper"], "expected profile released, where its points start, found paper"),
        (["etta=0.3"], "did you mean eta"),
    ],
)
def test_mistakes_are_one_line_before_any_work(assignments: list[str], message: str, tmp_path: Path) -> None:
    result = car("sweep", "voc21", *assignments, "--data-root", tmp_path, f"--out={tmp_path / 'out'}")
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_points_that_set_what_is_set_anyway_are_one_point(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("points: [{}, {eta: 0.3}, {eta: 0.4}]")
    with pytest.raises(BenchmarkError, match=r"found eta=0\.4 again, which is the configuration of no settings"):
        as_suite(sweep_of([], file=file), "voc21", profile=None, settings={})


def test_presets_hold_valid_points_beside_figures_of_the_paper() -> None:
    assert preset_names() == ["fidelity", "table2", "table3", "table4", "table5", "table6"]
    for name in preset_names():
        sweep = load_preset(name)
        suite = as_suite(sweep, "voc21", profile=None, settings={})
        assert len(suite.runs) == len(sweep.points) >= 4
        assert name == "fidelity" or len(sweep.paper) == len(sweep.points)
    assert load_preset("table5").paper == (67.6, 67.0, 67.0, 67.4, 67.5, 67.3, 67.0)
    assert load_preset("table2").paper == (15.2, 15.2, 67.6, 41.1)
    assert load_preset("table4").paper == (66.9, 66.0, 66.4, 66.1, 61.8, 67.6)
    assert load_preset("table6").paper == (64.3, 65.6, 64.9, 66.4, 65.8, 66.4, 65.8, 67.6)
    with pytest.raises(BenchmarkError, match="did you mean table5"):
        load_preset("table55")


def test_background_groups_are_named_in_tables_joined_in_runs() -> None:
    runs = as_suite(load_preset("table6"), "voc21", profile=None, settings={}).runs
    texts = [run.settings["background"] for run in runs]
    assert [len(each) for each in texts] == [0, 32, 44, 36, 76, 80, 68, 112]
    assert texts[-1] == [*texts[1], *texts[2], *texts[3]]
    assert [run.point for run in runs][:2] == [{"background": "none"}, {"background": "terrestrial"}]
    assert runs[-1].variant == "background=terrestrial-+-aquatic-atmospheric-+-man-made"


@pytest.mark.parametrize(
    ("axis", "assignments", "expected"),
    [
        (
            "crf.iterations=5,10",
            ["crf.implementation=torch", "crf.bg_factor=2"],
            [{"iterations": n, "implementation": "torch", "bg_factor": 2} for n in (5, 10)],
        ),
        ("crf.iterations=5,6", ["crf.iterations=7"], [{"iterations": 5}, {"iterations": 6}]),
        ("crf={iterations: 5},null", ["crf.bg_factor=2"], [{"iterations": 5, "bg_factor": 2}, None]),
        ("crf.iterations=5", ["crf=null"], [{"iterations": 5}]),
        ("sam.min_overlap=0,0.05", ["sam.model=m"], [{"model": "m", "min_overlap": n} for n in (0, 0.05)]),
        ("sam.model=a,b", ["sam.model=m", "sam.points_per_side=2"], [{"model": n, "points_per_side": 2} for n in "ab"]),
    ],
    ids=["crf", "point wins", "whole", "switched on", "sam", "sam wins"],
)
def test_fields_of_crf_and_sam_are_kept_beside_those_of_a_point(
    axis: str, assignments: list[str], expected: list[dict[str, Any] | None]
) -> None:
    suite = as_suite(sweep_of([axis]), "voc21", profile=None, settings=parse_settings(assignments))
    [outer] = suite.runs[0].settings
    assert [run.settings[outer] for run in suite.runs] == expected
    assert suite.title.endswith(f"; all with {','.join(assignments)}".replace("=null", "=None"))
    for run, wanted in zip(suite.runs, expected, strict=True):
        found = getattr(resolve_config(load_benchmark("voc21"), "released", run.settings)[0], outer)
        assert wanted is None if found is None else wanted.items() <= found.model_dump().items()


@pytest.mark.parametrize(
    ("benchmark", "beside"), [("voc21", True), ("mini-voc", True), ("voc20", False), ("pc459", False)]
)
def test_paper_figures_stand_next_to_their_own_benchmark_only(benchmark: str, beside: bool) -> None:
    runs = as_suite(load_preset("table4"), benchmark, profile=None, settings={}).runs
    assert [run.paper is not None for run in runs] == [beside] * len(runs)


def test_fidelity_goes_from_the_released_code_to_the_paper() -> None:
    sweep = load_preset("fidelity")
    voc = load_benchmark("voc21")
    configs = [resolve_config(voc, "released", point)[0] for point in sweep.points]
    first, last, background = configs[0], configs[-3], configs[-2:]
    assert first == resolve_config(voc, "released", {})[0]
    assert last.model_dump(exclude={"profile"}) == resolve_config(voc, "paper", {})[0].model_dump(exclude={"profile"})
    changed = [
        {field for field in PROFILES["paper"] if getattr(config, field) != getattr(first, field)}
        for config in configs[1:-3]
    ]
    assert [next(iter(fields)) for fields in changed if len(fields) == 1] == list(PROFILES["paper"])
    assert [len(config.background) for config in background] == [112, 112]
    assert [config.model_copy(update={"background": first.background}) for config in background] == [first, last]


def test_the_suite_of_another_request_has_another_name() -> None:
    sweep, others = sweep_of(["eta=0.3,0.6"]), [{"limit": 3}, {"weights": {"proposal": "openai"}}, {"split": "train"}]
    plain = as_suite(sweep, "voc21", profile=None, settings={}, name="mine")
    asked = [as_suite(sweep, "voc21", profile=None, settings={}, name="mine", **each) for each in others]
    settings = [as_suite(sweep, "voc21", profile=None, settings={"theta": theta}) for theta in (0.5, 0.6)]
    profiles = [as_suite(sweep, "voc21", profile=profile, settings={}) for profile in PROFILES]
    assert (plain.name, asked[0].name) == ("mine", "mine-limit3")
    assert as_suite(sweep, "voc21", profile=None, settings={}, name="mine", split=None).name == "mine"
    assert len({suite.name for suite in (plain, *asked, *settings, *profiles)}) == 8


def test_names_of_points_are_fit_for_folders() -> None:
    points = ["cam_template='a/b {}','../{}','a b {}'", "background=[x],[" + ",".join(f"w{i}" for i in range(90)) + "]"]
    suite = as_suite(sweep_of(points), "voc21", profile=None, settings={})
    names = [run.name for run in suite.runs]
    assert len(set(names)) == 6
    assert all(Path(name).name == name and len(name) < 120 and not name.startswith(".") for name in names)


@pytest.fixture
def sweep(tiny_run: Any) -> Any:
    """sweep(*more): `car sweep` of two thresholds over three samples of the small tree."""
    own = tiny_run.arguments(*(f"--set={key}={json.dumps(value)}" for key, value in FAST.items()))[2:]
    options = [argument for argument in own if argument != "--out" and argument != str(tiny_run.out)]
    return lambda *more: car("sweep", "voc21", "eta=0.3,0.6", "lambda=0.2,0.4", "--limit=3", *options, *more)


def test_a_sweep_is_a_folder_of_runs_and_a_table(sweep: Any, tiny_run: Any, tmp_path: Path) -> None:
    result = sweep(f"--out={tmp_path / 'all'}")
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader((tmp_path / "all/table.csv").open()))
    assert [(row["set.eta"], row["set.lambda"]) for row in rows] == [
        ("0.3", "0.2"),
        ("0.3", "0.4"),
        ("0.6", "0.2"),
        ("0.6", "0.4"),
    ]
    assert "| eta " in result.stdout
    assert "| lambda " in result.stdout
    point = RunDirectory(tmp_path / "all" / "voc21-eta=0.6-lambda=0.4").read_header()
    settings = {**FAST, "eta": 0.6, "lambda_": 0.4}
    straight = evaluate(tiny_run.options(settings=settings, limit=3)).header
    assert point.identity == straight.identity
    assert point.metrics == straight.metrics
    assert float(rows[3]["percent"]) == pytest.approx(100 * straight.metrics["miou"], abs=1e-9)
    assert car("table", tmp_path / "all").stdout.strip() == result.stdout.strip()
    with Image.open(tmp_path / "all" / "plot.png") as plot:
        assert min(plot.size) > 200


def test_options_of_eval_reach_every_point(
    sweep: Any, tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="needs the extra sam")
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "67108864")
    own = ["--sam=random:0", "--set=sam.points_per_side=2", "--names=dataset"]
    own += ["--proposal-weights=random:2", "--sample-timeout=60", "--max-pixels=5000"]
    result = sweep(*own, "--limit=1", f"--out={tmp_path / 'all'}")
    assert result.exit_code == 0, result.stderr
    assert os.environ[MAX_PIXELS_VARIABLE] == "5000"
    fast = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
    for eta, lambda_ in ((0.3, 0.2), (0.6, 0.4)):
        point = ["--set", f"eta={eta}", "--set", f"lambda={lambda_}"]
        alone = car(*tiny_run.arguments(*fast, *own, *point), "--limit=1", "--fresh", "--json")
        assert alone.exit_code == 0, alone.stderr
        there = RunDirectory(tmp_path / "all" / f"voc21-eta={eta}-lambda={lambda_}").read_header()
        assert there.identity == json.loads(alone.stdout)["identity"]
        assert there.config["sam"]["points_per_side"] == 2


def test_source_and_protocol_of_a_sweep_are_those_of_eval(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    settings = {**FAST, "proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    fast = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    fast += ["--limit=1", "--workers=0", "--weights=random:1"]
    for benchmark, option in (("mini-coco-object", "--source=instances"), ("mini-refcoco", "--protocol=overlaps=lost")):
        swept = car("sweep", benchmark, "eta=0.4", *fast, option, f"--out={tmp_path / benchmark}")
        assert swept.exit_code == 0, swept.stderr
        there = RunDirectory(tmp_path / benchmark / f"{benchmark}-eta=0.4").read_header()
        own = ["eval", benchmark, "--set=eta=0.4", *fast, "--json"]
        alone, plain = (car(*own, *more, f"--out={tmp_path / str(len(more))}", "--fresh") for more in ([option], []))
        assert there.identity == json.loads(alone.stdout)["identity"]
        assert there.identity != json.loads(plain.stdout)["identity"]


def test_an_interrupted_sweep_goes_on_and_lists_what_was_run(
    sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from car_core import CaR

    original, batches = CaR.segment_batch, []

    def segment_batch(*arguments: Any, **options: Any) -> Any:
        batches.append(1)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(CaR, "segment_batch", segment_batch)
    assert sweep(f"--out={tmp_path / 'all'}").exit_code == 130
    assert len(batches) == 3
    names = [f"voc21-eta={eta}-lambda={lambda_}" for eta in (0.3, 0.6) for lambda_ in (0.2, 0.4)]
    _is_shown_as_unfinished(tmp_path / "all", names[:2], names[2:])
    result = sweep(f"--out={tmp_path / 'all'}")
    assert result.exit_code == 0
    assert len(batches) == 5  # the two points that were left
    assert sweep(f"--out={tmp_path / 'straight'}").exit_code == 0
    one, other = ((tmp_path / name / "suite.json").read_text() for name in ("all", "straight"))
    assert one == other
    assert json.loads(one)["status"] == "complete"
    assert len(list(csv.DictReader((tmp_path / "all/table.csv").open()))) == 4


def _is_shown_as_unfinished(folder: Path, finished: list[str], missing: list[str]) -> None:
    assert json.loads((folder / "suite.json").read_text())["status"] == "incomplete"
    shown = car("table", folder)
    assert (shown.exit_code, shown.stdout.count("| miou ")) == (0, len(finished))
    assert shown.stdout.startswith(f"## Unfinished, {len(finished)} of 4 runs: eta, lambda; all with")
    assert f"- Missing: {', '.join(missing)}." in shown.stdout
    assert f"2 runs are missing, {', '.join(missing)}" in shown.stderr
    golden = folder.parent / "golden.json"
    refused = car("check", folder, "--golden", golden, "--update")
    assert (refused.exit_code, golden.exists()) == (2, False)
    index = Path(car("report", folder).stdout.strip()).read_text()
    assert all(name in index for name in finished)


def test_a_mistake_leaves_no_folder(sweep: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"no weights")
    assert sweep(f"--weights={tmp_path / 'broken.pt'}", f"--out={tmp_path / 'all'}").exit_code == 2
    assert not (tmp_path / "all").exists()


def test_the_finished_runs_of_an_unfinished_suite_are_checked(sweep: Any, tmp_path: Path) -> None:
    folder, golden = tmp_path / "all", tmp_path / "golden.json"
    assert sweep(f"--out={folder}").exit_code == 0
    assert car("check", folder, "--golden", golden, "--update").exit_code == 0
    index = json.loads((folder / "suite.json").read_text())
    *_, last = index["runs"]
    index |= {"status": "incomplete", "runs": {**index["runs"], last: None}}
    (folder / "suite.json").write_text(json.dumps(index))
    checked = car("check", folder, "--golden", golden, "--details")
    assert (checked.exit_code, "CHANGED" in checked.stdout) == (2, False)
    assert checked.stdout.count("| miou ") == 3
    assert checked.stderr.strip() == f"error: {folder}: expected a finished suite, found none of its runs {last}"


def test_sweep_points_equal_single_runs_and_share_work(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points as Table 5 has them: the same records to the bit, from one pass of the trunk per image."""
    encoded, asked = [], []
    encode, classify = ProposalGenerator.encode, ClassifierTower.encode
    monkeypatch.setattr(ProposalGenerator, "encode", lambda *a: (encoded.extend(a[1]), encode(*a))[1])
    monkeypatch.setattr(ClassifierTower, "encode", lambda *a, **o: (asked.append(len(a[1])), classify(*a, **o))[1])
    settings = {**FAST, "crf": {"iterations": 1}, "recurrence": "full"}
    points = ["eta=0.4,0.3", "theta=0.049,0.048", "lambda=0.4,0.3"]
    suite = as_suite(
        sweep_of(points, one_by_one=True), "voc21", profile=None, settings=tiny_run.options(settings=settings).settings
    )
    common = {"data_root": tiny_run.data_root, "weights": "random:1", "workers": 0, "limit": 3, "batch_size": 2}
    common["quiet"] = True
    together = run_suite(suite, out=tmp_path / "all", **common)
    once = (len(encoded), sum(asked))
    assert len(together.runs) == 4
    assert once[0] == 3
    for entry in suite.runs:
        straight = evaluate(RunOptions("voc21", settings=entry.settings, out=tmp_path / entry.name, **common))
        assert comparable(together.runs[entry.name].path) == comparable(straight.path)
        assert counts(together.runs[entry.name].path) == counts(straight.path)
    assert len(encoded) - once[0] == 4 * 3
    assert sum(asked) - once[1] > 1.3 * once[1]

    # That processes find the same is shown in test_suite_runs; here their parts go one after the other.
    jobs = [*zip(suite.runs, suite.options(out=tmp_path / "parts", **common), strict=True)]
    for part in (jobs[:2], jobs[2:]):
        for (entry, _), (run, _) in zip(part, suite_module.run_group(lambda event: None, part), strict=True):
            assert counts(run.path) == counts(together.runs[entry.name].path)


def test_a_point_that_is_behind_goes_first(tiny_run: Any, tmp_path: Path) -> None:
    """Points that were stopped at different samples end as straight runs."""
    settings = tiny_run.options(settings=FAST).settings
    suite = as_suite(sweep_of(["eta=0.3,0.6"]), "voc21", profile=None, settings=settings)
    common = {"data_root": tiny_run.data_root, "weights": "random:1", "workers": 0, "batch_size": 2}
    whole = run_suite(suite, out=tmp_path / "whole", **common)
    cut = run_suite(suite, out=tmp_path / "cut", **common)
    for (name, run), left in zip(cut.runs.items(), (1, 5), strict=True):
        file = run.path / "samples.jsonl"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:left]))
        assert counts(run.path) != counts(whole.runs[name].path)
    run_suite(suite, out=tmp_path / "cut", **common)
    for name, run in cut.runs.items():
        assert counts(run.path) == counts(whole.runs[name].path)
        assert comparable(run.path) == comparable(whole.runs[name].path)


def test_sweep_points_share_refining_processes_and_answers(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pool for all points; what two of them would refine alike is refined once, and takes the second no time."""
    pools, tasks = [], []
    start, submit = Processes.start, Processes.submit
    monkeypatch.setattr(Processes, "start", lambda self: (pools.append(1), start(self))[1])
    monkeypatch.setattr(Processes, "submit", lambda self, task: (tasks.append(1), submit(self, task))[1])
    settings = tiny_run.options(settings={**FAST, "crf": {"iterations": 1}, "recurrence": "full"}).settings
    suite = as_suite(sweep_of(["theta=0.048,0.0480001"]), "voc21", profile=None, settings=settings)
    common = {"data_root": tiny_run.data_root, "weights": "random:1", "workers": 0, "limit": 3, "quiet": True}
    here = run_suite(suite, out=tmp_path / "here", refine_workers=0, **common)
    assert (pools, tasks) == ([], [])
    beside = run_suite(suite, out=tmp_path / "beside", refine_workers=1, **common)
    assert (len(pools), len(tasks)) == (1, 3)
    first, second = beside.runs
    for name, run in here.runs.items():
        assert counts(beside.runs[name].path) == counts(run.path)
    spent = [
        [json.loads(line)["seconds"]["refine"] for line in (beside.runs[name].path / "samples.jsonl").open()]
        for name in (first, second)
    ]
    assert all(spent[0])
    assert not any(spent[1])
