"""A made-up run and gallery for the report, with hostile text wherever text may stand."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from results import SampleRecord
from results.pages.embedded import Matrix
from results.pages.gallery import LabelShown, QueryShown, SampleShown, StepShown
from results.pages.report import Confusion, ReportDetails
from support.drawing import EncodedImage

HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"' {{ 7 * 7 }} \u202e\x1b[31m"
)


def picture(shade: int, width: int = 60, height: int = 40) -> EncodedImage:
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), shade, np.uint8)).save(stream, "WEBP")
    return EncodedImage(stream.getvalue(), width, height)


def step(number: int, queries: list[str], kept: list[str]) -> StepShown:
    return StepShown(
        f"step {number}",
        tuple(
            QueryShown(query, 0.9 - 0.05 * place, query in kept, picture(90), picture(160))
            for place, query in enumerate(queries)
        ),
    )


def sample(name: str, group: str, figure: float | None, labels: tuple[str, ...], **changes: Any) -> SampleShown:
    queries = [*labels, *(f"other {number}" for number in range(12))]
    fields: dict[str, Any] = {
        "id": name,
        "group": group,
        "figure": figure,
        "queries": tuple(queries),
        "labels": tuple(
            LabelShown(label, "#0072b2", 0.5, target=picture(80), prediction=picture(120)) for label in labels
        ),
        "image": picture(40),
        "steps": (step(1, queries, list(labels)), step(2, list(labels), list(labels))),
        "theta": 0.6,
    }
    return SampleShown(**{**fields, **changes})


def gallery() -> list[SampleShown]:
    return [
        sample("first", "best", 0.9, ("aeroplane", "bird")),
        sample("second", "worst", 0.1, ("bicycle",)),
        sample(HOSTILE, "random", 0.5, ("aeroplane", HOSTILE), note=HOSTILE, queries=(HOSTILE,)),
    ]


def records(n: int = 11) -> list[SampleRecord]:
    return [
        SampleRecord(id=f"s{i}", status="ok", queries_kept=["bird"] * (i % 3), steps=1 + i % 2, seconds={"crf": 0.1})
        for i in range(n)
    ]


def details(**changes: Any) -> ReportDetails:
    fields: dict[str, Any] = {
        "figures": [None, *(i / 10 for i in range(10))],
        "confusions": [Confusion("bird", HOSTILE, 120, 0.4)],
        "matrix": Matrix((HOSTILE, "unused", "bird"), ((0, 0, 90), (0, 2, 10), (2, 0, 1), (2, 2, 3))),
        "gallery": gallery(),
        "gallery_note": HOSTILE,
    }
    return ReportDetails(**{**fields, **changes})
