"""Kill a study at random moments and run it to its end: is its table that of an uninterrupted study?

    python -m benchmarks.long.kill_study [--moments 10] [--jobs 1 2] [--seed 0] [--folder FOLDER]

With one and with two jobs, each moment takes one of SIGINT, SIGTERM and SIGKILL, sent to the study alone or to its
process group (as a terminal sends Ctrl-C). Checked are the exit status (130, 143, killed), that no process is left,
that no half-written file is left after the last run, and that ``results.csv`` is equal byte for byte.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.long.small_study import STUDY, marked, start, write_study

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: 137}
PATIENCE = 900.0  # seconds of one study
GONE = 60.0  # seconds in which the processes of one that was killed should have ended


def as_shell(code: int) -> int:
    """The exit status as a shell counts it: a process that a signal ended has 128 and its number."""
    return code if code >= 0 else 128 - code


def whole(folder: Path, jobs: int) -> tuple[bytes, float]:
    """Run a study to its end; its table and its seconds."""
    begin = time.perf_counter()
    code = start(folder, "--jobs", str(jobs)).wait(PATIENCE)
    if code != 0:
        raise SystemExit(f"error: {folder}: the study ended with {code}; see its log.txt")
    return (folder / "runs" / STUDY / "results.csv").read_bytes(), time.perf_counter() - begin


def kill(
    folder: Path, jobs: int, number: signal.Signals, seconds: float, group: bool
) -> tuple[int | None, float, float, int]:
    """Kill a study after some seconds.

    Returns:
        Its exit status (None: it had ended before), the seconds that it took to end, those until its processes had
        ended too (one that was just starting notices it when its imports are done), and how many never ended.
    """
    mark = uuid.uuid4().hex
    process = start(folder, "--jobs", str(jobs), mark=mark)
    try:
        process.wait(seconds)
        return None, 0.0, 0.0, 0
    except subprocess.TimeoutExpired:
        pass
    begin = time.perf_counter()
    (os.killpg if group else os.kill)(process.pid, number)
    code = process.wait(PATIENCE)
    took = time.perf_counter() - begin
    while (left := marked(mark)) and time.perf_counter() - begin < took + GONE:
        time.sleep(0.1)
    return as_shell(code), took, time.perf_counter() - begin, len(left)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=10, help="kills with each number of jobs")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="how many run at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="where the studies are run; a temporary folder without it")
    given = parser.parse_args(words)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, and children inherit it
    given.folder = given.folder or Path(tempfile.mkdtemp(prefix="kill_study"))
    rng = random.Random(given.seed)
    times = {}
    for jobs in given.jobs:
        folder = given.folder / f"whole{jobs}"
        write_study(folder)
        table, times[jobs] = whole(folder, jobs)
        print(f"uninterrupted, {jobs} jobs: {times[jobs]:.0f} s, {len(table.splitlines()) - 1} rows", flush=True)
    print("| jobs | signal | to | at (s) | ended in (s) | processes in (s) | status | left | done before | table |")
    print("| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |", flush=True)
    wrong = 0
    for jobs in given.jobs:
        for i in range(given.moments):
            number = list(SIGNALS)[i % 3]
            group = bool(i // 3 % 2)
            for attempt in range(5):
                folder = given.folder / f"jobs{jobs}-{i}-{attempt}"
                write_study(folder)
                at = rng.uniform(0.03, 1.0) * times[jobs] * 0.75**attempt
                status, took, gone, left = kill(folder, jobs, number, at, group)
                if status is not None:
                    break
            else:
                raise SystemExit("error: every study ended before its signal came")
            done = len(list(folder.glob("runs/**/result.json")))
            parts = list(folder.rglob(".kdlab-part-*")) if whole(folder, jobs)[0] == table else [folder]
            said = f"different: {parts[0]}" if parts else "equal"
            good = not parts and status == SIGNALS[number] and not left
            wrong += not good
            print(
                f"| {jobs} | {number.name} | {'group' if group else 'study'} | {at:.1f} | {took:.1f} | {gone:.1f} "
                f"| {status} | {left} | {done} | {said} |",
                flush=True,
            )
    print(f"{len(given.jobs) * given.moments} kills, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
