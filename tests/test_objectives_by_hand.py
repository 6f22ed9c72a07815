"""Objectives with a constructor by hand in made methods; declarations and calls that cannot be, refused in one line."""

import inspect
from pathlib import Path

import pytest

from kdlab.fields import Setting, argument, setting
from kdlab.methods import CRD, KD, PSKD, TPKD, Distillation, Distilled, Supervised, Teacher
from kdlab.methods.arguments import objective_arguments
from kdlab.methods.dry_run import try_objective
from kdlab.nets import WideResNet
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy, SoftTargets
from kdlab.types import InputError


class Alone(SoftTargets):
    """An objective that takes its own arguments and no others.

    Args:
        alpha: how much of it.
    """

    def __init__(self, alpha: float = 0.5, temperature=2.0) -> None:
        super().__init__(temperature=temperature)
        self.alpha = alpha


class Open(SoftTargets):
    """An objective that passes all others on."""

    def __init__(self, gamma=2.0, **others) -> None:
        super().__init__(**others)
        self.gamma = gamma


class ByAlone(Distilled, objective=Alone, alpha=0.75):
    """A method."""


class ByOpen(Distilled, objective=Open):
    """A method."""


def taught():
    student, teacher = (WideResNet(10, 1, in_channels=3, num_classes=3) for _ in range(2))
    return student, {"raw": Teacher(net=teacher)}


def own(method):
    shared = inspect.signature(KD).parameters
    declared = inspect.signature(SoftTargets).parameters
    parameters = inspect.signature(method).parameters.items()
    return {name: p.default for name, p in parameters if name not in shared or name in declared}


def test_a_method_takes_what_the_constructor_of_its_objective_takes():
    assert own(ByAlone) == {"alpha": 0.75, "temperature": 2.0}
    assert "alpha: how much of it." in (ByAlone.__doc__ or "")
    objective = ByAlone(*taught(), temperature=3.0).objective
    assert (objective.alpha, float(objective.temperature)) == (0.75, 3.0)
    with pytest.raises(TypeError, match=r"^ByAlone: has no argument 'kd_weight'"):
        ByAlone(*taught(), kd_weight=0.5)

    assert set(own(ByOpen)) == {"gamma", *inspect.signature(SoftTargets).parameters}
    objective = ByOpen(*taught(), gamma=1.0, kd_weight=0.5).objective
    assert (objective.gamma, float(objective.kd_weight), float(objective.temperature)) == (1.0, 0.5, 4.0)


def test_checkpoints_name_what_such_a_constructor_passes_on():
    described = objective_arguments(Open(kd_weight=0.25))
    assert described == {
        "class": "Open",
        "arguments": {
            "gamma": 2.0,
            "class_weights": None,
            "label_smoothing": 0.0,
            "focal_gamma": 0.0,
            "weights": None,
            "temperature": 4.0,
            "kd_weight": 0.25,
            "kl_reduction": "batchmean",
            "learn_temperature": False,
            "temperature_epochs": 10,
            "standardise": False,
        },
    }


def test_objectives_that_no_method_can_be_made_from():
    class Required(Objective):
        def __init__(self, alpha):
            super().__init__()

    class Clash(CrossEntropy):
        student_view: str = argument("a word.", default="raw")

    with pytest.raises(TypeError, match=r"^Made: Required must have a default for 'alpha'\. "):
        type("Made", (Distilled,), {}, objective=Required)
    with pytest.raises(TypeError, match=r"^Made: Clash must not declare 'student_view', which is an argument of "):
        type("Made", (Distilled,), {}, objective=Clash)
    for wrong in (3, CrossEntropy(), Distilled):
        with pytest.raises(TypeError, match=r"^Made: objective must be a class of objectives, but got "):
            type("Made", (Distilled,), {}, objective=wrong)


def test_a_class_attribute_does_not_change_a_declared_default():
    with pytest.raises(TypeError, match=r"^Warm: temperature must be declared, .* 8\.0\. .* setting\(default=\.\.\.\)"):

        class Warm(SoftTargets):
            temperature = 8.0

    with pytest.raises(TypeError, match=r"^Mean: kl_reduction must be declared, .* argument\(default=\.\.\.\)"):

        class Mean(SoftTargets):
            kl_reduction = "mean"


def test_an_argument_is_no_method():
    with pytest.raises(TypeError, match=r"^Checked: check must not be the name of a method\. "):

        class Checked(SoftTargets):
            check: Setting = setting("a number.", default=1.0)


def test_calls_name_the_class_that_is_called():
    student, teachers = taught()
    with pytest.raises(
        TypeError, match=r"^TPKD: missing a required argument: 'teachers'\. Its arguments are student, "
    ):
        TPKD(student)
    for method, first in ((CRD, "student"), (PSKD, "net"), (Distillation, "student"), (Supervised, "net")):  # by hand
        with pytest.raises(TypeError, match=rf"^{method.__name__}: missing a required argument: '{first}'\. Its arg"):
            method()
    with pytest.raises(TypeError, match=r"^CRD: missing a required argument: 'student'\. Its arguments are student, "):
        CRD.load_from_checkpoint(Path(__file__).parent / "files/student_basic_motions.ckpt")
    with pytest.raises(TypeError, match=r"^TPKD: too many positional arguments\. "):
        TPKD(student, teachers, None)
    with pytest.raises(InputError, match=r"^TPKD: teachers must be \{name: Teacher"):
        TPKD(student, list(teachers.values()))
    for wrong in ([1.0], {"raw": "1"}, {"raw": float("nan")}, {"raw": 0}, {}, 1.0):
        with pytest.raises(InputError, match=r"^TPKDObjective: weights must be at least 0, .* \{teacher: weight\}"):
            TPKD(student, teachers, weights=wrong)


def test_a_forward_that_requires_the_index_passes_the_dry_run():
    class Indexed(Objective):
        def forward(self, *, student, teachers, target, index):
            return {"ce": student.logits.mean() + 0 * index.sum()}

    student, teachers = taught()
    nets = {"raw": (teachers["raw"].net, (3, 32))}
    own, others, _ = try_objective(Indexed(), (student, (3, 32)), nets)
    assert own.logits.shape[1] == others["raw"].logits.shape[1] == 3


def test_a_post_init_that_leaves_out_those_above_is_refused():
    class Alone(SoftTargets):
        def __post_init__(self):
            self.more = 1

    with pytest.raises(TypeError, match=r"Alone.__post_init__ must call super\(\).__post_init__\(\)"):
        Alone()
