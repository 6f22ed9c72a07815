"""The main job on real data in a few minutes: two teachers, and students that learn from them with few labels.

python -m experiments.demo      (or: make demo)

ShoulderWatch (seven shoulder exercises of ten people, a smart watch) ships inside seglearn. This is
``kdlab study experiments/demo/study.yaml``, and a figure of the views.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from kdlab import cli
from kdlab.data import ShoulderWatch
from kdlab.study.command import main as study
from kdlab.views import GramianAngularField, PersistenceImage, Raw

FILE = "experiments/demo/study.yaml"
OUT = Path("runs/demo")
WINDOW, STEP = 100, 50  # samples at 50 Hz, as in experiments/demo/data.yaml


def main(file: str = FILE, jobs: int = 2) -> None:
    """Run the study, and draw the views.

    Args:
        file: the study file.
        jobs: how many run at a time.
    """
    start = time.perf_counter()
    study([file, "--jobs", str(jobs)], cli.run, cli.check)
    views = {"raw": Raw(), "gaf": GramianAngularField(size=64), "pi": PersistenceImage(size=24)}
    ShoulderWatch(views=views, window=WINDOW, step=STEP).plot_views(OUT / "views.png")
    spent = sum(os.times()[:4])
    print(f"{OUT}/views.png shows a window of each class in three views")
    print(f"{time.perf_counter() - start:.0f} s, {spent:.0f} s of processor time")


if __name__ == "__main__":
    main()
