"""Where a run's figures are sent while it goes, if asked (`--track`). A tracker that fails or hangs costs no record."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, Protocol

from evaluation.request.benchmark import BenchmarkError
from evaluation.request.words import without_folders
from results import RunHeader, SampleRecord
from results.run_directory.store import json_by_dotted_key
from results.tables.run_notes import method_label, remarks, run_name
from support.console import tell
from support.plugins import find_plugin
from support.text import described

PROJECT = "car-eval"
PATIENCE = 60.0
"""Seconds that a run waits for a tracker, at its start and again at its end."""
_MOST_WAITING = 10_000  # records that a slow tracker has not taken yet; it misses those that come then
_PARAMETER, _BATCH = 500, 100  # MLflow's most characters of a value, and values at once


class Tracker(Protocol):
    """What a class named by `--track` has; it is made without arguments. All calls come from one thread, in order.

    running: done, failed, and running_<headline metric> in 0..1. seconds_between_records: records that come sooner
    after the last one that was passed on are left out; 0 without the attribute.
    """

    def on_start(self, header: RunHeader) -> None:
        """Called before the first sample."""

    def on_record(self, record: SampleRecord, running: Mapping[str, float]) -> None:
        """Called after a sample's record is written."""

    def on_finish(self, header: RunHeader) -> None:
        """Called after the last sample, also of a run that was interrupted."""


class WandbTracker:
    """Weights & Biases, by its own environment: WANDB_MODE=offline, WANDB_PROJECT, WANDB_DIR."""

    seconds_between_records = 5.0

    def on_start(self, header: RunHeader) -> None:
        import wandb

        # Nothing of the machine but what `facts` has: no arguments, paths, host, code or terminal output.
        quiet = {"silent": True, "console": "off", "disable_git": True, "disable_code": True, "save_code": False}
        hidden = {"x_disable_meta": True, "x_disable_stats": True, "x_disable_machine_info": True, "host": "-"}
        self._run = wandb.init(
            project=PROJECT,
            name=run_name(header),
            id=header.identity[:16],
            resume="allow",
            reinit="create_new",  # several runs of a sweep are open side by side
            config=facts(header),
            notes=remarks(header),
            settings=wandb.Settings(**quiet, **hidden),
        )

    def on_record(self, record: SampleRecord, running: Mapping[str, float]) -> None:
        self._run.log(dict(running))

    def on_finish(self, header: RunHeader) -> None:
        self._run.summary.update({**figures(header), "status": header.status})
        self._run.finish(exit_code=0 if header.status == "complete" else 1)


class TrackioTracker(WandbTracker):
    """Trackio, by its own environment: TRACKIO_DIR, or TRACKIO_SPACE_ID for one on a Hub. Its runs are like wandb's."""

    def on_start(self, header: RunHeader) -> None:
        import trackio

        own: dict[str, Any] = {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False, "resume": "allow"}
        own |= {"project": PROJECT, "name": run_name(header), "config": {**facts(header), "notes": remarks(header)}}
        with redirect_stdout(sys.stderr):  # it prints; standard output is for tables and JSON
            self._run = trackio.init(**own)

    def on_finish(self, header: RunHeader) -> None:
        with redirect_stdout(sys.stderr):
            self._run.log(figures(header))
            self._run.finish()


class MlflowTracker:
    """MLflow, by its own environment: MLFLOW_TRACKING_URI."""

    seconds_between_records = 5.0

    def on_start(self, header: RunHeader) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        known = self._client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(PROJECT)
        tags = {"mlflow.note.content": remarks(header), "identity": header.identity}
        self._id = self._client.create_run(experiment, run_name=run_name(header), tags=tags).info.run_id
        found = json_by_dotted_key(facts(header)).items()
        params = [Param(_mlflow_name(name), value[:_PARAMETER]) for name, value in found]
        for start in range(0, len(params), _BATCH):
            self._client.log_batch(self._id, params=params[start : start + _BATCH])

    def on_record(self, record: SampleRecord, running: Mapping[str, float]) -> None:
        for name, value in running.items():
            self._client.log_metric(self._id, name, value, step=int(running["done"]))

    def on_finish(self, header: RunHeader) -> None:
        for name, value in figures(header).items():
            self._client.log_metric(self._id, _mlflow_name(name), value)
        self._client.set_terminated(self._id, "FINISHED" if header.status == "complete" else "KILLED")


BUILT_IN: Mapping[str, Callable[[], Tracker]] = {
    "wandb": WandbTracker,
    "trackio": TrackioTracker,
    "mlflow": MlflowTracker,
}
_HOOKS = ("on_start", "on_record", "on_finish")


def find_tracker(name: str) -> Callable[[], Tracker]:
    """The class of a tracker. Raises PluginError, and BenchmarkError for one not installed or without a method."""
    plugin = find_plugin("trackers", name, BUILT_IN, "track")
    if plugin is None:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name, such as the runs of wandb, is not the library
            raise BenchmarkError(f"track: expected {name} to be installed (pip install {name}), found none")
        return BUILT_IN[name]
    made: Any = plugin.value
    for hook in _HOOKS:
        if not callable(getattr(made, hook, None)):
            raise BenchmarkError(f"track: {name}: expected a class with {', '.join(_HOOKS)}, found no {hook}")
    return made  # type: ignore[no-any-return]


def facts(header: RunHeader) -> dict[str, Any]:
    """What a tracker gets at the start of a run: JSON values, file names without their folders."""
    known = header.model_dump(include={"request", "config", "identity", "weights", "environment"})
    benchmark = {"benchmark": header.benchmark.name, "dataset": header.benchmark.dataset.model_dump()}
    found: dict[str, Any] = _without_folders({**benchmark, "method": method_label(header), **known})
    return found


def figures(header: RunHeader) -> dict[str, float]:
    """The figures of a run in 0..1, its numbers of samples, and its time."""
    numbers = {name: value for name, value in header.metrics.items() if type(value) in (int, float)}
    return {**numbers, **header.counts.model_dump(), "wall_seconds": header.timings.wall_seconds}


class Trackers:
    """The trackers of one run. Each works in its own thread, and is given up once it raises or hangs."""

    def __init__(self, names: Sequence[str], *, patience: float = PATIENCE) -> None:
        self._feeds, self._stdout, self._patience = [_Feed(name) for name in names], sys.stdout, patience

    def on_start(self, header: RunHeader) -> None:
        """Wait until all have begun, but not for long: processes are forked next, best not while a library loads."""
        self._each("on_start", header)

    def on_record(self, record: SampleRecord, running: Mapping[str, float]) -> None:
        for feed in self._feeds:
            feed.send("on_record", record, running)

    def on_finish(self, header: RunHeader) -> None:
        """Wait until all is sent, but not for long."""
        self._each("on_finish", header)

    def _each(self, hook: str, header: RunHeader) -> None:
        last = time.monotonic() + self._patience
        for feed in self._feeds:
            feed.send(hook, header)
        for feed in self._feeds:
            feed.wait(last - time.monotonic(), f"{hook} did not finish within {self._patience:g} s")
        if self._feeds:
            sys.stdout = self._stdout  # one that hangs may have redirected it


class _Feed:
    def __init__(self, name: str) -> None:
        self._name, self._is_over, self._done = name, False, Event()
        self._make = find_tracker(name)  # here: an import in a thread would redirect every thread's output
        self._events: Queue[tuple[str, tuple[Any, ...]]] = Queue(_MOST_WAITING)
        Thread(target=self._work, name=f"track {name}", daemon=True).start()

    def send(self, hook: str, *given: Any) -> None:
        self._done.clear()
        if self._is_over:  # asked after clearing, as `_give_up` sets both in the other order
            self._done.set()
            return
        while hook != "on_record" and self._events.full():
            with suppress(Empty):
                self._events.get_nowait()
        with suppress(Full):
            self._events.put_nowait((hook, given))

    def wait(self, seconds: float, reason: str) -> None:
        """For an event to be handled, and else give up for this reason."""
        if not self._done.wait(max(0.0, seconds)) and not self._is_over:
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        self._is_over = True
        self._done.set()
        tell(f"notice: --track {self._name}: {reason}; the run continues without it")

    def _work(self) -> None:
        hook, next_time = "", 0.0
        try:
            tracker = self._make()
            pause = float(getattr(tracker, "seconds_between_records", 0.0))
            while hook != "on_finish" and not self._is_over:
                hook, given = self._events.get()
                if hook == "on_record" and time.monotonic() < next_time:
                    continue
                getattr(tracker, hook)(*given)
                if hook == "on_record":
                    next_time = time.monotonic() + pause
                else:
                    self._done.set()
        except BaseException as error:  # whatever it is, it is the tracker's
            if not self._is_over:
                self._give_up(described(error))


def _mlflow_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)[:250]


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    return without_folders(value)
