"""Whether this version can be released: `make release` runs this after the tests, the documentation and the build.

Prints how to tag it. A version is the same in pyproject.toml, CITATION.cff, the wheel, and the newest section
of CHANGELOG.md, which has a date; nothing is left unreleased, uncommitted or tagged already.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def version_of(root: Path = ROOT) -> str:
    """The version in pyproject.toml."""
    [found] = re.findall(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)
    return str(found)


def faults(root: Path = ROOT) -> Iterator[str]:
    """What has to be done first, a line each."""
    version = version_of(root)
    if not re.search(rf"^version: {re.escape(version)}$", (root / "CITATION.cff").read_text(), re.MULTILINE):
        yield f"CITATION.cff: expected version {version}"
    sections = re.split(r"^## ", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    heading, _, text = sections[0].partition("\n")
    if heading == "Unreleased":
        if text.strip():
            yield "CHANGELOG.md: expected nothing under Unreleased"
        heading = sections[1].partition("\n")[0] if len(sections) > 1 else ""
    if not re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", heading):
        yield f"CHANGELOG.md: expected a section '{version} - YYYY-MM-DD', found {heading!r}"
    wheels = list((root / "dist").glob(f"car_eval-{version}-*.whl"))
    if not wheels:
        yield f"dist: expected the wheel of {version}, found none; make dist"
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as files:
            packed = {name.partition("/")[0] for name in files.namelist()}
        if strange := packed - {
            *("car_core", "dataset_adapters", "evaluation", "results", "support"),
            f"car_eval-{version}.dist-info",
        }:
            yield f"{wheel.name}: expected our five packages only, found {', '.join(sorted(strange))}"
    if git("status", "--porcelain", root=root):
        yield "git: expected everything committed"
    if git("tag", "--list", f"v{version}", root=root):
        yield f"git: expected no tag v{version} yet"


def git(*arguments: str, root: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=root, text=True, capture_output=True, check=True).stdout.strip()


if __name__ == "__main__":
    if found := list(faults()):
        sys.exit("\n".join(found))
    print(f"ready; next: git tag -a v{version_of()} && git push --tags, then upload dist/")
