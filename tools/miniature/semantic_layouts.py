"""Write scenes in the official layouts of Pascal VOC, COCO-Object and Pascal Context."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scenes.compose import Placed, Scene
from scenes.label_spaces import COCO_IDS, COCO_STUFF_IDS, VOC_NAMES, coco_id, context_label
from scenes.vocabulary import load_concepts

VOC_BORDER = 255
COCO_UNLABELLED = 255


def concept_name(placed: Placed) -> str:
    """Name of an object's concept."""
    return load_concepts()[placed.sprite.concept].name


def write_image(image: np.ndarray, path: Path) -> None:
    """uint8 RGB [H, W, 3] as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=88)


def write_labels(labels: np.ndarray, path: Path, palette: bool) -> None:
    """uint8 labels [H, W] as PNG, with VOC's color table or in gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels)
    if palette:
        picture.putpalette(voc_palette())
    picture.save(path, optimize=True)


def voc_palette() -> list[int]:
    """VOC's 256 colors: the bits of a label spread over red, green and blue, the highest bits first."""
    colors = np.zeros((256, 3), np.uint8)
    labels = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((labels >> (3 * bit + channel)) & 1).astype(np.uint8) << (7 - bit)
    return colors.flatten().tolist()


def write_list(names: Sequence[str], path: Path) -> None:
    """One name a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def write_voc(scenes: Sequence[Scene], root: Path, split: str) -> None:
    """VOCdevkit/VOC2012 with images, palette PNG masks and one split."""
    folder = root / "VOCdevkit" / "VOC2012"
    names = [f"2026_{index + 1:06d}" for index in range(len(scenes))]
    for name, scene in zip(names, scenes, strict=True):
        write_image(scene.image, folder / "JPEGImages" / f"{name}.jpg")
        write_labels(voc_labels(scene), folder / "SegmentationClass" / f"{name}.png", palette=True)
    write_list(names, folder / "ImageSets" / "Segmentation" / f"{split}.txt")


def voc_labels(scene: Scene) -> np.ndarray:
    """Labels 0 to 20 with the border of every labeled object at 255: uint8 [H, W]."""
    labels = np.zeros(scene.image.shape[:2], np.uint8)
    borders = np.zeros_like(labels)
    for placed in scene.objects:
        name = concept_name(placed)
        if name in VOC_NAMES:
            labels[placed.mask] = VOC_NAMES.index(name) + 1
            borders |= outline_of(placed.mask)
    labels[borders > 0] = VOC_BORDER
    return labels


def outline_of(mask: np.ndarray) -> np.ndarray:
    """Pixels on both sides of a mask's edge: uint8 [H, W] of 0 and 1."""
    square = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), square) - cv2.erode(mask.astype(np.uint8), square))


def write_context(scenes: Sequence[Scene], root: Path, split: str) -> None:
    """VOCdevkit/VOC2010 with SegmentationClassContext: 0 is background, 1 to 59 are things and stuff."""
    folder = root / "VOCdevkit" / "VOC2010"
    names = [f"2026_{index + 1:06d}" for index in range(len(scenes))]
    for name, scene in zip(names, scenes, strict=True):
        labels = label_map(scene, context_label, context_label, unnamed=0)
        write_image(scene.image, folder / "JPEGImages" / f"{name}.jpg")
        write_labels(labels, folder / "SegmentationClassContext" / f"{name}.png", palette=True)
    write_list(names, folder / "ImageSets" / "SegmentationContext" / f"{split}.txt")


def label_map(scene: Scene, label_of_concept: Any, label_of_background: Any, unnamed: int) -> np.ndarray:
    """Things over stuff: uint8 [H, W]; `unnamed` where the background has no name."""
    table = np.full(256, unnamed, np.uint8)
    table[: len(scene.backgrounds)] = [label_of_background(name) for name in scene.backgrounds]
    labels = table[scene.background_map]
    for placed in scene.objects:
        labels[placed.mask] = label_of_concept(concept_name(placed))
    return labels


def write_coco_object(scenes: Sequence[Scene], root: Path, split: str) -> None:
    """coco/<split>2017 with stuffthingmaps (value = id - 1) and instances_<split>2017.json."""
    folder, year = root / "coco", f"{split}2017"
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, scene in enumerate(scenes, start=1):
        name = f"{index:012d}"
        write_image(scene.image, folder / year / f"{name}.jpg")
        labels = label_map(scene, _coco_value, lambda background: COCO_STUFF_IDS[background] - 1, COCO_UNLABELLED)
        write_labels(labels, folder / "stuffthingmaps" / year / f"{name}.png", palette=False)
        images.append(image_record(scene, index, f"{name}.jpg"))
        annotations += instance_records(scene, index, first_id=len(annotations) + 1)
    write_instances(images, annotations, folder / "annotations" / f"instances_{year}.json")


def _coco_value(concept: str) -> int:
    identifier = coco_id(concept)
    return COCO_UNLABELLED if identifier is None else identifier - 1


def image_record(scene: Scene, image_id: int, file_name: str) -> dict[str, Any]:
    """COCO's entry for an image."""
    height, width = scene.image.shape[:2]
    return {"id": image_id, "file_name": file_name, "height": height, "width": width, "license": 1}


def instance_records(scene: Scene, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """COCO's entries for the objects of COCO's classes, in the order of scene.objects."""
    labeled = [placed for placed in scene.objects if coco_id(concept_name(placed)) is not None]
    return [instance_record(placed, image_id, first_id + offset) for offset, placed in enumerate(labeled)]


def instance_record(placed: Placed, image_id: int, annotation_id: int) -> dict[str, Any]:
    """COCO's entry for one object, its visible part as polygons."""
    left, top, width, height = cv2.boundingRect(placed.mask.astype(np.uint8))
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": coco_id(concept_name(placed)),
        "iscrowd": 0,
        "area": int(placed.mask.sum()),
        "bbox": [left, top, width, height],
        "segmentation": mask_polygons(placed.mask),
    }


def mask_polygons(mask: np.ndarray) -> list[list[float]]:
    """Outer polygons of a mask, along the borders of its pixels: x, y, x, y, ... each."""
    doubled = np.kron(mask.astype(np.uint8), np.ones((2, 2), np.uint8))
    outlines, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
    polygons = [((outline[:, 0] + 0.5) / 2).round(2).flatten().tolist() for outline in outlines]
    return [polygon for polygon in polygons if len(polygon) >= 6]


def write_instances(images: list[dict[str, Any]], annotations: list[dict[str, Any]], path: Path) -> None:
    """COCO's instances JSON."""
    categories = [{"id": identifier, "name": name, "supercategory": "object"} for name, identifier in COCO_IDS.items()]
    document = {
        "info": {"description": "emoji scenes, Noto Emoji (Apache-2.0)", "version": "1.0"},
        "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
