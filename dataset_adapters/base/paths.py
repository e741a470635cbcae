"""Paths as a user writes them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with ``~`` and ``~user`` as home folders.

    A user that there is not stays in it, to be found missing as any other folder (`Path.expanduser` raises).
    """
    return Path(os.path.expanduser(path))
