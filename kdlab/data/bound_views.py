"""Views and augmentations checked against the sources of a data set, and views bound to the channels that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdlab.augment import Augmentation
from kdlab.data.constants import named_constants
from kdlab.data.dataset import Wanted
from kdlab.data.view_keys import read_key
from kdlab.data.windows import WindowSet, sample_length
from kdlab.types import InputError
from kdlab.views import View


def bound_views(views: Mapping[str, View], data: WindowSet, changes: Mapping[str, Augmentation | None]) -> list[Wanted]:
    """Each view with its source and the channels that it reads there.

    Args:
        views: key -> view.
        data: all windows.
        changes: argument -> augmentation of the windows, which is checked against every source.

    Raises:
        InputError: a source or a channel that is not there, a sampling rate that is needed and not known, or a view or
            augmentation of images where there are windows (and the other way round).
    """
    wanted = []
    for key, view in views.items():
        source = getattr(view, "source", None) or data.sources[0]
        if source not in data.windows:
            raise InputError(f"view {key!r}: no source {source!r}; this data set has {', '.join(data.sources)}")
        rate = data.sampling_rate.get(source) if isinstance(data.sampling_rate, Mapping) else data.sampling_rate
        bound, x = view.bind(tuple(data.channels[source])).at_rate(rate), data.windows[source]
        if x.ndim - 1 != view.sample_ndim:
            reads, has = ("windows", "images") if view.sample_ndim == 2 else ("images", "windows")
            raise InputError(
                f"view {key!r}: {type(view).__name__} reads {reads}, but the source {source!r} has {has} of shape "
                f"{tuple(x.shape[1:])}; use a view of {has}"
            )
        bound.shape(len(data.channels[source]), sample_length(x))  # refuses what does not fit
        _, version, physical = read_key(key)
        wanted.append(Wanted(key, bound, source, version, physical))
        _check_changes(changes, source, tuple(x.shape[1:]), data.channels[source])
    return wanted


def _check_changes(
    changes: Mapping[str, Augmentation | None], source: str, shape: tuple[int, ...], channels: Sequence[str]
) -> None:
    """Refuse what changes images where there are windows, the other way round, and channels that are not there."""
    for argument, change in changes.items():
        if change is None:
            continue
        if len(shape) not in change.sample_ndims:
            reads, has = ("images", "windows") if len(shape) == 2 else ("windows", "images")
            raise InputError(
                f"{argument}: {change} changes {reads}, but the source {source!r} has {has} of shape {shape}; use "
                f"one that changes {has}, or leave it out"
            )
        change.bind(named_constants(channels))
