"""Markov transition fields and recurrence plots against the equations, spectrograms against scipy.

Those against pyts are in test_views_gaf.py, whose process imports pyts for all.
"""

import itertools

import numpy as np
import pytest
import scipy.signal
import torch

from kdlab.data import BasicMotions
from kdlab.views import MarkovTransitionField, RecurrencePlot, Spectrogram

SHAPES = [(100, 64), (100, None), (96, 32), (77, 13), (5, 2)]


def ends(length, size):
    return [int(e) for e in np.linspace(0, length, (length if size is None else size) + 1)]


def field(x, size, bins, strategy):
    """One pair of samples at a time, in float64."""
    if strategy == "quantile":
        edges = np.quantile(x, np.arange(1, bins) / bins)
    else:
        edges = x.min() + np.arange(1, bins) * (x.max() - x.min()) / bins
    q = [sum(float(v) > e for e in edges) for v in x]
    counts = np.zeros((bins, bins))
    for a, b in itertools.pairwise(q):
        counts[a, b] += 1
    moves = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    e = ends(len(x), size)
    pairs = np.array([[moves[q[s], q[t]] for t in range(len(x))] for s in range(len(x))])
    n = len(e) - 1
    return np.array([[np.mean(pairs[e[i] : e[i + 1], e[j] : e[j + 1]]) for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
@pytest.mark.parametrize(("length", "size"), SHAPES)
def test_transition_fields_equal_the_equation(length, size, strategy):
    x = np.random.default_rng(length).standard_normal((2, length))
    found = MarkovTransitionField(size, 3, strategy)(x).numpy()
    for channel in range(2):
        assert np.abs(found[channel] - field(x[channel], size, 3, strategy)).max() < 1e-6


def test_a_transition_field_keeps_neither_offset_nor_amplitude():
    view, x = MarkovTransitionField(), np.random.default_rng(0).standard_normal((2, 90))
    assert torch.equal(view(x), view(4 * x + 8))
    for level in (0.0, -3.0, 1e6):
        assert torch.equal(view(np.full((1, 70), level)), torch.ones(1, 64, 64))
    tiny = np.random.default_rng(0).normal(0, 1e-3, (1, 70))
    assert not torch.equal(view(tiny), torch.ones(1, 64, 64))
    assert torch.equal(MarkovTransitionField(floor=0.1)(tiny), torch.ones(1, 64, 64))


def plot(x, size, dimension, delay):
    ahead = (dimension - 1) * delay
    e = ends(len(x), None if size is None else size + ahead)
    level = [float(np.mean(x[a:b])) for a, b in itertools.pairwise(e)]
    points = [np.array([level[i + k * delay] for k in range(dimension)]) for i in range(len(level) - ahead)]
    return np.array([[np.linalg.norm(p - q) for q in points] for p in points])


@pytest.mark.parametrize(("dimension", "delay"), [(1, 1), (1, 4), (2, 1), (3, 1)])
@pytest.mark.parametrize(("length", "size"), [*SHAPES[:4], (5, 3)])
def test_recurrence_plots_equal_the_equation(length, size, dimension, delay):
    x = np.random.default_rng(length).standard_normal((2, length))
    expected = np.array([plot(row, size, dimension, delay) for row in x])
    assert np.abs(RecurrencePlot(size, dimension, delay)(x).numpy() - expected).max() < 1e-6
    black = RecurrencePlot(size, dimension, delay, threshold=0.7)(x).numpy()
    assert np.array_equal(black, expected < 0.7)


def test_a_recurrence_plot_keeps_the_amplitude_and_stays_finite():
    x = np.random.default_rng(0).standard_normal((2, 90))
    assert torch.allclose(2 * RecurrencePlot()(x), RecurrencePlot()(2 * x + 5), atol=1e-5)
    x[0, :45], x[0, 45:] = 3e38, -3e38
    assert bool(torch.isfinite(RecurrencePlot(dimension=2)(x)).all())


@pytest.mark.parametrize(("segment", "step", "transform"), [(32, 4, None), (32, 32, 64), (25, 7, 51), (2, 1, None)])
def test_spectrograms_equal_scipy(segment, step, transform):
    x = 9.81 + np.random.default_rng(0).standard_normal((4, 3, 100))
    expected = scipy.signal.spectrogram(x, 1.0, "hann", segment, segment - step, transform)[2]
    view = Spectrogram(segment, step, transform, floor=None)
    assert np.abs(view(x).numpy() / expected.astype(np.float32) - 1)[expected > 1e-20].max() < 1e-5
    assert np.abs(view(x).numpy() - expected).max() < 1e-6 * expected.max()
    decibels = 10 * np.log10(np.maximum(expected, 1e-3))
    assert np.abs(Spectrogram(segment, step, transform, floor=-30.0)(x).numpy() - decibels).max() < 1e-4


def test_a_spectrogram_of_the_equation():
    x, (length, step, count) = np.random.default_rng(0).standard_normal(40), (16, 8, 20)
    w = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    expected = np.zeros((11, 4))
    for k in range(4):
        part = x[k * step : k * step + length]
        for f in range(11):
            turned = np.sum(w * (part - part.mean()) * np.exp(-2j * np.pi * f * np.arange(length) / count))
            expected[f, k] = abs(turned) ** 2 / np.sum(w**2) * (1 if f in (0, 10) else 2)
    assert np.abs(Spectrogram(length, step, count, floor=None)(x[None])[0].numpy() - expected).max() < 1e-6


def test_constant_windows_have_the_power_of_the_floor():
    assert torch.equal(Spectrogram()(np.full((1, 96), 9.81)), torch.full((1, 17, 17), -80.0))


def test_a_data_module_computes_them():
    views = {"mtf": MarkovTransitionField(), "plot": RecurrencePlot(), "spectrogram": Spectrogram()}
    data = BasicMotions(views=views)
    batch = next(data.batches("val"))
    for name in views:
        assert batch.views[name].shape[1:] == data.view_shape(name)
