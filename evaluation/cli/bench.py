"""``car bench``: how fast the method runs on this machine."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from evaluation.cli.exit_status import one_line_errors
from evaluation.cli.options import DeviceOption, PrecisionName, PrecisionOption, ProfileName
from support.console import tell


class SizeName(str, Enum):
    """Models to measure."""

    mini = "mini"
    full = "full"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench_command)


def bench_command(
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE]...", exists=True, dir_okay=False, help="[default: made]")
    ] = None,
    sizes: Annotated[
        SizeName, typer.Option(help="mini: the embedded models. full: ViT-B/16 and ViT-L/14 with random weights.")
    ] = SizeName.mini,
    n_images: Annotated[int, typer.Option(min=1, help="Images of a run, at most those named.")] = 4,
    queries: Annotated[int, typer.Option(min=1, max=20, help="Queries an image.")] = 20,
    profile: Annotated[ProfileName, typer.Option(help="Source of the switches.")] = ProfileName.released,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each measurement after a first that is left out.")] = 3,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Repeatable. [default: 1 and 4]")] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="Repeatable. [default: 1 and 2]")] = None,
    later_steps: Annotated[bool, typer.Option(help="Also measure the steps behind the first.")] = True,
    baseline: Annotated[
        bool, typer.Option(help="Also run the released code's order of work, many times slower; float32 alone.")
    ] = True,
    baseline_templates: Annotated[
        int | None, typer.Option(min=1, help="Templates of that comparison. [default: all]")
    ] = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = PrecisionName.float32,
    out: Annotated[Path, typer.Option(help="Folder of bench.json and bench.md.")] = Path("results/bench"),
    plot: Annotated[bool, typer.Option("--plot", help="Also bench.png; needs car-eval[plot].")] = False,
) -> None:
    """Measure stages, encoders against the machine's own matrix products, memory, and the released order of work.

    Stages are those of one process, one after the other; the whole engine has decoding and refinement beside the model.
    """
    with one_line_errors():
        from car_core.models.names import check_device_name
        from evaluation.request.checks import check_out

        check_out(out)
        check_device_name(device)
        from evaluation.bench.measure import BenchRequest
        from evaluation.bench.report import as_markdown, bench, save_figure
        from support.files import write_atomically
        from support.strict_json import dumps

        if plot:
            _require_matplotlib()
        request = BenchRequest(
            size=sizes.value,
            device=device,
            precision=precision.value,
            images=images or (),
            n_images=n_images,
            n_queries=queries,
            profile=profile.value,
            repeats=repeats,
            batch_sizes=batch_size or (1, 4),
            threads=threads or (1, 2),
            later_steps=later_steps,
            baseline=baseline,
            baseline_templates=baseline_templates,
        )
        document = bench(request)
        table = as_markdown(document)
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "bench.json", dumps(document.as_json()) + "\n")
        write_atomically(out / "bench.md", table)
        if plot:
            save_figure(document, out / "bench.png")
        typer.echo(table, nl=False)
    tell(f"Written to {out}")


def _require_matplotlib() -> None:
    """Before hours of measuring, not after."""
    from importlib.util import find_spec

    from evaluation.request.benchmark import BenchmarkError

    if find_spec("matplotlib") is None:
        raise BenchmarkError("plot: expected matplotlib, found none; install car-eval[plot]")
