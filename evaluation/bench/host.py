"""What an image costs besides the encoders: the engine's work with encoders of almost no cost."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence

import torch

from car_core import CaR, CaRConfig
from car_core.engine import device
from car_core.models.clip import open_clip
from car_core.refinement import refine_masks
from dataset_adapters import LabelSpace, Sample
from evaluation.bench.measure import BenchFixture, decoded
from evaluation.bench.schema import BenchHost
from evaluation.tasks.scorer import Scorer
from support.arrays import RGBArray

SURVIVORS = 5
_ENCODERS = ("trunk", "cam", "texts", "classifier")


def host_costs(fixture: BenchFixture, threads: Sequence[int], *, repeats: int) -> list[BenchHost]:
    """Measure the processor time of each stage outside the encoders, per image, with each number of threads.

    Models of one or two narrow layers take the place of the fixture's, on the CPU; theta is set so that
    about `SURVIVORS` queries survive. The main process does all but decoding and refinement.
    """
    config = fixture.car.config.model_copy(update={"recurrence": "full", "max_patches": CaRConfig().max_patches})
    queries, images = fixture.queries, [decoded(file) for file in fixture.files]
    car = CaR(config, proposal_clip=_narrow(16, 8), classifier_clip=_narrow(112, 1))
    scores = sorted(car.segment_coarse_batch(images[:1], [queries])[0].passes[0].output.steps[0].scores, reverse=True)
    theta = float(sum(scores[SURVIVORS - 1 : SURVIVORS + 1]) / 2) if len(scores) > SURVIVORS else 0.0
    car = car.with_config(config.model_copy(update={"theta": theta}))
    tower, resizing = car.classifier_tower, list[float]()
    preprocess = tower.preprocess

    def timed_preprocess(image: RGBArray) -> torch.Tensor:
        start = time.thread_time()
        pixels = preprocess(image)
        resizing.append(time.thread_time() - start)
        return pixels

    tower.preprocess = timed_preprocess  # type: ignore[method-assign]
    labels = range(len(queries) + 1)
    space = LabelSpace("bench", ("background", *queries), tuple(queries), tuple(labels[1:]), 255, tuple(labels))
    scorer = Scorer("semantic", space)
    clock, found = device.clock, []
    device.clock = time.process_time
    try:
        for number in threads:
            torch.set_num_threads(number)
            # The first encodes the texts.
            runs = [_stages(car, fixture, scorer, resizing) for _ in range(repeats + 1)][1:]
            stages = {stage: min(run[0][stage] for run in runs) / len(images) for stage in runs[0][0]}
            host = {stage: seconds for stage, seconds in stages.items() if stage not in _ENCODERS}
            main = sum(seconds for stage, seconds in host.items() if stage not in ("decode", "refine"))
            found.append(
                BenchHost(
                    threads=number,
                    stages=host,
                    main_seconds=main,
                    gpu_main_seconds=main - host["resize"],
                    images_per_second=1 / main,
                    all_seconds=sum(host.values()),
                    survivors=runs[0][1] / len(images),
                )
            )
    finally:
        device.clock = clock
    return found


def _stages(car: CaR, fixture: BenchFixture, scorer: Scorer, resizing: list[float]) -> tuple[dict[str, float], int]:
    """Processor seconds of all images by stage, and how many queries survived.

    resizing: gets the seconds of each prompted image's resizing from the tower.
    """
    stages, survivors, n_before = defaultdict[str, float](float), 0, len(resizing)
    for file in fixture.files:
        start = time.process_time()
        image = decoded(file)
        stages["decode"] += time.process_time() - start
        start = time.process_time()
        [coarse] = car.segment_coarse_batch([image], [fixture.queries])
        spent = time.process_time() - start
        start = time.process_time()
        segmentation = coarse.segmentation([refine_masks(request) for request in coarse.requests])
        stages["refine"] += time.process_time() - start
        for stage, seconds in coarse.passes[0].seconds.items():
            stages[stage] += seconds
        stages["other"] += spent - sum(coarse.passes[0].seconds.values())
        survivors += len(segmentation.kept)
        start = time.process_time()
        sample = Sample("bench", image, tuple(fixture.queries), "semantic", segmentation.label_map)
        json.dumps(scorer.record_of(sample, segmentation, 0.0).model_dump())
        stages["record"] += time.process_time() - start
    stages["resize"] = sum(resizing[n_before:])
    stages["prompts"] -= stages["resize"]
    return dict(stages), survivors


def _narrow(patch: int, layers: int) -> torch.nn.Module:
    """A CLIP of random weights that costs almost nothing."""
    torch.manual_seed(0)
    vision = {"image_size": 224, "patch_size": patch, "width": 64, "layers": layers, "head_width": 64}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    model: torch.nn.Module = open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text, quick_gelu=True)
    return model.eval()
