"""All the Lightning glue that the methods share, once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.accelerators.cuda import CUDAAccelerator
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from kdlab import distributed
from kdlab.fingerprint import check_same_split, check_use
from kdlab.methods.checkpoints import KEY, description, find_checkpoint, read_checkpoint
from kdlab.methods.finite import Watch, check_finite, check_settings, diverged, first_of, not_finite, weights_of
from kdlab.methods.saving import write_whole
from kdlab.nets.base import Backbone, MemoryFormat
from kdlab.objective import Objective
from kdlab.types import Batch, InputError, Output

#: the files that a run folder to start from is searched for, in this order
INIT_FILES = ("best.ckpt", "teacher.ckpt")
_NOT_PLAIN = object()
#: the windows that a trainer's stage evaluates
_EVALUATED = {"fit": "val", "validate": "val", "test": "test", "predict": "predict"}


def sgd(params: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The papers' optimiser: SGD, learning rate .05, momentum .9, weight decay 1e-4."""
    return torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-4)


class MeanLoss(Metric):
    """Cross-entropy averaged over windows, exactly so when ranks hold different numbers of them.

    (``self.log`` would average the ranks' numbers of windows as whole numbers.)

    Example:
        >>> loss = MeanLoss()
        >>> loss.update(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        >>> round(float(loss.compute()), 4)
        0.6931
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add windows: logits (B, K), target (B,) or (B, K)."""
        self.total = self.total + F.cross_entropy(logits, target, reduction="sum")
        self.count = self.count + len(logits)

    def compute(self) -> Tensor:
        """The mean over all windows."""
        return self.total / self.count


class Method(LightningModule):
    """Base of all methods: one net that is trained on one view, validated, tested and described in its checkpoints.

    A method implements :meth:`terms`. Logged are ``train/loss`` and ``train/<term>``, ``val/`` and ``test/`` with
    ``loss`` (cross-entropy), ``accuracy`` and ``f1`` (macro).

    Args:
        net: the net that is trained.
        view: name of the view that it reads.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes the learning-rate schedule from the optimiser, stepped once an epoch; none by default.
        init: checkpoint file or run folder of the same net, trained on the same split, whose weights it starts from.
        compile: compile the net in place for the fit, with torch's default backend or the named one. Each shape of a
            batch is compiled once, in training and in evaluation, which may take a minute; checkpoints stay as they
            are.
        memory_format: ``"channels_last"`` or ``"contiguous"`` features; ``None``: the net's choice, see `Backbone`.
    """

    def __init__(
        self,
        net: Backbone,
        view: str = "raw",
        optimizer: OptimizerCallable = sgd,
        scheduler: LRSchedulerCallable | None = None,
        init: str | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
    ) -> None:
        super().__init__()
        if memory_format not in (None, "channels_last", "contiguous"):
            raise InputError(
                f"{type(self).__name__}: expected memory_format 'channels_last', 'contiguous' or none, got "
                f"{memory_format!r}."
            )
        self.net, self.view, self.init = net, view, init
        self._backend = "inductor" if compile is True else compile or ""
        if memory_format is not None:
            net.memory_format = memory_format
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        #: what is known of how these weights came to be; `EarlyStoppedTeacher` writes into it
        self.provenance: dict[str, Any] = {}
        metrics: dict[str, Metric | MetricCollection] = {
            "loss": MeanLoss(),
            # without the check of their arguments, which waits for the device; the loss refuses wrong classes
            "accuracy": MulticlassAccuracy(net.num_classes, average="micro", validate_args=False),
            "f1": MulticlassF1Score(net.num_classes, average="macro", validate_args=False),
        }
        self.metrics = torch.nn.ModuleDict(
            {stage: MetricCollection(dict(metrics), prefix=f"{stage}/").clone() for stage in ("val", "test")}
        )
        self._initialised = init is None
        #: fingerprint of the data that the weights were trained on, as far as it is known
        self.trained_on: dict[str, Any] | None = None
        #: the view that the weights were trained on, in words, as far as it is known
        self.view_settings: str | None = None
        self._known: dict[str, Any] = {}  # provenance of the weights, from training or from their checkpoint
        self._watch = Watch()

    #: the argument that names the weights to start from
    init_argument: ClassVar[str] = "init"
    #: settings of its objective that it moves itself, step by step, so that no callback can
    moves: ClassVar[tuple[str, ...]] = ()

    # ------------------------------------------------------------------ what a method adds
    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """The named, weighted terms of the loss; their sum is minimised."""
        raise NotImplementedError(f"{type(self).__name__} must implement terms(batch, student).")

    def settings(self) -> dict[str, Tensor]:
        """Named numbers to be logged beside the terms (temperature, weights)."""
        return {}

    def evaluation_views(self) -> set[str]:
        """The views that validation, test and prediction read; the data module computes no others for them."""
        return {self.view}

    # ------------------------------------------------------------------ before the first step
    def setup(self, stage: str) -> None:
        """Check net and data against each other before anything is trained or written."""
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        self.prepare(datamodule, stage)
        write_whole(self.trainer.strategy)
        if hasattr(datamodule, "skip_views"):
            datamodule.skip_views(set(datamodule.view_names) - self.evaluation_views(), _EVALUATED[stage])

    def teardown(self, stage: str) -> None:
        """Have all views computed again for whoever asks the data module next."""
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if hasattr(datamodule, "skip_views"):
            datamodule.skip_views((), _EVALUATED[stage])

    def on_fit_start(self) -> None:
        """Compile the net, where that is asked for."""
        self._watch = Watch()
        if self._backend:  # each shape by itself: the same programs in every run, resumed or not
            self.net.compile(backend=self._backend, dynamic=False)

    def on_fit_end(self) -> None:
        """Have the net as it was."""
        self.net._compiled_call_impl = None  # torch has no other way back

    def prepare(self, datamodule: Any, stage: str) -> None:
        """Check the view, the shapes, the classes and, to fit, fill the standardisation and load what starts warm.

        Repeating it costs nothing; the command line calls it before a run folder is made.

        Raises:
            InputError: naming what does not fit and what to do.
        """
        if datamodule is not None:
            check_view(f"{type(self).__name__}", self.view, self.net, datamodule)
        fingerprint = getattr(datamodule, "fingerprint", None)
        if stage != "fit":
            if getattr(self._trainer, "ckpt_path", None) is None:  # else the checkpoint is what is asked
                check_use("the net", self.trained_on, fingerprint)
                self._check_view_settings("the net", datamodule)
            return
        if self._backend:
            check_compiler(self._backend)
        check_same_split(
            self.trained_on,
            fingerprint,
            f"{type(self).__name__}: this net",
            "Train a new net, or resume with the split of its training",
            before=" before",
        )
        if not self._initialised and self.init is not None:
            self._load_init(self.init, datamodule)
            self._initialised = True
        self.trained_on = fingerprint or self.trained_on
        self.view_settings = view_settings(datamodule, self.view)
        if not self.net.standardize.filled and hasattr(datamodule, "view_statistics"):
            self.net.standardize.fill(*(datamodule.view_statistics(self.view) or ()))

    def _check_view_settings(self, who: str, datamodule: Any) -> None:
        here = view_settings(datamodule, self.view, self.view_settings)
        if here and self.view_settings and here != self.view_settings:
            raise InputError(
                f"{who} was trained on the view {self.view_settings}, but here {self.view!r} is {here}. Use the view "
                "that it was trained on (config.yaml beside its checkpoints)."
            )

    def _load_init(self, init: str, datamodule: Any) -> None:
        what = self.init_argument
        path = find_checkpoint(init, INIT_FILES, what)
        checkpoint = read_checkpoint(path, what)
        described = description(checkpoint, what)
        if described is None:
            raise InputError(f"{what}: {str(path)!r} was not written by kdlab; expected a kdlab checkpoint.")
        fingerprint = getattr(datamodule, "fingerprint", None)
        who = f"{what}: {str(path)!r}"
        check_same_split(described.get("fingerprint"), fingerprint, who, "Start from a net of the same fold")
        state = {k.removeprefix("net."): v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")}
        check_finite(state, f"{what}: {str(path)!r}")
        try:
            self.net.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(
                f"{what}: {str(path)!r} holds {described['net']}, which is not this student, "
                f"{self.net.spec}. Start from a net of the same architecture. ({str(error).splitlines()[0]})"
            ) from error

    def on_train_epoch_start(self) -> None:
        """Note how far the weights are trained, for their checkpoints."""
        epoch, epochs = self.trainer.current_epoch, self.trainer.max_epochs
        self._known = {
            "epoch": epoch,
            "max_epochs": epochs,
            "stopped_early": None if epochs is None or epochs < 0 else epoch + 1 < epochs,
            "reason": f"weights after epoch {epoch}, counted from 0, of {epochs}",
        }
        for optimizer in self.trainer.optimizers:
            check_settings(optimizer)

    def on_train_epoch_end(self) -> None:
        """Stop where the loss or the weights of this epoch are not finite."""
        self._check_finite()

    def on_validation_end(self) -> None:
        """Stop where the validation loss of a fit is not finite."""
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            self._check_finite()

    def _check_finite(self) -> None:
        """Raise `DivergedError` unless everything that is known of this fit is finite; every process calls it."""
        self._check_terms(self._watch.read())
        self._check_state()

    def _check_terms(self, bad: list[str]) -> None:
        if bad:
            broken = not_finite(weights_of(self))
            why = f" (and so are the weights {first_of(broken)})" if broken else " (the weights are still finite)"
            raise diverged(self, self._watch.where, f"term {first_of(bad)} must be finite, but is NaN or infinite{why}")

    def _check_state(self) -> None:
        if bad := not_finite(weights_of(self)):
            held = f"the weights must be finite, but {first_of(bad)} hold NaN or infinite values"
            raise diverged(self, f"by step {self.trainer.global_step}", held)
        loss = self.trainer.callback_metrics.get("val/loss")
        if loss is not None and not bool(torch.isfinite(loss)):
            what = f"val/loss must be finite, but is {float(loss)}"
            raise diverged(self, f"validation after step {self.trainer.global_step}", what)

    def on_train_start(self) -> None:
        """Put the net into training mode, whatever the caller did, and make sure that it standardises its view."""
        self.net.train()
        if not self.net.standardize.filled:  # no kdlab data module: one pass over the training loader
            loader: Any = self.trainer.train_dataloader
            self.net.standardize.fill(*_loader_statistics(loader, self.view))

    # ------------------------------------------------------------------ steps
    def forward(self, x: Tensor) -> Output:
        """The net's answer to its view ``x``."""
        output: Output = self.net(x)
        return output

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step: the sum of the method's terms."""
        terms = self.terms(batch, self.net(batch.views[self.view]))
        values = torch.stack(list(terms.values()))
        loss = values.sum()
        self._check_terms(self._watch.see(terms, values, self.trainer.global_step))
        logged = {"loss": loss, **terms, **self.settings()}
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in logged.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch.index),
            sync_dist=self.trainer.world_size > 1,
        )
        return loss

    def _evaluate(self, batch: Batch, stage: str) -> None:
        logits, target = self.net(batch.views[self.view]).logits.float(), batch.target
        if self.trainer.world_size > 1:  # repeats only even out the ranks
            keep = batch.index >= 0
            logits, target = logits[keep], target[keep]
        metrics: Any = self.metrics[stage]
        if len(logits):  # a rank may hold repeats only; it logs all the same, because the others wait for it
            metrics.update(logits, target)
        self.log_dict(metrics, on_epoch=True, prog_bar=stage == "val", batch_size=len(logits))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss (cross-entropy), accuracy and macro F1 on validation windows."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss (cross-entropy), accuracy and macro F1 on test windows."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``index`` (B,), ``target`` (B,), ``prediction`` (B,) and ``probabilities`` (B, K) of a batch."""
        probabilities = self.net(batch.views[self.view]).logits.float().softmax(1)
        return {
            "index": batch.index,
            "target": batch.target,
            "prediction": probabilities.argmax(1),
            "probabilities": probabilities,
        }

    # ------------------------------------------------------------------ optimiser and checkpoints
    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over everything that learns (teachers are frozen) and the schedule, stepped once an epoch."""
        optimizer = self.make_optimizer([p for p in self.parameters() if p.requires_grad])
        check_settings(optimizer)
        if self.make_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.make_scheduler(optimizer), "monitor": "val/loss"},
        }

    def describe(self) -> dict[str, Any]:
        """What a checkpoint says of itself, in plain values: objective, net, view, data and provenance."""
        return {
            "method": type(self).__name__,
            "objective": objective_arguments(getattr(self, "objective", None)),
            "net": self.net.spec,
            "view": self.view,
            "view_settings": self.view_settings,
            "fingerprint": self.trained_on,
            "provenance": self._known | self.provenance,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint describe itself; weights of a fit that diverged are not written."""
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._check_state()
        checkpoint[KEY] = self.describe()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of another net, or a leak (see :meth:`check_checkpoint`)."""
        self.check_checkpoint(checkpoint, getattr(self._trainer, "datamodule", None))

    def check_checkpoint(self, checkpoint: Mapping[str, Any], datamodule: Any) -> None:
        """Refuse weights that were trained or selected on what is test data here, or that are of another net.

        Raises:
            InputError: naming the subjects or recordings, or the two nets.
        """
        described = description(checkpoint, "ckpt_path")
        if described is None:
            raise InputError(
                "ckpt_path: this checkpoint was not written by kdlab. Use kdlab.Teacher(checkpoint=..., net=...) to "
                "read foreign weights as a teacher."
            )
        if described["net"] != self.net.spec:
            raise InputError(
                f"ckpt_path: the checkpoint holds {described['net']}, but the configuration asks for {self.net.spec}. "
                "Use the configuration that the checkpoint was trained with (config.yaml beside it)."
            )
        check_finite(checkpoint["state_dict"], "ckpt_path: the checkpoint")
        self.trained_on, self.view_settings = described.get("fingerprint"), described.get("view_settings")
        self._known = dict(described.get("provenance", {}))
        self._check_view_settings("ckpt_path: this net", datamodule)
        check_use("ckpt_path: this net", self.trained_on, getattr(datamodule, "fingerprint", None))


@contextmanager
def evaluating(*modules: torch.nn.Module) -> Iterator[None]:
    """Have modules in evaluation mode; afterwards each of their parts is in the mode that it was in."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@torch.no_grad()
def try_objective(
    objective: Objective,
    student: tuple[Backbone, tuple[int, ...]],
    teachers: Mapping[str, tuple[Backbone, tuple[int, ...]]],
) -> tuple[Output, dict[str, Output]]:
    """Put a few empty windows through nets and objective, so that what does not fit is found before a run.

    The objective's adapters are made of the answers, from a copy of torch's random state: what a fit draws later does
    not depend on them. Modes, statistics and random state are afterwards as they were.

    Args:
        objective: as in a fit.
        student: the net that learns and the shape of a window in its view.
        teachers: teacher name -> its net and the shape of a window in its view.

    Returns:
        What the student and the teachers say, as shapes (tensors on the device ``"meta"``).

    Raises:
        InputError: naming what does not fit.
    """
    windows, nets = 2 * getattr(objective, "patches", 1), [student[0], *(net for net, _ in teachers.values())]
    device = next(student[0].parameters()).device

    def ask(net: Backbone, shape: tuple[int, ...]) -> Output:
        output: Output = net(next(net.parameters()).new_zeros(windows, *shape))
        return output

    with evaluating(*nets), torch.random.fork_rng([device] if device.type == "cuda" else []):
        own, others = ask(*student), {name: ask(*asked) for name, asked in teachers.items()}
        objective.adapt(
            student=own, teachers=others, classifiers={name: net.classify for name, (net, _) in teachers.items()}
        )
        if distributed.world_size() == 1:  # else the nets are not on their devices yet, so the ranks could not gather
            with evaluating(objective):
                objective(student=own, teachers=others, target=own.logits.new_zeros(windows, dtype=torch.long))
    return _shapes(own), {name: _shapes(output) for name, output in others.items()}


def _shapes(output: Output) -> Output:
    return Output(output.logits.to("meta"), {tap: feature.to("meta") for tap, feature in output.features.items()})


def leave_out_adapters(checkpoint: dict[str, Any], objective: Objective) -> None:
    """Take adapters out of a checkpoint for an objective that has none: nothing is going to be learnt."""
    if not objective.adapters:
        held = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in held.items() if not k.startswith("objective.adapters.")}


def check_compiler(backend: str) -> None:
    """Compile one line, so that a compiler that is missing is found before a run begins.

    Raises:
        InputError: with what torch says of it.
    """
    if backend == "inductor" and CUDAAccelerator.is_available():
        return  # a GPU has another compiler, which comes with torch
    try:
        torch.compile(torch.nn.Softsign(), backend=backend)(torch.zeros(2))
    except Exception as error:  # torch wraps it in one of many
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"compile: torch cannot compile with backend {backend!r} here ({type(error).__name__}: {reason}). Install "
            "a C++ compiler (g++ or clang), name another backend (torch.compiler.list_backends()), or set compile to "
            "false."
        ) from error


def check_view(who: str, view: str, net: Backbone, datamodule: Any) -> None:
    """Check that the data module emits ``view`` in the shape and with the classes that ``net`` expects.

    Raises:
        InputError: naming what is missing or differs.
    """
    names = getattr(datamodule, "view_names", None)
    if names is None:
        return
    if view not in names:
        raise InputError(
            f"{who}: reads view {view!r}, but the data module emits {', '.join(map(repr, names))}. Add it to the data "
            "module's views, or name one of these."
        )
    shape = tuple(datamodule.view_shape(view))
    if len(shape) != net.ndim + 1 or shape[0] != net.in_channels or min(shape[1:]) < net.stride:
        if len(shape) == net.ndim + 1 and shape[0] == net.in_channels:
            remedy = "Use a longer window or a larger image" + (f", or {net.smaller} of the net" if net.smaller else "")
        elif who.startswith("teacher"):
            remedy = "Train one on this view, or select its channels (Raw(channels=...)) under a view name of its own"
        else:
            remedy = f"Set in_channels={shape[0]} and ndim={len(shape) - 1}, or read another view"
        raise InputError(
            f"{who}: view {view!r} has shape {shape} (channels first), but its net expects {net.in_channels} channels "
            f"and {net.ndim} axes of at least {net.stride}. {remedy}."
        )
    if net.num_classes != datamodule.num_classes:
        raise InputError(
            f"{who}: its net has {net.num_classes} classes, the data {datamodule.num_classes} "
            f"({', '.join(map(str, datamodule.classes[:12]))}). Set num_classes={datamodule.num_classes}, or take a "
            "net that was trained on these classes."
        )


def objective_arguments(objective: Objective | None) -> dict[str, Any] | None:
    """An objective's class and those of its arguments that are plain values; what may be annealed, as it is now.

    Example:
        >>> from kdlab.objective import SoftTargets
        >>> objective_arguments(SoftTargets(kl_reduction="mean"))["arguments"]
        {'temperature': 4.0, 'kd_weight': 0.9, 'weights': None, 'kl_reduction': 'mean'}
    """
    if objective is None:
        return None
    given = {name: getattr(objective, name, _NOT_PLAIN) for name in inspect.signature(type(objective)).parameters}
    plain = {name: _plain(value) for name, value in given.items()}
    return {"class": type(objective).__name__, "arguments": {k: v for k, v in plain.items() if v is not _NOT_PLAIN}}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor) and value.ndim == 0:
        return float(f"{float(value):.7g}")  # as it was written before it became float32
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        items = {str(key): _plain(item) for key, item in value.items()}
        return _NOT_PLAIN if _NOT_PLAIN in items.values() else items
    if isinstance(value, list | tuple):
        listed = [_plain(item) for item in value]
        return _NOT_PLAIN if _NOT_PLAIN in listed else listed
    return None if value is None else _NOT_PLAIN


def view_settings(datamodule: Any, view: str, trained: str | None = None, again: bool = False) -> str | None:
    """The view as the data module computes it, in words; None where it does not say.

    Args:
        datamodule: the data.
        view: name of the view.
        trained: the view that a net was trained on, whose ranges replace those that are ``"auto"`` here.
        again: also where another net's did before.
    """
    if trained and hasattr(datamodule, "adopt_view"):
        datamodule.adopt_view(view, trained, again)
    return datamodule.view_settings(view) if hasattr(datamodule, "view_settings") else None


def _loader_statistics(loader: Iterable[Batch], view: str) -> tuple[Tensor, Tensor]:
    count, total, square = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for batch in loader:
        x = batch.views[view].double().transpose(0, 1).flatten(1).cpu()
        count, total, square = count + x.shape[1], total + x.sum(1), square + x.square().sum(1)
    mean = total / count
    return mean, (square / count - mean.square()).clamp_min(0).sqrt()
