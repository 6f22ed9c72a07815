r"""ESKD, early-stopped knowledge distillation: distillation from teachers that were stopped early.

The loss is that of :mod:`kdlab.methods.kd`,

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, T^2\, \mathrm{KL}(p_m \,\|\, p_s)

and the teachers' weights are those of an early epoch, chosen on validation data: the outputs of a teacher that is
trained to the end are more confident, and distillation from them is less effective.

References:
    J. H. Cho, B. Hariharan, "On the efficacy of knowledge distillation", ICCV 2019, 10.1109/ICCV.2019.00489. On
    wearable sensors: E. S. Jeon et al., "Role of data augmentation strategies in knowledge distillation for wearable
    sensor data", IEEE Internet of Things Journal, 2022, 10.1109/JIOT.2021.3139038. Code: jeunsom/TDA_KD@b9091bb.

Differences from the reference code:
    The released training loop keeps the epoch with the highest accuracy on the test set; here early stopping uses
    validation data only, and a teacher that is known to be trained to the end is refused. By default
    ``EarlyStoppedTeacher`` watches the validation loss; the paper's epoch of the highest validation accuracy is that of
    ``monitor="val/accuracy", smoothing=1``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kdlab.methods.kd import KD
from kdlab.types import InputError


class ESKD(KD):
    """Distil the logits of teachers that were stopped early.

    Raises:
        InputError: before training, if a teacher is known not to be stopped early.
    """

    paper: ClassVar[tuple[str, ...]] = ("cho2019efficacy", "jeon2022role")

    def check_teacher(self, name: str, provenance: dict[str, Any]) -> None:
        """Refuse a teacher that is known to be trained to the end."""
        if provenance.get("stopped_early") is False:
            raise InputError(
                f"ESKD: teacher {name!r} was not stopped early (epoch {provenance.get('epoch')} of "
                f"{provenance.get('max_epochs')}). Train it with the callback EarlyStoppedTeacher and give its "
                "teacher.ckpt, or use FullKD (trained to the end) or KD (any teacher)."
            )
