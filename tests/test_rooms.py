"""The rooms and who may import whom."""

from __future__ import annotations

import re
from graphlib import CycleError
from pathlib import Path

import pytest

from tools import rooms
from tools.rooms import floors, imported_modules

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "support": {"support"},
    "car_core": {"car_core", "support"},
    "dataset_adapters": {"dataset_adapters", "support"},
    "results": {"results", "support"},
    "evaluation": {"car_core", "dataset_adapters", "evaluation", "results", "support"},
}


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
    assert len(floors(room)) > 2  # CycleError names a circle


def test_floors_are_above_what_they_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "ROOT", tmp_path)
    sources = {"low": "", "high": "from house import low", "top/deep": "def late():\n    import house.high.part"}
    for name, source in sources.items():
        file = tmp_path / "house" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(source)
    assert floors("house") == [["low"], ["high"], ["top"]]
    (tmp_path / "house" / "low.py").write_text("from house.top.deep import late")
    with pytest.raises(CycleError, match=r"house\.low"):
        floors("house")


def test_errors_outside_the_command_line_name_fields_not_options() -> None:
    """`car` adds the dashes: who calls from Python gave a field."""
    files = [file for room in MAY_IMPORT for file in (ROOT / room).rglob("*.py") if file.parent.name != "cli"]
    option_first = re.compile(r"""(Error|unknown_name)\(\s*f?["']--""")
    assert option_first.search('raise BenchmarkError(\n    f"--shard: expected')
    assert [str(file) for file in files if option_first.search(file.read_text(encoding="utf-8"))] == []
