"""What makes two runs the same run: everything that changes numbers, and nothing else."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from car_core.config import Config
from evaluation.request.options import NotInIdentity, RunOptions, marks
from evaluation.request.own_methods import OwnConfig

# Left out of the identity, each with its reason: options of a run and fields of a configuration. A test pins this list.
EXCLUDED = {name: mark.reason for name, mark in marks(RunOptions, NotInIdentity).items()} | {
    "proposal_model": "a name or path; the sha256 of the architecture stands for it",
    "classifier_model": "a name or path; the sha256 of the architecture stands for it",
    "sam.model": "a name or path; the sha256 of its weights stands for it",
    "model": "a name or path; the sha256 of its weights stands for it",
    "dino_model": "a name; the sha256 of its architecture and weights stand for it",
    "dino_weights": "a name or path; the sha256 of the weights stands for it",
    "weights_name": "a name or path where a file's sha256 is known",
}

# Sources whose change can change a figure, relative to the installation.
_NUMERIC_SOURCES = (
    "car_core",
    "dataset_adapters",
    "evaluation/tasks",
    "evaluation/engines",
    "evaluation/request/own_segmenter.py",
    "evaluation/run/predictions.py",
)
_ROOMS = ("support", "car_core", "dataset_adapters", "evaluation", "results")
# Drawings, saved files, downloads of files whose fingerprint counts, comparisons before work, and re-exported names.
_NOT_NUMERIC = (
    "car_core/drawing/",
    "dataset_adapters/prepare/",
    "dataset_adapters/statistics.py",
    "dataset_adapters/user_data/proof.py",
    "evaluation/tasks/saving.py",
    "evaluation/tasks/coco_json.py",
    "car_core/__init__.py",
    "dataset_adapters/__init__.py",
)


def ids_digest(ids: Sequence[str]) -> str:
    """sha256 of the ids of a run's samples, in order."""
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogateescape")).hexdigest()


def of_identity(config: Config) -> dict[str, Any]:
    """What the identity says of a configuration: JSON values."""
    return config.of_identity() if isinstance(config, OwnConfig) else _without_excluded(config.model_dump(mode="json"))


def _without_excluded(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without_excluded(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in fields.items()
        if f"{prefix}{key}" not in EXCLUDED
    }


@functools.cache  # what a process computes with is what it found at its start
def code_digest(root: Path = Path(__file__).parents[2]) -> str:
    """sha256 over what the sources that turn files into counts compute, so that records of other code are not reused.

    It covers the parsed statements of all files as one unordered set. Comments, docstrings, layout, the file that a
    statement is in, and the modules of ours that names are imported from do not count, so that records survive moves.
    (A name imported from another of our modules that has the same name for something else is not noticed.)
    """
    statements: set[str] = set()
    for source in _NUMERIC_SOURCES:
        path = root / source
        for file in [path] if path.is_file() else path.rglob("*.py"):
            if not file.relative_to(root).as_posix().startswith(_NOT_NUMERIC):
                for node in ast.parse(file.read_bytes()).body:
                    if isinstance(node, ast.ImportFrom) and _is_own_import(node):
                        statements |= {_canonical(alias) for alias in node.names}
                    elif not _is_comment(node):
                        statements.add(_canonical(node))
    return hashlib.sha256("\n".join(sorted(statements)).encode()).hexdigest()


def _canonical(node: object) -> str:
    """A syntax tree as text, the same under every version of Python: without positions, docstrings and empty fields."""
    if isinstance(node, list):
        return f"[{','.join([_canonical(item) for item in node if not _is_comment(item)])}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name in node._fields:  # a hundred thousand nodes: plain loops take half the time
        value = getattr(node, name, None)
        if value is None or value == []:
            continue
        if name == "module" and _is_own_import(node):  # inside a function, or only for types
            continue
        fields.append(f"{name}={_canonical(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_own_import(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in _ROOMS


def _is_comment(node: object) -> bool:
    """Whether a statement is only a text: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
