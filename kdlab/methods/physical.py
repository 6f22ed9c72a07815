"""Teachers that read windows in physical units: what they are given, and what is done before their net."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from kdlab.fingerprint import check_teacher_split, input_differences
from kdlab.methods.windows import lacks, name_of
from kdlab.types import IN_PHYSICAL_UNITS, PHYSICAL, InputError, Windows

#: statistics are taken for those of other units where their mean is so many standard deviations away, or their standard
#: deviation is so many times larger or smaller
_FAR, _WIDE = 2.5, 3.0


@dataclass(frozen=True)
class Before:
    r"""What a window in physical units goes through before a net, in float64.

    .. math:: y_{b,c,\dots} = (x_{b,c,\dots} - o_c) / d_c

    With ``clip``, what lies above 1 afterwards becomes 0.99 and what lies below 0 becomes 0, as in the data module.

    Args:
        offset: ``o``, one per channel, in the channel's unit: a mean, or that of a scaling.
        divisor: ``d``, one per channel, in the channel's unit: a standard deviation, or that of a scaling.
        clip: whether the result is clipped.

    Shapes:
        ``(B, C, *S)`` to ``(B, C, *S)``, float64.

    Example:
        >>> Before((1e8,), (2.0,))(torch.tensor([[[1e8 + 1.0]]], dtype=torch.float64)).item()
        0.5
    """

    offset: tuple[float, ...]
    divisor: tuple[float, ...]
    clip: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Scale ``x``."""
        y = (x.double() - self._column(self.offset, x)) / self._column(self.divisor, x)
        return torch.where(y > 1.0, 0.99, torch.where(y < 0.0, 0.0, y)) if self.clip else y

    def inverse(self, y: Tensor) -> Tensor:
        """The window in physical units of one that was scaled (and not clipped)."""
        return y.double() * self._column(self.divisor, y) + self._column(self.offset, y)

    def _column(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return _on_device(values, like.device).view(1, -1, *(1,) * (like.ndim - 2))

    @property
    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {"offset": list(self.offset), "divisor": list(self.divisor), "clip": self.clip}


@lru_cache(maxsize=64)  # a copy in every step would wait for the device
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)


def given_statistics(mean: Sequence[float], std: Sequence[float], channels: int, what: str) -> Before:
    """Statistics of a foreign net in physical units; a standard deviation of 0 becomes 1.

    Raises:
        InputError: when there are not as many as channels, or they are not finite.
    """
    numbers = torch.tensor([*map(float, mean), *map(float, std)], dtype=torch.float64)
    if not len(mean) == len(std) == channels or not bool(torch.isfinite(numbers).all()):
        raise InputError(
            f"{what}: mean and std must be {channels} finite numbers each, one per channel, but got {list(mean)} and "
            f"{list(std)}. Pass those of the physical units."
        )
    return Before(tuple(map(float, mean)), tuple(float(s) if s > 0 else 1.0 for s in std))


def own_scaling(described: Mapping[str, Any], what: str) -> Before | None:
    """The scaling in a checkpoint of kdlab, in the channels that its net read; None where it read physical units.

    Args:
        described: the description in the checkpoint.
        what: the teacher in a message.

    Raises:
        InputError: when the view of its training is not the window itself, or the numbers are not in the checkpoint.
    """
    settings, fingerprint = described.get("view_settings") or "", described.get("fingerprint") or {}
    if settings.endswith(IN_PHYSICAL_UNITS):
        return None
    scale = fingerprint.get("scale")
    if _raw(settings) is None or not scale:
        reads = f"the view {settings}" if settings else f"view {described.get('view')!r}"
        raise InputError(
            f"{what}: units must be 'scaled' for a net that was trained on {reads} of "
            f"{'scaled windows' if scale else 'data that its checkpoint does not describe'}, but got 'physical'. "
            "Leave out units=."
        )
    if (found := scaling_of(settings, fingerprint)) is None:
        raise InputError(f"{what}: the checkpoint is damaged: its scaling is not that of {settings}. Train it again.")
    return found[2]


def scaling_of(settings: str, fingerprint: Mapping[str, Any]) -> tuple[str, list[int], Before | None] | None:
    """Source, channels and scaling of a raw view; None where they are not known.

    Args:
        settings: of the view.
        fingerprint: of the data.

    Returns:
        The scaling is None for windows in physical units.
    """
    read, scale = _raw(settings.removesuffix(IN_PHYSICAL_UNITS)), fingerprint.get("scale")
    if read is None or not scale:
        return None
    source = read["source"] or next(iter(scale))
    numbers = scale.get(source) or {"offset": [], "divisor": []}
    channels = list(range(len(numbers["offset"]))) if read["channels"] is None else list(read["channels"])
    if not channels or max(channels) >= len(numbers["offset"]):
        return None
    if settings.endswith(IN_PHYSICAL_UNITS):
        return source, channels, None
    offset, divisor = (tuple(float(numbers[key][c]) for c in channels) for key in ("offset", "divisor"))
    return source, channels, Before(offset, divisor, bool(numbers.get("clip", False)))


def _raw(settings: str) -> dict[str, Any] | None:
    """Channels and source of a raw view by its settings; None for another view."""
    try:
        call = ast.parse(settings[:10_000], mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("Raw", "RawImage")):
            return None
        given = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    channels, source = given.get("channels"), given.get("source")
    fits = channels is None or (isinstance(channels, tuple) and all(type(c) is int and c >= 0 for c in channels))
    return {"channels": channels, "source": source} if fits and isinstance(source, str | None) else None


def bring_back(who: str, view: str, windows: Windows, needed: bool = True) -> None:
    """Have the data module compute a view in physical units.

    Args:
        who: the teacher, for messages.
        view: key of the view, which ends in ``/physical``.
        windows: the data module.
        needed: refuse one that cannot; otherwise its batches may hold the view all the same.

    Raises:
        InputError: when it cannot.
    """
    names = windows.view_names
    if view in names:
        return
    of = view.removesuffix(PHYSICAL)
    if lacks(windows, "physical_view"):
        if not needed:
            return
        raise InputError(
            f"{who}: units='physical' must find a data module that knows its scale, but got {name_of(windows)}. Use "
            f"one of kdlab's, or put the view {view!r} (physical units, float64) into your batches and name it: "
            f"view={view!r}, without units=."
        )
    if of in names:  # else the check of the view names those that there are
        windows.physical_view(of)


def warn_of_units(who: str, view: str, mean: Sequence[float], std: Sequence[float], windows: Windows) -> None:
    """Warn of statistics that are not those of scaled windows, such as a foreign net's in physical units.

    Args:
        who: the teacher, for messages.
        view: key of its view, of which only the window itself is looked at.
        mean: as given, one per channel.
        std: as given, one per channel.
        windows: the data module.
    """
    of_window = _raw(windows.view_settings(view) or "") is not None
    if not of_window or not windows.fingerprint.get("scale") or lacks(windows, "view_statistics"):
        return
    found = windows.view_statistics(view) or ([0.0] * len(mean), [1.0] * len(std))
    for channel, (m, s, here, spread) in enumerate(zip(mean, std, *found, strict=True)):
        if abs(m - here) > _FAR * spread or not 1 / _WIDE <= max(s, 0) / spread <= _WIDE:
            rank_zero_warn(
                f"{who}: mean and std must be those of the view that it reads, in the data module's scaled units, but "
                f"for channel {channel} they are {m:g} and {s:g}, and in the training windows {here:.3g} and "
                f"{spread:.3g}. If they are in physical units, set units='physical' (in YAML: units: physical)."
            )
            return


def check_trainer(who: str, trainer: Trainer | None) -> None:
    """Refuse a trainer that rounds windows in physical units, or whose device has no float64.

    Args:
        who: the teacher, for messages.
        trainer: None where it is not known yet.

    Raises:
        InputError: naming the setting.
    """
    if trainer is None:
        return
    if trainer.precision in ("16-true", "bf16-true"):
        raise InputError(
            f"{who}: precision of the trainer must be '32', '64' or a mixed one (such as 'bf16-mixed') for a teacher "
            f"that reads physical units, but got {trainer.precision!r}, which rounds away what moves around an offset. "
            "Set one of these."
        )
    if trainer.strategy.root_device.type == "mps":
        raise InputError(
            f"{who}: accelerator must have float64 for a teacher that reads physical units, but got 'mps', which has "
            "none. Set accelerator: cpu, or scale its mean= and std= yourself and leave out units=."
        )


def scale_hint(
    trained: Mapping[str, Any], rescaled: Mapping[str, Any], current: Mapping[str, Any], allow_other_split: bool
) -> str:
    """What to do about another scaling, for the end of a message; empty where it is the same or does not suffice.

    Args:
        trained: fingerprint of the data that the teacher was trained on.
        rescaled: the same with the scaling of this run.
        current: fingerprint of this run.
        allow_other_split: of the teacher.
    """
    if not input_differences({**current, "scale": trained.get("scale")}, current):
        return ""
    try:
        check_teacher_split("the teacher", rescaled, current, allow_other_split)
    except InputError:
        return ""
    return " units='physical' (in YAML: units: physical) scales its windows with the numbers of its own training."
