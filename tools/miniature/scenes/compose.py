"""Compose sprites and a background into a scene with the visible mask of every object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from .augment import elastic_warp, jitter_colors, outline, random_affine, tint
from .backgrounds import BackgroundBank
from .sprites import Sprite
from .vocabulary import COLORS


@dataclass(frozen=True)
class SceneStyle:
    """How scenes are drawn; sizes are the object's longer side as a share of the image's shorter side."""

    objects: tuple[int, int] = (1, 3)
    sizes: tuple[float, float] = (0.35, 0.75)
    lone_sizes: tuple[float, float] = (0.45, 0.95)
    variation: float = 1.0
    tinted: float = 0.2
    plain: float = 0.2
    two_backgrounds: float = 0.3
    same_concept: float = 0.1
    zoom: float = 1.0
    min_visible: float = 0.5
    """Every object keeps at least this share of its pixels visible, inside the image and not covered."""


@dataclass
class Placed:
    """One object in a scene; mask is its visible part, bool [H, W]."""

    sprite: Sprite
    color: str | None
    mask: np.ndarray
    area: int
    """Pixels of the whole object, hidden ones included."""

    @property
    def center(self) -> tuple[float, float]:
        """Mean (row, column) of the visible pixels, as shares of the image's sides."""
        rows, columns = np.nonzero(self.mask)
        return float(rows.mean() + 0.5) / self.mask.shape[0], float(columns.mean() + 0.5) / self.mask.shape[1]


@dataclass
class Scene:
    """An image (uint8 RGB [H, W, 3]), its objects, and which background each pixel was painted with first."""

    image: np.ndarray
    objects: list[Placed] = field(default_factory=list)
    backgrounds: tuple[str, ...] = ()
    background_map: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    """uint8 [H, W]: index into `backgrounds`, 255 where the background has no name."""


class SpriteShelf:
    """Sprites by concept, with smaller copies so that drawing small objects is cheap and free of aliasing."""

    def __init__(self, sprites: Sequence[Sprite]) -> None:
        self.by_concept: dict[int, list[Sprite]] = defaultdict(list)
        self._levels: dict[int, list[np.ndarray]] = {}
        for sprite in sprites:
            self.by_concept[sprite.concept].append(sprite)
            self._levels[id(sprite)] = self._pyramid(sprite.pixels)

    @staticmethod
    def _pyramid(pixels: np.ndarray) -> list[np.ndarray]:
        levels = [pixels]
        while max(levels[-1].shape[:2]) > 40:
            half = tuple(max(1, extent // 2) for extent in levels[-1].shape[1::-1])
            levels.append(np.asarray(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA)))
        return levels

    def pick(self, concept: int, rng: np.random.Generator) -> Sprite:
        """A sprite of the concept; half of the time one of its core emoji, every style equally often."""
        choices = self.by_concept[concept]
        core = [sprite for sprite in choices if sprite.core]
        choices = core if core and rng.random() < 0.5 else choices
        styles = sorted({sprite.style for sprite in choices})
        style = styles[int(rng.integers(len(styles)))]
        choices = [sprite for sprite in choices if sprite.style == style]
        return choices[int(rng.integers(len(choices)))]

    def pixels(self, sprite: Sprite, longer: float) -> np.ndarray:
        """The smallest copy that is still at least `longer` pixels long: uint8 RGBA [h, w, 4]."""
        levels = self._levels[id(sprite)]
        fitting = [level for level in levels if max(level.shape[:2]) >= longer]
        return fitting[-1] if fitting else levels[0]


def compose_scene(
    rng: np.random.Generator,
    shelf: SpriteShelf,
    bank: BackgroundBank,
    concepts: Sequence[int],
    size: tuple[int, int],
    style: SceneStyle,
) -> Scene:
    """A scene of the given concepts at size (height, width); a concept that finds no room is left out."""
    scene = paint_scene_background(rng, bank, size, style)
    sizes = style.lone_sizes if len(concepts) == 1 else style.sizes
    for concept in concepts:
        longer = min(size) * float(np.exp(rng.uniform(*np.log(sizes))))
        sprite = shelf.pick(concept, rng)
        color = list(COLORS)[int(rng.integers(len(COLORS)))] if rng.random() < style.tinted else None
        drawing = draw_sprite(rng, shelf.pixels(sprite, longer), longer, color, style.variation)
        place_sprite(rng, scene, sprite, color, drawing, style.min_visible)
    return scene


def paint_scene_background(
    rng: np.random.Generator, bank: BackgroundBank, size: tuple[int, int], style: SceneStyle
) -> Scene:
    """An empty scene: a plain, one named, or an upper and a lower named background."""
    height, width = size
    zoom = style.zoom * rng.uniform(0.8, 1.3)
    if rng.random() < style.plain:
        return Scene(bank.cut(None, rng, height, width, zoom), [], (), np.full(size, 255, np.uint8))
    names = list(bank.textures)
    upper, lower = (names[int(rng.integers(len(names)))] for _ in range(2))
    if lower == "sky":
        upper, lower = lower, upper
    scene = Scene(bank.cut(upper, rng, height, width, zoom), [], (upper,), np.zeros(size, np.uint8))
    if rng.random() < style.two_backgrounds and lower != upper:
        horizon = round(height * rng.uniform(0.3, 0.7)) + (rng.normal(0, 1.5, 3) * height / 60)
        line = np.interp(np.arange(width), np.linspace(0, width, 3), horizon)
        below = np.arange(height)[:, None] >= line
        scene.image[below] = bank.cut(lower, rng, height, width, zoom)[below]
        scene.background_map[below], scene.backgrounds = 1, (upper, lower)
    return scene


def draw_sprite(
    rng: np.random.Generator, pixels: np.ndarray, longer: float, color: str | None, variation: float
) -> np.ndarray:
    """Sprite pixels bent, turned, scaled to `longer` pixels and recolored: uint8 RGBA [h, w, 4]."""
    matrix, height, width = random_affine(rng, pixels.shape[:2], longer, variation)
    rgba = np.asarray(cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR))
    if rng.random() < 0.35 * variation:
        rgba = elastic_warp(rgba, rng, variation)
    rgb = np.ascontiguousarray(rgba[..., :3])
    rgb = tint(rgb, color) if color else jitter_colors(rgb, rng, variation * rng.uniform(0.1, 1.0))
    rgba = np.concatenate([rgb, rgba[..., 3:]], axis=2)
    return outline(rgba, rng) if rng.random() < 0.12 * variation else rgba


def place_sprite(
    rng: np.random.Generator,
    scene: Scene,
    sprite: Sprite,
    color: str | None,
    drawing: np.ndarray,
    min_visible: float,
) -> bool:
    """Paint a drawing where it hides no object too much; False when no such place was found."""
    height, width = scene.image.shape[:2]
    solid = solid_pixels(drawing[..., 3])
    area = int(solid.sum())
    for _ in range(8):
        top, left = (
            _random_start(rng, extent, room) for extent, room in zip(drawing.shape[:2], (height, width), strict=True)
        )
        window, part = _overlap(drawing, top, left, height, width)
        mask = np.zeros((height, width), bool)
        mask[window] = solid[part]
        if mask.sum() < min_visible * area or area < 20 or _hides_too_much(scene, mask, min_visible):
            continue
        _paint(scene.image, drawing, window, part)
        for other in scene.objects:
            other.mask &= ~mask
        scene.objects.append(Placed(sprite, color, mask, area))
        return True
    return False


def solid_pixels(alpha: np.ndarray) -> np.ndarray:
    """Where a drawing hides what is behind it, with gaps of a few pixels closed as annotators do: bool [h, w]."""
    padded = cv2.copyMakeBorder((alpha > 127).astype(np.uint8), 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return np.asarray(closed[2:-2, 2:-2] > 0)


def _random_start(rng: np.random.Generator, extent: int, room: int) -> int:
    """First row or column, with up to a tenth of the drawing outside the image."""
    outside = extent // 10
    low, high = sorted((-outside, room - extent + outside))
    return int(rng.integers(low, high + 1))


def _overlap(
    drawing: np.ndarray, top: int, left: int, height: int, width: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    bottom, right = min(height, top + drawing.shape[0]), min(width, left + drawing.shape[1])
    first_row, first_column = max(0, top), max(0, left)
    window = slice(first_row, bottom), slice(first_column, right)
    return window, (slice(first_row - top, bottom - top), slice(first_column - left, right - left))


def _hides_too_much(scene: Scene, mask: np.ndarray, min_visible: float) -> bool:
    return any((other.mask & ~mask).sum() < min_visible * other.area for other in scene.objects)


def _paint(image: np.ndarray, drawing: np.ndarray, window: tuple[slice, slice], part: tuple[slice, slice]) -> None:
    source = drawing[part]
    alpha = source[..., 3:].astype(np.uint16)
    blend = image[window] * (255 - alpha) + source[..., :3] * alpha
    image[window] = (blend // 255).astype(np.uint8)
