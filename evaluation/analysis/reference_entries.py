"""What the arrays of a reference file must be, see docs/reference.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int | str, ...]

_INTEGERS, _FLOATS = np.typecodes["AllInteger"], np.typecodes["Float"]
# numpy's characters of the dtypes that go by each name.
_DTYPES = {
    "uint8": "B",
    "text": "U",
    "integers": _INTEGERS,
    "numbers": _INTEGERS + _FLOATS,
    "numbers or booleans": _INTEGERS + _FLOATS + "?",
}


@dataclass(frozen=True)
class Entry:
    """One array. dtype: a key of `_DTYPES`. shapes: those that will do; a name stands for one size in all of a file,
    small letters for one in all of a step."""

    dtype: str
    shapes: tuple[Shape, ...]

    def check(self, name: str, array: Array, sizes: dict[str, int]) -> None:
        """Raise ValueError, in one line, for another dtype or shape; else learn the sizes that were not known."""
        fitting = [shape for shape in self.shapes if _fits(array, shape, sizes)]
        if not fitting or array.dtype.char not in _DTYPES[self.dtype]:
            shapes = " or ".join(_shown(shape, sizes) for shape in self.shapes)
            raise ValueError(f"{name}: expected {self.dtype} {shapes}, found {array.dtype} {list(array.shape)}")
        known = zip(fitting[0], array.shape, strict=True)
        sizes.update({size: found for size, found in known if isinstance(size, str)})


_TEXT = Entry("text", ((),))
# Those that tell sizes come first.
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
"""By what follows ``stepK_``."""


def check_entries(arrays: Mapping[str, Array]) -> None:
    """Raise ValueError, in one line, for an array that is none of its entry's; arrays without an entry are passed by.

    Sizes that several arrays share (of the image, of the texts, of a step's queries) must be the same in all of them.
    """
    sizes = _check_all(ENTRIES, arrays, "", {})
    for step in dict.fromkeys(found[0] for name in arrays if (found := re.match(r"step\d+_", name))):
        _check_all(STEP_ENTRIES, arrays, step, sizes)


def _check_all(
    entries: Mapping[str, Entry], arrays: Mapping[str, Array], prefix: str, known: Mapping[str, int]
) -> dict[str, int]:
    """The sizes known now."""
    sizes = dict(known)
    for name, entry in entries.items():
        if prefix + name in arrays:
            entry.check(prefix + name, arrays[prefix + name], sizes)
    return sizes


def _fits(array: Array, shape: Shape, sizes: Mapping[str, int]) -> bool:
    return array.ndim == len(shape) and all(
        found == (sizes.get(size, found) if isinstance(size, str) else size)
        for size, found in zip(shape, array.shape, strict=True)
    )


def _shown(shape: Shape, sizes: Mapping[str, int]) -> str:
    return f"[{', '.join(str(sizes.get(size, size)) if isinstance(size, str) else str(size) for size in shape)}]"
