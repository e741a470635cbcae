"""What runs say: comparison, report, gallery, agreement with released results."""
