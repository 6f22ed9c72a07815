r"""DDGSD (data-distortion guided self-distillation): the outputs for two distortions of a window are matched.

.. math:: \mathrm{CE}(z_a, y) + \mathrm{CE}(z_b, y) + \lambda\, T^2 \big( \mathrm{KL}(p_a \,\|\, p_b)
    + \mathrm{KL}(p_b \,\|\, p_a) \big) + \mu \Big\lVert \frac1B \sum_i h_{ai} - \frac1B \sum_i h_{bi} \Big\rVert_2^2

with ``p = softmax(z / T)`` and the embedding ``h``, the input of the classifier. Both distortions go through the net as
one batch, so batch norm uses the statistics of both. The functions are :func:`symmetric_kl` and
:func:`kdlab.functional.mean_embedding_discrepancy`.

References:
    T.-B. Xu, C.-L. Liu, "Data-distortion guided self-distillation for deep neural networks", AAAI 2019,
    10.1609/aaai.v33i01.33015565. Code: winycg/Self-KD-Lib@ede3062, youngerous/ddgsd-pytorch@d07d90c (ports; the
    authors' code is not public).

Differences from the reference code:
    Self-KD-Lib equals ``ce_weight=0.25``, with ``temperature=4``, no gradient through the first distribution of each
    divergence (``detach_targets=True``), and the squared difference of one mean over batch and features, which is not
    implemented here. ddgsd-pytorch takes the squared error of the logits in place of the embeddings, has no factor
    ``T^2``, divides by ``K``, and passes the two distortions through the net one after the other. Images are flipped
    and cropped there; windows are distorted by the data module's ``augment``. With its ``mix`` both distortions are
    mixed alike, which is ours.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.functional import full_precision
from kdlab.labelled import Labelled
from kdlab.methods.made import TeacherFree
from kdlab.methods.view_checks import check_version
from kdlab.nets.base import Backbone
from kdlab.objective import gather
from kdlab.objectives import Reduction
from kdlab.types import Batch, InputError, Output, Windows


@full_precision
def symmetric_kl(a: Tensor, b: Tensor, temperature: float | Tensor = 3.0, reduction: Reduction = "batchmean") -> Tensor:
    r"""Divergence of softened class probabilities in both directions, times ``T^2``, with gradients to both sides.

    .. math:: T^2 \frac1B \sum_i \sum_k (p^a_{ik} - p^b_{ik}) (\log p^a_{ik} - \log p^b_{ik})

    Args:
        a: logits ``(B, K)``.
        b: logits ``(B, K)``.
        temperature: ``T > 0``, a number or a 0-dim tensor.
        reduction: ``"batchmean"`` divides the sum by ``B``, ``"mean"`` by ``B K``.

    Example:
        >>> a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> print(f"{symmetric_kl(a, b, temperature=1.0):.4f}")
        0.7616
    """
    log_a, log_b = F.log_softmax(a / temperature, dim=1), F.log_softmax(b / temperature, dim=1)
    per_sample = ((log_a.exp() - log_b.exp()) * (log_a - log_b)).sum(1)
    return per_sample.mean() / (1 if reduction == "batchmean" else a.shape[1]) * temperature**2


class DDGSDObjective(Labelled):
    """Terms ``"ce"``, ``"kd"`` and ``"discrepancy"``, from one output for both distortions of a batch.

    The first half of the student's ``2B`` rows is one distortion, the second half the other, in the same order; so are
    the labels ``(2B,)`` or ``(2B, K)``. There are no teachers. The embeddings' means are those of all ranks.

    Raises:
        InputError: for a parameter out of range, or an odd number of rows.

    Example:
        >>> logits, embedding = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> objective = DDGSDObjective(discrepancy_weight=0.1, temperature=1.0)
        >>> both = Output(logits, {"embedding": embedding})
        >>> terms = objective(student=both, teachers={}, target=torch.tensor([0, 0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.8201, 'kd': 0.7616, 'discrepancy': 0.2}
    """

    paper: ClassVar[tuple[str, ...]] = ("xu2019data",)
    taps = ("embedding",)
    zero_when_equal = False
    order_invariant = False
    reason = "it has no teachers, and pairs the two distortions of a window by their positions"

    kd_weight: Setting = setting("``lambda``, at least 0.", default=1.0)
    discrepancy_weight: Setting = setting("``mu``, at least 0; 1e-4 to 5e-4 are published.", default=5e-4)
    temperature: Setting = setting("``T > 0``.", default=3.0, low=1e-3)
    ce_weight: Setting = setting("weight of each of the two cross-entropies, at least 0.", default=1.0)
    detach_targets: bool = argument("whether the first distribution of each divergence is detached.", default=False)
    kl_reduction: Reduction = argument(
        '``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.', default="batchmean"
    )

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE_a + CE_b, "kd": lambda (KL_ab + KL_ba), "discrepancy": mu |mean h_a - mean h_b|^2}``."""
        rows = len(student.logits)
        if rows % 2:
            raise InputError(
                f"DDGSDObjective: student must hold the windows twice, one distortion after the other, but got {rows} "
                "rows. Pass both."
            )
        embedding, gathered = self.feature(student, "embedding", "the student"), gather(student)
        one, two = (gathered(embedding[half]) for half in (slice(rows // 2), slice(rows // 2, None)))
        return {
            "ce": 2 * self.ce_weight * self.label_loss(student.logits, target),
            "kd": self.kd_weight * self._divergence(student.logits[: rows // 2], student.logits[rows // 2 :]),
            "discrepancy": self.discrepancy_weight * functional.mean_embedding_discrepancy(one, two),
        }

    def _divergence(self, a: Tensor, b: Tensor) -> Tensor:
        a, b, settings = self.scaled(a), self.scaled(b), (self.temperature, self.kl_reduction)
        if self.detach_targets:
            return functional.soft_target_kl(a, b, *settings) + functional.soft_target_kl(b, a, *settings)
        return symmetric_kl(a, b, *settings)


class DDGSD(TeacherFree, objective=DDGSDObjective):
    """Train a net to have the same output for two distortions of a window.

    The data module needs an ``augment`` and, beside the view that the net reads, its second distortion: for ``"raw"``
    the key ``"raw/second"``. Validation, test and prediction read the one view, undistorted.

    Raises:
        InputError: as the fit begins, when the data module emits no second distortion.
    """

    measures_weights = False

    def check_data(self, windows: Windows) -> None:
        """Check that there are two distortions."""
        check_version("DDGSD", self.view, "second", windows)
        if self.objective.open_weights:
            raise InputError(
                f"DDGSD: {next(iter(self.objective.open_weights))} must be a number, because its steps are on two "
                "distortions of each window, but got 'auto'. Write a number."
            )
        if windows.augment is None:
            raise InputError(
                "DDGSD: augment of the data module must be set, because two distortions of a window are compared, but "
                "got None. Set the data module's augment, for example to Mix2."
            )

    def read_views(self, stage: str) -> dict[str, tuple[str, Backbone | None]]:
        """Also the second distortion, in training."""
        return super().read_views(stage) | ({f"{self.view}/second": ("DDGSD", self.net)} if stage == "train" else {})

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step on both distortions, as one batch."""
        both = torch.cat([batch.views[self.view], batch.views[f"{self.view}/second"]])
        target = torch.cat([batch.target, batch.target])
        return super().training_step(batch._replace(views={self.view: both}, target=target), batch_idx)
