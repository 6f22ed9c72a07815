"""Objective: named terms of the outputs of a student and its teachers, whose sum is the loss."""

from __future__ import annotations

import importlib
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self, dataclass_transform

import torch
from torch import Tensor, nn

from kdlab import distributed, functional
from kdlab.fields import AUTO, Field, accepted, argument, declare, documented, in_words, parameters, setting, texts
from kdlab.pairs import MissingTapError, by_teacher, checked_pairs, renamed, student_taps, what_nets_have
from kdlab.temperature import NAME, PAPER, START, LearntTemperature
from kdlab.types import InputError, Output

#: what a term reads of a teacher's tap: the feature itself, its sum of squares over channels, or its Gram matrix
Need = Literal["feature", "attention", "gram"]
#: the argument ``pairs: Pairs | None = PAIRS`` of an objective, beside its argument ``taps``
PAIRS: Any = argument(
    "``{student's tap: teacher's tap}`` in place of ``taps``, for nets whose taps have other names, or such a mapping "
    "per teacher; ``None``: the same names.",
    default=None,
    check=checked_pairs,
)
#: the head of a teacher: from a map in place of its tap ``"stage3"`` to class logits ``(B, K)``
Classifier = Callable[[Tensor], Tensor]


class CachedOutput(Output):
    """The cached output of a frozen teacher for the windows of a batch.

    Attributes:
        grams: tap -> Gram matrix of the batch over all ranks, in place of the tap's feature. A tap of which only the
            sum of squares over channels is read may be a feature of one channel with the same sum of squares.
    """

    grams: dict[str, Tensor]

    def __new__(cls, logits: Tensor, features: dict[str, Tensor], grams: dict[str, Tensor]) -> Self:
        """An output with Gram matrices."""
        output = super().__new__(cls, logits, features)
        output.grams = grams
        return output


@dataclass_transform(kw_only_default=True, field_specifiers=(setting, argument))
class Objective(nn.Module, ABC):
    """Named, weighted, finite 0-dim terms from the outputs of a student and its teachers.

    A subclass declares its arguments as fields (:func:`kdlab.fields.setting` for a number that may change during
    training, :func:`kdlab.fields.argument` for all others), inherits those of the classes above it, and implements
    :meth:`forward`. Constructor, signature, ``--help`` and the checks of types and ranges are made from the fields;
    checks of several fields together belong into ``__post_init__``. A weight of a term without an upper bound may be
    ``"auto"``: methods measure it before the first update. A setting is a 0-dim float32 buffer; it is no part
    of the state dict, is logged through :meth:`settings` and changed through :meth:`set`, which never waits for a
    device. A subclass with a constructor of its own may register settings with :meth:`setting`.

    Modules that are trained with the student (a regressor onto a teacher's feature, an embedding) are its
    ``adapters``: a subclass makes them in :meth:`make_adapters` from features of the right shapes. They are made once,
    by :meth:`adapt` or by the first call; call :meth:`adapt` before you make an optimiser, as `Distillation` does.

    Attributes:
        adapters: name -> module that is trained with the student; empty in most objectives.
        paper: keys in :data:`kdlab.citations.BIBTEX` of the source of the equation.
        taps: names of the features that student and teachers must have.
        reads: what it reads of a teacher's taps; see :meth:`needs`.
        moves: settings that :meth:`at` changes, so that no callback can.
        takes_many_labels: whether its terms are defined for windows with any number of labels each, whose targets are
            rows of 0 and 1; a subclass does not inherit it, but declares it by itself.
        takes_index: whether :meth:`forward` takes ``index``.
        reads_labels: whether all of its terms read the labels, so that windows without one have nothing to give.
        zero_when_equal: the terms besides ``"ce"`` are zero when every teacher equals the student.
        order_invariant: the order of the batch does not matter.
        reason: why one of the two does not hold.

    Example:
        >>> from kdlab.fields import Setting, setting
        >>> class Confidence(Objective):
        ...     entropy_weight: Setting = setting("weight of the entropy, at least 0", default=0.1)
        ...     def forward(self, *, student, teachers, target, index=None):
        ...         p = student.logits.softmax(1)
        ...         entropy = -(p * p.log()).sum(1).mean()
        ...         return {"ce": functional.cross_entropy(student.logits, target), "h": self.entropy_weight * entropy}
        >>> terms = Confidence()(student=Output(torch.zeros(1, 2), {}), teachers={}, target=torch.tensor([0]))
        >>> {name: round(float(term), 4) for name, term in terms.items()}
        {'ce': 0.6931, 'h': 0.0693}
    """

    paper: ClassVar[tuple[str, ...]] = ()
    taps: tuple[str, ...] = ()
    reads: ClassVar[Need] = "feature"
    moves: tuple[str, ...] = ()
    takes_many_labels: ClassVar[bool] = False
    takes_index: bool = True
    reads_labels: bool = False
    zero_when_equal: bool = True
    order_invariant: bool = True
    reason: str = ""
    #: whether a teacher has other classes than the student, so that its logits are not read
    other_classes: bool = False
    #: arguments of every objective that declares a setting ``temperature``, see `kdlab.fields`
    learn_temperature: bool = False
    temperature_epochs: int = 10
    standardise: bool = False
    _fields: ClassVar[dict[str, Field]] = {}
    _pairs: Mapping[str, Any] | None = None  # of its argument ``pairs``, where that is of taps

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make constructor, signature and docstring from the declared fields."""
        super().__init_subclass__(**kwargs)
        above: dict[str, Field] = {}
        for base in reversed(cls.__mro__[1:]):
            inherited = [getattr(b, "_fields", {}) for b in base.__bases__]
            fields = vars(base).get("_fields", {}).items()
            above |= {name: field for name, field in fields if all(field is not i.get(name) for i in inherited)}
        cls._fields = declare(cls, above)
        given = inspect.signature(cls.forward).parameters
        cls.takes_index = "index" in given or any(p.kind is p.VAR_KEYWORD for p in given.values())
        written = next(base for base in cls.__mro__ if "__init__" in vars(base))
        if written is Objective or getattr(vars(written)["__init__"], "declared", False):  # none by hand
            cls.__init__ = _constructor(cls)  # type: ignore[method-assign]
            cls.__doc__ = documented(cls.__doc__, texts(cls._fields))

    @classmethod
    def declared(cls) -> dict[str, Field]:
        """Name -> declaration of every argument, those of the classes above first."""
        return dict(cls._fields)

    @classmethod
    def accepted(cls) -> dict[str, Field]:
        """Name -> declaration of what the constructor takes, also where it is written by hand."""
        return accepted(cls, cls._fields)

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self._ranges: dict[str, tuple[float, float]] = {}
        self._initial: dict[str, float] = {}
        self._annealed: dict[str, float] = {}
        #: weights that are ``"auto"`` and not measured yet
        self.open_weights: set[str] = set()
        #: weights that were measured
        self.measured_weights: dict[str, float] = {}
        self.adapters = nn.ModuleDict()
        #: state of adapters that a checkpoint held before they were made; see `kdlab.methods.dry_run.take_adapters`
        self.trained_adapters: dict[str, Tensor] = {}
        self._adapted = False
        who, fields = type(self).__name__, self._fields
        if unknown := sorted(values.keys() - {name for name, field in fields.items() if field.init}):
            names = ", ".join(name for name, field in fields.items() if field.init) or "none"
            raise TypeError(f"{who}: has no argument {', '.join(map(repr, unknown))}. Its arguments are {names}.")
        for name, field in fields.items():
            value = field.checked(who, name, values.get(name, field.default))
            if field.may_be_auto and value == AUTO:
                self.setting(name, 1.0, *field.range)
                self.open_weights.add(name)
            elif field.annealed and value is not None:
                self.setting(name, value, *field.range)
            else:
                setattr(self, name, value)
        if "pairs" in fields and fields["pairs"].check is checked_pairs and self.pairs is not None:
            self._take_taps(self.pairs, values)
        self._complete = False
        self.__post_init__()
        if not self._complete:
            raise TypeError(f"{who}.__post_init__ must call super().__post_init__(), but does not. Call it first.")
        if self.learn_temperature:
            self._learn_temperature(values)
        if self.standardise:
            self.paper = (*self.paper, "sun2024logit")  # type: ignore[misc]

    def _learn_temperature(self, values: Mapping[str, Any]) -> None:
        """Check what is given beside ``learn_temperature``, and begin with the temperature that is learnt."""
        who, default = type(self).__name__, self._fields["temperature"].default
        if (given := values.get("temperature", default)) != default:
            raise InputError(
                f"{who}: temperature must be left out (or {default:g}) where learn_temperature is true, but got "
                f"{given!r}. Choose one of the two."
            )
        if not self.needs_logits:
            raise InputError(
                f"{who}: learn_temperature must be false where no logits of teachers are read, but got True with "
                "kd_weight=0. Raise kd_weight."
            )
        self.moves, self.paper = (*self.moves, "temperature"), (*self.paper, PAPER)  # type: ignore[misc]
        self._initial["temperature"] = START
        self.settings()["temperature"].fill_(START)

    def _take_taps(self, pairs: Any, values: Mapping[str, Any]) -> None:
        """The taps of the student are those that are paired."""
        self._pairs = pairs
        taps, default = student_taps(pairs), self._fields["taps"].default
        given = values.get("taps", default)
        if tuple(given) != tuple(default) and set(given) != set(taps):
            raise InputError(
                f"{type(self).__name__}: taps must be those of the student in pairs, {sorted(taps)}, but got "
                f"{given!r}. Leave one of the two out."
            )
        self.taps = taps

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The terms of :meth:`forward`, for teachers whose taps have the names of the student's.

        Raises:
            InputError: if a net lacks a tap; lists what each net has.
        """
        given: dict[str, Output] = kwargs.get("teachers", {})
        try:
            if self._pairs is not None or self.learn_temperature:
                self.adapt(student=kwargs["student"], teachers=given)  # under the teachers' own names
            if self._pairs is not None:
                kwargs["teachers"] = self.paired(given)
            with self._learnt_temperature():
                return super().__call__(*args, **kwargs)
        except MissingTapError as error:
            raise self._missing(error, kwargs.get("student"), given) from error

    @contextmanager
    def _learnt_temperature(self) -> Iterator[None]:
        """Within it the setting ``temperature`` is the learnt one, with its gradient, and afterwards its value."""
        if not self.learn_temperature:
            yield
            return
        value, learnt = self._buffers["temperature"], self.adapters[NAME]()
        assert value is not None
        value.copy_(learnt.detach())
        self._buffers["temperature"] = learnt
        try:
            yield
        finally:
            self._buffers["temperature"] = value

    def scaled(self, logits: Tensor) -> Tensor:
        """The logits that a term of distillation reads: with ``standardise`` their z-scores over the classes.

        Args:
            logits: ``(B, K)``.
        """
        return functional.standardise_logits(logits) if self.standardise else logits

    def _missing(self, error: MissingTapError, student: Output | None, teachers: Mapping[str, Output]) -> InputError:
        """The refusal of a tap that a net lacks, with what each net has."""
        if student is None:
            return error
        pairs = "" if self._pairs is None else f" (pairs={dict(self._pairs)})"
        remedy = "Choose taps= among those of all nets"
        if "pairs" in self._fields:
            remedy += ", or pair them: pairs={<tap of the student>: <tap of the teacher>}"
        return InputError(f"{error.lacks}{pairs}; {what_nets_have(student, teachers)}. {remedy}.")

    def paired(self, teachers: Mapping[str, Output]) -> dict[str, Output]:
        """The outputs of teachers with each paired tap under the name of the student's.

        Raises:
            InputError: if pairs name other teachers.
        """
        if self._pairs is None:
            return dict(teachers)
        found: dict[str, Output] = {}
        pairs = by_teacher(type(self).__name__, self._pairs, teachers)
        for name, output in teachers.items():
            features = renamed(output.features, pairs[name])
            if isinstance(output, CachedOutput):
                found[name] = CachedOutput(output.logits, features, renamed(output.grams, pairs[name]))
            else:
                found[name] = output._replace(features=features)
        return found

    def needs_by_name(self, teachers: Iterable[str]) -> dict[str, dict[str, Need]]:
        """As :meth:`needs`, with the teachers' own names of their taps."""
        needs = self.needs(teachers)
        if self._pairs is None:
            return needs
        pairs = by_teacher(type(self).__name__, self._pairs, needs)
        return {name: {pairs[name].get(tap, tap): need for tap, need in taps.items()} for name, taps in needs.items()}

    def __post_init__(self) -> None:
        """Check fields together and derive what follows from them; call ``super().__post_init__()`` first."""
        self._complete = True

    @abstractmethod
    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The terms of one batch.

        Args:
            student: the student's output.
            teachers: teacher name -> output; receives no gradient.
            target: class indices ``(B,)`` or class probabilities ``(B, K)``; a window without a label has -1, or zeros.
            index: ``Batch.index`` of the windows ``(B,)``, for objectives with a memory of the windows.
        """

    def at(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """Set what the objective's own schedule changes; :meth:`advance` calls it before every training step.

        It is a function of its arguments alone, so that a resumed fit equals an uninterrupted one.

        Args:
            epoch: epochs before this one, from 0.
            batch_size: training windows of this step on this process.
            step: steps of the optimiser before this one, from 0.
            epochs: planned epochs; ``None`` where the fit has no planned end.
        """

    def advance(self, epoch: int, batch_size: int | None = None, *, step: int = 0, epochs: int | None = None) -> None:
        """Call before every training step: :meth:`at`, and how far the gradient of a learnt temperature is reversed.

        Arguments as of :meth:`at`, which subclasses override in its place.
        """
        if self.learn_temperature and self.ready:
            temperature: Any = self.adapters[NAME]
            temperature.at(epoch)
        self.at(epoch, batch_size, step=step, epochs=epochs)

    def check(self, *, batch_size: int | None, teachers: Iterable[str]) -> None:
        """Raise before the first step when batches of this size or these teachers cannot be used.

        Args:
            batch_size: training windows per process and step; ``None`` where it is unknown.
            teachers: names of the teachers.

        Raises:
            InputError: naming the argument, the value, and the remedy.
        """

    def make_adapters(
        self, student: Output, teachers: dict[str, Output], classifiers: Mapping[str, Classifier]
    ) -> Mapping[str, nn.Module]:
        """The modules that are trained with the student, by name, for features of these shapes; none by default.

        Args:
            student: the student's output for a few windows.
            teachers: teacher name -> its output for them.
            classifiers: teacher name -> its head, from a map in place of its tap ``"stage3"`` to class logits, where
                that is known; the heads belong to the teachers and are not to be registered here.
        """
        return {}

    @property
    def adapts(self) -> bool:
        """Whether there are adapters."""
        return type(self).make_adapters is not Objective.make_adapters

    @property
    def needs_logits(self) -> bool:
        """Whether it reads the logits of teachers, so that these must have the student's classes."""
        return True

    @property
    def ready(self) -> bool:
        """Whether the adapters are made; true where features fit without any."""
        return self._adapted or len(self.adapters) > 0 or not (self.adapts or self.learn_temperature)

    def adapt(
        self,
        *,
        student: Output,
        teachers: dict[str, Output],
        classifiers: Mapping[str, Classifier] | None = None,
    ) -> None:
        """Make the adapters, unless they are made already; see :meth:`make_adapters`."""
        if not self.ready:
            made: Mapping[str, nn.Module] = {}
            try:
                if self.adapts:
                    made = self.make_adapters(student, self.paired(teachers), classifiers or {})
            except MissingTapError as error:
                raise self._missing(error, student, teachers) from error
            self._keep(made, functional.promote(student.logits))

    def adapt_without_features(self) -> None:
        """Make the adapters where none depends on the shape of a feature: a learnt temperature by itself."""
        if not self.ready and not self.adapts:
            self._keep({}, self.settings()["temperature"])

    def _keep(self, made: Mapping[str, nn.Module], like: Tensor) -> None:
        """Take adapters in type and on the device of a tensor, and a learnt temperature after them."""
        self.adapters.update(made)
        if self.learn_temperature:
            if NAME in self.adapters:
                raise InputError(f"{type(self).__name__}: a teacher must not be named {NAME!r}. Rename it.")
            self.adapters[NAME] = LearntTemperature(self.temperature_epochs)
        self.adapters.to(like.device, like.dtype).train(self.training)
        self._adapted = True

    def adapted(self, name: str, *features: Tensor) -> Tensor:
        """The output of an adapter for features, in at least float32.

        Raises:
            InputError: if there is no such adapter, as of a teacher whose weight was 0 when they were made.
        """
        if name not in self.adapters:
            raise InputError(
                f"{type(self).__name__}: has no adapter {name!r}, but {', '.join(map(repr, self.adapters)) or 'none'}. "
                "A teacher whose weight is 0 as the fit begins gets none: begin with a small weight."
            )
        return _output_of(self.adapters[name], *features)

    def needs(self, teachers: Iterable[str]) -> dict[str, dict[str, Need]]:
        """Teacher -> tap -> what is read of it besides the logits, so that a cache keeps nothing else."""
        return {name: dict.fromkeys(self.taps, self.reads) for name in teachers}

    def settings(self) -> dict[str, Tensor]:
        """Name -> 0-dim buffer of everything that may be annealed."""
        return {name: self._buffers[name] for name in self._ranges}  # type: ignore[misc]

    def initial(self, name: str) -> float:
        """The value that a setting was made with, for a schedule that starts from it or ends there."""
        return self._initial[name]

    def observed(self) -> dict[str, Tensor]:
        """Name -> value of the last batch that is worth logging, such as adaptive weights of teachers."""
        return {}

    def set(self, name: str, value: float) -> None:
        """Change a setting in place, without waiting for its device.

        Raises:
            InputError: if there is no such setting or the value is out of its range.
        """
        if name not in self._ranges:
            raise InputError(
                f"{type(self).__name__}: name must be one of the settings, "
                f"{', '.join(map(repr, self._ranges)) or 'none'}, but got {name!r}. Choose one of them."
            )
        self._check_value(name, value)
        if name == "temperature" and self.learn_temperature:
            raise InputError(
                f"{type(self).__name__}: temperature must not be set where learn_temperature is true, but got {value}. "
                "Leave one of the two out."
            )
        self._buffers[name].fill_(value)  # type: ignore[union-attr]
        self._annealed.pop(name, None)

    def before_annealing(self, name: str) -> float:
        """The value of a setting before :meth:`anneal` changed it, which waits for its device; else as it is now."""
        return self._annealed.get(name, float(self.settings()[name]))

    def anneal(self, name: str, value: float, before: float) -> None:
        """Change a setting for this fit; the next one begins with :meth:`undo_annealing`.

        Args:
            name: of the setting.
            value: as of :meth:`set`.
            before: the value that the next fit begins with.

        Raises:
            InputError: as :meth:`set`.
        """
        self.set(name, value)
        self._annealed[name] = before

    def undo_annealing(self) -> dict[str, tuple[float, float]]:
        """Give annealed settings the values of before, unless they were :meth:`set` since.

        Returns:
            Setting -> its value up to now, and from now on.
        """
        now = {name: float(self.settings()[name]) for name in self._annealed}
        changed = {name: (now[name], before) for name, before in self._annealed.items()}
        for name, (_, before) in changed.items():
            self.set(name, before)
        return changed

    def fix(self, name: str, value: float) -> None:
        """Set a weight that was ``"auto"``, as if it had been given.

        Args:
            name: of the setting.
            value: the measured number.
        """
        self.set(name, value)
        self._initial[name] = self.measured_weights[name] = value
        self.open_weights.discard(name)

    def unbounded(self, name: str) -> bool:
        """Whether a setting has no greatest value, so that it is no share."""
        return self._ranges[name][1] == math.inf

    def setting(self, name: str, value: float, low: float = 0.0, high: float = math.inf) -> None:
        """Register a setting in ``[low, high]``, in a constructor or ``__post_init__``."""
        self._ranges[name], self._initial[name] = (low, high), float(value)
        self._check_value(name, value)
        self.register_buffer(name, torch.tensor(value, dtype=torch.float32), persistent=False)

    def _check_value(self, name: str, value: float) -> None:
        low, high = self._ranges[name]
        if not (low <= value <= high and math.isfinite(value)):
            raise InputError(f"{type(self).__name__}: {name} must be {in_words(low, high)}, but got {value}.")

    def feature(self, output: Output, tap: str, who: str) -> Tensor:
        """The feature that a tap names.

        Args:
            output: of a net.
            tap: name of the feature.
            who: whose output it is, for the message, such as ``"teacher 'raw'"``.

        Raises:
            InputError: if the net has no such tap.
        """
        if tap not in output.features:
            raise MissingTapError(f"{type(self).__name__}: {who} has no tap {tap!r}", output)
        return output.features[tap]

    @contextmanager
    def comparing(self, who: str, tap: str) -> Iterator[None]:
        """Add to an error the net and the tap that did not fit, such as ``"teacher 'raw'"``."""
        try:
            yield
        except InputError as error:
            raise InputError(f"{type(self).__name__}: {who}, tap {tap!r}: {error}") from error

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move as every module does, but keep settings and adapters in float32 when the nets become half precision."""
        before = self.settings()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            self._buffers[name] = old.to(self.settings()[name].device)
        if any(p.is_floating_point() and p.element_size() < 4 for p in self.adapters.parameters()):
            self.adapters.float()
        return self


def _constructor(cls: type[Objective]) -> Callable[..., None]:
    """The constructor of a class with declared fields, with their signature."""

    def __init__(self: Objective, **values: Any) -> None:
        super(cls, self).__init__(**values)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([own, *parameters(cls._fields)], return_annotation=None)  # type: ignore[attr-defined]
    __init__.declared = True  # type: ignore[attr-defined]
    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return __init__


def gather(student: Output) -> Callable[[Tensor], Tensor]:
    """A function that promotes tensors ``(B, ...)`` to float32 or more and gathers them over all ranks, with gradients.

    Raises:
        ValueError: on every rank, if they hold different numbers of samples.
    """
    distributed.check_same_batch(len(student.logits), student.logits.device)
    return lambda x: distributed.gather(functional.promote(x), checked=True)


@functional.full_precision
def _output_of(adapter: nn.Module, *features: Tensor) -> Tensor:
    """The output of a module for features, in at least float32 with autocast off."""
    made: Tensor = adapter(*features)
    return made


def checked_taps(who: str, taps: Iterable[str]) -> tuple[str, ...]:
    """The taps as a tuple.

    Raises:
        InputError: if there is none, or one twice.
    """
    names = (taps,) if isinstance(taps, str) else tuple(taps)
    if not names or len(set(names)) < len(names):
        raise InputError(f"{who}: taps must name at least one feature and none twice, but got {names}.")
    return names


def __getattr__(name: str) -> Any:
    """The bases of objectives, which were defined here before they moved to `kdlab.objectives`."""
    if name in ("CrossEntropy", "SimilarityTargets", "SoftTargets", "WeightedTeachers"):
        return getattr(importlib.import_module("kdlab.objectives"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
