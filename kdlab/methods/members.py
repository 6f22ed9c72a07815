"""Teachers that are made of several nets, and that a method, a cache and a checkpoint take for one."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.objective import Objective
from kdlab.types import Batch, InputError, Output, Windows


class TeacherOfMembers(Teacher):
    """Base of teachers that are made of several: the members are loaded, checked and run, and give one output.

    The output has logits alone: features of different nets have different coordinates, so terms that read them are
    refused. A subclass combines the members' logits (:meth:`combine`).

    Args:
        members: name -> `Teacher`, one at least; they may be made of several themselves.

    Raises:
        InputError: for no members, or something that is no teacher.
    """

    def __init__(self, members: Mapping[str, Teacher]) -> None:
        kind = type(self).__name__
        if not isinstance(members, Mapping) or not members or not all(isinstance(m, Teacher) for m in members.values()):
            raise InputError(
                f"{kind}: members must be {{name: Teacher(...)}} with one at least, but got {members!r:.200}. Add some."
            )
        first = next(iter(members.values()))
        super().__init__(checkpoint="of its members")  # it is theirs
        self.checkpoint, self.view, self.named_physical = None, first.view, first.named_physical
        self._members = nn.ModuleList(members.values())
        self._names = tuple(map(str, members))

    @property
    def members(self) -> dict[str, Teacher]:
        """Name -> member."""
        return {n: m for n, m in zip(self._names, self._members, strict=True) if isinstance(m, Teacher)}

    def load(self, files: Sequence[str] = ("teacher.ckpt", "best.ckpt"), name: str = "") -> Self:
        """Read the weights of all members, once."""
        if self.loaded:
            return self
        for key, member in self.members.items():
            member.load(files, f"{name}/{key}" if name else key)
        if len(found := {member.num_classes for member in self.members.values()}) > 1:
            numbers = ", ".join(str(number) for number in sorted(number or 0 for number in found))
            raise InputError(
                f"teacher {name!r}: members must have the same classes, but have {numbers}. Train them on the same "
                "ones, or give them a class_map."
            )
        self.loaded = True
        self._rehash()
        self.eval()
        return self

    def _rehash(self) -> None:
        parts = "".join(member.hash for member in self.members.values())
        self.hash = hashlib.sha256(f"{parts}{self.made}".encode()).hexdigest()[:16]

    @property
    def num_classes(self) -> int | None:
        """Number of classes of its output; None before it is loaded."""
        return next(iter(self.members.values())).num_classes

    @property
    def views(self) -> tuple[str, ...]:
        """The keys of a batch that its members read."""
        return tuple(dict.fromkeys(view for member in self.members.values() for view in member.views))

    def parts(self, name: str) -> list[tuple[str, Teacher]]:
        """The single nets of all members."""
        return [part for key, member in self.members.items() for part in member.parts(f"{name}/{key}")]

    def bind(self, windows: Windows, name: str) -> None:
        """Learn which windows all members will see."""
        for key, member in self.members.items():
            member.bind(windows, f"{name}/{key}")
        self._rehash()

    def has_other_classes(self, student: Backbone, fingerprint: Mapping[str, Any] | None) -> bool:
        """Whether the logits of a member are not those of a student's classes."""
        return any(member.has_other_classes(student, fingerprint) for member in self.members.values())

    def check_split(self, fingerprint: Mapping[str, Any] | None, name: str, other_classes: bool = False) -> None:
        """Refuse a member that was trained on another split, see :meth:`Teacher.check_split`."""
        for key, member in self.members.items():
            member.check_split(fingerprint, f"{name}/{key}", other_classes)

    def check_objective(self, objective: Objective, name: str) -> None:
        """Refuse terms that read features.

        Raises:
            InputError: naming the taps.
        """
        if taps := objective.needs_by_name([name]).get(name):
            raise InputError(
                f"teacher {name!r}: {type(self).__name__} gives logits alone, since features of different nets have "
                f"different coordinates, but {type(objective).__name__} reads {', '.join(taps)}. Use KD, DKD, DIST, "
                "NKD or another method of logits, or a single Teacher."
            )

    @abstractmethod
    def combine(self, logits: Mapping[str, Tensor], index: Tensor | None) -> Tensor:
        """One tensor of logits ``(B, K)`` from the members'.

        Args:
            logits: name of a member -> ``(B, K)``, float32 at least.
            index: of training windows, ``(B,)``; None for windows of other people.
        """

    def of_training(self, batch: Batch) -> Output:
        """The output for a batch of training windows."""
        logits = {name: _promoted(m.of_training(batch).logits) for name, m in self.members.items()}
        return Output(self.combine(logits, batch.index), {})

    def of_held_out(self, batch: Batch) -> Output:
        """The output for a batch of other people's windows."""
        logits = {name: _promoted(m.of_held_out(batch).logits) for name, m in self.members.items()}
        return Output(self.combine(logits, None), {})

    def forward(self, x: Tensor) -> Output:
        """Not defined: an output needs the batch, see :meth:`of_training`."""
        raise InputError(
            f"{type(self).__name__}: reads batches, not single views. Call of_training(batch) or of_held_out(batch)."
        )

    def described(self) -> dict[str, Any]:
        """What a student's checkpoint holds of it: of which members it is made, and how."""
        members = {name: member.described() for name, member in self.members.items()}
        return {
            "class": type(self).__name__,
            "view": self.view,
            "hash": self.hash,
            "made": self.made,
            "members": members,
        }


def _promoted(logits: Tensor) -> Tensor:
    return logits.float() if logits.element_size() < 4 else logits


def mean_of(logits: Mapping[str, Tensor], weights: Tensor) -> Tensor:
    """The weighted mean of the members' logits for each window, which leaves those of a single member as they are.

    Args:
        logits: name of a member -> ``(B, K)``.
        weights: ``(B, M)`` or ``(M,)``, at least 0; a member of weight 0 is not read, whatever it holds.

    >>> logits = {"a": torch.tensor([[1.0, 3.0]]), "b": torch.tensor([[2.0, float("nan")]])}
    >>> mean_of(logits, torch.tensor([[2.0, 0.0]]))
    tensor([[1., 3.]])
    """
    stacked = torch.stack(list(logits.values()), 1)  # (B, M, K)
    w = weights.to(stacked.dtype).expand(len(stacked), -1)[..., None]
    return torch.where(w > 0, w * stacked, torch.zeros_like(stacked)).sum(1) / w.sum(1)
