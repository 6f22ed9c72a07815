r"""DASK (VSKD): distances, angles and semantic vectors of a teacher on another sensor or view of the same window.

.. math:: \mathrm{CE}(z_s, y) + w_{st} \sum_m w_m\, \mathrm{KD}(m, s)
    + \beta \sum_m w_m \big( L_D(f_s, f_m) + L_A(f_s, f_m) \big) + \gamma \sum_m w_m\, \overline{(A f_s - f_m)^2}

with :func:`kdlab.functional.relational_distance` and :func:`kdlab.functional.relational_angle` of the embeddings ``f``
and, where their lengths differ, a linear layer ``A`` from the student's to the teacher's, which is trained with the
student and dropped after the fit.

References:
    J. Ni, R. Sarbajna, Y. Liu, A. H. H. Ngu, Y. Yan, "Cross-modal knowledge distillation for vision-to-sensor action
    recognition", ICASSP 2022, arXiv:2112.01849 (VSKD, with the distance and angle-wise semantic knowledge loss, DASK).
    Code: jiany-ctrl/Crossmodal-KD-for-Vision-to-Sensor-HAR@abcff87.

Differences from the reference code:
    Its script trains cross-entropy, .01 times soft targets and an attention term that is always 0; the lines of the
    other three terms are commented out, and pass teacher and student in swapped order, which would detach the student.
    Here all terms train, student first. Its video and watch loaders are shuffled separately, so that the two nets read
    different trials; here both read views of the same window. Its nets, on video clips and on Gramian angular fields of
    224 pixels, are replaced by those of kdlab, for example on skeletons and on the raw signal; both have a layer of 300
    values from which ``f`` is read, which the embeddings and ``A`` replace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.objective import Classifier
from kdlab.objectives import Reduction, WeightedTeachers
from kdlab.types import InputError, Output


class DASKObjective(WeightedTeachers):
    """Terms ``"ce"``, ``"kd"``, ``"relation"`` and ``"semantic"``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or for batches of
            fewer than three windows, whose relations are constant.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
        >>> student = Output(logits, {"embedding": torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])})
        >>> teacher = Output(logits, {"embedding": torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])})
        >>> terms = DASKObjective()(student=student, teachers={"skeleton": teacher}, target=torch.tensor([0, 1, 0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'relation': 0.2013, 'semantic': 0.8333}
    """

    paper: ClassVar[tuple[str, ...]] = ("ni2022cross", "park2019relational", "hinton2015distilling")
    windows = 3

    relation_weight: Setting = setting(
        "``beta``, at least 0 (1 in the reference code; the paper's value is unverified).", default=1.0
    )
    semantic_weight: Setting = setting(
        "``gamma``, at least 0 (1 in the reference code; the paper's value is unverified).", default=1.0
    )
    temperature: Setting = setting("``T > 0`` of the soft targets.", default=4.0, low=1e-3)
    kd_weight: Setting = setting("``w_st``, at least 0; the cross-entropy keeps its weight of 1.", default=0.01)
    tap: str = argument("name of the embeddings ``f``, ``(B, D)``.", default="embedding")
    kl_reduction: Reduction = argument(
        '``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.', default="batchmean"
    )

    def __post_init__(self) -> None:
        """Read one tap."""
        super().__post_init__()
        self.taps = (self.tap,)

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """A linear layer to the embedding of each teacher; the identity where the lengths are equal."""
        own = self.feature(student, self.tap, "the student")
        others = {name: self.feature(out, self.tap, f"teacher {name!r}") for name, out in teachers.items()}
        return {name: translator(own, other) for name, other in others.items()}

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "kd": w_st KD, "relation": beta (L_D + L_A), "semantic": gamma L_S}``."""
        self.adapt(student=student, teachers=teachers)
        kd = self.weighted(
            teachers,
            lambda teacher: functional.soft_target_kl(
                self.scaled(student.logits), self.scaled(teacher.logits), self.temperature, self.kl_reduction
            ),
        )
        relation = self.over_taps(student, teachers, _relations, gathered=True)
        own = self.feature(student, self.tap, "the student")
        semantic = [
            weight
            * functional.mean_square(
                self.adapted(name, own), self.feature(teachers[name], self.tap, f"teacher {name!r}").detach()
            )
            for name, weight in self.weights_of(teachers).items()
        ]
        return {
            "ce": self.label_loss(student.logits, target),
            "kd": self.kd_weight * kd,
            "relation": self.relation_weight * relation,
            "semantic": self.semantic_weight * torch.stack(semantic).sum(0),
        }


def _relations(student: Tensor, teacher: Tensor) -> Tensor:
    return functional.relational_distance(student, teacher) + functional.relational_angle(student, teacher)


def translator(student: Tensor, teacher: Tensor) -> nn.Module:
    """A linear layer between two vectors ``(B, D)`` and ``(B, D')``; the identity where they are of equal length.

    Raises:
        InputError: with both shapes, for maps.

    Example:
        >>> translator(torch.zeros(2, 3), torch.zeros(2, 5)), translator(torch.zeros(2, 3), torch.zeros(2, 3))
        (Linear(in_features=3, out_features=5, bias=True), Identity())
    """
    if student.ndim != 2 or teacher.ndim != 2:
        raise InputError(
            f"Semantic vectors must be (B, D), but the student has {functional.shape_of(student)} and the teacher "
            f"{functional.shape_of(teacher)}. Name an embedding."
        )
    own, other = student.shape[1], teacher.shape[1]
    return nn.Identity() if own == other else nn.Linear(own, other)


class DASK(Distilled, objective=DASKObjective):
    """Distil distances, angles and semantic vectors from teachers on other views of the same windows (VSKD's loss)."""
