"""Prompted images for g from masks: drawn, resized and cropped. In threads on a CPU, in bulk on a GPU.

Both ways give the same bytes. Masks are packed, eight pixels per byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from car_core.classifier.tower import ClassifierTower
from car_core.classifier.visual_prompts import RED, PromptCanvas, outlines
from car_core.engine.device import on_device
from car_core.engine.pillow_resize import bicubic
from car_core.images import as_channels, size_of
from support.arrays import PackedBits, unpacked


def render_on_cpu(canvas: PromptCanvas, masks: Sequence[PackedBits], tower: ClassifierTower) -> Tensor:
    """The canvas with each of n masks drawn, preprocessed for the tower, uint8 [n, size, size, 3]."""
    size, threads = size_of(canvas.image), torch.get_num_threads()
    prompted: list[Tensor] = []
    with ThreadPoolExecutor(threads) as pool:  # Pillow resizes without the GIL
        for start in range(0, len(masks), threads):  # a few at a time: drawn images of large photographs are large
            drawn = [canvas.draw(unpacked(bits, size)) for bits in masks[start : start + threads]]
            prompted += pool.map(tower.preprocess, drawn)
    return torch.stack(prompted)


def render_on_gpu(
    canvas: PromptCanvas, masks: Sequence[PackedBits], tower: ClassifierTower, *, most_bytes: int = 2**28
) -> Tensor:
    """`render_on_cpu` on the tower's device, many images at once. most_bytes: of float64 images resized together."""
    height, width = size = size_of(canvas.image)
    crop, device = tower.crop(height, width), tower.device
    # Contiguous planes: otherwise each product copies them first.
    image, outside = (on_device(as_channels(each), device).contiguous() for each in (canvas.image, canvas.outside))
    red = torch.tensor(RED, dtype=torch.uint8, device=device)[:, None, None]
    chunk = max(1, most_bytes // (24 * max(height, crop.kept[0]) * max(width, crop.kept[1])))
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)

    def on_gpu(packed: list[PackedBits]) -> Tensor:  # bool [n, 1, H, W]
        pixels = (on_device(torch.from_numpy(np.stack(packed)), device)[..., None] >> shifts) & 1
        return pixels.flatten(1)[:, : height * width].view(-1, 1, *size).bool()

    parts = []
    for start in range(0, len(masks), chunk):
        inside, lines = list[PackedBits](), list[PackedBits]()  # where the image is shown, and drawn over
        for bits in masks[start : start + chunk]:
            mask = unpacked(bits, size)
            is_drawn = np.count_nonzero(mask) > 1  # as in `PromptCanvas.draw`
            inside.append(bits if is_drawn else np.full_like(bits, 255))
            lines.append(np.packbits(outlines(mask, canvas.prompts)) if is_drawn else np.zeros_like(bits))
        drawn = torch.where(on_gpu(lines), red, torch.where(on_gpu(inside), image, outside))
        parts.append(bicubic(drawn, crop))
    return torch.cat(parts).permute(0, 2, 3, 1)
