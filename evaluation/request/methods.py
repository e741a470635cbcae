"""Methods that a benchmark can be run with: CaR, and the baselines of `car_core.baselines`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from car_core.config import CaRConfig, Config, Precision, Profile
from car_core.errors import ConfigError
from car_core.models.names import ROLES
from evaluation.request.benchmark import Benchmark, BenchmarkError, Source, resolve_config
from evaluation.request.options import ALL, CAR
from evaluation.tasks.task import TASKS
from results.tables.run_notes import METHOD_TITLES
from support.text import unknown_name

if TYPE_CHECKING:
    from car_core import CaR
    from car_core.baselines import Baseline
    from evaluation.tasks.segmenter import ConfiguredSegmenter

CarMaker = Callable[..., "CaR"]  # with the signature of CaR.from_config


@dataclass(frozen=True)
class Method:
    """roles: the models that it needs weights for. tasks: those that it can do."""

    name: str
    roles: tuple[str, ...] = ("proposal",)
    tasks: Set[str] = frozenset({"semantic"})

    @cached_property
    def baseline(self) -> Baseline | None:
        """The method in `car_core.baselines`, which imports torch; None for CaR."""
        if self.name == CAR:
            return None
        from car_core.baselines import BASELINES

        return BASELINES[self.name]

    @property
    def config(self) -> type[Config]:
        """The class of its settings."""
        return self.baseline.config if self.baseline else CaRConfig

    def resolve(
        self, benchmark: Benchmark, task: str, profile: Profile | None, settings: Mapping[str, Any]
    ) -> tuple[Config, dict[str, Source]]:
        """The configuration of a run, and who set each field. Raises BenchmarkError naming field or option."""
        if task not in self.tasks:
            raise BenchmarkError(f"--method: expected {CAR} for a benchmark of the task {task}, found {self.name!r}")
        if self.name == CAR:
            return resolve_config(benchmark, profile or benchmark.profile, settings)
        if profile:
            raise BenchmarkError(f"--profile: expected none, since {self.name} has no profiles, found {profile!r}")
        fields = self.config.model_fields
        shared = {field: value for field, value in benchmark.baselines.get(ALL, {}).items() if field in fields}
        own = {**shared, **benchmark.baselines.get(self.name, {})}
        try:
            config = self.config(**{**own, **settings})
        except ConfigError as error:
            raise BenchmarkError(str(error)) from None
        set_by: dict[str, Source] = {**dict.fromkeys(fields, "default"), **dict.fromkeys(own, "benchmark")}
        return config, {**set_by, **dict.fromkeys(settings, "user")}

    def check_precision(self, precision: Precision) -> None:
        """Raise BenchmarkError for a precision that the method does not have."""
        if self.name != CAR and precision != "float32":
            raise BenchmarkError(f"--precision: expected float32 with --method {self.name}, found {precision!r}")

    def build(
        self,
        config: Config,
        *,
        weights: Mapping[str, str],
        device: str,
        precision: Precision = "float32",
        make_car: CarMaker | None = None,
    ) -> ConfiguredSegmenter:
        """The segmenter on its models. make_car: builds CaR in place of `CaR.from_config`. Raises ModelError."""
        if isinstance(config, CaRConfig):
            from car_core import CaR

            return (make_car or CaR.from_config)(config, weights=weights, device=device, precision=precision)
        from car_core.baselines import load_baseline

        return load_baseline(config, weights=weights[self.roles[0]], device=device)  # type: ignore[arg-type]


METHODS: Mapping[str, Method] = {name: Method(name) for name in METHOD_TITLES} | {CAR: Method(CAR, ROLES, TASKS.keys())}


def find_method(name: str) -> Method:
    """The method of that name. Raises BenchmarkError for an unknown one, with near matches."""
    if name not in METHODS:
        raise BenchmarkError(unknown_name("--method", name, METHODS))
    return METHODS[name]


def able_methods(task: str, settings: Mapping[str, Any]) -> list[Method]:
    """All methods that can do the task; one that needs a further model takes part if a setting names it."""
    found = []
    for method in METHODS.values():
        asks = method.baseline.extra_model_settings if method.baseline else frozenset[str]()
        if task in method.tasks and (not asks or asks & settings.keys()):
            found.append(method)
    return found


def settings_by_method(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For every method the settings that it has a field for. Raises BenchmarkError for one that none has."""
    for field in settings:
        if not any(field in method.config.model_fields for method in METHODS.values()):
            raise BenchmarkError(f"{field}: expected a field of a method, found one of none")
    return {
        name: {field: value for field, value in settings.items() if field in method.config.model_fields}
        for name, method in METHODS.items()
    }
