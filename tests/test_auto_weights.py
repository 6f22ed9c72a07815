"""Weights that are ``auto``: measured against an independent calculation, kept, resumed; and warm starts' rates."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from kdlab import DDGSD, DKD, KD, SP, DiffKD, InputError, ReviewKD, Supervised, Teacher, TeacherCache
from kdlab.augment import Mix2
from kdlab.fields import Setting, setting
from kdlab.methods.auto_weights import takes_auto
from kdlab.methods.distillation import Distillation
from kdlab.methods.pseudo_label import PseudoLabelObjective
from kdlab.methods.stubs import made_methods
from kdlab.nets import ReusedClassifier
from kdlab.objective import Objective
from kdlab.objectives import SoftTargets
from kdlab.types import Output
from kdlab.views import Raw
from tests.conftest import trainer
from tests.test_labels import net, windows
from tests.test_objectives import OBJECTIVES, output, teachers


def teacher() -> dict[str, Teacher]:
    torch.manual_seed(7)
    return {"raw": Teacher(net=net(), mean=[0.0, 0.0], std=[1.0, 1.0])}


def other() -> dict[str, Teacher]:
    one = teacher()
    with torch.no_grad():
        for p in one["raw"].net.parameters():  # type: ignore[union-attr]
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    return one


def method(**kwargs: Any) -> SP:
    torch.manual_seed(0)
    return SP(net(), other(), **{"similarity_weight": "auto", **kwargs})


def fitted(folder: Path, module: Any, data: Any, ckpt: Any = None, **kwargs: Any) -> Any:
    run = trainer(folder, **{"limit_val_batches": 0, **kwargs})
    run.fit(module, data, ckpt_path=ckpt)
    return run


# --------------------------------------------------------------------------------------------- which weights may be


def weights(cls: type[Objective]) -> list[str]:
    return [name for name, field in cls.declared().items() if field.may_be_auto and field.init]


def test_weights_without_an_upper_bound_may_be_auto() -> None:
    found = {cls.__name__: weights(cls) for cls in OBJECTIVES}
    assert found["SPObjective"] == ["similarity_weight"]
    assert found["RKDObjective"] == ["distance_weight", "angle_weight"]
    assert "kd_weight" not in found["SoftTargets"]
    signature = inspect.signature(made_methods()["SP"]).parameters["similarity_weight"]
    assert signature.annotation == float | Literal["auto"]
    with pytest.raises(InputError, match=r"SoftTargets: kd_weight must be from 0 to 1, but got 'auto'"):
        KD(net(), other(), kd_weight="auto")


@pytest.mark.parametrize("cls", OBJECTIVES)
def test_the_term_of_a_weight_is_proportional_to_it(cls: type[Objective]) -> None:
    """What the measurement relies on, or the term is missing and ``auto`` is refused."""
    plain = cls()
    student, others = output(1), teachers(plain)
    plain.adapt(student=student, teachers=others)
    for name in set(weights(cls)) & set(plain.settings()):
        term = name.removesuffix("_weight")
        values = []
        for weight in (1.0, 2.5):
            plain.set(name, weight)
            values.append(plain(student=student, teachers=others, target=torch.arange(8) % 4))
        if term in values[0]:
            torch.testing.assert_close(2.5 * values[0][term], values[1][term], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("cls", OBJECTIVES)
def test_the_term_of_a_weight_that_may_be_auto_teaches_the_student(cls: type[Objective]) -> None:
    """A term that trains adapters alone is as large as another one at their learning rate, not at the student's."""
    plain = cls()
    plain.partly_labelled = isinstance(plain, PseudoLabelObjective)
    student, others = output(1), teachers(plain)
    plain.adapt(student=student, teachers=others)
    for name in set(weights(cls)) & set(plain.settings()):
        plain.set(name, 1.0)
        leaves = {tap: x.clone().requires_grad_() for tap, x in student.features.items()}
        logits = (20 * student.logits).requires_grad_()  # sure enough for pseudo-labels
        target = (torch.arange(8) % 4).where(torch.tensor(not plain.partly_labelled), -1)
        terms = plain(student=Output(logits, leaves), teachers=others, target=target)
        if (term := terms.get(name.removesuffix("_weight"))) is not None:
            assert term.requires_grad, name
            found = torch.autograd.grad(term, [logits, *leaves.values()], allow_unused=True)
            assert any(g is not None and bool(g.abs().sum() > 0) for g in found), name


# ---------------------------------------------------------------------------------------------------- the measurement


def by_hand(module: SP, data: Any, count: int) -> float:
    """``sum kd / sum similarity`` of the first batches, written from the equations in float64."""
    student, raw = module.net.double().train(), module.teachers["raw"].net.double().eval()
    kd = similarity = 0.0
    with torch.no_grad():
        for batch in list(data.train_dataloader())[:count]:
            x = batch.views["raw"].double()
            s, t = student(x), raw(x)
            p, q = [(o.logits / 4).softmax(1) for o in (t, s)]
            kd += 0.5 * float(16 * (p * (p / q).log()).sum(1).mean())
            for tap in ("stage1", "stage2", "stage3"):
                grams = []
                for o in (s, t):
                    f = o.features[tap].flatten(1)
                    grams.append(torch.nn.functional.normalize(f @ f.T, dim=1))
                similarity += float((grams[0] - grams[1]).square().sum()) / len(x) ** 2 / 3
    return kd / similarity


@pytest.mark.parametrize("cached", [False, True], ids=["live", "cached"])
def test_it_is_the_ratio_of_the_first_batches(cached: bool, tmp_path: Path) -> None:
    cache = TeacherCache(folder=tmp_path / "cache") if cached else None
    module = method(kd_weight=0.5, cache=cache)
    fitted(tmp_path, module, windows(), max_epochs=1)
    found = module.objective.measured_weights["similarity_weight"]
    assert module.describe()["auto_weights"] == {"similarity_weight": found}
    assert float(module.objective.similarity_weight) == pytest.approx(found, rel=1e-6)
    again, data = method(kd_weight=0.5), windows()
    data.setup()
    again.prepare(data, "fit")
    assert found == pytest.approx(by_hand(again, data, 8), rel=1e-3)


def test_without_soft_targets_the_labels_are_the_reference(tmp_path: Path) -> None:
    module = method(kd_weight=0.0)
    run = fitted(tmp_path, module, windows(), max_epochs=1, max_steps=1)
    ce, similarity = (float(run.callback_metrics[f"train/{term}"]) for term in ("ce", "similarity"))
    assert 0.3 < similarity / ce < 3  # of one batch, where the mean of eight is equal


def test_the_measurement_changes_nothing_else(tmp_path: Path) -> None:
    """A fit with the measured number written out is the same bit for bit."""
    module = method()
    fitted(tmp_path, module, windows())
    number = method(similarity_weight=module.objective.measured_weights["similarity_weight"])
    fitted(tmp_path, number, windows())
    for name, value in module.state_dict().items():
        assert torch.equal(number.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("cls", "weight", "more"), [(ReviewKD, "review_weight", {"warm_up": 0}), (DiffKD, "feature_weight", {})]
)
def test_adapters_with_batch_norm_are_measured_as_they_are_trained(
    cls: Any, weight: str, more: dict[str, Any], tmp_path: Path
) -> None:
    """In an epoch without learning the terms are of equal size; the measurement leaves no running statistics."""
    torch.manual_seed(0)
    module = cls(
        net(), other(), optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0), **{weight: "auto"}, **more
    )
    run = fitted(tmp_path, module, windows(), max_epochs=1, limit_train_batches=8)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    reference = found["train/kd"] if found.get("train/kd", 0.0) > 0 else found["train/ce"]
    assert found["train/" + weight.removesuffix("_weight")] == pytest.approx(reference, rel=0.05)
    for part in norms(module):
        assert 0 < int(part.num_batches_tracked) <= 6 * run.global_step  # five steps of a sampler, and one


def norms(module: Any) -> list[Any]:
    found = [part for part in module.objective.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    assert found
    return found


def test_an_objective_that_was_in_evaluation_mode_is_trained(tmp_path: Path) -> None:
    module = ReviewKD(net(), other())
    module.eval()
    fitted(tmp_path, module, windows(), max_epochs=1)
    assert module.objective.training
    assert all(int(part.num_batches_tracked) > 0 for part in norms(module))
    assert not any(teacher.net.training for _, teacher in module.named_teachers())


def test_interrupted_equals_uninterrupted(tmp_path: Path) -> None:
    complete = method()
    fitted(tmp_path, complete, windows(), max_epochs=3)
    fitted(tmp_path, method(), windows(), max_epochs=2).save_checkpoint(tmp_path / "last.ckpt")
    resumed = method()
    fitted(tmp_path, resumed, windows(), tmp_path / "last.ckpt", max_epochs=3)
    assert resumed.objective.measured_weights == complete.objective.measured_weights
    for name, value in complete.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


class Zero(SoftTargets):
    """With a term that is always 0, and a weight without a term."""

    zero_weight: Setting = setting("of the zero", default=1.0)
    none_weight: Setting = setting("of nothing", default=1.0)

    def forward(self, *, student: Any, teachers: Any, target: Any, index: Any = None) -> dict[str, Any]:
        """``"zero"`` is 0."""
        terms = super().forward(student=student, teachers=teachers, target=target)
        return {**terms, "zero": self.zero_weight * 0.0}


@pytest.mark.parametrize(("name", "what"), [("zero_weight", "0"), ("none_weight", "missing")])
def test_a_term_that_is_zero_has_no_weight(name: str, what: str, tmp_path: Path) -> None:
    module = Distillation(net(), other(), Zero(**{name: "auto"}))
    with pytest.raises(
        InputError, match=rf"^Zero: {name} must be a number, because its term .* is {what} in the first"
    ):
        fitted(tmp_path, module, windows(), max_epochs=1)


def test_refusals(tmp_path: Path) -> None:
    data, wrong = windows(views={"raw": Raw(), "raw/second": Raw()}, augment=Mix2()), "auto"
    module = DDGSD(net(), discrepancy_weight=wrong)
    with pytest.raises(InputError, match="DDGSD: discrepancy_weight must be a number"):
        fitted(tmp_path, module, data)
    with pytest.raises(InputError, match=r"similarity_weight must be .* but got 'large'"):
        method(similarity_weight="large")


# ------------------------------------------------------------------------------------------------------------ warnings


def test_a_term_that_is_nearly_all_of_the_loss_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"SP: the term 'similarity' was 100% .* write similarity_weight: auto"):
        fitted(tmp_path, method(similarity_weight=1e6), windows(), max_epochs=1)


@pytest.mark.parametrize("name", made_methods())
def test_the_advice_is_accepted(name: str, tmp_path: Path) -> None:
    """Each weight that a warning would advise to measure is measured, and no other."""
    cls: Any = made_methods()[name]
    if name in ("CSKD", "DDGSD", "IPS"):
        views: Any = {"raw": Raw(), "raw/pair": Raw(), "raw/second": Raw()}
        data = windows(views=views, augment=Mix2())
    else:
        data = windows(views={"raw": Raw(), "pi": Raw()})
    names = [one for one, field in cls.made_from.declared().items() if field.may_be_auto and one in arguments_of(cls)]
    if not names:
        return
    torch.manual_seed(0)
    module = made(cls)
    run = fitted(tmp_path, module, data, max_epochs=1, max_steps=2)
    totals = {k.removeprefix("train/"): float(v) for k, v in run.callback_metrics.items() if k.startswith("train/")}
    for one in names:
        if takes_auto(module, module.objective, one, totals) and totals.get(one.removesuffix("_weight"), 0.0) > 0:
            fitted(tmp_path, made(cls, **{one: "auto"}), data, max_epochs=1, max_steps=1)
        elif name in ("DKD", "DDGSD", "IPS"):
            with pytest.raises(InputError, match=f"{one} must be a number"):
                fitted(tmp_path, made(cls, **{one: "auto"}), data, max_epochs=1, max_steps=1)


def arguments_of(cls: Any) -> Any:
    return inspect.signature(cls).parameters


def made(cls: Any, **given: Any) -> Any:
    """A method, with teachers where it takes some."""
    if not issubclass(cls, Distillation):
        return cls(net(), **given)
    if cls.__name__ == "WKDL":
        given["costs"] = (1.0 - torch.eye(net().num_classes)).tolist()
    names = getattr(cls.made_from, "default_weights", None) or {"raw": 1.0}
    names = [*names, *(["other"] if cls.__name__ == "MTKDRL" else [])]
    student: Any = ReusedClassifier(net(), net()) if cls.__name__ == "SimKD" else net()
    return cls(student, {name: other()["raw"] for name in names}, **given)


def test_a_weight_of_labels_without_another_term_says_what_is_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ce_weight must be .* \('kd' is missing, 'ce' is 'auto' itself\), but got"):
        fitted(tmp_path, DKD(net(), other(), ce_weight="auto"), windows(), max_epochs=1)


@pytest.mark.filterwarnings("error:.*of the loss in the first epoch")
def test_shares_are_not_warned_of(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fitted(tmp_path, KD(net(), other(), kd_weight=0.99), windows(), max_epochs=1)
    fitted(tmp_path, method(), windows(), max_epochs=1)
    fitted(tmp_path, DKD(net(), teacher()), windows(), max_epochs=1)  # equal nets: labels are all of the loss


# --------------------------------------------------------------------------------------------------------- warm starts


def test_a_warm_start_has_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    first = fitted(tmp_path, Supervised(net()), windows(), max_epochs=1)
    first.save_checkpoint(tmp_path / "first.ckpt")
    start = str(tmp_path / "first.ckpt")
    torch.manual_seed(0)
    warm = SP(net(), other(), student_init=start, init_lr=0.002)
    run = fitted(tmp_path, warm, windows(), max_epochs=1)
    assert [group["lr"] for group in run.optimizers[0].param_groups] == [0.002]

    def two(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        first, *rest = parameters
        return torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": rest}], lr=0.2)

    with pytest.warns(UserWarning, match=r"Supervised: init_lr gives all groups .* rate 0.002 .* own, 0.1, 0.2"):
        fitted(tmp_path, Supervised(net(), optimizer=two, init=start, init_lr=0.002), windows(), max_epochs=1)
    with pytest.raises(InputError, match=r"SP: init_lr must be left out where student_init is"):
        SP(net(), other(), init_lr=0.002)
    with pytest.raises(InputError, match=r"Supervised: init_lr must be a number above 0"):
        Supervised(net(), init=start, init_lr=0.0)
