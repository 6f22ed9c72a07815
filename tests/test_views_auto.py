"""Persistence images whose ranges are found at setup, what given ranges hold, and absolute weights."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonargparse
import lightning.pytorch as pl
import numpy as np
import pytest
import torch

import kdlab
from kdlab.data import ArrayDataModule, BasicMotions
from kdlab.data.auto_views import SAMPLE, with_numbers
from kdlab.evaluate import evaluate
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.types import InputError
from kdlab.views import PersistenceImage, Raw, ScanPersistenceImage, sublevel_diagram
from tests.conftest import net, trainer

AUTO: dict[str, Any] = {"birth": "auto", "persistence": "auto"}
POINTS = r"view 'pi': part of the points within birth"


def arrays(offset: float = 0.0, seed: int = 0, **settings: Any) -> ArrayDataModule:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((72, 3, 40)) + offset
    subject = np.arange(72) // 6
    return ArrayDataModule(x, np.arange(72) % 2, subject=subject, channels=list("abc"), batch_size=8, **settings)


def reference_ranges(x: np.ndarray, view: PersistenceImage) -> tuple[tuple[float, float], tuple[float, float]]:
    """The rule, from its equation, with one sorted list of (value, weight)."""
    births, lives = [], []
    for row in x.reshape(-1, x.shape[-1]):
        points = [(b, d - b) for b, d in sublevel_diagram(row) if d - b > max(1e-3, view.threshold)]
        for b, y in points:
            weight = y if view.weight == "absolute" else y / max(life for _, life in points)
            births.append((b, weight))
            lives.append((y, weight))

    def quantile(pairs, level):
        total, passed = math.fsum(w for _, w in pairs), 0.0
        for value, weight in sorted(pairs):
            passed += weight
            if passed >= level * total * (1 - 1e-12):
                return value
        raise AssertionError

    s = view.sigma
    return (
        (quantile(births, 0.01) - s, quantile(births, 0.99) + s),
        (0.0, quantile(lives, 0.99) + s),
    )


# ---- the rule -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("settings", [{}, {"sigma": 0.1, "weight": "absolute", "normalize": False, "threshold": 0.5}])
def test_ranges_are_those_of_the_rule(settings: dict[str, Any]) -> None:
    data = BasicMotions(views={"pi": PersistenceImage(size=16, **AUTO, **settings)})
    data.setup()
    view = data.views["pi"]
    assert isinstance(view, PersistenceImage)
    scaled = data._ready.scalers["raw"](data.data.windows["raw"][data.train_index])
    assert len(scaled) < SAMPLE  # all of them
    for found, expected in zip(view.ranges, reference_ranges(scaled, view), strict=True):
        assert found[0] == pytest.approx(expected[0], abs=view.sigma / 99)
        assert found[1] == pytest.approx(expected[1], abs=view.sigma / 99)
        assert found[0] <= expected[0] + 1e-6
        assert found[1] >= expected[1] - 1e-6
    assert view.persistence[0] == 0.0


def test_the_numbers_stand_wherever_the_view_does() -> None:
    wish = PersistenceImage(size=16, **AUTO)
    data = BasicMotions(views={"raw": Raw(), "pi": wish, "pi/clean": None, "other": replace(wish, birth=(-1, 9))})
    data.setup()
    view = data.views["pi"]
    assert data.views["pi/clean"] == view
    assert data.views["other"].birth == (-1.0, 9.0)
    assert data.views["other"].persistence == view.persistence
    assert not view.unresolved
    assert data.view_settings("pi") == repr(view)
    assert view.digest in data.training_view("pi")["view"]
    assert view.digest != wish.digest
    batch = next(data.batches("train", 4))
    x = data._ready.scalers["raw"](data.data.windows["raw"][batch.index.numpy()])
    assert torch.equal(batch.views["pi"], view(x))
    other = BasicMotions(views={"pi": wish})
    assert other.view_settings("pi") == data.view_settings("pi")  # the same data, the same numbers
    again = BasicMotions(views={"pi": view})
    assert again.view_settings("pi") == repr(view)


def test_a_bounded_sample_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlab.data.auto_views.SAMPLE", 20)
    seen: list[int] = []
    find = PersistenceImage.diagrams
    monkeypatch.setattr(PersistenceImage, "diagrams", lambda self, x: (seen.append(len(x)), find(self, x))[1])
    data = arrays(views={"pi": PersistenceImage(size=8, **AUTO)})
    data.setup()
    assert seen == [20, 20]
    assert len(data.train_index) > 20


def test_an_unresolved_view_is_not_computed() -> None:
    x = np.random.default_rng(0).standard_normal((2, 40))
    for settings in ({"birth": "auto"}, {"persistence": "auto"}):
        view = PersistenceImage(size=8, **settings)
        assert view.shape(2, 40) == (2, 8, 8)
        with pytest.raises(InputError, match=rf"PersistenceImage: {next(iter(settings))} must be numbers .* 'auto'"):
            view(x)
    with pytest.raises(InputError, match="ScanPersistenceImage: birth must be numbers"):
        ScanPersistenceImage(**AUTO)(np.zeros((3, 4, 4)))
    with pytest.raises(InputError, match="birth must be numbers on the legacy grid"):
        PersistenceImage(grid="legacy", birth="auto")
    with pytest.raises(InputError, match=r"birth must be a range \(low, high\) or 'auto', but got 'automatic'"):
        PersistenceImage(birth="automatic")  # type: ignore[arg-type]
    flat = ArrayDataModule(
        np.ones((24, 2, 9)), np.arange(24) % 2, np.arange(24) // 2, views={"pi": PersistenceImage(**AUTO)}
    )
    with pytest.raises(InputError, match="must be numbers where no training window has a valley"):
        flat.setup()


def test_yaml() -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(BasicMotions, "data", fail_untyped=False)
    text = """
data:
  views:
    pi:
      class_path: PersistenceImage
      init_args: {birth: auto, persistence: [0, 5], weight: absolute, normalize: false}
    scan: {class_path: ScanPersistenceImage, init_args: {birth: auto, persistence: auto}}
"""
    made = (getattr(parser, "instantiate", None) or parser.instantiate_classes)(parser.parse_string(text)).data
    assert made.views["pi"] == PersistenceImage(birth="auto", persistence=(0, 5), weight="absolute", normalize=False)
    assert made.views["scan"].unresolved == ("birth", "persistence")


def test_images_find_theirs_too(tmp_path: Path) -> None:
    from kdlab.data import CIFAR10
    from tests.fixtures import write_cifar10

    data = CIFAR10(write_cifar10(tmp_path), views={"scan": ScanPersistenceImage(size=8, **AUTO)})
    data.setup()
    view = data.views["scan"]
    assert isinstance(view, ScanPersistenceImage)
    pixels = data.data.windows["raw"][data.train_index]
    series = np.concatenate([pixels.reshape(len(pixels), 3, -1), pixels.swapaxes(2, 3).reshape(len(pixels), 3, -1)], 1)
    assert len(pixels) <= SAMPLE
    for found, expected in zip(view.ranges, reference_ranges(series, view), strict=True):
        assert found == pytest.approx(expected, abs=view.sigma / 50)


# ---- a net keeps the numbers of its training ------------------------------------------------------------------------
def fitted(folder: Path, data: Any, name: str = "teacher.ckpt") -> Path:
    pl.seed_everything(0)
    fit = trainer(folder, max_epochs=1, limit_train_batches=1, limit_val_batches=1)
    model = kdlab.Supervised(net(channels=len(data.channels["raw"]), classes=2, ndim=2), view="pi")
    fit.fit(model, data)
    fit.save_checkpoint(folder / name)
    return folder / name


def test_a_teacher_sees_the_numbers_of_its_checkpoint(tmp_path: Path) -> None:
    wish = {"raw": Raw(), "pi": PersistenceImage(size=8, **AUTO), "pi/clean": None}
    theirs = arrays(test_subjects=["0", "1"], val_subjects=["2", "3"], views=wish)
    checkpoint = fitted(tmp_path, theirs)
    trained = read_checkpoint(checkpoint)[KEY]["view_settings"]
    assert trained == theirs.view_settings("pi")
    assert "auto" not in trained

    def distil(data: Any, **settings: Any) -> Any:
        method = kdlab.KD(
            net(channels=3, classes=2),
            {"pi": kdlab.Teacher(str(checkpoint), view="pi", **settings)},
            student_view="raw",
        )
        run = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=1)
        run.fit(method, data)
        return method, run

    same = arrays(test_subjects=["0", "1"], val_subjects=["2", "3"], views=wish)
    method, run = distil(same)
    assert same.view_settings("pi") == trained
    assert method.describe()["teachers"]["pi"]["view_settings"] == trained
    run.save_checkpoint(tmp_path / "student.ckpt")
    assert read_checkpoint(tmp_path / "student.ckpt")[KEY]["teachers"]["pi"]["view_settings"] == trained

    other = arrays(test_subjects=["4", "5"], val_subjects=["6", "7"], views=wish)
    other.setup()
    own = other.view_settings("pi")
    assert own != trained
    distil(other, allow_other_split=True)
    assert other.view_settings("pi") == other.view_settings("pi/clean") == trained
    assert other.views["pi"] == PersistenceImage(
        size=8, birth=other.views["pi"].birth, persistence=theirs.views["pi"].persistence
    )
    other.setup()  # the next stage begins with its own
    assert other.view_settings("pi") == own

    wrong = {**wish, "pi": PersistenceImage(size=9, **AUTO)}
    with pytest.raises(InputError, match="was trained on the view PersistenceImage"):
        distil(arrays(test_subjects=["0", "1"], val_subjects=["2", "3"], views=wrong))


def test_two_teachers_with_other_numbers_of_one_view_are_refused(tmp_path: Path) -> None:
    wish = {"raw": Raw(), "pi": PersistenceImage(size=8, **AUTO)}
    files = {}
    for name, test in (("one", ["0", "1"]), ("two", ["4", "5"])):
        data = arrays(test_subjects=test, val_subjects=["2", "3"], views=wish)
        files[name] = fitted(tmp_path, data, f"{name}.ckpt")
    teachers = {n: kdlab.Teacher(str(f), view="pi", allow_other_split=True) for n, f in files.items()}
    method = kdlab.Distillation(net(channels=3, classes=2), teachers)
    with pytest.raises(InputError, match=r"teacher 'two' .* was trained on the view"):
        trainer(tmp_path, max_epochs=1).fit(
            method, arrays(test_subjects=["0", "1"], val_subjects=["2", "3"], views=wish)
        )


def test_a_net_is_tested_with_the_numbers_of_its_training(tmp_path: Path) -> None:
    wish = {"pi": PersistenceImage(size=8, **AUTO)}
    theirs = arrays(scale="none", test_subjects=["0", "1"], val_subjects=["2", "3"], views=wish)
    checkpoint = fitted(tmp_path, theirs)
    trained = theirs.view_settings("pi")
    elsewhere = arrays(seed=5, scale="none", dataset="elsewhere", views=wish)
    elsewhere.setup()
    assert elsewhere.view_settings("pi") != trained
    model = kdlab.Supervised(net(channels=3, classes=2, ndim=2), view="pi")
    trainer(tmp_path).test(model, elsewhere, ckpt_path=str(checkpoint), verbose=False, weights_only=True)
    assert elsewhere.view_settings("pi") == trained
    elsewhere.setup()
    result = evaluate(model, elsewhere, robustness=False, embedding=False, cost=True)
    assert result.description["view_settings"] == trained == elsewhere.view_settings("pi")


def test_only_numbers_are_taken_from_a_checkpoint() -> None:
    wish = PersistenceImage(size=8, **AUTO)
    good = replace(wish, birth=(-1.0, 2.0), persistence=(0.0, 3.0))
    assert with_numbers(wish, repr(good)) == good
    for bad in (
        "",
        "(",
        "1",
        "__import__('os').getcwd()",
        repr(replace(good, sigma=1.0)),
        repr(good).replace("-1.0", "print(3)"),
        repr(good).replace("birth=(-1.0, 2.0)", "birth=(3.0, 2.0)"),
        repr(wish),
        "(" * 9000,
        repr(good) + " " * 20000,
    ):
        assert with_numbers(wish, bad) is None
    assert with_numbers(good, repr(good)) is None  # nothing to take


# ---- what given ranges hold -----------------------------------------------------------------------------------------
def said(data: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    told: list[str] = []
    warned: list[str] = []
    monkeypatch.setattr("kdlab.data.auto_views.rank_zero_info", told.append)
    monkeypatch.setattr("kdlab.data.auto_views.rank_zero_warn", warned.append)
    data.setup()
    return told, warned


def test_setup_says_what_part_of_the_points_lies_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    view = PersistenceImage(birth=(-0.5, 0.5), persistence=(0.0, 2.0), channels=("c", "a"))
    data = arrays(views={"pi": view, "raw": Raw()})
    told, warned = said(data, monkeypatch)
    windows = data._ready.scalers["raw"](data.data.windows["raw"][data.train_index])
    expected = []
    for channel, name in ((2, "c"), (0, "a")):
        inside = total = 0
        for row in windows[:, channel]:
            for b, d in sublevel_diagram(row):
                total += d - b > 0.01
                inside += d - b > 0.01 and -0.5 <= b <= 0.5 and d - b <= 2
        expected.append(f"{name} {100 * inside / total:.0f} %")
        assert inside / total < 0.5
    assert len(told) == 1
    assert ", ".join(expected) in told[0]
    assert f"in {len(windows)} of {len(windows)} training windows" in told[0]
    assert "hold less than half of the points of 2 channels" in warned[0]
    told, warned = said(arrays(views={"pi": PersistenceImage()}), monkeypatch)
    assert "a 100 %, b 100 %, c 100 %" in told[0]
    assert not warned


@pytest.mark.parametrize("offset", [9.81, 20.0])
def test_ranges_that_hold_nothing_are_refused(offset: float) -> None:
    data = arrays(offset, scale="none", views={"pi": PersistenceImage(size=16)})
    with pytest.raises(InputError, match=r"view 'pi': birth and persistence must hold points .* of a in \d+ training"):
        data.setup()
    found = arrays(offset, scale="none", views={"pi": PersistenceImage(size=16, **AUTO)})
    picture = next(found.batches("train", 32)).views["pi"]
    assert torch.allclose(picture.amax((2, 3)), torch.ones(()))
    rows, columns = (picture.mean((0, 1)).sum(axis) for axis in (1, 0))
    assert int((columns > 0.05 * columns.max()).sum()) > 8  # not a bar at an edge
    assert int((rows > 0.05 * rows.max()).sum()) > 8


def test_a_still_channel_is_no_reason_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((36, 2, 30))
    x[:, 1] = 3.0
    data = ArrayDataModule(x, np.arange(36) % 2, np.arange(36) // 3, views={"pi": PersistenceImage(size=8)})
    told, warned = said(data, monkeypatch)
    assert "1 channels have none" in told[0]
    assert not warned


def test_found_ranges_fill_the_picture() -> None:
    """The default range leaves most of the picture of standardised recordings empty."""
    default = BasicMotions(views={"pi": PersistenceImage(size=32)})
    found = BasicMotions(views={"pi": PersistenceImage(size=32, **AUTO)})
    lit = {}
    for name, data in (("default", default), ("found", found)):
        mean = next(data.batches("train", 32)).views["pi"].mean((0, 1))
        lit[name] = float((mean > 0.01).double().mean())
    assert lit["found"] > 1.15 * lit["default"]


# ---- absolute weights -----------------------------------------------------------------------------------------------
def reference_absolute(row: np.ndarray, view: PersistenceImage) -> np.ndarray:
    n, s, (birth, persistence) = view.size, view.sigma, view.ranges
    image = np.zeros((n, n))

    def mass(low: float, high: float, centre: float) -> float:
        return 0.5 * (math.erf((high - centre) / s / math.sqrt(2)) - math.erf((low - centre) / s / math.sqrt(2)))

    for b, d in sublevel_diagram(row):
        y = d - b
        if y <= max(1e-3, view.threshold):
            continue
        for r in range(n):
            for c in range(n):
                up = mass(*(persistence[0] + (persistence[1] - persistence[0]) * (r + k) / n for k in (0, 1)), y)
                across = mass(*(birth[0] + (birth[1] - birth[0]) * (c + k) / n for k in (0, 1)), b)
                image[n - 1 - r, c] += y / persistence[1] * up * across
    return image


def test_absolute_weights_are_the_equation() -> None:
    x = np.random.default_rng(2).standard_normal((3, 2, 25)) * [[[0.3]], [[1.0]], [[2.0]]]
    view = PersistenceImage(
        size=9, sigma=0.4, birth=(-3, 2), persistence=(0, 5), normalize=False, weight="absolute", dtype="float64"
    )
    expected = np.stack([[reference_absolute(row, view) for row in window] for window in x])
    assert np.abs(view(x).numpy() - expected).max() < 1e-12
    largest = expected.max()
    assert np.abs(replace(view, dtype="float32")(x).numpy() - expected).max() < 1e-5 * largest
    assert np.abs(replace(view, backend="ripser", dtype="float64")(x).numpy() - expected).max() < 1e-5
    assert np.abs(replace(view, backend="persim")(x).numpy() - expected).max() < 1e-12
    from kdlab.views.persistence import _plan

    rows = np.ascontiguousarray(x.reshape(-1, 25))
    portable = replace(view, dtype="float32")._torch(rows, _plan(9, 0.4, *view.ranges, False), torch.device("cpu"))
    assert np.abs(portable.numpy() - expected.reshape(-1, 9, 9)).max() < 1e-5 * largest
    per_diagram = replace(view, weight="diagram")(x)
    for window in range(3):
        for channel in range(2):
            top = max(d - b for b, d in sublevel_diagram(x[window, channel]))
            assert torch.allclose(view(x)[window, channel], per_diagram[window, channel] * top / 5.0, atol=1e-12)
    assert torch.allclose(replace(view, normalize=True)(x), replace(view, normalize=True, weight="diagram")(x))


def test_absolute_weights_keep_sizes_apart_and_are_told_apart() -> None:
    view = PersistenceImage(size=16, normalize=False, weight="absolute")
    x = np.random.default_rng(3).standard_normal((1, 60))
    small, large = float(view(0.5 * x).sum()), float(view(2 * x).sum())
    assert large > 2 * small
    assert PersistenceImage().digest != PersistenceImage(weight="absolute").digest
    assert "weight" not in repr(PersistenceImage())  # digests of earlier versions stay
    with pytest.raises(InputError, match="persistence must be a range with an upper end above 0 with absolute weights"):
        PersistenceImage(weight="absolute", persistence=(-2, -1))
    with pytest.raises(InputError, match="weight must be 'diagram' or 'absolute', but got 'linear'"):
        PersistenceImage(weight="linear")  # type: ignore[arg-type]


def test_absolute_weights_of_normalised_pictures_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    _, warned = said(arrays(views={"pi": PersistenceImage(size=8, weight="absolute")}), monkeypatch)
    assert "with normalize=True" in warned[0]
    assert json.dumps(warned)


def test_digests_of_the_defaults_are_those_of_earlier_versions() -> None:
    assert PersistenceImage().digest == FROZEN[0]
    assert ScanPersistenceImage().digest == FROZEN[1]


FROZEN = ("a098c9a489519dda87f5ddcbb7717d38", "9a8884f5782aa3bf179d024a7530685c")


def test_from_a_config_to_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config says auto, the checkpoint has numbers, and the test from it sees the same ones."""
    from kdlab import cli
    from tests.configs import LIMIT
    from tests.conftest import REPOSITORY

    monkeypatch.chdir(tmp_path)
    words = ["--config", str(REPOSITORY / "experiments/basic_motions/teacher_pi.yaml"), *LIMIT]
    words += ["--model.init_args.net.init_args.depth=10", "--model.init_args.net.init_args.width=1"]
    words += [f"--data.init_args.views.pi.init_args.{name}=auto" for name in ("birth", "persistence")]
    fitted = cli.run(["fit", *words])
    view = fitted.datamodule.views["pi"]
    assert not view.unresolved
    assert "birth: auto" in Path("runs/basic_motions/teacher_pi/version_0/config.yaml").read_text()
    kept = read_checkpoint(Path("runs/basic_motions/teacher_pi/version_0/checkpoints/best.ckpt"))[KEY]
    assert f"birth={view.birth}" in kept["view_settings"]
    tested = cli.run(["test", *words, "--ckpt_path", "runs/basic_motions/teacher_pi"])
    assert tested.datamodule.view_settings("pi") == kept["view_settings"]
