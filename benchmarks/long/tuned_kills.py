"""Tune a study on one job, on two jobs, and killed at random moments: is its table the same byte for byte?

    python -m benchmarks.long.tuned_kills [--file STUDY] [--jobs 1 2] [--kills 5] [--seed 0] [--folder FOLDER]

Without ``--file`` it is a study of tiny nets on made-up windows of eight people: two stages, halves of the people, six
trials for every row, pruning from the second round on. ``--file`` names another study with a section ``tune``. Each
kill is a SIGKILL, to the study's process group or to the study alone, at a moment that is drawn between two results.
Compared are ``results.csv``, ``results.md``, ``tuning/trials.csv`` and ``tuning/tuned.yaml``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.long.small_study import marked, start
from kdlab.study.plan import Study
from tests.tuned import TUNE, write_tuned

FILES = ("results.csv", "results.md", "tuning/trials.csv", "tuning/tuned.yaml")
PATIENCE = 24 * 3600.0  # seconds of one study
LARGER = {
    **TUNE,
    "trials": 6,
    "round": 2,
    "prune_from": 2,
    "own": {
        "scratch": {
            "model.weight_decay": {"low": 1e-5, "high": 1e-3, "log": True},
            "model.label_smoothing": [0.0, 0.1],
        },
        "kd": {"model.temperature": [2.0, 4.0, 8.0], "model.kd_weight": {"low": 0.1, "high": 1.0}},
    },
}


def results(folder: Path) -> int:
    """How many results a study has so far."""
    return sum(len(list(folder.glob(f"runs/**/{name}.json"))) for name in ("validation", "result"))


def run(file: Path, jobs: int, kills: int, rng: random.Random) -> tuple[dict[str, bytes], float]:
    """Run a study in an empty root, with kills; its files and its seconds."""
    folder = file.parent
    shutil.rmtree(folder / "runs", ignore_errors=True)
    begin = time.perf_counter()
    for kill in range(kills + 1):
        mark = uuid.uuid4().hex
        process = start(folder, "--jobs", str(jobs), mark=mark)
        if kill == kills:
            if process.wait(PATIENCE) != 0:
                raise SystemExit(f"error: the study ended with {process.returncode}; see {folder / 'log.txt'}")
            break
        wanted = results(folder) + rng.randrange(1, 5)
        while results(folder) < wanted and process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 2))
        if process.poll() is not None:
            raise SystemExit("error: the study ended before it was killed; take fewer kills")
        (os.killpg if rng.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        while marked(mark):  # its workers end with it
            time.sleep(0.1)
    place = folder / "runs" / Study.read(file).name
    return {name: (place / name).read_bytes() for name in FILES}, time.perf_counter() - begin


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="a study; its folder is copied")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="how many run at a time")
    parser.add_argument("--kills", type=int, default=5, help="with each number of jobs")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="where the studies are run; a temporary folder without it")
    given = parser.parse_args(words)
    folder = (given.folder or Path(tempfile.mkdtemp(prefix="tuned_kills"))) / "study"
    if given.file is None:
        file = write_tuned(folder, tune=LARGER, folds=4, seeds=2)
    else:
        file = Path(shutil.copytree(given.file.parent, folder, dirs_exist_ok=True)) / given.file.name
        if file.name != "study.yaml":
            shutil.copy(file, folder / "study.yaml")
    rng, first, wrong = random.Random(given.seed), None, 0
    print("| jobs | kills | seconds | files |\n| ---: | ---: | ---: | --- |", flush=True)
    for jobs in given.jobs:
        for kills in (0, given.kills):
            files, seconds = run(folder / "study.yaml", jobs, kills, rng)
            first = files if first is None else first
            different = [name for name in FILES if files[name] != first[name]]
            wrong += bool(different)
            said = f"different: {', '.join(different)}" if different else "equal"
            print(f"| {jobs} | {kills} | {seconds:.0f} | {said} |", flush=True)
    print(f"{2 * len(given.jobs)} studies, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
