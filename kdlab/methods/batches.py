"""The batch of a loader that is not kdlab's, brought into `Batch`: pairs ``(x, y)``, and batches of another origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kdlab.methods.given_labels import labels_of
from kdlab.nets.base import Backbone
from kdlab.types import PHYSICAL, Batch, InputError

#: the view that ``x`` of a pair is
PAIRED_VIEW = "raw"
#: what a data set returns for one of its windows; torch's loaders make the `Batch` of them
THREE_LINES = """
    def __getitem__(self, i):
        x, y = self.pairs[i]
        return kdlab.Batch(views={"raw": x}, target=y, index=i)"""
_LAYOUT = {1: "(B, C, T)", 2: "(B, C, H, W)"}  # by a net's ndim, of which there are no others


class Unindexed(Batch):
    """A `Batch` whose windows have no stable index; its index is -1 in training, and elsewhere the loader's order."""

    __slots__ = ()


@dataclass(frozen=True)
class Reads:
    """What a method reads of its batches.

    Args:
        who: the method, in messages.
        stage: ``"train"``, ``"val"``, ``"test"`` or ``"predict"``; ``"teachers"`` where validation windows score these.
        views: view -> who reads it, and its net where it is known.
        num_classes: number of classes of the labels.
        dtype: of the nets.
        index: what needs a stable index of the windows; None: nothing does.
        order: of the batch's first window in the loader, and the step from one window to the next.
        unlabelled: whether windows may have no label, -1 or a row of zeros; ``"batch"``: where a `Batch` says so.
        many: whether labels are rows of 0 and 1, for any number of classes each; -1 in all of an unlabelled window.
    """

    who: str
    stage: str
    views: Mapping[str, tuple[str, Backbone | None]]
    num_classes: int
    dtype: torch.dtype
    index: str | None = None
    order: tuple[int, int] = (0, 1)
    unlabelled: bool | Literal["batch"] = False
    many: bool = False


def batch_of(given: Any, reads: Reads) -> Batch:
    """A batch as methods read it: views in the nets' type, labels as classes or probabilities.

    Args:
        given: a `Batch`, a list or tuple ``(x, y)`` or ``(x, y, index)``; to predict also ``x`` alone.
        reads: what is read of it.

    Returns:
        A `Batch`; an `Unindexed` one where no index is given.

    Raises:
        InputError: naming what does not fit, its shape and what to do. A batch of another form is refused with the
            three lines of a data set that gives `Batch`.

    Example:
        >>> pair = [torch.zeros(2, 3, 16, dtype=torch.float64), torch.tensor([[1], [0]])]
        >>> batch = batch_of(pair, Reads("KD", "train", {"raw": ("KD", None)}, 2, torch.float32))
        >>> batch.views["raw"].dtype, batch.target
        (torch.float32, tensor([1, 0]))
    """
    views, target, index = _parts(given, reads)
    if missing := [view for view in reads.views if view not in views]:
        raise InputError(_lacks(missing[0], views, reads, isinstance(given, Batch)))
    ready = {name: _view(x, name, reads) if name in reads.views else x for name, x in views.items()}
    rows = len(ready[next(iter(reads.views))])
    if unequal := [name for name in reads.views if len(ready[name]) != rows]:
        sizes = {name: len(ready[name]) for name in reads.views}
        raise InputError(
            f"{reads.who}: the views of a batch must have the same number of windows, but got {sizes}. Give "
            f"{unequal[0]!r} of the same windows."
        )
    if target is None:
        labels = torch.full((rows,), -1)
    else:
        labels = labels_of(
            target,
            rows,
            reads.num_classes,
            reads.stage,
            reads.who,
            unlabelled=isinstance(given, Batch) if reads.unlabelled == "batch" else reads.unlabelled,
            many=reads.many,
        )
        labels = labels.to(reads.dtype) if labels.is_floating_point() else labels
    if index is not None:
        return Batch(ready, labels, _index(index, rows, reads))
    if reads.stage == "train":
        if reads.index is not None:
            raise InputError(
                f"{reads.who}: the index of each window must be given, because {reads.index}, but got pairs (x, y). "
                f"Give it with each window, in (x, y, index) or from the data set:{THREE_LINES}"
            )
        return Unindexed(ready, labels, torch.full((rows,), -1))
    first, step = reads.order
    return Unindexed(ready, labels, torch.arange(first, first + rows * step, step))


def size_of(batch: Batch) -> int:
    """Number of windows of a batch."""
    return len(batch.index)


def _parts(given: Any, reads: Reads) -> tuple[dict[str, Any], Any, Any]:
    """Views, labels and index; None for what is not given."""
    if isinstance(given, Batch) and isinstance(given.views, Mapping):
        return dict(given.views), given.target, given.index
    parts = [given] if isinstance(given, Tensor) else list(given) if type(given) is list else _tuple(given)
    tensors = [torch.as_tensor(p) if isinstance(p, np.ndarray) and p.dtype.kind in "fiub" else p for p in parts]
    fits = 1 <= len(tensors) <= 3 and all(isinstance(part, Tensor) for part in tensors)
    if not fits or isinstance(given, Batch):
        several = type(given) in (list, tuple, dict) and any(isinstance(p, list | tuple) for p in _values(given))
        several_said = " Of several loaders, give one: torch.utils.data.ConcatDataset joins their data sets." * several
        raise InputError(
            f"{reads.who}: a batch must be a kdlab.Batch or a pair of tensors (x, y), but got {_what(given)}."
            f"{several_said} Return a kdlab.Batch for each window from the data set:{THREE_LINES}"
        )
    if len(tensors) == 1 and reads.stage != "predict":
        raise InputError(
            f"{reads.who}: a batch to {_TO[reads.stage]} must have labels, (x, y), but got x of shape "
            f"{tuple(tensors[0].shape)} alone. Give pairs (x, y): torch.utils.data.TensorDataset(x, y)."
        )
    x, target, index = (*tensors, None, None)[:3]
    return {PAIRED_VIEW: x}, target, index


_TO = {
    "teachers": "compare the teachers on",
    "train": "train on",
    "val": "validate on",
    "test": "test on",
    "predict": "predict",
}


def _tuple(given: Any) -> list[Any]:
    return list(given) if isinstance(given, tuple) else []


def _values(given: Any) -> list[Any]:
    return list(given.values()) if isinstance(given, dict) else list(given)


def _view(x: Any, name: str, reads: Reads) -> Tensor:
    """A view in the nets' type; refused where a net cannot read it."""
    reader, net = reads.views[name]
    what = f"{reads.who}: x" if name == PAIRED_VIEW else f"{reads.who}: view {name!r}"
    if not isinstance(x, Tensor) or x.is_complex() or x.layout is not torch.strided:
        raise InputError(f"{what} must be a dense tensor of real numbers, but got {_what(x)}. Convert it first.")
    shape = tuple(x.shape)
    if 0 in shape:
        raise InputError(
            f"{what} must have at least one window and no empty axis, but got shape {shape}. Leave empty batches out "
            "of the loader."
        )
    if net is not None and (x.ndim != net.ndim + 2 or x.shape[1] != net.in_channels):
        raise InputError(
            f"{what} must be {_LAYOUT[net.ndim]} with C={net.in_channels}, as {reader} reads it, but got shape "
            f"{shape}. {_remedy(shape, net)}."
        )
    physical = PHYSICAL.strip("/") in name.split("/")  # in float64, as a teacher reads it
    ready: Tensor = x.to(torch.float64 if physical else reads.dtype)
    if not bool(ready.isfinite().all()):
        bad = ~ready.isfinite().flatten(1).all(1)
        raise InputError(
            f"{what} must be finite, but {int(bad.sum())} of the {len(x)} windows of a batch hold NaN or infinite "
            f"values (as {str(reads.dtype).removeprefix('torch.')}), the first at position {int(bad.int().argmax())}. "
            "Leave those windows out, or fill them (torch.nan_to_num) before the loader."
        )
    return ready


def _remedy(shape: tuple[int, ...], net: Backbone) -> str:
    axes, channels = net.ndim + 2, net.in_channels
    if len(shape) == axes - 1 and channels == 1:
        return "Add the axis of the one channel: x[:, None]"
    if len(shape) == axes - 1 and shape[0] == channels:
        return "Give batches of windows: this looks like one window (batch_size=None?)"
    if len(shape) == axes and shape[-1] == channels:
        return f"Channels seem to be last: give {'x.transpose(1, 2)' if axes == 3 else 'x.permute(0, 3, 1, 2)'}"
    if len(shape) == axes:
        return f"Set in_channels={shape[1]} of the net, or give its {channels} channels"
    return (
        f"Give {axes} axes, or take a net of ndim={len(shape) - 2}" if len(shape) > 2 else "Give the axis of channels"
    )


def _index(index: Any, rows: int, reads: Reads) -> Tensor:
    known = isinstance(index, Tensor) and not index.is_floating_point() and not index.is_complex()
    if not known or index.dtype == torch.bool or tuple(index.shape) not in ((rows,), (rows, 1)):
        raise InputError(
            f"{reads.who}: the index of a batch must be whole numbers of shape ({rows},), the position of each window "
            f"in its data set, but got {_what(index)}. Give that, or leave it out."
        )
    found: Tensor = index.reshape(rows).long()
    if reads.stage == "train" and bool((found < 0).any()):
        raise InputError(
            f"{reads.who}: the index of a training window must be at least 0, but got {int(found.min())}. Give the "
            "position of each window in its data set."
        )
    return found


def _lacks(view: str, views: Mapping[str, Any], reads: Reads, batch: bool) -> str:
    """The refusal of a batch without a view."""
    there = ", ".join(map(repr, views))
    given = f"the batch has {there}" if batch else f"x of a pair (x, y) is view {PAIRED_VIEW!r}"
    own = f"Read {next(iter(views), PAIRED_VIEW)!r} (view=, student_view=, Teacher(view=...)), or return"
    start = "Return" if "/" in view else own
    views_line = THREE_LINES.replace('{"raw": x}', _views_line(view, tuple(reads.views)))
    reader = reads.views[view][0]
    who = reads.who if reader == reads.who else f"{reads.who}: {reader}"
    return f"{who} reads view {view!r}, but {given}. {start} it from the data set{_hint(view)}:{views_line}"


def _views_line(view: str, wanted: tuple[str, ...]) -> str:
    base, _, version = view.partition("/")
    if version == "pair":
        return f'{{"{base}": x, "{view}": self.pairs[self.partner(i)][0]}}'
    if version == "second":
        return f'{{"{base}": self.distort(x), "{view}": self.distort(x)}}'
    made = [f'"{name}": {"x" if name == PAIRED_VIEW else f"{_word(name)}(x)"}' for name in wanted]
    return "{" + ", ".join(made) + "}"


def _hint(view: str) -> str:
    version = view.partition("/")[2]
    if version == "pair":
        return ", with self.partner = kdlab.data.RandomPartner(labels) for another window of the class"
    return ", with a random change of the window as self.distort" if version == "second" else ""


def _word(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _what(given: Any) -> str:
    """What came, with its shape."""
    if isinstance(given, Tensor):
        return f"a tensor of {str(given.dtype).removeprefix('torch.')} and shape {tuple(given.shape)}"
    kind = type(given).__name__
    if isinstance(given, Mapping):
        return f"a {kind} with {', '.join(map(repr, list(given)[:6])) or 'nothing'}"
    if isinstance(given, list | tuple):
        return f"a {kind} of {len(given)} ({', '.join(type(part).__name__ for part in given[:6])})"
    return f"a {kind}"
