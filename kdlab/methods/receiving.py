"""How a method receives batches: those of kdlab's data modules as they are, all others through `batch_of`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader

from kdlab import distributed
from kdlab.methods.arguments import objective_of
from kdlab.methods.batches import Reads, Unindexed, batch_of, size_of
from kdlab.methods.windows import PartialWindows, name_of, windows_of
from kdlab.nets.base import Backbone
from kdlab.objectives import CrossEntropy
from kdlab.types import Batch, InputError, Windows

_EVALUATES = {"fit": "validate on", "validate": "validate on", "test": "test on", "predict": "predict"}
_UNSIZED = 1000  # batches of a loader without length that the statistics are of


class Receiving(LightningModule):
    """Makes a `Batch` of what plain loaders and data modules of another origin give, in every stage.

    A batch passes through Lightning's hooks of transfer, in the method or the data module, as it is given; those that
    a data module overrides see its own form.
    """

    #: whether no term reads a label, where the method has no objective to tell
    label_free: ClassVar[bool] = False

    net: Backbone
    view: str
    many_labels: bool
    _stage: str | None = None  # of the batches that are read outside of Lightning's loops
    _position = 0  # of the next window to predict
    _outside = False  # whether batches are of another origin than kdlab's
    _late = False  # whether the data module moves batches, or changes them afterwards, in its own way

    # ---- what a method reads
    def read_views(self, stage: str) -> dict[str, tuple[str, Backbone | None]]:
        """The views that a stage reads (see `Reads`): view -> who reads it, and its net where it is known."""
        views = {self.view, *self.evaluation_views()}
        return {view: (type(self).__name__, self.net if view == self.view else None) for view in sorted(views)}

    def evaluation_views(self) -> set[str]:
        """The views that validation, test and prediction read; the data module computes no others for them."""
        return {self.view}

    @property
    def reads_labels(self) -> bool:
        """Whether all of its terms read labels, so that training windows without one are left out."""
        objective = objective_of(self)
        return not self.label_free and (objective is None or objective.reads_labels)

    def needs_index(self) -> str | None:
        """Why training needs a stable index of each window; None: it does not."""
        objective = objective_of(self)
        given = None if objective is None else inspect.signature(objective.forward).parameters.get("index")
        required = given is not None and given.default is given.empty
        return f"{type(objective).__name__} reads it" if required else None

    # ---- Lightning's transfer of a batch
    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        given = super()._on_before_batch_transfer(batch, dataloader_idx)
        return given if batch is self.example_input_array or self._late else self._received(given)

    def _apply_batch_transfer_handler(
        self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> Any:
        given = super()._apply_batch_transfer_handler(batch, device, dataloader_idx)
        return self._received(given) if batch is not self.example_input_array and self._late else given

    def receive_from(self, datamodule: Any, stage: str) -> None:
        """Set the data module whose batches come next; None: loaders.

        Raises:
            InputError: for several loaders to evaluate on.
        """
        self._outside = isinstance(windows_of(datamodule), PartialWindows)
        given = _loader_of(self.trainer, stage) if self._outside else None
        if isinstance(given, list | tuple | dict) and len(given) > 1:
            raise InputError(
                f"{type(self).__name__}: there must be one loader to {_EVALUATES[stage]}, "
                f"because its metrics are those of all windows, but got {len(given)}. Join their data sets "
                "(torch.utils.data.ConcatDataset), or call the trainer once for each."
            )
        hooks = ("transfer_batch_to_device", "on_after_batch_transfer")
        own = [vars(cls).keys() for cls in type(datamodule).__mro__ if cls not in LightningDataModule.__mro__]
        self._late = datamodule is not None and any(hook in names for names in own for hook in hooks)
        self._position = 0

    def _received(self, given: Any) -> Any:
        """A `Batch` of what a loader gave."""
        trainer = self._trainer
        if trainer is None or (isinstance(given, Batch) and not self._outside):
            return given
        stage = self._stage or _stage_of(trainer)
        batch = batch_of(given, self.reads(stage))
        if isinstance(batch, Unindexed) and stage == "predict":
            self._position += size_of(batch)
        return batch

    def reads(self, stage: str) -> Reads:
        """What the method reads of the batches of a stage."""
        dtype = next(self.net.parameters()).dtype
        needed = self.needs_index() if stage == "train" else None
        step = distributed.world_size()
        order = (self._position * step + distributed.rank(), step)
        return Reads(
            type(self).__name__,
            stage,
            self.read_views(stage),
            int(self.net.num_classes),
            dtype,
            needed,
            order,
            unlabelled=stage == "predict" or (stage == "train" and self._takes_unlabelled()),
            many=self.many_labels,
        )

    def _takes_unlabelled(self) -> bool | Literal["batch"]:
        """Whether training windows may have no label; for labels alone only those of a `Batch`, which declares it."""
        return "batch" if isinstance(objective_of(self), CrossEntropy) else not self.reads_labels

    def received(self, batch: Any, stage: str) -> Batch:
        """A batch of a loader of the trainer, as its loops hand it over to the steps.

        Args:
            batch: as the loader gave it.
            stage: whose loader it is.
        """
        self._stage = stage
        try:
            given = self._on_before_batch_transfer(self.trainer.precision_plugin.convert_input(batch))
            ready: Batch = self._apply_batch_transfer_handler(given, self.device)
        finally:
            self._stage = None
        return ready

    # ---- before the first step
    def _seen_windows(self, datamodule: Any) -> Windows:
        """The data as a fit reads them, with the shapes of a first batch where no data module declares them.

        The batch is read once more by the fit; random states are as before. Of a loader that can be read once only,
        nothing is known.

        Raises:
            InputError: for a batch that cannot be read.
        """
        windows = windows_of(datamodule)
        if not isinstance(windows, PartialWindows) or windows.has("view_shape"):
            return windows
        if (batch := self._first(datamodule)) is not None:
            windows.sample = {name: tuple(x.shape[1:]) for name, x in batch.views.items()}
        return windows

    def _first(self, datamodule: Any) -> Batch | None:
        fitting = self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING
        if fitting:
            loader = _loader_of(self._trainer, "train")
        else:  # before the fit, as on the command line
            loader = None if datamodule is None else datamodule.train_dataloader()
        if loader is None or is_read_once(loader):
            return None
        with isolate_rng(include_cuda=False), unmoved(loader):
            given = next(batches_in(loader), None)
            if given is None:
                who = type(self).__name__
                raise InputError(f"{who}: the training loader must give batches, but gave none. Fill it.")
            if not fitting:
                return batch_of(through_hooks(datamodule, given), self.reads("train"))
            batch = self.received(given, "train")
        index = "without index" if isinstance(batch, Unindexed) else "with index"
        shapes = ", ".join(f"{name!r} {tuple(batch.views[name].shape[1:])}" for name in self.read_views("train"))
        rank_zero_info(
            f"{type(self).__name__}: {name_of(windows_of(datamodule))} give batches of a {type(given).__name__}, read "
            f"as view {shapes}, labels of {self.net.num_classes} classes, {index}."
        )
        return batch

    def standardise_from_loader(self) -> None:
        """Fill the net's standardisation from one pass over the training loader, of all processes together.

        Raises:
            InputError: for a loader that can be read once only.
        """
        loader: Any = self.trainer.train_dataloader
        if is_read_once(loader):
            raise InputError(
                f"{type(self).__name__}: the training loader must be readable more than once, because the net's "
                f"standardisation is one pass over it, but got a {type(loader).__name__}. Give a DataLoader, or fill "
                "it before the fit: net.standardize.fill(mean, std), without arguments for windows that are scaled."
            )
        most = sys.maxsize if _sized(loader) else int(min(self.trainer.num_training_batches, _UNSIZED))
        batches = (self.received(batch, "train") for batch in islice(batches_in(loader), most))
        mean, std, windows = loader_statistics(batches, self.view)
        self.net.standardize.fill(mean, std)
        rank_zero_info(
            f"{type(self).__name__}: view {self.view!r} is standardised with mean {_short(mean)} and standard "
            f"deviation {_short(std)} per channel, from {windows} windows of the training loader."
        )


def through_hooks(datamodule: LightningDataModule, given: Any) -> Any:
    """A batch as the hooks of a data module change it, on the CPU, outside of a trainer."""
    moved = datamodule.transfer_batch_to_device(datamodule.on_before_batch_transfer(given, 0), torch.device("cpu"), 0)
    return datamodule.on_after_batch_transfer(moved, 0)


def loader_statistics(loader: Iterable[Batch], view: str) -> tuple[Tensor, Tensor, int]:
    """Mean and standard deviation per channel of a view over all batches, and the number of windows, of all ranks."""
    count, total, square, windows = 0, torch.zeros(()).double(), torch.zeros(()).double(), 0
    device = torch.device("cpu")
    for batch in loader:
        device = batch.views[view].device
        x = batch.views[view].double().transpose(0, 1).flatten(1).cpu()
        count, total, square = count + x.shape[1], total + x.sum(1), square + x.square().sum(1)
        windows += len(batch.index)
    if distributed.world_size() > 1:
        sums = torch.cat([torch.tensor([count, windows]).double(), total, square]).to(device)
        summed = distributed.total(sums).cpu()
        (count, windows), (total, square) = (int(n) for n in summed[:2]), summed[2:].chunk(2)
    mean = total / count
    return mean, (square / count - mean.square()).clamp_min(0).sqrt(), windows


def _stage_of(trainer: Any) -> str:
    if trainer.predicting:
        return "predict"
    if trainer.testing:
        return "test"
    return "val" if trainer.validating or trainer.sanity_checking else "train"


def _loader_of(trainer: Any, stage: str) -> Any:
    """The loader, or the loaders, of ``"train"`` or of what a stage evaluates; None where there is none."""
    loops = {
        "train": trainer.fit_loop,
        "fit": trainer.fit_loop.epoch_loop.val_loop,
        "validate": trainer.validate_loop,
        "test": trainer.test_loop,
        "predict": trainer.predict_loop,
    }
    source = loops[stage]._data_source
    return source.dataloader() if source.instance is not None and source.is_defined() else None


def only_one(loaders: Any) -> Any:
    """The loader of a list, tuple or mapping of one, as Lightning takes it to evaluate on; any other as it is."""
    one = isinstance(loaders, list | tuple | dict) and len(loaders) == 1
    return next(iter(loaders.values() if isinstance(loaders, dict) else loaders)) if one else loaders


def batches_in(loader: Any) -> Iterator[Any]:
    """The batches of a loader or of several, as Lightning's training loop gets them."""
    combined = loader if isinstance(loader, CombinedLoader) else CombinedLoader(loader, "max_size_cycle")
    return (batch for batch, _, _ in iter(combined))


@contextmanager
def unmoved(loader: Any) -> Iterator[None]:
    """Restore the random generator of a loader that has one of its own."""
    own: Any = loader.generator if isinstance(loader, DataLoader) else None
    state = None if own is None else own.get_state()
    try:
        yield
    finally:
        if state is not None:
            own.set_state(state)


def is_read_once(loader: Any) -> bool:
    """Whether it can be read once only."""
    data: Mapping[str, Any] = loader.__dict__ if isinstance(loader, DataLoader) else {}
    return isinstance(loader, Iterator) or isinstance(data.get("dataset"), Iterator)


def _sized(loader: Any) -> bool:
    try:
        return len(loader) >= 0
    except TypeError:
        return False


def _short(values: Tensor) -> str:
    shown = ", ".join(f"{float(value):.4g}" for value in values[:8])
    return f"({shown}{', ...' if len(values) > 8 else ''})"
