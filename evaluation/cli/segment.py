"""``car segment``: phrases in user-supplied images."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evaluation.cli.exit_status import SAMPLES_FAILED
from evaluation.cli.model_options import takes
from evaluation.cli.terminal import TERMINAL_WIDTH
from evaluation.request.options import CarOptions
from support.console import is_terminal, tell

if TYPE_CHECKING:
    from evaluation.pictures.image_files import FileResult


@takes(CarOptions)
def segment_command(
    *,
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
        bool, typer.Option("--explain", help="Print every step: scores, theta, dropped queries.")
    ] = False,
    given: dict[str, Any],
) -> None:
    """Segment phrases in a picture, or in a folder of pictures.

    Exit status: 0; 2 for a user error (nothing was done); 3 if an image could not be read (the others were segmented).
    """
    from tqdm import tqdm

    from car_core.queries import check_texts, require_any
    from dataset_adapters.formats.images import set_max_pixels
    from evaluation.pictures.explain import LONE_PHRASE
    from evaluation.pictures.image_files import OutputPaths, check_document, find_images, unreadable
    from evaluation.request.resolve import resolve_car
    from evaluation.tasks.coco_json import CocoDocument
    from support.files import expanded, write_output
    from support.strict_json import dumps

    images, pictures = find_images(image), OutputPaths(out, steps)
    json = str(expanded(json)) if json else json
    pictures.check(images)
    if json and json != "-":
        check_document("--json", Path(json), images)
    require_any(queries=check_texts("queries", queries))
    resolved = resolve_car(CarOptions(**given))
    if given["max_pixels"] is not None:
        set_max_pixels(given["max_pixels"])
    results: Iterable[FileResult] = unreadable(images)  # if no image can be read, no model is loaded
    if not results:
        from evaluation.pictures.segment import load_car, segment_files  # torch: seconds

        results = segment_files(load_car(resolved), images, queries, trace=steps is not None)
    document, n_failed, several = CocoDocument(queries), 0, len(images) > 1
    try:
        hidden = not several or not is_terminal(sys.stderr)
        for found in tqdm(results, total=len(images), unit="image", disable=hidden, dynamic_ncols=True):
            if found.segmentation is None:
                n_failed += 1
                tell(f"error: {found.error}")
                continue
            if json != "-":
                _show(found, explain=explain)
            for path in pictures.write(found.segmentation, found.path, several=several):
                tell(f"written: {path}")
            document.add(found.path, found.segmentation)
    finally:  # also what was found before an interrupt
        text = dumps(document.as_dict()) + "\n"
        if json == "-":
            typer.echo(text, nl=False)
        elif json:
            Path(json).parent.mkdir(parents=True, exist_ok=True)
            write_output(Path(json), text)
            tell(f"written: {json}")
    if len(queries) == 1 and n_failed < len(images):
        tell(f"notice: {LONE_PHRASE}")
    if n_failed:
        raise typer.Exit(SAMPLES_FAILED)


def _show(found: FileResult, *, explain: bool) -> None:
    """Print what was found in an image."""
    from rich.console import Console

    from evaluation.pictures.explain import explained, explained_text, summary_line

    assert found.segmentation is not None
    if not explain:
        typer.echo(summary_line(found.path, found.segmentation))
    elif is_terminal(sys.stdout):
        Console(width=TERMINAL_WIDTH, highlight=False).print(explained(found.path, found.segmentation))
    else:
        typer.echo(explained_text(found.path, found.segmentation), nl=False)
