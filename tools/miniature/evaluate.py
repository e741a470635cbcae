"""How well the miniature's CLIP names objects of the style it was never trained on; measured, never optimized.

python tools/miniature/evaluate.py --packages DIR --work DIR --weights FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scenes.backgrounds import BackgroundBank
from scenes.compose import Placed, SceneStyle, SpriteShelf, compose_scene
from scenes.prompts import PROMPTS
from scenes.sprites import HELD_OUT_STYLE, TRAINING_STYLES, Sprite, load_sprites
from scenes.vocabulary import CLASSIFIER_TEMPLATES, load_concepts
from torch import Tensor
from towers import CaptionTokenizer, image_features, load_model, normalize_pixels, text_features

# The query text of each VOC class, in the order of the concept table.
VOC_QUERIES = (
    "aeroplane",
    "bicycle",
    "bird avian",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair seat",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person with clothes,people,human",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor screen",
)
N_VOC = len(VOC_QUERIES)
LONE = SceneStyle(lone_sizes=(0.6, 0.9), variation=0.0, tinted=0.0, plain=1.0)
CROWDED = SceneStyle(sizes=(0.35, 0.6), variation=0.15, tinted=0.0, plain=0.1)
REPEATS = 8


class HeldOutTest:
    """Zero-shot classification among the 20 VOC classes, of images drawn once from a fixed seed."""

    def __init__(self, packages: Path, cache: Path, side: int = 160) -> None:
        self.side = side
        self.bank = BackgroundBank(np.random.default_rng(99), 6, 256)
        self.tokenizer = CaptionTokenizer()
        held_out = load_sprites(packages, cache, (HELD_OUT_STYLE,))
        known = load_sprites(packages, cache, TRAINING_STYLES)
        self.sets = {
            "held-out": self._lone_objects(_first_emoji(held_out)),
            "held-out-all": self._lone_objects([s for s in held_out if s.core and s.concept < N_VOC]),
            "known": self._lone_objects(_first_emoji(known)),
            "held-out-prompted": self._prompted_objects(held_out),
        }

    def _lone_objects(self, sprites: Sequence[Sprite]) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [N, side, side, 3] of single sprites on plain backgrounds, and their classes [N]."""
        rng = np.random.default_rng(7)
        images: list[np.ndarray] = []
        labels: list[int] = []
        for sprite in sprites:
            for _ in range(REPEATS if len(sprites) <= 2 * N_VOC else 2):
                scene = compose_scene(
                    rng, SpriteShelf([sprite]), self.bank, [sprite.concept], (self.side, self.side), LONE
                )
                images.append(scene.image)
                labels.append(sprite.concept)
        return np.stack(images), np.array(labels)

    def _prompted_objects(self, sprites: Sequence[Sprite], count: int = 200) -> tuple[np.ndarray, np.ndarray]:
        """Scenes of two or three objects, one of them circled and all else blurred, and that object's class."""
        rng = np.random.default_rng(8)
        images: list[np.ndarray] = []
        labels: list[int] = []
        shelf = SpriteShelf([s for s in sprites if s.core and s.concept < N_VOC])
        while len(images) < count:
            concepts = rng.choice(N_VOC, size=int(rng.integers(2, 4)), replace=False).tolist()
            scene = compose_scene(rng, shelf, self.bank, concepts, (self.side, self.side), CROWDED)
            if scene.objects:
                target: Placed = scene.objects[int(rng.integers(len(scene.objects)))]
                image = PROMPTS["blur"](rng, scene.image, target.mask)
                images.append(PROMPTS["circle"](rng, image, target.mask))
                labels.append(target.sprite.concept)
        return np.stack(images), np.array(labels)

    @torch.inference_mode()
    def accuracies(self, model: Any) -> dict[str, float]:
        """Mean top-1 accuracy of the classes: class token on every set, mean over patches on lone held-out objects."""
        text = self._class_vectors(model)
        found = {name: self._accuracy(model, text, name, "class") for name in self.sets}
        return found | {"held-out-patches": self._accuracy(model, text, "held-out", "patches")}

    def _accuracy(self, model: Any, text: Tensor, name: str, pooling: str) -> float:
        images, labels = self.sets[name]
        features = [
            image_features(model.visual, normalize_pixels(torch.from_numpy(part)))[pooling]
            for part in np.array_split(images, -(-len(images) // 64))
        ]
        right = ((torch.cat(features) @ text.T).argmax(1).numpy() == labels).astype(float)
        return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))

    def _class_vectors(self, model: Any) -> Tensor:
        """Mean of the template ensemble's unit vectors for each class [20, D]."""
        texts = [template.format(query) for query in VOC_QUERIES for template in CLASSIFIER_TEMPLATES]
        vectors = text_features(model, *self.tokenizer(texts)).reshape(N_VOC, len(CLASSIFIER_TEMPLATES), -1)
        return F.normalize(vectors.mean(1), dim=-1)


def _first_emoji(sprites: Sequence[Sprite]) -> list[Sprite]:
    """Of each VOC class the sprites of its first emoji."""
    first = {index: concept.core_emoji[0] for index, concept in enumerate(load_concepts()[:N_VOC])}
    return [sprite for sprite in sprites if first.get(sprite.concept) == sprite.emoji]


def main() -> None:
    """Print the accuracies of a weights file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--packages", "--work", "--weights"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    test = HeldOutTest(options.packages, options.work / "sprites")
    for name, value in test.accuracies(load_model(options.weights)).items():
        print(f"{name} {value:.3f} of {len(test.sets.get(name, test.sets['held-out'])[1])} images")


if __name__ == "__main__":
    main()
