"""The errors of data sets."""

from __future__ import annotations

from support.arrays import BoolArray, Int32Array
from support.errors import UserError
from support.text import unwrapped


class DatasetError(UserError, ValueError):
    """A mistake in the set-up, found before any work. One line: path or field, what was expected, what was found."""


class LabelSourceMissingError(DatasetError):
    """The files of one label source are missing. expected: the files that were looked for."""

    def __init__(self, expected: str) -> None:
        super().__init__(f"expected {expected}, found nothing")
        self.expected = expected


class DataMissingError(DatasetError):
    """Nothing of a data set, or none of its sources of labels, is in a folder."""


def without_option(error: DatasetError) -> str:
    """The message on one line without the option data_root, for lines of a report on that folder."""
    return unwrapped(error).removeprefix("data_root: ")


class SampleError(ValueError):
    """A sample that cannot be read.

    id: the sample. path: the offending file, relative to the root. reason: what is wrong with it.
    target: as in Sample if it could be read, so that the sample can be scored as an empty prediction; else None.
    """

    def __init__(self, id: str, path: str, reason: str, target: Int32Array | BoolArray | None = None) -> None:
        super().__init__(f"{id}: {path}: {reason}")
        self.id = id
        self.path = path
        self.reason = reason
        self.target = target

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, str, str, Int32Array | BoolArray | None]]:
        # By default an exception is pickled with its message as the only argument.
        return type(self), (self.id, self.path, self.reason, self.target)
