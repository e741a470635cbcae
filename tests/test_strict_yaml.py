"""YAML from strangers: values, or one line."""

from __future__ import annotations

import pytest

from support import strict_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("[blur, gray]", ["blur", "gray"]),
        ("{iterations: 3, off_: true}", {"iterations": 3, "off_": True}),
        ("null", None),
        ("", None),
        ("'2001-01-01'", "2001-01-01"),
        ("1e-3", "1e-3"),  # YAML 1.1 wants 1.0e-3
    ],
)
def test_plain_values_are_read(text: str, value: object) -> None:
    assert strict_yaml.loads(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2001-01-01", "date is not"),
        ("2001-13-45", "month must be"),
        ("!!binary aGk=", "bytes is not"),
        ("!!set {a}", "set is not"),
        ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
        (".nan", "nan"),
        ("-.inf", "inf"),
        ("{1: a}", "key 1 is not a string"),
        ("{[a]: b}", "unhashable"),
        ("{a: 1, b: 2, a: 3}", "the key 'a' twice"),
        ("[&a x, *a]", "an alias, [*]a"),
        ("&a [*a]", "an alias, [*]a"),
        ("[" * 1500, "nested too deeply"),
        ("9" * 5000, "4300|digits"),
        ("!!float ''", "index out of range"),
        ("[", "expected"),
        ("\x00", "not allowed"),
    ],
)
def test_anything_else_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        strict_yaml.loads(text)
    assert "\n" not in str(caught.value)


def test_integer_keys_are_text_where_they_are_allowed() -> None:
    assert strict_yaml.loads("names: {0: a, 7: b}", integer_keys=True) == {"names": {"0": "a", "7": "b"}}
    with pytest.raises(ValueError, match="the key 0 twice"):
        strict_yaml.loads("{0: a, 0: b}", integer_keys=True)
