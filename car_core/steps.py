"""The steps of the recurrence, as kept in a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from support.arrays import Float32Array, RGBArray


@dataclass(frozen=True)
class Step:
    """One step of the recurrence. n = number of queries alive in it."""

    queries: tuple[int, ...]  # indices into Segmentation.queries, alive in this step
    scores: Float32Array  # [n], P_ii in [0, 1]
    kept: tuple[int, ...]  # indices into Segmentation.queries that survive this step
    proposals: Float32Array | None = field(default=None, repr=False)  # [n, H, W] in [0, 1]; None unless traced
    # uint8 [n, H, W, 3], the images g was shown; None unless traced
    prompted: RGBArray | None = field(default=None, repr=False)


def step_names(steps: Sequence[Step]) -> list[str]:
    """ "step 1", "step 2", ...; "pass 2, step 1" and so on if things and stuff were segmented separately."""
    numbers: list[tuple[int, int]] = []  # of the pass, and of the step in it
    alive: set[int] = set()
    for step in steps:
        # Only a new pass has queries that did not survive the step before.
        if numbers and alive.issuperset(step.queries):
            numbers.append((numbers[-1][0], numbers[-1][1] + 1))
        else:
            numbers.append((numbers[-1][0] + 1 if numbers else 1, 1))
        alive = set(step.kept)
    several = bool(numbers) and numbers[-1][0] > 1
    return [f"pass {turn}, step {number}" if several else f"step {number}" for turn, number in numbers]
