"""The measurements of ``car bench``: functions of models, images and queries; no printing."""

from __future__ import annotations

import io
import multiprocessing
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from car_core import CaR, CaRConfig, Segmentation
from car_core.config import CRFConfig, Precision, Profile
from car_core.engine.batching import Passes
from car_core.engine.precision import dtype_of
from car_core.models.weights import load_clip
from car_core.unrefined import refined
from dataset_adapters.formats.images import read_image
from evaluation.bench.machine import Timing, matrix_product, operations, peak_device_mib, run_timed, timings
from evaluation.bench.released_order import Found, ReleasedOrder
from evaluation.run.identity import peak_rss_mib
from evaluation.tasks.semantic import count_sample
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
"""About as many as survive of a photograph's."""
GENERATED_SIZE = (375, 500)  # height, width: a common one in Pascal VOC


@dataclass(frozen=True)
class Subject:
    """What is measured: models, encoded pictures (JPEG or PNG), queries."""

    car: CaR
    models: Mapping[str, Any]  # arguments of CaR
    files: Sequence[bytes]
    queries: Sequence[str]
    load_seconds: float


@dataclass(frozen=True)
class EncoderSpeed:
    """One encoder against the machine's matrix products, both measured in turns.

    share_of_peak: of what the matrix product reaches a second of processor time (of wall time on a GPU), fastest runs.
    """

    name: str
    gflop: float
    seconds: float
    spread: float
    gflop_per_second: float
    share_of_peak: float


@dataclass
class Pipeline:
    """Time of whole images. stages: seconds an image by stage, medians over the repeats."""

    images_per_second: float
    spread: float
    stages: dict[str, float] = field(default_factory=dict)
    encoders_share: float = 0.0  # of trunk and classifier in all of it


@dataclass(frozen=True)
class Wanted:
    """Models of a size of `SIZES`, pictures from files or made, and the first ``n_queries`` of `QUERIES`."""

    size: str = "mini"
    device: str = "cpu"
    precision: Precision = "float32"
    images: Sequence[Path] = ()
    n_images: int = 4
    n_queries: int = 20
    profile: Profile = "released"


def subject(wanted: Wanted) -> Subject:
    """What is wanted, loaded. Raises ImageError for a file that is no image, ModelError for a device not here."""
    device, n_images = wanted.device, wanted.n_images
    files = [_checked(path) for path in wanted.images[:n_images]] or [_made_picture(i) for i in range(n_images)]
    proposal, classifier, weights = SIZES[wanted.size]
    start = time.perf_counter()
    loaded = {name: load_clip(name, weights, role="bench", device=device)[0] for name in {proposal, classifier}}
    load_seconds = time.perf_counter() - start
    if weights.startswith("random"):
        for model in loaded.values():
            _sharpen(model)
    models = {"proposal_clip": loaded[proposal], "classifier_clip": loaded[classifier]}
    settings: dict[str, Any] = {"profile": wanted.profile, "proposal_model": proposal, "classifier_model": classifier}
    car = CaR(
        CaRConfig(**settings),
        proposal_clip=models["proposal_clip"],
        classifier_clip=models["classifier_clip"],
        device=device,
        precision=wanted.precision,
    )
    return Subject(car, models, files, QUERIES[: wanted.n_queries], load_seconds)


def _checked(path: Path) -> bytes:
    """An image file's bytes, once it can be decoded."""
    read_image(path)
    return path.read_bytes()


def _sharpen(model: Any) -> None:
    """Larger token embeddings, queries and keys of random weights, without effect on time.

    An untrained model takes all texts for the same and attends to all patches alike: what its maps show is rounding.
    """
    with torch.no_grad():
        model.token_embedding.weight *= 50
        for block in model.visual.transformer.resblocks:
            block.attn.in_proj_weight[: -block.attn.embed_dim] *= 4


def _made_picture(seed: int) -> bytes:
    """A smooth picture with some noise, so that proposals have shape and the CRF has edges, as JPEG."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: GENERATED_SIZE[0], : GENERATED_SIZE[1]] / 40.0
    waves = [np.sin(a * rows + 3 * c) * np.cos(b * columns + 3 * d) for a, b, c, d in rng.uniform(0.3, 1.5, (3, 4))]
    pixels = 128 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 12, (*GENERATED_SIZE, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def pipeline(subject: Subject, *, repeats: int, batch_size: int) -> Pipeline:
    """Whole images, from files to counts; the first run, which encodes the texts, is not counted."""
    _run_once(subject, batch_size)
    runs = [_run_once(subject, batch_size) for _ in range(repeats)]
    walls = [sum(stages.values()) for stages in runs]
    per_image = {stage: statistics.median(run[stage] for run in runs) / len(subject.files) for stage in runs[0]}
    encoders = (per_image["trunk"] + per_image["classifier"]) / sum(per_image.values())
    return Pipeline(len(subject.files) / statistics.median(walls), max(walls) / min(walls) - 1, per_image, encoders)


def _run_once(subject: Subject, batch_size: int) -> dict[str, float]:
    """Seconds by stage of all images; what no stage accounts for is "waiting"."""
    stages: dict[str, float] = defaultdict(float)
    start = time.perf_counter()
    for first in range(0, len(subject.files), batch_size):
        began = time.perf_counter()
        images = [decoded(file) for file in subject.files[first : first + batch_size]]
        stages["decode"] += time.perf_counter() - began
        found = subject.car.segment_batch(images, [subject.queries] * len(images))
        for stage, seconds in _stage_seconds(found):
            stages[stage] += seconds
        began = time.perf_counter()
        for segmentation in found:
            count_sample(segmentation.label_map, segmentation.label_map, len(subject.queries) + 1, 255)
        stages["counting"] += time.perf_counter() - began
    stages["waiting"] = max(0.0, time.perf_counter() - start - sum(stages.values()))
    return dict(stages)


def _stage_seconds(found: Iterable[Segmentation]) -> Iterable[tuple[str, float]]:
    return (item for segmentation in found for item in segmentation.seconds.items())


def decoded(file: bytes) -> RGBArray:
    """uint8 [H, W, 3] from an image file's bytes."""
    return read_image(io.BytesIO(file), apply_exif=True)


def encoder_speeds(subject: Subject, *, repeats: int) -> tuple[float, list[EncoderSpeed]]:
    """The machine's matrix products in GFLOP/s, in the models' precision, and trunk and classifier beside them.

    The classifier has an image's prompted images, the trunk one image; on a GPU each a full pass.
    """
    car, device = subject.car, subject.car.device
    image = decoded(subject.files[0])
    tower, classifier = car.proposal_tower, car.classifier_tower
    # Passes that are filled where they are shared: else their padding would count as work.
    pixels = [tower.preprocess(image, car.config.max_patches)[None]] * _filling(car.trunk_passes, 1)
    crops = [classifier.preprocess(image)] * _filling(car.classifier_passes, len(subject.queries))
    prompted = [torch.stack(crops).to(device)]
    product, product_operations = matrix_product(device, dtype_of(car.precision, device))
    work: dict[str, Callable[[], object]] = {
        "trunk": lambda: car.trunk_passes.encode(tower.trunk, pixels),
        "classifier": lambda: car.classifier_passes.encode(classifier.encode, prompted),
    }
    peak_timing, *found = timings([product, *work.values()], repeats, device)
    peak = product_operations / min(peak_timing.busy) / 1e9
    counted = {name: operations(piece) / 1e9 for name, piece in work.items()}
    return peak, [_speed(name, counted[name], timing, peak) for name, timing in zip(work, found, strict=True)]


def _filling(passes: Passes, otherwise: int) -> int:
    return passes.size if passes.shared else otherwise


def _speed(name: str, gflop: float, timing: Timing, peak: float) -> EncoderSpeed:
    share = gflop / min(timing.busy) / peak
    return EncoderSpeed(name, gflop, timing.median, timing.spread, gflop / timing.median, share)


def later_steps(subject: Subject, *, repeats: int) -> dict[str, float]:
    """Time for proposals in the first step, trunk included, and in the later ones: seconds an image, fastest runs."""
    once = subject.car.with_config(subject.car.config.model_copy(update={"recurrence": "once", "crf": None}))
    full = once.with_config(once.config.model_copy(update={"recurrence": "full"}))
    images = [decoded(file) for file in subject.files]
    _proposal_seconds(full, images, subject.queries)  # encodes the texts
    pairs = [[_proposal_seconds(car, images, subject.queries) for car in (once, full)] for _ in range(repeats)]
    first, trunk = (min(once[i] for once, _ in pairs) for i in (0, 1))
    later = max(0.0, min(full[0] for _, full in pairs) - first)
    return {
        "first_step_seconds": trunk + first,
        "later_steps_seconds": later,
        "later_over_first": later / (trunk + first),
    }


def _proposal_seconds(car: CaR, images: Sequence[RGBArray], queries: Sequence[str]) -> tuple[float, float]:
    """Seconds an image of CAM and affinity, and of the trunk."""
    runs = [car.segment(image, queries).seconds for image in images]
    cams = sum(seconds["cam"] + seconds.get("affinity", 0.0) for seconds in runs)
    return cams / len(runs), sum(seconds["trunk"] for seconds in runs) / len(runs)


def crf_speeds(subject: Subject, *, repeats: int) -> dict[str, Any]:
    """Each implementation of the CRF on the first image and its first queries: seconds, and where labels agree."""
    config = subject.car.config.model_copy(update={"recurrence": "none"})
    queries = subject.queries[:CRF_QUERIES]
    [unrefined] = subject.car.with_config(config).unrefined_batch([decoded(subject.files[0])], [queries])
    [task] = unrefined.tasks
    tasks = [replace(task, crf=CRFConfig(implementation=name)) for name in ("pydensecrf", "torch")]
    seen = timings([partial(refined, each) for each in tasks], repeats, subject.car.device)
    exact, ours = (refined(each).masks for each in tasks)
    return {
        "labels": len(queries) + 1,
        "pydensecrf_seconds": seen[0].median,
        "torch_seconds": seen[1].median,
        "same_label": float((exact == ours).all(axis=0).mean()),
    }


def released_order(subject: Subject, templates: int | None = None) -> dict[str, Any]:
    """Ours and the released code's order of work on the first image, in float32, before refinement: time and results.

    templates: how many, from the first; None for all. Ours runs once as a run's first image, for which texts are
    encoded, and once as any later one, with which the other is compared: it encodes its texts for every image. Times
    are of the processor (wall time on a GPU).
    """
    image, device = decoded(subject.files[0]), subject.car.device
    config, models = subject.car.config, subject.models
    config = config.model_copy(update={"crf": None, "templates": config.templates[:templates]})
    ours, theirs = CaR(config, **models, device=device), ReleasedOrder(config, **models)
    first, later = (run_timed(lambda: ours.segment(image, subject.queries, trace=True), device) for _ in range(2))
    expected, released_seconds = run_timed(lambda: theirs.segment(image, subject.queries), device)
    found, seconds = later
    same = found.kept == expected.kept
    return {
        "first_image_seconds": first[1],
        "seconds": seconds,
        "released_order_seconds": released_seconds,
        "times_faster": released_seconds / seconds,
        "times_faster_on_first_image": released_seconds / first[1],
        "templates": len(config.templates),
        "queries": len(subject.queries),
        "steps": len(found.steps),
        "same_survivors": same,
        "largest_mask_difference": _largest_difference(found, expected) if same else None,
    }


def _largest_difference(found: Segmentation, expected: Found) -> float:
    last = found.steps[-1]
    assert last.proposals is not None
    kept = last.proposals[[last.queries.index(i) for i in found.kept]]
    return float(np.abs(kept - expected.proposals).max(initial=0.0))


def memory(wanted: Wanted, *, batch_size: int) -> dict[str, float | int | None]:
    """Largest memory of a process that segments the images and does nothing else, host and device, MiB.

    Null if that process is ended, for lack of memory: what was measured before is not lost.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_memory, wanted, batch_size).result()
        except (BrokenProcessPool, torch.OutOfMemoryError):
            none = {"host_peak_mib": None, "device_peak_mib": None}
            return {**none, "images": len(wanted.images) or wanted.n_images, "batch_size": batch_size}


def _memory(wanted: Wanted, batch_size: int) -> dict[str, float | int | None]:
    found = subject(wanted)
    _run_once(found, batch_size)
    peaks = {"host_peak_mib": peak_rss_mib(), "device_peak_mib": peak_device_mib(found.car.device)}
    return {**peaks, "images": len(found.files), "batch_size": batch_size}
