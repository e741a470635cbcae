"""Choose background queries, thresholds or the prompts of the miniature's benchmarks on the tuning split, in turn.

python tools/miniature/tune.py [--weights FILE] [--benchmark voc21 ...]

The tuning split shows training styles only, so nothing is chosen on the images that are shipped as `val`.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from car_core import CaR
from car_core.config import COMMON_BACKGROUND
from car_core.models.weights import load_clip
from evaluation import RunOptions
from evaluation.run.prepare import prepare
from evaluation.run.runner import run_prepared

ROOTS = {"voc21": "VOCdevkit", "coco-object": "coco", "context60": "VOCdevkit", "refcoco-val": "refer"}
FIGURES = {"voc21": "miou", "coco-object": "miou", "context60": "miou", "refcoco-val": "miou_mean_over_samples"}
BACKGROUNDS = (
    *("grass", "sky", "sand", "water", "wall", "road", "snow", "wood"),
    *("rock", "ground", "floor", "curtain", "fence", "railway"),
)
"""What the miniature's scenes have behind their objects, as CaR's background queries are what photos have."""
GRID: dict[str, Sequence[Any]] = {
    "theta": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    "eta": (0.3, 0.4, 0.5, 0.6),
    "lambda_": (0.3, 0.4, 0.5, 0.6, 0.7),
    "background": (COMMON_BACKGROUND, BACKGROUNDS, tuple(dict.fromkeys((*COMMON_BACKGROUND, *BACKGROUNDS)))),
    "prompts": (["circle", "blur"], ["blur"], ["circle", "blur", "gray"], ["mask"], ["contour", "blur"]),
}


class Tuner:
    """Runs one benchmark under changing settings and remembers what each scored."""

    def __init__(self, benchmark: str, data: Path, weights: str, settings: dict[str, Any]) -> None:
        self.benchmark, self.data, self.weights = benchmark, data, weights
        self.best = settings
        self._make_car = functools.partial(CaR.from_config, load=functools.cache(load_clip))
        self._scores: dict[str, float] = {}

    def score(self, settings: dict[str, Any]) -> float:
        """mIoU in percent under these settings."""
        key = json.dumps(settings, sort_keys=True)
        if key not in self._scores:
            with tempfile.TemporaryDirectory() as folder:
                options = RunOptions(
                    self.benchmark,
                    data_root=self.data / ROOTS[self.benchmark],
                    weights=self.weights,
                    profile="paper",
                    settings=settings,
                    out=Path(folder) / "run",
                    quiet=True,
                )
                header = run_prepared(prepare(options, make_car=self._make_car)).header
            self._scores[key] = 100 * float(header.metrics[FIGURES[self.benchmark]])
            print(f"{self.benchmark} {key} miou {self._scores[key]:.2f}", flush=True)
        return self._scores[key]

    def choose(self, field: str) -> None:
        """Set one field to its best value of the grid, the others as they are."""
        self.best = max(({**self.best, field: value} for value in GRID[field]), key=self.score)


def main() -> None:
    """Print every score and the choice for each benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("dataset_adapters/miniature/tuning"))
    parser.add_argument("--weights", default="miniature")
    parser.add_argument("--benchmark", nargs="+", default=list(ROOTS), choices=list(ROOTS))
    parser.add_argument(
        "--fields", nargs="+", default=["theta", "lambda_", "eta"], choices=list(GRID), help="in this order"
    )
    parser.add_argument("--start", type=json.loads, default={}, help="settings to start from, as JSON")
    options = parser.parse_args()
    for benchmark in options.benchmark:
        tuner = Tuner(benchmark, options.data, options.weights, options.start)
        for field in options.fields:
            tuner.choose(field)
        print(f"{benchmark}: chosen {tuner.best}, miou {tuner.score(tuner.best):.2f}", flush=True)


if __name__ == "__main__":
    main()
