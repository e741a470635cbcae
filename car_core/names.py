"""Names of weights and devices, checked without importing torch, which takes seconds."""

from __future__ import annotations

import os
import re
from pathlib import Path

from car_core.errors import ModelError
from support.text import shortened

_DEVICE = re.compile(r"(cpu|cuda)(:(0|[1-9]\d?))?|mps|auto")
AUTO = "auto"
"""The fastest device of this machine; `car_core.engine.device` says which."""
ALL_DEVICES = "cuda:all"
ROLES = ("proposal", "classifier")
MINIATURE = "miniature"
"""Name of the embedded model, as weights and as architecture."""
MINIATURE_FOLDER = Path(__file__).parent / "miniature"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""Endings of names of weights files."""
FOLDER_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
"""Weights in a folder, as transformers and open_clip save them: the first one found is read."""


def model_of(model: str, weights: str) -> str:
    """The architecture for these weights: ``model``, unless they are the miniature's, which define their own."""
    return MINIATURE if weights == MINIATURE else model


def weights_file(weights: str) -> Path | None:
    """The file that weights are read from; None for a tag or a seed. Raises ModelError if there is no such file."""
    path = MINIATURE_FOLDER / f"{MINIATURE}.safetensors" if weights == MINIATURE else Path(os.path.expanduser(weights))
    if path.is_dir():
        found = [path / name for name in FOLDER_FILES if (path / name).is_file()]
        if found or os.sep in weights:
            if not found:
                index = next(path.glob("*.index.json"), None)
                instead = f"parts of a model ({index.name}); save it as one file" if index else "none of them"
                raise ModelError(f"weights: {path}: expected one of {', '.join(FOLDER_FILES)}, found {instead}")
            return found[0]
    if path.suffix.lower() not in SUFFIXES:
        return None
    if not path.is_file():
        raise ModelError(f"weights: expected a file at {path}, found none")
    return path


def random_seed(weights: str, field: str = "weights") -> int | None:
    """The seed of ``random:SEED``; None for other weights. Raises ModelError, naming the field, for anything but a
    number."""
    if not weights.startswith("random:"):
        return None
    seed = weights.removeprefix("random:")
    if not (seed.isdecimal() and len(seed) <= 19 and int(seed) < 2**63):  # what torch takes
        raise ModelError(f"{field}: expected random:SEED with a whole number below 2**63, found {shortened(weights)!r}")
    return int(seed)


def check_device_name(name: str) -> None:
    """Raise ModelError for a name that is none of auto, cpu, cuda, cuda:N and mps."""
    if not _DEVICE.fullmatch(name):
        raise ModelError(f"device: expected auto, cpu, cuda, cuda:N or mps, found {shortened(name)!r}")


def device_names(text: str) -> list[str]:
    """The devices in ``cuda:0,1``; one name, and ``cuda:all``, as given. Raises ModelError for others and repeats."""
    if text == ALL_DEVICES:
        return [text]
    kind, colon, numbers = text.partition(":")
    names = [f"{kind}{colon}{number}" for number in numbers.split(",")]
    if not all(map(_DEVICE.fullmatch, names)) or (kind == "cpu" and len(names) > 1):
        expected = f"auto, cpu, cuda, cuda:N, mps, several as cuda:0,1 or {ALL_DEVICES}"
        raise ModelError(f"device: expected {expected}, found {shortened(text)!r}")
    if len(set(names)) < len(names):
        raise ModelError(f"device: expected each once, found {shortened(text)!r}")
    return names
