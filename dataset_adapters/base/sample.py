"""Samples and label spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from support.arrays import BoolArray, Int32Array, RGBArray


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its queries and target.

    id: stable, from the source. image: uint8 [H, W, 3], RGB, 0..255.
    queries: the texts to segment: in label-space order ("semantic"), sentences about one target ("referring",
    "generalized"), or one text per object ("video").
    task: "semantic", "referring", "generalized" or "video".
    target: semantic: int32 [H, W], label ids of the label space, or its ignore label. referring: bool [H, W].
    generalized: bool [n, H, W], the masks of the objects that the sentence refers to, which may overlap; n is 0 if it
    refers to nothing in the image. video: bool [n, H, W], the masks of objects 1..n of the whole video, which do not
    overlap.
    query_labels: video: the object that each query refers to, numbered from 1; empty for other tasks.
    sequence: video: the sequence that this frame belongs to; samples are in frame order. None for other tasks.
    void: video, generalized: bool [H, W], pixels that are annotated as neither object nor background; None if the data
    set has none, and for other tasks.
    """

    id: str
    image: RGBArray = field(repr=False)
    queries: tuple[str, ...]
    task: str
    target: Int32Array | BoolArray = field(repr=False)
    query_labels: tuple[int, ...] = ()
    sequence: str | None = None
    void: BoolArray | None = field(default=None, repr=False)

    def with_queries(self, queries: Iterable[str]) -> Sample:
        """Return the sample with only these of its queries, in the sample's order."""
        chosen = set(queries)
        kept = [position for position, query in enumerate(self.queries) if query in chosen]
        labels = tuple(self.query_labels[position] for position in kept) if self.query_labels else ()
        return replace(self, queries=tuple(self.queries[position] for position in kept), query_labels=labels)


@dataclass(frozen=True)
class LabelSpace:
    """Which label ids exist, which of them are scored, and which text stands for which label.

    labels: class names by label id; index 0 is "background" if the label space has one.
    queries, query_labels: the texts and, in the same order, the label id that each one stands for.
    ignore_label: the target value that no metric counts. scored_labels: the label ids that enter the mean.
    stuff_queries: one per query, true for stuff, if things and stuff are segmented separately; else empty.
    mask_values: for user-supplied data, the mask value of each label; else empty.
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
        """Background and object, for targets that are object masks; each sample has its own queries."""
        return cls(name, ("background", "object"), queries=(), query_labels=(), ignore_label=255, scored_labels=(1,))

    @property
    def things(self) -> tuple[str, ...]:
        """The queries that are not stuff, in order."""
        is_stuff = self.stuff_queries or (False,) * len(self.queries)
        return tuple(query for query, stuff in zip(self.queries, is_stuff, strict=True) if not stuff)

    @property
    def stuff(self) -> tuple[str, ...]:
        """The queries that are stuff, in order; empty if all are segmented together."""
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
        """Rebuild the label space that `as_dict` wrote. Raises ValueError for wrong fields."""
        given: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in fields.items()}
        try:
            return cls(**given)
        except TypeError as error:
            raise ValueError(f"label_space: {error}") from None

    def as_dict(self) -> dict[str, object]:
        """Return the fields as JSON values (lists, not tuples), without `mask_values` if there are none."""
        fields = {field: list(value) if isinstance(value, tuple) else value for field, value in asdict(self).items()}
        if not self.mask_values:
            del fields["mask_values"]
        return fields
