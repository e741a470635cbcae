"""``car report``: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.cli import options
from evaluation.cli.exit_status import one_line_errors
from support.console import say, tell


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report_command)


def report_command(
    run: options.RunArgument,
    data_root: Annotated[
        Path | None, typer.Option(help="Data set of the run, for the gallery. [default: the miniature's, for its runs]")
    ] = None,
    images: options.ImagesOption = None,
    masks: options.MasksOption = None,
    classes: options.ClassesOption = None,
    hf: options.HfOption = None,
    hf_config: options.HfConfigOption = None,
    image_column: options.ImageColumnOption = None,
    mask_column: options.MaskColumnOption = None,
    samples: Annotated[int, typer.Option(min=0, help="Best, worst and random samples to show, so many of each.")] = 4,
    weights: options.RunWeightsOption = None,
    proposal_weights: options.ProposalWeightsOption = None,
    classifier_weights: options.ClassifierWeightsOption = None,
    split: Annotated[str | None, typer.Option(help="File of ids, if the run was made with one.")] = None,
    device: options.DeviceOption = "cpu",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML file. [default: RUN/report.html]")] = None,
) -> None:
    """Write one HTML file that shows a run: figures, classes, confusions, time, switches, samples.

    The gallery's samples are segmented again and held against their records; without --data-root, or the
    options of data of your own, there is none.
    """
    with one_line_errors():
        from car_core.models.names import check_device_name
        from evaluation.request.user_data import resolve_places
        from results import RunDirectory, StoreError, is_suite, run_paths

        if is_suite(run):
            known = ", ".join(map(str, run_paths(run).values())) or "its own, of which none is finished"
            raise StoreError(f"{run} holds several runs: name one of {known}")
        RunDirectory(run).read_header()
        check_device_name(device)
        from evaluation.analysis.report import GalleryOptions, benchmark_of, is_embedded_run, report  # torch: seconds

        own = options.own_places(images, masks, classes, hf, hf_config, image_column, mask_column)
        places = resolve_places(benchmark_of(run), data_root, own)
        gallery = None
        if samples and (data_root or places or is_embedded_run(run)):
            by_role = options.weights_by_role(weights, proposal_weights, classifier_weights)
            gallery = GalleryOptions(data_root, by_role, split, device, samples, places)
        elif samples:
            tell("notice: no samples are shown, as the data of the run was not named; the page says by which options")
        path = report(run, gallery, out=out)
    say(str(path))
