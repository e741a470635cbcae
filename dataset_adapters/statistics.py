"""Label statistics of a data set, accumulated sample by sample."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from dataset_adapters.base.sample import LabelSpace, Sample


@dataclass
class TargetStatistics:
    """Sums over samples.

    n_pixels, n_samples: by label, its pixels, and the samples that have any; in targets that are masks, label 1 is the
    union of the objects and 0 the rest.
    sizes: (height, width) of each target. n_empty: targets without an object, if a sentence may refer to nothing.
    """

    n_pixels: Counter[int] = field(default_factory=Counter)
    n_samples: Counter[int] = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    n_empty: int = 0

    def add(self, sample: Sample) -> None:
        target = sample.target
        if target.ndim == 3:
            self.n_empty += not len(target)
            target = np.asarray(target.any(axis=0))
        height, width = target.shape
        self.sizes.append((height, width))
        labels, counts = np.unique(target, return_counts=True)
        self.n_pixels.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
        self.n_samples.update(labels.tolist())


def _name(label: int, space: LabelSpace) -> str:
    return space.labels[label] if 0 <= label < len(space.labels) else "ignored"


def describe(statistics: TargetStatistics, space: LabelSpace) -> str:
    """Sizes and the share of each label, as one line."""
    heights, widths = zip(*statistics.sizes, strict=True)
    total = statistics.n_pixels.total()
    shares = [f"{_name(label, space)} {100 * n / total:.1f} %" for label, n in statistics.n_pixels.most_common()]
    empty = f", {statistics.n_empty} without a target" if statistics.n_empty else ""
    sizes = f"{min(widths)} x {min(heights)} to {max(widths)} x {max(heights)}"
    return f"{len(heights)} decoded, {sizes}{empty}, {len(shares)} labels: {', '.join(shares)}"


def describe_labels(statistics: TargetStatistics, space: LabelSpace) -> list[str]:
    """Samples, pixels and mean area in these samples, one line per label, the one with most pixels first."""
    lines = []
    for label, n_pixels in statistics.n_pixels.most_common():
        n_samples = statistics.n_samples[label]
        mean = f"{n_pixels / n_samples:.1f}"
        lines.append(f"{_name(label, space)}: samples {n_samples}, pixels {n_pixels}, mean area {mean}")
    return lines
