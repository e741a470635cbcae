"""The options of a run: each once, with its type, default, help text, check and place in the identity.

`car eval` and the commands that share its options are generated from these fields (`evaluation.cli.model_options`),
`resolve` checks their values, and a run's identity leaves out those that give a reason. Annotations are evaluated here,
so there is no `from __future__ import annotations`; imports are few, because `car --help` waits for them.
"""

import functools
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option
from typer.models import ParameterInfo

from evaluation.request.cluster import Cluster
from support.choices import Mode, Precision, Profile
from support.files import expanded
from support.text import shortened

if TYPE_CHECKING:
    from evaluation.request.benchmark import Benchmark
    from evaluation.request.vocabulary import Vocabulary
    from evaluation.tasks.saving import Saving

EngineName = Literal["local", "ray"]
PredictionValues = Literal["labels", "dataset", "classes"]
CAR = "car"
"""The default method; `evaluation.request.methods` has them all."""
ALL = "all"
"""Stands for every method on the command line, and for every baseline in a benchmark's file."""
OWN_NAMES = "own"
"""Stands for the texts that a method provides, where it has some of the data set, else for the released ones."""
DEFAULT_RUNS = Path("results/runs")
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
# Fields that run.json keeps although no figure depends on them: where it ran, and which images it could not read.
_KEPT = {"device", "max_pixels"}


@dataclass(frozen=True)
class Predictions:
    """Files of what was predicted elsewhere, scored in place of a method's segmentations.

    path: a folder or a file. name: of the method; None for the path's. values: what the pixels hold: label ids, values
    of the data set's own masks, or class ids from 0; None to find out.
    """

    path: Path
    name: str | None = None
    values: PredictionValues | None = None


@dataclass(frozen=True)
class Range:
    """Smallest and largest value of a field; None is always allowed."""

    least: float
    most: float = 2**63 - 1

    def check(self, value: float | None, name: str) -> None:
        """Raise BenchmarkError, naming the field, for a value that is out of range."""
        from evaluation.request.benchmark import BenchmarkError

        if value is not None and not value >= self.least:
            raise BenchmarkError(f"{name}: expected at least {self.least:g}, found {value}")
        if value is not None and value > self.most:
            raise BenchmarkError(f"{name}: expected at most {self.most:g}, found {shortened(str(value))}")


@dataclass(frozen=True)
class NotInIdentity:
    """A field that the identity of a run leaves out, and why.

    by_content: the field says where input files are; the identity holds what is in them.
    """

    reason: str
    by_content: bool = False


@dataclass(frozen=True)
class Typed:
    """A field whose option has another type: the annotated one is given `kind` on the command line.

    split: the field's value as that of the option. join: the reverse.
    """

    kind: Any
    split: Callable[[Any], Any]
    join: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class FromOptions:
    """A field made of several command-line options: the annotated parameters of `join`, which returns its value.

    A parameter of `join` that is not annotated with typer's `Option` gets the value of another option of that name.
    split: a value as the options that make it, None for those that are left out.
    """

    join: Callable[..., Any]
    split: Callable[[Any], Mapping[str, Any]]


def _user_data(
    images: Annotated[str | None, Option(help="Folder of images.")] = None,
    masks: Annotated[str | None, Option(help="Folder of label maps: one PNG per image, with the same stem.")] = None,
    classes: Annotated[
        str | None,
        Option(
            help="File of class names: one per line, `value: name`, or as CVAT, Roboflow, labelme, JSON or YAML; "
            "synonyms after semicolons."
        ),
    ] = None,
    ignore_value: Annotated[
        str | None,
        Option(
            metavar="N|none",
            help="Mask value of pixels that do not count. [default: 255, or none if 255 is a class]",
        ),
    ] = None,
    hf: Annotated[
        str | None, Option(metavar="NAME|PATH", help="Hugging Face data set, in place of --images and --masks.")
    ] = None,
    hf_config: Annotated[str | None, Option(help="Configuration of the Hugging Face data set.")] = None,
    image_column: Annotated[str | None, Option(help="Column of images. [default: the usual names]")] = None,
    mask_column: Annotated[str | None, Option(help="Column of label maps. [default: the usual names]")] = None,
) -> dict[str, str]:
    return {name: value for name, value in locals().items() if value is not None}


USER_DATA = tuple(name for name in _user_data.__annotations__ if name != "return")
"""The options of user-supplied data."""


def _weights(
    weights: Annotated[
        str | None,
        Option(
            help="CLIP weights of both models: an open_clip tag such as openai, a file, miniature, or random:SEED for "
            "trials. [default for mini-*: miniature]"
        ),
    ] = None,
    proposal_weights: Annotated[str | None, Option(help="CLIP weights of the proposal generator only.")] = None,
    classifier_weights: Annotated[str | None, Option(help="CLIP weights of the mask classifier only.")] = None,
) -> dict[str, str | None]:
    return {"proposal": proposal_weights or weights, "classifier": classifier_weights or weights}


def _weights_by_option(weights: str | Mapping[str, str | None]) -> dict[str, Any]:
    if isinstance(weights, str) or len(set(weights.values())) == 1:
        return {"weights": weights if isinstance(weights, str) else next(iter(weights.values()))}
    return {f"{role}_weights": name for role, name in weights.items()}


def _settings(
    sam: Annotated[
        str | None,
        Option(
            metavar="NAME|PATH",
            help="Refine masks with SAM, HQ-SAM or SAM 2 (corrclip: its regions): a hub name, folder or random:SEED.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, Option("--set", metavar="KEY=VALUE", help="Set a switch or threshold. Repeatable.")
    ] = None,
) -> dict[str, Any]:
    from evaluation.request.benchmark import parse_settings

    return parse_settings([*([] if sam is None else [f"sam.model={json.dumps(sam)}"]), *(set_ or [])])


def _protocol(texts: list[str] | None) -> dict[str, str]:
    from evaluation.request.benchmark import parse_protocol

    return parse_protocol(texts or [])


def _listed(texts: Iterable[str]) -> tuple[str, ...]:
    """The names in texts with commas between them."""
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


SHARD = "shard"
"""The field of a shard's identity, "i/n", that the whole run's lacks."""


def parse_shard(text: str) -> tuple[int, int]:
    """``i/n`` as (i, n), 1 <= i <= n. Raises BenchmarkError.

    >>> parse_shard("2/8")
    (2, 8)
    """
    part, _, count = text.partition("/")
    is_number = part.isdecimal() and count.isdecimal() and len(count) < 19
    if not (is_number and len(part) < 19 and 1 <= int(part) <= int(count)):
        from evaluation.request.benchmark import BenchmarkError

        raise BenchmarkError(f"shard: expected I/N with 1 <= I <= N, found {shortened(text)!r}")
    return int(part), int(count)


def _cluster(
    device: str = "cpu",
    address: Annotated[
        str | None,
        Option(help="Ray cluster, e.g. auto or HOST:6379. [default: $RAY_ADDRESS, else a new Ray on this machine]"),
    ] = None,
    actors: Annotated[
        int | None,
        Option(help="Number of actors, each with its own models. [default: as many as fit on the nodes]"),
    ] = None,
    actor_cpus: Annotated[float, Option(help="CPUs and threads per actor.")] = 1.0,
    actor_gpus: Annotated[
        float | None, Option(help="GPUs per actor, e.g. 0.5 to share one. [default: 1 with --device cuda]")
    ] = None,
) -> Cluster:
    return Cluster(address, actors, actor_cpus, float(device == "cuda") if actor_gpus is None else actor_gpus)


def _saving(
    save_predictions: Annotated[
        Literal["png", "rle"] | None,
        Option(help="Save predictions as palette PNGs, or as COCO results with run-length encoding (JSON)."),
    ] = None,
    save_proposals: Annotated[
        bool, Option("--save-proposals", help="Save the proposals of every step as npz files.")
    ] = False,
) -> "Saving":
    from evaluation.tasks.saving import Saving

    return Saving(save_predictions, save_proposals)


# Fields that several models have.
_Weights = Annotated[str | Mapping[str, str | None] | None, FromOptions(_weights, _weights_by_option)]
_Settings = Annotated[Mapping[str, Any], FromOptions(_settings, lambda settings: {"set": settings})]
_MaxPixels = Annotated[
    int | None,
    Option(help="Largest image or mask, in pixels. [default: $CAR_MAX_PIXELS, else 67108864]"),
    Range(1),
    NotInIdentity("an image over it is a failed record, which the next start tries again"),
]


@dataclass(frozen=True)
class RunOptions:
    """The request of a run.

    benchmark: what `load_benchmark` takes. data_root: None for `data/`, for mini-* the miniature's. weights: for
    both models or by role; None only for mini-*. profile, split: None for the benchmark's. settings:
    configuration fields. places: where user-supplied data are, by option (see `evaluation.request.user_data`). source:
    None for the first label source that is there. protocol: see `resolve.Protocol`. names: `OWN_NAMES`, a
    `NameSet`, or what `find_vocabulary` takes. metrics: see `evaluation.tasks.extra_metrics`. limit: only the first
    samples. shard: (i, n) for part i of n, counted from 1. predictions: scored in place of what a method
    segments. out: run directory; None for `results/runs/<benchmark>-<profile>-<identity>`. refine_workers: None for
    all cores but one. sample_timeout: in seconds; None for no limit. live: at a terminal, one line that is updated;
    else lines as in a log.
    """

    benchmark: Annotated[
        "str | Benchmark",
        Argument(help="Benchmark, e.g. voc21, coco-object, refcoco-val, or its YAML file; omit it for your own data."),
        Typed(str, lambda own: getattr(own, "file", own)),
    ]
    data_root: Annotated[
        Path | None,
        Option(help="Folder of the data set in its official layout. [default: data; for mini-*: the miniature's]"),
        NotInIdentity("a path; the data set's fingerprint stands for the files", by_content=True),
    ] = None
    weights: _Weights = None
    method: Annotated[
        str,
        Option(
            help="car, a baseline or an installed method (see `car methods`), package.module:Class or file.py:Class; "
            "several separated by commas, or all for every built-in one, share one table."
        ),
    ] = CAR
    profile: Annotated[
        Profile | None, Option(help="Preset of all switches. [default: released; for mini-*: paper]")
    ] = None
    settings: _Settings = field(default_factory=dict)
    split: Annotated[str | None, Option(help="Split of the data set, or a file of ids.")] = None
    places: Annotated[
        Mapping[str, str],
        FromOptions(_user_data, dict),
        NotInIdentity("paths and names; the data set's fingerprint stands for the files", by_content=True),
    ] = field(default_factory=dict)
    source: Annotated[
        str | None, Option(help="Label source of a data set that has several. [default: the first one found]")
    ] = None
    protocol: Annotated[
        Mapping[str, str],
        Option(metavar="KEY=VALUE", help="Set how targets are built or predictions scored. Repeatable."),
        Typed(list[str] | None, dict, _protocol),
    ] = field(default_factory=dict)
    names: Annotated[
        "str | Vocabulary",
        Option(
            metavar="FILE|NAME",
            help="Class texts: own (the method's authors'; for CaR released), released, dataset (plain names), a "
            "family with synonyms and background words (plain, sclip, proxyclip, ...), or a YAML file.",
        ),
        Typed(str, lambda own: OWN_NAMES if getattr(own, "is_own", False) else getattr(own, "name", own)),
    ] = OWN_NAMES
    metrics: Annotated[
        tuple[str, ...],
        Option(
            metavar="NAME[,NAME]",
            help="Additional metrics: boundary_iou, of installed packages, or your own file.py:Class with count and "
            "figures (docs/adding.md).",
        ),
        Typed(str | None, ",".join, lambda text: _listed([text or ""])),
    ] = ()
    precision: Annotated[
        Precision,
        Option(help="Number format of the image encoders (float16: only on GPUs). Changes the figures."),
    ] = "float32"
    limit: Annotated[int | None, Option(help="Evaluate only the first N samples."), Range(1)] = None
    shard: Annotated[
        tuple[int, int] | None,
        Option(metavar="I/N", help="Evaluate only part I of N; join the parts with `car merge`."),
        Typed(str | None, "{0[0]}/{0[1]}".format, lambda text: parse_shard(text) if text else None),
    ] = None
    predictions: Annotated[
        Predictions | None,
        NotInIdentity("a path; the files' sha256 in the configuration stands for them", by_content=True),
    ] = None
    device: Annotated[
        str,
        Option(
            help="auto (cuda, else mps if it agrees with the CPU, else cpu), cpu, cuda, cuda:1, mps; several GPUs, "
            "with a process on each: cuda:0,1 or cuda:all."
        ),
        NotInIdentity("results agree across devices up to rounding; the header records it"),
    ] = "auto"
    processes: Annotated[
        int | None,
        Option(
            help="Processes that share the samples, each with its own models, --workers and --refine-workers. "
            "[default: one per device]"
        ),
        Range(1, 1024),
        NotInIdentity("who segments a sample does not reach its record"),
    ] = None
    out: Annotated[
        Path | None,
        Option(help="Run directory. [default: results/runs/BENCHMARK-PROFILE-IDENTITY]"),
        NotInIdentity("a path"),
    ] = None
    batch_size: Annotated[
        int,
        Option(help="Images segmented together. Does not change the figures."),
        Range(1),
        NotInIdentity("an image's result does not depend on the others"),
    ] = 4
    workers: Annotated[
        int,
        Option(help="Processes that decode images; 0: none."),
        Range(0),
        NotInIdentity("decoding order does not reach the records"),
    ] = 2
    refine_workers: Annotated[
        int | None,
        Option(
            help="Processes that refine masks (CRF) while the model runs; 0: none. [default: all cores but one, "
            "divided among --processes or --jobs; unused with --engine ray]"
        ),
        Range(0),
        NotInIdentity("where a sample is refined does not reach its record"),
    ] = None
    sample_timeout: Annotated[
        float | None,
        Option(help="Seconds to decode or refine an image, or to segment it with your own method; 0: no limit."),
        Typed(float, lambda seconds: seconds or 0.0, lambda seconds: seconds or None),
        Range(0, 1e6),
        NotInIdentity("a sample over it is a failed record, which the next start tries again"),
    ] = 300.0
    max_pixels: _MaxPixels = None
    fresh: Annotated[
        bool,
        Option("--fresh/--resume", help="Set finished records aside and start again, or resume."),
        NotInIdentity("decides whether finished records are used, not what they hold"),
    ] = False
    quiet: Annotated[bool, NotInIdentity("progress lines")] = False
    live: Annotated[bool, NotInIdentity("progress lines")] = True
    engine: Annotated[
        EngineName,
        Option(help="local: this machine. ray: actors on a Ray cluster."),
        NotInIdentity("engines run the same stages"),
    ] = "local"
    cluster: Annotated[
        Cluster,
        FromOptions(
            _cluster,
            lambda own: {"address": own.address, "actors": own.actors, "actor_cpus": own.cpus, "actor_gpus": own.gpus},
        ),
        NotInIdentity("where actors run; each must arrive at the same identity on its node"),
    ] = field(default_factory=Cluster)
    track: Annotated[
        tuple[str, ...],
        Option(
            metavar="NAME",
            help="Send figures to wandb, trackio, mlflow, or your own package.module:Class. Repeatable.",
        ),
        Typed(list[str] | None, list, lambda texts: tuple(dict.fromkeys(_listed(texts or ())))),
        NotInIdentity("who receives the figures"),
    ] = ()
    saving: Annotated[
        "Saving",
        FromOptions(
            _saving, lambda saving: {"save_predictions": saving.predictions, "save_proposals": saving.proposals}
        ),
        NotInIdentity("files next to the records; no figure depends on them"),
    ] = field(default_factory=_saving)

    def __post_init__(self) -> None:
        for name in ("data_root", "out"):  # texts, too
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, expanded(path))
        for name in ("weights", "names"):
            if isinstance(path := getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(path))


@dataclass(frozen=True)
class CarOptions:
    """The model for user-supplied images. profile: None for the released one, or the paper's with the miniature."""

    weights: _Weights = None
    profile: Annotated[
        Profile | None, Option(help="Preset of all switches. [default: released; with the miniature: paper]")
    ] = None
    settings: _Settings = field(default_factory=dict)
    mode: Annotated[Mode, Option(help="semantic: one label per pixel. referring: all phrases describe one object.")] = (
        "semantic"
    )
    device: Annotated[
        str, Option(help="auto (cuda, else mps if it agrees with the CPU, else cpu), cpu, cuda, cuda:1, ..., mps.")
    ] = "auto"
    max_pixels: _MaxPixels = None


PANELS = {
    "What to run": ("benchmark", "data_root", "weights", "method", "split", "source", "limit", "shard"),
    "Your own data": ("places",),
    "What it changes": ("profile", "settings", "protocol", "names", "metrics", "precision", "mode"),
    "Where it goes": ("out", "fresh", "track", "saving"),
    "Speed": (
        *("device", "processes", "batch_size", "workers", "refine_workers", "sample_timeout", "max_pixels"),
        *("engine", "cluster"),
    ),
}
"""Help panel for each field's options."""


def marks(model: type, kind: type[Any]) -> dict[str, Any]:
    """The mark of this kind of each field of a model that has one."""
    found = ((each.name, mark) for each in fields(model) for mark in getattr(each.type, "__metadata__", ()))
    return {name: mark for name, mark in found if isinstance(mark, kind)}


def sets_figures(name: str) -> bool:
    """Whether the figures of a run depend on this field of `RunOptions`."""
    mark = marks(RunOptions, NotInIdentity).get(name)
    return mark is None or mark.by_content


def is_kept(name: str) -> bool:
    """Whether run.json keeps a field of a request."""
    mark = marks(RunOptions, NotInIdentity).get(name)
    return name in _KEPT or (sets_figures(name) and not (mark and mark.by_content))


@functools.cache  # commands share their options
def options_by_field(model: type) -> dict[str, dict[str, inspect.Parameter]]:
    """The options that each field of a model is made of, as typer takes them; none for a field of the library only."""
    typed, joined, found = marks(model, Typed), marks(model, FromOptions), {}
    panel_of = {name: panel for panel, names in PANELS.items() for name in names}
    for own in fields(model):
        if own.name in joined:
            parameters = list(inspect.signature(joined[own.name].join).parameters.values())
        else:
            default = own.default if own.default_factory is MISSING else own.default_factory()
            default = inspect.Parameter.empty if default is MISSING else default
            option = inspect.Parameter(own.name, _KEYWORD, default=default, annotation=own.type)
            if mark := typed.get(own.name):
                default = mark.split(default) if default else None
                option = option.replace(default=default, annotation=Annotated[mark.kind, info_of(option)])
            parameters = [option]
        found[own.name] = {
            each.name: each.replace(kind=_KEYWORD)
            for each in parameters
            if any(isinstance(mark, ParameterInfo) for mark in getattr(each.annotation, "__metadata__", ()))
        }
        for each in found[own.name].values():
            info_of(each).rich_help_panel = panel_of.get(own.name)
    return found


def info_of(option: inspect.Parameter) -> ParameterInfo:
    """Typer's description of an option."""
    info: ParameterInfo = next(mark for mark in option.annotation.__metadata__ if isinstance(mark, ParameterInfo))
    return info


def fields_of(model: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model that are made of these options, each value under the name of its parameter."""
    typed, joined, given = marks(model, Typed), marks(model, FromOptions), {}
    for name, group in options_by_field(model).items():
        if name in joined and group.keys() & values.keys():
            join = joined[name].join
            given[name] = join(**{each: values[each] for each in inspect.signature(join).parameters if each in values})
        elif name not in joined and name in values:
            given[name] = typed[name].join(values[name]) if name in typed else values[name]
    return given


def by_option(model: type, name: str, value: Any) -> Mapping[str, Any]:
    """The value of a model's field as those of its options; the inverse of `fields_of`."""
    if mark := marks(model, FromOptions).get(name):
        options: Mapping[str, Any] = mark.split(value)
        return options
    typed = marks(model, Typed).get(name)
    return {name: typed.split(value) if typed else value}
