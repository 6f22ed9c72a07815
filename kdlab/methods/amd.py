r"""AMD (angular margin distillation): angular margins between attended and other positions of the teacher's maps.

.. math:: \lambda_1\, \mathrm{CE} + \lambda_2 \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\gamma}{|L|} \sum_{l \in L} L_{AMD}(F_s^l, F_t^l)

The function ``L_AMD`` is :func:`kdlab.functional.angular_margin`: maps of every tap, globally and in four regions.

References:
    E. S. Jeon, H. Choi, A. Shukla, P. Turaga, "Leveraging angular distributions for improved knowledge distillation",
    Neurocomputing 518, 2023, 10.1016/j.neucom.2022.11.029 (eq. 8). Code: jeunsom/AMD_loss@7169f62.

Differences from the reference code:
    The released class returns one loss per tap; their reduction is in a script that is not released. Here they are
    averaged. The weight of the labels is one minus that of the teacher unless ``ce_weight`` is given, as in its
    experiments on CIFAR-10, CINIC-10 and Tiny-ImageNet; on ImageNet both are 1. For the rest see the function.

Mixup:
    The paper also trains the student alone with mixup, alpha .2; teachers are trained without. Set the data module's
    ``mix`` to ``Mixup`` with ``alpha: 0.2``. Whether its teachers read the mixed or the clean image meanwhile is
    unverified: a teacher whose view is ``raw`` reads the mixed window, as the student does (the default here); one
    whose view is ``raw/clean`` (in the data module ``raw/clean: null``) reads the clean window, while the labels are
    mixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import OptionalSetting, Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objective import PAIRS, Need, checked_taps
from kdlab.objectives import SoftTargets
from kdlab.pairs import Pairs
from kdlab.types import InputError, Output


class AMDObjective(SoftTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"margin"``.

    Raises:
        InputError: for a parameter out of range, or when it is not clear which teacher gives the maps.

    Example:
        >>> student = Output(torch.tensor([[2.0, 0.0]]), {"stage1": torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])})
        >>> teacher = Output(torch.tensor([[2.0, 0.0]]), {"stage1": torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])})
        >>> objective = AMDObjective(margin_weight=1.0, local_weight=0.0, taps=("stage1",))
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0127, 'kd': 0.0, 'margin': 0.5034}
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2023leveraging",)
    takes_many_labels = True
    reads: ClassVar[Need] = "attention"

    kd_weight: Setting = setting(
        "``lambda_2``, 0 to 1 (.9 with T = 4 on CIFAR-10; .6 on CINIC-10 and .3 on Tiny-ImageNet with T = 16; 1 on "
        "ImageNet with T = 4).",
        default=0.9,
    )
    margin_weight: Setting = setting(
        "``gamma``, at least 0; 3000 to 7000 suited 32x32 images. The term grows as maps get smaller, so tune it on "
        "validation where the number of positions differs.",
        default=5000.0,
    )
    margin: float = argument("factor on the angle, above 0; up to 2.", default=1.35, above=0.0)
    scale: float = argument("factor on the maps, above 0.", default=64.0, above=0.0)
    local_weight: float = argument(
        "share of the four regions, 0 to 1; 0 is the global variant.", default=0.2, low=0.0, high=1.0
    )
    map_teacher: str | None = argument(
        'name of the teacher whose maps are matched; ``None``: the only one. Further teachers contribute to ``"kd"`` '
        "alone.",
        default=None,
    )
    weights: dict[str, float] | None = argument(
        "teacher name -> weight of its logits; ``None`` weights all teachers equally, with sum 1.", default=None
    )
    taps: tuple[str, ...] = argument(
        "names of the features whose maps are matched.", default=("stage1", "stage2", "stage3"), check=checked_taps
    )
    pairs: Pairs | None = PAIRS
    resize: Literal["pool"] | None = argument(
        '``None`` refuses maps of different size; ``"pool"`` pools the larger one.', default=None
    )
    ce_weight: OptionalSetting = setting(
        "``lambda_1``, at least 0 (1 on ImageNet); ``None``: one minus ``lambda_2``.", default=None
    )

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise also when it is not clear which teacher gives the maps."""
        names = list(teachers)
        super().check(batch_size=batch_size, teachers=names)
        self._map_teacher(names)

    def needs(self, teachers: Iterable[str]) -> dict[str, dict[str, Need]]:
        """Energies of one teacher's maps."""
        chosen = self._map_teacher(teachers)
        return {name: dict.fromkeys(self.taps if name == chosen else (), self.reads) for name in teachers}

    def _map_teacher(self, teachers: Iterable[str]) -> str:
        names = list(teachers)
        if self.map_teacher is None and len(names) == 1:
            return names[0]
        if self.map_teacher is None or self.map_teacher not in names:
            raise InputError(
                f"AMDObjective: map_teacher must name the teacher whose maps are matched, one of {sorted(names)}, but "
                f"got {self.map_teacher!r}."
            )
        return self.map_teacher

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "margin": gamma mean_l L_AMD}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        name, values = self._map_teacher(teachers), []
        for tap in self.taps:
            own = self.feature(student, tap, "the student")
            other = self.feature(teachers[name], tap, f"teacher {name!r}")
            with self.comparing(f"teacher {name!r}", tap):
                values.append(
                    functional.angular_margin(own, other, self.margin, self.scale, self.local_weight, self.resize)
                )
        if self.ce_weight is not None:
            terms["ce"] = self.ce_weight * self.label_loss(student.logits, target)
        return {**terms, "margin": self.margin_weight * torch.stack(values).mean()}


class AMD(Distilled, objective=AMDObjective):
    """Distil logits and angular maps from a teacher that reads a view of the student's kind."""
