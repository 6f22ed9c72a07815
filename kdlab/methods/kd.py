r"""KD: the student matches the softened class probabilities of its teachers.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, T^2\, \mathrm{KL}(p_m \,\|\, p_s),
    \qquad p = \mathrm{softmax}(z / T)

The function is :func:`kdlab.functional.soft_target_kl`, the objective :class:`kdlab.objectives.SoftTargets`.

References:
    G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", NIPS Deep Learning Workshop 2014,
    arXiv:1503.02531. On wearable sensors: E. S. Jeon et al., "Role of data augmentation strategies in knowledge
    distillation for wearable sensor data", IEEE Internet of Things Journal, 2022, 10.1109/JIOT.2021.3139038.
    Code: HobbitLong/RepDistiller@b84f547.

Differences from the reference code:
    RepDistiller has one teacher and the same divergence. ``kl_reduction="mean"`` gives the smaller one of
    jeunsom/TDA_KD@b9091bb and jeunsom/TGD@242ad11.
"""

from __future__ import annotations

from kdlab.methods.made import Distilled
from kdlab.objectives import SoftTargets


class KD(Distilled, objective=SoftTargets):
    """Distil the logits of any teachers.

    Args:
        kd_weight: ``lambda``, 0 to 1 (.9 on images; the wearable papers have .7 on GENEActiv and .99 on PAMAP2).
    """
