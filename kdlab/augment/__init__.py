"""Augmentations of windows and images, and corruptions for tests.

They act on scaled windows. What fills a removed stretch is the training mean, and the strength of noise is in training
standard deviations of the channel, whatever ``scale`` is: a data module binds its augmentations to these constants.

Removal, noise, shift and their mixtures are those of the study of augmentation in distillation for wearables (Jeon et
al., "Role of Data Augmentation Strategies in Knowledge Distillation for Wearable Sensor Data", IEEE Internet of Things
Journal 9(14), 2022, doi 10.1109/JIOT.2021.3139038). Its code is not public: the ranges here are unverified, and are
arguments. Rotation, scaling, time warp and permutation are those of Um et al. (2017, arXiv:1706.00527).

Images are scaled too: with ``scale="none"``, the default of the image data modules, 0 is black and 1 is white.
"""

from __future__ import annotations

import numpy as np

from kdlab.augment.base import Augmentation, Constants, Window
from kdlab.augment.corruption import Corruption
from kdlab.augment.images import Crop, CropFlip, Flip, RandomResizedCrop, ResizedCropFlip
from kdlab.augment.motion import Permutation, Rotation, Scaling, TimeWarp
from kdlab.augment.windows import Mix1, Mix2, Noise, Removal, Shift
from kdlab.types import InputError

__all__ = [
    "Augmentation",
    "Constants",
    "Corruption",
    "Crop",
    "CropFlip",
    "Flip",
    "Mix1",
    "Mix2",
    "Noise",
    "Permutation",
    "RandomResizedCrop",
    "Removal",
    "ResizedCropFlip",
    "Rotation",
    "Scaling",
    "Shift",
    "TimeWarp",
    "augment",
]

_NAMED: dict[str, type[Augmentation]] = {
    "removal": Removal,
    "noise": Noise,
    "shift": Shift,
    "mix1": Mix1,
    "mix2": Mix2,
    "rotation": Rotation,
    "scaling": Scaling,
    "time_warp": TimeWarp,
    "permutation": Permutation,
}


def augment(name: str, x: Window, rng: np.random.Generator) -> Window:
    """The augmentation called ``name``, with its default ranges.

    Args:
        name: ``"removal"``, ``"noise"``, ``"shift"``, ``"mix1"``, ``"mix2"``, ``"rotation"``, ``"scaling"``,
            ``"time_warp"`` or ``"permutation"``.
        x: window ``(C, T)``, standardised.
        rng: where the randomness comes from.

    Raises:
        InputError: for another name, or a bad window.

    Example:
        >>> augment("shift", np.arange(6.0)[None], np.random.default_rng(0))
        array([[4., 5., 0., 1., 2., 3.]])
    """
    if name not in _NAMED:
        raise InputError(f"name must be one of {', '.join(_NAMED)}, but got {name!r}.")
    return _NAMED[name]()(x, rng)
