"""The engine of ``car eval`` as it runs, on the pictures of a benchmark."""

from __future__ import annotations

import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_adapters import Dataset, load
from dataset_adapters.formats.images import read_image
from evaluation.bench.measure import Subject
from evaluation.engines.local import run_local
from evaluation.engines.refining import Refiner, default_workers
from evaluation.request.user_data import FOLDERS
from evaluation.tasks.scorer import Scorer

WORKERS = 2
"""Decoding processes, as `car eval` has by default."""


def whole_engine(subject: Subject, *, repeats: int, batch_size: int) -> dict[str, float | int]:
    """Images a second of `car eval`'s engine: decoding and refinement in processes of their own beside the model.

    The pictures go through it one after the other, all of them ``repeats`` times in one run, whose start is counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        dataset = _data_set(subject, Path(folder))
        scorer, places = Scorer(dataset.task, dataset.label_space), [*range(len(dataset))] * repeats
        start = time.perf_counter()
        with Refiner(default_workers()) as refiner:
            work = run_local(
                dataset, places, subject.car, scorer, batch_size=batch_size, workers=WORKERS, refiner=refiner
            )
            records = list(work)
        seconds = time.perf_counter() - start
    failed = [record.error for record in records if record.status == "failed"]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(records)} images failed, the first with: {failed[0]}")
    processes = {"decoding_processes": WORKERS, "refining_processes": default_workers()}
    return {"images_per_second": len(records) / seconds, "images": len(records), "batch_size": batch_size, **processes}


def _data_set(subject: Subject, folder: Path) -> Dataset:
    """The pictures with empty masks as a user's own data: masks change no time."""
    places = {"images": folder / "images", "masks": folder / "masks", "classes": folder / "classes.txt"}
    places["images"].mkdir()
    places["masks"].mkdir()
    places["classes"].write_text("".join(f"{name}\n" for name in subject.queries))
    for number, file in enumerate(subject.files):
        (places["images"] / f"{number}.png").write_bytes(file)  # read by what is in it, whatever its name says
        empty = np.zeros(read_image(BytesIO(file)).shape[:2], np.uint8)
        Image.fromarray(empty).save(places["masks"] / f"{number}.png")
    options = {name: str(path) for name, path in places.items()}
    return load(FOLDERS, folder, options=options, cache_dir=folder / "cache")
