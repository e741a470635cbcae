"""From a sample and its segmentation to the record that is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from evaluation.metrics import TaskMetrics
from results import SampleRecord


@dataclass(frozen=True)
class Scorer:
    """Counts predictions against targets in one label space."""

    metrics: TaskMetrics
    label_space: LabelSpace

    def scored(self, sample: Sample, segmentation: Segmentation, decode_seconds: float) -> SampleRecord:
        """The record of a segmented sample."""
        prediction = predicted_labels(segmentation, self.label_space)
        return SampleRecord(
            id=sample.id,
            status="ok",
            counts=self._count(sample.target, prediction),
            queries_kept=[segmentation.queries[i] for i in segmentation.kept],
            steps=len(segmentation.steps),
            seconds={"decode": decode_seconds, **segmentation.seconds},
        )

    def failed(self, sample_id: str, error: str, target: npt.NDArray[np.int32] | None) -> SampleRecord:
        """The record of a sample that could not be read or segmented: an empty prediction where there is a target."""
        counts = {} if target is None else self._count(target, np.zeros_like(target))
        return SampleRecord(id=sample_id, status="failed", error=error, counts=counts)

    def _count(self, target: npt.NDArray[np.int32], prediction: npt.NDArray[np.int32]) -> dict[str, Any]:
        return self.metrics.count(target, prediction, len(self.label_space.labels), self.label_space.ignore_label)

    def summarize(self, records: Mapping[str, SampleRecord]) -> dict[str, Any]:
        """Metrics of a run from its records by id."""
        return self.metrics.summarize(records.values(), self.label_space.labels, self.label_space.scored_labels)


def predicted_labels(segmentation: Segmentation, label_space: LabelSpace) -> npt.NDArray[np.int32]:
    """The label map in the data set's label ids, int32 [H, W]; 0 where no query was found."""
    label_of = dict(zip(label_space.queries, label_space.query_labels, strict=True))
    lookup = np.array([0, *(label_of[query] for query in segmentation.queries)], np.int32)
    return np.asarray(lookup[segmentation.label_map], np.int32)
