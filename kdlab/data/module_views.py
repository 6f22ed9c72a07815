"""The views of a data module after setup: which ones a batch holds, which are skipped, and their statistics."""

from __future__ import annotations

from collections.abc import Collection

from kdlab.data.auto_views import AutoViews
from kdlab.data.dataset import Wanted
from kdlab.types import PHYSICAL, InputError
from kdlab.views import View

Statistics = tuple[list[float], list[float]]  # mean and standard deviation per channel


class ModuleViews:
    """Views with numbers, and what is known of them until the next setup.

    Args:
        auto: the views with the numbers that were given or found.
    """

    def __init__(self, auto: AutoViews) -> None:
        self._auto = auto
        self._skipped: dict[str, frozenset[str]] = {}
        self.statistics: dict[str, Statistics | None] = {}

    @property
    def wanted(self) -> list[Wanted]:
        """All views, in the order of the config."""
        return self._auto.wanted

    def want(self, name: str) -> Wanted:
        """The view of a key.

        Raises:
            InputError: no such key.
        """
        for want in self.wanted:
            if want.key == name:
                return want
        raise InputError(
            f"view {name!r}: this data module emits {', '.join(want.key for want in self.wanted)}; add {name!r} to its "
            "views"
        )

    def kept(self, stage: str) -> list[Wanted]:
        """The views that a stage's loaders compute."""
        return [want for want in self.wanted if want.key not in self._skipped.get(stage, ())]

    def skip(self, names: Collection[str], stage: str) -> None:
        """Leave views out of a stage's loaders until the next setup."""
        for name in names:
            self.want(name)
        self._skipped[stage] = frozenset(names)

    def adopt(self, name: str, settings: str, again: bool) -> None:
        """Take the ranges of the view that a net was trained on, see :meth:`AutoViews.adopt`."""
        self.want(name)
        for key in self._auto.adopt(name, settings, again):
            self.statistics.pop(key, None)

    def add_physical(self, name: str) -> None:
        """Compute the view of a key in physical units, too, or that of a key that ends so, until the next setup.

        Raises:
            InputError: no such view, or its scaling lost what would be brought back.
        """
        of = name.removesuffix(PHYSICAL)
        if of + PHYSICAL not in [want.key for want in self.wanted]:
            self.want(of)
            self._auto.add_physical(of + PHYSICAL, of)

    def reset(self) -> None:
        """Return to the views and numbers of the first setup, and skip nothing."""
        before = {want.key: want.view for want in self.wanted}
        self._auto.reset()
        now = {want.key: want.view for want in self.wanted}
        for key, view in before.items():
            if now.get(key) != view:
                self.statistics.pop(key, None)
        self._skipped = {}

    def as_given(self) -> dict[str, View]:
        """Key -> view as in the config, with numbers."""
        return self._auto.views()
