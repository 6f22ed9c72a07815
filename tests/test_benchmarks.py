"""The benchmarks run, at sizes whose figures mean nothing; what they compute from figures is right."""

import json
import mmap
import multiprocessing
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import augment, gpu, logging_steps, recording_reader, scan, step
from tests.conftest import PATIENCE


def test_cost_over_size(tmp_path, capsys):
    scan.main(["--quick", "--plot", str(tmp_path / "scan.png")])
    out = capsys.readouterr().out
    assert re.search(r"windows of 3 x 100.*\n.*setup, s.*memory, MB.*\n +200 .*\n +400 .*\n +exponent", out)
    assert "raw + pi" in out
    assert "cached" in out
    with Image.open(tmp_path / "scan.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("L").getcolors()) > 10


def test_memory_is_that_of_the_case(tmp_path, monkeypatch):
    """64 MB that a case allocates are seen, and those that it maps are not."""
    monkeypatch.setattr(scan, "DISTINCT", 1000)
    case = scan.Case("windows", 1000, windows=16_000, length=400)  # 77 MB on disk
    path = tmp_path / "x.npy"
    scan.write(path, case)
    x = np.load(path, mmap_mode="r")
    assert x.shape == (16_000, 3, 400)
    assert (x[:1000] == x[15_000:]).all()
    allocated = scan.allocated
    for copied in (False, True):
        filled, seen = multiprocessing.Event(), multiprocessing.Event()

        def watched(process, filled=filled, seen=seen):
            there, found = filled.is_set(), allocated(process)
            if there:
                seen.set()
            return found

        def measure(case, path, copied=copied, filled=filled, seen=seen):
            windows = np.load(path, mmap_mode="r")
            total = float(windows.sum())
            kept = np.zeros(0)
            if copied:  # not by malloc, which may find room in what this process freed before the fork
                kept = np.frombuffer(mmap.mmap(-1, 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
                kept[:] = 1
            filled.set()
            assert seen.wait(PATIENCE)  # a busy machine may look at the memory rarely
            return {"total": total, "kept": float(kept.sum())}

        monkeypatch.setattr(scan, "measure", measure)
        monkeypatch.setattr(scan, "allocated", watched)
        found = scan.fresh(case, path, "fork")
        assert found["total"] == pytest.approx(float(x.sum()))
        assert (found["MB"] > 60) == copied
        assert found["MB"] < 75


def test_cost_of_logging_within_the_epoch(capsys):
    """Both ways are trained, and only one of them collects anything."""
    logging_steps.main(["--rounds", "1", "--steps", "8", "--device", "cpu"])
    ratios = re.findall(r"logged every +(\d+) steps: (\d\.\d{3}) of the steps per second", capsys.readouterr().out)
    assert [every for every, _ in ratios] == ["50", "1"]
    assert all(float(ratio) > 0 for _, ratio in ratios)
    assert logging_steps.base.StepValues is logging_steps.StepValues
    assert logging_steps.Nothing().epoch() == {}


def test_exponents():
    sizes = [10, 100, 1000]
    assert scan.exponent(sizes, [2.0 * s for s in sizes]) == pytest.approx(1)
    assert scan.exponent(sizes, [3.0 * s**2 for s in sizes]) == pytest.approx(2)
    teachers = {(): 5.0, ("raw",): 7.0, ("pi",): 10.0, ("raw", "pi"): 12.5}
    results = {scan.Case("teachers", len(k), teachers=k): {"ms a step": v} for k, v in teachers.items()}
    assert scan.additive(results) == {("raw", "pi"): 12.0}


def test_the_gpu_benchmark_on_the_host(capsys):
    gpu.main(["--device", "cpu"])
    out = capsys.readouterr().out
    for line in ("logits' term bit for bit", "TPKD, teachers cached", "fit against the plain loop", ": device "):
        assert line in out
    assert "MISSED" not in out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys):
    gpu.main([])
    assert capsys.readouterr().out.startswith("benchmarks.gpu: no GPU here")


@pytest.mark.gpu
def test_times_on_the_device_are_those_of_its_stream():
    watch = step.Stopwatch("cuda")
    x = torch.randn(4096, 4096, device="cuda")
    begin = watch.mark()
    for _ in range(20):
        x = x @ x * 1e-3
    end = watch.mark()
    assert watch.between(begin, end) > 1e-4
    assert gpu.memory_rows(step.Costs({"memory/live": 2e6}))[0][1] == "2 MB"


def test_a_clock_leaves_out_what_lies_between_epochs():
    clock = step.Clock(epoch=2, watch=step.Stopwatch())
    clock.begins, clock.ends = [0.0, 1.5, 10.0, 11.5], [1.0, 3.0, 11.0, 14.0]
    assert clock.complete == [2.0, 3.0]  # not the 8 seconds from the first epoch to the second
    assert clock.waits == [0.5, 0.5]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux")
@pytest.mark.parametrize("timed", [False, True])
def test_the_reader_benchmark_reads_what_it_writes(tmp_path, capsys, timed):
    size = recording_reader.write(tmp_path / "data", 2, 1 / 60, timed)
    assert size * 1e6 == sum(file.stat().st_size for file in (tmp_path / "data").iterdir())
    recording_reader.read(tmp_path / "data", tmp_path / "kept", timed)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["seconds"] > 0
    kept = [json.loads(file.read_text()) for file in (tmp_path / "kept").glob("*/recording.json")]
    assert [(one["samples"], one["report"]["with_times"]) for one in kept] == [(3000, timed)] * 2


def test_a_batch_is_changed_as_its_windows(capsys):
    windows = np.random.default_rng(0).standard_normal((3, 6, 50)).astype(np.float32)
    for change in augment.CHANGES:
        assert np.array_equal(augment.of_batch(change, windows), augment.one_by_one(change, windows))
    rows = augment.main(["--rounds", "1"])
    assert [name for name, *_ in rows] == ["Scaling", "Noise", "Mix2", "Rotation", "TimeWarp"]
    assert all(together > 0 and alone > 0 for _, together, alone in rows)
    assert capsys.readouterr().out.count("\n") == 2 + len(rows)
