"""The dense baselines restated in float64, one token, head, window and pixel at a time."""

from __future__ import annotations

import copy
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import DBSCAN
from torch import Tensor

from car_core.baselines.corrclip import CorrCLIPConfig
from car_core.baselines.dense import DenseConfig

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DINO_MEAN, DINO_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
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


def patches_of(kernel: Tensor, pixels: Tensor) -> list[Tensor]:
    """The kernel's [D, 3, h, w] product with each of its own places in an image [3, height, width], float64 [D]."""
    height, width = kernel.shape[2:]
    return [
        kernel.flatten(1) @ pixels[:, y : y + height, x : x + width].double().flatten()
        for y in range(0, pixels.shape[1], height)
        for x in range(0, pixels.shape[2], width)
    ]


def hidden_states(visual: Any, pixels: Tensor) -> list[Tensor]:
    """Input of each block, [1 + P, D], for an image of the tower's own size; visual: in float64."""
    patches = patches_of(visual.conv1.weight, pixels)
    states = [visual.ln_pre(torch.stack([visual.class_embedding, *patches]) + visual.positional_embedding)]
    for block in list(visual.transformer.resblocks)[:-1]:
        states.append(block(states[-1][None])[0])
    return states


def into_last_block(visual: Any, pixels: Tensor) -> Tensor:
    """Tokens [1 + P, D] of an image of the tower's own size; visual: in float64."""
    return hidden_states(visual, pixels)[-1]


def per_head(block: Any, tokens: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Query, key and value [L, d] of each head of a block for its input [L, D]."""
    attn = block.attn
    joined = block.ln_1(tokens) @ attn.in_proj_weight.T + attn.in_proj_bias
    parts = [part.chunk(attn.num_heads, dim=-1) for part in joined.chunk(3, dim=-1)]
    return list(zip(*parts, strict=True))


def unit(rows: Tensor) -> Tensor:
    return torch.stack([row / row.norm() for row in rows])


def sc_features(model: Any, pixels: Tensor, config: Any, similar: int, low: int, levels: range) -> Tensor:
    """SC-CLIP's unit features, float64 [P, E], of an image of the tower's own size; blocks are counted from 1."""
    visual = copy.deepcopy(model).double().visual
    states, block = hidden_states(visual, pixels), visual.transformer.resblocks[-1]
    patches, count = states[-1][1:], len(states[-1]) - 1
    side = math.isqrt(count)

    squared = [[float(((a - b) ** 2).sum()) for b in patches] for a in patches]
    nearest = [sorted((j for j in range(count) if j != i), key=squared[i].__getitem__) for i in range(count)]
    nearest = [own[: config.neighbors] for own in nearest]
    reach = [squared[i][own[-1]] for i, own in enumerate(nearest)]
    scores = [reach[i] * float(np.mean([1 / reach[j] for j in own])) for i, own in enumerate(nearest)]
    outliers = {i for i in range(count) if scores[i] > np.quantile(scores, 1 - config.outliers)}
    assert outliers

    def filled(rows: Tensor) -> Tensor:
        new = rows.clone()
        for i in outliers:
            near = [
                j
                for j in range(count)
                if j not in outliers and max(abs(i // side - j // side), abs(i % side - j % side)) == 1
            ]
            if near:
                new[i] = sum(rows[j] for j in near) / len(near)  # type: ignore[assignment]
        return new

    def averaged(rows: Tensor, alike: Tensor) -> Tensor:
        kept = torch.where(alike < config.similarity_threshold, 0.0, alike)
        return torch.stack(
            [sum(w * row for w, row in zip(own, rows, strict=True)) / (own.sum() + 1e-6) for own in kept]
        )

    def attended(rows: Tensor, class_token: Tensor, alike: Tensor) -> Tensor:
        above = config.gamma * (alike - alike.mean())
        outputs = []
        for _, key, value in per_head(block, rows):
            by_key = [(key @ one / math.sqrt(len(one))).softmax(0) for one in key]
            by_likeness = [torch.where(one < 0, -math.inf, one).softmax(0) for one in above]
            outputs.append(torch.stack([(a + b) / 2 @ value for a, b in zip(by_key, by_likeness, strict=True)]))
        joined = torch.cat(outputs, dim=-1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
        return joined + config.class_share * class_token  # type: ignore[no-any-return]

    def cosines(rows: Tensor) -> Tensor:
        return unit(rows) @ unit(rows).T

    alike, smooth = cosines(filled(states[similar][1:])), cosines(states[low][1:])
    output = averaged(attended(averaged(filled(patches), alike), states[-1][0], alike), smooth)
    total = sum(states[k] for k in levels)
    output = output + averaged(attended(total[1:], total[0], alike), smooth)  # type: ignore[index]
    return unit(visual.ln_post(output) @ visual.proj)


def same_class(labels: npt.NDArray[np.int64], std: float) -> Array:
    """ResCLIP's first pass as attention, [P, P], from the labels of patches [h, w]."""
    (height, width), most = labels.shape, max(labels.shape) - 1
    shares = torch.linspace(0, 1, most + 1).numpy()  # as the release has it; k / most differs in the last bit
    places = [(y, x) for y in range(height) for x in range(width)]
    weights = np.zeros((len(places), len(places)))
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            steps = max(abs(y - v), abs(x - u))
            on_line = [
                tuple(
                    round(float(here * (np.float32(1) - share) + there * share))
                    for here, there in ((np.float32(y), np.float32(v)), (np.float32(x), np.float32(u)))
                )
                for share in shares[1 : steps + 1]
            ]
            leaves = any(labels[point] != labels[y, x] for point in on_line)
            weights[i, j] = float(labels[y, x] == labels[v, u]) * (math.exp(-steps / most) if leaves else 1)
    size = min(len(places), int(6 * std) + 1)
    size += size % 2 == 0
    kernel = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * std**2))
    smoothed = np.array([np.convolve(row, kernel, "full")[size // 2 : size // 2 + len(places)] for row in weights])
    smoothed /= smoothed.sum(axis=1, keepdims=True)
    return np.asarray(smoothed / smoothed.max())


def res_features(model: Any, pixels: Tensor, words: Tensor, config: Any, blocks: range) -> Tensor:
    """ResCLIP's unit features after both passes, float64 [P, E], of an image of the tower's own size.

    words: unit features [words, E]. blocks: those whose attention is mixed in, counted from 1.
    """
    visual = copy.deepcopy(model).double().visual
    states, last = hidden_states(visual, pixels), visual.transformer.resblocks[-1]
    (height, width), side = visual.patch_size, math.isqrt(len(states[-1]) - 1)
    earlier = [
        [
            (q @ k.T / math.sqrt(q.shape[1])).softmax(-1)
            for q, k, _ in per_head(visual.transformer.resblocks[b - 1], states[b - 1])
        ]
        for b in blocks
    ]

    def once(feedback: Array | None) -> Tensor:
        outputs = []
        for head, (_, key, value) in enumerate(per_head(last, states[-1])):
            logits = key @ key.T / math.sqrt(key.shape[1])
            if feedback is not None:
                padded = torch.zeros_like(logits)
                padded[1:, 1:] = torch.from_numpy(feedback)
                mixed = (1 - config.feedback_share) * logits + config.feedback_share * padded
                logits = config.feedback_factor * mixed
            for i in range(1, len(logits)):
                for j in range(1, len(logits)):
                    (y, x), (v, u) = divmod(i - 1, side), divmod(j - 1, side)
                    logits[i, j] += math.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * config.gaussian_std**2))
            cross = sum(own[head] for own in earlier) / len(earlier)
            weights = (1 - config.cross_share) * logits.softmax(-1) + config.cross_share * cross
            outputs.append(config.cross_factor * weights @ value)
        joined = torch.cat(outputs, dim=-1) @ last.attn.out_proj.weight.T + last.attn.out_proj.bias
        return unit((visual.ln_post(joined) @ visual.proj)[1:])

    maps = (once(None) @ words.double().T).T.reshape(1, len(words), side, side)
    maps = torch.nn.functional.interpolate(maps, size=pixels.shape[1:], mode="bilinear", align_corners=False)
    refined = torch.from_numpy(pamr(maps[0].numpy(), pixels.double().numpy(), 10))
    chances = (config.logit_scale * refined).softmax(0).numpy()
    found = np.where(chances.max(axis=0) < config.first_threshold, 0, chances.argmax(axis=0))
    patches = np.zeros((side, side), np.int64)
    for y in range(side):
        for x in range(side):
            own = found[y * height : (y + 1) * height, x * width : (x + 1) * width]
            patches[y, x] = np.bincount(own.ravel()).argmax()
    assert len(np.unique(patches)) > 1
    return once(same_class(patches, config.gaussian_std))


def features(method: str, model: Any, pixels: Tensor, std: float = 5.0) -> Tensor:
    """Unit features of the patches, float64 [P, E], of one image [3, height, width] of the tower's own size."""
    visual = copy.deepcopy(model).double().visual
    height, width = visual.patch_size
    grid = pixels.shape[1] // height, pixels.shape[2] // width
    tokens = into_last_block(visual, pixels)
    block = visual.transformer.resblocks[-1]
    attn = block.attn
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


def proxy_features(model: Any, dino: Any, pixels: Tensor, beta: float, gamma: float) -> Tensor:
    """ProxyCLIP's unit features of DINO's patches, float64 [Q, E], of one image of both towers' own size.

    dino: a ViT of timm with a class token.
    """
    visual, trunk = copy.deepcopy(model).double().visual, copy.deepcopy(dino).double()
    own, other = visual.patch_size[0], trunk.patch_embed.patch_size[0]
    side = pixels.shape[1]
    kernel, bias = trunk.patch_embed.proj.weight, trunk.patch_embed.proj.bias
    mean, std = (torch.tensor(values).double()[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    dino_mean, dino_std = (torch.tensor(values).double()[:, None, None] for values in (DINO_MEAN, DINO_STD))
    seen = (pixels.double() * std + mean - dino_mean) / dino_std
    tokens = torch.stack([trunk.cls_token[0, 0], *(patch + bias for patch in patches_of(kernel, seen))])
    tokens = trunk.norm(trunk.blocks((tokens + trunk.pos_embed[0])[None]))[0, 1:]

    count = len(tokens)
    cosines = [[float(a @ b / (a.norm() * b.norm())) for b in tokens] for a in tokens]
    mean_cosine = sum(map(sum, cosines)) / count**2
    block, attn = visual.transformer.resblocks[-1], visual.transformer.resblocks[-1].attn
    value = block.ln_1(into_last_block(visual, pixels)) @ attn.in_proj_weight.T + attn.in_proj_bias
    value = value.chunk(3, dim=-1)[2][1:].reshape(side // own, side // own, -1)

    values, rows = [value_at(value, place, side // other) for place in range(count)], []
    for i in range(count):
        above = {j: gamma * (cosines[i][j] - beta * mean_cosine) for j in range(count)}
        kept = {j: math.exp(number) for j, number in above.items() if number >= 0}
        rows.append(sum(weight * values[j] for j, weight in kept.items()) / sum(kept.values()))
    output = visual.ln_post(torch.stack(rows) @ attn.out_proj.weight.T + attn.out_proj.bias) @ visual.proj
    return output / output.norm(dim=-1, keepdim=True)  # type: ignore[no-any-return]


def value_at(value: Tensor, place: int, count: int) -> Tensor:
    """The value of a square grid [m, m, D] at the middle of a cell of a grid of count x count cells, bilinearly."""
    y, x = ((index + 0.5) * len(value) / count - 0.5 for index in divmod(place, count))
    result, last = torch.zeros(value.shape[2]).double(), len(value) - 1
    for v, u in ((math.floor(y) + dy, math.floor(x) + dx) for dy in (0, 1) for dx in (0, 1)):
        weight = (1 - abs(y - v)) * (1 - abs(x - u))
        result += weight * value[min(max(v, 0), last), min(max(u, 0), last)]
    return result


def corr_features(model: Any, dino: Any, pixels: Tensor, regions: Any, config: CorrCLIPConfig) -> Tensor:
    """CorrCLIP's features of DINO's patches, float64 [Q, E], of one image of both towers' own size.

    regions: of its pixels, [height, width]; the smallest number means none.
    """
    visual, trunk = copy.deepcopy(model).double().visual, copy.deepcopy(dino).double()
    own, other = visual.patch_size[0], trunk.patch_embed.patch_size[0]
    n_own, n = pixels.shape[1] // own, pixels.shape[1] // other
    kernel, bias = trunk.patch_embed.proj.weight, trunk.patch_embed.proj.bias
    mean, std = (torch.tensor(values).double()[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    dino_mean, dino_std = (torch.tensor(values).double()[:, None, None] for values in (DINO_MEAN, DINO_STD))
    seen = (pixels.double() * std + mean - dino_mean) / dino_std
    tokens = torch.stack([trunk.cls_token[0, 0], *(patch + bias for patch in patches_of(kernel, seen))])
    tokens = trunk.blocks[:-1]((tokens + trunk.pos_embed[0])[None])[0]
    last = trunk.blocks[-1]
    query, key, _ = (last.norm1(tokens) @ last.attn.qkv.weight.T + last.attn.qkv.bias).chunk(3, dim=-1)
    alike = [(q + k) / (q + k).norm() for q, k in zip(query[1:], key[1:], strict=True)]

    # Regions on DINO's grid, merged.
    fine = {i: int(regions[i // n * other, i % n * other]) for i in range(n * n)}
    outside, *others = sorted(set(fine.values()))
    if len(others) > 1:
        means = [torch.stack([alike[i] for i in fine if fine[i] == region]).mean(dim=0) for region in others]
        cosines = np.array([[float(a @ b / (a.norm() * b.norm())) for b in means] for a in means])
        finder = DBSCAN(eps=config.merge_distance, min_samples=1, metric="precomputed")
        clusters = finder.fit_predict(cosines.max() - cosines)
        joined = {region: 1000 + int(cluster) for region, cluster in zip(others, clusters, strict=True)}
        fine = {i: joined.get(region, region) for i, region in fine.items()}

    # Weights of the main and the spatial branch.
    cosine = [[float(a @ b) for b in alike] for a in alike]
    mean_cosine, weights = sum(map(sum, cosine)) / n**4, []
    for i in fine:
        exponentials = {}
        for j in fine:
            if cosine[i][j] > mean_cosine if outside in (fine[i], fine[j]) else fine[i] == fine[j]:
                exponentials[j] = math.exp(config.tau * cosine[i][j])
        weights.append({j: value / sum(exponentials.values()) for j, value in exponentials.items()})

    blocks = list(visual.transformer.resblocks)
    patches = patches_of(visual.conv1.weight, pixels)
    states = [visual.ln_pre(torch.stack([visual.class_embedding, *patches]) + visual.positional_embedding)]
    for block in blocks[:-1]:
        states.append(block(states[-1][None])[0])

    def spread(tokens: Tensor) -> Tensor:
        block, attn = blocks[-1], blocks[-1].attn
        value = (block.ln_1(tokens) @ attn.in_proj_weight.T + attn.in_proj_bias).chunk(3, dim=-1)[2]
        values = [value_at(value[1:].reshape(n_own, n_own, -1), place, n) for place in range(n * n)]
        mixed = [sum(weight * values[j] for j, weight in row.items()) for row in weights]
        return torch.stack(mixed) @ attn.out_proj.weight.T + attn.out_proj.bias  # type: ignore[arg-type, no-any-return]

    # A class token for each region on CLIP's grid: it sees the class token and its patches, and nothing sees it.
    ratio, of_region = n // n_own, {}
    coarse = {i: fine[i // n_own * ratio * n + i % n_own * ratio] for i in range(n_own**2)}
    for region in set(coarse.values()):
        token, visible = states[0][0], [0, *(1 + i for i in coarse if coarse[i] == region)]
        for block, state in zip(blocks, states, strict=True):
            attn, size, outputs = block.attn, len(token), []
            asks = (block.ln_1(token) @ attn.in_proj_weight.T + attn.in_proj_bias)[:size]
            _, keys, values = (block.ln_1(state) @ attn.in_proj_weight.T + attn.in_proj_bias).chunk(3, dim=-1)
            for head in range(attn.num_heads):
                part = slice(head * size // attn.num_heads, (head + 1) * size // attn.num_heads)
                scale = 1 / math.sqrt(size // attn.num_heads)
                shares = [math.exp(scale * float(asks[part] @ keys[j, part])) for j in visible]
                outputs.append(sum(w / sum(shares) * values[j, part] for w, j in zip(shares, visible, strict=True)))
            token = token + torch.cat(outputs) @ attn.out_proj.weight.T + attn.out_proj.bias  # type: ignore[arg-type]
            token = token + block.mlp(block.ln_2(token))
        of_region[region] = token
    semantic = torch.stack([of_region[coarse[i // n // ratio * n_own + i % n // ratio]] for i in fine])

    count = len(blocks) - 4 or 1
    below = sum(states[len(blocks) - 1 - count : len(blocks) - 1]) / count
    mixed = visual.ln_post(spread(states[-1])) + config.spatial_share * visual.ln_post(spread(below))  # type: ignore[arg-type]
    return (mixed + config.semantic_share * visual.ln_post(semantic)) @ visual.proj  # type: ignore[no-any-return]


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
