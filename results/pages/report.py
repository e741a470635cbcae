"""The page of a run, from its header, its records and details that only the evaluation knows."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from results.pages.embedded import Matrix, matrix_columns, sample_columns, script_json
from results.pages.gallery import PictureFiles, SampleShown, SegmentationShown, inline_bytes
from results.run_directory.schema import RunHeader, SampleRecord
from results.run_directory.store import RunDirectory, StoreError
from results.tables.render import Table, text_cells, without_empty_columns
from results.tables.run import comparison_table, failed_table, metrics_table
from results.tables.run_notes import failures, figure_of, is_car, method_label, remarks, run_facts
from results.tables.task_words import words_of
from support.console import tell
from support.drawing import EncodedImage
from support.errors import UserError
from support.files import write_atomically, write_output
from support.strict_json import dumps
from support.text import counted, visible

MAX_BYTES = 10_000_000
INLINE_BYTES = 5_000_000
"""Above this size, pictures are files next to the page."""
_OWN_FILE = re.compile(r"[0-9a-f]{16}\.webp|steps-\d+\.html")
_TABLE_SHARE = 0.4  # of the page, for the samples' table: that of 5,000 images takes about 0.5 MB
_MOST_ROWS = 2000  # of a list: more than any benchmark has classes
_BINS = 10
_MIN_BARS, _MAX_BARS = 6, 16  # of a histogram; larger values share the last


@dataclass(frozen=True)
class Confusion:
    """Pixels of one class that were predicted as another. share: of the target class's pixels, in 0..1."""

    target: str
    predicted: str
    pixels: int
    share: float


@dataclass(frozen=True)
class ReportDetails:
    """Everything that the report needs in addition to the run directory.

    figures: each sample's own headline figure, None where undefined. classes: of each sample, see
    `embedded.sample_columns`. confusions: the most frequent ones first. matrix: all of them, None for a task without a
    confusion matrix. gallery: samples to show. gallery_note: why there is none, or how it was made.
    """

    figures: Sequence[float | None]
    classes: Sequence[Sequence[tuple[str, str]]] = ()
    confusions: Sequence[Confusion] = ()
    matrix: Matrix | None = None
    gallery: Sequence[SampleShown] = ()
    gallery_note: str = ""


@dataclass(frozen=True)
class Bar:
    """A labeled bar. share: its length in 0..1. text: the figure shown with it. hint: shown on hovering."""

    label: str
    share: float
    text: str
    hint: str = ""


def write_report(
    run: RunDirectory,
    header: RunHeader,
    records: Sequence[SampleRecord],
    details: ReportDetails,
    *,
    out: Path | None = None,
    most_inlined: int = INLINE_BYTES,
) -> Path:
    """Write the report of a run (``report.html`` in its directory unless ``out`` says otherwise); returns its path.

    most_inlined: bytes of pictures in the page itself. Raises StoreError for a run that names a table or column that
    the paper's data does not have, OSError where the report cannot be written.
    """
    path = out or run.path / "report.html"
    folder, files = path.with_name(f"{path.stem}_files"), None
    if (n_bytes := inline_bytes(details.gallery)) > most_inlined:
        if path.exists() and not path.is_file():
            size = megabytes(n_bytes)
            raise UserError(f"out: {path}: expected a file with room next to it for {size} of pictures, found none")
        files = PictureFiles(folder.name)
    try:
        page = report_html(header, records, details, files, path.name)
    except ValueError as error:
        raise StoreError(f"{run.header_path}: {error}") from error
    _write_files(folder, files.contents if files else {})
    (write_output if out else write_atomically)(path, page)
    if files:
        what = f"{counted(len(details.gallery), 'sample')}, {megabytes(files.n_bytes)}"
        tell(f"notice: the pictures of {what}, are in {folder}; keep it next to the page")
    return path


def _write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Make a folder hold these files and none that an earlier report wrote there; none where there are none."""
    if contents:
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        return
    for name, content in contents.items():
        write_atomically(folder / name, content, synced=False)
    for old in folder.iterdir():
        if old.name not in contents and _OWN_FILE.fullmatch(old.name):
            old.unlink()
    if not contents:
        with suppress(OSError):  # other files are in it
            folder.rmdir()


def megabytes(n_bytes: int) -> str:
    """A size, as "3.4 MB"."""
    return f"{n_bytes / 10**6:.1f} MB"


def report_html(
    header: RunHeader,
    records: Sequence[SampleRecord],
    details: ReportDetails,
    files: PictureFiles | None = None,
    name: str = "report.html",
    *,
    n_chosen: int | None = None,
    most: int = MAX_BYTES,
) -> str:
    """The report as one HTML page of at most `most` bytes, without any reference to the network.

    Samples and rows beyond that are left out, which the page says. Raises ValueError where other texts are too long.

    files: takes the pictures, and a page with the steps of each sample, in place of the page; None to inline them.
    name: of the page's file, to which those pages link. n_chosen: samples of the gallery, if some are left out of it.

    All texts of the run, the data set and the user are escaped; characters that could control a terminal or reorder a
    line are shown as code points.
    """
    n_chosen = len(details.gallery) if n_chosen is None else n_chosen
    folder = quote(files.folder) if files else ""
    environment = (
        page_environment() if files is None else page_environment(lambda item: f"{folder}/{files.add(item)}", "lazy")
    )
    script = _source("report.js")
    words = words_of(header.benchmark.task)
    headline = words.headline
    comparison = comparison_table(header)
    differences = [row["difference"] for row in comparison.rows if row["metric"] == headline]
    switches = [
        {"name": name, "value": dumps(value), "source": header.config_sources[name]}
        for name, value in header.config.items()
    ]
    classes = header.metrics.get("per_class", ()) if header.counts.n_scored else ()
    with_iou = [entry for entry in classes if entry["iou"] is not None]
    absent = [entry["name"] for entry in classes if entry["iou"] is None]
    ok = [record for record in records if record.status == "ok"]
    stages = sorted(header.timings.seconds_by_stage.items(), key=lambda stage: -stage[1])
    in_all = math.fsum(seconds for _, seconds in stages)
    gallery, gallery_note = details.gallery, details.gallery_note
    if gallery:
        n_bytes = megabytes(inline_bytes(gallery))
        place = f"in {files.folder}/ next to this page: keep the two together" if files else "in this page"
        gallery_note += f" Their pictures, {n_bytes}, are {place}."
    if n_left_out := n_chosen - len(gallery):
        gallery_note += f" {counted(n_left_out, 'sample')} left out to keep this page below {most / 10**6:g} MB."
    table, n_rows = _samples_json(header, records, details), len(records)
    while len(table) > _TABLE_SHARE * most:  # a hundred thousand samples
        n_rows = int(0.95 * n_rows * _TABLE_SHARE * most / len(table))
        table = _samples_json(header, records[:n_rows], details)
    lists = {"switches": switches, "classes": with_iou, "absent": absent}
    cuts = [f"the first {n_rows} of {len(records)} samples, all of which are in samples.jsonl"] * (
        n_rows < len(records)
    )
    cuts += [f"the first {_MOST_ROWS} of {len(rows)} {name}" for name, rows in lists.items() if len(rows) > _MOST_ROWS]
    page = environment.get_template(
        "report.html"
    ).render(
        title=f"{header.benchmark.name}: {method_label(header)}",
        header=header,
        headline=headline,
        figure=figure_of(header, headline),
        difference=differences[-1] if differences else None,
        cautions=[*filter(None, [remarks(header), failures(header), cuts and f"shown are {', '.join(cuts)}"])],
        comparison=_html_table(comparison),
        metrics=_html_table(metrics_table(header)),
        failed=_html_table(failed_table(header)),
        facts=run_facts(header),
        switches=sorted(switches, key=lambda switch: switch["source"] != "user")[:_MOST_ROWS],  # the user's first
        classes=[
            Bar(
                entry["name"],
                entry["iou"],
                _percent(entry["iou"]),
                f"{counted(entry['target_pixels'], 'pixel')} in the target, {entry['predicted_pixels']} predicted, "
                f"{entry['intersection_pixels']} in both",
            )
            for entry in sorted(with_iou, key=lambda entry: -entry["iou"])[:_MOST_ROWS]
        ],
        absent=absent[:_MOST_ROWS],
        confusions=[
            (item.target, Bar(item.predicted, item.share, _percent(item.share), counted(item.pixels, "pixel")))
            for item in details.confusions
        ],
        scored=bool(ok),
        figure_words=words.sample_figure_meaning,
        figure_name=words.sample_figure,
        figures=_figure_bars([figure for figure in details.figures if figure is not None]),
        recurs=is_car(header),
        steps=_count_bars([record.steps for record in ok], least=1),
        surviving=_count_bars([len(record.queries_kept) for record in ok], least=0),
        stages=[
            Bar(name, seconds / in_all, f"{seconds / len(records):.3f} s per sample", f"{seconds:.1f} s in all")
            for name, seconds in stages
            if in_all and records
        ],
        n_rows=n_rows,
        samples_json=table,
        matrix_json=script_json(matrix_columns(details.matrix)),
        matrix=details.matrix,
        statuses=sorted({record.status for record in records}),
        gallery=gallery,
        gallery_note=gallery_note,
        folder=folder,
        style=Markup(_source("steps.css") + _source("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    if (size := len(page.encode("utf-8", "backslashreplace"))) > most:
        if gallery:  # thousands of samples, or pictures that were to be inlined
            fewer = replace(details, gallery=gallery[: 3 * len(gallery) // 4])
            return report_html(header, records, fewer, files, name, n_chosen=n_chosen, most=most)
        raise ValueError(f"expected a page of at most {most} bytes, found texts that make {size}")
    if files:
        template = page_environment(files.add, "lazy").get_template("steps_page.html")
        for number, sample in enumerate(gallery):
            if sample.steps:
                text = template.render(sample=sample, style=static_style(), page=quote(name))
                files.contents[f"steps-{number}.html"] = text.encode("utf-8", "backslashreplace")
    return page


def _samples_json(header: RunHeader, records: Sequence[SampleRecord], details: ReportDetails) -> Markup:
    figures, classes = details.figures[: len(records)], details.classes[: len(records)]
    return script_json(sample_columns(records, figures, classes, words_of(header.benchmark.task)))


def segmentation_html(found: SegmentationShown) -> str:
    """One segmented image as a part of a page, for use with `segmentation_css`; escaped as `report_html`."""
    return page_environment().get_template("segmentation.html").render(found=found)


def segmentation_css() -> str:
    """The style sheet of `segmentation_html`; a dark page has the class `dark` on its body."""
    return _source("steps.css")


def page_environment(
    source: Callable[[EncodedImage], str] = lambda item: item.uri, loading: str = "eager"
) -> Environment:
    """The templates of all pages. source: where a picture of the page is found. loading: when."""
    environment = Environment(
        loader=PackageLoader("results.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters.update(text=lambda value: visible(str(value), limit=1000), percent=_percent, source=source)
    environment.globals["loading"] = loading
    return environment


def static_style() -> Markup:
    """The style sheet of a page without a script: dark where the system is."""
    style = _source("steps.css") + _source("report.css")
    dark = style.partition("body.dark {")[2].partition("}")[0]
    return Markup(f"{style}@media (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {dark} }} }}")


def _source(name: str) -> str:
    return Path(__file__).with_name("templates").joinpath(name).read_text(encoding="utf-8")


def _figure_bars(figures: Sequence[float]) -> list[Bar]:
    """A histogram over 0..1 in ten bins, the last one closed."""
    counts = Counter(min(int(figure * _BINS), _BINS - 1) for figure in figures)
    most = max(counts.values(), default=1)
    return [
        Bar(f"{100 * place // _BINS}", counts[place] / most, str(counts[place]), counted(counts[place], "sample"))
        for place in range(_BINS)
    ]


def _count_bars(values: Sequence[int], *, least: int) -> list[Bar]:
    """How often each number occurs, from the least possible one on; past `_MAX_BARS` bars the rest share one."""
    if not values:
        return []
    high = max(values)
    last = min(max(high, least + _MIN_BARS - 1), least + _MAX_BARS - 1)
    counts = Counter(min(value, last) for value in values)
    most = max(counts.values())
    return [
        Bar(
            f"{value}+" if value == last < high else str(value),
            counts[value] / most,
            str(counts[value]),
            f"{counts[value]} of {counted(len(values), 'sample')}",
        )
        for value in range(least, last + 1)
    ]


def _html_table(table: Table) -> dict[str, Any]:
    shown = without_empty_columns(table)
    return {
        "title": shown.title,
        "columns": [(column.heading, column.kind) for column in shown.columns],
        "rows": text_cells(shown),
        "notes": shown.notes,
    }


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
