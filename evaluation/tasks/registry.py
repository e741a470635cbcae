"""Metrics by task: integer counts of one sample in, figures of a run out.

A task is one module (`semantic`, ...) and one row of `BY_TASK`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluation.tasks import generalized, referring, semantic, video
from evaluation.tasks.resampling import RunningFigure, resampled_means
from support.arrays import Float64Array

__all__ = ["BY_TASK", "RunningFigure", "TaskMetrics", "metrics_for"]


@dataclass(frozen=True)
class TaskMetrics:
    """What a task is made of.

    count: one sample's target and prediction (and the task's own arguments) -> the `counts` of its record.
    summarize: the records of a run (and the task's own arguments) -> a JSON-ready dict of metrics.
    running: the task's own arguments -> the figure of the progress line.
    headline: the figure of `summarize` that runs are compared by.
    resampled_figures: records, int64 [B, n] how often each is drawn (and the task's own arguments) -> the headline
    figure of B resamples, float64 [B], NaN where undefined; None where samples are no independent draws.
    choices: the task's scoring options with their values, the default first.
    """

    count: Callable[..., dict[str, Any]]
    summarize: Callable[..., dict[str, Any]]
    running: Callable[..., RunningFigure]
    headline: str
    resampled_figures: Callable[..., Float64Array] | None
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


BY_TASK: Mapping[str, TaskMetrics] = {
    "semantic": TaskMetrics(
        count=semantic.count_sample,
        summarize=semantic.summarize,
        running=semantic.RunningMeanIoU,
        headline="miou",
        resampled_figures=semantic.resampled_figures,
    ),
    "referring": TaskMetrics(
        count=referring.count_sample,
        summarize=referring.summarize,
        running=referring.RunningMeanIoU,
        headline="miou_mean_over_samples",
        resampled_figures=resampled_means(referring.RunningMeanIoU),
        choices={"resolution": tuple(referring.RESOLUTIONS)},
    ),
    "generalized": TaskMetrics(
        count=generalized.count_sample,
        summarize=generalized.summarize,
        running=generalized.RunningGIoU,
        headline="giou_mean_over_samples",
        resampled_figures=resampled_means(generalized.RunningGIoU),
        choices={"resolution": tuple(referring.RESOLUTIONS), "no_target_below": tuple(generalized.NO_TARGET_BELOW)},
    ),
    "video": TaskMetrics(
        count=video.count_sample,
        summarize=video.summarize,
        running=video.RunningJAndF,
        headline="j_and_f",
        resampled_figures=None,  # the frames of a video depend on each other
        choices={"davis_task": tuple(video.DAVIS_TASKS)},
    ),
}


def metrics_for(task: str) -> TaskMetrics:
    """The metrics of a task by name. Raises ValueError naming the tasks that exist."""
    if task not in BY_TASK:
        raise ValueError(f"no metrics for task {task!r}; tasks: {', '.join(BY_TASK)}")
    return BY_TASK[task]
