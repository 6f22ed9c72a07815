"""Memory and time of the data path do not grow with what they need not grow with."""

import pickle
import tracemalloc

import numpy as np
import pytest
import torch

from kdlab.data import ArrayDataModule
from kdlab.data.mapped import MappedWindows
from kdlab.data.moments import SAMPLES, chunk_size, chunks
from kdlab.data.sampler import OrderedSampler, TrainSampler
from kdlab.data.windows import check_finite
from kdlab.types import InputError


@pytest.fixture
def files(tmp_path):
    """The same windows as float32 (N, C, T) and as float64 (N, T, C), mapped, and in memory."""
    x = np.random.default_rng(0).normal(size=(400, 3, 50))
    np.save(tmp_path / "nct.npy", x.astype(np.float32))
    np.save(tmp_path / "ntc.npy", x.swapaxes(1, 2).copy())
    nct, ntc = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("nct", "ntc"))
    return x, nct, ntc


def module(x, **changes):
    n = len(x)
    return ArrayDataModule(x, np.arange(n) % 2, np.arange(n) * 10 // n, batch_size=32, seed=3, **changes)


def batch(data):
    return next(iter(data.train_dataloader())).views["raw"]


def test_mapped_windows_mean_what_windows_in_memory_mean(files):
    x, nct, ntc = files
    expected = module(x)
    expected.setup()
    for data in (module(nct), module(ntc, layout="NTC"), module(np.asarray(nct)), module(nct[:])):
        data.setup()
        assert isinstance(data.data.windows["raw"], MappedWindows)
        assert data.fingerprint == expected.fingerprint
        assert data.training_view("raw") == expected.training_view("raw")
        assert torch.equal(batch(data), batch(expected))


def test_mapped_windows_with_a_test_split(files):
    x, nct, ntc = files
    n, y = len(x), np.arange(len(x)) % 2
    settings = {"subject": np.arange(n) * 10 // n, "y_test": y, "subject_test": 10 + np.arange(n) * 2 // n}
    expected = ArrayDataModule(x, y, x_test=x + 1, **settings)
    mapped = ArrayDataModule(nct, y, x_test=x + 1, **settings)
    for data in (expected, mapped):
        data.setup()
    assert expected.fingerprint == mapped.fingerprint
    for a, b in zip(expected.batches("test"), mapped.batches("test"), strict=True):
        assert torch.equal(a.views["raw"], b.views["raw"])
    rows = np.array([0, n + 3, n - 1, 2 * n - 1, -1])
    np.testing.assert_array_equal(mapped.data.windows["raw"][rows], expected.data.windows["raw"][rows])
    both = MappedWindows.joined(MappedWindows([nct]), MappedWindows([ntc.swapaxes(1, 2)]))
    np.testing.assert_array_equal(both[n - 2 : n + 2], np.concatenate([x[-2:], x[:2]]).astype(np.float32))
    np.testing.assert_array_equal(both[n], x[0].astype(np.float32))
    assert both.shape == np.asarray(both).shape == (2 * n, 3, 50)


@pytest.mark.parametrize("rows", [slice(None), slice(40, 7, -3), slice(100, 300, 2)])
def test_another_process_opens_the_file(files, rows):
    for part in (files[1][rows], files[2].swapaxes(1, 2)[rows]):
        windows = MappedWindows([part])
        sent = pickle.dumps(windows)
        assert len(sent) < 2000  # the samples stay where they are
        again = pickle.loads(pickle.dumps(pickle.loads(sent)))
        np.testing.assert_array_equal(again[:], windows[:])
    x = files[1][:4]
    in_memory = pickle.loads(pickle.dumps(MappedWindows([np.array(x)])))
    np.testing.assert_array_equal(in_memory[:], x)


def test_changed_copies_of_a_file_are_what_is_read(files, tmp_path):
    changed = np.load(tmp_path / "nct.npy", mmap_mode="c")
    changed[0] = 7.0
    assert (pickle.loads(pickle.dumps(MappedWindows([changed])))[0] == 7.0).all()


def test_bad_samples_are_found_on_disk(files, tmp_path):
    x = files[0].swapaxes(1, 2).copy()
    x[123, 4, 1] = 1e39  # too large for float32
    np.save(tmp_path / "bad.npy", x)
    with pytest.raises(InputError, match=r"channel 'channel_1': 1 NaN or infinite samples, the first in window 123"):
        module(np.load(tmp_path / "bad.npy", mmap_mode="r"), layout="NTC").setup()


def test_memory_does_not_grow_with_the_windows(tmp_path):
    """Setting up and a batch take a few bytes a window, not its samples or a Python object for it."""
    n, width = 200_000, 64
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (n, width, 1))
    for start in range(0, n, 10_000):
        file[start : start + 10_000] = np.random.default_rng(start).normal(size=(10_000, width, 1))
    data = ArrayDataModule(
        np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(n) % 3, np.arange(n) * 20 // n, layout="NTC"
    )
    tracemalloc.start()
    data.setup()
    setup = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    batch(data)
    order = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert setup < 50 * n + 4e6  # 102 MB of samples; chunks of 1024 windows are 1.5 MB
    assert order < 30 * n + 1e6  # a list of (epoch, position) pairs would take 100 bytes a window
    assert len(str(data.fingerprint)) < 3000


def test_samplers_do_not_list_their_windows():
    for sampler in (TrainSampler(10**6, batch_size=64, seed=1), OrderedSampler(10**6)):
        tracemalloc.start()
        next(iter(sampler))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 30e6


def test_chunks_are_bounded_in_samples():
    assert chunk_size(np.empty((5000, 3, 500))) == 1024
    wide = np.lib.stride_tricks.as_strided(np.zeros(1), (5000, 40, 2000), (0, 0, 0))
    assert chunk_size(wide) == SAMPLES // 80_000 == 52
    assert chunk_size(np.lib.stride_tricks.as_strided(np.zeros(1), (3, 1, 10**7), (0, 0, 0))) == 1
    assert {len(part) for part in chunks(wide[:160])} == {52, 4}
    bad = np.zeros((160, 40, 2000), np.float32)
    bad[150, 3, 5] = np.nan
    with pytest.raises(InputError, match="'3': 1 NaN or infinite samples, the first in window 150"):
        check_finite(bad, "raw", [str(c) for c in range(40)])


@pytest.mark.parametrize("words", [np.array(["run", "walk"]), np.array(["run", "walk"], dtype=object)])
def test_labels_in_words(words):
    x = np.random.default_rng(0).normal(size=(120, 1, 20))
    label = words[np.arange(120) % 2]
    data = ArrayDataModule(x, label, np.arange(120) // 10, classes=["walk", "sit", "run"])
    assert data.load().target.tolist() == [2, 0] * 60
    with pytest.raises(InputError, match="labels walk are not among the classes"):
        ArrayDataModule(x, label, np.arange(120) // 10, classes=["run"]).setup()
