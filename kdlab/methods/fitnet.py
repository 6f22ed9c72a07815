r"""FitNet: a regressor on the student's feature predicts its teacher's.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \frac{\beta}{|L|} \sum_{l \in L} \sum_m w_m\, \overline{(r_{ml}(F_s^l) - F_m^l)^2}

with the mean over batch, channels and positions. The regressor ``r`` is a convolution, batch norm and ReLU; it is
trained with the student and dropped after the fit. The original has no soft targets (``kd_weight=0``, the default).

References:
    A. Romero, N. Ballas, S. E. Kahou, A. Chassang, C. Gatta, Y. Bengio, "FitNets: hints for thin deep nets", ICLR 2015,
    arXiv:1412.6550. Code: HobbitLong/RepDistiller@b84f547.

Differences from the reference code:
    It always takes a convolution that changes the size (``resize="strided"`` here), and of the student's maps that are
    smaller than the teacher's it accepts those of half the size alone. Its regressor always ends in a ReLU; the raw
    outputs of a `WideResNet` have both signs, of which a ReLU gives one (``relu=False`` leaves it out). The paper
    trains the lower half of the student on the hint first; as in the code, all terms are minimised at once here.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.hints import HintTargets
from kdlab.methods.made import Distilled
from kdlab.nets.base import CONV, NORM
from kdlab.types import InputError, Output

_TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}


def regressor(student: Tensor, teacher: Tensor, relu: bool = True, resize: str | None = None) -> nn.Sequential:
    """Convolution, batch norm and ReLU from the shape of one feature to that of another.

    For maps of the same size it is a 1x1 convolution. With ``resize="strided"`` a map twice as long as the
    teacher's is read with stride 2 (kernel 3), one half as long by a transposed convolution with stride 2 (kernel 4),
    and any other that is longer on all sides by a kernel as long as the difference plus 1, without padding.

    Args:
        student: ``(B, C, *S)``.
        teacher: ``(B, C', *S')``.
        relu: end in a ReLU.
        resize: ``None`` or ``"pool"``: the maps have the same size when they get here; ``"strided"``.

    Raises:
        InputError: with both shapes, if there is no rule for them.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(2, 3, 25), torch.zeros(2, 4, 50)
        >>> regressor(student, teacher, resize="strided")(student).shape
        torch.Size([2, 4, 50])
    """
    ndim, channels = student.ndim - 2, (student.shape[1], teacher.shape[1])
    pairs = list(zip(student.shape[2:], teacher.shape[2:], strict=True))
    if resize != "strided" or all(s == t for s, t in pairs):
        layer = CONV[ndim](*channels, 1)
    elif all(s == 2 * t for s, t in pairs):
        layer = CONV[ndim](*channels, 3, stride=2, padding=1)
    elif all(2 * s == t for s, t in pairs):
        layer = _TRANSPOSED[ndim](*channels, 4, stride=2, padding=1)
    elif all(s >= t for s, t in pairs):
        layer = CONV[ndim](*channels, tuple(1 + s - t for s, t in pairs))
    else:
        raise InputError(
            "resize='strided' maps to the same, the double or the half size, and from longer maps to shorter ones, "
            f"but the student has {tuple(student.shape)} and the teacher {tuple(teacher.shape)}. Choose other taps, or "
            "set resize='pool' (average pooling to the smaller)."
        )
    return nn.Sequential(layer, NORM[ndim](channels[1]), *([nn.ReLU()] if relu else []))


class FitNetObjective(HintTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"hint"``.

    Raises:
        InputError: for a parameter out of range, if the weights do not name exactly the teachers, or with both shapes
            if two features do not fit.

    Example:
        >>> import torch
        >>> student = Output(torch.tensor([[2.0, 0.0]]), {"stage2": torch.tensor([[[1.0, 3.0]]])})
        >>> teacher = Output(torch.tensor([[2.0, 0.0]]), {"stage2": torch.tensor([[[0.0, 4.0]]])})
        >>> objective = FitNetObjective(hint_weight=1.0)
        >>> objective.adapt(student=student, teachers={"raw": teacher})
        >>> _ = torch.nn.init.ones_(objective.adapters["raw_stage2"][0].weight)  # batch norm makes -1 and 1 of it
        >>> terms = objective(student=student, teachers={"raw": teacher}, target=torch.tensor([0]))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'hint': 4.5}
    """

    paper: ClassVar[tuple[str, ...]] = ("romero2015fitnets",)
    takes_many_labels = True
    zero_when_equal = False
    reason = "the regressor is not initialised as the identity"

    hint_weight: Setting = setting("``beta``, at least 0.", default=100.0)
    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original.", default=0.0)
    taps: tuple[str, ...] = argument("names of the features; the original has the middle one.", default=("stage2",))
    relu: bool = argument(
        "whether the regressor ends in a ReLU, as in the original; ``False`` for features of both signs.", default=True
    )
    resize: Literal["pool", "strided"] | None = argument(
        '``None`` refuses maps of different size; ``"pool"`` pools the larger one; ``"strided"`` lets the regressor '
        "change the size, see :func:`~kdlab.methods.fitnet.regressor`.",
        default=None,
    )

    def make_adapter(self, student: Tensor, teacher: Tensor) -> nn.Module:
        """A regressor."""
        return regressor(*self._fitted(student, teacher), self.relu, self.resize)

    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean squared difference of the prediction and the teacher's feature."""
        student, teacher = self._fitted(student, teacher)
        return functional.mean_square(self.adapted(name, student), teacher)

    def _fitted(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        if self.resize != "strided":
            return functional.fit_maps(student, teacher, self.resize)
        if student.ndim != teacher.ndim or student.ndim < 3:
            return functional.fit_maps(student, teacher)  # which raises with both shapes
        return student, teacher

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "hint": beta mean_l sum_m w_m mean (r(F_s) - F_m)^2}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        return {**terms, "hint": self.hint_weight * self.hints(student, teachers)}


class FitNet(Distilled, objective=FitNetObjective):
    """Distil features through regressors, from teachers that read a view of the student's kind."""
