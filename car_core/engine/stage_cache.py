"""What was computed for an image, kept for when it is segmented again with other thresholds or phrases.

Stages are pure functions of arrays and settings, so a result is found by a hash of all that went into it: nothing can
be taken for something else, whatever was changed in between.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from torch import Tensor


class Kept(Protocol):
    """What can be kept: it knows its size in bytes."""

    @property
    def nbytes(self) -> int: ...


Result = TypeVar("Result", bound=Kept)


MAX_BYTES = 2**30

_numbers: WeakKeyDictionary[object, int] = WeakKeyDictionary()
_next_number = itertools.count()


def number_of(model: object) -> int:
    """What tells a model from any other that this process has, had or will have."""
    return _numbers.setdefault(model, next(_next_number))


class StageMemory:
    """Results of stages up to ``max_bytes``, those used last; the newest stays, however large it is.

    Several CaRs may share one, of whatever models and settings: these are part of what a result is found by.

    computed: how often each stage ran because its result was not known.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.computed: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._results: OrderedDict[bytes, Any] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Size of what is kept."""
        return sum(result.nbytes for result in self._results.values())

    def recall(self, stage: str, inputs: tuple[object, ...], compute: Callable[[], Result]) -> Result:
        """The stage's result for these inputs: arrays, tensors, and values whose repr tells them apart."""
        return self.recall_all(stage, [inputs], lambda _: [compute()])[0]

    def recall_all(
        self, stage: str, inputs: Sequence[tuple[object, ...]], compute: Callable[[list[int]], Sequence[Result]]
    ) -> list[Result]:
        """The stage's result for each of these inputs.

        compute: asked once for what is not known, by places in ``inputs``; equal inputs are asked for at their first.
        """
        keys = [_digest(stage, own) for own in inputs]
        found: dict[bytes, Result] = {key: self._results[key] for key in keys if key in self._results}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing:
            found.update(zip(missing, compute([keys.index(key) for key in missing]), strict=True))
            self.computed[stage] += len(missing)
        for key in keys:
            self._results[key] = found[key]
            self._results.move_to_end(key)
        while len(self._results) > 1 and self.nbytes > self._max_bytes:
            self._results.popitem(last=False)
        return [found[key] for key in keys]


def _digest(stage: str, inputs: tuple[object, ...]) -> bytes:
    digest = hashlib.blake2b(stage.encode(), digest_size=20)
    for item in inputs:
        array = item.detach().cpu().numpy() if isinstance(item, Tensor) else item
        if isinstance(array, np.ndarray):
            digest.update(f"{array.dtype} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        else:
            # A length in front of each, so that no two lists of inputs read the same.
            digest.update(f"{len(repr(array))} {array!r} ".encode())
    return digest.digest()
