"""A run directory of somebody else: reading it imports and fetches nothing, whatever its run.json names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evaluation import evaluate
from evaluation.analysis.report import names_models
from evaluation.cli.app import app
from results import RunDirectory
from support.strict_json import identity_of

EVIL = "from pathlib import Path\nPath('ran').touch()\nclass M: pass\n"


def car(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def forged(tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """forged(request={...}, identity_fields={...}): a run with these in its header, beside a module that tells."""
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text(EVIL)
    Path("evil.yaml").write_text("name: evil\nbase: voc21\nadapter: evil.py:M\n")
    evaluate(tiny_run.options(limit=2))

    def make(**changes: Any) -> Path:
        header = json.loads((tiny_run.out / "run.json").read_text())
        for key, fields in changes.items():
            header[key] |= fields
        header["identity"] = identity_of(header["identity_fields"])
        (tiny_run.out / "run.json").write_text(json.dumps(header))
        return Path(tiny_run.out)

    return make


def test_a_metric_that_run_json_names_by_file_is_not_imported(forged: Callable[..., Path]) -> None:
    run = forged(identity_fields={"metrics": {"evil.py:M": "1"}})
    for command in (["table"], ["compare", run], ["check", run], ["report", "--samples=0"], ["report"]):
        result = car(command[0], run, *command[1:])
        assert result.exception is None or isinstance(result.exception, SystemExit), command
        assert not Path("ran").exists(), command


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"method": "evil.py:M"}, "evil.py:M"),
        ({"benchmark": "evil.yaml"}, "evil.yaml"),
        ({"set": {"prompts": ["evil.py:M"]}}, "evil.py:M"),
        ({"set": {"sam": {"model": "stranger/evil-sam"}}}, "stranger/evil-sam"),
        ({"set": {"dino_weights": "stranger/dino"}}, "stranger/dino"),
    ],
)
def test_report_without_gallery_loads_nothing_of_the_request(
    forged: Callable[..., Path], request_: dict[str, Any], named: str, tiny_run: Any
) -> None:
    run = forged(request=request_)
    assert named in names_models(RunDirectory(run).read_header(), {"proposal": "random:1", "classifier": "random:1"})
    result = car("report", run, f"--data-root={tiny_run.data_root}", "--weights=random:1")
    assert result.exit_code == 0, result.output
    assert "--gallery" in result.stderr
    assert not Path("ran").exists()


@pytest.mark.parametrize("benchmark", ["evil.yaml", "voc21"])
def test_benchmark_file_fields_load_nothing(forged: Callable[..., Path], benchmark: str, tiny_run: Any) -> None:
    fields = {"name": "voc21", "title": "VOC", "adapter": "evil.py:M", "config": {"prompts": ["evil.py:M"]}}
    run = forged(request={"benchmark": benchmark}, benchmark={"fields": fields})
    data = f"--data-root={tiny_run.data_root}"
    assert car("report", run, data, "--weights=random:1").exit_code == 0
    car("rerun", run, data, "--weights=random:1")  # refused for the file, and goes by the name
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "request_", [{"method": "evil.py:M"}, {"metrics": "evil.py:M"}, {"set": {"prompts": ["evil.py:M"]}}]
)
def test_a_run_again_imports_code_of_files_only_on_trust(
    forged: Callable[..., Path], request_: dict[str, Any], tiny_run: Any
) -> None:
    run = forged(request=request_)
    refused = car("rerun", run, f"--data-root={tiny_run.data_root}")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "expected --trust for code that only run.json names, evil.py:M, found none" in refused.stderr
    assert not Path("ran").exists()
    assert "evil.py:M" in car("rerun", run, "--print").stdout
    assert not Path("ran").exists()
    car("rerun", run, f"--data-root={tiny_run.data_root}", "--trust")
    assert Path("ran").exists()


@pytest.mark.parametrize("fields", [{"base": "evil:M"}, {"base": "evil.py:M"}, {"config": {"prompts": ["evil.py:M"]}}])
def test_printed_request_imports_nothing_of_the_benchmark(
    forged: Callable[..., Path], fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"name": "own", "title": "Own", "adapter": "voc21", **fields}
    run = forged(request={"benchmark": "own.yaml"}, benchmark={"fields": own})
    monkeypatch.syspath_prepend(Path.cwd())
    printed = car("rerun", run, "--print")
    assert (printed.exit_code, "benchmark: own.yaml" in printed.stdout) == (0, True)
    assert not Path("ran").exists()
    if "base" in fields:  # which no run records, so that not even trust is asked for it
        refused = car("rerun", run, "--trust")
        assert "run.json: benchmark.fields.base: expected none, found 'evil" in refused.stderr
        assert not Path("ran").exists()
