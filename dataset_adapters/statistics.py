"""Label statistics of a data set, accumulated sample by sample."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from dataset_adapters.base.sample import LabelSpace, Sample


@dataclass(frozen=True)
class LabelStatistics:
    """One label: the number of samples with a pixel of it, and its pixels in all samples."""

    label: int
    n_samples: int
    n_pixels: int

    @property
    def mean_area(self) -> float:
        """Mean number of pixels in the samples that have any."""
        return self.n_pixels / self.n_samples


@dataclass
class TargetStatistics:
    """Sums over samples.

    n_pixels, n_samples: by label; in targets that are masks, label 1 is the union of the objects and 0 the rest.
    sizes: (height, width) of each target. n_empty: targets without an object, if a sentence may refer to nothing.
    """

    n_pixels: Counter[int] = field(default_factory=Counter)
    n_samples: Counter[int] = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    n_empty: int = 0

    def add(self, sample: Sample) -> None:
        """Add one sample."""
        target = sample.target
        if target.ndim == 3:
            self.n_empty += not len(target)
            target = np.asarray(target.any(axis=0))
        height, width = target.shape
        self.sizes.append((height, width))
        labels, counts = np.unique(target, return_counts=True)
        self.n_pixels.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
        self.n_samples.update(labels.tolist())

    @property
    def labels(self) -> list[LabelStatistics]:
        """All labels with pixels, the one with most pixels first."""
        return [LabelStatistics(label, self.n_samples[label], n) for label, n in self.n_pixels.most_common()]


def label_name(label: int, space: LabelSpace) -> str:
    """The name of a label in a target; "ignored" for a value that is not a label."""
    return space.labels[label] if 0 <= label < len(space.labels) else "ignored"


def describe(statistics: TargetStatistics, space: LabelSpace) -> str:
    """Sizes and the share of each label, as one line."""
    heights, widths = zip(*statistics.sizes, strict=True)
    total = statistics.n_pixels.total()
    shares = [f"{label_name(each.label, space)} {100 * each.n_pixels / total:.1f} %" for each in statistics.labels]
    empty = f", {statistics.n_empty} without a target" if statistics.n_empty else ""
    sizes = f"{min(widths)} x {min(heights)} to {max(widths)} x {max(heights)}"
    return f"{len(heights)} decoded, {sizes}{empty}, {len(shares)} labels: {', '.join(shares)}"


def describe_labels(statistics: TargetStatistics, space: LabelSpace) -> list[str]:
    """Samples, pixels and mean area, one line per label."""
    return [
        f"{label_name(each.label, space)}: samples {each.n_samples}, pixels {each.n_pixels}, "
        f"mean area {each.mean_area:.1f}"
        for each in statistics.labels
    ]
