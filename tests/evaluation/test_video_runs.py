"""Whole runs over a small Ref-DAVIS tree with small random models: frame by frame, and carried through time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.davis_tree import DavisTree, davis_tree
from PIL import Image
from typer.testing import CliRunner

from car_core import CaR
from dataset_adapters import load
from evaluation import Run, RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.request.benchmark import BenchmarkError, load_benchmark, resolve_config
from evaluation.run.dispatch import pending_frames
from evaluation.run.merge import merge
from evaluation.tasks.video import count_sample
from results import RunDirectory, SampleRecord

Runner = Callable[..., Run]
THETA = 0.34  # random scores of two or three queries lie around a half and a third


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DavisTree:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    made = davis_tree(tmp_path)
    labels = made.labels["goat"][1]
    labels[:10] = 255  # void
    Image.fromarray(labels).save(made.mask_path("goat", 1))
    return made


@pytest.fixture
def settings(tiny_model: Path) -> dict[str, Any]:
    models = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    return {**models, "theta": THETA, "templates": ["a photo of a {}."], "crf": {"iterations": 1}}


@pytest.fixture
def run(tree: DavisTree, settings: dict[str, Any], tmp_path: Path) -> Runner:
    """run(out, field=value, ...): a run of ref-davis17 with these options changed."""

    def make(out: str = "run", **changes: Any) -> Run:
        own = {**settings, **changes.pop("settings", {})}
        given = {"weights": "random:1", "workers": 0, "quiet": True, **changes}
        return evaluate(
            RunOptions(given.pop("benchmark", "ref-davis17"), tree.root, settings=own, out=tmp_path / out, **given)
        )

    return make


def records(run: Run) -> dict[str, Any]:
    lines = [json.loads(line) for line in (run.path / "samples.jsonl").read_text().splitlines()]
    return {line["id"]: line for line in lines}


def segment_all(
    tree: DavisTree, settings: dict[str, Any], *, carried: bool, profile: Any = "released"
) -> dict[str, Any]:
    """Label map and surviving queries of each frame, by calling the library one frame at a time."""
    config, _ = resolve_config(load_benchmark("ref-davis17"), profile, settings)
    car, found, alive = CaR.from_config(config, weights="random:1"), {}, {}
    for sample in load("ref-davis17", tree.root):
        queries: Sequence[str] = alive.get(sample.sequence, sample.queries) if carried else sample.queries
        labels, kept = np.zeros(sample.image.shape[:2], np.int32), []
        if queries:
            segmentation = car.segment(sample.image, queries)
            for index, query in enumerate(segmentation.queries):
                labels[segmentation.label_map == index + 1] = sample.queries.index(query) + 1
            kept = [segmentation.queries[index] for index in segmentation.kept]
        alive[sample.sequence] = kept
        label_map = np.asarray(Image.open(tree.mask_path(*video_and_frame(sample.id))))
        found[sample.id] = (labels, kept, count_sample(sample.target, np.where(label_map == 255, 0, labels)))
    assert any((labels[:10] > 0).any() for id, (labels, _, _) in found.items() if id.endswith("goat/00001"))
    return found


def video_and_frame(sample_id: str) -> tuple[str, int]:
    _, name, frame = sample_id.split("/")
    return name, int(frame)


def check(done: Run, expected: dict[str, Any]) -> None:
    __tracebackhide__ = True
    found = records(done)
    assert found.keys() == expected.keys()
    for sample_id, (labels, kept, counts) in expected.items():
        assert (found[sample_id]["status"], found[sample_id]["queries_kept"]) == ("ok", kept)
        assert found[sample_id]["counts"] == counts
        image = Image.open(done.path / "label_maps" / f"{sample_id}.png")
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), labels)


def test_frame_by_frame_and_carried_equal_the_library(run: Runner, tree: DavisTree, settings: dict[str, Any]) -> None:
    single = segment_all(tree, settings, carried=False)
    carried = segment_all(tree, settings, carried=True)
    check(run("single"), single)
    check(run("carried", benchmark="ref-davis17-temporal", workers=2, batch_size=3), carried)
    differ = [key for key in single if single[key][1] != carried[key][1]]
    assert differ
    assert not any(key.endswith("00000") for key in differ)
    assert len({len(kept) for _, kept, _ in single.values()}) > 1


def test_nothing_left_stays_nothing(run: Runner, tree: DavisTree, settings: dict[str, Any]) -> None:
    settings = {**settings, "theta": 0.52}
    expected = segment_all(tree, settings, carried=True, profile="paper")
    ends = [kept for _, kept, _ in expected.values()]
    assert [] in ends
    assert any(ends)
    check(run(settings={"theta": 0.52, "carry_queries": True}, profile="paper"), expected)


def test_palette_and_layout(run: Runner, tree: DavisTree) -> None:
    done = run(limit=4)
    names = sorted(path.name for path in (done.path / "label_maps/anno_0/goat").iterdir())
    assert names == [f"{frame:05d}.png" for frame in range(4)]
    palette = Image.open(done.path / "label_maps/anno_0/goat/00000.png").getpalette()
    assert palette[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]  # as DAVIS has it
    assert palette[-3:] == [224, 224, 192]


def test_table_and_options(run: Runner) -> None:
    done = run()
    table = (done.path / "table.md").read_text()
    assert "Next to the paper's Table 8, column j_and_f" in table
    assert re.search(r"\| CaR \(paper\) +\| J\\&F +\| 30.3 \|", table)
    assert re.search(r"\| CaR, released profile, random:1 +\| j_and_f +\|", table)
    metrics = done.header.metrics
    assert 0 < metrics["j_and_f"] < 1
    assert metrics["j_and_f"] == pytest.approx(np.mean([metrics[f"j_and_f_anno_{k}"] for k in range(4)]), abs=1e-12)
    fixed = run("fixed", protocol={"davis_task": "semi-supervised"})
    assert fixed.header.identity != done.header.identity
    assert "first and last" in fixed.header.metrics["reductions"]["j"]
    with pytest.raises(BenchmarkError, match="davis_task: expected one of unsupervised, semi-supervised, found 'x'"):
        run("bad", protocol={"davis_task": "x"})


def without_frame(path: Path, sample_id: str) -> None:
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["id"] != sample_id]
    path.write_text("".join(f"{line}\n" for line in lines))


def test_an_interrupted_video_goes_on_from_its_state(run: Runner, tree: DavisTree, settings: dict[str, Any]) -> None:
    expected = segment_all(tree, settings, carried=True)
    done = run(benchmark="ref-davis17-temporal")
    samples = done.path / "samples.jsonl"
    for gone in ("anno_0/goat/00002", "anno_3/dogs-scale/00000"):
        without_frame(samples, gone)
    before = len(samples.read_text().splitlines())
    check(run(benchmark="ref-davis17-temporal"), expected)
    assert len(samples.read_text().splitlines()) == before + 2 + 3  # the frames behind a gap are done anew


@pytest.mark.parametrize("torn", [True, False])
def test_a_label_map_that_is_torn_or_gone_is_made_again(run: Runner, torn: bool) -> None:
    done = run()
    path = done.path / "label_maps/anno_1/goat/00002.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5]) if torn else path.unlink()
    lines = len((done.path / "samples.jsonl").read_text().splitlines())
    again = run()
    assert path.read_bytes() == whole
    assert len((done.path / "samples.jsonl").read_text().splitlines()) == lines + 1
    assert again.header.metrics == done.header.metrics


def test_more_shards_than_sequences_are_refused(run: Runner) -> None:
    for part in (1, 9):
        with pytest.raises(BenchmarkError, match=f"expected at most as many shards as sequences, 8, found {part}/9"):
            run(shard=(part, 9))


def test_merged_shards_of_videos_are_the_run_in_one_piece(run: Runner, tmp_path: Path) -> None:
    whole = run(benchmark="ref-davis17-temporal")
    parts = [run(f"part{n}", benchmark="ref-davis17-temporal", shard=(n, 3)).path for n in (1, 2, 3)]
    merged = merge(parts, tmp_path / "merged")
    assert (merged.identity, merged.metrics) == (whole.header.identity, whole.header.metrics)
    ids = [[record.id for record in RunDirectory(path).read_records()] for path in (whole.path, tmp_path / "merged")]
    assert ids[0] == ids[1]


def test_a_mended_frame_is_as_if_it_had_never_failed(run: Runner, tree: DavisTree, settings: dict[str, Any]) -> None:
    expected = segment_all(tree, settings, carried=True)
    path = tree.image_path("goat", 1)
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)))  # the same size: the data set's fingerprint stays
    broken = run(benchmark="ref-davis17-temporal")
    assert (broken.header.counts.n_failed, broken.header.status) == (4, "complete")
    assert not np.asarray(Image.open(broken.path / "label_maps/anno_0/goat/00001.png")).any()
    assert len(records(broken)["anno_0/goat/00001"]["counts"]["pairs"]) == 4
    path.write_bytes(good)
    check(run(benchmark="ref-davis17-temporal"), expected)


def test_pending_frames() -> None:
    ids = ["a/0", "a/1", "a/2", "b/0", "b/1"]
    sequences = ["a", "a", "a", "b", "b"]
    of = {each: SampleRecord(id=each, status="ok", queries_kept=[each]) for each in ids}

    def rest(written: list[str]) -> list[int]:
        return pending_frames(ids, sequences, {each: of[each] for each in written})[0]

    assert rest([]) == [0, 1, 2, 3, 4]
    assert rest(ids) == []
    assert rest(["a/0", "a/2", "b/0", "b/1"]) == [1, 2]
    assert rest(["b/0", "a/0", "b/1", "a/1"]) == [2]
    assert rest(["a/1", "a/2", "b/0", "a/0", "b/1"]) == [1, 2]  # a/0 was done anew, and then the run broke off


def test_carrying_needs_videos(run: Runner, tiny_run: Any) -> None:
    with pytest.raises(BenchmarkError, match="carry_queries: expected a data set of videos, found voc21"):
        evaluate(tiny_run.options(settings={"carry_queries": True}))


def test_the_command_line_names_a_missing_text_file(tree: DavisTree, tiny_model: Path, tmp_path: Path) -> None:
    tree.text_path("Davis17_annot1_full_video.txt").unlink()
    arguments = [
        "eval",
        "ref-davis17",
        "--data-root",
        str(tree.parent),
        "--weights=random:1",
        f"--out={tmp_path / 'r'}",
    ]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "Davis17_annot1_full_video.txt: expected a file of expressions, found nothing" in result.stderr
