"""Our intermediate results compared with the released code's: `car check --reference FILE.npz`, docs/reference.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from car_core import CaR, CaRConfig, ConfigError
from car_core.segmentation import Segmentation
from evaluation.request.benchmark import load_benchmark, merged, resolve_config
from results.tables.columns import make_table
from results.tables.render import Column, Table
from support import strict_json
from support.arrays import read_npz
from support.errors import UserError
from support.text import counted, unwrapped

Array = npt.NDArray[Any]

# Benchmarks with the released hyperparameters, by the value of a file's `config`.
CONFIGS = {"voc": "voc21", "coco": "coco-object", "refcoco": "refcoco-val", "context": "context60", "ade": "ade150"}
# The released code's names of settings.
_SETTING_NAMES = {"car.confidence_threshold": "theta", "car.mask_threshold": "eta", "cam.box_threshold": "lambda_"}
_NEEDED = ("image", "texts", "n_steps")
# Differences of float32 between processors stay below these.
VALUE_TOLERANCE = 1e-4
PIXEL_TOLERANCE = 1e-3

# numpy's characters of the dtypes that each name stands for.
_INTEGERS, _FLOATS = np.typecodes["AllInteger"], np.typecodes["Float"]
_DTYPES = {
    "uint8": "B",
    "text": "U",
    "integers": _INTEGERS,
    "numbers": _INTEGERS + _FLOATS,
    "numbers or booleans": _INTEGERS + _FLOATS + "?",
}
# The arrays of a file, see docs/reference.md: dtype, then each permitted shape, with names for sizes that several
# arrays share: capital letters in the whole file, small letters within a step. Arrays that define sizes come first.
_ENTRIES: Mapping[str, tuple[str, ...]] = {
    "image": ("uint8", "H W 3"),
    "texts": ("text", "N"),
    "n_steps": ("integers", ""),
    **dict.fromkeys(("config", "settings", "proposal_model", "classifier_model"), ("text", "")),
    **dict.fromkeys(("proposal_weights", "classifier_weights"), ("text", "")),
    "final_masks": ("numbers or booleans", "N H W"),
    "final_scores": ("numbers", "N"),
    "label_pred": ("integers", "H W"),
    "merged_mask": ("numbers or booleans", "H W", "1 H W"),
}
# By the part of the name after ``stepK_``.
_STEP_ENTRIES: Mapping[str, tuple[str, ...]] = {
    "mask_proposals": ("numbers", "n H W"),
    "prompted_images": ("uint8", "m H W 3"),
    "mask_scores": ("numbers", "n"),
    "surviving_idx": ("integers", "k"),
}


class ReferenceFileError(UserError, ValueError):
    """A file of released results that cannot be used. One line: file, field, what was expected and found."""


@dataclass(frozen=True)
class Difference:
    """One quantity of the released code compared with ours.

    difference: the largest absolute difference of values ("value"), or the share of pixels or entries that differ
    ("share"); None if shapes differ. remark: a note needed to judge it.
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


class ReleasedResults:
    """Results of the released code from a file: arrays by name, those stored as ``<name>_u16`` (value * 65535) decoded.

    get: an array, None if it is not in the file. image, queries, n_steps: what every file has.
    Raises ReferenceFileError for a file that cannot be read, and for arrays whose dtypes or shapes are not those of
    docs/reference.md.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ReferenceFileError(f"{path}: expected a file, found none")
        try:
            self._arrays = read_npz(path, _is_known)
        except Exception as error:  # readers of damaged files raise many types; each means the same to the caller
            reason = unwrapped(error)
            raise ReferenceFileError(f"{path}: expected an .npz of plain arrays, found: {reason}") from None
        for name in [name for name in self._arrays if name.endswith("_u16")]:
            array = self._arrays[name]
            if array.dtype != np.uint16:
                raise ReferenceFileError(f"{path}: {name}: expected uint16, found {array.dtype} {list(array.shape)}")
            self._arrays[name.removesuffix("_u16")] = np.asarray(array / 65535)
        try:
            _check_entries(self._arrays)
        except ValueError as error:
            raise ReferenceFileError(f"{path}: {error}") from None
        for name in _NEEDED:
            if name not in self._arrays:
                known = ", ".join(self._arrays) or "none"
                raise ReferenceFileError(f"{path}: {name}: expected this array, found {known}")
        self.get = self._arrays.get
        self.image, self.queries = self._arrays["image"], [str(text) for text in self._arrays["texts"]]
        self.n_steps = int(self._arrays["n_steps"])
        if self.n_steps < 1:
            raise ReferenceFileError(f"{path}: n_steps: expected at least 1, found {self.n_steps}")

    def text(self, name: str) -> str | None:
        """A text by name, None if it is not in the file."""
        found = self.get(name)
        return None if found is None else str(found)

    def configuration(self, settings: Mapping[str, Any]) -> CaRConfig:
        """Profile `released` with the file's hyperparameters, then its settings, then ``settings``."""
        name = self.text("config") or "voc"
        if name not in CONFIGS:
            raise ReferenceFileError(f"{self.path}: config: expected one of {', '.join(CONFIGS)}, found {name!r}")
        config, _ = resolve_config(load_benchmark(CONFIGS[name]), "released", {})
        try:
            stored = strict_json.loads(self.text("settings") or "{}")
        except ValueError as error:
            raise ReferenceFileError(f"{self.path}: settings: expected JSON, found: {error}") from None
        if not isinstance(stored, dict):
            raise ReferenceFileError(f"{self.path}: settings: expected a JSON object, found {stored!r}")
        renamed = {_SETTING_NAMES.get(str(key), str(key)): value for key, value in stored.items()}
        models = {key: text for key in ("proposal_model", "classifier_model") if (text := self._file(key))}
        try:
            return CaRConfig(**merged({**config.model_dump(), **models, **renamed}, settings))
        except ConfigError as error:
            raise ReferenceFileError(f"{self.path}: settings: {error}") from None

    def weights(self, given: Mapping[str, str | None]) -> dict[str, str]:
        """Weights by role: the given ones, else those named by the released results, as files next to theirs."""
        found = {role: name or self._file(f"{role}_weights") for role, name in given.items()}
        missing = [role for role, name in found.items() if not name]
        if missing:
            raise ReferenceFileError(
                f"{self.path}: {missing[0]}_weights: expected the weights' file in the reference or by --weights, "
                "found neither"
            )
        return {role: str(name) for role, name in found.items()}

    def _file(self, name: str) -> str | None:
        """A text that may be the name of a file next to this one."""
        text = self.text(name)
        return str(self.path.parent / text) if text and (self.path.parent / text).is_file() else text


def _is_known(name: str) -> bool:
    """Whether an array of this name in a file is one of those above, or such a one as 16-bit integers."""
    name = name.removesuffix("_u16")
    return name in _ENTRIES or re.sub(r"^step[0-9]+_", "", name) in _STEP_ENTRIES


def _check_entries(arrays: Mapping[str, Array]) -> None:
    """Raise ValueError, in one line, for an array that does not fit its entry; arrays without an entry are ignored.

    Sizes that several arrays share (of the image, of the texts, of a step's queries) must be the same in all of them.
    """
    steps = dict.fromkeys(found[0] for name in arrays if (found := re.match(r"step\d+_", name)))
    of_file: dict[str, int] = {}
    for prefix, entries in {"": _ENTRIES, **dict.fromkeys(steps, _STEP_ENTRIES)}.items():
        sizes = {**of_file} if prefix else of_file
        for name, (dtype, *shapes) in ((f"{prefix}{key}", entry) for key, entry in entries.items()):
            if name not in arrays:
                continue
            array = arrays[name]
            # By the shape's names, a number for each known size.
            expected = {shape: [sizes.get(side, side) for side in shape.split()] for shape in shapes}
            fitting = [
                shape
                for shape, sides in expected.items()
                if array.ndim == len(sides)
                and all(str(side).isalpha() or int(side) == n for side, n in zip(sides, array.shape, strict=True))
            ]
            if not fitting or array.dtype.char not in _DTYPES[dtype]:
                known = " or ".join(f"[{', '.join(map(str, sides))}]" for sides in expected.values())
                raise ValueError(f"{name}: expected {dtype} {known}, found {array.dtype} {list(array.shape)}")
            sizes.update(zip(fitting[0].split(), array.shape, strict=True))


def check_reference(
    path: Path, *, weights: Mapping[str, str | None], settings: Mapping[str, Any], device: str = "cpu"
) -> list[Difference]:
    """Run profile `released` on the image and texts of a file of released results and compare every quantity in it.

    weights: by role, None for those named by the file. settings: fields of CaRConfig that override the file's. Raises
    ReferenceFileError, ConfigError, ModelError, QueryError.
    """
    released = ReleasedResults(path)
    config = released.configuration(settings)
    car = CaR.from_config(config, weights=released.weights(weights), device=device)
    ours = car.segment(released.image, released.queries, trace=True)
    return list(_differences(released, ours, config.eta))


def _differences(released: ReleasedResults, ours: Segmentation, eta: float) -> Iterator[Difference]:
    yield _same("steps", np.array(released.n_steps), np.array(len(ours.steps)))
    for number, step in enumerate(ours.steps[: released.n_steps]):
        name, remark = f"step {number + 1}", ""
        proposals, prompted, scores, kept = (
            released.get(f"step{number}_{key}")
            for key in ("mask_proposals", "prompted_images", "mask_scores", "surviving_idx")
        )
        if proposals is not None and step.proposals is not None:
            yield _compared("value", f"{name}, proposals", proposals, step.proposals)
            if proposals.shape == step.proposals.shape:
                # A rounding error at eta moves a pixel in or out of the mask, and with it the prompt and the score.
                crossed = int(((proposals > eta) != (step.proposals > eta)).sum())
                remark = f"{counted(crossed, 'pixel')} on the other side of eta" if crossed else ""
        if prompted is not None and step.prompted is not None:
            yield _compared("share", f"{name}, prompted images", prompted, step.prompted[: len(prompted)], remark)
        if scores is not None:
            yield _compared("value", f"{name}, scores", scores, step.scores, remark)
        if kept is not None:
            yield _same(f"{name}, survivors", kept, np.array(step.kept))
    masks, scores, labels, merged_mask = (
        released.get(name) for name in ("final_masks", "final_scores", "label_pred", "merged_mask")
    )
    if masks is not None:
        yield _compared("share", "final masks", masks > 0.5, ours.masks)
    if scores is not None:
        yield _compared("value", "final scores", scores, ours.scores)
    if labels is not None:
        yield _compared("share", "label map", labels, ours.label_map)
    if merged_mask is not None and ours.merged_mask is not None:
        yield _compared("share", "merged mask", merged_mask.reshape(ours.merged_mask.shape) > 0.5, ours.merged_mask)


def _compared(kind: str, quantity: str, expected: Array, found: Array, remark: str = "") -> Difference:
    tolerance = VALUE_TOLERANCE if kind == "value" else PIXEL_TOLERANCE
    if expected.shape != found.shape:
        shapes = f"shape {list(expected.shape)} there, {list(found.shape)} here"
        return Difference(quantity, kind, None, tolerance, shapes)
    if kind == "value":
        difference = np.abs(expected - found.astype(np.float64)).max(initial=0)
    else:
        difference = (expected != found).mean()
    return Difference(quantity, kind, float(difference), tolerance, remark)


def _same(quantity: str, expected: Array, found: Array) -> Difference:
    same = expected.shape == found.shape and bool((expected == found).all())
    remark = "" if same else f"{expected.tolist()} there, {found.tolist()} here"
    return Difference(quantity, "share", 0.0 if same else 1.0, 0.0, remark)


def reference_table(name: str, differences: Sequence[Difference]) -> Table:
    """One row per quantity of a reference file: how it was compared, difference, tolerance, ok or DIFFERENT, remark."""
    measures = {"value": "largest difference", "share": "share that differs"}
    rows = [
        {**vars(each), "measure": measures[each.kind], "verdict": "ok" if each.agrees else "DIFFERENT"}
        for each in differences
    ]
    columns = (
        Column("quantity"),
        Column("measure"),
        Column("difference", kind="figure"),
        Column("tolerance", kind="tolerance"),
        Column("verdict"),
        Column("remark"),
    )
    note = "A pixel that rounding carries over eta changes its prompted image and, through it, a score."
    return make_table(f"Compared with {name}", columns, rows, [note])
