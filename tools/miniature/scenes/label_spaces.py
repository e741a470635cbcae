"""Where concepts and backgrounds stand in the label spaces of the official data sets."""

from __future__ import annotations

from .vocabulary import load_concepts


def _names(text: str) -> tuple[str, ...]:
    """Names separated by commas and any white space."""
    return tuple(" ".join(name.split()) for name in text.split(","))


VOC_NAMES = tuple(concept.name for concept in load_concepts() if concept.group == "voc")

COCO_NAMES = _names("""
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire
hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear,
zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports
ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine
glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot
dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock,
vase, scissors, teddy bear, hair drier, toothbrush
""")
UNUSED_COCO_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_IDS = dict(zip(COCO_NAMES, (i for i in range(1, 91) if i not in UNUSED_COCO_IDS), strict=True))
"""Category id of each COCO class."""
OTHER_COCO_NAMES = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
    "glove": "baseball glove",
}
COCO_STUFF_IDS = {
    "grass": 124,
    "sky": 157,
    "sand": 154,
    "water": 178,
    "wall": 171,
    "road": 149,
    "snow": 159,
    "wood": 182,
    "rock": 150,
    "ground": 126,
    "floor": 117,
    "curtain": 109,
    "fence": 113,
    "railway": 147,
}
"""COCO-Stuff id of each background."""

CONTEXT_NAMES = _names("""
aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus,
cabinet, car, cat, ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor,
flower, food, grass, ground, horse, keyboard, light, motorbike, mountain, mouse, person, plate,
platform, pottedplant, road, rock, sheep, shelves, sidewalk, sign, sky, snow, sofa, table,
track, train, tree, truck, tvmonitor, wall, water, window, wood
""")
OTHER_CONTEXT_NAMES = {
    "backpack": "bag",
    "handbag": "bag",
    "laptop": "computer",
    "stop sign": "sign",
    "diningtable": "table",
    "railway": "track",
}


def coco_id(concept: str) -> int | None:
    """COCO category id of a concept, None outside COCO's classes."""
    return COCO_IDS.get(OTHER_COCO_NAMES.get(concept, concept))


def context_label(name: str) -> int:
    """Pascal Context label (1 to 59) of a concept or background, 0 where it has none."""
    name = OTHER_CONTEXT_NAMES.get(name, name)
    return CONTEXT_NAMES.index(name) + 1 if name in CONTEXT_NAMES else 0
