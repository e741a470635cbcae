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


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = (title.lower() for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return {re.sub(r"[^\w -]", "", title).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))])
def test_links_lead_to_files_and_headings_that_are_there(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), target
            assert not anchor or anchor in headings(file), target
