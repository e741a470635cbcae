"""The recurrence's rules: texts of a step, who survives it, and when it stops."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from car_core import CaRConfig
from car_core.classifier.visual_prompts import PromptCanvas
from car_core.method import Models, RecurrenceOutput, recurrence, survivors
from car_core.step_texts import classifier_texts, ensemble_name, proposal_texts

QUERIES = ("left dog", "brown animal", "it")


def scores(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(values, np.float32)


def run_with(config: CaRConfig, n: int, scores_of: Callable[[int, tuple[int, ...]], Any]) -> RecurrenceOutput:
    """The recurrence over n queries on models that give these scores of a step's alive queries, by its number."""
    config = config.model_copy(update={"first_step_text": "query", "cam_template": "{}"})
    queries = tuple(f"query {i}" for i in range(n))
    asked: list[tuple[int, ...]] = []

    def propose(texts: list[str], background: list[str]) -> torch.Tensor:
        asked.append(tuple(queries.index(text) for text in texts))
        return torch.zeros(len(texts), 2, 2)

    def match(features: torch.Tensor, rows: list[list[str]], ensemble: str) -> torch.Tensor:
        assert len(features) == len(rows[0]) == len(asked[-1])
        return torch.diag(torch.from_numpy(np.asarray(scores_of(len(asked) - 1, asked[-1]), np.float32)))

    canvas = PromptCanvas.from_image(np.zeros((4, 5, 3), np.uint8), config.prompts, config.gray_weights)
    loop = recurrence(canvas, queries, Models(propose, match), config)
    masks = next(loop)
    try:
        while True:
            masks = loop.send(torch.zeros(len(list(masks)), 3))
    except StopIteration as end:
        output: RecurrenceOutput = end.value
    assert [step.queries for step in output.steps] == asked
    return output


@pytest.mark.parametrize(
    ("inclusive", "values", "kept"),
    [
        (False, (0.6, 0.61, 0.59), (4,)),
        (True, (0.6, 0.61, 0.59), (2, 4)),
        (False, (0.9, 0.8, 0.7), (2, 4, 7)),
        (True, (0.1, 0.2, 0.3), ()),
    ],
)
def test_theta(inclusive: bool, values: tuple[float, ...], kept: tuple[int, ...]) -> None:
    """A score of float32(0.6) equals a theta of 0.6: it passes only where theta is inclusive."""
    config = CaRConfig(theta=0.6, theta_inclusive=inclusive, keep_best=False)
    assert survivors(config, (2, 4, 7), scores(*values)) == kept


@pytest.mark.parametrize(("keep_best", "kept"), [(True, (4,)), (False, ())])
def test_no_query_survives(keep_best: bool, kept: tuple[int, ...]) -> None:
    config = CaRConfig(theta=0.9, keep_best=keep_best)
    assert survivors(config, (2, 4, 7), scores(0.1, 0.3, 0.2)) == kept


def test_best_of_equals_is_the_first() -> None:
    assert survivors(CaRConfig(theta=0.9, keep_best=True), (2, 4, 7), scores(0.1, 0.3, 0.3)) == (4,)


@pytest.mark.parametrize("theta", [0.0, 1.0])
@pytest.mark.parametrize("inclusive", [True, False])
def test_theta_at_its_bounds(theta: float, inclusive: bool) -> None:
    config = CaRConfig(theta=theta, theta_inclusive=inclusive, keep_best=False)
    expected = (0, 1) if theta == 0 and inclusive else (1,) if theta == 0 or inclusive else ()
    assert survivors(config, (0, 1), scores(0.0, 1.0)) == expected


@pytest.mark.parametrize("profile", ["released", "paper"])
def test_recurrence_none_keeps_all(profile: Any) -> None:
    config = CaRConfig(profile=profile, theta=0.9, recurrence="none")
    output = run_with(config, 3, lambda step, alive: (0.1, 0.2, 0.3))
    assert output.kept == (0, 1, 2)
    assert len(output.steps) == 1


@pytest.mark.parametrize(("profile", "kept"), [("released", (2,)), ("paper", ())])
def test_recurrence_once_drops_and_stops(profile: Any, kept: tuple[int, ...]) -> None:
    config = CaRConfig(profile=profile, theta=0.9, recurrence="once")
    for values, expected in (((0.95, 0.1, 0.92), (0, 2)), ((0.1, 0.2, 0.3), kept)):
        output = run_with(config, 3, lambda step, alive, values=values: values)
        assert output.kept == expected
        assert len(output.steps) == 1


def run(config: CaRConfig, n: int, rows: list[tuple[float, ...]]) -> tuple[tuple[int, ...], int]:
    """Scores per query and step, the last row repeated; returns the survivors and the number of steps."""
    output = run_with(config, n, lambda step, alive: [rows[min(step, len(rows) - 1)][i] for i in alive])
    return output.kept, len(output.steps)


@pytest.mark.parametrize(("profile", "steps"), [("paper", 1), ("released", 2)])
def test_first_step_that_drops_nothing(profile: Any, steps: int) -> None:
    """It is the paper's last; the released code counts 0 before it and takes another."""
    assert run(CaRConfig(profile=profile, theta=0.5), 3, [(0.9, 0.8, 0.7)])[1] == steps


@pytest.mark.parametrize("profile", ["paper", "released"])
def test_first_step_that_drops_and_second_that_does_not(profile: Any) -> None:
    assert run(CaRConfig(profile=profile, theta=0.5), 3, [(0.9, 0.1, 0.7)]) == ((0, 2), 2)


@pytest.mark.parametrize(("profile", "steps", "alive"), [("paper", 1, ()), ("released", 2, (1,))])
def test_nothing_passes(profile: Any, steps: int, alive: tuple[int, ...]) -> None:
    assert run(CaRConfig(profile=profile, theta=0.5), 3, [(0.1, 0.4, 0.2)]) == (alive, steps)


@pytest.mark.parametrize("stop_rule", ["same_queries", "same_count"])
def test_nothing_left_stops_at_once(stop_rule: Any) -> None:
    config = CaRConfig(theta=0.5, keep_best=False, stop_rule=stop_rule)
    kept, steps = run(config, 2, [(0.9, 0.9), (0.1, 0.1)] if stop_rule == "same_count" else [(0.1, 0.1)])
    assert kept == ()
    assert steps == (2 if stop_rule == "same_count" else 1)


@pytest.mark.parametrize(("profile", "first"), [("paper", 1), ("released", 0)])
def test_longest_run(profile: Any, first: int) -> None:
    """One query leaves a step: N steps for the paper; N + 1 for the released code, whose first may drop none."""
    n = 5
    rows = [tuple(float(i >= step) for i in range(n)) for step in range(first, n)]
    kept, steps = run(CaRConfig(profile=profile, theta=0.5), n, rows)
    assert steps == n + (profile == "released")
    assert kept == (n - 1,)


@pytest.mark.parametrize("profile", ["paper", "released"])
@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize("stop_rule", ["same_queries", "same_count"])
@pytest.mark.parametrize("inclusive", [True, False])
def test_queries_only_leave_and_it_ends(profile: Any, keep_best: bool, stop_rule: Any, inclusive: bool) -> None:
    """Property over random scores: at most N steps, one more where step 1 is never the last."""
    config = CaRConfig(profile=profile, theta=0.4, keep_best=keep_best, stop_rule=stop_rule, theta_inclusive=inclusive)
    rng, longest = np.random.default_rng(0), 0
    for _ in range(300):
        n = int(rng.integers(1, 8))
        output = run_with(config, n, lambda step, alive: rng.choice([0.1, 0.4, 0.7], len(alive), p=[0.2, 0.1, 0.7]))
        assert len(output.steps) <= n + (stop_rule == "same_count")
        for step in output.steps:
            assert set(step.kept) <= set(step.queries)
            assert list(step.kept) == sorted(step.kept)
        for before, after in itertools.pairwise(output.steps):
            assert after.queries == before.kept
        last = output.steps[-1]
        assert output.kept == last.kept
        if stop_rule == "same_queries":
            assert last.kept in (last.queries, ())
        else:
            assert len(output.steps) >= 2 or not last.kept
        assert last.kept or not keep_best
        longest = max(longest, len(output.steps))
    assert longest > 3


@pytest.mark.parametrize(
    ("first_step_text", "step", "expected"),
    [
        ("query", 0, ["left dog", "it"]),
        ("query", 1, ["a clean origami left dog.", "a clean origami it."]),
        ("template", 0, ["a clean origami left dog.", "a clean origami it."]),
        ("template", 2, ["a clean origami left dog.", "a clean origami it."]),
    ],
)
def test_texts_of_the_proposal_generator(first_step_text: Any, step: int, expected: list[str]) -> None:
    config = CaRConfig(first_step_text=first_step_text)
    assert proposal_texts(config, ["left dog", "it"], step) == expected


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("mode", ["semantic", "referring"])
def test_texts_of_the_classifier_with_templates(mode: Any, step: int) -> None:
    config = CaRConfig(mode=mode, templates=("a {}.", "the {}"))
    rows = classifier_texts(config, QUERIES, (0, 2), step)
    assert rows == [["a left dog.", "a it."], ["the left dog", "the it"]]
    assert ensemble_name(config, step) == "sum_probabilities"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("query", ["left dog", "it"]), ("cam_template", ["a clean origami left dog.", "a clean origami it."])],
)
@pytest.mark.parametrize(("mode", "step"), [("semantic", 0), ("semantic", 3), ("referring", 0)])
def test_texts_of_the_classifier_without_templates(mode: Any, step: int, text: Any, expected: list[str]) -> None:
    config = CaRConfig(mode=mode, templates=(), no_template_text=text)
    assert classifier_texts(config, QUERIES, (0, 2), step) == [expected]
    assert ensemble_name(config, step) == "mean_logits"


def test_slip_scores_single_characters() -> None:
    """Later steps without templates: characters 0 and 2 of each first text, one row a query of the first step."""
    config = CaRConfig(mode="referring", templates=(), no_template_text="query", template_ensemble="mean_logits")
    assert classifier_texts(config, QUERIES, (0, 2), 1) == [["l", "f"], ["b", "o"], ["i", ""]]
    assert classifier_texts(config, QUERIES, (1,), 2) == [["e"], ["r"], ["t"]]
    assert ensemble_name(config, 1) == "mean_logits"
    origami = config.model_copy(update={"no_template_text": "cam_template"})
    assert classifier_texts(origami, QUERIES, (0, 2), 1) == [["a", "c"]] * 3


@pytest.mark.parametrize("profile", ["paper", "released"])
def test_slip_can_be_switched_off(profile: Any) -> None:
    config = CaRConfig(profile=profile, mode="referring", referring_prompt_slip=False, no_template_text="query")
    assert classifier_texts(config, QUERIES, (0, 2), 1) == [["left dog", "it"]]
    assert ensemble_name(config, 1) == "mean_logits"
