"""A study of tiny nets on BasicMotions, and how it is run as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

STUDY = "toy/study"
MARK = "KDLAB_SMALL_STUDY"
SCRIPT = "import sys; from kdlab import cli; sys.argv = ['kdlab', 'study', *sys.argv[1:]]; cli.main()"


def write_study(folder: Path, seeds: int = 3, epochs: int = 8, students: int = 1, **more: Any) -> Path:
    """Write ``study.yaml`` and its configs: a teacher, a scratch student and ``students`` distilled ones.

    Args:
        folder: where; it is made.
        seeds: of scratch and students; the teacher is shared.
        epochs: of each run.
        students: how many ways to distil, of different temperature.
        more: further entries of the study file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    net = {"class_path": "WideResNet", "init_args": {"depth": 10, "width": 1, "in_channels": 6, "num_classes": 4}}
    common = {
        "trainer": {"max_epochs": epochs, "accelerator": "cpu", "log_every_n_steps": 1},
        "data": {"class_path": "BasicMotions", "init_args": {"train_per_class": 2}},
    }
    supervised = {**common, "model": {"class_path": "Supervised", "init_args": {"net": net, "view": "raw"}}}
    distilled = {"student": net, "teachers": {"raw": {"checkpoint": "of the study"}}}
    configs = {"supervised": supervised, "student": {**common, "model": {"class_path": "KD", "init_args": distilled}}}
    for name, config in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    names = ["kd", *(f"kd_{i}" for i in range(1, students))]
    study = {
        "study": STUDY,
        "seeds": seeds,
        "teachers": {"teacher": {"config": "supervised.yaml", "one_per": "fold"}},
        "scratch": {"scratch": {"config": "supervised.yaml"}},
        "students": {
            name: {
                "config": "student.yaml",
                "teachers": {"raw": "teacher"},
                "set": {"model.init_args.temperature": 4.0 + i},
            }
            for i, name in enumerate(names)
        },
        **more,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return path


def start(folder: Path, *words: str, mark: str = "") -> subprocess.Popen[bytes]:
    """``kdlab study study.yaml`` with one thread a process, in a session of its own; it writes into ``log.txt``.

    Args:
        folder: holds ``study.yaml``.
        words: further words of the command.
        mark: a word that all its processes carry, for :func:`marked`.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", MARK: mark}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, "study.yaml", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def marked(mark: str) -> list[int]:
    """The processes of this machine that carry the mark (Linux), zombies left out."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                carries = f"{MARK}={mark}\0".encode() in (process / "environ").read_bytes()
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:  # it has ended
                continue
            if carries and state != "Z":
                found.append(int(process.name))
    return found
