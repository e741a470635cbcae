"""open_clip, imported after the torchvision guard, and functions that the vision towers of f and g share.

Shapes: B images, L = 1 + P tokens (class token first), D tower width.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from car_core.errors import ModelError
from car_core.models.checkpoints import require_finite
from car_core.models.late_imports import late_imports
from car_core.models.torchvision_guard import declare_missing_ops

declare_missing_ops()

with late_imports():
    import open_clip as open_clip  # exported: others must import it after the guard
from open_clip import transformer as _parts  # noqa: E402
from open_clip.constants import HF_SAFE_WEIGHTS_NAME as HF_SAFE_WEIGHTS_NAME  # noqa: E402
from open_clip.constants import HF_WEIGHTS_NAME as HF_WEIGHTS_NAME  # noqa: E402
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD  # noqa: E402
from open_clip.tokenizer import SimpleTokenizer as SimpleTokenizer  # noqa: E402

# The parts of a plain tower, which is run part by part: a subclass, a hook or a replaced part would have no effect.
_PLAIN = {
    _parts.VisionTransformer, _parts.TextTransformer, _parts.Transformer, _parts.ResidualAttentionBlock,
    _parts.LayerNorm, _parts.LayerNormFp32, _parts.LayerScale, _parts.QuickGELU, _parts.PatchDropout,
    open_clip.CLIP, open_clip.CustomTextCLIP, nn.ModuleList, nn.Sequential, nn.MultiheadAttention, nn.Linear,
    nn.modules.linear.NonDynamicallyQuantizableLinear, nn.LayerNorm, nn.Conv2d, nn.GELU, nn.Identity, nn.Embedding,
}  # fmt: skip
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
# Parts that are always called as a whole, so that their hooks run: in vision towers, and in text towers.
_CALLED = {nn.Conv2d}
_CALLED_FOR_TEXT = {
    nn.Embedding, nn.Sequential, nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear, nn.LayerNorm, nn.GELU,
    nn.Identity, _parts.LayerNorm, _parts.LayerNormFp32, _parts.LayerScale, _parts.QuickGELU,
}  # fmt: skip


def check_vision_tower(model: nn.Module, role: str) -> None:
    """Raise ModelError, naming ``role``, unless the vision tower is a float32 CLIP ViT whose blocks CaR can open.

    ResNets, timm towers, attention pooling and custom blocks are refused; so are parts that were replaced (LoRA,
    quantization), patched or given hooks, and weights that are not finite.
    """
    visual: Any = getattr(model, "visual", None)
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    plain = (
        blocks is not None
        and all(isinstance(block, _parts.ResidualAttentionBlock) for block in blocks)
        and getattr(visual, "attn_pool", None) is None
        and getattr(visual, "pool_type", "tok") == "tok"
        and not getattr(visual, "final_ln_after_pool", False)
        and getattr(visual.transformer, "batch_first", False)
        and isinstance(getattr(visual, "proj", None), Tensor)
    )
    if not plain:
        found = type(model if visual is None else visual).__name__
        raise ModelError(f"{role}: expected an open_clip model with a plain ViT tower, found {found}")
    if changed := changed_part(visual, "visual") or _changed("the model", getattr(model, "_orig_mod", model), _CALLED):
        raise ModelError(
            f"{role}: expected an open_clip model with a plain ViT tower, found {changed}; merge what was added into "
            "the weights"
        )
    for name, values in model.named_parameters():
        if values.dtype != torch.float32:
            raise ModelError(f"{role}: expected a model in float32, found {values.dtype} ({name})")
    require_finite(model, role)


def changed_part(tower: nn.Module, name: str, *, of_text: bool = False) -> str | None:
    """The first part of a tower that is not open_clip's own, in words; None for a tower as open_clip builds it."""
    if any(getattr(nn.modules.module, f"_global{hooks}") for hooks in _HOOKS):
        return "hooks on all modules (torch.nn.modules.module)"
    for path, module in tower.named_modules(prefix=name):
        if changed := _changed(path, module, _CALLED_FOR_TEXT if of_text else _CALLED):
            return changed
    return None


def _changed(path: str, module: Any, called: Collection[type]) -> str | None:
    kind, found = type(module), f"{path} of the type {type(module).__module__}.{type(module).__qualname__}"
    if kind not in _PLAIN:
        return found
    if kind not in called and any(getattr(module, hooks) for hooks in _HOOKS):
        return f"hooks on {path}"
    if patched := [name for name in vars(module) if callable(getattr(kind, name, None))]:
        return f"{path} with its {patched[0]} replaced"
    if kind is nn.MultiheadAttention:
        odd = module.in_proj_weight is None or module.in_proj_bias is None or module.bias_k is not None
        return f"{found} with other projections" if odd or module.add_zero_attn or not module.batch_first else None
    if kind is nn.LayerNorm or kind in (_parts.LayerNorm, _parts.LayerNormFp32):
        return f"{path} without weight and bias" if module.weight is None or module.bias is None else None
    if kind is _parts.ResidualAttentionBlock and list(module.mlp._modules) != ["c_fc", "gelu", "c_proj"]:
        return f"{path}.mlp with the parts {', '.join(module.mlp._modules)}"
    return None


def state_token(modules: Sequence[nn.Module]) -> int:
    """A number that changes with the parts, hooks and weights of ``modules``, which are all those of a model.

    Weights set through ``.data`` are not noticed. Fast, because it is computed for every image.
    """
    state: list[object] = []
    for module in modules:
        hooks = () if type(module) in (nn.Conv2d, nn.Embedding) else (module._forward_hooks, module._forward_pre_hooks)
        state += [module.training, "forward" in vars(module), *map(len, hooks)]
        state += map(id, module._modules.values())
        for values in (*module._parameters.values(), *module._buffers.values()):
            if values is not None:
                state += [id(values), values.data_ptr(), -1 if values.is_inference() else values._version]
    return hash(tuple(state))


def normalization_of(visual: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, in [0, 1]: those stored with the model, else OpenAI CLIP's."""
    mean = getattr(visual, "image_mean", None) or OPENAI_DATASET_MEAN
    std = getattr(visual, "image_std", None) or OPENAI_DATASET_STD
    return tuple(mean), tuple(std)


def normalize(images: Tensor, normalization: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    """uint8 [..., 3, H, W] to float32, scaled to [0, 1], standardized per channel."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in normalization)
    return images.float().div_(255).sub_(mean).div_(std)


def embed(visual: Any, pixels: Tensor, positional: Tensor) -> Tensor:
    """Input of the first block, [B, L, D], from pixels [B, 3, height, width] and positional [L, D]."""
    patches = visual.conv1(pixels.to(visual.conv1.weight.dtype)).flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.expand(len(patches), 1, -1)
    tokens: Tensor = visual.ln_pre(torch.cat([class_token, patches.to(class_token.dtype)], dim=1) + positional)
    return tokens
