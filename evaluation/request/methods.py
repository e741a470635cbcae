"""Methods that a benchmark can be run with: CaR, and the baselines of `car_core.baselines`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from car_core import CaR, CaRConfig, ConfigError
from car_core.baselines import BASELINES, load_baseline
from car_core.config import Config, Precision, Profile
from car_core.models.weights_names import ROLES
from evaluation.request.benchmark import ALL, CAR, Benchmark, BenchmarkError, Source, resolve_config
from evaluation.tasks.segmenter import ConfiguredSegmenter
from evaluation.tasks.task import TASKS
from support.text import unknown_name


@dataclass(frozen=True)
class Method:
    """config: the class of its settings. roles: the models that it needs weights for. tasks: those that it can do.
    asks: settings that name a further model; `--method all` leaves the method out where none of them is set.
    load_asked: loads that model, raising ModelError where it cannot be had; None where there is none."""

    name: str
    config: type[Config]
    roles: tuple[str, ...]
    tasks: Set[str]
    asks: frozenset[str] = frozenset()
    load_asked: Callable[[Any], object] | None = None

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
        return _resolve_baseline(self, benchmark, settings)

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
        make_car: Callable[..., CaR] = CaR.from_config,
    ) -> ConfiguredSegmenter:
        """The segmenter on its models. make_car: builds CaR as `CaR.from_config` does.

        Raises ModelError, and BenchmarkError for a precision that the method does not have.
        """
        if isinstance(config, CaRConfig):
            return make_car(config, weights=weights, device=device, precision=precision)
        self.check_precision(precision)
        return load_baseline(config, weights=weights[self.roles[0]], device=device)  # type: ignore[arg-type]


METHODS: Mapping[str, Method] = {
    CAR: Method(CAR, CaRConfig, ROLES, TASKS.keys()),
    **{
        name: Method(name, baseline.config, ("proposal",), frozenset({"semantic"}), baseline.asks, baseline.load_asked)
        for name, baseline in BASELINES.items()
    },
}


def find_method(name: str) -> Method:
    """The method of that name. Raises BenchmarkError for an unknown one, with near matches."""
    if name not in METHODS:
        raise BenchmarkError(unknown_name("--method", name, METHODS))
    return METHODS[name]


def settings_by_method(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For every method the settings that it has a field for. Raises BenchmarkError for one that none has."""
    for field in settings:
        if not any(field in method.config.model_fields for method in METHODS.values()):
            raise BenchmarkError(f"{field}: expected a field of a method, found one of none")
    return {
        name: {field: value for field, value in settings.items() if field in method.config.model_fields}
        for name, method in METHODS.items()
    }


def _resolve_baseline(
    method: Method, benchmark: Benchmark, settings: Mapping[str, Any]
) -> tuple[Config, dict[str, Source]]:
    fields = method.config.model_fields
    shared = {field: value for field, value in benchmark.baselines.get(ALL, {}).items() if field in fields}
    own = {**shared, **benchmark.baselines.get(method.name, {})}
    try:
        config = method.config(**{**own, **settings})
    except ConfigError as error:
        raise BenchmarkError(str(error)) from None
    by: dict[str, Source] = {**dict.fromkeys(fields, "default"), **dict.fromkeys(own, "benchmark")}
    return config, {**by, **dict.fromkeys(settings, "user")}
