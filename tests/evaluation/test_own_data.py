"""Runs over data of the user's own: folders of label maps, and Hugging Face data sets on disk."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
from helpers.made_trees import write_noise, write_png
from PIL import Image
from pycocotools import mask as coco_mask
from sklearn.metrics import confusion_matrix
from typer.testing import CliRunner, Result

from car_core import CaR
from dataset_adapters import DatasetError, SampleError, load
from dataset_adapters.user_data.classes import read_class_list
from evaluation.cli.app import app
from evaluation.request.benchmark import load_benchmark, resolve_config
from evaluation.request.user_data import kind_of

CLASSES = "0: background\n3: cat; kitten\n9: dog\n"
MEANING = {0: "background", 3: "cat", 9: "dog"}


@dataclass
class OwnTree:
    """images/, masks/ and classes.txt below `root`; the labels of each mask as written."""

    root: Path
    model: Path
    labels: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, stem: str, suffix: str = ".jpg", height: int = 32, width: int = 40) -> None:
        generator = np.random.default_rng(sum(stem.encode()))
        self.labels[stem] = generator.choice([0, 3, 9, 255], (height, width))
        write_noise(self.image_path(stem, suffix), height, width)
        write_png(self.mask_path(stem), self.labels[stem])

    def image_path(self, stem: str, suffix: str = ".jpg") -> Path:
        return self.root / "images" / f"{stem}{suffix}"

    def mask_path(self, stem: str) -> Path:
        return self.root / "masks" / f"{stem}.png"

    @property
    def classes(self) -> Path:
        return self.root / "classes.txt"

    @property
    def places(self) -> dict[str, str]:
        return {
            "images": str(self.root / "images"),
            "masks": str(self.root / "masks"),
            "classes": str(self.classes),
        }

    def to_hf(self, **columns: Any) -> datasets.Dataset:
        """The same samples in memory, encoded."""
        stems = sorted(self.labels)
        cells = {
            "image": [{"bytes": self.image_path(stem).read_bytes(), "path": None} for stem in stems],
            "mask": [{"bytes": self.mask_path(stem).read_bytes(), "path": None} for stem in stems],
        }
        features = datasets.Features({"id": datasets.Value("string"), **dict.fromkeys(cells, datasets.Image())})
        dataset = datasets.Dataset.from_dict({"id": stems, **cells}, features=features)
        return dataset.rename_columns(columns) if columns else dataset

    def car(self, out: str, *arguments: str) -> Result:
        models = [f"--set={role}_model={self.model}" for role in ("proposal", "classifier")]
        fixed = ["--weights=random:1", "--workers=0", "--set=recurrence=none", '--set=templates=["a {}"]']
        given = [*arguments, f"--out={self.root.parent / out}", *fixed, *models]
        return CliRunner().invoke(app, ["eval", *given])

    def car_on_folders(self, *more: str, out: str = "run") -> Result:
        return self.car(out, *self.folders, *more)

    @property
    def folders(self) -> list[str]:
        return [f"--{place}={path}" for place, path in self.places.items()]


@pytest.fixture
def own(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> OwnTree:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    for module in ("huggingface_hub.constants", "datasets.config"):  # read from the environment at import
        monkeypatch.setattr(f"{module}.HF_HUB_OFFLINE", True)
    tree = OwnTree(tmp_path / "own", tiny_model)
    for stem, height in (("b", 30), ("a.1", 36), ("c", 24)):
        tree.add(stem, height=height)
    tree.classes.write_text(CLASSES)
    return tree


def header_of(own: OwnTree, out: str = "run") -> dict[str, Any]:
    return json.loads((own.root.parent / out / "run.json").read_text())


def miou_by_hand(own: OwnTree) -> float:
    """By class names, from masks as written and the library's segmentations."""
    settings = {"proposal_model": str(own.model), "classifier_model": str(own.model)}
    config, _ = resolve_config(
        load_benchmark("own-folders"), "released", {**settings, "recurrence": "none", "templates": ["a {}"]}
    )
    car = CaR.from_config(config, weights="random:1")
    names, matrix = ["background", "cat", "dog"], np.zeros((3, 3), np.int64)
    for stem, labels in own.labels.items():
        found = car.segment(np.array(Image.open(own.image_path(stem))), ["cat", "kitten", "dog"])
        predicted = np.array(["background", "cat", "cat", "dog"])[found.label_map]
        target = np.vectorize({**MEANING, 255: "ignored"}.get)(labels)
        counted = target != "ignored"
        matrix += confusion_matrix(target[counted], predicted[counted], labels=names)
    return float((matrix.diagonal() / (matrix.sum(0) + matrix.sum(1) - matrix.diagonal())).mean())


def test_folders_are_a_run_like_any_other(own: OwnTree) -> None:
    result = own.car_on_folders()
    assert result.exit_code == 0, result.stderr
    header = header_of(own)
    assert header["metrics"]["miou"] == pytest.approx(miou_by_hand(own))
    assert header["counts"] == {"n_total": 3, "n_scored": 3, "n_failed": 0}
    assert header["benchmark"]["paper"] is None
    assert "(paper)" not in result.stdout
    assert "| 1 | cat " in " ".join(result.stdout.split())


def test_a_file_gives_the_data_a_name(own: OwnTree) -> None:
    file = own.root / "pets.yaml"
    file.write_text("name: pets\ntitle: My pets\nbase: own-folders\nconfig: {theta: 0.5}\n")
    places = [f"--{place}={path}" for place, path in own.places.items()]
    assert own.car_on_folders(out="plain").exit_code == 0
    result = own.car_on_folders(str(file), out="named")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("# pets: CaR")
    plain, named = header_of(own, "plain"), header_of(own, "named")
    assert (plain["benchmark"]["name"], named["benchmark"]["name"]) == ("own-folders", "pets")
    assert named["benchmark"]["dataset"] == plain["benchmark"]["dataset"]
    assert (plain["config"]["theta"], named["config"]["theta"]) == (0.6, 0.5)
    assert plain["identity"] != named["identity"]
    run = own.root.parent / "named"
    out = own.root.parent / "again"
    again = CliRunner().invoke(app, ["rerun", str(run), *places, f"--out={out}", "--weights=random:1", "--trust"])
    assert again.exit_code == 0, again.stderr
    assert header_of(own, "again")["identity"] == named["identity"]
    without = CliRunner().invoke(app, ["rerun", str(run), "--trust"])
    assert "error: --images, --masks and --classes: expected the files of the run" in without.stderr
    checked = CliRunner().invoke(app, ["data", "check", str(file), *places])
    assert checked.stdout.splitlines()[-1] == "own-folders: no faults"
    listed = CliRunner().invoke(app, ["data", "list", str(file)])
    assert listed.stderr == (
        f"error: {file}: expected a data set of `car data list`, found your own data; check it with `car data check "
        f"{file}` and --images, --masks and --classes\n"
    )
    half = CliRunner().invoke(app, ["eval", str(file), places[0]])
    assert half.stderr == "error: --masks: missing; --images, --masks and --classes go together\n"


def test_a_file_of_other_data_takes_no_options_of_own_data(tmp_path: Path) -> None:
    file = tmp_path / "v.yaml"
    file.write_text("name: v\ntitle: V\nbase: voc21\n")
    result = CliRunner().invoke(app, ["eval", str(file), "--images=x"])
    assert result.stderr == f"error: --images: expected no data options with the benchmark {file}\n"


@pytest.mark.parametrize("adapter", ["voc", ["own-folders"], {}, 3, None])
def test_a_run_of_other_data_is_known_by_its_benchmark(adapter: Any) -> None:
    """Whatever a run.json that someone else sent has in the adapter's place."""
    about: Any = SimpleNamespace(name="pets", fields={"adapter": adapter})
    assert kind_of(about) == "pets"


def test_saved_and_parquet_data_equal_folders(own: OwnTree) -> None:
    own.car_on_folders(out="folders")
    saved, parquet = own.root / "saved", own.root / "part.parquet"
    datasets.DatasetDict({"validation": own.to_hf()}).save_to_disk(saved)
    own.to_hf(image="picture", mask="truth").to_parquet(parquet)
    columns = ["--image-column=picture", "--mask-column=truth"]
    for out, arguments in (("saved", [f"--hf={saved}"]), ("parquet", [f"--hf={parquet}", *columns])):
        result = own.car(out, *arguments, f"--classes={own.classes}")
        assert result.exit_code == 0, result.stderr
        assert header_of(own, out)["metrics"] == header_of(own, "folders")["metrics"]
    assert sorted(json.loads(line)["id"] for line in (own.root.parent / "saved/samples.jsonl").open()) == sorted(
        own.labels
    )


def test_a_local_folder_of_images_with_metadata_loads(own: OwnTree) -> None:
    lines = [
        {"file_name": str(own.image_path(stem)), "mask_file_name": str(own.mask_path(stem))} for stem in own.labels
    ]
    folder = own.root / "hub" / "train"
    folder.mkdir(parents=True)
    for line in lines:
        for key, path in line.items():
            copy = folder / f"{key}-{Path(path).name}"
            copy.write_bytes(Path(path).read_bytes())
            line[key] = copy.name
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset = load("own-hf", ".", options={"hf": str(folder.parent), "classes": str(own.classes)})
    assert [sample.id for sample in dataset] == [Path(line["file_name"]).stem for line in lines]
    expected = {f"file_name-{stem}": labels for stem, labels in own.labels.items()}
    for sample in dataset:
        meant = np.vectorize({0: 0, 3: 1, 9: 2, 255: 255}.get)(expected[sample.id])
        assert np.array_equal(sample.target, meant)


def test_moved_data_are_the_same_run_and_other_values_are_not(own: OwnTree, tmp_path: Path) -> None:
    identities = []
    for change in ("", "moved", "renumbered"):
        if change == "moved":
            own.root = own.root.rename(tmp_path / "elsewhere")
        if change == "renumbered":
            own.classes.write_text(CLASSES.replace("9: dog", "9: dog\n8: cow").replace("8: cow", "8: horse"))
        assert own.car_on_folders("--limit=1", out=f"run{change}").exit_code == 0
        identities.append(header_of(own, f"run{change}")["identity"])
    assert identities[0] == identities[1] != identities[2]


def test_swapped_values_of_the_same_names_are_another_data_set(own: OwnTree) -> None:
    first = load("own-folders", ".", options=own.places)
    own.classes.write_text("0: background\n9: cat; kitten\n12: dog\n")
    second = load("own-folders", ".", options=own.places)
    assert first.label_space == replace(second.label_space, mask_values=first.label_space.mask_values)
    assert first.fingerprint != second.fingerprint


LISTS = [
    ("0: background\n1: aeroplane\n9: chair; stool\n15: person\n20: tv\n", 0),
    ("1: aeroplane\n9: chair; stool\n15: person\n20: tv\n", 255),
    ("0: tv\n9: background; sky\n20: chair\n254: aeroplane\n", 9),
]
"""Classes with gaps in their values, and the value of what no query claims."""


def add_masks(own: OwnTree, classes: str) -> None:
    """Masks of these values and of 255."""
    own.classes.write_text(classes)
    values = [*(listed.value for listed in read_class_list(own.classes).classes), 255]
    for stem, labels in own.labels.items():
        own.labels[stem] = np.random.default_rng(len(stem)).choice(values, labels.shape)
        write_png(own.mask_path(stem), own.labels[stem])


ORACLE = """
import pickle
from pathlib import Path

import numpy as np

NAMES, MASKS = pickle.loads(Path(__file__).with_suffix(".pkl").read_bytes())


class Oracle:
    name, version = "oracle", "1"

    def segment(self, image, queries):
        found = np.zeros(image.shape[:2], np.int32)
        for value, text in NAMES.items():
            if text in queries:
                found[MASKS[image.tobytes()] == value] = 1 + queries.index(text)
        return found
"""


def oracle(own: OwnTree, *data: str, knows: bool = True) -> Result:
    """`car eval` with a method that finds every class of the masks as written, by its last name, and nothing where they
    have 255. data: options, of folders without any. knows: else it fails."""
    names = {listed.value: listed.names[-1] for listed in read_class_list(own.classes).classes}
    images = {stem: np.array(Image.open(own.image_path(stem))).tobytes() for stem in own.labels if knows}
    masks = {image: own.labels[stem] for stem, image in images.items()}
    method, out = own.root.parent / "oracle.py", own.root.parent / "run"
    method.write_text(ORACLE)
    method.with_suffix(".pkl").write_bytes(pickle.dumps((names, masks)))
    return CliRunner().invoke(app, ["eval", *data, f"--method={method}:Oracle", "--workers=0", f"--out={out}"])


def read_saved(path: Path, nothing: int) -> np.ndarray:
    """A saved prediction as a mask."""
    if path.suffix == ".png":
        return np.array(Image.open(path))
    segments = json.loads(path.read_text())
    height, width = segments[0]["segmentation"]["size"]
    labels = np.full((height, width), nothing)
    for segment in segments:
        labels[coco_mask.decode(segment["segmentation"]) > 0] = segment["category_id"]
    return labels


@pytest.mark.parametrize("source", ["folders", "hf"])
@pytest.mark.parametrize("saved", ["png", "rle"])
@pytest.mark.parametrize(("classes", "nothing"), LISTS, ids=["background", "no background", "background at 9"])
def test_saved_predictions_hold_the_values_of_the_masks(
    own: OwnTree, classes: str, nothing: int, saved: str, source: str
) -> None:
    add_masks(own, classes)
    data = own.folders
    if source == "hf":
        own.to_hf().save_to_disk(own.root / "saved")
        data = [f"--hf={own.root / 'saved'}", f"--classes={own.classes}"]
    result = oracle(own, *data, f"--save-predictions={saved}")
    assert result.exit_code == 0, result.stderr
    assert header_of(own)["metrics"]["miou"] == 1
    paths = list((own.root.parent / "run" / "predictions").iterdir())
    assert {path.stem for path in paths} == set(own.labels)
    for path in paths:
        mask = own.labels[path.stem]
        assert np.array_equal(read_saved(path, nothing), np.where(mask == 255, nothing, mask))


@pytest.mark.parametrize(("classes", "nothing"), LISTS, ids=["background", "no background", "background at 9"])
def test_a_failed_sample_is_saved_as_the_value_of_nothing(own: OwnTree, classes: str, nothing: int) -> None:
    add_masks(own, classes)
    assert oracle(own, *own.folders, "--save-predictions=png", knows=False).exit_code == 3
    for path in (own.root.parent / "run" / "predictions").iterdir():
        assert set(np.unique(np.array(Image.open(path)))) == {nothing}


@pytest.mark.parametrize("option", [[], ["--ignore-value=none"]])
def test_255_is_a_class_if_it_is_listed(own: OwnTree, option: list[str]) -> None:
    add_masks(own, "0: background\n255: boat\n")
    result = oracle(own, *own.folders, "--save-predictions=png", *option)
    assert result.exit_code == 0, result.stderr
    assert header_of(own)["metrics"]["miou"] == 1
    assert ("255 is the class boat, so no mask value is ignored" in result.stderr) == (not option)
    for path in (own.root.parent / "run" / "predictions").iterdir():
        assert np.array_equal(np.array(Image.open(path)), own.labels[path.stem])


def test_a_list_that_fits_no_pixel_ends_before_work(own: OwnTree) -> None:
    own.classes.write_text("background\ncat\n")
    for stem, labels in own.labels.items():
        write_png(own.mask_path(stem), np.where(labels == 0, 0, 255))
    result = own.car_on_folders("--limit=1")  # of all masks, not only of those of the trial
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"error: {own.classes}: expected masks with a pixel of a class, such as cat, found only the values "
        "0 background, 255 ignored in the 3 masks; to score 255, write the list with values: "
        "`0: background`, `255: cat`"
    ]
    assert not (own.root.parent / "run").exists()


def test_what_was_recognized_and_found_is_said_before_work(own: OwnTree) -> None:
    own.classes.write_text(CLASSES + "7: cow\n")
    result = own.car_on_folders("--limit=2")
    assert result.exit_code == 0, result.stderr
    notices = [line for line in result.stderr.splitlines() if line.startswith("notice: ")]
    assert notices[:3] == [
        f"notice: {own.classes}: read as `value: name`: 4 classes",
        "notice: values in the 3 masks: 0 background, 3 cat, 9 dog, 255 ignored",
        "notice: no pixel of cow (7) in the 3 masks; in miou such a class counts as 0 if it is predicted anywhere",
    ]


def test_the_check_of_own_data_counts_and_compares(own: OwnTree) -> None:
    places = [f"--{place}={path}" for place, path in own.places.items()]
    own.to_hf().save_to_disk(own.root / "saved")
    for arguments in (places, [f"--hf={own.root / 'saved'}", f"--classes={own.classes}"]):
        result = CliRunner().invoke(app, ["data", "check", *arguments])
        assert result.exit_code == 0, result.stdout
        assert "read as `value: name`: 3 classes" in result.stdout
        assert "values in the 3 masks: 0 background, 3 cat, 9 dog, 255 ignored" in result.stdout
        assert "3 decoded" in result.stdout
    own.classes.write_text("1: cat\n2: dog\n")
    own.image_path("c").unlink()
    result = CliRunner().invoke(app, ["data", "check", *places, "--ignore-value=none"])
    assert result.exit_code == 5
    faults = [line for line in result.stdout.splitlines() if line.startswith("fault: ")]
    assert "images/c.*: expected the image, found nothing" in faults[0]
    assert "values that no class has are in all 2 masks: 0 unlisted, 3 unlisted, 9 unlisted, 255 unlisted" in faults[1]
    assert len(faults) == 4  # and both samples


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "benchmark: expected a name, or --images, --masks and --classes"),
        (["--images=x"], "--masks: missing; --images, --masks and --classes go together"),
        (["voc", "--ignore-value=3"], "--ignore-value: expected no data options with the benchmark voc"),
        (["--hf=x", "--classes=c", "--ignore-value=x"], "--ignore-value: expected a mask value in 0..255, or none"),
    ],
)
def test_half_requests_of_a_check_are_named(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["data", "check", *arguments])
    assert (result.exit_code, result.stderr.startswith(f"error: {message}")) == (2, True), result.stderr


def test_blanks_in_names_stay_in_messages(own: OwnTree) -> None:
    own.add("a  b   c")
    own.image_path("a  b   c").unlink()
    result = own.car_on_folders()
    assert result.exit_code == 2
    assert "images/a  b   c.*: expected the image of a  b   c, found nothing" in result.stderr


def test_255_classes_fit_into_a_png(own: OwnTree) -> None:
    add_masks(own, "\n".join(f"class {value}" for value in range(255)))
    result = oracle(own, *own.folders, "--save-predictions=png")
    assert result.exit_code == 0, result.stderr
    for path in (own.root.parent / "run" / "predictions").iterdir():
        assert np.array_equal(np.array(Image.open(path)), own.labels[path.stem])


def break_size(own: OwnTree) -> None:
    write_png(own.mask_path("b"), own.labels["b"][:-1])


def break_values(own: OwnTree) -> None:
    write_png(own.mask_path("b"), np.where(own.labels["b"] == 9, 10, own.labels["b"]))


def break_depth(own: OwnTree) -> None:
    Image.fromarray(own.labels["b"].astype(np.uint16)).save(own.mask_path("b"))


def break_color(own: OwnTree) -> None:
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(own.mask_path("b"))


def break_file(own: OwnTree) -> None:
    own.mask_path("b").write_bytes(own.mask_path("b").read_bytes()[:60])


FAULTS = [
    (break_size, "expected the size of its image, 40 x 30, found 40 x 29"),
    (break_values, "expected labels 0, 3, 9, 255, found 10"),
    (break_depth, "expected a palette or single-channel mask of 1 to 8 bits, found mode I;16"),
    (break_color, "expected a palette or single-channel mask of 1 to 8 bits, found mode RGB"),
    (break_file, "cannot be decoded"),
]


@pytest.mark.parametrize(("damage", "message"), FAULTS)
def test_a_bad_mask_is_one_failed_record(own: OwnTree, damage: Callable[[OwnTree], None], message: str) -> None:
    damage(own)
    result = own.car_on_folders()
    assert result.exit_code == 3, result.stderr
    failed = header_of(own)["metrics"]["failed"]
    assert [entry["id"] for entry in failed] == ["b"]
    assert failed[0]["error"].startswith("masks/b.png: ")
    assert message in failed[0]["error"]


@pytest.mark.parametrize(("damage", "message"), FAULTS)
def test_a_bad_cell_is_named_by_row_and_column(own: OwnTree, damage: Callable[[OwnTree], None], message: str) -> None:
    damage(own)
    own.to_hf().save_to_disk(own.root / "saved")
    dataset = load("own-hf", ".", options={"hf": str(own.root / "saved"), "classes": str(own.classes)})
    assert dataset[0].id == "a.1"
    with pytest.raises(SampleError) as caught:
        dataset[1]
    assert str(caught.value).startswith("b: row 1, column mask: ")
    assert message in str(caught.value)


def test_an_empty_cell_is_a_failed_sample(own: OwnTree) -> None:
    rows = own.to_hf().to_list()
    rows[2]["mask"] = None
    features = own.to_hf().features
    datasets.Dataset.from_list(rows, features=features).save_to_disk(own.root / "saved")
    dataset = load("own-hf", ".", options={"hf": str(own.root / "saved"), "classes": str(own.classes)})
    with pytest.raises(SampleError, match="c: row 2, column mask: expected an image file"):
        dataset[2]


def test_a_split_of_ids_picks_samples(own: OwnTree, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("c\na.1\n")
    own.mask_path("b").unlink()
    assert load("own-folders", ".", split=tmp_path / "ids.txt", options=own.places).ids == ("c", "a.1")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda own: own.mask_path("b").unlink(), r"masks/b\.png: expected the mask of b, found nothing \(1 of 3"),
        (lambda own: own.image_path("b").unlink(), r"images/b\.\*: expected the image of b, found nothing"),
        (lambda own: own.add("b", ".png"), r"images: expected one file of each stem in .*, found b\.jpg and b\.png"),
        (lambda own: [path.unlink() for path in (own.root / "masks").iterdir()], r"masks: expected files \*\.png"),
        (lambda own: own.classes.unlink(), r"classes\.txt: expected a file of class names"),
        (lambda own: (own.root / "images").rename(own.root / "pictures"), "images: expected a folder, found nothing"),
    ],
)
def test_missing_files_are_set_up_mistakes(own: OwnTree, damage: Callable[[OwnTree], Any], message: str) -> None:
    damage(own)
    with pytest.raises(DatasetError, match=message) as caught:
        load("own-folders", ".", options=own.places)
    assert "\n" not in str(caught.value)


def test_images_and_masks_lie_apart(own: OwnTree) -> None:
    with pytest.raises(DatasetError, match="masks: expected another folder"):
        load("own-folders", ".", options={**own.places, "masks": own.places["images"]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_column": "truth"}, "mask_column: expected the column 'truth', found the columns id, image, mask"),
        ({"mask_column": "number"}, "mask_column: expected the column 'number'"),
        ({"mask_column": "id"}, None),
        ({"hf": "someone/nothing-of-the-kind"}, "expected a data set that the library `datasets` loads"),
        ({"split": "test"}, "split: expected one of train, validation of .*, found 'test'"),
        ({"split": None}, "split: expected one of train, validation of .*, found 'all'"),
    ],
)
def test_bad_hf_requests_are_one_line(own: OwnTree, options: dict[str, Any], message: str | None) -> None:
    saved = own.root / "saved"
    datasets.DatasetDict({"train": own.to_hf(), "validation": own.to_hf()}).save_to_disk(saved)
    split = options.pop("split", "train")
    places = {"hf": str(saved), "classes": str(own.classes), **options}
    if message is None:  # text can be a path, so the fault shows in the sample
        with pytest.raises(SampleError, match="row 0, column id: No such file"):
            load("own-hf", ".", split=split, options=places)[0]
        return
    with pytest.raises(DatasetError, match=message) as caught:
        load("own-hf", ".", split=split, options=places)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "benchmark: expected a name, or --images, --masks and --classes, or --hf; found nothing"),
        (["--images=x"], "--masks: missing; --images, --masks and --classes go together"),
        (["--hf=x"], "--classes: missing; --hf and --classes go together"),
        (["--hf=x", "--classes=c", "--masks=m"], "--masks: expected the options --hf, --hf-config"),
        (["voc21", "--data-root=.", "--classes=c"], "--classes: expected no data options with the benchmark voc21"),
        (["--images=i", "--masks=m", "--classes=c", "--data-root=."], "--data-root: expected no data root"),
        (["own-folders", "--data-root=."], "--data-root: expected no data root"),
        (["own-folders"], "--images: missing; --images, --masks and --classes go together"),
    ],
)
def test_half_requests_are_named(own: OwnTree, arguments: list[str], message: str) -> None:
    result = own.car("run", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}")
    assert len(result.stderr.strip().splitlines()) == 1
