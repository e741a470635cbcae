"""``car segment`` on videos: what it writes is read back and compared with the frames segmented one by one."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from typer.testing import CliRunner, Result

from car_core import CaR, CaRConfig
from evaluation.cli.app import app
from evaluation.pictures.image_files import SegmentError
from evaluation.pictures.video import Clip, VideoOutputs, VideoWriter, is_video
from support.drawing import draw_overlay, label_color

av = pytest.importorskip("av")
QUERIES = ["cat", "dog", "a red ball"]


def pictures(n: int = 5, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """A disk that moves over a gradient."""
    ys, xs = np.mgrid[: size[0], : size[1]]
    found = []
    for i in range(n):
        image = np.stack([3 * xs, 4 * ys, np.full_like(xs, 60)], axis=2).clip(0, 255).astype(np.uint8)
        image[(ys - 24) ** 2 + (xs - 12 - 8 * i) ** 2 < 100] = (230, 30, 40)
        found.append(image)
    return found


def write_clip(path: Path, images: list[np.ndarray], *, fps: int = 10, codec: str = "libx264", **options: str) -> Path:
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        for image in images:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    return path


def read(path: Path) -> tuple[list[np.ndarray], list[float], Any]:
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        frames = list(clip.decode(stream))
        facts = stream.codec_context.name, stream.pix_fmt, stream.average_rate, len(clip.streams)
        return [frame.to_ndarray(format="rgb24") for frame in frames], [float(frame.time) for frame in frames], facts


@pytest.fixture
def segment(tiny_model: Path) -> Any:
    def run(*words: object) -> Result:
        models = [f"--set={role}_model={tiny_model}" for role in ("proposal", "classifier")]
        given = ["segment", *map(str, words), "--weights=random:1", "--set=theta=0.3", "--device=cpu", *models]
        return CliRunner().invoke(app, given)

    return run


@pytest.fixture
def car(tiny_model: Path) -> CaR:
    config = CaRConfig(proposal_model=str(tiny_model), classifier_model=str(tiny_model), theta=0.3)
    return CaR.from_config(config, weights="random:1")


def test_a_video_is_segmented_frame_by_frame(segment: Any, car: CaR, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pictures())
    out, masks, maps = tmp_path / "new" / "out.mp4", tmp_path / "masks.json", tmp_path / "maps"
    result = segment(clip, *QUERIES, "-o", out, "--json", masks, "--label-maps", maps)
    assert result.exit_code == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("written: ")] == [
        f"written: {path}" for path in (out, masks, maps)
    ]
    frames, times, _ = read(clip)
    shown, at, facts = read(out)
    assert facts == ("h264", "yuv420p", Fraction(10), 1)
    assert at == times
    assert [image.shape[1] for image in shown] == [64] * 5
    coco = COCO(masks)
    assert [coco.cats[i + 1]["name"] for i in range(3)] == QUERIES
    for number, (image, overlay) in enumerate(zip(frames, shown, strict=True)):
        found = car.segment(image, QUERIES)
        entry = coco.imgs[number + 1]
        assert (entry["frame"], entry["time"], entry["height"]) == (number, times[number], 48)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[number + 1]))
        assert [each["category_id"] - 1 for each in annotations] == list(found.kept)
        for each in annotations:
            np.testing.assert_array_equal(coco_mask.decode(each["segmentation"]), found.masks[each["category_id"] - 1])
        label_map = Image.open(maps / f"{number:05d}.png")
        assert label_map.mode == "P"
        np.testing.assert_array_equal(np.asarray(label_map), found.label_map)
        expected = draw_overlay(image, found.label_map, {i + 1: label_color(i) for i in range(3)})
        assert np.abs(overlay[:48].astype(int) - expected).mean() < 8  # lossy, colors at half the resolution
    assert any(coco.anns.values())


def test_the_state_is_carried_as_in_the_temporal_benchmark(segment: Any, car: CaR, tmp_path: Path) -> None:
    images = pictures(6)
    kept, expected = list(QUERIES), []
    for image in images:
        kept = [kept[i] for i in car.segment(image, kept).kept] if kept else []
        expected.append(kept)
    found = list(car.segment_frames(images, QUERIES, carry=True))
    assert [[each.queries[i] for i in each.kept] for each in found] == expected
    assert len(expected[0]) < 3  # else nothing is carried
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    result = segment(folder, *QUERIES, "--fps=5", "--carry", "--json=-")
    document = json.loads(result.stdout)
    names = {each["id"]: each["name"] for each in document["categories"]}
    own = [[names[a["category_id"]] for a in document["annotations"] if a["image_id"] == i + 1] for i in range(6)]
    assert own == expected
    assert [image["file_name"] for image in document["images"]] == [str(folder / f"{i}.png") for i in range(6)]
    assert [image["time"] for image in document["images"]] == [i / 5 for i in range(6)]


def test_nothing_is_left_once_no_phrase_survived(car: CaR) -> None:
    strict = car.with_config(car.config.model_copy(update={"theta": 1.0, "keep_best": False}))
    for found in strict.segment_frames(pictures(2), QUERIES, carry=True):
        assert (found.queries, found.kept, found.masks.shape) == (tuple(QUERIES), (), (3, 48, 64))
        assert not found.label_map.any()
        assert found.plot().size[0] == 640


def test_times_of_a_gif_and_odd_sides(segment: Any, tmp_path: Path) -> None:
    images = [Image.fromarray(image) for image in pictures(4, (47, 63))]
    clip = tmp_path / "clip.gif"
    images[0].save(clip, save_all=True, append_images=images[1:], duration=[100, 400, 100, 200])
    assert is_video(clip)
    result = segment(clip, "cat", "dog")
    assert result.exit_code == 0, result.stderr
    shown, at, _ = read(tmp_path / "clip-masks.mp4")
    np.testing.assert_allclose(at, [0, 0.1, 0.5, 0.6], atol=1e-3)
    assert shown[0].shape[1] == 64
    assert shown[0].shape[0] % 2 == 0
    images[0].save(clip)
    assert not is_video(clip)


def test_a_turned_video_is_read_upright(tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = (250, 250, 250)  # top left as stored
    clip = write_clip(tmp_path / "clip.mp4", [image] * 3)
    content = bytearray(clip.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    turn = [0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000]  # a telephone held upright: shown 90 degrees clockwise
    content[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big") for value in turn)
    clip.write_bytes(content)
    first = next(Clip.of_file(clip).frames()).image
    assert first.shape == (64, 48, 3)
    assert first[:30, 26:].min() > 200  # top right as shown
    assert first[:30, :22].max() < 50


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def no_picture(path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        out.mux([*stream.encode(frame), *stream.encode()])


FAULTS: dict[str, tuple[Any, str]] = {
    "broken.mp4": (lambda path: path.write_bytes(b"no video"), "expected a video, found: Invalid data"),
    "empty.webm": (lambda path: path.write_bytes(b""), "expected a video, found: "),
    "headless.mp4": (lambda path: cut(write_clip(path, pictures()), 0.3), "expected a video, found: Invalid data"),
    "playlist.mp4": (
        lambda path: path.write_text("#EXTM3U\n#EXTINF:9,\nfile:///etc/hosts\n"),
        "expected a video, found",
    ),
    "sound.mp4": (no_picture, "expected a video, found a file without one"),
    "large.mp4": (
        lambda path: write_clip(path, pictures(2, (64, 64))),
        "expected at most 3072 pixels per frame, found 64",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_video_is_one_line(segment: Any, tmp_path: Path, name: str) -> None:
    make, expected = FAULTS[name]
    clip = tmp_path / "here" / name
    clip.parent.mkdir()
    make(clip)
    result = segment(clip, "cat", "dog", "--max-pixels=3072")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
    assert f"{clip}: {expected}" in result.stderr
    assert [path.name for path in clip.parent.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "options"),
    [("clip.mp4", {"movflags": "faststart"}), ("clip.webm", {"codec": "libvpx-vp9"})],
)
def test_what_a_shortened_video_holds_is_segmented(segment: Any, tmp_path: Path, name: str, options: Any) -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8))
    clip = write_clip(tmp_path / name, noise, **options)
    cut(clip, 0.3)
    result = segment(clip, "cat", "dog", "--set=crf=null")
    assert result.exit_code == 3
    assert "error: " in result.stderr.splitlines()[-1]
    assert str(clip) in result.stderr.splitlines()[-1]
    assert 0 < len(read(tmp_path / "clip-masks.mp4")[0]) < 30


def test_frames_of_different_sizes_end_the_video(segment: Any, tmp_path: Path) -> None:
    for name, size in (("a.png", (48, 64)), ("b.png", (64, 48))):
        Image.fromarray(pictures(1, size)[0]).save(tmp_path / name)
    result = segment(tmp_path, "cat", "dog", "--fps=5", "--json=-")
    assert result.exit_code == 3
    assert "frame 2: expected 64 x 48 pixels, found 48 x 64" in result.stderr
    assert len(json.loads(result.stdout)["images"]) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["cat", "-o", "out.avi"], "-o: expected an .mp4 file"),
        (["cat", "-o", "clip.mp4"], "the image's own"),
        (["cat", "--steps", "s.png"], "--steps: expected images, found clip.mp4"),
        (["cat", "--explain"], "--explain: expected images"),
        (["cat", "--fps=5"], "clip.mp4: expected a single video, without --fps"),
        (["other.mp4", "-p", "cat"], "clip.mp4: expected a single video"),
        (["cat", "--label-maps", "."], "--label-maps: expected an empty or new folder"),
    ],
)
def test_mistakes_are_one_line(
    segment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("clip.mp4", "other.mp4"):
        write_clip(Path(name), pictures(2))
    result = segment("clip.mp4", *words)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
    assert expected in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["clip.mp4", "other.mp4"]


def test_without_pyav_there_is_one_line(segment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pictures(2))
    monkeypatch.setitem(sys.modules, "av", None)
    result = segment(clip, "cat", "dog")
    assert result.exit_code == 2
    assert result.stderr == "error: video: expected PyAV (pip install 'car-eval[video]'), found none\n"


def test_a_video_of_no_frame_is_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4"):
        pass
    assert not any(tmp_path.iterdir())


def planned(clip: Clip, out: str | None = None) -> Path | None:
    return VideoOutputs.planned(clip, ["cat"], out=out, json=None, label_maps=None, one_object=False).video


def test_in_the_clips_own_folder_only_a_new_file_is_planned(tmp_path: Path) -> None:
    for name in ("clip.mov", "clip.mp4"):
        (tmp_path / name).write_text("mine")
    clip = Clip(tmp_path / "clip.mov", None)
    assert planned(clip) == planned(clip, str(tmp_path)) == tmp_path / "clip-masks.mp4"
    (tmp_path / "clip-masks.mp4").write_text("mine")
    assert planned(clip, str(tmp_path)) == tmp_path / "clip-masks-2.mp4"
    assert planned(clip, f"{tmp_path}/new/") == tmp_path / "new" / "clip.mp4"
    (tmp_path / "frames").mkdir()
    frames = Clip(tmp_path / "frames", 1, [tmp_path / "frames" / "1.png"])
    for out in (tmp_path, tmp_path / "frames"):
        assert planned(frames, str(out)) == out / "frames-masks.mp4"


def test_a_folder_named_by_dots_gives_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "frames" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "frames" / "in")
    assert planned(Clip(Path(), 1, [Path("1.png")])) == tmp_path / "frames" / "in-masks.mp4"
    assert planned(Clip(Path(".."), 1, [Path("../1.png")])) == tmp_path / "frames-masks.mp4"
    assert planned(Clip(Path("/"), 1, [Path("/1.png")]), "new/") == Path("new/video.mp4")


def test_a_time_that_no_container_holds_is_one_line(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        packets = [*stream.encode(av.VideoFrame.from_ndarray(pictures(1)[0], format="rgb24")), *stream.encode()]
        for packet in packets:
            packet.pts = packet.dts = 2**55
            packet.time_base = Fraction(1, 1000)
            out.mux(packet)
    with pytest.raises(
        SegmentError, match=r"clip\.mkv: frame 1: expected a time up to 2147483648 s, found 3\.6e\+13 s"
    ):
        next(Clip.of_file(clip).frames())


def test_without_a_frame_an_existing_document_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = tmp_path / "masks.json"
    masks.write_text("mine")
    for json_ in (str(masks), "-"):
        outputs = VideoOutputs.planned(
            Clip(tmp_path / "clip.mp4", None), ["cat"], out=None, json=json_, label_maps=None, one_object=False
        )
        with pytest.raises(SegmentError, match="cut"), outputs.opened():
            raise SegmentError("cut")
    assert (masks.read_text(), capsys.readouterr().out) == ("mine", "")


def test_among_photos_an_animated_gif_is_one(segment: Any, tmp_path: Path) -> None:
    first, *others = [Image.fromarray(image) for image in pictures(2)]
    first.save(tmp_path / "a.gif", save_all=True, append_images=others)
    first.save(tmp_path / "b.png")
    result = segment(tmp_path, "cat", "dog", "--set=crf=null", "--json=-")
    assert result.exit_code == 0, result.stderr
    assert [Path(image["file_name"]).name for image in json.loads(result.stdout)["images"]] == ["a.gif", "b.png"]
