"""What a cache keeps of each teacher, in which exact form, and how large it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kdlab.objective import Need
from kdlab.sizes import bytes_of, size
from kdlab.types import InputError, Output


@dataclass(frozen=True)
class TeacherCache:
    """Run each teacher once for each training window, and read its outputs in every later step.

    Logits are kept for every window, features and attention maps where the objective reads them, and for terms on Gram
    matrices either the features or the (symmetric) Gram matrix of all training windows, of which that of a batch is a
    part; whichever is smaller. All are float32 (float64 for nets in double precision), so nothing is rounded. Outputs
    are valid for one set of windows, view, teacher, precision and batch size: for anything else they are computed
    again. Those of a folder are compared with the teacher for one batch, as its code may have changed. The teachers run
    on batches of the training's size, and Gram matrices are made by products of that size: a net or a product of
    another shape may add in another order, and give other last digits than the live step.

    While a teacher runs, the features that its Gram matrices are made of take further space, on disk where they are
    more than 256 MiB (in ``folder``, or in the folder for temporary files).

    Args:
        budget: how much may be kept, such as ``"2GiB"`` or ``"500MB"``, or a number of bytes.
        folder: where the outputs are kept, memory-mapped, for this run and later ones; ``None`` keeps them in memory
            (that of the GPU, where one trains), for this run alone. Several processes share a folder, a temporary one
            where none is named.
        teacher_input: ``"same"``: the teachers read the window as the student does, so a random augmentation is
            refused; ``"clean"``: they read the window before its augmentation.

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
            raise InputError(
                f"cache: teacher_input must be 'same' or 'clean', but got {self.teacher_input!r}. Choose one of them."
            )
        self.bytes  # noqa: B018  refuses what is no size

    @property
    def bytes(self) -> int:
        """The budget in bytes."""
        return bytes_of(self.budget, "cache: budget")

    def plan(self, requests: Mapping[str, Request], windows: int) -> Plan:
        """Choose the smallest exact form of every output.

        Args:
            requests: teacher name -> what is kept of it.
            windows: number of training windows.

        Raises:
            InputError: naming all sizes, when they do not fit into the budget.
        """
        plan = Plan(tuple(p for name, request in requests.items() for p in _parts(name, request, windows)))
        if plan.bytes > self.bytes:
            where = "memory" if self.folder is None else "disk"
            raise InputError(
                f"cache: the outputs of the teachers for {windows} training windows take {size(plan.bytes)} in their "
                f"smallest exact form ({plan}), but budget is {size(self.bytes)} of {where}. Set budget= to at least "
                f"'{math.ceil(plan.bytes / 2**20)}MiB'"
                + (", give a folder= to keep them on disk" if where == "memory" else "")
                + ", use fewer taps, or train without the cache."
            )
        return plan


class Request(NamedTuple):
    """The outputs that are kept of one teacher.

    Attributes:
        key: everything that its outputs depend on.
        needs: tap -> what the objective reads of it.
        probe: its output for one window of zeros, for the shapes.
        outputs: runs it on all training windows, in order, batch by batch.
        batch_size: windows of a step, over all processes.
    """

    key: Mapping[str, Any]
    needs: Mapping[str, Need]
    probe: Output
    outputs: Callable[[], Iterator[Output]]
    batch_size: int


class Part(NamedTuple):
    """One kept array: the logits of a teacher, or one of its taps in one form.

    Attributes:
        teacher: its name.
        tap: its tap, ``""`` for the logits.
        form: ``"logits"``, ``"feature"``, ``"attention"`` (sum of squares over channels) or ``"gram"``.
        shape: of one window's output; ``()`` for a Gram matrix, of which the lower triangle is kept, row by row.
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
        values = _promote(output.features[self.tap] if self.tap else output.logits)
        if self.form == "attention":
            values = values.square().sum(1)
        elif self.form == "gram":
            values = values.flatten(1)
        array: NDArray[Any] = values.cpu().numpy()
        return array


class Plan(NamedTuple):
    """The arrays that are kept of all teachers.

    Attributes:
        parts: one for each.
    """

    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """Their total size."""
        return sum(part.bytes for part in self.parts)

    @property
    def scratch_bytes(self) -> int:
        """The most that the features take while one teacher runs."""
        names = {part.teacher for part in self.parts}
        return max(sum(part.scratch_bytes for part in self.parts if part.teacher == name) for name in names)

    def __str__(self) -> str:
        return ", ".join(f"{p.teacher} {p.tap + ' ' if p.tap else ''}{p.form} {size(p.bytes)}" for p in self.parts)


def _promote(x: Tensor) -> Tensor:
    return x.detach().float() if x.element_size() < 4 else x.detach()


def _parts(name: str, request: Request, windows: int) -> Iterator[Part]:
    logits = _promote(request.probe.logits)
    dtype = str(logits.dtype).removeprefix("torch.")
    yield Part(name, "", "logits", tuple(logits.shape[1:]), dtype, logits.shape[1], windows)
    for tap, need in request.needs.items():
        if tap not in request.probe.features:
            raise InputError(
                f"cache: teacher {name!r} has no tap {tap!r}; it has {', '.join(map(repr, request.probe.features))}. "
                "Choose taps= among those of all nets."
            )
        feature = _promote(request.probe.features[tap])
        dtype, shape = str(feature.dtype).removeprefix("torch."), tuple(feature.shape[1:])
        width = math.prod(shape)
        if need == "attention" and len(shape) > 1:
            yield Part(name, tap, "attention", shape[1:], dtype, width, windows)
        elif need == "gram" and (windows + 1) / 2 < width:
            yield Part(name, tap, "gram", (), dtype, width, windows)
        else:
            yield Part(name, tap, "feature", shape, dtype, width, windows)
