"""``car report``: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.cli.model_options import takes
from evaluation.request.options import USER_DATA, RunOptions
from support.console import say, tell


@takes(
    RunOptions,
    *USER_DATA,
    *("data_root", "weights", "proposal_weights", "classifier_weights", "split", "device"),
    data_root=typer.Option(help="Data set of the run, for the gallery. [default: the miniature's, for its runs]"),
    weights=typer.Option(help="CLIP weights of both models. [default: those the run names]"),
    split=typer.Option(help="File of ids, if the run was made with one."),
)
def report_command(
    *,
    run: Annotated[Path, typer.Argument(metavar="RUN|DIR", help="Run directory, or a folder of many.")],
    given: dict[str, Any],
    samples: Annotated[int, typer.Option(min=0, help="Number of best, of worst and of random samples to show.")] = 4,
    gallery: Annotated[
        bool,
        typer.Option(
            "--gallery",
            help="Show samples; loads the models and code that the run names, even if the run is not yours.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="HTML file, or a folder for many runs. [default: RUN/report.html, DIR/report]"
        ),
    ] = None,
) -> None:
    """Write one HTML page of a run: figures, classes, confusions, time, switches, samples.

    The gallery's samples are segmented again and compared with their records. It needs --data-root, or the options for
    your own data, and --gallery or --weights: by itself a report loads nothing but the miniature. Of a folder with many
    runs: an index with figures and trends, and a report of each, with samples only if --gallery is given.
    """
    from car_core.names import check_device_name
    from evaluation.request.user_data import data_options, kind_of, resolve_data
    from results.run_directory.suite import read_run

    is_folder = run.is_dir() and not (run / "run.json").exists()
    if not is_folder:
        read_run(run)
    check_device_name(given["device"])
    from evaluation.analysis.report import GalleryOptions, names_models, report, report_folder  # torch
    from evaluation.run.rerun import is_embedded_run

    is_named = given["data_root"] is not None or any(given["places"].values())

    def shown_of(run: Path) -> GalleryOptions | None:
        options, header = dict(given), read_run(run)
        kind = kind_of(header.benchmark)
        if is_named:
            data = resolve_data(kind, given["data_root"], given["places"])
            options["places"] = data["places"]
        if samples and not (is_named or is_embedded_run(header)):
            tell(f"notice: no samples are shown, because the run's data was not given: {data_options(kind)}")
        elif samples and (models := names_models(header, given["weights"])) and not gallery:
            tell(f"notice: no samples are shown, because that would load what the run names, {models}; use --gallery")
        elif samples:
            return GalleryOptions(**options, count=samples)
        return None

    if is_folder:
        say(str(report_folder(run, shown_of if gallery else lambda run: None, out=out)))
    else:
        say(str(report(run, shown_of(run), out=out)))
