"""``car segment``: pictures, COCO JSON read back by pycocotools, folders, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from typer.testing import CliRunner, Result

from car_core import CaR, CaRConfig
from car_core.segmentation import Segmentation, Step
from dataset_adapters.formats import images
from dataset_adapters.formats.images import ImageFileError, read_image
from evaluation.cli.app import app
from evaluation.pictures.explain import explained_text, summary_line
from evaluation.pictures.image_files import OutputPaths, find_images, split_places, unused

QUERIES = ["Pepsi", "Coca Cola", "[red]<b>odd</b>"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, size in (("one.jpg", (40, 56)), ("two.png", (64, 48))):
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def segment(tiny_model: Path) -> Any:
    def run(place: Path | str, *more: str) -> Result:
        models = [f"--set={role}_model={tiny_model}" for role in ("proposal", "classifier")]
        own = ["segment", str(place), *QUERIES, "--weights=random:1", "--set=theta=0.3", "--device=cpu", *models, *more]
        return CliRunner().invoke(app, own)

    return run


def test_json_holds_the_masks_of_the_library(segment: Any, photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = segment(photos / "one.jpg", "--json", str(tmp_path / "masks.json"))
    assert result.exit_code == 0
    config = CaRConfig(proposal_model=str(tiny_model), classifier_model=str(tiny_model), theta=0.3)
    found = CaR.from_config(config, weights="random:1").segment(Image.open(photos / "one.jpg"), QUERIES)
    coco = COCO(tmp_path / "masks.json")
    assert [coco.cats[i + 1]["name"] for i in range(3)] == QUERIES
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [entry["category_id"] - 1 for entry in annotations] == list(found.kept)
    assert annotations
    for entry, index in zip(annotations, found.kept, strict=True):
        np.testing.assert_array_equal(coco.annToMask(entry).astype(bool), found.masks[index])
        assert entry["area"] == found.masks[index].sum()
        assert entry["score"] == pytest.approx(found.scores[index])
    steps = coco.imgs[1]["steps"]
    assert [step["kept"] for step in steps] == [[i + 1 for i in step.kept] for step in found.steps]


def test_the_merged_mask_of_referring_mode(segment: Any, photos: Path) -> None:
    result = segment(photos / "one.jpg", "--json", "-", "--mode=referring")
    document = json.loads(result.stdout)
    merged = coco_mask.decode(document["images"][0]["merged_mask"])
    assert merged.shape == (40, 56)


def test_pictures_of_one_image(segment: Any, photos: Path, tmp_path: Path) -> None:
    out, steps = tmp_path / "new" / "out.png", tmp_path / "steps.webp"
    result = segment(photos / "one.jpg", "-o", str(out), "--steps", str(steps))
    assert result.exit_code == 0
    assert Image.open(out).width == 640
    assert Image.open(steps).width > 1000
    assert result.stdout.count("\n") == 1
    assert "[red]<b>odd</b>" in result.stdout


def test_a_folder_goes_on_past_a_broken_image(segment: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"not a picture")
    result = segment(photos, "-o", str(tmp_path / "out"), "--json", str(tmp_path / "masks.json"))
    assert result.exit_code == 3
    profile, error = result.stderr.splitlines()[:2]
    assert profile == "profile: released"
    assert error.startswith("error: ")
    assert "broken.jpg" in error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "two.png"]
    assert len(json.loads((tmp_path / "masks.json").read_text())["images"]) == 2


def test_an_image_that_failed_once_is_not_read_again(
    segment: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it is whole by then: what is segmented and what the exit status says must not differ."""
    asked: list[str] = []

    def read(path: Path, **how: Any) -> Any:
        asked.append(path.name)
        if asked == ["one.jpg"]:
            raise ImageFileError(path, "not yet whole")
        return read_image(path, **how)

    monkeypatch.setattr(images, "read_image", read)
    result = segment(photos, "-o", str(tmp_path / "out"))
    assert result.exit_code == 3
    assert asked.count("one.jpg") == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: {photos / 'one.jpg'}: not yet whole"
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["two.png"]


def test_patterns_and_folders(photos: Path) -> None:
    assert [path.name for path in find_images(str(photos))] == ["one.jpg", "two.png"]
    assert [path.name for path in find_images(f"{photos}/*.png")] == ["two.png"]
    assert [path.name for path in find_images(f"{photos.parent}/**/o*.jpg")] == ["one.jpg"]


def test_the_recurrence_in_words(segment: Any, photos: Path) -> None:
    text = segment(photos / "one.jpg", "--explain").stdout
    assert "step 1: 3 queries alive, " in text
    assert "theta 0.3" in text
    assert "[red]<b>odd</b>" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("place", "more", "expected"),
    [
        ("nowhere.jpg", [], "found no image at"),
        ("*.gif", [], "found no image at"),
        ("one.jpg", ["{photos}/two.png"], "phrase: expected a text to look for, found the file"),
        (".", ["-o", "new.png"], "-o: expected a folder for 2 images, found the name of a picture, new.png"),
        ("one.jpg", ["-o", "out.mp4"], "-o out.mp4: expected a video, or --fps N for"),
        ("one.jpg", ["--fps=5"], "--fps: expected several images, the frames of a video, found one"),
        ("one.jpg", ["--carry"], "--carry: expected a video, or --fps N for images that are its frames"),
        ("one.jpg", ["--set=carry_queries=true"], "--carry: expected a video"),
        ("one.jpg", ["--label-maps=x"], "--label-maps: expected a video"),
        ("one.jpg", ["-o", "out.docx"], "expected a picture file"),
        ("one.jpg", ["-o", "out.psd"], "-o: expected a picture file"),
        ("one.jpg", ["--steps", "out.xbm"], "--steps: expected a picture file"),
        ("one.jpg", ["--json", "{photos}"], "--json: expected a file, found the folder"),
        ("one.jpg", ["--json", "{photos}/one.jpg"], "the image's own"),
        ("one.jpg", ["--weights=~nosuch/x.pt"], "expected a file at ~nosuch/x.pt, found none"),
        ("one.jpg", ["-o", "{photos}/one.jpg"], "the image's own"),
        (".", ["-o", "{photos}/notes.txt"], "expected a folder for 2 images"),
        ("one.jpg", ["--set=eta=2"], "eta: expected at most 1, found 2"),
        ("one.jpg", ["--set=mode=referring"], "--mode"),
        ("one.jpg", ["--set=etaa=0.5"], "did you mean eta"),
        ("one.jpg", ["--weights=missing.safetensors"], "missing.safetensors"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    segment: Any, photos: Path, place: str, more: list[str], expected: str
) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    result = segment(photos / place, *(text.replace("{photos}", str(photos)) for text in more))
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert expected in result.stderr
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


def test_the_home_folder_of_nobody_is_not_there() -> None:
    result = CliRunner().invoke(app, ["segment", "~nosuch/q.jpg", "cat"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "found no image at '~nosuch/q.jpg'" in result.stderr


def test_a_phrase_that_is_kept_without_a_pixel_says_so(photos: Path) -> None:
    masks, step = np.zeros((2, 4, 5), np.bool_), Step((0, 1), np.array([0.9, 0.8], np.float32), (0, 1))
    masks[1, :2] = True
    found = Segmentation(
        ("cat", "dog"), masks, step.scores, (0, 1), np.zeros((4, 5), np.int32), (step,), config=CaRConfig()
    )
    expected = "kept cat 0.90 (its mask is empty), dog 0.80 (50.0 % of the image)"
    assert summary_line(Path("a.png"), found) == f"a.png: {expected}"
    assert explained_text(Path("a.png"), found).splitlines()[-2] == f"stable after 1 step: {expected}"


def test_a_score_just_below_theta_is_told_from_it() -> None:
    step = Step((0, 1, 2), np.array([0.59996, 0.6, 0.5999], np.float32), (1,))
    masks = np.zeros((3, 4, 5), np.bool_)
    found = Segmentation(
        ("near", "equal", "far"),
        masks,
        step.scores,
        (1,),
        np.zeros((4, 5), np.int32),
        (step,),
        config=CaRConfig(theta=0.6),
    )
    lines = dict(line.split()[:2] for line in explained_text(Path("a.png"), found).splitlines() if "|" in line)
    assert (lines["near"], lines["far"]) == ("0.59996", "0.5999")


@pytest.mark.parametrize("mode", ["semantic", "referring"])
def test_one_phrase_alone_is_told_what_its_score_is_worth(tiny_model: Path, photos: Path, mode: str) -> None:
    models = [f"--set={role}_model={tiny_model}" for role in ("proposal", "classifier")]
    own = ["--weights=random:1", f"--mode={mode}", "--device=cpu", "--json=-", *models]
    alone, beside = (
        CliRunner().invoke(app, ["segment", str(photos / "one.jpg"), *queries, *own])
        for queries in (["cat"], ["cat", "dog"])
    )
    [annotation] = json.loads(alone.stdout)["annotations"]
    assert annotation["score"] == 1
    profile, line = alone.stderr.splitlines()
    assert line.startswith("notice: a single phrase always scores 1.00, whatever the picture; add competing phrases")
    assert (beside.exit_code, beside.stderr) == (0, f"{profile}\n")
    (photos / "one.jpg").write_bytes(b"not a picture")
    unread = CliRunner().invoke(app, ["segment", str(photos / "one.jpg"), "cat", *own])
    assert (unread.exit_code, unread.stderr.count("\n")) == (3, 1)


def test_a_pipe_gets_lines_that_are_neither_wrapped_nor_padded(tiny_model: Path, photos: Path) -> None:
    models = [f"--set={role}_model={tiny_model}" for role in ("proposal", "classifier")]
    queries = [f"a phrase that is rather long, in fact much longer than others, {number}" for number in range(4)]
    own = ["segment", str(photos / "one.jpg"), *queries, "--explain", "--weights=random:1", "--set=theta=0.9", *models]
    text = CliRunner().invoke(app, own, env={"COLUMNS": "60"}).stdout
    assert all(line == line.rstrip() for line in text.splitlines())
    for query in queries:
        assert any(line.startswith(query) for line in text.splitlines())
    [last] = [line for line in text.splitlines() if line.startswith(("stable", "no query"))]
    assert all(query in last for query in queries)


def test_names_of_files_cannot_steer_the_terminal(segment: Any, photos: Path, tmp_path: Path) -> None:
    odd, shown = "a\x1b[31m\u202eb", "a\\u{1b}[31m\\u{202e}b"
    image = (photos / "one.jpg").rename(photos / f"{odd}.jpg")
    out, document = tmp_path / f"{odd}.png", tmp_path / f"{odd}.json"
    result = segment(image, "-o", str(out), "--json", str(document), "--explain")
    assert out.exists()
    assert document.exists()
    refused = segment(photos, "-o", str(out))
    for text in (result.stdout, result.stderr, refused.stderr):
        assert shown in text
        assert not {"\x1b", "\u202e"} & set(text)
    assert result.stderr.count(f"{shown}.png") == result.stderr.count(f"{shown}.json") == 1


def test_queries_that_cannot_be_segmented_are_refused(photos: Path, tiny_model: Path) -> None:
    models = [f"--set={role}_model={tiny_model}" for role in ("proposal", "classifier")]
    arguments = ["segment", str(photos / "one.jpg"), "cat", "cat", "--weights=random:1", *models]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "found 'cat' again" in result.stderr


def test_it_says_what_was_written(segment: Any, photos: Path, tmp_path: Path) -> None:
    one, steps, masks = tmp_path / "one.png", tmp_path / "steps", tmp_path / "new" / "masks.json"
    result = segment(photos / "one.jpg", "-o", str(one), "--json", str(masks))
    assert result.stderr.splitlines()[1:] == [f"written: {path}" for path in (one, masks)]
    both = segment(photos, "--steps", str(steps))
    assert [line for line in both.stderr.splitlines() if line.startswith("written")] == [
        f"written: {steps / name}.png" for name in ("one", "two")
    ]


@pytest.fixture
def run(tiny_model: Path) -> Any:
    models = [f"--set={role}_model={tiny_model}" for role in ("proposal", "classifier")]
    own = ["--weights=random:1", "--device=cpu", *models]
    return lambda *words: CliRunner().invoke(app, ["segment", *map(str, words), *own])


def test_several_images_with_phrases_by_option(run: Any, photos: Path, tmp_path: Path) -> None:
    images = [photos / "two.png", photos / "one.jpg"]
    result = run(*images, "-p", "cat", "-p", "a red, small dog", "-o", tmp_path / "out", f"--json={tmp_path}/a.json")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == (
        "notice: 'a red, small dog' is one phrase; separate phrases are separate arguments, as in cat dog"
    )
    document = json.loads((tmp_path / "a.json").read_text())
    assert [image["file_name"] for image in document["images"]] == list(map(str, images))
    assert [category["name"] for category in document["categories"]] == ["cat", "a red, small dog"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "two.png"]


def test_an_unquoted_pattern_is_no_list_of_phrases(run: Any, photos: Path) -> None:
    result = run(photos / "one.jpg", photos / "two.png", "cat")
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: phrase: expected a text to look for, found the file '{photos / 'two.png'}'; several images are "
        "segmented with car segment IMAGES... -p PHRASE -p PHRASE\n"
    )
    assert split_places(["a.jpg"], [str(photos / "two.png")]) == (["a.jpg"], [str(photos / "two.png")])  # as said by -p
    alone = run(photos / "one.jpg")
    assert (alone.exit_code, alone.stderr.count("\n")) == (2, 1)
    assert "phrase: expected at least one" in alone.stderr


def test_what_shells_make_of_phrases_is_told(run: Any, photos: Path) -> None:
    first = next(photos.glob("*.png"))
    assert run("cat", first).stderr == (
        f"error: image: expected the picture first, found it last: car segment {first} cat ...\n"
    )
    assert run(first, "", "cat").stderr == "error: argument 2: expected a value, found an empty one\n"
    told = run(first, "a", "cat", "--json", photos / "found.json").stderr
    assert "notice: 2 phrases: a | cat; quote a phrase of several words\n" in told


@pytest.mark.parametrize("place", ["*.jpg", "one.jpg"])
def test_a_folder_is_a_folder_however_many_images_there_are(run: Any, photos: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "there", f"{tmp_path}/new/"):
        assert run(photos / place, "cat", "dog", "-o", out).exit_code == 0
        assert [path.name for path in Path(out).iterdir()] == ["one.png"]


def test_a_pattern_with_one_match_may_have_a_new_folder(run: Any, photos: Path, tmp_path: Path) -> None:
    assert run(f"{photos}/*.jpg", "cat", "dog", "-o", tmp_path / "new").exit_code == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.png"]


def test_without_a_path_pictures_are_new_files_beside(run: Any, photos: Path) -> None:
    (photos / "one-masks.png").write_text("mine")
    for number in (2, 3):
        result = run(photos / "one.jpg", "cat", "dog")
        assert result.stderr.splitlines()[1:] == [f"written: {photos}/one-masks-{number}.png"]
    assert (photos / "one-masks.png").read_text() == "mine"
    (photos / "one-masks.png").unlink()
    assert Image.open(photos / "one-masks-2.png").width == 640
    for path in photos.glob("*-masks-*"):
        path.unlink()
    for number in ("", "-2"):  # a folder of them is no input of the next start
        result = run(photos, "cat", "dog")
        assert [line for line in result.stderr.splitlines() if line.startswith("written: ")] == [
            f"written: {photos}/car-masks/{name}{number}.png" for name in ("one", "two")
        ]


def test_a_link_to_nothing_is_no_unused_name(tmp_path: Path) -> None:
    (tmp_path / "clip-masks.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    assert unused(tmp_path / "clip-masks.mp4") == tmp_path / "clip-masks-2.mp4"


def test_in_a_folder_of_inputs_only_new_files_are_planned(tmp_path: Path) -> None:
    photos, other = tmp_path / "photos", tmp_path / "other"
    for path in (photos / "a.jpg", photos / "a.png", photos / "b-steps.png", other / "b.jpg"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (tmp_path / "link").symlink_to(photos)
    images = [photos / "a.jpg", other / "b.jpg"]
    planned = OutputPaths.planned(images, masks=str(tmp_path / "link"), steps=str(photos), many=True)
    assert {path.name for path in planned.masks.values()} == {"a-masks.png", "b-masks.png"}
    assert {path.name for path in planned.steps.values()} == {"a-steps.png", "b-steps-2.png"}
    elsewhere = OutputPaths.planned(images, masks=str(tmp_path), steps=None, many=True)
    assert {path.name for path in elsewhere.masks.values()} == {"a.png", "b.png"}
