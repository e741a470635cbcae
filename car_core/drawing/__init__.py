"""Pictures of a segmentation: masks over the image, and the unrolled recurrence. Arrays in, arrays out; no files."""

from car_core.drawing.canvas import encode, to_pil
from car_core.drawing.layers import heat_map, overlay, resized
from car_core.drawing.masks import draw_masks, masks_over_image
from car_core.drawing.notebook import to_html
from car_core.drawing.palette import Color, label_color
from car_core.drawing.steps import draw_steps, most_telling

__all__ = [
    "Color",
    "draw_masks",
    "draw_steps",
    "encode",
    "heat_map",
    "label_color",
    "masks_over_image",
    "most_telling",
    "overlay",
    "resized",
    "to_html",
    "to_pil",
]
