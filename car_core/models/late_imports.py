"""Imports open_clip without what only its other towers need: those parts are imported when they are first used.

transformers and timm (towers that are not open_clip's own, CoCa's generation) and torch's compiler (one of
torchvision's operators) take longer to import than everything else. While open_clip is imported, stand-ins take their
places. The names that it takes from them find the real ones when they are called, looked into, derived from or tested
with ``isinstance``. Nothing stays in `sys.modules`, so whoever imports these packages gets the packages themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

# Per module that open_clip (or torchvision) takes names from: where the names are, the later in other versions of it.
_LATE = {
    "timm": ("timm",),
    "timm.layers": ("timm.layers",),
    "transformers": ("transformers", "transformers.generation"),
    "transformers.modeling_outputs": ("transformers.modeling_outputs",),
    "torch._dynamo.utils": ("torch._dynamo.utils",),
}


class _Late:
    """A class or function of a module that is imported when this is first used."""

    def __init__(self, homes: tuple[str, ...], name: str) -> None:
        self._homes, self._name = homes, name

    def _found(self) -> Any:
        *others, last = self._homes
        for home in others:
            if (found := getattr(import_module(home), self._name, None)) is not None:
                return found
        return getattr(import_module(last), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._found()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copying, inspecting and documenting ask every object for
            raise AttributeError(name)
        return getattr(self._found(), name)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self._found())

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[Any, ...]:
        return (self._found(),)


class _StandIn(ModuleType):
    """A module whose names are `_Late` while it has the module's place, and the module's own from then on."""

    def __getattr__(self, name: str) -> Any:
        package = sys.modules.get(self.__name__.rpartition(".")[0])
        if package and not isinstance(package, _StandIn) and sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]  # the package itself is imported meanwhile, and needs its own
        if sys.modules.get(self.__name__) is not self:
            return getattr(import_module(self.__name__), name)
        if name.startswith("__"):
            raise AttributeError(name)
        return _Late(_LATE[self.__name__], name)


@contextmanager
def late_imports() -> Iterator[None]:
    """While open: the modules of `_LATE` that are installed, and not imported yet, are stand-ins."""
    placed: dict[str, _StandIn] = {}
    for name in _LATE:
        package = name.partition(".")[0]
        if name not in sys.modules and (package in (*placed, "torch") or (package == name and find_spec(name))):
            placed[name] = _StandIn(name)
            placed[name].__path__ = []  # a package: some of the others are in it
            placed[name].__spec__ = find_spec(name) if package == name else None  # others may look for it meanwhile
            sys.modules[name] = placed[name]
    try:
        yield
    finally:
        for name, module in placed.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
