"""Exit statuses of ``car``, and how user errors become one line."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

import typer

from support.console import tell
from support.errors import AllFailedError, RunError, UserError
from support.text import counted, unwrapped

if TYPE_CHECKING:
    from evaluation.run.runner import Run

# In addition to 0 and the shell's own.
RUN_ERROR = 1
SETUP_ERROR = 2
SAMPLES_FAILED = 3
FIGURES_CHANGED = 4
DATA_FAULTS = 5
INTERRUPTED = 130
"""128 plus the number of the signal, as in a shell: 130 after Ctrl-C, 143 after SIGTERM."""

AllowFailures = Annotated[bool, typer.Option(help="Exit with 0 even if samples failed.")]

WORDS_FILE, WORDS_LISTS = "car.words-file", "car.words-lists"
"""Keys in a command's context: the file that options come from, and its repeatable options (`model_options.preset`)."""

# Set by `car --debug`.
SHOW_TRACEBACKS = ContextVar("SHOW_TRACEBACKS", default=False)


@contextmanager
def one_line_errors(ctx: Any = None) -> Iterator[None]:
    """Turn user errors into one line on standard error and an exit status; a decorator, too.

    ctx: of the command, whose options are then named as they were given. With ``car --debug`` the error keeps its
    traceback.
    """
    try:
        yield
    except BrokenPipeError:  # the reader has gone: typer ends silently
        raise
    except Exception as error:  # those without an exit status are raised again
        from support.plugins import blamed  # only now: `car --help` waits for imports

        kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
        out_of_memory = "torch.OutOfMemoryError" in kinds  # by name, because importing torch takes seconds
        is_run_error = out_of_memory or isinstance(error, (OSError, RunError, UnicodeError))
        foreign = None if is_run_error or isinstance(error, UserError) else blamed(error)
        if not (is_run_error or isinstance(error, UserError) or foreign) or SHOW_TRACEBACKS.get():
            raise
        message = f"{foreign} (car --debug shows where)" if foreign else unwrapped(error)
        is_long_name = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        if isinstance(error, OSError) and not isinstance(error, UserError) and error.filename is not None:
            path, found = os.fsdecode(error.filename), error.strerror
            if is_long_name:
                longest = max(len(os.fsencode(name)) for name in path.split(os.sep))
                found = f"expected a shorter path, found {counted(longest, 'byte')} in its longest name"
            message = f"{path}: {unwrapped(found)}"
        if out_of_memory:
            message = message.partition(". ")[0]  # the rest is advice for programmers
            message += (
                ": free the device of other programs, or choose another --device, smaller models or smaller batches"
            )
        if isinstance(error, (UnicodeEncodeError, UnicodeDecodeError)):
            near = error.object[max(0, error.start - 40) : error.end + 20]
            message = f"expected {error.encoding} text, found {near!a}"
        ways = getattr(error, "ways", {})  # of an `UnnamedInputError`
        message = getattr(error, "problem", message)
        tell(f"error: {_as_given(message, ctx) if ctx and isinstance(error, UserError) else message}")
        for way, meaning in ways.items():
            tell(f"  {way.ljust(max(map(len, ways)))}  {meaning}")
        status = SAMPLES_FAILED if isinstance(error, AllFailedError) else RUN_ERROR
        is_of_request = foreign or is_long_name or isinstance(error, UserError)
        raise typer.Exit(SETUP_ERROR if is_of_request else status) from None
    except KeyboardInterrupt as interrupt:
        is_dry = ctx and ctx.params.get("dry_run")
        kept = "nothing was written" if is_dry else "finished work is kept, the same command resumes it"
        tell(f"interrupted; {kept}")
        number = getattr(interrupt, "number", None)
        raise typer.Exit(128 + number if number else INTERRUPTED) from None


def _as_given(message: str, ctx: Any) -> str:
    """A message of the library that begins with the field of an option: with the option, or the file that gave it."""
    field, colon, rest = message.partition(": ")
    if not colon:
        return message
    key, file = field.rstrip("_"), ctx.meta.get(WORDS_FILE)
    for given, where in (
        (ctx.params.get("set_"), "--set "),
        (ctx.meta.get(WORDS_LISTS, {}).get("set_"), f"{file}: set: "),
    ):
        keys = (each if isinstance(each, dict) else [each.partition("=")[0]] for each in given or ())
        if {key, key.partition(".")[0]} & {each.strip().rstrip("_") for each in itertools.chain(*keys)}:
            return f"{where}{key}: {rest}"
    for option in ctx.command.params:
        if option.name.rstrip("_") == field and option.opts[0].startswith("-"):
            source = ctx.get_parameter_source(option.name)
            is_of_file = source and source.name == "DEFAULT_MAP"
            return f"{file}: {field}: {rest}" if is_of_file else f"{max(option.opts, key=len)}: {rest}"
    return message


def exit_if_failed(runs: Sequence[Run], *, allow: bool) -> None:
    """If samples of the runs failed, report how many and exit with SAMPLES_FAILED; 0 if `allow` and not all did.

    Of runs whose samples all failed, each reason is reported once.
    """
    counts = [run.header.counts for run in runs]
    failed, total = (sum(getattr(count, name) for count in counts) for name in ("n_failed", "n_total"))
    if failed:
        tell(f"{failed} of {counted(total, 'sample')} failed; see the section Failed samples of each run's table")
        from evaluation.run.runner import why_all_failed  # only now: torch

        line_of = dict[str, str]()  # by reason
        for run in runs:
            if line := why_all_failed(run):
                line_of.setdefault(run.header.metrics["failed"][0]["error"], line)
        for line in line_of.values():
            tell(f"error: {line}")
        raise typer.Exit(0 if allow and not line_of else SAMPLES_FAILED)
