"""Write scenes in the layout of RefCOCO, with expressions that tell each object from the others."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scenes.compose import Placed, Scene
from scenes.label_spaces import OTHER_COCO_NAMES, coco_id
from semantic_layouts import concept_name, image_record, instance_record, write_image, write_instances

SIZE_RATIO = 2.0
"""The small (large) one of two objects covers at most half (at least twice) the pixels of the other."""
SIDE_GAP = 0.15
"""The left one's center lies at least this share of the width left of all its rivals."""
SENTENCES = 3


def write_refcoco(scenes: Sequence[tuple[str, Scene]], root: Path) -> None:
    """refer/refcoco with refs(unc).p (pickle protocol 2) and instances.json; scenes come with their split."""
    folder = root / "refer"
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    refs: list[dict[str, Any]] = []
    for image_id, (split, scene) in enumerate(scenes, start=1):
        name = f"COCO_train2014_{image_id:012d}.jpg"
        write_image(scene.image, folder / "images" / "mscoco" / "images" / "train2014" / name)
        images.append(image_record(scene, image_id, name))
        for placed in scene.objects:
            record = instance_record(placed, image_id, len(annotations) + 1)
            annotations.append(record)
            sentences = expressions(placed, scene)
            if sentences:
                refs.append(_ref(sentences, refs, record, split, name))
    write_instances(images, annotations, folder / "refcoco" / "instances.json")
    with (folder / "refcoco" / "refs(unc).p").open("wb") as stream:
        pickle.dump(refs, stream, protocol=2)


def _ref(
    sentences: list[str], earlier: list[dict[str, Any]], record: dict[str, Any], split: str, name: str
) -> dict[str, Any]:
    first = sum(len(ref["sent_ids"]) for ref in earlier) + 1
    sent_ids = list(range(first, first + len(sentences)))
    return {
        "ref_id": len(earlier) + 1,
        "ann_id": record["id"],
        "category_id": record["category_id"],
        "image_id": record["image_id"],
        "file_name": name.replace(".jpg", f"_{record['id']}.jpg"),
        "split": split,
        "sent_ids": sent_ids,
        "sentences": [
            {"sent_id": i, "sent": text, "raw": text, "tokens": re.findall(r"\w+", text)}
            for i, text in zip(sent_ids, sentences, strict=True)
        ],
    }


def expressions(target: Placed, scene: Scene) -> list[str]:
    """Up to SENTENCES expressions that fit the target alone, the ones with an attribute or a relation first."""
    noun = expression_noun(target)
    rivals = [placed for placed in scene.objects if placed is not target and expression_noun(placed) == noun]
    found = [f"the {color} {noun}" for color in own_color(target, rivals)]
    found += [f"the {size} {noun}" for size in own_size(target, rivals)]
    found += [f"the {side} {noun}" for side in own_side(target, rivals)]
    if found and target.color and own_side(target, rivals):
        found.append(f"the {target.color} {noun} on the {own_side(target, rivals)[0]}")
    found += [f"the {noun} on the {ground}" for ground in own_ground(target, rivals, scene)]
    if not rivals:
        others = {expression_noun(placed) for placed in scene.objects if placed is not target}
        found += [f"the {noun} next to the {other}" for other in sorted(others)] if len(others) == 1 else []
        found.append(f"the {noun}")
    return found[:SENTENCES]


def expression_noun(placed: Placed) -> str:
    """The word for an object in an expression."""
    name = concept_name(placed)
    return OTHER_COCO_NAMES.get(name, name)


def own_color(target: Placed, rivals: Sequence[Placed]) -> list[str]:
    """The target's color, if every rival was painted in another one."""
    colors = {rival.color for rival in rivals}
    return [target.color] if target.color and None not in colors and target.color not in colors else []


def own_size(target: Placed, rivals: Sequence[Placed]) -> list[str]:
    """Small or large, if that tells the target from every rival."""
    ratios = [target.mask.sum() / rival.mask.sum() for rival in rivals]
    small = bool(ratios) and max(ratios) <= 1 / SIZE_RATIO
    large = bool(ratios) and min(ratios) >= SIZE_RATIO
    return ["small"] * int(small) + ["large"] * int(large)


def own_side(target: Placed, rivals: Sequence[Placed]) -> list[str]:
    """Left or right, if the target is clearly the outermost of its kind."""
    gaps = [rival.center[1] - target.center[1] for rival in rivals]
    left = bool(gaps) and min(gaps) >= SIDE_GAP
    right = bool(gaps) and max(gaps) <= -SIDE_GAP
    return ["left"] * int(left) + ["right"] * int(right)


def own_ground(target: Placed, rivals: Sequence[Placed], scene: Scene) -> list[str]:
    """The background under the target, if no rival stands on it."""
    ground = ground_of(target, scene)
    return [ground] if ground and ground not in {ground_of(rival, scene) for rival in rivals} else []


def ground_of(placed: Placed, scene: Scene) -> str | None:
    """The background at the lowest visible row of an object."""
    rows, columns = np.nonzero(placed.mask)
    lowest = columns[rows == rows.max()]
    index = int(scene.background_map[rows.max(), int(np.median(lowest))])
    return scene.backgrounds[index] if index < len(scene.backgrounds) else None


def has_label(placed: Placed) -> bool:
    """Whether an object is of one of COCO's classes."""
    return coco_id(concept_name(placed)) is not None
