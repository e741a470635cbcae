"""User-supplied data on the command line: its benchmark, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.request.benchmark import BenchmarkError

FOLDERS = "own-folders"
HUGGING_FACE = "own-hf"

# The options that belong to each, and those that it requires.
_OPTIONS = {
    FOLDERS: ("images", "masks", "classes", "ignore_value"),
    HUGGING_FACE: ("hf", "hf_config", "image_column", "mask_column", "classes", "ignore_value"),
}
_REQUIRED = {FOLDERS: ("images", "masks", "classes"), HUGGING_FACE: ("hf", "classes")}


def resolve_data(benchmark: str | None, data_root: Path | None, places: Mapping[str, str]) -> dict[str, Any]:
    """The fields benchmark, data_root and places of `RunOptions` for a command on a benchmark or user-supplied data.

    places: the options of user-supplied data that were given. Raises BenchmarkError, naming the option, where one is
    missing or the options are of different kinds.
    """
    if not places and benchmark not in _OPTIONS:
        if benchmark is None:
            raise BenchmarkError(
                "benchmark: expected a name, or --images, --masks and --classes, or --hf; found nothing"
            )
        return {"benchmark": benchmark, "data_root": data_root, "places": {}}
    kind = benchmark or (HUGGING_FACE if "hf" in places else FOLDERS)
    if kind not in _OPTIONS:
        raise BenchmarkError(f"{next(iter(places))}: expected no data options with the benchmark {kind}")
    if data_root is not None:
        raise BenchmarkError(f"data_root: expected no data root with your own data, found {data_root}")
    for name in places:
        if name not in _OPTIONS[kind]:
            expected = ", ".join(map(_flag, _OPTIONS[kind]))
            raise BenchmarkError(f"{name}: expected the options {expected} only, found {places[name]!r}")
    for name in _REQUIRED[kind]:
        if not places.get(name):
            raise BenchmarkError(f"{name}: missing; {data_options(kind)} go together")
    return {"benchmark": kind, "data_root": Path(), "places": places}


def data_options(benchmark: str) -> str:
    """The options that say where the data of a benchmark are, in words."""
    *others, last = map(_flag, _REQUIRED.get(benchmark, ("data_root",)))
    return f"{', '.join(others)} and {last}" if others else last


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
