"""Options that several commands take, as annotated types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class ProfileName(str, Enum):
    """Sources of the switches' defaults."""

    released = "released"
    paper = "paper"


class ModeName(str, Enum):
    """What is asked of the queries together."""

    semantic = "semantic"
    referring = "referring"


WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="CLIP weights of both models: an open_clip tag such as openai, a file, miniature, or random:SEED for "
        "trials. [default: miniature]"
    ),
]
RunWeightsOption = Annotated[
    str | None, typer.Option(help="CLIP weights of both models. [default: those the run names]")
]
ProposalWeightsOption = Annotated[str | None, typer.Option(help="Weights of the proposal generator alone.")]
ClassifierWeightsOption = Annotated[str | None, typer.Option(help="Weights of the mask classifier alone.")]
ProfileOption = Annotated[
    ProfileName | None, typer.Option(help="Which source sets the switches. [default: released, mini-*: paper]")
]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a switch or threshold. Repeatable.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Images segmented together; figures do not depend on it.")]
WorkersOption = Annotated[int, typer.Option(min=0, help="Processes that decode images; 0: none.")]
RefineWorkersOption = Annotated[
    int | None,
    typer.Option(
        min=0, help="Processes that refine masks (CRF) beside the model; 0: none. [default: the cores but one]"
    ),
]
JobsOption = Annotated[int, typer.Option(min=1, help="Processes that share the runs and the cores.")]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--sample-timeout",
        min=0,
        help="Seconds that decoding or refining an image may take in such a process; 0: no limit.",
    ),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh/--resume", help="Start anew, setting finished records aside, or go on from them.")
]
AllowFailuresOption = Annotated[bool, typer.Option(help="Exit with 0 although samples failed.")]


def weights_by_role(weights: str | None, proposal: str | None, classifier: str | None) -> Mapping[str, str | None]:
    """The three options of weights as one mapping: a model's own weights, else those of both, else None."""
    return {"proposal": proposal or weights, "classifier": classifier or weights}
