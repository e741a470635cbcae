"""The Ray cluster that a run asks for, and what is refused before any work."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from support.errors import UserError


class ClusterError(UserError, ValueError):
    """No Ray, no cluster, or a node that would give other figures. One line: what was expected, what was found."""


@dataclass(frozen=True)
class Cluster:
    """The nodes that actors run on, and what each takes.

    address: of a running cluster, "auto" for the one of this machine; None: $RAY_ADDRESS, else a new Ray on this
    machine. actors: how many (pending ones make an autoscaler start nodes); None: as many as the nodes have room for
    at the time. cpus, gpus: per actor; a fraction lets actors share a GPU.
    """

    address: str | None = None
    actors: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def check(self, device: str) -> None:
        """Raise ClusterError where Ray is absent or the options contradict the device."""
        import_ray()
        if self.actors is not None and self.actors < 1:
            raise ClusterError(f"actors: expected at least 1, found {self.actors}")
        if device not in ("auto", "cpu", "cuda"):
            raise ClusterError(
                f"device: expected cpu (auto) or cuda with --engine ray, which picks the GPU, found {device}"
            )
        if self.gpus < 0 or self.cpus < 0 or (device == "cuda") != (self.gpus > 0):
            raise ClusterError(
                f"actor_gpus: expected {'more than 0 with' if device == 'cuda' else '0 without'} --device cuda, "
                f"found {self.gpus:g} (actor_cpus {self.cpus:g})"
            )

    @property
    def resources(self) -> dict[str, float]:
        """The resources of an actor, by Ray's names."""
        return {name: amount for name, amount in (("CPU", self.cpus), ("GPU", self.gpus)) if amount}


def import_ray() -> Any:
    """The module `ray`. Raises ClusterError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    try:
        import ray
    except ImportError:
        raise ClusterError("engine: expected ray (pip install 'car-eval[distributed]'), found none") from None
    return ray
