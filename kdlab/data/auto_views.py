"""Ranges of persistence images that are found in the training windows, and what part of these the given ones hold."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from kdlab.data.dataset import Wanted
from kdlab.data.physical import check_kept
from kdlab.data.scaling import Scaler
from kdlab.data.spread import spread
from kdlab.data.windows import WindowSet
from kdlab.types import IN_PHYSICAL_UNITS, InputError
from kdlab.views import PersistenceImage, View
from kdlab.views.ranges import inside, kept_points

SAMPLE = 256  # the most training windows that are used, evenly spread
VALUES = 4_000_000  # and the most samples of all their channels, but never fewer than 16 windows
SHOWN = 24  # the most channels that are listed


@dataclass(frozen=True)
class Sample:
    """Some training windows of a data set, evenly spread, in scaled or in physical units.

    Args:
        data: all windows.
        rows: the training windows.
        scalers: source -> its scaling.
    """

    data: WindowSet
    rows: NDArray[np.int64]
    scalers: Mapping[str, Scaler]

    def windows(self, source: str, physical: bool = False) -> torch.Tensor:
        """The windows of a source: the same ones for the same training windows."""
        x = self.data.windows[source]
        most = min(len(self.rows), SAMPLE, max(16, VALUES // math.prod(x.shape[1:])))
        scaled = self.scalers[source](np.asarray(x[spread(self.rows, most)]))
        return torch.from_numpy(self.scalers[source].physical(scaled) if physical else scaled)


class AutoViews:
    """The views of a data module with numbers: those given, those found at setup, or those of a trained net.

    Args:
        given: key -> view, as the data module was given them.
        declared: the same, bound to the channels of their sources.
        sample: training windows.

    Raises:
        InputError: for given ranges that hold none of a channel's points, or where no ranges are found.
    """

    def __init__(self, given: Mapping[str, View], declared: Sequence[Wanted], sample: Sample) -> None:
        self.given, self.declared = dict(given), list(declared)
        self.sample = sample
        known: dict[tuple[str, View, bool], View] = {}
        for want in self.declared:
            if _reads(want) not in known:
                known[_reads(want)] = _settle(want, sample)
        self.found = [replace(want, view=known[_reads(want)]) for want in self.declared]
        self.wanted = list(self.found)
        self._as_made = len(self.found)
        self._adopted: set[tuple[str, View, bool]] = set()

    def reset(self) -> None:
        """Return to the numbers that were found, without the views that were added."""
        for want in self.declared[self._as_made :]:
            del self.given[want.key]
        del self.declared[self._as_made :], self.found[self._as_made :]
        self.wanted = list(self.found)
        self._adopted.clear()

    def add_physical(self, key: str, of: str) -> None:
        """Add the view of the key ``of`` under another key, in physical units, until the next :meth:`reset`.

        Raises:
            InputError: when the scaling lost what would be brought back, or ranges do not fit physical units.
        """
        want = replace(next(want for want in self.declared if want.key == of), key=key, physical=True)
        found = replace(want, view=_settle(want, self.sample))
        self.given[key] = self.given[of]
        self.declared.append(want)
        self.found.append(found)
        self.wanted.append(found)

    def adopt(self, name: str, settings: str, again: bool = False) -> list[str]:
        """Take the numbers of the view that a net was trained on, for what is ``"auto"`` in the view of this name.

        Args:
            name: key of the view.
            settings: the view of its training, as text (see ``WindowDataModule.view_settings``).
            again: also where numbers of another net were taken since the last setup.

        Returns:
            The keys whose views have other numbers now. None where ``settings`` is another view in anything but these
            numbers, so that a comparison shows the difference.
        """
        of = next(want for want in self.declared if want.key == name)
        at, here = _reads(of), of.physical == settings.endswith(IN_PHYSICAL_UNITS)
        view = with_numbers(of.view, settings.removesuffix(IN_PHYSICAL_UNITS)) if here else None
        if view is None or (at in self._adopted and not again):
            return []
        self._adopted.add(at)
        same = [i for i, want in enumerate(self.declared) if _reads(want) == at]
        changed = [self.wanted[i].key for i in same if self.wanted[i].view != view]
        for i in same:
            self.wanted[i] = replace(self.wanted[i], view=view)
        if changed:
            numbers = ", ".join(f"{n}={getattr(view, n)}" for n in of.view.unresolved)
            rank_zero_info(f"view {name!r}: {numbers}, the ranges that the net was trained with")
        return changed

    def views(self) -> dict[str, View]:
        """Key -> view as it was given, with numbers."""
        fixed = {}
        for want in self.wanted:
            view = self.given[want.key]
            numbers = {name: getattr(want.view, name) for name in view.unresolved}
            fixed[want.key] = replace(view, **numbers) if numbers else view
        return fixed


def with_numbers(view: View, settings: str) -> View | None:
    """``view`` with the numbers that ``settings`` has for what is ``"auto"``; None where it is another view otherwise.

    >>> view = PersistenceImage(birth="auto")
    >>> with_numbers(view, repr(PersistenceImage(birth=(-1.5, 2.0)))).birth
    (-1.5, 2.0)
    >>> with_numbers(view, repr(PersistenceImage(birth=(-1.5, 2.0), size=9))) is None
    True
    """
    if not view.unresolved or len(settings) > 10_000:
        return None
    try:
        call = ast.parse(settings, mode="eval").body
        given = {k.arg: ast.literal_eval(k.value) for k in call.keywords} if isinstance(call, ast.Call) else {}
        found = replace(view, **{name: given[name] for name in view.unresolved})
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        return None
    return found if repr(found) == settings and not found.unresolved else None


def _reads(want: Wanted) -> tuple[str, View, bool]:
    """What the numbers of a view depend on."""
    return want.source, want.view, want.physical


def _settle(want: Wanted, sample: Sample) -> View:
    """The view with numbers; the part of the training points within them is logged."""
    if want.physical:
        check_kept(want.key, want.source, sample.data, sample.scalers[want.source])
    if not isinstance(want.view, PersistenceImage):
        return want.view.resolve(sample.windows(want.source, want.physical)) if want.view.unresolved else want.view
    windows = sample.windows(want.source, want.physical)
    view = want.view.resolve(windows)
    if want.view.unresolved:
        found = ", ".join(f"{name}={getattr(view, name)}" for name in want.view.unresolved)
        rank_zero_info(f"view {want.key!r}: {found}, found in {len(windows)} of {len(sample.rows)} training windows")
    _report(want.key, view, windows, len(sample.rows), sample.data.channels[want.source])
    if view.weight == "absolute" and view.normalize:
        rank_zero_warn(
            f"view {want.key!r}: with normalize=True every image is divided by its largest pixel, which makes "
            "absolute weights equal to those of each diagram; set normalize: false to keep sizes"
        )
    return view


def _report(key: str, view: PersistenceImage, windows: torch.Tensor, total: int, channels: Sequence[str]) -> None:
    """Log per channel the part of the points within the ranges; warn under a half, refuse none."""
    names = list(channels) if view.channels is None else [str(channels[int(c)]) for c in view.channels]
    if view.sample_ndim == 3:
        names = [f"{name} by {way}" for way in ("rows", "columns") for name in names]
    diagrams, dropped, count = view.diagrams(windows), max(1e-3, view.threshold), len(windows)
    (birth, persistence) = view.ranges
    parts: dict[str, float] = {}
    for k, name in enumerate(names):
        own = diagrams[k * count : (k + 1) * count]
        held, points = inside(own, birth, persistence, dropped)
        if points and not held:
            every = np.concatenate([kept_points(pairs, dropped) for pairs in own])
            (b, y), (c, z) = every.min(axis=0).tolist(), every.max(axis=0).tolist()
            raise InputError(
                f"view {key!r}: birth and persistence must hold points of every channel, but got {birth} and "
                f"{persistence}, where none of the {points} points of {name} in {count} training windows lies (births "
                f"{b:.3g} to {c:.3g}, persistences {y:.3g} to {z:.3g}). Write birth: auto and persistence: auto, give "
                "ranges that hold them, or scale the windows."
            )
        if points:
            parts[name] = held / points
    listed = [f"{name} {100 * part:.0f} %" for name, part in parts.items()]
    if len(listed) > SHOWN:
        rest = list(parts.values())[SHOWN:]
        listed = [*listed[:SHOWN], f"{len(rest)} more of {100 * min(rest):.0f} % and above"]
    empty = f"; {len(names) - len(parts)} channels have none" if len(parts) < len(names) else ""
    rank_zero_info(
        f"view {key!r}: part of the points within birth {birth} and persistence {persistence}, in {count} of {total} "
        f"training windows: {', '.join(listed) or 'there are no points'}{empty}"
    )
    few = [text for text, part in zip(listed, parts.values(), strict=False) if part < 0.5]
    if few:
        rank_zero_warn(
            f"view {key!r}: birth {birth} and persistence {persistence} hold less than half of the points of "
            f"{len([p for p in parts.values() if p < 0.5])} channels ({', '.join(few[:8])}). Write birth: auto and "
            "persistence: auto, or give ranges that hold them."
        )
