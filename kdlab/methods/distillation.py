"""Distillation: a student learns from frozen teachers, each on its own view of the same window."""

from __future__ import annotations

import re
import sys
import warnings
from itertools import islice
from typing import Any, ClassVar

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from kdlab import distributed
from kdlab.cache import Answers, TeacherCache
from kdlab.methods.base import Method, sgd
from kdlab.methods.caching import ask_all, check_cache
from kdlab.methods.checkpoints import KEPT_FILES
from kdlab.methods.dry_run import leave_out_adapters, try_objective
from kdlab.methods.teacher import Teacher
from kdlab.methods.view_checks import check_view, view_settings
from kdlab.methods.windows import lacks, windows_in
from kdlab.nets.base import Backbone, MemoryFormat
from kdlab.objective import Objective, SoftTargets, WeighedTeachers
from kdlab.types import Batch, InputError, Output, Windows


class Distillation(Method):
    """Train a student with any `Objective` over any number of named teachers.

    The teachers are loaded when the fit begins, checked against the data's split, and their validation accuracy is
    logged once as ``teacher/<name>/val_accuracy``. Validation, test and prediction ask the student alone.

    Args:
        student: the net that is trained.
        teachers: name -> `Teacher`; objectives weigh and pick teachers by these names.
        objective: turns outputs into named terms; `SoftTargets` by default.
        student_view: name of the view that the student reads.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes the learning-rate schedule from the optimiser, stepped once an epoch.
        student_init: checkpoint or run folder of the same net trained from scratch on the same split, to start from
            (the wearable papers' "annealing strategy"); compare with a scratch student trained equally long.
        cache: ask each teacher once for each training window and keep what it says; ``None`` asks in every step.
        compile: compile the student for the fit, see `Method`.
        memory_format: how the student's features lie in memory, see `Method`.

    Raises:
        InputError: when there are no teachers, or (as the fit begins) a teacher, the data and the objective do not fit.
    """

    init_argument: ClassVar[str] = "student_init"
    #: the files that a teacher's run folder is searched for, in this order
    teacher_files: ClassVar[tuple[str, ...]] = KEPT_FILES

    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        objective: Objective | None = None,
        *,
        student_view: str = "raw",
        optimizer: OptimizerCallable = sgd,
        scheduler: LRSchedulerCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
    ) -> None:
        super().__init__(student, student_view, optimizer, scheduler, student_init, compile, memory_format)
        if not teachers:
            raise InputError(f"{type(self).__name__}: expected at least one teacher, got none.")
        wrong = [n for n, t in teachers.items() if not isinstance(t, Teacher) or not re.fullmatch(r"[A-Za-z]\w*", n)]
        if wrong or set(teachers) & set(dir(torch.nn.ModuleDict)):
            raise InputError(
                f"{type(self).__name__}: expected teachers={{name: Teacher(...)}} with names of letters, digits and _ "
                f"(and not train, keys, ...), got {teachers!r:.200}."
            )
        self.objective = objective if objective is not None else SoftTargets()
        fixed = self.objective.weights if isinstance(self.objective, WeighedTeachers) else None
        if fixed is not None and abs(sum(fixed.values()) - 1) > 1e-3:
            rank_zero_warn(
                f"{type(self).__name__}: the weights of the teachers sum to {sum(fixed.values()):g}, not to 1, and are "
                f"used as they are: {fixed}."
            )
        self.teachers = torch.nn.ModuleDict(teachers)
        self.cache = cache
        self._answers: Answers | None = None
        #: what student and teachers said of empty windows before the fit, as shapes; None where no shape was known
        self.tried: tuple[Output, dict[str, Output]] | None = None
        self._majority, self._broken = 0.0, dict.fromkeys(teachers, 0)  # of the validation windows, with the accuracies

    @property
    def student(self) -> Backbone:
        """The net that is trained."""
        return self.net

    def check_teacher(self, name: str, provenance: dict[str, Any]) -> None:
        """Hook: refuse a teacher by what is known of how it was trained (``stopped_early``, ``epoch``, ``reason``)."""

    def check_data(self, windows: Windows) -> None:
        """Check the sizes of batches, and the names of the teachers, against the objective."""
        for size in batch_sizes(windows):
            self.objective.check(batch_size=size, teachers=self.teachers)

    def load_teachers(self, windows: Windows) -> None:
        """Load the teachers, and check them against the student, the data and the cache.

        Raises:
            InputError: naming the teacher and what does not fit.
        """
        for name, teacher in self.named_teachers():
            teacher.load(self.teacher_files, name)
            assert teacher.net is not None
            self.check_teacher(name, teacher.description.get("provenance", {}))
            if teacher.net.num_classes != self.net.num_classes:
                raise InputError(
                    f"teacher {name!r} has {teacher.net.num_classes} classes, the student {self.net.num_classes}. "
                    "Take a teacher that was trained on the same classes."
                )
            check_view(f"teacher {name!r}", teacher.view, teacher.net, windows)
            teacher.check_split(windows.fingerprint, name)
            trained = teacher.description.get("view_settings")
            teacher.check_view_settings(view_settings(windows, teacher.view, trained), name)
        if self.cache is not None:
            check_cache(self.cache, self.objective, dict(self.named_teachers()), windows)

    def build(self, windows: Windows) -> None:
        """Put empty windows through student, teachers and objective; adapters are made from the outputs."""
        own = windows.view_shape(self.view)
        if own is None:
            return
        nets: dict[str, tuple[Backbone, tuple[int, ...]]] = {}
        for name, teacher in self.named_teachers():
            shape = windows.view_shape(teacher.view)
            if teacher.net is not None and shape is not None:
                nets[name] = (teacher.net, shape)
        self.tried = try_objective(self.objective, (self.net, own), nets)

    def configure_model(self) -> None:
        """See that what the objective learns besides the student is there before the optimiser is made."""
        fitting = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting and not self.objective.ready:  # prepare knew no shapes
            raise InputError(
                f"{type(self.objective).__name__}: learns adapters, whose shapes are those of the nets' features, but "
                "plain loaders do not say what shape a view has. Use a data module, such as kdlab's, or call "
                "objective.adapt(student=..., teachers=...) with the nets' outputs before the fit."
            )

    def named_teachers(self) -> list[tuple[str, Teacher]]:
        """The teachers with their names."""
        return [(name, teacher) for name, teacher in self.teachers.items() if isinstance(teacher, Teacher)]

    def on_fit_start(self) -> None:
        """With a cache, ask the teachers about the training windows, and have their views computed no more."""
        super().on_fit_start()
        # frozen teachers are meant to be in evaluation mode: Lightning need not warn of it
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
        if self.cache is not None:
            self._answers = ask_all(self.cache, self)
            windows_in(self.trainer).skip_views({teacher.view for _, teacher in self.named_teachers()} - {self.view})

    def on_fit_end(self) -> None:
        """Let go of what the teachers said."""
        super().on_fit_end()
        self._answers = None

    def on_train_start(self) -> None:
        """Ask the teachers once for the validation windows, and log how good each is."""
        super().on_train_start()
        if not self.trainer.val_dataloaders:
            return
        for name, accuracy in self._accuracies().items():
            teacher = dict(self.named_teachers())[name]
            rank_zero_info(f"teacher {name!r} ({teacher.view}): validation accuracy {accuracy:.4f}")
            teacher.check_outputs(name, accuracy, self._majority, self._broken[name])
            for logger in self.trainer.loggers:
                logger.log_metrics({f"teacher/{name}/val_accuracy": accuracy}, step=self.trainer.global_step)

    @torch.no_grad()
    def _accuracies(self) -> dict[str, float]:
        """The part of the validation windows that each teacher gets right, in one pass over their views."""
        teachers = dict(self.named_teachers())
        windows = windows_in(self.trainer)
        loader: Any = self.trainer.val_dataloaders  # leaves out the views that only teachers read, where it can
        if not lacks(windows, "ordered_loader"):
            loader = windows.ordered_loader("val", sorted({teacher.view for teacher in teachers.values()}))
        right = torch.zeros(2 * len(teachers) + 1, device=self.device)  # and windows with outputs that are not finite
        classes = torch.zeros(self.net.num_classes, device=self.device)
        precision = self.trainer.precision_plugin
        for batch in islice(loader, int(min(self.trainer.num_val_batches[0], sys.maxsize))):
            batch = precision.convert_input(self.transfer_batch_to_device(batch, self.device, 0))
            keep = batch.index >= 0
            with precision.val_step_context():
                logits = [teacher(batch.views[teacher.view]).logits for teacher in teachers.values()]
            hits = [x.argmax(1) == batch.target for x in logits] + [~x.isfinite().all(1) for x in logits]
            right += torch.stack([(hit & keep).sum() for hit in hits] + [keep.sum()])
            classes.scatter_add_(0, batch.target, keep.float())
        *counts, count = distributed.total(right).tolist()
        self._majority = float(distributed.total(classes).max()) / max(count, 1)
        counts, broken = counts[: len(teachers)], counts[len(teachers) :]
        self._broken = {name: int(count) for name, count in zip(teachers, broken, strict=True)}
        return {name: hits / max(count, 1) for name, hits in zip(teachers, counts, strict=True)}

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """Ask the teachers and weigh their answers against the student's."""
        terms: dict[str, Tensor] = self.objective(
            student=student, teachers=self.ask_teachers(batch), target=batch.target
        )
        return terms

    def ask_teachers(self, batch: Batch) -> dict[str, Output]:
        """What the teachers say of a batch, now or earlier."""
        if self._answers is None:
            return {name: teacher(batch.views[teacher.view]) for name, teacher in self.named_teachers()}
        everyone = None if distributed.world_size() == 1 else distributed.gather(batch.index)
        return dict(self._answers.read(batch.index, everyone))

    def settings(self) -> dict[str, Tensor]:
        """The objective's temperature and weights, and what it observed."""
        return self.objective.settings() | self.objective.observed()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the objective's adapters where nothing is going to be learnt."""
        super().on_load_checkpoint(checkpoint)
        leave_out_adapters(checkpoint, self.objective)

    def describe(self) -> dict[str, Any]:
        """Also where the teachers came from."""
        teachers = {
            name: {
                "view": t.view,
                "view_settings": t.description.get("view_settings"),
                "file": t.file,
                "hash": t.hash,
                "provenance": t.description.get("provenance", {}),
            }
            for name, t in self.named_teachers()
        }
        return super().describe() | {"teachers": teachers}


def batch_sizes(windows: Windows) -> list[int | None]:
    """The sizes that training batches have, the last, smaller one included where it is not dropped."""
    size = windows.batch_size
    if size is None or windows.drop_last or not windows.counts:
        return [size]
    tail = windows.counts["train"]["windows"] % size
    return [size, tail] if tail else [size]
