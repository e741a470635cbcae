"""Procedural backgrounds with names: textures of grass, sky, water, walls and so on, painted from a seed."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Painter = Callable[[np.random.Generator, int], np.ndarray]
Color = tuple[float, float, float]


def paint_background(name: str, rng: np.random.Generator, side: int) -> np.ndarray:
    """A square texture of the named background: uint8 RGB [side, side, 3]."""
    texture = PAINTERS[name](rng, side)
    light = 1 + rng.uniform(-0.12, 0.12) + rng.uniform(-0.05, 0.05, 3)
    return np.clip(texture * light, 0, 255).astype(np.uint8)


def paint_plain(rng: np.random.Generator, side: int) -> np.ndarray:
    """One color, or a soft gradient between two: uint8 RGB [side, side, 3]."""
    first, second = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:
        second = np.clip(first + rng.uniform(-40, 40, 3), 0, 255)
    if rng.random() < 0.3:
        first = second = np.full(3, rng.choice([255.0, 240.0, 128.0, 20.0]))
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:side, 0:side] / side - 0.5
    ramp = np.clip(rows * np.sin(angle) + columns * np.cos(angle) + 0.5, 0, 1)[..., None]
    return (first * (1 - ramp) + second * ramp).astype(np.uint8)


def cloud_noise(rng: np.random.Generator, side: int, cells: int, octaves: int = 3) -> np.ndarray:
    """Smooth noise of several scales: float32 [side, side] in [0, 1]."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        grid = rng.random((cells * 2**octave + 2,) * 2, dtype=np.float32)
        total += cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC) / 2**octave
    return (total - total.min()) / max(float(np.ptp(total)), 1e-6)


def _mix(first: Color, second: Color, share: np.ndarray) -> np.ndarray:
    """Blend two colors by a map in [0, 1]: float [h, w, 3]."""
    return np.asarray(first) * (1 - share[..., None]) + np.asarray(second) * share[..., None]


def _speckle(rng: np.random.Generator, side: int, strength: float) -> np.ndarray:
    return rng.normal(0, strength, (side, side, 1))


def _grass(rng: np.random.Generator, side: int) -> np.ndarray:
    blades = cv2.blur(rng.random((side, side), dtype=np.float32), (1, 7))
    blades = np.clip((blades - 0.5) * 2.5 + 0.5, 0, 1)
    return _mix((38, 105, 28), (118, 178, 62), 0.6 * blades + 0.4 * cloud_noise(rng, side, 3))


def _sky(rng: np.random.Generator, side: int) -> np.ndarray:
    height = np.linspace(0, 1, side)[:, None] * np.ones(side)
    blue = _mix((80, 150, 232), (185, 220, 250), height)
    veil = np.clip(cloud_noise(rng, side, 3, 4) * 2 - 1.1, 0, 1)[..., None] * rng.uniform(0.2, 0.8)
    return blue * (1 - veil) + 252 * veil


def _sand(rng: np.random.Generator, side: int) -> np.ndarray:
    ripple = np.sin(np.linspace(0, rng.uniform(20, 50), side)[:, None] + 6 * cloud_noise(rng, side, 2)) * 0.5 + 0.5
    return _mix((205, 170, 112), (240, 214, 160), ripple) + _speckle(rng, side, 7)


def _water(rng: np.random.Generator, side: int) -> np.ndarray:
    rows = np.linspace(0, rng.uniform(30, 70), side)[:, None]
    waves = np.sin(rows + 9 * cloud_noise(rng, side, 4)) * 0.5 + 0.5
    return _mix((18, 80, 140), (80, 165, 200), waves**2)


def _wall(rng: np.random.Generator, side: int) -> np.ndarray:
    height, width = int(rng.integers(10, 18)), int(rng.integers(22, 40))
    rows, columns = np.mgrid[0:side, 0:side]
    row = rows // height
    column = (columns + (row % 2) * width // 2) // width
    shade = rng.random((row.max() + 1, column.max() + 1))[row, column]
    brick = _mix((150, 62, 45), (190, 95, 70), shade) + _speckle(rng, side, 5)
    joint = (rows % height < 2) | ((columns + (row % 2) * width // 2) % width < 2)
    return np.where(joint[..., None], (205.0, 198.0, 188.0), brick)


def _road(rng: np.random.Generator, side: int) -> np.ndarray:
    asphalt = _mix((72, 72, 76), (98, 98, 102), cloud_noise(rng, side, 4)) + _speckle(rng, side, 9)
    rows, columns = np.mgrid[0:side, 0:side]
    spacing = int(rng.integers(90, 140))
    lane = ((rows + rng.integers(spacing)) % spacing < 6) & (columns % 60 < 38)
    return np.where(lane[..., None], (232.0, 226.0, 200.0), asphalt)


def _snow(rng: np.random.Generator, side: int) -> np.ndarray:
    drifts = _mix((205, 218, 235), (252, 253, 255), cloud_noise(rng, side, 2, 2))
    glitter = rng.random((side, side, 1)) > 0.985
    return np.where(glitter, 255.0, drifts)


def _wood(rng: np.random.Generator, side: int) -> np.ndarray:
    plank = int(rng.integers(36, 64))
    columns = np.arange(side) // plank
    grain = np.sin(np.linspace(0, 3, side)[:, None] + 26 * cloud_noise(rng, side, 2, 2) + 9 * columns) * 0.5 + 0.5
    shade = 0.6 * grain + 0.4 * rng.random(columns.max() + 1)[columns]
    gap = (np.arange(side) % plank < 2)[None, :, None]
    return np.where(gap, (70.0, 42.0, 20.0), _mix((128, 80, 42), (190, 135, 82), shade))


def _rock(rng: np.random.Generator, side: int) -> np.ndarray:
    edge, tone = _cells(rng, side, int(rng.integers(18, 40)))
    stones = _mix((105, 104, 102), (165, 162, 156), tone) + _speckle(rng, side, 6)
    return np.where(edge[..., None] < 5, (62.0, 60.0, 58.0), stones)


def _cells(rng: np.random.Generator, side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi cells: distance between the two nearest seeds and the tone of the nearest, both [side, side]."""
    seeds, tones = rng.random((count, 2)) * side, rng.random(count)
    rows, columns = np.mgrid[0:side, 0:side]
    distance = np.hypot(rows[..., None] - seeds[:, 0], columns[..., None] - seeds[:, 1])
    nearest = np.partition(distance, 1, axis=2)
    return nearest[..., 1] - nearest[..., 0], tones[distance.argmin(2)]


def _ground(rng: np.random.Generator, side: int) -> np.ndarray:
    soil = _mix((88, 60, 38), (140, 102, 68), cloud_noise(rng, side, 6, 4)) + _speckle(rng, side, 8)
    pebble = cv2.dilate((rng.random((side, side)) > 0.997).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.where(pebble[..., None] > 0, (165.0, 150.0, 130.0), soil)


def _floor(rng: np.random.Generator, side: int) -> np.ndarray:
    tile = int(rng.integers(26, 46))
    rows, columns = np.mgrid[0:side, 0:side] // tile
    light, dark = ((228, 222, 208), (165, 158, 150)) if rng.random() < 0.6 else ((235, 235, 235), (70, 80, 95))
    checker = _mix(light, dark, ((rows + columns) % 2).astype(np.float32))
    joint = np.arange(side) % tile < 1
    return np.where((joint[:, None] | joint[None, :])[..., None], (120.0, 116.0, 110.0), checker)


def _curtain(rng: np.random.Generator, side: int) -> np.ndarray:
    columns = np.linspace(0, rng.uniform(30, 60), side)[None, :]
    folds = np.sin(columns + 2 * cloud_noise(rng, side, 2, 1)) * 0.5 + 0.5
    dye = cv2.cvtColor(np.float32([[[rng.choice([0, 215, 285, 335]), 0.65, 0.75]]]), cv2.COLOR_HSV2RGB)[0, 0] * 255
    return dye * (0.45 + 0.55 * folds[..., None])


def _fence(rng: np.random.Generator, side: int) -> np.ndarray:
    period = int(rng.integers(20, 32))
    behind = _mix((120, 160, 110), (170, 200, 150), cloud_noise(rng, side, 3))
    rows, columns = np.mgrid[0:side, 0:side]
    rail = ((rows + period) % (side // 2) < 9) | (columns % period < 0.55 * period)
    shade = 225 + 20 * np.sin(columns / period * 2 * np.pi)[..., None] * np.ones(3)
    return np.where(rail[..., None], shade, behind)


def _railway(rng: np.random.Generator, side: int) -> np.ndarray:
    gravel = _mix((120, 112, 104), (165, 158, 150), rng.random((side, side))) + _speckle(rng, side, 12)
    period, rail = int(rng.integers(22, 34)), int(rng.integers(60, 90))
    rows, columns = np.mgrid[0:side, 0:side]
    gravel[columns % period < period * 0.4] = (92, 64, 44)
    gravel[(rows + rng.integers(rail)) % rail < 7] = (186, 190, 196)
    return gravel


PAINTERS: dict[str, Painter] = {
    "grass": _grass,
    "sky": _sky,
    "sand": _sand,
    "water": _water,
    "wall": _wall,
    "road": _road,
    "snow": _snow,
    "wood": _wood,
    "rock": _rock,
    "ground": _ground,
    "floor": _floor,
    "curtain": _curtain,
    "fence": _fence,
    "railway": _railway,
}


class BackgroundBank:
    """Textures painted once, from which scenes cut random windows."""

    def __init__(self, rng: np.random.Generator, textures_per_name: int, side: int) -> None:
        self.side = side
        self.textures = {
            name: [paint_background(name, rng, side) for _ in range(textures_per_name)] for name in PAINTERS
        }
        self.plain = [paint_plain(rng, side) for _ in range(4 * textures_per_name)]

    def cut(self, name: str | None, rng: np.random.Generator, height: int, width: int, zoom: float) -> np.ndarray:
        """A window of a texture, magnified by `zoom` and mirrored at random: uint8 RGB [height, width, 3]."""
        choices = self.plain if name is None else self.textures[name]
        texture = choices[int(rng.integers(len(choices)))]
        rows, columns = (min(self.side, max(8, round(extent / zoom))) for extent in (height, width))
        top, left = int(rng.integers(self.side - rows + 1)), int(rng.integers(self.side - columns + 1))
        window = texture[top : top + rows, left : left + columns]
        if rng.random() < 0.5:
            window = window[:, ::-1]
        return cv2.resize(np.ascontiguousarray(window), (width, height), interpolation=cv2.INTER_AREA)
