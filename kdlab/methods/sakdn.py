r"""SAKDN: coupled sensor teachers transfer semantic vectors, ablation maps and soft targets.

The teachers are those of :mod:`kdlab.methods.sakdn_teacher`, one per sensor ``m``. Student:

.. math:: \mathrm{CE}(z_s, y) + \frac{\beta}{M |L|} \sum_{m, l} \mathrm{GSDM}(F_s^l, F_m^l)
    + \frac{\gamma}{M} \sum_m \overline{(A f_s - f_m)^2} + \frac{w_{st}}{M} \sum_m \mathrm{KD}(m, s)

with the semantic vectors ``f``. GSDM is :func:`kdlab.functional.ablation_distance` of the maps ``ReLU(w sum_c F_c)``;
``w`` is, per window and net, the distance between the embeddings of the class predicted for the window and of the class
predicted for an all-zero window (:func:`kdlab.functional.semantic_weight`); the linear layer ``A``, where lengths
differ, is trained with the student and dropped after the fit.

References:
    Y. Liu, K. Wang, G. Li, L. Lin, "Semantics-aware adaptive knowledge distillation for sensor-to-vision action
    recognition", IEEE Transactions on Image Processing 30, 2021, 10.1109/TIP.2021.3086590.
    Code: YangLiu9208/SAKDN@881a1b9.

Differences from the reference code:
    The student's maps keep their gradient (there they become numpy arrays, and GSDM trains nothing); maps of different
    size are interpolated; see the functions. All-zero windows have a forward pass of their own, in evaluation mode
    (there they are in the same pass, where they enter the batch norm's statistics and the gates). All nets read views
    of the same window (there every loader is shuffled separately). The similarity-preserving term of the paper's figure
    has weight 0 there, and is left out. The student, a video network on eight frames, and VGG16 on sensor images of 224
    pixels are replaced by nets of kdlab, with three taps by default, not five. The published class embeddings are sums
    of GloVe vectors of the words of a class's name, 300 values long, which a user may pass; a table that is trained
    with the teachers is the default. With one-hot ones the released weight ``"relative"`` is not defined, so
    ``"cosine"`` is the default. The student's semantic vector is its embedding behind ``A``; there it is the layer of
    300 values that its classifier reads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdlab.methods.class_embeddings import embeddings_of
from kdlab.methods.made import Distilled
from kdlab.methods.objective_calls import terms_of
from kdlab.methods.sakdn_objective import SAKDNObjective
from kdlab.methods.sensors import logits_of, sensors_of
from kdlab.methods.teacher import Teacher
from kdlab.methods.windows import windows_in
from kdlab.nets.alone import is_batch_relational
from kdlab.nets.base import Backbone
from kdlab.types import Batch, InputError, Output, Windows


class SAKDN(Distilled, objective=SAKDNObjective):
    """Distil semantic vectors, ablation maps and soft targets of sensor teachers into one student.

    The teacher is a `SensorFusion` net trained by `SAKDNTeacher`, or any other net, which counts as one sensor. The
    forward passes of an all-zero view (before its standardisation) are in evaluation mode and without gradients, those
    of the teachers once for each batch size, that of the student in every step: one window more.

    A `SensorFusion` teacher's output depends on the batch, so it cannot be cached.
    """

    def __init__(self, student: Backbone, teachers: dict[str, Teacher], **kwargs: Any) -> None:
        super().__init__(student, teachers, **kwargs)
        self._outputs_for_zeros: dict[tuple[str, int], dict[str, Tensor]] = {}

    def load_teachers(self, windows: Windows) -> None:
        """Also take the class embeddings of the teachers.

        Raises:
            InputError: for teachers that were trained towards different ones, or whose output cannot be cached.
        """
        for name, teacher in self.named_teachers():
            teacher.load(self.teacher_files, name)
        self._take_embeddings()
        super().load_teachers(windows)

    def on_fit_start(self) -> None:
        """Free the outputs of the teachers of another fit."""
        self._outputs_for_zeros.clear()
        super().on_fit_start()

    def _take_embeddings(self) -> None:
        objective = self.objective
        assert isinstance(objective, SAKDNObjective)
        tables = {name: embeddings_of(t.net) for name, t in self.named_teachers()}
        carried = {name: table for name, table in tables.items() if table is not None and table.any()}
        if objective.given:
            return
        if not carried:
            objective.use(None)  # one-hot, which relative weights refuse
            return
        first, *others = carried.values()
        if not all(torch.equal(first, other) for other in others):
            raise InputError(
                f"SAKDN: teachers {', '.join(carried)} were trained towards different class embeddings. Name the ones "
                "to use with class_embeddings=."
            )
        objective.use(first.to(self.device))

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """The terms of the objective; the logits for all-zero windows are features ``"ablated"``."""
        student = Output(student.logits, student.features | self._zeros_for_student(batch))
        teachers = self.teacher_outputs(batch)
        for name, output in teachers.items():
            output.features.update(self._zeros_for_teacher(name, batch))
        return terms_of(self.objective, batch, student, teachers)

    @torch.no_grad()
    def _zeros_for_student(self, batch: Batch) -> dict[str, Tensor]:
        was_training = self.net.training
        output = self.net.eval()(self._zeros(batch, self.view, self.net))
        self.net.train(was_training)
        return {"ablated": output.logits[:1]}

    @torch.no_grad()
    def _zeros_for_teacher(self, name: str, batch: Batch) -> dict[str, Tensor]:
        key = (name, len(batch.index))
        if key not in self._outputs_for_zeros:
            teacher = dict(self.named_teachers())[name]
            assert teacher.net is not None
            output = teacher(teacher.zeros(self._zeros(batch, teacher.view, teacher.net)))
            sensors = sensors_of(output)
            self._outputs_for_zeros[key] = {
                f"{sensor}/ablated" if sensor else "ablated": logits_of(output, sensor)[:1] for sensor in sensors
            }
        return self._outputs_for_zeros[key]

    def _zeros(self, batch: Batch, view: str, net: Backbone) -> Tensor:
        """All-zero windows: one, or as many as in the batch for a net whose output depends on the batch."""
        count = len(batch.index) if is_batch_relational(net) else 1
        if view in batch.views:
            like = batch.views[view]
            return like.new_zeros(count, *like.shape[1:])
        shape = windows_in(self.trainer).view_shape(view) or ()  # a cache leaves out the teachers' views
        return batch.views[self.view].new_zeros(count, *shape)
