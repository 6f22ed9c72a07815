"""Scores of the teachers of a fit on its validation windows."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import torch

from kdlab import distributed
from kdlab.methods.input_sizes import InputSize, size_to_compare
from kdlab.methods.kept_outputs import output_of
from kdlab.methods.label_kinds import is_right, patterns
from kdlab.methods.receiving import Receiving, only_one
from kdlab.methods.teacher import Teacher
from kdlab.methods.windows import lacks, windows_in
from kdlab.nets.base import Backbone
from kdlab.types import Windows


class Scores(NamedTuple):
    """The scores of a teacher on the validation windows, over all processes.

    Attributes:
        accuracy: share of the windows that it classifies correctly; NaN for a teacher with other classes.
        majority: share of the most frequent class; with any number of labels per window, of the most frequent set.
        broken: number of windows for which its logits hold NaN or infinite values.
    """

    accuracy: float
    majority: float
    broken: int


@torch.no_grad()
def validation_scores(module: Receiving, teachers: Mapping[str, Teacher]) -> dict[str, Scores]:
    """Scores of the teachers, in one pass over the validation windows in their views.

    Args:
        module: the method that trains, with its trainer.
        teachers: loaded teachers by name.
    """
    trainer, windows = module.trainer, windows_in(module.trainer)
    loader: Any = only_one(trainer.val_dataloaders)  # leaves out the views that only teachers read, where it can
    if not lacks(windows, "ordered_loader"):
        loader = windows.ordered_loader("val", sorted({view for t in teachers.values() for view in t.views}))
    right = torch.zeros(2 * len(teachers) + 1, device=module.device)  # and windows with outputs that are not finite
    many, count = windows.many_labels is True, _classes(module, teachers)
    none = torch.zeros((0, count) if many else 0)
    classes = torch.zeros(patterns(none, count, many)[1], device=module.device)
    sizes = {name: _size_of(teacher, windows) for name, teacher in teachers.items()}
    precision = trainer.precision_plugin
    batches: Iterable[Any] = islice(loader, int(min(trainer.num_val_batches[0], sys.maxsize)))
    for given in batches:
        batch = module.received(given, "teachers")
        keep = batch.index >= 0
        for name, size in sizes.items():
            if size is not None:
                size.see(batch.views[teachers[name].view])
        with precision.val_step_context():
            setting = str(trainer.precision)
            logits = [output_of(t, batch, setting, held_out=True).logits for t in teachers.values()]
        hits = [is_right(x, batch.target, many) for x in logits] + [~x.isfinite().all(1) for x in logits]
        right += torch.stack([(hit & keep).sum() for hit in hits] + [keep.sum()])
        classes.scatter_add_(0, patterns(batch.target, batch.target.shape[-1], many)[0], keep.float())
    for name, size in sizes.items():
        net = teachers[name].net
        if size is not None and net is not None:
            size.compare(f"teacher {name!r}", net, teachers[name].description.get("fingerprint"))
    *counts, seen = distributed.total(right).tolist()
    majority = float(distributed.total(classes).max()) / max(seen, 1)
    correct, broken = counts[: len(teachers)], counts[len(teachers) :]
    return {
        name: Scores(hits / max(seen, 1) if _comparable(module, teachers[name]) else math.nan, majority, int(bad))
        for name, hits, bad in zip(teachers, correct, broken, strict=True)
    }


def _size_of(teacher: Teacher, windows: Windows) -> InputSize | None:
    """Where to add the windows that a teacher reads; None for one that scales them itself or has several nets."""
    if teacher.net is None or teacher.physical or teacher.mean is not None:
        return None
    return size_to_compare(teacher.net, teacher.description.get("fingerprint"), windows)


def _classes(module: Receiving, teachers: Mapping[str, Teacher]) -> int:
    """At least as many classes as the targets have."""
    own = [int(module.net.num_classes)] if isinstance(module.net, Backbone) else []
    return max([*own, *(teacher.num_classes or 0 for teacher in teachers.values())])


def _comparable(module: Receiving, teacher: Teacher) -> bool:
    """Does it have the classes of the student?"""
    here = windows_in(module.trainer).fingerprint
    return not isinstance(module.net, Backbone) or not teacher.has_other_classes(module.net, here)
