"""Dense comparison of patches with class names: windows, words, thresholds.

Protocol of SCLIP (Wang, Mei, Yuille, ECCV 2024), which NACLIP and ClearCLIP share.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from car_core.baselines.base import BaselineSegmenter
from car_core.baselines.config import DenseConfig, WindowConfig
from car_core.baselines.pamr import refine_maps
from car_core.baselines.windows import (
    mean_of_windows,
    padded_around,
    resized,
    resized_positions,
    whole_patches,
    window_slices,
)
from car_core.config import format_text
from car_core.engine.timing import timed
from car_core.images import as_channels, size_of
from car_core.models.clip import embed, normalization_of, normalize, open_clip
from car_core.segmentation import Segmentation
from support.arrays import RGBArray

# Windows per forward pass, constant per device. A pass holds windows of one image only, so batches change nothing.
_WINDOW_CHUNK = {"cpu": 4, "cuda": 32}
WindowT = TypeVar("WindowT", bound=WindowConfig)
DenseT = TypeVar("DenseT", bound=DenseConfig)


class WindowSegmenter(BaselineSegmenter[WindowT]):
    """Labels every pixel by the class of the highest score.

    visual: CLIP's vision tower. normalization: mean and std of its images. patch: windows are padded to multiples of
    these sides, pixels, where a method pads. absent: the background's score where it has no words.
    """

    absent: ClassVar[float] = 0.0

    def __init__(self, config: WindowT, *, clip: Any, device: str | torch.device = "cpu") -> None:
        super().__init__(_with_sizes(config, clip.visual), clip=clip, device=device)
        self.visual = clip.visual
        self.normalization = normalization_of(clip.visual)
        if config.ROUNDED:
            mean, std = (tuple(round(255 * value, 3) / 255 for value in values) for values in self.normalization)
            self.normalization = mean, std
        self.patch: tuple[int, int] = tuple(clip.visual.patch_size)
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
                features = self.text([format_text(template, word) for template in self._templates()])
                self._words[word] = F.normalize(features.mean(dim=0), dim=0)
        return torch.stack([self._words[word] for word in words])

    @abstractmethod
    def class_maps(self, image: RGBArray, words: Tensor, sizes: Sequence[int]) -> Tensor:
        """Scores [classes, H, W] from unit features [words, E]; sizes: the words of each class, in order."""

    @abstractmethod
    def labels(self, classes: Tensor) -> Tensor:
        """The class of each pixel, int64 [H, W], from scores [1 + N, H, W], background first."""

    def windows(self, image: RGBArray) -> tuple[Tensor, list[tuple[slice, slice]]]:
        """The resized image as CLIP takes it, [3, height, width], and the rows and columns of its windows."""
        crop, stride = int(self.config.crop or 0), int(self.config.stride or 0)
        pixels = normalize(as_channels(self.resized(image)), self.normalization).to(self.device)
        return pixels, window_slices((pixels.shape[1], pixels.shape[2]), crop or max(pixels.shape), stride)

    def resized(self, image: RGBArray) -> RGBArray:
        """The image with the shorter side that the configuration asks for."""
        return resized(image, int(self.config.short_side or 0))  # `_with_sizes` has filled it in

    @property
    def chunk(self) -> int:
        """Windows in a forward pass."""
        return _WINDOW_CHUNK.get(self.device.type, 1)

    def tokens(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """What goes into the last block, [n, 1 + P, D], class token first, and the grid h x w = P of the tower."""
        hidden, grid = self.hidden(pixels)
        return hidden[-1], grid

    def hidden(self, pixels: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """What goes into each block, [n, 1 + P, D] each, and the grid; so [k] is what comes out of the k-th block."""
        visual, patch = self.visual, self.visual.patch_size
        grid = pixels.shape[2] // patch[0], pixels.shape[3] // patch[1]
        positions = resized_positions(
            visual.positional_embedding, tuple(visual.grid_size), grid, by=self.config.positions
        )
        hidden = [embed(visual, pixels, positions)]
        for block in visual.transformer.resblocks[:-1]:
            hidden.append(block(hidden[-1]))
        return hidden, grid

    def embedded(self, tokens: Tensor) -> Tensor:
        """Unit features [n, P, E] of what comes out of the last block, [n, P, D]."""
        return F.normalize(self.visual.ln_post(tokens) @ self.visual.proj, dim=-1)

    def _groups(self, queries: Sequence[str]) -> list[tuple[str, ...]]:
        """The words of each class: the background's first, where there is one."""
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
        size, (pixels, slices) = size_of(image), self.windows(image)
        windows = torch.stack([pixels[:, rows, columns] for rows, columns in slices])
        maps = torch.cat([self._window_cosines(part, words) for part in windows.split(self.chunk)])
        mean = mean_of_windows(maps, slices, (pixels.shape[1], pixels.shape[2]))
        full, seen = (_enlarged(values, size) for values in (mean, pixels))
        return refine_maps(full, seen, self.config.pamr_steps)

    @abstractmethod
    def patch_features(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Unit features [n, P, E] of the patches of images [n, 3, height, width] (multiples of ``patch``), and the grid
        h x w = P."""

    def patch_features_for(self, whole: Tensor, windows: Tensor, words: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """`patch_features` of ``whole``, for methods whose features depend on the words.

        whole: the windows [n, 3, h, w] padded or cut to whole patches. words: unit features [words, E].
        """
        return self.patch_features(whole)

    def _window_cosines(self, windows: Tensor, words: Tensor) -> Tensor:
        """[n, words, h, w] at the size of the windows [n, 3, h, w]."""
        size, rows, columns = windows.shape[2:], slice(None), slice(None)
        if self.config.PADS and self.config.crop:
            whole, rows, columns = padded_around(windows, self.patch)
            size = whole.shape[2:]
        else:  # what is no whole patch is not seen, and the maps are stretched over it
            whole = whole_patches(windows, self.visual.patch_size)
        features, grid = self.patch_features_for(whole, windows, words)
        maps = (features @ words.T).mT.unflatten(-1, grid)
        full = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        return full[..., rows, columns]


def class_probabilities(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """[classes, H, W]: softmax over all words [words, H, W], then the best word of each class of ``sizes`` words."""
    parts = logits.softmax(dim=0).split(list(sizes))
    return torch.stack([part.amax(dim=0) for part in parts])


def label_pixels(classes: Tensor, prob_threshold: float, area_threshold: float) -> Tensor:
    """The most probable class of each pixel, int64 [H, W]; 0, the first, where none reaches ``prob_threshold``.

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


def _with_sizes(config: WindowT, visual: Any) -> WindowT:
    """The configuration with the sizes in pixels that it leaves to the tower."""
    size = int(visual.image_size[0])
    crop = int(config.CROP * size) if config.crop is None else config.crop
    sizes = {
        "short_side": config.short_side or int(config.SHORT_SIDE * size),
        "crop": crop,
        "stride": config.stride or max(1, crop // config.STRIDES),
    }
    return config.model_copy(update=sizes)


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
