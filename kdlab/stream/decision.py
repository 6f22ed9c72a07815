"""What a stream decides on a window, and how decisions are kept from changing too often."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdlab.stream.student import Label, label_of


@dataclass(frozen=True)
class Decision:
    """The decision on one window.

    Attributes:
        start: time of its first sample, seconds: those of the time stamps that were pushed (since 1970 for dates).
        end: time of its last sample.
        prediction: the class of largest (smoothed) probability; with any number of labels per window, all classes
            above one half; None where the window was not decided.
        probabilities: in the order of the student's classes, smoothed; None where the window was not decided.
        stable: the prediction that has held for the dwell time; None until there is one.
        reason: why the window was not decided: ``"gap"`` (a gap beyond ``max_gap``, or the time went back),
            ``"missing"`` and the channels that are, or ``"too large"`` (values from which float32 computes no finite
            logits).
    """

    start: float
    end: float
    prediction: Label | None = None
    probabilities: tuple[float, ...] | None = None
    stable: Label | None = None
    reason: str = ""


class Stable:
    """Mean of the last probabilities, and a decision that changes only after a dwell time.

    Args:
        smooth: probabilities that are averaged.
        dwell: seconds that a prediction must hold, from the end of the first window that has it.
        classes: names.
        many: whether a window may have any number of them.

    >>> stable = Stable(smooth=2, dwell=1.0, classes=["sit", "walk"], many=False)
    >>> for end, p in enumerate([1.0, 0.5, 0.25, 0.0, 0.0]):
    ...     print(*stable.add(float(end), np.array([p, 1 - p])))
    [1. 0.] sit None
    [0.75 0.25] sit sit
    [0.375 0.625] walk sit
    [0.125 0.875] walk walk
    [0. 1.] walk walk
    """

    def __init__(self, smooth: int, dwell: float, classes: Sequence[str], many: bool) -> None:
        self.dwell, self.classes, self.many = dwell, classes, many
        self._last: deque[NDArray[Any]] = deque(maxlen=smooth)
        self.restart()

    def restart(self) -> None:
        """Forget what came before: after a window that was not decided."""
        self._last.clear()
        self._held: tuple[Label, float] | None = None
        self._stable: Label | None = None

    def add(self, end: float, probabilities: NDArray[Any]) -> tuple[NDArray[Any], Label, Label | None]:
        """Smoothed probabilities, their prediction, and the stable one.

        Args:
            end: of the window, seconds.
            probabilities: of the window, ``(K,)``.
        """
        self._last.append(probabilities)
        mean: NDArray[Any] = probabilities
        if len(self._last) > 1:
            mean = np.asarray(np.mean(np.stack(self._last), axis=0, dtype=np.float64))
        label = label_of(mean, self.classes, self.many)
        if self._held is None or self._held[0] != label:
            self._held = label, end
        if end - self._held[1] >= self.dwell - 1e-9:
            self._stable = label
        return mean, label, self._stable
