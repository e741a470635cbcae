"""Names and parameters that users' code calls stay, or the change is meant."""

from __future__ import annotations

import doctest
import subprocess
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from tools.public_api import STORED, public_api
from tools.release import faults

ROOT = Path(__file__).parents[1]


def test_dir_lists_the_public_names_only() -> None:
    for package in ("car_core", "evaluation"):
        module = import_module(package)
        assert dir(module) == sorted(module.__all__)


def test_public_api_is_the_stored_one() -> None:
    # On a difference that is meant: python -m tools.public_api, and an entry in CHANGELOG.md.
    assert public_api().splitlines() == STORED.read_text(encoding="utf-8").splitlines()


EXAMPLES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for room in ("support", "car_core", "dataset_adapters", "results", "evaluation")
    for file in (ROOT / room).rglob("*.py")
    if ">>> " in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_a_module_give_what_they_say(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_release_of_a_consistent_version_has_no_faults(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CITATION.cff").write_text("version: 1.2.3\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-01-31\n\n- One.\n")
    (tmp_path / ".gitignore").write_text("dist\n")
    (tmp_path / "dist").mkdir()
    wheel = tmp_path / "dist" / "car_eval-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as files:
        files.writestr("car_core/__init__.py", "")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "One"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    assert list(faults(tmp_path)) == []

    with zipfile.ZipFile(wheel, "a") as files:
        files.writestr("tests/__init__.py", "")
    (tmp_path / "CITATION.cff").write_text("version: 1.2.2\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- Two.\n\n## 1.2.2 - 2026-01-30\n")
    subprocess.run([*git, "tag", "v1.2.3"], cwd=tmp_path, check=True)
    assert list(faults(tmp_path)) == [
        "CITATION.cff: expected version 1.2.3",
        "CHANGELOG.md: expected nothing under Unreleased",
        "CHANGELOG.md: expected a section '1.2.3 - YYYY-MM-DD', found '1.2.2 - 2026-01-30'",
        "car_eval-1.2.3-py3-none-any.whl: expected our five packages only, found tests",
        "git: expected everything committed",
        "git: expected no tag v1.2.3 yet",
    ]
