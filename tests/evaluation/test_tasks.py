"""What every registered task promises: exact sums, words for the tables, one registration."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dataset_adapters import LabelSpace
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.task import TASKS, Accumulator, ExactSums, Target, register
from results import SampleRecord
from results.tables import task_words
from results.tables.task_words import words_of

SPACE = LabelSpace("made", ("background", "a", "b"), ("a", "b"), (1, 2), 255, (1, 2))
OBJECTS = LabelSpace.of_objects("made")


def labels(rng: np.random.Generator) -> tuple[Target, Target]:
    target = rng.integers(0, 3, (9, 13)).astype(np.int32)
    return target, np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, 3, target.shape)).astype(np.int32)


def mask(rng: np.random.Generator) -> tuple[Target, Target]:
    target = rng.random((9, 13)) < rng.choice([0.1, 0.5])
    return target, target ^ (rng.random(target.shape) < 0.2)


def masks(rng: np.random.Generator) -> tuple[Target, Target]:
    target = rng.random((rng.integers(0, 3), 9, 13)) < 0.4
    return target, target.any(axis=0) ^ (rng.random((9, 13)) < 0.2)


def frame(rng: np.random.Generator) -> tuple[Target, Target]:
    target, prediction = labels(rng)
    return np.stack([target == 1, target == 2]), prediction


Pairs = Callable[[np.random.Generator], tuple[Target, Target]]
CASES: dict[str, tuple[Pairs, LabelSpace, str]] = {
    "semantic": (labels, SPACE, "{}"),
    "referring": (mask, OBJECTS, "{}"),
    "generalized": (masks, OBJECTS, "{}"),
    "video": (frame, OBJECTS, "anno_0/goat/{:05d}"),
}


def test_every_task_is_tested_here() -> None:
    assert CASES.keys() == TASKS.keys()


def records_of(task: str, n: int) -> list[SampleRecord]:
    """Records with failed samples of known and of unknown target among them."""
    make, space, name = CASES[task]
    rng, records = np.random.default_rng(3), []
    for number in range(n):
        target, prediction = make(rng)
        counts = TASKS[task].count(target, prediction, space, {})
        if number % 5 == 3:
            counts = TASKS[task].count(target, TASKS[task].empty(target), space, {})
        fields: dict[str, Any] = {"id": name.format(number), "status": "ok", "counts": counts}
        if number % 5 >= 3:
            fields |= {"status": "failed", "error": "broken", "counts": counts if number % 5 == 3 else {}}
        records.append(SampleRecord(**fields))
    return records


def accumulated(task: str, records: list[SampleRecord]) -> Accumulator:
    accumulator = TASKS[task].accumulator(CASES[task][1], {})
    for record in records:
        accumulator.add(record)
    return accumulator


@pytest.mark.parametrize("task", CASES)
def test_records_in_any_order_give_the_same_bits(task: str) -> None:
    records = records_of(task, 40)
    whole = accumulated(task, records)
    for seed in range(5):
        other = accumulated(task, random.Random(seed).sample(records, len(records)))
        assert json.dumps(other.figures()) == json.dumps(whole.figures())
        assert other.running_figure() == whole.running_figure()


@pytest.mark.parametrize("task", CASES)
def test_a_record_counts_once(task: str) -> None:
    with pytest.raises(ValueError, match="two records have the id"):
        accumulated(task, [*records_of(task, 1), *records_of(task, 1)])


@pytest.mark.parametrize("task", CASES)
def test_the_words_of_a_task_name_its_figures(task: str) -> None:
    words, figures = words_of(task), accumulated(task, records_of(task, 20)).figures()
    assert next(iter(figures["reductions"])) == words.headline
    named = {words.headline, *words.variants, *words.companions}
    assert named <= figures["reductions"].keys()
    assert {words.heading, words.sample_figure, words.sample_figure_meaning, words.samples}.isdisjoint({""})


@pytest.mark.parametrize("task", CASES)
def test_nothing_is_undefined_with_a_reason(task: str) -> None:
    figures = accumulated(task, []).figures()
    assert figures["undefined"].keys() == figures["reductions"].keys()
    assert accumulated(task, []).running_figure() is None


def test_a_registered_task_is_known_to_scorers_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    for registered in (TASKS, task_words._WORDS):  # so that both are as before afterwards
        monkeypatch.setitem(registered, "new", None)
        monkeypatch.delitem(registered, "new")
    with pytest.raises(ValueError, match="task: expected one of semantic, referring, generalized, video, found 'new'"):
        words_of("new")
    words = replace(words_of("referring"), samples="clips")
    register(replace(TASKS["referring"], name="new", words=words))
    assert words_of("new") is Scorer("new", OBJECTS).words is words


def test_exact_sums_are_rounded_once() -> None:
    values = [0.1, 1e-17, 0.3, 1e16, -1e16, 1 / 3] * 7
    sums = ExactSums()
    for value in values:
        sums.add({"n": 1, "value": value})
    assert sums.ratio("value", "n") == math.fsum(values) / len(values)
    assert ExactSums().ratio("value", "n") is None
