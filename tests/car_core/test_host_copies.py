"""How often a GPU would have to be waited for, counted on the CPU: copies to the host and values read there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_clip import photo, tiny_clip
from torch.utils._python_dispatch import TorchDispatchMode

from car_core import CaR, CaRConfig

WORDS = ["cat", "dog", "sky", "sea", "car", "bus", "boat", "tree", "sofa", "chair", "table", "horse"]
READS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique_dim", "_unique2", "equal"}


class Waits(TorchDispatchMode):
    """Counts operations whose result the host needs; a boolean index needs its number of elements, too."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        self.count += name in READS or by_mask
        return func(*args, **(kwargs or {}))


def waits(monkeypatch: pytest.MonkeyPatch, n_queries: int, **settings: Any) -> tuple[int, int]:
    """How often an image with so many queries makes the host wait, its texts encoded before, and how many steps."""
    config = CaRConfig(templates=("a photo of a {}.",), background=("land",), crf=None, **settings)
    car = CaR(config, proposal_clip=tiny_clip(5, logit_scale=10.0), classifier_clip=tiny_clip(2, layers=2))
    image = photo(60, 90)
    car.segment(image, WORDS[:n_queries])
    copies = []
    with monkeypatch.context() as patch:
        to_host = torch.Tensor.cpu
        patch.setattr(torch.Tensor, "cpu", lambda values: copies.append(values) or to_host(values))
        with Waits() as counted:
            [found] = car.segment_coarse_batch([image], [WORDS[:n_queries]])  # refinement runs on the host
    return counted.count + len(copies), len(found.passes[0].output.steps)


def test_reading_is_counted() -> None:
    values = torch.arange(4)
    with Waits() as counted:
        bool(values[0] > 0), int(values[1]), values.nonzero(), values[values > 1], values[1:], values + values
    assert counted.count == 4


@pytest.mark.parametrize("recurrence", ["none", "full"])
def test_gpu_is_waited_for_a_few_times_per_step(monkeypatch: pytest.MonkeyPatch, recurrence: str) -> None:
    few, steps_of_few = waits(monkeypatch, 2, recurrence=recurrence, theta=0.0)
    many, steps = waits(monkeypatch, 12, recurrence=recurrence, theta=0.0)
    assert (many, steps) == (few, steps_of_few)
    # An image: is its trunk finite, the survivors' proposals. A step: are proposals and scores finite, is a CAM empty,
    # CAMs for their boxes, masks, scores.
    assert many <= 2 + 6 * steps
