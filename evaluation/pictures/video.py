"""Your own videos: frames of a file or of a folder in; a video of the masks, COCO's JSON and label maps out."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from car_core.segmentation import Segmentation
from dataset_adapters.formats.images import max_pixels, open_picture, read_image
from evaluation.pictures.image_files import SegmentError, check_document, path_in, refuse_replacing
from evaluation.tasks.coco_json import CocoWriter
from results import write_label_map
from support.arrays import RGBArray
from support.drawing import Canvas, LegendEntry, draw_legend_row, draw_overlay, label_color, legend_rows
from support.files import expanded, resolved
from support.text import unwrapped

FORMATS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov"), "mp4"),
    **dict.fromkeys((".webm", ".mkv"), "matroska"),
    ".avi": "avi",
    ".gif": "gif",
}
"""Containers by the ending of a file. Only these are read: others, such as playlists, name files elsewhere."""
_TICKS = 90_000  # per second: whole numbers for all usual frame rates
_MOST_SECONDS = 2**31  # containers count ticks in 64 bits


class Frame(NamedTuple):
    """One frame: its time in seconds, and its upright pixels, uint8 [H, W, 3]."""

    seconds: Fraction
    image: RGBArray


@dataclass(frozen=True)
class Clip:
    """A video file; or images that are its frames, ``fps`` of them per second. n_frames: None where unknown."""

    path: Path
    n_frames: int | None
    images: Sequence[Path] = ()
    fps: Fraction = Fraction(25)

    @classmethod
    def of_file(cls, path: Path) -> Clip:
        """Raises SegmentError for what is not a video, too large, or without PyAV."""
        with _opened(path) as (_, stream):
            return cls(path, stream.frames or None)

    def frames(self) -> Iterator[Frame]:
        """Decode the frames one after the other.

        Raises ImageError for an image that cannot be read, SegmentError for a damaged or shortened file, for one
        without frames and where a frame has another size than the first.
        """
        size, n_read = None, 0
        images = (Frame(i / self.fps, read_image(path, apply_exif=True)) for i, path in enumerate(self.images))
        for frame in images if self.images else self._of_file():
            size = size or frame.image.shape[:2]
            if frame.image.shape[:2] != size:
                expected, found = (f"{width} x {height}" for height, width in (size, frame.image.shape[:2]))
                raise SegmentError(f"{self.path}: frame {n_read + 1}: expected {expected} pixels, found {found}")
            n_read += 1
            yield frame
        if not n_read:
            raise SegmentError(f"{self.path}: expected a video with frames, found none")

    def _of_file(self) -> Iterator[Frame]:
        with _opened(self.path) as (container, stream):
            number, first, last, gap = -1, None, Fraction(-1, _TICKS), Fraction(0)
            for number, frame in enumerate(container.decode(stream)):
                _require_size(self.path, frame.width, frame.height)
                at = frame.pts * frame.time_base if frame.pts is not None else number / (stream.average_rate or 25)
                at = max(Fraction(at), last + Fraction(1, _TICKS))  # a damaged file may go back in time
                if at > _MOST_SECONDS:
                    raise SegmentError(
                        f"{self.path}: frame {number + 1}: expected a time up to {_MOST_SECONDS} s, found "
                        f"{float(at):.3g} s"
                    )
                first, gap, last = at if first is None else first, max(gap, at - last) if number else gap, at
                turned = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                yield Frame(last, np.ascontiguousarray(turned))
            # The last frame may be shown for long, and a trimmed MP4 says more frames than it shows.
            whole = stream.duration * stream.time_base if stream.duration else None
            if whole is None and container.duration and len(container.streams) == 1:
                whole = Fraction(container.duration, 1_000_000)
            missing = (whole or 0) - (last - (first or 0)) - gap * 3 / 2
            if number >= 0 and number + 1 < (stream.frames or math.inf) and missing > (0 if stream.frames else 1):
                raise SegmentError(
                    f"{self.path}: expected {float(whole or 0):.2f} s, found {float(last):.2f} s: the file is truncated"
                )


def is_video(path: Path) -> bool:
    """Whether a path is a video file by its ending; a GIF if it is animated."""
    if path.suffix.lower() not in FORMATS or not path.is_file():
        return False
    if path.suffix.lower() != ".gif":
        return True
    try:
        with open_picture(path) as picture:
            return bool(getattr(picture, "is_animated", False))
    except Exception:  # what is not a picture is refused where it is read
        return False


def legend(queries: Sequence[str], width: int, *, one_object: bool) -> RGBArray:
    """A strip with the color of each query, the same for all of one object; uint8 [h, width, 3]."""
    size = max(15, width // 48)
    entries = [LegendEntry(label_color(0 if one_object else index), query) for index, query in enumerate(queries)]
    rows = legend_rows(entries, size, width - size)
    canvas = Canvas(width, size + 2 * size * len(rows))
    for number, row in enumerate(rows):
        draw_legend_row(canvas, row, size, size // 2, size * 3 // 4 + 2 * size * number)
    return canvas.picture()


class VideoWriter:
    """Writes pictures as H.264 (yuv420p, MP4), which browsers play; an odd side is padded by one pixel.

    The file appears with the first frame. Raises SegmentError where it cannot be encoded or written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._av = path, import_av()
        self._container: Any = None
        self._at, self._shown = 0, _TICKS // 25

    def add(self, picture: RGBArray, seconds: Fraction) -> None:
        """The next frame, uint8 [H, W, 3], all of one size."""
        height, width = picture.shape[:2]
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with self._named():
            if self._container is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._container = self._av.open(
                    str(self._path.absolute()), "w", format="mp4", options={"movflags": "+faststart"}
                )
                self._stream = self._container.add_stream(
                    "libx264", rate=25, options={"crf": "18", "preset": "veryfast"}
                )
                self._stream.height, self._stream.width = picture.shape[:2]
                self._stream.pix_fmt = "yuv420p"
                self._stream.codec_context.time_base = Fraction(1, _TICKS)
            frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(seconds * _TICKS), Fraction(1, _TICKS)
            if frame.pts > self._at:
                self._shown = frame.pts - self._at
            self._at = frame.pts
            self._encode(frame)

    def _encode(self, frame: Any = None) -> None:
        """Encode a frame; None for those that are still in the encoder."""
        for packet in self._stream.encode(frame):
            packet.duration = self._shown  # counts for the last: it is shown as long as the one before
            self._container.mux(packet)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except self._av.FFmpegError as error:
            raise SegmentError(f"{self._path}: expected a video that can be written, found: {_reason(error)}") from None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._container is not None:
            with self._named():  # also after an interrupt: what there is can be played
                self._encode()
                self._container.close()


@dataclass(frozen=True)
class VideoOutputs:
    """The outputs for a video. video: of the masks, with a legend below. json: COCO's masks, or - for standard
    output. label_maps: folder of palette PNGs. one_object: whether all queries are of one, as in referring mode."""

    clip: Clip
    queries: Sequence[str]
    video: Path | None
    json: str | None
    label_maps: Path | None
    one_object: bool

    @classmethod
    def planned(
        cls,
        clip: Clip,
        queries: Sequence[str],
        *,
        out: str | None,
        json: str | None,
        label_maps: Path | None,
        one_object: bool,
    ) -> VideoOutputs:
        """Where outputs go; if none is asked for, the video is written next to the clip, to a new file.

        Raises SegmentError before any work for what could not be written or would replace an input.
        """
        path = clip.path if clip.path.name.strip(".") else resolved(clip.path)  # . and .. have a name elsewhere
        inputs, name = (*clip.images, path), f"{path.stem or 'video'}.mp4"
        video = expanded(out) if out else None
        if out and video and (video.is_dir() or out.endswith(os.sep)):
            video = path_in(video, name, "masks", inputs)
        elif video and video.suffix.lower() != ".mp4":
            raise SegmentError(f"-o: expected an .mp4 file, or a folder, out/, found {str(video)!r}")
        if not (out or json or label_maps):
            video = path_in(path.parent, name, "masks", inputs)
        if json and json != "-":
            check_document("--json", Path(json), inputs)
        if video:
            refuse_replacing("-o", {video}, inputs)
        if label_maps:
            label_maps = expanded(label_maps)
            if label_maps.exists() and (not label_maps.is_dir() or any(label_maps.iterdir())):
                raise SegmentError(f"label_maps: expected an empty or new folder, found {label_maps}")
            if len(queries) > 255:
                raise SegmentError(f"label_maps: expected at most 255 phrases, found {len(queries)}")
        return cls(clip, queries, video, json, label_maps, one_object)

    def paths(self) -> list[str]:
        """The outputs that were written."""
        return [str(each) for each in (self.video, self.json, self.label_maps) if each and each != "-"]

    @contextmanager
    def opened(self) -> Iterator[Callable[[Segmentation, Fraction], None]]:
        """Gives a function that writes the next frame, found at a time; files appear with the first."""
        number = itertools.count()
        with ExitStack() as stack:
            video = stack.enter_context(VideoWriter(self.video)) if self.video else None
            document: CocoWriter | None = None
            strip: RGBArray | None = None

            def write(found: Segmentation, seconds: Fraction) -> None:
                nonlocal document, strip
                position, labels = next(number), found.label_map
                if found.merged_mask is not None:
                    labels = found.merged_mask.astype(np.int32)
                if video:
                    image = found.required_image()
                    strip = legend(self.queries, image.shape[1], one_object=self.one_object) if strip is None else strip
                    colors = {i + 1: label_color(i) for i in range(len(self.queries))}
                    video.add(np.concatenate([draw_overlay(image, labels, colors), strip]), seconds)
                if self.json:
                    if document is None:  # without a frame, what a file held before stays
                        stream: TextIO = sys.stdout
                        if self.json != "-":
                            Path(self.json).parent.mkdir(parents=True, exist_ok=True)
                            stream = stack.enter_context(open(self.json, "w", encoding="utf-8"))
                        document = CocoWriter(self.queries, stream)
                        stack.callback(document.close)
                    images = self.clip.images
                    name = str(images[position]) if images else f"{self.clip.path}#{position}"
                    document.add(name, found, float(seconds))
                if self.label_maps:
                    write_label_map(self.label_maps / f"{position:05d}.png", labels)

            yield write


def import_av() -> Any:
    """PyAV. Raises SegmentError where it is not installed."""
    try:
        import av
    except ImportError:
        raise SegmentError("video: expected PyAV (pip install 'car-eval[video]'), found none") from None
    return av


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream. Raises SegmentError."""
    av = import_av()
    try:
        with av.open(os.fspath(path.absolute()), format=FORMATS[path.suffix.lower()]) as container:
            if not container.streams.video:
                raise SegmentError(f"{path}: expected a video, found a file without one")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise SegmentError(f"{path}: expected a video in a known coding, found another")
            _require_size(path, stream.width, stream.height)
            stream.thread_type = "AUTO"
            yield container, stream
    except av.FFmpegError as error:
        raise SegmentError(f"{path}: expected a video, found: {_reason(error)}") from None


def _require_size(path: Path, width: int, height: int) -> None:
    if width * height > max_pixels():
        raise SegmentError(f"{path}: expected at most {max_pixels()} pixels per frame, found {width} x {height}")


def _reason(error: Any) -> str:
    return unwrapped(error.strerror or error)
