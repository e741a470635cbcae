"""Run directories, the paper's tables, and this run beside them.

`RunDirectory` keeps a run; `results.tables` shows it (and loads pandas only then).
"""

from results import label_maps, strict_json
from results.atomic import write_atomically
from results.label_maps import write_label_map
from results.paper_tables import PaperRow, paper_rows
from results.schema import (
    SCHEMA_VERSION,
    BenchmarkInfo,
    DatasetInfo,
    Environment,
    Memory,
    PaperCell,
    RunHeader,
    SampleCounts,
    SampleRecord,
    Timings,
    WeightsInfo,
)
from results.store import RunDirectory, StoreError, differences
from results.strict_json import identity_of
from results.suite import (
    SuiteIndex,
    is_suite,
    missing_runs,
    read_runs,
    read_suite_index,
    require_finished,
    run_paths,
    write_suite,
    write_suite_index,
    write_suite_tables,
)

__all__ = [
    "SCHEMA_VERSION",
    "BenchmarkInfo",
    "DatasetInfo",
    "Environment",
    "Memory",
    "PaperCell",
    "PaperRow",
    "RunDirectory",
    "RunHeader",
    "SampleCounts",
    "SampleRecord",
    "StoreError",
    "SuiteIndex",
    "Timings",
    "WeightsInfo",
    "differences",
    "identity_of",
    "is_suite",
    "label_maps",
    "missing_runs",
    "paper_rows",
    "read_runs",
    "read_suite_index",
    "require_finished",
    "run_paths",
    "strict_json",
    "write_atomically",
    "write_label_map",
    "write_suite",
    "write_suite_index",
    "write_suite_tables",
]
