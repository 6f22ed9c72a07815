r"""SimKD: the student reuses its teacher's classifier; its projected map is trained to match the teacher's.

.. math:: \gamma\, \mathrm{CE}(z_s, y) + \lambda\, \mathrm{KD}(t, s) + \beta\, \overline{(P(F_s) - F_t)^2}

with the projector ``P`` of :class:`~kdlab.nets.reused.ReusedClassifier`, the last maps ``F`` of student and teacher and
the mean over batch, channels and positions. The logits of the student are those of the teacher's classifier on
the projected map; the classifier is frozen. The original has ``beta`` alone.

References:
    D. Chen, J.-P. Mei, H. Zhang, C. Wang, Y. Feng, C. Chen, "Knowledge distillation with the reused teacher
    classifier", CVPR 2022, arXiv:2203.14001. Code: DefangChen/SimKD@d0b9cde.

Differences from the reference code:
    It pools the larger map silently; here it needs ``resize="pool"``, and the projected map is
    pooled, for the loss alone. Its maps are behind a ReLU, and so is its projector; see the net.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.nets.reused import ReusedClassifier
from kdlab.objectives import Reduction, WeightedTeachers
from kdlab.types import InputError, Output, Windows


class SimKDObjective(WeightedTeachers):
    """Terms ``"ce"``, ``"kd"`` and ``"feature"``.

    Raises:
        InputError: for a parameter out of range, other than one teacher, or with both shapes if the maps do not fit.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> student = Output(logits, {"stage3": torch.tensor([[[1.0, 3.0]]])})
        >>> teacher = Output(logits, {"stage3": torch.tensor([[[0.0, 1.0]]])})
        >>> terms = SimKDObjective()(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0, 'kd': 0.0, 'feature': 2.5}
    """

    paper: ClassVar[tuple[str, ...]] = ("chen2022knowledge", "hinton2015distilling")
    takes_many_labels = True
    taps = ("stage3",)

    weights: dict[str, float] | None = argument(default=None, init=False)
    feature_weight: Setting = setting("``beta``, at least 0.", default=1.0)
    ce_weight: Setting = setting("``gamma``, at least 0; 0 is the original.", default=0.0)
    kd_weight: Setting = setting("``lambda``, at least 0; 0 is the original.", default=0.0)
    temperature: Setting = setting("``T > 0`` of the soft targets.", default=4.0, low=1e-3)
    resize: Literal["pool"] | None = argument(
        '``None`` refuses maps of different size; ``"pool"`` pools the larger one.', default=None
    )
    kl_reduction: Reduction = argument(
        'of the soft targets, ``"batchmean"``, or ``"mean"``, ``K`` times smaller.', default="batchmean"
    )

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise unless there is one teacher."""
        names = list(teachers)
        if len(names) != 1:
            raise InputError(
                f"{type(self).__name__}: teachers must be one, whose classifier the student reuses, but got "
                f"{sorted(names)}. Name one."
            )
        super().check(batch_size=batch_size, teachers=names)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": gamma CE, "kd": lambda KD, "feature": beta mean (P(F_s) - F_t)^2}``."""
        self.check(batch_size=None, teachers=teachers)
        ((name, teacher),) = teachers.items()
        pair = (self.feature(student, "stage3", "the student"), self.feature(teacher, "stage3", f"teacher {name!r}"))
        if pair[0].shape[1] != pair[1].shape[1]:
            raise InputError(
                f"{type(self).__name__}: the student's projected map must have the teacher's channels, but got "
                f"{tuple(pair[0].shape)}, the teacher's {tuple(pair[1].shape)}. Wrap the student: "
                "ReusedClassifier(net, classifier)."
            )
        maps = functional.fit_maps(functional.promote(pair[0]), functional.promote(pair[1]), self.resize)
        soft = self.divergence(student.logits, teacher.logits, self.temperature, self.kl_reduction)
        return {
            "ce": self.ce_weight * self.label_loss(student.logits, target),
            "kd": self.kd_weight * soft,
            "feature": self.feature_weight * functional.mean_square(*maps),
        }


class SimKD(Distilled, objective=SimKDObjective):
    """Distil the last map of a teacher whose classifier the student takes over when the fit begins.

    Args:
        student: a :class:`~kdlab.nets.reused.ReusedClassifier`, made for nets like the teacher's.
        teachers: name -> the teacher, one, that reads a view of the student's kind.

    Raises:
        InputError: for a student that is no `ReusedClassifier`, or one that was made for another net than the teacher.
    """

    def __init__(self, student: Backbone, teachers: dict[str, Teacher], **kwargs: Any) -> None:
        if not isinstance(student, ReusedClassifier):
            raise InputError(
                f"SimKD: student must be a net that reuses a classifier, but got {type(student).__name__}. Wrap it: "
                "ReusedClassifier(net=<the student>, classifier=<a net like the teacher's>)."
            )
        super().__init__(student, teachers, **kwargs)

    def start_weights(self, windows: Windows) -> None:
        """Also copy the teacher's classifier into the student, in place of the one from ``student_init``."""
        super().start_weights(windows)
        assert isinstance(self.net, ReusedClassifier)
        for _, teacher in self.named_teachers():
            if teacher.net is not None:
                self.net.reuse(teacher.net)
