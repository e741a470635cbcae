"""Golden files: the figures that runs are expected to give, and how far each may lie from them.

A golden file names the weights, data and settings that its figures are of: with others, a comparison is an error,
not a change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from results.run_directory.schema import RunHeader, Sha256, StrictModel
from results.run_directory.store import StoreError, one_line
from results.tables.columns import make_table
from results.tables.render import Column, Table
from results.tables.run_notes import user_settings
from support import strict_json
from support.files import read_regular, write_output
from support.text import counted

MINIATURE = Path(__file__).parents[1] / "golden" / "mini.json"
"""The expected figures of the suite `mini`, shipped with the package like the miniature."""

ROUNDING = 1e-13
"""Relative rounding of a sum over up to 847 classes, half an ulp per term: earlier versions rounded after every term,
but not on Python 3.12 and newer. Every metric is at most 1, and a pixel changes more."""
# The figures of a run that are not metrics: numbers of samples.
_COUNTS = ("n_total", "n_failed")


class Figure(StrictModel):
    expected: float | None
    """The metric in 0..1 or the count; null where it is undefined."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Largest difference that is not a change."""


class GoldenRun(StrictModel):
    benchmark: str
    """Name of the benchmark."""
    dataset: str
    """Fingerprint of its data set."""
    weights: dict[str, Sha256 | None]
    """sha256 of the weights by role; null where no file exists."""
    settings: list[str] | None = None
    """The switches that the user set, as key=value; null in older files: any."""
    figures: dict[str, Figure] = Field(min_length=1)
    """Every metric of the run, and the counts of samples."""


class Golden(StrictModel):
    """A golden file: the expected runs by name."""

    schema_version: Literal[1] = 1
    runs: dict[str, GoldenRun] = Field(min_length=1)

    def exact(self) -> Golden:
        """A copy without tolerances but for the rounding of sums, for the machine that made the figures."""
        runs = {}
        for name, run in self.runs.items():
            figures = {
                figure: Figure(expected=known.expected, tolerance=0.0 if figure in _COUNTS else ROUNDING)
                for figure, known in run.figures.items()
            }
            runs[name] = run.model_copy(update={"figures": figures})
        return self.model_copy(update={"runs": runs})

    def without(self, names: Collection[str]) -> Golden:
        """A copy without these runs."""
        return self.model_copy(update={"runs": {name: run for name, run in self.runs.items() if name not in names}})


@dataclass(frozen=True)
class Comparison:
    """One figure of one run. expected and found are None where the figure is absent or undefined."""

    run: str
    figure: str
    expected: float | None
    found: float | None
    tolerance: float

    @property
    def changed(self) -> bool:
        """Whether the two differ by more than the tolerance, or one is absent or undefined and the other is not."""
        if self.expected is None or self.found is None:
            return self.expected is not self.found
        return abs(self.found - self.expected) > self.tolerance


def read_golden(path: Path) -> Golden:
    """Read a golden file. Raises StoreError, naming the field, for a missing, damaged or newer one."""
    try:
        return Golden.model_validate(strict_json.loads(read_regular(path)))
    except FileNotFoundError:
        raise StoreError(f"{path}: expected a golden file, found none; --update writes one") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: {one_line(error)}") from None


def write_golden(path: Path, headers: Mapping[str, RunHeader], *, tolerance: float | None = None) -> Golden:
    """Make the figures of finished runs the expected ones.

    tolerance: of every metric; None keeps that of each figure in the file that is replaced, 0 for a new one. Counts of
    samples have none. Raises StoreError for an unfinished run, for an existing file that cannot be read, and for one
    with runs that would be lost.
    """
    before = read_golden(path).runs if path.exists() else {}
    if lost := before.keys() - headers.keys():
        raise StoreError(f"{path}: expected all its runs, found no {', '.join(sorted(lost))}; remove it to start over")
    runs = {}
    for name, header in headers.items():
        _require_complete(name, header)
        old = before[name].figures if name in before else {}
        figures = {}
        for figure, value in _figures(header).items():
            kept = old[figure].tolerance if figure in old else 0.0
            allowed = 0.0 if figure in _COUNTS else kept if tolerance is None else tolerance
            figures[figure] = Figure(expected=value, tolerance=allowed)
        runs[name] = GoldenRun(figures=figures, **_origin(header))
    golden = Golden(runs=runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_output(path, strict_json.dumps(golden.model_dump(), indent=1) + "\n")
    return golden


def compare(golden: Golden, headers: Mapping[str, RunHeader]) -> list[Comparison]:
    """Every figure of the golden file and of the runs, side by side.

    Raises StoreError, naming run and field, unless the runs are those of the golden file, finished, of the same
    benchmark, data, weights and settings, and for a run of fewer samples.
    """
    if golden.runs.keys() != headers.keys():
        expected, found = (", ".join(names) for names in (golden.runs, headers))
        raise StoreError(f"runs: expected {expected} as in the golden file, found {found}")
    for name, header in headers.items():
        _require_complete(name, header)
        for field, value in _origin(header).items():
            wanted = getattr(golden.runs[name], field)
            if wanted is not None and value != wanted:
                expected, found = map(_in_words, (wanted, value))
                raise StoreError(
                    f"{name}: {field}: expected {expected} as in the golden file, found {found} in the run"
                )
        n_samples = golden.runs[name].figures.get("n_total", Figure(expected=None)).expected
        if n_samples and header.counts.n_total < n_samples <= header.benchmark.dataset.n_samples:
            raise StoreError(
                f"{name}: expected {n_samples:.0f} samples as in the golden file, found {header.counts.n_total} of "
                f"{header.benchmark.dataset.n_samples} in the run"
            )
    comparisons = []
    for name, header in headers.items():
        expected_figures, found_figures = golden.runs[name].figures, _figures(header)
        for figure in dict.fromkeys([*expected_figures, *found_figures]):
            known = expected_figures.get(figure, Figure(expected=None))
            comparisons.append(Comparison(name, figure, known.expected, found_figures.get(figure), known.tolerance))
    return comparisons


def of_one_run(golden: Golden, header: RunHeader, name: str) -> tuple[Golden, dict[str, RunHeader]]:
    """A single run and the part of the golden file to compare it with: the run of that name, or of its benchmark.

    Raises StoreError where the golden file has neither.
    """
    found = next((own for own in (name, header.benchmark.name) if own in golden.runs), None)
    if found is None:
        raise StoreError(f"run: expected one of {', '.join(golden.runs)} as in the golden file, found {name}")
    return golden.model_copy(update={"runs": {found: golden.runs[found]}}), {found: header}


def comparison_of_figures(comparisons: list[Comparison], golden: str, *, details: bool = True) -> Table:
    """One row per figure: expected, found, tolerance, and ok or CHANGED. Metrics are in 0..1.

    details: else the figures of a run that are ok are one row, with the largest difference found.
    """
    columns = (
        Column("run"),
        Column("figure"),
        Column("expected", kind="figure"),
        Column("found", kind="figure"),
        Column("off_by", "off by at most", "tolerance"),
        Column("tolerance", kind="tolerance"),
        Column("verdict"),
    )
    rows: list[dict[str, Any]] = []
    for run in dict.fromkeys(item.run for item in comparisons):
        own = [item for item in comparisons if item.run == run]
        ok = [item for item in own if not (item.changed or details)]
        rows += [{**vars(item), "verdict": "CHANGED" if item.changed else "ok"} for item in own if item not in ok]
        if ok:
            off_by = max(abs((item.found or 0.0) - (item.expected or 0.0)) for item in ok)
            row = {"figure": counted(len(ok), "figure"), "off_by": float(f"{off_by:.1e}"), "verdict": "ok"}
            rows.append({"run": run, **row, "tolerance": max(item.tolerance for item in ok)})
    return make_table(f"Compared with {golden}", columns, rows)


def _origin(header: RunHeader) -> dict[str, Any]:
    return {
        "benchmark": header.benchmark.name,
        "dataset": header.benchmark.dataset.fingerprint,
        "weights": {entry.role: entry.sha256 for entry in header.weights},
        "settings": sorted(user_settings(header)),
    }


def _in_words(value: Any) -> str:
    """A field of `_origin`, for people: "proposal 7e2077b4b459, sam without a file", "eta=0.3", "none"."""
    if isinstance(value, dict):
        value = [f"{role} {sha256[:12] if sha256 else 'without a file'}" for role, sha256 in value.items()]
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _figures(header: RunHeader) -> dict[str, float | None]:
    """Every figure by name, counts first."""
    counts = {name: float(getattr(header.counts, name)) for name in _COUNTS}
    return {**counts, **{name: header.metrics.get(name) for name in header.metrics.get("reductions", {})}}


def _require_complete(name: str, header: RunHeader) -> None:
    if header.status != "complete":
        raise StoreError(f"{name}: expected a finished run, found one that is {header.status}")
