"""The reader of plain pickles: what it reads, what it refuses, and that nothing runs."""

from __future__ import annotations

import collections
import datetime
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_adapters import DatasetError
from dataset_adapters.formats.plain_pickle import read_plain_pickle

PLAIN = [
    {"a": 1, "long": 2**100, "negative": -(2**70), "float": 0.5, "none": None, "flags": [True, False]},
    ("tuple", ("nested", ()), "naïve 飞机"),
    b"bytes \xff",
    b"",
    list(range(1000)),
    {},
    [],
]

# As Python 2 writes them in protocol 0: str, unicode, int, long, float, bool, None, list, tuple, dict with a memo.
PYTHON_2 = b"""(lp0
(dp1
S'split'
p2
S'val'
p3
sS'ref_id'
p4
I12
sS'ann_id'
p5
L1058555L
sS'raw'
p6
Vna\\u00efve \\u98de
p7
sS'latin'
p8
S'caf\\xe9'
p9
sS'box'
p10
(F0.5
I01
I00
Ntp11
sa(dp12
g2
g3
sa."""


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def refused(path: Path) -> str:
    __tracebackhide__ = True
    with pytest.raises(DatasetError) as caught:
        read_plain_pickle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: expected a pickle of plain data (dict, list, ")
    return message


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    assert read_plain_pickle(write(tmp_path / "a.p", pickle.dumps(PLAIN, protocol))) == PLAIN


def test_protocol_0_of_python_2(tmp_path: Path) -> None:
    assert read_plain_pickle(write(tmp_path / "a.p", PYTHON_2)) == [
        {
            "split": "val",
            "ref_id": 12,
            "ann_id": 1058555,
            "raw": "naïve 飞",
            "latin": "café",
            "box": (0.5, True, False, None),
        },
        {"split": "val"},
    ]


def test_binary_strings_of_python_2_are_latin_1(tmp_path: Path) -> None:
    # Protocol 2: PROTO, SHORT_BINSTRING of 4 bytes, LONG1 of 2 bytes, TUPLE2.
    content = b"\x80\x02U\x04caf\xe9\x8a\x02\x00\x01\x86."
    assert read_plain_pickle(write(tmp_path / "a.p", content)) == ("café", 256)


def test_a_list_that_holds_itself_ends(tmp_path: Path) -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    found = read_plain_pickle(write(tmp_path / "a.p", pickle.dumps(endless)))
    assert found[1] is found


def test_deep_nesting_is_walked_without_recursion(tmp_path: Path) -> None:
    assert read_plain_pickle(write(tmp_path / "a.p", b"]" * 50_000 + b"a" * 49_999 + b"."))


class Harmful:
    """Would make a file when loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nested", [False, True])
def test_a_global_is_refused_by_name_and_not_called(tmp_path: Path, protocol: int, nested: bool) -> None:
    harm = Harmful(tmp_path / "harmed")
    content = pickle.dumps([{"sentences": [{"raw": (harm,)}]}] if nested else harm, protocol)
    assert f"the global {os.system.__module__}.system, which is refused" in refused(write(tmp_path / "a.p", content))
    pickle.loads(content)
    assert harm.marker.exists()  # the ordinary reader would have run it


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval"),
        (b"\x80\x04\x8c\x08builtins\x94\x8c\x07getattr\x94\x93.", "builtins.getattr"),
        (b"\x80\x04\x8c\x02os\x8c\x0bpath.exists\x93.", "os.path.exists"),
        (pickle.dumps(np.arange(3)), "numpy"),
        (pickle.dumps(collections.OrderedDict(a=1)), "collections.OrderedDict"),
        (pickle.dumps(datetime.date(2024, 1, 1)), "datetime.date"),
        (pickle.dumps({1, 2}, 2), "__builtin__.set"),
        (pickle.dumps(1j), "builtins.complex"),
    ],
)
def test_other_globals_are_named(tmp_path: Path, content: bytes, name: str) -> None:
    assert f"the global {name}" in refused(write(tmp_path / "a.p", content))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (pickle.dumps([{1, 2}], 4), "a set"),
        (pickle.dumps({"a": frozenset({1})}, 4), "a frozenset"),
        (pickle.dumps(bytearray(b"a"), 5), "a bytearray"),
        (b"c_codecs\nencode\n.", "a function"),
    ],
)
def test_what_needs_no_global_is_refused_too(tmp_path: Path, content: bytes, kind: str) -> None:
    assert f"found {kind}, which is refused" in refused(write(tmp_path / "a.p", content))


@pytest.mark.parametrize("codec", ["zlib_codec", "rot13", "utf-8"])
def test_the_byte_string_call_takes_latin_1_only(tmp_path: Path, codec: str) -> None:
    content = f"c_codecs\nencode\n(Vabc\nV{codec}\ntR.".encode()
    assert f"the encoding '{codec}', which is refused" in refused(write(tmp_path / "a.p", content))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>Not Found</html>",
        b"\x1f\x8b\x08\x00",
        b'{"images": []}',
        pickle.dumps(PLAIN)[:-20],
        pickle.dumps(PLAIN, 0)[:-20],
        b"\x80\x63.",
        b".",
        b"Pid\n.",
        b"}S'a'\nb.",
        b"S'a'\n)R.",
        b"\x82\x01.",
    ],
    ids=[
        "empty",
        "html",
        "gzip",
        "json",
        "cut",
        "cut text",
        "protocol 99",
        "stop",
        "persistent",
        "build",
        "call",
        "ext",
    ],
)
def test_damage_and_other_formats(tmp_path: Path, content: bytes) -> None:
    assert "found damage or another format: " in refused(write(tmp_path / "a.p", content))


def test_absent_files_and_folders(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent.p").endswith("found nothing")
    assert refused(tmp_path).endswith("found a folder")
