"""Published weights of CLIP, SAM and DINO: from the hub's cache, or downloaded. Without a network this fails quickly.

The hub's client keeps retrying for minutes, and open_clip's plain downloads have no time limit.
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
    """The weights file of an open_clip tag (its settings), downloaded once; the start of a download is logged.

    title: what the log calls the weights. Raises OSError or RuntimeError if the file is not available. A source must
    answer within `_ANSWER_SECONDS`; the download itself has no time limit.
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
    """The first of ``names`` in the hub's cache, else the first that the hub has. As `fetch`."""
    if cached := cached_file(repository, names):
        return cached
    require_hub(repository, title)
    with quiet_log("huggingface_hub"):
        for name in names:
            with suppress(EntryNotFoundError):
                return Path(huggingface_hub.hf_hub_download(repository, name))
    raise FileNotFoundError(f"none of {', '.join(names)} in {repository}")


def cached_file(repository: str, names: Sequence[str]) -> Path | None:
    """The first of ``names`` in the hub's cache."""
    found = (huggingface_hub.try_to_load_from_cache(repository, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def require_hub(repository: str, title: str) -> None:
    """Log the start of a download from the hub. Raises OSError unless the hub answers."""
    _log.info("fetching %s from %s", title, repository)
    url = huggingface_hub.hf_hub_url(repository, "README.md")
    with quiet_log("huggingface_hub"):
        _require_answer(lambda: huggingface_hub.get_hf_file_metadata(url, timeout=_ANSWER_SECONDS))


def _require_answer(ask: Callable[[], object]) -> None:
    """Raise OSError unless a source answers; a refusal is an answer.

    Without a network, resolving a name can hang, and so can each of its addresses. Timeouts of HTTP clients cover
    neither the former nor the sum of the latter; a thread bounds all of it.
    """
    answers: SimpleQueue[Exception | None] = SimpleQueue()

    def wait() -> None:
        try:
            ask()
            answers.put(None)
        except (HfHubHTTPError, HTTPError):
            answers.put(None)
        except Exception as error:  # the hub's client does not wrap errors of its HTTP library
            answers.put(error)

    Thread(target=wait, daemon=True).start()
    try:
        failure = answers.get(timeout=_ANSWER_SECONDS)
    except Empty:
        raise TimeoutError(f"no answer in {_ANSWER_SECONDS} seconds") from None
    if failure:
        raise ConnectionError(str(failure)) from failure
