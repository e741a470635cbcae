"""The dense CRF call against pydensecrf called by hand, and what its masks keep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from helpers.tiny_clip import photo, tiny_clip
from PIL import Image
from scipy import ndimage

from car_core import CaR, CaRConfig, ConfigError, CRFConfig
from car_core.refine import lattice
from car_core.refine.crf import (
    CRF_IMAGES,
    IMPLEMENTATIONS,
    KernelCache,
    by_pydensecrf,
    crf_masks,
    label_probabilities,
    prepare_crf,
    unary_energies,
)
from dataset_adapters import embedded_root

dcrf = pytest.importorskip("pydensecrf.densecrf")

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def soft_maps(n: int, height: int, width: int, seed: int = 0) -> FloatArray:
    """Proposals [n, H, W] in [0, 1], smooth, that overlap and leave background."""
    rng = np.random.default_rng(seed)
    maps = np.stack([ndimage.gaussian_filter(rng.normal(size=(height, width)), 5) for _ in range(n)])
    maps -= maps.min(axis=(1, 2), keepdims=True)
    return (maps / maps.max(axis=(1, 2), keepdims=True)).astype(np.float32)


def by_hand(image: npt.NDArray[np.uint8], proposals: FloatArray, config: CRFConfig, crf_image: str) -> BoolArray:
    height, width = image.shape[:2]
    background = (1 - np.max(proposals, axis=0)) ** np.float32(config.bg_factor)
    probabilities = np.concatenate([background[None], proposals]).astype(np.float32)
    if crf_image == "bgr_minus_mean":
        wrapped = np.empty_like(image)
        for channel, mean in enumerate((104.008, 116.669, 122.675)):
            for level in range(256):
                value = int(level - mean)  # truncated towards zero
                wrapped[..., channel][image[..., 2 - channel] == level] = value % 256
        image = wrapped
    crf = dcrf.DenseCRF2D(width, height, len(probabilities))
    from pydensecrf.utils import unary_from_softmax

    crf.setUnaryEnergy(unary_from_softmax(probabilities))
    crf.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=config.bilateral_sxy,
        srgb=config.bilateral_srgb,
        rgbim=np.ascontiguousarray(image),
        compat=config.bilateral_weight,
    )
    labels = np.argmax(crf.inference(config.iterations), axis=0).reshape(height, width)
    return np.stack([labels == i + 1 for i in range(len(proposals))])


@pytest.mark.parametrize("crf_image", ["rgb", "bgr_minus_mean"])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(
    "config",
    [
        CRFConfig(),
        CRFConfig(iterations=0),
        CRFConfig(iterations=3, gaussian_sxy=2, gaussian_weight=1.5, bilateral_sxy=20, bilateral_srgb=10),
        CRFConfig(bg_factor=2.5, bilateral_weight=7),
    ],
    ids=["of the method", "no iteration", "other kernels", "background exponent"],
)
@pytest.mark.parametrize(("height", "width"), [(40, 56), (57, 31)])
def test_refine_equals_pydensecrf_by_hand(config: CRFConfig, n: int, crf_image: str, height: int, width: int) -> None:
    image, proposals = photo(height, width, n), soft_maps(n, height, width)
    found = crf_masks(image, proposals, config, crf_image)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, by_hand(image, proposals, config, crf_image))


def test_images_of_the_crf_lead_to_other_masks() -> None:
    """Else the tests above could not tell them apart. (RGB and BGR alone give the same kernel.)"""
    image, proposals = photo(60, 70, 3), soft_maps(3, 60, 70)
    rgb, bgr = (crf_masks(image, proposals, CRFConfig(), name) for name in ("rgb", "bgr_minus_mean"))
    assert (rgb != bgr).any()


def test_bgr_minus_mean_wraps_around() -> None:
    """In modular integers: truncated towards zero, then modulo 256. Blue's mean is 104.008."""
    rgb = np.array([[[0, 0, 0], [255, 255, 255], [122, 116, 104], [123, 117, 105], [121, 115, 103]]], np.uint8)
    expected_bgr = [
        [256 - 104, 256 - 116, 256 - 122],  # -104.008, -116.669, -122.675
        [150, 138, 132],  # 150.992, 138.331, 132.325
        [0, 0, 0],  # -0.008, -0.669, -0.675 truncate to 0, not to -1
        [0, 0, 0],
        [255, 255, 255],  # -1.008, -1.669, -1.675
    ]
    np.testing.assert_array_equal(CRF_IMAGES["bgr_minus_mean"](rgb)[0], expected_bgr)
    np.testing.assert_array_equal(CRF_IMAGES["rgb"](rgb), rgb)


def test_every_level_wraps_around() -> None:
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    found = CRF_IMAGES["bgr_minus_mean"](levels)[0]
    for channel, thousandths in enumerate((104_008, 116_669, 122_675)):
        for level in range(256):
            difference = level * 1000 - thousandths
            truncated = abs(difference) // 1000 * (1 if difference > 0 else -1)
            assert found[level, channel] == truncated % 256


def test_probabilities_are_not_renormalized() -> None:
    proposals = np.array([[[0.25, 0.0, 1.0]], [[0.5, 0.0, 1.0]]], np.float32)
    expected = [[[0.5, 1.0, 0.0]], [[0.25, 0.0, 1.0]], [[0.5, 0.0, 1.0]]]
    np.testing.assert_array_equal(label_probabilities(proposals, 1.0), np.array(expected, np.float32))
    np.testing.assert_array_equal(label_probabilities(proposals, 2.0)[0], np.array([[0.25, 1, 0]], np.float32))


def test_without_crf_each_pixel_takes_the_likeliest() -> None:
    image, proposals = photo(20, 30), soft_maps(3, 20, 30)
    found = crf_masks(image, proposals, None, "rgb")
    for y in range(20):
        for x in range(30):
            values = [1 - max(proposals[:, y, x]), *proposals[:, y, x]]
            expected = [values.index(max(values)) == i + 1 for i in range(3)]
            assert found[:, y, x].tolist() == expected


@pytest.mark.parametrize("config", [None, CRFConfig()], ids=["no CRF", "CRF"])
@pytest.mark.parametrize("n", [1, 4])
def test_background_everywhere_keeps_its_shape(config: CRFConfig | None, n: int) -> None:
    found = crf_masks(photo(20, 30), np.zeros((n, 20, 30), np.float32), config, "rgb")
    assert found.shape == (n, 20, 30)
    assert not found.any()


@pytest.mark.parametrize("config", [None, CRFConfig()], ids=["no CRF", "CRF"])
@pytest.mark.parametrize("empty", [(0,), (1,), (2,), (0, 2), (1, 2)], ids=str)
def test_masks_keep_the_position_of_their_query(config: CRFConfig | None, empty: tuple[int, ...]) -> None:
    """A query that the CRF leaves no pixel has an empty mask; the others do not move up."""
    proposals = np.zeros((3, 30, 36), np.float32)
    for i in range(3):
        if i not in empty:
            proposals[i, 3:27, 12 * i + 1 : 12 * i + 11] = 0.95
    found = crf_masks(np.full((30, 36, 3), 128, np.uint8), proposals, config, "bgr_minus_mean")
    for i in range(3):
        assert found[i].any() == (i not in empty)
        if found[i].any():
            rows, columns = np.nonzero(found[i])
            assert abs(columns.mean() - (12 * i + 5.5)) < 1
            assert abs(rows.mean() - 14.5) < 1


def test_single_pixel_image() -> None:
    found = crf_masks(np.zeros((1, 1, 3), np.uint8), np.full((2, 1, 1), 0.9, np.float32), CRFConfig(), "rgb")
    assert found.shape == (2, 1, 1)
    assert found.sum() <= 1


def test_two_labels() -> None:
    """One query against the background: the smallest CRF, as every sentence of referring mode has it."""
    image = np.zeros((24, 24, 3), np.uint8)
    image[:, 12:] = 255
    proposals = np.full((1, 24, 24), 0.1, np.float32)
    proposals[0, :, 10:] = 0.9
    energies = unary_energies(label_probabilities(proposals, 1.0))
    labels = by_pydensecrf(image, 2, CRFConfig())(energies).reshape(24, 24)
    assert set(np.unique(labels)) == {0, 1}
    assert labels[:, 14:].all()


@pytest.mark.parametrize(("mode", "groups"), [("semantic", [3]), ("referring", [1, 1, 1])])
def test_queries_compete_in_semantic_mode_alone(mode: Any, groups: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Semantic: all kept queries in one CRF. Referring: one two-label CRF a sentence."""
    sizes: list[int] = []

    def spy(image: Any, n_labels: int, *_: Any) -> Any:
        def infer(energies: FloatArray) -> Any:
            assert len(energies) == n_labels
            sizes.append(n_labels - 1)
            return np.zeros(image.shape[:2], np.int32)

        return infer

    monkeypatch.setitem(IMPLEMENTATIONS, "pydensecrf", spy)  # type: ignore[arg-type]
    model = tiny_clip(4)
    config = CaRConfig(mode=mode, recurrence="none", background=("sky",))
    result = CaR(config, proposal_clip=model, classifier_clip=model).segment(photo(40, 50), ["cat", "dog", "car"])
    assert sizes == groups
    assert result.masks.shape == (3, 40, 50)
    assert not result.masks.any()
    assert not result.label_map.any()


@pytest.mark.parametrize("crf_image", ["rgb", "bgr_minus_mean"])
def test_crf_sees_the_configured_image(crf_image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[npt.NDArray[np.uint8]] = []

    def spy(image: npt.NDArray[np.uint8], *_: Any) -> Any:
        seen.append(image)
        return lambda _: np.zeros(image.shape[:2], np.int32)

    monkeypatch.setitem(IMPLEMENTATIONS, "pydensecrf", spy)  # type: ignore[arg-type]
    model, image = tiny_clip(4), photo(40, 50)
    config = CaRConfig(crf_image=crf_image, recurrence="none", background=("sky",))
    CaR(config, proposal_clip=model, classifier_clip=model).segment(image, ["cat"])
    np.testing.assert_array_equal(seen[0], CRF_IMAGES[crf_image](image))


def corner_photos() -> list[npt.NDArray[np.uint8]]:
    """Two images of the miniature, and a real photo at a third of its size where there is one."""
    voc = sorted((embedded_root() / "VOCdevkit/VOC2012/JPEGImages").glob("*.jpg"))[:2]
    shared = Path(__file__).parents[2].parent / "shared/realdata/VOCdevkit"
    real = sorted(shared.glob("**/JPEGImages/*.jpg"))[:1]
    opened = [Image.open(path).convert("RGB") for path in [*voc, *real]]
    return [np.asarray(image if max(image.size) < 400 else image.reduce(3)) for image in opened]


@pytest.mark.parametrize("crf_image", ["rgb", "bgr_minus_mean"])
def test_the_lattice_in_torch_agrees_with_pydensecrf(crf_image: str) -> None:
    for image in corner_photos() if crf_image == "rgb" else corner_photos()[:1]:
        seen = CRF_IMAGES[crf_image](image)
        probabilities = label_probabilities(soft_maps(3, *image.shape[:2]), 1.0)
        energies = unary_energies(probabilities)
        expected = by_pydensecrf(seen, 4, CRFConfig())(energies)
        infer = lattice.by_torch(seen, 4, CRFConfig())
        found = infer(energies)
        assert (expected != probabilities.argmax(0).ravel()).mean() > 0.01  # the CRF does something here
        assert (found == expected).mean() > 0.995
        np.testing.assert_array_equal(infer(energies), found)


def test_the_lattice_filter_is_near_an_exact_gaussian() -> None:
    """The definition, by brute force: the lattice's kernel is a Gaussian to a few percent once normalized."""
    points = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) * 12
    values = torch.sin(points[:, :1] / 3) + points[:, 1:] / 12
    kernel = torch.exp(-0.5 * torch.cdist(points, points) ** 2)
    made = lattice.Lattice.from_points(points)
    found = made.filter(values) / made.filter(torch.ones(400, 1))
    torch.testing.assert_close(found, kernel @ values / kernel.sum(1, keepdim=True), rtol=0, atol=0.05)
    torch.testing.assert_close(made.weights.sum(1), torch.ones(400), rtol=0, atol=1e-5)
    # Splat, blur and slice with unit values and a symmetric kernel: <a, K b> = <K a, b>.
    one, two = torch.rand(2, 400, 1, generator=torch.Generator().manual_seed(1))
    assert float((one * made.filter(two)).sum()) == pytest.approx(float((two * made.filter(one)).sum()), rel=0.02)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 2)])
def test_small_images_have_a_lattice_too(size: tuple[int, int]) -> None:
    image = photo(*size)
    proposals = np.linspace(0, 1, 2 * size[0] * size[1], dtype=np.float32).reshape(2, *size)
    masks = [crf_masks(image, proposals, CRFConfig(implementation=name), "rgb") for name in ("pydensecrf", "torch")]
    np.testing.assert_array_equal(*masks)


def test_a_lattice_too_fine_to_number_is_refused() -> None:
    with pytest.raises(ValueError, match="crf: expected kernels wide enough"):
        lattice.Lattice.from_points(torch.tensor([[0.0] * 5, [1e5] * 5]))


@pytest.mark.parametrize("implementation", ["pydensecrf", "torch"])
def test_an_inference_used_again_gives_the_same_bits(implementation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever came before it: other sentences, images, numbers of labels and settings."""
    made: list[int] = []
    original = IMPLEMENTATIONS[implementation]
    counting = lambda *settings: (made.append(1), original(*settings))[1]  # noqa: E731
    monkeypatch.setitem(IMPLEMENTATIONS, implementation, counting)  # type: ignore[arg-type]
    usual = CRFConfig(implementation=implementation)
    blurred = CRFConfig(implementation=implementation, bilateral_sxy=20)
    one, two, maps = photo(40, 56), photo(40, 56, 3), soft_maps(6, 40, 56)
    kernels = KernelCache()
    tasks = [
        (one, maps[:1], usual, "rgb"),
        (one, maps[1:2], usual, "rgb"),
        (one.copy(), maps[:1], usual, "rgb"),
        (two, maps[:1], usual, "rgb"),
        (two, maps[2:5], usual, "rgb"),
        (two, maps[1:4], usual, "rgb"),
        (two, maps[1:4], blurred, "rgb"),
        (two, maps[1:4], blurred, "bgr_minus_mean"),
        (two, maps[3:6], blurred, "bgr_minus_mean"),
    ]
    found = [crf_masks(*task, kernels=kernels) for task in tasks]
    assert len(made) == 5
    for own, task in zip(found, tasks, strict=True):
        np.testing.assert_array_equal(own, crf_masks(*task))


def test_no_inference_over_a_large_image_is_kept() -> None:
    kernels, config = KernelCache(most_pixels=40 * 56), CRFConfig()
    for size, kept in (((40, 56), True), ((40, 57), False)):
        image = photo(*size)
        made = kernels.get(image, 2, config, "cpu")
        assert kernels.get(image, 2, config, "cpu") is made
        kernels.trim()
        assert (kernels.get(image, 2, config, "cpu") is made) == kept


def test_energies_are_pydensecrfs() -> None:
    from pydensecrf.utils import unary_from_softmax

    probabilities = np.linspace(-0.1, 1.1, 60, dtype=np.float32).reshape(3, 4, 5)
    np.testing.assert_array_equal(unary_energies(probabilities), unary_from_softmax(probabilities))


def test_without_pydensecrf_torch_crf_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("car_core.config.HAS_PYDENSECRF", False)
    monkeypatch.setattr("car_core.refine.crf.HAS_PYDENSECRF", False)
    with pytest.raises(ConfigError, match=r"expected torch, or pydensecrf2 installed .*car-eval\[crf"):
        CaRConfig(crf={"implementation": "pydensecrf"})  # type: ignore[arg-type]
    prepare_crf.cache_clear()
    for _ in range(2):
        prepare_crf("torch")
    assert len(caplog.messages) == 1
    assert "torch's, since pydensecrf2 is not installed" in caplog.text
    prepare_crf.cache_clear()


def test_broken_pydensecrf_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    prepare_crf.cache_clear()
    with pytest.raises(ConfigError, match=r"crf.implementation: expected torch, since pydensecrf cannot be loaded"):
        CaR(CaRConfig(), proposal_clip=tiny_clip(1), classifier_clip=tiny_clip(1))
