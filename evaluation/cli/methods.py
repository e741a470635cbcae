"""``car methods``: what `--method` takes."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated, Any

import typer

from support.console import say
from support.strict_json import dumps


def methods_command(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List what --method takes: CaR, the baselines, and methods of installed packages, which are imported for it.

    A method that cannot be used is a line that says why.
    """
    rows = list_methods()
    if json:
        say(dumps(rows))
        return
    for row in rows:
        origin = " ".join(filter(None, (row["package"], row["package_version"])))
        name = " ".join(filter(None, (row["name"], row["version"])))
        say(f"{name} ({origin}): {row['error'] or ', '.join(row['tasks'])}")


def list_methods() -> list[dict[str, Any]]:
    """Each method's name, tasks, version, package and its version; error: why it cannot be used, or None."""
    from evaluation.request.methods import METHODS
    from evaluation.request.own_methods import check_own_method
    from support.errors import UserError
    from support.plugins import find_plugin, plugins

    try:
        ours = importlib.metadata.version("car-eval")
    except importlib.metadata.PackageNotFoundError:
        ours = None
    rows = [_row(name, sorted(method.tasks), None, "car-eval", ours, None) for name, method in METHODS.items()]
    for name, brought in plugins("methods").items():
        for plugin in brought:
            tasks, version, error = list[str](), None, None
            try:
                find_plugin("methods", name, METHODS, "--method")  # refuses what several packages bring
                method = check_own_method(plugin)
                tasks, version = sorted(method.tasks), method.made_by.version
            except UserError as found:
                error = str(found)
            rows.append(_row(name, tasks, version, plugin.package, plugin.version, error))
    return rows


def _row(*values: Any) -> dict[str, Any]:
    return dict(zip(("name", "tasks", "version", "package", "package_version", "error"), values, strict=True))
