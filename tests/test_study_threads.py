"""Threads of jobs that are measured by the time of their steps, and recorded for every later call of a study."""

import json

import pytest
import torch

from kdlab import Supervised, cli
from kdlab.nets import WideResNet
from kdlab.study import threads, threads_measured, windows
from kdlab.study.command import main
from kdlab.study.thread_speed import candidates, fewest, step_seconds
from kdlab.types import InputError
from tests.test_study import toy


@pytest.fixture(autouse=True)
def same_threads(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    windows.forget()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy(tmp_path)
    monkeypatch.setattr(threads_measured, "candidates", lambda processes: [1, 2, 4])
    return tmp_path


class Looking:
    """A runner that notes the threads of the process, and fails."""

    def __init__(self):
        self.seen = []

    def __call__(self, words, prepare):
        self.seen.append(torch.get_num_threads())
        raise ValueError("exploded")


def call(*words):
    looking = Looking()
    with pytest.raises((SystemExit, InputError)):
        main(["study.yaml", *words], looking, cli.check, cli.build)
    return looking.seen


def test_steps_are_timed_in_turns_and_leave_threads_and_random_numbers_as_they_were(monkeypatch):
    ticks, used = iter(range(1000)), []
    real = torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda number: used.append(number) or real(number))
    method = Supervised(WideResNet(10, 1, in_channels=3, num_classes=2))
    x, weights = torch.randn(4, 3, 16), method.net.head.weight.detach().clone()
    state, before = torch.get_rng_state(), torch.get_num_threads()
    found = step_seconds(method, x, [1, 2], 8, clock=lambda: next(ticks))
    assert set(found) == {1, 2}
    assert used[:4] == [1, 2, 1, 2]
    assert used[-1] == torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(method.net.head.weight, weights)  # they were steps
    assert all(seconds == 1 for seconds in found.values())


def test_the_fewest_threads_that_are_clearly_faster():
    assert fewest({1: 1.0}) == 1
    assert fewest({1: 0.01, 2: 0.16}) == 1
    assert fewest({1: 1.0, 2: 0.92, 4: 0.89}) == 4
    assert fewest({1: 1.0, 2: 0.6, 4: 0.58, 16: 0.5}) == 16
    assert candidates(1, 1) == [1]
    assert candidates(3, 8) == [1, 2]
    assert candidates(1, 6) == [1, 2, 4, 6]


def test_measured_threads_are_recorded_and_used_by_every_later_call(here, monkeypatch, capsys):
    timed = []

    def seconds(method, x, numbers, bound):
        timed.append((type(method).__name__, tuple(x.shape), tuple(numbers)))
        return {1: 1.0, 2: 0.4, 4: 0.39}

    monkeypatch.setattr(threads_measured, "step_seconds", seconds)
    assert set(call("--threads", "measure")) == {2}
    assert len(timed) == 1  # one net and batch for all rows
    assert timed[0][2] == (1, 2, 4)
    line = "threads: 2 for teacher and nets like it (1000.0 ms a step with 1 thread, 400.0 ms with 2, 390.0 ms with 4)"
    assert line in capsys.readouterr().out
    kept = json.loads((here / "runs/toy/study" / threads.RECORD).read_text())
    assert kept == {"threads": 1, "measure": True, "rows": {"teacher": 2, "scratch": 2, "kd": 2}}

    monkeypatch.setattr(threads_measured, "step_seconds", None)  # nothing is measured again
    for words in ([], ["--threads", "measure"], ["--only", "scratch/seed0"]):
        assert set(call(*words)) == {2}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert set(call()) == {2}
    assert "threads: as measured before (threads.json)" in capsys.readouterr().out
    assert set(call("--threads", "1")) == {1}
    assert "threads.json has another number" in capsys.readouterr().out
    assert set(call()) == {1}  # as the last call said


def test_by_default_one_thread_is_used_and_a_line_tells_what_more_would_bring(here, monkeypatch, capsys):
    monkeypatch.setattr(threads_measured, "step_seconds", lambda *_: {1: 1.0, 2: 0.5})
    assert set(call()) == {1}
    assert "nets like it" not in capsys.readouterr().out  # a study of few epochs
    (here / "runs/toy/study" / threads.RECORD).unlink()
    monkeypatch.setattr(threads_measured, "MANY", 10)
    assert set(call()) == {1}
    assert "500.0 ms with 2: 2 would be 2.0 times as fast (--threads measure)" in capsys.readouterr().out
    assert json.loads((here / "runs/toy/study" / threads.RECORD).read_text()) == {"threads": 1}


def test_the_number_of_the_environment_is_that_of_the_resumed_study_too(here, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    torch.set_num_threads(3)
    assert set(call()) == {3}
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    assert set(call()) == {3}


@pytest.mark.parametrize("content", ['{"threads": 0}', '{"threads": 1, "rows": {"kd": "2"}}', "[", '{"threads": true}'])
def test_a_damaged_record_is_refused(here, content):
    folder = here / "runs/toy/study"
    folder.mkdir(parents=True)
    (folder / threads.RECORD).write_text(content)
    with pytest.raises(InputError, match=r"threads\.json"):
        main(["study.yaml"], Looking(), cli.check, cli.build)


def test_jobs_on_a_gpu_are_not_measured(here, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = threads.threads_of("measure")
    assert found.number is None
    assert threads_measured.measured(found, {}, {}, cli.build, 1) is found
