"""Views, worker processes and the cached index."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import operator
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest

from dataset_adapters import DatasetError, SampleError, load
from dataset_adapters.base import index
from dataset_adapters.base.adapter import Adapter
from dataset_adapters.base.file_hashes import content_hashes
from dataset_adapters.prepare import check, find_preparation

IDS = tuple(f"2007_{number:06d}" for number in (33, 61, 129, 42, 7, 500, 1))


def test_ids_and_samples_keep_the_order_of_the_split(voc) -> None:
    dataset = voc.load()
    assert dataset.ids == IDS
    assert len(dataset) == 7
    assert tuple(sample.id for sample in dataset) == IDS
    assert dataset[-1].id == IDS[-1]
    assert dataset[np.int64(3)].id == IDS[3]
    with pytest.raises(IndexError):
        dataset[7]


def test_ids_need_no_decoding(voc) -> None:
    for sample_id in IDS:
        voc.image_path(sample_id).write_bytes(b"no image")
    assert voc.load().ids == IDS


@pytest.mark.parametrize("cut", [slice(3), slice(2, None), slice(1, 6, 2), slice(None, None, -1), slice(4, 4)], ids=str)
def test_slices_are_views(voc, cut: slice) -> None:
    dataset = voc.load()
    view = dataset[cut]
    assert view.ids == IDS[cut]
    assert len(view) == len(IDS[cut])
    assert tuple(sample.id for sample in view) == IDS[cut]
    assert (view.fingerprint, view.index_path) == (dataset.fingerprint, dataset.index_path)
    assert view[1:].ids == IDS[cut][1:]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
def test_shards_partition_the_set(voc, count: int) -> None:
    dataset = voc.load()
    shards = [dataset.shard(index, count).ids for index in range(count)]
    assert sorted(sum(shards, ())) == sorted(IDS)
    for position, sample_id in enumerate(IDS):
        assert sample_id in shards[position % count]
    tail = dataset[2:]
    assert sorted(sum((tail.shard(index, count).ids for index in range(count)), ())) == sorted(IDS[2:])


@pytest.mark.parametrize(("position", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_impossible_shards(voc, position: int, count: int) -> None:
    with pytest.raises(DatasetError, match=f"found index {position}, count {count}"):
        voc.load().shard(position, count)


def test_file_names_that_are_not_utf_8_are_named(coco: Any, tmp_path: Path) -> None:
    coco.write_maps()
    coco.write_json()
    foreign = os.fsencode(coco.image_path(139).parent) + b"/x\xe9.jpg"
    try:
        shutil.copy(os.fsencode(coco.image_path(139)), foreign)
    except OSError:
        pytest.skip("this file system has no such names")
    message = f"{coco.root}: image of 'x\\udce9': expected a file name in UTF-8, found another byte in "
    with pytest.raises(DatasetError) as caught:
        coco.load(source="stuffthingmaps")
    assert str(caught.value) == f"{message}'val2017/x\\xe9.jpg'"
    with pytest.raises(DatasetError, match="found none with the file name"):
        coco.load(source="instances")
    lines: list[str] = []
    check(find_preparation("coco-object"), coco.parent, lines.append, n_decoded=0, source="stuffthingmaps")
    assert any(f"fault: coco-object, split val2017: {message}" in line for line in lines)
    for name in ("photos", "labels"):
        (tmp_path / name).mkdir()
    for folder, source in (
        ("photos", coco.image_path(139)),
        ("labels", coco.root / "stuffthingmaps/val2017" / "000000000139.png"),
    ):
        shutil.copy(source, os.fsencode(tmp_path / folder) + b"/\xff" + os.fsencode(source.suffix))
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    places = {"images": "photos", "masks": "labels", "classes": "classes.txt"}
    options = {option: str(tmp_path / name) for option, name in places.items()}
    with pytest.raises(DatasetError, match=r"image of '\\udcff': expected a file name in UTF-8"):
        load("own-folders", tmp_path, options=options, cache_dir=tmp_path / "cache")


def test_dataset_is_frozen(voc) -> None:
    with pytest.raises(FrozenInstanceError):
        voc.load().name = "other"


def test_pickle_does_not_grow_with_the_set(make_voc) -> None:
    tree = make_voc([f"id_{number:05d}" for number in range(40)])
    dataset = tree.load()
    assert len(dataset.ids) == 40
    whole, view = pickle.dumps(dataset), pickle.dumps(dataset[:3])
    assert abs(len(whole) - len(view)) < 8
    assert pickle.loads(whole) == dataset


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_worker_process_decodes_the_same(voc, method: str) -> None:
    voc.image_path(IDS[3]).write_bytes(b"no image")
    dataset = voc.load("voc20")[1:]
    expected = dataset[1]
    with multiprocessing.get_context(method).Pool(1) as pool:
        sample = pool.apply(operator.getitem, (dataset, 1))
        with pytest.raises(SampleError) as caught:
            pool.apply(operator.getitem, (dataset, 2))
    assert sample.id == expected.id == IDS[2]
    np.testing.assert_array_equal(sample.image, expected.image)
    np.testing.assert_array_equal(sample.target, expected.target)
    assert caught.value.id == IDS[3]
    assert caught.value.target is not None


def test_fingerprint_covers_name_version_ids_sizes_and_labels(voc) -> None:
    contents = [
        {
            "id": i,
            "image": voc.image_path(i).stat().st_size,
            "mask": hashlib.sha256(voc.mask_path(i).read_bytes()).hexdigest(),
        }
        for i in IDS
    ]
    expected = hashlib.sha256(json.dumps(["voc21", 1, contents]).encode()).hexdigest()
    assert voc.load().fingerprint == expected


def hashes_of(voc: Any) -> dict[str, str]:
    """Remembered by file, as if all had been there for long."""
    return content_hashes(voc.root / "SegmentationClass", [f"{i}.png" for i in IDS], voc.cache / "contents", settled=0)


def remembered(voc: Any) -> Path:
    (kept,) = (voc.cache / "contents").iterdir()
    return kept


def test_only_labels_that_changed_are_hashed_again(voc: Any) -> None:
    long_ago = time.time() - 3600
    for i in IDS:
        os.utime(voc.mask_path(i), (long_ago, long_ago))
    before = hashes_of(voc)
    assert before == {f"{i}.png": hashlib.sha256(voc.mask_path(i).read_bytes()).hexdigest() for i in IDS}
    known = json.loads(remembered(voc).read_text())
    assert known.keys() == before.keys()
    remembered(voc).write_text(json.dumps({file: [*state, f"of {file}"] for file, (*state, _) in known.items()}))
    assert hashes_of(voc) == {file: f"of {file}" for file in before}
    stored = voc.mask_path(IDS[2]).read_bytes()
    voc.mask_path(IDS[2]).write_bytes(stored[:-20] + bytes(20))
    os.utime(voc.mask_path(IDS[2]), (long_ago, long_ago))  # as a copy that keeps its time
    changed = hashlib.sha256(voc.mask_path(IDS[2]).read_bytes()).hexdigest()
    assert hashes_of(voc) == {file: f"of {file}" for file in before} | {f"{IDS[2]}.png": changed}


def test_labels_of_same_size_change_fingerprint(voc: Any) -> None:
    before = voc.load().fingerprint
    stored = voc.mask_path(IDS[2]).read_bytes()
    voc.mask_path(IDS[2]).write_bytes(stored[:-20] + bytes(20))
    assert voc.load().fingerprint != before
    voc.mask_path(IDS[2]).write_bytes(stored)
    assert voc.load().fingerprint == before


def test_hashes_of_files_just_written_are_not_remembered(voc) -> None:
    before = voc.load().fingerprint
    stored = voc.mask_path(IDS[0]).read_bytes()
    voc.mask_path(IDS[0]).write_bytes(stored[:-20] + bytes(20))  # perhaps within the same tick of the clock
    assert voc.load().fingerprint != before
    assert not (voc.cache / "contents").exists()


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"2007_000033.png": [1]}', b"\xff{"])
def test_damaged_hashes_are_made_again(voc: Any, damage: bytes) -> None:
    before = hashes_of(voc)
    remembered(voc).write_bytes(damage)
    assert hashes_of(voc) == before
    assert len(json.loads(remembered(voc).read_text())) == len(IDS)


def test_label_file_unreadable_fails_only_its_sample(voc) -> None:
    voc.mask_path(IDS[1]).unlink()
    voc.mask_path(IDS[1]).mkdir()
    dataset = voc.load()
    assert dataset[0].id == IDS[0]
    with pytest.raises(SampleError):
        dataset[1]


def test_fingerprint_ignores_place_and_time(voc, tmp_path: Path) -> None:
    before = voc.load()
    os.utime(voc.image_path(IDS[0]), (0, 0))
    assert voc.load().fingerprint == before.fingerprint
    assert voc.load(names="dataset").fingerprint == before.fingerprint
    shutil.copytree(voc.root, tmp_path / "elsewhere")
    moved = load("voc21", tmp_path / "elsewhere", cache_dir=voc.cache)
    assert moved.fingerprint == before.fingerprint
    assert moved.index_path == before.index_path
    np.testing.assert_array_equal(moved[0].image, before[0].image)


def test_fingerprint_follows_data_set_split_and_sizes(voc) -> None:
    seen = [voc.load().fingerprint, voc.load("voc20").fingerprint]
    voc.write_split("\n".join(reversed(IDS)))
    seen.append(voc.load().fingerprint)
    voc.write_split("\n".join(IDS[1:]))
    seen.append(voc.load().fingerprint)
    voc.write_split("\n".join(IDS))
    for path in (voc.image_path(IDS[0]), voc.mask_path(IDS[0])):
        path.write_bytes(path.read_bytes() + b"\0")
        seen.append(voc.load().fingerprint)
    assert len(set(seen)) == len(seen) == 6


def built(dataset: Any) -> tuple[int, int]:
    """What differs once the index is written again."""
    found = dataset.index_path.stat()
    return found.st_ino, found.st_mtime_ns


def files_of(dataset: Any) -> list[str]:
    return sorted(path.name for path in dataset.index_path.parent.iterdir())


def test_index_is_built_once(voc) -> None:
    first = voc.load()
    before = built(first)
    assert voc.load() == first
    assert built(first) == before
    assert first.index_path.parent == voc.cache / "indexes"
    assert files_of(first) == [first.index_path.name, f"{first.index_path.stem}.json"]


def test_index_follows_sizes_and_the_split(voc) -> None:
    voc.load()
    voc.add(IDS[0], height=60, width=90)
    assert voc.load()[0].image.shape == (60, 90, 3)
    voc.write_split("\n".join(IDS[:2]))
    assert voc.load().ids == IDS[:2]


def test_index_is_memory_mapped_with_relative_paths(voc) -> None:
    dataset = voc.load()
    index.open_index.cache_clear()
    before = pyarrow.total_allocated_bytes()
    opened = index.open_index(dataset.index_path)
    assert pyarrow.total_allocated_bytes() == before  # the texts stay in the file
    assert opened.column_names == ["id", "image", "mask"]
    assert index.row_of(dataset.index_path, 0) == {
        "id": IDS[0],
        "image": f"JPEGImages/{IDS[0]}.jpg",
        "mask": f"SegmentationClass/{IDS[0]}.png",
    }
    assert opened.num_rows == len(IDS)
    assert str(dataset.index_path) in Path("/proc/self/maps").read_text()
    assert index.open_index(pickle.loads(pickle.dumps(dataset[2:])).index_path) is opened


class Made(Adapter):
    """Rows that are made one after the other; a number that is not reached ends them as Ctrl-C does."""

    name = "made"
    file_columns = ()

    def __init__(self, n: int, until: int) -> None:
        self.n, self.until = n, until

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        return (root / "annotations",)

    def rows(self, root: Path, split: str | Path) -> Iterator[dict[str, str]]:
        for n in range(self.n):
            if n == self.until:
                raise KeyboardInterrupt
            yield {"id": f"{n}"}


def test_a_long_index_is_written_in_parts_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "annotations").touch()
    with pytest.raises(KeyboardInterrupt):
        index.ensure_index(Made(20_001, until=15_000), tmp_path, "val", tmp_path / "indexes")
    assert list((tmp_path / "indexes").iterdir()) == []
    _, path, _ = index.ensure_index(Made(20_001, until=-1), tmp_path, "val", tmp_path / "indexes")
    assert [len(batch) for batch in index.open_index(path).to_batches()] == [10_000, 10_000, 1]
    assert [index.row_of(path, n)["id"] for n in (0, 9_999, 10_000, 20_000)] == ["0", "9999", "10000", "20000"]


def test_trees_with_other_folder_names_have_own_indexes(coco: Any) -> None:
    coco.write_maps()
    before = coco.load()
    (coco.root / "images").mkdir()
    (coco.root / "val2017").rename(coco.root / "images/val2017")
    after = coco.load()
    assert (before.fingerprint, before.ids) == (after.fingerprint, after.ids)
    assert [Path(path).parent.as_posix() for path in (before.images[0], after.images[0])] == [
        "val2017",
        "images/val2017",
    ]
    assert after[0].id == before.ids[0]


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_contents(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b"2007_000061") >= 1
    path.write_bytes(content.replace(b"2007_000061", b"2007_000062"))


def damage_seal(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


def damage_other_seal(path: Path) -> None:
    path.with_suffix(".json").write_text("[1]")


def damage_lost_seal(path: Path) -> None:
    path.with_suffix(".json").unlink()


def damage_lost(path: Path) -> None:
    path.unlink()


def damage_emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncate,
        damage_contents,
        damage_seal,
        damage_other_seal,
        damage_lost_seal,
        damage_lost,
        damage_emptied,
    ],
)
def test_damaged_index_is_rebuilt(voc, damage) -> None:
    dataset = voc.load()
    assert dataset.ids == IDS
    before = built(dataset)
    damage(dataset.index_path)
    again = voc.load()
    assert built(again) != before
    assert again.ids == IDS
    assert again[1].id == IDS[1]
    assert files_of(again) == [dataset.index_path.name, f"{dataset.index_path.stem}.json"]


def test_index_replaced_by_another_process_stays_readable(voc) -> None:
    dataset = voc.load()
    before = built(dataset)
    opened = index.open_index(dataset.index_path)
    dataset.index_path.with_suffix(".json").unlink()
    content = dataset.index_path.read_bytes()
    assert voc.load() == dataset
    assert built(dataset) != before
    assert dataset.index_path.read_bytes() == content
    assert opened.column("id").to_pylist() == list(IDS)


def test_cache_that_cannot_be_written(voc, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="file/indexes: expected a writable cache folder"):
        load("voc21", voc.root, cache_dir=tmp_path / "file")


def test_default_cache_folder(voc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "chosen"))
    assert load("voc21", voc.root).index_path.parent == tmp_path / "chosen" / "indexes"
    monkeypatch.delenv("CAR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load("voc21", voc.root).index_path.parent == tmp_path / "home/.cache/car-eval/indexes"


def test_building_prints_nothing(voc, capfd) -> None:
    voc.load()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_import_is_light() -> None:
    heavy = "[name for name in ('torch', 'datasets', 'pyarrow', 'pandas', 'cv2') if name in sys.modules]"
    code = f"import sys, dataset_adapters; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
