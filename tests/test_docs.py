"""What the pages say of the tests is so."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from dataset_adapters import sample as registry
from evaluation.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def parsed(command: str) -> dict[str, Any]:
    """The options of a `car` command by name, as the command line reads them. Raises click's UsageError."""
    program, *arguments = shlex.split(command, comments=True)
    assert program == "car"
    found: Any = typer.main.get_command(app)
    while hasattr(found, "commands"):
        found = found.commands[arguments.pop(0)]
    return dict(found.make_context(command, arguments).params)


def shell_blocks(page: Path) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_shell_scripts_of_the_pages_are_shell() -> None:
    blocks = [text for page in PAGES for text in shell_blocks(page)]
    assert len(blocks) > 10
    for text in blocks:
        # A line such as [--set KEY=VALUE] stands for what may follow.
        checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
        assert checked.returncode == 0, (text, checked.stderr)


def car_calls(script: str) -> list[str]:
    """The calls of `car`, without what follows them; variables and sums of the shell stand for a number."""
    lines = script.replace("\\\n", " ").splitlines()
    calls = [re.search(r"^(?:\S+=.* |srun |\s+)?(car .*)", line) for line in lines]
    texts = [re.split(r" [&>|;]", found.group(1))[0] for found in calls if found]
    return [re.sub(r"\$\{?\w+\}?", "1", text) for text in texts]


def test_commands_of_the_pages_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of `car` in a shell block has options that there are, with values that they take."""
    monkeypatch.chdir(tmp_path)
    for photo in ("photo1.jpg", "photo2.jpg"):
        Path(photo).touch()
    calls = [call for page in PAGES for text in shell_blocks(page) for call in car_calls(text)]
    assert len(calls) > 30
    for call in calls:
        assert parsed(call.replace("[NAME]", "voc")), call


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
