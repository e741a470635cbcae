"""What a run would do: everything is validated, and a few samples are measured, but nothing is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice

from car_core.engine.device import gpu_name
from evaluation.run.dispatch import Work, plan_resume, shared_resources
from evaluation.run.prepare import Prepared, build_segmenter, carries_queries
from results import RunDirectory, StoreError, differences
from support.text import duration, mebibytes

_MOST_MEASURED = 3
_SECONDS = 20.0  # after which no further sample is measured


def plan_lines(prepared: Prepared) -> Iterator[str]:
    """Samples, device, models, folder, expected time and size, a line each.

    Raises StoreError where the folder holds another run.
    """
    options, selected, folder = prepared.options, prepared.selected, prepared.folder
    n_done = 0
    if (folder / "run.json").exists() and not options.fresh:
        store = RunDirectory(folder)
        if changed := differences(store.read_header().identity_fields, prepared.identity_fields):
            raise StoreError(f"{folder}: expected no run or this one, found another: {'; '.join(changed)}")
        n_done = len({record.id for record in store.read_records() if record.status == "ok"} & set(selected.ids))
    yield f"run      {prepared.benchmark.name}, {options.method}, {len(selected)} of {len(prepared.dataset)} samples"
    yield f"data     {prepared.dataset.root}, split {prepared.dataset.split}"
    names = ", ".join(f"{each.role} {each.name}" for each in prepared.car.weights)
    yield f"weights  {names or 'none'}"
    yield f"device   {', '.join(dict.fromkeys(map(gpu_name, prepared.devices)))}, {options.precision}"
    yield f"folder   {folder}" + (f" ({n_done} samples are done already)" if n_done else "")
    seconds, n_bytes = _measured(prepared)
    left = len(selected) - n_done
    share = seconds * left / len(set(prepared.devices))  # processes on one device share it
    yield f"time     about {duration(share)}, as measured: {seconds:.3g} s per sample"
    yield f"size     about {mebibytes(n_bytes * left)} of records"
    if saved := options.saving.announcement(selected, folder):
        yield f"         {saved}"


def _measured(prepared: Prepared) -> tuple[float, float]:
    """Seconds and bytes of a record per sample, from the first few, in this process on the first device."""
    options, devices, car = prepared.options, prepared.devices[:1], prepared.car
    if len(prepared.devices) > 1:
        car = build_segmenter(prepared, prepared.dataset, devices[0], options.precision)
    options = replace(options, batch_size=1, workers=0, engine="local")
    alone = replace(prepared, options=options, devices=devices, car=car)
    plan = plan_resume(prepared.selected, {}, carried=carries_queries(prepared.car.config))
    times, sizes = [time.perf_counter()], []
    with shared_resources() as shared:
        work = Work(alone, prepared.scorer, plan, shared)
        with closing(work.records()) as records:
            for record in islice(records, _MOST_MEASURED):
                times.append(time.perf_counter())
                sizes.append(len(record.model_dump_json()))
                if times[-1] - times[0] > _SECONDS:
                    break
        shared.stop.raise_if_asked()
    first = min(1, len(times) - 2)  # the first one warms up
    return (times[-1] - times[first]) / (len(times) - 1 - first), sum(sizes) / len(sizes)
