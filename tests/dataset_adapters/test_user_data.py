"""The user's own data: orientation, names, ignored values, colors, columns, and the comparison with the classes."""

from __future__ import annotations

import pickle
import unicodedata
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from helpers.every_tree import refused
from helpers.made_trees import write_noise, write_png
from PIL import ExifTags, Image

from dataset_adapters import Dataset, DatasetError, SampleError, load
from dataset_adapters.user_data.proof import prove

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 7, 3), dtype=np.uint8)
LABELS = np.random.default_rng(2).choice([0, 1, 2, 255], (4, 7)).astype(np.uint8)
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
"""What a viewer shows of stored pixels with each EXIF orientation."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))


def save(path: Path, pixels: np.ndarray, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def own(root: Path, classes: str = "background\ncat\ndog\n", **options: str) -> Dataset:
    """The data set of root/images and root/masks; the options of `load` by name, those of the data as text."""
    (root / "classes.txt").write_text(classes)
    places = {name: str(root / name) for name in ("images", "masks")}
    split = options.pop("split", None)
    return load("own-folders", ".", split=split, options={**places, "classes": str(root / "classes.txt"), **options})


def own_hf(root: Path, classes: str = "background\ncat\ndog\n", **columns: Any) -> Dataset:
    """The data set of these columns: lists of paths are images, everything else is as it is."""
    (root / "classes.txt").write_text(classes)
    cells, features = {}, {}
    for name, values in columns.items():
        is_image = any(isinstance(value, Path) for value in values)
        cells[name] = [{"bytes": v.read_bytes(), "path": None} if isinstance(v, Path) else v for v in values]
        features[name] = datasets.Image() if is_image else datasets.Value("string")
    datasets.Dataset.from_dict(cells, features=datasets.Features(features)).save_to_disk(root / "hf")
    return load("own-hf", ".", options={"hf": str(root / "hf"), "classes": str(root / "classes.txt")})


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("source", ["folders", "hf"])
def test_images_and_masks_are_read_as_viewers_show_them(tmp_path: Path, orientation: int, source: str) -> None:
    upright = UPRIGHT[orientation]
    image = save(tmp_path / "images" / "a.png", PIXELS, orientation)
    # One mask stored upright, as tools draw it on the shown picture, one with the orientation of its image.
    masks = [save(tmp_path / "masks" / "a.png", np.ascontiguousarray(upright(LABELS)))]
    masks.append(save(tmp_path / "masks" / "a.png" if source == "folders" else tmp_path / "b.png", LABELS, orientation))
    if source == "folders":
        samples = [own(tmp_path)[0]]
        save(tmp_path / "masks" / "a.png", np.ascontiguousarray(upright(LABELS)))
        samples.append(own(tmp_path)[0])
    else:
        samples = list(own_hf(tmp_path, image=[image, image], mask=masks))
    assert len(samples) == 2
    for sample in samples:
        np.testing.assert_array_equal(sample.image, upright(PIXELS))
        np.testing.assert_array_equal(sample.target, upright(LABELS))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_of_the_stored_image_says_so(tmp_path: Path, orientation: int) -> None:
    save(tmp_path / "images" / "a.png", PIXELS, orientation)
    save(tmp_path / "masks" / "a.png", LABELS)
    hf = own_hf(tmp_path, image=[tmp_path / "images" / "a.png"], mask=[tmp_path / "masks" / "a.png"])
    for dataset in (own(tmp_path), hf):
        with pytest.raises(SampleError, match=r"its image, 4 x 7, found 7 x 4, which fits only the other orientation"):
            dataset[0]


def test_a_mask_of_another_size_says_nothing_of_orientation(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", PIXELS)
    save(tmp_path / "masks" / "a.png", np.ascontiguousarray(LABELS.T))
    with pytest.raises(SampleError, match=r"its image, 7 x 4, found 4 x 7$"):
        own(tmp_path)[0]


def test_official_data_sets_are_read_as_stored(voc: Any) -> None:
    sample_id = voc.load().ids[0]
    stored = np.array(Image.open(voc.image_path(sample_id)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(stored).save(voc.image_path(sample_id), exif=exif, quality=95)
    decoded = np.array(Image.open(voc.image_path(sample_id)))
    np.testing.assert_array_equal(voc.load()[0].image, decoded)
    mask = Image.open(voc.mask_path(sample_id))
    assert mask.width != mask.height
    mask.rotate(90, expand=True).save(voc.mask_path(sample_id))
    with pytest.raises(SampleError, match="which fits only the other orientation"):
        voc.load()[0]


NFC, NFD = unicodedata.normalize("NFC", "café é"), unicodedata.normalize("NFD", "café é")


@pytest.mark.parametrize(("image", "mask"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_names_are_paired_in_every_unicode_form(tmp_path: Path, image: str, mask: str) -> None:
    write_png(tmp_path / "images" / f"{image}.png", LABELS)
    write_png(tmp_path / "masks" / f"{mask}.png", LABELS)
    assert own(tmp_path).ids == (image,)
    for written in (NFC, NFD):
        (tmp_path / "ids.txt").write_text(written)
        dataset = own(tmp_path, split=str(tmp_path / "ids.txt"))
        np.testing.assert_array_equal(dataset[0].target, LABELS)


def test_two_files_that_differ_in_unicode_form_only_are_refused(tmp_path: Path) -> None:
    for name in (NFC, NFD):
        write_png(tmp_path / "images" / f"{name}.png", LABELS)
    write_png(tmp_path / "masks" / f"{NFC}.png", LABELS)
    message = refused(lambda: own(tmp_path))
    assert "images: expected one file of each stem" in message
    assert message.endswith(", two Unicode forms of one name")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a 1", "2 words"),
        ("a\t1", "2 words"),
        ("a,1,2", "3 words"),
        ("images/a.png masks/a.png", "2 words"),
        ("images/a", "a path"),
        ("images\\a", "a path"),
        ("a.png", "a file name"),
    ],
)
def test_a_split_with_columns_paths_or_suffixes_is_named(voc: Any, tmp_path: Path, line: str, found: str) -> None:
    write_png(tmp_path / "images" / "a.png", LABELS)
    write_png(tmp_path / "masks" / "a.png", LABELS)
    (tmp_path / "ids.txt").write_text(f"a\n\n{line}\n")
    message = refused(lambda: own(tmp_path, split=str(tmp_path / "ids.txt")))
    expected = f"line 3: expected one id per line, without folder and suffix, found {found}: {line!r}"
    assert message == f"{tmp_path / 'ids.txt'}: {expected}"
    voc.write_split(f"{voc.load().ids[0]}\n\n{line}\n")
    assert refused(voc.load).endswith(f"val.txt: {expected}")


def test_names_with_blanks_and_commas_may_stand_in_a_split(tmp_path: Path) -> None:
    for name in ("a  b, c", "d.png"):
        write_png(tmp_path / "images" / f"{name}.png", LABELS)
        write_png(tmp_path / "masks" / f"{name}.png", LABELS)
    (tmp_path / "ids.txt").write_text("d.png\na  b, c\n")
    assert own(tmp_path, split=str(tmp_path / "ids.txt")).ids == ("d.png", "a  b, c")


def write_pair(root: Path, labels: np.ndarray, stem: str = "a") -> None:
    write_noise(root / "images" / f"{stem}.png", *labels.shape[:2])
    write_png(root / "masks" / f"{stem}.png", labels)


@pytest.mark.parametrize(
    ("classes", "option", "meaning"),
    [
        ("0: background\n1: cat\n2: dog\n", "", {0: "background", 1: "cat", 2: "dog", 255: None}),
        ("0: background\n1: cat\n2: dog\n", "2", {0: "background", 1: "cat", 2: None, 255: "unlisted"}),
        ("0: background\n1: cat\n2: dog\n255: cow\n", "", {0: "background", 1: "cat", 2: "dog", 255: "cow"}),
        ("0: background\n1: cat\n2: dog\n255: cow\n", "0", {0: None, 1: "cat", 2: "dog", 255: "cow"}),
        ("0: background\n1: cat\n2: dog\n", "none", {0: "background", 1: "cat", 2: "dog", 255: "unlisted"}),
    ],
)
def test_ignored_values_are_the_ignore_label(
    tmp_path: Path, classes: str, option: str, meaning: dict[int, str | None]
) -> None:
    write_pair(tmp_path, LABELS)
    dataset = own(tmp_path, classes, ignore_value=option)
    if "unlisted" in meaning.values():
        with pytest.raises(SampleError, match="found 255"):
            dataset[0]
        write_png(tmp_path / "masks" / "a.png", np.where(LABELS == 255, 1, LABELS))
        dataset = own(tmp_path, classes, ignore_value=option)
    stored, sample = np.array(Image.open(tmp_path / "masks" / "a.png")), dataset[0]
    for value, name in meaning.items():
        for label in np.unique(sample.target[stored == value]):
            found = None if label == dataset.label_space.ignore_label else dataset.label_space.labels[label]
            assert found == name


def test_only_another_ignored_value_is_another_data_set(tmp_path: Path) -> None:
    write_pair(tmp_path, LABELS)
    usual, named, none, other = (own(tmp_path, ignore_value=text).fingerprint for text in ("", "255", "none", "7"))
    assert usual == named
    assert len({usual, none, other}) == 3


COLORS = "background,0,0,0\ncat,40,216,168\ndog,188,68,124\n"
PALETTE = np.array([[0, 0, 0], [40, 216, 168], [188, 68, 124]], np.uint8)


def color_mask(kind: str, labels: np.ndarray) -> Image.Image:
    if kind == "RGB":
        return Image.fromarray(PALETTE[labels])
    if kind == "RGBA":
        return Image.fromarray(np.dstack([PALETTE[labels], np.full(labels.shape, 255, np.uint8)]))
    if kind == "palette in another order":
        image = Image.fromarray(np.array([2, 0, 1], np.uint8)[labels])  # entry k has the color of class (k + 1) % 3
        image.putpalette(PALETTE[[1, 2, 0]].tobytes())
        return image
    if kind == "palette of other colors":
        image = Image.fromarray(labels.astype(np.uint8))
        image.putpalette(bytes(range(9, 18)))
        return image
    return Image.fromarray(labels.astype(np.uint8))


@pytest.mark.parametrize(
    "kind", ["RGB", "RGBA", "palette in another order", "palette of other colors", "stored values"]
)
def test_masks_are_read_by_the_colors_of_the_list(tmp_path: Path, kind: str) -> None:
    labels = np.random.default_rng(3).integers(0, 3, (5, 6))
    write_pair(tmp_path, labels)
    color_mask(kind, labels).save(tmp_path / "masks" / "a.png")
    np.testing.assert_array_equal(own(tmp_path, COLORS)[0].target, labels)


def test_mask_colors_unlisted_or_without_list_are_named(tmp_path: Path) -> None:
    pixels = PALETTE[np.zeros((5, 6), int)]
    pixels[2, 3] = 1, 2, 3
    write_pair(tmp_path, np.zeros((5, 6)))
    Image.fromarray(pixels).save(tmp_path / "masks" / "a.png")
    with pytest.raises(SampleError, match="expected only colors of the list of classes, found 1,2,3"):
        own(tmp_path, COLORS)[0]
    with pytest.raises(SampleError, match="found mode RGB; colors need a list of classes that has them"):
        own(tmp_path)[0]


def test_palette_reordered_with_unlisted_color_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, np.zeros((1, 3)))
    image = Image.fromarray(np.array([[1, 2, 9]], np.uint8))  # cat and dog by color; dog and no class by value
    image.putpalette(PALETTE[[0, 2, 1]].tobytes() + bytes([1, 2, 3] * 7))
    image.save(tmp_path / "masks" / "a.png")
    with pytest.raises(SampleError, match="expected only colors of the list of classes, found 1,2,3"):
        own(tmp_path, COLORS)[0]
    image.putpalette(PALETTE.tobytes() + bytes([1, 2, 3] * 7))  # value and color agree; 9 is read by value
    image.save(tmp_path / "masks" / "a.png")
    with pytest.raises(SampleError, match=r"expected labels 0\.\.2, 255, found 9"):
        own(tmp_path, COLORS)[0]


def test_palette_ignored_value_stays_ignored_in_any_color(tmp_path: Path) -> None:
    write_pair(tmp_path, np.zeros((1, 4)))
    image = Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8))
    image.putpalette(PALETTE.tobytes() + bytes(759))  # the rest is black, as is background
    image.save(tmp_path / "masks" / "a.png")
    assert own(tmp_path, COLORS)[0].target.tolist() == [[0, 1, 2, 255]]


def test_a_damaged_mask_stays_damaged_with_colors(tmp_path: Path) -> None:
    stream = BytesIO()
    color_mask("RGB", np.random.default_rng(5).integers(0, 3, (30, 30))).save(stream, "png")
    write_pair(tmp_path, np.zeros((30, 30)))
    (tmp_path / "masks" / "a.png").write_bytes(stream.getvalue()[:120])
    with pytest.raises(SampleError, match="cannot be decoded"):
        own(tmp_path, COLORS)[0]


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".TIFF"])
def test_masks_may_be_bmp_or_tiff_where_there_is_no_png(tmp_path: Path, suffix: str) -> None:
    write_pair(tmp_path, LABELS)
    (tmp_path / "masks" / "a.png").unlink()
    Image.fromarray(LABELS).save(tmp_path / "masks" / f"a{suffix}")
    np.testing.assert_array_equal(own(tmp_path)[0].target, LABELS)
    write_png(tmp_path / "masks" / "a.png", np.ones_like(LABELS))
    np.testing.assert_array_equal(own(tmp_path)[0].target, np.ones_like(LABELS))


def test_masks_that_lose_values_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, LABELS)
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "a.jpg")
    assert refused(lambda: own(tmp_path)).endswith(f"*.png, *.bmp, *.tif, *.tiff in {tmp_path / 'masks'}, found a.jpg")


def test_the_comparison_names_what_does_not_fit(tmp_path: Path) -> None:
    write_pair(tmp_path, np.array([[0, 1], [1, 255]]), "a")
    write_pair(tmp_path, np.array([[0, 4], [5, 255]]), "b")
    write_pair(tmp_path, np.array([[4, 4], [4, 4]]), "c")
    assert prove(own(tmp_path, "cat\nbackground\ndog\n")) == [
        f"{tmp_path / 'classes.txt'}: read as names, numbered from 0: 3 classes",
        "values in the 3 masks: 0 cat, 1 background, 4 unlisted, 5 unlisted, 255 ignored",
        "no pixel of dog (2) in the 3 masks; in miou such a class counts as 0 if it is predicted anywhere",
        "no class has the value 4 (2 masks, first b), 5 (1 mask, first b): such a mask is a failed sample",
    ]


def test_proof_names_unused_ignored_value_and_broken_masks(tmp_path: Path) -> None:
    write_pair(tmp_path, np.array([[0, 1]]), "a")
    write_pair(tmp_path, np.array([[0, 1]]), "b")
    (tmp_path / "masks" / "b.png").write_bytes(b"no picture")
    assert prove(own(tmp_path, ignore_value="7"))[-2:] == [
        "the ignored value 7 is in none of the 2 masks",
        "1 of the 2 masks cannot be read, first that of b: expected an image file, found an unknown format",
    ]


@pytest.mark.parametrize(
    ("labels", "classes", "option", "message"),
    [
        (
            [0, 255],
            "background\ncat\n",
            "",
            "found only the values 0 background, 255 ignored in the only mask; to score",
        ),
        ([0, 0], "background\ncat\n", "", "such as cat, found only the values 0 background in the only mask"),
        ([0, 1], "background\ncat\ndog\n", "1", "such as dog, found only the values 0 background, 1 ignored"),
        (
            [0, 2],
            "cat\ndog\n",
            "",
            "values that no class has are in the only mask: 0 cat, 2 unlisted; if 0 means background",
        ),
        ([0, 255], "background\ncat\n", "none", "255 unlisted; to score 255, write the list with values: `0: backgr"),
        (
            [0, 1],
            "1: cat\n2: dog\n",
            "",
            "1 cat; if 0 means background, list `0: background`, or pass --ignore",
        ),
        (
            [1, 2],
            "cat\ndog\n",
            "",
            "1 dog, 2 unlisted; if the first class is 1 in the masks, list background before it",
        ),
        ([0, 255], "cat\ndog\n", "none", "values that no class has are in the only mask: 0 cat, 255 unlisted"),
    ],
)
def test_lists_by_which_nothing_could_be_scored_are_refused(
    tmp_path: Path, labels: list[int], classes: str, option: str, message: str
) -> None:
    write_pair(tmp_path, np.array([labels]))
    assert message in refused(lambda: prove(own(tmp_path, classes, ignore_value=option)))


def test_masks_of_which_none_can_be_read_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, np.zeros((2, 2)))
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "masks" / "a.png")
    message = refused(lambda: prove(own(tmp_path)))
    assert message.startswith(
        "masks: expected label maps that can be read, found none in the only mask, first that of a:"
    )


def test_a_list_in_order_without_background_says_what_0_means(tmp_path: Path) -> None:
    write_pair(tmp_path, np.array([[0, 1]]))
    said = "values in the only mask: 0 cat, 1 dog"
    assert prove(own(tmp_path, "cat\ndog\n"))[1] == f"{said}; if 0 means background, put `background` on the first line"
    assert prove(own(tmp_path, "0: cat\n1: dog\n"))[1] == said


def test_a_part_of_the_data_need_not_have_a_class(tmp_path: Path) -> None:
    write_pair(tmp_path, np.array([[0, 0]]), "a")
    write_pair(tmp_path, np.array([[0, 1]]), "b")
    dataset = own(tmp_path, "background\ncat\n")
    assert prove(dataset[:1])[-1].startswith("no pixel of cat (1)")
    assert prove(dataset[1:])[1] == "values in the only mask: 0 background, 1 cat"


def test_proof_reads_masks_up_to_the_limit_once(tmp_path: Path) -> None:
    for n in range(7):
        write_pair(tmp_path, np.array([[0, n % 3]]), str(n))
    dataset = own(tmp_path)
    lines = prove(dataset, 3)
    assert lines[1] == "values in 3 of 7 masks: 0 background"  # 0, 3 and 6
    assert lines[2].startswith("no pixel of cat (1), dog (2) in 3 of 7 masks;")
    (tmp_path / "masks").rename(tmp_path / "elsewhere")
    assert prove(dataset, 3) == lines
    (tmp_path / "elsewhere").rename(tmp_path / "masks")
    for kept in dataset.index_path.parents[1].glob("mask-values/*"):
        kept.write_text("{")
    assert prove(dataset)[1] == "values in the 7 masks: 0 background, 1 cat, 2 dog"


def test_the_comparison_is_for_own_data_only(voc: Any) -> None:
    assert prove(voc.load()) == []


def files(root: Path) -> tuple[list[Path], list[Path]]:
    for stem in ("a", "b"):
        write_pair(root, LABELS, stem)
    return tuple([root / kind / f"{stem}.png" for stem in ("a", "b")] for kind in ("images", "masks"))  # type: ignore


def test_a_row_is_read_once_for_image_and_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, masks = files(tmp_path)
    Image.fromarray(255 - np.array(Image.open(images[1]))).save(images[1])
    dataset, read, original = own_hf(tmp_path, image=images, mask=masks), [], datasets.Dataset.__getitem__
    monkeypatch.setattr(datasets.Dataset, "__getitem__", lambda own, key: read.append(key) or original(own, key))
    for position in (0, 1, 0):
        np.testing.assert_array_equal(dataset[position].image, np.array(Image.open(images[position])))
    assert read == [0, 1, 0]


def test_columns_are_chosen_by_type_before_name(tmp_path: Path) -> None:
    images, masks = files(tmp_path)
    columns = {"image": ["x", "y"], "img": images, "mask": ["cat", "dog"], "label": ["in", "out"], "annotation": masks}
    dataset = own_hf(tmp_path, **columns)
    np.testing.assert_array_equal(dataset[1].target, LABELS)
    np.testing.assert_array_equal(dataset[1].image, np.array(Image.open(images[1])))


def test_paths_are_columns_where_there_are_no_images(tmp_path: Path) -> None:
    images, masks = files(tmp_path)
    dataset = own_hf(tmp_path, image=[str(path) for path in images], label=[str(path) for path in masks])
    np.testing.assert_array_equal(dataset[1].target, LABELS)


def test_an_error_about_columns_names_the_option_and_the_types(tmp_path: Path) -> None:
    images, _ = files(tmp_path)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["in", "out"])})
    cells = {"image": [{"bytes": images[0].read_bytes(), "path": None}], "label": [0]}
    datasets.Dataset.from_dict(cells, features=features).save_to_disk(tmp_path / "hf")
    (tmp_path / "classes.txt").write_text("cat\n")
    places = {"hf": str(tmp_path / "hf"), "classes": str(tmp_path / "classes.txt")}
    message = refused(lambda: load("own-hf", ".", options=places))
    assert message.startswith("mask_column: expected a column of images, named or one of mask, label, annotation, ")
    assert ", found the columns image (Image), label (ClassLabel)" in message
    message = refused(lambda: load("own-hf", ".", options={**places, "mask_column": "label"}))
    assert message.startswith("mask_column: column label: expected encoded images, found ClassLabel")


def test_hf_given_two_folders_names_the_options(tmp_path: Path) -> None:
    files(tmp_path / "both")
    (tmp_path / "classes.txt").write_text("cat\n")
    places = {"hf": str(tmp_path / "both"), "classes": str(tmp_path / "classes.txt")}
    assert refused(lambda: load("own-hf", ".", split="train", options=places)).endswith("see --images and --masks")


def test_empty_cells_are_failures_that_say_so(tmp_path: Path) -> None:
    (image, _), (mask, _) = files(tmp_path)
    dataset = own_hf(tmp_path, id=["x", None, "z"], image=[image, None, image], mask=[mask, mask, None])
    assert dataset.ids == ("row0", "row1", "row2")
    np.testing.assert_array_equal(dataset[0].target, LABELS)
    for n, column in ((1, "image"), (2, "mask")):
        with pytest.raises(SampleError, match=f"row {n}, column {column}: expected an image file, found an empty cell"):
            dataset[n]
    assert prove(dataset)[-1].startswith("1 of the 3 masks cannot be read, first that of row2: ")


def test_color_masks_of_a_cell_are_read_by_color(tmp_path: Path) -> None:
    labels = np.random.default_rng(4).integers(0, 3, LABELS.shape)
    (image, _), (mask, _) = files(tmp_path)
    color_mask("RGB", labels).save(mask)
    np.testing.assert_array_equal(own_hf(tmp_path, COLORS, image=[image], mask=[mask])[0].target, labels)


def test_a_missing_folder_is_named_among_those_that_are_there(voc: Any) -> None:
    (voc.root / "SegmentationClass").rename(voc.root / "Masks")
    expected = f"data_root: {voc.root}: expected the folders JPEGImages, SegmentationClass, found no SegmentationClass"
    assert refused(lambda: load("voc21", voc.root.parent)) == expected


def test_a_missing_folder_of_splits_is_named(voc: Any) -> None:
    (voc.root / "ImageSets").rename(voc.root / "Sets")
    assert "ImageSets/Segmentation (no such folder), found 'val'" in refused(voc.load)


@pytest.mark.parametrize("name", ["masks.pandas", "masks.pickle", "masks.text", "masks"])
def test_a_file_is_given_to_a_reader_of_data_alone(tmp_path: Path, name: str) -> None:
    """`datasets` takes a suffix for the name of a reader; that of pandas runs what is in the file."""
    (tmp_path / name).write_bytes(pickle.dumps(Path("x")))
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    with pytest.raises(DatasetError, match=r"expected a file of the type \.parquet, \.arrow, .* found '"):
        load("own-hf", ".", options={"hf": str(tmp_path / name), "classes": str(tmp_path / "classes.txt")})
