"""Contributions of other packages under the entry points `car_eval.<kind>`, and classes named as ``module:Class``.

Nothing is imported before it is requested by name, so a broken package affects only its users.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from support.errors import UserError
from support.text import described, did_you_mean, shortened, unknown_name

Kind = Literal["methods", "datasets", "metrics", "prompts", "benchmarks", "trackers"]


_SOURCE = "__car_eval_source__"  # in a module, the sha256 of its sources as it was imported
_IMPORTED: dict[str, Plugin] = {}  # by top-level package or module, the first that it was imported for


class PluginError(UserError, ValueError):
    """A contribution of a package is missing, named twice, or cannot be imported. One line naming the package."""


@dataclass(frozen=True)
class Plugin:
    """One contribution of a package or a file.

    target: ``package.module:Attribute`` or ``path/to/file.py:Attribute``. package, version: of the distribution that
    names it as an entry point; None where the user named the target.
    """

    kind: Kind
    name: str
    target: str
    package: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.name!r} of {self.package or self.target}"

    def __getstate__(self) -> dict[str, Any]:
        # Without the imported module: another process imports it again, from the same sources.
        known = vars(self.__dict__["_module"])[_SOURCE] if "_module" in self.__dict__ else self.__dict__.get(_SOURCE)
        return {**{field.name: getattr(self, field.name) for field in fields(self)}, _SOURCE: known}

    @cached_property
    def value(self) -> Any:
        """The object itself, imported now. Raises PluginError for whatever the import raises."""
        where, _, attributes = self.target.partition(":")
        module = self._module
        try:
            return attrgetter(attributes)(module) if attributes else module
        except AttributeError:
            classes = [name for name, each in vars(module).items() if isinstance(each, type)]
            hint = did_you_mean(attributes, classes)
            raise PluginError(f"{self.target}: expected {attributes} in {where}, found none{hint}") from None
        except Exception as error:  # of a package that imports its parts on demand
            raise PluginError(
                f"{self.target}: expected a module that can be imported, found {described(error)}"
            ) from error

    @cached_property
    def _module(self) -> ModuleType:
        where = self.target.partition(":")[0]
        if where.endswith(".py") and not Path(where).expanduser().is_file():
            raise PluginError(f"{self.target}: expected a file {where}, found none")
        folder = os.getcwd()
        try:
            with redirect_stdout(sys.stderr):  # output of a module is not a result
                if where.endswith(".py"):
                    module = _import_file(Path(where))
                else:
                    if os.getcwd() not in sys.path and "" not in sys.path:
                        sys.path.append(os.getcwd())  # as `python -m` does; last, so that it hides nothing
                    module = importlib.import_module(where)
            vars(module).setdefault(_SOURCE, source_sha256(module))
        except (Exception, SystemExit) as error:  # whatever a module does on import
            raise PluginError(
                f"{self.target}: expected a module that can be imported, found {described(error)}"
            ) from error
        finally:
            os.chdir(folder)  # a module may have left it, and paths are relative
        if self.__dict__.get(_SOURCE) not in (None, vars(module)[_SOURCE]):  # as if a worker is restarted
            raise PluginError(f"{self.target}: expected the sources that the run was started with, found others")
        _IMPORTED.setdefault(module.__name__.partition(".")[0], self)
        return module

    def made(self) -> Any:
        """The value, or for a class an instance made without arguments, also of each in a tuple. Raises PluginError."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        try:
            made = tuple(value() if isinstance(value, type) else value for value in values)
            return made if isinstance(self.value, tuple) else made[0]
        except Exception as error:  # of the class
            raise PluginError(
                f"{self.target}: expected a class that takes no arguments, found {described(error)}"
            ) from error

    def record(self) -> dict[str, str | None]:
        """Its entry in run.json and the identity: names, version, and the sha256 of its sources.

        Of a file's path only the name, because records must not depend on where a user keeps things. Raises PluginError
        if the sources have changed since they were imported.
        """
        where, colon, attribute = self.target.partition(":")
        source = source_sha256(self._module)
        if source != vars(self._module)[_SOURCE]:  # as in a notebook: what is in memory would run
            raise PluginError(
                f"{self.target}: expected the sources as they were imported, found others; restart Python"
            )
        return {
            "kind": self.kind,
            "name": self.name,
            "target": (Path(where).name if where.endswith(".py") else where) + colon + attribute,
            "package": self.package,
            "version": self.version,
            "source": source,
        }


def plugins(kind: Kind) -> Mapping[str, tuple[Plugin, ...]]:
    """The contributions of installed packages by name; more than one if packages clash."""
    return _installed(kind, tuple(sys.path))


@lru_cache  # a look at every installed package takes milliseconds, and a sweep asks hundreds of times
def _installed(kind: Kind, path: tuple[str, ...]) -> Mapping[str, tuple[Plugin, ...]]:
    found: dict[str, list[Plugin]] = defaultdict(list)
    for point in entry_points(group=f"car_eval.{kind}"):
        own = Plugin(kind, point.name, point.value, *((point.dist.name, point.dist.version) if point.dist else ()))
        if own not in found[point.name]:  # an editable install can be listed twice
            found[point.name].append(own)
    return {name: tuple(found[name]) for name in sorted(found)}


def find_plugin(kind: Kind, name: str, built_in: Iterable[str], field: str) -> Plugin | None:
    """The contribution that a name refers to: an entry point, or ``module:Class`` and ``file.py:Class``; None for ours.

    Raises PluginError for an unknown name, with near matches, and for one that several packages, or we, have.
    """
    if ":" in name:
        where, _, attribute = name.partition(":")
        if not where or not all(part.isidentifier() for part in attribute.split(".")):
            raise PluginError(f"{field}: expected package.module:Class or file.py:Class, found {shortened(name)!r}")
        return Plugin(kind, attribute, name)
    provided, own = plugins(kind), list(built_in)
    if name not in provided:
        if name in own:
            return None
        where, dot, attribute = name.rpartition(".")
        if dot and (attribute == "py" or attribute[:1].isupper()):
            meant = f"{name}:CLASS" if attribute == "py" else f"{where}:{attribute}"
            raise PluginError(f"{field}: expected {meant} or the name of one, found {shortened(name)!r}")
        raise PluginError(f"{unknown_name(field, name, [*own, *provided])}; your own: file.py:NAME")
    packages = [*(["car-eval"] if name in own else []), *(str(plugin.package) for plugin in provided[name])]
    if len(packages) > 1:
        raise PluginError(f"{field}: expected one package with {name!r}, found {' and '.join(packages)}")
    return provided[name][0]


def source_sha256(module: ModuleType) -> str:
    """sha256 over the Python files of a module's top-level package, or over its own file if it has no package."""
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    owner = top if getattr(top, "__file__", None) else sys.modules.get(module.__package__ or "", module)
    # A folder that sys.path has twice is twice in the path of a package without __init__.py.
    folders = list(dict.fromkeys(Path(folder).resolve() for folder in getattr(owner, "__path__", ())))
    digest = hashlib.sha256()
    if not folders:
        file = Path(str(owner.__file__))
        digest.update(file.read_bytes())
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def blamed(error: BaseException) -> str | None:
    """One line for an exception that user-supplied code raised unexpectedly; None for any other."""
    trace, plugin = error.__traceback__, None
    while trace:
        name = str(trace.tb_frame.f_globals.get("__name__"))
        plugin, trace = _IMPORTED.get(name.partition(".")[0], plugin), trace.tb_next
    return f"{plugin.target}: {described(error)}" if plugin else None


def _import_file(path: Path) -> ModuleType:
    """A file as a module with a unique name, the same object for the same file."""
    path = path.expanduser().resolve()
    name = f"car_eval_file_{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:  # not even Ctrl-C may leave half a module
        del sys.modules[name]
        raise
    return module
