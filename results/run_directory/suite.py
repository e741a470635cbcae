"""A suite's folder: suite.json says which runs belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field

from results.run_directory.schema import RunHeader, StrictModel
from results.run_directory.store import RunDirectory, StoreError, one_line
from support import strict_json
from support.files import read_regular, write_atomically

SUITE_FILE = "suite.json"
SuiteKind: TypeAlias = Literal["runs", "methods", "eight"]
SuiteStatus: TypeAlias = Literal["running", "complete", "incomplete"]


class SuiteIndex(StrictModel):
    """suite.json: the runs of a suite by name, as paths relative to its folder."""

    schema_version: Literal[1] = 1
    """Version of this schema."""
    suite: str
    """Name of the suite."""
    title: str
    """Heading of its table."""
    status: SuiteStatus = "complete"
    """As of a run, over all runs of the suite."""
    runs: dict[str, str | None] = Field(min_length=1)
    """Folder of each run by the run's name, relative to the suite's; null for one that has not begun."""
    points: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Of a sweep: the settings of each run."""
    paper: dict[str, float] = Field(default_factory=dict)
    """Of a sweep: the paper's figure for a run, percent."""
    kind: SuiteKind = "runs"
    """methods: one benchmark, one method per run, each run in its own process. eight: its table has published rows."""
    request: str | None = None
    """Hash of the request and the code: a start with the same hash resumes the runs named here."""


def write_suite_index(path: Path, index: SuiteIndex) -> None:
    """Write suite.json only."""
    path.mkdir(parents=True, exist_ok=True)
    write_atomically(path / SUITE_FILE, strict_json.dumps(index.model_dump(), indent=1) + "\n")


def is_suite(path: Path) -> bool:
    """Whether a folder is a suite's."""
    return (path / SUITE_FILE).exists()


def read_runs(path: Path) -> dict[str, RunHeader]:
    """The runs of a suite by name; for a run directory, its one run under its benchmark's name.

    Only the finished runs of an unfinished suite.

    Raises:
        StoreError: there is neither, or a file is unreadable.
    """
    if not is_suite(path):
        header = RunDirectory(path).read_header()
        return {header.benchmark.name: header}
    return {name: RunDirectory(run).read_header() for name, run in run_paths(path).items()}


def read_run(path: Path) -> RunHeader:
    """The header of one run. Raises StoreError for a damaged one, and for a suite, whose runs are named."""
    if is_suite(path):
        known = ", ".join(map(str, run_paths(path).values())) or "its own, of which none is finished"
        raise StoreError(f"{path} holds several runs: name one of {known}")
    return RunDirectory(path).read_header()


def run_paths(path: Path) -> dict[str, Path]:
    """The folders of a suite's runs by name; for a run directory, its own folder under its own name.

    Only the finished runs of an unfinished suite. Raises StoreError.
    """
    if not is_suite(path):
        return {path.name: path}
    index = read_suite_index(path)
    folders = {}
    for name, run in index.runs.items():
        store = RunDirectory(path / run) if run is not None else None
        if store and (
            index.status == "complete" or (store.header_path.exists() and store.read_header().status == "complete")
        ):
            folders[name] = store.path
    return folders


def missing_runs(path: Path) -> list[str]:
    """The names of a suite's runs that are not finished; none for a run directory. Raises StoreError."""
    finished = run_paths(path)
    return [name for name in read_suite_index(path).runs if name not in finished] if is_suite(path) else []


def require_finished(path: Path) -> None:
    """Raise StoreError, naming them, where runs of a suite are missing."""
    if missing := missing_runs(path):
        raise StoreError(f"{path}: expected a finished suite, found none of its runs {', '.join(missing)}")


def find_suite_to_resume(path: Path, asked: SuiteIndex) -> SuiteIndex | None:
    """The suite in the folder that a suite is to be written to; None where it has yet to begin.

    It may go on with other methods or limits, and a sweep with more or fewer points. Raises StoreError, naming what was
    found, for a run, for another suite, and without suite.json for anything but folders of the asked runs and hidden
    files.
    """
    found = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith(".")) if path.is_dir() else []
    run = RunDirectory(path)
    for file in (run.header_path, run.samples_path):
        if file.name in found:
            raise StoreError(f"{path}: expected an empty folder or a suite, found the {file.name} of a run")
    if SUITE_FILE not in found:
        for name in found:
            if name not in asked.runs or not (path / name).is_dir():
                raise StoreError(f"{path}: expected an empty folder or a suite, found {name!r} and no {SUITE_FILE}")
        return None
    there = read_suite_index(path)
    # Names of sweeps and of several methods have a hash of these; titles and names of points have the benchmark.
    before, now = there.points.keys(), asked.points.keys()
    # Runs that were not asked for last time are no longer in the index, but still in their folders.
    known = [name for name in now if name in before or RunDirectory(path / name).header_path.exists()]
    is_continued = before <= now or len(known) == len(now) if before else there.title == asked.title
    is_alike = (there.kind, bool(before)) == (asked.kind, bool(now))
    if is_alike and not is_continued and known:
        new, old = next(name for name in now if name not in known), next(name for name in before if name not in now)
        raise StoreError(
            f"{path}: expected the points of the sweep there and more, or some of them, found {new} without {old}; ask "
            "for both, or choose another folder (--out)"
        )
    if there.suite != asked.suite and not (is_alike and is_continued):
        raise StoreError(f"{path}: expected the suite {asked.suite}, found another one, {there.suite}")
    return there


def read_suite_index(path: Path) -> SuiteIndex:
    """suite.json of a suite's folder. Raises StoreError: there is none, or it is damaged."""
    file = path / SUITE_FILE
    try:
        return SuiteIndex.model_validate(strict_json.loads(read_regular(file, follow=False)))
    except (OSError, ValueError) as error:
        raise StoreError(f"{file}: {one_line(error)}") from None
