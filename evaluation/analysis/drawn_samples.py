"""Samples of a run segmented again and drawn: for its report, its contact sheet, and the web demo.

Records hold only integer counts, so pictures need the images and the models again. Which samples are best and worst is
known only after the run, so a run need not decide in advance which ones will be looked at. The report compares each
sample's new counts with its record, so a picture never illustrates another run's figures.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from car_core.drawing import enlarged, most_telling
from car_core.segmentation import Segmentation
from car_core.steps import step_names
from dataset_adapters import Dataset, Sample, SampleError
from evaluation.request.benchmark import BenchmarkError
from evaluation.run.prepare import Prepared
from evaluation.tasks.coco_json import CocoWriter
from evaluation.tasks.extra_metrics import COUNTS
from evaluation.tasks.segmenter import segment_samples
from evaluation.tasks.task import find_task
from results import SampleRecord
from results.pages.contact_sheet import Example
from results.pages.gallery import LabelShown, MaskShown, QueryShown, SampleShown, SegmentationShown, StepShown
from results.run_directory.label_maps import encode_label_map
from support.arrays import Int32Array, RGBArray
from support.drawing import EncodedImage, draw_heat_map, draw_layer, encode, hex_color, label_color, resize_image

_WIDTH = 480  # of image, target and prediction, pixels
_TILE = 176  # of a proposal or prompted image
_QUALITY = 72
_TILES = 8  # queries per step with pictures
_MAX_RATIO = 2  # height to width of a picture


@dataclass(frozen=True)
class Choice:
    """A sample to show. group: best, worst or random. figure: its headline metric in 0..1."""

    record: SampleRecord
    group: str
    figure: float


def choose(records: Sequence[SampleRecord], figures: npt.NDArray[np.float64], count: int, seed: int) -> list[Choice]:
    """Up to ``count`` best, worst and random samples each, none twice; failed ones and those without a figure never.

    If there are too few, half of them are the best and the rest the worst; a single one counts as best.

    figures: float64 [n], NaN where undefined. Ties keep the order of the records.
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
    """Segment a chosen sample again and draw it; None if its files can no longer be read.

    Raises BenchmarkError for one that the data set does not have.
    """
    dataset, scorer = prepared.dataset, prepared.scorer
    if choice.record.id not in dataset.ids:
        raise BenchmarkError(f"samples.jsonl: expected samples of {dataset.name}, found {choice.record.id!r}")
    segmented = _segment(prepared, dataset, dataset.ids.index(choice.record.id), trace=True)
    if segmented is None:
        return None
    sample, segmentation, target, prediction = segmented
    note, record = "", scorer.record_of(sample, segmentation, 0.0)
    before, now = ({**each.counts, COUNTS: None} for each in (choice.record, record))  # metrics are not counted again
    if before != now:
        [figure] = scorer.sample_figures([record])
        note = (
            "segmented again for this report, with other code, packages or device than the run: its counts are not "
            f"those of the record (here {'undefined' if np.isnan(figure) else f'{100 * figure:.1f} %'})"
        )
    labels = find_task(dataset.task).names(target, prediction, scorer.label_space)
    colors = {label: label_color(position) for position, label in enumerate(labels)}
    per_class = scorer.summarize({choice.record.id: choice.record}).get("per_class", ())
    ious = {entry["label"]: entry["iou"] for entry in per_class}
    texts = dict(zip(sample.query_labels, sample.queries, strict=bool(sample.query_labels)))
    image = _at_width(sample.image, _WIDTH)

    def layer(labels: Int32Array, label: int) -> EncodedImage | None:
        area, (height, width) = labels == label, image.shape[:2]
        return encode(draw_layer(area, (height, width), colors[label]), "webp", lossless=True) if area.any() else None

    config = segmentation.config  # None for a method without a recurrence
    return SampleShown(
        id=sample.id,
        group=choice.group,
        figure=choice.figure,
        queries=sample.queries,
        labels=tuple(
            LabelShown(
                name,
                hex_color(colors[label]),
                ious.get(label),
                texts.get(label, ""),
                target=layer(target, label),
                prediction=layer(prediction, label),
            )
            for label, name in labels.items()
        ),
        image=_encoded(image),
        steps=_draw_steps(segmentation, config.eta) if config else (),
        theta=config.theta if config else None,
        note=note,
        figure_name=scorer.words.sample_figure,
        target_note="" if target.any() else "nothing",
    )


def previews(prepared: Prepared, count: int, *, before_each: Callable[[], None] = lambda: None) -> list[Example]:
    """Segment up to ``count`` samples, spread evenly over those selected for the run, for its contact sheet.

    Unreadable samples are left out; the run lists them. before_each: called before each sample; what it raises ends
    the work.
    """
    dataset, scorer = prepared.selected, prepared.scorer
    space = prepared.dataset.label_space
    examples = []
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int).tolist():
        before_each()
        segmented = _segment(prepared, dataset, index, trace=False)
        if segmented is None:
            continue
        sample, segmentation, target, prediction = segmented
        caption = ""
        if not space.queries:  # the texts are the sample's: they say more than a legend
            [figure] = scorer.sample_figures([scorer.record_of(sample, segmentation, 0.0)])
            percent = "-" if np.isnan(figure) else f"{100 * figure:.1f}"
            # The figure comes first: captions are cut at the end.
            caption = f"{scorer.words.sample_figure} {percent}  {' / '.join(sample.queries)}"
        names = {**dict(enumerate(space.labels)), **dict(zip(sample.query_labels, sample.queries, strict=False))}
        examples.append(Example(sample.image, target, prediction, names, space.ignore_label, caption))
    return examples


def draw_segmentation(segmentation: Segmentation, path: Path) -> SegmentationShown:
    """A segmentation made with ``trace=True``, drawn for a page. Raises ValueError for one without its image.

    path: of the image, for the names of files.
    """
    config, outcomes, scores = segmentation.config, segmentation.outcomes(), segmentation.scores
    assert config is not None
    image = enlarged(segmentation.required_image())
    size = image.shape[0], image.shape[1]
    if segmentation.merged_mask is None:  # the order of paint_labels, so that all masks together are the label map
        order = sorted(segmentation.kept, key=lambda i: (scores[i], i), reverse=True)
        masks = [(outcomes[i].query, outcomes[i].color, segmentation.masks[i]) for i in order]
    else:
        masks = [("the mask of all phrases", label_color(0), segmentation.merged_mask)]
    document = CocoWriter(segmentation.queries, coco := io.StringIO())
    document.add(str(path), segmentation)
    document.close()
    labels = segmentation.drawn_labels
    return SegmentationShown(
        image=_encoded(image),
        masks=tuple(
            MaskShown(name, hex_color(color), encode(draw_layer(mask, size, color), "webp", lossless=True))
            for name, color, mask in masks
        ),
        queries=outcomes,
        steps=_draw_steps(segmentation, config.eta),
        theta=config.theta,
        name=path.stem,
        label_map=EncodedImage(encode_label_map(labels), labels.shape[1], labels.shape[0], "image/png"),
        coco=coco.getvalue(),
    )


def _segment(
    prepared: Prepared, dataset: Dataset, index: int, *, trace: bool
) -> tuple[Sample, Segmentation, Int32Array, Int32Array] | None:
    """A sample, its segmentation, and target and prediction as labels [H, W]; None if it cannot be read."""
    try:
        sample = dataset[index]
    except SampleError:
        return None
    [segmentation] = segment_samples([sample], prepared.segmenter, prepared.dataset.label_space, trace=trace)
    target = find_task(dataset.task).target_labels(sample.target).astype(np.int32)
    return sample, segmentation, target, prepared.scorer.prediction(segmentation, sample).astype(np.int32)


def _draw_steps(segmentation: Segmentation, eta: float) -> tuple[StepShown, ...]:
    """Every step with its queries, best score first; the most telling ones with pictures."""
    image = _at_width(segmentation.required_image(), _TILE)
    pictured = set(most_telling(segmentation.steps, segmentation.outcomes(), _TILES))
    shown = []
    for name, step in zip(step_names(segmentation.steps), segmentation.steps, strict=True):
        assert step.proposals is not None
        assert step.prompted is not None
        queries = []
        for position in np.argsort(-step.scores, kind="stable").tolist():
            index = step.queries[position]
            proposal = prompted = None
            if index in pictured:
                proposal = _encoded(draw_heat_map(image, step.proposals[position], eta))
                prompted = _encoded(_at_width(step.prompted[position], _TILE))
            score = float(step.scores[position])
            queries.append(QueryShown(segmentation.queries[index], score, index in step.kept, proposal, prompted))
        shown.append(StepShown(name, tuple(queries)))
    return tuple(shown)


def _at_width(image: RGBArray, width: int) -> RGBArray:
    """The image at that width, or narrower if it would become too high."""
    ratio = image.shape[0] / image.shape[1]
    shrunk = width * min(1.0, _MAX_RATIO / ratio)
    return resize_image(image, (max(1, round(shrunk * ratio)), max(1, round(shrunk))))


def _encoded(picture: RGBArray) -> EncodedImage:
    return encode(picture, "webp", quality=_QUALITY)
