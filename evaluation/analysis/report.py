"""``car report``: everything that the page of a run needs in addition to its directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from car_core.names import MINIATURE, ROLES
from dataset_adapters import LabelSpace
from evaluation.analysis.drawn_samples import choose, draw_sample
from evaluation.request.benchmark import BenchmarkError, benchmark_names
from evaluation.request.methods import METHODS
from evaluation.request.user_data import data_options, kind_of
from evaluation.run.prepare import Prepared, prepare
from evaluation.run.recompute import figures_of, scorer_of
from evaluation.run.rerun import outside_code, request_of_run
from evaluation.tasks import semantic
from results import RunDirectory, RunHeader, SampleRecord, StoreError, differences
from results.pages.embedded import MISSED, WRONG, Matrix
from results.pages.gallery import SampleShown
from results.pages.index import index_html, page_names
from results.pages.report import Confusion, ReportDetails, write_report
from results.run_directory.found import find_runs
from results.tables.run_notes import is_scored
from support.arrays import Int64Array
from support.console import is_terminal, tell
from support.errors import UserError
from support.files import expanded, resolved, write_atomically
from support.text import counted

_MAX_CONFUSIONS = 15
_LEAST_SHARE = 0.0005  # of a class's pixels; less is shown as 0.0 %
# Fields of the identity that pictures must share with the run; for code and packages each sample's counts are compared.
_REQUIRED_IDENTITY_KEYS = ("dataset", "protocol", "label_space", "config", "weights", "plugins")
# Except these: --limit changes the digest of the samples but none of them; mask values are also in the fingerprint of
# the data, and runs of older versions do not name them. Metrics are not counted again.
_IGNORED_IDENTITY_KEYS = ("samples", "mask_values", "metrics")


@dataclass(frozen=True)
class GalleryOptions:
    """The sources of the gallery's images and models.

    data_root, weights (by role, None: as the run names them), split (None: the run's), device. count: samples per group
    (best, worst, random); 0 for no gallery. places: where user data are, see `request.user_data`.
    """

    data_root: Path | None = None
    weights: Mapping[str, str | None] | None = None
    split: str | None = None
    device: str = "cpu"
    count: int = 4
    places: Mapping[str, str] = field(default_factory=dict)


def report(
    run_dir: str | os.PathLike[str], gallery: GalleryOptions | None = None, *, out: str | os.PathLike[str] | None = None
) -> Path:
    """Write the report of a run; returns its path.

    gallery: None for a report without pictures. Raises StoreError for a damaged run, and before any sample is
    segmented BenchmarkError naming the field in which data, weights or configuration are not those of the run,
    DatasetError and ModelError where they are not available.
    """
    run = RunDirectory(run_dir)
    header = run.read_header()
    scorer = scorer_of(run, header)
    by_id, computed = figures_of(run, scorer)
    header, records = header.model_copy(update=computed), list(by_id.values())
    figures = scorer.sample_figures(records)
    shown, note = _gallery(header, records, figures, gallery)
    has_classes = any("confusion" in record.counts for record in records)
    details = ReportDetails(
        figures=[None if np.isnan(figure) else float(figure) for figure in figures],
        classes=[sample_classes(record, scorer.label_space) for record in records] if has_classes else (),
        confusions=confusions(records, scorer.label_space),
        matrix=matrix(records, scorer.label_space) if has_classes else None,
        gallery=shown,
        gallery_note=note,
    )
    return write_report(run, header, records, details, out=None if out is None else expanded(out))


def report_folder(
    folder: Path,
    gallery_of: Callable[[Path], GalleryOptions | None] = lambda run: None,
    *,
    out: str | os.PathLike[str] | None = None,
) -> Path:
    """Write an index of all runs in and below a folder, and the report of each, into one folder; returns the index.

    gallery_of: what to show samples of a run with. out: that folder, by default ``report`` in the runs'. A run that
    cannot be shown is named in the index, and one whose pictures cannot be made is shown without, which is reported.
    Raises StoreError where there is no run, or `out` is one, OSError where files cannot be written.
    """
    target = folder / "report" if out is None else expanded(out)
    if (target / "run.json").exists():
        raise StoreError(f"{target}: expected a folder for pages, found the run.json of a run; --out names another")
    found, damaged = find_runs([folder])
    if not found:
        raise StoreError(damaged[0] if damaged else f"{folder}: no runs in or below it")
    target.mkdir(parents=True, exist_ok=True)
    shown = []
    progress = tqdm(page_names(found, folder), unit="run", disable=not is_terminal(sys.stderr), dynamic_ncols=True)
    for run in progress:
        page = target / run.page
        try:
            try:
                report(run.found.path, gallery_of(run.found.path), out=page)
            except UserError as error:  # of its data or models; a damaged run is so in the second try, too
                report(run.found.path, out=page)
                tell(f"notice: {run.name}: no samples are shown: {error}")
        except (StoreError, OSError, ValueError) as error:
            damaged.append(f"{run.name}: {error}")
        else:
            shown.append(run)
    if damaged:
        tell(f"notice: {counted(len(damaged), 'run')} without a page, first {damaged[0]}")
    # The folder may be published: no names of the folders above it.
    reasons = [reason.replace(f"{folder}{os.sep}", "") for reason in damaged]
    write_atomically(target / "index.html", index_html(f"Runs in {resolved(folder).name}/", shown, reasons))
    return target / "index.html"


def names_models(header: RunHeader, weights: Mapping[str, str | None] | None) -> str:
    """The models other than the miniature, and the code, that only run.json names; empty without any.

    A stranger's run.json may name any. weights: by role, those that the user named.
    """
    found = [entry.name for entry in header.weights if not (weights or {}).get(entry.role)]
    sam = header.config.get("sam")
    models = [value for name, value in header.config.items() if name.endswith("_model")]
    found += [str(value) for value in models if Path(str(value)).suffix]  # files
    found += [str(sam.get("model") if isinstance(sam, dict) else sam)] if sam else []
    found += [each.target for each in header.plugins]
    # The gallery goes by the request, which need not be what the rest of a stranger's run.json says.
    for key, value in (header.request.get("set") or {}).items():
        is_file = key.endswith("_model") and Path(str(value)).suffix
        found += [str(value)] if is_file or key == "sam" or key.endswith("_weights") else []
    found += outside_code(header.request)
    named = {"method": METHODS, "benchmark": benchmark_names()}
    found += [str(value) for key, known in named.items() if (value := header.request.get(key)) and value not in known]
    return ", ".join(dict.fromkeys(name for name in found if name != MINIATURE))


def confusions(records: Sequence[SampleRecord], space: LabelSpace) -> list[Confusion]:
    """The pairs of different classes with the largest share of the target class's pixels, only of scored targets.

    Shares that would be shown as 0.0 % are left out. None for a task without confusion counts.
    """
    counts = _confusion(records, space)
    totals = counts.sum(axis=1)
    pairs = [
        Confusion(space.labels[t], space.labels[p], int(counts[t, p]), float(counts[t, p] / totals[t]))
        for t in space.scored_labels
        for p in range(len(space.labels))
        if t != p and counts[t, p] and counts[t, p] >= _LEAST_SHARE * totals[t]
    ]
    return sorted(pairs, key=lambda pair: -pair.share)[:_MAX_CONFUSIONS]


def matrix(records: Sequence[SampleRecord], space: LabelSpace, *, most: int = 100_000) -> Matrix:
    """The whole confusion matrix; of more pairs of classes than `most`, which take about 1.5 MB, the largest."""
    counts = _confusion(records, space)
    largest = np.argsort(-counts, axis=None, kind="stable")[: min(most, np.count_nonzero(counts))]
    targets, predictions = np.unravel_index(np.sort(largest), counts.shape)
    cells = zip(targets.tolist(), predictions.tolist(), counts[targets, predictions].tolist(), strict=True)
    return Matrix(space.labels, tuple(cells), int(np.count_nonzero(counts)) - len(largest))


def _confusion(records: Sequence[SampleRecord], space: LabelSpace) -> Int64Array:
    triples = (triple for record in records for triple in record.counts.get("confusion", ()))
    return semantic.sum_confusion(triples, len(space.labels))


def sample_classes(record: SampleRecord, space: LabelSpace) -> list[tuple[str, str]]:
    """The scored classes but background of a sample, each with whether it was missed or is wrong."""
    pairs = [triple[:2] for triple in record.counts.get("confusion", ())]
    target, predicted = ({pair[side] for pair in pairs} for side in (0, 1))
    return [
        (space.labels[label], "" if label in target & predicted else MISSED if label in target else WRONG)
        for label in space.scored_labels
        if label in target | predicted and (label or space.labels[0] != "background")
    ]


def _gallery(
    header: RunHeader, records: Sequence[SampleRecord], figures: Any, options: GalleryOptions | None
) -> tuple[list[SampleShown], str]:
    """The samples, and a sentence that says how they were chosen or why there are none."""
    if is_scored(header):
        return [], "No samples are shown: the predictions were made elsewhere."
    if options is None or not options.count:
        wanted = data_options(kind_of(header.benchmark))
        return [], f"No samples are shown: pictures need the run's images and models, by {wanted} and --gallery."
    seed = int(header.identity[:8], 16)
    chosen = choose(records, figures, options.count, seed)
    if not chosen:
        return [], "No samples are shown: the run has no scored sample yet."
    prepared = _prepared(header, options)
    progress = tqdm(chosen, unit="image", disable=not is_terminal(sys.stderr), dynamic_ncols=True)
    shown = [sample for choice in progress if (sample := draw_sample(choice, prepared))]
    note = f"The samples with the best and the worst figure and random ones, segmented again (seed {seed})."
    unread = len(chosen) - len(shown)
    return shown, f"{note} {unread} could not be read." if unread else note


def _prepared(header: RunHeader, options: GalleryOptions) -> Prepared:
    """Data and models of the run. Raises BenchmarkError where they are not the run's."""
    given = options.weights or {}
    weights = {entry.role: given.get(entry.role) or entry.name for entry in header.weights if entry.role in ROLES}
    if any(own.kind == "methods" for own in header.plugins):  # which have weights of their own
        weights = {}
    for role, weight in weights.items():
        if not given.get(role) and Path(weight).suffix and not Path(weight).exists():
            raise BenchmarkError(f"weights: expected the file {weight} that the run was made with, found none")
    request = replace(
        request_of_run(header),
        data_root=Path() if options.places else options.data_root,
        places=options.places,
        weights=weights,
        split=options.split or header.benchmark.dataset.split,
        limit=None,
        shard=None,
        device=options.device,
        max_pixels=None,
        metrics=(),
    )
    prepared = prepare(request)
    hints = {
        "dataset": f"see {data_options(kind_of(header.benchmark))}, and --split",
        "weights": "see --weights, or leave out --data-root",
    }
    for key in _REQUIRED_IDENTITY_KEYS:
        both = [{key: fields.get(key)} for fields in (header.identity_fields, prepared.identity_fields)]
        for fields in both:
            if isinstance(own := fields[key], dict):
                fields[key] = {name: own[name] for name in own if name not in _IGNORED_IDENTITY_KEYS} or None
        if changed := differences(*both):
            raise BenchmarkError(f"{key}: expected that of the run, found another one; {hints.get(key, changed[0])}")
    return prepared
