"""Some jobs of a study in one call, and the threads that jobs compute with."""

import pytest
import torch

from kdlab import cli
from kdlab.data import BasicMotions
from kdlab.study import threads, windows
from kdlab.study.command import main
from kdlab.study.workers import pool_of
from kdlab.types import InputError
from tests.test_study import toy


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def failing(*_):
    raise ValueError("exploded")


# ---------------------------------------------------------------- several jobs
def test_several_jobs_run_in_the_order_of_the_study_and_read_the_data_once(here, monkeypatch, capsys):
    windows.forget()
    loaded, real = [], BasicMotions.load
    monkeypatch.setattr(BasicMotions, "load", lambda self: loaded.append(1) or real(self))
    main(["study.yaml", "--only", "kd/seed0", "--only", "teacher/shared"], cli.run, cli.check)
    done = {path.parent.relative_to(here / "runs").as_posix() for path in here.rglob("result.json")}
    assert len(done) == 2
    lines = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if ": validation " in line]
    assert lines == ["teacher/shared", "kd/seed0"]
    assert len(loaded) == 1
    assert not list(here.rglob("results.csv"))
    main(["study.yaml", "--only", "scratch/seed0", "--only", "kd/seed0"], cli.run, cli.check)  # one is done, one is not
    assert len(list(here.rglob("result.json"))) == 3
    assert capsys.readouterr().out.count("scratch/seed0: validation") == 1


def test_what_several_jobs_need_must_be_done_or_named(here):
    with pytest.raises(InputError, match=r"^--only: kd/seed0 needs teacher/shared first\.$"):
        main(["study.yaml", "--only", "kd/seed0", "--only", "scratch/seed0"], failing, cli.check)
    with pytest.raises(InputError, match=r"^--only: no job 'kd/seed9'"):
        main(["study.yaml", "--only", "teacher/shared", "--only", "kd/seed9"], failing, cli.check)


def test_of_several_jobs_those_that_failed_are_named(here, capsys):
    words = ["study.yaml", "--only", "teacher/shared", "--only", "kd/seed0", "--only", "scratch/seed1"]
    with pytest.raises(InputError, match=r"^--only: 3 of 3 jobs failed \(.*kd/seed0.*\)\. See above\.$"):
        main(words, failing, cli.check)
    out = capsys.readouterr().out
    assert "teacher/shared: FAILED: ValueError: exploded" in out
    assert "kd/seed0: FAILED: not run: it needs teacher/shared, which failed" in out


# ---------------------------------------------------------------- threads
@pytest.mark.parametrize(
    ("environment", "words", "expected", "shown"),
    [
        (None, [], 1, "threads: 1 per job"),
        (None, ["--threads", "2"], 2, "threads: 2 per job (--threads)"),
        ("3", [], 3, "threads: 3 per job (OMP_NUM_THREADS)"),
        ("3", ["--threads", "2"], 2, "threads: 2 per job (--threads)"),
    ],
)
def test_the_threads_of_a_job(environment, words, expected, shown, here, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    torch.set_num_threads(3)  # as torch does by itself
    seen = []

    def look(*_):
        seen.append(torch.get_num_threads())
        raise ValueError("exploded")

    with pytest.raises(SystemExit):
        main(["study.yaml", *words], look, cli.check)
    assert set(seen) == {expected}
    assert shown in capsys.readouterr().out
    torch.set_num_threads(3)
    with pytest.raises(InputError):
        main(["study.yaml", "--only", "scratch/seed0", *words], look, cli.check)
    assert seen[-1] == expected


def test_wrong_threads_and_those_beside_a_gpu(here, monkeypatch):
    with pytest.raises(InputError, match=r"^--threads: must be at least 1, but got 0\. Raise it\.$"):
        main(["study.yaml", "--threads", "0"], failing, cli.check)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = threads.threads_of(None)
    assert found.number is None
    assert "each on a GPU" in found.line


def test_the_threads_of_worker_processes():
    with pool_of(1, 2) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
