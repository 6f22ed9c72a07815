"""Stochastic weight averaging: the mean of the weights after each of the last epochs."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn

from kdlab.methods.averages import average_of
from kdlab.methods.base import Method
from kdlab.methods.dry_run import evaluating
from kdlab.methods.number_checks import check_number
from kdlab.methods.plans import has_end, planned_epochs
from kdlab.methods.windows import lacks, name_of, windows_in
from kdlab.types import InputError


class EpochAveraging(WeightAveraging):
    r"""Keep the mean of the weights after each epoch from ``start`` on, with batch statistics of its own (SWA).

    .. math:: \bar\theta_n = \bar\theta_{n-1} + (\theta_n - \bar\theta_{n-1}) / n

    Validation measures the mean, and ``best.ckpt`` (``teacher.ckpt``, ...) holds it; before ``start`` both are those of
    the current weights. Running statistics of a mean of weights are not the mean of the running statistics, so they are
    computed from the training windows after each update, in data set order and without augmentation: each is the mean
    over batches. The learning rate is the schedule's; the paper's is constant from ``start`` on (torch's ``SWALR``).

    Args:
        start: the first epoch that is averaged, counted from 0; below 1, a share of the planned epochs.
        every: epochs from one update to the next.
        refresh: compute the statistics of batch norm; ``False`` averages them.

    Raises:
        InputError: for a value out of range, an end that is not planned, or windows that cannot be read in order.

    References:
        Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018, arXiv:1803.05407.

    Example:
        >>> average = EpochAveraging(start=3, every=2)
        >>> [epoch for epoch in range(8) if average.should_update(epoch_idx=epoch)]
        [3, 5, 7]
    """

    paper: ClassVar[tuple[str, ...]] = ("izmailov2018averaging",)

    def __init__(self, start: float = 0.8, every: int = 1, refresh: bool = True) -> None:
        super().__init__(use_buffers=True)
        check_number("EpochAveraging", "start", start, 0.8, low=0)
        check_number("EpochAveraging", "every", every, 1, whole=True, low=1)
        if start >= 1 and start != int(start):
            raise InputError(
                f"EpochAveraging: start must be an epoch or a share below 1, but got {start}. Write {int(start)}."
            )
        self.start, self.every, self.refresh = start, every, refresh
        self._first = int(start)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether the weights after this epoch are averaged."""
        return epoch_idx is not None and epoch_idx >= self._first and (epoch_idx - self._first) % self.every == 0

    def plan(self, epochs: int | None) -> None:
        """Find the first epoch in a fit of so many epochs."""
        if self.start < 1:
            self.check(epochs is not None)
            self._first = int(self.start * (epochs or 0))

    def check(self, ends: bool) -> None:
        """Refuse a share as ``start`` unless the fit has a planned end."""
        if self.start < 1 and not ends:
            raise InputError(
                f"EpochAveraging: start must be an epoch where the fit has no planned end, but got {self.start}. "
                "Set an epoch, or max_epochs of the trainer."
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin a fit without an update; one that resumes then loads its checkpoint."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._latest_update_step, self._latest_update_epoch = 0, -1

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the fit has an end, and that the statistics can be computed."""
        self.check(has_end(trainer))
        windows = windows_in(trainer)
        if self.refresh and lacks(windows, "batches"):
            raise InputError(
                f"EpochAveraging: refresh must be false for {name_of(windows)}, whose training windows cannot be read "
                "in order, but got true. Set refresh: false, which averages the statistics of batch norm."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the first epoch."""
        super().on_train_start(trainer, pl_module)
        self.plan(planned_epochs(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the mean, and compute its batch statistics."""
        before = self._latest_update_epoch
        super().on_train_epoch_end(trainer, pl_module)
        average = average_of(trainer)
        if self.refresh and average is not None and before != self._latest_update_epoch:
            assert isinstance(pl_module, Method)
            net: Any = average.module.net
            refresh_statistics(net, windows_in(trainer).batches("train", views=[pl_module.view]), pl_module.view)


@torch.no_grad()
def refresh_statistics(net: nn.Module, batches: Any, view: str) -> None:
    """Set the running statistics of batch norm to the means over batches, all other layers as in evaluation.

    Args:
        net: whose statistics they are.
        batches: of training windows.
        view: that the net reads.
    """
    with evaluating(net):
        net.train()  # as in the fit: frozen parts, and what a net keeps in evaluation mode itself, stay in it
        known = [part for part in net.modules() if part.training]
    layers = [part for part in known if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats]
    if not layers:
        return
    momenta, device = [layer.momentum for layer in layers], next(net.parameters()).device
    with evaluating(net):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # all batches alike
            layer.training = True
        try:
            for batch in batches:
                net(batch.views[view].to(device))
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
