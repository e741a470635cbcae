"""Unit text features of a CLIP model, cached, and the check that a text fits the context."""

from __future__ import annotations

import copy
import functools
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from car_core.config import format_text
from car_core.engine.device import is_gpu
from car_core.errors import ModelError, QueryError
from car_core.models.clip import SimpleTokenizer, changed_part, open_clip, state_token
from car_core.models.vit_blocks import residual_block
from support.text import broken_text

# Text features are kept for this many texts (a RefCOCO split has some ten thousand sentences).
TEXT_CACHE_SIZE = 16_384
# Texts of a forward pass, at most.
TEXT_BATCH = 64
CONTEXT_LENGTH = 77
"""Tokens that CLIP reads."""


@functools.cache
def tokenizer_of(context_length: int) -> SimpleTokenizer:
    """CLIP's tokenizer with this context. All share the BPE merges that open_clip loads on import (0.25 s)."""
    tokenizer = copy.copy(getattr(open_clip.tokenizer, "_tokenizer", None) or SimpleTokenizer())
    tokenizer.context_length = context_length
    return tokenizer


def least_tokens(tokenizer: SimpleTokenizer, text: str) -> int:
    """A lower bound of a text's tokens, without start and end: its bytes over those of the longest token.

    Every byte except white space is in a token once the tokenizer has cleaned the text. Takes linear time.
    """
    return math.ceil(len("".join(tokenizer.clean_fn(text).split()).encode()) / _longest_token(tokenizer))


@functools.cache
def _longest_token(tokenizer: SimpleTokenizer) -> int:
    """Bytes of the vocabulary's longest token, in which each byte is a character."""
    return max(len(token.removesuffix("</w>")) for token in tokenizer.encoder)


# Cached, because every image repeats the same checks. Rejected texts are not: they can be arbitrarily long.
@functools.lru_cache(TEXT_CACHE_SIZE)
def check_text(query: str, template: str = "{}", *, context_length: int = CONTEXT_LENGTH) -> None:
    """Raise QueryError if ``query`` in ``template`` does not fit the context (open_clip would cut it silently).

    Also for text that is not valid Unicode, which some tokenizers read as other text.
    """
    if near := broken_text(query) or broken_text(template):
        raise QueryError(f"query: expected text, found {near}")
    tokenizer, text = tokenizer_of(context_length=context_length), format_text(template, query)
    length, bound = least_tokens(tokenizer, text) + 2, "at least "  # with start and end
    if length <= context_length:  # else it is not tokenized: merging characters takes time quadratic in their number
        length, bound = len(tokenizer.encode(text)) + 2, ""
    if length > context_length:
        shown = query if len(query) <= 60 else query[:60] + "..."
        inside = "" if template == "{}" else f" in {template!r}"
        expected = f"at most {context_length} tokens{inside} (start and end included)"
        raise QueryError(f"query {shown!r}: expected {expected}, found {bound}{length}")


class TextEncoder:
    """Unit text features of one CLIP model, cached."""

    def __init__(self, model: nn.Module, *, role: str) -> None:
        vocabulary = int(getattr(model, "vocab_size", 0) or 0)
        self._context_length = int(getattr(model, "context_length", CONTEXT_LENGTH))
        self._tokenizer = tokenizer_of(context_length=self._context_length)
        if vocabulary != self._tokenizer.vocab_size:
            raise ModelError(
                f"{role}: expected CLIP's vocabulary of {self._tokenizer.vocab_size} tokens, found {vocabulary}"
            )
        self._model: Any = model
        self._role, self._modules = role, list(model.modules())
        self._state = state_token(self._modules)
        self._cache: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()
        self._n_cached = 0  # texts

    def check_unchanged(self) -> None:
        """Raise ModelError if the model's parts or weights changed since this was built, which makes the cache stale.

        Weights changed through ``.data`` are not noticed: build the segmenter again after that, too.
        """
        if state_token(self._modules) != self._state:
            raise ModelError(
                f"{self._role}: expected an unchanged model, found one that changed after the segmenter was built; "
                "build the segmenter again"
            )

    def check(self, query: str, template: str = "{}") -> None:
        """As `check_text`, for this model's context."""
        check_text(query, template, context_length=self._context_length)

    @torch.inference_mode()
    def __call__(self, groups: Iterable[Sequence[str]]) -> list[Tensor]:
        """Unit features of each group's texts, float32 [n, E], on the model's device.

        A group is what is always asked for together (a query in all templates), because rounding depends on what shares
        a pass: on a CPU a group forms its own passes; on a GPU passes have a constant number of texts, of any groups.
        """
        keys = [tuple(group) for group in groups]
        found = {key: self._cache[key] for key in keys if key in self._cache}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing:
            plain = _is_plain_causal(self._model)
            passes = [[text for key in missing for text in key]] if is_gpu(self._model.logit_scale.device) else missing
            features = torch.cat([self._encode(texts, plain=plain) for texts in passes])
            of_groups = zip(missing, features.split([len(key) for key in missing]), strict=True)
            found.update((key, feature.clone()) for key, feature in of_groups)  # a view would keep all of them
        for key, feature in found.items():
            self._n_cached += 0 if key in self._cache else len(key)
            self._cache[key] = feature
            self._cache.move_to_end(key)
        while self._n_cached > TEXT_CACHE_SIZE:
            self._n_cached -= len(self._cache.popitem(last=False)[0])
        return [found[key] for key in keys]

    def _encode(self, texts: Sequence[str], *, plain: bool) -> Tensor:
        """As `encode_tokens`, of texts in passes of `TEXT_BATCH`; on a GPU the last is filled with empty texts."""
        for text in texts:
            self.check(text)
        device = self._model.logit_scale.device
        filled = [*texts, *[""] * (-len(texts) % TEXT_BATCH if is_gpu(device) else 0)]
        tokens = self._tokenizer(filled, self._context_length).to(device).split(TEXT_BATCH)
        return torch.cat([encode_tokens(self._model, each, plain=plain).float() for each in tokens])[: len(texts)]


def encode_tokens(model: Any, tokens: Tensor, *, plain: bool) -> Tensor:
    """Unit text features [n, E] of tokens [n, context length].

    A plain causal tower gets no tokens after the last text's end, because they affect no feature. A model with another
    tower, or one that was compiled, wrapped or changed, encodes the whole context itself.
    """
    if not plain:
        features: Tensor = model.encode_text(tokens, normalize=True)
        return features
    tower = getattr(model, "text", model)
    ends = tokens.argmax(dim=-1)  # the end mark is the largest token
    tokens = tokens[:, : int(ends.max()) + 1]
    x = tower.token_embedding(tokens) + tower.positional_embedding[: tokens.shape[1]]
    for block in tower.transformer.resblocks:
        x = residual_block(block, x, causal=True)
    pooled = tower.ln_final(x[torch.arange(len(x), device=x.device), ends])
    return F.normalize(pooled @ tower.text_projection, dim=-1)


def _is_plain_causal(model: Any) -> bool:
    """Whether the model has CLIP's own text tower, unchanged: causal attention, pooled at the end mark."""
    tower = getattr(model, "text", model)
    return (
        type(model) in (open_clip.CLIP, open_clip.CustomTextCLIP)
        and getattr(tower, "attn_mask", None) is not None
        and not any(
            changed_part(getattr(tower, part), part, of_text=True)
            for part in ("transformer", "token_embedding", "ln_final")
        )
        and "encode_text" not in vars(tower)
        and "forward" not in vars(tower)
        and getattr(tower, "text_pool_type", getattr(tower, "pool_type", None)) == "argmax"
        and getattr(tower, "cls_emb", None) is None
        and not getattr(tower, "use_pad_mask", False)
        and isinstance(getattr(tower, "text_projection", None), Tensor)
    )
