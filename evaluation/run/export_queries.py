"""What a benchmark asks, for programs in other environments: samples, queries and label ids as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_adapters import SampleError
from dataset_adapters.formats.images import ImageFileError, image_shape
from evaluation.request.options import Predictions, RunOptions
from evaluation.request.resolve import resolve
from evaluation.tasks.saving import saved_name
from support import strict_json
from support.console import tell

FORMAT = 1
"""Incremented when a key of the lines is renamed or changes its meaning."""


def export_queries(options: RunOptions) -> Iterator[str]:
    """The samples that `car score` with these options would score: one line about all of them, then one for each.

    The first has the label table and, where all samples have the same, the queries; the others the image, its size, own
    queries and the file name of a prediction, or an error where the sample cannot be read.
    Images are not decoded, unless they are not separate files. Raises as `resolve`, and DatasetError.
    """
    # No model is asked for its weights; any path that is there will do.
    run = resolve(replace(options, predictions=Predictions(Path(), name="export")))
    dataset = run.load_data()
    for notice in dataset.notices:
        tell(f"notice: {notice}")
    selected = run.select(dataset)
    header: dict[str, Any] = {
        "kind": "benchmark",
        "format": FORMAT,
        "benchmark": run.benchmark.name,
        "task": dataset.task,
        "dataset": dataset.name,
        "split": dataset.split,
        "protocol": run.protocol.as_dict(),
        "root": str(dataset.root),
        "n_samples": len(selected),
    }
    space = dataset.label_space
    if space.queries:  # else a mask for each sample, or object numbers
        values, categories = dataset.value_labels(), dataset.value_labels(categories=True)
        labels = []
        for label, name in enumerate(space.labels):
            entry = {"label": label, "name": name, "scored": label in space.scored_labels}
            entry["values"] = [value for value, own in values.items() if own == label]
            if categories != values:
                entry["categories"] = [category for category, own in categories.items() if own == label]
            labels.append(entry)
        stuff = space.stuff_queries or (False,) * len(space.queries)
        queries = zip(space.queries, space.query_labels, stuff, strict=True)
        header["ignore_label"], header["labels"] = space.ignore_label, labels
        header["queries"] = [{"text": text, "label": label, "stuff": is_stuff} for text, label, is_stuff in queries]
    yield f"{strict_json.dumps(header)}\n"
    images = selected.images  # read once: it is a column of the index
    for position, sample_id in enumerate(selected.ids):
        asked: dict[str, Any] = {"kind": "sample", "id": sample_id, "image": None, "height": None, "width": None}
        try:
            if images:
                asked["image"] = images[position]
                upright = bool(space.mask_values)  # as user data are read
                asked["height"], asked["width"] = image_shape(selected.root / asked["image"], apply_exif=upright)
            else:
                asked["height"], asked["width"], _ = selected[position].image.shape
            if not space.queries:
                texts, objects = selected.queries_of(position)
                asked["queries"] = [{"text": text} for text in texts]
                for query, number in zip(asked["queries"], objects, strict=False):
                    query["label"] = number
        except (ImageFileError, SampleError) as error:
            asked["error"] = error.reason
        asked["save_as"] = saved_name(sample_id)
        yield f"{strict_json.dumps(asked)}\n"
