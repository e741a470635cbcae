"""The report of a run: one HTML file that needs nothing else, to look at a run and its samples."""

from results.pages.embedded import MISSED, WRONG, Matrix
from results.pages.gallery import (
    LabelShown,
    MaskShown,
    QueryShown,
    SampleShown,
    SegmentationShown,
    StepShown,
)
from results.pages.report import (
    Confusion,
    ReportDetails,
    report_html,
    segmentation_css,
    segmentation_html,
    write_report,
)

__all__ = [
    "MISSED",
    "WRONG",
    "Confusion",
    "LabelShown",
    "MaskShown",
    "Matrix",
    "QueryShown",
    "ReportDetails",
    "SampleShown",
    "SegmentationShown",
    "StepShown",
    "report_html",
    "segmentation_css",
    "segmentation_html",
    "write_report",
]
