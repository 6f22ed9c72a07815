"""A study while it runs: lines, progress, budgets, tables so far, notes; and lists that are read in part."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.long.small_study import write_study
from kdlab import cli
from tests.conftest import PATIENCE, REPOSITORY

CLOSED = """
import os, sys
reader, writer = os.pipe()
os.close(reader)
for words in eval(sys.argv[1]):
    if (child := os.fork()) == 0:
        os.dup2(writer, 1)
        from kdlab import cli
        sys.argv = ["kdlab", *words]
        cli.main()
        sys.exit(0)
    print(words[0], os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.stderr, flush=True)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------- lists
def test_lists_that_are_read_in_part_end_quietly(here):
    """The reader is gone before the first line, as in ``kdlab study FILE --list | head -0``."""
    write_study(here)
    config = str(REPOSITORY / "experiments/sp_sw_har/tpkd.yaml")
    commands = [["study", "study.yaml", "--list"], ["study", "study.yaml", "--dry-run"], ["--help"]]
    commands += [["cite", "--config", config], ["nets", "--only", "wrn16-1", "--runs", "1", "--ndim", "1"]]
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, repr(commands)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("measuring ")]
    assert lines == [f"{words[0]} 141" for words in commands]


# ---------------------------------------------------------------------- metrics.csv
def test_metrics_have_rows_of_complete_epochs_alone(here):
    write_study(here, seeds=1, epochs=3)
    line = cli.run(
        [
            *("fit", "--config", "supervised.yaml", "--run", "a/b", "--data.init_args.train_per_class=5"),
            *("--data.init_args.batch_size=4", "--trainer.max_epochs=9", "--trainer.max_steps=12"),
            *("--trainer.num_sanity_val_steps=-1", "--trainer.enable_progress_bar=false"),
        ]
    )
    assert len(line.datamodule.train_dataloader()) == 5  # the third epoch has two steps
    rows = rows_of(Path("runs/a/b/version_0/metrics.csv"))
    assert {row["epoch"] for row in rows if row["train/loss"]} == {"0", "1"}
    assert {row["epoch"] for row in rows} == {"0", "1"}
