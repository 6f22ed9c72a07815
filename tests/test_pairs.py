"""Taps of student and teachers with other names: pairs, against the formula on the features that are meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlab import AT, SP, Distillation, FitNet, Teacher
from kdlab.cache import TeacherCache
from kdlab.data import BasicMotions
from kdlab.methods.amd import AMDObjective
from kdlab.methods.at import ATObjective
from kdlab.methods.fitnet import FitNetObjective
from kdlab.methods.sp import SPObjective
from kdlab.nets import Adapter
from kdlab.types import InputError, Output
from tests.conftest import net, trainer
from tests.outside_nets import TimmLike, TorchvisionLike

TARGET = torch.arange(4)


def output(seed: int, names: tuple[str, ...], channels: int = 3) -> Output:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return Output(draw(4, 4), {name: draw(4, channels, 10) for name in names})


STUDENT, TEACHER = output(0, ("stage1", "stage2", "stage3")), output(1, ("layer1", "stage2", "layer4"), 5)
OTHER = output(2, ("a", "b"), 2)


def attention(own: Tensor, other: Tensor) -> float:
    """Zagoruyko and Komodakis, as in the released code: mean of squared differences of unit maps."""
    maps = [(x.numpy() ** 2).mean(1) for x in (own, other)]
    units = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in maps]
    return float(((units[0] - units[1]) ** 2).mean())


def similarity(own: Tensor, other: Tensor) -> float:
    """Tung and Mori."""
    grams = [x.flatten(1).numpy() @ x.flatten(1).numpy().T for x in (own, other)]
    rows = [g / np.linalg.norm(g, axis=1, keepdims=True) for g in grams]
    return float(((rows[0] - rows[1]) ** 2).sum() / len(own) ** 2)


@pytest.mark.parametrize(
    ("made", "distance", "term"), [(ATObjective, attention, "attention"), (SPObjective, similarity, "similarity")]
)
def test_pairs_compare_what_they_name(made: Any, distance: Any, term: str) -> None:
    weight = {f"{term}_weight": 2.0}
    same = made(pairs={"stage3": "layer4", "stage1": "stage2"}, **weight)
    assert same.taps == ("stage3", "stage1")
    found = same(student=STUDENT, teachers={"t": TEACHER}, target=TARGET)[term]
    expected = np.mean([distance(STUDENT.features[a], TEACHER.features[b]) for a, b in same.pairs.items()])
    assert float(found) == pytest.approx(2 * expected, rel=1e-9)
    pairs = {"t": {"stage3": "layer1"}, "u": {"stage3": "b"}}
    several = made(pairs=pairs, weights={"t": 0.75, "u": 0.25}, **weight)
    found = several(student=STUDENT, teachers={"t": TEACHER, "u": OTHER}, target=TARGET)[term]
    expected = 0.75 * distance(STUDENT.features["stage3"], TEACHER.features["layer1"])
    expected += 0.25 * distance(STUDENT.features["stage3"], OTHER.features["b"])
    assert float(found) == pytest.approx(2 * expected, rel=1e-9)
    crossed = made(pairs={"stage1": "stage2", "stage2": "layer1"}, **weight)
    found = crossed(student=STUDENT, teachers={"t": TEACHER}, target=TARGET)[term]
    expected = np.mean([distance(STUDENT.features[a], TEACHER.features[b]) for a, b in crossed.pairs.items()])
    assert float(found) == pytest.approx(2 * expected, rel=1e-9)
    assert list(TEACHER.features) == ["layer1", "stage2", "layer4"]


def test_adapters_have_the_shapes_of_pairs() -> None:
    objective = FitNetObjective(pairs={"stage2": "layer1", "stage1": "stage2"})
    terms = objective(student=STUDENT, teachers={"t": TEACHER}, target=TARGET)
    assert sorted(objective.adapters) == ["t_stage1", "t_stage2"]
    guess = (
        objective.adapters["t_stage2"](STUDENT.features["stage2"]),
        objective.adapters["t_stage1"](STUDENT.features["stage1"]),
    )
    expected = [
        (guess[0] - TEACHER.features["layer1"]).square().mean(),
        (guess[1] - TEACHER.features["stage2"]).square().mean(),
    ]
    torch.testing.assert_close(terms["hint"], objective.hint_weight * torch.stack(expected).mean())


def test_needs_are_those_of_the_teachers_names() -> None:
    objective = ATObjective(pairs={"t": {"stage3": "layer4"}, "u": {"stage3": "b"}})
    assert objective.needs_by_name(["t", "u"]) == {"t": {"layer4": "attention"}, "u": {"b": "attention"}}
    one = AMDObjective(pairs={"t": {"stage3": "layer4"}}, map_teacher="t")  # the other gives no maps
    assert one.needs_by_name(["t", "u"]) == {"t": {"layer4": one.reads}, "u": {}}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"stage3": "layer9"}, r"teacher 't' has no tap 'stage3' \(pairs=.*layer9.*the student has 'stage1', 'stage2', "
         r"'stage3'; teacher 't' has 'layer1', 'stage2', 'layer4'\. .*pairs="),
        ({"stage2": "layer9"}, r"teacher 't' has no tap 'stage2' \(pairs=.*layer9"),  # not its own of that name
        ({"layer1": "layer1"}, r"the student has no tap 'layer1'.*the student has 'stage1'.*teacher 't' has 'layer1'"),
        ({"s": {"stage3": "layer4"}}, r"pairs must name teachers, \['t'\], but got 's'"),
        ({}, r"pairs must be \{student's tap: teacher's tap\}.*got \{\}"),
        ({"stage3": 4}, r"pairs must be"),
        ([("stage3", "layer4")], r"pairs must be"),
        ({"t": {"stage3": "layer4"}, "u": {"stage2": "b"}}, r"pair the same taps.*\['stage3'\] and \['stage2'\]"),
    ],
)  # fmt: skip
def test_wrong_pairs(pairs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ATObjective(pairs=pairs)(student=STUDENT, teachers={"t": TEACHER}, target=TARGET)
    with pytest.raises(InputError, match=message):
        FitNetObjective(pairs=pairs).adapt(student=STUDENT, teachers={"t": TEACHER})


def test_taps_beside_pairs() -> None:
    with pytest.raises(
        InputError, match=r"taps must be those of the student in pairs, \['stage3'\], but got \('stage1"
    ):
        ATObjective(pairs={"stage3": "layer4"}, taps=("stage1",))
    assert ATObjective(pairs={"stage3": "layer4"}, taps=("stage3",)).taps == ("stage3",)
    missing = (
        r"teacher 't' has no tap 'stage1'; the student has 'stage1', .*; teacher 't' has 'layer1', 'stage2', 'layer4'"
    )
    with pytest.raises(InputError, match=missing):
        ATObjective()(student=STUDENT, teachers={"t": TEACHER}, target=TARGET)


def outside(cls: Any, taps: dict[str, str]) -> Adapter:
    path = f"{cls.__module__}.{cls.__qualname__}"
    return Adapter({"class_path": path, "init_args": {}}, "fc", taps, in_channels=6, num_classes=4)


@pytest.mark.parametrize("method", [AT, SP, FitNet])
def test_live_and_cached(method: Any, tmp_path: Path) -> None:
    """Students and teachers of several libraries; a cache keeps the teachers' own taps."""
    torch.manual_seed(0)
    teachers = {
        "vision": outside(TorchvisionLike, {"layer1": "layer1", "layer2": "layer2"}),
        "timm": outside(TimmLike, {"first": "stages.0"}),
    }
    size = {"layer1": (8, 50), "layer2": (8, 25), "first": (8, 25)}
    pairs = {"vision": {"stage3": "layer2"}, "timm": {"stage3": "first"}}
    found = {}
    for cache in (None, TeacherCache()):
        torch.manual_seed(1)
        given = {name: Teacher(net=one, mean=[0.0] * 6, std=[1.0] * 6) for name, one in teachers.items()}
        made: Distillation = method(net(), given, pairs=pairs, cache=cache)
        fit = trainer(tmp_path, max_epochs=1)
        torch.manual_seed(2)
        fit.fit(made, BasicMotions())
        found[cache is None] = {key: float(value) for key, value in fit.callback_metrics.items()}
        assert made.tried is not None
        shapes = {tap: tuple(f.shape[1:]) for out in made.tried[1].values() for tap, f in out.features.items()}
        assert size.items() <= shapes.items()
    assert found[True] == pytest.approx(found[False], rel=0.02)  # an epoch enlarges differences in the last digit


def test_from_yaml(tmp_path: Path) -> None:
    from kdlab import cli

    (tmp_path / "run.yaml").write_text(
        """
data: {class_path: BasicMotions}
model:
  class_path: AT
  init_args:
    student: {class_path: WideResNet, init_args: {depth: 10, in_channels: 6, num_classes: 4}}
    teachers: {raw: {net: {class_path: WideResNet, init_args: {depth: 10, in_channels: 6, num_classes: 4}}}}
    pairs: {stage3: stage2}
"""
    )
    module, _ = cli.build(tmp_path / "run.yaml")
    assert module.objective.pairs == {"stage3": "stage2"}
    assert module.objective.taps == ("stage3",)
    module, _ = cli.build(tmp_path / "run.yaml", ["--model.init_args.pairs={raw: {stage1: stage2}}"])
    assert module.objective.pairs == {"raw": {"stage1": "stage2"}}
