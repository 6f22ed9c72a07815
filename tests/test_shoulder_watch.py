"""ShoulderWatch: the recordings as seglearn's own reader gives them, the split by people, and what is refused."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import io
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import pytest

from kdlab.augment import Rotation
from kdlab.data import ShoulderWatch
from kdlab.data import shoulder_watch as module
from kdlab.types import InputError, MissingFileError
from kdlab.views import Raw

needs = pytest.mark.skipif(importlib.util.find_spec("seglearn") is None, reason="seglearn is not installed")


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    """What seglearn's own code reads, which trusts its file."""
    content: dict[str, Any] = np.load(module.find_file(), allow_pickle=True).item()
    return content


@needs
def test_the_recordings_are_those_of_seglearn(official: dict[str, Any]) -> None:
    ours = module.read_recordings(module.find_file().read_bytes(), "it")
    assert ours.keys() == official.keys()
    for key in ("y", "subject", "side"):
        assert np.array_equal(ours[key], official[key])
    assert all(np.array_equal(a, b) for a, b in zip(ours["X"], official["X"], strict=True))
    assert ours["y_labels"] == official["y_labels"]
    assert len(ours["X"]) == 140
    assert sum(map(len, ours["X"])) / 50 / 60 == pytest.approx(81, abs=1)


@needs
@pytest.mark.parametrize(("window", "step"), [(200, 100), (150, 150), (64, 7)])
def test_windows_are_cut_within_recordings(official: dict[str, Any], window: int, step: int) -> None:
    data = ShoulderWatch(window=window, step=step)
    data.setup()
    kept, place = data.data, 0
    for k, x in enumerate(official["X"]):
        arm = ["left", "right"][int(official["side"][k])]
        name = f"{official['subject'][k]}-{arm}-{official['y_labels'][official['y'][k]]}"
        for start in range(0, len(x) - window + 1, step):
            assert np.array_equal(kept.windows["raw"][place], x[start : start + window].T.astype(np.float32))
            assert kept.target[place] == official["y"][k]
            assert kept.recording is not None
            assert kept.recording[place] == name
            place += 1
    assert place == len(kept)
    assert (kept.window, kept.step, kept.sampling_rate) == (window, step, 50.0)
    assert len(set(kept.recording.tolist())) == 140  # type: ignore[union-attr]


@needs
def test_channels_units_and_people() -> None:
    data = ShoulderWatch()
    names = [f"{sensor}_{axis}" for sensor in ("accelerometer", "gyroscope") for axis in "xyz"]
    assert data.channels == {"raw": names}
    assert data.data.units["raw"] == ["g"] * 3 + ["rad/s"] * 3
    x = data.data.windows["raw"]
    assert np.median(np.linalg.norm(x[:, :3], axis=1)) == pytest.approx(1, abs=0.1)
    groups = {stage: set(data.fingerprint[stage]) for stage in ("train", "val", "test")}
    assert set.union(*groups.values()) == {str(k) for k in range(1, 11)}
    assert sum(map(len, groups.values())) == 10
    assert min(len(groups["val"]), len(groups["test"])) >= 2
    assert data.fingerprint["grouping"] == "subject"
    named = ShoulderWatch(test_subjects=[3, "7"], val_subjects=[1, 2])
    assert {s for b in named.batches("test") for s in named.subject_of(b.index.tolist())} == {"3", "7"}
    assert all(count["windows"] > 50 for count in data.counts.values())
    for stage in ("train", "val", "test"):  # everybody did everything
        labels = np.concatenate([b.target.numpy() for b in data.batches(stage)])
        assert len(np.unique(labels)) == 7


@needs
@pytest.mark.parametrize(("sensors", "rows"), [(["gyroscope"], [3, 4, 5]), ("accelerometer", [0, 1, 2])])
def test_sensors_by_name(sensors: Any, rows: list[int]) -> None:
    both, one = ShoulderWatch(), ShoulderWatch(sensors=sensors)
    assert np.array_equal(one.data.windows["raw"], both.data.windows["raw"][:, rows])
    assert one.channels["raw"] == [both.channels["raw"][c] for c in rows]
    assert one.data.units["raw"] == [both.data.units["raw"][c] for c in rows]
    view = Raw(channels=tuple(one.channels["raw"]))
    seen = next(ShoulderWatch(views={"one": view}).batches("val", 8)).views["one"].numpy()
    assert np.allclose(seen, next(one.batches("val", 8)).views["raw"].numpy(), atol=1e-6)


@needs
def test_a_rotation_finds_both_sensors() -> None:
    data = ShoulderWatch(augment=Rotation(30), scale="none", batch_size=16, views={"raw": Raw(), "raw/clean": None})
    batch = next(iter(data.train_dataloader())).views
    for rows in (slice(0, 3), slice(3, 6)):
        norms = [np.linalg.norm(batch[name][:, rows].numpy(), axis=1) for name in ("raw", "raw/clean")]
        assert np.allclose(*norms, rtol=1e-4, atol=1e-5)
    assert not np.allclose(batch["raw"].numpy(), batch["raw/clean"].numpy(), atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sensors": ["magnetometer"]}, "sensors must be one or both of accelerometer, gyroscope, but got"),
        ({"sensors": []}, "sensors must be"),
        ({"sensors": ["gyroscope", "gyroscope"]}, "sensors must be"),
        ({"window": 0}, "window must be a whole number of samples from 1 on, but got 0"),
        ({"step": 1.5}, "step must be a whole number"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"ShoulderWatch: {message}"):
        ShoulderWatch(**arguments)


@needs
def test_a_window_longer_than_every_recording_is_refused() -> None:
    with pytest.raises(InputError, match="no windows"):
        ShoulderWatch(window=100_000).setup()


def test_yaml() -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=ShoulderWatch)
    text = "data: {class_path: ShoulderWatch, init_args: {sensors: [gyroscope], window: 100, step: 50, batch_size: 16}}"
    data = (getattr(parser, "instantiate", None) or parser.instantiate_classes)(parser.parse_string(text)).data
    assert (data.sensors, data.window, data.step, data.batch_size) == (["gyroscope"], 100, 50, 16)


def test_without_the_package_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingFileError, match=r'not installed\. Install it: pip install "kdlab\[shoulder\]"'
    ) as caught:
        ShoulderWatch().setup()
    assert "\n" not in str(caught.value)
    package = importlib.machinery.ModuleSpec("seglearn", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    with pytest.raises(MissingFileError, match=r"is installed without data/watch_dataset\.npy"):
        ShoulderWatch().setup()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/watch_dataset.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(InputError, match=r"must have the SHA-256 digest .* half-written or of another version"):
        ShoulderWatch().setup()


@needs
def test_the_package_is_found_and_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "seglearn", raising=False)  # of another test
    ShoulderWatch().setup()
    assert "seglearn" not in sys.modules


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def npy(value: Any) -> bytes:
    file = io.BytesIO()
    box = np.empty((), dtype=object)
    box[()] = value
    np.lib.format.write_array(file, box, version=(1, 0), allow_pickle=True)
    return file.getvalue()


def small(**changes: Any) -> dict[str, Any]:
    whole = {
        "X": [np.zeros((9, 6)), np.ones((12, 6))],
        "y": np.array([0, 1]),
        "subject": np.array([1, 2]),
        "side": np.array([0.0, 1.0]),
        "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
        "y_labels": ["PEN", "ROW"],
    }
    return {**whole, **changes}


def test_nothing_in_the_file_runs(tmp_path: Path) -> None:
    assert module.parse_recordings(npy(small()), "it")["y_labels"] == ["PEN", "ROW"]
    for evil in (small(X=[Evil(tmp_path / "ran")]), Evil(tmp_path / "ran")):
        contents = npy(evil)
        with pytest.raises(InputError, match=r"it must hold the recordings .* \(it would call (pathlib|builtins)"):
            module.parse_recordings(contents, "it")
    assert not (tmp_path / "ran").exists()
    header = npy(None)[:128]
    with pytest.raises(InputError, match=r"it would call posix\.system"):
        module.parse_recordings(header + pickle.dumps(os.system), "it")


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"\x93NUMPY\x02\x00junk",
        npy(small())[:-40],
        npy([1, 2]),
        npy(small(X_labels=["a"] * 6)),
        npy(small(X=[np.zeros((9, 5)), np.zeros((9, 6))])),
        npy(small(X=[np.zeros((9, 6)), [1.0]])),
        npy(small(y=np.array([0, 2]))),
        npy(small(side=np.array([0.0, 0.5]))),
        npy(small(subject=np.array([1]))),
    ],
)
def test_other_files_are_refused_in_one_line(contents: bytes) -> None:
    with pytest.raises(InputError, match="ShoulderWatch: it must hold the recordings of seglearn") as caught:
        module.parse_recordings(contents, "it")
    assert "\n" not in str(caught.value)


@needs
def test_the_known_digest_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = module.find_file().read_bytes()
    assert hashlib.sha256(contents).hexdigest() == module.SHA256
    changed = bytearray(contents)
    changed[9_000_000] ^= 1
    with pytest.raises(InputError, match="SHA-256"):
        module.read_recordings(bytes(changed), "it")
