"""Objectives: what the outputs of a student and its teachers become, as named terms whose sum is the loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from kdlab import distributed, functional
from kdlab.types import InputError, Output

#: what a term reads of a teacher's tap: the feature itself, its sum of squares over channels, or its Gram matrix
Need = Literal["feature", "attention", "gram"]
#: what a teacher makes of a map in the place of its tap ``"stage3"``: class logits ``(B, K)``
Classifier = Callable[[Tensor], Tensor]


class CachedOutput(Output):
    """What a frozen teacher said earlier of the windows of a batch.

    Attributes:
        grams: tap -> Gram matrix of the whole batch over all ranks, in place of the tap's feature. A tap of which only
            the sum of squares over channels is read may be a feature of one channel that has the same.
    """

    grams: dict[str, Tensor]

    def __new__(cls, logits: Tensor, features: dict[str, Tensor], grams: dict[str, Tensor]) -> Self:
        """An output with Gram matrices."""
        output = super().__new__(cls, logits, features)
        output.grams = grams
        return output


class Objective(nn.Module, ABC):
    """Named, weighted, finite 0-dim terms from the outputs of a student and its teachers.

    A subclass implements :meth:`forward` and declares what a user may rely on. Every number that may change during
    training (a temperature, the weight of a term) is a 0-dim float32 buffer made by :meth:`_setting`; it is no part of
    the state dict, is logged through :meth:`settings` and changed through :meth:`set`, which never waits for a device.

    What has to learn besides the student (a regressor onto a teacher's feature, an embedding) are its ``adapters``: a
    subclass makes them in :meth:`make_adapters`, whose shapes are those of the features. They are made once, by
    :meth:`adapt` or by the first call; call :meth:`adapt` before you make an optimiser, as `Distillation` does.

    Attributes:
        adapters: name -> module that learns besides the student; empty in most objectives.
        paper: keys in :data:`kdlab.citations.BIBTEX` of what the equation comes from.
        taps: names of the features that student and teachers must have.
        reads: what it reads of a teacher's taps; see :meth:`needs`.
        zero_when_equal: the terms besides ``"ce"`` are zero when every teacher equals the student.
        order_invariant: the order of the batch does not matter.
        reason: why one of the two does not hold.
    """

    paper: ClassVar[tuple[str, ...]] = ()
    taps: tuple[str, ...] = ()
    reads: ClassVar[Need] = "feature"
    zero_when_equal: bool = True
    order_invariant: bool = True
    reason: str = ""

    def __init__(self) -> None:
        super().__init__()
        self._ranges: dict[str, tuple[float, float]] = {}
        self.adapters = nn.ModuleDict()
        self._asked = False

    @abstractmethod
    def forward(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """The terms of one batch.

        Args:
            student: the student's output.
            teachers: teacher name -> output; receives no gradient.
            target: class indices ``(B,)`` or class probabilities ``(B, K)``.
        """

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise before the first step when batches of this size or these teachers cannot be used.

        Args:
            batch_size: training windows per process and step; ``None`` where nobody knows.
            teachers: names of the teachers.

        Raises:
            InputError: naming the argument, what came, and what to do.
        """

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """The modules that learn besides the student, by name, for features of these shapes; none by default.

        Args:
            student: what the student says of a few windows.
            teachers: teacher name -> what it says of them.
            classifiers: teacher name -> what it makes of a map in the place of its tap ``"stage3"``, where that is
                known; they stay with the teachers and are not to be registered here.
        """
        return {}

    @property
    def adapts(self) -> bool:
        """Whether anything learns besides the student."""
        return type(self).make_adapters is not Objective.make_adapters

    @property
    def ready(self) -> bool:
        """Whether all that learns besides the student is there, which may be nothing for features that fit as is."""
        return self._asked or len(self.adapters) > 0 or not self.adapts

    def adapt(
        self,
        *,
        student: Output,
        teachers: dict[str, Output],
        classifiers: Mapping[str, Classifier] | None = None,
    ) -> None:
        """Make the adapters, unless they are there already; see :meth:`make_adapters`."""
        if not self.ready:
            like = functional.promote(student.logits)
            made = self.make_adapters(student, teachers, classifiers or {})
            self.adapters.update(made)
            self.adapters.to(like.device, like.dtype).train(self.training)
            self._asked = True

    def adapted(self, name: str, *features: Tensor) -> Tensor:
        """What an adapter makes of features, in at least float32.

        Raises:
            InputError: if there is no such adapter, as of a teacher whose weight was 0 when they were made.
        """
        if name not in self.adapters:
            raise InputError(
                f"{type(self).__name__}: has no adapter {name!r}, but {', '.join(map(repr, self.adapters)) or 'none'}. "
                "A teacher whose weight is 0 as the fit begins gets none: begin with a small weight."
            )
        return _answer(self.adapters[name], *features)

    def needs(self, teachers: Iterable[str]) -> dict[str, dict[str, Need]]:
        """Teacher -> tap -> what is read of it besides the logits, so that nothing else need be kept of its answers."""
        return {name: dict.fromkeys(self.taps, self.reads) for name in teachers}

    def settings(self) -> dict[str, Tensor]:
        """Name -> 0-dim buffer of everything that may be annealed."""
        return {name: getattr(self, name) for name in self._ranges}

    def observed(self) -> dict[str, Tensor]:
        """Name -> what was found in the last batch and is worth logging, such as weights of teachers."""
        return {}

    def set(self, name: str, value: float) -> None:
        """Change a setting in place, without waiting for its device.

        Raises:
            InputError: if there is no such setting or the value is out of its range.
        """
        if name not in self._ranges:
            raise InputError(
                f"{type(self).__name__} has no setting {name!r}; it has {', '.join(map(repr, self._ranges)) or 'none'}."
            )
        self._check_value(name, value)
        getattr(self, name).fill_(value)

    def _setting(self, name: str, value: float, low: float = 0.0, high: float = math.inf) -> None:
        """Register a setting in ``[low, high]``."""
        self._ranges[name] = (low, high)
        self._check_value(name, value)
        self.register_buffer(name, torch.tensor(value, dtype=torch.float32), persistent=False)

    def _check_value(self, name: str, value: float) -> None:
        low, high = self._ranges[name]
        if not (low <= value <= high and math.isfinite(value)):
            wanted = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g} and finite"
            raise InputError(f"{type(self).__name__}: {name} must be {wanted}, but is {value}.")

    def _feature(self, output: Output, tap: str, who: str) -> Tensor:
        """The feature that a tap names."""
        if tap not in output.features:
            raise InputError(
                f"{type(self).__name__}: {who} has no tap {tap!r}; it has "
                f"{', '.join(map(repr, output.features)) or 'none'}. Choose taps= among those of all nets."
            )
        return output.features[tap]

    @contextmanager
    def _comparing(self, who: str, tap: str) -> Iterator[None]:
        """Have an error say whose tap did not fit, such as ``"teacher 'raw'"``."""
        try:
            yield
        except InputError as error:
            raise InputError(f"{type(self).__name__}: {who}, tap {tap!r}: {error}") from error

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move as every module does, but keep settings and adapters in float32 when the nets become half precision."""
        before = self.settings()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            self._buffers[name] = old.to(getattr(self, name).device)
        if any(p.is_floating_point() and p.element_size() < 4 for p in self.adapters.parameters()):
            self.adapters.float()
        return self


class CrossEntropy(Objective):
    """Cross-entropy with the labels, ``{"ce": ...}``; teachers are ignored.

    Example:
        >>> output = Output(torch.tensor([[2.0, 0.0]]), {})
        >>> terms = CrossEntropy()(student=output, teachers={}, target=torch.tensor([0]))
        >>> print(f"{terms['ce']:.4f}")
        0.1269
    """

    def forward(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """``{"ce": cross-entropy}``."""
        return {"ce": functional.cross_entropy(student.logits, target)}


class WeighedTeachers(Objective):
    """An objective that weighs any number of teachers by name, the same in every step.

    Args:
        weights: teacher name -> ``w_m``; ``None`` stands for ``default_weights``.

    Attributes:
        default_weights: the weights that ``weights=None`` stands for; ``None`` weighs all equally, with sum 1.
        windows: the fewest windows of a step, over all ranks, that teach something.

    Raises:
        InputError: for a negative weight, or if ``weights`` does not name exactly the teachers.
    """

    default_weights: ClassVar[Mapping[str, float] | None] = None
    windows: int = 1

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        super().__init__()
        given = self.default_weights if weights is None else weights
        if given is not None and not (all(0 <= w < math.inf for w in given.values()) and sum(given.values()) > 0):
            raise InputError(f"{type(self).__name__}: weights must be at least 0 and not all 0, but are {dict(given)}.")
        self.weights: dict[str, float] | None = None if given is None else dict(given)
        self._fixed: dict[str, Tensor] = {}

    def observed(self) -> dict[str, Tensor]:
        """``weight_<teacher>`` of each, where there are several."""
        return self._fixed

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise unless there are teachers, the weights name exactly them and a step has windows enough."""
        weights = self._weights_of(list(teachers))
        if len(weights) > 1:
            self._fixed = {f"weight_{name}": torch.tensor(weight) for name, weight in weights.items()}
        if batch_size is not None and batch_size * distributed.world_size() < self.windows:
            raise InputError(
                f"{type(self).__name__}: compares the windows of a batch with each other, which takes at least "
                f"{self.windows}, but batch_size is {batch_size}. Use a larger batch_size."
            )

    def _weights_of(self, teachers: Iterable[str]) -> dict[str, float]:
        """The weight of every teacher, by name."""
        names = list(teachers)
        if not names:
            raise InputError(f"{type(self).__name__}: needs at least one teacher, but got none.")
        if self.weights is None:
            return dict.fromkeys(names, 1 / len(names))
        if set(names) != set(self.weights):
            raise InputError(
                f"{type(self).__name__}: weights must name exactly the teachers, but the teachers are {sorted(names)} "
                f"and the weights are for {sorted(self.weights)}. Rename the teachers or set weights=."
            )
        return {name: self.weights[name] for name in names}

    def _weighty(self, teachers: Iterable[str]) -> dict[str, float]:
        """The weight of every teacher that has one besides 0, by name."""
        return {name: weight for name, weight in self._weights_of(teachers).items() if weight != 0}

    def _weigh(self, teachers: dict[str, Output], distance: Callable[[Output], Tensor]) -> Tensor:
        """``sum_m w_m distance(m)``."""
        weights = self._weights_of(teachers)
        return torch.stack([weight * distance(teachers[name]) for name, weight in weights.items()]).sum(0)

    def _over_taps(
        self,
        student: Output,
        teachers: dict[str, Output],
        distance: Callable[[Tensor, Tensor], Tensor],
        whole_batch: bool = False,
    ) -> Tensor:
        """``sum_m w_m mean_l distance(F_s^l, F_m^l)``, on this rank's samples or on those of the whole batch.

        A teacher of weight 0 is not compared, so its features need not fit.
        """
        weights, values = self._weighty(teachers), []
        collect = gather(student) if whole_batch else functional.promote
        for tap in self.taps:
            own = collect(self._feature(student, tap, "the student"))
            for name, weight in weights.items():
                other = collect(self._feature(teachers[name], tap, f"teacher {name!r}").detach())
                with self._comparing(f"teacher {name!r}", tap):
                    values.append(weight * distance(own, other))
        return torch.stack(values).sum(0) / len(self.taps)


class SoftTargets(WeighedTeachers):
    r"""Labels and the softened class probabilities of any number of teachers.

    .. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)

    with ``KD`` as in :func:`kdlab.functional.soft_target_kl`; the terms are ``"ce"`` and ``"kd"``.

    Args:
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1.
        weights: teacher name -> ``w_m``; ``None`` weighs all teachers equally, with sum 1.
        kl_reduction: ``"batchmean"`` as in the equation, or ``"mean"``, ``K`` times smaller, as some released code has.

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

    temperature: Tensor
    kd_weight: Tensor

    def __init__(
        self,
        temperature: float = 4.0,
        kd_weight: float = 0.9,
        weights: dict[str, float] | None = None,
        kl_reduction: Literal["batchmean", "mean"] = "batchmean",
    ) -> None:
        super().__init__(weights)
        self._setting("temperature", temperature, low=1e-3)
        self._setting("kd_weight", kd_weight, high=1.0)
        functional.check_choice(f"{type(self).__name__}: kl_reduction", kl_reduction, ("batchmean", "mean"))
        self.kl_reduction = kl_reduction

    def forward(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """``{"ce": (1 - lambda) CE, "kd": lambda sum_m w_m KD_m}``."""
        kd = self._weigh(
            teachers,
            lambda teacher: functional.soft_target_kl(
                student.logits, teacher.logits, self.temperature, self.kl_reduction
            ),
        )
        return {
            "ce": (1 - self.kd_weight) * functional.cross_entropy(student.logits, target),
            "kd": self.kd_weight * kd,
        }


class SimilarityTargets(SoftTargets):
    r"""Soft targets and a term on the Gram matrices of the whole batch, over all ranks, averaged over taps.

    .. math:: (1 - \lambda)\, \mathrm{CE} + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
        + \frac{\gamma}{|L|} \sum_l S(G_s^l, \{G_m^l\})

    A subclass says what ``S`` is; the term is named ``"similarity"``. Each rank gathers the features of all of them,
    with gradients, so that ``S`` and its gradient do not depend on how the batch is spread.

    Args:
        temperature: ``T > 0``.
        kd_weight: ``lambda``, 0 to 1.
        similarity_weight: ``gamma``, at least 0.
        weights: teacher name -> ``w_m``, for the soft targets and the Gram matrices.
        taps: names of the features.
        kl_reduction: as in :class:`SoftTargets`.
    """

    paper: ClassVar[tuple[str, ...]] = ("tung2019similarity",)
    reads: ClassVar[Need] = "gram"
    windows = 2

    similarity_weight: Tensor

    def __init__(
        self,
        temperature: float,
        kd_weight: float,
        similarity_weight: float,
        weights: dict[str, float] | None,
        taps: tuple[str, ...],
        kl_reduction: Literal["batchmean", "mean"],
    ) -> None:
        super().__init__(temperature, kd_weight, weights, kl_reduction)
        self._setting("similarity_weight", similarity_weight)
        self.taps = checked_taps(taps, type(self).__name__)

    @abstractmethod
    def similarity(self, student: Tensor, teachers: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """``S`` of one tap: from ``(B, B)`` Gram matrices to a 0-dim tensor."""

    def grams(self, student: Output, teachers: dict[str, Output]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """The Gram matrices of student and teachers over all ranks, tap by tap."""
        whole = gather(student)
        for tap in self.taps:
            feature = self._feature(student, tap, "the student")
            held = {
                n: out.grams[tap] for n, out in teachers.items() if isinstance(out, CachedOutput) and tap in out.grams
            }
            others = {n: self._feature(out, tap, f"teacher {n!r}") for n, out in teachers.items() if n not in held}
            for name, other in others.items():
                functional.check_same_batch(feature, other, f"teacher {name!r}")
            grams = {name: functional.gram(whole(other.detach())) for name, other in others.items()} | held
            yield functional.gram(whole(feature)), {name: grams[name] for name in teachers}

    def forward(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "similarity": gamma mean_l S_l}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        weights = self._weights_of(teachers)
        values = [self.similarity(own, others, weights) for own, others in self.grams(student, teachers)]
        return {**terms, "similarity": self.similarity_weight * torch.stack(values).mean()}


def gather(student: Output) -> Callable[[Tensor], Tensor]:
    """What brings tensors ``(B, ...)`` of this batch to at least float32 and together over all ranks, with gradients.

    Raises:
        ValueError: on every rank, if they hold different numbers of samples.
    """
    distributed.check_same_batch(len(student.logits), student.logits.device)
    return lambda x: distributed.gather(functional.promote(x), checked=True)


@functional.full_precision
def _answer(adapter: nn.Module, *features: Tensor) -> Tensor:
    """What a module makes of features, in at least float32 with autocast off."""
    made: Tensor = adapter(*features)
    return made


def checked_taps(taps: Iterable[str], who: str) -> tuple[str, ...]:
    """The taps as a tuple.

    Raises:
        InputError: if there is none, or one twice.
    """
    names = (taps,) if isinstance(taps, str) else tuple(taps)
    if not names or len(set(names)) < len(names):
        raise InputError(f"{who}: taps must name at least one feature and none twice, but is {names}.")
    return names
