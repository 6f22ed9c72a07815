"""Train shipped runs over seeds, skip what is finished, and print one table with mean and standard deviation.

python -m experiments.compare sp_sw_har --seeds 3
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import logging
import statistics
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kdlab
from kdlab import cli
from kdlab.augment import Corruption
from kdlab.callbacks import EarlyStoppedTeacher
from kdlab.methods import Distillation, Method
from kdlab.methods.base import INIT_FILES
from kdlab.methods.checkpoints import KEY, find_checkpoint, read_checkpoint
from kdlab.types import MissingFileError

COLUMNS = (
    "run",
    "seed",
    "view",
    "parameters",
    "best_epoch",
    "val_accuracy",
    "test_accuracy",
    "test_f1",
    "test_accuracy_noisy",
    "seconds",
)
NOISE_SEVERITY = 3


@dataclass(frozen=True)
class Run:
    """One run of a table: config files, in the order in which they are stacked, and command-line overrides.

    ``{seed}`` in an override becomes the seed, so a student can start from the scratch student of its own seed.
    """

    folder: str
    name: str
    configs: tuple[str, ...]
    overrides: tuple[str, ...] = ()


def finish(run: Run, seed: int, per_seed: bool = True) -> dict[str, Any]:
    """Train, validate and test one run with one seed, unless that is done already; return its row of the table.

    Args:
        run: the run.
        seed: everything's seed.
        per_seed: keep one folder a seed; teachers that all seeds share are kept under their plain name.
    """
    name = f"{run.folder}/{run.name}" + (f"-seed{seed}" if per_seed else "")
    words = [w.format(seed=seed) for w in run.overrides]
    key = _key(run, words, seed)
    done = Path("runs") / name / "result.json"
    kept = _read(done)
    if kept and kept["key"] == key and _inputs_stand(kept["inputs"]):
        print(f"{name}: finished before, reused")
        return dict(kept["row"])
    print(f"{name}: training", flush=True)
    start = time.perf_counter()
    configs = [w for path in run.configs for w in ("--config", path)]
    line = cli.run(
        ["fit", *configs, *words, f"--seed_everything={seed}", f"--run={name}", "--trainer.default_root_dir=runs"]
    )
    seconds = time.perf_counter() - start
    row = {"run": run.name, "seed": seed, **_evaluate(line), "seconds": round(seconds, 1)}
    partial = done.with_suffix(".part")
    partial.write_text(json.dumps({"key": key, "inputs": _inputs(line.model), "row": row}, indent=1))
    partial.replace(done)
    return row


def _read(path: Path) -> dict[str, Any]:
    """A finished result; empty where there is none of this form."""
    kept = json.loads(path.read_text()) if path.is_file() else {}
    return kept if {"key", "inputs", "row"} <= set(kept) else {}


def _key(run: Run, words: list[str], seed: int) -> str:
    """A key over the configuration of a run."""
    parts = [kdlab.__version__, str(seed), *words, *(Path(path).read_text() for path in run.configs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _inputs(model: Method) -> list[list[Any]]:
    """The checkpoints that a run learnt or started from: as asked for, as found, and what was in them."""
    asked = [(model.init, INIT_FILES)] if model.init else []
    if isinstance(model, Distillation):
        asked += [(teacher.checkpoint, model.teacher_files) for teacher in model.teachers.values()]
    found = [(path, files, find_checkpoint(path, files)) for path, files in asked]
    return [[path, list(files), str(file), _digest(file)] for path, files, file in found]


def _inputs_stand(inputs: list[list[Any]]) -> bool:
    """Are they still the same files with the same weights? A teacher that was trained anew makes students new."""
    for path, files, file, digest in inputs:
        try:
            now = find_checkpoint(path, files)
        except MissingFileError:
            return False
        if str(now) != file or _digest(now) != digest:
            return False
    return True


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _evaluate(line: cli.KdlabCLI) -> dict[str, Any]:
    """Validate and test the checkpoint that validation chose, without and with noise on the test windows."""
    trainer, model, data = line.trainer, line.model, line.datamodule
    teacher = next((c for c in trainer.callbacks if isinstance(c, EarlyStoppedTeacher)), None)
    path = teacher.checkpoint if teacher else trainer.checkpoint_callbacks[0].best_model_path
    arguments: dict[str, Any] = {"datamodule": data, "ckpt_path": path, "verbose": False, "weights_only": True}
    validated = trainer.validate(model, **arguments)[0]
    clean = trainer.test(model, **arguments)[0]
    data.corruption = Corruption("noise", NOISE_SEVERITY)
    noisy = trainer.test(model, **arguments)[0]
    data.corruption = None
    return {
        "view": model.view,
        "parameters": sum(p.numel() for p in model.net.parameters()),
        "best_epoch": read_checkpoint(path)[KEY]["provenance"]["epoch"],
        "val_accuracy": validated["val/accuracy"],
        "test_accuracy": clean["test/accuracy"],
        "test_f1": clean["test/f1"],
        "test_accuracy_noisy": noisy["test/accuracy"],
    }


def write_csv(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write one row a run and seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, one line a run: mean and standard deviation over seeds, in percent."""
    lines = [
        "| run | view | parameters | seeds | val accuracy | test accuracy | test F1 | test accuracy, noisy | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == name]
        columns = ("val_accuracy", "test_accuracy", "test_f1", "test_accuracy_noisy")
        cells = [_mean([100 * row[column] for row in mine]) for column in columns]
        seconds = statistics.fmean(row["seconds"] for row in mine)
        lines.append(
            f"| {name} | {mine[0]['view']} | {mine[0]['parameters']:,} | {len(mine)} | {' | '.join(cells)} "
            f"| {seconds:.0f} |"
        )
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def quiet() -> None:
    """Leave out what a newcomer cannot act on: device announcements and advice on worker counts."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for text in (".*does not have many workers.*", ".*log_every_n_steps.*", ".*LeafSpec.*", ".*Checkpoint directory.*"):
        warnings.filterwarnings("ignore", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="a folder of experiments/, for example sp_sw_har")
    parser.add_argument("--runs", nargs="+", default=["scratch", "scratch_long", "eskd", "amd", "tgd", "tpkd"])
    parser.add_argument("--teachers", nargs="*", default=["teacher_raw", "teacher_pi"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="overrides for every run, such as --trainer.max_epochs=5")
    words = parser.parse_args()
    quiet()
    common = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", *words.set)
    rows = []
    for name in words.teachers:  # one teacher a view, shared by the seeds
        config = f"experiments/{words.folder}/{name}.yaml"
        rows.append(finish(Run(words.folder, name, (config,), common), seed=0, per_seed=False))
    for name in words.runs:
        path = Path(f"experiments/{words.folder}/{name}.yaml")
        warm = "init: runs/" in path.read_text()  # starts from the scratch student of the same seed
        start = f"runs/{words.folder}/scratch-seed{{seed}}"
        argument = "init" if name.startswith("scratch") else "student_init"
        extra = (f"--model.init_args.{argument}={start}",) if warm else ()
        rows += [finish(Run(words.folder, name, (str(path),), common + extra), seed) for seed in range(words.seeds)]
    write_csv(rows, Path("runs") / words.folder / "results.csv")
    print(table(rows))


if __name__ == "__main__":
    main()
