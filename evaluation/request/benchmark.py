"""Benchmarks: one YAML file each, and how its values, a profile and the user's settings become a configuration."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from car_core import CaRConfig, ConfigError
from car_core.config import PROFILES, Profile
from support.errors import UserError
from support.text import unknown_name

CAR = "car"
"""The method that a run takes unless told otherwise; `evaluation.request.methods` has them all."""
ALL = "all"
"""Stands for every method on the command line, and for every baseline in a benchmark's file."""
Source = Literal["default", "profile", "benchmark", "user"]

NOT_SETTINGS = {"profile": "the option --profile", "mode": "a benchmark of that mode"}
"""Fields with a place of their own: setting them would leave the benchmark's other values behind."""


class BenchmarkError(UserError, ValueError):
    """An unknown benchmark or a setting it cannot run with. One line: field, what was expected, what was found."""


class PaperFigure(BaseModel):
    """One figure of CaR in the paper: where it stands, and the metric of a run that is held against it.

    metric: a name among the metrics of a run; None for the headline figure of its task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    column: str
    metric: str | None = None


class PaperColumn(BaseModel):
    """The column of the paper's tables that a benchmark is compared with.

    split, samples: what the paper's figure is of: a number of samples, several where sources differ, or numbers by the
    switch `sentences` where a sample depends on it. also: further figures of the paper for the same run. variant: what
    tells the benchmark from another one of the same column, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    column: str
    split: str
    samples: int | tuple[int, ...] | Mapping[str, int]
    also: tuple[PaperFigure, ...] = ()
    variant: str | None = None

    @property
    def figures(self) -> tuple[PaperFigure, ...]:
        """All figures of the paper that a run is held against, that of `column` first."""
        return (PaperFigure(table=self.table, column=self.column), *self.also)

    def n_samples(self, sentences: str, n_found: int) -> int | None:
        """Samples of the paper's split under this value of the switch; None where no source says.

        n_found: samples of the split on disk, which is the answer where sources differ and it is one of theirs.
        """
        if isinstance(self.samples, tuple):
            return n_found if n_found in self.samples else self.samples[0]
        return self.samples if isinstance(self.samples, int) else self.samples.get(sentences)


class Benchmark(BaseModel):
    """Data set, protocol and values of one benchmark.

    split: the split of the data set; None for its usual one. protocol: options of ``evaluation.request.protocol``.
    profiles: what differs between the two sources. baselines: fields of all of them (`all`) and of one by its name.
    profile: the one that a run takes unless told otherwise.
    embedded: whether data and weights are the miniature's unless others are named; such figures stand beside none of
    the paper's. A file may name another benchmark as its `base`: it then holds only what differs from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    adapter: str
    split: str | None = None
    paper: PaperColumn | None = None
    protocol: Mapping[str, str] = {}
    config: Mapping[str, Any] = {}
    profile: Profile = "released"
    embedded: bool = False
    profiles: Mapping[Profile, Mapping[str, Any]] = {}
    baselines: Mapping[str, Mapping[str, Any]] = {}


def benchmark_names() -> list[str]:
    """All benchmarks, by name."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load_benchmark(name: str) -> Benchmark:
    """Read a benchmark by name. Raises BenchmarkError for an unknown one, with near matches."""
    names = benchmark_names()
    if name not in names:
        raise BenchmarkError(unknown_name("benchmark", name, names))
    return Benchmark.model_validate(_read(name))


def _read(name: str) -> dict[str, Any]:
    """A benchmark's fields, those of its base included."""
    own = yaml.safe_load(_folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    base = own.pop("base", None)
    return own if base is None else merged(_read(base), own)


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `own` in place of its own; what is a mapping in both is merged likewise."""
    both = {key: merged(base[key], own[key]) for key in own if _are_mappings(base.get(key), own[key])}
    return {**base, **own, **both}


def _are_mappings(*values: Any) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def resolve_config(
    benchmark: Benchmark, profile: Profile, settings: Mapping[str, Any]
) -> tuple[CaRConfig, dict[str, Source]]:
    """The configuration of a run, and who set each field: default, profile, benchmark, or the user's ``settings``.

    A setting that repeats what is set anyway is not the user's: it changes nothing. Raises BenchmarkError naming
    the field for an unknown one or an impossible value.
    """
    refuse_fields(settings, NOT_SETTINGS)
    own = {**benchmark.config, **benchmark.profiles.get(profile, {})}
    try:
        plain, config = (CaRConfig(**merged({"profile": profile, **own}, more)) for more in ({}, settings))
    except ConfigError as error:
        raise BenchmarkError(str(error)) from None
    changed = {field for field in settings if getattr(config, field) != getattr(plain, field)}
    return config, {field: _source(field, own, changed) for field in type(config).model_fields}


def refuse_fields(settings: Mapping[str, Any], elsewhere: Mapping[str, str]) -> None:
    """Raise BenchmarkError for a setting that has a place of its own, named in ``elsewhere`` by field."""
    for field, instead in elsewhere.items():
        if field in settings:
            raise BenchmarkError(f"{field}: expected {instead}, found {field}={settings[field]!r} among the settings")


def _source(field: str, own: Mapping[str, Any], changed: Collection[str]) -> Source:
    if field in changed:
        return "user"
    if field in own:
        return "benchmark"
    return "profile" if field == "profile" or field in PROFILES["paper"] else "default"


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as configuration values; values are YAML (``eta=0.5``, ``prompts=[blur, gray]``).

    ``lambda`` stands for the field ``lambda_``; ``crf.iterations=5`` changes one field of the CRF, ``sam.model`` one of
    SAM. Later texts win, field by field. Raises BenchmarkError for text that is no assignment or no YAML.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise BenchmarkError(f"--set: expected key=value, found {assignment!r}")
        settings = merged(settings, _setting(key.strip(), _yaml(assignment, text)))
    return settings


def parse_protocol(assignments: Sequence[str]) -> dict[str, str]:
    """``key=value`` texts as protocol options. Raises BenchmarkError for text that is no assignment."""
    options = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise BenchmarkError(f"--protocol: expected key=value, found {assignment!r}")
        options[key.strip()] = value.strip()
    return options


def _setting(key: str, value: Any) -> dict[str, Any]:
    outer, dot, inner = key.partition(".")
    if not dot:
        return {"lambda_" if key == "lambda" else key: value}
    if outer not in ("crf", "sam"):
        raise BenchmarkError(f"--set {key}: expected a field, crf.<field> or sam.<field>")
    return {outer: {inner: value}}


def _yaml(assignment: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BenchmarkError(
            f"--set {assignment}: expected a YAML value, found {' '.join(str(error).split())}"
        ) from None


def _folder() -> Any:
    return resources.files("evaluation") / "benchmarks"
