"""The measurements of ``car bench``: functions of models, images and queries; no printing."""

from __future__ import annotations

import io
import math
import multiprocessing
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from car_core import CaR, CaRConfig
from car_core.config import HAS_PYDENSECRF, CRFConfig
from car_core.engine.precision import dtype_of
from car_core.models.weights import load_clip
from car_core.refinement import refine_masks
from dataset_adapters import load
from dataset_adapters.formats.images import read_image
from evaluation.bench.machine import matrix_product, operations, run_timed, spread, timings
from evaluation.bench.released_order import ReleasedOrder
from evaluation.bench.schema import (
    BenchCRF,
    BenchEncoder,
    BenchEngine,
    BenchLaterSteps,
    BenchMemory,
    BenchPipeline,
    BenchReleasedOrder,
    BenchRequest,
)
from evaluation.engines.local import Equipment, Pace, run_local
from evaluation.engines.refining import Refiner, default_workers
from evaluation.request.user_data import FOLDERS
from evaluation.run.environment import peak_rss_mib
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.semantic import confusion_counts
from support.arrays import RGBArray

# Architectures and weights of the two models by size: timing needs no trained weights.
SIZES: Mapping[str, tuple[str, str, str]] = {
    "mini": ("miniature", "miniature", "miniature"),
    "full": ("ViT-B-16", "ViT-L-14", "random:0"),
}
QUERIES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CRF_QUERIES = 3
"""About as many as survive on a photograph."""
WORKERS = 2
"""Decoding processes, the default of `car eval`."""
SYNTHETIC_SIZE = (375, 500)  # height, width: a common one in Pascal VOC


@dataclass(frozen=True)
class BenchFixture:
    """What is measured: models, encoded images (JPEG or PNG) and queries. models: arguments of CaR."""

    car: CaR
    models: Mapping[str, Any]
    files: Sequence[bytes]
    queries: Sequence[str]
    load_seconds: float


def load_fixture(request: BenchRequest) -> BenchFixture:
    """Load models and images. Raises ImageError for a file that is not an image, ModelError for a missing device."""
    files = []
    for path in map(Path, request.images[: request.n_images]):
        read_image(path)  # raises before the models are loaded
        files.append(path.read_bytes())
    files = files or [_synthetic_image(seed) for seed in range(request.n_images)]
    proposal, classifier, weights = SIZES[request.size]
    start = time.perf_counter()
    names = {proposal, classifier}
    loaded: dict[str, Any] = {name: load_clip(name, weights, role="bench", device=request.device)[0] for name in names}
    load_seconds = time.perf_counter() - start
    if weights.startswith("random"):
        # An untrained model embeds all texts alike and attends to all patches alike: its maps would show only rounding.
        # Larger token embeddings, queries and keys have no effect on time.
        with torch.no_grad():
            for model in loaded.values():
                model.token_embedding.weight *= 50
                for block in model.visual.transformer.resblocks:
                    block.attn.in_proj_weight[: -block.attn.embed_dim] *= 4
    models = {"proposal_clip": loaded[proposal], "classifier_clip": loaded[classifier]}
    settings: dict[str, Any] = {"profile": request.profile, "proposal_model": proposal, "classifier_model": classifier}
    car = CaR(CaRConfig(**settings), **models, device=request.device, precision=request.precision)
    return BenchFixture(car, models, files, QUERIES[: request.n_queries], load_seconds)


def _synthetic_image(seed: int) -> bytes:
    """A smooth image with some noise as JPEG, so that proposals have shapes and the CRF has edges."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SYNTHETIC_SIZE[0], : SYNTHETIC_SIZE[1]] / 40.0
    waves = [np.sin(a * rows + 3 * c) * np.cos(b * columns + 3 * d) for a, b, c, d in rng.uniform(0.3, 1.5, (3, 4))]
    pixels = 128 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 12, (*SYNTHETIC_SIZE, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def decoded(file: bytes) -> RGBArray:
    """uint8 [H, W, 3] from an image file's bytes."""
    return read_image(io.BytesIO(file), apply_exif=True)


def pipeline(fixture: BenchFixture, *, repeats: int, batch_size: int) -> BenchPipeline:
    """Measure whole images, from files to counts; a first run, which encodes the texts, is not counted."""
    _run_once(fixture, batch_size)
    runs = [_run_once(fixture, batch_size) for _ in range(repeats)]
    walls = [math.fsum(stages.values()) for stages in runs]
    n = len(fixture.files)
    per_image = {stage: statistics.median(run[stage] for run in runs) / n for stage in runs[0]}
    return BenchPipeline(
        images_per_second=n / statistics.median(walls),
        spread=spread(walls),
        stages=per_image,
        encoders_share=(per_image["trunk"] + per_image["classifier"]) / math.fsum(per_image.values()),
    )


def _run_once(fixture: BenchFixture, batch_size: int) -> dict[str, float]:
    """Seconds of all images by stage; "waiting" is the time that no stage accounts for."""
    stages: dict[str, float] = defaultdict(float)
    start = time.perf_counter()
    for first in range(0, len(fixture.files), batch_size):
        began = time.perf_counter()
        images = [decoded(file) for file in fixture.files[first : first + batch_size]]
        stages["decode"] += time.perf_counter() - began
        segmentations = fixture.car.segment_batch(images, [fixture.queries] * len(images))
        for segmentation in segmentations:
            for stage, seconds in segmentation.seconds.items():
                stages[stage] += seconds
        began = time.perf_counter()
        for segmentation in segmentations:
            labels = segmentation.label_map
            confusion_counts(labels, labels, len(fixture.queries) + 1, 255)
        stages["counting"] += time.perf_counter() - began
    stages["waiting"] = max(0.0, time.perf_counter() - start - math.fsum(stages.values()))
    return dict(stages)


def encoder_speeds(fixture: BenchFixture, *, repeats: int) -> tuple[float, list[BenchEncoder]]:
    """Measure the machine's matrix products in GFLOP/s, in the models' precision, and both encoders against them.

    The classifier encodes the prompted images of one image, the trunk one image; on a GPU a full batch each.
    """
    car, device = fixture.car, fixture.car.device
    image = decoded(fixture.files[0])
    tower, classifier = car.proposal_tower, car.classifier_tower
    # Passes of a fixed size are filled: their padding would count as work.
    trunks, crops = (batcher.size if batcher.shared else 0 for batcher in (car.trunk_batcher, car.classifier_batcher))
    pixels = [tower.preprocess(image, car.config.max_patches)[None]] * (trunks or 1)
    prompted = [torch.stack([classifier.preprocess(image)] * (crops or len(fixture.queries))).to(device)]
    encode_crops = partial(classifier.encode, feature=car.config.classifier_feature)
    product, product_operations = matrix_product(device, dtype_of(car.precision, device))
    work: dict[Literal["trunk", "classifier"], Callable[[], object]] = {
        "trunk": lambda: car.trunk_batcher.encode(partial(tower.trunk, config=car.config), pixels),
        "classifier": lambda: car.classifier_batcher.encode(encode_crops, prompted),
    }
    peak_timing, *measured = timings([product, *work.values()], repeats, device)
    peak = product_operations / min(peak_timing.busy) / 1e9
    speeds = []
    for (name, encode), timing in zip(work.items(), measured, strict=True):
        gflop, seconds = operations(encode) / 1e9, statistics.median(timing.wall)
        speeds.append(
            BenchEncoder(
                name=name,
                gflop=gflop,
                seconds=seconds,
                spread=spread(timing.wall),
                gflop_per_second=gflop / seconds,
                share_of_peak=gflop / min(timing.busy) / peak,
            )
        )
    return peak, speeds


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
            empty = np.zeros(read_image(io.BytesIO(file)).shape[:2], np.uint8)  # masks have no effect on time
            Image.fromarray(empty).save(masks / f"{number}.png")
        options = {"images": str(images), "masks": str(masks), "classes": str(classes)}
        dataset = load(FOLDERS, folder, options=options, cache_dir=Path(folder, "cache"))
        scorer, indices = Scorer(dataset.task, dataset.label_space), [*range(len(dataset))] * repeats
        start = time.perf_counter()
        with Refiner(default_workers()) as refiner:
            own = Equipment(dataset, fixture.car, scorer, identity_fields={})
            records = list(run_local(own, indices, Pace(batch_size, WORKERS), refiner=refiner))
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


def later_steps(fixture: BenchFixture, *, repeats: int) -> BenchLaterSteps:
    """Measure proposals in the first step, trunk included, and in the later ones: seconds per image, fastest runs."""
    once = fixture.car.with_config(fixture.car.config.model_copy(update={"recurrence": "once", "crf": None}))
    full = once.with_config(once.config.model_copy(update={"recurrence": "full"}))
    images = [decoded(file) for file in fixture.files]

    def proposal_seconds(car: CaR) -> tuple[float, float]:
        """Seconds per image of CAM and affinity, and of the trunk."""
        runs = [car.segment(image, fixture.queries).seconds for image in images]
        cams = math.fsum(seconds["cam"] + seconds.get("affinity", 0.0) for seconds in runs)
        return cams / len(runs), math.fsum(seconds["trunk"] for seconds in runs) / len(runs)

    proposal_seconds(full)  # encodes the texts
    pairs = [(proposal_seconds(once), proposal_seconds(full)) for _ in range(repeats)]
    cams, trunk = (min(first[i] for first, _ in pairs) for i in (0, 1))
    later = max(0.0, min(all_steps[0] for _, all_steps in pairs) - cams)
    first = trunk + cams
    return BenchLaterSteps(first_step_seconds=first, later_steps_seconds=later, later_over_first=later / first)


def crf_speeds(fixture: BenchFixture, *, repeats: int) -> BenchCRF:
    """Measure the implementations of the CRF on the first image and its first queries, and how often they agree."""
    config = fixture.car.config.model_copy(update={"recurrence": "none"})
    queries = fixture.queries[:CRF_QUERIES]
    [coarse] = fixture.car.with_config(config).segment_coarse_batch([decoded(fixture.files[0])], [queries])
    [task] = coarse.requests
    pydensecrf = [CRFConfig(implementation="pydensecrf")] if HAS_PYDENSECRF else []
    tasks = [replace(task, crf=crf) for crf in (CRFConfig(implementation="torch"), *pydensecrf)]
    seen = timings([partial(refine_masks, each) for each in tasks], repeats, fixture.car.device)
    ours, *exact = (refine_masks(each).masks for each in tasks)
    return BenchCRF(
        labels=len(queries) + 1,
        pydensecrf_seconds=statistics.median(seen[1].wall) if exact else None,
        torch_seconds=statistics.median(seen[0].wall),
        same_label=float((exact[0] == ours).all(axis=0).mean()) if exact else None,
    )


def released_order(fixture: BenchFixture, templates: int | None = None) -> BenchReleasedOrder:
    """Compare our and the released code's order of work on the first image, in float32, before refinement.

    templates: how many, from the first; None for all. Ours runs once as a run's first image, which encodes the texts,
    and once as any later one, which is compared with the other: it encodes its texts for every image. Times are
    processor times (wall times on a GPU).
    """
    image, device = decoded(fixture.files[0]), fixture.car.device
    config, models = fixture.car.config, fixture.models
    config = config.model_copy(update={"crf": None, "templates": config.templates[:templates]})
    ours, theirs = CaR(config, **models, device=device), ReleasedOrder(config, **models)
    _, first_seconds = run_timed(lambda: ours.segment(image, fixture.queries, trace=True), device)
    found, seconds = run_timed(lambda: ours.segment(image, fixture.queries, trace=True), device)
    expected, released_seconds = run_timed(lambda: theirs.segment(image, fixture.queries), device)
    difference = None
    if found.kept == expected.kept:
        last = found.steps[-1]
        assert last.proposals is not None
        kept = last.proposals[[last.queries.index(i) for i in found.kept]]
        difference = float(np.abs(kept - expected.proposals).max(initial=0.0))
    return BenchReleasedOrder(
        first_image_seconds=first_seconds,
        seconds=seconds,
        released_order_seconds=released_seconds,
        times_faster=released_seconds / seconds,
        times_faster_on_first_image=released_seconds / first_seconds,
        templates=len(config.templates),
        queries=len(fixture.queries),
        steps=len(found.steps),
        same_survivors=found.kept == expected.kept,
        largest_mask_difference=difference,
    )


def memory(request: BenchRequest, *, batch_size: int) -> BenchMemory:
    """Measure the largest memory of a process that only segments the images, host and device, in MiB.

    Null if that process is killed for lack of memory: earlier measurements are not lost.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measure_memory, request, batch_size).result()
        except (BrokenProcessPool, torch.OutOfMemoryError):
            images = len(request.images) or request.n_images
            return BenchMemory(host_peak_mib=None, device_peak_mib=None, images=images, batch_size=batch_size)


def _measure_memory(request: BenchRequest, batch_size: int) -> BenchMemory:
    fixture = load_fixture(request)
    _run_once(fixture, batch_size)
    device = fixture.car.device
    device_mib = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    host_mib, images = peak_rss_mib(), len(fixture.files)
    return BenchMemory(host_peak_mib=host_mib, device_peak_mib=device_mib, images=images, batch_size=batch_size)
