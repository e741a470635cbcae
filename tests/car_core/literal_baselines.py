"""The dense baselines restated in float64, one token, head, window and pixel at a time."""

from __future__ import annotations

import copy
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from car_core.baselines.config import DenseConfig

Array = npt.NDArray[np.float64]


def attention_weights(method: str, query: Tensor, key: Tensor, grid: tuple[int, int], std: float) -> Tensor:
    """One head's weights [L, L] from its query and key [L, d]; token 0 is the class token."""
    length, scale = len(query), 1 / math.sqrt(query.shape[1])

    def near(i: int, j: int) -> float:
        if min(i, j) == 0:
            return 0.0
        (y0, x0), (y1, x1) = divmod(i - 1, grid[1]), divmod(j - 1, grid[1])
        return math.exp(-((y0 - y1) ** 2 + (x0 - x1) ** 2) / (2 * std**2))

    rows = []
    for i in range(length):
        logits = {
            "qk": [scale * float(query[i] @ key[j]) for j in range(length)],
            "qq": [scale * float(query[i] @ query[j]) for j in range(length)],
            "kk": [scale * float(key[i] @ key[j]) for j in range(length)],
        }
        soft = {name: torch.tensor(values).double().softmax(0) for name, values in logits.items()}
        beside = torch.tensor([logits["kk"][j] + near(i, j) for j in range(length)]).double().softmax(0)
        alone = torch.eye(length).double()[i]
        rows.append(
            {
                "clip": soft["qk"],
                "maskclip": alone,
                "sclip": soft["qq"] + soft["kk"],
                "clearclip": soft["qq"],
                "naclip": beside,
            }[method]
        )
    return torch.stack(rows)


def features(method: str, model: Any, pixels: Tensor, std: float = 5.0) -> Tensor:
    """Unit features of the patches, float64 [P, E], of one image [3, height, width] of the tower's own size."""
    visual = copy.deepcopy(model).double().visual
    height, width = visual.patch_size
    grid = pixels.shape[1] // height, pixels.shape[2] // width
    kernel = visual.conv1.weight.flatten(1)
    patches = [
        kernel @ pixels[:, y * height : (y + 1) * height, x * width : (x + 1) * width].double().flatten()
        for y in range(grid[0])
        for x in range(grid[1])
    ]
    tokens = visual.ln_pre(torch.stack([visual.class_embedding, *patches]) + visual.positional_embedding)
    blocks = list(visual.transformer.resblocks)
    for block in blocks[:-1]:
        tokens = block(tokens[None])[0]
    block, attn = blocks[-1], blocks[-1].attn
    joined = block.ln_1(tokens) @ attn.in_proj_weight.T + attn.in_proj_bias
    query, key, value = joined.chunk(3, dim=-1)
    head_width, outputs = query.shape[1] // attn.num_heads, []
    for head in range(attn.num_heads):
        part = slice(head * head_width, (head + 1) * head_width)
        outputs.append(attention_weights(method, query[:, part], key[:, part], grid, std) @ value[:, part])
    output = torch.cat(outputs, dim=-1) @ attn.out_proj.weight.T + attn.out_proj.bias
    if method in ("clip", "maskclip", "sclip"):  # the others leave out residual connection and feed-forward network
        output = tokens + block.ls_1(output)
        output = output + block.ls_2(block.mlp(block.ln_2(output)))
    else:
        output = block.ls_1(output)
    embedded = visual.ln_post(output)[1:] @ visual.proj
    return embedded / embedded.norm(dim=-1, keepdim=True)  # type: ignore[no-any-return]


def windows(height: int, width: int, crop: int, stride: int) -> list[tuple[int, int, int, int]]:
    """(top, bottom, left, right) as mmsegmentation's sliding windows go."""
    found = []
    for i in range(max(height - crop + stride - 1, 0) // stride + 1):
        for j in range(max(width - crop + stride - 1, 0) // stride + 1):
            bottom, right = min(i * stride + crop, height), min(j * stride + crop, width)
            found.append((max(bottom - crop, 0), bottom, max(right - crop, 0), right))
    return found


def scaled(image: npt.NDArray[np.uint8], short_side: int) -> npt.NDArray[np.uint8]:
    height, width = image.shape[:2]
    factor = short_side / min(height, width)
    return cv2.resize(image, (int(width * factor + 0.5), int(height * factor + 0.5)), interpolation=cv2.INTER_LINEAR)


def labels(probabilities: Array, groups: list[int], config: DenseConfig) -> npt.NDArray[np.int64]:
    """Label of every pixel from the softmax over words [words, H, W], words i belonging to class groups[i]; class 0 is
    the background."""
    n_classes, (height, width) = max(groups) + 1, probabilities.shape[1:]
    classes = np.zeros((n_classes, height, width))
    for word, group in enumerate(groups):
        classes[group] = np.maximum(classes[group], probabilities[word])
    if config.area_threshold:
        first = classes.argmax(axis=0)
        areas = [int((first == group).sum()) for group in range(n_classes)]
        for group in range(1, n_classes):
            if areas[group] <= config.area_threshold * sum(areas[1:]):
                classes[group] = 0
    found = np.zeros((height, width), np.int64)
    for y in range(height):
        for x in range(width):
            best = int(classes[:, y, x].argmax())
            found[y, x] = best if classes[best, y, x] >= config.prob_threshold else 0
    return found


def pamr(maps: Array, image: Array, steps: int) -> Array:
    """Pixel-adaptive mask refinement, a pixel at a time: maps [C, H, W], image [3, H, W]."""
    height, width = maps.shape[1:]
    around = [(dy, dx, d) for d in (8, 16) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    weights: dict[tuple[int, int], list[tuple[float, int, int]]] = {}
    for y in range(height):
        for x in range(width):

            def place(dy: int, dx: int, d: int, y: int = y, x: int = x) -> tuple[int, int]:
                return min(max(y + dy * d, 0), height - 1), min(max(x + dx * d, 0), width - 1)

            seen = np.stack([image[:, v, u] for v, u in (place(*step) for step in around)])
            spread = seen.std(axis=0, ddof=1)
            others = [place(*step) for step in around if step[:2] != (0, 0)]
            energies = [-np.mean(np.abs(image[:, v, u] - image[:, y, x]) / (0.1 * spread + 1e-8)) for v, u in others]
            exponentials = [math.exp(energy - max(energies)) for energy in energies]
            weights[y, x] = [(e / sum(exponentials), v, u) for e, (v, u) in zip(exponentials, others, strict=True)]
    for _ in range(steps):
        maps = np.stack(
            [
                [[sum(w * channel[v, u] for w, v, u in weights[y, x]) for x in range(width)] for y in range(height)]
                for channel in maps
            ]
        )
    return maps
