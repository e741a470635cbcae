"""Prompted images as g reads them, from masks: drawn, resized and cropped, one by one on a CPU, together on a GPU.

Both ways give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from car_core.classifier.tower import ClassifierTower
from car_core.classifier.visual_prompts import RED, draw_over, outlines, surroundings
from car_core.engine.device import is_gpu, on_device
from car_core.engine.pillow_resize import bicubic
from car_core.images import as_channels, size_of
from support.arrays import BoolArray, RGBArray

# Bytes of float64 that images on their way to the tower's size take at once.
_AT_ONCE = 2**28


@dataclass(frozen=True)
class Picture:
    """An image and what its prompts show outside a mask, both uint8 [H, W, 3]."""

    image: RGBArray
    outside: RGBArray
    prompts: tuple[str, ...]

    @classmethod
    def of(cls, image: RGBArray, prompts: Sequence[str], gray_weights: str) -> Picture:
        """With the surroundings that the prompts ask for."""
        return cls(image, surroundings(image, prompts, gray_weights), tuple(prompts))

    def drawn(self, bits: RGBArray) -> RGBArray:
        """uint8 [H, W, 3] with the prompts of a mask of eight pixels a byte."""
        return draw_over(self.image, self.outside, self._mask(bits), self.prompts)

    def layers(self, bits: RGBArray) -> tuple[RGBArray, RGBArray]:
        """Where a mask shows the image, and where lines are drawn over it: both with eight pixels a byte."""
        mask = self._mask(bits)
        if np.count_nonzero(mask) <= 1:  # as `draw_over` has it
            return np.full_like(bits, 255), np.zeros_like(bits)
        return bits, np.packbits(outlines(mask, self.prompts))

    def _mask(self, bits: RGBArray) -> BoolArray:
        height, width = size_of(self.image)
        return np.unpackbits(bits, count=height * width).reshape(height, width).view(np.bool_)


Draw: TypeAlias = Callable[[Picture, Sequence[RGBArray], ClassifierTower], Tensor]


def drawn_one_by_one(picture: Picture, masks: Sequence[RGBArray], tower: ClassifierTower) -> Tensor:
    """Preprocessed for the tower, uint8 [n, size, size, 3], from n masks of eight pixels a byte."""
    return torch.stack([tower.preprocess(picture.drawn(bits)) for bits in masks])


def drawn_together(picture: Picture, masks: Sequence[RGBArray], tower: ClassifierTower) -> Tensor:
    """`drawn_one_by_one` on the tower's device, many images at once."""
    height, width = size_of(picture.image)
    crop, device = tower.crop(height, width), tower.device
    # Contiguous planes: else each product copies them first.
    image, outside = (on_device(as_channels(each), device).contiguous() for each in (picture.image, picture.outside))
    red = torch.tensor(RED, dtype=torch.uint8, device=device)[:, None, None]
    some, parts = max(1, _AT_ONCE // (24 * max(height, crop.kept[0]) * max(width, crop.kept[1]))), []
    for start in range(0, len(masks), some):
        layers = [picture.layers(bits) for bits in masks[start : start + some]]
        inside, lines = (_unpacked(np.stack(each), (height, width), device) for each in zip(*layers, strict=True))
        parts.append(bicubic(torch.where(lines, red, torch.where(inside, image, outside)), crop))
    return torch.cat(parts).permute(0, 2, 3, 1)


def _unpacked(bits: RGBArray, size: tuple[int, int], device: torch.device) -> Tensor:
    """Masks bool [n, 1, H, W] on the device from n of eight pixels a byte."""
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
    pixels = (on_device(torch.from_numpy(bits), device)[..., None] >> places) & 1
    return pixels.flatten(1)[:, : size[0] * size[1]].view(-1, 1, *size).bool()


def drawing_on(device: torch.device) -> Draw:
    """The faster of both ways on a device."""
    return drawn_together if is_gpu(device) else drawn_one_by_one
