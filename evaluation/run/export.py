"""What a benchmark asks, for programs in other environments: samples, queries and label ids as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_adapters import Dataset, SampleError
from dataset_adapters.formats.images import ImageFileError, image_shape
from evaluation.request.options import Predictions, RunOptions
from evaluation.request.resolve import resolve
from evaluation.run.data import load_data, select
from evaluation.tasks.artifacts import saved_name
from support import strict_json
from support.console import tell

FORMAT = 1
"""Raised when a key of the lines is renamed or changes its meaning."""


def export_queries(options: RunOptions) -> Iterator[str]:
    """The samples that `car score` with these options would score: one line about all of them, then one for each.

    Images are not decoded, unless they are no files of their own. Raises as `resolve`, and DatasetError.
    """
    # No model is asked for its weights; any path that is there will do.
    run = resolve(replace(options, predictions=Predictions(Path(), name="export")))
    dataset = load_data(run)
    for notice in dataset.notices:
        tell(f"notice: {notice}")
    selected = select(dataset, options)
    header = {
        "kind": "benchmark",
        "format": FORMAT,
        "benchmark": run.benchmark.name,
        "task": dataset.task,
        "dataset": dataset.name,
        "split": dataset.split,
        "protocol": run.protocol.as_dict(),
        "root": str(dataset.root),
        "n_samples": len(selected),
        **_labels(dataset),
    }
    yield f"{strict_json.dumps(header)}\n"
    for position, sample_id in enumerate(selected.ids):
        yield f"{strict_json.dumps({'kind': 'sample', 'id': sample_id, **_asked(selected, position)})}\n"


def _labels(dataset: Dataset) -> dict[str, Any]:
    """The label table and, where all samples have the same, the queries."""
    space = dataset.label_space
    if not space.queries:  # a mask for each sample, or object numbers
        return {}
    values, categories = dataset.value_labels(), dataset.value_labels(categories=True)
    labels = []
    for label, name in enumerate(space.labels):
        entry = {"label": label, "name": name, "scored": label in space.scored_labels}
        entry["values"] = [value for value, own in values.items() if own == label]
        if categories != values:
            entry["categories"] = [category for category, own in categories.items() if own == label]
        labels.append(entry)
    stuff = space.stuff_queries or (False,) * len(space.queries)
    asked = zip(space.queries, space.query_labels, stuff, strict=True)
    return {
        "ignore_label": space.ignore_label,
        "labels": labels,
        "queries": [{"text": text, "label": label, "stuff": is_stuff} for text, label, is_stuff in asked],
    }


def _asked(dataset: Dataset, position: int) -> dict[str, Any]:
    """Image, size, own queries and file name of the prediction of a sample; an error where it cannot be read."""
    asked: dict[str, Any] = {"image": None, "height": None, "width": None}
    try:
        if dataset.images:
            asked["image"] = dataset.images[position]
            upright = bool(dataset.label_space.mask_values)  # as user data are read
            asked["height"], asked["width"] = image_shape(dataset.root / asked["image"], apply_exif=upright)
        else:
            asked["height"], asked["width"], _ = dataset[position].image.shape
        if not dataset.label_space.queries:
            texts, objects = dataset.queries_of(position)
            asked["queries"] = [{"text": text} for text in texts]
            for query, number in zip(asked["queries"], objects, strict=False):
                query["label"] = number
    except (ImageFileError, SampleError) as error:
        asked["error"] = error.reason
    asked["save_as"] = saved_name(dataset.ids[position])
    return asked
