"""The report in Chromium: no console message, filter, order and paging work, hostile text stays text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import chromium, needs_chromium
from helpers.report_parts import HOSTILE, details, picture, records, sample

from results import RunDirectory, RunHeader
from results.pages.gallery import PictureFiles
from results.pages.report import report_html, write_report
from support.text import visible

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def open_report(browser: Any, tmp_path: Path, make_header: Callable[..., RunHeader]) -> Iterator[Callable[..., Any]]:
    """open_report(width=..., scheme=...): the report in a page; the test fails on any console message or request."""
    path = tmp_path / "report.html"
    path.write_text(report_html(make_header(), records(), details()), encoding="utf-8")
    messages: list[str] = []

    def open_page(width: int = 1200, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: _note_request(request.url, messages))
        page.goto(path.as_uri())
        return page

    yield open_page
    assert messages == []


def _note_request(url: str, messages: list[str]) -> None:
    if not url.startswith(("file:", "data:")):
        messages.append(f"request to {url}")


def shown(page: Any) -> list[str]:
    return page.locator(".sample:visible h3").all_text_contents()


def test_one_sample_at_a_time_by_keys_and_buttons(open_report: Callable[..., Any]) -> None:
    page = open_report()
    assert shown(page) == ["first"]
    assert page.locator("#previous").is_disabled()
    page.keyboard.press("ArrowRight")
    assert shown(page) == ["second"]
    page.keyboard.press("j")
    page.keyboard.press("ArrowRight")
    assert shown(page) == [visible(HOSTILE)]
    assert page.locator("#place").text_content() == "3 of 3"
    assert page.locator("#next").is_disabled()
    page.keyboard.press("k")
    page.locator("#previous").click()
    assert shown(page) == ["first"]
    page.locator("#thumbs button").nth(1).click()
    assert shown(page) == ["second"]


def test_filters_and_order(open_report: Callable[..., Any]) -> None:
    page = open_report()
    page.locator("#class").select_option(label="aeroplane")
    assert page.locator("#thumbs button").count() == 2
    page.locator("#order").select_option(label="worst IoU first")
    assert shown(page) == [visible(HOSTILE)]
    page.locator("#group").select_option(label="worst")
    assert page.locator("#place").text_content() == "no sample"
    assert shown(page) == []
    page.locator("#class").select_option(label="all")
    assert shown(page) == ["second"]
    page.locator("#classes button", has_text="bird").click()
    assert shown(page) == ["first"]
    assert page.locator("#class").input_value() != ""


def test_hostile_text_stays_text(open_report: Callable[..., Any]) -> None:
    page = open_report()
    page.keyboard.press("End")
    page.locator("#thumbs button").last.click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("script").count() == 3
    assert visible(HOSTILE) in page.locator(".sample:visible").inner_text()


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_hangs_over_the_side(open_report: Callable[..., Any], width: int) -> None:
    page = open_report(width)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


@pytest.mark.parametrize("width", [360, 390, 1200])
def test_tables_do_not_scroll_sideways_and_keep_their_headings(open_report: Callable[..., Any], width: int) -> None:
    page = open_report(width)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    over = page.evaluate("[...document.querySelectorAll('.scroll')].map((box) => box.scrollWidth - box.clientWidth)")
    assert set(over) == {0}
    above = page.locator("#figures .rows thead").first.is_visible()
    headings = page.locator("#figures .rows tr:has-text('CaR (paper)') td:not(:empty)").evaluate_all(
        "(cells) => cells.map((cell) => getComputedStyle(cell, '::before').content.replaceAll('\"', '').trim())"
    )
    assert above == (width > 640)
    assert above or headings == ["none", "metric", "%", "vs. CaR (paper)", "remarks"]


@pytest.mark.parametrize("width", [360, 400])
def test_all_sections_can_be_reached_on_a_phone(open_report: Callable[..., Any], width: int) -> None:
    page = open_report(width)
    edges = page.evaluate("[...document.querySelectorAll('nav a')].map((link) => link.getBoundingClientRect().right)")
    assert max(edges) <= width
    assert page.evaluate("document.querySelector('nav').offsetHeight") < 84  # room that headings keep above them


def test_light_and_dark_follow_the_system_and_the_button(open_report: Callable[..., Any]) -> None:
    def lightness(page: Any) -> int:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in color[4:-1].split(",")[:3])

    dark, light = open_report(scheme="dark"), open_report(scheme="light")
    assert lightness(dark) < 150
    assert lightness(light) > 600
    light.locator("#theme").click()
    assert lightness(light) < 150


def ids(page: Any) -> list[str]:
    return page.locator("#list tbody tr td:first-child").all_text_contents()


def test_samples_are_searched_sorted_and_filtered(open_report: Callable[..., Any]) -> None:
    page = open_report()
    assert ids(page) == [f"s{place}" for place in range(11)]
    page.locator("#list thead button", has_text="IoU").click()  # figures: none, 0, 0.1, ...; none comes last
    assert ids(page) == [*(f"s{place}" for place in range(1, 11)), "s0"]
    page.locator("#list thead button", has_text="IoU").click()
    assert ids(page) == [*(f"s{place}" for place in range(10, 0, -1)), "s0"]
    assert page.locator("#list th[aria-sort=descending]").inner_text().startswith("IoU")
    page.locator("#low").fill("30")
    page.locator("#high").fill("50")
    assert ids(page) == ["s6", "s5", "s4"]
    page.locator("#search").fill("S5 BIRD")
    assert ids(page) == ["s5"]
    assert page.locator("#count").text_content() == "1 of 11 samples"
    page.locator("#reset").click()
    page.locator("#sort").select_option(label="id, falling")
    assert ids(page)[:2] == ["s10", "s9"]  # by number


def test_a_link_leads_to_its_sample(open_report: Callable[..., Any]) -> None:
    page = open_report()
    page.locator("#low").fill("90")
    page.evaluate("location.hash = '#sample=s3'")
    page.wait_for_selector("tr[aria-current]")
    assert page.locator("tr[aria-current] td").first.text_content() == "s3"
    assert page.locator("#low").input_value() == ""  # a filter does not hide what was asked for
    page.evaluate("location.hash = '#sample=second'")
    page.wait_for_function("document.querySelector('.sample:not([hidden]) h3').textContent === 'second'")
    page.locator("#next").click()
    assert page.evaluate("decodeURIComponent(location.hash)") == f"#sample={visible(HOSTILE)}"
    page.evaluate("location.hash = '#sample=<b>none'")
    page.wait_for_function("document.querySelector('#count').textContent === 'no sample <b>none on this page'")


def test_masks_are_shown_and_hidden(open_report: Callable[..., Any]) -> None:
    page = open_report()
    layers = page.locator(".sample:visible .stack img")
    assert layers.count() == 4  # two labels, each in target and prediction
    page.locator(".sample:visible .legend input").first.uncheck()
    assert [layer.is_visible() for layer in layers.all()] == [False, True, False, True]
    page.locator("#opacity").fill("20")
    assert layers.nth(1).evaluate("(layer) => getComputedStyle(layer).opacity") == "0.2"


def test_the_matrix_is_made_when_it_is_opened(open_report: Callable[..., Any]) -> None:
    page = open_report()
    assert page.locator(".wide td").count() == 0
    page.locator("#matrix summary").click()
    page.wait_for_selector(".wide tbody tr")
    rows = [row.locator("td").all_text_contents() for row in page.locator(".wide tbody tr").all()]
    assert rows == [["90", "10"], ["25", "75"]]  # percent of the rows 90, 10 and 1, 3
    page.locator("#matrix-class").select_option(label="bird")
    assert page.locator("#matrix-row .figure").all_text_contents() == ["75.0 %", "25.0 %"]
    assert page.locator("#matrix-column dt").all_text_contents() == [visible(HOSTILE), "bird"]


def test_pictures_next_to_the_page_load_when_looked_at(
    browser: Any, tmp_path: Path, make_header: Callable[..., RunHeader]
) -> None:
    many = [sample(f"s{place}", "best", 0.5, ("bird",), image=picture(place), steps=()) for place in range(100)]
    page = browser.new_context(viewport={"width": 1200, "height": 800}).new_page()
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    shown = details(gallery=many)
    page.goto(write_report(RunDirectory(tmp_path), make_header(), records(), shown, most_inlined=0).as_uri())
    page.wait_for_timeout(300)
    assert 2 < len(asked) < 50
    page.evaluate("location.hash = '#sample=s99'")
    last = PictureFiles("").add(picture(99))
    with page.expect_event("requestfinished", lambda request: request.url.endswith(last)):
        page.wait_for_function("document.querySelector('.sample:not([hidden]) h3').textContent === 's99'")
