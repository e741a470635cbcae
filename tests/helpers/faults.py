"""Faults that are handed in: a method whose settings say what goes wrong, and a data set that does it while read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from helpers.waiting import wait_until

from dataset_adapters import LabelSpace, Sample
from dataset_adapters.base.adapter import find_adapter, register
from dataset_adapters.base.semantic import SplitFileAdapter
from evaluation import RunOptions


class Faulty:
    """Splits an image by its red; images of at least so many `rows` meet a fault first."""

    name, version = "faulty", "1"

    @dataclass
    class Settings:
        """gate: a folder to which each process at work adds a file of its number. Until it has a file named open, work
        waits there, or, with a fault, meets that.
        """

        rows: int = 0
        gate: str = ""
        fault: str = ""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def segment(self, image: np.ndarray, queries: list[str]) -> np.ndarray:
        gate = Path(self._settings.gate) if self._settings.gate else None
        if len(image) >= self._settings.rows and not (gate and (gate / "open").exists()):
            if self._settings.fault == "raise":
                raise ValueError("no such luck")
            if self._settings.fault == "interrupt":
                raise KeyboardInterrupt
            if gate:
                wait_at(gate)
        return image[..., 0] // 128


FAULTY = f"helpers.faults:{Faulty.__name__}"


def faulty(options: RunOptions, **settings: Any) -> RunOptions:
    """The same run with `Faulty`."""
    return replace(options, method=FAULTY, weights=None, settings=settings)


def wait_at(gate: Path) -> None:
    """Add a file of this process's number to a folder, and wait until that has one named open."""
    (gate / str(os.getpid())).touch()
    wait_until((gate / "open").exists)


def at_the_gate(gate: Path) -> list[int]:
    """The processes that wait, or have waited, at a gate."""
    return [int(file.name) for file in gate.iterdir() if file.name != "open"]


@dataclass(frozen=True, kw_only=True)
class _FaultyVoc(SplitFileAdapter):
    faults: Mapping[str, Callable[[], object]] = field(default_factory=dict)

    def read(self, root: Path, row: Any, label_space: LabelSpace) -> Sample:
        self.faults.get(row["id"], lambda: None)()
        return super().read(root, row, label_space)


@contextmanager
def faulty_reading(faults: Mapping[str, Callable[[], object]]) -> Iterator[None]:
    """voc21 as a data set that does something in the process that reads a sample, by its id, before reading it."""
    own = find_adapter("voc21")
    register([_FaultyVoc(**{each.name: getattr(own, each.name) for each in fields(SplitFileAdapter)}, faults=faults)])
    try:
        yield
    finally:
        register([own])
