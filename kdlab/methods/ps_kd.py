r"""PS-KD (progressive self-KD): labels are mixed, more in each epoch, with the net's output of the epoch before.

.. math:: \mathrm{CE}\big(z_i, (1 - \alpha_e)\, y_i + \alpha_e\, p_i^{(e-1)}\big)
    = (1 - \alpha_e)\, \mathrm{CE}(z_i, y_i) + \alpha_e\, \mathrm{CE}(z_i, p_i^{(e-1)}), \qquad
    \alpha_e = \alpha_T \frac{e + 1}{E}, \quad p = \mathrm{softmax}(z)

for epoch ``e`` of ``E``, from 0. In the first epoch, and wherever a window was not seen yet, ``p`` is the label. The
past predictions are of windows as they were augmented then.

References:
    K. Kim, B. Ji, D. Yoon, S. Hwang, "Self-knowledge distillation with progressive refinement of targets", ICCV 2021,
    arXiv:2006.12000. Code: lgcnsai/PS-KD-Pytorch@9aa0828.

Class weights, label smoothing and the focal factor apply to the term with ``y`` alone.

Mixup and CutMix are refused, because the past output would be that of another mixture.

Differences from the reference code:
    Predictions are kept as float16 and are scaled to sum 1 again when they are used (there float32). They are in the
    checkpoints that a run is resumed from, so that it resumes as if it had not been interrupted.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab import distributed, functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import TeacherFree
from kdlab.methods.plans import has_end
from kdlab.methods.windows import lacks
from kdlab.nets.base import Backbone
from kdlab.objectives import WeightedTeachers
from kdlab.types import Batch, InputError, Output, Windows


class PastPredictions:
    """The net's last output for each window: class probabilities in float16 on the device, by `Batch.index`.

    Args:
        classes: ``K``.
        rows: the largest index and 1, where it is known; otherwise every step waits for the device to learn it.

    Attributes:
        probabilities: ``(N, K)``, with as many rows as the largest index needs; zeros where there is none yet.

    Example:
        >>> past, index, target = PastPredictions(2), torch.tensor([3, 0]), torch.tensor([1, 0])
        >>> past.write(index[:1], torch.tensor([[0.25, 0.75]]))
        >>> past.read(index, target)
        tensor([[0.2500, 0.7500],
                [1.0000, 0.0000]])
    """

    def __init__(self, classes: int, rows: int = 0) -> None:
        self.probabilities = torch.zeros(rows, classes, dtype=torch.float16)
        self._rows = rows

    def read(self, index: Tensor, target: Tensor) -> Tensor:
        """Probabilities ``(B, K)`` in float32: the last ones of the windows ``index``, or else their labels."""
        self._make_room(index, target.device)
        past = self.probabilities[index].float()
        if not target.is_floating_point():
            target = F.one_hot(target.long(), past.shape[1])
        return torch.where(past.sum(1, keepdim=True) > 0, past, target.float())

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Keep ``probabilities`` ``(B, K)`` of the windows ``index``."""
        self._make_room(index, probabilities.device)
        self.probabilities[index] = probabilities.half()

    def restore(self, probabilities: Tensor) -> None:
        """Take those of a checkpoint."""
        self.probabilities = F.pad(probabilities, (0, 0, 0, max(0, self._rows - len(probabilities))))

    def _make_room(self, index: Tensor, device: torch.device) -> None:
        """Have a row for each window on the device."""
        self.probabilities = self.probabilities.to(device)
        if self._rows and index.device.type != "cpu":
            return
        missing = int(index.max()) + 1 - len(self.probabilities)
        if missing > 0:
            self.probabilities = F.pad(self.probabilities, (0, 0, 0, missing))


class PSKDObjective(WeightedTeachers):
    """Terms ``"ce"``, ``(1 - alpha) CE`` with the label, and ``"past"``, ``alpha CE`` with a teacher's probabilities.

    The teacher is the net itself in the epoch before; its logits may be the logarithms of its probabilities.

    Raises:
        InputError: for a weight out of range, or without a teacher.

    Example:
        >>> now, past = Output(torch.tensor([[2.0, 0.0]]), {}), Output(torch.tensor([[0.5, 0.5]]).log(), {})
        >>> terms = PSKDObjective(past_weight=0.5)(student=now, teachers={"past": past}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.0635, 'past': 0.5635}
    """

    paper: ClassVar[tuple[str, ...]] = ("kim2021self",)
    reads_labels = True
    zero_when_equal = False
    reason = "cross-entropy with soft labels is at least their entropy"

    weights: dict[str, float] | None = argument(default=None, init=False)
    past_weight: Setting = setting(
        "``alpha``, 0 to 1; where it grows ``alpha_T``, that of the last epoch.", default=0.8, high=1.0
    )
    growing: bool = argument("whether ``alpha`` grows from epoch to epoch.", default=False)
    epochs: int | None = argument(
        "``E``; ``None`` is those of the fit. Set it where a resumed run has another ``max_epochs`` or ``max_steps``.",
        default=None,
        low=1,
    )

    def __post_init__(self) -> None:
        """Let callbacks change the weight where it does not grow."""
        super().__post_init__()
        self.moves = ("past_weight",) if self.growing else ()

    def planned(self, epochs: int | None) -> int:
        """``E`` of a fit of ``epochs``; ``None`` or below 0 where it has no planned end.

        Raises:
            InputError: when there is no planned end.
        """
        epochs = epochs if self.epochs is None else self.epochs
        if epochs is None or epochs < 0:
            raise InputError(
                f"{type(self).__name__}: epochs must be set where the fit has no planned end, but got None. Set "
                "epochs= or max_epochs."
            )
        return epochs

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """``alpha_e = alpha_T (e + 1) / E``."""
        if self.growing:
            grown = min((epoch + 1) / self.planned(epochs), 1.0)
            self.set("past_weight", self.initial("past_weight") * grown)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": (1 - alpha) CE(z, y), "past": alpha CE(z, p)}``."""

        def softened(past: Output) -> Tensor:
            return functional.cross_entropy(student.logits, functional.promote(past.logits).detach().softmax(1))

        return {
            "ce": (1 - self.past_weight) * self.label_loss(student.logits, target),
            "past": self.past_weight * self.weighted(teachers, softened),
        }


class PSKD(TeacherFree, objective=PSKDObjective, fixed={"growing": True}):
    """Train a net on labels that are softened with its own past predictions.

    Every process keeps the predictions of all of them, ``2 N K`` bytes; a window that an epoch leaves out
    (``drop_last``) keeps its older one. They are in full checkpoints, which a fit is resumed from (``best.ckpt``,
    ``last.ckpt``), and not in those of weights alone (``save_weights_only``, `EarlyStoppedTeacher`); test, prediction
    and distillation from it do not need them. They are on the device; with plain loaders, which do not tell how many
    windows there are, each step waits for it.

    Raises:
        InputError: when the fit has no planned end and ``epochs`` is not given, or for a data module that mixes
            windows.
    """

    objective: PSKDObjective

    def __init__(self, net: Backbone, **kwargs: Any) -> None:
        super().__init__(net, **kwargs)
        self.past = PastPredictions(self.net.num_classes)
        self._last = -1  # the largest index of a training window

    def check_data(self, windows: Windows) -> None:
        """Refuse mixed windows, and note the largest index."""
        if not lacks(windows, "train_index"):
            self._last = int(windows.train_index.max(initial=-1))
        if windows.mix is not None:
            raise InputError(
                "PSKD: mix of the data module must be None, because the window of an index is another mixture in every "
                f"epoch, but got {windows.mix}. Leave mix out, or use another method."
            )

    def needs_index(self) -> str:
        """The predictions are kept by it."""
        return "PSKD keeps its predictions of the epoch before by it"

    def setup(self, stage: str) -> None:
        """Also clear the predictions of an earlier fit; a checkpoint to resume from is read afterwards."""
        super().setup(stage)
        if stage == "fit":
            self.objective.planned(1 if has_end(self.trainer) else None)
            self.past = PastPredictions(self.net.num_classes, self._last + 1)

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """Compare with the labels and with the past, and keep the net's output."""
        past = Output(self.past.read(batch.index, batch.target).log(), {})
        terms: dict[str, Tensor] = self.objective(student=student, teachers={"past": past}, target=batch.target)
        index = distributed.gather(batch.index)
        now = functional.promote(student.logits.detach()).softmax(1)
        self.past.write(index, distributed.gather(now, checked=True))
        return terms

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also the past predictions, in checkpoints that a fit can be resumed from."""
        super().on_save_checkpoint(checkpoint)
        if "optimizer_states" in checkpoint:
            checkpoint["ps_kd"] = self.past.probabilities.cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also the past predictions, where there are any."""
        super().on_load_checkpoint(checkpoint)
        if "ps_kd" in checkpoint:
            self.past.restore(checkpoint["ps_kd"])
