"""Figures of a run: its views, and at the end its confusion matrix; beside the checkpoints and in Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info
from matplotlib.figure import Figure
from torchmetrics.classification import MulticlassConfusionMatrix

from kdlab.figures.confusion import plot_confusion
from kdlab.files import replacing, unused
from kdlab.methods.base import Method
from kdlab.methods.number_checks import check_number
from kdlab.methods.receiving import only_one
from kdlab.methods.windows import lacks, windows_in


def save_figure(trainer: Trainer, name: str, figure: Figure) -> None:
    """Save a figure as ``<name>.png`` in the run's version folder, and log it to every Weights & Biases logger.

    An earlier figure of this name stays; then the file is ``<name>-1.png``, and so on. Every process calls it; the
    first one saves.
    """
    folder = Path(trainer.log_dir or trainer.default_root_dir)  # all processes take part
    if not trainer.is_global_zero:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = unused(folder / f"{name}.png")
    with replacing(path) as part:
        figure.savefig(part, dpi=120, bbox_inches="tight")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key=name, images=[str(path)])


class ViewPictures(Callback):
    """Draw training windows of each class in every view of the data module, when the fit begins (``views.png``).

    Args:
        per_class: windows per class.

    Raises:
        InputError: for a number below 1.
    """

    def __init__(self, per_class: int = 1) -> None:
        super().__init__()
        check_number("ViewPictures", "per_class", per_class, 1, whole=True, low=1)
        self.per_class = per_class

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        windows = windows_in(trainer)
        if not lacks(windows, "plot_views"):
            save_figure(trainer, "views", windows.plot_views(per_class=self.per_class))


class ConfusionMatrixPicture(Callback):
    """Draw the confusion matrix of the validation windows at the end of a fit, and of the test windows after a test.

    Windows with any number of labels each have none: it is left out, with a line that says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._matrix: MulticlassConfusionMatrix | None = None
        self._left_out = False

    def _check(self, module: LightningModule) -> None:
        """Leave the matrix out where a window has any number of labels."""
        self._left_out = isinstance(module, Method) and module.many_labels
        if self._left_out:
            rank_zero_info(
                "ConfusionMatrixPicture: left out, because windows have any number of labels; kdlab evaluate counts "
                "right and wrong windows of each class."
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See whether windows have one class each."""
        self._check(pl_module)

    def _start(self, module: Any) -> None:
        self._matrix = MulticlassConfusionMatrix(module.net.num_classes).to(module.device)

    def _add(self, module: Any, batch: Any) -> None:
        assert self._matrix is not None
        keep = batch.index >= 0
        precision = module.trainer.precision_plugin
        batch = precision.convert_input(batch)
        with torch.no_grad(), precision.val_step_context():
            logits = module.net(batch.views[module.view]).logits
        self._matrix.update(logits[keep], batch.target[keep])

    def _draw(self, trainer: Trainer, name: str) -> None:
        assert self._matrix is not None
        matrix = self._matrix.compute().cpu()
        classes = windows_in(trainer).classes or range(len(matrix))
        save_figure(trainer, name, plot_confusion(matrix, [str(c) for c in classes]))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the validation matrix of the final weights."""
        loader = only_one(trainer.val_dataloaders)
        if not loader or self._left_out:
            return
        self._start(pl_module)
        pl_module.eval()
        module: Any = pl_module
        for batch in loader:
            self._add(module, module.received(batch, "val"))
        self._draw(trainer, "confusion_val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a matrix."""
        self._check(pl_module)
        if not self._left_out:
            self._start(pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch."""
        if not self._left_out:
            self._add(pl_module, batch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the test matrix."""
        if not self._left_out:
            self._draw(trainer, "confusion_test")
