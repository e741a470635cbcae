"""How to get a data set: addresses, license, layout and expected numbers, as one `Preparation` per data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.sample import DatasetError, data_set_plugin, find_sources
from support.plugins import plugins
from support.text import unknown_name


@dataclass(frozen=True)
class FileCount:
    """Files that belong to the official layout.

    pattern: glob below the data root. expected: the correct numbers of files; empty for any number but 0.
    """

    what: str
    pattern: str
    expected: tuple[int, ...] = ()

    def files(self, root: Path) -> list[Path]:
        """The existing files, in order."""
        return sorted(root.glob(self.pattern))

    def accepts(self, n_files: int) -> bool:
        """Whether this number of files is correct."""
        return n_files in self.expected if self.expected else n_files > 0

    def is_met(self, root: Path) -> bool:
        """Whether a correct number of files exists."""
        return self.accepts(len(self.files(root)))


@dataclass(frozen=True)
class SplitCount:
    """A split that an adapter reads.

    expected: the correct numbers of samples (`noun`); empty if none is known. note: a remark on them. optional: whether
    the data set is complete without it.
    """

    adapter: str
    split: str
    expected: tuple[int, ...] = ()
    noun: str = "images"
    note: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Download:
    """An archive and where it goes.

    urls: the official address, then copies of the same file, tried in this order. hash: the published one, such as
    "md5:..."; None if there is none, and then the hash of the first download is recorded. megabytes: approximate size.
    into: the folder below the data root in which it is unpacked. provides: the files that it contains.
    """

    urls: tuple[str, ...]
    hash: str | None
    megabytes: int | None
    into: str
    provides: tuple[FileCount, ...]

    @property
    def file(self) -> str:
        """The name of the downloaded file."""
        return self.urls[0].rpartition("/")[2]


@dataclass(frozen=True)
class ManualStep:
    """A download that needs a person: an account, a form, a page without direct links. text: what goes where."""

    text: str
    page: str
    provides: tuple[FileCount, ...]


@dataclass(frozen=True)
class Preparation:
    """One data set.

    benchmarks: the benchmarks that read it. page: its official page. terms: a remark on its license.
    nested: folders below the data root in which its layout may start instead. folder: the folder that its layout
    starts with, which the user may give as data root instead of its parent.
    counts: the files that `check` counts; splits: the adapters' splits that it reads.
    convert: makes the files that the layout needs beyond the archives, given the data root; idempotent.
    """

    name: str
    title: str
    benchmarks: tuple[str, ...]
    page: str
    terms: str
    downloads: tuple[Download, ...] = ()
    manual: tuple[ManualStep, ...] = ()
    nested: tuple[str, ...] = ()
    folder: str = ""
    counts: tuple[FileCount, ...] = ()
    splits: tuple[SplitCount, ...] = ()
    convert: Callable[[Path], None] = lambda root: None

    @property
    def layout(self) -> tuple[FileCount, ...]:
        """All files that the data set needs, each pattern once."""
        parts: tuple[Download | ManualStep, ...] = (*self.downloads, *self.manual)
        provided = (count for part in parts for count in part.provides)
        return tuple({count.pattern: count for count in (*provided, *self.counts)}.values())

    def start(self, root: Path) -> Path:
        """Return the folder that patterns start from: `root`, its parent or a folder in it, by the existing files.

        Raises DatasetError for the home folder of a nonexistent user.
        """
        try:  # `expanded` would keep ~user, and a folder of that name would be made
            outer = root.expanduser().absolute()
        except RuntimeError:
            raise DatasetError(f"{root}: expected a folder, found the home of a nonexistent user") from None
        parts = Path(self.folder).parts
        for length in range(len(parts), 0, -1):
            if outer.parts[-length:] == parts[:length]:  # the user gave `folder`, or the start of it, as root
                outer = Path(*outer.parts[:-length])
                break
        for start in (outer, *(outer / nested for nested in self.nested)):
            if any(next(start.glob(count.pattern), None) is not None for count in self.layout):
                return start
        return outer


_PREPARATIONS: dict[str, Preparation] = {}


def register(*preparations: Preparation) -> None:
    """Make the data sets available to `car data`."""
    _PREPARATIONS.update({preparation.name: preparation for preparation in preparations})


def all_preparations() -> list[Preparation]:
    """All data sets, sorted by name."""
    return [_PREPARATIONS[name] for name in sorted(_PREPARATIONS)]


def find_preparation(name: str) -> Preparation:
    """Return the data set of that name, or the one that a benchmark of that name reads.

    Those of other packages are imported. Raises DatasetError, and PluginError as `find_sources`.
    """
    if name in _PREPARATIONS:
        return _PREPARATIONS[name]
    by_benchmark = {benchmark: known for known in _PREPARATIONS.values() for benchmark in known.benchmarks}
    if name in by_benchmark:
        return by_benchmark[name]
    if ":" in name or name in plugins("datasets"):
        return _outside(name)
    benchmarks = (benchmark for benchmark in by_benchmark if benchmark not in _PREPARATIONS)
    known = (*sorted(_PREPARATIONS), *plugins("datasets"), *benchmarks)
    raise DatasetError(unknown_name("data set", name, known, "car data list"))


def _outside(name: str) -> Preparation:
    """What is known of a data set of another package or a file, which is imported: its default split."""
    adapter = find_sources(name)[0]
    data_set, plugin = adapter.name.partition("/")[0], data_set_plugin(adapter.name)
    split = SplitCount(data_set, adapter.default_split, noun="images" if adapter.task == "semantic" else "samples")
    return Preparation(data_set, f"of {plugin and (plugin.package or plugin.target)}", (), "", "", splits=(split,))
