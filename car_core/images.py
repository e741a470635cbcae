"""Checks of input images and their conversion to uint8 RGB; resizing of proposals to the image's size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image, ImageOps
from torch import Tensor

from car_core.errors import QueryError
from support.arrays import RGBArray
from support.errors import ImageError
from support.files import expanded
from support.text import unwrapped

_COPIED_AT_ONCE = 32

ImageLike = RGBArray | Image.Image | str | os.PathLike[str]
"""uint8 [H, W, 3], a PIL image, or the path of a file."""


def as_rgb(image: Any) -> RGBArray:
    """uint8 [H, W, 3] RGB from such an array, a PIL image or a file; EXIF orientation is applied, transparency dropped.

    Raises ImageError for anything else, 16-bit and float images included (their scaling is the caller's choice).
    """
    if isinstance(image, (str, os.PathLike)):
        try:
            with Image.open(expanded(image)) as opened:
                return as_rgb(opened)
        except ImageError as error:
            raise ImageError(f"{image}: {error}") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what PIL's readers raise
            found = getattr(error, "strerror", None) or unwrapped(error)
            raise ImageError(f"{image}: expected an image file, found: {found}") from None
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise ImageError(f"image: expected at least one pixel, found {image.height} x {image.width}")
        if image.mode.startswith(("I", "F")):
            raise ImageError(f"image: expected 8 bits per channel, found a PIL image of mode {image.mode}")
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"image: expected a PIL image, a uint8 [H, W, 3] array or a path, found {found}")
    if image.size == 0:
        raise ImageError(f"image: expected at least one pixel, found {list(image.shape)}")
    return np.ascontiguousarray(image)


def check_batch(
    images: Sequence[Any],
    queries_per_image: Sequence[Sequence[str]],
    check_queries: Callable[[Sequence[str]], tuple[str, ...]],
) -> list[tuple[RGBArray, tuple[str, ...]]]:
    """Each image as RGB with its checked queries; the same queries as for the previous image are not checked again.

    Errors name the image's index. Also raises QueryError if there are not as many lists as images.
    """
    if len(images) != len(queries_per_image):
        raise QueryError(f"queries_per_image: expected {len(images)} lists, found {len(queries_per_image)}")
    checked: list[tuple[RGBArray, tuple[str, ...]]] = []
    previous: list[str] = []
    try:
        for image, queries in zip(images, queries_per_image, strict=True):
            is_repeated = bool(checked) and not isinstance(queries, str) and list(queries) == previous
            checked.append((as_rgb(image), checked[-1][1] if is_repeated else check_queries(queries)))
            previous = list(queries)
    except (QueryError, ImageError) as error:
        raise type(error)(f"image {len(checked)}: {error}") from None
    return checked


def size_of(image: RGBArray) -> tuple[int, int]:
    """Height and width of an image [H, W, 3]."""
    return image.shape[0], image.shape[1]


def as_channels(image: RGBArray) -> Tensor:
    """uint8 [H, W, 3] to a tensor uint8 [3, H, W], a copy."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [..., h, w] of two to four dimensions, resized bilinearly (align_corners off) to [..., H, W]."""
    missing = 4 - maps.dim()
    return F.interpolate(maps[(None,) * missing], size=size, mode="bilinear", align_corners=False)[(0,) * missing]


def upsample_all(proposals: Tensor, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Proposals [n, h, w], n >= 1, resized as by `resize_maps` to float32 [n, H, W]."""
    return np.stack([resize_maps(proposal, size).cpu().numpy() for proposal in proposals])


def binarize_all(proposals: Tensor, size: tuple[int, int], threshold: float) -> Iterator[npt.NDArray[np.bool_]]:
    """Where each proposal [n, h, w], resized as by `resize_maps`, is above the threshold, bool [H, W] each.

    A few at a time are in memory, and copied from a GPU together: each copy waits for it.
    """
    for some in proposals.split(_COPIED_AT_ONCE):
        yield from torch.stack([resize_maps(proposal, size) > threshold for proposal in some]).cpu().numpy()
