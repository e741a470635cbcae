"""Files beside the records: predictions and proposals, the same whatever the engine, complete after going on."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.davis_tree import davis_tree
from helpers.faults import faulty
from helpers.made_trees import VocTree
from helpers.refer_tree import grefer_tree, refer_tree
from PIL import Image
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from car_core.segmentation import Segmentation
from dataset_adapters import load
from dataset_adapters.base.adapter import find_sources
from evaluation import evaluate
from evaluation.cli.app import app
from evaluation.engines.ray import Chain, Dispatcher, Finished
from evaluation.run.merge import merge
from evaluation.run.prepare import prepare
from evaluation.tasks.saving import Saving
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import segment_samples
from results import RunDirectory, write_label_map
from support.errors import AllFailedError, UserError

FAST: dict[str, Any] = {"templates": [], "background": ["grass"], "crf": None, "theta": 0.0}
BOTH = Saving("png", proposals=True)


def files(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for folder in ("predictions", "proposals")
        for path in sorted((out / folder).glob("*"))
    }


def test_files_hold_what_was_predicted_and_proposed(tiny_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = tiny_run.options(settings=FAST, limit=3, saving=BOTH)
    run = evaluate(options)
    notice = r"^notice: saved files of 3 samples: predictions about \d\.\d KiB, proposals at most \d+\.\d KiB"
    assert re.search(notice, capsys.readouterr().err, re.MULTILINE)
    prepared = prepare(options)
    samples = [prepared.selected[position] for position in range(3)]
    found = segment_samples(samples, prepared.segmenter, prepared.dataset.label_space, trace=True)
    for sample, segmentation in zip(samples, found, strict=True):
        with Image.open(run.path / "predictions" / f"{sample.id}.png") as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), prepared.scorer.prediction(segmentation, sample))
        with np.load(run.path / "proposals" / f"{sample.id}.npz") as stored:
            assert tuple(stored["queries"]) == segmentation.queries
            assert len(stored.files) == 1 + 3 * len(segmentation.steps)
            for number, step in enumerate(segmentation.steps, start=1):
                assert tuple(stored[f"queries_{number}"]) == step.queries
                assert np.allclose(stored[f"proposals_{number}"], step.proposals, atol=5e-4, rtol=0)
    plain = evaluate(replace(options, out=run.path.with_name("plain"), saving=Saving()))
    assert (plain.header.identity, plain.header.metrics) == (run.header.identity, run.header.metrics)
    assert not files(plain.path)


def test_run_lengths_are_read_by_pycocotools(tiny_run: Any, tmp_path: Path) -> None:
    run = evaluate(tiny_run.options(settings=FAST, limit=2, saving=Saving("rle")))
    pictures = evaluate(tiny_run.options(settings=FAST, limit=2, saving=Saving("png"), out=tmp_path / "png"))
    for record in RunDirectory(run.path).read_records():
        with Image.open(pictures.path / "predictions" / f"{record.id}.png") as image:
            expected = np.asarray(image)
        found = np.zeros_like(expected)
        for segment in json.loads((run.path / "predictions" / f"{record.id}.json").read_text()):
            assert segment["image_id"] == record.id
            found[coco_mask.decode(segment["segmentation"]) > 0] = segment["category_id"]
        assert np.array_equal(found, expected)
        assert expected.any()


def test_going_on_makes_up_for_files_that_are_missing(tiny_run: Any, tmp_path: Path) -> None:
    options = tiny_run.options(settings=FAST)
    evaluate(options)
    first = evaluate(replace(options, saving=BOTH))
    whole = files(first.path)
    assert len(whole) == 14
    (first.path / "predictions" / "2007_000003.png").unlink()
    proposals = sorted((first.path / "proposals").iterdir())
    before = [path.stat().st_mtime_ns for path in proposals]
    again = evaluate(replace(options, saving=BOTH))
    written = [path.stem for path, time in zip(proposals, before, strict=True) if path.stat().st_mtime_ns != time]
    assert written == ["2007_000003"]
    assert files(again.path) == whole
    assert again.header.metrics == first.header.metrics
    parts = [evaluate(replace(options, saving=BOTH, shard=(n, 2), out=tmp_path / str(n))).path for n in (1, 2)]
    merge(parts, tmp_path / "merged")
    assert files(tmp_path / "merged") == whole


def test_fresh_sets_files_aside_with_the_records(tiny_run: Any, tmp_path: Path) -> None:
    old = tiny_run.options(settings=FAST, limit=2, saving=BOTH)
    new = replace(old, settings={**old.settings, "recurrence": "none", "eta": 0.8})
    before = files(evaluate(old).path)
    evaluate(replace(new, saving=Saving(), fresh=True))
    assert not files(tiny_run.out)
    assert sorted(path.name.partition(".")[0] for path in tiny_run.out.iterdir() if path.is_dir()) == [
        "predictions",
        "proposals",
    ]
    evaluate(new)
    assert files(tiny_run.out) == files(evaluate(replace(new, out=tmp_path / "straight")).path) != before


@pytest.mark.parametrize("saving", [BOTH, Saving("rle")], ids=["png and npz", "rle"])
def test_a_file_cut_at_any_byte_is_made_again(tiny_run: Any, saving: Saving) -> None:
    VocTree(tiny_run.data_root.parents[1]).add("2007_000000", height=6, width=9)  # so small that every byte is tried
    options = tiny_run.options(settings=FAST, limit=1, saving=saving)
    evaluate(options)
    for path in saving.paths(tiny_run.out, "2007_000000"):
        whole = path.read_bytes()
        assert saving.is_saved(tiny_run.out, "2007_000000")
        for end in reversed(range(len(whole))):
            os.truncate(path, end)
            assert not saving.is_saved(tiny_run.out, "2007_000000"), (path, end)
        evaluate(options)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("step", ["open", "replace"])
def test_a_write_that_ends_early_leaves_no_torn_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Whatever writes it: this process, or the one that takes what an actor sends."""
    saving, prediction = Saving("png"), np.ones((2, 3), np.int32)
    saving.save(tmp_path, "a", prediction, None)
    [path] = saving.paths(tmp_path, "a")
    whole, label_map = path.read_bytes(), tmp_path / "map.png"
    write_label_map(label_map, prediction)
    dispatcher: Any = SimpleNamespace(
        lost_in_a_row=0,
        shrunk=set(),
        scorer=SimpleNamespace(folder=tmp_path),
        survivors=None,
        _go_on=lambda chain: None,
    )
    sent = Finished([], {"predictions/a.png": b"other"}, ())

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"open": ("builtins.open", fail), "replace": ("os.replace", fail)}[step])
    for write in (
        lambda: saving.save(tmp_path, "a", 2 * prediction, None),
        lambda: write_label_map(label_map, 2 * prediction),
        lambda: list(Dispatcher.finish(dispatcher, Chain(deque([(0,)])), sent)),
    ):
        with pytest.raises(OSError, match="No space left"):
            write()
    monkeypatch.undo()
    assert path.read_bytes() == label_map.read_bytes() == whole
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_a_failed_sample_with_a_target_is_saved_as_nothing(tiny_run: Any) -> None:
    with pytest.raises(AllFailedError, match=r"the only sample failed, 2007_000000: Faulty\.segment: "):
        evaluate(faulty(tiny_run.options(limit=1, saving=Saving("png")), fault="raise"))
    with Image.open(tiny_run.out / "predictions" / "2007_000000.png") as image:
        assert not np.asarray(image).any()


@pytest.mark.parametrize(
    "sample_id",
    ["../../x", "..", "/etc/x", "a\x00b\n\u202e", "a" * 100_000, "\udcff", chr(0xD83D), chr(0xD83D) * 999, "ä/ö"],
)
def test_no_id_leads_out_of_the_folder(tmp_path: Path, sample_id: str) -> None:
    saving = Saving("rle")
    saving.save(tmp_path, sample_id, np.ones((2, 3), bool), None)
    [path] = saving.paths(tmp_path, sample_id)
    assert path.parent == tmp_path / "predictions"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert saving.is_saved(tmp_path, sample_id)
    assert not saving.is_saved(tmp_path, f"{sample_id}x")


def test_more_labels_than_a_palette_holds_are_refused(tiny_run: Any) -> None:
    dataset = load("voc21", tiny_run.data_root)
    many = replace(dataset, label_space=find_sources("ade847")[0].label_space("released"))
    with pytest.raises(UserError, match=r"save_predictions: expected rle for 84\d labels, found png: it holds 256"):
        Saving("png").check(many)
    Saving("rle").check(many)


def test_the_options_of_the_command(tiny_run: Any) -> None:
    arguments = tiny_run.arguments("--limit=1", "--save-predictions=rle", "--save-proposals", "--set=crf=null")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert {Path(name).suffix for name in files(tiny_run.out)} == {".json", ".npz"}


def no_segmentation(sample: Any) -> Segmentation:
    """What a method gives that finds nothing."""
    nothing = Segmentation.of_nothing(*sample.image.shape[:2])
    return replace(nothing, merged_mask=nothing.label_map > 0)


@pytest.mark.parametrize("saving", [BOTH, Saving("rle", proposals=True)], ids=["png", "rle"])
@pytest.mark.parametrize("data", ["refcoco", "grefcoco", "ref-davis17"])
def test_every_kind_of_sample_is_announced_and_saved(tmp_path: Path, data: str, saving: Saving) -> None:
    """Without a target, with an empty prediction, failed with its target, failed without, a frame of a video."""
    make = {"refcoco": refer_tree, "grefcoco": grefer_tree, "ref-davis17": davis_tree}[data]
    dataset = make(tmp_path / "data").load()
    if data == "grefcoco":
        assert [len(sample.target) for sample in dataset] == [1, 2, 0, 2]
    scorer = Scorer(dataset.task, dataset.label_space, {}, tmp_path, saving)
    for position, sample in enumerate(dataset):
        view = dataset[position : position + 1]
        assert "saved files of 1 sample: predictions about" in str(saving.announcement(view, tmp_path))
        for record in (
            scorer.record_of(sample, no_segmentation(sample), 0.0),
            scorer.failed_record(sample.id, "broken", sample.target),
        ):
            assert record.counts
            assert scorer.is_kept(sample.id)
            path, steps = saving.paths(tmp_path, sample.id)
            if saving.predictions == "png":
                with Image.open(path) as image:
                    assert (image.size, np.asarray(image).any()) == (sample.image.shape[1::-1], False)
            else:
                assert json.loads(path.read_text()) == []
            with np.load(steps) as stored:
                assert stored.files == ["queries"]
    assert scorer.failed_record("unknown", "broken", None).counts == {}
    assert not scorer.is_kept("unknown")
    for file in dataset.root.rglob("*.jpg"):
        file.write_bytes(b"no image")
    assert saving.announcement(dataset[:2], tmp_path) == (
        "no sample can be read, so the disk use of saved files is not known"
    )
