"""Cutting, splitting and checking windows."""

import numpy as np
import pytest

from kdlab.data.cutting import slide, window_starts
from kdlab.data.files import stretch
from kdlab.data.held_out import split_groups, split_recordings
from kdlab.data.moments import chunks, moments
from kdlab.data.splits import make_split
from kdlab.data.windows import WindowSet
from kdlab.types import InputError


def made(n=40, k=2, subjects=None, **changes) -> WindowSet:
    x = np.random.default_rng(0).normal(size=(n, 2, 8)).astype(np.float32)
    fields = {
        "windows": {"raw": x},
        "target": np.arange(n) % k,
        "classes": [str(c) for c in range(k)],
        "channels": {"raw": ["a", "b"]},
        "subject": None if subjects is None else np.arange(n) * subjects // n,
    }
    return WindowSet(**{**fields, **changes})


@pytest.mark.parametrize(
    ("length", "window", "step", "start"), [(17, 4, 3, 0), (17, 5, 5, 2), (3, 4, 1, 0), (4, 4, 1, 0)]
)
def test_slide_equals_a_loop(length, window, step, start):
    x = np.random.default_rng(0).normal(size=(3, length))
    loop = [x[:, s : s + window] for s in range(start, length - window + 1, step)]
    got = slide(x, window, step, start=start)
    assert got.dtype == np.float32
    assert got.shape == (len(loop), 3, window)
    if loop:
        np.testing.assert_array_equal(got, np.stack(loop).astype(np.float32))


def test_slide_refuses_what_makes_no_windows():
    with pytest.raises(InputError, match="step must be a number of samples of at least 1, but got 0"):
        window_starts(10, 4, 0)
    with pytest.raises(InputError, match=r"\(channels, samples\)"):
        slide(np.zeros((2, 2, 9)), 4, 1)


@pytest.mark.parametrize("count", [3, 6, 15, 40])
def test_held_out_groups_are_enough_and_disjoint(count):
    groups = [str(i) for i in range(count)]
    stay, held = split_groups(groups, 0.15, 2, seed=3)
    assert sorted(stay + held, key=int) == groups
    assert len(held) >= max(2, 0.15 * count)
    assert (stay, held) == split_groups(groups[::-1], 0.15, 2, seed=3)  # the order of the windows does not matter
    assert len({tuple(split_groups(groups, 0.15, 2, seed=s)[1]) for s in range(20)}) > 1


def test_held_out_groups_leave_every_class():
    groups = [str(i) for i in range(10)]
    classes = {g: {0} for g in groups} | {"4": {0, 1}, "7": {0, 1}, "2": {0, 2}}
    for seed in range(20):
        stay, held = split_groups(groups, 0.15, 2, seed, classes=classes)
        assert set().union(*(classes[g] for g in stay)) == {0, 1, 2}
        assert 1 in set().union(*(classes[g] for g in held))


def test_too_few_groups():
    with pytest.raises(InputError, match="2 groups"):
        split_groups(["a", "b"])
    with pytest.raises(InputError, match=r"val_fraction must be a number in .*, but got 1\.5"):
        split_groups(["a", "b", "c"], 1.5)


def test_recordings_are_held_out_per_class():
    label = {str(i): i % 4 for i in range(40)}
    stay, held = split_recordings(label, 0.15, seed=0)
    assert [sum(label[h] == k for h in held) for k in range(4)] == [2, 2, 2, 2]
    assert not set(stay) & set(held)
    assert len(split_recordings({"a": 0, "b": 0, "c": 0, "d": 1}, 0.1, 0)[1]) == 2  # never fewer than two


def test_moments_merge_chunks():
    x = (np.random.default_rng(0).normal(size=(97, 3, 5)) * [[1], [10], [0]] + [[0], [1000], [4]]).astype(np.float32)
    mean, std = moments(chunks(x, np.arange(97), size=10))
    np.testing.assert_allclose(mean, x.astype(float).mean(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, x.astype(float).std(axis=(0, 2)), rtol=1e-10)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 200])
def test_stretch_equals_interp(length):
    x = np.random.default_rng(0).normal(size=(3, length))
    at = np.linspace(0, length - 1, 64)
    want = np.stack([np.interp(at, np.arange(length), row) for row in x])
    np.testing.assert_allclose(stretch(x, 64), want, atol=1e-6)


def bad_window(value):
    x = np.zeros((40, 2, 8), dtype=np.float32)
    x[7, 1, 3] = x[9, 1, :2] = value
    return {"raw": x}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": bad_window(np.nan)}, "channel 'b': 3 NaN or infinite samples, the first in window 7"),
        ({"windows": bad_window(np.inf)}, "channel 'b': 3 NaN or infinite samples, the first in window 7"),
        ({"target": np.arange(40) % 3}, r"labels in 0..1 \(2 classes\), got 2 at window 2"),
        ({"target": np.arange(40) % 2 - 1}, "got -1 at window 0"),
        ({"target": np.arange(39) % 2}, "40 windows, but target has 39"),
        ({"target": np.zeros(0, dtype=int), "windows": {"raw": np.zeros((0, 2, 8), np.float32)}}, "no windows at all"),
        ({"channels": {"raw": ["a"]}}, "1 names for 2 channels"),
        ({"channels": {"raw": ["a", "a"]}}, "each name once"),
        ({"subject": np.arange(3)}, r"subject must be one value per window, shape \(40,\), but got shape \(3,\)"),
        ({"windows": {"raw": np.zeros((40, 8), np.float32)}}, r"got shape \(40, 8\)"),
    ],
)
def test_bad_windows_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        made(**changes)


def test_split_is_disjoint_by_subject_and_large_enough():
    data = made(n=200, subjects=20)
    for seed in range(5):
        split = make_split(data, seed=seed)
        groups = [set(split.groups[s]) for s in ("train", "val", "test")]
        assert sum(map(len, groups)) == len(set().union(*groups)) == 20
        assert len(groups[2]) == 4
        assert len(groups[1]) == 3  # 15 % of 16
        rows = np.concatenate(list(split.rows.values()))
        assert sorted(rows.tolist()) == list(range(200))
    assert split.grouping == "subject"


def test_named_subjects():
    data = made(n=100, subjects=10)
    split = make_split(data, test_subjects=[3, "4"], val_subjects=[5, 6])
    assert split.groups["test"] == ["3", "4"]
    assert split.groups["val"] == ["5", "6"]
    with pytest.warns(UserWarning, match="One subject"):
        make_split(data, test_subjects=[3], val_subjects=[5])


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"subjects": 10}, {"test_subjects": [3], "val_subjects": [3, 4]}, "subject 3 in two splits"),
        ({"subjects": 10}, {"test_subjects": [77]}, "no subject 77; there are 0, 1, 2"),
        ({"subjects": 10}, {"test_subjects": []}, "an empty list leaves an empty fold"),
        ({"subjects": 10}, {"test_subjects": list(range(10))}, "none is left to train on"),
        ({"subjects": 10}, {"test_subjects": list(range(8))}, "cannot give 2 for validation"),
        ({"subjects": 3}, {}, "3 subjects .* too few"),
        ({"subjects": 10}, {"split": "by_day"}, "by_day"),
        ({"subjects": 10}, {"val_fraction": 0.0}, "val_fraction must be .*, but got 0.0"),
        (
            {"subjects": 10},
            {"val_fraction": None, "val_count": 2},
            "val_fraction must be .*, but got None. Leave it out",
        ),
        ({"subjects": 10}, {"val_fraction": "0.2"}, "val_fraction must be .*, but got 0.2. Write a share"),
        ({"subjects": 10}, {"train_per_class": 0}, "train_per_class must be at least one, or null for all, but got 0"),
        ({"subjects": 10}, {"train_per_class": "3"}, "train_per_class must be at least one, .* but got '3'"),
        ({}, {"test_subjects": [1]}, "subjects of this data set are unknown"),
        ({"subjects": 10, "test": np.arange(40) % 2 == 0}, {}, "subject 0, 1, 2.* in two splits"),
        ({"subjects": 10, "classes": ["0", "1", "2"]}, {}, "no training window of class 2"),
        (
            {"subjects": 4, "target": np.repeat([0, 1], [30, 10])},
            {"test_subjects": [3]},
            "no training window of class 1",
        ),
    ],
)
def test_impossible_splits_are_refused(changes, arguments, message):
    with pytest.raises(InputError, match=message):
        make_split(made(**changes), **arguments)


def test_recordings_stay_whole_where_subjects_are_unknown():
    data = made(n=80, recording=np.arange(80) // 4, target=np.arange(80) // 4 % 2)
    split = make_split(data)
    assert split.grouping == "recording"
    assert sum(map(len, split.groups.values())) == 20
    assert {data.target[split.rows["val"][0]], data.target[split.rows["val"][-1]]} == {0, 1}


def test_random_windows_are_announced():
    with pytest.warns(UserWarning, match="too high"):
        split = make_split(made(n=100, subjects=10), split="random_windows")
    assert split.grouping == "window"
    assert split.groups["val"] == [str(i) for i in split.rows["val"]]
    with pytest.warns(UserWarning, match="Neither subjects nor recordings"):
        assert make_split(made(n=100)).grouping == "window"


def test_few_recordings_per_class():
    data = made(n=200, subjects=10, recording=np.arange(200) // 5, target=np.arange(200) // 5 % 2)
    full, few = make_split(data), make_split(data, train_per_class=3)
    assert set(few.rows["train"]) < set(full.rows["train"])
    for k in range(2):
        rows = few.rows["train"][data.target[few.rows["train"]] == k]
        assert len(set(data.recording[rows].tolist())) == 3
    assert all((few.rows[s] == full.rows[s]).all() for s in ("val", "test"))
