"""Runs with the baselines: settings, identity, tables, `--method all`."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import car

from car_core.baselines import BASELINES, load_baseline
from dataset_adapters import embedded_root, load
from dataset_adapters.base.adapter import find_sources
from evaluation import RunOptions, evaluate
from evaluation.request.benchmark import BenchmarkError, benchmark_names, load_benchmark
from evaluation.request.inputs import find_weights
from evaluation.request.methods import METHODS, able_methods, find_method, settings_by_method
from evaluation.request.resolve import resolve
from evaluation.request.vocabulary import find_vocabulary
from evaluation.run.rerun import request_of_run
from evaluation.suites import runner as suite
from results.tables.run_notes import METHOD_TITLES, method_label

FAST = {"templates": ["{}"], "background": ["sky"], "synonyms": {}, "prob_threshold": 0.06}

# Methods with a further model, which `all` includes where a setting names it.
FURTHER = {"proxyclip", "lposs", "corrclip", "sam3"}


def resolved(method: str, benchmark: str, **settings: Any) -> tuple[Any, Any]:
    return find_method(method).resolve(load_benchmark(benchmark), "semantic", None, settings)


@pytest.fixture
def options(tiny_run: Any) -> Any:
    """options(method, ...): those of a fast run over the small tree with a small random model."""

    def make(method: str, **changes: Any) -> Any:
        settings = {"proposal_model": str(tiny_run.model), **(FAST if method != "clip-es" else {"background": ["sky"]})}
        given = {**settings, **changes.pop("settings", {})}
        return replace(tiny_run.options(limit=3, **changes), method=method, settings=given)

    return make


def test_every_method_has_title_and_benchmark_settings() -> None:
    assert METHOD_TITLES.keys() == METHODS.keys()
    for name in benchmark_names():
        benchmark = load_benchmark(name)
        assert set(benchmark.baselines) <= {"all", *BASELINES}
        if benchmark.config.get("mode") == "semantic":
            for method in BASELINES:
                config, sources = resolved(method, name)
                assert sources.keys() == type(config).model_fields.keys()


# By hand from the configurations of the authors: per method and field a value for each of the eight, or one for all.
EIGHT = ("voc21", "voc20", "coco-object", "context60", "context59", "ade150", "coco-stuff", "cityscapes")
NO_BACKGROUND = [0] * 4  # the last four
WHOLE_ON_VOC = [0, 0, *[224] * 6]
WIDE = {"short_side": [*[336] * 5, 448, 336, 448], "crop": [*[336] * 7, 224], "stride": 112}
SETTINGS: dict[str, dict[str, Any]] = {
    "sclip": {
        "short_side": [*[336] * 6, 448, 560], "crop": 224, "stride": 112, "logit_scale": [65, 40, 50, 50, *[40] * 4],
        "prob_threshold": [0.1, 0, 0.1, 0.1, *NO_BACKGROUND], "area_threshold": [0.1, *[0] * 7], "pamr_steps": 0,
    },
    "clearclip": {
        "short_side": 448, "crop": [*[448] * 7, 224], "stride": 224, "logit_scale": 50,
        "prob_threshold": [0.5, 0, 0.4, 0.15, *NO_BACKGROUND], "area_threshold": 0, "pamr_steps": 0,
    },
    "naclip": {
        "short_side": [*[336] * 7, 560], "crop": WHOLE_ON_VOC, "logit_scale": 40,
        "prob_threshold": [0.1, 0, 0.1, 0.1, *NO_BACKGROUND], "area_threshold": 0, "gaussian_std": 5,
    },
    "resclip": {
        "short_side": [*[336] * 7, 560], "crop": WHOLE_ON_VOC, "logit_scale": 40,
        "prob_threshold": [0.1, 0, 0.1, 0.1, *NO_BACKGROUND], "area_threshold": 0, "pamr_steps": 0,
        "cross_factor": 2, "cross_share": [0.3, 0.6, 0.4, 0.3, 0.4, 0.3, 0.4, 0.2],
        "feedback_factor": [2.2, 2.1, 1.8, 1.8, 1.8, 2.1, 1.8, 2.1],
        "feedback_share": [0.7, 0.6, *[0.7] * 5, 0.6],
        "first_threshold": [0.5, 0.1, 0.11, 0.3, 0.25, 0.25, 0.11, 0.1],
    },
    "sc-clip": {
        "short_side": [*[336] * 7, 560], "crop": 224, "stride": 112, "logit_scale": [50, 40, 55, *[40] * 5],
        "prob_threshold": [0.15, 0, 0.35, 0.15, *NO_BACKGROUND], "area_threshold": [0.1, *[0] * 7], "pamr_steps": 0,
    },
    "proxyclip": {**WIDE, "logit_scale": 40, "prob_threshold": [0.2, 0, 0.25, 0.15, *NO_BACKGROUND], "beta": 1.2},
    "corrclip": {**WIDE, "logit_scale": 40, "prob_threshold": [0.2, 0, 0.25, 0.15, *NO_BACKGROUND], "tau": 4},
    "lposs": {"short_side": 448, "crop": 224, "stride": 112, "nearest": 400, "alpha": 0.95, "positions": "size"},
    "sam3": {
        "score_threshold": [0.5, 0.2, 0.5, 0.3, 0.3, 0.3, 0.2, 0.3],
        "prob_threshold": [0.4, 0, 0.4, 0.1, *NO_BACKGROUND],
    },
}  # fmt: skip


@pytest.mark.parametrize("method", SETTINGS)
def test_benchmarks_have_the_authors_settings(method: str) -> None:
    for i, name in enumerate(EIGHT):
        config: Any = resolved(method, name)[0]
        found = config.model_dump()
        if "crop" in found:  # None: a multiple of the tower's 224 pixels
            found["crop"] = int(config.CROP * 224) if config.crop is None else config.crop
            found["stride"] = config.stride or found["crop"] // config.STRIDES
            found["short_side"] = config.short_side or int(config.SHORT_SIDE * 224)
        expected = {key: each[i] if isinstance(each, list) else each for key, each in SETTINGS[method].items()}
        assert {key: found[key] for key in expected} == expected, name


def test_benchmarks_have_the_protocols_values() -> None:
    _, sources = resolved("sclip", "mini-voc")
    assert (sources["logit_scale"], sources["residual"]) == ("benchmark", "default")
    assert resolved("naclip", "context60")[0].background == ("background",)
    for name in ("voc20", "context59", "ade150", "ade847", "pc459", "coco-stuff", "cityscapes"):
        config, _ = resolved("naclip", name)
        assert (config.background, config.prob_threshold) == ((), 0)
    for name in ("ade847", "pc459"):
        assert (resolved("proxyclip", name)[0].short_side, resolved("proxyclip", name)[0].prob_threshold) == (448, 0)
    user, sources = resolved("sclip", "voc21", logit_scale=30)
    assert (user.logit_scale, sources["logit_scale"]) == (30, "user")


def test_method_reads_its_authors_texts_by_default(tiny_run: Any) -> None:
    def texts(method: str, names: str = "own", benchmark: str = "voc21", **more: Any) -> tuple[Any, Any, Any]:
        weights, more = ("random:1", more) if method != "sam3" else (None, {"model": "random:1", **more})
        asked = RunOptions(benchmark, method=method, names=names, weights=weights, settings=more)
        found = resolve(replace(asked, data_root=tiny_run.data_root if benchmark != "mini-voc" else None))
        return getattr(found.options.names, "name", found.options.names), found.config, found.set_by

    families = {name: known.names for name, known in BASELINES.items()}
    assert {name: own for name, own in families.items() if own != "sclip"} == {
        "clearclip": "clearclip",
        "proxyclip": "proxyclip",
        "lposs": "lposs",
        "corrclip": "corrclip",
        "sam3": "segearth",
        "clip-es": None,
    }
    for method, family in families.items():
        name, config, set_by = texts(method)
        assert name == (family or "own")
        if family:
            assert (set_by["background"], set_by["synonyms"]) == ("names", "names")
            assert len(config.background) == (1 if family in ("clearclip", "segearth") else 26)
    sclip = texts("naclip")[1]
    assert (len(sclip.synonyms["person"]), {*sclip.synonyms}) == (7, {"person", "television monitor"})
    # Other texts have no synonyms, and the words for the background stay.
    for names in ("released", "dataset"):
        name, config, set_by = texts("clearclip", names)
        assert (name, config.synonyms, config.background) == (names, {}, ("background",))
    assert texts("clearclip", "proxyclip")[0] == "proxyclip"
    assert texts("sclip", background=["sea"])[2]["background"] == "user"
    # CaR's are the released ones, whether asked for or not.
    assert [texts("car", names)[0] for names in ("own", "released", "dataset", "plain")] == [
        *("own", "own", "dataset", "plain")
    ]


def test_a_benchmarks_own_fields_win_over_what_a_method_brings(tiny_run: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nbase: voc21\nbaselines: {all: {background: [zebra]}, sclip: {synonyms: {ship: [a]}}}")
    asked = RunOptions(str(path), method="sclip", data_root=tiny_run.data_root, weights="random:1")
    brought, named = resolve(asked), resolve(replace(asked, names="sclip"))
    assert (brought.config.background, dict(brought.config.synonyms)) == (("zebra",), {"ship": ("a",)})  # type: ignore[attr-defined]
    assert (brought.set_by["background"], named.set_by["background"]) == ("benchmark", "names")
    assert (len(named.config.background), len(named.config.synonyms)) == (26, 2)  # type: ignore[attr-defined]


def test_a_family_of_their_own_is_the_run_that_asks_for_it(options: Any, tmp_path: Path) -> None:
    own = evaluate(options("clearclip", out=tmp_path / "own"))
    named = evaluate(options("clearclip", names="clearclip", out=tmp_path / "named"))
    assert own.header.identity == named.header.identity
    about = own.header.benchmark.names
    assert about is not None
    assert (about.name, about.sha256, about.classes["boat"]) == (
        "clearclip",
        find_vocabulary("clearclip", find_sources("voc21")[0]).sha256,
        ["ship"],
    )
    assert "names clearclip" in (own.path / "table.md").read_text()
    # A run.json of before had no names and meant the released texts.
    older = own.header.model_copy(
        update={
            "request": {key: value for key, value in own.header.request.items() if key != "names"},
            "benchmark": own.header.benchmark.model_copy(update={"names": None}),
        }
    )
    assert request_of_run(older).names == "released"
    assert request_of_run(own.header).names.sha256 == about.sha256  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "naclipp"), "did you mean naclip"),
        (("--method", "naclip", "--profile", "paper"), "--profile: expected none"),
        (("--method", "naclip", "--set", "eta=0.3"), "eta: no such field"),
        (("--method", "all", "--set", "etta=0.3"), "etta: no method has this setting"),
        (("--method", "all", "--set", "stride=0"), "stride"),
        (("--method", "all", "--set", "dino_model=vit_tinny_patch16_224"), "dino_model: expected a model of timm"),
        (("--method", "corrclip", "--set", "dino_weights=random:1"), "sam: expected a SAM, whose masks are corrclip's"),
        (("--method", "corrclip", "--set", "sam.iom_threshold=0.5"), "sam"),
        (("--method", "all", "--set", "dino_weights=missing.pt"), "dino_weights: expected timm, random:SEED or a file"),
    ],
)
def test_mistakes_are_one_line_before_any_work(tiny_run: Any, arguments: tuple[str, ...], message: str) -> None:
    root, out = str(tiny_run.data_root), str(tiny_run.out)
    result = car("eval", "voc21", "--data-root", root, "--out", out, "--weights", "random:1", *arguments)
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert message in result.stderr
    assert not tiny_run.out.exists()


@pytest.mark.parametrize("method", ["naclip", "clip-es"])
def test_referring_mask_is_where_a_phrase_beats_the_background(tiny_model: Path, tmp_path: Path, method: str) -> None:
    settings = {"proposal_model": str(tiny_model), "background": ["sky", "grass"]}
    settings |= {"templates": ["{}"], "prob_threshold": 0.3} if method == "naclip" else {"crf": None}
    given: dict[str, Any] = {"weights": "random:1", "settings": settings, "out": tmp_path / "run"}
    joint = {"sentences": "joint"}
    run = evaluate(RunOptions("mini-refcoco", method=method, limit=3, workers=0, quiet=True, protocol=joint, **given))
    config = find_method(method).resolve(load_benchmark("mini-refcoco"), "referring", None, settings)[0]
    segmenter: Any = load_baseline(config, weights="random:1")
    lines = [json.loads(line) for line in (run.path / "samples.jsonl").read_text().splitlines()]
    for line, sample in zip(lines, load("refcoco", embedded_root(), split="val", options=joint), strict=False):
        if method == "naclip":
            words = segmenter.word_features(sample.queries)
            scores = segmenter.cosines(sample.image, words).double().numpy() * config.logit_scale
            scores = np.exp(scores - scores.max(axis=0)) / np.exp(scores - scores.max(axis=0)).sum(axis=0)
            phrases = scores[2:].max(axis=0)
            mask = (phrases > scores[:2].max(axis=0)) & (phrases >= 0.3)
            assert len(scores) == 2 + len(sample.queries)
        else:
            mask = segmenter.segment(sample.image, sample.queries).masks.any(axis=0)
        assert line["counts"]["prediction"] == mask.sum()
        assert line["counts"]["intersection"] == (mask & sample.target).sum()
    assert any(line["counts"]["prediction"] for line in lines)


@pytest.mark.parametrize("method", ["naclip", "clip-es"])
def test_a_run_counts_what_the_segmenter_finds(options: Any, tiny_run: Any, method: str) -> None:
    run = evaluate(options(method, names="released"))
    config, _ = resolved(method, "voc21", **options(method).settings)
    segmenter = load_baseline(config, weights="random:1")
    records = [json.loads(line) for line in (run.path / "samples.jsonl").read_text().splitlines()]
    for record, sample in zip(records, load("voc21", tiny_run.data_root)[:3], strict=True):
        found = segmenter.segment(sample.image, sample.queries)
        counted = sample.target != 255
        pairs = zip(sample.target[counted].tolist(), found.label_map[counted].tolist(), strict=True)
        expected = Counter(pairs)
        assert {(t, p): n for t, p, n in record["counts"]["confusion"]} == expected
        assert record["steps"] == 0
    header = run.header
    assert header.config["method"] == method
    assert [entry.role for entry in header.weights] == ["proposal"]
    assert METHOD_TITLES[method] in (run.path / "table.md").read_text()
    assert header.benchmark.paper is not None


@pytest.mark.parametrize("method", ["naclip", "clip-es"])
def test_the_page_of_a_run_without_recurrence(options: Any, tiny_run: Any, method: str) -> None:
    run = evaluate(options(method))
    result = car("report", run.path, "--data-root", tiny_run.data_root, "--gallery", "--samples=1")
    assert result.exit_code == 0, result.exception
    page = Path(result.stdout.strip()).read_text()
    assert page.count('<article class="sample"') == 3
    assert "segmented again for this report" not in page
    for absent in ("Steps of the recurrence", "Surviving queries", "Recurrence", "theta", 'class="step"'):
        assert absent not in page.partition("</style>")[2]


def test_a_run_with_a_dino_trunk_names_it(options: Any, tiny_run: Any, tmp_path: Path) -> None:
    dino = {"dino_model": "vit_tiny_patch16_224", "dino_weights": "random:1"}
    runs = [
        evaluate(options("proxyclip", settings={**dino, **more}, out=tmp_path / str(i))).header
        for i, more in enumerate([{}, {"dino_weights": "random:2"}, {"beta": 1.5}])
    ]
    assert [(entry.role, entry.name, entry.trained) for entry in runs[0].weights] == [
        ("proposal", "random:1", False),
        ("dino", "random:1", False),
    ]
    assert len({header.identity for header in runs}) == 3
    assert "timm" in runs[0].identity_fields["packages"]
    assert not {"dino_model", "dino_weights"} & runs[0].identity_fields["config"].keys()
    assert "ProxyCLIP" in (tmp_path / "0" / "table.md").read_text()


def test_a_run_within_sams_masks_names_both_further_models(
    options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="needs the extra sam")
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    dino = {"dino_model": "vit_tiny_patch16_224", "dino_weights": "random:1"}
    sam = {"points_per_side": 1, "pred_iou_threshold": 0, "stability_threshold": 0}
    runs = [
        evaluate(options("corrclip", settings={**dino, "sam": {**sam, **each}}, out=tmp_path / str(i))).header
        for i, each in enumerate(
            [{"model": "random:0"}, {"model": "random:2"}, {"model": "random:0", "nms_threshold": 0.6}]
        )
    ]
    assert [entry.role for entry in runs[0].weights] == ["proposal", "dino", "sam"]
    assert len({header.identity for header in runs}) == 3
    assert {"timm", "transformers"} <= runs[0].identity_fields["packages"].keys()
    assert runs[0].identity_fields["config"]["sam"] == {**sam, "nms_threshold": 0.7}
    assert "CorrCLIP" in (tmp_path / "0" / "table.md").read_text()


def test_all_methods_include_those_whose_models_are_named(options: Any) -> None:
    dino = {"dino_weights": "random:1", "dino_model": "vit_tiny_patch16_224"}
    sam = {"sam": {"model": "random:0", "points_per_side": 1}}
    for settings, absent in (
        ({}, FURTHER),
        (sam, FURTHER),
        (dino, {"corrclip", "sam3"}),
        (dino | sam, {"sam3"}),
        (dino | sam | {"model": "random:0"}, set()),
    ):
        assert list(suite.options_by_method(options("all", settings=settings))) == [
            n for n in METHODS if n not in absent
        ]


def test_the_method_and_its_settings_are_the_runs_identity(options: Any, tmp_path: Path) -> None:
    changes: list[tuple[str, dict[str, Any]]] = [
        ("naclip", {}),
        ("naclip", {"gaussian_std": 3}),
        ("naclip", {"pamr_steps": 1}),
        ("clearclip", {}),
    ]
    headers = [
        evaluate(options(method, settings=settings, out=tmp_path / str(i))).header
        for i, (method, settings) in enumerate(changes)
    ]
    assert len({header.identity for header in headers}) == 4
    again = evaluate(replace(options("naclip", out=tmp_path / "b"), batch_size=2, workers=1)).header
    assert (again.identity, again.metrics) == (headers[0].identity, headers[0].metrics)
    assert "NACLIP+PAMR" in method_label(headers[2])


def test_cars_identity_has_no_method(tiny_run: Any) -> None:
    header = evaluate(tiny_run.options(limit=1)).header
    assert "method" not in header.config
    assert "method" not in json.dumps(header.identity_fields["config"])


def test_only_the_needed_weights_are_asked_for() -> None:
    found = find_weights({"proposal": "openai", "classifier": None}, ("proposal",))
    assert found == {"proposal": "openai"}


def test_settings_go_to_the_methods_that_have_them() -> None:
    by = settings_by_method({"stride": 32, "eta": 0.3, "proposal_model": "ViT-B-32"})
    assert by["car"] == {"eta": 0.3, "proposal_model": "ViT-B-32"}
    assert by["naclip"] == {"stride": 32, "proposal_model": "ViT-B-32"}
    assert by["clip-es"] == {"proposal_model": "ViT-B-32"}
    with pytest.raises(BenchmarkError, match="nothing: no method has this setting"):
        settings_by_method({"nothing": 1})


def test_nested_settings_go_to_the_methods_that_have_them() -> None:
    """SAM refines CaR's masks and gives CorrCLIP's regions: only the former has thresholds of IoM and IoU."""
    sam = {"model": "random:0", "points_per_side": 4}
    by = settings_by_method(
        {"sam": {**sam, "iom_threshold": 0.5}, "crf": {"iterations": 3}, "synonyms": {"cat": ["a"]}}
    )
    assert by["car"] == {"sam": {**sam, "iom_threshold": 0.5}, "crf": {"iterations": 3}}
    assert by["corrclip"] == {"sam": sam, "synonyms": {"cat": ["a"]}}
    assert by["clip-es"] == {"crf": {"iterations": 3}}
    assert settings_by_method({"sam": {"iom_threshold": 0.5}})["corrclip"] == {}
    assert settings_by_method({"sam": None})["corrclip"] == {"sam": None}
    with pytest.raises(BenchmarkError, match=r"sam\.nothing: no method has this setting"):
        settings_by_method({"sam": {"model": "random:0", "nothing": 1}})


def test_all_includes_corrclip_only_with_the_model_of_sam() -> None:
    trunk = {"dino_weights": "random:0"}
    assert "corrclip" in able_methods("all", "semantic", {**trunk, "sam": {"model": "random:0", "iom_threshold": 0.5}})
    for sam in (None, {}, {"iom_threshold": 0.5}):
        assert "corrclip" not in able_methods("all", "semantic", {**trunk, "sam": sam})


def test_a_process_of_its_own_gives_the_same_figures(options: Any, tmp_path: Path) -> None:
    asked = options("clip", out=tmp_path / "own")
    [[(run, _)]] = suite.run_in_children([[(suite.SuiteRun(benchmark="voc21"), asked)]], ["cpu"], lambda event: None)
    here = evaluate(replace(asked, out=tmp_path / "here")).header
    assert (run.header.identity, run.header.metrics) == (here.identity, here.metrics)


def test_all_methods_end_in_one_table(tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Seven processes would only import for minutes.
    monkeypatch.setattr(suite, "run_in_children", lambda groups, devices, handle: [suite.run_group(handle, *groups)])
    out = tmp_path / "all"
    settings = {**FAST, "proposal_model": str(tiny_run.model), "classifier_model": str(tiny_run.model), "crf": None}
    del settings["prob_threshold"]
    texts = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    arguments = ("--method=all", "--limit=1", "--workers=0", "--weights=random:1", f"--out={out}", *texts)
    result = car("eval", "voc21", "--data-root", tiny_run.data_root, *arguments)
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader((out / "table.csv").open()))
    own = [row for row in rows if "published" not in row["method"]]
    assert [row["method"] for row in own] == [title for name, title in METHOD_TITLES.items() if name not in FURTHER]
    assert all(float(row["memory"]) > 10 and float(row["pace"]) > 0 for row in own)
    assert {folder.name for folder in out.iterdir() if folder.is_dir()} == set(METHODS) - FURTHER
    assert car("table", out, "--peers").stdout.startswith(result.stdout.strip())


def test_the_list_of_methods_says_what_each_needs() -> None:
    """The list does not import the methods; here it is compared with what they are, and with docs/baselines.md."""
    page = Path("docs/baselines.md").read_text()
    for row in json.loads(car("methods", "--json").stdout):
        if row["package"] != "car-eval":
            continue
        method, needs = METHODS[row["name"]], row["needs"]
        assert (row["title"], row["error"]) == (METHOD_TITLES[row["name"]], None)
        asked = {name for group in (method.baseline.extra_model_settings if method.baseline else ()) for name in group}
        assert ("DINO" in needs) == ("dino_weights" in asked)
        assert ("SAM" in needs) == ("extra sam" in needs) == bool({"sam.model", "model"} & asked)
        assert needs.count("CLIP") == (method.roles != ())
        assert needs.startswith("2 ") == (len(method.roles) == 2)
        line = next((line for line in page.splitlines() if line.startswith(f"| `{row['name']}` |")), "CVPR 2024")
        assert row["paper"] in line or row["name"] in ("sc-clip", "sam3")  # by their year there
