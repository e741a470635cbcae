"""``car runs``: the list of runs, and what is in their place."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from evaluation.cli.app import app
from results import RunDirectory, RunHeader, SampleRecord
from results.run_directory.found import FoundRun, bytes_in, find_runs
from results.tables.overview import facts_of, overview, overview_of
from results.tables.render import to_rich
from support.text import mebibytes

MakeHeader = Callable[..., RunHeader]


def car_runs(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


def listed(*arguments: object) -> list[dict[str, Any]]:
    result = car_runs(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


@pytest.fixture
def folder(tmp_path: Path, make_header: MakeHeader) -> Path:
    """Three runs, the second of a baseline below a suite's folder, the third unfinished."""
    top = tmp_path / "runs"

    def write(path: str, day: int, n_lines: int, **changes: Any) -> None:
        header = make_header(updated_at=f"2026-01-{day:02d}T10:11:12+00:00", **changes)
        (top / path).mkdir(parents=True)
        (top / path / "run.json").write_text(json.dumps(header.model_dump()))
        lines = (f'{{"id": "{i}", "status": "ok", "error": null}}\n' for i in range(n_lines))
        (top / path / "samples.jsonl").write_text("".join(lines))

    write("a", 3, 11)
    config = {"method": "naclip"}
    write("suite/b", 1, 11, config=config, config_sources=dict.fromkeys(config, "default"))
    write("c", 2, 4, status="running", metrics={}, request={"benchmark": "voc21", "limit": 7, "weights": "openai"})
    return top


def test_runs_are_listed_newest_first(folder: Path) -> None:
    rows = listed(folder)
    assert [row["path"] for row in rows] == [str(folder / name) for name in ("a", "c", "suite/b")]
    assert [row["method"] for row in rows] == ["car", "car", "naclip"]
    assert [(row["done"], row["wanted"]) for row in rows] == [(11, 11), (4, 7), (11, 11)]
    assert [row["figure"] for row in rows] == [0.65449, None, 0.65449]
    assert [row["set"] for row in rows] == [["eta=0.4"], ["eta=0.4", "limit=7", "weights=openai"], []]
    size = sum(file.stat().st_size for file in (folder / "a").iterdir())
    assert rows[0]["bytes"] == size
    assert listed(folder, folder / "a", folder) == rows  # each once


def test_samples_tried_again_count_once(tmp_path: Path, make_header: MakeHeader) -> None:
    """Ids of all kinds, as runs write them, and the torn line of a killed one."""
    ids = ["a", "b", 'c", "status": "ok', "c", "status", "é\n", "\\"]
    run = FoundRun(tmp_path, make_header(status="incomplete", metrics={}))
    with RunDirectory(tmp_path) as store:
        for _ in range(3):
            for each in ids:
                store.append(SampleRecord(id=each, status="failed", error='"status": x'))
        store.append(SampleRecord(id="a", status="ok"))
    assert run.progress()["done"] == len(ids)
    with (tmp_path / "samples.jsonl").open("a") as stream:
        stream.write('{"id": "torn", "status"')
    assert run.progress()["done"] == len(ids)


def drawn(folder: Path, width: int) -> list[str]:
    """The lines of the overview at a terminal."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(to_rich(overview([{**facts_of(run), **run.progress()} for run in find_runs([folder])[0]]), width))
    lines: list[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    return lines


def test_long_names_are_folded_where_the_table_would_not_fit(folder: Path) -> None:
    name = "sweep-mini-voc-0a1b2c3d-limit20/voc21-crf.iterations=3-eta=0.4-lambda=0.6"
    (folder / name).parent.mkdir()
    (folder / "suite" / "b").rename(folder / name)
    [heading] = [line for line in drawn(folder, 80) if line.startswith("run ")]
    column = heading.index("method")
    assert name in "".join(line[:column].strip() for line in drawn(folder, 80))
    assert any(line.startswith("run: a") for line in drawn(folder, 40))


def test_filters(folder: Path) -> None:
    assert [row["path"] for row in listed(folder, "-n", 1)] == [str(folder / "a")]
    assert [row["method"] for row in listed(folder, "--method=naclip")] == ["naclip"]
    assert [row["status"] for row in listed(folder, "--status=running")] == ["running"]
    assert listed(folder, "--benchmark=voc20") == []
    assert f"no runs in {folder} that match" in car_runs(folder, "--benchmark=voc20").stderr
    assert listed(folder / "suite")[0]["path"] == str(folder / "suite" / "b")


def test_an_unfinished_shard_does_not_know_its_size(tmp_path: Path, make_header: MakeHeader) -> None:
    header = make_header(status="incomplete", identity_fields={"shard": "1/2"})
    (tmp_path / "run.json").write_text(json.dumps(header.model_dump()))
    [row] = listed(tmp_path)
    assert (row["done"], row["wanted"]) == (0, None)
    assert " 0/? " in car_runs(tmp_path).stdout


def test_what_is_no_run_is_counted_in_one_line(folder: Path, make_header: MakeHeader) -> None:
    """Damaged, foreign, linked and hidden folders; a header of wild values."""
    wild = make_header(metrics={"miou": "high"}, config={"method": ["x"]}, config_sources={"method": "user"})
    texts = {
        "empty": "",
        "list": "[]",
        "foreign": '{"a": 1}',
        "newer": '{"schema_version": 9}',
        "deep": "[" * 100_000,
        "wild": json.dumps(wild.model_dump() | {"request": {"limit": "x", "split": "\x1b[31mred\u202e"}}),
    }
    for name, text in texts.items():
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(text)
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe" / "run.json")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "run.json").write_text("{")
    (folder / "up").symlink_to(folder)
    (folder / "notes.txt").touch()
    result = car_runs(folder)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("notice: 6 folders more with a run.json that cannot be read, first ")
    assert len(listed(folder)) == 4
    assert "\x1b" not in result.stdout
    assert "\\u{1b}" in result.stdout
    [row] = [row for row in listed(folder) if row["path"] == str(folder / "wild")]
    assert row["figure"] is None


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_fits_a_terminal(folder: Path, width: int) -> None:
    lines = drawn(folder, width)
    assert len(lines) < 12  # a run is a line
    shown = "\n".join(lines)
    for text in ("65.4", " 11 ", "4/7 running", "naclip", "2026-01-03", "eta=0.4", "suite/b"):
        assert text in shown


def test_narrow_terminal_drops_the_date_before_the_benchmark(folder: Path) -> None:
    shown = "\n".join(drawn(folder, 58))
    assert "benchmark" in shown
    assert "2026-01-03" not in shown


def test_overview_says_each_remark_once(tmp_path: Path, make_header: MakeHeader) -> None:
    """It compares only what may be compared."""
    weights = [{"role": role, "name": "random:0", "sha256": None, "trained": False} for role in ("f", "g")]
    headers = {"a": make_header(), "b": make_header(weights=weights), "c": make_header(weights=weights)}
    table = overview_of([FoundRun(tmp_path / name, header) for name, header in headers.items()])
    assert table.values("run") == ["a", "b", "c"]
    assert [value and round(value, 3) for value in table.values("difference")] == [-2.151, None, None]
    assert table.notes == ("%: miou (semantic)", "b, c: untrained weights, not comparable")


def test_an_unknown_folder_is_one_line_and_no_runs_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = car_runs("elsewhere")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: elsewhere: expected a folder of runs, found nothing; `car runs DIR` looks elsewhere\n",
    )
    result = car_runs()  # before the first run
    assert (result.exit_code, result.stderr) == (0, "no runs in results/runs\n")
    (tmp_path / "results/runs").mkdir(parents=True)
    assert car_runs().stderr == "no runs in results/runs\n"


def test_the_list_does_not_wait_for_torch(folder: Path) -> None:
    code = (
        f"import sys; sys.argv = ['car', 'runs', {str(folder)!r}]; from evaluation.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'open_clip', 'datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_settings_are_shown_as_they_are_typed(tmp_path: Path, make_header: MakeHeader) -> None:
    asked: dict[str, Any] = {"crf": None, "prompts": ["circle", "blur"], "refine": True, "crf_image": "é"}
    header = make_header(config=asked, config_sources=dict.fromkeys(asked, "user"), request={"set": asked})
    assert facts_of(FoundRun(tmp_path, header))["set"] == [
        "crf=null",
        'prompts=["circle", "blur"]',
        "refine=true",
        "crf_image=é",
    ]


def test_sizes_have_a_unit_in_which_they_are_not_zero() -> None:
    sizes = {0: "0.0 KiB", 700: "0.7 KiB", 1.25 * 2**20: "1.2 MiB", 2.1 * 2**30: "2.1 GiB"}
    assert {size: mebibytes(size) for size in sizes} == sizes


def test_folders_deeper_than_the_stack_are_walked(tmp_path: Path) -> None:
    start = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1_500):  # one level at a time: a whole path would be too long
            os.mkdir("d")
            os.chdir("d")
        assert find_runs([tmp_path]) == ([], [])
        assert bytes_in(tmp_path) == 0
    finally:
        os.chdir(start)
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # pytest would remove it by recursion
