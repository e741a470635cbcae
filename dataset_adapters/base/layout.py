"""Finding official folders, split files and sample files, with errors that say what is missing."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path

from dataset_adapters.base.adapter import Adapter
from dataset_adapters.errors import DatasetError
from support.files import expanded, read_regular


def require_folder(root: Path) -> None:
    """Raise DatasetError, naming the option, unless a data root is a folder."""
    if not root.is_dir():
        raise DatasetError(f"data_root: {root}: expected a folder, found {'a file' if root.exists() else 'nothing'}")


def find_root(root: Path, nestings: Sequence[str], folders: Sequence[str], *, all_of: bool = True) -> Path:
    """Return `root` or the first `root / nesting` that holds all (or any) of the folders. Raises DatasetError."""
    require_folder(root)
    places = [root / nesting for nesting in (".", *nestings)]
    absent = {place: [folder for folder in folders if not (place / folder).is_dir()] for place in places}
    for place in places:
        if not absent[place] or (not all_of and len(absent[place]) < len(folders)):
            return place
    expected = ", ".join(folders)
    for place in places:
        if len(absent[place]) < len(folders):
            found = ", ".join(absent[place])
            raise DatasetError(f"data_root: {place}: expected the folders {expected}, found no {found}")
    found = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "an empty folder"
    raise DatasetError(
        f"data_root: {root}: expected {'the' if all_of else 'one of the'} folders {expected} there or in"
        f" {' or '.join(nestings)}, found {found}"
    )


class LayoutAdapter(Adapter):
    """A data set whose official layout starts with known folders.

    nestings: where it may be below the given root. folders: those that it starts with; all of them, or `any_folder`.
    """

    nestings: tuple[str, ...]
    folders: tuple[str, ...]
    any_folder: bool = False

    def find_root(self, root: Path) -> Path:
        return find_root(root, self.nestings, self.folders, all_of=not self.any_folder)


def find_split(folder: Path, split: str | Path) -> Path:
    """Return `folder/<split>.txt`, or `split` itself if it is a file. Raises DatasetError with the splits."""
    named = folder / f"{split}.txt"
    if Path(split).name == str(split) and named.is_file():
        return named
    given = expanded(split)
    if given.is_file():
        return given
    known = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or (
        "none" if folder.is_dir() else "no such folder"
    )
    raise DatasetError(f"split: expected a file of ids or a split of {folder} ({known}), found {str(split)!r}")


def find_image_folder(
    root: Path, parents: Sequence[str], split: str | Path, default_split: str
) -> tuple[Path, list[str] | None]:
    """Return the folder of images, `<parent>/<split>` relative to the root, and the ids if `split` is a file of them.

    A file of ids chooses from `default_split`. Raises DatasetError.
    """

    def first(name: str) -> Path | None:
        folders = [Path(parent, name) for parent in parents]
        return next((folder for folder in folders if (root / folder).is_dir()), None)

    if Path(split).name == str(split) and (folder := first(str(split))):
        return folder, None
    given, usual = expanded(split), first(default_split)
    if given.is_file() and usual:
        return usual, read_ids(given)
    folders = ", ".join(str(root / parent / split) for parent in parents)
    raise DatasetError(
        f"split: expected a folder of images, {folders}, or a file of ids of {default_split}, found {str(split)!r}"
    )


def stems(folder: Path, suffix: str) -> set[str]:
    """Return the names in a folder that end in `suffix`, without it; none if the folder does not exist."""
    if not folder.is_dir():
        return set()
    return {name.removesuffix(suffix) for name in os.listdir(folder) if name.endswith(suffix)}


_IMAGE_FILE = re.compile(r".*\.(jpe?g|png|bmp|tiff?|webp)", re.IGNORECASE)


def read_ids(path: Path, known: Container[str] = (), key: Callable[[str], str] = str) -> list[str]:
    """Return the ids of a split file, one per line, blank lines skipped.

    known: keys of ids that may have blanks, separators and suffixes, which else are columns, paths and file names.
    Raises DatasetError, naming the line, for those, and if the file is not text, has no ids, or repeats one.
    """
    try:
        lines = read_regular(path, most=2**28).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected a UTF-8 text file of ids, found other bytes") from error
    for number, line in enumerate(map(str.strip, lines), start=1):
        if key(line) in known:
            continue
        separators = re.split(r"[\s,;]+", line)
        if len(separators) > 1:
            found = f"{len(separators)} words"
        elif re.search(r"[/\\]", line):
            found = "a path"
        elif _IMAGE_FILE.fullmatch(line):
            found = "a file name"
        else:
            continue
        raise DatasetError(
            f"{path}: line {number}: expected one id per line, without folder and suffix, found {found}: {line[:80]!r}"
        )
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise DatasetError(f"{path}: expected at least one id, found none")
    require_distinct(path, ids)
    return ids


def require_distinct(path: Path, ids: Iterable[str]) -> None:
    """Raise DatasetError naming the file and the first id that occurs twice."""
    repeated = [sample_id for sample_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DatasetError(f"{path}: expected each id once, found {len(repeated)} repeated, first {repeated[0]}")
