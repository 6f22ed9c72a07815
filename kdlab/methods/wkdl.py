r"""WKD-L: Wasserstein distance of class probabilities, where moving between classes that look alike costs less.

.. math:: \mathrm{CE}(z_s, y) + \rho \sum_m w_m \Big[ - p_m[y] \log p_s[y]
    + \frac{\gamma}{B} \sum_i W\big(\tilde p_{si}, \tilde p_{mi}; c_m\big) \Big]

with the probabilities ``p`` at temperature 1, those of the other classes among themselves
``tilde p = softmax(z / T without y)``, the cost ``W`` of their transport (:func:`kdlab.functional.transport_cost`), and
the costs ``c`` between classes, from the alignment of their features in the teacher
(:func:`kdlab.functional.class_costs`). The factor ``rho`` is 1 and falls on a cosine to 0 from the share ``decay_from``
of the planned epochs on. Label mixtures have the mean over their classes.

References:
    J. Lv, H. Yang, P. Li, "Wasserstein distance rivals Kullback-Leibler divergence for knowledge distillation",
    NeurIPS 2024, arXiv:2412.08139. Code: JiamingLv/WKD@214cf88.

Differences from the reference code:
    It has the costs of CIFAR-100 and ImageNet in files. Here they are those of the teacher's embedding of the first
    ``cost_windows`` training windows of each class, found as a fit begins, with a linear kernel; or given (``costs``).
    Several teachers. Its decay begins at epoch 150 of 240. With two classes nothing is left to be moved.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.decay import Decaying
from kdlab.methods.made import Distilled
from kdlab.methods.teacher_costs import HIGHEST, check_regularisation, checked_costs, costs_of
from kdlab.types import Output, Windows


class WKDLObjective(Decaying):
    """Terms ``"ce"``, ``"target"`` and ``"transport"``, and the setting ``"decay"``, a factor on the last two.

    Costs that are neither given nor set by :meth:`use_costs` are the most, ``1 - 1 / e``, between any two classes.

    Example:
        >>> student = Output(torch.tensor([[0.0, 0.0, 0.0]]), {})
        >>> teacher = Output(torch.tensor([[9.0, 2.0, 0.0]]), {})
        >>> objective = WKDLObjective(temperature=1.0, transport_weight=1.0)
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 1.0986, 'target': 1.0975, 'transport': 0.2406}
    """

    paper: ClassVar[tuple[str, ...]] = ("lv2024wasserstein",)
    reads_labels = True
    zero_when_equal = False
    reason = "cross-entropy with a distribution is at least its entropy"

    transport_weight: Setting = setting("``gamma``, at least 0.", default=600.0)
    temperature: Setting = setting("``T > 0`` of the other classes.", default=8.0, low=1e-3)
    costs: list[list[float]] | None = argument(
        "``c (K, K)``, at least 0; ``None``: from the teacher's features.", default=None, check=checked_costs
    )
    tap: str = argument("name of the teacher's feature that costs are found from; flattened.", default="embedding")
    cost_windows: int = argument("training windows of each class for the costs, at least 1.", default=100, low=1)
    regularisation: float = argument("of the transport, above 0.", default=0.05, above=0.0)
    iterations: int = argument("of Sinkhorn, at least 1.", default=10, low=1)

    def __post_init__(self) -> None:
        """Initialise without costs."""
        super().__post_init__()
        check_regularisation(type(self).__name__, self.costs, self.regularisation)
        self._costs: dict[str, Tensor] = {}

    def use_costs(self, costs: dict[str, Tensor]) -> None:
        """Take the costs ``(K, K)`` of each teacher, where none are given."""
        self._costs = dict(costs)

    def _costs_of(self, name: str, like: Tensor) -> Tensor:
        if self.costs is not None:
            self._costs.setdefault(name, torch.tensor(self.costs))
        if name not in self._costs:
            return HIGHEST * (1 - torch.eye(like.shape[-1], dtype=like.dtype, device=like.device))
        self._costs[name] = self._costs[name].to(like.device)
        return self._costs[name]

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "target": -rho sum_m w_m p_m[y] log p_s[y], "transport": rho gamma sum_m w_m W_m}``."""
        classes, mixed = torch.arange(student.logits.shape[1], device=target.device), target.is_floating_point()
        own = classes == (classes[None, :, None] if mixed else target[:, None, None])
        share = target if mixed else (target[:, None] >= 0).to(student.logits.dtype)  # of each class in the label
        log_p, p = _parts(self.scaled(student.logits), own, self.temperature)
        values = []
        for name, weight in self.weights_of(teachers).items():
            log_q, q = _parts(self.scaled(teachers[name].logits.detach()), own, self.temperature)
            setting = self._costs_of(name, p), self.regularisation, self.iterations
            moved = functional.transport.transported(p.flatten(0, 1), q.flatten(0, 1), *setting).view_as(share)
            values.append(weight * (share * torch.stack([-log_q.exp() * log_p, moved])).sum(2).mean(1))
        certainty, moved = self.decay * torch.stack(values).sum(0)
        terms = {"target": certainty, "transport": self.transport_weight * moved}
        return {"ce": self.label_loss(student.logits, target), **terms}


@functional.full_precision
def _parts(logits: Tensor, own: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """Of each class that ``own`` marks, ``(1 or B, C, K)``: its ``log p`` ``(B, C)``, and those of the others."""
    others = (logits / temperature)[:, None].masked_fill(own, -torch.inf).softmax(2)
    return (logits.log_softmax(1)[:, None] * own).sum(2), others


class WKDL(Distilled, objective=WKDLObjective):
    """Distil the logits of any teachers, with costs between classes that are found in the teachers' features."""

    objective: WKDLObjective

    def build(self, windows: Windows) -> None:
        """Also find the costs, where none are given."""
        if self.objective.costs is None:
            found = self.objective.tap, self.objective.cost_windows, self.net.num_classes
            self.objective.use_costs({n: costs_of(n, t, windows, *found) for n, t in self.named_teachers()})
        super().build(windows)
