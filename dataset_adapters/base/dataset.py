"""A split of a data set as a sequence of samples, and `load`, which opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args, overload

from dataset_adapters.base.annotation_index import ensure_sourced_index
from dataset_adapters.base.index_cache import ensure_index, fingerprint, open_index
from dataset_adapters.base.sample import (
    Adapter,
    DatasetError,
    LabelSpace,
    NameSet,
    Sample,
    SourceAbsentError,
    SourcedAdapter,
    configured,
    find_adapter,
    find_sources,
)
from support.files import cache_folder, expanded


@dataclass(frozen=True)
class Dataset:
    """A sequence of samples, decoded when asked for. Slices and shards are views on one memory-mapped index.

    Pickles as paths and a range, so it is cheap to send to worker processes on the same machine.
    name: the adapter, with the label source behind it where there are several ("coco-object/instances").
    split: the split's name, or the stem of its file. root: the folder that file paths start from.
    fingerprint: sha256 of the whole split that was loaded; views keep it.
    selection: the positions in the index that this view shows.
    options: the adapter's options, as pairs.
    """

    name: str
    split: str
    root: Path
    fingerprint: str
    label_space: LabelSpace
    index_path: Path
    selection: range
    options: tuple[tuple[str, str], ...] = ()

    @property
    def task(self) -> str:
        """The task of the samples."""
        return find_adapter(self.name).task

    @property
    def ids(self) -> tuple[str, ...]:
        """The sample ids in order, without decoding anything."""
        ids = open_index(self.index_path)["id"][:]
        return tuple(ids[position] for position in self.selection)

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequence of each sample, in order, for samples that are frames of videos; empty for other data sets."""
        index = open_index(self.index_path)
        if "sequence" not in index.column_names:
            return ()
        column = index["sequence"][:]
        return tuple(column[position] for position in self.selection)

    @property
    def shared_images(self) -> tuple[str, ...]:
        """The image file of each sample, in order, where several samples are of one; else empty."""
        if "image" not in find_adapter(self.name).file_columns:
            return ()
        column = open_index(self.index_path)["image"][:]
        images = tuple(column[position] for position in self.selection)
        return images if len(set(images)) < len(images) else ()

    def shard(self, index: int, count: int) -> Dataset:
        """Return one of `count` parts that share no sample and leave none out.

        Every `count`-th sample from `index` on. Of videos whole sequences, and where samples share images those of an
        image that follow one another: one after the other, about as many samples to each shard. A shard is empty only
        where there are fewer samples, sequences or images than shards. Raises DatasetError unless 0 <= index < count.
        """
        if not 0 <= index < count:
            raise DatasetError(f"shard: expected 0 <= index < count, found index {index}, count {count}")
        whole = self.sequences or self.shared_images
        if not whole:
            return self[index::count]
        starts = [n for n, own in enumerate(whole) if n == 0 or own != whole[n - 1]]
        cuts = _even_cuts([*starts, len(self)], count)
        return self[cuts[index] : cuts[index + 1]]

    def __len__(self) -> int:
        return len(self.selection)

    @overload
    def __getitem__(self, item: int) -> Sample: ...
    @overload
    def __getitem__(self, item: slice) -> Dataset: ...
    def __getitem__(self, item: int | slice) -> Sample | Dataset:
        """Decode one sample (raises SampleError, IndexError), or return a view."""
        if isinstance(item, slice):
            return replace(self, selection=self.selection[item])
        row = open_index(self.index_path)[self.selection[item]]
        adapter = configured(find_adapter(self.name), dict(self.options))
        return adapter.read(self.root, row, self.label_space)

    def __iter__(self) -> Iterator[Sample]:
        """Decode all samples in order. Ends at the first SampleError: go by index to read past one."""
        return (self[position] for position in range(len(self)))


def _even_cuts(bounds: Sequence[int], count: int) -> list[int]:
    """Where each of `count` shards begins, and the end of the last, all taken from `bounds`.

    bounds: where each piece that stays whole begins, and the end of the last. Each cut is the bound nearest to an even
    share of what is left, with a piece at least to every shard as long as there are any.
    """
    last = len(bounds) - 1
    chosen = [0]
    for left in range(count, 1, -1):
        begin = bounds[chosen[-1]]
        lowest = min(chosen[-1] + 1, last)
        highest = max(lowest, last - left + 1)
        off = {n: abs((bounds[n] - begin) * left - (bounds[last] - begin)) for n in range(lowest, highest + 1)}
        chosen.append(min(off, key=lambda n: off[n]))
    return [bounds[n] for n in (*chosen, last)]


def load(
    name: str,
    root: str | Path,
    *,
    split: str | Path | None = None,
    source: str | None = None,
    names: NameSet = "released",
    options: Mapping[str, str] | None = None,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Open a data set in its official layout.

    name: "voc21", "voc20", "coco-object", "context60", "context59", "ade150", "ade847", "pc459", "refcoco", "refcoco+",
    "refcocog", "grefcoco" or "ref-davis17"; "own-folders" or "own-hf" for data of your own, whose places are options.
    root: the layout's folder or a parent of it.
    split: a split of the data set, or a text file of ids; None for the data set's usual one.
    source: where the labels come from, for a data set with several sources; None for the first of its sources that
    is there. The data set's name says which it is.
    names: the released query texts or the data set's plain names.
    options: how files become samples, where the data set leaves a choice; see the adapter's `choices`.
    cache_dir: where indexes and hashes of label files are kept; None for $CAR_CACHE or ~/.cache/car-eval.
    Raises DatasetError for an unknown name, source or option, a missing root, split or file, an empty split and
    repeated ids.
    """
    adapters = [configured(adapter, options or {}) for adapter in find_sources(name, source)]
    if names not in get_args(NameSet):
        raise DatasetError(f"names: expected one of {', '.join(get_args(NameSet))}, found {names!r}")
    given = expanded(root).absolute()
    cache = (cache_folder() if cache_dir is None else Path(cache_dir)).expanduser().absolute() / "indexes"
    adapter, folder, identity, index_path = _first_present(adapters, given, split, cache)
    return Dataset(
        name=adapter.name,
        split=Path(adapter.default_split if split is None else split).stem,
        root=folder,
        fingerprint=identity,
        label_space=adapter.label_space(names),
        index_path=index_path,
        selection=range(len(open_index(index_path))),
        options=tuple(sorted((options or {}).items())),
    )


def _first_present(
    adapters: Sequence[Adapter], root: Path, split: str | Path | None, cache: Path
) -> tuple[Adapter, Path, str, Path]:
    """Return the first of the sources of one data set whose files are there, its root, fingerprint and index."""
    absent: list[SourceAbsentError] = []
    no_root: list[DatasetError] = []
    for adapter in adapters:
        try:
            folder = adapter.find_root(root)
        except DatasetError as error:  # the sources may have layouts of their own
            no_root.append(error)
            continue
        found = _ensure(adapter, folder, adapter.default_split if split is None else split, cache)
        if not isinstance(found, SourceAbsentError):
            return adapter, folder, *found
        absent.append(found)
    if not absent:
        raise no_root[0]
    expected = ", or ".join(error.expected for error in absent)
    raise DatasetError(f"{folder}: expected {expected}, found nothing of the kind")


def _ensure(adapter: Adapter, root: Path, split: str | Path, cache: Path) -> tuple[str, Path] | SourceAbsentError:
    """Return the split's fingerprint and its index below `cache`, built if it is not there."""
    try:
        if isinstance(adapter, SourcedAdapter):
            return ensure_sourced_index(adapter, root, split, cache)
        rows = adapter.rows(root, split)
    except SourceAbsentError as error:
        return error
    identity = fingerprint(adapter, root, rows, cache.with_name("contents"))
    ensure_index(cache / identity, rows)
    return identity, cache / identity
