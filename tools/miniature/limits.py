"""What keeps mini-voc's mIoU down: coarse masks, or classes that are lost and invented?

python tools/miniature/limits.py [--data dataset_adapters/miniature/tuning]

Prints mIoU of CaR, of f and the CRF told which classes each image shows, and of the true masks of the classes that CaR
keeps rightly.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from car_core import CaR
from dataset_adapters import Dataset, Sample
from evaluation import RunOptions
from evaluation.run.prepare import prepare
from evaluation.tasks.semantic import class_ious, confusion_counts, mean_iou, sum_confusion

LabelMap = npt.NDArray[np.int32]


def limits(dataset: Dataset, car: CaR) -> tuple[dict[str, float | None], Counter[str]]:
    """mIoU in percent of each case, and how many classes of images are kept rightly, wrongly, and lost."""
    told = car.with_config(car.config.model_copy(update={"recurrence": "none"}))
    found: dict[str, list[LabelMap]] = {"CaR": [], "told the classes": [], "true masks of the kept": []}
    classes: Counter[str] = Counter()
    for sample in dataset:
        shown = set(np.unique(sample.target)) - {0, dataset.label_space.ignore_label}
        label_map, kept = _segmented(car, sample, dataset, set(dataset.label_space.query_labels))
        found["CaR"].append(label_map)
        found["told the classes"].append(_segmented(told, sample, dataset, shown)[0])
        found["true masks of the kept"].append(np.where(np.isin(sample.target, list(kept & shown)), sample.target, 0))
        classes.update(right=len(kept & shown), wrong=len(kept - shown), lost=len(shown - kept))
    return {name: _miou(dataset, label_maps) for name, label_maps in found.items()}, classes


def _segmented(car: CaR, sample: Sample, dataset: Dataset, labels: set[int]) -> tuple[LabelMap, set[int]]:
    """The label map and the labels that survive, of the queries of these labels."""
    space = dataset.label_space
    asked = [(query, label) for query, label in zip(space.queries, space.query_labels, strict=True) if label in labels]
    found = car.segment(sample.image, [query for query, _ in asked])
    ids = np.array([0, *(label for _, label in asked)], dtype=np.int32)
    return ids[found.label_map], {asked[i][1] for i in found.kept}


def _miou(dataset: Dataset, label_maps: list[LabelMap]) -> float | None:
    space = dataset.label_space
    counts = [
        confusion_counts(sample.target, label_map, len(space.labels), space.ignore_label)
        for sample, label_map in zip(dataset, label_maps, strict=True)
    ]
    matrix = sum_confusion((triple for each in counts for triple in each), len(space.labels))
    miou = mean_iou(class_ious(matrix, space.labels, space.scored_labels))
    return None if miou is None else 100 * miou


def main() -> None:
    """Print the figures of one split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("dataset_adapters/miniature/val"))
    data = parser.parse_args().data / "VOCdevkit"
    prepared = prepare(RunOptions("mini-voc", data_root=data, quiet=True))
    figures, classes = limits(prepared.dataset, cast(CaR, prepared.segmenter))
    for name, miou in figures.items():
        print(f"{name}: mIoU {miou:.1f} %")
    print(", ".join(f"{count} {name}" for name, count in classes.items()))


if __name__ == "__main__":
    main()
