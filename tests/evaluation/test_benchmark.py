"""Benchmark files, and how profile, benchmark and user settle a configuration."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from car_core.config import PROFILES
from dataset_adapters.base.adapter import find_sources
from evaluation.request.benchmark import BenchmarkError, benchmark_names, load_benchmark, parse_settings, resolve_config
from evaluation.request.user_data import FOLDERS, HUGGING_FACE
from evaluation.tasks import video
from evaluation.tasks.task import find_task
from results import paper_rows

PAPER = Path(__file__).parents[2] / "results" / "paper"
NOT_IN_THE_PAPER = {
    *("grefcoco-testA", "grefcoco-testB", "coco-stuff", "cityscapes", "reasonseg-val", "reasonseg-test", "mevis"),
    *(FOLDERS, HUGGING_FACE),
}


@pytest.mark.parametrize("name", benchmark_names())
@pytest.mark.parametrize("profile", PROFILES)
def test_every_benchmark_has_configuration_and_paper_column(name: str, profile: str) -> None:
    benchmark = load_benchmark(name)
    config, sources = resolve_config(benchmark, profile, {})  # type: ignore[arg-type]
    assert benchmark.name == name
    assert config.profile == profile
    assert sources.keys() == type(config).model_fields.keys()
    assert (benchmark.paper is None) == (benchmark.embedded or name in NOT_IN_THE_PAPER)
    assert benchmark.paper is None or any(
        row.method == "CaR" and row.value for row in paper_rows(benchmark.paper.table, benchmark.paper.column)
    )


@pytest.mark.parametrize("table", ["table1", "table7", "table8", "tableJ"])
def test_every_figure_of_car_names_a_benchmark_and_a_metric(table: str) -> None:
    (file,) = PAPER.glob(f"{table}_*.csv")
    (car,) = (row for row in csv.DictReader(file.open(encoding="utf-8")) if row["method"] == "CaR")
    printed = {column for column, cell in car.items() if re.fullmatch(r"[\d.]+", cell)}
    named: dict[str, list[tuple[str | None, str | None]]] = {}
    for benchmark in map(load_benchmark, benchmark_names()):
        for figure in benchmark.paper.figures if benchmark.paper else ():
            task = find_task(find_sources(benchmark.adapter)[0].task)
            assert figure.metric is None or figure.metric in video.reductions("unsupervised")
            if figure.table == table:
                named.setdefault(figure.column, []).append(
                    (figure.metric or task.words.headline, benchmark.paper.variant)
                )
    assert named.keys() == printed
    assert all(len(set(places)) == len(places) for places in named.values())  # or two would make one row
    assert len({metric for places in named.values() for metric, _ in places}) == {"table8": 3, "table7": 2}.get(
        table, 1
    )


def test_a_data_set_of_several_known_sizes_is_whole_in_each() -> None:
    paper = load_benchmark("context60").paper
    assert paper is not None
    assert [paper.n_samples("joint", n) for n in (5105, 5104, 48)] == [5105, 5104, 5105]
    refcoco = load_benchmark("refcoco+-testA").paper
    assert refcoco is not None
    assert [refcoco.n_samples(sentences, 9) for sentences in ("joint", "single")] == [1975, None]


@pytest.mark.parametrize("name", benchmark_names())
def test_the_papers_split_is_the_one_that_a_run_takes(name: str) -> None:
    benchmark = load_benchmark(name)  # else every whole run would carry the remark that its split is another
    taken = {benchmark.split or source.default_split for source in find_sources(benchmark.adapter)}
    assert benchmark.paper is None or taken == {benchmark.paper.split}


def test_voc_has_the_papers_hyperparameters() -> None:
    config, _ = resolve_config(load_benchmark("voc21"), "paper", {})
    assert (config.eta, config.theta, config.lambda_, config.prompts) == (0.4, 0.6, 0.4, ("circle", "blur"))
    assert (config.proposal_model, config.classifier_model) == ("ViT-B-16", "ViT-L-14")


def test_user_wins_over_benchmark_wins_over_profile() -> None:
    config, sources = resolve_config(load_benchmark("voc21"), "paper", {"theta": 0.5, "keep_best": True})
    assert (config.theta, config.eta, config.keep_best, config.theta_inclusive) == (0.5, 0.4, True, True)
    assert [sources[field] for field in ("theta", "eta", "keep_best", "theta_inclusive")] == [
        "user",
        "benchmark",
        "user",
        "profile",
    ]


def test_settings_are_yaml_and_reach_into_the_crf() -> None:
    settings = parse_settings(["lambda=0.3", "prompts=[blur, gray]", "crf.iterations=3", "keep_best=false"])
    config, _ = resolve_config(load_benchmark("voc21"), "released", settings)
    assert (config.lambda_, config.prompts, config.keep_best) == (0.3, ("blur", "gray"), False)
    assert config.crf is not None
    assert (config.crf.iterations, config.crf.bilateral_sxy) == (3, 67)
    assert resolve_config(load_benchmark("voc21"), "released", parse_settings(["crf=null"]))[0].crf is None


@pytest.mark.parametrize(
    ("benchmark", "released"),
    [
        *[(name, 0.6) for name in ("voc21", "voc20", "ade150", "ade847", "pc459")],
        *[(name, 0.5) for name in ("context60", "context59")],
        *[(name, 0.7) for name in ("coco-object", FOLDERS)],
    ],
)
def test_sam_threshold_is_that_of_the_released_configuration(benchmark: str, released: float) -> None:
    known, with_sam = load_benchmark(benchmark), parse_settings(["sam.model=random:0"])
    for profile, expected in (("released", released), ("paper", 0.7)):
        config, set_by = resolve_config(known, profile, with_sam)
        assert config.sam is not None
        assert (config.sam.model, config.sam.iom_threshold, set_by["sam"]) == ("random:0", expected, "user")
        assert resolve_config(known, profile, {})[0].sam is None
    own = resolve_config(known, "released", parse_settings(["sam.model=random:0", "sam.iom_threshold=0.9"]))[0].sam
    assert own is not None
    assert own.iom_threshold == 0.9


def test_later_settings_win_field_by_field() -> None:
    assert parse_settings(["crf.iterations=3", "crf.bg_factor=2", "crf.iterations=4"]) == {
        "crf": {"iterations": 4, "bg_factor": 2}
    }
    assert parse_settings(["crf.bg_factor=2", "crf={iterations: 3}"]) == {"crf": {"bg_factor": 2, "iterations": 3}}
    assert parse_settings(["crf.iterations=3", "crf=null"]) == {"crf": None}
    voc = load_benchmark("voc21")
    own = voc.model_copy(update={"config": {**voc.config, "crf": {"bg_factor": 2}}})
    crf = resolve_config(own, "released", parse_settings(["crf.iterations=3"]))[0].crf
    assert crf is not None
    assert (crf.iterations, crf.bg_factor) == (3, 2)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["theta"], "^set: expected key=value, found 'theta'"),
        (["=1"], "^set: expected key=value, found '=1'"),
        (["prompts=[blur"], "expected a YAML value"),
        (["cam.points=3"], "expected a field, crf.<field> or sam.<field>"),
    ],
)
def test_bad_assignments_are_named(assignments: list[str], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message.replace("[", r"\[")):
        parse_settings(assignments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eta": 1.5}, r"^eta: expected at most 1, found 1\.5$"),
        ({"theta": float("nan")}, "theta: "),
        ({"thetaa": 0.5}, "thetaa: no such field; did you mean theta"),
        ({"prompts": ["halo"]}, r"prompts: expected visual prompts of .*, found \['halo'\]"),
        ({"crf": {"iterations": -1}}, "crf.iterations: "),
        ({"sam": "vit_h"}, "sam: "),
        ({"sam": {"model": "x", "points": 3}}, "sam.points: "),
    ],
)
def test_bad_settings_name_field_and_value_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message) as caught:
        resolve_config(load_benchmark("voc21"), "released", settings)
    assert "\n" not in str(caught.value)


def test_an_unknown_benchmark_gets_near_matches() -> None:
    with pytest.raises(BenchmarkError, match="found 'voc2'; did you mean voc2"):
        load_benchmark("voc2")
