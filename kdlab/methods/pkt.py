r"""PKT (probabilistic knowledge transfer): the neighbour probabilities of the windows of a batch are matched.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\beta}{|L|} \sum_{l \in L} \sum_m w_m \frac{1}{B^2} \sum_{ij} q^m_{ij} \log \frac{q^m_{ij}}{q^s_{ij}},
    \qquad q_{ij} \propto \tfrac12 (1 + \cos(f_i, f_j))

where ``q`` sums to one over ``j``; see :func:`kdlab.functional.affinity_divergence`. The original has no soft targets
(``kd_weight=0``, the default).

References:
    N. Passalis, A. Tefas, "Learning deep representations with probabilistic knowledge transfer", ECCV 2018,
    arXiv:1803.10837. Code: HobbitLong/RepDistiller@b84f547.

Differences from the reference code:
    None in the equation, which is the code's. The codes divide an embedding by its norm plus 1e-7, and an embedding of
    zeros has a NaN gradient there; here its gradient is finite. The paper leaves out the similarity of a window with
    itself (``self_pairs=False``) and sums over pairs instead of averaging; the weight 30000 belongs to the code's form.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import Tensor

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objective import PAIRS, checked_taps
from kdlab.objectives import SoftTargets
from kdlab.pairs import Pairs
from kdlab.types import Output


class PKTObjective(SoftTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"affinity"``.

    Raises:
        InputError: for a parameter out of range, or if the weights do not name exactly the teachers.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> student = Output(logits, {"embedding": torch.eye(2)})
        >>> teacher = Output(logits, {"embedding": torch.tensor([[1.0, 0.0], [2.0, 0.0]])})
        >>> objective = PKTObjective(affinity_weight=10.0)
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0, 1]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'affinity': 0.2945}
    """

    paper: ClassVar[tuple[str, ...]] = ("passalis2018learning",)
    takes_many_labels = True

    affinity_weight: Setting = setting("``beta``, at least 0.", default=30000.0)
    self_pairs: bool = argument(
        "whether a window is its own neighbour too, as in the reference code; the paper has ``False``.", default=True
    )
    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original, .9 adds soft targets.", default=0.0)
    taps: tuple[str, ...] = argument("names of the features.", default=("embedding",), check=checked_taps)
    pairs: Pairs | None = PAIRS

    def __post_init__(self) -> None:
        """Set the smallest batch that has a choice among neighbours."""
        super().__post_init__()
        self.windows = 2 if self.self_pairs else 3  # with a single neighbour its probability is 1

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "affinity": beta mean_l sum_m w_m PKT}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        distance = partial(functional.affinity_divergence, self_pairs=self.self_pairs)
        value = self.over_taps(student, teachers, distance, gathered=True)
        return {**terms, "affinity": self.affinity_weight * value}


class PKT(Distilled, objective=PKTObjective):
    """Distil the affinities between embeddings from teachers on any views."""
