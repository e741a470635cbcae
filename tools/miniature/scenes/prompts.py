"""Visual prompts on training images: the marks that say which object a caption is about."""

from __future__ import annotations

import cv2
import numpy as np

RED = (255, 0, 0)
KINDS = (
    "circle",
    "circle blur",
    "circle blur",
    "circle blur",
    "circle blur",
    "blur",
    "blur gray",
    "gray",
    "mask",
    "crop",
    "rectangle",
    "contour blur",
)


def draw_prompt(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mark the object at `mask` (bool [H, W]) with a random prompt, as imprecise as a proposal: uint8 RGB [H, W, 3]."""
    region = blurred_region(rng, mask)
    if not region.any():
        region = mask
    for kind in KINDS[int(rng.integers(len(KINDS)))].split():
        image = PROMPTS[kind](rng, image, region)
    return image


def blurred_region(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A smooth, too large or too small version of a mask: bool [H, W]."""
    if rng.random() < 0.3:
        return mask
    sigma = rng.uniform(0.01, 0.05) * max(mask.shape)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)
    return np.asarray(soft > rng.uniform(0.2, 0.6))


def _outside(image: np.ndarray, region: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where(region[..., None], image, other).astype(np.uint8)


def _blur(rng: np.random.Generator, image: np.ndarray, region: np.ndarray) -> np.ndarray:
    sigma = rng.uniform(0.007, 0.018) * max(region.shape)
    return _outside(image, region, cv2.GaussianBlur(image, (0, 0), sigma))


def _gray(rng: np.random.Generator, image: np.ndarray, region: np.ndarray) -> np.ndarray:
    return _outside(image, region, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None])


def _mask(rng: np.random.Generator, image: np.ndarray, region: np.ndarray) -> np.ndarray:
    return _outside(image, region, np.zeros_like(image))


def _circle(rng: np.random.Generator, image: np.ndarray, region: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(region)
    center = (round(float(columns.mean())), round(float(rows.mean())))
    axes = (int(np.ptp(columns)) // 2 + 1, int(np.ptp(rows)) // 2 + 1)
    drawn = cv2.ellipse(image.copy(), center, axes, 0, 0, 360, RED, 1, cv2.LINE_AA)
    return _faded(rng, image, drawn)


def _rectangle(rng: np.random.Generator, image: np.ndarray, region: np.ndarray) -> np.ndarray:
    left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
    drawn = cv2.rectangle(image.copy(), (left, top), (left + width, top + height), RED, 1)
    return _faded(rng, image, drawn)


def _contour(rng: np.random.Generator, image: np.ndarray, region: np.ndarray) -> np.ndarray:
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return _faded(rng, image, cv2.drawContours(image.copy(), outlines, -1, RED, 1))


def _faded(rng: np.random.Generator, image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Thin lines fade when an image is made smaller; so do these."""
    share = rng.uniform(0.4, 1.0)
    return np.asarray(cv2.addWeighted(drawn, share, image, 1 - share, 0))


def _crop(rng: np.random.Generator, image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Cut a square around the region and enlarge it to the image's size."""
    height, width = region.shape
    left, top, box_width, box_height = cv2.boundingRect(region.astype(np.uint8))
    side = int(np.clip(max(box_width, box_height) * rng.uniform(1.05, 1.6), 8, min(height, width)))
    row = int(np.clip(top + box_height / 2 - side / 2, 0, height - side))
    column = int(np.clip(left + box_width / 2 - side / 2, 0, width - side))
    window = image[row : row + side, column : column + side]
    return np.asarray(cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR))


PROMPTS = {
    "circle": _circle,
    "rectangle": _rectangle,
    "contour": _contour,
    "blur": _blur,
    "gray": _gray,
    "mask": _mask,
    "crop": _crop,
}
