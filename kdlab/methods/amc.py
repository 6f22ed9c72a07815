r"""AMC-Loss (angular margin contrastive): embeddings of a class are close on the sphere, of two a margin apart.

.. math:: \mathrm{CE}(z, y) + \gamma_e \frac{2}{B} \sum_{i \le B/2} \big[ s_i d_i^2
    + (1 - s_i) \max(0, m_g - d_i)^2 \big], \qquad d_i = \arccos(\hat h_i \cdot \hat h_{i + B/2})

with the embeddings ``h`` of unit length (a hat) and ``s_i = 1`` where sample ``i`` of the first half of the batch and
sample ``i`` of the second are of one class. In epoch ``e``, from 0, ``gamma_e`` is the weight times
``exp(-5 (1 - e / R)^2)`` until epoch ``R``, and 0 in epoch 0. The function is
:func:`kdlab.functional.geodesic_contrastive`.

References:
    H. Choi, A. Som, P. Turaga, "AMC-Loss: Angular margin contrastive loss for improved explainability in image
    classification", CVPR Workshops 2020, arXiv:2004.09805. Code: hchoi71/AMC-Loss@23cb689.

Differences from the reference code:
    The released code compares the predicted classes where labels are available (``pairs="predictions"``), here the
    labels. Its weight is ``0.1 * 100`` and constant after the ramp; in its last 30 epochs the learning rate decreases,
    which is set by ``scheduler`` here (``ramp_down`` decreases the weight too). The last sample of an odd batch has no
    partner (an error in the released code).
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.labelled import Labelled
from kdlab.methods.made import TeacherFree
from kdlab.methods.plans import has_end
from kdlab.objective import gather
from kdlab.types import InputError, Output, Windows


def amc_ramp(epoch: int, epochs: int | None, ramp_up: int = 50, ramp_down: int = 0) -> float:
    """The factor on the contrastive term in an epoch, from 0.

    Args:
        epoch: from 0.
        epochs: number of planned epochs; used by ``ramp_down`` alone.
        ramp_up: epochs of ``exp(-5 (1 - e / ramp_up)^2)``, the first one without the term.
        ramp_down: last epochs of ``exp(-(e / 2)^2 / ramp_down)``, counted from their beginning.

    Example:
        >>> [round(amc_ramp(epoch, 100, 10, 30), 4) for epoch in (0, 5, 10, 70, 80)]
        [0.0, 0.2865, 1.0, 1.0, 0.4346]
    """
    factor = 1.0
    if epoch < ramp_up:
        factor = math.exp(-5 * (1 - epoch / ramp_up) ** 2) if epoch else 0.0
    if ramp_down and epochs is not None and epoch >= epochs - ramp_down:
        factor *= math.exp(-((0.5 * (epoch - epochs + ramp_down)) ** 2) / ramp_down)
    return factor


class AMCObjective(Labelled):
    """Terms ``"ce"`` and ``"geodesic"``; there are no teachers.

    With mixed labels ``s_i`` is the probability that the two samples of a pair are of one class. The halves are those
    of the batch of all ranks.

    Raises:
        InputError: for a parameter out of range.

    Example:
        >>> import torch
        >>> embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
        >>> net = Output(torch.zeros(4, 2), {"embedding": embedding})
        >>> terms = AMCObjective(geodesic_weight=1.0)(student=net, teachers={}, target=torch.tensor([0, 0, 0, 1]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.6931, 'geodesic': 1.3585}
    """

    paper: ClassVar[tuple[str, ...]] = ("choi2020amc",)
    zero_when_equal = False
    order_invariant = False
    reason = "it has no teachers, and pairs the samples of a batch by their positions"

    geodesic_weight: Setting = setting(
        "``gamma`` after the ramp, at least 0; the released code's 0.1 times 100.", default=10.0
    )
    margin: float = argument("``m_g``, radians, at least 0.", default=0.5, low=0)
    ramp_up: int = argument("epochs in which the weight grows; 50 in the released code.", default=0, low=0)
    ramp_down: int = argument(
        "last epochs in which the weight decreases; 0: it is constant, as in the released code (where 30 is of the "
        "learning rate).",
        default=0,
        low=0,
    )
    epochs: int | None = argument(
        "number of planned epochs, for ``ramp_down``; ``None`` is those of the fit.",
        default=None,
        low=1,
    )
    pairs: Literal["labels", "predictions"] = argument(
        '``"labels"`` compares the labels, ``"predictions"`` the predicted classes, as the released code does.',
        default="labels",
    )
    tap: str = argument(
        "the feature whose angles are compared; maps are averaged over their positions.", default="embedding"
    )

    def __post_init__(self) -> None:
        """Let callbacks change the weight where it has no ramp."""
        super().__post_init__()
        self.taps = (self.tap,)
        self.reads_labels = self.pairs == "labels"
        self.moves = ("geodesic_weight",) if self.ramp_up or self.ramp_down else ()

    def planned(self, epochs: int | None) -> int | None:
        """The number of planned epochs, for a fit of ``epochs``; ``None`` or below 0 where it has no planned end.

        Raises:
            InputError: when ``ramp_down`` has no planned end.
        """
        epochs = epochs if self.epochs is None else self.epochs
        if self.ramp_down and (epochs is None or epochs < 0):
            raise InputError(
                f"{type(self).__name__}: epochs must be set where the fit has no planned end for ramp_down, but got "
                "None. Set epochs= or max_epochs."
            )
        return epochs

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """``gamma`` times :func:`amc_ramp`."""
        if self.moves:
            ramp = amc_ramp(epoch, self.planned(epochs), self.ramp_up, self.ramp_down)
            self.set("geodesic_weight", self.initial("geodesic_weight") * ramp)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "geodesic": gamma AMC}``."""
        feature, gathered = self.feature(student, self.tap, "the net"), gather(student)
        label = student.logits.detach().argmax(1) if self.pairs == "predictions" else target
        vectors = functional.promote(feature).flatten(2).mean(2) if feature.ndim > 2 else feature
        x, label = gathered(vectors), gathered(label)
        half = len(x) // 2
        one, two = label[:half], label[half : 2 * half]
        same = (one * two).sum(1) if label.ndim > 1 else one == two
        return {
            "ce": self.label_loss(student.logits, target),
            "geodesic": self.geodesic_weight
            * functional.geodesic_contrastive(x[:half], x[half : 2 * half], same, self.margin),
        }


class AMC(TeacherFree, objective=AMCObjective, ramp_up=50):
    """Train a net on labels, with its embeddings separated by class on the sphere.

    Raises:
        InputError: for a parameter out of range, batches of one, or when ``ramp_down`` has no planned end.
    """

    objective: AMCObjective

    def check_data(self, windows: Windows) -> None:
        """Check that batches hold pairs and that the ramp has a planned end."""
        size = windows.batch_size
        if size is not None and size < 2:
            raise InputError(
                f"AMC: batch_size must be at least 2, because the windows of a batch form pairs, but got {size}. Use a "
                "larger batch_size."
            )
        if self._trainer is not None:
            self.objective.planned(1 if has_end(self.trainer) else None)
