r"""EBKD: of several teachers, those with a low entropy have the larger weights.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \frac{\lambda}{B} \sum_i \sum_m w_{mi}\, \mathrm{KD}_i(m, s), \qquad
    w_{mi} = \frac{1}{M - 1} \Big( 1 - \frac{H_{mi}}{\sum_j H_{ji}} \Big)

with the entropy ``H`` of a teacher's class probabilities at temperature 1; see
:func:`kdlab.functional.entropy_weights`. The weights do not depend on the labels.

References:
    K. Kwon, H. Na, H. Lee, N. S. Kim, "Adaptive knowledge distillation based on entropy", ICASSP 2020,
    10.1109/ICASSP40776.2020.9054698. Code: Rorozhl/CA-MKD@c2f39a9.

Differences from the reference code:
    There the weights sum to ``M - 1`` and the total is divided by ``M``, so the term is ``(M - 1) / M`` of ours
    (``mkd_scale="released"``), and both weights ``1 - lambda`` and ``lambda`` are 1. Teachers that are all certain
    have equal weights here; there they give NaN.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, setting
from kdlab.methods.adaptive import ScaledTargets
from kdlab.methods.made import Distilled
from kdlab.types import Output


class EBKDObjective(ScaledTargets):
    """Terms ``"ce"`` and ``"kd"``.

    Raises:
        InputError: for a parameter out of range, without teachers, or for the released scale of one teacher, which is
            0.

    Example:
        >>> import torch
        >>> student = Output(torch.tensor([[0.0, 0.0]]), {})
        >>> teachers = {"raw": Output(torch.tensor([[4.0, 0.0]]), {}), "pi": Output(torch.tensor([[1.0, 0.0]]), {})}
        >>> objective = EBKDObjective()
        >>> terms = objective(student=student, teachers=teachers, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0693, 'kd': 1.3985}
        >>> {name: round(float(weight), 4) for name, weight in objective.found.items()}
        {'weight_raw': 0.866, 'weight_pi': 0.134}
    """

    paper: ClassVar[tuple[str, ...]] = ("kwon2020entropy",)

    temperature: Setting = setting("``T > 0`` of the soft targets; the entropies are at 1.")
    kd_weight: Setting = setting("``lambda``, 0 to 1 (the wearable papers have .7 on GENEActiv and .99 on PAMAP2).")

    def released_scale(self, teachers: int) -> float:
        """``(M - 1) / M``."""
        return (teachers - 1) / teachers

    def adaptive_weights(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """By entropy."""
        return functional.entropy_weights({name: output.logits for name, output in teachers.items()})


class EBKD(Distilled, objective=EBKDObjective):
    """Distil several teachers, those with a low entropy more; ``train/weight_<teacher>`` is the weight of each."""
