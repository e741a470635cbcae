"""Errors that a user can mend: one line that names what was expected and what was found. `car` prints it and exits."""

from __future__ import annotations


class UserError(Exception):
    """What was asked for, or a file it names, cannot be worked with; the message says what to mend."""


class RunError(Exception):
    """A run broke off through no fault of what was asked, such as a killed worker; the message says why."""


class AllFailedError(RunError):
    """Every sample of a run failed; the message names the first with its reason."""


class ImageError(UserError, ValueError):
    """An image cannot be used. reason: what is wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
