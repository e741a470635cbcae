"""Dtypes and shapes of the arrays in a file of released results, see docs/reference.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int | str, ...]

_INTEGERS, _FLOATS = np.typecodes["AllInteger"], np.typecodes["Float"]
# numpy's characters of the dtypes that each name stands for.
_DTYPES = {
    "uint8": "B",
    "text": "U",
    "integers": _INTEGERS,
    "numbers": _INTEGERS + _FLOATS,
    "numbers or booleans": _INTEGERS + _FLOATS + "?",
}


class Entry(NamedTuple):
    """One array. dtype: a key of `_DTYPES`. shapes: the permitted ones, with names for sizes that several arrays share:
    capital letters in the whole file, small letters within a step."""

    dtype: str
    shapes: tuple[Shape, ...]


_TEXT = Entry("text", ((),))
# Arrays that define sizes come first.
ENTRIES: Mapping[str, Entry] = {
    "image": Entry("uint8", (("H", "W", 3),)),
    "texts": Entry("text", (("N",),)),
    "n_steps": Entry("integers", ((),)),
    "config": _TEXT,
    "settings": _TEXT,
    "proposal_model": _TEXT,
    "classifier_model": _TEXT,
    "proposal_weights": _TEXT,
    "classifier_weights": _TEXT,
    "final_masks": Entry("numbers or booleans", (("N", "H", "W"),)),
    "final_scores": Entry("numbers", (("N",),)),
    "label_pred": Entry("integers", (("H", "W"),)),
    "merged_mask": Entry("numbers or booleans", (("H", "W"), (1, "H", "W"))),
}
STEP_ENTRIES: Mapping[str, Entry] = {
    "mask_proposals": Entry("numbers", (("n", "H", "W"),)),
    "prompted_images": Entry("uint8", (("m", "H", "W", 3),)),
    "mask_scores": Entry("numbers", (("n",),)),
    "surviving_idx": Entry("integers", (("k",),)),
}
"""By the part of the name after ``stepK_``."""


def is_known(name: str) -> bool:
    """Whether an array of this name in a file is one of those above, or such a one as 16-bit integers."""
    name = name.removesuffix("_u16")
    return name in ENTRIES or re.sub(r"^step[0-9]+_", "", name) in STEP_ENTRIES


def check_entries(arrays: Mapping[str, Array]) -> None:
    """Raise ValueError, in one line, for an array that does not fit its entry; arrays without an entry are ignored.

    Sizes that several arrays share (of the image, of the texts, of a step's queries) must be the same in all of them.
    """
    file_sizes = _check_all(ENTRIES, arrays, "", {})
    for step in dict.fromkeys(found[0] for name in arrays if (found := re.match(r"step\d+_", name))):
        _check_all(STEP_ENTRIES, arrays, step, file_sizes)


def _check_all(
    entries: Mapping[str, Entry], arrays: Mapping[str, Array], prefix: str, known: Mapping[str, int]
) -> dict[str, int]:
    """Check the arrays against their entries, given the known sizes; returns all sizes known then."""
    sizes = dict(known)
    for key, entry in entries.items():
        name = prefix + key
        if name not in arrays:
            continue
        array = arrays[name]
        expected = [tuple(sizes.get(str(size), size) for size in shape) for shape in entry.shapes]
        fitting = [
            shape
            for shape, sides in zip(entry.shapes, expected, strict=True)
            if array.ndim == len(sides)
            and all(isinstance(side, str) or side == found for side, found in zip(sides, array.shape, strict=True))
        ]
        if not fitting or array.dtype.char not in _DTYPES[entry.dtype]:
            shapes = " or ".join(f"[{', '.join(map(str, sides))}]" for sides in expected)
            raise ValueError(f"{name}: expected {entry.dtype} {shapes}, found {array.dtype} {list(array.shape)}")
        sizes.update({size: side for size, side in zip(fitting[0], array.shape, strict=True) if isinstance(size, str)})
    return sizes
