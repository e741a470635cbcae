"""The recurrence's rules: texts of a step, who survives it, and when it stops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from car_core import CaRConfig
from car_core.recurrence import Recurrence, classifier_texts, ensemble_name, proposal_texts, survivors

QUERIES = ("left dog", "brown animal", "it")


def scores(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(values, np.float32)


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
    recurrence = Recurrence(config, QUERIES)
    assert recurrence.take(scores(0.1, 0.2, 0.3), None) == (0, 1, 2)
    assert recurrence.finished


@pytest.mark.parametrize(("profile", "kept"), [("released", (2,)), ("paper", ())])
def test_recurrence_once_drops_and_stops(profile: Any, kept: tuple[int, ...]) -> None:
    config = CaRConfig(profile=profile, theta=0.9, recurrence="once")
    for values, expected in (((0.95, 0.1, 0.92), (0, 2)), ((0.1, 0.2, 0.3), kept)):
        recurrence = Recurrence(config, QUERIES)
        assert recurrence.take(scores(*values), None) == expected
        assert recurrence.finished
        assert len(recurrence.steps) == 1


def run(config: CaRConfig, n: int, rows: list[tuple[float, ...]]) -> tuple[Recurrence, int]:
    """Feed scores a query a step until it stops; returns the state and the number of steps."""
    recurrence = Recurrence(config, tuple(f"query {i}" for i in range(n)))
    for row in itertools.chain(rows, itertools.repeat(rows[-1])):
        recurrence.take(scores(*(row[i] for i in recurrence.alive)), None)
        if recurrence.finished:
            return recurrence, len(recurrence.steps)
    raise AssertionError


@pytest.mark.parametrize(("profile", "steps"), [("paper", 1), ("released", 2)])
def test_first_step_that_drops_nothing(profile: Any, steps: int) -> None:
    """It is the paper's last; the released code counts 0 before it and takes another."""
    assert run(CaRConfig(profile=profile, theta=0.5), 3, [(0.9, 0.8, 0.7)])[1] == steps


@pytest.mark.parametrize("profile", ["paper", "released"])
def test_first_step_that_drops_and_second_that_does_not(profile: Any) -> None:
    recurrence, steps = run(CaRConfig(profile=profile, theta=0.5), 3, [(0.9, 0.1, 0.7)])
    assert steps == 2
    assert recurrence.alive == (0, 2)


@pytest.mark.parametrize(("profile", "steps", "alive"), [("paper", 1, ()), ("released", 2, (1,))])
def test_nothing_passes(profile: Any, steps: int, alive: tuple[int, ...]) -> None:
    recurrence, taken = run(CaRConfig(profile=profile, theta=0.5), 3, [(0.1, 0.4, 0.2)])
    assert (taken, recurrence.alive) == (steps, alive)


@pytest.mark.parametrize("stop_rule", ["same_queries", "same_count"])
def test_nothing_left_stops_at_once(stop_rule: Any) -> None:
    config = CaRConfig(theta=0.5, keep_best=False, stop_rule=stop_rule)
    recurrence, steps = run(config, 2, [(0.9, 0.9), (0.1, 0.1)] if stop_rule == "same_count" else [(0.1, 0.1)])
    assert recurrence.alive == ()
    assert steps == (2 if stop_rule == "same_count" else 1)


@pytest.mark.parametrize(("profile", "first"), [("paper", 1), ("released", 0)])
def test_longest_run(profile: Any, first: int) -> None:
    """One query leaves a step: N steps for the paper; N + 1 for the released code, whose first may drop none."""
    n = 5
    rows = [tuple(float(i >= step) for i in range(n)) for step in range(first, n)]
    recurrence, steps = run(CaRConfig(profile=profile, theta=0.5), n, rows)
    assert steps == n + (profile == "released")
    assert recurrence.alive == (n - 1,)


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
        recurrence = Recurrence(config, tuple(f"query {i}" for i in range(n)))
        while not recurrence.finished:
            alive = recurrence.alive
            values = rng.choice([0.1, 0.4, 0.7], len(alive), p=[0.2, 0.1, 0.7]).astype(np.float32)
            kept = recurrence.take(values, None)
            assert set(kept) <= set(alive)
            assert list(kept) == sorted(kept)
            assert len(recurrence.steps) <= n + (stop_rule == "same_count")
        for before, after in itertools.pairwise(recurrence.steps):
            assert after.queries == before.kept
        last = recurrence.steps[-1]
        assert recurrence.alive == last.kept
        if stop_rule == "same_queries":
            assert last.kept in (last.queries, ())
        else:
            assert len(recurrence.steps) >= 2 or not last.kept
        assert last.kept or not keep_best
        longest = max(longest, len(recurrence.steps))
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
    assert ensemble_name(config, step) == "no_templates"


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
    assert ensemble_name(config, 1) == "no_templates"
