"""Resizing by matrix products gives Pillow's bytes, and CLIP's crop is torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.tiny_clip import photo
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from car_core.engine.pillow_resize import Crop, bicubic, by_pillow, center_crop, resize, whole
from car_core.images import as_channels

# Height, width to height, width: smaller, larger, one of each, the same, one pixel, over 100 times as high as wide.
SIZES = [
    ((52, 76), (32, 48)), ((37, 20), (224, 121)), ((50, 60), (64, 30)), ((33, 33), (33, 33)), ((1, 1), (5, 7)),
    ((90, 1), (16, 3)), ((305, 3), (70, 9)), ((305, 3), (400, 9)), ((375, 500), (384, 512)), ((640, 427), (335, 224)),
]  # fmt: skip


def hard(height: int, width: int) -> np.ndarray:
    """Black and white at random, where the kernel overshoots most."""
    return np.random.default_rng(height * width).integers(0, 2, (height, width, 3), dtype=np.uint8) * 255


@pytest.mark.parametrize("make", [photo, hard])
@pytest.mark.parametrize(("before", "after"), SIZES, ids=str)
def test_products_give_pillows_bytes(before: tuple[int, int], after: tuple[int, int], make: object) -> None:
    image = make(*before)  # type: ignore[operator]
    expected = np.asarray(Image.fromarray(image).resize(after[::-1], Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(bicubic(as_channels(image), whole(*after)).permute(1, 2, 0), expected)
    np.testing.assert_array_equal(resize(image, after, torch.device("cpu")).permute(1, 2, 0), expected)


def test_products_give_pillows_bytes_at_any_size() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        (height, width), (rows, columns) = rng.integers(1, 120, 2), rng.integers(1, 120, 2)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        first = int(rng.integers(rows)), int(rng.integers(columns))
        kept = int(rng.integers(1, rows - first[0] + 1)), int(rng.integers(1, columns - first[1] + 1))
        crop = Crop((int(rows), int(columns)), first, kept)
        found = bicubic(as_channels(image)[None], crop)[0].permute(1, 2, 0)
        np.testing.assert_array_equal(found, by_pillow(image, crop))


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (33, 200), (64, 64), (300, 41), (1, 1), (2, 150)], ids=str)
@pytest.mark.parametrize("side", [64, 56])
def test_crop_is_that_of_clip(size: tuple[int, int], side: int) -> None:
    image = photo(*size)
    expected = Compose([Resize(side, interpolation=InterpolationMode.BICUBIC), CenterCrop(side)])(
        Image.fromarray(image)
    )
    crop = center_crop(*size, side)
    np.testing.assert_array_equal(by_pillow(image, crop), np.asarray(expected))
    np.testing.assert_array_equal(bicubic(as_channels(image), crop).permute(1, 2, 0), np.asarray(expected))
