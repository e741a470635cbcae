"""Which parts of a room import which: a part is a folder, or a file, directly in the room's package."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
UPWARD = {
    # A configuration that names a prompt of another package registers it.
    ("car_core.config", "car_core.classifier"),
    # Whether Apple's GPU computes what the CPU does is found out by running CaR on both.
    ("car_core.engine", "car_core.car"),
}
"""Imports inside functions that go up, each with its reason."""


def imported_modules(file: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions; those of names taken from a module have both."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{file}: expected absolute imports")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def floors(room: str) -> list[list[str]]:
    """The parts of a room, each above all that it imports, the lowest floor first. Raises CycleError for a circle."""
    folder = ROOT / room
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    below: dict[str, set[str]] = {f"{room}.{name}": set() for name in names if not name.startswith("__")}
    for file in folder.rglob("*.py"):
        part = f"{room}.{file.relative_to(folder).parts[0].removesuffix('.py')}"
        if part in below:
            used = {".".join(name.split(".")[:2]) for name in imported_modules(file)} & below.keys() - {part}
            below[part] |= {each for each in used if (part, each) not in UPWARD}
    sorter, found = TopologicalSorter(below), []
    sorter.prepare()
    while sorter.is_active():
        ready = sorter.get_ready()
        sorter.done(*ready)
        found.append(sorted(part.split(".")[1] for part in ready))
    return found
