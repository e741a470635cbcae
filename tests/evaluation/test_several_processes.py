"""A run by several processes on one machine: the run of one, also after one of them died and after a signal."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.command import FAST, comparable
from helpers.parts import equipment_that_fails
from helpers.waiting import children_of, wait_until

from car_core import ModelError
from car_core.engine.device import as_devices
from dataset_adapters import embedded_root, load
from evaluation import evaluate
from evaluation.engines.local import Job, Pace
from evaluation.engines.several_processes import run_parallel
from evaluation.engines.signals import Interrupted
from evaluation.engines.worker_pool import WorkerError
from evaluation.request.benchmark import BenchmarkError
from evaluation.tasks.saving import Saving
from results import RunDirectory
from support.errors import UserError


def test_processes_that_die_and_signals_leave_the_run_of_one(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = tiny_run.options(settings=FAST, saving=Saving("png"), workers=0, batch_size=1, processes=2)
    started = set(children_of(os.getpid()))

    def kill_the_second() -> None:
        wait_until(lambda: len(set(children_of(os.getpid())) - started) == 2)
        os.kill(max(set(children_of(os.getpid())) - started), signal.SIGKILL)

    killer = threading.Thread(target=kill_the_second)
    killer.start()
    died = "process 2 of 2 (cpu): its process was killed by SIGKILL"
    with pytest.raises(WorkerError, match=r"2 of 2 \(cpu\).*SIGKILL; finished samples are kept; the same command"):
        evaluate(options)
    killer.join()
    assert f"error: {died}; the others continue\n" in capsys.readouterr().err
    header = RunDirectory(tiny_run.out).read_header()
    assert (header.status, header.counts.n_total) == ("incomplete", 4)  # every other one of seven

    append = RunDirectory.append

    def append_and_ask(store: RunDirectory, record: Any) -> None:
        append(store, record)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append", append_and_ask)
        with pytest.raises(Interrupted):
            evaluate(options)
    assert set(children_of(os.getpid())) == started
    assert RunDirectory(tiny_run.out).read_header().counts.n_total > 4
    evaluate(replace(options, processes=None))
    straight = tiny_run.options(settings=FAST, saving=Saving("png"), out=tmp_path / "straight")
    evaluate(straight)
    assert comparable(tiny_run.out) == comparable(tmp_path / "straight")
    assert len(comparable(tiny_run.out)[2]) == 7


def test_last_line_of_a_dead_process_is_reported(tmp_path: Path) -> None:
    job = Job(equipment_that_fails, {}, str(tmp_path), Pace(1, workers=0))
    dataset: Any = SimpleNamespace(parts=lambda positions, count: [positions])
    expected = (
        r"^processes: process 1 of 1 \(cuda:3\): its process ended with status 7; its last line: no such luck; fini"
    )
    with pytest.raises(WorkerError, match=expected):
        list(run_parallel([job], ["cuda:3"], dataset, [0], logs=tmp_path))
    log, victim = tmp_path / "process-1.log", tmp_path / "victim.txt"
    assert "no such luck" in log.read_text()
    log.rename(victim)
    log.symlink_to(victim)
    before = victim.read_text()
    with pytest.raises(UserError, match=r"process-1\.log: expected a file, found a link"):
        list(run_parallel([job], ["cuda:3"], dataset, [0], logs=tmp_path))
    assert victim.read_text() == before
    assert not list(run_parallel([job], ["cuda:3"], dataset, []))  # as where only run.json was not written


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_parts_of_what_is_left_keep_images_and_order(count: int) -> None:
    dataset = load("refcoco", embedded_root(), split="val")
    images, left = dataset.images_by_sample, [n for n in range(len(dataset)) if n % 3]
    parts = dataset.parts(left, count)
    assert len(parts) == count
    assert [n for part in parts for n in part] == left
    owners = [{images[n] for n in part} for part in parts]
    assert sum(map(len, owners)) == len(set().union(*owners)) > 1
    whole = [dataset.shard(index, count).ids for index in range(count)]
    assert [tuple(dataset.ids[n] for n in part) for part in dataset.parts(range(len(dataset)), count)] == whole


def test_devices_are_looked_for(monkeypatch: pytest.MonkeyPatch, tiny_run: Any) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert as_devices("cuda:all") == ["cuda:0", "cuda:1"]
    assert as_devices("cuda:1,0") == ["cuda:1", "cuda:0"]
    with pytest.raises(ModelError, match="found 'cuda:2' with 2 GPUs"):
        as_devices("cuda:0,2")
    with pytest.raises(ModelError, match="processes: expected at least one per device, 2, found 1"):
        evaluate(tiny_run.options(device="cuda:all", processes=1))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ModelError, match="expected a CUDA GPU, found none; use --device cpu"):
        as_devices("cuda:all")


def test_ray_has_actors(tiny_run: Any) -> None:
    pytest.importorskip("ray", reason="needs the extra distributed")
    with pytest.raises(BenchmarkError, match="processes: expected --actors with --engine ray, found 2"):
        evaluate(tiny_run.options(engine="ray", processes=2))
