"""The unrolled recurrence as one picture: image | one column per step | masks."""

from __future__ import annotations

from collections.abc import Sequence

from car_core.drawing.masks import masks_over_image
from car_core.steps import Step, step_names
from support.arrays import Int32Array, RGBArray
from support.drawing import Canvas, QueryOutcome, draw_heat_map, resize_image, text_width
from support.drawing.palette import DROPPED, FAINT, KEPT
from support.text import counted

# All in pixels.
_TILE = 190  # width of a proposal or prompted image
_END = 300  # width of the image and of the masks
_LEAST_HEIGHT, _GREATEST_HEIGHT = 110, 260  # of a tile
_STEP = 2 * _TILE + 8  # width of a step: two tiles with a gap
_BETWEEN = 28  # between columns
_HEAD = 58  # above the tiles
_CAPTION = 50  # below a tile
_KEY = 96  # below the image
_TEXT, _SMALL = 15, 14


def draw_steps(
    image: RGBArray,
    labels: Int32Array,
    outcomes: Sequence[QueryOutcome],
    steps: Sequence[Step],
    *,
    eta: float | None = None,
    theta: float | None = None,
    max_queries: int = 6,
    max_steps: int = 5,
) -> RGBArray:
    """The image; for every step each query's proposal (a heat map with a line at eta), the prompted image shown to g,
    its score against theta, and whether it was kept; and the final masks.

    Each query has a row. If there are more than ``max_queries``, the most telling ones are shown; if there are more
    than ``max_steps`` steps, the first ones and the last; the picture says so.

    image: uint8 [H, W, 3]. labels: [H, W], i + 1 for query i. Returns uint8 [h, w, 3]. Raises ValueError for steps
    that were not traced.
    """
    if any(step.proposals is None or step.prompted is None for step in steps):
        raise ValueError("steps: expected a segmentation made with trace=True, found steps without proposals")
    ratio = image.shape[0] / image.shape[1]
    tile = resize_image(image, (min(_GREATEST_HEIGHT, max(_LEAST_HEIGHT, round(_TILE * ratio))), _TILE))
    end = resize_image(image, (min(2 * _GREATEST_HEIGHT, max(_LEAST_HEIGHT, round(_END * ratio))), _END))
    row_height = tile.shape[0] + _CAPTION
    rows = {index: row for row, index in enumerate(most_telling(steps, outcomes, max_queries))}
    columns = range(len(steps)) if len(steps) <= max_steps else [*range(max_steps - 1), len(steps) - 1]
    canvas = Canvas(
        2 * (_END + _BETWEEN) + len(columns) * (_STEP + _BETWEEN),
        _HEAD + max(len(rows) * row_height, end.shape[0] + _KEY) + 8,
    )
    x = _BETWEEN // 2
    _head(canvas, x, _END, "image", f"{image.shape[1]} x {image.shape[0]}")
    canvas.paste(end, x, _HEAD)
    key = (
        "left: proposal of f, bright = certain,",
        "white line at eta" + (f" {eta:g}" if eta is not None else ""),
        "right: prompted image shown to g",
        "bar: score by g, tick at theta" + (f" {theta:g}" if theta is not None else ""),
    )
    for line, text in enumerate(key):
        canvas.text(x, _HEAD + end.shape[0] + 14 + 20 * line, text, _SMALL, color=FAINT, width=_END)
    x += _END + _BETWEEN
    for position in columns:
        step = steps[position]
        shown = [index for index in step.queries if index in rows]
        _head(
            canvas,
            x,
            _STEP,
            step_names(steps)[position] + (f" (of {len(steps)})" if len(columns) < len(steps) else ""),
            counted(len(step.queries), "query", "queries")
            + " alive"
            + (f", {len(shown)} shown" if len(shown) < len(step.queries) else "")
            + f", {len(step.kept)} kept",
        )
        assert step.proposals is not None
        assert step.prompted is not None
        for index in shown:
            place, query = step.queries.index(index), outcomes[index]
            score, y = float(step.scores[place]), _HEAD + rows[index] * row_height
            canvas.paste(draw_heat_map(tile, step.proposals[place], eta), x, y)
            canvas.paste(resize_image(step.prompted[place], (tile.shape[0], _TILE)), x + _STEP - _TILE, y)
            y += tile.shape[0] + 7
            canvas.chip(x, y + 1, _TEXT - 1, query.color)
            color, mark, word = (
                (KEPT, canvas.check, "kept") if index in step.kept else (DROPPED, canvas.cross, "dropped")
            )
            verdict = f"{score:.2f} {word}"
            verdict_x = x + _STEP - text_width(verdict, _TEXT) - 3
            canvas.text(verdict_x, y - 1, verdict, _TEXT, color=color, bold=True)
            mark(verdict_x - 18, y + 1, 11, color)
            name_x = x + _TEXT + 6
            canvas.text(name_x, y - 1, query.query, _TEXT, width=verdict_x - 30 - name_x, bold=True)
            canvas.bar(x, y + _TEXT + 8, _STEP, 7, value=score, mark=theta, color=color)
        x += _STEP + _BETWEEN
    n_kept = sum(query.kept for query in outcomes)
    _head(canvas, x, _END, "masks", f"{n_kept} of {counted(len(outcomes), 'query', 'queries')} kept, refined")
    canvas.paste(masks_over_image(end, labels, outcomes), x, _HEAD)
    return canvas.picture()


def most_telling(steps: Sequence[Step], outcomes: Sequence[QueryOutcome], count: int) -> list[int]:
    """At most ``count`` queries, as rising indices: those that live longest and, among equals, score best."""
    last: dict[int, tuple[bool, int, float]] = {}
    for position, step in enumerate(steps):
        for index, score in zip(step.queries, step.scores, strict=True):
            last[index] = (outcomes[index].kept, position, float(score))
    return sorted(sorted(last, key=lambda index: (last[index], -index), reverse=True)[:count])


def _head(canvas: Canvas, x: int, width: int, title: str, below: str) -> None:
    canvas.text(x, 8, title, 19, width=width, bold=True)
    canvas.text(x, 33, below, _SMALL, color=FAINT, width=width)
    canvas.rule(x, _HEAD - 5, width)
