"""Segmentation of the user's images: loading the models, then one image after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from car_core import CaR, CaRConfig
from car_core.config import Mode, Profile
from car_core.models.names import MINIATURE
from evaluation.pictures.image_files import FileResult, read_file
from evaluation.request.benchmark import Source
from evaluation.request.checks import picture_config
from evaluation.request.inputs import weights_notices, with_own_models
from support.console import tell


def load_car(
    weights: Mapping[str, str | None], *, profile: Profile | None, mode: Mode, settings: Mapping[str, Any], device: str
) -> CaR:
    """CaR for the user's images. weights: by role; None (with a line on standard error) for the miniature's.

    profile, settings: as for `picture_config`. Raises what that raises, and ModelError.
    """
    config = picture_config(weights, profile, mode, settings)
    for notice in weights_notices(weights, "it knows emoji and not photos, for which there is --weights openai"):
        tell(f"notice: {notice}")
    named = {role: name or MINIATURE for role, name in weights.items()}
    sources: dict[str, Source] = {name: "user" if name in settings else "default" for name in CaRConfig.model_fields}
    return CaR.from_config(with_own_models(config, sources, named)[0], weights=named, device=device)


def segment_files(car: CaR, images: Sequence[Path], queries: Sequence[str], *, trace: bool) -> Iterator[FileResult]:
    """Segment one image after the other, each when its result is asked for; an unreadable one does not end the rest.

    Raises QueryError for queries with which no image can be segmented.
    """
    checked = car.check_queries(queries)
    for path in images:
        image = read_file(path)
        yield image if isinstance(image, FileResult) else FileResult(path, car.segment(image, checked, trace=trace))
