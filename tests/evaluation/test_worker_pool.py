"""Processes next to the model: how they end."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from helpers.command import FAST
from helpers.waiting import is_running, wait_until

from evaluation.engines.signals import Interrupted
from evaluation.engines.worker_pool import Processes, how_it_ended

NEVER = 600
PATIENT = 30  # longer than any process takes to end by itself, so that one that was killed is a failure


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def pid_after_a_while(begun: Path) -> int:
    begun.touch()
    return pid_after(0.3)


def started(work: Callable[[Any], int], count: int) -> tuple[Processes[Any, int], list[Any]]:
    """Processes at work, and those alone: others of this session may not be gone yet."""
    others, processes = multiprocessing.active_children(), Processes[Any, int](work, count)
    processes.start()
    return processes, [child for child in multiprocessing.active_children() if child not in others]


def test_a_suite_in_several_processes_leaves_nothing_to_clean_up(tiny_run: Any, tmp_path: Path) -> None:
    """What a spawned process starts is spawned, and there libraries share their locks by name."""
    shared = ["--limit=2", "--weights=random:1", f"--data-root={tiny_run.data_root}", f"--out={tmp_path / 'all'}"]
    models = [f"--set={role}_model={tiny_run.model}" for role in ("proposal", "classifier")]
    settings = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
    command = [sys.executable, "-m", "evaluation", "sweep", "voc21", "eta=0.4,0.5", "--jobs=2", "--workers=1"]
    done = subprocess.run([*command, *shared, *models, *settings], capture_output=True, text=True, check=True)
    assert "resource_tracker" not in done.stderr
    assert "Sweep directory:" in done.stderr


def test_processes_all_start_before_one_is_waited_for(tmp_path: Path) -> None:
    """Where processes are spawned each imports torch, which takes seconds."""
    code = (
        "import multiprocessing, os, sys, time\n"
        "from pathlib import Path\n"
        "from evaluation.engines.worker_pool import Processes\n"
        "if __name__ != '__main__':\n"
        "    Path(sys.argv[1], str(os.getpid())).touch()\n"
        "    for _ in range(6000):\n"
        "        if len(list(Path(sys.argv[1]).iterdir())) == 2:\n"
        "            break\n"
        "        time.sleep(0.01)\n"
        "    else:\n"
        "        sys.exit(1)\n"
        "else:\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    processes = Processes(abs, 2)\n"
        "    processes.start()\n"
        "    print(processes.submit(-7).result())\n"
        "    processes.close()\n"
    )
    (tmp_path / "script.py").write_text(code)
    (tmp_path / "started").mkdir()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "script.py", tmp_path / "started"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_closed_processes_end_by_themselves() -> None:
    processes, children = started(pid_after, 2)
    processes.submit(0).result()
    processes.close(patience=PATIENT)
    assert [child.exitcode for child in children] == [0, 0]


def test_closing_processes_finishes_the_current_task_only(tmp_path: Path) -> None:
    processes: Processes[Path, int] = Processes(pid_after_a_while, 1)
    at_hand, waiting = (processes.submit(tmp_path / name) for name in ("at-hand", "waiting"))
    wait_until((tmp_path / "at-hand").exists)
    processes.close(patience=PATIENT)
    assert not is_running(at_hand.result())
    assert waiting.cancelled()
    assert not (tmp_path / "waiting").exists()


@pytest.mark.parametrize("stuck", ["busy", "stopped"])
def test_process_that_does_not_end_is_killed(stuck: str) -> None:
    processes: Processes[float, int] = Processes(pid_after, 1)
    pid = processes.submit(0).result()
    hanging: Future[int] | None = None
    if stuck == "busy":
        hanging = processes.submit(NEVER)
        wait_until(hanging.running)
    else:
        os.kill(pid, signal.SIGSTOP)
    processes.close(patience=0.1)
    assert not is_running(pid)
    assert hanging is None or hanging.exception()


def test_signal_while_processes_end_kills_all() -> None:
    processes, children = started(pid_after, 3)
    hanging = [processes.submit(NEVER) for _ in children]
    wait_until(lambda: all(future.running() for future in hanging))

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(Interrupted):
            processes.close(patience=NEVER)
        assert not any(is_running(child.pid or 0) for child in children)
        assert all(future.done() for future in hanging)
    finally:
        signal.signal(signal.SIGALRM, before)
        for child in children:
            child.kill()


def test_process_over_its_time_limit_is_killed() -> None:
    processes: Processes[float, int] = Processes(pid_after, 1, time_limit=0.2)
    pid = processes.submit(0).result()
    assert str(processes.submit(NEVER).exception()) == "took longer than 0.2 seconds"
    assert not is_running(pid)
    assert processes.submit(0).result() != pid
    processes.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_to_every_process_costs_no_task(tmp_path: Path, number: signal.Signals) -> None:
    """As schedulers and closed terminals send it: the parent decides what is still done."""
    processes, [process] = started(pid_after_a_while, 1)
    try:
        answer = processes.submit(tmp_path / "first")
        wait_until((tmp_path / "first").exists)
        os.kill(process.pid or 0, number)
        assert answer.result() == process.pid
        os.kill(process.pid or 0, number)  # between two tasks
        time.sleep(0.2)
        assert processes.submit(tmp_path / "second").result()
    finally:
        processes.close()


def test_process_killed_between_tasks_costs_none() -> None:
    processes: Processes[float, int] = Processes(pid_after, 1)
    pid = processes.submit(0).result()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    assert processes.submit(0).result() != pid
    processes.close()


def answer_of(size: int) -> bytes:
    if size > 1000:  # killed by the kernel, say, while the answer is on its way
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return bytes(size)


def test_process_killed_while_answering_costs_only_its_task() -> None:
    processes: Processes[int, bytes] = Processes(answer_of, 2)
    lost = processes.submit(2**28)
    others = [processes.submit(size) for size in range(10)]
    assert [len(other.result()) for other in others] == list(range(10))
    assert str(lost.exception()) == "its process was killed by SIGKILL"
    processes.close()


def test_time_while_stopped_is_not_over_the_limit(tmp_path: Path) -> None:
    code = (
        "import time, sys\n"
        "from pathlib import Path\n"
        "from evaluation.engines.worker_pool import Processes\n"
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


def test_end_of_a_process_is_named_for_every_signal() -> None:
    assert how_it_ended(-9) == "its process was killed by SIGKILL"
    assert how_it_ended(-40) == "its process was killed by signal 40"  # a real-time signal has no name
    assert how_it_ended(3) == "its process ended with status 3"
