"""The public names and what they take: `python -m tools.public_api` writes tests/public_api.txt, which a test compares.

A line that changes or goes is a change for users: CHANGELOG.md has to say so, and it is not for a patch release.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGES = ("car_core", "dataset_adapters", "evaluation", "results")
_MARKS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
    inspect.Parameter.KEYWORD_ONLY: "~",
}
STORED = Path(__file__).parents[1] / "tests" / "public_api.txt"


def parameters_of(function: Any) -> str:
    """Names of the parameters; ``~`` before those by keyword only, ``=`` after those with a default."""
    try:
        taken = inspect.signature(function).parameters.values()
    except ValueError:  # built in
        return "(...)"
    texts = [f"{_MARKS.get(each.kind, '')}{each.name}{'' if each.default is each.empty else '='}" for each in taken]
    return f"({', '.join(texts)})"


def lines_of(name: str, value: Any) -> Iterator[str]:
    """A function, or a class with its fields, properties and methods; inherited ones only from classes of ours."""
    if not inspect.isclass(value):
        yield name + (parameters_of(value) if callable(value) else "")
        return
    yield f"class {name}"
    ours = [base for base in value.__mro__ if base.__module__.partition(".")[0] in PACKAGES]
    fields = getattr(value, "model_fields", None) or (
        [each.name for each in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else ()
    )
    members = {
        key: vars(base)[key]
        for base in reversed(ours)
        for key in vars(base)
        if not key.startswith("_") and key != "model_config"
    }
    for key in sorted({*fields, *members}):
        member = getattr(members.get(key), "__func__", members.get(key))
        yield f"    {name}.{key}" + (parameters_of(member) if inspect.isfunction(member) else "")


def public_api() -> str:
    """One name per line, packages and names in order."""
    lines: list[str] = []
    for package in PACKAGES:
        module = import_module(package)
        for name in sorted(module.__all__):
            lines.extend(lines_of(f"{package}.{name}", getattr(module, name)))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    STORED.write_text(public_api(), encoding="utf-8")
