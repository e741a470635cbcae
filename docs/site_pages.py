"""A hook of MkDocs: the order of the site's pages, and those that are not files of docs/.

Nothing is written twice: the README is the first page, and the reference comes from the docstrings. Tables that come
from the code are written into the pages by ``tools.generated_docs``; a stale one ends the build.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from mkdocs.exceptions import Abort
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from evaluation.cli.app import app  # noqa: E402  # found only below ROOT
from evaluation.cli.help import EXAMPLES  # noqa: E402
from tools.generated_docs import ROOMS, escaped, stale_pages, table  # noqa: E402

# Files outside docs/ that are pages of the site.
MOVED: Mapping[str, str] = {
    "README.md": "index.md",
    "car_core/miniature/README.md": "model-card.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/five_minutes.ipynb": "notebook.md",
}
# Known pages in reading order; any other page in docs/ is listed under More, by name.
ORDER: Mapping[str, tuple[str, ...]] = {
    "Start": ("index.md", "install.md", "reproduce.md", "troubleshooting.md", "method.md", "model-card.md"),
    "Use": (
        "benchmarks.md",
        "datasets.md",
        "library.md",
        "notebook.md",
        "vocabularies.md",
        "sweeps.md",
        "scale.md",
        "segment.md",
        "looking.md",
        "predictions.md",
        "results.md",
    ),
    "Trust": (
        "reliability.md",
        "fidelity.md",
        "reference.md",
        "ablations.md",
        "baselines.md",
        "eight.md",
        "performance.md",
    ),
    "Extend": ("own-methods.md", "adding.md", "rooms.md", "decisions.md", "contributing.md", "changelog.md"),
    "Commands": (),  # in the order of `car --help`
    "Reference": tuple(f"reference/{room}.md" for room in ROOMS),
}


def on_config(config: Any) -> Any:
    """Order the pages: known ones as in ORDER, all others at the end. Raises Abort if a generated table is stale."""
    if stale := stale_pages():
        raise Abort("\n".join(stale))
    existing = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} | {*made_pages()}
    order = {**ORDER, "Commands": [page for page in made_pages() if page.startswith("commands/")]}
    nav = [{title: [page for page in pages if page in existing]} for title, pages in order.items()]
    others = sorted(existing - {page for pages in order.values() for page in pages})
    config.nav = [*(part for part in nav if any(part.values())), *([{"More": others}] if others else [])]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not files of docs/."""
    for name, text in made_pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at the places of their targets on the site; let search list guides before pages about the code."""
    if page.file.src_uri.startswith("reference/") or page.file.src_uri in ("rooms.md", "changelog.md"):
        page.meta["search"] = {"boost": 1e-6}  # a word in a title counts a thousand times as much as one in a text
    return relinked(markdown, page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Keep each option in one piece: browsers break lines after the hyphens of `--option`."""

    def whole(code: re.Match[str]) -> str:
        return re.sub(r"\S*--\S+", r'<span class="whole">\g<0></span>', code[0])

    return re.sub(r"(?<=<code>)[^<]+(?=</code>)", whole, html)


def made_pages() -> dict[str, str]:
    """The text of all pages that are not files of docs/, by name."""
    return {
        **{page: moved_page(ROOT / file) for file, page in MOVED.items()},
        **{f"reference/{room}.md": reference(room) for room in ROOMS},
        **{f"commands/{'-'.join(words)}.md": command_page(words, command) for words, command in commands()},
    }


def moved_page(file: Path) -> str:
    """The text of a page outside docs/; of a notebook its cells with their stored texts and pictures."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return text
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if picture := data.get("image/jpeg"):
                parts.append(f"![What the cell above shows](data:image/jpeg;base64,{''.join(picture).strip()})")
            else:
                shown = "".join(output.get("text") or data["text/plain"]).rstrip()
                parts.append(f"```text\n{shown}\n```")
    return "\n\n".join(parts) + "\n"


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


def commands(group: Any = None, *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands of `car`, each with the words that call it."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)
        elif not command.hidden:
            yield (*above, name), command


def command_page(words: tuple[str, ...], command: Any) -> str:
    """A command's help as a page: examples, its arguments and its options, each with its default."""
    context = command.make_context(" ".join(("car", *words)), [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    page = [
        f"# car {' '.join(words)}",
        inspect.cleandoc(command.help or ""),
        f"```text\n{context.info_name} {usage}\n```",
    ]
    if examples := EXAMPLES.get(" ".join(words)):
        page.append("\n".join(("```bash", *examples, "```")))
    records = [record for option in command.get_params(context) if (record := option.get_help_record(context))]
    page.append(table(["option", "meaning"], [[f"`{name}`", escaped(text)] for name, text in records]))
    return "\n\n".join(page) + "\n"


def reference(room: str) -> str:
    """Directives for the docstrings of a room's modules."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    return f"# {room}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"
