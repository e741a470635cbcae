"""Tables of docs/ that come from the code: ``python -m tools.generated_docs`` writes them into the pages.

Each table is between ``<!-- generated: NAME -->`` and ``<!-- end of generated -->``, so it can be read on GitHub and in
an editor, too. The build of the site and the tests fail when one is stale. With the page `eight` its picture is drawn,
which needs matplotlib. Does not import torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from car_core.config import MODES, PROFILES, CaRConfig, CRFConfig
from evaluation.bench.schema import BenchDocument
from results.pages.plots import write_peers_plot
from results.paper.paper_tables import EIGHT, mean_of_eight, peer_rows
from results.run_directory.schema import SCHEMA_VERSION, RunHeader, SampleRecord
from results.run_directory.suite import SuiteIndex
from results.tables.peers import PEERS, peer_tables
from support.files import sha256_of, write_atomically
from tools.rooms import floors

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "make docs-generated"
ROOMS = ("support", "car_core", "dataset_adapters", "results", "evaluation")

_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end of generated -->)", re.DOTALL)
_NESTED_MARKS = {"items": "[]", "additionalProperties": ".*"}  # of a key, by where JSON schema has the model
_DOCUMENTS: Mapping[str, type[BaseModel]] = {
    "run.json": RunHeader,
    "A line of samples.jsonl": SampleRecord,
    "suite.json": SuiteIndex,
    "bench.json": BenchDocument,
}


def stale_pages(docs: Path = ROOT / "docs") -> list[str]:
    """One line for each page whose generated tables differ from the code; empty if all are fresh."""
    pages = (page for page in sorted(docs.glob("*.md")) if refreshed(old := page.read_text(encoding="utf-8")) != old)
    return [f"docs/{page.name}: its generated tables are out of date; run {COMMAND}" for page in pages]


def refreshed(text: str) -> str:
    """A page's text with every generated table written again. Raises KeyError for a table of an unknown name."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]]()}\n\n{block[3]}", text)


def module_map() -> str:
    """Every module with the first line of its docstring, by package and folder, below the package's floors."""
    parts = []
    for room in ROOMS:
        for package in sorted((ROOT / room).rglob("__init__.py")):
            folder = package.parent
            modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
            rows = [[f"`{path.name}`", escaped(_summary(path))] for path in modules]
            heading = f"{'###' if folder == ROOT / room else '####'} {folder.relative_to(ROOT)}"
            parts += [heading, escaped(_summary(package))]
            if folder == ROOT / room:
                parts.append(f"Floors, the lowest first: {' → '.join(', '.join(floor) for floor in floors(room))}.")
            parts += [table(["module", "contents"], rows)] if rows else []
    return "\n\n".join(parts)


def switches() -> str:
    """Every field of the configuration with its values in both profiles."""
    profiles = {name: CaRConfig.model_validate({"profile": name}).model_dump() for name in PROFILES}
    rows = [
        [f"`{name}`", *(_value(values[name]) for values in profiles.values()), escaped(field.description or "")]
        for name, field in CaRConfig.model_fields.items()
        if name not in ("profile", "crf")
    ]
    return table(["field", *(f"`{name}`" for name in profiles), "meaning"], rows)


def modes() -> str:
    """The values that each mode starts from, by profile."""
    columns = [(mode, profile) for mode in MODES for profile in PROFILES]
    values = [CaRConfig.model_validate({"mode": mode, "profile": profile}).model_dump() for mode, profile in columns]
    names = dict.fromkeys(name for defaults in MODES.values() for name in defaults)
    rows = [[f"`{name}`", *(_value(column[name]) for column in values)] for name in names]
    return table(["field", *(f"{mode}, `{profile}`" for mode, profile in columns)], rows)


def crf() -> str:
    """The fields of the dense CRF."""
    rows = [
        [f"`crf.{name}`", _value(field.default), escaped(field.description or "")]
        for name, field in CRFConfig.model_fields.items()
    ]
    return table(["field", "default", "meaning"], rows)


def schema() -> str:
    """Every key of the JSON files that runs, suites and the benchmark of speed write."""
    parts = [f"Version {SCHEMA_VERSION} of the schema."]
    for title, model in _DOCUMENTS.items():
        document = model.model_json_schema(mode="serialization")
        rows = [[escaped(text) for text in row] for row in _schema_rows(document, document, "")]
        parts += [f"## {title}", table(["key", "type", "meaning"], rows)]
    return "\n\n".join(parts)


def eight() -> str:
    """The picture of the eight usual benchmarks, named with its data, and one method's several published figures."""
    rows = [row for row in peer_rows(EIGHT) if row.method == "CorrCLIP" and "ViT-B/16" in row.backbone]
    rows = sorted((row for row in rows if "voc21" in row.figures), key=lambda row: -row.figures["voc21"])
    cells = [
        [
            *(row.backbone, row.names, row.ran_by, f"{row.figures['voc21']:.1f}"),
            "" if (mean := mean_of_eight(row.figures)) is None else f"{mean:.1f}",
        ]
        for row in rows
    ]
    source = sha256_of(ROOT / "results/paper/peers.csv")[:12]
    picture = f"![Published mIoU on the eight benchmarks and its mean, by method](images/{EIGHT_PICTURE.name})"
    caption = f"*All published rows with the eight figures, from `results/paper/peers.csv` (sha256 {source}).*"
    numbers = table(["CorrCLIP with", "names", "ran by", "voc21", "mean of eight"], cells)
    return f"{numbers}\n\n{picture}\n\n{caption}"


EIGHT_PICTURE = ROOT / "docs/images/eight.png"
TABLES: Mapping[str, Callable[[], str]] = {
    "map": module_map,
    "eight": eight,
    "switches": switches,
    "modes": modes,
    "crf": crf,
    "schema": schema,
}


def _schema_rows(schema: Mapping[str, Any], document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Key, type and meaning of each property, each followed by those of its nested model."""
    for name, field in schema["properties"].items():
        inner, mark = _nested(field, document)
        key = f"{prefix}{name}{mark}"
        yield f"`{key}`", _type(field, document), field.get("description", "")
        if inner:
            yield from _schema_rows(inner, document, f"{key}.")


def _nested(field: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """The model that a field holds, and the mark of a list or an object of them; None for plain values."""
    for holder, mark in _NESTED_MARKS.items():
        if isinstance(field.get(holder), dict):
            inner, _ = _nested(field[holder], document)
            return inner, mark if inner else ""
    for option in field.get("anyOf", [field]):
        if "$ref" in option:
            return document["$defs"][option["$ref"].rsplit("/", 1)[1]], ""
    return None, ""


def _type(field: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option, document) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "$ref" in field:
        return "object"
    if field.get("type") == "array":
        return f"list of {_type(field['items'], document)}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"object of {_type(field['additionalProperties'], document)}"
    minimum = f" >= {field['minimum']:g}" if "minimum" in field else ""
    return f"{field.get('type', 'any')}{minimum}"


def _summary(module: Path) -> str:
    return (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown; cells are taken as they are."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *rows])


def _value(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        shown = ", ".join(map(str, value[:3]))
        return escaped(f"{shown}, … ({len(value)})" if len(value) > 3 else shown or "none")
    return f"`{value}`"


def escaped(text: str) -> str:
    """Text as a cell of a table holds it."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for page in sorted((ROOT / "docs").glob("*.md")):
        old = page.read_text(encoding="utf-8")
        if (new := refreshed(old)) != old:
            write_atomically(page, new)
            print(f"docs/{page.name}: generated tables written")
            if page.stem == "eight":
                write_peers_plot(peer_tables([])[PEERS], EIGHT_PICTURE)
