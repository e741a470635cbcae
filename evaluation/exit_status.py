"""What ``car`` exits with, and how errors that a user can mend become one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

# Besides 0 and the shell's own.
RUN_ERROR = 1
SETUP_ERROR = 2
SAMPLES_FAILED = 3
FIGURES_CHANGED = 4
DATA_FAULTS = 5
INTERRUPTED = 130


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can mend into one line on standard error and an exit status."""
    from results import StoreError

    try:
        yield
    except (ValueError, RuntimeError, StoreError, OSError) as error:
        status = _exit_status(error)
        if status is None:
            raise
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(status) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; what is finished is kept, the same command goes on from it", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _exit_status(error: Exception) -> int | None:
    """Status of an error whose message says what to mend; None for one that needs its traceback."""
    from car_core import ImageError, ModelError, QueryError
    from dataset_adapters import DatasetError
    from evaluation.benchmark import BenchmarkError
    from evaluation.engines.local import WorkerError
    from results import StoreError

    if isinstance(error, (BenchmarkError, DatasetError, ImageError, ModelError, QueryError, StoreError)):
        return SETUP_ERROR
    return RUN_ERROR if isinstance(error, (WorkerError, OSError)) else None
