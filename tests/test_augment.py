"""Augmentations: what each does to a window, how it draws, what it refuses, and that YAML finds it."""

import inspect
import pickle

import jsonargparse
import numpy as np
import pytest

from kdlab import augment as module
from kdlab.augment import Augmentation, Corruption, Mix1, Mix2, Noise, Removal, Shift, augment
from kdlab.types import InputError


def _walk(cls):
    for one in cls.__subclasses__():
        windows = one.__module__ == module.__name__ and 2 in one.sample_ndims  # those of images: test_images.py
        if windows and not inspect.isabstract(one):
            yield one
        yield from _walk(one)


ALL = [
    *(cls() for cls in sorted(set(_walk(Augmentation)), key=lambda cls: cls.__name__)),
    *(Corruption(kind, severity) for kind in ("noise", "missing", "both", "shift") for severity in (1, 2, 3)),
]


def window(channels=4, length=100, dtype=np.float32):
    """No sample is zero."""
    return (np.random.default_rng(5).standard_normal((channels, length)) + 10).astype(dtype)


def test_the_walk_finds_them():
    assert {Removal, Noise, Shift, Mix1, Mix2, Corruption} == set(_walk(Augmentation))


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
        assert one(window(1, length), np.random.default_rng(0)).shape == (1, length)


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


def test_five_names():
    for name, cls in {"removal": Removal, "noise": Noise, "shift": Shift, "mix1": Mix1, "mix2": Mix2}.items():
        a, b = np.random.default_rng(1), np.random.default_rng(1)
        assert np.array_equal(augment(name, window(), a), cls()(window(), b))
    with pytest.raises(InputError, match=r"name: expected one of removal, noise, shift, mix1, mix2, got 'crop'"):
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
    ],
)
def test_bad_parameters_are_named(cls, arguments):
    with pytest.raises(InputError, match=rf"{next(iter(arguments))}: expected .* got "):
        cls(**arguments)


def test_bad_windows_are_refused():
    rng = np.random.default_rng(0)
    for bad in (np.zeros(5), np.zeros((2, 3, 4)), np.zeros((0, 4))):
        with pytest.raises(InputError, match=r"window: expected \(C, T\)"):
            Noise()(bad, rng)
    with pytest.raises(InputError, match="floats, got int64"):
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
