"""How a notebook shows a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from support.arrays import RGBArray
from support.drawing import QueryOutcome, encode


def to_html(picture: RGBArray | None, outcomes: Sequence[QueryOutcome]) -> str:
    """A table of the queries below the picture uint8 [H, W, 3], if there is one; all texts escaped."""
    style = "padding: 2px 10px; text-align: left"
    rows = [f"<th style='{style}'>{heading}</th>" for heading in ("query", "score", "area", "outcome")]
    for query in outcomes:
        chip = f"<span style='color: {query.hex_color}'>{'&#9632;' if query.kept else '&#9633;'}</span>"
        figures = (f"{query.score:.2f}", f"{100 * query.area:.1f} %") if query.kept else ("", "")
        cells = (f"{chip} {escape(query.query)}", *figures, query.outcome)
        rows.append("".join(f"<td style='{style}'>{cell}</td>" for cell in cells))
    head, body = "".join(rows[:4]), "".join(f"<tr>{row}</tr>" for row in rows[4:])
    image = ""
    if picture is not None:
        uri = encode(picture, "png").uri
        image = f"<img alt='masks over the image' style='max-width: 100%' src='{uri}'><br>"
    return f"<div>{image}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
