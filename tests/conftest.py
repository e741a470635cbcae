"""One thread per test process, and small trees."""

from __future__ import annotations

import os

# Before torch is imported: the models of the tests are so small that a second thread only waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import typer.testing
from helpers import made_trees
from helpers.made_trees import CocoTree, ContextTree, VocTree
from helpers.plugin_package import install as install  # a fixture

# CliRunner would build all commands anew for each call, which takes longer than most calls.
typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _no_limit_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--max-pixels`` sets a variable, which would stay for the tests that follow."""
    monkeypatch.setenv("CAR_MAX_PIXELS", "")


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[[Sequence[str]], VocTree]:
    """A function that writes a tree with these ids as its val split."""
    return functools.partial(made_trees.make_voc, tmp_path / "data")


@pytest.fixture
def voc(make_voc: Callable[[Sequence[str]], VocTree]) -> VocTree:
    """Seven samples, listed out of alphabetical order."""
    return make_voc([f"2007_{number:06d}" for number in (33, 61, 129, 42, 7, 500, 1)])


@pytest.fixture
def coco(tmp_path: Path) -> CocoTree:
    """Four images; the test writes the labels it wants."""
    return made_trees.make_coco(tmp_path / "data")


@pytest.fixture
def context(tmp_path: Path) -> ContextTree:
    """Three images; the test writes the labels it wants."""
    return made_trees.make_context(tmp_path / "data")
