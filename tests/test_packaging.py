"""What is declared and what is pinned agree, with each other and with what the pinned packages ask for."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import results
from results.tables.golden import MINIATURE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
PYTHONS: list[str] = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python-version"]
"""Those that the tests run on."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


def version_of(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


def holds(marker: Marker | None, python: str) -> bool:
    return marker is None or marker.evaluate({"python_version": python})


def pins() -> dict[str, str]:
    """The pinned version of each package, on this Python."""
    here = ".".join(map(str, sys.version_info[:2]))
    return {canonical(each.name): version_of(each) for each in pinned() if holds(each.marker, here)}


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


def test_the_oldest_python_that_the_project_asks_for_is_tested() -> None:
    assert project()["requires-python"] == f">={PYTHONS[0]}"


@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_pinned_for_a_python_runs_on_it(python: str) -> None:
    """As the installed packages tell; a pin that is too new for another Python must say so."""
    wrong, seen = [], 0
    for pin in pinned():
        try:
            there = importlib.metadata.distribution(pin.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if holds(pin.marker, python) and there.version.partition("+")[0] == version_of(pin):
            seen += 1
            newest = f"{python}.99"  # a lower bound may name a patch
            if not SpecifierSet(there.metadata["Requires-Python"] or "").contains(newest):
                wrong.append(f"{pin}: {there.metadata['Requires-Python']}")
    assert seen > 50
    assert not wrong


@pytest.mark.parametrize("python", PYTHONS)
def test_a_pin_for_some_pythons_has_one_for_the_others(python: str) -> None:
    """A package without a pin for a Python that needs it is whatever is newest on the day."""
    found = [canonical(pin.name) for pin in pinned() if holds(pin.marker, python)]
    assert len(set(found)) == len(found)
    newer = {canonical(pin.name) for pin in pinned() if holds(pin.marker, PYTHONS[-1])}
    assert newer <= set(found)


def test_the_image_has_extras_that_there_are() -> None:
    found = re.search(r"^ARG EXTRAS=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    extras = set(found.group(1).split(","))
    assert {"sam", "distributed", "serve"} <= extras <= project()["optional-dependencies"].keys()


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {key: citation[key] for key in ("version", "license", "keywords")} == {
        key: project()[key] for key in ("version", "license", "keywords")
    }
    assert f"{project()['license']} · Python {PYTHONS[0]} to {PYTHONS[-1]} ·" in (ROOT / "README.md").read_text()
    [paper] = citation["references"]
    assert paper["title"] in " ".join((ROOT / "README.md").read_text().split())
    assert paper["url"] == project()["urls"]["Paper"]


def test_conda_recipe_has_this_version_and_requirements() -> None:
    """The same dependencies in the same order, under the names of conda-forge."""
    recipe, here = yaml.safe_load((ROOT / "conda/recipe.yaml").read_text()), project()
    conda_names = {"torch": "pytorch", "opencv-python-headless": "py-opencv"}
    asked = [Requirement(text) for text in here["dependencies"]]
    expected = [(conda_names.get(name := canonical(each.name), name), each.specifier) for each in asked]
    python, *run = map(str.split, recipe["requirements"]["run"])
    assert [(canonical(name), SpecifierSet(versions)) for name, versions in run] == expected
    assert python == ["python", ">=${{", "python_min", "}}"]
    assert f">={recipe['context']['python_min']}" == here["requires-python"]
    assert recipe["context"]["version"] == here["version"]
    assert recipe["about"]["summary"] == here["description"]
    assert (recipe["about"]["license"], recipe["about"]["license_file"]) == (here["license"], here["license-files"])
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    [imports] = [each["python"]["imports"] for each in recipe["tests"] if "python" in each]
    assert imports == [name.removesuffix("*") for name in sorted(packages)]
