"""``car bench`` as one document, its table in Markdown and a picture of stages and roof."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from evaluation.bench import measure
from evaluation.bench.engine import whole_engine
from evaluation.run.identity import environment


@dataclass(frozen=True)
class BenchOptions:
    """What is asked for. wanted: models, images, queries. baseline: also the released order of work, in float32.

    later_steps: also the cost of the steps behind the first. baseline_templates: of that comparison; None for all.
    """

    wanted: measure.Wanted = field(default_factory=measure.Wanted)
    repeats: int = 3
    batch_sizes: Sequence[int] = (1, 4)
    threads: Sequence[int] = (1, 2)
    later_steps: bool = True
    baseline: bool = True
    baseline_templates: int | None = None


def bench(options: BenchOptions) -> dict[str, Any]:
    """Measure everything that is asked for; JSON-ready. Raises as `measure.subject`.

    Only `threads` and `batch_sizes` are measured for each of their values: what follows has the last of the threads.
    """
    before, wanted = torch.get_num_threads(), options.wanted
    subject = measure.subject(wanted)
    try:
        document = {
            "schema_version": 2,
            "options": _as_json(options),
            "environment": environment(wanted.device, precision=wanted.precision).model_dump(mode="json"),
            "scaling": list(_scaling(subject, options)),
            "engine": whole_engine(subject, repeats=options.repeats, batch_size=max(options.batch_sizes)),
            "crf": measure.crf_speeds(subject, repeats=options.repeats),
            "load_seconds": subject.load_seconds,
            "memory": measure.memory(wanted, batch_size=max(options.batch_sizes)),
        }
        if options.later_steps:
            document["later_steps"] = measure.later_steps(subject, repeats=options.repeats)
        if options.baseline and wanted.precision == "float32":
            document["released_order"] = measure.released_order(subject, options.baseline_templates)
    finally:
        torch.set_num_threads(before)
    return document


def _as_json(options: BenchOptions) -> dict[str, Any]:
    own = asdict(options)
    wanted = own.pop("wanted")
    return {**wanted, **own, "images": [path.name for path in options.wanted.images]}


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
    dtype = document["environment"]["dtype"]
    for entry in document["scaling"]:
        yield _encoder_table(entry, dtype)
        for size, run in entry["batch_sizes"].items():
            yield _stage_table(entry["threads"], size, run)
    yield _scaling_table(document["scaling"])
    yield [line for name, facts in _FACTS.items() if name in document for line in facts(document[name])]


def _encoder_table(entry: Mapping[str, Any], dtype: str) -> list[str]:
    peak = entry["matrix_product_gflop_per_second"]
    return [
        f"Encoders, {entry['threads']} threads; matrix product in {dtype} {peak:.0f} GFLOP a second of processor time",
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
        f"Whole images stage by stage in one process, {threads} threads, batch size {batch_size}: "
        f"{run['images_per_second']:.3g} images/s, spread {run['spread']:.0%}; "
        f"encoders {run['encoders_share']:.1%} of the time",
        "",
        "| stage | seconds an image | share |",
        "| --- | ---: | ---: |",
        *(f"| {stage} | {seconds:.3f} | {seconds / total:.1%} |" for stage, seconds in run["stages"].items()),
    ]


def _scaling_table(scaling: Sequence[Mapping[str, Any]]) -> list[str]:
    slowest = next(iter(scaling[0]["batch_sizes"].values()))["images_per_second"]
    return [
        "| threads | batch size | images/s | times the first |",
        "| ---: | ---: | ---: | ---: |",
        *(
            f"| {entry['threads']} | {size} | {run['images_per_second']:.3g} | "
            f"{run['images_per_second'] / slowest:.2f} |"
            for entry in scaling
            for size, run in entry["batch_sizes"].items()
        ),
    ]


def _engine_facts(engine: Mapping[str, Any]) -> list[str]:
    return [
        f"- whole engine, as `car eval` runs it: {engine['images_per_second']:.3g} images/s "
        f"({engine['images']} images, batch size {engine['batch_size']}; processes beside the model: "
        f"{engine['decoding_processes']} decode, {engine['refining_processes']} refine)"
    ]


def _crf_facts(crf: Mapping[str, Any]) -> list[str]:
    return [
        f"- CRF of {crf['labels']} labels: pydensecrf {crf['pydensecrf_seconds']:.3f} s on one core, torch "
        f"{crf['torch_seconds']:.3f} s on the models' device; the same label on {crf['same_label']:.2%} of the pixels"
    ]


def _load_facts(seconds: float) -> list[str]:
    return [f"- models loaded in {seconds:.2f} s"]


def _memory_facts(memory: Mapping[str, Any]) -> list[str]:
    device = memory["device_peak_mib"]
    return [
        f"- memory of a process that does nothing else: host peak {memory['host_peak_mib'] or 0:.0f} MiB"
        + (f", device peak {device:.0f} MiB" if device is not None else "")
        + f" ({memory['images']} images, batch size {memory['batch_size']})"
    ]


def _later_facts(later: Mapping[str, float]) -> list[str]:
    return [
        f"- proposals: first step {later['first_step_seconds']:.3f} s, trunk included, "
        f"later steps {later['later_steps_seconds']:.3f} s ({later['later_over_first']:.1%} of the first)"
    ]


def _released_facts(released: Mapping[str, Any]) -> list[str]:
    difference = released["largest_mask_difference"]
    return [
        f"- released order of work, {released['queries']} queries, {released['templates']} templates, "
        f"{released['steps']} steps: {released['released_order_seconds']:.2f} s against {released['seconds']:.2f} s, "
        f"{released['times_faster']:.1f} times ({released['times_faster_on_first_image']:.1f} times a run's first "
        f"image, with its texts); survivors {'the same' if released['same_survivors'] else 'differ'}"
        + (f", largest mask difference {difference:.1e}" if difference is not None else "")
    ]


_FACTS: Mapping[str, Callable[[Any], list[str]]] = {
    "engine": _engine_facts,
    "crf": _crf_facts,
    "load_seconds": _load_facts,
    "memory": _memory_facts,
    "later_steps": _later_facts,
    "released_order": _released_facts,
}


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
