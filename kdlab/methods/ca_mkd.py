r"""CA-MKD: of several teachers, the student listens to those that are right.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \frac{\lambda}{B} \sum_i \sum_m w_{mi}\, \mathrm{KD}_i(m, s), \qquad
    w_{mi} = \frac{1}{M - 1} \Big( 1 - \frac{e^{C_{mi}}}{\sum_j e^{C_{ji}}} \Big)

with the cross-entropy ``C`` of a teacher and the labels; see :func:`kdlab.functional.confidence_weights`. "CA" stands
for confidence-aware.

References:
    H. Zhang, D. Chen, C. Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022,
    10.1109/ICASSP43922.2022.9747534. Code: Rorozhl/CA-MKD@c2f39a9.

Differences from the reference code:
    It divides the term by another ``M`` (``mkd_scale="released"``) and has the weights 1 and 1 in place of
    ``1 - lambda`` and ``lambda``. This is the part on logits, which the wearable papers compare with; the part on the
    last feature maps is left out.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from kdlab import functional
from kdlab.methods.adaptive import AdaptiveTargets
from kdlab.methods.distillation import Distillation
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.types import Output


class CAMKDObjective(AdaptiveTargets):
    """Terms ``"ce"`` and ``"kd"``.

    Args:
        temperature: ``T > 0`` of the soft targets.
        kd_weight: ``lambda``, 0 to 1.
        mkd_scale: ``"normalised"`` weighs with sum 1, ``"released"`` with ``1 / M``.
        kl_reduction: ``"batchmean"`` or ``"mean"``.

    Raises:
        InputError: for a parameter out of range, without teachers, or for the released scale of one teacher, which is
            not defined.

    Example:
        >>> import torch
        >>> student = Output(torch.tensor([[0.0, 0.0]]), {})
        >>> teachers = {"raw": Output(torch.tensor([[4.0, 0.0]]), {}), "pi": Output(torch.tensor([[1.0, 0.0]]), {})}
        >>> objective = CAMKDObjective()
        >>> terms = objective(student=student, teachers=teachers, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0693, 'kd': 0.9635}
        >>> {name: round(float(weight), 4) for name, weight in objective.weighed.items()}
        {'weight_raw': 0.5732, 'weight_pi': 0.4268}
    """

    paper: ClassVar[tuple[str, ...]] = ("zhang2022confidence",)

    def __init__(
        self,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        mkd_scale: Literal["normalised", "released"] = "normalised",
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__(temperature, kd_weight, kl_reduction, mkd_scale)

    def released_scale(self, teachers: int) -> float:
        """``1 / M``."""
        return 1 / teachers

    def weigh(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """By cross-entropy with the labels."""
        return functional.confidence_weights({name: output.logits for name, output in teachers.items()}, target)


class CAMKD(Distillation):
    """Distil several teachers, the righter about a window the more; ``train/weight_<teacher>`` says how much.

    Args:
        student: the net that learns.
        teachers: teacher name -> teacher, at least two to have a choice.
        temperature: ``T > 0`` of the soft targets.
        kd_weight: ``lambda``, 0 to 1 (the wearable papers have .7 on GENEActiv and .99 on PAMAP2).
        mkd_scale: ``"normalised"`` weighs with sum 1, ``"released"`` with ``1 / M`` as the released code.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.
        kwargs: as in :class:`~kdlab.methods.distillation.Distillation`.
    """

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        mkd_scale: Literal["normalised", "released"] = "normalised",
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teachers, CAMKDObjective(temperature, kd_weight, mkd_scale, kl_reduction), **kwargs)
