"""What a random change of a batch costs: ``python -m benchmarks.augment [--rounds 60]``.

Microseconds of the processor per window, the least of several rounds, for a batch that is changed as a batch
(`Augmentation.each`) and window by window, and the second over the first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from kdlab.augment import Mix2, Noise, Rotation, Scaling, TimeWarp
from kdlab.augment.base import Augmentation, Constants
from kdlab.data.sampler import stream, streams

SHAPE = (64, 6, 200)  # windows, channels, samples
CHANGES = (Scaling(0.1), Noise(), Mix2(), Rotation(30), TimeWarp())


def main(words: list[str] | None = None) -> list[tuple[str, float, float]]:
    """Measure, print a table, and return ``(change, of a batch, one by one)``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60, help="of each (default: 60)")
    rounds = parser.parse_args(words).rounds
    windows = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    names = tuple(f"{sensor}_{axis}" for sensor in ("acc", "gyro") for axis in "xyz")
    numbers = {"mean": 0.0, "std": 1.0, "offset": 0.1, "divisor": 2.0}
    constants = Constants(names, **{name: (value,) * len(names) for name, value in numbers.items()})
    print("| change | of a batch | one by one | ratio |\n| --- | ---: | ---: | ---: |")
    rows = []
    for change in CHANGES:
        bound = change.bind(constants)
        together = microseconds(lambda bound=bound: of_batch(bound, windows), rounds)
        alone = microseconds(lambda bound=bound: one_by_one(bound, windows), rounds)
        rows.append((type(change).__name__, together, alone))
        print(f"| {rows[-1][0]} | {together:.1f} | {alone:.1f} | {alone / together:.2f} |")
    return rows


def of_batch(change: Augmentation, windows: np.ndarray) -> np.ndarray:
    """As the data modules change a batch."""
    return np.stack(change.each(windows, streams(0, ((1, i, 1) for i in range(len(windows))))))


def one_by_one(change: Augmentation, windows: np.ndarray) -> np.ndarray:
    """Each window with a generator of its own."""
    return np.stack([change(window, stream(0, 1, i, 1)) for i, window in enumerate(windows)])


def microseconds(run: Callable[[], object], rounds: int) -> float:
    """Processor time per window, the least of several rounds."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        run()
        best = min(best, time.process_time() - begun)
    return 1e6 * best / SHAPE[0]


if __name__ == "__main__":
    main()
