"""``car serve``: the web demo."""

from __future__ import annotations

import errno
import signal
import threading
from typing import Annotated, Any

import typer

from evaluation.cli.exit_status import INTERRUPTED
from evaluation.cli.model_options import takes
from evaluation.cli.segment import CAR_WEIGHTS, load_car
from evaluation.request.options import CarOptions
from support.console import tell
from support.text import shortened


@takes(CarOptions, without={"max_pixels"}, weights=typer.Option(help=CAR_WEIGHTS))
def serve_command(
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the loopback address exposes the page to other machines.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="[default: the first free one from 7860]")] = None,
    given: dict[str, Any],
) -> None:
    """Serve a web demo on this machine; needs the extra `serve`.

    The page takes a picture and phrases and shows masks, scores and the unrolled recurrence, with sliders for the
    thresholds. It contacts no other machine.
    """
    from evaluation.pictures.image_files import SegmentError
    from evaluation.request.resolve import resolve_car

    resolved = resolve_car(CarOptions(**given))
    try:
        from evaluation.pictures.demo import page
    except ModuleNotFoundError as error:
        raise SegmentError(f"serve: expected Gradio (pip install 'car-eval[serve]'), found no {error.name}") from None
    try:
        page.require_address(host, port)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        expected = "a free port (--port)" if is_taken else "an address of this machine"
        where = shortened(repr(host)) + (f" with port {port}" if is_taken else "")
        reason = getattr(error, "strerror", "no host is called that")
        raise SegmentError(f"host: expected {expected}, found {where} ({reason})") from None
    car = load_car(resolved)
    from evaluation.pictures.demo.backend import Demo

    if host not in page.LOOPBACK:
        tell(f"notice: {host} may be reached from other machines, without a password")
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C
        if number := getattr(signal, name, None):
            signal.signal(number, _end)
    try:
        with page.serving(Demo(car), host=host, port=port) as address:
            typer.echo(f"Running on {address} (Ctrl-C stops it)")
            threading.Event().wait()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
