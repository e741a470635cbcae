"""Suites: which runs are read side by side; one YAML file each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataset_adapters import DatasetError, load
from dataset_adapters.base.adapter import find_sources
from dataset_adapters.errors import DataMissingError
from dataset_adapters.prepare import find_preparation
from evaluation.request.benchmark import BenchmarkError, is_file, load_benchmark, merged
from evaluation.request.methods import Method, able_methods, find_method, is_several, settings_by_method
from evaluation.request.options import ALL, CAR, RunOptions
from results.run_directory.suite import SuiteKind
from support.console import tell
from support.strict_json import identity_of
from support.text import unknown_name

_FOLDER = resources.files("evaluation") / "suites"


class SuiteRun(BaseModel):
    """One run of a suite.

    variant: what distinguishes it from other runs of the benchmark. method, names: as in `RunOptions`; None for
    those of all. weights: whether its method takes those of all. settings: configuration fields set only for it.
    pictures: samples shown on the suite's contact sheet. point: of a sweep, the settings that its table shows.
    paper: the paper's figure for them, percent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    variant: str | None = None
    method: str | None = None
    weights: bool = True
    names: str | None = None
    settings: Mapping[str, Any] = {}
    pictures: int = Field(default=0, ge=0)
    point: Mapping[str, Any] | None = None
    paper: float | None = None

    @property
    def name(self) -> str:
        """The benchmark, or the stem of its file, and the variant if there is one."""
        benchmark = Path(self.benchmark).stem if is_file(self.benchmark) else self.benchmark
        return f"{benchmark}-{self.variant}" if self.variant else benchmark


class Suite(BaseModel):
    """Runs whose figures are read side by side. kind: as in `SuiteIndex`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    kind: SuiteKind = "runs"
    runs: tuple[SuiteRun, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Suite:
        repeated = [name for name, count in Counter(run.name for run in self.runs).items() if count > 1]
        if repeated:
            raise ValueError(f"expected each run once, found {', '.join(repeated)} again")
        return self

    def of_methods(self, methods: str, settings: Mapping[str, Any]) -> Suite:
        """The runs with each method of names as `able_methods` takes them, and with settings that it has fields for.

        Runs that set CaR's switches are CaR's only. Runs of a task that a named method cannot do are left out, and a
        notice names their benchmarks. Raises BenchmarkError where a method can do none of them, for a setting of none,
        and as `able_methods`.
        """
        if not is_several(methods):
            method = find_method(methods)
            able = _able_runs([run for run in self.runs if method.name == CAR or not run.settings], method)
            changes = ({"method": methods, "settings": merged(run.settings, settings)} for run in able)
            runs = tuple(run.model_copy(update=own) for run, own in zip(able, changes, strict=True))
            names = {"name": f"{self.name}-{method.name}", "title": f"{self.title}: {method.name}"}
            return self.model_copy(update={"runs": runs, **({} if method.name == CAR else names)})
        found: dict[str, Method] = {}
        wanted: dict[str, list[SuiteRun]] = {}
        for run in self.runs:
            for asked, method in able_methods(methods, _task_of(run), settings).items():
                found[asked] = method
                if method.name == CAR or not run.settings:
                    wanted.setdefault(asked, []).append(run)
        own = settings_by_method(settings, found.values())
        every: list[SuiteRun] = []
        for asked, runs_of_one in wanted.items():
            method = found[asked]
            for run in _able_runs(runs_of_one, method):
                variant = "-".join(filter(None, [run.variant, method.name]))
                given = {"settings": merged(run.settings, own[method.name]), "weights": bool(method.roles)}
                every.append(run.model_copy(update={**given, "method": asked, "variant": variant}))
        suffix = ALL if methods == ALL else identity_of(dict.fromkeys(wanted))[:8]
        return self.model_copy(update={"name": f"{self.name}-{suffix}", "runs": tuple(every)})

    def found_in(self, root: Path) -> tuple[Suite, list[str]]:
        """The runs whose data are below a folder, and for each data set that is not there a line: what to put where.

        Raises DatasetError if there is none, and for a data set that is broken.
        """
        missing: dict[str, list[str]] = {}
        for run in self.runs:
            try:
                load(load_benchmark(run.benchmark).adapter, root)
            except DataMissingError:  # noqa: PERF203  a loop of eight
                missing.setdefault(find_preparation(run.benchmark).name, []).append(run.benchmark)
        absent = {name for names in missing.values() for name in names}
        found = tuple(run for run in self.runs if run.benchmark not in absent)
        if not found:
            raise DatasetError(
                f"data_root: expected a data set of the suite {self.name} in {root}, found none; `car data list "
                f"--data-root {root}` says what each needs"
            )
        lines = []
        for name, benchmarks in missing.items():
            known = find_preparation(name)
            files = ", ".join(count.pattern for count in known.layout)
            steps = "; ".join(f"{step.text} ({step.page})" for step in known.manual)
            steps = steps or f"`car data prepare {name} --data-root {root}` downloads them"
            places = " or ".join(map(str, [root, *(root / nested for nested in known.nested)]))
            lines.append(f"missing: {', '.join(benchmarks)}: expected {files} in {places}; {steps}")
        return self.model_copy(update={"runs": found}), lines

    def options(self, *, out: str | Path | None = None, **common: Any) -> list[RunOptions]:
        """The options of each run. out: the suite's folder. common: other fields of `RunOptions`, the same for all."""
        found = []
        for run in self.runs:
            own: dict[str, Any] = {"settings": run.settings, "out": Path(out, run.name) if out else None}
            own |= {key: value for key in ("method", "names") if (value := getattr(run, key)) is not None}
            if {**common, **own}.get("method", CAR) != CAR:  # only CaR has profiles
                own["profile"] = None
            if not run.weights:
                own["weights"] = None
            found.append(RunOptions(run.benchmark, **{**common, **own}))
        return found


def _task_of(run: SuiteRun) -> str:
    return find_sources(load_benchmark(run.benchmark).adapter)[0].task


def _able_runs(runs: Sequence[SuiteRun], method: Method) -> list[SuiteRun]:
    """The runs whose task a method can do; a notice names the others. Raises BenchmarkError where there is none."""
    able = [run for run in runs if _task_of(run) in method.tasks]
    if not able:
        method.check_task(_task_of(runs[0]), None)
    if left_out := list(dict.fromkeys(run.benchmark for run in runs if run not in able)):
        tell(f"notice: {', '.join(left_out)} left out: {method.name} is for {' or '.join(sorted(method.tasks))}")
    return able


def suite_names() -> list[str]:
    return sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))


def load_suite(name: str) -> Suite:
    """Read a suite by name. Raises BenchmarkError for an unknown one, with near matches."""
    names = suite_names()
    if name not in names:
        raise BenchmarkError(unknown_name("suite", name, names))
    return Suite.model_validate(yaml.safe_load(_FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8")))
