"""Shared by all packages of kdlab: a batch, the output of a net, the protocol of data modules, the input error."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # importing torch takes a second, and the command line starts without it
    from torch import Tensor

Name = str | int | float | bool | None  # of a person or a class, as written in a config: "01" and "yes" stay strings
#: how a key of a view ends that reads physical units, and how the text of its settings does
PHYSICAL, IN_PHYSICAL_UNITS = "/physical", " in physical units"


class Batch(NamedTuple):
    """One batch of windows in every requested view.

    Attributes:
        views: view name -> tensor; ``"raw"`` is ``(B, C, T)``, image views are ``(B, C, S, S)``;
            ``"raw/physical"`` is ``"raw"`` in physical units, float64.
        target: class indices ``(B,)`` int64, or class probabilities ``(B, K)`` (mixup, CutMix). A training window
            without a label has -1, or a row of zeros. Of a data module with ``many_labels`` rows ``(B, K)`` float32: 1
            for each class of the window and 0 for the others, any number of ones, or none; between 0 and 1 for mixed
            windows. An unlabelled window has -1 in all classes, which is not the row of zeros of a window without any
            of the classes.
        index: ``(B,)`` int64, the stable position of each window in its data set. A negative index ``-1 - i`` marks
            a repeat of window ``i`` that only evens out the ranks of a distributed evaluation and is not counted.
    """

    views: dict[str, Tensor]
    target: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not used


class Output(NamedTuple):
    """The output of a net, the same in training and in evaluation.

    Attributes:
        logits: ``(B, K)``.
        features: tap name -> tensor, ``(B, C, *S)`` for maps and ``(B, D)`` for ``"embedding"``; the residual nets name
            their taps ``"stage1"``, ``"stage2"``, ``"stage3"``, ``"embedding"``.
    """

    logits: Tensor
    features: dict[str, Tensor]


class Windows(Protocol):
    """What methods, callbacks and the cache read of a data module before the first step; afterwards they read batches.

    `kdlab.data.WindowDataModule` has all of it. A data module of another origin need have none: for a missing member,
    `kdlab.methods.windows.windows_of` gives the value that is documented below for "not known".
    """

    # ---- views ----
    @property
    def view_names(self) -> Sequence[str]:
        """Keys of the views in a batch; empty where they are not known."""
        ...

    def view_shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of one sample of a view, without the batch axis; None where it is not known."""
        ...

    def view_settings(self, name: str) -> str | None:
        """The view with its settings and channels, as text that is equal for equal views; None where not known."""
        ...

    def adopt_view(self, name: str, settings: str, again: bool = False) -> None:
        """Take the ranges of a net's training (``settings``, a `view_settings`) where those of the view are found."""
        ...

    def physical_view(self, name: str) -> None:
        """Compute the view of the key ``name/physical`` from windows in physical units, until the next setup."""
        ...

    def view_statistics(self, name: str) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation per channel over the training windows; None for a view that is standardised."""
        ...

    def training_view(self, name: str) -> Mapping[str, str | None]:
        """What a view of the training windows depends on, and under ``"augmentation"`` what changes it at random."""
        ...

    def skip_views(self, names: Collection[str], stage: str = "train") -> None:
        """Leave these views out of a stage's batches from now on."""
        ...

    # ---- windows ----
    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of the labels; empty where they are not known."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None where it is not known."""
        ...

    @property
    def many_labels(self) -> bool:
        """Whether windows have any number of labels each, so that targets are rows of 0 and 1, see `Batch`."""
        ...

    @property
    def unknown_classes(self) -> Sequence[str | int | float | bool | None] | None:
        """The classes that are held out of training, as in the configuration."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Data set, split and scaling, see `kdlab.fingerprint`; empty where they are not known."""
        ...

    @property
    def amplitude(self) -> Mapping[str, Sequence[float]]:
        """Source -> root mean square of each channel of its training windows; empty where it is not known."""
        ...

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Stage -> number of ``"windows"`` and of ``"groups"``; empty where they are not known.

        ``"train"`` are the windows with a label; those without, where there are any, are ``"unlabelled"``.
        """
        ...

    @property
    def train_index(self) -> npt.NDArray[np.int64]:
        """`Batch.index` of the training windows, in the order of ``batches("train")``; empty where not known."""
        ...

    @property
    def unlabelled_count(self) -> int:
        """Number of training windows without a label in the batches; 0 where not known."""
        ...

    def leave_out_unlabelled(self) -> None:
        """Leave the windows without a label out of training batches from now on."""
        ...

    @property
    def class_counts(self) -> Sequence[int]:
        """Number of training windows of each class, in the order of the labels; empty where not known.

        Where windows have any number of labels each, one window counts for each of its classes.
        """
        ...

    def subject_of(self, index: Sequence[int]) -> Sequence[str]:
        """Subjects of windows, by their `Batch.index`; ``""`` where unknown."""
        ...

    def moments_of(self, index: Sequence[int]) -> Sequence[tuple[str, str, str]]:
        """Recording, start and end of windows to predict without labels; empty where they are not known."""
        ...

    # ---- batches ----
    @property
    def batch_size(self) -> int | None:
        """Windows per batch and process; None where it is not known."""
        ...

    @property
    def drop_last(self) -> bool:
        """Whether the training windows that do not fill a batch are left out."""
        ...

    @property
    def augment(self) -> object:
        """The augmentation of training windows; None: there is none."""
        ...

    @property
    def mix(self) -> object:
        """The mixing of training windows; None: there is none."""
        ...

    def batches(
        self, stage: str = "train", batch_size: int | None = None, views: Sequence[str] | None = None
    ) -> Iterator[Batch]:
        """Batches of a stage in data set order, without augmentation."""
        ...

    def ordered_loader(self, stage: str, views: Sequence[str] | None = None) -> Iterable[Batch]:
        """The same as a loader, distributed over the processes of a run."""
        ...

    def plot_views(self, path: str | Path | None = None, per_class: int = 1) -> Any:
        """A matplotlib figure of windows of every class in each view."""
        ...


class InputError(ValueError):
    """A wrong input. The message names the argument, the constraint, the value and a remedy.

    The command line prints it without a traceback.
    """


class MissingFileError(InputError, FileNotFoundError):
    """A given file or folder does not exist."""

    def __str__(self) -> str:  # FileNotFoundError would print "[Errno ...]" for some argument counts
        return str(self.args[0]) if self.args else ""


def plain_array(values: Any, argument: str, *, native: bool = True) -> npt.NDArray[Any]:
    """Real numbers as a plain array: no mask, no objects, no foreign byte order.

    Args:
        values: an array, a (nested) list, a data frame, or a tensor on any device, with or without a gradient.
        argument: its name, for the message.
        native: convert numbers of the other byte order, and floats of more than 64 bits, to the machine's own; without
            this they are not converted, which copies nothing of a memory-mapped file.

    Raises:
        InputError: masked samples, rows of different lengths, objects, words, complex numbers.

    >>> plain_array([[1, 2], [3, 4]], "x").shape
    (2, 2)
    """
    from torch import Tensor

    if isinstance(values, list | tuple) and any(isinstance(v, Tensor | np.ma.MaskedArray) for v in values):
        values = [plain_array(v, argument) for v in values]
    if isinstance(values, Tensor):
        values = dense(values, argument).cpu()
        values = (values.float() if values.is_floating_point() and values.itemsize < 4 else values).numpy()
    if isinstance(values, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(values)
        if masked.any():
            first = ", ".join(str(int(i)) for i in np.unravel_index(int(masked.argmax()), masked.shape))
            raise InputError(
                f"{argument} must be without masked samples, but got {int(masked.sum())} of {masked.size}, the first "
                f"at ({first}). Leave those windows out, or fill them yourself ({argument}.filled(...))."
            )
        values = values.data
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{argument} must be one array of numbers, but got rows of different lengths or kinds ({_line(error)}). "
            "Cut or stretch them to one length first, and stack them."
        ) from None
    if array.dtype.kind not in "fiub":
        what = "Python objects (object)" if array.dtype.kind == "O" else str(array.dtype)
        raise InputError(f"{argument} must be real numbers, but got {what}. Convert them first (np.array(..., float)).")
    if native and (not array.dtype.isnative or (array.dtype.kind == "f" and array.dtype.itemsize > 8)):
        array = array.astype(np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("="))
    return array


def dense(values: Tensor, argument: str) -> Tensor:
    """A tensor without its gradient.

    Raises:
        InputError: a sparse tensor, or one without samples (device meta).

    >>> import torch
    >>> dense(torch.ones(2, requires_grad=True), "x")
    tensor([1., 1.])
    """
    import torch

    if values.layout is not torch.strided or values.is_meta:
        what = "one on device meta, without samples" if values.is_meta else f"one with layout {values.layout}"
        raise InputError(f"{argument} must be a dense tensor, but got {what}. Convert it first (.to_dense()).")
    return values.detach()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def input_error_in(error: BaseException) -> InputError | None:
    """The `InputError` that an error is, or that led to it; None where there is none.

    >>> try:
    ...     try:
    ...         raise InputError("size must be at least 1, but got 0. Raise it.")
    ...     except InputError as error:
    ...         raise TypeError("of a parser") from error
    ... except TypeError as error:
    ...     print(input_error_in(error))
    size must be at least 1, but got 0. Raise it.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__cause__ or cause.__context__
    return cause
