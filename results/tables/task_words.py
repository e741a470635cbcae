"""What tables and pages say about each task: its headline figure, and the names of its figures and samples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskWords:
    """The words of one task.

    headline: the metric that runs are compared by, a key of the run's metrics.
    heading: its usual name, for the progress line. paper_heading: its name in the paper; None: the same.
    variants: other reductions of it, shown as separate rows where they differ from it.
    companions: other metrics, always shown, without a difference from the paper's.
    sample_figure: the name of a single sample's figure. sample_figure_meaning: its definition, as a phrase.
    samples: the plural noun for what a run counts.
    """

    headline: str
    heading: str
    sample_figure: str
    sample_figure_meaning: str
    paper_heading: str | None = None
    variants: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    samples: str = "samples"


SEMANTIC = TaskWords(
    headline="miou",
    heading="mIoU",
    variants=("miou_gt_classes", "miou_gt_classes_foreground", "miou_scored_only"),
    sample_figure="IoU",
    sample_figure_meaning="IoU of a sample: mean over the classes in its target or prediction",
    samples="images",
)
REFERRING = TaskWords(
    headline="miou_mean_over_samples",
    heading="mIoU",
    variants=("miou_mean_over_scored_samples",),
    companions=("oiou_pooled",),
    sample_figure="IoU",
    sample_figure_meaning="IoU of a sample: intersection over union of its two masks",
)
GENERALIZED = TaskWords(
    headline="giou_mean_over_samples",
    heading="gIoU",
    paper_heading="mIoU",
    variants=("giou_mean_over_scored_samples",),
    companions=("ciou_pooled", "n_acc", "t_acc"),
    sample_figure="IoU",
    sample_figure_meaning="IoU of a sample; without a target, 1 for a prediction of nothing and else 0",
)
VIDEO = TaskWords(
    headline="j_and_f",
    heading="J&F",
    variants=("j_and_f_scored_only",),
    companions=("j", "f"),
    sample_figure="J&F",
    sample_figure_meaning="J&F of a frame: mean of region similarity and contour accuracy",
)

# Those of the built-in tasks are here, so that tables work without `evaluation`; other tasks register theirs.
_WORDS = {"semantic": SEMANTIC, "referring": REFERRING, "generalized": GENERALIZED, "video": VIDEO}


def register_words(task: str, words: TaskWords) -> None:
    """Set the words that tables and pages use for a task; called by `evaluation.tasks.task.register`."""
    _WORDS[task] = words


def words_of(task: str) -> TaskWords:
    """The words of a task. Raises ValueError for one that is not registered."""
    if task not in _WORDS:
        raise ValueError(f"task: expected one of {', '.join(_WORDS)}, found {task!r}; import the module that adds it")
    return _WORDS[task]
