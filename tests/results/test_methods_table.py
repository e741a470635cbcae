"""Methods beside each other and beside published figures."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from results import PaperCell, RunHeader
from results.paper.paper_tables import EIGHT, peer_rows
from results.tables.methods import methods_table
from results.tables.peers import peer_tables, peers_table
from results.tables.render import Table, to_csv, to_rich


def rows_of(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(to_csv(table).splitlines()))


def test_published_figures_stand_beside_runs(make_methods: dict[str, RunHeader]) -> None:
    rows = rows_of(methods_table("Methods", make_methods))
    own = {row["method"]: row for row in rows}
    assert float(own["SCLIP"]["published"]) == 59.63
    assert float(own["SCLIP"]["difference"]) == pytest.approx(65.449 - 59.63, abs=1e-6)
    assert float(own["CaR"]["published"]) == 67.6
    assert float(own["NACLIP"]["published"]) == 58.9  # its authors' figure is with PAMR
    assert float(own["NACLIP+PAMR"]["published"]) == 64.07
    assert own["SCLIP (published)"]["remarks"] == "OpenAI CLIP ViT-B/16, names sclip, authors; grade V"
    assert [row["method"] for row in rows if "published" in row["method"]] == [
        f"{name} (published)" for name in ("SCLIP", "NACLIP+PAMR", "NACLIP")
    ]
    assert [row["method"] for row in rows[-4:]] == ["CaR", "SCLIP", "NACLIP", "NACLIP+PAMR"]
    assert float(own["CaR"]["memory"]) == 2346


def test_published_figure_stands_next_to_comparable_runs_only(make_header: Any) -> None:
    """Runs of its models, texts and settings."""

    def figure(method: str, weights: str = "openai", model: str = "ViT-B-16", names: str = "own", **more: Any) -> str:
        config = {"method": method, "proposal_model": model, **more}
        header = make_header(
            config=config,
            config_sources={key: "user" if key in more else "default" for key in config},
            weights=[{"role": "proposal", "name": weights, "sha256": "a" * 64, "trained": True}],
            request={"names": names},
        )
        return rows_of(methods_table("Methods", {"own": header}))[-1].get("published", "")

    assert (figure("sclip"), figure("sclip", model="ViT-B-16-quickgelu")) == ("59.63", "59.63")
    assert (figure("corrclip", "metaclip_fullcc"), figure("lposs", "laion2b_s34b_b88k")) == ("73.9", "61.1")
    assert figure("naclip", pamr_steps=10) == "64.07"
    for others in (
        figure("corrclip"),
        figure("lposs"),
        figure("lposs", "laion2b_s34b_b88k", pixels=True),  # LPOSS+
        figure("sclip", model="ViT-L-14"),
        figure("sclip", weights="other.pt"),
        figure("sclip", names="plain"),
        figure("sclip", logit_scale=30),
    ):
        assert others == ""


def test_runs_of_other_weights_make_no_mean(make_header: Any) -> None:
    config = {"method": "sclip", "proposal_model": "ViT-B-16"}
    headers = []
    for name, letter in (("voc21", "a"), ("context60", "b")):
        plain = make_header(config=config, config_sources=dict.fromkeys(config, "default")).model_dump()
        plain["benchmark"] |= {"name": name}
        plain["weights"] = [{"role": "proposal", "name": "vit.pt", "sha256": letter * 64, "trained": True}]
        headers.append(RunHeader.model_validate(plain))
    own = [row for row in rows_of(peers_table("Peers", headers)) if row["ran_by"] == "here"]
    assert [(bool(row["voc21"]), bool(row["context60"])) for row in own] == [(True, False), (False, True)]


def test_peers_of_one_benchmark_rise_and_runs_come_below(make_methods: dict[str, RunHeader]) -> None:
    [(name, table)] = peer_tables(make_methods.values()).items()
    rows = rows_of(table)
    published = [float(row["voc21"]) for row in rows[:-4]]
    assert (name, published) == ("peers", sorted(published))
    assert len(published) == len(peer_rows(["voc21"]))
    assert [row["method"] for row in rows[-4:]] == ["CaR, paper", "SCLIP", "NACLIP", "NACLIP+PAMR"]
    assert {row["ran_by"] for row in rows[-4:]} == {"here"}
    assert {row["mean"] for row in rows[-4:]} == {""}
    assert [float(row["voc21"]) for row in rows[-4:]] == [65.449] * 4
    by_models = {row["backbone"]: row for row in rows if row["method"] == "CorrCLIP"}  # both, with their causes
    assert float(by_models["MetaCLIP ViT-B/16 + DINO B/8 + SAM2 masks, 32 points a side"]["voc21"]) == 74.8
    quoted = by_models["OpenAI CLIP ViT-B/16 + DINO B/8 + SAM2"]
    assert (float(quoted["voc21"]), quoted["ran_by"], quoted["grade"]) == (72.2, "via OV-Stitcher", "I")


def test_the_mean_is_of_eight_whole_runs_or_none(make_header: Any) -> None:
    percents = dict(zip(EIGHT, (61.0, 32.5, 33.0, 80.25, 35.0, 24.0, 33.0, 17.0), strict=True))

    def headers(**counts: int) -> list[RunHeader]:
        config = {"method": "sclip", "pamr_steps": 0}
        plain = make_header(config=config, config_sources=dict.fromkeys(config, "default")).model_dump()
        found = []
        for name, percent in percents.items():
            fields = {**plain, "benchmark": {**plain["benchmark"], "name": name}}
            fields["metrics"] = {**plain["metrics"], "miou": percent / 100}
            fields["counts"] = {**plain["counts"], "n_total": counts.get(name, 11), "n_scored": counts.get(name, 11)}
            found.append(RunHeader.model_validate(fields))
        return found

    own = rows_of(peers_table("", headers()))[-1]
    assert [float(own[name]) for name in EIGHT] == pytest.approx(list(percents.values()))
    assert float(own["mean"]) == pytest.approx(np.mean(list(percents.values())))
    assert (own["remarks"], own["supervision"], own["names"]) == ("", "none", "default")
    limited = peers_table("", headers(cityscapes=3))
    own = rows_of(limited)[-1]
    assert (own["mean"], own["cityscapes"]) == ("", "33.0")
    assert own["remarks"] == "partial run: 3 of 11 images (cityscapes)"
    assert f"SCLIP, openai: {own['remarks']}." in limited.notes
    seven = peers_table("", headers()[:-1])
    assert rows_of(seven)[-1]["mean"] == ""
    assert "No run on ade150, so no mean." in seven.notes
    # Of one benchmark twice, the whole one counts, and the other is mentioned.
    own = rows_of(peers_table("", [*headers(), headers(voc21=2)[0]]))[-1]
    assert float(own["mean"]) == pytest.approx(np.mean(list(percents.values())))
    assert own["remarks"] == "1 more of the same left out"


def test_cars_settings_without_a_published_figure_are_marked(make_header: Any) -> None:
    header = make_header()
    city = header.model_copy(update={"benchmark": header.benchmark.model_copy(update={"name": "cityscapes"})})
    notes = peers_table("", [header, city]).notes
    assert "CaR has no published figure on cityscapes (those of ade150): its settings there are ours." in notes
    assert not any("are ours" in note for note in peers_table("", [header]).notes)


def test_other_benchmarks_have_tables_of_their_own(make_header: Any) -> None:
    header = make_header()
    other = header.model_copy(update={"benchmark": header.benchmark.model_copy(update={"name": "pc459"})})
    tables = peer_tables([header, other])
    assert list(tables) == ["peers", "peers-pc459"]
    assert "mean" not in tables["peers-pc459"].rows[0]
    assert peer_tables([other]).keys() == {"peers-pc459"}


def test_a_terminal_of_120_columns_shows_the_eight_as_a_grid() -> None:
    lines = []
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(to_rich(peer_tables([])["peers"], 120))
    lines = console.export_text().splitlines()
    assert next(line for line in lines if line.startswith("method ")).split() == [
        *("method", "backbone", "supervision", "names", "ran", "by"),
        *("VOC21", "PC60", "Object", "VOC20", "PC59", "Stuff", "City", "ADE", "mean"),
    ]
    [best] = [line.split() for line in lines if line.startswith("SegEarth-OV3")]
    assert best[-9:] == ["79.8", "50.7", "67.6", "96.8", "58.8", "42.8", "69.7", "37.5", "63.0"]


def test_without_published_figures_there_are_no_columns_for_them(make_methods: dict[str, RunHeader]) -> None:
    embedded = {
        name: header.model_copy(
            update={"benchmark": header.benchmark.model_copy(update={"paper": None, "name": "mini-voc"})}
        )
        for name, header in make_methods.items()
    }
    assert not {"published", "difference"} & {column.key for column in methods_table("Methods", embedded).columns}
    assert peer_tables(embedded.values()) == {}


@pytest.fixture
def make_methods(make_header: Any) -> dict[str, RunHeader]:
    """Headers of runs with CaR, SCLIP, NACLIP and NACLIP with PAMR."""

    def header(**config: Any) -> RunHeader:
        config = {"proposal_model": "ViT-B-16", **config}
        return make_header(config=config, config_sources=dict.fromkeys(config, "default"))  # type: ignore[no-any-return]

    assert make_header().benchmark.paper == PaperCell(table="table1", column="voc21")
    return {
        "car": header(profile="paper"),
        "sclip": header(method="sclip", pamr_steps=0),
        "naclip": header(method="naclip", pamr_steps=0),
        "naclip-pamr": header(method="naclip", pamr_steps=10),
    }
