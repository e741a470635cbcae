"""Every visual prompt against pixels computed without OpenCV's filters: exactly equal."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from helpers.prompts import draw_prompts
from oracles.literal_prompts import (
    blurred,
    contour_pixels,
    drawn,
    ellipse_pixels,
    extent,
    gaussian_weights,
    gray_level,
    outside,
    rectangle_pixels,
)
from scipy import ndimage

from car_core.classifier.visual_prompts import PROMPTS, extent_of

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

ORDER = ("blur", "gray", "mask", "circle", "rectangle", "contour")


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blobs(height: int, width: int, seed: int = 0, smooth: float = 2.5) -> Mask:
    """A random mask with several parts and holes, some at the border."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), smooth)
    return field > np.median(field)


SIZES = [(37, 52), (16, 16), (3, 40), (2, 2), (1, 30), (30, 1)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("smooth", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("weights", ["rgb", "bgr"])
@pytest.mark.parametrize("name", ORDER)
def test_one_prompt(name: str, weights: str, smooth: float, height: int, width: int) -> None:
    image, mask = noise(height, width), blobs(height, width, smooth=smooth)
    before = image.copy()
    np.testing.assert_array_equal(draw_prompts(image, mask, (name,), weights), drawn(image, mask, (name,), weights))
    np.testing.assert_array_equal(image, before, err_msg="the input must stay")


def test_blur_weights_are_a_rounded_gaussian() -> None:
    """The fixed-point taps: a 15-tap Gaussian of sigma 2.6, no tap further than 1 / 256 off, unit sum."""
    sigma = 2.6
    exact = np.exp(-(np.arange(-7, 8) ** 2) / (2 * sigma**2))
    exact /= exact.sum()
    weights = gaussian_weights() / 256
    assert weights.sum() == 1
    np.testing.assert_array_equal(weights, weights[::-1])
    np.testing.assert_allclose(weights, exact, atol=1 / 256)
    image = noise(40, 40)
    floats = ndimage.correlate1d(
        ndimage.correlate1d(image.astype(float), exact, 0, mode="mirror"), exact, 1, mode="mirror"
    )
    assert np.abs(blurred(image) - floats).max() < 2, "within rounding of the real-valued filter"


@pytest.mark.parametrize(
    ("color", "rgb", "bgr"),
    [
        ((255, 0, 0), 76, 29),
        ((0, 255, 0), 150, 150),
        ((0, 0, 255), 29, 76),
        ((255, 255, 255), 255, 255),
        ((0, 0, 0), 0, 0),
        ((200, 100, 50), 124, 96),
    ],
)
def test_gray_of_known_colors(color: tuple[int, int, int], rgb: int, bgr: int) -> None:
    """0.299, 0.587 and 0.114 by hand; the released code gives red's weight to blue."""
    image = np.full((4, 4, 3), color, np.uint8)
    mask = np.zeros((4, 4), bool)
    mask[0, :2] = True
    for weights, level in (("rgb", rgb), ("bgr", bgr)):
        result = draw_prompts(image, mask, ("gray",), weights)
        np.testing.assert_array_equal(result[~mask], level)
        np.testing.assert_array_equal(result[mask], image[mask])
        np.testing.assert_array_equal(gray_level(image, weights), level)


def test_gray_covers_every_level_of_each_channel() -> None:
    levels = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3)
    image = levels.astype(np.uint8)
    mask = np.zeros(image.shape[:2], bool)
    mask[0, :2] = True
    for weights in ("rgb", "bgr"):
        np.testing.assert_array_equal(
            draw_prompts(image, mask, ("gray",), weights), outside(mask, image, gray_level(image, weights))
        )


@pytest.mark.parametrize("name", ["blur", "gray", "mask"])
def test_inside_of_the_mask_stays(name: str) -> None:
    image, mask = noise(30, 30), blobs(30, 30)
    result = draw_prompts(image, mask, (name,))
    np.testing.assert_array_equal(result[mask], image[mask])
    assert (result[~mask] != image[~mask]).any()


@pytest.mark.parametrize("name", ["circle", "rectangle", "contour"])
def test_drawn_pixels_are_red_and_the_others_stay(name: str) -> None:
    image = np.minimum(noise(40, 50), 254)
    mask = np.zeros((40, 50), bool)
    mask[10:28, 8:41] = True
    result = draw_prompts(image, mask, (name,))
    changed = (result != image).any(axis=-1)
    assert changed.any()
    np.testing.assert_array_equal(result[changed], np.broadcast_to([255, 0, 0], (changed.sum(), 3)))


@pytest.mark.parametrize(("rows", "columns"), [((10, 30), (5, 45)), ((2, 38), (20, 29)), ((15, 22), (15, 22))])
def test_circle_lies_on_the_ellipse(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Every red pixel within a pixel of the ellipse of half the extent (a polygon cuts corners), all the way round."""
    mask = np.zeros((41, 51), bool)
    mask[slice(*rows), slice(*columns)] = True
    red = (draw_prompts(np.zeros((41, 51, 3), np.uint8), mask, ("circle",)) == [255, 0, 0]).all(axis=-1)
    x, y, half_width, half_height = extent(mask)
    turn = np.linspace(0, 2 * np.pi, 2000)
    ellipse = np.stack([y + half_height * np.sin(turn), x + half_width * np.cos(turn)], axis=1)
    distance = np.linalg.norm(np.argwhere(red)[:, None] - ellipse, axis=-1)
    assert distance.min(axis=1).max() <= 1.0, "no red pixel lies off the ellipse"
    assert distance.min(axis=0).max() <= 1.0, "no part of the ellipse is left out"
    assert not red[y, x], "not filled"


def test_extent_is_truncated() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    mask[9, 3] = True
    assert sum(extent_of(mask), ()) == extent(mask) == (5, 3, 3, 4)


@pytest.mark.parametrize("name", ["circle", "rectangle"])
@pytest.mark.parametrize("shape", [(2, 2), (1, 2), (2, 1), (7, 1), (1, 7)])
def test_shape_of_a_very_small_mask(name: str, shape: tuple[int, int]) -> None:
    """Half extents of 0 and 1: no failure, and as computed by hand."""
    image, mask = noise(12, 12), np.zeros((12, 12), bool)
    mask[5 : 5 + shape[0], 6 : 6 + shape[1]] = True
    np.testing.assert_array_equal(draw_prompts(image, mask, (name,)), drawn(image, mask, (name,), "rgb"))


def test_shapes_beyond_the_border_are_cut() -> None:
    """The mean of a lopsided mask lies far from its middle: its ellipse and box leave the image."""
    mask = np.zeros((30, 40), bool)
    mask[:3, :3] = True
    mask[29, 39] = True
    image = noise(30, 40)
    for name in ("circle", "rectangle"):
        np.testing.assert_array_equal(draw_prompts(image, mask, (name,)), drawn(image, mask, (name,), "rgb"))


def test_contour_fills_holes() -> None:
    mask = np.zeros((20, 20), bool)
    mask[3:17, 3:17] = True
    solid = mask.copy()
    mask[6:14, 6:14] = False
    mask[9:11, 9:11] = True  # an island in the hole
    image = noise(20, 20)
    result = draw_prompts(image, mask, ("contour",))
    np.testing.assert_array_equal(result, draw_prompts(image, solid, ("contour",)))
    assert (result != image).any(axis=-1).sum() <= 4 * 13


def test_contour_of_a_full_mask_is_the_image_border() -> None:
    red = contour_pixels(np.ones((5, 7), bool))
    expected = np.ones((5, 7), bool)
    expected[1:-1, 1:-1] = False
    np.testing.assert_array_equal(red, expected)
    result = draw_prompts(np.zeros((5, 7, 3), np.uint8), np.ones((5, 7), bool), ("contour",))
    np.testing.assert_array_equal(result[..., 0] == 255, expected)


@pytest.mark.parametrize("count", [0, 1])
def test_mask_of_at_most_one_pixel_leaves_the_image(count: int) -> None:
    image, mask = noise(9, 11), np.zeros((9, 11), bool)
    mask.flat[50 : 50 + count] = True
    for names in [*((name,) for name in ORDER), ORDER]:
        np.testing.assert_array_equal(draw_prompts(image, mask, names), image)


ALL_COMBINATIONS = [names for size in range(7) for names in itertools.combinations(ORDER, size)]


@pytest.mark.parametrize("names", ALL_COMBINATIONS, ids=lambda names: "+".join(names) or "none")
def test_any_combination(names: tuple[str, ...]) -> None:
    """Applied in the order of the method, however they are listed."""
    image = noise(25, 33)
    for mask in (blobs(25, 33), blobs(25, 33, seed=1, smooth=1), np.ones((25, 33), bool), ~np.eye(25, 33, dtype=bool)):
        expected = drawn(image, mask, names, "bgr")
        np.testing.assert_array_equal(draw_prompts(image, mask, names, "bgr"), expected)
        np.testing.assert_array_equal(draw_prompts(image, mask, names[::-1], "bgr"), expected)


def test_order_matters() -> None:
    """Drawn shapes come after the filters (a red line is not blurred), and blur before gray and black."""
    image, mask = noise(30, 30), np.zeros((30, 30), bool)
    mask[8:20, 8:20] = True
    red = contour_pixels(mask) | rectangle_pixels(mask) | ellipse_pixels(mask)
    result = draw_prompts(image, mask, ORDER)
    np.testing.assert_array_equal(result[red], np.broadcast_to([255, 0, 0], (red.sum(), 3)))
    np.testing.assert_array_equal(result[~mask & ~red], 0)
    by_hand = outside(mask, image, gray_level(outside(mask, image, blurred(image)), "rgb"))
    np.testing.assert_array_equal(draw_prompts(image, mask, ("gray", "blur")), by_hand)
    assert tuple(PROMPTS) == ORDER


@pytest.mark.parametrize("names", [*((name,) for name in ORDER), ORDER])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1)])
def test_smallest_images(names: tuple[str, ...], shape: tuple[int, int]) -> None:
    image = noise(*shape)
    for value in (True, False):
        result = draw_prompts(image, np.full(shape, value), names)
        assert result.shape == image.shape
        assert result.dtype == np.uint8


def test_image_of_any_memory_layout() -> None:
    """A flipped or transposed view draws as its copy does."""
    image, mask = noise(20, 26), blobs(20, 26)
    for view, view_mask in ((image[::-1, ::-1], mask[::-1, ::-1]), (image.transpose(1, 0, 2), mask.T)):
        copied = draw_prompts(np.ascontiguousarray(view), np.ascontiguousarray(view_mask), ORDER)
        np.testing.assert_array_equal(draw_prompts(view, view_mask, ORDER), copied)


def test_opencv_uses_the_taps_above() -> None:
    """An impulse through the filter itself gives the squared taps."""
    impulse = np.zeros((31, 31), np.uint8)
    impulse[15, 15] = 255
    expected = (255 * np.outer(gaussian_weights(), gaussian_weights()) + (1 << 15)) >> 16
    np.testing.assert_array_equal(cv2.GaussianBlur(impulse, (15, 15), 0)[8:23, 8:23], expected)
