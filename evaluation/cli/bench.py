"""``car bench``: how fast the method runs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evaluation.cli.model_options import takes
from evaluation.request.options import RunOptions
from support.choices import Profile
from support.console import tell


@takes(RunOptions, "device", "precision", device="cpu")
def bench_command(
    *,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE]...", exists=True, dir_okay=False, help="[default: synthetic images]"),
    ] = None,
    sizes: Annotated[
        Literal["mini", "full"],
        typer.Option(help="mini: the embedded models. full: ViT-B/16 and ViT-L/14 with random weights."),
    ] = "mini",
    n_images: Annotated[int, typer.Option(min=1, help="Images per run, at most the given ones.")] = 4,
    queries: Annotated[int, typer.Option(min=1, max=20, help="Queries per image.")] = 20,
    profile: Annotated[Profile, typer.Option(help="Preset of all switches.")] = "released",
    repeats: Annotated[int, typer.Option(min=1, help="Timed repeats of each measurement, after one warm-up.")] = 3,
    batch_size: Annotated[
        list[int] | None, typer.Option(min=1, help="Batch size. Repeatable. [default: 1 and 4]")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="Number of threads. Repeatable. [default: 1 and 2]")
    ] = None,
    later_steps: Annotated[bool, typer.Option(help="Also measure the steps after the first.")] = True,
    baseline: Annotated[
        bool,
        typer.Option(help="Also measure the released code's order of work, which is many times slower (float32 only)."),
    ] = True,
    baseline_templates: Annotated[
        int | None, typer.Option(min=1, help="Templates of that comparison. [default: all]")
    ] = None,
    host: Annotated[
        bool, typer.Option("--host", help="Also measure the processor time of an image outside the encoders.")
    ] = False,
    given: dict[str, Any],
    out: Annotated[Path, typer.Option(help="Folder for bench.json and bench.md.")] = Path("results/bench"),
    plot: Annotated[bool, typer.Option("--plot", help="Also write bench.png; needs car-eval[plot].")] = False,
) -> None:
    """Measure the speed and memory of the method on this machine.

    Measures each stage, the encoders relative to plain matrix products, and the released code's order of work. Stages
    run one after the other here; a run of `car eval` decodes and refines alongside the model.
    """
    from car_core.names import check_device_name
    from evaluation.request.benchmark import BenchmarkError
    from evaluation.request.resolve import check_out

    check_out(out)
    check_device_name(given["device"])
    from evaluation.bench.document import as_markdown, bench, save_figure
    from evaluation.bench.schema import BenchRequest
    from support.files import write_atomically
    from support.strict_json import dumps

    if plot:
        from importlib.util import find_spec

        if find_spec("matplotlib") is None:  # before hours of measuring, not after
            raise BenchmarkError("--plot needs matplotlib: pip install 'car-eval[plot]'")
    request = BenchRequest(
        size=sizes,
        **given,
        images=[str(image) for image in images or ()],
        n_images=n_images,
        n_queries=queries,
        profile=profile,
        repeats=repeats,
        batch_sizes=batch_size or [1, 4],
        threads=threads or [1, 2],
        later_steps=later_steps,
        baseline=baseline,
        baseline_templates=baseline_templates,
        host=host,
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
