"""The Lightning module that all methods share: steps, metrics, logs and checkpoints."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from kdlab.fingerprint import check_use
from kdlab.methods.arguments import objective_arguments, objective_of
from kdlab.methods.auto_weights import described_auto, measure_weights, restore_auto, warn_of_dominance
from kdlab.methods.averages import before_validation, check_current, follow, keep_average
from kdlab.methods.checkpoints import KEY, description
from kdlab.methods.class_weights import check_label_term, described_weights, restore_weights, use_many_labels
from kdlab.methods.constructor import check_given, check_optimizer
from kdlab.methods.dry_run import put_adapters_back
from kdlab.methods.epoch_means import EpochMeans
from kdlab.methods.evaluated import log_once
from kdlab.methods.finite import Watch, check_finite, check_fit, check_settings, check_state, refuse_terms
from kdlab.methods.label_kinds import check_same_labels, predicted, probabilities_of, trained_on_many
from kdlab.methods.metrics import metrics_of
from kdlab.methods.plans import Interval, plan_here, plan_of, planned_epochs, start_of
from kdlab.methods.preparation import Preparation
from kdlab.methods.progress import reached
from kdlab.methods.resumed import keep, read, take_up
from kdlab.methods.schedules import OptimizerCallable, ScheduleCallable, checked_init_lr, scheduled
from kdlab.methods.step_values import StepValues
from kdlab.methods.tuning import use_findings
from kdlab.methods.validation import check_schedules
from kdlab.methods.windows import datamodule_in, lacks, predicts_new, windows_of
from kdlab.nets.base import Backbone, MemoryFormat
from kdlab.nets.plain import as_backbone
from kdlab.nets.recorded import same_net
from kdlab.types import Batch, InputError, Output


def sgd(params: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The papers' optimiser: SGD, learning rate .05, momentum .9, weight decay 1e-4."""
    return torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-4)


class Method(Preparation):
    """Base of all methods: one net that is trained on one view, validated, tested and described in its checkpoints.

    A method implements :meth:`terms`. Logged are ``train/loss`` and ``train/<term>``, ``val/`` and ``test/`` with
    ``loss`` (cross-entropy), ``accuracy`` and ``f1`` (macro), see :func:`kdlab.methods.metrics.metrics_of`.

    Of training, too, are logged ``train/accuracy`` (of the net in training mode, with the most probable class of a
    mixed label; windows without a label are left out), ``train/grad_norm`` (2-norm of the gradient before clipping) and
    ``train/lr``. These are means over an epoch, of ``train/lr`` the last value. Every ``log_every_n_steps`` steps of
    the optimiser the values of that step are logged as ``train/<name>_step``, the learning rate as ``train/lr``.

    Args:
        net: the net that is trained.
        view: name of the view that it reads.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes the learning-rate schedule from the optimiser, stepped once an epoch; none by default. Those of
            `kdlab.methods.schedules` know the length of the fit and what they watch.
        init: checkpoint file or run folder of the same net, trained on the same split, whose weights it starts from.
        compile: compile the net in place for the fit, with torch's default backend or the named one. Each shape of a
            batch is compiled once, in training and in evaluation, which may take a minute; checkpoints stay as they
            are.
        memory_format: ``"channels_last"`` or ``"contiguous"`` features; ``None``: the net's choice, see `Backbone`.
        num_classes: number of classes of a plain ``torch.nn.Module``, whose head is found by it, see
            :func:`kdlab.nets.as_backbone`; a net of kdlab has its own.
        scheduler_interval: step the schedule once an ``"epoch"`` or with every optimiser ``"step"``; ``None``: with
            every step for `OneCycleLR` and `LinearWarmupCosine`, and once an epoch for all others.
        init_lr: learning rate of a fit that starts from other weights, in place of the optimiser's, since a rate for
            random weights may undo what they know; ``None``: the optimiser's.
    """

    def __init__(
        self,
        net: Backbone,
        view: str = "raw",
        optimizer: OptimizerCallable = sgd,
        scheduler: ScheduleCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
        scheduler_interval: Interval | None = None,
        init_lr: float | None = None,
    ) -> None:
        super().__init__()
        who, start = type(self).__name__, self.init_argument
        net = as_backbone(net, who, num_classes)
        check_given(
            who,
            start,
            view=view,
            optimizer=optimizer,
            scheduler=scheduler,
            init=init,
            compile=compile,
            memory_format=memory_format,
            scheduler_interval=scheduler_interval,
        )
        self.net, self.view, self.init = net, view, init
        self._backend = "inductor" if compile is True else compile or ""
        if memory_format is not None:
            net.memory_format = memory_format
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.scheduler_interval = scheduler_interval
        self.init_lr = checked_init_lr(init_lr, init, who, start)
        #: in place of the learning rate of the optimiser; Lightning's `LearningRateFinder` and ``Tuner`` set it
        self.lr: float | None = None
        #: how the weights were trained, as far as it is known; `EarlyStoppedTeacher` writes into it
        self.provenance: dict[str, Any] = {}
        #: how the weights of the run are chosen, see `kdlab.methods.selection`; the command line sets it
        self.selection: dict[str, Any] | None = None
        self.use_many_labels(False)
        self._initialised = init is None
        self.trained_on, self.view_settings, self.amplitude = None, None, None
        self._means = EpochMeans()
        self._known: dict[str, Any] = {}  # provenance of the weights, from training or from their checkpoint
        self._trains = False  # whether the provenance is that of the running fit
        self._watch, self._steps = Watch(), StepValues()
        self._term_names: tuple[str, ...] = ()
        self._random = self._sums = self._size = None
        self._told_of_optimizer = False  # that it does not hold all parameters

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with the same makers of optimiser and schedule: those of a config hold the parser, and its trainer."""
        memo |= {id(make): make for make in (self.make_optimizer, self.make_scheduler)}
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))  # type: ignore[no-untyped-call]
        return made

    #: settings of its objective that it sets itself, step by step, so that no callback can
    moves: ClassVar[tuple[str, ...]] = ()

    takes_many_labels = True

    def use_many_labels(self, many: bool) -> None:
        """Take windows with any number of labels each, or with one; :meth:`prepare` does what the data declare."""
        if "metrics" not in self._modules or many != self.many_labels:
            stages = ("val", "test")
            made = {stage: metrics_of(stage, self.net.num_classes, many) for stage in stages}
            self.metrics = torch.nn.ModuleDict(made).to(self.device)
            self._metric_attributes = None  # Lightning keeps which attribute each logged metric is
        super().use_many_labels(many)
        use_many_labels(objective_of(self), many)

    # ------------------------------------------------------------------ what a method adds
    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """The named, weighted terms of the loss; their sum is minimised."""
        raise NotImplementedError(f"{type(self).__name__} must implement terms(batch, student).")

    def term_names(self) -> tuple[str, ...]:
        """Names of the terms, where they are known before the first step."""
        return self._term_names

    def settings(self) -> dict[str, Tensor]:
        """Named numbers to be logged beside the terms (temperature, weights)."""
        return {}

    # ------------------------------------------------------------------ hooks of a fit
    def on_fit_start(self) -> None:
        """Compile the net, where that is configured."""
        self._watch, self._steps, self._means = Watch(), StepValues(), EpochMeans()
        use_findings(self)
        if self._backend:  # each shape separately: the same programs in every run, resumed or not
            self.net.compile(backend=self._backend, dynamic=False)

    def on_fit_end(self) -> None:
        """Restore net, data and process."""
        self.end_fit()

    def end_fit(self) -> None:
        """Restore the net."""
        super().end_fit()
        self._note_progress()
        self._trains = False
        self.net._compiled_call_impl = None  # torch has no other way back

    def on_train_epoch_start(self) -> None:
        """Record how far the weights are trained, for their checkpoints."""
        epoch, epochs = self.trainer.current_epoch, planned_epochs(self.trainer)
        self._means, self._steps, self._loaded = EpochMeans(), StepValues(), None
        self._known = {
            "epoch": epoch,
            "max_epochs": epochs,
            "stopped_early": None if epochs is None else epoch + 1 < epochs,
            "reason": f"weights after epoch {epoch}, counted from 0, of {epochs}",
        }
        self._trains = True
        for optimizer in self.trainer.optimizers:
            check_settings(optimizer)

    def _note_progress(self) -> None:
        """Record how far the weights are trained within their epoch, and whether the fit was interrupted."""
        if self._trains and self._trainer is not None and self.trainer.lightning_module is self:
            self._known = reached(self.trainer, self._known)

    def on_train_epoch_end(self) -> None:
        """Stop where the loss or the weights of this epoch are not finite; warn of a term that is nearly all of it."""
        self._log_means()  # where a method of the user's own has no last batch
        check_fit(self, self._watch)
        self._log_epoch()  # max_steps ended it
        warn_of_dominance(self, objective_of(self))
        follow(self)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the values of this step, where that is due, and with the last one what was collected in the epoch."""
        self._steps.step(optimizer, self.trainer)
        if self.trainer.is_last_batch:
            self._log_epoch()

    def _log_epoch(self) -> None:
        found = {f"train/{name}": value for name, value in self._steps.epoch().items()}
        distributed = self.trainer.world_size > 1  # though the values are equal in all processes
        self.log_dict(found, on_step=False, on_epoch=True, batch_size=1, sync_dist=distributed)

    def on_validation_start(self) -> None:
        """Bring averaged weights up to date, where there are some; check loaded ones, see :meth:`check_measured`."""
        before_validation(self)
        self.check_measured()

    def on_validation_end(self) -> None:
        """Stop where the validation loss of a fit is not finite."""
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            check_fit(self, self._watch)

    def on_train_start(self) -> None:
        """Put net and objective into training mode in any case, and make sure that the net standardises its view."""
        check_schedules(self.trainer)
        self.net.train()
        if not self.net.standardize.filled:  # no data module has them: one pass over the training loader
            self.standardise_from_loader()
        if (objective := objective_of(self)) is not None:
            objective.train()
            measure_weights(self, objective, self.terms)
        take_up(self)

    # ------------------------------------------------------------------ steps
    def forward(self, x: Tensor) -> Output:
        """The output of the net for its view ``x``."""
        output: Output = self.net(x)
        return output

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step: the sum of the method's terms."""
        output = self.net(batch.views[self.view])
        terms = self.terms(batch, output)
        check_label_term(objective_of(self))
        values = torch.stack(list(terms.values()))
        loss = values.sum()
        refuse_terms(self, self._watch, self._watch.see(terms, values, self.trainer.global_step))
        logged = {name: value.detach() for name, value in {"loss": loss, **terms, **self.settings()}.items()}
        self._steps.see(len(batch.index), logged, output.logits, batch.target, self.many_labels)
        self._means.add(logged, len(batch.index))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the means of the epoch with its last batch."""
        trainer = self.trainer
        is_last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if is_last or trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step:
            self._log_means()

    def _log_means(self) -> None:
        """Log the means of the terms over the windows of this epoch so far, and begin again."""
        means = {f"train/{name}": value for name, value in self._means.read().items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=1)

    def _evaluate(self, batch: Batch, stage: str) -> None:
        if self._size is not None:
            self._size.see(batch.views[self.view])
        logits, target = self.net(batch.views[self.view]).logits.float(), batch.target
        if self.trainer.world_size > 1:  # repeats only equalise the ranks' numbers of windows
            keep = batch.index >= 0
            logits, target = logits[keep], target[keep]
        metrics: Any = self.metrics[stage]
        if len(logits):  # a rank may hold repeats only; it logs all the same, because the others wait for it
            metrics.update(logits, target)
        log_once(self, metrics, prog_bar=stage == "val", batch_size=len(logits))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss (cross-entropy), accuracy and macro F1 on validation windows."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss (cross-entropy), accuracy and macro F1 on test windows."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``index`` (B,), ``target`` (B,), ``prediction`` (B,) and ``probabilities`` (B, K) of a batch.

        With any number of labels per window target and prediction are rows (B, K), and each class has its own
        probability.
        """
        if self._size is not None:
            self._size.see(batch.views[self.view])
        logits = self.net(batch.views[self.view]).logits.float()
        probabilities = probabilities_of(logits, self.many_labels)
        return {
            "index": batch.index,
            "target": batch.target,
            "prediction": predicted(probabilities, self.many_labels),
            "probabilities": probabilities,
        }

    # ------------------------------------------------------------------ optimiser and checkpoints
    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over all trained parameters (teachers are frozen) and the schedule."""
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        optimizer = self.make_optimizer(list(trained.values()))
        self._told_of_optimizer = check_optimizer(type(self).__name__, optimizer, trained, self._told_of_optimizer)
        if (rate := self.init_lr if self.lr is None else self.lr) is not None:
            if len(own := sorted({float(group["lr"]) for group in optimizer.param_groups})) > 1:
                name = f"{type(self).__name__}: {'init_lr' if self.lr is None else 'lr'}"
                rank_zero_warn(
                    f"{name} gives all groups of the optimiser the rate {rate:g} in place of their own, "
                    f"{', '.join(f'{one:g}' for one in own)}. Leave it out to keep these."
                )
            for group in optimizer.param_groups:
                group["lr"] = rate
        check_settings(optimizer)
        if self.make_scheduler is None:
            return optimizer
        start = (0, 0) if self._trainer is None else start_of(self._trainer)
        plan = plan_here() or plan_of(self._trainer, start=start)
        schedule: Any = scheduled(self.make_scheduler, optimizer, replace(plan, interval=self.scheduler_interval))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def describe_fit(self) -> dict[str, Any]:
        """The description of weights that this method trained: objective, net, view, data and provenance."""
        self._note_progress()
        return {
            "method": type(self).__name__,
            "objective": objective_arguments(objective_of(self)),
            "net": self.net.spec,
            "view": self.view,
            "view_settings": self.view_settings,
            "fingerprint": self.trained_on,
            **({"amplitude": dict(self.amplitude)} if self.amplitude else {}),
            "provenance": self._known | self.provenance,
            **({"labels": "many"} if self.many_labels else {}),
            **described_weights(objective_of(self)),
            **described_auto(objective_of(self)),
            **({"unlabelled": self.unlabelled} if self.unlabelled else {}),
            **({"published": dict(self.published)} if self.published else {}),
            **({"selection": self.selection} if self.selection and not self.provenance else {}),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint describe itself; weights of a fit that diverged are not written."""
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_state(self)
        checkpoint[KEY] = self.describe()
        keep_average(self, checkpoint)
        put_adapters_back(checkpoint, objective_of(self))
        keep(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of another net, or a leak (see :meth:`check_checkpoint`)."""
        stage = None if self._trainer is None or self.trainer.state.fn is None else self.trainer.state.fn.value
        self.check_checkpoint(checkpoint, datamodule_in(self._trainer), stage)
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_current(self.trainer.callbacks, checkpoint)  # type: ignore[attr-defined]
            read(self, checkpoint)
            self._trains, self._loaded = True, None  # an epoch that is resumed has no start

    def check_checkpoint(self, checkpoint: Mapping[str, Any], datamodule: Any, stage: str | None = None) -> None:
        """Refuse weights of another net, or those that learnt what is test data here: new windows to predict are none.

        Raises:
            InputError: naming the subjects or recordings, or the two nets.
        """
        described, windows = description(checkpoint, "ckpt_path"), windows_of(datamodule)
        if described is None:
            raise InputError(
                "ckpt_path must be a checkpoint of kdlab, but was not written by kdlab. Use "
                "kdlab.Teacher(checkpoint=..., net=...) to read foreign weights as a teacher."
            )
        if not same_net(described["net"], self.net.spec):
            raise InputError(
                f"ckpt_path: the net must be that of the configuration, {self.net.spec}, but got {described['net']}. "
                "Use the configuration that the checkpoint was trained with (config.yaml beside it)."
            )
        check_finite(checkpoint["state_dict"], "ckpt_path: the checkpoint")
        self.trained_on, self.view_settings = described.get("fingerprint"), described.get("view_settings")
        self.amplitude = described.get("amplitude")
        self._known, self._loaded, self._trains = dict(described.get("provenance", {})), dict(checkpoint[KEY]), False
        unknown = lacks(windows, "many_labels")
        self.use_many_labels(trained_on_many(described) if unknown else windows.many_labels is True)
        check_same_labels("ckpt_path: this net", described, self.many_labels)
        restore_weights(objective_of(self), described)
        restore_auto(objective_of(self), described)
        self.unlabelled, self.published = described.get("unlabelled", 0), described.get("published")
        self._check_view_settings("ckpt_path: this net", windows)
        check_use("ckpt_path: this net", self.trained_on, windows.fingerprint, new=predicts_new(datamodule, stage))
