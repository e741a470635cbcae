"""An image segmented again: what a fresh run gives, and only the stages concerned run."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_clip import photo, tiny_clip
from test_batch import WORDS, car

from car_core import CaR, CaRConfig, ConfigError, Segmentation
from car_core.engine.batching import MicroBatcher
from car_core.engine.stage_cache import StageCache

# Its text features serve all tests; its memory stays empty.
plain = functools.cache(car)


def remembering(**fields: Any) -> tuple[CaR, StageCache]:
    made, memory = plain(**fields).with_config(plain(**fields).config), StageCache()
    made.cache = memory
    return made, memory


def changed(made: CaR, **fields: Any) -> CaRConfig:
    return CaRConfig(**{**made.config.model_dump(), **fields})


def assert_alike(found: Segmentation, expected: Segmentation) -> None:
    """Equal but for rounding: texts that f is asked for together are multiplied together."""
    __tracebackhide__ = True
    assert [(step.queries, step.kept) for step in found.steps] == [(step.queries, step.kept) for step in expected.steps]
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)
    for step, other in zip(found.steps, expected.steps, strict=True):
        assert step.proposals is not None
        assert other.proposals is not None
        np.testing.assert_allclose(step.proposals, other.proposals, rtol=0, atol=1e-4)
    assert (found.masks == expected.masks).mean() > 0.999
    assert (found.merged_mask is None) == (expected.merged_mask is None)


@pytest.mark.parametrize(
    ("mode", "fields", "idle"),
    [
        ("semantic", {}, {"trunk", "proposals", "classifier", "refine"}),
        ("semantic", {"theta": 0.0}, {"trunk"}),
        ("semantic", {"lambda_": 0.6}, {"trunk"}),
        ("semantic", {"crf": None}, {"trunk", "proposals", "classifier"}),
        ("semantic", {"classifier_feature": "last_block", "recurrence": "once"}, {"trunk", "proposals"}),
        ("referring", {}, {"trunk", "proposals", "classifier", "refine"}),
        ("referring", {"eta": 0.6}, {"trunk"}),
    ],
)
def test_only_the_stages_concerned_run_again(mode: str, fields: dict[str, Any], idle: set[str]) -> None:
    made, memory = remembering(mode=mode)
    image = photo(52, 76)
    first = made.segment(image, WORDS[:4], trace=True)
    memory.computed.clear()
    config = changed(made, **fields)
    again = made.with_config(config).segment(image, WORDS[:4], trace=True)
    assert not idle & memory.computed.keys()
    fresh = plain(mode=mode).with_config(config).segment(image, WORDS[:4], trace=True)
    assert_alike(again, fresh)
    if not fields:
        np.testing.assert_array_equal(again.masks, first.masks)
        np.testing.assert_array_equal(again.scores, first.scores)


def test_theta_alone_leaves_the_first_steps_images_as_they_are() -> None:
    made, memory = remembering()
    made.segment(photo(52, 76), WORDS[:4])
    memory.computed.clear()
    found = made.with_config(changed(made, recurrence="once", theta=0.3)).segment(photo(52, 76), WORDS[:4])
    assert len(found.steps) == 1
    assert not {"trunk", "proposals", "classifier"} & memory.computed.keys()


def test_another_image_or_phrase_is_not_taken_for_a_known_one() -> None:
    made, memory = remembering()
    one, two, turned = photo(52, 76), photo(52, 76, 1), photo(76, 52)
    cases = [(one, WORDS[:2]), (two, WORDS[:2]), (one, WORDS[1:3]), (turned, ["cat"])]
    for image, queries in [*cases, *cases]:
        assert_alike(made.segment(image, queries, trace=True), plain().segment(image, queries, trace=True))
    assert memory.computed["trunk"] == 3


def test_the_oldest_results_go_first_and_the_newest_stays() -> None:
    memory, made = StageCache(max_bytes=100), []

    def recall(name: str, length: int) -> torch.Tensor:
        return memory.get_or_compute("stage", (name,), lambda: (made.append(name), torch.zeros(length))[1])

    for name, length in (("a", 10), ("b", 10), ("a", 10), ("c", 10), ("a", 10), ("huge", 1000), ("huge", 1000)):
        recall(name, length)
    assert made == ["a", "b", "c", "huge"]
    assert memory.nbytes == 4000
    recall("a", 10)
    assert made[-1] == "a"


def test_what_is_not_known_is_computed_once_together() -> None:
    memory, asked = StageCache(), list[list[int]]()
    names = ["a", "b", "a", "c", "b"]

    def compute(places: list[int]) -> list[torch.Tensor]:
        asked.append(places)
        return [torch.tensor(ord(names[place])) for place in places]

    memory.get_or_compute("stage", ("b",), lambda: torch.tensor(ord("b")))
    for _ in range(2):
        found = memory.get_or_compute_all("stage", [(name,) for name in names], compute)
        assert [chr(int(own)) for own in found] == names
    assert asked == [[0, 3]]
    assert memory.computed == {"stage": 3}
    assert memory.get_or_compute_all("stage", [], compute) == []


def test_more_than_is_kept_is_given_all_the_same() -> None:
    memory = StageCache(max_bytes=8)
    found = memory.get_or_compute_all(
        "stage", [(1,), (2,), (3,)], lambda places: [torch.ones(2) * place for place in places]
    )
    assert [float(own[0]) for own in found] == [0, 1, 2]
    assert memory.nbytes == 8


@pytest.mark.parametrize("shared", [False, True], ids=["passes of a CPU", "passes of a GPU"])
def test_a_batch_of_one_image_asked_about_in_turns(shared: bool) -> None:
    """Its trunk runs once, and each answer has the bits that it has alone."""
    made, memory = remembering(mode="referring")
    made.classifier_batcher = MicroBatcher(made.classifier_batcher.size, shared=shared)
    one, two = photo(52, 76), photo(52, 76, 1)
    images, asked = [one, two, one.copy(), one], [WORDS[:1], WORDS[:2], WORDS[1:2], WORDS[:1]]
    alone = plain(mode="referring").with_config(made.config)
    alone.classifier_batcher = made.classifier_batcher
    for found, image, queries in zip(made.segment_batch(images, asked), images, asked, strict=True):
        expected = alone.segment(image, queries)
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.masks, expected.masks)
    assert memory.computed["trunk"] == 2


def test_inputs_that_look_alike_are_told_apart() -> None:
    memory = StageCache()
    inputs: list[tuple[object, ...]] = [
        (["ab", "c"],),
        (["a", "bc"],),
        ("a", "bc"),
        ("ab", "c"),
        (1,),
        (1.0,),
        ("1",),
        (np.zeros(4, np.uint8),),
        (np.zeros((2, 2), np.uint8),),
        (np.zeros(1, np.float32),),
        (None,),
    ]
    for number, item in enumerate(inputs):
        assert memory.get_or_compute("stage", item, lambda number=number: torch.tensor(number)) == number
    assert memory.get_or_compute("other", (None,), lambda: torch.tensor(99)) == 99


SWITCHES: list[dict[str, Any]] = [
    {},
    {"positional_half": False},
    {"classifier_feature": "last_block"},
    {"cam": "gradcam"},
    {"max_patches": 6},
    {"positional_half": False, "classifier_feature": "last_block"},
]


def test_settings_that_share_a_memory_find_what_each_finds_alone() -> None:
    """To the last bit, in whatever order they come; the models under other switches are those built with them."""
    made, memory = remembering()
    image = photo(52, 76)
    for fields in [*SWITCHES, *reversed(SWITCHES)]:
        found = made.with_config(changed(made, **fields)).segment(image, WORDS[:4], trace=True)
        alone = car(**fields).segment(image, WORDS[:4], trace=True)
        np.testing.assert_array_equal(found.scores, alone.scores)
        np.testing.assert_array_equal(found.masks, alone.masks)
        for step, other in zip(found.steps, alone.steps, strict=True):
            np.testing.assert_array_equal(step.scores, other.scores)
            np.testing.assert_array_equal(step.proposals, other.proposals)
    assert memory.computed["trunk"] == 4  # the classifier's switch is none of its


def test_equal_masks_of_other_proposals_are_encoded_once() -> None:
    made, memory = remembering(recurrence="once", eta=1.0)  # no mask has a pixel
    for fields in ({}, {"positional_half": False}, {"max_patches": 6}):
        made.with_config(changed(made, **fields)).segment(photo(52, 76), WORDS[:4])
    assert (memory.computed["trunk"], memory.computed["classifier"]) == (3, 1)


def test_other_models_are_not_taken_for_each_other() -> None:
    memory, image, found = StageCache(), photo(52, 76), []
    clips = [tiny_clip(seed, patch=16, layers=4, logit_scale=10.0) for seed in (1, 2)]
    for f, g in itertools.product(clips, clips):
        made = CaR(plain().config, proposal_clip=f, classifier_clip=g)
        made.cache = memory
        found.append(made.segment(image, WORDS[:4]).scores)
    assert memory.computed["trunk"] == 2
    assert len({tuple(scores) for scores in found}) == 4


def test_what_names_other_models_cannot_be_changed() -> None:
    made = plain()
    with pytest.raises(ConfigError, match="classifier_model: expected 'ViT-L-14'"):
        made.with_config(changed(made, classifier_model="ViT-B-16"))
    assert made.with_config(changed(made, theta=0.9)).config.theta == 0.9
    assert made.with_config(theta=0.9, crf=None).config == changed(made, theta=0.9, crf=None)
    assert made.config.theta == 0.2
    for fields, message in (({"profile": "paper"}, "a whole CaRConfig"), ({"thetaa": 1}, "did you mean theta")):
        with pytest.raises(ConfigError, match=message):
            made.with_config(**fields)
