"""Several processes on this machine make one run: each has models of its own, on its device, and a part of the samples.

A part goes through the local engine, whole videos and images together; one process, the run's own, writes the records.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dataset_adapters import Dataset
from evaluation.engines.children import Child, Send, messages
from evaluation.engines.local import Job, Survivors, run_local
from evaluation.engines.refining import Refiner
from evaluation.engines.signals import Interrupted, stop_request
from evaluation.engines.worker_pool import JOIN_SECONDS, WorkerError
from evaluation.tasks.segmenter import smaller_passes
from results import SampleRecord
from support.console import tell
from support.errors import RunError, UserError
from support.text import unwrapped


@dataclass
class _Part:
    """The samples of one child. owes: how many have no record yet. log: its output. error: that it ended with."""

    name: str
    owes: int
    log: Path
    error: str = ""


def run_parallel(
    jobs: Sequence[Job],
    names: Sequence[str],
    dataset: Dataset,
    positions: Sequence[int],
    *,
    refine_workers: int = 0,
    survivors: Survivors | None = None,
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
    threads = max(1, torch.get_num_threads() // max(1, len(shares)))
    running: dict[Child, _Part] = {}
    lost, is_asked = list[str](), False
    with tempfile.TemporaryDirectory(prefix="car-eval-") as folder:
        try:
            for number, (job, share, name) in enumerate(zip(jobs, shares, names, strict=False), start=1):
                log = (logs or Path(folder)) / f"process-{number}.log"
                part = _Part(f"process {number} of {len(shares)} ({name})", len(share), log)
                running[Child(_work, job, share, survivors, refine_workers, threads=threads, log=log)] = part
            while running:
                if not is_asked and should_stop():
                    is_asked = True
                    for child in running:
                        child.ask_to_stop()
                for child, message in messages(running):
                    part = running[child]
                    if isinstance(message, SampleRecord):
                        part.owes -= 1
                        yield message
                    elif isinstance(message, tuple) and shrunk is not None:  # it did its part
                        shrunk.update(message)
                    elif isinstance(message, Interrupted):
                        part.error = f"it was asked to stop by {signal.Signals(message.number).name}"
                    elif isinstance(message, (OSError, RunError, UserError)):
                        part.error = unwrapped(message) or type(message).__name__
                    elif message is None:  # it has ended
                        ending = child.end(patience=JOIN_SECONDS)
                        del running[child]
                        if part.owes and not is_asked:
                            text = part.log.read_text(encoding="utf-8", errors="replace") if part.log.exists() else ""
                            if last := text.strip().rpartition("\n")[2].strip():
                                ending += f"; its last line: {last}"
                            lost.append(f"{part.name}: {part.error or ending}")
                            tell(f"error: {lost[-1]}{'; the others continue' if running else ''}")
        finally:
            for child in running:
                child.end()
    if lost:
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise WorkerError(f"processes: {lost[0]}{more}; finished samples are kept; the same command resumes")


def _work(send: Send, job: Job, positions: Sequence[int], survivors: Survivors | None, refine_workers: int) -> None:
    """Send the records of a part, then what ran in smaller passes."""
    own = job.equipped()
    with stop_request() as stop, Refiner(refine_workers, time_limit=job.pace.sample_timeout) as refiner:
        for record in run_local(
            own, positions, job.pace, survivors=survivors, refiner=refiner, should_stop=lambda: stop.asked
        ):
            send(record)
    send(smaller_passes(own.segmenter))
    stop.raise_if_asked()
