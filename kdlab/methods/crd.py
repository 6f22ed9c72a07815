r"""CRD (contrastive representation distillation): embeddings of a window are contrasted with those of others.

.. math:: (1 - \lambda)\, \mathrm{CE}(z_s, y) + \lambda \sum_m w_m\, \mathrm{KD}(m, s)
    + \beta \sum_m w_m \big[ \mathrm{NCE}(v_s, V_m) + \mathrm{NCE}(v_m, V_s) \big]

.. math:: \mathrm{NCE}(v, V) = \frac1B \sum_i \Big[ -\log \frac{p_{ii}}{p_{ii} + c}
    - \sum_{j \in J_i} \log \frac{c}{p_{ij} + c} \Big], \qquad p_{ij} = \frac{e^{v_i \cdot V_j / T}}{Z}, \quad
    c = \frac{K}{N}

with embeddings ``v`` of unit norm, linear in the features of student and teacher; a memory ``V`` of the embeddings of
all ``N`` training windows, updated with a momentum; ``K`` negatives ``J_i`` of each window; and ``Z``, ``N``
times the mean of ``exp(v . V / T)`` over the first batch. See :func:`kdlab.functional.noise_contrast`. Embeddings and
memory are dropped after the fit. The original has no soft targets (``kd_weight=0``, the default).

References:
    Y. Tian, D. Krishnan, P. Isola, "Contrastive representation distillation", ICLR 2020, arXiv:1910.10699.
    Code: HobbitLong/RepDistiller@b84f547 crd.

Differences from the reference code:
    It draws the negatives from all windows, the window itself included, and more than there are in a small data set.
    Here they are other windows: ``negatives`` drawn with replacement, or all ``N - 1``, each once, where there are no
    more than that. Draws depend on the seed and the step alone, not on a global generator. ``Z`` and the memory
    are those of the batch over all processes. Its port to CIFAR-10 has ``contrast_weight=0.2`` and
    ``contrast_temperature=0.1``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from kdlab import distributed, functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.crd_memory import Memory, generator
from kdlab.methods.made import Distilled
from kdlab.methods.teacher import Teacher
from kdlab.methods.windows import lacks, name_of
from kdlab.nets.base import Backbone
from kdlab.objective import Classifier, gather
from kdlab.objectives import SoftTargets
from kdlab.types import InputError, Output, Windows


def _below_one(who: str, momentum: float) -> float:
    if momentum >= 1:
        raise InputError(f"{who}: momentum must be below 1, but got {momentum!r}.")
    return momentum


class CRDObjective(SoftTargets):
    """Terms ``"ce"``, ``"kd"`` and ``"contrast"``.

    ``index=`` names the windows of a batch among those of :meth:`remember`, which is called first. Without an index
    there is no memory: the other windows are those of the batch, each once, with their current embeddings, and ``Z`` is
    that of the batch. In evaluation mode nothing is written.

    Raises:
        InputError: for a parameter out of range, batches of one window, a window that is not in the memory, or if
            the weights do not name exactly the teachers.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> student = Output(logits, {"embedding": torch.tensor([[1.0], [-1.0]])})
        >>> objective = CRDObjective(contrast_weight=1.0, width=1, contrast_temperature=1.0)
        >>> objective.adapt(student=student, teachers={"raw": student})
        >>> for embed in objective.adapters.values():
        ...     _ = torch.nn.init.ones_(embed.weight), torch.nn.init.zeros_(embed.bias)
        >>> terms = objective(student=student, teachers={"raw": student}, target=torch.tensor([0, 1]))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'kd': 0.0, 'contrast': 1.3268}
    """

    paper: ClassVar[tuple[str, ...]] = ("tian2020contrastive",)
    takes_many_labels = True
    zero_when_equal = False
    reason = "the contrast is a bound on information, whose minimum is not zero"
    windows = 2

    contrast_weight: Setting = setting("``beta``, at least 0.", default=0.8)
    kd_weight: Setting = setting("``lambda``, 0 to 1; 0 is the original.", default=0.0)
    tap: str = argument("name of the feature that is embedded; flattened.", default="embedding")
    width: int = argument("of the embeddings, at least 1.", default=128, low=1)
    negatives: int = argument("``K``, at least 1; all other windows where there are no more.", default=16384, low=1)
    contrast_temperature: float = argument("``T`` of the contrast, above 0.", default=0.07, above=0.0)
    momentum: float = argument(
        "of the memory, from 0 to below 1; 0 keeps the last embedding.", default=0.5, low=0.0, check=_below_one
    )
    seed: int = argument("of the memory's initial embeddings and of the draws.", default=0)

    def __post_init__(self) -> None:
        """Initialise without a memory."""
        super().__post_init__()
        self.taps = (self.tap,)
        self.takes_index = False  # until the training windows are known
        self._keys: Tensor | None = None

    def remember(self, index: ArrayLike) -> None:
        """Set the training windows, before the adapters are made.

        Args:
            index: their ``Batch.index``, in any order.

        Raises:
            InputError: for fewer than two windows, or others than the memory was made for.
        """
        keys = torch.from_numpy(np.unique(np.asarray(index, dtype=np.int64)))
        if len(keys) < 2:
            raise InputError(
                f"{type(self).__name__}: index must name at least 2 training windows, but got {len(keys)}."
            )
        same = self._keys is not None and torch.equal(self._keys, keys)
        if self.adapters and not same:
            raise InputError(
                f"{type(self).__name__}: index must name the training windows of the memory, but got other training "
                "windows. Make a new objective for these."
            )
        self._keys, self.takes_index = keys, True

    @property
    def remembers(self) -> bool:
        """Whether the training windows are set."""
        return self._keys is not None

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """Two embeddings for each teacher, and a memory where the windows are known."""
        made: dict[str, nn.Module] = {}
        for name, output in teachers.items():
            for key, feature in (
                (f"student_{name}", self.feature(student, self.tap, "the student")),
                (f"teacher_{name}", self.feature(output, self.tap, f"teacher {name!r}")),
            ):
                made[key] = nn.Linear(feature.flatten(1).shape[1], self.width)
            if self._keys is not None:
                made[f"memory_{name}"] = Memory(self._keys, self.width, self.seed)
        return made

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": ..., "kd": ..., "contrast": beta sum_m w_m (NCE(v_s, V_m) + NCE(v_m, V_s))}``.

        Args:
            student: the student's output.
            teachers: teacher name -> output.
            target: class indices ``(B,)`` or class probabilities ``(B, K)``.
            index: ``Batch.index`` of the windows ``(B,)``; ``None`` contrasts the windows of the batch alone.
        """
        terms = super().forward(student=student, teachers=teachers, target=target)
        self.adapt(student=student, teachers=teachers)
        weights = self.weights_of(teachers)
        values = [weight * self._contrast(name, student, teachers[name], index) for name, weight in weights.items()]
        return {**terms, "contrast": self.contrast_weight * torch.stack(values).sum()}

    def _contrast(self, name: str, student: Output, teacher: Output, index: Tensor | None) -> Tensor:
        features = (
            self.feature(student, self.tap, "the student"),
            self.feature(teacher, self.tap, f"teacher {name!r}").detach(),
        )
        who = (f"student_{name}", f"teacher_{name}")
        own = torch.stack(
            [functional.unit(self.adapted(key, x.flatten(1))) for key, x in zip(who, features, strict=True)]
        )
        together = gather(student)
        gathered = together(own.detach().transpose(0, 1)).transpose(0, 1)  # (2, B of all ranks, width)
        count = own.shape[1]
        place = distributed.rank() * count + torch.arange(count, device=own.device)
        if index is None:
            others = _without(torch.arange(gathered.shape[1] - 1, device=own.device), place)
            value, _ = self._both(own, gathered, place, others, None)
            return value
        memory = dict(self.adapters.items()).get(f"memory_{name}")
        if not isinstance(memory, Memory):
            raise InputError(
                f"{type(self).__name__}: index must be None without a memory of all training windows, but got one. "
                "Call remember(index of all windows) before the adapters are made, or leave out index= to contrast the "
                "windows of a batch."
            )
        rows = memory.rows(distributed.gather(index, checked=True))
        others = self._draw(memory, rows, place)
        value, log_z = self._both(own, memory.banks, rows[place], others, memory.log_z)
        if self.training:
            memory.write(rows, gathered, log_z, self.momentum)
        return value

    def _draw(self, memory: Memory, rows: Tensor, place: Tensor) -> Tensor:
        """Rows of others than each window of this process, ``(B, K)``."""
        windows = len(memory.keys)
        if self.negatives >= windows - 1:
            return _without(torch.arange(windows - 1, device=rows.device), rows[place])
        drawn = torch.randint(
            windows - 1, (len(rows), self.negatives), generator=generator(self.seed, int(memory.step))
        )
        turn = rows.argsort(stable=True).argsort()  # a window's draws do not depend on its place in the batch
        return _without(drawn.to(rows.device)[turn[place]], rows[place])

    def _both(
        self, own: Tensor, banks: Tensor, rows: Tensor, others: Tensor, held: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The contrast of the student with the teacher's bank and the other way round, and both ``log Z``."""
        windows = banks.shape[1]
        columns = torch.cat([rows[:, None], others], 1)
        other_side = banks.flip(0).transpose(1, 2)  # a copy, so that the memory can be written in the meantime
        scores = _product(own, other_side).gather(2, columns.expand(2, -1, -1)) / self.contrast_temperature
        found = torch.logsumexp(scores.detach().flatten(1), 1) + math.log(windows / columns.numel())
        ranks = distributed.gather(found[None], checked=True)
        found = torch.logsumexp(ranks, 0) - math.log(len(ranks))
        log_z = found if held is None else torch.where(held.isnan(), found, held)
        scores = scores - log_z[:, None, None]
        values = [functional.noise_contrast(one[:, 0], one[:, 1:], windows) for one in scores]
        return torch.stack(values).sum(), log_z


@functional.full_precision
def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a b``, in at least float32 with autocast off."""
    return a @ b


def _without(others: Tensor, own: Tensor) -> Tensor:
    """Numbers from 0 to N - 2 as rows from 0 to N - 1 that leave out each window's own ``(B,)``."""
    return others + (others >= own[:, None]).long()


class CRD(Distilled, objective=CRDObjective):
    """Distil by contrast with all other training windows, whose indices are those of the data module.

    The memory takes ``8 N width`` bytes for each teacher, on every process, and is in the checkpoints that a fit is
    resumed from. Drawing negatives synchronises with the device.
    """

    objective: CRDObjective

    def __init__(self, student: Backbone, teachers: dict[str, Teacher], **kwargs: Any) -> None:
        super().__init__(student, teachers, **kwargs)
        self.objective.takes_index = True  # an error, not a contrast within the batch, where windows are unknown

    def needs_index(self) -> str:
        """The memory is read by it."""
        return "CRD keeps embeddings of all training windows by it (method.objective.remember(range(N)) before the fit)"

    def build(self, windows: Windows) -> None:
        """Also allocate the memory for the training windows.

        Raises:
            InputError: when these are not known.
        """
        if not lacks(windows, "train_index"):
            self.objective.remember(windows.train_index)
        elif not self.objective.remembers:
            raise InputError(
                f"CRD: the index of all training windows must be known, for its memory, but {name_of(windows)} have no "
                "train_index. Name them before the fit: method.objective.remember(range(N)) for N windows."
            )
        super().build(windows)
