"""Phrases in user-supplied images: the model, and what it finds in each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from car_core import CaR
from dataset_adapters.formats.images import read_image
from evaluation.pictures.image_files import Found
from evaluation.request.resolve import ResolvedCar
from support.console import tell
from support.errors import ImageError


def load_car(resolved: ResolvedCar) -> CaR:
    """CaR for user-supplied images; prints what stands in for weights that were not named. Raises ModelError."""
    for notice in resolved.notices:
        tell(f"notice: {notice}")
    return CaR.from_config(resolved.config, weights=resolved.weights, device=resolved.device)


def segment_files(car: CaR, images: Sequence[Path], queries: Sequence[str], *, trace: bool) -> Iterator[Found]:
    """Segment images one by one, as the results are consumed; an unreadable image does not end the others.

    Raises QueryError for queries that no image can be segmented with.
    """
    checked = car.check_queries(queries)
    for path in images:
        try:
            image = read_image(path, apply_exif=True)
        except ImageError as error:  # noqa: PERF203 - an image that cannot be read does not end the others
            yield Found(path, None, str(error))
        else:
            yield Found(path, car.segment(image, checked, trace=trace))
