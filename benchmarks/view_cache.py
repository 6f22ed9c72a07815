"""What an epoch costs with views that are computed and with views on disk: ``python -m benchmarks.view_cache``.

Both are measured in this process as processor time, in turns, and are compared bit for bit. The first epoch with an
empty folder computes and writes. ``--images`` reads scan images of the size of ImageNet crops in place of windows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from kdlab.data import ArrayDataModule, ViewCache
from kdlab.data.dataset import Wanted, WindowDataset
from kdlab.data.image_store import Pixels
from kdlab.data.scaling import Scaler
from kdlab.data.stored_views import StoredViews
from kdlab.types import Batch
from kdlab.views import MarkovTransitionField, PersistenceImage, ScanPersistenceImage, View

Epoch = Callable[[], list[Batch]]


def of_windows(view: View, count: int, cache: ViewCache | None) -> Epoch:
    """An epoch over windows of six channels and 500 samples, in data set order."""
    x = np.random.default_rng(0).standard_normal((count, 6, 500)).cumsum(-1)
    data = ArrayDataModule(
        x, np.arange(count) % 4, np.arange(count) // max(1, count // 8), views={"v": view}, view_cache=cache
    )
    data.setup()
    return lambda: list(data.batches("train"))


def of_images(view: View, count: int, cache: ViewCache | None) -> Epoch:
    """An epoch over images of 224 x 224 pixels."""
    images = Pixels(np.random.default_rng(0).integers(0, 256, (count, 3, 224, 224), np.uint8))
    scalers = {"raw": Scaler(np.zeros(3), np.ones(3))}
    stored = (
        None
        if cache is None
        else {("raw", False, view): StoredViews(cache, {"raw": images}, scalers).of("raw", False, view)}
    )
    read: dict[str, np.ndarray] = {"raw": images}  # type: ignore[dict-item]
    wanted = [Wanted("v", view, "raw", "base")]
    data = WindowDataset(read, np.zeros(count, np.int64), np.arange(count), wanted, scalers, stored=stored)
    return lambda: [data.__getitems__(range(i, min(i + 64, count))) for i in range(0, count, 64)]


def timed(epoch: Epoch) -> tuple[float, list[Batch]]:
    begin = time.process_time()
    batches = epoch()
    return time.process_time() - begin, batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--count", type=int, default=512, help="windows, or images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    views: list[View] = [PersistenceImage(), MarkovTransitionField()]
    make = of_windows
    if given.images:
        views, make = [ScanPersistenceImage()], of_images
    for view in views:
        with tempfile.TemporaryDirectory() as folder:
            computed, kept = make(view, given.count, None), make(view, given.count, ViewCache(folder))
            computed()  # compiles
            first, _ = timed(kept)
            turns = [(timed(computed), timed(kept)) for _ in range(given.rounds)]
            for (_, own), (_, read) in turns:
                assert all(torch.equal(a.views["v"], b.views["v"]) for a, b in zip(own, read, strict=True))
            count = sum(len(batch.index) for batch in turns[0][0][1])
            live, stored = (min(turn[k][0] for turn in turns) for k in (0, 1))
            print(
                f"{type(view).__name__}: {count} computed {live:.3f} s, from disk {stored:.3f} s of processor "
                f"time, ratio {live / stored:.1f}; the first epoch {first:.3f} s. Equal bit for bit."
            )


if __name__ == "__main__":
    main()
