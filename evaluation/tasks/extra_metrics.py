"""Metrics next to those of a task: ours and those of other packages, by the same protocol.

A metric counts whole numbers in one sample, which its record keeps, and makes figures of the counts of all samples.
Figures therefore depend neither on the order of the samples nor on the process or shard that counted them.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dataset_adapters import LabelSpace
from evaluation.tasks.task import Target, find_task
from results.tables.task_words import words_of
from support.console import TRACES
from support.plugins import Plugin, PluginError, find_plugin, plugins
from support.text import counted, described

COUNTS = "metrics"
"""The key of a record's counts that holds those of metrics, by their names."""


class Metric(Protocol):
    """What a metric is; a class that takes no arguments, or an object."""

    @property
    def name(self) -> str:
        """The name by which it is asked for: that of its entry point."""

    @property
    def version(self) -> str:
        """Changed whenever the same arrays would give other counts or figures."""

    @property
    def tasks(self) -> Collection[str]:
        """The tasks whose samples it can count: semantic, referring, generalized, video."""

    @property
    def reductions(self) -> Mapping[str, str]:
        """By figure, what it averages over, in words."""

    def count(self, target: Target, prediction: Target, label_space: LabelSpace) -> Mapping[str, int]:
        """Whole numbers by name, of one sample. Either may be empty.

        semantic: labels, int32 [H, W], the target's with `label_space.ignore_label`. referring: bool [H, W].
        generalized: bool [n, H, W], n objects that are meant, and bool [H, W]. video: bool [n, H, W] and the objects'
        numbers, int32 [H, W].
        """

    def figures(self, counts: Sequence[Mapping[str, int]]) -> Mapping[str, float | None]:
        """The figures of `reductions`, in 0..1 or None where undefined, of all samples' counts; there may be none.

        A failed sample has those of an empty prediction if its target is known and can be counted, else none. The order
        is always the same, so sums of floats are, too.
        """


METRICS: dict[str, Metric] = {}
"""Our own metrics by name."""


class MetricError(ValueError):
    """A metric cannot count a sample. One line: its name, and what it raised or returned."""


@dataclass(frozen=True)
class NamedMetric:
    """A metric that a run computes. plugin: what provides it; None for one of ours. Its figures are "NAME/FIGURE"."""

    metric: Metric
    plugin: Plugin | None = None

    @property
    def name(self) -> str:
        return self.metric.name

    def count(self, target: Target, prediction: Target, space: LabelSpace) -> dict[str, int]:
        """What a sample's record keeps. Raises MetricError for whatever the metric raises, and other answers."""
        target, prediction = target.view(), prediction.view()
        target.flags.writeable = prediction.flags.writeable = False
        try:
            with redirect_stdout(sys.stderr):  # what it prints is not a result
                counts = dict(self.metric.count(target, prediction, space))
        except Exception as error:  # a failure of the sample, not of the run
            TRACES.debug("metric %s:", self.name, exc_info=error)
            raise MetricError(f"metric {self.name}: {described(error)}") from error
        for key, value in counts.items():
            if not isinstance(key, str) or not isinstance(value, (int, np.integer, np.bool_)):
                raise MetricError(f"metric {self.name}: expected whole numbers by name, found {key!r}: {value!r}")
        return {key: int(value) for key, value in counts.items()}

    def _figures(self, counts: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        with redirect_stdout(sys.stderr):
            return dict(self.metric.figures(counts))

    def figures(self, counts: Sequence[Mapping[str, int]], left_out: Sequence[str] = ()) -> dict[str, Any]:
        """Its part of a run's metrics: figures, `reductions`, `undefined`. Never raises: the counts are kept anyway.

        left_out: samples with a target that it could not count at all; what a figure averages over then says so.
        """
        note = f"; without {counted(len(left_out), 'sample')} that it cannot count, {left_out[0]}" if left_out else ""
        note += " and others" if len(left_out) > 1 else ""
        reasons: dict[str, str] = {}
        try:
            values = self._figures([dict(each) for each in counts])
        except Exception as error:  # of the metric
            reason = f"metric {self.name} raised {described(error)}"
            values, reasons = {}, dict.fromkeys(self.metric.reductions, reason)
        for name in self.metric.reductions:
            value: Any = values.get(name)
            fits = isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value) and 0 <= value <= 1
            values[name] = float(value) if fits else None
            if not fits:
                no_figure = "no figure" if value is None else f"{value!r}, where 0..1 is expected,"
                reasons.setdefault(name, f"metric {self.name} gives {no_figure} for these samples")
        return {
            **{f"{self.name}/{name}": values[name] for name in self.metric.reductions},
            "reductions": {f"{self.name}/{name}": words + note for name, words in self.metric.reductions.items()},
            "undefined": {f"{self.name}/{name}": reason for name, reason in reasons.items()},
        }

    def try_out(self, task: str, space: LabelSpace) -> None:
        """Count and average an empty sample and none at all. Raises PluginError: better now than after the models."""
        shape = (1, 4, 4) if task in ("generalized", "video") else (4, 4)
        target = np.zeros(shape, np.int32 if task == "semantic" else np.bool_)
        where = self.plugin.target if self.plugin else self.name
        try:
            counts = self.count(target, find_task(task).empty(target), space)
        except MetricError as error:
            raise PluginError(f"{where}: count: expected counts of an empty sample, found {error}") from error
        for given in ([], [counts]):
            try:
                found = {*self._figures(given)}
            except Exception as error:  # of the metric
                expected = f"some of {len(given)} samples"
                raise PluginError(f"{where}: figures: expected {expected}, found {described(error)}") from error
            if found != {*self.metric.reductions}:
                expected = ", ".join(self.metric.reductions)
                raise PluginError(f"{where}: figures: expected those of reductions, {expected}, found {sorted(found)}")


def find_metrics(names: Sequence[str], task: str) -> tuple[NamedMetric, ...]:
    """The metrics of these names, or of ``module:Class`` and ``file.py:Class``, which are imported.

    Raises PluginError for one that is unknown, not a metric, of another task, or named twice.
    """
    words = words_of(task)
    always = {each.casefold(): words.headline for each in (words.heading, words.headline)}
    always |= {each.casefold(): each for each in (*words.variants, *words.companions)}
    for name in names:
        if computed := always.get(name.casefold()):
            raise PluginError(
                f"metrics: {computed} is always computed; expected an additional one, {', '.join(METRICS)}"
            )
    found = tuple(_find(name) for name in names)
    for position, each in enumerate(found):
        if task not in each.metric.tasks:
            tasks = ", ".join(each.metric.tasks)
            raise PluginError(f"metrics: expected a metric of the task {task}, found {each.name!r}, of {tasks}")
        if each.name in [earlier.name for earlier in found[:position]]:
            raise PluginError(f"metrics: expected each metric once, found {each.name!r} again")
    return found


def _find(name: str) -> NamedMetric:
    plugin = find_plugin("metrics", name, METRICS, "metrics")
    if plugin is None:
        return NamedMetric(METRICS[name])
    metric = plugin.made()

    def require(holds: object, field: str, expected: str) -> None:
        if not holds:
            found = repr(getattr(metric, field)) if hasattr(metric, field) else "none (docs/adding.md#a-metric)"
            raise PluginError(f"{plugin.target}: {field}: expected {expected}, found {found}")

    own_name, words = getattr(metric, "name", None), getattr(metric, "reductions", None)
    require(isinstance(own_name, str) and re.fullmatch(r"[\w-]+", own_name), "name", "letters, digits, _ and -")
    require(own_name == plugin.name or not plugin.package, "name", repr(plugin.name))
    require(own_name not in METRICS, "name", "one that is not built in")
    require(isinstance(getattr(metric, "version", None), str), "version", "text")
    tasks = getattr(metric, "tasks", None)
    require(isinstance(tasks, Collection) and not isinstance(tasks, str), "tasks", "a collection of tasks")
    texts = [*words.items()] if isinstance(words, Mapping) else []
    texts_fit = all(isinstance(text, str) for pair in texts for text in pair)
    texts_fit = texts_fit and all(re.fullmatch(r"[\w@.+-]+", figure) for figure, _ in texts)
    require(texts and texts_fit, "reductions", "what each figure averages over, by its name")
    for method in ("count", "figures"):
        require(callable(getattr(metric, method, None)), method, "a function")
    return NamedMetric(metric, plugin)


def recorded_metrics(
    versions: Mapping[str, str], records: Sequence[Mapping[str, Any]]
) -> tuple[tuple[NamedMetric, ...], dict[str, str]]:
    """The metrics of a run as they are here, and why others are not, by name.

    versions: of the run's metrics, by name. records: the run's `plugins`. Other sources would give other figures.
    """
    found, missing = [], {}
    sources = {plugin.get("name"): plugin for plugin in records if plugin.get("kind") == "metrics"}
    for name, version in versions.items():
        recorded = sources.get(name) if name not in METRICS else None
        try:
            if ":" in name:  # a run may be a stranger's: only what is installed here is imported
                raise PluginError(f"{name}: expected the name of a metric")
            here = _find(name)
        except PluginError as error:
            absent = f"{(recorded or {}).get('package') or 'its file'} is not installed"
            missing[name] = str(error) if name in plugins("metrics") else absent
            continue
        try:
            source = here.plugin.record()["source"] if here.plugin else None
        except PluginError:  # which changed since it was imported
            source = ""
        if here.metric.version != version or source != (recorded or {}).get("source"):
            missing[name] = f"the installed metric is not version {version} of the run"
        else:
            found.append(here)
    return tuple(found), missing


def recorded_figures(metrics: Mapping[str, Any], missing: Mapping[str, str]) -> dict[str, Any]:
    """Of a run's `metrics`, the parts of those that cannot be computed here, each marked with the reason.

    missing: reasons by metric.
    """
    reductions, undefined = metrics.get("reductions", {}), metrics.get("undefined", {})
    names = {key: reason for name, reason in missing.items() for key in reductions if key.startswith(f"{name}/")}
    return {
        **{key: metrics.get(key) for key in names},
        "reductions": {key: f"recorded, not computed again ({why}): {reductions[key]}" for key, why in names.items()},
        "undefined": {key: undefined[key] for key in names if key in undefined},
    }


def add_figures(metrics: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Add the part of one metric to a run's `metrics`."""
    for key, value in own.items():
        metrics[key] = {**metrics[key], **value} if isinstance(value, dict) else value
