r"""WKD-F: Wasserstein distance of the moments of features, channel by channel.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s) + \frac{\rho\, \beta}{|L|}
    \sum_{l \in L} \sum_m w_m\, \frac1B \sum_i \sum_c \big[ r (\mu^s_{ic} - \mu^m_{ic})^2
    + (\sigma^s_{ic} - \sigma^m_{ic})^2 \big]

with mean and standard deviation over the positions of a map, the student's through a 1x1 convolution to the teacher's
channels; see :func:`kdlab.functional.moment_distance`. Maps of images and of signals are compared as they are. The
convolution is trained with the student and dropped after the fit. The factor ``rho`` is 1 and falls on a cosine to 0
from the share ``decay_from`` of the planned epochs on.

References:
    J. Lv, H. Yang, P. Li, "Wasserstein distance rivals Kullback-Leibler divergence for knowledge distillation",
    NeurIPS 2024, arXiv:2412.08139. Code: JiamingLv/WKD@214cf88.

Differences from the reference code:
    Several teachers and taps; ``lambda = 0`` is the original. Its decay begins at epoch 150 of 240. For the rest see
    the function.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.decay import Decaying
from kdlab.methods.hints import HintTargets, to_channels
from kdlab.methods.made import Distilled
from kdlab.objective import checked_taps
from kdlab.types import Output


class WKDFObjective(HintTargets, Decaying):
    """Terms ``"ce"``, ``"kd"`` and ``"moments"``, and the setting ``"decay"``, a factor on the last.

    Example:
        >>> import torch
        >>> student = Output(torch.tensor([[2.0, 0.0]]), {"stage3": torch.tensor([[[1.0, 3.0]]])})
        >>> teacher = Output(torch.tensor([[2.0, 0.0]]), {"stage3": torch.tensor([[[[0.0, 2.0], [4.0, 2.0]]]])})
        >>> objective = WKDFObjective(moments_weight=1.0)
        >>> objective.adapt(student=student, teachers={"pi": teacher})
        >>> convolution = objective.adapters["pi_stage3"]
        >>> _ = torch.nn.init.ones_(convolution.weight), torch.nn.init.zeros_(convolution.bias)
        >>> terms = objective(student=student, teachers={"pi": teacher}, target=torch.tensor([0]))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'moments': 0.0479}
    """

    paper: ClassVar[tuple[str, ...]] = ("lv2024wasserstein",)
    zero_when_equal = False
    reason = "the convolution is not initialised as the identity"

    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original.", default=0.0, high=1.0)
    moments_weight: Setting = setting("``beta``, at least 0.", default=0.08)
    mean_weight: Setting = setting("``r`` of the means, at least 0.", default=4.0)
    taps: tuple[str, ...] = argument("names of the features, maps.", default=("stage3",), check=checked_taps)

    def make_adapter(self, student: Tensor, teacher: Tensor) -> nn.Module:
        """A 1x1 convolution to the teacher's channels."""
        return to_channels(type(self).__name__, student, teacher)

    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """Of the moments of the adapted map and the teacher's."""
        return functional.moment_distance(self.adapted(name, student), teacher, self.mean_weight)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "moments": rho beta mean_l sum_m w_m D_m}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        return {**terms, "moments": self.decay * self.moments_weight * self.hints(student, teachers)}


class WKDF(Distilled, objective=WKDFObjective):
    """Distil the moments of the feature maps of any teachers."""
