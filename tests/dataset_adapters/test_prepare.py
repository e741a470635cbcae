"""Getting data sets, from a server on 127.0.0.1, in the official structure."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.loopback import Loopback, serve
from helpers.made_trees import ContextTree
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from dataset_adapters import DatasetError, load
from dataset_adapters.base.adapter import find_sources
from dataset_adapters.prepare import all_preparations, find_preparation, preparation, prepare
from dataset_adapters.prepare.integrity import spread
from dataset_adapters.prepare.preparation import Preparation
from dataset_adapters.prepare.unpack import unpack
from evaluation.cli.app import app
from evaluation.request.benchmark import benchmark_names

VOC_TAR = "VOCtrainval_11-May-2012.tar"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serve() as state:
        yield state


@pytest.fixture
def said() -> list[str]:
    return []


def as_tar(folder: Path, mode: Any = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False)
    return stream.getvalue()


def as_zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def served(server: Loopback, name: str, *, hashes: bool = False) -> Preparation:
    """The product's own entry, its addresses on the server, with the true md5 of what lies there if `hashes`."""
    own = find_preparation(name)
    downloads = tuple(
        replace(
            download,
            urls=(server.url(download.file),),
            hash=f"md5:{hashlib.md5(server.files[download.file]).hexdigest()}" if hashes else None,
        )
        for download in own.downloads
    )
    return replace(own, downloads=downloads)


@pytest.fixture
def voc_server(server: Loopback, voc: Any) -> Loopback:
    (voc.root / "noise.bin").write_bytes(np.random.default_rng(3).bytes(400_000))
    server.files[VOC_TAR] = as_tar(voc.parent)
    return server


def names_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def outside_downloads(root: Path) -> set[str]:
    return {name for name in names_below(root) if not name.startswith("downloads/")}


def test_prepare_unpacks_archive_once(voc_server: Loopback, voc: Any, tmp_path: Path, said: list[str]) -> None:
    """The second time nothing happens."""
    root, entry = tmp_path / "root", served(voc_server, "voc", hashes=True)
    assert prepare(entry, root, said.append) == root
    assert outside_downloads(root) == names_below(voc.parent)
    for name in outside_downloads(root):
        assert (root / name).read_bytes() == (voc.parent / name).read_bytes()
    assert load("voc21", root, cache_dir=tmp_path / "c").ids == voc.load().ids
    assert not (root / "downloads" / f"{VOC_TAR}.sha256").exists()  # it is published
    (root / "downloads" / VOC_TAR).unlink()
    for given in (root, root / "VOCdevkit", root / "VOCdevkit" / "VOC2012"):
        assert prepare(entry, given, said.append) == root
    assert voc_server.requests == [(VOC_TAR, None)]
    assert said[-1] == f"{VOC_TAR}: unpacked before, nothing to do"


def test_prepare_unpacks_lost_file_again_without_download(
    voc_server: Loopback, voc: Any, tmp_path: Path, said: list[str]
) -> None:
    root, entry = tmp_path / "root", served(voc_server, "voc")
    prepare(entry, root, said.append)
    damaged = sorted(root.rglob("*.png"))
    damaged[0].unlink()
    damaged[1].write_bytes(b"short")
    prepare(entry, root, said.append)
    assert {(root / name).read_bytes() for name in outside_downloads(root)} == {
        (voc.parent / name).read_bytes() for name in names_below(voc.parent)
    }
    assert len(voc_server.requests) == 1


def test_prepare_downloads_no_files_that_are_complete(server: Loopback, tmp_path: Path, said: list[str]) -> None:
    server.files |= {"val2017.zip": b"", "stuffthingmaps_trainval2017.zip": b""}
    entry = served(server, "coco-object")
    assert [count.expected for each in entry.downloads for count in each.provides] == [(5000,), (5000,)]
    few = [
        replace(each, provides=tuple(replace(of, expected=(50,)) for of in each.provides)) for each in entry.downloads
    ]
    entry = replace(entry, downloads=tuple(few))
    for number in range(50):
        for name in (f"val2017/{number}.jpg", f"stuffthingmaps/val2017/{number}.png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    prepare(entry, tmp_path, said.append)
    assert server.requests == []
    (tmp_path / "val2017" / "7.jpg").unlink()
    with pytest.raises(DatasetError, match="expected a zip or tar archive"):
        prepare(entry, tmp_path, said.append)
    assert server.requests == [("val2017.zip", None)]


def test_download_of_wrong_hash_is_refused_and_done_again(
    voc_server: Loopback, tmp_path: Path, said: list[str]
) -> None:
    entry, right = served(voc_server, "voc", hashes=True), voc_server.files[VOC_TAR]
    wrong = right[:-1] + b"x"
    voc_server.files[VOC_TAR] = wrong
    with pytest.raises(DatasetError) as caught:
        prepare(entry, tmp_path / "root", said.append)
    message = str(caught.value)
    assert voc_server.url(VOC_TAR) in message
    for content in (right, wrong):
        assert hashlib.md5(content).hexdigest() in message
    assert names_below(tmp_path / "root") == set()
    voc_server.files[VOC_TAR] = right
    prepare(entry, tmp_path / "root", said.append)
    assert outside_downloads(tmp_path / "root")


def test_without_a_published_hash_the_first_download_sets_it(
    voc_server: Loopback, tmp_path: Path, said: list[str]
) -> None:
    root, entry = tmp_path / "root", served(voc_server, "voc")
    prepare(entry, root, said.append)
    digest = hashlib.sha256(voc_server.files[VOC_TAR]).hexdigest()
    lock = root / "downloads" / f"{VOC_TAR}.sha256"
    assert lock.read_text() == f"{digest}  {VOC_TAR}\n"
    assert any("no hash is published for it; recorded sha256" in line for line in said)
    (root / "downloads" / VOC_TAR).unlink()
    next(root.rglob("*.png")).unlink()
    voc_server.files[VOC_TAR] += b"\0"
    with pytest.raises(DatasetError, match=rf"expected sha256:{digest} but got .*recorded in {lock}"):
        prepare(entry, root, said.append)
    lock.write_text("not a hash\n")
    with pytest.raises(DatasetError, match=r"\.sha256: expected the recorded sha256 of .*, found 'not'"):
        prepare(entry, root, said.append)


BLOCK = 2**16  # a part of this is what a broken transfer may lose


def test_a_broken_transfer_goes_on_where_it_stopped(voc_server: Loopback, tmp_path: Path, said: list[str]) -> None:
    root = tmp_path / "root"
    voc_server.cuts = [BLOCK + 1000, 10, 2 * BLOCK]
    with pytest.raises(DatasetError, match=r"was interrupted.*196608 bytes are kept, the same command resumes"):
        prepare(served(voc_server, "voc", hashes=True), root, said.append)
    assert outside_downloads(root) == set()
    voc_server.cuts = [BLOCK]
    prepare(served(voc_server, "voc", hashes=True), root, said.append)
    wanted = [None, *(f"bytes={blocks * BLOCK}-" for blocks in (1, 1, 3, 4))]
    assert [start for _, start in voc_server.requests] == wanted
    assert not list((root / "downloads").glob("*.part*"))


def test_parts_of_two_files_are_never_joined(voc_server: Loopback, tmp_path: Path, said: list[str]) -> None:
    root, right = tmp_path / "root", voc_server.files[VOC_TAR]
    voc_server.cuts = [BLOCK, 0, 0]
    voc_server.files[VOC_TAR] = b"\1" * len(right)
    with pytest.raises(DatasetError, match="65536 bytes are kept"):
        prepare(served(voc_server, "voc"), root, said.append)
    voc_server.files[VOC_TAR] = right
    prepare(served(voc_server, "voc"), root, said.append)
    assert voc_server.requests[-1][1] == f"bytes={BLOCK}-"  # asked for, and answered with the whole new file
    assert (root / "downloads" / VOC_TAR).read_bytes() == right


def test_without_a_validator_a_transfer_starts_anew(voc_server: Loopback, tmp_path: Path, said: list[str]) -> None:
    voc_server.validators, voc_server.cuts = False, [1000]
    prepare(served(voc_server, "voc", hashes=True), tmp_path / "root", said.append)
    assert voc_server.requests == [(VOC_TAR, None)] * 2


def test_a_missing_file_is_named_and_a_copy_is_taken(voc_server: Loopback, tmp_path: Path, said: list[str]) -> None:
    entry = served(voc_server, "voc", hashes=True)
    gone, copy = voc_server.url("gone.tar"), voc_server.url(VOC_TAR)
    with pytest.raises(DatasetError, match=rf"404.*{gone}") as caught:
        prepare(replace(entry, downloads=(replace(entry.downloads[0], urls=(gone,)),)), tmp_path / "a", said.append)
    assert "\n" not in str(caught.value)
    prepare(replace(entry, downloads=(replace(entry.downloads[0], urls=(gone, copy)),)), tmp_path / "b", said.append)
    assert outside_downloads(tmp_path / "b")


def test_a_server_that_is_not_there_is_named(tmp_path: Path, said: list[str]) -> None:
    with serve() as state:
        state.files[VOC_TAR] = b""
        entry = served(state, "voc")
    with pytest.raises(DatasetError, match=rf"{VOC_TAR}: the transfer was interrupted: .*Connection"):
        prepare(entry, tmp_path, said.append)


def test_a_page_in_place_of_an_archive_is_not_taken_for_it(
    voc_server: Loopback, tmp_path: Path, said: list[str]
) -> None:
    right, voc_server.files[VOC_TAR] = voc_server.files[VOC_TAR], b"<html>please log in</html>"
    with pytest.raises(DatasetError, match=r"expected a zip or tar archive, found other data, b'<html>please"):
        prepare(served(voc_server, "voc"), tmp_path, said.append)
    assert not (tmp_path / "downloads" / f"{VOC_TAR}.sha256").exists()
    voc_server.files[VOC_TAR] = right
    prepare(served(voc_server, "voc"), tmp_path, said.append)
    assert outside_downloads(tmp_path)


def test_download_without_end_is_cut_off_and_done_again(voc_server: Loopback, tmp_path: Path, said: list[str]) -> None:
    own = served(voc_server, "voc")
    small = replace(own, downloads=tuple(replace(download, megabytes=1) for download in own.downloads))
    voc_server.endless = True
    with pytest.raises(DatasetError, match=f"{VOC_TAR}: expected at most {1_500_000 + 2**24} bytes, found more"):
        prepare(small, tmp_path, said.append)
    assert sum(path.stat().st_size for path in (tmp_path / "downloads").iterdir()) < 10_000
    voc_server.endless = False
    prepare(small, tmp_path, said.append)
    assert outside_downloads(tmp_path)


def test_an_encoding_that_was_not_asked_for_is_refused(voc_server: Loopback, tmp_path: Path, said: list[str]) -> None:
    voc_server.headers = {"Content-Encoding": "gzip"}
    voc_server.files[VOC_TAR] = gzip.compress(bytes(2**20))
    with pytest.raises(DatasetError, match="expected no Content-Encoding, found gzip"):
        prepare(served(voc_server, "voc"), tmp_path, said.append)


def zip_with(name: str, content: bytes = b"x", **fields: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.txt", b"good")
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        for field, value in fields.items():
            setattr(info, field, value)
        archive.writestr(info, content)
    return stream.getvalue()


def tar_with(name: str, mode: Any = "w", **fields: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for info, content in ((tarfile.TarInfo("good.txt"), b"good"), (tarfile.TarInfo(name), b"x")):
            for field, value in fields.items() if info.name == name else ():
                setattr(info, field, value)
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return stream.getvalue()


def tar_of_headers(*headers: bytes) -> bytes:
    """A tar of one file after these raw headers."""
    return b"".join(headers) + tar_with("data.txt")


def long_header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def broken_sparse() -> bytes:
    info = tarfile.TarInfo("sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"\xff" * 24  # the first piece: negative
    header[482] = 1  # and more of them
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    return tar_of_headers(bytes(header))


def encrypted_zip() -> bytes:
    content = bytearray(zip_with("secret.txt"))
    entry = content.rindex(b"PK\1\2")
    content[entry + 8] |= 1
    return bytes(content)


def damaged_zip() -> bytes:
    content = bytearray(zip_with("data.bin", bytes(range(256)) * 8))
    content[content.index(b"data.bin") + 30] ^= 0xFF
    return bytes(content)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "zip that climbs": (lambda: zip_with("../evil.txt"), r"'\.\./evil\.txt': expected a path below the folder"),
    "zip that climbs inside": (lambda: zip_with("a/../../evil.txt"), "expected a path below the folder"),
    "zip with a root": (lambda: zip_with("/tmp/evil.txt"), "'/tmp/evil.txt': expected a path below the folder"),
    "zip with a drive": (lambda: zip_with("C:evil.txt"), "expected a path below the folder"),
    "zip with backslashes": (lambda: zip_with("..\\evil.txt"), "expected a path below the folder"),
    "zip with control characters": (lambda: zip_with("a\x1b[2J.txt"), "expected a path below the folder"),
    "zip with a link": (
        lambda: zip_with("link", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16),
        "'link': expected plain files and folders, found: link",
    ),
    "zip with a device": (
        lambda: zip_with("dev", external_attr=(stat.S_IFCHR | 0o666) << 16),
        "'dev': expected plain files and folders, found: special file",
    ),
    "zip with a password": (encrypted_zip, "'secret.txt': expected plain files and folders, found: encrypted file"),
    "zip bomb": (lambda: zip_with("bomb", bytes(66 << 20)), "'bomb': expected at most 20 times the archive's"),
    "damaged zip": (damaged_zip, "expected a sound archive, found: "),
    "empty zip": (lambda: as_zip({}), "expected files in the archive, found none"),
    "tar that climbs": (lambda: tar_with("../evil.txt"), "expected a path below the folder"),
    "tar with a root": (lambda: tar_with("/tmp/evil.txt"), "expected a path below the folder"),
    "tar with a link": (
        lambda: tar_with("link", type=tarfile.SYMTYPE, linkname="/etc"),
        "'link': expected plain files and folders, found: link",
    ),
    "tar with a hard link": (
        lambda: tar_with("link", type=tarfile.LNKTYPE, linkname="../../secret"),
        "'link': expected plain files and folders, found: link",
    ),
    "tar with a device": (lambda: tar_with("dev", type=tarfile.CHRTYPE), "found: special file"),
    "tar with a pipe": (lambda: tar_with("pipe", type=tarfile.FIFOTYPE), "found: special file"),
    "file and folder of one name": (lambda: as_zip({"a": b"x", "a/b": b"y"}), "expected a sound archive, found: "),
    "folder and file of one name": (lambda: as_zip({"a/b": b"y", "a": b"x"}), "expected a sound archive, found: "),
    "tar with a broken sparse file": (broken_sparse, "expected a zip or tar archive, found other data"),
    "tar with a broken map of a sparse file": (
        lambda: tar_with("s", pax_headers={"GNU.sparse.map": "0,x", "GNU.sparse.size": "1"}),
        "expected a sound archive, found: invalid literal",
    ),
    "tar with an endless first header": (
        lambda: tar_of_headers(long_header(tarfile.XHDTYPE, 3 << 30)),
        f"expected a sound archive, found: an extended header of {3 << 30} bytes",
    ),
    "tar.gz with an endless name": (
        lambda: gzip.compress(tar_with("good.txt")[:1024] + long_header(tarfile.GNUTYPE_LONGNAME, 3 << 30)),
        f"expected a sound archive, found: an extended header of {3 << 30} bytes",
    ),
    "truncated tar.gz": (lambda: tar_with("a" * 90, "w:gz")[:-20], "expected a sound archive, found: "),
    "tar.gz of its first bytes": (lambda: tar_with("a" * 90, "w:gz")[:20], "expected a sound archive, found: "),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_leaves_nothing_behind(server: Loopback, tmp_path: Path, said: list[str], kind: str) -> None:
    make, message = HOSTILE[kind]
    server.files[VOC_TAR] = make()
    root = tmp_path / "a" / "root"
    with pytest.raises(DatasetError, match=message) as caught:
        prepare(served(server, "voc"), root, said.append)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("expected ") == 1
    assert names_below(tmp_path) == {f"a/root/downloads/{VOC_TAR}.refused"}
    assert not list(root.glob(".unpacking-*"))
    server.files[VOC_TAR] = tar_with("sound.txt")
    prepare(served(server, "voc"), root, said.append)  # the next start takes the sound one
    assert "sound.txt" in outside_downloads(root)
    assert not Path("/tmp/evil.txt").exists()


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz", "zip"])
def test_every_usual_format_unpacks(voc: Any, tmp_path: Path, mode: str) -> None:
    contents = {name: (voc.parent / name).read_bytes() for name in names_below(voc.parent)}
    archive = tmp_path / "archive"
    archive.write_bytes(as_zip(contents) if mode == "zip" else as_tar(voc.parent, mode))
    written = unpack(archive, tmp_path / "out")
    assert dict(written) == {name: len(content) for name, content in contents.items()}
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names_below(tmp_path / "out")} == contents


def test_context_gets_its_splits_from_voc_2010(
    server: Loopback, context: ContextTree, tmp_path: Path, said: list[str]
) -> None:
    context.write_mats()
    mats = tmp_path / "mats" / "trainval"
    mats.parent.mkdir()
    (context.root / "trainval").rename(mats)
    splits = context.root / "ImageSets"
    (splits / "SegmentationContext").rename(splits / "Main")
    server.files["VOCtrainval_03-May-2010.tar"] = as_tar(context.parent)
    server.files["trainval.tar.gz"] = as_tar(mats.parent, "w:gz")
    root = tmp_path / "root"
    prepare(served(server, "context"), root, said.append)
    dataset = load("context60", root, cache_dir=tmp_path / "c")
    assert dataset.name == "context60/mat"
    for sample in dataset:
        assert np.array_equal(sample.target, context.target(sample.id))
    listed = root / "VOCdevkit/VOC2010/ImageSets/SegmentationContext/val.txt"
    listed.write_text("2008_000001\n")  # the user's own choice
    prepare(served(server, "context"), root, said.append)
    assert listed.read_text() == "2008_000001\n"


def test_what_only_a_person_can_get_is_said_with_page_and_place(tmp_path: Path, said: list[str]) -> None:
    entry = replace(find_preparation("grefcoco"), downloads=())
    with pytest.raises(DatasetError, match=r"put grefs\(unc\)\.json and instances\.json into grefcoco/") as caught:
        prepare(entry, tmp_path, said.append)
    assert "https://github.com/henghuiding/gRefCOCO" in str(caught.value)
    for name in ("grefs(unc).json", "instances.json"):
        (tmp_path / "grefcoco").mkdir(exist_ok=True)
        (tmp_path / "grefcoco" / name).write_text("{}")
    assert prepare(entry, tmp_path, said.append) == tmp_path


@pytest.fixture
def small_voc(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry of VOC, whose val split has seven images here."""
    entry = find_preparation("voc")
    splits = (replace(entry.splits[0], expected=(7,)),)
    monkeypatch.setitem(preparation.read_sources(), "voc", replace(entry, splits=splits))


def car(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", *arguments])


@pytest.mark.usefixtures("small_voc")
def test_check_names_every_missing_and_broken_file(voc: Any) -> None:
    whole = car("check", "voc", f"--root={voc.parent}")
    assert whole.exit_code == 0
    assert "voc21, split val: 7 images (voc21)" in whole.stdout
    assert "7 decoded, 9 x 6 to 9 x 6" in whole.stdout
    ids = sorted(voc.load().ids)
    voc.image_path(ids[0]).unlink()
    voc.mask_path(ids[1]).unlink()
    voc.image_path(ids[2]).write_bytes(b"no image")
    voc.write_mask(ids[3], np.full((6, 9), 77))
    result = car("check", "voc21", f"--root={voc.root}")
    faults = [line for line in result.stdout.splitlines() if line.startswith("fault: ")]
    assert result.exit_code == 5
    assert [line.split(": ")[2].removesuffix(".jpg") for line in faults[:2]] == [
        f"JPEGImages/{ids[0]}",
        f"SegmentationClass/{ids[1]}.png",
    ]
    assert {ids[2], ids[3]} == {line.split(": ")[2] for line in faults[2:]}
    assert "expected labels 0..20, 255, found 77" in result.stdout
    assert result.stdout.splitlines()[-1] == "voc: 4 faults"


def test_a_fault_says_what_is_in_the_folder_without_the_field(tmp_path: Path) -> None:
    """Of all splits: `data_root` is no option, and the line says which data set it is about."""
    result = car("check", "voc", f"--data-root={tmp_path}")
    found = f"{tmp_path}: expected the folders JPEGImages, SegmentationClass there or in "
    faults = [line for line in result.stdout.splitlines() if line.startswith("fault: voc21, split ")]
    assert faults
    assert all(line.partition(", split ")[2].partition(": ")[2].startswith(found) for line in faults)
    assert "data_root" not in result.stdout


def test_data_check_compares_counts_and_shows_labels(voc: Any) -> None:
    result = car("check", "voc", f"--root={voc.parent}", "--all")
    assert result.exit_code == 5
    assert "fault: voc21, split val: expected 1449 images, found 7" in result.stdout
    targets = np.concatenate([sample.target.ravel() for sample in voc.load()])
    assert f"background {100 * (targets == 0).mean():.1f} %" in result.stdout
    assert f"ignored {100 * (targets == 255).mean():.1f} %" in result.stdout


def test_check_counts_files_and_decodes_samples(tmp_path: Path, coco: Any) -> None:
    folder = tmp_path / "ADEChallengeData2016"
    for image in sorted(coco.image_path(139).parent.iterdir())[:2]:
        for kind, name in (("images", f"{image.stem}.jpg"), ("annotations", f"{image.stem}.png")):
            path = folder / kind / "validation" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image.read_bytes())
    result = car("check", "ade150", f"--root={folder}")
    assert result.exit_code == 5
    lines = result.stdout.splitlines()
    assert "images: 2 files ADEChallengeData2016/images/validation/*.jpg" in lines
    assert "fault: ADEChallengeData2016/images/validation/*.jpg: expected 2000 files, found 2" in lines
    assert "fault: ade150, split val: expected 2000 images, found 2" in lines
    assert sum("1 to 8 bits in a PNG, TIFF, BMP or GIF file, found JPEG" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "voc9", "--root=."], "data set: expected a known name, found 'voc9'; did you mean voc"),
        (["check", "mini-voc"], "mini-voc: part of this package, nothing to download or check"),
        (["check", "voc", "--root=/nowhere"], "--data-root: /nowhere: expected a folder, found nothing"),
        (
            ["prepare", "coco"],
            "data set: expected a known name, found 'coco'; did you mean coco-object, coco-stuff or refcoco?",
        ),
    ],
)
def test_wrong_requests_are_one_line(arguments: list[str], message: str) -> None:
    result = car(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = car("prepare", "voc", f"--root={tmp_path / 'file'}")
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: --data-root: {tmp_path / 'file'}: expected a folder that can be written, found: ")


def test_check_of_an_empty_folder_is_one_fault_a_split(tmp_path: Path) -> None:
    result = car("check", "refcoco", f"--root={tmp_path}")
    assert result.exit_code == 5
    assert result.stdout.count("fault: refcoco, split ") == 3


@pytest.mark.usefixtures("small_voc")
def test_prepare_and_list_on_the_command_line(voc_server: Loopback, tmp_path: Path) -> None:
    preparation.read_sources()["voc"] = served(voc_server, "voc")
    root = tmp_path / "root"
    assert "0 of 17125" in car("list", "voc", f"--root={root}").stdout
    result = car("prepare", "voc21", f"--root={root}")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"voc: ready in {root}\n"
    assert "VOCdevkit/VOC2012/JPEGImages/*.jpg: 7 of 17125" in car("list", "voc", f"--root={root}").stdout
    [row] = [line for line in car("list", f"--root={root}").stdout.splitlines() if line.startswith("| voc ")]
    assert [cell.strip() for cell in row.split("|")[3:6]] == ["voc21 + 1", "2.0 GB", "1 of 3 parts"]
    assert car("check", "voc", f"--root={root}").exit_code == 0
    voc_server.files.clear()
    next(root.rglob("*.jpg")).unlink()
    (root / "downloads" / VOC_TAR).unlink()
    failed = car("prepare", "voc", f"--root={root}")
    assert failed.exit_code == 2
    assert failed.stderr.strip().splitlines()[-1].startswith("error: 404")


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("megabytes: 970", "megabyte: 970", "ade150.downloads.0.megabyte"),
        ("expected: [1449]", "expected: 1449", "voc.splits.0.expected"),
        ("title: gRefCOCO", "title: 7", "grefcoco.title"),
    ],
)
def test_a_mistake_in_the_file_of_sources_is_named(tmp_path: Path, old: str, new: str, where: str) -> None:
    text = (Path(preparation.__file__).parent / "sources.yaml").read_text()
    assert text.count(old) == 1
    (tmp_path / "sources.yaml").write_text(text.replace(old, new))
    with pytest.raises(ValidationError) as caught:
        preparation.read_sources(tmp_path)
    assert where in str(caught.value)


def test_every_entry_is_whole() -> None:
    screen = car("list", "--root=/nowhere").stdout
    assert len(screen.splitlines()) <= 24
    for entry in all_preparations():
        assert entry.downloads or entry.manual
        assert entry.counts or entry.splits
        assert f"| {entry.name} " in screen
        listed = car("list", entry.name, "--root=/nowhere").stdout
        assert f"{entry.name}: {entry.title}" in listed
        for download in entry.downloads:
            assert all(url.startswith(("http://", "https://")) and url in listed for url in download.urls)
            assert download.hash is None or download.hash.partition(":")[0] in ("md5", "sha1", "sha256")
        for split in entry.splits:
            assert find_sources(split.adapter)


@pytest.mark.parametrize("name", [name for name in benchmark_names() if not name.startswith(("own-", "mini-"))])
def test_every_published_benchmark_has_an_entry(name: str) -> None:
    assert name in find_preparation(name).benchmarks


def test_samples_are_spread_from_the_first_to_the_last() -> None:
    assert list(spread(range(101), 5)) == [0, 25, 50, 75, 100]
    assert list(spread(range(3), 5)) == [0, 1, 2]
    assert list(spread(range(9), None)) == list(range(9))
    assert list(spread(range(9), 0)) == []


def test_names_of_folders_and_files_cannot_steer_a_terminal(tmp_path: Path) -> None:
    root = tmp_path / "a\x1b[2Jb\u202ec"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "images/bad\x1b[3m.jpg").write_bytes(b"no picture")
    Image.new("L", (4, 4)).save(root / "masks/bad\x1b[3m.png")
    (root / "classes.txt").write_text("background\ncat\n")
    own = [
        f"--{name}={root / path}"
        for name, path in zip(("images", "masks", "classes"), ("images", "masks", "classes.txt"), strict=True)
    ]
    for arguments, code in ((["list", "voc", "--root", str(root)], 0), (["check", *own], 5)):
        result = CliRunner().invoke(app, ["data", *arguments])
        assert (result.exit_code, "\\u{1b}[" in result.stdout) == (code, True)
        assert not set(result.output) & {"\x1b", "\u202e"}
