"""A split of a data set as a sequence of samples, and `load`, which opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar, get_args, overload

import numpy as np

from dataset_adapters.base.adapter import (
    Adapter,
    configured,
    data_set_plugin,
    find_adapter,
    find_sources,
    first_present,
)
from dataset_adapters.base.index import ensure_index, open_index, row_of
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.errors import DatasetError, SampleError
from support.arrays import Int64Array
from support.choices import NameSet
from support.files import cache_folder, expanded
from support.plugins import Plugin

Positions = TypeVar("Positions", range, Sequence[int])


@dataclass(frozen=True)
class Dataset:
    """A sequence of samples, decoded on access. Slices and shards are views of one memory-mapped index.

    Pickles as paths and a range, so it is cheap to send to worker processes on the same machine.
    name: the adapter, followed by the label source if there are several ("coco-object/instances").
    split: the split's name, or the stem of its file. root: the folder that file paths are relative to.
    fingerprint: sha256 of the whole split that was loaded; views keep it.
    selection: the indices into the split that this view shows.
    options: the adapter's options, as pairs.
    notices: what the files of the split hold that was left out, for users, one line each.
    brought_by: the package or file that the adapter is from; another process imports it. None for one of our own.
    """

    name: str
    split: str
    root: Path
    fingerprint: str
    label_space: LabelSpace
    index_path: Path
    selection: range
    options: tuple[tuple[str, str], ...] = ()
    notices: tuple[str, ...] = ()
    brought_by: Plugin | None = None

    @property
    def adapter(self) -> Adapter:
        return configured(find_adapter(self.name, self.brought_by), dict(self.options))

    @property
    def task(self) -> str:
        return self.adapter.task

    @property
    def ids(self) -> tuple[str, ...]:
        """The sample ids in order; nothing is decoded."""
        return self._column("id")

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequence of each sample, in order, if samples are video frames; else empty."""
        return self._column("sequence")

    @property
    def images_by_sample(self) -> tuple[str, ...]:
        """The image file of each sample, in order, if several samples share an image; else empty."""
        return self.images if len(set(self.images)) < len(self.images) else ()

    @property
    def images(self) -> tuple[str, ...]:
        """The image file of each sample, in order, relative to `root`; empty if images are not separate files."""
        return self._column("image") if "image" in self.adapter.file_columns else ()

    def _column(self, name: str) -> tuple[str, ...]:
        """A column of the index for the selected samples; empty if the index does not have it."""
        index = open_index(self.index_path)
        if name not in index.column_names:
            return ()
        values = index.column(name).to_pylist()
        return tuple(values[n] for n in self.selection)

    def value_labels(self, *, categories: bool = False) -> Mapping[int, int]:
        """The label of each value of the data set's own label files or annotations.

        Values that are ignored stand for label 0 if nothing else does. categories: of the category ids of annotations,
        where the label files have other values.
        """
        space, adapter = self.label_space, self.adapter
        if space.mask_values:
            return {value: label for label, value in enumerate(space.mask_values)}
        labels = range(len(space.labels))
        relabel = adapter.relabel or {label: label for label in labels}
        relabel = adapter.categories or relabel if categories else relabel
        found = {value: label for value, label in relabel.items() if label in labels}
        if 0 not in found.values():
            found |= {value: 0 for value, label in relabel.items() if label == space.ignore_label}
        return found

    def queries_of(self, position: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The queries of a sample and, for videos, the object of each; nothing is decoded where that can be avoided."""
        own = self.adapter.queries(row_of(self.index_path, self.selection[position]))
        if own is not None:
            return own
        if self.label_space.queries:
            return self.label_space.queries, ()
        sample = self[position]
        return sample.queries, sample.query_labels

    def file_states(self) -> Int64Array:
        """Size and modification time (ns) of the samples' files, int64 [kinds of files, n, 2]; -1 for an absent one."""
        columns = self.adapter.file_columns
        states = np.full((len(columns), len(self), 2), -1, np.int64)
        for n, column in enumerate(columns):
            for i, file in enumerate(self._column(column)):
                with suppress(OSError):
                    status = (self.root / file).stat()
                    states[n, i] = status.st_size, status.st_mtime_ns
        return states

    def shard(self, index: int, count: int) -> Dataset:
        """Return one of `count` disjoint parts that together hold all samples.

        Every `count`-th sample from `index` on. Video sequences, and consecutive samples that share an image, are not
        split: shards are then contiguous and about equally large. A shard is empty only if there are fewer samples,
        sequences or images than shards. Raises DatasetError unless 0 <= index < count.
        """
        if not 0 <= index < count:
            raise DatasetError(f"shard: expected 0 <= index < count, found index {index}, count {count}")
        part = self.parts(range(len(self)), count)[index]
        return self[part.start : part.stop : part.step]

    def parts(self, positions: Positions, count: int) -> list[Positions]:
        """These positions, in order, divided into `count` parts as `shard` divides all."""
        groups = self.sequences or self.images_by_sample
        if not groups:
            return [positions[part::count] for part in range(count)]
        starts: list[int] = [n for n, at in enumerate(positions) if n == 0 or groups[at] != groups[positions[n - 1]]]
        cuts = balanced_cuts([*starts, len(positions)], count)
        return [positions[start:end] for start, end in pairwise(cuts)]

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
        row = row_of(self.index_path, self.selection[item])
        sample = self.adapter.read(self.root, row, self.label_space)
        if self.brought_by:
            _require_sample(sample, row["id"], self)
        return sample

    def __iter__(self) -> Iterator[Sample]:
        """Decode all samples in order. Ends at the first SampleError: access by index to read past one."""
        return (self[n] for n in range(len(self)))


def _require_sample(sample: Sample, sample_id: str, dataset: Dataset) -> None:
    """Raise SampleError unless what an outside adapter read is a sample that can be scored."""

    def require(holds: object, field: str, expected: str, found: object) -> None:
        if not holds:
            raise SampleError(sample_id, str(dataset.brought_by), f"{field}: expected {expected}, found {found}")

    require(isinstance(sample, Sample), "read", "a Sample", type(sample).__name__)
    require(sample.id == sample_id, "id", repr(sample_id), repr(sample.id))
    image, target = (np.asarray(array) for array in (sample.image, sample.target))
    found = [f"{array.dtype} {list(array.shape)}" for array in (image, target)]
    require(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, "image", "uint8 [H, W, 3]", found[0])
    is_semantic, n_axes = dataset.task == "semantic", 3 if dataset.task in ("generalized", "video") else 2
    dtype, size = "int32" if is_semantic else "bool", list(image.shape[:2])
    fits = target.dtype == dtype and target.ndim == n_axes and list(target.shape[-2:]) == size
    require(fits, "target", f"{dtype} {['n'][: n_axes - 2] + size}", found[1])
    void = sample.void if sample.void is None else np.asarray(sample.void)
    fits = void is None or (void.dtype == "bool" and list(void.shape) == size)
    require(fits, "void", f"none or bool {size}", void is not None and f"{void.dtype} {list(void.shape)}")
    if is_semantic:
        ignored, last = dataset.label_space.ignore_label, len(dataset.label_space.labels) - 1
        labels = [label for label in np.unique(target).tolist() if label != ignored and not 0 <= label <= last]
        require(not labels, "target", f"labels 0..{last} or {ignored}", labels)


def balanced_cuts(bounds: Sequence[int], count: int) -> list[int]:
    """Return where each of `count` shards begins, and the end of the last, all taken from `bounds`.

    bounds: where each indivisible group begins, and the end of the last. Each cut is the bound nearest to an equal
    share of the remaining samples; every shard gets at least one group while there are any.
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

    name: what the field `adapter` of a benchmark names, such as "voc21", "refcoco+" or "ref-davis17"; "own-folders" or
    "own-hf" for your own data, whose locations are options; what another package calls its data set, or
    `file.py:Adapter`.
    root: the layout's folder or a parent of it.
    split: a split of the data set, or a text file of ids; None for the default split.
    source: where the labels come from, for a data set with several sources; None for the first that exists. The
    loaded data set's name says which one it is.
    names: the released query texts or the data set's plain names.
    options: how files become samples, if the data set leaves a choice; see the adapter's `choices`.
    cache_dir: where indexes and hashes of label files are kept; None for $CAR_CACHE or ~/.cache/car-eval.
    Raises DatasetError for an unknown name, source or option, a missing root, split or file, an empty split and
    repeated ids.
    """
    adapters = [configured(adapter, options or {}) for adapter in find_sources(name, source)]
    if names not in get_args(NameSet):
        raise DatasetError(f"names: expected one of {', '.join(get_args(NameSet))}, found {names!r}")
    cache = (cache_folder() if cache_dir is None else expanded(cache_dir)).absolute() / "indexes"
    adapter, folder, (identity, index_path, notices) = first_present(
        adapters,
        expanded(root).absolute(),
        lambda adapter, folder: ensure_index(adapter, folder, adapter.default_split if split is None else split, cache),
    )
    return Dataset(
        name=adapter.name,
        split=Path(adapter.default_split if split is None else split).stem,
        root=folder,
        fingerprint=identity,
        label_space=adapter.label_space(names),
        index_path=index_path,
        selection=range(len(open_index(index_path))),
        options=tuple(sorted((options or {}).items())),
        notices=notices,
        brought_by=data_set_plugin(adapter.name),
    )
