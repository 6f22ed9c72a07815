"""The words that every room of kdlab shares: what a batch is, what a net answers, what a wrong input raises."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


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
