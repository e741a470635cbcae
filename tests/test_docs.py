"""What the pages say of the tests is so."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from helpers.plugin_package import Install, example_of
from typer.testing import CliRunner

from evaluation import RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.cli.help import EXAMPLES
from results import BenchmarkInfo, DatasetInfo, Environment, RunDirectory, RunHeader, identity_of
from tools.generated_docs import stale_pages

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/*.md")]
)


def parsed(command: str) -> dict[str, Any]:
    """The options of a `car` command by name, as the command line reads them. Raises click's UsageError."""
    program, *arguments = shlex.split(command, comments=True)
    assert program == "car"
    found: Any = typer.main.get_command(app)
    while hasattr(found, "commands"):
        found = found.commands[arguments.pop(0)]
    return dict(found.make_context(command, arguments).params)


def shell_blocks(page: Path) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_shell_scripts_of_the_pages_are_shell() -> None:
    blocks = [text for page in PAGES for text in shell_blocks(page)]
    assert len(blocks) > 10
    for text in blocks:
        # A line such as [--set KEY=VALUE] stands for what may follow.
        checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
        assert checked.returncode == 0, (text, checked.stderr)


def car_calls(script: str) -> list[str]:
    """The calls of `car`, without what follows them; variables and sums of the shell stand for a number."""
    lines = script.replace("\\\n", " ").splitlines()
    calls = [re.search(r"^(?:\S+=.* |srun |\s+)?(car .*)", line) for line in lines]
    texts = [re.split(r" [&>|;]", found.group(1))[0] for found in calls if found]
    return [re.sub(r"\$\{?\w+\}?", "1", text) for text in texts]


def write_run(folder: Path) -> None:
    """The least that a command which reads a run as it reads its options takes."""
    environment = Environment(
        python="3.11",
        platform="",
        packages={},
        git_commit=None,
        git_dirty=None,
        device="cpu",
        dtype="",
        threads=1,
        seed=0,
    )
    dataset = DatasetInfo(name="voc21", split="val", fingerprint="", n_samples=1)
    header = RunHeader(
        status="complete",
        benchmark=BenchmarkInfo(name="voc21", task="semantic", label_space={}, dataset=dataset),
        config={},
        config_sources={},
        request={"benchmark": "voc21"},
        identity=identity_of({}),
        identity_fields={},
        weights=[],
        environment=environment,
    )
    RunDirectory(folder).create(header)


def test_commands_of_the_pages_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of `car` in a shell block has options that there are, with values that they take.

    What is in brackets may be left out; here it is not.
    """
    monkeypatch.chdir(tmp_path)
    for photo in ("photo1.jpg", "photo2.jpg"):
        Path(photo).touch()
    Path("run.yaml").write_text("benchmark: mini-voc\n")
    for name in "AB":
        write_run(Path("results/runs", name))
    calls = [call for page in PAGES for text in shell_blocks(page) for call in car_calls(text)]
    assert len(calls) > 30
    calls += [call for name, own in EXAMPLES.items() for call in own if call.startswith(f"car {name}")]
    assert len({*calls} & {call for own in EXAMPLES.values() for call in own}) >= len(EXAMPLES)
    for call in calls:
        whole = re.sub(r"\[(-[^]]+)\](?:\.\.\.)?", r"\1", call.replace("[NAME]", "voc"))
        assert parsed(whole), call


def outside_fences(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_blocks_of_commands_are_fenced() -> None:
    """An indented block would not be looked at by the tests above."""
    found = {page.name: re.findall(r"^ {4,}((?:car|make) .*)", outside_fences(page), re.MULTILINE) for page in PAGES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def unknown_words(call: str) -> set[str]:
    """Commands and options in a call of `car` that there are not; a call in a sentence need not be a whole one."""
    found: Any = typer.main.get_command(app)
    words = shlex.split(call)[1:]
    while hasattr(found, "commands") and words and words[0].islower() and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in found.commands:
            return {name}
        found = found.commands[name]
    known = {"--help", *(option for each in found.params for option in (*each.opts, *each.secondary_opts))}
    return {option for word in words if (option := word.partition("=")[0]).startswith("-")} - known


def test_commands_in_sentences_have_options_that_there_are() -> None:
    texts = {page: re.findall(r"`(car [^`]+)`", outside_fences(page)) for page in PAGES}
    assert sum(map(len, texts.values())) > 60
    for page, calls in texts.items():
        for call in calls:
            assert unknown_words(" ".join(call.split())) == set(), (page.name, call)
    assert unknown_words("car eval voc21 --mask x --set=a=1") == {"--mask"}
    assert unknown_words("car evil voc21") == {"evil"}


def test_targets_of_the_pages_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)]
    assert len(named) > 30
    assert set(named) <= targets


def test_every_fault_names_a_test_that_there_is() -> None:
    rows = [line for line in (ROOT / "docs/reliability.md").read_text().splitlines() if line.startswith("| ")][2:]
    code = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tests = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= tests, row


def test_every_fault_test_stands_in_the_table() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    code = (ROOT / "tests/evaluation/test_faults.py").read_text()
    faults = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE)) - {"test_a_run_in_a_thread_leaves_signals_alone"}
    assert {name for name in faults if f"`{name}`" not in page} == set()


def test_the_examples_of_adding_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Install
) -> None:
    """Blocks with a title are files; what they make is installed by pip, and the other blocks are executed in order."""
    if not (find_spec("pip") and find_spec("setuptools")):
        pytest.skip("pip and setuptools are not installed")
    page = (ROOT / "docs/adding.md").read_text()
    blocks = re.findall(r"^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [(kind, bool(title)) for kind, title, _ in blocks].count(("python", False)) == 1
    monkeypatch.chdir(tmp_path)
    for _, title, block in blocks:
        if title:
            Path(title).write_text(block)
    flags = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--target", "installed"]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, "."], check=True)
    Path("fruitbox.py").unlink()
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    # The blocks build on each other.
    names: dict[str, Any] = {"__name__": __name__}
    for kind, title, block in blocks:
        if kind == "python" and not title:
            exec(compile(block, "docs/adding.md", "exec"), names)


def test_the_method_of_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = example_of("docs/own-methods.md", "class Contrast")
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(tmp_path)
    Path("contrast.py").write_text(example)
    for benchmark in ("mini-voc", "mini-refcoco"):
        asked = RunOptions(benchmark, method="./contrast.py:Contrast", limit=2, workers=0, out=Path(benchmark))
        header = evaluate(asked).header
        assert (header.counts.n_scored, header.config["threshold"]) == (2, 60.0)
        assert "contrast" in Path(benchmark, "table.md").read_text()


def test_the_method_with_weights_of_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("palette.py").write_text(example_of("docs/own-methods.md", "class Palette"))
    runpy.run_path("palette.py", run_name="__main__")
    asked = RunOptions("mini-voc", method="./palette.py:Palette", settings={"radius": 100}, limit=2, workers=0)
    header = evaluate(replace(asked, out=Path("run"))).header
    assert (header.counts.n_scored, header.config["radius"], header.weights[0].name) == (2, 100.0, "palette.pt")


def test_the_typed_example_of_the_library_is_typed(tmp_path: Path) -> None:
    if not (find_spec("mypy") and (ROOT / ".mypy_cache").is_dir()):
        pytest.skip("mypy has not run here yet: without its cache this takes a minute; `make lint` runs this test, too")
    [example] = re.findall(
        r'^```python title="pepsi.py"\n(.*?)^```', (ROOT / "docs/library.md").read_text(), re.M | re.S
    )
    (tmp_path / "pepsi.py").write_text(example + "reveal_type(found_in)\n")
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    mypy = [sys.executable, "-m", "mypy", *options, str(tmp_path / "pepsi.py")]
    checked = subprocess.run(mypy, capture_output=True, text=True, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout
    assert "-> car_core.segmentation.Segmentation" in checked.stdout  # not Any


def test_the_example_of_predictions_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/predictions.md").read_text()
    [block] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    before, after = re.findall(r"`(car (?:export|score) mini-voc[^`]+)`", page)
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, [*shlex.split(before)[1:], "--limit=2"]).exit_code == 0
    exec(compile(block, "docs/predictions.md", "exec"), {})
    done = CliRunner().invoke(app, [*shlex.split(after)[1:], "--limit=2", "--workers=0"])
    assert done.exit_code == 0, done.output
    assert "# mini-voc: predictions (predictions)" in done.stdout


# What is no idiomatic English, or has a plainer word here: per image, next to, after, reported, resume, compare, fix.
CLUMSY = re.compile(
    r"\b(beside|anew|held against|reckoned|at hand|passed by|done without|of one's own|(is|are) told|told with|mends?"
    r"|as ((the|its) )?\w+ (has|have) (it|them)|goes? on\b(?! to)|once more|there (is|are) not\b|so many per|for it is"
    r"|lent|unasked|named for what|do(es)? (it|them) again"
    r"|(one|two|\d+) an? (device|image|line|pass|pixel|sample|second|side|step))\b"
)


def test_pages_and_help_are_in_plain_words() -> None:
    def generated(page: Path) -> str:
        return re.sub(r"<!-- generated.*?<!-- end of generated -->", "", outside_fences(page), flags=re.DOTALL)

    def help_of(command: Any) -> Iterator[str]:
        yield command.help or ""
        for option in command.params:
            yield getattr(option, "help", None) or ""
        for below in getattr(command, "commands", {}).values():
            yield from help_of(below)

    texts = [
        *map(generated, [*PAGES, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]),
        *help_of(typer.main.get_command(app)),
    ]
    assert len(texts) > 200
    lines = [line for text in texts for line in re.sub(r"`[^`]*`", "", text).splitlines()]
    assert [line for line in lines if CLUMSY.search(line)] == []
    assert all(map(CLUMSY.search, ("one a pass", "two a step", "the page beside it", "as CLIP has it")))


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = (title.lower() for title in re.findall(r"^#+ (.+)$", outside_fences(page), re.MULTILINE))
    return {re.sub(r"[^\w -]", "", title).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))])
def test_links_lead_to_files_and_headings_that_are_there(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", outside_fences(ROOT / page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), target
            assert not anchor or anchor in headings(file), target


def test_tables_from_the_code_are_fresh() -> None:
    assert stale_pages() == []


def test_a_stale_table_is_one_line_with_page_and_command(tmp_path: Path) -> None:
    fresh = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    (tmp_path / "method.md").write_text(fresh.replace("| `theta` |", "| `theta_` |", 1), encoding="utf-8")
    (tmp_path / "scale.md").write_text("# No table\n", encoding="utf-8")
    assert stale_pages(tmp_path) == ["docs/method.md: its generated tables are out of date; run make docs-generated"]


def test_the_site_is_not_built_with_a_stale_table(monkeypatch: pytest.MonkeyPatch) -> None:
    abort = pytest.importorskip("mkdocs.exceptions", reason="MkDocs is not installed (make setup)").Abort
    hook = runpy.run_path(str(ROOT / "docs/site_pages.py"))
    line = "docs/method.md: its generated tables are out of date; run make docs-generated"
    monkeypatch.setitem(hook["on_config"].__globals__, "stale_pages", lambda: [line])
    with pytest.raises(abort, match=re.escape(line)):
        hook["on_config"](None)


def test_an_option_is_never_broken_at_its_hyphens() -> None:
    pytest.importorskip("mkdocs", reason="MkDocs is not installed (make setup)")
    page = runpy.run_path(str(ROOT / "docs/site_pages.py"))["on_page_content"]
    kept = '<code>car eval <span class="whole">--limit</span> 2</code> a--b <pre><code><span>x --y</span></code></pre>'
    assert page("<code>car eval --limit 2</code> a--b <pre><code><span>x --y</span></code></pre>") == kept


def test_restatements_of_the_method_page_are_in_the_tests() -> None:
    named = re.findall(r"`(literal_\w+|test_\w+)\.(\w+)`", (ROOT / "docs/method.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    for module, name in named:
        folder = "oracles" if module.startswith("literal") else "car_core"
        code = (ROOT / "tests" / folder / f"{module}.py").read_text(encoding="utf-8")
        assert re.search(rf"def {name}\(", code), (module, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_that_a_page_names_exist(page: Path) -> None:
    """Paths in backquotes, from the root or within `car_core`; files without a folder are examples."""
    named = re.findall(r"`([\w.]+(?:/[\w.]+)+\.py)`", outside_fences(page))
    missing = [path for path in named if not ((ROOT / path).exists() or (ROOT / "car_core" / path).exists())]
    assert missing == []


def test_functions_that_the_method_page_names_are_in_their_file() -> None:
    text = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|[^|]*\| ([^|]*) \| [^|]*literal", text, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    code = (ROOT / "car_core/method.py").read_text(encoding="utf-8")
    assert {"survivors", "is_stable"} <= set(named)
    assert [name for name in named if f"def {name}(" not in code] == []
