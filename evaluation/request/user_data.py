"""Data of the user's own on the command line: which benchmark they are, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.request.benchmark import BenchmarkError

FOLDERS = "own-folders"
HUGGING_FACE = "own-hf"

# The options that belong to each, and of those the ones that it cannot do without.
_OPTIONS = {
    FOLDERS: ("images", "masks", "classes"),
    HUGGING_FACE: ("hf", "hf_config", "image_column", "mask_column", "classes"),
}
_REQUIRED = {FOLDERS: ("images", "masks", "classes"), HUGGING_FACE: ("hf", "classes")}


@dataclass(frozen=True)
class DataRequest:
    """What to evaluate on: a benchmark, its data root if named, and for data of the user's own where they lie."""

    benchmark: str
    data_root: Path | None
    places: Mapping[str, str]


def resolve_data(benchmark: str | None, data_root: Path | None, places: Mapping[str, str | None]) -> DataRequest:
    """The request behind a command: a benchmark with its data root, or data of the user's own.

    places: the options by name, None where not given. Raises BenchmarkError, naming the option, for half a request or
    one of two kinds.
    """
    given = {name: value for name, value in places.items() if value is not None}
    if not given and benchmark not in _OPTIONS:
        return _published(benchmark, data_root)
    kind = benchmark or (HUGGING_FACE if "hf" in given else FOLDERS)
    if kind not in _OPTIONS:
        raise BenchmarkError(f"{_flag(next(iter(given)))}: expected no data of your own with the benchmark {kind}")
    if data_root is not None:
        raise BenchmarkError(f"--data-root: expected no data root with data of your own, found {data_root}")
    for name in given:
        if name not in _OPTIONS[kind]:
            expected = ", ".join(map(_flag, _OPTIONS[kind]))
            raise BenchmarkError(f"{_flag(name)}: expected the options {expected} only, found {given[name]!r}")
    for name in _REQUIRED[kind]:
        if not given.get(name):
            needed = " and ".join(map(_flag, _REQUIRED[kind]))
            raise BenchmarkError(f"{_flag(name)}: expected {needed} together, found no {_flag(name)}")
    return DataRequest(kind, Path(), given)


def resolve_places(benchmark: str, data_root: Path | None, places: Mapping[str, str | None]) -> Mapping[str, str]:
    """Where the data of a run of this benchmark lie, if they are the user's own and named; else empty.

    Raises BenchmarkError as `resolve_data`, and for places of a run on a data set that has a data root.
    """
    if data_root is None and not any(places.values()):
        return {}
    return resolve_data(benchmark, data_root, places).places


def _published(benchmark: str | None, data_root: Path | None) -> DataRequest:
    if benchmark is None:
        raise BenchmarkError("benchmark: expected a name, or --images, --masks and --classes, or --hf; found nothing")
    return DataRequest(benchmark, data_root, {})


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
