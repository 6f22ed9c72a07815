r"""TPKD, topological persistence guided knowledge distillation: orthogonal features of merged similarity maps.

.. math:: (1 - \lambda)\, \mathrm{CE} + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\beta}{|L|} \sum_{l \in L} \frac1k \sum_{i=1}^k \Big(\frac kB\Big)^2 \lVert O_i^{T,l} - O_i^{S,l} \rVert_F^2

with ``O_i = P_i P_i^T - I`` of the row-normalised patches of the row-normalised similarity maps; see
:func:`kdlab.functional.orthogonal_similarity`. The paper starts the student from one that was trained from scratch
(``student_init=``) and has weights by data set: GENEActiv raw .7, PI .3, beta 700, lambda .7 (the defaults);
PAMAP2 raw .3, PI .7, beta 200, lambda .99.

References:
    E. S. Jeon, H. Choi, A. Shukla, Y. Wang, H. Lee, M. P. Buman, P. Turaga, "Topological persistence guided knowledge
    distillation for wearable sensor data", Engineering Applications of Artificial Intelligence 130, 2024,
    10.1016/j.engappai.2023.107719 (eq. 9).

Differences from the reference code:
    There is no public code of this paper. The total (eq. 9) and the order of the steps are the paper's; the shape of
    the patches, the places of the normalisation and the constant are our interpretation, so tune beta on validation.
    ``oth="sp"`` takes the plain similarity-preserving distance to the merged maps instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

from torch import Tensor

from kdlab import distributed, functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objectives import SimilarityTargets
from kdlab.types import InputError


class TPKDObjective(SimilarityTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"similarity"``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or if ``patches``
            does not divide the batch.

    Example:
        >>> import torch
        >>> from kdlab.types import Output
        >>> logits = torch.zeros(4, 2)
        >>> student = Output(logits, {"stage1": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])})
        >>> teacher = Output(logits, {"stage1": torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 2.0]])})
        >>> objective = TPKDObjective(similarity_weight=1.0, weights={"raw": 1.0}, patches=2, taps=("stage1",))
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0, 1, 0, 1]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.2079, 'kd': 0.0, 'similarity': 0.3625}
    """

    paper: ClassVar[tuple[str, ...]] = ("jeon2024topological",)
    takes_many_labels = True
    order_invariant = False
    reason = "consecutive rows of the batch form a patch, so another order forms other patches"
    default_weights: ClassVar[Mapping[str, float] | None] = {"raw": 0.7, "pi": 0.3}

    kd_weight: Setting = setting(default=0.7)
    similarity_weight: Setting = setting("``beta``, at least 0.", default=700.0)
    weights: dict[str, float] | None = argument(
        'teacher name -> weight of its logits and Gram matrices; ``None`` is ``{"raw": 0.7, "pi": 0.3}``.', default=None
    )
    patches: int = argument(
        "``k``, which must divide the batch over all ranks into patches of at least two rows.", default=4, low=1
    )
    oth: Literal["rows", "sp", "square"] = argument(
        '``"rows"``, ``"square"`` (``k x k`` patches) or ``"sp"`` (no patches).', default="rows"
    )

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise also when the patches do not divide the batch, over all ranks, or would be single rows."""
        super().check(batch_size=batch_size, teachers=teachers)
        if batch_size is None or self.oth == "sp":
            return
        total = batch_size * distributed.world_size()
        if total % self.patches or total // self.patches < 2:
            raise InputError(
                f"TPKDObjective: patches={self.patches} must divide the batch into patches of at least two rows, but a "
                f"step has {total} windows (batch_size {batch_size} on {distributed.world_size()} processes). Use a "
                f"batch_size that is a multiple of {self.patches} and at least {2 * self.patches}, or other patches."
            )

    def similarity(self, student: Tensor, teachers: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """Distance of the orthogonal features of the student's and the merged similarity map."""
        merged = functional.merge_grams(teachers, weights)
        return functional.orthogonal_distance(student, merged, self.patches, self.oth)


class TPKD(Distilled, objective=TPKDObjective):
    """Distil logits and orthogonal features of merged batch similarities, of ``"raw"`` and ``"pi"`` by default."""
