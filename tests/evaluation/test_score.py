"""`car score` and `car export`: what was predicted elsewhere gives the figures that it has, or failed samples."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.davis_tree import davis_tree
from helpers.made_trees import run_lengths
from helpers.refer_tree import grefer_tree
from PIL import Image, JpegImagePlugin
from pycocotools import mask as coco_mask
from typer.testing import CliRunner, Result

from dataset_adapters import Dataset
from dataset_adapters.base.adapter import find_adapter
from evaluation import Run, RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.request.benchmark import BenchmarkError
from evaluation.request.options import Predictions
from evaluation.request.resolve import resolve
from evaluation.run.merge import merge
from evaluation.run.predictions import PredictionError
from evaluation.run.prepare import Prepared, prepare
from evaluation.tasks.saving import Saving
from results import RunDirectory, StoreError

IDS = [f"2007_{number:06d}" for number in range(4)]
FAST: dict[str, Any] = {"quiet": True, "workers": 0, "refine_workers": 0}


def counts(run: Path) -> dict[str, Any]:
    return {record.id: record.counts for record in RunDirectory(run).read_records()}


def figures(run: Run) -> dict[str, Any]:
    return {"metrics": run.header.metrics, "counts": run.header.counts, "records": counts(run.path)}


@pytest.mark.parametrize(
    ("benchmark", "data"),
    [
        ("mini-voc", None),
        ("mini-coco-object", None),
        ("mini-context", None),
        ("mini-refcoco", None),
        ("grefcoco-val", grefer_tree),
        ("ref-davis17", davis_tree),
    ],
)
def test_saved_predictions_give_the_figures_of_their_run(
    benchmark: str,
    data: Callable[[Path], Any] | None,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    root = data(tmp_path).root if data else None
    of_tree = {
        "weights": "random:1",
        "settings": dict.fromkeys(("proposal_model", "classifier_model"), str(tiny_model)),
    }
    given = {"limit": 2, "method": "clip", "settings": {"templates": ["{}"]}} if data is None else of_tree
    given |= {"saving": Saving("png"), **FAST}
    options = RunOptions(benchmark, root, out=tmp_path / "run", **given)
    run = evaluate(options)
    assert any(np.asarray(Image.open(path)).any() for path in (run.path / "predictions").iterdir())
    places = {"png": run.path / "predictions", "rle": tmp_path / "png" / "predictions"}
    if benchmark == "ref-davis17":
        places["davis"] = run.path / "label_maps"
    for name, folder in places.items():
        asked = replace(options, settings={}, weights=None, predictions=Predictions(folder), out=tmp_path / name)
        assert figures(evaluate(replace(asked, saving=Saving("rle")))) == figures(run), name


class Scored:
    """A VOC tree of four samples, predictions of them, and runs that score them."""

    def __init__(self, tree: Any, tmp_path: Path) -> None:
        self.tree, self.out, self.folder = tree, tmp_path / "run", tmp_path / "other method"
        self.folder.mkdir()
        generator = np.random.default_rng(5)
        self.predicted: dict[str, np.ndarray] = {}
        for number, sample_id in enumerate(IDS):
            tree.add(sample_id, height=9 + number, width=14 - number)
            self.predicted[sample_id] = generator.integers(0, 21, (9 + number, 14 - number))
            self.write(sample_id, self.predicted[sample_id])

    def write(self, sample_id: str, labels: np.ndarray) -> None:
        Image.fromarray(labels.astype(np.uint8)).save(self.path(sample_id))

    def path(self, sample_id: str = IDS[1], suffix: str = ".png") -> Path:
        return self.folder / f"{sample_id}{suffix}"

    def expected(self) -> dict[str, dict[tuple[int, int], int]]:
        """Pixels by target and prediction, by a loop over pixels; 255 does not count."""
        found: dict[str, dict[tuple[int, int], int]] = {}
        for sample_id, labels in self.predicted.items():
            target = np.asarray(Image.open(self.tree.mask_path(sample_id)))
            pairs = list(zip(target.ravel().tolist(), labels.ravel().tolist(), strict=True))
            found[sample_id] = {pair: pairs.count(pair) for pair in pairs if pair[0] != 255}
        return found

    def options(self, path: Path | None = None, **changes: Any) -> RunOptions:
        given = {"out": self.out, **FAST, **changes}
        asked = Predictions(path or self.folder, given.pop("name", None), given.pop("values", None))
        return RunOptions("voc21", self.tree.root, predictions=asked, **given)

    def prepared(self, path: Path | None = None) -> Prepared:
        return prepare(self.options(path))

    def car(self, *more: str) -> Result:
        own = ["score", "voc21", f"--data-root={self.tree.root}", f"--out={self.out}", "--workers=0"]
        return CliRunner().invoke(app, [*own, f"--predictions={self.folder}", *more])


@pytest.fixture
def scored(make_voc: Callable[[Sequence[str]], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scored:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    return Scored(make_voc(IDS), tmp_path)


def results(sample_id: str, labels: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "image_id": sample_id,
            "category_id": label,
            "segmentation": {"size": list(labels.shape), "counts": run_lengths(labels == label)},
            "score": 0.5,
        }
        for label in np.unique(labels).tolist()
    ]


def as_gray16(scored: Scored) -> Path:
    for sample_id, labels in scored.predicted.items():
        Image.fromarray(labels.astype(np.uint16)).save(scored.path(sample_id))
    return scored.folder


def as_palette(scored: Scored) -> Path:
    for sample_id, labels in scored.predicted.items():
        image = Image.fromarray(labels.astype(np.uint8), "L")
        image.putpalette([255 - value // 3 for value in range(768)])
        image.save(scored.path(sample_id))
    return scored.folder


def as_arrays(scored: Scored) -> Path:
    for (sample_id, labels), kind in zip(scored.predicted.items(), ("i8", "u1", ">u2", "i4"), strict=True):
        scored.path(sample_id).unlink()
        np.savez_compressed(scored.path(sample_id, ".npz"), np.asfortranarray(labels.astype(kind)))
    return scored.folder


def as_one_array_file(scored: Scored) -> Path:
    path = scored.folder.with_suffix(".npz")
    np.savez(path, **scored.predicted)  # type: ignore[arg-type]
    return path


def as_results(scored: Scored) -> Path:
    for sample_id, labels in scored.predicted.items():
        scored.path(sample_id).unlink()
        scored.path(sample_id, ".json").write_text(json.dumps(results(sample_id, labels)))
    return scored.folder


def as_one_results_file(scored: Scored) -> Path:
    path = scored.folder.with_suffix(".json")
    path.write_text(json.dumps([each for one in scored.predicted.items() for each in results(*one)]))
    return path


@pytest.mark.parametrize(
    "write",
    [as_gray16, as_palette, as_arrays, as_one_array_file, as_results, as_one_results_file],
    ids=lambda f: f.__name__,
)
def test_every_format_gives_the_counts_of_a_loop_over_pixels(scored: Scored, write: Callable[[Scored], Path]) -> None:
    run = evaluate(scored.options(write(scored)))
    found = {id_: {(t, p): n for t, p, n in each["confusion"]} for id_, each in counts(run.path).items()}
    assert found == scored.expected()
    assert run.header.config["method"] == "other method"
    assert run.header.weights == []


def test_results_that_overlap_are_painted_by_their_score(scored: Scored) -> None:
    shape = scored.predicted[IDS[0]].shape
    low, high = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    low[:6], high[4:] = True, True
    entries = [results(IDS[0], mask.astype(np.int64) * label)[-1] for mask, label in ((high, 7), (low, 3))]
    entries[0]["score"], entries[1]["score"] = 0.9, 0.2
    path = scored.folder.with_suffix(".json")
    path.write_text(json.dumps(entries))
    expected = np.zeros(shape, np.int64)
    expected[:4], expected[4:] = 3, 7
    prepared = scored.prepared(path)
    assert np.array_equal(predicted(prepared, 0), expected)
    entries[0]["score"] = 0.2
    path.write_text(json.dumps(entries))
    with pytest.raises(PredictionError, match=r"expected results that do not overlap, or of different scores"):
        predicted(scored.prepared(path), 0)


@pytest.mark.parametrize(("n_missing", "words"), [(1, "1 of 4 samples has"), (2, "2 of 4 samples have")])
def test_missing_predictions_are_counted(
    scored: Scored, capsys: pytest.CaptureFixture[str], n_missing: int, words: str
) -> None:
    for sample_id in IDS[:n_missing]:
        scored.path(sample_id).unlink()
    scored.prepared(scored.folder)
    assert f"notice: {words} no prediction" in capsys.readouterr().err


def predicted(prepared: Prepared, position: int) -> Any:
    sample = prepared.selected[position]
    [segmentation] = prepared.segmenter.segment_samples([sample], prepared.dataset.label_space)  # type: ignore[attr-defined]
    return prepared.scorer.prediction(segmentation, sample)


def npz(path: Path, *arrays: Any) -> None:
    path.with_suffix(".png").unlink()
    np.savez(path.with_suffix(".npz"), *arrays)


def announced(path: Path) -> None:
    """An array whose header asks for memory that no machine has."""
    path.unlink()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (2**40, 2**20)})
    with zipfile.ZipFile(path.with_suffix(".npz"), "w") as file:
        file.writestr("arr_0.npy", header.getvalue())


def huge(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(2**33)  # sparse


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def coco(path: Path, **changes: Any) -> None:
    path.unlink()
    [entry] = results(IDS[1], np.ones((10, 13), np.int64))
    path.with_suffix(".json").write_text(json.dumps([entry | changes]))


def text(path: Path, content: str) -> None:
    path.unlink()
    path.with_suffix(".json").write_text(content)


def bomb(path: Path) -> None:
    Image.new("1", (20000, 20000)).save(path)


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, r"expected one file 2007_000001.png \(or .json, .npz\), found nothing"),
    "two": (lambda path: path.with_suffix(".json").write_text("[]"), r"found 2007_000001.png and 2007_000001.json"),
    "size": (lambda path: Image.new("L", (13, 11)).save(path), "expected the size of .*, 13 x 10, found 13 x 11"),
    "color": (lambda path: Image.new("RGB", (13, 10)).save(path), "expected a palette .* found mode RGB"),
    "value": (lambda path: Image.new("L", (13, 10), 21).save(path), r"expected labels 0..20, found 21"),
    "ignored": (lambda path: Image.new("L", (13, 10), 255).save(path), r"expected labels 0..20, found 255"),
    "torn": (lambda path: path.write_bytes(path.read_bytes()[:60]), "2007_000001.png: cannot be decoded"),
    "text": (lambda path: path.write_text("no image"), "expected an image file, found an unknown format"),
    "bomb": (bomb, "expected the size of the image, 13 x 10|expected at most .* pixels"),
    "huge": (huge, "expected a file of at most 256 MiB, found 8192 MiB"),
    "fifo": (fifo, "found a FIFO"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "expected a file, found a folder"),
    "link out": (lambda path: link(path, Path("/etc/passwd")), "a link out of it"),
    "link round": (lambda path: link(path, path), "levels of symbolic links|links in a circle"),
    "pickle": (lambda path: npz(path, np.array([{}], object)), r"expected integers or bool \[10, 13\], found object"),
    "floats": (lambda path: npz(path, np.zeros((10, 13))), r"found float64 \[10, 13\]"),
    "shape": (lambda path: npz(path, np.zeros((13, 10), np.int8)), r"found int8 \[13, 10\]"),
    "negative": (lambda path: npz(path, np.full((10, 13), -1)), r"expected values 0..65535, found -1..-1"),
    "arrays": (lambda path: npz(path, np.zeros((10, 13), np.int8), np.zeros(1)), "expected one array, found 2"),
    "announced": (announced, r"found int64 \[1099511627776, 1048576\]"),
    "no zip": (lambda path: (npz(path, 1), path.with_suffix(".npz").write_bytes(b"PK")), "not a zip file"),
    "json": (lambda path: text(path, "[" * 99999), "nested too deeply"),
    "object": (lambda path: text(path, '{"a": 1}'), "expected a list of COCO"),
    "image_id": (lambda path: coco(path, image_id=5), "image_id: expected 2007_000001, found 5"),
    "category": (lambda path: coco(path, category_id=21), "category_id: expected one of a label, found 21"),
    "categories": (lambda path: coco(path, category_id=[1]), "category_id: expected one of a label, found list"),
    "score": (lambda path: coco(path, score="high"), "score: expected a number, found 'high'"),
    "rle size": (lambda path: coco(path, segmentation={"size": [9, 9], "counts": [81]}), r"of size \[10, 13\]"),
    "rle sum": (lambda path: coco(path, segmentation={"size": [10, 13], "counts": [9]}), "130 pixels, found 9"),
    "no mask": (lambda path: coco(path, segmentation=None), "segmentation: expected a polygon"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_prediction_that_cannot_be_used_is_one_line(scored: Scored, name: str) -> None:
    spoil, message = HOSTILE[name]
    spoil(scored.path())
    prepared = scored.prepared()
    with pytest.raises(PredictionError, match=message) as caught:
        predicted(prepared, 1)
    assert "\n" not in str(caught.value)
    assert IDS[1] in str(caught.value)
    assert np.array_equal(predicted(prepared, 2), scored.predicted[IDS[2]])


def test_links_inside_the_folder_are_followed(scored: Scored) -> None:
    moved = scored.path().rename(scored.folder / "moved")
    scored.path().symlink_to(moved.name)
    assert np.array_equal(predicted(scored.prepared(), 1), scored.predicted[IDS[1]])


def test_prediction_changed_after_the_start_is_failed_sample(scored: Scored) -> None:
    prepared = scored.prepared()
    scored.write(IDS[1], np.zeros((10, 13)))
    with pytest.raises(PredictionError, match="expected the file as it was at the start"):
        predicted(prepared, 1)


def test_failed_samples_are_counted_named_and_listed(scored: Scored) -> None:
    scored.path(IDS[0]).unlink()
    Image.new("L", (5, 5)).save(scored.path(IDS[3]))
    done = scored.car("--name=Theirs")
    assert done.exit_code == 3, done.output
    named = [line.partition(": segmentation")[0] for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert named == [f"failed: {IDS[0]}", f"failed: {IDS[3]}"]
    assert "2 of 4 samples failed" in done.stderr
    header = RunDirectory(scored.out).read_header()
    assert (header.counts.n_failed, header.status) == (2, "complete")
    assert all(entry["counted_as_empty"] for entry in header.metrics["failed"])
    table = (scored.out / "table.md").read_text()
    assert "# voc21: Theirs (predictions)" in table
    assert "found nothing" in table
    assert scored.car("--name=Theirs", "--allow-failures").exit_code == 0
    scored.write(IDS[3], scored.predicted[IDS[3]])
    refused = scored.car("--name=Theirs")
    assert refused.exit_code == 2
    assert f"{scored.out}: the predictions changed since the run in this folder was made" in refused.stderr


@pytest.mark.parametrize("write", [as_palette, as_one_array_file, as_one_results_file], ids=lambda f: f.__name__)
def test_a_larger_limit_extends_a_scored_run(scored: Scored, tmp_path: Path, write: Callable[[Scored], Path]) -> None:
    path = write(scored)
    evaluate(scored.options(path, limit=2))
    first = (scored.out / "samples.jsonl").read_bytes()
    extended = evaluate(scored.options(path, limit=3))
    straight = evaluate(scored.options(path, limit=3, out=tmp_path / "straight"))
    assert (scored.out / "samples.jsonl").read_bytes().startswith(first)
    assert (figures(extended), extended.header.identity) == (figures(straight), straight.header.identity)
    # The prediction of the second sample changes.
    scored.predicted[IDS[1]][0, 0] ^= 1
    scored.write(IDS[1], scored.predicted[IDS[1]])
    write(scored)
    with pytest.raises(StoreError, match="the predictions changed since the run in this folder was made; choose "):
        evaluate(scored.options(path))


def test_scored_run_is_not_done_again_and_works_in_all_commands(scored: Scored, tmp_path: Path) -> None:
    assert scored.car().exit_code == 0
    before = (scored.out / "samples.jsonl").read_bytes()
    again = scored.car()
    assert "all samples are already done" in again.stderr
    assert (scored.out / "samples.jsonl").read_bytes() == before
    golden = str(tmp_path / "golden.json")
    for command in (
        ["table", str(scored.out)],
        ["table", str(scored.out), str(scored.out)],
        ["compare", str(scored.out), str(scored.out)],
        ["report", str(scored.out)],
        ["check", str(scored.out), "--golden", golden, "--update"],
        ["check", str(scored.out), "--golden", golden],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, (command, done.output)
    assert "predictions were made elsewhere" in (scored.out / "report.html").read_text()


def test_shards_are_merged_to_the_run_in_one_piece(scored: Scored, tmp_path: Path) -> None:
    whole = evaluate(scored.options())
    parts = [evaluate(scored.options(shard=(n, 2), out=tmp_path / str(n))).path for n in (1, 2)]
    merge(parts, tmp_path / "merged")
    header = RunDirectory(tmp_path / "merged").read_header()
    assert (header.identity, header.metrics) == (whole.header.identity, whole.header.metrics)


def test_identity_is_that_of_the_files_and_the_name(scored: Scored, tmp_path: Path) -> None:
    first = scored.prepared()
    assert first.folder == scored.out
    elsewhere = scored.folder.rename(tmp_path / "moved")
    assert prepare(scored.options(elsewhere, name="other method")).identity == first.identity
    assert prepare(scored.options(elsewhere)).identity != first.identity
    scored.folder = elsewhere
    scored.write(IDS[3], np.zeros((12, 11)))
    assert prepare(scored.options(name="other method")).identity != first.identity
    assert prepare(scored.options(limit=3, out=None)).folder.name.startswith("voc21-moved-")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "absent"}, r"^predictions: expected a folder, or a file \(.json, .npz\), found nothing"),
        ({"path": "notes.txt"}, r"^predictions: expected a folder, or a .json or .npz file, found .*notes.txt"),
        ({"path": "empty"}, r"such as 2007_000000, found none of 4 samples, but nothing"),
        ({"path": "named"}, r"such as 2007_000000, found none of 4 samples, but a.png"),
        ({"path": "text.json"}, r"text.json: expected a list of COCO results, found other text"),
        ({"path": "object.json"}, r"object.json: expected a list of COCO results, found dict"),
        ({"path": "no-id.json"}, r"no-id.json: item 1: image_id: expected a number or text, found nothing"),
        ({"path": "others.json"}, r"others.json: expected predictions named after the samples.*but other ids"),
        ({"path": "text.npz"}, r"text.npz: expected an npz file, found File is not a zip file"),
        ({"name": "a/b"}, r"^name: expected a name of at most 80 characters"),
        ({"name": "a\nb"}, r"^name: expected a name of at most 80 characters"),
        ({"name": "x" * 81}, r"^name: expected a name of at most 80 characters"),
    ],
)  # fmt: skip
def test_what_has_no_predictions_is_refused_in_one_line(
    scored: Scored, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    for folder in ("empty", "named"):
        (tmp_path / folder).mkdir()
    (tmp_path / "named" / "a.png").touch()
    files = {"notes.txt": "", "text.json": "none", "object.json": "{}", "no-id.json": "[{}]", "text.npz": "none"}
    for name, text in {**files, "others.json": '[{"image_id": 4}]'}.items():
        (tmp_path / name).write_text(text)
    path = tmp_path / change["path"] if "path" in change else None
    with pytest.raises(BenchmarkError, match=message) as caught:
        evaluate(scored.options(path, name=change.get("name")))
    assert "\n" not in str(caught.value)
    assert not scored.out.exists()


def test_two_arrays_of_one_id_are_a_failed_sample(scored: Scored) -> None:
    path = as_one_array_file(scored)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr(f"{IDS[1]}.npy", b"")
    prepared = scored.prepared(path)
    with pytest.raises(PredictionError, match="expected one array 2007_000001, found 2"):
        predicted(prepared, 1)
    assert np.array_equal(predicted(prepared, 0), scored.predicted[IDS[0]])


def of_every_kind(adapter: str, value: int) -> int | None:
    """The label of a value of the data set's own label files, by the adapter alone."""
    return data_set(adapter).value_labels().get(value)


def data_set(adapter: str) -> Dataset:
    return Dataset(adapter, "val", Path(), "0", find_adapter(adapter).label_space("released"), Path(), range(0))


def test_score_values_of_the_data_set_stand_for_labels() -> None:
    """By hand: bird is class 3 of VOC, category 16 of COCO, raw class 25 of Context; wall is class 1 of ADE20K."""
    names = {name: data_set(name).label_space.labels for name in ("voc21", "coco-object/instances", "context59/mat")}
    assert [labels.index("bird") for labels in names.values()] == [3, 15, 7]
    assert of_every_kind("voc21", 3) == 3
    assert of_every_kind("voc21", 255) is None
    assert of_every_kind("coco-object/instances", 16) == 15
    assert of_every_kind("coco-object/instances", 0) == 0
    assert of_every_kind("coco-object/instances", 12) is None
    assert of_every_kind("coco-object/stuffthingmaps", 15) == 15
    assert of_every_kind("coco-object/stuffthingmaps", 91) == of_every_kind("coco-object/stuffthingmaps", 255) == 0
    assert data_set("coco-object/stuffthingmaps").value_labels(categories=True)[16] == 15
    assert of_every_kind("context59/png", 7) == 7
    for source in ("mat", "json"):
        assert of_every_kind(f"context59/{source}", 25) == 7
        assert of_every_kind(f"context59/{source}", 1) == 0
    assert data_set("ade150/annotations").label_space.labels[1] == "wall"
    assert of_every_kind("ade150/annotations", 1) == 1
    assert of_every_kind("ade150/annotations", 0) == 0  # no class: nothing
    assert of_every_kind("ade150/annotations_detectron2", 0) == 1
    assert of_every_kind("ade150/annotations_detectron2", 255) == 0
    assert of_every_kind("pc459/tif", 65535) == 0
    assert of_every_kind("pc459/tif", 0) == 1


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """own(classes, predictions of the one sample, *options): `car score` on 2 x 3 pixels of 0, 0, 1, 1, 7, 7."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    for folder in ("images", "masks", "theirs"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (3, 2)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.array([[0, 0, 1], [1, 7, 7]], np.uint8)).save(tmp_path / "masks" / "a.png")

    def score(classes: str, values: Any, *options: str) -> Result:
        (tmp_path / "classes.txt").write_text(classes)
        Image.fromarray(np.array(values, np.uint8)).save(tmp_path / "theirs" / "a.png")
        places = [f"--{name}={tmp_path / name}" for name in ("images", "masks")]
        own = [*places, f"--classes={tmp_path / 'classes.txt'}", f"--predictions={tmp_path / 'theirs'}", "--json"]
        return CliRunner().invoke(app, ["score", *own, f"--out={tmp_path / 'run'}", "--fresh", "--workers=0", *options])

    return score


def miou(done: Result) -> float:
    assert done.exit_code == 0, done.output
    found: float = json.loads(done.stdout)["metrics"]["miou"]
    return found


def test_values_are_found_out_where_only_one_reading_fits(own: Callable[..., Result]) -> None:
    classes = "0: background\n1: cat\n7: dog\n"
    of_masks = own(classes, [[0, 0, 1], [1, 7, 1]])  # label 2 is the value 7
    assert "notice: predictions are read as values of the data set's own masks (--values dataset)" in of_masks.stderr
    of_labels = own(classes, [[0, 0, 1], [1, 2, 1]])
    assert "notice: predictions are read as label ids of the export (--values labels)" in of_labels.stderr
    # 2 of 2 pixels of background, 2 of 3 of cat, 1 of 2 of dog.
    assert miou(of_masks) == miou(of_labels) == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_values_that_could_be_both_are_asked_for(own: Callable[..., Result]) -> None:
    """Without background, label 1 is the first class, whose value is 0."""
    classes, values = "0: sky\n1: cat\n7: dog\n", [[0, 0, 1], [1, 1, 1]]
    refused = own(classes, values)
    assert refused.exit_code == 2
    assert (
        "--values: expected labels or dataset or classes, found none, and several of these would fit" in refused.stderr
    )
    # As mask values: sky 2 of 2, cat 2 of 4, dog 0 of 2. As labels: nothing is predicted on sky, and sky elsewhere.
    assert miou(own(classes, values, "--values=dataset")) == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert miou(own(classes, values, "--values=labels")) == 0


@pytest.mark.parametrize(
    ("largest", "fits"), [(20, "labels"), (19, None)], ids=["only label 20 is no class id", "either may be"]
)
def test_class_ids_that_could_be_labels_are_asked_for(scored: Scored, largest: int, fits: str | None) -> None:
    """voc20: aeroplane is label 1 and class 0. The figure of class ids is that of the labels behind them."""
    for sample_id, labels in scored.predicted.items():
        scored.write(sample_id, np.minimum(labels, largest))
    options = replace(scored.options(), benchmark="voc20")
    if fits:
        assert prepare(options).segmenter.config.values == fits  # type: ignore[attr-defined]
        return
    with pytest.raises(BenchmarkError, match=r"several of these would fit .*classes: class ids from 0"):
        prepare(options)
    as_classes = evaluate(replace(options, predictions=Predictions(scored.folder, values="classes")))
    for sample_id, labels in scored.predicted.items():
        scored.write(sample_id, np.minimum(labels, largest) + 1)
    as_labels = evaluate(
        replace(options, out=scored.out.with_name("labels"), predictions=Predictions(scored.folder, values="labels"))
    )
    assert figures(as_labels) == figures(as_classes)
    with pytest.raises(BenchmarkError, match=r"^values: expected labels or dataset for voc21, found classes"):
        prepare(scored.options(values="classes"))


def test_values_that_a_run_here_saved_are_known(own: Callable[..., Result], tmp_path: Path) -> None:
    own("0: sky\n1: cat\n7: dog\n", [[0, 0, 1], [1, 1, 1]])
    places = {name: str(tmp_path / name) for name in ("images", "masks")} | {"classes": str(tmp_path / "classes.txt")}
    asked = RunOptions("own-folders", Path(), places=places, out=tmp_path / "first", **FAST)
    theirs = Predictions(tmp_path / "theirs", values="dataset")
    first = evaluate(replace(asked, predictions=theirs, saving=Saving("png")))
    again = evaluate(replace(asked, predictions=Predictions(first.path / "predictions"), out=tmp_path / "again"))
    assert (again.header.config["values"], figures(again)) == ("dataset", figures(first))
    (first.path / "run.json").write_text("{}")
    with pytest.raises(BenchmarkError, match=r"^values: expected labels or dataset or classes"):
        evaluate(replace(asked, predictions=Predictions(first.path / "predictions"), out=tmp_path / "third"))


def test_values_that_fit_neither_way_are_asked_for(own: Callable[..., Result]) -> None:
    refused = own("0: background\n1: cat\n7: dog\n", [[0, 9, 1], [1, 7, 2]])
    assert "and none of these would fit" in refused.stderr
    failed = own("0: background\n1: cat\n7: dog\n", [[0, 9, 1], [1, 7, 2]], "--values=dataset")
    assert failed.exit_code == 3
    assert "expected labels 0..1, 7, found 2, 9" in failed.stderr


def exported(*arguments: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    done = CliRunner().invoke(app, ["export", "--queries", *arguments])
    assert done.exit_code == 0, done.output
    head, *samples = map(json.loads, done.stdout.splitlines())
    return head, samples


def test_an_export_says_what_the_samples_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line compared with the decoded sample; no image is decoded for it."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    roots = {"grefcoco-val": grefer_tree(tmp_path).root, "ref-davis17": davis_tree(tmp_path).root}
    for benchmark in ("mini-voc", "mini-context", "mini-refcoco", "grefcoco-val", "ref-davis17"):
        root = [f"--data-root={roots[benchmark]}"] if benchmark in roots else []
        asked = replace(RunOptions(benchmark, roots.get(benchmark)), predictions=Predictions(tmp_path), limit=3)
        dataset = resolve(asked).load_data()[:3]
        expected = [dataset[position] for position in range(3)]
        with monkeypatch.context() as patch:
            patch.setattr(JpegImagePlugin.JpegImageFile, "load", None)
            head, samples = exported(benchmark, *root, "--limit=3")
        assert (head["benchmark"], head["task"], head["n_samples"]) == (benchmark, expected[0].task, 3)
        for line, sample in zip(samples, expected, strict=True):
            assert (line["id"], line["height"], line["width"]) == (sample.id, *sample.image.shape[:2])
            with Image.open(Path(head["root"], line["image"])) as image:
                assert np.array_equal(np.asarray(image), sample.image)
            queries = line.get("queries") or head["queries"]
            assert tuple(query["text"] for query in queries) == sample.queries
            if sample.task == "video":
                assert tuple(query["label"] for query in queries) == sample.query_labels
    assert samples[0]["save_as"] == "anno_0%2Fgoat%2F00000"


def test_an_export_of_own_data_names_values_and_upright_sizes(own: Callable[..., Result], tmp_path: Path) -> None:
    own("0: sky\n1: cat\n7: dog\n", [[0, 0, 1], [1, 1, 1]])
    turned = Image.new("RGB", (3, 2))
    turned.getexif()[0x0112] = 6  # turned by a quarter
    turned.save(tmp_path / "images" / "a.png", exif=turned.getexif())
    (tmp_path / "images" / "b.png").write_text("no image")
    Image.new("L", (1, 1)).save(tmp_path / "masks" / "b.png")
    places = [f"--{name}={tmp_path / name}" for name in ("images", "masks")]
    head, samples = exported(*places, f"--classes={tmp_path / 'classes.txt'}")
    assert [(each["label"], each["name"], each["values"]) for each in head["labels"]] == [
        (0, "background", [255]),
        (1, "sky", [0]),
        (2, "cat", [1]),
        (3, "dog", [7]),
    ]
    assert head["queries"][2] == {"text": "dog", "label": 3, "stuff": False}
    assert [(each["height"], each["width"]) for each in samples] == [(3, 2), (None, None)]
    assert samples[1]["error"] == "expected an image file, found an unknown format"


def test_an_export_is_written_to_a_file_and_says_what_it_expects(tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    done = CliRunner().invoke(app, ["export", "mini-coco-object", "--limit=1", "-o", str(file)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"Written to {file}: labels and queries, 1 sample\n"
    head, sample = map(json.loads, file.read_text().splitlines())
    bird = next(entry for entry in head["labels"] if entry["name"] == "bird")
    assert (bird["label"], 16 in bird.get("categories", bird["values"])) == (15, True)
    assert sample["id"]


@pytest.fixture
def pointed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """pointed(path): a run of gRefCOCO that scores it; an empty prediction says that nothing is meant."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    tree = grefer_tree(tmp_path)

    def score(path: Path) -> Run:
        protocol = {"no_target_below": "1"}
        out = tmp_path / f"run {path.name}"
        return evaluate(
            RunOptions("grefcoco-val", tree.root, predictions=Predictions(path), protocol=protocol, out=out, **FAST)
        )

    return score


def meant(tmp_path: Path) -> dict[str, np.ndarray]:
    """The union of what each sentence means, by id, from the annotations alone."""
    tree = grefer_tree(tmp_path)
    crowds = {each["id"] for each in tree.instances["annotations"] if each["iscrowd"]}
    masks: dict[str, np.ndarray] = {}
    for ref in (ref for ref in tree.refs if ref["split"] == "val"):
        size = (24, 32) if ref["image_id"] == 7 else (30, 20)
        union = np.zeros(size, np.bool_)
        for annotation in tree.instances["annotations"]:
            if annotation["id"] in ref["ann_id"] and annotation["id"] not in crowds:
                shape = annotation["segmentation"]
                shape = shape[0] if isinstance(shape[0], dict) else coco_mask.frPyObjects(shape, *size)[0]
                encoded = coco_mask.frPyObjects(shape, *size) if isinstance(shape["counts"], list) else shape
                union |= coco_mask.decode(encoded).astype(np.bool_)
        masks |= {f"ref{ref['ref_id']}-sent{each['sent_id']}": union for each in ref["sentences"]}
    return masks


def test_one_mask_a_sentence_in_every_format(pointed: Callable[..., Run], tmp_path: Path) -> None:
    masks = meant(tmp_path)
    assert sum(not mask.any() for mask in masks.values()) == 2  # "a zebra", "no such thing"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for sample_id, mask in masks.items():
        Image.fromarray(mask.astype(np.uint8) * 255).save(pictures / f"{sample_id}.png")
    np.savez(tmp_path / "arrays.npz", **masks)  # type: ignore[arg-type]
    entries = [
        {"image_id": name, "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)}}
        for name, mask in masks.items()
    ]
    (tmp_path / "results.json").write_text(json.dumps(entries))
    runs = [pointed(tmp_path / name) for name in ("pictures", "arrays.npz", "results.json")]
    for run in runs:
        metrics = run.header.metrics
        assert [metrics[name] for name in ("giou_mean_over_samples", "n_acc", "t_acc")] == [1, 1, 1]
        assert counts(run.path) == counts(runs[0].path)
    for name, mask in masks.items():
        assert counts(runs[0].path)[name]["prediction"] == mask.sum()


def test_score_of_empty_list_is_nothing_and_of_two_masks_refused(pointed: Callable[..., Run], tmp_path: Path) -> None:
    folder, masks = tmp_path / "theirs", meant(tmp_path)
    folder.mkdir()
    for name in masks:
        (folder / f"{name}.json").write_text("[]")
    first = next(iter(masks))
    entry = {"segmentation": {"size": [24, 32], "counts": [24 * 32]}}
    (folder / f"{first}.json").write_text(json.dumps([entry, entry]))
    metrics = pointed(folder).header.metrics
    assert metrics["giou_mean_over_samples"] == 2 / len(masks)
    assert (metrics["n_acc"], metrics["t_acc"]) == (1, 0)
    [failed] = metrics["failed"]
    assert (failed["id"], failed["error"].endswith("expected one mask, found 2")) == (first, True)


def test_score_of_davis_layout_fails_on_a_surplus_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    tree = davis_tree(tmp_path)
    for number in range(4):
        for video, labels in tree.labels.items():
            folder = tmp_path / "theirs" / f"anno_{number}" / video
            folder.mkdir(parents=True)
            for frame, objects in enumerate(labels):
                Image.fromarray(objects).save(folder / f"{frame:05d}.png")
    options = RunOptions("ref-davis17", tree.root, predictions=Predictions(tmp_path / "theirs"), **FAST)
    assert evaluate(replace(options, out=tmp_path / "run")).header.metrics["j_and_f"] == 1
    third = tree.labels["goat"][1].copy()
    third[0, 0] = 3  # of two objects
    Image.fromarray(third).save(tmp_path / "theirs" / "anno_2" / "goat" / "00001.png")
    [failed] = evaluate(replace(options, out=tmp_path / "again")).header.metrics["failed"]
    assert failed["id"] == "anno_2/goat/00001"
    assert "expected labels 0..2, found 3" in failed["error"]
