"""``car bench`` as one document, its table in Markdown and a picture of stages and roof."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from car_core.config import Profile
from evaluation.bench import measure
from evaluation.identity import environment


@dataclass(frozen=True)
class BenchOptions:
    """What is asked for. images: files; none: made pictures. baseline: also the released order of work."""

    size: str = "mini"
    device: str = "cpu"
    images: Sequence[Path] = ()
    n_images: int = 4
    n_queries: int = 20
    profile: Profile = "released"
    repeats: int = 3
    batch_sizes: Sequence[int] = (1, 4)
    threads: Sequence[int] = (1, 2)
    baseline: bool = True


def bench(options: BenchOptions) -> dict[str, Any]:
    """Measure everything that is asked for; JSON-ready. Raises ModelError for a device that is not here."""
    before = torch.get_num_threads()
    subject = measure.subject(
        options.size, options.device, options.images, options.n_images, options.n_queries, options.profile
    )
    try:
        scaling = list(_scaling(subject, options))
    finally:
        torch.set_num_threads(before)
    document = {
        "schema_version": 1,
        "options": {**asdict(options), "images": [path.name for path in options.images]},
        "environment": environment(options.device).model_dump(mode="json"),
        "scaling": scaling,
        "later_steps": measure.later_steps(subject, repeats=options.repeats),
        # Before the baseline, whose passes are not ours.
        "memory": measure.memory(subject.car.device),
    }
    if options.baseline:
        document["released_order"] = measure.released_order(subject)
    return document


def _scaling(subject: measure.Subject, options: BenchOptions) -> Iterable[dict[str, Any]]:
    """Encoders and whole images at every number of threads and batch size."""
    for threads in options.threads if subject.car.device.type == "cpu" else (torch.get_num_threads(),):
        torch.set_num_threads(threads)
        peak, encoders = measure.encoder_speeds(subject, repeats=options.repeats)
        runs = {
            str(size): asdict(measure.pipeline(subject, repeats=options.repeats, batch_size=size))
            for size in options.batch_sizes
        }
        yield {
            "threads": threads,
            "matrix_product_gflop_per_second": peak,
            "encoders": [asdict(speed) for speed in encoders],
            "batch_sizes": runs,
        }


def as_markdown(document: Mapping[str, Any]) -> str:
    """The document's figures as tables."""
    return "\n\n".join(["\n".join(part) for part in _parts(document)]) + "\n"


def _parts(document: Mapping[str, Any]) -> Iterable[list[str]]:
    for entry in document["scaling"]:
        yield _encoder_table(entry)
        for size, run in entry["batch_sizes"].items():
            yield _stage_table(entry["threads"], size, run)
    yield _facts(document)


def _encoder_table(entry: Mapping[str, Any]) -> list[str]:
    peak = entry["matrix_product_gflop_per_second"]
    return [
        f"Encoders, {entry['threads']} threads; matrix product {peak:.0f} GFLOP a second of processor time",
        "",
        "| encoder | GFLOP | seconds | spread | GFLOP/s | of the matrix product |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {speed['name']} | {speed['gflop']:.1f} | {speed['seconds']:.3f} | {speed['spread']:.0%} | "
            f"{speed['gflop_per_second']:.0f} | {speed['share_of_peak']:.0%} |"
            for speed in entry["encoders"]
        ),
    ]


def _stage_table(threads: int, batch_size: str, run: Mapping[str, Any]) -> list[str]:
    total = sum(run["stages"].values())
    return [
        f"Whole images, {threads} threads, batch size {batch_size}: {run['images_per_second']:.3g} images/s, "
        f"spread {run['spread']:.0%}",
        "",
        "| stage | seconds an image | share |",
        "| --- | ---: | ---: |",
        *(f"| {stage} | {seconds:.3f} | {seconds / total:.1%} |" for stage, seconds in run["stages"].items()),
    ]


def _facts(document: Mapping[str, Any]) -> list[str]:
    later, memory, released = document["later_steps"], document["memory"], document.get("released_order")
    lines = [
        f"- proposals: first step {later['first_step_seconds']:.3f} s, "
        f"later steps {later['later_steps_seconds']:.3f} s ({later['later_over_first']:.1%} of the first)",
        f"- memory: host peak {memory['host_peak_mib'] or 0:.0f} MiB",
    ]
    if memory["device_peak_mib"] is not None:
        lines.append(f"- memory: device peak {memory['device_peak_mib']:.0f} MiB")
    if released:
        difference = released["largest_mask_difference"]
        lines.append(
            f"- released order of work, {released['queries']} queries, {released['templates']} templates: "
            f"{released['released_order_seconds']:.2f} s against {released['seconds']:.2f} s, "
            f"{released['times_faster']:.1f} times; survivors {'the same' if released['same_survivors'] else 'differ'}"
            + (f", largest mask difference {difference:.1e}" if difference is not None else "")
        )
    return lines


def save_figure(document: Mapping[str, Any], path: Path) -> None:
    """Bars of seconds by stage, and the encoders below the roof of the matrix product. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    bars, roof = figure.subplots(1, 2)
    for entry in document["scaling"]:
        for size, run in entry["batch_sizes"].items():
            _draw_stages(bars, f"{entry['threads']} threads, batch {size}", run["stages"])
        label = f"{entry['threads']} threads"
        names = [f"{e['name']}\n{label}" for e in entry["encoders"]]
        roof.bar(names, [100 * e["share_of_peak"] for e in entry["encoders"]])
    bars.set_xlabel("seconds an image")
    handles, labels = bars.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    bars.legend(unique.values(), unique.keys(), fontsize="small")
    roof.axhline(100, color="black", linestyle="--")
    roof.set_ylabel("% of the measured matrix product")
    figure.savefig(path)


def _draw_stages(axes: Any, name: str, stages: Mapping[str, float]) -> None:
    left = 0.0
    for number, (stage, seconds) in enumerate(sorted(stages.items())):
        axes.barh(name, seconds, left=left, color=f"C{number}", label=stage)
        left += seconds
