"""docs/results.md: what a run directory holds, key by key. ``python -m tools.schema_page`` prints it anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from results.bench_schema import BenchDocument
from results.run_directory.schema import SCHEMA_VERSION, RunHeader, SampleRecord
from results.run_directory.suite import SuiteIndex

_HEAD = f"""\
# A run directory

| file | what it is |
| --- | --- |
| `run.json` | everything about the run, replaced as a whole: a reader sees the old file or the new one |
| `samples.jsonl` | one record a line, written as samples finish; the last line of an id counts |
| `table.md`, `table.csv` | the figures for readers and for spreadsheets; `car table` writes them anew |
| `.lock` | who writes here, or did last; the lock itself ends with its process |
| `label_maps/` | Ref-DAVIS alone: predictions as indexed PNG, as davis2017-evaluation takes them |
| `predictions/` | with `--save-predictions`: one file a sample, below |
| `proposals/` | with `--save-proposals`: one `.npz` a sample, below |
| `plot.png` | of a sweep's folder: its figures as bars, beside the paper's; needs the extra `plot` |
| `*.<time>` | set aside by `--fresh`; `run.json.<time>` also by going on with a finished run that has lost records |

Both JSON files are strict: no NaN or infinity (a figure that is undefined is `null` and has its reason in
`metrics.undefined`), numbers unrounded, figures in 0..1, units in the names. A last line that was cut short is dropped
and its sample redone. Unknown keys are refused. This is version {SCHEMA_VERSION} of the schema. A suite's folder holds
`suite.json` and a `table.md` and `table.csv` of its runs.

`car eval` on a finished run checks that its records give the figures of `run.json`, and writes nothing but the tables
where no sample is left. A run that is continued on another machine, device or commit lists all of them.

## Files that are kept on request

`car eval ... --save-predictions png` keeps each prediction as a palette PNG whose indices are the labels (referring:
1 is the mask); a palette holds 256 labels, so that `ade847` and `pc459` need `rle`. `--save-predictions rle` keeps a
JSON list of COCO's results, one a label: `image_id` (the sample's id), `category_id` (the label), `segmentation`
(compressed run lengths, read by pycocotools), `score` (1, as labels do not overlap); label 0, the background, is left
out. For data of your own both hold the values of your masks in place of the labels (`benchmark.label_space.mask_values`
has them by label); where background is not listed, a PNG has 255, the ignored value, for it.

`--save-proposals` keeps `queries` (all texts) and, of step t from 1 on, `queries_t` (indices of texts), `scores_t`
(float32 [n]) and `proposals_t` (float16 [n, H, W] in 0..1). A line says before the first sample what the files will
take, reckoned from four samples' targets and sizes, and what is free. Files are named after the sample's id, with `%XX`
for what a file name must not hold.

The flags are no part of the identity. A sample's files are written as wholes and before its record; going on does
those samples again whose files are missing or torn, label maps included. `--fresh` sets the folders aside with the
records. `car merge` takes the files of all shards along.

The page is made from the models in `results/run_directory/schema.py` and beside it (`python -m tools.schema_page >
docs/results.md`).
"""
_MARKS = {"items": "[]", "additionalProperties": ".*"}  # of a key, by where JSON schema has the model
_FILES: Mapping[str, type[BaseModel]] = {
    "run.json": RunHeader,
    "A line of samples.jsonl": SampleRecord,
    "suite.json": SuiteIndex,
    "bench.json": BenchDocument,
}


def schema_page() -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, *(_section(title, model) for title, model in _FILES.items())])


def _section(title: str, model: type[BaseModel]) -> str:
    schema = model.model_json_schema(mode="serialization")
    rows = [f"| {' | '.join(map(_cell, row))} |" for row in _rows(schema, schema, "")]
    return "\n".join([f"## {title}", "", "| key | type | meaning |", "| --- | --- | --- |", *rows, ""])


def _rows(schema: Mapping[str, Any], whole: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Key, type and meaning of each property, those of nested models behind it."""
    for name, field in schema["properties"].items():
        inner, mark = _nested(field, whole)
        key = f"{prefix}{name}{mark}"
        yield f"`{key}`", _type(field, whole), field.get("description", "")
        if inner:
            yield from _rows(inner, whole, f"{key}.")


def _nested(field: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """The model that a field holds, and the mark of a list or an object of them; None for plain values."""
    for holder, mark in _MARKS.items():
        if isinstance(field.get(holder), dict):
            inner, _ = _nested(field[holder], whole)
            return inner, mark if inner else ""
    for option in field.get("anyOf", [field]):
        if "$ref" in option:
            return whole["$defs"][option["$ref"].rsplit("/", 1)[1]], ""
    return None, ""


def _type(field: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option, whole) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "$ref" in field:
        return "object"
    if field.get("type") == "array":
        return f"list of {_type(field['items'], whole)}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"object of {_type(field['additionalProperties'], whole)}"
    minimum = f" >= {field['minimum']:g}" if "minimum" in field else ""
    return f"{field.get('type', 'any')}{minimum}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(schema_page(), end="")
