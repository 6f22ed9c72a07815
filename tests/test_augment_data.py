"""What a data module gives its augmentations: training means and standard deviations, whatever the scale."""

from __future__ import annotations

import numpy as np
import pytest

from kdlab.augment import (
    Augmentation,
    Corruption,
    Mix2,
    Noise,
    Permutation,
    Removal,
    Rotation,
    Scaling,
    Shift,
    TimeWarp,
)
from kdlab.data import PAMAP2, ArrayDataModule, BasicMotions, Scale
from kdlab.data.sampler import stream, streams
from kdlab.evaluate import evaluate
from kdlab.methods import Supervised
from kdlab.types import InputError
from kdlab.views import Raw, RawImage
from tests.conftest import net, trainer
from tests.fixtures import write_pamap2


def arrays(**settings):
    """Twelve people, channels of different sizes and one that is constant in all windows."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((72, 4, 30)) * [[0.5], [3.0], [40.0], [0.0]] + [[9.81], [-2.0], [700.0], [5.0]]
    y = np.arange(72) % 2
    names = ["acc_x", "acc_y", "acc_z", "battery"]
    return ArrayDataModule(x, y, subject=np.arange(72) // 6, channels=names, batch_size=8, seed=4, **settings)


SCALES = ["standard", "minmax", "none", Scale([9.0, 0.0, 500.0, 5.0], [2.0, 1.0, 100.0, 1.0])]


def truth(data: ArrayDataModule) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the training windows, in physical units."""
    x = data.data.windows["raw"][data.train_index].astype(np.float64)
    return x.mean((0, 2)), x.std((0, 2))


@pytest.mark.parametrize("scale", SCALES, ids=["standard", "minmax", "none", "constants"])
def test_removal_fills_with_the_training_mean(scale: object) -> None:
    data = arrays(scale=scale, augment=Removal(0.6), views={"raw": Raw(), "raw/clean": None})
    batch = next(iter(data.train_dataloader()))
    changed, clean = (batch.views[name].double().numpy() for name in ("raw", "raw/clean"))
    scaler = data._ready.scalers["raw"]
    mean, _ = truth(data)
    fill = (mean - scaler.offset) / scaler.divisor
    gone = (changed != clean)[:, 0]
    assert gone.any(axis=1).all()
    for channel in range(3):
        assert np.allclose(changed[:, channel][gone], fill[channel], rtol=1e-5, atol=1e-6)
    if scale != "standard":
        assert not np.allclose(fill[:3], 0, atol=1e-3)
    untouched = ~np.broadcast_to(gone[:, None], changed.shape)
    assert np.array_equal(changed[untouched], clean[untouched])


@pytest.mark.parametrize("scale", SCALES, ids=["standard", "minmax", "none", "constants"])
def test_noise_is_in_training_standard_deviations(scale: object) -> None:
    views = {"raw": Raw(), "raw/clean": None}
    plain, data = arrays(augment=Noise(0.5), views=views), arrays(scale=scale, augment=Noise(0.5), views=views)
    expected, found = next(iter(plain.train_dataloader())), next(iter(data.train_dataloader()))
    _, std = truth(data)
    noise = {
        module: (batch.views["raw"].double() - batch.views["raw/clean"].double()).numpy()
        * module._ready.scalers["raw"].divisor[:, None]
        for module, batch in ((plain, expected), (data, found))
    }
    step = np.abs(found.views["raw/clean"].numpy()).max() * 1e-6 * data._ready.scalers["raw"].divisor.max()
    assert np.allclose(noise[plain], noise[data], rtol=1e-4, atol=10 * step)
    strength = noise[data][:, :3] / std[None, :3, None]
    assert 0.05 < strength.std() < 0.5
    assert data.constants("raw").std[3] == 1.0  # constant in training: one scaled unit
    assert np.isfinite(found.views["raw"].numpy()).all()


def test_corruptions_of_test_windows_use_the_same_constants() -> None:
    data = arrays(scale="minmax", corruption=Corruption("missing", 3))
    clean = np.concatenate([b.views["raw"].numpy() for b in arrays(scale="minmax").batches("test")])
    found = np.concatenate([b.views["raw"].numpy() for b in data.batches("test")])
    mean = np.array(data.constants("raw").mean, np.float32)
    gone = (found != clean)[:, 0]
    assert gone.sum(axis=1).tolist() == [9] * len(found)
    assert np.array_equal(found[:, 0][gone], np.broadcast_to(mean[0], gone.sum()))
    assert 0.3 < mean[0] < 0.7  # of a range from 0 to 1


def test_pamap2_under_minmax_removes_to_the_mean_not_to_the_least(tmp_path) -> None:
    data = PAMAP2(write_pamap2(tmp_path), augment=Removal(0.9), views={"raw": Raw(), "raw/clean": None}, batch_size=16)
    batch = next(iter(data.train_dataloader()))
    changed, clean = batch.views["raw"].numpy(), batch.views["raw/clean"].numpy()
    low = data.data.windows["raw"][data.train_index].min((0, 2))
    mean = np.asarray(data.constants("raw").mean)
    gone = np.argwhere((changed != clean).any(axis=1))
    assert len(gone)
    values = np.array([changed[w, :, t] for w, t in gone])
    assert np.allclose(values, mean, atol=1e-6)
    assert (mean[low < 0] > 0.05).all()


def test_robustness_in_evaluate_does_not_depend_on_the_scale(tmp_path) -> None:
    """A net that standardises its view sees the same corrupted windows, whatever the scaling before it."""
    accuracies = {}
    for scale in ("standard", "none", "minmax"):
        data = BasicMotions(scale=scale, batch_size=8, seed=0)
        model = Supervised(net())
        model.net.load_state_dict(net_state())
        trainer(tmp_path, max_epochs=1, limit_train_batches=0, limit_val_batches=0).fit(model, data)
        mean, std = (torch_list(data.view_statistics("raw"), k) for k in (0, 1))
        model.net.standardize.fill(mean, std)
        result = evaluate(model, data, embedding=False, cost=False)
        accuracies[scale] = {k: v for k, v in result.scalars.items() if k.startswith("accuracy")}
    assert accuracies["standard"] == accuracies["none"] == accuracies["minmax"]


def torch_list(statistics, part):
    return [0.0, 1.0][part : part + 1] * 6 if statistics is None else statistics[part]


def net_state():
    import torch

    torch.manual_seed(3)
    return net().state_dict()


@pytest.mark.parametrize(
    "one",
    [Rotation(), Rotation(None, together=False), Scaling(), TimeWarp(), Permutation(), Mix2(), Removal(), Shift()],
    ids=str,
)
def test_a_window_is_changed_by_seed_epoch_and_index_alone(one: Augmentation) -> None:
    sizes = {}
    for size in (4, 8):
        data = BasicMotions(augment=one, batch_size=size, seed=7, scale="minmax")
        data.setup()
        dataset = data._dataset("train", augment=data.augment, seed=7)
        rows = [(epoch, p) for epoch in (0, 1) for p in range(16)]
        parts = [dataset.__getitems__(rows[i : i + size]).views["raw"] for i in range(0, 32, size)]
        sizes[size] = np.concatenate([part.numpy() for part in parts])
    assert np.array_equal(sizes[4], sizes[8])
    assert not np.array_equal(sizes[4][:16], sizes[4][16:])
    index = int(data.train_index[5])
    scaled = data._ready.scalers["raw"](data.data.windows["raw"][[index]])[0]
    alone = one.bind(data.constants("raw"))(scaled, stream(7, 1, index, 0))
    assert np.array_equal(sizes[4][16 + 5], alone.astype(np.float32))


def test_the_generators_of_a_batch_are_those_of_its_windows() -> None:
    """Also after draws that leave half a number over; a batch is changed as its windows are, one after the other."""
    places = [(0, 7, 1), (0, 7, 17), (2**31, 2**32 - 1, 2), (3, 0, 0), (0, 7, 1)]
    draws = (
        [rng.integers(5, dtype=np.uint32), *rng.standard_normal(n + 1)] for n, rng in enumerate(streams(2**40, places))
    )
    for n, (found, place) in enumerate(zip(draws, places, strict=True)):
        rng = stream(2**40, *place)
        assert found == [rng.integers(5, dtype=np.uint32), *rng.standard_normal(n + 1)]
    windows = np.random.default_rng(0).random((3, 2, 16), dtype=np.float32)
    before = windows.copy()
    for change in (Mix2(), Scaling(0.1)):
        rows = [(4, i, 0) for i in range(3)]
        together = change.each(windows, streams(1, rows))
        for window, changed, row in zip(windows, together, rows, strict=True):
            assert np.array_equal(changed, change(window, stream(1, *row)))
    assert np.array_equal(windows, before)
    with pytest.raises(InputError, match=r"window must be \(C, T\)"):
        Mix2().each(windows[0], streams(1, [(0, 0, 0)]))


def test_sources_turn_together_and_wrong_channels_are_refused_at_setup() -> None:
    with pytest.raises(InputError, match=r"Rotation: triples must be channels of accelerometer_x, .* but got 'acc_x'"):
        BasicMotions(augment=Rotation(triples=(("acc_x", "acc_y", "acc_z"),))).setup()
    with pytest.raises(InputError, match="no three channels are named x, y and z, but the channels are a, b, c"):
        ArrayDataModule(np.ones((12, 3, 9)), np.arange(12) % 2, channels=list("abc"), augment=Rotation()).setup()


def test_gravity_turns_as_the_sensor_does() -> None:
    """Under a scale that moves the origin, the physical norm of each triple stays what it was."""
    data = arrays(augment=Rotation(None), views={"raw": Raw(), "raw/clean": None})
    batch = next(iter(data.train_dataloader()))
    scaler = data._ready.scalers["raw"]
    back = {k: v.double().numpy() * scaler.divisor[:, None] + scaler.offset[:, None] for k, v in batch.views.items()}
    norms = {k: np.linalg.norm(v[:, :3], axis=1) for k, v in back.items()}
    assert np.allclose(norms["raw"], norms["raw/clean"], rtol=1e-5)
    assert not np.allclose(back["raw"][:, 0], back["raw/clean"][:, 0], rtol=1e-2)
    assert np.array_equal(back["raw"][:, 3], back["raw/clean"][:, 3])


def test_images_too(tmp_path) -> None:
    from kdlab.data import CIFAR10
    from tests.fixtures import write_cifar10

    root = write_cifar10(tmp_path)
    data = CIFAR10(root, corruption=Corruption("both", 3), views={"raw": RawImage()})
    data.setup()
    pixels = data.data.windows["raw"][data.train_index].astype(np.float64)
    assert np.allclose(data.constants("raw").mean, pixels.mean((0, 2, 3)), atol=1e-6)
    assert np.allclose(data.constants("raw").std, pixels.std((0, 2, 3)), atol=1e-6)
    clean = next(CIFAR10(root).batches("test", 8)).views["raw"].numpy()
    dark = next(data.batches("test", 8)).views["raw"].numpy()
    rng = stream(0, 0, int(next(data.batches("test", 8)).index[0]), 2)
    lost = np.zeros(32 * 32, bool)
    lost[rng.permutation(32 * 32)[: round(0.3 * 32 * 32)]] = True
    noise = 0.12 * rng.standard_normal((3, 32, 32)) * pixels.std((0, 2, 3))[:, None, None]
    expected = np.where(lost.reshape(32, 32), pixels.mean((0, 2, 3))[:, None, None], clean[0]) + noise
    assert np.allclose(dark[0], expected, atol=1e-5)
