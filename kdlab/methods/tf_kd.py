r"""TF-KD: teacher-free distillation, from an earlier copy of the net itself or from a virtual teacher.

.. math:: \text{self:}\quad (1 - \alpha)\, \mathrm{CE}(z, y) + \alpha\, m\, T^2\, \mathrm{KL}(p_t \,\|\, p), \qquad
    p = \mathrm{softmax}(z / T)

.. math:: \text{virtual:}\quad (1 - \alpha)\, \mathrm{CE}(z, y)
    + \alpha\, m\, \mathrm{KL}(\mathrm{softmax}(u / T) \,\|\, \mathrm{softmax}(z)), \qquad
    u_k = \begin{cases} .99 & k = y \\ .01 / (K - 1) & \text{else} \end{cases}

``p_t`` are the probabilities of a net of the same architecture that was trained before on labels alone. The virtual
teacher is a label that is smoothed twice; see :func:`virtual_teacher`.

References:
    L. Yuan, F. E. H. Tay, G. Li, T. Wang, J. Feng, "Revisiting knowledge distillation via label smoothing
    regularization", CVPR 2020, arXiv:1909.11723. Code: yuanli2333/Teacher-free-Knowledge-Distillation@d000ab3.

Differences from the reference code:
    There the divergence is divided by ``B K`` (``kl_reduction="mean"``) and multiplied by ``m``: on CIFAR-100, for
    ResNet-18, 50 (self) and 100 (virtual), which with ``"batchmean"`` are .5 and 1. Our ``m`` is 1. For MobileNetV2 and
    ShuffleNetV2 the self variant has ``T = 20`` and ``m = 1``. As there, ``T`` softens the probabilities ``u`` of the
    virtual teacher as if they were logits, and is not applied to the student. Labels may be mixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.labelled import Labelled
from kdlab.methods.made import Distilled, TeacherFree
from kdlab.methods.number_checks import check_number
from kdlab.objectives import Reduction, SoftTargets
from kdlab.types import InputError, Output


def virtual_teacher(target: Tensor, classes: int, correct: float = 0.99) -> Tensor:
    """Class probabilities with a high value for the true class and equal values for all others.

    Args:
        target: the true classes ``(B,)``, or class probabilities ``(B, K)``, over which it is averaged.
        classes: ``K``, at least 2.
        correct: probability of the true class.

    Shapes:
        ``(B,)`` or ``(B, K)`` -> ``(B, K)``.

    Example:
        >>> virtual_teacher(torch.tensor([1]), classes=3, correct=0.9)
        tensor([[0.0500, 0.9000, 0.0500]])
    """
    if not target.is_floating_point():
        target = (target[:, None] == torch.arange(classes, device=target.device)).float()
    other = (1 - correct) / (classes - 1)
    return other + (correct - other) * target


class TFKDSelfObjective(SoftTargets):
    """Terms ``"ce"``, ``(1 - alpha) CE``, and ``"kd"``, ``alpha m KD`` with the one teacher.

    Raises:
        InputError: for a parameter out of range, or unless there is exactly one teacher.

    Example:
        >>> student, teacher = Output(torch.tensor([[0.0, 0.0]]), {}), Output(torch.tensor([[4.0, 0.0]]), {})
        >>> objective = TFKDSelfObjective(kd_weight=0.5, temperature=4.0, multiplier=2.0)
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.3466, 'kd': 1.7751}
    """

    paper: ClassVar[tuple[str, ...]] = ("yuan2020revisiting",)
    takes_many_labels = True

    weights: dict[str, float] | None = argument(default=None, init=False)
    kd_weight: Setting = setting("``alpha``, 0 to 1.", default=0.95)
    temperature: Setting = setting(default=6.0)
    multiplier: Setting = setting("``m``, at least 0.", default=1.0)

    @property
    def needs_logits(self) -> bool:
        """Always."""
        return True

    def weights_of(self, teachers: Iterable[str]) -> dict[str, float]:
        """The weight of the one teacher.

        Raises:
            InputError: unless there is exactly one.
        """
        names = list(teachers)
        if len(names) > 1:
            raise InputError(
                f"{type(self).__name__}: teachers must be one teacher, the net's earlier copy, but got "
                f"{', '.join(names)}. Use KD for several."
            )
        return super().weights_of(names)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - alpha) CE, "kd": alpha m KD}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        return {**terms, "kd": self.multiplier * terms["kd"]}


def _between(who: str, value: float) -> float:
    """Check a probability that is neither 0 nor 1."""
    check_number(who, "correct", value, 0.9, above=0, high=1)
    if value == 1:
        raise InputError(f"{who}: correct must be above 0 and below 1, but got {value!r}.")
    return value


class TFKDVirtualObjective(Labelled):
    """Terms ``"ce"``, ``(1 - alpha) CE``, and ``"kd"``, ``alpha m`` times the divergence from the virtual teacher.

    Raises:
        InputError: for a parameter out of range.

    Example:
        >>> student = Output(torch.tensor([[2.0, 0.0]]), {})
        >>> terms = TFKDVirtualObjective()(student=student, teachers={}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1142, 'kd': 0.041}
    """

    paper: ClassVar[tuple[str, ...]] = ("yuan2020revisiting",)
    reads_labels = True
    zero_when_equal = False
    reason = "it makes its teacher from the label"

    kd_weight: Setting = setting("``alpha``, 0 to 1.", default=0.1, high=1.0)
    temperature: Setting = setting("``T > 0``, of the virtual teacher alone.", default=20.0, low=1e-3)
    learn_temperature: bool = argument(default=False, init=False)  # it is no temperature of a divergence
    temperature_epochs: int = argument(default=10, init=False)
    standardise: bool = argument(default=False, init=False)
    multiplier: Setting = setting("``m``, at least 0.", default=1.0)
    correct: float = argument(
        "the virtual teacher's probability of the true class, above 0 and below 1.", default=0.99, check=_between
    )
    kl_reduction: Reduction = argument(
        '``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.', default="batchmean"
    )

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - alpha) CE, "kd": alpha m KL(softmax(u / T), softmax(z))}``."""
        ce = self.label_loss(student.logits, target)
        u = virtual_teacher(target, student.logits.shape[1], self.correct)
        kd = functional.soft_target_kl(student.logits, u.to(ce.dtype) / self.temperature, 1.0, self.kl_reduction)
        return {"ce": (1 - self.kd_weight) * ce, "kd": self.kd_weight * self.multiplier * kd}


class TFKDSelf(Distilled, objective=TFKDSelfObjective):
    """Distil a net from an earlier copy of itself: the same architecture on the same view, trained on labels.

    Raises:
        InputError: as the fit begins, unless there is one teacher of the student's architecture and view.
    """

    def check_teacher(self, name: str, provenance: dict[str, Any]) -> None:
        """Refuse a teacher that is not a copy of the student."""
        teacher = dict(self.named_teachers())[name]
        copy = (teacher.view, None if teacher.net is None else teacher.net.spec)
        own = (self.view, self.net.spec)
        if copy != own:
            raise InputError(
                f"TFKDSelf: teacher {name!r} must be an earlier copy of the student, {own[1]} on view {own[0]!r}, but "
                f"is {copy[1]} on view {copy[0]!r}. Train the student's net with Supervised first and name that run, "
                "or use KD."
            )


class TFKDVirtual(TeacherFree, objective=TFKDVirtualObjective):
    """Train a net on labels and on a virtual teacher that is made of them."""
