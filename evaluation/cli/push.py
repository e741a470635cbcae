"""``car push``: a run to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from support.console import say, tell
from support.text import counted


def push_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
    repository: Annotated[
        str, typer.Argument(metavar="HUB_REPO", help="Data set repository, USER/NAME; created if it does not exist.")
    ],
    public: Annotated[
        bool, typer.Option("--public", help="Allow a public repository, and make a new one public. [default: private]")
    ] = False,
    with_predictions: Annotated[
        bool, typer.Option("--with-predictions", help="Also upload the saved predictions and label maps.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be uploaded.")] = False,
) -> None:
    """Upload a run to a data set repository of the Hugging Face Hub: run.json, records, tables, report.

    Uses the token of the Hub's own tools (HF_TOKEN, or `hf auth login`).
    """
    from evaluation.run.push import push, upload_of
    from results.tables.run_notes import shortcomings

    upload = upload_of(run, predictions=with_predictions)
    names = dict.fromkeys(f"{name.partition('/')[0]}/" if "/" in name else name for name in upload.files)
    size = f"{counted(len(upload.files), 'file')}, {upload.n_bytes / 2**20:.1f} MiB"
    tell(f"{upload.folder} to {repository}, {'public' if public else 'private'}: {size} ({', '.join(names)})")
    for shortcoming in shortcomings(upload.header):
        tell(f"notice: {shortcoming}")
    if places := upload.places:
        tell(f"notice: the files name {counted(len(places), 'place')} on this machine, such as {places[0]}")
    if not dry_run:
        say(push(upload, repository, public=public))
