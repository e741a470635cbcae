"""The paper's tables as a whole with our rows: one a method, differences below, and what has no place there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results import RunHeader
from results.tables.paper_comparison import DASH, Place, PlacedRun, paper_comparisons
from results.tables.render import Table, to_csv, to_latex, to_markdown

Make = Callable[..., RunHeader]
PAPER = Path(__file__).parents[2] / "results" / "paper"


@pytest.fixture
def run(make_header: Make, make_metrics: Callable[..., dict[str, Any]]) -> Callable[..., PlacedRun]:
    """run(column, miou): a whole run of ours in a column of Table 1, its settings untouched by the user."""

    def make(
        column: str, miou: float, *, places: tuple[Place, ...] = (), variant: str | None = None, **changes: Any
    ) -> PlacedRun:
        header = make_header()
        config = {**header.config, **changes.pop("config", {})}
        benchmark = header.benchmark.model_dump() | {"name": column} | changes.pop("benchmark", {})
        fields = {"config_sources": dict.fromkeys(config, "profile"), "metrics": make_metrics(miou=miou), **changes}
        made = make_header(benchmark=benchmark, config=config, **fields)
        return PlacedRun(made, places or (Place("table1", column),), variant)

    return make


def rows_of(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(table))))


def own_rows(table: Table) -> list[dict[str, str]]:
    return [row for row in rows_of(table) if "(paper)" not in row["method"] or row["method"].startswith("difference")]


def stored(name: str) -> list[dict[str, str]]:
    (file,) = PAPER.glob(f"{name}_*.csv")
    return list(csv.DictReader(file.open(encoding="utf-8")))


@pytest.mark.parametrize("name", ["table1", "table7", "table8", "tableJ"])
def test_every_figure_of_the_paper_is_there(run: Any, name: str) -> None:
    columns = [key for key, cell in stored(name)[-1].items() if re.fullmatch(r"[\d.]+", cell)]
    table = paper_comparisons([run(columns[0], 0.5, places=(Place(name, columns[0]),))])[name]
    shown = [row for row in rows_of(table) if row not in own_rows(table)]
    for row, expected in zip(shown, stored(name), strict=True):
        assert row["method"].startswith(expected["method"])
        assert [row[key] and float(row[key]) for key in columns] == [
            expected[key] and float(expected[key]) for key in columns
        ]
    assert len({row["method"] for row in shown}) == len(shown)  # GroupViT and SegCLIP have two rows each
    assert len(columns) == {"table1": 8, "table7": 10, "table8": 3, "tableJ": 2}[name]


def test_runs_of_one_method_are_one_row_below_the_papers(run: Any) -> None:
    runs = [run("voc21", 0.65), run("pc459", 0.15), run("voc21", 0.5, config={"profile": "paper"})]
    table = paper_comparisons(runs)["table1"]
    released, difference, paper, below = own_rows(table)
    assert rows_of(table)[-5]["method"] == "CaR (paper)"
    assert (released["method"], released["voc21"], released["pc459"], released["coco_object"]) == (
        "CaR, released profile, openai",
        "65.0",
        "15.0",
        "",
    )
    assert (difference["method"], difference["voc21"], difference["pc459"], difference["ade150"]) == (
        "difference from CaR (paper)",
        "-2.6",
        "1.1",
        "",
    )
    assert (paper["method"], paper["voc21"], paper["pc459"]) == ("CaR, paper profile, openai", "50.0", "")
    assert below["voc21"] == "-17.6"
    assert table.difference_rows == (18, 20)


def test_dashes_and_signs_are_printed(run: Any) -> None:
    table = paper_comparisons([run("voc21", 0.65), run("pc459", 0.15)])["table1"]
    *_, ours, difference = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (ours, difference)]
    assert cells[0] == ["CaR, released profile, openai", DASH, "65.0", *[DASH] * 5, "15.0", ""]
    assert cells[1] == ["difference from CaR (paper)", DASH, "-2.6", *[DASH] * 5, "+1.1", ""]
    latex = to_latex(table)
    assert r"difference from CaR (paper) & – & -2.6 &" in latex
    assert "TCL (paper) & 77.5 & 51.2 & 30.4 & 24.3 & 30.3 & 14.9 & – & – & note 1" in latex
    assert any(note.startswith("Note 1:") and "swapped" in note for note in table.notes)


def test_settings_and_variants_make_rows_of_their_own(run: Any) -> None:
    changed = run(
        "voc21",
        0.6,
        config_sources=dict.fromkeys(["profile", "proposal_model", "classifier_model"], "profile") | {"eta": "user"},
    )
    protocol = run("coco_object", 0.3, benchmark={"protocol_changed": ["overlaps=lost"]})
    runs = [run("voc21", 0.65), changed, protocol, run("voc21", 0.7, variant="carried")]
    labels = [row["method"] for row in own_rows(paper_comparisons(runs)["table1"])[::2]]
    assert labels == [
        "CaR, released profile, openai",
        "CaR, released profile, openai, eta=0.4",
        "CaR, released profile, openai, overlaps=lost",
        "CaR, released profile, openai, carried",
    ]


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"counts": {"n_total": 3, "n_scored": 3, "n_failed": 0}}, "partial run: 3 of 11 images"),
        ({"status": "running"}, "run not finished"),
        ({"benchmark": {"paper_split": "test"}}, "split val"),
    ],
)
def test_partial_run_has_own_row_without_difference(run: Any, changes: Any, remark: str) -> None:
    table = paper_comparisons([run("coco_object", 0.9, **changes), run("voc21", 0.65)])["table1"]
    whole, _, partial = own_rows(table)
    assert (whole["voc21"], whole["coco_object"]) == ("65.0", "")
    assert (partial["voc21"], partial["coco_object"]) == ("", "90.0")
    assert partial["method"] == "not whole: CaR, released profile, openai"
    assert partial["remarks"] == f"coco_object: {remark}"


def test_untrained_and_miniature_runs_are_kept_out(run: Any) -> None:
    untrained = [{"role": "proposal", "name": "random:0", "sha256": None, "trained": False}]
    out = [
        run("voc20", 0.9, weights=untrained),
        run("pc60", 0.9, benchmark={"paper": None, "not_comparable": "miniature: not comparable"}),
        run("pc59", 0.9, metrics={}, status="running"),
    ]
    table = paper_comparisons([*out, run("voc21", 0.65)])["table1"]
    assert [row["method"] for row in own_rows(table)] == [
        "CaR, released profile, openai",
        "difference from CaR (paper)",
    ]
    assert table.notes[-3:] == (
        "Left out: voc20: untrained weights.",
        "Left out: pc60: miniature: not comparable.",
        "Left out: pc59: no figure yet.",
    )
    assert paper_comparisons(out) == {}
    assert paper_comparisons([]) == {}


def test_comparison_shows_last_run_and_other_labels_next_to_it(run: Any) -> None:
    def of(source: str, miou: float, day: int) -> PlacedRun:
        dataset = {"name": f"coco-object/{source}", "split": "val", "fingerprint": source, "n_samples": 11}
        made = {"identity_fields": {"day": day}, "created_at": f"2026-01-{day:02d}T00:00:00+00:00"}
        from results import identity_of

        return run("coco_object", miou, benchmark={"dataset": dataset}, identity=identity_of({"day": day}), **made)

    runs = [of("instances", 0.30, 1), of("instances", 0.31, 3), of("stuffthingmaps", 0.32, 2)]
    first, _, second, _ = own_rows(paper_comparisons(runs)["table1"])
    assert (first["coco_object"], first["remarks"]) == (
        "31.0",
        "coco_object: labels from instances; 1 older of the same data left out",
    )
    assert (second["coco_object"], second["remarks"]) == ("32.0", "coco_object: labels from stuffthingmaps")


def test_a_run_fills_all_its_places(run: Any, make_header: Make) -> None:
    video = {"j_and_f": 0.30, "j": 0.28, "f": None, "reductions": {}}
    places = (Place("table8", "j_and_f"), Place("table8", "j", "j"), Place("table8", "f", "f"))
    made = run("ref-davis17", 0.0, places=places, benchmark={"task": "video"}, metrics=video)
    ours, difference = own_rows(paper_comparisons([made])["table8"])
    assert [ours[key] for key in ("j_and_f", "j", "f")] == ["30.0", "28.0", ""]
    assert [difference[key] for key in ("j_and_f", "j", "f")] == ["-0.34", "-0.15", ""]
    both = run("voc20", 0.9, places=(Place("table1", "voc20"), Place("tableJ", "voc20")))
    assert [own_rows(table)[1]["voc20"] for table in paper_comparisons([both]).values()] == ["-1.4", "-1.4"]


def test_paper_row_of_a_run_with_sam_is_that_with_sam(run: Any) -> None:
    config = {"sam": "vit_h"}
    runs = [run("voc21", 0.702, config=config), run("voc20", 0.914, config=config)]
    ours, difference = own_rows(paper_comparisons(runs)["table1"])
    assert ours["method"].startswith("CaR+SAM, ")
    assert difference["method"] == "difference from CaR+SAM or CaR (paper)"
    assert [abs(float(difference[key])) for key in ("voc21", "voc20")] == pytest.approx([0, 0], abs=1e-9)


def test_failed_samples_are_told(run: Any) -> None:
    table = paper_comparisons([run("voc21", 0.65, counts={"n_total": 11, "n_scored": 9, "n_failed": 2})])["table1"]
    assert own_rows(table)[0]["remarks"] == "voc21: 2 of 11 images failed"


def test_a_place_that_the_paper_does_not_have_is_refused(run: Any) -> None:
    with pytest.raises(ValueError, match="table1 has no figure of CaR in a column 'voc99'; columns: voc20, voc21"):
        paper_comparisons([run("voc99", 0.5)])
    with pytest.raises(ValueError, match="no table 'table99'"):
        paper_comparisons([run("voc21", 0.5, places=(Place("table99", "voc21"),))])
