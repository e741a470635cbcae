"""``car methods``: what `--method` takes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from evaluation.cli.terminal import show_tables, terminal_width
from support.console import say, show
from support.strict_json import dumps
from support.text import shortened

_PAPERS = {
    "car": "CVPR 2024",
    "clip": "ICML 2021",
    "maskclip": "ECCV 2022",
    "sclip": "ECCV 2024",
    "clearclip": "ECCV 2024",
    "naclip": "WACV 2025",
    "proxyclip": "ECCV 2024",
    "resclip": "CVPR 2025",
    "sc-clip": "arXiv 2411.15869",
    "lposs": "CVPR 2025",
    "corrclip": "ICCV 2025",
    "clip-es": "CVPR 2023",
    "sam3": "ICLR 2026",
}
_NEEDS = {
    "car": "2 CLIP models",
    **dict.fromkeys(("proxyclip", "lposs"), "CLIP, DINO"),
    "corrclip": "CLIP, DINO, SAM (extra sam)",
    "sam3": "SAM 3 (extra sam)",
}
"""Models, and the extra that brings their library; those of car_core.baselines are not asked: they import torch."""


def methods_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Only these, with their settings; also module:Class and file.py:Class."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of the table.")] = False,
) -> None:
    """List what --method takes: CaR, the baselines, and methods of installed packages (which are imported).

    Methods that cannot be used are listed with the reason. Named methods are shown with their settings.
    """
    from results.tables.columns import make_table
    from results.tables.render import Column

    rows = [describe_method(name) for name in names] if names else list_methods()
    if json:
        say(dumps(rows))
    elif names:
        for row in rows:
            for line in _description(row):
                show(line)
    else:
        columns = ("name", "title", "paper", "needs", "tasks", "package")
        able = [{**row, "package": _origin(row)} for row in rows if not row["error"]]
        every = able[0]["tasks"]  # CaR's
        cells = [{**row, "tasks": "all" if row["tasks"] == every else ", ".join(row["tasks"])} for row in able]
        broken = [f"{row['name']} ({_origin(row)}) cannot be used: {row['error']}" for row in rows if row["error"]]
        notes = [f"tasks: all are {', '.join(every)}", "settings of one: car methods NAME", *broken]
        show_tables([make_table("Methods", tuple(map(Column, columns)), cells, notes)])


def _origin(row: Mapping[str, Any]) -> str | None:
    """The package and its version of a method that is not ours."""
    return None if row["title"] else " ".join(filter(None, (row["package"], row["package_version"])))


def _description(row: Mapping[str, Any]) -> Iterator[str]:
    name, origin = " ".join(filter(None, (row["name"], row["version"]))), _origin(row)
    yield f"{f'{name} ({origin})' if origin else name}: {', '.join(row['tasks'])}"
    if row["title"]:
        yield f"  {row['title']}, {row['paper']}; needs {row['needs']}; {len(row['settings'])} settings (--set)"
    for own in row["settings"]:
        missing = "by profile" if row["version"] is None else "no default"
        default = shortened(dumps(own["default"])) if "default" in own else missing
        text = "; ".join(filter(None, (f"{own['name']}: {own['type']} [{default}]", own["meaning"])))
        yield from textwrap.wrap(
            text, terminal_width(), initial_indent="  ", subsequent_indent=" " * 6, break_on_hyphens=False
        )


def list_methods() -> list[dict[str, Any]]:
    """Each method's name, title, paper, needs (models, extra), tasks, version, package and its version.

    error: why it cannot be used, or None. title, paper, needs: None for one from outside.
    """
    from evaluation.request.methods import METHODS
    from evaluation.request.own_methods import check_own_method
    from support.errors import UserError
    from support.plugins import find_plugin, plugins

    rows = [_row(name, method) for name, method in METHODS.items()]
    for name, provided in plugins("methods").items():
        for plugin in provided:
            method, error = None, None
            try:
                find_plugin("methods", name, METHODS, "method")  # refuses what several packages provide
                method = check_own_method(plugin)
            except UserError as found:
                error = str(found)
            own = {"package": plugin.package, "package_version": plugin.version, "error": error}
            rows.append({**_row(name, method), **own})
    return rows


def describe_method(name: str) -> dict[str, Any]:
    """A row of `list_methods` for what --method takes, with `settings`: name, type and meaning in words, default.

    A default that depends on profile and mode is left out. Raises PluginError for a method that cannot be used.
    """
    from evaluation.request.benchmark import NOT_SETTINGS
    from evaluation.request.methods import find_method

    method = find_method(name)
    schema, defaults = method.settings_schema()
    return {
        **_row(method.name, method),
        "settings": [
            {
                "name": key,
                "type": _in_words(own),
                "meaning": own.get("description", ""),
                **({"default": defaults[key]} if key in defaults else {}),
            }
            for key, own in schema.get("properties", {}).items()
            if method.plugin or (key not in NOT_SETTINGS and "const" not in own)
        ],
    }


def _row(name: str, method: Any) -> dict[str, Any]:
    """method: None for one that cannot be used."""
    from importlib.metadata import PackageNotFoundError, version  # `car --help` waits for imports

    from results.tables.run_notes import METHOD_TITLES

    plugin = method and method.plugin
    try:
        ours = version("car-eval")
    except PackageNotFoundError:
        ours = None
    package = (plugin.package, plugin.version) if plugin else ("car-eval", ours)
    own = method.made_by.version if plugin else None
    title = None if plugin or method is None else METHOD_TITLES[name]
    return {
        "name": name,
        "title": title,
        "paper": title and _PAPERS[name],
        "needs": title and _NEEDS.get(name, "CLIP"),
        "tasks": sorted(method.tasks) if method else [],
        "version": own,
        "package": package[0],
        "package_version": package[1],
        "error": None,
    }


_WORDS = {"string": "text", "integer": "whole number", "array": "list", "object": "fields"}


def _in_words(schema: Mapping[str, Any]) -> str:
    """The type of a field, by its JSON schema."""
    if parts := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(map(_in_words, parts)))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return " or ".join(map(dumps, values))
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    kind = schema.get("type", "fields" if "$ref" in schema else "any value")
    items = f" of {_in_words(schema['items'])}" if schema.get("items") else ""
    return " ".join([_WORDS.get(kind, kind) + items, *limits[:1], *(f"and {each}" for each in limits[1:])])
