"""Where a run's data and weights come from, and the embedded miniature where the user names none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from car_core.config import Config
from car_core.models.names import MINIATURE, ROLES, model_of
from dataset_adapters import DatasetError, embedded_root, holds, is_embedded
from evaluation.request.benchmark import Benchmark, BenchmarkError, Source

DEFAULT_DATA = Path("data")
"""Where data sets are looked for when no data root is given: VOCdevkit, coco, refer below it."""
ConfigT = TypeVar("ConfigT", bound=Config)
NOT_COMPARABLE = "miniature: not comparable with the paper"
_CONSEQUENCE = "its figures are not comparable with the paper's"


@dataclass(frozen=True)
class Inputs:
    """data_root: folder of the data set. weights: name or file by role. notices: one line per input that was not named.

    remark: why the figures are not comparable with the paper's; None where they are.
    """

    data_root: Path
    weights: Mapping[str, str]
    notices: tuple[str, ...]
    remark: str | None


def resolve_inputs(
    benchmark: Benchmark,
    data_root: Path | None,
    weights: str | Mapping[str, str | None] | None,
    roles: Sequence[str] = ROLES,
) -> Inputs:
    """Fill in what was not named: data from `DEFAULT_DATA` if they are there, else the miniature's; its weights.

    roles: the models that are needed. An embedded benchmark uses the miniature without a notice. Raises DatasetError if
    the data set is in neither folder.
    """
    root, data_notices = data_root or embedded_root(), []
    if not data_root and not benchmark.embedded:
        if holds(DEFAULT_DATA, benchmark.adapter):
            root = DEFAULT_DATA
        elif holds(root, benchmark.adapter):
            absent = f"no --data-root and nothing of {benchmark.adapter} in {DEFAULT_DATA}/"
            data_notices = [f"{absent}: using the embedded miniature's data; {_CONSEQUENCE}"]
        else:
            raise DatasetError(
                f"--data-root: expected the folder of {benchmark.adapter}, found none given, nothing of it in "
                f"{DEFAULT_DATA}/ and nothing of it in the embedded miniature"
            )
    named = {role: weights_by_role(weights).get(role) for role in roles}
    chosen = {role: name or MINIATURE for role, name in named.items()}
    about_weights = [] if benchmark.embedded else weights_notices(named)
    foreign = benchmark.embedded or MINIATURE in chosen.values() or is_embedded(root)
    notices = (*about_weights, *data_notices)
    return Inputs(root, chosen, notices, NOT_COMPARABLE if foreign else None)


def weights_by_role(weights: str | Mapping[str, str | None] | None) -> Mapping[str, str | None]:
    """Weights of both models, or by role, as a mapping by role; None where not named."""
    return weights if isinstance(weights, Mapping) else dict.fromkeys(ROLES, weights)


def weights_notices(named: Mapping[str, str | None], consequence: str = _CONSEQUENCE) -> list[str]:
    """A line about the weights that were not named (None), by role, and the consequence; empty where all were."""
    unnamed = [role for role, name in named.items() if not name]
    if not unnamed:
        return []
    option = "--weights" if len(unnamed) == len(named) else f"--{unnamed[0]}-weights"
    return [f"no {option}: using the embedded miniature; {consequence}"]


def with_own_models(
    config: ConfigT, set_by: Mapping[str, Source], weights: Mapping[str, str]
) -> tuple[ConfigT, dict[str, Source]]:
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
