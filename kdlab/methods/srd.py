r"""SRD (simple recipe distillation): features through a linear projector, standardised over the batch.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \gamma \sum_m w_m \log \Big( \sum_{i,d} |\hat f^s_{id} - \hat f^m_{id}|^\alpha + \epsilon \Big)

with the embedding before the head, the student's through a linear layer; see
:func:`kdlab.functional.log_power_distance`. Embeddings of images and of signals are compared as they are. The layer is
trained with the student and dropped after the fit.

References:
    R. Miles, K. Mikolajczyk, "Understanding the role of the projector in knowledge distillation", AAAI 2024,
    arXiv:2303.11098. Code: yoshitomo-matsubara/torchdistill@3e4373c, configs/official/ilsvrc2012/roymiles/aaai2024.

Differences from the reference code:
    It has the weights 1, 1 and 2 of the three terms, which are ``lambda = .5`` and ``gamma = 1`` here, up to a factor
    2 of the sum; its divergence has temperature 1. It has no ``eps``. Its batch norm keeps running statistics, which
    nothing reads while the net is trained; here there are none. On several processes the batch is that of all of them.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.hints import HintTargets
from kdlab.methods.made import Distilled
from kdlab.objective import checked_taps, gather
from kdlab.types import Output


class SRDObjective(HintTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"features"``.

    Example:
        >>> import torch
        >>> student = Output(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), {"embedding": torch.tensor([[-1.0], [1.0]])})
        >>> teacher = Output(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), {"embedding": torch.tensor([[3.0], [1.0]])})
        >>> objective = SRDObjective()
        >>> objective.adapt(student=student, teachers={"raw": teacher})
        >>> _ = torch.nn.init.ones_(objective.adapters["raw_embedding"].weight)
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0, 1]))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'ce': 0.0635, 'kd': 0.0, 'features': 3.4657}
    """

    paper: ClassVar[tuple[str, ...]] = ("miles2024understanding",)
    zero_when_equal = False
    reason = "the projector is not initialised as the identity, and the logarithm of 0 is log(eps)"
    windows = 2

    kd_weight: Setting = setting("``lambda``, 0 to 1.", default=0.5, high=1.0)
    temperature: Setting = setting("``T > 0`` of the soft targets.", default=1.0, low=1e-3)
    features_weight: Setting = setting("``gamma``, at least 0.", default=1.0)
    taps: tuple[str, ...] = argument("names of the features; flattened.", default=("embedding",), check=checked_taps)
    exponent: float = argument("``alpha``, above 0.", default=4.0, above=0.0)
    eps: float = argument("``epsilon``, above 0, within the logarithm.", default=1e-8, above=0.0)
    norm_eps: float = argument(
        "added to the variances over the batch, above 0; not found in the paper.", default=1e-5, above=0.0
    )

    def make_adapter(self, student: Tensor, teacher: Tensor) -> nn.Module:
        """A linear layer to the size of the teacher's feature."""
        return nn.Linear(student[0].numel(), teacher[0].numel())

    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """The logarithm, over the windows of all processes."""
        gathered = gather(Output(student, {}))
        own, other = gathered(self.adapted(name, student.flatten(1))), gathered(teacher.flatten(1))
        return functional.log_power_distance(own, other, self.exponent, self.eps, self.norm_eps)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "features": gamma mean_l sum_m w_m log(...)}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        return {**terms, "features": self.features_weight * self.hints(student, teachers)}


class SRD(Distilled, objective=SRDObjective):
    """Distil the embeddings of any teachers through linear projectors."""
