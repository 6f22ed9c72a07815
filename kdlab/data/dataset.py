"""Batches: fetch, scale, augment, view. Nothing here is fitted, and nothing depends on the process it runs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from kdlab.augment import Augmentation, Constants
from kdlab.data.kept_views import unchanged_view
from kdlab.data.mixing import Mixing, Mixture
from kdlab.data.physical import seen
from kdlab.data.sampler import REPEAT, ClassPairs, stream, streams
from kdlab.data.scaling import Scaler
from kdlab.data.stored_views import StoredView
from kdlab.types import Batch
from kdlab.views import View


@dataclass(frozen=True)
class Wanted:
    """One view that a batch holds: its key, the view, the source it reads, which version of it, and in which units."""

    key: str
    view: View
    source: str
    version: str  # "base", "clean", "second" or "pair"
    physical: bool = False


class WindowDataset(Dataset[Batch]):
    """Windows of one stage; items are fetched as complete batches.

    Args:
        windows: source -> ``(N, C, T)``.
        target: ``(N,)``, or rows ``(N, K)`` of 0 and 1 (-1: no labels) for windows with any number of labels.
        rows: the windows of this stage.
        wanted: the views.
        scalers: source -> its scaling.
        augment: applied to every window after scaling; None: not at all.
        mix: mixes the windows of a batch after that, and their labels; None: not at all.
        classes: number of classes, for the labels of mixed windows.
        seed: of the augmentation, the mixing and the pairs.
        keyed_by_epoch: draw again in every epoch.
        constants: source -> what the strengths of ``augment`` refer to; None: windows are standardised.
        stored: (source, physical, view) -> its files on disk.
    """

    def __init__(
        self,
        windows: dict[str, NDArray[np.float32]],
        target: NDArray[np.int64],
        rows: NDArray[np.int64],
        wanted: Sequence[Wanted],
        scalers: dict[str, Scaler],
        *,
        augment: Augmentation | None = None,
        mix: Mixing | None = None,
        classes: int = 0,
        seed: int = 0,
        keyed_by_epoch: bool = True,
        constants: Mapping[str, Constants] | None = None,
        stored: Mapping[tuple[str, bool, View], StoredView | None] | None = None,
    ) -> None:
        self.stored = dict(stored or {})
        self.windows, self.target, self.rows = windows, target, rows
        self.wanted, self.scalers = list(wanted), scalers
        self.augment, self.seed, self.keyed_by_epoch = augment, seed, keyed_by_epoch
        self.mix, self.classes = mix, classes
        self.changes = {} if augment is None else {s: augment.bind(c) for s, c in (constants or {}).items()}
        paired = keyed_by_epoch and any(want.version == "pair" for want in wanted)
        self.pairs = ClassPairs(rows, target, seed) if paired else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: Any) -> Batch:
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[Any]) -> Batch:
        """Fetch a batch of positions, or of ``(epoch, position)`` or ``(epoch, position, repeat)``.

        ``-1 - p`` is a repeat of position ``p`` that is not counted; ``repeat``, from 0, draws again within an epoch.
        """
        found = [(*item, 0)[:3] if isinstance(item, tuple) else (0, int(item), 0) for item in items]
        repeat = np.array([p < 0 for _, p, _ in found])
        index = self.rows[[p if p >= 0 else -1 - p for _, p, _ in found]]
        keys = [(e if self.keyed_by_epoch else 0, int(i), r) for (e, _, r), i in zip(found, index, strict=True)]
        mixture = self._mixture(keys)
        versions: dict[tuple[str, str], NDArray[np.float32]] = {}
        brought_back: dict[tuple[str, str], NDArray[np.float64]] = {}
        done: dict[tuple[str, str, bool, str], Tensor] = {}
        views: dict[str, Tensor] = {}
        for want in self.wanted:
            changes = self.augment is not None or mixture is not None
            differs = self.keyed_by_epoch and (changes or want.version == "pair")
            version = want.version if differs else "base"
            known = (want.source, version, want.physical, f"{type(want.view).__qualname__}:{want.view.digest}")
            if known not in done:
                at = (want.source, version)

                def windows(at: tuple[str, str] = at, physical: bool = want.physical) -> NDArray[Any]:
                    if at not in versions:
                        x = self._version(*at, index, keys)
                        versions[at] = x if mixture is None or at[1] == "clean" else mixture.windows(x)
                    if physical and at not in brought_back:
                        brought_back[at] = self.scalers[at[0]].physical(versions[at])
                    return brought_back[at] if physical else versions[at]

                if version == "clean" or (version == "base" and not changes):
                    files = self.stored.get((want.source, want.physical, want.view))
                    again = not self.keyed_by_epoch
                    done[known] = unchanged_view(want.view, want.physical, files, index, windows, again)
                else:
                    done[known] = seen(want.view, windows()) if want.physical else want.view(windows())
            views[want.key] = done[known]
        target: NDArray[Any] = self.target[index].astype(np.int64 if self.target.ndim == 1 else np.float32)
        return Batch(
            views=views,
            target=torch.from_numpy(target if mixture is None else mixture.target(target, self.classes)),
            index=torch.from_numpy(np.where(repeat, -1 - index, index).astype(np.int64)),
        )

    def _mixture(self, keys: list[tuple[int, int, int]]) -> Mixture | None:
        """How this batch is mixed; its first window distinguishes it from the other batches of its epoch."""
        if self.mix is None:
            return None
        shape = next(iter(self.windows.values())).shape[2:]
        epoch, index, repeat = keys[0]
        return self.mix(len(keys), shape, stream(self.seed, epoch, index, 8 + REPEAT * repeat))

    def _version(
        self, source: str, version: str, index: NDArray[np.int64], keys: list[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        if version == "pair" and self.pairs is not None:
            index = np.array([self.pairs(*key) for key in keys])
        windows, scaler = self.windows[source], self.scalers[source]
        if self.augment is None or version == "clean":
            return scaler(np.asarray(windows[index]))
        read_complete = getattr(windows, "whole", None) if self.augment.whole else None  # images of their own sizes
        draw = 2 if not self.keyed_by_epoch else {"base": 0, "second": 1, "pair": 5}[version]
        change = self.changes.get(source, self.augment)
        rngs = streams(self.seed, ((e, i, draw + REPEAT * r) for e, i, r in keys))
        if read_complete is None:
            changed = change.each(scaler(np.asarray(windows[index])), rngs)
        else:  # of sizes of their own
            changed = [change(scaler.one(x), rng) for x, rng in zip(read_complete(index), rngs, strict=True)]
        return np.stack(changed).astype(np.float32, copy=False)
