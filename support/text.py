"""Texts for people (safe to show, near matches of a mistyped name, numbers with nouns) and as CLIP reads them."""

from __future__ import annotations

import difflib
import html
import re
import unicodedata
from collections.abc import Iterable

_SURROGATE = re.compile("[\ud800-\udfff]")

MAX_TEXT = 300
"""Longest text shown in a cell, in characters."""


def visible(text: str, limit: int = MAX_TEXT) -> str:
    """Text on one line that cannot control a terminal: control, format and surrogate characters as \\u{hex}.

    Longer text is cut to `limit` characters, the last of them an ellipsis.
    """
    # Categories C*: controls, direction marks, surrogates; Zl and Zp: the two Unicode line ends.
    return "".join(
        f"\\u{{{ord(c):x}}}" if unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") else c
        for c in shortened(text, limit)
    )


def unwrapped(text: object) -> str:
    """A message on one line: line ends become blanks; other blanks, as in names of files, stay."""
    return re.sub(r"\s*[\r\n]\s*", " ", str(text).strip())


def described(error: BaseException) -> str:
    """An exception on one line: its type, and its message if it has one."""
    return ": ".join(filter(None, [type(error).__name__, unwrapped(error)]))


def shortened(text: str, limit: int = 80) -> str:
    """The text, cut to `limit` characters, the last of them an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def broken_text(text: str) -> str | None:
    """The surroundings of the first half of a character in a text, as ASCII and in words; None if all are whole.

    Halves of surrogate pairs in JSON, and bytes of another encoding in file names and arguments, are text to Python,
    but not to tokenizers, indexes and UTF-8 files.
    """
    found = None if text.isascii() else _SURROGATE.search(text)
    if found is None:
        return None
    near = ascii(text[max(0, found.start() - 80) : found.end() + 20])
    if 0xDC80 <= ord(found[0]) <= 0xDCFF:
        near = re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", near)
        return f"another byte in {near}"
    return f"half of a character in {near}"


def display_width(text: str) -> int:
    """Columns of a text in a terminal: two for a wide character, none for a combining one."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """The number with its noun: "1 sample", "2 samples". plural: of a noun that is not formed with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Seconds in the largest unit with a value of at least two: "40 s", "24 min", "5 h"."""
    unit, size = next(((unit, size) for unit, size in (("h", 3600), ("min", 60)) if seconds >= 2 * size), ("s", 1))
    return f"{seconds / size:.0f} {unit}"


def mebibytes(size: float) -> str:
    """Bytes as "0.7 KiB", "1.2 MiB" or "2.1 GiB"."""
    unit, factor = ("KiB", 2**10) if size < 2**20 else ("MiB", 2**20) if size < 2**30 else ("GiB", 2**30)
    return f"{size / factor:.1f} {unit}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean a, b or c?" with the known names that begin with ``name`` or are similar, ignoring case.

    If one differs only in case, only that one. Hyphens at the start do not count. Empty if there are none.

    >>> did_you_mean("VOC20", ["voc20", "voc21"]), did_you_mean("vco21", ["voc20", "voc21"])
    ('; did you mean voc20?', '; did you mean voc21 or voc20?')
    >>> did_you_mean("--quiet", ["--set", "--out"])
    ''
    """
    wanted, by_folded = name.casefold().lstrip("-"), dict[str, str]()
    for each in known:
        by_folded.setdefault(each.casefold().lstrip("-"), each)
    begun = [folded for folded in by_folded if wanted and folded.startswith(wanted)]
    found = [wanted] if wanted in by_folded else [*begun, *difflib.get_close_matches(wanted, by_folded)]
    *others, last = [by_folded[folded] for folded in dict.fromkeys(found)][:3] or [""]
    return f"; did you mean {' or '.join([', '.join(others), last] if others else [last])}?" if last else ""


def unknown_name(field: str, name: str, known: Iterable[str], listed_by: str = "") -> str:
    """The error message for an unknown name: near matches first, then all known names.

    listed_by: a command that lists them, in place of the names if there are many.
    """
    names = list(known)
    all_names = f"`{listed_by}` lists all" if listed_by else f"known are {', '.join(names)}"
    return f"{field}: expected a known name, found {shortened(name)!r}{did_you_mean(name, names) or ';'} {all_names}"


def clip_words(text: str) -> tuple[str, ...]:
    """The words that CLIP's tokenizer splits into tokens: equal for texts with the same tokens, empty for none.

    Case and white space are lost, as are HTML's entities and faults that ftfy fixes.
    """
    import regex  # both take time to import, and most commands need neither

    if not (text.isascii() and text.isprintable()) or "&" in text:
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    words = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
    return tuple(regex.findall(words, text.lower()))


def find_twins(texts: Iterable[str]) -> tuple[int, int] | None:
    """Positions of the first text that equals an earlier one to CLIP: the earlier, then its own; None if all differ."""
    first: dict[tuple[str, ...], int] = {}
    for position, text in enumerate(texts):
        if (earlier := first.setdefault(clip_words(text), position)) != position:
            return earlier, position
    return None
