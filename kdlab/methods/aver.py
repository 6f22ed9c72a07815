r"""AVER: the student matches the average of several teachers' outputs.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \frac{\lambda}{M} \sum_m \mathrm{KD}(z_m, z_s)
    \qquad \text{or} \qquad
    (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda\, \mathrm{KD}\Big(\frac1M \sum_m z_m, z_s\Big)

with ``KD`` as in :func:`kdlab.functional.soft_target_kl`. The two differ: the first matches the mean of the softened
probabilities, the second their normalised geometric mean, in which one confident teacher dominates several others.
Unequal, fixed weights (``Base`` in the papers' tables) are :class:`~kdlab.methods.kd.KD` with ``weights``.

References:
    S. You, C. Xu, C. Xu, D. Tao, "Learning from multiple teacher networks", KDD 2017, 10.1145/3097983.3098135.
    Code: Rorozhl/CA-MKD@c2f39a9.

Differences from the reference code:
    CA-MKD's ``AVERAGE_LOSS`` is ``mode="loss"``, with the weights 1 and 1 in place of ``1 - lambda`` and ``lambda``.
    Only the soft targets of the paper are implemented; its relations of triplets are not.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdlab.fields import Setting, argument, setting
from kdlab.functional import promote
from kdlab.methods.made import Distilled
from kdlab.objectives import SoftTargets
from kdlab.types import Output


class AVERObjective(SoftTargets):
    """Terms ``"ce"`` and ``"kd"``.

    Raises:
        InputError: for a parameter out of range, or without teachers.

    Example:
        >>> student = Output(torch.tensor([[0.0, 0.0]]), {})
        >>> teachers = {"raw": Output(torch.tensor([[4.0, 0.0]]), {}), "pi": Output(torch.tensor([[-4.0, 0.0]]), {})}
        >>> for mode in ("loss", "logits"):
        ...     terms = AVERObjective(mode=mode)(student=student, teachers=teachers, target=torch.tensor([0]))
        ...     print({name: round(float(term), 4) for name, term in terms.items()})
        {'ce': 0.0693, 'kd': 1.5976}
        {'ce': 0.0693, 'kd': 0.0}
    """

    paper: ClassVar[tuple[str, ...]] = ("you2017multiple",)
    takes_many_labels = True

    kd_weight: Setting = setting("``lambda``, 0 to 1 (the wearable papers have .7 on GENEActiv and .99 on PAMAP2).")
    weights: dict[str, float] | None = argument(default=None, init=False)
    mode: Literal["loss", "logits"] = argument(
        '``"loss"`` averages the teachers\' losses, ``"logits"`` their logits.', default="loss"
    )

    @property
    def needs_logits(self) -> bool:
        """Always."""
        return True

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - lambda) CE, "kd": lambda KD}``."""
        if self.mode == "logits" and teachers:
            mean = torch.stack([promote(output.logits) for output in teachers.values()]).mean(0)
            teachers = {"mean": Output(mean, {})}
        return super().forward(student=student, teachers=teachers, target=target)


class AVER(Distilled, objective=AVERObjective):
    """Distil the average of several teachers."""
