"""What a data set hands out (Sample, LabelSpace), how it fails, and the registry of adapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from support.arrays import BoolArray, Int32Array, RGBArray
from support.choices import NameSet as NameSet
from support.errors import UserError
from support.text import unknown_name

Row: TypeAlias = Mapping[str, str]
"""One sample in an index: "id" and the adapter's own columns. Files are paths relative to the root."""


class DatasetError(UserError, ValueError):
    """A set-up mistake, found before any work. One line: path or field, what was expected, what was found."""


class SourceAbsentError(DatasetError):
    """The label files of one source are not there. expected: the files that were looked for."""

    def __init__(self, expected: str) -> None:
        super().__init__(f"expected {expected}, found nothing")
        self.expected = expected


class SampleError(ValueError):
    """A sample that cannot be read.

    id: the sample. path: the offending file, relative to the root. reason: what is wrong with it.
    target: as in Sample if the mask could be read, so that the sample can count as an empty prediction, else None.
    """

    def __init__(self, id: str, path: str, reason: str, target: Int32Array | BoolArray | None = None) -> None:
        super().__init__(f"{id}: {path}: {reason}")
        self.id = id
        self.path = path
        self.reason = reason
        self.target = target

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, str, str, Int32Array | BoolArray | None]]:
        # An exception pickles its message as its only argument unless told otherwise.
        return type(self), (self.id, self.path, self.reason, self.target)


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its queries and target.

    id: stable, from the source. image: uint8 [H, W, 3], RGB, 0..255.
    queries: the texts to segment: in label-space order ("semantic"), sentences on what is one target ("referring",
    "generalized"), or one text an object ("video").
    task: "semantic", "referring", "generalized" or "video".
    target: semantic: int32 [H, W], label ids of the label space, or its ignore label. referring: bool [H, W].
    generalized: bool [n, H, W], the masks of the objects that the sentence means, which may overlap; n is 0 where it
    means nothing in the image. video: bool [n, H, W], the masks of the objects 1..n of the whole video, which do not
    overlap.
    query_labels: video: the object that each query asks for, 1 first; empty elsewhere.
    sequence: video: which sequence this frame belongs to; samples come in the order of its frames. None elsewhere.
    """

    id: str
    image: RGBArray
    queries: tuple[str, ...]
    task: str
    target: Int32Array | BoolArray
    query_labels: tuple[int, ...] = ()
    sequence: str | None = None

    def with_queries(self, queries: Iterable[str]) -> Sample:
        """Return the sample with only those of its queries, in their order in it."""
        chosen = set(queries)
        kept = [position for position, query in enumerate(self.queries) if query in chosen]
        labels = tuple(self.query_labels[position] for position in kept) if self.query_labels else ()
        return replace(self, queries=tuple(self.queries[position] for position in kept), query_labels=labels)


@dataclass(frozen=True)
class LabelSpace:
    """Which label ids exist, which of them are scored, and which text asks for which label.

    labels: class names by label id; index 0 is "background" where the label space has one.
    queries, query_labels: the texts and, in the same order, the label id that each one stands for.
    ignore_label: the target value that no metric counts. scored_labels: the label ids that enter the mean.
    stuff_queries: one per query, true for stuff, where things and stuff are segmented apart; empty elsewhere.
    mask_values: of data of the user's own, one per label: what its pixels hold in a mask; empty elsewhere.
    Raises ValueError if the fields contradict each other.
    """

    name: str
    labels: tuple[str, ...]
    queries: tuple[str, ...]
    query_labels: tuple[int, ...]
    ignore_label: int
    scored_labels: tuple[int, ...]
    stuff_queries: tuple[bool, ...] = ()
    mask_values: tuple[int, ...] = ()

    @classmethod
    def of_objects(cls, name: str) -> LabelSpace:
        """The two labels of targets that are objects; the queries belong to the samples."""
        return cls(name, ("background", "object"), queries=(), query_labels=(), ignore_label=255, scored_labels=(1,))

    @property
    def things(self) -> tuple[str, ...]:
        """The queries that are no stuff, in order."""
        is_stuff = self.stuff_queries or (False,) * len(self.queries)
        return tuple(query for query, stuff in zip(self.queries, is_stuff, strict=True) if not stuff)

    @property
    def stuff(self) -> tuple[str, ...]:
        """The queries that are stuff, in order; empty where all are segmented together."""
        return tuple(query for query, stuff in zip(self.queries, self.stuff_queries, strict=False) if stuff)

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.query_labels):
            raise ValueError(
                f"query_labels: expected one per query, {len(self.queries)}, found {len(self.query_labels)}"
            )
        if self.stuff_queries and len(self.stuff_queries) != len(self.queries):
            raise ValueError(
                f"stuff_queries: expected none or one per query, {len(self.queries)}, found {len(self.stuff_queries)}"
            )
        if self.mask_values and len(self.mask_values) != len(self.labels):
            raise ValueError(
                f"mask_values: expected none or one per label, {len(self.labels)}, found {len(self.mask_values)}"
            )
        if len(set(self.mask_values)) != len(self.mask_values):
            raise ValueError(f"mask_values: expected each value once, found {list(self.mask_values)}")
        unknown = sorted({*self.query_labels, *self.scored_labels} - set(range(len(self.labels))))
        if unknown:
            raise ValueError(f"labels: expected label ids 0..{len(self.labels) - 1}, found {unknown}")
        if 0 <= self.ignore_label < len(self.labels):
            raise ValueError(f"ignore_label: expected no label id, found {self.ignore_label}")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> LabelSpace:
        """Return the label space that `as_dict` was made of. Raises ValueError for fields of another kind."""
        given: dict[str, Any] = {
            field: tuple(value) if isinstance(value, list) else value for field, value in fields.items()
        }
        try:
            return cls(**given)
        except TypeError as error:
            raise ValueError(f"label_space: {error}") from None

    def as_dict(self) -> dict[str, object]:
        """Return the fields as JSON values (lists, not tuples), `mask_values` only where there are some."""
        fields = {field: list(value) if isinstance(value, tuple) else value for field, value in asdict(self).items()}
        if not self.mask_values:
            del fields["mask_values"]
        return fields


class Adapter(Protocol):
    """One data set's file layout and label rules. Stateless: root and split come with each call."""

    @property
    def name(self) -> str:
        """The name given to `load`; "<data set>/<source>" where the labels can come from several sources."""

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
        """Return one row per sample of the split, without opening a sample's files.

        Raises DatasetError; SourceAbsentError if the adapter is one of several sources and its files are not there.
        """

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
class PlacedAdapter(ConfigurableAdapter, Protocol):
    """An adapter for data of the user's own, which options tell where they lie; a place is no part of a fingerprint."""

    @property
    def places(self) -> tuple[str, ...]:
        """The options that take a path or name instead of one of several values."""


@runtime_checkable
class SourcedAdapter(Adapter, Protocol):
    """An adapter whose rows come from a few large files, worth reading once only."""

    def sources(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return what alone decides the rows of the split: files by their contents, folders by the names in them.

        Raises DatasetError for an unknown split; SourceAbsentError if the adapter is one of several sources and its
        files are not there.
        """


_ADAPTERS: dict[str, Adapter] = {}


def register(adapters: Iterable[Adapter]) -> None:
    """Make the adapters known to `load` under their names."""
    _ADAPTERS.update({adapter.name: adapter for adapter in adapters})


def find_adapter(name: str) -> Adapter:
    """Return the adapter of exactly that name. Raises DatasetError naming near matches."""
    if name in _ADAPTERS:
        return _ADAPTERS[name]
    raise _unknown(name)


def find_sources(name: str, source: str | None = None) -> list[Adapter]:
    """Return the adapters of a data set, one a label source, in the order in which they are tried.

    source: the only one wanted. Raises DatasetError for an unknown data set, or a source that it does not have.
    """
    by_source = {own.partition("/")[2]: own for own in _ADAPTERS if own == name or own.startswith(f"{name}/")}
    if not by_source:
        raise _unknown(name)
    if source is None:
        return [_ADAPTERS[own] for own in by_source.values()]
    if source not in by_source or not source:
        known = ", ".join(filter(None, by_source)) or "none: this data set has one source"
        raise DatasetError(f"source: expected a label source of {name} ({known}), found {source!r}")
    return [_ADAPTERS[by_source[source]]]


def _unknown(name: str) -> DatasetError:
    return DatasetError(unknown_name("data set", name, sorted({own.partition("/")[0] for own in _ADAPTERS})))


def option_choices(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return the values of each option of a data set, the default first. Raises DatasetError for an unknown name."""
    return _choices(find_sources(name)[0])


def configured(adapter: Adapter, options: Mapping[str, str]) -> Adapter:
    """Return the adapter with these options. Raises DatasetError for an unknown option or value."""
    choices, places = _choices(adapter), adapter.places if isinstance(adapter, PlacedAdapter) else ()
    for option, value in options.items():
        if option not in (*choices, *places):
            known = ", ".join((*choices, *places)) or "none"
            raise DatasetError(f"{adapter.name}: expected an option of {known}, found {option!r}")
        if option in choices and value not in choices[option]:
            expected = ", ".join(choices[option])
            raise DatasetError(f"{adapter.name}: {option}: expected one of {expected}, found {value!r}")
    return adapter.with_options(options) if isinstance(adapter, ConfigurableAdapter) else adapter


def _choices(adapter: Adapter) -> Mapping[str, tuple[str, ...]]:
    return adapter.choices if isinstance(adapter, ConfigurableAdapter) else {}
