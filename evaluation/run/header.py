"""The header of a run at its start, for run.json."""

from __future__ import annotations

from typing import Any

from dataset_adapters import is_embedded
from evaluation.request.vocabulary import Vocabulary
from evaluation.request.words import without_folders, words_of_request
from evaluation.run.environment import environment
from evaluation.run.prepare import Prepared
from results import BenchmarkInfo, DatasetInfo, NamesInfo, PaperCell, PluginInfo, RunHeader, WeightsInfo


def header_of(prepared: Prepared) -> RunHeader:
    """The header of the run, which has no figures yet."""
    options, benchmark, dataset = prepared.options, prepared.benchmark, prepared.dataset
    config, weights = prepared.segmenter.config, prepared.segmenter.weights
    own_protocol = benchmark.protocol_of(getattr(config, "profile", None))
    own_fields, names = None, None
    if benchmark.file:
        fields = benchmark.model_dump(mode="json", exclude_unset=True)
        own_fields = {key: without_folders(value) for key, value in fields.items()}
    if isinstance(asked := options.names, Vocabulary):
        names = NamesInfo(
            name=asked.name,
            sha256=asked.sha256,
            classes={name: list(texts) for name, texts in asked.classes.items()},
            background=None if asked.background is None else list(asked.background),
        )
    # The paper's column to compare with, or why there is none.
    paper, sentences = benchmark.paper, getattr(config, "sentences", prepared.protocol.data.get("sentences"))
    compared: dict[str, Any] = {"not_comparable": prepared.not_comparable}
    if not is_embedded(prepared.data_root):
        if paper:
            n_samples = paper.n_samples(sentences or "single", len(dataset))
            compared |= {"paper_split": paper.split, "paper_samples": n_samples}
        elif benchmark.samples:
            compared |= {"paper_split": benchmark.split or dataset.adapter.default_split}
            compared |= {"paper_samples": benchmark.samples}
        if paper and not prepared.not_comparable:
            compared["paper"] = PaperCell(table=paper.table, column=paper.column)
    return RunHeader(
        status="running",
        benchmark=BenchmarkInfo(
            name=benchmark.name,
            fields=own_fields,
            on_miniature=prepared.on_miniature,
            task=dataset.task,
            label_space=dataset.label_space.as_dict(),
            names=names,
            dataset=DatasetInfo(
                name=dataset.name, split=dataset.split, fingerprint=dataset.fingerprint, n_samples=len(dataset)
            ),
            protocol_changed=[f"{k}={v}" for k, v in options.protocol.items() if own_protocol.get(k) != v],
            **compared,
        ),
        config=config.model_dump(mode="json"),
        config_sources=dict(prepared.set_by),
        request=words_of_request(options, kept=True),
        identity=prepared.identity,
        identity_fields=prepared.identity_fields,
        weights=[
            WeightsInfo(**{name: getattr(record, name) for name in WeightsInfo.model_fields}) for record in weights
        ],
        plugins=[PluginInfo.model_validate(record) for record in prepared.plugin_records],
        environment=environment(
            prepared.devices, weights, precision=options.precision, at_hand=options.engine == "local"
        ),
    )
