"""A run directory on disk: run.json replaced atomically, samples.jsonl appended line by line.

A killed process leaves at worst one torn last line, which is dropped and its sample redone.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from results.run_directory.lock import LOCK_FILE, FolderLock, LockedError
from results.run_directory.sample_files import FOLDERS
from results.run_directory.schema import LISTED, SCHEMA_VERSION, RunHeader, SampleRecord, others, utc_now
from support import strict_json
from support.errors import UserError, mistakes
from support.files import expanded, kind_of, named_errors, open_regular, read_regular, write_atomically
from support.garbage import uncollected
from support.text import counted, did_you_mean, shortened

FieldsOfFirst: TypeAlias = Callable[[int], Mapping[str, Any]]


class StoreError(UserError):
    """A run directory cannot be used as asked; the message names the path and what is wrong."""


class RunDirectory:
    """One run on disk.

    Resuming needs the same identity. When an id has several lines in samples.jsonl, the last one wins: that
    is how a failed sample is redone.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(path)
        self.header_path = self.path / "run.json"
        self.samples_path = self.path / "samples.jsonl"
        self.records: dict[str, SampleRecord] = {}
        """The records that `start` found, by id as in `read_records`, failed ones included."""
        self.repairs: list[str] = []
        self._header: RunHeader | None = None
        self._is_whole = False  # whether a torn last line of samples.jsonl is known to be cut off
        self._stream: io.FileIO | None = None
        self._lock = FolderLock(self.path)

    @property
    def header(self) -> RunHeader:
        """The contents of run.json, read at most once: between `start` and `close` only this object writes it.

        Raises:
            StoreError: as `read_header`.
        """
        if self._header is None:
            self._header = self.read_header()
        return self._header

    def start(
        self, header: RunHeader, *, fresh: bool = False, fields_of_first: FieldsOfFirst | None = None
    ) -> dict[str, SampleRecord]:
        """Create the run, or open the existing one; returns the finished records to reuse, by id.

        An existing run.json stays as it is until `go_on`; one that is gone is written again if the lock's file proves
        that the records are of this run. With `fresh`, an existing run is set aside first (see `set_aside`). The folder
        is locked until `close`. Afterwards, `repairs` has one line per repair. fields_of_first: as for `require_same`.

        Raises:
            StoreError: another process works here, or another identity or unreadable files are here, or other files
                than a run's.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise StoreError(f"{self.path}: expected a folder for a run, found a file there or above it") from None
        self.require_plain()
        try:
            self._lock.acquire()
        except LockedError as error:
            raise StoreError(f"{error}: wait for it, stop it, or choose another folder") from None
        self._forget()
        if fresh:
            self.set_aside()
        if not self.header_path.exists():
            if not self.samples_path.exists():
                self.create(header)
                self._lock.note_identity(header.identity)
                return {}
            if self._lock.identity != header.identity:
                raise StoreError(
                    f"{self.header_path}: expected the run of {self.samples_path.name}, found no "
                    "run.json: restore it, or use --fresh, which sets the records aside"
                )
            self.write_header(header)
            self.repairs.append(f"{self.path.name}: run.json was missing and is rewritten; the records are this run's")
        finished = self.open_for_resume(header.identity_fields, header.request, fields_of_first)
        self._lock.note_identity(header.identity)
        return finished

    def require_plain(self) -> None:
        """Raise StoreError, naming the entry, unless all that a run keeps here are regular files in real folders.

        A link in a stranger's run could lead anything written or copied out of the folder. Without run.json and
        samples.jsonl the folder must hold no other files that are not hidden or set aside, as they are not a run's.
        """
        with os.scandir(self.path) as entries:
            found = {entry.name: entry for entry in entries}
        is_run, files = found.keys() & {"run.json", "samples.jsonl"}, (*_RUN_FILES, LOCK_FILE)
        for name, entry in found.items():
            if name in FOLDERS:
                _require_plain_files(entry)
            elif (name in files or _LOG.fullmatch(name)) and not entry.is_file(follow_symlinks=False):
                raise StoreError(f"{entry.path}: expected a file, found {kind_of(os.lstat(entry.path).st_mode)}")
            if not is_run and not name.startswith((".", *(f"{own}." for own in _RUN_FILES))):
                raise StoreError(f"{self.path}: expected an empty folder or a run, found {name!r} and no run.json")

    def go_on(self, header: RunHeader) -> None:
        """Replace run.json by the header of a start that adds records to the existing ones.

        The run keeps its created_at, the time spent so far, the peak memory, and the environments that its records were
        made in. A run.json that already says the same, such as that of a new run, is not written again.

        Raises:
            StoreError: as `read_header` and `write_header`.
        """
        before = self.header
        has_records = self.samples_path.exists() and self.samples_path.stat().st_size > 0
        earlier = [*before.other_environments, before.environment] if has_records else []
        kept = {
            "created_at": before.created_at,
            "timings": before.timings,
            "memory": before.memory,
            "other_environments": others(header.environment, [*earlier, *header.other_environments]),
        }
        now = header.model_copy(update=kept)
        if now.model_copy(update={"updated_at": before.updated_at}) != before:
            self.write_header(now)

    def keep_header(self) -> Path:
        """Copy run.json to a name with the time added, which is returned."""
        kept = Path(f"{self.header_path}.{_unused_stamp([self.header_path])}")
        write_atomically(kept, read_regular(self.header_path, follow=False))
        return kept

    def create(self, header: RunHeader) -> None:
        """Make the folder and write run.json.

        Raises:
            StoreError: the folder holds a run or records already.
        """
        for path in (self.header_path, self.samples_path):
            if path.exists():
                raise StoreError(f"{path} exists already; resume that run or start fresh")
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_header(header)
        self._is_whole = True

    def open_for_resume(
        self,
        identity_fields: Mapping[str, Any],
        request: Mapping[str, Any] | None = None,
        fields_of_first: FieldsOfFirst | None = None,
    ) -> dict[str, SampleRecord]:
        """Check that the run here has the same identity; returns its finished records by id, in order of writing.

        A failed record is not returned, so its sample is redone. A torn last line is cut off, and a damaged one left
        out of a new file; the old one is kept under another name.

        Raises:
            StoreError: as `require_same`, or damaged files.
        """
        self.require_same(identity_fields, request, fields_of_first)
        records, end, damaged = _scan(self.samples_path)
        self._cut_samples(end)
        if damaged:  # a new file without these lines
            self._close_samples()
            lines = read_regular(self.samples_path, follow=False, most=sys.maxsize).splitlines(keepends=True)
            kept = self.samples_path.rename(f"{self.samples_path}.{_unused_stamp([self.samples_path])}")
            whole = (line for number, line in enumerate(lines, start=1) if number not in damaged)
            write_atomically(self.samples_path, b"".join(whole))
            self.repairs += [
                f"{self.samples_path}, line {number}: {reason}; its sample is redone, the old file is kept as "
                f"{kept.name}"
                for number, reason in damaged.items()
            ]
        self._is_whole = True
        self.records = {record.id: record for record in records}  # the last wins
        line = {record.id: number for number, record in enumerate(records)}
        winners = sorted(self.records.values(), key=lambda record: line[record.id])
        return {record.id: record for record in winners if record.status == "ok"}

    def require_same(
        self,
        identity_fields: Mapping[str, Any],
        request: Mapping[str, Any] | None = None,
        fields_of_first: FieldsOfFirst | None = None,
    ) -> None:
        """Raise StoreError unless a run of this identity is here: what to do, then the first fields that differ.

        request: that of these fields: its words say more than hashes and many switches do. fields_of_first: the fields
        of the same run over its first n samples; a run of these here is the same one, to be extended.
        """
        self._header = None
        stored = self.header
        limit = stored.request.get("limit")
        same = [identity_fields, *([fields_of_first(limit)] if fields_of_first and isinstance(limit, int) else [])]
        if stored.identity in map(strict_json.identity_of, same):
            return
        found = differences(stored.identity_fields, same[-1])  # a larger limit is not a difference
        now = stored.request if request is None or not stored.request else request  # older runs have none
        a, b = ({"method": "car", **own} for own in (stored.request, now))
        # Words whose fields are as before mean the same, whatever they are.
        words = [
            word
            for word, fields in _SAID_BY.items()
            if a.get(word) != b.get(word) and any(each.startswith(fields) for each in found)
        ]
        a, b = ({word: own[word] for word in words if word in own} for own in (a, b))
        said = tuple(_SAID_BY[word] for word in words)
        changed = [*differences(a, b), *(each for each in found if not each.startswith(said))]
        edited = {"config.predictions_sha256 has changed": "the predictions changed"} | {
            # Outside code, by what `differences` says of its hash.
            f"plugins.{kind}.{name}.source has changed": f"{own['package'] or own['target'].partition(':')[0]} "
            f"({kind[:-1]} {name}) changed"
            for kind, named in identity_fields.get("plugins", {}).items()
            for name, own in named.items()
        }
        # A method's source also stands for the architecture of its own weights: one change is said once.
        texts = json_by_dotted_key(identity_fields)
        sources = {texts[key] for key in texts if key.startswith("plugins.methods.") and key.endswith(".source")}
        again = {f"{key} has changed" for key in texts if key.startswith("weights.") and texts[key] in sources}
        changed = [edited.get(each, each) for each in changed if each not in again]
        remedy = "choose another folder (--out), or --fresh, which sets that run aside"
        if {*changed} <= {*edited.values()}:
            raise StoreError(f"{self.path}: {' and '.join(changed)} since the run in this folder was made; {remedy}")
        more = [f"and {len(changed) - _MOST_SAID} more"] if len(changed) > _MOST_SAID else []
        text = "; ".join([*changed[:_MOST_SAID], *more])
        if commit := stored.environment.git_commit:
            text = text.replace(_MEANINGS["code"], f"{_MEANINGS['code']} since its commit {commit[:12]}")
        raise StoreError(f"{self.path} holds a run of another identity; {remedy}: {text}")

    def append(self, record: SampleRecord) -> None:
        """Add one record and hand it to the operating system, so that a killed process does not lose it.

        Raises:
            StoreError: the record holds NaN, infinity or a type that JSON lacks.
            OSError: it could not be written; what was written of it is taken back.
        """
        try:
            line = strict_json.dumps(record.model_dump()) + "\n"
        except ValueError as error:
            raise StoreError(f"{self.samples_path}: record {record.id!r}: {error}") from error
        if self._stream is None:
            if not self._is_whole:
                self._cut_samples(_scan(self.samples_path)[1])
            self._stream = open_regular(self.samples_path, "ab", follow=False)
        elif not self._is_in_place(self._stream):
            raise StoreError(
                f"{self.samples_path}: expected the file that this run writes, found that another program removed or "
                "replaced it; the same command redoes the lost samples"
            )
        end, rest = self._stream.seek(0, os.SEEK_END), memoryview(line.encode("ascii"))
        try:
            with named_errors(self.samples_path):
                while rest:  # a raw write may take only part of the data, for example on a disk that is nearly full
                    rest = rest[self._stream.write(rest) :]
        except BaseException:  # whatever ends this, Ctrl-C included
            # Half a line followed by the next record would damage the middle of the file.
            self._stream.truncate(end)
            raise

    def write_header(self, header: RunHeader) -> None:
        """Replace run.json as a whole and set its updated_at; a reader sees the old file or the new one.

        Raises:
            StoreError: the header does not fit the schema (after `model_copy`) or holds NaN or infinity.
        """
        try:
            # Through JSON, so that `header` is what a reader of the file gets: a tuple is a list there.
            fields = strict_json.loads(strict_json.dumps(header.model_dump() | {"updated_at": utc_now()}))
            checked = RunHeader.model_validate(fields)
        except ValueError as error:
            raise StoreError(f"{self.header_path}: {one_line(error)}") from error
        write_atomically(self.header_path, strict_json.dumps(checked.model_dump(), indent=1) + "\n")
        self._header = checked

    def read_header(self, *, listed: bool = False) -> RunHeader:
        """Read run.json. listed: only to be shown among many, so that its parts are not compared with each other.

        Raises:
            StoreError: it is missing, not JSON, of a newer schema version, or does not fit the schema.
        """
        try:
            fields = strict_json.loads(read_regular(self.header_path, follow=False))
            version = fields.get("schema_version") if isinstance(fields, dict) else None
            if not isinstance(version, int):
                raise ValueError("not a run header: no schema_version")
            if version > SCHEMA_VERSION:
                raise ValueError(
                    f"schema_version {version} is newer than {SCHEMA_VERSION}, the newest this program reads"
                )
            return RunHeader.model_validate(fields, context=LISTED if listed else None)
        except FileNotFoundError as error:
            if n_runs := len([*self.path.glob("*/run.json")]):
                raise StoreError(
                    f"{self.path}: expected a run, found a folder of {counted(n_runs, 'run')}; `car runs {self.path}` "
                    f"lists them, `car table {self.path}/*/` shows their tables"
                ) from error
            known = [path.parent.name for path in self.path.parent.glob("*/run.json")]
            near = did_you_mean(self.path.name, known) if known else ""
            raise StoreError(f"{self.path}: not a run directory (no run.json){near}") from error
        except NotADirectoryError:
            raise StoreError(f"{self.path}: expected the folder of a run, found a file") from None
        except ValueError as error:
            raise StoreError(f"{self.header_path}: {one_line(error)}") from error

    def read_records(self) -> list[SampleRecord]:
        """All records, one per id (the last wins), in the order in which ids first appear; only reads.

        Raises:
            StoreError: a line other than a torn last one is damaged.
        """
        records, _, damaged = _scan(self.samples_path)
        for number, reason in damaged.items():
            raise StoreError(
                f"{self.samples_path}, line {number}: {reason}; the command that made the run redoes its sample"
            )
        return list({record.id: record for record in records}.values())

    def set_aside(self) -> list[Path]:
        """Rename every file and folder of the run by adding the time; returns the new paths. Nothing is deleted."""
        self._close_samples()
        # run.json last: when killed in between, the folder still says what run the records are from.
        present = sorted(
            (path for path in self.path.glob("*") if path.name in _RUN_FILES),
            key=lambda path: path == self.header_path,
        )
        self._forget()
        stamp = _unused_stamp(present)
        return [path.rename(f"{path}.{stamp}") for path in present]

    def close(self) -> None:
        """Close samples.jsonl and free the lock; appending again opens the file again, without a lock."""
        self._close_samples()
        self._forget()
        self._lock.release()

    def _forget(self) -> None:
        """Drop everything known about the files, because other processes may change them."""
        self._header, self.records, self._is_whole = None, {}, False

    def _close_samples(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _cut_samples(self, end: int) -> None:
        if self.samples_path.exists() and self.samples_path.stat().st_size > end:
            with open_regular(self.samples_path, "rb+", follow=False) as stream:
                stream.truncate(end)

    def _is_in_place(self, stream: io.FileIO) -> bool:
        try:
            return os.path.samestat(os.fstat(stream.fileno()), os.lstat(self.samples_path))
        except OSError:
            return False


LONGEST_LINE = 2**26  # bytes
_LOG = re.compile(r"process-\d+\.log")  # what a process of several printed
_RUN_FILES = {"run.json", "samples.jsonl", "table.md", "table.csv", "report.html", *FOLDERS}


def _require_plain_files(folder: os.DirEntry[str]) -> None:
    if not folder.is_dir(follow_symlinks=False):
        raise StoreError(f"{folder.path}: expected a folder, found {kind_of(os.lstat(folder.path).st_mode)}")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _require_plain_files(entry)
            elif not entry.is_file(follow_symlinks=False):
                raise StoreError(f"{entry.path}: expected a file, found {kind_of(os.lstat(entry.path).st_mode)}")


def _scan(path: Path) -> tuple[list[SampleRecord], int, dict[int, str]]:
    """The records of a file (none if it is missing), where its last whole line ends, and the damaged lines before that.

    The lines are counted from 1, each with what is wrong with it. Raises StoreError for one of another schema.
    """
    records: list[SampleRecord] = []
    damaged: dict[int, str] = {}
    end = 0
    try:
        stream = io.BufferedReader(open_regular(path, follow=False))
    except FileNotFoundError:
        return records, end, damaged
    with stream, uncollected():
        for number, line in enumerate(iter(partial(stream.readline, LONGEST_LINE), b""), start=1):
            try:
                # The newline is written last, so a line without it was cut short even where it happens to be JSON.
                if not line.endswith(b"\n"):
                    raise ValueError("no end of line")
                records.append(_record(line))
            except ValidationError as error:  # no damage, but what no run writes
                raise StoreError(f"{path}, line {number}: {one_line(error)}") from error
            except ValueError as error:
                if not stream.peek(1):  # the torn last line of a killed process
                    break
                damaged[number] = f"damaged ({error})"
            end += len(line)
    return records, end, damaged


def _record(line: bytes) -> SampleRecord:
    try:
        if strict_json.is_plain(line):
            return SampleRecord.model_validate_json(line)  # in a quarter of the time
    except ValidationError:  # what is wrong is said in the words of `strict_json`
        pass
    return SampleRecord.model_validate(strict_json.loads(line))


def one_line(error: Exception) -> str:
    """The faults of a file's contents on one line: field and message of each."""
    if isinstance(error, ValidationError):
        return mistakes(error)
    if isinstance(error, OSError) and error.strerror:  # the caller names the file
        return error.strerror
    return str(error)


_MOST_SAID = 3  # differences in an error
_SAID_BY = {
    "method": "config.",
    **dict.fromkeys(("limit", "split"), "dataset.samples"),
    **dict.fromkeys(("weights", "proposal_weights", "classifier_weights"), "weights."),
}
"""Words of a request, and the fields of an identity that they say in short: hashes, or all switches."""
_MEANINGS = {
    "code": "the sources that compute figures changed",
    "dataset.fingerprint": "files of the data set changed",
    "dataset.samples": "other samples",
}
"""What a changed hash means, by field."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Each dotted key whose JSON differs, with both values: "key is old there, new now"."""
    before, now = json_by_dotted_key(old), json_by_dotted_key(new)
    pairs = {key: (before.get(key, "absent"), now.get(key, "absent")) for key in {**before, **now}}
    return [
        f"{key} has changed{f' ({_MEANINGS[key]})' if key in _MEANINGS else ''}"
        if _is_hash(there) and _is_hash(here)
        else f"{key} is {shortened(there)} there, {shortened(here)} now"
        for key, (there, here) in pairs.items()
        if there != here
    ]


def _is_hash(text: str) -> bool:
    return re.fullmatch('"[0-9a-f]{64}"', text) is not None


def json_by_dotted_key(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The values of nested objects as JSON, by the dotted path of their keys."""
    # As JSON, because that is what is hashed: a tuple equals a list there, and 1 differs from True.
    texts: dict[str, str] = {}
    for key, value in fields.items():
        if isinstance(value, list) and value and all(isinstance(each, dict) and "role" in each for each in value):
            value = {each["role"]: each for each in value}
        if isinstance(value, dict) and value:
            texts |= json_by_dotted_key(value, f"{prefix}{key}.")
        else:
            texts[prefix + key] = strict_json.dumps(value)
    return texts


def _unused_stamp(paths: list[Path]) -> str:
    base = utc_now().replace("+00:00", "Z").replace(":", "").replace("-", "")
    stamp, n = base, 1
    while any(path.with_name(f"{path.name}.{stamp}").exists() for path in paths):
        n += 1
        stamp = f"{base}-{n}"
    return stamp
