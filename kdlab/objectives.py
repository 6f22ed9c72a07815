"""The bases of objectives: labels, weighted teachers, soft targets, batch similarities."""

from __future__ import annotations

import math
import numbers
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdlab import distributed, functional
from kdlab.fields import Setting, argument, setting
from kdlab.labelled import Labelled
from kdlab.objective import PAIRS, CachedOutput, Need, checked_taps, gather
from kdlab.pairs import Pairs
from kdlab.types import InputError, Output

#: how a Kullback-Leibler divergence is reduced, see `SoftTargets`
Reduction = Literal["batchmean", "mean"]


class CrossEntropy(Labelled):
    """Cross-entropy with the labels, ``{"ce": ...}``; teachers are ignored.

    Example:
        >>> output = Output(torch.tensor([[2.0, 0.0]]), {})
        >>> terms = CrossEntropy()(student=output, teachers={}, target=torch.tensor([0]))
        >>> print(f"{terms['ce']:.4f}")
        0.1269
    """

    reads_labels = True
    takes_many_labels = True

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": cross-entropy}``."""
        return {"ce": self.label_loss(student.logits, target)}


class WeightedTeachers(Labelled):
    """An objective with a fixed weight per teacher, by name.

    Attributes:
        default_weights: the weights of ``weights=None``; ``None`` gives all teachers the same, with sum 1.
        windows: the least number of windows of a step, over all ranks, for which the terms are defined.

    Raises:
        InputError: for a negative weight, or if ``weights`` does not name exactly the teachers.
    """

    default_weights: ClassVar[Mapping[str, float] | None] = None
    windows = 1

    weights: dict[str, float] | None = argument(
        "teacher name -> ``w_m``; ``None`` weights all teachers equally, with sum 1.", default=None
    )

    def __post_init__(self) -> None:
        """Check the weights."""
        super().__post_init__()
        given = self.default_weights if self.weights is None else self.weights
        if given is not None and not _are_weights(given):
            raise InputError(
                f"{type(self).__name__}: weights must be at least 0, finite and not all 0, as {{teacher: weight}}, "
                f"but got {given!r}."
            )
        self.weights = None if given is None else dict(given)
        self._fixed: dict[str, float] = {}

    def observed(self) -> dict[str, Tensor]:
        """``weight_<teacher>`` of each, where there are several; where the settings are."""
        like = next(iter(self.settings().values()), torch.zeros(()))
        return {name: torch.full_like(like, weight) for name, weight in self._fixed.items()}

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise unless there are teachers, the weights name exactly them and a step has enough windows."""
        weights = self.weights_of(list(teachers))
        if len(weights) > 1:
            self._fixed = {f"weight_{name}": weight for name, weight in weights.items()}
        if batch_size is not None and batch_size * distributed.world_size() < self.windows:
            raise InputError(
                f"{type(self).__name__}: batch_size must be at least {self.windows}, because the windows of a "
                f"batch are compared with each other, but got {batch_size}. Use a larger batch_size."
            )

    def weights_of(self, teachers: Iterable[str]) -> dict[str, float]:
        """The weight of every teacher, by name.

        Raises:
            InputError: without teachers, or if the weights name others.
        """
        names = list(teachers)
        if not names:
            raise InputError(f"{type(self).__name__}: teachers must have at least one teacher, but got none. Add one.")
        if self.weights is None:
            return dict.fromkeys(names, 1 / len(names))
        if set(names) != set(self.weights):
            raise InputError(
                f"{type(self).__name__}: weights must name exactly the teachers, but the teachers are {sorted(names)} "
                f"and the weights are for {sorted(self.weights)}. Rename the teachers or set weights=."
            )
        return {name: self.weights[name] for name in names}

    def divergence(self, student: Tensor, teacher: Tensor, temperature: Tensor, reduction: Reduction) -> Tensor:
        """``KD`` of the logits of student and teacher: of all classes together, or of each where a window has many.

        Raises:
            InputError: with many labels for ``reduction="mean"``, whose divergence is a mean over classes already, and
                for ``standardise``, since their logits are not compared with each other.
        """
        if not self.many:
            return functional.soft_target_kl(self.scaled(student), self.scaled(teacher), temperature, reduction)
        if self.standardise:
            raise InputError(
                f"{type(self).__name__}: standardise must be false with any number of labels per window, whose classes "
                "have a probability each, but got True. Leave it out."
            )
        if reduction != "batchmean":
            raise InputError(
                f"{type(self).__name__}: kl_reduction must be 'batchmean' with any number of labels per window, whose "
                f"soft targets are a mean over classes already, but got {reduction!r}. Leave it out."
            )
        return functional.binary_soft_target_kl(student, teacher, temperature)

    def nonzero_weights(self, teachers: Iterable[str]) -> dict[str, float]:
        """The weight of every teacher whose weight is not 0, by name."""
        return {name: weight for name, weight in self.weights_of(teachers).items() if weight != 0}

    def weighted(self, teachers: dict[str, Output], distance: Callable[[Output], Tensor]) -> Tensor:
        """``sum_m w_m distance(m)``."""
        weights = self.weights_of(teachers)
        return torch.stack([weight * distance(teachers[name]) for name, weight in weights.items()]).sum(0)

    def over_taps(
        self,
        student: Output,
        teachers: dict[str, Output],
        distance: Callable[[Tensor, Tensor], Tensor],
        gathered: bool = False,
    ) -> Tensor:
        """``sum_m w_m mean_l distance(F_s^l, F_m^l)``.

        A teacher of weight 0 is not compared, so its features need not fit.

        Args:
            student: the student's output.
            teachers: teacher name -> output.
            distance: of the student's feature and a teacher's, 0-dim.
            gathered: compare the windows of all ranks, not those of this process.
        """
        weights, values = self.nonzero_weights(teachers), []
        collect = gather(student) if gathered else functional.promote
        for tap in self.taps:
            own = collect(self.feature(student, tap, "the student"))
            for name, weight in weights.items():
                other = collect(self.feature(teachers[name], tap, f"teacher {name!r}").detach())
                with self.comparing(f"teacher {name!r}", tap):
                    values.append(weight * distance(own, other))
        return torch.stack(values).sum(0) / len(self.taps)


def _are_weights(given: object) -> bool:
    if not isinstance(given, Mapping):
        return False
    values = list(given.values())
    numbers_only = all(isinstance(w, numbers.Real | Tensor) and 0 <= float(w) < math.inf for w in values)
    return numbers_only and sum(values) > 0


class SoftTargets(WeightedTeachers):
    r"""Labels and the softened class probabilities of any number of teachers.

    .. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)

    with ``KD`` as in :func:`kdlab.functional.soft_target_kl`; the terms are ``"ce"`` and ``"kd"``. For windows with any
    number of labels ``KD`` is :func:`kdlab.functional.binary_soft_target_kl`.

    Raises:
        InputError: for a parameter out of range, or if ``weights`` does not name exactly the teachers.

    References:
        G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", NIPS Deep Learning Workshop
        2014, arXiv:1503.02531. Code: HobbitLong/RepDistiller@b84f547.

    Example:
        >>> student, teacher = Output(torch.tensor([[0.0, 0.0]]), {}), Output(torch.tensor([[4.0, 0.0]]), {})
        >>> terms = SoftTargets()(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0693, 'kd': 1.5976}
    """

    paper: ClassVar[tuple[str, ...]] = ("hinton2015distilling",)
    takes_many_labels = True

    temperature: Setting = setting("``T > 0`` of the soft targets.", default=4.0, low=1e-3)
    kd_weight: Setting = setting("``lambda``, 0 to 1.", default=0.9, high=1.0)
    kl_reduction: Reduction = argument(
        '``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller, as in some released code.',
        default="batchmean",
    )

    @property
    def needs_logits(self) -> bool:
        """Not with ``kd_weight=0``: a teacher with other classes teaches by its features."""
        return self._initial.get("kd_weight", 1.0) > 0

    def set(self, name: str, value: float) -> None:
        """Change a setting in place.

        Raises:
            InputError: also if soft targets are switched on for a teacher with other classes.
        """
        if name == "kd_weight" and value > 0 and self.other_classes:
            raise InputError(
                f"{type(self).__name__}: kd_weight must be 0, since a teacher has other classes, but got {value}. Give "
                "the teacher a class_map, or do not anneal kd_weight."
            )
        super().set(name, value)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - lambda) CE, "kd": lambda sum_m w_m KD_m}``."""

        def distance(teacher: Output) -> Tensor:
            if not self.needs_logits and student.logits.shape[1:] != teacher.logits.shape[1:]:
                self.other_classes = True
            if self.other_classes:
                return functional.promote(student.logits).new_zeros(())
            return self.divergence(student.logits, teacher.logits, self.temperature, self.kl_reduction)

        kd = self.weighted(teachers, distance)
        return {
            "ce": (1 - self.kd_weight) * self.label_loss(student.logits, target),
            "kd": self.kd_weight * kd,
        }


class SimilarityTargets(SoftTargets):
    r"""Soft targets and a term on the Gram matrices of the batch of all ranks, averaged over taps.

    .. math:: (1 - \lambda)\, \mathrm{CE} + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
        + \frac{\gamma}{|L|} \sum_l S(G_s^l, \{G_m^l\})

    A subclass defines ``S``; the term is named ``"similarity"``. Each rank gathers the features of all of them,
    with gradients, so that ``S`` and its gradient do not depend on how the batch is split over ranks.
    """

    paper: ClassVar[tuple[str, ...]] = ("tung2019similarity",)
    reads: ClassVar[Need] = "gram"
    windows = 2

    similarity_weight: Setting = setting("``gamma``, at least 0.", default=3000.0)
    weights: dict[str, float] | None = argument(
        "teacher name -> ``w_m``, for the soft targets and the Gram matrices; ``None`` weights all equally.",
        default=None,
    )
    taps: tuple[str, ...] = argument(
        "names of the features.", default=("stage1", "stage2", "stage3"), check=checked_taps
    )
    pairs: Pairs | None = PAIRS

    @abstractmethod
    def similarity(self, student: Tensor, teachers: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """``S`` of one tap: from ``(B, B)`` Gram matrices to a 0-dim tensor."""

    def grams(self, student: Output, teachers: dict[str, Output]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """The Gram matrices of student and teachers over all ranks, tap by tap."""
        gathered = gather(student)
        for tap in self.taps:
            feature = self.feature(student, tap, "the student")
            held = {
                n: out.grams[tap] for n, out in teachers.items() if isinstance(out, CachedOutput) and tap in out.grams
            }
            others = {n: self.feature(out, tap, f"teacher {n!r}") for n, out in teachers.items() if n not in held}
            for name, other in others.items():
                functional.check_same_batch(feature, other, f"teacher {name!r}")
            grams = {name: functional.gram(gathered(other.detach())) for name, other in others.items()} | held
            yield functional.gram(gathered(feature)), {name: grams[name] for name in teachers}

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "similarity": gamma mean_l S_l}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        weights = self.weights_of(teachers)
        values = [self.similarity(own, others, weights) for own, others in self.grams(student, teachers)]
        return {**terms, "similarity": self.similarity_weight * torch.stack(values).mean()}
