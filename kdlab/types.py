"""The words that every room of kdlab shares: what a batch is, what a net answers, what a wrong input raises."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Name = str | int | float | bool | None  # of a person or a class, as written in a config: "01" and "yes" stay words


class Batch(NamedTuple):
    """One batch of windows, seen in every view that was asked for.

    Attributes:
        views: view name -> tensor; ``"raw"`` is ``(B, C, T)``, image views are ``(B, C, S, S)``.
        target: class indices ``(B,)`` int64, or class probabilities ``(B, K)`` (mixup, CutMix).
        index: ``(B,)`` int64, the stable position of each window in its data set. A negative index ``-1 - i`` marks
            a repeat of window ``i`` that only evens out the ranks of a distributed evaluation and is not counted.
    """

    views: dict[str, Tensor]
    target: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks a batch for


class Output(NamedTuple):
    """What a net answers, in training and in evaluation alike.

    Attributes:
        logits: ``(B, K)``.
        features: tap name -> tensor, ``(B, C, *S)`` for maps and ``(B, D)`` for ``"embedding"``; the residual nets name
            their taps ``"stage1"``, ``"stage2"``, ``"stage3"``, ``"embedding"``.
    """

    logits: Tensor
    features: dict[str, Tensor]


class InputError(ValueError):
    """A wrong input. The message names the argument, what was expected, what came, and what to do.

    The command line prints it without a traceback.
    """


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that was named is not there."""

    def __str__(self) -> str:  # FileNotFoundError would print "[Errno ...]" for some argument counts
        return str(self.args[0]) if self.args else ""


def plain_array(values: Any, argument: str, *, native: bool = True) -> npt.NDArray[Any]:
    """Real numbers as an array that hides nothing: no mask, no objects, no foreign byte order.

    Args:
        values: an array, a (nested) list, a data frame, or a tensor on any device, with or without a gradient.
        argument: its name, for the message.
        native: bring numbers of the other byte order, and floats of more than 64 bits, into the machine's own; without
            this they stay as they are, which copies nothing of a memory-mapped file.

    Raises:
        InputError: masked samples, rows of different lengths, objects, words, complex numbers.

    >>> plain_array([[1, 2], [3, 4]], "x").shape
    (2, 2)
    """
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

    >>> dense(torch.ones(2, requires_grad=True), "x")
    tensor([1., 1.])
    """
    if values.layout is not torch.strided or values.is_meta:
        what = "one on device meta, without samples" if values.is_meta else f"one with layout {values.layout}"
        raise InputError(f"{argument} must be a dense tensor, but got {what}. Convert it first (.to_dense()).")
    return values.detach()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
