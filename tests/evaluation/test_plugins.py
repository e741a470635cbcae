"""Outside code: what is imported, what its record says, and one line for what is wrong with it."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation import evaluate
from evaluation.run.prepare import prepare
from support.plugins import Plugin, PluginError, find_plugin, source_sha256


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / f"brought_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]}"  # imported once a process
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "lazy.py").write_text("def __getattr__(name):\n    raise RuntimeError('no\\nlicense')\n")
    (folder / "broken.py").write_text("import absent_module_of_nobody\n")
    (folder / "leaves.py").write_text("raise SystemExit('bye')\n")
    (folder / "good.py").write_text("import os; os.chdir('/'); print('hello')\nclass Own:\n    class Inner: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("{}.absent:Own", "expected a module that can be imported, found ModuleNotFoundError: No module named"),
        ("{}.broken:Own", "found ModuleNotFoundError: No module named 'absent_module_of_nobody'"),
        ("{}.leaves:Own", "found SystemExit: bye"),
        ("{}.lazy:Own", "found RuntimeError: no license"),
        ("{}.good:Owm", "expected Owm in"),
        ("{}.good:Own.Outer", "expected Own.Outer in"),
        ("nowhere/{}.py:Own", "expected a file nowhere/"),
    ],
)
def test_what_cannot_be_imported_is_one_line(package: Path, target: str, found: str) -> None:
    with pytest.raises(PluginError) as error:
        find_plugin("methods", target.format(package.name), (), "--method").value  # noqa: B018
    assert str(error.value).startswith(target.format(package.name))
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_a_record_names_no_folder_and_moves_with_the_sources(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named, here = Plugin("methods", "own", f"{package.name}.good:Own.Inner"), Path.cwd()
    before = named.record()
    assert (capsys.readouterr(), Path.cwd()) == (("", "hello\n"), here)
    assert (before["target"], before["package"], before["version"]) == (f"{package.name}.good:Own.Inner", None, None)
    (package / "notes.txt").write_text("no source")
    assert named.record() == before
    (package / "lazy.py").write_text("")
    assert source_sha256(sys.modules[package.name]) != before["source"]
    with pytest.raises(PluginError, match="expected the sources as they were imported, found others; restart Python"):
        named.record()
    file = Plugin("methods", "Own", f"{package / 'good.py'}:Own").record()
    assert file["target"] == "good.py:Own"
    assert file["source"] == hashlib.sha256((package / "good.py").read_bytes()).hexdigest()


def test_sources_of_a_folder_on_the_path_twice_count_once(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "__init__.py").unlink()
    once = Plugin("methods", "own", f"{package.name}.good:Own").record()
    monkeypatch.syspath_prepend(package.parent)
    assert len(sys.modules[package.name].__path__) == 2
    assert Plugin("methods", "own", f"{package.name}.good:Own").record() == once


def test_runs_without_plugins_have_none_in_their_identity(tiny_run: Any) -> None:
    header = evaluate(tiny_run.options(limit=1)).header
    assert header.plugins == []
    assert "plugins" not in header.identity_fields
    assert set(header.identity_fields) == {
        *("benchmark", "dataset", "protocol", "label_space", "config", "weights", "dtype", "packages", "code"),
    }


def test_plugins_are_in_the_identity_by_kind_and_name(tiny_run: Any) -> None:
    record = {"kind": "methods", "name": "own", "target": "a:B", "package": "p", "version": "1", "source": "0" * 64}
    prepared, own = prepare(tiny_run.options(limit=1)), SimpleNamespace(record=lambda: record)
    with_it = replace(prepared, plugins=(own,)).identity_fields  # type: ignore[arg-type]
    entry = {key: record[key] for key in ("target", "package", "version", "source")}
    assert with_it == {**prepared.identity_fields, "plugins": {"methods": {"own": entry}}}
