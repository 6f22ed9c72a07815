"""Several teachers as one: the mean of their logits, over views, seeds or folds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from kdlab.methods.ensemble_weights import validation_weights
from kdlab.methods.members import TeacherOfMembers, mean_of
from kdlab.methods.teacher import Teacher
from kdlab.types import InputError, Windows


class EnsembleTeacher(TeacherOfMembers):
    r"""The weighted mean of the logits of several teachers, as one teacher.

    .. math:: z(x) = \frac{\sum_m w_m z_m(v_m(x))}{\sum_m w_m}

    where member ``m`` reads its view ``v_m`` of the window. An objective sees one teacher, whose soft targets are those
    of the mean logits (not the mean of several divergences, as `SoftTargets` has with several teachers), and a
    `TeacherCache` keeps one array of logits. A member may be a `CrossFittedTeacher`.

    Args:
        members: name -> `Teacher`, of any views.
        weights: name -> ``w_m``, at least 0; ``None``: all the same. The word ``"validation"``: those with the lowest
            cross-entropy on the validation windows of the run, found before the fit
            (`kdlab.methods.ensemble_weights`).

    Raises:
        InputError: without members, for weights that do not name exactly them, or that are negative or all 0.

    References:
        L. K. Hansen, P. Salamon, "Neural network ensembles", IEEE TPAMI 12(10), 1990, doi:10.1109/34.58871.

    Example:
        >>> from kdlab import Teacher
        >>> members = {"raw": Teacher("runs/teacher_raw"), "pi": Teacher("runs/teacher_pi", view="pi")}
        >>> teacher = EnsembleTeacher(members, {"raw": 3.0, "pi": 1.0})
        >>> teacher.views, teacher.weights
        (('raw', 'pi'), {'raw': 0.75, 'pi': 0.25})
    """

    paper: ClassVar[tuple[str, ...]] = ("hansen1990neural",)

    def __init__(
        self, members: dict[str, Teacher], weights: dict[str, float] | Literal["validation"] | None = None
    ) -> None:
        super().__init__(members)
        #: whether the weights are found on validation windows
        self.by_validation = weights == "validation"
        equal = weights is None or self.by_validation
        given = dict.fromkeys(self.members, 1.0) if equal else weights
        if not isinstance(given, Mapping) or set(map(str, given)) != set(self.members):
            raise InputError(
                f"EnsembleTeacher: weights must name exactly the members, {', '.join(self.members)}, but got "
                f"{given!r}. Correct the names."
            )
        values = {str(name): value for name, value in given.items()}
        good = all(
            isinstance(w, int | float) and not isinstance(w, bool) and 0 <= w < math.inf for w in values.values()
        )
        if not good or not sum(values.values()) > 0:
            raise InputError(
                f"EnsembleTeacher: weights must be at least 0, finite and not all 0, but got {given!r}. Correct them."
            )
        total = sum(values.values())
        #: name -> weight, with sum 1
        self.weights = {name: values[name] / total for name in self.members}
        self.register_buffer("_weights", torch.tensor(list(self.weights.values())), persistent=False)

    @property
    def made(self) -> str:
        """The weights, and what the members are made of."""
        inner = [member.made for member in self.members.values()]
        return f"mean of {list(self.weights.values())}" + (f" of {inner}" if any(inner) else "")

    def bind(self, windows: Windows, name: str) -> None:
        """Learn which windows all members will see, and find the weights that are found on validation windows.

        Raises:
            InputError: for weights by validation where windows have any number of labels, or there are none.
        """
        super().bind(windows, name)
        if not self.by_validation:
            return
        if windows.many_labels is True:
            raise InputError(
                f"teacher {name!r}: weights must be given with any number of labels per window, but got 'validation'. "
                "Write them by name."
            )
        logits, target = [], []
        for batch in windows.batches("val", views=list(self.views)):
            own = [member.of_held_out(batch).logits for member in self.members.values()]
            logits.append(torch.stack([z.double().cpu() for z in own], 1))
            target.append(batch.target.cpu())
        if not logits:
            raise InputError(
                f"teacher {name!r}: weights must be given where the data module has no validation windows in order, "
                "but got 'validation'. Write them by name."
            )
        found = validation_weights(torch.cat(logits), torch.cat(target))
        self.weights = dict(zip(self.members, found, strict=True))
        where = self.get_buffer("_weights").device
        self.register_buffer("_weights", torch.tensor(found, device=where), persistent=False)
        self._rehash()
        shown = ", ".join(f"{key} {weight:.3f}" for key, weight in self.weights.items())
        rank_zero_info(f"teacher {name!r}: weights on {sum(map(len, target))} validation windows: {shown}")

    def combine(self, logits: Mapping[str, Tensor], index: Tensor | None) -> Tensor:
        """The weighted mean."""
        weights: Tensor = self._weights  # type: ignore[assignment]
        return mean_of(logits, weights)
