"""The measurements of ``car bench``: functions of models, images and queries; no printing."""

from __future__ import annotations

import io
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from car_core import CaR, CaRConfig, Segmentation
from car_core.config import Profile
from car_core.images import as_rgb
from car_core.segmentation import RGBArray
from car_core.weights import load_clip
from evaluation.bench.machine import Timing, matrix_product, operations, peak_device_mib, run_timed, timings
from evaluation.bench.released_order import Found, ReleasedOrder
from evaluation.identity import peak_rss_mib
from evaluation.metrics import metrics_for

# Architectures and weights of the two models by size: timing needs no trained weights.
SIZES: Mapping[str, tuple[str, str, str]] = {
    "mini": ("miniature", "miniature", "miniature"),
    "full": ("ViT-B-16", "ViT-L-14", "random:0"),
}
QUERIES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
GENERATED_SIZE = (375, 500)  # height, width: a common one in Pascal VOC


@dataclass(frozen=True)
class Subject:
    """What is measured: models, encoded pictures (JPEG or PNG), queries."""

    car: CaR
    models: Mapping[str, Any]  # arguments of CaR
    files: Sequence[bytes]
    queries: Sequence[str]


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


def subject(size: str, device: str, images: Sequence[Path], n_images: int, n_queries: int, profile: Profile) -> Subject:
    """Models of a size of `SIZES`, pictures from files or made, and the first ``n_queries`` of `QUERIES`."""
    proposal, classifier, weights = SIZES[size]
    loaded = {name: load_clip(name, weights, role="bench", device=device)[0] for name in {proposal, classifier}}
    models = {"proposal_clip": loaded[proposal], "classifier_clip": loaded[classifier]}
    settings: dict[str, Any] = {"profile": profile, "proposal_model": proposal, "classifier_model": classifier}
    car = CaR(
        CaRConfig(**settings),
        proposal_clip=models["proposal_clip"],
        classifier_clip=models["classifier_clip"],
        device=device,
    )
    files = [path.read_bytes() for path in images][:n_images] or [_made_picture(seed) for seed in range(n_images)]
    return Subject(car, models, files, QUERIES[:n_queries])


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
    return Pipeline(len(subject.files) / statistics.median(walls), max(walls) / min(walls) - 1, per_image)


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
            metrics_for("semantic").count(segmentation.label_map, segmentation.label_map, len(subject.queries) + 1, 255)
        stages["counting"] += time.perf_counter() - began
    stages["waiting"] = max(0.0, time.perf_counter() - start - sum(stages.values()))
    return dict(stages)


def _stage_seconds(found: Iterable[Segmentation]) -> Iterable[tuple[str, float]]:
    return (item for segmentation in found for item in segmentation.seconds.items())


def decoded(file: bytes) -> RGBArray:
    """uint8 [H, W, 3] from an image file's bytes."""
    return as_rgb(Image.open(io.BytesIO(file)))


def encoder_speeds(subject: Subject, *, repeats: int) -> tuple[float, list[EncoderSpeed]]:
    """The machine's matrix products in GFLOP/s, and the trunk of f and the classifier beside them."""
    car, device = subject.car, subject.car.device
    image = decoded(subject.files[0])
    tower, classifier = car.proposal_tower, car.classifier_tower
    pixels = tower.preprocess(image, car.config.max_patches).to(device)
    prompted = [torch.stack([classifier.preprocess(image)] * len(subject.queries))]
    product, product_operations = matrix_product(device)
    work: dict[str, Callable[[], object]] = {
        "trunk": lambda: tower.trunk(pixels),
        "classifier": lambda: car.classifier_passes.encode(classifier.encode, prompted),
    }
    peak_timing, *found = timings([product, *work.values()], repeats, device)
    peak = product_operations / min(peak_timing.busy) / 1e9
    counted = {name: operations(piece) / 1e9 for name, piece in work.items()}
    return peak, [_speed(name, counted[name], timing, peak) for name, timing in zip(work, found, strict=True)]


def _speed(name: str, gflop: float, timing: Timing, peak: float) -> EncoderSpeed:
    share = gflop / min(timing.busy) / peak
    return EncoderSpeed(name, gflop, timing.median, timing.spread, gflop / timing.median, share)


def later_steps(subject: Subject, *, repeats: int) -> dict[str, float]:
    """Proposal time of the first step and of the later ones, seconds an image, fastest runs, and their ratio."""
    once = subject.car.with_config(subject.car.config.model_copy(update={"recurrence": "once", "crf": None}))
    full = once.with_config(once.config.model_copy(update={"recurrence": "full"}))
    images = [decoded(file) for file in subject.files]

    def proposal_seconds(car: CaR) -> float:
        return sum(car.segment(image, subject.queries).seconds["proposals"] for image in images) / len(images)

    proposal_seconds(full)  # encodes the texts
    pairs = [(proposal_seconds(once), proposal_seconds(full)) for _ in range(repeats)]
    first, whole = (min(column) for column in zip(*pairs, strict=True))
    return {"first_step_seconds": first, "later_steps_seconds": whole - first, "later_over_first": whole / first - 1}


def released_order(subject: Subject) -> dict[str, Any]:
    """Ours and the released code's order of work on the first image, before refinement: time and results.

    Each starts without text features and runs once; times are of the processor (wall time on a GPU).
    """
    image, device = decoded(subject.files[0]), subject.car.device
    config, models = subject.car.config.model_copy(update={"crf": None}), subject.models
    ours, theirs = CaR(config, **models, device=device), ReleasedOrder(config, **models)
    found, seconds = run_timed(lambda: ours.segment(image, subject.queries, trace=True), device)
    expected, released_seconds = run_timed(lambda: theirs.segment(image, subject.queries), device)
    same = found.kept == expected.kept
    return {
        "seconds": seconds,
        "released_order_seconds": released_seconds,
        "times_faster": released_seconds / seconds,
        "templates": len(config.templates),
        "queries": len(subject.queries),
        "same_survivors": same,
        "largest_mask_difference": _largest_difference(found, expected) if same else None,
    }


def _largest_difference(found: Segmentation, expected: Found) -> float:
    last = found.steps[-1]
    assert last.proposals is not None
    kept = last.proposals[[last.queries.index(i) for i in found.kept]]
    return float(np.abs(kept - expected.proposals).max(initial=0.0))


def memory(device: torch.device) -> dict[str, float | None]:
    """Largest memory so far, host and device, MiB."""
    return {"host_peak_mib": peak_rss_mib(), "device_peak_mib": peak_device_mib(device)}
