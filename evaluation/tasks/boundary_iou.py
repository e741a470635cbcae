"""Boundary IoU of label maps (Cheng et al., CVPR 2021), with counts summed over the set as in LPOSS's evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from dataset_adapters import LabelSpace
from evaluation.tasks.extra_metrics import METRICS
from evaluation.tasks.task import Target, mean
from support.arrays import BoolArray

WIDTH = 0.02
"""Width of a boundary as a share of the image's diagonal; at least one pixel."""


class BoundaryIoU:
    """IoU of the classes' boundaries: pixels near another class, an ignored pixel or the image's edge."""

    name = "boundary_iou"
    version = "1"
    tasks = ("semantic",)
    reductions: Mapping[str, str] = {
        "miou": (
            "mean over scored classes with a target or predicted pixel of the IoU of their boundaries, pixels of a "
            "class within 0.02 of the diagonal of another class, of ignored pixels or of the image's edge; counts "
            "pooled over all samples; a failed sample counts as an all-background prediction where its target is known"
        )
    }

    def count(self, target: Target, prediction: Target, label_space: LabelSpace) -> dict[str, int]:
        """The pixels of each class's boundaries in both label maps, and in either."""
        if not target.size:
            return {}
        n_labels = len(label_space.labels)
        ignored = target == label_space.ignore_label
        maps = [np.where(ignored, n_labels, labels) for labels in (target, prediction)]
        edges = [_boundaries(labels) for labels in maps]
        both = edges[0] & edges[1] & (maps[0] == maps[1])
        n_both, *n_each = (
            np.bincount(labels[edge], minlength=n_labels)
            for labels, edge in ((maps[0], both), *zip(maps, edges, strict=True))
        )
        return {
            f"{kind}_{label}": int(pixels[label])
            for label in label_space.scored_labels
            for kind, pixels in (("intersection", n_both), ("union", sum(n_each) - n_both))
            if n_each[0][label] or n_each[1][label]
        }

    def figures(self, counts: Sequence[Mapping[str, int]]) -> dict[str, float | None]:
        """`miou`, None without a pixel of a scored class."""
        sums: dict[str, int] = {}
        for each in counts:
            for name, pixels in each.items():
                sums[name] = sums.get(name, 0) + pixels
        unions = {name.partition("_")[2]: pixels for name, pixels in sums.items() if name.startswith("union")}
        return {"miou": mean([sums[f"intersection_{label}"] / union for label, union in unions.items()])}


def _boundaries(labels: Target) -> BoolArray:
    """Where the square of side 2 d + 1 around a pixel is not all of one label; outside the image is another label."""
    import cv2  # only to score: user errors are reported before it is loaded

    height, width = labels.shape
    d = max(1, round(WIDTH * math.sqrt(height**2 + width**2)))
    # One ring is enough: squares that reach farther contain a part of it.
    ringed = np.pad((labels + 1).astype(np.uint16), 1)
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * d + 1, 2 * d + 1))
    least, most = cv2.erode(ringed, square), cv2.dilate(ringed, square)
    return np.asarray(least != most)[1:-1, 1:-1]


METRICS[BoundaryIoU.name] = BoundaryIoU()
