"""What is known about getting a data set: sources, license, layout and numbers, as one `Preparation` a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.sample import DatasetError
from support.text import unknown_name


@dataclass(frozen=True)
class FileCount:
    """Files that belong to the official layout.

    pattern: glob below the data root. expected: the numbers of files that are right; empty for any number but 0.
    """

    what: str
    pattern: str
    expected: tuple[int, ...] = ()

    def files(self, root: Path) -> list[Path]:
        """The files that are there, in order."""
        return sorted(root.glob(self.pattern))

    def accepts(self, n_files: int) -> bool:
        """Whether this number of files is right."""
        return n_files in self.expected if self.expected else n_files > 0


@dataclass(frozen=True)
class SplitCount:
    """A split that an adapter reads.

    expected: the numbers of samples (`noun`) that are right; empty where none is known. note: what there is to know of
    them. optional: whether the data set is whole without it.
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

    urls: the official address, then copies of the same file, tried in this order. hash: as published, "md5:..." and
    the like; None where none is, and then the hash of the first download is recorded. megabytes: its size, roughly.
    into: the folder below the data root in which it is unpacked. provides: what is there afterwards.
    """

    urls: tuple[str, ...]
    hash: str | None
    megabytes: int | None
    into: str
    provides: tuple[FileCount, ...]

    @property
    def file(self) -> str:
        """The name it is kept under."""
        return self.urls[0].rpartition("/")[2]


@dataclass(frozen=True)
class ManualStep:
    """What only a person can get: an account, a form, a page without a direct address. `text` says what goes where."""

    text: str
    page: str
    provides: tuple[FileCount, ...]


@dataclass(frozen=True)
class Preparation:
    """One data set.

    benchmarks: the benchmarks that read it. page: its official page. terms: a remark on its license.
    nested: folders below the data root in which its layout may start instead. folder: the folder that its layout
    starts with, which the user may give as data root instead of its parent.
    counts: the files that `check` looks at; splits: the adapters' splits that it looks at.
    convert: makes what the layout needs beyond the archives, given the data root; does nothing the second time.
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
        """All files that it needs, each pattern once."""
        parts: tuple[Download | ManualStep, ...] = (*self.downloads, *self.manual)
        provided = (count for part in parts for count in part.provides)
        return tuple({count.pattern: count for count in (*provided, *self.counts)}.values())

    def start(self, root: Path) -> Path:
        """Return the folder that patterns start from: `root`, its parent or a folder in it, by what is there.

        Raises DatasetError for the home folder of a user that there is not.
        """
        outer = _without_end(_absolute(root), Path(self.folder).parts)
        places = (outer, *(outer / nested for nested in self.nested))
        return next((place for place in places if any(self._is_there(place, count) for count in self.layout)), outer)

    def _is_there(self, place: Path, count: FileCount) -> bool:
        return next(place.glob(count.pattern), None) is not None


def _absolute(root: Path) -> Path:
    # A folder called ~user is not made in place of a home folder that there is not.
    try:
        return root.expanduser().absolute()
    except RuntimeError:
        raise DatasetError(f"{root}: expected a folder, found a user that there is not") from None


def _without_end(root: Path, folder: tuple[str, ...]) -> Path:
    """`root` without the first parts of `folder` if it ends in them."""
    for length in range(len(folder), 0, -1):
        if root.parts[-length:] == folder[:length]:
            return Path(*root.parts[:-length])
    return root


_PREPARATIONS: dict[str, Preparation] = {}


def register(preparations: Iterable[Preparation]) -> None:
    """Make the data sets known to `car data`."""
    _PREPARATIONS.update({preparation.name: preparation for preparation in preparations})


def all_preparations() -> list[Preparation]:
    """All data sets, in the order of their names."""
    return [_PREPARATIONS[name] for name in sorted(_PREPARATIONS)]


def find_preparation(name: str) -> Preparation:
    """Return the data set of that name, or the one that a benchmark of that name reads. Raises DatasetError."""
    if name in _PREPARATIONS:
        return _PREPARATIONS[name]
    by_benchmark = {benchmark: known for known in _PREPARATIONS.values() for benchmark in known.benchmarks}
    if name in by_benchmark:
        return by_benchmark[name]
    benchmarks = (benchmark for benchmark in by_benchmark if benchmark not in _PREPARATIONS)
    raise DatasetError(unknown_name("data set", name, (*sorted(_PREPARATIONS), *benchmarks)))
