"""The documentation, built and read from disk in Chromium: search works, and nothing is asked of another machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.browser import chromium, needs_chromium

pytest.importorskip("mkdocs", reason="MkDocs is not installed (make setup)")
pytestmark = needs_chromium

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.parametrize("name", ["index", "reference/car_core"])
def test_search_works_from_disk_and_asks_no_other_machine(site: Path, name: str) -> None:
    requested: list[str] = []
    errors: list[str] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / f"{name}.html").as_uri())
        page.locator(".md-search__input").click()  # only then is the index read
        page.locator(".md-search-result__meta", has_text="Type to start searching").wait_for()
        page.keyboard.type("theta", delay=50)
        page.locator(".md-search-result__item").first.wait_for()
    assert errors == []
    assert [url for url in requested if not url.startswith(("file:", "data:", "blob:"))] == []


def test_search_lists_guides_before_pages_about_the_code(site: Path) -> None:
    first = {}
    with chromium() as browser:
        for words in ("theta", "resume", "mIoU", "out of memory"):
            page = browser.new_page()
            page.goto(f"{(site / 'index.html').as_uri()}?q={words}")
            link = page.locator(".md-search-result__link").first.get_attribute("href")
            first[words] = link.removeprefix(f"{site.as_uri()}/").partition("?")[0]
    assert first["out of memory"] == first["resume"] == "troubleshooting.html"
    assert [name for name in first.values() if name.startswith(("reference/", "rooms", "changelog"))] == []


def test_readers_without_eyes_or_mouse_reach_everything(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 900})
        page.goto((site / "method.html").as_uri())
        assert page.locator(".md-search[role=dialog][aria-label=Search]").count() == 1
        tables = page.locator(".md-typeset__scrollwrap")
        assert tables.count() > 1
        assert page.locator(".md-typeset__scrollwrap[tabindex='0']").count() == tables.count()
