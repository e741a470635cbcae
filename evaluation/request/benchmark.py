"""Benchmarks: one YAML file each, and how its values, a profile and the user's settings become a configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from car_core import CaRConfig, ConfigError
from car_core.config import PROFILES
from support import strict_yaml
from support.choices import Profile, SetBy
from support.errors import UserError, mistakes
from support.files import expanded
from support.plugins import Plugin, find_plugin, plugins
from support.text import broken_text, shortened, unknown_name

_FOLDER = resources.files("evaluation") / "benchmarks"

NOT_SETTINGS = {"profile": "the option --profile", "mode": "a benchmark of that mode"}
"""Fields with a dedicated option: ``--set`` would bypass the values that depend on them."""


class BenchmarkError(UserError, ValueError):
    """An unknown benchmark or a setting it cannot run with. One line: field, what was expected, what was found."""


class PaperFigure(BaseModel):
    """One figure of CaR in the paper: where it is, and the metric of a run to compare with it.

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
    distinguishes the benchmark from another one of the same column, in words.
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
        """All figures of the paper that a run is compared with, that of `column` first."""
        return (PaperFigure(table=self.table, column=self.column), *self.also)

    def n_samples(self, sentences: str, n_found: int) -> int | None:
        """Samples of the paper's split under this value of the switch; None where no source says.

        n_found: samples of the split on disk, which decides where sources differ.
        """
        if isinstance(self.samples, tuple):
            return n_found if n_found in self.samples else self.samples[0]
        return self.samples if isinstance(self.samples, int) else self.samples.get(sentences)


class Benchmark(BaseModel):
    """Data set, protocol and values of one benchmark.

    split: the split of the data set; None for its usual one. protocol: options, see `resolve.Protocol`, and
    profile_protocols what differs in them between the two sources. profiles: what differs in the configuration;
    a field of `sam` counts only where SAM is used. baselines: fields of all of them (`all`) and of one by its name.
    profile: the default one. embedded: whether data and weights are the miniature's unless others are named; then no
    figures are comparable with the paper's. A file may name another benchmark as its `base` and then holds only what
    differs from it. samples: of the whole split, where the paper has no figure of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][\w+.-]*$")  # fit for a folder
    title: str
    adapter: str
    split: str | None = None
    paper: PaperColumn | None = None
    samples: int | None = Field(default=None, ge=1)
    protocol: Mapping[str, str] = {}
    profile_protocols: Mapping[Profile, Mapping[str, str]] = {}
    config: Mapping[str, Any] = {}
    profile: Profile = "released"
    embedded: bool = False
    profiles: Mapping[Profile, Mapping[str, Any]] = {}
    baselines: Mapping[str, Mapping[str, Any]] = {}

    def protocol_of(self, profile: Profile | None) -> dict[str, str]:
        """The options of the protocol under a profile; None for methods without profiles."""
        return {**self.protocol, **(self.profile_protocols.get(profile, {}) if profile else {})}

    _brought_by: Plugin | None = PrivateAttr(None)
    _file: str | None = PrivateAttr(None)

    @property
    def file(self) -> str | None:
        """The YAML file that it is from, as it was named; None for one with a name here."""
        return self._file

    @property
    def brought_by(self) -> Plugin | None:
        """The package that it is from; None for one of our own and for a file."""
        return self._brought_by


def benchmark_names() -> list[str]:
    """Our own benchmarks, by name."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))


def is_file(benchmark: str) -> bool:
    """Whether a benchmark is named by the path of its file."""
    return os.sep in benchmark or benchmark.endswith((".yaml", ".yml"))


def load_benchmark(name: str | Benchmark) -> Benchmark:
    """Read a benchmark: one of ours or of an installed package by name, or a YAML file by path; one as it is.

    Raises BenchmarkError for an unknown name, with near matches, and naming file and field for what is not a benchmark;
    PluginError for a package that cannot be imported, or names that clash.
    """
    if isinstance(name, Benchmark):
        return name
    own, provided = benchmark_names(), plugins("benchmarks")
    if is_file(name):
        benchmark = of_file(_fields_of_file(expanded(name)), name)
        for other in provided.get(benchmark.name, ()):
            raise BenchmarkError(f"{name}: name: expected an unused name, found {other}")
        return benchmark
    if ":" not in name and name not in {*own, *provided}:
        raise BenchmarkError(unknown_name("benchmark", name, [*own, *provided], "car benchmarks"))
    plugin = find_plugin("benchmarks", name, own, "benchmark")
    if plugin is None:
        return Benchmark.model_validate(_read(name))
    value = plugin.value
    if isinstance(value, Benchmark):
        fields = value.model_dump(exclude_unset=True)
    elif isinstance(value, Mapping):
        fields = dict(value)
    elif isinstance(value, (str, os.PathLike)):
        fields = _fields_of_file(Path(value))
    else:
        kind = type(value).__name__
        raise BenchmarkError(
            f"{plugin.target}: expected the fields of a benchmark or the path of its file, found a {kind}"
        )
    if plugin.package and fields.get("name", name) != name:
        raise BenchmarkError(f"{plugin.target}: name: expected {name!r}, found {fields['name']!r}")
    benchmark = _checked(fields, plugin.target)
    benchmark._brought_by = plugin
    return benchmark


def of_file(fields: Mapping[str, Any], name: str) -> Benchmark:
    """The benchmark of a file's fields; name: of the file. Raises BenchmarkError naming file and field."""
    benchmark = _checked(fields, name)
    benchmark._file = name
    return benchmark


def built_in(name: str) -> Benchmark | None:
    """Our own benchmark of this name, whatever packages there are; for what reads runs."""
    return Benchmark.model_validate(_read(name)) if name in benchmark_names() else None


def _checked(fields: Mapping[str, Any], where: str) -> Benchmark:
    """A benchmark of a file or a package. Raises BenchmarkError naming `where` and the field."""
    own = dict(fields)
    base = own.pop("base", None)
    try:
        if base is not None:
            if not isinstance(base, str) or is_file(base):
                raise BenchmarkError(f"base: expected the name of a benchmark, found {base!r}")
            # The paper's figures are not of what is made from its benchmark.
            own = merged({**load_benchmark(base).model_dump(exclude={"name", "paper"}, exclude_unset=True)}, own)
        benchmark = Benchmark.model_validate(own)
        if benchmark.name in benchmark_names():
            raise BenchmarkError(f"name: expected an unused name, found {benchmark.name!r}, which is built in")
        for profile in get_args(Profile):
            resolve_config(benchmark, profile, {})
    except ValidationError as error:
        raise BenchmarkError(f"{where}: {mistakes(error, Benchmark.model_fields)}") from None
    except BenchmarkError as error:
        raise BenchmarkError(f"{where}: {error}") from None
    return benchmark


def _fields_of_file(path: Path) -> dict[str, Any]:
    if path.is_dir() or not path.exists():
        found = "a folder; --data-root names a folder of data" if path.is_dir() else "nothing"
        raise BenchmarkError(f"benchmark: {path}: expected a file, found {found}")
    fields = strict_yaml.read_fields(path, "a benchmark's file", "the fields of a benchmark", BenchmarkError)
    adapter = fields.get("adapter")
    if isinstance(adapter, str) and ".py:" in adapter:  # from the file's folder
        fields["adapter"] = str(path.absolute().parent / expanded(adapter))
    return fields


def _read(name: str) -> dict[str, Any]:
    """The fields of a benchmark of ours, including those of its base."""
    own = yaml.safe_load(_FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    base = own.pop("base", None)
    return own if base is None else merged(_read(base), own)


def benchmark_schema() -> dict[str, Any]:
    """The JSON schema of a benchmark's file, for editors."""
    schema, config = Benchmark.model_json_schema(), CaRConfig.model_json_schema()
    schema["$defs"] |= {**config.pop("$defs"), "CaRConfig": config}
    for part in schema["$defs"].values():  # a file says what differs from defaults or its base
        part.pop("required", None)
    schema["properties"] |= {"base": {"type": "string", "description": "benchmark that this one differs from"}}
    schema["properties"]["config"] = {"$ref": "#/$defs/CaRConfig"}
    schema["properties"]["profiles"]["additionalProperties"] = {"$ref": "#/$defs/CaRConfig"}
    schema["required"], schema["anyOf"] = ["name"], [{"required": ["base"]}, {"required": ["title", "adapter"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` updated with the fields of `own`, recursively where both have a mapping."""
    both = {
        key: merged(base[key], value)
        for key, value in own.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **own, **both}


def resolve_config(
    benchmark: Benchmark, profile: Profile, settings: Mapping[str, Any]
) -> tuple[CaRConfig, dict[str, SetBy]]:
    """The configuration of a run, and who set each field: default, profile, benchmark, or the user's ``settings``.

    A setting that changes nothing does not count as the user's. Raises BenchmarkError naming the field for an unknown
    one or an impossible value.
    """
    refuse_fields(settings, NOT_SETTINGS)
    own = {**benchmark.config, **benchmark.profiles.get(profile, {})}
    sam = {"sam": own.pop("sam", {})} if settings.get("sam") else {}
    own.pop("sam", None)
    try:
        plain = CaRConfig(profile=profile, **own)
        config = CaRConfig(**merged({"profile": profile, **own, **sam}, settings))
    except ConfigError as error:
        raise BenchmarkError(str(error)) from None
    set_by: dict[str, SetBy] = {
        **dict.fromkeys(CaRConfig.model_fields, "default"),
        **dict.fromkeys(("profile", *PROFILES["paper"]), "profile"),
        **dict.fromkeys(own, "benchmark"),
        **{field: "user" for field in settings if getattr(config, field) != getattr(plain, field)},
    }
    return config, set_by


def refuse_fields(settings: Mapping[str, Any], elsewhere: Mapping[str, str]) -> None:
    """Raise BenchmarkError for a setting that has a dedicated option, named in ``elsewhere`` by field."""
    for field, instead in elsewhere.items():
        if field in settings:
            raise BenchmarkError(f"settings: expected {instead}, found {field}={settings[field]!r} among them")


def parse_settings(assignments: Sequence[str | Mapping[str, Any]]) -> dict[str, Any]:
    """``key=value`` texts as configuration values; values are YAML (``eta=0.5``, ``prompts=[blur, gray]``).

    ``lambda`` stands for the field ``lambda_``; ``crf.iterations=5`` changes one field of the CRF, ``sam.model`` one of
    SAM. Later texts win, field by field. In place of a text there may be a mapping of keys to values. Raises
    BenchmarkError for text that is not an assignment or not YAML.
    """
    settings: dict[str, Any] = {}
    for given in assignments:
        pairs = {} if isinstance(given, str) else given
        if isinstance(given, str):
            key, equals, text = given.partition("=")
            if not equals or not key.strip():
                raise BenchmarkError(f"set: expected key=value, found {given!r}")
            if near := broken_text(key):
                raise BenchmarkError(f"set: expected text, found {near}")
            try:
                pairs = {key: strict_yaml.loads(text)}
            except ValueError as error:
                raise BenchmarkError(f"set: {shortened(given)}: expected a YAML value, found {error}") from None
        for key, value in pairs.items():
            outer, dot, inner = key.strip().partition(".")
            if dot and outer not in ("crf", "sam"):
                raise BenchmarkError(f"set: {key.strip()}: expected a field, crf.<field> or sam.<field>")
            field = "lambda_" if outer == "lambda" else outer
            settings = merged(settings, {field: {inner: value} if dot else value})
    return settings


def parse_protocol(assignments: Sequence[str | Mapping[str, Any]]) -> dict[str, str]:
    """``key=value`` texts, or mappings, as protocol options. Raises BenchmarkError for what is not an assignment."""
    options = {}
    for given in assignments:
        for key, value in [given.partition("=")[::2]] if isinstance(given, str) else given.items():
            if not (key.strip() and str(value).strip()) or type(value) not in (str, int):
                raise BenchmarkError(f"protocol: expected key=value, found {given!r}")
            options[key.strip()] = str(value).strip()
    return options
