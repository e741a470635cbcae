"""Hostile input of every kind: configuration, records, run headers, COCO JSON, images. 700 cases.

Whatever comes in, the user gets figures or one line that says what is wrong: never a traceback, never a file elsewhere.
"""

from __future__ import annotations

import copy
import io
import json
import string
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import FAST
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from car_core import CaRConfig
from dataset_adapters import DatasetError
from dataset_adapters.benchmarks.coco import read_instances
from dataset_adapters.formats.coco_masks import paint_segments
from dataset_adapters.formats.images import read_image, read_label_map
from evaluation import evaluate
from evaluation.cli.app import app
from evaluation.request.benchmark import BenchmarkError, load_benchmark, parse_settings, resolve_config
from evaluation.suites.sweep import as_suite, sweep_of
from results import identity_of
from support.errors import ImageError

# Markup of Markdown, HTML, LaTeX and spreadsheets, terminal control, direction marks, half a surrogate, much text.
HOSTILE = [
    "",
    "|a|b|",
    "<script>alert(1)</script>",
    "\\input{/etc/passwd}$x^2$",
    "=HYPERLINK(1)",
    "\x1b[2J\x1b]0;title\x07",
    "\u202egnp.exe",
    "line\nbreak\r\x00",
    "../../etc/passwd",
    "/tmp/elsewhere",
    "!!python/object/apply:os.system [id]",
    "\ud800",
    "x" * 100_000,
]
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20))
NUMBERS = st.one_of(
    st.integers(-2, 2), st.sampled_from([10**30, -(2**63), 2**53 + 1]), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def cases(number: int) -> Any:
    """A bounded number of cases, the same ones each time."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=number, deadline=None, derandomize=True, database=None, suppress_health_check=quiet)


def outcome(call: Callable[[], Any], expected: type[Exception]) -> tuple[Any, Exception | None]:
    """What a call gives, or the expected error; any other one passes."""
    try:
        return call(), None
    except expected as error:
        return None, error


@st.composite
def edited(draw: Any, document: Any) -> Any:
    """The document with one to three of its values, at any depth, replaced or removed."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        place = changed
        while True:
            keys: Sequence[Any] = list(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.integers(0, 4)):
                place[key] = draw(VALUES)
            else:
                del place[key]
            break
    return changed


@cases(150)
@given(st.sampled_from([*CaRConfig.model_fields, "lambda", "crf.iterations", "crf.", ".", "--", ""]), VALUES, st.data())
def test_a_configuration_is_valid_or_named_in_one_line(field: str, value: Any, data: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    benchmark = load_benchmark(data.draw(st.sampled_from(["voc21", "refcoco-val"])))
    for build in (
        lambda: resolve_config(benchmark, "paper", parse_settings([f"{field}={text}"])),
        lambda: as_suite(sweep_of([f"{field}={text}"]), benchmark.name, profile=None, settings={}),
    ):
        _, error = outcome(build, BenchmarkError)
        assert error is None or str(error)


@pytest.fixture
def run(tiny_run: Any) -> Path:
    """The folder of a finished run, of which each case makes its own version."""
    return evaluate(tiny_run.options(limit=2, settings=FAST)).path


def shown(run: Path, header: Any, lines: list[str]) -> None:
    """A run of this header and these lines in a table, on a page and beside itself: figures or one line."""
    __tracebackhide__ = True
    for file, text in (("run.json", json.dumps(header)), ("samples.jsonl", "\n".join([*lines, ""]))):
        (run / file).write_text(text, encoding="utf-8", errors="surrogatepass")
    before = {path for path in run.parent.rglob("*") if path.is_file()}
    for command in (
        ["table", str(run)],
        ["report", str(run), "--samples=0"],
        ["compare", str(run), str(run), "--resamples=100"],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code in (0, 2), (command, result.exception, result.stderr[-500:])
        assert not result.exception or isinstance(result.exception, SystemExit)
        if result.exit_code:
            assert result.stderr.startswith("error: ")
        told = [line for line in result.stderr.splitlines() if line != "--all shows every difference"]
        assert len(told) == bool(result.exit_code)
        assert not unsafe(result.stdout)
    created = {path for path in run.parent.rglob("*") if path.is_file()} - before
    assert {path.relative_to(run).as_posix() for path in created} <= {"table.md", "table.csv", "report.html"}


def unsafe(text: str) -> list[str]:
    """Characters that steer a terminal or turn the direction of writing."""
    return [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@cases(100)
@given(st.data())
def test_records_give_figures_or_one_line(run: Path, data: Any) -> None:
    header, records = original(run)
    changed = data.draw(edited(records))
    lines = [json.dumps(record) for record in changed]
    if data.draw(st.booleans()):
        lines.insert(data.draw(st.integers(0, len(lines))), data.draw(TEXTS).replace("\n", " "))
    shown(run, {**header, "status": "running"}, lines)


@cases(100)
@given(st.data())
def test_headers_give_tables_or_one_line(run: Path, data: Any) -> None:
    header, records = original(run)
    part = data.draw(st.sampled_from(["benchmark", "metrics", "identity_fields", None]))
    changed = {**header, part: data.draw(edited(header[part]))} if part else data.draw(edited(header))
    if part == "identity_fields":
        changed["identity"] = identity_or_none(changed["identity_fields"]) or header["identity"]
    shown(
        run, {**changed, "status": data.draw(st.sampled_from(["running", "complete"]))}, list(map(json.dumps, records))
    )


def identity_or_none(fields: Any) -> str | None:
    return outcome(lambda: identity_of(fields), ValueError)[0]


def original(run: Path, kept: dict[Path, tuple[Any, list[Any]]] = {}) -> tuple[Any, list[Any]]:  # noqa: B006
    """Header and records as the run left them."""
    if run not in kept:
        records = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
        kept[run] = (json.loads((run / "run.json").read_text()), records)
    return kept[run]


COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "000000000001.jpg", "height": 8, "width": 6}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
    "annotations": [
        {"image_id": 1, "category_id": 7, "area": 9.0, "segmentation": [[0, 0, 3, 0, 3, 3, 0, 3]]},
        {"image_id": 1, "category_id": 1, "area": 4.0, "segmentation": {"size": [8, 6], "counts": [4, 4, 40]}},
    ],
}


@cases(150)
@given(st.one_of(edited(COCO), VALUES), st.integers(0, 60))
def test_annotations_give_label_maps_or_one_line(tmp_path: Path, document: Any, cut: int) -> None:
    text = json.dumps(document)
    file = tmp_path / "instances.json"
    file.write_text(text[: len(text) - cut] if cut > 50 else text)
    found, error = outcome(lambda: read_instances(file, {1: 1, 7: 2}, ("cat", "dog")), DatasetError)
    assert error is None or str(file) in str(error)
    for row in (found[0] if found else {}).values():
        target = paint_segments({"id": "made", "mask": str(file), **row}, row["instances"])
        assert target.shape == (int(row["height"]), int(row["width"]))
        assert set(np.unique(target)) <= {0, 1, 2}


def encoded(mode: str, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (9, 7), 1 if mode in ("L", "P", "I;16") else (10, 20, 30)).save(buffer, kind)
    return buffer.getvalue()


KINDS = [("RGB", "JPEG"), ("P", "PNG"), ("I;16", "PNG"), ("RGB", "GIF"), ("L", "BMP")]
FILES = [encoded(mode, kind) for mode, kind in KINDS]


@cases(200)
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8), st.data())
def test_images_are_pixels_or_one_line(tmp_path: Path, file: bytes, changes: list[tuple[int, int]], data: Any) -> None:
    content = bytearray(file)
    for position, value in changes:
        content[position % len(content)] = value
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    path = tmp_path / data.draw(st.text(string.ascii_letters, min_size=1, max_size=3))
    path.write_bytes(bytes(content[:end]) + data.draw(st.binary(max_size=9)))
    for read, check in READERS:
        pixels, error = outcome(lambda read=read: read(path), ImageError)
        if isinstance(error, ImageError):
            assert (bool(error.reason), error.path) == (True, str(path))
        else:
            check(pixels)


def _check_image(pixels: np.ndarray) -> None:
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)


def _check_labels(labels: np.ndarray) -> None:
    assert (labels.dtype, labels.ndim) == (np.int32, 2)
    assert 0 <= labels.min() <= labels.max() <= 255


READERS: list[tuple[Callable[[Path], Any], Callable[[Any], None]]] = [
    (read_image, _check_image),
    (read_label_map, _check_labels),
]
