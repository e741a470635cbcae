"""Text and simple shapes on a picture. The only place that knows fonts."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from support.arrays import RGBArray
from support.drawing.palette import INK, RULE, TRACK, WHITE, Color, mix

# Pillow's own font has only ASCII. For other letters, the first of these fonts that the system has.
_WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arialuni.ttf", "msgothic.ttc")


class Canvas:
    """A white picture to draw on. Lengths are pixels; x, y count from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width, height), WHITE)
        self._draw = ImageDraw.Draw(self._image)

    def picture(self) -> RGBArray:
        """The drawn picture, uint8 [height, width, 3]."""
        return np.asarray(self._image)

    def paste(self, picture: RGBArray, x: int, y: int) -> None:
        """Lay a picture uint8 [H, W, 3] on the canvas."""
        self._image.paste(Image.fromarray(picture), (x, y))

    def text(
        self, x: int, y: int, text: str, size: int, *, color: Color = INK, width: int | None = None, bold: bool = False
    ) -> int:
        """Write one line, cut with an ellipsis to ``width``; returns its width."""
        line = fit_text(text, size, width)
        self._draw.text((x, y), line, fill=color, font=_font(size, _is_plain(line)), stroke_width=size / 40 * bold)
        return text_width(line, size)

    def rule(self, x: int, y: int, width: int) -> None:
        """A thin horizontal line."""
        self._draw.line((x, y, x + width - 1, y), fill=RULE)

    def chip(self, x: int, y: int, size: int, color: Color) -> None:
        """A rounded square of a label's color, with a darker rim so that it shows on white."""
        box = (x, y, x + size - 1, y + size - 1)
        self._draw.rounded_rectangle(box, radius=size // 4, fill=color, outline=mix(color, INK, 0.35), width=1)

    def bar(self, x: int, y: int, width: int, height: int, *, value: float, mark: float | None, color: Color) -> None:
        """A bar filled up to ``value`` with a tick at ``mark``, both in 0..1."""
        self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill=TRACK)
        if value > 0:
            self._draw.rectangle((x, y, x + max(1, round(value * width)) - 1, y + height - 1), fill=color)
        if mark is not None:
            tick = x + round(mark * (width - 1))
            self._draw.line((tick, y - 2, tick, y + height + 1), fill=WHITE, width=4)
            self._draw.line((tick, y - 3, tick, y + height + 2), fill=INK, width=2)

    def check(self, x: int, y: int, size: int, color: Color) -> None:
        """A check mark."""
        points = [(x, y + size * 0.55), (x + size * 0.38, y + size * 0.9), (x + size, y + size * 0.1)]
        self._draw.line(points, fill=color, width=max(2, size // 5), joint="curve")

    def cross(self, x: int, y: int, size: int, color: Color) -> None:
        """An X."""
        width = max(2, size // 5)
        self._draw.line((x, y + 1, x + size, y + size), fill=color, width=width)
        self._draw.line((x, y + size, x + size, y + 1), fill=color, width=width)


def text_width(text: str, size: int) -> int:
    """Width of one line in pixels."""
    return round(_font(size, _is_plain(text)).getlength(text))


def fit_text(text: str, size: int, width: int | None = None) -> str:
    """The text on one line, unprintable characters as spaces, cut with an ellipsis if wider than ``width`` pixels."""
    line = "".join(character if character.isprintable() else " " for character in text)
    if width is None or text_width(line, size) <= width:
        return line
    too_long = bisect_right(range(len(line)), width, key=lambda n: text_width(line[:n].rstrip() + "…", size))
    return line[: max(0, too_long - 1)].rstrip() + "…"


def _is_plain(text: str) -> bool:
    return all(character.isascii() or character in "…·" for character in text)


@cache
def _font(size: int, plain: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in () if plain else _WIDE_FONTS:
        with suppress(OSError):  # the system does not have it
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)
