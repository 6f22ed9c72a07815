"""Outputs of frozen teachers that a study's fits have in common, found by the exact input."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import torch
from torch import Tensor

from kdlab import reuse
from kdlab.methods.teacher import Teacher
from kdlab.types import Batch, Output


def output_of(teacher: Teacher, batch: Batch, setting: str, *, held_out: bool = False) -> Output:
    """The output of a teacher for a batch; within :func:`kdlab.reuse.reusing` it is computed once.

    It is found by the weights of the teacher and the bytes of the batch. Outputs on a GPU are computed each time, and
    so are those of a teacher of several members, of a class of the user's own, and of a net that draws random numbers
    in evaluation mode.

    Args:
        teacher: loaded.
        batch: with its view, or with those of its members.
        setting: precision of the trainer.
        held_out: the windows are those of other people than in training, and the logits alone are needed.

    Returns:
        An output that no one changes.
    """
    if type(teacher) is not Teacher or teacher.net is None:
        return teacher.of_held_out(batch) if held_out else teacher.of_training(batch)
    x = batch.views[teacher.view]
    if not reuse.active() or x.device.type != "cpu":
        return _made(teacher, x, held_out)
    key = _key(teacher, x, setting, held_out)
    found: Output | None = reuse.find(key)
    if found is None:
        before = torch.get_rng_state()
        found = _made(teacher, x, held_out)
        if torch.equal(before, torch.get_rng_state()):
            reuse.keep(key, found, _bytes(found))
    return found


def _made(teacher: Teacher, x: Tensor, logits_only: bool) -> Output:
    output: Output = teacher(x)
    return Output(output.logits, {}) if logits_only else output


def _key(teacher: Teacher, x: Tensor, setting: str, logits_only: bool) -> Hashable:
    net = teacher.net
    assert net is not None
    return (
        "teacher output",
        *(teacher.hash, repr(net.spec), repr(teacher.class_map), setting, teacher.precision, net.memory_format),
        repr(None if teacher.before is None else teacher.before.plain),
        *(torch.get_num_threads(), torch.is_inference_mode_enabled(), logits_only),
        torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None,
        *(tuple(x.shape), tuple(x.stride()), x.dtype),
        hashlib.blake2b(x.contiguous().flatten().view(torch.uint8).numpy().tobytes(), digest_size=16).digest(),
    )


def _bytes(output: Output) -> int:
    return sum(tensor.nbytes for tensor in (output.logits, *output.features.values()))
