"""``car data``: list, prepare and check data sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evaluation.cli.exit_status import DATA_FAULTS
from evaluation.cli.help import HelpfulCommand, complete, data_set_names
from evaluation.cli.model_options import takes
from evaluation.cli.option_hints import home_paths
from evaluation.cli.terminal import show_tables
from evaluation.request.options import USER_DATA, RunOptions
from support.console import say, show, tell
from support.files import expanded
from support.text import counted

if TYPE_CHECKING:
    from dataset_adapters.prepare import Preparation

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, prepare and check data sets.")

_COMPLETE = complete(data_set_names)
_Name = Annotated[str, typer.Argument(help="Data set, or a benchmark that reads it.", autocompletion=_COMPLETE)]
_Root = Annotated[
    Path, typer.Option("--data-root", "--root", metavar="DIR", help="Folder of the data set in its official layout.")
]


@data_app.command("list", cls=HelpfulCommand)
@home_paths
def list_command(
    name: Annotated[
        str | None, typer.Argument(help="Only this data set, or a benchmark that reads it.", autocompletion=_COMPLETE)
    ] = None,
    data_root: _Root = Path("data"),
) -> None:
    """List data sets: benchmarks, download size, and which files exist.

    For a named data set also its license, sources and files.
    """
    from dataset_adapters.prepare import all_preparations
    from results.tables.columns import make_table
    from results.tables.render import Column
    from support.plugins import plugins

    if name:
        for line in _description(_find(name), data_root):
            show(line)
        return
    names = ("name", "title", "benchmarks", "download", "here")
    columns = tuple(Column(name, kind="text" if name == "title" else "word") for name in names)
    rows = []
    for preparation in all_preparations():
        counts, (first, *others) = _counts(preparation, data_root), preparation.benchmarks
        n_whole = sum(count.accepts(found) for count, found in counts)
        part = f"{n_whole} of {len(counts)} parts" if any(found for _, found in counts) else "-"
        row = {"name": preparation.name, "title": preparation.title, "download": _size(preparation)}
        row |= {"benchmarks": f"{first} + {len(others)}" if others else first}
        rows.append({**row, "here": "complete" if n_whole == len(counts) else part})
    for own in plugins("datasets").values():  # not imported unless named
        rows += [{"name": each.name, "title": f"of {each.package} {each.version}"} for each in own]
    notes = [f"here: found in {data_root}", f"details of one: car data list {rows[0]['name']}"]
    show_tables([replace(make_table("Data sets", columns, rows, notes), is_cut=True)])


def _find(name: str) -> Preparation:
    """A data set by its name, or by that of a benchmark that reads it, of a package or in a file, too."""
    from dataset_adapters import DatasetError
    from dataset_adapters.prepare import find_preparation
    from evaluation.request.benchmark import built_in, is_file, load_benchmark
    from evaluation.request.user_data import data_options, is_own
    from support.plugins import plugins

    is_outside = (is_file(name) and ":" not in name) or name in plugins("benchmarks")
    benchmark = load_benchmark(name) if is_outside else built_in(name)
    if benchmark and benchmark.embedded:
        raise DatasetError(f"{name}: part of this package, nothing to download or check: car eval {name}")
    if benchmark and is_own(benchmark.adapter):
        again = f"check it with `car data check {name}` and {data_options(benchmark.adapter)}"
        raise DatasetError(f"{name}: expected a data set of `car data list`, found your own data; {again}")
    found = find_preparation(benchmark.adapter if benchmark and is_outside else name)
    if benchmark and benchmark.split and not found.page:
        return replace(found, splits=tuple(replace(each, split=benchmark.split) for each in found.splits))
    return found


def _size(preparation: Preparation) -> str:
    known = [download.megabytes for download in preparation.downloads]
    if not any(known):
        return "by hand"
    return ("over " if None in known else "") + f"{sum(filter(None, known)) / 1000:.1f} GB"


def _counts(preparation: Preparation, root: Path) -> list[tuple[Any, int]]:
    """Each part of the layout with how many of its files there are."""
    start = preparation.start(root)
    return [(count, len(count.files(start))) for count in preparation.layout]


def _description(preparation: Preparation, root: Path) -> list[str]:
    sources = [url for download in preparation.downloads for url in download.urls]
    counts = _counts(preparation, root)
    complete = all(count.accepts(found) for count, found in counts)
    if not preparation.page:
        return _description_of_outside(preparation, root)
    return [
        f"{preparation.name}: {preparation.title}",
        f"  benchmarks: {', '.join(preparation.benchmarks)}",
        f"  terms: {preparation.terms}",
        f"  page: {preparation.page}",
        *(f"  source: {url}" for url in sources),
        *(f"  by hand: {step.text} ({step.page})" for step in preparation.manual),
        f"  download: {_size(preparation)}",
        f"  {'complete' if complete else 'not complete'} in {preparation.start(root)}:",
        *(
            f"    {count.pattern}: {found}" + (f" of {' or '.join(map(str, count.expected))}" if count.expected else "")
            for count, found in counts
        ),
    ]


def _description_of_outside(preparation: Preparation, root: Path) -> list[str]:
    """What the adapter of a package or file says of its data set, and how many samples are there."""
    from dataset_adapters.base.adapter import find_sources, first_present
    from dataset_adapters.base.index import rows_of
    from dataset_adapters.errors import DatasetError, without_option

    adapters, [split] = find_sources(preparation.name), preparation.splits
    n_classes = len({*adapters[0].label_space("dataset").query_labels})
    try:
        own, folder, n_samples = first_present(
            adapters, expanded(root).absolute(), lambda own, folder: sum(1 for _ in rows_of(own, folder, split.split))
        )
        here = f"{counted(n_samples, 'sample')} in {folder}" + (f" ({own.name})" if len(adapters) > 1 else "")
    except DatasetError as error:
        here = f"not found: {without_option(error)}"
    return [
        f"{preparation.name}: {preparation.title}",
        f"  task: {adapters[0].task}",
        *([f"  classes: {n_classes}"] if n_classes else []),
        f"  split: {split.split}",
        f"  data: {here}",
    ]


@data_app.command("prepare", cls=HelpfulCommand)
@home_paths
def prepare_command(name: _Name, data_root: _Root = Path("data")) -> None:
    """Download, verify, unpack and convert a data set; existing files are kept.

    Broken transfers resume where they stopped. Archives stay in DIR/downloads and may be deleted afterwards. Exit
    status: 0, or 2 with the reason: a failed download, or steps that must be done by hand.
    """
    from dataset_adapters import DatasetError
    from dataset_adapters.prepare import prepare

    preparation = _find(name)
    if not preparation.page:
        raise DatasetError(f"{preparation.name}: expected a data set of car-eval, found one {preparation.title}")
    tell(f"{preparation.name}: terms: {preparation.terms} ({preparation.page})")
    start = prepare(preparation, data_root, tell)
    say(f"{preparation.name}: ready in {start}")


@data_app.command("check", cls=HelpfulCommand)
@home_paths
@takes(RunOptions, *USER_DATA, "split", split=typer.Option(help="Split of your own data, or a file of ids."))
def check_command(
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            help="Data set, or a benchmark that reads it; omit it for your own data.", autocompletion=_COMPLETE
        ),
    ] = None,
    data_root: _Root = Path("data"),
    given: dict[str, Any],
    decode: Annotated[int, typer.Option(min=0, metavar="N", help="Samples to decode per split.")] = 50,
    all_: Annotated[bool, typer.Option("--all", help="Decode every sample.")] = False,
    source: Annotated[
        str | None, typer.Option(help="Label source of a data set that has several. [default: the first one found]")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Show samples, pixels and mean area of each label.")] = False,
) -> None:
    """Count files and samples, list missing and broken files, and show sizes and labels of decoded samples.

    For your own data (--images, --masks and --classes, or --hf) also show how the list of classes was read and whether
    it fits the masks. Exit status: 0 without faults; 5 with faults; 2 for an unknown data set, a missing folder or an
    unreadable list of classes.
    """
    from dataset_adapters.prepare import check, check_user_data
    from evaluation.request.benchmark import load_benchmark
    from evaluation.request.user_data import resolve_data

    data = resolve_data(name, None, given["places"])
    n_decoded = None if all_ else decode
    if data["places"]:
        name = load_benchmark(data["benchmark"]).adapter
        n_faults = check_user_data(
            name, data["places"], show, n_decoded=n_decoded, split=given["split"], each_label=labels
        )
    else:
        preparation = _find(data["benchmark"])
        name = preparation.name
        n_faults = check(preparation, data_root, show, n_decoded=n_decoded, each_label=labels, source=source)
    typer.echo(f"{name}: {counted(n_faults, 'fault') if n_faults else 'no faults'}")
    if n_faults:
        raise typer.Exit(DATA_FAULTS)
