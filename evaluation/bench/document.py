"""``car bench`` as one document, its tables in Markdown and a figure of stages and encoder speeds."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from evaluation.bench import measure
from evaluation.bench.host import host_costs
from evaluation.bench.schema import BenchDocument, BenchRequest, BenchScaling
from evaluation.run.environment import environment


def bench(request: BenchRequest) -> BenchDocument:
    """Measure everything requested. Raises as `measure.load_fixture`.

    Only the scaling is measured for every value of `threads` and `batch_sizes`: the rest uses the last number of
    threads and the largest batch size.
    """
    before, repeats, batch_size = torch.get_num_threads(), request.repeats, max(request.batch_sizes)
    fixture = measure.load_fixture(request)
    scaling = []
    try:
        for threads in request.threads if fixture.car.device.type == "cpu" else (before,):
            torch.set_num_threads(threads)
            peak, encoders = measure.encoder_speeds(fixture, repeats=repeats)
            runs = {
                str(size): measure.pipeline(fixture, repeats=repeats, batch_size=size) for size in request.batch_sizes
            }
            scaling.append(
                BenchScaling(threads=threads, matrix_product_gflop_per_second=peak, encoders=encoders, batch_sizes=runs)
            )
        baseline = request.baseline and request.precision == "float32"
        names = [Path(image).name for image in request.images]
        return BenchDocument(
            schema_version=2,
            options=request.model_copy(update={"images": names}),
            environment=environment([request.device], precision=request.precision),
            scaling=scaling,
            engine=measure.whole_engine(fixture, repeats=repeats, batch_size=batch_size),
            crf=measure.crf_speeds(fixture, repeats=repeats),
            load_seconds=fixture.load_seconds,
            memory=measure.memory(request, batch_size=batch_size),
            later_steps=measure.later_steps(fixture, repeats=repeats) if request.later_steps else None,
            released_order=measure.released_order(fixture, request.baseline_templates) if baseline else None,
            host=host_costs(fixture, request.threads, repeats=repeats) if request.host else None,
        )
    finally:
        torch.set_num_threads(before)


def as_markdown(document: BenchDocument) -> str:
    """The document's figures as tables and a list."""
    parts: list[list[str]] = []
    for entry in document.scaling:
        peak = entry.matrix_product_gflop_per_second
        parts.append(
            [
                f"Encoders, {entry.threads} threads; matrix product in {document.environment.dtype} {peak:.0f} GFLOP "
                "per second of processor time",
                "",
                "| encoder | GFLOP | seconds | spread | GFLOP/s | of the matrix product |",
                "| --- | ---: | ---: | ---: | ---: | ---: |",
                *(
                    f"| {speed.name} | {speed.gflop:.1f} | {speed.seconds:.3f} | {speed.spread:.0%} | "
                    f"{speed.gflop_per_second:.0f} | {speed.share_of_peak:.0%} |"
                    for speed in entry.encoders
                ),
            ]
        )
        for size, run in entry.batch_sizes.items():
            total = math.fsum(run.stages.values())
            parts.append(
                [
                    f"Whole images stage by stage in one process, {entry.threads} threads, batch size {size}: "
                    f"{run.images_per_second:.3g} images/s, spread {run.spread:.0%}; "
                    f"encoders {run.encoders_share:.1%} of the time",
                    "",
                    "| stage | seconds per image | share |",
                    "| --- | ---: | ---: |",
                    *(f"| {stage} | {seconds:.3f} | {seconds / total:.1%} |" for stage, seconds in run.stages.items()),
                ]
            )
    runs = [(entry.threads, size, run) for entry in document.scaling for size, run in entry.batch_sizes.items()]
    first = runs[0][2].images_per_second
    parts.append(
        [
            "| threads | batch size | images/s | times the first |",
            "| ---: | ---: | ---: | ---: |",
            *(
                f"| {threads} | {size} | {run.images_per_second:.3g} | {run.images_per_second / first:.2f} |"
                for threads, size, run in runs
            ),
        ]
    )
    parts.extend(
        [
            f"Besides the encoders, {host.threads} threads, {host.survivors:.3g} survivors per image: the main "
            f"process could do {host.images_per_second:.3g} images/s ({1000 * host.main_seconds:.1f} ms each, "
            f"{1000 * host.gpu_main_seconds:.1f} ms where a GPU resizes the prompted images); "
            f"all processes {host.all_seconds:.3f} s of processor time per image",
            "",
            "| stage | processor seconds per image |",
            "| --- | ---: |",
            *(f"| {stage} | {seconds:.4f} |" for stage, seconds in host.stages.items()),
        ]
        for host in document.host or ()
    )
    engine, crf, memory = document.engine, document.crf, document.memory
    device = f", device peak {memory.device_peak_mib:.0f} MiB" if memory.device_peak_mib is not None else ""
    facts = [
        f"- whole engine, as `car eval` runs it: {engine.images_per_second:.3g} images/s ({engine.images} images, "
        f"batch size {engine.batch_size}; processes alongside the model: {engine.decoding_processes} decode, "
        f"{engine.refining_processes} refine)",
        f"- CRF of {crf.labels} labels: torch {crf.torch_seconds:.3f} s on the models' device, pydensecrf "
        + (
            "not installed"
            if crf.pydensecrf_seconds is None
            else f"{crf.pydensecrf_seconds:.3f} s on one core; the same label on {crf.same_label:.2%} of the pixels"
        ),
        f"- models loaded in {document.load_seconds:.2f} s",
        f"- memory of a process that does nothing else: host peak {memory.host_peak_mib or 0:.0f} MiB{device} "
        f"({memory.images} images, batch size {memory.batch_size})",
    ]
    if later := document.later_steps:
        facts.append(
            f"- proposals: first step {later.first_step_seconds:.3f} s, trunk included, "
            f"later steps {later.later_steps_seconds:.3f} s ({later.later_over_first:.1%} of the first)"
        )
    if released := document.released_order:
        difference = released.largest_mask_difference
        facts.append(
            f"- released order of work, {released.queries} queries, {released.templates} templates, "
            f"{released.steps} steps: {released.released_order_seconds:.2f} s against {released.seconds:.2f} s, "
            f"{released.times_faster:.1f} times ({released.times_faster_on_first_image:.1f} times a run's first "
            f"image, with its texts); survivors {'the same' if released.same_survivors else 'differ'}"
            + (f", largest mask difference {difference:.1e}" if difference is not None else "")
        )
    return "\n\n".join("\n".join(part) for part in [*parts, facts]) + "\n"


def save_figure(document: BenchDocument, path: Path) -> None:
    """Bars of seconds by stage, and the encoders below the line of the matrix product. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    bars, roof = figure.subplots(1, 2)
    for entry in document.scaling:
        for size, run in entry.batch_sizes.items():
            left = 0.0
            for number, (stage, seconds) in enumerate(sorted(run.stages.items())):
                name = f"{entry.threads} threads, batch {size}"
                bars.barh(name, seconds, left=left, color=f"C{number}", label=stage)
                left += seconds
        names = [f"{speed.name}\n{entry.threads} threads" for speed in entry.encoders]
        roof.bar(names, [100 * speed.share_of_peak for speed in entry.encoders])
    bars.set_xlabel("seconds per image")
    handles, labels = bars.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    bars.legend(unique.values(), unique.keys(), fontsize="small")
    roof.axhline(100, color="black", linestyle="--")
    roof.set_ylabel("% of the measured matrix product")
    figure.savefig(path)
