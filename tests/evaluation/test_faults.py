"""Runs under faults injected for real: signals, dead and hanging processes, full and read-only disks, changing files.

The runs are processes forked from this one, which has torch loaded: a run takes a fraction of a second.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from helpers.faults import FAULTY, at_the_gate, faulty, faulty_reading
from helpers.parts import killed, slow_or_failing, telling
from helpers.waiting import children_of, is_running, wait_until
from PIL import Image
from tqdm import tqdm

from car_core import CaR
from car_core.classifier.tower import ClassifierTower
from car_core.proposal.generator import ProposalGenerator
from dataset_adapters import DatasetError
from evaluation import RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.cli.exit_status import one_line_errors
from evaluation.engines.signals import FORWARDED, Interrupted, stop_request
from evaluation.engines.worker_pool import MAX_LOST_IN_A_ROW, WorkerError
from evaluation.suites import runner as suite_module
from evaluation.suites.definitions import Suite, SuiteRun
from evaluation.suites.index_writer import RunEvent
from results import RunDirectory, StoreError

# One step over few texts: these runs are about what surrounds the method.
FAST: dict[str, Any] = {
    "templates": [],
    "background": ["grass"],
    "crf": None,
    "recurrence": "none",
    "prompts": ["circle"],
}
FAST_ARGUMENTS = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
TIMES = ("created_at", "updated_at", "timings", "memory")
FORK = multiprocessing.get_context("fork")


def comparable(path: Path) -> str:
    """run.json as text, but for times and memory."""
    header = json.loads((path / "run.json").read_text())
    return json.dumps({key: value for key, value in header.items() if key not in TIMES}, indent=1)


def records(path: Path) -> dict[str, Any]:
    return {record.id: record for record in RunDirectory(path).read_records()}


def counts(path: Path) -> dict[str, Any]:
    """What the records say but for their order and times."""
    return {id_: record.model_dump(exclude={"seconds"}) for id_, record in sorted(records(path).items())}


def car(arguments: Sequence[str]) -> None:
    """``car`` as a program: ends the process with its exit status."""
    app(list(arguments), prog_name="car")


class Program:
    """A forked process: `run(*arguments)` in it, what it writes to standard error, and how it ends."""

    def __init__(self, log: Path, run: Callable[..., None], *arguments: Any) -> None:
        self._log = log
        self.process = FORK.Process(target=self._main, args=(run, arguments))
        self.process.start()

    def _main(self, run: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        # tqdm's lock is shared by forked processes: one killed while it holds it would stop all others, and this suite.
        tqdm.set_lock(threading.RLock())
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where this suite runs in the background
        run(*arguments)

    def send(self, number: int) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def wait(self) -> int | None:
        self.process.join(240)
        return self.process.exitcode

    @property
    def errors(self) -> str:
        return self._log.read_text()


@pytest.fixture
def program(tmp_path: Path) -> Any:
    started: list[Program] = []

    def start(run: Callable[..., None], *arguments: Any) -> Program:
        started.append(Program(tmp_path / f"log{len(started)}", run, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.join()


def lines(path: Path) -> int:
    file = path / "samples.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The folder at which `Faulty` waits."""
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


def gated(tiny_run: Any, gate: Path, **changes: Any) -> RunOptions:
    """Options of a run whose first two samples pass; with the third it waits at the gate."""
    return faulty(tiny_run.options(**changes), gate=str(gate), rows=32)


def gated_arguments(tiny_run: Any, gate: Path, *more: str) -> list[str]:
    """The same as arguments of ``car``."""
    own = ["eval", "voc21", f"--data-root={tiny_run.data_root}", f"--out={tiny_run.out}", "--workers=0", "--device=cpu"]
    return [*own, f"--method={FAULTY}", f"--set=gate={gate}", "--set=rows=32", *more]


@pytest.mark.parametrize(("number", "status", "workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 0)])
def test_signal_finishes_current_samples_and_says_how_to_resume(
    tiny_run: Any, tmp_path: Path, program: Any, gate: Path, number: int, status: int, workers: int
) -> None:
    arguments = gated_arguments(tiny_run, gate, "--batch-size=2", f"--workers={workers}")
    run = program(car, arguments)
    wait_until(lambda: at_the_gate(gate))
    run.send(number)
    wait_until(lambda: "stopping after the samples in progress" in run.errors)
    (gate / "open").touch()
    assert run.wait() == status
    assert "the same command resumes it" in run.errors
    assert "Traceback" not in run.errors
    assert lines(tiny_run.out) == 4  # the first batch and the one at hand
    header = RunDirectory(tiny_run.out).read_header()
    assert (header.status, header.counts.n_total) == ("incomplete", 4)  # closed properly, with the figures so far
    assert program(car, arguments).wait() == 0
    evaluate(gated(tiny_run, gate, out=tmp_path / "straight"))
    assert comparable(tiny_run.out) == comparable(tmp_path / "straight")


def test_a_second_signal_stops_at_once(tiny_run: Any, program: Any, gate: Path) -> None:
    run = program(car, gated_arguments(tiny_run, gate, "--batch-size=2"))
    wait_until(lambda: at_the_gate(gate))
    run.send(signal.SIGINT)
    wait_until(lambda: "stopping after" in run.errors)
    run.send(signal.SIGTERM)
    assert run.wait() == 130, run.errors
    assert lines(tiny_run.out) == 2
    assert "the same command resumes it" in run.errors


def test_a_run_in_a_thread_leaves_signals_alone(tiny_run: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=evaluate, args=(tiny_run.options(limit=1, settings=FAST),))
    thread.start()
    thread.join()
    assert RunDirectory(tiny_run.out).read_header().status == "complete"
    assert signal.getsignal(signal.SIGTERM) is before


def test_twenty_kills_leave_the_run_of_a_straight_line(tiny_run: Any, tmp_path: Path, program: Any) -> None:
    options = tiny_run.options(settings=FAST, batch_size=1, workers=2)
    start = time.monotonic()
    evaluate(replace(options, out=tmp_path / "straight"))
    whole = time.monotonic() - start
    moment = random.Random(20)
    kills = 0
    while kills < 20:
        run = program(evaluate, options)
        # Most of them early, so that the run does not end before the last kill; some while it is set up or closed.
        run.process.join(whole * moment.choice([0.1, 0.2, 0.4, 1.0]) * moment.random())
        run.process.kill()
        kills += run.wait() == -signal.SIGKILL
    assert program(evaluate, options).wait() == 0
    assert comparable(tiny_run.out) == comparable(tmp_path / "straight")
    assert counts(tiny_run.out) == counts(tmp_path / "straight")


def test_no_process_outlives_a_killed_run(tiny_run: Any, program: Any, gate: Path) -> None:
    run = program(evaluate, gated(tiny_run, gate, batch_size=1, workers=3))
    wait_until(lambda: at_the_gate(gate))
    children = children_of(run.process.pid)
    assert len(children) == 3
    run.send(signal.SIGKILL)
    run.wait()
    wait_until(lambda: not any(is_running(child) for child in children))


def test_a_decoder_that_dies_or_hangs_costs_its_sample_alone(tiny_run: Any, tmp_path: Path) -> None:
    options = tiny_run.options(settings=FAST, workers=2, sample_timeout=2.0)
    faults = {
        "2007_000001": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "2007_000003": lambda: os._exit(3),
        "2007_000004": lambda: time.sleep(600),
        "2007_000006": lambda: bytearray(2**60),
    }
    with faulty_reading(faults):
        run = evaluate(options)
    assert {id_: record.error for id_, record in records(run.path).items() if record.status == "failed"} == {
        "2007_000001": "decoding: its process was killed by SIGKILL",
        "2007_000003": "decoding: its process ended with status 3",
        "2007_000004": "decoding: took longer than 2 seconds",
        "2007_000006": "decoding: MemoryError",
    }
    assert (run.header.status, run.header.counts.n_total, run.header.counts.n_failed) == ("complete", 7, 4)
    assert evaluate(replace(options, sample_timeout=60.0)).header.counts.n_failed == 0  # the same command redoes them
    evaluate(replace(options, out=tmp_path / "straight", workers=0))
    assert comparable(run.path) == comparable(tmp_path / "straight")


def test_decoders_that_all_die_end_the_run(tiny_run: Any, tmp_path: Path) -> None:
    split = tmp_path / "long.txt"
    ids = [f"2007_{number:06d}" for number in range(7, 7 + MAX_LOST_IN_A_ROW)]
    for sample_id in ids:
        for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            source = tiny_run.data_root / folder / f"2007_000001.{suffix}"
            (source.parent / f"{sample_id}.{suffix}").write_bytes(source.read_bytes())
    split.write_text("\n".join(["2007_000001", *ids]))
    said = f"{MAX_LOST_IN_A_ROW} decoding processes in a row.*finished samples are kept"
    with faulty_reading(dict.fromkeys(ids, lambda: os._exit(1))), pytest.raises(WorkerError, match=said):
        evaluate(tiny_run.options(settings=FAST, split=str(split), workers=2, batch_size=1))
    assert RunDirectory(tiny_run.out).read_header().status == "incomplete"
    assert records(tiny_run.out)["2007_000001"].status == "ok"


def test_a_second_process_on_a_run_folder_is_turned_away(tiny_run: Any, program: Any, gate: Path) -> None:
    arguments = gated_arguments(tiny_run, gate, "--batch-size=1")
    first = program(car, arguments)
    wait_until(lambda: at_the_gate(gate))
    for more in ([], ["--fresh"]):
        second = program(car, [*arguments, *more])
        assert second.wait() == 2
        assert f"is in use by process {first.process.pid} on host {os.uname().nodename}" in second.errors
        assert len(second.errors.strip().splitlines()) == 1
    first.send(signal.SIGKILL)
    first.wait()
    (gate / "open").touch()
    assert program(car, arguments).wait() == 0  # the lock of a dead process is none
    assert len(records(tiny_run.out)) == lines(tiny_run.out) == 7


def test_two_runs_of_one_process_do_not_share_a_folder(tiny_run: Any) -> None:
    header = evaluate(tiny_run.options(limit=1, settings=FAST)).header
    with RunDirectory(tiny_run.out) as first:
        first.start(header)
        with (
            pytest.raises(StoreError, match="in use by another run of this process"),
            RunDirectory(tiny_run.out) as run,
        ):
            run.start(header)
        with pytest.raises(StoreError, match="in use"):  # the one turned away has not freed it
            RunDirectory(tiny_run.out).start(header)
    RunDirectory(tiny_run.out).start(header)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("stage", ["trunk", "proposals", "classifier"])
def test_model_nan_or_infinity_is_failed_record_naming_stage(
    tiny_run: Any, monkeypatch: pytest.MonkeyPatch, stage: str, bad: float
) -> None:
    place, name = {
        "trunk": (ProposalGenerator, "encode"),
        "proposals": (ProposalGenerator, "__call__"),
        "classifier": (ClassifierTower, "encode"),
    }[stage]
    original = getattr(place, name)
    calls: list[int] = []
    # In the batch, and its first image again alone. g sees all of the batch, two passes an image, before the check.
    spoiled_calls = (1, 5) if stage == "classifier" else (1, 2)

    def spoiled(*arguments: Any, **named: Any) -> Any:
        found = original(*arguments, **named)
        calls.append(1)
        if len(calls) in spoiled_calls:
            (found[0].last.image_feature if stage == "trunk" else found)[0].fill_(bad)
        return found

    with torch.inference_mode():
        monkeypatch.setattr(place, name, spoiled)
        run = evaluate(tiny_run.options(settings=FAST, limit=2, batch_size=2))
    failed = [record for record in records(run.path).values() if record.status == "failed"]
    assert [record.id for record in failed] == ["2007_000000"]
    assert f"segmentation: ModelError: {stage}: expected finite numbers" in (failed[0].error or "")
    assert failed[0].counts["confusion"]  # an empty prediction
    assert run.header.counts.n_failed == 1
    json.loads((run.path / "run.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_device_out_of_memory_runs_noted_smaller_passes(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that has no room for more than three prompted images of 20 at once."""
    options = tiny_run.options(settings=FAST, limit=3)
    straight = evaluate(replace(options, out=tmp_path / "straight")).header
    encode = ClassifierTower.encode

    def encode_few(tower: Any, images: Any, **named: Any) -> Any:
        if len(images) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(tower, images, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTower, "encode", encode_few)
        run = evaluate(options)
    noted = ["classifier: 2 images per pass where 16 did not fit"]
    assert (straight.memory.smaller_passes, run.header.memory.smaller_passes) == ([], noted)
    assert json.loads((run.path / "run.json").read_text())["memory"]["smaller_passes"] == noted
    assert run.header.metrics == straight.metrics
    assert run.header.counts.n_failed == 0
    again = evaluate(options).header  # nothing is left to do; what was noted stays
    assert again.memory.smaller_passes == noted


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 96 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Any) -> None:
    while True:
        file.write(b"x" * 512)


def test_full_disk_keeps_finished_samples_and_resumes(
    tiny_run: Any, tmp_path: Path, small_disk: Path, program: Any
) -> None:
    run_folder = small_disk / "run"
    evaluate(tiny_run.options(settings=FAST, out=run_folder, limit=7))
    written = set(records(run_folder))
    cut = (run_folder / "samples.jsonl").read_bytes().splitlines(keepends=True)[:2]
    (run_folder / "samples.jsonl").write_bytes(b"".join(cut))
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        fill(file)
    full = program(car, [*tiny_run.arguments(*FAST_ARGUMENTS), f"--out={run_folder}"])
    assert full.wait() == 1
    assert "No space left on device" in full.errors
    assert str(run_folder) in full.errors
    assert len(full.errors.strip().splitlines()) == 1
    assert 2 <= lines(run_folder) < 7
    ballast.unlink()
    assert program(car, [*tiny_run.arguments(*FAST_ARGUMENTS), f"--out={run_folder}"]).wait() == 0
    assert records(run_folder).keys() == written
    evaluate(tiny_run.options(settings=FAST, out=tmp_path / "straight"))
    assert comparable(run_folder) == comparable(tmp_path / "straight")


def test_a_read_only_results_folder_is_found_out_before_any_work(
    tiny_run: Any, small_disk: Path, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    monkeypatch.setattr(CaR, "from_config", lambda *_, **__: pytest.fail("models were loaded"))
    run = program(car, [*tiny_run.arguments(*FAST_ARGUMENTS), f"--out={small_disk / 'run'}"])
    assert run.wait() == 2
    assert f"out: expected a folder that can be written, found {small_disk}, which is read-only" in run.errors
    assert len(run.errors.strip().splitlines()) == 1


def test_results_folder_turned_read_only_keeps_finished_samples(
    tiny_run: Any, small_disk: Path, program: Any, gate: Path
) -> None:
    folder = small_disk / "run"
    arguments = gated_arguments(tiny_run, gate, "--batch-size=1", f"--out={folder}")
    run = program(car, arguments)
    wait_until(lambda: at_the_gate(gate))
    run.send(signal.SIGKILL)  # a file system cannot become read-only under an open file
    run.wait()
    (gate / "open").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = program(car, arguments)
    assert refused.wait() == 2
    assert "read-only" in refused.errors
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert program(car, arguments).wait() == 0
    assert lines(folder) == 7


def test_image_vanished_during_the_run_is_a_failed_record(tiny_run: Any) -> None:
    image = tiny_run.data_root / "JPEGImages" / "2007_000003.jpg"
    with faulty_reading({"2007_000003": image.unlink}):
        run = evaluate(tiny_run.options(settings=FAST))
    assert (run.header.status, run.header.counts.n_failed) == ("complete", 1)
    assert records(run.path)["2007_000003"].error == "JPEGImages/2007_000003.jpg: No such file or directory"


def test_an_image_that_changes_during_the_run_is_found_out(tiny_run: Any, tmp_path: Path) -> None:
    image = tiny_run.data_root / "JPEGImages" / "2007_000003.jpg"

    def change() -> None:
        with Image.open(image) as opened:
            size = opened.size
        Image.new("RGB", size, "red").save(image)

    with faulty_reading({"2007_000003": change}), pytest.raises(DatasetError, match="files changed during the run"):
        evaluate(tiny_run.options(settings=FAST))
    assert RunDirectory(tiny_run.out).read_header().status == "incomplete"
    with pytest.raises(StoreError, match=r"another identity; .* aside: dataset\.fingerprint"):
        evaluate(tiny_run.options(settings=FAST))
    evaluate(tiny_run.options(settings=FAST, fresh=True))
    evaluate(tiny_run.options(settings=FAST, out=tmp_path / "straight"))
    assert comparable(tiny_run.out) == comparable(tmp_path / "straight")


def test_a_change_is_found_out_where_another_file_vanished(tiny_run: Any) -> None:
    masks = tiny_run.data_root / "SegmentationClass"

    def change() -> None:
        (tiny_run.data_root / "JPEGImages" / "2007_000003.jpg").unlink()
        with Image.open(masks / "2007_000002.png") as opened:
            palette, size = opened.getpalette(), opened.size
        changed = Image.new("P", size, 1)
        changed.putpalette(palette or [])
        changed.save(masks / "2007_000002.png")

    with faulty_reading({"2007_000003": change}), pytest.raises(DatasetError, match="files changed during the run"):
        evaluate(tiny_run.options(settings=FAST))
    assert RunDirectory(tiny_run.out).read_header().status == "incomplete"


@pytest.mark.parametrize("at", [3, 6])
def test_records_that_are_taken_away_leave_no_complete_run(tiny_run: Any, tmp_path: Path, at: int) -> None:
    fault = {f"2007_{at:06d}": (tiny_run.out / "samples.jsonl").unlink}
    said = r"samples\.jsonl: expected .*the same command redoes"
    with faulty_reading(fault), pytest.raises(StoreError, match=said):
        evaluate(tiny_run.options(settings=FAST, batch_size=1, workers=0))
    assert RunDirectory(tiny_run.out).read_header().status == "incomplete"
    again = evaluate(tiny_run.options(settings=FAST))
    straight = evaluate(tiny_run.options(settings=FAST, out=tmp_path / "straight"))
    assert (again.header.status, again.header.metrics) == ("complete", straight.header.metrics)


def test_an_image_that_appears_during_the_run_is_not_part_of_it(tiny_run: Any, tmp_path: Path) -> None:
    folder = tiny_run.data_root / "JPEGImages"
    evaluate(tiny_run.options(settings=FAST, out=tmp_path / "straight"))
    with faulty_reading({"2007_000003": lambda: (folder / "2007_000099.jpg").write_bytes(b"new")}):
        evaluate(tiny_run.options(settings=FAST))
    assert comparable(tiny_run.out) == comparable(tmp_path / "straight")


def test_a_clock_that_goes_backwards_spoils_no_duration(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(tiny_run.options(settings=FAST, out=tmp_path / "straight"))
    now = [2_000_000_000.0]

    def backwards() -> float:
        now[0] -= 3600
        return now[0]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromtimestamp(backwards(), tz or timezone.utc)

    monkeypatch.setattr(time, "time", backwards)
    monkeypatch.setattr("results.run_directory.schema.datetime", Clock)
    for fresh in (False, True, True):
        run = evaluate(tiny_run.options(settings=FAST, fresh=fresh))
        assert 0 < run.header.timings.wall_seconds < 600
        assert all(0 <= spent < 600 for spent in run.header.timings.seconds_by_stage.values())
        assert all(0 <= spent < 600 for each in records(run.path).values() for spent in each.seconds.values())
    assert comparable(tiny_run.out) == comparable(tmp_path / "straight")
    assert len(list(tiny_run.out.glob("samples.jsonl*"))) == 3


@pytest.mark.parametrize(
    ("number", "status", "everywhere"), [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, True)], ids=str
)
def test_a_signal_reaches_every_process_of_a_suite(
    tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch, number: int, status: int, everywhere: bool
) -> None:
    """Sent to the parent alone, or to all processes, as schedulers do."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    points = ["mini-voc", "eta=0.4,0.5", "--jobs=2", "--batch-size=1", f"--out={tmp_path / 'all'}", *FAST_ARGUMENTS]
    run = program(car, ["sweep", *points])
    folders = [tmp_path / "all" / f"mini-voc-eta={eta}" for eta in (0.4, 0.5)]
    wait_until(lambda: all(lines(folder) > 1 for folder in folders))
    children = children_of(run.process.pid)
    for pid in [*(children if everywhere else []), run.process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    assert run.wait() == status
    assert run.errors.count("stopping after the samples in progress") == 1
    assert "the same command resumes it" in run.errors
    assert "Traceback" not in run.errors
    for folder in folders:
        header = RunDirectory(folder).read_header()
        assert (header.status, header.counts.n_total) == ("incomplete", lines(folder))  # closed properly
        assert 1 < lines(folder) < 48
    wait_until(lambda: not any(is_running(child) for child in children))


def test_a_killed_sweep_can_be_shown(tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch, gate: Path) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    arguments = ["sweep", "mini-voc", "rows=1000,0", "--limit=2", f"--method={FAULTY}", f"--set=gate={gate}"]
    run = program(car, arguments)
    wait_until(lambda: at_the_gate(gate))
    run.send(signal.SIGKILL)
    run.wait()
    [index] = tmp_path.glob("results/runs/suite-*/suite.json")
    assert json.loads(index.read_text())["status"] == "running"
    shown = program(car, ["table", str(index.parent)])
    assert shown.wait() == 0
    # The second point waits with its first sample.
    assert "## Unfinished, 1 of 2 runs: rows" in shown.errors
    assert "- Missing: mini-voc-method=faulty-rows=0." in shown.errors
    (gate / "open").touch()
    assert program(car, arguments).wait() == 0
    assert json.loads(index.read_text())["status"] == "complete"


def imports_torch(pid: int) -> bool:
    return "torch" in Path(f"/proc/{pid}/maps").read_text()


def two_parts(folder: Path) -> None:
    """As `car sweep --jobs=2` ends, with parts that only wait or fail."""
    runs = [SuiteRun(benchmark="mini-voc", settings={"eta": eta}) for eta in (0.4, 0.5)]
    parts = [[(run, RunOptions("mini-voc", out=folder / str(run.settings["eta"])))] for run in runs]
    try:
        with one_line_errors():
            suite_module.run_in_children(parts, ["cpu"] * 2, lambda event: None, slow_or_failing)
    except typer.Exit as end:
        sys.exit(end.exit_code)


def test_ctrl_c_while_the_processes_of_a_suite_start(tmp_path: Path, program: Any) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / ".end").touch()
    run = program(two_parts, tmp_path / "all")
    wait_until(lambda: any(imports_torch(child) for child in children_of(run.process.pid)))
    for pid in [*children_of(run.process.pid), run.process.pid]:
        os.kill(pid, signal.SIGINT)
    assert run.wait() == 130, run.errors
    assert "Traceback" not in run.errors


@pytest.fixture
def failing_suite(tmp_path: Path, program: Any) -> Any:
    """A sweep of two parts in two processes, the second of which fails while the first is at work."""
    (tmp_path / "all").mkdir()

    def start(*files: str) -> Any:
        for name in files:
            (tmp_path / "all" / name).touch()
        run = program(two_parts, tmp_path / "all")
        wait_until((tmp_path / "all" / "asked").exists)
        return run, children_of(run.process.pid)

    return start


def test_failed_part_of_a_suite_ends_the_others(tmp_path: Path, failing_suite: Any) -> None:
    run, children = failing_suite()
    (tmp_path / "all" / ".end").touch()
    assert run.wait() == 2
    assert (tmp_path / "all" / "ended").exists()
    assert run.errors.splitlines()[-1] == "error: no such luck"
    assert "Traceback" not in run.errors
    wait_until(lambda: not any(is_running(child) for child in children))


@pytest.mark.parametrize(("signals", "files"), [(1, []), (3, [".deaf"])], ids=["1", "3"])
def test_a_signal_ends_what_goes_on_after_a_part_failed(
    tmp_path: Path, failing_suite: Any, signals: int, files: list[str]
) -> None:
    """One is a request, and the third kills what hears nothing; that the second is obeyed is in test_children."""
    run, children = failing_suite(*files)
    run.send(signal.SIGINT)
    wait_until(lambda: "stopping after the samples in progress" in run.errors)
    if signals == 1:
        (tmp_path / "all" / ".end").touch()
    for _ in range(signals - 1):
        run.process.join(2)
        if run.process.is_alive():
            run.send(signal.SIGINT)
    assert run.wait() == 130, run.errors
    assert (tmp_path / "all" / "ended").exists() == (signals == 1)
    assert "the same command resumes it" in run.errors
    assert "Traceback" not in run.errors
    wait_until(lambda: not any(is_running(child) for child in children))


def test_suite_with_unwritable_index_ends_after_current_samples(tmp_path: Path) -> None:
    taken = []

    def take(news: RunEvent) -> None:
        taken.append(news)
        raise OSError(errno.ENOSPC, f"no space, {len(taken)}")

    task = SuiteRun(benchmark="mini-voc"), RunOptions("mini-voc", out=tmp_path / "run")
    with pytest.raises(OSError, match="no space, 1"):
        suite_module.run_in_children([[task]], ["cpu"], take, telling)
    assert (tmp_path / "ended").exists()
    assert taken == [RunEvent("mini-voc", tmp_path / "run")]


def test_a_killed_process_of_a_suite_is_one_line() -> None:
    with pytest.raises(
        WorkerError, match=r"^jobs: a process of the suite was killed by SIGKILL; finished samples are "
    ):
        suite_module.run_in_children([[]], ["cpu"], lambda event: None, killed)


def test_child_stops_at_once_when_asked_twice_by_its_parent() -> None:
    """A scheduler's own signal comes in addition to the one that the parent forwards."""
    with stop_request(of_child=True), stop_request() as stop:  # that of a run within the child
        for number in (signal.SIGTERM, FORWARDED, signal.SIGTERM):
            os.kill(os.getpid(), number)
            assert stop.asked
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), FORWARDED)
    with stop_request() as stop:
        assert not stop.asked


def test_a_signal_during_the_pictures_of_a_sheet_ends_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    drawn, original = [], suite_module.previews

    def previews(*arguments: Any, before_each: Any) -> Any:
        def signaled() -> None:
            os.kill(os.getpid(), signal.SIGTERM)  # SIGINT is ignored where a shell has the tests in the background
            drawn.append(1)
            before_each()

        return original(*arguments, before_each=signaled)

    monkeypatch.setattr(suite_module, "previews", previews)
    runs = [{"benchmark": "mini-voc", "variant": name, "settings": FAST, "pictures": 2} for name in ("one", "two")]
    suite = Suite.model_validate({"name": "s", "title": "S", "runs": runs})
    with pytest.raises(Interrupted):
        suite_module.run_suite(suite, out=tmp_path / "all", limit=1, workers=0)
    assert drawn == [1]
    assert RunDirectory(tmp_path / "all" / "mini-voc-one").read_header().status == "complete"
