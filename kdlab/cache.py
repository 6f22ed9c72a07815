"""What frozen teachers said of every training window, kept exactly, so that each of them is asked once.

A frozen teacher in evaluation mode says the same of a window in every epoch. :class:`TeacherCache` is the setting that
a user gives; a :class:`Plan` says in which form each answer is kept and how large it is; :class:`Answers` are what a
training step reads instead of asking. Nothing here knows of nets, data or Lightning: whoever asks the teachers hands in
a :class:`Question` for each.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdlab.files import part_prefix, remove_leftovers
from kdlab.objective import CachedOutput, Need
from kdlab.types import InputError, Output

_UNITS = {"": 1, **{f"{p}B": 1000**i for i, p in enumerate(("", "k", "M", "G", "T"))}} | {
    f"{p}iB": 1024**i for i, p in enumerate(("K", "M", "G", "T"), start=1)
}
_HEADER = 16384
_BLOCK = 2**28  # bytes of one block of features while a Gram matrix is made


@dataclass(frozen=True)
class TeacherCache:
    """Ask each teacher once for each training window, and read its answers in every later step.

    Logits are kept for every window, features and attention maps where the objective reads them, and for terms on Gram
    matrices either the features or the (symmetric) Gram matrix of all training windows, of which that of a batch is a
    part; whichever is smaller. All are float32 (float64 for nets in double precision), so nothing is rounded. Answers
    are valid for one set of windows, view, teacher, precision and batch size: anything else is asked anew. The teachers
    are asked in batches of the training's size, and Gram matrices are made by products of that size: a net or a product
    of another shape may add in another order, and give other last digits than the live step.

    While a teacher is asked, the features that its Gram matrices are made of take further room, on disk where they are
    more than 256 MiB (in ``folder``, or in the folder for temporary files).

    Args:
        budget: how much may be kept, such as ``"2GiB"`` or ``"500MB"``, or a number of bytes.
        folder: where the answers are kept, memory-mapped, for this run and later ones; ``None`` keeps them in memory
            (that of the GPU, where one trains), for this run alone. Several processes share a folder, a temporary one
            where none is named.
        teacher_input: ``"same"``: the teachers see what the student sees, so a random augmentation is refused;
            ``"clean"``: they are asked about the window before its augmentation.

    Raises:
        InputError: for a size that cannot be read, a budget that is too small, an augmentation, or a full disk.

    Example:
        >>> TeacherCache("1.5GiB").bytes
        1610612736
    """

    budget: str | int = "2GiB"
    folder: str | None = None
    teacher_input: Literal["same", "clean"] = "same"

    def __post_init__(self) -> None:
        if self.teacher_input not in ("same", "clean"):
            raise InputError(f"cache: teacher_input must be 'same' or 'clean', but is {self.teacher_input!r}.")
        if self.bytes <= 0:
            raise InputError(f"cache: budget must be positive, but is {self.budget!r}.")

    @property
    def bytes(self) -> int:
        """The budget in bytes."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([A-Za-z]*)\s*", str(self.budget))
        if match is None or match[2] not in _UNITS:
            raise InputError(
                f"cache: budget must be a size such as '2GiB', '500MB' or a number of bytes, but is {self.budget!r}."
            )
        return int(float(match[1]) * _UNITS[match[2]])

    def plan(self, questions: Mapping[str, Question], windows: int) -> Plan:
        """Choose the smallest exact form of every answer.

        Args:
            questions: teacher name -> what is asked of it.
            windows: number of training windows.

        Raises:
            InputError: naming all sizes, when they do not fit into the budget.
        """
        plan = Plan(tuple(p for name, question in questions.items() for p in _parts(name, question, windows)))
        if plan.bytes > self.bytes:
            where = "memory" if self.folder is None else "disk"
            raise InputError(
                f"cache: the teachers' answers to {windows} training windows take {size(plan.bytes)} in their smallest "
                f"exact form ({plan}), but budget is {size(self.bytes)} of {where}. Set budget= to at least "
                f"'{math.ceil(plan.bytes / 2**20)}MiB'"
                + (", give a folder= to keep them on disk" if where == "memory" else "")
                + ", use fewer taps, or train without the cache."
            )
        return plan


class Question(NamedTuple):
    """What is to be kept of one teacher.

    Attributes:
        key: everything that its answers depend on.
        needs: tap -> what the objective reads of it.
        probe: its answer to one window of zeros, for the shapes.
        outputs: asks it about all training windows, in order, batch by batch.
        batch_size: windows of a step, over all processes.
    """

    key: Mapping[str, Any]
    needs: Mapping[str, Need]
    probe: Output
    outputs: Callable[[], Iterator[Output]]
    batch_size: int


class Part(NamedTuple):
    """One array that is kept: the logits of a teacher, or one of its taps in one form.

    Attributes:
        teacher: its name.
        tap: its tap, ``""`` for the logits.
        form: ``"logits"``, ``"feature"``, ``"attention"`` (sum of squares over channels) or ``"gram"``.
        shape: of one window's answer; ``()`` for a Gram matrix, of which the lower triangle is kept, row by row.
        dtype: name of the number type.
        width: numbers per window that the form is made of.
        windows: number of windows.
    """

    teacher: str
    tap: str
    form: str
    shape: tuple[int, ...]
    dtype: str
    width: int
    windows: int

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        if self.form == "gram":
            return (self.windows * (self.windows + 1) // 2,)
        return (self.windows, *self.shape)

    @property
    def bytes(self) -> int:
        """Its size."""
        return math.prod(self.array_shape) * np.dtype(self.dtype).itemsize

    @property
    def scratch_bytes(self) -> int:
        """Size of the features that a Gram matrix is made of."""
        return self.windows * self.width * np.dtype(self.dtype).itemsize if self.form == "gram" else 0

    def form_of(self, output: Output) -> NDArray[Any]:
        """What of a batch's output goes into the array (for a Gram matrix: its flattened features)."""
        answer = _promote(output.features[self.tap] if self.tap else output.logits)
        if self.form == "attention":
            answer = answer.square().sum(1)
        elif self.form == "gram":
            answer = answer.flatten(1)
        array: NDArray[Any] = answer.cpu().numpy()
        return array


class Plan(NamedTuple):
    """The arrays that are kept of all teachers.

    Attributes:
        parts: one for each.
    """

    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """Their size altogether."""
        return sum(part.bytes for part in self.parts)

    @property
    def scratch_bytes(self) -> int:
        """The most that the features take while one teacher is asked."""
        names = {part.teacher for part in self.parts}
        return max(sum(part.scratch_bytes for part in self.parts if part.teacher == name) for name in names)

    def __str__(self) -> str:
        return ", ".join(f"{p.teacher} {p.tap + ' ' if p.tap else ''}{p.form} {size(p.bytes)}" for p in self.parts)


def size(count: float) -> str:
    """A number of bytes in words.

    Example:
        >>> size(1536), size(3 * 2**30)
        ('1.5 KiB', '3.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _promote(x: Tensor) -> Tensor:
    return x.detach().float() if x.element_size() < 4 else x.detach()


def _parts(name: str, question: Question, windows: int) -> Iterator[Part]:
    logits = _promote(question.probe.logits)
    dtype = str(logits.dtype).removeprefix("torch.")
    yield Part(name, "", "logits", tuple(logits.shape[1:]), dtype, logits.shape[1], windows)
    for tap, need in question.needs.items():
        if tap not in question.probe.features:
            raise InputError(
                f"cache: teacher {name!r} has no tap {tap!r}; it has {', '.join(map(repr, question.probe.features))}. "
                "Choose taps= among those of all nets."
            )
        feature = _promote(question.probe.features[tap])
        dtype, shape = str(feature.dtype).removeprefix("torch."), tuple(feature.shape[1:])
        width = math.prod(shape)
        if need == "attention" and len(shape) > 1:
            yield Part(name, tap, "attention", shape[1:], dtype, width, windows)
        elif need == "gram" and (windows + 1) / 2 < width:
            yield Part(name, tap, "gram", (), dtype, width, windows)
        else:
            yield Part(name, tap, "feature", shape, dtype, width, windows)


class Answers:
    """What the teachers said, read by the windows' indices.

    Args:
        plan: which arrays there are.
        arrays: the arrays, in the plan's order.
        index: the windows' indices, in the arrays' order.
        asked: names of the teachers that had to be asked; the others' answers were found in the folder.

    Attributes:
        asked: the same.
    """

    def __init__(
        self, plan: Plan, arrays: Sequence[Tensor], index: NDArray[np.int64], asked: tuple[str, ...] = ()
    ) -> None:
        self.plan, self.asked = plan, asked
        self._arrays = list(arrays)
        self._row = torch.full((int(index.max()) + 1,), len(index))  # no window: beyond the end
        self._row[torch.from_numpy(index)] = torch.arange(len(index))

    def to(self, device: torch.device) -> Answers:
        """Move them to a device, where reading them waits for nothing."""
        self._arrays = [array.to(device) for array in self._arrays]
        self._row = self._row.to(device)
        return self

    def read(self, index: Tensor, everyone: Tensor | None = None) -> dict[str, CachedOutput]:
        """The answers to one batch, on the device of its indices.

        Args:
            index: indices of the windows of this process, ``(B,)``.
            everyone: those of all processes, in rank order, for the Gram matrices; ``None``: the same.

        Raises:
            InputError: for a window that the teachers were not asked about (on a GPU the index error of the device).
        """
        rows = self._rows(index)
        every = rows if everyone is None else self._rows(everyone)
        low, high = torch.minimum(every[:, None], every), torch.maximum(every[:, None], every)
        triangle = high * (high + 1) // 2 + low
        found: dict[str, CachedOutput] = {}
        for part, array in zip(self.plan.parts, self._arrays, strict=True):
            answer = array[triangle if part.form == "gram" else rows].to(index.device, non_blocking=True)
            if part.form == "logits":
                found[part.teacher] = CachedOutput(answer, {}, {})
            elif part.form == "gram":
                found[part.teacher].grams[part.tap] = answer
            else:
                # a map with one channel has the energy of the feature that it stands for
                answer = answer.sqrt().unsqueeze(1) if part.form == "attention" else answer
                found[part.teacher].features[part.tap] = answer
        return found

    def _rows(self, index: Tensor) -> Tensor:
        index = index.to(self._row.device)
        if index.device.type == "cpu":
            inside = (index >= 0) & (index < len(self._row))
            rows = torch.where(inside, self._row[torch.where(inside, index, 0)], -1)
            unknown = (rows < 0) | (rows >= self.plan.parts[0].windows)
            if unknown.any():
                raise InputError(
                    f"cache: window {int(index[unknown][0])} is in a training batch, but the teachers were asked "
                    "about the data module's training windows only. Train on those, or without the cache."
                )
        return self._row[index]


def gather_answers(
    cache: TeacherCache, questions: Mapping[str, Question], index: NDArray[np.int64], folder: str | None = None
) -> Answers:
    """Find the answers in the folder, or ask for them.

    Args:
        cache: the setting.
        questions: teacher name -> what is asked of it.
        index: indices of all training windows, in the order of the questions' outputs.
        folder: where they are kept; ``None``: in memory.

    Raises:
        InputError: when the budget is too small or there is no room.
    """
    plan = cache.plan(questions, len(index))
    place = None if folder is None else Path(folder)
    arrays: dict[Part, NDArray[Any]] = {}
    for part in plan.parts:
        found = None if place is None else _open(_path(place, questions[part.teacher], part), part)
        if found is not None:
            arrays[part] = found
    asked = []
    for name, question in questions.items():
        missing = [part for part in plan.parts if part.teacher == name and part not in arrays]
        if missing:
            arrays |= _ask(question, missing, place)
            asked.append(name)
    return Answers(plan, [torch.from_numpy(arrays[part]) for part in plan.parts], index, tuple(asked))


# ------------------------------------------------------------------------------------------------------------- asking


def _ask(question: Question, parts: list[Part], folder: Path | None) -> dict[Part, NDArray[Any]]:
    """Ask one teacher about all windows, once, and keep these parts of what it says."""
    name = parts[0].teacher
    scratch_bytes = sum(part.scratch_bytes for part in parts)
    with _Room(name, folder, sum(part.bytes for part in parts), scratch_bytes) as room:
        kept = {part: room.array(part) for part in parts}
        filled = {part: room.scratch(part) if part.form == "gram" else kept[part] for part in parts}
        at, windows = 0, parts[0].windows
        for output in question.outputs():
            count = len(output.logits)
            for part in parts:
                answer = part.form_of(output)
                if not np.isfinite(answer).all():
                    raise InputError(
                        f"teacher {name!r}: its outputs must be finite, but {part.tap or 'the logits'} of training "
                        f"windows {at} to {at + count - 1} hold NaN or infinite values. Train it again, or run it in "
                        "precision='32' if it runs in half precision."
                    )
                filled[part][at : at + count] = answer
            at += count
        if at != windows:
            raise InputError(f"cache: teacher {name!r} was to be asked about {windows} windows, but saw {at}.")
        for part in parts:
            if part.form == "gram":
                _fill_gram(kept[part], filled[part], question.batch_size, question.probe.logits.device)
        if folder is None:
            return kept
        return {part: room.commit(part, _path(folder, question, part), question.key) for part in parts}


def _fill_gram(triangle: NDArray[Any], rows: NDArray[Any], batch: int, device: torch.device) -> None:
    """Write the lower triangle of ``rows rows^T``, in products of the shape that a step has.

    A product of another shape adds in another order, and the last digits differ; this way they are those of the step.
    """
    step = max(1, _BLOCK // (rows[0].nbytes * batch)) * batch
    for top in range(0, len(rows), step):
        upper = _batches(rows[top : top + step], batch, device)
        for left in range(0, top + 1, step):
            lower = upper if left == top else _batches(rows[left : left + step], batch, device)
            block = np.empty((len(upper) * batch, len(lower) * batch), rows.dtype)
            for i, j in product(range(len(upper)), range(len(lower))):
                if left + j * batch <= top + i * batch:  # the rest is above the diagonal
                    with torch.autocast(device.type, enabled=False):
                        part = upper[i] @ lower[j].T
                    block[i * batch : (i + 1) * batch, j * batch : (j + 1) * batch] = part.cpu().numpy()
            width = min(step, len(rows) - left)
            for i in range(top, min(top + step, len(rows))):
                stop, first = min(left + width, i + 1), i * (i + 1) // 2
                triangle[first + left : first + stop] = block[i - top, : stop - left]


def _batches(rows: NDArray[Any], batch: int, device: torch.device) -> list[Tensor]:
    """The rows in batches, the last one filled up with zeros."""
    full = np.zeros((-(-len(rows) // batch) * batch, rows.shape[1]), rows.dtype)
    full[: len(rows)] = rows
    return list(torch.from_numpy(full).to(device).view(-1, batch, rows.shape[1]))


# -------------------------------------------------------------------------------------------------------------- files


class _Room:
    """Room for what one teacher says: in memory or in new files, which get their names when they are whole.

    Room is taken before anything is asked: on a full disk, a write into mapped memory would kill the process.
    """

    def __init__(self, teacher: str, folder: Path | None, kept: int, scratch: int) -> None:
        self.teacher, self.folder, self.kept_bytes, self.scratch_bytes = teacher, folder, kept, scratch
        self._new: dict[Part, tuple[Path, Any]] = {}
        self._unfinished: list[Path] = []

    def __enter__(self) -> _Room:
        if self.folder is not None:
            self._try(lambda: self.folder.mkdir(parents=True, exist_ok=True) if self.folder else None, self.folder)
        remove_leftovers(self._scratch_folder)
        on_disk = self.scratch_bytes if self.scratch_bytes > _BLOCK else 0
        needed = {self._scratch_folder: on_disk}
        if self.folder is not None:
            needed[self.folder] = needed.get(self.folder, 0) + self.kept_bytes
        for folder, count in needed.items():
            if count and shutil.disk_usage(folder).free < count:
                raise self._full(folder, None)
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._unfinished:
            path.unlink(missing_ok=True)

    @property
    def _scratch_folder(self) -> Path:
        return self.folder if self.folder is not None else Path(tempfile.gettempdir())

    def array(self, part: Part) -> NDArray[Any]:
        """Room for a part."""
        if self.folder is None:
            return np.empty(part.array_shape, part.dtype)
        path = self.folder / f"{part_prefix()}{uuid.uuid4().hex}"
        self._unfinished.append(path)
        array = self._allocate(path, part.array_shape, part.dtype)
        self._new[part] = path, array
        return array

    def scratch(self, part: Part) -> NDArray[Any]:
        """Room for the features that a Gram matrix is made of."""
        shape = (part.windows, part.width)
        if self.scratch_bytes <= _BLOCK:
            return np.empty(shape, part.dtype)
        path = self._scratch_folder / f"{part_prefix()}{uuid.uuid4().hex}"
        self._unfinished.append(path)
        return self._allocate(path, shape, part.dtype)

    def commit(self, part: Part, path: Path, key: Mapping[str, Any]) -> NDArray[Any]:
        """Write the header and give the file its name."""
        unfinished, array = self._new[part]
        array.flush()
        header = {**_header(part), "key": dict(key), "crc32": _checksum(unfinished)}
        text = json.dumps(header).encode()
        if len(text) > _HEADER:
            raise InputError(f"cache: the description of teacher {self.teacher!r} is longer than {_HEADER} bytes.")

        def write() -> None:
            with unfinished.open("r+b") as file:
                file.write(text.ljust(_HEADER))
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)

        self._try(write, path.parent)
        return _map(path, part)

    def _allocate(self, path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        count = _HEADER + math.prod(shape) * np.dtype(dtype).itemsize

        def write() -> None:
            with path.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, count)
                else:
                    for start in range(0, count, 2**20):
                        file.write(bytes(min(2**20, count - start)))

        self._try(write, path.parent)
        return np.memmap(path, dtype=dtype, mode="r+", offset=_HEADER, shape=shape)

    def _try(self, work: Callable[[], Any], folder: Path | None) -> None:
        try:
            work()
        except OSError as error:
            raise self._full(folder or self._scratch_folder, error) from error

    def _full(self, folder: Path, error: OSError | None) -> InputError:
        try:
            free = size(shutil.disk_usage(folder).free)
        except OSError:
            free = "an unknown amount"
        why = f" ({error})" if error is not None else ""
        return InputError(
            f"cache: no room for what teacher {self.teacher!r} says: {size(self.kept_bytes)} to keep and "
            f"{size(self.scratch_bytes)} while it is asked, but {str(folder)!r} has {free} free{why}. Nothing was "
            "trained. Free some space, name another folder=, or train without the cache."
        )


def _path(folder: Path, question: Question, part: Part) -> Path:
    """The file of a part: named by everything that it depends on, so that anything else is not found."""
    text = json.dumps([dict(question.key), _header(part)], sort_keys=True)
    return folder / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.answers"


def _header(part: Part) -> dict[str, Any]:
    return {"format": 1, "tap": part.tap, "form": part.form, "shape": list(part.array_shape), "dtype": part.dtype}


def _map(path: Path, part: Part) -> NDArray[Any]:
    # copy on write: torch wants arrays that may be written, and the file stays as it is
    return np.memmap(path, dtype=part.dtype, mode="c", offset=_HEADER, shape=part.array_shape)


def _open(path: Path, part: Part) -> NDArray[Any] | None:
    """The array in a file, or ``None`` where there is no file or it is not whole."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(_HEADER))
        whole = path.stat().st_size == _HEADER + part.bytes and header["crc32"] == _checksum(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return _map(path, part) if whole else None


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        file.seek(_HEADER)
        while block := file.read(2**22):
            value = zlib.crc32(block, value)
    return value
