"""A method that ran elsewhere, of which only the predictions exist here: its name and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from car_core.config import Config
from evaluation.request.benchmark import Benchmark, BenchmarkError
from evaluation.request.methods import Method
from evaluation.request.options import Predictions, PredictionValues
from support.choices import Profile, SetBy
from support.files import expanded
from support.text import shortened, visible

_LONGEST = 80


class PredictedConfig(Config):
    """The settings of a method that ran elsewhere: equal ones make two scored folders the same."""

    method: str = Field(description="name of what made the predictions")
    values: PredictionValues = Field(default="labels", description="what pixels hold")
    predictions_sha256: str = Field(default="", description="hash of the predictions of the samples")


@dataclass(frozen=True)
class PredictedMethod(Method):
    """A method that ran elsewhere: it needs no weights and serves every task."""

    roles: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: Predictions) -> PredictedMethod:
        """The method by the name that was given, or by that of the folder or file. Raises BenchmarkError."""
        path = expanded(asked.path)
        if not path.exists():
            raise BenchmarkError(f"predictions: expected a folder, or a file (.json, .npz), found nothing: {path}")
        whole = path.resolve()
        name = asked.name or (whole.name if whole.is_dir() else whole.stem)
        if not 0 < len(name) <= _LONGEST or "/" in name or name != visible(name) or name.startswith("."):
            expected = f"a name of at most {_LONGEST} characters without slashes that does not begin with a dot"
            raise BenchmarkError(f"name: expected {expected}, found {shortened(visible(name))!r}")
        return cls(name)

    @property
    def names(self) -> None:
        """None: its texts were chosen elsewhere."""

    @property
    def config(self) -> type[Config]:
        return PredictedConfig

    def resolve(
        self, benchmark: Benchmark, task: str, profile: Profile | None, settings: Mapping[str, Any]
    ) -> tuple[Config, dict[str, SetBy]]:
        """Its settings before its files are read; none is the user's, since none changes what it predicted."""
        return PredictedConfig(method=self.name), dict.fromkeys(PredictedConfig.model_fields, "default")
