"""`car check --reference`: files made by the literal slow path, and the released code's own where they are there."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from car_core.models.clip import open_clip
from evaluation.analysis.reference import Difference, ReleasedResults, check_reference
from evaluation.cli.app import app

CORE_TESTS = Path(__file__).parents[1] / "car_core"
SHARED = Path(__file__).parents[2].parent / "shared" / "reference"
QUERIES = ["cat", "dog", "a red bus"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.json, model.safetensors and reference.npz, the latter by the literal path in float64."""
    sys.path.insert(0, str(CORE_TESTS))
    try:
        from helpers.tiny_clip import clip_config, photo, tiny_clip
        from oracles.literal_car import LiteralCaR
    finally:
        sys.path.remove(str(CORE_TESTS))
    from evaluation.request.benchmark import load_benchmark, resolve_config

    folder = tmp_path_factory.mktemp("reference")
    clip, image = tiny_clip(), photo(40, 52, 3)
    (folder / "model.json").write_text(json.dumps(clip_config()))
    save_file({key: value.contiguous() for key, value in clip.state_dict().items()}, folder / "model.safetensors")
    settings = {"car.confidence_threshold": 0.3, "templates": ["a {}.", "the {}"], "background": ["grass", "sky"]}
    own = {"theta": 0.3, "templates": settings["templates"], "background": settings["background"]}
    config, _ = resolve_config(load_benchmark("voc21"), "released", own)
    found = LiteralCaR(config, clip, clip).segment(image, QUERIES)
    arrays: dict[str, Any] = {
        "image": image,
        "texts": QUERIES,
        "config": "voc",
        "settings": json.dumps(settings),
        "proposal_model": "model.json",
        "classifier_model": "model.json",
        "proposal_weights": "model.safetensors",
        "classifier_weights": "model.safetensors",
        "n_steps": len(found.steps),
        "final_masks": found.masks,
        "final_scores": np.array(found.scores, np.float32),
        "label_pred": found.label_map,
    }
    for number, step in enumerate(found.steps):
        arrays[f"step{number}_mask_proposals_u16"] = np.round(step.proposals * 65535).astype(np.uint16)
        arrays[f"step{number}_mask_scores"] = np.array(step.scores)
        arrays[f"step{number}_surviving_idx"] = np.array(step.kept)
    np.savez_compressed(folder / "reference.npz", **arrays)
    return folder


def check(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", "--reference", *map(str, arguments)])


def changed(folder: Path, name: str, **arrays: Any) -> Path:
    """The reference with some arrays replaced, or left out where None."""
    with np.load(folder / "reference.npz") as file:
        kept: dict[str, npt.NDArray[Any]] = {key: file[key] for key in file.files}
    new = {**kept, **arrays}
    np.savez_compressed(folder / name, **{key: value for key, value in new.items() if value is not None})
    return folder / name


def test_the_literal_paths_file_agrees(made: Path) -> None:
    found = check_reference(made / "reference.npz", weights={"proposal": None, "classifier": None}, settings={})
    assert [each for each in found if not each.agrees] == []
    quantities = {each.quantity for each in found}
    assert {"steps", "step 1, proposals", "step 2, scores", "step 2, survivors", "final masks"} <= quantities
    result = check(made / "reference.npz")
    assert result.exit_code == 0, result.stderr
    assert "step 1, proposals" in result.stdout
    assert f"0 of {len(found)} quantities differ" in result.stderr


def test_each_kind_of_difference_is_found(made: Path) -> None:
    with np.load(made / "reference.npz") as file:
        scores, labels, kept = (file[key] for key in ("step0_mask_scores", "label_pred", "step0_surviving_idx"))
    for name, value, expected in (
        ("step0_mask_scores", scores + 0.01, "step 1, scores"),
        ("label_pred", labels + 1, "label map"),
        ("step0_surviving_idx", kept[::-1] + 1, "step 1, survivors"),
        ("final_masks", np.zeros((3, 40, 52)), "final masks"),
        ("n_steps", np.array(1), "steps"),
    ):
        found = check_reference(
            changed(made, "other.npz", **{name: value}), weights={"proposal": None, "classifier": None}, settings={}
        )
        assert [each.quantity for each in found if not each.agrees] == [expected]


def test_a_switch_set_otherwise_shows(made: Path) -> None:
    result = check(made / "reference.npz", "--set", "classifier_feature=last_block")
    assert result.exit_code == 4
    assert "DIFFERENT" in result.stdout


def test_reference_crf_fields_are_kept_next_to_given_ones(made: Path) -> None:
    file = changed(made, "crf.npz", settings=json.dumps({"crf": {"bg_factor": 2.0, "iterations": 4}}))
    crf = ReleasedResults(file).configuration({"crf": {"iterations": 3}}).crf
    assert crf is not None
    assert (crf.iterations, crf.bg_factor) == (3, 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": None}, "image: expected this array"),
        ({"image": np.zeros((4, 4))}, "image: expected uint8 [H, W, 3], found float64 [4, 4]"),
        ({"image": np.zeros((40, 52, 3))}, "image: expected uint8 [H, W, 3], found float64 [40, 52, 3]"),
        ({"texts": None}, "texts: expected this array"),
        ({"texts": "cat"}, "texts: expected text [N], found <U3 []"),
        ({"texts": np.array([1, 2, 3])}, "texts: expected text [N], found int64 [3]"),
        ({"n_steps": None}, "n_steps: expected this array"),
        ({"n_steps": np.array([2, 2])}, "n_steps: expected integers [], found int64 [2]"),
        ({"n_steps": "two"}, "n_steps: expected integers [], found <U3 []"),
        ({"n_steps": np.array(0)}, "n_steps: expected at least 1, found 0"),
        ({"config": np.array(["voc"])}, "config: expected text [], found <U3 [1]"),
        ({"final_masks": np.zeros((3, 2, 2))}, "final_masks: expected numbers or booleans [3, 40, 52], found float64"),
        ({"final_scores": np.array(["a", "b", "c"])}, "final_scores: expected numbers [3], found <U1 [3]"),
        ({"final_scores": np.zeros(2)}, "final_scores: expected numbers [3], found float64 [2]"),
        ({"label_pred": np.zeros((40, 52))}, "label_pred: expected integers [40, 52], found float64"),
        (
            {"merged_mask": np.zeros((2, 40, 52))},
            "merged_mask: expected numbers or booleans [40, 52] or [1, 40, 52], found float64 [2, 40, 52]",
        ),
        (
            {"step0_mask_proposals_u16": np.zeros(3)},
            "step0_mask_proposals_u16: expected uint16, found float64",
        ),
        (
            {"step0_mask_proposals_u16": np.zeros((3, 40), np.uint16)},
            "step0_mask_proposals: expected numbers [n, 40, 52]",
        ),
        ({"step0_prompted_images": np.zeros((1, 40, 52, 3))}, "step0_prompted_images: expected uint8 [m, 40, 52, 3]"),
        ({"step0_mask_scores": np.zeros(9)}, "step0_mask_scores: expected numbers [3], found float64 [9]"),
        ({"step1_surviving_idx": np.zeros(1)}, "step1_surviving_idx: expected integers [k], found float64 [1]"),
        ({"config": "vok"}, "config: expected one of voc"),
        ({"settings": "{"}, "settings: expected JSON"),
        ({"settings": "[" * 100_000}, "settings: expected JSON"),
        ({"settings": "[1]"}, "settings: expected a JSON object"),
        ({"settings": '{"car.conf": 1}'}, "settings: car.conf: no such field"),
        ({"proposal_weights": None}, "proposal_weights: expected the weights' file"),
    ],
)
def test_files_that_do_not_fit_are_one_line(made: Path, arrays: dict[str, Any], message: str) -> None:
    result = check(changed(made, "bad.npz", **arrays))
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert message in result.stderr


def test_arrays_are_bounded_by_what_their_headers_say(made: Path) -> None:
    # The data of these 8 TB are not even there: who took the memory first would fail for another reason.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    for name, code, message in (
        ("step9_mask_proposals", 2, "step9_mask_proposals: expected at most 2048 MiB of arrays, found 7629394 MiB"),
        ("unknown", 0, "quantities differ"),
    ):
        file = changed(made, f"{name}.npz")
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(f"{name}.npy", header.getvalue())
        result = check(file)
        assert (result.exit_code, message in result.stderr) == (code, True)


def test_no_archive_and_no_pickles(made: Path) -> None:
    (made / "text.npz").write_text("no archive")
    with (made / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    whole = (made / "reference.npz").read_bytes()
    (made / "damaged.npz").write_bytes(whole[:2000] + bytes(2000) + whole[4000:])
    np.savez(made / "pickled.npz", image=np.array([{}], object))
    for name in ("text.npz", "array.npz", "damaged.npz", "pickled.npz", "absent.npz"):
        result = check(made / name)
        assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert CliRunner().invoke(app, ["check"]).exit_code == 2


def test_differences_know_their_tolerance() -> None:
    assert Difference("a", "value", 1e-4, 1e-4).agrees
    assert not Difference("a", "value", None, 1.0).agrees


@pytest.mark.skipif(not SHARED.is_dir(), reason="the released code's outputs are not here")
def test_the_released_codes_own_file_is_read(tmp_path: Path) -> None:
    """Beside it, masks of two prompted images may differ in a pixel at eta, and so their scores."""
    import torch

    for name in ("ViT-B-16", "ViT-L-14"):
        config = json.loads((SHARED / f"config_{name}.json").read_text())["open_clip"]
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
        own = open_clip.CLIP(**config).state_dict()
        arrays = np.load(SHARED / f"weights_{name}.npz")
        save_file({key: torch.tensor(arrays[key]) for key in own}, tmp_path / f"{name}.safetensors")
    given = {"proposal": str(tmp_path / "ViT-B-16.safetensors"), "classifier": str(tmp_path / "ViT-L-14.safetensors")}
    models = {"proposal_model": str(tmp_path / "ViT-B-16.json"), "classifier_model": str(tmp_path / "ViT-L-14.json")}
    found = check_reference(
        SHARED / "voc_000000000127.npz", weights=given, settings={"positional_half": False, **models}
    )
    assert len(found) > 10
    assert all(each.agrees or each.remark.endswith("of eta") for each in found)
