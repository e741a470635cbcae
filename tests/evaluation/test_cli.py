"""``car`` as a user types it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from helpers.faults import FAULTY
from PIL import Image
from typer.testing import CliRunner, Result

from car_core import CaR, ModelError
from evaluation.cli import terminal
from evaluation.cli.app import app
from evaluation.cli.exit_status import one_line_errors
from evaluation.cli.help import COMMANDS, EXAMPLES
from evaluation.engines.worker_pool import WorkerError
from evaluation.request.benchmark import BenchmarkError
from support.console import say, tell
from support.errors import ImageError, UserError


def car(arguments: list[str]) -> Result:
    return CliRunner().invoke(app, arguments)


def test_eval_prints_the_table_beside_the_paper(tiny_run: Any) -> None:
    result = car(tiny_run.arguments("--limit=2"))
    assert result.exit_code == 0
    assert "CaR (paper)" in result.stdout
    assert "untrained weights, not comparable" in result.stdout
    assert str(tiny_run.out) in result.stderr


def test_json_is_the_run_and_nothing_else(tiny_run: Any) -> None:
    result = car(tiny_run.arguments("--limit=1", "--json"))
    header = json.loads(result.stdout)
    assert header == json.loads((tiny_run.out / "run.json").read_text())
    assert header["counts"]["n_total"] == 1


def test_table_prints_a_finished_run_again(tiny_run: Any) -> None:
    first = car(tiny_run.arguments("--limit=1"))
    again = car(["table", str(tiny_run.out)])
    assert again.exit_code == 0
    assert again.stdout.strip() == first.stdout.strip()
    assert car(["table", str(tiny_run.out), f"{tiny_run.out}/"]).stdout == again.stdout  # no run twice


def test_table_of_several_runs_is_a_list_with_remarks_once(tiny_run: Any) -> None:
    one, two = tiny_run.out / "one", tiny_run.out / "two"
    assert car(tiny_run.arguments("--limit=1", f"--out={one}")).exit_code == 0
    assert car(tiny_run.arguments("--limit=1", f"--out={two}", "--set=eta=0.3")).exit_code == 0
    shown = car(["table", str(one), str(two), str(one)]).stdout
    rows = [line.split("|") for line in shown.splitlines() if line.startswith(("| one", "| two"))]
    assert [("eta=0.3" in row[3], "limit=1" in row[3] or "…" in row[3]) for row in rows] == [
        (False, True),
        (True, True),
    ]
    assert shown.count("partial run: 1 of 7 images") == 1
    assert len(shown.splitlines()) < 40
    details = car(["table", str(one), str(two), "--details"]).stdout
    assert details.count("# voc21: CaR") == 2
    assert details.endswith(car(["table", str(one), str(two), "--format=md"]).stdout + "\n")


def test_failed_samples_set_the_exit_status(tiny_run: Any) -> None:
    (tiny_run.data_root / "JPEGImages" / "2007_000000.jpg").write_bytes(b"not a picture")
    result = car(tiny_run.arguments("--limit=2"))
    assert result.exit_code == 3
    assert "1 of 2 samples failed" in result.stderr
    assert "2007_000000" in result.stdout
    assert car(tiny_run.arguments("--limit=2", "--allow-failures")).exit_code == 0


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--data-root=nowhere"], "nowhere"),
        (["--split=trainn"], "trainn"),
        (["--set=eta=1.5"], "eta"),
        (["--set=etaa=0.5"], "did you mean eta"),
        (["--set=eta"], "key=value"),
        (["--set=prompts=[halo]"], "prompts"),
        (["--set=proposal_model=ViT-B-61"], "did you mean ViT-B-16"),
        (["--set=proposal_model=missing.json"], "missing.json"),
        (["--weights=missing.safetensors"], "missing.safetensors"),
        (["--weights=random:one"], "error: --weights: expected random:SEED"),
        (["--set=eta=high"], "error: --set eta: expected a number, found 'high'"),
        (["--set=crf.iterations=x"], "error: --set crf.iterations: expected an integer"),
        (["--set=lambda_=x"], "error: --set lambda: expected a number"),
        (["--protocol=size=1"], "error: --protocol: size: voc21 has no protocol options"),
        (["--limit=0"], "error: --limit: expected at least 1, found 0"),
        (["--batch-size=0"], "error: --batch-size: expected at least 1, found 0"),
        (["--device=tpu9"], "error: --device: expected auto"),
        (["--metrics=mIoU"], "error: --metrics: miou is always computed"),
    ],
    ids=str,
)
def test_set_up_mistakes_are_one_line_and_status_2(tiny_run: Any, more: list[str], expected: str) -> None:
    result = car(tiny_run.arguments(*more))
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert expected in lines[0]
    assert not tiny_run.out.exists()


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        ("eval mini-voc --set theta 0.6", "--set theta=0.6"),
        ("eval --set theta -1", "--set theta=-1"),
        ("sweep mini-voc eta=0.3 --set prompts '[circle, blur]'", "--set 'prompts=[circle, blur]'"),
        ("segment photo.jpg cat --set theta", "--set theta=VALUE"),
        ("eval mini-voc --protocol ignore --limit 1", "--protocol ignore=VALUE"),
    ],
)
def test_a_key_without_a_value_says_what_to_type(words: str, typed: str) -> None:
    result = car(shlex.split(words))
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert "expected key=value, found '" in line
    assert line.endswith(f"; type {typed}")


def test_an_option_at_the_end_without_a_value_names_its_command() -> None:
    assert car(["segment", "a.jpg", "cat", "--steps"]).stderr == (
        "error: --steps: expected a value, found none; see `car segment --help`\n"
    )


def test_at_a_terminal_the_headline_comes_last_and_notes_once(tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert car(tiny_run.arguments("--limit=1")).exit_code == 0
    monkeypatch.setattr(terminal, "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "160")
    shown = car(["table", str(tiny_run.out)]).stdout
    definition, caveat = "mean IoU over scored", "partial run: 1 of"
    assert (shown.count(definition), shown.count(caveat)) == (1, 1)
    assert shown.index("IoU by class") < shown.index("Metrics") < shown.index(caveat) < shown.rindex(" miou ")
    assert (tiny_run.out / "table.md").read_text().count(definition) == 1


def test_an_option_from_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    for text, message in {
        "benchmark: mini-voc\ndevice: tpu9": "device: expected auto",
        "benchmark: mini-voc\nshard: 3/2": "shard: expected I/N",
        "benchmark: mini-voc\nlimit: 0": "limit: expected at least 1",
        "benchmark: mini-voc\nset: {etaa: 1}": "set: etaa: no such field; did you mean",
        "benchmark: mini-voc\nset: {crf: {iterations: x}}": "set: crf.iterations: expected an integer",
        "benchmark: mini-voc\nset: [eta=x]": "set: eta: expected a number",
        "benchmark: mini-voc\nmethod: naclipp": "method: expected a known name",
        "benchmark: mini-voc\nmetrics: mIoU": "metrics: miou is always computed",
    }.items():
        (tmp_path / "run.yaml").write_text(text)
        result = car(["eval", "--config", str(tmp_path / "run.yaml")])
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {tmp_path / 'run.yaml'}: {message}")
    result = car(["eval", "--config", str(tmp_path / "run.yaml"), "--device", "tpu9"])
    assert result.stderr.startswith("error: --device: expected auto")


def test_version_and_completion() -> None:
    assert car(["--version"]).stdout.strip() == f"car-eval {importlib.metadata.version('car-eval')}"
    shown = CliRunner().invoke(app, [], prog_name="car", env={"_CAR_COMPLETE": "source_bash"})
    assert "_CAR_COMPLETE=complete_bash" in shown.stdout


def test_debug_lets_a_mistake_through_with_its_traceback() -> None:
    result = car(["--debug", "eval", "voc99"])
    assert isinstance(result.exception, BenchmarkError)


def test_an_unknown_benchmark_is_named() -> None:
    result = car(["eval", "voc99", "--data-root", "."])
    assert result.exit_code == 2
    assert "voc99" in result.stderr


def test_a_run_folder_of_another_identity_is_refused(tiny_run: Any) -> None:
    assert car(tiny_run.arguments("--limit=1")).exit_code == 0
    result = car(tiny_run.arguments("--limit=1", "--set=eta=0.9"))
    assert result.exit_code == 2
    assert "config.eta is 0.4 there, 0.9 now" in result.stderr


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    faulty = [f"--method={FAULTY}", "--set=fault=interrupt", f"--out={tmp_path / 'run'}"]
    result = car(["eval", "mini-voc", "--limit=1", "--workers=0", *faulty])
    assert result.exit_code == 130
    assert "the same command resumes it" in result.stderr


def test_help_has_panels_and_examples() -> None:
    commands = {command.name for command in app.registered_commands} | {"data"}
    assert {name for names in COMMANDS.values() for name in names} == commands
    assert {name.partition(" ")[0] for name in EXAMPLES} == commands
    shown = car(["eval", "--help"]).stdout
    titles = re.findall(r"^(\w.*):$", shown, re.MULTILINE)
    assert titles == [
        *(
            "Arguments",
            "What to run",
            "Your own data",
            "What it changes",
            "Where it goes",
            "Speed",
            "Options",
            "Examples",
        )
    ]
    assert shown.index("Speed:") < shown.index("--device") < shown.index("Options:")
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("command", ["segment", "serve"])
def test_the_help_of_ones_own_pictures_speaks_of_no_benchmark(command: str) -> None:
    shown = car([command, "--help"]).stdout
    assert "mini-*" not in shown
    if command == "segment":
        assert (
            shown.index("Where it goes:") < shown.index("--out") < shown.index("--label-maps") < shown.index("Speed:")
        )


def test_a_shell_completes_names_without_torch() -> None:
    offered = {
        "eval mini-v": "mini-voc",
        "eval voc21 --method clip,nac": "clip,naclip",
        "eval voc21 --set et": "eta=",
        "eval voc21 --profile p": "paper",
        "sweep mini-voc --preset fi": "fidelity",
        "data check voc2": "voc21\nvoc20",
    }
    code = (
        "import os, sys\nfrom evaluation.cli.app import main\n"
        f"for words in {[*offered]}:\n"
        "    os.environ |= {'COMP_WORDS': f'car {words}', 'COMP_CWORD': str(1 + words.count(' '))}\n"
        "    try: main()\n    except SystemExit: print('.')\n"
        "sys.exit('torch' in sys.modules)"
    )
    environ = {**os.environ, "_CAR_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stdout.split("\n.\n")) == (0, [*offered.values(), ""]), done.stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["eval", "VOC21"], "did you mean voc21?"),
        (["eval", "mini-voc", "--method=NACLIP"], "did you mean naclip?"),
        (["eval", "mini-voc", "--profile=Paper"], "did you mean paper?"),
        (["eval", "mini-voc", "--set=crf.iteration=3"], "did you mean crf.iterations"),
        (["eval", "mini-voc", "--names=PLAIN"], "did you mean plain?"),
        (["sweep", "mini-voc", "--preset=Table2"], "did you mean table2?"),
        (["suite", "Mini"], "did you mean mini?"),
        (["data", "list", "VOC"], "did you mean voc?"),
        (["EVAL"], "did you mean eval?"),
    ],
)
def test_case_and_near_misses_are_hinted_at(arguments: list[str], hint: str) -> None:
    result = car(arguments)
    assert result.exit_code == 2
    assert hint in result.stderr


@pytest.mark.parametrize(
    ("arguments", "libraries"),
    [
        (["--help"], ["torch", "numpy", "pydantic", "pandas", "datasets"]),
        (["eval", "no-such"], ["torch", "cv2", "scipy", "pandas", "datasets"]),
    ],
)
def test_what_needs_no_large_library_waits_for_none(arguments: list[str], libraries: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['car', *{arguments}]; from evaluation.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"sys.exit(any(name in sys.modules for name in {libraries}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize(("own", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_do_not_spin_unless_asked_to(own: str | None, expected: str) -> None:
    """The setting is there before torch is loaded, which reads it."""
    code = (
        "import os, sys; sys.argv = ['car', '--help']; from evaluation.cli.app import main\n"
        "early = 'torch' not in sys.modules\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(early, os.environ['OMP_WAIT_POLICY'])"
    )
    environ = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environ |= {} if own is None else {"OMP_WAIT_POLICY": own}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True)
    assert done.stdout.splitlines()[-1] == f"True {expected}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["eval", "mini-vco"], "found 'mini-vco'; did you mean mini-voc"),
        (["eval", "voc21", "--data-root=/nowhere"], "--data-root: /nowhere: expected a folder, found nothing"),
        (["eval", "voc21", "--data-root=docs"], "/docs: expected the folders JPEGImages"),
        (["eval", "voc21", "--data-root=~nosuch"], "~nosuch: expected a path, found the home of a nonexistent user"),
        (["eval", "mini-voc", "--set=etaa=0.5"], "did you mean eta"),
        (["eval", "mini-voc", "--protocol=overlaps=kept"], "--protocol: overlaps: mini-voc has no protocol options"),
        (["eval", "mini-voc", "--weights=missing.pt"], "missing.pt"),
        (["eval", "mini-voc", "--limit=0"], "limit"),
        (
            ["eval", "mini-voc", "--method=naclipp"],
            "--method: expected a known name, found 'naclipp'; did you mean naclip",
        ),
        (["eval", "mini-voc", "--split=trainn"], "split: expected a file of ids or a split of"),
        (["eval", "mini-coco-object", "--split=trainn"], "split: expected a folder of images"),
        (["eval", "mini-refcoco", "--split=trainn"], "trainn"),
        (["sweep", "mini-voc", "eta=0.4", "--split=trainn"], "trainn"),
        (["eval", "--images=nowhere", "--masks=nowhere", "--classes=nowhere"], "images: expected a folder"),
        (["eval", "--images=tests", "--masks=docs", "--classes=nowhere"], "nowhere: expected a file of class names"),
        (["eval", "--images=tests", "--masks=docs", "--classes=README.md"], "README.md: line"),
        (["eval", "--hf=nowhere", "--classes=nowhere"], "nowhere: expected a file of class names"),
        (
            ["eval", "mini-voc", "--device=gpu"],
            "auto, cpu, cuda, cuda:N, mps, several as cuda:0,1 or cuda:all, found 'gpu'",
        ),
        (["eval", "mini-voc", "--shard=9/8"], "--shard: expected I/N with 1 <= I <= N, found '9/8'"),
        (["sweep", "mini-vco", "eta=0.4"], "did you mean mini-voc"),
        (["sweep", "mini-voc", "etaa=0.4"], "did you mean eta"),
        (["sweep", "mini-voc", "eta=0.4", "--protocol=overlaps=kept"], "--protocol: overlaps: mini-voc has no"),
        (["sweep", "mini-coco-object", "eta=0.4", "--source=panoptic"], "source: expected a label source"),
        (["sweep", "mini-refcoco", "eta=0.4", "--sam=random:0"], "sam: "),
        (["sweep", "mini-voc", "eta=0.4", "--device=npu"], "device: "),
        (["suite", "minni"], "did you mean mini"),
        (["eval", "mini-voc", "--device=cuda:0,gpu"], "device: expected auto, cpu, cuda"),
        (["eval", "mini-voc", "--device=cuda:1,1"], "device: expected each once, found 'cuda:1,1'"),
        (["eval", "mini-voc", "--device=cpu:0,1"], "device: expected auto, cpu, cuda"),
        (["eval", "mini-voc", "--processes=0"], "processes: expected at least 1, found 0"),
        (["suite", "--device=cuda:0,0"], "device: expected each once, found 'cuda:0,0'"),
        (["suite", "--device=gpu"], "device: "),
        (["suite", "--weights=missing.pt"], "missing.pt"),
        (["bench", "--device=gpu"], "device: "),
        (["segment", "/nowhere.jpg", "cat"], "nowhere.jpg"),
        (["segment", "docs/images/strip.png", "cat", "--device=gpu"], "device: "),
        (["serve", "--device=gpu"], "device: "),
        (["serve", "--weights=missing.pt"], "missing.pt"),
        (["report", "/nowhere"], "not a run directory"),
        (["check", "--reference=x.npz", "--device=gpu"], "device: "),
        (["check", "--reference=x.npz", "--weights=missing.pt"], "missing.pt"),
        (["check", "/nowhere", "--golden=x.json"], "not a run directory"),
        (["table", "/nowhere"], "not a run directory"),
        (["score", "mini-voc", "--predictions=/nowhere"], "--predictions: expected a folder, or a file"),
        (["score", "mini-vco", "--predictions=docs"], "did you mean mini-voc"),
        (["export", "mini-vco", "--queries"], "did you mean mini-voc"),
        (["compare", "/nowhere", "/nowhere"], "not a run directory"),
        (["data", "list", "vco"], "did you mean voc? `car data list` lists all"),
        (["data", "list", "voc", "--root=~nosuch"], "~nosuch: expected a path, found the home of a nonexistent user"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_before_torch_is_imported(
    arguments: list[str], expected: str, status_and_torch_of: Callable[[list[str]], Any]
) -> None:
    status_and_torch, lines = status_and_torch_of(arguments)
    assert status_and_torch == "2 False\n"
    assert len(lines) == 1
    assert expected in lines[0]


def test_files_that_are_no_pictures_are_named_before_torch(
    tmp_path: Path, status_and_torch_of: Callable[[list[str]], Any]
) -> None:
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_text("no picture")
    for place, count in ((tmp_path / "one.png", 1), (tmp_path, 2)):
        status_and_torch, lines = status_and_torch_of(
            ["segment", str(place), "cat", "--weights=miniature", f"--json={tmp_path}/found.json"]
        )
        assert status_and_torch == "3 False\n"
        assert sum("expected an image file, found an unknown format" in line for line in lines) == count
        assert json.loads((tmp_path / "found.json").read_text())["images"] == []


FORKS = """
import json, os, sys
from evaluation.cli.app import main
from evaluation.request import resolve
for line in sys.stdin:
    if not (child := os.fork()):
        sys.argv, sys.stderr = ["car", *json.loads(line)], open(os.environ["ERRORS"], "w", buffering=1)
        os.dup2(sys.stderr.fileno(), 2)
        try:
            main()
        except SystemExit as end:
            print(end.code, "torch" in sys.modules, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def status_and_torch_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[list[str]], Any]]:
    """What a command exits with and whether it imports torch, in words; its lines on standard error.

    One process imports what all commands do, and forks for each.
    """
    errors = tmp_path_factory.mktemp("fresh") / "errors"
    with subprocess.Popen(
        [sys.executable, "-c", FORKS],
        env=os.environ | {"ERRORS": str(errors)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(arguments: list[str]) -> tuple[str, list[str]]:
            print(json.dumps(arguments), file=process.stdin, flush=True)
            return process.stdout.readline(), errors.read_text().strip().splitlines()

        yield ask
        process.stdin.close()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["eval", "mini-voc", "--recurrence", "once"], "switches are set with --set recurrence=once"),
        (["eval", "mini-voc", "--recurrence=once"], "switches are set with --set recurrence=once"),
        (["segment", "a.jpg", "cat", "--crf-image", "rgb"], "switches are set with --set crf_image=rgb"),
        (["sweep", "mini-voc", "--lambda", "0.4"], "switches are set with --set lambda=0.4"),
        (["suite", "--eta=1"], "switches are set with --set eta=1"),
        (["serve", "--theta"], "switches are set with --set theta=VALUE"),
        (["check", "--prompts", "[blur, gray]"], "switches are set with --set 'prompts=[blur, gray]'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_switch_typed_as_an_option_is_pointed_to_set(arguments: list[str], expected: str) -> None:
    result = car(arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert "Possible options" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["eval", "--etaa=1"], ["eval", "--mode=referring"], ["table", "--eta=1"], ["data", "list", "--eta=1"]]
)
def test_other_unknown_options_are_not(arguments: list[str]) -> None:
    result = car(arguments)
    assert result.exit_code == 2
    assert "no such option" in result.stderr
    assert "switches are set" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evl"], "evl: no such command; did you mean eval? See `car --help`"),
        (["--foo"], "--foo: no such option; see `car --help`"),
        (["eval", "voc21", "--weihgts=x"], "--weihgts: no such option; did you mean --weights? See `car eval --help`"),
        (["eval", "voc21", "--limit=abc"], "--limit: expected an integer, found 'abc'; see `car eval --help`"),
        (["eval", "voc21", "--limit=" + "9" * 5000], "--limit: expected an integer, found '99"),
        (["eval", "voc21", "--engine=x"], "--engine: expected 'local', 'ray', found 'x'; see `car eval --help`"),
        (["eval", "voc21", "--out"], "--out: expected a value, found none; see `car eval --help`"),
        (["compare", "runs/a"], "expected A and B, found no B: car compare A B; see `car compare --help`"),
        (["eval", "voc21", "a", "b"], "got unexpected extra argument"),
        (["data", "check", "voc", "--decode=-1"], "--decode: expected "),
        (["table"], "expected the directory of a run or a suite, or --peers; see `car table --help`"),
        (["eval", "qqq"], "benchmark: expected a known name, found 'qqq'; `car benchmarks` lists all"),
        (["sweep", "k=2,3", "mini-voc"], "benchmark: expected its name first, as in `car sweep mini-voc k=2,3`"),
        (["sweep", "k=2,3"], "benchmark: expected its name first, as in `car sweep voc21 k=2,3`"),
        (
            ["eval", "mini-voc", "--names=plain,sclip"],
            "expected one family or file, found 'plain,sclip'; several: car",
        ),
        (["eval", "--\x1b[2J"], "--\\u{1b}[2J: no such option; see `car eval --help`"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else "",
)
def test_a_usage_error_is_one_line_that_names_the_help(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, arguments, prog_name="car")
    assert (result.exit_code, result.stdout) == (2, "")
    assert [message in line and line.startswith("error: ") for line in result.stderr.splitlines()] == [True]


def test_the_help_of_rerun_says_what_is_the_run_s() -> None:
    text = " ".join(car(["rerun", "--help"]).stdout.split())
    for option in ("--weights", "--method", "--set", "--limit", "--precision", "--device", "--names"):
        assert "[default: the run's]" in re.split(r" --[a-z]", text.partition(f" {option} ")[2])[0], option
    for option, default in (("--out", "results/runs"), ("--batch-size", "4"), ("--data-root", "data; for mini-")):
        assert f"[default: {default}" in re.split(r" --[a-z]", text.partition(f" {option} ")[2])[0], option


def test_lines_for_people_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile, shown = "a\x1b[31m\u202eb", "a\\u{1b}[31m\\u{202e}b"
    tell(hostile)
    say(hostile)
    assert capsys.readouterr() == (f"{hostile}\n", f"{shown}\n")  # a pipe gets the path as it is
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    say(hostile)
    assert capsys.readouterr().out == f"{shown}\n"
    with pytest.raises(typer.Exit), one_line_errors():
        raise OSError(hostile)
    assert capsys.readouterr().err == f"error: {shown}\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [(UserError("x"), 2), (ImageError("x"), 2), (ModelError("x"), 2), (WorkerError("x"), 1), (OSError("x"), 1)],
    ids=repr,
)
def test_exit_status_by_kind_of_error(error: Exception, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as exit_info, one_line_errors():
        raise error
    assert exit_info.value.exit_code == status
    assert capsys.readouterr().err == "error: x\n"


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda: "an x\udce9.jpg".encode(), "expected utf-8 text, found 'an x\\udce9.jpg'"),
        (lambda: b"x\xe9 y".decode(), "expected utf-8 text, found b'x\\xe9 y'"),
        (lambda: "日本".encode("cp1252"), "expected charmap text, found '\\u65e5\\u672c'"),
    ],
)
def test_text_in_another_encoding_is_one_line(
    convert: Callable[[], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever path it takes past the checks."""
    with pytest.raises(typer.Exit) as exit_info, one_line_errors():
        convert()
    assert exit_info.value.exit_code == 1
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ('background=["\\ud83d"]', "half of a character in '[\"\\ud83d\"]'"),
        ("x\udce9=1", "another byte in 'x\\xe9'"),
    ],
)
def test_half_of_a_character_in_a_setting_is_one_line(tmp_path: Path, setting: str, found: str) -> None:
    for command in (["eval", "mini-voc", f"--out={tmp_path / 'run'}"], ["segment", "photo.jpg", "dog"]):
        (tmp_path / "photo.jpg").touch()
        given = [str(tmp_path / each) if each == "photo.jpg" else each for each in command]
        result = CliRunner().invoke(app, [*given, "--set", setting])
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert result.stderr.startswith("error: --set")
        assert result.stderr.endswith(f"found {found}\n")


def test_errors_of_the_program_keep_their_traceback() -> None:
    with pytest.raises(ValueError, match="bug"), one_line_errors():
        raise ValueError("bug")


@pytest.mark.parametrize("command", ["bench", "segment"])
def test_a_device_that_has_no_room_for_the_models_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. See documentation\n")

    monkeypatch.setattr("evaluation.bench.measure.load_clip", load)
    monkeypatch.setattr(CaR, "from_config", load)
    image = tmp_path / "image.png"
    Image.new("RGB", (20, 30)).save(image)
    options = {"bench": [f"--out={tmp_path}"], "segment": ["cat", "--weights=miniature"]}
    result = car([command, str(image), *options[command]])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "error: CUDA out of memory: free the device of other programs, or choose another --device, smaller models "
        "or smaller batches"
    )


def test_the_module_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "evaluation", "--help"], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert run.returncode == 0
    assert "eval" in run.stdout


def test_tables_over_runs_in_every_language(tiny_run: Any, tmp_path: Path) -> None:
    assert car(tiny_run.arguments("--limit=1")).exit_code == 0
    path = tiny_run.out / "run.json"
    assert "## All runs" in car(["table", str(tiny_run.out), "--format=md"]).stdout
    header = json.loads(path.read_text())
    for weights in header["weights"]:
        weights["trained"] = True  # as if: random ones have no place in the paper's tables
    path.write_text(json.dumps(header))
    result = car(["table", str(tiny_run.out), "--format=latex", f"--out={tmp_path / 'tables'}"])
    assert result.exit_code == 0
    assert result.stdout.count(r"\begin{table}") == 2
    names = {f"{name}.{ending}" for name in ("table1", "runs") for ending in ("md", "csv", "tex")}
    assert {file.name for file in (tmp_path / "tables").iterdir()} == names
    assert result.stdout.startswith((tmp_path / "tables/table1.tex").read_text())
    page = (tmp_path / "tables/table1.md").read_text()
    (own,) = (line for line in page.splitlines() if "not whole" in line)
    assert f"{100 * header['metrics']['miou']:.1f}" in own
    assert "voc21: partial run: 1 of 7 images, partial data set: 7 images in place of 1449" in own


def test_peers_with_runs_without_any_and_where_there_are_none(tiny_run: Any, tmp_path: Path) -> None:
    assert car(tiny_run.arguments("--limit=1")).exit_code == 0
    with_peers = car(["table", str(tiny_run.out), "--peers"])
    assert "## Published figures and these runs" in with_peers.stdout
    assert "| here " in with_peers.stdout
    assert with_peers.stderr == ""
    alone = car(["table", "--peers", "--out", str(tmp_path / "tables")])
    assert alone.stdout.startswith("## Published figures\n")
    assert {path.suffix for path in (tmp_path / "tables").glob("peers.*")} == {".md", ".csv", ".tex", ".png"}
    nothing = car(["table"])
    assert (nothing.exit_code, "or --peers" in nothing.stderr) == (2, True)
    path = tiny_run.out / "run.json"
    header = json.loads(path.read_text())
    header["benchmark"] |= {"paper": None, "name": "mine"}
    path.write_text(json.dumps(header))
    alone = car(["table", str(tiny_run.out), "--peers"])
    assert (alone.exit_code, "Published figures" in alone.stdout) == (0, False)
    assert "no published figures to show next to these runs (mine)" in alone.stderr


def test_check_takes_a_single_run(tiny_run: Any, tmp_path: Path) -> None:
    assert car(tiny_run.arguments("--limit=1")).exit_code == 0
    golden = tmp_path / "golden.json"
    assert car(["check", str(tiny_run.out), f"--golden={golden}", "--update"]).exit_code == 0
    more = json.loads(golden.read_text())
    more["runs"]["another"] = more["runs"]["voc21"]
    golden.write_text(json.dumps(more))
    assert car(["check", str(tiny_run.out), f"--golden={golden}"]).exit_code == 0
    more["runs"]["voc21"]["figures"]["miou"]["expected"] = 2.0
    golden.write_text(json.dumps(more))
    assert car(["check", str(tiny_run.out), f"--golden={golden}"]).exit_code == 4


def test_check_compares_the_records_not_run_json(tiny_run: Any, tmp_path: Path) -> None:
    assert car(tiny_run.arguments("--limit=1")).exit_code == 0
    golden, path = tmp_path / "golden.json", tiny_run.out / "run.json"
    assert car(["check", str(tiny_run.out), f"--golden={golden}", "--update"]).exit_code == 0
    header = json.loads(path.read_text())
    header["metrics"]["miou"] = 0.99
    path.write_text(json.dumps(header))
    before = golden.read_text()
    for update in ([], ["--update"]):
        refused = car(["check", str(tiny_run.out), f"--golden={golden}", *update])
        assert (refused.exit_code, golden.read_text()) == (2, before)
        assert "expected the records behind run.json, found other figures: metrics.miou" in refused.stderr


LONG = "n" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "mini-voc", f"--out={LONG}"],
        ["eval", "mini-voc", f"--data-root={LONG}"],
        ["eval", "mini-voc", f"--weights={LONG}.pt"],
        ["eval", "mini-voc", f"--split={LONG}"],
        ["eval", f"--images={LONG}", "--masks=.", "--classes=c.txt"],
        ["table", LONG],
        ["report", LONG],
        ["compare", LONG, LONG],
        ["check", LONG],
        ["merge", LONG, "--out=o"],
        ["segment", f"{LONG}.png", "cat"],
        ["segment", "a.png", "cat", f"--json={LONG}"],
        ["suite", "mini", f"--out={LONG}"],
        ["sweep", "mini-voc", "eta=0.1", f"--out={LONG}"],
        ["data", "list", f"--root={LONG}"],
        ["data", "check", "voc", f"--root={LONG}"],
        ["bench", f"--out={LONG}"],
    ],
    ids=lambda arguments: f"{arguments[0]} {arguments[-1][:10]}",
)
def test_name_longer_than_file_names_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.txt").write_text("cat\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert LONG in result.stderr
    assert re.search(r": expected a shorter path, found 30[0-9] bytes in its longest name$", result.stderr)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400", "2001-01-01", "9" * 30, "9" * 5000])
@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "mini-voc", "--limit"],
        ["eval", "mini-voc", "--sample-timeout"],
        ["eval", "mini-voc", "--engine=ray", "--actor-cpus"],
        ["bench", "--n-images"],
        ["suite", "mini", "--jobs"],
        ["compare", "a", "b", "--seed"],
        ["check", "a", "--tolerance"],
        ["serve", "--port"],
    ],
    ids=lambda arguments: f"{arguments[0]} {arguments[-1]}",
)
def test_no_option_takes_numbers_without_end(arguments: list[str], number: str) -> None:
    result = car([*arguments[:-1], f"{arguments[-1]}={number}"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert re.match(f"error: {arguments[-1]}: expected .*, found '?[-0-9nie]", result.stderr)
