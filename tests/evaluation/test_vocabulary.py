"""`--names`: files and families of class texts, what methods read of them, and what runs and tables say."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.command import car
from helpers.made_trees import write_noise, write_png
from typer.testing import Result

from car_core.errors import QueryError
from dataset_adapters import DatasetError
from dataset_adapters.base.adapter import find_sources
from dataset_adapters.base.class_names import read_class_names
from evaluation import evaluate
from evaluation.analysis.compare import compare
from evaluation.analysis.report import GalleryOptions, _prepared
from evaluation.request.benchmark import BenchmarkError
from evaluation.request.options import RunOptions
from evaluation.request.resolve import resolve
from evaluation.request.vocabulary import NoTextsError, Vocabulary, family_names, find_vocabulary
from evaluation.run.prepare import prepare
from evaluation.suites.sweep import Sweep, as_suite
from results import read_runs
from results.tables.run_notes import remarks, run_facts
from results.tables.suite import read_suite_table

VOC = read_class_names("voc20").dataset
EIGHT = ["voc21", "voc20", "coco-object", "context60", "context59", "ade150", "coco-stuff", "cityscapes"]
FAST = {"templates": ["{}"]}


def find(name: str, data_set: str = "voc21") -> Vocabulary:
    return find_vocabulary(name, find_sources(data_set)[0])


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(background=..., CLASS=TEXTS): a file for Pascal VOC, every other class by its own name."""

    def make(name: str = "mine.yaml", *, background: str | None = None, **texts: str) -> Path:
        own = {each: texts.get(each, each) for each in VOC}
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        lines = [*([f"background: {background}"] if background is not None else []), *(f"{k}: {own[k]}" for k in own)]
        path.write_text("\n".join(lines) + "\n")
        return path

    return make


@pytest.fixture
def options(tiny_run: Any) -> Callable[..., RunOptions]:
    """options(method, names, ...): those of a fast run over the small tree with a small random model."""

    def make(method: str, names: str | Path, **changes: Any) -> RunOptions:
        own = {"proposal_model": str(tiny_run.model)}
        if method == "car":
            own |= {"classifier_model": str(tiny_run.model), "crf": None, "recurrence": "none"}
        settings = {**own, **({} if method == "clip-es" else FAST), **changes.pop("settings", {})}
        given = tiny_run.options(limit=3, names=names, **changes)
        return replace(given, method=method, settings=settings)

    return make


def records(run: Any) -> list[Any]:
    lines = (run.path / "samples.jsonl").read_text().splitlines()
    return [json.loads(line)["counts"] for line in lines]


# Files


def test_a_file_names_the_texts_of_each_class(write: Callable[..., Path]) -> None:
    path = write(background="sky; wall", boat="ship", person="person; a man;  a   woman")
    found = find(str(path))
    assert (found.name, found.background) == ("mine.yaml", ("sky", "wall"))
    assert list(found.classes) == list(VOC)
    assert (found.classes["boat"], found.classes["person"]) == (("ship",), ("person", "a man", "a woman"))
    path.write_bytes("\ufeff".encode() + path.read_bytes().replace(b"\n", b"\r\n"))
    assert find(str(path)) == found
    # Lists, released query texts and comments are the same thing in other words.
    text = path.read_text("utf-8-sig").replace("person: person; a man;  a   woman", "person: [person, a man, a woman]")
    path.write_text("# mine\n" + text.replace("bird:", "bird avian:"))
    assert find(str(path)) == found


def test_background_words_count_only_if_background_is_scored(write: Callable[..., Path]) -> None:
    path = write(background="sky")
    assert find(str(path), "voc20").background is None
    path.write_text(path.read_text().replace("background: sky", "background: []"))
    assert find(str(path)).background == ()


def test_one_file_may_serve_several_data_sets(write: Callable[..., Path], tmp_path: Path) -> None:
    whole = yaml.safe_load(write(boat="ship").read_text())
    path = tmp_path / "several.yaml"
    path.write_text(yaml.safe_dump({"voc21 voc20": whole, "ade150": {"wall": "wall"}}))
    assert find(str(path), "voc20").classes["boat"] == ("ship",)
    with pytest.raises(
        DatasetError, match=r"several\.yaml: expected texts of all 150 classes of ade150, found none of"
    ):
        find(str(path), "ade150")
    with pytest.raises(DatasetError, match="expected texts for context60, found texts for ade150, voc21, voc20"):
        find(str(path), "context60")
    path.write_text(yaml.safe_dump({"voc21": whole, "voc20 voc21": dict(whole)}))
    with pytest.raises(DatasetError, match="expected texts for voc21, found 2 such parts"):
        find(str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sofa: sofa\n", "", "expected texts of all 20 classes of voc21, found none of sofa"),
        ("sofa: sofa", "soffa: sofa", "expected a class of voc21 or background, found 'soffa'; did you mean sofa"),
        ("sofa: sofa", "sofa: sofa\nsofa: couch", "the key 'sofa' twice"),
        ("sofa: sofa", "sofa: sofa\nSofa: couch", "Sofa: expected each class once, found sofa again"),
        ("bird: bird", "bird: bird\nbird avian: b", "bird avian: expected each class once, found bird again"),
        ("sofa: sofa", "sofa: chair", "sofa: expected each text once, found 'chair' again of chair"),
        (
            "sofa: sofa",
            "sofa: Chair",
            "sofa: expected each text once, found 'Chair' again of chair, which CLIP reads as",
        ),
        ("sofa: sofa", "sofa: a sofa; A  Sofa", "sofa: expected each text once, found 'A Sofa' again, which CLIP"),
        ("background: sky", "background: sky; wall; Sky", "background: expected each text once, found 'Sky' again"),
        ("sofa: sofa", "sofa: sofa;", "sofa: expected a class name, synonyms after semicolons, found 'sofa;'"),
        ("sofa: sofa", "sofa: ' '", "sofa: expected a class name, synonyms after semicolons, found a blank line"),
        ("sofa: sofa", "sofa:", "sofa: expected a text, or several with semicolons or as a list, found None"),
        ("sofa: sofa", "sofa: []", "sofa: expected a text, or several"),
        ("sofa: sofa", "sofa: [1]", "sofa: expected a text, or several"),
        ("sofa: sofa", "sofa: {a: b}", "sofa: expected a text, or several"),
        ("sofa: sofa", "sofa: <b>sofa</b>", "sofa: expected plain text"),
        ("sofa: sofa", 'sofa: "so\\u0007fa"', "sofa: expected plain text"),
        ("sofa: sofa", 'sofa: "\\u200b"', "sofa: expected"),
        ("sofa: sofa", "sofa: *x", "an alias"),
        ("sofa: sofa", f"sofa: {'[' * 3000}", "nested too deeply"),
        ("sofa: sofa", "sofa: !!python/object/apply:os.system [id]", "expected YAML"),
    ],
)
def test_a_file_that_says_something_else_is_one_line(
    write: Callable[..., Path], old: str, new: str, message: str
) -> None:
    path = write(background="sky")
    path.write_text(path.read_text().replace(old, new))
    result = car("eval", "voc21", "--data-root", path.parent, "--names", path)
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert message in result.stderr
    assert str(path) in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected at least one class, found none"),
        (b"- sofa\n- chair\n", "expected `class: text; text` in every line"),
        (b"sofa\n", "expected `class: text; text` in every line"),
        (b"sofa: \xff\n", "line 1: expected a UTF-8 text file"),
        (b"a: b\n" * 300_000, "expected a list of classes of at most"),
    ],
)
def test_a_file_of_another_kind_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=re.escape(message)) as error:
        find(str(path))
    assert len(str(error.value).splitlines()) == 1


def test_unknown_vocabulary_is_refused_with_near_matches(tmp_path: Path) -> None:
    """Samples with texts of their own have no vocabulary."""
    with pytest.raises(BenchmarkError, match="found 'scilp'; did you mean sclip"):
        find("scilp")
    with pytest.raises(DatasetError, match=r"none\.yaml: expected a file of class names"):
        find(str(tmp_path / "none.yaml"))
    with pytest.raises(BenchmarkError, match="expected released or dataset for refcoco"):
        find("plain", "refcoco")


# Families


def test_every_family_has_texts_of_every_class_of_its_data_sets() -> None:
    assert family_names() == ["clearclip", "corrclip", "lposs", "plain", "proxyclip", "sclip", "segearth"]
    served = {}
    for name in family_names():
        for data_set in (*EIGHT, "ade847", "pc459"):
            try:
                found = find(name, data_set)
            except NoTextsError as error:
                assert "expected texts for" in str(error)  # noqa: PT017  # of any other error
                continue
            served.setdefault(name, []).append(data_set)
            assert found.name == name
            assert (found.background is not None) == (data_set in ("voc21", "coco-object", "context60"))
    assert served["plain"][-1] == "pc459"
    assert all(own == EIGHT for name, own in served.items() if name != "plain")


def test_families_hold_their_authors_texts_of_voc() -> None:
    sclip, proxy, corr = (find(name).classes for name in ("sclip", "proxyclip", "corrclip"))
    assert len(sclip["person"]) == 7
    assert {"body", "people"}.isdisjoint(sclip["person"])
    assert sclip["tvmonitor"] == ("television monitor", "tv monitor", "monitor", "television", "screen")
    assert (proxy["person"], proxy["tvmonitor"], corr["person"]) == (("person",), ("tvmonitor",), ("people",))
    for each in (sclip, proxy, corr):
        assert (each["boat"], each["diningtable"], each["sofa"]) == (("ship",), ("table",), ("sofa",))
        assert all(len(texts) == 1 for name, texts in each.items() if name not in ("person", "tvmonitor"))


def test_families_hold_their_authors_background_words() -> None:
    words = {name: find(name, "coco-object").background for name in ("sclip", "proxyclip", "corrclip")}
    assert [len(words[name] or ()) for name in words] == [26, 17, 16]
    assert {*words["proxyclip"]} - {*words["corrclip"]} == {"bed"}
    assert {name: len(find(name).background or ()) for name in family_names()} == {
        **dict.fromkeys(("sclip", "proxyclip", "corrclip", "lposs"), 26),
        **dict.fromkeys(("plain", "clearclip", "segearth"), 1),
    }
    assert find("sclip", "context60").background == ("background",)


def test_families_hold_their_authors_texts_of_other_data_sets() -> None:
    coco = {name: find(name, "coco-object").classes for name in ("sclip", "proxyclip", "corrclip")}
    assert [len(coco[name]["person"]) for name in coco] == [8, 1, 1]
    assert all(texts == (name,) for name, texts in coco["sclip"].items() if name != "person")
    for data_set in ("coco-stuff", "cityscapes"):
        theirs, ours = (dict(find(name, data_set).classes) for name in ("corrclip", "sclip"))
        assert (theirs.pop("person"), ours.pop("person")) == (("people",), ("person",))
        assert theirs == ours
    ade = find("sclip", "ade150").classes
    assert ade[
        "television, television receiver, television set, tv, tv set, idiot box, boob tube, telly, goggle box"
    ] == ("televisionreceiver",)


@pytest.mark.parametrize(
    ("family", "spaced"), [("sclip", False), ("clearclip", False), ("proxyclip", False), ("lposs", True)]
)
def test_authors_texts_of_ade20k_are_not_the_data_sets(family: str, spaced: bool) -> None:
    """Counted by hand in the authors' files, against both sets of query texts."""
    first = "refrigerator, icebox", "refrigerator"
    joined = "chest of drawers, chest, bureau, dresser", "chestofdrawers"
    middle = "television, television receiver, television set, tv, tv set, idiot box, boob tube, telly, goggle box"
    texts = {name: own[0] for name, own in find(family, "ade150").classes.items()}
    assert texts["wall"] == "wall"
    assert texts[first[0]] == first[1]
    assert texts[joined[0]] == ("chest of drawers" if spaced else joined[1])
    assert texts[middle] == ("television receiver" if spaced else "televisionreceiver")
    assert texts["crt screen"] == ("crt screen" if spaced else "crtscreen")
    assert texts["bannister, banister, balustrade, balusters, handrail"] == "bannister"
    for names in ("released", "dataset"):
        space = find_sources("ade150")[0].label_space(names)
        queries = {space.labels[label]: q for q, label in zip(space.queries, space.query_labels, strict=True)}
        differ = [name for name, text in texts.items() if text != queries[name]]
        assert len(texts) == 150
        if not spaced:
            assert len(differ) == 88


def test_authors_texts_that_families_share() -> None:
    assert find("clearclip", "voc20").classes == find("proxyclip", "voc20").classes
    assert find("clearclip", "coco-object").classes == find("plain", "coco-object").classes
    assert find("lposs", "coco-object").classes["airplane"] == ("aeroplane",)
    assert find("sclip", "cityscapes").classes["traffic sign"] == ("trafficsign",)
    assert find("lposs", "cityscapes").classes["traffic sign"] == ("traffic sign",)
    voc = find("lposs").classes
    assert (voc["boat"], voc["diningtable"], voc["pottedplant"]) == (("boat",), ("dining table",), ("potted plant",))


# Runs


def test_a_vocabulary_is_the_same_as_its_synonyms_and_background(
    options: Callable[..., RunOptions], write: Callable[..., Path], tiny_run: Any
) -> None:
    """Also where SCLIP leaves out small classes, whose size is that of all their texts together."""
    people = ["person", "a man", "a woman"]
    path = write(background="sky; wall", boat="ship", person="; ".join(people))
    synonyms = {"person": people, "boat": ["ship"]}
    for method in ("sclip", "naclip"):
        named = evaluate(options(method, path, out=tiny_run.out.with_name(f"{method}-names")))
        settings = {"synonyms": synonyms, "background": ["sky", "wall"]}
        by_hand = evaluate(options(method, "dataset", settings=settings, out=tiny_run.out.with_name(f"{method}-set")))
        assert records(named) == records(by_hand)
        assert named.header.metrics["miou"] == by_hand.header.metrics["miou"]
        assert named.header.config["synonyms"] == {"person": people}
        assert named.header.config_sources["background"] == "names"
    assert named.header.config["background"] == ["sky", "wall"]


@pytest.mark.parametrize("method", ["car", "clip-es"])
def test_methods_without_synonyms_read_the_first_text(
    options: Callable[..., RunOptions],
    write: Callable[..., Path],
    tiny_run: Any,
    method: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(background="sky; wall", person="person; a man; a woman")
    run = evaluate(options(method, path, out=tiny_run.out.with_name("named")))
    notice = f"names mine.yaml: {method} reads only the first text of each class; 2 synonyms are ignored"
    assert notice in capsys.readouterr().err
    plain = evaluate(options(method, "dataset", settings={"background": ["sky", "wall"]}))
    assert records(run) == records(plain)
    assert run.header.benchmark.label_space == plain.header.benchmark.label_space
    assert run.header.config["background"] == ["sky", "wall"]


def test_settings_of_the_user_win(options: Callable[..., RunOptions], write: Callable[..., Path]) -> None:
    path = write(background="sky; wall", person="person; a man")
    resolved = resolve(options("sclip", path, settings={"background": ["sea"]}))
    assert resolved.config.model_dump()["background"] == ("sea",)
    assert (resolved.set_by["background"], resolved.set_by["synonyms"]) == ("user", "names")
    # ProxyCLIP's words of the benchmark give way, too.
    proxy = resolve(replace(options("proxyclip", path), benchmark="mini-coco-object", names="corrclip", data_root=None))
    assert len(proxy.config.model_dump()["background"]) == 16


def test_the_identity_moves_with_the_texts_not_with_the_path(
    options: Callable[..., RunOptions], write: Callable[..., Path]
) -> None:
    def identity(names: str | Path) -> str:
        return prepare(options("sclip", names)).identity

    path, copy = write(person="person; a man"), write("folder/other.yaml", person="person; a man")
    first = identity(path)
    assert identity(copy) == first
    path.write_text("# a comment\n" + path.read_text())
    assert identity(path) == first
    assert identity(write(person="person; a woman")) != first
    assert identity(write(person="person; a man", background="sky")) != first
    for names in ("released", "dataset"):
        assert "names" not in prepare(options("sclip", names)).identity_fields


def test_texts_over_the_context_are_one_line_before_any_work(
    options: Callable[..., RunOptions], write: Callable[..., Path], tiny_run: Any
) -> None:
    long = "many words " * 60
    for method in ("car", "sclip", "clip-es"):
        for texts in ({"person": long}, {"background": long}):
            with pytest.raises(QueryError, match="expected at most 77 tokens") as error:
                prepare(options(method, write(**texts)))
            assert len(str(error.value).splitlines()) == 1
    with pytest.raises(QueryError, match="expected at most 77 tokens"):
        prepare(options("sclip", write(person=f"person; {long}")))
    assert not tiny_run.out.exists()


def test_tables_reports_and_comparisons_name_it(
    options: Callable[..., RunOptions], write: Callable[..., Path], tiny_run: Any
) -> None:
    path = write(background="sky", person="person; a man")
    named = evaluate(options("sclip", path, out=tiny_run.out.with_name("named")))
    plain = evaluate(options("sclip", "dataset"))
    about = named.header.benchmark.names
    assert about
    assert (about.name, about.classes["person"], about.background) == ("mine.yaml", ["person", "a man"], ["sky"])
    assert named.header.identity_fields["names"] == about.sha256
    assert "names mine.yaml" in remarks(named.header)
    facts = f"mine.yaml, 21 texts of 20 classes, 1 background word, sha256 {about.sha256[:12]}"
    assert run_facts(named.header)["names"] == facts
    assert "names mine.yaml" in (named.path / "table.md").read_text()
    changes = {change.name: (change.value_a, change.value_b) for change in compare(plain.path, named.path).switches}
    assert changes["names"] == ("dataset", facts)
    assert plain.header.benchmark.names is None
    assert "names dataset" in remarks(plain.header)
    # Pictures of the run need no file: run.json has the texts.
    path.unlink()
    again = _prepared(named.header, GalleryOptions(data_root=tiny_run.data_root))
    assert again.identity_fields["names"] == about.sha256
    assert again.dataset.label_space.as_dict() == named.header.benchmark.label_space


def test_user_data_take_a_vocabulary(tmp_path: Path, make_own: Callable[[], dict[str, str]], tiny_model: Path) -> None:
    names = tmp_path / "names.yaml"
    names.write_text("background: wall\ncat: a cat; kitten\ndog: a dog\n")
    given = RunOptions("own-folders", Path(), places=make_own(), names=str(names), method="sclip", weights="random:1")
    prepared = prepare(replace(given, settings={"proposal_model": str(tiny_model), **FAST}))
    space = prepared.dataset.label_space
    assert (space.queries, space.query_labels, space.labels) == (
        ("a cat", "a dog"),
        (1, 2),
        ("background", "cat", "dog"),
    )
    config = prepared.segmenter.config.model_dump()
    assert (config["synonyms"], config["background"]) == ({"a cat": ("a cat", "kitten")}, ("wall",))


@pytest.fixture
def make_own(tmp_path: Path) -> Callable[[], dict[str, str]]:
    def make() -> dict[str, str]:
        write_noise(tmp_path / "images" / "a.jpg", 32, 40)
        write_png(tmp_path / "masks" / "a.png", np.arange(1280).reshape(32, 40) % 3)
        (tmp_path / "classes.txt").write_text("background; sky\ncat; kitty\ndog\n")
        return {key: str(tmp_path / name) for key, name in PLACES.items()}

    return make


PLACES = {"images": "images", "masks": "masks", "classes": "classes.txt"}


# Sweeps


def sweep(tiny_run: Any, names: str, *more: object, method: str = "sclip,car") -> Result:
    model = [f"--set={role}_model={tiny_run.model}" for role in ("proposal", "classifier")]
    own = ["--data-root", tiny_run.data_root, "--weights", "random:1", "--out", tiny_run.out, "--limit", 2]
    fast = ["--set=templates=['{}']", "--set=crf=null", "--set=recurrence=none", "--refine-workers=0"]
    return car("sweep", "voc21", *more, "--method", method, "--names", names, *own, *model, *fast)


def test_a_sweep_over_names_ends_in_one_table(tiny_run: Any, write: Callable[..., Path]) -> None:
    names = f"plain,{write(background='sky', boat='ship')}"
    result = sweep(tiny_run, names)
    assert result.exit_code == 0, result.output
    runs, table = read_runs(tiny_run.out), read_suite_table(tiny_run.out)
    assert len(runs) == 4
    assert table.title.startswith("method, names; all with proposal_model=")
    assert table.values("set.method") == ["SCLIP", "CaR"]
    for row, method in zip(table.rows, ("sclip", "car"), strict=True):
        own = {
            header.benchmark.names.name: 100 * header.metrics["miou"]
            for header in runs.values()
            if header.benchmark.names and header.config.get("method", "car") == method
        }
        assert list(own) == ["plain", "mine.yaml"]
        assert row["percent"] == pytest.approx(sum(own.values()) / 2)
        assert row["deviation"] == pytest.approx(abs(own["plain"] - own["mine.yaml"]) / 2**0.5)
        assert row["worst"] == min(own.values())
        assert row["change.mine.yaml"] == pytest.approx(own["mine.yaml"] - own["plain"])
        assert [row[f"percent.{name}"] for name in own] == list(own.values())
        assert (row["n_total"], row["n_failed"]) == (2, 0)
    before = {name: header.created_at for name, header in runs.items()}
    assert sweep(tiny_run, names).exit_code == 0
    assert {name: header.created_at for name, header in read_runs(tiny_run.out).items()} == before


def test_sweeps_of_all_methods_and_of_settings() -> None:
    suite = as_suite(Sweep("", ({},)), "mini-voc", profile="paper", settings={}, method="all", names="plain,sclip")
    assert [run.method for run in suite.runs[::2]] == [
        *("car", "clip", "maskclip", "sclip", "clearclip", "naclip", "resclip", "sc-clip", "clip-es")
    ]
    assert [run.names for run in suite.runs[:2]] == ["plain", "sclip"]
    assert [run.profile for run in suite.options(profile="paper")][1:3] == ["paper", None]
    assert suite.name.startswith("sweep-mini-voc-")
    own = as_suite(Sweep("", ({},)), "voc21", profile=None, settings={}, method="sclip,clearclip", names="own,plain")
    assert [(run.method, run.names) for run in own.runs] == list(
        itertools.product(("sclip", "clearclip"), ("own", "plain"))
    )
    points = Sweep("eta", ({"eta": 0.3}, {"eta": 0.4}))
    suite = as_suite(points, "voc21", profile=None, settings={}, names="plain,sclip")
    assert [run.point for run in suite.runs] == [
        {"names": name, "eta": eta} for name in ("plain", "sclip") for eta in (0.3, 0.4)
    ]
    suite = as_suite(points, "voc21", profile=None, settings={}, method="car,sclip")  # which has no eta
    assert [run.point for run in suite.runs] == [
        *({"method": "car", "eta": eta} for eta in (0.3, 0.4)),
        {"method": "sclip"},
    ]
    points = Sweep("", ({"sam.iom_threshold": 0.3, "lambda": 0.2}, {"sam.iom_threshold": 0.4, "lambda": 0.3}))
    sam = {"sam": {"model": "random:0"}, "dino_weights": "random:0"}
    suite = as_suite(points, "voc21", profile=None, settings=sam, method="car,clip-es,corrclip")
    assert [run.point for run in suite.runs] == [
        *({"method": "car", **point} for point in points.points),
        *({"method": "clip-es", "lambda": value} for value in (0.2, 0.3)),
        {"method": "corrclip"},
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--names", "plain,plain"), "--names: expected different names, separated by commas"),
        (("--names", "plain,"), "--names: expected different names"),
        (("--names", "a/x.yaml,b/x.yaml"), "--names: expected files of different names"),
        (("--names", "plain,scilp"), "did you mean sclip"),
        (("--names", "plain"), "expected key=value,value,... or a file or a preset"),
        (("--method", "sclip,naclipp"), "did you mean naclip"),
        (("--method", "sclip", "--names", "plain,sclip", "--profile", "paper"), "--profile: expected none"),
    ],
)
def test_mistakes_in_sweeps_are_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = car("sweep", "mini-voc", *arguments, "--out", tmp_path / "out")
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_example_of_the_page_is_a_vocabulary(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "vocabularies.md").read_text()
    [example] = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "mini.yaml"
    path.write_text(example)
    found = find(str(path))
    assert (found.background, found.classes["cat"]) == (("grass", "sky", "sand", "water", "wall"), ("cat", "kitten"))
    for family in family_names():  # each is in the page's table
        assert f"| `{family}` |" in page


def test_a_vocabulary_wins_over_what_a_profile_sets(tmp_path: Path, tiny_run: Any) -> None:
    fields = {"name": "mine", "base": "voc21", "profiles": {"released": {"background": ["zebra"]}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(fields))
    asked = RunOptions(str(tmp_path / "mine.yaml"), data_root=tiny_run.data_root, weights="random:1")
    assert resolve(asked).config.model_dump()["background"] == ("zebra",)
    assert len(resolve(replace(asked, names="sclip")).config.model_dump()["background"]) == 26
