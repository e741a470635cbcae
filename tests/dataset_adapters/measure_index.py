"""How long sets of the size of RefCOCO, COCO and MeViS take to index, and how much memory: run it, it is no test.

    python tests/dataset_adapters/measure_index.py [FOLDER]

Made: RefCOCO with 36,000 objects in 17,000 images and 140,000 sentences; COCO-Object with 36,000 instances in 5,000
images; MeViS with 64,000 frames under their expressions in 50 videos; a million rows of label maps. Each
load is a process of its own.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import pickle
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_adapters import load
from dataset_adapters.base.adapter import Adapter, register

OBJECTS, IMAGES, SENTENCES = 36_000, 17_000, 140_000
COCO_IMAGES = 5_000
VIDEOS, FRAMES, EXPRESSIONS, TRACKS = 50, 80, 16, 8
ROWS = 1_000_000
WORDS = ["left", "right", "man", "woman", "dog", "in", "the", "red", "shirt", "holding", "umbrella", "behind", "couch"]


def make_refcoco(root: Path) -> None:
    """Write refcoco/refs(unc).p, refcoco/instances.json and placeholders of the images."""
    rng, folder = random.Random(0), root / "refcoco"
    photos = root / "images/mscoco/images/train2014"
    for each in (folder, photos):
        each.mkdir(parents=True)
    images = [
        {"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "height": 480, "width": 640} for i in range(IMAGES)
    ]
    for image in images:
        (photos / image["file_name"]).touch()
    sentences = iter([make_sentence(rng, sent_id) for sent_id in range(SENTENCES)])
    more = SENTENCES - 3 * OBJECTS  # so many objects have four sentences, the others three
    refs = [make_ref(i, [next(sentences) for _ in range(3 + (i < more))]) for i in range(OBJECTS)]
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    annotations = [
        {"id": i, "image_id": i % IMAGES, "segmentation": [make_polygon(rng)], "iscrowd": 0} for i in range(OBJECTS)
    ]
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))


def make_sentence(rng: random.Random, sent_id: int) -> dict:
    tokens = rng.choices(WORDS, k=rng.randint(2, 7))
    return {"sent_id": sent_id, "raw": " ".join(tokens).title(), "sent": " ".join(tokens), "tokens": tokens}


def make_ref(i: int, sentences: list[dict]) -> dict:
    return {
        "ref_id": i,
        "ann_id": i,
        "image_id": i % IMAGES,
        "split": "train",
        "sentences": sentences,
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "file_name": f"COCO_train2014_{i % IMAGES:012d}_{i}.jpg",
        "category_id": 1,
    }


def make_polygon(rng: random.Random) -> list[float]:
    return [round(rng.uniform(0, 480), 2) for _ in range(2 * rng.randint(15, 60))]


def make_coco(root: Path) -> None:
    """Write annotations/instances_val2017.json and placeholders of the images."""
    from dataset_adapters.base.class_names import read_class_names
    from dataset_adapters.benchmarks.coco import CATEGORY_LABELS

    rng, names = random.Random(0), read_class_names("coco_object").dataset
    for folder in ("annotations", "val2017"):
        (root / folder).mkdir(parents=True)
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "height": 480, "width": 640} for i in range(COCO_IMAGES)]
    for image in images:
        (root / "val2017" / image["file_name"]).touch()
    ids = list(CATEGORY_LABELS)
    instances = [
        {
            "id": i,
            "image_id": i % COCO_IMAGES,
            "category_id": ids[i % len(ids)],
            "iscrowd": 0,
            "area": rng.uniform(10, 1e5),
            "bbox": [0, 0, 1, 1],
            "segmentation": [make_outline(rng)],
        }
        for i in range(OBJECTS)
    ]
    categories = [{"id": id, "name": names[label - 1]} for id, label in CATEGORY_LABELS.items()]
    stored = {"images": images, "annotations": instances, "categories": categories}
    (root / "annotations/instances_val2017.json").write_text(json.dumps(stored))


def make_outline(rng: random.Random) -> list[float]:
    """A polygon that does not cross itself: what is drawn decides how long its mask takes."""
    n, y, x, radius = rng.randint(15, 60), rng.uniform(100, 380), rng.uniform(100, 540), rng.uniform(5, 90)
    angles = [2 * math.pi * i / n for i in range(n)]
    radii = [radius * rng.uniform(0.7, 1.1) for _ in angles]
    points = [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]
    return [round(value, 2) for point in points for value in point]


def make_mevis(root: Path) -> None:
    """Write valid_u/meta_expressions.json, valid_u/mask_dict.json and placeholders of the frames."""
    rng, folder = random.Random(0), root / "valid_u"
    videos, tracks = {}, {}
    frames = [f"{n:05d}" for n in range(FRAMES)]
    for video in range(VIDEOS):
        photos = folder / "JPEGImages" / f"v{video}"
        photos.mkdir(parents=True)
        for frame in frames:
            (photos / f"{frame}.jpg").touch()
        own = [str(video * TRACKS + n) for n in range(TRACKS)]
        for key in own:
            counts = ["".join(rng.choices("0123456789ABCDEFGHIJKLMNOabcdefgh", k=600)) for _ in frames]
            tracks[key] = [{"size": [720, 1280], "counts": each} for each in counts]
        expressions = {
            str(n): {"exp": " ".join(rng.choices(WORDS, k=7)), "anno_id": list(map(int, rng.sample(own, 1 + n % 3)))}
            for n in range(EXPRESSIONS)
        }
        videos[f"v{video}"] = {"frames": frames, "expressions": expressions}
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    (folder / "mask_dict.json").write_text(json.dumps(tracks))


@dataclass(frozen=True)
class Million(Adapter):
    """A million rows of one image and one label map, as an adapter that lists files makes them."""

    name: str = "million"

    def find_root(self, root: Path) -> Path:
        return root

    def rows(self, root: Path, split: str | Path) -> list[dict[str, str]]:
        return [{"id": f"{n:012d}", "image": "one.jpg", "mask": "one.png"} for n in range(ROWS)]


def measure(root: Path, name: str, options: dict[str, Any], what: str) -> None:
    """Print time and peak memory of one load; importing the libraries is not timed but is in the memory."""
    import pyarrow  # noqa: F401

    register([Million()])
    start, cpu = time.perf_counter(), time.process_time()
    n = len(load(name, root, cache_dir=root / "cache", **options))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    # Of this process: `ru_maxrss` begins with that of the process that started it.
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    words = f"{name} {' '.join(options.get('options', {}).values())}".strip()
    memory = f"peak {int(peak) / 2**10:.0f} MiB"
    print(f"{words}, {what}: {n} samples, {seconds:.2f} s ({cpu:.2f} s of CPU), {memory}", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        refer, coco, mevis = Path(folder, "refer"), Path(folder, "coco"), Path(folder, "mevis")
        make_refcoco(refer)
        make_coco(coco)
        make_mevis(mevis)
        for name in ("one.jpg", "one.png"):
            (mevis / name).write_bytes(b"one")
        loads: list[tuple[Path, str, dict[str, Any]]] = [
            (refer, "refcoco", {"split": "train", "options": {"sentences": "single"}}),
            (refer, "refcoco", {"split": "train", "options": {"sentences": "joint"}}),
            (coco, "coco-object", {"source": "instances"}),
            (mevis, "mevis", {}),
            (mevis, "million", {}),
        ]
        for root, name, options in loads:
            for what in ("first time", "from the cache"):
                process = multiprocessing.get_context("spawn").Process(target=measure, args=(root, name, options, what))
                process.start()
                process.join()


if __name__ == "__main__":
    main()
