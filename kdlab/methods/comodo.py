r"""COMODO: a student without labels, whose windows are spread over a queue of teacher embeddings as the teacher's are.

.. math:: \mu\, \mathrm{CE}(z_s, y) - \beta \sum_m w_m \frac1B \sum_i \sum_{q \in Q_m}
    \mathrm{softmax}_q(v_{mi} \cdot q / \tau_t)\, \log \mathrm{softmax}_q(u_{mi} \cdot q / \tau_s)

with unit embeddings ``v`` of the teacher and ``u`` of the student, the latter through a projector to the size of the
teacher's, and the queue ``Q`` of the embeddings of the last windows, those of the batch included, first in, first out;
see :func:`kdlab.functional.reference_cross_entropy`. No label is read (``mu = 0``). Embeddings of images and of signals
are compared as they are. Projector and queue are dropped after the fit. It is a stage before distillation: another run
starts from its checkpoint (``student_init``). The head of the net is not trained, so its accuracy says nothing.

References:
    B. Chen et al., "COMODO: Cross-modal video-to-IMU distillation for efficient egocentric human activity
    recognition", 2025, arXiv:2503.07259. Code: cruiseresearchgroup/COMODO@2666a02.

Differences from the reference code:
    There the queue is filled with windows that are left out of the first epoch; here it begins empty, and is no longer
    than there are training windows. There both embeddings pass a hidden layer, the teacher's an untrained one; here the
    teacher's is as it is, and the student's projector is linear, or with a hidden layer (``hidden``). On several
    processes the queue takes the windows of all of them, in the same order everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.methods.made import Distilled
from kdlab.methods.queue import QueuedProjector
from kdlab.methods.windows import lacks
from kdlab.objective import Classifier, gather
from kdlab.objectives import WeightedTeachers
from kdlab.types import Output, Windows


class COMODOObjective(WeightedTeachers):
    """Terms ``"ce"``, 0 by default, and ``"instances"``.

    Embeddings enter the queue in training mode, once after each call of :meth:`advance`, which methods make before
    every step; without it the batch is compared with itself.

    Example:
        >>> student = Output(torch.zeros(2, 2), {"embedding": torch.tensor([[1.0], [-1.0]])})
        >>> objective = COMODOObjective(teacher_temperature=1.0, student_temperature=1.0)
        >>> objective.adapt(student=student, teachers={"pi": student})
        >>> (layer,) = objective.adapters["pi"].project
        >>> _ = torch.nn.init.ones_(layer.weight), torch.nn.init.zeros_(layer.bias)
        >>> terms = objective(student=student, teachers={"pi": student}, target=torch.tensor([0, 1]))
        >>> {name: round(term.item(), 4) for name, term in terms.items()}
        {'ce': 0.0, 'instances': 0.3653}
    """

    paper: ClassVar[tuple[str, ...]] = ("chen2025comodo",)
    zero_when_equal = False
    reason = "it is a cross-entropy, whose minimum is not zero"
    windows = 2
    needs_logits = False  # a teacher may have other classes

    ce_weight: Setting = setting("``mu`` of the labels, at least 0; 0 is the original.", default=0.0)
    instances_weight: Setting = setting("``beta``, at least 0.", default=1.0)
    tap: str = argument("name of the feature that is embedded; flattened.", default="embedding")
    queue: int = argument("length of the queue, at least 1.", default=16384, low=1)
    teacher_temperature: float = argument("``tau_t``, above 0.", default=0.1, above=0.0)
    student_temperature: float = argument("``tau_s``, above 0.", default=0.05, above=0.0)
    hidden: int = argument("units of the projector's hidden layer; 0: the projector is linear.", default=0, low=0)

    def __post_init__(self) -> None:
        """Initialise with nothing to queue."""
        super().__post_init__()
        self.taps = (self.tap,)
        self._due, self._temperatures = False, (self.teacher_temperature, self.student_temperature)
        #: length of the queue of adapters that are made from now on
        self.longest = self.queue

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """The windows of the next step enter the queue."""
        self._due = True

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """A projector and a queue for each teacher."""
        own, made = self.feature(student, self.tap, "the student")[0].numel(), dict[str, nn.Module]()
        for name in self.nonzero_weights(teachers):
            size = self.feature(teachers[name], self.tap, f"teacher {name!r}")[0].numel()
            made[name] = QueuedProjector(own, size, self.hidden, self.longest)
        return made

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": mu CE, "instances": beta sum_m w_m H_m}``."""
        self.adapt(student=student, teachers=teachers)
        together, values, own = gather(student), [], self.feature(student, self.tap, "the student").flatten(1)
        for name, weight in self.nonzero_weights(teachers).items():
            other = self.feature(teachers[name], self.tap, f"teacher {name!r}").detach().flatten(1)
            v, u = functional.unit(functional.promote(other)), functional.unit(self.adapted(name, own))
            queued, new = self.adapters[name], together(v)
            assert isinstance(queued, QueuedProjector)  # of make_adapters
            values.append(weight * functional.reference_cross_entropy(u, v, *queued.with_new(new), *self._temperatures))
            if self.training and self._due:
                queued.write(new)
        self._due = self._due and not self.training
        ce = self.ce_weight * self.label_loss(student.logits, target)
        return {"ce": ce, "instances": self.instances_weight * torch.stack(values).sum()}


class COMODO(Distilled, objective=COMODOObjective):
    """Train a student without labels towards the neighbourhoods of its teachers, to start distillation from."""

    def build(self, windows: Windows) -> None:
        """Also bound the queue by the number of training windows, where that is known."""
        if isinstance(self.objective, COMODOObjective) and not lacks(windows, "train_index"):
            self.objective.longest = min(self.objective.queue, len(windows.train_index))
        super().build(windows)
