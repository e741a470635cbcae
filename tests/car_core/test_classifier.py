"""The mask classifier: probabilities, features, and how often each tower and text is run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers.tiny_clip import clip_config, photo, tiny_clip
from oracles.literal_car import class_feature, in_double, query_score
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from car_core import CaR, CaRConfig, Segmentation
from car_core.classifier.similarity import similarity_matrix
from car_core.classifier.tower import ClassifierTower
from car_core.engine.batching import MicroBatcher, cpu_batch_size
from car_core.models.clip import open_clip
from car_core.models.text_encoder import TextEncoder

QUERIES = ["cat", "a red car", "dog", "blue sky"]
TOWERS: dict[str, dict[str, Any]] = {
    "ViT/16": {},
    "ViT/14": {"patch": 14, "image_size": 56, "layers": 3, "width": 96, "embed_dim": 48},
    "GELU, layer scale": {"quick_gelu": False, "ls_init_value": 0.5},
    "one block": {"layers": 1},
}


def unit(*shape: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("ensemble", ["mean_logits", "sum_probabilities"])
@pytest.mark.parametrize(("images", "templates", "queries"), [(5, 15, 5), (3, 2, 7), (1, 1, 1), (4, 15, 1), (2, 1, 3)])
def test_probabilities_equal_a_loop_over_templates(ensemble: str, images: int, templates: int, queries: int) -> None:
    features, texts = unit(images, 32, seed=1), unit(templates, queries, 32, seed=2)
    found = similarity_matrix(features, texts, 60.0, ensemble)
    assert found.shape == (images, queries)
    for i in range(images):
        logits = [[60.0 * float(text.double() @ features[i].double()) for text in row] for row in texts]
        for j in range(queries):
            assert float(found[i, j]) == pytest.approx(query_score(logits, j, ensemble), abs=1e-6)
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-6)


def test_probabilities_without_templates() -> None:
    features, texts = unit(4, 16, seed=1), unit(1, 6, 16, seed=2)
    found = similarity_matrix(features, texts, 30.0, "mean_logits")
    for i in range(4):
        logits = [[30.0 * float(text.double() @ features[i].double()) for text in texts[0]]]
        for j in range(6):
            assert float(found[i, j]) == pytest.approx(query_score(logits, j, None), abs=1e-6)


def test_ensembles_differ() -> None:
    """The second softmax of the released code flattens: 15 rows of 3 sure templates are not one sure row."""
    features, texts = unit(3, 32, seed=1), unit(3, 4, 32, seed=2)
    mean, summed = (similarity_matrix(features, texts, 60.0, name) for name in ("mean_logits", "sum_probabilities"))
    assert (mean - summed).abs().max() > 0.1
    assert summed.max() <= np.exp(3) / (np.exp(3) + 3) + 1e-6


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("size", [(60, 80), (80, 60), (33, 200), (64, 64), (5, 7), (1, 1)], ids=str)
def test_last_block_feature_is_encode_image(name: str, size: tuple[int, int]) -> None:
    model, image = tiny_clip(4, **TOWERS[name]), photo(*size)
    tower = ClassifierTower(model)
    cropped = tower.preprocess(image)[None]
    found = tower.encode(cropped)
    expected = model.encode_image(tower.pixels(cropped), normalize=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found[0], class_feature(in_double(model), image, skip_last=False), atol=1e-5)


@pytest.mark.parametrize("name", TOWERS)
def test_feature_before_last_block_is_a_loop_over_blocks(name: str) -> None:
    model, image = tiny_clip(4, **TOWERS[name]), photo(60, 80)
    tower = ClassifierTower(model)
    cropped = tower.preprocess(image)[None]
    found = tower.encode(cropped, feature="before_last_block")
    np.testing.assert_allclose(found[0], class_feature(in_double(model), image, skip_last=True), atol=1e-5)
    after = tower.encode(cropped)
    assert (found - after).abs().max() > 1e-2


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (33, 200), (64, 64), (300, 41), (1, 1)], ids=str)
def test_preprocessing_is_that_of_clip(size: tuple[int, int]) -> None:
    """Resize the shorter side (bicubic), crop the center, mean and standard deviation."""
    image = photo(*size)
    clip_transform = Compose(
        [
            Resize(64, interpolation=InterpolationMode.BICUBIC),
            CenterCrop(64),
            ToTensor(),
            Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    tower = ClassifierTower(tiny_clip(4))
    found = tower.pixels(tower.preprocess(image)[None])[0]
    torch.testing.assert_close(found, clip_transform(Image.fromarray(image)), rtol=0, atol=0)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", [1, 2, 4, 7, 16])
def test_feature_does_not_depend_on_the_images_beside_it(size: int, shared: bool) -> None:
    """Bit for bit where it must not: other samples' images, and the place in a shared pass."""
    tower = ClassifierTower(tiny_clip(4))
    images = torch.stack([tower.preprocess(photo(60, 80, seed)) for seed in range(7)])
    passes = MicroBatcher(size, shared=shared)
    whole = [torch.stack(rows) for rows in passes.encode(tower.encode, images.split([3, 4]))]
    assert [part.shape for part in whole] == [(3, 32), (4, 32)]
    for part, others in zip(whole, images.split([3, 4]), strict=True):
        assert torch.equal(part, torch.stack(passes.encode(tower.encode, [others])[0]))
    for image, feature in zip(images, torch.cat(whole), strict=True):
        [[alone]] = passes.encode(tower.encode, [image[None]])
        torch.testing.assert_close(alone, feature, rtol=0, atol=0 if shared else 1e-6)


class SmallDevice:
    """An encoder on a device whose memory holds no more than ``room`` images."""

    def __init__(self, tower: ClassifierTower, room: int) -> None:
        self.tower, self.room, self.seen = tower, room, list[int]()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return self.tower.encode(images)


@pytest.mark.parametrize("shared", [True, False])
def test_passes_shrink_until_they_fit(shared: bool) -> None:
    """And stay small; the features are those of any other size."""
    tower = ClassifierTower(tiny_clip(4))
    images = torch.stack([tower.preprocess(photo(60, 80, seed)) for seed in range(7)])
    device, passes = SmallDevice(tower, 3), MicroBatcher(16, shared=shared)
    found = torch.stack(passes.encode(device, [images])[0])
    torch.testing.assert_close(found, tower.encode(images), rtol=0, atol=1e-6)
    assert passes.size == 2
    device.seen.clear()
    passes.encode(device, [images[:4]])
    assert device.seen == [2, 2]
    with pytest.raises(torch.OutOfMemoryError):
        passes.encode(SmallDevice(tower, 0), [images])


@pytest.mark.parametrize("custom_text", [False, True])
@pytest.mark.parametrize("cut", [False, True])
def test_text_features_are_those_of_encode_text(custom_text: bool, cut: bool) -> None:
    """A causal tower sees no token behind the end; one that is not sees the whole context."""
    config = clip_config()
    config["text_cfg"]["no_causal_mask"] = not cut
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = (open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)(**config).eval().requires_grad_(False)
    texts = ["cat", "a photo of a very small red car in the scene", "red " * 74, ""]
    blocks = getattr(model, "text", model).transformer.resblocks
    lengths: list[int] = []
    handle = blocks[0].ln_1.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    groups = TextEncoder(model, role="g")([texts[:1], texts[1:3], texts[3:]])
    handle.remove()
    expected = model.encode_text(open_clip.tokenize(texts), normalize=True)
    torch.testing.assert_close(torch.cat(groups), expected, rtol=0, atol=1e-6)
    assert lengths == ([3, 76, 2] if cut else [77] * 3)


def test_text_features_are_unit_and_cached() -> None:
    model = tiny_clip(4)
    with counted_texts(model) as count:
        encoder = TextEncoder(model, role="g")
        first = encoder([["cat"], ["dog"], ["cat"]])
        again = encoder([["dog"], ["a fox"], ["cat"]])
    assert count == {"cat": 1, "dog": 1, "a fox": 1}
    expected = model.encode_text(open_clip.tokenize(["cat", "dog", "a fox"]), normalize=True)
    torch.testing.assert_close(torch.cat(first), expected[[0, 1, 0]], rtol=0, atol=1e-6)
    assert torch.equal(torch.cat([again[2], again[0]]), torch.cat(first[:2])), "the same bits"
    np.testing.assert_allclose(torch.cat(first).norm(dim=1), 1, atol=1e-6)


def test_text_features_have_the_same_bits_whatever_else_is_encoded() -> None:
    """In any order, with other groups, and when a text of a group was encoded in another."""
    groups = [[f"a {kind} {name}" for kind in ("small", "very large old")] for name in ("cat", "dog", "red fox")]
    encoder = TextEncoder(tiny_clip(4), role="g")
    alone = [TextEncoder(tiny_clip(4), role="g")([group])[0] for group in groups]
    encoder([[groups[0][1]], [*groups[2], *groups[1]]])
    for found, expected in zip(encoder(groups[::-1]), alone[::-1], strict=True):
        assert torch.equal(found, expected)


def test_texts_of_all_groups_fill_passes_of_a_constant_size_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [[f"a {kind} {name}" for kind in range(15)] for name in ("cat", "dog", "fox", "hen", "cow")]
    model, sizes = tiny_clip(4), list[int]()
    expected = torch.cat(TextEncoder(model, role="g")(groups))
    monkeypatch.setattr("car_core.models.text_encoder.is_gpu", lambda _: True)
    model.token_embedding.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    found = TextEncoder(model, role="g")(groups)
    torch.testing.assert_close(torch.cat(found), expected, rtol=0, atol=1e-6)
    assert (sizes, [len(each) for each in found]) == ([64, 64], [15] * 5)


def test_text_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used text goes first; a call with more texts than fit is still answered."""
    monkeypatch.setattr("car_core.models.text_encoder.TEXT_CACHE_SIZE", 3)
    model = tiny_clip(4)
    with counted_texts(model) as count:
        encoder = TextEncoder(model, role="g")
        encoder([["a", "b"], ["c"]])
        encoder([["c"], ["a", "b"]])
        encoder([["d"]])  # c goes
        encoder([["a", "b"], ["d"]])
        assert count == {"a": 1, "b": 1, "c": 1, "d": 1}
        encoder([["c"]])  # a and b go
        encoder([["a", "b"]])
        assert count == {"a": 2, "b": 2, "c": 2, "d": 1}
        [many] = encoder([[f"text {i}" for i in range(70)]])
    assert many.shape == (70, 32)


@contextmanager
def counted_texts(model: Any) -> Iterator[Counter[str]]:
    """How often each text goes through the text tower."""
    count: Counter[str] = Counter()
    tokenizer = open_clip.get_tokenizer("ViT-B-32")

    def note(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        for row in inputs[0]:
            count[tokenizer.decode(row[1 : row.argmax()].tolist()).strip()] += 1

    handle = model.token_embedding.register_forward_pre_hook(note)
    yield count
    handle.remove()


@contextmanager
def counted_images(model: Any) -> Iterator[list[int]]:
    """How many images go through each forward pass of the vision tower."""
    sizes: list[int] = []
    handle = model.visual.conv1.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    yield sizes
    handle.remove()


def distinct_masks(result: Segmentation) -> int:
    """How many prompted images a traced result has: queries with one mask share theirs, in all steps."""
    assert result.config is not None
    eta = result.config.eta
    return len({(proposal > eta).tobytes() for step in result.steps for proposal in step.proposals})  # type: ignore[union-attr]


@pytest.mark.parametrize("templates", [(), ("a {}",), tuple(f"template {i} of a {{}}" for i in range(15))], ids=len)
@pytest.mark.parametrize("profile", ["released", "paper"])
def test_every_prompted_image_is_encoded_once(profile: Any, templates: tuple[str, ...]) -> None:
    """Whatever the number of templates; and the trunk of f runs once an image for all steps."""
    f, g = tiny_clip(4), tiny_clip(6, patch=14, image_size=56, layers=3)
    config = CaRConfig(profile=profile, theta=0.2, templates=templates, background=("sky",), crf=None)
    car = CaR(config, proposal_clip=f, classifier_clip=g)
    with counted_images(f) as trunks, counted_images(g) as encoded:
        result = car.segment(photo(50, 60), QUERIES, trace=True)
    assert len(result.steps) >= 2 or profile == "paper"
    assert trunks == [1]
    assert sum(encoded) == distinct_masks(result) > 1


def test_trunk_runs_once_an_image_of_a_batch() -> None:
    f, g = tiny_clip(4), tiny_clip(6, patch=14, image_size=56, layers=3)
    car = CaR(CaRConfig(theta=0.2, background=("sky",), crf=None), proposal_clip=f, classifier_clip=g)
    with counted_images(f) as trunks, counted_images(g) as encoded:
        results = car.segment_batch([photo(50, 60), photo(40, 40, 1), photo(20, 70, 2)], [QUERIES] * 3, trace=True)
    assert trunks == [1, 1, 1]
    assert sum(encoded) == sum(map(distinct_masks, results))


def test_images_of_equal_patch_grid_share_passes_of_the_trunk() -> None:
    """Where passes are shared: two of 4 x 4 patches and one padded, one of 3 x 3 padded."""
    f, g = tiny_clip(4), tiny_clip(6, patch=14, image_size=56, layers=3)
    car = CaR(CaRConfig(theta=0.2, background=("sky",), crf=None), proposal_clip=f, classifier_clip=g)
    car.trunk_batcher.size, car.trunk_batcher.shared = 2, True
    sizes = []
    handle = f.visual.conv1.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape)))
    images = [photo(50, 60), photo(40, 40, 1), photo(64, 49, 2), photo(64, 64, 3)]
    found = car.segment_batch(images, [QUERIES] * 4)
    handle.remove()
    assert sizes == [(2, 3, 64, 64), (2, 3, 64, 64), (2, 3, 48, 48)]
    assert [each.label_map.shape for each in found] == [(50, 60), (40, 40), (64, 49), (64, 64)]


def test_a_cpu_encodes_few_large_images_at_once() -> None:
    """By the hidden layer of an image: 17 MB of ViT-L/14's and ViT-B/16's, never more than 16 images, at least one."""
    vit_l, vit_b = 257 * 4096 * 4, 197 * 3072 * 4
    assert [cpu_batch_size(size) for size in (1, vit_b, vit_l, 10**9)] == [16, 7, 4, 1]
    assert ClassifierTower(tiny_clip(4)).activation_bytes == 17 * 256 * 4


@pytest.mark.parametrize("shared", [True, False])
def test_shared_passes_are_filled_across_images(shared: bool) -> None:
    """Then only the last of a turn is padded; else each image's are passes of their own."""
    f, g = tiny_clip(4), tiny_clip(6, patch=14, image_size=56, layers=3)
    config = CaRConfig(recurrence="once", background=("sky",), crf=None)
    car = CaR(config, proposal_clip=f, classifier_clip=g)
    car.classifier_batcher = MicroBatcher(2, shared=shared)
    images, queries = [photo(50, 60), photo(40, 40, 1), photo(20, 70, 2)], [QUERIES, QUERIES[:2], QUERIES[1:]]
    with counted_images(g) as encoded:
        results = car.segment_batch(images, queries, trace=True)
    distinct = [distinct_masks(result) for result in results]
    assert encoded == (
        [2] * math.ceil(sum(distinct) / 2)
        if shared
        else [len(part) for n in distinct for part in torch.zeros(n).tensor_split(math.ceil(n / 2))]
    )


def test_equal_prompted_images_are_encoded_once() -> None:
    """Where no pixel passes eta, g is shown the image itself, whatever the query; and again in the next step."""
    f, g = tiny_clip(4), tiny_clip(6, patch=14, image_size=56, layers=3)
    config = CaRConfig(eta=1.0, theta=0.2, templates=("a {}",), background=("sky",), crf=None)
    with counted_images(g) as encoded:
        result = CaR(config, proposal_clip=f, classifier_clip=g).segment(photo(50, 60), QUERIES)
    assert len(result.steps) > 1
    assert encoded == [1]


@pytest.mark.parametrize("profile", ["released", "paper"])
def test_texts_are_encoded_once_for_all_steps_and_images(profile: Any) -> None:
    f, g = tiny_clip(4), tiny_clip(6, patch=14, image_size=56, layers=3)
    templates = ("a photo of a {}.", "this is a {}")
    config = CaRConfig(profile=profile, theta=0.2, templates=templates, background=("sky", "sea"), crf=None)
    car = CaR(config, proposal_clip=f, classifier_clip=g)
    with counted_texts(f) as texts_f, counted_texts(g) as texts_g:
        for seed in range(3):
            car.segment(photo(50, 60, seed), QUERIES)
    assert set(texts_f.values()) == {1}
    assert set(texts_g.values()) == {1}
    assert len(texts_g) == len(QUERIES) * len(templates)


def test_one_model_for_both_roles_encodes_a_text_once() -> None:
    model = tiny_clip(4)
    template = "a clean origami {}."
    config = CaRConfig(profile="paper", templates=(template,), background=("sky",), crf=None)
    car = CaR(config, proposal_clip=model, classifier_clip=model)
    with counted_texts(model) as texts:
        car.segment(photo(50, 60), QUERIES)
    assert len(texts) == len(QUERIES) + 1
    assert set(texts.values()) == {1}


def test_models_are_left_as_they_were() -> None:
    """Frozen inference: no gradient, no changed weight, no hook left behind."""
    model = tiny_clip(4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    car = CaR(CaRConfig(background=("sky",), theta=0.2), proposal_clip=model, classifier_clip=model)
    car.segment(photo(40, 50), QUERIES)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
