"""Colors that people with any kind of color vision tell apart, as (R, G, B) in 0..255."""

from __future__ import annotations

Color = tuple[int, int, int]

# Okabe and Ito, "Color Universal Design" (2008), without black. The first few are the farthest apart.
OKABE_ITO: tuple[Color, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (240, 228, 66),  # yellow
)

WHITE: Color = (255, 255, 255)
TRACK: Color = (224, 226, 229)
RULE: Color = (206, 212, 218)
FAINT: Color = (108, 117, 125)
INK: Color = (33, 37, 41)

KEPT: Color = (0, 114, 178)
DROPPED: Color = (213, 94, 0)

# After the seventh label, lighter and darker shades: no palette keeps more than a few hues apart for everyone.
_SHADES = ((WHITE, 0.0), (WHITE, 0.45), ((0, 0, 0), 0.4), (WHITE, 0.7), ((0, 0, 0), 0.65))


def label_color(position: int) -> Color:
    """The color of the label at a position, starting at 0. Colors repeat after 35."""
    toward, share = _SHADES[position // len(OKABE_ITO) % len(_SHADES)]
    return mix(OKABE_ITO[position % len(OKABE_ITO)], toward, share)


def mix(color: Color, other: Color, share: float) -> Color:
    """The color with the given share (0..1) of another one."""
    red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(color, other, strict=True))
    return red, green, blue


def hex_color(color: Color) -> str:
    """The color as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*color)
