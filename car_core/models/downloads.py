"""Published weights of CLIP, SAM and DINO: from the hub's cache, or downloaded; fails quickly without a network.

The hub's client by itself keeps retrying for minutes, and open_clip's plain downloads have no time limit.
"""

from __future__ import annotations

import logging
import os
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.error import HTTPError

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from car_core.models.clip import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME, open_clip
from support.console import quiet_log
from support.files import expanded

_ANSWER_SECONDS = 15
_log = logging.getLogger(__name__)


def fetch(tag: Mapping[str, Any], title: str) -> Path:
    """The weights file of an open_clip tag (its settings), downloaded once; that a download begins is logged.

    title: what the log calls the weights. Raises OSError or RuntimeError where the file cannot be had. A source must
    answer in `_ANSWER_SECONDS`; the download itself may take as long as it does.
    """
    if tag.get("hf_hub"):
        repository, name = os.path.split(tag["hf_hub"])
        name = name or HF_WEIGHTS_NAME
        safe = HF_SAFE_WEIGHTS_NAME if name == HF_WEIGHTS_NAME else f"{Path(name).stem}.safetensors"
        return fetch_file(repository, (safe, name), title)
    if not expanded(Path("~/.cache/clip", os.path.basename(source_of(tag)))).is_file():
        _log.info("fetching %s from %s", title, source_of(tag))
        request = urllib.request.Request(tag["url"], method="HEAD")
        _require_answer(lambda: urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close())
    return Path(open_clip.download_pretrained(tag))


def source_of(tag: Mapping[str, Any]) -> str:
    """Where open_clip downloads the weights of a tag: a name on the hub, or a URL."""
    return str(tag.get("hf_hub") or tag.get("url")).rstrip("/")


def fetch_file(repository: str, names: Sequence[str], title: str) -> Path:
    """The first of ``names`` that is in the hub's cache, else the first that the hub has. As `fetch`."""
    if cached := cached_file(repository, names):
        return cached
    require_hub(repository, title)
    with quiet_log("huggingface_hub"):
        for name in names:
            with suppress(EntryNotFoundError):
                return Path(huggingface_hub.hf_hub_download(repository, name))
    raise FileNotFoundError(f"none of {', '.join(names)} in {repository}")


def cached_file(repository: str, names: Sequence[str]) -> Path | None:
    """The first of ``names`` that is in the hub's cache."""
    found = (huggingface_hub.try_to_load_from_cache(repository, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def require_hub(repository: str, title: str) -> None:
    """Log that a download from the hub begins. Raises OSError unless the hub answers."""
    _log.info("fetching %s from %s", title, repository)
    url = huggingface_hub.hf_hub_url(repository, "README.md")
    with quiet_log("huggingface_hub"):
        _require_answer(lambda: huggingface_hub.get_hf_file_metadata(url, timeout=_ANSWER_SECONDS))


def _require_answer(ask: Callable[[], object]) -> None:
    """Raise OSError unless a source answers, be it with a refusal.

    Without a network names can hang, and so can each of a name's addresses; asked in a thread, all are bounded at once.
    """
    answers: SimpleQueue[Exception | None] = SimpleQueue()
    Thread(target=lambda: answers.put(_failure(ask)), daemon=True).start()
    try:
        failure = answers.get(timeout=_ANSWER_SECONDS)
    except Empty:
        raise TimeoutError(f"no answer in {_ANSWER_SECONDS} seconds") from None
    if failure:
        raise ConnectionError(str(failure)) from failure


def _failure(ask: Callable[[], object]) -> Exception | None:
    """Why a source does not answer, None where it does."""
    try:
        ask()
    except (HfHubHTTPError, HTTPError):
        return None
    except Exception as error:  # the hub's client lets through what its HTTP library raises
        return error
    return None
