"""Errors of pydantic in our words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from support.errors import mistakes, shown

UNIT = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, "a", "f: expected an integer, found 'a'"),
        (int, 1.5, "f: expected an integer, found 1.5"),
        (int, "9" * 5000, f"f: expected an integer, found '{'9' * 78}…"),
        (float, 10**400, f"f: expected a number, found 1{'0' * 78}…"),
        (str, 5, "f: expected text, found 5"),
        (bool, "x", "f: expected true or false, found 'x'"),
        (UNIT, 2, "f: expected at most 1, found 2"),
        (UNIT, -0.5, "f: expected at least 0, found -0.5"),
        (UNIT, float("nan"), "f: expected a finite number, found nan"),
        (Annotated[float, Field(gt=0)], 0, "f: expected more than 0, found 0"),
        (Annotated[str, Field(pattern="^[0-9a-f]+$")], "x", "f: expected text like ^[0-9a-f]+$, found 'x'"),
        (Annotated[list[int], Field(min_length=1)], [], "f: expected at least 1 of them, found []"),
        (tuple[str, ...], 5, "f: expected a list, as in [a, b], found 5"),
        (tuple[str, ...], ["a", 5], "f.1: expected text, found 5"),
        (Mapping[str, Any], [], "f: expected an object, as in {a: b}, found []"),
        (Literal["a", "b"], 5, "f: expected 'a' or 'b', found 5"),
        (Literal["a"] | tuple[str, ...], 5, "f: expected 'a' or a list, as in [a, b], found 5"),
    ],
)
def test_a_value_is_named_with_what_was_expected(kind: Any, value: Any, expected: str) -> None:
    model = create_model("Model", f=(kind, ...))
    with pytest.raises(ValidationError) as caught:
        model(f=value)
    assert mistakes(caught.value) == expected


def test_fields_that_are_missing_or_unknown() -> None:
    class Model(BaseModel):
        model_config = ConfigDict(extra="forbid")
        eta: float
        theta: float = 0.5

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"thetta": 1, "theta": "a"})
    assert mistakes(caught.value, Model.model_fields) == (
        "eta: expected a value, found none; theta: expected a number, found 'a'; "
        "thetta: no such field; did you mean theta or eta?"
    )


def test_an_integer_that_python_does_not_print() -> None:
    assert shown(int("f" * 5000, 16)) == "an integer of thousands of digits"
