"""Dense CRF over the proposals (Krähenbühl and Koltun, NIPS 2011), by pydensecrf or torch."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from importlib import import_module

import numpy as np
import numpy.typing as npt

from car_core.config import HAS_PYDENSECRF, CRFConfig
from car_core.errors import ConfigError
from car_core.refine.lattice import Inference, by_torch
from support.arrays import Int64Array, RGBArray

# Mean of the training images of VGG-style networks, blue, green, red.
BGR_MEAN = (104.008, 116.669, 122.675)


def _bgr_minus_mean(image: RGBArray) -> RGBArray:
    """BGR minus the mean, truncated to integers and wrapped around at 0, as the released code's cast does."""
    centered = image[..., ::-1].astype(np.float32) - np.array(BGR_MEAN, np.float32)
    return centered.astype(np.int64).astype(np.uint8)


CRF_IMAGES: Mapping[str, Callable[[RGBArray], RGBArray]] = {
    "rgb": lambda image: image,
    "bgr_minus_mean": _bgr_minus_mean,
}


def label_probabilities(proposals: npt.NDArray[np.float32], bg_factor: float) -> npt.NDArray[np.float32]:
    """[(1 - max_c y_c) ** bg_factor, y_1 .. y_N], float32 [N + 1, H, W], not renormalized, from y [N, H, W]."""
    # A resized proposal can exceed 1 by a rounding error.
    background = np.maximum(1 - proposals.max(axis=0, keepdims=True), 0) ** bg_factor
    return np.asarray(np.concatenate([background, proposals]), np.float32)


@functools.cache
def prepare_crf(implementation: str) -> None:
    """Report once that torch's CRF stands in for pydensecrf. Raises ConfigError if pydensecrf cannot be loaded."""
    if not HAS_PYDENSECRF:
        logging.getLogger(__name__).warning(
            "notice: crf: torch's, since pydensecrf2 is not installed; on the miniature 1 of 21 million pixels differs"
        )
    elif implementation == "pydensecrf":
        try:
            import_module("pydensecrf.densecrf")
        except ImportError as error:
            raise ConfigError(
                f"crf.implementation: expected torch, since pydensecrf cannot be loaded: {error}"
            ) from None


def unary_energies(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """-log of probabilities [labels, H, W] clipped to [1e-5, 1], float32 [labels, H * W]."""
    energies = -np.log(np.clip(probabilities, 1e-5, 1.0)).reshape(len(probabilities), -1)
    return np.ascontiguousarray(energies, np.float32)


def by_pydensecrf(image: RGBArray, n_labels: int, config: CRFConfig, device: str = "cpu") -> Inference:
    """Inference over an image uint8 [H, W, 3], the bilateral kernel's; on the CPU, whatever the device."""
    import pydensecrf.densecrf as dcrf  # optional

    height, width = image.shape[:2]
    crf = dcrf.DenseCRF2D(width, height, n_labels)
    crf.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=config.bilateral_sxy,
        srgb=config.bilateral_srgb,
        rgbim=np.require(image, requirements=["C", "W"]),  # pydensecrf refuses read-only arrays
        compat=config.bilateral_weight,
    )

    def infer(energies: npt.NDArray[np.float32]) -> Int64Array:
        crf.setUnaryEnergy(energies)
        return np.asarray(np.array(crf.inference(config.iterations)).reshape(n_labels, -1).argmax(axis=0))

    return infer


IMPLEMENTATIONS: Mapping[str, Callable[[RGBArray, int, CRFConfig, str], Inference]] = {
    "pydensecrf": by_pydensecrf,
    "torch": by_torch,
}


class KernelCache:
    """The last image's inference, reused while image, number of labels and settings stay the same.

    Building the CRF kernels costs as much as one inference, and an image's sentences are refined one after another. Not
    thread-safe.
    """

    def __init__(self, most_pixels: int = 2**20) -> None:
        self._most_pixels = most_pixels  # of an image that is kept for the next request, at about 100 bytes per pixel
        self._last: tuple[RGBArray, tuple[object, ...], Inference] | None = None

    def get(self, image: RGBArray, n_labels: int, config: CRFConfig, device: str) -> Inference:
        """The inference that IMPLEMENTATIONS builds from these arguments."""
        settings = n_labels, config, device
        if self._last and self._last[1] == settings and np.array_equal(self._last[0], image):
            return self._last[2]
        self._last = None  # before the next is built: only one at a time is in memory
        self._last = image, settings, IMPLEMENTATIONS[config.implementation](image, n_labels, config, device)
        return self._last[2]

    def trim(self) -> None:
        """Drop an inference over a large image."""
        if self._last and self._last[0].shape[0] * self._last[0].shape[1] > self._most_pixels:
            self._last = None


def crf_masks(
    image: RGBArray,
    proposals: npt.NDArray[np.float32],
    config: CRFConfig | None,
    crf_image: str,
    device: str = "cpu",
    kernels: KernelCache | None = None,
) -> npt.NDArray[np.bool_]:
    """Masks bool [N, H, W] from proposals y [N, H, W] of queries that compete for the pixels.

    image: uint8 [H, W, 3] RGB; crf_image: a key of CRF_IMAGES; device: for implementations that can use one; kernels:
    of earlier calls, reused for the same image. Without a CRF (config None) each pixel takes the likeliest of
    background and queries. A query that no pixel prefers has an all-false mask.
    """
    probabilities = label_probabilities(proposals, config.bg_factor if config else 1.0)
    if config is None:
        labels = probabilities.argmax(axis=0)
    else:
        infer = (kernels or KernelCache()).get(CRF_IMAGES[crf_image](image), len(probabilities), config, device)
        labels = infer(unary_energies(probabilities)).reshape(probabilities.shape[1:])
    return np.asarray(labels[None] == np.arange(1, len(probabilities))[:, None, None])
