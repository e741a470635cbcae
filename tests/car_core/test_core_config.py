"""CaRConfig: defaults of profiles and modes, refusals that name the field, and the JSON round trip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from car_core import CaRConfig, ConfigError, CRFConfig
from car_core.config import COMMON_BACKGROUND, TEMPLATES, format_text

SWITCHES = {
    # name: (paper, released)
    "positional_half": (False, True),
    "classifier_feature": ("last_block", "before_last_block"),
    "template_ensemble": ("mean_logits", "sum_probabilities"),
    "no_template_text": ("query", "cam_template"),
    "keep_best": (False, True),
    "theta_inclusive": (True, False),
    "stop_rule": ("same_queries", "same_count"),
    "first_step_text": ("template", "query"),
    "crf_image": ("rgb", "bgr_minus_mean"),
    "gray_weights": ("rgb", "bgr"),
    "referring_prompt_slip": (False, True),
    "sentences": ("single", "joint"),
    "merge_inclusive": (False, True),
    "union_of_small_merge": (False, True),
    "thing_background": ("stuff", "common"),
}


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("mode", ["semantic", "referring"])
def test_profile_sets_the_switch(name: str, mode: str) -> None:
    paper, released = SWITCHES[name]
    assert getattr(CaRConfig(profile="paper", mode=mode), name) == paper
    assert getattr(CaRConfig(profile="released", mode=mode), name) == released
    assert getattr(CaRConfig(mode=mode), name) == released, "released is the default profile"


@pytest.mark.parametrize("name", SWITCHES)
def test_field_given_wins_over_its_profile(name: str) -> None:
    paper, released = SWITCHES[name]
    assert getattr(CaRConfig(profile="paper", **{name: released}), name) == released
    assert getattr(CaRConfig(profile="released", **{name: paper}), name) == paper


@pytest.mark.parametrize(
    ("profile", "mode", "expected"),
    [
        ("released", "semantic", (0.4, 0.6, 0.4, ("circle", "blur"), 15, "ViT-B-16", "ViT-L-14")),
        ("paper", "semantic", (0.4, 0.6, 0.4, ("circle", "blur"), 15, "ViT-B-16", "ViT-L-14")),
        ("released", "referring", (0.5, 0.3, 0.5, ("circle",), 0, "ViT-B-16", "ViT-B-16")),
        ("paper", "referring", (0.5, 0.3, 0.5, ("circle", "blur"), 0, "ViT-B-16", "ViT-B-16")),
    ],
)
def test_hyperparameters_of_each_mode(profile: Any, mode: Any, expected: tuple[Any, ...]) -> None:
    c = CaRConfig(profile=profile, mode=mode)
    found = (c.eta, c.theta, c.lambda_, c.prompts, len(c.templates), c.proposal_model, c.classifier_model)
    assert found == expected


def test_texts_of_the_method() -> None:
    config = CaRConfig()
    assert config.templates == TEMPLATES
    assert config.templates[0] == config.cam_template == "a clean origami {}."
    assert config.background == COMMON_BACKGROUND
    assert len(set(COMMON_BACKGROUND)) == 23


def test_crf_constants_of_the_method() -> None:
    crf = CaRConfig().crf
    assert crf is not None
    assert (crf.iterations, crf.gaussian_sxy, crf.gaussian_weight) == (10, 1, 3)
    assert (crf.bilateral_sxy, crf.bilateral_srgb, crf.bilateral_weight, crf.bg_factor) == (67, 3, 4, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("etta", 0.4),  # unknown field
        ("lambda", 0.4),  # the field's name has an underscore
        ("eta", -0.01),
        ("eta", 1.01),
        ("eta", float("nan")),
        ("eta", None),
        ("theta", float("inf")),
        ("theta", float("nan")),
        ("lambda_", 1.5),
        ("profile", "official"),
        ("mode", "panoptic"),
        ("prompts", ("circle", "zoom")),
        ("prompts", ("circle", "circle")),
        ("prompts", "circle"),  # a text, not a list
        ("stuff_prompts", ("blur", "blur")),
        ("templates", ("a photo of a cat.",)),
        ("templates", ("{} or {}",)),
        ("templates", "a {}"),
        ("cam_template", "origami"),
        ("background", ("sky", "sea", "sky")),
        ("background", ("sky", " ")),
        ("background", "sky"),
        ("recurrence", "twice"),
        ("cam", "CAM"),
        ("proposal_model", ""),
        ("classifier_feature", "first_block"),
        ("max_patches", 0),
        ("sam", "vit_h"),  # not available
        ("crf", "dense"),
    ],
)
def test_impossible_value_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refusal:
        CaRConfig(**{field: value})
    assert {error["loc"][0] for error in refusal.value.errors()} == {field}
    assert isinstance(refusal.value, ValueError)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", -1),
        ("iterations", 10.5),
        ("gaussian_sxy", 0),
        ("bilateral_srgb", -3),
        ("bilateral_weight", float("nan")),
        ("bg_factor", float("inf")),
        ("sxy", 1),  # unknown field
    ],
)
def test_impossible_crf_value_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ConfigError) as refusal:
        CaRConfig(crf={field: value})
    assert [error["loc"] for error in refusal.value.errors()] == [("crf", field)]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.0, 1.0)])
def test_bounds_are_allowed(low: float, high: float) -> None:
    config = CaRConfig(eta=low, theta=high, lambda_=low, crf=None, background=(), prompts=(), templates=())
    assert (config.eta, config.theta, config.crf, config.background) == (0, 1, None, ())


def test_message_says_what_was_expected_and_found() -> None:
    with pytest.raises(ConfigError, match=r"one \{\} for the query, found 'a photo'"):
        CaRConfig(templates=("a photo",))
    with pytest.raises(ConfigError, match=r"background: text 3: expected each text once, found 'sky' again"):
        CaRConfig(background=("sky", "sea", "sky", "sea"))
    with pytest.raises(ConfigError, match=r"background: text 3: .* found 'Sky ', which CLIP reads as 'sky'"):
        CaRConfig(background=("sky", "sea", "Sky "))


def test_frozen() -> None:
    config = CaRConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.eta = 0.5  # type: ignore[misc]
    assert config.crf is not None
    with pytest.raises(ValidationError, match="frozen"):
        config.crf.iterations = 1  # type: ignore[misc]
    assert hash(config) == hash(CaRConfig())


@pytest.mark.parametrize(
    "config",
    [
        CaRConfig(),
        CaRConfig(profile="paper", mode="referring"),
        CaRConfig(crf=None, stuff_prompts=("blur", "gray"), background=("sky",), templates=(), eta=0, theta=1),
        CaRConfig(crf=CRFConfig(iterations=3, bg_factor=2.5), lambda_=0.1 + 0.2, recurrence="once", cam="gradcam"),
    ],
    ids=["released", "paper referring", "no CRF", "other CRF"],
)
def test_json_round_trip(config: CaRConfig) -> None:
    dumped = config.model_dump(mode="json")
    assert CaRConfig(**dumped) == config
    assert CaRConfig(**json.loads(json.dumps(dumped))) == config
    assert CaRConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("query", ["a {} b", "{0}", "{", "}{", "{query!r}", "{{}}"])
def test_braces_of_a_query_stay(query: str) -> None:
    assert format_text("a clean origami {}.", query) == "a clean origami " + query + "."


def test_paths_are_taken_like_texts() -> None:
    paths = {"proposal_model": Path("f.json"), "classifier_model": Path("g.json"), "sam": {"model": Path("folder/sam")}}
    config = CaRConfig(**paths)  # type: ignore[arg-type]
    assert config == CaRConfig.model_validate_json(config.model_dump_json())
    assert (config.proposal_model, config.classifier_model, config.sam and config.sam.model) == (
        "f.json",
        "g.json",
        "folder/sam",
    )
