"""The order of windows: a pure function of (seed, epoch) in training, the data set's own order elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from kdlab.data.label_rows import without_label
from kdlab.types import InputError

#: what is added to ``draw`` each time a window is repeated within an epoch
REPEAT = 16


def stream(seed: int, epoch: int, index: int, draw: int = 0) -> np.random.Generator:
    """A random generator of its own for one window of one epoch: the same in any process, in any order of calls.

    Args:
        seed: of the run.
        epoch: from 0.
        index: of the window.
        draw: distinguishes several uses for the same window.

    References:
        Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011, doi:10.1145/2063384.2063405 (Philox).

    >>> bool(stream(0, 1, 2).integers(100) == stream(0, 1, 2).integers(100))
    True
    """
    key = np.array([seed, (epoch << 32) | index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, draw], dtype=np.uint64)))


def streams(seed: int, places: Iterable[tuple[int, int, int]]) -> Iterator[np.random.Generator]:
    """The generators that `stream` makes for ``(epoch, index, draw)``: one that is moved from place to place.

    Each is to be used before the next is taken; this takes a tenth of the time.

    >>> [int(rng.integers(100)) for rng in streams(0, [(1, 2, 0), (1, 2, 0), (1, 3, 0)])]
    [26, 26, 99]
    """
    rng = stream(seed, 0, 0)
    start = rng.bit_generator.state
    for epoch, index, draw in places:
        start["state"]["key"][1] = (epoch << 32) | index
        start["state"]["counter"][3] = draw
        rng.bit_generator.state = start
        yield rng


class ClassPairs:
    """A partner for each training window: another window of its class, drawn from the seed and the epoch alone.

    Args:
        rows: the training windows, without repeats.
        target: class of every window of the data set.
        seed: of the draws.

    >>> pairs = ClassPairs(np.array([0, 1, 3, 4]), np.array([0, 1, 1, 0, 0]), seed=0)
    >>> [{pairs(epoch, window) for epoch in range(9)} for window in (0, 1, 3, 4)]
    [{3, 4}, {1}, {0, 4}, {0, 3}]
    """

    def __init__(self, rows: NDArray[np.int64], target: NDArray[np.int64], seed: int) -> None:
        self.target, self.seed = target, seed
        self.members = {int(label): rows[target[rows] == label] for label in np.unique(target[rows]) if label >= 0}
        self.place = np.zeros(len(target), dtype=np.int64)
        for members in self.members.values():
            self.place[members] = np.arange(len(members))

    def __call__(self, epoch: int, index: int, repeat: int = 0) -> int:
        """The partner of a window, another one for each time it is repeated; itself without another of its class."""
        members = self.members.get(int(self.target[index]), ())
        if len(members) <= 1:
            return index
        drawn = stream(self.seed, epoch, index, draw=4 + REPEAT * repeat).integers(len(members) - 1)
        return int(members[drawn + (drawn >= self.place[index])])


def balanced_order(target: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many positions as there are, the same number of each class up to one, in random order.

    A class with fewer windows than its share has each of them several times, as often as the others of the class up to
    one; a class with more is left with a random part of them.

    Args:
        target: class of every position.
        rng: where the randomness comes from.

    >>> target = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    >>> order = balanced_order(target, np.random.default_rng(0))
    >>> np.bincount(target[order]).tolist(), np.bincount(order)[6:].tolist()
    ([4, 4], [2, 2])
    """
    labels = np.unique(target)
    share, rest = divmod(len(target), len(labels))
    more = set(rng.permutation(len(labels))[:rest].tolist())
    drawn = []
    for k, label in enumerate(labels):
        members, count = np.flatnonzero(target == label), share + (k in more)
        rounds = [rng.permutation(members) for _ in range(-(-count // len(members)))]
        drawn.append(np.concatenate([members[:0], *rounds])[:count])
    return rng.permutation(np.concatenate(drawn))


def repeats(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many times each entry stood before in an order.

    >>> repeats(np.array([3, 1, 3, 3, 1])).tolist()
    [0, 0, 1, 2, 1]
    """
    by_value = np.argsort(order, kind="stable")
    _, first, counts = np.unique(order[by_value], return_index=True, return_counts=True)
    before = np.empty_like(order)
    before[by_value] = np.arange(len(order)) - np.repeat(first, counts)
    return before


class TrainSampler(DistributedSampler[Any]):
    """Shuffled windows as ``(epoch, position)`` pairs; the order comes from the seed and the epoch alone.

    With the classes of the windows, every epoch has them in equal numbers, and items are ``(epoch, position, repeat)``.

    Being a ``DistributedSampler``, it is left alone by Lightning. Over several ranks, the batches that the ranks read
    at the same time are, one rank after the other, the batch that one process would read at so many times the size.

    Args:
        length: windows to order.
        batch_size: windows per batch and rank.
        seed: of the order.
        drop_last: leave out the windows that do not fill a batch on every rank.
        epoch: the epoch of the first pass.
        skip: batches of the first pass that were trained on before an interruption.
        num_replicas: processes.
        rank: of this process.
        target: class of every window, to draw each class equally often; None: every window once.

    >>> sampler = TrainSampler(5, batch_size=2, seed=0)
    >>> len(sampler), len(list(sampler)), list(sampler) == list(sampler)
    (4, 4, True)
    """

    def __init__(
        self,
        length: int,
        *,
        batch_size: int,
        seed: int = 0,
        drop_last: bool = True,
        epoch: int = 0,
        skip: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        target: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(range(length), num_replicas=num_replicas, rank=rank, seed=seed, drop_last=drop_last)  # type: ignore[arg-type]
        block = batch_size * num_replicas
        full, rest = divmod(length, block)
        self.length, self.batch_size, self.full = length, batch_size, full
        self.tail = 0 if drop_last else -(-rest // num_replicas)
        self.epoch, self.skip, self.target = epoch, skip, target
        self.num_samples = full * batch_size + self.tail
        self.total_size = self.num_samples * num_replicas
        if self.num_samples == 0:
            raise InputError(
                f"batch_size={batch_size} on {num_replicas} process(es): {length} training windows do not fill one "
                "batch; lower batch_size or set drop_last: false"
            )

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch; the offset of a resumed epoch holds for that epoch only."""
        if epoch != self.epoch:
            self.skip = 0
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        epoch, start = self.epoch, self.skip * self.batch_size
        rng = stream(self.seed, epoch, 0, draw=3)
        if self.target is None:
            return ((epoch, int(p)) for p in self._mine(rng.permutation(self.length))[start:])
        order = balanced_order(self.target, rng)
        mine = zip(self._mine(order)[start:], self._mine(repeats(order))[start:], strict=True)
        return ((epoch, int(p), int(r)) for p, r in mine)

    def _mine(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """The part of this rank."""
        block = self.batch_size * self.num_replicas
        mine = order[: self.full * block].reshape(self.full, self.num_replicas, self.batch_size)[:, self.rank].ravel()
        if self.tail:
            rest = order[self.full * block :]
            padded = np.resize(rest, self.tail * self.num_replicas)  # repeats, so that the ranks stay in step
            mine = np.concatenate([mine, padded[self.rank * self.tail : (self.rank + 1) * self.tail]])
        return mine


class MixedSampler(TrainSampler):
    """Batches that have windows without a label as a fixed share; items are ``(epoch, position, repeat)``.

    An epoch is one pass over the labelled windows. The others are taken in turn, from epoch to epoch, in an order that
    is drawn again each time all of them were taken, so that they are taken equally often up to one.

    Args:
        length: labelled windows, at positions 0 to ``length - 1``.
        others: windows without a label, at the positions that follow.
        share: how many windows of each batch are of those.
        batch_size: windows per batch and rank.
        options: as of `TrainSampler`; the windows that do not fill a batch are left out.

    >>> sampler = MixedSampler(4, 3, share=1, batch_size=3, seed=0)
    >>> [sorted(p for _, p, _ in list(sampler)[i : i + 3]) for i in (0, 3)]
    [[2, 3, 6], [0, 1, 5]]
    """

    def __init__(self, length: int, others: int, *, share: int, batch_size: int, **options: Any) -> None:
        super().__init__(length, batch_size=batch_size - share, **options)
        self.others, self.share, self.size = others, share, batch_size
        self.num_samples = self.full * batch_size
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[Any]:
        epoch = self.epoch
        rng = stream(self.seed, epoch, 0, draw=3)
        own = rng.permutation(self.length) if self.target is None else balanced_order(self.target, rng)
        shape = (self.full, self.num_replicas, -1)
        own = own[: self.full * self.num_replicas * self.batch_size].reshape(shape)
        others = self.length + self._taken(epoch).reshape(shape)
        order = rng.permuted(np.concatenate([own, others], axis=2), axis=2)
        again = repeats(order.ravel()).reshape(order.shape)
        mine = (one[:, self.rank].ravel()[self.skip * self.size :].tolist() for one in (order, again))
        return ((epoch, p, r) for p, r in zip(*mine, strict=True))

    def _taken(self, epoch: int) -> NDArray[np.int64]:
        """The windows without a label that an epoch takes, over all ranks, as positions among them."""
        count = self.full * self.num_replicas * self.share
        rounds = np.arange(epoch * count // self.others, ((epoch + 1) * count - 1) // self.others + 1)
        orders = [stream(self.seed, int(r), 0, draw=7).permutation(self.others) for r in rounds]
        start = epoch * count - int(rounds[0]) * self.others
        return np.concatenate(orders)[start : start + count]


def train_sampler(
    target: NDArray[np.int64], *, batch_size: int, balanced: bool = False, ratio: float | None = None, **options: Any
) -> TrainSampler:
    """The order of training windows.

    Args:
        target: class of every window; those without a label, -1, come last.
        batch_size: windows per batch and rank.
        balanced: draw each class equally often.
        ratio: share of each batch that has no label; None: all windows in random order.
        options: as of `TrainSampler`.

    >>> target = np.array([0, 1, 0, 1, -1, -1, -1, -1])
    >>> len(train_sampler(target, batch_size=4)), len(train_sampler(target, batch_size=4, ratio=0.25))
    (8, 4)
    """
    labelled = int((~without_label(target)).sum())
    classes = target[:labelled] if balanced else None
    if ratio is None or labelled == len(target):
        return TrainSampler(len(target), batch_size=batch_size, target=classes, **options)
    share = min(max(round(ratio * batch_size), 1), batch_size - 1)
    others = len(target) - labelled
    return MixedSampler(labelled, others, share=share, batch_size=batch_size, target=classes, **options)


class OrderedSampler(DistributedSampler[Any]):
    """Windows in the order of the data set, dealt to the ranks in turn.

    Where the ranks would not get the same number, the last ones get a repeat: ``-1 - position``, which is not counted.

    Args:
        length: windows.
        num_replicas: processes.
        rank: of this process.

    >>> list(OrderedSampler(3)), list(OrderedSampler(3, num_replicas=2, rank=1))
    ([0, 1, 2], [1, -1])
    """

    def __init__(self, length: int, *, num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(range(length), num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.length = length

    def __iter__(self) -> Iterator[Any]:
        positions = range(self.rank, self.total_size, self.num_replicas)
        return (p if p < self.length else -1 - p % self.length for p in positions)
