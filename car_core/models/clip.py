"""open_clip towers as CaR uses them: text features, the patch trunk of f, class-token features of g.

Everything here is inference on frozen models. Shapes: B images, L = 1 + P tokens (class token first), D tower width,
E embedding size, h x w = P patches.
"""

from __future__ import annotations

import copy
import functools
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from car_core.config import format_text
from car_core.engine.device import is_gpu
from car_core.engine.pillow_resize import Crop, by_pillow, center_crop, resize
from car_core.engine.precision import exact_convolutions, in_precision
from car_core.errors import ModelError, QueryError
from car_core.images import size_of
from car_core.models.torchvision_guard import declare_missing_ops
from car_core.models.vit_blocks import block_with_attention, first_token_block, residual_block
from support.arrays import RGBArray

declare_missing_ops()

import open_clip as open_clip  # noqa: E402 (exported: others must import it after the guard)
from open_clip.constants import HF_SAFE_WEIGHTS_NAME as HF_SAFE_WEIGHTS_NAME  # noqa: E402
from open_clip.constants import HF_WEIGHTS_NAME as HF_WEIGHTS_NAME  # noqa: E402
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD  # noqa: E402
from open_clip.factory import load_state_dict as load_state_dict  # noqa: E402
from open_clip.tokenizer import SimpleTokenizer  # noqa: E402
from open_clip.transformer import ResidualAttentionBlock  # noqa: E402

# Text features are kept for this many texts (a RefCOCO split has some ten thousand sentences).
TEXT_CACHE_SIZE = 16_384
# Texts encoded in one forward pass.
TEXT_BATCH = 64


def check_vision_tower(model: nn.Module, role: str) -> None:
    """Raise ModelError, naming ``role``, unless the vision tower is a float32 CLIP ViT whose blocks CaR can open.

    ResNets, timm towers, attention pooling and custom blocks are refused.
    """
    visual: Any = getattr(model, "visual", None)
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    plain = (
        blocks is not None
        and all(type(block) is ResidualAttentionBlock for block in blocks)
        and getattr(visual, "attn_pool", None) is None
        and getattr(visual, "pool_type", "tok") == "tok"
        and not getattr(visual, "final_ln_after_pool", False)
        and getattr(visual.transformer, "batch_first", False)
    )
    if not plain:
        raise ModelError(f"{role}: expected an open_clip model with a plain ViT tower, found {type(visual).__name__}")
    dtype = visual.conv1.weight.dtype
    if dtype != torch.float32:
        raise ModelError(f"{role}: expected a model in float32, found {dtype}")


# Reading its merges takes a quarter of a second, and a process may hold many encoders.
_tokenizer = functools.cache(SimpleTokenizer)


class _TooLongError(ValueError):
    """A text does not fit the context; the message is the number of its tokens."""


# Kept, for every image asks again; a refused text, which may be of any length, is not.
@functools.lru_cache(TEXT_CACHE_SIZE)
def _require_fit(context_length: int, text: str) -> None:
    """Raise _TooLongError for a text of more tokens than the context has, start and end included."""
    tokenizer = _tokenizer(context_length=context_length)
    least = least_tokens(tokenizer, text) + 2
    if least > context_length:  # merging a text's characters takes time by the square of their number
        raise _TooLongError(f"at least {least}")
    length = len(tokenizer.encode(text)) + 2
    if length > context_length:
        raise _TooLongError(str(length))


def least_tokens(tokenizer: SimpleTokenizer, text: str) -> int:
    """A number of tokens that a text has at the least, without start and end: its bytes over those of the longest.

    Every byte but white space is in a token once the tokenizer has cleaned the text. In time linear in the text.
    """
    return math.ceil(len("".join(tokenizer.clean_fn(text).split()).encode()) / _longest_token(tokenizer))


@functools.cache
def _longest_token(tokenizer: SimpleTokenizer) -> int:
    """Bytes of the vocabulary's longest token, in which each byte is a character."""
    return max(len(token.removesuffix("</w>")) for token in tokenizer.encoder)


class TextEncoder:
    """Unit text features of one CLIP model, cached by text."""

    def __init__(self, model: nn.Module, *, role: str) -> None:
        vocabulary = int(getattr(model, "vocab_size", 0) or 0)
        self._context_length = int(getattr(model, "context_length", 77))
        self._tokenizer = _tokenizer(context_length=self._context_length)
        if vocabulary != self._tokenizer.vocab_size:
            raise ModelError(
                f"{role}: expected CLIP's vocabulary of {self._tokenizer.vocab_size} tokens, found {vocabulary}"
            )
        self._model: Any = model
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    def check(self, query: str, template: str = "{}") -> None:
        """Raise QueryError if ``query`` in ``template`` does not fit the context (open_clip would cut it silently)."""
        try:
            _require_fit(self._context_length, format_text(template, query))
        except _TooLongError as found:
            shown = query if len(query) <= 60 else query[:60] + "..."
            inside = "" if template == "{}" else f" in {template!r}"
            raise QueryError(
                f"query {shown!r}: expected at most {self._context_length} tokens{inside} "
                f"(start and end included), found {found}"
            ) from None

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Unit features of the texts, float32 [n, E], on the model's device."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._cache]
        found = {text: self._cache[text] for text in texts if text in self._cache}
        for start in range(0, len(missing), TEXT_BATCH):
            chunk = missing[start : start + TEXT_BATCH]
            found.update(zip(chunk, self._encode(chunk), strict=True))
        for text, feature in found.items():
            self._cache[text] = feature
            self._cache.move_to_end(text)
        while len(self._cache) > TEXT_CACHE_SIZE:
            self._cache.popitem(last=False)
        return torch.stack([found[text] for text in texts])

    def _encode(self, texts: list[str]) -> Tensor:
        for text in texts:
            self.check(text)
        device = self._model.logit_scale.device
        # A constant number a pass, so that a text's feature does not depend on those it is asked for with.
        chunk = TEXT_BATCH if is_gpu(device) else 1
        padded = texts + [""] * (-len(texts) % chunk)
        tokens = self._tokenizer(padded, self._context_length).to(device)
        parts = [encode_tokens(self._model, part) for part in tokens.split(chunk)]
        return torch.cat(parts).float()[: len(texts)]


def encode_tokens(model: Any, tokens: Tensor) -> Tensor:
    """Unit text features [n, E] of tokens [n, context length].

    A causal tower gets no token behind the last text's end: they reach no feature. Others encode the whole context.
    """
    tower = getattr(model, "text", model)
    if not _is_plain_causal(tower):
        features: Tensor = model.encode_text(tokens, normalize=True)
        return features
    ends = tokens.argmax(dim=-1)  # the end mark is the largest token
    tokens = tokens[:, : int(ends.max()) + 1]
    x = tower.token_embedding(tokens) + tower.positional_embedding[: tokens.shape[1]]
    for block in tower.transformer.resblocks:
        x = residual_block(block, x, causal=True)
    pooled = tower.ln_final(x[torch.arange(len(x), device=x.device), ends])
    return F.normalize(pooled @ tower.text_projection, dim=-1)


def _is_plain_causal(tower: Any) -> bool:
    """Whether this is CLIP's own text tower: causal attention, pooled at the end mark."""
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", ())
    return (
        getattr(tower, "attn_mask", None) is not None
        and all(type(block) is ResidualAttentionBlock for block in blocks)
        and getattr(tower, "text_pool_type", getattr(tower, "pool_type", None)) == "argmax"
        and getattr(tower, "cls_emb", None) is None
        and not getattr(tower, "use_pad_mask", False)
        and isinstance(getattr(tower, "text_projection", None), Tensor)
    )


@dataclass(frozen=True)
class TrunkOutput:
    """What the proposal generator keeps of one image after the trunk."""

    grid: tuple[int, int]  # h, w
    tokens: Tensor  # [L, D], input of the last block
    attention: Tensor  # [P, P], head-averaged attention among patches summed over the counted blocks but the last
    counted_blocks: int  # how many blocks `attention` sums


def proposal_size(height: int, width: int, patch: tuple[int, int], max_patches: int) -> tuple[int, int]:
    """Patch grid (h, w) of f: each side the smallest multiple of the patch size >= the original side.

    A grid of more than ``max_patches`` patches is shrunk, its aspect kept to within a patch.
    """
    grid = math.ceil(height / patch[0]), math.ceil(width / patch[1])
    if grid[0] * grid[1] <= max_patches:
        return grid
    shrink = math.sqrt(max_patches / (grid[0] * grid[1]))
    rows = max(1, min(int(grid[0] * shrink), max_patches))
    return rows, max(1, min(int(grid[1] * shrink), max_patches // rows))


class ProposalTower:
    """The vision tower of f: CLIP's ViT on a whole image of any size, no crop. dtype: of the trunk's products."""

    def __init__(
        self, model: Any, *, positional_half: bool, affinity_blocks: int, dtype: torch.dtype = torch.float32
    ) -> None:
        self.visual = model.visual
        self._trunk = in_precision(model.visual, dtype)
        self.blocks = list(self.visual.transformer.resblocks)
        self.logit_scale: float = float(model.logit_scale.detach().exp())
        self._positional_half = positional_half
        self._affinity_blocks = affinity_blocks
        self._normalization = normalization_of(self.visual)

    def with_switches(self, *, positional_half: bool, affinity_blocks: int) -> ProposalTower:
        """The same tower under other switches."""
        other = copy.copy(self)
        other._positional_half, other._affinity_blocks = positional_half, affinity_blocks
        return other

    def grid(self, image: RGBArray, max_patches: int) -> tuple[int, int]:
        """Patches (h, w) of an image uint8 [H, W, 3]."""
        return proposal_size(*size_of(image), self.visual.patch_size, max_patches)

    def preprocess(self, image: RGBArray, max_patches: int) -> Tensor:
        """uint8 [H, W, 3] to float32 [3, h * patch, w * patch] on the model's device, bicubic (antialiased),
        normalized."""
        rows, columns = self.grid(image, max_patches)
        patch = self.visual.patch_size
        resized = resize(image, (rows * patch[0], columns * patch[1]), self.visual.conv1.weight.device)
        return normalize(resized, self._normalization)

    @torch.inference_mode()
    def trunk(self, pixels: Tensor) -> list[TrunkOutput]:
        """All blocks but the last on images of one size, float32 [B, 3, height, width], multiples of the patch size."""
        patch = self.visual.patch_size
        grid = pixels.shape[2] // patch[0], pixels.shape[3] // patch[1]
        tokens = embed(self._trunk, pixels, self.positional_embedding(grid))
        counted = min(self._affinity_blocks, len(self.blocks)) - 1
        attention = tokens.new_zeros(len(pixels), grid[0] * grid[1], grid[0] * grid[1])
        blocks = list(self._trunk.transformer.resblocks)[:-1]
        for block in blocks[: len(blocks) - counted]:
            tokens = residual_block(block, tokens)
        for block in blocks[len(blocks) - counted :]:
            tokens, weights = block_with_attention(block, tokens)
            attention += weights[:, 1:, 1:]
        return [TrunkOutput(grid, *each, counted) for each in zip(tokens, attention, strict=True)]

    def positional_embedding(self, grid: tuple[int, int]) -> Tensor:
        """[1 + h * w, D]: the class position kept, the grid resized bilinearly (align_corners off)."""
        embedding = self.visual.positional_embedding.detach()
        rows, columns = self.visual.grid_size
        square = embedding[1:].T.reshape(1, -1, rows, columns)
        resized = F.interpolate(square, size=grid, mode="bilinear", align_corners=False)
        result = torch.cat([embedding[:1], resized.flatten(2)[0].T])
        return result.half().to(embedding) if self._positional_half else result


class ClassifierTower:
    """The vision tower of g: CLIP's class token of a square crop. dtype: of its products."""

    def __init__(self, model: Any, *, feature: str, dtype: torch.dtype = torch.float32) -> None:
        visual = in_precision(model.visual, dtype)
        self.visual = visual
        self.logit_scale: float = float(model.logit_scale.detach().exp())
        self.blocks = _blocks_before(visual, feature)
        self._normalization = normalization_of(visual)
        if len(set(visual.image_size)) > 1:
            raise ModelError(f"classifier: expected a model of square images, found {list(visual.image_size)}")

    def with_feature(self, feature: str) -> ClassifierTower:
        """The same tower with another feature."""
        other = copy.copy(self)
        other.blocks = _blocks_before(self.visual, feature)
        return other

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.visual.conv1.weight.device
        return device

    @property
    def activation_bytes(self) -> int:
        """Size of the largest thing that a pass holds of one image: the hidden layer of a block's MLP."""
        mlp = self.visual.transformer.resblocks[0].mlp
        return len(self.visual.positional_embedding) * int(mlp.c_fc.out_features) * 4

    def crop(self, height: int, width: int) -> Crop:
        """What the tower reads of an image of this size."""
        return center_crop(height, width, int(self.visual.image_size[0]))

    def preprocess(self, image: RGBArray) -> Tensor:
        """uint8 [H, W, 3] to uint8 [size, size, 3]: resized (bicubic) and cropped; mean and std come later."""
        return torch.from_numpy(by_pillow(image, self.crop(*size_of(image))))

    def pixels(self, images: Tensor) -> Tensor:
        """uint8 [B, size, size, 3] to float32 [B, 3, size, size] on the model's device, as ``normalize`` has it."""
        return normalize(images.to(self.device).permute(0, 3, 1, 2), self._normalization)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Unit features float32 [B, E] of preprocessed images, uint8 [B, size, size, 3], in one forward pass."""
        tokens = embed(self.visual, self.pixels(images), self.visual.positional_embedding)
        for block in self.blocks[:-1]:
            tokens = residual_block(block, tokens)
        for block in self.blocks[-1:]:  # none in a tower of one block whose last is skipped
            tokens = first_token_block(block, tokens)
        features = self.visual.ln_post(tokens[:, 0]) @ self.visual.proj
        return F.normalize(features, dim=-1).float()


def _blocks_before(visual: Any, feature: str) -> list[Any]:
    """The blocks that a feature of g comes behind."""
    blocks = list(visual.transformer.resblocks)
    return blocks[:-1] if feature == "before_last_block" else blocks


def normalization_of(visual: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel, in [0, 1]: those stored with the model, else OpenAI CLIP's."""
    mean = getattr(visual, "image_mean", None) or OPENAI_DATASET_MEAN
    std = getattr(visual, "image_std", None) or OPENAI_DATASET_STD
    return tuple(mean), tuple(std)


def normalize(images: Tensor, normalization: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    """uint8 [..., 3, H, W] to float32, scaled to [0, 1], mean and standard deviation removed a channel."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in normalization)
    return images.float().div_(255).sub_(mean).div_(std)


def embed(visual: Any, pixels: Tensor, positional: Tensor) -> Tensor:
    """Input of the first block, [B, L, D], from pixels [B, 3, height, width] and positional [L, D]."""
    with exact_convolutions(pixels.device):
        patches = visual.conv1(pixels.to(visual.conv1.weight.dtype)).flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.expand(len(patches), 1, -1)
    tokens: Tensor = visual.ln_pre(torch.cat([class_token, patches.to(class_token.dtype)], dim=1) + positional)
    return tokens
