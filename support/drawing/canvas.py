"""Text, chips and bars on a picture. The only place that knows fonts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from support.arrays import RGBArray
from support.drawing.palette import INK, PANEL, PAPER, WHITE, Color, mix

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Fonts of the system for letters that Pillow's own font lacks, which has ASCII alone; the first that is there.
_WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arialuni.ttf", "msgothic.ttc")


def to_pil(picture: RGBArray) -> Image.Image:
    """uint8 [H, W, 3] as a PIL image."""
    return Image.fromarray(picture)


def encode(picture: RGBArray, file_format: str, **options: int) -> bytes:
    """uint8 [H, W, 3] as the bytes of a picture file ("png", "webp", "jpeg"); options are Pillow's."""
    stream = io.BytesIO()
    to_pil(picture).save(stream, file_format.upper(), **options)
    return stream.getvalue()


class Canvas:
    """A white picture to draw on; all lengths are pixels, places are (x, y) from the upper left corner."""

    def __init__(self, width: int, height: int, background: Color = PAPER) -> None:
        self._image = Image.new("RGB", (width, height), background)
        self._draw = ImageDraw.Draw(self._image)
        self.width, self.height = width, height

    def picture(self) -> RGBArray:
        """What was drawn, uint8 [height, width, 3]."""
        return np.asarray(self._image)

    def paste(self, picture: RGBArray, x: int, y: int) -> None:
        """Lay a picture uint8 [H, W, 3] on the canvas."""
        self._image.paste(to_pil(picture), (x, y))

    def text(
        self,
        x: int,
        y: int,
        text: str,
        size: int,
        *,
        color: Color = INK,
        width: int | None = None,
        strong: bool = False,
    ) -> int:
        """Write one line, cut with an ellipsis to ``width``; returns how wide it is."""
        shown = text_line(text) if width is None else fitted(text, size, width)
        stroke = size / 40 if strong else 0
        self._draw.text((x, y), shown, fill=color, font=_font(size, _is_plain(shown)), stroke_width=stroke)
        return text_width(shown, size)

    def panel(self, x: int, y: int, width: int, height: int, color: Color = PANEL) -> None:
        """A rounded area."""
        self._draw.rounded_rectangle((x, y, x + width - 1, y + height - 1), radius=max(3, height // 12), fill=color)

    def chip(self, x: int, y: int, size: int, color: Color) -> None:
        """A rounded square of a label's color, with a darker rim that shows on white too."""
        box = (x, y, x + size - 1, y + size - 1)
        self._draw.rounded_rectangle(box, radius=size // 4, fill=color, outline=mix(color, INK, 0.35), width=1)

    def bar(self, x: int, y: int, width: int, height: int, *, value: float, mark: float | None, color: Color) -> None:
        """A bar filled up to ``value`` with a tick at ``mark``, both in 0..1."""
        self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill=mix(PANEL, INK, 0.08))
        if value > 0:
            self._draw.rectangle((x, y, x + max(1, round(value * width)) - 1, y + height - 1), fill=color)
        if mark is not None:
            tick = x + round(mark * (width - 1))
            self._draw.line((tick, y - 2, tick, y + height + 1), fill=WHITE, width=4)
            self._draw.line((tick, y - 3, tick, y + height + 2), fill=INK, width=2)

    def check(self, x: int, y: int, size: int, color: Color) -> None:
        """A tick mark."""
        points = [(x, y + size * 0.55), (x + size * 0.38, y + size * 0.9), (x + size, y + size * 0.1)]
        self._draw.line(points, fill=color, width=max(2, size // 5), joint="curve")

    def cross(self, x: int, y: int, size: int, color: Color) -> None:
        """An X."""
        width = max(2, size // 5)
        self._draw.line((x, y + 1, x + size, y + size), fill=color, width=width)
        self._draw.line((x, y + size, x + size, y + 1), fill=color, width=width)


def text_line(text: str) -> str:
    """The text on one line: what cannot be printed becomes a space."""
    return "".join(character if character.isprintable() else " " for character in text)


def text_width(text: str, size: int) -> int:
    """Width of one line in pixels."""
    return round(_font(size, _is_plain(text)).getlength(text))


def fitted(text: str, size: int, width: int) -> str:
    """The line, cut with an ellipsis where it is wider than that many pixels."""
    line = text_line(text)
    if text_width(line, size) <= width:
        return line
    kept = len(line)
    while kept and text_width(line[:kept].rstrip() + "…", size) > width:
        kept -= 1
    return line[:kept].rstrip() + "…"


def wrapped(widths: Sequence[int], total: int, gap: int) -> list[list[int]]:
    """Positions of items of these widths, broken into rows that are at most ``total`` pixels wide."""
    rows: list[list[int]] = []
    left = -1
    for position, width in enumerate(widths):
        if not rows or width + gap > left:
            rows.append([])
            left = total + gap
        rows[-1].append(position)
        left -= width + gap
    return rows


def _is_plain(text: str) -> bool:
    return all(character.isascii() or character in "…·" for character in text)


@cache
def _font(size: int, plain: bool) -> Font:
    return ImageFont.load_default(size) if plain else _wide_font(size, _WIDE_FONTS)


def _wide_font(size: int, names: Sequence[str]) -> Font:
    """The first of the system's fonts that is there, else Pillow's own."""
    if not names:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(names[0], size)
    except OSError:
        return _wide_font(size, names[1:])
