"""What a method does before its first step, in named steps, of which a method overrides the one that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from kdlab.fingerprint import OtherDataError, check_same_split, check_use
from kdlab.methods.arguments import objective_of
from kdlab.methods.averages import make_average
from kdlab.methods.checkpoints import check_not_masked, description, find_checkpoint, read_checkpoint
from kdlab.methods.class_weights import weight_classes
from kdlab.methods.dry_run import check_compiler
from kdlab.methods.ends import at_exception, forget_exception
from kdlab.methods.finite import check_finite
from kdlab.methods.input_sizes import InputSize, size_to_compare
from kdlab.methods.label_kinds import check_many_labels, check_same_labels
from kdlab.methods.origins import published_origin
from kdlab.methods.plans import plan_of
from kdlab.methods.pruned import warn_of_masks
from kdlab.methods.published_input import warn_of_other_input
from kdlab.methods.receiving import Receiving
from kdlab.methods.saving import write_complete
from kdlab.methods.tensor_files import SUFFIX, read_safetensors
from kdlab.methods.tuning import check_finders, finders
from kdlab.methods.view_checks import check_dtype, check_view, view_settings
from kdlab.methods.windows import datamodule_in, lacks, predicts_new, windows_in, windows_of
from kdlab.nets.base import Backbone
from kdlab.nets.pretrained import Published
from kdlab.nets.recorded import check_made_alike
from kdlab.types import InputError, Windows

#: the files that a run folder to start from is searched for, in this order
INIT_FILES = ("best.ckpt", "teacher.ckpt")
#: the windows that a trainer's stage evaluates
_EVALUATED = {"fit": "val", "validate": "val", "test": "test", "predict": "predict"}


class Preparation(Receiving):
    """The steps before a fit: net, data, teachers and weights are checked against each other and made ready.

    :meth:`prepare` takes them in this order: :meth:`check_labels`, :meth:`check_data`, :meth:`load_teachers`,
    :meth:`check_split`, :meth:`start_weights`, :meth:`standardise`, :meth:`weight_classes`, :meth:`build`. To validate,
    test or predict there is one, :meth:`check_trained`.
    """

    #: the argument that names the weights to start from
    init_argument: ClassVar[str] = "init"
    #: whether its steps are those that a weight of "auto" is measured with
    measures_weights: ClassVar[bool] = True

    net: Backbone
    view: str
    init: str | None
    #: fingerprint of the data that the weights were trained on, as far as it is known
    trained_on: Mapping[str, Any] | None
    #: source -> root mean square of each channel of those windows, as far as it is known
    amplitude: Mapping[str, Sequence[float]] | None
    #: the view that the weights were trained on, as text, as far as it is known
    view_settings: str | None
    #: whether windows have any number of labels each, so that targets are rows of 0 and 1
    many_labels: bool
    _backend: str
    _initialised: bool
    #: training windows without a label in the batches
    unlabelled: int = 0
    #: the published weights that the training began with: net, file, hash and licence
    published: Mapping[str, Any] | None = None
    #: how the weights of the running fit were trained, as far as it is known; empty before a fit
    provenance: dict[str, Any]
    #: the same of the weights, from training or from their checkpoint
    _known: dict[str, Any]
    #: random states of the checkpoint that the fit resumes from, and its sums over the epoch
    _random: dict[str, Any] | None
    _sums: Mapping[str, Any] | None
    #: the description of the checkpoint whose weights these are, until they are trained
    _loaded: Mapping[str, Any] | None = None
    #: whether weights were loaded into this method, from a checkpoint or a state dict
    _given: bool = False
    #: of the windows that are evaluated, where no fingerprints are compared
    _size: InputSize | None

    def setup(self, stage: str) -> None:
        """Check net and data against each other before anything is trained or written."""
        datamodule, self._random, self._sums = datamodule_in(self.trainer), None, None
        if stage == "fit" and self._compiler_ctx is not None:
            rank_zero_warn(
                f"{type(self).__name__}: torch.compile of a method compiles all that its steps do, checks and logs "
                "included, piece by piece, which may take minutes. Give the method itself to the trainer, and compile "
                "its net: write compile=True, or the name of a backend."
            )
        at_exception(self.trainer.strategy, partial(self._end, stage))
        self.receive_from(datamodule, stage)
        if stage == "fit" and (objective := objective_of(self)) is not None:
            who = type(self).__name__
            for name, (last, before) in objective.undo_annealing().items():
                rank_zero_info(f"{who}: {name} is {before:g}, as before the last fit, which annealed it to {last:g}.")
        windows = windows_of(datamodule)
        self._size = size_to_compare(self.net, self.trained_on, windows, fits=stage == "fit")
        self.prepare(datamodule, stage)
        write_complete(self.trainer.strategy)
        make_average(self, stage)
        if stage == "fit":
            warn_of_masks(self.trainer.callbacks)  # type: ignore[attr-defined]
        if stage == "fit" and finders(self.trainer.callbacks):  # type: ignore[attr-defined]
            check_finders(self.trainer.callbacks, self, plan_of(self.trainer).steps)  # type: ignore[attr-defined]
        windows.skip_views(set(windows.view_names) - self.evaluation_views(), _EVALUATED[stage])

    def teardown(self, stage: str) -> None:
        """Let the data module compute all views again, and tell of windows of another size than in training."""
        if self._size is not None:
            self._size.compare(f"{type(self).__name__}: this net", self.net, self.trained_on)
            self._size = None
        forget_exception(self.trainer.strategy)
        self._end(stage)

    def end_fit(self) -> None:
        """Undo what a fit changed in net, data and process.

        It is called however the fit ends, by an error or Ctrl-C, too; a second call has no effect.
        """

    def _end(self, stage: str) -> None:
        if stage == "fit":
            self.end_fit()
        windows_in(self.trainer).skip_views((), _EVALUATED[stage])

    def prepare(self, datamodule: Any, stage: str) -> None:
        """Check the view, the shapes, the classes and, to fit, standardise and load initial weights and teachers.

        A second call has no effect; the command line calls it before a run folder is made.

        Args:
            datamodule: the data, set up; None for plain loaders.
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            InputError: naming what does not fit and what to do.
        """
        declared = windows_of(datamodule)
        if not lacks(declared, "many_labels"):
            self.use_many_labels(declared.many_labels is True)
        if stage != "fit":
            self.check_trained(declared)
            if self._trainer is None:  # else a checkpoint may follow, see `check_measured`
                self._check_use(declared, stage)
            return
        windows = self._seen_windows(datamodule)
        self.check_labels(windows)
        if windows.unlabelled_count and self.reads_labels:
            rank_zero_warn(
                f"{type(self).__name__}: all of its terms read labels, so {windows.unlabelled_count} training windows "
                "without one are left out."
            )
            windows.leave_out_unlabelled()
        self.unlabelled = windows.unlabelled_count
        self.check_data(windows)
        self.load_teachers(windows)
        self.check_split(windows)
        self.start_weights(windows)
        self.standardise(windows)
        self.weight_classes(windows)
        self.build(windows)

    # ---- the steps --------------------------------------------------------------------------------------------------
    def use_many_labels(self, many: bool) -> None:
        """Take windows with any number of labels each, or with one."""
        self.many_labels = many

    def check_labels(self, windows: Windows) -> None:
        """Step 0: check that the method is defined for windows with any number of labels, where they have."""
        if self.many_labels:
            check_many_labels(type(self), objective_of(self), Preparation)

    def check_data(self, windows: Windows) -> None:
        """Step 1: check what the method needs of batches, such as their size or a second augmentation."""

    def load_teachers(self, windows: Windows) -> None:
        """Step 2: load the teachers, and check them against student and data."""

    def check_split(self, windows: Windows) -> None:
        """Step 3: check the net against its view and, where it was trained before, against the split."""
        self._check_view(windows)
        if self._backend:
            check_compiler(self._backend)
        check_same_split(
            self.trained_on,
            windows.fingerprint,
            f"{type(self).__name__}: this net",
            "Train a new net, or resume with the split of its training",
            before=" before",
        )

    def start_weights(self, windows: Windows) -> None:
        """Step 4: load the weights to start from, once."""
        if not self._initialised and self.init is not None:
            self._load_init(self.init, windows)
            self._initialised, self._loaded, self._known = True, None, {}

    def standardise(self, windows: Windows) -> None:
        """Step 5: fill the standardisation of the net from the training windows, unless it came with the weights."""
        self.trained_on = windows.fingerprint or self.trained_on
        self.amplitude = dict(windows.amplitude) or self.amplitude
        self.view_settings = view_settings(windows, self.view)
        if not self.net.standardize.filled and not lacks(windows, "view_statistics"):
            self.net.standardize.fill(*(windows.view_statistics(self.view) or ()))

    def weight_classes(self, windows: Windows) -> None:
        """Step 6: find the class weights of the label term in the training windows, where they are ``"balanced"``."""
        weight_classes(type(self).__name__, objective_of(self), windows, self.net.num_classes)

    def build(self, windows: Windows) -> None:
        """Step 7: make the adapters, whose shapes are determined by the steps before."""

    def check_trained(self, windows: Windows) -> None:
        """To validate, test or predict: check the view."""
        self._check_view(windows)

    def check_measured(self) -> None:
        """As a trainer begins to validate, test or predict: check the weights that it has loaded by now.

        Raises:
            InputError: a fit alone loads those that ``init`` names, or they were trained on what is evaluated here.
        """
        what = self.trainer.state.fn
        if what is not None and what != TrainerFn.FITTING:
            self.check_begun(f"trainer.{what.value}(..., ckpt_path={{file!r}})")
            self._check_use(windows_of(datamodule_in(self.trainer)), what.value)

    def on_test_start(self) -> None:
        """Check the weights, see :meth:`check_measured`."""
        self.check_measured()

    def on_predict_start(self) -> None:
        """Check the weights, see :meth:`check_measured`."""
        self.check_measured()

    def check_begun(self, line: str) -> None:
        """Refuse to use a net where ``init`` names other weights: a fit begins with them, nothing else loads them.

        Args:
            line: how to use the file itself, with ``{file!r}`` or ``{file}`` in its place.

        Raises:
            InputError: with that line.
        """
        if self.init is None or self._initialised or self._given or self._loaded is not None:
            return
        who = f"{type(self).__name__}: {self.init_argument}"
        file = str(find_checkpoint(self.init, INIT_FILES, who))
        raise InputError(
            f"{who} must be loaded by a fit, which begins with it, before this net is used, but got {self.init!r} and "
            f"no fit, so the net does not have these weights. Write {line.format(file=file)}, or fit first."
        )

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights, as of any module; a method that has them is not refused for an ``init`` that no fit loaded."""
        self._given = True
        return super().load_state_dict(*args, **kwargs)

    def describe_fit(self) -> dict[str, Any]:
        """The description of weights that this method trained, in plain values."""
        raise NotImplementedError(f"{type(self).__name__} must implement describe_fit().")

    def describe(self) -> dict[str, Any]:
        """The description in a checkpoint, in plain values; of loaded weights theirs, until they are trained."""
        if self._loaded is None:
            return self.describe_fit()
        known = self._loaded.get("provenance") or {}
        return {**self._loaded, "provenance": {**known, **self.provenance}}

    # ---- helpers ----------------------------------------------------------------------------------------------------
    def _check_view(self, windows: Windows) -> None:
        check_dtype(f"{type(self).__name__}", self.net, self._precision)
        check_view(f"{type(self).__name__}", self.view, self.net, windows)

    @property
    def _precision(self) -> str | None:
        return None if self._trainer is None else str(self._trainer.precision)

    def _check_use(self, windows: Windows, stage: str) -> None:
        check_use("the net", self.trained_on, windows.fingerprint, new=predicts_new(windows, stage))
        self._check_view_settings("the net", windows)

    def _check_view_settings(self, who: str, windows: Windows) -> None:
        here = view_settings(windows, self.view, self.view_settings)
        if here and self.view_settings and here != self.view_settings:
            raise OtherDataError(
                f"{who} was trained on the view {self.view_settings}, but here {self.view!r} is {here}. Use the view "
                "that it was trained on (config.yaml beside its checkpoints)."
            )

    def _load_init(self, init: str, windows: Windows) -> None:
        what = self.init_argument
        path = find_checkpoint(init, INIT_FILES, what)
        read: Any = read_safetensors if path.suffix == SUFFIX else read_checkpoint
        checkpoint: dict[str, Any] = read(path, what)
        described = description(checkpoint, what)
        who = f"{what}: {str(path)!r}"
        if described is None and isinstance(self.net, Published):
            self.net.take_published(checkpoint, who)
            warn_of_other_input(who, self.net, self.view, windows)
            self.published = published_origin(self.net, path)
            return
        if described is None:
            raise InputError(
                f"{who} must be a checkpoint of kdlab, but was not written by kdlab. Train one with kdlab."
            )
        check_same_labels(who, described, self.many_labels)
        self.published = described.get("published")
        remedy = "Start from a net of the same fold"
        check_same_split(described.get("fingerprint"), windows.fingerprint, who, remedy)
        state = {k.removeprefix("net."): v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")}
        check_finite(state, who)
        try:
            self.net.load_state_dict(state)
        except RuntimeError as error:
            check_not_masked(state, who)
            raise InputError(
                f"{who} holds {described['net']}, which is not this student, {self.net.spec}. Start from a net of the "
                f"same architecture. ({str(error).splitlines()[0]})"
            ) from error
        check_made_alike(described["net"], self.net.spec, who)
