r"""A-Softmax (SphereFace): labels alone, with the angle to the true class stretched ``m`` times.

.. math:: -\frac1B \sum_i \log \frac{e^{z'_{iy}}}{e^{z'_{iy}} + \sum_{k \ne y} e^{|x_i| \cos\theta_{ik}}}, \qquad
    z'_{iy} = |x_i| \frac{\lambda \cos\theta_{iy} + \psi(\theta_{iy})}{1 + \lambda}, \qquad
    \lambda = \max\Big(5, \frac{1500}{1 + 0.1\, t}\Big)

in step ``t``, from 1. The function is :func:`kdlab.functional.angular_softmax`. Classes are separated by angle, with a
margin, which is what unknown classes are told apart by (`OpenSetScore`).

References:
    W. Liu, Y. Wen, Z. Yu, M. Li, B. Raj, L. Song, "SphereFace: Deep hypersphere embedding for face recognition", CVPR
    2017, arXiv:1704.08063. Code: clcarwin/sphereface_pytorch@e2f11f0.

Differences from the reference code:
    There ``t`` counts batches, here steps of the optimiser, which is the same unless gradients are accumulated. Its
    focal factor is left out, which is 1 there. See the function for the rest.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from kdlab import functional
from kdlab.methods.supervised import Supervised
from kdlab.nets.angular import angular
from kdlab.nets.base import Backbone
from kdlab.objective import Objective
from kdlab.types import Batch, InputError, Output


class ASoftmaxObjective(Objective):
    """The term ``"ce"``, of logits that are lengths times cosines; there are no teachers.

    Args:
        margin: ``m``, a whole number of at least 1.
        cosine_weight: ``lambda``, at least 0; :class:`ASoftmax` makes it fall.

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
    taps = ("embedding",)

    cosine_weight: Tensor

    def __init__(self, margin: int = 4, cosine_weight: float = 5.0) -> None:
        super().__init__()
        if isinstance(margin, bool) or not isinstance(margin, int) or margin < 1:
            raise InputError(f"ASoftmaxObjective: margin must be a whole number of at least 1, but is {margin!r}.")
        self.margin = margin
        self.setting("cosine_weight", cosine_weight)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": the angular cross-entropy}``."""
        embedding = self.feature(student, "embedding", "the net")
        ce = functional.angular_softmax(student.logits, embedding, target, self.margin, self.cosine_weight)
        return {"ce": ce}


class ASoftmax(Supervised):
    """Train a net on labels with an angular margin.

    The net gets an :class:`~kdlab.nets.AngularNet` around it, with class weights of length 1 and no bias, unless it is
    one; in its checkpoints it is one. Validation and test know no margin.

    Args:
        net: the net.
        margin: ``m``, a whole number of at least 1; the paper's 4.
        start: ``lambda`` before the first step.
        slope: how fast ``lambda`` falls.
        least: where ``lambda`` ends.
        kwargs: as in :class:`~kdlab.methods.supervised.Supervised`.

    Raises:
        InputError: for a parameter out of range, or a net without a linear head.
    """

    moves: ClassVar[tuple[str, ...]] = ("cosine_weight",)

    def __init__(
        self,
        net: Backbone,
        *,
        margin: int = 4,
        start: float = 1500.0,
        slope: float = 0.1,
        least: float = 5.0,
        **kwargs: Any,
    ) -> None:
        if min(start, slope, least) < 0:
            raise InputError(
                f"ASoftmax: start, slope and least must be at least 0, but are {start}, {slope} and {least}."
            )
        first = functional.angular_softmax_weight(1, start, slope, least)
        super().__init__(angular(net), objective=ASoftmaxObjective(margin, first), **kwargs)
        self.start, self.slope, self.least = start, slope, least

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set ``lambda``, a function of the step alone."""
        step = self.trainer.global_step + 1
        self.objective.set("cosine_weight", functional.angular_softmax_weight(step, self.start, self.slope, self.least))
