"""What the labels of a data set cover, counted sample by sample."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from dataset_adapters.base.sample import LabelSpace, Sample


@dataclass(frozen=True)
class LabelStatistics:
    """One label: the samples that have a pixel of it, and its pixels over all samples."""

    label: int
    n_samples: int
    n_pixels: int

    @property
    def mean_area(self) -> float:
        """Pixels in a sample that has any."""
        return self.n_pixels / self.n_samples


@dataclass
class TargetStatistics:
    """Sums over samples that are added one by one.

    n_pixels, n_samples: by label; of targets that are masks, 1 is what any object covers and 0 the rest.
    sizes: (height, width) of each target. n_empty: targets without an object, where a sentence may mean nothing.
    """

    n_pixels: Counter[int] = field(default_factory=Counter)
    n_samples: Counter[int] = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    n_empty: int = 0

    def add(self, sample: Sample) -> None:
        """Count one sample in."""
        target = sample.target
        if target.ndim == 3:
            self.n_empty += not len(target)
            target = np.asarray(target.any(axis=0))
        height, width = target.shape
        self.sizes.append((height, width))
        labels, counts = np.unique(target, return_counts=True)
        found = {int(label): int(count) for label, count in zip(labels, counts, strict=True)}
        self.n_pixels.update(found)
        self.n_samples.update(found.keys())

    @property
    def labels(self) -> list[LabelStatistics]:
        """Each label with a pixel, the one with most pixels first."""
        return [LabelStatistics(label, self.n_samples[label], n) for label, n in self.n_pixels.most_common()]


def label_name(label: int, space: LabelSpace) -> str:
    """The name of a label in a target, "ignored" for a value that is none."""
    return space.labels[label] if 0 <= label < len(space.labels) else "ignored"


def describe(statistics: TargetStatistics, space: LabelSpace) -> str:
    """Sizes and the share of each label, in one line."""
    heights, widths = zip(*statistics.sizes, strict=True)
    total = statistics.n_pixels.total()
    shares = [f"{label_name(each.label, space)} {100 * each.n_pixels / total:.1f} %" for each in statistics.labels]
    empty = f", {statistics.n_empty} without a target" if statistics.n_empty else ""
    sizes = f"{min(widths)} x {min(heights)} to {max(widths)} x {max(heights)}"
    return f"{len(heights)} decoded, {sizes}{empty}, {len(shares)} labels: {', '.join(shares)}"


def describe_labels(statistics: TargetStatistics, space: LabelSpace) -> list[str]:
    """Samples, pixels and mean area of each label, a line each."""
    return [
        f"{label_name(each.label, space)}: samples {each.n_samples}, pixels {each.n_pixels}, "
        f"mean area {each.mean_area:.1f}"
        for each in statistics.labels
    ]
