"""DASK (VSKD): each term against its equation, what the released script would train, and a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlab import DASK, Teacher, TeacherCache, functional
from kdlab.data import UTDMHAD, BasicMotions
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.dask import DASKObjective
from kdlab.nets import WideResNet
from kdlab.types import InputError, Output
from kdlab.views import PersistenceImage, Raw
from tests import references as ref
from tests.conftest import net, trainer
from tests.fixtures import write_utdmhad

TARGET = torch.arange(6) % 4


def output(seed: int, width: int = 5) -> Output:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(6, 4, generator=random)
    return Output(logits, {"embedding": torch.randn(6, width, generator=random)})


def array(x: Tensor) -> Any:
    return x.detach().double().numpy()


def vectors(out: Output) -> Any:
    return array(out.features["embedding"])


@pytest.mark.parametrize("width", [5, 7])
def test_terms(width: int) -> None:
    """Two teachers of other and of equal length; the semantic term is compared through the linear layer."""
    student, skeleton, pi = output(1), output(2, width), output(3)
    objective = DASKObjective(
        relation_weight=2.0,
        semantic_weight=3.0,
        temperature=2.0,
        kd_weight=0.5,
        weights={"skeleton": 0.8, "pi": 0.2},
    )
    teachers = {"skeleton": skeleton, "pi": pi}
    objective.check(batch_size=6, teachers=teachers)
    terms = objective(student=student, teachers=teachers, target=TARGET)
    kd = relation = semantic = 0.0
    for name, weight in (("skeleton", 0.8), ("pi", 0.2)):
        own, other, layer = vectors(student), vectors(teachers[name]), objective.adapters[name]
        kd += weight * ref.soft_target_kl(array(student.logits), array(teachers[name].logits), 2.0).mean()
        relation += weight * (ref.relational_distance(own, other) + ref.relational_angle(own, other))
        if own.shape != other.shape:
            own = np.array([array(layer.weight) @ f + array(layer.bias) for f in own])
        semantic += weight * sum((a - b) ** 2 for a, b in zip(own.flat, other.flat, strict=True)) / own.size
    expected = {
        "ce": ref.cross_entropy(array(student.logits), TARGET.numpy()),
        "kd": 0.5 * kd,
        "relation": 2 * relation,
        "semantic": 3 * semantic,
    }
    assert {k: float(v.detach()) for k, v in terms.items()} == pytest.approx(expected, rel=1e-4)
    assert list(terms) == list(expected)


def test_defaults_are_the_constants_of_the_code() -> None:
    values = {k: round(float(v), 6) for k, v in DASKObjective().settings().items()}
    assert values == {"relation_weight": 1.0, "semantic_weight": 1.0, "temperature": 4.0, "kd_weight": 0.01}


def test_swapped_as_in_released_lines_the_student_would_not_learn() -> None:
    """Its (commented) lines call (teacher, student), and the second argument is detached."""
    student, teacher = output(1).features["embedding"].requires_grad_(), output(2, 7).features["embedding"]
    for distance in (functional.relational_distance, functional.relational_angle):
        assert distance(teacher, student).item() == pytest.approx(distance(student, teacher).item(), rel=1e-6)
        assert not distance(teacher, student).requires_grad
    objective = DASKObjective()
    out = Output(output(1).logits, {"embedding": student})
    objective(student=out, teachers={"skeleton": output(2, 7)}, target=TARGET)["relation"].backward()
    assert student.grad is not None
    assert student.grad.abs().max() > 0


def test_gradients_reach_student_and_layer_only() -> None:
    def learn(out: Output) -> Output:
        return Output(out.logits.requires_grad_(), {k: v.requires_grad_() for k, v in out.features.items()})

    student, teacher, objective = learn(output(1)), learn(output(2, 7)), DASKObjective()
    terms = objective(student=student, teachers={"skeleton": teacher}, target=TARGET)
    torch.stack(list(terms.values())).sum().backward()
    assert student.logits.grad is not None
    assert student.features["embedding"].grad is not None
    assert objective.adapters["skeleton"].weight.grad.abs().max() > 0
    assert teacher.logits.grad is None
    assert teacher.features["embedding"].grad is None


REFUSED: dict[str, tuple[Any, str]] = {
    "two windows": (
        lambda: DASKObjective().check(batch_size=2, teachers=["skeleton"]),
        "batch_size must be at least 3.*but got 2",
    ),
    "weight": (lambda: DASKObjective(relation_weight=-1.0), "relation_weight.*-1"),
    "semantic": (lambda: DASKObjective(semantic_weight=float("nan")), "semantic_weight.*nan"),
    "reduction": (lambda: DASKObjective(kl_reduction="sum"), "kl_reduction.*'sum'"),
    "tap": (
        lambda: DASKObjective(tap="fc0")(student=output(1), teachers={"a": output(2)}, target=TARGET),
        "the student has no tap 'fc0'",
    ),
    "map": (
        lambda: DASKObjective()(
            student=Output(output(1).logits, {"embedding": torch.zeros(6, 2, 5)}),
            teachers={"a": output(2)},
            target=TARGET,
        ),
        r"\(6, 2, 5\).*\(6, 5\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        call()


def test_a_fit_with_an_image_teacher_and_a_cache(teachers: dict[str, str], tmp_path: Path) -> None:
    data = BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, batch_size=8)
    module = DASK(net(), {"pi": Teacher(teachers["pi"], view="pi")}, cache=TeacherCache())
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, data)
    assert {"train/ce", "train/kd", "train/relation", "train/semantic"} <= set(run.callback_metrics)
    run.save_checkpoint(tmp_path / "student.ckpt")
    state = read_checkpoint(tmp_path / "student.ckpt")["state_dict"]
    assert set(state) == {f"net.{key}" for key in net().state_dict()}  # equal lengths: nothing else learns


def test_a_fit_with_a_skeleton_teacher(tmp_path: Path) -> None:
    root = write_utdmhad(tmp_path / "utd", subjects=(1, 2, 3, 5))
    views = {"raw": Raw(), "skeleton": Raw(source="skeleton")}
    teacher = WideResNet(10, 2, in_channels=60, num_classes=27)
    teacher.standardize.fill()
    module = DASK(net(classes=27), {"skeleton": Teacher(net=teacher, view="skeleton")})
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, UTDMHAD(root, views=views, batch_size=8))
    layer = module.objective.adapters["skeleton"]
    assert layer.weight.shape == (128, 64)
    optimised = {id(p) for group in run.optimizers[0].param_groups for p in group["params"]}
    assert id(layer.weight) in optimised
    run.save_checkpoint(tmp_path / "student.ckpt")
    state = read_checkpoint(tmp_path / "student.ckpt")["state_dict"]
    adapters = {"objective.adapters.skeleton.weight", "objective.adapters.skeleton.bias"}
    assert set(state) == {f"net.{key}" for key in net(classes=27).state_dict()} | adapters
    fresh = DASK(net(classes=27), {"skeleton": Teacher("gone", view="skeleton")})
    data = UTDMHAD(root, batch_size=8)
    trainer(tmp_path).test(fresh, data, ckpt_path=tmp_path / "student.ckpt", weights_only=True, verbose=False)
    assert not fresh.objective.adapters
