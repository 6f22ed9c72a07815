"""How teachers are asked about all training windows, for :class:`~kdlab.cache.TeacherCache`."""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from kdlab.cache import Answers, Question, TeacherCache, gather_answers
from kdlab.cache import size as as_size
from kdlab.distributed import world_size
from kdlab.files import part_prefix, remove_leftovers
from kdlab.methods.teacher import Teacher
from kdlab.methods.windows import lacks, name_of, windows_in
from kdlab.objective import Objective
from kdlab.types import Batch, InputError, Output, Windows

if TYPE_CHECKING:
    from kdlab.methods.distillation import Distillation

_READ_OF_DATA = ("training_view", "train_index", "batches", "skip_views", "view_shape")


def check_cache(cache: TeacherCache, objective: Objective, teachers: Mapping[str, Teacher], windows: Windows) -> None:
    """Refuse what cannot be cached, before anything is trained or written.

    Raises:
        InputError: for batches without a data module, a teacher whose answers depend on the batch, an augmentation
            before a teacher, or a budget that is too small.
    """
    for name, teacher in teachers.items():
        if teacher.net is not None and teacher.net.batch_relational:
            raise InputError(
                f"cache: what teacher {name!r} ({type(teacher.net).__name__}) says of a window depends on its batch, "
                "so it cannot be kept. Train without the cache."
            )
    with torch.no_grad():
        questions = _questions(cache, objective, teachers, windows)
        cache.plan(questions, len(windows.train_index))


def ask_all(cache: TeacherCache, method: Distillation) -> Answers:
    """Ask all teachers about all training windows, on the first process; the others wait, and read what it wrote.

    Raises:
        InputError: on every process, when the budget is too small or there is no room.
    """
    trainer = method.trainer
    strategy = trainer.strategy
    folder, made = cache.folder, ""
    if folder is None and trainer.world_size > 1:
        if trainer.is_global_zero:
            remove_leftovers(tempfile.gettempdir())
            made = tempfile.mkdtemp(prefix=part_prefix())
        folder = strategy.broadcast(made)
    gather = functools.partial(_gather, cache, method, folder)
    answers: Answers | None = None
    failure: Exception | None = None
    if trainer.is_global_zero:
        try:
            answers = gather()
        except Exception as error:  # the others wait: they are told, whatever it is
            failure = error
            if made:
                shutil.rmtree(made, ignore_errors=True)
    message = strategy.broadcast(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    if message is not None:
        raise InputError(message)
    answers = gather() if answers is None else answers
    if folder is None:
        answers = answers.to(method.device)
    if made:
        weakref.finalize(answers, shutil.rmtree, made, ignore_errors=True)
    plan = answers.plan
    where = "in memory" if folder is None else f"in {folder}"
    asked = ", ".join(answers.asked)
    how = f"asked {asked} ({as_size(plan.scratch_bytes)} of room meanwhile)" if asked else "all of it was there"
    rank_zero_info(f"teacher cache: {as_size(plan.bytes)} {where} ({plan}); {how}")
    return answers


def _gather(cache: TeacherCache, method: Distillation, folder: str | None) -> Answers:
    windows = windows_in(method.trainer)
    plugin = method.trainer.precision_plugin

    def deliver(batch: Batch) -> Batch:
        ready: Batch = method.transfer_batch_to_device(plugin.convert_input(batch), method.device, 0)
        return ready

    teachers = dict(method.named_teachers())
    setting = f"{method.trainer.precision} on {method.device.type}"
    with torch.no_grad(), plugin.forward_context():
        questions = _questions(cache, method.objective, teachers, windows, setting, deliver)
        return gather_answers(cache, questions, windows.train_index, folder)


def _questions(
    cache: TeacherCache,
    objective: Objective,
    teachers: Mapping[str, Teacher],
    windows: Windows,
    precision: str = "",
    deliver: Callable[[Batch], Batch] = lambda batch: batch,
) -> dict[str, Question]:
    size = windows.batch_size
    if size is None or lacks(windows, *_READ_OF_DATA):
        raise InputError(
            "cache: needs a data module that can go through its training windows in order, such as kdlab's, but got "
            f"{name_of(windows)}. Use one, or train without cache."
        )
    needs = objective.needs(teachers)
    questions = {}
    for name, teacher in teachers.items():
        seen = dict(windows.training_view(teacher.view))
        changes = seen.pop("augmentation")
        if changes is not None and cache.teacher_input != "clean":
            raise InputError(
                f"cache: teacher {name!r} reads view {teacher.view!r}, which is different in every epoch ({changes}), "
                "so its answers cannot be kept. Set teacher_input='clean' to ask it about the window itself, or leave "
                "out what changes it, or the cache."
            )
        assert teacher.net is not None  # loaded
        key = {
            **seen,
            "teacher": teacher.hash,
            "net": teacher.net.spec,
            "precision": precision if teacher.precision is None else f"{teacher.precision} within {precision}",
            "memory_format": teacher.net.memory_format,
            "batch_size": size,
            "processes": world_size(),
        }
        outputs = functools.partial(_outputs, teacher, windows, size, deliver)
        zeros = torch.zeros(1, *(windows.view_shape(teacher.view) or ()))
        probe = teacher(_deliver_view(zeros, teacher.view, deliver))
        questions[name] = Question(key, needs.get(name, {}), probe, outputs, size * world_size())
    return questions


def _deliver_view(x: Tensor, view: str, deliver: Callable[[Batch], Batch]) -> Tensor:
    nothing = torch.zeros(len(x), dtype=torch.int64)
    return deliver(Batch({view: x}, nothing, nothing)).views[view]


def _outputs(teacher: Teacher, windows: Windows, full: int, deliver: Callable[[Batch], Batch]) -> Iterator[Output]:
    """Answers in batches of the training's size; the last one is filled up with zeros, which are not handed on."""
    for batch in windows.batches("train", full, views=[teacher.view]):
        x = batch.views[teacher.view]
        count = len(x)
        if count < full:
            x = torch.cat([x, x.new_zeros(full - count, *x.shape[1:])])
        said = teacher(_deliver_view(x, teacher.view, deliver))
        yield Output(said.logits[:count], {tap: feature[:count] for tap, feature in said.features.items()})
