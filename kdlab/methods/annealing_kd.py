r"""Annealing-KD: regression on the teacher's logits times a growing factor, then training on labels alone.

.. math:: \text{first}\quad \frac{1}{BK} \lVert z_s - \Phi(t)\, z_t \rVert_2^2, \quad
    \Phi(t) = 1 - \frac{t - 1}{t_{max}}, \quad t = t_{max}, \ldots, 1, \qquad \text{then}\quad \mathrm{CE}(z_s, y)

The first part has ``t_max`` phases of equal length, in which ``Phi`` grows from ``1 / t_max`` to 1; the second part
starts from the weights of the first that classify the validation windows best, with a fresh optimiser. The function is
:func:`kdlab.functional.logit_regression`, the schedule :func:`annealing_factor`.

The "annealing" ("Ann") of the wearable papers is another procedure: an ordinary distillation with a constant
temperature that starts from a student trained from scratch. That is ``student_init`` of any method.

References:
    A. Jafari, M. Rezagholizadeh, P. Sharma, A. Ghodsi, "Annealing knowledge distillation", EACL 2021,
    10.18653/v1/2021.eacl-main.212.

Differences from the reference code:
    The official script trains 200 and 100 epochs with SGD, .1, .01 and .001 from one half and three quarters of each
    part on; here the parts share ``max_epochs`` and one schedule, which may return to its start between them
    (:class:`~kdlab.methods.schedules.PiecewiseLR`). The script raises ``T`` every ``int(epochs / t_max)`` epochs
    without a bound, so that its factor passes 1 (25 epochs and ``t_max = 10`` end at 1.3); here it ends at 1. With
    several teachers the target is their mean, which is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, setting
from kdlab.labelled import Labelled
from kdlab.methods.averages import measured_weights
from kdlab.methods.made import Distilled
from kdlab.methods.number_checks import check_number
from kdlab.methods.plans import planned_epochs
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.types import Batch, InputError, Output


def annealing_factor(epoch: int, epochs: int, t_max: int = 10) -> float:
    r"""``Phi`` of an epoch: ``1 / t_max``, ``2 / t_max``, ... in ``t_max`` phases of equal length, 1 in the last epoch.

    Args:
        epoch: from 0; beyond the last epoch the factor stays 1.
        epochs: length of the regression in epochs; where it is less than ``t_max``, factors are left out.
        t_max: number of phases.

    Example:
        >>> [annealing_factor(epoch, epochs=6, t_max=3) for epoch in (0, 1, 2, 4, 5, 9)]
        [0.3333333333333333, 0.3333333333333333, 0.6666666666666666, 1.0, 1.0, 1.0]
    """
    return min(math.ceil((epoch + 1) * t_max / epochs), t_max) / t_max


class AnnealingKDObjective(Labelled):
    r"""Terms ``"ce"``, ``(1 - w) CE``, and ``"regression"``, ``w`` times the squared difference of the logits.

    Raises:
        InputError: for a parameter out of range, or without teachers.

    Example:
        >>> student, teacher = Output(torch.tensor([[1.0, 0.0]]), {}), Output(torch.tensor([[4.0, 0.0]]), {})
        >>> objective = AnnealingKDObjective(kd_weight=1.0, factor=0.5)
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0, 'regression': 0.5}
    """

    paper: ClassVar[tuple[str, ...]] = ("jafari2021annealing",)
    takes_many_labels = True

    kd_weight: Setting = setting("``w``, 0 to 1.", default=0.5, high=1.0)
    factor: Setting = setting("``Phi``, 0 to 1.", default=1.0, high=1.0)

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise without teachers."""
        if not list(teachers):
            raise InputError(f"{type(self).__name__}: teachers must have at least one teacher, but got none. Add one.")

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - w) CE, "regression": w mean (z_s - Phi z_t)^2}``."""
        self.check(batch_size=None, teachers=teachers)
        mean = torch.stack([functional.promote(output.logits) for output in teachers.values()]).mean(0)
        return {
            "ce": (1 - self.kd_weight) * self.label_loss(student.logits, target),
            "regression": self.kd_weight * functional.logit_regression(student.logits, mean, self.factor),
        }


class AnnealingKD(Distilled, objective=AnnealingKDObjective, fixed={"kd_weight": 1.0, "factor": 1.0}):
    """Regress growing logits, then train on labels, starting from the best weights so far.

    ``w`` is 1 in the first and 0 in the second part. In the first part the weights with the highest ``val/accuracy``
    are kept; of equal ones the later, whose factor is nearer to 1. The kept weights are in the run's checkpoints until
    the second part begins, so a resumed fit equals an uninterrupted one. The second part runs no teacher.

    Args:
        regression_epochs: length of the first part; ``None`` is two thirds of the fit, as in the paper's image
            experiments (200 of 300). Set it where a resumed run has another ``max_epochs``.
        t_max: number of phases of the factor.
        student_init: weights that the first part starts from.

    Raises:
        InputError: for a length or number below 1, or when the fit has no planned end and ``regression_epochs`` is not
            given.
    """

    takes_many_labels = True
    moves: ClassVar[tuple[str, ...]] = ("factor", "kd_weight")
    objective: AnnealingKDObjective

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        regression_epochs: int | None = None,
        t_max: int = 10,
        **kwargs: Any,
    ) -> None:
        check_number("AnnealingKD", "t_max", t_max, 10, whole=True, low=1)
        if regression_epochs is not None:
            check_number("AnnealingKD", "regression_epochs", regression_epochs, 20, whole=True, low=1)
        super().__init__(student, teachers, **kwargs)
        self.objective.set("factor", 1 / t_max)
        self.regression_epochs, self.t_max = regression_epochs, t_max
        #: whether it trains on labels alone
        self.second_part = False
        self._best: dict[str, Any] = {}  # weights, accuracy and epoch of the first part's best validation

    def on_train_start(self) -> None:
        """Also warn where no epoch is left for the second part."""
        super().on_train_start()
        first, total = self._first_part(), planned_epochs(self.trainer)
        if total is not None and total <= first:
            rank_zero_warn(
                f"AnnealingKD: the regression takes all {total} epochs, so the student is never trained on labels. "
                f"Raise max_epochs or lower regression_epochs ({first})."
            )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set factor and weight of this epoch; begin the second part after the first."""
        epoch, first = self.trainer.current_epoch, self._first_part()
        if epoch >= first and not self.second_part:
            self._begin_second_part()
        self.second_part = epoch >= first
        self.objective.set("factor", annealing_factor(epoch, first, self.t_max))
        self.objective.set("kd_weight", 0.0 if self.second_part else 1.0)

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """The objective's terms; cross-entropy alone in the second part."""
        if self.second_part:
            return {"ce": self.objective.label_loss(student.logits, batch.target)}
        return super().terms(batch, student)

    def on_validation_epoch_end(self) -> None:
        """Keep the weights if they are the best of the first part."""
        if self.trainer.sanity_checking or self.trainer.state.fn != "fit" or self.second_part:
            return
        metrics: Any = self.metrics["val"]
        accuracy = float(metrics.compute()["val/accuracy"])
        if accuracy >= self._best.get("accuracy", 0.0):
            epoch = self.trainer.current_epoch
            self._best = {"accuracy": accuracy, "epoch": epoch, "weights": measured_weights(self)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also the best weights so far."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["annealing_kd"] = {"second_part": self.second_part, "best": self._best}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also the best weights so far."""
        super().on_load_checkpoint(checkpoint)
        state = checkpoint.get("annealing_kd", {"second_part": False, "best": {}})
        self.second_part, self._best = state["second_part"], state["best"]

    def _first_part(self) -> int:
        if self.regression_epochs is not None:
            return self.regression_epochs
        total = planned_epochs(self.trainer)
        if total is None:
            raise InputError(
                "AnnealingKD: regression_epochs must be set where the fit has no planned end, but got None. Set "
                "regression_epochs= or max_epochs."
            )
        return max(1, round(total * 2 / 3))

    def _begin_second_part(self) -> None:
        if self._best:
            self.net.load_state_dict(self._best["weights"])
            rank_zero_info(
                f"AnnealingKD: trains on labels from here on, starting from epoch {self._best['epoch']} "
                f"(val/accuracy {self._best['accuracy']:.4f})"
            )
        else:
            rank_zero_warn(
                "AnnealingKD: no validation ran in the first part, so the second starts from its last weights."
            )
        self._best = {}
        for optimizer in self.trainer.optimizers:
            optimizer.state.clear()
