"""Analysis of runs: comparison, report, gallery, agreement with released results."""
