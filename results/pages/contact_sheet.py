"""Contact sheets: images with their targets and predictions. Arrays in, one RGB array out."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from support.arrays import Int32Array, RGBArray
from support.files import write_atomically

Color = tuple[int, int, int]

TILE_WIDTH, TILE_HEIGHT = 208, 168
"""Box that each picture is fitted into, pixels."""
COLUMNS = 2
"""Examples side by side."""

_GAP = 8
_MARGIN = 28
_TITLE = 54
_LEGEND = 46
_EXAMPLE_WIDTH = 3 * TILE_WIDTH + 2 * _GAP
_EXAMPLE_HEIGHT = TILE_HEIGHT + _LEGEND
_WHITE, _INK, _FAINT = (255, 255, 255), (32, 36, 42), (118, 124, 132)
_IGNORED = (250, 250, 250)
_OPACITY = 0.62
# Told apart also with a color vision deficiency (Okabe and Ito), then hues as they come.
_COLOURS: tuple[Color, ...] = (
    (230, 96, 0), (0, 114, 178), (0, 158, 115), (204, 80, 160), (240, 205, 40), (86, 180, 233), (140, 86, 75),
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One image with what should and what was found on it.

    image: uint8 [H, W, 3], RGB. target, prediction: int32 [H, W], labels; 0 is background where `names` has no other
    meaning for it. names: label names. ignore_label: target value that no metric counts. caption: a line below.
    """

    image: RGBArray
    target: Int32Array
    prediction: Int32Array
    names: Mapping[int, str]
    ignore_label: int = 255
    caption: str = ""

    def __post_init__(self) -> None:
        for name in ("target", "prediction"):
            found = getattr(self, name).shape
            if found != self.image.shape[:2]:
                raise ValueError(f"{name}: expected the image's shape {self.image.shape[:2]}, found {found}")


def contact_sheet(sections: Mapping[str, Sequence[Example]]) -> RGBArray:
    """Image, target and prediction of every example, two examples a row, sections under their titles.

    Masks are drawn in color with an outline over the faded image; the same color is the same label in both, and the
    legend below names it, "missed" if it is in the target alone and "wrong" if in the prediction alone. Returns uint8
    [H, W, 3].
    """
    rows = {title: -(-len(examples) // COLUMNS) for title, examples in sections.items()}
    height = 2 * _MARGIN + sum(_TITLE + n * (_EXAMPLE_HEIGHT + _GAP) for n in rows.values())
    width = 2 * _MARGIN + COLUMNS * _EXAMPLE_WIDTH + (COLUMNS - 1) * _MARGIN
    sheet = Image.new("RGB", (width, height), _WHITE)
    top = _MARGIN
    for title, examples in sections.items():
        _draw_title(sheet, title, top)
        for position, example in enumerate(examples):
            row, column = divmod(position, COLUMNS)
            corner = (
                _MARGIN + column * (_EXAMPLE_WIDTH + _MARGIN),
                top + _TITLE + row * (_EXAMPLE_HEIGHT + _GAP),
            )
            _draw_example(sheet, example, corner)
        top += _TITLE + rows[title] * (_EXAMPLE_HEIGHT + _GAP)
    return np.asarray(sheet)


def overlay(image: RGBArray, labels: Int32Array, colors: Mapping[int, Color], ignore_label: int) -> RGBArray:
    """The image faded to gray, with each label of `colors` painted over it and outlined: uint8 [H, W, 3].

    Pixels of `ignore_label` become white.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    painted = np.repeat(90 + 0.6 * gray[:, :, None], 3, axis=2)
    for label, color in colors.items():
        mask = labels == label
        painted[mask] = _OPACITY * np.array(color) + (1 - _OPACITY) * image[mask]
    painted[labels == ignore_label] = _IGNORED
    picture = np.clip(painted, 0, 255).astype(np.uint8)
    for label, color in colors.items():
        outlines, _ = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, color, 2)
    return picture


def colors_of(labels: Sequence[int]) -> dict[int, Color]:
    """A color for each label, distinct within one picture."""
    return {label: _COLOURS[i] if i < len(_COLOURS) else _hue(i) for i, label in enumerate(labels)}


def save_png(picture: RGBArray, path: Path) -> None:
    """Write uint8 [H, W, 3] as PNG, by way of a new file beside it."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", optimize=True)
    write_atomically(path, stream.getvalue(), synced=False)


def _hue(index: int) -> Color:
    # Steps of the golden ratio never come back to a hue.
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618 % 1, 0.75, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def _draw_title(sheet: Image.Image, title: str, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, top), title, _INK, _font(20))
    for column in range(COLUMNS):
        left = _MARGIN + column * (_EXAMPLE_WIDTH + _MARGIN)
        for position, heading in enumerate(("image", "target", "prediction")):
            draw.text((left + position * (TILE_WIDTH + _GAP), top + 31), heading, _FAINT, _font(13))


def _draw_example(sheet: Image.Image, example: Example, corner: tuple[int, int]) -> None:
    left, top = corner
    target, prediction = (_foreground(labels, example) for labels in (example.target, example.prediction))
    colors = colors_of([*target, *(label for label in prediction if label not in target)])
    pictures = [example.image]
    pictures += [
        overlay(example.image, part, colors, example.ignore_label) for part in (example.target, example.prediction)
    ]
    for position, picture in enumerate(pictures):
        sheet.paste(_fitted(picture), (left + position * (TILE_WIDTH + _GAP), top))
    draw = ImageDraw.Draw(sheet)
    entries = [(colors[label], _entry(label, target, prediction, example)) for label in colors]
    if example.caption:
        draw.text((left, top + TILE_HEIGHT + 3), _shortened(draw, example.caption, _EXAMPLE_WIDTH), _INK, _font(14))
    else:
        _draw_legend(draw, entries or [(_WHITE, "nothing to find, nothing found")], (left, top + TILE_HEIGHT + 3))


def _foreground(labels: Int32Array, example: Example) -> list[int]:
    """Labels that are drawn, the largest first."""
    values, sizes = np.unique(labels, return_counts=True)
    order = [int(values[i]) for i in np.argsort(-sizes, kind="stable")]
    return [label for label in order if label not in (0, example.ignore_label)]


def _entry(label: int, target: Sequence[int], prediction: Sequence[int], example: Example) -> str:
    verdict = "" if label in target and label in prediction else " (missed)" if label in target else " (wrong)"
    return f"{example.names.get(label, str(label))}{verdict}"


def _draw_legend(draw: ImageDraw.ImageDraw, entries: Sequence[tuple[Color, str]], corner: tuple[int, int]) -> None:
    """Chips with names, on two lines; what does not fit is counted."""
    left, top = corner
    x, y, font = left, top, _font(13)
    for position, (color, text) in enumerate(entries):
        width = 16 + round(draw.textlength(text, font)) + 12
        if x + width > left + _EXAMPLE_WIDTH - 40 and x > left:
            if y > top:
                draw.text((x, y), f"+{len(entries) - position}", _FAINT, font)
                return
            x, y = left, top + 20
        draw.rectangle((x, y + 3, x + 11, y + 14), fill=color)
        draw.text((x + 16, y), text, _INK, font)
        x += width


def _shortened(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    font = _font(14)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"


def _fitted(picture: RGBArray) -> Image.Image:
    """The picture in the upper left of a white tile, its aspect kept."""
    height, width = picture.shape[:2]
    scale = min(TILE_HEIGHT / height, TILE_WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tile = Image.new("RGB", (TILE_WIDTH, TILE_HEIGHT), _WHITE)
    tile.paste(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS), (0, 0))
    return tile


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
