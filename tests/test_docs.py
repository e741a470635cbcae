"""What the pages say of the tests is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dataset_adapters import sample as registry

ROOT = Path(__file__).parents[1]


def test_every_fault_names_a_test_that_there_is() -> None:
    rows = [line for line in (ROOT / "docs/reliability.md").read_text().splitlines() if line.startswith("| ")][2:]
    code = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tests = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= tests, row


def test_every_fault_test_stands_in_the_table() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    code = (ROOT / "tests/evaluation/test_faults.py").read_text()
    faults = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE)) - {"test_a_run_in_a_thread_leaves_signals_alone"}
    assert {name for name in faults if f"`{name}`" not in page} == set()


def test_the_examples_of_adding_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/adding.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_ADAPTERS", dict(registry._ADAPTERS))
    # The blocks build on each other, and a dataclass asks for the module it was made in.
    names: dict[str, Any] = {"__name__": __name__}
    for block in blocks:
        exec(compile(block, "docs/adding.md", "exec"), names)
