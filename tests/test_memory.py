"""Jobs that find no memory beside others, and the GPU of every process; GPUs are played by stand-ins."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import submitit
import torch

from kdlab.study import run as running
from kdlab.study.cluster import local
from kdlab.study.cluster.left import Left
from kdlab.study.cluster.settings import Slurm
from kdlab.study.cluster.stages import stages_of
from kdlab.study.job import attempt
from kdlab.study.memory import NoMemory, lacked
from kdlab.study.results import Survey
from kdlab.study.run import run_jobs
from kdlab.types import InputError
from tests.conftest import PATIENCE
from tests.test_study import plan, toy


def jobs_of(**needs):
    return {name: SimpleNamespace(name=name, stage="student", needs=tuple(needs[name])) for name in needs}


JOBS = {"big": (), "small": (), "late": ("big",)}


@pytest.mark.parametrize("enough", [True, False])
def test_a_job_without_memory_waits_and_is_run_again_alone(enough, monkeypatch, capsys):
    together, pools, now, lock = threading.Barrier(2), [], [], threading.Lock()

    def fit(job, runner):
        with lock:
            now.append(job.name)
        beside = len(pools) == 1 and job.name in ("big", "small")
        if beside:
            together.wait(PATIENCE)
        with lock:
            alone = now == [job.name]
        if job.name == "big" and (beside or not enough):
            found = None, NoMemory("OutOfMemoryError: CUDA out of memory")
        else:
            found = {"job": job.name, "alone": alone}, ""
        if beside:
            together.wait(PATIENCE)
        with lock:
            now.remove(job.name)
        return found

    @contextmanager
    def pool_of(processes, threads):
        pools.append(processes)
        with ThreadPoolExecutor(processes) as pool:
            yield pool

    monkeypatch.setattr(running, "_attempt_in_worker", fit)
    monkeypatch.setattr(running, "pool_of", pool_of)
    outcome = run_jobs(jobs_of(**JOBS), None, processes=2, found=Survey())
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "big: out of memory beside other jobs; it waits" in line] == lines[:1]
    assert pools[:2] == [2, 1]  # a process of its own
    if enough:
        assert [row["job"] for row in outcome.rows] == ["big", "small", "late"]
        assert outcome.rows[0]["alone"]
        assert not outcome.failures
    else:
        assert outcome.failures == {
            "big": "OutOfMemoryError: CUDA out of memory",
            "late": "not run: it needs big, which failed",
        }


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError("Unable to allocate 9 TiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (InputError("size must be at least 1, but got 0. Raise it."), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_failures(error, memory, tmp_path, monkeypatch):
    def fails(*_):
        try:
            raise error
        except Exception as cause:
            raise InputError("the data cannot be read. Check them.") from cause

    monkeypatch.setattr("kdlab.study.job._run_job", fails)
    job = next(iter(plan(toy(tmp_path), tmp_path / "runs").values()))
    row, reason = attempt(job, None)
    assert row is None
    assert isinstance(reason, NoMemory) == memory
    assert lacked(job.folder) == memory
    assert not lacked(tmp_path)


def test_processes_of_a_cluster_at_home_wait_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(local, "_OFTEN", 0.0)
    now, begun = set(), []

    class Executor:
        def __init__(self, folder, max_num_timeout):
            pass

        def update_parameters(self, **parameters):
            pass

        def submit(self, element):
            polls = iter([False, True])
            begun.append((element.name, element.gpu, frozenset(now)))
            now.add(element.name)

            def done():
                ended = next(polls)
                if ended:
                    now.remove(element.name)
                return ended

            return SimpleNamespace(done=done, paths=SimpleNamespace(stdout=tmp_path / "o", stderr=tmp_path / "e"))

    monkeypatch.setattr(submitit, "LocalExecutor", Executor)
    monkeypatch.setattr(local, "replace", lambda element, owner: element)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    jobs, ended = jobs_of(**JOBS, other=()), []
    left = Left(jobs, list(jobs))
    local.run_local(
        stages_of(left),
        left,
        lambda name, gpu: SimpleNamespace(name=name, gpu=gpu),
        Slurm(),
        tmp_path,
        2,
        lambda name, output: ended.append(name) or True,
        lambda name: name == "big",
    )
    assert begun[:2] == [("big", "4", frozenset()), ("small", "5", frozenset({"big"}))]
    assert begun[2] == ("big", "4", frozenset())  # alone
    assert {name for name, _, beside in begun[3:]} == {"late", "other"}
    assert ended[0] == "small"
    assert sorted(ended) == ["big", "late", "other", "small"]
    assert capsys.readouterr().out.count("big: out of memory beside other jobs") == 1


def test_every_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert local._gpus(4) == ["0", "1", "2", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert local._gpus(3) == ["4", "5", "4"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert local._gpus(2) == [None, None]
