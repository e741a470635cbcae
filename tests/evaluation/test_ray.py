"""The Ray engine on a cluster of two nodes on this machine, whose actors and nodes are killed in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.command import FAST, comparable
from helpers.davis_tree import davis_tree
from helpers.faults import at_the_gate, faulty, wait_at
from helpers.plugin_package import example_of, write_fruit
from helpers.waiting import is_running, wait_until
from PIL import Image
from typer.testing import CliRunner

from car_core.segmentation import Segmentation
from dataset_adapters import Dataset
from evaluation import RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.engines import ray as engine
from evaluation.engines.local import Equipment, Job, Pace
from evaluation.engines.ray import run_ray
from evaluation.request.cluster import Cluster, ClusterError
from evaluation.run.dispatch import equip as equip_of
from evaluation.run.prepare import prepare
from evaluation.tasks.scorer import Scorer
from results import RunDirectory

ray = pytest.importorskip("ray", reason="needs the extra distributed")

# A dead node is found out within two seconds.
PROMPT = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
    "worker_niceness": 0,  # beside other work they would not get on
}
SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages on the path of the nodes."""
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Iterator[Any]:
    """A cluster of a head and another node, each with room for one actor."""
    from ray.cluster_utils import Cluster as Nodes

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), str(site), *sys.path]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {**SMALL, "include_dashboard": False, "_system_config": PROMPT}
        cluster = Nodes(initialize_head=True, head_node_args=head)
        cluster.add_node(**SMALL)
        yield cluster
        cluster.shutdown()


def raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def actors_of(node: Any) -> list[int]:
    """Processes of actors that a node has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
            command = (status.parent / "cmdline").read_text()
        except OSError:  # ended meanwhile
            continue
        if parent == raylet(node) and command.startswith("ray::Actor"):
            found.append(int(status.parent.name))
    return found


def kill_an_actor_of(node: Any) -> None:
    [actor] = actors_of(node)
    os.kill(actor, signal.SIGKILL)


def kill_node(nodes: Any, node: Any) -> None:
    """End a node and wait for its actors' end, which comes a little later: quick samples would all be done by then."""
    actors = actors_of(node)
    nodes.remove_node(node, allow_graceful=False)
    wait_until(lambda: not any(is_running(actor) for actor in actors))


@pytest.fixture
def on_the_cluster(nodes: Any) -> dict[str, Any]:
    """The options of a run on both nodes."""
    if not nodes.worker_nodes:  # another test has ended it
        nodes.add_node(**SMALL)
    return {"engine": "ray", "cluster": Cluster(nodes.address)}


@contextmanager
def while_both_work(gate: Path, act: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Act once two actors wait at the gate, a folder that is made here, then open it."""
    gate.mkdir()

    def wait_and_act() -> None:
        try:
            wait_until(lambda: len(at_the_gate(gate)) == 2)
            act()
        finally:
            (gate / "open").touch()

    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(wait_and_act)
        yield
        acting.result()


class Actor(engine.Actor):
    """One that waits at the gate of its folder with whatever is not the beginning of a video."""

    def segment(self, positions: Any, survivors: Any) -> engine.Finished:
        if survivors != {}:
            wait_at(Path("gate"))
        return super().segment(positions, survivors)


KILLED = """
import os, signal
from evaluation.cli.app import app
from results import RunDirectory

def append(store, record, original=RunDirectory.append, written=[]):
    original(store, record)
    written.append(record)
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

RunDirectory.append = append
app()
"""


@pytest.mark.usefixtures("install")  # forgets what is imported
def test_ray_plugin_package_equals_one_process(
    on_the_cluster: dict[str, Any], site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed by pip; a killed and resumed run, shards, and two nodes give the bytes of one process."""
    if not (find_spec("pip") and find_spec("setuptools")):
        pytest.skip("pip and setuptools are not installed")
    monkeypatch.chdir(tmp_path)
    write_fruit(tmp_path / "data", suffix="jpg")
    colors = {"apple": [200.0, 60, 60], "pear": [90.0, 190, 90]}
    torch.save({text: torch.tensor(color) for text, color in colors.items()}, "palette.pt")
    project = example_of("docs/adding.md", "[project]").replace('["fruitbox"]', '["fruitbox", "palette"]')
    Path("package").mkdir()
    Path("package/pyproject.toml").write_text(project + '"car_eval.methods" = {palette = "palette:Palette"}\n')
    Path("package/fruitbox.py").write_text(example_of("docs/adding.md", "class FruitAdapter"))
    Path("package/palette.py").write_text(example_of("docs/own-methods.md", "class Palette"))
    flags = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", f"--target={site}"]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, "./package"], check=True)
    monkeypatch.syspath_prepend(str(site))

    def car(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout

    given = ["eval", "fruit-salad", "--data-root=data", "--metrics=presence", "--workers=0", "--batch-size=1"]
    asked = [*given, "--method=palette"]
    car(*asked, "--out=whole")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *asked, "--out=cut"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(site)])},
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(Path("cut/samples.jsonl").read_text().splitlines()) == 2
    car(*asked, "--out=cut")
    for part in ("1", "2"):
        car(*asked, f"--shard={part}/2", f"--out=part{part}")
    car("merge", "part1", "part2", "--out=merged")
    monkeypatch.setattr(engine, "Actor", Actor)
    with while_both_work(Path("gate")):
        car(*asked, "--engine=ray", f"--address={on_the_cluster['cluster'].address}", "--out=ray")
    for run in ("cut", "merged", "ray"):
        assert comparable(Path(run)) == comparable(Path("whole")), run

    right, truth = 0, np.array([[1e9] * 3, *colors.values()])
    for path in sorted(Path("data/fruit/images").iterdir()):
        away = np.linalg.norm(np.asarray(Image.open(path)).astype(float)[:, :, None] - truth, axis=3)
        found = np.where(away.min(axis=2) < 120, away.argmin(axis=2), 0)
        target = np.asarray(Image.open(f"data/fruit/labels/{path.stem}.png"))
        right += sum((found == label).any() == (target == label).any() for label in range(3))
    header = RunDirectory("whole").read_header()
    assert header.metrics["presence/accuracy"] == right / 15
    assert {(own.kind, own.name, own.package) for own in header.plugins} == {
        (kind, name, "fruitbox")
        for kind, name in {
            *(("methods", "palette"), ("datasets", "fruit")),
            *(("benchmarks", "fruit-salad"), ("metrics", "presence")),
        }
    }
    car(
        *given,
        *(f"--set={name}={json.dumps(value)}" for name, value in FAST.items()),
        "--weights=miniature",
        "--out=car",
    )
    compared = car("compare", "car", "merged", "--all")
    assert "presence/accuracy" in compared
    assert "fruit-salad: palette, palette.pt" in compared
    page = Path(car("report", "ray", "--data-root=data", "--gallery", "--samples=1").strip()).read_text()
    assert page.count('<article class="sample"') == 3
    assert "other code, packages or device" not in page  # each sample has the counts of its record again
    assert "presence/accuracy" in page


def test_ray_killed_actor_and_node_change_no_byte(
    nodes: Any, on_the_cluster: dict[str, Any], tiny_run: Any, tmp_path: Path
) -> None:
    """While both actors are at work, the head's is killed, and the other node once another is at work in its place."""
    (tiny_run.data_root / "JPEGImages" / "2007_000002.jpg").write_bytes(b"not a picture")
    gate = tmp_path / "gate"
    options = faulty(tiny_run.options(batch_size=1, workers=1), gate=str(gate), rows=36)  # the first three pass
    handler = signal.getsignal(signal.SIGTERM)
    second = nodes.worker_nodes.copy().pop()
    its_raylet = raylet(second)

    def kill() -> None:
        kill_an_actor_of(nodes.head_node)
        wait_until(lambda: len(at_the_gate(gate)) == 3)
        kill_node(nodes, second)

    with while_both_work(gate, kill):
        found = evaluate(RunOptions(**{**vars(options), **on_the_cluster}))
    assert not is_running(its_raylet)  # the wording of what is lost depends on what Ray notices first
    assert found.header.counts.n_total == 7
    assert "2007_000002" in [record.id for record in RunDirectory(found.path).read_records() if record.error]
    evaluate(RunOptions(**{**vars(options), "out": tmp_path / "straight"}))
    assert comparable(found.path) == comparable(tmp_path / "straight")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not ray.is_initialized()


def test_ray_video_with_killed_actor_equals_one_process(
    nodes: Any, on_the_cluster: dict[str, Any], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head's actor is killed while both are at work in the middle of a video."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    models = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    options: dict[str, Any] = {
        "benchmark": "ref-davis17-temporal",
        "data_root": davis_tree(tmp_path).root,
        "settings": {**models, "theta": 0.34, "templates": [], "crf": None},
        "weights": "random:1",
        "quiet": True,
        "workers": 0,
        "batch_size": 2,
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "Actor", Actor)
    with while_both_work(tmp_path / "gate", lambda: kill_an_actor_of(nodes.head_node)):
        evaluate(RunOptions(out=tmp_path / "ray", **options, **on_the_cluster))
    evaluate(RunOptions(out=tmp_path / "straight", **options))
    assert comparable(tmp_path / "ray") == comparable(tmp_path / "straight")
    maps = [
        {path.relative_to(out): path.read_bytes() for path in (out / "label_maps").rglob("*.png")}
        for out in (tmp_path / "ray", tmp_path / "straight")
    ]
    assert maps[0] == maps[1]
    assert maps[0]


OWN = """
import numpy as np

class Own:
    name, version = "own", "1"

    def segment(self, image, queries):
        return (image[..., 0] // 128).astype(int)
"""


def test_ray_method_file_is_imported_on_each_node(
    on_the_cluster: dict[str, Any], tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    changes = {"settings": {}, "weights": None, "method": "./own.py:Own", "batch_size": 2}
    options = {**vars(tiny_run.options()), **changes}
    evaluate(RunOptions(**{**options, **on_the_cluster}))
    evaluate(RunOptions(**{**options, "out": tmp_path / "straight"}))
    assert comparable(tiny_run.out) == comparable(tmp_path / "straight")


def test_ray_node_without_the_method_file_is_named(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    host, fields = os.uname().nodename, dict[str, Any]()

    def ready() -> Any:
        options = replace(tiny_run.options(), settings={}, weights=None, method="./node.py:Own")
        equip = partial(equip_of, options, None)
        return engine.Actor(Job(equip, fields, ".", Pace(1, workers=0))).set_up()

    assert ready() == f"node {host}: ./node.py:Own: expected a file ./node.py, found none"
    Path("node.py").write_text(OWN)
    options = replace(tiny_run.options(), settings={}, weights=None, method="./node.py:Own")
    fields |= prepare(options).identity_fields
    assert ready() is None
    fields["plugins"] = {"methods": {"own": {**fields["plugins"]["methods"]["own"], "source": "0" * 64}}}
    assert ready() == (
        f"node {host}: expected what the run was started with, found that plugins.methods.own.source has changed"
    )


class Deadly:
    """Finds nothing, fails on images of 28 rows, and does not survive those of 32."""

    def segment_batch(self, images: Any, queries: Any, *, trace: bool = False) -> list[Segmentation]:
        heights = [image.shape[0] for image in images]
        if 32 in heights:
            os.kill(os.getpid(), signal.SIGKILL)
        if 28 in heights:
            raise ValueError("no such height")
        return [Segmentation.of_nothing(*image.shape[:2]) for image in images]


def job_of(dataset: Dataset, scorer: Scorer, **expected: Any) -> Job:
    def equip() -> Equipment:
        return Equipment(dataset, Deadly(), scorer, {"files": 1})  # type: ignore[arg-type]

    return Job(equip, {"files": 1, **expected}, os.getcwd(), Pace(2, workers=0))


@pytest.fixture
def small(tiny_run: Any) -> tuple[Dataset, Scorer]:
    from dataset_adapters import load

    dataset = load("voc21", tiny_run.data_root)
    return dataset, Scorer(dataset.task, dataset.label_space)


@pytest.fixture(autouse=True)
def _by_value() -> Iterator[None]:
    """The actors cannot import this module."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_ray_sample_that_no_actor_survives_is_a_failed_record(
    nodes: Any, small: tuple[Dataset, Scorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_LOSSES", 2)
    dataset, scorer = small
    found = {
        record.id: record
        for record in run_ray(job_of(*small), Cluster(nodes.address, actors=1), dataset, range(1, 5), scorer)
    }
    assert sorted(found) == list(dataset.ids[1:5])
    errors = {dataset.ids.index(id_): record.error for id_, record in found.items() if record.error}
    assert errors == {
        1: "segmentation: ValueError: no such height",
        2: "segmentation: 2 actors were lost at work on it",
    }
    empty = scorer.failed_record("2", "lost", dataset[2].target).counts
    assert found[dataset.ids[2]].counts == empty  # a prediction of nothing
    assert np.array(empty["confusion"]).size


def test_ray_node_with_other_code_is_refused(nodes: Any, small: tuple[Dataset, Scorer]) -> None:
    dataset, scorer = small
    message = f"node {os.uname().nodename}: expected what the run was started with, found that code is 7 there, absent"
    with pytest.raises(ClusterError, match=message):
        list(run_ray(job_of(*small, code=7), Cluster(nodes.address), dataset, range(7), scorer))


def test_ray_node_without_data_is_named(small: tuple[Dataset, Scorer]) -> None:
    def equip() -> Equipment:
        raise ValueError("data:\nnot here")

    job = Job(equip, {}, "nowhere", Pace(1, workers=0))
    assert engine.Actor(job).set_up() == f"node {os.uname().nodename}: data: not here"


@pytest.mark.parametrize(
    ("cluster", "device", "message"),
    [
        (Cluster(actors=0), "cpu", "actors: expected at least 1, found 0"),
        (Cluster(gpus=1), "cpu", "actor_gpus: expected 0 without --device cuda, found 1"),
        (Cluster(), "cuda", "actor_gpus: expected more than 0 with --device cuda, found 0"),
        (Cluster(gpus=1), "cuda:1", r"device: expected cpu \(auto\) or cuda with --engine ray"),
    ],
)
def test_mistakes_are_one_line(cluster: Cluster, device: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        cluster.check(device)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'car-eval\[distributed\]'"):
        Cluster().check("cpu")


def test_ray_killed_head_ends_the_run_with_one_line(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    run = tmp_path / "run"
    script = (
        "import sys; from evaluation.cli.app import main; from evaluation.engines import ray; ray.HEAD_SECONDS = 1.0; "
        "sys.argv[0] = 'car'; main()"
    )
    switches = [f"--set={name}={json.dumps(value)}" for name, value in FAST.items()]
    arguments = ["eval", "mini-voc", "--limit=16", "--batch-size=1", "--engine=ray", "--actors=1", *switches]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "CAR_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments, f"--out={run}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        wait_until(lambda: (run / "samples.jsonl").exists())
        children = psutil.Process(process.pid).children(recursive=True)
        [head] = [child for child in children if child.name() == "gcs_server"]
        head.kill()
        told = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 1
    assert [line for line in told if line.startswith("error: ")] == [told[-1]]
    assert re.match(r"error: ray: the head at .* is gone \(.*\); finished samples are kept$", told[-1])
    assert RunDirectory(run).read_header().status == "incomplete"
    wait_until(lambda: not any(is_running(child.pid) for child in children))
