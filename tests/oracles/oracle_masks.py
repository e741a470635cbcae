"""An oracle in SAM's place: the true masks of an image's objects among distractors.

    python tests/oracles/oracle_masks.py [LIMIT]

prints the mIoU of mini-voc without and with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from car_core import CaR, CaRConfig, SAMConfig
from car_core.models.weights import load_clip
from car_core.refine.sam import image_hash
from dataset_adapters import Dataset, Sample, embedded_root, load
from evaluation.request.benchmark import load_benchmark, resolve_config
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import segment_samples

Masks = npt.NDArray[np.bool_]


def oracle_masks(target: npt.NDArray[np.int32], seed: int) -> Masks:
    """Every connected part of every class of labels [H, W], and as many distractors: halves, moved copies, boxes."""
    generator = np.random.default_rng(seed)
    parts: list[Any] = []
    for label in np.setdiff1d(np.unique(target), [0, 255]):
        numbered, count = ndimage.label(target == label)
        parts += [numbered == number + 1 for number in range(count)]
    distractors = []
    for part in parts:
        rows, columns = np.nonzero(part)
        half = part.copy()
        half[: int(np.median(rows))] = False
        box = np.zeros_like(part)
        height, width = part.shape
        top, left = generator.integers(height // 2), generator.integers(width // 2)
        box[top : top + height // 3, left : left + width // 3] = True
        distractors += [half, np.roll(part, (len(set(rows)) // 3, len(set(columns)) // 3), (0, 1)), box]
    found = [*parts, *distractors]
    return np.stack(generator.permutation(np.array(found))) if found else np.zeros((0, *target.shape), np.bool_)


class OracleMasks:
    """A mask source that knows these samples."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._known = {
            image_hash(sample.image): oracle_masks(np.asarray(sample.target), seed)
            for seed, sample in enumerate(samples)
        }

    def masks(self, image: npt.NDArray[np.uint8]) -> Masks:
        return self._known[image_hash(image)]


def miou(dataset: Dataset, config: CaRConfig, source: OracleMasks | None) -> float:
    """mIoU of the miniature on a data set."""
    clip, _ = load_clip("miniature", "miniature", role="proposal", device="cpu")
    car = CaR(config, proposal_clip=clip, classifier_clip=clip, mask_source=source)
    scorer = Scorer(dataset.task, dataset.label_space)
    records = {}
    for sample in dataset:
        [found] = segment_samples([sample], car, dataset.label_space)
        records[sample.id] = scorer.record_of(sample, found, 0.0)
    return float(scorer.summarize(records)["miou"])


def compare(limit: int, **settings: Any) -> tuple[float, float]:
    """mIoU of the first images of mini-voc without and with the oracle."""
    dataset = load("voc21", embedded_root())[:limit]
    config, _ = resolve_config(load_benchmark("mini-voc"), "paper", settings)
    oracle = CaRConfig(**{**config.model_dump(), "sam": SAMConfig(model="oracle")})
    return miou(dataset, config, None), miou(dataset, oracle, OracleMasks(dataset))


if __name__ == "__main__":
    without, with_oracle = compare(int(sys.argv[1]) if len(sys.argv) > 1 else 48)
    print(f"mini-voc, profile paper: mIoU {100 * without:.1f} %, with the oracle's masks {100 * with_oracle:.1f} %")
