"""Pictures of a segmentation: masks over the image, and the unrolled recurrence. Arrays in, arrays out; no files."""

from car_core.drawing.masks import LEAST_SIDE, draw_masks, fitting_size, masks_over_image, query_colors, require_image
from car_core.drawing.notebook import dropped_in, to_html
from car_core.drawing.steps import draw_steps, most_telling
from support.drawing.canvas import encode, to_pil
from support.drawing.layers import heat_map, overlay, resized
from support.drawing.palette import Color, label_color

__all__ = [
    "LEAST_SIDE",
    "Color",
    "draw_masks",
    "draw_steps",
    "dropped_in",
    "encode",
    "fitting_size",
    "heat_map",
    "label_color",
    "masks_over_image",
    "most_telling",
    "overlay",
    "query_colors",
    "require_image",
    "resized",
    "to_html",
    "to_pil",
]
