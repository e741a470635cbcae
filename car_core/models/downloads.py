"""Published weights: from open_clip's cache, or downloaded; fails quickly without a network.

The hub's client by itself keeps retrying for minutes, and open_clip's plain downloads have no time limit.
"""

from __future__ import annotations

import logging
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.error import HTTPError

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

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
    with quiet_log("huggingface_hub"):  # without a network it would print a page of retries
        if not _is_cached(tag):
            _log.info("fetching %s from %s", title, source_of(tag))
            _require_answer(tag)
        return Path(open_clip.download_pretrained(tag))


def source_of(tag: Mapping[str, Any]) -> str:
    """Where open_clip downloads the weights of a tag: a name on the hub, or a URL."""
    return str(tag.get("hf_hub") or tag.get("url")).rstrip("/")


def _is_cached(tag: Mapping[str, Any]) -> bool:
    if not tag.get("hf_hub"):
        return expanded(Path("~/.cache/clip", os.path.basename(source_of(tag)))).is_file()
    repository, name = os.path.split(tag["hf_hub"])
    name = name or HF_WEIGHTS_NAME
    names = (name, HF_SAFE_WEIGHTS_NAME, f"{Path(name).stem}.safetensors")
    return any(isinstance(huggingface_hub.try_to_load_from_cache(repository, each), str) for each in names)


def _require_answer(tag: Mapping[str, Any]) -> None:
    """Raise OSError unless the source of a tag answers, be it with a refusal.

    Without a network names can hang, and so can each of a name's addresses; asked in a thread, all are bounded at once.
    """
    answers: SimpleQueue[Exception | None] = SimpleQueue()
    Thread(target=lambda: answers.put(_failure(tag)), daemon=True).start()
    try:
        failure = answers.get(timeout=_ANSWER_SECONDS)
    except Empty:
        raise TimeoutError(f"no answer in {_ANSWER_SECONDS} seconds") from None
    if failure:
        raise ConnectionError(str(failure)) from failure


def _failure(tag: Mapping[str, Any]) -> Exception | None:
    """Why the source of a tag does not answer, None where it does."""
    try:
        if tag.get("hf_hub"):
            url = huggingface_hub.hf_hub_url(os.path.dirname(tag["hf_hub"]), "README.md")
            huggingface_hub.get_hf_file_metadata(url, timeout=_ANSWER_SECONDS)
        else:
            request = urllib.request.Request(tag["url"], method="HEAD")
            urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
    except (HfHubHTTPError, HTTPError):
        return None
    except Exception as error:  # the hub's client lets through what its HTTP library raises
        return error
    return None
