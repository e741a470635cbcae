"""Pictures of a segmentation: what is drawn where, sizes, many and hostile queries."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.prompts import draw_prompts
from helpers.tiny_clip import photo, tiny_clip
from PIL import Image

from car_core import CaR, CaRConfig, Segmentation
from car_core.drawing import draw_steps, most_telling
from car_core.steps import step_names
from support.arrays import RGBArray
from support.drawing import draw_heat_map, draw_overlay, encode, label_color, save_picture

QUERIES = ("a cat", "<script>alert(1)</script>", "naïve 猫\n\x1b[31m", "w" * 70)


def segmented(queries: tuple[str, ...] = QUERIES, *, trace: bool = True, **switches: Any) -> Segmentation:
    model = tiny_clip(0)
    config = CaRConfig(**{"theta": 0.2, "templates": ("a {}",), "max_patches": 64, **switches})
    return CaR(config, proposal_clip=model, classifier_clip=model).segment(photo(48, 64), queries, trace=trace)


def drawn_steps(found: Segmentation, **limits: int) -> RGBArray:
    return draw_steps(found.required_image(), found.drawn_labels, found.outcomes(), found.steps, **limits)


def test_an_overlay_paints_its_areas_and_dims_the_rest() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)
    labels = np.zeros((40, 60), np.int32)
    labels[8:32, 10:26], labels[8:32, 34:50], labels[0:2] = 3, 7, 255
    drawn = draw_overlay(image, labels, {3: (230, 159, 0), 7: (0, 0, 255)})
    assert (drawn[20, 18] == [216, 177, 90]).all()  # 55 % color, 45 % image
    assert (drawn[20, 42] == [90, 90, 230]).all()
    # The contour is nearer to the color itself than the area that it bounds.
    off = [np.abs(drawn[row, 18].astype(int) - [230, 159, 0]).sum() for row in (8, 20)]
    assert off[0] < 0.6 * off[1]
    assert (drawn[37, 5] == drawn[0, 30]).all()  # what has no color is not drawn
    assert (drawn[37, 5] < 200).all()
    assert (image == 200).all()


def test_labels_of_another_size_are_resized_to_the_image() -> None:
    image, labels = np.zeros((80, 120, 3), np.uint8), np.zeros((8, 12), np.int32)
    labels[2:6, 3:9] = 1
    drawn = draw_overlay(image, labels, {1: (255, 255, 255)})
    assert (drawn[40, 60] == 140).all()
    assert (drawn[5, 5] < 128).all()


def test_heat_map_is_bright_at_proposals_and_lined() -> None:
    image = np.full((32, 32, 3), 128, np.uint8)
    proposal = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    plain, lined = draw_heat_map(image, proposal), draw_heat_map(image, proposal, 0.5)
    brightness = plain.astype(int).sum(axis=2)
    assert (np.diff(brightness[16]) >= -12).all()
    assert brightness[16, 31] > brightness[16, 0] + 200
    changed = (plain != lined).any(axis=2)
    assert changed[:, 14:18].any()
    assert not changed[3:-3, :14].any()


def test_colors_differ_as_long_as_they_can() -> None:
    colors = [label_color(position) for position in range(35)]
    assert len(set(colors)) == 35
    assert label_color(35) == colors[0]


def test_steps_keep_the_images_that_g_was_shown() -> None:
    found = segmented()
    assert found.config is not None
    assert found.image is not None
    for step in found.steps:
        assert step.proposals is not None
        assert step.prompted is not None
        assert step.prompted.shape == (len(step.queries), 48, 64, 3)
        for proposal, prompted in zip(step.proposals, step.prompted, strict=True):
            expected = draw_prompts(found.image, proposal > found.config.eta, found.config.prompts, "bgr")
            np.testing.assert_array_equal(prompted, expected)


@pytest.mark.parametrize("mode", ["semantic", "referring"])
@pytest.mark.parametrize("theta", [0.0, 0.2, 0.999])
def test_pictures_of_any_outcome(mode: str, theta: float) -> None:
    found = segmented(mode=mode, theta=theta, keep_best=False)
    masks, steps = np.asarray(found.plot()), np.asarray(found.plot_steps())
    assert masks.dtype == steps.dtype == np.uint8
    assert masks.shape[1] == 640
    assert masks.shape[0] > 480  # the image and a legend
    assert steps.shape[1] > 600 + 380 * min(len(found.steps), 5)
    assert Image.open(io.BytesIO(found._repr_png_() or b"")).size == masks.shape[1::-1]
    kept, dropped = ([query.color for query in found.outcomes() if query.kept is kept] for kept in (True, False))
    assert len({*kept}) == (len(kept) if mode == "semantic" else min(1, len(kept)))
    assert len({*dropped}) == len(dropped)
    assert not {*kept} & {*dropped}
    drawn = {found.outcomes()[label - 1].color for label in np.unique(found.drawn_labels) if label}
    assert drawn <= {*kept}


def test_many_queries_and_steps_are_cut_to_what_can_be_read() -> None:
    queries = tuple(f"query {number}" for number in range(30))
    found = segmented(queries, theta=0.03)
    assert len(most_telling(found.steps, found.outcomes(), 6)) == 6
    assert drawn_steps(found).shape[0] < 1500
    assert drawn_steps(found, max_queries=2).shape[0] < drawn_steps(found).shape[0]
    assert drawn_steps(found, max_steps=1).shape[1] < 1100


def test_the_longest_living_queries_are_the_most_telling() -> None:
    found = segmented(theta=0.2)
    for count in range(1, 5):
        chosen = most_telling(found.steps, found.outcomes(), count)
        assert chosen == sorted(chosen)
        others = set(range(4)) - set(chosen)
        last_step = {i: max(n for n, step in enumerate(found.steps) if i in step.queries) for i in range(4)}
        assert all(last_step[a] >= last_step[b] for a in chosen for b in others)


def test_a_segmentation_without_its_image_or_trace_says_so() -> None:
    untraced = segmented(trace=False)
    with pytest.raises(ValueError, match="trace=True"):
        untraced.plot_steps()
    bare = Segmentation(QUERIES, untraced.masks, untraced.scores, (), untraced.label_map, ())
    assert bare._repr_png_() is None
    assert "<img" not in bare._repr_html_()
    with pytest.raises(ValueError, match="image"):
        bare.plot()


def test_html_of_a_notebook_escapes_the_queries() -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: set[str] = set()
            self.text = ""

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.tags.add(tag)

        def handle_data(self, data: str) -> None:
            self.text += data

    parsed = Tags()
    parsed.feed(segmented()._repr_html_())
    assert parsed.tags == {"div", "img", "br", "table", "thead", "tbody", "tr", "th", "td", "span"}
    assert "<script>alert(1)</script>" in parsed.text


def test_two_passes_are_named_apart() -> None:
    model = tiny_clip(0)
    car = CaR(CaRConfig(theta=0.2, templates=("a {}",), max_patches=64), proposal_clip=model, classifier_clip=model)
    found = car.segment_two_pass(photo(48, 64), ["cat", "dog"], ["sky", "sea"], trace=True)
    names = step_names(found.steps)
    first = sum(max(step.queries) < 2 for step in found.steps)
    assert names == [f"pass 1, step {n + 1}" for n in range(first)] + [
        f"pass 2, step {n + 1}" for n in range(len(found.steps) - first)
    ]
    assert np.asarray(found.plot_steps()).ndim == 3
    assert step_names(found.steps[:first]) == [f"step {n + 1}" for n in range(first)]


def test_encoding_round_trips(tmp_path: Path) -> None:
    picture = photo(20, 30)
    png, webp = encode(picture, "png"), encode(picture, "webp", quality=70)
    assert (np.asarray(Image.open(io.BytesIO(png.data))) == picture).all()
    assert (png.width, png.height, png.media) == (30, 20, "image/png")
    assert webp.data[8:12] == b"WEBP"
    assert webp.uri.startswith("data:image/webp;base64,")
    assert webp.n_bytes == len(webp.uri)
    save_picture(picture, tmp_path / "one.PNG")
    assert (np.asarray(Image.open(tmp_path / "one.PNG")) == picture).all()
    assert [path.name for path in tmp_path.iterdir()] == ["one.PNG"]
    with pytest.raises(ValueError, match=r"found '.docx'"):
        save_picture(picture, tmp_path / "one.docx")
