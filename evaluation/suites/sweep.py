"""Sweeps: one benchmark under many settings. A sweep is a suite whose runs are made from points."""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from car_core.config import PROFILES
from dataset_adapters.base.adapter import find_sources
from evaluation.request.benchmark import BenchmarkError, load_benchmark, merged, parse_settings
from evaluation.request.methods import able_methods, settings_by_method
from evaluation.request.options import CAR, OWN_NAMES, RunOptions, sets_figures
from evaluation.suites.definitions import Suite, SuiteRun
from results import identity_of, paper_rows
from support import strict_yaml
from support.choices import Profile
from support.errors import mistakes
from support.files import resolved
from support.text import shortened, unknown_name

Point: TypeAlias = Mapping[str, Any]  # settings as --set names them
MOST_POINTS = 10_000
_FOLDER = resources.files("evaluation") / "sweeps"
FIDELITY = "fidelity"
"""The preset made from the profiles: each switch of `released` as in the paper, one at a time and all together."""


@dataclass(frozen=True)
class Sweep:
    """Points of a sweep.

    paper: the paper's figure of each point in percent, None where it has none; empty without any. paper_column: the
    column of Table 1 whose benchmark those figures are of. profile: where the points start; None for the benchmark's.
    shown: the points as a table shows them; empty for the points as they are. file: that they are from.
    """

    title: str
    points: tuple[Point, ...]
    paper: tuple[float | None, ...] = ()
    paper_column: str | None = None
    profile: Profile | None = None
    shown: tuple[Point, ...] = ()
    file: Path | None = None


def parse_axes(assignments: Sequence[str]) -> dict[str, list[Any]]:
    """``key=v1,v2`` texts as the values of each key; values are YAML (``prompts=[circle],[circle, blur]``).

    Raises BenchmarkError for text of another form, and for a key given twice.
    """
    axes: dict[str, list[Any]] = {}
    for assignment, after in zip(assignments, [*assignments[1:], ""], strict=True):
        key, equals, text = (part.strip() for part in assignment.partition("="))
        if not (key and equals and text):
            typed = f"; type {key}={after}" if key and after and "=" not in assignment + after else ""
            raise BenchmarkError(f"sweep: expected key=value,value,..., found {assignment!r}{typed}")
        if key in axes:
            raise BenchmarkError(f"sweep: expected each key once, found {key} again")
        try:
            axes[key] = strict_yaml.loads(f"[{text}]")
        except ValueError as error:
            raise BenchmarkError(f"sweep: {shortened(assignment)}: expected YAML values, found {error}") from None
    return axes


def grid(axes: Mapping[str, Sequence[Any]]) -> tuple[Point, ...]:
    """Every combination of the values, the last key running fastest. Raises BenchmarkError for over `MOST_POINTS`."""
    if (n := math.prod(len(values) for values in axes.values())) > MOST_POINTS:
        raise BenchmarkError(f"sweep: expected at most {MOST_POINTS} points, found {n}")
    return tuple(dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))


def one_at_a_time(axes: Mapping[str, Sequence[Any]]) -> tuple[Point, ...]:
    """The first values together, which are the center, and each other value in place of its key's first."""
    center = {key: values[0] for key, values in axes.items()}
    return (center, *({**center, key: value} for key, values in axes.items() for value in values[1:]))


def sweep_of(
    assignments: Sequence[str],
    *,
    preset: str | None = None,
    file: Path | None = None,
    one_by_one: bool = False,
    may_be_empty: bool = False,
) -> Sweep:
    """The sweep of a preset, of a file, or of ``key=v1,v2`` texts: their grid, or `one_at_a_time`.

    may_be_empty: none of these is one point that sets nothing, for a sweep over names or methods only. Raises
    BenchmarkError for several of these or none, and as `parse_axes`, `load_preset` and `read_sweep`.
    """
    if may_be_empty and not (assignments or preset or file):
        return Sweep("", ({},))
    if bool(assignments) + bool(preset) + bool(file) != 1:
        several = ", found several of them" if assignments or preset or file else ""
        known = ", ".join(preset_names())
        raise BenchmarkError(f"sweep: expected key=value,value,... or a file or a preset ({known}){several}")
    if preset:
        return load_preset(preset)
    if file:
        return read_sweep(file)
    axes = parse_axes(assignments)
    return Sweep(", ".join(axes), (one_at_a_time if one_by_one else grid)(axes))


class _SweepFile(BaseModel):
    """A sweep as a user writes it: exactly one of a list of points, and values by key for a grid or one at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str | None = None
    points: tuple[Mapping[str, Any], ...] = ()
    grid: Mapping[str, tuple[Any, ...]] = {}
    one_at_a_time: Mapping[str, tuple[Any, ...]] = {}

    @model_validator(mode="after")
    def _is_one_of_them(self) -> _SweepFile:
        axes = (*self.grid.values(), *self.one_at_a_time.values())
        if bool(self.points) + bool(self.grid) + bool(self.one_at_a_time) != 1 or not all(axes):
            raise ValueError("expected points, grid or one_at_a_time, one of them, with values")
        return self


def read_sweep(path: Path) -> Sweep:
    """The sweep of a YAML file: ``points`` (a list of settings), ``grid`` or ``one_at_a_time`` (values by key).

    Raises BenchmarkError, naming the file, if it cannot be read or says something else.
    """
    fields = strict_yaml.read_fields(path, "a sweep's file", "points, grid or one_at_a_time", BenchmarkError)
    try:
        found = _SweepFile.model_validate(fields)
    except ValidationError as error:
        raise BenchmarkError(f"{path}: {mistakes(error, _SweepFile.model_fields)}") from None
    points = found.points or (grid(found.grid) if found.grid else one_at_a_time(found.one_at_a_time))
    return Sweep(found.title or path.stem, points, file=path)


def fidelity() -> Sweep:
    """From profile `released`: each switch as in the paper, one at a time, and all of them together.

    Then the background queries of the paper's best row of Table 6 (all groups), which no profile sets: only them, and
    with all switches.
    """
    paper, groups = PROFILES["paper"], _stored("table6")["groups"]
    background = {"background": [*itertools.chain(*groups.values())]}
    points = ({}, *({switch: value} for switch, value in paper.items()), {**paper}, background, {**paper, **background})
    switches = (_text({switch: value}) for switch, value in paper.items())
    words = ("none", *switches, "all", "background of table6", "all, background of table6")
    shown = tuple({"switch": word} for word in words)
    return Sweep("Switches of the released code, each set as in the paper", points, profile="released", shown=shown)


def preset_names() -> list[str]:
    files = (entry.name for entry in _FOLDER.iterdir())
    return sorted([FIDELITY, *(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))])


def load_preset(name: str) -> Sweep:
    """Read a preset by name. Raises BenchmarkError for an unknown one, with near matches."""
    names = preset_names()
    if name not in names:
        raise BenchmarkError(unknown_name("preset", name, names))
    if name == FIDELITY:
        return fidelity()
    preset = _stored(name)
    paper, points, shown, figures = preset["paper"], list[Point](), list[Point](), list[float | None]()
    for point in preset["points"]:
        own, groups = point.get("set", {}), point.get("background")
        # The cells of the paper's row, in addition to those that all rows of the preset share.
        row = point.get("row", {key: str(value) for key, value in own.items()})
        wanted = {**paper.get("rows", {}), **row}
        rows = paper_rows(paper["table"], paper["column"])
        found = [entry for entry in rows if wanted.items() <= entry.cells.items()]
        if len(found) != 1:
            raise BenchmarkError(f"{paper['table']}: expected one row with {wanted}, found {len(found)}")
        figures.append(found[0].value)
        # Background queries by the names of their groups, as the table shows them.
        texts = {} if groups is None else {"background": [text for each in groups for text in preset["groups"][each]]}
        points.append({**own, **texts})
        shown.append({**own, **({} if groups is None else {"background": " + ".join(groups) or "none"})})
    column = paper.get("rows", {}).get("dataset", paper["column"])
    return Sweep(preset["title"], tuple(points), tuple(figures), paper_column=column, shown=tuple(shown))


def _stored(name: str) -> Any:
    return yaml.safe_load(_FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


def as_suite(
    sweep: Sweep,
    benchmark: str,
    *,
    profile: Profile | None,
    settings: Mapping[str, Any],
    method: str = CAR,
    names: str = OWN_NAMES,
    name: str = "",
    **request: Any,
) -> Suite:
    """The sweep on a benchmark as a suite of one run per point, method and set of names.

    settings: configuration fields of all points; a point's own win, field by field; of several methods, those get a
    setting that have such a field. method, names: as in `RunOptions`, or several separated by commas. name: of the
    suite; empty for one made from the points. request: other fields of `RunOptions`; those that change figures are in
    the name, as the profile and the settings are, so that tables of different requests do not overwrite each other.

    Every point is checked before any work: raises BenchmarkError for an unknown field, an impossible value, two points
    of one configuration, a preset of another profile, or no point.
    """
    if profile and sweep.profile not in (None, profile):
        raise BenchmarkError(f"sweep: expected profile {sweep.profile}, where its points start, found {profile}")
    known = load_benchmark(benchmark)
    task = find_sources(known.adapter)[0].task
    able = able_methods(",".join(_listed("method", method)), task, settings)
    methods = list(able)
    name_sets = _listed("names", names)
    if len({Path(each).name for each in name_sets}) < len(name_sets):  # they are columns of the table
        raise BenchmarkError(f"names: expected files of different names, found {names}")
    # The paper's figures are of one benchmark, or of the one that an embedded benchmark is a small copy of.
    is_papers = sweep.paper_column == (known.paper.column if known.paper else known.adapter)
    papers = sweep.paper if sweep.paper and is_papers else (None,) * len(sweep.points)
    points = tuple(zip(sweep.points, sweep.shown or sweep.points, papers, strict=True))
    found: list[tuple[Point, Point, SuiteRun]] = []
    seen: dict[tuple[str, ...], Point] = {}
    for own_method, own_names, (point, shown, figure) in itertools.product(methods, name_sets, points):
        axes = {"method": able[own_method].name} if methods != [CAR] else {}
        axes |= {"names": own_names} if len(name_sets) > 1 else {}
        own_profile = (profile or sweep.profile) if own_method == CAR or len(methods) == 1 else None
        try:
            # Values as JSON, which is YAML.
            varied = {key: parse_settings([f"{key}={json.dumps(value)}"]) for key, value in point.items()}
            whole = functools.reduce(merged, varied.values(), settings)
            if len(methods) > 1:  # a method without the field that varies runs once
                whole = settings_by_method(whole, able.values())[able[own_method].name]
                own = {key for key, value in varied.items() if able[own_method].accepted(value)}
                point, shown = ({k: v for k, v in each.items() if k in own} for each in (point, shown))
            config, _ = able[own_method].resolve(known, task, own_profile, whole)
        except BenchmarkError as error:
            is_of_file = sweep.file and str(error).startswith(tuple(point))
            raise BenchmarkError(f"{sweep.file}: {error}" if is_of_file else str(error)) from None
        first = seen.setdefault((own_method, own_names, config.model_dump_json()), full := {**axes, **point})
        if first == full and first is not full and len(methods) > 1:
            continue
        if first is not full:  # the two would be one run
            same = f", which is the configuration of {_text(first) or 'no settings'}" if first != full else ""
            raise BenchmarkError(f"sweep: expected each point once, found {_text(full) or 'no settings'} again{same}")
        table_point = {**axes, **({"names": Path(own_names).name} if "names" in axes else {}), **shown}
        run = SuiteRun(
            benchmark=benchmark,
            method=own_method,
            weights=len(methods) == 1 or bool(able[own_method].roles),
            names=own_names,
            settings=whole,
            point=table_point,
            paper=None if axes else figure,
        )
        found.append((full, table_point, run))
    # Fit for a folder; a name that is cut or not unique ends in a part of the digest.
    digests = [identity_of(full) for full, _, _ in found]
    short = [re.sub(r"[^A-Za-z0-9.+=-]+", "-", _text(shown)).strip("-.") for _, shown, _ in found]
    times = Counter(short)
    variants = [
        each if 0 < len(each) <= 80 and times[each] == 1 else f"{each[:70] or 'centre'}-{digest[:8]}"
        for each, digest in zip(short, digests, strict=True)
    ]
    runs = [run.model_copy(update={"variant": variant}) for (*_, run), variant in zip(found, variants, strict=True)]
    swept = [key for key, values in {"method": methods, "names": name_sets}.items() if len(values) > 1]
    title = ", ".join(filter(None, [*swept, sweep.title]))
    of_all = {**({"names": Path(names).name} if len(name_sets) == 1 and names != OWN_NAMES else {}), **settings}
    title = f"{title}; all with {_text(of_all)}" if of_all else title
    name = name or f"sweep-{known.name}-{identity_of({'points': digests})[:8]}"
    # The name ends with the limit, and with a digest of all else that changes figures.
    given = {"profile": profile, "settings": settings, "method": method, "names": names, **request}
    defaults = {each.name: each.default for each in fields(RunOptions) if sets_figures(each.name)}
    changed = {key: given[key] for key in defaults if given.get(key) and given[key] != defaults[key]}
    if limit := changed.pop("limit", None):
        name += f"-limit{limit}"
    if "data_root" in changed:
        changed["data_root"] = str(resolved(changed["data_root"]))
    if "weights" in changed:
        changed["weights"] = {role: weights for role, weights in changed["weights"].items() if weights}
    if digest := {key: value for key, value in changed.items() if value}:
        name += f"-{identity_of(digest)[:8]}"
    return Suite(name=name, title=title, runs=tuple(runs))


def _listed(field: str, text: str) -> list[str]:
    """The names in a text with commas. Raises BenchmarkError for a blank one and for one given twice."""
    found = [each.strip() for each in text.split(",")]
    if not all(found) or len({*found}) < len(found):
        raise BenchmarkError(f"{field}: expected different names, separated by commas, found {text!r}")
    return found


def _text(settings: Mapping[str, Any]) -> str:
    """``eta=0.4,prompts=circle+blur,crf.iterations=3``."""
    parts = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            parts.append(_text({f"{key}.{inner}": own for inner, own in value.items()}))
        else:
            parts.append(f"{key}={'+'.join(map(str, value)) if isinstance(value, (list, tuple)) else value}")
    return ",".join(filter(None, parts))
