"""What `car bench` writes to bench.json; a test holds a real document against it.

The text below a field is its documentation. Times are wall time unless it says otherwise; a spread is the slowest
repeat over the fastest, minus 1.
"""

from __future__ import annotations

from typing import Literal

from results.run_directory.schema import Count, Environment, Seconds, StrictModel


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
    """Share of the matrix product's speed, by processor time (on a GPU: wall time) of the fastest repeats."""


class BenchPipeline(StrictModel):
    images_per_second: float
    """By the median of the repeats."""
    spread: float
    """Spread of the repeats."""
    stages: dict[str, Seconds]
    """Seconds an image by stage, medians over the repeats; `waiting` is what no stage accounts for."""
    encoders_share: float
    """Share of both encoders in all stages."""


class BenchScaling(StrictModel):
    threads: Count
    """Threads of the tensor library."""
    matrix_product_gflop_per_second: float
    """What a large matrix product reaches a second of processor time (on a GPU: wall time), in the models'
    precision."""
    encoders: list[BenchEncoder]
    """One entry an encoder, measured in turns with the matrix product."""
    batch_sizes: dict[str, BenchPipeline]
    """Whole images, from files to counts, by batch size."""


class BenchMemory(StrictModel):
    host_peak_mib: float | None
    """Largest resident memory in MiB; null where the process was ended for lack of memory or the system does not
    tell."""
    device_peak_mib: float | None
    """The same of the device; null on a CPU."""
    images: Count
    """Images it segmented."""
    batch_size: Count
    """In batches of so many."""


class BenchEngine(StrictModel):
    images_per_second: float
    """Over all repeats in one run, its start counted."""
    images: Count
    """Images of that run, each as often as there are repeats."""
    batch_size: Count
    """In batches of so many."""
    decoding_processes: Count
    """Processes that decode beside the model."""
    refining_processes: Count
    """Processes that refine beside it."""


class BenchCRF(StrictModel):
    labels: Count
    """Of the first image, background included."""
    pydensecrf_seconds: Seconds
    """Median time on one core."""
    torch_seconds: Seconds
    """Median time on the models' device."""
    same_label: float
    """Share of the pixels that both give the same label."""


class BenchLaterSteps(StrictModel):
    first_step_seconds: Seconds
    """The first step's proposals, trunk included."""
    later_steps_seconds: Seconds
    """Those of all later steps together."""
    later_over_first: float
    """The second over the first."""


class BenchReleasedOrder(StrictModel):
    first_image_seconds: Seconds
    """Ours on a run's first image, with its texts."""
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
    """Between their proposals of the kept queries, in 0..1; null where others were kept."""


class BenchOptionsInfo(StrictModel):
    size: str
    """Size of the models: mini or full."""
    device: str
    """Device they ran on."""
    precision: str
    """What the image encoders multiplied in."""
    images: list[str]
    """Names of the pictures' files; empty for generated ones."""
    n_images: Count
    """How many pictures."""
    n_queries: Count
    """How many queries a picture."""
    profile: str
    """Whose switches: released or paper."""
    repeats: Count
    """How often each measurement is taken."""
    batch_sizes: list[Count]
    """Batch sizes to measure."""
    threads: list[Count]
    """Numbers of threads to measure."""
    later_steps: bool
    """Whether the steps behind the first are measured."""
    baseline: bool
    """Whether the released order of work is."""
    baseline_templates: Count | None
    """Templates of that comparison; null for all."""


class BenchDocument(StrictModel):
    """bench.json."""

    schema_version: Literal[2]
    """Version of this document."""
    options: BenchOptionsInfo
    """What was asked for."""
    environment: Environment
    """Where it ran."""
    scaling: list[BenchScaling]
    """One entry a number of threads."""
    engine: BenchEngine
    """Whole images by the engine of `car eval`, decoding and refinement beside the model."""
    crf: BenchCRF
    """Both implementations of the CRF, on a few queries that all survive."""
    load_seconds: Seconds
    """Time to load the models, once the libraries are."""
    memory: BenchMemory
    """Of a process that segments the images and does nothing else."""
    later_steps: BenchLaterSteps | None = None
    """Time for proposals, an image; absent with `--no-later-steps`."""
    released_order: BenchReleasedOrder | None = None
    """Our and the released code's order of work on the first image, before refinement, in processor time (on a GPU:
    wall time); absent with `--no-baseline` and in half precision."""
