"""A teacher: a frozen net and the view that it reads."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from kdlab.fingerprint import check_teacher_split, spelt
from kdlab.instances import check_name, check_path
from kdlab.methods.checkpoints import (
    description,
    find_checkpoint,
    net_of,
    read_checkpoint,
    weights_hash,
)
from kdlab.methods.class_maps import groups_of, mapped
from kdlab.methods.finite import check_finite
from kdlab.methods.foreign_weights import with_foreign_weights
from kdlab.methods.label_kinds import check_same_labels
from kdlab.methods.origins import licences
from kdlab.methods.physical import Before, given_statistics, own_scaling, scale_hint, warn_of_units
from kdlab.nets.base import Backbone, MemoryFormat
from kdlab.nets.plain import as_backbone
from kdlab.objective import Objective
from kdlab.types import IN_PHYSICAL_UNITS, PHYSICAL, Batch, InputError, Output, Windows

_DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


class Teacher(nn.Module):
    """A trained net for forward passes only: frozen, always in evaluation mode, without gradients, never saved.

    It reads its file when a fit begins, so students are tested and used with the teachers' files gone. Checkpoints of
    kdlab describe their net themselves. Foreign weights (a plain state dict, ``{"state_dict" | "model" |
    "model_state_dict": ...}``, with or without a ``module.`` prefix, and the key names of the released wide residual
    networks) need ``net=`` and the statistics of their view.

    Args:
        checkpoint: checkpoint file, or run folder (its newest finished version); may be left out when ``net`` is
            already trained.
        view: name of the view that the teacher reads.
        net: the net that foreign weights belong to, or a trained net; a plain ``torch.nn.Module`` is taken too, without
            taps (:func:`kdlab.nets.as_backbone`).
        mean: per-channel mean of the view, for foreign weights without any.
        std: per-channel standard deviation of the view, likewise; pass zeros and ones for a view that needs none.
        allow_other_split: accept a teacher that was trained on other subjects or recordings than this run holds out,
            and so perhaps on windows that were scaled with other numbers (with a warning); its classes, channels,
            window length and sampling rate must still be those of this run.
        precision: ``"32"``, ``"bf16"`` or ``"16"`` (autocast), also where the trainer has another; ``None``: its. In
            half precision logits change in their third digit, and a processor that lacks bfloat16 instructions is many
            times slower.
        memory_format: ``"channels_last"`` or ``"contiguous"``; ``None``: the net's choice, see `Backbone`.
        class_map: for each class of the student, in its order, the index of the teacher's class, or several whose
            probabilities are added; for a teacher with other classes. ``None``: the same classes, or a method that
            reads features alone (``kd_weight=0``).
        units: ``"scaled"``: the view as the student sees it, in the data module's scaled units; ``"physical"``: the
            view ``<view>/physical``, to whose units ``mean`` and ``std`` then refer.

    Raises:
        MissingFileError: when the file is not there at the beginning of a fit.
        InputError: when it is no checkpoint, belongs to another net, was trained on another split, or its weights are
            not finite.

    Example:
        >>> import torch
        >>> from kdlab.nets import WideResNet
        >>> net = WideResNet(10, 1, in_channels=3, num_classes=5)
        >>> teacher = Teacher(net=net, mean=[0.0] * 3, std=[1.0] * 3)
        >>> teacher.load().train().training
        False
        >>> teacher(torch.zeros(2, 3, 16)).logits.requires_grad
        False
        >>> dict(teacher.state_dict())
        {}
    """

    def __init__(
        self,
        checkpoint: str | None = None,
        view: str = "raw",
        net: Backbone | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        allow_other_split: bool = False,
        precision: Literal["32", "bf16", "16"] | None = None,
        memory_format: MemoryFormat | None = None,
        class_map: list[int | list[int]] | None = None,
        units: Literal["scaled", "physical"] = "scaled",
    ) -> None:
        super().__init__()
        if precision not in (None, *_DTYPES) or memory_format not in (None, "channels_last", "contiguous"):
            raise InputError(
                "Teacher: precision must be '32', 'bf16', '16' or None, and memory_format 'channels_last', "
                f"'contiguous' or None, but got precision={precision!r} and memory_format={memory_format!r}. Choose "
                "among these."
            )
        if units not in ("scaled", "physical"):
            raise InputError(f"Teacher: units must be 'scaled' or 'physical', but got {units!r}. Choose one of them.")
        check_name("Teacher: view", view, 'for example Teacher(..., view="raw")')
        if checkpoint is None and net is None:
            raise InputError(
                "Teacher: checkpoint must be a file or run folder where there is no net, but got neither. Set "
                "checkpoint= or net= (a trained net)."
            )
        if checkpoint is not None:
            check_path("Teacher: checkpoint", checkpoint, 'for example Teacher("runs/teacher"), or Teacher(net=...)')
        self.checkpoint, self.allow_other_split = checkpoint, allow_other_split
        #: the key of a batch that it reads
        self.view = view.removesuffix(PHYSICAL) + PHYSICAL if units == "physical" else view
        self.named_physical = view.endswith(PHYSICAL)  # the user's batches may hold it, whatever makes them
        #: what windows in physical units go through before the net; None: nothing, or none is known yet
        self.before: Before | None = None
        self.precision, self.memory_format = precision, memory_format
        self.net = None if net is None else copy.deepcopy(as_backbone(net, "Teacher"))  # the caller's is not frozen
        self.mean, self.std = mean, std
        self.class_map = None if class_map is None else groups_of(class_map)
        self.loaded = False
        #: the description in its checkpoint: net, view, data fingerprint, provenance
        self.description: dict[str, Any] = {}
        self.file, self.hash = "", ""
        self.reads: str | None = None  # its view, as the data module of this run computes it
        self._prefix = ""
        self.register_load_state_dict_post_hook(_expect_no_keys)  # type: ignore[no-untyped-call]
        self.eval()

    def load(self, files: Sequence[str] = ("teacher.ckpt", "best.ckpt"), name: str = "") -> Teacher:
        """Read the weights, once.

        Args:
            files: names to look for when ``checkpoint`` is a folder.
            name: the teacher's name, for messages.
        """
        if self.loaded:
            return self
        what = f"teacher {name!r}" if name else "teacher"
        if self.checkpoint is not None:
            path = find_checkpoint(self.checkpoint, files, what)
            self.file = str(path)
            checkpoint = read_checkpoint(path, what)
            described = description(checkpoint, what)
            if described is not None:
                self.description = described
                self.net = net_of(checkpoint, f"{what}: {str(path)!r}", self.net)
            else:
                statistics_given = self.mean is not None and self.std is not None
                self.net = with_foreign_weights(self.net, checkpoint, f"{what}: {str(path)!r}", statistics_given)
        assert self.net is not None  # checked by the constructor
        if self.physical:
            self._read_physical(what)
        elif self.mean is not None and self.std is not None:
            self.net.standardize.fill(self.mean, self.std)
        if not self.net.standardize.filled:
            message = (
                f"{what}: the net holds no statistics of its view. Pass mean= and std= with {self.net.in_channels} "
                "numbers each (zeros and ones if its inputs were not standardised)."
            )
            if self.checkpoint is not None:
                raise InputError(message)
            rank_zero_warn(f"{message} Until then, its inputs are taken as they are.")
        if self.class_map is not None and (most := max(map(max, self.class_map))) >= self.net.num_classes:
            raise InputError(
                f"{what}: class_map must name classes from 0 to {self.net.num_classes - 1}, but got {most}. Correct it."
            )
        if self.memory_format is not None:
            self.net.memory_format = self.memory_format
        self.net.requires_grad_(False)
        check_finite(self.net.state_dict(), f"{what} ({self.file})" if self.file else what)
        self.hash = weights_hash(self.net.state_dict())
        self.loaded = True
        self.eval()
        return self

    @property
    def physical(self) -> bool:
        """Whether it reads physical units."""
        return self.view.endswith(PHYSICAL)

    def _read_physical(self, what: str) -> None:
        """Find what windows in physical units go through: the given statistics, or the scaling of its training."""
        assert self.net is not None
        if self.mean is not None and self.std is not None:
            self.before = given_statistics(self.mean, self.std, self.net.in_channels, what)
            self.net.standardize.fill()
        elif self.description:
            self.before = own_scaling(self.description, what)
        else:
            raise InputError(
                f"{what}: mean and std must be given with units='physical', but are not both. Pass those of the "
                f"physical units, {self.net.in_channels} numbers each (zeros and ones if the net scales them itself)."
            )

    @property
    def num_classes(self) -> int | None:
        """Number of classes of its output; None before it is loaded."""
        if self.class_map is not None:
            return len(self.class_map)
        return None if self.net is None else self.net.num_classes

    def has_other_classes(self, student: Backbone, fingerprint: Mapping[str, Any] | None) -> bool:
        """Whether its logits are not those of a student's classes, by their number, or by name where both are known.

        Args:
            student: the net that is trained.
            fingerprint: of the data module.
        """
        if self.num_classes != student.num_classes:
            return True
        both = [(one or {}).get("classes") for one in (self.description.get("fingerprint"), fingerprint)]
        trained, here = ([spelt(str(name)) for name in names or ()] for names in both)
        return self.class_map is None and bool(trained and here) and trained != here

    def check_split(self, fingerprint: Mapping[str, Any] | None, name: str, other_classes: bool = False) -> None:
        """Refuse a teacher that was trained on other subjects, windows, classes or units than this run.

        ``allow_other_split`` waives who was held out, and the numbers that the training windows scaled the data with.

        Args:
            fingerprint: of the data module.
            name: the teacher's name.
            other_classes: accept other classes, whose logits are not read; with a class map they may be others too.

        Raises:
            InputError: naming the teacher and every difference.
        """
        trained = self.description.get("fingerprint")
        if trained and fingerprint and (other_classes or self.class_map is not None):
            trained = {**trained, "classes": fingerprint.get("classes")}
        who = f"teacher {name!r} ({self.file})" if trained else f"teacher {name!r}"
        rescaled = {**(trained or {}), "scale": (fingerprint or {}).get("scale")}
        if trained and self.physical:
            trained = rescaled  # it scales its windows itself
        hint = ""
        if trained and fingerprint and trained != rescaled and self._scales_itself(name):
            hint = scale_hint(trained, rescaled, fingerprint, self.allow_other_split)
        try:
            warning = check_teacher_split(who, trained, fingerprint, self.allow_other_split)
        except InputError as error:
            raise InputError(f"{error}{hint}") from None
        if warning:
            rank_zero_warn(f"{who} {warning}.{hint}")

    def _scales_itself(self, name: str) -> bool:
        """Whether it could read physical units: its view is the window, and its scaling is known."""
        try:
            return own_scaling(self.description, name) is not None
        except InputError:
            return False

    def check_labels(self, name: str, many: bool) -> None:
        """Refuse a teacher that was trained on one label per window where windows have any number, or the reverse.

        Raises:
            InputError: naming the teacher; also for a class map where windows have any number of labels.
        """
        who = f"teacher {name!r}" + (f" ({self.file})" if self.file else "")
        check_same_labels(who, self.description, many)
        if many and self.class_map is not None:
            raise InputError(
                f"{who}: class_map must be left out with any number of labels per window (labels: many), whose classes "
                f"do not exclude each other, but got {self.class_map}. Train a teacher on the student's classes."
            )

    def check_outputs(self, name: str, accuracy: float, majority: float, broken: int) -> None:
        """Refuse a teacher whose outputs are not finite, and warn of one no better than the most frequent class.

        Args:
            name: the teacher's name.
            accuracy: share of the validation windows that it classifies correctly.
            majority: share of the most frequent class among them.
            broken: number of validation windows for which its logits hold NaN or infinite values.

        Raises:
            InputError: naming the teacher and the number of windows.
        """
        who = f"teacher {name!r}" + (f" ({self.file})" if self.file else "")
        if broken:
            raise InputError(
                f"{who}: its outputs must be finite, but those of {broken} validation windows hold NaN or infinite "
                "values. Train it again, or run it in precision='32' if it runs in half precision."
            )
        if accuracy <= majority + 1e-6:
            rank_zero_warn(
                f"{who}: its validation accuracy must be above that of always predicting the most frequent class "
                f"({majority:.4f}) to teach anything, but it is {accuracy:.4f}. Train it longer or on more windows, "
                "or leave it out."
            )

    def check_view_settings(self, settings: str | None, name: str) -> None:
        """Refuse a view with other settings than the one that the teacher was trained on, whatever its name.

        Raises:
            InputError: naming both views.
        """
        self.reads = settings
        trained = self.description.get("view_settings")
        if trained and self.physical:
            trained = trained.removesuffix(IN_PHYSICAL_UNITS) + IN_PHYSICAL_UNITS
        if trained and settings and trained != settings:
            raise InputError(
                f"teacher {name!r} ({self.file}) was trained on the view {trained}, but here {self.view!r} is "
                f"{settings}. Give the data module the view that it was trained on, or train it again."
            )

    def check_statistics(self, windows: Windows, name: str) -> None:
        """Warn where the statistics that a foreign net was given are not those of the scaled windows that it reads."""
        identity = self.mean is None or self.std is None or (not any(self.mean) and set(self.std) == {1.0})
        if not (identity or self.physical or self.description):
            warn_of_units(f"teacher {name!r}", self.view, self.mean or [], self.std or [], windows)

    def forward(self, x: Tensor) -> Output:
        """The output of the teacher for its view, without gradients."""
        if self.net is None or not self.loaded:
            raise InputError("Teacher: the net must be loaded before a forward pass, but is not. Call load().")
        with torch.no_grad(), self._autocast(x.device.type):
            x = x if self.before is None else self.before(x)
            output: Output = self.net(x)
        return output if self.class_map is None else output._replace(logits=mapped(output.logits, self.class_map))

    # ---- what methods and the cache read, which a teacher made of several overrides (`kdlab.methods.members`) --------
    @property
    def made(self) -> str:
        """What its output depends on besides its parts; empty: on nothing."""
        return ""

    @property
    def views(self) -> tuple[str, ...]:
        """The keys of a batch that it reads."""
        return (self.view,)

    def parts(self, name: str) -> list[tuple[str, Teacher]]:
        """The single nets that it is made of, each with its name: itself."""
        return [(name, self)]

    def bind(self, windows: Windows, name: str) -> None:
        """Learn which windows it will see, before a fit."""

    def check_objective(self, objective: Objective, name: str) -> None:
        """Refuse an objective that reads what it does not give."""

    def of_training(self, batch: Batch) -> Output:
        """The output for a batch of training windows."""
        output: Output = self(batch.views[self.view])
        return output

    def of_held_out(self, batch: Batch) -> Output:
        """The output for a batch of other people's windows, such as those of validation."""
        return self.of_training(batch)

    def described(self) -> dict[str, Any]:
        """What a student's checkpoint holds of it, in plain values."""
        return {
            "view": self.view,
            "view_settings": self.description.get("view_settings") or self.reads,
            "file": self.file,
            "hash": self.hash,
            "provenance": self.description.get("provenance", {}),
            **({"licences": found} if (found := licences(self.description)) else {}),
            **({} if self.class_map is None else {"class_map": self.class_map}),
            **({"units": "physical"} if self.physical else {}),
        }

    def zeros(self, scaled: Tensor) -> Tensor:
        """The window that the teacher reads where one in scaled units is zero throughout.

        Args:
            scaled: zeros, in the shape of its view.
        """
        if not self.physical or self.net is None:
            return scaled
        if self.before is not None:
            return self.before.inverse(scaled)
        return self.net.standardize.mean.view(1, -1, *(1,) * (scaled.ndim - 2)) + scaled.double()

    def _autocast(self, device: str) -> AbstractContextManager[Any]:
        if self.precision is None:
            return nullcontext()
        return torch.autocast(device, _DTYPES[self.precision], enabled=self.precision != "32")

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode, whatever ``mode`` is."""
        super().train(False)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Nothing: a student's checkpoint holds no teacher."""
        destination = kwargs.get("destination", args[0] if args else None)
        return {} if destination is None else destination

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        self._prefix = prefix  # for the hook below, which does not receive it


def _expect_no_keys(teacher: nn.Module, keys: Any) -> None:
    assert isinstance(teacher, Teacher)
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.startswith(teacher._prefix)]
