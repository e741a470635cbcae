"""The miniature's two towers: an open_clip model, and how training reads image features from it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG_PATH = Path(__file__).parents[2] / "car_core" / "miniature" / "miniature.json"
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def import_open_clip() -> Any:
    """open_clip, also where torchvision comes without its compiled operators, which it declares but never calls."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import open_clip

    return open_clip


def build_model(config_path: Path = CONFIG_PATH) -> nn.Module:
    """A freshly initialized open_clip model of the configuration, in float32."""
    config = json.loads(config_path.read_text(encoding="utf-8"))
    model: nn.Module = import_open_clip().CLIP(**config)
    return model


@torch.no_grad()
def start_from_images(model: Any, images: Tensor, scale: float) -> None:
    """Start values that save training time: patches whitened over the images, positions as waves, a sharper softmax."""
    conv = model.visual.conv1
    width, side = conv.weight.shape[0], conv.kernel_size[0]
    patches = F.unfold(images, side, stride=side).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(patches[:: max(1, len(patches) // 20_000)].T))
    values, vectors = values[-width:], vectors[:, -width:]
    filters = vectors / (values + 0.02 * values.mean()).sqrt()
    conv.weight.copy_(filters.T.reshape(conv.weight.shape))
    model.visual.positional_embedding[1:] = 0.5 * wave_positions(model.visual.grid_size[0], width)
    model.logit_scale.fill_(math.log(scale))


def wave_positions(grid: int, width: int) -> Tensor:
    """Sines and cosines of the row and column of each patch: [grid * grid, width]."""
    place = torch.arange(grid, dtype=torch.float32)[:, None]
    angles = place / grid * 2 * math.pi * 2 ** torch.linspace(-2, 1.5, width // 4)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = waves[:, None].expand(-1, grid, -1), waves[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], dim=2).reshape(grid * grid, width)


def narrow_vocabulary(model: Any, tokens: Sequence[int]) -> None:
    """Keep the embeddings of the given token ids only, in their order: all others get no gradient anyway."""
    rows = model.token_embedding.weight.detach()[list(tokens)]
    model.token_embedding = nn.Embedding.from_pretrained(rows.clone(), freeze=False)


def save_weights(state: dict[str, Tensor], tokens: Sequence[int], path: Path) -> None:
    """Write half-precision weights of a narrowed model; unknown tokens get zeros, so unknown words say nothing."""
    state = {name: value.detach().half().contiguous() for name, value in state.items() if name != "attn_mask"}
    narrow = state["token_embedding.weight"]
    rows = json.loads(CONFIG_PATH.read_text(encoding="utf-8"))["text_cfg"]["vocab_size"]
    state["token_embedding.weight"] = narrow.new_zeros(rows, narrow.shape[1]).index_copy_(
        0, torch.tensor(tokens), narrow
    )
    save_file(state, path)


def load_model(weights: Path, config_path: Path = CONFIG_PATH) -> nn.Module:
    """The model with weights from a safetensors file, in float32 and evaluation mode."""
    model = build_model(config_path)
    model.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    return model.eval()


class CaptionTokenizer:
    """CLIP's tokenizer with a memory; with a list of known tokens, it numbers tokens by their place in that list."""

    def __init__(self, known_tokens: Sequence[int] | None = None) -> None:
        self._tokenizer = import_open_clip().SimpleTokenizer()
        self._place = None if known_tokens is None else {token: i for i, token in enumerate(known_tokens)}
        self._memory: dict[str, list[int]] = {}

    def token_ids(self, text: str) -> list[int]:
        """Ids in CLIP's vocabulary, start and end included."""
        if text not in self._memory:
            self._memory[text] = [token for token in self._tokenizer([text])[0].tolist() if token]
        return self._memory[text]

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens padded with zeros to the longest text, int64 [N, L], and the position of each text's end [N]."""
        rows = [torch.tensor(self._numbered(self.token_ids(text))) for text in texts]
        ends = torch.tensor([len(row) - 1 for row in rows])
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), ends

    def _numbered(self, ids: list[int]) -> list[int]:
        return ids if self._place is None else [self._place[token] for token in ids]


def known_tokens(texts: Sequence[str]) -> list[int]:
    """Token ids that occur in the texts, ascending."""
    tokenizer = CaptionTokenizer()
    return sorted({token for text in texts for token in tokenizer.token_ids(text)})


def normalize_pixels(images: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] to CLIP's normalized float32 [N, 3, H, W]."""
    mean, std = (
        images.new_tensor(PIXEL_MEAN, dtype=torch.float32),
        images.new_tensor(PIXEL_STD, dtype=torch.float32),
    )
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def grid_positions(visual: Any, grid: int) -> Tensor:
    """Positions of a grid of patches [grid * grid, width]: a random window of the trained grid, or it enlarged."""
    patches = visual.positional_embedding[1:]
    trained = round(len(patches) ** 0.5)
    table = patches.reshape(trained, trained, -1)
    if grid <= trained:
        row, column = torch.randint(trained - grid + 1, (2,)).tolist()
        table = table[row : row + grid, column : column + grid]
    else:
        table = F.interpolate(table.permute(2, 0, 1)[None], (grid, grid), mode="bilinear")[0].permute(1, 2, 0)
    return table.reshape(grid * grid, -1)


def image_features(visual: Any, images: Tensor) -> dict[str, Tensor]:
    """Unit image vectors [N, D] of each pooling, all patches seen; see pooled_features."""
    return pooled_features(visual, images, grid_positions(visual, images.shape[-1] // visual.conv1.stride[0]), 1.0)


def pooled_features(
    visual: Any, images: Tensor, positions: Tensor, keep: float, by_detail: bool = False
) -> dict[str, Tensor]:
    """Unit image vectors [N, D] of each pooling, from a random share `keep` of the patches.

    by_detail: patches with more detail are kept more often, which is where a blurred image shows its marked object.

    class: the class token, as CLIP. patches: the mean over patch tokens, as CaR's mask proposal generator pools.
    early: the class token before the last block, as CaR's released classifier reads it. local: every patch token for
    itself [N, patches, D]. value: the last block's value of every patch, projected, without attention or residual
    [N, patches, D]: what the channel weights of Grad-CAM on that block's input read.
    """
    tokens = visual.conv1(images).flatten(2).transpose(1, 2) + positions
    if keep < 1.0:
        weights = patch_detail(images, visual.conv1.stride[0]) if by_detail else torch.ones_like(tokens[..., 0])
        tokens = _keep_patches(tokens, keep, weights.float())
    first = (visual.class_embedding + visual.positional_embedding[0]).expand(len(tokens), 1, -1)
    hidden = visual.ln_pre(torch.cat([first, tokens], dim=1))
    for block in visual.transformer.resblocks[:-1]:
        hidden = block_output(block, hidden)
    block = visual.transformer.resblocks[-1]
    last = visual.ln_post(block_output(block, hidden))
    pooled = {"class": last[:, 0], "patches": last[:, 1:].mean(1), "early": visual.ln_post(hidden[:, 0])}
    pooled |= {"local": last[:, 1:], "value": visual.ln_post(_values(block, hidden[:, 1:]))}
    return {name: F.normalize(vector @ visual.proj, dim=-1) for name, vector in pooled.items()}


def block_output(block: Any, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """A residual block of open_clip on tokens [N, L, width], with attention written out.

    torch's fused attention takes longer backwards than all the rest of a block on a CPU when sequences are this short.
    """
    tokens = tokens + _attention(block.attn, block.ln_1(tokens), mask)
    return tokens + block.mlp(block.ln_2(tokens))


def _values(block: Any, tokens: Tensor) -> Tensor:
    """Each token's value through the attention's output projection, as if it attended to itself alone."""
    attn, width = block.attn, tokens.shape[-1]
    value = F.linear(block.ln_1(tokens), attn.in_proj_weight[2 * width :], attn.in_proj_bias[2 * width :])
    return F.linear(value, attn.out_proj.weight, attn.out_proj.bias)


def _attention(attn: Any, tokens: Tensor, mask: Tensor | None) -> Tensor:
    batch, length, width = tokens.shape
    stacked = F.linear(tokens, attn.in_proj_weight, attn.in_proj_bias)
    query, key, value = stacked.reshape(batch, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    logits = (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).float()
    weights = (logits if mask is None else logits + mask).softmax(-1).to(value.dtype)
    mixed = (weights @ value).transpose(1, 2).reshape(batch, length, width)
    return F.linear(mixed, attn.out_proj.weight, attn.out_proj.bias)


def patch_detail(images: Tensor, side: int) -> Tensor:
    """Standard deviation of each patch's pixels, over the channels [N, patches], and a little."""
    mean, square = F.avg_pool2d(images, side), F.avg_pool2d(images.square(), side)
    return (square - mean.square()).clamp(min=0).sqrt().mean(1).flatten(1) + 0.05


def _keep_patches(tokens: Tensor, keep: float, weights: Tensor) -> Tensor:
    """A share of the tokens, drawn without replacement by their weights [N, patches]."""
    kept = max(1, round(tokens.shape[1] * keep))
    order = (torch.empty_like(weights).exponential_() / weights).argsort(1)[:, :kept]
    return tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[2]))


def text_features(model: Any, tokens: Tensor, ends: Tensor) -> Tensor:
    """Unit text vectors [N, D]; tokens may be cut shorter than the context, for the text tower is causal."""
    length = tokens.shape[1]
    hidden = model.token_embedding(tokens) + model.positional_embedding[:length]
    for block in model.transformer.resblocks:
        hidden = block_output(block, hidden, model.attn_mask[:length, :length])
    hidden = model.ln_final(hidden[torch.arange(len(tokens), device=tokens.device), ends])
    return F.normalize(hidden @ model.text_projection, dim=-1)


def encode_texts(model: Any, tokenizer: CaptionTokenizer, texts: Sequence[str], parts: int = 3) -> Tensor:
    """Unit text vectors [N, D], short and long texts encoded apart so that little is padded."""
    order = sorted(range(len(texts)), key=lambda i: len(tokenizer.token_ids(texts[i])))
    size = -(-len(order) // parts)
    vectors = []
    for start in range(0, len(order), size):
        tokens, ends = tokenizer([texts[i] for i in order[start : start + size]])
        device = model.text_projection.device
        vectors.append(text_features(model, tokens.to(device), ends.to(device)))
    return torch.cat(vectors)[torch.tensor(order).argsort()]
