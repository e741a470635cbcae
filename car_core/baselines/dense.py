"""Dense comparison of patches with class names: windows, words, thresholds.

Protocol of SCLIP (Wang, Mei, Yuille, ECCV 2024), which NACLIP and ClearCLIP share.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field, field_validator
from torch import Tensor

from car_core.baselines.base import BaselineConfig, BaselineSegmenter, Synonyms
from car_core.baselines.pamr import refine_maps
from car_core.baselines.windows import (
    mean_of_windows,
    padded_around,
    resized,
    resized_positions,
    whole_patches,
    window_slices,
)
from car_core.config import Background, Positive, Unit, check_template, format_text
from car_core.engine.device import timed
from car_core.images import as_channels, resize_maps, size_of
from car_core.models.clip import embed, normalization_of, normalize, open_clip
from car_core.segmentation import Segmentation
from support.arrays import RGBArray

# Words for the background of Pascal VOC and COCO-Object in SCLIP's and NACLIP's protocol.
BACKGROUND_WORDS = (
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk", "bed", "building",
    "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "floor", "hill", "rail",
    "fence",
)  # fmt: skip
# Windows per forward pass, constant per device. A pass holds windows of only one image, so batches change nothing.
_WINDOW_CHUNK = {"cpu": 4, "cuda": 32}
Pixels = Annotated[int, Field(ge=1, le=2048)]


class WindowConfig(BaselineConfig):
    """Baselines that compare every patch of sliding windows with the class names.

    The defaults are SCLIP's, which NACLIP shares: windows of the tower's own size at half their size apart,
    on an image whose shorter side is 1.5 times that (336, 224 and 112 pixels for CLIP's ViT-B/16).

    SHORT_SIDE, CROP: the image's shorter side and a window's, in sizes of the tower. STRIDES: strides per window.
    ROUNDED: whether CLIP's mean and deviation of images are rounded to a thousandth of a level, as in SCLIP's code.
    """

    SHORT_SIDE: ClassVar[float] = 1.5
    CROP: ClassVar[float] = 1.0
    STRIDES: ClassVar[int] = 2
    ROUNDED: ClassVar[bool] = True

    background: Background = BACKGROUND_WORDS
    short_side: Pixels | None = Field(
        default=None, description="shorter side of the resized image, pixels; None: a multiple of the tower's size"
    )
    crop: Annotated[int, Field(ge=0, le=2048)] | None = Field(
        default=None,
        description="side of a window, pixels; 0: the whole image is one; None: a multiple of the tower's size",
    )
    stride: Pixels | None = Field(default=None, description="pixels between windows; None: a part of crop")
    templates: Literal["imagenet"] | tuple[str, ...] = Field(
        default="imagenet", description="text templates whose features are averaged; imagenet: OpenAI's 80"
    )
    synonyms: Synonyms = Field(default={})
    positions: Literal["scale_factor", "size"] = Field(
        default="scale_factor",
        description="how positional embeddings are resized; scale_factor: by (n + 0.1) / n_old, as the authors' code",
    )

    @field_validator("templates")
    @classmethod
    def _templates_hold_the_word(cls, templates: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not templates:
            raise ValueError("expected at least one template, found none")
        return templates if isinstance(templates, str) else tuple(map(check_template, templates))


class DenseConfig(WindowConfig):
    """Those that turn cosines into probabilities per pixel, and label improbable pixels as background.

    PADS: whether windows are padded on all sides to multiples of a patch, or else cut, as each method's authors do.
    """

    PADS: ClassVar[bool] = False

    logit_scale: Positive = Field(default=40.0, description="factor of the cosines before the softmax over all words")
    prob_threshold: Unit = Field(default=0.1, description="pixels whose best class is less probable are background")
    area_threshold: Unit = Field(
        default=0.0, description="classes with at most this share of the predicted foreground are left out"
    )
    pamr_steps: int = Field(default=0, ge=0, le=100, description="steps of pixel-adaptive mask refinement; 0: none")


WindowT = TypeVar("WindowT", bound=WindowConfig)
DenseT = TypeVar("DenseT", bound=DenseConfig)


class WindowSegmenter(BaselineSegmenter[WindowT]):
    """Labels every pixel by the class of the highest score.

    visual: CLIP's vision tower. normalization: mean and std of its images. patch: windows are padded to multiples of
    these sides, pixels, if a method pads. chunk: windows per forward pass. absent: the background's score if it has no
    words.
    """

    absent: ClassVar[float] = 0.0

    def __init__(self, config: WindowT, *, clip: Any, device: str | torch.device = "cpu") -> None:
        size = int(clip.visual.image_size[0])
        crop = int(config.CROP * size) if config.crop is None else config.crop
        sizes = {
            "short_side": config.short_side or int(config.SHORT_SIDE * size),
            "crop": crop,
            "stride": config.stride or max(1, crop // config.STRIDES),
        }
        super().__init__(config.model_copy(update=sizes), clip=clip, device=device)
        self.visual = clip.visual
        self.normalization = normalization_of(clip.visual)
        if config.ROUNDED:
            mean, std = (tuple(round(255 * value, 3) / 255 for value in values) for values in self.normalization)
            self.normalization = mean, std
        self.patch: tuple[int, int] = tuple(clip.visual.patch_size)
        self.chunk = _WINDOW_CHUNK.get(self.device.type, 1)
        self._words: dict[str, Tensor] = {}  # unit text features [E]

    def check_texts_of(self, queries: Sequence[str]) -> None:
        for word in self._words_of(queries):
            if word not in self._words:
                for template in self._templates():
                    self.text.check(word, template)

    @torch.inference_mode()
    def segment_image(self, image: RGBArray, queries: tuple[str, ...]) -> Segmentation:
        config, seconds = self.config, dict[str, float]()
        with timed("texts", self.device, seconds):
            words = self.word_features(queries)
        with timed("windows", self.device, seconds):
            classes = self.class_maps(image, words, [len(group) for group in self._groups(queries)])
        with timed("labels", self.device, seconds):
            if not config.background:
                classes = F.pad(classes, (0, 0, 0, 0, 1, 0), value=self.absent)
            labels = self.labels(classes)
        return as_segmentation(image, queries, labels, classes, seconds)

    def word_features(self, queries: Sequence[str]) -> Tensor:
        """Unit features [words, E] of the background's words, then each query's: means over the templates."""
        words = self._words_of(queries)
        for word in words:
            if word not in self._words:
                [features] = self.text([[format_text(template, word) for template in self._templates()]])
                self._words[word] = F.normalize(features.mean(dim=0), dim=0)
        return torch.stack([self._words[word] for word in words])

    @abstractmethod
    def class_maps(self, image: RGBArray, words: Tensor, sizes: Sequence[int]) -> Tensor:
        """Scores [classes, H, W] from unit features [words, E]; sizes: the number of words per class, in order."""

    @abstractmethod
    def labels(self, classes: Tensor) -> Tensor:
        """The class of each pixel, int64 [H, W], from scores [1 + N, H, W], background first."""

    def windows(self, image: RGBArray) -> tuple[Tensor, list[tuple[slice, slice]]]:
        """The resized image as CLIP's input, [3, height, width], and the rows and columns of its windows."""
        crop, stride = int(self.config.crop or 0), int(self.config.stride or 0)
        pixels = normalize(as_channels(self.resized(image)), self.normalization).to(self.device)
        return pixels, window_slices((pixels.shape[1], pixels.shape[2]), crop or max(pixels.shape), stride)

    def resized(self, image: RGBArray) -> RGBArray:
        """The image with the shorter side of the configuration."""
        return resized(image, int(self.config.short_side or 0))  # filled in by `__init__`

    def tokens(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Input of the last block, [n, 1 + P, D], class token first, and the grid h x w = P of the tower."""
        hidden, grid = self.hidden(pixels)
        return hidden[-1], grid

    def hidden(self, pixels: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Input of each block, [n, 1 + P, D] each, and the grid; so [k] is the output of the k-th block."""
        visual, patch = self.visual, self.visual.patch_size
        grid = pixels.shape[2] // patch[0], pixels.shape[3] // patch[1]
        positions = resized_positions(
            visual.positional_embedding, tuple(visual.grid_size), grid, by=self.config.positions
        )
        hidden = [embed(visual, pixels, positions)]
        for block in visual.transformer.resblocks[:-1]:
            hidden.append(block(hidden[-1]))
        return hidden, grid

    def block_in_proportion(self, block: int, least: int = 1) -> int:
        """The block, counted from 1, that stands in for one of a tower of 12: from ``least`` to the last but one."""
        depth = len(self.visual.transformer.resblocks)
        return min(max(round(block * depth / 12), least), depth - 1)

    def embedded(self, tokens: Tensor) -> Tensor:
        """Unit features [n, P, E] of the last block's output [n, P, D]."""
        return F.normalize(self.visual.ln_post(tokens) @ self.visual.proj, dim=-1)

    def _groups(self, queries: Sequence[str]) -> list[tuple[str, ...]]:
        """The words of each class: the background's first, if it has any."""
        groups = [self.config.synonyms.get(query, (query,)) for query in queries]
        return [self.config.background, *groups] if self.config.background else groups

    def _words_of(self, queries: Sequence[str]) -> list[str]:
        return [word for group in self._groups(queries) for word in group]

    def _templates(self) -> tuple[str, ...]:
        if self.config.templates != "imagenet":
            return tuple(self.config.templates)
        return tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)


class DenseSegmenter(WindowSegmenter[DenseT]):
    """Labels every pixel by the most probable class name."""

    def class_maps(self, image: RGBArray, words: Tensor, sizes: Sequence[int]) -> Tensor:
        return class_probabilities(self.cosines(image, words) * self.config.logit_scale, sizes)

    def labels(self, classes: Tensor) -> Tensor:
        return label_pixels(classes, self.config.prob_threshold, self.config.area_threshold)

    def cosines(self, image: RGBArray, words: Tensor) -> Tensor:
        """Similarity of every pixel to every word, float32 [words, H, W], from unit features [words, E]."""
        pixels, slices = self.windows(image)
        windows = torch.stack([pixels[:, rows, columns] for rows, columns in slices])
        maps = torch.cat([self.window_cosines(part, words) for part in windows.split(self.chunk)])
        mean = mean_of_windows(maps, slices, (pixels.shape[1], pixels.shape[2]))
        full, seen = (resize_maps(values, size_of(image)) for values in (mean, pixels))
        return refine_maps(full, seen, self.config.pamr_steps)

    def window_cosines(self, windows: Tensor, words: Tensor) -> Tensor:
        """[n, words, h, w] at the size of the windows [n, 3, h, w]."""
        shape, rows, columns = windows.shape, slice(None), slice(None)
        if self.config.PADS and self.config.crop:
            whole, rows, columns = padded_around(windows, self.patch)
            shape = whole.shape
        else:  # a partial patch is not seen, and the maps are stretched over it
            whole = whole_patches(windows, self.visual.patch_size)
        features, grid = self.patch_features(whole, windows, words)
        maps = (features @ words.T).mT.unflatten(-1, grid)
        return resize_maps(maps, (shape[2], shape[3]))[..., rows, columns]

    @abstractmethod
    def patch_features(self, pixels: Tensor, windows: Tensor, words: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Unit features [n, P, E] of patches, and their grid h x w = P.

        pixels: the windows [n, 3, h, w], padded or cut to whole patches. words: unit features [words, E], for methods
        whose patches depend on them.
        """


def class_probabilities(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """[classes, H, W]: softmax over all words [words, H, W], then the best word of each class of ``sizes`` words."""
    parts = logits.softmax(dim=0).split(list(sizes))
    return torch.stack([part.amax(dim=0) for part in parts])


def label_pixels(classes: Tensor, prob_threshold: float, area_threshold: float) -> Tensor:
    """The most probable class of each pixel, int64 [H, W]; 0, the first, if none reaches ``prob_threshold``.

    classes: probabilities [1 + N, H, W], background first. Classes but the first whose share of the pixels of all of
    them is at most ``area_threshold`` (if positive) cannot win.
    """
    if area_threshold:
        areas = torch.bincount(classes.argmax(dim=0).flatten(), minlength=len(classes))
        large = areas > area_threshold * areas[1:].sum()
        large[0] = True
        classes = classes * large[:, None, None]
    best, labels = classes.max(dim=0)
    return torch.where(best < prob_threshold, torch.zeros_like(labels), labels)


def as_segmentation(
    image: RGBArray, queries: tuple[str, ...], labels: Tensor, classes: Tensor, seconds: dict[str, float]
) -> Segmentation:
    """A query's score is its highest probability among its pixels."""
    label_map = labels.cpu().numpy().astype(np.int32)
    masks = label_map[None] == np.arange(1, len(queries) + 1)[:, None, None]
    best = torch.where(labels == torch.arange(1, len(classes), device=labels.device)[:, None, None], classes[1:], 0)
    scores = best.amax(dim=(1, 2)).float().cpu().numpy()
    kept = tuple(int(index) for index in np.flatnonzero(masks.any(axis=(1, 2))))
    return Segmentation(queries, masks, scores, kept, label_map, (), seconds=seconds, image=image)
