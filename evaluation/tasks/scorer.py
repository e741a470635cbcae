"""From a sample and its segmentation to the record that is kept of it, and from records to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from evaluation.tasks.extra_metrics import COUNTS, MetricError, NamedMetric, add_figures, recorded_metrics
from evaluation.tasks.saving import Saving
from evaluation.tasks.task import Accumulator, Predicted, Resampler, Target, Task, find_task, sample_figures
from results import RunHeader, SampleRecord, write_label_map
from results.run_directory.sample_files import LABEL_MAPS, is_whole
from results.tables.task_words import TaskWords
from support.arrays import Float64Array


@dataclass(frozen=True)
class Scorer:
    """Scores predictions against targets: a task in one label space, with its scoring options.

    metrics: further ones. missing: those of a run that cannot be computed here, with the reason.
    """

    task: str
    label_space: LabelSpace
    scoring: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None  # run directory, for predictions that are kept as files
    saving: Saving = field(default_factory=Saving)  # what the user wants kept
    metrics: tuple[NamedMetric, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_run(cls, header: RunHeader) -> Scorer:
        """The scorer that a run's records were made with. Raises ValueError for an unknown task or label space."""
        task, protocol = header.benchmark.task, header.identity_fields.get("protocol") or {}
        scoring = {name: protocol[name] for name in find_task(task).choices if name in protocol}
        metrics, missing = recorded_metrics(
            header.identity_fields.get("metrics") or {}, [each.model_dump() for each in header.plugins]
        )
        space = LabelSpace.from_dict(header.benchmark.label_space)
        return cls(task, space, scoring, metrics=metrics, missing=missing)

    @property
    def _task(self) -> Task:
        return find_task(self.task)

    @property
    def words(self) -> TaskWords:
        """The task's headline figure and what it is called."""
        return self._task.words

    def record_of(self, sample: Sample, segmentation: Segmentation, decode_seconds: float) -> SampleRecord:
        """The record of a segmented sample."""
        prediction = self.prediction(segmentation, sample)
        try:
            counts = self._counts(sample.target, self._task.without_void(prediction, sample, self.scoring))
        except MetricError as error:
            return self.failed_record(sample.id, f"scoring: {error}", sample.target)
        self._keep(sample.id, prediction, segmentation)
        return SampleRecord(
            id=sample.id,
            status="ok",
            counts=counts,
            queries_kept=[segmentation.queries[i] for i in segmentation.kept],
            steps=len(segmentation.steps),
            seconds={"decode": decode_seconds, **segmentation.seconds},
        )

    def failed_record(self, sample_id: str, error: str, target: Target | None) -> SampleRecord:
        """The record of a sample that could not be read, segmented or counted: an empty prediction of its target, for
        the task and each metric that can count it; without a target, no counts."""
        counts = {}
        if target is not None:
            prediction = self._task.empty(target)
            self._keep(sample_id, prediction, None)
            counts = self._counts(target, prediction, whole=False)
        return SampleRecord(id=sample_id, status="failed", error=error, counts=counts)

    def _counts(self, target: Target, prediction: Target, *, whole: bool = True) -> dict[str, Any]:
        """Those of the task and of each metric. whole: raise MetricError where one cannot count; else it has none."""
        counts, own = self._task.count(target, prediction, self.label_space, self.scoring), {}
        for each in self.metrics:
            with nullcontext() if whole else suppress(MetricError):
                own[each.name] = each.count(target, prediction, self.label_space)
        return {**counts, **({COUNTS: own} if own else {})}

    def prediction(self, segmentation: Segmentation, sample: Sample) -> Target:
        """The prediction to score: int32 labels or bool mask, [H, W]."""
        if isinstance(segmentation, Predicted):
            return segmentation.prediction
        return self._task.prediction(segmentation, sample, self.label_space)

    def accumulator(self) -> Accumulator:
        """An empty accumulator."""
        return self._task.accumulator(self.label_space, self.scoring)

    def summarize(self, records: Mapping[str, SampleRecord]) -> dict[str, Any]:
        """Metrics of a run from its records by id. Raises ValueError for counts that are not the task's."""
        accumulator = self.accumulator()
        for record in records.values():
            accumulator.add(record)
        figures = accumulator.figures()
        if not self.metrics:
            return figures
        known = {sample_id: records[sample_id].counts for sample_id in sorted(records) if records[sample_id].counts}
        for metric in self.metrics:
            own = {key: kept[COUNTS][metric.name] for key, kept in known.items() if metric.name in kept.get(COUNTS, {})}
            add_figures(figures, metric.figures([*own.values()], [key for key in known if key not in own]))
        return figures

    def sample_figures(self, records: Sequence[SampleRecord]) -> Float64Array:
        """One figure per sample in 0..1, float64 [n]; NaN where it is undefined."""
        if self._task.sample_figures:
            return self._task.sample_figures(records, self.label_space, self.scoring)
        return sample_figures(records, self.accumulator)

    def resampler(self, records: Sequence[SampleRecord]) -> Resampler:
        """The headline figure of resamples of the records.

        Raises ValueError for a task whose samples are not independent draws.
        """
        if self._task.resample is None:
            raise ValueError(f"task: expected one whose samples can be drawn independently, found {self.task}")
        return self._task.resample(records, self.label_space, self.scoring)

    def is_kept(self, sample_id: str) -> bool:
        """Whether the run directory has all files of a sample that task and user want kept, each whole."""
        if self.folder is None:
            return True
        if self._task.keeps_label_maps and not is_whole(_label_map_path(self.folder, sample_id)):
            return False
        return self.saving.is_saved(self.folder, sample_id)

    def possible_files(self, folder: Path, sample_id: str) -> list[Path]:
        """All files that a run directory may keep of a sample, whatever was wanted."""
        saved = [path for each in (Saving("png", True), Saving("rle")) for path in each.paths(folder, sample_id)]
        return [*saved, *([_label_map_path(folder, sample_id)] if self._task.keeps_label_maps else [])]

    def _keep(self, sample_id: str, prediction: Target, segmentation: Segmentation | None) -> None:
        """Write the files that task and user want kept: before the record, so that a record always has its files."""
        if self.folder is None:
            return
        if self._task.keeps_label_maps:
            write_label_map(_label_map_path(self.folder, sample_id), prediction)
        self.saving.save(self.folder, sample_id, prediction, segmentation, self.label_space.mask_values)


def _label_map_path(folder: Path, sample_id: str) -> Path:
    """label_maps/<annotation set>/<video>/<frame>.png: each set is what davis2017-evaluation takes as results."""
    path = Path(f"{sample_id}.png")
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"sample {sample_id!r}: expected the name of a frame inside its folder")
    return folder / LABEL_MAPS / path
