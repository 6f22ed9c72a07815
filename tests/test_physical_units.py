"""Teachers and views that read windows in the physical units of their data set, whatever scales the data module."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kdlab import DDGSD, KD, SAKDN, Supervised, Teacher, cli
from kdlab.augment import Noise
from kdlab.cache import TeacherCache
from kdlab.callbacks import EarlyStoppedTeacher
from kdlab.data import CIFAR10, ArrayDataModule, BasicMotions, Mixup, Scale
from kdlab.export.make import export
from kdlab.methods.checkpoints import KEY
from kdlab.methods.physical import Before, own_scaling
from kdlab.methods.sensors import logits_of, sensors_of
from kdlab.nets import SensorFusion, WideResNet
from kdlab.types import InputError
from kdlab.views import GramianAngularField, PersistenceImage, Raw, View
from tests.conftest import trainer
from tests.fixtures import write_cifar10
from tests.test_foreign_data import Bare, Wrapped

CHANNELS, LENGTH, CLASSES = 3, 32, 3
OFFSETS, SPREADS = np.array([9.81, -3.0, 1e8]), np.array([2.0, 0.05, 40.0])
#: statistics of another data set, in the same physical units
MEAN, STD = [9.0, -2.98, 1e8 + 10.0], [2.5, 0.06, 50.0]


def physical_windows(seed: int = 0, offsets: NDArray[Any] = OFFSETS) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Windows of twelve people around large offsets, and their classes, which are in the means of the channels."""
    rng = np.random.default_rng(seed)
    target = np.arange(144) % CLASSES
    shift = np.eye(CLASSES)[target][:, :, None] * 1.5
    x = rng.normal(size=(144, CHANNELS, LENGTH)) + shift
    return offsets[:, None] + SPREADS[:, None] * x, target


def module(scale: Any = "standard", seed: int = 0, offsets: NDArray[Any] = OFFSETS, **more: Any) -> ArrayDataModule:
    x, y = physical_windows(seed, offsets)
    return ArrayDataModule(x, y, np.arange(144) // 12, scale=scale, **{"batch_size": 16, "seed": 0, **more})


class Foreign(nn.Module):
    """A net of another library: channels, their means over time, classes."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.fc = nn.Conv1d(CHANNELS, 8, 1), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.mix(x).mean(2)))


def standardised(x: NDArray[np.float64]) -> Tensor:
    """The input of the foreign net, in its own loop."""
    return torch.from_numpy(((x - np.array(MEAN)[:, None]) / np.array(STD)[:, None]).astype(np.float32))


@pytest.fixture(scope="module")
def foreign() -> Foreign:
    """Trained in a plain loop on windows in physical units."""
    torch.manual_seed(0)
    net, (x, y) = Foreign(), physical_windows(seed=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(standardised(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture
def weights(foreign: Foreign, tmp_path: Path) -> str:
    torch.save(foreign.state_dict(), tmp_path / "foreign.pt")
    return str(tmp_path / "foreign.pt")


def student() -> WideResNet:
    torch.manual_seed(1)
    return WideResNet(10, 1, in_channels=CHANNELS, num_classes=CLASSES)


def validation(data: ArrayDataModule) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The validation windows as they were recorded, and their classes."""
    rows = np.concatenate([batch.index.numpy() for batch in data.batches("val", views=[])])
    x, y = physical_windows()
    return x[rows], y[rows]


SCALES: dict[str, Any] = {
    "standard": "standard",
    "minmax": "minmax",
    "constants": Scale([9.81, -3.0, 1e8], [4.0, 0.1, 80.0]),
    "negative": Scale([0.0, 1.0, 1e8 - 500.0], [-3.0, 0.5, 200.0]),
}


@pytest.mark.parametrize("scale", SCALES)
def test_a_foreign_teacher_is_as_good_as_in_its_own_loop(
    scale: str, foreign: Foreign, weights: str, tmp_path: Path
) -> None:
    """Its statistics are those of physical units; applied to scaled windows, it knows a third of them."""
    data = module(SCALES[scale])
    x, y = validation(data)
    with torch.no_grad():
        wanted = foreign(standardised(x))
    accuracy = float((wanted.argmax(1).numpy() == y).mean())
    assert accuracy > 0.95
    given: dict[str, Any] = {"checkpoint": weights, "mean": MEAN, "std": STD}
    found = {}
    for units in ("scaled", "physical"):
        method = KD(student(), {"raw": Teacher(net=Foreign(), units=units, **given)})  # type: ignore[arg-type]
        trainer(tmp_path, max_epochs=1).fit(method, data)
        found[units] = method.teacher_scores["raw"].accuracy
        teacher = dict(method.named_teachers())["raw"]
        if units == "physical":
            batches = list(data.batches("val", views=[teacher.view]))
            logits = torch.cat([teacher(batch.views[teacher.view]).logits for batch in batches])
            torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    assert found["physical"] == pytest.approx(accuracy)
    assert found["scaled"] < 0.6


# ---- the view ----------------------------------------------------------------------------------------------------
def numbers(scale: Any, train: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Offset and divisor of each channel, from the equations."""
    if isinstance(scale, Scale):
        return np.array(scale.offset), np.array(scale.divisor)
    if scale == "none":
        return np.zeros(CHANNELS), np.ones(CHANNELS)
    if scale == "minmax":
        low = train.min(axis=(0, 2))
        return low, train.max(axis=(0, 2)) - low
    return train.mean(axis=(0, 2)), train.std(axis=(0, 2))


@pytest.mark.parametrize("scale", [*SCALES.values(), "none"], ids=[*SCALES, "none"])
def test_the_inverse_is_that_of_the_scale(scale: Any) -> None:
    offsets = np.array([9.81, -3.0, 1e5]) if scale == "none" else OFFSETS
    data = module(scale, offsets=offsets, views={"raw": Raw(), "raw/physical": None, "two/physical": Raw([2, 0])})
    data.setup()
    x, _ = physical_windows(offsets=offsets)
    offset, divisor = numbers(scale, x[data.train_index])
    for stage in ("train", "val", "test"):
        for batch in data.batches(stage):
            back = batch.views["raw/physical"]
            assert back.dtype == torch.float64
            scaled = batch.views["raw"].numpy().astype(np.float64)
            wanted = scaled * divisor[:, None] + offset[:, None]
            np.testing.assert_allclose(back.numpy(), wanted, rtol=1e-12, atol=0)
            recorded = x[batch.index.numpy()]  # but for the rounding of scaled windows to float32
            bound = 2.0**-23 * (np.abs(divisor[:, None] * scaled) + np.abs(offset[:, None]) * (scale == "none"))
            assert (np.abs(back.numpy() - recorded) <= bound + 1e-7).all()
            assert batch.views["two/physical"].equal(back[:, [2, 0]])


@dataclass(frozen=True)
class Largest(View):
    """The largest sample of each channel, as a view of a user may be."""

    def shape(self, channels: int, length: Any) -> tuple[int, ...]:
        return (self.selected(channels), 1)

    def compute(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float64
        return x.amax(2, keepdim=True)


@pytest.mark.parametrize("mix", [None, Mixup(0.4)])
def test_training_windows_are_brought_back_after_augmentation_and_mixing(mix: Any) -> None:
    views = {"raw": Raw(), "raw/physical": None, "raw/clean/physical": None, "most/physical": Largest()}
    data = module(views=views, augment=Noise(0.5), mix=mix)
    data.setup()
    x, _ = physical_windows()
    offset, divisor = numbers("standard", x[data.train_index])
    changed = 0.0
    for batch in data.train_dataloader():
        wanted = batch.views["raw"].numpy().astype(np.float64) * divisor[:, None] + offset[:, None]
        np.testing.assert_allclose(batch.views["raw/physical"].numpy(), wanted, rtol=1e-12, atol=0)
        np.testing.assert_allclose(batch.views["most/physical"].numpy()[..., 0], wanted.max(2), rtol=1e-12, atol=0)
        recorded = x[batch.index.numpy()]
        clean = batch.views["raw/clean/physical"].numpy()
        np.testing.assert_allclose(clean, recorded, rtol=0, atol=1e-4)
        changed = max(changed, float(np.abs((wanted - recorded) / divisor[:, None]).max()))
    assert changed > 0.5


def test_keys() -> None:
    data = module(views={"raw": Raw([0]), "raw/physical": None, "raw/clean": Raw([1]), "raw/clean/physical": None})
    data.setup()
    assert [data.view_shape(name)[0] for name in data.view_names] == [1, 1, 1, 1]
    x = next(data.batches("val")).views
    assert float(x["raw/physical"].mean()) == pytest.approx(9.81, abs=3)
    assert float(x["raw/clean/physical"].mean()) == pytest.approx(-3.0, abs=0.1)
    assert data.view_settings("raw") != data.view_settings("raw/physical")
    assert data.training_view("raw")["view"] != data.training_view("raw/physical")["view"]
    mean, std = data.view_statistics("raw/physical") or ([], [])
    assert mean[0] == pytest.approx(9.81, abs=2)
    assert std[0] == pytest.approx(2.2, abs=0.5)
    assert data.view_statistics("raw") is None
    for wrong in (
        "raw/clean/clean",
        "raw/clean/physical/clean",
        "/physical",
        "raw/physical/physical",
        "raw/dirty/physical",
    ):
        with pytest.raises(InputError, match=r"is no key; expected a name, name/clean.*/physical behind it"):
            module(views={"raw": Raw(), wrong: Raw()})
    with pytest.raises(InputError, match="'gaf/physical' has no view; give one, or add 'gaf' to repeat"):
        module(views={"raw": Raw(), "gaf/physical": None})


def test_a_method_may_read_two_versions_in_physical_units(tmp_path: Path) -> None:
    views = {"raw/physical": Raw(), "raw/physical/second": None}
    data = module(views=views, augment=Noise(0.3))
    method = DDGSD(student(), view="raw/physical")
    trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(method, data)
    batch = next(iter(data.train_dataloader())).views
    assert batch["raw/physical/second"].dtype == torch.float64
    assert not batch["raw/physical"].equal(batch["raw/physical/second"])
    assert float(batch["raw/physical/second"][:, 2].mean()) == pytest.approx(1e8, abs=100)


def test_ranges_are_in_the_units_of_the_view() -> None:
    image = PersistenceImage(size=8, birth="auto", persistence="auto")
    data = module(Scale([0.0] * 3, [1.0, 0.001, 1e9]), views={"pi": image, "pi/physical": None})
    data.setup()
    scaled, physical = (data.views[name] for name in ("pi", "pi/physical"))
    assert isinstance(scaled, PersistenceImage)
    assert isinstance(physical, PersistenceImage)
    assert max(physical.birth) > 1e6 > max(map(abs, scaled.birth))
    settings = data.view_settings("pi/physical")
    assert settings.endswith(" in physical units")
    other = repr(PersistenceImage(size=8, birth=(-1e9, 1e9), persistence=(0.0, 1e8)))
    data.adopt_view("pi/physical", other)  # of a net that was trained on scaled windows
    assert data.view_settings("pi/physical") == settings
    data.adopt_view("pi/physical", other + " in physical units")
    assert data.view_settings("pi/physical") == other + " in physical units"
    data.setup()
    assert data.view_settings("pi/physical") == settings


def test_a_clip_that_lost_range_is_refused() -> None:
    clipping, wide = Scale([5.0, -3.2, 1e8 - 100], [9.0, 0.4, 200.0], clip=True), [9.81 - 50, -4.0, 1e8 - 1000]
    data = module(clipping, views={"raw": Raw(), "raw/physical": None})
    x, _ = physical_windows()
    y = (x - np.array(clipping.offset)[:, None]) / np.array(clipping.divisor)[:, None]
    lost = ((y > 1) | (y < 0)).any(axis=(1, 2))
    with pytest.raises(InputError, match=rf"view 'raw/physical': scale must not clip .* clips {lost.sum()} of 144"):
        data.setup()
    fine = module(Scale(wide, [100.0, 2.0, 2000.0], clip=True), views={"raw": Raw(), "raw/physical": None})
    np.testing.assert_allclose(next(fine.batches("val")).views["raw/physical"][:, 0].mean(), 10, atol=1)
    late = module(clipping)
    with pytest.raises(InputError, match="scale must not clip"):
        late.physical_view("raw")
    to_predict = module(
        Scale(wide, [100.0, 2.0, 2000.0], clip=True), views={"raw/physical": Raw()}, x_predict=x[:2] + 1e4
    )
    with pytest.raises(InputError, match="clips 2 of 2 windows"):
        next(to_predict.batches("predict"))


def test_a_view_is_added_until_the_next_setup() -> None:
    data = module()
    data.setup()
    data.physical_view("raw")
    data.physical_view("raw/physical")
    assert data.view_names == ["raw", "raw/physical"]
    data.skip_views(["raw/physical"], "val")
    assert set(next(iter(data.val_dataloader())).views) == {"raw"}
    assert set(next(iter(data.train_dataloader())).views) == {"raw", "raw/physical"}
    data.view_statistics("raw/physical")
    data.setup()
    assert data.view_names == ["raw"]
    assert set(next(iter(data.train_dataloader())).views) == {"raw"}
    with pytest.raises(InputError, match="view 'gaf': this data module emits raw"):
        data.physical_view("gaf")
    declared = module(views={"raw": Raw(), "raw/physical": None})
    declared.setup()
    declared.physical_view("raw")
    declared.setup()
    assert declared.view_names == ["raw", "raw/physical"]


def test_pixels_are_what_the_loader_calls_physical(tmp_path: Path) -> None:
    """Pixel / 255, to which the statistics of released image nets refer."""
    write_cifar10(tmp_path)
    data = CIFAR10(tmp_path, scale="standard", batch_size=8)
    plain = CIFAR10(tmp_path, scale="none", batch_size=8)
    data.physical_view("raw")
    for own, other in zip(data.batches("test"), plain.batches("test"), strict=True):
        back = own.views["raw/physical"]
        assert back.dtype == torch.float64
        torch.testing.assert_close(back, other.views["raw"].double(), rtol=0, atol=1e-6)
        assert back.min() > -1e-6
        assert back.max() < 1 + 1e-6


# ---- teachers ----------------------------------------------------------------------------------------------------
def taught(net: Any, **more: Any) -> Teacher:
    return Teacher(net=copy.deepcopy(net), mean=MEAN, std=STD, units="physical", **more)


def test_what_cannot_be_brought_back_is_refused(foreign: Foreign, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Teacher: units must be 'scaled' or 'physical', but got 'volts'"):
        Teacher(net=foreign, units="volts")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="teacher 'raw': mean and std must be given with units='physical'"):
        Teacher(net=foreign, mean=MEAN, units="physical").load(name="raw")
    with pytest.raises(InputError, match=r"mean and std must be 3 finite numbers each, .* but got \[1.0\]"):
        Teacher(net=foreign, mean=[1.0], std=[1.0], units="physical").load()

    def fit(data: Any, teacher: Teacher, **more: Any) -> None:
        trainer(tmp_path, max_epochs=1, **more).fit(KD(student(), {"raw": teacher}), data)

    with pytest.raises(InputError, match=r"teacher 'raw' reads view 'raw/physical', but the batch has 'raw'"):
        fit(Bare(), taught(foreign))
    for precision in ("bf16-true", "16-true"):
        with pytest.raises(InputError, match=f"teacher 'raw': precision of the trainer .* but got '{precision}'"):
            fit(module(), taught(foreign), precision=precision)
    with pytest.raises(InputError, match="reads view 'gaf/physical', but the data module emits 'raw'"):
        fit(module(), taught(foreign, view="gaf"))
    with pytest.raises(InputError, match="scale must not clip"):
        fit(module(Scale([0.0] * 3, [1.0] * 3, clip=True)), taught(foreign))


class Physical(Bare):
    """Its batches hold windows in physical units, in float32, which it made itself."""

    def _loader(self, stage: str) -> Any:
        small = module(offsets=np.array([9.81, -3.0, 100.0]))
        small.physical_view("raw")
        batches = [b._replace(views={k: v.float() for k, v in b.views.items()}) for b in small.batches(stage)]
        return DataLoader(batches, batch_size=None, shuffle=False)  # type: ignore[arg-type]


def test_batches_of_other_origin_may_hold_the_view(foreign: Foreign, tmp_path: Path) -> None:
    teacher = Teacher(net=foreign, mean=[9.0, -2.98, 110.0], std=STD, view="raw/physical")
    method = KD(student(), {"raw": teacher})
    trainer(tmp_path, max_epochs=1).fit(method, Physical())
    assert method.teacher_scores["raw"].accuracy > 0.95


class WrappedLoaders(Wrapped):
    """Its loaders are those of what it wraps."""

    def _loader(self, stage: str) -> Any:
        return self.inner.train_dataloader() if stage == "train" else self.inner.ordered_loader(stage)


def test_a_wrapped_data_module_passes_it_on(tmp_path: Path) -> None:
    wrapped = WrappedLoaders()
    wrapped.inner = module()
    foreign = Foreign()
    method = KD(student(), {"raw": taught(foreign)})
    trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(method, wrapped)
    assert "raw/physical" in wrapped.inner.view_names


@pytest.mark.parametrize("precision", ["32", "64", "bf16-mixed"])
def test_precisions(precision: Any, foreign: Foreign, tmp_path: Path) -> None:
    method = KD(student(), {"raw": taught(foreign)})
    trainer(tmp_path, max_epochs=1, precision=precision).fit(method, module())
    assert method.teacher_scores["raw"].accuracy > 0.95


def test_before_a_net() -> None:
    x = np.random.default_rng(0).normal(size=(2, 2, 5)) * 3 + 1e8
    y = (x - np.array([[1e8], [0.0]])) / np.array([[2.0], [1e8]])
    before = Before((1e8, 0.0), (2.0, 1e8))
    np.testing.assert_allclose(before(torch.from_numpy(x)).numpy(), y, rtol=1e-12)
    np.testing.assert_allclose(before.inverse(torch.from_numpy(y)).numpy(), x, rtol=1e-12)
    clipped = Before((1e8, 0.0), (2.0, 1e8), clip=True)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(clipped, np.where(y > 1, 0.99, np.maximum(y, 0)), rtol=1e-12)


def trained(data: ArrayDataModule, folder: Path, view: str = "raw", epochs: int = 1, net: Any = None) -> str:
    """A checkpoint of kdlab that was trained on this data."""
    kept = EarlyStoppedTeacher(smoothing=1, stop=False)
    method = Supervised(student() if net is None else net, view=view)
    trainer(folder, max_epochs=epochs, callbacks=[kept]).fit(method, data)
    assert kept.checkpoint is not None
    return str(kept.checkpoint)


CLIPPED = Scale([8.0, -3.1, 1e8 - 50], [6.0, 0.3, 120.0], clip=True)


@pytest.mark.parametrize("scale", ["minmax", CLIPPED], ids=["minmax", "clipped"])
def test_a_teacher_of_kdlab_scales_its_windows_itself(scale: Any, tmp_path: Path) -> None:
    """A checkpoint that was trained under another scale: refused without units, exact with them."""
    views: dict[str, View | None] = {"raw": Raw([2, 0, 1])}
    file = trained(module(scale, views=views), tmp_path / "teacher")
    here = module("standard", views=views)

    def fit(**more: Any) -> Any:
        method = KD(student(), {"raw": Teacher(file, **more)})
        trainer(tmp_path / "student", max_epochs=1).fit(method, here)
        return method

    with pytest.raises(InputError, match=r"scaled with other numbers.*units='physical' \(in YAML: units: physical\)"):
        fit()
    method = fit(units="physical")
    teacher = dict(method.named_teachers())["raw"]
    there = module(scale, views=views)
    wanted = torch.cat([teacher.net(batch.views["raw"]).logits for batch in there.batches("val")])
    got = torch.cat([teacher(batch.views["raw/physical"]).logits for batch in here.batches("val")])
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    described = method.describe()["teachers"]["raw"]
    assert (described["units"], described["view"]) == ("physical", "raw/physical")


def test_the_hint_comes_where_it_helps(tmp_path: Path) -> None:
    file = trained(module("minmax"), tmp_path / "raw")
    other = module("standard", split_seed=3)

    def fit(file: str, data: Any, view: str = "raw", **more: Any) -> None:
        method = KD(student(), {"t": Teacher(file, view, **more)})
        trainer(tmp_path / "student", max_epochs=1, limit_train_batches=1).fit(method, data)

    with pytest.raises(InputError, match="was trained on another split") as refused:
        fit(file, other)
    assert "units" not in str(refused.value)  # which would not suffice
    with pytest.warns(UserWarning, match=r"reads windows that are not scaled as those.*units='physical'"):
        fit(file, other, allow_other_split=True)
    unscaled = module("none", offsets=np.zeros(CHANNELS), split_seed=3)
    with pytest.raises(InputError, match=r"was trained on other inputs.*units='physical'"):
        fit(file, unscaled, allow_other_split=True)
    with pytest.raises(InputError, match="was trained on another split") as refused:  # the scaling is its own
        fit(file, other, units="physical")
    assert "scaled with other numbers" not in str(refused.value)
    fit(file, other, units="physical", allow_other_split=True)
    same = trained(module("standard"), tmp_path / "same")
    with pytest.raises(InputError, match="was trained on another split") as refused:
        fit(same, module("standard", val_count=3))
    moved = module("standard", split_seed=3)
    with pytest.warns(UserWarning, match=r"reads windows that are not scaled as those.*units='physical'"):
        fit(same, moved, allow_other_split=True)
    views = {"raw": Raw(), "gaf": GramianAngularField(size=16)}
    image = trained(module("minmax", views=views), tmp_path / "gaf", "gaf", net=picture())
    both = module("standard", views=views)
    with pytest.raises(InputError, match="scaled with other numbers") as refused:
        fit(image, both, "gaf")
    assert "units" not in str(refused.value)
    with pytest.raises(InputError, match=r"units must be 'scaled' for a net that was trained on the view Gram"):
        fit(image, both, "gaf", units="physical")


def picture() -> WideResNet:
    return WideResNet(10, 1, 2, in_channels=CHANNELS, num_classes=CLASSES)


def test_what_a_checkpoint_holds_of_its_scaling() -> None:
    scale = {"a": {"offset": [1.0, 2.0], "divisor": [3.0, 4.0]}, "b": {"offset": [5.0], "divisor": [6.0], "clip": True}}

    def of(settings: Any, **more: Any) -> Before | None:
        return own_scaling({"view": "raw", "view_settings": settings, "fingerprint": {"scale": scale}, **more}, "t")

    assert of("Raw(channels=None, source=None)") == Before((1.0, 2.0), (3.0, 4.0))
    assert of("Raw(channels=(1,), source='a')") == Before((2.0,), (4.0,))
    assert of("RawImage(channels=None, source='b')") == Before((5.0,), (6.0,), True)
    assert of("Raw(channels=None, source=None) in physical units") is None
    for wrong in (None, "", "GAF(size=16)", "Raw(channels=x)", "Raw(", "raw", "Raw(channels=(-1,), source=None)"):
        with pytest.raises(InputError, match="units must be 'scaled' for a net that was trained on"):
            of(wrong)
    for damaged in ("Raw(channels=(7,), source=None)", "Raw(channels=None, source='z')"):
        with pytest.raises(InputError, match="the checkpoint is damaged: its scaling"):
            of(damaged)
    with pytest.raises(InputError, match="data that its checkpoint does not describe"):
        of("Raw(channels=None, source=None)", fingerprint=None)


@pytest.mark.parametrize("folder", [False, True])
def test_cached_outputs_are_those_of_every_step(folder: bool, foreign: Foreign, tmp_path: Path) -> None:
    kept = str(tmp_path / "cache") if folder else None
    found = {}
    for name, cache in (("live", None), ("cached", TeacherCache(folder=kept)), ("again", TeacherCache(folder=kept))):
        torch.manual_seed(0)
        method = KD(student(), {"raw": taught(foreign)}, cache=cache)
        trainer(tmp_path, max_epochs=2).fit(method, module())
        found[name] = method.net.state_dict()
    for name in ("cached", "again"):
        for key, value in found["live"].items():
            torch.testing.assert_close(found[name][key], value, rtol=1e-5, atol=1e-6)
    if kept is not None:
        count = len(list(Path(kept).glob("*.answers")))
        assert count == 1
        for teacher in (
            Teacher(net=copy.deepcopy(foreign), mean=MEAN, std=STD),
            Teacher(net=copy.deepcopy(foreign), mean=[0.0] * 3, std=STD, units="physical"),
        ):
            method = KD(student(), {"raw": teacher}, cache=TeacherCache(folder=kept))
            trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(method, module())
            count += 1
            assert len(list(Path(kept).glob("*.answers"))) == count
    method = KD(student(), {"raw": taught(foreign)}, cache=TeacherCache())
    with pytest.raises(InputError, match="cache: teacher 'raw' reads view 'raw/physical', which is different in every"):
        trainer(tmp_path, max_epochs=1).fit(method, module(augment=Noise(0.5)))


def test_a_student_is_tested_and_exported_as_ever(foreign: Foreign, tmp_path: Path) -> None:
    offsets = np.array([9.81, -3.0, 100.0])
    method = KD(student(), {"raw": taught(foreign)})
    run = trainer(tmp_path, max_epochs=1)
    run.fit(method, module(offsets=offsets))
    run.save_checkpoint(tmp_path / "student.ckpt")
    described = torch.load(tmp_path / "student.ckpt", weights_only=True)[KEY]
    json.dumps(described)
    assert described["view"] == "raw"
    assert described["teachers"]["raw"]["units"] == "physical"
    fresh = module(offsets=offsets)
    trainer(tmp_path).test(method, fresh)
    assert fresh.view_names == ["raw"]
    exported = export(tmp_path / "student.ckpt", module(offsets=offsets), tmp_path / "student.pt", format="torch")
    assert exported.card["check"]["passed"]


def test_a_student_may_read_physical_units(tmp_path: Path) -> None:
    """With its own standardisation; what is exported then scales nothing first."""
    offsets = np.array([9.81, -3.0, 1000.0])

    def data() -> ArrayDataModule:
        return module(offsets=offsets, views={"raw": Raw(), "raw/physical": None})

    method = Supervised(student(), view="raw/physical")
    run = trainer(tmp_path, max_epochs=1)
    run.fit(method, data())
    x, _ = physical_windows(offsets=offsets)
    train = x[data().train_index]
    np.testing.assert_allclose(method.net.standardize.mean.numpy(), train.mean(axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(method.net.standardize.std.numpy(), train.std(axis=(0, 2)), rtol=1e-6)
    run.save_checkpoint(tmp_path / "student.ckpt")
    exported = export(tmp_path / "student.ckpt", data(), tmp_path / "student.pt2", format="torch.export")
    assert exported.card["scale"] == {"offset": [0.0] * 3, "divisor": [1.0] * 3, "clip": False}
    teacher = Teacher(str(tmp_path / "student.ckpt"), "raw/physical")
    other = KD(student(), {"raw": teacher})
    trainer(tmp_path, max_epochs=1).fit(other, module("minmax", offsets=offsets))
    assert teacher.before is None
    with pytest.raises(InputError, match=r"was trained on the view Raw.* in physical units, but here 'raw' is Raw"):
        trainer(tmp_path).fit(KD(student(), {"raw": Teacher(str(tmp_path / "student.ckpt"))}), data())


def test_zeros_of_a_sensor_are_those_of_scaled_windows(tmp_path: Path) -> None:
    """A term that compares with all-zero windows means zeros in scaled units, the training mean."""
    x = torch.zeros(2, CHANNELS, LENGTH)
    teacher = taught(Foreign()).load()
    assert teacher.zeros(x).equal(torch.tensor(MEAN, dtype=torch.float64)[:, None].expand(2, CHANNELS, LENGTH))
    assert Teacher(net=Foreign(), mean=MEAN, std=STD).load().zeros(x) is x
    net = SensorFusion({"a": 1, "b": 2}, num_classes=CLASSES)
    method = SAKDN(student(), {"raw": taught(net)})
    trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(method, module())
    loaded = dict(method.named_teachers())["raw"]
    kept = next(iter(method._outputs_for_zeros.values()))
    with torch.no_grad():
        output = loaded.net(torch.zeros(16, CHANNELS, LENGTH))  # as many as in the batch, on which it depends
    assert sensors_of(output)
    for sensor in sensors_of(output):
        wanted = logits_of(output, sensor)[:1]
        torch.testing.assert_close(kept[f"{sensor}/ablated"], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", ["standard", "minmax"])
def test_statistics_of_other_units_are_warned_of(scale: Any, foreign: Foreign, tmp_path: Path) -> None:
    def fit(mean: Any, std: Any, **more: Any) -> list[str]:
        teacher = Teacher(net=copy.deepcopy(foreign), mean=mean, std=std, **more)
        data = module(scale)
        data.setup()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            KD(student(), {"raw": teacher}).prepare(data, "fit")
        return [str(w.message) for w in caught if "units='physical'" in str(w.message)]

    (said,) = fit(MEAN, STD)
    assert "teacher 'raw': mean and std must be those of the view" in said
    assert "for channel 0 they are 9 and 2.5" in said
    assert not fit(MEAN, STD, units="physical")
    assert not fit([0.0] * 3, [1.0] * 3)  # it was not standardised
    x, _ = physical_windows()
    offset, divisor = numbers(scale, x[module(scale).train_index])
    scaled = (x - offset[:, None]) / divisor[:, None]
    assert not fit((scaled.mean((0, 2)) + 0.01).tolist(), (1.1 * scaled.std((0, 2))).tolist())
    assert len(fit(scaled.mean((0, 2)).tolist(), (5 * scaled.std((0, 2))).tolist())) == 1


CONFIG = """
model:
  class_path: KD
  init_args:
    student: {{class_path: WideResNet, init_args: {{depth: 10, in_channels: 6, num_classes: 4}}}}
    teachers:
      raw: {{checkpoint: {checkpoint}, units: physical}}
data:
  class_path: BasicMotions
  init_args: {{scale: minmax}}
trainer:
  max_epochs: 1
  accelerator: cpu
  limit_train_batches: 1
  enable_progress_bar: false
  enable_model_summary: false
"""


def test_units_in_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teachers: dict[str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(CONFIG.format(checkpoint=teachers["raw"]), encoding="utf-8")
    method = cli.run(["fit", "--config", "mine.yaml"]).model
    teacher = dict(method.named_teachers())["raw"]
    there, here = BasicMotions(), BasicMotions(scale="minmax")
    here.physical_view("raw")
    for own, other in zip(there.batches("val"), here.batches("val"), strict=True):
        wanted = teacher.net(own.views["raw"]).logits
        torch.testing.assert_close(teacher(other.views["raw/physical"]).logits, wanted, rtol=1e-3, atol=1e-3)
    Path("mine.yaml").write_text(CONFIG.format(checkpoint=teachers["raw"]).replace(", units: physical", ""))
    with pytest.raises((SystemExit, InputError)):
        cli.run(["fit", "--config", "mine.yaml"])
