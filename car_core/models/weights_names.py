"""What weights are called: a tag, a file, ``miniature`` or ``random:SEED``. Told without torch, which takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

from car_core.errors import ModelError

ROLES = ("proposal", "classifier")
MINIATURE = "miniature"
"""Name of the embedded model, as weights and as architecture."""
MINIATURE_FOLDER = Path(__file__).parents[1] / "miniature"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
"""Endings by which weights are taken for a file."""


def model_of(model: str, weights: str) -> str:
    """The architecture that these weights are loaded into: ``model``, but the miniature's weights bring their own."""
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
    """The seed of ``random:SEED``, None for other weights. Raises ModelError unless it is a whole number."""
    if not weights.startswith("random:"):
        return None
    seed = weights.removeprefix("random:")
    if not seed.isdecimal():
        raise ModelError(f"weights: expected random:SEED with a whole number, found {weights!r}")
    return int(seed)
