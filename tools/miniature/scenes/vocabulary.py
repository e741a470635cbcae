"""The words of the miniature: concepts with their emoji and phrases, colors, caption templates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

CONCEPT_TABLE = Path(__file__).with_name("concepts.tsv")
SKIN_TONES = (
    "",
    "-light-skin-tone",
    "-medium-light-skin-tone",
    "-medium-skin-tone",
    "-medium-dark-skin-tone",
    "-dark-skin-tone",
)

# Hue in degrees, saturation and value of the named colors an object can be tinted with.
COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0, 0.85, 0.9),
    "orange": (28, 0.9, 0.98),
    "yellow": (52, 0.9, 1.0),
    "green": (120, 0.75, 0.75),
    "blue": (218, 0.8, 0.9),
    "purple": (280, 0.7, 0.8),
    "pink": (330, 0.45, 1.0),
    "brown": (24, 0.7, 0.5),
    "black": (0, 0.0, 0.22),
    "white": (0, 0.0, 1.0),
    "gray": (0, 0.0, 0.6),
}

CLASSIFIER_TEMPLATES = (
    "a clean origami {}.",
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)
OTHER_TEMPLATES = (
    "{}",
    "{}",
    "a {}",
    "the {}",
    "a picture of a {}.",
    "one {}",
    "a drawing of the {}.",
    "a clean origami {}.",
)

# Phrases of each background, the name of the stuff class first.
BACKGROUND_PHRASES: dict[str, tuple[str, ...]] = {
    "grass": ("grass", "meadow", "lawn", "field", "valley"),
    "sky": ("sky", "blue sky"),
    "sand": ("sand", "beach", "desert", "land"),
    "water": ("water", "sea", "lake", "ocean", "river"),
    "wall": ("wall", "brick wall", "bricks"),
    "road": ("road", "street", "asphalt"),
    "snow": ("snow", "white snow"),
    "wood": ("wood", "wooden planks", "planks"),
    "rock": ("rock", "stone", "rocks"),
    "ground": ("ground", "earth", "soil"),
    "floor": ("floor", "tiles", "tiled floor"),
    "curtain": ("curtain", "cloth", "drapes"),
    "fence": ("fence", "railing"),
    "railway": ("railway", "railroad", "track"),
}


@dataclass(frozen=True)
class Concept:
    """One kind of object: emoji names without skin-tone shorthand, and the phrases that mean it."""

    name: str
    group: str
    core_emoji: tuple[str, ...]
    further_emoji: tuple[str, ...]
    phrases: tuple[str, ...]


@cache
def load_concepts() -> tuple[Concept, ...]:
    """All concepts, in the order of the table."""
    lines = CONCEPT_TABLE.read_text(encoding="utf-8").splitlines()
    return tuple(_parse_concept(line) for line in lines if line and not line.startswith("#"))


def concept_indices() -> dict[str, int]:
    """Index of each concept by its name."""
    return {concept.name: index for index, concept in enumerate(load_concepts())}


def _parse_concept(line: str) -> Concept:
    name, group, emoji, phrases = line.split("\t")
    core, further = emoji.split(";")
    return Concept(name, group, _emoji_names(core), _emoji_names(further), _split_phrases(phrases))


def _emoji_names(text: str) -> tuple[str, ...]:
    """Emoji names of one field; a star stands for all skin tones of that emoji."""
    names: list[str] = []
    for word in text.split():
        names += [word[1:] + tone for tone in SKIN_TONES] if word.startswith("*") else [word]
    return tuple(names)


def _split_phrases(text: str) -> tuple[str, ...]:
    """Phrases are separated by a comma and a space; a comma alone is part of a phrase."""
    return tuple(phrase.strip() for phrase in text.split(", "))
