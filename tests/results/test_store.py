"""The run directory: resume, torn and damaged files, atomic writes, identity."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results import RunDirectory, RunHeader, SampleRecord, StoreError, identity_of
from results.run_directory.sample_files import FOLDERS, write_sample_file
from support import strict_json
from support.errors import UserError
from support.files import write_atomically

MakeHeader = Callable[..., RunHeader]


def ok(id_: str, count: int = 7) -> SampleRecord:
    return SampleRecord(
        id=id_,
        status="ok",
        counts={"confusion": [[0, 0, count], [1, 1, 2]]},
        queries_kept=["bird | avian\n<b>"],
        steps=2,
        seconds={"decode": 0.25, "proposals": 1.5},
    )


def failed(id_: str) -> SampleRecord:
    return SampleRecord(id=id_, status="failed", error="truncated image")


@pytest.fixture
def run(tmp_path: Path, make_header: MakeHeader) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create(make_header(status="running"))
    return run


def test_header_and_records_come_back_as_written(run: RunDirectory, make_header: MakeHeader) -> None:
    for record in (ok("a"), failed("b")):
        run.append(record)
    assert run.read_records() == [ok("a"), failed("b")]
    header = run.read_header()
    assert header.model_dump(exclude={"updated_at", "created_at"}) == make_header(status="running").model_dump(
        exclude={"updated_at", "created_at"}
    )
    assert next(iter(json.loads(run.header_path.read_text()))) == "schema_version"


def test_every_appended_record_is_on_disk_at_once(run: RunDirectory) -> None:
    for n in range(1, 4):
        run.append(ok(str(n)))
        assert run.samples_path.read_bytes().count(b"\n") == n


def test_resume_returns_finished_records_and_redoes_failed_ones(run: RunDirectory, make_header: MakeHeader) -> None:
    for record in (ok("a"), failed("b"), ok("c")):
        run.append(record)
    run.close()
    header = make_header(status="running")
    assert RunDirectory(run.path).start(header) == {"a": ok("a"), "c": ok("c")}


def test_resume_keeps_created_at(run: RunDirectory, make_header: MakeHeader) -> None:
    run.write_header(make_header(created_at="2020-01-01T00:00:00+00:00"))
    run.start(make_header(status="running"))
    assert run.read_header().status == "complete"  # nothing is written before there is work
    run.go_on(make_header(status="running"))
    assert run.read_header().status == "running"
    assert run.read_header().created_at == "2020-01-01T00:00:00+00:00"
    assert run.read_header().updated_at > "2020"


def test_the_last_of_duplicate_ids_wins(run: RunDirectory) -> None:
    for record in (failed("a"), ok("b"), ok("a", 99)):
        run.append(record)
    assert run.read_records() == [ok("a", 99), ok("b")]
    finished = run.open_for_resume(run.read_header().identity_fields)
    assert list(finished.values()) == [ok("b"), ok("a", 99)]  # as written
    run.append(failed("b"))
    assert run.open_for_resume(run.read_header().identity_fields) == {"a": ok("a", 99)}


def test_a_last_line_cut_at_any_byte_is_dropped_and_redone(run: RunDirectory) -> None:
    for id_ in "abc":
        run.append(ok(id_))
    run.close()
    whole = run.samples_path.read_bytes()
    start_of_last = whole[:-1].rindex(b"\n") + 1
    fields = run.read_header().identity_fields
    for end in range(start_of_last, len(whole)):
        run.samples_path.write_bytes(whole[:end])
        with RunDirectory(run.path) as resumed:
            assert resumed.read_records() == [ok("a"), ok("b")]
            assert run.samples_path.read_bytes() == whole[:end], "reading must not change the file"
            assert resumed.open_for_resume(fields).keys() == {"a", "b"}
            assert run.samples_path.read_bytes() == whole[:start_of_last]
            resumed.append(ok("c"))
        assert run.samples_path.read_bytes() == whole


def test_appending_without_resuming_also_drops_a_torn_line(run: RunDirectory) -> None:
    run.samples_path.write_bytes(b'{"id": "a", "sta')
    with RunDirectory(run.path) as other:
        other.append(ok("b"))
    assert run.read_records() == [ok("b")]


@pytest.mark.parametrize("tail", [b"\n", b"\x00\x00\x00", b"\x00\x00\n", b"{}x\n", b"\xff\xfe", b"[" * 9999])
def test_a_last_line_that_is_not_json_is_dropped(run: RunDirectory, tail: bytes) -> None:
    run.append(ok("a"))
    good = run.samples_path.read_bytes()
    run.samples_path.write_bytes(good + tail)
    assert run.open_for_resume(run.read_header().identity_fields).keys() == {"a"}
    assert run.samples_path.read_bytes() == good


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\x00\x00", b"\xff\xfe", b'{"id": NaN}', b'{"steps": 1e999}', b"[" * 9999]
)
def test_a_damaged_line_elsewhere_costs_its_sample_and_no_other(run: RunDirectory, damage: bytes) -> None:
    for id_ in "abc":
        run.append(ok(id_))
    lines = run.samples_path.read_bytes().split(b"\n")
    lines[1] = damage
    edited = b"\n".join(lines)
    run.samples_path.write_bytes(edited)
    with pytest.raises(StoreError, match=r"samples\.jsonl, line 2: damaged .* redoes its sample"):
        run.read_records()
    assert run.samples_path.read_bytes() == edited
    assert run.open_for_resume(run.read_header().identity_fields).keys() == {"a", "c"}
    [kept] = run.path.glob("samples.jsonl.*")
    assert kept.read_bytes() == edited
    [repair] = run.repairs
    assert repair.startswith(f"{run.samples_path}, line 2: damaged")
    run.append(ok("b"))
    assert [record.id for record in run.read_records()] == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a"}', "status"),
        ('{"id": "a", "status": "ok", "score": 1}', "score"),
        ('{"id": "a", "status": "ok", "error": "x"}', "error"),
        ('{"id": "", "status": "ok"}', "id"),
        ('{"id": "a", "status": "ok", "steps": -1}', "steps"),
        ("[]", "expected an object"),
        ("null", "expected an object"),
    ],
)
def test_a_line_of_another_schema_is_named_wherever_it_stands(run: RunDirectory, line: str, message: str) -> None:
    run.samples_path.write_text(line + "\n")
    with pytest.raises(StoreError, match=rf"samples\.jsonl, line 1: .*{message}"):
        run.read_records()


_ODD = (
    *("1", "-0", "1e999", "1E+400", "1e-400", "-1e5", "0.0012345678901234567", "NaN", "-Infinity", '{"a": 1, "a": 2}'),
    *("9" * 19, "-" + "9" * 19, "[1,\t" + "9" * 20 + "]", "9" * 400 + ".5", "[" * 300 + "]" * 300),
    *('"NaN"', '"\\ud800"', '"1e5"'),
)


@pytest.mark.parametrize("value", _ODD)
@pytest.mark.parametrize("field", ["counts", "steps", "seconds", "id"])
def test_a_record_is_read_as_by_the_strict_reader_whatever_it_holds(run: RunDirectory, field: str, value: str) -> None:
    # Lines without odd numbers are read by another parser.
    fields = {"id": '"a"', "status": '"ok"', "counts": '{"a": 1}', "steps": "1", "seconds": '{"a": 0.5}'}
    fields[field] = value if field in ("steps", "id") else f'{{"a": {value}}}'
    line = "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}\n"
    run.samples_path.write_text(line + '{"id": "b", "status": "ok"}\n')
    try:
        expected = SampleRecord.model_validate(strict_json.loads(line))
    except ValueError as error:
        with pytest.raises(StoreError, match=re.escape(str(error) if "JSON" in str(error) else "line 1: ")):
            run.read_records()
    else:
        found = run.read_records()[0]
        assert (found, repr(found)) == (expected, repr(expected))


def test_another_identity_is_refused_with_the_differing_fields(run: RunDirectory, make_header: MakeHeader) -> None:
    run.append(ok("a"))
    before = run.samples_path.read_bytes()
    stored = run.read_header().identity_fields
    fields = {**stored, "config": {"profile": "released", "eta": 0.5, "proposal_model": "ViT-B-16"}, "limit": (1, 2)}
    other = make_header(identity_fields=fields)
    with pytest.raises(StoreError) as caught:
        run.start(other)
    message = str(caught.value)
    assert str(run.path) in message
    assert "config.eta is 0.4 there, 0.5 now" in message
    assert 'config.classifier_model is "ViT-L-14" there, absent now' in message
    assert "limit is absent there, [1, 2] now" in message
    assert "proposal_model" not in message
    assert "\n" not in message
    assert run.samples_path.read_bytes() == before


def test_hashes_are_named_in_words(run: RunDirectory, make_header: MakeHeader) -> None:
    def fields(digit: str) -> dict[str, Any]:
        roles = [{"role": role, "weights": digit * 64} for role in ("proposal", "classifier")]
        return {"code": digit * 64, "dataset": {"samples": digit * 64}, "weights": roles}

    run.write_header(make_header(identity_fields=fields("a"), request={"limit": 5, "device": "cpu"}))
    with pytest.raises(StoreError) as caught:
        run.start(make_header(identity_fields=fields("b"), request={"limit": 10, "device": "cuda"}))
    message = str(caught.value)
    for text in (
        "limit is 5 there, 10 now",
        "sources that compute figures changed",
        "weights.proposal.weights has changed",
    ):
        assert text in message
    assert [text for text in ("aaaa", "bbbb", "device", "dataset.samples") if text in message] == []


@pytest.mark.parametrize(
    ("now", "first", "request_now", "said"),
    [
        (
            {"eta": 0.3, "dataset.samples": "nine"},
            {"eta": 0.3, "dataset.samples": "eight"},
            {"limit": 9},
            "eta is 0.4 there, 0.3 now",
        ),
        ({"eta": 0.4, "dataset.samples": "seven"}, None, {"limit": 7}, "limit is 8 there, 7 now"),
        (
            {"eta": 0.4, "dataset.samples": "nine", "shard": "1/2"},
            None,
            {"limit": 9, "shard": "1/2"},
            'limit is 8 there, 9 now; shard is absent there, "1/2" now',
        ),
    ],
    ids=["larger", "smaller", "shard"],
)
def test_a_larger_limit_is_not_a_difference(
    run: RunDirectory,
    make_header: MakeHeader,
    now: dict[str, Any],
    first: dict[str, Any] | None,
    request_now: dict[str, Any],
    said: str,
) -> None:
    """first: the fields of the same run over its first eight samples; None: its own, for a shorter one and a shard."""
    before = {"eta": 0.4, "dataset.samples": "eight"}
    run.write_header(make_header(identity_fields=before, request={"limit": 8}))
    with pytest.raises(StoreError) as caught:
        run.require_same(now, request_now, lambda n: first or now)
    assert str(caught.value).partition("aside: ")[2] == said


@pytest.mark.parametrize("before", [{"benchmark": "mini-voc"}, {}])
def test_difference_names_no_equal_or_unkept_values(
    run: RunDirectory, make_header: MakeHeader, before: dict[str, Any]
) -> None:
    def fields(eta: float, weights: str) -> dict[str, Any]:
        hashed = {"dataset": {"samples": "a" * 64}, "weights": [{"role": "proposal", "weights": weights * 64}]}
        return {"config": {"eta": eta}, **hashed}

    now = {"benchmark": "mini-voc", "weights": "miniature", "split": "val"}
    run.write_header(make_header(identity_fields=fields(0.4, "a"), request=before))
    with pytest.raises(
        StoreError, match=r"identity; choose another folder .* aside: config\.eta is 0\.4 there, 0\.3 now$"
    ):
        run.start(make_header(identity_fields=fields(0.3, "a"), request=now))
    said = "weights is absent there" if before else "weights.proposal.weights has changed"
    with pytest.raises(StoreError, match=f"identity; choose another folder .* aside: {said}[^;]*$"):
        run.start(make_header(identity_fields=fields(0.4, "b"), request=now))


def test_only_the_architecture_of_a_methods_own_weights_is_its_source(
    run: RunDirectory, make_header: MakeHeader
) -> None:
    def fields(source: str, clip: str) -> dict[str, Any]:
        about = {"package": None, "target": "own.py:Own", "source": source * 64}
        architectures = {"encoder": source * 64, "proposal": clip * 64}
        return {
            "plugins": {"methods": {"own": about}, "datasets": {"pets": {**about, "target": "pets.py:Pets"}}},
            "weights": [{"role": role, "architecture": each} for role, each in architectures.items()],
        }

    run.write_header(make_header(identity_fields=fields("a", "b")))
    edited = "own.py (method own) changed and pets.py (dataset pets) changed since"
    for now, said in ((fields("c", "b"), edited), (fields("c", "d"), "; weights.proposal.architecture has changed")):
        with pytest.raises(StoreError) as caught:
            run.require_same(now)
        assert said in str(caught.value)
        assert "encoder" not in str(caught.value)
    run.write_header(make_header(identity_fields={**fields("a", "b"), "plugins": {}}))
    with pytest.raises(StoreError, match=r"aside: weights\.proposal\.architecture has changed$"):
        run.require_same({**fields("a", "d"), "plugins": {}})


def test_another_method_is_said_once_and_few_differences_are(run: RunDirectory, make_header: MakeHeader) -> None:
    config = {f"switch{i}": i for i in range(50)}
    run.write_header(make_header(identity_fields={"config": config}, request={"limit": 4}))
    own = {"config": {"method": "own"}, **dict.fromkeys("abcd", 1)}
    with pytest.raises(StoreError) as caught:
        run.require_same(own, {"method": "own", "limit": 4})
    _, _, said = str(caught.value).partition("aside: ")
    assert said == 'method is "car" there, "own" now; a is absent there, 1 now; b is absent there, 1 now; and 2 more'
    run.require_same({"config": config})


def test_difference_names_types_and_cuts_long_values(run: RunDirectory, make_header: MakeHeader) -> None:
    run.write_header(make_header(identity_fields={"flag": 1, "queries": "q" * 100_000}))
    with pytest.raises(StoreError, match="flag is 1 there, true now") as caught:
        run.open_for_resume({"flag": True, "queries": "r" * 100_000})
    assert len(str(caught.value)) < 1000


def test_fresh_sets_the_old_files_aside_and_loses_nothing(run: RunDirectory, make_header: MakeHeader) -> None:
    other = make_header(identity_fields={"eta": 1})
    for generation in range(3):
        run.append(ok("a", generation))
        (run.path / "table.md").write_text("old")
        for folder in FOLDERS:
            write_sample_file(run.path / folder / "a.png", str(generation).encode())
        assert run.start(other, fresh=True) == {}
        assert run.read_records() == []
    assert run.read_header().identity == other.identity
    assert not (run.path / "table.md").exists()
    for folder in FOLDERS:
        assert not (run.path / folder).exists()
        assert sorted(path.read_text() for path in run.path.glob(f"{folder}.*/a.png")) == ["0", "1", "2"]
    kept = [json.loads(path.read_text()) for path in run.path.glob("samples.jsonl.*")]
    assert sorted(record["counts"]["confusion"][0][2] for record in kept) == [0, 1, 2]
    assert len(list(run.path.glob("run.json.*"))) == len(list(run.path.glob("table.md.*"))) == 3


def test_fresh_in_an_empty_or_missing_folder_just_starts(tmp_path: Path, make_header: MakeHeader) -> None:
    assert RunDirectory(tmp_path / "a" / "b").start(make_header(), fresh=True) == {}
    (tmp_path / "c").mkdir()
    assert RunDirectory(tmp_path / "c").start(make_header(), fresh=True) == {}


@pytest.mark.parametrize("name", ["table.md", "notes.txt", "predictions/"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_with_files_that_no_run_wrote_is_refused(
    tmp_path: Path, make_header: MakeHeader, name: str, fresh: bool
) -> None:
    (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text("my own")
    with pytest.raises(StoreError, match=rf"expected an empty folder or a run, found '{name.strip('/')}' and no run"):
        RunDirectory(tmp_path).start(make_header(), fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == [name.strip("/")]


def test_a_file_is_no_folder_for_a_run(tmp_path: Path, make_header: MakeHeader) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(StoreError, match="expected a folder for a run, found a file there or above it"):
            RunDirectory(path).start(make_header())


def test_create_refuses_a_folder_that_is_in_use(run: RunDirectory, make_header: MakeHeader) -> None:
    with pytest.raises(StoreError, match=r"run\.json exists already"):
        run.create(make_header())
    run.append(ok("a"))
    run.header_path.unlink()
    with pytest.raises(StoreError, match=r"samples\.jsonl exists already"):
        run.create(make_header())


def test_lost_header_is_written_again_for_its_own_run_only(tmp_path: Path, make_header: MakeHeader) -> None:
    mine, other = make_header(status="running"), make_header(status="running", identity_fields={"eta": 0.9})
    with RunDirectory(tmp_path) as run:
        run.start(mine)
        run.append(ok("a"))
    with pytest.raises(StoreError, match="another identity"), RunDirectory(tmp_path) as run:
        run.start(other)  # a refused start must not claim the records
    run.header_path.unlink()
    for header in (other, make_header(identity_fields={})):
        with pytest.raises(StoreError, match=r"run\.json: .* restore it, or use --fresh"), run:
            run.start(header)
    with RunDirectory(tmp_path) as run:
        assert run.start(mine).keys() == {"a"}
        assert run.header.identity == mine.identity
        assert "run.json was missing" in run.repairs[0]
    run.header_path.unlink()
    (tmp_path / ".lock").unlink()
    with pytest.raises(StoreError, match=r"found no run\.json"), run:
        run.start(mine)
    with run:
        assert run.start(mine, fresh=True) == {}


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "folder"])
@pytest.mark.parametrize(
    "name",
    [
        *(".lock", "run.json", "samples.jsonl", "table.md", "process-1.log"),
        *("predictions", "predictions/x.png", "label_maps/a/b.png"),
    ],
)
def test_run_folder_entry_of_another_kind_is_refused(
    run: RunDirectory, make_header: MakeHeader, tmp_path: Path, name: str, kind: str
) -> None:
    """What a link leads to is kept."""
    run.append(ok("a"))
    run.close()
    victim, entry = tmp_path / "victim", run.path / name
    (victim.mkdir if name == "predictions" else victim.touch)()
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(entry)
    elif kind == "folder":
        entry.mkdir()
    else:
        entry.symlink_to(victim if kind == "link" else tmp_path / "nothing")
    if kind == "folder" and name.startswith(("predictions", "label_maps")):
        run.start(make_header(status="running"))  # frames of videos have folders
        run.close()
        return
    found = kind.removeprefix("dangling ").replace("fifo", "FIFO")
    with pytest.raises(StoreError, match=rf"{name}: expected a (file|folder), found a {found}"), run:
        run.start(make_header(status="running"))
    assert not (tmp_path / "nothing").exists()
    assert list(victim.iterdir()) == [] if victim.is_dir() else victim.read_text() == ""
    if name in ("run.json", "samples.jsonl"):
        with pytest.raises(UserError, match=f"expected a file, found a {found}"):
            run.read_header() if name == "run.json" else run.read_records()


@pytest.mark.parametrize("replaced", [False, True])
def test_records_file_removed_is_noticed_at_the_next_record(run: RunDirectory, replaced: bool) -> None:
    run.append(ok("a"))
    if replaced:  # as editors and rsync do
        (run.path / "new").write_bytes(run.samples_path.read_bytes())
        (run.path / "new").replace(run.samples_path)
    else:
        run.samples_path.unlink()
    with pytest.raises(StoreError, match="another program removed or replaced it"):
        run.append(ok("b"))
    run.close()
    run.append(ok("b"))
    assert [record.id for record in run.read_records()] == (["a", "b"] if replaced else ["b"])


def test_resume_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run directory"):
        RunDirectory(tmp_path).open_for_resume({})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[]", "no schema_version"),
        ("{}", "no schema_version"),
        ('{"schema_version": 2}', "schema_version 2 is newer than 1"),
        ('{"schema_version": 1, "status": "paused"}', "status"),
        ('{"schema_version": 0}', "schema_version"),
        ('{"schema_version": NaN}', "NaN is not JSON"),
    ],
)
def test_an_unreadable_header_is_named_in_one_line(run: RunDirectory, text: str, message: str) -> None:
    run.header_path.write_text(text)
    with pytest.raises(StoreError, match=rf"run\.json: .*{message}") as caught:
        run.read_header()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_is_refused_before_anything_is_written(run: RunDirectory, make_header: MakeHeader, bad: float) -> None:
    before = run.header_path.read_bytes()
    with pytest.raises(StoreError, match=r"metrics\.miou: .* is not JSON"):
        run.write_header(make_header().model_copy(update={"metrics": {"miou": bad}}))
    assert run.header_path.read_bytes() == before
    with pytest.raises(StoreError, match=r"record 'a': counts\.area: .* is not JSON"):
        run.append(SampleRecord(id="a", status="ok", counts={"area": bad}))
    assert not run.samples_path.exists()


def test_a_type_that_json_lacks_is_refused_with_its_key(run: RunDirectory) -> None:
    with pytest.raises(StoreError, match=r"counts\.confusion\[0\]\[1\]: object is not a JSON type"):
        run.append(SampleRecord(id="a", status="ok", counts={"confusion": [[0, object()]]}))


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_failed_header_write_keeps_the_old_file(
    run: RunDirectory, make_header: MakeHeader, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = run.header_path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        run.write_header(make_header(status="complete"))
    assert run.header_path.read_bytes() == before
    assert [path.name for path in run.path.iterdir()] == ["run.json"]


def test_interrupted_header_write_leaves_no_temporary_file(
    run: RunDirectory, make_header: MakeHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.write_header(make_header())
    assert [path.name for path in run.path.iterdir()] == ["run.json"]


def test_a_text_that_is_not_unicode_is_written_with_code_points(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    write_atomically(path, "half \ud800, byte \udcff, \u00e9")
    assert path.read_text(encoding="utf-8") == r"half \ud800, byte \udcff, " + "\u00e9"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_within_a_record_removes_the_half_line(tmp_path: Path) -> None:
    # A real limit on the file's size, in a process of its own: the third record does not fit.
    script = """
import resource, signal, sys
from results import RunDirectory, SampleRecord
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = RunDirectory(sys.argv[1])
record = lambda id_: SampleRecord(id=id_, status="ok", queries_kept=["q" * 100])
run.append(record("a")); run.append(record("b"))
size = run.samples_path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
try:
    run.append(record("c"))
except OSError as error:
    print("refused", error.errno, run.samples_path.stat().st_size == size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
run.append(record("d"))
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.split() == ["refused", "27", "True"], done.stderr
    assert [record.id for record in RunDirectory(tmp_path).read_records()] == ["a", "b", "d"]


def test_a_killed_writer_loses_at_most_the_line_it_was_writing(tmp_path: Path) -> None:
    script = """
import sys
from results import RunDirectory, SampleRecord
run = RunDirectory(sys.argv[1])
for n in range(10**9):
    run.append(SampleRecord(id=str(n), status="ok", queries_kept=["q" * 5000]))
    print(n, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    announced = [int(writer.stdout.readline()) for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    ids = [int(record.id) for record in RunDirectory(tmp_path).read_records()]
    assert ids == list(range(len(ids)))
    assert len(ids) >= len(announced)


def test_identity_is_canonical_and_pinned() -> None:
    fields = {"b": [1, 2.5, None, True], "a": {"é": "x"}}
    assert identity_of(fields) == identity_of({"a": {"é": "x"}, "b": (1, 2.5, None, True)})
    # Pinned: another hash for the same fields would orphan every stored run.
    assert identity_of(fields) == "6a432034964912ec1cd08079165f96a6a2134a17a14427b5e5de55c8a9d7b70b"


@pytest.mark.parametrize("changed", [{"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"b": 1}, {}])
def test_identity_tells_values_and_types_apart(changed: dict) -> None:
    assert identity_of(changed) != identity_of({"a": 1})


@pytest.mark.parametrize("fields", [{"a": float("nan")}, {1: "a"}, {"a": {2: 3}}, {"a": b"x"}, {"a": Path("x")}])
def test_identity_refuses_what_is_not_json(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"not JSON|not a string|not a JSON type"):
        identity_of(fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": "0" * 64}, "identity is not the hash"),
        ({"identity": "short"}, "identity"),
        ({"config_sources": {}}, "config and config_sources differ in classifier_model, eta"),
        ({"counts": {"n_total": 3, "n_scored": 1, "n_failed": 1}}, "n_total 3"),
        ({"metrics": {"miou": float("nan")}}, "miou"),
        ({"color": "red"}, "color"),
        ({"schema_version": 2}, "schema_version"),
    ],
)
def test_an_inconsistent_header_is_refused(make_header: MakeHeader, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_header(**changes)


def test_every_field_of_the_schema_is_documented() -> None:
    schema = RunHeader.model_json_schema()
    models = [schema, *schema["$defs"].values(), SampleRecord.model_json_schema()]
    missing = [
        f"{model['title']}.{name}"
        for model in models
        for name, entry in model.get("properties", {}).items()
        if "description" not in entry
    ]
    assert missing == []


def test_importing_results_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'pandas', 'pyarrow', 'scipy'}"
    script = f"import sys, results, results.tables.run; sys.exit(bool({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
