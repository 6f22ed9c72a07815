r"""Pseudo-labels: a net labels the windows without a label itself, and learns from those that it is sure of.

.. math:: \mathrm{CE}(z, y) + \alpha(t) \frac1n \sum_{i = 1}^{n} \big[ \max_k p_{ik} \ge \tau \big]
    \Big( - \sum_k q_{ik} \log p_{ik} \Big), \qquad p = \mathrm{softmax}(z)

over the ``n`` windows of a batch without a label. Hard targets are ``q_k = [k = argmax p]``, soft ones ``softmax(z /
T)``, without gradient. ``alpha`` is 0 for ``T_1`` updates, grows linearly for ``T_2 - T_1``, and is constant then.

References:
    D.-H. Lee, "Pseudo-label: The simple and efficient semi-supervised learning method for deep neural networks", ICML
    Workshop on Challenges in Representation Learning, 2013.

Differences from the paper:
    ``tau`` (Lee: 0, every window counts); soft targets, sharpened by ``T < 1``; ``alpha`` ends at 1 and grows over
    updates (Lee: 3, over epochs 100 to 600). Batch norm sees windows without a label from the first update on.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from kdlab import distributed, functional
from kdlab.fields import Setting, argument, setting
from kdlab.labelled import Labelled
from kdlab.methods.made import TeacherFree
from kdlab.types import Output, Windows


class PseudoLabelObjective(Labelled):
    """Terms ``"ce"`` and ``"pseudo"``; there are no teachers. A mixed window with a share of a label is labelled.

    Example:
        >>> net = Output(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.1, 0.0]]), {})
        >>> terms = PseudoLabelObjective()(student=net, teachers={}, target=torch.tensor([0, -1, -1]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.6931, 'pseudo': 0.0091}
    """

    paper: ClassVar[tuple[str, ...]] = ("lee2013pseudo",)
    zero_when_equal = False
    reason = "it has no teachers"

    pseudo_weight: Setting = setting("``alpha`` at its end, at least 0.", default=1.0)
    threshold: Setting = setting("``tau``, 0 to 1: least probability that counts.", default=0.95, low=0.0, high=1.0)
    targets: Literal["hard", "soft"] = argument(
        '``"hard"``: the predicted class; ``"soft"``: its probabilities at temperature ``T``.', default="hard"
    )
    temperature: Setting = setting("``T > 0`` of soft targets; at 1 they have no gradient.", default=0.5, low=1e-3)
    learn_temperature: bool = argument(default=False, init=False)  # it is no temperature of a divergence
    temperature_epochs: int = argument(default=10, init=False)
    standardise: bool = argument(default=False, init=False)
    warm_up_updates: int = argument("``T_1``: updates with labels alone, at least 0.", default=0, low=0)
    ramp_up_updates: int = argument("``T_2 - T_1``: updates in which the weight grows.", default=0, low=0)

    def __post_init__(self) -> None:
        """Let callbacks change the weight where it has no ramp."""
        super().__post_init__()
        self.moves = ("pseudo_weight",) if self.warm_up_updates or self.ramp_up_updates else ()
        self._confident = torch.zeros(())

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """``alpha`` of this update."""
        if self.moves:
            after = step - self.warm_up_updates
            share = min(1.0, after / self.ramp_up_updates) if self.ramp_up_updates else 1.0
            self.set("pseudo_weight", self.initial("pseudo_weight") * share if after >= 0 else 0.0)

    def observed(self) -> dict[str, Tensor]:
        """``confident``: the share of the windows without a label that counted in the last batch."""
        return {"confident": self._confident}

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "pseudo": alpha mean_i [max p_i >= tau] CE(p_i, q_i)}``."""
        without = target.sum(1) <= 0 if target.is_floating_point() else target < 0
        losses, sure = _self_losses(student.logits, self.temperature, self.threshold, self.targets == "soft")
        counted, count = without & sure, without.sum().to(losses.dtype)
        self._confident = (counted.sum() / count.clamp_min(1)).detach()
        if self.partly_labelled:  # ranks may differ in it
            count = distributed.total(count) / distributed.world_size()
        pseudo = (losses * counted).sum() / torch.where(count > 0, count, 1.0)
        return {"ce": self.label_loss(student.logits, target), "pseudo": self.pseudo_weight * pseudo}


@functional.full_precision
def _self_losses(logits: Tensor, temperature: Tensor, threshold: Tensor, soft: bool) -> tuple[Tensor, Tensor]:
    """Of each window ``(B,)``: its cross-entropy with its target, and whether the net is sure of it."""
    own = logits.detach()
    sure, label = own.softmax(1).max(1)
    target = (own / temperature).softmax(1) if soft else own.new_zeros(own.shape).scatter(1, label[:, None], 1.0)
    return -(target * logits.log_softmax(1)).sum(1), sure >= threshold


class PseudoLabel(TeacherFree, objective=PseudoLabelObjective, warm_up_updates=100, ramp_up_updates=100):
    """Train a net on labels, and on the classes that it gives the windows without one, see `Unlabelled`."""

    def check_data(self, windows: Windows) -> None:
        """Tell where there is no window to label."""
        if not windows.unlabelled_count:
            rank_zero_warn("PseudoLabel: no training window is without a label, so it trains as Supervised does.")
