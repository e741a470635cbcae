"""Samples of a run as pictures: image, target and prediction."""

from __future__ import annotations

import numpy as np

from dataset_adapters import Dataset, Sample, SampleError
from evaluation.runner import Prepared
from evaluation.segmenter import segment_samples
from results.pictures import Example


def previews(prepared: Prepared, count: int) -> list[Example]:
    """Segment up to `count` samples, spread evenly over those of the prepared run.

    A sample that cannot be read is left out; the run lists it.
    """
    return [_example(sample, prepared) for sample in _spread(prepared.selected, count)]


def _spread(dataset: Dataset, count: int) -> list[Sample]:
    positions = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int).tolist()
    samples = (_read(dataset, position) for position in positions)
    return [sample for sample in samples if sample is not None]


def _read(dataset: Dataset, position: int) -> Sample | None:
    try:
        return dataset[position]
    except SampleError:
        return None


def _example(sample: Sample, prepared: Prepared) -> Example:
    scorer, space = prepared.scorer, prepared.dataset.label_space
    [segmentation] = segment_samples([sample], prepared.car, space)
    caption = "" if space.queries else " / ".join(sample.queries)
    return Example(
        image=sample.image,
        target=scorer.labels(sample.target),
        prediction=scorer.prediction(segmentation, sample).astype(np.int32),
        names={**dict(enumerate(space.labels)), **dict(zip(sample.query_labels, sample.queries, strict=False))},
        ignore_label=space.ignore_label,
        caption=caption,
    )
