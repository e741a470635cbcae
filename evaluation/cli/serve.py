"""``car serve``: the web demo."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Annotated, Any

import typer

from evaluation.cli import options
from evaluation.cli.exit_status import one_line_errors
from support.console import tell


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve_command)


def serve_command(
    host: Annotated[str, typer.Option(help="Address to listen on; another than the loopback lets others in.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="[default: the first free one from 7860]")] = None,
    weights: options.WeightsOption = None,
    proposal_weights: options.ProposalWeightsOption = None,
    classifier_weights: options.ClassifierWeightsOption = None,
    profile: options.ProfileOption = None,
    sam: options.SamOption = None,
    mode: options.ModeOption = options.ModeName.semantic,
    set_: options.SettingsOption = None,
    device: options.DeviceOption = "cpu",
) -> None:
    """Serve a web page on which pictures are segmented; needs the extra `serve`.

    A picture and phrases in; masks, scores and the unrolled recurrence out, with sliders for the thresholds. Nothing is
    sent to or loaded from any other machine.
    """
    with one_line_errors():
        from evaluation.request.benchmark import parse_settings
        from evaluation.request.checks import check_models

        by_role = options.weights_by_role(weights, proposal_weights, classifier_weights)
        asked: dict[str, Any] = {
            "profile": profile.value if profile else None,
            "mode": mode.value,
            "settings": parse_settings(options.with_sam(set_, sam)),
            "device": device,
        }
        check_models(by_role, **asked)
        page = _page()
        from evaluation.pictures.segment import load_car

        car = load_car(by_role, **asked)
        from evaluation.pictures.demo.backend import Demo

        if host not in page.LOOPBACK:
            tell(f"notice: {host} may be reached from other machines, without a password")
        with page.serving(Demo(car), host=host, port=port) as address:
            typer.echo(f"Running on {address} (Ctrl-C stops it)")
            threading.Event().wait()


def _page() -> ModuleType:
    """The module of the page. Raises SegmentError where Gradio is not installed."""
    from evaluation.pictures.image_files import SegmentError

    try:
        from evaluation.pictures.demo import page
    except ModuleNotFoundError as error:
        raise SegmentError(f"serve: expected Gradio (pip install 'car-eval[serve]'), found no {error.name}") from None
    return page
