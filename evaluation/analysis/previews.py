"""Samples of a run as pictures: image, target and prediction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from car_core.segmentation import Segmentation
from dataset_adapters import Dataset, Sample, SampleError
from evaluation.run.prepare import Prepared
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import segment_samples
from results.pages.contact_sheet import Example


def previews(prepared: Prepared, count: int, *, before_each: Callable[[], None] = lambda: None) -> list[Example]:
    """Segment up to `count` samples, spread evenly over those of the prepared run.

    A sample that cannot be read is left out; the run lists it. before_each: called before each sample; what it raises
    ends the work.
    """
    examples = []
    for position in _spread(len(prepared.selected), count):
        before_each()
        sample = _read(prepared.selected, position)
        if sample is not None:
            examples.append(_example(sample, prepared))
    return examples


def _spread(length: int, count: int) -> list[int]:
    positions: list[int] = np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()
    return positions


def _read(dataset: Dataset, position: int) -> Sample | None:
    try:
        return dataset[position]
    except SampleError:
        return None


def _example(sample: Sample, prepared: Prepared) -> Example:
    scorer, space = prepared.scorer, prepared.dataset.label_space
    [segmentation] = segment_samples([sample], prepared.car, space)
    caption = "" if space.queries else f"{_figure(sample, segmentation, scorer)}  {' / '.join(sample.queries)}"
    return Example(
        image=sample.image,
        target=scorer.labels(sample.target),
        prediction=scorer.prediction(segmentation, sample).astype(np.int32),
        names={**dict(enumerate(space.labels)), **dict(zip(sample.query_labels, sample.queries, strict=False))},
        ignore_label=space.ignore_label,
        caption=caption,
    )


def _figure(sample: Sample, found: Segmentation, scorer: Scorer) -> str:
    """The sample's own figure in percent; it stands first, as a caption is cut at its end."""
    [figure] = scorer.sample_figures([scorer.scored(sample, found, 0.0)])
    return f"{scorer.words.sample_figure} {'-' if np.isnan(figure) else f'{100 * figure:.1f}'}"
