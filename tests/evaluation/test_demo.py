"""The web demo without a browser: phrases, pictures, thresholds, hostile requests to its server."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import requests
from PIL import Image
from typer.testing import CliRunner

from car_core import CaR, CaRConfig, QueryError
from car_core.names import MINIATURE
from evaluation.cli.app import app
from evaluation.pictures.demo.backend import Demo, Limits, read_picture, split_phrases
from evaluation.tasks.coco_json import CocoWriter
from support.errors import ImageError

pytest.importorskip("gradio", reason="Gradio is not installed (make setup)")
THRESHOLDS = {"theta": 0.3, "eta": 0.4, "lambda_": 0.4}


@pytest.fixture
def demo(tiny_model: Path) -> Demo:
    config = CaRConfig(proposal_model=str(tiny_model), classifier_model=str(tiny_model), profile="paper")
    return Demo(CaR.from_config(config, weights="random:1"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", ["cat"]),
        (" red   car \n\n cat\nred car", ["red car", "cat"]),
        ("man in red, left", ["man in red, left"]),
    ],
)
def test_phrases_are_lines(text: str, expected: list[str]) -> None:
    assert split_phrases(text, Limits()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "at least one phrase"),
        (" \n\t", "at least one phrase"),
        ("a\nb\nc\nd", "at most 3 phrases, not 4"),
        ("x" * 201, "200 characters; the longest has 201"),
    ],
)
def test_none_too_many_and_too_long_phrases_are_refused(text: str, expected: str) -> None:
    with pytest.raises(QueryError, match=expected):
        split_phrases(text, Limits(phrases=3))


def test_a_picture_is_shrunk_and_a_larger_one_refused(photo: Path) -> None:
    assert read_picture(photo, Limits(side=28)).shape == (20, 28, 3)
    assert read_picture(photo, Limits()).shape == (40, 56, 3)
    with pytest.raises(ImageError, match="56 x 40, at most 100 pixels"):
        read_picture(photo, Limits(pixels=100))


def test_demo_answer_is_cars_and_thresholds_reuse_features(demo: Demo, photo: Path) -> None:
    first = demo.segment(photo, "cat\n<b>dog</b>", THRESHOLDS)
    assert "Reused" not in first.status
    assert "&lt;b&gt;dog" in first.html
    assert "<b>dog" not in first.html
    again = demo.segment(photo, "cat\n<b>dog</b>", THRESHOLDS)
    assert "Computed" not in again.status
    assert again.html == first.html
    stricter = demo.segment(photo, "cat\n<b>dog</b>", {**THRESHOLDS, "theta": 1.0})
    assert "dropped in step 1" in stricter.html
    assert "Computed" not in stricter.status  # the first step is known, and there is no second one
    other = demo.segment(photo, "cat\n<b>dog</b>", {**THRESHOLDS, "eta": 0.9})
    assert "image features of f" in other.status.partition("Reused")[2]


def test_one_phrase_alone_is_told_what_its_score_is_worth(demo: Demo, photo: Path) -> None:
    told = "a single phrase always scores 1.00, whatever the picture"
    assert told in demo.segment(photo, "cat", THRESHOLDS).status
    assert told not in demo.segment(photo, "cat\ndog", THRESHOLDS).status


def test_demo_comma_is_part_of_its_phrase(demo: Demo, photo: Path) -> None:
    """It is reported as `car segment` does."""
    told = demo.segment(photo, "<i>red</i>, small\ncat", THRESHOLDS).status
    assert "<i>" not in told
    assert "'<i>red</i>, small' is one phrase; separate phrases are separate lines." in unescape(told)
    assert "of 2 phrases" in told


def test_downloads_are_the_masks_as_car_segment_writes_them(demo: Demo, photo: Path) -> None:
    phrases = ["cat", "a <b>dog</b>", "tree"]
    found = demo.segment(photo, "\n".join(phrases), THRESHOLDS | {"theta": 0.3})
    links = {
        unescape(name): unescape(uri)
        for uri, name in re.findall(r'<a href="(data:[^"]+)" download="([^"]+)"', found.html)
    }
    assert set(links) == {"photo-labels.png", "photo.json"}
    car = CaR.from_config(demo.config.model_copy(update={"theta": 0.3}), weights="random:1")
    segmentation = car.segment(photo, phrases)
    document = CocoWriter(phrases, text := io.StringIO())
    document.add("photo.png", segmentation)
    document.close()
    assert unquote(links["photo.json"].partition(",")[2]) == text.getvalue()
    labels = np.asarray(Image.open(io.BytesIO(base64.b64decode(links["photo-labels.png"].partition(",")[2]))))
    # By hand: the masks of falling certainty, the most certain on top.
    expected = np.zeros((40, 56), int)
    for index in sorted(segmentation.kept, key=lambda i: segmentation.scores[i]):
        expected[segmentation.masks[index]] = index + 1
    assert expected.any()
    assert np.array_equal(labels, expected)


def test_demo_address_gives_only_phrases_and_thresholds(demo: Demo) -> None:
    assert demo.asked(
        [("phrase", "a cat, left"), ("theta", "0.25"), ("phrase", "<b>"), ("lambda", "1"), ("x", "y")]
    ) == (
        "a cat, left\n<b>",
        {"theta": 0.25, "eta": demo.config.eta, "lambda_": 1.0},
    )
    for value in ("nan", "inf", "-1", "7", "", "0.5; rm"):
        assert demo.asked([("theta", value), ("eta", value)])[1]["theta"] == demo.config.theta, value
    assert demo.asked([("image", "/etc/passwd"), ("proposal_model", "x")]) == demo.asked([])


def test_the_page_says_that_the_miniature_knows_no_photos(demo: Demo) -> None:
    from evaluation.pictures.demo.page import build_page

    miniature = CaR.from_config(
        CaRConfig(proposal_model="miniature", classifier_model="miniature"), weights="miniature"
    )
    told = "knows emoji, not photos"
    assert told in str(build_page(Demo(miniature)).get_config_file())
    assert told not in str(build_page(demo).get_config_file())


@pytest.mark.parametrize(
    ("place", "text", "thresholds", "expected"),
    [
        (None, "cat", {}, "Please upload a picture or pick an example."),
        ("photo.png", "", {}, "Please enter at least one phrase."),
        ("photo.png", "1 " * 90, {}, "tokens"),
        ("photo.png", "cat", {"theta": float("nan")}, "theta"),
        ("photo.png", "cat", {"eta": 7}, "eta"),
        ("notes.png", "cat", {}, "This file is not a picture, or it is damaged."),
        ("gone.png", "cat", {}, "This file is not a picture, or it is damaged."),
    ],
)
def test_what_cannot_be_used_is_one_line(
    demo: Demo, photo: Path, place: str | None, text: str, thresholds: dict[str, float], expected: str
) -> None:
    (photo.parent / "notes.png").write_text("<script>")
    answer = demo.segment(place and photo.parent / place, text, {**THRESHOLDS, **thresholds})
    assert answer.html == ""
    assert expected in answer.status
    assert str(photo.parent) not in answer.status


OWN_HOSTS = {"127.0.0.1", "localhost", "::1", None, b"127.0.0.1"}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, list[Any]]]:
    """The address of the demo's server, and the hosts that it asks for anything."""
    from evaluation.pictures.demo.page import serving

    asked: list[Any] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def noted_connect(self: socket.socket, place: Any) -> None:
        asked.append(place[0] if isinstance(place, tuple) else "127.0.0.1")
        connect(self, place)

    def noted_resolve(host: Any, *more: Any, **options: Any) -> Any:
        asked.append(host)
        return resolve(host, *more, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", noted_connect)
        patch.setattr(socket, "getaddrinfo", noted_resolve)
        with serving(Demo(CaR.from_config(CaRConfig(profile="paper"), weights=MINIATURE))) as url:
            assert set(asked) <= OWN_HOSTS
            yield url.rstrip("/"), asked


@pytest.fixture
def address(served: tuple[str, list[Any]]) -> Iterator[str]:
    """The demo's server; the test fails if it asks any other machine for anything."""
    url, asked = served
    asked.clear()
    yield url
    assert set(asked) <= OWN_HOSTS


def test_the_server_gives_nothing_but_its_page(address: str, photo: Path) -> None:
    page = requests.get(address, timeout=30)
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert requests.get(address, headers={"Host": "evil.example"}, timeout=30).status_code == 400
    for path in ("/docs", "/gradio_api/openapi.json", "/gradio_api/proxy=http://evil.example/", "/monitoring"):
        assert requests.get(address + path, timeout=30).status_code == 404, path
    for place in (photo, "/etc/passwd", "http://evil.example/x.png", "../../../../etc/passwd"):
        answer = requests.get(f"{address}/gradio_api/file={place}", timeout=30, allow_redirects=False)
        assert answer.status_code in (403, 404), place
    # Past the queue there is no way in but for examples.
    request = {"data": [None, "cat", 0.3, 0.4, 0.4], "fn_index": segment_index(address)}
    for path in ("run/predict", "call/predict", "vibe-edit"):
        assert requests.post(f"{address}/gradio_api/{path}", json=request, timeout=30).status_code == 404, path


def test_uploads_are_limited_and_nothing_else_is_opened(address: str, photo: Path) -> None:
    big = requests.post(f"{address}/gradio_api/upload", files={"files": ("a.png", bytes(11 * 2**20))}, timeout=60)
    assert big.status_code == 413
    for place in (str(photo), "/etc/hostname", "http://127.0.0.1:9/x.png", "https://evil.example/x.png"):
        assert "process_completed" in (events := events_of(address, place))
        assert '"success":false' in events


def test_only_the_servers_own_page_may_upload(address: str) -> None:
    for name, value, status in (
        ("Origin", address, 200),
        ("Origin", "http://localhost:1", 403),
        ("Origin", "http://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "http://[", 403),
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Sec-Fetch-Site", "same-origin", 200),
    ):
        files = {"files": ("a.png", b"x")}
        answer = requests.post(f"{address}/gradio_api/upload", files=files, headers={name: value}, timeout=30)
        assert answer.status_code == status, (name, value)


def test_bodies_and_the_sum_of_uploads_are_bounded(address: str) -> None:
    join = f"{address}/gradio_api/queue/join"
    assert requests.post(join, data=b"x" * 2**17, timeout=30).status_code == 413
    assert requests.post(join, data=iter([b"x" * 100]), timeout=30).status_code == 411  # chunks have no length
    several = [("files", (f"{number}.png", bytes(4 * 2**20))) for number in range(3)]
    assert requests.post(f"{address}/gradio_api/upload", files=several, timeout=60).status_code == 413
    full = Path(os.environ["GRADIO_TEMP_DIR"]) / "full"
    with full.open("wb") as stream:
        stream.truncate(Limits().total_bytes)  # sparse
    upload = requests.post(f"{address}/gradio_api/upload", files={"files": ("a.png", b"x")}, timeout=30)
    assert upload.status_code == 507
    full.unlink()


def test_demo_visitor_writes_no_traceback_to_the_terminal(address: str, capfd: Any) -> None:
    for body in (b"{", b"[" * 9999, b'{"data": "\x1b[31m"}', b""):
        answer = requests.post(f"{address}/gradio_api/queue/join", data=body, timeout=30)
        assert 400 <= answer.status_code <= 500
    events_of(address, "https://evil.example/\x1b[31m.png")
    captured = capfd.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert "\x1b" not in captured.out + captured.err


def test_demo_uploads_go_with_the_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evaluation", "serve", "--weights=miniature", "--host=::1"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert "Running on http://[::1]:" in line, line
        address = line.split()[2].rstrip("/")
        answer = requests.post(f"{address}/gradio_api/upload", files={"files": ("a.png", b"private")}, timeout=30)
        [upload] = answer.json()
        assert Path(upload).read_bytes() == b"private"
        server.terminate()
        _, errors = server.communicate(timeout=60)
    assert server.returncode == 128 + signal.SIGTERM
    assert not Path(upload).exists()
    assert list(tmp_path.glob("car-serve-*")) == []
    assert "Traceback" not in errors


def test_demo_port_taken_or_foreign_host_is_refused() -> None:
    from evaluation.pictures.demo.page import require_address

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="already in use"):
            require_address("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(OSError, match="Cannot assign"):
        require_address("192.0.2.1", None)
    require_address("::1", None)


def test_demo_unknown_host_is_one_line() -> None:
    done = CliRunner().invoke(app, ["serve", "--weights=miniature", "--host=no.such.host.invalid"])
    assert done.exit_code == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: --host: expected an address of this machine, found 'no")


def events_of(address: str, place: str) -> str:
    """What the queue answers to a request with a picture at this place."""
    picture = {"path": place, "meta": {"_type": "gradio.FileData"}}
    session = {"session_hash": "abc"}
    data = {"data": [picture, "cat", 0.3, 0.4, 0.4], "fn_index": segment_index(address), **session}
    joined = requests.post(f"{address}/gradio_api/queue/join", json=data, timeout=30)
    assert joined.status_code == 200, joined.text
    lines = io.StringIO()
    with requests.get(f"{address}/gradio_api/queue/data", params=session, stream=True, timeout=60) as stream:
        for line in stream.iter_lines(decode_unicode=True):
            lines.write(line)
            if "process_completed" in line:
                break
    return lines.getvalue()


def segment_index(address: str) -> int:
    """Number of the function behind the button."""
    config = requests.get(f"{address}/config", timeout=30).json()
    [number] = [entry["id"] for entry in config["dependencies"] if len(entry["targets"]) == 2]
    return int(number)
