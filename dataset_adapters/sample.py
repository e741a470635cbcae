"""What a data set hands out (Sample, LabelSpace), how it fails, and the registry of adapters."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

ImageArray: TypeAlias = npt.NDArray[np.uint8]
LabelMap: TypeAlias = npt.NDArray[np.int32]
Mask: TypeAlias = npt.NDArray[np.bool_]
NameSet: TypeAlias = Literal["released", "dataset"]
Row: TypeAlias = Mapping[str, str]
"""One sample in an index: "id" and the adapter's own columns. Files are paths relative to the root."""


class DatasetError(ValueError):
    """A set-up mistake, found before any work. One line: path or field, what was expected, what was found."""


class SampleError(ValueError):
    """A sample that cannot be read.

    id: the sample. path: the offending file, relative to the root. reason: what is wrong with it.
    target: as in Sample if the mask could be read, so that the sample can count as an empty prediction, else None.
    """

    def __init__(self, id: str, path: str, reason: str, target: LabelMap | Mask | None = None) -> None:
        super().__init__(f"{id}: {path}: {reason}")
        self.id = id
        self.path = path
        self.reason = reason
        self.target = target

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, str, str, LabelMap | Mask | None]]:
        # An exception pickles its message as its only argument unless told otherwise.
        return type(self), (self.id, self.path, self.reason, self.target)


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its queries and target.

    id: stable, from the source. image: uint8 [H, W, 3], RGB, 0..255.
    queries: the texts to segment: in label-space order ("semantic"), or sentences on one object ("referring").
    task: "semantic" or "referring".
    target: semantic: int32 [H, W], label ids of the label space, or its ignore label. referring: bool [H, W].
    """

    id: str
    image: ImageArray
    queries: tuple[str, ...]
    task: str
    target: LabelMap | Mask


@dataclass(frozen=True)
class LabelSpace:
    """Which label ids exist, which of them are scored, and which text asks for which label.

    labels: class names by label id; index 0 is "background" where the label space has one.
    queries, query_labels: the texts and, in the same order, the label id that each one stands for.
    ignore_label: the target value that no metric counts. scored_labels: the label ids that enter the mean.
    Raises ValueError if the fields contradict each other.
    """

    name: str
    labels: tuple[str, ...]
    queries: tuple[str, ...]
    query_labels: tuple[int, ...]
    ignore_label: int
    scored_labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.query_labels):
            raise ValueError(
                f"query_labels: expected one per query, {len(self.queries)}, found {len(self.query_labels)}"
            )
        unknown = sorted({*self.query_labels, *self.scored_labels} - set(range(len(self.labels))))
        if unknown:
            raise ValueError(f"labels: expected label ids 0..{len(self.labels) - 1}, found {unknown}")
        if 0 <= self.ignore_label < len(self.labels):
            raise ValueError(f"ignore_label: expected no label id, found {self.ignore_label}")

    def as_dict(self) -> dict[str, object]:
        """Return the fields as JSON values (lists, not tuples)."""
        return {field: list(value) if isinstance(value, tuple) else value for field, value in asdict(self).items()}


class Adapter(Protocol):
    """One data set's file layout and label rules. Stateless: root and split come with each call."""

    @property
    def name(self) -> str:
        """The name given to `load`."""

    @property
    def version(self) -> int:
        """Raised whenever the adapter's samples change for the same files; part of the fingerprint."""

    @property
    def task(self) -> str:
        """The task of its samples."""

    @property
    def default_split(self) -> str:
        """The split read when none is given."""

    @property
    def file_columns(self) -> tuple[str, ...]:
        """The row columns that are file paths relative to the root."""

    def find_root(self, root: Path) -> Path:
        """Return the folder of the official layout at or below `root`. Raises DatasetError."""

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row per sample of the split, without opening the files. Raises DatasetError."""

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return the label space with the released query texts or the data set's plain names."""

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one sample. Raises SampleError."""


@runtime_checkable
class ConfigurableAdapter(Adapter, Protocol):
    """An adapter with options of how its files become samples."""

    @property
    def choices(self) -> Mapping[str, tuple[str, ...]]:
        """The values of each option, the default first."""

    def with_options(self, options: Mapping[str, str]) -> ConfigurableAdapter:
        """Return the adapter with these options, all of which are in `choices`."""


@runtime_checkable
class SourcedAdapter(Adapter, Protocol):
    """An adapter whose rows come from a few large files, worth reading once only."""

    def sources(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return the files that alone decide the rows of the split. Raises DatasetError for an unknown split."""


_ADAPTERS: dict[str, Adapter] = {}


def register(adapters: Iterable[Adapter]) -> None:
    """Make the adapters known to `load` under their names."""
    _ADAPTERS.update({adapter.name: adapter for adapter in adapters})


def find_adapter(name: str) -> Adapter:
    """Return the adapter of that name. Raises DatasetError naming near matches."""
    if name in _ADAPTERS:
        return _ADAPTERS[name]
    near = difflib.get_close_matches(name, _ADAPTERS) or sorted(_ADAPTERS)
    raise DatasetError(f"data set: expected a known name such as {', '.join(near)}, found {name!r}")


def option_choices(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return the values of each option of an adapter, the default first. Raises DatasetError for an unknown name."""
    adapter = find_adapter(name)
    return adapter.choices if isinstance(adapter, ConfigurableAdapter) else {}


def configured_adapter(name: str, options: Mapping[str, str]) -> Adapter:
    """Return the adapter of that name with these options. Raises DatasetError for an unknown name, option or value."""
    adapter, choices = find_adapter(name), option_choices(name)
    for option, value in options.items():
        if option not in choices:
            raise DatasetError(f"{name}: expected an option of {', '.join(choices) or 'none'}, found {option!r}")
        if value not in choices[option]:
            raise DatasetError(f"{name}: {option}: expected one of {', '.join(choices[option])}, found {value!r}")
    return adapter.with_options(options) if isinstance(adapter, ConfigurableAdapter) else adapter
