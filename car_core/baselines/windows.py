"""Sliding windows over a resized image, as in mmsegmentation."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from car_core.images import size_of
from support.arrays import RGBArray

LONGEST_SIDE = 2048
"""An image is never enlarged beyond this, pixels."""


def resized(image: RGBArray, short_side: int) -> RGBArray:
    """uint8 [H, W, 3] resized bilinearly, aspect kept, so that its shorter side is ``short_side`` (the longer at most
    LONGEST_SIDE)."""
    height, width = size_of(image)
    scale = min(LONGEST_SIDE / max(height, width), short_side / min(height, width))
    size = (max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5)))
    scaled: RGBArray = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return scaled


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows of ``crop`` start along a side: ``stride`` apart, the last one moved back to end at the border.

    One window at 0 where the side is no longer than a window.
    """
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(i * stride + crop, length) - crop, 0) for i in range(count)]


def window_slices(size: tuple[int, int], crop: int, stride: int) -> list[tuple[slice, slice]]:
    """Rows and columns of every window of an image of ``size`` (height, width); all windows have the same size."""
    height, width = size
    return [
        (slice(top, min(top + crop, height)), slice(left, min(left + crop, width)))
        for top in window_starts(height, crop, stride)
        for left in window_starts(width, crop, stride)
    ]


def padded(pixels: Tensor, patch: tuple[int, int]) -> Tensor:
    """[..., h, w] with zeros below and to the right, up to multiples of the patch size."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % patch[1], 0, -height % patch[0]))


def padded_around(pixels: Tensor, side: tuple[int, int]) -> tuple[Tensor, slice, slice]:
    """[..., h, w] with zeros on all sides up to multiples of ``side``, the smaller half above and to the left; and the
    rows and columns where the pixels are."""
    height, width = pixels.shape[-2:]
    below, right = -height % side[0], -width % side[1]
    top, left = below // 2, right // 2
    whole = F.pad(pixels, (left, right - left, top, below - top))
    return whole, slice(top, top + height), slice(left, left + width)


def mean_of_windows(maps: Tensor, slices: list[tuple[slice, slice]], size: tuple[int, int]) -> Tensor:
    """[C, H, W]: at each pixel the mean of the windows [n, C, h, w] that lie over it."""
    total = maps.new_zeros(maps.shape[1], *size)
    count = maps.new_zeros(size)
    for values, (rows, columns) in zip(maps, slices, strict=True):
        total[:, rows, columns] += values
        count[rows, columns] += 1
    return total / count


def whole_patches(pixels: Tensor, patch: tuple[int, int]) -> Tensor:
    """[..., h, w] without the rows and columns beyond the last whole patch; zeros up to one patch if it has none."""
    height, width = (max(side - side % own, own) for side, own in zip(pixels.shape[-2:], patch, strict=True))
    return padded(pixels, patch)[..., :height, :width]


def resized_positions(
    positional: Tensor, old: tuple[int, int], new: tuple[int, int], *, by: Literal["scale_factor", "size"]
) -> Tensor:
    """Positional embedding [p + h * w, D] of another patch grid: the p first ones kept, the grid resized bicubically.

    positional: [p + P, D] of the grid ``old`` of P patches, after those of p other tokens. by: "scale_factor" steps by
    old / (new + 0.1), as DINO's code does and the methods on CLIP that copied it; "size" by old / new.
    """
    if old == new:
        return positional
    first = len(positional) - old[0] * old[1]
    square = positional[first:].T.reshape(1, -1, *old)
    factors = [(side + 0.1) / before for side, before in zip(new, old, strict=True)]
    target: dict[str, Any] = {"scale_factor": factors} if by == "scale_factor" else {"size": new}
    grid = F.interpolate(square, **target, mode="bicubic", align_corners=False)
    return torch.cat([positional[:first], grid[0].flatten(1).T])
