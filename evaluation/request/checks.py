"""What a run is refused for without a look at any model: found before torch is imported, which takes seconds.

`evaluation.run.prepare` finds all of it, too; here it is asked first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from car_core.config import CaRConfig, Mode, Profile
from car_core.models.names import MINIATURE, check_device_name, random_seed, weights_file
from car_core.queries import check_texts, require_any
from dataset_adapters import DatasetError
from dataset_adapters.base.sample import (
    Adapter,
    AnnotationFileAdapter,
    LabelSourceMissingError,
    configured,
    find_sources,
)
from evaluation.request.benchmark import ALL, CAR, BenchmarkError, load_benchmark, refuse_fields, resolve_config
from evaluation.request.inputs import resolve_inputs
from evaluation.request.protocol import resolve_protocol
from results.tables.run_notes import METHOD_TITLES
from support.files import expanded
from support.text import unknown_name

DEFAULT_RUNS = Path("results/runs")


def check_request(
    benchmark: str,
    *,
    data_root: Path | None = None,
    weights: Mapping[str, str | None] | None = None,
    method: str = CAR,
    profile: Profile | None = None,
    settings: Mapping[str, Any] | None = None,
    split: str | None = None,
    protocol: Mapping[str, str] | None = None,
    source: str | None = None,
    places: Mapping[str, str] | None = None,
    limit: int | None = None,
    out: Path | None = None,
    device: str = "cpu",
) -> None:
    """Look at a request as `evaluation.run.prepare.prepare` does, as far as that goes without model or index of files.

    The fields are those of `RunOptions`. Raises BenchmarkError, DatasetError, ModelError.
    """
    check_out(out or DEFAULT_RUNS)
    check_limit(limit)
    check_device_name(device)
    _check_method(method)
    asked, options = load_benchmark(benchmark), dict(places or {})
    sources = find_sources(asked.adapter, source)
    if method == CAR:  # the settings of other methods lie beside their models
        config, _ = resolve_config(asked, profile or asked.profile, settings or {})
        options |= resolve_protocol(asked, sources[0].task, config, protocol or {}).data
    adapters = [configured(adapter, options) for adapter in sources]
    root = expanded(resolve_inputs(asked, data_root, weights).data_root).absolute()
    _require_root(adapters, root)
    if split and not places:
        _check_split(adapters, root, split)
    if places:
        adapters[0].label_space("released")  # reads the list of classes
    check_weights(weights or {})


def check_phrases(queries: Sequence[str]) -> None:
    """Raise QueryError for no query, a blank or repeated one."""
    require_any(queries=check_texts("queries", queries))


def check_models(
    weights: Mapping[str, str | None],
    *,
    profile: Profile | None,
    mode: Mode,
    settings: Mapping[str, Any],
    device: str,
) -> None:
    """Raise what `evaluation.pictures.segment.load_car` would raise for these, as far as no model is needed.

    Raises as `picture_config`, `check_weights` and `check_device_name`.
    """
    picture_config(weights, profile, mode, settings)
    check_weights(weights)
    check_device_name(device)


def picture_config(
    weights: Mapping[str, str | None], profile: Profile | None, mode: Mode, settings: Mapping[str, Any]
) -> CaRConfig:
    """The configuration for pictures of one's own.

    profile: None for the released one, or the paper's where both models are the miniature's. Raises ConfigError, and
    BenchmarkError for a field that is set elsewhere.
    """
    refuse_fields(settings, {"profile": "the option --profile", "mode": "the option --mode"})
    usual: Profile = "paper" if {name or MINIATURE for name in weights.values()} == {MINIATURE} else "released"
    return CaRConfig(**{"profile": profile or usual, "mode": mode, **settings})


def check_weights(weights: Mapping[str, str | None]) -> None:
    """Raise ModelError for a weights file that is not there, and for a seed that is none."""
    for name in filter(None, weights.values()):
        if random_seed(name) is None:
            weights_file(name)


def check_limit(limit: int | None) -> None:
    """Raise BenchmarkError for a limit of no samples."""
    if limit is not None and limit < 1:
        raise BenchmarkError(f"limit: expected at least 1 sample, found {limit}")


def check_out(path: Path) -> None:
    """Raise BenchmarkError unless the folder can be written or made: found out before models are loaded."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        found = f"{there}, which is read-only" if there.is_dir() else f"{there}, which is no folder"
        raise BenchmarkError(f"out: expected a folder that can be written, found {found}")


def _check_method(name: str) -> None:
    if name not in (*METHOD_TITLES, ALL):
        raise BenchmarkError(unknown_name("--method", name, METHOD_TITLES))


def _check_split(sources: Sequence[Adapter], root: Path, split: str) -> None:
    """Raise DatasetError for a split that the first of the sources that is there does not have."""
    for adapter in sources:
        if _root_error(adapter, root):
            continue
        listed = adapter.annotation_files if isinstance(adapter, AnnotationFileAdapter) else adapter.rows
        try:
            listed(adapter.find_root(root), split)
        except LabelSourceMissingError:
            continue
        return


def _require_root(sources: Sequence[Adapter], root: Path) -> None:
    """Raise DatasetError unless the layout of one of a data set's sources is found at `root`."""
    errors = [_root_error(adapter, root) for adapter in sources]
    if errors[0] and all(errors):
        raise errors[0]


def _root_error(adapter: Adapter, root: Path) -> DatasetError | None:
    try:
        adapter.find_root(root)
    except DatasetError as error:
        return error
    return None
