"""Pages of the site that are made while it is built, and the order of all of them. A hook of MkDocs.

What stands in the README, the code or a registry is not written a second time: the README is the first page, the
switches are listed from the code, and the reference from the docstrings.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

ROOMS = ("support", "car_core", "dataset_adapters", "results", "evaluation")

# Files outside docs/ that are pages of the site.
MOVED: Mapping[str, str] = {
    "README.md": "index.md",
    "car_core/miniature/README.md": "model-card.md",
    "CONTRIBUTING.md": "contributing.md",
}
# Known pages in reading order; any other page in docs/ stands under More, by name.
ORDER: Mapping[str, tuple[str, ...]] = {
    "Start": ("index.md", "method.md", "model-card.md"),
    "Use": ("benchmarks.md", "datasets.md", "library.md", "sweeps.md", "scale.md", "looking.md", "results.md"),
    "Trust": ("reliability.md", "fidelity.md", "reference.md", "ablations.md", "baselines.md", "performance.md"),
    "Extend": ("adding.md", "rooms.md", "contributing.md"),
    "Reference": tuple(f"reference/{room}.md" for room in ROOMS),
}


def on_config(config: Any) -> Any:
    """Give the known pages that are there their places, and all others one at the end."""
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} | {*made_pages()}
    nav = [{title: [page for page in pages if page in there]} for title, pages in ORDER.items()]
    others = sorted(there - {page for pages in ORDER.values() for page in pages})
    config.nav = [*(part for part in nav if any(part.values())), *([{"More": others}] if others else [])]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    for name, text in made_pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill in the tables from the code, and send links to where their targets stand on the site."""
    for mark, table in {"switches": switches, "modes": modes, "crf": crf, "map": room_map}.items():
        placeholder = f"<!-- {mark} -->"
        if placeholder in markdown:
            markdown = markdown.replace(placeholder, table())
    return relinked(markdown, page.file.src_uri)


def made_pages() -> dict[str, str]:
    """All pages that are no files of docs/, by name."""
    return {
        **{page: (ROOT / file).read_text(encoding="utf-8") for file, page in MOVED.items()},
        **{f"reference/{room}.md": reference(room) for room in ROOMS},
    }


def relinked(markdown: str, page: str) -> str:
    """Links of the README and of pages that point out of docs/ as links within the site, or as plain text."""
    depth = "../" * page.count("/")

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match.group(0)
        inside = path.removeprefix("../").removeprefix("docs/")
        inside = MOVED.get(inside, inside)
        if (ROOT / "docs" / inside).is_file() or inside in made_pages():
            return f"[{text}]({depth}{inside}{'#' + anchor if anchor else ''})"
        return f"{text} (`{inside}`)"

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", link, re.sub(r"\]\(docs/images/", f"]({depth}images/", markdown))


def switches() -> str:
    """Every field of the configuration with its values in both profiles."""
    from car_core.config import PROFILES, CaRConfig

    profiles = {name: CaRConfig(profile=name).model_dump() for name in PROFILES}
    rows = [
        [f"`{name}`", *(_value(values[name]) for values in profiles.values()), _escaped(field.description or "")]
        for name, field in CaRConfig.model_fields.items()
        if name not in ("profile", "crf")
    ]
    return _table(["field", *(f"`{name}`" for name in profiles), "meaning"], rows)


def modes() -> str:
    """What a mode starts from, by profile."""
    from car_core.config import MODES, PROFILES, CaRConfig

    columns = [(mode, profile) for mode in MODES for profile in PROFILES]
    found = {pair: CaRConfig(mode=pair[0], profile=pair[1]).model_dump() for pair in columns}
    names = dict.fromkeys(name for values in MODES.values() for name in values)
    rows = [[f"`{name}`", *(_value(found[pair][name]) for pair in columns)] for name in names]
    return _table(["field", *(f"{mode}, `{profile}`" for mode, profile in columns)], rows)


def crf() -> str:
    """The fields of the dense CRF."""
    from car_core.config import CRFConfig

    rows = [
        [f"`crf.{name}`", _value(field.default), _escaped(field.description or "")]
        for name, field in CRFConfig.model_fields.items()
    ]
    return _table(["field", "default", "meaning"], rows)


def room_map() -> str:
    """Every module with the first line of its docstring, room by room."""
    import ast

    parts = []
    for room in ROOMS:
        rows = []
        for path in sorted((ROOT / room).rglob("*.py")):
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            rows.append([f"`{path.relative_to(ROOT)}`", _escaped((doc or "").partition("\n\n")[0])])
        parts.append(f"### {room}\n\n{_table(['module', 'what is inside'], rows)}")
    return "\n\n".join(parts)


def reference(room: str) -> str:
    """Directives for the docstrings of a room's modules."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    return f"# {room}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _value(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        items = list(value)
        shown = ", ".join(map(str, items[:3]))
        return _escaped(f"{shown}, … ({len(items)})" if len(items) > 3 else shown or "none")
    return f"`{value}`"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
