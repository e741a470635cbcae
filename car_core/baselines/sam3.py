"""SAM 3, trained on masks: a reference for training-free methods. It is asked for each text separately; no CLIP.

Carion et al., "SAM 3: Segment Anything with Concepts", 2025. Class scores of both of its heads as in Li et al.,
"SegEarth-OV3: Exploring SAM 3 for Open-Vocabulary Semantic Segmentation in Remote Sensing Images", 2025.
Shapes: n texts of T tokens, Q object queries, masks of h x w.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor

from car_core.baselines.base import ImageSegmenter, Synonyms
from car_core.baselines.dense import as_segmentation, label_pixels
from car_core.config import Background, Config, NameOrPath, Unit
from car_core.engine.device import timed
from car_core.engine.precision import fresh_torch
from car_core.images import as_channels, resize_maps, size_of
from car_core.models.checkpoints import require_finite
from car_core.models.clip import normalize
from car_core.models.text_encoder import check_text, tokenizer_of
from car_core.models.transformers_models import pretrained, record_of
from car_core.models.weights import WeightsRecord
from car_core.refine.sam import image_hash
from car_core.segmentation import Segmentation, paint_labels
from support.arrays import RGBArray

_MEAN_AND_STD = ((0.5,) * 3, (0.5,) * 3)
# Texts per forward pass, constant per device. A pass holds texts of only one image, so batches change nothing.
_TEXT_CHUNK = {"cpu": 4, "cuda": 16}
# transformers' class by the model type of a configuration: the published file also has the tracker of videos.
_CLASSES = {"sam3": "Sam3Model", "sam3_video": "Sam3Model"}
_EXPECTED = "a SAM 3 of transformers (facebook/sam3, a folder, random:SEED)"
_PARTS = (
    "vision_config", "text_config", "geometry_encoder_config", "detr_encoder_config", "detr_decoder_config",
    "mask_decoder_config",
)  # fmt: skip
# A SAM 3 small enough for trials with random weights.
_TINY_BLOCK = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
_TINY: Mapping[str, Mapping[str, Any]] = {
    "vision_config": {
        "backbone_config": {
            "model_type": "sam3_vit_model", **_TINY_BLOCK, "num_hidden_layers": 2, "global_attn_indexes": [1],
            "image_size": 112, "pretrain_image_size": 56, "window_size": 4,
        },
        "fpn_hidden_size": 32, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    },
    "text_config": {
        "model_type": "clip_text_model", **_TINY_BLOCK, "num_hidden_layers": 2, "projection_dim": 16,
        "vocab_size": 49408, "max_position_embeddings": 32,
    },
    "geometry_encoder_config": {**_TINY_BLOCK, "num_layers": 1},
    "detr_encoder_config": {**_TINY_BLOCK, "num_layers": 1},
    "detr_decoder_config": {**_TINY_BLOCK, "num_layers": 2, "num_queries": 10},
    "mask_decoder_config": {"hidden_size": 32, "num_attention_heads": 2},
}  # fmt: skip


class SAM3Config(Config):
    """SAM 3's own thresholds; benchmarks set those of SegEarth-OV3."""

    method: Literal["sam3"] = "sam3"
    model: NameOrPath = Field(
        default="facebook/sam3", min_length=1, description="SAM 3 of transformers: a hub name, a folder, or random:SEED"
    )
    background: Background = Field(default=(), description="texts for the background; empty: none")
    synonyms: Synonyms = Field(default={})
    score_threshold: Unit = Field(default=0.5, description="instances of at most this score are left out")
    mask_threshold: Unit = Field(
        default=0.5, description="where all queries mean one thing: an instance's pixels above it are in the mask"
    )
    prob_threshold: Unit = Field(default=0.5, description="pixels whose best class scores less are background")
    semantic_head: bool = Field(default=True, description="classes also score by the head for semantic masks")


class Found(NamedTuple):
    """SAM 3's output for one text: logits of Q instances and their masks, of the semantic mask, and of presence."""

    instances: Tensor  # [Q]
    masks: Tensor  # [Q, h, w]
    semantic: Tensor  # [h, w]
    presence: Tensor  # []

    def kept(self, threshold: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Score and mask logits [h, w] of the instances whose score is above the threshold."""
        scores = self.instances.sigmoid() * self.presence.sigmoid()
        for index in (scores > threshold).nonzero().flatten():
            yield scores[index], self.masks[index]


class SAM3Segmenter(ImageSegmenter[SAM3Config]):
    """A Sam3Model of transformers, built by the caller. All texts share an image's features, and vice versa.

    chunk: texts per forward pass.
    """

    @fresh_torch(inference=False)
    def __init__(self, config: SAM3Config, *, model: Any, device: str | torch.device = "cpu") -> None:
        super().__init__(config, device=device)
        require_finite(model, f"sam3: {config.model}")
        self._model = model.float().requires_grad_(False).to(self.device).eval()
        self._size = tuple(np.broadcast_to(model.config.vision_config.backbone_config.image_size, 2).tolist())
        self._tokenizer = tokenizer_of(context_length=model.config.text_config.max_position_embeddings)
        self.chunk = _TEXT_CHUNK.get(self.device.type, 1)
        self._texts: dict[str, Tensor] = {}  # features [tokens, D]
        self._seen: tuple[str, Any] | None = None  # the last image's hash and features

    def check_texts_of(self, queries: Sequence[str]) -> None:
        for query in queries:
            for text in self.config.synonyms.get(query, (query,)):
                check_text(text)  # all methods accept what fits CLIP's context; SAM 3's own is shorter, and cuts it

    @torch.inference_mode()
    def segment_image(self, image: RGBArray, queries: tuple[str, ...]) -> Segmentation:
        seconds = dict[str, float]()
        if self.one_mask:
            return self._instances(image, queries, seconds)
        groups = [self.config.background, *(self.config.synonyms.get(query, (query,)) for query in queries)]
        owners = [label for label, texts in enumerate(groups) for _ in texts]
        classes = torch.zeros((len(groups), *size_of(image)), device=self.device)
        found = self.find(image, [text for texts in groups for text in texts], seconds)
        for label, one in zip(owners, found, strict=True):
            torch.maximum(classes[label], self.score_map(one, size_of(image)), out=classes[label])
        labels = label_pixels(classes, self.config.prob_threshold, area_threshold=0)
        return as_segmentation(image, queries, labels, classes, seconds)

    def score_map(self, found: Found, size: tuple[int, int]) -> Tensor:
        """A text's scores [H, W]: of the best instance, or of the semantic mask if that is higher, times presence.

        Probabilities are resized, as in transformers; the code of the authors of SAM 3 and SegEarth-OV3 resizes logits.
        """
        best = torch.zeros(size, device=self.device)
        for score, mask in found.kept(self.config.score_threshold):
            best = torch.maximum(best, score * resize_maps(mask.sigmoid(), size))
        if self.config.semantic_head:
            best = torch.maximum(best, resize_maps(found.semantic.sigmoid(), size))
        return best * found.presence.sigmoid()

    def _instances(self, image: RGBArray, queries: tuple[str, ...], seconds: dict[str, float]) -> Segmentation:
        """Each query's mask is the union of its instances; its score is that of the best one."""
        size = size_of(image)
        masks, scores = np.zeros((len(queries), *size), np.bool_), np.zeros(len(queries), np.float32)
        for index, one in enumerate(self.find(image, queries, seconds)):
            for score, mask in one.kept(self.config.score_threshold):
                masks[index] |= (resize_maps(mask.sigmoid(), size) > self.config.mask_threshold).cpu().numpy()
                scores[index] = max(scores[index], float(score))
        kept = tuple(int(index) for index in np.flatnonzero(masks.any(axis=(1, 2))))
        labels = paint_labels(masks, scores, kept)
        return Segmentation(queries, masks, scores, kept, labels, (), seconds=seconds, image=image)

    def find(self, image: RGBArray, texts: Sequence[str], seconds: dict[str, float]) -> Iterator[Found]:
        """What is found in an image for each text, in order; a few texts share a forward pass."""
        with timed("image", self.device, seconds):
            # Kept for the next sample, which may be another sentence on the same image.
            key = image_hash(image)
            if self._seen is None or self._seen[0] != key:
                # As in the authors' code, both sides are resized to the model's, rounded to 8 bits.
                resized = F.interpolate(as_channels(image)[None], size=self._size, mode="bilinear", antialias=True)
                pixels = normalize(resized, _MEAN_AND_STD).to(self.device)
                self._seen = key, self._model.get_vision_features(pixels)
            seen = self._seen[1]
        for start in range(0, len(texts), self.chunk):
            asked = texts[start : start + self.chunk]
            with timed("texts", self.device, seconds):
                features, mask = self._text_features(asked)
            with timed("masks", self.device, seconds):
                levels = {
                    name: tuple(level.expand(len(asked), -1, -1, -1) for level in getattr(seen, name))
                    for name in ("fpn_hidden_states", "fpn_position_encoding")
                }
                output = self._model(vision_embeds=type(seen)(**levels), text_embeds=features, attention_mask=mask)
            yield from map(
                Found, output.pred_logits, output.pred_masks, output.semantic_seg[:, 0], output.presence_logits[:, 0]
            )

    def _text_features(self, texts: Sequence[str]) -> tuple[Any, Tensor]:
        """Features [n, T, D] and which tokens belong to the texts, int64 [n, T]."""
        for text in texts:
            if text not in self._texts:  # one at a time, so that its features do not depend on other texts
                tokens = self._tokenizer(text)
                length = int(tokens.argmax()) + 1  # the end mark is the largest token
                mask = (torch.arange(tokens.shape[1]) < length).long()[None]
                found = self._model.get_text_features(tokens.to(self.device), attention_mask=mask.to(self.device))
                self._texts[text] = found.pooler_output[0, :length]
        own = [self._texts[text] for text in texts]
        total = int(self._tokenizer.context_length or 0)
        features: Any = torch.stack([F.pad(each, (0, 0, 0, total - len(each))) for each in own])
        features.pooler_output = features  # transformers takes the features or, later, an object that has them so
        mask = torch.stack([torch.arange(total, device=self.device) < len(each) for each in own]).long()
        return features, mask


@fresh_torch(inference=False)
def load_sam3(
    config: SAM3Config, *, device: str | torch.device = "cpu"
) -> tuple[dict[str, Any], tuple[WeightsRecord, ...]]:
    """``config.model``, as ``model``, and the record of its weights. Raises ModelError if it, or transformers, is not
    available."""

    def tiny(library: Any) -> Any:
        return library.Sam3Model(library.Sam3Config(**_TINY))

    model = pretrained("sam3", config.model, _CLASSES, _EXPECTED, tiny)
    return {"model": model}, (record_of("sam3", config.model, model, _PARTS),)
