"""Tables of a run: figures, marks, notes, escaping."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from results import PaperCell, RunHeader, StoreError
from results.tables.golden import Comparison, comparison_of_figures
from results.tables.methods import methods_table
from results.tables.render import (
    Table,
    escape_latex,
    escape_markdown,
    text_cells,
    to_csv,
    to_latex,
    to_markdown,
    to_rich,
)
from results.tables.run import (
    comparison_table,
    metrics_table,
    per_class_table,
    run_markdown,
    summary_table,
    write_tables,
)
from support.text import display_width, visible

MakeHeader = Callable[..., RunHeader]
MakeMetrics = Callable[..., dict[str, Any]]
VOC21 = PaperCell(table="table1", column="voc21")
# Markup of every target language, a formula, terminal steering, a right-to-left mark and a surrogate.
HOSTILE = "=1+1|<img src=x onerror=alert(1)>*b*_i_`c`[l](u)\\input{x}$x$%&#~^\n# h\r\t\x1b[31m\u202e\ud800"


def untrained() -> list[dict[str, Any]]:
    roles = ("proposal", "classifier")
    return [{"role": role, "name": "random:0", "sha256": None, "trained": False} for role in roles]


def rows_of(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(table))))


def compared(header: RunHeader, cell: PaperCell | None) -> Table:
    return comparison_table(
        header.model_copy(update={"benchmark": header.benchmark.model_copy(update={"paper": cell})})
    )


def cells_of(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_table_has_run_below_paper_with_signed_differences(make_header: MakeHeader) -> None:
    table = cells_of(to_markdown(compared(make_header(), VOC21)))
    assert [row[:4] for row in table[2:]] == [
        ["ReCo (paper)", "mIoU", "25.1", "-42.5"],
        ["MaskCLIP (paper)", "mIoU", "38.8", "-28.8"],
        ["CaR (paper)", "mIoU", "67.6", "0.0"],
        ["CaR+SAM (paper)", "mIoU", "70.2", "+2.6"],
        ["CaR, released profile, openai", "miou", "65.4", "-2.2"],
    ]
    assert table[-1][4:] == ["11", "11", "0", "changed: eta"]
    assert table[0][3:] == ["vs. CaR (paper)", "n_total", "n_scored", "n_failed", "remarks"]


def test_a_terminal_gets_at_most_its_width_and_whole_figures(make_header: MakeHeader) -> None:
    header = make_header(weights=untrained())
    table = compared(header, VOC21)
    lines = []
    for width in (100, 80):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        console.print(to_rich(table, width))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(display_width, text.splitlines())) <= width
        lines.append(next(line for line in text.splitlines() if "70.2" in line).split())
    assert lines[0][-2:] == lines[1][-2:] == ["70.2", "+2.6"]


def test_terminal_table_keeps_words_whole(make_header: MakeHeader) -> None:
    header = make_header(metrics=make_header().metrics | {"miou_gt_classes_foreground": 0.7})
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    console.print(to_rich(compared(header, None), 100))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "miou_gt_classes_foreground" in text
    assert "n_failed" in text
    assert "difference" not in text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_terminal_of_any_width_gets_every_word(width: int, make_header: MakeHeader) -> None:
    figure = "frequency_weighted_iou_gt_classes"
    checked = comparison_of_figures([Comparison("mini-voc", figure, 0.7133896598, 0.7133896597, 1e-06)], "mini.json")
    header = make_header(weights=untrained())
    for table in (checked, summary_table([header, header]), compared(header, VOC21)):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        console.print(to_rich(table, width))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(display_width, text.splitlines())) <= width
        assert "…" not in text
        found = Counter(word.removesuffix(":") for word in text.split())
        for cell in itertools.chain(*text_cells(table)):
            assert not Counter(word.removesuffix(":") for word in cell.split()) - found


def test_empty_column_is_left_out_of_markdown_only(make_header: MakeHeader) -> None:
    alone = compared(make_header(), None)
    assert cells_of(to_markdown(alone))[0] == ["method", "metric", "%", "n_total", "n_scored", "n_failed", "remarks"]
    assert "difference" in rows_of(alone)[0]
    empty = summary_table([])
    assert len(cells_of(to_markdown(empty))[0]) == len(empty.columns)


def test_where_a_table_does_not_fit_each_row_is_a_block() -> None:
    figures = [Comparison("mini-voc", "frequency_weighted_iou_gt_classes", 0.7133896598, 0.7125, 0.0)]
    console = Console(width=78, file=io.StringIO(), color_system=None)
    console.print(to_rich(comparison_of_figures(figures, "mini.json"), 78))
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "Compared with mini.json",
        "",
        "run: mini-voc   figure: frequency_weighted_iou_gt_classes",
        "  expected: 0.7133896598   found: 0.7125   tolerance: 0   verdict: CHANGED",
        "",
    ]


def test_a_run_with_sam_is_measured_against_car_with_sam(make_header: MakeHeader) -> None:
    fields = make_header().model_dump()
    config, sources = fields["config"] | {"sam": "vit_h"}, fields["config_sources"] | {"sam": "user"}
    header = make_header(config=config, config_sources=sources)
    table = compared(header, VOC21)
    assert rows_of(table)[-1]["difference"] == "-4.751"
    assert rows_of(table)[-1]["method"].startswith("CaR+SAM")
    without_figure = compared(header, PaperCell(table="table1", column="voc20"))
    assert "vs. CaR (paper)" in [column.heading for column in without_figure.columns]


def test_other_reductions_are_shown_when_they_differ(make_header: MakeHeader, make_metrics: MakeMetrics) -> None:
    header = make_header(metrics=make_metrics(miou_gt_classes=0.7, miou_scored_only=0.66))
    table = compared(header, VOC21)
    assert [(row["metric"], row["percent"]) for row in rows_of(table)[-3:]] == [
        ("miou", "65.449"),
        ("miou_gt_classes", "70.0"),
        ("miou_scored_only", "66.0"),
    ]
    assert "miou_gt_classes: as miou, over classes in the ground truth." in table.notes


def test_split_or_image_count_unlike_the_papers_is_marked(make_header: MakeHeader) -> None:
    header = make_header()
    for split, n_paper, remark in (
        ("test", 1449, "split val; changed: eta"),
        ("val", 1449, "partial data set: 11 images in place of 1449; changed: eta"),
        ("val", 10, "larger data set: 11 images in place of 10; changed: eta"),
        ("val", 11, "changed: eta"),
    ):
        other = header.benchmark.model_copy(update={"paper_split": split, "paper_samples": n_paper})
        marked = compared(header.model_copy(update={"benchmark": other}), VOC21)
        assert rows_of(marked)[-1]["remarks"] == remark


def test_untrained_and_partial_runs_are_marked(make_header: MakeHeader) -> None:
    counts = {"n_total": 3, "n_scored": 2, "n_failed": 1}
    header = make_header(weights=untrained(), counts=counts)
    assert rows_of(compared(header, VOC21))[-1]["remarks"] == (
        "untrained weights, not comparable; partial run: 3 of 11 images; changed: eta"
    )
    page = run_markdown(header)
    assert (
        "**Read with care:** untrained weights, not comparable; partial run: 3 of 11 images; changed: eta; "
        "1 of 3 images failed." in page
    )
    assert "run not finished" in run_markdown(make_header(status="running"))
    header = make_header()
    plain = header.model_copy(update={"config_sources": dict.fromkeys(header.config, "profile")})
    assert "Read with care" not in run_markdown(plain)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": untrained()},
        {"counts": {"n_total": 3, "n_scored": 3, "n_failed": 0}},
        {"status": "incomplete"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_published_figures_are_subtracted_from_comparable_runs(
    make_header: MakeHeader, changes: dict[str, Any]
) -> None:
    config = {"method": "sclip", "pamr_steps": 0, "proposal_model": "ViT-B-16"}
    sources = dict.fromkeys(config, "default")
    for more, shown in (({}, True), (changes, False)):
        ours = rows_of(compared(make_header(**more), VOC21))[-1]
        summed = rows_of(summary_table([make_header(**more)]))[-1]
        beside = rows_of(methods_table("T", {"sclip": make_header(config=config, config_sources=sources, **more)}))[-1]
        assert [row["percent"] for row in (ours, summed, beside)] == ["65.449"] * 3
        assert [bool(row["difference"]) for row in (ours, summed, beside)] == [shown] * 3
    theirs = rows_of(compared(make_header(**changes), VOC21))[:-1]
    assert [row["difference"] for row in theirs] == ["-42.5", "-28.8", "0.0", "2.6"]


def test_one_untrained_model_marks_the_run(make_header: MakeHeader) -> None:
    trained = {"role": "classifier", "name": "openai", "sha256": "a" * 64, "trained": True}
    row = rows_of(compared(make_header(weights=[untrained()[0], trained]), VOC21))[-1]
    assert row["method"] == "CaR, released profile, random:0 + openai"
    assert "untrained" in row["remarks"]


def test_cautions_become_notes(make_header: MakeHeader) -> None:
    table = compared(make_header(), PaperCell(table="tableJ", column="pc59"))
    remarks = {row["method"]: row["remarks"] for row in rows_of(table)}
    assert remarks["TCL (paper)"] == "note 1"
    assert "swapped" in next(note for note in table.notes if note.startswith("Note 1:"))
    printed = compared(make_header(), PaperCell(table="table1", column="voc20"))
    assert {row["method"]: row["remarks"] for row in rows_of(printed)}["ReCo (paper)"] == "note 1"


def test_rows_without_a_figure_are_left_out(make_header: MakeHeader) -> None:
    table = compared(make_header(), PaperCell(table="table1", column="ade847"))
    assert [row["method"] for row in rows_of(table)][:-1] == ["CaR (paper)"]


def test_in_an_ablation_there_is_no_row_to_measure_against(make_header: MakeHeader) -> None:
    table = compared(make_header(), PaperCell(table="table5", column="miou"))
    assert {row["difference"] for row in rows_of(table)} == {""}


def test_without_a_cell_the_run_stands_alone(make_header: MakeHeader) -> None:
    table = compared(make_header(), None)
    assert [(row["percent"], row["difference"]) for row in rows_of(table)] == [("65.449", "")]


def test_a_run_without_metrics_yet_has_a_blank_figure(make_header: MakeHeader) -> None:
    header = make_header(status="running", metrics={}, counts={"n_total": 0, "n_scored": 0, "n_failed": 0})
    row = rows_of(compared(header, VOC21))[-1]
    assert (row["percent"], row["difference"]) == ("", "")
    assert "run not finished; partial run: 0 of 11 images" in run_markdown(header)


def test_a_run_whose_samples_all_failed_has_no_figure(make_header: MakeHeader) -> None:
    """Its run.json has that of empty predictions."""
    failed = [{"id": str(i), "error": "segmentation: ValueError: x", "counted_as_empty": True} for i in range(11)]
    counts = {"n_total": 11, "n_scored": 0, "n_failed": 11}
    given = make_header().metrics | {"failed": failed}
    header = make_header(status="incomplete", metrics=given, counts=counts)
    tables = compared(header, VOC21), summary_table([header]), methods_table("m", {"a": header})
    for table in tables:
        row = rows_of(table)[-1]
        assert (row["percent"], row.get("difference", ""), row["n_failed"]) == ("", "", "11")
        assert row["remarks"].startswith("all 11 samples failed")
    assert not any(metrics_table(header).values("percent"))
    assert not per_class_table(header).rows
    page = run_markdown(header)
    assert "not finished" not in page
    assert "of 11 images failed" not in page
    assert "the only sample failed" in run_markdown(make_header(counts={"n_total": 1, "n_scored": 0, "n_failed": 1}))


def test_an_unknown_cell_is_refused(make_header: MakeHeader) -> None:
    with pytest.raises(ValueError, match="voc99"):
        compared(make_header(), PaperCell(table="table1", column="voc99"))


def test_an_undefined_metric_shows_its_reason(make_header: MakeHeader, make_metrics: MakeMetrics) -> None:
    header = make_header(metrics=make_metrics(miou=None, undefined={"miou": "no class occurs"}))
    assert cells_of(to_markdown(metrics_table(header)))[2] == ["miou", "", "undefined: no class occurs"]


def test_iou_by_class_has_every_class_and_a_reason_for_a_blank(make_header: MakeHeader) -> None:
    table = per_class_table(make_header())
    rows = cells_of(to_markdown(table))[2:]
    assert [row[:3] for row in rows] == [
        ["0", "background", "90.0"],
        ["1", "aeroplane", "50.0"],
        ["2", "bicycle", ""],
        ["3", "bird", "25.0"],
    ]
    assert [row[-1] for row in rows] == ["", "", "absent", ""]
    assert table.notes == ("absent: no pixel",)


def test_failed_samples_are_listed_and_capped(make_header: MakeHeader, make_metrics: MakeMetrics) -> None:
    failed = [{"id": f"im{n}", "error": "truncated", "counted_as_empty": n > 0} for n in range(60)]
    page = run_markdown(make_header(metrics=make_metrics(failed=failed)))
    assert "nothing: target unknown" in page
    assert page.count("empty prediction") == 49
    assert "- and 10 more in samples.jsonl" in page


def test_the_page_tells_what_produced_the_figures(make_header: MakeHeader) -> None:
    page = run_markdown(make_header())
    for fact in (
        "- models: ViT-B-16 (proposal_model), ViT-L-14 (classifier_model)",
        "- weights, proposal: openai, sha256 aaaaaaaaaaaa",
        "- set by the user: eta=0.4",
        "- time: 22.0 s, 2.00 s per image",
        "- time by stage: proposals 15.5 s (76 %), crf 4.0 s (20 %), decode 1.0 s (5 %)",
        "- peak memory: 2346 MiB",
        "- code: commit cccccccccccc, with local changes",
    ):
        assert fact in page.splitlines()


def test_columns_of_markdown_line_up_also_with_wide_characters(make_header: MakeHeader) -> None:
    page = to_markdown(per_class_table(renamed(make_header, "飞机")))
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len({len(line) + 2 * ("飞机" in line) for line in lines}) == 1


def renamed(make_header: MakeHeader, name: str) -> RunHeader:
    header = make_header()
    per_class = [entry | {"name": name} if entry["label"] == 1 else entry for entry in header.metrics["per_class"]]
    return header.model_copy(update={"metrics": header.metrics | {"per_class": per_class}})


def test_a_hostile_class_name_stays_one_cell_in_markdown(make_header: MakeHeader) -> None:
    table = per_class_table(renamed(make_header, HOSTILE))
    rows = cells_of(to_markdown(table))
    assert {len(row) for row in rows} == {7}
    cell = rows[3][1]
    assert "\\<img" in cell
    assert not re.search(r"(?<!\\)[<>*`\[\]|$]", cell)
    assert cell.isprintable()


def test_a_hostile_class_name_is_inert_in_csv_and_latex(make_header: MakeHeader) -> None:
    table = per_class_table(renamed(make_header, HOSTILE))
    name = rows_of(table)[1]["name"]
    assert name.startswith("'=1+1")
    assert name.isprintable()
    line = next(line for line in to_latex(table).splitlines() if "onerror" in line)
    assert len(re.findall(r"(?<!\\)&", line)) == 6
    assert r"\textbackslash{}input\{x\}" in line
    assert not re.search(r"(?<!\\)[$%#~^]", line)


def test_a_very_long_name_is_cut(make_header: MakeHeader) -> None:
    assert len(run_markdown(renamed(make_header, "x" * 100_000))) < 10_000


@pytest.mark.parametrize(
    ("text", "markdown", "latex"),
    [
        ("laion2b_s34b_b88k", "laion2b_s34b_b88k", r"laion2b\_s34b\_b88k"),
        ("_em_", r"\_em\_", r"\_em\_"),
        ("# title", r"\# title", r"\# title"),
        ("- item", r"\- item", "- item"),
        ("&lt;", r"\&lt;", r"\&lt;"),
        ("[x] *", r"\[x\] \*", "{[}x] {*}"),
        ("a\\b", r"a\\b", r"a\textbackslash{}b"),
        ("50 %", "50 %", r"50 \%"),
    ],
)
def test_escaping(text: str, markdown: str, latex: str) -> None:
    assert escape_markdown(text) == markdown
    assert escape_markdown(text, starts_line=False) == re.sub(r"^\\(?=[#-])", "", markdown)  # nothing in a cell
    assert escape_latex(text) == latex


def test_characters_that_steer_a_terminal_become_visible() -> None:
    assert visible("a\x1b[2J\u202eb\u2028\ud800\n") == r"a\u{1b}[2J\u{202e}b\u{2028}\u{d800}\u{a}"
    assert visible("naïve 飞机") == "naïve 飞机"


def test_latex_has_booktabs_rules_and_a_column_for_each_cell(make_header: MakeHeader) -> None:
    text = to_latex(compared(make_header(), VOC21))
    assert r"\begin{tabular}{llrrrrrl}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {7}


def test_a_difference_that_rounds_to_zero_has_no_sign(make_header: MakeHeader, make_metrics: MakeMetrics) -> None:
    header = make_header(metrics=make_metrics(miou=0.67599))
    rows = cells_of(to_markdown(compared(header, VOC21)))
    assert [row[3] for row in rows if row[1] == "miou"] == ["0.0"]


def test_tables_are_written_beside_the_run(tmp_path: Path, make_header: MakeHeader) -> None:
    header = make_header()
    write_tables(tmp_path, header)
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == run_markdown(header)
    with (tmp_path / "table.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 5
    assert len([*tmp_path.iterdir()]) == 2


def test_tables_next_to_a_table_that_the_paper_does_not_have_are_refused(
    make_header: MakeHeader, tmp_path: Path
) -> None:
    header = make_header()
    paper = header.benchmark.model_copy(update={"paper": PaperCell(table="table99", column="voc21")})
    with pytest.raises(StoreError, match=r"run\.json: the paper's data has no table 'table99'"):
        write_tables(tmp_path, header.model_copy(update={"benchmark": paper}))
    assert [*tmp_path.iterdir()] == []


def referring_metrics(**changes: Any) -> dict[str, Any]:
    values = {"miou_mean_over_samples": 0.3, "miou_mean_over_scored_samples": 0.3, "oiou_pooled": 0.25}
    return {**values, "precision_at_0.5": 0.2, "reductions": {"oiou_pooled": "sums"}, "failed": [], **changes}


@pytest.mark.parametrize("scored", [0.3, 0.31])
def test_a_referring_run_stands_beside_table_7(make_header: MakeHeader, scored: float) -> None:
    benchmark = make_header().benchmark.model_dump() | {"task": "referring"}
    header = make_header(benchmark=benchmark, metrics=referring_metrics(miou_mean_over_scored_samples=scored))
    rows = rows_of(compared(header, PaperCell(table="table7", column="refcocog_val_u")))
    assert [(row["method"].split(",")[0], row["metric"], row["difference"]) for row in rows] == [
        ("GL-CLIP (paper)", "mIoU", "-3.15"),
        ("CaR (paper)", "mIoU", "0.0"),
        ("CaR", "miou_mean_over_samples", "-6.67"),
        *([("CaR", "miou_mean_over_scored_samples", "-5.67")] if scored != 0.3 else []),
        ("CaR", "oiou_pooled", ""),  # of another kind than the paper's mIoU
    ]


def test_several_runs_in_one_table(make_header: MakeHeader, make_metrics: MakeMetrics) -> None:
    voc = make_header()
    other = {"dataset": {**voc.benchmark.dataset.model_dump(), "n_samples": 11}, "paper_samples": None}
    pc459 = {**voc.benchmark.model_dump(), **other, "name": "pc459", "paper": {"table": "table1", "column": "pc459"}}
    mine = {**voc.benchmark.model_dump(), **other, "name": "mine", "paper": None}
    table = summary_table(
        [
            voc,
            make_header(benchmark=pc459, metrics=make_metrics(miou=0.15), weights=untrained()),
            make_header(benchmark=mine, metrics={}, status="running"),
        ]
    )
    rows = rows_of(table)
    keys = ("benchmark", "profile", "metric", "percent", "paper", "difference", "n_total", "n_failed", "status")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("voc21", "released", "miou", "65.449", "67.6", "-2.151", "11", "0", "complete"),
        ("pc459", "released", "miou", "15.0", "13.9", "", "11", "0", "complete"),
        ("mine", "released", "miou", "", "", "", "11", "0", "running"),
    ]
    assert "untrained weights, not comparable" in rows[1]["remarks"]
    assert "run not finished" in rows[2]["remarks"]
    assert table.notes == ("miou: mean IoU over classes with a pixel.",)
    assert "| pc459" in to_markdown(table)
