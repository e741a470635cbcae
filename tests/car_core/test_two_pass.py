"""Things and stuff segmented apart and painted together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.tiny_clip import photo, tiny_clip

from car_core import CaR, CaRConfig, ImageError, QueryError, Segmentation

THINGS = ["cat", "a red car", "old bicycle"]
STUFF = ["blue sky", "grass"]


def car(**fields: Any) -> CaR:
    config = {"theta": 0.25, "eta": 0.5, "background": ("water", "street"), "crf": None, **fields}
    f, g = tiny_clip(5, logit_scale=10.0), tiny_clip(3, patch=14, image_size=56, layers=3)
    return CaR(CaRConfig(**config), proposal_clip=f, classifier_clip=g)


def passes(model: CaR, image: Any, thing_background: list[str], stuff_prompts: Any) -> list[Segmentation]:
    """Both passes by hand, as two independent runs."""
    things = model.segment(image, THINGS, background=thing_background, trace=True)
    other = CaR(
        model.config.model_copy(update={"prompts": stuff_prompts}),
        proposal_clip=tiny_clip(5, logit_scale=10.0),
        classifier_clip=tiny_clip(3, patch=14, image_size=56, layers=3),
    )
    return [things, other.segment(image, STUFF, background=THINGS, trace=True)]


@pytest.mark.parametrize("profile", ["released", "paper"])
@pytest.mark.parametrize("stuff_prompts", [None, ("blur", "gray"), ()], ids=["same prompts", "stuff prompts", "none"])
@pytest.mark.parametrize("recurrence", ["full", "none"])
def test_two_passes_equal_two_runs(profile: Any, stuff_prompts: Any, recurrence: Any) -> None:
    model = car(profile=profile, stuff_prompts=stuff_prompts, recurrence=recurrence)
    image = photo(52, 76, 1)
    joined = model.segment_two_pass(image, THINGS, STUFF, trace=True)
    background = STUFF if profile == "paper" else ["water", "street"]
    things, stuff = passes(model, image, background, model.config.prompts if stuff_prompts is None else stuff_prompts)

    assert joined.queries == (*THINGS, *STUFF)
    np.testing.assert_array_equal(joined.masks, np.concatenate([things.masks, stuff.masks]))
    np.testing.assert_allclose(joined.scores, np.concatenate([things.scores, stuff.scores]), atol=1e-5)
    assert joined.kept == (*things.kept, *(i + len(THINGS) for i in stuff.kept))
    assert joined.merged_mask is None

    assert len(joined.steps) == len(things.steps) + len(stuff.steps)
    for step, expected in zip(joined.steps, things.steps, strict=False):
        assert (step.queries, step.kept) == (expected.queries, expected.kept)
        np.testing.assert_array_equal(step.prompted, expected.prompted)
    for step, expected in zip(joined.steps[len(things.steps) :], stuff.steps, strict=True):
        assert step.queries == tuple(i + len(THINGS) for i in expected.queries)
        assert step.kept == tuple(i + len(THINGS) for i in expected.kept)
        assert step.proposals is not None
        np.testing.assert_allclose(step.proposals, expected.proposals, atol=1e-5)
        np.testing.assert_array_equal(step.prompted, expected.prompted)

    assert joined.label_map.dtype == np.int32
    for y in range(52):
        for x in range(76):
            thing, under = int(things.label_map[y, x]), int(stuff.label_map[y, x])
            assert joined.label_map[y, x] == (thing or (under + len(THINGS) if under else 0))


def test_things_lie_over_stuff_whatever_the_scores() -> None:
    model = car(recurrence="none")
    found = model.segment_two_pass(photo(52, 76, 1), THINGS, STUFF)
    thing_pixels, stuff_pixels = found.masks[:3].any(axis=0), found.masks[3:].any(axis=0)
    assert (thing_pixels & stuff_pixels).any(), "the case has both on some pixel"
    assert (found.label_map[thing_pixels] <= 3).all()
    assert (found.label_map[stuff_pixels & ~thing_pixels] > 3).all()


@pytest.mark.parametrize(
    ("things", "stuff", "named"),
    [
        (["cat", "sky"], ["grass", "sky"], "'sky'"),  # in both
        (["cat", "cat"], ["sky"], "'cat'"),
        (["cat"], ["sky", " "], "blank"),
        ([], [], "none"),
        (["cat"], [], "none"),
        ([], ["sky"], "none"),
        ("cat", ["sky"], "sequence of texts"),
    ],
)
def test_impossible_names_are_refused(things: Any, stuff: Any, named: str) -> None:
    with pytest.raises(QueryError, match=named):
        car().segment_two_pass(photo(20, 20), things, stuff)


def test_nothing_predicted_is_background() -> None:
    found = car(profile="paper", theta=1.0).segment_two_pass(photo(30, 40), THINGS, STUFF)
    assert found.kept == ()
    assert found.masks.shape == (5, 30, 40)
    assert not found.label_map.any()
    assert not found.scores.any()


@pytest.mark.parametrize("profile", ["released", "paper"])
def test_batched_equals_one_by_one(profile: Any) -> None:
    images = [photo(*size, seed) for seed, size in enumerate([(52, 76), (33, 40), (16, 16)])]
    together = car(profile=profile).segment_two_pass_batch(images, THINGS, STUFF, trace=True)
    assert len(together) == 3
    for image, found in zip(images, together, strict=True):
        alone = car(profile=profile).segment_two_pass(image, THINGS, STUFF, trace=True)
        assert (found.queries, found.kept) == (alone.queries, alone.kept)
        assert [step.kept for step in found.steps] == [step.kept for step in alone.steps]
        np.testing.assert_allclose(found.scores, alone.scores, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found.masks, alone.masks)
        np.testing.assert_array_equal(found.label_map, alone.label_map)


def test_a_bad_image_of_a_batch_is_named() -> None:
    with pytest.raises(ImageError, match="image 1: "):
        car().segment_two_pass_batch([photo(20, 20), np.zeros((4, 4))], THINGS, STUFF)
    with pytest.raises(QueryError, match=r"image 0: .*'cat'"):
        car().segment_two_pass_batch([photo(20, 20)], THINGS, ["cat"])
    assert car().segment_two_pass_batch([], THINGS, STUFF) == []
