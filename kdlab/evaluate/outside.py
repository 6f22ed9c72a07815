"""The windows of a data module that is not kdlab's, as an evaluation reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer

from kdlab.evaluate.cost import latency, macs, parameters
from kdlab.methods.base import Method
from kdlab.methods.batches import batch_of
from kdlab.methods.receiving import batches_in, through_hooks
from kdlab.methods.windows import PartialWindows
from kdlab.types import Batch


class OutsideData(PartialWindows):
    """A data module of another origin: its loaders give the windows, in their order.

    Its test windows are not corrupted, and no class is held out.

    Args:
        datamodule: set up.
        module: the method that reads its batches.
    """

    corruption: Any = None

    def __init__(self, datamodule: LightningDataModule, module: Method) -> None:
        super().__init__(datamodule)
        self.module = module

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes; their numbers where they have none."""
        return super().classes or [str(k) for k in range(int(self.module.net.num_classes))]

    def batches(
        self, stage: str = "test", batch_size: int | None = None, views: Sequence[str] | None = None
    ) -> Iterator[Batch]:
        """The batches of a stage's loader, of the size that they have there."""
        held: LightningDataModule = self._held
        reads, seen = self.module.reads(stage), 0
        for given in batches_in(held.test_dataloader() if stage == "test" else held.val_dataloader()):
            batch = batch_of(through_hooks(held, given), replace(reads, order=(seen, 1)))
            self.sample = {name: tuple(x.shape[1:]) for name, x in batch.views.items()}
            seen += len(batch.index)
            yield batch

    def costs(self) -> dict[str, float]:
        """``parameters``, ``macs`` and ``latency_ms`` of the net, for a window as in the batches before."""
        net, shape = self.module.net, self.sample[self.module.view]
        return {
            "parameters": float(parameters(net)),
            "macs": float(macs(net, shape)),
            "latency_ms": latency(net, shape),
        }


def set_up(datamodule: LightningDataModule, *stages: str) -> None:
    """Set up a data module; one of another origin gets a trainer, which it may read."""
    if datamodule.trainer is None:
        quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        datamodule.trainer = Trainer(accelerator="cpu", devices=1, **quiet)
    datamodule.prepare_data()
    for stage in stages:
        datamodule.setup(stage)
