"""Figures sent elsewhere while a run goes: what is sent, and that no tracker costs a record."""

import json
import sqlite3
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from evaluation import evaluate
from evaluation.cli.app import app
from evaluation.request.benchmark import BenchmarkError
from evaluation.run.trackers import PATIENCE, Trackers, facts, figures
from results import RunHeader, SampleRecord
from support.plugins import PluginError

FAKE = """
    import json, sys, time
    class Keeps:
        def on_start(self, header):
            self.out = open("calls.jsonl", "a")
            self.write("start", header.status)
        def on_record(self, record, running):
            self.write(record.id, running)
        def on_finish(self, header):
            self.write("finish", [header.status, header.metrics["miou"]])
            self.out.close()
        def write(self, *values):
            print(json.dumps(values), file=self.out)
    class FailsAtStart(Keeps):
        def on_start(self, header): raise ValueError("no\\nnetwork")
    class FailsLater(Keeps):
        def on_record(self, record, running): sys.exit(3)
    class FailsAtEnd(Keeps):
        def on_finish(self, header): raise OSError("gone")
    class HangsAtStart(Keeps):
        def on_start(self, header): time.sleep(600)
    class HangsLater(Keeps):
        def on_record(self, record, running): time.sleep(600)
    class HangsAtEnd(Keeps):
        def on_finish(self, header): time.sleep(600)
    class Lacks:
        def on_start(self, header): ...
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of some trackers, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_trackers.py").write_text(textwrap.dedent(FAKE))
    return str(tmp_path / "own_trackers.py")


def calls() -> list[Any]:
    return [json.loads(line) for line in Path("calls.jsonl").read_text().splitlines()]


def test_a_tracker_is_told_of_start_records_and_end(tiny_run: Any, fake: str) -> None:
    header = evaluate(tiny_run.options(limit=3, track=(f"{fake}:Keeps",))).header
    start, *between, finish = calls()
    assert (start, finish) == (["start", "running"], ["finish", ["complete", header.metrics["miou"]]])
    assert [name for name, _ in between] == [f"2007_{number:06d}" for number in range(3)]
    assert [running["done"] for _, running in between] == [1, 2, 3]
    assert between[-1][1] == {"done": 3, "failed": 0, "running_miou": pytest.approx(header.metrics["miou"])}
    # Neither the identity nor what is asked for again knows of it, and a finished run tells nothing.
    again = evaluate(tiny_run.options(limit=3, track=(f"{fake}:FailsAtStart",))).header
    assert (again.identity, "track" in again.request) == (header.identity, False)
    assert len(calls()) == 5


def test_a_run_continues_without_a_tracker_that_fails(tiny_run: Any, fake: str) -> None:
    track = f"--track={fake}:FailsAtStart,{fake}:Keeps"
    result = CliRunner().invoke(app, tiny_run.arguments("--limit=2", "--json", track))
    assert result.exit_code == 0, result.stderr
    header = json.loads(result.stdout)
    assert header["counts"] == {"n_total": 2, "n_scored": 2, "n_failed": 0}
    notice = f"notice: --track {fake}:FailsAtStart: ValueError: no network; the run continues without it"
    assert result.stderr.count("the run continues without it") == result.stderr.count(notice) == 1
    assert "finish" in [name for name, _ in calls()]  # the other one


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("FailsLater", "SystemExit: 3"),
        ("FailsAtEnd", "OSError: gone"),
        ("HangsAtStart", "on_start did not finish within 1 s"),
        ("HangsLater", "on_finish did not finish within 1 s"),
        ("HangsAtEnd", "on_finish did not finish within 1 s"),
    ],
)
def test_a_tracker_that_fails_or_hangs_costs_one_line(
    fake: str, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    header: Any = SimpleNamespace(status="complete", metrics={"miou": 0.5})
    own = Trackers([f"{fake}:{name}", f"{fake}:Keeps"], patience=1.0)
    own.on_start(header)
    own.on_record(SampleRecord(id="a", status="ok", counts={}), {"done": 1.0})
    own.on_finish(header)
    told = capsys.readouterr().err
    assert told == f"notice: --track {fake}:{name}: {reason}; the run continues without it\n"
    assert ["finish", ["complete", 0.5]] in calls()  # the other one


def test_one_that_has_failed_is_not_waited_for(fake: str, capsys: pytest.CaptureFixture[str]) -> None:
    header: Any = None
    start, own = time.monotonic(), Trackers([f"{fake}:FailsAtStart"])
    own.on_start(header)
    own.on_finish(header)
    assert time.monotonic() - start < PATIENCE / 2
    assert capsys.readouterr().err.count("continues without it") == 1


def test_trackers_that_there_are_not(tiny_run: Any, fake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    for name, message in {
        "wandb": r"^track: expected wandb to be installed \(pip install wandb\), found none$",
        "wandbb": "^track: expected a known name, found 'wandbb'; did you mean wandb",
        f"{fake}:Lacks": ":Lacks: expected a class with on_start, on_record, on_finish, found no on_record$",
        f"{fake}:None_": "expected None_ in .*, found none",
        "absent.module:X": "absent.module:X: expected a module that can be imported",
    }.items():
        with pytest.raises((BenchmarkError, PluginError), match=message):
            evaluate(tiny_run.options(track=(name,)))
    assert not tiny_run.out.exists()


def test_what_is_sent_names_no_folder(tiny_run: Any) -> None:
    header = evaluate(tiny_run.options(limit=1)).header
    told = facts(header)
    assert told["config"]["proposal_model"] == "tiny.json"
    assert (told["dataset"]["n_samples"], told["identity"]) == (7, header.identity)
    assert str(tiny_run.data_root.parent) not in json.dumps(told)
    sent = figures(header)
    assert sent["miou"] == header.metrics["miou"]
    assert sent["n_total"] == 1
    assert all(type(value) in (int, float) for value in sent.values())


def tracked(tiny_run: Any, name: str) -> RunHeader:
    pytest.importorskip(name, reason=f"{name} is not installed")
    result = CliRunner().invoke(app, tiny_run.arguments("--limit=2", "--json", f"--track={name}"))
    assert result.exit_code == 0, result.stderr
    assert "goes on without it" not in result.stderr
    return RunHeader.model_validate_json(result.stdout)


def bytes_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_trackio(tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real library; it reads its folder from the environment when it is imported."""
    pytest.importorskip("trackio", reason="trackio is not installed")
    for module in ("trackio", "trackio.utils", "trackio.sqlite_storage"):
        monkeypatch.setattr(f"{module}.TRACKIO_DIR", tmp_path / "told", raising=False)
    header = tracked(tiny_run, "trackio")
    with sqlite3.connect(tmp_path / "told" / "car-eval.db") as database:
        rows = [json.loads(row) for (row,) in database.execute("SELECT metrics FROM metrics ORDER BY id")]
        [(name, config)] = database.execute("SELECT run_name, config FROM configs").fetchall()
    assert rows[0]["done"] == 1
    assert rows[-1]["miou"] == pytest.approx(header.metrics["miou"])
    assert name == f"voc21-released-{header.identity[:12]}"
    assert json.loads(config)["identity"] == header.identity
    assert str(tmp_path).encode() not in bytes_below(tmp_path / "told")


def test_mlflow(tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "told").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    header = tracked(tiny_run, "mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("car-eval")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["miou"] == pytest.approx(header.metrics["miou"])
    assert run.data.metrics["running_miou"] <= 1
    assert run.data.params["identity"] == json.dumps(header.identity)
    assert str(tiny_run.data_root.parent) not in json.dumps([run.data.params, run.data.tags])


def test_wandb(tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path / "told")}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "told").mkdir()
    header = tracked(tiny_run, "wandb")
    [log] = (tmp_path / "told").glob("wandb/offline-run-*/*.wandb")
    content = log.read_bytes()
    assert header.identity.encode() in content
    for text in (b"running_miou", b"miou_gt_classes", f"voc21-released-{header.identity[:12]}".encode()):
        assert text in content
    for secret in (str(tiny_run.data_root), str(Path.cwd()), "--limit=2"):
        assert secret.encode() not in content
