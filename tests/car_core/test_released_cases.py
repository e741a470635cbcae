"""profile="released" against outputs of the authors' code on three photos (shared/reference, see its README)."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from helpers.prompts import draw_prompts

from car_core import CaR, CaRConfig, Segmentation
from car_core.classifier.tower import ClassifierTower
from car_core.config import TEMPLATES, CRFConfig, format_text
from car_core.models.clip import open_clip
from car_core.models.text_encoder import TextEncoder
from car_core.proposal.trunk import ProposalTower
from car_core.refine.crf import crf_masks

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference"
pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the released code's outputs are not here")

CASES: dict[str, dict[str, Any]] = {
    "voc_000000000127": {"eta": 0.4, "lambda_": 0.4, "prompts": ("circle", "blur")},
    "coco_000000000092": {"eta": 0.5, "lambda_": 0.5, "prompts": ("blur", "gray")},
    "refcoco_000000000077": {"mode": "referring", "eta": 0.5, "lambda_": 0.5, "prompts": ("circle",)},
}
Arrays = dict[str, npt.NDArray[Any]]


class Case:
    """One photo: what the released code computed, and what CaR does."""

    def __init__(self, name: str, models: dict[str, Any]) -> None:
        self.arrays: Arrays = dict(np.load(REFERENCE / f"{name}.npz"))
        settings = json.loads(str(self.arrays["settings"]))
        self.config = CaRConfig(
            profile="released",
            positional_half=False,
            theta=settings["car.confidence_threshold"],
            **CASES[name],
        )
        self.referring = self.config.mode == "referring"
        self.proposal_clip = models["ViT-B-16"]
        self.classifier_clip = models["ViT-B-16" if self.referring else "ViT-L-14"]
        self.image: npt.NDArray[np.uint8] = self.arrays["image"]
        self.queries = [str(text) for text in self.arrays["texts"]]
        car = CaR(self.config, proposal_clip=self.proposal_clip, classifier_clip=self.classifier_clip)
        self.found: Segmentation = car.segment(self.image, self.queries, trace=True)

    def fraction(self, key: str) -> npt.NDArray[np.float64]:
        return self.arrays[key + "_u16"] / 65535

    def scores_of(self, images: list[npt.NDArray[np.uint8]], alive: tuple[int, ...]) -> torch.Tensor:
        """P [images, alive] with templates (of a first step without them), by the classifier tower and a plain loop."""
        tower = ClassifierTower(self.classifier_clip)
        crops = torch.stack([tower.preprocess(image) for image in images])
        features = tower.encode(crops, feature="before_last_block")
        encoder = TextEncoder(self.classifier_clip, role="classifier_clip")
        templates = ("a clean origami {}.",) if self.referring else TEMPLATES
        summed = torch.zeros(len(images), len(alive))
        for template in templates:
            [texts] = encoder([[format_text(template, self.queries[i]) for i in alive]])
            summed += (tower.logit_scale * features @ texts.T).softmax(dim=-1)
        return summed if self.referring else summed.softmax(dim=-1)

    def differing_masks(self) -> list[tuple[int, int]]:
        """(step, position) of every binary mask that differs from the reference's in some pixel."""
        differing = []
        for number, step in enumerate(self.found.steps):
            assert step.proposals is not None
            for position, proposal in enumerate(step.proposals):
                reference = self.fraction(f"step{number}_mask_proposals")[position]
                if ((proposal > self.config.eta) != (reference > self.config.eta)).any():
                    differing.append((number, position))
        return differing


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    loaded = {}
    for name in ("ViT-B-16", "ViT-L-14"):
        config = json.loads((REFERENCE / f"config_{name}.json").read_text())["open_clip"]
        model = open_clip.CLIP(**config).eval()
        arrays = np.load(REFERENCE / f"weights_{name}.npz")
        missing = model.load_state_dict({key: torch.tensor(arrays[key]) for key in arrays.files}, strict=False)
        assert not missing.missing_keys
        assert set(missing.unexpected_keys) <= {"input_resolution", "context_length", "vocab_size"}
        loaded[name] = model
    return loaded


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, models: dict[str, Any]) -> Case:
    return Case(request.param, models)


def test_proposals_of_every_step(case: Case) -> None:
    assert len(case.found.steps) == int(case.arrays["n_steps"])
    for number, step in enumerate(case.found.steps):
        expected = case.fraction(f"step{number}_mask_proposals")
        np.testing.assert_allclose(step.proposals, expected, rtol=0, atol=1e-4)


def test_survivors_of_every_step(case: Case) -> None:
    alive = tuple(range(len(case.queries)))
    for number, step in enumerate(case.found.steps):
        assert step.queries == alive
        alive = tuple(int(i) for i in case.arrays[f"step{number}_surviving_idx"])
        assert step.kept == alive
    assert case.found.kept == alive


def test_binary_masks_differ_only_at_the_threshold(case: Case) -> None:
    """Float noise, which each processor has of its own, can carry a pixel over eta: one or two of a mask's 300,000."""
    for number, step in enumerate(case.found.steps):
        assert step.proposals is not None
        reference = case.fraction(f"step{number}_mask_proposals")
        flipped = (step.proposals > case.config.eta) != (reference > case.config.eta)
        assert (np.abs(reference[flipped] - case.config.eta) < 1e-4).all()
        assert (flipped.sum(axis=(1, 2)) <= 2).all()


def test_scores_of_every_step(case: Case) -> None:
    """Within 1e-4, but for at most two masks with pixels at the threshold.

    Row i of P comes from image i alone. A proposal that lies no further from eta than it was rounded for storing
    (1 / 65535), or than float noise carried it, may count as inside or outside: where a score differs, one of these
    choices must give the reference's score.
    """
    explained = 0
    for number, step in enumerate(case.found.steps):
        expected = case.arrays[f"step{number}_mask_scores"]
        for position, score in enumerate(step.scores):
            if abs(float(score) - float(expected[position])) >= 1e-4:
                explained += 1
                images = [drawn(case, mask) for mask in masks_at_the_threshold(case, number, position)]
                assert len(images) > 1
                choices = case.scores_of(images, step.queries)[:, position]
                assert (choices - float(expected[position])).abs().min() < 1e-4
    assert explained <= 2


def drawn(case: Case, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return draw_prompts(case.image, mask, case.config.prompts, case.config.gray_weights)


def masks_at_the_threshold(case: Case, number: int, position: int) -> list[npt.NDArray[np.bool_]]:
    """The binary mask with every choice of inside or outside for the pixels that cannot be told."""
    proposals, eta = case.found.steps[number].proposals, case.config.eta
    assert proposals is not None
    reference = case.fraction(f"step{number}_mask_proposals")[position]
    mask = proposals[position] > eta
    doubtful = np.flatnonzero((mask != (reference > eta)) | (np.abs(reference - eta) < 1 / 65535))
    assert len(doubtful) <= 6
    masks = []
    for choice in itertools.product((False, True), repeat=len(doubtful)):
        chosen = mask.copy()
        chosen.flat[doubtful] = choice
        masks.append(chosen)
    return masks


def test_prompted_images(case: Case) -> None:
    proposals = case.found.steps[0].proposals
    assert proposals is not None
    differing, compared = case.differing_masks(), 0
    for position in range(3):
        if (0, position) not in differing:
            mask = proposals[position] > case.config.eta
            np.testing.assert_array_equal(drawn(case, mask), case.arrays["step0_prompted_images"][position])
            compared += 1
    assert compared >= 1


def test_prompted_images_of_the_reference_masks(case: Case) -> None:
    """Drawn from the reference's own proposals, wherever rounding to 1 / 65535 leaves no doubt about a pixel."""
    proposals, eta = case.fraction("step0_mask_proposals"), case.config.eta
    for position in range(3):
        if np.abs(proposals[position] - eta).min() > 1 / 65535:
            expected = case.arrays["step0_prompted_images"][position]
            np.testing.assert_array_equal(drawn(case, proposals[position] > eta), expected)


def test_scores_of_the_reference_images(case: Case) -> None:
    """The reference's own prompted images through the classifier tower, then its ensemble by hand."""
    matrix = case.scores_of(list(case.arrays["step0_prompted_images"]), tuple(range(len(case.queries))))
    np.testing.assert_allclose(matrix.diagonal(), case.arrays["step0_mask_scores"][:3], rtol=0, atol=1e-4)


def test_crf_of_the_reference_proposals(case: Case) -> None:
    """The reference's input of the CRF through ours: equal masks on 99.9 % of pixels."""
    proposals = case.fraction("crf_input").astype(np.float32)
    groups = [proposals[i : i + 1] for i in range(len(proposals))] if case.referring else [proposals]
    masks = np.concatenate([crf_masks(case.image, group, CRFConfig(), "bgr_minus_mean") for group in groups])
    assert (masks == (case.fraction("refined_masks") > 0.5)).mean() >= 0.999


def test_final_masks_and_scores(case: Case) -> None:
    assert (case.found.masks == (case.fraction("final_masks") > 0.5)).mean() >= 0.999
    np.testing.assert_allclose(case.found.scores, case.arrays["final_scores"], rtol=0, atol=1e-4)


def test_final_answer(case: Case) -> None:
    """Label map (semantic) or merged mask (referring), equal on 99.9 % of pixels."""
    if case.referring:
        assert case.found.merged_mask is not None
        found, expected = case.found.merged_mask, case.fraction("merged_mask")[0] > 0.5
    else:
        found, expected = case.found.label_map, case.arrays["label_pred"]
    assert found.shape == case.image.shape[:2]
    assert (found == expected).mean() >= 0.999


def test_half_precision_positions_are_another_answer(case: Case) -> None:
    """The released code rounds the positional embedding: the switch moves proposals by more than the tolerance."""
    tower = ProposalTower(case.proposal_clip)
    exact, rounded = (tower.positional_embedding((10, 13), half=half) for half in (False, True))
    assert exact.shape == rounded.shape == (131, case.proposal_clip.visual.conv1.out_channels)
    assert torch.equal(rounded, exact.half().float())
    assert not torch.equal(rounded, exact)
