r"""IPS (intra-class patch swap): two windows of a class exchange segments, and the net's outputs for both are matched.

.. math:: \mathrm{CE}(z_a, y) + \mathrm{CE}(z_b, y) + \lambda\, T^2 \big( \mathrm{KL}(p_a \,\|\, p_b)
    + \mathrm{KL}(p_b \,\|\, p_a) \big), \qquad p = \mathrm{softmax}(z / T)

for the windows ``a`` and ``b`` after the swap: time is cut into ``n`` equal segments, ``k`` of which, drawn for each
pair, change places (of images, ``k`` cells of a grid of ``n`` by ``n``). Both go through the net as one batch, so batch
norm uses the statistics of both. The partner is the view ``<name>/pair`` of the data module. See
:func:`kdlab.methods.ddgsd.symmetric_kl`.

References:
    H. Choi, E. S. Jeon, A. Shukla, P. Turaga, "Intra-class patch swap for self-distillation", Neurocomputing 645, 2025,
    arXiv:2505.14124.

Differences from the reference code:
    The equation is that of the abstract. The published ``T``, ``lambda``, ``n``, ``k`` and share of pairs are not known
    to us: the defaults are unverified. Segments of time in place of patches are ours. The draws are a function of the
    step and of the window.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdlab.fields import Setting, argument, setting
from kdlab.labelled import Labelled
from kdlab.methods.ddgsd import symmetric_kl
from kdlab.methods.made import TeacherFree
from kdlab.methods.swap import check_swap, drawn_cells, swap
from kdlab.methods.view_checks import check_version
from kdlab.nets.base import Backbone
from kdlab.objectives import Reduction
from kdlab.types import Batch, InputError, Output, Windows


class IPSObjective(Labelled):
    """Terms ``"ce"`` and ``"kd"``, from one output for both windows of each pair.

    The first half of the student's ``2B`` rows is one window of the pairs, the second half the other, in the same
    order; so are the labels. There are no teachers.

    Example:
        >>> both = Output(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), {})
        >>> terms = IPSObjective(temperature=1.0)(student=both, teachers={}, target=torch.tensor([0, 0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.8201, 'kd': 0.7616}
    """

    paper: ClassVar[tuple[str, ...]] = ("choi2025intra",)
    reads_labels = True
    zero_when_equal = False
    order_invariant = False
    reason = "it has no teachers, and pairs windows by their positions"

    kd_weight: Setting = setting("``lambda``, at least 0; the default is unverified.", default=1.0)
    temperature: Setting = setting("``T > 0``; the default is unverified.", default=4.0, low=1e-3)
    ce_weight: Setting = setting("weight of each of the two cross-entropies, at least 0.", default=1.0)
    segments: int = argument("``n`` on each axis, at least 2; the default is unverified.", default=8, low=2)
    swapped: int = argument("``k``, at least 1; the default is unverified.", default=4, low=1)
    probability: float = argument(
        "share of the pairs that swap, 0 to 1; the default is unverified.", default=1.0, low=0.0, high=1.0
    )
    seed: int = argument("of the draws, at least 0.", default=0, low=0)
    kl_reduction: Reduction = argument('``"batchmean"``, or ``"mean"``, ``K`` times smaller.', default="batchmean")

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE_a + CE_b, "kd": lambda (KL_ab + KL_ba)}``."""
        if len(student.logits) % 2:
            raise InputError(
                "IPSObjective: student must hold the windows of all pairs, one half after the other, but got "
                f"{len(student.logits)} rows. Pass both."
            )
        one, two = self.scaled(student.logits[: len(target) // 2]), self.scaled(student.logits[len(target) // 2 :])
        kd = symmetric_kl(one, two, self.temperature, self.kl_reduction)
        return {"ce": 2 * self.ce_weight * self.label_loss(student.logits, target), "kd": self.kd_weight * kd}


class IPS(TeacherFree, objective=IPSObjective):
    """Train a net to have the same output for two windows of a class that swapped segments.

    The data module needs, beside the view that the net reads, the same view of another window of the same class: for
    ``"raw"`` the key ``"raw/pair"``. Validation, test and prediction read the one view.
    """

    objective: IPSObjective
    measures_weights = False

    def check_data(self, windows: Windows) -> None:
        """Check that there are pairs, and segments to swap."""
        check_version("IPS", self.view, "pair", windows)
        check_swap(self.objective.segments, self.objective.swapped, self.net.ndim, windows.view_shape(self.view))
        if self.objective.open_weights:
            raise InputError(
                f"IPS: {next(iter(self.objective.open_weights))} must be a number, because its steps are on pairs, but "
                "got 'auto'. Set one."
            )

    def read_views(self, stage: str) -> dict[str, tuple[str, Backbone | None]]:
        """Also the pairs, in training."""
        return super().read_views(stage) | ({f"{self.view}/pair": ("IPS", self.net)} if stage == "train" else {})

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step on both windows after the swap, as one batch."""
        one, two, made = batch.views[self.view], batch.views[f"{self.view}/pair"], self.objective
        drawn = made.segments**self.net.ndim, made.swapped, made.probability, made.seed, self.global_step
        both = torch.cat(swap(one, two, drawn_cells(batch.index, *drawn), made.segments))
        target = torch.cat([batch.target, batch.target])
        return super().training_step(batch._replace(views={self.view: both}, target=target), batch_idx)
