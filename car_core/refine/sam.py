"""Automatic masks of SAM, HQ-SAM and SAM 2, by transformers: a grid of points, the good masks, one of each.

Kirillov et al., "Segment Anything", ICCV 2023; Ke et al., "Segment Anything in High Quality", NeurIPS 2023; Ravi et
al., "SAM 2: Segment Anything in Images and Videos", ICLR 2025. As CaR uses it: no crops of the image, no smallest area.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor

from car_core.config import SAMMasksConfig
from car_core.engine.device import as_device
from car_core.engine.precision import fresh_torch
from car_core.errors import ModelError
from car_core.images import as_channels, resize_maps, size_of
from car_core.models.checkpoints import require_finite
from car_core.models.clip import normalize
from car_core.models.transformers_models import pretrained, record_of
from car_core.models.weights import WeightsRecord
from support.arrays import BoolArray, Float64Array, RGBArray, read_npz, unpacked
from support.files import cache_folder, sha256_of, write_atomically

# Mean and standard deviation per channel of SAM's images (ImageNet's).
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_POINTS_AT_ONCE = 64
# Stability: IoU of the masks cut this far above and below 0.
_STABILITY_OFFSET = 1.0
# transformers' class by the model type of a configuration: SAM 2's files are those of its video model.
_CLASSES = {"sam": "SamModel", "sam_hq": "SamHQModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
_EXPECTED = (
    "a SAM, HQ-SAM or SAM 2 of transformers (facebook/sam-vit-huge, syscv-community/sam-hq-vit-huge, "
    "facebook/sam2.1-hiera-large, a folder, random:SEED)"
)
# The parts of a configuration that are its architecture.
_PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
# SAM 2 sees the image resized to the square; the others keep its aspect ratio and pad it.
_STRETCHED = {"Sam2Model"}
# A SAM small enough for trials with random weights.
_TINY_VISION = {
    "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 128,
    "global_attn_indexes": [1, 3], "window_size": 4, "num_pos_feats": 8, "mlp_dim": 64, "patch_size": 16,
}  # fmt: skip
_TINY_PROMPT = {"hidden_size": 16, "image_size": 128, "patch_size": 16, "mask_input_channels": 4}
_TINY_DECODER = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}


class MaskSource(Protocol):
    """Anything that proposes masks of an image, whatever is in it."""

    def masks(self, image: RGBArray) -> BoolArray:
        """Masks bool [M, H, W] of an image uint8 [H, W, 3]."""
        ...


class SAMMasks:
    """Automatic masks of a SamModel, SamHQModel or Sam2Model of transformers, built by the caller."""

    def __init__(self, model: Any, config: SAMMasksConfig, *, device: str | torch.device = "cpu") -> None:
        require_finite(model, f"sam: {config.model}")
        if dtypes := {each.dtype for each in model.parameters()} - {torch.float32}:
            raise ModelError(f"sam: expected a model in float32, found {dtypes.pop()}")
        self._model = model.to(as_device(device)).eval()
        self._device = as_device(device)
        self._config = config
        self._side = int(model.config.prompt_encoder_config.image_size)
        self._stretched = type(model).__name__ in _STRETCHED
        # SAM 2 may replace its single mask by another; its authors' automatic masks disable that.
        self._model.mask_decoder.dynamic_multimask_via_stability = False

    @fresh_torch()
    def masks(self, image: RGBArray) -> BoolArray:
        """Masks bool [M, H, W] of an image uint8 [H, W, 3], the most certain first."""
        size, config = size_of(image), self._config
        pixels, inner = preprocessed(image, self._side, stretched=self._stretched)
        encoded = self._model.get_image_embeddings(pixels[None].to(self._device))
        if isinstance(encoded, tuple):  # HQ-SAM also decodes from early features
            embeddings = dict(zip(("image_embeddings", "intermediate_embeddings"), encoded, strict=True))
        else:
            embeddings = {"image_embeddings": encoded}
        masks: list[BoolArray] = [np.zeros((0, *size), np.bool_)]
        scores: list[float] = []
        for points in point_grid(config.points_per_side, inner).split(_POINTS_AT_ONCE):
            prompt = {"input_points": points[None, :, None].to(self._device), "multimask_output": not config.SINGLE}
            output = self._model(**prompt, **embeddings)
            logits, quality = output.pred_masks[0].flatten(0, 1).float(), output.iou_scores[0].flatten().float()
            kept = quality >= config.pred_iou_threshold
            for one, score in zip(logits[kept], quality[kept], strict=True):  # only one is in memory at full size
                full = enlarged(one, self._side, inner, size)
                if stability(full) >= config.stability_threshold:
                    masks.append((full > 0).cpu().numpy()[None])
                    scores.append(float(score))
        found = np.concatenate(masks)
        best = non_maximum_suppression(boxes_of_masks(found), np.asarray(scores, np.float32), config.nms_threshold)
        return found[best]


def preprocessed(image: RGBArray, side: int, *, stretched: bool = False) -> tuple[Tensor, tuple[int, int]]:
    """float32 [3, side, side]: the longer side resized to ``side``, normalized, zeros below and to the right; and the
    size (height, width) of the image in it. stretched: both sides resized to ``side``."""
    longest = side if stretched else max(size_of(image))
    height, width = (side if stretched else max(int(n * side / longest + 0.5), 1) for n in size_of(image))
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    pixels = normalize(as_channels(np.asarray(resized)), (_MEAN, _STD))
    return F.pad(pixels, (0, side - width, 0, side - height)), (height, width)


def point_grid(points_per_side: int, size: tuple[int, int]) -> Tensor:
    """Centers (x, y) of n x n equal cells of an image of ``size`` (height, width), pixels, float32 [n * n, 2]."""
    fractions = (torch.arange(points_per_side, dtype=torch.float32) + 0.5) / points_per_side
    y, x = torch.meshgrid(fractions * size[0], fractions * size[1], indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def enlarged(logits: Tensor, side: int, inner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A mask's logits [h, w] of the padded image, resized to it, without its padding, and to the image's ``size``.

    Without padding, they are resized only once.
    """
    if inner != (side, side):
        logits = resize_maps(logits[None], (side, side))[0, : inner[0], : inner[1]]
    return resize_maps(logits[None], size)[0]


def stability(logits: Tensor) -> float:
    """IoU of the masks cut a little above and a little below 0; 0 if both are empty."""
    high, low = ((logits > offset).sum().item() for offset in (_STABILITY_OFFSET, -_STABILITY_OFFSET))
    return high / low if low else 0.0


# In plain numpy, because torchvision's compiled operations cannot be loaded everywhere.
def boxes_of_masks(masks: BoolArray) -> Float64Array:
    """xyxy of the first and last column and row with a pixel, float64 [M, 4], as in SAM; zeros for an empty mask.

    masks: bool [M, H, W].
    """
    boxes = np.zeros((len(masks), 4))
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes


def non_maximum_suppression(
    boxes: Float64Array, scores: npt.NDArray[np.floating], threshold: float
) -> npt.NDArray[np.intp]:
    """Indices of the boxes that stay, best first: none has an IoU above ``threshold`` with a better one that stays.

    boxes: xyxy [M, 4]; scores [M], equal ones in their order. A box without area has IoU 0 with every other.
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    order, kept = np.argsort(-scores, kind="stable"), list[int]()
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        common = np.maximum(sides, 0).prod(axis=1)
        union = areas[order] + areas[best] - common
        iou = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
        order = order[iou <= threshold]
    return np.asarray(kept, np.intp)


class CachedMasks:
    """The masks of ``source``, kept in ``folder`` under ``key`` and the image's hash: sweeps repeat the same images.

    key: identifies the model and settings that decide the masks. Masks of a damaged file are recomputed. If the folder
    is not writable, masks are recomputed each time.
    """

    def __init__(self, source: MaskSource, folder: Path, key: str) -> None:
        self._source = source
        self._folder = folder / key

    def masks(self, image: RGBArray) -> BoolArray:
        """See ``MaskSource.masks``."""
        path = self._folder / f"{image_hash(image)}.npz"
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            file = read_npz(path, {"shape", "bits"}.__contains__)
            return unpacked(file["bits"], tuple(file["shape"].tolist()))
        found, stream = self._source.masks(image), io.BytesIO()
        np.savez_compressed(stream, bits=np.packbits(found), shape=np.array(found.shape))
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, stream.getvalue(), synced=False)
        return found


def image_hash(image: RGBArray) -> str:
    """sha256 over size and pixels."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


@fresh_torch(inference=False)
def load_sam(config: SAMMasksConfig, *, device: str | torch.device = "cpu") -> tuple[MaskSource, WeightsRecord]:
    """SAM's automatic masks, cached on disk, and the record of its weights.

    config.model: a name on the Hugging Face hub, a folder written by ``save_pretrained``, or random:SEED, a tiny SAM
    for trials. Raises ModelError if transformers or the model is not available.
    """
    device = as_device(device)
    model = pretrained("sam", config.model, _CLASSES, _EXPECTED, tiny_sam).float().requires_grad_(False)
    record = record_of("sam", config.model, model, _PARTS)
    # Everything but the image that decides the masks.
    settings = config.model_dump(include=set(SAMMasksConfig.model_fields) - {"model"})
    decides = {
        "model": [record.model_sha256, record.sha256],
        "settings": {**settings, "single": config.SINGLE},
        "packages": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "pillow")},
        "code": sha256_of(Path(__file__)),
    }
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return CachedMasks(SAMMasks(model, config, device=device), cache_folder() / "sam", key), record


def tiny_sam(library: Any) -> Any:
    """A tiny SamModel of transformers with random weights."""
    parts = {"prompt_encoder_config": _TINY_PROMPT, "mask_decoder_config": _TINY_DECODER}
    return library.SamModel(library.SamConfig(vision_config=_TINY_VISION, **parts))
