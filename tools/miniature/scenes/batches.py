"""Training batches of captioned scenes, drawn in a process of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np

from .augment import degrade
from .backgrounds import BackgroundBank
from .captions import N_FACTS, scene_caption, scene_facts, topic_captions
from .compose import Scene, SceneStyle, SpriteShelf, compose_scene
from .prompts import draw_prompt
from .sprites import Sprite, training_sprites
from .vocabulary import load_concepts

GROUP_SHARES = {"voc": 0.5, "coco": 0.25, "stuff": 0.05, "other": 0.2}
"""How often an object of each group of concepts is drawn."""


@dataclass(frozen=True)
class Lesson:
    """One part of the curriculum: scenes of `side` pixels, with so many of them marked by a visual prompt."""

    side: int
    style: SceneStyle
    object_counts: tuple[float, ...]
    """Chance of 1, 2, 3, ... objects."""
    prompted: float


@dataclass
class Batch:
    """N images with their facts, their captions, and a caption for every topic."""

    images: np.ndarray
    """uint8 RGB [N, side, side, 3]"""
    facts: np.ndarray
    """float32 [N, N_FACTS]"""
    captions: list[str]
    caption_facts: np.ndarray
    """float32 [N, N_FACTS]"""
    topic_captions: list[str]


class SceneSource:
    """Draws batches of scenes from a seed."""

    def __init__(self, sprites: Sequence[Sprite], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shelf = SpriteShelf(sprites)
        self.bank = BackgroundBank(np.random.default_rng(seed + 1), 12, 256)
        self.chances = concept_chances(set(self.shelf.by_concept))

    def batch(self, size: int, lesson: Lesson) -> Batch:
        """`size` scenes with captions."""
        batch = Batch(
            np.empty((size, lesson.side, lesson.side, 3), np.uint8),
            np.zeros((size, N_FACTS), np.float32),
            [],
            np.zeros((size, N_FACTS), np.float32),
            topic_captions(self.rng),
        )
        for index in range(size):
            scene = self._scene(lesson)
            marked = len(scene.objects) > 0 and self.rng.random() < lesson.prompted
            target = scene.objects[int(self.rng.integers(len(scene.objects)))] if marked else None
            image = scene.image if target is None else draw_prompt(self.rng, scene.image, target.mask)
            caption = scene_caption(self.rng, scene, target)
            batch.images[index] = degrade(image, self.rng, 1.0)
            batch.facts[index] = scene_facts(scene, target)
            batch.captions.append(caption.text)
            batch.caption_facts[index, list(caption.facts)] = 1
        return batch

    def _scene(self, lesson: Lesson) -> Scene:
        count = 1 + int(self.rng.choice(len(lesson.object_counts), p=lesson.object_counts))
        concepts = self.rng.choice(len(self.chances), size=count, p=self.chances)
        if count > 1 and self.rng.random() < lesson.style.same_concept:
            concepts[1] = concepts[0]
        return compose_scene(
            self.rng, self.shelf, self.bank, concepts.tolist(), (lesson.side, lesson.side), lesson.style
        )


def concept_chances(available: set[int]) -> np.ndarray:
    """Chance of each concept: float [C], zero for concepts without a sprite."""
    groups = [concept.group for concept in load_concepts()]
    counts = {group: sum(groups[i] == group for i in available) for group in GROUP_SHARES}
    chances = np.array([GROUP_SHARES[g] / counts[g] if i in available else 0.0 for i, g in enumerate(groups)])
    return np.asarray(chances / chances.sum())


def stream_batches(
    packages: Path, cache: Path, seed: int, size: int, lessons: Sequence[Lesson], start: int
) -> Iterator[Batch]:
    """Batches from a process of its own: lesson i of `lessons` for batch i, from batch `start` on."""
    context = multiprocessing.get_context("spawn")
    queue: Queue[Batch] = context.Queue(maxsize=4)
    worker = context.Process(target=_fill, args=(queue, packages, cache, seed, size, lessons, start), daemon=True)
    worker.start()
    for _ in range(start, len(lessons)):
        yield queue.get()


def _fill(
    queue: Queue[Batch],
    packages: Path,
    cache: Path,
    seed: int,
    size: int,
    lessons: Sequence[Lesson],
    start: int,
) -> None:
    import cv2

    cv2.setNumThreads(1)
    source = SceneSource(training_sprites(packages, cache), seed + start)
    for lesson in lessons[start:]:
        queue.put(source.batch(size, lesson))
