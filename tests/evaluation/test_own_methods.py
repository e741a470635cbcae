"""Methods from outside: what runs, what is recorded, and one line for what is wrong with a class."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.davis_tree import davis_tree
from typer.testing import CliRunner, Result

from car_core import Segmentation
from dataset_adapters import embedded_root, load
from evaluation import RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.request.methods import METHODS
from evaluation.request.own_methods import OwnConfig
from evaluation.request.own_segmenter import OwnMethodError, OwnSegmenter
from evaluation.request.resolve import resolve
from evaluation.run.merge import merge
from evaluation.run.rerun import request_of_run
from evaluation.suites import runner as suite
from evaluation.suites.definitions import load_suite
from evaluation.tasks.video import Pair
from results import RunDirectory, StoreError
from support.errors import AllFailedError
from support.plugins import PluginError

BRIGHT = """
import dataclasses
import os

import numpy as np


class Bright:
    name = "bright"
    version = "1"
    tasks = ("semantic", "referring", "generalized", "video")
    author = None

    @dataclasses.dataclass
    class Settings:
        threshold: float = 0.5

        def __post_init__(self):
            if self.threshold > 1:
                raise ValueError("at most 1")

    def __init__(self, settings, device):
        self.threshold, self.seen = settings.threshold, 0

    def segment(self, image, queries):
        self.seen += 1
        if str(self.seen) == os.environ.get("STOP_AT"):
            raise KeyboardInterrupt
        return (image.mean(axis=2) > 255 * self.threshold) * len(queries)
"""
BATCH = BRIGHT.replace(
    "def segment(self, image, queries):",
    """def segment_batch(self, images, queries_per_image):
        return [self._one(image, queries) for image, queries in zip(images, queries_per_image)]

    def _one(self, image, queries):""",
)
BRINGS = "    default_names = '{}'\n    author"
MASK = BRIGHT.replace(" * len(queries)", "")


def car(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a source as a file of its own: a file is imported once a process."""

    def write(source: str, name: str = "") -> Path:
        path = tmp_path / (name or f"own_{len(list(tmp_path.glob('own_*')))}.py")
        path.write_text(source)
        return path

    return write


@pytest.fixture
def options(tiny_run: Any) -> Callable[..., RunOptions]:
    """options(method, ...): those of a run over the small tree."""

    def make(method: object, **changes: Any) -> RunOptions:
        given = {"settings": {}, "weights": None, "out": tiny_run.out, **changes}
        return replace(tiny_run.options(), method=str(method), **given)

    return make


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """installed(source, points, version): a package on the path with entry points; returns its name."""

    def install(source: str, points: str = "bright = {}:Bright", version: str = "0.3") -> str:
        name = f"their_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}_{len(list(tmp_path.glob('site*')))}"
        site = tmp_path / f"site-{name}"
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(source)
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[car_eval.methods]\n{points.format(name)}\n")
        monkeypatch.syspath_prepend(site)
        return name

    return install


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of samples.jsonl without times, as JSON."""
    lines = [json.loads(line) for line in (path / "samples.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def one_line(result: Result) -> str:
    """The one line of a user error."""
    __tracebackhide__ = True
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1), result.output
    return result.stderr.strip()


@pytest.mark.parametrize(("default", "by"), [(" = 0.5", "default"), (" = 0.4", "user"), ("", "user")])
def test_a_setting_that_changes_nothing_is_not_the_users(file: Any, default: str, by: str) -> None:
    method = f"{file(BRIGHT.replace('threshold: float = 0.5', f'threshold: float{default}'))}:Bright"
    assert resolve(RunOptions("mini-voc", method=method, settings={"threshold": 0.5})).set_by["threshold"] == by


def test_a_run_counts_what_the_class_finds(file: Any, options: Any, tiny_run: Any) -> None:
    run = evaluate(options(f"{file(BRIGHT)}:Bright", settings={"threshold": 0.4}))
    for record, sample in zip(records(run.path), load("voc21", tiny_run.data_root), strict=True):
        found, counted = np.where(sample.image.mean(axis=2) > 102, 20, 0), sample.target != 255
        expected = Counter(zip(sample.target[counted].tolist(), found[counted].tolist(), strict=True))
        assert {(t, p): n for t, p, n in record["counts"]["confusion"]} == expected
        assert record["queries_kept"] == ([sample.queries[19]] if found.any() else [])
    header = run.header
    assert header.config == {"method": "bright", "version": "1", "threshold": 0.4}
    assert header.config_sources == {"method": "default", "version": "default", "threshold": "user"}
    assert (header.weights, [(p.kind, p.name, p.target) for p in header.plugins]) == (
        [],
        [("methods", "bright", "own_0.py:Bright")],
    )
    assert "| bright " in (run.path / "table.md").read_text()
    assert "unknown weights" not in (run.path / "table.md").read_text()


def test_own_method_resumed_and_merged_records_are_the_same(
    installed: Any, options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip(installed(BRIGHT))
    whole = evaluate(options("bright", out=tmp_path / "whole"))
    monkeypatch.setenv("STOP_AT", "3")
    asked = options("bright", out=tmp_path / "cut", batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        evaluate(asked)
    assert len(records(tmp_path / "cut")) == 2
    monkeypatch.delenv("STOP_AT")
    resumed = evaluate(asked)
    parts = [evaluate(options("bright", out=tmp_path / f"part{i}", shard=(i, 2))).path for i in (1, 2)]
    header = merge(parts, tmp_path / "merged")
    assert records(tmp_path / "whole") == records(tmp_path / "cut")
    assert records(tmp_path / "whole") == sorted(records(tmp_path / "merged"), key=lambda record: record["id"])
    assert whole.header.identity == resumed.header.identity == header.identity
    assert whole.header.metrics == resumed.header.metrics == header.metrics
    assert header.plugins == whole.header.plugins
    assert (header.plugins[0].package, header.plugins[0].version) == (module.__name__, "0.3")
    compared = car("compare", tmp_path / "whole", tmp_path / "merged")
    assert compared.exit_code == 0, compared.output


def test_a_batch_gives_what_single_images_give(file: Any, options: Any, tmp_path: Path) -> None:
    runs = [evaluate(options(f"{file(text)}:Bright", out=tmp_path / f"{len(text)}")) for text in (BRIGHT, BATCH)]
    assert records(runs[0].path) == records(runs[1].path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "bright"', "name = 3"), "name: expected letters, digits and . _ + -, at most 40, found 3"),
        (('name = "bright"', 'name = "a/../b"'), "name: expected letters"),
        (('name = "bright"', 'name = "NACLIP"'), "name: expected another name than car-eval's own, found NACLIP"),
        (('name = "bright"', ""), "name: expected letters, digits and . _ + -, at most 40, found None"),
        (('version = "1"', "version = 1"), "version: expected a text of at most 40 characters, found 1"),
        (
            ('tasks = ("semantic",', 'tasks = ("semantics",'),
            "tasks: expected some of referring, generalized, semantic, video, found",
        ),
        (
            ('tasks = ("semantic", "referring", "generalized", "video")', 'tasks = "semantic"'),
            """tasks: expected a set of names, as in {"semantic"}, found the text 'semantic'""",
        ),
        (("def segment(", "def segments("), "segment: expected a method segment(image, queries) or segment_batch"),
        (("segment(self, image, queries)", "segment(self, image)"), "segment: expected 2 arguments besides self"),
        (("self, settings, device", "self, settings, model"), "__init__: expected settings, device and task to be all"),
        (("@dataclasses.dataclass", ""), "Settings: expected a pydantic model or a dataclass, found a type"),
        (("threshold: float = 0.5", "version: str = 'a'"), "Settings.version: expected another name"),
        (
            ("threshold: float = 0.5", "threshold: float = -float('inf')"),
            "expected all values as JSON, found ValueError",
        ),
        (("threshold: float = 0.5", "threshold: float"), "threshold: expected a value, found none"),
        (("= 0.5", "= 0.5\n        size: int = 'high'"), "size: expected an integer, found 'high'"),
        (("threshold: float = 0.5", "threshold: 'Nothing' = 0.5"), "Settings: expected types that pydantic knows"),
        (("    author = None", "    weights = 7"), "weights: expected a mapping of roles to files or names"),
        (("    author = None", "    weights = {'a': 7}"), "weights['a']: expected a file or a name, found 7"),
        (("    author = None", "    weights = {'a': 'no.pt'}"), "weights['a']: expected a file at no.pt, found none"),
        (
            ("    author = None", "    weights = lambda s: s.no"),
            "weights: expected a function of the settings, found At",
        ),
        (
            ("import numpy", "import absent_of_nobody, numpy"),
            "expected a module that can be imported, found ModuleNotF",
        ),
        (("class Bright:", "class Brght:"), "expected Bright in"),
        (("class Bright:", "def Bright(): pass\nclass B:"), "expected a class, found a function"),
        (
            ("self.threshold, self.seen", "raise ValueError('no\\nGPU')\n        self.a, self.seen"),
            "ValueError: no GPU",
        ),
    ],
)
def test_what_is_wrong_with_a_class_is_one_line_before_work(
    file: Any, tiny_run: Any, change: tuple[str, str], message: str
) -> None:
    assert change[0] in BRIGHT
    path = file(BRIGHT.replace(*change))
    told = one_line(
        car("eval", "voc21", f"--data-root={tiny_run.data_root}", f"--out={tiny_run.out}", f"--method={path}:Bright")
    )
    assert "bright" in told.lower()
    assert message in told
    assert not tiny_run.out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set=thresh=1"], "thresh: no such field of bright; did you mean threshold?"),
        (["--set=threshold=high"], "threshold: expected a number, found 'high'"),
        (["--set=threshold=7"], "error: bright: at most 1"),
        (["--weights=openai"], "--weights: expected none, since bright names its own (--set), found 'openai'"),
        (["--profile=paper"], "--profile: expected none, since bright has no profiles"),
        (["--precision=bfloat16"], "--precision: expected float32 with --method bright"),
    ],
)
def test_what_a_method_does_not_take_is_one_line(file: Any, tiny_run: Any, arguments: list[str], message: str) -> None:
    method = f"--method={file(BRIGHT)}:Bright"
    told = one_line(
        car("eval", "voc21", f"--data-root={tiny_run.data_root}", f"--out={tiny_run.out}", method, *arguments)
    )
    assert message in told
    assert not tiny_run.out.exists()


def test_tasks_that_a_class_does_not_name_are_refused(file: Any) -> None:
    path = file(BRIGHT.replace('tasks = ("semantic", "referring", "generalized", "video")', ""))
    told = one_line(car("eval", "mini-refcoco", f"--method={path}:Bright"))
    assert "--method: expected a benchmark of the task semantic for bright, found referring" in told


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("np.zeros((3, 4), int)", "Bright.segment: expected an integer label map [{h}, {w}], found int64 [3, 4]"),
        ("np.full(image.shape[:2], np.nan)", "expected an integer label map [{h}, {w}], found float64 [{h}, {w}]"),
        ("np.ones(image.shape[:2], bool)", "found bool [{h}, {w}]"),
        ("np.full(image.shape[:2], 21)", "Bright.segment: expected labels 0..20, one per query, found 21"),
        ("np.full(image.shape[:2], -1)", "expected labels 0..20, one per query, found -1"),
        ("None", "expected an integer label map as an array or tensor, found NoneType"),
        ("image[..., 0].tolist()", "as an array or tensor, found list"),
        ("1 / 0", "Bright.segment: ZeroDivisionError: division by zero"),
        ("exit(3)", "Bright.segment: SystemExit: 3"),
        ("np.empty(10**15)", "Bright.segment: "),
        ("time.sleep(60)", "Bright.segment: took longer than 0.2 seconds"),
        ("torch.zeros(image.shape[:2], dtype=torch.bfloat16)", "expected integers or booleans, found torch.bfloat16"),
    ],
)
def test_what_goes_wrong_later_is_a_failed_record(
    file: Any, options: Any, tiny_run: Any, result: str, reason: str
) -> None:
    first = "if image.shape[1] == 40:"  # the first sample alone
    text = BRIGHT.replace("self.seen += 1", f"self.seen += 1\n        {first} return {result}")
    path = file(f"import time, torch\n{text}")
    run = evaluate(options(f"{path}:Bright", sample_timeout=0.2, limit=3))
    sample = load("voc21", tiny_run.data_root)[0]
    height, width = sample.image.shape[:2]
    failed, *others = records(run.path)
    assert reason.format(h=height, w=width) in failed["error"]
    assert failed["error"].startswith("segmentation: OwnMethodError: ")
    assert [record["status"] for record in others] == ["ok", "ok"]
    assert run.header.status == "complete"


def test_a_class_changes_nothing_for_what_follows(file: Any, options: Any, tmp_path: Path) -> None:
    """Image, torch, numpy, random, folder and standard output: each sample is as the first, as in single runs."""
    changes = """self.seen += 1
        noise = random.random(), np.random.rand(), float(torch.rand(())), torch.get_default_dtype(), os.getcwd()
        threads = torch.get_num_threads()
        torch.set_num_threads(threads + 1)
        image[:] = 255 * (len(set(map(str, noise))) and noise[0] > 0.5)
        torch.set_default_dtype(torch.float64), torch.set_grad_enabled(False), np.seterr(all="raise"), os.chdir("/")
        print(noise, image.mean())
        return torch.from_numpy(image[..., 0] > 0).int() * (1 + int(100 * sum(noise[:3]) + threads) % 20)"""
    text = "import os, random, torch\n" + BRIGHT.replace("self.seen += 1", changes)
    method = f"{file(text)}:Bright"

    def state() -> tuple[Any, ...]:
        return torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), np.geterr(), Path.cwd()

    before = state()
    runs = [evaluate(options(method, out=tmp_path / str(size), batch_size=size)) for size in (1, 4)]
    assert state() == before
    assert records(runs[0].path) == records(runs[1].path)
    assert runs[0].header.counts.n_failed == 0


def test_json_on_standard_output_is_json_whatever_a_class_prints(file: Any, tiny_run: Any) -> None:
    path = file("print('imported')\n" + BRIGHT.replace("self.seen += 1", "self.seen += 1; print('one more')"))
    root, out = f"--data-root={tiny_run.data_root}", f"--out={tiny_run.out}"
    result = car("eval", "voc21", root, out, f"--method={path}:Bright", "--limit=1", "--workers=0", "--json")
    assert json.loads(result.stdout)["config"]["method"] == "bright"


def test_own_method_traceback_is_shown_on_demand(file: Any, tiny_run: Any) -> None:
    path = file(BRIGHT.replace("self.seen += 1", "print('seen'); {}['x'] if image.shape[1] == 40 else 0"))
    root, method = f"--data-root={tiny_run.data_root}", f"--method={path}:Bright"
    asked = ("eval", "voc21", root, method, "--limit=2", "--workers=0", f"--out={tiny_run.out}")
    [line] = [n for n, text in enumerate(path.read_text().splitlines(), start=1) if "print('seen')" in text]
    where = f'File "{path}", line {line}, in segment'
    for flags, is_shown in (((), False), (("--debug",), True), ((), False)):
        told = car(*flags, *asked).stderr
        assert ("Bright.segment:\nTraceback (most" in told, where in told) == (is_shown, is_shown)


def test_a_method_that_always_fails_has_no_figure_and_one_error(file: Any, tmp_path: Path) -> None:
    crash, wrong = (
        file(BRIGHT.replace("Bright", name).replace('"bright"', f'"{name}"').replace("self.seen += 1", text))
        for name, text in (("Crash", "{}['x']"), ("Wrong", "return 1"))
    )

    def run(methods: str, out: Path) -> tuple[Result, str]:
        done = car("eval", "mini-voc", f"--method={methods}", "--limit=2", "--workers=0", f"--out={out}")
        assert done.exit_code == 3, done.output
        [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        return done, error.removeprefix("error: ")

    done, error = run(f"{file(BRIGHT)}:Bright,{crash}:Crash", tmp_path / "both")
    works, fails = [line.split("|") for line in done.stdout.splitlines() if "| miou" in line]
    assert (works[3].strip() != "", fails[3].strip()) == (True, "")
    assert "all 2 samples failed" in "|".join(fails)
    assert "not finished" not in done.stdout
    [number] = [n for n, line in enumerate(crash.read_text().splitlines(), start=1) if "{}['x']" in line]
    failed, retry = "all 2 samples failed, the first 2026_000001: ", "; run the same command to retry"
    reason = f"{failed}Crash.segment: KeyError: 'x' ({crash.name}:{number}){retry}; car --debug shows the traceback"
    assert error == f"{tmp_path / 'both' / 'Crash'}: {reason}"
    assert run(f"{crash}:Crash", tmp_path / "c")[1] == f"{tmp_path / 'c'}: {reason}"
    # What it returned has no traceback.
    reason = f"{failed}Wrong.segment: expected an integer label map as an array or tensor, found int{retry}"
    assert run(f"{wrong}:Wrong", tmp_path / "w")[1] == f"{tmp_path / 'w'}: {reason}"


def test_own_method_identity_is_of_source_settings_and_weights(options: Any, tmp_path: Path) -> None:
    with_file = BRIGHT.replace(
        "threshold: float = 0.5", "threshold: float = 0.5\n        checkpoint: str = ''"
    ).replace("author = None", "author = None\n    weights = lambda settings: {'encoder': settings.checkpoint or None}")
    paths = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    for path, content in zip(paths, (b"one", b"one", b"two"), strict=True):
        path.write_bytes(content)

    seen: list[Any] = []
    for source, settings in [
        (with_file, {}),
        (with_file, {"threshold": 0.5}),
        (with_file.replace('version = "1"', 'version = "2"'), {}),
        (with_file + "# more\n", {}),
        (with_file, {"threshold": 0.6}),
        (with_file, {"checkpoint": "org/model"}),
        *((with_file, {"checkpoint": str(path)}) for path in paths),
    ]:
        path = tmp_path / f"own-{len(seen)}" / "own.py"
        path.parent.mkdir()
        path.write_text(source)
        asked = options(f"{path}:Bright", settings=settings, out=tmp_path / str(len(seen)), limit=1)
        seen.append(evaluate(asked).header)
    same = [[i for i, other in enumerate(seen) if other.identity == each.identity] for each in seen]
    assert same == [[0, 1], [0, 1], [2], [3], [4], [5], [6, 7], [6, 7], [8]]
    assert [(each.role, each.name) for header in seen[5:7] for each in header.weights] == [
        ("encoder", "org/model"),
        ("encoder", "a.pt"),
    ]
    assert seen[6].weights[0].sha256 == hashlib.sha256(b"one").hexdigest()
    assert seen[6].config["checkpoint"] == str(paths[0])
    assert "checkpoint" not in seen[6].identity_fields["config"]
    changed = r"own\.py \(method bright\) changed"
    for number, settings, message in (
        (0, {}, rf"/0: {changed} since the run in this folder was made; choose another folder \(--out\), or --fresh, "),
        (
            5,
            {"checkpoint": "org/model"},
            rf"/5: {changed} since the run in this folder was made",
        ),  # named as weights' too
        (
            0,
            {"threshold": 0.6},
            rf"/0 holds a run of another identity; .*: config\.threshold is .*; {changed}$",
        ),
    ):
        edited = f"{tmp_path / 'own-3' / 'own.py'}:Bright"
        with pytest.raises(StoreError, match=message):
            evaluate(options(edited, settings=settings, out=tmp_path / str(number), limit=1))


def test_things_and_stuff_and_one_mask_for_all_phrases(file: Any, tmp_path: Path) -> None:
    apart = """def segment_things_and_stuff(self, image, things, stuff):
        return np.full(image.shape[:2], len(things) + len(stuff))

    def segment("""
    given: dict[str, Any] = {"workers": 0, "quiet": True, "limit": 2}
    space = load("context60", embedded_root()).label_space
    last = dict(zip(space.queries, space.query_labels, strict=True))[space.stuff[-1]]
    for source, labels in ((BRIGHT, {0, last}), (BRIGHT.replace("def segment(", apart), {last})):
        method = f"{file(source)}:Bright"
        run = evaluate(RunOptions("mini-context", method=method, out=tmp_path / method[-11:-7], **given))
        assert {p for record in records(run.path) for _, p, _ in record["counts"]["confusion"]} == labels
    run = evaluate(RunOptions("mini-refcoco", method=f"{file(MASK)}:Bright", out=tmp_path / "phrases", **given))
    found = records(run.path)
    samples = load("refcoco", embedded_root(), split="val", options={"sentences": "single"})
    for record, sample in zip(found, samples, strict=False):
        bright = sample.image.mean(axis=2) > 127.5
        expected = {"intersection": bright & sample.target, "union": bright | sample.target}
        assert all(record["counts"][name] == mask.sum() for name, mask in expected.items())
        assert record["queries_kept"] == list(sample.queries)
    labeled = evaluate(RunOptions("mini-refcoco", method=f"{file(BRIGHT)}:Bright", out=tmp_path / "labels", **given))
    assert [each["counts"] for each in records(labeled.path)] == [each["counts"] for each in found]
    assert [each["queries_kept"] for each in records(labeled.path)] == [each["queries_kept"][-1:] for each in found]
    floats = f"{file(MASK.replace('threshold)', 'threshold) * 1.0'))}:Bright"
    with pytest.raises(AllFailedError, match=r"Bright.segment: expected a bool mask or integer .* found float64"):
        evaluate(RunOptions("mini-refcoco", method=floats, out=tmp_path / "floats", **given))


@pytest.mark.parametrize("task", ["semantic", "video", "referring", "generalized"])
def test_a_segmentation_is_a_result_and_is_checked(task: str) -> None:
    """By hand: an image of two pixels, the queries a and b."""
    image, labels = np.zeros((1, 2, 3), np.uint8), np.array([[2, 0]], np.int32)
    masks = np.array([[[True, False]], [[True, False]]])
    right = Segmentation(("a", "b"), masks, np.array([0.2, 0.4], np.float32), (0, 1), labels, (), labels > 0)

    def found(own: Segmentation) -> Segmentation:
        class Own:
            def segment(self, image: Any, queries: Any) -> Any:
                return own

        config = OwnConfig(method="own", version="1", settings=None, values={}, files=frozenset())
        [result] = OwnSegmenter(Own, config, (), "cpu", task).segment_batch([image], [["a", "b"]])
        return result

    result = found(right)
    assert (result.kept, result.scores.tolist()) == (right.kept, right.scores.tolist())
    is_one = task in ("referring", "generalized")
    assert (result.label_map == (labels > 0 if is_one else labels)).all()
    assert (result.merged_mask is not None) == is_one
    for change, message in (
        ({"queries": ("a", "c")}, "a segmentation of the queries"),
        ({"kept": (2,)}, "kept indices below 2"),
        ({"masks": masks[:1]}, r"masks \[2, 1, 2\] and 2 scores"),
        ({"label_map": labels + 1, "merged_mask": None}, "labels 0..2|a bool mask"),
    ):
        with pytest.raises(OwnMethodError, match=message):
            found(replace(right, **change))  # type: ignore[arg-type]


def test_frames_of_a_video_have_a_label_an_object(file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    tree = davis_tree(tmp_path)
    method = f"{file(BRIGHT.replace('255 * self.threshold', '-1'))}:Bright"  # the last object everywhere
    run = evaluate(RunOptions("ref-davis17", tree.root, method=method, out=tmp_path / "run", workers=0, quiet=True))
    assert run.header.counts.n_failed == 0
    for record, sample in zip(records(run.path), load("ref-davis17", tree.root), strict=True):
        assert record["queries_kept"] == [sample.queries[-1]]
        for pair in (Pair(*row) for row in record["counts"]["pairs"]):
            area = int(sample.target[pair.target - 1].sum())
            assert pair.intersection == (area if pair.prediction == sample.query_labels[-1] else 0)


def test_a_sweep_and_a_suite_with_a_method_of_ones_own(file: Any, tmp_path: Path, tiny_run: Any) -> None:
    path, root = file(BRIGHT), tiny_run.data_root
    asked = ("sweep", "voc21", "threshold=0.3,0.6", f"--method={path}:Bright", f"--data-root={root}", "--limit=2")
    result = car(*asked, f"--out={tmp_path / 'sweep'}")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "sweep" / "table.csv").open()))
    assert [row["set.threshold"] for row in rows] == ["0.3", "0.6"]
    assert "thresh: no such field" in one_line(car("sweep", "voc21", "thresh=1,2", f"--data-root={root}", asked[3]))
    suite_of_own, of_car = (load_suite("mini").of_methods(each, {}) for each in (f"{path}:Bright", "car"))
    runs = suite_of_own.runs
    assert [run.name for run in runs] == ["mini-voc", "mini-coco-object", "mini-context", "mini-refcoco"]
    assert [run.name for run in of_car.runs] == [run.name for run in load_suite("mini").runs]
    asked_for = suite_of_own.options(weights=None)
    assert {each.method for each in asked_for} == {f"{path}:Bright"}


def test_a_vocabulary_reaches_the_fields_that_a_method_has(file: Any, tiny_run: Any) -> None:
    own = "background: tuple = ()\n        synonyms: dict = dataclasses.field(default_factory=dict)\n        "
    with_fields = BRIGHT.replace("threshold: float", own + "threshold: float")
    assert with_fields != BRIGHT
    asked: dict[str, Any] = {"data_root": tiny_run.data_root, "names": "sclip"}
    run = resolve(RunOptions("voc21", method=f"{file(with_fields)}:Bright", **asked))
    values = run.config.model_dump(mode="json")
    assert (len(values["background"]), values["synonyms"]["person"][1]) == (26, "person in shirt")
    assert (run.set_by["background"], run.set_by["threshold"]) == ("names", "default")
    assert "background" not in resolve(RunOptions("voc21", method=f"{file(BRIGHT)}:Bright", **asked)).set_by
    # A class may bring a family, which others take the place of.
    bringing = f"{file(with_fields.replace('    author', BRINGS.format('proxyclip'), 1))}:Bright"
    run = resolve(RunOptions("voc21", method=bringing, data_root=tiny_run.data_root))
    assert (getattr(run.options.names, "name", None), run.set_by["background"]) == ("proxyclip", "names")
    assert len(run.config.model_dump(mode="json")["background"]) == 26
    named = resolve(RunOptions("voc21", method=bringing, **{**asked, "names": "plain"}))
    assert getattr(named.options.names, "name", None) == "plain"
    wrong = f"{file(BRIGHT.replace('    author', BRINGS.format('scilp'), 1))}:Bright"
    with pytest.raises(PluginError, match=r"default_names: expected one of clearclip, .*, found scilp"):
        resolve(RunOptions("voc21", method=wrong, **asked))


def test_own_method_texts_stay_when_a_run_is_resolved_again(file: Any, tmp_path: Path) -> None:
    """In another process and from run.json; the texts give way to a field of the benchmark there as well."""
    fields = ("background: tuple = ('nothing',)", "synonyms: dict = dataclasses.field(default_factory=dict)")
    source = BRIGHT.replace("threshold: float", "\n        ".join([*fields, "threshold: float"]))
    method = f"{file(source.replace('    author', BRINGS.format('sclip'), 1))}:Bright"
    asked_for = RunOptions("mini-context", method=method, limit=1, workers=0, quiet=True, out=tmp_path / "run")
    first = resolve(asked_for)
    assert list(first.config.model_dump()["background"]) == ["nothing"]
    run = evaluate(asked_for)
    header = RunDirectory(run.path).read_header()
    assert header.request["names"] == "own"
    for options in (first.options, replace(request_of_run(header), method=method)):
        again = resolve(options)
        assert (again.config, again.set_by) == (first.config, first.set_by)
        assert again.options.names == first.options.names


def test_ours_and_theirs_in_one_table(
    installed: Any, options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(BRIGHT)
    asked = options("clip,bright", weights="random:1", settings={"threshold": 0.3, "templates": ["{}"]}, out=tmp_path)
    by_name = suite.options_by_method(asked)
    assert {name: (own.weights, dict(own.settings)) for name, own in by_name.items()} == {
        "clip": ("random:1", {"templates": ["{}"]}),
        "bright": (None, {"threshold": 0.3}),
    }
    ours = [name for name in METHODS if name not in ("proxyclip", "lposs", "corrclip", "sam3")]
    assert list(suite.options_by_method(replace(asked, method="all,bright"))) == [*ours, "bright"]
    monkeypatch.setattr(suite, "run_in_children", lambda groups, devices, handle: [suite.run_group(handle, *groups)])
    both = options("bright,car", weights="miniature", settings={"crf": None}, out=tmp_path / "both", limit=1)
    done = suite.run_methods(both)
    rows = list(csv.DictReader((done.path / "table.csv").open()))
    assert [row["method"] for row in rows if "published" not in row["method"]] == ["bright", "CaR"]
    with pytest.raises(ValueError, match="thresh: no method has this setting"):
        suite.options_by_method(options("clip,bright", settings={"thresh": 1}))


def test_the_list_has_a_line_for_each_and_for_what_is_broken(installed: Any, tiny_run: Any) -> None:
    first = installed(
        BRIGHT, "bright = {}:Bright\nnaclip = {}:Bright\nother = {}:Bright\nboth = {}:Bright".replace("{}", "{0}")
    )
    second = installed("raise ImportError('old\\ntorch')", "broken = {0}:Own\nboth = {0}:Own", "7")
    rows = {row["name"]: row for row in json.loads(car("methods", "--json").stdout) if row["package"] != "car-eval"}
    assert rows["bright"] == {
        "name": "bright",
        **dict.fromkeys(("title", "paper", "needs")),
        "tasks": ["generalized", "referring", "semantic", "video"],
        "version": "1",
        "package": first,
        "package_version": "0.3",
        "error": None,
    }
    assert rows["broken"]["error"].endswith("found ImportError: old torch")
    assert f"expected one package with 'naclip', found car-eval and {first}" in rows["naclip"]["error"]
    assert f"name: expected other, as {first} names it, found bright" in rows["other"]["error"]
    assert {first, second} <= set(rows["both"]["error"].replace(",", " ").split())
    lines = car("methods").stdout.splitlines()
    [own] = [line for line in lines if line.startswith("| bright ")]
    assert [cell.strip() for cell in own.split("|")[1:-1]] == ["bright", "", "", "", "all", f"{first} 0.3"]
    assert sum(line.startswith("| ") for line in lines) == len(METHODS) + 3  # with the heading and its rule
    assert sum("cannot be used: " in line for line in lines) == 5  # a name that two packages bring is a line for each
    assert "; your own: file.py:NAME" in one_line(
        car("eval", "voc21", f"--data-root={tiny_run.data_root}", "--method=bright2")
    )


def test_a_named_method_is_listed_with_its_settings(file: Any) -> None:
    settings = """
    @dataclasses.dataclass
    class Settings:
        words: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
        size: int | None = None
        mode: typing.Literal["fast", "fine"] = "fast"
        step: Annotated[float, pydantic.Field(gt=0, le=1, description="share of the side")] = 0.5
        path: pathlib.Path = pathlib.Path("a.pt")

    def"""
    cut = BRIGHT.index("    @dataclasses"), BRIGHT.index("    def __init__")
    source = "import pathlib, pydantic, typing\nfrom typing import Annotated\n"
    source += BRIGHT[: cut[0]] + settings + BRIGHT[cut[1] :].removeprefix("    def")
    method = f"{file(source)}:Bright"
    assert car("methods", method).stdout.splitlines() == [
        "bright 1: generalized, referring, semantic, video",
        "  words: fields [{}]",
        "  size: whole number or null [null]",
        '  mode: "fast" or "fine" ["fast"]',
        "  step: number > 0 and <= 1 [0.5]; share of the side",
        '  path: text ["a.pt"]',
    ]
    [row] = json.loads(car("methods", method, "--json").stdout)
    assert row["settings"][3] == {
        "name": "step",
        "type": "number > 0 and <= 1",
        "meaning": "share of the side",
        "default": 0.5,
    }
    assert {len(line) <= 100 for line in car("methods", "car", "lposs").stdout.splitlines()} == {True}
    ours = json.loads(car("methods", "car", "clip", "--json").stdout)
    assert {"theta", "crf", "mode", "profile"} & {each["name"] for each in ours[0]["settings"]} == {"theta", "crf"}
    assert "default" not in next(each for each in ours[0]["settings"] if each["name"] == "theta")
    assert "method" not in {each["name"] for each in ours[1]["settings"]}
    assert "Bryte in" in one_line(car("methods", method.replace(":Bright", ":Bryte")))
    for default, shown in (("lambda: [1]", "[[1.0]]"), ("lambda: (float('inf'),)", "[no default]")):
        own = f"= 0.5\n        sizes: tuple[float, ...] = dataclasses.field(default_factory={default})"
        listed = car("methods", f"{file(BRIGHT.replace('= 0.5', own))}:Bright").stdout
        assert listed.endswith(f"  sizes: list of number {shown}\n")
    no_settings = BRIGHT[: cut[0]] + BRIGHT[cut[1] :]
    assert len(car("methods", f"{file(no_settings)}:Bright").stdout.splitlines()) == 1


def test_what_is_not_installed_is_named_with_its_package(
    installed: Any, options: Any, tiny_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, root = installed(BRIGHT), f"--data-root={tiny_run.data_root}"
    run = evaluate(options("bright", limit=1))
    monkeypatch.setattr("sys.path", [path for path in sys.path if name not in path])
    for command in (["rerun", run.path, root], ["report", run.path, root, "--gallery"]):
        told = one_line(car(*command))
        assert f"plugins: expected {name} 0.3, which provided 'bright' (methods), to be installed, found none" in told
    assert car("table", run.path).exit_code == 0


def test_report_of_own_method_segments_again_only_when_asked(installed: Any, options: Any, tiny_run: Any) -> None:
    name = installed(BRIGHT)
    run, root = evaluate(options("bright", limit=2)), f"--data-root={tiny_run.data_root}"
    told = car("report", run.path, root).stderr
    assert f"no samples are shown, because that would load what the run names, {name}:Bright" in told
    result = car("report", run.path, root, "--gallery", "--samples=1")
    assert result.exit_code == 0, result.output
    assert Path(result.stdout.strip()).read_text().count('<article class="sample"') == 2
