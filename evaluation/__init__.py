"""Benchmarks, metrics and runs. ``evaluate`` is what ``car eval`` calls.

>>> import tempfile
>>> from pathlib import Path
>>> from evaluation import RunOptions, evaluate
>>> with tempfile.TemporaryDirectory() as folder:
...     run = evaluate(RunOptions("mini-voc", limit=1, workers=0, device="cpu", quiet=True, out=Path(folder) / "run"))
...     sorted(path.name for path in run.path.iterdir())
['.lock', 'run.json', 'samples.jsonl', 'table.csv', 'table.md']
>>> run.header.counts.n_total, run.header.counts.n_failed, 0 <= run.header.metrics["miou"] <= 1
(1, 0, True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import support  # noqa: F401  before torch

if TYPE_CHECKING:
    from evaluation.request.options import RunOptions
    from evaluation.request.own_methods import OwnMethod
    from evaluation.run.runner import Run, evaluate

__all__ = ["OwnMethod", "Run", "RunOptions", "evaluate"]
_HOMES = {"RunOptions": "evaluation.request.options", "OwnMethod": "evaluation.request.own_methods"}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # torch and open_clip take seconds to import; `car --help` must not wait for them.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "evaluation.run.runner")), name)
