"""Shards of a run and their merging, beside the run in one piece."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.command import FAST, TIMES, car

from evaluation import evaluate
from evaluation.run.merge import MergeError, merge
from results import RunDirectory, StoreError


@pytest.fixture
def shards(tiny_run: Any, tmp_path: Path) -> list[Path]:
    """Three shards of seven samples, one of which cannot be read."""
    (tiny_run.data_root / "JPEGImages" / "2007_000002.jpg").write_bytes(b"not a picture")
    paths = [tmp_path / f"shard{number}" for number in (1, 2, 3)]
    arguments = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
    for number, path in enumerate(paths, start=1):
        result = car(*tiny_run.arguments(*arguments, f"--shard={number}/3", f"--out={path}", "--allow-failures"))
        assert result.exit_code == 0, result.stderr
    return paths


def test_merged_shards_are_the_run_in_one_piece(
    shards: list[Path], tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = evaluate(tiny_run.options(settings=FAST)).header
    parts = [RunDirectory(path).read_header() for path in shards]
    assert [part.counts.n_total for part in parts] == [3, 2, 2]
    assert len({part.identity for part in (*parts, straight)}) == 4
    result = car("merge", shards[2], shards[0], shards[1], "--out", tmp_path / "all")
    assert result.exit_code == 0, result.stderr
    merged = RunDirectory(tmp_path / "all").read_header()
    # Byte for byte as JSON, but for times and memory.
    as_text = [json.dumps(header.model_dump(exclude=TIMES)) for header in (merged, straight)]
    assert as_text[0] == as_text[1]
    records = [
        {record.id: record.model_dump(exclude={"seconds"}) for record in RunDirectory(path).read_records()}
        for path in (tmp_path / "all", tiny_run.out)
    ]
    assert records[0] == records[1]
    assert merged.counts.n_failed == 1
    assert merged.timings.wall_seconds == pytest.approx(
        sum(RunDirectory(path).read_header().timings.wall_seconds for path in shards)
    )
    assert f"{100 * straight.metrics['miou']:.1f}" in result.stdout
    # The same command without shards finds it finished, but for the failed sample.
    segmented: list[Any] = []
    monkeypatch.setattr("car_core.CaR.segment_batch", lambda car, images, *_: segmented.extend(images) or [])
    assert evaluate(tiny_run.options(settings=FAST, out=tmp_path / "all")).header.metrics == straight.metrics
    assert not segmented


def test_merging_again_changes_nothing(shards: list[Path], tmp_path: Path) -> None:
    first = merge(shards, tmp_path / "all")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "all").glob("*.json*")}
    assert merge(shards, tmp_path / "all") == first
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "all").glob("*.json*")} == before


def test_merging_does_not_cover_up_an_edited_record(shards: list[Path], tmp_path: Path) -> None:
    merge(shards, tmp_path / "all")
    file, before = tmp_path / "all" / "samples.jsonl", (tmp_path / "all" / "run.json").read_bytes()
    records = [json.loads(line) for line in file.read_text().splitlines()]
    records[0]["counts"]["confusion"][0][2] += 1
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(StoreError, match=r"expected the records behind run\.json"):
        merge(shards, tmp_path / "all")
    assert (tmp_path / "all" / "run.json").read_bytes() == before


def test_merge_copies_only_sample_files_and_refuses_links(shards: list[Path], tiny_run: Any, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "keys").write_text("the user's own")
    own = RunDirectory(shards[1]).read_records()[0].id
    for shard in shards:
        (shard / "predictions" / "x").mkdir(parents=True)
    (shards[1] / "predictions" / "x" / "keys").write_text("a stranger's")
    (shards[1] / "predictions" / f"{own}.png").write_bytes(b"a sample's")
    (shards[1] / "predictions" / "other.png").write_bytes(b"no sample's")
    merge(shards, tmp_path / "all")
    assert [path.name for path in (tmp_path / "all" / "predictions").iterdir()] == [f"{own}.png"]
    (shards[0] / "predictions" / "x").rmdir()
    (shards[0] / "predictions" / "x").symlink_to(victim)
    with pytest.raises(StoreError, match="predictions/x: expected a file, found a link"):
        merge(shards, tmp_path / "again")
    assert (victim / "keys").read_text() == "the user's own"
    assert not (tmp_path / "again").exists()


def test_a_merge_that_was_killed_goes_on_with_what_is_missing(shards: list[Path], tmp_path: Path) -> None:
    whole, out = merge(shards, tmp_path / "whole"), tmp_path / "all"
    with pytest.MonkeyPatch.context() as patch:
        original = RunDirectory.append
        patch.setattr(
            RunDirectory, "append", lambda store, record: 1 / 0 if "5" in record.id else original(store, record)
        )
        with pytest.raises(ZeroDivisionError):
            merge(shards, out)
    assert RunDirectory(out).read_header().status == "running"
    again = merge(shards, out)
    assert again.model_dump(exclude=TIMES) == whole.model_dump(exclude=TIMES)
    assert (out / "samples.jsonl").read_bytes() == (tmp_path / "whole" / "samples.jsonl").read_bytes()


def test_shards_of_several_machines_are_all_named(shards: list[Path], tmp_path: Path) -> None:
    for path, device in zip(shards, ("one", "two", "one"), strict=True):
        store = RunDirectory(path)
        header = store.read_header()
        store.write_header(
            header.model_copy(update={"environment": header.environment.model_copy(update={"device": device})})
        )
    merged = merge(shards, tmp_path / "all")
    assert merged.environment.device == "one"
    assert [other.device for other in merged.other_environments] == ["two"]
    assert merge(shards, tmp_path / "all") == merged


def test_merge_of_other_than_shards_of_one_run_is_refused(shards: list[Path], tiny_run: Any, tmp_path: Path) -> None:
    other, whole, out = tmp_path / "other", tmp_path / "whole", tmp_path / "all"
    evaluate(tiny_run.options(settings={**FAST, "eta": 0.7}, out=other, shard=(2, 3)))
    evaluate(tiny_run.options(settings=FAST, out=whole))
    with pytest.raises(MergeError, match="expected each of 3 once; missing: 2/3; more than once: none"):
        merge([shards[0], shards[2]], out)
    copy = shutil.copytree(shards[0], tmp_path / "copy")
    with pytest.raises(MergeError, match="missing: 3/3; more than once: 1/3"):
        merge([*shards[:2], copy], out)
    with pytest.raises(MergeError, match=r"config\.eta is 0\.4 there, 0\.7 now"):
        merge([shards[0], other, shards[2]], out)
    with pytest.raises(MergeError, match="found an unsharded run"):
        merge([*shards, whole], out)
    assert not out.exists()
    header = json.loads((shards[1] / "run.json").read_text())
    (shards[1] / "run.json").write_text(json.dumps({**header, "status": "running"}))
    with pytest.raises(MergeError, match="expected a finished shard, found one that is running"):
        merge(shards, out)
    (shards[1] / "run.json").write_text(json.dumps(header))
    (shards[1] / "samples.jsonl").write_bytes((shards[0] / "samples.jsonl").read_bytes())
    with pytest.raises(StoreError, match=r"expected the records behind run\.json"):
        merge(shards, out)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "-1/3", "1/", "1/3/5"])
def test_a_shard_is_a_part_of_a_number(tiny_run: Any, text: str) -> None:
    result = car(*tiny_run.arguments(f"--shard={text}"))
    assert (result.exit_code, "--shard: expected I/N" in result.stderr) == (2, True)


def test_more_shards_than_samples_are_refused(tiny_run: Any) -> None:
    result = car(*tiny_run.arguments("--shard=8/8"))
    assert (result.exit_code, "shard: expected at most as many shards as samples, 7" in result.stderr) == (2, True)
