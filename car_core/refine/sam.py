"""Automatic masks of SAM, HQ-SAM and SAM 2, by transformers: a grid of points, the good masks, one of each.

Kirillov et al., "Segment Anything", ICCV 2023; Ke et al., "Segment Anything in High Quality", NeurIPS 2023; Ravi et
al., "SAM 2: Segment Anything in Images and Videos", ICLR 2025. No crops of the image and no smallest area, as CaR
uses it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor

from car_core.config import SAMMasksConfig
from car_core.engine.device import as_device
from car_core.engine.precision import fresh_torch
from car_core.errors import ModelError
from car_core.images import as_channels, size_of
from car_core.models.clip import normalize
from car_core.models.transformers_models import check_finite, pretrained, random_model, record_of, transformers_with
from car_core.models.weights import WeightsRecord
from car_core.refine.boxes import boxes_of_masks, non_maximum_suppression
from car_core.refine.mask_source import CachedMasks, MaskSource
from support.arrays import BoolArray, RGBArray
from support.files import cache_folder, sha256_of

# Mean and standard deviation per channel of SAM's images (ImageNet's).
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_POINTS_AT_ONCE = 64
# Stability: IoU of the masks cut at this far above and below 0.
_STABILITY_OFFSET = 1.0
# transformers' class by the model type of a configuration: SAM 2's files are those of its video model.
_CLASSES = {"sam": "SamModel", "sam_hq": "SamHQModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
_EXPECTED = (
    "a SAM, HQ-SAM or SAM 2 of transformers (facebook/sam-vit-huge, syscv-community/sam-hq-vit-huge, "
    "facebook/sam2.1-hiera-large, a folder, random:SEED)"
)
# The parts of a configuration that are its architecture.
_PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
# SAM 2 sees the image resized to the square; the others keep its aspect and pad it.
_STRETCHED = {"Sam2Model"}
# Part of the cache key, with model, settings and package versions: masks of other code are not reused.
_OWN_SOURCES = (Path(__file__), Path(__file__).with_name("boxes.py"))
# A SAM small enough to try the path with random weights.
_TINY_VISION = {
    "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 128,
    "global_attn_indexes": [1, 3], "window_size": 4, "num_pos_feats": 8, "mlp_dim": 64, "patch_size": 16,
}  # fmt: skip
_TINY_PROMPT = {"hidden_size": 16, "image_size": 128, "patch_size": 16, "mask_input_channels": 4}
_TINY_DECODER = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}


class SAMMasks:
    """Automatic masks of a SamModel, SamHQModel or Sam2Model of transformers, built by the caller."""

    def __init__(self, model: Any, config: SAMMasksConfig, *, device: str | torch.device = "cpu") -> None:
        check_finite("sam", config.model, model)
        if dtypes := {each.dtype for each in model.parameters()} - {torch.float32}:
            raise ModelError(f"sam: expected a model in float32, found {dtypes.pop()}")
        self._model = model.to(as_device(device)).eval()
        self._device = as_device(device)
        self._config = config
        self._side = int(model.config.prompt_encoder_config.image_size)
        self._stretched = type(model).__name__ in _STRETCHED
        # SAM 2 may give another mask than its single one; its authors' automatic masks leave that out.
        self._model.mask_decoder.dynamic_multimask_via_stability = False

    @fresh_torch()
    def masks(self, image: RGBArray) -> BoolArray:
        """Masks bool [M, H, W] of an image uint8 [H, W, 3], the most certain first."""
        size = size_of(image)
        pixels, inner = preprocessed(image, self._side, stretched=self._stretched)
        embeddings = self._embeddings(pixels[None].to(self._device))
        points = point_grid(self._config.points_per_side, inner)
        masks: list[BoolArray] = [np.zeros((0, *size), np.bool_)]
        scores = [np.zeros(0, np.float32)]
        for chunk in points.split(_POINTS_AT_ONCE):
            seen = {"input_points": chunk[None, :, None].to(self._device), "multimask_output": not self._config.SINGLE}
            output = self._model(**seen, **embeddings)
            logits, quality = _flat(output.pred_masks[0], output.iou_scores[0])
            found, good = self._good(logits, quality, inner, size)
            masks.append(found)
            scores.append(good)
        together, certain = np.concatenate(masks), np.concatenate(scores)
        boxes = boxes_of_masks(together)
        return together[non_maximum_suppression(boxes, certain, self._config.nms_threshold)]

    def _embeddings(self, pixels: Tensor) -> dict[str, Any]:
        found = self._model.get_image_embeddings(pixels)
        if isinstance(found, tuple):  # HQ-SAM also decodes from early features
            return {"image_embeddings": found[0], "intermediate_embeddings": found[1]}
        return {"image_embeddings": found}

    def _good(
        self, logits: Tensor, quality: Tensor, inner: tuple[int, int], size: tuple[int, int]
    ) -> tuple[BoolArray, Any]:
        """The masks of logits [m, h, w] that are good and stable enough, bool [k, H, W], and their quality [k]."""
        kept = quality >= self._config.pred_iou_threshold
        masks: list[BoolArray] = [np.zeros((0, *size), np.bool_)]
        scores = []
        for one, score in zip(logits[kept], quality[kept], strict=True):  # one at a time is in memory at full size
            full = enlarged(one, self._side, inner, size)
            if stability(full) >= self._config.stability_threshold:
                masks.append((full > 0).cpu().numpy()[None])
                scores.append(float(score))
        return np.concatenate(masks), np.asarray(scores, np.float32)


def _flat(masks: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [m, h, w] and predicted IoU [m] of all masks of all points, [P, K, h, w] and [P, K]."""
    return masks.flatten(0, 1).float(), quality.flatten().float()


def preprocessed(image: RGBArray, side: int, *, stretched: bool = False) -> tuple[Tensor, tuple[int, int]]:
    """float32 [3, side, side]: the longer side resized to ``side``, normalized, zeros below and to the right; and the
    size (height, width) of the image in it. stretched: both sides resized to ``side``."""
    inner = (side, side) if stretched else _with_longest_side(size_of(image), side)
    resized = Image.fromarray(image).resize((inner[1], inner[0]), Image.Resampling.BILINEAR)
    pixels = normalize(as_channels(np.asarray(resized)), (_MEAN, _STD))
    return F.pad(pixels, (0, side - inner[1], 0, side - inner[0])), inner


def _with_longest_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    height, width = (max(int(length * side / max(size) + 0.5), 1) for length in size)
    return height, width


def point_grid(points_per_side: int, size: tuple[int, int]) -> Tensor:
    """Centers (x, y) of n x n equal cells of an image of ``size`` (height, width), pixels, float32 [n * n, 2]."""
    fractions = (torch.arange(points_per_side, dtype=torch.float32) + 0.5) / points_per_side
    y, x = torch.meshgrid(fractions * size[0], fractions * size[1], indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def enlarged(logits: Tensor, side: int, inner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A mask's logits [h, w] of the padded image, resized to it, without its padding, and to the image's ``size``.

    Where nothing was padded, they are resized at once.
    """
    seen = logits[None, None]
    if inner != (side, side):
        whole = F.interpolate(seen, size=(side, side), mode="bilinear", align_corners=False)
        seen = whole[..., : inner[0], : inner[1]]
    return F.interpolate(seen, size=size, mode="bilinear", align_corners=False)[0, 0]


def stability(logits: Tensor) -> float:
    """IoU of the masks cut a little above and a little below 0; 0 where there is neither."""
    high, low = ((logits > offset).sum().item() for offset in (_STABILITY_OFFSET, -_STABILITY_OFFSET))
    return high / low if low else 0.0


@fresh_torch(inference=False)
def load_sam(config: SAMMasksConfig, *, device: str | torch.device = "cpu") -> tuple[MaskSource, WeightsRecord]:
    """SAM's automatic masks, cached on disk, and the record of its weights.

    config.model: a name on the Hugging Face hub, a folder written by ``save_pretrained``, or random:SEED, a tiny SAM
    for trials. Raises ModelError when transformers or the model cannot be had.
    """
    device = as_device(device)
    is_random = config.model.startswith("random:")
    model = _random(config.model) if is_random else pretrained("sam", config.model, _CLASSES, _EXPECTED)
    model = model.float().requires_grad_(False)
    record = record_of("sam", config.model, model, _PARTS)
    key = hashlib.sha256(json.dumps(_deciding(record, config), sort_keys=True).encode()).hexdigest()[:16]
    return CachedMasks(SAMMasks(model, config, device=device), cache_folder() / "sam", key), record


def _deciding(record: WeightsRecord, config: SAMMasksConfig) -> dict[str, Any]:
    """Everything but the image that decides the masks."""
    settings = set(SAMMasksConfig.model_fields) - {"model"}
    return {
        "model": [record.model_sha256, record.sha256],
        "settings": {**config.model_dump(include=settings), "single": config.SINGLE},
        "packages": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "pillow")},
        "code": [sha256_of(path) for path in _OWN_SOURCES],
    }


def _random(name: str) -> Any:
    library = transformers_with("sam")
    config = library.SamConfig(
        vision_config=_TINY_VISION, prompt_encoder_config=_TINY_PROMPT, mask_decoder_config=_TINY_DECODER
    )
    return random_model("sam", name, lambda: library.SamModel(config))
