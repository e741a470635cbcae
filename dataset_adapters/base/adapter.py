"""Adapters: the file layout and label rules of data sets, and the registry of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.errors import DataMissingError, DatasetError, LabelSourceMissingError
from support.choices import NameSet
from support.plugins import Plugin, PluginError, find_plugin, plugins
from support.text import unknown_name

Row: TypeAlias = Mapping[str, str]
"""One sample in an index: "id" and the adapter's other columns. Files are paths relative to the root."""


class Rows(Iterable[Row]):
    """The rows of a split, which may be made one after the other.

    notices: what the files hold that was left out, for users, one line each; complete after the last row.
    """

    def __init__(self, rows: Iterable[Row], notices: Sequence[str] = ()) -> None:
        self._rows, self.notices = rows, notices

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)


_Found = TypeVar("_Found")


class Adapter:
    """The file layout and label rules of one data set. Stateless: root and split come with each call.

    `base.semantic` has the two that most data sets start from: `SemanticAdapter`, and `FolderAdapter` for an image and
    a label map per sample.
    An adapter of another package need not inherit: it gets the defaults of what is optional, from `choices` on.

    name: what is given to `load`; "<data set>/<source>" if the labels can come from several sources.
    version: incremented whenever the adapter's samples change for the same files; part of the fingerprint.
    task: that of its samples. default_split: the split that is read when none is given.
    file_columns: the row columns that are file paths relative to the root.
    choices: the values of each option for how files become samples, the default first.
    locations: the options of user-supplied data that take a path, name or mask value; no part of fingerprints.
    relabel: the label id, or the ignore label, of every value that a label file or annotation may hold; empty if values
    are label ids. categories: the same of the category ids of annotations, if label files hold other values.
    annotation_sets: sets of expressions of the same videos, over which figures average; ids begin with their names.
    """

    name: str
    version: int = 1
    task: str = "semantic"
    default_split: str = "val"
    file_columns: tuple[str, ...] = ("image", "mask")
    choices: Mapping[str, tuple[str, ...]] = {}
    locations: tuple[str, ...] = ()
    relabel: Mapping[int, int] = {}
    categories: Mapping[int, int] = {}
    annotation_sets: tuple[str, ...] = ()

    def find_root(self, root: Path) -> Path:
        """Return the folder of the official layout at or below `root`. Raises DatasetError."""
        raise NotImplementedError

    def rows(self, root: Path, split: str | Path) -> Iterable[Row]:
        """Return one row per sample of the split, without opening a sample's files; `Rows` where something is left out.

        Raises DatasetError; LabelSourceMissingError if the adapter is one of several sources and its files are missing.
        """
        raise NotImplementedError

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return the label space with the released query texts or the data set's plain names."""
        return LabelSpace.of_objects(self.name)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one sample. Raises SampleError."""
        raise NotImplementedError

    def with_options(self, options: Mapping[str, str]) -> Adapter:
        """Return the adapter with these options, all of which are in `choices` or `locations`."""
        return replace(self, **options)  # type: ignore[type-var]  # one that has options is a dataclass

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return what determines the rows, if that is a few large files, worth parsing only once; else nothing.

        Files count by their contents, folders by the names in them. Raises DatasetError for an unknown split;
        LabelSourceMissingError if the adapter is one of several sources and its files are missing.
        """
        return ()

    def queries(self, row: Row) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
        """The texts of a sample, and the object that each refers to (video; else none); None if its row has none."""
        return None


class _Outside(Adapter):
    """An adapter that does not inherit: its own parts, and our defaults of those that it lacks."""

    def __init__(self, own: Any) -> None:
        self._own = own
        self.__dict__ |= {part: getattr(own, part) for part in vars(Adapter) if part[0] != "_" and hasattr(own, part)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


_ADAPTERS: dict[str, Adapter] = {}
_PROVIDED: dict[str, Plugin] = {}  # by data set, what was imported for it


def register(adapters: Iterable[Adapter]) -> None:
    """Make the adapters available to `load` under their names."""
    _ADAPTERS.update({adapter.name: adapter for adapter in adapters})


def find_adapter(name: str, brought_by: Plugin | None = None) -> Adapter:
    """Return the adapter of exactly that name. Raises DatasetError naming near matches.

    brought_by: imported if this process does not know the name yet.
    """
    if name not in _ADAPTERS and brought_by:
        _register_plugin(brought_by)
    if name in _ADAPTERS:
        return _ADAPTERS[name]
    raise _unknown(name)


def annotation_sets(space: LabelSpace) -> tuple[str, ...]:
    """The sets of expressions of the data set with this label space; none if the data set is not known."""
    return _ADAPTERS[space.name].annotation_sets if space.name in _ADAPTERS else ()


def data_set_names() -> list[str]:
    """All data sets: those that are known and, not imported, those of installed packages."""
    return sorted({*(key.partition("/")[0] for key in _ADAPTERS), *plugins("datasets")})


def data_set_plugin(name: str) -> Plugin | None:
    """What provides a data set, or an adapter of that name; None for one of our own."""
    return _PROVIDED.get(name.partition("/")[0])


def find_sources(name: str, source: str | None = None) -> list[Adapter]:
    """Return the adapters of a data set, one per label source, in the order in which they are tried.

    name: also the entry point of an installed package, ``module:Adapter`` or ``file.py:Adapter``, which are imported.
    source: return only this one. Raises DatasetError for an unknown data set, or a source that it does not have, and
    PluginError for what cannot be imported, is not an adapter, or has the name of another.
    """
    own = {key.partition("/")[0] for key in _ADAPTERS}
    if ":" not in name and name not in data_set_names():
        raise _unknown(name)
    if name not in _PROVIDED and (plugin := find_plugin("datasets", name, own - _PROVIDED.keys(), "data set")):
        name = _register_plugin(plugin)
    by_source = {key.partition("/")[2]: key for key in _ADAPTERS if key == name or key.startswith(f"{name}/")}
    if source is None:
        return [_ADAPTERS[key] for key in by_source.values()]
    if source not in by_source or not source:
        known = ", ".join(filter(None, by_source)) or "none: this data set has one source"
        raise DatasetError(f"source: expected a label source of {name} ({known}), found {source!r}")
    return [_ADAPTERS[by_source[source]]]


def _unknown(name: str) -> DatasetError:
    return DatasetError(unknown_name("data set", name, data_set_names(), "car data list"))


_PARTS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(("name", "task", "default_split"), (str, "text")),
    "version": (int, "a whole number"),
    "file_columns": (tuple, "a tuple of columns"),
    **dict.fromkeys(("find_root", "rows", "label_space", "read"), (Callable, "a function")),
}
"""What an adapter must have: its kind, and the word for it."""


def _register_plugin(plugin: Plugin) -> str:
    """Register the adapter, or the tuple of adapters, that a plugin provides; returns the name of their data set."""
    value = plugin.made()
    adapters = value if isinstance(value, tuple) else (value,)
    for adapter in adapters:
        for part, (kind, words) in _PARTS.items():
            if not isinstance(found := getattr(adapter, part, None), kind):
                raise PluginError(f"{plugin.target}: {part} of an adapter: expected {words}, found {found!r}")
    names = {str(adapter.name).partition("/")[0] for adapter in adapters}
    if len(names) != 1 or (plugin.package and names != {plugin.name}):
        expected = repr(plugin.name) if plugin.package else "one data set"
        raise PluginError(f"{plugin.target}: name: expected adapters of {expected}, found {sorted(names)}")
    [name] = names
    if any(key.partition("/")[0] == name for key in _ADAPTERS) and _PROVIDED.get(name) != plugin:
        raise PluginError(
            f"{plugin.target}: name: expected an unused name, found {name!r} of {_PROVIDED.get(name) or 'car-eval'}"
        )
    register(adapter if isinstance(adapter, Adapter) else _Outside(adapter) for adapter in adapters)
    _PROVIDED[name] = plugin
    return name


def first_present(
    adapters: Iterable[Adapter], root: Path, read: Callable[[Adapter, Path], _Found]
) -> tuple[Adapter, Path, _Found]:
    """Return the first label source whose files exist, its root, and the result of `read(adapter, root)`.

    read: raises LabelSourceMissingError if the files of the source are missing. Raises DataMissingError if no source
    has its files.
    """
    missing: list[str] = []
    no_root: list[DatasetError] = []
    for adapter in adapters:
        try:
            folder = adapter.find_root(root)
        except DatasetError as error:  # sources may differ in layout, so another one may still find its root
            no_root.append(error)
            continue
        try:
            return adapter, folder, read(adapter, folder)
        except LabelSourceMissingError as error:
            missing.append(error.expected)
    if not missing:
        raise DataMissingError(str(no_root[0])) from None
    raise DataMissingError(f"data_root: {folder}: expected {', or '.join(missing)}, found nothing of the kind")


def option_choices(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return the values of each option of a data set, the default first. Raises DatasetError for an unknown name."""
    return find_sources(name)[0].choices


def configured(adapter: Adapter, options: Mapping[str, str]) -> Adapter:
    """Return the adapter with these options. Raises DatasetError for an unknown option or value."""
    for option, value in options.items():
        if option not in (*adapter.choices, *adapter.locations):
            known = ", ".join((*adapter.choices, *adapter.locations))
            expected = f"an option of {known}" if known else "no option"
            raise DatasetError(f"{adapter.name}: expected {expected}, found {option!r}")
        if value not in adapter.choices.get(option, (value,)):
            expected = ", ".join(adapter.choices[option])
            raise DatasetError(f"{adapter.name}: {option}: expected one of {expected}, found {value!r}")
    if not options:
        return adapter
    chosen = adapter.with_options(options)
    return chosen if isinstance(chosen, Adapter) else _Outside(chosen)
