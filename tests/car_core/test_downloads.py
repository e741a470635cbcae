"""Published weights: downloaded from servers on this machine, found again, and refused without an answer."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.hub import Hub, closed, serve_hub, use_hub
from helpers.loopback import serve

from car_core import ModelError
from car_core.models import downloads
from car_core.models.weights import load_clip
from support.console import quiet_log, tell_log

ON_HUB = {"hf_hub": "org/weights/", "url": ""}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve_hub(tmp_path / "hub", monkeypatch) as running:
        yield running


def test_a_download_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a server that refuses the question whether it is there."""
    tell_log()
    with serve() as server:
        server.files["weights.pt"] = b"weights"
        tag = {"url": server.url("weights.pt")}
        path = downloads.fetch(tag, "openai weights of ViT-B-16")
    assert path.read_bytes() == b"weights"
    assert capsys.readouterr().err.startswith(f"fetching openai weights of ViT-B-16 from {server.url('weights.pt')}\n")
    assert downloads.fetch(tag, "openai weights of ViT-B-16") == path
    assert capsys.readouterr().err == ""
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_weights_of_the_hub_are_downloaded_once_and_then_need_no_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    hub.files[f"org/weights/{name}"] = b"weights"
    tell_log()
    path = downloads.fetch(ON_HUB, "weights")
    assert path.read_bytes() == b"weights"
    assert capsys.readouterr().err.startswith("fetching weights from org/weights\n")
    use_hub(closed(), tmp_path / "hub", monkeypatch)
    assert downloads.fetch(ON_HUB, "weights") == path
    assert capsys.readouterr().err == ""


def test_the_first_file_that_the_hub_has_is_downloaded(hub: Hub) -> None:
    hub.files["org/weights/b"] = hub.files["org/weights/d"] = b"b"
    assert downloads.fetch_file("org/weights", ["a", "b", "d"], "weights").name == "b"
    asked = dict.fromkeys(hub.requests)
    assert list(asked) == [f"org/weights/{name}" for name in ("README.md", "a", "b")]
    with pytest.raises(FileNotFoundError, match="none of a, c in org/weights"):
        downloads.fetch_file("org/weights", ["a", "c"], "weights")


@pytest.mark.parametrize("on_hub", [False, True])
def test_without_a_connection_no_download_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_hub: bool
) -> None:
    """Downloads of either kind would raise other errors."""
    use_hub(closed(), tmp_path / "hub", monkeypatch)
    with pytest.raises(ConnectionError):
        downloads.fetch(ON_HUB if on_hub else {"url": f"{closed()}/weights.pt"}, "weights")


@pytest.mark.parametrize("on_hub", [False, True])
def test_a_source_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_hub: bool) -> None:
    monkeypatch.setattr(downloads, "_ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        use_hub(address, tmp_path / "hub", monkeypatch)
        with pytest.raises(OSError, match=r"no answer|timed out"):
            downloads.fetch(ON_HUB if on_hub else {"url": f"{address}/weights.pt"}, "weights")


def test_other_packages_loggers_are_as_they_were() -> None:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    with quiet_log("huggingface_hub"):
        assert logger.level == logging.ERROR
    assert logger.level == before


# Every model of the hub: without a connection one line at once, and nothing of other packages on the terminal.


def sam() -> object:
    pytest.importorskip("transformers", reason="needs the extra sam")
    from car_core import CaRConfig
    from car_core.refine.sam import load_sam

    config = CaRConfig(sam={"model": "facebook/sam-vit-base"}).sam
    assert config is not None
    return load_sam(config)


def dino() -> object:
    from car_core.baselines.dino import TrunkConfig, load_trunk

    return load_trunk(TrunkConfig(dino_model="vit_small_patch16_224.dino"))


def clip() -> object:
    return load_clip("ViT-B-32", "laion2b_s34b_b79k", role="proposal", device="cpu")


@pytest.mark.parametrize("load", [clip, sam, dino])
def test_without_a_connection_every_model_is_one_line_at_once(
    load: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    use_hub(closed(), tmp_path / "hub", monkeypatch)
    start = time.monotonic()
    with pytest.raises(ModelError, match="ConnectionError") as refusal:
        load()
    assert time.monotonic() - start < 10
    assert "\n" not in str(refusal.value)
    assert all(line.startswith("fetching ") for line in capfd.readouterr().err.splitlines())
