r"""WTTM (weighted TTM): windows on which the transformed teacher is less certain have a larger weight.

.. math:: \mathrm{CE}(z_s, y) + \beta \sum_m w_m\, \frac1B \sum_i Z_{mi}\, \mathrm{KL}(q_{mi} \,\|\, p^s_i), \qquad
    q = (p^m)^g / Z, \quad Z = \sum_k (p^m_k)^g

see :mod:`kdlab.methods.ttm`, which leaves ``Z`` out, and :func:`kdlab.functional.transformed_teacher_kl`.

References:
    K. Zheng, E.-H. Yang, "Knowledge distillation based on transformed teacher matching", ICLR 2024, arXiv:2402.11148.
    Code: zkxufo/TTM@fe457b3.

Differences from the reference code:
    Several teachers.
"""

from __future__ import annotations

from typing import ClassVar

from kdlab.methods.made import Distilled
from kdlab.methods.ttm import TTMObjective


class WTTMObjective(TTMObjective):
    """Terms ``"ce"`` and ``"matching"``.

    Example:
        >>> import torch
        >>> from kdlab.types import Output
        >>> student, teacher = Output(torch.zeros(1, 2), {}), Output(torch.tensor([[4.0, 0.0]]), {})
        >>> objective = WTTMObjective(exponent=0.5, matching_weight=1.0)
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.6931, 'matching': 0.3688}
    """

    weighted_windows: ClassVar[bool] = True


class WTTM(Distilled, objective=WTTMObjective):
    """Distil the logits of any teachers, each with a temperature of its own, and weights of the windows."""
