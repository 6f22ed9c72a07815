"""Teachers with other classes than the student: by their features alone, or by a class map."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

from kdlab import AT, CAMKD, KD, SP, Supervised, Teacher
from kdlab.cache import TeacherCache
from kdlab.data import BasicMotions
from kdlab.methods.class_maps import mapped
from kdlab.objectives import SoftTargets
from kdlab.types import InputError, Output
from tests.conftest import net, trainer

X = torch.randn(5, 6, 100, generator=torch.Generator().manual_seed(1))
MAP = [6, [0, 2], 1, [3, 4, 5]]


def teacher(**arguments: Any) -> Teacher:
    torch.manual_seed(3)
    return Teacher(net=net(classes=7), mean=[0.0] * 6, std=[1.0] * 6, **arguments)


def test_a_class_map_adds_probabilities() -> None:
    plain, other = teacher().load(), teacher(class_map=MAP).load()
    logits = plain(X).logits.double().numpy()
    groups = [entry if isinstance(entry, list) else [entry] for entry in MAP]
    expected = np.stack([logsumexp(logits[:, group], axis=1) for group in groups], 1)
    np.testing.assert_allclose(other(X).logits.numpy(), expected, rtol=1e-5, atol=1e-6)
    probabilities = softmax(logits, axis=1)
    summed = np.stack([probabilities[:, group].sum(1) for group in groups], 1)
    np.testing.assert_allclose(other(X).logits.softmax(1).numpy(), summed / summed.sum(1, keepdims=True), rtol=1e-5)
    assert other(X).features["stage1"].equal(plain(X).features["stage1"])
    assert mapped(torch.zeros(1, 7, dtype=torch.float16), MAP).dtype == torch.float32
    assert other.num_classes == 4


@pytest.mark.parametrize("wrong", [[1], [1, 1], [0, [1, 0]], [0, -1], [0, []], [0, True], [0, 1.5], [0, "a"]])
def test_wrong_class_maps(wrong: Any) -> None:
    with pytest.raises(InputError, match="class_map must give each class of the student the index"):
        teacher(class_map=wrong)


def test_a_class_that_the_teacher_does_not_have() -> None:
    with pytest.raises(InputError, match="class_map must name classes from 0 to 6, but got 7"):
        teacher(class_map=[0, 1, 2, 7]).load()


@pytest.mark.parametrize("cache", [None, TeacherCache()], ids=["live", "cached"])
def test_features_alone(cache: TeacherCache | None, tmp_path: Path) -> None:
    for method in (AT, SP):
        torch.manual_seed(0)
        module = method(net(), {"raw": teacher()}, kd_weight=0.0, cache=cache)
        fit = trainer(tmp_path, max_epochs=1)
        fit.fit(module, BasicMotions())
        assert float(fit.callback_metrics["train/kd"]) == 0
        assert float(fit.callback_metrics["train/loss"]) > float(fit.callback_metrics["train/ce"])
        assert math.isnan(module.teacher_scores["raw"].accuracy)
        with pytest.raises(InputError, match=r"kd_weight must be 0, since a teacher has other classes, but got 0\.5"):
            module.objective.set("kd_weight", 0.5)
        fit.test(module, BasicMotions())


def test_the_same_value_as_before() -> None:
    """A teacher of the same classes and kd_weight=0: the label term alone, and soft targets that may be annealed."""
    own, other = (Output(torch.randn(3, 4), {}) for _ in range(2))
    objective = SoftTargets(kd_weight=0.0)
    target = torch.tensor([0, 1, 2])
    terms = objective(student=own, teachers={"raw": other}, target=target)
    assert float(terms["kd"]) == 0
    objective.set("kd_weight", 0.5)
    assert float(objective(student=own, teachers={"raw": other}, target=target)["kd"]) > 0


def test_logits_of_other_classes_are_refused(tmp_path: Path) -> None:
    for method, arguments in ((KD, {}), (AT, {"kd_weight": 0.1}), (CAMKD, {})):
        words = r"teacher 'raw' must have the 4 classes of the student, but has 7\..*class_map.*kd_weight=0"
        with pytest.raises(InputError, match=words):
            trainer(tmp_path).fit(method(net(), {"raw": teacher()}, **arguments), BasicMotions())
    with pytest.raises(InputError, match=r"teacher 'raw' must have the 4 classes of the student, but has 3"):
        trainer(tmp_path).fit(KD(net(), {"raw": teacher(class_map=[0, 1, 2])}), BasicMotions())


def test_a_class_map_in_a_fit(tmp_path: Path) -> None:
    found = {}
    for cache in (None, TeacherCache()):
        torch.manual_seed(0)
        module = KD(net(), {"raw": teacher(class_map=MAP)}, kd_weight=0.7, cache=cache)
        fit = trainer(tmp_path, max_epochs=1)
        torch.manual_seed(2)
        fit.fit(module, BasicMotions())
        found[cache is None] = float(fit.callback_metrics["train/kd"])
        assert 0 <= module.teacher_scores["raw"].accuracy <= 1
        assert module.describe()["teachers"]["raw"]["class_map"] == [[6], [0, 2], [1], [3, 4, 5]]
    assert found[True] == pytest.approx(found[False], rel=1e-5)
    several = {"raw": teacher(class_map=MAP), "b": Teacher(net=net(), mean=[0.0] * 6, std=[1.0] * 6)}
    trainer(tmp_path, max_steps=1).fit(CAMKD(net(), several), BasicMotions())  # weights by label, over logits of both


def test_a_checkpoint_of_other_classes(tmp_path: Path) -> None:
    """Its fingerprint names other classes; who was held out is compared all the same."""
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(Supervised(net()), BasicMotions())
    fit.save_checkpoint(tmp_path / "teacher.ckpt")
    held = torch.load(tmp_path / "teacher.ckpt", weights_only=True)
    held["kdlab"]["fingerprint"]["classes"] = ["a", "b", "c", "d"]
    torch.save(held, tmp_path / "teacher.ckpt")
    with pytest.raises(InputError, match="its classes are a, b, c, d"):
        trainer(tmp_path, max_steps=1).fit(KD(net(), {"raw": Teacher(str(tmp_path / "teacher.ckpt"))}), BasicMotions())
    given = Teacher(str(tmp_path / "teacher.ckpt"), class_map=[3, 2, 1, 0])
    trainer(tmp_path, max_steps=1).fit(KD(net(), {"raw": given}), BasicMotions())
    held["kdlab"]["fingerprint"]["val"] = held["kdlab"]["fingerprint"]["train"][:1]
    torch.save(held, tmp_path / "teacher.ckpt")
    given = Teacher(str(tmp_path / "teacher.ckpt"), class_map=[3, 2, 1, 0])
    with pytest.raises(InputError, match="was trained on another split"):
        trainer(tmp_path, max_steps=1).fit(KD(net(), {"raw": given}), BasicMotions())


def test_as_many_other_classes_need_no_map_for_features(tmp_path: Path) -> None:
    """They are told apart by name: no accuracy of the teacher, and no soft targets later on."""
    fit = trainer(tmp_path, max_steps=1)
    fit.fit(Supervised(net()), BasicMotions())
    fit.save_checkpoint(tmp_path / "teacher.ckpt")
    held = torch.load(tmp_path / "teacher.ckpt", weights_only=True)
    names = held["kdlab"]["fingerprint"]["classes"]
    for others, classes in ((False, names), (True, ["a", "b", "c", "d"])):
        held["kdlab"]["fingerprint"]["classes"] = classes
        torch.save(held, tmp_path / "teacher.ckpt")
        module = SP(net(), {"raw": Teacher(str(tmp_path / "teacher.ckpt"))}, kd_weight=0.0)
        trainer(tmp_path, max_steps=1).fit(module, BasicMotions())
        assert math.isnan(module.teacher_scores["raw"].accuracy) == others
        assert module.objective.other_classes == others
        if others:
            with pytest.raises(InputError, match="kd_weight must be 0, since a teacher has other classes"):
                module.objective.set("kd_weight", 0.5)
            again = SP(net(), {"raw": Teacher(net=net())}, kd_weight=0.0)
            again.objective = module.objective  # with a teacher of these classes it is as it was
            trainer(tmp_path, max_steps=1).fit(again, BasicMotions())
            assert not again.objective.other_classes
    module = SP(net(), {"raw": Teacher(str(tmp_path / "teacher.ckpt"))}, kd_weight=0.1)
    with pytest.raises(InputError, match="its classes are a, b, c, d"):
        trainer(tmp_path, max_steps=1).fit(module, BasicMotions())
