"""How fast the views are, as multiples of the reference packages: ``python -m benchmarks.views``.

Both sides run in this process on one thread, on the same series, and agree before they are timed. kdlab takes batches
of 64 windows (256 distinct ones a round: fewer would train the branch predictor); the reference packages take series by
series, as the papers' pipelines call them, and pyts also in batches. A time is the best of a few rounds; rounds of
the two sides alternate. Set ``KDLAB_DATA`` to the folder of SP-SW-HAR to have real windows in the table.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from persim import PersImage, PersistenceImager
from ripser import ripser
from scipy.sparse import coo_matrix
from threadpoolctl import threadpool_limits

from kdlab.views import GramianAngularField, PersistenceImage
from kdlab.views.diagrams import sublevel_diagrams

WINDOWS, BATCH, SIZE = 256, 64, 64
VIEW = PersistenceImage(size=SIZE)


def accelerometer_like(rng: np.random.Generator, channels: int, length: int) -> np.ndarray:
    """Gait at 100 Hz: four harmonics of a step rate, and sensor noise."""
    seconds = np.arange(length) / 100
    rate = rng.uniform(0.8, 2.5, (WINDOWS, 1, 1))
    x = 0.15 * rng.standard_normal((WINDOWS, channels, length))
    for k in range(1, 5):
        strength, phase = rng.uniform(0.1, 1, (2, WINDOWS, channels, 1))
        x += strength / k * np.sin(2 * np.pi * (k * rate * seconds + phase))
    return x


def smooth(rng: np.random.Generator, channels: int, length: int) -> np.ndarray:
    """White noise through a Hann window of a quarter of a second."""
    kernel = np.hanning(25)
    white = rng.standard_normal((WINDOWS, channels, length + 24))
    return np.apply_along_axis(np.convolve, 2, white, kernel / np.sqrt((kernel**2).sum()), "valid")


def signals() -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    yield "accelerometer-like 3 x 500", accelerometer_like(rng, 3, 500)
    yield "noise 3 x 500", rng.standard_normal((WINDOWS, 3, 500))
    yield "smooth 3 x 500", smooth(rng, 3, 500)
    yield "accelerometer-like 40 x 100", accelerometer_like(rng, 40, 100)
    path = Path(os.environ.get("KDLAB_DATA", "")) / "sp_sw_har_windows.npz"
    if os.environ.get("KDLAB_DATA") and path.exists():
        x = dict(np.load(path))["x"].transpose(0, 2, 1)
        x = (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True)
        yield "SP-SW-HAR 12 x 100", x[:: len(x) // WINDOWS][:WINDOWS]
    else:
        print("no SP-SW-HAR: KDLAB_DATA names no folder with sp_sw_har_windows.npz\n")


def ripser_pairs(series: np.ndarray) -> np.ndarray:
    """The papers' recipe: lower-star distances in a sparse matrix, births on its diagonal."""
    length = series.size
    steps = np.arange(length - 1)
    rows, columns = np.concatenate([steps, np.arange(length)]), np.concatenate([steps + 1, np.arange(length)])
    values = np.concatenate([np.maximum(series[:-1], series[1:]), series])
    found = ripser(coo_matrix((values, (rows, columns)), shape=(length, length)), distance_matrix=True, maxdim=0)
    pairs = found["dgms"][0].astype(np.float64)
    return pairs[np.isfinite(pairs[:, 1])]


def kept(pairs: np.ndarray) -> np.ndarray:
    return pairs[pairs[:, 1] - pairs[:, 0] > VIEW.threshold]


def imager_image(pairs: np.ndarray) -> np.ndarray:
    """persim's present class, with the settings of the older one."""
    pairs = kept(pairs)
    if not len(pairs):
        return np.zeros((SIZE, SIZE))
    image = IMAGER.transform(pairs).T[::-1]
    return image / image.max()


def persimage_image(pairs: np.ndarray) -> np.ndarray:
    """persim's older class, which the papers call."""
    pairs = kept(pairs)
    if not len(pairs):
        return np.zeros((SIZE, SIZE))
    image = OLD.transform(pairs)
    return image / image.max()


IMAGER = PersistenceImager(
    birth_range=VIEW.birth,
    pers_range=VIEW.persistence,
    pixel_size=(VIEW.birth[1] - VIEW.birth[0]) / SIZE,
    kernel_params={"sigma": [[VIEW.sigma**2, 0.0], [0.0, VIEW.sigma**2]]},
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    OLD = PersImage((SIZE, SIZE), spread=VIEW.sigma, specs={"minBD": -4.0, "maxBD": 4.0}, verbose=False)
LEGACY = PersistenceImage(size=SIZE, birth=(-4.0, 4.0), persistence=(0.0, 4.0), grid="legacy")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def versus(ours: Callable[[], object], our_series: int, theirs: Callable[[], object], their_series: int) -> float:
    """How many times longer they take a series: best of seven rounds and of two, in turns."""
    ours()
    mine, others = [], []
    for _ in range(2):
        mine += [seconds(ours) for _ in range(4)]
        others.append(seconds(theirs))
    mine += [seconds(ours) for _ in range(4)]
    return min(others) / their_series / (min(mine) / our_series)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two diagrams are the same multiset."""
    return np.array_equal(a[np.lexsort(a.T)], b[np.lexsort(b.T)])


def check(name: str, x: np.ndarray) -> None:
    """Diagrams and images equal the references' on a sample."""
    rows = x.reshape(-1, x.shape[-1])
    sample = rows[:: max(1, len(rows) // 64)]
    for series, found in zip(sample, sublevel_diagrams(sample), strict=True):
        expected = ripser_pairs(series)
        assert same(found, expected), name
    few = sample[:24]
    pictures, old = VIEW(few[None])[0].numpy(), LEGACY(few[None])[0].numpy()
    for series, picture, legacy in zip(few, pictures, old, strict=True):
        assert np.abs(picture - imager_image(ripser_pairs(series))).max() < 1e-5, name
        assert np.abs(legacy - persimage_image(ripser_pairs(series))).max() < 1e-5, name


def topology(name: str, x: np.ndarray) -> dict[str, float]:
    """Ratios of one kind of signal."""
    check(name, x)
    rows = x.reshape(-1, x.shape[-1])
    batches = [x[i : i + BATCH] for i in range(0, len(x), BATCH)]
    flat = [batch.reshape(-1, x.shape[-1]) for batch in batches]
    some = rows[np.linspace(0, len(rows) - 1, WINDOWS).astype(int)]  # one series of each window
    few, fewest = some[::4], some[::16]

    def diagrams() -> None:
        for batch in flat:
            sublevel_diagrams(batch)

    def pictures() -> None:
        for batch in batches:
            VIEW(batch)

    out = {"pairs": float(np.mean([len(pairs) for pairs in sublevel_diagrams(some)]))}
    out["diagrams / ripser"] = versus(diagrams, len(rows), lambda: [ripser_pairs(s) for s in some], len(some))
    out["images / ripser + PersistenceImager"] = versus(
        pictures, len(rows), lambda: [imager_image(ripser_pairs(s)) for s in few], len(few)
    )
    out["images / ripser + PersImage"] = versus(
        pictures, len(rows), lambda: [persimage_image(ripser_pairs(s)) for s in fewest], len(fewest)
    )
    try:
        from gudhi.representations import PersistenceImage as GudhiImage
        from gudhi.sklearn.cubical_persistence import CubicalPersistence
    except ImportError:
        return out
    cubical = CubicalPersistence(homology_dimensions=0, input_type="vertices")
    drawn = GudhiImage(
        bandwidth=VIEW.sigma,
        weight=lambda point: point[1],
        resolution=[SIZE, SIZE],
        im_range=[*VIEW.birth, *VIEW.persistence],
    )

    def finite(series: np.ndarray) -> list[np.ndarray]:
        return [pairs[np.isfinite(pairs[:, 1])] for pairs in cubical.fit_transform(list(series))]

    for pairs, found in zip(finite(few), sublevel_diagrams(few), strict=True):
        assert same(found, pairs), name
    out["diagrams / GUDHI"] = versus(diagrams, len(rows), lambda: finite(some), len(some))
    out["images / GUDHI"] = versus(pictures, len(rows), lambda: drawn.fit_transform(finite(few)), len(few))
    speed = min(seconds(pictures) for _ in range(5)) / len(rows)
    out["us an image"] = 1e6 * speed
    return out


def fields(name: str, x: np.ndarray) -> dict[str, float]:
    """Ratios of the Gramian angular field against pyts."""
    from pyts.image import GramianAngularField as Reference

    view, theirs = GramianAngularField(SIZE), Reference(SIZE)
    rows = x.reshape(-1, x.shape[-1])
    batch = x[:BATCH].reshape(-1, x.shape[-1])
    expected = theirs.transform(batch[:64])
    assert np.abs(view(batch[None, :64])[0].numpy() - expected).max() < 1e-5, name

    def ours() -> None:
        for i in range(0, len(x), BATCH):
            view(x[i : i + BATCH])

    some = rows[np.linspace(0, len(rows) - 1, WINDOWS).astype(int)]
    return {
        "GAF / pyts, in batches": versus(ours, len(rows), lambda: theirs.transform(batch), len(batch)),
        "GAF / pyts, series by series": versus(
            ours, len(rows), lambda: [theirs.transform(series[None]) for series in some], len(some)
        ),
    }


TARGETS = {  # the least on each kind of signal, and in the geometric mean
    "diagrams / ripser": (110, 150),
    "images / ripser + PersistenceImager": (75, 100),
    "images / ripser + PersImage": (75, 100),
    "GAF / pyts, in batches": (8, 8),
    "GAF / pyts, series by series": (100, 100),
}


def main() -> None:
    torch.set_num_threads(1)
    with threadpool_limits(1):
        report()


def report() -> None:
    packages = ("numpy", "torch", "numba", "ripser", "persim", "pyts", "gudhi", "scipy")
    print(machine(packages, "1 thread on both sides"))
    print(f"{SIZE} x {SIZE} images, float32, {WINDOWS} distinct windows in batches of {BATCH}\n")
    table: dict[str, dict[str, float]] = {}
    chosen = {name: np.ascontiguousarray(x, dtype=np.float32) for name, x in signals()}
    for name, x in chosen.items():
        table[name] = topology(name, x)
    for name, x in chosen.items():  # after the rest: pyts compiles for half a minute
        table[name] |= fields(name, x)
    columns = list(dict.fromkeys(key for row in table.values() for key in row))
    wide = max(map(len, columns))
    heads = [name.replace("accelerometer-like", "accel.") for name in table]
    print(" " * wide, *(f"{head:>16}" for head in heads), f"{'geometric mean':>16}")
    for column in columns:
        values = [row[column] for row in table.values()]
        mean = math.exp(sum(map(math.log, values)) / len(values))
        unit = "" if column in ("pairs", "us an image") else "x"
        print(f"{column:{wide}}", *(f"{value:>15.1f}{unit or ' '}" for value in values), f"{mean:>15.1f}{unit or ' '}")
        if column in TARGETS:
            least, average = TARGETS[column]
            met = min(values) >= least and mean >= average
            print(f"{'':{wide}}   {'met' if met else 'MISSED'}: at least {least} on each, {average} in the mean")
    print("\nexact in this run: diagrams equal ripser's and GUDHI's, images persim's to 1e-5, fields pyts's to 1e-5")


def machine(packages: Iterable[str], threads: str) -> str:
    """Two lines: where this was measured, and with what."""
    place = f"{processor()}, {os.cpu_count()} cores, {threads}, Python {platform.python_version()}"
    return place + "\n" + ", ".join(f"{name} {version(name)}" for name in packages)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    main()
