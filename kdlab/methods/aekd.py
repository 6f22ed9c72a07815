r"""AEKD (adaptive ensemble KD): teachers are weighted for a common descent direction of their losses.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s), \qquad
    w = \arg\min_{w \in \Delta,\ w_m \le C} \Big\lVert \sum_m w_m g_m \Big\rVert_2^2, \quad
    g_m = \frac1B \sum_i \frac{\partial\, \mathrm{KD}_i(m, s)}{\partial z_{s,i}}

The gradients have the closed form of :func:`kdlab.functional.logit_gradients`, and the quadratic programme in ``M``
unknowns is solved exactly on the device by :func:`kdlab.functional.least_norm_weights`. The weights are found per
batch, over all ranks, and are constants for the gradient.

References:
    S. Du, S. You, X. Li, J. Wu, F. Wang, C. Qian, C. Zhang, "Agree to disagree: adaptive ensemble knowledge
    distillation in gradient space", NeurIPS 2020. Code: AnTuo1998/AE-KD, Rorozhl/CA-MKD@c2f39a9.

Differences from the reference code:
    The code solves the programme on the host, to a tolerance, as a one-class support vector machine, and has the
    weights 1 and 1 in place of ``1 - lambda`` and ``lambda``. At its released settings the solver does not leave its
    starting point (120 of 120 random cases), so the released weights are constants, .6, .4 and 0, that depend on the
    order of the teachers; the solution of the programme is the paper's. Its part on features and its option to
    normalise the gradients are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor

from kdlab import distributed, functional
from kdlab.fields import argument
from kdlab.methods.adaptive import AdaptiveTargets
from kdlab.methods.made import Distilled
from kdlab.types import InputError, Output


class AEKDObjective(AdaptiveTargets):
    """Terms ``"ce"`` and ``"kd"``.

    Raises:
        InputError: for a parameter out of range, without teachers, or with more than 8.

    Example:
        >>> import torch
        >>> student = Output(torch.tensor([[0.0, 0.0]]), {})
        >>> teachers = {"raw": Output(torch.tensor([[4.0, 0.0]]), {}), "pi": Output(torch.tensor([[-1.0, 0.0]]), {})}
        >>> for max_weight in (1.0, 0.6):
        ...     objective = AEKDObjective(max_weight=max_weight)
        ...     terms = objective(student=student, teachers=teachers, target=torch.tensor([0]))
        ...     weights = {name: round(float(weight), 3) for name, weight in objective.found.items()}
        ...     print(weights, round(float(terms["kd"]), 3))
        {'weight_raw': 0.212, 'weight_pi': 0.788} 0.427
        {'weight_raw': 0.4, 'weight_pi': 0.6} 0.706
    """

    paper: ClassVar[tuple[str, ...]] = ("du2020agree",)

    max_weight: float = argument(
        "``C``, the largest weight that a teacher may have, as in the released commands .6; 1 is no bound, and "
        "below ``1 / M`` all teachers have the same weight.",
        default=0.6,
        above=0.0,
    )

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise also when there are too many teachers."""
        names = list(teachers)
        super().check(batch_size=batch_size, teachers=names)
        if len(names) > 8:
            raise InputError(
                f"AEKDObjective: teachers must be at most 8, but got {len(names)}: {sorted(names)}. Leave some out."
            )

    def adaptive_weights(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """By gradients."""
        logits = {name: self.scaled(output.logits) for name, output in teachers.items()}
        gradients = functional.logit_gradients(self.scaled(student.logits), logits, self.temperature)
        # ranks hold equally many samples: the sum of their means has the direction of the mean of the complete batch
        weights = functional.least_norm_weights(distributed.total(gradients), self.max_weight)
        return dict(zip(teachers, weights, strict=True))


class AEKD(Distilled, objective=AEKDObjective):
    """Distil several teachers along a common descent direction; ``train/weight_<teacher>`` is the weight of each."""
