"""The keys of a run's files in docs/results.md; tests/test_docs.py holds the page to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from results import PluginInfo, RunHeader, SampleRecord
from tools.generated_docs import schema


def test_every_key_of_a_real_file_stands_on_the_page(make_header: Callable[..., RunHeader]) -> None:
    record, page = SampleRecord(id="a", status="ok"), schema()
    open_ended = (
        "label_space",
        "config",
        "config_sources",
        "identity_fields",
        "metrics",
        "packages",
        "seconds_by_stage",
    )
    header = make_header()
    brought = PluginInfo(kind="methods", name="a", target="b:C", package="b", version="1", source="0" * 64)
    update = {"other_environments": [header.environment], "plugins": [brought]}
    for document in (header.model_copy(update=update), record):
        for key in keys(json.loads(document.model_dump_json()), open_ended):
            assert f"| `{key}` |" in page


def keys(value: Any, open_ended: tuple[str, ...], prefix: str = "") -> Iterator[str]:
    """Dotted keys of nested objects; those of an open-ended object are the task's or the configuration's own."""
    for name, item in value.items():
        is_list = isinstance(item, list) and item and isinstance(item[0], dict)
        key = f"{prefix}{name}{'[]' if is_list else ''}"
        yield key
        for inner in item if is_list else [item]:
            if isinstance(inner, dict) and name not in open_ended:
                yield from keys(inner, open_ended, f"{key}.")


def test_objects_of_objects_have_their_keys_on_the_page() -> None:
    rows = schema().splitlines()
    assert any(row.startswith("| `scaling[].batch_sizes.*.images_per_second` | number |") for row in rows)
    assert any(row.startswith("| `scaling[].encoders[].share_of_peak` | number |") for row in rows)


def test_every_key_has_a_meaning() -> None:
    rows = [row for row in schema().splitlines() if row.startswith("| `")]
    assert len(rows) > 150
    assert [row for row in rows if row.endswith("|  |")] == []
