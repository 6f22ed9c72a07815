"""The data module: windows are loaded, split by subject, scaled, augmented and seen in views."""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.accelerators.cuda import CUDAAccelerator
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Generator
from torch.utils.data import DataLoader

from kdlab.augment import Augmentation, Constants
from kdlab.data.auto_views import AutoViews, Sample
from kdlab.data.constants import channel_constants, named_constants
from kdlab.data.dataset import Scaler, Wanted, WindowDataset, WindowLoader, as_is
from kdlab.data.identified import Merged, identified
from kdlab.data.identity import merge_map, text, words
from kdlab.data.mixing import Mixing
from kdlab.data.sampler import OrderedSampler, TrainSampler
from kdlab.data.split_table import Part, as_csv, in_words, split_table
from kdlab.data.splits import STAGES, Groups, Split, make_split
from kdlab.data.windows import WindowSet, check_finite, chunks, moments, sample_length
from kdlab.files import write_text
from kdlab.fingerprint import check_fingerprint, hashed, is_hashed, make_fingerprint, salt
from kdlab.types import Batch, InputError, Name
from kdlab.views import Raw, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERSIONS = ("clean", "second", "pair")


@dataclass(frozen=True)
class Scale:
    """Constants that bring each channel to standard units: ``(x - offset) / divisor``.

    Args:
        offset: one per channel, in the channel's unit.
        divisor: one per channel, in the channel's unit, not zero.
        clip: what lies above 1 afterwards becomes 0.99, what lies below 0 becomes 0.

    Raises:
        InputError: lengths that differ, a zero or a number that is not finite.
    """

    offset: list[float]
    divisor: list[float]
    clip: bool = False

    def __post_init__(self) -> None:
        if len(self.offset) != len(self.divisor):
            raise InputError(
                f"scale: {len(self.offset)} offsets but {len(self.divisor)} divisors; give one per channel"
            )
        if not np.isfinite([*self.offset, *self.divisor]).all() or 0.0 in self.divisor:
            raise InputError(f"scale: expected finite offsets and divisors other than 0, got {self}")


class WindowDataModule(LightningDataModule):
    """Windows of recordings, seen in views, split by subject. Data sets derive from this and write ``load``.

    The order is: load, split, scale, augment and mix (training only), view. Scaling comes first, so that thresholds and
    ranges of views are in scaled units; strengths of augmentations are in training standard deviations.

    Args:
        views: key -> view; None: ``{"raw": Raw()}``. A key that ends in ``/clean`` is computed from the window before
            augmentation and mixing, one that ends in ``/second`` from a second augmentation of it, and one that ends in
            ``/pair`` from another training window of the same class, drawn anew in every epoch; ``pi/clean: null`` is
            the same view as ``pi``. Outside training all of them are equal. Seconds and pairs are mixed as the windows
            are. Ranges of a :class:`~kdlab.views.PersistenceImage` that are ``"auto"`` are found in the training
            windows at setup, and stand in ``views`` from then on; a net that is tested or teaches keeps those of its
            training.
        scale: ``"standard"`` (mean and standard deviation of the training windows, per channel), ``"minmax"`` (training
            windows to [0, 1]), ``"none"``, or constants, one ``Scale`` per source. The divisor of a channel that is
            constant in training is 1.
        augment: applied to training windows after scaling; strengths that refer to the training mean and standard
            deviation do so whatever ``scale`` is.
        mix: `Mixup` or `CutMix`: mixes the windows of a training batch with each other, after their augmentation and
            before their views; labels of training batches become class probabilities ``(B, K)``.
        corruption: applied to test and prediction windows, as ``augment`` is; the same for every run on one split.
        batch_size: windows per batch and process.
        num_workers: processes that fetch batches.
        split: ``"group"`` keeps subjects whole (recordings, where subjects are unknown); ``"random_windows"`` does not,
            and its figures are too high.
        test_subjects: who is tested; None: the split that the data set names, or else a fifth of the subjects.
        val_subjects: who validates; None: chosen by ``split_seed``.
        val_fraction: the least part of the training subjects that validates, and never fewer than two.
        val_count: how many subjects validate, in place of ``val_fraction``; 1 is warned of.
        val_choice: ``"balanced"``: the first of up to 200 random choices that has every class on both sides, between
            half and one and a half times its share of windows, and a mixture of classes like that of all (the rule is
            that of :func:`~kdlab.data.split_groups`); ``"random"``: the first that has every class on both sides, as in
            earlier versions. The two differ only where that one is unbalanced.
        split_seed: of every choice of subjects or recordings.
        seed: of the training order and the augmentation; None: what ``seed_everything`` was given, or else 0.
        train_per_class: keep so many training recordings (windows, where recordings are unknown) per class.
        unknown_classes: classes that nobody is told of, by name or by label: ``"3"`` is the class of that name, ``3``
            too where there is one (YAML does not tell the two apart), and else the label, counted from 0. Their windows
            are left out of training, validation and test, and those of the test subjects are the stage ``"unknown"``,
            for an open-set score.
        labels: other spellings of a class -> the class, such as ``{Walk: walk}``. Classes that differ in case, blanks,
            leading zeros or number format only are refused until they are merged so, or each is mapped to itself.
        subjects: likewise for people (recordings, where people are unknown), such as ``{s1: S1}``.
        drop_classes: classes whose windows are left out of everything.
        subject_ids: ``"plain"``, or ``"hashed"``: fingerprints, checkpoints, tables and predictions hold salted hashes
            of people's (recordings') names. The salt is the environment variable ``KDLAB_SALT``, the same for all runs
            of a laboratory; leak checks compare hashes, and hash the names of earlier checkpoints. ``test_subjects``
            and ``val_subjects`` take hashes, too, so that no name need stand in a config.
        drop_last: leave out the training windows that do not fill a batch.
        pin_memory: hand batches over in page-locked memory where a CUDA GPU reads them.
        multiprocessing_context: ``"fork"``, ``"spawn"`` or ``"forkserver"``; None: the platform's own.

    Raises:
        InputError: at construction for a wrong setting, in ``setup`` for data or a split that cannot be used.
    """

    name: str = "windows"
    #: keys in `kdlab.citations.BIBTEX`
    paper: tuple[str, ...] = ()
    #: the argument that names who is tested
    fold_argument: str = "test_subjects"
    #: the most training windows, evenly spread, whose numbers scale and standardise; None: all
    statistics_windows: int | None = None
    #: whether ``scale="minmax"`` clips what lies outside the training range, as ``Scale(clip=True)`` does
    clip_minmax: bool = False

    def __init__(
        self,
        *,
        views: dict[str, View | None] | None = None,
        scale: Literal["standard", "minmax", "none"] | Scale | dict[str, Scale] = "standard",
        augment: Augmentation | None = None,
        mix: Mixing | None = None,
        corruption: Augmentation | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        split: Literal["group", "random_windows"] = "group",
        test_subjects: list[Name] | None = None,
        val_subjects: list[Name] | None = None,
        val_fraction: float = 0.15,
        val_count: int | None = None,
        val_choice: Literal["balanced", "random"] = "balanced",
        split_seed: int = 0,
        seed: int | None = None,
        train_per_class: int | None = None,
        unknown_classes: list[Name] | None = None,
        labels: dict[Any, Name] | None = None,
        subjects: dict[Any, Name] | None = None,
        drop_classes: list[Name] | None = None,
        subject_ids: Literal["plain", "hashed"] = "plain",
        drop_last: bool = True,
        pin_memory: bool = True,
        multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = None,
    ) -> None:
        super().__init__()
        for argument, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("split_seed", split_seed, 0),
            ("seed", 0 if seed is None else seed, 0),
        ):
            if not isinstance(value, int | np.integer) or value < least:
                raise InputError(f"{argument}={value!r}: expected a whole number of at least {least}")
        if isinstance(scale, str) and scale not in self.scales():
            raise InputError(f"scale={scale!r}: expected one of {', '.join(self.scales())}, or Scale constants")
        if mix is not None and batch_size < 2:
            raise InputError(
                f"mix: mixes the windows of a batch with each other, but batch_size={batch_size}; use a larger one"
            )
        if subject_ids not in ("plain", "hashed"):
            raise InputError(f'subject_ids must be "plain" or "hashed", but got {subject_ids!r}. Choose one of them.')
        self._salt: str | None = None
        self.subject_ids, self.val_count, self.val_choice = subject_ids, val_count, val_choice
        self.merge_labels, self.merge_subjects = merge_map(labels, "labels"), merge_map(subjects, "subjects")
        self.drop_classes = None if drop_classes is None else words(drop_classes, "drop_classes")
        self.views = complete_views(views)
        self.mix, self.unknown_classes = mix, unknown_classes
        self.scale, self.augment, self.corruption = scale, augment, corruption
        self.batch_size, self.num_workers, self.drop_last = batch_size, num_workers, drop_last
        self.split, self.test_subjects, self.val_subjects = split, test_subjects, val_subjects
        self.val_fraction, self.split_seed, self.train_per_class = val_fraction, split_seed, train_per_class
        self.seed, self.pin_memory, self.multiprocessing_context = seed, pin_memory, multiprocessing_context
        self._given: WindowSet | None = None
        self._data: WindowSet | None = None
        self._predict: WindowSet | None = None
        self._split: Split | None = None
        self._scalers: dict[str, Scaler] = {}
        self._auto: AutoViews | None = None
        self._constants: dict[str, Constants] = {}
        self._statistics: dict[str, tuple[list[float], list[float]] | None] = {}
        self._restored_seed: int | None = None
        self._skipped: dict[str, frozenset[str]] = {}
        self._fingerprint: dict[str, Any] = {}
        self._merged: Merged = {}
        self._known: list[int] = []  # labels of the data set, in the order of the classes' own labels here

    # ---- what a data set writes -------------------------------------------------------------------------------------
    @abstractmethod
    def load(self) -> WindowSet:
        """Read the recordings and cut them into windows."""

    def load_predict(self) -> dict[str, NDArray[np.float32]] | None:
        """Windows without labels for ``predict``, per source; None: the test windows."""
        return None

    @classmethod
    def scales(cls) -> tuple[str, ...]:
        """The words that ``scale`` takes."""
        return ("standard", "minmax", "none")

    def named_scale(self, word: str) -> dict[str, Scale]:
        """The constants behind a word of ``scales`` that is the data set's own."""
        raise InputError(f"scale={word!r}: expected one of {', '.join(self.scales())}, or Scale constants")

    # ---- setting up -------------------------------------------------------------------------------------------------
    def setup(self, stage: str | None = None) -> None:
        """Load, check, split and scale, once; needs no trainer."""
        self._restored_seed = None
        self._skipped = {}
        if self._data is not None:
            self._fix_views()
            return
        loaded = self.load() if self._given is None else self._given
        self._salt = salt() if self.subject_ids == "hashed" else None
        data, self._merged = identified(loaded, self.merge_labels, self.merge_subjects)
        data = self._chosen(data)
        dropped = self._dropped(data)
        known = known_classes(data.classes, self.unknown_classes, self.merge_labels)
        self._known = [k for k in known if k not in dropped]
        split = make_split(
            data,
            split=self.split,
            test_subjects=self._people(data, self.test_subjects, "test_subjects"),
            val_subjects=self._people(data, self.val_subjects, "val_subjects"),
            val_fraction=self.val_fraction,
            val_count=self.val_count,
            val_choice=self.val_choice,
            seed=self.split_seed,
            train_per_class=self.train_per_class,
            unknown=sorted(set(range(len(data.classes))) - set(known) - set(dropped)),
            dropped=dropped,
        )
        scalers = self._make_scalers(data, split)
        self._auto = AutoViews(self.views, self._bind(data), Sample(data, split.rows["train"], scalers))
        self._predict = self._load_predict(data)
        self._fingerprint = self._make_fingerprint(data, split, scalers)
        self._data, self._split, self._scalers = data, split, scalers
        self._statistics.clear()
        self._constants.clear()
        self._fix_views()
        rank_zero_info(self._summary())

    def _chosen(self, data: WindowSet) -> WindowSet:
        """Of the windows, with people and classes made equal, those that this module uses."""
        return data

    def _dropped(self, data: WindowSet) -> list[int]:
        asked = {self.merge_labels.get(name, name) for name in self.drop_classes or ()}
        if absent := sorted(asked - set(data.classes)):
            raise InputError(
                f"drop_classes must be classes of the data ({', '.join(data.classes)}), but got {', '.join(absent)}. "
                "Name some of those."
            )
        dropped = [k for k, name in enumerate(data.classes) if name in asked]
        if not dropped and len(data.classes) < 2:
            raise InputError(
                f"{self.name}: classes must be two or more, but got {', '.join(data.classes) or 'none'}. Are the other "
                "labels words without a class (no_label, ignore)?"
            )
        if len(data.classes) - len(dropped) < 2:
            raise InputError(f"drop_classes must leave two classes, but got {', '.join(sorted(asked))}. Drop fewer.")
        if dropped:
            counts = np.bincount(data.target, minlength=len(data.classes))
            rank_zero_info("drop_classes: left out " + ", ".join(f"{counts[k]} of {data.classes[k]}" for k in dropped))
        return dropped

    def _people(self, data: WindowSet, asked: Sequence[Name] | None, argument: str) -> Sequence[Name] | None:
        """Names as they are in the data: spelt alike, merged, and found by their hashes."""
        if asked is None or data.subject is None or isinstance(asked, str):
            return asked
        listed = [self.merge_subjects.get(name, name) for name in words(asked, argument)]
        if self._salt is None or not any(map(is_hashed, listed)):
            return listed
        named = {self._shown(name): name for name in Groups.of(data.subject).names}
        return [named.get(name, name) for name in listed]

    def _shown(self, name: str) -> str:
        return name if self._salt is None else hashed(name, self._salt)

    def _make_scalers(self, data: WindowSet, split: Split) -> dict[str, Scaler]:
        given = self.scale
        if isinstance(given, str) and given not in ("standard", "minmax", "none"):
            given = self.named_scale(given)
        if isinstance(given, Scale):
            given = {data.sources[0]: given}
        if isinstance(given, dict):
            return self._given_scalers(data, given)
        scalers, rows = {}, self._spread(split.rows["train"])
        for source, x in data.windows.items():
            width = x.shape[1]
            offset, divisor = np.zeros(width), np.ones(width)
            if given == "standard":
                offset, divisor = moments(chunks(x, rows))
            elif given == "minmax":
                low, high, axes = np.full(width, np.inf), np.full(width, -np.inf), (0, *range(2, x.ndim))
                for part in chunks(x, rows):
                    low, high = np.minimum(low, part.min(axis=axes)), np.maximum(high, part.max(axis=axes))
                offset, divisor = low, high - low
            eps = 64 * np.finfo(np.float64).eps if x.dtype == np.float64 else np.finfo(np.float32).eps
            tiny = eps * np.maximum(np.abs(offset), np.finfo(np.float32).tiny)
            clip = self.clip_minmax and given == "minmax"
            scalers[source] = Scaler(offset, np.where(divisor <= tiny, 1.0, divisor), clip)
            if given == "none" and x.dtype == np.float64:
                rank_zero_warn(
                    f'scale="none": source {source!r} has a signal on so large an offset that float32, in which nets '
                    'read it, loses more than 1e-4 of it; use scale="standard", which takes the offset away in float64'
                )
        return scalers

    def _spread(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        most = len(rows) if self.statistics_windows is None else min(self.statistics_windows, len(rows))
        return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)] if most < len(rows) else rows

    def _given_scalers(self, data: WindowSet, given: Mapping[str, Scale]) -> dict[str, Scaler]:
        if set(given) != set(data.sources):
            raise InputError(
                f"scale: constants for {', '.join(given)}, but the sources are {', '.join(data.sources)}; "
                "give one Scale per source"
            )
        for source, scale in given.items():
            if len(scale.offset) != len(data.channels[source]):
                raise InputError(
                    f"scale: {len(scale.offset)} constants for the {len(data.channels[source])} channels of {source!r} "
                    f"({', '.join(data.channels[source])}); give one per channel"
                )
        return {s: Scaler(np.array(c.offset, float), np.array(c.divisor, float), c.clip) for s, c in given.items()}

    def _bind(self, data: WindowSet) -> list[Wanted]:
        wanted = []
        for key, view in self.views.items():
            source = getattr(view, "source", None) or data.sources[0]
            if source not in data.windows:
                raise InputError(f"view {key!r}: no source {source!r}; this data set has {', '.join(data.sources)}")
            bound, x = view.bind(tuple(data.channels[source])), data.windows[source]
            if x.ndim - 1 != view.sample_ndim:
                reads, has = ("windows", "images") if view.sample_ndim == 2 else ("images", "windows")
                raise InputError(
                    f"view {key!r}: {type(view).__name__} reads {reads}, but the source {source!r} has {has} of shape "
                    f"{tuple(x.shape[1:])}; use a view of {has}"
                )
            bound.shape(len(data.channels[source]), sample_length(x))  # refuses what does not fit
            tail = key.rpartition("/")[2]
            wanted.append(Wanted(key, bound, source, tail if tail in VERSIONS else "base"))
            self._check_changes(source, tuple(x.shape[1:]), data.channels[source])
        return wanted

    @property
    def _wanted(self) -> list[Wanted]:
        return [] if self._auto is None else self._auto.wanted

    def _fix_views(self) -> None:
        """Views with the numbers that were found, whatever a net brought along before."""
        if self._auto is not None:
            before = [want.view for want in self._auto.wanted]
            self._auto.reset()
            changed = {w.key for w, view in zip(self._auto.wanted, before, strict=True) if w.view != view}
            self._statistics = {key: value for key, value in self._statistics.items() if key not in changed}
            self.views = self._auto.views()

    def _check_changes(self, source: str, shape: tuple[int, ...], channels: Sequence[str]) -> None:
        """Refuse what changes images where there are windows, the other way round, and channels that are not there."""
        for argument in ("augment", "corruption"):
            change = getattr(self, argument)
            if change is not None and len(shape) not in change.sample_ndims:
                reads, has = ("images", "windows") if len(shape) == 2 else ("windows", "images")
                raise InputError(
                    f"{argument}: {change} changes {reads}, but the source {source!r} has {has} of shape {shape}; use "
                    f"one that changes {has}, or leave it out"
                )
            if change is not None:
                change.bind(named_constants(channels))

    def _load_predict(self, data: WindowSet) -> WindowSet | None:
        windows = self.load_predict()
        if windows is None:
            return None
        for source, x in windows.items():
            expected = data.windows[source].shape[1:]
            if x.shape[1:] != expected:
                raise InputError(
                    f"windows to predict: expected (windows, {', '.join(map(str, expected))}) as in training, "
                    f"got {x.shape}"
                )
            check_finite(x, source, data.channels[source])
        n = len(next(iter(windows.values())))
        return WindowSet(windows, np.zeros(n, dtype=np.int64), data.classes, data.channels)

    def _make_fingerprint(self, data: WindowSet, split: Split, scalers: dict[str, Scaler]) -> dict[str, Any]:
        rate = data.sampling_rate
        numbers: dict[str, dict[str, Any]] = {}
        for source, scaler in scalers.items():
            numbers[source] = {"offset": scaler.offset.tolist(), "divisor": scaler.divisor.tolist()}
            if scaler.clip:
                numbers[source]["clip"] = True
        result: dict[str, Any] = {
            "dataset": str(self.name),
            "window": data.window,
            "step": data.step,
            "grouping": split.grouping,
            **{stage: list(split.groups[stage]) for stage in STAGES},
            "seed": self.split_seed,
            "train_per_class": self.train_per_class,
            **self._contents(data, split),
            "scale": numbers,
            "classes": [str(data.classes[k]) for k in self._known],
            "channels": {source: [str(c) for c in names] for source, names in data.channels.items()},
            "sampling_rate": {s: float(r) for s, r in rate.items()} if isinstance(rate, dict) else rate,
        }
        if "unknown" in split.groups:
            result["unknown_classes"] = [str(c) for k, c in enumerate(data.classes) if k not in self._known]
            result["unknown"] = list(split.groups["unknown"])
        if self.drop_classes:
            result["drop_classes"] = sorted(self.drop_classes)
        if any(self._merged.values()):  # how many windows of each class, and of people, who are not named here
            people = sum(self._merged["subjects"].values())
            result["merged"] = {"labels": self._merged["labels"], "subjects": people}
        return make_fingerprint(result, self._salt)

    def _contents(self, data: WindowSet, split: Split) -> dict[str, Any]:
        """What else tells the data apart, for the fingerprint."""
        return {}

    def _summary(self) -> str:
        text = in_words([row for row in self.split_table() if row.part in STAGES], self._parted().grouping)
        if "unknown" in self._parted().rows:
            names = ", ".join(self.fingerprint["unknown_classes"])
            text += f"; unknown {len(self._parted().rows['unknown'])} test windows ({names})"
        return f"{self.name}: {text}"

    def split_table(self) -> list[Part]:
        """Who is in which part, with windows and minutes; people are hashes where ``subject_ids`` says so.

        >>> x = np.random.default_rng(0).normal(size=(60, 3, 50))
        >>> from kdlab.data import ArrayDataModule
        >>> data = ArrayDataModule(x, np.arange(60) % 2, np.arange(60) // 6, sampling_rate=50.0, step=50)
        >>> data.split_table()[0]
        Part(part='train', name='1', windows=6, minutes=0.1)
        """
        return split_table(self.data, self._parted(), self._shown)

    def write_split(self, path: str | Path) -> None:
        """Write :meth:`split_table` as CSV: part, subject (recording), windows, minutes."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, as_csv(self.split_table(), self._parted().grouping))

    def subject_counts(self) -> dict[str, int]:
        """Subject, as shown, -> number of windows, in natural order; empty where subjects are unknown."""
        if self.data.subject is None:
            return {}
        group = Groups.of(self.data.subject)
        counts = np.bincount(group.code, minlength=len(group.names)).tolist()
        return {self._shown(name): count for name, count in zip(group.names, counts, strict=True)}

    def reuse(self, windows: WindowSet) -> None:
        """Take windows that were loaded before, by a module of the same data, in place of :meth:`load`.

        Other folds and seeds of one data set then need not read its files again.

        >>> from kdlab.data import BasicMotions
        >>> first, second = BasicMotions(), BasicMotions(split_seed=1)
        >>> second.reuse(first.data)
        >>> second.data is first.data
        True
        """
        self._given = windows

    # ---- what is known after setup ----------------------------------------------------------------------------------
    @property
    def data(self) -> WindowSet:
        """All windows, in physical units, with the labels of the data set, those of unknown classes included."""
        if self._data is None:
            self.setup()
        if self._data is None:
            raise InputError(f"{type(self).__name__}.setup did not load any windows")
        return self._data

    def _parted(self) -> Split:
        if self._split is None:
            self.setup()
        if self._split is None:
            raise InputError(f"{type(self).__name__}.setup did not split the windows")
        return self._split

    @property
    def classes(self) -> list[str]:
        """Names of the known classes, in the order of the labels."""
        classes = self.data.classes
        return [classes[k] for k in self._known]

    @property
    def num_classes(self) -> int:
        """Number of known classes."""
        return len(self.classes)

    @property
    def channels(self) -> dict[str, list[str]]:
        """Source -> channel names."""
        return {source: list(names) for source, names in self.data.channels.items()}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What was loaded and how it was split and scaled: plain numbers and words, with an ``id`` over all of it."""
        self._parted()
        copy: dict[str, Any] = json.loads(json.dumps(self._fingerprint))
        return copy

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Stage -> how many windows, of how many groups."""
        split = self._parted()
        return {s: {"windows": len(split.rows[s]), "groups": len(split.groups[s])} for s in STAGES}

    @property
    def view_names(self) -> list[str]:
        """Keys of the views that a batch holds."""
        return list(self.views)

    def view_shape(self, name: str) -> tuple[int, ...]:
        """Shape of one sample of a view, without the batch axis."""
        want = self._want(name)
        x = self.data.windows[want.source]
        return tuple(want.view.shape(len(self.data.channels[want.source]), sample_length(x)))

    def view_settings(self, name: str) -> str:
        """The view behind a name, with its settings and channels, in words that are equal for equal views."""
        return repr(self._want(name).view)

    def adopt_view(self, name: str, settings: str, again: bool = False) -> None:
        """Take the ranges that a net was trained with, where those of a view are ``"auto"``, until the next ``setup``.

        The data of its training give the same ones; others do not. Nothing changes where ``settings`` is another view
        in more than these numbers.

        Args:
            name: key of the view.
            settings: what ``view_settings`` said in the training of the net.
            again: also where another net brought its ranges since the last ``setup``.
        """
        self._want(name)
        if self._auto is not None:
            for key in self._auto.adopt(name, settings, again):
                self._statistics.pop(key, None)
            self.views = self._auto.views()

    def constants(self, source: str) -> Constants:
        """What strengths of augmentations of a source refer to: training mean and standard deviation per channel.

        Under ``scale="standard"`` these are 0 and 1 by definition.
        """
        rows = self.train_index
        if source not in self._constants:
            standard = isinstance(self.scale, str) and self.scale == "standard"
            x, names = self.data.windows[source], self.data.channels[source]
            found = channel_constants(x, self._spread(rows), self._scalers[source], names, standard=standard)
            self._constants[source] = found
        return self._constants[source]

    def view_statistics(self, name: str) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation per channel of a view over the training windows without augmentation.

        Returns:
            None where the view is the raw signal and already standard (``scale="standard"`` or the user's constants).
            The standard deviation of a channel that is constant is given as 1.
        """
        want = self._want(name)
        if name not in self._statistics:
            own = isinstance(self.scale, str) and self.scale != "standard"
            if isinstance(want.view, Raw) and not own:
                self._statistics[name] = None
            else:
                rows = self._spread(self.train_index)
                mean, std = moments(b.views[name].double().numpy() for b in self._read("train", 256, [want], rows))
                self._statistics[name] = (mean.tolist(), np.where(std < 1e-12, 1.0, std).tolist())
        return self._statistics[name]

    def subject_of(self, index: Sequence[int]) -> list[str]:
        """Subjects of windows, by their ``Batch.index``; ``""`` where unknown."""
        subject = self.data.subject
        if subject is None or (self._predict is not None and self.trainer is not None and self.trainer.predicting):
            return [""] * len(index)
        names = [str(subject[i if i >= 0 else -1 - i]) for i in (int(j) for j in index)]
        shown = {name: self._shown(name) for name in set(names)}
        return [shown[name] for name in names]

    def batches(
        self, stage: str = "train", batch_size: int | None = None, views: Sequence[str] | None = None
    ) -> Iterator[Batch]:
        """Batches of ``"train"``, ``"val"``, ``"test"`` or ``"predict"`` in data set order, without augmentation.

        Args:
            stage: which windows.
            batch_size: windows per batch; None: as in training.
            views: the views that are computed; None: all.
        """
        wanted = None if views is None else [self._want(name) for name in views]
        return self._read(stage, batch_size or self.batch_size, wanted)

    @property
    def train_index(self) -> NDArray[np.int64]:
        """`Batch.index` of the training windows, in the order of ``batches("train")``."""
        return self._parted().rows["train"]

    def training_view(self, name: str) -> dict[str, str | None]:
        """What a view of the training windows depends on: equal answers, equal views.

        Returns:
            ``fingerprint`` (its id), ``windows`` (a digest of their indices and of up to 1024 of them), ``view`` (its
            class, digest and source) and ``augmentation``, what changes the windows at random before this view (their
            mixing included).
        """
        want, rows = self._want(name), self.train_index
        digest = hashlib.blake2b(rows.tobytes(), digest_size=16)
        digest.update(
            np.ascontiguousarray(self.data.windows[want.source][rows[:: max(1, len(rows) // 1024)]]).tobytes()
        )
        steps = {"mix": self.mix, "augment": self.augment}
        changes = [f"{k}: {step!r}" for k, step in steps.items() if step is not None and want.version != "clean"]
        changes += ["another window of the class"] if want.version == "pair" else []
        return {
            "fingerprint": str(self._fingerprint["id"]),
            "windows": digest.hexdigest(),
            "view": f"{type(want.view).__qualname__}:{want.view.digest}:{want.source}",
            "augmentation": ", ".join(changes) or None,
        }

    def skip_views(self, names: Collection[str], stage: str = "train") -> None:
        """Leave these views out of a stage's loaders from now on, until the next ``setup``: nobody reads them.

        Args:
            names: keys of views.
            stage: ``"train"``, ``"val"``, ``"test"`` or ``"predict"``.
        """
        for name in names:
            self._want(name)
        self._skipped[stage] = frozenset(names)

    def ordered_loader(self, stage: str, views: Sequence[str] | None = None) -> DataLoader[Batch]:
        """What :meth:`batches` gives, fetched by workers and dealt to the ranks.

        Args:
            stage: ``"train"``, ``"val"``, ``"test"`` or ``"predict"``.
            views: the views that are computed; None: all but the skipped ones.
        """
        replicas, rank = self._ranks()
        wanted = self._kept(stage) if views is None else [self._want(name) for name in views]
        dataset = self._dataset(stage, augment=self._corruption(stage), wanted=wanted)
        return self._loader(dataset, OrderedSampler(len(dataset), num_replicas=replicas, rank=rank))

    def _kept(self, stage: str) -> list[Wanted]:
        self._parted()  # sets up where nobody did
        return [want for want in self._wanted if want.key not in self._skipped.get(stage, ())]

    def plot_views(self, path: str | Path | None = None, per_class: int = 1) -> Figure:
        """Draw windows of every class as signal and as each view.

        Args:
            path: where the picture goes; None: it is only returned.
            per_class: windows per class.
        """
        from kdlab.data.plots import draw_views  # matplotlib is read only where something is drawn

        return draw_views(self, path, per_class)

    def _want(self, name: str) -> Wanted:
        self._parted()
        for want in self._wanted:
            if want.key == name:
                return want
        raise InputError(
            f"view {name!r}: this data module emits {', '.join(self.view_names)}; add {name!r} to its views"
        )

    # ---- loaders ----------------------------------------------------------------------------------------------------
    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled by (seed, epoch); after an interruption it goes on with the batch that would have come next."""
        replicas, rank = self._ranks()
        seed = self._run_seed()
        dataset = self._dataset("train", augment=self.augment, mix=self.mix, seed=seed, wanted=self._kept("train"))
        epoch, skip = self._resume_point()
        sampler = TrainSampler(
            len(dataset),
            batch_size=self.batch_size,
            seed=seed,
            drop_last=self.drop_last,
            epoch=epoch,
            skip=skip,
            num_replicas=replicas,
            rank=rank,
        )
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation windows in data set order."""
        return self.ordered_loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test windows in data set order, corrupted where ``corruption`` says so."""
        return self.ordered_loader("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Windows to predict in data set order: new ones where there are any, or else the test windows."""
        return self.ordered_loader("predict")

    def _corruption(self, stage: str) -> Augmentation | None:
        return self.corruption if stage in ("test", "predict", "unknown") else None

    def _dataset(
        self,
        stage: str,
        *,
        augment: Augmentation | None = None,
        mix: Mixing | None = None,
        seed: int | None = None,
        wanted: list[Wanted] | None = None,
    ) -> WindowDataset:
        data, split = self.data, self._parted()
        if stage not in (*STAGES, "predict", "unknown"):
            raise InputError(f"stage={stage!r}: expected train, val, test, predict or unknown")
        if stage == "unknown" and stage not in split.rows:
            raise InputError("stage='unknown': all classes are known; name some in unknown_classes")
        target = self._own_labels(data.target)
        rows = split.rows["test" if stage == "predict" else stage]
        if stage == "predict" and self._predict is not None:
            data, rows = self._predict, np.arange(len(self._predict))
            target = np.full(len(rows), -1)
        return WindowDataset(
            data.windows,
            target,
            rows,
            self._wanted if wanted is None else wanted,
            self._scalers,
            augment=augment,
            mix=mix,
            classes=self.num_classes,
            seed=self.split_seed if seed is None else seed,
            keyed_by_epoch=stage == "train",
            constants=None if augment is None else {s: self.constants(s) for s in {w.source for w in self._wanted}},
        )

    def _own_labels(self, target: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels among the known classes, from those of the data set; -1 for unknown classes."""
        if len(self._known) == len(self.data.classes):
            return target
        place = np.full(len(self.data.classes), -1)
        place[self._known] = np.arange(len(self._known))
        return place[target]

    def _read(
        self, stage: str, size: int, wanted: list[Wanted] | None, rows: NDArray[np.int64] | None = None
    ) -> Iterator[Batch]:
        dataset = self._dataset(stage, augment=self._corruption(stage), wanted=wanted)
        dataset.rows = dataset.rows if rows is None else rows
        for start in range(0, len(dataset), size):
            yield dataset.__getitems__(range(start, min(start + size, len(dataset))))

    def _loader(self, dataset: WindowDataset, sampler: TrainSampler | OrderedSampler) -> DataLoader[Batch]:
        workers = self.num_workers > 0
        return WindowLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=as_is,
            pin_memory=self.pin_memory
            and self.trainer is not None
            and isinstance(self.trainer.accelerator, CUDAAccelerator),
            persistent_workers=workers,
            multiprocessing_context=self.multiprocessing_context if workers else None,
            generator=Generator().manual_seed(0),  # a loader of its own never moves torch's global random state
        )

    def _ranks(self) -> tuple[int, int]:
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)

    def _run_seed(self) -> int:
        if self.seed is not None:
            return self.seed
        if self._restored_seed is not None:
            return self._restored_seed
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))

    def _resume_point(self) -> tuple[int, int]:
        """The epoch to begin with, and how many of its batches were already trained on."""
        if self.trainer is None:
            return 0, 0
        loop = self.trainer.fit_loop
        epoch: Any = loop.epoch_progress
        batch: Any = loop.epoch_loop.batch_progress
        if not (loop.restarting or loop.is_resuming):
            return epoch.current.processed, 0
        counted = epoch.current.processed == epoch.current.ready
        if batch.is_last_batch:
            if counted:  # under max_steps Lightning would go through the finished epoch once more, without batches
                loop._restarting = loop.epoch_loop.restarting = False
            return epoch.current.processed + (not counted), 0
        if counted and batch.current.processed > 0:
            # Lightning counts an epoch that max_steps, a signal or a callback cut short as done: open it again
            for progress in (epoch.current, epoch.total):
                progress.processed -= 1
                progress.completed = progress.processed
            loop.restarting = True
        return epoch.current.processed, batch.current.processed

    # ---- checkpoints ------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The seed of the order and the fingerprint."""
        return {"seed": self._run_seed(), "fingerprint": self.fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seed for training on, and refuse a split that the checkpoint was not trained on."""
        stage = "fit" if self.trainer is None or self.trainer.state.fn is None else self.trainer.state.fn.value
        if not (stage == "predict" and self._predict is not None):
            check_fingerprint(state_dict["fingerprint"], self.fingerprint, stage)
        if stage != "fit":
            return
        if self.seed is not None and self.seed != state_dict["seed"]:
            rank_zero_warn(
                f"seed={self.seed}, but the checkpoint was trained with seed {state_dict['seed']}: training goes on in "
                "another order than it would have without the interruption"
            )
        self._restored_seed = int(state_dict["seed"])


def complete_views(views: Mapping[str, View | None] | None) -> dict[str, View]:
    """Check the keys of ``views`` and fill those that repeat another one.

    Raises:
        InputError: no views, a version other than ``clean``, ``second`` and ``pair``, or nothing to repeat.

    >>> sorted(complete_views({"raw": Raw(), "raw/clean": None}))
    ['raw', 'raw/clean']
    """
    given: Mapping[str, View | None] = {"raw": Raw()} if views is None else views
    if not given:
        raise InputError('views: an empty mapping; expected at least one view, such as {"raw": Raw()}')
    result: dict[str, View] = {}
    for key, view in given.items():
        base, slash, version = key.partition("/")
        if not base or (slash and version not in VERSIONS):
            raise InputError(f"views: {key!r} is no key; expected a name, name/clean, name/second or name/pair")
        same = view if view is not None else (given.get(base) if slash else None)
        if same is None:
            raise InputError(
                f"views: {key!r} has no view; give one" + (f", or add {base!r} to repeat" if slash else "")
            )
        if not isinstance(same, View):
            raise InputError(f"views: {key!r} should be a View, such as Raw(), got {same!r}")
        result[key] = same
    return result


def known_classes(
    classes: Sequence[str], unknown: Sequence[Name] | None, merge: Mapping[str, str] | None = None
) -> list[int]:
    """Labels of the classes that are not named as unknown.

    Args:
        classes: names of the classes, in the order of their labels.
        unknown: names; a number that is no name is a label.
        merge: other spellings of a class -> the class.

    Raises:
        InputError: no list, a class that there is not, or fewer than two known ones.

    >>> known_classes(["lie", "sit", "walk"], ["sit"]), known_classes(["lie", "sit", "walk", "run"], [0, "run"])
    ([0, 2], [1, 2])
    """
    if isinstance(unknown, str) or not isinstance(unknown, Sequence | np.ndarray | None):
        raise InputError(f"unknown_classes: expected a list of classes, got {unknown!r}; write [{unknown}]")
    names = [str(c) for c in classes]
    given: list[Any] = [] if unknown is None else list(unknown)
    words(given, "unknown_classes")  # refuses what is no name
    given = [c if isinstance(c, int | np.integer) else text(c) for c in given]
    given = [(merge or {}).get(str(c), c) for c in given]
    wrong = [c for c in given if str(c) not in names and (isinstance(c, str) or c not in range(len(names)))]
    if wrong:
        raise InputError(
            f"unknown_classes: no class {', '.join(map(str, wrong))}; there are {', '.join(names)} (or labels, 0 to "
            f"{len(names) - 1})"
        )
    asked = {names[int(c)] if str(c) not in names else str(c) for c in given}
    known = [k for k, name in enumerate(names) if name not in asked]
    if asked and len(known) < 2:
        raise InputError(
            f"unknown_classes: of {', '.join(names)}, {len(known)} would be known; leave at least two to learn"
        )
    return known
