"""Run directories, the paper's tables, and a run next to them.

`RunDirectory` keeps a run; `results.tables.run` shows it.
"""

from results.paper.paper_tables import PaperRow, paper_rows
from results.run_directory import label_maps
from results.run_directory.label_maps import write_label_map
from results.run_directory.schema import (
    SCHEMA_VERSION,
    BenchmarkInfo,
    DatasetInfo,
    Environment,
    Memory,
    NamesInfo,
    PaperCell,
    PluginInfo,
    RunHeader,
    SampleCounts,
    SampleRecord,
    Timings,
    WeightsInfo,
)
from results.run_directory.store import RunDirectory, StoreError, differences
from results.run_directory.suite import (
    SuiteIndex,
    is_suite,
    missing_runs,
    read_runs,
    read_suite_index,
    require_finished,
    run_paths,
    write_suite_index,
)
from results.tables.suite import write_suite, write_suite_tables
from support import strict_json
from support.files import write_atomically
from support.strict_json import identity_of

__all__ = [
    "SCHEMA_VERSION",
    "BenchmarkInfo",
    "DatasetInfo",
    "Environment",
    "Memory",
    "NamesInfo",
    "PaperCell",
    "PaperRow",
    "PluginInfo",
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
