"""The rooms and who may import whom."""

from __future__ import annotations

import ast
import re
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


def imported_packages(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: expected absolute imports"
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_down_only(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    crossing = {
        str(file.relative_to(ROOT)): foreign
        for file in files
        if (foreign := (imported_packages(file) & MAY_IMPORT.keys()) - MAY_IMPORT[room])
    }
    assert not crossing


def test_errors_outside_the_command_line_name_fields_not_options() -> None:
    """`car` adds the dashes: who calls from Python gave a field."""
    files = [file for room in MAY_IMPORT for file in (ROOT / room).rglob("*.py") if file.parent.name != "cli"]
    option_first = re.compile(r"""(Error|unknown_name)\(\s*f?["']--""")
    assert option_first.search('raise BenchmarkError(\n    f"--shard: expected')
    assert [str(file) for file in files if option_first.search(file.read_text(encoding="utf-8"))] == []
