"""Options that several commands take, as annotated types."""

from __future__ import annotations

from typing import Annotated

import typer

DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Images segmented together; figures do not depend on it.")]
WorkersOption = Annotated[int, typer.Option(min=0, help="Processes that decode images; 0: none.")]
FreshOption = Annotated[
    bool, typer.Option("--fresh/--resume", help="Start anew, setting finished records aside, or go on from them.")
]
AllowFailuresOption = Annotated[bool, typer.Option(help="Exit with 0 although samples failed.")]
