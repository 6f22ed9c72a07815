"""The interface of methods and data: any data module, or none, as `kdlab.types.Windows`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from lightning.pytorch import Trainer
from numpy.typing import NDArray

from kdlab.types import Batch, InputError, Windows

#: the value of a setting that a data module does not have
NOT_KNOWN: Final = object()
_MEMBERS = frozenset(name for name in vars(Windows) if not name.startswith("_"))


def windows_of(datamodule: object) -> Windows:
    """A data module as methods read it.

    Args:
        datamodule: one of kdlab, one of another origin that has some of the members of `Windows` or none, or None
            where there are only loaders.

    Example:
        >>> windows = windows_of(None)
        >>> list(windows.view_names), windows.view_shape("raw"), lacks(windows, "batches")
        ([], None, ['batches'])
    """
    if isinstance(datamodule, PartialWindows) or set(dir(datamodule)) >= _MEMBERS:  # dir computes no property
        return cast(Windows, datamodule)
    return PartialWindows(datamodule)


def datamodule_in(trainer: Trainer | None) -> Any:
    """The data module of a trainer, None where there are only loaders."""
    if trainer is None:
        return None
    selector = trainer._data_connector._datahook_selector
    if selector is not None and selector.datamodule is None:
        return None  # this call has plain loaders; the trainer keeps the data module of an earlier one
    return getattr(trainer, "datamodule", None)  # Lightning sets it only where there is one


def windows_in(trainer: Trainer | None) -> Windows:
    """The data module of a trainer as methods read it."""
    return windows_of(datamodule_in(trainer))


def predicts_new(datamodule: Any, stage: str | None) -> bool:
    """Whether a stage predicts new windows, which are in no part of the split, in place of the test windows."""
    return stage == "predict" and "predicts_new" in dir(datamodule) and datamodule.predicts_new is True


def lacks(windows: Windows, *members: str) -> list[str]:
    """Those of the members that the data module does not have."""
    return [name for name in members if isinstance(windows, PartialWindows) and not windows.has(name)]


def name_of(windows: Windows) -> str:
    """The name of a data module in a message."""
    return windows.name if isinstance(windows, PartialWindows) else type(windows).__name__


class PartialWindows:
    """A data module of another origin: what it has, and a value for what is not known.

    Members that have no such value raise; :func:`lacks` names them beforehand.

    Args:
        datamodule: any object; None where there are only loaders.
    """

    def __init__(self, datamodule: object) -> None:
        self._held: Any = datamodule
        #: view -> shape of one sample in a first batch, where one was read
        self.sample: dict[str, tuple[int, ...]] = {}

    @property
    def name(self) -> str:
        """Its name in a message."""
        return "plain loaders" if self._held is None else type(self._held).__name__

    def has(self, member: str) -> bool:
        """Whether the data module has a member."""
        return hasattr(self._held, member)  # it is of any class, and may make its attributes on demand

    def _known(self, member: str, otherwise: Any) -> Any:
        return getattr(self._held, member, otherwise)  # as above

    def _needed(self, member: str) -> Any:
        if not self.has(member):
            raise InputError(
                f"data module: must have {member}, as kdlab's do, but got {self.name}. Use one of kdlab's, or add it."
            )
        return self._known(member, None)

    # ---- views ----
    @property
    def view_names(self) -> Sequence[str]:
        """Keys of the views in a batch."""
        return cast(Sequence[str], self._known("view_names", None) or tuple(self.sample))

    def view_shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of one sample of a view."""
        return tuple(self._held.view_shape(name)) if self.has("view_shape") else self.sample.get(name)

    def view_settings(self, name: str) -> str | None:
        """The view as text."""
        return cast(str, self._held.view_settings(name)) if self.has("view_settings") else None

    def adopt_view(self, name: str, settings: str, again: bool = False) -> None:
        """Take the ranges of a net's training, where it can."""
        if self.has("adopt_view"):
            self._held.adopt_view(name, settings, again)

    def physical_view(self, name: str) -> None:
        """Compute a view in physical units."""
        self._needed("physical_view")(name)

    def view_statistics(self, name: str) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation per channel."""
        return cast("tuple[list[float], list[float]] | None", self._needed("view_statistics")(name))

    def training_view(self, name: str) -> Mapping[str, str | None]:
        """What a view of the training windows depends on."""
        return cast(Mapping[str, "str | None"], self._needed("training_view")(name))

    def skip_views(self, names: Collection[str], stage: str = "train") -> None:
        """Leave views out, where it can."""
        if self.has("skip_views"):
            self._held.skip_views(names, stage)

    # ---- windows ----
    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        return cast(Sequence[str], self._known("classes", ()))

    @property
    def num_classes(self) -> int | None:
        """Number of classes."""
        return cast("int | None", self._known("num_classes", None))

    @property
    def many_labels(self) -> bool:
        """Whether windows have any number of labels each; only ``True`` is yes."""
        return self._known("many_labels", False) is True

    @property
    def unknown_classes(self) -> Sequence[str | int | float | bool | None] | None:
        """The classes that are held out of training."""
        return cast("Sequence[str | int | float | bool | None] | None", self._known("unknown_classes", None))

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Data set, split and scaling."""
        return cast(Mapping[str, Any], self._known("fingerprint", None) or {})

    @property
    def amplitude(self) -> Mapping[str, Sequence[float]]:
        """Root mean square of the channels of each source."""
        return cast(Mapping[str, Sequence[float]], self._known("amplitude", None) or {})

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Stage -> number of windows and of groups."""
        return cast(Mapping[str, Mapping[str, int]], self._known("counts", None) or {})

    @property
    def train_index(self) -> NDArray[np.int64]:
        """Indices of the training windows."""
        return cast(NDArray[np.int64], self._known("train_index", np.empty(0, np.int64)))

    @property
    def unlabelled_count(self) -> int:
        """Number of training windows without a label."""
        return cast(int, self._known("unlabelled_count", 0))

    def leave_out_unlabelled(self) -> None:
        """Leave the windows without a label out, where it can."""
        if self.has("leave_out_unlabelled"):
            self._held.leave_out_unlabelled()

    @property
    def class_counts(self) -> Sequence[int]:
        """Number of training windows of each class."""
        return cast(Sequence[int], self._known("class_counts", ()))

    def subject_of(self, index: Sequence[int]) -> Sequence[str]:
        """Subjects of windows."""
        return self._held.subject_of(index) if self.has("subject_of") else [""] * len(index)

    def moments_of(self, index: Sequence[int]) -> Sequence[tuple[str, str, str]]:
        """Recording, start and end of windows to predict."""
        return self._held.moments_of(index) if self.has("moments_of") else []

    # ---- batches ----
    @property
    def batch_size(self) -> int | None:
        """Windows per batch and process."""
        return cast("int | None", self._known("batch_size", None))

    @property
    def drop_last(self) -> bool:
        """Whether the training windows that do not fill a batch are left out."""
        return cast(bool, self._known("drop_last", True))

    @property
    def augment(self) -> object:
        """The augmentation, None where there is none, `NOT_KNOWN` where it is not known."""
        return self._known("augment", NOT_KNOWN)

    @property
    def mix(self) -> object:
        """The mixing, None where there is none or it is not known."""
        return self._known("mix", None)

    def batches(
        self, stage: str = "train", batch_size: int | None = None, views: Sequence[str] | None = None
    ) -> Iterator[Batch]:
        """Batches of a stage in data set order."""
        return cast(Iterator[Batch], self._needed("batches")(stage, batch_size, views=views))

    def ordered_loader(self, stage: str, views: Sequence[str] | None = None) -> Iterable[Batch]:
        """The same as a loader."""
        return cast(Iterable[Batch], self._needed("ordered_loader")(stage, views))

    def plot_views(self, path: str | Path | None = None, per_class: int = 1) -> Any:
        """A figure of windows in each view."""
        where = {} if path is None else {"path": path}
        return self._needed("plot_views")(**where, per_class=per_class)
