"""Methods that a benchmark can be run with: CaR, the baselines of `car_core.baselines`, and those from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from car_core.config import CaRConfig, Config, field_names
from car_core.errors import ConfigError
from car_core.names import ROLES
from evaluation.request.benchmark import Benchmark, BenchmarkError, resolve_config
from evaluation.request.options import ALL, CAR
from evaluation.tasks.task import TASKS, find_task
from results.tables.run_notes import METHOD_TITLES
from support.choices import Precision, Profile, SetBy
from support.plugins import Plugin, find_plugin
from support.text import did_you_mean

if TYPE_CHECKING:
    from car_core import CaR
    from car_core.baselines import Baseline
    from evaluation.tasks.segmenter import Segmenter

CarMaker = Callable[..., "CaR"]  # with the signature of CaR.from_config


@dataclass(frozen=True)
class Method:
    """roles: the models that it needs weights for. tasks: those that it can do."""

    name: str
    roles: tuple[str, ...] = ("proposal",)
    tasks: Set[str] = field(default_factory=TASKS.keys)  # also those that are registered later
    plugin: Plugin | None = None

    @cached_property
    def baseline(self) -> Baseline | None:
        """The method in `car_core.baselines`, which imports torch; None for CaR and methods from outside."""
        if self.name == CAR or self.plugin:
            return None
        from car_core.baselines import BASELINES

        return BASELINES[self.name]

    @property
    def config(self) -> type[Config]:
        return self.baseline.config if self.baseline else CaRConfig

    @property
    def names(self) -> str | None:
        """The texts that it provides: what `find_vocabulary` takes."""
        return self.baseline.names if self.baseline else None

    @property
    def fields(self) -> Collection[str]:
        """Names of its settings, including those inside others, such as ``sam.model``."""
        return tuple(field_names(self.config))

    def accepted(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that it has a field for; inside another, such as ``sam``, those that it has there."""
        own: dict[str, Any] = {}
        for key, value in settings.items():
            inside = {name.partition(".")[2] for name in self.fields if name.startswith(f"{key}.")}
            if value and inside and isinstance(value, Mapping):
                if value := {name: value[name] for name in value if name in inside}:
                    own[key] = value
            elif key in self.fields:
                own[key] = value
        return own

    def settings_schema(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The JSON schema of its settings and their defaults, but for those that depend on profile and mode."""
        schema = self.config.model_json_schema()
        defaults = self.config().model_dump(mode="json")
        return schema, {key: defaults[key] for key, own in schema["properties"].items() if "default" in own}

    def check_task(self, task: str, profile: Profile | None) -> None:
        """Raise BenchmarkError for a task that the method does not do, and for a profile where it has none."""
        if task not in self.tasks:
            able = " or ".join(sorted(self.tasks))
            raise BenchmarkError(f"method: expected a benchmark of the task {able} for {self.name}, found {task}")
        if profile and self.name != CAR:
            raise BenchmarkError(f"profile: expected none, since {self.name} has no profiles, found {profile!r}")

    def resolve(
        self, benchmark: Benchmark, task: str, profile: Profile | None, settings: Mapping[str, Any]
    ) -> tuple[Config, dict[str, SetBy]]:
        """The configuration of a run, and who set each field; a setting that changes nothing is not the user's.

        Raises BenchmarkError naming field or option.
        """
        self.check_task(task, profile)
        if self.name == CAR:
            return resolve_config(benchmark, profile or benchmark.profile, settings)
        fields = self.config.model_fields
        shared = {field: value for field, value in benchmark.baselines.get(ALL, {}).items() if field in fields}
        own = {**shared, **benchmark.baselines.get(self.name, {})}
        try:
            plain, config = self.config(**own), self.config(**{**own, **settings})
        except ConfigError as error:
            raise BenchmarkError(str(error)) from None
        set_by: dict[str, SetBy] = {**dict.fromkeys(fields, "default"), **dict.fromkeys(own, "benchmark")}
        changed = [field for field in settings if getattr(config, field) != getattr(plain, field)]
        return config, {**set_by, **dict.fromkeys(changed, "user")}

    def check_precision(self, precision: Precision) -> None:
        """Raise BenchmarkError for a precision that the method does not have."""
        if self.name != CAR and precision != "float32":
            raise BenchmarkError(f"precision: expected float32 with --method {self.name}, found {precision!r}")

    def build(
        self,
        config: Config,
        *,
        weights: Mapping[str, str],
        device: str,
        task: str,
        precision: Precision = "float32",
        time_limit: float | None = None,
        make_car: CarMaker | None = None,
    ) -> Segmenter:
        """The segmenter on its models, for a task. Raises ModelError.

        time_limit: seconds per image, for a method from outside. make_car: builds CaR in place of `CaR.from_config`.
        """
        if isinstance(config, CaRConfig):
            from car_core import CaR

            return (make_car or CaR.from_config)(config, weights=weights, device=device, precision=precision)
        from car_core.baselines import load_baseline

        one_mask = find_task(task).one_mask
        return load_baseline(config, weights=weights.get("proposal", ""), device=device, one_mask=one_mask)


METHODS: Mapping[str, Method] = {name: Method(name) for name in METHOD_TITLES} | {
    CAR: Method(CAR, ROLES),
    "sam3": Method("sam3", ()),
}
"""The methods of car-eval."""


def find_method(name: str) -> Method:
    """A method of car-eval, or one from outside: an entry point, ``module:Class`` or ``file.py:Class``.

    Raises PluginError for an unknown one, with near matches, and for one that cannot be used.
    """
    plugin = find_plugin("methods", name, METHODS, "method")
    if plugin is None:
        return METHODS[name]
    from evaluation.request.own_methods import check_own_method

    return check_own_method(plugin)


def able_methods(names: str, task: str, settings: Mapping[str, Any]) -> dict[str, Method]:
    """The methods of names with commas between them, by how they are asked for.

    `all` stands for those of ours that can do the task; one that needs further models takes part if settings name
    each. Raises BenchmarkError for two of one name.
    """
    named, given, found = [name.strip() for name in names.split(",")], set(_paths(settings)), dict[str, Method]()
    for name in (own for each in named for own in (METHODS if each == ALL else [each])):
        method = find_method(name)
        asks = method.baseline.extra_model_settings if method.baseline else ()
        if name in named or (task in method.tasks and all(each & given for each in asks)):
            found[name] = method
    for name, times in Counter(method.name for method in found.values()).items():
        if times > 1:
            both = " and ".join(asked for asked, method in found.items() if method.name == name)
            raise BenchmarkError(f"method: expected methods of different names, found {name!r} in {both}")
    return found


def is_several(names: str) -> bool:
    """Whether `--method` asks for more than one."""
    return names == ALL or "," in names


def settings_by_method(settings: Mapping[str, Any], others: Collection[Method] = ()) -> dict[str, dict[str, Any]]:
    """For every method of ours, and these others, the settings that it has a field for.

    Raises BenchmarkError for one that none has.
    """
    found = {method.name: method.accepted(settings) for method in (*METHODS.values(), *others)}
    taken = {path for own in found.values() for path in _paths(own)}
    if unknown := next((path for path in _paths(settings) if path not in taken), None):
        known = dict.fromkeys(name for method in (*METHODS.values(), *others) for name in method.fields)
        raise BenchmarkError(f"{unknown}: no method has this setting{did_you_mean(unknown, known)}")
    return found


def _paths(settings: Mapping[str, Any]) -> Iterator[str]:
    """The names of settings, those inside another as ``sam.model``."""
    for key, value in settings.items():
        yield from (f"{key}.{name}" for name in value) if isinstance(value, Mapping) and value else [key]
