"""From a sample and its segmentation to the record that is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from evaluation.metrics import RunningFigure, metrics_for
from results import SampleRecord

Target = npt.NDArray[Any]  # int32 labels or bool [H, W], by task


@dataclass(frozen=True)
class Scorer:
    """Counts predictions against targets: by task, in one label space, with the task's scoring options."""

    task: str
    label_space: LabelSpace
    scoring: Mapping[str, str] = field(default_factory=dict)

    def scored(self, sample: Sample, segmentation: Segmentation, decode_seconds: float) -> SampleRecord:
        """The record of a segmented sample."""
        return SampleRecord(
            id=sample.id,
            status="ok",
            counts=self._count(sample.target, self.prediction(segmentation)),
            queries_kept=[segmentation.queries[i] for i in segmentation.kept],
            steps=len(segmentation.steps),
            seconds={"decode": decode_seconds, **segmentation.seconds},
        )

    def prediction(self, segmentation: Segmentation) -> Target:
        """What of a segmentation is compared with the target, of its kind: int32 labels or bool [H, W]."""
        return TASKS[self.task].prediction(segmentation, self.label_space)

    def failed(self, sample_id: str, error: str, target: Target | None) -> SampleRecord:
        """The record of a sample that could not be read or segmented: an empty prediction where there is a target."""
        counts = {} if target is None else self._count(target, np.zeros_like(target))
        return SampleRecord(id=sample_id, status="failed", error=error, counts=counts)

    def summarize(self, records: Mapping[str, SampleRecord]) -> dict[str, Any]:
        """Metrics of a run from its records by id."""
        return metrics_for(self.task).summarize(records.values(), *self._run_arguments(), **self.scoring)

    def running(self) -> RunningFigure:
        """A headline figure to be fed with records."""
        return metrics_for(self.task).running(*self._run_arguments(), **self.scoring)

    def _count(self, target: Target, prediction: Target) -> dict[str, Any]:
        arguments = TASKS[self.task].count_arguments(self.label_space)
        return metrics_for(self.task).count(target, prediction, *arguments, **self.scoring)

    def _run_arguments(self) -> tuple[Any, ...]:
        return TASKS[self.task].run_arguments(self.label_space)


def predicted_labels(segmentation: Segmentation, label_space: LabelSpace) -> npt.NDArray[np.int32]:
    """The label map in the data set's label ids, int32 [H, W]; 0 where no query was found."""
    label_of = dict(zip(label_space.queries, label_space.query_labels, strict=True))
    lookup = np.array([0, *(label_of[query] for query in segmentation.queries)], np.int32)
    return np.asarray(lookup[segmentation.label_map], np.int32)


def predicted_mask(segmentation: Segmentation, label_space: LabelSpace) -> npt.NDArray[np.bool_]:
    """The one mask of all sentences, bool [H, W]. Raises ValueError for a segmentation of another mode."""
    if segmentation.merged_mask is None:
        raise ValueError("mode: expected a segmentation in referring mode, found one without a merged mask")
    return segmentation.merged_mask


@dataclass(frozen=True)
class Task:
    """How a task is scored beside its metrics.

    prediction: what of a segmentation is compared with the target. count_arguments,
    run_arguments: what the metrics' `count`, and their `summarize` and `running`, take of the label space.
    """

    prediction: Callable[[Segmentation, LabelSpace], Target]
    count_arguments: Callable[[LabelSpace], tuple[Any, ...]] = lambda space: ()
    run_arguments: Callable[[LabelSpace], tuple[Any, ...]] = lambda space: ()


TASKS: Mapping[str, Task] = {
    "semantic": Task(
        prediction=predicted_labels,
        count_arguments=lambda space: (len(space.labels), space.ignore_label),
        run_arguments=lambda space: (space.labels, space.scored_labels),
    ),
    "referring": Task(prediction=predicted_mask),
    "generalized": Task(prediction=predicted_mask),
}
