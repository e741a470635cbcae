"""Changes of color and shape that hide the art style of a sprite but keep what it shows."""

from __future__ import annotations

import cv2
import numpy as np

from .vocabulary import COLORS

LUMA = np.float32([0.299, 0.587, 0.114])


def tint(rgb: np.ndarray, color: str) -> np.ndarray:
    """Paint an object in a named color, light and dark parts kept: uint8 RGB [h, w, 3]."""
    hue, saturation, value = COLORS[color]
    paint = cv2.cvtColor(np.float32([[[hue, saturation, value]]]), cv2.COLOR_HSV2RGB)[0, 0]
    luma = (rgb.astype(np.float32) @ LUMA / 255)[..., None]
    shade = 0.35 + 0.9 * luma
    highlight = np.clip(luma - 0.85, 0, 1) * 2
    return (np.clip(paint * shade * (1 - highlight) + highlight, 0, 1) * 255).astype(np.uint8)


def jitter_colors(rgb: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Random change of hue, saturation and brightness, now and then something stronger: uint8 RGB [h, w, 3]."""
    roll = rng.random()
    if roll < 0.10 * strength:
        rgb = cv2.merge([cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)] * 3)
    elif roll < 0.25 * strength:
        rgb = np.ascontiguousarray(rgb[..., rng.permutation(3)])
    elif roll < 0.45 * strength:
        rgb = _recolor_levels(rgb, rng)
    elif roll < 0.55 * strength:
        rgb = _posterize(rgb, int(rng.integers(2, 5)))
    if rng.random() < 0.8:
        rgb = _shift_hsv(rgb, rng, strength)
    return _curve(rgb, rng, strength)


def _recolor_levels(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give each range of luminance a color of its own, as if the parts were painted anew."""
    knots = np.linspace(0, 255, int(rng.integers(3, 7)))
    colors = rng.uniform(0, 255, (len(knots), 3))
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    table = np.stack([np.interp(np.arange(256), knots, colors[:, c]) for c in range(3)], 1).astype(np.uint8)
    mixed = cv2.addWeighted(table[luma], 0.7, rgb, 0.3, 0)
    return np.asarray(mixed)


def _posterize(rgb: np.ndarray, levels: int) -> np.ndarray:
    table = (np.round(np.arange(256) / 255 * levels) / levels * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(rgb, table))


def _shift_hsv(rgb: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    turn = rng.normal(0, 25 * strength) if rng.random() < 0.7 else rng.uniform(0, 180)
    levels = np.arange(256, dtype=np.float32)
    hue = ((levels + turn) % 180).astype(np.uint8)
    saturation = np.clip(levels * rng.uniform(1 - 0.6 * strength, 1 + 0.5 * strength), 0, 255).astype(np.uint8)
    value = np.clip(levels * rng.uniform(1 - 0.35 * strength, 1 + 0.25 * strength), 0, 255).astype(np.uint8)
    table = np.stack([hue, saturation, value], 1)[:, None]
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB))


def _curve(rgb: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A random tone curve for each channel."""
    levels = np.arange(256) / 255
    gamma = np.exp(rng.normal(0, 0.25 * strength) + rng.normal(0, 0.08 * strength, 3))
    low, high = rng.uniform(0, 0.2 * strength), 1 - rng.uniform(0, 0.2 * strength)
    table = (low + (high - low) * levels[:, None] ** gamma) * 255
    return np.asarray(cv2.LUT(rgb, table.astype(np.uint8)[:, None]))


def outline(rgba: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the silhouette's edge, or the drawing's inner edges, in one color: uint8 RGBA [h, w, 4]."""
    ink = rng.uniform(0, 90, 3) if rng.random() < 0.7 else rng.uniform(160, 255, 3)
    alpha = rgba[..., 3]
    if rng.random() < 0.6:
        edge = cv2.absdiff(cv2.dilate(alpha, np.ones((3, 3), np.uint8)), cv2.erode(alpha, np.ones((3, 3), np.uint8)))
    else:
        edge = cv2.Laplacian(cv2.cvtColor(rgba[..., :3], cv2.COLOR_RGB2GRAY), cv2.CV_8U, ksize=3)
        edge = cv2.min(edge, alpha)
    share = (edge.astype(np.float32) / 255)[..., None]
    color = rgba[..., :3] * (1 - share) + ink * share
    return np.concatenate([color.astype(np.uint8), np.maximum(alpha, edge)[..., None]], axis=2)


def filled_holes(rgba: np.ndarray) -> np.ndarray:
    """A drawing of one color with its holes painted light and the rest dark, so that it hides what is behind it as
    other drawings do; drawings of several colors as they are: uint8 RGBA [h, w, 4]."""
    ink = rgba[..., 3] > 127
    if not ink.any() or rgba[ink][:, :3].std(axis=0).max() > 2:
        return rgba
    padded = cv2.copyMakeBorder((~ink).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(padded, None, (0, 0), 2)
    hole = padded[1:-1, 1:-1] == 1
    filled = rgba.copy()
    filled[ink, :3], filled[hole] = 60, (225, 225, 225, 255)
    return filled


def random_affine(
    rng: np.random.Generator, size: tuple[int, int], longer: float, strength: float
) -> tuple[np.ndarray, int, int]:
    """Matrix that maps a sprite of size (h, w) to a canvas where it is `longer` pixels long, and the canvas (h, w)."""
    height, width = size
    angle = np.deg2rad(rng.normal(0, 12 * strength))
    stretch = np.exp(rng.normal(0, 0.14 * strength))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    shear = rng.normal(0, 0.12 * strength)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[flip * stretch, shear], [0, 1 / stretch]])
    corners = matrix @ (np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]]) * np.array([[width], [height]]) / 2)
    extent = np.ptp(corners, axis=1)
    scale = longer / extent.max()
    out_w, out_h = (max(4, round(float(side * scale))) for side in extent)
    matrix = matrix * scale
    offset = np.array([out_w / 2, out_h / 2]) - matrix @ np.array([width / 2, height / 2])
    return np.concatenate([matrix, offset[:, None]], axis=1).astype(np.float32), out_h, out_w


def elastic_warp(rgba: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Bend a sprite by a smooth random field: uint8 RGBA [h, w, 4]."""
    height, width = rgba.shape[:2]
    field = rng.normal(0, 0.05 * strength * max(height, width), (4, 4, 2)).astype(np.float32)
    shift = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    warped = cv2.remap(
        rgba, columns + shift[..., 0], rows + shift[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(warped)


def degrade(rgb: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Blur, noise and light of a whole image: uint8 RGB [h, w, 3]."""
    if rng.random() < 0.25 * strength:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.0)))
    if rng.random() < 0.25 * strength:
        noise = np.empty(rgb.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, 0.0, float(rng.uniform(3, 12)))
        rgb = np.clip(rgb.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        rgb = _curve(rgb, rng, 0.5 * strength)
    return rgb
