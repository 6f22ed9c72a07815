"""What an augmentation is: a random change of one window or image, and the constants that its strengths refer to."""

from __future__ import annotations

import copy
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from kdlab.types import InputError, plain_array

Window = npt.NDArray[Any]
Floats = tuple[float, ...]
#: the fields of `Constants` that have one number per channel
NUMBERS = ("mean", "std", "offset", "divisor")
_AXES = {2: "(C, T)", 3: "(C, H, W)"}


@dataclass(frozen=True)
class Constants:
    """What is known of the channels of a source: their names, training mean and standard deviation, and their scaling.

    A data module gives these to its augmentations at setup. Scaled units are ``(physical - offset) / divisor``.

    Args:
        channels: names, in the order of the channels.
        mean: training mean of each channel, in scaled units.
        std: training standard deviation of each channel, in scaled units.
        offset: of the scaling of each channel, in its physical unit.
        divisor: of the scaling of each channel, in its physical unit.

    Raises:
        InputError: for another number of values than of channels.

    Example:
        >>> Constants(("x", "y"), mean=(0.0, 0.0), std=(1.0, 1.0), offset=(9.81, 0.0), divisor=(2.0, 1.0)).channels
        ('x', 'y')
    """

    channels: tuple[str, ...]
    mean: Floats
    std: Floats
    offset: Floats
    divisor: Floats

    def __post_init__(self) -> None:
        for name in NUMBERS:
            values = getattr(self, name)
            if len(values) != len(self.channels):
                raise InputError(
                    f"Constants: {name} must be one number per channel ({len(self.channels)}), but got {len(values)}. "
                    "Give them in the order of the channels."
                )

    def column(self, name: str, ndim: int) -> npt.NDArray[np.float64]:
        """One of the constants, shaped to be broadcast over samples of ``ndim`` axes."""
        return self._arrays[name].reshape(-1, *(1,) * (ndim - 1))

    @functools.cached_property
    def _arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        arrays = {name: np.array(getattr(self, name), dtype=np.float64) for name in NUMBERS}
        for array in arrays.values():
            array.flags.writeable = False
        return arrays


@dataclass(frozen=True)
class Augmentation(ABC):
    """A random change of one window or image, the same draw for all channels unless the class documents otherwise.

    Called with a window ``(C, T)`` or an image ``(C, H, W)`` and a generator, it returns a new one of the same shape (a
    resized crop: of its own size) and dtype and never changes the one that came in. The same generator state gives the
    same result. A subclass is a frozen dataclass whose every field has a default, and implements :meth:`apply`.

    What is measured in training means and standard deviations uses :attr:`constants`, which :meth:`bind` sets. Without
    them a channel has mean 0, standard deviation 1, offset 0 and divisor 1: the window is standardised.

    Attributes:
        sample_ndims: axes of what it changes: 2 for windows, 3 for images.
        whole: it reads images of any size; a data set that keeps files gives it the complete image.
        paper: keys in :data:`kdlab.citations.BIBTEX`.

    Raises:
        InputError: for a window that is not a ``(C, T)`` array of floats (an image: ``(C, H, W)``), masked samples,
            constants of another number of channels, or an argument out of its range.
    """

    sample_ndims: ClassVar[tuple[int, ...]] = (2,)
    whole: ClassVar[bool] = False
    paper: ClassVar[tuple[str, ...]] = ()

    def __call__(self, window: Window, rng: np.random.Generator) -> Window:
        """A changed copy of ``window``."""
        window = plain_array(window, "window")
        self._check(window.shape, window.dtype)
        return self.apply(window.copy(), rng)

    def each(self, windows: Window, rngs: Iterable[np.random.Generator]) -> list[Window]:
        """Changed copies of the windows of a batch: each as the call with its generator returns it.

        Args:
            windows: ``(B, C, T)`` or ``(B, C, H, W)``.
            rngs: one generator per window, in their order; each is used before the next is taken.

        Example:
            >>> from kdlab.augment import Shift
            >>> Shift(0.5).each(np.arange(6.0).reshape(2, 1, 3), [np.random.default_rng(0), np.random.default_rng(1)])
            [array([[2., 0., 1.]]), array([[3., 4., 5.]])]
        """
        windows = plain_array(windows, "windows")
        self._check(windows.shape[1:], windows.dtype)
        return [self.apply(window, rng) for window, rng in zip(windows.copy(), rngs, strict=True)]

    def _check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Refuse what is no window of floats, or has other channels than the constants."""
        if len(shape) not in self.sample_ndims or 0 in shape:
            what, axes = ("image" if 2 not in self.sample_ndims else "window"), [_AXES[n] for n in self.sample_ndims]
            raise InputError(
                f"{what} must be {' or '.join(axes)}, at least one channel and one sample, but got shape {shape}."
            )
        if dtype.kind != "f":
            raise InputError(f"window must be an array of floats, but got {dtype}. Convert it first.")
        known = self.constants
        if known is not None and len(known.channels) != shape[0]:
            raise InputError(
                f"window: must have the {len(known.channels)} channels of the constants, but got {shape[0]}. Bind "
                "the augmentation to the constants of this source."
            )

    @abstractmethod
    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Change ``window`` (already a copy) and return it."""

    @property
    def constants(self) -> Constants | None:
        """What :meth:`bind` was given; None: the window is standardised."""
        found: Constants | None = self.__dict__.get("_constants")
        return found

    def bind(self, constants: Constants) -> Self:
        """The same augmentation with the constants of a source; augmentations among its fields get them too.

        The result is equal to the original and has the same ``repr``: constants are no settings.

        Raises:
            InputError: from a subclass that needs channels which are not there.

        Example:
            >>> from kdlab.augment import Removal
            >>> constants = Constants(("x",), mean=(9.0,), std=(2.0,), offset=(0.0,), divisor=(1.0,))
            >>> Removal(0.5).bind(constants)(np.ones((1, 8)), np.random.default_rng(0))
            array([[1., 1., 1., 1., 1., 1., 9., 9.]])
        """
        parts = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Augmentation)}
        bound = replace(self, **{name: part.bind(constants) for name, part in parts.items()}) if parts else self
        bound = copy.copy(bound)
        bound.__dict__["_constants"] = constants
        return bound

    def training_mean(self, window: Window) -> Any:
        """What replaces a lost sample of each channel, the training mean, shaped like ``window``."""
        return 0.0 if self.constants is None else self.constants.column("mean", window.ndim)

    def training_std(self, window: Window) -> Any:
        """The training standard deviation of each channel, shaped like ``window``."""
        return 1.0 if self.constants is None else self.constants.column("std", window.ndim)

    def to_physical(self, window: Window) -> npt.NDArray[np.float64]:
        """The window in the physical units of its channels, float64."""
        known = self.constants
        if known is None:
            return window.astype(np.float64)
        return np.asarray(window * known.column("divisor", window.ndim) + known.column("offset", window.ndim))

    def to_scaled(self, window: Window, dtype: Any) -> Window:
        """A window in physical units, in scaled ones."""
        known = self.constants
        if known is not None:
            window = (window - known.column("offset", window.ndim)) / known.column("divisor", window.ndim)
        return window.astype(dtype)


def check_range(argument: str, value: object, high: float) -> None:
    """Raise unless ``value`` is a finite number from 0 to ``high``."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= high:  # type: ignore[arg-type, operator]
        top = "" if math.isinf(high) else f" and at most {high:g}"
        raise InputError(f"{argument} must be a number of at least 0{top}, but got {value!r}.")


def check_count(argument: str, value: object, low: int) -> None:
    """Raise unless ``value`` is a whole number from ``low`` on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise InputError(f"{argument} must be a whole number of at least {low}, but got {value!r}.")
