"""Predictions of a net as a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from kdlab.files import cell, replacing, unused
from kdlab.functional import labelled_rows
from kdlab.methods.base import Method
from kdlab.methods.evaluated import warn_of_batches
from kdlab.methods.windows import windows_in, windows_of


class PredictionWriter(Callback):
    """Write ``predictions.csv`` after ``predict``: index, subject, target, prediction and one probability per class.

    With any number of labels per window target and prediction are the names of the classes, joined by ``|``, and the
    probabilities are those of each class by itself; the target of an unlabelled window is -1.

    Windows of ``predict_root`` have recording, start and end in place of subject and target: written as the times of
    the recording are, the end that of the sample that would follow; ``class`` is the name of the prediction.

    Rows are in data-set order, also when several processes predicted.

    Args:
        path: the file; ``predictions.csv`` in the trainer's log folder by default, which on the command line is the
            version folder of the checkpoint. Where there is one already, the name ends with -1, -2, ... instead.
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__()
        self.path = path
        self._rows: list[dict[str, torch.Tensor]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start without rows."""
        self._rows = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a batch."""
        self._rows.append({name: value.detach().cpu() for name, value in outputs.items()})

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather, sort and write."""
        if not self._rows:
            return
        rows = {name: torch.cat([row[name] for row in self._rows]) for name in self._rows[0]}
        if trainer.world_size > 1:  # every rank has the same number of rows: the data module adds repeats
            gathered = {name: pl_module.all_gather(value.to(pl_module.device)) for name, value in rows.items()}
            rows = {name: torch.as_tensor(value).flatten(0, 1).cpu() for name, value in gathered.items()}
        folder = trainer.log_dir or trainer.default_root_dir
        if trainer.is_global_zero:
            path = Path(self.path) if self.path else unused(Path(folder) / "predictions.csv")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_predictions(path, rows, windows_in(trainer))
            rank_zero_info(f"predictions -> {path}")
            if isinstance(pl_module, Method):
                warn_of_batches(pl_module.net, "predictions")
        trainer.strategy.barrier("predictions.csv")


def write_predictions(path: Path, rows: dict[str, torch.Tensor], datamodule: object = None) -> None:
    """Write predictions in data-set order; repeats (negative indices) are left out.

    Args:
        path: the CSV file.
        rows: ``index`` (N,), ``target`` (N,), ``prediction`` (N,), ``probabilities`` (N, K); with any number of labels
            per window, target and prediction (N, K) of 0 and 1.
        datamodule: has the names of subjects and classes, where they are known.
    """
    keep = torch.nonzero(rows["index"] >= 0).flatten()
    order = keep[torch.argsort(rows["index"][keep], stable=True)]
    index = rows["index"][order].tolist()
    windows = windows_of(datamodule)
    classes = windows.classes or [str(k) for k in range(rows["probabilities"].shape[1])]
    moments, prediction = windows.moments_of(index), _column(rows["prediction"][order], classes)
    if moments:
        names = ["recording", "start", "end", "prediction", "class"]
        own = [[cell(value) for value in column] for column in zip(*moments, strict=True)]
        named = [cell(classes[p]) if isinstance(p, int) else p for p in prediction]
        columns: list[Sequence[Any]] = [*own, prediction, named]
    else:
        names = ["subject", "target", "prediction"]
        subjects = [cell(subject) for subject in windows.subject_of(index)]
        columns = [subjects, _column(rows["target"][order], classes), prediction]
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["index", *names, *(f"probability_{name}" for name in classes)])
        for i, *cells, p in zip(index, *columns, rows["probabilities"][order].tolist(), strict=True):
            writer.writerow([i, *cells, *(f"{value:.6g}" for value in p)])


def _column(labels: torch.Tensor, classes: Sequence[str]) -> list[Any]:
    """One cell per window: its class, or the names of its classes."""
    if labels.ndim == 1:
        return labels.tolist()
    named = ("|".join(name for name, own in zip(classes, row, strict=True) if own == 1) for row in labels.tolist())
    return [cell(names) if known else -1 for names, known in zip(named, labelled_rows(labels).tolist(), strict=True)]
