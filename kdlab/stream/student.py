"""A trained student that reads arrays in physical units, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdlab.data.amplitude import root_mean_square, warn_of_another_size
from kdlab.methods.label_kinds import predicted, probabilities_of
from kdlab.stream.forms import Form
from kdlab.types import InputError, plain_array

_BATCH = 256  # windows of one forward pass
MANY = 20  # windows from which on their size is compared with that of training
Label = str | tuple[str, ...]  #: a class; with any number of labels per window, all classes that are present


class TooLargeError(InputError):
    """The logits of a finite window are not finite."""


@dataclass(frozen=True)
class Student:
    """A trained student that reads arrays in physical units.

    Attributes:
        form: what runs it.
        card: its description, as far as it is known: see :mod:`kdlab.export.card`.
        path: the file that it was read from, if it was.
        classes: names, in the order of the logits.
        channels: names, in the order of the input.
        units: one per channel; None where the description names none, as that of a checkpoint.
        sampling_rate: hertz, or None.
        shape: ``(C, T)``, or ``(C, H, W)`` of images.
        many_labels: whether a window may have any number of classes.

    Example::

        student = kdlab.load("runs/shoulder_watch/student")
        student.predict(windows)          # (B, C, T) -> B class names
        student.probabilities(windows)    # (B, K), in the order of student.classes
    """

    form: Form
    card: Mapping[str, Any]
    path: Path | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the logits."""
        return tuple(self.card["classes"])

    @property
    def channels(self) -> tuple[str, ...]:
        """Names, in the order of the input."""
        return tuple(channel["name"] for channel in self.card["channels"])

    @property
    def units(self) -> tuple[str | None, ...]:
        """One per channel, or None."""
        return tuple(channel.get("unit") for channel in self.card["channels"])

    @property
    def sampling_rate(self) -> float | None:
        """Hertz, or None."""
        rate = self.card.get("sampling_rate")
        return None if rate is None else float(rate)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(C, T)``, or ``(C, H, W)`` of images."""
        return tuple(int(n) for n in self.card["input"]["shape"][1:])

    @property
    def root_mean_square(self) -> NDArray[np.float64] | None:
        """Of the channels in training, ``(C,)``, or None."""
        found = [channel.get("root_mean_square") for channel in self.card["channels"]]
        return None if None in found else np.array(found, np.float64)

    @property
    def many_labels(self) -> bool:
        """Whether a window may have any number of classes."""
        return self.card.get("labels") == "many"

    def predict(self, x: npt.ArrayLike | Tensor, channels: Sequence[str] | None = None) -> Any:
        """The class of windows.

        Args:
            x: windows ``(B, C, T)``, or one ``(C, T)``, in physical units, at the student's rate.
            channels: names of the rows of ``x``, of which those that the student reads are picked; None: ``x`` has the
                student's channels, in their order.

        Returns:
            Names, an array ``(B,)``, or one name for one window. With any number of labels per window a tuple of names
            for each, in a list for several windows.

        Raises:
            InputError: another number of channels or samples, a channel that is missing, no numbers, NaN or infinite
                samples, or samples so large that the logits are not finite.
        """
        found = self.probabilities(x, channels)
        names = [label_of(row, self.classes, self.many_labels) for row in np.atleast_2d(found)]
        if found.ndim == 1:
            return names[0]
        return names if self.many_labels else np.array(names)

    def probabilities(self, x: npt.ArrayLike | Tensor, channels: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Probabilities of the classes; they sum to 1, but with any number of labels per window.

        Args:
            x: as in :meth:`predict`.
            channels: as in :meth:`predict`.

        Returns:
            ``(B, K)``, or ``(K,)`` for one window.

        Raises:
            InputError: as :meth:`predict`.
        """
        logits = self.logits(x, channels)
        found = probabilities_of(torch.from_numpy(np.atleast_2d(logits)), self.many_labels).numpy()
        return np.asarray(found.reshape(logits.shape))

    def logits(self, x: npt.ArrayLike | Tensor, channels: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Logits, as :meth:`probabilities`.

        A warning tells where 20 windows or more have other values than those of training, as in another unit.
        """
        windows = self._windows(x, channels)
        batch = windows if windows.ndim > len(self.shape) else windows[None]
        usual = self.root_mean_square
        if len(batch) >= MANY and usual is not None:
            warn_of_another_size(root_mean_square(batch), usual, self.channels, "Student: x")
        logits = np.concatenate([self.form(batch[i : i + _BATCH]) for i in range(0, len(batch), _BATCH)])
        wrong = ~np.isfinite(logits).all(axis=1)
        if wrong.any():
            raise TooLargeError(
                f"Student: x must have samples of a size that float32 can compute with, but the logits of "
                f"{int(wrong.sum())} of {len(wrong)} windows are not finite, the first those of window "
                f"{int(wrong.argmax())}. Check the units, or leave these windows out."
            )
        return logits if windows.ndim > len(self.shape) else logits[0]

    def _windows(self, x: npt.ArrayLike | Tensor, channels: Sequence[str] | None) -> NDArray[Any]:
        """The channels that the student reads, finite, in the precision of the form."""
        array, shape = plain_array(x, "Student: x"), self.shape
        axis = -len(shape)
        check_labels(getattr(x, "index", None), channels, self.channels, "Student: rows of the frame")
        if array.ndim in (len(shape), len(shape) + 1) and channels is not None:
            array = np.take(array, places(channels, self.channels, array.shape[axis], "Student", "x"), axis=axis)
        if array.ndim not in (len(shape), len(shape) + 1) or array.shape[axis:] != shape or 0 in array.shape:
            raise InputError(
                f"Student: x must be (B, {', '.join(map(str, shape))}) or one window, channels "
                f"{', '.join(self.channels)}, but got shape {array.shape}. Cut windows of {shape[-1]} samples"
                f"{'' if self.sampling_rate is None else f' at {self.sampling_rate:g} Hz'}, and pass channels= with "
                "the names of the rows where there are others."
            )
        exact = self.form.exact and array.dtype != np.float32
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, np.float64 if exact else np.float32)
        wrong = ~np.isfinite(array)
        if wrong.any():
            row = int(np.argwhere(wrong)[0][array.ndim - len(shape)])
            raise InputError(
                f"Student: x must be finite in float32, but got {int(wrong.sum())} NaN, infinite or too large samples, "
                f"the first in channel {self.channels[row]!r}. Fill them, or leave these windows out."
            )
        return array


def label_of(probabilities: NDArray[Any], classes: Sequence[str], many: bool) -> Label:
    """The class of one window, or all classes above one half.

    >>> label_of(np.array([0.2, 0.8]), ["sit", "walk"], many=False)
    'walk'
    """
    found = predicted(torch.from_numpy(np.asarray(probabilities)[None]), many)[0]
    if not many:
        return classes[int(found)]
    return tuple(name for name, there in zip(classes, found.tolist(), strict=True) if there)


def check_labels(labels: Any, given: Sequence[str] | None, wanted: Sequence[str], what: str) -> None:
    """Refuse a data frame whose own names of channels are not those that its values are read as, by their places.

    Args:
        labels: of the frame, columns or index; None: it is none. Whole numbers are no names.
        given: names that the caller gave; they replace others, but not another order of the same.
        wanted: names without them.
        what: in the message.

    Raises:
        InputError: naming both.
    """
    names = [] if labels is None or callable(labels) else list(labels)
    if not names or not all(isinstance(name, str) for name in names):
        return
    read = [given] if isinstance(given, str) else list(wanted if given is None else given)
    if names != read and (given is None or sorted(names) == sorted(read)):
        raise InputError(
            f"{what} must be {', '.join(read)}, in this order, but are {', '.join(names)}. Name them with "
            "channels=, pick them from the frame, or pass frame.to_numpy() where they are these by their places."
        )


def places(given: Sequence[str], wanted: Sequence[str], width: int, who: str, what: str) -> list[int]:
    """The places of channels among those that are given by name.

    Raises:
        InputError: names that are no list, repeat, or are not as many as there are channels; a channel that is missing.
    """
    names = [given] if isinstance(given, str) else list(given)
    if len(names) != width or len(set(names)) < len(names):
        raise InputError(
            f"{who}: channels must be {width} different names, as {what} has so many channels, but got "
            f"{', '.join(map(str, names))}. Name each one once."
        )
    if missing := [name for name in wanted if name not in names]:
        raise InputError(
            f"{who}: channels must hold what the student reads ({', '.join(wanted)}), but got {', '.join(names)}, "
            f"without {', '.join(missing)}. Name the channels as the student's training data do."
        )
    return [names.index(name) for name in wanted]
