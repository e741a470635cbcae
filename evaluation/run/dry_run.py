"""What a run would do: everything is validated, and a few samples are measured, but nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

from car_core.engine.device import gpu_name
from evaluation.request.methods import CarMaker
from evaluation.request.options import RunOptions
from evaluation.request.words import words_of_request
from evaluation.run.dispatch import Work, shared_resources
from evaluation.run.prepare import Prepared, build_segmenter, prepare
from results import RunDirectory
from support.text import counted, duration, mebibytes

Measure: TypeAlias = Callable[[Prepared], tuple[float, float]]
_MOST_MEASURED = 3
_SECONDS = 20.0  # the measurement stops after this, with two samples at least


def measured(prepared: Prepared, *, clock: Callable[[], float] = time.perf_counter) -> tuple[float, float]:
    """Seconds and bytes of a record per sample, from the first few, in this process on the first device."""
    options, devices, segmenter = prepared.options, prepared.devices[:1], prepared.segmenter
    if len(prepared.devices) > 1:
        segmenter = build_segmenter(prepared, prepared.dataset, devices[0], options.precision)
    options = replace(options, batch_size=1, workers=0, engine="local")
    # The first sample warms up (texts, refining processes) and is left out, so a run of a single one borrows a second.
    selected = prepared.selected if len(prepared.selected) > 1 else prepared.dataset[:2]
    alone = replace(prepared, options=options, devices=devices, segmenter=segmenter, selected=selected)
    times, sizes = [clock()], []
    with shared_resources() as shared:
        with closing(Work.after({}, alone, prepared.scorer, shared).records()) as records:
            for record in islice(records, _MOST_MEASURED):
                times.append(clock())
                sizes.append(len(record.model_dump_json()))
                if len(sizes) > 1 and times[-1] - times[0] > _SECONDS:
                    break
        shared.stop.raise_if_asked()
    first = min(1, len(times) - 2)
    return (times[-1] - times[first]) / (len(times) - 1 - first), sum(sizes) / len(sizes)


def plan_lines(prepared: Prepared, *, measure: Measure = measured) -> Iterator[str]:
    """Samples, device, models, folder, expected time and size, a line each.

    Raises StoreError where the folder holds another run.
    """
    options, selected, folder, n_done = prepared.options, prepared.selected, prepared.folder, _n_done(prepared)
    yield f"run      {prepared.benchmark.name}, {options.method}, {len(selected)} of {len(prepared.dataset)} samples"
    yield f"data     {prepared.dataset.root}, split {prepared.dataset.split}"
    names = ", ".join(f"{each.role} {each.name}" for each in prepared.segmenter.weights)
    yield f"weights  {names or 'none'}"
    yield f"device   {', '.join(dict.fromkeys(map(gpu_name, prepared.devices)))}, {options.precision}"
    yield f"folder   {folder}{_in_words(n_done)}"
    seconds, n_bytes = measure(prepared)
    left = len(selected) - n_done
    share = seconds * left / len(set(prepared.devices))  # processes on one device share it
    yield f"time     about {duration(share)}, as measured: {seconds:.3g} s per sample after the start"
    yield f"size     about {mebibytes(n_bytes * left)} of records"
    if saved := options.saving.announcement(selected, folder):
        yield f"         {saved}"


def suite_plan_lines(
    runs: Mapping[str, RunOptions], make_car: CarMaker | None = None, *, measure: Measure = measured
) -> Iterator[str]:
    """A line per run by name, then samples, device, and the expected time and size of all.

    The first run of each benchmark and method stands for the others. make_car: as for `prepare`. Raises as
    `plan_lines`.
    """
    found: dict[tuple[str, str], tuple[float, float]] = {}
    n_left, seconds, n_bytes, devices = 0, 0.0, 0.0, dict[str, None]()
    for name, options in runs.items():
        prepared = prepare(options, make_car=make_car)
        n_samples, n_done = len(prepared.selected), _n_done(prepared)
        yield f"run      {name}: {counted(n_samples, 'sample')}, folder {prepared.folder}{_in_words(n_done)}"
        key = (prepared.benchmark.name, options.method)
        if n_done < n_samples and key not in found:
            found[key] = measure(prepared)
        if n_done < n_samples:
            n_left += n_samples - n_done
            seconds += found[key][0] * (n_samples - n_done)
            n_bytes += found[key][1] * (n_samples - n_done)
        devices |= dict.fromkeys(map(gpu_name, prepared.devices))
    yield f"all      {counted(len(runs), 'run')}, {counted(n_left, 'sample')} to do"
    yield f"device   {', '.join(devices)}"
    yield (
        f"time     about {duration(seconds / len(devices))}, measured on the first run of each benchmark and method, "
        "after its start; less where runs share work"
    )
    yield f"size     about {mebibytes(n_bytes)} of records"


def _n_done(prepared: Prepared) -> int:
    """How many of its samples a run has records of. Raises StoreError where its folder holds another run."""
    options, folder = prepared.options, prepared.folder
    store = RunDirectory(folder)
    if folder.is_dir():
        store.require_plain()
    if options.fresh or not store.header_path.exists():
        return 0
    store.require_same(prepared.identity_fields, words_of_request(options, kept=True), prepared.fields_of_first)
    return len({record.id for record in store.read_records() if record.status == "ok"} & set(prepared.selected.ids))


def _in_words(n_done: int) -> str:
    return f" ({counted(n_done, 'sample')} already done)" if n_done else ""
