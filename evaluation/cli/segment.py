"""``car segment``: phrases on pictures of one's own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evaluation.cli import options
from evaluation.cli.exit_status import SAMPLES_FAILED, one_line_errors
from evaluation.cli.terminal import TERMINAL_WIDTH
from support.console import tell

if TYPE_CHECKING:
    from car_core.segmentation import Segmentation
    from evaluation.pictures.image_files import FileResult
    from evaluation.tasks.coco_json import CocoDocument


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("segment")(segment_command)


def segment_command(
    image: Annotated[str, typer.Argument(help="Image file, folder of images, or a quoted pattern such as 'a/*.jpg'.")],
    queries: Annotated[list[str], typer.Argument(metavar="QUERY...", help="Phrases to look for.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Picture of the masks; a folder for several images.")
    ] = None,
    steps: Annotated[
        Path | None, typer.Option(help="Picture of the unrolled recurrence; a folder for several images.")
    ] = None,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Masks in COCO's JSON format (run-length encoded); - for stdout.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print every step: scores, theta, who was dropped.")
    ] = False,
    weights: options.WeightsOption = None,
    proposal_weights: options.ProposalWeightsOption = None,
    classifier_weights: options.ClassifierWeightsOption = None,
    profile: options.ProfileOption = None,
    sam: options.SamOption = None,
    mode: options.ModeOption = options.ModeName.semantic,
    set_: options.SettingsOption = None,
    device: options.DeviceOption = "cpu",
    max_pixels: options.MaxPixelsOption = None,
) -> None:
    """Segment phrases in a picture, or in a folder of pictures.

    Exit status: 0, 2 for a mistake (nothing was done), 3 if an image could not be read (the others were).
    """
    with one_line_errors():
        from dataset_adapters.formats.images import set_max_pixels
        from evaluation.pictures.explain import LONE_PHRASE
        from evaluation.pictures.image_files import OutputPaths, check_document, find_images
        from evaluation.request.benchmark import parse_settings
        from evaluation.request.checks import check_models, check_phrases
        from evaluation.tasks.coco_json import CocoDocument

        if max_pixels is not None:
            set_max_pixels(max_pixels)
        images, pictures = find_images(image), OutputPaths(out, steps)
        pictures.check(images)
        if json and json != "-":
            check_document("--json", Path(json), images)
        by_role = options.weights_by_role(weights, proposal_weights, classifier_weights)
        settings = parse_settings(options.with_sam(set_, sam))
        asked: dict[str, Any] = {
            "profile": profile.value if profile else None,
            "mode": mode.value,
            "settings": settings,
            "device": device,
        }
        check_phrases(queries)
        check_models(by_role, **asked)
        results = _segmented(images, queries, by_role, asked, trace=steps is not None)
        document, n_failed, several = CocoDocument(queries), 0, len(images) > 1
        try:
            for found in _progress(results, len(images)):
                n_failed += found.error is not None
                _show(found, explain=explain, quiet=json == "-")
                if found.segmentation is not None:
                    for path in pictures.write(found.segmentation, found.path, several=several):
                        tell(f"written: {path}")
                    document.add(found.path, found.segmentation)
        finally:  # also what was found before an interrupt
            if json:
                _write_json(json, document)
        if len(queries) == 1 and n_failed < len(images):
            tell(f"notice: {LONE_PHRASE}")
    if n_failed:
        raise typer.Exit(SAMPLES_FAILED)


def _segmented(
    images: Sequence[Path],
    queries: Sequence[str],
    weights: Mapping[str, str | None],
    asked: Mapping[str, Any],
    *,
    trace: bool,
) -> Iterable[FileResult]:
    """What is found in each image. Models are loaded unless no image can be read."""
    from evaluation.pictures.image_files import unreadable

    failures = unreadable(images)
    if failures:
        return failures
    from evaluation.pictures.segment import load_car, segment_files  # torch: seconds

    return segment_files(load_car(weights, **asked), images, queries, trace=trace)


def _progress(found: Iterable[FileResult], total: int) -> Iterable[FileResult]:
    from tqdm import tqdm

    return tqdm(found, total=total, unit="image", disable=total == 1 or not sys.stderr.isatty(), dynamic_ncols=True)


def _show(found: FileResult, *, explain: bool, quiet: bool) -> None:
    """Print what was found, or on standard error why the image could not be read."""
    from evaluation.pictures.explain import summary_line

    if found.segmentation is None:
        tell(f"error: {found.error}")
    elif explain and not quiet:
        _explain(found.path, found.segmentation)
    elif not quiet:
        typer.echo(summary_line(found.path, found.segmentation))


def _explain(path: Path, found: Segmentation) -> None:
    from rich.console import Console

    from evaluation.pictures.explain import explained, explained_text

    if sys.stdout.isatty():
        Console(width=TERMINAL_WIDTH, highlight=False).print(explained(path, found))
    else:
        typer.echo(explained_text(path, found), nl=False)


def _write_json(place: str, document: CocoDocument) -> None:
    from support.files import write_atomically
    from support.strict_json import dumps

    text = dumps(document.as_dict()) + "\n"
    if place == "-":
        typer.echo(text, nl=False)
    else:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(place), text)
        tell(f"written: {place}")
