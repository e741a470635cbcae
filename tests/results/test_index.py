"""The index of many runs: which stand together, how far they are from the best, where their trend runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import chromium, needs_chromium
from helpers.report_parts import HOSTILE

from results import RunHeader
from results.pages.index import index_html, page_names
from results.run_directory.found import FoundRun
from support.text import visible

MakeHeader = Callable[..., RunHeader]


@pytest.fixture
def make_run(make_header: MakeHeader, make_metrics: Any) -> Callable[..., FoundRun]:
    def make(name: str, day: int, miou: float, **changes: Any) -> FoundRun:
        header = make_header(metrics=make_metrics(miou=miou), updated_at=f"2026-01-{day:02}T00:00:00+00:00", **changes)
        return FoundRun(Path("runs") / name, header)

    return make


def test_every_run_has_a_page_of_its_own(make_run: Callable[..., FoundRun]) -> None:
    names = ["a", "A", "b/c", "b-c", "index", "..&'\"<>", "–", "../x", "d" * 300]
    linked = page_names([make_run(name, 1, 0.5) for name in names], Path("runs"))
    pages = [run.page for run in linked]
    assert pages[:6] == ["a.html", "A-2.html", "b-c.html", "b-c-2.html", "index-2.html", "run.html"]
    assert len({page.lower() for page in pages}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9.=+_-]{1,110}\.html", page) and page[0] != "." for page in pages)


def test_a_line_connects_runs_of_one_method_and_its_settings(make_run: Callable[..., FoundRun]) -> None:
    naclip = {"config": {"method": "naclip"}, "config_sources": {"method": "default"}}
    runs = [
        make_run("a", 1, 0.5),
        make_run("b", 2, 0.2, **naclip),
        make_run("c", 3, 0.6),
        make_run("d", 4, 0.1, **naclip),
    ]
    html = index_html("Runs", page_names(runs, Path("runs")), [])
    assert [line.count(",") for line in re.findall('points="(.*?)"', html)] == [2, 2]
    assert html.count('aria-label="') == 4


def test_runs_over_the_same_samples_stand_together(make_run: Callable[..., FoundRun]) -> None:
    fewer = {"counts": {"n_total": 5, "n_scored": 5, "n_failed": 0}}
    runs = [
        make_run("old", 1, 0.6),
        make_run("new", 3, 0.655),
        make_run("mid", 2, 0.5),
        make_run("few", 4, 0.9, **fewer),
    ]
    html = index_html("Runs", page_names(runs, Path("runs")), [HOSTILE])
    few, whole = html.split("<section")[1:3]
    assert "5 of 11 images of voc val" in few
    assert "trend" not in few  # of a single run
    assert re.findall(r'<td class="words"><a href="(\w+)\.html"', whole) == ["new", "mid", "old"]
    assert re.findall(r'"to the best">(.*?)</td>', whole) == ["best", "-15.5", "-5.5"]
    # From 0.5 to 0.655 and half a point on either side: 0.6 lies at 0.105 of 0.165, 0.655 at 0.16 of it.
    assert 'points="0.00,36.36 50.00,96.97 100.00,3.03"' in whole
    assert HOSTILE not in html
    assert visible(HOSTILE).replace("<", "&lt;").partition("'")[0].split(">")[0] in html
    assert html.count("<script") == 0


@needs_chromium
def test_the_index_fits_and_links_by_its_points(make_run: Callable[..., FoundRun], tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    linked = page_names([make_run("old" * 40, 1, 0.6), make_run("new", 3, 0.655)], Path("runs"))
    (tmp_path / "index.html").write_text(index_html("Runs", linked, []))
    (tmp_path / "new.html").write_text("here")
    with chromium() as browser:
        page = browser.new_page()
        for width in (390, 1400):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto((tmp_path / "index.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.locator(".trend a").last.click()
            assert page.url.endswith("/new.html")
