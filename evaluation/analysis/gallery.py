"""Samples of a finished run, segmented again and drawn for its report.

Records hold integer counts alone, so pictures need the images and the models once more. Only the few samples chosen are
segmented again, after the fact: which ones are best and worst is known only then, and a run need not decide beforehand
to be looked at. Each one's counts are held against its record, so a picture is never taken for another's figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from car_core.drawing import (
    LEAST_SIDE,
    Color,
    dropped_in,
    encode,
    fitting_size,
    heat_map,
    label_color,
    masks_over_image,
    most_telling,
    overlay,
    query_colors,
    require_image,
    resized,
)
from car_core.segmentation import Segmentation, Step, step_names
from dataset_adapters import Sample, SampleError
from evaluation.run.prepare import Prepared
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import segment_samples
from results import SampleRecord
from results.pages import (
    LabelShown,
    OutcomeShown,
    Picture,
    QueryShown,
    SampleShown,
    SegmentationShown,
    StepShown,
)
from support.arrays import RGBArray

_WIDTH = 480  # of image, target and prediction, pixels
_TILE = 176  # of a proposal or prompted image
_QUALITY = 72
_TILES = 8  # queries a step with pictures
_MAX_HEIGHT = 2  # of a picture, in widths


@dataclass(frozen=True)
class Choice:
    """A sample to show. group: best, worst or random. figure: its own headline figure in 0..1."""

    record: SampleRecord
    group: str
    figure: float


def choose(records: Sequence[SampleRecord], figures: npt.NDArray[np.float64], count: int, seed: int) -> list[Choice]:
    """Up to ``count`` best, worst and random samples each, none twice; those without a figure or failed are left out.

    Where there are too few for best and worst, half are the best, the rest the worst; one alone counts as best.

    figures: float64 [n], NaN where undefined. Equals stand in the order of the records.
    """
    usable = [i for i, record in enumerate(records) if record.status == "ok" and not np.isnan(figures[i])]
    falling = sorted(usable, key=lambda i: -figures[i])
    best = falling[: min(count, (len(falling) + 1) // 2)]
    worst = falling[: len(best) - 1 : -1][:count]
    rest = [i for i in usable if i not in {*best, *worst}]
    drawn = np.random.default_rng(seed).permutation(len(rest))[:count]
    groups = {"best": best, "worst": worst, "random": [rest[i] for i in sorted(drawn)]}
    return [Choice(records[i], group, float(figures[i])) for group, chosen in groups.items() for i in chosen]


def draw_sample(choice: Choice, prepared: Prepared) -> SampleShown | None:
    """Segment a chosen sample again and draw it; None where its files cannot be read any more."""
    position = prepared.dataset.ids.index(choice.record.id)
    try:
        sample = prepared.dataset[position]
    except SampleError:
        return None
    [found] = segment_samples([sample], prepared.car, prepared.dataset.label_space, trace=True)
    scorer = prepared.scorer
    again = scorer.scored(sample, found, 0.0)
    differs = again.counts != choice.record.counts
    return _shown(choice, sample, found, scorer, _mismatch(scorer, again) if differs else "")


def draw_segmentation(found: Segmentation) -> SegmentationShown:
    """A segmentation made with ``trace=True``, drawn for a page. Raises ValueError for one without its image."""
    colors, config = query_colors(found), found.config
    assert config is not None
    size = fitting_size(require_image(found), LEAST_SIDE)
    return SegmentationShown(
        masks=_picture(masks_over_image(found, size)),
        queries=tuple(
            OutcomeShown(
                query=query,
                color=_hex(colors[index]),
                kept=index in found.kept,
                score=float(found.scores[index]),
                area=float(found.masks[index].mean()),
                outcome="kept" if index in found.kept else dropped_in(found, index),
            )
            for index, query in enumerate(found.queries)
        ),
        steps=_steps(found, config.eta),
        theta=config.theta,
    )


def _mismatch(scorer: Scorer, again: SampleRecord) -> str:
    figure = scorer.sample_figures([again])[0]
    return (
        "segmented again for this report, with other code, packages or device than the run: its counts are not those "
        f"of the record (here {'undefined' if np.isnan(figure) else f'{100 * figure:.1f} %'})"
    )


def _shown(choice: Choice, sample: Sample, found: Segmentation, scorer: Scorer, note: str) -> SampleShown:
    target, prediction = scorer.labels(sample.target), scorer.prediction(found, sample).astype(np.int32)
    size = _size(sample.image, _WIDTH)
    image = resized(sample.image, size)
    labels = scorer.labels_in(target, prediction)
    colors = {label: label_color(place) for place, label in enumerate(labels)}
    per_class = scorer.summarize({choice.record.id: choice.record}).get("per_class", ())
    ious = {entry["label"]: entry["iou"] for entry in per_class}
    texts = dict(zip(sample.query_labels, sample.queries, strict=bool(sample.query_labels)))
    config = found.config  # None of a method without a recurrence
    return SampleShown(
        id=sample.id,
        group=choice.group,
        figure=choice.figure,
        queries=sample.queries,
        labels=tuple(
            LabelShown(name, _hex(colors[label]), ious.get(label), texts.get(label, ""))
            for label, name in labels.items()
        ),
        image=_picture(image),
        target=_picture(overlay(image, target, colors)),
        prediction=_picture(overlay(image, prediction, colors)),
        steps=_steps(found, config.eta) if config else (),
        theta=config.theta if config else None,
        note=note,
        figure_name=scorer.words.sample_figure,
        target_note="" if target.any() else "nothing",
    )


def _steps(found: Segmentation, eta: float) -> tuple[StepShown, ...]:
    pictured = set(most_telling(found, _TILES))
    names = step_names(found.steps)
    return tuple(
        StepShown(name, tuple(_queries(found, step, eta, pictured)))
        for name, step in zip(names, found.steps, strict=True)
    )


def _queries(found: Segmentation, step: Step, eta: float, pictured: set[int]) -> list[QueryShown]:
    """The queries of a step, best score first."""
    falling = sorted(range(len(step.queries)), key=lambda place: -step.scores[place])
    return [
        QueryShown(
            query=found.queries[step.queries[place]],
            score=float(step.scores[place]),
            kept=step.queries[place] in step.kept,
            **(_tiles(found, step, place, eta) if step.queries[place] in pictured else {}),
        )
        for place in falling
    ]


def _tiles(found: Segmentation, step: Step, place: int, eta: float) -> dict[str, Any]:
    assert found.image is not None
    assert step.proposals is not None
    assert step.prompted is not None
    size = _size(found.image, _TILE)
    return {
        "proposal": _picture(heat_map(resized(found.image, size), step.proposals[place], eta)),
        "prompted": _picture(resized(step.prompted[place], size)),
    }


def _size(image: RGBArray, width: int) -> tuple[int, int]:
    """Height and width of the image at that width, or less where it would become too high."""
    ratio = image.shape[0] / image.shape[1]
    shrunk = min(1.0, _MAX_HEIGHT / ratio)
    return max(1, round(shrunk * ratio * width)), max(1, round(shrunk * width))


def _picture(picture: RGBArray) -> Picture:
    return Picture(encode(picture, "webp", quality=_QUALITY), picture.shape[1], picture.shape[0])


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
