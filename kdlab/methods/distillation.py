"""Distillation: a student learns from frozen teachers, each on its own view of the same window."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from kdlab import distributed
from kdlab.cache import CachedOutputs, TeacherCache
from kdlab.instances import check_instance
from kdlab.methods.base import Method, sgd
from kdlab.methods.caching import cached_outputs, check_cache
from kdlab.methods.calls import checked_call
from kdlab.methods.checkpoints import KEPT_FILES
from kdlab.methods.class_maps import ClassMap
from kdlab.methods.dry_run import LogitsAlone, leave_out_adapters, take_adapters, try_objective
from kdlab.methods.objective_calls import run_schedule, terms_of
from kdlab.methods.physical import bring_back, check_trainer
from kdlab.methods.plans import Interval
from kdlab.methods.schedules import OptimizerCallable, ScheduleCallable
from kdlab.methods.teacher import Teacher
from kdlab.methods.teacher_scores import Scores, validation_scores
from kdlab.methods.view_checks import check_dtype, check_view, view_settings
from kdlab.methods.windows import name_of, windows_in
from kdlab.nets.base import Backbone, MemoryFormat
from kdlab.objective import Objective
from kdlab.objectives import SoftTargets, WeightedTeachers
from kdlab.types import Batch, InputError, Output, Windows


class Distillation(Method):
    """Train a student with any `Objective` over any number of named teachers.

    The teachers are loaded when the fit begins, checked against the data's split, and their validation accuracy is
    logged once as ``teacher/<name>/val_accuracy``. Validation, test and prediction run the student alone.

    Args:
        student: the net that is trained; a plain ``torch.nn.Module`` is taken too, without taps.
        teachers: name -> `Teacher`; objectives weight and select teachers by these names.
        objective: turns outputs into named terms; `SoftTargets` by default.
        student_view: name of the view that the student reads.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes the learning-rate schedule from the optimiser, stepped once an epoch.
        student_init: checkpoint or run folder of the same net trained from scratch on the same split, to start from
            (the wearable papers' "annealing strategy"); compare with a scratch student trained equally long.
        cache: run each teacher once for each training window and keep its outputs; ``None`` runs it in every step.
        compile: compile the student for the fit, see `Method`.
        memory_format: how the student's features lie in memory, see `Method`.
        num_classes: number of classes of a plain ``torch.nn.Module``, see `Method`.
        scheduler_interval: step the schedule once an ``"epoch"`` or with every ``"step"``, see `Method`.
        init_lr: learning rate of a fit that starts from ``student_init``, see `Method`.

    Raises:
        InputError: when there are no teachers, or (as the fit begins) a teacher, the data and the objective do not fit.
    """

    takes_many_labels = True
    init_argument: ClassVar[str] = "student_init"
    #: the files that a teacher's run folder is searched for, in this order
    teacher_files: ClassVar[tuple[str, ...]] = KEPT_FILES

    @checked_call
    def __init__(
        self,
        student: Backbone,
        teachers: dict[str, Teacher],
        objective: Objective | None = None,
        *,
        student_view: str = "raw",
        optimizer: OptimizerCallable = sgd,
        scheduler: ScheduleCallable | None = None,
        student_init: str | None = None,
        cache: TeacherCache | None = None,
        compile: bool | str = False,
        memory_format: MemoryFormat | None = None,
        num_classes: int | None = None,
        scheduler_interval: Interval | None = None,
        init_lr: float | None = None,
    ) -> None:
        super().__init__(
            student,
            student_view,
            optimizer,
            scheduler,
            student_init,
            compile,
            memory_format,
            num_classes,
            scheduler_interval,
            init_lr,
        )
        if not teachers:
            raise InputError(f"{type(self).__name__}: teachers must have at least one teacher, but got none. Name one.")
        named = isinstance(teachers, Mapping) and all(
            isinstance(t, Teacher) and re.fullmatch(r"[A-Za-z]\w*", str(n)) for n, t in teachers.items()
        )
        if not named or set(teachers) & set(dir(torch.nn.ModuleDict)):
            raise InputError(
                f"{type(self).__name__}: teachers must be {{name: Teacher(...)}} with names of letters, digits and _ "
                f"(and not train, keys, ...), but got {teachers!r:.200}. Rename them."
            )
        who = type(self).__name__
        check_instance(f"{who}: cache", cache, TeacherCache, "for example cache=TeacherCache()")
        check_instance(f"{who}: objective", objective, Objective, "for example objective=SoftTargets()")
        self.objective = objective if objective is not None else SoftTargets()
        fixed = self.objective.weights if isinstance(self.objective, WeightedTeachers) else None
        if fixed is not None and abs(sum(fixed.values()) - 1) > 1e-3:
            rank_zero_warn(
                f"{type(self).__name__}: the weights of the teachers sum to {sum(fixed.values()):g}, not to 1, and are "
                f"used as they are: {fixed}."
            )
        self.teachers = torch.nn.ModuleDict(teachers)
        self.cache = cache
        self._cached: CachedOutputs | None = None
        self._filter: Any = None
        #: scores of the teachers on the validation windows; empty before a fit
        self.teacher_scores: dict[str, Scores] = {}
        #: outputs of student and teachers for all-zero windows before the fit, as shapes; None where none was known
        self.tried: tuple[Output, dict[str, Output]] | None = None

    @property
    def student(self) -> Backbone:
        """The net that is trained."""
        return self.net

    def check_teacher(self, name: str, provenance: dict[str, Any]) -> None:
        """Hook: refuse a teacher by the provenance of its weights (``stopped_early``, ``epoch``, ``reason``)."""

    def check_data(self, windows: Windows) -> None:
        """Check the sizes of batches, and the names of the teachers, against the objective."""
        for size in batch_sizes(windows):
            self.objective.check(batch_size=size, teachers=self.teachers)

    def load_teachers(self, windows: Windows) -> None:
        """Load the teachers, and check them against the student, the data and the cache.

        Raises:
            InputError: naming the teacher and what does not fit.
        """
        self.objective.other_classes = False  # of an earlier fit
        for name, teacher in self.named_teachers():
            teacher.load(self.teacher_files, name)
            teacher.check_objective(self.objective, name)
            for key, part in teacher.parts(name):
                self.check_teacher(name, part.description.get("provenance", {}))
                self._check_part(key, part, windows)
            others = not self.objective.needs_logits and teacher.has_other_classes(self.net, windows.fingerprint)
            self.objective.other_classes |= others
            teacher.check_split(windows.fingerprint, name, others)
            for key, part in teacher.parts(name):
                trained = part.description.get("view_settings")
                part.check_view_settings(view_settings(windows, part.view, trained), key)
                part.check_statistics(windows, key)
            teacher.bind(windows, name)
        if not windows.fingerprint:
            rank_zero_warn(
                f"{type(self).__name__}: the split of {name_of(windows)} is not known, so it cannot be checked that no "
                f"teacher ({', '.join(self.teachers)}) was trained on windows that are validated or tested here."
            )
        if self.cache is not None:
            check_cache(self.cache, self.objective, dict(self.named_teachers()), windows)

    def _check_part(self, name: str, teacher: Teacher, windows: Windows) -> None:
        """Check the labels, the classes and the view of a single net."""
        assert teacher.net is not None
        teacher.check_labels(name, self.many_labels)
        others = teacher.num_classes != self.net.num_classes
        if others and self.objective.needs_logits:
            raise InputError(
                f"teacher {name!r} must have the {self.net.num_classes} classes of the student, but has "
                f"{teacher.num_classes}. Take a teacher that was trained on the same classes, give this one a "
                "class_map, or take a method that reads features alone (kd_weight=0 of AT, SP, RKD, FitNet, ...)."
            )
        classes = windows.num_classes if others else teacher.num_classes
        if teacher.physical:
            check_trainer(f"teacher {name!r}", self._trainer)
            bring_back(f"teacher {name!r}", teacher.view, windows, needed=not teacher.named_physical)
        if teacher.precision in (None, "32"):
            check_dtype(f"teacher {name!r}", teacher.net, self._precision)
        check_view(f"teacher {name!r}", teacher.view, teacher.net, windows, classes)

    def build(self, windows: Windows) -> None:
        """Run student, teachers and objective on all-zero windows; adapters are made from the outputs."""
        own = windows.view_shape(self.view)
        if own is None:
            self.objective.adapt_without_features()
            if self.objective.ready:
                take_adapters(self.objective)
            return
        nets: dict[str, tuple[Backbone | LogitsAlone, tuple[int, ...]]] = {}
        maps: dict[str, ClassMap] = {}
        for name, teacher in self.named_teachers():
            first = teacher.parts(name)[0][1]  # those of a teacher made of several have the same classes
            shape = windows.view_shape(first.view)
            if first.net is not None and shape is not None:
                nets[name] = (first.net if first is teacher else LogitsAlone(first.net), shape)
            if first.class_map is not None:
                maps[name] = first.class_map
        tried = try_objective(self.objective, (self.net, own), nets, maps, self.many_labels)
        own_output, others, self._term_names = tried
        self.tried = own_output, others

    def setup(self, stage: str) -> None:
        """Also check that the objective has its adapters before the optimiser is made."""
        super().setup(stage)
        if stage == "fit" and not self.objective.ready:  # prepare knew no shapes
            raise InputError(
                f"{type(self.objective).__name__}: the adapters must be made before the fit from the shapes of the "
                "views, but plain loaders do not declare them. Use a data module, such as kdlab's, or call "
                "objective.adapt(student=..., teachers=...) with the nets' outputs before the fit."
            )

    def read_views(self, stage: str) -> dict[str, tuple[str, Backbone | None]]:
        """Also the views of the teachers in training, and these alone where they are scored."""
        taught = dict(self.named_teachers()) if stage in ("train", "teachers") else {}
        parts = [part for name, teacher in taught.items() for part in teacher.parts(name)]
        views = {t.view: (f"teacher {name!r}", t.net if t.loaded else None) for name, t in parts}
        return views if stage == "teachers" else views | super().read_views(stage)

    def named_teachers(self) -> list[tuple[str, Teacher]]:
        """The teachers with their names."""
        return [(name, teacher) for name, teacher in self.teachers.items() if isinstance(teacher, Teacher)]

    def on_fit_start(self) -> None:
        """With a cache, run the teachers on the training windows, and leave out their views from then on."""
        super().on_fit_start()
        # frozen teachers are meant to be in evaluation mode: Lightning need not warn of it
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
        self._filter = warnings.filters[0]
        if self.cache is not None:
            self._cached = cached_outputs(self.cache, self.objective, dict(self.named_teachers()), self)
            read = {view for _, teacher in self.named_teachers() for view in teacher.views}
            windows_in(self.trainer).skip_views(read - {self.view})

    def end_fit(self) -> None:
        """Free the cached outputs."""
        super().end_fit()
        self._warn_again()
        self._cached = None

    def _warn_again(self) -> None:
        warnings.filters[:] = [one for one in warnings.filters if one is not self._filter]  # type: ignore[index]
        self._filter = None

    def on_train_start(self) -> None:
        """Log the validation accuracy of each teacher."""
        super().on_train_start()
        self._warn_again()
        if not self.trainer.val_dataloaders:
            return
        teachers = dict(self.named_teachers())
        self.teacher_scores = validation_scores(self, teachers)
        for name, (accuracy, majority, broken) in self.teacher_scores.items():
            teachers[name].check_outputs(name, accuracy, majority, broken)
            if math.isnan(accuracy):  # it has other classes
                continue
            read = ", ".join(teachers[name].views)
            rank_zero_info(f"teacher {name!r} ({read}): validation accuracy {accuracy:.4f}")
            for logger in self.trainer.loggers:
                logger.log_metrics({f"teacher/{name}/val_accuracy": accuracy}, step=self.trainer.global_step)

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        """The terms of the objective on the outputs of student and teachers."""
        return terms_of(self.objective, batch, student, self.teacher_outputs(batch))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set what the objective's own schedule changes."""
        run_schedule(self, self.objective, batch)

    def teacher_outputs(self, batch: Batch) -> dict[str, Output]:
        """The outputs of the teachers for a batch, computed or cached."""
        if self._cached is None:
            return {name: teacher.of_training(batch) for name, teacher in self.named_teachers()}
        gathered = None if distributed.world_size() == 1 else distributed.gather(batch.index)
        return dict(self._cached.read(batch.index, gathered))

    def settings(self) -> dict[str, Tensor]:
        """The objective's temperature and weights, and what it observes."""
        return self.objective.settings() | self.objective.observed()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the objective's adapters where they are not made yet; a fit that makes them takes them up."""
        super().on_load_checkpoint(checkpoint)
        leave_out_adapters(checkpoint, self.objective)

    def describe_fit(self) -> dict[str, Any]:
        """Also the provenance of the teachers."""
        return super().describe_fit() | {"teachers": {name: t.described() for name, t in self.named_teachers()}}


def batch_sizes(windows: Windows) -> list[int | None]:
    """The sizes that training batches have, the last, smaller one included where it is not dropped."""
    size = windows.batch_size
    if size is None or windows.drop_last or not windows.counts:
        return [size]
    tail = len(windows.train_index) % size
    return [size, tail] if tail else [size]
