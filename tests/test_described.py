"""What a checkpoint says of the objective that it was trained with."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlab.data import BasicMotions
from kdlab.methods import SP, TGD, Supervised, Teacher
from kdlab.methods.arguments import objective_arguments
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.methods.tgd import TGDObjective
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy, SoftTargets
from kdlab.types import Output
from tests.conftest import net, trainer
from tests.test_objectives import OBJECTIVES

#: arguments that are no plain numbers or words later on, or that have nothing to say at their default
LEFT_OUT = {"class_embeddings", "CAMKDObjective.feature_weight"}


@pytest.mark.parametrize("cls", OBJECTIVES)
def test_all_arguments_are_described(cls: type[Objective]) -> None:
    said = objective_arguments(cls())
    assert said is not None
    assert said["class"] == cls.__name__
    for name, parameter in inspect.signature(cls).parameters.items():
        if {name, f"{cls.__name__}.{name}"} & LEFT_OUT:
            assert name not in said["arguments"]
        elif name == "weights":
            assert said["arguments"][name] == getattr(cls, "default_weights", None)
        else:
            default = parameter.default
            assert said["arguments"][name] == (list(default) if isinstance(default, tuple) else default), name
    assert json.loads(json.dumps(said)) == said


#: of the label term
LABELS = {"class_weights": None, "label_smoothing": 0.0, "focal_gamma": 0.0}
#: of a temperature
OPTIONS = {"learn_temperature": False, "temperature_epochs": 10, "standardise": False}


def test_what_was_given_and_what_moved() -> None:
    objective = TGDObjective(
        weights={"raw": 0.7, "pi": np.float64(0.3)}, kl_reduction="mean", merge="normalised", taps=("stage1",)
    )
    objective.set("temperature", 2.6)
    said = objective_arguments(objective)
    assert said == {
        "class": "TGDObjective",
        "arguments": {
            **LABELS,
            **OPTIONS,
            "temperature": 2.6,
            "kd_weight": 0.9,
            "similarity_weight": 3000.0,
            "weights": {"raw": 0.7, "pi": 0.3},
            "merge": "normalised",
            "taps": ["stage1"],
            "pairs": None,
            "kl_reduction": "mean",
        },
    }
    assert type(said["arguments"]["weights"]["pi"]) is float  # not numpy's, which no checkpoint is read with
    assert objective_arguments(None) is None


class Odd(Objective):
    """A user's objective whose arguments are not all plain, or not kept."""

    def __init__(self, power: float = 2.0, table: Any = None, mixed: Any = None, lost: int = 3, **more: Any) -> None:
        super().__init__()
        self.power, self.table, self.mixed = power, table, mixed

    def forward(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}


def test_what_is_not_plain_is_left_out() -> None:
    odd = Odd(table=torch.ones(2), mixed=[1, {"a": Path("b")}])
    assert objective_arguments(odd) == {"class": "Odd", "arguments": {"power": 2.0}}
    assert objective_arguments(Odd(mixed=[1, {"a": None}])) == {
        "class": "Odd",
        "arguments": {"power": 2.0, "table": None, "mixed": [1, {"a": None}]},
    }


def test_checkpoints_say_which_reduction_ran(tmp_path: Path) -> None:
    module = SP(net(), {"raw": Teacher(net=net())}, kd_weight=0.3, kl_reduction="mean")
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "one.ckpt")
    said = read_checkpoint(tmp_path / "one.ckpt")[KEY]["objective"]
    assert said["class"] == "SPObjective"
    assert said["arguments"]["kl_reduction"] == "mean"
    assert said["arguments"]["kd_weight"] == 0.3
    two = TGD(net(), {"raw": Teacher(net=net()), "pi": Teacher(net=net())})
    assert two.describe()["objective"]["arguments"]["weights"] == {"raw": 0.99, "pi": 0.01}


def test_a_teachers_description_has_its_own_objective(tmp_path: Path) -> None:
    fit = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    fit.fit(Supervised(net()), BasicMotions())
    fit.save_checkpoint(tmp_path / "teacher.ckpt")
    teacher = Teacher(checkpoint=str(tmp_path / "teacher.ckpt"))
    teacher.load()
    assert teacher.description["objective"] == {"class": "CrossEntropy", "arguments": LABELS}
    assert objective_arguments(CrossEntropy()) == teacher.description["objective"]
    assert objective_arguments(SoftTargets())["class"] == "SoftTargets"  # type: ignore[index]
