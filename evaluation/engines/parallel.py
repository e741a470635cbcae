"""Several processes on this machine make one run: each has models of its own, on its device, and a part of the samples.

A part goes through the local engine, whole videos and images together; one process, the run's own, writes the records.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from dataset_adapters import Dataset
from evaluation.engines.local import run_local
from evaluation.engines.processes import MAIN_GUARD, WorkerError, how_it_ended
from evaluation.engines.ray import Job
from evaluation.engines.refining import Refiner
from evaluation.engines.signals import be_pool_process, pass_on, starting_pool, stop_request
from evaluation.tasks.segmenter import smaller_passes
from evaluation.tasks.video_state import QueryCarrier
from results import SampleRecord, differences
from support.console import show_traces, tell
from support.errors import RunError, UserError
from support.files import open_regular
from support.text import unwrapped

_POLL_SECONDS = 0.2  # between two looks at whether to stop, and at processes that died
_JOIN_SECONDS = 5


@dataclass
class _Worker:
    """A process and what it still owes. log: its standard output and error."""

    name: str
    process: SpawnProcess
    pipe: Connection
    log: Path
    owes: int
    has_begun: bool = False
    error: str = ""

    def receive(self) -> Any:
        """Its next message, None for its end."""
        with suppress(EOFError, OSError):  # in the midst of a message, too
            return self.pipe.recv() if self.pipe.poll() else None
        return None

    def why_it_ended(self) -> str:
        """On one line, for a process that ended early."""
        if self.error:
            return f"{self.name}: {self.error}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n") if self.log.exists() else []
        last = next((f"; its last line: {line.strip()}" for line in reversed(lines) if line.strip()), "")
        hint = "" if self.has_begun or self.process.exitcode != 1 else MAIN_GUARD
        return f"{self.name}: {how_it_ended(self.process.exitcode)}{last}{hint}"


def run_parallel(
    jobs: Sequence[Job],
    names: Sequence[str],
    dataset: Dataset,
    positions: Sequence[int],
    *,
    refine_workers: int = 0,
    carrier: QueryCarrier | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    shrunk: set[str] | None = None,
    logs: Path | None = None,
) -> Generator[SampleRecord, None, None]:
    """Records of the samples at ``positions`` as they finish, those of a video in order.

    jobs: of each process, with the run's folder in its scorer; names: what they are called in errors. refine_workers:
    of each. A process that ends early costs the samples that it did not finish: a line says so at once, and WorkerError
    is raised when the others are done. should_stop: asked several times a second; if true, only the samples in flight
    still get records. shrunk: gets what ran in smaller passes. logs: folder in which what the processes print stays, as
    process-1.log and so on; None for none.
    """
    shares = [own for own in dataset.parts(positions, len(jobs)) if len(own)]
    spawn = get_context("spawn")  # a forked process could use neither a GPU nor torch's threads
    threads = max(1, torch.get_num_threads() // max(1, len(shares)))
    workers: list[_Worker] = []
    with tempfile.TemporaryDirectory(prefix="car-eval-") as folder:
        try:
            with starting_pool():
                for number, (job, share) in enumerate(zip(jobs, shares, strict=False), start=1):
                    name = f"process {number} of {len(shares)} ({names[number - 1]})"
                    pipe, theirs = spawn.Pipe(duplex=False)
                    log = (logs or Path(folder)) / f"process-{number}.log"
                    arguments = job, share, carrier, threads, refine_workers, theirs, log
                    process = spawn.Process(target=_work, args=arguments)
                    process.start()
                    theirs.close()
                    workers.append(_Worker(name, process, pipe, log, len(share)))
            yield from _records(workers, should_stop, set() if shrunk is None else shrunk)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.join(_JOIN_SECONDS)
                worker.pipe.close()


def _records(workers: Sequence[_Worker], should_stop: Callable[[], bool], shrunk: set[str]) -> Iterator[SampleRecord]:
    running, lost, asked = list(workers), list[str](), False
    while running:
        if not asked and should_stop():
            asked = True
            pass_on()
        ready = wait([worker.pipe for worker in running], _POLL_SECONDS)
        for worker in list(running):
            # What a dead process had started may hold its end of the pipe open.
            if worker.pipe not in ready and (worker.process.is_alive() or worker.pipe.poll()):
                continue
            message = worker.receive()
            if isinstance(message, SampleRecord):
                worker.owes -= 1
                yield message
            elif isinstance(message, tuple):
                shrunk.update(message)
            elif isinstance(message, str):
                worker.error = message
            elif message:
                worker.has_begun = True
            else:
                running.remove(worker)
                worker.process.join(_JOIN_SECONDS)
                if worker.owes and not asked:
                    lost.append(worker.why_it_ended())
                    tell(f"error: {lost[-1]}{'; the others go on' if running else ''}")
    if lost:
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise WorkerError(f"processes: {lost[0]}{more}; finished samples are kept, the same command does the rest")


def _work(
    job: Job,
    positions: Sequence[int],
    carrier: QueryCarrier | None,
    threads: int,
    refine_workers: int,
    results: Connection,
    log: Path,
) -> None:
    """Send the records of a part, then what ran in smaller passes; a text for what a user can mend."""
    be_pool_process()
    with open_regular(log, "ab", follow=False) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    show_traces()
    results.send(True)
    torch.set_num_threads(threads)
    with stop_request() as stop:
        try:
            equipment = job.equip()
            if changed := differences(job.identity_fields, equipment.identity_fields):
                raise WorkerError(f"expected what the run was started with, found that {changed[0]}")
            with Refiner(refine_workers, time_limit=job.sample_timeout) as refiner:
                for record in run_local(
                    equipment.dataset,
                    positions,
                    equipment.segmenter,
                    equipment.scorer,
                    batch_size=job.batch_size,
                    workers=job.workers,
                    sample_timeout=job.sample_timeout,
                    carrier=carrier,
                    refiner=refiner,
                    should_stop=lambda: stop.asked,
                ):
                    results.send(record)
            results.send(smaller_passes(equipment.segmenter))
        except (OSError, RunError, UserError) as error:  # any other one is in the log
            results.send(unwrapped(error) or type(error).__name__)
        if stop.number is not None:
            results.send(f"it was asked to stop by {signal.Signals(stop.number).name}")
