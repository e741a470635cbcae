"""Phrases on pictures of one's own: the model for them, and what it finds in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from car_core import CaR, CaRConfig
from car_core.config import Mode, Profile
from car_core.models.names import MINIATURE
from dataset_adapters.formats.images import read_image
from evaluation.pictures.image_files import Found
from evaluation.request.benchmark import Source
from evaluation.request.checks import picture_config
from evaluation.request.inputs import weights_notices, with_own_models
from support.console import tell
from support.errors import ImageError


def load_car(
    weights: Mapping[str, str | None], *, profile: Profile | None, mode: Mode, settings: Mapping[str, Any], device: str
) -> CaR:
    """CaR for pictures of one's own; weights by role, None (with a line on standard error) for the miniature's.

    profile, settings: as `picture_config`, which also says what is raised; ModelError too.
    """
    config = picture_config(weights, profile, mode, settings)
    for notice in weights_notices(weights, "it knows emoji and not photos, for which there is --weights openai"):
        tell(f"notice: {notice}")
    named = {role: name or MINIATURE for role, name in weights.items()}
    sources: dict[str, Source] = {name: "user" if name in settings else "default" for name in CaRConfig.model_fields}
    return CaR.from_config(with_own_models(config, sources, named)[0], weights=named, device=device)


def segment_files(car: CaR, images: Sequence[Path], queries: Sequence[str], *, trace: bool) -> Iterator[Found]:
    """Segment one image after the other as the results are asked for; one that cannot be read does not end the rest.

    Raises QueryError for queries that no image can be segmented with.
    """
    checked = car.check_queries(queries)
    for path in images:
        yield _segment_file(car, path, checked, trace)


def _segment_file(car: CaR, path: Path, queries: Sequence[str], trace: bool) -> Found:
    try:
        image = read_image(path, apply_exif=True)
    except ImageError as error:
        return Found(path, None, str(error))
    return Found(path, car.segment(image, queries, trace=trace))
