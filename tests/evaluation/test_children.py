"""Child processes that do a part of a run or of a suite: what they get, what they give, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.parts import UnsendableError, about_itself, raises, stays
from helpers.waiting import children_of, is_running, wait_until

from evaluation.engines.children import Child, messages
from results import StoreError


def until_its_end(*children: Child) -> list[list[Any]]:
    """What each sent, without the end."""
    found, running = {child: list[Any]() for child in children}, set(children)
    while running:
        for child, message in messages(running):
            if message is None:
                running.remove(child)
                found[child].append(child.end(patience=60))
            else:
                found[child].append(message)
    return list(found.values())


def test_child_gets_sends_returns_and_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("signal.py").write_text("raise SystemExit('a file of the working folder was imported')\n")
    log = tmp_path / "log"
    own, refused, strange = until_its_end(
        Child(about_itself, "given", threads=1),
        Child(raises, StoreError, "no such luck", threads=1),
        Child(raises, UnsendableError, "no", "such luck", threads=1, log=log),
    )
    told, (group, threads, path, standard_input), end = own
    assert (told, threads, path, standard_input, end) == ("given", 1, sys.path, "", "its process ended with status 0")
    assert group == os.getpgid(0)  # Ctrl-Z at a terminal stops it, too
    assert (type(refused[0]), str(refused[0]), refused[1]) == (
        StoreError,
        "no such luck",
        "its process ended with status 1",
    )
    assert "in raises" in str(refused[0].__cause__)  # where it happened
    assert (type(strange[0]), str(strange[0])) == (RuntimeError, "helpers.parts.UnsendableError: no: such luck")
    assert "UnsendableError: no: such luck" in log.read_text().splitlines()[-1]


def test_child_ends_with_its_killed_parent() -> None:
    code = (
        "import time\n"
        "from helpers.parts import stays\n"
        "from evaluation.engines.children import Child\n"
        "child = Child(stays, threads=1)\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        parent.stdout.readline()
        [child] = children_of(parent.pid)
        assert is_running(child)
        parent.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_running(child))


def test_child_asked_twice_stops_and_deaf_child_is_killed() -> None:
    asked, deaf = Child(stays, threads=1), Child(stays, True, threads=1)
    begun = {asked: False, deaf: False}
    while not all(begun.values()):
        begun |= {child: message == "begun" for child, message in messages(begun)}
    for _ in range(2):
        for child in (asked, deaf):
            child.ask_to_stop()
        time.sleep(1)  # two signals of a kind that wait are one
    [[interrupted, end]] = until_its_end(asked)
    assert (type(interrupted).__name__, end) == ("Interrupted", "its process ended with status 1")
    assert deaf.end() == "its process was killed by SIGKILL"
