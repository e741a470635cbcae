"""The remaining samples of a run, and the engines that segment them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from dataset_adapters.formats.images import max_pixels
from evaluation.engines.local import run_local
from evaluation.engines.parallel import run_parallel
from evaluation.engines.ray import Equipment, Job, run_ray
from evaluation.engines.refining import Refiners, default_workers
from evaluation.engines.signals import StopRequest
from evaluation.request.options import EngineName, RunOptions
from evaluation.run.prepare import Prepared, prepare
from evaluation.run.resume import ResumePlan
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import CoarseSegmenter, smaller_passes
from results import SampleRecord
from support.console import tell


@dataclass(frozen=True)
class SharedResources:
    """What runs side by side share: a request to stop, and the processes that refine masks."""

    stop: StopRequest
    refiners: Refiners


@dataclass(frozen=True)
class Work:
    """The remaining work of a run.

    scorer: with the run's folder, so that the wanted files of a prediction are written there. shrunk: receives what ran
    in smaller passes.
    """

    prepared: Prepared
    scorer: Scorer
    plan: ResumePlan
    shared: SharedResources
    shrunk: set[str] = field(default_factory=set)

    def should_stop(self) -> bool:
        """Whether a signal has asked to stop."""
        return self.shared.stop.asked

    def records(self) -> Generator[SampleRecord, None, None]:
        """One record per remaining sample, as it comes; fewer where a stop is requested."""
        is_shared = len(self.prepared.devices) > 1
        return (_in_processes if is_shared else _ENGINES[self.prepared.options.engine])(self)


def _refine_workers(prepared: Prepared) -> int:
    """Refining processes of a run: none where refinement takes no time or runs on the device."""
    crf, asked = getattr(prepared.car.config, "crf", None), prepared.options.refine_workers
    if crf is None or crf.implementation != "pydensecrf" or not isinstance(prepared.car, CoarseSegmenter):
        return 0
    return default_workers(len(prepared.devices)) if asked is None else asked


def _on_this_machine(work: Work) -> Generator[SampleRecord, None, None]:
    prepared, options = work.prepared, work.prepared.options
    try:
        yield from run_local(
            prepared.selected,
            work.plan.positions,
            prepared.car,
            work.scorer,
            batch_size=options.batch_size,
            workers=options.workers,
            sample_timeout=options.sample_timeout,
            carrier=work.plan.carrier,
            refiner=work.shared.refiners.get(_refine_workers(prepared), options.sample_timeout),
            should_stop=work.should_stop,
        )
    finally:
        work.shrunk.update(smaller_passes(prepared.car))


def _in_processes(work: Work) -> Generator[SampleRecord, None, None]:
    prepared = work.prepared
    # The author of a method wants to see what it prints.
    logs = work.scorer.folder if any(plugin.kind == "methods" for plugin in prepared.plugins) else None
    try:
        yield from run_parallel(
            [_job(prepared, folder=work.scorer.folder, device=name, processes=1) for name in prepared.devices],
            prepared.devices,
            prepared.selected,
            work.plan.positions,
            refine_workers=_refine_workers(prepared),
            carrier=work.plan.carrier,
            should_stop=work.should_stop,
            shrunk=work.shrunk,
            logs=logs,
        )
    finally:
        if logs and any(log.stat().st_size for log in logs.glob("process-*.log")):
            tell(f"notice: {logs}: what the processes printed is in process-*.log")


def _on_a_cluster(work: Work) -> Generator[SampleRecord, None, None]:
    prepared = work.prepared
    return run_ray(
        _job(prepared, device=prepared.devices[0]),
        prepared.options.cluster,
        prepared.selected,
        work.plan.positions,
        work.scorer,
        carrier=work.plan.carrier,
        should_stop=work.should_stop,
        shrunk=work.shrunk,
    )


_ENGINES: Mapping[EngineName, Callable[[Work], Generator[SampleRecord, None, None]]] = {
    "local": _on_this_machine,
    "ray": _on_a_cluster,
}


def _job(prepared: Prepared, folder: Path | None = None, **changes: Any) -> Job:
    """What another process does; folder: of the run, where it writes files of predictions; changes: of its options."""
    options = prepared.options
    return Job(
        partial(_equip, replace(options, max_pixels=max_pixels(), **changes), folder),
        prepared.identity_fields,
        os.getcwd(),
        batch_size=options.batch_size,
        workers=options.workers,
        sample_timeout=options.sample_timeout,
    )


def _equip(options: RunOptions, folder: Path | None) -> Equipment:
    """What a process or actor works with, built where it is; raises as `prepare`."""
    # It writes no run directory, needs no cluster, and tells no tracker.
    prepared = prepare(replace(options, engine="local", track=(), out=Path(tempfile.gettempdir())))
    scorer = replace(prepared.scorer, folder=folder, saving=options.saving)
    return Equipment(prepared.selected, prepared.car, scorer, prepared.identity_fields)
