"""Stop a teacher at the peak of a validation metric, and keep its weights with their provenance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from kdlab.callbacks.peak import Peak
from kdlab.callbacks.teacher_files import TeacherFiles
from kdlab.methods.base import Method
from kdlab.methods.label_kinds import patterns
from kdlab.methods.number_checks import check_number, check_numbers
from kdlab.methods.plans import planned_epochs
from kdlab.methods.schedules import mode_of
from kdlab.methods.validation import why_none_here
from kdlab.methods.windows import windows_in
from kdlab.types import Batch, InputError

_FEW_SUBJECTS, _FEW_WINDOWS = 4, 50


class EarlyStoppedTeacher(Callback):
    """Stop a teacher at the peak of its smoothed validation metric, and keep those weights as ``teacher.ckpt``.

    After each validation the metric is averaged over the last ``smoothing`` validations; the peak is the best average
    so far, and its weights are kept. Training ends ``patience`` validations after the last improvement of at least
    ``min_delta``. Epochs before ``min_epochs``, and those whose average is not yet over ``smoothing`` validations, do
    not qualify; only when a fit ends before any epoch did is the best of them kept, with a warning.

    In the run's ``checkpoints`` folder it leaves ``teacher.ckpt`` (written when the fit ends), with
    ``stop=False`` also ``teacher-full.ckpt`` (the last epoch, for Full KD), and ``teacher-epoch=<k>.ckpt`` for every
    further epoch in ``epochs`` that is trained. Each describes its data, view, epoch and metric (None, of an epoch
    that is not validated), and the reason. Where a folder holds a teacher already (without a logger there are no
    version folders), the next is ``teacher-v1.ckpt``; :attr:`checkpoint` names it.

    Args:
        monitor: a logged validation metric.
        patience: validations without improvement before training ends.
        min_delta: the smallest change that is an improvement.
        min_epochs: epochs before this one (counted from 0) cannot be the peak.
        smoothing: number of validations averaged.
        epochs: further epochs to snapshot.
        stop: end the training at the peak; ``False`` trains to the last epoch, so that early-stopped (ESKD) and full
            teachers (Full KD) are compared from one run.
        mode: ``"min"`` or ``"max"``; ``None``: losses are minimised, accuracy and F1 are maximised.

    Raises:
        InputError: for values out of range, a name of a metric that says nothing without a mode, when ``monitor`` is
            not logged, or for a fit that ends before its first validation.

    References:
        Cho and Hariharan, On the Efficacy of Knowledge Distillation, ICCV 2019, doi:10.1109/ICCV.2019.00489. The
        released wearable code (jeunsom/TDA_KD@b9091bb train_ad.py) chooses the epoch on the test set, unlike this one.

    Example:
        >>> EarlyStoppedTeacher(patience=5, smoothing=3).mode
        'min'
    """

    paper: ClassVar[tuple[str, ...]] = ("cho2019efficacy",)

    def __init__(
        self,
        monitor: str = "val/loss",
        patience: int = 10,
        min_delta: float = 0.0,
        min_epochs: int = 0,
        smoothing: int = 3,
        epochs: Sequence[int] = (),
        stop: bool = True,
        mode: Literal["min", "max"] | None = None,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        check_number(who, "patience", patience, 10, whole=True, low=1)
        check_number(who, "min_delta", min_delta, 0.0, low=0)
        check_number(who, "min_epochs", min_epochs, 0, whole=True, low=0)
        check_number(who, "smoothing", smoothing, 3, whole=True, low=1)
        check_numbers(who, "epochs", epochs, [10, 20], whole=True)
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.min_epochs, self.smoothing, self.epochs, self.stop = min_epochs, smoothing, tuple(epochs), stop
        self.mode = mode_of(monitor, mode, who)
        self._reset()

    def _reset(self) -> None:
        self._peak = Peak(self.mode == "max", self.min_delta, self.min_epochs, self.smoothing)
        self._files = TeacherFiles()
        #: the finished ``teacher.ckpt``, once there is one
        self.checkpoint: str | None = None
        self._reason = ""
        self._trained = self._kept = -1  # the last epoch, and the last of ``epochs`` that is kept
        self._accuracy = self._majority = math.nan  # at the peak; share of the most frequent class
        self._targets: list[torch.Tensor] = []

    @property
    def history(self) -> list[tuple[int, float]]:
        """Every validation so far: (epoch, metric)."""
        return self._peak.history

    @property
    def peak_epoch(self) -> int:
        """The epoch of the peak so far, -1 before there is one."""
        return self._peak.epoch

    @property
    def peak_value(self) -> float:
        """The smoothed metric at the peak."""
        return self._peak.value

    # ------------------------------------------------------------------ hooks
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module describes its checkpoints, and begin; a fit that resumes then loads its checkpoint."""
        if stage == "fit":
            self._reset()
        if stage == "fit" and not isinstance(pl_module, Method):
            raise InputError(
                "EarlyStoppedTeacher: the module must be a method of kdlab (kdlab.Supervised, ...), but got "
                f"{type(pl_module).__name__}. Train one of those, or leave the callback out."
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the numbers of windows and subjects of the choice, and choose names that overwrite nothing."""
        self._files.claim(trainer)
        windows, limit = windows_in(trainer), trainer.limit_val_batches
        if overfit := trainer.overfit_batches:  # type: ignore[attr-defined]
            rank_zero_warn(
                f"EarlyStoppedTeacher: {self.monitor} is computed on the windows that are trained on "
                f"(overfit_batches={overfit}), which choose no epoch. Leave one of the two out."
            )
            return
        if not windows.counts:
            return
        count, groups = windows.counts["val"]["windows"], windows.counts["val"]["groups"]
        kind = windows.fingerprint["grouping"]
        text = f"EarlyStoppedTeacher: {self.monitor} is computed on {count} windows of {groups} {kind}s"
        if isinstance(limit, int) or limit < 1:  # 1.0 is all batches, and 1 is one
            rank_zero_warn(f"{text}, or on fewer: limit_val_batches={limit} leaves some out. Remove it to read all.")
        elif groups < _FEW_SUBJECTS or count < _FEW_WINDOWS:
            rank_zero_warn(
                f"{text}: too few to choose an epoch reliably. Hold out more {kind}s (val_fraction, val_subjects), "
                "raise smoothing, or set min_epochs."
            )
        else:
            rank_zero_info(text + ".")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the classes of the first validation, for the share of the most frequent one."""
        if isinstance(batch, Batch) and math.isnan(self._majority) and not trainer.sanity_checking:
            self._targets.append(batch.target[batch.index >= 0])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Share of the most frequent class (of the most frequent set, of any number of labels), over all processes."""
        if isinstance(pl_module, Method) and math.isnan(self._majority) and not trainer.sanity_checking:
            classes, many = pl_module.net.num_classes, pl_module.many_labels
            none = torch.zeros((0, classes) if many else 0)
            counts = torch.zeros(patterns(none, classes, many)[1], device=pl_module.device)
            for target in self._targets:
                counts += torch.bincount(patterns(target, classes, many)[0], minlength=len(counts))
            total: Any = trainer.strategy.reduce(counts, reduce_op="sum")
            self._targets, self._majority = [], float(total.max() / total.sum())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the epoch with the peak, keep it if it is the peak, and stop if the peak has passed."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if self.monitor not in trainer.callback_metrics:
            raise InputError(
                f"EarlyStoppedTeacher: monitor must be a logged validation metric, but got {self.monitor!r}. Choose "
                f"one of {', '.join(sorted(k for k in trainer.callback_metrics if k.startswith('val/')))}."
            )
        epoch, value = trainer.current_epoch, float(trainer.callback_metrics[self.monitor])
        if not math.isfinite(value) and all(math.isfinite(before) for _, before in self.history):
            rank_zero_warn(f"EarlyStoppedTeacher: {self.monitor} is {value} after epoch {epoch}; it cannot be a peak.")
        if epoch in self.epochs:
            self._keep_further(trainer, pl_module, epoch, value)
        waited = self._peak.waited
        if self._peak.add(epoch, value):
            self._accuracy = float(trainer.callback_metrics.get("val/accuracy", math.nan))
            smoothed = self._peak.value
            self._files.peak = self._save(trainer, pl_module, "peak", epoch, smoothed, "peak so far", early=True)
        elif self._peak.waited > waited and self._peak.waited >= self.patience and self.stop:
            self._reason = f"no better for {self._peak.waited} validations, up to epoch {epoch}"
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep a further epoch that was not validated."""
        epoch = self._trained = trainer.current_epoch
        if epoch in self.epochs and epoch != self._kept and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._keep_further(trainer, pl_module, epoch, None)

    def _keep_further(self, trainer: Trainer, module: LightningModule, epoch: int, value: float | None) -> None:
        self._save(trainer, module, f"teacher-epoch={epoch}", epoch, value, "requested", early=None)
        self._kept = epoch

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the peak as ``teacher.ckpt`` and, with ``stop=False``, the end as ``teacher-full.ckpt``."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if not self.history:
            rank_zero_warn(
                "EarlyStoppedTeacher: the fit ended before its first validation, so that there is no teacher.ckpt. "
                "Train longer, or lower val_check_interval."
            )
            return
        last, value = self.history[-1]
        if not self.stop:
            end = max(last, self._trained)
            measured = value if end == last else None
            self._save(trainer, pl_module, "teacher-full", end, measured, "the last epoch", early=False)
        if self.peak_epoch < 0:
            rank_zero_warn(f"EarlyStoppedTeacher: {self.monitor} was never finite; the last epoch, {last}, is kept.")
            self._files.peak = self._save(trainer, pl_module, "peak", last, value, "never finite", early=False)
        elif not self._peak.qualified:
            self._reason = f"best of {len(self.history)} validations, none of which qualified"
            rank_zero_warn(
                f"EarlyStoppedTeacher: no epoch qualified as the peak ({len(self.history)} validations, min_epochs="
                f"{self.min_epochs}, smoothing={self.smoothing}); epoch {self.peak_epoch} is kept. Train longer."
            )
        elif not self._reason and self.peak_epoch == last:
            self._reason = "still improving at the last epoch"
            rank_zero_warn("EarlyStoppedTeacher: the metric was still improving at the last epoch; train longer.")
        elif not self._reason:
            self._reason = f"best of {last + 1} epochs"
        if self._accuracy <= self._majority + 1e-6:
            rank_zero_warn(
                f"EarlyStoppedTeacher: the accuracy of the kept epoch {self.peak_epoch} must be above that of always "
                f"predicting the most frequent class ({self._majority:.4f}) to teach anything, but it is "
                f"{self._accuracy:.4f} on the validation windows. Train longer, or with another learning rate."
            )
        self.checkpoint = self._files.finish(trainer, self._reason)

    def _save(
        self,
        trainer: Trainer,
        module: LightningModule,
        name: str,
        epoch: int,
        value: float | None,
        reason: str,
        early: bool | None,
    ) -> str:
        assert isinstance(module, Method)
        stopped = epoch + 1 < (planned_epochs(trainer) or 0) if early is None else early
        provenance = {
            "stopped_early": stopped,
            "epoch": epoch,
            "monitor": self.monitor,
            "value": value,
            "smoothing": self.smoothing,
            "reason": reason,
        }
        return self._files.write(trainer, module, name, provenance)

    # ------------------------------------------------------------------ state
    def state_dict(self) -> dict[str, Any]:
        """The state with which a resumed run chooses the same epoch as an uninterrupted one."""
        return {
            "history": [list(pair) for pair in self.history],
            "peak_epoch": self.peak_epoch,
            "peak_value": self.peak_value,
            "waited": self._peak.waited,
            "qualified": self._peak.qualified,
            "peak_file": self._files.peak,
            "place": self._files.place,
            "accuracy": self._accuracy,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self._peak.history = [(int(epoch), float(value)) for epoch, value in state_dict["history"]]
        self._peak.epoch, self._peak.value = state_dict["peak_epoch"], state_dict["peak_value"]
        self._peak.waited, self._peak.qualified = state_dict["waited"], state_dict["qualified"]
        self._files.peak = state_dict["peak_file"]
        self._files.place = state_dict.get("place", self._files.peak)
        self._accuracy = float(state_dict.get("accuracy", math.nan))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a fit that ends before a validation which it is to have; after a resume, copy the peak."""
        meant = trainer.limit_val_batches != 0 and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if meant and (remedy := why_none_here(trainer)) is not None:
            raise InputError(
                f"EarlyStoppedTeacher: the fit must be validated, but is not. {remedy}, or leave the callback out."
            )
        self._files.resume(trainer)
