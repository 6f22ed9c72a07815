r"""CAD (constrained adaptive distillation), our reading: weights by entropy, and similarities of batch and channels.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{1}{|L|} \sum_{l \in L} \sum_m w_m \big[ \beta\, d(P_m F_s^l, F_m^l) + \gamma\, d'(P_m F_s^l, F_m^l) \big]

.. math:: w_m \propto \mathrm{clamp}\Big( \frac{1}{M - 1} \Big( 1 - \frac{H_m}{\sum_j H_j} \Big),\, a,\, 1 - a \Big)

with the mean entropy ``H`` of a teacher's class probabilities in the batch, a 1x1 convolution ``P`` to the teacher's
channels, the distance ``d`` of row-normalised Gram matrices of the windows of a batch, and ``d'`` that of its channels,
over all windows and positions; see :func:`kdlab.functional.gram_distance`. Maps of images and of signals are compared
as they are. The convolutions are dropped after the fit.

References:
    E. S. Jeon, H. Choi, A. Shukla, Y. Wang, M. P. Buman, P. Turaga, "Constrained adaptive distillation based on
    topological persistence for wearable sensor data", IEEE Transactions on Instrumentation and Measurement, 2023,
    10.1109/TIM.2023.3329818.

Differences from the reference code:
    There is none. The equations are our reading of the abstract (two teachers, a constrained weight by entropy, batch
    and channel similarities), so every default is ours.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from kdlab import distributed, functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.hints import HintTargets, adapter_name, to_channels
from kdlab.methods.made import Distilled
from kdlab.objective import checked_taps, gather
from kdlab.types import Output


@functional.full_precision
def constrained_weights(teachers: dict[str, Tensor], least: Tensor) -> dict[str, Tensor]:
    """Teacher name -> its weight in the batch of all processes, from its logits ``(B, K)``; sum 1, without gradient.

    Example:
        >>> logits = {"raw": torch.tensor([[9.0, 0.0]]), "pi": torch.tensor([[0.0, 0.0]])}
        >>> {name: round(float(w), 4) for name, w in constrained_weights(logits, torch.tensor(0.3)).items()}
        {'raw': 0.7, 'pi': 0.3}
    """
    stacked = torch.stack([logits.detach() for logits in teachers.values()]).log_softmax(2)
    entropy = distributed.total(-(stacked.exp() * stacked).sum(2).mean(1)) / distributed.world_size()
    share = torch.where(entropy.sum() < 1e-8, 1 / len(entropy), entropy / entropy.sum().clamp_min(1e-8))
    weights = ((1 - share) / (len(share) - 1) if len(share) > 1 else share).clamp(least, 1 - least)
    return dict(zip(teachers, weights / weights.sum(), strict=True))


class CADObjective(HintTargets):
    """Terms ``"ce"``, ``"kd"``, ``"batch"`` and ``"channel"``.

    Example:
        >>> out = Output(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), {"stage3": torch.eye(2)[:, None]})
        >>> objective = CADObjective()
        >>> terms = objective(student=out, teachers={"raw": out, "pi": out}, target=torch.tensor([0, 1]))
        >>> list(terms), [round(float(w), 2) for w in objective.observed().values()]
        (['ce', 'kd', 'batch', 'channel'], [0.5, 0.5])
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2023constrained",)
    zero_when_equal = False
    reason = "the convolution is not initialised as the identity"
    needs_logits = True  # of all teachers, for their entropies

    kd_weight: Setting = setting("``lambda``, 0 to 1.", default=0.7, high=1.0)
    batch_weight: Setting = setting("``beta``, at least 0.", default=100.0)
    channel_weight: Setting = setting("``gamma``, at least 0.", default=100.0)
    least: Setting = setting("``a``, 0 to .5: the least weight of each of two teachers.", default=0.3, high=0.5)
    weights: dict[str, float] | None = argument(default=None, init=False)
    taps: tuple[str, ...] = argument("names of the features, maps.", default=("stage3",), check=checked_taps)

    def __post_init__(self) -> None:
        """Initialise without weights."""
        super().__post_init__()
        self.found: dict[str, Tensor] = {}

    def observed(self) -> dict[str, Tensor]:
        """The teachers' weights in the last batch."""
        return self.found

    def make_adapter(self, student: Tensor, teacher: Tensor) -> nn.Module:
        """A 1x1 convolution to the teacher's channels."""
        return to_channels(type(self).__name__, student, teacher)

    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """``d`` and ``d'`` of gathered features, ``(2,)``."""
        pairs = ((student, teacher), (student.transpose(0, 1), teacher.transpose(0, 1)))
        return torch.stack([functional.gram_distance(functional.gram(s), functional.gram(t)) for s, t in pairs])

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "batch": beta mean_l sum_m w_m d_ml, "channel": gamma mean_l sum_m w_m d'_ml}``."""
        self.adapt(student=student, teachers=teachers)
        weights = constrained_weights({name: output.logits for name, output in teachers.items()}, self.least)
        self.found, values, together = {f"weight_{name}": w for name, w in weights.items()}, [], gather(student)
        own, soft = student.logits, (self.temperature, self.kl_reduction)
        kd = [weight * self.divergence(own, teachers[name].logits, *soft) for name, weight in weights.items()]
        for tap in self.taps:
            own = self.feature(student, tap, "the student")
            for name, weight in weights.items():
                other = self.feature(teachers[name], tap, f"teacher {name!r}").detach()
                read = adapter_name(name, tap), together(self.adapted(adapter_name(name, tap), own)), together(other)
                values.append(weight * self.distance(*read))
        batch, channel = torch.stack(values).sum(0) / len(self.taps)
        return {
            "ce": (1 - self.kd_weight) * self.label_loss(student.logits, target),
            "kd": self.kd_weight * torch.stack(kd).sum(),
            "batch": self.batch_weight * batch,
            "channel": self.channel_weight * channel,
        }


class CAD(Distilled, objective=CADObjective):
    """Distil logits and similarities of two teachers, the surer one more."""
