"""Shards of one run, made anywhere, joined to the run that one process would have made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.request.options import SHARD, parse_shard
from evaluation.run.recompute import figures_of, recompute, require_unedited, scorer_of
from results import Memory, RunDirectory, RunHeader, SampleRecord, Timings, differences, identity_of
from results.run_directory.sample_files import write_sample_file
from results.run_directory.schema import others
from results.tables.run import write_tables
from support.errors import UserError
from support.files import expanded, read_regular


class MergeError(UserError, ValueError):
    """Runs that are not the shards of one. One line: what was expected, what was found."""


@dataclass(frozen=True)
class _Part:
    store: RunDirectory
    header: RunHeader
    shard: tuple[int, int]


def merge(paths: Sequence[str | Path], out: str | Path) -> RunHeader:
    """Join the finished shards of a run in the folder `out`; returns its header.

    Identity, records and figures are those of the run without shards, which `car eval` then finds finished there.
    Wall time is the sum over the shards, memory the largest. Resuming after an interruption keeps what is joined, and
    what is joined already is left as it is. Raises MergeError, naming what is missing or differs, unless the runs are
    all shards of one run, each once and finished; StoreError for damaged ones, and for another run in `out`.
    """
    out = expanded(out)
    parts: list[_Part] = []
    for path in map(expanded, paths):
        header, part_store = recompute(path), RunDirectory(path)  # a shard that was edited is refused here
        part_store.require_plain()
        shard = header.identity_fields.get(SHARD)
        if shard is None:
            raise MergeError(f"{path}: expected a shard (car eval --shard I/N), found an unsharded run")
        if header.status != "complete":
            raise MergeError(f"{path}: expected a finished shard, found one that is {header.status}")
        parts.append(_Part(part_store, header, parse_shard(str(shard))))
    parts.sort(key=lambda part: part.shard)
    _require_all_of_one(parts)
    records: dict[str, SampleRecord] = {}  # those of the first shard first
    shards: dict[str, Path] = {}
    for part in parts:
        for record in part.store.read_records():
            other = shards.setdefault(record.id, part.store.path)
            if other != part.store.path:
                raise MergeError(f"{part.store.path}: {record.id!r} is also in {other}")
            records[record.id] = record
    header = _whole_header([part.header for part in parts])
    with RunDirectory(out) as store:
        scorer = scorer_of(store, header)
        for name, reason in scorer.missing.items():
            raise MergeError(f"{parts[0].store.path}: expected the metric {name} of the shards, but {reason}")
        store.start(header.model_copy(update={"status": "running"}))
        require_unedited(store, scorer, records)
        # Records that are not here, or are here as failed while a shard has one that is not.
        rest = [
            record
            for id_, record in records.items()
            if id_ not in store.records or (store.records[id_].status, record.status) == ("failed", "ok")
        ]
        for id_, shard in shards.items():  # files of other samples that a shard holds stay there
            for path in scorer.possible_files(Path(), id_):
                with suppress(FileNotFoundError):
                    write_sample_file(out / path, read_regular(shard / path, follow=False))
        if rest or store.header.status != "complete":
            store.go_on(header.model_copy(update={"status": "running"}))
            for record in rest:
                store.append(record)
            _, figures = figures_of(store, scorer)
            store.write_header(store.header.model_copy(update={"status": "complete", **figures}))
        header = store.header
    write_tables(out, header)
    return header


def _require_all_of_one(parts: Sequence[_Part]) -> None:
    first = parts[0]
    for part in parts:
        changed = differences(_whole_fields(first.header), _whole_fields(part.header))
        if part.shard[1] != first.shard[1]:
            changed.append(f"one of {first.shard[1]} shards there, one of {part.shard[1]} now")
        if changed:
            raise MergeError(f"{part.store.path}: expected a shard of the run of {first.store.path}: {changed[0]}")
    numbers, count = Counter(part.shard[0] for part in parts), first.shard[1]
    missing = [f"{number}/{count}" for number in range(1, count + 1) if not numbers[number]]
    repeated = [f"{number}/{count}" for number, times in numbers.items() if times > 1]
    if missing or repeated:
        raise MergeError(
            f"shards: expected each of {count} once; missing: {', '.join(missing) or 'none'}; "
            f"more than once: {', '.join(repeated) or 'none'}"
        )


def _whole_fields(header: RunHeader) -> dict[str, Any]:
    return {key: value for key, value in header.identity_fields.items() if key != SHARD}


def _whole_header(headers: Sequence[RunHeader]) -> RunHeader:
    fields = _whole_fields(headers[0])
    stages = dict.fromkeys(stage for header in headers for stage in header.timings.seconds_by_stage)
    timings = Timings(
        wall_seconds=math.fsum(header.timings.wall_seconds for header in headers),
        seconds_by_stage={
            stage: math.fsum(h.timings.seconds_by_stage.get(stage, 0.0) for h in headers) for stage in stages
        },
    )
    peaks = [header.memory.peak_rss_mib for header in headers if header.memory.peak_rss_mib is not None]
    environments = [own for header in headers for own in (*header.other_environments, header.environment)]
    return headers[0].model_copy(
        update={
            "request": {word: value for word, value in headers[0].request.items() if word != SHARD},
            "identity": identity_of(fields),
            "identity_fields": fields,
            "timings": timings,
            "memory": Memory(
                peak_rss_mib=max(peaks, default=None),
                smaller_passes=sorted({text for header in headers for text in header.memory.smaller_passes}),
            ),
            "created_at": min(header.created_at for header in headers),
            "other_environments": others(headers[0].environment, environments),
        }
    )
