r"""Full KD: distillation from teachers that were trained to the last epoch, the counterpart of early-stopped KD (ESKD).

The loss is that of :mod:`kdlab.methods.kd`,

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, T^2\, \mathrm{KL}(p_m \,\|\, p_s)

References:
    J. H. Cho, B. Hariharan, "On the efficacy of knowledge distillation", ICCV 2019, 10.1109/ICCV.2019.00489; the name
    is that of E. S. Jeon et al., "Role of data augmentation strategies in knowledge distillation for wearable sensor
    data", IEEE Internet of Things Journal, 2022, 10.1109/JIOT.2021.3139038. Code: jeunsom/TDA_KD@b9091bb.

Differences from the reference code:
    A teacher that is known to be stopped early is refused.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kdlab.methods.kd import KD
from kdlab.types import InputError


class FullKD(KD):
    """Distil the logits of teachers trained to the end.

    Raises:
        InputError: before training, if a teacher is known to be stopped early.
    """

    paper: ClassVar[tuple[str, ...]] = ("cho2019efficacy", "jeon2022role")
    teacher_files: ClassVar[tuple[str, ...]] = ("teacher-full.ckpt", "last.ckpt")

    def check_teacher(self, name: str, provenance: dict[str, Any]) -> None:
        """Refuse a teacher that is known to be stopped early."""
        if provenance.get("stopped_early") is True:
            raise InputError(
                f"FullKD: teacher {name!r} was stopped early (epoch {provenance.get('epoch')} of "
                f"{provenance.get('max_epochs')}). Give its teacher-full.ckpt (EarlyStoppedTeacher with stop=False) or "
                "last.ckpt, or use ESKD (stopped early) or KD (any teacher)."
            )
