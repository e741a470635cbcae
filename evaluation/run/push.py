"""A run's files in a data set repository of the Hugging Face Hub, each run in its own folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from io import BufferedReader
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from results import RunDirectory, RunHeader
from results.run_directory.sample_files import LABEL_MAPS, PREDICTIONS
from results.run_directory.suite import read_run
from results.tables.run_notes import method_label, run_name
from support.console import quiet_log
from support.errors import RunError, UserError
from support.files import open_regular
from support.text import described, unwrapped

_ALWAYS = ("run.json", "samples.jsonl")
_IF_THERE = ("table.md", "table.csv", "report.html")
_PLACE = re.compile(rb"(?<![\w./:<~-])~?/[\w.+-]+/[\w.+/-]+")
_PICTURE = re.compile(rb"base64,[\w+/=]+")  # in a report, whose letters look like paths
_TEXTS = (".json", ".jsonl", ".md", ".csv", ".html")
_TOKEN = "token that may write there (HF_TOKEN, or hf auth login)"
_CARD = """---
tags: [car-eval]
configs: [{config_name: default, data_files: "*/samples.jsonl"}]
---
# Evaluation runs

Each folder is a run of car-eval: `run.json` (request, data, weights, environment, figures), `samples.jsonl` (integer
counts per sample, which give every figure again: `car table FOLDER`) and its tables.
"""


@dataclass(frozen=True)
class Upload:
    """What a run would upload. folder: its name in the repository. files: paths by their names in the folder."""

    header: RunHeader
    folder: str
    files: Mapping[str, Path]

    @property
    def n_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files.values())

    @property
    def places(self) -> list[str]:
        """Paths of this machine that the files of text name, each once."""
        found: dict[str, None] = {}
        for path in (own for own in self.files.values() if own.suffix in _TEXTS):
            with BufferedReader(open_regular(path, follow=False)) as lines:
                texts = (_PICTURE.sub(b"", line) for line in lines)
                found |= dict.fromkeys(place.decode() for text in texts for place in _PLACE.findall(text))
        return list(found)


def upload_of(run: Path, *, predictions: bool = False) -> Upload:
    """The files of a run. predictions: also those of its samples.

    Raises StoreError: there is no run, it is a suite, or something in the folder is not a plain file.
    """
    header = read_run(run)
    store = RunDirectory(run)
    store.require_plain()
    files = {name: run / name for name in (*_ALWAYS, *_IF_THERE) if name in _ALWAYS or (run / name).exists()}
    for folder in ("report_files", *((PREDICTIONS, LABEL_MAPS) if predictions else ())):
        own = (path for path in sorted((run / folder).rglob("*")) if path.is_file())
        files |= {path.relative_to(run).as_posix(): path for path in own}
    return Upload(header, run_name(header), files)


def push(upload: Upload, repository: str, *, public: bool = False) -> str:
    """Upload a run in one commit, to a repository that is made if it does not exist; returns its address.

    Raises UserError for a name, token or repository that will not do, RunError where the Hub does not answer.
    """
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    if not get_token():
        raise UserError(f"push: expected a {_TOKEN}, found none")
    try:
        with quiet_log("huggingface_hub"):
            name = api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True).repo_id
            known = api.dataset_info(name)
            if not (known.private or public):
                raise UserError(f"{repository}: expected a private repository, found a public one (see --public)")
            files = [CommitOperationAdd(f"{upload.folder}/{own}", str(path)) for own, path in upload.files.items()]
            if "README.md" not in {sibling.rfilename for sibling in known.siblings or ()}:
                files.append(CommitOperationAdd("README.md", _CARD.encode()))
            message = f"Add {upload.folder}: {method_label(upload.header)}"
            api.create_commit(name, files, commit_message=message, repo_type="dataset")
    except UserError:
        raise
    except HFValidationError as error:
        raise UserError(f"{repository}: expected NAME or USER/NAME, found {unwrapped(error)}") from None
    except OfflineModeIsEnabled:
        raise UserError("push: expected the Hub, found HF_HUB_OFFLINE=1") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status >= 500:
            raise RunError(f"{repository}: {api.endpoint} returned {status} ({HTTPStatus(status).phrase})") from None
        expected = "a user or organization that exists" if status == 404 else f"a {_TOKEN}"
        found = f"status {status} ({HTTPStatus(status).phrase}) of {api.endpoint}"
        raise UserError(f"{repository}: expected {expected}, found {found}") from None
    except Exception as error:  # the hub's client lets through what its HTTP library raises
        raise RunError(f"{repository}: no upload to {api.endpoint}: {described(error)}") from None
    return f"{api.endpoint}/datasets/{name}/tree/main/{upload.folder}"
