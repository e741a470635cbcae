"""Decoded pixels against pixels computed by other means."""

from __future__ import annotations

import io
import os
import pickle
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dataset_adapters import DatasetError, ImageError, read_image, read_label_map
from dataset_adapters.formats.images import (
    MAX_PIXELS,
    MAX_PIXELS_VARIABLE,
    ImageFileError,
    exif_orientation,
    read_label_map16,
    set_max_pixels,
)

RNG = np.random.default_rng(5)
COLOR = RNG.integers(0, 256, (5, 8, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 8), dtype=np.uint8)


def png(header: bytes, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Assemble a PNG by hand from its IHDR fields, unfiltered rows and further chunks."""
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body)) for tag, body in parts
    )


def stack(gray: np.ndarray) -> np.ndarray:
    return np.stack([gray] * 3, axis=-1)


def test_rgb_png_is_unchanged_and_writable(tmp_path: Path) -> None:
    Image.fromarray(COLOR).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, COLOR)


def test_color_jpeg_is_rgb_not_bgr(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 0] = 200
    Image.fromarray(pixels).save(tmp_path / "red.jpg", quality=95)
    image = read_image(str(tmp_path / "red.jpg"))
    assert np.abs(image.astype(int) - pixels).max() <= 4


def test_jpeg_agrees_with_another_decoder(tmp_path: Path) -> None:
    smooth = cv2.resize(COLOR, (64, 48), interpolation=cv2.INTER_LINEAR)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95, subsampling=0)
    other = cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1]
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - other).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_gray_becomes_three_equal_channels(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GRAY).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), stack(GRAY))


def test_bilevel_becomes_black_and_white(tmp_path: Path) -> None:
    bits = GRAY > 127
    Image.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), stack(bits * np.uint8(255)))


def test_gray16_png_is_scaled_not_clipped(tmp_path: Path) -> None:
    levels = np.array([[0, 1, 128, 129], [255, 256, 32768, 65535]], np.uint16)
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    (tmp_path / "a.png").write_bytes(png(struct.pack(">IIBBBBB", 4, 2, 16, 0, 0, 0, 0), body))
    expected = np.array([[round(int(level) / 257) for level in row] for row in levels], np.uint8)
    assert expected.tolist() == [[0, 0, 0, 1], [1, 1, 128, 255]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), stack(expected))


@pytest.mark.parametrize("suffix", ["tif", "pgm"])
def test_gray16_of_other_formats(tmp_path: Path, suffix: str) -> None:
    levels = RNG.integers(0, 65536, (5, 8), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), levels)
    expected = np.rint(levels / 257).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), stack(expected))


def test_gray_beyond_16_bit_and_float_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "int.tif")
    with pytest.raises(ImageError, match=r"expected gray levels 0\.\.65535, found 70000"):
        read_image(tmp_path / "int.tif")
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ImageError, match="floating point"):
        read_image(tmp_path / "float.tif")


def test_cmyk_tiff(tmp_path: Path) -> None:
    cmyk = RNG.integers(0, 256, (5, 8, 4), dtype=np.uint8)
    Image.frombytes("CMYK", (8, 5), cmyk.tobytes()).save(tmp_path / "a.tif")
    inks = cmyk.astype(float)
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    assert np.abs(read_image(tmp_path / "a.tif") - expected).max() <= 1


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    cyan = np.zeros((16, 16, 4), np.uint8)
    cyan[..., 0] = 255
    Image.frombytes("CMYK", (16, 16), cyan.tobytes()).save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg").astype(int)
    assert np.abs(image - [0, 255, 255]).max() <= 4


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(0, 160, 10))])
def test_palette_gives_the_palette_colors(tmp_path: Path, transparency: int | bytes | None) -> None:
    palette = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
    indices = RNG.integers(0, 16, (5, 8), dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.ravel().tolist())
    options = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "a.png", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), palette[indices])


def test_alpha_is_dropped(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 256, (5, 8, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([COLOR, alpha], axis=-1)).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), COLOR)
    Image.fromarray(np.concatenate([GRAY[..., None], alpha], axis=-1)).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), stack(GRAY))


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_only_on_request(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOR).save(path, exif=exif)
    plain = tmp_path / f"plain.{suffix}"
    Image.fromarray(COLOR).save(plain)
    stored = np.asarray(Image.open(plain))
    np.testing.assert_array_equal(read_image(path), stored)
    np.testing.assert_array_equal(read_image(path, apply_exif=True), ORIENTED[orientation](stored))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (1500, 1000)])
def test_sizes(tmp_path: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height), (10, 20, 30)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (height, width, 3)
    assert image[-1, -1].tolist() == [10, 20, 30]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(MAX_PIXELS + 1, 1), (10_000, 10_000), (60_000, 60_000)], ids=str)
def test_bombs_are_refused_before_decoding(tmp_path: Path, width: int, height: int) -> None:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(png(header, b""))
    with pytest.raises(ImageError, match=f"expected at most {MAX_PIXELS} pixels"):
        read_image(tmp_path / "bomb.png")


def test_the_pixel_limit_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "")  # put back afterwards
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)  # Pillow's, which refuses twice that
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    set_max_pixels(399)
    with pytest.raises(ImageError, match=r"expected at most 399 pixels \(--max-pixels\), found 20 x 20"):
        read_image(tmp_path / "a.png")
    set_max_pixels(400)
    assert read_image(tmp_path / "a.png").shape == (20, 20, 3)
    with pytest.raises(DatasetError, match="CAR_MAX_PIXELS: expected a positive integer, found '-1'"):
        set_max_pixels(-1)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.98])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
def test_truncated_files_are_errors(tmp_path: Path, suffix: str, keep: float) -> None:
    buffer = io.BytesIO()
    pixels = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    content = buffer.getvalue()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert caught.value.path == str(path)


def test_other_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    for name in ("text.jpg", "empty.jpg"):
        with pytest.raises(ImageError, match="expected an image file, found an unknown format"):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="expected a file, found a folder"):
        read_image(tmp_path)


def test_damaged_bytes_raise_nothing_but_image_errors(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(COLOR).convert("P").save(buffer, "png")
    content = np.frombuffer(buffer.getvalue(), np.uint8)
    outcomes = set()
    for _ in range(200):
        damaged = content.copy()
        damaged[RNG.integers(8, len(content), 3)] = RNG.integers(0, 256, 3)
        (tmp_path / "a.png").write_bytes(damaged.tobytes())
        try:
            outcomes.add(read_image(tmp_path / "a.png").dtype.name)
        except ImageError:
            outcomes.add("ImageError")
    assert outcomes <= {"uint8", "ImageError"}
    assert "ImageError" in outcomes


def test_image_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "cannot be decoded")))
    assert (error.path, error.reason) == ("a.jpg", "cannot be decoded")
    assert str(error) == "a.jpg: cannot be decoded"


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_label_map_is_palette_indices(tmp_path: Path, bits: int) -> None:
    labels = RNG.integers(0, 2**bits, (5, 8), dtype=np.uint8)
    mask = Image.fromarray(labels)
    mask.putpalette([255 - value for value in range(2**bits) for _ in range(3)])
    mask.save(tmp_path / "a.png", bits=bits)
    label_map = read_label_map(tmp_path / "a.png")
    assert label_map.dtype == np.int32
    np.testing.assert_array_equal(label_map, labels)


def test_label_map_of_gray_file(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), GRAY)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_label_map_refuses_other_modes(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    message = f"expected a palette or single-channel mask of 1 to 8 bits, found mode {mode}"
    with pytest.raises(ImageError, match=message):
        read_label_map(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "webp", "jp2", "tif"])
def test_label_map_refuses_what_is_compressed_with_loss(tmp_path: Path, suffix: str) -> None:
    options = {"compression": "jpeg"} if suffix == "tif" else {}
    Image.fromarray(GRAY.repeat(4, 0).repeat(4, 1)).save(tmp_path / f"a.{suffix}", **options)
    for read in (read_label_map, read_label_map16):
        with pytest.raises(ImageError, match=r"in a PNG, TIFF, BMP or GIF file, found (JPEG|WEBP|JPEG2000|TIFF c)"):
            read(tmp_path / f"a.{suffix}")


def packed(values: np.ndarray, bits: int, order: str = ">", *, low_first: bool = False) -> list[bytes]:
    """Rows of a file: several values to a byte, the first in the highest bits (or in the lowest)."""
    if bits == 16:
        return [row.astype(f"{order}u2").tobytes() for row in values]
    digits = (values[..., np.newaxis] >> np.arange(bits)[::-1]) & 1
    packing = "little" if low_first else "big"  # the bits of a byte are turned around, those of a value with them
    return [np.packbits(row.ravel().astype(np.uint8), bitorder=packing).tobytes() for row in digits]


def adam7(values: np.ndarray, bits: int) -> bytes:
    """The seven passes of an interlaced PNG, unfiltered."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = (values[y::dy, x::dx] for y, x, dy, dx in passes)
    return b"".join(b"\0" + row for part in parts if part.size for row in packed(part, bits))


def tiff(values: np.ndarray, bits: int, photometric: int, order: str, fill: int) -> bytes:
    """A TIFF of one strip by hand. photometric: 0 gray with 0 white, 1 gray with 0 black, 3 palette."""
    strip = b"".join(packed(values, bits, order, low_first=fill == 2))
    height, width = values.shape
    colors_falling = range(2**bits - 1, -1, -1) if photometric == 3 else ()
    palette = b"".join(struct.pack(f"{order}H", level * 257) for _ in range(3) for level in colors_falling)
    fields = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 266: fill, 277: 1, 278: height}
    fields[279] = len(strip)
    if photometric == 3:
        fields[320] = 0
    start = 8
    body = strip + b"\0" * (len(strip) % 2)
    colors = start + len(body)
    directory = colors + len(palette)
    entries = []
    for tag, value in sorted({**fields, 273: start}.items()):
        if tag == 320:
            entries.append(struct.pack(f"{order}HHII", tag, 3, 3 * 2**bits, colors))
        else:
            entries.append(struct.pack(f"{order}HHII", tag, 4, 1, value))
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", directory)
    table = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + b"\0" * 4
    return header + body + palette + table


def bmp(values: np.ndarray, bits: int, palette: list[int], *, bottom_up: bool) -> bytes:
    """A BMP of 1, 4 or 8 bits by hand. palette: gray levels."""
    rows = [row + b"\0" * (-len(row) % 4) for row in packed(values, bits)]
    height, width = values.shape
    body = b"".join(rows[::-1] if bottom_up else rows)
    colors = b"".join(bytes([gray, gray, gray, 0]) for gray in palette)
    start = 54 + len(colors)
    signed = height if bottom_up else -height
    info = struct.pack("<IiiHHIIiiII", 40, width, signed, 1, bits, 0, len(body), 0, 0, len(palette), 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + info + colors + body


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("color", "bits"), [(0, 1), (0, 2), (0, 4), (0, 8), (3, 1), (3, 2), (3, 4), (3, 8)])
def test_png_label_maps_of_every_depth_give_stored_values(
    tmp_path: Path, color: int, bits: int, interlaced: bool
) -> None:
    labels = RNG.integers(0, 2**bits, (11, 13))
    labels[0, :2] = 0, 2**bits - 1
    rows = adam7(labels, bits) if interlaced else b"".join(b"\0" + row for row in packed(labels, bits))
    chunks = [(b"PLTE", bytes((255 - i % 256) for i in range(3 * 2**bits)))] if color == 3 else []
    (tmp_path / "a.png").write_bytes(png(struct.pack(">IIBBBBB", 13, 11, bits, color, 0, 0, interlaced), rows, *chunks))
    found = read_label_map(tmp_path / "a.png")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, labels)
    for few in (labels * 0, labels.clip(0, 1)):  # the depth is the file's, whatever values occur
        rows = b"".join(b"\0" + row for row in packed(few, bits))
        (tmp_path / "b.png").write_bytes(png(struct.pack(">IIBBBBB", 13, 11, bits, color, 0, 0, 0), rows, *chunks))
        np.testing.assert_array_equal(read_label_map(io.BytesIO((tmp_path / "b.png").read_bytes())), few)


@pytest.mark.parametrize(("color", "bits", "mode"), [(2, 8, "RGB"), (4, 8, "LA"), (6, 8, "RGBA"), (2, 16, "RGB")])
def test_png_of_other_color_types_are_no_label_maps(tmp_path: Path, color: int, bits: int, mode: str) -> None:
    size = 2 * {2: 3, 4: 2, 6: 4}[color] * bits // 8
    (tmp_path / "a.png").write_bytes(png(struct.pack(">IIBBBBB", 2, 1, bits, color, 0, 0, 0), b"\0" * (size + 1)))
    with pytest.raises(ImageError, match=f"found mode {mode}"):
        read_label_map(tmp_path / "a.png")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("fill", [1, 2])
@pytest.mark.parametrize("photometric", [0, 1, 3])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_tiff_label_maps_of_every_depth_give_stored_values(
    tmp_path: Path, bits: int, photometric: int, fill: int, order: str
) -> None:
    labels = RNG.integers(0, 2**bits, (6, 13))
    (tmp_path / "a.tif").write_bytes(tiff(labels, bits, photometric, order, fill))
    if fill == 2 and (photometric == 3) == (bits < 8) and photometric != 1:  # Pillow does not know these
        with pytest.raises(ImageError, match="cannot be decoded: unknown raw mode"):
            read_label_map(tmp_path / "a.tif")
    else:
        np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), labels)


@pytest.mark.parametrize("compression", ["group4", "tiff_lzw", "packbits", "tiff_deflate"])
def test_compressed_tiff_label_maps_of_one_bit(tmp_path: Path, compression: str) -> None:
    bits = GRAY > 127
    Image.fromarray(bits).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), bits)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_label_maps_of_16_bits(tmp_path: Path, photometric: int, order: str) -> None:
    labels = RNG.integers(0, 2**16, (6, 13))
    if photometric == 1 or order == "<":  # Pillow does not know the other
        (tmp_path / "a.tif").write_bytes(tiff(labels, 16, photometric, order, 1))
        np.testing.assert_array_equal(read_label_map16(tmp_path / "a.tif"), labels)
    rows = b"".join(b"\0" + row for row in packed(labels, 16))
    (tmp_path / "a.png").write_bytes(png(struct.pack(">IIBBBBB", 13, 6, 16, 0, 0, 0, 0), rows))
    np.testing.assert_array_equal(read_label_map16(tmp_path / "a.png"), labels)
    with pytest.raises(ImageError, match="mask of 1 to 8 bits, found mode I;16"):
        read_label_map(tmp_path / "a.png")


@pytest.mark.parametrize("bottom_up", [False, True])
@pytest.mark.parametrize(
    ("bits", "palette"),
    [
        (1, [0, 255]),
        (1, [255, 0]),
        (1, [7, 9]),
        (4, list(range(16))),  # gray: without a palette for Pillow
        (4, [255 - i for i in range(16)]),
        (4, [0, 255]),
        (8, list(range(256))),
        (8, [255 - i for i in range(256)]),
        (8, [0, 255]),
    ],
)
def test_bmp_label_maps_of_every_depth_give_stored_values(
    tmp_path: Path, bits: int, palette: list[int], bottom_up: bool
) -> None:
    labels = RNG.integers(0, len(palette), (6, 13))
    (tmp_path / "a.bmp").write_bytes(bmp(labels, bits, palette, bottom_up=bottom_up))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.bmp"), labels)


def test_gif_label_map(tmp_path: Path) -> None:
    labels = RNG.integers(0, 5, (6, 13), dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.gif")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.gif"), labels)


@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged directories
def test_damaged_label_maps_raise_nothing_but_image_errors() -> None:
    labels = RNG.integers(0, 16, (6, 13))
    outcomes = set()
    for content in (bmp(labels, 4, list(range(16)), bottom_up=True), tiff(labels, 4, 1, "<", 1)):
        for _ in range(100):
            damaged = np.frombuffer(content, np.uint8).copy()
            damaged[RNG.integers(0, len(content), 2)] = RNG.integers(0, 256, 2)
            for file in (damaged.tobytes(), content[: RNG.integers(len(content))]):
                with suppress(ImageError):
                    outcomes.add(read_label_map(io.BytesIO(file)).dtype.name)
    assert outcomes == {"int32"}


def test_a_picture_in_a_format_that_starts_a_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow gives PostScript to Ghostscript, whatever the file's name is."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    path = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    for read in (read_image, read_label_map):
        with pytest.raises(ImageFileError, match="expected an image file, found an unknown format"):
            read(path)
    assert exif_orientation(path) == 1
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM"])
def test_usual_formats_are_read(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 6), (255, 255, 255)).save(tmp_path / "picture", name)
    np.testing.assert_array_equal(read_image(tmp_path / "picture"), np.full((6, 8, 3), 255))


def test_a_fifo_is_no_image_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(ImageFileError, match="expected a file, found a FIFO"):
        read_image(tmp_path / "x.png")
