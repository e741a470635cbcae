"""Intermediate results of the released code beside ours: `car check --reference FILE.npz`, see docs/reference.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from car_core import CaR, CaRConfig, ConfigError
from car_core.segmentation import Segmentation, Step
from evaluation.analysis.reference_entries import Array, check_entries
from evaluation.request.benchmark import load_benchmark, merged, resolve_config
from support import strict_json
from support.errors import UserError

# Benchmarks whose released hyperparameters a file's `config` names.
CONFIGS = {"voc": "voc21", "coco": "coco-object", "refcoco": "refcoco-val", "context": "context60", "ade": "ade150"}
# The released code's names of settings.
_SETTING_NAMES = {"car.confidence_threshold": "theta", "car.mask_threshold": "eta", "cam.box_threshold": "lambda_"}
_NEEDED = ("image", "texts", "n_steps")
# What float32 on another processor may differ by.
VALUE_TOLERANCE = 1e-4
PIXEL_TOLERANCE = 1e-3


class ReferenceFileError(UserError, ValueError):
    """A reference file that cannot be read or compared. One line: file, field, what was expected and found."""


@dataclass(frozen=True)
class Difference:
    """One quantity of the reference beside ours.

    difference: the largest absolute difference of values ("value"), or the share of pixels or entries that differ
    ("share"); None where shapes differ. remark: what a reader must know to judge it.
    """

    quantity: str
    kind: str
    difference: float | None
    tolerance: float
    remark: str = ""

    @property
    def agrees(self) -> bool:
        """Whether it is within its tolerance."""
        return self.difference is not None and self.difference <= self.tolerance


class Reference:
    """A reference file: arrays by name, those stored as ``<name>_u16`` (value * 65535) as float64.

    Raises ReferenceFileError for a file that cannot be read, and for arrays of other dtypes and shapes than
    docs/reference.md has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ReferenceFileError(f"{path}: expected a file, found none")
        stored = _read_arrays(path)
        try:
            self._arrays = _decoded(stored)
            check_entries(self._arrays)
        except ValueError as error:
            raise ReferenceFileError(f"{path}: {error}") from None
        for name in _NEEDED:
            self.array(name)
        if self.n_steps < 1:
            raise ReferenceFileError(f"{path}: n_steps: expected at least 1, found {self.n_steps}")

    def get(self, name: str) -> Array | None:
        """An array by name, None where there is none."""
        return self._arrays.get(name)

    def array(self, name: str) -> Array:
        """An array that must be there. Raises ReferenceFileError."""
        found = self.get(name)
        if found is None:
            known = ", ".join(self._arrays) or "none"
            raise ReferenceFileError(f"{self.path}: {name}: expected this array, found {known}")
        return found

    def text(self, name: str) -> str | None:
        """A text by name, None where there is none."""
        found = self.get(name)
        return None if found is None else str(found)

    @property
    def queries(self) -> list[str]:
        """The texts, in order."""
        return [str(text) for text in self.array("texts")]

    @property
    def n_steps(self) -> int:
        """Steps of the recurrence in the file."""
        return int(self.array("n_steps"))

    def configuration(self, settings: Mapping[str, Any]) -> CaRConfig:
        """Profile `released` with the file's hyperparameters, then its settings, then ``settings``."""
        name = self.text("config") or "voc"
        if name not in CONFIGS:
            raise ReferenceFileError(f"{self.path}: config: expected one of {', '.join(CONFIGS)}, found {name!r}")
        config, _ = resolve_config(load_benchmark(CONFIGS[name]), "released", {})
        own = {_SETTING_NAMES.get(key, key): value for key, value in self._settings().items()}
        models = {key: text for key in ("proposal_model", "classifier_model") if (text := self._beside(key))}
        try:
            return CaRConfig(**merged({**config.model_dump(), **models, **own}, settings))
        except ConfigError as error:
            raise ReferenceFileError(f"{self.path}: settings: {error}") from None

    def weights(self, given: Mapping[str, str | None]) -> dict[str, str]:
        """Weights by role: those given, else the files that the reference names, which lie beside it."""
        found = {role: name or self._beside(f"{role}_weights") for role, name in given.items()}
        missing = [role for role, name in found.items() if not name]
        if missing:
            raise ReferenceFileError(
                f"{self.path}: {missing[0]}_weights: expected the weights' file in the reference or by --weights, "
                "found neither"
            )
        return {role: str(name) for role, name in found.items()}

    def _beside(self, name: str) -> str | None:
        """A text that may be the name of a file beside the reference."""
        text = self.text(name)
        return str(self.path.parent / text) if text and (self.path.parent / text).is_file() else text

    def _settings(self) -> dict[str, Any]:
        try:
            settings = strict_json.loads(self.text("settings") or "{}")
        except ValueError as error:
            raise ReferenceFileError(f"{self.path}: settings: expected JSON, found: {error}") from None
        if not isinstance(settings, dict):
            raise ReferenceFileError(f"{self.path}: settings: expected a JSON object, found {settings!r}")
        return settings


def _read_arrays(path: Path) -> dict[str, Array]:
    """All arrays of an .npz as they are stored. Raises ReferenceFileError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # readers of damaged files raise many types; each means the same to the caller
        reason = " ".join(str(error).split())
        raise ReferenceFileError(f"{path}: expected an .npz of plain arrays, found: {reason}") from None
    return arrays


def _decoded(stored: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays with those of 16 bits as what they stand for. Raises ValueError for another dtype than uint16."""
    rounded = {name: array for name, array in stored.items() if name.endswith("_u16")}
    for name, array in rounded.items():
        if array.dtype != np.uint16:
            raise ValueError(f"{name}: expected uint16, found {array.dtype} {list(array.shape)}")
    return {**stored, **{name.removesuffix("_u16"): np.asarray(array / 65535) for name, array in rounded.items()}}


def check_reference(
    path: Path, *, weights: Mapping[str, str | None], settings: Mapping[str, Any], device: str = "cpu"
) -> list[Difference]:
    """Run profile `released` on a reference's image and texts and compare every quantity that it holds.

    weights: by role, None for what the file names. settings: fields of CaRConfig that win over the file's. Raises
    ReferenceFileError, ConfigError, ModelError, QueryError.
    """
    reference = Reference(path)
    config = reference.configuration(settings)
    car = CaR.from_config(config, weights=reference.weights(weights), device=device)
    found = car.segment(reference.array("image"), reference.queries, trace=True)
    return [*_steps(reference, found), *_answers(reference, found)]


def _steps(reference: Reference, found: Segmentation) -> Iterator[Difference]:
    yield _same("steps", np.array(reference.n_steps), np.array(len(found.steps)))
    for number, step in enumerate(found.steps[: reference.n_steps]):
        yield from _step(reference, found, number, step)


def _step(reference: Reference, found: Segmentation, number: int, step: Step) -> Iterator[Difference]:
    name, eta = f"step {number + 1}", found.config.eta if found.config else 0.0
    proposals = reference.get(f"step{number}_mask_proposals")
    crossed = 0
    if proposals is not None and step.proposals is not None:
        yield _values(f"{name}, proposals", proposals, step.proposals)
        if proposals.shape == step.proposals.shape:
            crossed = int(((proposals > eta) != (step.proposals > eta)).sum())
    remark = f"{crossed} pixels on the other side of eta" if crossed else ""
    images = reference.get(f"step{number}_prompted_images")
    if images is not None and step.prompted is not None:
        yield _share(f"{name}, prompted images", images, step.prompted[: len(images)], remark)
    scores = reference.get(f"step{number}_mask_scores")
    if scores is not None:
        yield _values(f"{name}, scores", scores, step.scores, remark)
    kept = reference.get(f"step{number}_surviving_idx")
    if kept is not None:
        yield _same(f"{name}, survivors", kept, np.array(step.kept))


def _answers(reference: Reference, found: Segmentation) -> Iterator[Difference]:
    masks, scores = reference.get("final_masks"), reference.get("final_scores")
    if masks is not None:
        yield _share("final masks", masks > 0.5, found.masks)
    if scores is not None:
        yield _values("final scores", scores, found.scores)
    labels, merged = reference.get("label_pred"), reference.get("merged_mask")
    if labels is not None:
        yield _share("label map", labels, found.label_map)
    if merged is not None and found.merged_mask is not None:
        yield _share("merged mask", merged.reshape(found.merged_mask.shape) > 0.5, found.merged_mask)


def _values(quantity: str, expected: Array, found: Array, remark: str = "") -> Difference:
    if expected.shape != found.shape:
        return Difference(quantity, "value", None, VALUE_TOLERANCE, _shapes(expected, found))
    difference = float(np.abs(expected - found.astype(np.float64)).max(initial=0))
    return Difference(quantity, "value", difference, VALUE_TOLERANCE, remark)


def _share(quantity: str, expected: Array, found: Array, remark: str = "") -> Difference:
    if expected.shape != found.shape:
        return Difference(quantity, "share", None, PIXEL_TOLERANCE, _shapes(expected, found))
    return Difference(quantity, "share", float((expected != found).mean()), PIXEL_TOLERANCE, remark)


def _same(quantity: str, expected: Array, found: Array) -> Difference:
    same = expected.shape == found.shape and bool((expected == found).all())
    remark = "" if same else f"{expected.tolist()} there, {found.tolist()} here"
    return Difference(quantity, "share", 0.0 if same else 1.0, 0.0, remark)


def _shapes(expected: Array, found: Array) -> str:
    return f"shape {list(expected.shape)} there, {list(found.shape)} here"
