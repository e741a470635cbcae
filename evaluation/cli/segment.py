"""``car segment``: phrases in user-supplied images."""

from __future__ import annotations

import io
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evaluation.cli.exit_status import SAMPLES_FAILED
from evaluation.cli.model_options import takes
from evaluation.cli.terminal import tell_device, terminal_width
from evaluation.request.options import CarOptions
from support.console import is_terminal, tell
from support.errors import ImageError
from support.text import counted, duration

if TYPE_CHECKING:
    from car_core import CaR
    from evaluation.pictures.video import Clip
    from evaluation.request.resolve import ResolvedCar
    from support.arrays import RGBArray


CAR_WEIGHTS = (
    "CLIP weights of both models, required: an open_clip tag such as openai, a file, miniature (knows emoji only), "
    "or random:SEED for trials."
)
_OUTPUTS = "Where it goes"
_PARTS_OF_PHRASES = {"a", "an", "the", "of", "with", "and"}


@takes(CarOptions, weights=typer.Option(help=CAR_WEIGHTS))
def segment_command(
    *,
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE|QUERY",
            help="An image, a folder of images, a quoted pattern such as 'a/*.jpg', or a video (mp4, webm, gif, ...), "
            "followed by phrases to look for. With -p all arguments are images.",
        ),
    ],
    phrases: Annotated[
        list[str] | None, typer.Option("--phrase", "-p", metavar="QUERY", help="Phrase to look for. Repeatable.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            rich_help_panel=_OUTPUTS,
            help="Picture of the masks (video: .mp4); a folder for several images. [default: next to the image, unless "
            "another output is given]",
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            rich_help_panel=_OUTPUTS,
            help="Picture of the unrolled recurrence; a folder for several images.",
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_OUTPUTS,
            help="Masks in COCO's JSON format (run-length encoded); - for standard output.",
        ),
    ] = None,
    label_maps: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_OUTPUTS,
            help="Folder for a palette PNG per frame, as in DAVIS (videos only).",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=0.001,
            max=1000,
            help="Treat the images, sorted by name, as frames of a video, N per second.",
        ),
    ] = None,
    carry: Annotated[
        bool,
        typer.Option("--carry", help="Start each frame with the phrases that survived the previous one (videos only)."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print every step: scores, theta, dropped phrases.")
    ] = False,
    given: dict[str, Any],
) -> None:
    """Segment phrases in pictures or a video.

    Exit status: 0; 2 for a user error (nothing was done); 3 if an image or part of a video could not be read (the rest
    was segmented).
    """
    from car_core.queries import check_texts, require_any
    from dataset_adapters.formats.images import set_max_pixels
    from evaluation.pictures.explain import COMMA
    from evaluation.pictures.image_files import SegmentError, find_images, split_places
    from evaluation.pictures.video import FORMATS, Clip, is_video
    from evaluation.request.resolve import resolve_car
    from support.files import expanded

    images_at, queries = split_places(places, phrases or [])
    require_any(phrase=check_texts("phrase", queries, start=1))
    for query in queries:
        if "," in query:
            tell(f"notice: {COMMA.format(query=query, parts='arguments, as in cat dog')}")
    if {query.lower() for query in queries} & _PARTS_OF_PHRASES:
        tell(f"notice: {counted(len(queries), 'phrase')}: {' | '.join(queries)}; quote a phrase of several words")
    if given["max_pixels"] is not None:
        set_max_pixels(given["max_pixels"])
    images = list(dict.fromkeys(image for place in images_at for image in find_images(place)))
    # Among photos an animated GIF is one of them.
    videos = [image for image in images if is_video(image) and (len(images) == 1 or image.suffix.lower() != ".gif")]
    if videos and (len(images) > 1 or fps is not None):
        raise SegmentError(f"{videos[0]}: expected a single video, without --fps, found {' '.join(images_at)}")
    if fps is not None and len(images) == 1:
        raise SegmentError(f"--fps: expected several images, the frames of a video, found one, {images[0]}")
    is_clip = bool(videos) or fps is not None
    given["settings"] = {**given["settings"], **({"carry_queries": True} if carry else {})}
    for option, value, is_wrong in (
        (f"-o {out}", out and Path(out).suffix.lower() in FORMATS.keys() - {".gif"}, not is_clip),
        ("--label-maps", label_maps, not is_clip),
        ("--carry", given["settings"].get("carry_queries"), not is_clip),
        ("--steps", steps, is_clip),
        ("--explain", explain, is_clip),
    ):
        if value and is_wrong:
            expected = "images" if is_clip else "a video, or --fps N for images that are its frames"
            raise SegmentError(f"{option}: expected {expected}, found {' '.join(images_at)}")
    json = str(expanded(json)) if json else json
    if not is_clip:
        many = len(images_at) > 1 or not expanded(images_at[0]).is_file()
        _segment_images(images, queries, out, steps, json, explain=explain, many=many, options=CarOptions(**given))
        return
    if fps is None:
        clip = Clip.of_file(images[0])
    else:
        first = expanded(images_at[0])
        name = first if len(images_at) == 1 and first.is_dir() else images[0]
        clip = Clip(name, len(images), images, Fraction(fps).limit_denominator(1001))
    _segment_clip(clip, queries, out, json, label_maps, resolved=resolve_car(CarOptions(**given)))


def _segment_images(
    images: Sequence[Path],
    queries: Sequence[str],
    out: str | None,
    steps: str | None,
    json: str | None,
    *,
    explain: bool,
    many: bool,
    options: CarOptions,
) -> None:
    from rich.console import Console
    from tqdm import tqdm

    from dataset_adapters.formats.images import read_image
    from evaluation.pictures.explain import LONE_PHRASE, explained, explained_text, summary_line
    from evaluation.pictures.image_files import OutputPaths, check_document
    from evaluation.request.resolve import resolve_car
    from evaluation.tasks.coco_json import CocoWriter
    from support.files import write_output

    pictures = OutputPaths.planned(images, masks=out, steps=steps, many=many)
    if json and json != "-":
        check_document("--json", Path(json), images)
    resolved = resolve_car(options)
    if not (out or steps or json):
        pictures = OutputPaths.next_to(images, many=many)
    errors: dict[Path, ImageError] = {}

    def read(path: Path) -> RGBArray | None:
        try:
            return read_image(path, apply_exif=True)
        except ImageError as error:
            errors[path] = error
            return None

    # If no image can be read, no model is loaded.
    car = load_car(resolved) if any(read(path) is not None for path in images) else None
    checked = car.check_queries(queries) if car else ()
    document = CocoWriter(queries, text := io.StringIO())
    try:
        hidden = len(images) < 2 or not is_terminal(sys.stderr)
        for path in tqdm(images, unit="image", disable=hidden, dynamic_ncols=True):
            image = None if path in errors else read(path)  # what failed above is not read again
            if car is None or image is None:
                tell(f"error: {errors[path]}")
                continue
            found = car.segment(image, checked, trace=bool(steps))
            if json != "-":
                if not explain:
                    typer.echo(summary_line(path, found))
                elif is_terminal(sys.stdout):
                    Console(width=terminal_width(), highlight=False).print(explained(path, found))
                else:
                    typer.echo(explained_text(path, found), nl=False)
            for written in pictures.write(found, path):
                tell(f"written: {written}")
            document.add(str(path), found)
    finally:  # also what was found before an interrupt
        document.close()
        if json == "-":
            typer.echo(text.getvalue(), nl=False)
        elif json:
            Path(json).parent.mkdir(parents=True, exist_ok=True)
            write_output(Path(json), text.getvalue())
            tell(f"written: {json}")
    if len(queries) == 1 and len(errors) < len(images):
        tell(f"notice: {LONE_PHRASE}")
    if errors:
        raise typer.Exit(SAMPLES_FAILED)


def _segment_clip(
    clip: Clip,
    queries: Sequence[str],
    out: str | None,
    json: str | None,
    label_maps: Path | None,
    *,
    resolved: ResolvedCar,
) -> None:
    """Segment a video frame by frame; never more than a few frames are in memory."""
    from tqdm import tqdm

    from evaluation.pictures.explain import LONE_PHRASE
    from evaluation.pictures.image_files import SegmentError
    from evaluation.pictures.video import VideoOutputs, import_av

    outputs = VideoOutputs.planned(
        clip, queries, out=out, json=json, label_maps=label_maps, one_object=resolved.config.mode == "referring"
    )
    if outputs.video:
        import_av()
    car = load_car(resolved)
    times: deque[Fraction] = deque()

    def images() -> Iterator[RGBArray]:
        for frame in clip.frames():
            times.append(frame.seconds)
            yield frame.image

    results = car.segment_frames(images(), queries)
    n_frames_of = Counter[int]()
    fault: Exception | None = None
    n_done, is_live, start = 0, is_terminal(sys.stderr), time.monotonic()
    is_forecast = is_live
    with (
        outputs.opened() as write,
        tqdm(total=clip.n_frames, unit="frame", disable=not is_live, dynamic_ncols=True) as bar,
    ):
        try:
            for found in results:
                write(found, times.popleft())
                n_frames_of.update(found.kept)
                n_done += 1
                bar.update()
                spent = time.monotonic() - start
                if clip.n_frames and not is_forecast and spent >= 10:
                    is_forecast, left = True, clip.n_frames - n_done
                    tell(f"{clip.path.name}: about {duration(spent / n_done * left)} for {counted(left, 'frame')} more")
        except (ImageError, SegmentError) as error:
            fault = error
            if not n_done:
                raise
    seconds = time.monotonic() - start
    tell(f"{counted(n_done, 'frame')} in {duration(seconds)}, {n_done / seconds:.3g} frames/s")
    tell(f"found in frames: {', '.join(f'{query} {n_frames_of[i]}' for i, query in enumerate(queries))}")
    for path in outputs.paths():
        tell(f"written: {path}")
    if len(queries) == 1:
        tell(f"notice: {LONE_PHRASE}")
    if fault:
        tell(f"error: {fault}")
        raise typer.Exit(SAMPLES_FAILED)


def load_car(resolved: ResolvedCar) -> CaR:
    """CaR for user-supplied images; prints the device if it was chosen, and the profile. Raises ModelError."""
    from car_core import CaR  # torch: seconds
    from car_core.engine.device import as_devices
    from car_core.names import AUTO

    device = resolved.device
    if device == AUTO:
        [device] = as_devices(device, compared=resolved.config.sam is None)
    car = CaR.from_config(resolved.config, weights=resolved.weights, device=device)
    tell_device(resolved.device, str(car.device))
    tell(f"profile: {resolved.config.profile}")
    return car
