"""Peaks of teachers and numbers of updates, measured: the arithmetic by hand, and small runs that resume."""

import numpy as np
import pytest

from benchmarks.long import peaks, updates
from benchmarks.long.peaks import EARLY, LATE, milestones, peak_of, schedules


def test_steps_come_at_the_shares_of_the_papers():
    assert milestones(EARLY, 200) == [11, 66, 133]  # .05, .01, .001, .0001
    assert milestones(LATE, 200) == [60, 120, 160]
    torch = pytest.importorskip("torch")
    rates = {}
    for name, make in schedules(20).items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
        schedule, rates[name] = make(optimizer), []
        for _ in range(20):
            rates[name].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    assert rates["constant"] == [0.05] * 20
    assert rates["early steps"] == pytest.approx([0.05] + [0.01] * 6 + [0.001] * 6 + [0.0001] * 7)
    assert rates["late steps"] == pytest.approx([0.05] * 6 + [0.01] * 6 + [0.002] * 4 + [0.0004] * 4)
    assert rates["cosine"] == pytest.approx(0.025 * (1 + np.cos(np.pi * np.arange(20) / 20)))


def test_the_peak_is_that_of_the_callback():
    loss = [0.9, 0.2, 0.8, 0.5, 0.4, 0.3, 0.6, 0.7]
    means = [np.mean(loss[i - 2 : i + 1]) for i in range(2, len(loss))]
    assert peak_of(loss, 0) == 2 + int(np.argmin(means)) == 5
    assert peak_of(loss, 6) == 6


def test_the_smallest_number_within_one_standard_error_of_the_best_is_chosen():
    accuracy = np.array([[0.70, 0.80, 0.84], [0.74, 0.86, 0.85], [0.72, 0.82, 0.83]])
    lost = accuracy[:, 2] - accuracy[:, 1]  # .04, -.01, .01: mean .0133, standard error .0145
    assert lost.mean() < lost.std(ddof=1) / np.sqrt(3)
    assert updates.chosen(accuracy) == 1
    accuracy[0, 1] = 0.83  # the difference is smaller, and its error more so
    assert updates.chosen(accuracy) == 1
    accuracy[:, 1] -= 0.05
    assert updates.chosen(accuracy) == 2


@pytest.mark.parametrize("module", [peaks, updates])
def test_a_small_run_resumes_and_reads_no_test_window(module, tmp_path, monkeypatch, capsys):
    def refuse(self):
        raise AssertionError("a test window was read")

    monkeypatch.setattr("kdlab.data.BasicMotions.test_dataloader", refuse)
    small = ["--epochs", "6", "--width", "1"] if module is peaks else ["--lengths", "2", "6"]
    words = [str(tmp_path), "--set", "basic_motions", "--splits", "2", "--depth", "10", *small]
    module.main(words)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npz")}
    assert len(files) == (8 if module is peaks else 4)
    text = (tmp_path / f"{module.__name__.rpartition('.')[2]}.md").read_text()
    assert ("| late steps | 2 |" if module is peaks else "accuracy, 2 splits") in text
    module.main(words)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npz")} == files
    assert text in capsys.readouterr().out + "\n"
