"""JSON that any strict reader accepts: no NaN or infinity, string keys only, one canonical form to hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

_SCALARS = (str, bool, int, type(None))


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Write as ASCII JSON, keys in their given order.

    Raises:
        ValueError: naming the key that holds NaN, infinity, a non-string key or a type that JSON lacks.
    """
    require_json(value)
    return json.dumps(value, allow_nan=False, indent=indent)


def loads(text: str | bytes) -> Any:
    """Read JSON, refusing NaN, infinity and numbers that overflow to it with ValueError."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def identity_of(fields: Mapping[str, Any]) -> str:
    """sha256 (64 hex digits) over the canonical JSON of `fields`: sorted keys, no spaces, ASCII.

    Lists and tuples are equal; 1, 1.0 and True are three different values.

    Raises:
        ValueError: as `dumps`.
    """
    require_json(fields)
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def require_json(value: Any, key: str = "") -> None:
    """Check that a value is made of dict, list, tuple, str, bool, int, finite float and None alone.

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
    elif not isinstance(value, _SCALARS):
        raise ValueError(f"{key or 'value'}: {type(value).__name__} is not a JSON type")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value
