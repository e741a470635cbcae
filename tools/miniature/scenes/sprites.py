"""Emoji of several art styles, rendered from the SVG of the @iconify-json packages and cached as arrays."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import resvg_py
from PIL import Image

from .augment import filled_holes
from .vocabulary import Concept, concept_indices, load_concepts

HELD_OUT_STYLE = "noto"
TRAINING_STYLES = ("twemoji", "fluent-emoji", "fluent-emoji-flat", "noto-v1", "emojione", "fxemoji")
FURTHER_STYLES = ("streamline-emojis", "fluent-emoji-high-contrast", "emojione-monotone")
"""Emoji of mostly one color: shown in training, not in the tuning split."""
PICTOGRAMS = "pictograms"
"""Style of the icons of ICON_TABLE, whatever package they come from; like FURTHER_STYLES otherwise."""
MISNAMED = {("streamline-emojis", "turkey")}
"""Emoji that show something else in this style (here the country's flag)."""
ICON_TABLE = Path(__file__).with_name("icons.tsv")
SPRITE_SIDE = 160
"""Longer side of a cached sprite, in pixels."""
PREDECESSOR_STYLE = "noto-v1"
"""The older drawings of the held-out style's makers: some were kept unchanged, and those must not be trained on."""
COPY_DISTANCE = 0.06
"""A predecessor's sprite is a copy when its thumbnail differs less than this from a held-out one of its concept."""


@dataclass(frozen=True)
class Sprite:
    """One rendered emoji: uint8 RGBA [h, w, 4], cropped to its visible part, longer side SPRITE_SIDE."""

    style: str
    emoji: str
    concept: int
    core: bool
    pixels: np.ndarray


class IconSet:
    """One @iconify-json package: SVG bodies by name, with names compared without dashes."""

    def __init__(self, package: Path) -> None:
        data = json.loads((package / "icons.json").read_text(encoding="utf-8"))
        self.default_size = (data.get("width", 16), data.get("height", 16))
        self.icons: dict[str, dict[str, Any]] = {_plain(name): icon for name, icon in data["icons"].items()}
        for alias, entry in data.get("aliases", {}).items():
            parent = self.icons.get(_plain(entry["parent"]))
            if parent is not None and not {"rotate", "hFlip", "vFlip"} & set(entry):
                self.icons.setdefault(_plain(alias), parent)

    def __contains__(self, emoji: str) -> bool:
        return _plain(emoji) in self.icons

    def svg(self, emoji: str) -> str:
        """The SVG document of one emoji."""
        icon = self.icons[_plain(emoji)]
        width, height = icon.get("width", self.default_size[0]), icon.get("height", self.default_size[1])
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}" width="{width}" height="{height}">{icon["body"]}</svg>'
        )


def _plain(name: str) -> str:
    return name.replace("-", "")


def render_svg(svg: str, side: int = SPRITE_SIDE) -> np.ndarray:
    """Render an SVG document and crop it to what is visible: uint8 RGBA [h, w, 4], longer side `side`."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * side, height=2 * side))
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    rows, columns = np.nonzero(pixels[..., 3] > 8)
    pixels = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return resize_sprite(pixels, side / max(pixels.shape[:2]))


def resize_sprite(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Resize RGBA without bleeding the color of transparent pixels: uint8 [h, w, 4]."""
    height, width = (max(1, round(extent * scale)) for extent in pixels.shape[:2])
    alpha = pixels[..., 3:].astype(np.float32) / 255
    premultiplied = np.concatenate([pixels[..., :3] * alpha, pixels[..., 3:]], axis=2)
    small = cv2.resize(premultiplied, (width, height), interpolation=cv2.INTER_AREA)
    color = small[..., :3] / np.maximum(small[..., 3:] / 255, 1e-3)
    return np.concatenate([np.clip(color, 0, 255), small[..., 3:]], axis=2).round().astype(np.uint8)


def render_style(packages: Path, style: str) -> list[Sprite]:
    """All sprites of one style, in the order of the concept table; emoji that the style lacks are left out."""
    icons = IconSet(packages / style)
    sprites: list[Sprite] = []
    for index, concept in enumerate(load_concepts()):
        for emoji, core in _emoji_of(concept):
            if emoji in icons and (style, emoji) not in MISNAMED:
                pixels = render_svg(icons.svg(emoji))
                pixels = filled_holes(pixels) if style in FURTHER_STYLES else pixels
                sprites.append(Sprite(style, emoji, index, core, pixels))
    return sprites


def render_pictograms(packages: Path) -> list[Sprite]:
    """The icons of ICON_TABLE, in its order."""
    sprites: list[Sprite] = []
    index = concept_indices()
    for line in ICON_TABLE.read_text(encoding="utf-8").splitlines()[1:]:
        package, concept, names = line.split("\t")
        icons = IconSet(packages / package)
        for name in names.split():
            pixels = filled_holes(render_svg(icons.svg(name)))
            sprites.append(Sprite(PICTOGRAMS, name, index[concept], False, pixels))
    return sprites


def _emoji_of(concept: Concept) -> list[tuple[str, bool]]:
    return [(name, True) for name in concept.core_emoji] + [(name, False) for name in concept.further_emoji]


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A sprite on gray: float32 RGB [32, 32, 3] in [0, 1]."""
    side = max(pixels.shape[:2])
    canvas = np.full((side, side, 3), 128.0, np.float32)
    top, left = (side - pixels.shape[0]) // 2, (side - pixels.shape[1]) // 2
    window = canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    alpha = pixels[..., 3:].astype(np.float32) / 255
    window[:] = window * (1 - alpha) + pixels[..., :3] * alpha
    return np.asarray(cv2.resize(canvas, (32, 32), interpolation=cv2.INTER_AREA)) / 255


def without_held_out_copies(sprites: list[Sprite], held_out: list[Sprite]) -> list[Sprite]:
    """Drop sprites of the predecessor style that show nearly the drawing of a held-out sprite of their concept."""
    rivals: dict[int, list[np.ndarray]] = defaultdict(list)
    for sprite in held_out:
        rivals[sprite.concept].append(thumbnail(sprite.pixels))
    return [s for s in sprites if s.style != PREDECESSOR_STYLE or not _is_copy(s, rivals[s.concept])]


def _is_copy(sprite: Sprite, rivals: list[np.ndarray]) -> bool:
    """Whether a sprite or its mirror image is near one of the thumbnails."""
    views = (thumbnail(sprite.pixels), thumbnail(sprite.pixels[:, ::-1]))
    return any(np.abs(view - rival).mean() < COPY_DISTANCE for view in views for rival in rivals)


def load_sprites(packages: Path, cache: Path, styles: tuple[str, ...]) -> list[Sprite]:
    """Sprites of the given styles, rendered once and kept in `cache` (one npz a style)."""
    sprites: list[Sprite] = []
    for style in styles:
        path = cache / f"{style}.npz"
        if not path.exists():
            pictograms = style == PICTOGRAMS
            _write_sprites(path, render_pictograms(packages) if pictograms else render_style(packages, style))
        sprites += _read_sprites(path)
    return sprites


def emoji_sprites(packages: Path, cache: Path) -> list[Sprite]:
    """Emoji of the training styles without copies of held-out drawings: what the tuning split shows."""
    held_out = load_sprites(packages, cache, (HELD_OUT_STYLE,))
    return without_held_out_copies(load_sprites(packages, cache, TRAINING_STYLES), held_out)


def training_sprites(packages: Path, cache: Path) -> list[Sprite]:
    """What the miniature is trained on: the tuning split's emoji, and the further drawings."""
    return emoji_sprites(packages, cache) + load_sprites(packages, cache, (*FURTHER_STYLES, PICTOGRAMS))


def _write_sprites(path: Path, sprites: list[Sprite]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {f"{index:05d}|{s.style}|{s.emoji}|{s.concept}|{int(s.core)}": s.pixels for index, s in enumerate(sprites)}
    np.savez(path, **names)


def _read_sprites(path: Path) -> list[Sprite]:
    with np.load(path) as arrays:
        return [_parse_sprite(key, arrays[key]) for key in arrays.files]


def _parse_sprite(key: str, pixels: np.ndarray) -> Sprite:
    _, style, emoji, concept, core = key.split("|")
    return Sprite(style, emoji, int(concept), core == "1", pixels)
