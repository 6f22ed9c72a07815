"""The folder of a run, ``version_k``: claimed by one fit, cleared of leftovers; tests and predictions add to it."""

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

from kdlab.files import remove_leftovers, replacing


class RunLogger(CSVLogger):
    """Lightning's CSV logger, whose version folder belongs to one run alone.

    Args:
        save_dir: the folder of all runs.
        name: the run's name.
        version: of a folder that exists; ``None``: the next one.
    """

    def __init__(self, save_dir: str, name: str, version: int | str | None = None) -> None:
        super().__init__(save_dir, name, version)
        self._given = version is not None
        self._before: list[dict[str, str]] | None = None
        self._cut = False

    def cut_epoch(self) -> None:
        """The epoch that ends now was cut off (``max_steps``, ``max_time``): the means over its steps get no row."""
        self._cut = True

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row."""
        if not self._cut or not all(name == "epoch" or name.startswith("train/") for name in metrics):
            super().log_metrics(metrics, step)

    def go_on(self, rows: list[dict[str, str]]) -> None:
        """Begin ``metrics.csv`` with these rows, of the fit that is resumed."""
        self._before = rows

    @rank_zero_only
    def claim(self) -> None:
        """Make the version folder; of two runs that start in the same moment, each gets its own.

        What killed processes left half-written in the run's folders is removed.

        Raises:
            OSError: the folder cannot be made.
        """
        root = Path(self.root_dir)
        root.mkdir(parents=True, exist_ok=True)
        for folder in root.glob("version_*"):
            for place in (folder, folder / "checkpoints"):
                remove_leftovers(place)
        while not self._given:
            try:
                Path(self.log_dir).mkdir()
                self._given = True
            except FileExistsError:  # another run was faster
                self._version = int(self.version) + 1

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of ``metrics.csv``."""
        if self._experiment is None:
            Path(self.root_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _Writer(self.log_dir, self._before)
        return self._experiment  # type: ignore[return-value]


class _Writer(ExperimentWriter):
    """Lightning's writer, in UTF-8 whatever the locale; a full disk leaves the rows that were there."""

    def __init__(self, log_dir: str, before: list[dict[str, str]] | None = None) -> None:
        self._before = before
        super().__init__(log_dir)
        self._fs = _Utf8(self._fs)
        if before:
            self.metrics_keys = sorted({name for row in before for name in row})
            with replacing(self.metrics_file_path) as part, part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
                writer.writeheader()
                writer.writerows(before)

    def _check_log_dir_exists(self) -> None:
        if self._before is None:
            super()._check_log_dir_exists()
        else:
            Path(self.metrics_file_path).unlink(missing_ok=True)  # its rows are written again

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, before = list(reader), list(reader.fieldnames or [])
        try:
            with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=fieldnames)
                writer.writeheader()
                writer.writerows(rows)
        except OSError:
            self.metrics_keys = before  # the file has its old columns still
            raise


class _Utf8:
    """A file system that opens text as UTF-8."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def open(self, path: str, mode: str = "r", **options: Any) -> Any:
        return self._system.open(path, mode, **options | {"encoding": "utf-8"})


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
        self._folder = folder
        self._saved_at: dict[str, int] = {}

    @rank_zero_only
    def claim(self) -> None:
        """Remove what killed processes left half-written in the folder."""
        for place in (self._folder, self._folder / "checkpoints"):
            remove_leftovers(place)

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
