"""The table of a sweep beside independent figures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from results import RunDirectory, RunHeader, SuiteIndex, write_suite
from results.pages.plots import point_labels, values_of_one_setting, write_sweep_plot
from results.tables.render import Column, Table
from results.tables.suite import read_suite_table
from results.tables.sweep import sweep_table
from tools.ablations_page import write_page


def test_ranks_beside_the_paper_are_spearmans(make_header: Callable[..., RunHeader]) -> None:
    ours, theirs = [0.5, 0.3, 0.6, 0.6, 0.1], [60.0, 61.0, 67.0, 50.0, None]
    names = [f"run{number}" for number in range(5)]
    headers = {name: make_header(metrics={"miou": value}) for name, value in zip(names, ours, strict=True)}
    points = {name: {"eta": number} for number, name in enumerate(names)}
    table = sweep_table("T", headers, points, dict(zip(names, theirs, strict=True)))
    # Ranks 2, 1, 3.5, 3.5 and 2, 3, 4, 1, each with the mean 2.5: covariance -0.5 over the root of 4.5 * 5.
    assert table.notes == ("Spearman's rank correlation with the paper's figures, over 4 points: -0.11.",)
    assert [round(value, 6) for value in table.values("difference")[:4]] == [-10.0, -31.0, -7.0, 10.0]
    assert [round(value, 6) for value in table.values("change")[1:]] == [-20.0, 10.0, 10.0, -40.0]
    assert table.values("change")[0] is None


def test_without_its_first_point_a_sweep_has_no_changes_from_it(make_header: Callable[..., RunHeader]) -> None:
    headers = {name: make_header(metrics={"miou": 0.5}) for name in ("b", "c")}
    table = sweep_table("T", headers, {name: {"eta": name} for name in ("a", "b", "c")}, {})
    assert set(table.values("change")) == {None}


@pytest.mark.parametrize(("ours", "n_notes"), [([0.5, 0.5, 0.5], 1), ([0.5, None, 0.6], 0)])
def test_ranks_that_say_nothing_are_not_given(
    make_header: Callable[..., RunHeader], ours: list[float | None], n_notes: int
) -> None:
    headers = {str(number): make_header(metrics={"miou": value}) for number, value in enumerate(ours)}
    table = sweep_table("T", headers, {name: {"eta": 1} for name in headers}, dict.fromkeys(headers, 60.0))
    assert len(table.notes) == n_notes
    assert not any("+" in note for note in table.notes)


def test_sweep_of_other_weights_or_data_has_no_differences(make_header: Callable[..., RunHeader]) -> None:
    plain = make_header()
    embedded = {"benchmark": plain.benchmark.model_copy(update={"not_comparable": "miniature"})}
    untrained = {"weights": [entry.model_copy(update={"trained": False}) for entry in plain.weights]}
    values = {"a": 0.1, "b": 0.2, "c": 0.3}
    for changes in (embedded, untrained):
        headers = {
            name: make_header(metrics={"miou": value}).model_copy(update=changes) for name, value in values.items()
        }
        table = sweep_table("T", headers, {name: {"eta": 1} for name in headers}, {"a": 60.0, "b": 61.0, "c": 62.0})
        assert "difference" not in [column.key for column in table.columns]
        assert [note.split(":")[0] for note in table.notes] == [
            "Spearman's rank correlation with the paper's figures, over 3 points",
            "These figures are of other weights or data than the paper's",
        ]


def test_over_names_each_method_and_setting_has_one_row(make_header: Callable[..., RunHeader]) -> None:
    """Mean, sample deviation and worst by hand: 50, 40 and 60 have 50, 10 and 40."""
    figures = {("sclip", 1): (0.5, 0.4, 0.6), ("sclip", 2): (0.3, None, 0.1), ("car", 1): (0.2, 0.2, 0.2)}
    names = ("plain", "a.yaml", "sclip")
    points, headers = {}, {}
    for (method, scale), values in figures.items():
        for name, value in zip(names, values, strict=True):
            run = f"{method}-{scale}-{name}"
            points[run] = {"method": method, "names": name, "logit_scale": scale}
            own = {} if method == "car" else {"config": {"method": method}, "config_sources": {"method": "default"}}
            headers[run] = make_header(metrics={"miou": value}, **own)
    del headers["car-1-sclip"]  # not finished
    table = sweep_table("T", headers, points, {})
    assert [column.heading for column in table.columns][:10] == [
        *(
            "method",
            "logit_scale",
            "metric",
            "plain %",
            "a.yaml %",
            "vs. plain",
            "sclip %",
            "vs. plain",
            "mean %",
            "std",
        )
    ]
    rows = table.rows
    assert [(row["set.method"], row["set.logit_scale"]) for row in rows] == [
        *(("SCLIP", "1"), ("SCLIP", "2"), ("CaR", "1"))
    ]
    over_all = [tuple(row[key] for key in ("percent", "deviation", "worst")) for row in rows]
    assert over_all[0] == pytest.approx((50.0, 10.0, 40.0))
    assert over_all[1:] == [(None, None, None)] * 2
    assert [rows[0]["change.a.yaml"], rows[0]["change.sclip"]] == pytest.approx([-10.0, 10.0])
    assert (rows[1]["percent.a.yaml"], rows[1]["change.sclip"]) == (None, pytest.approx(-20.0))
    assert rows[2]["percent.sclip"] is None


def test_a_plot_and_a_page_are_made_of_the_sweeps_there_are(
    make_header: Callable[..., RunHeader], tmp_path: Path
) -> None:
    sweep = tmp_path / "suite-a"
    for name, value in {"x": 0.25, "y": None}.items():
        with RunDirectory(sweep / name) as store:
            store.create(make_header(metrics={"miou": value}))
    points = {"x": {}, "y": {"eta": "<b>"}}
    runs = {name: name for name in points}
    write_suite(sweep, SuiteIndex(suite="a", title="Of *this*", runs=runs, points=points, paper={"x": 60.0}))
    assert write_sweep_plot(sweep) == sweep / "plot.png"
    assert point_labels(read_suite_table(sweep)) == ["as it is", "<b>"]
    write_page([sweep], tmp_path / "docs" / "page.md")
    page = (tmp_path / "docs" / "page.md").read_text()
    assert "## Of \\*this\\*" in page
    assert "- 2 rows, 1 run of 11 images each" in page
    assert "![The same figures as a plot](images/ablations-a.png)" in page
    assert (tmp_path / "docs/images/ablations-a.png").read_bytes() == (sweep / "plot.png").read_bytes()


def test_a_single_setting_of_numbers_is_drawn_as_a_line(make_header: Callable[..., RunHeader], tmp_path: Path) -> None:
    def plot_of(values: list[Any]) -> tuple[list[float], float]:
        """The values of the line, and the share of the picture that its color or the bars' fills."""
        points = {f"{number}": {"eta": value} for number, value in enumerate(values)}
        figures = dict(zip(points, (0.5, None, 0.6, 0.4), strict=False))
        for name, figure in figures.items():
            RunDirectory(tmp_path / f"{values}" / name).create(make_header(metrics={"miou": figure}))
        index = SuiteIndex(suite="a", title="T", runs={name: name for name in points}, points=points)
        write_suite(tmp_path / f"{values}", index)
        drawn = write_sweep_plot(tmp_path / f"{values}")
        assert drawn
        pixels = np.asarray(Image.open(drawn).convert("RGB")).astype(int)
        is_blue = np.abs(pixels - (0x00, 0x72, 0xB2)).sum(axis=2) < 20
        return values_of_one_setting(read_suite_table(tmp_path / f"{values}")), is_blue.mean()

    line, bars = plot_of([0.5, 2, 1e-3]), plot_of([0.5, "once", 1e-3])
    assert (line[0], bars[0]) == ([0.5, 2.0, 0.001], [])
    assert 0 < line[1] < 0.02 < 0.1 < bars[1]
    assert plot_of([True, False])[0] == plot_of([0.5])[0] == plot_of([None, 1])[0] == []
    columns = tuple(Column(f"set.{key}") for key in ("eta", "theta"))
    assert values_of_one_setting(Table("T", columns, ({"set.eta": "1", "set.theta": "2"},) * 2)) == []


def test_without_matplotlib_there_is_no_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert write_sweep_plot(tmp_path) is None
