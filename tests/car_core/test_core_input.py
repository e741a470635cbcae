"""Queries and images that a user may pass to CaR: refused with a clear error, or worked with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny_clip import photo, tiny_clip
from PIL import Image

from car_core import CaR, CaRConfig, ImageError, QueryError
from car_core.car import as_rgb
from car_core.models.clip import open_clip
from car_core.models.text_encoder import TextEncoder, least_tokens
from car_core.proposal.trunk import proposal_size
from support.text import clip_words


@pytest.fixture(scope="module")
def car() -> CaR:
    config = CaRConfig(theta=0.2, templates=("a photo of a {}.",), background=("sky", "sea"))
    return CaR(config, proposal_clip=tiny_clip(5, logit_scale=10.0), classifier_clip=tiny_clip(2, layers=2))


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([], "expected at least one text, found none"),
        ([""], r"queries\[0\]: expected a text, found a blank one"),
        (["cat", " \t"], r"queries\[1\]: expected a text, found a blank one"),
        (["cat", "dog", "cat"], r"queries\[2\]: expected each text once, found 'cat' again"),
        (["cat", "a \ud83d b"], r"query: expected text, found half of a character in 'a \\ud83d b'"),
        (["x\udce9"], r"query: expected text, found another byte in 'x\\xe9'"),
        (["bottle", "car", "Bottle"], r"queries\[2\]: .* found 'Bottle', which CLIP reads as 'bottle'"),
        (["bottle", " bottle"], r"queries\[1\]: .* found ' bottle', which CLIP reads as 'bottle'"),
        (["a red-car", "A  red - car"], r"found 'A  red - car', which CLIP reads as 'a red-car'"),
        (["\u00e9t\u00e9", "e\u0301te\u0301"], "which CLIP reads as"),
        (["cat", "&nbsp;"], r"queries\[1\]: expected a text, found a blank one"),
        ("cat", "expected a sequence of texts, found str"),
        (["cat", 3], "expected a sequence of texts"),
        ([["cat"]], "expected a sequence of texts"),
    ],
)
def test_impossible_queries(car: CaR, queries: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        car.segment(photo(20, 20), queries)


@pytest.mark.parametrize("queries", [None, 3], ids=["None", "a number"])
def test_queries_that_are_no_sequence(car: CaR, queries: Any) -> None:
    with pytest.raises((QueryError, TypeError)):
        car.segment(photo(20, 20), queries)


def test_query_over_the_context_is_named_with_both_counts(car: CaR) -> None:
    """open_clip would cut it in silence. A template's words count too."""
    query = "red " * 80 + "car"
    with pytest.raises(QueryError, match=r"expected at most 77 tokens .* found (8[3-9]|9\d)") as refusal:
        car.segment(photo(20, 20), ["cat", query])
    assert "red red" in str(refusal.value)
    assert len(str(refusal.value)) < 250, "one line"


def test_longest_query_that_fits(car: CaR) -> None:
    """What counts is the longest text any step makes of the query, its start and end included."""
    encode = open_clip.get_tokenizer("ViT-B-32").encode
    around = max(len(encode(text)) for text in ("a photo of a .", "a clean origami .")) + 2
    longest = " ".join(["red"] * (77 - around))
    assert car.segment(photo(20, 20), [longest]).masks.shape == (1, 20, 20)
    with pytest.raises(QueryError, match="found 78"):
        car.segment(photo(20, 20), [longest + " red"])


@pytest.mark.parametrize("text", ["xyzzy" * 20_000, "a b " * 50_000, "&amp;" * 100_000], ids=["word", "words", "&amp;"])
def test_text_far_over_the_context_is_refused_without_its_tokens(car: CaR, text: str) -> None:
    """Their number, which the message would give, takes time by the square of a word's length: minutes."""
    with pytest.raises(QueryError, match=r"expected at most 77 tokens.* found at least \d{4}"):
        car.check_queries([text])


def test_twins_are_the_texts_of_the_same_tokens() -> None:
    """As open_clip's tokenizer cuts them."""
    encode, rng = open_clip.get_tokenizer("ViT-B-32").encode, random.Random(0)
    characters = "aAbB  ''s.,-&amp;&\u00e9\u0301e9\u00b2\u2163\u65e5\uff11_\u200b\t\n<>\u2019\ufb01\u212a\x07\u0130"
    texts = ["".join(rng.choices(characters, k=rng.randint(1, 6))) for _ in range(2000)]
    texts += ["don't", "don ' t", "DON'T", "&amp;amp;", "&EACUTE;", "&lt;b&gt;", "it's", "its", "A.B", "a . b"]
    words, tokens = [clip_words(text) for text in texts], [tuple(encode(text)) for text in texts]
    assert len(set(words)) == len(set(tokens)) == len(set(zip(words, tokens, strict=True))) > 1000


def test_no_text_that_fits_is_refused_by_its_length() -> None:
    tokenizer, rng = open_clip.get_tokenizer("ViT-B-32"), random.Random(0)
    words = [tokenizer.decode([token]).strip() for token in range(tokenizer.vocab_size - 2)]
    widest = max(words, key=lambda word: len(word.encode()))
    mixed = [
        rng.choice([" ", "", "\n ", "&lt;", "&amp;amp;", "<end_of_text>"]).join(rng.choices(words, k=9))
        for _ in range(300)
    ]
    long = [widest * count for count in range(1, 90, 8)]
    for text in [*words[::20], *mixed, *long, "Ã©tude", "\ud800", "\x1c \x85\u2028|", "   ", ""]:
        assert least_tokens(tokenizer, text) <= len(tokenizer.encode(text)), text
    assert least_tokens(tokenizer, widest * 75) == 75  # as many as can be: longer texts cannot fit
    assert least_tokens(tokenizer, widest * 75 + "a") == 76


def test_context_length_is_the_models() -> None:
    config = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    short = open_clip.CLIP(
        embed_dim=16, vision_cfg={"layers": 1, "width": 64, "head_width": 32, "image_size": 32}, text_cfg=config
    )
    encoder = TextEncoder(short.eval(), role="g")
    assert encoder([["a short text"]])[0].shape == (1, 16)
    with pytest.raises(QueryError, match="at most 16 tokens"):
        encoder([["word " * 20]])


@pytest.mark.parametrize("query", ["a {} b", "{0}{x}", "naïve café", "猫", "🙂", "a\nb", "<end_of_text>", "100% & <b>"])
def test_unusual_texts_are_queries(car: CaR, query: str) -> None:
    result = car.segment(photo(20, 20), [query, "cat"])
    assert result.queries == (query, "cat")
    assert np.isfinite(result.scores).all()


def test_query_that_is_also_a_background_text(car: CaR) -> None:
    result = car.segment(photo(40, 50), ["sky", "cat"], trace=True)
    assert all(np.isfinite(step.proposals).all() for step in result.steps if step.proposals is not None)


@pytest.mark.parametrize("background", ["sky", ["sky", ""], ["sky", "sky"], ["red " * 80]], ids=str)
def test_impossible_background_is_refused_at_the_call(car: CaR, background: Any) -> None:
    """A text would otherwise be taken letter by letter."""
    with pytest.raises(QueryError):
        car.segment(photo(20, 20), ["cat"], background=background)


def test_background_of_one_call_replaces_the_configured(car: CaR) -> None:
    image = photo(52, 76, 1)
    other = CaR(
        car.config.model_copy(update={"background": ("grass", "street")}),
        proposal_clip=tiny_clip(5, logit_scale=10.0),
        classifier_clip=tiny_clip(2, layers=2),
    )
    found = car.segment(image, ["cat", "dog"], background=["grass", "street"], trace=True)
    expected = other.segment(image, ["cat", "dog"], trace=True)
    for step, expected_step in zip(found.steps, expected.steps, strict=True):
        assert step.proposals is not None
        assert expected_step.proposals is not None
        np.testing.assert_allclose(step.proposals, expected_step.proposals, atol=1e-6)
    without = car.segment(image, ["cat", "dog"], background=[], trace=True).steps[0].proposals
    assert without is not None
    assert np.isfinite(without).all()


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((4, 5), np.uint8), r"uint8 \[4, 5\]"),
        (np.zeros((4, 5, 4), np.uint8), r"uint8 \[4, 5, 4\]"),
        (np.zeros((4, 5, 1), np.uint8), r"uint8 \[4, 5, 1\]"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"uint8 \[1, 4, 5, 3\]"),
        (np.zeros((4, 5, 3), np.float32), r"float32 \[4, 5, 3\]"),
        (np.zeros((4, 5, 3), np.uint16), r"uint16 \[4, 5, 3\]"),
        (np.zeros((4, 5, 3), bool), r"bool \[4, 5, 3\]"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        (np.zeros((4, 0, 3), np.uint8), "at least one pixel"),
        ([[[0, 0, 0]]], "list"),
        (b"photo.jpg", "bytes"),
        (None, "NoneType"),
        (Image.new("I;16", (5, 4)), "mode I;16"),
        (Image.new("I", (5, 4)), "mode I"),
        (Image.new("F", (5, 4)), "mode F"),
        (Image.new("RGB", (0, 4)), "at least one pixel"),
        (Image.new("RGB", (5, 0)), "at least one pixel"),
    ],
    ids=[
        "gray array", "RGBA array", "one channel", "batch", "float", "16-bit array", "bool", "no row", "no column",
        "list", "path", "None", "16-bit PIL", "32-bit PIL", "float PIL", "no column PIL", "no row PIL",
    ],
)  # fmt: skip
def test_impossible_image(car: CaR, image: Any, found: str) -> None:
    with pytest.raises(ImageError, match=found):
        car.segment(image, ["cat"])


def test_a_path_is_an_image(car: CaR, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    Image.fromarray(photo(20, 30)).save(file)
    assert (as_rgb(file) == photo(20, 30)).all()
    assert (as_rgb(str(file)) == photo(20, 30)).all()
    (tmp_path / "torn.png").write_bytes(file.read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture")
    for name, found in (("none.png", "No such file"), ("torn.png", "found: "), ("text.png", "cannot identify")):
        with pytest.raises(ImageError, match=f"{name}: expected an image file, .*{found}") as caught:
            car.segment(tmp_path / name, ["cat"])
        assert "\n" not in str(caught.value)
    assert len(repr(car.segment(file, ["cat", "dog"]))) < 200


def test_pil_modes_become_rgb() -> None:
    rgb = Image.fromarray(photo(9, 7))
    gray = np.asarray(rgb.convert("L"))
    np.testing.assert_array_equal(as_rgb(rgb), photo(9, 7))
    np.testing.assert_array_equal(as_rgb(rgb.convert("L")), np.repeat(gray[..., None], 3, axis=2))
    np.testing.assert_array_equal(as_rgb(rgb.convert("LA")), np.repeat(gray[..., None], 3, axis=2))
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(as_rgb(palette), np.asarray(palette.convert("RGB")))
    assert set(np.unique(as_rgb(rgb.convert("1")))) <= {0, 255}
    cyan = Image.new("CMYK", (3, 2), (255, 0, 0, 0))
    np.testing.assert_array_equal(as_rgb(cyan), np.broadcast_to([0, 255, 255], (2, 3, 3)))


def test_transparency_is_dropped() -> None:
    rgba = np.dstack([photo(6, 5), np.random.default_rng(0).integers(0, 256, (6, 5), np.uint8)])
    np.testing.assert_array_equal(as_rgb(Image.fromarray(rgba)), photo(6, 5))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr", "HSV"])
def test_any_8_bit_pil_image_is_segmented(car: CaR, mode: str) -> None:
    image = Image.fromarray(photo(40, 50)).convert("RGB" if mode == "LA" else mode)
    image = image.convert("LA") if mode == "LA" else image
    result = car.segment(image, ["cat", "dog"])
    np.testing.assert_array_equal(result.masks, car.segment(as_rgb(image), ["cat", "dog"]).masks)


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation_is_applied(car: CaR, orientation: int) -> None:
    """A user's photo comes out the way it is shown, masks included."""
    stored = photo(30, 44, 2)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    shown = ORIENTED[orientation](stored)
    np.testing.assert_array_equal(as_rgb(image), shown)
    assert car.segment(image, ["cat"]).masks.shape == (1, *shown.shape[:2])


def test_array_of_any_memory_layout(car: CaR) -> None:
    image = photo(40, 50)
    expected = car.segment(image, ["cat", "dog"])
    for layout in (np.asfortranarray(image), image[::-1][::-1], np.ascontiguousarray(image)):
        found = car.segment(layout, ["cat", "dog"])
        np.testing.assert_array_equal(found.masks, expected.masks)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_image_is_not_changed(car: CaR) -> None:
    image = photo(40, 50)
    image.flags.writeable = False
    car.segment(image, ["cat", "dog"])
    np.testing.assert_array_equal(image, photo(40, 50))


@pytest.mark.parametrize("profile", ["released", "paper"])
@pytest.mark.parametrize("mode", ["semantic", "referring"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (1, 300), (300, 1), (2, 2), (16, 16), (17, 16), (5, 90)], ids=str)
def test_very_small_and_very_thin_images(profile: Any, mode: Any, size: tuple[int, int]) -> None:
    config = CaRConfig(
        profile=profile, mode=mode, theta=0.2, templates=(), background=("sky",),
        prompts=("blur", "gray", "mask", "circle", "rectangle", "contour"),
    )  # fmt: skip
    model = tiny_clip(5, logit_scale=10.0)
    result = CaR(config, proposal_clip=model, classifier_clip=model).segment(photo(*size), ["cat", "dog"], trace=True)
    assert result.masks.shape == (2, *size)
    assert result.masks.dtype == np.bool_
    assert result.label_map.shape == size
    assert np.isfinite(result.scores).all()
    for step in result.steps:
        assert step.proposals is not None
        assert step.proposals.dtype == np.float32
        assert step.proposals.shape == (len(step.queries), *size)
        assert 0 <= step.proposals.min() <= step.proposals.max() <= 1


def test_very_large_image() -> None:
    """The patch grid, and with it the attention, stays bounded; the result has the image's size."""
    config = CaRConfig(
        recurrence="once", keep_best=True, crf=None, background=("sky",), prompts=("circle",), max_patches=500
    )
    model, seen = tiny_clip(5, layers=2, logit_scale=10.0), []
    car = CaR(config, proposal_clip=model, classifier_clip=model)
    handle = model.visual.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
    result = car.segment(np.tile(photo(250, 375), (4, 4, 1)), ["cat"])
    handle.remove()
    assert seen == [(18 * 16, 27 * 16), (64, 64)]  # f: 486 of 500 patches in the ratio of 63 to 94; g
    assert result.masks.shape == (1, 1000, 1500)
    assert result.label_map.shape == (1000, 1500)


@pytest.mark.parametrize(
    ("height", "width", "patch", "grid"),
    [
        (375, 500, 16, (24, 32)),
        (384, 512, 16, (24, 32)),
        (385, 513, 16, (25, 33)),
        (1, 1, 14, (1, 1)),
        (14, 15, 14, (1, 2)),
        (1024, 1024, 16, (64, 64)),  # 4096 patches: just fits
    ],
)
def test_grid_that_fits_is_the_smallest_multiple(height: int, width: int, patch: int, grid: tuple[int, int]) -> None:
    assert proposal_size(height, width, (patch, patch), 4096) == grid


def test_grid_that_does_not_fit_is_shrunk() -> None:
    """At most max_patches, never empty, the aspect kept to within a patch, and no smaller than it has to be."""
    rng = np.random.default_rng(0)
    for _ in range(3000):
        height, width = (int(np.exp(value)) for value in rng.uniform(0, np.log(20000), 2))
        patch, most = int(rng.choice([14, 16, 32])), int(rng.choice([1, 50, 1000, 4096]))
        rows, columns = proposal_size(height, width, (patch, patch), most)
        full = -(-height // patch), -(-width // patch)
        assert rows >= 1
        assert columns >= 1
        assert rows * columns <= most
        if full[0] * full[1] <= most:
            assert (rows, columns) == full
            continue
        shrink = (most / (full[0] * full[1])) ** 0.5
        for side, whole in zip((rows, columns), full, strict=True):
            if min(full) * shrink >= 1:
                assert abs(side - whole * shrink) <= 1
        if min(full) * shrink < 1:
            assert min(rows, columns) == 1
            assert max(rows, columns) == min(most, max(full)) or max(rows, columns) >= max(full) * shrink - 1


@pytest.mark.parametrize("position", [0, 2])
def test_batch_names_the_position_before_any_work(car: CaR, position: int) -> None:
    passes: list[Any] = []
    handle = car.proposal_tower.visual.conv1.register_forward_pre_hook(lambda *given: passes.append(given))
    images: list[Any] = [photo(20, 20)] * 3
    queries: list[Any] = [["cat"], ["dog"], ["car"]]
    with pytest.raises(QueryError, match=f"image {position}: .*blank"):
        car.segment_batch(images, [*queries[:position], ["cat", ""], *queries[position + 1 :]])
    with pytest.raises(ImageError, match=f"image {position}: .*float64"):
        car.segment_batch([*images[:position], np.zeros((2, 2, 3)), *images[position + 1 :]], queries)
    handle.remove()
    assert not passes


def test_batch_of_other_lengths(car: CaR) -> None:
    with pytest.raises(QueryError, match="expected 2 lists, found 1"):
        car.segment_batch([photo(20, 20)] * 2, [["cat"]])
    assert car.segment_batch([], []) == []


@pytest.mark.parametrize("profile", ["paper", "released"])
@pytest.mark.parametrize("kind", ["PIL", "read-only array"])
def test_images_that_cannot_be_written_are_refined_all_the_same(profile: Any, kind: str) -> None:
    """PIL hands out read-only arrays, and pydensecrf refuses those."""
    pixels = photo(40, 48)
    pixels.flags.writeable = False
    image = Image.fromarray(pixels) if kind == "PIL" else pixels
    config = CaRConfig(profile=profile, recurrence="none", templates=("a {}.",))
    found = CaR(config, proposal_clip=tiny_clip(0), classifier_clip=tiny_clip(1)).segment(image, ["cat", "dog"])
    writable = CaR(config, proposal_clip=tiny_clip(0), classifier_clip=tiny_clip(1)).segment(
        pixels.copy(), ["cat", "dog"]
    )
    assert found.masks.any()
    np.testing.assert_array_equal(found.masks, writable.masks)
