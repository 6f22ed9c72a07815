"""Teachers from elsewhere: windows at another rate, of another length, in other units; a student that reads less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray

import kdlab
from kdlab import cli
from kdlab.data import ArrayDataModule
from kdlab.export import export
from kdlab.methods.checkpoints import KEY
from kdlab.nets import WideResNet
from kdlab.types import InputError
from kdlab.views import Raw, RawImage, Resampled

G = 9.80665


def filtered(x: NDArray[np.float64], p: int, q: int, border: str) -> NDArray[np.float64]:
    """One sample at a time: filled up with zeros, extended beyond its ends, filtered by a windowed sinc."""
    most = max(p, q)
    half = 10 * most
    t = np.arange(-half, half + 1)
    h = np.sinc(t / most) / most * np.kaiser(2 * half + 1, 5.0)
    h /= h.sum()
    x, mean = x - x.mean(), x.mean()
    more = half // p + 2
    slope = (x[-1] - x[0]) / (len(x) - 1)
    line = border == "line"
    before = x[0] + (slope * np.arange(-more, 0) if line else np.zeros(more)) if border != "mean" else np.zeros(more)
    after = x[-1] + (slope * np.arange(1, more + 1) if line else np.zeros(more)) if border != "mean" else np.zeros(more)
    wide = np.concatenate([before, x, after])
    out = []
    for k in range(-(-len(x) * p // q)):
        places = [(k * q - (s - more) * p + half, v) for s, v in enumerate(wide)]
        out.append(p * sum(v * h[place] for place, v in places if 0 <= place <= 2 * half))
    return np.array(out) + mean


@pytest.mark.parametrize("border", ["line", "edge", "mean"])
@pytest.mark.parametrize(("rate", "source", "p", "q"), [(30, 100, 3, 10), (100, 30.0, 10, 3), (30.0, 31.25, 24, 25)])
def test_samples_equal_the_equation_and_scipy(border: Any, rate: float, source: float, p: int, q: int) -> None:
    x = 9.81 + np.cumsum(np.random.default_rng(p).standard_normal((4, 2, 70)), axis=-1)
    view = Resampled(rate=rate, border=border, source_rate=source)
    assert view.factors == (p, q)
    found = view.exact(x).numpy()
    assert np.abs(found[1, 1] - filtered(x[1, 1], p, q, border)).max() < 1e-9
    mean = x.mean(-1, keepdims=True)
    padtype = {"mean": "constant"}.get(border, border)
    assert np.array_equal(found, scipy.signal.resample_poly(x - mean, p, q, axis=-1, padtype=padtype) + mean)
    assert np.abs(found - scipy.signal.resample_poly(x, p, q, axis=-1, padtype=border)).max() < 1e-3 * np.abs(x).max()
    assert torch.equal(view(x), torch.from_numpy(found.astype(np.float32)))
    assert view.shape(2, 70) == found.shape[1:]


def test_a_large_offset_does_not_reach_the_samples() -> None:
    """The gain of the filter is not the same for all samples: 1e8 would move by 2000."""
    wave = np.sin(np.arange(200) / 20)[None]
    view = Resampled(rate=30, source_rate=100)
    difference = view.exact(wave[None] + 1e8) - view.exact(wave[None])
    assert float((difference - 1e8).abs().max()) < 1e-6


@pytest.mark.parametrize("border", ["line", "edge", "mean"])
def test_a_window_of_one_sample_stays_as_it_is(border: Any) -> None:
    assert Resampled(rate=100, source_rate=50, border=border)([[3.0]]).tolist() == [[3.0, 3.0]]


def test_length_part_and_scale() -> None:
    x = np.arange(10.0)[None]
    for part, expected in {"end": [6, 7, 8, 9], "centre": [3, 4, 5, 6], "start": [0, 1, 2, 3]}.items():
        assert Resampled(length=4, part=part, scale=2.0)(x)[0].tolist() == [2 * v for v in expected]
        assert Raw(samples=4, part=part)(x)[0].tolist() == expected
    for part, expected in {"end": [0, 0, 0, 1], "centre": [0, 0, 1, 1], "start": [0, 1, 1, 1]}.items():
        assert Resampled(length=4, part=part)(x[:, :2])[0].tolist() == expected
    assert Resampled(rate=5, length=30, source_rate=10).shape(3, 100) == (3, 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0.0}, "rate must be a finite number above 0, but got 0.0"),
        ({"length": 0}, "length must be a whole number of at least 1, but got 0"),
        ({"scale": 0.0}, "scale must be a number other than 0, but got 0.0"),
        ({"part": "middle"}, "part must be one of end, centre, start, but got 'middle'"),
        ({"border": "zero"}, "border must be one of line, edge, mean, but got 'zero'"),
        ({"rate": 30.001, "source_rate": 100}, "whole numbers up to 10,000, but got 30.001 and 100 "),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Resampled(**arguments)


def test_what_raw_views_refuse() -> None:
    with pytest.raises(InputError, match="samples must be a whole number of at least 1, but got 0"):
        Raw(samples=0)
    with pytest.raises(InputError, match="Raw: samples must be at most the 50 of a window, but got 51"):
        Raw(samples=51).shape(3, 50)
    with pytest.raises(InputError, match="RawImage: samples must be None for images, but got 4"):
        RawImage(samples=4)
    assert repr(Raw()) == "Raw(channels=None, source=None)"  # as in checkpoints of earlier versions
    assert Raw(samples=9).digest != Raw().digest
    assert Raw(samples=9, part="start").digest != Raw(samples=9).digest


# ---- in a data module --------------------------------------------------------------------------------------------
RATE, SECONDS, CHANNELS = 100, 10, 3
MEAN, STD = [0.1, -0.2, 0.9], [0.3, 0.2, 0.4]


def recorded() -> dict[str, NDArray[Any]]:
    """Windows of ten seconds at 100 Hz in m/s^2 of eight people."""
    rng, target = np.random.default_rng(0), np.arange(64) % 2
    t = np.arange(RATE * SECONDS) / RATE
    phase = rng.uniform(0, 6, (64, 3, 1))
    x = 3 * np.sin(2 * np.pi * (1 + 2 * target[:, None, None]) * t + phase) + rng.normal(0, 0.5, (64, 3, len(t)))
    return {"x": x + np.array([0.0, 0.0, G])[:, None], "y": target, "subject": np.arange(64) // 8}


def module(**more: Any) -> ArrayDataModule:
    given: dict[str, Any] = {"sampling_rate": RATE, "batch_size": 8, "seed": 0, "channels": ["x", "y", "z"], **more}
    return ArrayDataModule(**{**recorded(), **given})


def test_the_rate_of_the_data_set_is_filled_in() -> None:
    view = Resampled(rate=30, length=300, scale=1 / G, channels=("z",))
    with pytest.raises(InputError, match="Resampled: source_rate must be known before the view is computed, but got N"):
        view(np.zeros((3, 1000)))
    with pytest.raises(InputError, match="source_rate must be known"):
        Resampled(rate=30).shape(3, 1000)
    data = module(views={"raw": Raw(), "far": view, "far/physical": None})
    data.setup()
    assert data.views["far"] == Resampled(rate=30, length=300, scale=1 / G, channels=("z",), source_rate=100)
    assert data.view_shape("far/physical") == (1, 300)
    batch = next(data.batches("val"))
    assert (batch.views["far"].dtype, batch.views["far/physical"].dtype) == (torch.float32, torch.float64)
    x = recorded()["x"][batch.index.numpy(), 2]
    wanted = scipy.signal.resample_poly(x, 3, 10, axis=-1, padtype="line") / G
    assert np.abs(batch.views["far/physical"][:, 0].numpy() - wanted).max() < 2e-4
    other = module(views={"raw": Raw(), "far": view}, sampling_rate=50)
    assert data.training_view("far")["view"] != other.training_view("far")["view"]
    assert data.view_settings("far") != other.view_settings("far")
    with pytest.raises(InputError, match=r"rate=30 must find the sampling rate of the windows, .* declares none"):
        module(views={"far": view}, sampling_rate=None).setup()
    with pytest.raises(InputError, match="source_rate must be the sampling rate of the data set, 100, but got 50"):
        module(views={"far": Resampled(rate=30, source_rate=50)}).setup()


CONFIG = """
seed_everything: 0
model:
  class_path: KD
  init_args:
    student: {class_path: WideResNet, init_args: {depth: 10, in_channels: 2, num_classes: 2}}
    teachers:
      far:
        checkpoint: far.pt
        net: {class_path: WideResNet, init_args: {depth: 10, in_channels: 3, num_classes: 2}}
        mean: [0.1, -0.2, 0.9]
        std: [0.3, 0.2, 0.4]
        view: far/physical
    cache: {folder: cache}
data:
  class_path: ArrayDataModule
  init_args:
    path: x.npz
    sampling_rate: 100
    channels: [x, y, z]
    batch_size: 8
    views:
      raw: {class_path: Raw, init_args: {channels: [z, x], samples: 100}}
      far/physical: {class_path: Resampled, init_args: {rate: 30, length: 300, scale: 0.10197162129779283}}
trainer: {max_epochs: 1, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """One config: a teacher on ten seconds at 30 Hz in g, a student on the last second at 100 Hz in m/s^2."""
    folder = tmp_path_factory.mktemp("far")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        np.savez("x.npz", **recorded())
        torch.manual_seed(3)
        torch.save(WideResNet(10, 1, in_channels=3, num_classes=2).state_dict(), "far.pt")
        Path("config.yaml").write_text(CONFIG, encoding="utf-8")
        run = cli.run(["fit", "--config", "config.yaml"])
        run.trainer.save_checkpoint("student.ckpt")
    return folder, run


def test_one_config_equals_the_pipeline_by_hand(fitted: tuple[Path, Any]) -> None:
    _, run = fitted
    method, data = run.model, run.datamodule
    batch = next(data.batches("val"))
    x = recorded()["x"][batch.index.numpy()]
    g = scipy.signal.resample_poly(x - x.mean(-1, keepdims=True), 3, 10, axis=-1, padtype="line")
    g = (g + x.mean(-1, keepdims=True)) / G
    assert g.shape[1:] == (3, 300)
    own = torch.from_numpy(((g - np.array(MEAN)[:, None]) / np.array(STD)[:, None]).astype(np.float32))
    teacher = dict(method.named_teachers())["far"]
    torch.manual_seed(3)
    net = WideResNet(10, 1, in_channels=3, num_classes=2).eval()
    net.standardize.fill()
    with torch.no_grad():
        torch.testing.assert_close(teacher.of_held_out(batch).logits, net(own).logits, rtol=1e-4, atol=1e-4)
    train = recorded()["x"][data.train_index]
    mean, std = train.mean(axis=(0, 2)), train.std(axis=(0, 2))
    last = ((x - mean[:, None]) / std[:, None])[:, [2, 0], 900:]
    torch.testing.assert_close(batch.views["raw"], torch.from_numpy(last.astype(np.float32)), rtol=1e-5, atol=1e-5)


def test_cache_and_checkpoint_know_the_view(fitted: tuple[Path, Any]) -> None:
    folder, run = fitted
    described = torch.load(folder / "student.ckpt", weights_only=True)[KEY]
    settings = run.datamodule.view_settings("far/physical")
    assert "rate=30.0, length=300, scale=0.10197" in settings
    assert "source_rate=100.0" in settings
    assert described["teachers"]["far"]["view_settings"] == settings
    assert described["view_settings"] == "Raw(channels=(2, 0), source=None, samples=100)"
    assert len(list((folder / "cache").glob("*.answers"))) == 1
    other = module(views={"far/physical": Resampled(rate=25, length=250, scale=1 / G)})
    mine = module(views={"far/physical": Resampled(rate=30, length=300, scale=1 / G)})
    assert other.training_view("far/physical")["view"] != mine.training_view("far/physical")["view"]


def test_the_student_is_exported_and_runs_on_windows_of_one_second(fitted: tuple[Path, Any]) -> None:
    folder, run = fitted
    data = run.datamodule
    exported = export(folder / "student.ckpt", data, folder / "student.pt", format="torch")
    assert exported.card["check"]["passed"]
    assert exported.card["input"]["shape"] == ["batch", 2, 100]
    assert exported.card["window"] == {"samples": 100, "seconds": 1.0}
    batch = next(data.batches("val"))
    method = run.model.eval()
    with torch.no_grad():
        wanted = method.net(batch.views["raw"]).logits
    second = recorded()["x"][batch.index.numpy()][:, [2, 0], 900:]
    for student in (kdlab.load(folder / "student.ckpt"), kdlab.load(folder / "student.pt")):
        assert (student.shape, student.channels) == ((2, 100), ("z", "x"))
        torch.testing.assert_close(torch.from_numpy(student.logits(second)), wanted, rtol=1e-4, atol=1e-4)
        stream = kdlab.Stream(student, recorded_at=RATE)
        decisions = stream.push(None, second.transpose(1, 0, 2).reshape(2, -1).T)
        assert len(decisions) == len(second)
        found = np.array([d.probabilities for d in decisions])
        np.testing.assert_allclose(found, wanted.softmax(1).numpy(), rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match=r"x must be \(B, 2, 100\)"):
        student.logits(recorded()["x"][:1, :2])
