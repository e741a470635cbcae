"""The tasks and metrics that come with the package; importing them registers them."""

from evaluation.tasks import boundary_iou, generalized, referring, semantic, video  # noqa: F401
