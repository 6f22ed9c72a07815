r"""DASK (VSKD): distances, angles and semantic vectors of a teacher on another sensor or view of the same window.

.. math:: \mathrm{CE}(z_s, y) + w_{st} \sum_m w_m\, \mathrm{KD}(m, s)
    + \beta \sum_m w_m \big( L_D(f_s, f_m) + L_A(f_s, f_m) \big) + \gamma \sum_m w_m\, \overline{(A f_s - f_m)^2}

with :func:`kdlab.functional.relational_distance` and :func:`kdlab.functional.relational_angle` of the embeddings ``f``
and, where their lengths differ, a linear layer ``A`` from the student's to the teacher's, which learns with the student
and stays in training.

References:
    J. Ni, R. Sarbajna, Y. Liu, A. H. H. Ngu, Y. Yan, "Cross-modal knowledge distillation for vision-to-sensor action
    recognition", ICASSP 2022, arXiv:2112.01849 (VSKD, with the distance and angle-wise semantic knowledge loss, DASK).
    Code: jiany-ctrl/Crossmodal-KD-for-Vision-to-Sensor-HAR@abcff87.

Differences from the reference code:
    Its script trains cross-entropy, .01 times soft targets and an attention term that is always 0; the lines of the
    other three terms are commented out, and hand over teacher and student swapped, which would detach the student. Here
    all terms train, student first. Its video and watch loaders are shuffled by themselves, so that the two nets see
    different trials; here both see views of the same window. Its nets, on video clips and on Gramian angular fields of
    224 pixels, are replaced by those of kdlab, for example on skeletons and on the raw signal; both have a layer of 300
    values from which ``f`` is read, in whose place the embeddings and ``A`` stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.methods.distillation import Distillation
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.objective import Classifier, checked_taps
from kdlab.objectives import WeightedTeachers
from kdlab.types import InputError, Output


class DASKObjective(WeightedTeachers):
    """Terms ``"ce"``, ``"kd"``, ``"relation"`` and ``"semantic"``.

    Args:
        relation_weight: ``beta``, at least 0 (1 in the reference code; the paper's value is unverified).
        semantic_weight: ``gamma``, at least 0 (likewise).
        temperature: ``T > 0``.
        kd_weight: ``w_st``, at least 0; the cross-entropy keeps its weight of 1.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        tap: name of the embeddings ``f``, ``(B, D)``.
        kl_reduction: ``"batchmean"`` or ``"mean"``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or for batches of
            fewer than three windows, whose relations are always the same.

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

    temperature: Tensor
    kd_weight: Tensor
    relation_weight: Tensor
    semantic_weight: Tensor

    def __init__(
        self,
        relation_weight: float = 1.0,
        semantic_weight: float = 1.0,
        temperature: float = 4.0,
        kd_weight: float = 0.01,
        weights: dict[str, float] | None = None,
        tap: str = "embedding",
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__(weights)
        self.setting("relation_weight", relation_weight)
        self.setting("semantic_weight", semantic_weight)
        self.setting("temperature", temperature, low=1e-3)
        self.setting("kd_weight", kd_weight)
        functional.check_choice("DASKObjective: kl_reduction", kl_reduction, ("batchmean", "mean"))
        self.taps, self.tap, self.kl_reduction = checked_taps(tap, "DASKObjective"), tap, kl_reduction

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
                student.logits, teacher.logits, self.temperature, self.kl_reduction
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
            "ce": functional.cross_entropy(student.logits, target),
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
            "Semantic vectors must be (B, D), but the student has "
            f"{functional.shape_of(student)} and the teacher {functional.shape_of(teacher)}. Name an embedding."
        )
    own, other = student.shape[1], teacher.shape[1]
    return nn.Identity() if own == other else nn.Linear(own, other)


class DASK(Distillation):
    """Distil distances, angles and semantic vectors from a teacher on another sensor (DASK, the loss of VSKD).

    Args:
        student: the net that learns.
        teachers: teacher name -> teacher, on any views of the same windows.
        relation_weight: ``beta``, at least 0.
        semantic_weight: ``gamma``, at least 0.
        temperature: ``T > 0``.
        kd_weight: ``w_st``, at least 0; the cross-entropy keeps its weight of 1.
        weights: teacher name -> ``w_m``; ``None`` weighs all equally.
        tap: name of the embeddings.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller.
        kwargs: as in :class:`~kdlab.methods.distillation.Distillation`.
    """

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        *,
        relation_weight: float = 1.0,
        semantic_weight: float = 1.0,
        temperature: float = 4.0,
        kd_weight: float = 0.01,
        weights: dict[str, float] | None = None,
        tap: str = "embedding",
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
        **kwargs: Any,
    ) -> None:
        objective = DASKObjective(relation_weight, semantic_weight, temperature, kd_weight, weights, tap, kl_reduction)
        super().__init__(student, teachers, objective, **kwargs)
