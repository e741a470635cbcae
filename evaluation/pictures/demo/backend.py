"""The computation behind the demo: a picture and phrases in, HTML out; independent of web frameworks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import escape

from car_core import CaR, CaRConfig, ConfigError, QueryError
from car_core.engine.stage_cache import StageCache
from car_core.names import MINIATURE
from dataset_adapters.formats.images import ImageFileError, open_picture, read_image
from evaluation.analysis.drawn_samples import draw_segmentation
from evaluation.pictures.explain import COMMA, LONE_PHRASE
from results.pages.report import segmentation_html
from support.arrays import RGBArray
from support.drawing import resize_image
from support.text import counted, visible

THRESHOLDS = ("theta", "eta", "lambda_")
"""Fields that the page has sliders for."""

# CaR's stages in their order, as the status line names them.
_STAGES = {
    "trunk": "image features of f",
    "proposals": "mask proposals of f",
    "classifier": "scores of g",
    "refine": "mask refinement (CRF)",
}


@dataclass(frozen=True)
class Limits:
    """Limits of a visitor's input.

    file_bytes: of an upload. total_bytes: of all uploads that are kept. pixels: of a picture, checked before it is
    decoded. side: longer side in pixels to which larger pictures are shrunk. phrases: how many. characters: per phrase.
    """

    file_bytes: int = 10 * 2**20
    total_bytes: int = 500 * 2**20
    pixels: int = 25_000_000
    side: int = 1024
    phrases: int = 12
    characters: int = 200


@dataclass(frozen=True)
class DemoResult:
    """html: the result, or empty. status: what was done or what is wrong, in one line. Both are escaped."""

    html: str
    status: str


class Demo:
    """Serves one request at a time with one CaR, whose stage cache spares what has not changed since the last one."""

    def __init__(self, car: CaR, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.config = car.config
        self.has_miniature = any(record.name == MINIATURE for record in car.weights)
        self._cache = StageCache()
        self._car = car.with_config(car.config)
        self._car.cache = self._cache
        self._one_at_a_time = threading.Lock()

    def segment(self, image_path: str | Path | None, phrases: str, thresholds: Mapping[str, float]) -> DemoResult:
        """Segment an image file. phrases: see `split_phrases`. thresholds: values of `THRESHOLDS` by name.

        Unusable input is reported in the result's status.
        """
        if not image_path:
            return DemoResult("", "Please upload a picture or pick an example.")
        try:
            queries = split_phrases(phrases, self.limits)
            config = CaRConfig(**{**self.config.model_dump(), **{name: thresholds[name] for name in THRESHOLDS}})
            start = time.perf_counter()
            with self._one_at_a_time:
                before = self._cache.computed.copy()
                image = read_picture(image_path, self.limits)
                segmentation = self._car.with_config(config).segment(image, queries, trace=True)
                computed = self._cache.computed - before
        except (ImageFileError, QueryError, ConfigError) as error:
            # Without the path of the upload, which must not be shown.
            reason = error.reason if isinstance(error, ImageFileError) else str(error)
            return DemoResult("", str(escape(visible(reason, limit=300))))
        seconds = time.perf_counter() - start
        sentences = [f"Kept {len(segmentation.kept)} of {counted(len(queries), 'phrase')} in {seconds:.1f} s."]
        notes = [COMMA.format(query=query, parts="lines") for query in queries if "," in query]
        notes += [LONE_PHRASE] * (len(queries) == 1)
        sentences += [f"<b>Note:</b> {escape(visible(note, limit=300))}." for note in notes]
        ran = [f"{words} ({computed[stage]}&times;)" for stage, words in _STAGES.items() if stage in computed]
        reused = [words for stage, words in _STAGES.items() if stage not in computed]
        for title, stages in (("Computed", ran), ("Reused", reused)):
            if stages:
                sentences.append(f'<span class="faint">{title}: {", ".join(stages)}.</span>')
        shown = draw_segmentation(segmentation, Path(Path(image_path).name))
        return DemoResult(segmentation_html(shown), " ".join(sentences))

    def asked(self, query: Iterable[tuple[str, str]]) -> tuple[str, dict[str, float]]:
        """The phrases, one per line, and thresholds that a page's address names; what it does not is as at the start.

        query: names and values; all but ``phrase``, theta, eta and lambda are ignored, and so are impossible values.
        """
        lines, thresholds = [], {name: getattr(self.config, name) for name in THRESHOLDS}
        for key, value in query:
            name = "lambda_" if key == "lambda" else key
            if key == "phrase":
                lines.append(value)
            elif name in thresholds:
                with suppress(ValueError):
                    number = float(value)
                    thresholds[name] = number if 0 <= number <= 1 else thresholds[name]
        return "\n".join(lines), thresholds


def split_phrases(text: str, limits: Limits) -> list[str]:
    """Phrases, one per line. Raises QueryError for none, too many or too long ones."""
    phrases = list(dict.fromkeys(" ".join(line.split()) for line in text.split("\n") if line.strip()))
    if not phrases:
        raise QueryError("Please enter at least one phrase.")
    if len(phrases) > limits.phrases:
        raise QueryError(f"Please enter at most {limits.phrases} phrases, not {len(phrases)}.")
    longest = max(map(len, phrases))
    if longest > limits.characters:
        raise QueryError(f"Please keep each phrase to {limits.characters} characters; the longest has {longest}.")
    return phrases


def read_picture(path: str | Path, limits: Limits) -> RGBArray:
    """Decode an image file to uint8 [H, W, 3], shrunk to the limits. Raises ImageFileError."""
    try:
        with open_picture(path) as opened:
            width, height = opened.size
    except Exception as error:  # a damaged file makes decoders raise errors of almost any type
        raise ImageFileError(str(path), "This file is not a picture, or it is damaged.") from error
    if width * height > limits.pixels:
        raise ImageFileError(
            str(path), f"This picture is too large: {width} x {height}, at most {limits.pixels:,} pixels."
        )
    image = read_image(path, apply_exif=True)
    scale = min(1.0, limits.side / max(image.shape[:2]))
    size = max(1, round(scale * image.shape[0])), max(1, round(scale * image.shape[1]))
    return np.ascontiguousarray(resize_image(image, size))
