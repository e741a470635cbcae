"""The report's page: what stands in it, escaping, size."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from helpers.report_parts import HOSTILE, details, gallery, picture, records, sample

from results import RunDirectory, RunHeader, SampleRecord, StoreError
from results.pages.embedded import Matrix
from results.pages.report import Confusion, report_html, write_report
from support.errors import UserError
from support.text import visible

MakeHeader = Callable[..., RunHeader]


class Page(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self._inside = "", [], ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data


def page(header: RunHeader, **changes: Any) -> Page:
    return Page(report_html(header, records(), details(**changes)))


def test_the_figures_stand_beside_the_papers(make_header: MakeHeader) -> None:
    text = page(make_header()).text
    for expected in ("65.4 %", "-2.2", "CaR (paper)", "67.6", "changed: eta", "aeroplane", "50.0 %", "s per sample"):
        assert expected in text
    assert "Without a pixel in target or prediction: bicycle." in text


def test_a_table_that_the_paper_does_not_have_is_named(make_header: MakeHeader, tmp_path: Path) -> None:
    header = make_header()
    paper = {**header.benchmark.model_dump(), "paper": {"table": "table99", "column": "voc21"}}
    with pytest.raises(StoreError, match=r"run\.json: the paper's data has no table 'table99'"):
        write_report(RunDirectory(tmp_path / "run"), make_header(benchmark=paper), [], details())


def test_a_table_without_the_papers_figures_has_no_empty_column(make_header: MakeHeader) -> None:
    benchmark = make_header().benchmark.model_dump() | {"paper": None}
    html = report_html(make_header(benchmark=benchmark), records(), details())
    headings = re.findall(r'<th(?: class="num")?>(.*?)</th>', html.partition("This run")[2].partition("</thead>")[0])
    assert headings == ["method", "metric", "%", "n_total", "n_scored", "n_failed", "remarks"]


def test_every_switch_has_its_source(make_header: MakeHeader) -> None:
    html = report_html(make_header(), records(), details())
    table = html.partition('id="switches"')[2]
    rows = re.findall(
        r"<tr><td><code>(\w+)</code></td><td[^>]*>(?:<b>)?(\w+)(?:</b>)?</td><td[^>]*><code>(.*?)</code>", table
    )
    assert rows == [
        ("eta", "user", "0.4"),
        ("profile", "profile", "&#34;released&#34;"),
        ("proposal_model", "profile", "&#34;ViT-B-16&#34;"),
        ("classifier_model", "profile", "&#34;ViT-L-14&#34;"),
    ]


def test_hostile_text_stays_text(make_header: MakeHeader, make_metrics: Any) -> None:
    fields = make_header().model_dump()
    config = {**fields["config"], "cam_template": HOSTILE}
    sources = {**fields["config_sources"], "cam_template": "user"}
    failed = [{"id": HOSTILE, "error": HOSTILE, "counted_as_empty": True}]
    classes = [{**entry, "name": HOSTILE} for entry in make_metrics()["per_class"]]
    header = make_header(config=config, config_sources=sources, metrics=make_metrics(failed=failed, per_class=classes))
    found = page(header)
    assert len(found.scripts) == 3
    assert not any("onerror" in attributes or "x" in attributes.values() for _, attributes in found.elements)
    assert found.text.count(visible(HOSTILE)) >= 10
    assert "\u202e" not in found.text
    assert "\x1b" not in found.text
    timeless = found.text.replace(header.created_at, "").replace(header.updated_at, "")
    assert "49" not in re.findall(r"\{\{ 7 \* 7 \}\}|49", timeless)


def test_nothing_is_loaded_from_elsewhere(make_header: MakeHeader) -> None:
    found = page(make_header())
    for tag, attributes in found.elements:
        assert tag not in ("link", "iframe", "object", "base", "form")
        for name in ("src", "href"):
            assert str(attributes.get(name) or "#").startswith(("data:image/webp;base64,", "#"))
    policy = next(a["content"] for t, a in found.elements if t == "meta" and a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(found.scripts[-1].encode()).digest()).decode()
    assert policy == (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'")


def test_a_run_without_figures_records_or_gallery(make_header: MakeHeader) -> None:
    header = make_header(status="running", metrics={}, counts={"n_total": 0, "n_scored": 0, "n_failed": 0})
    html = report_html(header, [], details(figures=[], confusions=[], gallery=[], gallery_note="none"))
    text = Page(html).text
    assert "run not finished" in text
    assert "none" in text
    assert "Nothing is scored yet." in text
    for chart in ("tens of percent", "Where the time went", "wall time"):
        assert chart not in text
        assert chart in page(make_header()).text


def test_what_only_a_recurrence_has_is_left_out_without_one(make_header: MakeHeader) -> None:
    titles = ("Steps of the recurrence", "Surviving queries")
    with_one = page(make_header()).text
    config = {"method": "naclip", "pamr_steps": 0}
    header = make_header(config=config, config_sources=dict.fromkeys(config, "default"))
    without = page(header, gallery=[sample("s0", "best", 0.5, ("bird",), steps=(), theta=None)]).text
    for text, shown in ((with_one, True), (without, False)):
        assert [title in text for title in titles] == [shown, shown]
        assert ("Recurrence" in text) == shown
    assert "alive" not in without


def test_a_page_stays_below_its_limit(make_header: MakeHeader) -> None:
    large = picture(1)
    heavy = [
        sample(f"s{number}", "best", 0.5, ("bird",), image=type(large)(bytes(90_000), 10, 10)) for number in range(30)
    ]
    html = report_html(make_header(), records(), details(gallery=heavy), most=1_000_000)
    assert 500_000 < len(html.encode()) < 1_000_000
    # 90,000 bytes are 120,000 characters of base64; a quarter goes at a time: 30, 22, 16, 12, 9, 6.
    assert "24 samples left out to keep this page below 1 MB." in html


def test_the_rows_of_a_page_are_counted_where_there_are_too_many(make_header: MakeHeader) -> None:
    names = [f"switch{number}" for number in range(3000)]
    config = {**make_header().config, **dict.fromkeys(names, 1)}
    header = make_header(config=config, config_sources=dict.fromkeys(config, "default"))
    html = report_html(header, records(), details())
    assert f"the first 2000 of {len(config)} switches" in html
    assert ("switch0<" in html, "switch2999<" in html) == (True, False)


def test_texts_that_would_make_a_page_too_large_are_refused(make_header: MakeHeader) -> None:
    monster = [Confusion("a" * 1000, "b" * 1000, 1, 0.5)] * 100
    with pytest.raises(ValueError, match="expected a page of at most 200000 bytes, found texts that make"):
        report_html(make_header(), records(), details(confusions=monster), most=200_000)


def test_histograms_count_every_sample(make_header: MakeHeader) -> None:
    """Steps begin at 1 and queries at 0; past 16 bars the rest share one, and fewer than 6 are filled up."""
    made = [
        SampleRecord(id=str(place), status="ok", steps=steps, queries_kept=[f"{number}" for number in range(n)])
        for place, (steps, n) in enumerate(zip((1, 1, 3), (0, 40, 50), strict=True))
    ]
    html = report_html(make_header(), made, details(figures=[0.05, None, 1.0], gallery=[]))

    def bars(title: str) -> dict[str, str]:
        shown = html.partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]
        return {label: hint for hint, label in re.findall(r'<li title="(.*?)">.*?</i>(.*?)</li>', shown)}

    none, one, two = (f"{count} of 3 samples" for count in range(3))
    assert bars("Steps of the recurrence") == {"1": two, "2": none, "3": one, "4": none, "5": none, "6": none}
    surviving = bars("Surviving queries")
    assert (len(surviving), surviving["0"], surviving["1"], surviving["15+"]) == (16, one, none, two)
    figures = bars("How samples fare")
    assert [figures[str(10 * place)] for place in range(10)] == ["1 sample", *["0 samples"] * 8, "1 sample"]


def test_the_file_lies_in_the_run_directory(make_header: MakeHeader, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    path = write_report(RunDirectory(tmp_path / "run"), make_header(), records(), details(gallery=gallery()))
    assert path == tmp_path / "run" / "report.html"
    assert path.read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE html>")


def embedded(html: str, name: str) -> Any:
    return json.loads(next(part for part in re.findall(rf'id="{name}-json">(.*?)</script>', html)))


def test_the_samples_table_holds_every_record(make_header: MakeHeader) -> None:
    ok = SampleRecord(id="a", status="ok", queries_kept=["cat"], steps=3, seconds={"crf": 0.25, "decode": 0.5})
    failed = SampleRecord(id=HOSTILE, status="failed", error=HOSTILE)
    classes = [[("cat", ""), ("dog", "missed")], [("dog", "wrong")]]
    made = details(figures=[0.123456, None], classes=classes, gallery=[])
    assert embedded(report_html(make_header(), [ok, failed], made), "samples") == {
        "figure_name": "IoU",
        "classes_name": "classes",
        "ids": ["a", visible(HOSTILE)],
        "figures": [0.1235, None],
        "classes": [[0, 4], [5]],  # cat; dog, missed; dog, wrong
        "names": ["cat", "dog"],
        "steps": [3, 0],
        "seconds": [0.75, 0],
        "errors": {"1": visible(HOSTILE)},
    }
    without = details(figures=[0.1, None], gallery=[])
    kept = embedded(report_html(make_header(), [ok, failed], without), "samples")
    assert (kept["classes_name"], kept["names"], kept["classes"]) == ("texts kept", ["cat"], [[0], []])
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        report_html(make_header(), [ok, failed], details(figures=[0.1], gallery=[]))


def test_samples_that_a_page_cannot_hold_are_counted(make_header: MakeHeader) -> None:
    many = [SampleRecord(id=f"{place:07}" + "x" * 900, status="ok") for place in range(600)]
    html = report_html(make_header(), many, details(figures=[0.5] * 600, gallery=[]), most=1_000_000)
    shown = len(embedded(html, "samples")["ids"])
    assert 300 < shown < 600
    assert f"the first {shown} of 600 samples, all of which are in samples.jsonl" in html
    assert len(html) < 1_000_000


def test_the_matrix_holds_every_cell(make_header: MakeHeader) -> None:
    matrix = Matrix(("background", HOSTILE), ((0, 0, 7), (1, 0, 2**50)))
    html = report_html(make_header(), records(), details(matrix=matrix, gallery=[]))
    assert embedded(html, "matrix") == {
        "labels": ["background", visible(HOSTILE)],
        "targets": [0, 1],
        "predictions": [0, 0],
        "pixels": [7, 2**50],
    }
    assert embedded(report_html(make_header(), records(), details(matrix=None)), "matrix") is None


def test_pictures_are_files_where_there_are_many(
    make_header: MakeHeader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, folder = gallery(), tmp_path / "a b#c_files"
    n_bytes = sum(picture.n_bytes for each in shown for picture in each.pictures)

    def written(**more: Any) -> str:
        page = tmp_path / "a b#c.html"
        return write_report(RunDirectory(tmp_path), make_header(), records(), details(), out=page, **more).read_text()

    assert "are in this page." in written()
    assert not folder.exists()
    assert capsys.readouterr().err == ""
    folder.mkdir()
    (folder / f"{'0' * 16}.webp").write_bytes(b"of an earlier report")
    (folder / "mine.webp").write_bytes(b"not ours")
    page = written(most_inlined=n_bytes - 1)
    assert "data:image" not in page
    assert f"of 3 samples, 0.1 MB, are in {folder}; keep it next to the page" in capsys.readouterr().err
    assert "are in a b#c_files/ next to this page: keep the two together." in page
    named = {unquote(name) for name in re.findall(r'a%20b%23c_files/([^")]+)', page)}
    steps = {f"steps-{place}.html" for place in range(3)}
    assert steps <= named
    inside = {name for each in steps for name in re.findall(r'src="([^"]+)"', (folder / each).read_text())}
    assert len(inside) == 2  # of the six shades that the gallery is made of, those of the steps
    assert {path.name for path in folder.iterdir()} == named | inside | {"mine.webp"}
    assert {(folder / name).read_bytes() for name in inside | named - steps} == {
        picture(shade).data for shade in (40, 80, 90, 120, 160)
    }
    back = f'href="../a%20b%23c.html#sample={quote(visible(HOSTILE))}"'
    assert back in (folder / "steps-2.html").read_text()
    written()
    assert [path.name for path in folder.iterdir()] == ["mine.webp"]


def test_pictures_in_files_need_a_place(make_header: MakeHeader, tmp_path: Path) -> None:
    run, out = RunDirectory(tmp_path), Path("/dev/null")
    with pytest.raises(UserError, match=r"^out: /dev/null: expected a file with room next to it for 0\.0 MB"):
        write_report(run, make_header(), records(), details(), out=out, most_inlined=0)
