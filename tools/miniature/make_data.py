"""Write the miniature data sets in the official layouts, bit for bit the same on every run.

    python tools/miniature/make_data.py --packages DIR --work DIR [--out FOLDER]

FOLDER/val shows the held-out art style only; FOLDER/tuning shows the training styles and is for choosing thresholds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from referring_layout import has_label, write_refcoco
from scenes.augment import degrade
from scenes.backgrounds import BackgroundBank
from scenes.compose import Scene, SceneStyle, SpriteShelf, compose_scene
from scenes.label_spaces import coco_id, context_label
from scenes.sprites import HELD_OUT_STYLE, Sprite, emoji_sprites, load_sprites
from scenes.vocabulary import load_concepts
from semantic_layouts import write_coco_object, write_context, write_voc

SEED = 2026
DEFAULT_OUT = Path(__file__).parents[2] / "dataset_adapters" / "miniature"
VAL_IMAGES, TUNING_IMAGES, TEST_IMAGES = 48, 24, 12
SHORT_SIDES, ASPECTS = (200, 248), (1.0, 1.35)
"""Ranges of the images' shorter side in pixels and of longer over shorter side."""
SEMANTIC = SceneStyle(
    sizes=(0.44, 0.76),
    lone_sizes=(0.56, 0.84),
    variation=0.25,
    tinted=0.0,
    plain=0.0,
    two_backgrounds=0.4,
    same_concept=0.15,
    zoom=1.8,
    min_visible=0.75,
)
REFERRING = replace(SEMANTIC, sizes=(0.32, 0.65), tinted=0.6, same_concept=0.75)


class SceneMaker:
    """Draws the scenes of one data set from a seed of its own."""

    def __init__(self, sprites: Sequence[Sprite], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        core = [sprite for sprite in sprites if sprite.core]
        self.shelf = SpriteShelf(core)
        self.bank = BackgroundBank(np.random.default_rng(seed + 1), 4, 320)

    def scenes(
        self,
        count: int,
        labeled: Sequence[int],
        style: SceneStyle,
        counts: Sequence[int],
        distractors: Sequence[int],
    ) -> list[Scene]:
        """Scenes of counts[0] to counts[1] labeled objects, each concept equally often; now and then a distractor."""
        deck: list[int] = []
        made: list[Scene] = []
        while len(made) < count:
            wanted = int(self.rng.integers(counts[0], counts[1] + 1))
            while len(deck) < wanted:
                deck = self.rng.permutation(labeled).tolist() + deck
            concepts = [deck.pop() for _ in range(wanted)]
            if wanted > 1 and self.rng.random() < style.same_concept:
                concepts[1] = concepts[0]
            if distractors and self.rng.random() < 0.3:
                concepts.append(int(self.rng.choice(distractors)))
            scene = compose_scene(self.rng, self.shelf, self.bank, concepts, self._size(), style)
            if len(scene.objects) >= counts[0]:
                scene.image = degrade(scene.image, self.rng, 0.4)
                made.append(scene)
        return made

    def _size(self) -> tuple[int, int]:
        """Height and width in pixels; two of three images are landscape."""
        short = int(self.rng.integers(SHORT_SIDES[0], SHORT_SIDES[1] + 1))
        longer = round(short * self.rng.uniform(*ASPECTS))
        return (short, longer) if self.rng.random() < 0.67 else (longer, short)


def concepts_where(accept: Callable[[str], object], available: SpriteShelf) -> list[int]:
    """Indices of the drawable concepts whose name is accepted."""
    return [i for i, concept in enumerate(load_concepts()) if i in available.by_concept and accept(concept.name)]


def write_split(sprites: Sequence[Sprite], out: Path, images: int, tests: int, seed: int) -> None:
    """The four data sets of one split, every one with `images` validation images."""
    makers = [SceneMaker(sprites, seed + 10 * family) for family in range(4)]
    shelf = makers[0].shelf
    groups = {i: concept.group for i, concept in enumerate(load_concepts()) if i in shelf.by_concept}
    others = [i for i, group in groups.items() if group == "other"]
    voc = [i for i, group in groups.items() if group == "voc"]
    coco = concepts_where(coco_id, shelf)
    write_voc(makers[0].scenes(images, voc, SEMANTIC, (1, 3), others), out, "val")
    write_coco_object(makers[1].scenes(images, voc + coco, SEMANTIC, (1, 4), others), out, "val")
    context = concepts_where(context_label, shelf)
    write_context(makers[2].scenes(images, context, replace(SEMANTIC, two_backgrounds=0.7), (1, 3), []), out, "val")
    referring = [("val", scene) for scene in makers[3].scenes(images, coco, REFERRING, (2, 4), [])]
    people = [i for i in voc if load_concepts()[i].name == "person"]
    objects = [i for i in coco if i not in people]
    referring += [("testA", scene) for scene in makers[3].scenes(tests, people, REFERRING, (2, 3), [])]
    referring += [("testB", scene) for scene in makers[3].scenes(tests, objects, REFERRING, (2, 4), [])]
    assert all(has_label(placed) for _, scene in referring for placed in scene.objects)
    write_refcoco(referring, out)


def main() -> None:
    """Write both splits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="folder of the @iconify-json packages")
    parser.add_argument("--work", type=Path, required=True, help="folder for rendered sprites")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    cache = options.work / "sprites"
    write_split(
        load_sprites(options.packages, cache, (HELD_OUT_STYLE,)),
        options.out / "val",
        VAL_IMAGES,
        TEST_IMAGES,
        SEED,
    )
    write_split(emoji_sprites(options.packages, cache), options.out / "tuning", TUNING_IMAGES, 0, SEED + 1000)


if __name__ == "__main__":
    main()
