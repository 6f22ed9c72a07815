r"""CA-MKD: of several teachers, those with the lower cross-entropy have the larger weights.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \frac{\lambda}{B} \sum_i \sum_m w_{mi}\, \mathrm{KD}_i(m, s), \qquad
    w_{mi} = \frac{1}{M - 1} \Big( 1 - \frac{e^{C_{mi}}}{\sum_j e^{C_{ji}}} \Big)

with the cross-entropy ``C`` of a teacher and the labels; see :func:`kdlab.functional.confidence_weights`. "CA" is
confidence-aware. With ``feature_weight`` there is also a part on the last maps:

.. math:: \frac{\beta}{B} \sum_i \sum_m v_{mi}\, \overline{(E_m(F_s) - F_m)_i^2}

with the mean over channels and positions of a window, an embedding ``E`` (1x1 convolution, batch norm, ReLU) onto the
map of each teacher, and weights ``v`` by the same rule from the cross-entropy of the teacher's own classifier on
the embedded map. The embeddings are trained with the student and are not kept. The original has this part
(``feature_weight=50``, from the second epoch on); the wearable papers have not (0, the default).

References:
    H. Zhang, D. Chen, C. Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022,
    10.1109/ICASSP43922.2022.9747534. Code: Rorozhl/CA-MKD@c2f39a9.

Differences from the reference code:
    It divides both parts by another ``M`` (``mkd_scale="released"``) and has the weights 1 and 1 in place of
    ``1 - lambda`` and ``lambda``. It resizes the student's map to each teacher's silently, each time from the map that
    was resized for the previous teacher; here that takes ``resize="resample"`` and starts from the student's.
    Its weights ``v`` have a gradient with respect to the student, which can lower the loss by wrong predictions where a
    teacher is distant; ours are constants for the gradient. Its embedding always ends in a ReLU; the raw maps of a
    `WideResNet` have both signs (``relu=False`` leaves it out).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.adaptive import ScaledTargets
from kdlab.methods.fitnet import regressor
from kdlab.methods.made import Distilled
from kdlab.objective import Classifier
from kdlab.types import InputError, Output

_MAP = "stage3"


class CAMKDObjective(ScaledTargets):
    """Terms ``"ce"`` and ``"kd"``, and ``"feature"`` where it has a weight.

    The part on maps needs the teachers' classifiers, which are an argument of :meth:`adapt`.

    Attributes:
        feature_part: 0 leaves out the part on maps in this epoch, 1 includes it.

    Raises:
        InputError: for a parameter out of range, without teachers, for the released scale of one teacher, which is
            not defined, or with both shapes if two maps do not fit.

    Example:
        >>> import torch
        >>> student = Output(torch.tensor([[0.0, 0.0]]), {})
        >>> teachers = {"raw": Output(torch.tensor([[4.0, 0.0]]), {}), "pi": Output(torch.tensor([[1.0, 0.0]]), {})}
        >>> objective = CAMKDObjective()
        >>> terms = objective(student=student, teachers=teachers, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0693, 'kd': 0.9635}
        >>> {name: round(float(weight), 4) for name, weight in objective.found.items()}
        {'weight_raw': 0.5732, 'weight_pi': 0.4268}
    """

    paper: ClassVar[tuple[str, ...]] = ("zhang2022confidence",)
    reads_labels = True

    kd_weight: Setting = setting("``lambda``, 0 to 1 (the wearable papers have .7 on GENEActiv and .99 on PAMAP2).")
    feature_weight: Setting = setting(
        "``beta`` of the part on maps, at least 0; 0 is the wearable papers', without this part and its embeddings; 50 "
        "is the original's.",
        default=0.0,
    )
    relu: bool = argument(
        "whether the embeddings of the student's map end in a ReLU, as in the original.", default=True
    )
    resize: Literal["resample"] | None = argument(
        '``None`` refuses maps of different size; ``"resample"`` average-pools a student\'s map that is larger than '
        "the teacher's, and interpolates a smaller one linearly, as in the original.",
        default=None,
    )
    first_epoch: int = argument("epoch in which the part on maps begins, counted from 0.", default=0, low=0)

    distill_decay: bool = argument(
        "let ``lambda`` fall linearly to 0 in the second half of the epochs, as the option of the original does.",
        default=False,
    )

    def __post_init__(self) -> None:
        """Determine whether there is a part on maps; without it, its weight is not a setting."""
        super().__post_init__()
        self.feature_part = 1.0
        self.moves = ("kd_weight",) if self.distill_decay else ()
        self._classifiers: dict[str, Classifier] = {}
        self._on_maps = bool(self.feature_weight != 0)
        if self._on_maps:
            self.taps = (_MAP,)
            self.zero_when_equal = False
            self.reason = "the embedding is not initialised as the identity"
        else:
            del self._ranges["feature_weight"], self._buffers["feature_weight"]

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """Leave out the part on maps before its first epoch; with ``distill_decay``, ``lambda`` of this epoch.

        Raises:
            InputError: for ``distill_decay`` in a fit without a planned end.
        """
        self.feature_part = float(epoch >= self.first_epoch)
        if self.distill_decay:
            if epochs is None:
                raise InputError(
                    "CAMKDObjective: distill_decay needs a fit with a planned end, but max_epochs is not set. Set it."
                )
            rest = max(epochs - 1 - epoch, 0) / max(epochs // 2, 1)
            late = epoch + 1 > epochs / 2
            self.set("kd_weight", self.initial("kd_weight") * (rest if late else 1.0))

    @property
    def adapts(self) -> bool:
        """Whether there is a part on maps."""
        return self._on_maps

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """An embedding for each teacher."""
        missing = sorted(set(teachers) - set(classifiers))
        if missing:
            raise InputError(
                f"CAMKDObjective: classifiers must have those of all teachers for the part on maps, but got none of "
                f"{missing}. Call adapt(student=..., teachers=..., classifiers={{name: net.classify}}) before."
            )
        self._classifiers = dict(classifiers)
        made = {}
        for name, output in teachers.items():
            own, other = self._maps(name, student, output)
            made[name] = regressor(own, other, self.relu)
        return made

    def _maps(self, name: str, student: Output, teacher: Output) -> tuple[Tensor, Tensor]:
        own = functional.promote(self.feature(student, _MAP, "the student"))
        other = functional.promote(self.feature(teacher, _MAP, f"teacher {name!r}")).detach()
        size = other.shape[2:]
        if self.resize == "resample" and own.ndim == other.ndim and own.ndim > 2 and own.shape[2:] != size:
            if all(a >= b for a, b in zip(own.shape[2:], size, strict=True)):
                return functional.fit_maps(own, other, resize="pool")
            own = F.interpolate(own, size=size, mode="linear" if own.ndim == 3 else "bilinear")
        if own.ndim != other.ndim:
            remedy = "Take teachers that read a view of the student's kind"
        elif own.ndim < 3:
            remedy = "Take nets whose tap lies before the pooling"
        elif own.shape[2:] != size:
            remedy = "Set resize='resample', which fits the student's map to the teacher's"
        else:
            return functional.fit_maps(own, other)
        raise InputError(
            f"CAMKDObjective: teacher {name!r}, tap {_MAP!r}: the part on maps compares them position by position, but "
            f"the student has {tuple(own.shape)}, the teacher {tuple(other.shape)}. {remedy}, or leave this part out "
            "with feature_weight=0."
        )

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "feature": beta mean_i sum_m v_mi mean (E_m(F_s) - F_m)_i^2}``."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        if not self._on_maps:
            return terms
        self.adapt(student=student, teachers=teachers)
        maps = {name: self._maps(name, student, output) for name, output in teachers.items()}
        embedded = {name: self.adapted(name, own) for name, (own, _) in maps.items()}
        with torch.no_grad():
            logits = {name: functional.promote(self._classifiers[name](map)) for name, map in embedded.items()}
        weights = functional.confidence_weights(logits, target)
        scale = self.scale(len(teachers))
        self.found |= {f"weight_{name}_feature": scale * weight.mean() for name, weight in weights.items()}
        values = [
            weights[name] * (embedded[name] - other).square().flatten(1).mean(1) for name, (_, other) in maps.items()
        ]
        feature = scale * torch.stack(values).sum(0).mean()
        return {**terms, "feature": self.feature_weight * self.feature_part * feature}

    def released_scale(self, teachers: int) -> float:
        """``1 / M``."""
        return 1 / teachers

    def adaptive_weights(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """By cross-entropy with the labels."""
        return functional.confidence_weights({name: output.logits for name, output in teachers.items()}, target)


class CAMKD(Distilled, objective=CAMKDObjective, fixed={"first_epoch": 1}):
    """Distil several teachers, weighted by their cross-entropy; ``train/weight_<teacher>`` is the weight of each.

    The part on maps, where it has a weight, begins with the second epoch, as the original does.
    """
