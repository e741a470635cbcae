"""What a run says of its progress where standard error is a log, by a clock of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dataset_adapters import LabelSpace
from evaluation.run.progress import Progress
from evaluation.tasks.scorer import Scorer
from results import SampleRecord
from results.run_directory.found import bytes_in

SCORER = Scorer("referring", LabelSpace.of_objects("refcoco"))


def record(number: int, *, failed: bool = False) -> SampleRecord:
    counts = {"intersection": 1, "union": 2, "target": 2, "prediction": 1}
    status, error = ("failed", "no picture") if failed else ("ok", None)
    return SampleRecord(id=str(number), status=status, error=error, counts=counts)


def lines(
    capsys: pytest.CaptureFixture[str], seconds: Sequence[float], *, quiet: bool = False, live: bool = True
) -> list[str]:
    """What is printed where records come in at these times, the last of a failure; two were there before."""
    now = [1000.0]
    finished = [record(-1), record(-2)]
    with Progress(100, SCORER, finished, name="here", quiet=quiet, live=live, clock=lambda: now[0]) as progress:
        for number, at in enumerate(seconds):
            now[0] = 1000.0 + at
            progress.add(record(number, failed=at == seconds[-1]))
    out, err = capsys.readouterr()
    assert not out
    return err.splitlines()


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


def test_a_log_gets_a_plain_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, [1, 30, 59.9, 60, 61, 119, 125, 126, 200])[1:] == [
        "here: 6/100 images, 0.0667 images/s, ETA 23:30, mIoU 50.0, 0 failed",
        "here: 9/100 images, 0.056 images/s, ETA 27:05, mIoU 50.0, 0 failed",
        "here: 11/100 images, 0.045 images/s, ETA 32:57, mIoU 50.0, 1 failed",
    ]


def test_a_short_run_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, [1, 1.5, 2, *(0.5 * n for n in range(5, 100))]) == []


def test_a_long_run_says_once_how_long_and_how_large(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_bytes(bytes(2**21))  # of 2 + 2 records
    own, now = replace(SCORER, folder=tmp_path), [0.0]
    with Progress(1000, own, [record(-1), record(-2)], name="here", quiet=False, clock=lambda: now[0]) as progress:
        for now[0] in (40.0, 51.0, 58.0):  # the first also waits for the texts
            progress.add(record(int(now[0])))
    # 996 more at 11 s each are 3.04 h; 1000 records of half a mebibyte.
    assert capsys.readouterr().err == "here: about 3 h for 996 images, 500.0 MiB on disk; --limit 100 for a trial\n"


def test_on_request_and_in_ci_there_is_no_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lines(capsys, [1, 100, 200], quiet=True) == []
    monkeypatch.setenv("CI", "true")
    assert lines(capsys, [1, 100, 200]) == []


def test_a_terminal_has_its_live_line_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    shown = "".join(lines(capsys, [1, 100, 200]))
    assert "5/100" in shown
    assert "here: about" in shown
    assert "images/s, ETA" not in shown.replace("here: about", "")


def test_a_terminal_of_several_processes_has_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    own = lines(capsys, [1, 100, 200], live=False)
    assert [line.partition(" images")[0] for line in own if "ETA" in line] == ["here: 4/100", "here: 5/100"]


def test_files_that_are_gone_meanwhile_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "masks").mkdir()
    for name in ("samples.jsonl", "masks/a.png", "masks/b.png.tmp"):
        (tmp_path / name).write_bytes(bytes(100))
    lstat = os.lstat

    def while_others_write(path: str) -> os.stat_result:
        (tmp_path / "masks" / "b.png.tmp").unlink(missing_ok=True)
        return lstat(path)

    monkeypatch.setattr("os.lstat", while_others_write)
    assert bytes_in(tmp_path) == 200
