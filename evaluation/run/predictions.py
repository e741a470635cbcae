"""Predictions that were made elsewhere: files by sample id, read as what the task scores.

In a folder each sample has a file: a label map (PNG), COCO results (JSON) or one array (npz). It is named after the
sample's id, which may lead through folders, or as `--save-predictions` names it. A file of all samples is a list of
COCO results, or an npz with an array for each id. Every file is hashed at the start; a file that has since
changed fails its sample, as does one that is missing, of another size, or holds what is not a label.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from car_core.images import size_of
from car_core.models.weights import WeightsRecord
from car_core.segmentation import Segmentation
from dataset_adapters import Dataset, LabelSpace, Sample, SampleError
from dataset_adapters.base.semantic import replace_values
from dataset_adapters.formats.annotation_json import as_integer
from dataset_adapters.formats.coco_masks import decode_segmentation
from dataset_adapters.formats.images import ImageFileError, read_any_label_map
from evaluation.request.benchmark import BenchmarkError
from evaluation.request.options import Predictions, PredictionValues
from evaluation.request.predicted import PredictedConfig
from evaluation.tasks.saving import saved_name
from evaluation.tasks.task import Predicted, Target, find_task
from results import RunDirectory, StoreError
from results.run_directory.sample_files import FOLDERS
from support import strict_json
from support.arrays import Int32Array
from support.console import tell
from support.files import expanded, open_regular, read_regular, sha256_of, what_is_there
from support.text import counted

Shape: TypeAlias = tuple[int, int]
Results: TypeAlias = list[dict[str, Any]]
"""COCO results of one sample."""
Array: TypeAlias = npt.NDArray[Any]


class ValueLabels(NamedTuple):
    """The label of each value of a pixel, and of each `category_id`."""

    pixels: Mapping[int, int]
    categories: Mapping[int, int]


SUFFIXES = (".png", ".json", ".npz")
"""Of the files in a folder."""
_MOST_BYTES = 2**28  # of a sample's file
_BYTES_PER_PIXEL, _SPARE_BYTES = 16, 2**20  # and as its image allows: an array of int64 takes 8 a pixel
_MOST_RESULTS = 2**31  # bytes of a file of all samples' results
_LARGEST = 65535  # value of a pixel
_PROBED = 16  # samples that show what the values are
_MEANINGS: Mapping[PredictionValues, str] = {
    "labels": "label ids of the export",
    "dataset": "values of the data set's own masks",
    "classes": "class ids from 0, without background",
}


class PredictionError(ValueError):
    """The prediction of a sample cannot be used. One line: file, what was expected, what was found."""


class _Folder:
    """A file for each sample. Links that lead out of the folder are refused."""

    def __init__(self, path: Path, ids: Sequence[str]) -> None:
        self._root = path.resolve()
        self.digests: dict[str, str] = {}
        for sample_id in ids:
            with suppress(PredictionError):
                self.digests[sample_id] = hashlib.sha256(self._content(sample_id)[1]).hexdigest()

    def read(self, sample_id: str, shape: Shape) -> Array | Results:
        name, content = self._content(sample_id)
        most = _BYTES_PER_PIXEL * shape[0] * shape[1] + _SPARE_BYTES
        try:
            if hashlib.sha256(content).hexdigest() != self.digests.get(sample_id):
                raise PredictionError("expected the file as it was at the start, found it changed")
            if len(content) > most:
                sizes = f"{most} bytes for {shape[1]} x {shape[0]} pixels, found {len(content)}"
                raise PredictionError(f"expected at most {sizes}")
            if name.endswith(".png"):
                return read_any_label_map(io.BytesIO(content), shape)
            if name.endswith(".json"):
                return _results_of(sample_id, strict_json.loads(content))
            with zipfile.ZipFile(io.BytesIO(content)) as arrays:
                if len(arrays.namelist()) != 1:
                    raise PredictionError(f"expected one array, found {len(arrays.namelist())}")
                return _array(arrays, arrays.namelist()[0], shape)
        except Exception as error:  # a damaged file makes decoders raise errors of almost any type
            raise PredictionError(f"{name}: {_reason(error)}") from error

    def _content(self, sample_id: str) -> tuple[str, bytes]:
        """The name and the bytes of a sample's file. Raises PredictionError."""
        path = PurePosixPath(sample_id)
        is_below = not path.is_absolute() and ".." not in path.parts and "\0" not in sample_id
        stems = dict.fromkeys((*([sample_id] if is_below else []), saved_name(sample_id)))
        names = [f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
        found = [name for name in names if os.path.lexists(self._root / name)]
        if len(found) != 1:
            there = " and ".join(found) or "nothing"
            raise PredictionError(f"expected one file {names[0]} (or {', '.join(SUFFIXES[1:])}), found {there}")
        [name] = found
        try:
            file = (self._root / name).resolve()
            if not file.is_relative_to(self._root):
                raise PredictionError(f"{name}: expected a file of the folder, found a link out of it")
            return name, read_regular(file, follow=False, most=_MOST_BYTES)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
            reason = error.strerror if isinstance(error, OSError) else "links in a circle"
            raise PredictionError(f"{name}: {reason}") from error


class _ResultsFile:
    """COCO results of all samples, by their `image_id`: the sample's id, or the number that it is."""

    def __init__(self, path: Path, ids: Sequence[str]) -> None:
        try:
            content = read_regular(path, most=_MOST_RESULTS)
            entries = strict_json.loads(content)
        except (OSError, ValueError) as error:
            found = what_is_there(error) if isinstance(error, OSError) else f"other text: {error}"
            raise BenchmarkError(f"predictions: {path}: expected a list of COCO results, found {found}") from error
        if not isinstance(entries, list):
            raise BenchmarkError(f"predictions: {path}: expected a list of COCO results, found {_kind(entries)}")
        by_text = {str(int(id_)): id_ for id_ in ids if id_.isdecimal() and len(id_) < 19} | {id_: id_ for id_ in ids}
        self._path, self._results = path, defaultdict[str, Results](list)
        for number, entry in enumerate(entries, start=1):
            image_id = entry.get("image_id") if isinstance(entry, dict) else None
            if type(image_id) not in (int, str):
                where, found = f"item {number}: image_id", _kind(image_id)
                raise BenchmarkError(f"predictions: {path}: {where}: expected a number or text, found {found}")
            if (sample_id := by_text.get(str(image_id))) is not None:
                self._results[sample_id].append(entry)
        self.digests = dict.fromkeys(self._results, hashlib.sha256(content).hexdigest())

    def read(self, sample_id: str, shape: Shape) -> Array | Results:
        if sample_id not in self._results:
            raise PredictionError(f"{self._path.name}: expected results with the image_id {sample_id}, found none")
        return self._results[sample_id]


class _ArraysFile:
    """An npz with an array for each sample, by its id."""

    def __init__(self, path: Path, ids: Sequence[str]) -> None:
        self._path = path
        try:
            digest = sha256_of(path)
            self._arrays = zipfile.ZipFile(io.BufferedReader(open_regular(path)))
        except (OSError, zipfile.BadZipFile) as error:
            found = what_is_there(error) if isinstance(error, OSError) else str(error)
            raise BenchmarkError(f"predictions: {path}: expected an npz file, found {found}") from error
        self._members = Counter(self._arrays.namelist())
        self.digests = {sample_id: digest for sample_id in ids if f"{sample_id}.npy" in self._members}

    def read(self, sample_id: str, shape: Shape) -> Array | Results:
        member = f"{sample_id}.npy"
        if self._members[member] != 1:
            found = self._members[member] or "none"
            raise PredictionError(f"{self._path.name}: expected one array {sample_id}, found {found}")
        try:
            return _array(self._arrays, member, shape)
        except Exception as error:  # as for a folder
            raise PredictionError(f"{self._path.name}: {sample_id}: {_reason(error)}") from error


_Source: TypeAlias = _Folder | _ResultsFile | _ArraysFile
"""Predictions by sample id, read as they are stored: integers or bool of the image's shape, or COCO results.

digests: by id, of what was there at the start; ids without anything are left out.
"""


class PredictionReader:
    """A segmenter that looks up what was predicted.

    config: with the hash of the samples' predictions. value_labels: not for videos, where each object is its own value.
    """

    weights: tuple[WeightsRecord, ...] = ()

    def __init__(self, source: _Source, config: PredictedConfig, value_labels: ValueLabels) -> None:
        self.config, self._source, self._value_labels = config, source, value_labels

    def sha256_of(self, ids: Sequence[str]) -> str:
        """What `config` says of the predictions of a run over these samples only."""
        digests = self._source.digests
        return strict_json.identity_of({sample_id: digests[sample_id] for sample_id in ids if sample_id in digests})

    def check_queries(self, queries: Sequence[str]) -> tuple[str, ...]:
        """Any: they were asked for elsewhere."""
        return tuple(queries)

    def segment_samples(self, samples: Sequence[Sample], label_space: LabelSpace) -> list[Segmentation]:
        """What was predicted for each sample. Raises PredictionError."""
        return [self._segmentation(sample) for sample in samples]

    def segment_batch(self, *images: Any, **trace: Any) -> list[Segmentation]:
        """Never called: an image has no id."""
        raise NotImplementedError

    segment_two_pass_batch = segment_batch

    def _segmentation(self, sample: Sample) -> Segmentation:
        began = time.perf_counter()
        shape = size_of(sample.image)
        stored = self._source.read(sample.id, shape)
        try:
            prediction = self._prediction(stored, sample, shape)
        except ValueError as error:
            raise PredictionError(f"prediction of {sample.id}: {error}") from error
        nothing = vars(Segmentation.of_nothing(*shape))
        return Predicted(**nothing | {"seconds": {"read": time.perf_counter() - began}}, prediction=prediction)

    def _prediction(self, stored: Array | Results, sample: Sample, shape: Shape) -> Target:
        if find_task(sample.task).empty(sample.target).dtype == np.bool_:  # one mask
            if isinstance(stored, np.ndarray):
                return stored.astype(np.bool_)
            if len(stored) > 1:
                raise ValueError(f"expected one mask, found {len(stored)}")
            return decode_segmentation(stored[0].get("segmentation"), *shape) if stored else np.zeros(shape, np.bool_)
        label_of = self._value_labels
        if sample.task == "video":
            numbers = {number: number for number in range(len(sample.target) + 1)}
            # Where nothing is void, 255 is what tools write for the one object.
            white = {255: 1} if sample.void is None and len(sample.target) == 1 else {}
            label_of = ValueLabels(numbers | white, numbers)
        if isinstance(stored, np.ndarray):
            return replace_values(stored.astype(np.int32), label_of.pixels)
        return _painted(stored, shape, label_of.categories)


def open_predictions(asked: Predictions, config: PredictedConfig, dataset: Dataset) -> PredictionReader:
    """The predictions for the samples of a data set; what their values were taken for is reported.

    Raises BenchmarkError where no sample has any, and where values could be label ids as well as mask values.
    """
    path, ids = expanded(asked.path), dataset.ids
    source: _Source
    if path.is_dir():
        source = _Folder(path, ids)
    elif path.suffix.lower() in (".json", ".npz"):
        source = _ResultsFile(path, ids) if path.suffix.lower() == ".json" else _ArraysFile(path, ids)
    else:
        raise BenchmarkError(f"predictions: expected a folder, or a .json or .npz file, found {path}")
    if not source.digests:
        names = [name for name in sorted(os.listdir(path)) if name[0] != "."] if path.is_dir() else ["other ids"]
        there = ", ".join(names[:3]) or "nothing"
        within = f"; did you mean {path / 'predictions'}?" if "predictions" in names else ""
        raise BenchmarkError(
            f"predictions: {path}: expected predictions named after the samples, such as {saved_name(ids[0])}, "
            f"found none of {counted(len(ids), 'sample')}, but {there}{within}"
        )
    if missing := len(ids) - len(source.digests):
        verb = "has" if missing == 1 else "have"
        of_all = f"{missing} of {counted(len(ids), 'sample')} {verb}"
        tell(f"notice: {of_all} no prediction; --limit or --split scores a part")
    readings = _readings(dataset)
    if asked.values and asked.values not in readings:
        raise BenchmarkError(f"values: expected {' or '.join(readings)} for {dataset.name}, found {asked.values}")
    of_run = _values_of_run(path)
    values = asked.values or (of_run if of_run in readings else None) or _find_values(source, dataset, readings)
    sha256 = strict_json.identity_of(source.digests)
    settings = config.model_copy(update={"values": values, "predictions_sha256": sha256})
    return PredictionReader(source, settings, readings[values])


def _readings(dataset: Dataset) -> dict[PredictionValues, ValueLabels]:
    """What the values of predictions may stand for. Class ids count from 0 where background is not a class."""
    of_labels = {label: label for label in range(len(dataset.label_space.labels))}
    found: dict[PredictionValues, ValueLabels] = {"labels": ValueLabels(of_labels, of_labels)}
    if dataset.task == "semantic":
        found["dataset"] = ValueLabels(dataset.value_labels(), dataset.value_labels(categories=True))
        if 0 not in dataset.label_space.scored_labels:
            of_classes = {label - 1: label for label in of_labels if label}
            found["classes"] = ValueLabels(of_classes, of_classes)
    return found


def _values_of_run(path: Path) -> PredictionValues | None:
    """What the files that `--save-predictions` left in a run's folder hold; None for any other folder."""
    if path.name not in FOLDERS or not (path.parent / "run.json").exists():
        return None
    try:
        space = RunDirectory(path.parent).read_header().benchmark.label_space
    except StoreError:
        return None
    return "dataset" if space.get("mask_values") else "labels"


def _find_values(
    source: _Source, dataset: Dataset, readings: Mapping[PredictionValues, ValueLabels]
) -> PredictionValues:
    """What the values of the first predictions can only be; reported. Raises BenchmarkError for several or none."""
    if len(readings) == 1:
        return "labels"
    found: set[tuple[str, int | None]] = set()
    for position in islice((n for n, sample_id in enumerate(dataset.ids) if sample_id in source.digests), _PROBED):
        with suppress(SampleError, PredictionError):
            sample = dataset[position]
            stored = source.read(sample.id, size_of(sample.image))
            if isinstance(stored, np.ndarray):
                found |= {("pixels", value) for value in np.unique(stored).tolist()}
            else:
                found |= {("categories", as_integer(each.get("category_id"))) for each in stored}
    kinds = {kind for kind, _ in found} or ValueLabels._fields
    distinct: dict[PredictionValues, dict[tuple[str, int | None], int]] = {}  # readings that differ, the first of each
    for name, reading in readings.items():
        label_of = {(kind, value): label for kind in kinds for value, label in getattr(reading, kind).items()}
        if label_of not in distinct.values():
            distinct[name] = label_of
    if len(distinct) == 1:
        return "labels"
    fitting = {name: label_of.items() for name, label_of in distinct.items() if found <= label_of.keys()}
    # A reading that another one contains is the same for what it knows.
    widest = [name for name, own in fitting.items() if not any(own < other for other in fitting.values())]
    if len(widest) != 1:
        raise BenchmarkError(
            f"values: expected {' or '.join(readings)}, found none, and {'several' if widest else 'none'} of "
            f"these would fit the first predictions: {'; '.join(f'{name}: {_MEANINGS[name]}' for name in readings)}"
        )
    [values] = widest
    tell(f"notice: predictions are read as {_MEANINGS[values]} (--values {values}); nothing else fits the first ones")
    return values


def _array(arrays: zipfile.ZipFile, member: str, shape: Shape) -> Array:
    """An array of an npz, integers 0..65535 or bool; its header is checked before anything else is read."""
    with arrays.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise PredictionError(f"expected the format 1.0 or 2.0 of npy, found {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        found, _, dtype = read(stream)
    if dtype.kind not in "biu" or found != shape:
        raise PredictionError(f"expected integers or bool {list(shape)}, found {dtype} {list(found)}")
    with arrays.open(member) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    if array.size and (array.min() < 0 or array.max() > _LARGEST):
        raise PredictionError(f"expected values 0..{_LARGEST}, found {array.min()}..{array.max()}")
    return array


def _results_of(sample_id: str, entries: Any) -> Results:
    """The COCO results in a sample's own file."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PredictionError(f"expected a list of COCO results, found {_kind(entries)}")
    for entry in entries:
        own = str(entry.get("image_id", sample_id))
        if own != sample_id and not (sample_id.isdecimal() and own == sample_id.lstrip("0")):
            raise PredictionError(f"image_id: expected {sample_id}, found {own[:60]}")
    return entries


def _painted(results: Results, shape: Shape, of_categories: Mapping[int, int]) -> Int32Array:
    """The label of each pixel: that of the result with the highest score, 0 where there is none."""
    labels, scores = np.zeros(shape, np.int32), np.full(shape, -np.inf)

    def score_of(result: dict[str, Any]) -> float:
        score = result.get("score", 1.0)
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            raise ValueError(f"score: expected a number, found {_kind(score)}")
        return float(score)

    for result in sorted(results, key=score_of):
        category, score = as_integer(result.get("category_id")), score_of(result)
        if category is None or category not in of_categories:
            raise ValueError(f"category_id: expected one of a label, found {_kind(result.get('category_id'))}")
        label, mask = of_categories[category], decode_segmentation(result.get("segmentation"), *shape)
        if (mask & (scores == score) & (labels != label)).any():
            raise ValueError(f"expected results that do not overlap, or of different scores, found two of {score}")
        labels[mask], scores[mask] = label, score
    return labels


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, ImageFileError) else str(error) or type(error).__name__


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return repr(value)[:40] if isinstance(value, (int, float, str)) else type(value).__name__
