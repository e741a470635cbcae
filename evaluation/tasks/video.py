"""Video object segmentation: the metrics of DAVIS, region similarity J, contour accuracy F and their mean J&F.

J is the IoU of an object in a frame, F the F-measure of its contour, where a contour pixel is matched if the other
contour has a pixel within a bound (Perazzi et al., "A benchmark dataset and evaluation methodology for video object
segmentation", CVPR 2016). Definitions and conventions are those of davis2017-evaluation. A frame contributes integers
for every pair of a target and a predicted object; every figure comes from these, so any order and any sharding of the
frames gives the same bits. A frame's id is "<annotation set>/<video>/<frame>"; without annotation sets (MeViS), it is
"<video>/<expression>/<frame>".
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from dataset_adapters.base.adapter import annotation_sets
from evaluation.tasks.semantic import relabeled
from evaluation.tasks.task import Accumulator, Options, Task, mean, register
from results import SampleRecord
from results.tables.task_words import VIDEO
from support.arrays import BoolArray, Int32Array

# Greatest distance of two matched contour pixels, as a share of the image's diagonal; rounded up to whole pixels.
BOUND = 0.008

# The sets of expressions that Ref-DAVIS 2017 averages over. MeViS has none: each of its expressions is a video of one
# object, all that is meant.
ANNOTATION_SETS = ("anno_0", "anno_1", "anno_2", "anno_3")


class DavisTask(NamedTuple):
    """How davis2017-evaluation scores a video.

    matches: are predicted ids matched to the objects'? end_frames: do they count? void: is it left out, as it is in
    `Annotations_unsupervised`? (`semi-supervised` is made for the folder `Annotations`, which has none, and takes void
    as background.)
    """

    matches: bool
    end_frames: bool
    void: bool


# "unsupervised" is what ReferFormer's evaluation of Ref-DAVIS runs: an expression that finds another object of the
# video than its own is forgiven.
DAVIS_TASKS: Mapping[str, DavisTask] = {
    "unsupervised": DavisTask(matches=True, end_frames=True, void=True),
    "semi-supervised": DavisTask(matches=False, end_frames=False, void=False),
}

NO_FRAME = "no frame with a known target"


class Pair(NamedTuple):
    """One target object and one predicted object of a frame, in pixels.

    target, prediction: ids, 1 first. intersection, union: of the masks. target_contour, predicted_contour: lengths of
    the contours. target_matched, predicted_matched: how much of each has the other within the bound.
    """

    target: int
    prediction: int
    intersection: int
    union: int
    target_contour: int
    predicted_contour: int
    target_matched: int
    predicted_matched: int

    @property
    def j(self) -> float:
        """Region similarity, 0..1; 1 where both masks are empty."""
        return self.intersection / self.union if self.union else 1.0

    @property
    def f(self) -> float:
        """Contour accuracy, 0..1: 1 where neither has a contour, 0 where only one of them has."""
        if not (self.target_contour and self.predicted_contour):
            return float(self.target_contour == self.predicted_contour)
        precision = self.predicted_matched / self.predicted_contour
        recall = self.target_matched / self.target_contour
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def count_sample(target: BoolArray, prediction: Int32Array, davis_task: str = "unsupervised") -> dict[str, Any]:
    """The `counts` of one frame's record.

    target: bool [n, H, W], the masks of the video's objects 1..n. prediction: int32 [H, W], the object of each pixel, 0
    for none; ids above n are none either. See `without_void`. davis_task: a key of `DAVIS_TASKS`; the counts do not
    depend on it. Returns {"pairs": the fields of a `Pair` as a list of integers for each target and predicted object,
    in their order}. Raises ValueError: an array has another type or number of axes, or the sizes differ.
    """
    if target.ndim != 3 or target.dtype != np.bool_:
        raise ValueError(f"target must be a bool [n, H, W] array, found {target.dtype} {list(target.shape)}")
    if prediction.ndim != 2 or prediction.dtype.kind not in "iu":
        raise ValueError(
            f"prediction must be an integer [H, W] array, found {prediction.dtype} {list(prediction.shape)}"
        )
    if target.shape[1:] != prediction.shape:
        raise ValueError(f"target has shape {target.shape}, prediction has shape {prediction.shape}")
    targets = [_outlined(mask) for mask in target]
    predictions = [_outlined(prediction == label) for label in range(1, len(target) + 1)]
    pairs = []
    for t, (mask, edge, near) in enumerate(targets, start=1):
        for p, (other, other_edge, other_near) in enumerate(predictions, start=1):
            counted = (mask & other, mask | other, edge, other_edge, edge & other_near, other_edge & near)
            pairs.append([t, p, *(int(pixels.sum()) for pixels in counted)])
    return {"pairs": pairs}


def contour(mask: BoolArray) -> BoolArray:
    """The pixels whose neighbor to the right, below, or right and below differs; bool [H, W] to bool [H, W].

    This is a contour one pixel wide, half a pixel towards the origin of the true one, as in davis2017-evaluation
    (after Martin et al.'s segmentation benchmark). The image's border is not a contour.

    >>> contour(np.array([[True, True, False], [True, True, False]])).astype(int)
    array([[0, 1, 0],
           [0, 1, 0]])
    """
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return np.asarray((mask != beyond[:-1, 1:]) | (mask != beyond[1:, :-1]) | (mask != beyond[1:, 1:]))


def bound_pixels(height: int, width: int) -> int:
    """Greatest distance of two matched contour pixels."""
    return math.ceil(BOUND * math.hypot(height, width))


def _outlined(mask: BoolArray) -> tuple[BoolArray, BoolArray, BoolArray]:
    """A mask, its contour, and the pixels within the bound of the contour; bool [H, W] each."""
    import cv2  # only to score: user errors are reported before it is loaded

    edge, radius = contour(mask), bound_pixels(*mask.shape)
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, np.newaxis] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    return mask, edge, np.asarray(cv2.dilate(edge.astype(np.uint8), disk), np.bool_)


class VideoAccumulator(Accumulator):
    """The pairs of each frame. `per_object` has {annotation_set, video, object, predicted, j, f} for each object.

    Without annotation sets, `annotation_set` is the video and `video` the expression.

    davis_task: a key of `DAVIS_TASKS`. sets: the annotation sets, or none. Raises ValueError: an unknown option. `add`
    raises it also for an id of another form, `figures` where the frames of a video differ in their objects.
    """

    def __init__(self, davis_task: str = "unsupervised", sets: Sequence[str] = ANNOTATION_SETS) -> None:
        described = reductions(davis_task, sets)
        super().__init__(described, dict.fromkeys(described, NO_FRAME))
        self._task, self._sets = DAVIS_TASKS[davis_task], sets
        self._frames: dict[tuple[str, str], list[_Frame]] = defaultdict(list)  # by annotation set and video

    def running_figure(self) -> float | None:
        """The mean of the objects' J and F over the frames, predicted objects as named."""
        return self.sums.ratio("j_and_f", "known")

    def count(self, record: SampleRecord) -> None:
        parts = record.id.split("/")
        if len(parts) != 3 or (self._sets and parts[0] not in self._sets):
            sets = f"<{self._sets[0]}..{self._sets[-1]}>/<video>" if self._sets else "<video>/<expression>"
            expected = f"{sets}/<frame>"
            raise ValueError(f"record {record.id!r}: id: expected {expected}")
        pairs = _pairs(record) if record.counts or record.status == "ok" else None
        self._frames[parts[0], parts[1]].append(_Frame(record.id, record.status, pairs))
        if pairs is not None:
            as_named = [(pair.j + pair.f) / 2 for pair in pairs if pair.target == pair.prediction]
            self.sums.add({"known": 1, "j_and_f": mean(as_named) or 0.0})

    def values(self) -> dict[str, float | None]:
        values = _means(self._objects("ok", "failed"), self._sets)
        means = {name: values[name] for name in ("j_and_f", "j", "f")}
        return {**means, "j_and_f_scored_only": _means(self._objects("ok"), self._sets)["j_and_f"], **values}

    def details(self) -> dict[str, Any]:
        return {"per_object": [vars(each).copy() for each in self._objects("ok", "failed")]}

    def _objects(self, *statuses: str) -> list[_Object]:
        """The objects of all videos, with their J and F over the frames of these statuses.

        None of a video in which no such frame has a known target.
        """
        objects = []
        for (annotation_set, video), frames in sorted(self._frames.items()):
            in_order = sorted(frames)
            # The end frames go first: a frame that failed must not make its neighbor one.
            inner = in_order if self._task.end_frames else in_order[1:-1]
            counted = [frame.pairs for frame in inner if frame.pairs is not None and frame.status in statuses]
            if len(numbers := {len(pairs) for pairs in counted}) > 1:
                raise ValueError(
                    f"records of {annotation_set}/{video}: expected the same objects in all frames, found "
                    f"{sorted(numbers)} pairs"
                )
            # Mean J and F over the frames by target and predicted object; each frame has the same pairs in order.
            table = {
                (same[0].target, same[0].prediction): (
                    math.fsum(pair.j for pair in same) / len(same),
                    math.fsum(pair.f for pair in same) / len(same),
                )
                for same in zip(*counted, strict=True)
            }
            assigned = ids = list(range(1, math.isqrt(len(table)) + 1))
            if self._task.matches and ids:  # so that the mean J&F is greatest (Hungarian algorithm)
                from scipy.optimize import linear_sum_assignment

                gains = np.array([[math.fsum(table[target, predicted]) / 2 for predicted in ids] for target in ids])
                assigned = [ids[column] for column in linear_sum_assignment(gains, maximize=True)[1]]
            objects += [
                _Object(annotation_set, video, target, predicted, *table[target, predicted])
                for target, predicted in zip(ids, assigned, strict=True)
            ]
        return objects


def reductions(davis_task: str, sets: Sequence[str] = ANNOTATION_SETS) -> dict[str, str]:
    """What each figure averages over, in words. Raises ValueError for an unknown option."""
    if davis_task not in DAVIS_TASKS:
        raise ValueError(f"davis_task: expected one of {', '.join(DAVIS_TASKS)}, found {davis_task!r}")
    task = DAVIS_TASKS[davis_task]
    void = "void pixels are left out" if task.void else "void pixels of Annotations_unsupervised are background"
    ids = "best assignment of predicted to true objects a video" if task.matches else "predicted objects as named"
    frames = "all frames" if task.end_frames else "all frames but a video's first and last"
    means = f"an object's frames, over objects, over annotation sets with a frame; {frames}; {ids}; {void}"
    if not sets:
        means = f"an expression's frames, over expressions; {frames}; the mask of an expression is that of its objects"
    return {
        "j_and_f": "J&F: mean of j and f",
        "j": f"J, IoU: mean over {means}; a failed frame counts as an empty prediction where its target is known",
        "f": "F, F-measure of contours within 0.008 of the diagonal: averaged as j",
        "j_and_f_scored_only": "as j_and_f, but failed frames are left out",
        **{f"j_and_f_{name}": f"as j_and_f, of annotation set {name} alone" for name in sets},
    }


class _Frame(NamedTuple):
    """One frame's record. pairs: None where the target is unknown."""

    id: str
    status: str
    pairs: list[Pair] | None


@dataclass(frozen=True)
class _Object:
    """One object of a video under one annotation set: the predicted object compared with it, its J and F."""

    annotation_set: str
    video: str
    object: int
    predicted: int
    j: float
    f: float


def _means(objects: Sequence[_Object], sets: Sequence[str]) -> dict[str, float | None]:
    """J&F, J and F over objects, then over annotation sets with a frame, if there are sets; J&F of each set."""
    by_set = {name: [each for each in objects if not sets or each.annotation_set == name] for name in sets or ("all",)}
    j = {name: mean([each.j for each in own]) for name, own in by_set.items()}
    f = {name: mean([each.f for each in own]) for name, own in by_set.items()}
    mean_j, mean_f = (mean([value for value in by.values() if value is not None]) for by in (j, f))
    return {
        "j_and_f": _middle(mean_j, mean_f),
        "j": mean_j,
        "f": mean_f,
        **{f"j_and_f_{name}": _middle(j[name], f[name]) for name in sets},
    }


def _middle(j: float | None, f: float | None) -> float | None:
    return None if j is None or f is None else (j + f) / 2


def _pairs(record: SampleRecord) -> list[Pair]:
    stored = record.counts.get("pairs")
    if not isinstance(stored, list) or any(
        not isinstance(row, list) or len(row) != len(Pair._fields) or any(type(n) is not int or n < 0 for n in row)
        for row in stored
    ):
        raise ValueError(f"record {record.id!r}: counts: expected pairs of {len(Pair._fields)} integers >= 0 each")
    pairs = [Pair(*row) for row in stored]
    number = math.isqrt(len(pairs))
    if [pair[:2] for pair in pairs] != [(t, p) for t in range(1, number + 1) for p in range(1, number + 1)]:
        raise ValueError(f"record {record.id!r}: counts: expected a pair for each target and predicted object in order")
    for pair in pairs:
        if (
            pair.intersection > pair.union
            or pair.target_matched > pair.target_contour
            or pair.predicted_matched > pair.predicted_contour
        ):
            raise ValueError(f"record {record.id!r}: counts contradict each other: {list(pair)}")
    return pairs


def predicted_objects(segmentation: Segmentation, sample: Sample, space: LabelSpace) -> Int32Array:
    """The object of each pixel, int32 [H, W], 1 first; 0 where no query was found. The objects compete for pixels."""
    return relabeled(segmentation, sample.queries, sample.query_labels)


def without_void(prediction: Int32Array, sample: Sample, options: Options) -> Int32Array:
    """The prediction without objects in void pixels, if the task leaves them out: neither J nor F sees them then.

    davis2017-evaluation takes them out of both masks before it counts pixels and draws contours; targets have none.
    """
    if sample.void is None or not DAVIS_TASKS[options.get("davis_task", "unsupervised")].void:
        return prediction
    return np.where(sample.void, 0, prediction)


register(
    Task(
        name="video",
        words=VIDEO,
        prediction=predicted_objects,
        count=lambda target, prediction, space, options: count_sample(target, prediction, **options),
        accumulator=lambda space, options: VideoAccumulator(**options, sets=annotation_sets(space)),
        choices={"davis_task": tuple(DAVIS_TASKS)},
        resample=None,  # the frames of a video depend on each other
        empty=lambda target: np.zeros(target.shape[1:], np.int32),
        # The object of each pixel: masks bool [n, H, W] of one frame do not overlap.
        target_labels=lambda target: np.tensordot(np.arange(1, len(target) + 1), target.astype(np.int32), axes=1),
        keeps_label_maps=True,
        without_void=without_void,
    )
)
