"""Published figures of other methods on the eight usual benchmarks and others, with the user's runs below them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from results.paper.paper_tables import EIGHT, mean_of_eight, peer_rows
from results.run_directory.schema import RunHeader
from results.tables.columns import METHOD, make_table, run_cells
from results.tables.render import Column, Table
from results.tables.run_notes import SUPERVISION, caveats, is_car, is_comparable, method_name, user_settings

PEERS = "peers"
"""The name of the table of the eight benchmarks."""
GRADES = (
    "grade of a published figure: V, the source reports it as a result of its own; I, the source quotes it or does not "
    "say who ran it."
)
_SCREEN = 16
"""Published rows that a terminal shows unless all are requested."""
_LEGEND = (
    "mIoU in percent, published figures as printed, the best last, rows with few figures first. The mean is that of "
    "all eight benchmarks, or none.",
    "supervision: what was trained or looked up besides CLIP and self-supervised trunks.",
    "names: whose class texts. A published figure belongs to a method, its backbone and its names.",
    "ran by: via X where the figure is from X's table, which quotes it or does not say who ran it.",
)
_OURS = {"coco-stuff": "context59", "cityscapes": "ade150"}  # without a figure of CaR: whose settings it has there


def peer_tables(headers: Collection[RunHeader]) -> dict[str, Table]:
    """Published figures on the benchmarks of runs, with the runs below them; without runs, on the usual eight.

    Keys: "peers" for the eight, as `peers_table` shows them, and "peers-pc459" and the like for another benchmark.
    Benchmarks without a published figure are left out.
    """
    names = dict.fromkeys(header.benchmark.name for header in headers)
    tables = {}
    if not names or EIGHT.keys() & names:
        tables[PEERS] = peers_table("Published figures" + (" and these runs" if names else ""), headers)
    for name in names:
        if name not in EIGHT and peer_rows([name]):
            tables[f"{PEERS}-{name}"] = peers_table(f"Published figures and these runs, {name}", headers, {name: name})
    return tables


def peers_table(title: str, headers: Iterable[RunHeader], benchmarks: Mapping[str, str] = EIGHT) -> Table:
    """Published figures on benchmarks in rising order, then one row of ours for all runs that belong together.

    benchmarks: with the headings of their columns. Rows are sorted by the mean over the columns that the runs have.

    Columns: method, backbone, supervision, names, who ran it, one per benchmark (mIoU, percent), the mean of the eight,
    as details remarks, year, venue, grade and source. The mean is blank unless all eight are there and, of runs,
    finished and over all samples; a remark, also shown as a note, says if it cannot be compared with published ones.
    """
    own = [header for header in headers if header.benchmark.name in benchmarks]
    there = [name for name in benchmarks if name in {header.benchmark.name for header in own}] or list(benchmarks)
    peers = [row for row in peer_rows(benchmarks) if row.figures.keys() & set(there)]
    peers.sort(key=lambda row: sum(row.figures.get(name, 0) for name in there))
    rows = [{**row._asdict(), **row.figures, "mean": mean_of_eight(row.figures), "remarks": row.notes} for row in peers]
    of_runs = _rows_of_runs(own)
    spare = {"backbone": 1, "names": 2, "supervision": 3, "ran_by": 4}
    texts = [Column(name, spare=spare[name]) for name in ("backbone", "supervision", "names", "ran_by")]
    figures = [Column(name, heading, "percent") for name, heading in benchmarks.items()]
    details = [Column(name, spare=5) for name in ("remarks", "year", "venue", "grade", "source")]
    mean = [Column("mean", kind="percent")] if benchmarks is EIGHT else []
    notes = [*_LEGEND, GRADES]
    if ours := {name: whose for name, whose in _OURS.items() for h in own if is_car(h) and h.benchmark.name == name}:
        whose = ", ".join(f"{name} (those of {other})" for name, other in ours.items())
        notes.append(f"CaR has no published figure on {whose}: its settings there are ours.")
    if benchmarks is EIGHT and own and (missing := [name for name in EIGHT if name not in there]):
        notes.append(f"No run on {', '.join(missing)}, so no mean.")
    notes += [f"{row['method']}, {row['backbone']}: {row['remarks']}." for row in of_runs if row["remarks"]]
    columns = (METHOD, *texts, *figures, *mean, *details)
    return replace(make_table(title, columns, [*rows, *of_runs], notes), tail=_SCREEN + len(of_runs))


def _rows_of_runs(headers: Collection[RunHeader]) -> list[dict[str, Any]]:
    """One row for the runs that differ only in their benchmarks; of two on one benchmark the whole, then the later."""
    groups: dict[tuple[str, str, str, tuple[str | None, ...]], dict[str, list[RunHeader]]] = {}
    for header in headers:
        config, names = header.config, header.benchmark.names
        models = (
            f"{Path(str(config.get(f'{entry.role}_model', ''))).name} {entry.name}".strip() for entry in header.weights
        )
        changed = [*user_settings(header), *header.benchmark.protocol_changed]
        label = ", ".join([method_name(header), *([config["profile"]] if "profile" in config else []), *changed])
        texts = names.name if names else str(header.request.get("names", "default"))  # by benchmark, hashes differ
        sources = *(entry.sha256 for entry in header.weights), *(each.source for each in header.plugins)
        key = label, " + ".join(dict.fromkeys(models)), texts, (*sources, header.environment.dtype)
        groups.setdefault(key, {}).setdefault(header.benchmark.name, []).append(header)
    rows = []
    for (label, backbone, texts, _), found in groups.items():
        runs = {name: max(own, key=lambda run: (_is_whole(run), run.created_at)) for name, own in found.items()}
        percents = {name: run_cells(run)["percent"] for name, run in runs.items()}
        mean = mean_of_eight({name: percents[name] for name, run in runs.items() if _is_whole(run)})
        said: dict[str, dict[str, str]] = {}  # by kind, since text is cut: numbers only where they are the same
        for name, run in runs.items():
            for text in caveats(run, changes=False):
                said.setdefault(text.partition(": ")[0], {})[name] = text
        words = [
            (next(iter(each.values())) if len({*each.values()}) == 1 else kind)
            + ("" if len(each) == len(runs) else f" ({', '.join(each)})")
            for kind, each in said.items()
        ]
        if mean is not None and not all(map(is_comparable, runs.values())):
            words.insert(0, "mean not comparable with published ones")
        if older := sum(map(len, found.values())) - len(runs):
            words.append(f"{older} more of the same left out")
        own_sam = any(run.config.get("sam") for run in runs.values())
        method = next(iter(runs.values())).config.get("method", "car")
        supervision = "SAM masks" if own_sam else SUPERVISION.get(method, "")
        cells = {"method": label, "backbone": backbone, "names": texts, "supervision": supervision, "ran_by": "here"}
        rows.append({**cells, **percents, "mean": mean, "remarks": "; ".join(words)})
    return rows


def _is_whole(header: RunHeader) -> bool:
    """Whether a run is finished and took all samples of its data set."""
    is_complete = header.status == "complete" and header.metrics.get("miou") is not None
    return is_complete and header.counts.n_total == header.benchmark.dataset.n_samples
