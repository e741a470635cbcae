"""Whole referring runs over a small tree with small random models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.refer_tree import ReferTree, grefer_tree, refer_tree
from typer.testing import CliRunner

from car_core import CaR
from car_core.proposal.generator import ProposalGenerator
from car_core.segmentation import merge_masks
from dataset_adapters import load
from evaluation import Run, RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.request.benchmark import BenchmarkError, benchmark_names, load_benchmark, parse_protocol, resolve_config
from evaluation.tasks import generalized
from evaluation.tasks.referring import count_sample

Runner = Callable[..., Run]
REAL = Path(__file__).parents[2].parent / "shared" / "realdata" / "refer"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReferTree:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    return refer_tree(tmp_path)


@pytest.fixture
def run(tree: ReferTree, tiny_model: Path, tmp_path: Path) -> Runner:
    """run(out, field=value, ...): a run of refcoco-val with these options changed."""

    def make(out: str = "run", **changes: Any) -> Run:
        models = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
        settings = {**models, **changes.pop("settings", {})}
        given = {"weights": "random:1", "workers": 0, "quiet": True, **changes}
        name = given.pop("benchmark", "refcoco-val")
        return evaluate(RunOptions(name, tree.root, settings=settings, out=tmp_path / out, **given))

    return make


def records(run: Run) -> dict[str, Any]:
    lines = [json.loads(line) for line in (run.path / "samples.jsonl").read_text().splitlines()]
    return {line["id"]: line for line in lines}


@pytest.mark.parametrize(
    ("profile", "sentences", "overlaps"), [("released", "joint", "lost"), ("paper", "single", "kept")]
)
def test_counts_equal_an_independent_computation(
    run: Runner,
    tree: ReferTree,
    tiny_model: Path,
    profile: Any,
    sentences: str,
    overlaps: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = run(profile=profile)
    assert "notice: refs(unc).p: left out 1 blank sentence\n" in capsys.readouterr().err
    assert done.header.counts.n_failed == 0
    assert done.header.config["sentences"] == sentences
    settings = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    config, _ = resolve_config(load_benchmark("refcoco-val"), profile, settings)
    car = CaR.from_config(config, weights="random:1")
    dataset = load("refcoco", tree.root, options={"sentences": sentences, "overlaps": overlaps})
    found, ious = records(done), []
    for sample in dataset:
        segmentation = car.segment(sample.image, sample.queries)
        expected = merge_masks(
            segmentation.masks,
            segmentation.scores,
            inclusive=config.merge_inclusive,
            union_of_small=config.union_of_small_merge,
        )
        counts = found[sample.id]["counts"]
        assert counts["intersection"] == (expected & sample.target).sum()
        assert counts["prediction"] == expected.sum()
        ious.append((expected & sample.target).sum() / max((expected | sample.target).sum(), 1))
    assert found.keys() == set(dataset.ids)
    assert sum(counts["prediction"] > 0 for counts in (record["counts"] for record in found.values())) > 1
    assert done.header.metrics["miou_mean_over_samples"] == pytest.approx(np.mean(ious), abs=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_image_is_encoded_once_for_all_its_sentences(
    run: Runner, tree: ReferTree, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    encoded: list[bytes] = []
    original = ProposalGenerator.encode

    def encode(self: Any, images: Any, accounts: Any) -> Any:
        encoded.extend(image.tobytes() for image in images)
        return original(self, images, accounts)

    monkeypatch.setattr(ProposalGenerator, "encode", encode)
    dataset = load("refcoco", tree.root, options={"sentences": "single"})
    run(profile="paper", batch_size=batch_size)
    assert dataset.images_by_sample
    assert len(encoded) == len({sample.image.tobytes() for sample in dataset}) < len(dataset)


def test_more_shards_than_images_are_refused(run: Runner) -> None:
    with pytest.raises(BenchmarkError, match="shard: expected at most as many shards as images, 2, found 3/3"):
        run(profile="paper", shard=(3, 3))


def test_generalized_counts_equal_an_independent_computation(tree: ReferTree, tiny_model: Path, tmp_path: Path) -> None:
    tree = grefer_tree(tmp_path / "generalized")
    models = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    given: dict[str, Any] = {"weights": "random:1", "workers": 0, "quiet": True, "settings": models}
    done = evaluate(RunOptions("grefcoco-val", tree.root, out=tmp_path / "run", **given))
    config, _ = resolve_config(load_benchmark("grefcoco-val"), "released", models)
    car, found = CaR.from_config(config, weights="random:1"), records(done)
    dataset = load("grefcoco", tree.root, options={"sentences": "single"})
    for sample in dataset:
        merged = car.segment(sample.image, sample.queries).merged_mask
        assert merged is not None
        assert found[sample.id]["counts"] == generalized.count_sample(sample.target, merged)
    assert found.keys() == set(dataset.ids)
    metrics = done.header.metrics
    assert (metrics["n_no_target"], metrics["n_total"]) == (2, 6)
    page = (done.path / "table.md").read_text()
    assert "column gres_val" in page
    assert all(name in page for name in ("giou_mean_over_samples", "ciou_pooled", "n_acc", "t_acc"))
    tree.image_path(9).write_bytes(b"no image")
    given["settings"] = {**models, "sentences": "joint"}
    other = evaluate(
        RunOptions("grefcoco-val", tree.root, out=tmp_path / "joint", protocol={"no_target_below": "1"}, **given)
    )
    assert list(records(other)) == ["ref0", "ref1", "ref2", "ref3"]
    assert (other.header.counts.n_failed, other.header.metrics["n_acc"]) == (2, 0.0)


def test_the_switch_sentences_decides_what_a_sample_is(run: Runner) -> None:
    joint, single = run("a"), run("b", settings={"sentences": "single"})
    assert list(records(joint)) == ["ref0", "ref1", "ref4"]
    assert list(records(single))[:2] == ["ref0-sent0", "ref0-sent1"]
    assert joint.header.identity_fields["protocol"] == {
        "sentences": "joint",
        "overlaps": "lost",
        "resolution": "original",
    }
    assert len(records(joint)["ref0"]["queries_kept"]) >= 1


def test_batches_workers_and_resuming_change_nothing(run: Runner) -> None:
    first = run("a", batch_size=3)
    other = run("b", batch_size=1, workers=2)
    assert other.header.identity == first.header.identity
    assert other.header.metrics == first.header.metrics
    again = run("a")
    assert again.header.metrics == first.header.metrics
    assert len((first.path / "samples.jsonl").read_text().splitlines()) == 3


def test_protocol_options_are_part_of_the_identity(run: Runner, tree: ReferTree) -> None:
    plain, square, kept = (
        run(f"{number}", protocol=protocol)
        for number, protocol in enumerate([{}, {"resolution": "480x480"}, {"overlaps": "kept"}])
    )
    assert len({done.header.identity for done in (plain, square, kept)}) == 3
    target = load("refcoco", tree.root, options={"overlaps": "lost"})[1].target
    expected = count_sample(target, np.zeros_like(target), "480x480")["target"]
    assert records(square)["ref1"]["counts"]["target"] == expected
    assert "480x480" in square.header.metrics["reductions"]["miou_mean_over_samples"]
    table = (square.path / "table.md").read_text()
    assert "- protocol: sentences=joint, overlaps=lost, resolution=480x480" in table
    targets = [records(done)["ref1"]["counts"]["target"] for done in (plain, kept)]
    assert targets == [70 + 126 - 36, 70 + 126 - 18]
    assert [done.header.benchmark.protocol_changed for done in (plain, kept)] == [[], ["overlaps=kept"]]


def test_an_unreadable_image_counts_as_an_empty_prediction(run: Runner, tree: ReferTree) -> None:
    tree.image_path(9).write_bytes(b"no image")
    done = run()
    assert records(done)["ref1"]["counts"] == {"intersection": 0, "union": 160, "target": 160, "prediction": 0}
    assert (done.header.counts.n_scored, done.header.counts.n_failed) == (2, 1)
    ious = [record["counts"]["intersection"] / record["counts"]["union"] for record in records(done).values()]
    assert done.header.metrics["miou_mean_over_samples"] == pytest.approx(sum(ious) / 3)


def test_the_table_stands_beside_the_papers(run: Runner) -> None:
    table = (run().path / "table.md").read_text()
    assert "Next to the paper's Table 7, column refcoco_val" in table
    assert "| GL-CLIP (paper)" in table
    assert "33.6" in table
    assert "oiou_pooled" in table
    assert "precision_at_0.9" in table
    assert "IoU by class" not in table


def test_what_differs_from_the_papers_figures_is_remarked(run: Runner) -> None:
    marked = run(split="testA", protocol={"resolution": "480x480", "overlaps": "lost"})
    page = (marked.path / "table.md").read_text()
    assert "Read with care:** untrained weights, not comparable; split testA; changed: " in page
    assert "classifier_model, resolution=480x480.\n" in page
    single = run("single", split="val", settings={"sentences": "single"}).header
    assert (single.benchmark.paper_samples, single.benchmark.protocol_changed) == (10834, [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": {"resolution": "512x512"}}, "^protocol: resolution: expected one of original, 480x480, found"),
        ({"protocol": {"size": "1"}}, "^protocol: size: expected an option of overlaps, resolution"),
        ({"protocol": {"sentences": "single"}}, "this is a switch of the configuration; use --set sentences=single"),
        ({"settings": {"mode": "semantic"}}, "settings: expected a benchmark of that mode"),
        (
            {"benchmark": "voc21", "protocol": {"overlaps": "lost"}},
            "has no protocol options",
        ),
    ],
    ids=str,
)
def test_set_up_mistakes(run: Runner, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        run(**changes)
    assert not (tmp_path / "run").exists()


def test_protocol_texts() -> None:
    assert parse_protocol(["resolution=480x480", " overlaps = lost"]) == {"resolution": "480x480", "overlaps": "lost"}
    for text in ("resolution", "=480x480", "resolution="):
        with pytest.raises(BenchmarkError, match=r"^protocol: expected key=value"):
            parse_protocol([text])


def test_the_command_line(tree: ReferTree, tiny_model: Path, tmp_path: Path) -> None:
    own = ["eval", "refcoco-val", "--data-root", str(tree.parent), "--weights", "random:1", "--workers=0"]
    models = [f"--set={role}_model={tiny_model}" for role in ("proposal", "classifier")]
    result = CliRunner().invoke(app, [*own, *models, "--protocol=resolution=480x480", f"--out={tmp_path / 'run'}"])
    assert result.exit_code == 0
    assert "CaR (paper)" in result.stdout
    wrong = CliRunner().invoke(app, [*own, *models, "--protocol=resolution=1"])
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)
    tree.refs_path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    hostile = CliRunner().invoke(app, [*own, *models])
    assert hostile.exit_code == 2
    assert "the global os.system, which is refused" in hostile.stderr


@pytest.mark.parametrize(
    ("name", "values", "prompts"),
    [
        ("refcoco-", (0.5, 0.3, 0.5), {"paper": ("circle", "blur"), "released": ("circle",)}),
        ("refcoco+-", (0.2, 0.1, 0.5), dict.fromkeys(("paper", "released"), ("circle", "blur"))),
        ("refcocog-", (0.5, 0.1, 0.6), dict.fromkeys(("paper", "released"), ("circle", "blur"))),
    ],
)
def test_benchmarks_have_the_published_values(name: str, values: tuple[float, ...], prompts: dict[str, Any]) -> None:
    benchmarks = [load_benchmark(each) for each in benchmark_names() if each.startswith(name)]
    assert len(benchmarks) == 3
    for benchmark in benchmarks:
        assert benchmark.adapter == name[:-1]
        assert f"{benchmark.adapter}-{benchmark.split}" == benchmark.name
        assert benchmark.paper is not None
        assert benchmark.paper.table == "table7"
        for profile in ("paper", "released"):
            config, _ = resolve_config(benchmark, profile, {})  # type: ignore[arg-type]
            assert (config.eta, config.theta, config.lambda_) == values
            assert (config.prompts, config.templates, config.mode) == (prompts[profile], (), "referring")
            assert (config.proposal_model, config.classifier_model) == ("ViT-B-16", "ViT-B-16")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real RefCOCO files at {REAL}")
def test_real_photos_give_the_same_figures_in_any_batch(tiny_model: Path, tmp_path: Path) -> None:
    tiny_model.write_text(tiny_model.read_text().replace('"patch_size": 8', '"patch_size": 16'))
    settings = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    runs = [
        evaluate(
            RunOptions(
                "refcoco-val", REAL, "random:3", settings=settings, limit=2, batch_size=size, quiet=True,
                out=tmp_path / str(size),
            )
        )
        for size in (1, 2)
    ]  # fmt: skip
    assert runs[0].header.metrics == runs[1].header.metrics
    assert runs[0].header.counts.n_failed == 0
