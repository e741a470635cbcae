"""A cache of stage results, for images segmented again with other thresholds or phrases.

Stages are pure functions of arrays and settings. A result's key is a hash of all of its inputs, so no result can be
mistaken for another, whatever changed in between.
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


class Sized(Protocol):
    """Anything that can be cached: it knows its size in bytes."""

    @property
    def nbytes(self) -> int: ...


Result = TypeVar("Result", bound=Sized)

MAX_BYTES = 2**30

_tokens: WeakKeyDictionary[object, int] = WeakKeyDictionary()
_next_token = itertools.count()


def model_token(model: object) -> int:
    """A process-wide unique id of a model (unlike ``id()``, never reused)."""
    return _tokens.setdefault(model, next(_next_token))


class StageCache:
    """LRU cache of stage results, bounded by ``max_bytes``. The newest entry always stays.

    Several CaRs may share one, whatever their models and settings, which are part of the keys.

    computed: how often each stage ran because its result was not cached.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.computed: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._results: OrderedDict[bytes, Any] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Size of the cached results in bytes."""
        return sum(result.nbytes for result in self._results.values())

    def get_or_compute(self, stage: str, inputs: tuple[object, ...], compute: Callable[[], Result]) -> Result:
        """The stage's result for these inputs: arrays, tensors, and values whose repr distinguishes them."""
        return self.get_or_compute_all(stage, [inputs], lambda _: [compute()])[0]

    def get_or_compute_all(
        self, stage: str, inputs: Sequence[tuple[object, ...]], compute: Callable[[list[int]], Sequence[Result]]
    ) -> list[Result]:
        """The stage's result for each of these inputs.

        compute: called at most once, with the indices of the cache misses; of equal inputs, the first index.
        """
        keys = [_digest(stage, each) for each in inputs]
        results: dict[bytes, Result] = {key: self._results[key] for key in keys if key in self._results}
        missing = [key for key in dict.fromkeys(keys) if key not in results]
        if missing:
            results.update(zip(missing, compute([keys.index(key) for key in missing]), strict=True))
            self.computed[stage] += len(missing)
        for key in keys:
            self._results[key] = results[key]
            self._results.move_to_end(key)
        while len(self._results) > 1 and self.nbytes > self._max_bytes:
            self._results.popitem(last=False)
        return [results[key] for key in keys]


def _digest(stage: str, inputs: tuple[object, ...]) -> bytes:
    digest = hashlib.blake2b(stage.encode(), digest_size=20)
    for item in inputs:
        array = item.detach().cpu().numpy() if isinstance(item, Tensor) else item
        if isinstance(array, np.ndarray):
            digest.update(f"{array.dtype} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        else:
            # Prefixed with its length, so that no two lists of inputs give the same bytes.
            digest.update(f"{len(repr(array))} {array!r} ".encode())
    return digest.digest()
