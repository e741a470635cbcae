"""The tasks that come with the package; importing them registers them."""

from evaluation.tasks import generalized, referring, semantic, video  # noqa: F401
