"""Methods made from their objective: flat arguments, each declared once, in the objective's fields."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar

from kdlab.fields import Field, described, documented, parameters, texts
from kdlab.labelled import Labelled
from kdlab.methods.calls import check_call, checked_call
from kdlab.methods.distillation import Distillation
from kdlab.methods.supervised import Supervised
from kdlab.methods.teacher import Teacher
from kdlab.nets.base import Backbone
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy


class Made:
    """The flat arguments of `Distilled` and `TeacherFree`: made when a subclass is."""

    _base: ClassVar[type[Distillation] | type[Supervised]]  # whose arguments all such methods share
    #: the class of the objective
    made_from: ClassVar[type[Objective]] = CrossEntropy
    _fields: ClassVar[dict[str, Field]] = {}  # of the objective, with the method's defaults
    _own: ClassVar[list[inspect.Parameter]] = []  # arguments of constructors written by hand
    _open: ClassVar[bool] = True  # whether those take the made arguments besides
    _made: ClassVar[tuple[str, ...]] = ()  # names of the made arguments

    def __init_subclass__(
        cls,
        objective: type[Objective] | None = None,
        fixed: Mapping[str, Any] = MappingProxyType({}),
        **defaults: Any,
    ) -> None:
        super().__init_subclass__()
        if "_base" not in vars(cls):  # a method, not one of the two bases
            make(cls, objective, defaults, fixed)


class Distilled(Made, Distillation):
    """A distillation method whose objective is built from flat arguments: ``class TGD(Distilled, objective=...)``.

    A subclass names the class of its objective, and may change the defaults of its fields:
    ``class DKD(Distilled, objective=DKDObjective, warm_up=20)``. Fields in ``fixed={"growing": True}`` have that value
    and are no arguments of the method. Constructor, signature, ``--help`` and the docstring's ``Args:`` are made from
    the fields of the objective and the arguments of `Distillation`. A constructor of its own,
    ``def __init__(self, student, teachers, *, extra=1, **kwargs)``, adds arguments of the method; one without
    ``**kwargs`` has its own arguments alone.

    Args:
        student: the net that is trained.
        teachers: teacher name -> `Teacher`; objectives weight and select teachers by these names.
        arguments: the fields of the objective, and the arguments of `Distillation`.
    """

    _base = Distillation

    def __init__(self, student: Backbone, teachers: dict[str, Teacher], **arguments: Any) -> None:
        objective, others = build(type(self), arguments)
        super().__init__(student, teachers, objective, **others)


class TeacherFree(Made, Supervised):
    """A method without teachers whose objective is built from flat arguments; see `Distilled`.

    Args:
        net: the net that is trained.
        arguments: the fields of the objective, and the arguments of `Supervised`.
    """

    _base = Supervised

    def __init__(self, net: Backbone, **arguments: Any) -> None:
        objective, others = build(type(self), arguments)
        super().__init__(net, objective=objective, **others)


def make(
    cls: type[Made],
    objective: type[Objective] | None,
    defaults: Mapping[str, Any],
    fixed: Mapping[str, Any],
) -> None:
    """Give a method's class the signature and docstring that follow from its objective.

    Args:
        cls: the class.
        objective: class of its objective; ``None``: that of the class above.
        defaults: field -> the method's default, where it is another than the objective's.
        fixed: field -> its value, where it is no argument of the method.

    Raises:
        TypeError: for an objective that is no class, has an argument without default or one that all methods have; for
            a default or value of a field that the objective does not have.
    """
    if objective is not None:
        cls.made_from, cls._fields = objective, _fields_of(cls, objective)
    given = {**defaults, **fixed}
    if unknown := sorted(set(given) - set(cls._fields)):
        raise TypeError(f"{cls.__name__}: {cls.made_from.__name__} has no field {', '.join(map(repr, unknown))}.")
    cls._fields = {
        n: replace(f, default=given.get(n, f.default), init=f.init and n not in fixed) for n, f in cls._fields.items()
    }
    apart = {"objective", *Labelled.declared()}  # what the class of the objective says by itself
    given_to_all = _parameters(cls._base)  # type: ignore[arg-type]  # a class is hashable
    shared = [p for p in given_to_all if p.name not in apart]
    if twice := [p.name for p in shared if p.name in cls._fields]:
        raise TypeError(
            f"{cls.__name__}: {cls.made_from.__name__} must not declare {', '.join(map(repr, twice))}, which is an "
            f"argument of every {cls._base.__name__}. Rename it."
        )
    made = [*parameters(cls._fields), *(p if _required(p) else p.replace(kind=p.KEYWORD_ONLY) for p in shared)]
    cls._made = tuple(p.name for p in made)
    constructor = vars(cls).get("__init__")
    if constructor is not None:
        written = list(inspect.signature(constructor, eval_str=True).parameters.values())[1:]
        own = [p for p in written if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        passes_on = any(p.kind is p.VAR_KEYWORD for p in written)
        cls._own = [*own, *(p for p in cls._own if passes_on and p.name not in {o.name for o in own})]
        cls._open = cls._open and passes_on
    names = {p.name for p in cls._own}
    listed = [*cls._own, *(p for p in made if cls._open and p.name not in names)]
    listed.sort(key=lambda p: (p.kind, not _required(p)))
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    declare: Any = _constructor(cls) if constructor is None else checked_call(constructor)
    declare.__signature__ = inspect.Signature([itself, *listed], return_annotation=None)
    cls.__init__ = declare  # type: ignore[method-assign]
    known = described(cls._base) | texts(cls._fields)
    if objective is None:  # the texts of the parent class's arguments apply here too
        known |= described(cls.__bases__[0])
    cls.__doc__ = documented(cls.__doc__, {p.name: known[p.name] for p in listed if p.name in known})


def build(cls: type[Made], arguments: Mapping[str, Any]) -> tuple[Objective, dict[str, Any]]:
    """The objective of a method from its flat arguments, and the arguments that are not the objective's.

    Raises:
        TypeError: for an argument that the method does not have, with all that it has.
    """
    if unknown := [name for name in arguments if name not in cls._made]:
        names = ", ".join(inspect.signature(cls).parameters)
        raise TypeError(f"{cls.__name__}: has no argument {', '.join(map(repr, unknown))}. Its arguments are {names}.")
    fields = {name: arguments.get(name, field.default) for name, field in cls._fields.items()}
    return cls.made_from(**fields), {name: value for name, value in arguments.items() if name not in fields}


def _fields_of(cls: type, objective: type[Objective]) -> dict[str, Field]:
    """What the constructor of an objective takes."""
    if not (isinstance(objective, type) and issubclass(objective, Objective)):
        raise TypeError(f"{cls.__name__}: objective must be a class of objectives, but got {objective!r:.80}.")
    fields = objective.accepted()
    if required := [name for name, field in fields.items() if field.default is inspect.Parameter.empty]:
        raise TypeError(
            f"{cls.__name__}: {objective.__name__} must have a default for {', '.join(map(repr, required))}. Write one."
        )
    return fields


@cache  # of the bases of all methods
def _parameters(base: type) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(base, eval_str=True).parameters.values())


def _required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty


def _constructor(cls: Any) -> Any:
    def __init__(self: Any, *args: Any, **arguments: Any) -> None:
        if type(self) is cls:
            check_call(cls, args, arguments)
        super(cls, self).__init__(*args, **arguments)

    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return __init__
