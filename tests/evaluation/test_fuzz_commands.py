"""Every command with options and files that no careful person gives: 800 seeded cases, without a model.

Counted are tracebacks, hangs, exit statuses, started processes, and files written or changed where nobody asked.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.command import FAST
from PIL import Image
from typer.testing import CliRunner

from evaluation import evaluate
from evaluation.cli.app import app
from support.errors import UserError

N_CASES = 800
SECONDS = 20  # for one case; the slowest takes a fraction of one

COMMANDS = [
    "{value}",
    "{value} {value}",
    "bench --n-images {value}",
    "check --reference {file}",
    "check {run} --golden {file}",
    "check {run} --golden {new} --update --tolerance {value}",
    "compare {run} {file}",
    "compare {run} {run} --resamples {value}",
    "compare {run} {run} --seed {value} --resamples 10",
    "data check --images {file} --masks {masks} --classes {classes}",
    "data check --images {images} --masks {file} --classes {classes}",
    "data check --images {images} --masks {masks} --classes {file}",
    "data check --images {images} --masks {masks} --classes {classes} --ignore-value {value}",
    "data check {value}",
    "data check voc --root {file} --decode {value}",
    "data list {value}",
    "data list --root {file}",
    "data prepare {value}",
    "eval --hf {file} --classes {classes}",
    "eval --images {images} --masks {masks} --classes {file}",
    "eval mini-voc --data-root {file}",
    "eval mini-voc --device {value}",
    "eval mini-voc --engine {value}",
    "eval mini-voc --engine ray --actor-cpus {value}",
    "eval mini-voc --limit {value}",
    "eval mini-voc --max-pixels {value}",
    "eval mini-voc --method {value}",
    "eval mini-voc --out {file}",
    "eval mini-voc --protocol {value}",
    "eval mini-voc --sample-timeout {value}",
    "eval mini-voc --set proposal_model={file}",
    "eval mini-voc --set theta={value}",
    "eval mini-voc --set {value}",
    "eval mini-voc --shard {value}",
    "eval mini-voc --split {file}",
    "eval mini-voc --weights random:{value}",
    "eval mini-voc --weights {file}",
    "eval {value}",
    "merge {run} {file} --out {new}",
    "merge {run} {run} --out {new}",
    "report {file}",
    "report {run} --samples {value}",
    "report {run} --samples=0",
    "segment {file} cat",
    "segment {image} cat --json {file}",
    "segment {image} cat --sam {value}",
    "segment {image} cat --weights {file}",
    "segment {image} {value}",
    "serve --host {value}",
    "serve --port {value}",
    "suite mini --jobs {value}",
    "suite mini --out {file}",
    "suite {value}",
    "sweep mini-voc --file {file}",
    "sweep mini-voc theta={value}",
    "sweep mini-voc {value}",
    "table {file}",
    "table {run}",
    "table {run} --format {value}",
    "table {run} {run}",
]
VALUES = [
    "", "-1", "0", "nan", "inf", "1e400", "2001-01-01", "9" * 30, "9" * 5000, "0x" + "f" * 5000, "٣", "[" * 2000,
    "{1: 2}", "{a: 1, a: 2}", "!!binary aGk=", "!!python/object/apply:os.system [id]", "&a [*a]", "<<: *a", "a=b",
    "\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "line\nbreak", "../../etc/passwd", "~nosuch/x", "-", "--", "n" * 300,
    "/".join("n" * 250 for _ in range(20)), "\udcff", "|a|b|", "$x^2$", "1/0", "null", "mini-voc", "voc",
]  # fmt: skip
TEXTS = {
    "empty": b"",
    "nul": b"\0" * 3000,
    "bytes": bytes(range(256)) * 8,
    "utf16": '{"a": 1}\nb\n'.encode("utf-16"),
    "latin1": "\xe9t\xe9\n".encode("latin-1"),
    "deep": b"[" * 100_000,
    "deep_keys": b'{"a":' * 5000,
    "integer": b'{"a": ' + b"9" * 5000 + b"}",
    "nan": b'{"a": NaN}',
    "aliases": b"a: &a [1]\nb: [*a, *a]\n",
    "markup": b"<script>\x1b[2J|a|b|\r\n\xe2\x80\xae" * 9,
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "pickle": b"\x80\x04cos\nsystem\n(S'id'\ntR.",
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "elf": b"\x7fELF" + b"\0" * 99,
}
ENDINGS = ["", ".json", ".yaml", ".txt", ".png", ".jpg", ".npz", ".pt", ".safetensors", ".parquet", ".jsonl"]
KINDS = [*TEXTS, "absent", "folder", "link", "dangling", "loop", "fifo", "zero", "null", "long", "control", "cut"]
PLAIN = [*TEXTS, "absent", "folder", "control", "cut"]
"""Kinds that a run's own file may take without being refused for its kind."""

# What programs do that files and options must not make them do; those of the running case.
STARTED = list[str]()
WRITTEN = list[str]()
_STARTS = {
    "subprocess.Popen",
    "os.exec",
    "os.system",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
}
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate"}
_WATCHING = [False]


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _WATCHING[0]:
        return
    is_named = bool(arguments) and isinstance(arguments[0], (str, bytes))  # else a descriptor
    if event in _STARTS:
        STARTED.append(event)
    elif is_named and (event in _CHANGES or (event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))):
        WRITTEN.append(os.path.abspath(os.fsdecode(arguments[0])))


class Place:
    """The folder of one case: what a command is given, and next to it what must stay as it is."""

    def __init__(self, folder: Path, run: Path, draw: random.Random) -> None:
        self.draw, self.run, self.given, self.victim = draw, run, folder / "given", folder / "victim"
        for own in (self.given, self.victim):
            own.mkdir(parents=True)
        for name in ("keys", "run.json", "samples.jsonl", "table.md"):
            (self.victim / name).write_text("the user's own")
        shutil.copytree(run, self.victim / "run")
        for name, mode in (("images", "RGB"), ("masks", "L")):
            (self.given / name).mkdir()
            Image.new(mode, (8, 6)).save(self.given / name / "a.png")
        (self.given / "classes.txt").write_text("background\ncat\n")

    def file(self, at: Path | None = None, kinds: list[str] = KINDS) -> str:
        kind = self.draw.choice(kinds)
        path = at or self.given / f"file{self.draw.randrange(10**6)}{self.draw.choice(ENDINGS)}"
        if kind in TEXTS:
            path.write_bytes(TEXTS[kind])
        elif kind == "cut":
            content = (self.run / self.draw.choice(["run.json", "samples.jsonl"])).read_bytes()
            path.write_bytes(content[: self.draw.randrange(len(content))])
        elif kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(self.victim / self.draw.choice(["keys", "run/run.json", "run.json"]))
        elif kind in ("dangling", "loop"):
            path.symlink_to(path if kind == "loop" else self.victim / "absent")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind in ("zero", "null"):
            path.symlink_to(f"/dev/{kind}") if at else None
            return f"/dev/{kind}"
        elif kind == "long":
            return str(path.with_name("n" * 300))
        elif kind == "control" and not at:
            path = path.with_name(f"a\x1b[2J\u202e\n{path.name}")
            path.write_bytes(b"[]")
        return str(path)

    def a_run(self) -> str:
        """A copy of the run with one of its entries replaced, or an entry that no run has."""
        copy = Path(shutil.copytree(self.run, self.given / f"run{self.draw.randrange(10**9)}"))
        name = self.draw.choice(["run.json", "samples.jsonl", "table.md", ".lock", "predictions", "proposals", "more"])
        if (copy / name).is_file():
            (copy / name).unlink()
        self.file(copy / name, [kind for kind in KINDS if kind != "long"])
        return str(copy)

    def argument(self, slot: str) -> str:
        fixed = {"images": "images", "masks": "masks", "classes": "classes.txt", "image": "images/a.png", "new": "new"}
        if slot in fixed:
            return str(self.given / fixed[slot])
        return {"file": self.file, "run": self.a_run, "value": lambda: self.draw.choice(VALUES)}[slot]()

    def state(self) -> dict[str, str]:
        """What is in the folder that no command was given, by path."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            for path in sorted(self.victim.rglob("*"))
        }


def arguments_of(command: str, place: Place) -> list[str]:
    found = []
    for word in command.split():
        before, brace, rest = word.partition("{")
        slot, _, after = rest.partition("}")
        found.append(before + place.argument(slot) + after if brace else word)
    return found


@pytest.fixture
def run(tiny_run: Any) -> Path:
    """The folder of a finished run."""
    return evaluate(tiny_run.options(limit=2, settings=FAST)).path


@pytest.fixture
def no_models(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end where they would load a model."""
    from evaluation.cli import segment, serve
    from evaluation.run import prepare
    from evaluation.suites import runner

    def end(*arguments: Any, **options: Any) -> None:
        raise UserError("no model is loaded here")

    monkeypatch.setattr(prepare, "build", end)
    monkeypatch.setattr(segment, "load_car", end)
    monkeypatch.setattr(serve, "load_car", end)
    for name in ("run_suite", "run_methods"):
        monkeypatch.setattr(runner, name, end)


@pytest.fixture(scope="module")
def hook() -> Iterator[None]:
    sys.addaudithook(watch)  # for good: it does nothing when no case is running
    yield
    _WATCHING[0] = False


def too_long(number: int, frame: object) -> None:
    raise TimeoutError("hangs")


def faults_of(result: Any, given: Path) -> list[str]:
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    steering = {c for c in result.output if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    elsewhere = [path for path in WRITTEN if not path.startswith((f"{given}{os.sep}", "/dev/", "/proc/"))]
    found: dict[str, Any] = {
        "traceback": result.exception and not isinstance(result.exception, SystemExit) and repr(result.exception),
        "status": result.exit_code not in (0, 2, 3, 4, 5) and result.exit_code,
        "lines": result.exit_code == 2 and len(errors) != 1 and "Usage:" not in result.output and errors,
        "wording": [text for text in ("Errno", "Input should", "pydantic", "Traceback") if text in result.output],
        "steering": steering,
        "started": [*STARTED],
        "written": elsewhere,
    }
    return [f"{name}: {value}" for name, value in found.items() if value]


def test_no_command_falls_for_options_and_files(
    tmp_path: Path, run: Path, no_models: None, hook: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, faults = random.Random(20), list[str]()
    before = signal.signal(signal.SIGALRM, too_long)
    try:
        for number in range(N_CASES):
            place = Place(tmp_path / str(number), run, draw)
            monkeypatch.setenv("CAR_CACHE", str(place.given / "cache"))
            monkeypatch.chdir(place.given)
            arguments = arguments_of(COMMANDS[number % len(COMMANDS)], place)
            state = place.state()
            STARTED.clear(), WRITTEN.clear()
            signal.alarm(SECONDS)
            _WATCHING[0] = True
            result = CliRunner().invoke(app, arguments, prog_name="car")
            _WATCHING[0] = False
            signal.alarm(0)
            found = faults_of(result, place.given)
            if place.state() != state:
                found.append("changed: the user's own files")
            faults += [f"{number}: {[argument[:60] for argument in arguments]}: {fault}" for fault in found]
            os.chdir(tmp_path)
            shutil.rmtree(tmp_path / str(number))
    finally:
        _WATCHING[0] = False
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not faults, "\n".join(faults)
