"""Prompted images as g reads them, from masks: drawn, resized and cropped. One at a time on a CPU, in bulk on a GPU.

Both ways give the same bytes. Masks are packed, eight pixels per byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from car_core.classifier.tower import ClassifierTower
from car_core.classifier.visual_prompts import RED, PromptCanvas, outlines
from car_core.engine.device import is_gpu, on_device
from car_core.engine.pillow_resize import bicubic
from car_core.images import as_channels, size_of
from support.arrays import BoolArray, PackedBits

# Bytes of float64 images that are resized at once on a GPU.
_MAX_RESIZE_BYTES = 2**28

Render: TypeAlias = Callable[[PromptCanvas, Sequence[PackedBits], ClassifierTower], Tensor]


def renderer_for(device: torch.device) -> Render:
    """The faster of both ways on a device."""
    return render_on_gpu if is_gpu(device) else render_on_cpu


def render_on_cpu(canvas: PromptCanvas, masks: Sequence[PackedBits], tower: ClassifierTower) -> Tensor:
    """The canvas with each of n masks drawn, preprocessed for the tower, uint8 [n, size, size, 3]."""
    size = size_of(canvas.image)
    return torch.stack([tower.preprocess(canvas.draw(_unpacked(bits, size))) for bits in masks])


def render_on_gpu(canvas: PromptCanvas, masks: Sequence[PackedBits], tower: ClassifierTower) -> Tensor:
    """`render_on_cpu` on the tower's device, many images at once."""
    height, width = size_of(canvas.image)
    crop, device = tower.crop(height, width), tower.device
    # Contiguous planes: otherwise each product copies them first.
    image, outside = (on_device(as_channels(each), device).contiguous() for each in (canvas.image, canvas.outside))
    red = torch.tensor(RED, dtype=torch.uint8, device=device)[:, None, None]
    chunk = max(1, _MAX_RESIZE_BYTES // (24 * max(height, crop.kept[0]) * max(width, crop.kept[1])))
    parts = []
    for start in range(0, len(masks), chunk):
        layers = [_layers(canvas, bits) for bits in masks[start : start + chunk]]
        inside, lines = (_unpacked_on(np.stack(each), (height, width), device) for each in zip(*layers, strict=True))
        parts.append(bicubic(torch.where(lines, red, torch.where(inside, image, outside)), crop))
    return torch.cat(parts).permute(0, 2, 3, 1)


def _layers(canvas: PromptCanvas, bits: PackedBits) -> tuple[PackedBits, PackedBits]:
    """Where the canvas shows its image, and where lines are drawn over it, both packed."""
    mask = _unpacked(bits, size_of(canvas.image))
    if np.count_nonzero(mask) <= 1:  # as in `PromptCanvas.draw`
        return np.full_like(bits, 255), np.zeros_like(bits)
    return bits, np.packbits(outlines(mask, canvas.prompts))


def _unpacked(bits: PackedBits, size: tuple[int, int]) -> BoolArray:
    height, width = size
    return np.unpackbits(bits, count=height * width).reshape(height, width).view(np.bool_)


def _unpacked_on(bits: PackedBits, size: tuple[int, int], device: torch.device) -> Tensor:
    """n packed masks as bool [n, 1, H, W] on the device."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
    pixels = (on_device(torch.from_numpy(bits), device)[..., None] >> shifts) & 1
    return pixels.flatten(1)[:, : size[0] * size[1]].view(-1, 1, *size).bool()
