"""Optional files of a run: a sample's prediction, and the proposals of every step. No figure depends on them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from car_core.segmentation import Segmentation
from dataset_adapters import Dataset, SampleError
from evaluation.tasks.coco_json import run_lengths
from evaluation.tasks.task import find_task
from results.run_directory import label_maps
from results.run_directory.sample_files import PREDICTIONS, PROPOSALS, is_whole, write_sample_file
from support.errors import UserError
from support.text import counted, mebibytes

PredictionFormat = Literal["png", "rle"]
Prediction = npt.NDArray[Any]  # int32 labels or bool [H, W], 0 or false where nothing was found
_SUFFIXES: Mapping[PredictionFormat, str] = {"png": ".png", "rle": ".json"}
_PALETTE = 256
_PROBED = 4  # samples that the announced size is estimated from
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Saving:
    """What a run keeps in addition to its records.

    predictions: None; "png", a palette PNG of the labels (referring: 1 inside the mask); or "rle", a JSON list of
    COCO's results, one per label but 0: image_id, category_id, segmentation (compressed run lengths), score 1. For
    user data both hold the values of the user's masks in place of the labels.
    proposals: whether to keep an npz of every step's proposals.
    """

    predictions: PredictionFormat | None = None
    proposals: bool = False

    def check(self, dataset: Dataset) -> None:
        """Raise UserError for labels that the format cannot hold."""
        n_labels = len(dataset.label_space.labels)
        if self.predictions == "png" and n_labels > _PALETTE:
            raise UserError(f"save_predictions: expected rle for {n_labels} labels, found png: it holds {_PALETTE}")

    def paths(self, folder: Path, sample_id: str) -> list[Path]:
        """The files of a sample."""
        name = saved_name(sample_id)
        predictions = [folder / PREDICTIONS / f"{name}{_SUFFIXES[self.predictions]}"] if self.predictions else []
        return [*predictions, *([folder / PROPOSALS / f"{name}.npz"] if self.proposals else [])]

    def is_saved(self, folder: Path, sample_id: str) -> bool:
        """Whether a sample has all its files, each whole: an earlier start may have kept fewer, or been killed."""
        return all(is_whole(path) for path in self.paths(folder, sample_id))

    def save(
        self,
        folder: Path,
        sample_id: str,
        prediction: Prediction,
        segmentation: Segmentation | None,
        mask_values: Sequence[int] = (),
    ) -> None:
        """Write a sample's files. segmentation: with the proposals of its steps; None for one that failed.

        mask_values: what each label is saved as, as in `LabelSpace`.
        """
        paths = iter(self.paths(folder, sample_id))
        if self.predictions:
            write_sample_file(next(paths), _encoded(self.predictions, sample_id, prediction, mask_values))
        if self.proposals:
            # queries: all texts. Of step t, 1 first: queries_t (indices of texts), scores_t, proposals_t.
            arrays: dict[str, Any] = {"queries": np.array(segmentation.queries if segmentation else (), np.str_)}
            for number, step in enumerate(segmentation.steps if segmentation else (), start=1):
                assert step.proposals is not None
                arrays[f"queries_{number}"] = np.array(step.queries, np.int32)
                arrays[f"scores_{number}"] = step.scores
                arrays[f"proposals_{number}"] = step.proposals.astype(np.float16)
            content = io.BytesIO()
            np.savez_compressed(content, **arrays)
            write_sample_file(next(paths), content.getvalue())

    def announcement(self, dataset: Dataset, folder: Path) -> str | None:
        """The disk use of the files, estimated from a few samples, and the free space; None where none are kept."""
        if not (self.predictions or self.proposals):
            return None
        samples, parts = [], []
        for position in np.linspace(0, len(dataset) - 1, min(_PROBED, len(dataset))).round().astype(int).tolist():
            with suppress(SampleError):
                samples.append(dataset[position])
        if not samples:
            return "no sample can be read, so the disk use of saved files is not known"
        if self.predictions:
            sizes = []
            for sample in samples:  # of a prediction that equals the target; none has the ignored label
                target, space = find_task(dataset.task).target_labels(sample.target), dataset.label_space
                labels = np.where(target == space.ignore_label, 0, target)
                sizes.append(len(_encoded(self.predictions, sample.id, labels, space.mask_values)))
            parts.append(f"predictions about {mebibytes(float(np.mean(sizes)) * len(dataset))}")
        if self.proposals:
            values = [np.prod(sample.image.shape[:2]) * len(sample.queries) for sample in samples]
            parts.append(
                f"proposals at most {mebibytes(2 * float(np.mean(values)) * len(dataset))} per step before compression"
            )
        free = shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free
        return f"saved files of {counted(len(dataset), 'sample')}: {', '.join(parts)}; free: {mebibytes(free)}"


def _encoded(kind: PredictionFormat, sample_id: str, prediction: Prediction, mask_values: Sequence[int]) -> bytes:
    """The content of a prediction's file."""
    if kind == "png":
        labels = prediction.astype(np.int32)
        return label_maps.encode_label_map(np.array(mask_values, np.int32)[labels] if mask_values else labels)
    segments = [
        {
            "image_id": sample_id,
            "category_id": mask_values[label] if mask_values else label,
            "segmentation": run_lengths(prediction == label),
            "score": 1.0,
        }
        for label in sorted({int(label) for label in np.unique(prediction)} - {0})
    ]
    return (json.dumps(segments) + "\n").encode("ascii")


def saved_name(sample_id: str) -> str:
    """A name that stays inside its folder whatever the id is: other characters as %XX, a long one cut with a hash."""
    name = quote(sample_id, safe=" +@=,", errors="surrogatepass").replace("..", "%2E%2E")
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[: _LONGEST_NAME - 17]}-{digest[:16]}"
