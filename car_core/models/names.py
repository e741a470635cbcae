"""Names of weights and devices, checked without importing torch, which takes seconds."""

from __future__ import annotations

import os
import re
from pathlib import Path

from car_core.errors import ModelError
from support.text import shortened

_DEVICE = re.compile(r"(cpu|cuda)(:(0|[1-9]\d?))?")
ROLES = ("proposal", "classifier")
MINIATURE = "miniature"
"""Name of the embedded model, as weights and as architecture."""
MINIATURE_FOLDER = Path(__file__).parents[1] / "miniature"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
"""Endings by which weights are taken for a file."""


def model_of(model: str, weights: str) -> str:
    """The architecture for these weights: ``model``, unless they are the miniature's, which define their own."""
    return MINIATURE if weights == MINIATURE else model


def weights_file(weights: str) -> Path | None:
    """The file that weights are read from, None for a tag or a seed. Raises ModelError where there is no such file."""
    path = MINIATURE_FOLDER / f"{MINIATURE}.safetensors" if weights == MINIATURE else Path(os.path.expanduser(weights))
    if path.suffix not in SUFFIXES:
        return None
    if not path.is_file():
        raise ModelError(f"weights: expected a file at {path}, found none")
    return path


def random_seed(weights: str) -> int | None:
    """The seed of ``random:SEED``, None for other weights. Raises ModelError for another text than a number."""
    if not weights.startswith("random:"):
        return None
    seed = weights.removeprefix("random:")
    if not (seed.isdecimal() and len(seed) <= 19 and int(seed) < 2**63):  # what torch takes
        raise ModelError(f"weights: expected random:SEED with a whole number below 2**63, found {shortened(weights)!r}")
    return int(seed)


def check_device_name(name: str) -> None:
    """Raise ModelError for a name that is none of cpu, cuda and cuda:N."""
    if not _DEVICE.fullmatch(name):
        raise ModelError(f"device: expected cpu, cuda or cuda:N, found {name!r}")
