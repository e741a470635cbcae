"""What a run's identity covers, and what it leaves out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from car_core.models.weights import WeightsRecord, load_clip
from evaluation import RunOptions, evaluate
from evaluation.run import identity
from evaluation.run.environment import package_versions, peak_rss_mib
from evaluation.run.prepare import prepare
from results import identity_of

ROOT = Path(__file__).parents[2]


def identity_and_metrics(options: RunOptions, out: Path) -> tuple[str, dict[str, Any]]:
    header = evaluate(replace(options, out=out)).header
    return header.identity, header.metrics


def test_the_exclusions_are_these_and_no_others() -> None:
    assert set(identity.EXCLUDED) == {
        "device",
        "processes",
        "workers",
        "refine_workers",
        "sample_timeout",
        "max_pixels",
        "batch_size",
        "engine",
        "cluster",
        "saving",
        "track",
        "data_root",
        "places",
        "predictions",
        "out",
        "fresh",
        "quiet",
        "live",
        "proposal_model",
        "classifier_model",
        "sam.model",
        "dino_model",
        "dino_weights",
        "model",
        "weights_name",
    }


def test_the_hash_of_given_fields_is_pinned() -> None:
    given = {
        "benchmark": "voc21",
        "config": {"eta": 0.4, "prompts": ["circle", "blur"]},
        "weights": [{"sha256": None}],
    }
    assert identity_of(given) == "4e725372243d22c5005ad269dbb770403f7e28d21b054b11e80a972bfc6a1f64"


def test_excluded_options_change_neither_identity_nor_figures(tiny_run: Any, tmp_path: Path) -> None:
    base = tiny_run.options(limit=3)
    moved = shutil.copytree(tiny_run.data_root, tmp_path / "elsewhere" / "VOC2012")
    renamed = shutil.copy(tiny_run.model, tmp_path / "renamed.json")
    settings = {**base.settings, "proposal_model": str(renamed), "classifier_model": str(renamed)}
    other = replace(base, data_root=moved, settings=settings, batch_size=1, workers=2)
    assert identity_and_metrics(other, tmp_path / "b") == identity_and_metrics(base, tmp_path / "a")


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"eta": 0.41}},
        {"settings": {"crf": None}},
        {"profile": "paper"},
        {"weights": "random:2"},
        {"weights": {"proposal": "random:1", "classifier": "random:2"}},
        {"names": "dataset"},
        {"limit": 1},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_option_that_changes_figures_changes_the_identity(tiny_run: Any, change: dict[str, Any]) -> None:
    assert prepare(tiny_run.options(**{"limit": 2, **change})).identity != prepare(tiny_run.options(limit=2)).identity


def test_packages_that_a_run_does_not_use_are_not_its_identity() -> None:
    sam = WeightsRecord("sam", "SamModel", "0" * 64, "sam", "1" * 64, trained=True)
    alone, beside = package_versions(), package_versions([sam])
    assert set(beside) - set(alone) == {"transformers"}


def test_a_changed_mask_changes_the_identity(tiny_run: Any) -> None:
    first = prepare(tiny_run.options(limit=1)).identity
    mask = tiny_run.data_root / "SegmentationClass" / "2007_000006.png"
    mask.write_bytes(mask.read_bytes() + b"\0")
    assert prepare(tiny_run.options(limit=1)).identity != first


def test_weights_count_by_content_not_by_name(tiny_run: Any, tmp_path: Path) -> None:
    model, _ = load_clip(str(tiny_run.model), "random:1", role="proposal", device="cpu")
    for name in ("one", "two"):
        save_file(
            {key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / f"{name}.safetensors"
        )
    first, second = (
        identity_and_metrics(tiny_run.options(limit=1, weights=str(tmp_path / f"{name}.safetensors")), tmp_path / name)
        for name in ("one", "two")
    )
    assert first == second


@pytest.fixture
def source_copy(tmp_path: Path) -> Path:
    """A copy of the sources, to be changed."""
    for package in ("car_core", "dataset_adapters", "evaluation"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "miniature"))
    return tmp_path


@pytest.mark.parametrize(
    "source",
    [
        "car_core/proposal/cam.py",
        "car_core/refine/crf.py",
        "dataset_adapters/benchmarks/voc.py",
        "evaluation/tasks/semantic.py",
        "evaluation/tasks/segmenter.py",
    ],
)
def test_code_digest_changes_with_code(source: str, source_copy: Path) -> None:
    with (source_copy / source).open("a") as file:
        file.write("\nTHING = 1\n")
    assert identity.code_digest(source_copy) != identity.code_digest(ROOT)


def test_code_digest_changes_with_one_constant(source_copy: Path) -> None:
    file = source_copy / "car_core/proposal/cam.py"
    file.write_text(file.read_text().replace("EPSILON = 1e-15", "EPSILON = 1e-14"))
    assert identity.code_digest(source_copy) != identity.code_digest(ROOT)


def test_code_digest_survives_moves_comments_and_docstrings(source_copy: Path) -> None:
    cam = source_copy / "car_core/proposal/cam.py"
    text = cam.read_text()
    assert text.startswith('"""')
    commented = (
        text.replace("\n\n\n", "\n\n\n# A comment.\n\n")
        .replace('    """', '    """Other words. ')
        .replace("Other words. \n", "\n")
    )
    (source_copy / "car_core/elsewhere").mkdir()
    (source_copy / "car_core/elsewhere/maps.py").write_text(commented)
    cam.unlink()
    for user in (source_copy / "car_core").rglob("*.py"):
        user.write_text(user.read_text().replace("car_core.proposal.cam", "car_core.elsewhere.maps"))
    assert identity.code_digest(source_copy) == identity.code_digest(ROOT)


def test_code_digest_survives_a_function_moved_to_another_file(source_copy: Path) -> None:
    texts, method = source_copy / "car_core/step_texts.py", source_copy / "car_core/method.py"
    code = texts.read_text()
    start = code.index("def ensemble_name(")
    end = code.find("\n\n\n", start)
    moved, rest = (code[start:], code[:start]) if end < 0 else (code[start:end], code[:start] + code[end + 3 :])
    texts.write_text(rest)
    (source_copy / "car_core/ensembles.py").write_text(f"from car_core.config import CaRConfig\n\n\n{moved}\n")
    both = "from car_core.step_texts import classifier_texts, ensemble_name, proposal_texts"
    assert both in method.read_text()
    apart = both.replace(", ensemble_name", "") + "\nfrom car_core.ensembles import ensemble_name"
    method.write_text(method.read_text().replace(both, apart))
    assert identity.code_digest(source_copy) == identity.code_digest(ROOT)


def test_code_digest_leaves_out_what_computes_nothing(source_copy: Path) -> None:
    for harmless in (
        "car_core/drawing/masks.py",
        "dataset_adapters/prepare/unpack.py",
        "evaluation/tasks/saving.py",
    ):
        with (source_copy / harmless).open("a") as file:
            file.write("\nTHING = 1\n")
    assert identity.code_digest(source_copy) == identity.code_digest(ROOT)


def test_every_option_of_a_run_is_in_the_identity_or_excluded() -> None:
    # Each shown to count above, `protocol` in test_referring_runs, `source` in test_data_sets, `shard` in test_merge,
    # `method` in test_methods, `metrics` in test_metrics.
    covered = {
        "benchmark",
        "method",
        "weights",
        "profile",
        "settings",
        "split",
        "protocol",
        "names",
        "source",
        "limit",
        "precision",
        "shard",
        "metrics",
    }
    assert {field.name for field in fields(RunOptions)} <= covered | set(identity.EXCLUDED)
    assert not covered & set(identity.EXCLUDED)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc")
def test_peak_memory_is_the_processs_own(tmp_path: Path) -> None:
    """Not that of the process which started it, and it does not fall when memory is freed."""
    script = tmp_path / "child.py"
    script.write_text(
        "from evaluation.run.environment import peak_rss_mib\n"
        "small = peak_rss_mib(); x = bytearray(120 * 2**20); del x; print(small, peak_rss_mib())"
    )
    held = np.ones(700 * 2**17)  # 700 MiB
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    small, large = map(float, done.stdout.split())
    assert (peak_rss_mib() or 0) > held.nbytes / 2**20
    assert small < 600
    assert 110 < large - small < 140
