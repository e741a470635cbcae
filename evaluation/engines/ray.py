"""The Ray engine: actors on the nodes of a cluster hold the models, and batches of samples are their tasks.

An actor makes everything on its own node from the run's options, and is refused unless it comes to the run's identity:
other files, weights, code or packages there would change figures. Over the network go positions one way, and records
and the files of predictions the other. One process, the run's own, writes.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dataset_adapters import Dataset, Sample
from evaluation.engines.decoding import decoded
from evaluation.engines.local import Job, Survivors, run_local
from evaluation.engines.worker_pool import MAX_LOST_IN_A_ROW, WorkerError
from evaluation.request.cluster import Cluster, ClusterError, import_ray
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import smaller_passes
from results import SampleRecord
from results.run_directory.sample_files import write_sample_file
from support.console import tell
from support.text import unwrapped

MAX_LOSSES = 3
"""Actors that may be lost at work on a single sample before it is a failed one."""
_POLL_SECONDS = 1.0  # between two looks at the nodes, and at whether to stop
HEAD_SECONDS = 10.0
"""A head that takes no connection for this long is gone: it may be restarted in the meantime."""
_OBJECT_STORE_BYTES = 100 * 2**20  # of a Ray of our own: records are small


def run_ray(
    job: Job,
    cluster: Cluster,
    dataset: Dataset,
    positions: Sequence[int],
    scorer: Scorer,
    *,
    survivors: Survivors | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    shrunk: set[str] | None = None,
) -> Generator[SampleRecord, None, None]:
    """Records of the samples at ``positions`` as they finish; with survivors those of one video in order.

    Nodes may come and go: a batch whose actor is lost is done again, sample by sample, and a sample that has lost
    `MAX_LOSSES` actors by itself is a failed record. An actor has one batch at a time. should_stop: asked about once
    a second; if true, only the batches in progress still get records. shrunk: gets what actors ran in smaller passes.
    Files of predictions are written below `scorer.folder` before their records are given. Raises ClusterError for a
    cluster that cannot be reached and a node that differs, WorkerError where actors are lost and nothing is finished
    in between.
    """
    ray = import_ray()
    with _connected(ray, cluster):
        dispatcher = Dispatcher(ray, job, cluster, dataset, scorer, survivors, set() if shrunk is None else shrunk)
        yield from dispatcher.records(positions, should_stop)


@contextmanager
def _connected(ray: Any, cluster: Cluster) -> Iterator[None]:
    if ray.is_initialized():  # by the caller, who also ends it
        yield
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS") or "local"
    own = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES} if address == "local" else {}
    try:
        with _kept_signals():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"address: expected a Ray cluster at {address}, found {error}") from None
    try:
        yield
    finally:
        import psutil  # type: ignore[import-untyped]  # comes with Ray

        children = psutil.Process().children(recursive=True) if own else []
        with _kept_signals():
            ray.shutdown()
        for child in children:  # Ray's agents outlive a head that was killed
            with suppress(psutil.Error):
                if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::"):
                    child.kill()


@contextmanager
def _kept_signals() -> Iterator[None]:
    """Keep the handlers of signals: ray.init takes SIGTERM for itself, and the run must finish its samples first."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        with suppress(ValueError):  # not in a main thread, where Ray has taken none either
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Finished:
    """A finished batch. files: of predictions, by path below the run directory. shrunk: as for `run_ray`."""

    records: list[SampleRecord]
    files: dict[str, bytes]
    shrunk: tuple[str, ...]


class Actor:
    """The models on one node."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def set_up(self) -> str | None:
        """Load data and models. What is wrong with this node, on one line that names it; None where it can work."""
        with suppress(OSError):
            os.chdir(self._job.folder)
        try:
            self._equipment = self._job.equipped()
        except Exception as error:  # whatever it is, the node is to be named
            return f"node {socket.gethostname()}: {unwrapped(error) or type(error).__name__}"
        return None

    def segment(self, positions: Sequence[int], survivors: Survivors | None) -> Finished:
        with tempfile.TemporaryDirectory(prefix="car-eval-") as name:
            folder = Path(name)
            here = replace(self._equipment, scorer=replace(self._equipment.scorer, folder=folder))
            records = list(run_local(here, positions, self._job.pace, survivors=survivors))
            paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
            return Finished(records, files, smaller_passes(here.segmenter))


@dataclass
class Chain:
    """Batches that are done one after the other: the frames of a video, or a single batch."""

    batches: deque[tuple[int, ...]]
    sequence: str | None = None


@dataclass
class Dispatcher:
    """Hands batches to actors, one each at a time, and takes their records.

    Ray's own restarts would not do: a batch stays with its actor, and that of a node that is gone waits for a place as
    long as the other actors, idle or not, hold theirs.
    """

    ray: Any
    job: Job
    cluster: Cluster
    dataset: Dataset
    scorer: Scorer
    survivors: Survivors | None
    shrunk: set[str]
    waiting: deque[Chain] = field(default_factory=deque)
    idle: list[Any] = field(default_factory=list)  # actors
    # Actors and what they do, None while they are set up, by the reference of what they will answer.
    busy: dict[Any, tuple[Any, Chain | None]] = field(default_factory=dict)
    losses: Counter[int] = field(default_factory=Counter)  # actors lost at work on a single sample
    lost_in_a_row: int = 0
    most_actors: int = 0
    looked_at: float = -_POLL_SECONDS
    is_announced: bool = False
    head_seen: float | None = None  # when Ray's head last answered

    def records(self, positions: Sequence[int], should_stop: Callable[[], bool]) -> Iterator[SampleRecord]:
        """The records of these samples, until none is left or `should_stop` says so."""
        parts: dict[str | None, list[int]] = defaultdict(list)  # of one video each, or all
        sequences = self.dataset.sequences if self.survivors is not None else None
        for position in positions:
            parts[sequences[position] if sequences else None].append(position)
        for sequence, own in parts.items():
            size = self.job.pace.batch_size
            batches = [tuple(own[start : start + size]) for start in range(0, len(own), size)]
            chains = [batches] if sequence is not None else [[batch] for batch in batches]
            self.waiting.extend(Chain(deque(each), sequence) for each in chains)
        try:
            while True:
                if should_stop():
                    self.waiting.clear()
                if not self.waiting and all(chain is None for _, chain in self.busy.values()):
                    return
                if self._head_answers():
                    self._hire()
                    self.hand_out()
                done, _ = self.ray.wait([*self.busy], num_returns=1, timeout=_POLL_SECONDS)
                for reference in done:
                    yield from self._take(reference)
        finally:
            if self.head_seen is not None:  # without it Ray would wait a minute, and end the process
                for actor in (*self.idle, *(actor for actor, _ in self.busy.values())):
                    self.ray.kill(actor)

    def _head_answers(self) -> bool:
        """Whether Ray's head takes connections. Raises WorkerError if it stopped doing so for `HEAD_SECONDS`."""
        host, _, port = self.ray.get_runtime_context().gcs_address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_POLL_SECONDS).close()
        except OSError as error:
            if self.head_seen is None:  # never reached from here, as from behind a proxy
                return True
            if time.monotonic() - self.head_seen > HEAD_SECONDS:
                self.head_seen = None
                raise WorkerError(
                    f"ray: the head at {host}:{port} is gone ({error}); finished samples are kept"
                ) from None
            return False
        self.head_seen = time.monotonic()
        return True

    def _hire(self) -> None:
        """Start an actor for every place that the nodes have now and that there is work for."""
        count = len(self.idle) + len(self.busy)
        if not self.waiting or (count and time.monotonic() - self.looked_at < _POLL_SECONDS):
            return
        self.looked_at = time.monotonic()
        needed = self.cluster.resources
        nodes = (node["Resources"] for node in self.ray.nodes() if node["Alive"])
        places = sum(
            int(min((node.get(name, 0.0) / amount for name, amount in needed.items()), default=1)) for node in nodes
        )
        if not places and not self.is_announced:
            self.is_announced = True
            amounts = ", ".join(f"{name} {amount:g}" for name, amount in needed.items())
            tell(f"notice: no node of the Ray cluster has {amounts} for an actor; waiting for one")
        # One is asked for also where there is no place: an autoscaler starts a node for it.
        at_work = sum(chain is not None for _, chain in self.busy.values())
        wanted = min(self.cluster.actors or max(1, places), len(self.waiting) + at_work)
        for _ in range(wanted - count):
            options = {"num_cpus": self.cluster.cpus, "num_gpus": self.cluster.gpus, "scheduling_strategy": "SPREAD"}
            actor = self.ray.remote(Actor).options(**options).remote(self.job)
            self.busy[actor.set_up.remote()] = actor, None
        self.most_actors = max(self.most_actors, count, wanted)

    def hand_out(self) -> None:
        """Give every idle actor a batch, while there are any."""
        while self.waiting and self.idle:
            actor, chain = self.idle.pop(), self.waiting.popleft()
            own = self.survivors
            if own is not None:  # only those of the chain's video
                own = {name: kept for name, kept in own.items() if name == chain.sequence}
            self.busy[actor.segment.remote(chain.batches[0], own)] = actor, chain

    def _take(self, reference: Any) -> Iterator[SampleRecord]:
        """What an answer gives: an actor that is ready, records, or the loss of an actor."""
        actor, chain = self.busy.pop(reference)
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError as error:  # the actor or its node is gone, or what it answered
            self.ray.kill(actor)  # where only the way to it is lost
            yield from self.lose(chain, error)
        else:
            self.idle.append(actor)
            if isinstance(answer, Finished):
                assert chain is not None
                yield from self.finish(chain, answer)
            elif answer:
                raise ClusterError(answer)
        if chain and chain.batches:
            self.waiting.appendleft(chain)

    def finish(self, chain: Chain, finished: Finished) -> Iterator[SampleRecord]:
        """The records of a batch, the first of its chain, once its files are written."""
        self.lost_in_a_row = 0
        self.shrunk.update(finished.shrunk)
        chain.batches.popleft()
        for name, content in finished.files.items():
            assert self.scorer.folder is not None
            write_sample_file(self.scorer.folder / name, content)
        for record in finished.records:
            if self.survivors is not None and chain.sequence is not None and record.status == "ok":
                self.survivors[chain.sequence] = tuple(record.queries_kept)
            yield record

    def lose(self, chain: Chain | None, error: Exception) -> Iterator[SampleRecord]:
        """Have a batch done again, its samples one by one: one of them may be what ended the actor.

        Raises ClusterError for an actor that could not be made, as on a node without this package.
        """
        if getattr(error, "actor_init_failed", False):
            reason = str(error).strip().splitlines()[-1].strip()
            raise ClusterError(f"ray: expected this version of car-eval on every node, found {reason}")
        self.lost_in_a_row += 1
        # A cluster may lose all its nodes at once without any fault of the samples.
        if self.lost_in_a_row == MAX_LOST_IN_A_ROW + self.most_actors:
            raise WorkerError(
                f"ray: {self.lost_in_a_row} actors in a row were lost, the last with: {unwrapped(error)}; "
                "finished samples are kept"
            )
        if chain is None:
            return
        batch = chain.batches.popleft()
        chain.batches.extendleft((position,) for position in reversed(batch))
        if len(batch) > 1:
            return
        [position] = batch
        self.losses[position] += 1
        if self.losses[position] == MAX_LOSSES:
            chain.batches.popleft()
            # Its target is read here, in a process of its own.
            limit = self.job.pace.sample_timeout
            [item] = decoded(self.dataset, [position], workers=1, ahead=0, time_limit=limit)
            target = item.sample.target if isinstance(item.sample, Sample) else None
            reason = f"segmentation: {MAX_LOSSES} actors were lost at work on it"
            yield self.scorer.failed_record(self.dataset.ids[position], reason, target)
