"""Forward passes of a bounded number of images, smaller where the device's memory does not hold them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Encode = Callable[[Tensor], Tensor]


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
    def on(cls, device: torch.device) -> Passes:
        """Those measured to be fast on this kind of device."""
        return cls(32, shared=True) if device.type == "cuda" else cls(16, shared=False)

    def encode(self, encode: Encode, samples: Sequence[Tensor]) -> list[Tensor]:
        """What ``encode`` gives for each sample's images: [n, ...] each to [n, E] each, n >= 1.

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

    def _alone(self, encode: Encode, images: Tensor) -> Tensor:
        parts = images.tensor_split(math.ceil(len(images) / self.size))
        return torch.cat([encode(part) for part in parts])

    def _shared(self, encode: Encode, samples: Sequence[Tensor]) -> list[Tensor]:
        parts = torch.cat(list(samples)).split(self.size)
        features = torch.cat([encode(_padded(part, self.size))[: len(part)] for part in parts])
        return list(features.split([len(images) for images in samples]))


def _padded(images: Tensor, size: int) -> Tensor:
    return torch.cat([images, images[-1:].expand(size - len(images), *images.shape[1:])])
