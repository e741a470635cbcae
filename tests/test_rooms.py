"""The rooms and who may import whom."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "support": {"support"},
    "car_core": {"car_core", "support"},
    "dataset_adapters": {"dataset_adapters", "support"},
    "results": {"results", "support"},
    "evaluation": {"car_core", "dataset_adapters", "evaluation", "results", "support"},
}


UPWARD = {
    # A configuration that names a prompt of another package registers it.
    ("car_core.config", "car_core.classifier"),
    # Whether Apple's GPU computes what the CPU does is found out by running CaR on both.
    ("car_core.engine", "car_core.car"),
}
"""Imports inside functions that go up, each with its reason."""


def imported_modules(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: expected absolute imports"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_down_only(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    crossing = {
        str(file.relative_to(ROOT)): foreign
        for file in files
        if (foreign := ({name.split(".")[0] for name in imported_modules(file)} & MAY_IMPORT.keys()) - MAY_IMPORT[room])
    }
    assert not crossing


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_parts_of_a_room_do_not_import_each_other_in_a_circle(room: str) -> None:
    """A part is a folder or a file directly in the room; imports inside functions count."""
    parts = {f"{room}.{path.stem}" for path in (ROOT / room).iterdir() if path.stem != "__init__"}
    below: dict[str, set[str]] = {}
    for file in (ROOT / room).rglob("*.py"):
        part = f"{room}.{file.relative_to(ROOT / room).parts[0].removesuffix('.py')}"
        imported = {".".join(name.split(".")[:2]) for name in imported_modules(file)} & parts - {part}
        below.setdefault(part, set()).update(each for each in imported if (part, each) not in UPWARD)
    assert list(TopologicalSorter(below).static_order())  # CycleError names the circle


def test_errors_outside_the_command_line_name_fields_not_options() -> None:
    """`car` adds the dashes: who calls from Python gave a field."""
    files = [file for room in MAY_IMPORT for file in (ROOT / room).rglob("*.py") if file.parent.name != "cli"]
    option_first = re.compile(r"""(Error|unknown_name)\(\s*f?["']--""")
    assert option_first.search('raise BenchmarkError(\n    f"--shard: expected')
    assert [str(file) for file in files if option_first.search(file.read_text(encoding="utf-8"))] == []
