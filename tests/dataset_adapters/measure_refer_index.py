"""How long a RefCOCO-sized set takes to index, and how much memory: run it, it is no test.

    python tests/dataset_adapters/measure_refer_index.py [FOLDER]

Made: 36,000 objects in 17,000 images, 140,000 sentences. Each load is a process of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

OBJECTS, IMAGES, SENTENCES = 36_000, 17_000, 140_000
WORDS = ["left", "right", "man", "woman", "dog", "in", "the", "red", "shirt", "holding", "umbrella", "behind", "couch"]


def make(root: Path) -> None:
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


def measure(root: Path, sentences: str, what: str) -> None:
    """Print time and peak memory of one load; importing the libraries is not timed but is in the memory."""
    import datasets  # noqa: F401

    from dataset_adapters import load

    start, cpu = time.perf_counter(), time.process_time()
    n = len(load("refcoco", root, split="train", options={"sentences": sentences}, cache_dir=root / "cache"))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{sentences}, {what}: {n} samples, {seconds:.2f} s ({cpu:.2f} s of CPU), peak {peak:.0f} MiB", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        root = Path(folder)
        make(root)
        for sentences in ("single", "joint"):
            for what in ("first time", "from the cache"):
                process = multiprocessing.get_context("spawn").Process(target=measure, args=(root, sentences, what))
                process.start()
                process.join()


if __name__ == "__main__":
    main()
