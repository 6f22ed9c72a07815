"""Where validate, test and predict write: into the version folder whose checkpoint they read, beside what is there."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from kdlab.files import replacing


def version_folder(checkpoint: str | os.PathLike[str]) -> Path | None:
    """The folder ``version_k`` of a run that holds a checkpoint; None where it is of no run, or cannot be written to.

    Args:
        checkpoint: a file, ``runs/<data set>/<run>/version_k/checkpoints/<name>.ckpt`` or without ``checkpoints``.
    """
    for folder in Path(checkpoint).parents[:2]:
        if (folder / "config.yaml").is_file():
            return folder if os.access(folder, os.W_OK) else None
    return None


class VersionLogger(CSVLogger):
    """Adds rows to the ``metrics.csv`` of a version that is there already; what it holds stays.

    Args:
        folder: the version folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.parent, name="", version=folder.name)
        self._saved_at: dict[str, int] = {}

    def come_from(self, checkpoint: Mapping[str, Any]) -> None:
        """Log the rows at the epoch and the step at which these weights were saved, not at step 0 of a test."""
        epoch, steps = checkpoint.get("epoch"), checkpoint.get("global_step")
        if isinstance(epoch, int) and isinstance(steps, int):
            self._saved_at = {"epoch": epoch, "step": max(0, steps - 1)}

    @property
    @rank_zero_experiment
    def experiment(self) -> _Rows:
        """What collects the rows and writes them."""
        if self._experiment is None:
            self._experiment = _Rows(self.log_dir)
        return cast("_Rows", self._experiment)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: those of the fit are kept."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row."""
        super().log_metrics({**metrics, **self._saved_at}, self._saved_at.get("step", step))


class _Rows(ExperimentWriter):
    """Lightning's writer, which would delete the file that it finds."""

    def _check_log_dir_exists(self) -> None:
        pass

    def save(self) -> None:
        if not self.metrics:
            return
        path, rows = Path(self.metrics_file_path), list[dict[str, Any]]()
        names: list[str] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows, names = list(reader), list(reader.fieldnames or ())
        rows += self.metrics
        names += sorted({name for row in self.metrics for name in row} - set(names))
        with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        self.metrics = []
