"""Options of the evaluation rather than the method: how targets are built and where masks are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from car_core.config import Config
from dataset_adapters import option_choices
from evaluation.request.benchmark import Benchmark, BenchmarkError, resolve_config
from evaluation.tasks.task import find_task


@dataclass(frozen=True)
class Protocol:
    """data: options of the adapter. scoring: options of the task's metrics. Both are part of a run's identity."""

    data: Mapping[str, str]
    scoring: Mapping[str, str]

    def as_dict(self) -> dict[str, str]:
        """Both in one mapping; their names never collide."""
        return {**self.data, **self.scoring}


def resolve_protocol(benchmark: Benchmark, task: str, config: Config, given: Mapping[str, str]) -> Protocol:
    """The protocol of a run: the defaults, updated with the benchmark's values, then with the user's ``given``.

    An option of the data set that has the name of a configuration field takes that field's value; for a method without
    that field, CaR's value in this benchmark is the default, so that all methods have the same samples. Raises
    BenchmarkError for an unknown option or value, and for such a field in ``given``.
    """
    data, scoring = option_choices(benchmark.adapter), find_task(task).choices
    switches = {name: str(getattr(config, name)) for name in data if name in type(config).model_fields}
    choices = {name: values for name, values in {**data, **scoring}.items() if name not in switches}
    own = benchmark.protocol_of(getattr(config, "profile", None))
    of_car = vars(resolve_config(benchmark, benchmark.profile, {})[0])
    defaults = {name: str(of_car.get(name, values[0])) for name, values in choices.items()}
    chosen = {**defaults, **own, **given}
    for name, value in chosen.items():
        where = f"protocol: {name}" if name in given else f"benchmark {benchmark.name}: protocol.{name}"
        if name in switches:
            raise BenchmarkError(f"{where}: this is a switch of the configuration; use --set {name}={value}")
        if not choices:
            raise BenchmarkError(f"{where}: {benchmark.name} has no protocol options")
        if name not in choices:
            raise BenchmarkError(f"{where}: expected an option of {', '.join(choices)}")
        if value not in choices[name]:
            raise BenchmarkError(f"{where}: expected one of {', '.join(choices[name])}, found {value!r}")
    return Protocol(
        data={name: {**chosen, **switches}[name] for name in data}, scoring={name: chosen[name] for name in scoring}
    )
