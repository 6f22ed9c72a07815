"""The measurement of the rules that choose an epoch: its arithmetic by hand, and a small run that resumes."""

import numpy as np
import pytest

from benchmarks.long import selection
from benchmarks.long.selection import RULES, halves, measure, run, table


def of(right, target):
    """Probabilities of epochs x windows: .9 where right, .2 where wrong, of two classes."""
    own = np.where(np.array(right), 0.9, 0.2)
    probabilities = np.empty((*own.shape, 2))
    index = np.array(target)[None, :, None]
    np.put_along_axis(probabilities, np.broadcast_to(index, (len(own), len(target), 1)), own[..., None], 2)
    np.put_along_axis(probabilities, np.broadcast_to(1 - index, (len(own), len(target), 1)), 1 - own[..., None], 2)
    return probabilities


def test_a_rule_is_measured_on_the_people_that_it_did_not_see():
    people = np.array(["a", "a", "b", "b"])
    target = np.array([0, 1, 0, 1])
    right = [[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 1, 0]]  # a chooses epoch 0, b epoch 1
    kept = {"epochs": of(right, target), "averaged": of([[1, 1, 1, 0]], target)[0], "target": target, "people": people}
    found = measure(kept)
    assert found["accuracy"] == pytest.approx(((0.0 + 0.5) / 2, 0.5))  # epoch 0 on b, epoch 1 on a
    assert found["loss"] == found["accuracy"]
    assert found["last"] == pytest.approx(((0.5 + 0.0) / 2, 2.0))
    assert found["averaged"] == pytest.approx(((0.5 + 1.0) / 2, 2.0))


def test_the_loss_and_the_accuracy_may_choose_different_epochs():
    accuracy, loss = np.array([0.6, 0.8, 0.7, 0.9]), np.array([0.5, 0.6, 0.7, 0.8])
    assert {rule: choose(loss, accuracy) for rule, choose in RULES.items()} == {
        "loss": 0,
        "accuracy": 3,
        "smoothed loss": 0,
        "smoothed accuracy": 3,
        "last": 3,
    }
    jumpy = np.array([0.6, 0.95, 0.5, 0.8, 0.8, 0.79])
    assert (RULES["accuracy"](loss, jumpy), RULES["smoothed accuracy"](loss, jumpy)) == (1, 5)


def test_halves_are_whole_people_and_recordings_of_every_class():
    people = np.array(["p1", "p1", "p2", "p3", "p3", "p2"])
    first = halves(people, np.array([0, 1, 0, 0, 1, 1]))
    assert first.tolist() == [True, True, False, True, True, False]
    recordings = np.array([str(i) for i in range(8)])
    first = halves(recordings, np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    assert first.reshape(2, 4).sum(1).tolist() == [2, 2]


def test_a_small_run_resumes_and_reads_no_test_window(tmp_path, monkeypatch, capsys):
    def refuse(self):
        raise AssertionError("a test window was read")

    monkeypatch.setattr("kdlab.data.BasicMotions.test_dataloader", refuse)
    folder = tmp_path / "basic_motions"
    folder.mkdir()
    task = selection.TASKS["basic_motions"]
    run(task, folder, 0, 0, epochs=3, depth=10)
    files = {file: file.stat().st_mtime_ns for file in folder.glob("*.npz")}
    assert len(files) == 3
    with np.load(folder / "split0-seed0-kd.npz") as kept:
        assert kept["epochs"].shape == (3, len(kept["target"]), 4)
        assert np.allclose(kept["epochs"].sum(2), 1, atol=1e-5)
        assert not np.array_equal(kept["averaged"], kept["epochs"][-1])  # the batch statistics are its own
    text = table(folder)
    (folder / "split0-seed0-kd.npz").unlink()
    run(task, folder, 0, 0, epochs=3, depth=10)
    again = {file: file.stat().st_mtime_ns for file in folder.glob("*.npz")}
    assert [file.name for file in files if files[file] != again[file]] == ["split0-seed0-kd.npz"]
    assert table(folder) == text  # from the same teacher and seed, the same student
