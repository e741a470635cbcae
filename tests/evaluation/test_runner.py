"""Whole runs over a small VOC tree with small random models."""

from __future__ import annotations

import json
import os
import pkgutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.faults import faulty
from PIL import Image
from sklearn.metrics import confusion_matrix
from typer.testing import CliRunner

from car_core import CaR
from dataset_adapters import DatasetError, load
from evaluation import RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.request.benchmark import BenchmarkError, load_benchmark, resolve_config
from results import RunDirectory, StoreError
from support.errors import AllFailedError


def figures(path: Path) -> dict[str, Any]:
    """What two equal runs share: everything in run.json but times, memory and batch-independent settings."""
    header = json.loads((path / "run.json").read_text())
    return {key: header[key] for key in ("status", "identity", "metrics", "counts", "config")}


def records(path: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in (path / "samples.jsonl").read_text().splitlines()]
    return {line.pop("id"): {key: value for key, value in line.items() if key != "seconds"} for line in lines}


def test_metrics_equal_an_independent_count(tiny_run: Any) -> None:
    options = tiny_run.options(settings={"recurrence": "none"})  # all queries stay, so many classes are predicted
    run = evaluate(options)
    config, _ = resolve_config(load_benchmark("voc21"), "released", options.settings)
    car = CaR.from_config(config, weights="random:1")
    matrix = np.zeros((21, 21), np.int64)
    for sample in load("voc21", tiny_run.data_root):
        found = car.segment(sample.image, sample.queries)
        counted = sample.target != 255
        matrix += confusion_matrix(sample.target[counted], found.label_map[counted], labels=range(21))
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    miou = (matrix.diagonal() / np.maximum(union, 1))[union > 0].mean()
    assert run.header.metrics["miou"] == pytest.approx(miou, abs=1e-12)
    assert run.header.metrics["pixel_accuracy_pooled"] == pytest.approx(matrix.trace() / matrix.sum(), abs=1e-12)
    assert len(np.unique(matrix.nonzero()[1])) > 2  # several classes were predicted


@pytest.mark.parametrize("change", [{"batch_size": 1}, {"batch_size": 3}, {"workers": 2}], ids=str)
def test_batches_and_workers_change_nothing(tiny_run: Any, tmp_path: Path, change: dict[str, int]) -> None:
    evaluate(tiny_run.options(batch_size=7))
    evaluate(tiny_run.options(out=tmp_path / "other", **change))
    assert figures(tmp_path / "other") == figures(tiny_run.out)
    assert records(tmp_path / "other") == records(tiny_run.out)


def test_voc20_ignores_true_background(tiny_run: Any) -> None:
    run = evaluate(replace(tiny_run.options(), benchmark="voc20"))
    classes = {entry["label"]: entry for entry in run.header.metrics["per_class"]}
    assert 0 not in classes
    counted = sum(entry["target_pixels"] for entry in classes.values())
    foreground = sum(int(((s.target != 255) & (s.target != 0)).sum()) for s in load("voc21", tiny_run.data_root))
    assert counted == foreground


def test_the_run_directory_holds_what_is_needed(tiny_run: Any) -> None:
    run = evaluate(tiny_run.options(limit=2))
    header = run.header
    assert (header.status, header.counts.n_total, header.benchmark.dataset.n_samples) == ("complete", 2, 7)
    stages = {"trunk", "cam", "affinity", "prompts", "texts", "classifier", "refine", "decode"}
    assert stages <= header.timings.seconds_by_stage.keys()
    assert (header.memory.peak_rss_mib or 0) > 10
    assert not any(weights.trained for weights in header.weights)
    assert header.config_sources["theta"] == "user"
    table = (run.path / "table.md").read_text()
    assert "untrained weights, not comparable" in table
    assert "partial run: 2 of 7 images; partial data set: 7 images in place of 1449; changed: theta" in table
    assert "67.6" in table
    assert (run.path / "table.csv").stat().st_size > 0


def test_an_interrupted_run_goes_on_and_equals_a_straight_one(
    tiny_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = faulty(tiny_run.options(batch_size=2), rows=40, gate=str(tmp_path), fault="interrupt")
    with pytest.raises(KeyboardInterrupt):
        evaluate(options)
    assert figures(tiny_run.out)["status"] == "incomplete"
    assert len(records(tiny_run.out)) == 4
    with (tiny_run.out / "samples.jsonl").open("a") as file:
        file.write('{"id": "2007_000004", "status": "o')  # torn by a kill in the middle of a write
    (tmp_path / "open").touch()
    evaluate(options)
    assert "run: 4 of 7 samples are already done; resuming with the rest" in capsys.readouterr().err
    evaluate(replace(options, out=tmp_path / "straight"))
    assert figures(tiny_run.out) == figures(tmp_path / "straight")
    assert records(tiny_run.out) == records(tmp_path / "straight")


def test_a_finished_run_is_not_run_again_unless_fresh(tiny_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = evaluate(tiny_run.options(limit=2)).header
    lines = (tiny_run.out / "samples.jsonl").read_bytes()
    assert "already done" not in capsys.readouterr().err
    again = evaluate(tiny_run.options(limit=2)).header
    assert "run: all samples are already done" in capsys.readouterr().err
    assert (tiny_run.out / "samples.jsonl").read_bytes() == lines
    assert again == first
    assert first.timings.wall_seconds > sum(again.timings.seconds_by_stage.values()) / 2
    evaluate(tiny_run.options(limit=2, fresh=True))
    assert len(list(tiny_run.out.glob("samples.jsonl*"))) == 2


def test_files_are_read_checked_and_written_no_more_than_needed(tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header is checked when it is made or read and whenever it is written, at the start and at the end of the work.

    samples.jsonl is read where it is there at the start, and at the end, because figures are those of the file.
    """
    counts: Counter[str] = Counter()

    def counting(target: str, name_of: Callable[..., str]) -> None:
        module, _, name = target.rpartition(".")
        owner: Any = pkgutil.resolve_name(module)
        original = getattr(owner, name)

        def counted(*given: Any, **options: Any) -> Any:
            counts[name_of(*given)] += 1
            return original(*given, **options)

        monkeypatch.setattr(owner, name, counted)

    for module in ("support.files", "results.run_directory.store"):
        counting(f"{module}.open_regular", lambda path, mode="rb": f"{'read' if mode == 'rb' else mode} {path.name}")
    counting("results.run_directory.schema.identity_of", lambda *_: "header checked")
    counting("results.run_directory.store.RunDirectory.write_header", lambda *_: "header written")
    counting("evaluation.tasks.scorer.Scorer.summarize", lambda *_: "summarized")

    def found(**changes: Any) -> list[int]:
        counts.clear()
        evaluate(tiny_run.options(limit=2, **changes))
        names = ("read run.json", "read samples.jsonl", "header checked", "header written", "summarized")
        return [counts[name] for name in names]

    assert found() == [0, 1, 3, 2, 1]
    assert found() == [1, 1, 2, 0, 1]  # finished already
    file = tiny_run.out / "samples.jsonl"
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    (tiny_run.out / "run.json").write_text(json.dumps(header_of_a_killed_run(tiny_run.out)))
    assert found() == [1, 2, 3, 1, 2]  # resumed on the same machine: the header at the start says nothing new


def header_of_a_killed_run(path: Path) -> dict[str, Any]:
    header: dict[str, Any] = json.loads((path / "run.json").read_text())
    return header | {"status": "running", "metrics": {}, "counts": {"n_total": 0, "n_scored": 0, "n_failed": 0}}


def made_on(path: Path, device: str) -> None:
    """Have a run made by another machine so far."""
    header = json.loads((path / "run.json").read_text())
    header["environment"]["device"] = device
    (path / "run.json").write_text(json.dumps(header))


def test_a_finished_run_stays_that_of_its_machine(tiny_run: Any) -> None:
    first = evaluate(tiny_run.options(limit=2)).header
    made_on(tiny_run.out, "another")
    file = tiny_run.out / "run.json"
    before = file.read_bytes(), file.stat().st_mtime_ns
    again = evaluate(tiny_run.options(limit=2, settings={"eta": first.config["eta"]})).header
    assert again.environment == first.environment.model_copy(update={"device": "another"})
    assert again.model_copy(update={"environment": first.environment}) == first
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_a_run_that_goes_on_elsewhere_names_all_its_machines(tiny_run: Any, tmp_path: Path) -> None:
    options = faulty(tiny_run.options(batch_size=1, limit=3), rows=28, gate=str(tmp_path), fault="interrupt")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            evaluate(options)
        made_on(tiny_run.out, "device0")
    (tmp_path / "open").touch()
    header = evaluate(options).header
    assert (header.status, header.environment.device) == ("complete", "cpu")
    [other] = header.other_environments
    assert (other.device, other.model_copy(update={"device": "cpu"})) == ("device0", header.environment)
    assert "- also made with: device0, float32, " in (tiny_run.out / "table.md").read_text()


def test_run_killed_after_its_last_record_keeps_its_machine(tiny_run: Any) -> None:
    done = evaluate(tiny_run.options(limit=2)).header
    with RunDirectory(tiny_run.out) as store:
        store.write_header(done.model_copy(update={"status": "running", "metrics": {}}))
    made_on(tiny_run.out, "another")
    again = evaluate(tiny_run.options(limit=2)).header
    assert (again.status, again.metrics, again.environment.device) == ("complete", done.metrics, "another")
    assert again.other_environments == []


def test_another_configuration_in_the_same_folder_is_refused(tiny_run: Any) -> None:
    evaluate(tiny_run.options(limit=1))
    with pytest.raises(StoreError, match=r"config\.eta is 0\.4 there, 0\.7 now"):
        evaluate(tiny_run.options(limit=1, settings={"eta": 0.7}))


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_larger_limit_extends_the_run_in_the_folder(
    tiny_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_cut: bool
) -> None:
    straight = evaluate(tiny_run.options(out=tmp_path / "straight", limit=5)).path
    first = evaluate(tiny_run.options(limit=3)).header
    file = tiny_run.out / "samples.jsonl"
    lines = file.read_text().splitlines(keepends=True)[: 2 if is_cut else 3]
    file.write_text("".join(lines))  # without the last, a record of the smaller run is lost
    capsys.readouterr()
    extended = evaluate(tiny_run.options(limit=5)).header
    now = file.read_text().splitlines(keepends=True)
    assert now[: len(lines)] == lines
    assert len(now) == 5  # none was done again
    assert ("has lost 1 record" in capsys.readouterr().err) is is_cut
    assert figures(tiny_run.out) == figures(straight)
    assert [*records(tiny_run.out).items()] == [*records(straight).items()]
    assert (extended.created_at, extended.request["limit"]) == (first.created_at, 5)
    with pytest.raises(StoreError, match="limit is 5 there, 4 now"):
        evaluate(tiny_run.options(limit=4))
    with pytest.raises(StoreError, match=r"config\.eta is 0\.4 there, 0\.7 now"):
        evaluate(tiny_run.options(limit=6, settings={"eta": 0.7}))
    assert evaluate(tiny_run.options()).header.counts.n_total == 7


def test_an_edited_run_is_not_extended(tiny_run: Any) -> None:
    path = evaluate(tiny_run.options(limit=2)).path / "run.json"
    header = json.loads(path.read_text())
    header["metrics"]["miou"] = 0.99
    path.write_text(json.dumps(header))
    with pytest.raises(StoreError, match=r"expected the records behind run\.json, found other figures"):
        evaluate(tiny_run.options(limit=3))


def test_unreadable_samples_are_failed_records(tiny_run: Any, tmp_path: Path) -> None:
    straight = evaluate(tiny_run.options(out=tmp_path / "straight")).header
    image = tiny_run.data_root / "JPEGImages" / "2007_000002.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    Image.fromarray(np.full((2, 2), 3, np.uint8)).save(tiny_run.data_root / "SegmentationClass" / "2007_000004.png")
    run = evaluate(tiny_run.options(batch_size=3))
    found = records(run.path)
    assert [id_ for id_, record in found.items() if record["status"] == "failed"] == ["2007_000002", "2007_000004"]
    assert {prediction for _, prediction, _ in found["2007_000002"]["counts"]["confusion"]} == {0}
    assert "2007_000002.jpg" in found["2007_000002"]["error"]
    assert (run.header.counts.n_total, run.header.counts.n_failed) == (7, 2)
    assert run.header.metrics["miou"] != run.header.metrics["miou_scored_only"]
    assert run.header.metrics["miou"] != straight.metrics["miou"]


def test_a_mended_sample_is_redone(tiny_run: Any, tmp_path: Path) -> None:
    options = faulty(tiny_run.options(batch_size=1), rows=48, gate=str(tmp_path), fault="raise")
    failed = evaluate(options).header
    assert failed.counts.n_failed == 1
    assert "Faulty.segment: ValueError: no such luck" in records(tiny_run.out)["2007_000006"]["error"]
    (tmp_path / "open").touch()
    assert evaluate(options).header.counts.n_failed == 0


def test_one_bad_image_does_not_fail_its_batch(tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = CaR.segment_batch

    def segment_batch(car: CaR, images: Sequence[Any], queries: Sequence[Sequence[str]]) -> Any:
        if any(image.shape[0] == 32 for image in images):
            raise RuntimeError("this image")
        return original(car, images, queries)

    monkeypatch.setattr(CaR, "segment_batch", segment_batch)
    run = evaluate(tiny_run.options(batch_size=4))
    assert run.header.counts.n_failed == 1
    assert records(run.path)["2007_000002"]["counts"]["confusion"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data_root": Path("nowhere")}, DatasetError, "nowhere"),
        ({"split": "trainn"}, DatasetError, "trainn"),
        ({"benchmark": "voc22"}, BenchmarkError, "voc22"),
        ({"limit": 0}, BenchmarkError, "limit"),
        ({"settings": {"profile": "paper"}}, BenchmarkError, "--profile"),
        ({"settings": {"mode": "referring"}}, BenchmarkError, "mode"),
        ({"out": Path(__file__) / "run"}, BenchmarkError, "out: expected a folder that can be written"),
        ({"weights": "random:x"}, ValueError, "random:x"),
    ],
    ids=str,
)
def test_set_up_mistakes_stop_before_any_work(
    tiny_run: Any, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate(replace(tiny_run.options(), **change))
    assert not tiny_run.out.exists()


def test_open_files_do_not_grow_with_the_run(tiny_run: Any) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    evaluate(tiny_run.options(limit=1))
    before = len(os.listdir(folder))
    evaluate(tiny_run.options(out=tiny_run.out.with_name("second"), workers=2))
    assert len(os.listdir(folder)) <= before + 1


def test_records_hold_no_path_of_this_machine(tiny_run: Any) -> None:
    (tiny_run.data_root / "JPEGImages" / "2007_000000.jpg").write_bytes(b"not a picture")
    evaluate(tiny_run.options(limit=2))
    assert str(tiny_run.data_root.parent) not in (tiny_run.out / "samples.jsonl").read_text()


def test_records_are_enough_for_the_metrics(tiny_run: Any) -> None:
    from evaluation.tasks.semantic import SemanticAccumulator

    run = evaluate(tiny_run.options())
    space = run.header.benchmark.label_space
    accumulator = SemanticAccumulator(space["labels"], space["scored_labels"])
    for record in reversed(RunDirectory(run.path).read_records()):
        accumulator.add(record)
    again = accumulator.figures()
    assert {key: again[key] for key in ("miou", "miou_gt_classes")} == {
        key: run.header.metrics[key] for key in ("miou", "miou_gt_classes")
    }


def test_real_photos_give_the_same_figures_in_any_batch(tiny_model: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2].parent / "shared" / "realdata" / "VOCdevkit"
    if not root.exists():
        pytest.skip("the real photos are not here")
    tiny_model.write_text(tiny_model.read_text().replace('"patch_size": 8', '"patch_size": 16'))
    settings = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model), "theta": 0.05}
    for batch_size in (1, 2):
        options = RunOptions("voc21", root, "random:3", settings=settings, limit=2, batch_size=batch_size, quiet=True)
        evaluate(replace(options, out=tmp_path / str(batch_size)))
    assert figures(tmp_path / "1") == figures(tmp_path / "2")
    assert records(tmp_path / "1") == records(tmp_path / "2")


def test_a_run_whose_every_sample_failed_is_an_error(tiny_run: Any, tmp_path: Path) -> None:
    """Never a complete run, alone or in a sweep, whatever is allowed."""
    for image in (tiny_run.data_root / "JPEGImages").iterdir():
        image.write_bytes(b"not a picture")
    message = r"^\S+: all 7 samples failed, the first 2007_000000: [^;]*JPEGImages[^;]*; run the same command to retry$"
    with pytest.raises(AllFailedError, match=message):
        evaluate(tiny_run.options())
    header = RunDirectory(tiny_run.out).read_header()
    assert (header.status, header.counts.n_failed, header.counts.n_scored) == ("incomplete", 7, 0)
    alone = CliRunner().invoke(app, tiny_run.arguments("--allow-failures"))
    assert (alone.exit_code, len([line for line in alone.stderr.splitlines() if "error:" in line])) == (3, 1)
    models = [f"--set={role}_model={tiny_run.model}" for role in ("proposal", "classifier")]
    sweep = ["sweep", "voc21", "eta=0.4,0.5", "--weights=random:1", f"--data-root={tiny_run.data_root}", *models]
    swept = CliRunner().invoke(app, [*sweep, "--limit=2", f"--out={tmp_path / 'sweep'}", "--allow-failures"])
    assert swept.exit_code == 3, swept.output
    assert "4 of 4 samples failed" in swept.stderr
    assert swept.stderr.count("error: ") == swept.stderr.count(": all 2 samples failed, the first 2007_000000: ") == 1
