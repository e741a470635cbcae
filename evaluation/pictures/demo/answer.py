"""What the demo answers to a picture and phrases; knows nothing of web pages' frameworks."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import escape
from PIL import Image

from car_core import CaR, CaRConfig, ConfigError, QueryError
from car_core.engine.stage_cache import StageMemory
from car_core.models.weights_names import MINIATURE
from dataset_adapters.formats.images import read_image
from evaluation.analysis.gallery import draw_segmentation
from evaluation.pictures.explain import LONE_PHRASE
from results.pages import segmentation_html
from support.arrays import RGBArray
from support.drawing import resize_image
from support.errors import ImageError
from support.text import visible

THRESHOLDS = ("theta", "eta", "lambda_")
"""Fields that the page has sliders for."""

# Stages of CaR in words, in their order.
_STAGES = {
    "trunk": "f reads the image",
    "proposals": "f proposes masks",
    "classifier": "g scores prompted images",
    "refine": "CRF",
}


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    file_bytes: of an upload. pixels: of a picture, before it is decoded. side: longer side in pixels that is segmented;
    a larger picture is shrunk. phrases: how many. characters: of a phrase.
    """

    file_bytes: int = 10 * 2**20
    pixels: int = 25_000_000
    side: int = 1024
    phrases: int = 12
    characters: int = 200


@dataclass(frozen=True)
class Answer:
    """html: the result, all texts escaped. status: what was done, or one line that says what is wrong; escaped too."""

    html: str
    status: str


class Demo:
    """Answers one request after the other, with one CaR whose memory spares what did not change since before."""

    def __init__(self, car: CaR, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.config = car.config
        self.has_miniature = any(record.name == MINIATURE for record in car.weights)
        self._memory = StageMemory()
        self._car = car.with_config(car.config)
        self._car.memory = self._memory
        self._one_at_a_time = threading.Lock()

    def answer(self, place: str | Path | None, phrases: str, thresholds: Mapping[str, float]) -> Answer:
        """Segment the picture file with the phrases (see `split_phrases`); thresholds: values of `THRESHOLDS` by name.

        A picture, phrases or values that cannot be used are an answer too: one line, no result.
        """
        try:
            return self._answer(place, phrases, thresholds)
        except (ImageError, QueryError, ConfigError) as error:
            # An upload's name on this machine is nobody's business.
            reason = error.reason if isinstance(error, ImageError) else str(error)
            return Answer("", f"<b>Not done:</b> {escape(visible(reason, limit=300))}")

    def _answer(self, place: str | Path | None, phrases: str, thresholds: Mapping[str, float]) -> Answer:
        if not place:
            raise QueryError("picture: expected one, found none; upload one or take an example")
        queries = split_phrases(phrases, self.limits)
        config = CaRConfig(**{**self.config.model_dump(), **{name: thresholds[name] for name in THRESHOLDS}})
        start = time.perf_counter()
        with self._one_at_a_time:
            before = self._memory.computed.copy()
            found = self._car.with_config(config).segment(read_picture(place, self.limits), queries, trace=True)
            ran = self._memory.computed - before
        seconds = time.perf_counter() - start
        return Answer(segmentation_html(draw_segmentation(found)), _status(len(found.kept), len(queries), seconds, ran))


def split_phrases(text: str, limits: Limits) -> list[str]:
    """Phrases one a line; on a single line, between commas. Raises QueryError for none, too many or too long ones."""
    separator = r"\n" if "\n" in text.strip() else ","
    phrases = list(dict.fromkeys(" ".join(part.split()) for part in re.split(separator, text) if part.strip()))
    if not 1 <= len(phrases) <= limits.phrases:
        raise QueryError(f"phrases: expected 1 to {limits.phrases}, found {len(phrases)}")
    longest = max(phrases, key=len)
    if len(longest) > limits.characters:
        raise QueryError(f"phrases: expected at most {limits.characters} characters each, found {len(longest)}")
    return phrases


def read_picture(place: str | Path, limits: Limits) -> RGBArray:
    """Decode a picture file to uint8 [H, W, 3], shrunk to the limits. Raises ImageError, also for too many pixels."""
    try:
        with Image.open(place) as opened:
            width, height = opened.size
    except Exception as error:  # a damaged file makes decoders raise errors of almost any type
        raise ImageError("picture: expected an image file, found something else", str(place)) from error
    if width * height > limits.pixels:
        raise ImageError(f"picture: expected at most {limits.pixels:,} pixels, found {width} x {height}", str(place))
    image = read_image(place, apply_exif=True)
    scale = min(1.0, limits.side / max(image.shape[:2]))
    size = max(1, round(scale * image.shape[0])), max(1, round(scale * image.shape[1]))
    return np.ascontiguousarray(resize_image(image, size))


def _status(n_kept: int, n_queries: int, seconds: float, ran: Counter[str]) -> str:
    phrases = "phrase" if n_queries == 1 else "phrases"
    kept = [words for stage, words in _STAGES.items() if stage not in ran]
    done = [f"{words} ({ran[stage]}&times;)" for stage, words in _STAGES.items() if stage in ran]
    stages = _listed("Computed", done) + _listed("Known from before", kept)
    notice = f"<b>Notice:</b> {LONE_PHRASE}. " if n_queries == 1 else ""
    return f"{n_kept} of {n_queries} {phrases} kept in {seconds:.1f} s. {notice}{stages}"


def _listed(title: str, items: Sequence[str]) -> str:
    return f"<b>{title}:</b> {', '.join(items)}. " if items else ""
