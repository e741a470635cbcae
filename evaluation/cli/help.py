"""Help of commands: options under what they are for, examples below, and names that a shell completes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from evaluation.cli.exit_status import one_line_errors
from evaluation.request.options import PANELS

if TYPE_CHECKING:
    from support.plugins import Kind

_RUN, _OTHER = "results/runs/A", "results/runs/B"
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "eval": (
        "car eval mini-voc",
        "car eval voc21 --data-root /data/VOCdevkit --weights openai --device cuda",
        "car eval mini-voc --set eta=0.3 --set prompts='[circle, blur]' --limit 10",
        "car eval mini-voc --method car,naclip,sclip",
        "car eval --images photos --masks labels --classes classes.txt",
    ),
    "export": ("car export voc21 --data-root /data/VOCdevkit -o voc21.jsonl",),
    "score": ("car score voc21 --predictions masks --data-root /data/VOCdevkit",),
    "rerun": (f"car rerun {_RUN} --print",),
    "runs": ("car runs", "car runs results/runs /archive --benchmark voc21 --method naclip -n 20"),
    "table": (
        f"car table {_RUN}",
        f"car table {_RUN} {_OTHER} --details",
        f"car table {_RUN} {_OTHER} --format latex",
    ),
    "bench": ("car bench", "car bench --sizes full --device cuda"),
    "benchmarks": ("car benchmarks", "car benchmarks voc21 --json"),
    "check": ("car check results/runs/suite-mini", f"car check {_RUN} --golden expected.json --update"),
    "suite": ("car suite mini --jobs 2", "car suite eight --data-root /data --method sclip --weights openai"),
    "sweep": (
        "car sweep mini-voc eta=0.3,0.4,0.5 theta=0.2,0.3 --one-at-a-time",
        "car sweep mini-voc --preset table2",
        "car sweep mini-voc --names plain,sclip --method car,naclip",
    ),
    "merge": (f"car merge part1 part2 --out {_RUN}",),
    "methods": ("car methods --json",),
    "segment": (
        "car segment photo.jpg Pepsi 'Coca Cola' -o out.png --weights openai",
        "car segment 'photos/*.jpg' cat dog -o masks --json masks.json --weights openai",
        "car segment a.jpg b.jpg -p 'a red car' -p bicycle --weights openai",
        "car segment clip.mp4 cat dog --carry -o out.mp4 --weights openai",
    ),
    "compare": (f"car compare {_RUN} {_OTHER}", f"car compare {_RUN} {_OTHER} --all --fail-below -0.5"),
    "report": (f"car report {_RUN} --data-root /data/VOCdevkit --gallery",),
    "push": (f"car push {_RUN} my-name/car-runs --dry-run",),
    "serve": ("car serve --weights openai",),
    "data list": ("car data list", "car data list voc --data-root /data"),
    "data prepare": ("car data prepare voc --data-root /data",),
    "data check": (
        "car data check voc --data-root /data",
        "car data check --images photos --masks labels --classes classes.txt",
    ),
}
"""Example calls by command."""


COMMANDS: Mapping[str, tuple[str, ...]] = {
    "Try": ("segment", "serve"),
    "Run": ("eval", "suite", "sweep", "rerun", "merge", "export", "score", "bench"),
    "Look": ("runs", "table", "compare", "report", "check", "push"),
    "List": ("benchmarks", "methods", "data"),
}
"""The commands of `car` by panel."""


class HelpfulCommand(TyperCommand):
    """A command whose help has its options in panels, and examples; its user errors are one line."""

    def invoke(self, ctx: Any) -> Any:
        with one_line_errors(ctx):
            return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            title = getattr(parameter, "rich_help_panel", None) or "Options"
            if parameter.param_type_name == "argument":
                title = "Arguments"
            if record := parameter.get_help_record(ctx):
                panels.setdefault(title, []).append(record)
        order = ["Arguments", *PANELS, "Options"]
        for title in sorted(panels, key=order.index):
            with formatter.section(title):
                formatter.write_dl(panels[title])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if examples := EXAMPLES.get(ctx.command_path.partition(" ")[2]):
            with formatter.section("Examples"):
                for example in examples:  # whole, to be copied
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def complete(
    source: str | Callable[[], Iterable[str]] = tuple, *, names: Iterable[str] = (), packages: Kind | None = None
) -> Callable[[str], list[str]]:
    """Shell completion for a text of names with commas between them: completes the last one.

    names: known ones. source: a function that gives more, or "module:name" of one or of a collection, imported when a
    shell asks. packages: also those of installed packages, of this kind.
    """

    def offered(incomplete: str) -> list[str]:
        from support.plugins import plugins

        before, comma, begun = incomplete.rpartition(",")
        found = resolve_name(source) if isinstance(source, str) else source
        known = [*names, *(found() if callable(found) else found), *(plugins(packages) if packages else ())]
        return [before + comma + name for name in known if name.startswith(begun)]

    return offered


def set_keys() -> list[str]:
    """Keys of CaR; those of the baselines need torch, which takes seconds."""
    from car_core.config import CaRConfig, field_names
    from evaluation.request.benchmark import NOT_SETTINGS

    return [f"{key.rstrip('_')}=" for key in field_names(CaRConfig) if key not in {*NOT_SETTINGS, "crf", "sam"}]


def data_set_names() -> list[str]:
    """Data sets, and the benchmarks that read them."""
    from dataset_adapters.prepare import all_preparations

    return [*dict.fromkeys(name for own in all_preparations() for name in (own.name, *own.benchmarks))]


COMPLETERS: Mapping[str, Callable[[str], list[str]]] = {
    "benchmark": complete("evaluation.request.benchmark:benchmark_names", packages="benchmarks"),
    "method": complete("results.tables.run_notes:METHOD_TITLES", packages="methods"),
    "set_": complete(set_keys),
    "names": complete("evaluation.request.vocabulary:family_names", names=("released", "dataset")),
    "weights": complete(names=("miniature", "openai", "random:0")),
}
"""For options of runs, by parameter."""
