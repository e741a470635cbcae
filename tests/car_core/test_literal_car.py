"""CaR.segment against a literal restatement of the whole loop: autograd, explicit matrices, pydensecrf by hand.

Each case's eta lies in a gap between the proposals' values, so that float noise moves no pixel across it. Stretching a
faint map to [0, 1] enlarges float32's rounding in the trunk: proposals agree to 1.5e-4, binary masks exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from helpers.tiny_clip import photo, tiny_clip
from oracles.literal_car import LiteralCaR, LiteralStep

from car_core import CaR, CaRConfig, Segmentation, Step

QUERIES = ["cat", "a red car", "dog", "blue sky", "old bicycle"]
BACKGROUND = ("sky", "grass", "water")
TEMPLATES = ("a photo of a {}.", "This is a {}", "a small {} in the scene")


@dataclass(frozen=True)
class Scene:
    """A photo, a classifier and switches; kept: the survivors of each step, as the literal loop has them."""

    classifier: int
    seed: int
    eta: float
    theta: float
    fields: dict[str, Any]
    kept: list[tuple[int, ...]] = field(default_factory=list)
    proposer: int = 5

    def config(self) -> CaRConfig:
        templates = () if self.fields.get("mode") == "referring" else TEMPLATES
        texts = {"background": BACKGROUND, "templates": templates}
        return CaRConfig(**{"eta": self.eta, "theta": self.theta, "lambda_": 0.3, **texts, **self.fields})

    def models(self) -> tuple[Any, Any]:
        f = tiny_clip(self.proposer, patch=16, layers=10, logit_scale=10.0)
        return f, tiny_clip(self.classifier, patch=14, image_size=56, layers=3, embed_dim=48)

    def segment(self) -> Segmentation:
        f, g = self.models()
        car = CaR(self.config(), proposal_clip=f, classifier_clip=g)
        return car.segment(photo(52, 76, self.seed), QUERIES, trace=True)


RELEASED, PAPER = {"profile": "released"}, {"profile": "paper"}
REFERRING = {"mode": "referring"}
SCENES = {
    "released": Scene(3, 1, 0.40184, 0.1, RELEASED, [(0, 1, 4), (1, 4), (1, 4)]),
    "released, another photo": Scene(3, 0, 0.43137, 0.1, RELEASED, [(0, 1, 2, 3, 4)] * 2, 1),
    "released, nothing passes": Scene(3, 1, 0.25315, 0.9, RELEASED, [(1,), (1,)]),
    "released, referring": Scene(2, 0, 0.64317, 0.1, RELEASED | REFERRING, [(2, 3, 4), (3,), (3,)], 1),
    "released, referring, more pass": Scene(3, 1, 0.54045, 0.1, RELEASED | REFERRING, [(0, 1, 2, 4), (4,), (4,)]),
    "released, no templates": Scene(2, 0, 0.6777, 0.15, RELEASED | {"templates": ()}, [(2, 4), (2, 4)], 1),
    "released, once": Scene(3, 1, 0.57621, 0.2, RELEASED | {"recurrence": "once"}, [(1,)]),
    "paper": Scene(3, 0, 0.2127, 0.15, PAPER, [(0, 3, 4), (0, 3, 4)]),
    "paper, another photo": Scene(3, 1, 0.52722, 0.1, PAPER, [(0, 1, 4), (0, 1, 4)]),
    "paper, nothing passes": Scene(3, 1, 0.37826, 0.9, PAPER, [()]),
    "paper, referring": Scene(2, 0, 0.64012, 0.2, PAPER | REFERRING, [(2, 4), (2, 4)]),
    "paper, Grad-CAM alone": Scene(3, 0, 0.64454, 0.15, PAPER | {"cam": "gradcam"}, [(0, 3, 4), (3, 4), (3, 4)]),
    "paper, no templates": Scene(2, 0, 0.42494, 0.15, PAPER | {"templates": ()}, [(2, 4), (2, 4)]),
    "paper, none": Scene(3, 0, 0.20627, 0.2, PAPER | {"recurrence": "none"}, [(0, 1, 2, 3, 4)], 1),
    "paper, no CRF": Scene(3, 0, 0.67117, 0.15, PAPER | {"crf": None}, [(3, 4), (3, 4)]),
}


@pytest.mark.parametrize("name", SCENES)
def test_segment_equals_the_literal_loop(name: str) -> None:
    scene = SCENES[name]
    config, found = scene.config(), scene.segment()
    restated, image = LiteralCaR(config, *scene.models()), photo(52, 76, scene.seed)
    literal = restated.segment(image, QUERIES)
    assert literal.margin(config) > 1.5e-4, "no pixel and no score near its threshold"

    assert [step.kept for step in literal.steps] == scene.kept
    assert [step.kept for step in found.steps] == scene.kept
    for step, expected in zip(found.steps, literal.steps, strict=True):
        assert step.queries == expected.queries
        assert step.proposals is not None
        np.testing.assert_allclose(step.proposals, expected.proposals, rtol=0, atol=1.5e-4)
        np.testing.assert_array_equal(step.proposals > config.eta, expected.proposals > config.eta)
        np.testing.assert_allclose(step.scores, expected.scores, rtol=0, atol=1e-5)

    assert found.queries == tuple(QUERIES)
    assert found.kept == scene.kept[-1]
    np.testing.assert_allclose(found.scores, literal.scores, rtol=0, atol=1e-5)
    # The CRF decides a few pixels by less than the noise of its input: 99.9 % here, and all of them from equal input.
    assert (found.masks == literal.masks).mean() >= 0.999
    assert (found.label_map == literal.label_map).mean() >= 0.999
    finished = restated.finish(image, QUERIES, [as_literal(step) for step in found.steps])
    np.testing.assert_array_equal(found.masks, finished.masks)
    np.testing.assert_array_equal(found.label_map, finished.label_map)
    if config.mode == "referring":
        np.testing.assert_array_equal(found.merged_mask, finished.merged)
    else:
        assert found.merged_mask is None


def as_literal(step: Step) -> LiteralStep:
    assert step.proposals is not None
    return LiteralStep(step.queries, step.proposals, step.scores.tolist(), step.kept)


@pytest.mark.parametrize("name", ["released", "released, another photo", "paper", "paper, none"])
def test_scenes_have_something_to_see(name: str) -> None:
    """Several masks side by side, so that the comparison above is not of empty ones."""
    assert SCENES[name].segment().masks.any(axis=(1, 2)).sum() >= 2


def test_empty_result_is_all_background() -> None:
    found = SCENES["paper, nothing passes"].segment()
    assert found.kept == ()
    assert found.masks.shape == (5, 52, 76)
    assert found.label_map.shape == (52, 76)
    assert not found.masks.any()
    assert not found.label_map.any()
    assert not found.scores.any()


def test_empty_referring_result_is_an_empty_mask() -> None:
    scene = SCENES["paper, referring"]
    config = scene.config().model_copy(update={"theta": 1.0})
    f, g = scene.models()
    found = CaR(config, proposal_clip=f, classifier_clip=g).segment(photo(52, 76), QUERIES)
    assert found.merged_mask is not None
    assert found.merged_mask.shape == (52, 76)
    assert not found.merged_mask.any()


def test_types_of_the_result() -> None:
    found = SCENES["released"].segment()
    assert found.masks.dtype == np.bool_
    assert found.scores.dtype == np.float32
    assert found.label_map.dtype == np.int32
    for step in found.steps:
        assert step.scores.dtype == np.float32
        assert step.proposals is not None
        assert step.proposals.dtype == np.float32
        assert step.proposals.shape == (len(step.queries), 52, 76)
        assert all(type(index) is int for index in (*step.queries, *step.kept))
    assert set(found.seconds) >= {"trunk", "cam", "affinity", "prompts", "texts", "classifier", "refine"}


def test_proposals_are_kept_on_request_alone() -> None:
    scene = SCENES["released"]
    f, g = scene.models()
    car = CaR(scene.config(), proposal_clip=f, classifier_clip=g)
    image = photo(52, 76, scene.seed)
    without, with_trace = car.segment(image, QUERIES), car.segment(image, QUERIES, trace=True)
    assert all(step.proposals is None for step in without.steps)
    assert all(step.proposals is not None for step in with_trace.steps)
    np.testing.assert_array_equal(without.masks, with_trace.masks)


@pytest.mark.parametrize("name", ["released", "paper, referring"])
def test_running_again_gives_the_same_bits(name: str) -> None:
    """Also from another CaR on the same models, and after other images."""
    scene = SCENES[name]
    f, g = scene.models()
    first = CaR(scene.config(), proposal_clip=f, classifier_clip=g)
    image = photo(52, 76, scene.seed)
    expected = first.segment(image, QUERIES, trace=True)
    first.segment(photo(33, 47, 9), ["grass", "dog"])
    for found in (first.segment(image, QUERIES, trace=True), scene.segment()):
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.masks, expected.masks)
        for step, other in zip(found.steps, expected.steps, strict=True):
            np.testing.assert_array_equal(step.proposals, other.proposals)
