"""Forward passes of a bounded number of images, halved if the device runs out of memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from car_core.engine.device import is_gpu

Row = TypeVar("Row")

# Freed blocks above about 20 MB go back to the system, and allocating them again costs a tenth of a forward pass. So
# the largest activation of a pass on a CPU stays below (measured).
_LARGEST_ACTIVATION = 17_000_000  # bytes
_LARGEST_CPU_BATCH = 16


def cpu_batch_size(activation_bytes: int) -> int:
    """How many images a CPU encodes at once, from the bytes of one image's largest activation."""
    return max(1, min(_LARGEST_CPU_BATCH, _LARGEST_ACTIVATION // activation_bytes))


class MicroBatcher:
    """How many images an encoder processes at once on one device; `size` shrinks when memory runs out.

    shared: images of several samples fill batches of one size, the last padded with copies, because a GPU needs many at
    once. Otherwise each sample's images are split into batches of equal size: a few occupy a CPU, and nothing is
    padded. Either way a sample's features are bit-identical whatever else is encoded with it.
    """

    def __init__(self, size: int, *, shared: bool) -> None:
        self.size = self._initial_size = size
        self.shared = shared

    @classmethod
    def for_device(cls, device: torch.device, *, cpu: int, gpu: int) -> MicroBatcher:
        """``cpu`` images of one sample at once, or ``gpu`` images of several samples."""
        return cls(gpu, shared=True) if is_gpu(device) else cls(cpu, shared=False)

    @property
    def shrink_note(self) -> str | None:
        """How far the size shrank, in words; None if it did not."""
        if self.size == self._initial_size:
            return None
        return f"{self.size} images per pass where {self._initial_size} did not fit"

    def encode(self, encode: Callable[[Tensor], Iterable[Row]], samples: Sequence[Tensor]) -> list[list[Row]]:
        """The result of ``encode`` for each image of each sample: n rows for each sample [n, ...], n >= 1.

        If the device is out of memory, the size is halved and all samples are encoded again. Raises
        torch.OutOfMemoryError if not even one image fits.
        """
        while True:
            try:
                if not self.shared:
                    split = [images.tensor_split(math.ceil(len(images) / self.size)) for images in samples]
                    return [[row for part in parts for row in encode(part)] for parts in split]
                last = samples[-1][-1:]
                padding = last.expand(-sum(map(len, samples)) % self.size, *last.shape[1:])
                # The padding comes last, and no sample takes its rows.
                rows = (row for part in torch.cat([*samples, padding]).split(self.size) for row in encode(part))
                return [[next(rows) for _ in sample] for sample in samples]
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
                self.size //= 2
            torch.cuda.empty_cache()  # outside the handler, whose traceback holds the tensors that did not fit
