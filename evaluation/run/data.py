"""The data of a run; torch is not imported."""

from __future__ import annotations

from dataclasses import replace

from dataset_adapters import Dataset, load
from evaluation.request.benchmark import BenchmarkError
from evaluation.request.options import RunOptions
from evaluation.request.resolve import ResolvedRun
from evaluation.request.vocabulary import Vocabulary


def load_data(run: ResolvedRun) -> Dataset:
    """The split that a run is asked for. Raises DatasetError."""
    names = run.options.names
    dataset = load(
        run.benchmark.adapter,
        run.inputs.data_root,
        split=run.options.split or run.benchmark.split,
        source=run.options.source,
        names="dataset" if names == "dataset" else "released",
        options={**run.protocol.data, **run.options.places},
    )
    if isinstance(names, Vocabulary):
        return replace(dataset, label_space=names.label_space(dataset.label_space))
    return dataset


def select(dataset: Dataset, options: RunOptions) -> Dataset:
    """The samples that a run takes of the whole split. Raises BenchmarkError for too many shards."""
    selected = dataset if options.limit is None else dataset[: options.limit]
    if options.shard:
        part, count = options.shard
        pieces = {"sequences": selected.sequences, "images": selected.images_by_sample, "samples": selected.ids}
        noun, most = next((noun, len(set(own))) for noun, own in pieces.items() if own)
        if count > most:
            raise BenchmarkError(f"shard: expected at most as many shards as {noun}, {most}, found {part}/{count}")
        selected = selected.shard(part - 1, count)
    return selected
