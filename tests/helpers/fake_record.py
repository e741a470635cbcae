"""A record as metrics read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FakeRecord:
    id: str
    status: str = "ok"
    error: str | None = None
    counts: dict[str, Any] = field(default_factory=dict)
