"""Augmentations: what each does to a window, how it draws, what it refuses, and that YAML finds it."""

import hashlib
import inspect
import math
import pickle
from dataclasses import dataclass, field

import jsonargparse
import numpy as np
import pytest

from kdlab.augment import (
    Augmentation,
    Constants,
    Corruption,
    Mix1,
    Mix2,
    Noise,
    Permutation,
    Removal,
    Rotation,
    Scaling,
    Shift,
    TimeWarp,
    augment,
)
from kdlab.types import InputError


def _walk(cls):
    for one in cls.__subclasses__():
        windows = (
            one.__module__.startswith("kdlab.augment") and 2 in one.sample_ndims
        )  # those of images: test_images.py
        if windows and not inspect.isabstract(one):
            yield one
        yield from _walk(one)


ALL = [
    *(cls() for cls in sorted(set(_walk(Augmentation)), key=lambda cls: cls.__name__)),
    *(Corruption(kind, severity) for kind in ("noise", "missing", "both", "shift") for severity in (1, 2, 3)),
    Rotation(None, together=False),
    Rotation(20, triples=((2, 0, 1),)),
    Permutation(3, min_length=1),
]


def window(channels=6, length=100, dtype=np.float32):
    """No sample is zero."""
    return (np.random.default_rng(5).standard_normal((channels, length)) + 10).astype(dtype)


def test_the_walk_finds_them():
    expected = {Removal, Noise, Shift, Mix1, Mix2, Corruption, Rotation, Scaling, TimeWarp, Permutation}
    assert expected == set(_walk(Augmentation))


@pytest.mark.parametrize("one", ALL, ids=str)
def test_contract(one):
    for dtype in (np.float32, np.float64):
        x = window(dtype=dtype)
        before = x.copy()
        out = one(x, np.random.default_rng(3))
        assert np.array_equal(x, before)
        assert not np.shares_memory(out, x)
        assert out.shape == x.shape
        assert out.dtype == dtype
        assert np.isfinite(out).all()
        assert np.array_equal(out, one(x, np.random.default_rng(3)))
    assert any(not np.array_equal(out, one(x, np.random.default_rng(seed))) for seed in range(4, 9))
    x.setflags(write=False)
    one(x, np.random.default_rng(0))
    assert pickle.loads(pickle.dumps(one)) == one
    assert len({one, type(one)()}) <= 2
    assert all(p.default is not p.empty for p in inspect.signature(type(one)).parameters.values())


@pytest.mark.parametrize("one", ALL, ids=str)
def test_short_windows(one):
    for length in (1, 2, 3):
        assert one(window(3, length), np.random.default_rng(0)).shape == (3, length)


def test_removal_zeroes_one_stretch_of_all_channels():
    starts, lengths = set(), set()
    for seed in range(3000):
        out = Removal(0.5)(window(2, 20), np.random.default_rng(seed))
        gone = out[0] == 0
        assert np.array_equal(gone, out[1] == 0)
        places = np.flatnonzero(gone)
        assert 1 <= places.size <= 10
        assert places[-1] - places[0] == places.size - 1
        assert np.array_equal(out[:, ~gone], window(2, 20)[:, ~gone])
        starts.add(int(places[0]))
        lengths.add(places.size)
    assert starts == set(range(20))
    assert lengths == set(range(1, 11))


def test_noise_has_one_strength_up_to_the_largest():
    zeros = np.zeros((3, 4000))
    strengths = []
    for seed in range(300):
        out = Noise(0.2)(zeros, np.random.default_rng(seed))
        strength = out.std(axis=1)
        assert np.allclose(strength, strength[0], rtol=0.1)
        assert abs(np.corrcoef(out)[0, 1]) < 0.1  # independent samples, shared strength
        strengths.append(strength[0])
    assert 0.19 < max(strengths) < 0.21
    assert min(strengths) < 0.01
    assert abs(np.mean(strengths) - 0.1) < 0.015


def test_shift_rolls_all_channels_alike():
    x = np.stack([np.arange(10.0), np.arange(10.0) + 100])
    seen = set()
    for seed in range(500):
        out = Shift(0.5)(x, np.random.default_rng(seed))
        seen.add(int(np.flatnonzero(out[0] == 0)[0]))
        assert np.array_equal(out[1], out[0] + 100)
        assert np.array_equal(np.sort(out[0]), x[0])
    assert seen == set(range(10))  # -5..5, and -5 is 5


def test_mixtures_are_their_parts_in_order():
    for seed in range(20):
        x = window()
        rng = np.random.default_rng(seed)
        assert np.array_equal(Mix1()(x, np.random.default_rng(seed)), Shift()(Removal()(x, rng), rng))
        rng = np.random.default_rng(seed)
        assert np.array_equal(Mix2()(x, np.random.default_rng(seed)), Shift()(Noise()(Removal()(x, rng), rng), rng))


def test_names():
    named = {"removal": Removal, "noise": Noise, "shift": Shift, "mix1": Mix1, "mix2": Mix2, "rotation": Rotation}
    named |= {"scaling": Scaling, "time_warp": TimeWarp, "permutation": Permutation}
    for name, cls in named.items():
        a, b = np.random.default_rng(1), np.random.default_rng(1)
        assert np.array_equal(augment(name, window(), a), cls()(window(), b))
    with pytest.raises(InputError, match=r"name must be one of removal, noise, shift, mix1, mix2, .*, but got 'crop'"):
        augment("crop", window(), np.random.default_rng(0))


@pytest.mark.parametrize(("severity", "std", "ratio"), [(1, 0.06, 0.15), (2, 0.09, 0.22), (3, 0.12, 0.30)])
def test_corruptions(severity, std, ratio):
    rng = np.random.default_rng(0)
    ones, zeros = np.ones((3, 200)), np.zeros((3, 20000))
    assert abs(Corruption("noise", severity)(zeros, rng).std() - std) < 0.01 * std + 1e-3
    lost = Corruption("missing", severity)(ones, rng) == 0
    assert (lost.sum(axis=1) == round(ratio * 200)).all()
    assert (lost == lost[0]).all()
    both = Corruption("both", severity)(ones, rng)
    assert abs((np.abs(both) < 0.5).mean() - ratio) < 0.01
    x = np.arange(200.0)[None]
    moved = {int(np.flatnonzero(Corruption("shift", severity)(x, rng)[0] == 0)[0]) for _ in range(50)}
    assert moved == {round(ratio * 200), 200 - round(ratio * 200)}


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (Removal, {"max_fraction": 1.5}),
        (Removal, {"max_fraction": -0.1}),
        (Noise, {"max_std": -1}),
        (Noise, {"max_std": float("nan")}),
        (Shift, {"max_fraction": "half"}),
        (Mix1, {"max_removal": 2}),
        (Mix1, {"max_shift": 2}),
        (Mix2, {"max_std": float("inf")}),
        (Corruption, {"kind": "blur"}),
        (Corruption, {"severity": 4}),
        (Rotation, {"max_angle": 200}),
        (Scaling, {"std": -0.1}),
        (TimeWarp, {"std": float("inf")}),
        (TimeWarp, {"knots": 0}),
        (Permutation, {"segments": 1}),
        (Permutation, {"min_length": 0.5}),
    ],
)
def test_bad_parameters_are_named(cls, arguments):
    with pytest.raises(InputError, match=rf"{next(iter(arguments))} must be .*, but got "):
        cls(**arguments)


def test_bad_windows_are_refused():
    rng = np.random.default_rng(0)
    for bad in (np.zeros(5), np.zeros((2, 3, 4)), np.zeros((0, 4))):
        with pytest.raises(InputError, match=r"window must be \(C, T\)"):
            Noise()(bad, rng)
    with pytest.raises(InputError, match="floats, but got int64"):
        Noise()(np.zeros((2, 4), np.int64), rng)


class Holder:
    def __init__(self, augmentation: Augmentation | None = None, test: Augmentation | None = None):
        self.augmentation, self.test = augmentation, test


def test_yaml_with_bare_class_names():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Holder, "holder")
    text = "holder: {augmentation: Mix1, test: {class_path: Corruption, init_args: {kind: missing, severity: 3}}}"
    config = parser.parse_string(text)
    holder = (getattr(parser, "instantiate", None) or parser.instantiate_classes)(config).holder
    assert holder.augmentation == Mix1()
    assert holder.test == Corruption("missing", 3)


# ---- frozen: standardised windows are changed as they were before there were constants -----------------------------
FROZEN = [
    (Removal(max_fraction=0.5), False, "63fb64bf4dad4ac6"),
    (Removal(max_fraction=0.2), False, "398eecb7dd886777"),
    (Noise(max_std=0.2), False, "a2592c212ec0c396"),
    (Noise(max_std=0.7), False, "4e2f57682ea41f4c"),
    (Shift(max_fraction=0.5), False, "70429b2140ddb94b"),
    (Mix1(max_removal=0.5, max_shift=0.5), False, "3a6913ac60df5874"),
    (Mix2(max_removal=0.5, max_std=0.2, max_shift=0.5), False, "18031be0637f3f6b"),
    (Corruption(kind="noise", severity=1), False, "a56c8ebbeb94c0fe"),
    (Corruption(kind="noise", severity=2), False, "7ce500e00fcf2a49"),
    (Corruption(kind="noise", severity=3), False, "0da5c63e1c71da57"),
    (Corruption(kind="missing", severity=1), False, "297373ab653cfc5d"),
    (Corruption(kind="missing", severity=2), False, "b317d3778f376723"),
    (Corruption(kind="missing", severity=3), False, "13211859b3924d71"),
    (Corruption(kind="both", severity=1), False, "27276553df56fddc"),
    (Corruption(kind="both", severity=2), False, "e97a11f7f78e85fe"),
    (Corruption(kind="both", severity=3), False, "74bc73a35ffa8486"),
    (Corruption(kind="shift", severity=1), False, "4441c442dc2ad026"),
    (Corruption(kind="shift", severity=2), False, "0662efb3999e52f7"),
    (Corruption(kind="shift", severity=3), False, "e8c5c3e4f5ced1cc"),
    (Corruption(kind="noise", severity=2), True, "4798910d2b92d5fd"),
    (Corruption(kind="missing", severity=3), True, "5938f6a50ea3bb2a"),
    (Corruption(kind="both", severity=1), True, "961435e9ccf9e3c7"),
    (Corruption(kind="shift", severity=1), True, "913dfeb8afeefbe1"),
]


def fractions(dtype=np.float32):
    """Binary fractions, exact in float32."""
    return ((np.arange(3 * 40).reshape(3, 40) * 37 % 101) / 32 - 1.5).astype(dtype)


def constants(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), offset=(0.0, 0.0, 0.0), divisor=(1.0, 1.0, 1.0), names=None):
    return Constants(names or tuple(f"acc_{axis}" for axis in "xyz"), mean, std, offset, divisor)


@pytest.mark.parametrize(("one", "image", "frozen"), FROZEN, ids=lambda v: str(v))
def test_standardised_windows_are_changed_as_ever(one, image, frozen):
    for bound in (one, one.bind(constants(offset=(9.81, 0.0, 1.0), divisor=(3.0, 1.0, 2.0)))):
        digest = hashlib.sha256()
        if image:
            x = ((np.arange(3 * 48).reshape(3, 48) * 37 % 101) / 32 - 1.5).astype(np.float32).reshape(3, 6, 8)
            digest.update(bound(x, np.random.default_rng(1)).tobytes())
        else:
            for seed in range(6):
                for dtype in (np.float32, np.float64):
                    digest.update(bound(fractions(dtype), np.random.default_rng(seed)).tobytes())
        assert digest.hexdigest()[:16] == frozen
        assert bound == one
        assert repr(bound) == repr(one)


# ---- constants: the training mean and standard deviation, whatever the scale ----------------------------------------
@pytest.mark.parametrize(
    "one",
    [Removal(), Noise(), Mix1(), Mix2(), Shift(), *(Corruption(k, 2) for k in ("noise", "missing", "both", "shift"))],
    ids=str,
)
def test_strengths_are_those_of_the_standardised_window(one):
    """Change of the standardised window, brought to other units, is the change of the window in other units."""
    mean, std = np.array([0.4, -2.0, 7.0])[:, None], np.array([0.1, 3.0, 0.5])[:, None]
    standard = window(3, 64, np.float64) - 10
    bound = one.bind(constants(mean=tuple(mean.ravel()), std=tuple(std.ravel())))
    for seed in range(20):
        expected = one(standard, np.random.default_rng(seed)) * std + mean
        found = bound(standard * std + mean, np.random.default_rng(seed))
        assert np.allclose(found, expected, rtol=0, atol=1e-12)


def test_constants_pass_through_augmentations_of_a_users_own():
    both = Then(Removal(0.9), Noise(0.0)).bind(constants(mean=(5.0, 6.0, 7.0)))
    assert pickle.loads(pickle.dumps(both)).first.constants == both.constants
    gone = both(fractions(np.float64), np.random.default_rng(2)) == np.array([[5.0], [6.0], [7.0]])
    assert gone.all(axis=0).any()
    with pytest.raises(InputError, match="window: must have the 3 channels of the constants, but got 2"):
        both(fractions()[:2], np.random.default_rng(0))
    with pytest.raises(InputError, match="Constants: std must be one number per channel"):
        Constants(("a",), (0.0,), (), (0.0,), (1.0,))


@dataclass(frozen=True)
class Then(Augmentation):
    first: Augmentation = field(default_factory=Removal)
    second: Augmentation = field(default_factory=Noise)

    def apply(self, window, rng):
        return self.second(self.first(window, rng), rng)


def test_masked_samples_are_refused():
    x = np.ma.masked_less(fractions(), 0.0)
    with pytest.raises(InputError, match=r"window.* masked samples, but got \d+"):
        Noise()(x, np.random.default_rng(0))
    clear = np.ma.masked_array(fractions(), mask=False)
    assert np.array_equal(Shift()(clear, np.random.default_rng(1)), Shift()(fractions(), np.random.default_rng(1)))


# ---- rotation -------------------------------------------------------------------------------------------------------
def test_rotation_is_scipys():
    from scipy.spatial.transform import Rotation as Reference

    x = window(6, 30, np.float64)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        axis = rng.standard_normal(3)
        angle = math.radians(rng.uniform(-70, 70))
        turn = Reference.from_rotvec(angle * axis / np.linalg.norm(axis))
        out = Rotation(70)(x, np.random.default_rng(seed))
        assert np.allclose(out[:3], turn.apply(x[:3].T).T, atol=1e-12)
        assert np.allclose(out[3:], turn.apply(x[3:].T).T, atol=1e-12)  # one device
        rng = np.random.default_rng(seed)
        out = Rotation(None, together=False)(x, np.random.default_rng(seed))
        for rows in (slice(0, 3), slice(3, 6)):
            turn = Reference.from_quat(np.roll(rng.standard_normal(4), -1))  # its scalar is last
            assert np.allclose(out[rows], turn.apply(x[rows].T).T, atol=1e-12)


def test_uniform_rotations_and_angles_have_their_distributions():
    angles, images = [], []
    for seed in range(4000):
        rng = np.random.default_rng(seed)
        matrix = np.stack([Rotation(None)(row[:, None], np.random.default_rng(seed))[:, 0] for row in np.eye(3)], 1)
        angles.append(math.acos(np.clip((np.trace(matrix) - 1) / 2, -1, 1)))
        images.append(matrix[:, 0])
        assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) > 0
        small = Rotation(10)(np.array([[0.0], [0.0], [1.0]]), rng)[2, 0]
        assert small >= math.cos(math.radians(10)) - 1e-12
    grid = np.linspace(0, math.pi, 9)
    expected = (grid - np.sin(grid)) / math.pi  # Haar measure: density (1 - cos) / pi of the angle
    found = [(np.array(angles) <= limit).mean() for limit in grid]
    assert np.abs(np.array(found) - expected).max() < 0.03
    assert np.abs(np.mean(images, axis=0)).max() < 0.04
    assert np.abs(np.mean(np.square(images), axis=0) - 1 / 3).max() < 0.02


def test_rotation_acts_in_physical_units_and_leaves_other_channels_alone():
    names = ("heart_rate", "x_acc", "y_acc", "z_acc", "gyro_x", "gyro_y")
    offset, divisor = np.array([70.0, 0.0, 9.81, 0.0, 0.0, 0.0]), np.array([9.0, 2.0, 3.0, 4.0, 1.0, 1.0])
    known = Constants(names, (0.0,) * 6, (1.0,) * 6, tuple(offset), tuple(divisor))
    physical = window(6, 50, np.float64)
    scaled = (physical - offset[:, None]) / divisor[:, None]
    bound = Rotation(180).bind(known)
    out = bound(scaled, np.random.default_rng(4))
    back = out * divisor[:, None] + offset[:, None]
    assert np.array_equal(out[[0, 4, 5]], scaled[[0, 4, 5]])
    assert np.allclose(np.linalg.norm(back[1:4], axis=0), np.linalg.norm(physical[1:4], axis=0))
    assert not np.allclose(back[1:4], physical[1:4])
    turned = Rotation(180)(physical[1:4], np.random.default_rng(4))
    assert np.allclose(back[1:4], turned, atol=1e-12)


def test_triples_are_declared_or_plain_to_see():
    known = constants(names=("acc_x", "acc_y", "acc_z"))
    x, rng = fractions(np.float64), np.random.default_rng
    expected = Rotation()(x, rng(1))
    for one in (Rotation(triples=[["acc_x", "acc_y", "acc_z"]]), Rotation(triples=((0, 1, 2),)), Rotation()):
        assert np.array_equal(one.bind(known)(x, rng(1)), expected)
    with pytest.raises(InputError, match=r"triples must be given where no three .* are a, b, c\. Write triples: \[\["):
        Rotation().bind(constants(names=("a", "b", "c")))
    with pytest.raises(InputError, match=r"triples must be channels of acc_x, acc_y, acc_z, but got 'acc_w'"):
        Rotation(triples=[["acc_x", "acc_y", "acc_w"]]).bind(known)
    with pytest.raises(InputError, match=r"must be channels of .* but got 3"):
        Rotation(triples=[[1, 2, 3]])(x, rng(0))
    with pytest.raises(InputError, match="must be places where the channels have no names, but got 'acc_x'"):
        Rotation(triples=[["acc_x", "acc_y", "acc_z"]])(x, rng(0))
    with pytest.raises(InputError, match="got 4 channels, which is no multiple of 3"):
        Rotation()(window(4), rng(0))
    for bad in ([["a", "b"]], "xyz", [[0, 1, 1]], [[0, 1, True]], [], [[0, 1, 2], [2, 3, 4]], ["xyz"], 3):
        with pytest.raises(InputError, match="Rotation: triples must"):
            Rotation(triples=bad)


# ---- scaling, time warp, permutation --------------------------------------------------------------------------------
def test_scaling_has_one_factor_per_channel_in_physical_units():
    factors = []
    offset, divisor = np.array([1.0, 9.0, -4.0])[:, None], np.array([2.0, 0.5, 1.0])[:, None]
    bound = Scaling(0.2).bind(constants(offset=tuple(offset.ravel()), divisor=tuple(divisor.ravel())))
    physical = window(3, 20, np.float64)
    for seed in range(2000):
        out = Scaling(0.2)(physical, np.random.default_rng(seed))
        ratio = out / physical
        assert np.allclose(ratio, ratio[:, :1], rtol=1e-12)
        factors.append(ratio[:, 0])
        if seed < 20:
            scaled = bound((physical - offset) / divisor, np.random.default_rng(seed))
            assert np.allclose(scaled * divisor + offset, out, rtol=1e-12)
    assert np.abs(np.mean(factors, axis=0) - 1).max() < 0.02
    assert np.abs(np.std(factors, axis=0) - 0.2).max() < 0.01


def natural_spline(at, values, time):
    """The natural cubic spline from its equations, solved as one dense system for its second derivatives."""
    n, h = len(at), np.diff(at)
    system, right = np.zeros((n, n)), np.zeros(n)
    system[0, 0] = system[-1, -1] = 1.0
    for i in range(1, n - 1):
        system[i, i - 1 : i + 2] = h[i - 1] / 6, (h[i - 1] + h[i]) / 3, h[i] / 6
        right[i] = (values[i + 1] - values[i]) / h[i] - (values[i] - values[i - 1]) / h[i - 1]
    second = np.linalg.solve(system, right)
    out = []
    for t in time:
        i = min(int(np.searchsorted(at, t, side="right")) - 1, n - 2)
        a, b = (at[i + 1] - t) / h[i], (t - at[i]) / h[i]
        bend = ((a**3 - a) * second[i] + (b**3 - b) * second[i + 1]) * h[i] ** 2 / 6
        out.append(a * values[i] + b * values[i + 1] + bend)
    return np.array(out)


@pytest.mark.parametrize(("std", "knots", "length"), [(0.2, 4, 100), (0.8, 1, 7), (3.0, 9, 64), (0.5, 4, 2)])
def test_time_warp_is_the_equation(std, knots, length):
    x = window(3, length, np.float64)
    for seed in range(10):
        levels = std * np.random.default_rng(seed).standard_normal(knots + 2)
        speed = np.exp(natural_spline(np.linspace(0, length - 1, knots + 2), levels, np.arange(length)))
        passed = [0.0]
        for t in range(1, length):
            passed.append(passed[-1] + (speed[t - 1] + speed[t]) / 2)
        place = [(length - 1) * p / passed[-1] for p in passed]
        assert (np.diff(place) >= 0).all()
        expected = np.empty_like(x)
        for t, p in enumerate(place):
            left = min(int(p), length - 2)
            expected[:, t] = (left + 1 - p) * x[:, left] + (p - left) * x[:, left + 1]
        found = TimeWarp(std, knots)(x, np.random.default_rng(seed))
        assert np.allclose(found, expected, atol=1e-9)
        assert np.array_equal(found[:, 0], x[:, 0])
        assert np.allclose(found[:, -1], x[:, -1], atol=1e-12)


def test_permutation_cuts_and_orders_uniformly():
    x = np.arange(12.0)[None].repeat(2, axis=0)
    seen = {}
    for seed in range(6000):
        out = Permutation(3, min_length=3)(x, np.random.default_rng(seed))
        assert np.array_equal(out[0], out[1])
        assert np.array_equal(np.sort(out[0]), x[0])
        seen[tuple(out[0].astype(int))] = seen.get(tuple(out[0].astype(int)), 0) + 1
    expected = {}  # lengths (3 + a, 3 + b, 3 + c) with a + b + c = 3, ten of them, times six orders
    for a in range(4):
        for b in range(4 - a):
            cuts = [3 + a, 6 + a + b]
            parts = np.split(np.arange(12), cuts)
            for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
                key = tuple(np.concatenate([parts[k] for k in order]).tolist())
                expected[key] = expected.get(key, 0) + 100
    assert set(seen) == set(expected)
    assert sum((seen[k] - e) ** 2 / e for k, e in expected.items()) < len(expected) + 6 * math.sqrt(2 * len(expected))
    short = np.arange(7.0)[None]
    assert np.array_equal(Permutation(4, min_length=4)(short, np.random.default_rng(0)), short)
