"""What is declared and what is pinned agree, with each other and with what the pinned packages ask for."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import results
from results.golden import MINIATURE

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")

ROOT = Path(__file__).parents[1]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """The pinned version of each package."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pinned = [Requirement(line) for line in lines if line]
    return {canonical(each.name): str(each.specifier).removeprefix("==") for each in pinned}


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def test_the_miniatures_expected_figures_are_packed() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["results"]
    packed = {path for pattern in patterns for path in Path(results.__path__[0]).glob(pattern)}
    assert MINIATURE in packed


def test_pins_are_what_the_project_asks_for() -> None:
    extras = project()["optional-dependencies"].values()
    asked = [Requirement(text) for text in (*project()["dependencies"], *(text for extra in extras for text in extra))]
    pinned = pins()
    for each in asked:
        if each.name != "car-eval":
            assert each.specifier.contains(pinned[canonical(each.name)]), each


@pytest.mark.parametrize("name", ["gradio", "datasets", "open_clip_torch", "transformers", "ray", "mkdocs-material"])
def test_pins_are_what_the_pinned_packages_ask_for(name: str) -> None:
    try:
        texts = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    pinned = pins()
    for each in map(Requirement, texts):
        version = pinned.get(canonical(each.name))
        if version and (each.marker is None or each.marker.evaluate({"extra": ""})):
            assert each.specifier.contains(version), each
