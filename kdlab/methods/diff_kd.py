r"""DiffKD (knowledge diffusion): the student's features are denoised by a diffusion model of the teacher's.

.. math:: \mathrm{CE}(z_s, y) + \beta \sum_m w_m\, \overline{(\hat f_s - c_m)^2}
    + \gamma \sum_m w_m\, \mathrm{KL}(p_m \,\|\, \hat p_s) + \delta \sum_m w_m \big[ D_m + A_m + D'_m \big]

with the code ``c`` of the teacher's feature by a linear autoencoder, of the loss ``A``; a net that predicts the noise
``e`` in ``sqrt(a_t) c + sqrt(1 - a_t) e`` at one of 1000 times ``t``, of the mean squared error ``D``; and the
student's feature ``f``, by a 1x1 convolution of the code's channels, of which

.. math:: x = g f + (1 - g)\, e, \qquad x \leftarrow \sqrt{a'}\, \frac{x - \sqrt{1 - a}\, e(x)}{\sqrt a}
    + \sqrt{1 - a'}\, e(x) \text{ in five steps}, \qquad \hat f_s = \mathrm{BN}(W x)

with a share ``g`` that a small net finds for each window. The logits are treated likewise, without an autoencoder
(``D'``), and compared at temperature 1. The nets are in :mod:`kdlab.methods.diffusion`. With ``pooled`` the means over
the positions are compared, so that a teacher of images and a student of signals need no common shape. Everything but
the student is dropped after the fit.

References:
    T. Huang, Y. Zhang, M. Zheng, S. You, F. Wang, C. Qian, C. Xu, "Knowledge diffusion for distillation", NeurIPS 2023,
    arXiv:2305.15712. Code: hunto/image_classification_sota@6f7a70a lib/models/losses/diffkd.

Differences from the reference code:
    Signals, the pooled form, and several teachers and taps. The noise is a function of ``seed``, of the step and of the
    window (its index, or its place in the batch), so that resumed fits equal others; the seeds of a study share it.
    With ``code_channels=0``, as in the class of the code, a code has half of the teacher's channels; what calls that
    class passes 1024 in the copies that were read. The code of a teacher of one channel has one channel, and the narrow
    layer of a block at least one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from kdlab import distributed, functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.diffusion import Diffusion
from kdlab.methods.hints import adapter_name, check_normed
from kdlab.methods.made import Distilled
from kdlab.objective import PAIRS, Classifier, checked_taps
from kdlab.objectives import WeightedTeachers
from kdlab.pairs import Pairs
from kdlab.types import InputError, Output


class Compared(NamedTuple):
    """A feature of the student and one of a teacher, ``(B, C, *S)`` and ``(B, C', *S)``, with their adapter."""

    adapter: str
    weight: float
    own: Tensor
    other: Tensor
    of_logits: bool = False


class DiffKDObjective(WeightedTeachers):
    """Terms ``"ce"``, ``"feature"``, ``"logits"`` and ``"diffusion"``, the last of which trains the adapters alone.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> student = Output(logits, {"stage3": torch.rand(2, 3, 8)})
        >>> teacher = Output(logits, {"stage3": torch.rand(2, 4, 6, 6)})
        >>> objective = DiffKDObjective(pooled=True)
        >>> terms = objective(student=student, teachers={"pi": teacher}, target=torch.tensor([0, 1]))
        >>> list(terms), sorted(objective.adapters)
        (['ce', 'feature', 'logits', 'diffusion'], ['logits_pi', 'pi_stage3'])
    """

    paper: ClassVar[tuple[str, ...]] = ("huang2023knowledge",)
    zero_when_equal = False
    order_invariant = False
    reason = "the nets are not initialised as the identity, and noise belongs to the places of windows in the batch"

    feature_weight: Setting = setting("``beta``, at least 0.", default=1.0)
    logits_weight: Setting = setting("``gamma``, at least 0; 0 as the fit begins: no logits are read.", default=1.0)
    diffusion_weight: Setting = setting("``delta``, at least 0.", default=1.0, auto=False)
    taps: tuple[str, ...] = argument("names of the features.", default=("stage3",), check=checked_taps)
    pairs: Pairs | None = PAIRS
    pooled: bool = argument("compare means over positions, for teachers whose maps have another shape.", default=False)
    code_channels: int = argument("of the teacher's code, at least 0; 0: half of the teacher's.", default=0, low=0)
    steps: int = argument("of denoising, 1 to 500.", default=5, low=1, high=500)
    seed: int = argument("of the noise, at least 0.", default=0, low=0)

    def __post_init__(self) -> None:
        """Begin at the first step."""
        super().__post_init__()
        self.step: Tensor
        self.register_buffer("step", torch.zeros(1, dtype=torch.int64), persistent=False)

    @property
    def needs_logits(self) -> bool:
        """Not where their weight is 0."""
        return self._initial.get("logits_weight", 1.0) > 0

    def set(self, name: str, value: float) -> None:
        """Change a setting in place.

        Raises:
            InputError: also if the logits get a weight that was 0 as the fit began, so that nothing compares them.
        """
        if name == "logits_weight" and value > 0 and not self.needs_logits:
            raise InputError(
                f"{type(self).__name__}: logits_weight must stay 0 where it is 0 as the fit begins, since no logits "
                f"are read then, but got {value}. Begin with a small weight."
            )
        super().set(name, value)

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """Other noise in every step."""
        self.step.fill_(step)

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise also for batches of one window, for which batch norm is not defined."""
        super().check(batch_size=batch_size, teachers=teachers)
        check_normed(type(self).__name__, batch_size)

    def _compared(self, student: Output, teachers: dict[str, Output]) -> Iterator[Compared]:
        """The maps of student and teachers, and their logits."""
        for name, weight in self.nonzero_weights(teachers).items():
            for tap in self.taps:
                own = self.feature(student, tap, "the student")
                other = self.feature(teachers[name], tap, f"teacher {name!r}").detach()
                with self.comparing(f"teacher {name!r}", tap):
                    yield Compared(adapter_name(name, tap), weight / len(self.taps), *self._fitted(own, other))
            if self.needs_logits:
                own, other = (x.logits[..., None] for x in (student, teachers[name]))
                yield Compared(f"logits_{name}", weight, own, other.detach(), of_logits=True)

    def _fitted(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        own = functional.promote(own)
        other = functional.promote(other).to(own.dtype)
        if self.pooled or own.ndim == other.ndim == 2:
            own, other = (x.flatten(2).mean(2, keepdim=True) if x.ndim > 2 else x[..., None] for x in (own, other))
        if own.shape[2:] != other.shape[2:]:
            raise InputError(
                f"maps must have the same positions, but the student has {tuple(own.shape)} and the teacher "
                f"{tuple(other.shape)}. Set pooled=True to compare their means, or choose other taps."
            )
        return own, other

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """The nets of each pair of maps, and of the logits of each teacher."""
        made: dict[str, nn.Module] = {}
        for name, _, own, other, of_logits in self._compared(student, teachers):
            if name in made:
                raise InputError(
                    f"{type(self).__name__}: two pairs would share the adapter {name!r}. Rename a teacher."
                )
            code = 0 if of_logits else self.code_channels or max(1, other.shape[1] // 2)
            sizes = own.shape[1], other.shape[1], code, own.ndim - 2
            made[name] = Diffusion(*sizes, steps=self.steps, vectors=own[0, 0].numel() == 1, logits=of_logits)
        return made

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": CE, "feature": beta ..., "logits": gamma ..., "diffusion": delta ...}``.

        Args:
            student: the student's output.
            teachers: teacher name -> output.
            target: class indices ``(B,)`` or class probabilities ``(B, K)``.
            index: ``Batch.index`` of the windows ``(B,)``, which their noise is drawn from; ``None``: their places.
        """
        self.adapt(student=student, teachers=teachers)
        ce = self.label_loss(student.logits, target)
        rows = torch.arange(len(target), device=target.device) + distributed.rank() * len(target)
        keys, zero = rows if index is None else index, ce.detach() * 0
        feature, logits, diffusion = zero, zero, zero
        for place, (name, weight, own, other, of_logits) in enumerate(self._compared(student, teachers)):
            seed = (self.seed * 1009 + place) * 2**20 + self.step
            distance, *learning = weight * self.adapted(name, own, other, keys, seed)
            feature, logits = (feature, logits + distance) if of_logits else (feature + distance, logits)
            diffusion = diffusion + sum(learning)
        return {
            "ce": ce,
            "feature": self.feature_weight * feature,
            "logits": self.logits_weight * logits,
            "diffusion": self.diffusion_weight * diffusion,
        }


class DiffKD(Distilled, objective=DiffKDObjective):
    """Distil denoised features and logits."""
