"""The report of a run: one HTML file that needs nothing else, to look at a run and its samples."""

from results.report.gallery import LabelShown, Picture, QueryShown, SampleShown, StepShown
from results.report.page import Confusion, ReportDetails, report_html, write_report

__all__ = [
    "Confusion",
    "LabelShown",
    "Picture",
    "QueryShown",
    "ReportDetails",
    "SampleShown",
    "StepShown",
    "report_html",
    "write_report",
]
