r"""A-Softmax (SphereFace): labels alone, with the angle to the true class multiplied by ``m``.

.. math:: -\frac1B \sum_i \log \frac{e^{z'_{iy}}}{e^{z'_{iy}} + \sum_{k \ne y} e^{|x_i| \cos\theta_{ik}}}, \qquad
    z'_{iy} = |x_i| \frac{\lambda \cos\theta_{iy} + \psi(\theta_{iy})}{1 + \lambda}, \qquad
    \lambda = \max\Big(5, \frac{1500}{1 + 0.1\, t}\Big)

in step ``t``, from 1. The function is :func:`kdlab.functional.angular_softmax`. Classes are separated by angle, with a
margin, which also helps to separate unknown classes (`OpenSetScore`).

References:
    W. Liu, Y. Wen, Z. Yu, M. Li, B. Raj, L. Song, "SphereFace: Deep hypersphere embedding for face recognition", CVPR
    2017, arXiv:1704.08063. Code: clcarwin/sphereface_pytorch@e2f11f0.

Differences from the reference code:
    There ``t`` counts batches, here steps of the optimiser, which is the same unless gradients are accumulated. Its
    focal factor, which is 1 there, is ``focal_gamma``. A label that is smoothed or mixed takes the loss of each class
    as if that were the true one. See the function for the rest.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.labelled import Labelled
from kdlab.methods.made import TeacherFree
from kdlab.nets.angular import angular
from kdlab.nets.base import Backbone
from kdlab.nets.plain import as_backbone
from kdlab.types import Output


class ASoftmaxObjective(Labelled):
    """The term ``"ce"``, of logits that are lengths times cosines; there are no teachers.

    Raises:
        InputError: for a parameter out of range.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.2, 1.6]])
        >>> objective = ASoftmaxObjective(margin=2, cosine_weight=0.0)
        >>> terms = objective(student=Output(x, {"embedding": x}), teachers={}, target=torch.tensor([1]))
        >>> print(f"{terms['ce']:.4f}")
        1.0635
    """

    paper: ClassVar[tuple[str, ...]] = ("liu2017sphereface",)
    reads_labels = True
    taps = ("embedding",)

    margin: int = argument("``m``, an integer of at least 1; the paper's 4.", default=4, low=1)
    cosine_weight: Setting = setting("the constant ``lambda``, at least 0, without ``falling``.", default=5.0)
    falling: bool = argument("whether ``lambda`` decreases with the step.", default=False)
    start: float = argument("``lambda`` before the first step.", default=1500.0, low=0)
    slope: float = argument("slope of the decrease of ``lambda``, per step.", default=0.1, low=0)
    least: float = argument("the least ``lambda``.", default=5.0, low=0)

    def __post_init__(self) -> None:
        """Set ``lambda`` of the first step."""
        super().__post_init__()
        self.moves = ("cosine_weight",) if self.falling else ()
        self.at(0)

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """``lambda = max(least, start / (1 + slope t))``, with ``t`` counted from 1."""
        if self.falling:
            weight = functional.angular_softmax_weight(step + 1, self.start, self.slope, self.least)
            self.set("cosine_weight", weight)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": the angular cross-entropy}``."""
        embedding = self.feature(student, "embedding", "the net")
        angular = (self.margin, self.cosine_weight)
        if self.plain_labels:
            return {"ce": functional.angular_softmax(student.logits, embedding, target, *angular)}
        functional.check_labels(student.logits, target)
        losses = functional.angular_losses(student.logits, embedding, *angular)
        return {"ce": self.label_mean(losses, target)}


class ASoftmax(TeacherFree, objective=ASoftmaxObjective, fixed={"falling": True, "cosine_weight": 5.0}):
    """Train a net on labels with an angular margin.

    The net is wrapped in an :class:`~kdlab.nets.AngularNet`, with class weights of length 1 and no bias, unless it is
    one; its checkpoints hold the wrapped net. Validation and test have no margin.

    Raises:
        InputError: for a parameter out of range, or a net without a linear head.
    """

    def __init__(self, net: Backbone, **kwargs: Any) -> None:
        super().__init__(angular(as_backbone(net, "ASoftmax", kwargs.get("num_classes"))), **kwargs)
