"""Teachers on all training windows, for :class:`~kdlab.cache.TeacherCache`."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from kdlab.cache import CachedOutputs, Request, TeacherCache, fill_cache, size
from kdlab.distributed import world_size
from kdlab.files import part_prefix, remove_leftovers
from kdlab.methods.kept_outputs import output_of
from kdlab.methods.teacher import Teacher
from kdlab.methods.windows import lacks, name_of, windows_in
from kdlab.nets.alone import is_batch_relational
from kdlab.objective import Objective
from kdlab.types import Batch, InputError, Output, Windows

_READ_OF_DATA = ("training_view", "train_index", "batches", "skip_views", "view_shape")


def check_cache(cache: TeacherCache, objective: Objective, teachers: Mapping[str, Teacher], windows: Windows) -> None:
    """Refuse what cannot be cached, before anything is trained or written.

    Raises:
        InputError: for batches without a data module, a teacher whose outputs depend on the batch, an augmentation
            before a teacher, or a budget that is too small.
    """
    for name, part in (part for key, teacher in teachers.items() for part in teacher.parts(key)):
        if part.net is not None and is_batch_relational(part.net):
            raise InputError(
                f"cache: the output of teacher {name!r} ({type(part.net).__name__}) for a window depends on its "
                "batch, so it cannot be cached. Train without the cache."
            )
    with torch.no_grad():
        cache.plan(_requests(cache, objective, teachers, windows), len(windows.train_index))


def cached_outputs(
    cache: TeacherCache, objective: Objective, teachers: Mapping[str, Teacher], module: LightningModule
) -> CachedOutputs:
    """Run all teachers on all training windows, on the first process; the others wait, and read its files.

    Args:
        cache: the setting.
        objective: determines what is read of the outputs.
        teachers: loaded teachers by name.
        module: the method that trains, with its trainer.

    Raises:
        InputError: on every process, when the budget is too small or the space does not suffice.
    """
    trainer = module.trainer
    strategy = trainer.strategy
    folder, made = cache.folder, ""
    if folder is None and trainer.world_size > 1:
        if trainer.is_global_zero:
            remove_leftovers(tempfile.gettempdir())
            made = tempfile.mkdtemp(prefix=part_prefix())
        folder = strategy.broadcast(made)
    fill = functools.partial(_fill, cache, objective, teachers, module, folder)
    outputs: CachedOutputs | None = None
    failure: Exception | None = None
    if trainer.is_global_zero:
        try:
            outputs = fill()
        except Exception as error:  # the others wait for its message, whichever error it is
            failure = error
            if made:
                shutil.rmtree(made, ignore_errors=True)
    message = strategy.broadcast(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    if message is not None:
        raise InputError(message)
    outputs = fill() if outputs is None else outputs
    if folder is None:
        outputs = outputs.to(module.device)
    if made:
        weakref.finalize(outputs, shutil.rmtree, made, ignore_errors=True)
    plan = outputs.plan
    where = "in memory" if folder is None else f"in {folder}"
    computed = ", ".join(outputs.computed)
    how = f"computed {computed} ({size(plan.scratch_bytes)} of space meanwhile)" if computed else "all of it was there"
    rank_zero_info(f"teacher cache: {size(plan.bytes)} {where} ({plan}); {how}")
    return outputs


def _fill(
    cache: TeacherCache,
    objective: Objective,
    teachers: Mapping[str, Teacher],
    module: LightningModule,
    folder: str | None,
) -> CachedOutputs:
    windows, plugin = windows_in(module.trainer), module.trainer.precision_plugin

    def deliver(batch: Batch) -> Batch:
        ready: Batch = module.transfer_batch_to_device(plugin.convert_input(batch), module.device, 0)
        return ready

    setting = f"{module.trainer.precision} on {module.device.type}"
    with torch.no_grad(), plugin.forward_context():
        requests = _requests(cache, objective, teachers, windows, setting, deliver)
        return fill_cache(cache, requests, windows.train_index, folder, check=module.trainer.is_global_zero)


def _requests(
    cache: TeacherCache,
    objective: Objective,
    teachers: Mapping[str, Teacher],
    windows: Windows,
    precision: str = "",
    deliver: Callable[[Batch], Batch] = lambda batch: batch,
) -> dict[str, Request]:
    batch_size = windows.batch_size
    if batch_size is None or lacks(windows, *_READ_OF_DATA):
        raise InputError(
            "cache: the data module must give its training windows in order, as kdlab's do, but got "
            f"{name_of(windows)}. Use one, or train without cache."
        )
    needs = objective.needs_by_name(teachers)
    requests = {}
    sizes = {"batch_size": batch_size, "processes": world_size()}
    for name, teacher in teachers.items():
        keys = [_key(key, part, windows, cache, precision) for key, part in teacher.parts(name)]
        made = {"made": teacher.made, "members": len(keys), "of": _digest(keys)} if teacher.made else keys[0]
        outputs = functools.partial(_outputs, teacher, windows, batch_size, deliver, precision)
        zeros = {view: torch.zeros(1, *(windows.view_shape(view) or ())) for view in teacher.views}
        probe = teacher.of_held_out(_deliver(zeros, torch.zeros(1, dtype=torch.int64), deliver))
        requests[name] = Request({**made, **sizes}, needs.get(name, {}), probe, outputs, batch_size * world_size())
    return requests


def _key(name: str, teacher: Teacher, windows: Windows, cache: TeacherCache, precision: str) -> dict[str, Any]:
    """What the outputs of a single net depend on.

    Raises:
        InputError: for a view that is changed at random.
    """
    seen = dict(windows.training_view(teacher.view))
    changes = seen.pop("augmentation")
    if changes is not None and cache.teacher_input != "clean":
        raise InputError(
            f"cache: teacher {name!r} reads view {teacher.view!r}, which is different in every epoch ({changes}), "
            "so its outputs cannot be cached. Set teacher_input='clean' to use the unchanged window, or leave out "
            "the random change or the cache."
        )
    assert teacher.net is not None  # loaded
    key: dict[str, Any] = {
        **seen,
        "teacher": teacher.hash,
        "net": teacher.net.spec,
        "precision": precision if teacher.precision is None else f"{teacher.precision} within {precision}",
        "memory_format": teacher.net.memory_format,
    }
    if teacher.class_map is not None:
        key["class_map"] = teacher.class_map
    if teacher.physical:
        key["physical"] = None if teacher.before is None else teacher.before.plain
    return key


def _digest(keys: list[dict[str, Any]]) -> str:
    return hashlib.blake2b(json.dumps(keys, sort_keys=True).encode(), digest_size=16).hexdigest()


def _deliver(views: dict[str, Tensor], index: Tensor, deliver: Callable[[Batch], Batch]) -> Batch:
    return deliver(Batch(views, torch.zeros_like(index), index))


def _outputs(
    teacher: Teacher, windows: Windows, full: int, deliver: Callable[[Batch], Batch], precision: str
) -> Iterator[Output]:
    """Outputs in batches of the training's size; the last batch is padded with zeros, whose outputs are dropped."""
    for batch in windows.batches("train", full, views=list(teacher.views)):
        views, index, count = batch.views, batch.index, len(batch.index)
        if count < full:
            views = {view: torch.cat([x, x.new_zeros(full - count, *x.shape[1:])]) for view, x in views.items()}
            index = torch.cat([index, index[:1].expand(full - count)])
        output = output_of(teacher, _deliver(views, index, deliver), precision)
        yield Output(output.logits[:count], {tap: feature[:count] for tap, feature in output.features.items()})
