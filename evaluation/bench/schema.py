"""The schema of bench.json, written by `car bench`.

The text below a field is its documentation. Times are wall times unless stated otherwise; a spread is the slowest
repeat over the fastest, minus 1.
"""

from __future__ import annotations

from typing import Any, Literal

from results.run_directory.schema import Count, Environment, Seconds, StrictModel
from support.choices import Precision


class BenchEncoder(StrictModel):
    name: Literal["trunk", "classifier"]
    """The encoder."""
    gflop: float
    """Operations of one pass, in 10^9."""
    seconds: Seconds
    """Median time of a pass."""
    spread: float
    """Spread of its repeats: the slowest over the fastest, minus 1."""
    gflop_per_second: float
    """`gflop` over `seconds`."""
    share_of_peak: float
    """Share of the matrix product's speed, by the processor time (on a GPU: wall time) of the fastest repeats."""


class BenchPipeline(StrictModel):
    images_per_second: float
    """By the median of the repeats."""
    spread: float
    """Spread of the repeats."""
    stages: dict[str, Seconds]
    """Seconds per image by stage, medians of the repeats; `waiting` is the time that no stage accounts for."""
    encoders_share: float
    """Share of both encoders in all stages."""


class BenchScaling(StrictModel):
    threads: Count
    """Threads of the tensor library."""
    matrix_product_gflop_per_second: float
    """Speed of a large matrix product per second of processor time (on a GPU: wall time), in the models' precision."""
    encoders: list[BenchEncoder]
    """One entry per encoder, its repeats interleaved with those of the matrix product."""
    batch_sizes: dict[str, BenchPipeline]
    """Whole images, from files to counts, by batch size."""


class BenchMemory(StrictModel):
    host_peak_mib: float | None
    """Largest resident memory in MiB; null if the process was killed for lack of memory or the system does not
    report it."""
    device_peak_mib: float | None
    """The same of the device; null on a CPU."""
    images: Count
    """Number of images segmented."""
    batch_size: Count
    """Batch size."""


class BenchEngine(StrictModel):
    images_per_second: float
    """Over all repeats in one run, including its start."""
    images: Count
    """Images of that run, each counted once per repeat."""
    batch_size: Count
    """Batch size."""
    decoding_processes: Count
    """Processes that decode alongside the model."""
    refining_processes: Count
    """Processes that refine alongside it."""


class BenchCRF(StrictModel):
    labels: Count
    """Number of labels on the first image, background included."""
    pydensecrf_seconds: Seconds | None
    """Median time on one core; null where pydensecrf2 is not installed."""
    torch_seconds: Seconds
    """Median time on the models' device."""
    same_label: float | None
    """Share of the pixels with the same label in both; null likewise."""


class BenchLaterSteps(StrictModel):
    first_step_seconds: Seconds
    """The first step's proposals, trunk included."""
    later_steps_seconds: Seconds
    """Proposals of all later steps together."""
    later_over_first: float
    """`later_steps_seconds` over `first_step_seconds`."""


class BenchReleasedOrder(StrictModel):
    first_image_seconds: Seconds
    """Ours on a run's first image, including its texts."""
    seconds: Seconds
    """Ours on any later image."""
    released_order_seconds: Seconds
    """The released order of work, which encodes its texts for every image."""
    times_faster: float
    """`released_order_seconds` over `seconds`."""
    times_faster_on_first_image: float
    """`released_order_seconds` over `first_image_seconds`."""
    templates: Count
    """Text templates of both."""
    queries: Count
    """Queries of both."""
    steps: Count
    """Steps of the recurrence."""
    same_survivors: bool
    """Whether both kept the same queries."""
    largest_mask_difference: float | None
    """Between their proposals of the kept queries, in 0..1; null if they kept different queries."""


class BenchHost(StrictModel):
    threads: Count
    """Threads of the tensor library."""
    stages: dict[str, Seconds]
    """Processor seconds per image by stage outside the encoders, fastest repeat each; `resize`: of the prompted
    images, not in `prompts`; `record`: counts and record; `other`: what no stage accounts for."""
    main_seconds: Seconds
    """Their sum in the main process: without `decode` and `refine`, which have processes of their own."""
    gpu_main_seconds: Seconds
    """The same without `resize`, which a GPU does itself."""
    images_per_second: float
    """What the main process could do if the encoders took no time."""
    all_seconds: Seconds
    """The sum of all stages."""
    survivors: float
    """Queries per image that survived."""


class BenchRequest(StrictModel):
    size: str
    """Size of the models: mini or full."""
    device: str
    """Device they ran on."""
    precision: Precision
    """Precision of the image encoders' products."""
    images: list[str]
    """File names of the images; empty for synthetic ones."""
    n_images: Count
    """Number of images."""
    n_queries: Count
    """Number of queries per image."""
    profile: str
    """Profile of the switches: released or paper."""
    repeats: Count
    """Number of repeats of each measurement."""
    batch_sizes: list[Count]
    """Batch sizes to measure."""
    threads: list[Count]
    """Numbers of threads to measure."""
    later_steps: bool
    """Whether the steps after the first are measured."""
    baseline: bool
    """Whether the released order of work is measured."""
    baseline_templates: Count | None
    """Templates of that comparison; null for all."""
    host: bool = False
    """Whether the work outside the encoders is measured."""


class BenchDocument(StrictModel):
    """bench.json."""

    schema_version: Literal[2]
    """Version of this document."""
    options: BenchRequest
    """The request."""
    environment: Environment
    """Where it ran."""
    scaling: list[BenchScaling]
    """One entry per number of threads."""
    engine: BenchEngine
    """Whole images by the engine of `car eval`, with decoding and refinement alongside the model."""
    crf: BenchCRF
    """Both implementations of the CRF, on a few queries that all survive."""
    load_seconds: Seconds
    """Time to load the models, after the libraries."""
    memory: BenchMemory
    """Memory of a process that only segments the images."""
    later_steps: BenchLaterSteps | None = None
    """Time for proposals per image; absent with `--no-later-steps`."""
    released_order: BenchReleasedOrder | None = None
    """Our and the released code's order of work on the first image, before refinement, in processor time (on a GPU:
    wall time); absent with `--no-baseline` and in half precision."""

    host: list[BenchHost] | None = None
    """What an image costs besides the encoders, one entry per number of threads; only with `--host`."""

    def as_json(self) -> dict[str, Any]:
        """The document as JSON values, without measurements that were not requested."""
        absent = {name for name in ("later_steps", "released_order", "host") if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=absent)
