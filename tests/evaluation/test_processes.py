"""Processes beside the model: how they end."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from waiting import is_running, wait_until

from evaluation.engines import processes as module
from evaluation.engines.processes import Processes
from evaluation.engines.signals import Interrupted

FAST = {"templates": [], "background": ["grass"], "crf": None, "recurrence": "none"}
NEVER = 600
PATIENT = 30  # longer than any process takes to end by itself, so that one that was killed is a failure


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def pid_after_a_while(begun: Path) -> int:
    begun.touch()
    return pid_after(0.3)


def test_a_suite_in_several_processes_leaves_nothing_to_clean_up(tiny_run: Any, tmp_path: Path) -> None:
    """What a spawned process starts is spawned, and there libraries share their locks by name."""
    shared = ["--weights=random:1", f"--data-root={tiny_run.data_root}", f"--out={tmp_path / 'all'}"]
    models = [f"--set={role}_model={tiny_run.model}" for role in ("proposal", "classifier")]
    settings = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
    command = [sys.executable, "-m", "evaluation", "sweep", "voc21", "eta=0.4,0.5", "--jobs=2", "--workers=2"]
    done = subprocess.run([*command, *shared, *models, *settings], capture_output=True, text=True, check=True)
    assert "resource_tracker" not in done.stderr
    assert "Sweep directory:" in done.stderr


def test_all_are_started_before_one_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes are spawned each imports torch, which takes seconds."""
    calls: list[str] = []
    for name in ("launch", "ready"):
        monkeypatch.setattr(module._Process, name, lambda _, name=name: calls.append(name))
    processes: Processes[float, int] = Processes(pid_after, 2)
    processes.start()
    processes.close()
    assert calls == ["launch", "launch", "ready", "ready"]


def test_processes_that_are_closed_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAVE_SECONDS", PATIENT)
    ended: list[int | None] = []
    original = multiprocessing.Process.join

    def join(process: Any, timeout: float | None = None) -> None:
        original(process, timeout)
        ended.append(process.exitcode)

    processes: Processes[float, int] = Processes(pid_after, 2)
    monkeypatch.setattr(multiprocessing.Process, "join", join)
    processes.start()
    processes.submit(0).result()
    processes.close()
    assert set(ended) == {0}


def test_the_task_at_hand_is_finished_and_what_waits_never_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAVE_SECONDS", PATIENT)
    processes: Processes[Path, int] = Processes(pid_after_a_while, 1)
    at_hand, waiting = (processes.submit(tmp_path / name) for name in ("at-hand", "waiting"))
    wait_until((tmp_path / "at-hand").exists)
    processes.close()
    assert not is_running(at_hand.result())
    assert waiting.cancelled()
    assert not (tmp_path / "waiting").exists()


@pytest.mark.parametrize("stuck", ["busy", "stopped"])
def test_what_does_not_go_is_killed(monkeypatch: pytest.MonkeyPatch, stuck: str) -> None:
    monkeypatch.setattr(module, "_LEAVE_SECONDS", 0.1)
    processes: Processes[float, int] = Processes(pid_after, 1)
    pid = processes.submit(0).result()
    hanging: Future[int] | None = None
    if stuck == "busy":
        hanging = processes.submit(NEVER)
        wait_until(hanging.running)
    else:
        os.kill(pid, signal.SIGSTOP)
    processes.close()
    assert not is_running(pid)
    assert hanging is None or hanging.exception()


def test_a_signal_while_processes_end_kills_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAVE_SECONDS", PATIENT)
    original, processes = multiprocessing.Process.join, Processes[float, int](pid_after, 3)
    processes.start()
    children = multiprocessing.active_children()
    hanging = [processes.submit(NEVER) for _ in children]
    wait_until(lambda: all(future.running() for future in hanging))
    signals: list[int] = []

    def join(process: Any, timeout: float | None = None) -> None:
        if threading.current_thread() is threading.main_thread() and not signals:
            signals.append(signal.SIGINT)
            raise Interrupted(signal.SIGINT)
        original(process, timeout)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(multiprocessing.Process, "join", join)
            with pytest.raises(Interrupted):
                processes.close()
        assert not any(is_running(child.pid or 0) for child in children)
        assert all(future.done() for future in hanging)
    finally:
        for child in children:
            child.kill()


def test_what_hangs_is_not_asked_but_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAVE_SECONDS", NEVER)
    processes: Processes[float, int] = Processes(pid_after, 1, time_limit=0.2)
    pid = processes.submit(0).result()
    assert str(processes.submit(NEVER).exception()) == "took longer than 0.2 seconds"
    assert not is_running(pid)
    assert processes.submit(0).result() != pid
    processes.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_every_process_costs_no_task(tmp_path: Path, number: signal.Signals) -> None:
    """As schedulers and closed terminals send it: the parent decides what is still done."""
    processes: Processes[Path, int] = Processes(pid_after_a_while, 1)
    try:
        answer = processes.submit(tmp_path / "first")
        wait_until((tmp_path / "first").exists)
        process = processes._processes[0]._running[0].pid  # type: ignore[index]
        os.kill(process, number)
        assert answer.result() == process
        if number == signal.SIGINT:
            return
        wait_until(lambda: not is_running(process))
        assert processes.submit(tmp_path / "second").result() != process  # started again, as the parent went on
        idle = processes._processes[0]._running[0].pid  # type: ignore[index]
        os.kill(idle, number)
        wait_until(lambda: not is_running(idle))
        assert processes.submit(tmp_path / "third").result() != idle
    finally:
        processes.close()


def test_time_in_which_the_program_was_stopped_is_not_over_the_limit(tmp_path: Path) -> None:
    code = (
        "import time, sys\n"
        "from pathlib import Path\n"
        "from evaluation.engines.processes import Processes\n"
        "def work(task):\n"
        "    time.sleep(0.5)\n"
        "    return task\n"
        "if __name__ == '__main__':\n"
        "    processes = Processes(work, 1, 3.0)\n"
        "    processes.start()\n"
        "    answer = processes.submit('done')\n"
        "    Path(sys.argv[1]).touch()\n"
        "    print(answer.result())\n"
        "    processes.close()\n"
    )
    mark = tmp_path / "begun"
    command = [sys.executable, "-c", code, str(mark)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as program:
        wait_until(mark.exists)
        os.killpg(program.pid, signal.SIGSTOP)
        time.sleep(4)
        os.killpg(program.pid, signal.SIGCONT)
        answer, _ = program.communicate(timeout=60)
    assert (program.returncode, answer) == (0, "done\n")


def test_how_a_process_ended_is_said_of_every_signal() -> None:
    assert module.how_it_ended(-9) == "its process was killed by SIGKILL"
    assert module.how_it_ended(-40) == "its process was killed by signal 40"  # a real-time signal has no name
    assert module.how_it_ended(3) == "its process ended with status 3"
