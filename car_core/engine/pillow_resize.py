"""Bicubic resizing to Pillow's bytes: by Pillow on a CPU, by exact matrix products on any device.

Pillow resizes horizontally, then vertically (the reverse for a picture over 100 times as high as wide that gets lower).
Each pass weights pixels with whole numbers, 2**22 times the kernel's values, and rounds to bytes. Products of such
numbers are exact in float64, in whatever order they are summed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from car_core.engine.device import is_gpu, on_device
from car_core.images import as_channels
from support.arrays import RGBArray

_ONE = 2.0**22
_REACH = 2.0  # of the kernel, in pixels of the coarser grid
_SHARPNESS = -0.5


class Crop(NamedTuple):
    """An image resized to ``size``, and the part of ``kept`` pixels from ``first`` on; all in rows and columns."""

    size: tuple[int, int]
    first: tuple[int, int]
    kept: tuple[int, int]


def whole(rows: int, columns: int) -> Crop:
    """All of an image of this size."""
    return Crop((rows, columns), (0, 0), (rows, columns))


def center_crop(height: int, width: int, side: int) -> Crop:
    """CLIP's crop: the shorter side resized to ``side``, the longer in proportion (truncated), and the center kept."""
    short = min(height, width)
    rows, columns = (side if length == short else int(side * length / short) for length in (height, width))
    return Crop((rows, columns), (round((rows - side) / 2), round((columns - side) / 2)), (side, side))


def resize(image: RGBArray, size: tuple[int, int], device: torch.device) -> Tensor:
    """uint8 [H, W, 3] to uint8 [3, rows, columns] on the device."""
    if is_gpu(device):
        return bicubic(on_device(as_channels(image), device).contiguous(), whole(*size))
    return as_channels(by_pillow(image, whole(*size)))


def by_pillow(image: RGBArray, crop: Crop) -> RGBArray:
    """uint8 [H, W, 3] to uint8 [*kept, 3]."""
    (rows, columns), (top, left), (height, width) = crop
    resized = Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.array(resized.crop((left, top, left + width, top + height)))


def bicubic(images: Tensor, crop: Crop) -> Tensor:
    """uint8 [..., H, W] to uint8 [..., *kept], with Pillow's bytes."""
    height, width = images.shape[-2:]
    down = _weights(height, crop.size[0], crop.first[0], crop.kept[0], images.device)
    across = _weights(width, crop.size[1], crop.first[1], crop.kept[1], images.device)
    exact = images.double()
    if height > 100 * width and crop.size[0] < height:
        return _as_bytes(_as_bytes(down @ exact) @ across.T).to(torch.uint8)
    return _as_bytes(down @ _as_bytes(exact @ across.T)).to(torch.uint8)


def _as_bytes(sums: Tensor) -> Tensor:
    """Weighted sums as whole numbers from 0 to 255, halves rounded up."""
    return sums.add_(_ONE / 2).div_(_ONE).floor_().clamp_(0, 255)


def _weights(before: int, after: int, first: int, kept: int, device: torch.device) -> Tensor:
    """The weights of each pixel in ``kept`` resized ones from ``first`` on, whole numbers in float64 [kept, before]."""
    pixels, shares = (on_device(each, device) for each in _taps(before, after, first, kept))
    # Added, not assigned: beyond the border weights are 0, at a pixel that may already have one.
    return torch.zeros(kept, before, dtype=torch.float64, device=device).scatter_add_(1, pixels, shares)


@lru_cache(256)
def _taps(before: int, after: int, first: int, kept: int) -> tuple[Tensor, Tensor]:
    """The pixels that the kernel reaches, int64 [kept, taps], and their weights, float64; see `_weights`.

    The kernel is cubic convolution (Keys 1981). Shrinking widens it, so that every pixel counts (antialiasing); pixels
    beyond the border do not. A row sums to about 2**22.
    """
    scale = before / after
    widening = max(scale, 1.0)
    centers = (np.arange(first, first + kept) + 0.5) * scale
    start = np.maximum((centers - _REACH * widening + 0.5).astype(np.int64), 0)
    end = np.minimum((centers + _REACH * widening + 0.5).astype(np.int64), before)
    pixels = start[:, None] + np.arange((end - start).max())
    x, a = np.abs((pixels - centers[:, None] + 0.5) * (1.0 / widening)), _SHARPNESS
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    values = np.where(x < 1.0, near, np.where(x < _REACH, far, 0.0))
    values = np.where(pixels < end[:, None], values, 0.0)
    shares = values * (1.0 / values.cumsum(axis=1)[:, -1:])  # summed in Pillow's order
    whole_numbers = np.trunc(shares * _ONE + np.where(shares < 0, -0.5, 0.5))
    return torch.from_numpy(np.minimum(pixels, before - 1)), torch.from_numpy(whole_numbers)
