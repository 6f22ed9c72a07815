"""How cost grows with size: ``python -m benchmarks.scan`` (``--quick``: small sizes, to see that it runs).

Four sizes: windows (1,000 to 1,000,000, memory-mapped), channels (3 to 40), samples of a window (100 to 2,000) and
teachers (1 to 3: raw signal, persistence images, Gramian angular fields; run in every step, and cached). Every line of
a table is measured in a process of its own. A time is CPU time on one thread, which other work on the machine does not
lengthen as it does wall time; the exponent is the slope of log time over log size, 1 where time is linear. The files
hold 10,000 distinct windows over and over and are deleted at the end.

Memory is what the process itself allocated (RssAnon, read every few milliseconds from outside), at most and above what
it was before the data were opened. The pages of the mapped file are left out: they are the system's cache, freed
when memory is needed. ``ru_maxrss``, in the last column, counts them.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import re
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import kdlab
from benchmarks.step import Setting, Stopwatch, fit, net, quiet, teacher, verdict, windows
from benchmarks.views import machine
from kdlab.data import ArrayDataModule
from kdlab.views import GramianAngularField, PersistenceImage, Raw, View

SIDE, BATCH, CLASSES, DISTINCT = 32, 32, 6, 10_000
VIEWS: dict[str, View] = {"raw": Raw(), "pi": PersistenceImage(size=SIDE), "gaf": GramianAngularField(size=SIDE)}
STRIDE = 0.01  # seconds from one look at the memory to the next


class CpuTime(Stopwatch):
    """CPU seconds of this process."""

    def mark(self) -> float:
        """Now."""
        return time.process_time()


@dataclass(frozen=True)
class Case:
    """One line of a table."""

    axis: str
    value: int
    windows: int = 1000
    channels: int = 3
    length: int = 100
    teachers: tuple[str, ...] = ()
    steps: int = 8


def cases(quick: bool) -> list[Case]:
    some = 200 if quick else 1000
    counts = (200, 400) if quick else (1_000, 10_000, 100_000, 1_000_000)
    channels = (3, 6) if quick else (3, 6, 12, 24, 40)
    lengths = (50, 100) if quick else (100, 200, 500, 1000, 2000)
    steps = 2 if quick else 8
    teachers: list[tuple[str, ...]] = [("raw",), ("raw", "pi")]
    if not quick:
        teachers = [(), ("raw",), ("pi",), ("gaf",), ("raw", "pi"), ("raw", "pi", "gaf")]
    return [
        *(Case("windows", n, windows=n, steps=steps) for n in counts),
        *(Case("channels", c, some, channels=c, teachers=("raw", "pi"), steps=steps) for c in channels),
        *(Case("length", t, some, length=t, teachers=("raw", "pi"), steps=steps) for t in lengths),
        *(Case("teachers", len(k), some, teachers=k, steps=steps) for k in teachers),
    ]


def write(path: Path, case: Case) -> None:
    """Windows into a file, some at a time."""
    shape = (case.windows, case.channels, case.length)
    some = windows(min(DISTINCT, case.windows), case.channels, case.length)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for start in range(0, case.windows, len(some)):
            some[: case.windows - start].tofile(file)


# -- in a process of its own ------------------------------------------------------------------------------------------


def seconds(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def through(data: ArrayDataModule, views: Sequence[str]) -> int:
    return sum(len(batch.index) for batch in data.batches("train", 64, views))


def method(case: Case, cache: kdlab.TeacherCache | None = None) -> Any:
    student = net(channels=case.channels)
    if not case.teachers:
        return kdlab.Supervised(student)
    teachers = {view: teacher(view, 1, case.channels) for view in case.teachers}
    weights = dict.fromkeys(teachers, 1 / len(teachers))
    return kdlab.TPKD(student, teachers, similarity_weight=20.0, weights=weights, cache=cache)


def measure(case: Case, path: Path) -> dict[str, float]:
    """Seconds by name."""
    n = case.windows
    x, row = np.load(path, mmap_mode="r"), np.arange(n)
    views = {name: VIEWS[name] for name in dict.fromkeys(("raw", *(case.teachers or ("pi",))))}
    data = ArrayDataModule(
        x,
        row % CLASSES,
        row * 20 // n,
        views=views,
        channels=[f"channel_{c}" for c in range(case.channels)],
        batch_size=BATCH,
        seed=0,
    )
    found = {"setup": seconds(data.setup)}
    train = len(data.train_index)
    setting = Setting(batch=BATCH, train=train)

    def step(cache: kdlab.TeacherCache | None = None) -> float:
        return median(fit(method(case, cache), data, case.steps, setting, CpuTime()).complete)

    if case.axis == "windows":
        found["statistics"] = seconds(lambda: data.view_statistics("pi"))
        found["reading"] = seconds(lambda: through(data, ["raw"]))
        found["ms a step"] = 1e3 * step()
    elif case.axis == "teachers":
        found = {"ms a step": 1e3 * step()}
        if case.teachers:
            found["ms, cached"] = 1e3 * step(kdlab.TeacherCache())
    else:
        found["us a window"] = 1e6 * min(seconds(lambda: through(data, ["raw", "pi"])) for _ in range(3)) / train
        found["ms a step"] = 1e3 * step()
    return found


def work(pipe: Connection, case: Case, path: Path) -> None:
    """The process: warm up, report it, measure, return the result."""
    quiet()
    torch.set_num_threads(1)
    for view in VIEWS.values():
        view(windows(2, 3, 64))
    pipe.send("ready")
    pipe.recv()
    found = measure(case, path)
    found["resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    pipe.send(found)


# -- outside ----------------------------------------------------------------------------------------------------------


def allocated(pid: int) -> float:
    """Megabytes that a process has allocated; NaN where the system does not report it."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) * 1024 / 1e6 if found else math.nan


def fresh(case: Case, path: Path, start: str) -> dict[str, float]:
    """A case in a new process, and the most memory that it took."""
    context: Any = multiprocessing.get_context(start)
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, case, path))
    process.start()
    theirs.close()
    try:
        ours.recv()
        before = peak = allocated(process.pid)
        ours.send("go")
        while not ours.poll(STRIDE):
            peak = max(peak, allocated(process.pid))
        found: dict[str, float] = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{case} ended with code {process.exitcode}; is there memory for it?") from None
    process.join()
    return {**found, "MB": peak - before, "file": path.stat().st_size / 1e6}


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Slope of log time over log size."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


Results = dict[Case, dict[str, float]]


def of(results: Results, axis: str) -> tuple[list[int], dict[str, list[float]]]:
    """Sizes and columns of one table."""
    mine = {case: found for case, found in results.items() if case.axis == axis}
    names = list(dict.fromkeys(name for found in mine.values() for name in found))
    return [c.value for c in mine], {name: [found.get(name, math.nan) for found in mine.values()] for name in names}


HEADS = {
    "setup": "setup, s",
    "statistics": "pi statistics, s",
    "reading": "raw pass, s",
    "us a window": "raw + pi, us/window",
    "ms a step": "step, ms",
    "ms, cached": "step, cached, ms",
    "MB": "memory, MB",
    "file": "file, MB",
    "resident": "ru_maxrss, MB",
}
TITLES = {
    "windows": "windows of 3 x 100: the student's step, batches of 32",
    "channels": "channels of 100 samples: a TPKD step with two teachers",
    "length": "samples of 3 channels: a TPKD step with two teachers",
}


def table(results: Results, axis: str, judge: bool) -> None:
    sizes, columns = of(results, axis)
    names = [name for name in HEADS if name in columns]
    print(f"{TITLES[axis]}\n{'':>10}" + "".join(f"{HEADS[name]:>21}" for name in names))
    for i, size in enumerate(sizes):
        print(f"{size:>10,}" + "".join(f"{columns[name][i]:>21.4g}" for name in names))
    times = [name for name in names if name not in ("MB", "file", "resident")]
    slopes = {name: exponent(sizes, columns[name]) for name in times}
    print(f"{'exponent':>10}" + "".join(f"{slopes[name]:>21.2f}" for name in times))
    if not judge:
        print()
        return
    print(f"{'':>10} linear or less: {verdict(max(slopes.values()), 1.1)}")
    if axis == "windows":
        share = columns["MB"][-1] / columns["file"][-1]
        print(f"{'':>10} memory above the start, part of the file: {100 * share:.1f} %, {verdict(share, 0.1)}")
        slope = (columns["MB"][-1] - columns["MB"][0]) * 1e6 / (sizes[-1] - sizes[0])
        print(f"{'':>10} {slope:.0f} bytes a window: its label, subject and places in split and order")
    print()


def additive(results: Results) -> dict[tuple[str, ...], float]:
    """Steps of several teachers as the sum of what each costs by itself."""
    one = {case.teachers: found["ms a step"] for case, found in results.items() if case.axis == "teachers"}
    base = one[()]
    return {k: base + sum(one[(name,)] - base for name in k) for k in one if len(k) > 1}


def teacher_table(results: Results) -> None:
    mine = {case.teachers: found for case, found in results.items() if case.axis == "teachers"}
    print("teachers WRN16-1 on windows of 3 x 100 and images 32 x 32, batches of 32: ms of a step")
    print(f"{'':>16}{'run in every step':>22}{'cached':>14}{'sum of the parts':>20}")
    sums = additive(results) if () in mine else {}
    for names, found in mine.items():
        parts = f"{sums[names]:>20.1f}" if names in sums else ""
        once = f"{found['ms, cached']:>14.1f}" if names else f"{'':>14}"
        print(f"{' + '.join(names) or 'none':>16}{found['ms a step']:>22.1f}{once}{parts}")
    if sums:
        worst = max(mine[names]["ms a step"] / total for names, total in sums.items())
        print(f"{'':>16} teachers together against the sum of their parts: {worst:.2f}x, {verdict(worst, 1.1)}")
    print()


def draw(results: Results, path: Path) -> None:
    """Time and memory over each size, with a line of slope 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.4), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    panels = {
        "windows": (figure.add_subplot(grid[0, :2]), ("setup", "statistics", "reading"), 1.0, "windows", "CPU seconds"),
        "channels": (figure.add_subplot(grid[1, :3]), ("us a window", "ms a step"), 1.0, "channels", "CPU time"),
        "length": (figure.add_subplot(grid[1, 3:]), ("us a window", "ms a step"), 1.0, "samples a window", "CPU time"),
    }
    labels = {
        "setup": "load, check, split, scale",
        "statistics": "statistics of the images",
        "reading": "a pass over the raw windows",
        "us a window": "raw + pi, µs a window",
        "ms a step": "TPKD step, two teachers, ms",
    }
    for axis, (panel, names, _, below, left) in panels.items():
        sizes, columns = of(results, axis)
        for k, name in enumerate(names):
            label = f"{labels[name]}: exponent {exponent(sizes, columns[name]):.2f}"
            panel.loglog(sizes, columns[name], "o-", color=f"C{k}", label=label)
        top = columns[names[0]][-1] * 0.5
        panel.loglog(sizes, [top * size / sizes[-1] for size in sizes], "k:", linewidth=1, label="slope 1")
        panel.set(xlabel=below, ylabel=left, title=f"Time over {below}")
        panel.set_ylim(top=panel.get_ylim()[1] * (50 if axis == "windows" else 3))  # room for the legend
        if axis != "windows":
            panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
            panel.minorticks_off()
    sizes, columns = of(results, "windows")
    memory = figure.add_subplot(grid[0, 2:4])
    memory.loglog(sizes, columns["file"], "s--", color="0.6", label="size of the file")
    memory.loglog(sizes, columns["MB"], "o-", color="C3", label="memory above the start")
    memory.set_ylim(top=memory.get_ylim()[1] * 4)
    memory.set(xlabel="windows", ylabel="MB", title="Memory over windows")
    panels["memory"] = (memory, (), 0.0, "", "")
    bars = figure.add_subplot(grid[0, 4:])
    mine = {case.teachers: found for case, found in results.items() if case.axis == "teachers"}
    place = np.arange(len(mine))
    bars.bar(place - 0.2, [found["ms a step"] for found in mine.values()], 0.4, label="run in every step")
    bars.bar(place + 0.2, [found.get("ms, cached", math.nan) for found in mine.values()], 0.4, label="cached")
    for names, total in additive(results).items() if () in mine else ():
        at = list(mine).index(names)
        bars.plot([at - 0.45, at + 0.05], [total, total], "k-", label=None if len(names) > 2 else "sum of the parts")
    bars.set_xticks(place, ["\n".join(names) or "none" for names in mine])
    bars.set(ylabel="CPU ms", title="A step over teachers")
    bars.set_ylim(top=bars.get_ylim()[1] * 1.25)
    panels["teachers"] = (bars, (), 0.0, "", "")
    for panel, *_ in panels.values():
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(True, axis="y", alpha=0.25)
        panel.legend(frameon=False, fontsize=8.5)
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description="How cost grows with size.")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--plot", type=Path, default=Path(__file__).with_name("scan.png"), help="file of the figure")
    chosen = parser.parse_args(arguments)
    begin = time.perf_counter()
    quiet()
    print(machine(("torch", "lightning", "numpy", "numba"), "1 thread") + "\n", flush=True)
    start = "fork" if chosen.quick else "forkserver"
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmarks.step"])  # imports, and nothing else
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="kdlab-scan-") as folder:
        path = Path(folder) / "x.npy"
        for case in cases(chosen.quick):
            write(path, case)
            results[case] = fresh(case, path, start)
    for axis in TITLES:
        table(results, axis, judge=not chosen.quick)
    teacher_table(results)
    draw(results, chosen.plot)
    print(f"{chosen.plot.name} drawn; {time.perf_counter() - begin:.0f} s altogether")


if __name__ == "__main__":
    main()
