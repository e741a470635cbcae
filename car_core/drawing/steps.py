"""The unrolled recurrence as one picture: image | a column a step | masks."""

from __future__ import annotations

from dataclasses import dataclass

from car_core.drawing.masks import masks_over_image, query_colors, require_image
from car_core.segmentation import Segmentation, Step, step_names
from support.arrays import RGBArray
from support.drawing.canvas import Canvas, text_width
from support.drawing.layers import heat_map, resized
from support.drawing.palette import DROPPED, FAINT, KEPT, RULE, Color

_TILE = 190  # width of a proposal or prompted image, pixels
_TILE_HEIGHTS = (110, 260)  # least and greatest
_END = 300  # width of the image and of the masks
_TEXT = 15
_SMALL = 14
_GAP = 8
_BETWEEN = 28  # between columns
_HEAD = 58  # above the tiles
_CAPTION = 50  # below a tile
_KEY = 96  # below the image


@dataclass(frozen=True)
class _Plan:
    """What is shown where. rows: index into the queries -> row; columns: positions of the steps shown."""

    tile: tuple[int, int]  # height, width
    end: tuple[int, int]
    rows: dict[int, int]
    columns: tuple[int, ...]

    @property
    def step_width(self) -> int:
        return 2 * self.tile[1] + _GAP

    @property
    def body_height(self) -> int:
        return max(len(self.rows) * (self.tile[0] + _CAPTION), self.end[0] + _KEY)

    @property
    def width(self) -> int:
        return 2 * (self.end[1] + _BETWEEN) + len(self.columns) * (self.step_width + _BETWEEN)


def draw_steps(found: Segmentation, *, max_queries: int = 6, max_steps: int = 5) -> RGBArray:
    """The image, then every step with each query's proposal (a heat map, with a line at eta), the prompted image
    that g was shown, its score against theta and whether it was kept, and the masks at the end.

    A query has a row of its own; of more than ``max_queries`` the most telling ones are shown, of more than
    ``max_steps`` steps the first ones and the last, and the picture says so. Returns uint8 [h, w, 3]. Raises ValueError
    for a segmentation without its image, or that was not traced.
    """
    require_image(found)
    if any(step.proposals is None or step.prompted is None for step in found.steps):
        raise ValueError("steps: expected a segmentation made with trace=True, found steps without proposals")
    plan = _plan(found, max_queries, max_steps)
    canvas = Canvas(plan.width, _HEAD + plan.body_height + _GAP)
    x = _BETWEEN // 2
    _draw_image(canvas, found, plan, x)
    x += plan.end[1] + _BETWEEN
    for position in plan.columns:
        _draw_step(canvas, found, position, plan, x)
        x += plan.step_width + _BETWEEN
    _draw_result(canvas, found, plan, x)
    return canvas.picture()


def most_telling(found: Segmentation, count: int) -> list[int]:
    """At most so many queries, as rising indices: those that live longest and, among equals, score best."""
    last: dict[int, tuple[int, float]] = {}
    for position, step in enumerate(found.steps):
        last.update({index: (position, float(score)) for index, score in zip(step.queries, step.scores, strict=True)})
    lived = {index: (index in found.kept, *last[index]) for index in last}
    return sorted(sorted(lived, key=lambda index: (lived[index], -index), reverse=True)[:count])


def _plan(found: Segmentation, max_queries: int, max_steps: int) -> _Plan:
    height, width = require_image(found).shape[:2]
    low, high = _TILE_HEIGHTS
    tile = min(high, max(low, round(_TILE * height / width)))
    n_steps = len(found.steps)
    shown = range(n_steps) if n_steps <= max_steps else [*range(max_steps - 1), n_steps - 1]
    return _Plan(
        tile=(tile, _TILE),
        end=(min(2 * high, max(low, round(_END * height / width))), _END),
        rows={index: row for row, index in enumerate(most_telling(found, max_queries))},
        columns=tuple(shown),
    )


def _draw_image(canvas: Canvas, found: Segmentation, plan: _Plan, x: int) -> None:
    image = require_image(found)
    _head(canvas, x, "image", f"{image.shape[1]} x {image.shape[0]}", plan.end[1])
    canvas.paste(resized(image, plan.end), x, _HEAD)
    y = _HEAD + plan.end[0] + 14
    for line in _key(found):
        canvas.text(x, y, line, _SMALL, color=FAINT, width=plan.end[1])
        y += 20


def _key(found: Segmentation) -> list[str]:
    """What the tiles and bars of a step show."""
    eta, theta = (f" {found.config.eta:g}", f" {found.config.theta:g}") if found.config else ("", "")
    return [
        "left tile: proposal of f, bright = sure,",
        f"white line at eta{eta}",
        "right tile: prompted image shown to g",
        f"bar: score of g, tick at theta{theta}",
    ]


def _draw_result(canvas: Canvas, found: Segmentation, plan: _Plan, x: int) -> None:
    n_kept = len(found.kept)
    _head(canvas, x, "masks", f"{n_kept} of {_count(len(found.queries))} kept, refined", plan.end[1])
    canvas.paste(masks_over_image(found, plan.end), x, _HEAD)


def _draw_step(canvas: Canvas, found: Segmentation, position: int, plan: _Plan, x: int) -> None:
    step, name = found.steps[position], step_names(found.steps)[position]
    shown = [index for index in step.queries if index in plan.rows]
    also = "" if len(shown) == len(step.queries) else f", {len(shown)} shown"
    of = "" if len(plan.columns) == len(found.steps) else f" (of {len(found.steps)})"
    _head(canvas, x, f"{name}{of}", f"{_count(len(step.queries))} alive{also}, {len(step.kept)} kept", plan.step_width)
    for index in shown:
        _draw_query(canvas, found, step, index, plan, (x, _HEAD + plan.rows[index] * (plan.tile[0] + _CAPTION)))


def _draw_query(
    canvas: Canvas, found: Segmentation, step: Step, index: int, plan: _Plan, place: tuple[int, int]
) -> None:
    place_in_step = step.queries.index(index)
    assert step.proposals is not None
    assert step.prompted is not None
    x, y = place
    eta = found.config.eta if found.config else None
    tile = resized(require_image(found), plan.tile)
    canvas.paste(heat_map(tile, step.proposals[place_in_step], eta), x, y)
    canvas.paste(resized(step.prompted[place_in_step], plan.tile), x + plan.tile[1] + _GAP, y)
    below = y + plan.tile[0] + 7
    canvas.chip(x, below + 1, _TEXT - 1, query_colors(found)[index])
    score = float(step.scores[place_in_step])
    verdict = "kept" if index in step.kept else "dropped"
    color = KEPT if index in step.kept else DROPPED
    right = _write_verdict(canvas, x + plan.step_width, below, f"{score:.2f} {verdict}", color)
    name_x = x + _TEXT + 6
    canvas.text(name_x, below - 1, found.queries[index], _TEXT, width=right - name_x - _GAP, strong=True)
    theta = found.config.theta if found.config else None
    canvas.bar(x, below + _TEXT + 8, plan.step_width, 7, value=score, mark=theta, color=color)


def _write_verdict(canvas: Canvas, right: int, y: int, text: str, color: Color) -> int:
    """Write a mark and the words flush right; returns where they begin."""
    left = right - text_width(text, _TEXT) - 3
    canvas.text(left, y - 1, text, _TEXT, color=color, strong=True)
    sign = canvas.check if text.endswith("kept") else canvas.cross
    sign(left - 18, y + 1, 11, color)
    return left - 22


def _head(canvas: Canvas, x: int, title: str, below: str, width: int) -> None:
    canvas.text(x, 8, title, 19, width=width, strong=True)
    canvas.text(x, 33, below, _SMALL, color=FAINT, width=width)
    canvas.panel(x, _HEAD - 5, width, 1, RULE)


def _count(number: int) -> str:
    return "1 query" if number == 1 else f"{number} queries"
