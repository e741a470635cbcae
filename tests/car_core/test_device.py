"""The device that `auto` stands for, and what a GPU of Apple's must give to be taken."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from car_core.car import CaR
from car_core.engine import device
from car_core.errors import ModelError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_up(*, gpus: int = 0, mps: bool = False, fault: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: "H200")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(device, "mps_fault", lambda: fault)

    return set_up


@pytest.mark.parametrize(
    ("parts", "chosen", "said"),
    [
        ({}, "cpu", "cpu (no GPU found)"),
        ({"gpus": 1}, "cuda", "cuda (H200)"),
        ({"gpus": 8, "mps": True}, "cuda", "cuda (H200), one of 8 GPUs (--device cuda:all takes all)"),
        ({"mps": True}, "mps", "mps"),
        ({"mps": True, "fault": "no float64"}, "cpu", "cpu (mps left out: no float64)"),
    ],
)
def test_auto_is_the_fastest_device_that_gives_the_same(
    machine: Callable[..., None], parts: dict[str, Any], chosen: str, said: str
) -> None:
    machine(**parts)
    assert str(device.as_device("auto")) == chosen
    assert device.as_devices("auto") == [chosen]
    assert device.auto_described(chosen) == said
    assert device.as_devices("auto", compared=False) == ["cpu" if chosen == "mps" else chosen]


def test_mps_by_name_is_refused_where_it_is_not_there_or_differs(machine: Callable[..., None]) -> None:
    machine()
    with pytest.raises(ModelError, match="found 'mps' without an Apple GPU"):
        device.as_device("mps")
    machine(mps=True, fault="no float64")
    with pytest.raises(ModelError, match=r"^device: mps: expected what the CPU gives, found no float64; use"):
        device.as_device("mps")
    machine(mps=True)
    assert device.as_device("mps") == torch.device("mps")


def test_device_check_finds_other_scores_masks_and_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    check = device.mps_fault.__wrapped__
    assert check("cpu") is None
    segment = CaR.segment
    changed: dict[str, Callable[[Any], Any]] = {}

    def second_differs(self: CaR, *given: Any, **named: Any) -> Any:
        found = segment(self, *given, **named)
        assert found.kept  # else nothing would be compared
        parts = SimpleNamespace(kept=found.kept, scores=found.scores.copy(), masks=found.masks.copy())
        return changed.pop("next", lambda parts: parts)(parts)

    def other_scores(parts: Any) -> Any:
        parts.scores += 0.002
        return parts

    def other_masks(parts: Any) -> Any:
        parts.masks[:, :1] ^= True
        return parts

    def absent(parts: Any) -> Any:
        raise NotImplementedError("aten::unique\nis not there")

    monkeypatch.setattr(CaR, "segment", second_differs)
    for change, expected in ((other_scores, "scores ["), (other_masks, "1.6% of the"), (absent, "aten::unique is not")):
        changed["next"] = change
        assert str(check("cpu")).startswith(expected)


def test_what_was_not_compared_says_why_it_takes_the_cpu(machine: Callable[..., None]) -> None:
    machine(mps=True)
    said = "cpu (mps left out: it is compared with the CPU only for CaR without SAM)"
    assert device.auto_described(device.as_devices("auto", compared=False)[0]) == said
    assert device.as_devices("mps", compared=False) == ["mps"]  # by name
