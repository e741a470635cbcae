"""Dense CRF over the proposals (Krähenbühl and Koltun, NIPS 2011), by pydensecrf or torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pydensecrf.densecrf as dcrf
from pydensecrf.utils import unary_from_softmax

from car_core.config import CRFConfig

# Mean of the training images of VGG-style networks, blue, green, red.
BGR_MEAN = (104.008, 116.669, 122.675)

Image = npt.NDArray[np.uint8]


def _rgb(image: Image) -> Image:
    return image


def _bgr_minus_mean(image: Image) -> Image:
    """BGR minus the mean, truncated to integers and wrapped around at 0, as the released code's cast does."""
    centred = image[..., ::-1].astype(np.float32) - np.array(BGR_MEAN, np.float32)
    return centred.astype(np.int64).astype(np.uint8)


CRF_IMAGES: Mapping[str, Callable[[Image], Image]] = {"rgb": _rgb, "bgr_minus_mean": _bgr_minus_mean}


def label_probabilities(proposals: npt.NDArray[np.float32], bg_factor: float) -> npt.NDArray[np.float32]:
    """[(1 - max_c y_c) ** bg_factor, y_1 .. y_N], float32 [N + 1, H, W], not renormalized, from y [N, H, W]."""
    # A resized proposal can exceed 1 by a rounding error.
    background = np.maximum(1 - proposals.max(axis=0, keepdims=True), 0) ** bg_factor
    return np.asarray(np.concatenate([background, proposals]), np.float32)


def mean_field(image: Image, probabilities: npt.NDArray[np.float32], config: CRFConfig) -> npt.NDArray[np.int32]:
    """Likeliest label a pixel after mean-field inference, int32 [H, W].

    image: uint8 [H, W, 3], as the bilateral kernel sees it; probabilities: [labels, H, W], labels >= 2, clipped to
    [1e-5, 1] as pydensecrf does.
    """
    labels, height, width = probabilities.shape
    crf = dcrf.DenseCRF2D(width, height, labels)
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    crf.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=config.bilateral_sxy,
        srgb=config.bilateral_srgb,
        rgbim=np.require(image, requirements=["C", "W"]),  # pydensecrf refuses read-only arrays
        compat=config.bilateral_weight,
    )
    marginals = np.array(crf.inference(config.iterations), np.float32).reshape(labels, height, width)
    return np.asarray(marginals.argmax(axis=0), np.int32)


def _by_pydensecrf(
    image: Image, probabilities: npt.NDArray[np.float32], config: CRFConfig, device: str
) -> npt.NDArray[np.int32]:
    return mean_field(image, probabilities, config)


def _by_torch(
    image: Image, probabilities: npt.NDArray[np.float32], config: CRFConfig, device: str
) -> npt.NDArray[np.int32]:
    from car_core.refine import lattice

    return lattice.mean_field(image, probabilities, config, device)


IMPLEMENTATIONS: Mapping[str, Callable[[Image, npt.NDArray[np.float32], CRFConfig, str], npt.NDArray[np.int32]]] = {
    "pydensecrf": _by_pydensecrf,
    "torch": _by_torch,
}


def refine(
    image: Image, proposals: npt.NDArray[np.float32], config: CRFConfig | None, crf_image: str, device: str = "cpu"
) -> npt.NDArray[np.bool_]:
    """Masks bool [N, H, W] from proposals y [N, H, W] of queries that compete for the pixels.

    image: uint8 [H, W, 3] RGB; crf_image: a key of CRF_IMAGES; device: of an implementation that can use one. Without
    a CRF (config None) each pixel takes the likeliest of background and queries. A query no pixel prefers gets an
    all-false mask at its own position.
    """
    probabilities = label_probabilities(proposals, config.bg_factor if config else 1.0)
    if config is None:
        labels = np.asarray(probabilities.argmax(axis=0), np.int32)
    else:
        labels = IMPLEMENTATIONS[config.implementation](CRF_IMAGES[crf_image](image), probabilities, config, device)
    return np.asarray(labels[None] == np.arange(1, len(probabilities))[:, None, None])
