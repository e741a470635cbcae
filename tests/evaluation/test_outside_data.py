"""Data sets, benchmarks and prompts of other packages and of files: found, refused, run, part of what a run is."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from helpers.plugin_package import ENTRY_POINTS, FRUIT, Install, write_fruit
from helpers.prompts import draw_prompts
from typer.testing import CliRunner

from car_core import CaRConfig
from dataset_adapters import DatasetError, SampleError, load
from dataset_adapters.base import adapter as registry
from evaluation import RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.request.benchmark import Benchmark, BenchmarkError, benchmark_schema, load_benchmark
from evaluation.request.methods import find_method
from evaluation.run.merge import merge
from evaluation.run.trackers import find_tracker
from evaluation.tasks.extra_metrics import find_metrics
from support import plugins
from support.plugins import PluginError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def options(tmp_path: Path, tiny_model: Path) -> Callable[..., RunOptions]:
    """A run of the package's benchmark with tiny models."""
    root = write_fruit(tmp_path / "data")
    settings = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}

    def options(benchmark: str = "fruit-salad", **given: Any) -> RunOptions:
        own = {"workers": 0, "refine_workers": 0, "quiet": True, **given}
        own["settings"] = {**settings, **own.pop("settings", {})}
        return RunOptions(benchmark, root, weights="random:1", **own)

    return options


def car(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def records(run: Path) -> list[dict[str, Any]]:
    """The records without what differs from run to run."""
    found = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    return sorted(({**record, "seconds": None} for record in found), key=lambda record: str(record["id"]))


def test_a_package_brings_data_and_benchmark(
    install: Install, options: Callable[..., RunOptions], tmp_path: Path
) -> None:
    """Two workers, shards and an interrupted run give the records and figures of one process, byte for byte."""
    folder = install()
    whole = evaluate(options(out=tmp_path / "whole"))
    assert whole.header.counts.n_scored == 5
    assert [(plugin.kind, plugin.name, plugin.package, plugin.version) for plugin in whole.header.plugins] == [
        ("benchmarks", "fruit-salad", "fruitbox", "1.0"),
        ("datasets", "fruit", "fruitbox", "1.0"),
    ]
    assert whole.header.identity_fields["plugins"] == {
        own.kind: {own.name: own.model_dump(exclude={"kind", "name"})} for own in whole.header.plugins
    }
    assert str(tmp_path) not in json.dumps(whole.header.identity_fields["plugins"])
    assert (
        "- benchmarks fruit-salad: fruitbox:BENCHMARK of fruitbox 1.0, sources "
        in (whole.path / "table.md").read_text()
    )
    workers = evaluate(options(out=tmp_path / "workers", workers=2))
    for part in (1, 2):
        evaluate(options(out=tmp_path / f"part{part}", shard=(part, 2)))
    merge([tmp_path / "part1", tmp_path / "part2"], tmp_path / "merged")
    torn = tmp_path / "workers" / "samples.jsonl"
    torn.write_bytes(b"".join(torn.read_bytes().splitlines(True)[:2]))  # as after a kill
    again = evaluate(options(out=tmp_path / "workers", workers=2))
    for run in ("workers", "merged"):
        assert records(tmp_path / run) == records(whole.path), run
        header = json.loads((tmp_path / run / "run.json").read_text())
        assert (header["identity"], header["metrics"]) == (whole.header.identity, whole.header.metrics), run
    assert workers.header.identity == again.header.identity
    module = folder / "fruitbox.py"
    module.write_text(module.read_text() + "\nCHANGED = True\n")
    del sys.modules["fruitbox"]
    plugins._installed.cache_clear()
    registry._PROVIDED.clear()
    del registry._ADAPTERS["fruit"]
    changed = evaluate(options(out=tmp_path / "changed"))
    assert changed.header.identity != whole.header.identity  # other sources may give other samples


def test_nothing_is_imported_unless_named(install: Install) -> None:
    install(source="raise SystemExit('imported')")
    assert re.search(r"\| fruit +\| of fruitbox 1.0 ", car("data", "list").output)
    listed = json.loads(car("benchmarks", "--json").output)
    assert {"name": "fruit-salad", "title": None, "task": None, "data_set": None, "package": "fruitbox 1.0"} in listed
    assert load_benchmark("mini-voc").embedded
    assert "fruitbox" not in sys.modules
    named = car("benchmarks", "fruit-salad")
    assert (named.exit_code, named.stderr) == (
        2,
        "error: fruitbox:BENCHMARK: expected a module that can be imported, found SystemExit: imported\n",
    )


def test_another_process_decodes_what_a_file_brings(install: Install, tmp_path: Path) -> None:
    """As a spawned worker: it gets the pickled data set and has imported nothing."""
    (tmp_path / "own.py").write_text(FRUIT)
    samples = load(f"{tmp_path}/own.py:FruitAdapter", write_fruit(tmp_path / "data"))
    (tmp_path / "samples.pickle").write_bytes(pickle.dumps(samples))
    script = "import pickle, sys; s = pickle.load(open(sys.argv[1], 'rb')); print(s[1].id, s.task)"

    def started(script: str) -> Any:
        command, path = [sys.executable, "-c", script, str(tmp_path / "samples.pickle")], {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env={**os.environ, **path}, capture_output=True, text=True)

    ran = started(script)
    assert (ran.stdout, ran.stderr) == ("1 semantic\n", "")
    # As one that starts again after an edit; it gets them from a process that has not imported them either.
    (tmp_path / "own.py").write_text(FRUIT + "\nOTHER = True\n")
    again = script.replace("sys;", "sys; from evaluation.engines.decoding import decoded;").replace(
        "print(s[1].id, s.task)",
        "[item] = decoded(pickle.loads(pickle.dumps(s)), [1], workers=0, ahead=0); print(item.sample)",
    )
    ran = started(again)
    expected = "expected the sources that the run was started with, found others"
    assert ran.stdout == f"1: decoding: PluginError: {tmp_path}/own.py:FruitAdapter: {expected}\n"


def test_json_is_json_whatever_an_adapter_prints(install: Install, tmp_path: Path) -> None:
    install(source=FRUIT.replace("        return read", "        print('read')\n        return read"))
    ran = car(
        "eval",
        "fruit-salad",
        f"--data-root={write_fruit(tmp_path / 'data')}",
        "--limit=1",
        "--json",
        "--weights=miniature",
    )
    assert json.loads(ran.stdout)["counts"]["n_scored"] == 1


LOUD = """
class Loud:
    name, version = "loud", "1"

    def segment(self, image, queries):
        print("seen")
        return {}["x"] if image.shape[1] == 40 else image[..., 0] * 0
"""


def test_what_outside_code_prints_in_several_processes_is_kept(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an adapter and of a method, whose traceback is there, too."""
    install(source=FRUIT.replace("        return read", "        print('read', row['id'])\n        return read"))
    loud, root = tmp_path / "loud.py", write_fruit(tmp_path / "data")
    loud.write_text(LOUD)
    run = evaluate(RunOptions("fruit-salad", root, method=f"{loud}:Loud", workers=0, processes=2, out=tmp_path / "run"))
    logs = "".join(log.read_text() for log in sorted(run.path.glob("process-*.log")))
    assert sorted(re.findall("read [0-9]", logs)) == [f"read {number}" for number in range(5)]
    assert logs.count("seen\n") >= 5
    assert f'File "{loud}", line 7, in segment' in logs
    assert f"notice: {run.path}: what the processes printed is in process-*.log\n" in capsys.readouterr().err


def test_data_check_reads_a_package_s_data_set(install: Install, tmp_path: Path) -> None:
    install()
    root = write_fruit(tmp_path / "data")
    for name, option in (("fruit", "--data-root"), ("fruit-salad", "--root")):
        found = car("data", "check", name, option, str(root))
        assert found.exit_code == 0, found.stderr
        assert "fruit, split all: 5 images (fruit)" in found.output
    lines = car("data", "list", "fruit", f"--data-root={root}").output.splitlines()
    assert lines == [
        "fruit: of fruitbox",
        "  task: semantic",
        "  classes: 2",
        "  split: all",
        f"  data: 5 samples in {root / 'fruit'}",
    ]
    refused = car("data", "prepare", "fruit").stderr
    assert refused == "error: fruit: expected a data set of car-eval, found one of fruitbox\n"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            ("version: int = 1", "version: str = '1'"),
            "version of an adapter: expected a whole number, found '1'",
        ),
        (("def read(", "def reads("), "read of an adapter: expected a function, found None"),
        (('name: str = "fruit"', 'name: str = "voc21"'), "name: expected adapters of 'fruit', found ['voc21']"),
        (
            ("name: str = ", "name: str\n    other: str = "),
            "expected a class that takes no arguments, found TypeError: ",
        ),
        (
            ('task: str = "semantic"', 'task: str = "counting"'),
            "task of fruit: expected a known name, found 'counting'",
        ),
        (
            ("def label_space(self, names):", "def label_space(self, names):\n        1 / 0"),
            "fruitbox:BENCHMARK: ZeroDivisionError: division by zero",
        ),
        (
            ("return [{", "return [{'id': 3} for id in ids] or [{"),
            "image of 3: expected a file name in UTF-8, found None",
        ),
        (("return [{", "return [] and [{"), "expected samples of fruit, split all, found none"),
    ],
)
def test_a_bad_adapter_is_one_line(
    change: tuple[str, str], error: str, install: Install, options: Callable[..., RunOptions], tmp_path: Path
) -> None:
    assert change[0] in FRUIT
    install(source=FRUIT.replace(*change))
    options()
    places = f"--data-root={tmp_path / 'data'}", f"--out={tmp_path / 'run'}"
    found = car("eval", "fruit-salad", *places, "--weights=miniature")
    assert found.exit_code == 2
    assert error in found.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("sample", "error"),
    [
        ("None", "read: expected a Sample, found NoneType"),
        ("Sample('x', image, (), 'semantic', labels)", "id: expected '0', found 'x'"),
        ("Sample('0', image[0], (), 'semantic', labels)", r"image: expected uint8 \[H, W, 3\], found uint8 \[5, 3\]"),
        (
            "Sample('0', image, (), 'semantic', labels * 1.0)",
            r"target: expected int32 \[4, 5\], found float64 \[4, 5\]",
        ),
        ("Sample('0', image, (), 'semantic', labels + 3)", r"target: expected labels 0..2 or 255, found \[3\]"),
        (
            "Sample('0', image, (), 'semantic', labels, void=labels[1:] > 0)",
            r"void: expected none or bool \[4, 5\], found bool \[3, 5\]",
        ),
    ],
)
def test_a_bad_sample_is_refused_before_it_is_counted(
    sample: str, error: str, install: Install, tmp_path: Path
) -> None:
    head = "import numpy as np\nfrom dataset_adapters import Sample\n"
    read = (
        f"image, labels = np.zeros((4, 5, 3), 'u1'), np.zeros((4, 5), 'i4')\n        return {sample}\n        return "
    )
    install(source=head + FRUIT.replace("return read_semantic_sample", f"{read}read_semantic_sample"))
    samples = load("fruit", write_fruit(tmp_path / "data"))
    with pytest.raises(SampleError, match=rf"^0: 'fruit' of fruitbox: {error}$"):
        samples[0]


def test_a_data_set_of_several_sources(install: Install, tmp_path: Path) -> None:
    """The first whose files are there is read; a class in the tuple is made."""
    sources = """
class Pixels(FruitAdapter):
    def __init__(self):
        super().__init__(name="fruit/pixels")

SOURCES = (FruitAdapter(name="fruit/instances", file_columns=("image", "polygons")), Pixels)
"""
    install(source=FRUIT + sources, points={"datasets": {"fruit": "fruitbox:SOURCES"}})
    root = write_fruit(tmp_path / "data")
    assert load("fruit", root, source="pixels").name == "fruit/pixels"
    with pytest.raises(DatasetError, match=r"polygons of '0': expected a file name in UTF-8, found None"):
        load("fruit", root)
    with pytest.raises(DatasetError, match=r"expected a label source of fruit \(instances, pixels\), found 'x'"):
        load("fruit", root, source="x")


def test_names_that_clash_are_told_with_their_packages(install: Install) -> None:
    install()
    taken = {"methods": "clip", "metrics": "boundary_iou", "trackers": "wandb", "prompts": "circle"}
    others = {kind: {name: "other:X"} for kind, name in {**taken, "benchmarks": "voc21"}.items()}
    install("other", points={**others, "datasets": {"fruit": "other:X", "voc21": "other:X"}})
    find = {
        "methods": find_method,
        "metrics": lambda name: find_metrics([name], "semantic"),
        "trackers": find_tracker,
        "prompts": lambda name: CaRConfig(prompts=[name]),
    }
    for kind, name in taken.items():
        with pytest.raises(ValueError, match=f"expected one package with '{name}', found car-eval and other"):
            find[kind](name)
    with pytest.raises(PluginError, match=r"data set: expected one package with 'fruit', found other and fruitbox"):
        load("fruit", ".")
    with pytest.raises(PluginError, match=r"data set: expected one package with 'voc21', found car-eval and other"):
        load("voc21", ".")
    with pytest.raises(PluginError, match=r"benchmark: expected one package with 'voc21', found car-eval and other"):
        load_benchmark("voc21")
    with pytest.raises(DatasetError, match=r"found 'fruits'; did you mean fruit\?"):
        load("fruits", ".")
    with pytest.raises(BenchmarkError, match=r"found 'fruit-sala'; did you mean fruit-salad\?"):
        load_benchmark("fruit-sala")


DIM = """
def dim(image, gray_weights):
    return image // 2

def frame(image, mask):
    image[0] = image[-1] = 255
    return image
"""


def test_a_package_brings_prompts(install: Install, options: Callable[..., RunOptions], tmp_path: Path) -> None:
    points = {**ENTRY_POINTS, "prompts": {"dim": "fruitbox:dim", "frame": "fruitbox:frame"}}
    install(source=FRUIT + DIM, points=points)
    config = CaRConfig(prompts=("dim", "circle"))
    assert config.prompts == ("dim", "circle")
    image, mask = np.full((4, 6, 3), 200, np.uint8), np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    drawn = draw_prompts(image, mask, ["dim"])
    assert (drawn[mask] == 200).all()
    assert (drawn[~mask] == 100).all()
    CaRConfig(prompts=("frame",))
    framed = draw_prompts(image, mask, ["frame", "dim"])
    assert (framed[0] == 255).all()
    assert (framed[1:3, :2] == 100).all()
    assert (image == 200).all()
    run = evaluate(options(settings={"prompts": ["dim", "circle"]}, out=tmp_path / "run"))
    assert run.header.config["prompts"] == ["dim", "circle"]
    assert [plugin.name for plugin in run.header.plugins] == ["fruit-salad", "fruit", "dim"]


def test_prompts_of_others_are_drawn_as_named(install: Install) -> None:
    """Whichever was imported first, so that figures do not depend on what a process did before."""
    install(
        source="half = lambda image, gray_weights: image // 2\nten = lambda image, gray_weights: image + 10\n",
        points={"prompts": {"half": "fruitbox:half", "ten": "fruitbox:ten"}},
    )
    CaRConfig(prompts=("ten",))
    CaRConfig(prompts=("half", "ten"))
    image, mask = np.full((2, 3, 3), 100, np.uint8), np.array([[1, 1, 0], [0, 0, 0]], bool)
    assert draw_prompts(image, mask, ["half", "ten"])[1, 1, 0] == 60
    assert draw_prompts(image, mask, ["ten", "half"])[1, 1, 0] == 55
    assert draw_prompts(image, mask, ["ten", "half", "mask"])[1, 1, 0] == 5  # ours come first


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("dim = 3", "fruitbox:dim: expected a function of (image, gray_weights) or (image, mask), found a int"),
        ("def dim(image): pass", "or (image, mask), found one of (image)"),
        ("import nothing_such", "found ModuleNotFoundError: No module named 'nothing_such'"),
    ],
)
def test_a_bad_prompt_is_one_line(source: str, error: str, install: Install) -> None:
    install(source=source, points={"prompts": {"dim": "fruitbox:dim"}})
    found = car("eval", "mini-voc", "--set=prompts=[dim]")
    assert (found.exit_code, len(found.stderr.splitlines())) == (2, 1)
    assert error in found.stderr
    assert (
        "expected visual prompts of blur, circle, contour, dim, "
        in car("eval", "mini-voc", "--set=prompts=[dym]").stderr
    )


def test_a_prompt_s_name_is_its_own(install: Install, tmp_path: Path) -> None:
    install(points={"prompts": {"blur": "fruitbox:dim"}})
    with pytest.raises(
        ValueError, match="visual prompt: expected one package with 'blur', found car-eval and fruitbox"
    ):
        CaRConfig(prompts=("blur",))
    (tmp_path / "own.py").write_text(
        "def gray(image, gray_weights): pass\ndef haze(image, gray_weights): return image[:1]"
    )
    with pytest.raises(ValueError, match="expected an unused name, found 'gray' of car-eval"):
        CaRConfig(prompts=(f"{tmp_path}/own.py:gray",))
    assert CaRConfig(prompts=(f"{tmp_path}/own.py:haze",)).prompts == ("haze",)  # places are no part of it
    with pytest.raises(ValueError, match=r"prompt haze: expected uint8 \[4, 5, 3\], found uint8 \[1, 5, 3\]"):
        draw_prompts(np.zeros((4, 5, 3), np.uint8), np.ones((4, 5), bool), ["haze"])


def written(path: Path, fields: Mapping[str, Any] | str) -> str:
    path.write_text(fields if isinstance(fields, str) else yaml.safe_dump(fields))
    return str(path)


def test_a_benchmark_is_a_file(
    options: Callable[..., RunOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Install
) -> None:
    """With an adapter of a file beside it; what reads the run back later does without both."""
    (tmp_path / "own.py").write_text(FRUIT)
    fields = {"name": "mine", "title": "Mine", "adapter": "own.py:FruitAdapter", "config": {"theta": 0.3, "crf": None}}
    path = written(tmp_path / "some.yaml", fields)
    run = evaluate(options(path, out=tmp_path / "run", workers=2))
    assert run.header.benchmark.name == "mine"
    assert run.header.config_sources["theta"] == "benchmark"
    assert [(plugin.kind, plugin.target, plugin.package) for plugin in run.header.plugins] == [
        ("datasets", "own.py:FruitAdapter", None)
    ]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "own.py").rename(moved / "own.py")
    (tmp_path / "some.yaml").unlink()
    monkeypatch.chdir(moved)
    registry._PROVIDED.clear()
    del registry._ADAPTERS["fruit"]
    again = evaluate(options(written(moved / "some.yaml", fields), out=tmp_path / "again"))
    assert again.header.identity == run.header.identity  # places are no part of it
    (moved / "some.yaml").write_text("name: [")  # the run has the fields as they were
    for command in (["table"], ["compare", str(again.path)], ["report", "--samples=0"]):
        found = car(command[0], str(run.path), *command[1:])
        assert found.exit_code == 0, found.output
    assert "mine" in car("table", str(run.path), str(again.path)).output
    registry._PROVIDED.clear()
    del registry._ADAPTERS["fruit"]
    asked = (str(run.path), f"--data-root={tmp_path}/data", "--weights=random:1")
    pictures = car("report", *asked, "--gallery", "--samples=1")
    assert pictures.exit_code == 0, pictures.output
    assert Path(pictures.stdout.strip()).read_text().count('<article class="sample"') == 3
    once_more = car("rerun", *asked, "--trust", f"--out={tmp_path / 'rerun'}", "--workers=0")
    assert once_more.exit_code == 0, once_more.output
    rerun = json.loads((tmp_path / "rerun/run.json").read_text())
    assert (rerun["identity"], rerun["benchmark"]["fields"]) == (run.header.identity, fields)
    (moved / "own.py").unlink()
    registry._PROVIDED.clear()
    gone = car("report", *asked, "--gallery")
    assert gone.stderr == "error: own.py:FruitAdapter: expected a file own.py, found none\n"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ("name: [", "expected YAML, found a mistake in line 1: expected the node content"),
        ("just text", "expected the fields of a benchmark, found 'just text'"),
        ({"name": "a", "title": "A"}, "adapter: expected a value, found none"),
        (
            {"name": "voc21", "title": "A", "adapter": "voc21"},
            "name: expected an unused name, found 'voc21', which is built in",
        ),
        ({"base": "voc21"}, "name: expected a value, found none"),
        ({"name": "a", "base": "voc"}, "benchmark: expected a known name, found 'voc'; did you mean voc20"),
        ({"name": "a", "base": "./b.yaml"}, "base: expected the name of a benchmark, found './b.yaml'"),
        ({"name": "../a", "base": "voc21"}, "name: expected text like"),
        ({"name": "a", "base": "voc21", "adapters": "x"}, "adapters: no such field; did you mean adapter or paper?"),
        ({"name": "a", "base": "voc21", "title": 3}, "title: expected text, found 3"),
        ({"name": "a", "base": "voc21", "config": {"theta": 3}}, "theta: expected at most 1, found 3"),
        ({"name": "a", "base": "voc21", "profile": "x"}, "profile: expected 'released' or 'paper', found 'x'"),
        ({"name": "a", "base": "voc21", "config": {"prompts": ["dot"]}}, "prompts: expected"),
    ],
)
def test_a_bad_file_is_one_line(fields: Any, error: str, tmp_path: Path) -> None:
    path = written(tmp_path / "b.yaml", fields)
    found = car("eval", path)
    assert (found.exit_code, len(found.stderr.splitlines())) == (2, 1)
    assert found.stderr.startswith(f"error: {path}: {error}"), found.stderr


def test_a_file_has_a_name_of_its_own(install: Install, tmp_path: Path) -> None:
    install()
    path = written(tmp_path / "b.yaml", {"name": "fruit-salad", "base": "voc21"})
    expected = f"error: {path}: name: expected an unused name, found 'fruit-salad' of fruitbox\n"
    assert car("benchmarks", path).stderr == expected


def test_a_file_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    assert car("eval", "./no.yaml").stderr.startswith("error: benchmark: no.yaml: expected a file, found nothing")
    assert "expected a file, found a folder" in car("eval", f"{tmp_path}{os.sep}").stderr


def test_a_copy_of_a_benchmark_is_not_compared_with_the_paper(tmp_path: Path) -> None:
    path = written(tmp_path / "b.yaml", {"name": "b", "base": "voc21", "config": {"theta": 0.5}})
    copy, voc21 = load_benchmark(path), load_benchmark("voc21")
    assert copy.paper is None
    assert {**copy.config, "theta": 0.6} == voc21.config
    assert copy.baselines == voc21.baselines


def test_a_file_with_the_miniature_s_data_is_shown_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Install
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("own.py").write_text(
        "import numpy as np\nclass Own:\n    name, version = 'own', '1'\n"
        "    def segment(self, image, queries):\n        return np.zeros(image.shape[:2], int)\n"
    )
    path = written(tmp_path / "mine.yaml", {"name": "mine", "base": "mini-voc"})
    run = evaluate(RunOptions(path, method="own.py:Own", limit=1, workers=0, out=tmp_path / "run"))
    Path(path).unlink()
    shown = car("report", str(run.path), "--gallery")
    assert shown.exit_code == 0, shown.output
    assert Path(shown.stdout.strip()).read_text().count('<article class="sample"') == 1
    assert "would load what the run names" in car("report", str(run.path)).stderr  # no code is imported unasked


def test_a_sweep_of_a_file(
    options: Callable[..., RunOptions], tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.chdir(tmp_path)
    given = options()
    path = written(tmp_path / "salad.yaml", {"name": "salad", "base": "fruit-salad"})
    models = [f"--set={key}={value}" for key, value in given.settings.items()]
    found = car("sweep", path, "theta=0.2,0.3", "--data-root", str(given.data_root), "--weights=random:1", *models)
    assert found.exit_code == 0, found.stderr
    [folder] = (tmp_path / "results/runs").glob("suite-sweep-salad-*")
    assert json.loads((folder / "suite.json").read_text())["runs"].keys() == {"salad-theta=0.2", "salad-theta=0.3"}


def test_the_schema_fits_our_own_files_and_refuses_others() -> None:
    schema = benchmark_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    files = sorted((ROOT / "evaluation/benchmarks").glob("*.yaml"))
    assert len(files) > 20
    for file in files:
        validator.validate(yaml.safe_load(file.read_text()))
    good = {"name": "a", "base": "voc21"}
    for bad in ({"name": "a"}, {**good, "adaptor": "x"}, {**good, "config": {"thetas": 1}}, {**good, "profile": "x"}):
        assert not validator.is_valid(bad), bad
    assert {*schema["properties"]} == {*Benchmark.model_fields, "base"}
    assert json.loads(car("benchmarks", "--schema").output) == schema


def test_benchmarks_are_listed() -> None:
    rows = {row["name"]: row for row in json.loads(car("benchmarks", "--json").output)}
    assert rows["grefcoco-val"]["task"] == "generalized"
    assert rows["mini-voc"] == {
        "name": "mini-voc",
        "title": "Miniature of Pascal VOC, 20 classes and background",
        "task": "semantic",
        "data_set": "voc21",
        "package": None,
    }
