"""The steps of the recurrence, as a segmentation keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from support.arrays import Float32Array, RGBArray


@dataclass(frozen=True)
class Step:
    """One step of the recurrence. n = number of queries alive in it."""

    queries: tuple[int, ...]  # indices into Segmentation.queries, alive in this step
    scores: Float32Array  # [n], P_ii in [0, 1]
    kept: tuple[int, ...]  # indices into Segmentation.queries that survive this step
    proposals: Float32Array | None = None  # [n, H, W] in [0, 1]; None unless traced
    prompted: RGBArray | None = None  # uint8 [n, H, W, 3], the images g was shown; None unless traced


def step_names(steps: Sequence[Step]) -> list[str]:
    """ "step 1", "step 2", ...; where things and stuff were segmented separately, "pass 1, step 1" and so on."""
    numbers: list[tuple[int, int]] = []  # of the pass and of the step in it
    kept: set[int] = set()
    for step in steps:
        n_pass, n_step = numbers[-1] if numbers else (0, 0)
        # Only a new pass has queries that did not survive the step before.
        same_pass = bool(numbers) and kept.issuperset(step.queries)
        numbers.append((n_pass, n_step + 1) if same_pass else (n_pass + 1, 1))
        kept = set(step.kept)
    several = bool(numbers) and numbers[-1][0] > 1
    return [f"pass {n_pass}, step {n_step}" if several else f"step {n_step}" for n_pass, n_step in numbers]
