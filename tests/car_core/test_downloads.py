"""Published weights: downloaded from a server on this machine, found again, and refused without an answer."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from helpers.loopback import Loopback, serve
from huggingface_hub.errors import EntryNotFoundError

from car_core import ModelError
from car_core.models import downloads
from car_core.models.clip import open_clip
from car_core.models.weights import load_clip
from support.console import quiet_log, tell_log


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with serve() as running:
        yield running


def at_hub(address: str, monkeypatch: pytest.MonkeyPatch, *, cached: str | None = None) -> dict[str, Any]:
    """A tag on the hub, which is this server; cached: the only file that is in the hub's cache."""
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_url", lambda repository, name: f"{address}/{repository}/resolve/main/{name}"
    )
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda repository, name: name if name == cached else None
    )
    return {"hf_hub": "org/weights/", "url": ""}


def closed() -> str:
    """An address of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_download_is_told_once(server: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    server.files["weights.pt"] = b"weights"
    tag = {"url": server.url("weights.pt")}
    tell_log()
    path = downloads.fetch(tag, "openai weights of ViT-B-16")
    assert path.read_bytes() == b"weights"
    assert capsys.readouterr().err.startswith(f"fetching openai weights of ViT-B-16 from {server.url('weights.pt')}\n")
    assert downloads.fetch(tag, "openai weights of ViT-B-16") == path
    assert capsys.readouterr().err == ""
    assert len(server.requests) == 1


@pytest.mark.parametrize("on_hub", [False, True])
def test_a_source_that_refuses_has_answered(server: Loopback, monkeypatch: pytest.MonkeyPatch, on_hub: bool) -> None:
    tag = at_hub(server.address, monkeypatch) if on_hub else {"url": server.url("absent.pt")}
    monkeypatch.setattr(open_clip, "download_pretrained", lambda own: "downloaded")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, name: "downloaded")
    assert downloads.fetch(tag, "weights") == Path("downloaded")


@pytest.mark.parametrize("on_hub", [False, True])
def test_without_a_connection_no_download_is_tried(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, on_hub: bool
) -> None:
    tag = at_hub(closed(), monkeypatch) if on_hub else {"url": f"{closed()}/weights.pt"}
    monkeypatch.setattr(open_clip, "download_pretrained", lambda own: pytest.fail("a download began"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: pytest.fail("a download began"))
    with pytest.raises(ConnectionError):
        downloads.fetch(tag, "weights")


@pytest.mark.parametrize("on_hub", [False, True])
def test_a_source_that_says_nothing_is_given_up(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, on_hub: bool
) -> None:
    monkeypatch.setattr(downloads, "_ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        tag = at_hub(address, monkeypatch) if on_hub else {"url": f"{address}/weights.pt"}
        with pytest.raises(OSError, match=r"no answer|timed out"):
            downloads.fetch(tag, "weights")


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_cached_weights_need_no_network(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    tag = at_hub(closed(), monkeypatch, cached=name)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: pytest.fail("a download began"))
    tell_log()
    assert downloads.fetch(tag, "weights") == Path(name)
    assert capsys.readouterr().err == ""


def test_the_first_file_that_the_hub_has_is_downloaded(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    at_hub(server.address, monkeypatch)
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append(name)
        if name != "b":
            raise EntryNotFoundError(name)
        return name

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert downloads.fetch_file("org/weights", ["a", "b", "c"], "weights") == Path("b")
    with pytest.raises(FileNotFoundError, match="none of a, c in org/weights"):
        downloads.fetch_file("org/weights", ["a", "c"], "weights")
    assert asked == ["a", "b", "a", "c"]


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
    load: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    at_hub(closed(), monkeypatch)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: pytest.fail("a download began"))
    start = time.monotonic()
    with pytest.raises(ModelError, match="ConnectionError") as refusal:
        load()
    assert time.monotonic() - start < 10
    assert "\n" not in str(refusal.value)
    assert all(line.startswith("fetching ") for line in capfd.readouterr().err.splitlines())
