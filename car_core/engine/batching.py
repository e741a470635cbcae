"""Forward passes of a bounded number of images, smaller where the device's memory does not hold them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from car_core.engine.device import is_gpu

Row = TypeVar("Row")

# Blocks of memory above some 20 MB go back to the system when they are freed, and cost a tenth of a pass to get anew.
_LARGEST_ACTIVATION = 17_000_000  # bytes
_MOST_ON_A_CPU = 16


def images_on_a_cpu(activation_bytes: int) -> int:
    """How many images a CPU encodes at once, by the bytes of an image's largest activation; as measured."""
    return max(1, min(_MOST_ON_A_CPU, _LARGEST_ACTIVATION // activation_bytes))


@dataclass
class Passes:
    """How many images go through an encoder at once on one device; `size` shrinks when memory runs out.

    shared: images of several samples fill passes of one size, the last padded with copies: a GPU needs many at a
    time. Else each sample's go on their own, in parts of equal size: a CPU is busy with few, and nothing is padded.
    Either way what is beside an image, and so its feature's last bit, does not depend on the other samples.
    """

    size: int
    shared: bool
    _first: int = field(init=False)

    def __post_init__(self) -> None:
        self._first = self.size

    @property
    def shrinking(self) -> str | None:
        """How far the size shrank, in words; None where it did not."""
        return None if self.size == self._first else f"{self.size} images a pass where {self._first} did not fit"

    @classmethod
    def on(cls, device: torch.device, *, cpu: int, gpu: int) -> Passes:
        """Those of a device: ``cpu`` images of a sample at once, or ``gpu`` of several samples."""
        return cls(gpu, shared=True) if is_gpu(device) else cls(cpu, shared=False)

    def encode(self, encode: Callable[[Tensor], Iterable[Row]], samples: Sequence[Tensor]) -> list[list[Row]]:
        """What ``encode`` gives for each image of each sample: [n, ...] each to n rows each, n >= 1.

        If the device is out of memory, passes are halved and the work is done again with what was given. Raises
        torch.OutOfMemoryError if not even one image fits.
        """
        while True:
            try:
                return self._shared(encode, samples) if self.shared else [self._alone(encode, s) for s in samples]
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
                self.size //= 2
            torch.cuda.empty_cache()  # outside the handler, whose traceback holds the tensors that did not fit

    def _alone(self, encode: Callable[[Tensor], Iterable[Row]], images: Tensor) -> list[Row]:
        parts = images.tensor_split(math.ceil(len(images) / self.size))
        return [row for part in parts for row in encode(part)]

    def _shared(self, encode: Callable[[Tensor], Iterable[Row]], samples: Sequence[Tensor]) -> list[list[Row]]:
        parts = torch.cat(list(samples)).split(self.size)
        # The last part's padding comes last, and no sample takes it.
        rows = (row for part in parts for row in encode(_padded(part, self.size)))
        return [[next(rows) for _ in images] for images in samples]


def _padded(images: Tensor, size: int) -> Tensor:
    return torch.cat([images, images[-1:].expand(size - len(images), *images.shape[1:])])
