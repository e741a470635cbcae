"""Named values of options that libraries check; defined here so that `car --help` does not import the libraries."""

from __future__ import annotations

from typing import Literal

Profile = Literal["released", "paper"]
"""Source of the switches' defaults: the released code or the paper."""
Mode = Literal["semantic", "referring"]
"""One label per pixel, or one object that all texts describe."""
Precision = Literal["float32", "bfloat16", "float16"]
"""Number format of the image encoders' matrix products."""
NameSet = Literal["released", "dataset"]
"""Query texts of a data set's classes: those of the released code, or the plain class names."""
SetBy = Literal["default", "profile", "benchmark", "names", "user"]
"""Who set a field of a run's configuration."""
