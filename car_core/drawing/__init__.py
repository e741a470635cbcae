"""Pictures of a segmentation: masks over the image, the unrolled recurrence, a notebook's table. No files."""

from car_core.drawing.masks import draw_masks, enlarged, masks_over_image, to_html
from car_core.drawing.steps import draw_steps, most_telling

__all__ = ["draw_masks", "draw_steps", "enlarged", "masks_over_image", "most_telling", "to_html"]
