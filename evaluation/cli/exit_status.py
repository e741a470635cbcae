"""What ``car`` exits with, and how errors that a user can mend become one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import typer

from evaluation.telling import tell

if TYPE_CHECKING:
    from evaluation.run.runner import Run

# Besides 0 and the shell's own.
RUN_ERROR = 1
SETUP_ERROR = 2
SAMPLES_FAILED = 3
FIGURES_CHANGED = 4
DATA_FAULTS = 5
INTERRUPTED = 130
"""128 and the number of the signal, as a shell has it: 130 after Ctrl-C, 143 after SIGTERM."""

# By name: an error's own module is imported when it is raised, and those of the others would cost seconds here.
SETUP_ERRORS = frozenset(
    {
        "car_core.errors.ConfigError",
        "car_core.errors.ImageError",
        "car_core.errors.ModelError",
        "car_core.errors.QueryError",
        "dataset_adapters.formats.images.ImageError",
        "dataset_adapters.base.sample.DatasetError",
        "evaluation.request.benchmark.BenchmarkError",
        "evaluation.analysis.compare.ComparisonError",
        "evaluation.engines.ray.ClusterError",
        "evaluation.pictures.image_files.SegmentError",
        "evaluation.run.merge.MergeError",
        "evaluation.analysis.reference.ReferenceFileError",
        "results.run_directory.store.StoreError",
    }
)
OUT_OF_MEMORY = frozenset({"torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError"})  # torch 2.4 has the second
RUN_ERRORS = OUT_OF_MEMORY | {"evaluation.engines.processes.WorkerError"}

# Set by `car --debug`.
SHOW_TRACEBACKS = ContextVar("SHOW_TRACEBACKS", default=False)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can mend into one line on standard error and an exit status.

    ``car --debug`` lets the error through with its traceback.
    """
    try:
        yield
    except Exception as error:  # each is told by its exit status; what has none is raised again
        names = _names(error)
        status = _exit_status(error, names)
        if status is None or SHOW_TRACEBACKS.get():
            raise
        tell(f"error: {_line(error, names)}")
        raise typer.Exit(status) from None
    except KeyboardInterrupt as interrupt:
        tell("interrupted; what is finished is kept, the same command goes on from it")
        number = getattr(interrupt, "number", None)
        raise typer.Exit(128 + number if number else INTERRUPTED) from None


def exit_if_failed(runs: Iterable[Run], *, allow: bool) -> None:
    """Say how many samples of the runs failed and exit with SAMPLES_FAILED, or 0 with `allow`; nothing if none did."""
    counts = [run.header.counts for run in runs]
    failed, total = (sum(getattr(count, name) for count in counts) for name in ("n_failed", "n_total"))
    if failed:
        tell(f"{failed} of {total} samples failed; see the section Failed samples of each run's table")
        raise typer.Exit(0 if allow else SAMPLES_FAILED)


def _names(error: Exception) -> frozenset[str]:
    """The error's kind and those that it is one of."""
    return frozenset(f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)


def _exit_status(error: Exception, names: frozenset[str]) -> int | None:
    """Status of an error whose message says what to mend; None for one that needs its traceback."""
    if names & SETUP_ERRORS:
        return SETUP_ERROR
    return RUN_ERROR if isinstance(error, OSError) or names & RUN_ERRORS else None


def _line(error: Exception, names: frozenset[str]) -> str:
    message = " ".join(str(error).split())
    if not names & OUT_OF_MEMORY:
        return message
    said = message.partition(". ")[0]  # what follows is advice for programmers
    return f"{said}: free the device of other programs, or choose another --device, smaller models or smaller batches"
