"""SAM 3 with random weights against whole forward passes of transformers and loops over texts, instances and pixels."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.hub import serve_hub
from helpers.tiny_clip import photo
from PIL import Image
from safetensors.torch import load_file, save_file

from car_core import ConfigError, ModelError, QueryError
from car_core.baselines import load_baseline
from car_core.baselines.sam3 import _TINY, SAM3Config, SAM3Segmenter
from car_core.models.clip import open_clip
from car_core.models.weights import build_seeded
from car_core.refine.sam import tiny_sam

transformers = pytest.importorskip("transformers", minversion="5.0", reason="needs the extra sam")

START, END, CONTEXT = 49406, 49407, 32
QUERIES = ("cat", "a red bus", "dog")


@pytest.fixture(scope="module")
def model() -> Any:
    """A small Sam3Model whose scores and masks differ more than those of fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = transformers.Sam3Model(transformers.Sam3Config(**_TINY)).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return made


def segmenter(model: Any, *, one_mask: bool = False, **settings: Any) -> SAM3Segmenter:
    made = SAM3Segmenter(SAM3Config(model="here", **settings), model=model)
    made.one_mask = one_mask
    return made


def loaded(name: str, **settings: Any) -> Any:
    return load_baseline(SAM3Config(model=name, **settings), weights="")


def tokens_of(text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, filled up with end marks as transformers' tokenizer does, and which of them are the text's."""
    ids = [*[START, *open_clip.get_tokenizer("ViT-B-32").encode(text)][: CONTEXT - 1], END]
    mask = [1] * len(ids) + [0] * (CONTEXT - len(ids))
    return torch.tensor([ids + [END] * (CONTEXT - len(ids))]), torch.tensor([mask])


def seen(image: Any) -> torch.Tensor:
    """The image as transformers' processor gives it to the model."""
    kind = getattr(transformers, "Sam3ImageProcessor", None) or transformers.Sam3ImageProcessorFast
    side = {"height": 112, "width": 112}
    pixels: torch.Tensor = kind(size=side)(Image.fromarray(image), return_tensors="pt")["pixel_values"]
    return pixels


def whole_pass(model: Any, image: Any, text: str) -> Any:
    """All of SAM 3 for one text, nothing shared."""
    ids, mask = tokens_of(text)
    with torch.no_grad():
        return model(pixel_values=seen(image), input_ids=ids, attention_mask=mask)


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values.double().numpy()))


def same(found: torch.Tensor, expected: torch.Tensor, name: str = "") -> None:
    np.testing.assert_allclose(sigmoid(found), sigmoid(expected), rtol=0, atol=1e-5, err_msg=name)


def enlarged(values: Any, size: tuple[int, int]) -> Any:
    """Bilinear, pixel centers at halves, one axis at a time."""

    def weights(n_in: int, n_out: int) -> Any:
        matrix = np.zeros((n_out, n_in))
        for row in range(n_out):
            at = max((row + 0.5) * n_in / n_out - 0.5, 0)
            low = min(int(at), n_in - 1)
            matrix[row, low] += 1 - (at - low)
            matrix[row, min(low + 1, n_in - 1)] += at - low
        return matrix

    return weights(values.shape[0], size[0]) @ values @ weights(values.shape[1], size[1]).T


def literal_map(output: Any, size: tuple[int, int], threshold: float, *, semantic: bool = True) -> Any:
    """A text's scores, one instance at a time."""
    best, presence = np.zeros(size), sigmoid(output.presence_logits)[0, 0]
    for logit, mask in zip(output.pred_logits[0], output.pred_masks[0], strict=True):
        score = sigmoid(logit) * presence
        if score > threshold:
            best = np.maximum(best, score * enlarged(sigmoid(mask), size))
    if semantic:
        best = np.maximum(best, enlarged(sigmoid(output.semantic_seg[0, 0]), size))
    return best * presence


def threshold_between(model: Any, image: Any) -> float:
    """A threshold that some instances of each text pass."""
    outputs = [whole_pass(model, image, text) for text in QUERIES]
    scores = [sigmoid(output.pred_logits[0]) * sigmoid(output.presence_logits[0]) for output in outputs]
    threshold = float(np.median(np.concatenate(scores)))
    assert any(0 < (each > threshold).sum() < len(each) for each in scores)
    return threshold


@pytest.mark.parametrize("semantic", [True, False])
def test_class_scores_and_labels_against_loops(model: Any, semantic: bool) -> None:
    image = photo(45, 70)
    threshold = threshold_between(model, image)
    settings: dict[str, Any] = {"score_threshold": threshold, "semantic_head": semantic, "background": ("sky", "wall")}
    settings |= {"synonyms": {"dog": ("dog", "a small puppy")}}
    groups = [("sky", "wall"), ("cat",), ("a red bus",), ("dog", "a small puppy")]
    maps = np.stack(
        [
            np.maximum.reduce(
                [literal_map(whole_pass(model, image, t), (45, 70), threshold, semantic=semantic) for t in texts]
            )
            for texts in groups
        ]
    )
    cut = float(np.median(maps.max(axis=0)))
    made = segmenter(model, prob_threshold=cut, **settings)
    found = list(made.find(image, QUERIES, {}))
    with torch.no_grad():
        for text, one in zip(QUERIES, found, strict=True):
            expected = literal_map(whole_pass(model, image, text), (45, 70), threshold, semantic=semantic)
            np.testing.assert_allclose(made.score_map(one, (45, 70)), expected, rtol=0, atol=1e-5)
    labels = np.where(maps.max(axis=0) < cut, 0, maps.argmax(axis=0))
    done = made.segment(image, QUERIES)
    assert (done.label_map == labels).mean() > 0.999
    assert len(np.unique(labels)) > 2
    for index in done.kept:
        np.testing.assert_allclose(done.scores[index], maps[index + 1][labels == index + 1].max(), rtol=0, atol=1e-4)
    assert done.kept == tuple(int(label) - 1 for label in np.unique(done.label_map) if label)


def test_what_is_shared_gives_the_outputs_of_whole_passes(model: Any) -> None:
    image = photo(60, 41)
    for text, one in zip(QUERIES, segmenter(model).find(image, QUERIES, {}), strict=True):
        output = whole_pass(model, image, text)
        pairs = {
            "instances": output.pred_logits[0],
            "masks": output.pred_masks[0],
            "semantic": output.semantic_seg[0, 0],
            "presence": output.presence_logits[0, 0],
        }
        for name, expected in pairs.items():
            same(getattr(one, name), expected, name)


def test_post_processing_is_transformers(model: Any) -> None:
    image = photo(50, 64)
    threshold = threshold_between(model, image)
    made = segmenter(model, one_mask=True, score_threshold=threshold)
    done = made.segment(image, QUERIES)
    kind = getattr(transformers, "Sam3ImageProcessor", None) or transformers.Sam3ImageProcessorFast
    for index, text in enumerate(QUERIES):
        output = whole_pass(model, image, text)
        [theirs] = kind().post_process_instance_segmentation(output, threshold, 0.5, target_sizes=[(50, 64)])
        union = theirs["masks"].numpy().astype(bool).any(axis=0) if len(theirs["masks"]) else np.zeros((50, 64), bool)
        assert (done.masks[index] == union).mean() > 0.999
        np.testing.assert_allclose(done.scores[index], max([*theirs["scores"].tolist(), 0]), rtol=0, atol=1e-5)
    assert done.merged_mask is not None
    np.testing.assert_array_equal(done.merged_mask, done.masks.any(axis=0))
    assert done.merged_mask.sum() > 0


def test_no_instance_is_no_mask(model: Any) -> None:
    done = segmenter(model, one_mask=True, score_threshold=1).segment(photo(20, 30), ["cat"])
    assert done.merged_mask is not None
    assert (done.merged_mask.shape, done.merged_mask.any(), done.kept) == ((20, 30), False, ())
    assert not segmenter(model, score_threshold=1, semantic_head=False).segment(photo(9, 9), ["cat"]).label_map.any()


@pytest.mark.parametrize("one_mask", [False, True])
def test_a_batch_changes_nothing(model: Any, one_mask: bool) -> None:
    images = [photo(40, 60), photo(33, 20, 1), photo(40, 60)]
    settings: dict[str, Any] = {"one_mask": one_mask, "score_threshold": 0.2, "prob_threshold": 0.1}
    together = segmenter(model, **settings).segment_batch(images, [QUERIES, QUERIES[:1], QUERIES])
    for image, queries, one in zip(images, [QUERIES, QUERIES[:1], QUERIES], together, strict=True):
        alone = segmenter(model, **settings).segment(image, queries)
        np.testing.assert_array_equal(one.label_map, alone.label_map)
        np.testing.assert_array_equal(one.scores, alone.scores)
    # How many texts are asked for at a time changes no more than rounding.
    one_by_one, few_at_once = segmenter(model, **settings), segmenter(model)
    one_by_one.chunk = few_at_once.chunk = 1
    for few, one in zip(few_at_once.find(images[0], QUERIES, {}), QUERIES, strict=True):
        [alone_masks] = (each.masks for each in segmenter(model).find(images[0], [one], {}))
        same(few.masks, alone_masks)
    few_texts = one_by_one.segment(images[0], QUERIES)
    assert (few_texts.label_map == together[0].label_map).mean() > 0.999
    [both] = one_by_one.segment_two_pass_batch(images[:1], QUERIES[:1], QUERIES[1:])
    assert (both.label_map == together[0].label_map).mean() > 0.999


def test_an_image_and_a_text_are_encoded_once(model: Any) -> None:
    counts, handles = Counter[str](), []
    for name in ("vision_encoder", "text_encoder"):
        count = lambda *_, name=name: counts.update([name])  # noqa: E731
        handles.append(getattr(model, name).register_forward_pre_hook(count))
    made = segmenter(model)
    for image in (photo(20, 30), photo(20, 30).copy(), photo(20, 30, 1)):
        made.segment(image, QUERIES)
    for handle in handles:
        handle.remove()
    assert counts == {"vision_encoder": 2, "text_encoder": 3}


def test_the_image_is_what_transformers_makes_of_it(model: Any) -> None:
    got: list[torch.Tensor] = []
    handle = model.vision_encoder.register_forward_pre_hook(
        lambda _, inputs, named: got.append(named["pixel_values"] if named else inputs[0]), with_kwargs=True
    )
    for image in (photo(300, 200), photo(31, 99), photo(1, 1)):
        next(segmenter(model).find(image, ["cat"], {}))
        np.testing.assert_allclose(got[-1], seen(image), rtol=0, atol=2 / 255 + 1e-6)  # a level of 8 bits
        assert float((got[-1] - seen(image)).abs().mean()) < 1e-3
    handle.remove()


def test_a_long_sentence_is_cut_as_by_the_authors_tokenizer(model: Any) -> None:
    long = "the man " * 20 + "left"
    image = photo(20, 30)
    [one] = segmenter(model).find(image, [long], {})
    ids, mask = tokens_of(long)
    assert (int(mask.sum()), int(ids[0, -1])) == (CONTEXT, END)
    same(one.masks, whole_pass(model, image, long).pred_masks[0])
    made = segmenter(model, synonyms={"cat": ("x " * 99,)})
    for queries, said in (
        (["x " * 99], "at most 77 tokens"),
        (["y" * 10**5], "at most 77 tokens"),
        (["cat"], "at most 77 tokens"),
        (["\ud800"], "expected text"),
        ([], "at least one"),
        (["dog", "dog"], "each text once"),
    ):
        with pytest.raises(QueryError, match=said):
            made.check_queries(queries)


def test_a_folder_is_the_model_it_was_saved_from(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "mine")
    made = loaded(str(tmp_path / "mine"), score_threshold=0.2)
    [record] = made.weights
    assert (record.role, record.model, record.name, record.trained) == ("sam3", "Sam3Model", "mine", True)
    image = photo(30, 40)
    expected = segmenter(model, score_threshold=0.2).segment(image, QUERIES)
    np.testing.assert_array_equal(made.segment(image, QUERIES).label_map, expected.label_map)
    [one], [other] = (loaded(f"random:{seed}").weights for seed in (1, 2))
    assert (one.model_sha256, one.trained) == (other.model_sha256, False)
    assert one.sha256 != other.sha256
    assert loaded("random:1").weights == (one,)


def test_the_published_files_form_with_the_videos_tracker(model: Any, tmp_path: Path) -> None:
    """Its configuration is the video model's, and its parameters have a prefix."""
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")  # the first versions of transformers 5 save the prefix, too
    tensors = {f"detector_model.{name.removeprefix('detector_model.')}": value for name, value in saved.items()}
    tensors |= {"tracker_model.memory": torch.zeros(3), "tracker_neck.weight": torch.zeros(3)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    detector = json.loads((tmp_path / "config.json").read_text())
    video = {"model_type": "sam3_video", "detector_config": detector, "architectures": ["Sam3VideoModel"]}
    (tmp_path / "config.json").write_text(json.dumps(video))
    made = loaded(str(tmp_path))
    assert made.weights[0].model == "Sam3Model"
    [expected], [found] = (each.find(photo(20, 30), ["cat"], {}) for each in (segmenter(model), made))
    np.testing.assert_array_equal(found.masks, expected.masks)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {k: v for k, v in s.items() if "detr_decoder" not in k}, r"\d+ missing parameters of Sam3"),
        (lambda s: {**s, "adapter.weight": torch.zeros(1)}, r"1 unexpected parameters of Sam3.*adapter\.weight"),
        (lambda s: {k: v * float("nan") for k, v in s.items()}, "NaN or infinity"),
    ],
    ids=["missing", "unexpected", "NaN"],
)
def test_weights_that_are_not_all_in_the_file_are_refused(change: Any, said: str, model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    refused(str(tmp_path), f"^sam3: .*{said}")


def refused(name: str, said: str) -> None:
    __tracebackhide__ = True
    with pytest.raises(ModelError, match=said) as refusal:
        loaded(name)
    assert "\n" not in str(refusal.value)


def test_another_model_and_none_are_refused(tmp_path: Path) -> None:
    build_seeded(0, lambda: tiny_sam(transformers)).save_pretrained(tmp_path)
    refused(str(tmp_path), "expected a SAM 3 of transformers .* found: a model of the type sam$")
    refused("/nowhere/sam3", "found: no such folder")
    refused("random:x", "sam3: expected random:SEED with a whole number")
    refused(f"random:{2**63}", r"sam3: expected random:SEED with a whole number below 2\*\*63")
    for settings in ({"score_threshold": 2}, {"background": ("a", "a")}, {"synonyms": {"cat": ()}}, {"models": "a"}):
        with pytest.raises(ConfigError, match=f"^{next(iter(settings))}: "):
            SAM3Config(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["random:0", "facebook/sam3"])
def test_a_transformers_without_sam_3_is_told_the_version(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        __version__ = "4.57.6"

    monkeypatch.setitem(sys.modules, "transformers", Old)
    refused(name, r"^sam3: expected transformers >= 5\.0, found 4\.57\.6; pip install -U 'car-eval\[sam\]'$")


@pytest.mark.parametrize("status", [401, 403])
def test_gated_weights_say_what_to_do(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_hub(tmp_path, monkeypatch) as hub:
        hub.refusal = status
        refused(
            "org/gated-sam3",
            rf"^sam3: .* at 'org/gated-sam3', found: weights that the hub does not give out \({status}\): accept their "
            r"license at https://huggingface\.co/org/gated-sam3 and log in \(hf auth login\)$",
        )
