"""Phrases in user-supplied images: the model, and what it finds in each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from car_core import CaR
from car_core.engine.device import as_devices
from car_core.models.names import AUTO
from evaluation.pictures.image_files import FileResult, read_file
from evaluation.request.resolve import ResolvedCar


def load_car(resolved: ResolvedCar) -> CaR:
    """CaR for user-supplied images. Raises ModelError."""
    device = resolved.device
    if device == AUTO:
        [device] = as_devices(device, compared=resolved.config.sam is None)
    return CaR.from_config(resolved.config, weights=resolved.weights, device=device)


def segment_files(car: CaR, images: Sequence[Path], queries: Sequence[str], *, trace: bool) -> Iterator[FileResult]:
    """Segment images one by one, as the results are consumed; an unreadable image does not end the others.

    Raises QueryError for queries that no image can be segmented with.
    """
    checked = car.check_queries(queries)
    for path in images:
        image = read_file(path)
        yield image if isinstance(image, FileResult) else FileResult(path, car.segment(image, checked, trace=trace))
