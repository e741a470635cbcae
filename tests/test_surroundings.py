"""Other machines, simulated: no home, no folder sync, odd consoles, no signals, no compiler; and host programs."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import json
import logging
import os
import pwd
import stat
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dataset_adapters import DatasetError
from evaluation import RunOptions
from evaluation.cli.app import app
from results import RunDirectory
from support import console, files
from support.errors import UserError


def run_python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"capture_output": True, "text": True, **options}
    return subprocess.run([sys.executable, "-c", code, *arguments], **options)


def fail_for_folders(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    original = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_folder_that_cannot_be_synced_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_for_folders(monkeypatch, number)
    files.write_atomically(tmp_path / "file", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_whose_disk_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for_folders(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=str(tmp_path)):
        files.write_atomically(tmp_path / "file", "text")


def test_a_folder_that_cannot_be_opened_as_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)  # the built-in open does not use it
        files.write_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def test_a_user_without_a_home_is_told_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> Any:
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for variable in ("HOME", "CAR_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=r"^\$CAR_CACHE: expected a folder"):
        files.cache_folder()
    monkeypatch.setenv("CAR_CACHE", "/somewhere")
    assert files.cache_folder() == Path("/somewhere")


def test_a_cache_that_cannot_be_written_names_the_variable(voc: Any) -> None:
    voc.cache.write_text("a file")
    with pytest.raises(DatasetError, match=r"expected a writable cache folder \(\$CAR_CACHE names another"):
        voc.load()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_text_can_be_printed_on_any_console(encoding: str) -> None:
    code = (
        "from support.console import *; prepare_streams(); text = 'caf\\xe9 \\u65e5 \\udce9 \\ud83d'\n"
        "say(text); tell(text)"
    )
    done = run_python(code, env={**os.environ, "PYTHONIOENCODING": encoding}, text=False)
    assert done.returncode == 0, done.stderr
    cafe = "café".encode(encoding, "backslashreplace")
    # On a pipe: the byte of a file name as it is, half an emoji as its code point.
    assert done.stdout.startswith(cafe)
    assert done.stdout.rstrip().endswith(b"\\ud83d")
    assert b" \xe9 " in done.stdout
    assert done.stderr.startswith(cafe)


class OnlyWrites:
    """What some loggers put in place of a stream."""

    encoding = "ascii"

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> int:
        self.written += text.encode("ascii").decode()
        return len(text)


def test_a_stream_need_not_be_more_than_write() -> None:
    out, err = OnlyWrites(), OnlyWrites()
    with redirect_stdout(out), redirect_stderr(err):  # type: ignore[type-var]
        assert not console.is_terminal(sys.stderr)
        console.say("said")
        console.tell("told …")
    assert (out.written, err.written) == ("said\n", "told \\u2026\n")


def test_without_standard_error_nothing_is_told_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with redirect_stderr(None):  # type: ignore[type-var]
        console.tell("told")
    assert not console.is_terminal(None)
    assert capsys.readouterr().out == ""


def test_a_file_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import sys; from support.console import prepare_streams; prepare_streams()\n"
        "with open(sys.argv[1], 'w') as stream: stream.write(str(stream.fileno()))"
    )
    shell = 'exec "$0" -c "$1" "$2" >&- 2>&-'
    subprocess.run(["bash", "-c", shell, sys.executable, code, str(tmp_path / "number")], check=True)
    assert int((tmp_path / "number").read_text()) > 2


def test_a_reader_that_is_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "evaluation", "data", "list"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_home_in_the_paths_of_commands_and_the_library(
    make_voc: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    options = RunOptions("voc21", "~/data", out="run", weights=Path("file.pt"))  # type: ignore[arg-type]
    assert (options.data_root, options.out, options.weights) == (tmp_path / "data", Path("run"), "file.pt")
    assert RunDirectory("~/run").header_path == tmp_path / "run/run.json"
    found = CliRunner().invoke(app, ["table", "~/run"])
    assert f"{tmp_path}/run: not a run directory (no run.json)" in found.stderr
    for arguments in (
        ["table", "x", "--out=~nosuch/t"],
        ["bench", "--out=~nosuch/b"],
        ["report", "x", "-o", "~nosuch"],
    ):
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 2
        assert "~nosuch" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("~*"))


def test_levels_of_other_libraries_logs_stay(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("huggingface_hub")
    before = log.level
    with console.quiet_log("huggingface_hub"):
        log.warning("not this")
        log.error("this")
    assert log.level == before
    assert caplog.messages == ["this"]


@pytest.mark.parametrize("package", ["car_core", "evaluation", "dataset_adapters", "results"])
def test_waiting_threads_sleep_in_a_host_program_too(package: str) -> None:
    names = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    code = f"import os, sys, {package}; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    assert run_python(code, env=names).stdout == "False PASSIVE\n"


def test_modules_can_be_imported_again() -> None:
    pytest.importorskip("torch")
    from car_core.models import torchvision_guard

    torchvision_guard.declare_missing_ops()
    assert importlib.reload(torchvision_guard).declare_missing_ops() == ()


def test_machine_without_optional_packages_gives_same_figures(tmp_path: Path) -> None:
    """No pydensecrf; Windows has no SIGUSR1, signal masks, fcntl, resource, pwd and affinity."""
    pytest.importorskip("torch")
    pytest.importorskip("pydensecrf")
    code = """
import importlib.metadata, os, signal, sys
for name in ("pydensecrf", "fcntl", "resource", "pwd"):
    sys.modules[name] = None
del signal.SIGUSR1, signal.pthread_sigmask, os.sched_getaffinity
version = importlib.metadata.version
def without(name):
    if name == "pydensecrf2":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = without
from evaluation.cli.app import main
main()
"""
    arguments = ["eval", "mini-voc", "--limit=1", "--workers=0", "--set=templates=[]", "--set=background=[grass]"]
    environ = {**os.environ, "CAR_CACHE": str(tmp_path / "cache")}
    bare = run_python(code, *arguments, f"--out={tmp_path / 'bare'}", env=environ)
    assert bare.returncode == 0, bare.stderr
    assert "notice: crf: torch's, since pydensecrf2 is not installed" in bare.stderr
    assert CliRunner().invoke(app, [*arguments, f"--out={tmp_path / 'usual'}"], env=environ).exit_code == 0
    found, expected = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("bare", "usual"))
    assert found["metrics"] == expected["metrics"]
    assert found["identity_fields"]["config"]["crf"]["implementation"] == "torch"
    assert expected["identity_fields"]["config"]["crf"]["implementation"] == "pydensecrf"
    assert "pydensecrf2" not in found["identity_fields"]["packages"]
    assert expected["identity_fields"]["packages"]["pydensecrf2"] == importlib.metadata.version("pydensecrf2")


def test_a_spawning_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing\n"
        "multiprocessing.set_start_method('spawn', force=True)\n"
        "from evaluation import RunOptions, evaluate\n"
        "evaluate(RunOptions('mini-voc', limit=2, workers=1, settings={'crf': None}, out='run', quiet=True))\n"
    )
    environ = {**os.environ, "CAR_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ended with status 1 before it was ready" in done.stderr.splitlines()[-1]
    assert "if __name__ == '__main__'" in done.stderr.splitlines()[-1]
    assert done.stderr.count("Traceback") == 1  # the script's own; none of its processes
    header = RunDirectory(tmp_path / "run").read_header()
    assert (header.status, header.counts.n_total) == ("incomplete", 0)
