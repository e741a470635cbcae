"""Drawing: colors, text, overlays, legends and picture files. Arrays uint8 [H, W, 3] in and out."""

from support.drawing.canvas import Canvas, text_width
from support.drawing.encoding import EncodedImage, encode, save_picture
from support.drawing.layers import draw_heat_map, draw_layer, draw_overlay, resize_image
from support.drawing.legend import LegendEntry, QueryOutcome, draw_legend_row, legend_rows
from support.drawing.palette import Color, hex_color, label_color

__all__ = [
    "Canvas",
    "Color",
    "EncodedImage",
    "LegendEntry",
    "QueryOutcome",
    "draw_heat_map",
    "draw_layer",
    "draw_legend_row",
    "draw_overlay",
    "encode",
    "hex_color",
    "label_color",
    "legend_rows",
    "resize_image",
    "save_picture",
    "text_width",
]
