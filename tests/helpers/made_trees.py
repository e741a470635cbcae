"""Small trees of data sets in their official layouts, whose label maps are known without the code under test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as coco_mask

from dataset_adapters import Dataset, load

# By hand from helpers/labels.py of cityscapesScripts: the 19 classes in the order of their train ids, by official id.
CITY = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
# By hand from labels.txt of COCO-Stuff: the ids that no pixel has.
UNUSED_COCO_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
COCO_IDS = [category for category in range(1, 91) if category not in UNUSED_COCO_IDS]
STUFF_IDS = [category for category in range(1, 183) if category not in UNUSED_COCO_IDS]  # in the order of train ids
# fmt: off
COCO_NAMES = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
]

# Raw ids of the 59 classes of Pascal Context.
CONTEXT_CLASSES = {
    "aeroplane": 2, "bag": 9, "bed": 18, "bedclothes": 19, "bench": 22, "bicycle": 23, "bird": 25, "boat": 31,
    "book": 33, "bottle": 34, "building": 44, "bus": 45, "cabinet": 46, "car": 59, "cat": 65, "ceiling": 68,
    "chair": 72, "cloth": 80, "computer": 85, "cow": 98, "cup": 104, "curtain": 105, "dog": 113, "door": 115,
    "fence": 144, "floor": 158, "flower": 159, "food": 162, "grass": 187, "ground": 189, "horse": 207,
    "keyboard": 220, "light": 232, "motorbike": 258, "mountain": 259, "mouse": 260, "person": 284,
    "plate": 295, "platform": 296, "pottedplant": 308, "road": 324, "rock": 326, "sheep": 347, "shelves": 349,
    "sidewalk": 354, "sign": 355, "sky": 360, "snow": 366, "sofa": 368, "table": 397, "track": 415,
    "train": 416, "tree": 420, "truck": 424, "tvmonitor": 427, "wall": 440, "water": 445, "window": 454,
    "wood": 458,
}
# fmt: on


def write_noise(path: Path, height: int, width: int) -> None:
    pixels = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_png(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint8)).save(path)


def run_lengths(mask: np.ndarray) -> list[int]:
    """Runs of 0 and 1 in turn, down the columns, by a loop over pixels."""
    runs, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@dataclass
class Tree:
    """A data set below `parent`, with the cache of its loads; a subclass says the layout and writes it."""

    parent: Path
    name: str
    source: str | None = field(default=None, kw_only=True)

    @property
    def cache(self) -> Path:
        return self.parent / "cache"

    def load(self, name: str = "", **options: Any) -> Dataset:
        return load(name or self.name, self.parent, cache_dir=self.cache, **{"source": self.source, **options})


@dataclass
class VocTree(Tree):
    """VOCdevkit/VOC2012 below `parent`."""

    name: str = "voc21"

    @property
    def root(self) -> Path:
        return self.parent / "VOCdevkit" / "VOC2012"

    def image_path(self, sample_id: str) -> Path:
        return self.root / "JPEGImages" / f"{sample_id}.jpg"

    def mask_path(self, sample_id: str) -> Path:
        return self.root / "SegmentationClass" / f"{sample_id}.png"

    def write_split(self, text: str, name: str = "val") -> None:
        (self.root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(text)

    def write_mask(self, sample_id: str, labels: np.ndarray) -> None:
        """Write uint8 labels [H, W] as a palette PNG whose colors never equal their index."""
        mask = Image.fromarray(labels.astype(np.uint8))
        mask.putpalette([(7 * value + 100) % 256 for value in range(256) for _ in range(3)])
        mask.save(self.mask_path(sample_id))

    def add(self, sample_id: str, height: int = 6, width: int = 9) -> None:
        """Write a random image and a mask of background, one class and border."""
        generator = np.random.default_rng(sum(sample_id.encode()))
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(self.image_path(sample_id))
        labels = generator.choice([0, 1 + sum(sample_id.encode()) % 20, 255], (height, width))
        self.write_mask(sample_id, labels)


def make_voc(parent: Path, ids: Sequence[str]) -> VocTree:
    """A tree with these ids as its val split."""
    tree = VocTree(parent)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tree.root / folder).mkdir(parents=True)
    for sample_id in ids:
        tree.add(sample_id)
    tree.write_split("".join(f"{sample_id}\n" for sample_id in ids))
    return tree


@dataclass
class CocoTree(Tree):
    """coco/ below `parent`: instances are rectangles of whole pixels, so their masks are known."""

    name: str = "coco-object"
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    rectangles: list[tuple[int, int, tuple[int, int, int, int]]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.parent / "coco"

    @property
    def json_path(self) -> Path:
        return self.root / "annotations" / "instances_val2017.json"

    def image_path(self, image_id: int) -> Path:
        return self.root / "val2017" / f"{image_id:012d}.jpg"

    def add_image(self, image_id: int, height: int, width: int) -> None:
        self.sizes[image_id] = (height, width)
        write_noise(self.image_path(image_id), height, width)

    def add(self, image_id: int, label: int, box: tuple[int, int, int, int], *, crowd: bool = False) -> None:
        """An instance with the label 1..80 on the pixels y0 <= y < y1, x0 <= x < x1 of box (y0, x0, y1, x1)."""
        y0, x0, y1, x1 = box
        self.rectangles.append((image_id, label, box))
        mask = np.zeros(self.sizes[image_id], np.int64)
        mask[y0:y1, x0:x1] = 1
        outline: Any = [[x0, y0, x1, y0, x1, y1, x0, y1]]
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": image_id,
                "category_id": COCO_IDS[label - 1],
                "iscrowd": int(crowd),
                "area": float((y1 - y0) * (x1 - x0)),
                "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)} if crowd else outline,
            }
        )

    def target(self, image_id: int) -> np.ndarray:
        """The smallest instance of every pixel, the later one of two equal ones."""
        height, width = self.sizes[image_id]
        labels = np.zeros((height, width), np.int64)
        for y in range(height):
            for x in range(width):
                over = [
                    ((y1 - y0) * (x1 - x0), -number, label)
                    for number, (image, label, (y0, x0, y1, x1)) in enumerate(self.rectangles)
                    if image == image_id and y0 <= y < y1 and x0 <= x < x1
                ]
                labels[y, x] = min(over)[2] if over else 0
        return labels

    def stored(self) -> dict[str, Any]:
        images = [
            {"id": image_id, "file_name": f"{image_id:012d}.jpg", "height": height, "width": width}
            for image_id, (height, width) in self.sizes.items()
        ]
        categories = [{"id": id, "name": name} for id, name in zip(COCO_IDS, COCO_NAMES, strict=True)]
        return {"images": images, "annotations": self.annotations, "categories": categories}

    def write_json(self) -> None:
        self.json_path.parent.mkdir(exist_ok=True)
        self.json_path.write_text(json.dumps(self.stored()))

    def write_maps(self, folder: str = "stuffthingmaps/val2017") -> None:
        """COCO-Stuff's values: the category id - 1; what is no instance is in part stuff, in part unlabelled."""
        for image_id in self.sizes:
            labels = self.target(image_id)
            raw = np.array([255, *(category - 1 for category in COCO_IDS)])[labels]
            raw[:, ::2][labels[:, ::2] == 0] = 91 + image_id % 91
            write_png(self.root / folder / f"{image_id:012d}.png", raw)

    def write_converted(self, folder: str = "annotations/val2017") -> None:
        for image_id in self.sizes:
            write_png(self.root / folder / f"{image_id:012d}_instanceTrainIds.png", self.target(image_id))


def make_coco(parent: Path) -> CocoTree:
    """Four images, one of them without an instance, with overlaps, equal areas and a crowd; no labels written yet."""
    tree = CocoTree(parent)
    for image_id, size in {139: (24, 36), 285: (40, 20), 632: (16, 16), 581781: (9, 30)}.items():
        tree.add_image(image_id, *size)
    tree.add(139, 1, (2, 2, 6, 8))
    tree.add(139, 62, (0, 0, 20, 30))
    tree.add(139, 3, (10, 10, 20, 36), crowd=True)
    tree.add(139, 80, (4, 4, 8, 10))
    tree.add(285, 17, (5, 5, 30, 15), crowd=True)
    tree.add(285, 44, (10, 0, 12, 20))
    tree.add(581781, 12, (0, 0, 9, 30))
    tree.add(581781, 13, (3, 3, 6, 9))
    return tree


@dataclass
class ContextTree(Tree):
    """VOCdevkit/VOC2010 below `parent`; labels are kept as raw ids."""

    name: str = "context60"
    raw: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.parent / "VOCdevkit" / "VOC2010"

    def png_path(self, sample_id: str) -> Path:
        return self.root / "SegmentationClassContext" / f"{sample_id}.png"

    def mat_path(self, sample_id: str) -> Path:
        return self.root / "trainval" / f"{sample_id}.mat"

    def image_path(self, sample_id: str) -> Path:
        return self.root / "JPEGImages" / f"{sample_id}.jpg"

    def add(self, sample_id: str, raw: np.ndarray) -> None:
        self.raw[sample_id] = raw
        write_noise(self.image_path(sample_id), *raw.shape)
        self.write_split(list(self.raw))

    def write_split(self, ids: Sequence[str], name: str = "val") -> None:
        folder = self.root / "ImageSets" / "SegmentationContext"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.txt").write_text("\n".join(ids))

    def target(self, sample_id: str) -> np.ndarray:
        """0 for background, 1..59 in the alphabetical order of the classes."""
        numbers = {raw: number for number, raw in enumerate(CONTEXT_CLASSES.values(), start=1)}
        return np.array([[numbers.get(int(raw), 0) for raw in row] for row in self.raw[sample_id]])

    def write_pngs(self) -> None:
        for sample_id in self.raw:
            write_png(self.png_path(sample_id), self.target(sample_id))

    def write_mats(self) -> None:
        for sample_id, raw in self.raw.items():
            self.write_mat(sample_id, LabelMap=raw)

    def write_mat(self, sample_id: str, **variables: Any) -> None:
        self.mat_path(sample_id).parent.mkdir(exist_ok=True)
        scipy.io.savemat(self.mat_path(sample_id), variables, do_compression=True)

    @property
    def json_path(self) -> Path:
        return self.root / "trainval_merged.json"

    def detail(self) -> dict[str, Any]:
        """PASCAL in Detail: a mask a category, in part under the masks that come later."""
        images, segments = [], []
        for sample_id, raw in self.raw.items():
            image_id = int(sample_id.replace("_", ""))
            size = {"height": raw.shape[0], "width": raw.shape[1]}
            images.append({"file_name": f"{sample_id}.jpg", "image_id": image_id, "phase": "val", **size})
            values = [int(value) for value in np.unique(raw)[::-1] if value]
            for number, value in enumerate(values):
                later = np.isin(raw, values[number + 1 :])
                later[::2] = False
                packed = coco_mask.encode(np.asfortranarray((raw == value) | later, np.uint8))
                rle = {"size": list(raw.shape), "counts": packed["counts"].decode()}
                own = {"id": len(segments), "image_id": image_id, "category_id": value, "iscrowd": 0}
                segments.append({**own, "area": 1, "bbox": [0, 0, 1, 1], "parts": [], "segmentation": rle})
        return {"info": {}, "images": images, "annos_segmentation": segments, "annos_boundary": [], "categories": []}

    def write_json(self, stored: Any = None) -> None:
        self.json_path.write_text(json.dumps(self.detail() if stored is None else stored))


def make_context(parent: Path) -> ContextTree:
    """Three images with things, stuff and other classes; no labels written yet."""
    tree = ContextTree(parent)
    generator = np.random.default_rng(7)
    for number, size in enumerate([(20, 30), (33, 18), (10, 46)]):
        wanted = generator.choice(list(CONTEXT_CLASSES.values()), 6)
        others = generator.integers(0, 460, 6)
        raw = generator.choice([*wanted, *others, 0], size).repeat(1)
        tree.add(f"2008_{number:06d}", raw.reshape(size).astype(np.uint16))
    return tree


ADE_SIZES = {"ADE_val_00000001": (12, 17), "ADE_val_00000002": (9, 30), "ADE_val_00000007": (20, 8)}


@dataclass(frozen=True)
class Layout:
    """Where a source keeps its files, and how it writes class c (0, 1, ...) and what has no class."""

    name: str
    source: str | None
    nesting: str
    images: str
    masks: str
    suffix: str
    first: int
    nothing: int
    n_classes: int
    ignored: int

    @property
    def dtype(self) -> type:
        return np.uint16 if self.suffix == ".tif" else np.uint8


LAYOUTS = [
    Layout("ade150", "annotations", "ADEChallengeData2016", "images", "annotations", ".png", 1, 0, 150, 255),
    Layout(
        "ade150", "annotations_detectron2", "ade/ADEChallengeData2016", "images", "annotations_detectron2", ".png",
        0, 255, 150, 255,
    ),
    Layout(
        "ade847", None, "ADE20K_2021_17_01", "images_detectron2", "annotations_detectron2", ".tif", 0, 65535, 847, 65535
    ),
    Layout("pc459", "tif", "pascal_ctx_d2", "images", "annotations_ctx459", ".tif", 0, 65535, 459, 65535),
]  # fmt: skip


@dataclass
class FolderTree(Tree):
    """<images>/<split>/<id>.jpg and <masks>/<split>/<id><suffix> of one of the `LAYOUTS`."""

    name: str = field(init=False)
    layout: Layout

    def __post_init__(self) -> None:
        self.name, self.source = self.layout.name, self.layout.source

    @property
    def root(self) -> Path:
        return self.parent / self.layout.nesting

    def image_path(self, sample_id: str, split: str = "validation") -> Path:
        return self.root / self.layout.images / split / f"{sample_id}.jpg"

    def mask_path(self, sample_id: str, split: str = "validation") -> Path:
        return self.root / self.layout.masks / split / f"{sample_id}{self.layout.suffix}"

    def classes(self, sample_id: str) -> np.ndarray:
        """Class of every pixel, -1 for none; the first and the last class occur."""
        generator = np.random.default_rng(sum(sample_id.encode()))
        wanted = [-1, 0, self.layout.n_classes - 1, *generator.integers(0, self.layout.n_classes, 9)]
        return generator.choice(wanted, ADE_SIZES[sample_id])

    def stored(self, sample_id: str) -> np.ndarray:
        classes = self.classes(sample_id)
        return np.where(classes < 0, self.layout.nothing, classes + self.layout.first).astype(self.layout.dtype)

    def write(self, split: str = "validation") -> None:
        for sample_id, size in ADE_SIZES.items():
            write_noise(self.image_path(sample_id, split), *size)
            self.write_mask(sample_id, self.stored(sample_id), split)

    def write_mask(self, sample_id: str, stored: np.ndarray, split: str = "validation", **options: Any) -> None:
        self.mask_path(sample_id, split).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stored).save(self.mask_path(sample_id, split), **options)


def make_folders(parent: Path, layout: Layout) -> FolderTree:
    tree = FolderTree(parent, layout)
    tree.write()
    return tree


def write_stuff(parent: Path, source: str, values: np.ndarray | None = None, id_: str = "000000000139") -> None:
    """COCO-Stuff: a label map of every class once and one pixel of none; the train id of column c is c."""
    write_noise(parent / f"coco/val2017/{id_}.jpg", 1, 172)
    own = [category - 1 for category in STUFF_IDS] if source == "stuffthingmaps" else list(range(171))
    folder, suffix = {
        "stuffthingmaps": ("stuffthingmaps", ".png"),
        "labelTrainIds": ("annotations", "_labelTrainIds.png"),
        "detectron2": ("stuffthingmaps_detectron2", ".png"),
    }[source]
    write_png(parent / f"coco/{folder}/val2017/{id_}{suffix}", np.array([[*own, 255]]) if values is None else values)


def write_city(parent: Path, source: str, values: np.ndarray | None = None, id_: str = "lindau_000000_000019") -> None:
    """Cityscapes, as `write_stuff`; column c has the official id c, those of no class included."""
    where = id_.partition("_")[0]
    write_noise(parent / f"cityscapes/leftImg8bit/val/{where}/{id_}_leftImg8bit.png", 1, 34)
    order = list(CITY)
    own = range(34) if source == "labelIds" else [order.index(id_) if id_ in CITY else 255 for id_ in range(34)]
    write_png(
        parent / f"cityscapes/gtFine/val/{where}/{id_}_gtFine_{source}.png",
        np.array([list(own)]) if values is None else values,
    )


def make_eight(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """The official layouts of VOC, Pascal Context, COCO, Cityscapes and ADE20K below `root`, 3 images each.

    Returns the labels of each of the eight benchmarks by image id, restated here: classes from 1, 0 for a background
    that is scored, -1 for what is ignored.
    """
    generator = np.random.default_rng(11)
    sizes = [(20, 30), (24, 24), (33, 18)]

    def patches(values: Sequence[int], size: tuple[int, int]) -> np.ndarray:
        """Blocks of 3 x 3 pixels with one of the values each."""
        blocks = generator.choice(values, [-(-side // 3) for side in size])
        return np.kron(blocks, np.ones((3, 3), int))[: size[0], : size[1]]

    found: dict[str, dict[str, np.ndarray]] = {}

    def keep(name: str, id_: str, labels: np.ndarray) -> None:
        found.setdefault(name, {})[id_] = labels

    voc = root / "VOCdevkit/VOC2012"
    ids = [f"2007_{number:06d}" for number in range(3)]
    for id_, size in zip(ids, sizes, strict=True):
        raw = patches([*range(21), 255], size)
        write_noise(voc / f"JPEGImages/{id_}.jpg", *size)
        write_png(voc / f"SegmentationClass/{id_}.png", raw)
        keep("voc21", id_, np.where(raw == 255, -1, raw))
        keep("voc20", id_, np.where((raw == 255) | (raw == 0), -1, raw))
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    (voc / "ImageSets/Segmentation/val.txt").write_text("\n".join(ids))

    context = ContextTree(root)
    for number, size in enumerate(sizes):
        raw = patches([0, 1, *CONTEXT_CLASSES.values()], size)  # 0 and 1: no class of the 59
        id_ = f"2008_{number:06d}"
        context.add(id_, raw.astype(np.uint16))
        labels = context.target(id_)
        keep("context60", id_, labels)
        keep("context59", id_, np.where(labels == 0, -1, labels))
    context.write_mats()

    stuff_values = [category - 1 for category in STUFF_IDS]
    for number, size in enumerate(sizes, start=1):
        raw, id_ = patches([*stuff_values, 255], size), f"{number:012d}"
        write_noise(root / f"coco/val2017/{id_}.jpg", *size)
        write_png(root / f"coco/stuffthingmaps/val2017/{id_}.png", raw)
        things = {category - 1: label for label, category in enumerate(COCO_IDS, start=1)}
        stuff = {value: label for label, value in enumerate(stuff_values, start=1)}
        keep("coco-object", id_, np.vectorize(lambda value, labels=things: labels.get(value, 0))(raw))
        keep("coco-stuff", id_, np.vectorize(lambda value, labels=stuff: labels.get(value, -1))(raw))

    for number, size in enumerate(sizes):
        id_, city = f"munster_{number:06d}_000019", root / "cityscapes"
        raw = patches(range(34), size)
        write_noise(city / f"leftImg8bit/val/munster/{id_}_leftImg8bit.png", *size)
        write_png(city / f"gtFine/val/munster/{id_}_gtFine_labelIds.png", raw)
        numbers = {id_: train + 1 for train, id_ in enumerate(CITY)}
        keep("cityscapes", id_, np.vectorize(lambda value, labels=numbers: labels.get(value, -1))(raw))

    ade = root / "ADEChallengeData2016"
    for number, size in enumerate(sizes, start=1):
        raw, id_ = patches(range(151), size), f"ADE_val_{number:08d}"
        write_noise(ade / f"images/validation/{id_}.jpg", *size)
        write_png(ade / f"annotations/validation/{id_}.png", raw)
        keep("ade150", id_, np.where(raw == 0, -1, raw))
    return found
