"""Doubts of `kdlab new` and of `predict` about values: copies, other units, sensors that were off."""

import warnings

import numpy as np
import pytest

from kdlab.data import ArrayDataModule
from kdlab.data.amplitude import root_mean_square
from kdlab.data.windows import WindowSet
from kdlab.new.doubts import doubts_of


def windows(people=6, each=20, units=("g", "g", "g"), subject=True, size=1.0):
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(people), each)
    x = size * (rng.normal(0, 0.3, (len(who), 3, 40)) + np.array([0.0, 0.0, 1.0])[:, None])
    return WindowSet(
        {"raw": x.astype(np.float32)},
        np.arange(len(who)) % 2,
        ["a", "b"],
        {"raw": ["x", "y", "z"]},
        subject=np.array([f"P{k}" for k in who]) if subject else None,
        units={"raw": list(units)} if units else {},
    )


def test_plain_windows_raise_no_doubt_and_equal_windows_of_two_people_do():
    assert doubts_of(windows()) == []
    copied = windows()
    copied.windows["raw"][25] = copied.windows["raw"][24]  # a person's own windows may be equal
    copied.windows["raw"][100:110] = copied.windows["raw"][20:30]  # P5 has ten windows of P1
    (line,) = doubts_of(copied)
    assert line.startswith("10 windows of P1 are equal to windows of P5: are they one person under two names")


def test_windows_of_training_that_are_tested_are_told_where_people_are_unknown():
    unknown = windows(subject=False)
    unknown.windows["raw"][100] = unknown.windows["raw"][0]
    assert doubts_of(unknown) == []
    split = windows(subject=False)
    split.windows["raw"][100] = split.windows["raw"][0]
    object.__setattr__(split, "test", np.arange(120) >= 100)
    (line,) = doubts_of(split)
    assert "a net is tested on what it knows" in line


def test_another_unit_of_one_person_and_a_unit_that_gravity_contradicts():
    mixed = windows(units=None)
    mixed.windows["raw"][40:60] *= 9.81
    size = np.sqrt((mixed.windows["raw"].astype(np.float64) ** 2).reshape(6, 20, 3, 40).mean(axis=(1, 3)))
    ratio = (size / np.median(size, axis=0))[2]
    (line,) = doubts_of(mixed)
    assert line.startswith("values of P2 are of another size")
    assert ", ".join(f"{c} {r:.2g} times" for c, r in zip("xyz", ratio, strict=True)) in line
    assert "units of x, y, z are g, but they have a length of" in doubts_of(windows(size=9.81))[0]
    assert "are they in g?" in doubts_of(windows(units=["m/s^2"] * 3))[0]
    assert doubts_of(windows(units=["m/s^2"] * 3, size=9.81)) == []
    assert doubts_of(windows(units=["deg/s"] * 3, size=100)) == []


def test_windows_of_a_sensor_that_was_off():
    off = windows()
    off.windows["raw"][::4] = 0.0
    assert "30 windows have one value in every channel, as of a sensor that is off" in doubts_of(off)


def predicted(new):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (60, 3, 40)) + np.array([0.0, 0.0, 1.0])[:, None]
    ArrayDataModule(x, np.arange(60) % 2, np.arange(60) // 10, x_predict=new(x), channels=["x", "y", "z"]).setup()


def test_windows_to_predict_in_another_unit_are_a_warning():
    with pytest.warns(UserWarning, match=r"is x 9\.\d times, y 9\.\d times, z 9\.\d times that of these"):
        predicted(lambda x: 9.81 * x)
    with pytest.warns(UserWarning, match=r"x 0\.1\d? times, y 0\.1\d? times, z 0\.1\d? times"):
        predicted(lambda x: x / 9.81)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted(lambda x: 2 * x)
        predicted(lambda x: x * np.array([0.01, 0.01, 1.0])[:, None])  # one sensor at rest


def test_root_mean_square_is_that_of_float64_over_windows_spread_evenly():
    x = np.random.default_rng(0).normal(size=(2500, 2, 4)).astype(np.float32)
    rows = np.arange(0, 2500, 2)
    seen = rows[np.unique(np.linspace(0, len(rows) - 1, 1000).astype(int))]
    expected = np.sqrt((x[seen].astype(np.float64) ** 2).mean(axis=(0, 2)))
    np.testing.assert_allclose(root_mean_square(x, rows), expected, rtol=1e-12)
