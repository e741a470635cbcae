"""The table of a sweep beside independent figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scipy.stats import spearmanr

from results import RunHeader
from results.sweep_table import sweep_table


def test_ranks_beside_the_paper_are_spearmans(make_header: Callable[..., RunHeader]) -> None:
    ours, theirs = [0.5, 0.3, 0.6, 0.6, 0.1], [60.0, 61.0, 67.0, 50.0, None]
    names = [f"run{number}" for number in range(5)]
    headers = {name: make_header(metrics={"miou": value}) for name, value in zip(names, ours, strict=True)}
    points = {name: {"eta": number} for number, name in enumerate(names)}
    table = sweep_table("T", headers, points, dict(zip(names, theirs, strict=True)))
    expected = spearmanr(ours[:4], theirs[:4]).statistic
    assert table.notes == (f"Spearman's rank correlation with the paper's figures, over 4 points: {expected:+.2f}.",)
    assert list(table.frame["difference"].round(6))[:4] == [-10.0, -31.0, -7.0, 10.0]


@pytest.mark.parametrize(("ours", "n_notes"), [([0.5, 0.5, 0.5], 1), ([0.5, None, 0.6], 0)])
def test_ranks_that_say_nothing_are_not_given(
    make_header: Callable[..., RunHeader], ours: list[float | None], n_notes: int
) -> None:
    headers = {str(number): make_header(metrics={"miou": value}) for number, value in enumerate(ours)}
    table = sweep_table("T", headers, {name: {"eta": 1} for name in headers}, dict.fromkeys(headers, 60.0))
    assert len(table.notes) == n_notes
    assert not any("+" in note for note in table.notes)
