"""What was loaded is what is used: towers whose parts were replaced, patched or changed are refused or heeded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers.tiny_clip import photo, tiny_clip
from torch import Tensor, nn
from torch.nn.utils import prune

from car_core import CaR, CaRConfig, ModelError
from car_core.baselines import BASELINES
from car_core.engine.stage_cache import StageCache
from car_core.models.clip import open_clip
from car_core.models.text_encoder import TextEncoder

CONFIG = CaRConfig(recurrence="none", background=("grass",), crf=None)
IMAGE = photo(40, 50)


def own() -> Any:
    """A model of this test's own."""
    return copy.deepcopy(tiny_clip(1, layers=2))


class LowRank(nn.MultiheadAttention):
    """Attention with an addition to its weights, as libraries for LoRA make it."""

    delta: Tensor

    @classmethod
    def of(cls, attn: nn.MultiheadAttention) -> LowRank:
        made = cls(attn.embed_dim, attn.num_heads, batch_first=True)
        made.load_state_dict(attn.state_dict())
        made.delta = 0.2 * torch.randn(attn.in_proj_weight.shape, generator=torch.Generator().manual_seed(1))
        return made.requires_grad_(False).eval()

    def forward(self, *arguments: Any, **options: Any) -> Any:
        before = self.in_proj_weight.clone()
        self.in_proj_weight += self.delta
        try:
            return super().forward(*arguments, **options)
        finally:
            self.in_proj_weight.copy_(before)


class Separate(nn.Module):
    """Attention with projections of its own."""

    def __init__(self, attn: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads = attn.num_heads
        self.query = nn.Linear(attn.embed_dim, attn.embed_dim)

    def forward(self, query: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        return self.query(query), None


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def with_bias_of_keys(block: Any) -> None:
    block.attn = nn.MultiheadAttention(block.attn.embed_dim, 2, batch_first=True, add_bias_kv=True)


def replaced(block: Any, path: str, make: Callable[[Any], Any]) -> None:
    parent, _, name = path.rpartition(".")
    owner = block.get_submodule(parent)
    setattr(owner, name, make(getattr(owner, name)))


def linear(kind: type[nn.Linear]) -> Callable[[nn.Linear], nn.Linear]:
    return lambda old: kind(old.in_features, old.out_features)


def hooked(module: nn.Module) -> None:
    module.register_forward_hook(lambda module, given, output: output)


def patched(module: Any) -> None:
    own_forward = module.forward
    module.forward = lambda *given, **options: own_forward(*given, **options)


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "LoRA as a subclass": (lambda b: replaced(b, "attn", LowRank.of), r"attn of the type test_towers\.LowRank"),
    "attention of another kind": (lambda b: replaced(b, "attn", Separate), r"attn of the type test_towers\.Separate"),
    "attention with more keys": (with_bias_of_keys, "attn of the type .*MultiheadAttention with other projections"),
    "attention without biases": (
        lambda b: replaced(b, "attn", lambda a: nn.MultiheadAttention(a.embed_dim, 2, bias=False, batch_first=True)),
        "attn of the type .*MultiheadAttention with other projections",
    ),
    "MLP replaced": (lambda b: replaced(b, "mlp", lambda _: nn.Linear(64, 64)), "mlp"),
    "MLP with an adapter": (lambda b: b.mlp.add_module("adapter", nn.Identity()), "mlp with the parts .*adapter"),
    "layer of the MLP": (lambda b: replaced(b, "mlp.c_fc", linear(Scaled)), r"mlp\.c_fc of the type test_towers"),
    "output projection": (lambda b: replaced(b, "attn.out_proj", linear(Scaled)), r"out_proj of the type test_towers"),
    "activation": (lambda b: replaced(b, "mlp.gelu", lambda _: nn.SELU()), r"mlp\.gelu of the type torch.*SELU"),
    "norm": (lambda b: replaced(b, "ln_1", lambda _: nn.RMSNorm(64)), r"ln_1 of the type torch.*RMSNorm"),
    "norm without weights": (
        lambda b: replaced(b, "ln_2", lambda _: nn.LayerNorm(64, elementwise_affine=False)), "ln_2 without weight",
    ),
    "parametrization": (
        lambda b: nn.utils.parametrize.register_parametrization(b.mlp.c_fc, "weight", nn.Identity()),
        r"mlp\.c_fc of the type .*ParametrizedLinear",
    ),
    "pruning": (lambda b: prune.l1_unstructured(b.mlp.c_fc, "weight", 0.5), r"hooks on .*mlp\.c_fc"),
    "hook on the block": (hooked, r"hooks on visual\.transformer\.resblocks\.1"),
    "hook on attention": (lambda b: hooked(b.attn), r"hooks on visual\.transformer\.resblocks\.1\.attn"),
    "hook before the MLP": (lambda b: b.mlp.register_forward_pre_hook(lambda *_: None), r"hooks on .*\.mlp"),
    "patched block": (patched, r"resblocks\.1 with its forward replaced"),
    "patched attention": (lambda b: patched(b.attn), r"attn with its forward replaced"),
    "patched method": (lambda b: setattr(b, "attention", lambda *_, **__: None), "with its attention replaced"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_vision_tower_with_other_parts_is_refused(change: str) -> None:
    model, (apply, said) = own(), CHANGES[change]
    apply(model.visual.transformer.resblocks[1])
    for build in (
        lambda: CaR(CONFIG, proposal_clip=tiny_clip(1, layers=2), classifier_clip=model),
        lambda: BASELINES["sclip"].segmenter(BASELINES["sclip"].config(templates=("{}",)), clip=model),  # type: ignore[call-arg]
    ):
        with pytest.raises(ModelError, match=f"clip: expected .* found .*{said}.*; merge what was added") as refusal:
            build()
        assert "\n" not in str(refusal.value)


def test_a_subclass_of_the_tower_or_of_the_model_is_refused() -> None:
    class Tower(open_clip.transformer.VisionTransformer):  # type: ignore[misc, name-defined]
        pass

    class Model(open_clip.CLIP):  # type: ignore[misc, name-defined]
        pass

    for change in (lambda model: model.visual, lambda model: model):
        model = own()
        part = change(model)
        part.__class__ = Tower if part is model.visual else Model
        with pytest.raises(ModelError, match=r"of the type test_towers.*(Tower|Model)"):
            CaR(CONFIG, proposal_clip=model, classifier_clip=model)


def test_hooks_on_all_modules_are_refused() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        with pytest.raises(ModelError, match="hooks on all modules"):
            CaR(CONFIG, proposal_clip=tiny_clip(1, layers=2), classifier_clip=tiny_clip(1, layers=2))
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.visual.transformer.resblocks[0].mlp.half(), r"float32, found torch.float16 \(visual.*mlp"),
        (lambda m: m.transformer.double(), r"float32, found torch.float64 \(transformer"),
        (lambda m: m.visual.proj.data.fill_(float("nan")), "finite weights, found NaN or infinity in visual.proj"),
        (lambda m: m.ln_final.bias.data.fill_(float("inf")), "finite weights, found NaN or infinity in ln_final.bias"),
    ],
)
def test_weights_of_another_type_or_not_finite_are_refused(change: Callable[[Any], object], said: str) -> None:
    model = own()
    change(model)
    with pytest.raises(ModelError, match=f"proposal_clip: expected .*{said}"):
        CaR(CONFIG, proposal_clip=model, classifier_clip=tiny_clip(1, layers=2))


def test_a_model_that_can_be_trained_is_taken_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    """As open_clip builds it."""
    model = tiny_clip(1, layers=2).requires_grad_(True).train()
    CaR(CONFIG, proposal_clip=model, classifier_clip=model)
    assert not recwarn.list


def test_a_compiled_model_is_its_model() -> None:
    model = tiny_clip(1, layers=2)
    expected = CaR(CONFIG, proposal_clip=model, classifier_clip=model).segment(IMAGE, ["cat", "dog"])
    compiled = torch.compile(own())
    found = CaR(CONFIG, proposal_clip=compiled, classifier_clip=compiled).segment(IMAGE, ["cat", "dog"])  # type: ignore[arg-type]
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("change", ["attention", "mlp", "hook", "patched"])
@torch.no_grad()
def test_what_was_added_to_the_text_tower_counts(change: str) -> None:
    model = own()
    block = model.transformer.resblocks[0]
    if change == "attention":
        block.attn = LowRank.of(block.attn)
    elif change == "mlp":
        replaced(block, "mlp.c_fc", linear(Scaled))
    elif change == "hook":
        block.attn.register_forward_hook(lambda module, given, output: (output[0] * 2, output[1]))
    else:
        block.forward = lambda x, **_: 2 * x
    model.eval().requires_grad_(False)
    tokens = open_clip.SimpleTokenizer()(["a cat", "two dogs"])
    expected = F.normalize(model.encode_text(tokens), dim=-1)
    [found] = TextEncoder(model, role="clip")([["a cat", "two dogs"]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    [other] = TextEncoder(tiny_clip(1, layers=2), role="clip")([["a cat", "two dogs"]])
    assert (found - other).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.token_embedding.weight.mul_(2),
        lambda m: m.load_state_dict(tiny_clip(2, layers=2).state_dict()),
        lambda m: m.load_state_dict(tiny_clip(2, layers=2).state_dict(), assign=True),
        lambda m: m.visual.double(),
        lambda m: m.train(),
        lambda m: hooked(m.visual.transformer.resblocks[0].attn),
        lambda m: setattr(m.transformer.resblocks[0], "attn", LowRank.of(m.transformer.resblocks[0].attn)),
    ],
    ids=["in place", "loaded", "assigned", "type", "training", "hook", "LoRA"],
)
def test_a_model_that_changed_since_is_refused(change: Callable[[Any], object]) -> None:
    model = own()
    car = CaR(CONFIG, proposal_clip=model, classifier_clip=tiny_clip(1, layers=2))
    baseline = BASELINES["sclip"].segmenter(BASELINES["sclip"].config(templates=("{}",)), clip=model)  # type: ignore[call-arg]
    for segmenter in (car, baseline):
        segmenter.segment(IMAGE, ["cat"])
    change(model)
    for segmenter in (car, baseline):
        with pytest.raises(ModelError, match=r"clip: expected an unchanged model, .* build the segmenter again"):
            segmenter.segment(IMAGE, ["cat"])


def set_through_data(model: Any) -> None:
    for own_values, values in zip(model.parameters(), tiny_clip(2, layers=2).parameters(), strict=True):
        own_values.data = values.clone()


@torch.no_grad()
@pytest.mark.parametrize(
    "change", [lambda model: model.load_state_dict(tiny_clip(2, layers=2).state_dict()), set_through_data]
)
def test_shared_cache_tells_a_changed_model_apart(change: Callable[[Any], object]) -> None:
    model, cache, results = own(), StageCache(), []
    for _ in range(2):
        car = CaR(CONFIG, proposal_clip=model, classifier_clip=model)
        car.cache = cache
        results.append(car.segment(IMAGE, ["cat", "dog"]))
        change(model)
    fresh = CaR(CONFIG, proposal_clip=model, classifier_clip=model).segment(IMAGE, ["cat", "dog"])
    assert not np.array_equal(results[0].scores, results[1].scores)
    np.testing.assert_array_equal(results[1].scores, fresh.scores)
