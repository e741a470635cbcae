"""The engine of ``car eval``, measured on the images of ``car bench``."""

from __future__ import annotations

import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_adapters import load
from dataset_adapters.formats.images import read_image
from evaluation.bench.measure import BenchFixture
from evaluation.bench.schema import BenchEngine
from evaluation.engines.local import run_local
from evaluation.engines.refining import Refiner, default_workers
from evaluation.request.user_data import FOLDERS
from evaluation.tasks.scorer import Scorer

WORKERS = 2
"""Decoding processes, the default of `car eval`."""


def whole_engine(fixture: BenchFixture, *, repeats: int, batch_size: int) -> BenchEngine:
    """Measure `car eval`'s engine, with decoding and refinement in separate processes alongside the model.

    The images run through it one after the other, all of them ``repeats`` times in one run, whose start is counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        images, masks, classes = (Path(folder, name) for name in ("images", "masks", "classes.txt"))
        images.mkdir()
        masks.mkdir()
        classes.write_text("".join(f"{name}\n" for name in fixture.queries))
        for number, file in enumerate(fixture.files):
            (images / f"{number}.png").write_bytes(file)  # decoded by its content, whatever its name says
            empty = np.zeros(read_image(BytesIO(file)).shape[:2], np.uint8)  # masks have no effect on time
            Image.fromarray(empty).save(masks / f"{number}.png")
        options = {"images": str(images), "masks": str(masks), "classes": str(classes)}
        dataset = load(FOLDERS, folder, options=options, cache_dir=Path(folder, "cache"))
        scorer, indices = Scorer(dataset.task, dataset.label_space), [*range(len(dataset))] * repeats
        start = time.perf_counter()
        with Refiner(default_workers()) as refiner:
            work = run_local(
                dataset, indices, fixture.car, scorer, batch_size=batch_size, workers=WORKERS, refiner=refiner
            )
            records = list(work)
        seconds = time.perf_counter() - start
    failed = [record.error for record in records if record.status == "failed"]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(records)} images failed, first: {failed[0]}")
    return BenchEngine(
        images_per_second=len(records) / seconds,
        images=len(records),
        batch_size=batch_size,
        decoding_processes=WORKERS,
        refining_processes=default_workers(),
    )
