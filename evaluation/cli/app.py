"""``car``: a thin shell over functions that a notebook can call. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.cli import bench, check, compare, data, merge, report, segment, serve, suite, sweep, table
from evaluation.cli.exit_status import SHOW_TRACEBACKS, exit_if_failed, one_line_errors
from evaluation.cli.options import (
    ActorCpusOption,
    ActorGpusOption,
    ActorsOption,
    AddressOption,
    AllowFailuresOption,
    BatchSizeOption,
    ClassesOption,
    ClassifierWeightsOption,
    DeviceOption,
    EngineName,
    EngineOption,
    FreshOption,
    HfConfigOption,
    HfOption,
    ImageColumnOption,
    ImagesOption,
    LimitOption,
    MaskColumnOption,
    MasksOption,
    MaxPixelsOption,
    MethodOption,
    NamesName,
    NamesOption,
    PrecisionName,
    PrecisionOption,
    ProfileOption,
    ProposalWeightsOption,
    ProtocolOption,
    RefineWorkersOption,
    SamOption,
    SavePredictionsOption,
    SaveProposalsOption,
    SettingsOption,
    SourceOption,
    SplitOption,
    TimeoutOption,
    WeightsOption,
    WorkersOption,
    own_places,
    weights_by_role,
    with_sam,
)
from evaluation.cli.switch_hint import Commands
from evaluation.cli.terminal import show_run
from support.console import tell, tell_log

app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"car-eval {version('car-eval')}")
        raise typer.Exit


@app.callback()
def car(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a mistake, not one line.")] = False,
) -> None:
    """CaR ("CLIP as RNN"): training-free segmentation of any phrase, and its benchmarks."""
    SHOW_TRACEBACKS.set(debug)
    tell_log()


@app.command("eval")
def eval_command(
    benchmark: Annotated[
        str | None, typer.Argument(help="Benchmark, e.g. voc21, coco-object, refcoco-val; none for data of your own.")
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder of the data set in its official layout. [default: data, else the miniature's]"),
    ] = None,
    images: ImagesOption = None,
    masks: MasksOption = None,
    classes: ClassesOption = None,
    hf: HfOption = None,
    hf_config: HfConfigOption = None,
    image_column: ImageColumnOption = None,
    mask_column: MaskColumnOption = None,
    weights: WeightsOption = None,
    proposal_weights: ProposalWeightsOption = None,
    classifier_weights: ClassifierWeightsOption = None,
    method: MethodOption = "car",
    profile: ProfileOption = None,
    sam: SamOption = None,
    set_: SettingsOption = None,
    split: SplitOption = None,
    source: SourceOption = None,
    protocol: ProtocolOption = None,
    names: NamesOption = NamesName.released,
    limit: LimitOption = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Evaluate part I of N only; car merge joins the parts.")
    ] = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = PrecisionName.float32,
    out: Annotated[
        Path | None, typer.Option(help="Run directory. [default: results/runs/BENCHMARK-PROFILE-IDENTITY]")
    ] = None,
    batch_size: BatchSizeOption = 4,
    workers: WorkersOption = 2,
    refine_workers: RefineWorkersOption = None,
    sample_timeout: TimeoutOption = 300.0,
    max_pixels: MaxPixelsOption = None,
    engine: EngineOption = EngineName.local,
    address: AddressOption = None,
    actors: ActorsOption = None,
    actor_cpus: ActorCpusOption = 1.0,
    actor_gpus: ActorGpusOption = None,
    save_predictions: SavePredictionsOption = None,
    save_proposals: SaveProposalsOption = False,
    fresh: FreshOption = False,
    allow_failures: AllowFailuresOption = False,
    json: Annotated[bool, typer.Option("--json", help="Print run.json instead of the tables.")] = False,
) -> None:
    """Run a benchmark and print its figures beside the paper's.

    Exit status: 0, 1 if the run broke off (disk full), 2 for a set-up mistake, 3 if samples failed, 130 or 143 if
    interrupted. The same command goes on with what is finished.
    """
    with one_line_errors():
        from evaluation.request.benchmark import ALL, parse_protocol, parse_settings
        from evaluation.request.checks import check_request
        from evaluation.request.user_data import resolve_data
        from evaluation.run.merge import parse_shard

        own = own_places(images, masks, classes, hf, hf_config, image_column, mask_column)
        request: dict[str, Any] = {
            **vars(resolve_data(benchmark, data_root, own)),
            "weights": weights_by_role(weights, proposal_weights, classifier_weights),
            "method": method,
            "profile": profile.value if profile else None,
            "settings": parse_settings(with_sam(set_, sam)),
            "split": split,
            "source": source,
            "protocol": parse_protocol(protocol or []),
            "limit": limit,
            "out": out,
            "device": device,
        }
        part = parse_shard(shard) if shard else None
        check_request(**request)
        from evaluation.engines.ray import Cluster  # torch: seconds
        from evaluation.run.prepare import RunOptions
        from evaluation.run.runner import evaluate
        from evaluation.suites.runner import run_methods
        from evaluation.tasks.artifacts import Saving

        options = RunOptions(
            **request,
            names=names.value,
            shard=part,
            precision=precision.value,
            batch_size=batch_size,
            workers=workers,
            refine_workers=refine_workers,
            sample_timeout=sample_timeout or None,
            max_pixels=max_pixels,
            engine=engine.value,
            cluster=Cluster(address, actors, actor_cpus, float(device == "cuda") if actor_gpus is None else actor_gpus),
            saving=Saving(save_predictions.value if save_predictions else None, save_proposals),
            fresh=fresh,
        )
        done = run_methods(options) if method == ALL else evaluate(options)
        _show(done.path, "suite.json" if method == ALL else "run.json", json=json)
    tell(f"Run directory: {done.path}")
    exit_if_failed(done.all_runs, allow=allow_failures)


def _show(path: Path, file: str, *, json: bool) -> None:
    """Print the file that describes a run or a suite, or its tables."""
    if json:
        typer.echo((path / file).read_text(encoding="utf-8"), nl=False)
    else:
        show_run(path)


table.register(app)
bench.register(app)
check.register(app)
data.register(app)
suite.register(app)
sweep.register(app)
merge.register(app)
segment.register(app)
compare.register(app)
report.register(app)
serve.register(app)


def main() -> None:
    """Entry point of ``car``."""
    # Read when torch is loaded. Threads that wait spin by default: that made a run beside other work several times
    # slower, and alone it wins nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app(prog_name="car", windows_expand_args=False)


if __name__ == "__main__":
    main()
