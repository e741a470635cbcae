"""User-supplied data on the command line: its benchmark, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from evaluation.request.benchmark import BenchmarkError, is_file, load_benchmark

if TYPE_CHECKING:
    from results import BenchmarkInfo

FOLDERS = "own-folders"
HUGGING_FACE = "own-hf"

# The options that belong to each, and those that it requires.
_OPTIONS = {
    FOLDERS: ("images", "masks", "classes", "ignore_value"),
    HUGGING_FACE: ("hf", "hf_config", "image_column", "mask_column", "classes", "ignore_value"),
}
_REQUIRED = {FOLDERS: ("images", "masks", "classes"), HUGGING_FACE: ("hf", "classes")}


def is_own(adapter: object) -> TypeGuard[str]:
    """Whether it is an adapter of user-supplied data."""
    return isinstance(adapter, str) and adapter in _OPTIONS


def kind_of(benchmark: BenchmarkInfo) -> str:
    """What `resolve_data` takes for the benchmark of a run, whatever its file calls it."""
    adapter = (benchmark.fields or {}).get("adapter")
    return adapter if is_own(adapter) else benchmark.name


def resolve_data(benchmark: str | None, data_root: Path | None, places: Mapping[str, str]) -> dict[str, Any]:
    """The fields benchmark, data_root and places of `RunOptions` for a command on a benchmark or user-supplied data.

    benchmark: also a file that has one of user-supplied data as its base. places: the options of user-supplied data
    that were given. Raises BenchmarkError, naming the option, where one is missing or the options are of different
    kinds, and for such a file.
    """
    if not places and benchmark is None:
        raise BenchmarkError("benchmark: expected a name, or --images, --masks and --classes, or --hf; found nothing")
    kind = benchmark or (HUGGING_FACE if "hf" in places else FOLDERS)
    kind = load_benchmark(kind).adapter if is_file(kind) and ":" not in kind else kind
    if not is_own(kind):
        if not places:
            return {"benchmark": benchmark, "data_root": data_root, "places": {}}
        raise BenchmarkError(f"{next(iter(places))}: expected no data options with the benchmark {benchmark}")
    if data_root is not None:
        raise BenchmarkError(f"data_root: expected no data root with your own data, found {data_root}")
    for name in places:
        if name not in _OPTIONS[kind]:
            expected = ", ".join(map(_flag, _OPTIONS[kind]))
            raise BenchmarkError(f"{name}: expected the options {expected} only, found {places[name]!r}")
    for name in _REQUIRED[kind]:
        if not places.get(name):
            raise BenchmarkError(f"{name}: missing; {data_options(kind)} go together")
    return {"benchmark": benchmark or kind, "data_root": Path(), "places": places}


def data_options(kind: str) -> str:
    """The options that say where the data of a benchmark of this `kind_of` are, in words."""
    *others, last = map(_flag, _REQUIRED.get(kind, ("data_root",)))
    return f"{', '.join(others)} and {last}" if others else last


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
