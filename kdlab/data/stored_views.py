"""Views of unchanged windows on disk, for :class:`~kdlab.data.view_cache.ViewCache`: made where missing, and read."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import math
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from kdlab.data.moments import chunk_size
from kdlab.data.physical import seen
from kdlab.data.scaling import Scaler
from kdlab.data.view_cache import LOCK, Shelf, ViewCache, described, locked
from kdlab.files import one_line, replacing
from kdlab.views import Raw, View

HEADER, BLOCK = 4096, 2**23  # bytes of the description of a file, and about those of its windows
_FORMAT = 1


@dataclass(frozen=True)
class Source:
    """A view of the windows of one source, in data set order.

    Attributes:
        view: bound, with numbers.
        windows: ``(N, C, T)`` or ``(N, C, H, W)``, read by rows.
        scaler: of the source.
        physical: whether the view reads physical units.
    """

    view: View
    windows: Any
    scaler: Scaler
    physical: bool

    def __call__(self, rows: slice) -> NDArray[Any]:
        """The view of some windows."""
        x: Any = self.scaler(np.asarray(self.windows[rows]))
        made: Tensor = seen(self.view, self.scaler.physical(x)) if self.physical else self.view(x)
        return np.ascontiguousarray(made.numpy())


class StoredView:
    """The view of every window, in files of some tens of windows.

    Args:
        source: what is stored.
        folder: of the files.
        name: everything that the view depends on, as one word.
        writable: whether files are made.
    """

    def __init__(self, source: Source, folder: Path, name: str, writable: bool, probe: NDArray[Any]) -> None:
        self._source, self._folder, self._name, self._writable = source, folder, name, writable
        self._shape, self._dtype = probe.shape[1:], probe.dtype
        self._row = max(1, probe[0].nbytes)
        self._per_file = max(1, min(len(source.windows), BLOCK // self._row))
        self._checked: set[int] = set()

    def rows(self, index: NDArray[np.int64]) -> Tensor | None:
        """The view of windows, a copy; None: it is not on disk, and cannot be."""
        out = np.empty((len(index), *self._shape), self._dtype)
        files = index // self._per_file
        for number in np.unique(files).tolist():
            places = np.flatnonzero(files == number)
            if not self._read(number, index, places, out) and not self._make(number, index, places, out):
                return None
        return torch.from_numpy(out)

    def _span(self, number: int) -> slice:
        start = number * self._per_file
        return slice(start, min(start + self._per_file, len(self._source.windows)))

    def _header(self, number: int) -> dict[str, Any]:
        span = self._span(number)
        shape = [span.stop - span.start, *self._shape]
        return {"format": _FORMAT, "view": self._name, "file": number, "shape": shape, "dtype": str(self._dtype)}

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.views"

    def _read(self, number: int, index: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[Any]) -> bool:
        """Read windows of a file into ``out``; whether it is there and complete."""
        span, path = self._span(number), self._path(number)
        try:
            with path.open("rb") as file:
                if number not in self._checked:
                    header = json.loads(file.read(HEADER))
                    data = file.read((span.stop - span.start) * self._row + 1)
                    crc = header.pop("crc32")
                    length = (span.stop - span.start) * self._row
                    if header != self._header(number) or len(data) != length or crc != zlib.crc32(data):
                        raise ValueError("it is not what was written")
                    self._checked.add(number)
                for place in places.tolist():
                    file.seek(HEADER + (int(index[place]) - span.start) * self._row)
                    if file.readinto(memoryview(out[place]).cast("B")) != self._row:
                        raise ValueError("it was cut short")
        except FileNotFoundError:
            self._checked.discard(number)
            return False
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._checked.discard(number)
            rank_zero_warn(f"view_cache: {str(path)!r} is damaged ({one_line(error)}); its views are computed again.")
            return False
        return True

    def _make(self, number: int, index: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[Any]) -> bool:
        """Compute and write a file, unless another process has just done so; whether ``out`` is filled."""
        if not self._writable:
            return False
        path, span = self._path(number), self._span(number)
        try:
            self._folder.mkdir(exist_ok=True)
            with locked(self._folder / LOCK, number):
                if path.exists() and self._read(number, index, places, out):
                    return True
                made = self._source(span)
                data = made.tobytes()
                text = json.dumps({**self._header(number), "crc32": zlib.crc32(data)}).encode()
                with replacing(path) as part:
                    part.write_bytes(text.ljust(HEADER) + data)
        except OSError as error:
            self._writable = False
            rank_zero_warn(
                f"view_cache: {str(path)!r} cannot be written ({one_line(error)}); what is missing is computed in "
                "every epoch. Free some space, or name another folder."
            )
            return False
        out[places] = made[index[places] - span.start]
        self._checked.add(number)
        return True


class StoredViews:
    """The stored views of a data module.

    Args:
        cache: the setting.
        windows: source -> all windows.
        scalers: source -> its scaling.
    """

    def __init__(self, cache: ViewCache, windows: Mapping[str, Any], scalers: Mapping[str, Scaler]) -> None:
        self._shelf, self._windows, self._scalers = Shelf(cache), windows, scalers
        self._digests: dict[str, str] = {}
        self._known: dict[tuple[str, bool, View], StoredView | None] = {}

    def of(self, source: str, physical: bool, view: View) -> StoredView | None:
        """A view of the windows of a source; None where it is not kept.

        Args:
            source: name.
            physical: whether it reads physical units.
            view: bound, with numbers.

        Raises:
            InputError: it does not fit into the budget.
        """
        at = (source, physical, view)
        if at not in self._known:
            self._known[at] = None if isinstance(view, Raw) else self._opened(view, source, physical)
        return self._known[at]

    def _opened(self, view: View, source: str, physical: bool) -> StoredView | None:
        code = code_of(view)
        if code is None:
            rank_zero_warn(
                f"view_cache: the code of {type(view).__name__} cannot be read, so its views are computed in every "
                "epoch. Write the class into a file."
            )
            return None
        scaler, windows = self._scalers[source], self._windows[source]
        key = described(
            {
                "kdlab": importlib.metadata.version("kdlab"),
                "view": f"{type(view).__module__}.{view!r}",
                "version": view.version,
                "code": code,
                "units": "physical" if physical else "scaled",
                "scale": [scaler.offset.tolist(), scaler.divisor.tolist(), scaler.clip],
                "windows": self._digest(source),
            }
        )
        name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=16).hexdigest()
        made = Source(view, windows, scaler, physical)
        probe = made(slice(0, 1))
        rows = max(1, min(len(windows), BLOCK // max(1, probe.nbytes)))
        count = probe.nbytes * len(windows) + HEADER * math.ceil(len(windows) / rows)
        folder = self._shelf.place(name, {"key": key}, count)
        return None if folder is None else StoredView(made, folder, name, self._shelf.writable, probe)

    def _digest(self, source: str) -> str:
        """Of the contents of all windows; of image files, of their names and sizes."""
        if source not in self._digests:
            x = self._windows[source]
            digest = hashlib.blake2b(repr((tuple(x.shape), str(x.dtype))).encode(), digest_size=16)
            listing = getattr(x, "listing", None)
            step = chunk_size(x)
            parts = range(0, 0 if listing else len(x), step)
            for part in [listing()] if listing else (np.ascontiguousarray(x[i : i + step]).data for i in parts):
                digest.update(part)
            self._digests[source] = digest.hexdigest()
        return self._digests[source]


def code_of(view: View) -> str | None:
    """A digest of the files that a user's view is written in, empty for kdlab's own; None where they cannot be read.

    >>> from kdlab.views import Spectrogram
    >>> code_of(Spectrogram())
    ''
    """
    texts = []
    for cls in type(view).__mro__[:-1]:
        if cls.__module__.partition(".")[0] in ("kdlab", "abc"):
            continue
        try:
            texts.append(inspect.getsource(sys.modules[cls.__module__]))
        except (OSError, TypeError, KeyError):
            return None
    return hashlib.blake2b("".join(texts).encode(), digest_size=16).hexdigest() if texts else ""
