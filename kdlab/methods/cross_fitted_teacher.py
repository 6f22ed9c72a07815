"""Out-of-person soft targets: several teachers, of which each teaches the people whom it has not seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from kdlab.fingerprint import member_differences, unseen
from kdlab.methods.members import TeacherOfMembers, mean_of
from kdlab.methods.teacher import Teacher
from kdlab.methods.windows import lacks, name_of
from kdlab.nets.base import MemoryFormat
from kdlab.types import PHYSICAL, InputError, Windows

_READ_OF_DATA = ("train_index", "subject_of", "mix", "fingerprint")


class CrossFittedTeacher(TeacherOfMembers):
    r"""Soft targets of each person from teachers that were not trained on this person (cross-fitting).

    A teacher is nearly one-hot on the windows that it was trained on, so its soft targets there carry little. Here each
    of several members was trained without some of the training people (`kdlab.data.CrossFit`), and the logits for a
    window of person ``p`` are the mean over the members ``M(p)`` that have not seen ``p``:

    .. math:: z(x) = \frac{1}{|M(p)|} \sum_{m \in M(p)} z_m(x), \qquad
        M(p) = \{m : p \notin \mathrm{train}(m) \cup \mathrm{val}(m)\}

    With k groups of people and k members, ``M(p)`` is one member for a training person whose label is used, and all of
    them for a person without label. The logits for windows of validation people are the mean of all members: none was
    trained on them, though each was stopped on them, as any teacher is.

    It is accepted exactly if ``M(p)`` is not empty for every training person, and no member was trained on a validation
    or test person of this run; scaling, classes and channels must be those of this run. People must be known. Windows
    that are mixed with each other (`Mixup`), or with another window of the class (``/pair``), are of two people and are
    refused. Every member runs on every batch: with a `TeacherCache` that is done once.

    Args:
        checkpoints: a checkpoint file or run folder for each member.
        view: name of the view that all members read.
        precision: see `Teacher`.
        memory_format: see `Teacher`.
        class_map: see `Teacher`.
        units: see `Teacher`.

    Raises:
        InputError: with fewer than two checkpoints; as the fit begins, naming how many people no member may teach.

    References:
        V. Chernozhukov et al., "Double/debiased machine learning for treatment and structural parameters", The
        Econometrics Journal 21(1), 2018, doi:10.1111/ectj.12097 (cross-fitting). T. Dao, G. M. Kamath, V. Syrgkanis,
        L. Mackey, "Knowledge distillation as semiparametric inference", ICLR 2021, arXiv:2104.09732.

    Example:
        >>> CrossFittedTeacher(["runs/teacher_1", "runs/teacher_2"]).views
        ('raw',)
    """

    def __init__(
        self,
        checkpoints: list[str],
        view: str = "raw",
        precision: Literal["32", "bf16", "16"] | None = None,
        memory_format: MemoryFormat | None = None,
        class_map: list[int | list[int]] | None = None,
        units: Literal["scaled", "physical"] = "scaled",
    ) -> None:
        if not isinstance(checkpoints, list | tuple) or not 2 <= len(checkpoints) == len(set(map(str, checkpoints))):
            raise InputError(
                f"CrossFittedTeacher: checkpoints must be a list of at least two different files or run folders, but "
                f"got {checkpoints!r}. Train one teacher per group of people."
            )
        given: dict[str, Any] = {"precision": precision, "memory_format": memory_format, "units": units}
        members = {
            str(i): Teacher(str(file), view=view, class_map=class_map, **given)
            for i, file in enumerate(checkpoints, start=1)
        }
        super().__init__(members)
        self.register_buffer("_served", torch.zeros(0, len(members), dtype=torch.bool), persistent=False)
        self._routes = ""

    @property
    def made(self) -> str:
        """Which member serves which window, as a digest."""
        return f"cross-fitted {self._routes}"

    @property
    def served(self) -> Tensor:
        """Which members serve each window, ``(max index + 1, members)`` bool; no member: it is no training window."""
        served: Tensor = self._served  # type: ignore[assignment]
        return served

    def check_split(self, fingerprint: Mapping[str, Any] | None, name: str, other_classes: bool = False) -> None:
        """Refuse a member that has seen a validation or test person, or reads other inputs than this run has.

        Raises:
            InputError: naming the member and what differs; people are counted and not named.
        """
        for key, member in self.members.items():
            trained = member.description.get("fingerprint")
            who = f"teacher {name!r}: member {key} ({member.file})"
            if not trained or not fingerprint:
                where = "it has no record of its training data" if not trained else "the data have no fingerprint"
                raise InputError(
                    f"{who} must be shown not to have seen the people whom it teaches, but {where}. Train it with "
                    "kdlab, and use one of its data modules."
                )
            if other_classes or self.members[key].class_map is not None:
                trained = {**trained, "classes": fingerprint.get("classes")}
            if found := member_differences(trained, fingerprint, same_scale=not member.physical):
                raise InputError(
                    f"{who} does not fit this run: {'; '.join(found)}. Train it with this run's data settings and "
                    "cross_fit (kdlab.data.CrossFit)."
                )

    def bind(self, windows: Windows, name: str) -> None:
        """Find for every training window the members that have not seen its person.

        Raises:
            InputError: where people are unknown, windows are mixed, or some person was seen by all members.
        """
        if lacking := lacks(windows, *_READ_OF_DATA):
            raise InputError(
                f"teacher {name!r}: CrossFittedTeacher needs data whose windows name their people, but "
                f"{name_of(windows)} has no {', '.join(lacking)}. Use a data module of kdlab."
            )
        self._refuse_mixed(windows, name)
        index = np.asarray(windows.train_index, dtype=np.int64)
        people = np.array(windows.subject_of(index.tolist()), dtype=np.str_)
        if not len(people) or (people == "").any():
            raise InputError(
                f"teacher {name!r}: CrossFittedTeacher needs the person of every window, but people are unknown here. "
                "Give subject ids."
            )
        names, code = np.unique(people, return_inverse=True)
        fingerprint = windows.fingerprint
        free = np.zeros((len(names), len(self.members)), dtype=np.bool_)
        for j, member in enumerate(self.members.values()):
            may = unseen(member.description["fingerprint"], fingerprint, names.tolist())
            free[:, j] = [person in may for person in names.tolist()]
        if taught := int((~free.any(1)).sum()):
            raise InputError(
                f"teacher {name!r}: every training person must be unknown to one of its {len(self.members)} members at "
                f"least, but {taught} of {len(names)} people were seen by all of them. Train one member without each "
                "group of people (cross_fit), and name all of them."
            )
        served = torch.zeros(int(index.max()) + 1, len(self.members), dtype=torch.bool)
        served[torch.from_numpy(index)] = torch.from_numpy(free[code])
        self.register_buffer("_served", served, persistent=False)
        self._routes = hashlib.blake2b(served.numpy().tobytes(), digest_size=8).hexdigest()
        super().bind(windows, name)
        alone = int((free.sum(1) == 1).sum())
        rank_zero_info(
            f"teacher {name!r}: {len(names)} training people have soft targets of teachers that have not seen them: "
            f"{alone} of one of {len(self.members)}, {len(names) - alone} of the mean of several."
        )

    def _refuse_mixed(self, windows: Windows, name: str) -> None:
        view = self.view.removesuffix(PHYSICAL)
        if view.endswith("/pair") or (windows.mix is not None and not view.endswith("/clean")):
            what = f"mix is {windows.mix!r}" if windows.mix is not None else f"it reads {self.view!r}"
            raise InputError(
                f"teacher {name!r}: CrossFittedTeacher needs windows of one person each, but {what}. Leave out the "
                "mixing, or use one Teacher."
            )

    def combine(self, logits: Mapping[str, Tensor], index: Tensor | None) -> Tensor:
        """The mean over the members that have not seen a window's person; over all for other people's windows.

        Raises:
            InputError: for a window that is no training window (on a GPU the logits are NaN, or the device's error).
        """
        if index is None:
            return mean_of(logits, torch.ones(len(logits), device=next(iter(logits.values())).device))
        if index.device.type == "cpu":
            inside = (index >= 0) & (index < len(self.served))
            known = inside & self.served[torch.where(inside, index, 0)].any(1)
            if not bool(known.all()):
                raise InputError(
                    f"CrossFittedTeacher: every window must be a training window of the data module, but "
                    f"{int((~known).sum())} of {len(index)} of a batch are not. Train on those."
                )
        return mean_of(logits, self.served[index])
