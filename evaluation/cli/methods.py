"""``car methods``: what `--method` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from support.console import say
from support.strict_json import dumps
from support.text import shortened


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

    Methods that cannot be used are listed with the reason. For named methods, their settings are listed, too.
    """
    rows = [describe_method(name) for name in names] if names else list_methods()
    if json:
        say(dumps(rows))
        return
    for row in rows:
        origin = " ".join(filter(None, (row["package"], row["package_version"])))
        name = " ".join(filter(None, (row["name"], row["version"])))
        say(f"{name}{origin and f' ({origin})'}: {row['error'] or ', '.join(row['tasks'])}")
        for own in row.get("settings", ()):
            missing = "by profile" if row["version"] is None else "no default"
            default = shortened(dumps(own["default"])) if "default" in own else missing
            say("; ".join(filter(None, (f"  {own['name']}: {own['type']} [{default}]", own["meaning"]))))


def list_methods() -> list[dict[str, Any]]:
    """Each method's name, tasks, version, package and its version; error: why it cannot be used, or None."""
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

    plugin = method and method.plugin
    try:
        ours = version("car-eval")
    except PackageNotFoundError:
        ours = None
    package = (plugin.package, plugin.version) if plugin else ("car-eval", ours)
    own = method.made_by.version if plugin else None
    values = (name, sorted(method.tasks) if method else [], own, *package, None)
    return dict(zip(("name", "tasks", "version", "package", "package_version", "error"), values, strict=True))


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
