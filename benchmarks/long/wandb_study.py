"""A study of 60 runs with Weights & Biases offline on two jobs, read back from the files of its runs.

    python -m benchmarks.long.wandb_study [--seeds 4] [--students 13] [--jobs 2] [--folder FOLDER]

Each job should be one run with the study as its group, the job as its name, its stage as its type, a config and a
summary, and the report the last run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.long.small_study import STUDY, start, write_study
from tests.wandb_file import read_run, read_summary

SUMMARY = ("test_accuracy", "test_f1", "val_accuracy")
LOGGER = {"class_path": "WandbLogger", "init_args": {"project": "kdlab", "save_dir": "runs", "offline": True}}


def read_back(folder: Path) -> tuple[dict[str, int], list[str]]:
    """Read the offline runs of a study back, and compare them with its ``result.json`` files.

    Returns:
        How many runs there are of each type, and what is wrong.
    """
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("runs/**/result.json")]
    left = {row["job"]: row for row in rows}
    types, wrong = Counter[str](), list[str]()
    files = sorted(folder.glob("runs/wandb/offline-run-*"), key=lambda path: path.name)
    for path in files:
        config, history, pictures, run = read_run(path)
        summary, code = read_summary(path)
        types[run.job_type] += 1
        name = run.display_name
        if run.run_group != STUDY or code != 0:
            wrong.append(f"{path.name}: group {run.run_group!r}, name {name!r}, exit {code}")
        if run.job_type == "report":
            if not {"results", "accuracy"} <= pictures or (summary["jobs"], summary["failed"]) != (len(rows), 0):
                wrong.append(f"{path.name}: the report has {sorted(pictures)} and {summary}")
            continue
        row = left.pop(name, None)
        if row is None or row["stage"] != run.job_type:
            wrong.append(f"{path.name}: no job is called {name!r}, or it is no {run.job_type}")
        elif any(
            summary.get(key.replace("_", "/")) != row[key] for key in ("test_accuracy", "test_f1", "val_accuracy")
        ):
            wrong.append(f"{path.name}: its summary differs from the result of {name}")
        elif config.get("seed_everything") != row["seed"] or not {"model", "data", "fingerprint"} <= set(config):
            wrong.append(f"{path.name}: its config lacks something: {sorted(config)}")
        elif not {"train/loss", "val/loss"} <= history:
            wrong.append(f"{path.name}: its history lacks something: {sorted(history)}")
    wrong += [f"{name} has no run" for name in left]
    if files and read_run(files[-1])[3].job_type != "report":
        wrong.append("the report is not the last run")
    return dict(types), wrong


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4, help="of scratch and students; the teacher is shared")
    parser.add_argument("--students", type=int, default=14, help="ways to distil")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the study is run; a temporary folder without it")
    given = parser.parse_args(words)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="wandb_study"))
    write_study(folder, given.seeds, epochs=2, students=given.students, logger=LOGGER)
    begin = time.perf_counter()
    code = start(folder, "--jobs", str(given.jobs)).wait()
    seconds = time.perf_counter() - begin
    types, wrong = read_back(folder)
    failed = len(list(folder.glob("runs/**/error.txt")))
    names = [read_run(path)[3].display_name for path in sorted(folder.glob("runs/wandb/offline-run-*"))]
    print(f"status {code} after {seconds:.0f} s; {sum(types.values())} runs in group {STUDY}: {types}")
    print(f"{len(set(names))} different names: {', '.join(names[:3])}, ..., {', '.join(names[-2:])}")
    print(f"{failed} failed jobs, {len(wrong)} runs that do not read back", *wrong, sep="\n")
    return int(code != 0 or failed > 0 or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
