"""The schema of a run directory: run.json is one `RunHeader`, each line of samples.jsonl one `SampleRecord`.

The text below a field is its documentation and goes into the JSON schema. Once a version is released, adding, renaming
or changing the meaning of a field needs a new SCHEMA_VERSION.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from support.choices import SetBy
from support.strict_json import identity_of, require_json

SCHEMA_VERSION = 1

LISTED = "listed"
"""Context of a validation that skips what takes a header of JSON values most time: comparing its parts."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


def utc_now() -> str:
    """The time now as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class StrictModel(BaseModel):
    """A JSON object: unknown keys, other types, NaN and infinity are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        defer_build=True,  # until one is read or made: many commands end before
    )


class DatasetInfo(StrictModel):
    name: str
    """Name of the data set."""
    split: str
    """Name of the split that was evaluated."""
    fingerprint: str
    """Hash of the data set's index: it changes with the files and with the split."""
    n_samples: Count
    """Samples in the whole split; a run over fewer is marked partial in its table."""


class PaperCell(StrictModel):
    """Which column of the paper's tables a benchmark is compared with."""

    table: str
    """Table by the paper's number: table1 .. table8, tableJ."""
    column: str
    """Column of results/paper/<table>*.csv."""


class NamesInfo(StrictModel):
    """The vocabulary of a run: a family of class texts, or a file."""

    name: str
    """The family's name, or the file's without its folder."""
    sha256: Sha256
    """Hash of the texts below; it is part of the identity."""
    classes: dict[str, list[str]]
    """Texts of each class; the first is the query, the others count for methods with synonyms."""
    background: list[str] | None
    """Background words of all methods; null if the benchmark's are used."""


class BenchmarkInfo(StrictModel):
    name: str
    """Name of the benchmark, as given on the command line."""
    fields: dict[str, Any] | None = None
    """All fields of a benchmark's YAML file, with those of its base; null for one that is found by name."""
    on_miniature: bool = False
    """Whether a benchmark of photos was run on the miniature's emoji scenes; the run's name then says so."""
    task: str
    """Name of the metrics family: semantic, referring, ..."""
    label_space: dict[str, Any]
    """Labels, scored labels, ignore label and query texts, as stated by the adapter; mask values of your own data."""
    names: NamesInfo | None = None
    """The vocabulary that replaces the released query texts, including a method's own; null without one."""
    dataset: DatasetInfo
    """What was read."""
    protocol_changed: list[str] = []
    """Options of how targets are built and scored that the user set differently from the benchmark, as key=value."""
    paper: PaperCell | None = None
    """The paper's figures to compare with; null where the paper has none."""
    paper_split: str | None = None
    """The split of published figures; a run on another one is marked in its table."""
    paper_samples: Count | None = None
    """Samples of that split; a run over another number is marked in its table."""
    not_comparable: str | None = None
    """Why the figures cannot be compared with the paper's, as worded in its table; null where they can."""


class WeightsInfo(StrictModel):
    role: str
    """What the model is used for: proposal, classifier, sam, dino."""
    name: str
    """The requested name, without the folder of a file."""
    sha256: Sha256 | None
    """Hash of the weights; null only where no file exists."""
    trained: bool
    """False for random weights: such a run measures speed and plumbing, not the method."""


class PluginInfo(StrictModel):
    kind: str
    """Kind of plugin: methods, datasets, metrics, prompts, benchmarks."""
    name: str
    """The name that the user gave."""
    target: str
    """Where it is defined: package.module:Class or file.py:Class."""
    package: str | None
    """The installed package that names it as an entry point; null where the user named the target."""
    version: str | None
    """Version of that package."""
    source: Sha256
    """Hash of the Python files of its package, or of its file."""


class Environment(StrictModel):
    python: str
    """Version of Python."""
    platform: str
    """Operating system and machine."""
    packages: dict[str, str]
    """Version of each package that takes part."""
    git_commit: str | None
    """Commit of the code, null outside a git checkout."""
    git_dirty: bool | None
    """Whether tracked files differed from that commit."""
    device: str
    """Device the models ran on."""
    dtype: str
    """Type the models computed in."""
    threads: Count
    """Threads of the tensor library."""
    seed: int | None
    """Seed of every random choice; null without any."""


class SampleCounts(StrictModel):
    n_total: Count
    """Samples with a record."""
    n_scored: Count
    """Samples that were segmented."""
    n_failed: Count
    """Samples that could not be read or segmented."""

    @model_validator(mode="after")
    def _parts_add_up(self) -> SampleCounts:
        if self.n_total != self.n_scored + self.n_failed:
            raise ValueError(f"n_total {self.n_total} is not n_scored {self.n_scored} + n_failed {self.n_failed}")
        return self


class Timings(StrictModel):
    wall_seconds: Seconds
    """Time from start to end, summed over every start of a resumed run."""
    seconds_by_stage: dict[str, Seconds]
    """Time spent in each stage, summed over samples and workers; may exceed the wall time."""


class Memory(StrictModel):
    peak_rss_mib: Annotated[float, Field(ge=0)] | None
    """Largest resident memory of the main process in MiB; null where the system does not report it."""
    smaller_passes: list[str] = []
    """Stages that ran in smaller passes because the device was out of memory; figures are the same up to rounding."""


class RunHeader(StrictModel):
    """run.json: one benchmark, one configuration, one directory."""

    schema_version: Literal[1] = 1
    """Version of this schema; a newer file is refused."""
    status: Literal["running", "complete", "incomplete"]
    """running: in progress, or killed. complete: every selected sample has a record. incomplete: interrupted, or ended
    by an error that was reported; the same command resumes."""
    benchmark: BenchmarkInfo
    """Data set, labels and protocol."""
    config: dict[str, Any]
    """Every switch and threshold by field name."""
    config_sources: dict[str, SetBy]
    """Who set each value of `config`: the program's default, the profile, the benchmark file, the vocabulary (names) or
    the user."""
    request: dict[str, Any] = {}
    """The options that the user gave, as in a configuration file (`car eval --config`): those that figures depend on
    and the device, but no paths of data and weights; empty in runs of older versions."""
    identity: Sha256
    """sha256 over the canonical JSON of `identity_fields`."""
    identity_fields: dict[str, Any]
    """Everything that changes numbers."""
    weights: list[WeightsInfo]
    """One entry per model."""
    plugins: list[PluginInfo] = []
    """Code from outside car-eval; part of the identity."""
    environment: Environment
    """Where and with what it ran: the last start that added records, or the first of merged shards."""
    other_environments: list[Environment] = []
    """Those of earlier starts and of the other shards, in order, where they differ; empty where all records were made
    in one."""
    metrics: dict[str, Any] = {}
    """Figures in 0..1, unrounded, with `reductions` (what each averages over) and `undefined` (why one is
    null); empty until the run ends."""
    counts: SampleCounts = SampleCounts(n_total=0, n_scored=0, n_failed=0)
    """Number of samples that the metrics are computed from."""
    timings: Timings = Timings(wall_seconds=0.0, seconds_by_stage={})
    """Where the time went."""
    memory: Memory = Memory(peak_rss_mib=None)
    """What it took."""
    created_at: str = Field(default_factory=utc_now)
    """When the run was first started, ISO 8601, UTC."""
    updated_at: str = Field(default_factory=utc_now)
    """When this file was last written, ISO 8601, UTC."""

    @model_validator(mode="after")
    def _is_consistent(self, info: ValidationInfo) -> RunHeader:
        if info.context == LISTED:
            return self
        require_json(self.model_dump())
        if self.identity != identity_of(self.identity_fields):
            raise ValueError("identity is not the hash of identity_fields")
        for name in ("protocol", "packages", "metrics"):
            if not isinstance(self.identity_fields.get(name) or {}, dict):
                raise ValueError(f"identity_fields.{name}: expected an object, found {self.identity_fields[name]!r}")
        if self.config.keys() != self.config_sources.keys():
            unmatched = sorted(self.config.keys() ^ self.config_sources.keys())
            raise ValueError(f"config and config_sources differ in {', '.join(unmatched)}")
        return self


def others(environment: Environment, candidates: Iterable[Environment]) -> list[Environment]:
    """The candidates that differ from an environment, each once, in order."""
    found: list[Environment] = []
    for candidate in candidates:
        if candidate not in (environment, *found):
            found.append(candidate)
    return found


class SampleRecord(StrictModel):
    """One line of samples.jsonl: all that is needed to recompute every metric without a model."""

    id: Annotated[str, Field(min_length=1)]
    """Stable id from the data set."""
    status: Literal["ok", "failed"]
    """failed: could not be read or segmented."""
    error: str | None = None
    """Why it failed; null for ok."""
    counts: dict[str, Any] = {}
    """Integer counts by task. semantic: {"confusion": [[target, prediction, pixels], ...]}. referring:
    {"intersection", "union", "target", "prediction"} in pixels. generalized: the same and "has_target", 0 or 1.
    video: {"pairs": [[target object, predicted object, intersection, union, pixels of the target's and of the
    prediction's contour, how many of each have the other within the bound], ...]}, each two objects of the frame.
    With --metrics also {"metrics": {name: {count: number}}}."""
    queries_kept: list[str] = []
    """Query texts that survived the recurrence."""
    steps: Count = 0
    """Steps of the recurrence."""
    seconds: dict[str, Seconds] = {}
    """Time by stage."""

    @model_validator(mode="after")
    def _error_goes_with_failed(self) -> SampleRecord:
        if (self.status == "failed") != (self.error is not None):
            raise ValueError(f"status {self.status!r} with error {self.error!r}")
        return self
