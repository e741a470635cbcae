"""From a sample and its segmentation to the record that is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from evaluation.tasks.artifacts import Saving
from evaluation.tasks.registry import RunningFigure, metrics_for
from evaluation.tasks.resampling import sample_figures
from results import RunHeader, SampleRecord, write_label_map
from results.run_directory.sample_files import LABEL_MAPS, is_whole

Target = npt.NDArray[Any]  # int32 labels or bool [H, W], or bool [n, H, W], by task
_SAMPLE_FIGURES = {"video": "J&F"}  # by task, where it is no IoU


@dataclass(frozen=True)
class Scorer:
    """Counts predictions against targets: by task, in one label space, with the task's scoring options."""

    task: str
    label_space: LabelSpace
    scoring: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None  # run directory, for predictions that are kept as files
    saving: Saving = field(default_factory=Saving)  # what the user wants kept

    @classmethod
    def of_run(cls, header: RunHeader) -> Scorer:
        """The scorer that a run's records were made with."""
        task, protocol = header.benchmark.task, header.identity_fields.get("protocol") or {}
        scoring = {name: protocol[name] for name in metrics_for(task).choices if name in protocol}
        return cls(task, LabelSpace.from_dict(header.benchmark.label_space), scoring)

    def scored(self, sample: Sample, segmentation: Segmentation, decode_seconds: float) -> SampleRecord:
        """The record of a segmented sample."""
        prediction = self.prediction(segmentation, sample)
        self._keep(sample.id, prediction, segmentation)
        return SampleRecord(
            id=sample.id,
            status="ok",
            counts=self._count(sample.target, prediction),
            queries_kept=[segmentation.queries[i] for i in segmentation.kept],
            steps=len(segmentation.steps),
            seconds={"decode": decode_seconds, **segmentation.seconds},
        )

    def prediction(self, segmentation: Segmentation, sample: Sample) -> Target:
        """What of a segmentation is compared with the target: int32 labels or bool, [H, W]."""
        return TASKS[self.task].prediction(segmentation, sample, self.label_space)

    def labels(self, target: Target) -> npt.NDArray[np.int32]:
        """The target as the labels that a prediction of it has, int32 [H, W]."""
        return np.asarray(TASKS[self.task].labels(target), np.int32)

    def failed(self, sample_id: str, error: str, target: Target | None) -> SampleRecord:
        """The record of a sample that could not be read or segmented: an empty prediction where there is a target."""
        counts = {}
        if target is not None:
            prediction = TASKS[self.task].nothing(target)
            self._keep(sample_id, prediction, None)
            counts = self._count(target, prediction)
        return SampleRecord(id=sample_id, status="failed", error=error, counts=counts)

    def summarize(self, records: Mapping[str, SampleRecord]) -> dict[str, Any]:
        """Metrics of a run from its records by id."""
        return metrics_for(self.task).summarize(records.values(), *self._run_arguments(), **self.scoring)

    @property
    def headline(self) -> str:
        """Name of the figure that runs are compared by."""
        return metrics_for(self.task).headline

    @property
    def sample_figure_name(self) -> str:
        """What the headline figure of one sample is called."""
        return _SAMPLE_FIGURES.get(self.task, "IoU")

    def sample_figures(self, records: Sequence[SampleRecord]) -> npt.NDArray[np.float64]:
        """One figure in 0..1 a sample, float64 [n]; NaN where it is undefined."""
        return sample_figures(records, self.running)

    def resampled_figures(
        self, records: Sequence[SampleRecord], weights: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """The headline figure of resamples, float64 [B]; weights int64 [B, n]: how often each record occurs.

        Raises ValueError for a task without (see `can_resample`).
        """
        resampled = metrics_for(self.task).resampled_figures
        if resampled is None:
            raise ValueError(f"task: expected one whose samples can be drawn independently, found {self.task}")
        return resampled(records, weights, *self._run_arguments(), **self.scoring)

    @property
    def can_resample(self) -> bool:
        """Whether the task's samples are independent draws."""
        return metrics_for(self.task).resampled_figures is not None

    def labels_in(self, target: Target, prediction: Target) -> dict[int, str]:
        """Names of the labels to be drawn of a sample, by label: what is in either, background and ignored left out.

        target, prediction: int32 [H, W], as `labels` and `prediction` give them.
        """
        return TASKS[self.task].labels_in(target, prediction, self.label_space)

    def running(self) -> RunningFigure:
        """A headline figure to be fed with records."""
        return metrics_for(self.task).running(*self._run_arguments(), **self.scoring)

    def is_kept(self, sample_id: str) -> bool:
        """Whether the run directory has all files of a sample that task and user want kept, each whole."""
        if self.folder is None:
            return True
        own = [_label_map_path(self.folder, sample_id)] if TASKS[self.task].keeps_label_maps else []
        return all(map(is_whole, own)) and self.saving.is_saved(self.folder, sample_id)

    def _keep(self, sample_id: str, prediction: Target, segmentation: Segmentation | None) -> None:
        """Write the files that task and user want kept: before the record, so that a record always has its files."""
        if self.folder is None:
            return
        if TASKS[self.task].keeps_label_maps:
            write_label_map(_label_map_path(self.folder, sample_id), prediction)
        self.saving.save(self.folder, sample_id, prediction, segmentation, self.label_space.mask_values)

    def _count(self, target: Target, prediction: Target) -> dict[str, Any]:
        arguments = TASKS[self.task].count_arguments(self.label_space)
        return metrics_for(self.task).count(target, prediction, *arguments, **self.scoring)

    def _run_arguments(self) -> tuple[Any, ...]:
        return TASKS[self.task].run_arguments(self.label_space)


def predicted_labels(segmentation: Segmentation, sample: Sample, label_space: LabelSpace) -> npt.NDArray[np.int32]:
    """The label map in the data set's label ids, int32 [H, W]; 0 where no query was found."""
    return _relabelled(segmentation, label_space.queries, label_space.query_labels)


def predicted_objects(segmentation: Segmentation, sample: Sample, label_space: LabelSpace) -> npt.NDArray[np.int32]:
    """The object of each pixel, int32 [H, W], 1 first; 0 where no query was found. The objects compete for pixels."""
    return _relabelled(segmentation, sample.queries, sample.query_labels)


def _relabelled(segmentation: Segmentation, queries: Sequence[str], labels: Sequence[int]) -> npt.NDArray[np.int32]:
    label_of = dict(zip(queries, labels, strict=True))
    lookup = np.array([0, *(label_of[query] for query in segmentation.queries)], np.int32)
    return np.asarray(lookup[segmentation.label_map], np.int32)


def predicted_mask(segmentation: Segmentation, sample: Sample, label_space: LabelSpace) -> npt.NDArray[np.bool_]:
    """The one mask of all sentences, bool [H, W]. Raises ValueError for a segmentation of another mode."""
    if segmentation.merged_mask is None:
        raise ValueError("mode: expected a segmentation in referring mode, found one without a merged mask")
    return segmentation.merged_mask


def object_labels(target: Target) -> npt.NDArray[np.int32]:
    """The object of each pixel, int32 [H, W], from masks bool [n, H, W] that do not overlap."""
    numbers = np.arange(1, len(target) + 1, dtype=np.int32)
    return np.asarray(np.tensordot(numbers, target.astype(np.int32), axes=1), np.int32)


def union(target: Target) -> npt.NDArray[np.bool_]:
    """The pixels of any object, bool [H, W], from masks bool [n, H, W]."""
    return np.asarray(target.any(axis=0))


def _label_map_path(folder: Path, sample_id: str) -> Path:
    """label_maps/<annotation set>/<video>/<frame>.png: each set is what davis2017-evaluation takes as results."""
    return folder / LABEL_MAPS / f"{sample_id}.png"


def labels_of_pair(target: Target, prediction: Target, label_space: LabelSpace) -> dict[int, str]:
    """Class names by label of what a target or a prediction int32 [H, W] holds, 0 and ignored pixels left out."""
    found = _labels_of_pair(target, prediction)
    return {label: label_space.labels[label] for label in found if label != label_space.ignore_label}


def objects_of_pair(target: Target, prediction: Target, label_space: LabelSpace) -> dict[int, str]:
    """Names by number of the objects that a target or a prediction int32 [H, W] holds."""
    return {label: f"object {label}" for label in _labels_of_pair(target, prediction)}


def _labels_of_pair(target: Target, prediction: Target) -> list[int]:
    return sorted({int(label) for array in (target, prediction) for label in np.unique(array)} - {0})


@dataclass(frozen=True)
class Task:
    """How a task is scored beside its metrics.

    prediction: what of a segmentation is compared with the target. labels: a target as such a
    prediction. nothing: an empty one for a target.
    count_arguments, run_arguments: what the metrics' `count`, and their other functions, take of the label space.
    labels_in: names of the labels that a picture of a target and a prediction shows. keeps_label_maps: whether
    predictions are also written as label maps below the run directory.
    """

    prediction: Callable[[Segmentation, Sample, LabelSpace], Target]
    labels: Callable[[Target], Target] = np.asarray
    nothing: Callable[[Target], Target] = np.zeros_like
    keeps_label_maps: bool = False
    count_arguments: Callable[[LabelSpace], tuple[Any, ...]] = lambda space: ()
    run_arguments: Callable[[LabelSpace], tuple[Any, ...]] = lambda space: ()
    labels_in: Callable[[Target, Target, LabelSpace], dict[int, str]] = objects_of_pair


TASKS: Mapping[str, Task] = {
    "semantic": Task(
        prediction=predicted_labels,
        count_arguments=lambda space: (len(space.labels), space.ignore_label),
        run_arguments=lambda space: (space.labels, space.scored_labels),
        labels_in=labels_of_pair,
    ),
    "referring": Task(prediction=predicted_mask),
    "generalized": Task(
        prediction=predicted_mask, labels=union, nothing=lambda target: np.zeros(target.shape[1:], np.bool_)
    ),
    "video": Task(
        prediction=predicted_objects,
        labels=object_labels,
        nothing=lambda target: np.zeros(target.shape[1:], np.int32),
        keeps_label_maps=True,
    ),
}
