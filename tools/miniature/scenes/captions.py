"""Captions of scenes, and which captions are true of which scenes.

A scene and a caption are both sets of facts, stored as multi-hot vectors: what is there, before which background, in
which color, size and place. A caption is true of a scene that has all of its facts; a true caption that was written
for another scene is no negative of the contrastive loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .compose import Placed, Scene
from .vocabulary import BACKGROUND_PHRASES, CLASSIFIER_TEMPLATES, COLORS, OTHER_TEMPLATES, load_concepts

PLACES = ("left", "right", "top", "bottom", "small", "large")
_CONCEPTS = load_concepts()
_BACKGROUNDS = tuple(BACKGROUND_PHRASES)
_COLORS = tuple(COLORS)
N_TOPICS = len(_CONCEPTS) + len(_BACKGROUNDS)
"""Concepts and backgrounds: what a one-topic caption can be about; topics are the first facts."""
N_FACTS = N_TOPICS + len(_COLORS) + len(PLACES)


@dataclass(frozen=True)
class Caption:
    """A text and the facts it states."""

    text: str
    facts: tuple[int, ...]


def background_fact(name: str) -> int:
    """Index of the fact that a background is visible."""
    return len(_CONCEPTS) + _BACKGROUNDS.index(name)


def _color_fact(name: str) -> int:
    return N_TOPICS + _COLORS.index(name)


def _place_fact(name: str) -> int:
    return N_TOPICS + len(_COLORS) + PLACES.index(name)


def places_of(placed: Placed) -> list[str]:
    """Where in the image an object is and whether it is small or large there."""
    row, column = placed.center
    share = float(placed.mask.mean())
    checks = (column < 0.42, column > 0.58, row < 0.42, row > 0.58, share < 0.06, share > 0.2)
    return [place for place, holds in zip(PLACES, checks, strict=True) if holds]


def object_facts(placed: Placed) -> list[int]:
    """All facts about one object."""
    color = [_color_fact(placed.color)] if placed.color else []
    return [placed.sprite.concept, *color, *map(_place_fact, places_of(placed))]


def scene_facts(scene: Scene, target: Placed | None) -> np.ndarray:
    """Facts of a scene, or of its background and one marked object: float32 [N_FACTS] of 0 and 1."""
    vector = np.zeros(N_FACTS, np.float32)
    vector[[background_fact(name) for name in scene.backgrounds]] = 1
    for placed in [target] if target is not None else scene.objects:
        vector[object_facts(placed)] = 1
    return vector


def topic_captions(rng: np.random.Generator) -> list[str]:
    """One caption for every topic, in a random template: the texts every scene of a step is compared with."""
    phrases = [_pick(rng, concept.phrases) for concept in _CONCEPTS]
    phrases += [_pick(rng, BACKGROUND_PHRASES[name]) for name in _BACKGROUNDS]
    return [
        _pick(rng, OTHER_TEMPLATES if rng.random() < 0.5 else CLASSIFIER_TEMPLATES).format(phrase) for phrase in phrases
    ]


def scene_caption(rng: np.random.Generator, scene: Scene, target: Placed | None) -> Caption:
    """A caption with more than one fact where the scene has them: color, size, place, background, a second object."""
    if not scene.objects:
        name = scene.backgrounds[0] if scene.backgrounds else None
        return (
            Caption(_pick(rng, BACKGROUND_PHRASES[name]), (background_fact(name),)) if name else Caption("nothing", ())
        )
    first = target or scene.objects[int(rng.integers(len(scene.objects)))]
    phrase, facts = _attributed(rng, first)
    others = [placed for placed in scene.objects if placed is not first]
    if target is None and others and rng.random() < 0.45:
        second_phrase, second_facts = _attributed(rng, others[int(rng.integers(len(others)))])
        return Caption(_pick(rng, PAIRS).format(phrase, second_phrase), (*facts, *second_facts))
    if scene.backgrounds and rng.random() < 0.5:
        name = scene.backgrounds[int(rng.integers(len(scene.backgrounds)))]
        text = _pick(rng, SETTINGS).format(phrase, _pick(rng, BACKGROUND_PHRASES[name]))
        return Caption(text, (*facts, background_fact(name)))
    return Caption(_pick(rng, CLASSIFIER_TEMPLATES[:6] + OTHER_TEMPLATES).format(phrase), tuple(facts))


PAIRS = (
    "a {} and a {}",
    "the {} and the {}",
    "a photo of a {} and a {}.",
    "a {} next to a {}",
    "a {} beside the {}",
)
SETTINGS = (
    "a {} on the {}",
    "the {} on the {}",
    "a {} in front of {}",
    "a photo of a {} on {}.",
    "the {} in the {}",
)
PLACE_FORMS = {
    "left": ("left {}", "{} on the left", "{} at left"),
    "right": ("right {}", "{} on the right", "{} at right"),
    "top": ("top {}", "upper {}", "{} at the top"),
    "bottom": ("bottom {}", "lower {}", "{} at the bottom"),
    "small": ("small {}", "little {}"),
    "large": ("large {}", "big {}"),
}


def _attributed(rng: np.random.Generator, placed: Placed) -> tuple[str, list[int]]:
    """An object's phrase with its color and perhaps one place or size, and the facts stated."""
    phrase = _pick(rng, _CONCEPTS[placed.sprite.concept].phrases)
    facts = [placed.sprite.concept]
    if placed.color and rng.random() < 0.7:
        phrase, facts = f"{placed.color} {phrase}", [*facts, _color_fact(placed.color)]
    places = places_of(placed)
    if places and rng.random() < 0.4:
        place = _pick(rng, tuple(places))
        phrase, facts = _pick(rng, PLACE_FORMS[place]).format(phrase), [*facts, _place_fact(place)]
    return phrase, facts


def all_words() -> list[str]:
    """Texts that together hold every word a caption can have."""
    phrases = [phrase for concept in _CONCEPTS for phrase in concept.phrases]
    phrases += [phrase for choices in BACKGROUND_PHRASES.values() for phrase in choices]
    forms = [form for choices in PLACE_FORMS.values() for form in choices]
    templates = [*forms, *PAIRS, *SETTINGS, *CLASSIFIER_TEMPLATES, *OTHER_TEMPLATES]
    return [*phrases, *_COLORS, "nothing", *(template.format("", "") for template in templates)]


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
