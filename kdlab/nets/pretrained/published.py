"""What nets with published weights share: reading them, under the names that their authors gave them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from kdlab.nets.base import Backbone
from kdlab.nets.given_names import unwrapped, without_prefix
from kdlab.types import InputError

#: names that a message lists
_LISTED = 4


class Published(Backbone):
    """A net of an exact published architecture with a linear head of its own, in place of the head of its authors.

    A method's ``init`` (``student_init`` of distillation) reads the file of the published weights when a fit begins;
    checkpoints of the fit hold all weights, so that a teacher, a test or an export needs no such file. Names and shapes
    must be those of the architecture. The input of a published net is not standardised, so that `Standardize` becomes
    the identity: its view must give what the net was trained on, in units, rate and order of the channels.

    Attributes:
        licence: of the weights, as their authors word it.
        dropped: beginnings of names in the file that belong to heads of the pre-training, which this net does not have.
        kinds: of each channel, ``"acc"`` (g) or ``"gyr"`` (rad/s); empty where any will do.
        rate: of the windows in Hz; without ``kinds`` any will do.
        unseen: arguments that the weights do not show; their defaults are those of the pre-training.
    """

    licence: ClassVar[str] = ""
    dropped: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[tuple[str, ...]] = ()
    rate: ClassVar[float] = 0.0
    unseen: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def own_name(cls, name: str) -> str:
        """The name of a weight in this net, from that in a file."""
        return name.removeprefix("module.")

    def published(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight that a file must hold."""
        return {
            name: tuple(value.shape)
            for name, value in self.state_dict().items()
            if not name.startswith(("standardize.", "head."))
        }

    def take_published(self, state: Mapping[str, Any], who: str) -> None:
        """Load published weights, and take the input as it is.

        Args:
            state: name -> tensor, from the file; also below one of the usual keys (``"state_dict"``), and with names
                that all begin alike (``module.``, ``encoder.``).
            who: the file, for messages.

        Raises:
            InputError: naming the weights that are missing, are of another net, have other shapes or types or are not
                finite; nothing is loaded then.
        """
        expected, net = self.published(), type(self).__name__
        given = without_prefix(unwrapped(state), expected, self.own_name)
        given = {name: value for name, value in given.items() if not name.startswith(self.dropped or ("\0",))}
        wrong = {
            "missing": sorted(set(expected) - set(given)),
            "of another net": sorted(set(given) - set(expected)),
            "not tensors": sorted(name for name, value in given.items() if not isinstance(value, Tensor)),
        }
        if found := [f"{len(names)} {what} ({_listed(names)})" for what, names in wrong.items() if names]:
            raise InputError(
                f"{who}: must hold the {len(expected)} published weights of {net}({self._variant()}), but got "
                f"{'; '.join(found)}. Name the published file of this net."
            )
        shapes = [
            f"{n} {tuple(given[n].shape)}, not {shape}" for n, shape in expected.items() if given[n].shape != shape
        ]
        if shapes:
            raise InputError(
                f"{who}: the weights must have the shapes of {net}({self._variant()}), but {len(shapes)} differ "
                f"({_listed(shapes)}). Name the published file of this net, or set its arguments for this file."
            )
        own = self.state_dict()
        if kinds := sorted(n for n in expected if given[n].is_floating_point() != own[n].is_floating_point()):
            raise InputError(
                f"{who}: the weights must be floating-point numbers where those of {net} are, but {_listed(kinds)} are "
                f"{given[kinds[0]].dtype}. Name the published file of this net, which is not quantised."
            )
        if broken := sorted(name for name in expected if not torch.isfinite(given[name]).all()):
            raise InputError(f"{who}: the weights must be finite, but {_listed(broken)} are not. Get the file again.")
        self.load_state_dict({name: given[name] for name in expected}, strict=False)
        self.standardize.fill()
        usual = inspect.signature(type(self).__init__).parameters
        given = {name: self.spec["init_args"][name] for name in self.unseen}
        if other := [f"{name}={value}" for name, value in given.items() if value != usual[name].default]:
            published = ", ".join(f"{name}={usual[name].default}" for name in self.unseen)
            rank_zero_warn(
                f"{who}: {net} was published with {published}, which its weights do not show, but this one has "
                f"{', '.join(other)}."
            )

    def _variant(self) -> str:
        """The arguments that decide about the shapes, for messages."""
        return ""

    def _check_length(self, x: Tensor, fits: bool, lengths: str) -> None:
        if not fits:
            raise InputError(
                f"{type(self).__name__}: x must have {lengths} samples, but got {tuple(x.shape)}. Resample the window."
            )


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
