r"""The coupled teachers of SAKDN, one per sensor ``m``, in one `SensorFusion` net.

.. math:: \frac1M \sum_m \mathrm{CE}(z_m, y) + \frac{\alpha}{M} \sum_m \overline{\lvert f_m - e_y \rvert}

with the semantic vectors ``f_m`` and the embeddings ``e`` of the classes. References and differences are those of
:mod:`kdlab.methods.sakdn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kdlab import functional
from kdlab.fields import Setting, argument, setting
from kdlab.labelled import Labelled
from kdlab.methods.class_embeddings import check_classes, embeddings_of, read_embeddings
from kdlab.methods.made import TeacherFree
from kdlab.methods.sensors import logits_of, sensors_of, vector_of
from kdlab.objective import Classifier
from kdlab.types import Output, Windows


class SAKDNTeacherObjective(Labelled):
    """Terms ``"ce"`` and ``"semantic"`` of the teachers; no teachers of its own.

    Raises:
        InputError: for a weight below 0, a table that cannot be read or has other sizes than the net.

    Example:
        >>> features = {"acc/semantic": torch.tensor([[1.0, 1.0]]), "acc/logits": torch.tensor([[2.0, 0.0]])}
        >>> objective = SAKDNTeacherObjective(class_embeddings="one-hot")
        >>> terms = objective(student=Output(torch.zeros(1, 2), features), teachers={}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.1269, 'semantic': 0.5}
    """

    paper: ClassVar[tuple[str, ...]] = ("liu2021semantics",)
    reads_labels = True
    taps = ("embedding",)
    zero_when_equal = False
    reason = "the semantic term compares with the classes, not with a teacher"

    semantic_weight: Setting = setting("``alpha``, at least 0.", default=1.0)
    class_embeddings: str | list[list[float]] = argument(
        '``"learned"``, a table that is trained together with the net; ``"one-hot"``; a file (``.npy``, ``.npz`` with '
        "one array, ``.csv``) or rows, in the order of the classes. A net without sensors is trained with a linear "
        "layer from its embedding to the length of theirs, which is dropped after the fit.",
        default="learned",
    )

    def __post_init__(self) -> None:
        """Read the class embeddings, which are kept as a buffer ``table``."""
        super().__post_init__()
        self.table: Tensor | None
        self.learned = self.class_embeddings == "learned"
        self.register_buffer(
            "table", None if self.learned else read_embeddings(self.class_embeddings), persistent=False
        )
        del self.class_embeddings

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """The table of classes where it is learned, and a linear layer for a net whose embedding has another length."""
        classes, sensor = student.logits.shape[1], sensors_of(student)[0]
        size = self.feature(student, vector_of(student, sensor), "the net").shape[1]
        if self.learned:
            return {"classes": nn.Embedding(classes, size)}
        length = classes if self.table is None else self.table.shape[1]
        return {} if sensor or size == length else {"semantic": nn.Linear(size, length)}

    def embeddings(self, like: Tensor) -> Tensor:
        """The class embeddings ``(K, E)`` for logits ``(B, K)``."""
        if "classes" in self.adapters:
            table = self.adapters["classes"].weight
            assert isinstance(table, Tensor)
            return table
        if self.table is None:
            return torch.eye(like.shape[1], dtype=like.dtype, device=like.device)
        check_classes(self.table, like)
        return self.table.to(like.dtype)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"ce": mean_m CE_m, "semantic": alpha mean_m |f_m - e_y|}``."""
        self.adapt(student=student, teachers=teachers)
        sensors, embeddings = sensors_of(student), self.embeddings(functional.promote(student.logits))
        ce = [self.label_loss(logits_of(student, sensor), target) for sensor in sensors]
        semantic = []
        for sensor in sensors:
            vector = self.feature(student, vector_of(student, sensor), "the net")
            vector = self.adapted("semantic", vector) if "semantic" in self.adapters else vector
            semantic.append(functional.class_semantic_distance(vector, target, embeddings))
        return {"ce": torch.stack(ce).mean(), "semantic": self.semantic_weight * torch.stack(semantic).mean()}


class SAKDNTeacher(TeacherFree, objective=SAKDNTeacherObjective):
    """Train a net of several sensors towards labels and class embeddings, as a teacher of `SAKDN`.

    The class embeddings of a `SensorFusion` net are kept in the net (``class_embeddings``), and so in its checkpoint,
    where `SAKDN` finds them.

    Args:
        net: a `SensorFusion`, or any net, which counts as one sensor.

    Example:
        >>> from kdlab.nets import SensorFusion
        >>> SAKDNTeacher(SensorFusion({"acc": 3, "gyro": 3}, num_classes=4)).net.semantic_size
        4
    """

    def build(self, windows: Windows) -> None:
        """Check net and class embeddings against each other, and make the adapters.

        Raises:
            InputError: naming the lengths that differ.
        """
        self.try_objective(windows)
        self._keep_embeddings()

    @torch.no_grad()
    def _keep_embeddings(self) -> None:
        """Copy the class embeddings into a net that has room for them."""
        kept, objective = embeddings_of(self.net), self.objective
        if kept is not None and isinstance(objective, SAKDNTeacherObjective):
            kept.copy_(objective.embeddings(kept.T))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Copy a learned table into the net."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if "classes" in self.objective.adapters:
            self._keep_embeddings()
