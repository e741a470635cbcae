"""The miniature's benchmarks: their parents' protocols on embedded data, as official files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from car_core import CaR
from dataset_adapters import Dataset, embedded_root, load
from evaluation.request import benchmark as benchmark_module
from evaluation.request.benchmark import load_benchmark, resolve_config

PARENTS = {
    "mini-voc": "voc21",
    "mini-coco-object": "coco-object",
    "mini-context": "context60",
    "mini-refcoco": "refcoco-val",
}


def open_embedded(name: str, tmp_path: Path) -> Dataset:
    benchmark = load_benchmark(name)
    return load(benchmark.adapter, embedded_root(), split=benchmark.split, cache_dir=tmp_path)


@pytest.mark.parametrize(("name", "parent"), PARENTS.items())
def test_they_follow_their_parents(name: str, parent: str) -> None:
    mini, base = load_benchmark(name), load_benchmark(parent)
    assert (mini.adapter, mini.split, mini.protocol) == (base.adapter, base.split, base.protocol)
    assert (mini.embedded, mini.paper, base.embedded) == (True, None, False)
    own, its = (resolve_config(each, "paper", {})[0] for each in (mini, base))
    # What is tuned for the small model; the rest is the parent's protocol.
    tuned = {"eta", "theta", "lambda_", "prompts", "stuff_prompts", "background"}
    assert own.model_dump(exclude=tuned) == its.model_dump(exclude=tuned)


@pytest.mark.parametrize("name", PARENTS)
def test_the_official_files_are_in_the_package_and_readable(name: str, tmp_path: Path) -> None:
    dataset = open_embedded(name, tmp_path)
    images = {sample_id: sample.image.shape for sample_id, sample in zip(dataset.ids, dataset, strict=True)}
    assert len(images) == len(dataset) >= 48
    assert all(100 <= side <= 400 for shape in images.values() for side in shape[:2])
    targets = [np.unique(sample.target) for sample in dataset]
    assert all(labels.any() for labels in targets)  # something to find in every image


def test_stuff_and_every_class_of_voc_are_there(tmp_path: Path) -> None:
    voc = open_embedded("mini-voc", tmp_path)
    seen = set(np.concatenate([np.unique(sample.target) for sample in voc]).tolist())
    assert seen == {*range(21), 255}
    context = open_embedded("mini-context", tmp_path)
    seen = set(np.concatenate([np.unique(sample.target) for sample in context]).tolist())
    space = context.label_space
    found = {query for query, label in zip(space.queries, space.query_labels, strict=True) if label in seen}
    assert found & set(space.things)
    assert found & set(space.stuff)


def test_a_base_gives_what_a_file_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "grand": {"name": "grand", "title": "G", "adapter": "voc21", "config": {"eta": 0.1, "prompts": ["blur"]}},
        "parent": {"name": "parent", "base": "grand", "config": {"eta": 0.2}, "profiles": {"paper": {"theta": 0.1}}},
        "child": {"name": "child", "base": "parent", "title": "C", "config": {"prompts": ["gray", "circle"]}},
    }
    for name, fields in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(fields))
    monkeypatch.setattr(benchmark_module, "_FOLDER", tmp_path)
    child = load_benchmark("child")
    assert (child.name, child.title, child.adapter) == ("child", "C", "voc21")
    assert child.config == {"eta": 0.2, "prompts": ["gray", "circle"]}
    assert child.profiles == {"paper": {"theta": 0.1}}


def test_the_embedded_model_is_one_for_both_roles_and_traceable() -> None:
    import hashlib

    from car_core import CaRConfig
    from car_core.names import MINIATURE_FOLDER

    car = CaR.from_config(CaRConfig(), weights="miniature")
    proposal, classifier = car.weights
    digest = hashlib.sha256((MINIATURE_FOLDER / "miniature.safetensors").read_bytes()).hexdigest()
    assert proposal.sha256 == classifier.sha256 == digest
    assert (proposal.role, classifier.role) == ("proposal", "classifier")
    assert (proposal.name, proposal.model, proposal.trained) == ("miniature", "miniature", True)
    assert car.config.proposal_model == car.config.classifier_model == "miniature"
