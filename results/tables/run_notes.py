"""Notes on a run: everything that a reader needs to know in addition to its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from results.run_directory.schema import Environment, RunHeader
from results.tables.task_words import words_of
from support.text import counted, visible

METHOD_TITLES: Mapping[str, str] = {
    "car": "CaR",
    "clip": "CLIP",
    "maskclip": "MaskCLIP",
    "sclip": "SCLIP",
    "clearclip": "ClearCLIP",
    "naclip": "NACLIP",
    "proxyclip": "ProxyCLIP",
    "resclip": "ResCLIP",
    "sc-clip": "SC-CLIP",
    "lposs": "LPOSS",
    "corrclip": "CorrCLIP",
    "clip-es": "CLIP-ES",
    "sam3": "SAM 3",
}
"""How tables name the methods of `car eval --method`."""
SUPERVISION: Mapping[str, str] = {
    **dict.fromkeys(("car", "clip", "maskclip", "sclip", "clearclip", "naclip"), "none"),
    **dict.fromkeys(("proxyclip", "resclip", "sc-clip", "lposs", "clip-es"), "none"),
    "corrclip": "SAM masks",
    "sam3": "trained on masks",
}
"""Training data of our methods in addition to CLIP and self-supervised trunks, as worded in results/paper/peers.csv."""
_MODEL_FIELDS = ("proposal_model", "classifier_model")


def method_label(header: RunHeader) -> str:
    """The row label of a run: method, profile and names of the weights."""
    if is_scored(header):
        return method_name(header)
    profile = [f"{header.config.get('profile', 'unknown')} profile"] if is_car(header) else []
    # Long file names would push the figures off the screen; the section Run shows them in full.
    names = dict.fromkeys(entry.name for entry in header.weights)
    weights = " + ".join(name if len(name) <= 24 else f"{name[:23]}…" for name in names)
    if not weights and not any(plugin.kind == "methods" for plugin in header.plugins):  # which may have none
        weights = "unknown weights"
    return ", ".join(filter(None, [method_name(header), *profile, weights]))


def is_car(header: RunHeader) -> bool:
    """Whether the method is CaR, the only one with profiles and a recurrence; others are named in `config`."""
    return "method" not in header.config


def is_scored(header: RunHeader) -> bool:
    """Whether the predictions were made elsewhere and only scored here."""
    return "predictions_sha256" in header.config


def method_name(header: RunHeader) -> str:
    """The method's name, with the refinement that it was run with."""
    config = header.config
    if is_scored(header):  # whatever name it was given
        return f"{config['method']} (predictions)"
    if not is_car(header):
        if name := METHOD_TITLES.get(config["method"]):
            more = ("+" if config.get("pixels") else "") + ("+PAMR" if config.get("pamr_steps") else "")
            return f"{name}{more}"
        return str(config["method"])
    return "CaR+SAM" if config.get("sam") else "CaR"


def remarks(header: RunHeader, *, changes: bool = True) -> str:
    """Why the figures are not those of a whole, trained run; empty where they are.

    changes: also name the vocabulary and the settings that the user changed.
    """
    switches = [setting.partition("=")[0] for setting in user_settings(header)]
    changed, names = ", ".join([*switches, *header.benchmark.protocol_changed]), names_of(header)
    applicable = {
        header.benchmark.not_comparable or "": header.benchmark.not_comparable is not None,
        "trained on masks": SUPERVISION.get(str(header.config.get("method"))) == "trained on masks",
        "untrained weights, not comparable": not is_trained(header),
        f"encoders in {header.environment.dtype}": header.environment.dtype != "float32",
        **dict.fromkeys(shortcomings(header), True),
        f"names {names}": changes and bool(names),
        f"changed: {changed}": changes and bool(changed),
    }
    return "; ".join(remark for remark, applies in applicable.items() if applies)


def is_trained(header: RunHeader) -> bool:
    """Whether all weights are trained ones."""
    return all(entry.trained for entry in header.weights)


def shortcomings(header: RunHeader) -> list[str]:
    """Phrases for all that a run lacks compared with the paper's split of its data set; empty for a whole run."""
    dataset, n_total = header.benchmark.dataset, header.counts.n_total
    applicable = {
        all_failed(header): True,
        "run not finished": header.status != "complete" and not all_failed(header),
        f"partial run: {n_total} of {dataset.n_samples} {_noun(header)}": n_total != dataset.n_samples,
        partial_data(header): True,
        f"split {dataset.split}": _is_other_split(header),
    }
    return [shortcoming for shortcoming, applies in applicable.items() if shortcoming and applies]


def partial_data(header: RunHeader) -> str:
    """The remark that the data set on disk is smaller or larger than the split of the paper's figures; else empty."""
    n_here, n_paper = header.benchmark.dataset.n_samples, header.benchmark.paper_samples
    if n_paper in (None, n_here) or _is_other_split(header):
        return ""
    kind = "partial" if n_here < (n_paper or 0) else "larger"
    return f"{kind} data set: {n_here} {_noun(header)} in place of {n_paper}"


def _is_other_split(header: RunHeader) -> bool:
    return header.benchmark.paper_split not in (None, header.benchmark.dataset.split)


def user_settings(header: RunHeader) -> list[str]:
    """The switches that the user set, as key=value."""
    return [f"{key}={header.config[key]}" for key, source in header.config_sources.items() if source == "user"]


def run_name(header: RunHeader) -> str:
    """`name_of_run` of a run with a header."""
    variant, on_miniature = header.config.get("profile") or header.config.get("method"), header.benchmark.on_miniature
    return name_of_run(header.benchmark.name, variant, header.identity, on_miniature=on_miniature)


def name_of_run(benchmark: str, variant: str | None, identity: str, *, on_miniature: bool) -> str:
    """A unique name for a run, fit for a folder: benchmark, profile or method, start of the identity."""
    # One that is named as if it held photos holds none of the miniature's scenes.
    return f"{'miniature-' if on_miniature else ''}{benchmark}-{variant}-{identity[:12]}"


def label_of(header: RunHeader) -> str:
    """Benchmark, method unless it is CaR, names and settings: what distinguishes the runs of a suite or sweep."""
    names = [header.benchmark.names.name] if header.benchmark.names else []
    method = [] if is_car(header) else [str(header.config["method"])]
    return visible(" ".join([header.benchmark.name, *method, *names, *user_settings(header)]), limit=32)


def label_source(header: RunHeader) -> str:
    """Which of its several sources a data set's labels come from; empty where there is only one."""
    source = header.benchmark.dataset.name.partition("/")[2]
    return f"labels from {source}" if source else ""


def is_comparable(header: RunHeader) -> bool:
    """Whether a run's figures may be compared with published ones: trained weights, the whole split, finished.

    Tables show no differences for other runs.
    """
    return header.benchmark.not_comparable is None and is_trained(header) and not shortcomings(header)


def failures(header: RunHeader) -> str:
    """How many samples failed; empty where none did, and where all did, which `remarks` say."""
    counts = header.counts
    is_part = counts.n_failed and counts.n_scored
    return f"{counts.n_failed} of {counts.n_total} {_noun(header)} failed" if is_part else ""


def caveats(header: RunHeader, *, changes: bool = True) -> list[str]:
    """What the figures have to be read with: the parts of `remarks`, and how many samples failed."""
    return [*filter(None, [*remarks(header, changes=changes).split("; "), failures(header)])]


def all_failed(header: RunHeader) -> str:
    """That every sample failed, so that the figures, of empty predictions, mean nothing; empty where one did not."""
    n_failed = header.counts.n_failed
    words = f"all {n_failed} samples failed" if n_failed > 1 else "the only sample failed"
    return words if n_failed and not header.counts.n_scored else ""


def figure_of(header: RunHeader, metric: str) -> Any:
    """A figure in run.json, in 0..1; None where it is undefined, and where no sample was scored."""
    return header.metrics.get(metric) if header.counts.n_scored else None


def _noun(header: RunHeader) -> str:
    return words_of(header.benchmark.task).samples


def outside_facts(header: RunHeader) -> dict[str, str]:
    """The origin of everything that comes from outside car-eval, by kind and name."""
    return {
        f"{each.kind} {each.name}": f"{each.target} of {' '.join(filter(None, (each.package, each.version)))}, "
        f"sources {each.source[:12]}".replace(" of ,", ",")
        for each in header.plugins
    }


def names_of(header: RunHeader) -> str:
    """The class texts of a run: a vocabulary and its hash, or the data set's names if requested; else empty."""
    names = header.benchmark.names
    return f"{names.name} {names.sha256[:8]}" if names else str(header.request.get("names", ""))


def names_note(header: RunHeader) -> str:
    """`names_of`, with the size of a vocabulary."""
    if (names := header.benchmark.names) is None:
        return names_of(header)
    n_texts, background = sum(map(len, names.classes.values())), names.background
    words = "" if background is None else f", {counted(len(background), 'background word')}"
    of_classes = f"{counted(n_texts, 'text')} of {counted(len(names.classes), 'class', 'classes')}"
    return f"{names.name}, {of_classes}{words}, sha256 {names.sha256[:12]}"


def run_facts(header: RunHeader) -> dict[str, str]:
    """Identity, data, weights, settings the user changed, environment, time and memory, by their names."""
    dataset, config, environment = header.benchmark.dataset, header.config, header.environment
    name, n_total, seconds = header.benchmark.name, header.counts.n_total, header.timings.wall_seconds
    source = dataset.name if dataset.name == name else f"{name}, read as {dataset.name}"
    samples = f"{n_total} of {dataset.n_samples} {_noun(header)}"
    protocol = header.identity_fields.get("protocol") or {}
    pace = f", {seconds / n_total:.2f} s per {_noun(header).removesuffix('s')}" if n_total else ""
    stages = sorted(header.timings.seconds_by_stage.items(), key=lambda stage: -stage[1])
    in_all = math.fsum(spent for _, spent in stages)
    peak = header.memory.peak_rss_mib
    others = (f"{_device(o)}, {_commit(o)}, Python {o.python}, {o.platform}" for o in header.other_environments)
    weights = {
        f"weights, {entry.role}": f"{entry.name}, {f'sha256 {entry.sha256[:12]}' if entry.sha256 else 'no file'}"
        for entry in header.weights
    }
    facts = {
        "identity": header.identity,
        "status": header.status,
        "data": f"{source}, split {dataset.split}, {samples}, fingerprint {dataset.fingerprint}",
        "names": names_note(header),
        "protocol": ", ".join(f"{key}={value}" for key, value in protocol.items()),
        "predictions": (
            f"sha256 {config['predictions_sha256']}, values: {config['values']}" if is_scored(header) else ""
        ),
        "models": ", ".join(f"{config[key]} ({key})" for key in _MODEL_FIELDS if key in config),
        **weights,
        **outside_facts(header),
        "set by the user": ", ".join(user_settings(header)) or "nothing",
        "device": _device(environment),
        "time": f"{seconds:.1f} s{pace}",
        "time by stage": ", ".join(
            f"{stage} {spent:.1f} s ({100 * spent / in_all:.0f} %)" for stage, spent in stages if in_all
        ),
        "peak memory": "" if peak is None else f"{peak:.0f} MiB",
        "code": _commit(environment),
        "system": f"Python {environment.python}, {environment.platform}",
        "packages": ", ".join(f"{package} {version}" for package, version in environment.packages.items()),
        "also made with": "; ".join(others),
        "started": header.created_at,
    }
    return {item: value for item, value in facts.items() if value}


def _device(environment: Environment) -> str:
    seed = "" if environment.seed is None else f", seed {environment.seed}"
    return f"{environment.device}, {environment.dtype}, {environment.threads} threads{seed}"


def _commit(environment: Environment) -> str:
    commit = environment.git_commit
    if commit is None:
        return "not a git checkout"
    changed = ", with local changes" if environment.git_dirty else ""
    return f"commit {commit[:12]}{changed}"
