"""The demo in Chromium: upload, type, see masks; a hostile phrase stays text; sliders; nothing from elsewhere.

And the first view, examples, layers, downloads, addresses and the last results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from helpers.browser import chromium, needs_chromium
from helpers.waiting import wait_until
from PIL import Image

from car_core import CaR, CaRConfig
from car_core.names import MINIATURE
from evaluation.pictures.demo.backend import Demo

pytest.importorskip("gradio", reason="Gradio is not installed (make setup)")
pytestmark = needs_chromium

HOSTILE = "</td><img src=x onerror='window.hacked = 1'><script>window.hacked = 1</script>"


@pytest.fixture(scope="module")
def open_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """open_demo(width, query): the demo in a page; the test fails on any error of the page or request to elsewhere."""
    from evaluation.pictures.demo.page import serving

    faults: list[str] = []
    car = CaR.from_config(CaRConfig(profile="paper", theta=0.1), weights=MINIATURE)
    with pytest.MonkeyPatch.context() as patch, chromium() as browser, ExitStack() as stack:
        patch.chdir(tmp_path_factory.mktemp("demo"))  # nobody starts it in the folder of the package
        address = stack.enter_context(serving(Demo(car)))

        def open_page(width: int, query: str = "") -> Any:
            page = browser.new_context(viewport={"width": width, "height": 844}).new_page()
            page.set_default_timeout(60_000)
            page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: note_request(request.url))
            page.goto(address + query)
            page.locator("#status:not(:empty)", has_text=re.compile("Kept|link")).wait_for()
            return page

        def note_request(url: str) -> None:
            if not url.startswith((address, "data:", "blob:")):
                faults.append(f"request to {url}")

        yield open_page
    assert faults == []


def upload(page: Any, path: Path) -> None:
    page.locator("#picture input[type=file]").set_input_files(path)
    page.locator("#picture img").first.wait_for()


def enter(page: Any, text: str) -> None:
    page.locator("#phrases textarea, #phrases input").first.fill(text)
    page.locator("#segment").click()


def drop_all(page: Any) -> None:
    """Open the thresholds and set theta to 1, again until the page knows of it: a field just shown may miss it."""
    page.get_by_text("Thresholds: theta, eta, lambda").click()
    box = page.locator("#theta input[type=number]")

    def is_known() -> bool:
        box.fill("1")
        box.blur()
        page.wait_for_timeout(100)
        return bool(page.evaluate("document.querySelector('#theta input[type=range]').value == 1"))

    wait_until(is_known)


def test_upload_type_and_see_masks(open_demo: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(photo)
    page = open_demo(1200, "?phrase=a+cat,+left&phrase=<b>&theta=0.3&eta=nan&image=/etc/passwd")
    assert page.locator("#phrases textarea").input_value() == "a cat, left\n<b>"
    assert page.locator("#picture img").count() == 0
    enter(page, "cat")
    page.locator("#status", has_text="Please upload a picture or pick an example.").wait_for()
    upload(page, photo)
    enter(page, f"cat\ndog\n{HOSTILE}")
    page.locator("#result .step").first.wait_for()
    assert page.locator("#result .outcome tbody tr").count() == 3
    assert page.locator("#result .outcome", has_text=HOSTILE).count() == 1
    assert page.evaluate("window.hacked") is None
    assert page.locator("#result img[src='x']").count() == 0
    pictures = "[...document.querySelectorAll('#result img')]"
    assert page.evaluate(f"{pictures}.length") >= 1 + 2 * 3
    assert page.evaluate(f"{pictures}.every((image) => image.complete && image.naturalWidth > 0)")
    # theta up: all are dropped, and only what theta changes was computed.
    drop_all(page)
    page.locator("#result .outcome", has_text="dropped in step 1").wait_for()
    page.locator("#status", has_text="Reused: image features of f").wait_for()
    # The address is the state, without the picture; the first of the two results is at hand.
    page.locator("#past button").nth(1).wait_for()
    address = parse_qs(urlsplit(page.url).query, keep_blank_values=True)
    assert address.pop("image") == ["/etc/passwd"]  # as it was given, and of no use
    assert address == {"phrase": ["cat", "dog", HOSTILE], "theta": ["1"], "eta": ["0.4"], "lambda": ["0.4"]}
    page.locator("#past button").nth(1).click()
    page.locator("#result .outcome .kept").first.wait_for()
    assert parse_qs(urlsplit(page.url).query)["theta"] == ["0.3"]
    assert page.evaluate("window.hacked") is None


def test_masks_are_shown_hidden_and_saved_as_shown(open_demo: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    page = open_demo(1200)
    upload(page, photo)
    enter(page, "cat\ndog")
    page.locator("#past button").nth(1).wait_for()
    kept = page.locator("#result .switches [type=checkbox]").count()
    assert kept == page.locator("#result .layers div img").count() >= 1

    def saved() -> Any:
        with page.expect_download() as download:
            page.get_by_text("picture as shown").click()
        assert download.value.suggested_filename == "photo-masks.png"
        return np.asarray(Image.open(download.value.path()).convert("RGB")).astype(int)

    def share(value: str) -> None:
        page.locator("#result .switches [type=range]").fill(value)

    share("0")
    bare = saved()
    assert bare.shape == (640, 640, 3)  # smaller pictures are shown larger
    share("100")
    full = saved()
    assert np.abs(full - bare).max() > 50
    for box in page.locator("#result .switches [type=checkbox]").all():
        box.uncheck()
    assert np.array_equal(saved(), bare)


def test_an_example_on_a_phone(open_demo: Any) -> None:
    page = open_demo(380)
    # The first view has a finished example, and its picture begins on the first screen.
    assert page.locator("#result .outcome tbody tr").count() == 5
    assert page.locator("#result .layers").bounding_box()["y"] < 700
    page.get_by_role("button", name="Example 2").click()
    page.locator("#result .outcome", has_text="aeroplane").wait_for()
    assert page.locator("#phrases textarea").input_value() == "aeroplane\ncar\nbird\nhorse"
    page.locator("#past button").nth(1).wait_for()
    drop_all(page)  # the longest words of the table
    page.locator("#segment").click()
    page.locator("#result .outcome", has_text="dropped in step 1").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    # Waited for, as leaving the field and the button each bring a result.
    page.wait_for_function(
        "[...document.querySelectorAll('#result .scroll')].every((e) => e.scrollWidth <= e.clientWidth)"
    )
    # The result comes right after the button, before examples and thresholds, and is what is seen.
    box_of = "(id) => document.getElementById(id).getBoundingClientRect()"
    gap = f"({box_of})('found').top - ({box_of})('segment').bottom"
    page.wait_for_function(f"0 < {gap} && {gap} < 40")
    page.wait_for_function(f"({box_of})('found').bottom <= ({box_of})('more').top")
    page.wait_for_function("Math.abs(document.getElementById('found').getBoundingClientRect().top) < 5")
