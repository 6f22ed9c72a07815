"""The setting of a data module that keeps computed views on disk, and the folder that they are kept in."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lightning.pytorch.utilities import rank_zero_warn

from kdlab.files import read_json, remove_leftovers, write_json
from kdlab.sizes import bytes_of, size
from kdlab.types import InputError

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

#: files of the folder, and of the folder of a view
LOCK, ABOUT, USED = ".lock", "view.json", ".used"
_NAME = re.compile(r"[0-9a-f]{32}")
_WITHOUT = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # file systems without locks


@dataclass(frozen=True)
class ViewCache:
    """Compute each view of a window once, and read it from disk in every later epoch and run.

    What is kept are the views of windows that nothing changes at random: those of validation and test, of training
    without augmentation and mixing, and of keys that end in ``/clean``. It is found by everything that it depends on:
    the contents of all windows of the source (of image files their names and sizes), the numbers that scale them, the
    view with its settings (of a class of your own also the text of its file) and the version of kdlab. So a view is
    never that of other data, and equals the computed one bit for bit, for every view whose output for a window does
    not depend on its batch. Raw views are not kept.

    A view is stored in files of some tens of windows, each written completely or not at all, by whichever process needs
    one of its windows first. A file that is damaged is made again. Files hold numbers alone, and reading one runs
    nothing. Processes and runs may share a folder.

    Args:
        folder: where they are kept; it is made where it is missing.
        budget: the most that the folder holds, such as ``"20GiB"``. Views that were not used for the longest time are
            deleted for new ones, but for those that a process uses now.

    Raises:
        InputError: for a size that cannot be read, a folder that cannot be made, or views of one run that are larger
            than the budget.

    Example:
        >>> ViewCache("views", budget="1.5GiB").bytes
        1610612736
    """

    folder: str
    budget: str | int = "10GiB"

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | Path) or not str(self.folder):
            raise InputError(f"view_cache: folder must be the name of a folder, but got {self.folder!r}. Name one.")
        self.bytes  # noqa: B018  refuses what is no size

    @property
    def bytes(self) -> int:
        """The budget in bytes."""
        return bytes_of(self.budget, "view_cache: budget")


class Shelf:
    """The folder of a `ViewCache`, in which each view has a folder of its own.

    Args:
        cache: the setting.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, cache: ViewCache) -> None:
        self.cache, self.folder = cache, Path(cache.folder)
        self._taken: dict[str, int] = {}
        self._held: list[IO[str]] = []
        self.writable = self._opened()

    def _opened(self) -> bool:
        """Whether files can be written; a folder that can only be read is told of."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / LOCK).open("a", encoding="utf-8"):
                pass
        except OSError as error:
            if not self.folder.is_dir():
                raise InputError(
                    f"view_cache: folder must be one that can be made, but {str(self.folder)!r} cannot: "
                    f"{error.strerror}. Name another one."
                ) from error
            rank_zero_warn(
                f"view_cache: nothing can be written into {str(self.folder)!r} ({error.strerror}). Views that are "
                "there are read, and all others are computed in every epoch. Name another folder."
            )
            return False
        return True

    def place(self, name: str, about: Mapping[str, Any], count: int) -> Path | None:
        """The folder of a view of ``count`` bytes, within the budget; None: there is no room for it now.

        Args:
            name: everything that the view depends on, as one word.
            about: the same in words, for people.
            count: bytes of all its files.

        Raises:
            InputError: the views of this run are larger than the budget.
        """
        path = self.folder / name
        if name in self._taken or not self.writable:
            return path
        needed = sum(self._taken.values()) + count
        if needed > self.cache.bytes:
            raise InputError(
                f"view_cache: budget must be at least {size(needed)} for the views of this data module, but got "
                f"{size(self.cache.bytes)}. Raise it, or leave out view_cache."
            )
        with locked(self.folder / LOCK):
            others = self._make_room(name, self.cache.bytes - needed)
            if needed + others > self.cache.bytes:
                rank_zero_warn(
                    f"view_cache: other processes use {size(others)} of the {size(self.cache.bytes)} of "
                    f"{str(self.folder)!r}, so {size(count)} of views are computed in every epoch. Raise budget."
                )
                return None
            path.mkdir(exist_ok=True)
            remove_leftovers(path)
            write_json(path / ABOUT, {"bytes": count, **about})
            self._hold(path)
        self._taken[name] = count
        return path

    def _make_room(self, name: str, room: int) -> int:
        """Delete what was not used for the longest time until all but this run's fit; how much they take then."""
        others = []
        for path in self.folder.iterdir():
            ours = _NAME.fullmatch(path.name) and not path.is_symlink() and (path / ABOUT).is_file()
            if ours and path.name not in (*self._taken, name):
                others.append(((path / ABOUT).stat().st_mtime, path))
        total = {path: _planned(path) for _, path in others}
        for _, path in sorted(others):
            if sum(total.values()) <= room:
                break
            if not _in_use(path):
                shutil.rmtree(path, ignore_errors=True)
                del total[path]
        return sum(total.values())

    def _hold(self, path: Path) -> None:
        """Others see that this process uses a view, until it ends."""
        held = (path / USED).open("a", encoding="utf-8")
        self._held.append(held)
        weakref.finalize(self, held.close)
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": []}  # the process that a loader's worker belongs to holds them


def _planned(path: Path) -> int:
    """The bytes of a view, all its files counted; of a folder without a description those that there are."""
    with suppress(InputError):
        planned = read_json(path / ABOUT, "view_cache").get("bytes")
        if isinstance(planned, int) and planned >= 0:
            return planned
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def _in_use(path: Path) -> bool:
    """Whether a process uses a view; where there are no locks, whether one began to within a day."""
    with suppress(FileNotFoundError), (path / USED).open("a", encoding="utf-8") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return False
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise
        return time.time() - (path / ABOUT).stat().st_mtime < 86400
    return False


@contextmanager
def locked(path: Path, place: int = 0) -> Iterator[None]:
    """Hold one byte of a file within the block, after those who hold it now; without locks nothing is held.

    Args:
        path: the file; it stays.
        place: of the byte.
    """
    with path.open("a", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX, 1, place, os.SEEK_SET)
            except OSError as error:
                if error.errno not in _WITHOUT:
                    raise
        yield


def described(key: Mapping[str, Any]) -> dict[str, Any]:
    """The key of a view as plain values, for its folder."""
    copied: dict[str, Any] = json.loads(json.dumps(key, sort_keys=True))
    return copied
