"""The data and weights of a run; the embedded miniature is used only where a benchmark says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from car_core.config import Config
from car_core.names import MINIATURE, ROLES, model_of
from dataset_adapters import embedded_root, holds
from evaluation.request.benchmark import Benchmark, BenchmarkError, benchmark_names, built_in
from support.choices import SetBy

DEFAULT_DATA = Path("data")
"""The folder that is searched for data sets without a data root: VOCdevkit, coco, refer in it."""
ConfigT = TypeVar("ConfigT", bound=Config)
_EMOJI_FIGURES = "figures not comparable with the paper's"


class UnnamedInputError(BenchmarkError):
    """Data or weights that were not named and have no default.

    problem: one line. ways: what to add or run instead, with what it means; each works.
    """

    def __init__(self, problem: str, ways: Mapping[str, str]) -> None:
        super().__init__(f"{problem}: {' or '.join(ways)}")
        self.problem, self.ways = problem, ways

    def __reduce__(self) -> tuple[type[UnnamedInputError], tuple[str, Mapping[str, str]]]:
        return type(self), (self.problem, self.ways)


def find_data(benchmark: Benchmark, data_root: Path | None) -> Path:
    """The folder of the data set: the named one, the miniature's for an embedded benchmark, else `DEFAULT_DATA`.

    Raises UnnamedInputError if none was named and the data set is not in that folder.
    """
    if data_root or benchmark.embedded:
        return data_root or embedded_root()
    if holds(DEFAULT_DATA, benchmark.adapter):
        return DEFAULT_DATA
    minis = {own.adapter: own.name for own in map(built_in, benchmark_names()) if own and own.embedded}
    mini = f"car eval {minis.get(benchmark.adapter, 'mini-voc')}"
    raise UnnamedInputError(
        f"{benchmark.name}: expected its data, found no --data-root and no {benchmark.adapter} files in "
        f"{DEFAULT_DATA}/",
        {
            "--data-root DIR": "its folder in the official layout; `car data list` names what can be downloaded",
            mini: f"emoji scenes inside this package; {_EMOJI_FIGURES}",
        },
    )


def find_weights(
    weights: str | Mapping[str, str | None] | None, roles: Sequence[str] = ROLES, *, embedded: bool = False
) -> dict[str, str]:
    """The weights of the models that are needed, by role. embedded: whether the miniature's are the default.

    Raises UnnamedInputError for a model whose weights were not named.
    """
    named = {role: weights_by_role(weights).get(role) or (MINIATURE if embedded else None) for role in roles}
    if unnamed := [role for role, name in named.items() if not name]:
        field = "weights" if len(unnamed) == len(named) else f"{unnamed[0]}_weights"
        option = f"--{field.replace('_', '-')}"
        raise UnnamedInputError(
            f"{field}: expected the weights of CLIP, found none named",
            {
                f"{option} openai": "those of the paper, downloaded once; or a file of yours",
                f"{option} {MINIATURE}": f"a small model that knows emoji, not photos; {_EMOJI_FIGURES}",
            },
        )
    return {role: str(name) for role, name in named.items()}


def weights_by_role(weights: str | Mapping[str, str | None] | None) -> Mapping[str, str | None]:
    """Weights of both models, or by role, as a mapping by role; None where not named."""
    return weights if isinstance(weights, Mapping) else dict.fromkeys(ROLES, weights)


def with_own_models(
    config: ConfigT, set_by: Mapping[str, SetBy], weights: Mapping[str, str]
) -> tuple[ConfigT, dict[str, SetBy]]:
    """The configuration with the architectures that belong to the weights, and who set each field.

    Raises BenchmarkError if the user chose another architecture for such weights.
    """
    fields = {f"{role}_model": model_of(getattr(config, f"{role}_model"), weights[role]) for role in weights}
    changed = {field: model for field, model in fields.items() if model != getattr(config, field)}
    for field in changed:
        if set_by[field] == "user":
            raise BenchmarkError(
                f"{field}: expected weights for {getattr(config, field)!r} (--weights), found only the miniature's"
            )
    return config.model_copy(update=changed), {**set_by, **dict.fromkeys(changed, "default")}
