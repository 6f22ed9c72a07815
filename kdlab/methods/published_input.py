"""Windows of another kind than those that published weights were trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lightning.pytorch.utilities import rank_zero_warn

from kdlab.methods.physical import scaling_of
from kdlab.nets.pretrained.published import Published
from kdlab.types import Windows

#: g from which on an acceleration is in another unit; the mean of a day on a wrist is near 1
_MOST_G = 4.0
_KINDS = {"acc": "acceleration in g", "gyr": "turning in rad/s"}


def warn_of_other_input(who: str, net: Published, view: str, windows: Windows) -> None:
    """Warn where windows are not what published weights were trained on: rate, scaling, unit, order of the channels.

    Args:
        who: the file, for the message.
        net: that reads the weights.
        view: that the net reads.
        windows: the data module; what it does not tell is not compared.
    """
    if net.kinds and (found := list(_differences(net, view, windows))):
        kinds = " and ".join(_KINDS[kind] for kind in dict.fromkeys(net.kinds))
        rank_zero_warn(
            f"{who}: {type(net).__name__} was trained on {kinds} as they are measured, at {net.rate:g} Hz, but view "
            f"{view!r} has {'; '.join(found)}."
        )


def _differences(net: Published, view: str, windows: Windows) -> Iterator[str]:
    fingerprint = windows.fingerprint or {}
    found, rate = scaling_of(windows.view_settings(view) or "", fingerprint), fingerprint.get("sampling_rate")
    if found is None:  # another view, which may have another rate
        return
    if isinstance(rate, int | float) and not math.isclose(rate, net.rate, rel_tol=0.01):
        yield f"windows at {rate:g} Hz (resample them: sampling_rate of a RecordingDataModule, or the view Resampled)"
    source, channels, scaling = found
    if scaling is not None and any(scaling.offset):
        yield (
            "values that are scaled by numbers of the training windows, without gravity (write scale: none, or views: "
            "{raw/physical: Raw} and view: raw/physical)"
        )
        return
    names = [str(name).lower() for name in (fingerprint.get("channels") or {}).get(source, ())]
    size = windows.amplitude.get(source, ())
    if max(channels, default=-1) >= min(len(names), len(size)) or len(channels) != len(net.kinds):
        return
    given = [
        next((kind for kind in _KINDS if kind in names[c]), own) for c, own in zip(channels, net.kinds, strict=True)
    ]
    if given != list(net.kinds):
        yield f"the channels {', '.join(names[c] for c in channels)} (name them in that order: Raw(channels=[...]))"
        return
    divisor = scaling.divisor if scaling is not None else (1.0,) * len(channels)
    axes = [c for c, kind in zip(range(len(channels)), net.kinds, strict=True) if kind == "acc"]
    if (g := math.hypot(*(size[channels[c]] / divisor[c] for c in axes))) > _MOST_G:
        yield (
            f"an acceleration of {g:.3g} in the root mean square, which is 1 at rest in g (divide m/s2 by 9.80665, mg "
            "by 1000, with scale: {offset: [...], divisor: [...]})"
        )
