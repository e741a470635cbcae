"""Contact sheets, against painting by a loop over pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.pages.contact_sheet import TILE_HEIGHT, TILE_WIDTH, Example, contact_sheet
from support.drawing import draw_overlay, label_color, save_picture

NAMES = {0: "background", 1: "cat", 2: "dog", 3: "a very long name of a class"}


def example(height: int = 40, width: int = 60, *, found: bool = True, caption: str = "") -> Example:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    target = np.zeros((height, width), np.int32)
    target[5:25, 5:35] = 1
    target[:, -3:] = 255
    prediction = np.where(target == 1, 1, 0).astype(np.int32) if found else np.zeros_like(target)
    return Example(image, target, prediction, NAMES, caption=caption)


def test_a_mask_is_painted_over_the_faded_image_and_outlined() -> None:
    shown = example()
    color = (230, 96, 0)
    painted = draw_overlay(shown.image, shown.target, {1: color}, 255).astype(int)
    for y in range(5 + 4, 25 - 4):  # inside the outline
        for x in range(5 + 4, 35 - 4):
            expected = [0.55 * c + 0.45 * p for c, p in zip(color, shown.image[y, x].tolist(), strict=True)]
            assert np.abs(painted[y, x] - expected).max() <= 1
    assert (painted[5, 7:33] == painted[5, 7]).all()
    line = 0.82 * np.array(color) + 0.18 * 255  # antialiasing lets some of the white halo through
    assert np.abs(painted[5, 7] - line).max() <= 2
    assert (painted[:, -1] == 255).all()
    faded = 50 + 0.1 * shown.image[30:, :50] + 0.6 * (shown.image[30:, :50] @ [0.299, 0.587, 0.114])[..., None]
    assert np.abs(painted[30:, :50] - faded).max() <= 2


def test_colors_are_distinct_also_for_many_labels() -> None:
    assert len({label_color(position) for position in range(30)}) == 30


def test_sheet_has_two_examples_per_row_of_three_pictures() -> None:
    one, two, three = (contact_sheet({"mini-voc": [example()] * n}) for n in (1, 2, 3))
    assert one.dtype == np.uint8
    assert one.shape == two.shape
    assert three.shape[1] == two.shape[1] >= 6 * TILE_WIDTH
    assert three.shape[0] - two.shape[0] >= TILE_HEIGHT
    sections = contact_sheet({"mini-voc": [example()], "mini-context": [example()]})
    assert sections.shape[0] > three.shape[0]


def _share(picture: np.ndarray, color: tuple[int, int, int]) -> float:
    return float((np.abs(picture.astype(int) - color).max(axis=2) <= 8).mean())


def test_target_and_prediction_stand_where_the_headings_say() -> None:
    height, width = TILE_HEIGHT, TILE_WIDTH  # shown at its own size
    left = 28
    image = np.full((height, width, 3), 255, np.uint8)
    target = np.zeros((height, width), np.int32)
    target[20:120, 20:120] = 1
    top = 28 + 54
    for found in (True, False):
        prediction = target if found else np.zeros_like(target)
        sheet = contact_sheet({"mini-voc": [Example(image, target, prediction, NAMES)]})
        tiles = [sheet[top : top + height, left + i * (width + 8) :][:, :width] for i in range(3)]
        painted = tuple(round(0.55 * c + 0.45 * 255) for c in label_color(0))
        shares = [_share(tile, painted) for tile in tiles]  # type: ignore[arg-type]
        expected = 92 * 92 / (height * width)  # less the outline
        assert shares[0] == 0
        assert shares[1] == pytest.approx(expected, rel=0.05)
        assert shares[2] == (shares[1] if found else 0)


def test_the_legend_says_what_was_missed_and_a_caption_is_drawn() -> None:
    found, missed = (contact_sheet({"s": [example(found=value)]}) for value in (True, False))
    legend = slice(28 + 54 + TILE_HEIGHT, -28)
    assert (missed[legend] < 128).any(axis=2).sum() > (found[legend] < 128).any(axis=2).sum()
    captions = [
        contact_sheet({"s": [example(caption=text)]})[legend] for text in ("the left dog", "the left dog " * 50)
    ]
    assert all((caption < 128).any() for caption in captions)
    assert (captions[1][:, 3 * TILE_WIDTH + 60 :] == 255).all()  # shortened to its own column


def test_many_labels_are_counted_when_the_legend_is_full() -> None:
    labels = np.arange(40 * 60, dtype=np.int32).reshape(40, 60) // 60
    crowded = Example(example().image, labels, labels, {label: f"class number {label}" for label in range(40)})
    assert contact_sheet({"s": [crowded]}).shape == contact_sheet({"s": [example()]}).shape


def test_no_examples() -> None:
    assert (contact_sheet({}) == 255).all()
    assert contact_sheet({"empty": []}).shape[0] > contact_sheet({}).shape[0]


def test_a_png_round_trip(tmp_path: Path) -> None:
    sheet = contact_sheet({"s": [example(1, 300), example(300, 1)]})
    save_picture(sheet, tmp_path / "sheet.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), sheet)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
