"""The data module of windows: its arguments, its hooks for data sets, and what Lightning and methods read of it.

The way of the data: recordings (:meth:`WindowDataModule.load`) -> windows (`kdlab.data.windows`) -> split
(`kdlab.data.splits`) -> scaling (`kdlab.data.scaling`) -> augmentation, mixing and views
(`kdlab.data.dataset`) -> :class:`~kdlab.types.Batch`.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from kdlab.augment import Augmentation, Constants
from kdlab.data.amplitude import root_mean_square
from kdlab.data.auto_views import AutoViews, Sample
from kdlab.data.bound_views import bound_views
from kdlab.data.classes import dropped_classes, known_classes, refuse_twice
from kdlab.data.constants import channel_constants
from kdlab.data.cross_fit import LEFT_OUT, CrossFit, with_left_out
from kdlab.data.dataset import Wanted, WindowDataset
from kdlab.data.fingerprint_contents import fingerprint_contents
from kdlab.data.groups import Groups
from kdlab.data.identified import identified
from kdlab.data.identity import merge_map, words
from kdlab.data.label_rows import check_loaded, count_classes, many_declared, spellings
from kdlab.data.loaders import check_step, make_loader, ranks, reads_cuda, resume_point
from kdlab.data.mixing import Mixing
from kdlab.data.module_views import ModuleViews
from kdlab.data.moments import moments
from kdlab.data.people import People
from kdlab.data.prepared import Prepared, windows_to_predict
from kdlab.data.sampler import OrderedSampler, TrainSampler, train_sampler
from kdlab.data.scaling import Scale, make_scalers
from kdlab.data.split_table import Part, as_csv, in_words, split_table
from kdlab.data.splits import STAGES, Split, make_split
from kdlab.data.spread import spread
from kdlab.data.stored_views import StoredViews
from kdlab.data.unlabelled import Unlabelled
from kdlab.data.view_cache import ViewCache
from kdlab.data.view_keys import complete_views
from kdlab.data.windows import WindowSet, sample_length
from kdlab.files import write_text
from kdlab.fingerprint import check_fingerprint, make_fingerprint, salt
from kdlab.instances import check_instance
from kdlab.types import IN_PHYSICAL_UNITS, PHYSICAL, Batch, InputError, Name
from kdlab.views import Raw, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class WindowDataModule(LightningDataModule):
    """Windows of recordings, in views, split by subject. Data sets derive from this and write ``load``.

    The order is: load, split, scale, augment and mix (training only), view. Scaling comes first, so that thresholds and
    ranges of views are in scaled units; strengths of augmentations are in training standard deviations.

    Args:
        views: key -> view; None: ``{"raw": Raw()}``. A key that ends in ``/clean`` is computed from the window before
            augmentation and mixing, one that ends in ``/second`` from a second augmentation of it, and one that ends in
            ``/pair`` from another training window of the same class, drawn again in every epoch; ``pi/clean: null`` is
            the same view as ``pi``. Outside training all of them are equal. Seconds and pairs are mixed as the windows
            are. A key with ``/physical`` at its end (``raw/physical``, ``raw/clean/physical``) is computed from the
            window brought back to physical units after all of this, in float64: a raw view then is float64, and ranges
            and thresholds of others are in these units. A scaling that clips a window is refused with it. Ranges of a
            :class:`~kdlab.views.PersistenceImage` that are ``"auto"`` are found in the training windows at setup, and
            ``views`` holds them from then on; a net that is tested or teaches keeps those of its training.
        scale: ``"standard"`` (mean and standard deviation of the training windows, per channel), ``"minmax"`` (training
            windows to [0, 1]), ``"none"``, or constants, one ``Scale`` per source. The divisor of a channel that is
            constant in training is 1.
        augment: applied to training windows after scaling; strengths that refer to the training mean and standard
            deviation do so for every ``scale``.
        mix: `Mixup`, `PartialMixup` or `CutMix`: mixes the windows of a training batch with each other, after their
            augmentation and before their views; labels of training batches become class probabilities ``(B, K)``.
        corruption: applied to test and prediction windows, as ``augment`` is; the same for every run on one split.
            ``kdlab test`` and ``kdlab predict`` apply it. ``kdlab evaluate`` sets it aside and corrupts the windows
            itself, with every kind at three severities, and studies, which refuse it, do so with
            ``measure: [robustness]``.
        batch_size: windows per batch and process.
        num_workers: processes that fetch batches.
        split: ``"group"`` keeps all windows of a subject (of a recording, where subjects are unknown) in one part;
            ``"random_windows"`` does not, and its results are too high.
        test_subjects: the test subjects; None: the split that the data set names, or else a fifth of the subjects.
        val_subjects: the validation subjects; None: chosen by ``split_seed``.
        val_fraction: the least part of the training subjects that is held out for validation, never fewer than two.
        val_count: number of validation subjects, in place of ``val_fraction``; 1 gives a warning.
        val_choice: ``"balanced"``: the first of up to 200 random choices that has every class on both sides, between
            half and one and a half times its share of windows, and a mixture of classes like that of all (the rule of
            :func:`~kdlab.data.split_groups`); ``"random"``: the first that has every class on both sides, as in
            earlier versions. The two differ only where that one is unbalanced.
        split_seed: of every choice of subjects or recordings.
        seed: of the training order and the augmentation; None: what ``seed_everything`` was given, or else 0.
        train_per_class: keep so many training recordings (windows, where recordings are unknown) per class.
        unknown_classes: classes that are held out of training, by name or by label: ``"3"`` is the class of that name,
            ``3`` too where there is one (YAML does not distinguish the two), and else the label, counted from 0. Their
            windows are left out of training, validation and test; those of the test subjects are the stage
            ``"unknown"``, for an open-set score.
        labels: other spellings of a class -> the class, such as ``{Walk: walk}``. Classes that differ in case, blanks,
            leading zeros or number format only are refused until they are merged, or each is mapped to itself. The word
            ``"many"`` in place of a mapping: windows have any number of classes each, or none, and targets are rows of
            0 and 1, see `Batch`; ``"one"``: one each, as without it.
        subjects: likewise for people (recordings, where people are unknown), such as ``{s1: S1}``.
        drop_classes: classes whose windows are left out of all stages.
        subject_ids: ``"plain"``, or ``"hashed"``: fingerprints, checkpoints, tables and predictions hold salted hashes
            of people's (recordings') names. The salt is the environment variable ``KDLAB_SALT``, the same for all runs
            of a laboratory; leak checks compare hashes, and hash the names of earlier checkpoints. ``test_subjects``
            and ``val_subjects`` take hashes, too, so that a config need not hold names.
        sampling: ``"shuffled"``: every training window once an epoch; ``"balanced"``: as many windows an epoch, of each
            class the same number. Windows of rare classes are then repeated, each time with other random changes and
            another pair; of frequent classes every epoch has another random part. What a method keeps of a window
            (`PSKD`, `CRD`) is that of its last time. ``class_weights: balanced`` would balance the classes twice.
        unlabelled: training windows whose label is missing or not used, see `Unlabelled`; None: a missing label is
            refused or its window dropped, as the data set says. They train a student through its teachers alone.
        cross_fit: leave one of several groups of training people out, for teachers whose soft targets are for people
            whom they have not seen, see `CrossFit`.
        view_cache: folder on disk for computed views, see `ViewCache`; None: they are computed in every epoch.
        drop_last: leave out the training windows that do not fill a batch.
        pin_memory: keep batches in page-locked memory where a CUDA GPU reads them.
        multiprocessing_context: ``"fork"``, ``"spawn"`` or ``"forkserver"``; None: the platform's own.

    Raises:
        InputError: at construction for a wrong setting, in ``setup`` for data or a split that cannot be used.
    """

    name: str = "windows"
    #: keys in `kdlab.citations.BIBTEX`
    paper: tuple[str, ...] = ()
    #: of the data, as their authors state it, for the cards of students; empty: none is known
    licence: str = ""
    #: the argument that names the test subjects
    fold_argument: str = "test_subjects"
    #: the most training windows, evenly spread, whose numbers scale and standardise; None: all
    statistics_windows: int | None = None
    #: whether it can have windows with any number of labels each
    takes_many_labels: bool = False
    #: whether ``scale="minmax"`` clips what lies outside the training range, as ``Scale(clip=True)`` does
    clip_minmax: bool = False
    #: shared arguments that `load` depends on; of ``unlabelled`` it reads `missing_labels` alone. Studies read the
    #: windows again for other values of these, and refuse a `load` that reads further ones
    load_reads: tuple[str, ...] = ("labels", "subjects")

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
        labels: Literal["one", "many"] | dict[Any, Name] | None = None,
        subjects: dict[Any, Name] | None = None,
        drop_classes: list[Name] | None = None,
        subject_ids: Literal["plain", "hashed"] = "plain",
        sampling: Literal["shuffled", "balanced"] = "shuffled",
        unlabelled: Unlabelled | None = None,
        cross_fit: CrossFit | None = None,
        view_cache: ViewCache | None = None,
        drop_last: bool = True,
        pin_memory: bool = True,
        multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = None,
    ) -> None:
        super().__init__()
        _check_numbers(batch_size=(batch_size, 1), num_workers=(num_workers, 0), split_seed=(split_seed, 0))
        _check_numbers(seed=(0 if seed is None else seed, 0))
        for argument, value, kind, example in (
            ("augment", augment, Augmentation, "Noise()"),
            ("corruption", corruption, Augmentation, "Corruption()"),
            ("mix", mix, Mixing, "Mixup()"),
            ("unlabelled", unlabelled, Unlabelled, "Unlabelled(missing=True)"),
            ("cross_fit", cross_fit, CrossFit, "CrossFit(groups=3, without=1)"),
            ("view_cache", view_cache, ViewCache, 'ViewCache("views")'),
        ):
            check_instance(argument, value, kind, f"for example {argument}={example}")
        constants = scale.values() if isinstance(scale, Mapping) else [scale]
        rule = isinstance(scale, str) and scale in self.scales()
        if not rule and not all(isinstance(constant, Scale) for constant in constants):
            raise InputError(f"scale must be one of {', '.join(self.scales())}, or Scale constants, but got {scale!r}.")
        if mix is not None and batch_size < 2:
            raise InputError(
                f"mix: mixes the windows of a batch with each other, but batch_size={batch_size}; use a larger one"
            )
        if subject_ids not in ("plain", "hashed"):
            raise InputError(f'subject_ids must be "plain" or "hashed", but got {subject_ids!r}. Choose one of them.')
        if sampling not in ("shuffled", "balanced"):
            raise InputError(f'sampling must be "shuffled" or "balanced", but got {sampling!r}. Choose one of them.')
        if unlabelled is not None:
            unlabelled.check_batches(batch_size, sampling, drop_last)
        self.sampling, self.unlabelled, self.cross_fit = sampling, unlabelled, cross_fit
        #: whether windows whose label is missing are meant, by ``unlabelled: {missing: true}``
        self.missing_labels = unlabelled is not None and unlabelled.missing
        self.subject_ids, self.val_count, self.val_choice = subject_ids, val_count, val_choice
        self.view_cache = view_cache
        #: whether windows have any number of labels each, in rows of 0 and 1
        self.many_labels = many_declared(
            type(self).__name__,
            labels,
            self.takes_many_labels,
            views or (),
            drop_classes=drop_classes is not None,
            unknown_classes=unknown_classes is not None,
            train_per_class=train_per_class is not None,
            sampling=sampling == "balanced",
        )
        self.merge_labels = merge_map(spellings(labels), "labels")
        self.merge_subjects = merge_map(subjects, "subjects")
        self.drop_classes = None if drop_classes is None else words(drop_classes, "drop_classes")
        self.views = complete_views(views)
        self.mix, self.unknown_classes = mix, unknown_classes
        self.scale, self.augment, self.corruption = scale, augment, corruption
        self.batch_size, self.num_workers, self.drop_last = batch_size, num_workers, drop_last
        self.split, self.test_subjects, self.val_subjects = split, test_subjects, val_subjects
        self.val_fraction, self.split_seed, self.train_per_class = val_fraction, split_seed, train_per_class
        self.seed, self.pin_memory, self.multiprocessing_context = seed, pin_memory, multiprocessing_context
        self._given: WindowSet | None = None
        self._prepared: Prepared | None = None
        self._restored_seed: int | None = None
        self._restored_step: int | None = None
        self._closed = ""

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
        raise InputError(f"scale must be one of {', '.join(self.scales())}, or Scale constants, but got {word!r}.")

    def _chosen(self, data: WindowSet) -> WindowSet:
        """The windows that this module uses, of all windows with merged people and classes."""
        return data

    def _bind(self, data: WindowSet) -> list[Wanted]:
        """The views with their sources and channels, checked against the data."""
        return bound_views(self.views, data, {"augment": self.augment, "corruption": self.corruption})

    def _contents(self, data: WindowSet, split: Split) -> dict[str, Any]:
        """What else the fingerprint holds of the data."""
        return {}

    # ---- setting up -------------------------------------------------------------------------------------------------
    def setup(self, stage: str | None = None) -> None:
        """Load, check, split and scale, once; needs no trainer."""
        self._restored_seed = self._restored_step = None
        first = self._prepared is None
        if self._prepared is None:
            self._prepared = self._prepare()
        self._prepared.labels_only = self.unlabelled is not None and self.unlabelled.left_out
        self._prepared.views.reset()  # to the ranges that were found, in place of those of a net
        self.views = self._prepared.views.as_given()
        if first:
            rank_zero_info(self._summary())

    def _prepare(self) -> Prepared:
        loaded = self.load() if self._given is None else self._given
        check_loaded(type(self).__name__, self.many_labels, loaded.labels)
        people = People(self.merge_subjects, salt() if self.subject_ids == "hashed" else None)
        data, merged = identified(loaded, self.merge_labels, self.merge_subjects)
        data = self._chosen(data)
        dropped = dropped_classes(data, [self.merge_labels.get(c, c) for c in self.drop_classes or ()], self.name)
        known = known_classes(data.classes, self.unknown_classes, self.merge_labels)
        unlabelled = self._unlabelled_of(data, people)
        no_class = [] if unlabelled is None else [data.classes.index(name) for name in unlabelled.names(data)]
        unknown = sorted(set(range(len(data.classes))) - set(known))
        refuse_twice(
            data.classes, {"unlabelled: classes": no_class, "unknown_classes": unknown, "drop_classes": dropped}
        )
        split = make_split(
            data,
            split=self.split,
            test_subjects=people.found(data, self.test_subjects, "test_subjects"),
            val_subjects=people.found(data, self.val_subjects, "val_subjects"),
            val_fraction=self.val_fraction,
            val_count=self.val_count,
            val_choice=self.val_choice,
            seed=self.split_seed,
            train_per_class=self.train_per_class,
            unknown=unknown,
            dropped=dropped,
            unlabelled=unlabelled,
            cross_fit=self.cross_fit,
        )
        train = with_left_out(split.rows)
        rule = self.scale
        if isinstance(rule, str) and rule not in WindowDataModule.scales():
            rule = self.named_scale(rule)
        scalers = make_scalers(data, self._sampled(train), rule, clip=self.clip_minmax)
        ready = Prepared(
            data=data,
            split=split,
            scalers=scalers,
            views=ModuleViews(AutoViews(self.views, self._bind(data), Sample(data, train, scalers))),
            known=[k for k in known if k not in dropped and k not in no_class],
            people=people,
            predict=windows_to_predict(self.load_predict(), data, train),
            merged=merged,
            stored=None if self.view_cache is None else StoredViews(self.view_cache, data.windows, scalers),
        )
        settings = {"seed": self.split_seed, "train_per_class": self.train_per_class, **self._contents(data, split)}
        contents = fingerprint_contents(self.name, ready, settings, self.drop_classes)
        ready.fingerprint = make_fingerprint(contents, people.salt)
        return ready

    def _unlabelled_of(self, data: WindowSet, people: People) -> Unlabelled | None:
        """The windows without a label, with the names of people and classes as they are in the data.

        Where none are declared, they are those that the data set itself has (``x_unlabelled``).
        """
        given = self.unlabelled
        if given is None and data.missing_labels:
            given = Unlabelled(missing=True)
        if given is None:
            return None
        classes = None if given.classes is None else words(given.classes, "unlabelled: classes")
        return replace(
            given,
            people=None if given.people is None else list(people.found(data, given.people, "unlabelled: people") or []),
            classes=None if classes is None else [self.merge_labels.get(name, name) for name in classes],
        )

    @property
    def _ready(self) -> Prepared:
        """What setup makes; set up now where that was not done before."""
        if self._prepared is None:
            self.setup()
        if self._prepared is None:
            raise InputError(f"{type(self).__name__}.setup did not load any windows")
        return self._prepared

    def _summary(self) -> str:
        ready = self._ready
        text = in_words([row for row in self.split_table() if row.part in STAGES], ready.split.grouping)
        if "unknown" in ready.split.rows:
            names = ", ".join(ready.fingerprint["unknown_classes"])
            text += f"; unknown {len(ready.split.rows['unknown'])} test windows ({names})"
        if "unlabelled" in ready.split.rows:
            text += f"; {len(ready.split.rows['unlabelled'])} training windows without a label"
            text += ", left out" if ready.labels_only else ""
        if LEFT_OUT in ready.split.rows:
            text += (
                f"; {len(ready.split.rows[LEFT_OUT])} windows of {len(ready.split.groups[LEFT_OUT])} people left out"
            )
        return f"{self.name}: {text}"

    def _sampled(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The training windows whose numbers scale and standardise."""
        return spread(rows, self.statistics_windows)

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

    def close_test(self, why: str) -> None:
        """Refuse from now on to give out test windows, also as those to predict or of unknown classes.

        Args:
            why: for the message.

        >>> from kdlab.data import BasicMotions
        >>> data = BasicMotions()
        >>> data.close_test("settings are chosen on validation windows.")
        >>> data.test_dataloader()
        Traceback (most recent call last):
        kdlab.types.InputError: test windows are closed: settings are chosen on validation windows.
        """
        self._closed = why

    # ---- the data set and its split ---------------------------------------------------------------------------------
    @property
    def data(self) -> WindowSet:
        """All windows, in physical units, with the labels of the data set, those of unknown classes included."""
        return self._ready.data

    @property
    def classes(self) -> list[str]:
        """Names of the known classes, in the order of the labels."""
        return self._ready.classes

    @property
    def predicts_new(self) -> bool:
        """Whether ``predict`` reads new windows, without labels, in place of the test windows."""
        return self._ready.predict is not None

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
        """Data set, split and scaling as plain numbers and words, with an ``id`` over all of it."""
        copy: dict[str, Any] = json.loads(json.dumps(self._ready.fingerprint))
        return copy

    @property
    def amplitude(self) -> dict[str, list[float]]:
        """Source -> root mean square of each channel of its training windows, in physical units; not of images.

        A trained net takes it along, and tells of windows in another unit.

        >>> from kdlab.data import BasicMotions
        >>> [round(rms, 1) for rms in BasicMotions().amplitude["raw"]]
        [7.4, 6.8, 3.5, 2.0, 1.7, 3.5]
        """
        rows, found = self.train_index, self.data.windows
        return {source: root_mean_square(x, rows).tolist() for source, x in found.items() if x.ndim == 3 and len(rows)}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Stage -> number of windows and of groups; ``train`` are those with a label, ``unlabelled`` the others."""
        split = self._ready.split
        stages = [*STAGES, *(stage for stage in ("unlabelled", LEFT_OUT) if stage in split.rows)]
        return {s: {"windows": len(split.rows[s]), "groups": len(split.groups[s])} for s in stages}

    @property
    def train_index(self) -> NDArray[np.int64]:
        """`Batch.index` of the training windows, in the order of ``batches("train")``: those without a label last."""
        return self._ready.train_rows()

    @property
    def unlabelled_count(self) -> int:
        """Number of training windows without a label that batches hold; their target is -1."""
        return len(self._ready.unlabelled)

    def leave_out_unlabelled(self) -> None:
        """Leave the windows without a label out of training batches, until the next ``setup``."""
        self._ready.labels_only = True

    @property
    def class_counts(self) -> list[int]:
        """Number of training windows of each known class, in the order of the labels; with many each, they overlap.

        Windows without a label are not counted.

        >>> from kdlab.data import BasicMotions
        >>> data = BasicMotions()
        >>> len(data.class_counts), sum(data.class_counts) == data.counts["train"]["windows"]
        (4, True)
        """
        _, rows, target = self._ready.rows("train")
        labelled = target[rows[: len(self._ready.train_rows(unlabelled=False))]]
        return [int(count) for count in count_classes(labelled, self.num_classes)]

    def split_table(self) -> list[Part]:
        """The people of each part, with windows and minutes; people are hashes under ``subject_ids="hashed"``.

        >>> x = np.random.default_rng(0).normal(size=(60, 3, 50))
        >>> from kdlab.data import ArrayDataModule
        >>> data = ArrayDataModule(x, np.arange(60) % 2, np.arange(60) // 6, sampling_rate=50.0, step=50)
        >>> data.split_table()[0]
        Part(part='train', name='1', windows=6, minutes=0.1)
        """
        ready = self._ready
        return split_table(ready.data, ready.split, ready.people.shown)

    def write_split(self, path: str | Path) -> None:
        """Write :meth:`split_table` as CSV: part, subject (recording), windows, minutes."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, as_csv(self.split_table(), self._ready.split.grouping))

    def subject_counts(self) -> dict[str, int]:
        """Subject, as shown, -> number of windows, in natural order; empty where subjects are unknown."""
        if self.data.subject is None:
            return {}
        group, shown = Groups.of(self.data.subject), self._ready.people.shown
        counts = np.bincount(group.code, minlength=len(group.names)).tolist()
        return {shown(name): count for name, count in zip(group.names, counts, strict=True)}

    def testable_subjects(self) -> list[str]:
        """Subjects, as shown, who have a window to test: one whose label is used, of a class that is not dropped."""
        if self.data.subject is None:
            return []
        ready = self._ready
        return [ready.people.shown(name) for name in Groups.of(self.data.subject).among(ready.split.kept)]

    def subject_of(self, index: Sequence[int]) -> list[str]:
        """Subjects of windows, by their ``Batch.index``; ``""`` where unknown."""
        ready = self._ready
        subject = ready.data.subject
        if subject is None or (self.predicts_new and self.trainer is not None and self.trainer.predicting):
            return [""] * len(index)
        names = [str(subject[i if i >= 0 else -1 - i]) for i in (int(j) for j in index)]
        shown = {name: ready.people.shown(name) for name in set(names)}
        return [shown[name] for name in names]

    def moments_of(self, index: Sequence[int]) -> list[tuple[str, str, str]]:
        """Recording, start and end of windows to predict, by their ``Batch.index``; empty where they are not known."""
        return []

    # ---- views ------------------------------------------------------------------------------------------------------
    @property
    def view_names(self) -> list[str]:
        """Keys of the views in a batch."""
        return list(self.views)

    def view_shape(self, name: str) -> tuple[int, ...]:
        """Shape of one sample of a view, without the batch axis."""
        ready = self._ready
        want = ready.views.want(name)
        length = sample_length(ready.data.windows[want.source])
        return tuple(want.view.shape(len(ready.data.channels[want.source]), length))

    def view_settings(self, name: str) -> str:
        """The view of a key, with its settings, channels and units, as text that is equal for equal views."""
        want = self._ready.views.want(name)
        return repr(want.view) + IN_PHYSICAL_UNITS * want.physical

    def adopt_view(self, name: str, settings: str, again: bool = False) -> None:
        """Take the ranges that a net was trained with, where those of a view are ``"auto"``, until the next ``setup``.

        The data of its training give the same ones; others do not. Nothing changes where ``settings`` is another view
        in more than these numbers.

        Args:
            name: key of the view.
            settings: ``view_settings`` in the training of the net.
            again: also where ranges of another net were taken since the last ``setup``.
        """
        views = self._ready.views
        views.adopt(name, settings, again)
        self.views = views.as_given()

    def physical_view(self, name: str) -> None:
        """Compute a view also from windows in physical units, under the key ``name/physical``, until the next setup.

        Args:
            name: key of the view, with or without ``/physical``; nothing changes where it is there already.

        Raises:
            InputError: no such view, or a scaling that clips windows, whose range is lost.

        >>> from kdlab.data import BasicMotions
        >>> data = BasicMotions()
        >>> data.physical_view("raw")
        >>> data.view_names, next(data.batches("val")).views["raw/physical"].dtype
        (['raw', 'raw/physical'], torch.float64)
        """
        views = self._ready.views
        views.add_physical(name)
        self.views = views.as_given()

    def view_statistics(self, name: str) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation per channel of a view over the training windows without augmentation.

        Returns:
            None where the view is the raw signal and already standardised (``scale="standard"`` or the user's
            constants, and not in physical units). The standard deviation of a constant channel is given as 1.
        """
        want, known = self._ready.views.want(name), self._ready.views.statistics
        if name not in known:
            own = isinstance(self.scale, str) and self.scale != "standard"
            if isinstance(want.view, Raw) and not own and not want.physical:
                known[name] = None
            else:
                rows = self._sampled(self._ready.train_rows(unlabelled=False))
                mean, std = moments(b.views[name].double().numpy() for b in self._read("train", 256, [want], rows))
                known[name] = (mean.tolist(), np.where(std < 1e-12, 1.0, std).tolist())
        return known[name]

    def constants(self, source: str) -> Constants:
        """Training mean and standard deviation per channel, to which strengths of augmentations of a source refer.

        Under ``scale="standard"`` these are 0 and 1 by definition.
        """
        ready = self._ready
        if source not in ready.constants:
            standard = isinstance(self.scale, str) and self.scale == "standard"
            x, names = ready.data.windows[source], ready.data.channels[source]
            rows = self._sampled(ready.train_rows(unlabelled=False))
            ready.constants[source] = channel_constants(x, rows, ready.scalers[source], names, standard=standard)
        return ready.constants[source]

    def training_view(self, name: str) -> dict[str, str | None]:
        """What a view of the training windows depends on: equal values, equal views.

        Returns:
            ``fingerprint`` (its id), ``windows`` (a digest of their indices and of up to 1024 of them), ``view`` (its
            class, digest and source) and ``augmentation``, what changes the windows at random before this view (their
            mixing included).
        """
        want, rows = self._ready.views.want(name), self.train_index
        digest = hashlib.blake2b(rows.tobytes(), digest_size=16)
        some = self.data.windows[want.source][rows[:: max(1, len(rows) // 1024)]]
        digest.update(np.ascontiguousarray(some).tobytes())
        steps = {"mix": self.mix, "augment": self.augment}
        changes = [f"{k}: {step!r}" for k, step in steps.items() if step is not None and want.version != "clean"]
        changes += ["another window of the class"] if want.version == "pair" else []
        return {
            "fingerprint": str(self._ready.fingerprint["id"]),
            "windows": digest.hexdigest(),
            "view": f"{type(want.view).__qualname__}:{want.view.digest}:{want.source}" + PHYSICAL * want.physical,
            "augmentation": ", ".join(changes) or None,
        }

    def skip_views(self, names: Collection[str], stage: str = "train") -> None:
        """Leave these views out of a stage's loaders from now on, until the next ``setup``.

        Args:
            names: keys of views.
            stage: ``"train"``, ``"val"``, ``"test"`` or ``"predict"``.
        """
        self._ready.views.skip(names, stage)

    def plot_views(self, path: str | Path | None = None, per_class: int = 1) -> Figure:
        """Draw windows of every class as signal and in each view.

        Args:
            path: where the figure is written; None: it is only returned.
            per_class: windows per class.
        """
        from kdlab.data.plots import draw_views  # matplotlib is read only where something is drawn

        return draw_views(self._dataset("train"), self.data, self.classes, path, per_class)

    # ---- batches ----------------------------------------------------------------------------------------------------
    def batches(
        self, stage: str = "train", batch_size: int | None = None, views: Sequence[str] | None = None
    ) -> Iterator[Batch]:
        """Batches of ``"train"``, ``"val"``, ``"test"`` or ``"predict"`` in data set order, without augmentation.

        Args:
            stage: which windows.
            batch_size: windows per batch; None: as in training.
            views: the views that are computed; None: all.
        """
        wanted = None if views is None else [self._ready.views.want(name) for name in views]
        return self._read(stage, batch_size or self.batch_size, wanted)

    def ordered_loader(self, stage: str, views: Sequence[str] | None = None) -> DataLoader[Batch]:
        """The batches of :meth:`batches`, fetched by workers and dealt to the ranks.

        Args:
            stage: ``"train"``, ``"val"``, ``"test"`` or ``"predict"``.
            views: the views that are computed; None: all but the skipped ones.
        """
        replicas, rank = ranks(self.trainer)
        known = self._ready.views
        wanted = known.kept(stage) if views is None else [known.want(name) for name in views]
        dataset = self._dataset(stage, augment=self._corruption(stage), wanted=wanted)
        return self._loader(dataset, OrderedSampler(len(dataset), num_replicas=replicas, rank=rank))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled or balanced by (seed, epoch); an interrupted training resumes with the batch that comes next."""
        replicas, rank = ranks(self.trainer)
        if self.unlabelled is None and self.unlabelled_count:  # those that the data set itself has
            Unlabelled(missing=True).check_batches(self.batch_size, self.sampling, self.drop_last)
        seed, wanted = self._run_seed(), self._ready.views.kept("train")
        dataset = self._dataset("train", augment=self.augment, mix=self.mix, seed=seed, wanted=wanted)
        epoch, skip = resume_point(self.trainer)
        if skip:
            check_step(self._restored_step, self.step_windows, "the checkpoint")
        sampler = train_sampler(
            dataset.target[dataset.rows],
            batch_size=self.batch_size,
            balanced=self.sampling == "balanced",
            ratio=None if self.unlabelled is None else self.unlabelled.ratio,
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
        """Test windows in data set order, with the ``corruption``."""
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
        if self._closed and stage not in ("train", "val"):
            raise InputError(f"{stage} windows are closed: {self._closed}")
        ready = self._ready
        sources = {want.source for want in ready.views.wanted}
        return ready.dataset(
            stage,
            ready.views.wanted if wanted is None else wanted,
            self.split_seed if seed is None else seed,
            augment=augment,
            mix=mix,
            constants=None if augment is None else {source: self.constants(source) for source in sources},
        )

    def _read(
        self, stage: str, size: int, wanted: list[Wanted] | None, rows: NDArray[np.int64] | None = None
    ) -> Iterator[Batch]:
        dataset = self._dataset(stage, augment=self._corruption(stage), wanted=wanted)
        dataset.rows = dataset.rows if rows is None else rows
        for start in range(0, len(dataset), size):
            yield dataset.__getitems__(range(start, min(start + size, len(dataset))))

    def _loader(self, dataset: WindowDataset, sampler: TrainSampler | OrderedSampler) -> DataLoader[Batch]:
        return make_loader(
            dataset,
            sampler,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory and reads_cuda(self.trainer),
            context=self.multiprocessing_context,
        )

    # ---- checkpoints ------------------------------------------------------------------------------------------------
    def _run_seed(self) -> int:
        if self.seed is not None:
            return self.seed
        if self._restored_seed is not None:
            return self._restored_seed
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))

    @property
    def step_windows(self) -> int:
        """Windows of the batches that all processes read at the same time."""
        return self.batch_size * ranks(self.trainer)[0]

    def state_dict(self) -> dict[str, Any]:
        """The seed of the order, the windows per step and the fingerprint."""
        return {"seed": self._run_seed(), "step_windows": self.step_windows, "fingerprint": self.fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seed for training on, and refuse a split that the checkpoint was not trained on."""
        stage = "fit" if self.trainer is None or self.trainer.state.fn is None else self.trainer.state.fn.value
        if not (stage == "predict" and self.predicts_new):
            check_fingerprint(state_dict["fingerprint"], self.fingerprint, stage)
        if stage != "fit":
            return
        if self.seed is not None and self.seed != state_dict["seed"]:
            rank_zero_warn(
                f"seed={self.seed}, but the checkpoint was trained with seed {state_dict['seed']}: training resumes in "
                "another order than it would have had without the interruption"
            )
        self._restored_seed = int(state_dict["seed"])
        step = state_dict.get("step_windows")  # checkpoints of 0.1 have none
        self._restored_step = None if step is None else int(step)


def _check_numbers(**limits: tuple[int, int]) -> None:
    """Refuse what is no whole number of at least so much: argument -> (value, least)."""
    for argument, (value, least) in limits.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{argument} must be a whole number of at least {least}, but got {value!r}.")
