"""Suites: several benchmarks, or one under several settings, run one after the other on models loaded once."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from car_core.weights import load_clip
from evaluation.benchmark import BenchmarkError, near_matches
from evaluation.previews import previews
from evaluation.runner import DEFAULT_RUNS, ModelLoader, Run, RunOptions, evaluate
from results import write_suite
from results.pictures import Example, contact_sheet, save_png

CONTACT_SHEET = "contact-sheet.png"


class SuiteRun(BaseModel):
    """One run of a suite.

    variant: what tells it from other runs of the benchmark. settings: configuration fields set for it alone.
    pictures: samples shown on the suite's contact sheet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    variant: str | None = None
    settings: Mapping[str, Any] = {}
    pictures: int = Field(default=0, ge=0)

    @property
    def name(self) -> str:
        """The benchmark, and the variant where there is one."""
        return f"{self.benchmark}-{self.variant}" if self.variant else self.benchmark


class Suite(BaseModel):
    """Runs whose figures are read side by side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    runs: tuple[SuiteRun, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Suite:
        repeated = [name for name, count in Counter(run.name for run in self.runs).items() if count > 1]
        if repeated:
            raise ValueError(f"expected each run once, found {', '.join(repeated)} again")
        return self


@dataclass(frozen=True)
class FinishedSuite:
    """A suite's folder and its finished runs by name."""

    path: Path
    runs: Mapping[str, Run]


def suite_names() -> list[str]:
    """All suites, by name."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load_suite(name: str) -> Suite:
    """Read a suite by name. Raises BenchmarkError for an unknown one, with near matches."""
    names = suite_names()
    if name not in names:
        raise BenchmarkError(f"suite: expected one of {', '.join(names)}, found {name!r}{near_matches(name, names)}")
    return Suite.model_validate(yaml.safe_load(_folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8")))


def run_suite(suite: Suite, *, out: Path | None = None, **common: Any) -> FinishedSuite:
    """Run every benchmark of a suite, or go on with what is unfinished, and write its table and contact sheet.

    out: the suite's folder, with the runs in it by name; None: `results/runs/suite-<name>`, the runs where
    `car eval` puts them. common: further fields of `RunOptions`, the same for all runs. Raises as `evaluate`.
    """
    load_model = functools.cache(load_clip)
    path = out or DEFAULT_RUNS / f"suite-{suite.name}"
    runs: dict[str, Run] = {}
    sections: dict[str, list[Example]] = {}
    for position, entry in enumerate(suite.runs, start=1):
        print(f"{entry.name} ({position} of {len(suite.runs)})", file=sys.stderr)
        folder = out / entry.name if out else None
        options = RunOptions(entry.benchmark, settings=entry.settings, out=folder, **common)
        runs[entry.name] = evaluate(options, load_model=load_model)
        sections |= _section(entry, options, load_model)
    write_suite(path, suite.name, suite.title, {name: run.path for name, run in runs.items()})
    if sections:
        save_png(contact_sheet(sections), path / CONTACT_SHEET)
    return FinishedSuite(path, runs)


def _section(entry: SuiteRun, options: RunOptions, load_model: ModelLoader) -> dict[str, list[Example]]:
    if not entry.pictures:
        return {}
    return {entry.name: previews(options, entry.pictures, load_model=load_model)}


def _folder() -> Any:
    return resources.files("evaluation") / "suites"
