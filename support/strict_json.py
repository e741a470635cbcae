"""JSON that any strict reader accepts: no NaN or infinity, integers of 64 bits, string keys only, one canonical form to
hash."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from support.text import shortened

_SCALARS = (str, type(None))
_LARGEST = 2**63 - 1


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Write as ASCII JSON, keys in their given order.

    Raises:
        ValueError: naming the key of NaN, infinity, a non-string key or a type that JSON lacks.
    """
    require_json(value)
    return json.dumps(value, allow_nan=False, indent=indent)


def loads(text: str | bytes) -> Any:
    """Read JSON, refusing NaN, infinity, numbers that overflow to it and longer integers with ValueError."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    try:
        # Calling a function for every integer would take longer than everything else.
        return (_CAREFUL if _LONG.search(text) else _QUICK).decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_plain(text: bytes) -> bool:
    """Whether an object in UTF-8 surely has no constant or number that `loads` refuses: any reader may take it."""
    shape = text.translate(_SHAPE)  # 0 for each digit, so that a long integer and a large exponent are plain strings
    return not (_LONG_SHAPE in shape or b"0e0" in shape or b"NaN" in shape or b"Infinity" in shape)


def identity_of(fields: Mapping[str, Any]) -> str:
    """sha256 (64 hex digits) over the canonical JSON of `fields`: sorted keys, no spaces, ASCII.

    Lists and tuples are equal; 1, 1.0 and True are three different values.

    >>> identity_of({"a": (1, 2), "b": None}) == identity_of({"b": None, "a": [1, 2]})
    True

    Raises:
        ValueError: as `dumps`.
    """
    require_json(fields)
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def require_json(value: Any, key: str = "") -> None:
    """Check that a value consists only of dict, list, tuple, str, bool, int of 64 bits, finite float and None.

    Raises:
        ValueError: naming the dotted key of the first offender.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{key or 'value'}: key {name!r} is not a string")
            require_json(item, f"{key}.{name}" if key else name)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            require_json(item, f"{key}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{key or 'value'}: {value} is not JSON; store null and a reason")
    elif isinstance(value, int):
        if not -_LARGEST <= value <= _LARGEST:
            raise ValueError(f"{key or 'value'}: an integer of over 64 bits")
    elif not isinstance(value, _SCALARS):
        raise ValueError(f"{key or 'value'}: {type(value).__name__} is not a JSON type")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _short_int(text: str) -> int:
    if len(text) > 20 or abs(value := int(text)) > _LARGEST:
        raise ValueError(f"{shortened(text)} is an integer of over 64 bits")
    return value


# Created only once: a run has a million lines.
_LONG = re.compile(r"(?<![0-9.])[0-9]{19}")  # not those of a fraction, as of a millisecond
_SHAPE = bytes.maketrans(b"123456789+E:,[-\t\n\r", b"0000000000e       ")
_LONG_SHAPE = b" " + b"0" * 19
_QUICK = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite_float)
_CAREFUL = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite_float, parse_int=_short_int)
