"""What a time is: columns of numbers and dates, repeated stamps, rates, gaps, and the way to a common rate."""

import numpy as np
import pytest
from scipy.signal import resample_poly

from kdlab.data.resample import Piece, linear, polyphase
from kdlab.types import InputError


# ---- linear and polyphase --------------------------------------------------------------------------------------------
def pieces(size, *columns):
    n = len(columns[1])
    return iter([Piece(*(None if c is None else c[a : a + size] for c in columns)) for a in range(0, n, size)])


def joined(result):
    result = list(result)
    return np.concatenate([p.signal for p in result]), np.concatenate([p.label for p in result])


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_linear_equals_interp(size):
    rng = np.random.default_rng(0)
    time = 1.7e9 + np.cumsum(rng.choice([0.0, 0.006, 0.01, 0.013], size=900))
    x, label = rng.normal(size=(900, 2)), (np.arange(900) // 70).astype(np.int16)
    got, codes = joined(linear(pieces(size, time, x, label), 40.0, 1.0, "p"))
    moments_, first = np.unique(time, return_index=True)
    grid = time[0] + np.arange(len(got)) / 40.0
    assert len(got) == int((time[-1] - time[0]) * 40.0) + 1
    for c in range(2):
        np.testing.assert_allclose(got[:, c], np.interp(grid, moments_, x[first, c]), atol=1e-4)
    latest = np.searchsorted(moments_, grid + 1e-7, side="right") - 1
    np.testing.assert_array_equal(codes, label[first][latest])


def test_linear_refuses_time_that_goes_back():
    time = np.array([0.0, 1.0, 2.0, 1.5, 3.0])
    for size in (2, 3, 10):
        with pytest.raises(InputError, match=r"p, sample 3: the time goes back"):
            list(linear(pieces(size, time, np.zeros((5, 1)), np.zeros(5, np.int16)), 1.0, 9.0, "p"))


@pytest.mark.parametrize(("source", "rate", "up", "down"), [(100, 50, 1, 2), (100, 30, 3, 10), (50, 128, 64, 25)])
@pytest.mark.parametrize("size", [64, 100, 5000])
def test_polyphase_equals_scipy_on_the_whole(source, rate, up, down, size):
    rng = np.random.default_rng(0)
    x, label = rng.normal(5, 1, (1003, 2)), (np.arange(1003) // 50).astype(np.int16)
    got, codes = joined(polyphase(pieces(size, None, x, label), float(source), float(rate)))
    np.testing.assert_allclose(got, resample_poly(x, up, down, axis=0, padtype="edge"), rtol=1e-12)
    np.testing.assert_array_equal(codes, label[np.arange(len(got)) * down // up])
