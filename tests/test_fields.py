"""Declared arguments of objectives, and the methods that are made from them: signature, checks, docs, command line."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import docstring_parser
import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor

from kdlab import KD, PSKD, TGD, Distillation, InputError, Supervised, Teacher, cli
from kdlab.fields import Field, OptionalSetting, Setting, argument, documented, in_words, setting
from kdlab.methods import Distilled, TeacherFree, stubs
from kdlab.nets.base import Backbone
from kdlab.objective import checked_taps
from kdlab.objectives import CrossEntropy, SoftTargets
from kdlab.types import Output
from tests.conftest import PATIENCE, REPOSITORY, net

if TYPE_CHECKING:
    from decimal import Decimal

Mode = Literal["sum", "mean"]


def even(who: str, value: int) -> int:
    if value % 2:
        raise InputError(f"{who}: width must be even, but got {value}.")
    return value


class Plain(SoftTargets):
    """Soft targets, weighted again.

    Raises:
        InputError: for a parameter out of range.
    """

    power: Setting = setting("``p``, above 0 and at most 4.", default=1.0, low=0.5, high=4.0)
    extra: OptionalSetting = setting("weight of something else; ``None``: there is none.", default=None, high=10.0)
    mode: Mode = argument("how terms are put together.", default="mean")
    resize: Literal["pool"] | None = argument("how maps are made equal.", default=None)
    width: int = argument("a width, even.", default=8, low=2, high=64, check=even)
    count: int = argument("any whole number.", default=-3)
    most: int | None = argument("at least 1; ``None``: unbounded.", default=None, low=1)
    rate: float = argument("above 0.", default=0.1, above=0.0)
    taps: tuple[str, ...] = argument("names of the features.", default=("stage1",), check=checked_taps)
    flag: bool = argument("whether it is so.", default=False)
    start: float | Literal["auto"] = argument("a number, or ``auto``.", default="auto")
    temperature: Setting = setting(default=2.0)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Terms ``"ce"``, ``"kd"`` and, where it has a weight, ``"extra"``."""
        terms = super().forward(student=student, teachers=teachers, target=target, index=index)
        terms = {**terms, "kd": terms["kd"] ** self.power}
        return terms if self.extra is None else {**terms, "extra": self.extra * terms["kd"] / self.width}


class Narrow(Plain):
    """The same with fewer arguments, another default and another text."""

    zero_when_equal = False
    reason: str = "an attribute of the class, which is no argument"

    weights: dict[str, float] | None = argument(default=None, init=False)
    mode: Mode = argument(default="sum")
    width: int = argument("half of the channels.", default=4)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.half = self.width // 2
        self.moves = ("power",)


class ByHand(Plain):
    """With a constructor by hand.

    Args:
        doubled: twice the power.
    """

    mode: Mode = argument(default="sum")

    def __init__(self, doubled: float = 3.0, extra: float | None = None) -> None:
        super().__init__(power=doubled / 2, extra=extra)
        self.setting("later", 0.25, high=1.0)


class BelowByHand(ByHand):
    """A subclass of that, with a field of its own."""

    own: Setting = setting("its own.", default=7.0)
    flag: bool = argument(default=True)


class Left(Plain):
    """One side."""

    left: Setting = setting("left.", default=1.0)
    temperature: Setting = setting(default=5.0)


class Right(Plain):
    """The other side."""

    right: Setting = setting("right.", default=2.0)
    mode: Mode = argument(default="sum")


class Both(Left, Right):
    """Both sides."""


def signature(cls: Any) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(cls).parameters.items()}


LABELS = {"class_weights": None, "label_smoothing": 0.0, "focal_gamma": 0.0}
OPTIONS = {"learn_temperature": False, "temperature_epochs": 10, "standardise": False}  # of a temperature
SOFT = {**LABELS, "weights": None, "temperature": 4.0, "kd_weight": 0.9, "kl_reduction": "batchmean", **OPTIONS}
OWN = {
    "power": 1.0,
    "extra": None,
    "mode": "mean",
    "resize": None,
    "width": 8,
    "count": -3,
    "most": None,
    "rate": 0.1,
    "taps": ("stage1",),
    "flag": False,
    "start": "auto",
}
PLAIN = {**SOFT, **OWN, "temperature": 2.0}


# ------------------------------------------------------------------------------------------------------------- fields


def test_fields_are_inherited_changed_and_withdrawn() -> None:
    assert signature(SoftTargets) == SOFT
    assert signature(Plain) == PLAIN
    narrow = {k: v for k, v in PLAIN.items() if k != "weights"} | {"mode": "sum", "width": 4}
    assert signature(Narrow) == narrow
    assert signature(Both) == {**PLAIN, "temperature": 5.0, "mode": "sum", "left": 1.0, "right": 2.0}
    assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(Plain).parameters.values())
    kinds = {name: p.annotation for name, p in inspect.signature(Plain).parameters.items()}
    assert (kinds["power"], kinds["extra"], kinds["mode"], kinds["most"]) == (float, float | None, Mode, int | None)
    declared = Narrow.declared()
    assert (declared["power"].low, declared["power"].high, declared["width"].high) == (0.5, 4.0, 64)
    assert not declared["weights"].init
    assert "weights" in Plain.declared()
    declared.clear()
    assert Narrow.declared()  # a copy


def test_values_are_read_from_the_instance_alone() -> None:
    objective = Narrow(power=2.0, extra=0.5, width=6, taps=["stage2", "stage3"])
    assert not [name for name in vars(Plain) if isinstance(vars(Plain)[name], Field)]
    assert {name: float(value) for name, value in objective.settings().items()} == {
        "temperature": 2.0,
        "kd_weight": pytest.approx(0.9),
        "power": 2.0,
        "extra": 0.5,
    }
    assert (objective.half, objective.taps, objective.weights, objective.mode) == (3, ("stage2", "stage3"), None, "sum")
    assert (objective.moves, Plain().moves) == (("power",), ())
    assert objective.power.dtype == torch.float32
    assert "extra" not in Narrow().settings()
    with pytest.raises(InputError, match=r"one of the settings, .*but got 'extra'"):
        Narrow().set("extra", 1.0)
    assert objective.initial("power") == 2.0
    objective.set("power", 3.0)
    assert (float(objective.power), objective.initial("power")) == (3.0, 2.0)
    assert SoftTargets(kd_weight=0.3).initial("kd_weight") == 0.3  # not that of float32


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "low": ({"power": 0.0}, "power must be from 0.5 to 4, but got 0.0"),
    "high": ({"power": 4.5}, "power must be from 0.5 to 4, but got 4.5"),
    "nan": ({"power": float("nan")}, "power must be from 0.5 to 4, but got nan"),
    "bool for a number": ({"power": True}, "power must be from 0.5 to 4, but got True"),
    "word for a number": ({"power": "1"}, "power must be from 0.5 to 4, but got '1'"),
    "none for a number": ({"power": None}, "power must be from 0.5 to 4, but got None"),
    "infinite": ({"temperature": float("inf")}, "temperature must be at least 0.001 and finite, but got inf"),
    "optional": ({"extra": -1.0}, "extra must be from 0 to 10, but got -1.0"),
    "literal": ({"mode": "max"}, "mode must be 'sum' or 'mean', but got 'max'"),
    "literal of another type": ({"mode": 1}, "mode must be 'sum' or 'mean', but got 1"),
    "inherited literal": ({"kl_reduction": "sum"}, "kl_reduction must be 'batchmean' or 'mean', but got 'sum'"),
    "literal or none": ({"resize": "crop"}, "resize must be 'pool' or None, but got 'crop'"),
    "whole": ({"width": 4.0}, "width must be a whole number from 2 to 64, but got 4.0"),
    "whole, but a bool": ({"width": True}, "width must be a whole number from 2 to 64, but got True"),
    "whole, out of range": ({"width": 66}, "width must be a whole number from 2 to 64, but got 66"),
    "whole, of a check": ({"width": 5}, "width must be even, but got 5"),
    "whole without a range": ({"count": 0.5}, "count must be a whole number, but got 0.5"),
    "whole or none": ({"most": 0}, "most must be a whole number at least 1, but got 0"),
    "above": ({"rate": 0.0}, "rate must be above 0 and finite, but got 0.0"),
    "taps": ({"taps": ()}, r"taps must name at least one feature and none twice, but got \(\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_refused_in_one_line(case: str) -> None:
    given, message = WRONG[case]
    with pytest.raises(InputError, match=f"^Narrow: {message}\\.$") as raised:
        Narrow(**given)
    assert "\n" not in str(raised.value)


def test_right_values_of_other_types_are_taken() -> None:
    objective = Plain(
        power=1, extra=np.float32(2.5), width=np.int64(4), count=-100, most=3, start=0.5, rate=np.float64(0.2)
    )
    assert [float(v) for k, v in objective.settings().items() if k in ("power", "extra")] == [1.0, 2.5]
    assert (objective.width, objective.most, objective.start, objective.rate) == (4, 3, 0.5, 0.2)
    assert Plain(start="auto").start == "auto"


def test_unknown_arguments_are_refused_with_those_there_are() -> None:
    with pytest.raises(
        TypeError, match=r"^Narrow: has no argument 'pwoer'\. Its arguments are class_weights, .*, temperature, "
    ):
        Narrow(pwoer=1.0)
    with pytest.raises(TypeError, match=r"^Narrow: has no argument 'weights'\. "):
        Narrow(weights={"raw": 1.0})
    with pytest.raises(TypeError, match=rf"^CrossEntropy: .* 'a', 'b'\. Its arguments are {', '.join(LABELS)}\.$"):
        CrossEntropy(a=1, b=2)
    with pytest.raises(TypeError, match="positional"):
        Plain(2.0)


def test_constructors_by_hand() -> None:
    assert signature(ByHand) == signature(BelowByHand) == {"doubled": 3.0, "extra": None}
    objective = ByHand(4.0)
    assert {k: float(v) for k, v in objective.settings().items() if k in ("power", "later")} == {
        "power": 2.0,
        "later": 0.25,
    }
    assert objective.mode == "sum"
    with pytest.raises(InputError, match="ByHand: later must be from 0 to 1, but got 2"):
        objective.set("later", 2)
    below = BelowByHand(doubled=2.0, extra=1.0)
    assert (float(below.own), below.flag, float(below.power), float(below.extra or 0)) == (7.0, True, 1.0, 1.0)
    with pytest.raises(TypeError, match="own"):
        BelowByHand(own=1.0)  # type: ignore[call-arg]
    assert list(docs(ByHand)) == ["doubled"]


def docs(cls: type) -> dict[str, str]:
    listed = docstring_parser.parse(cls.__doc__ or "").params
    return {param.arg_name: " ".join((param.description or "").split()) for param in listed}


def test_docstrings_are_made_of_the_texts() -> None:
    assert list(docs(Plain)) == list(PLAIN)
    assert docs(Plain)["power"] == "``p``, above 0 and at most 4."
    assert docs(Plain)["temperature"] == docs(SoftTargets)["temperature"] != ""
    assert docs(Narrow)["width"] == "half of the channels."
    assert docs(Narrow)["mode"] == docs(Plain)["mode"] == "how terms are put together."
    assert "weights" not in docs(Narrow)
    parsed = docstring_parser.parse(Plain.__doc__ or "")
    assert parsed.short_description == "Soft targets, weighted again."
    assert [raised.type_name for raised in parsed.raises] == ["InputError"]
    assert all(len(line) <= 120 for line in (Plain.__doc__ or "").splitlines())
    assert documented(None, {"a": "b"}) is None
    own = documented("One line.\n\nArgs:\n    a: what it is\n        here.", {"a": "other", "b": "new"})
    assert own == "One line.\n\nArgs:\n    b: new\n    a: what it is\n        here."


def test_ranges_in_words() -> None:
    assert in_words(None, 3.0) == "at most 3 and finite"
    assert in_words(None, None) == "finite"
    assert in_words(None, None, above=0.0) == "above 0 and finite"


def test_declarations_that_cannot_be_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^Bare: width must have a type, as in width: Setting = setting"):

        class Bare(Plain):
            width = argument(default=2)

    with pytest.raises(TypeError, match=r"^New: fresh must have a default, as in setting\(\.\.\., default=1\.0\)"):

        class New(Plain):
            fresh: Setting = setting("a number")

    class Local:
        pass

    with pytest.raises(
        TypeError, match=r"^Inner: the type of box must be known where its module begins.*'Local'.*Import"
    ):

        class Inner(Plain):
            box: Local | None = argument("a box", default=None)

    with pytest.raises(TypeError, match=r"^Typed: the type of exact must be known.*'Decimal'"):

        class Typed(Plain):
            exact: Decimal | None = argument("a number", default=None)

    with pytest.raises(TypeError, match=r"^Misspelt: the type of box must be known.*np\.flaot32"):

        class Misspelt(Plain):
            box: np.flaot32 | None = argument("a box", default=None)  # type: ignore[name-defined]


# ----------------------------------------------------------------------------------------------------- copies and moves


def outputs(batch: int = 6) -> tuple[Output, dict[str, Output], Tensor]:
    random = torch.Generator().manual_seed(0)
    one, two = (torch.randn(batch, 3, generator=random) for _ in range(2))
    return Output(one.requires_grad_(), {}), {"raw": Output(two, {})}, torch.arange(batch) % 3


def terms(objective: Any) -> dict[str, float]:
    student, teachers, target = outputs()
    return {k: v.item() for k, v in objective(student=student, teachers=teachers, target=target).items()}


@pytest.mark.parametrize("objective", [Narrow(power=2.0, extra=0.5, width=6), ByHand(3.0), BelowByHand(extra=2.0)])
def test_copies_are_equal_and_apart(objective: Plain) -> None:
    held = io.BytesIO()
    torch.save(objective, held)
    held.seek(0)
    before = terms(objective)
    for twin in (
        copy.deepcopy(objective),
        pickle.loads(pickle.dumps(objective)),
        torch.load(held, weights_only=False),
    ):
        assert type(twin) is type(objective)
        assert terms(twin) == before
        assert twin.settings().keys() == objective.settings().keys()
        kept = [name for name in OWN if name not in objective.settings()]
        assert [getattr(twin, name) for name in kept] == [getattr(objective, name) for name in kept]
        twin.set("power", 4.0)
        assert twin.initial("power") == objective.initial("power")
        with pytest.raises(InputError, match=r"power must be from 0\.5 to 4, but got 9"):
            twin.set("power", 9.0)
        assert terms(twin) != before == terms(objective)


def test_settings_are_no_part_of_the_state_and_stay_float32() -> None:
    objective = Plain(extra=0.3)
    assert not objective.state_dict()
    objective.load_state_dict({})
    expected = terms(objective)
    for move in (lambda o: o.half(), lambda o: o.to(torch.bfloat16), lambda o: o.double(), lambda o: o.cpu()):
        moved = move(copy.deepcopy(objective))
        assert {v.dtype for v in moved.settings().values()} == {torch.float32}
        assert moved.power is moved.settings()["power"]
        assert terms(moved) == expected
        moved.set("extra", 0.6)
        assert float(moved.extra) == pytest.approx(0.6)
    inside = torch.nn.ModuleDict({"objective": copy.deepcopy(objective), "net": torch.nn.Linear(2, 2)}).half()
    assert {b.dtype for b in inside["objective"].buffers()} == {torch.float32}
    assert set(inside.state_dict()) == {"net.weight", "net.bias"}


@pytest.mark.parametrize("make", [lambda: Narrow(extra=0.5), lambda: ByHand(3.0, 0.5)], ids=["fields", "by hand"])
def test_forward_compiles_without_a_break(make: Any) -> None:
    objective = make()
    torch._dynamo.reset()
    compiled = torch.compile(objective, fullgraph=True, backend="eager")
    assert terms(compiled) == pytest.approx(terms(objective), rel=1e-6)
    objective.set("power", 2.0)  # the same program, another value
    assert terms(compiled) == pytest.approx(terms(objective), rel=1e-6)
    student, teachers, target = outputs()
    torch.stack(list(compiled(student=student, teachers=teachers, target=target).values())).sum().backward()
    assert student.logits.grad is not None
    assert student.logits.grad.abs().sum() > 0


# ------------------------------------------------------------------------------------------------------------ methods


class Made(Distilled, objective=Plain, width=16, mode="sum"):
    """A method with two other defaults.

    Args:
        rate: how fast it goes.
    """


class Held(Distilled, objective=Plain, fixed={"flag": True, "width": 32}):
    """A method that sets two fields itself."""


class Own(Made, flag=True):
    """A method with a constructor of its own."""

    def __init__(
        self, student: Backbone, teachers: dict[str, Teacher], *, rounds: int = 3, rate: float = 0.7, **kwargs: Any
    ):
        super().__init__(student, teachers, rate=rate / 2, **kwargs)
        self.rounds = rounds


class Below(Own, width=24):
    """A subclass with a constructor that passes all on."""

    def __init__(self, *args: Any, more: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.more = more


class Closed(Own):
    """A subclass with a constructor of two arguments."""

    def __init__(self, student: Backbone, teachers: dict[str, Teacher]) -> None:
        super().__init__(student, teachers, rounds=5, mode="mean")


class UnderClosed(Closed):
    """A subclass of that without one."""


class Alone(TeacherFree, objective=CrossEntropy):
    """Labels alone."""


def taught() -> tuple[Any, dict[str, Teacher]]:
    return net(), {"raw": Teacher(net=net())}


SHARED = {k: v for k, v in signature(Distillation).items() if k not in ("student", "teachers", "objective")}
ROLES = dict.fromkeys(("student", "teachers"), inspect.Parameter.empty)
MADE = {**ROLES, **PLAIN, "width": 16, "mode": "sum", **SHARED}


def test_signatures_of_made_methods() -> None:
    assert signature(Made) == MADE
    held = {k: v for k, v in {**ROLES, **PLAIN, **SHARED}.items() if k not in ("flag", "width")}
    assert signature(Held) == held
    own = {**MADE, "flag": True, "rounds": 3, "rate": 0.7}
    assert signature(Own) == own
    assert signature(Below) == {**own, "width": 24, "more": False}
    assert signature(Closed) == signature(UnderClosed) == ROLES
    alone = {k: v for k, v in signature(Supervised).items() if k != "objective"}
    assert signature(Alone) == alone
    parameters = inspect.signature(Made).parameters
    assert [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY] == ["student", "teachers"]
    assert parameters["extra"].annotation == float | None
    assert Made.made_from is Own.made_from is Plain


def test_made_methods_pass_their_arguments_on() -> None:
    module = Made(*taught(), power=2.0, weights={"raw": 1.0}, student_view="acc")
    objective = module.objective
    assert isinstance(objective, Plain)
    assert (float(objective.power), objective.width, objective.mode, module.view) == (2.0, 16, "sum", "acc")
    held: Any = Held(*taught()).objective
    assert (held.flag, held.width, held.mode) == (True, 32, "mean")
    own: Any = Own(*taught(), rounds=9, rate=0.5, count=4)
    assert (own.rounds, own.objective.rate, own.objective.count, own.objective.flag) == (9, 0.25, 4, True)
    below: Any = Below(*taught(), more=True, rounds=1)
    assert (below.more, below.rounds, below.objective.width, below.objective.rate) == (True, 1, 24, 0.35)
    assert Below(student=net(), teachers={"raw": Teacher(net=net())}).rounds == 3
    closed: Any = Closed(*taught())
    assert (closed.rounds, closed.objective.mode) == (5, "mean")
    assert UnderClosed(*taught()).rounds == 5
    assert Alone(net(), view="acc").view == "acc"
    assert type(Alone(net()).objective) is CrossEntropy
    with pytest.raises(InputError, match=r"^Plain: width must be even, but got 7"):
        Made(*taught(), width=7)


@pytest.mark.parametrize("method", [Made, Own, Below])
def test_typos_are_refused_by_name(method: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{method.__name__}: has no argument 'pwoer'\. Its arguments are student, "):
        method(*taught(), pwoer=2.0)
    with pytest.raises(TypeError, match="has no argument 'objective'"):
        method(*taught(), objective=Plain())


def test_what_a_method_sets_itself_is_no_argument() -> None:
    with pytest.raises(TypeError, match=r"^Held: has no argument 'flag'"):
        Held(*taught(), flag=False)
    with pytest.raises(TypeError, match="rounds"):
        Closed(*taught(), rounds=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^Wrong: Plain has no field 'wdith'"):

        class Wrong(Distilled, objective=Plain, wdith=2):
            pass

    with pytest.raises(TypeError, match=r"^Fixed: Plain has no field 'falg'"):

        class Fixed(Distilled, objective=Plain, fixed={"falg": True}):
            pass

    with pytest.raises(TypeError, match=r"^Late: Narrow has no field 'weights'"):

        class Late(Distilled, objective=Narrow, weights={"raw": 1.0}):
            pass


def test_docstrings_of_made_methods() -> None:
    assert docs(Made)["rate"] == "how fast it goes."  # its own words
    assert docs(Made)["power"] == docs(Plain)["power"]
    assert docs(Made)["student_init"] == docs(Distillation)["student_init"]
    assert set(docs(Made)) == set(signature(Made))
    assert not {"flag", "width"} & set(docs(Held))
    assert set(docs(Closed)) == {"student", "teachers"}
    assert set(docs(TGD)) == set(signature(TGD))
    assert (Alone.__doc__ or "").startswith("Labels alone.\n\nArgs:\n    net: ")


@pytest.mark.parametrize("method", [Made, Held, Own, Below, KD, TGD, PSKD, Alone])
def test_parsers_see_all_arguments(method: Any) -> None:
    parser = ArgumentParser(exit_on_error=False)
    added = {name.removeprefix("model.") for name in parser.add_class_arguments(method, "model")}
    assert {name.partition(".")[0] for name in added} == set(signature(method))


# ------------------------------------------------------------------------------------------------------- command line

CONFIG = """
model:
  class_path: {method}
  init_args:
    student: {{class_path: WideResNet, init_args: {{depth: 10, width: 1, in_channels: 6, num_classes: 4}}}}
    teachers: {{raw: {{checkpoint: gone}}}}
{lines}
data: {{class_path: BasicMotions}}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def write(method: str, *lines: str) -> list[str]:
        text = CONFIG.format(method=method, lines="\n".join(f"    {line}" for line in lines))
        (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
        return ["fit", "--config", "run.yaml"]

    return write


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.run(words)
    captured = capsys.readouterr()
    assert ended.value.code in (None, 0), captured.err
    return captured.out


def test_print_config_has_every_default(config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = config("tests.test_fields.Below", "extra: 2", "more: true")
    printed = yaml.safe_load(shown([*words, "--print_config"], capsys))["model"]
    given = printed["init_args"]
    assert printed["class_path"] == "tests.test_fields.Below"
    assert set(given) == set(signature(Below))
    plain = {k: v for k, v in signature(Below).items() if k in {*PLAIN, "rounds", "more"} - {"taps", "extra", "more"}}
    assert {k: given[k] for k in plain} == plain
    assert (given["extra"], given["more"], list(given["taps"])) == (2.0, True, ["stage1"])
    assert (given["student_view"], given["compile"], given["cache"]) == ("raw", False, None)


def test_help_has_the_texts_of_the_objective(capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(shown(["fit", "--model.help", "tests.test_fields.Below"], capsys).split())
    for name in ("power", "rate", "count", "kl_reduction", "student_init", "rounds", "more", "width"):
        assert re.search(rf"--\S*\.{name} ", said), name
    assert "``p``, above 0 and at most 4. (type: float, default: 1.0)" in said
    assert "(type: int, default: 24)" in said
    assert "--model.flag" in said
    assert "--model.flag" not in shown(["fit", "--model.help", "tests.test_fields.Held"], capsys)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pwoer: 2.0", "pwoer"),
        ("objective: Plain", "objective"),
        ("mode: max", "mode"),
        ("width: 2.5", "width"),
        ("extra: much", "extra"),
    ],
)
def test_the_command_line_refuses_by_name(
    line: str, message: str, config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run([*config("tests.test_fields.Made", line), "--print_config"])
    assert ended.value.code not in (None, 0)
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ checkers

CHECKED = '''
from typing import Literal

from torch import Tensor

import kdlab
from kdlab.fields import OptionalSetting, Setting, argument, setting
from kdlab.objectives import SoftTargets
from kdlab.types import Output


class Mine(SoftTargets):
    """A user's objective."""

    extra: Setting = setting("weight, at least 0.", default=1.0)
    left: OptionalSetting = setting("weight, or none.", default=None)
    kind: Literal["a", "b"] = argument("which.", default="a")
    kd_weight: Setting = setting(default=0.5)

    def forward(
        self, *, student: Output, teachers: dict[str, Output], target: Tensor, index: Tensor | None = None
    ) -> dict[str, Tensor]:
        terms = super().forward(student=student, teachers=teachers, target=target)
        extra: Tensor = self.extra
        return {**terms, "more": extra * terms["kd"]}


right = Mine(extra=2.0, left=1, kind="b", temperature=3.0, weights={"raw": 1.0})
value: Tensor | None = right.left
Mine(extr=2.0)  # call-arg
Mine(kind="c")  # arg-type
Mine(extra="much")  # arg-type
Mine(left="much")  # arg-type
Mine(weights=[1.0])  # arg-type
word: str = right.extra  # assignment
right.kind.missing  # union-attr

net = kdlab.nets.WideResNet(10, 1, in_channels=3, num_classes=3)
teachers = {"raw": kdlab.Teacher(net=net)}
kdlab.TPKD(net, teachers, patches=2, weights={"raw": 1.0}, student_view="raw", cache=kdlab.TeacherCache("kept"))
kdlab.TPKD(net, teachers, patchs=2)  # call-arg
kdlab.TPKD(net, teachers, oth="columns")  # arg-type
kdlab.methods.AMD(net, teachers, margin="wide")  # arg-type
kdlab.AMC(net, ramp_up=2, view="raw", optimiser=None)  # call-arg
'''


@pytest.mark.slow
def test_mypy_checks_the_arguments_of_a_users_objective(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(CHECKED, encoding="utf-8")
    done = subprocess.run(  # where the suite's own check left its cache
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(script)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    found = re.findall(r"mine\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.M)
    lines = enumerate(CHECKED.splitlines(), start=1)
    expected = [(str(number), line.split("  # ")[1]) for number, line in lines if "  # " in line]
    assert found == expected, done.stdout + done.stderr
    assert len(expected) == 11


def test_the_stub_file_is_fresh() -> None:
    assert stubs.PATH.read_text(encoding="utf-8") == stubs.text(), "run python -m kdlab.methods.stubs"
