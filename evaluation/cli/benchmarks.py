"""``car benchmarks``: what can be evaluated, and the schema of a benchmark's file."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from evaluation.cli.help import COMPLETERS
from evaluation.cli.terminal import show_tables

_KEYS = ("name", "title", "task", "data_set", "package")


def benchmarks_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE]...",
            help="Only these; imports those of packages.",
            autocompletion=COMPLETERS["benchmark"],
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of the table.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of a benchmark's YAML file, for editors.")
    ] = False,
) -> None:
    """List benchmarks: name, title, task, data set, and the package they are from."""
    from dataset_adapters.base.adapter import find_sources
    from evaluation.request.benchmark import benchmark_names, benchmark_schema, load_benchmark
    from results.tables.columns import make_table
    from results.tables.render import Column
    from support.plugins import plugins

    if schema:
        typer.echo(json.dumps(benchmark_schema(), indent=1))
        return
    rows: list[dict[str, Any]] = []
    for benchmark in map(load_benchmark, names or benchmark_names()):
        adapter, plugin = find_sources(benchmark.adapter)[0], benchmark.brought_by
        package = f"{plugin.package} {plugin.version}" if plugin and plugin.package else None
        values = (benchmark.name, benchmark.title, adapter.task, adapter.name.partition("/")[0], package)
        rows.append(dict(zip(_KEYS, values, strict=True)))
    for own in () if names else plugins("benchmarks").values():  # not imported unless named
        rows += [
            {**dict.fromkeys(_KEYS), "name": each.name, "package": f"{each.package} {each.version}"} for each in own
        ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        show_tables([make_table("Benchmarks", tuple(map(Column, _KEYS)), rows)])
