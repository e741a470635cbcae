"""Methods from outside of car-eval: what a class must have (docs/own-methods.md), checked before any work."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
import warnings
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, TypeAdapter, ValidationError, model_serializer
from pydantic_core import PydanticSerializationError

from car_core.config import Config
from car_core.names import SUFFIXES
from evaluation.request.benchmark import Benchmark, BenchmarkError
from evaluation.request.methods import Method
from evaluation.request.options import ALL
from evaluation.request.vocabulary import family_names
from evaluation.tasks.task import TASKS
from results.tables.run_notes import METHOD_TITLES
from support.arrays import RGBArray
from support.choices import Profile, SetBy
from support.errors import mistakes
from support.files import expanded, sha256_of
from support.plugins import Plugin, PluginError
from support.strict_json import identity_of, require_json
from support.text import described, did_you_mean, shortened, unwrapped

if TYPE_CHECKING:
    from evaluation.tasks.segmenter import Segmenter

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
_RESERVED = ("method", "version")  # keys of run.json's `config` in addition to the settings


class OwnMethod(Protocol):
    """A method for `car eval --method` other than CaR and the baselines: a class with a name, a version, and `segment`.

    `segment_batch(images, queries_per_image)` may stand in place of `segment`. Optional: `tasks`, names of tasks
    ({"semantic"}); `Settings`, a pydantic model or a dataclass; `weights`, files or names by role, or a function of the
    settings that gives them; `default_names`, a family of class texts (docs/vocabularies.md);
    `segment_things_and_stuff(image, things, stuff)`; and a constructor that takes `settings`, `device` and `task`, or
    some of them.
    """

    name: str
    version: str

    def segment(self, image: RGBArray, queries: Sequence[str]) -> Any:
        """One image, uint8 [H, W, 3]: an integer label map [H, W] with i for ``queries[i - 1]`` and 0 for none.

        In tasks whose queries all mean one thing (referring, generalized), a bool mask [H, W], or a label map, of
        which the pixels of any query count.
        """
        ...


class OwnConfig(Config):
    """A method's name, version and settings, as run.json has them.

    settings: an instance of its `Settings`, or None; values: the same, JSON-ready. files: the settings that only say
    where a file of weights is.
    """

    method: str
    version: str
    settings: Any
    values: Mapping[str, Any]
    files: frozenset[str]

    @model_serializer
    def _as_recorded(self) -> dict[str, Any]:
        return {"method": self.method, "version": self.version, **self.values}

    def of_identity(self) -> dict[str, Any]:
        """The fields that the identity hashes: without files of weights, which their sha256 represents."""
        return {key: value for key, value in self.model_dump().items() if key not in self.files}


@dataclass(frozen=True)
class PluggedMethod(Method):
    """A class from outside, in place of CaR. Its fields are checked by `check_own_method`."""

    @property
    def made_by(self) -> type[Any]:
        """The class."""
        assert self.plugin
        made_by: type[Any] = self.plugin.value
        return made_by

    @property
    def names(self) -> str | None:
        return getattr(self.made_by, "default_names", None)

    @functools.cached_property
    def _settings(self) -> TypeAdapter[Any] | None:
        settings = getattr(self.made_by, "Settings", None)
        return None if settings is None else TypeAdapter(settings)

    @property
    def fields(self) -> Collection[str]:
        """As those of `Method`, with the errors of a class's own."""
        return _fields(getattr(self.made_by, "Settings", None))

    def settings_schema(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """As those of `Method`; of settings that have no default, none has one."""
        if self._settings is None:
            return {}, {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about a default that is not JSON
                schema = self._settings.json_schema()
        except Exception as error:  # of pydantic or of a type
            raise self._wrong("Settings", "types with a JSON schema", error) from None
        try:
            return schema, self._made({})[1]
        except Exception:  # of the class; `resolve` reports it
            return schema, {}

    def _made(self, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The settings and their values as JSON. Raises ValueError for other values, and what the class raises."""
        if self._settings is None:
            return None, {}
        made = self._settings.validate_python(given)
        try:
            values = self._settings.dump_python(made, mode="json", warnings="error")
        except PydanticSerializationError:  # defaults are not validated: one may be of another type
            made = self._settings.validate_python({field: getattr(made, field) for field in self.fields})
            values = self._settings.dump_python(made, mode="json", warnings="error")
        require_json(values)
        if missing := sorted(set(self.fields) - values.keys()):
            raise ValueError(f"no {missing[0]} among them")
        return made, values

    def resolve(
        self, benchmark: Benchmark, task: str, profile: Profile | None, settings: Mapping[str, Any]
    ) -> tuple[OwnConfig, dict[str, SetBy]]:
        self.check_task(task, profile)
        of_benchmark = benchmark.baselines.get(self.name, {})
        given = {**of_benchmark, **settings}
        for field in given:
            if field not in self.fields:
                raise BenchmarkError(f"{field}: no such field of {self.name}{did_you_mean(field, self.fields)}")
        try:
            made, values = self._made(given)
        except ValidationError as error:
            raise BenchmarkError(f"{self.name}: {mistakes(error, self.fields)}") from None
        except Exception as error:  # of the class
            raise self._wrong("Settings", "all values as JSON", described(error)) from error
        paths = {str(value) for value in self._named_weights(made).values() if _is_file(value)}
        files = frozenset(key for key, value in values.items() if isinstance(value, str) and value in paths)
        config = OwnConfig(method=self.name, version=self.made_by.version, settings=made, values=values, files=files)
        set_by: dict[str, SetBy] = {**dict.fromkeys((*_RESERVED, *values), "default")}
        try:
            plain = self._made(of_benchmark)[1]
        except Exception:  # without the user's: a field that has no default, or a check of the class's own
            plain = {}
        changed = [field for field in settings if field not in plain or values[field] != plain[field]]
        return config, {**set_by, **dict.fromkeys(of_benchmark, "benchmark"), **dict.fromkeys(changed, "user")}

    def build(self, config: Config, *, device: str, task: str, time_limit: float | None = None, **_: Any) -> Any:
        assert isinstance(config, OwnConfig)
        from car_core.models.weights import WeightsRecord
        from evaluation.request.own_segmenter import OwnSegmenter

        source = str(self.plugin.record()["source"]) if self.plugin else ""  # stands for the architecture
        weights = []
        for role, value in self._named_weights(config.settings).items():
            name, sha256 = str(value), _hash_of(expanded(value)) if _is_file(value) else None
            shown = expanded(value).resolve().name if sha256 else name
            weights.append(WeightsRecord(role, self.name, source, shown, sha256, trained=True))
        made: Segmenter = OwnSegmenter(self.made_by, config, tuple(weights), device, task, time_limit)
        return made

    def _named_weights(self, settings: Any) -> dict[str, str | Path]:
        """Files and names by role. Raises PluginError unless they are that, and for a file that is not there."""
        named: Any = getattr(self.made_by, "weights", {})
        if callable(named):
            try:
                named = named(settings)
            except Exception as error:  # of the class
                raise self._wrong("weights", "a function of the settings", described(error)) from error
        if not isinstance(named, Mapping):
            raise self._wrong("weights", "a mapping of roles to files or names", named)
        found = {role: value for role, value in named.items() if value is not None}
        for role, value in found.items():
            if not (isinstance(role, str) and role and isinstance(value, (str, Path)) and str(value)):
                raise self._wrong(f"weights[{role!r}]", "a file or a name", value)
            if (isinstance(value, Path) or value.endswith(SUFFIXES)) and not expanded(value).exists():
                raise self._wrong(f"weights[{role!r}]", f"a file at {value}", "none")
        return found

    def _wrong(self, field: str, expected: str, found: object) -> PluginError:
        assert self.plugin
        return _wrong(self.plugin, field, expected, found)


def check_own_method(plugin: Plugin) -> PluggedMethod:
    """The method that a plugin provides, which is imported.

    Raises PluginError, naming class and field, unless it is a class that has what a method needs.
    """
    wrong, made_by = functools.partial(_wrong, plugin), plugin.value
    if not inspect.isclass(made_by):
        raise wrong("", "a class", made_by)
    name, version, tasks = (getattr(made_by, key, default) for key, default in _ATTRIBUTES.items())
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise wrong("name", "letters, digits and . _ + -, at most 40", name)
    if name.casefold() in {each.casefold() for each in (ALL, *METHOD_TITLES, *METHOD_TITLES.values())}:
        raise wrong("name", "another name than car-eval's own", name)
    if plugin.package and name != plugin.name:
        raise wrong("name", f"{plugin.name}, as {plugin.package} names it", name)
    if not (isinstance(version, str) and version.isprintable() and 0 < len(version) <= 40):
        raise wrong("version", "a text of at most 40 characters", version)
    if isinstance(tasks, str):
        raise wrong("tasks", 'a set of names, as in {"semantic"}', f"the text {tasks!r}")
    is_set = isinstance(tasks, (Set, Sequence))
    if not is_set or not tasks or not all(isinstance(task, str) and task in TASKS for task in tasks):
        raise wrong("tasks", f"some of {', '.join(TASKS)}", tasks)
    if (names := getattr(made_by, "default_names", None)) not in (None, *(families := family_names())):
        raise wrong("default_names", f"one of {', '.join(families)}", names)
    methods = [key for key in _SEGMENTS if hasattr(made_by, key)]
    if not {"segment", "segment_batch"} & {*methods}:
        raise wrong("segment", "a method segment(image, queries) or segment_batch(images, queries_per_image)", "none")
    for key in methods:
        function, count = getattr(made_by, key), _SEGMENTS[key]
        if not callable(function):
            raise wrong(key, "a method", function)
        try:
            inspect.signature(function).bind(*range(count + 1))
        except TypeError as error:
            raise wrong(key, f"{count} arguments besides self", error) from None
        except ValueError:  # built in
            continue
    if (settings := getattr(made_by, "Settings", None)) is not None:
        if not inspect.isclass(settings) or not (issubclass(settings, BaseModel) or dataclasses.is_dataclass(settings)):
            raise wrong("Settings", "a pydantic model or a dataclass", settings)
        try:
            TypeAdapter(settings).validator.title  # noqa: B018  (one that is not fully defined has none)
        except Exception as error:  # of pydantic or of a type
            raise wrong("Settings", "types that pydantic knows", str(error).partition("\n")[0]) from None
        for field in _fields(settings):
            if field in _RESERVED:
                raise wrong(f"Settings.{field}", "another name, as run.json has the method's own there", field)
            if issubclass(settings, BaseModel) and (alias := settings.model_fields[field].validation_alias):
                raise wrong(f"Settings.{field}", "a field without an alias", alias)
    for parameter in _parameters(made_by):
        if parameter.default is inspect.Parameter.empty and parameter.name not in ("settings", "device", "task"):
            raise wrong("__init__", "settings, device and task to be all that it needs", parameter.name)
    weights: Any = getattr(made_by, "weights", {})
    if not isinstance(weights, Mapping) and not callable(weights):
        raise wrong("weights", "a mapping of roles to files or names, or a function of the settings", weights)
    plugin = dataclasses.replace(plugin, name=name)
    return PluggedMethod(name, (), frozenset(tasks), plugin)


_ATTRIBUTES: Mapping[str, Any] = {"name": None, "version": None, "tasks": ("semantic",)}
_SEGMENTS: Mapping[str, int] = {"segment": 2, "segment_batch": 2, "segment_things_and_stuff": 3}
"""Methods that a class may segment with, and their number of arguments in addition to `self`."""


def constructor_arguments(made_by: type[Any], **offered: Any) -> dict[str, Any]:
    """The offered arguments that the class's constructor takes."""
    return {name: offered[name] for name in (each.name for each in _parameters(made_by)) if name in offered}


def _parameters(made_by: type[Any]) -> list[inspect.Parameter]:
    """The named parameters of the constructor; empty for a class without one."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    try:
        return [each for each in inspect.signature(made_by).parameters.values() if each.kind not in variable]
    except ValueError:  # built in
        return []


def _fields(settings: Any) -> tuple[str, ...]:
    if settings is None:
        return ()
    if issubclass(settings, BaseModel):
        return tuple(settings.model_fields)
    return tuple(each.name for each in dataclasses.fields(settings) if each.init)


def _wrong(plugin: Plugin, field: str, expected: str, found: object) -> PluginError:
    if isinstance(found, (bool, int, float, list, tuple, set, frozenset, type(None))):
        found = repr(found)
    shown = unwrapped(found) if isinstance(found, (str, Exception)) else f"a {type(found).__name__}"
    where = f"{plugin.target}: {field}" if field else plugin.target
    return PluginError(f"{where}: expected {expected}, found {shortened(shown, 200)}")


def _is_file(value: str | Path) -> bool:
    return os.fspath(expanded(value)) != "" and expanded(value).exists()


def _hash_of(path: Path) -> str:
    """sha256 of a file, or over the names and contents of a folder's files."""
    if path.is_dir():
        files = {file.relative_to(path).as_posix(): sha256_of(file) for file in path.rglob("*") if file.is_file()}
        return identity_of(files)
    return sha256_of(path)
