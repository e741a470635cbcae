"""How to get a data set: addresses, license, layout and expected numbers, as one `Preparation` per data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from dataset_adapters.base.adapter import data_set_plugin, find_sources
from dataset_adapters.errors import DatasetError
from support import strict_yaml
from support.plugins import plugins
from support.text import unknown_name

_FOLDER = Path(__file__).parent
_STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class FileCount:
    """Files that belong to the official layout.

    pattern: glob below the data root. expected: the correct numbers of files; empty for any number but 0.
    """

    what: str
    pattern: str
    expected: tuple[int, ...] = ()

    def files(self, root: Path) -> list[Path]:
        return sorted(root.glob(self.pattern))

    def accepts(self, n_files: int) -> bool:
        return n_files in self.expected if self.expected else n_files > 0

    def is_met(self, root: Path) -> bool:
        return self.accepts(len(self.files(root)))


@dataclass(frozen=True, config=_STRICT)
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


@dataclass(frozen=True, config=_STRICT)
class Download:
    """An archive and where it goes.

    urls: the official address, then copies of the same file, tried in this order. hash: the published one, such as
    "md5:..."; None if there is none, and then the hash of the first download is recorded. megabytes: approximate size.
    into: the folder below the data root in which it is unpacked. provides: the files that it contains.
    """

    urls: tuple[str, ...]
    provides: tuple[FileCount, ...]
    hash: str | None = None
    megabytes: int | None = None
    into: str = "."

    @property
    def file(self) -> str:
        """The name of the downloaded file."""
        return self.urls[0].rpartition("/")[2]


@dataclass(frozen=True, config=_STRICT)
class ManualStep:
    """A download that needs a person: an account, a form, a page without direct links. text: what goes where."""

    text: str
    page: str
    provides: tuple[FileCount, ...]


@dataclass(frozen=True, config=_STRICT)
class Preparation:
    """One data set.

    benchmarks: the benchmarks that read it. page: its official page. terms: a remark on its license.
    nested: folders below the data root in which its layout may start instead. folder: the folder that its layout
    starts with, which the user may give as data root instead of its parent.
    counts: the files that `check` counts; splits: the adapters' splits that it reads.
    copies: files that the layout needs besides those of the archives, and what each is a copy of where it is absent.
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
    copies: Mapping[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> tuple[FileCount, ...]:
        """All files that the data set needs, each pattern once."""
        parts: tuple[Download | ManualStep, ...] = (*self.downloads, *self.manual)
        return tuple({count.pattern: count for part in parts for count in part.provides}.values())

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


@cache
def read_sources(folder: Path = _FOLDER) -> dict[str, Preparation]:
    """The data sets of a folder's sources.yaml by name."""
    stored = strict_yaml.loads(folder.joinpath("sources.yaml").read_text("utf-8"))
    data_sets = stored["data sets"]
    for name, own in data_sets.items():
        downloads = [stored["downloads"][each] if isinstance(each, str) else each for each in own.get("downloads", ())]
        parts = (*downloads, *own.get("manual", ()))
        provided = {count["what"]: count for part in parts for count in part["provides"]}
        own |= {"name": name, "downloads": downloads, "counts": [provided[what] for what in own.get("counts", ())]}
    # As JSON, where a strict reader takes lists for tuples.
    return TypeAdapter(dict[str, Preparation]).validate_json(json.dumps(data_sets))


def all_preparations() -> list[Preparation]:
    """All data sets, sorted by name."""
    return [preparation for _, preparation in sorted(read_sources().items())]


def find_preparation(name: str) -> Preparation:
    """Return the data set of that name, or the one that a benchmark of that name reads.

    Those of other packages are imported. Raises DatasetError, and PluginError as `find_sources`.
    """
    own = read_sources()
    if name in own:
        return own[name]
    by_benchmark = {benchmark: known for known in own.values() for benchmark in known.benchmarks}
    if name in by_benchmark:
        return by_benchmark[name]
    if ":" not in name and name not in plugins("datasets"):
        known = (*sorted(own), *plugins("datasets"), *(each for each in by_benchmark if each not in own))
        raise DatasetError(unknown_name("data set", name, known, "car data list"))
    adapter = find_sources(name)[0]  # of another package or a file: only its default split is known
    data_set, plugin = adapter.name.partition("/")[0], data_set_plugin(adapter.name)
    split = SplitCount(data_set, adapter.default_split, noun="images" if adapter.task == "semantic" else "samples")
    return Preparation(data_set, f"of {plugin and (plugin.package or plugin.target)}", (), "", "", splits=(split,))
