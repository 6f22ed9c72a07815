"""The windows of a data module that is not kdlab's, as an export reads them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from kdlab.evaluate.outside import set_up
from kdlab.export.formats import CARD_VERSION, INPUT, OUTPUT
from kdlab.methods.batches import Reads, batch_of
from kdlab.methods.receiving import batches_in, through_hooks
from kdlab.methods.windows import PartialWindows
from kdlab.nets.base import Backbone
from kdlab.types import Batch, InputError

_UNITS = "not known: as the data module gave them, which is not one of kdlab; scale is the identity"


class OutsideWindows(PartialWindows):
    """The windows of the loaders, numbered in the order in which they are read; each stage is read once.

    Args:
        datamodule: any; it is set up here.
        described: the description in the checkpoint.
        net: of the checkpoint.

    Raises:
        InputError: for a checkpoint that was trained on data of kdlab, whose scaling these windows lack.
    """

    def __init__(self, datamodule: LightningDataModule, described: Mapping[str, Any], net: Backbone) -> None:
        super().__init__(datamodule)
        if described.get("fingerprint"):
            raise InputError(
                "CKPT: the data module must be the one of kdlab that the checkpoint was trained on, which scales the "
                f"windows, but got {self.name}. Pass that one (config.yaml beside its checkpoints)."
            )
        rank_zero_warn(
            f"export: units, channels and scaling of {self.name} are not known to kdlab: the file reads windows as its "
            f"loaders give them for view {described['view']!r}, and its card says so."
        )
        self.view, self.net = str(described["view"]), net
        set_up(datamodule, "fit", "test")
        self._stages: dict[str, tuple[NDArray[np.int64], torch.Tensor]] = {}
        self._arrays: list[NDArray[Any]] = []

    @property
    def source(self) -> tuple[str, list[int]]:
        """The view that the net reads, and its channels."""
        return self.view, list(range(self.net.in_channels))

    @property
    def data(self) -> SimpleNamespace:
        """All windows that were read so far, under ``windows``."""
        return SimpleNamespace(windows={self.view: np.concatenate(self._arrays)})

    @property
    def train_index(self) -> NDArray[np.int64]:
        """Numbers of the training windows."""
        return self._read("train")[0]

    def batches(
        self, stage: str = "train", batch_size: int | None = None, views: Sequence[str] | None = None
    ) -> Iterator[Batch]:
        """The windows of a stage, with their numbers."""
        index, target = self._read(stage)
        size, arrays = batch_size or len(index), self.data.windows[self.view]
        for at in range(0, len(index), size):
            rows = index[at : at + size]
            x = {self.view: torch.from_numpy(arrays[rows])} if views is None or self.view in views else {}
            yield Batch(x, target[at : at + size], torch.from_numpy(rows))

    def _read(self, stage: str) -> tuple[NDArray[np.int64], torch.Tensor]:
        if stage not in self._stages:
            held: LightningDataModule = self._held
            made = {"train": held.train_dataloader, "val": held.val_dataloader, "test": held.test_dataloader}[stage]
            views = {self.view: ("the net", self.net)}
            reads = Reads("export", stage, views, self.net.num_classes, torch.float32)
            batches = []
            for given in batches_in(made()):
                batches.append(batch_of(through_hooks(held, given), reads))
            if not batches:
                raise InputError(
                    f"export: the {stage} loader of {self.name} must give batches, but gave none. Fill it."
                )
            x = torch.cat([batch.views[self.view] for batch in batches]).cpu().numpy()
            first = sum(map(len, self._arrays))
            self._arrays.append(x)
            index = np.arange(first, first + len(x))
            self._stages[stage] = index, torch.cat([batch.target for batch in batches]).cpu()
        return self._stages[stage]

    def card(self, format: str) -> dict[str, Any]:
        """The entries of the card on input, output and data, as far as they are known."""
        axes = [int(n) for n in self._arrays[0].shape[2:]]
        channels, known = int(self.net.in_channels), len(self.classes) == self.net.num_classes
        classes = [str(c) for c in (self.classes if known else range(int(self.net.num_classes)))]
        samples = {"samples": axes[0], "seconds": None} if len(axes) == 1 else {"height": axes[0], "width": axes[1]}
        return {
            "card_version": CARD_VERSION,
            "kdlab": importlib.metadata.version("kdlab"),
            "torch": torch.__version__,
            "format": format,
            "quantisation": None,
            "classes": classes,
            "channels": [{"name": f"channel_{c}", "unit": None} for c in range(channels)],
            "sampling_rate": None,
            "window": samples,
            "input": {
                "name": INPUT,
                "shape": ["batch", channels, *axes],
                "dtype": "float32",
                "units": _UNITS,
            },
            "output": {"name": OUTPUT, "shape": ["batch", len(classes)], "dtype": "float32"},
            "scale": {"offset": [0.0] * channels, "divisor": [1.0] * channels, "clip": False},
        }
