"""Fixed weights of teachers that do not sum to 1 are used as they are, and warned of."""

from __future__ import annotations

import inspect
import warnings

import pytest
import torch

from kdlab.methods import KD, Distillation, Teacher
from kdlab.types import Output
from tests.conftest import net
from tests.test_objectives import METHODS

WEIGHED = [method for method in METHODS if "weights" in inspect.signature(method.__init__).parameters]


def build(method: type[Distillation], weights: dict[str, float] | None) -> Distillation:
    return method(net(), {"raw": Teacher(net=net()), "pi": Teacher(net=net(), view="pi")}, weights=weights)


@pytest.mark.parametrize("method", WEIGHED)
def test_a_sum_other_than_1_is_warned_of(method: type[Distillation]) -> None:
    with pytest.warns(UserWarning, match=rf"{method.__name__}: the weights .* sum to 4, not to 1, and are used as"):
        module = build(method, {"raw": 2.0, "pi": 2.0})
    assert module.objective.weights == {"raw": 2.0, "pi": 2.0}
    for fine in (None, {"raw": 0.7, "pi": 0.3}, {"raw": 0.3333, "pi": 0.6667}, {"raw": 0.5, "pi": 0.5009}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(method, fine)


def test_they_are_used_as_given() -> None:
    said = Output(torch.zeros(2, 3), {})
    teachers = {"raw": Output(torch.eye(3)[:2], {}), "pi": Output(-torch.eye(3)[:2], {})}
    with pytest.warns(UserWarning, match="sum to 4"):
        doubled = build(KD, {"raw": 2.0, "pi": 2.0}).objective
    equal = build(KD, None).objective
    kd = [o(student=said, teachers=teachers, target=torch.tensor([0, 1]))["kd"] for o in (doubled, equal)]
    assert kd[0] == pytest.approx(4 * float(kd[1]))
