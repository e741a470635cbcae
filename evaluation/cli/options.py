"""Options that several commands take, as annotated types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class ProfileName(str, Enum):
    """Sources of the switches' defaults."""

    released = "released"
    paper = "paper"


class PrecisionName(str, Enum):
    """What the image encoders multiply in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class EngineName(str, Enum):
    """What runs a benchmark's samples."""

    local = "local"
    ray = "ray"


class PredictionFormatName(str, Enum):
    """Files that predictions are saved as."""

    png = "png"
    rle = "rle"


class NamesName(str, Enum):
    """Query texts of a label space."""

    released = "released"
    dataset = "dataset"


class ModeName(str, Enum):
    """What is asked of the queries together."""

    semantic = "semantic"
    referring = "referring"


ImagesOption = Annotated[str | None, typer.Option(help="Your own data: folder of images.")]
MasksOption = Annotated[str | None, typer.Option(help="Folder of label maps, a PNG of the same stem an image.")]
ClassesOption = Annotated[
    str | None, typer.Option(help="File of class names, one a line, or `value: name`; synonyms behind semicolons.")
]
HfOption = Annotated[
    str | None, typer.Option(metavar="NAME|PATH", help="Your own data: a Hugging Face data set; needs --classes.")
]
HfConfigOption = Annotated[str | None, typer.Option(help="Configuration of that data set.")]
ImageColumnOption = Annotated[str | None, typer.Option(help="Its column of images. [default: the usual names]")]
MaskColumnOption = Annotated[str | None, typer.Option(help="Its column of label maps. [default: the usual names]")]
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
MethodOption = Annotated[
    str,
    typer.Option(
        help="car, a baseline (clip, maskclip, sclip, clearclip, naclip, proxyclip, clip-es), or all: one table."
    ),
]
ProfileOption = Annotated[
    ProfileName | None, typer.Option(help="Which source sets the switches. [default: released, mini-*: paper]")
]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a switch or threshold. Repeatable.")
]
SamOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="Refine masks by SAM, HQ-SAM or SAM 2 of transformers: a hub name, a folder, random:SEED.",
    ),
]
SplitOption = Annotated[str | None, typer.Option(help="Split of the data set, or a file of ids.")]
SourceOption = Annotated[
    str | None, typer.Option(help="Label source of a data set with several. [default: the first that is there]")
]
ProtocolOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Change how targets are built or scored. Repeatable."),
]
NamesOption = Annotated[NamesName, typer.Option(help="Query texts: released, or plain class names.")]
LimitOption = Annotated[int | None, typer.Option(help="Evaluate the first N samples only.")]
ModeOption = Annotated[
    ModeName, typer.Option(help="semantic: one label a pixel. referring: all phrases name one object.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
PrecisionOption = Annotated[
    PrecisionName,
    typer.Option(help="What the image encoders multiply in; float16 on GPUs alone. Figures depend on it."),
]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Images segmented together; figures do not depend on it.")]
WorkersOption = Annotated[int, typer.Option(min=0, help="Processes that decode images; 0: none.")]
RefineWorkersOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Processes that refine masks (CRF) beside the model; 0: none. [default: the cores but one, with --jobs "
        "none; with --engine ray actors refine themselves]",
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
EngineOption = Annotated[EngineName, typer.Option(help="local: this process. ray: actors on a Ray cluster.")]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Ray cluster, e.g. auto or HOST:6379. [default: $RAY_ADDRESS, else a Ray on this machine]"),
]
ActorsOption = Annotated[
    int | None, typer.Option(help="Actors, each with its own models. [default: as many as the nodes have room for]")
]
ActorCpusOption = Annotated[float, typer.Option(help="CPUs an actor takes, and its threads.")]
ActorGpusOption = Annotated[
    float | None, typer.Option(help="GPUs an actor takes, e.g. 0.5 for two on one. [default: 1 with --device cuda]")
]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Pixels of the largest image or mask that is decoded. [default: $CAR_MAX_PIXELS, else 67108864]"
    ),
]
SavePredictionsOption = Annotated[
    PredictionFormatName | None,
    typer.Option(help="Keep each prediction as a palette PNG, or as COCO results with run lengths (JSON)."),
]
SaveProposalsOption = Annotated[bool, typer.Option("--save-proposals", help="Keep the proposals of every step as npz.")]
FreshOption = Annotated[
    bool, typer.Option("--fresh/--resume", help="Start anew, setting finished records aside, or go on from them.")
]
AllowFailuresOption = Annotated[bool, typer.Option(help="Exit with 0 although samples failed.")]


def with_sam(settings: list[str] | None, sam: str | None) -> list[str]:
    """The texts of ``--set`` with the one that ``--sam`` stands for."""
    return [*([] if sam is None else [f"sam.model={json.dumps(sam)}"]), *(settings or [])]


def weights_by_role(weights: str | None, proposal: str | None, classifier: str | None) -> Mapping[str, str | None]:
    """The three options of weights as one mapping: a model's own weights, else those of both, else None."""
    return {"proposal": proposal or weights, "classifier": classifier or weights}


def own_places(
    images: str | None,
    masks: str | None,
    classes: str | None,
    hf: str | None,
    hf_config: str | None,
    image_column: str | None,
    mask_column: str | None,
) -> Mapping[str, str | None]:
    """The seven options of data of the user's own by name."""
    return {
        "images": images,
        "masks": masks,
        "classes": classes,
        "hf": hf,
        "hf_config": hf_config,
        "image_column": image_column,
        "mask_column": mask_column,
    }
