"""Windows with any number of labels each: data, losses, metrics, and which objectives are defined for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from numpy.typing import NDArray
from sklearn import metrics as sk
from torch import Tensor

import kdlab
from kdlab import InputError, functional
from kdlab.data import ArrayDataModule, BasicMotions, WindowDataModule
from kdlab.data.mixing import CutMix, Mixup
from kdlab.data.windows import WindowSet
from kdlab.evaluate.many import average_precision, label_counts, label_scores, many_scores
from kdlab.labelled import Labelled, balanced_positive_weights
from kdlab.methods.label_kinds import check_many_labels, is_right, patterns, predicted
from kdlab.methods.metrics import metrics_of
from kdlab.methods.stubs import made_methods
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy, SoftTargets
from kdlab.types import Output
from kdlab.views import Raw
from tests.test_objectives import OBJECTIVES, output, teachers

WEIGHTS = [0.3, 2.0, 1.1, 0.7]
OPTIONS: dict[str, Any] = {"class_weights": WEIGHTS, "label_smoothing": 0.2, "focal_gamma": 1.5}
#: objectives whose terms are defined for any number of labels per window
ABLE = {
    *("AFD", "AFDS", "AMD", "AT", "AVER", "AnnealingKD", "CRD", "FitNet", "PKT", "RKD", "SP", "SimKD", "TFKDSelf"),
    *("TGD", "TPKD", "VID", "ReviewKD"),
}
METHODS = {*ABLE, "KD", "ESKD", "FullKD", "Supervised"}


def batch(seed: int = 0, windows: int = 12, classes: int = 4) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(windows, classes, generator=random, dtype=torch.float64)
    target = (torch.rand(windows, classes, generator=random) < 0.4).double()
    target[0], target[1] = 0.0, 1.0
    return logits, target


def reference(
    logits: NDArray[Any], target: NDArray[Any], weights: list[float] | None, smoothing: float, gamma: float
) -> float:
    """Lin et al. 2017, with a weight where a class is present: window by window and class by class."""
    w = [1.0] * logits.shape[1] if weights is None else weights
    values = []
    for z, y in zip(logits, target, strict=True):
        if y[0] < 0:  # not labelled
            continue
        for k in range(len(z)):
            p = 1 / (1 + np.exp(-z[k]))
            t = (1 - smoothing) * y[k] + smoothing / 2
            values.append(-w[k] * t * (1 - p) ** gamma * np.log(p) - (1 - t) * p**gamma * np.log(1 - p))
    return float(np.mean(values))


# ------------------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("mixed", [False, True], ids=["labels", "mixed"])
def test_it_is_the_binary_cross_entropy_of_torch(weights: list[float] | None, mixed: bool) -> None:
    logits, target = batch()
    target = 0.3 * target + 0.7 * target.flip(0) if mixed else target
    w = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    own, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    objective = CrossEntropy(class_weights=weights)
    objective.use_many_labels()
    loss = objective.label_loss(own, target)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(other, target, pos_weight=w)
    torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(functional.binary_cross_entropy(own, target, w), wanted, rtol=1e-12, atol=0)
    loss.backward()
    wanted.backward()
    torch.testing.assert_close(own.grad, other.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_smoothing_and_focal_factor(gamma: float, smoothing: float, weights: list[float] | None) -> None:
    logits, target = batch(1)
    target[3] = target[7] = -1.0
    objective = CrossEntropy(class_weights=weights, label_smoothing=smoothing, focal_gamma=gamma)
    objective.use_many_labels()
    wanted = reference(logits.numpy(), target.numpy(), weights, smoothing, gamma)
    assert float(objective.label_loss(logits, target)) == pytest.approx(wanted, rel=1e-12)
    w = None if weights is None else torch.tensor(weights)
    again = functional.binary_cross_entropy(logits, target, w, smoothing, gamma)
    assert float(again) == pytest.approx(wanted, rel=1e-6)
    x = logits.clone().requires_grad_()
    torch.autograd.gradcheck(lambda z: objective.label_loss(z, target), x)


def test_unlabelled_windows_are_not_windows_without_classes() -> None:
    logits, target = batch(2)
    without = target.clone()
    without[3:6] = 0.0
    unlabelled = target.clone()
    unlabelled[3:6] = -1.0
    rest = torch.cat([torch.arange(3), torch.arange(6, 12)])
    loss = functional.binary_cross_entropy(logits, unlabelled)
    torch.testing.assert_close(loss, functional.binary_cross_entropy(logits[rest], target[rest]))
    assert abs(float(loss - functional.binary_cross_entropy(logits, without))) > 0.01
    x = logits.clone().requires_grad_()
    functional.binary_cross_entropy(x, torch.full_like(target, -1.0)).backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_sure_nets_and_half_precision() -> None:
    for gamma in (0.0, 0.1, 2.0):
        logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
        loss = functional.binary_cross_entropy(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), focal_gamma=gamma)
        loss.backward()
        assert loss.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        half = functional.binary_cross_entropy(logits.detach().bfloat16(), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        assert half.dtype == torch.float32
    kd = functional.binary_soft_target_kl(torch.tensor([[500.0, -500.0]]), torch.tensor([[-500.0, 500.0]]), 1.0)
    assert float(kd) == pytest.approx(500.0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_targets_of_each_class(temperature: float) -> None:
    student, teacher = batch(3)[0], batch(4)[0]
    values = []
    for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        p, q = 1 / (1 + np.exp(-t / temperature)), 1 / (1 + np.exp(-s / temperature))
        values.append(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    wanted = temperature**2 * float(np.mean(values))
    x, y = student.clone().requires_grad_(), teacher.clone().requires_grad_()
    found = functional.binary_soft_target_kl(x, y, temperature)
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-12)
    found.backward()
    assert y.grad is None
    assert x.grad is not None
    # d/dz of T^2 KL is T (q - p) of each class
    expected = temperature * ((student / temperature).sigmoid() - (teacher / temperature).sigmoid()) / student.numel()
    torch.testing.assert_close(x.grad, expected)
    assert float(functional.binary_soft_target_kl(student, student)) == 0.0
    objective = SoftTargets(temperature=temperature, kd_weight=0.25, **OPTIONS)
    objective.use_many_labels()
    target = batch(3)[1]
    terms = objective(student=Output(student, {}), teachers={"raw": Output(teacher, {})}, target=target)
    ce = reference(student.numpy(), target.numpy(), WEIGHTS, 0.2, 1.5)
    assert float(terms["ce"]) == pytest.approx(0.75 * ce, rel=1e-9)
    assert float(terms["kd"]) == pytest.approx(0.25 * wanted, rel=1e-6)  # the setting is float32
    # two classes that exclude each other: the softmax of (z, 0) is the sigmoid of z
    pair = [torch.stack([z[:, 0], torch.zeros(12)], 1) for z in (student, teacher)]
    soft = functional.soft_target_kl(*pair, temperature)
    torch.testing.assert_close(functional.binary_soft_target_kl(student[:, :1], teacher[:, :1], temperature), soft)


def test_wrong_targets_and_weights() -> None:
    logits, target = batch()
    with pytest.raises(InputError, match=r"rows of 0 and 1, \(B, K\).*\(12, 4\) and target is \(12,\)"):
        functional.binary_cross_entropy(logits, target[:, 0])
    with pytest.raises(InputError, match="one number for each of the 4 classes"):
        functional.binary_cross_entropy(logits, target, torch.ones(3))
    with pytest.raises(InputError, match="same batch and classes"):
        functional.binary_soft_target_kl(logits, logits[:, :2])
    objective = SoftTargets(kl_reduction="mean")
    objective.use_many_labels()
    with pytest.raises(InputError, match="SoftTargets: kl_reduction must be 'batchmean' with any number of labels"):
        objective(student=Output(logits, {}), teachers={"raw": Output(logits, {})}, target=target)
    with pytest.raises(InputError, match=r"KD: .* with and without every class, but got .* for sit, walk\. Hold out"):
        balanced_positive_weights("KD", [3, 0, 10], 10, ["run", "sit", "walk"])
    assert balanced_positive_weights("KD", [3, 5], 10, []) == pytest.approx([7 / 3, 1.0])


# --------------------------------------------------------------------------------------------------- every objective


def test_which_objectives_are_able() -> None:
    able = {cls.__name__ for cls in OBJECTIVES if vars(cls).get("takes_many_labels")}
    assert able == {"CrossEntropy", "SoftTargets", *(f"{name}Objective" for name in ABLE)}


@pytest.mark.parametrize("cls", OBJECTIVES)
def test_every_objective_trains_or_is_refused(cls: type[Objective]) -> None:
    """Its label term is that of the formula, its terms are finite, and those of features are as with one label."""
    extra: dict[str, Any] = {"ce_weight": 1.0} if "ce_weight" in cls.declared() else {}
    objective = cls(**extra, **OPTIONS)
    if not vars(cls).get("takes_many_labels"):
        with pytest.raises(
            InputError, match=rf"Distillation: .*{cls.__name__} needs one class per window\. Use one of"
        ):
            check_many_labels(kdlab.Distillation, objective, kdlab.methods.Method)
        return
    check_many_labels(kdlab.Distillation, objective, kdlab.methods.Method)
    assert isinstance(objective, Labelled)
    objective.use_many_labels()
    target = batch(5, 8)[1].float()
    logits = output(1).logits.clone().requires_grad_()
    student, others = output(1)._replace(logits=logits), teachers(objective)
    objective.check(batch_size=8, teachers=others)
    torch.manual_seed(0)
    terms = objective(student=student, teachers=others, target=target)
    weight = 1.0 if "ce_weight" in cls.declared() else 1 - float(objective.settings().get("kd_weight", 0.0))
    wanted = weight * reference(logits.detach().double().numpy(), target.numpy(), WEIGHTS, 0.2, 1.5)
    assert float(terms["ce"].detach()) == pytest.approx(wanted, rel=1e-5)
    torch.stack(list(terms.values())).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    torch.manual_seed(0)
    one = cls(**extra, **OPTIONS)
    plain = one(student=output(1), teachers=teachers(one), target=torch.arange(8) % 4)
    assert list(plain) == list(terms)
    for name in set(terms) - {"ce", "kd"}:
        torch.testing.assert_close(terms[name], plain[name])
    if objective.zero_when_equal:
        student, fresh = output(1), cls(**extra, **OPTIONS)
        assert isinstance(fresh, Labelled)
        fresh.use_many_labels()
        equal = fresh(student=student, teachers=dict.fromkeys(others, student), target=target)
        assert all(abs(float(term)) < 1e-6 for name, term in equal.items() if name != "ce"), equal


@pytest.mark.parametrize("cls", [c for c in OBJECTIVES if vars(c).get("takes_many_labels")])
def test_compiles_without_a_break(cls: Any) -> None:
    objective, others = cls(focal_gamma=1.0), teachers(cls())
    objective.use_many_labels()
    objective.adapt(student=output(1), teachers=others)
    target = batch(5, 8)[1].float()
    torch._dynamo.reset()
    compiled = torch.compile(objective, fullgraph=True, backend="eager")
    terms = compiled(student=output(1), teachers=others, target=target)
    for name, term in objective(student=output(1), teachers=others, target=target).items():
        assert float(terms[name]) == pytest.approx(float(term), rel=1e-6), name


@pytest.mark.gpu
@pytest.mark.parametrize("cls", [c for c in OBJECTIVES if vars(c).get("takes_many_labels")])
def test_no_synchronisation(cls: Any) -> None:
    objective = cls(**OPTIONS).cuda()
    objective.use_many_labels()

    def move(out: Output) -> Output:
        return Output(out.logits.cuda().requires_grad_(), {k: v.cuda() for k, v in out.features.items()})

    student, target = move(output(1)), batch(5, 8)[1].float().cuda()
    others = {k: move(v) for k, v in teachers(objective).items()}
    objective(student=student, teachers=others, target=target)
    torch.cuda.set_sync_debug_mode("error")
    try:
        terms = objective(student=student, teachers=others, target=target)
        torch.stack(list(terms.values())).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    again = cls(**OPTIONS)
    again.use_many_labels()
    wanted = again(student=output(1), teachers=teachers(again), target=target.cpu())
    assert float(terms["ce"].detach()) == pytest.approx(float(wanted["ce"].detach()), rel=1e-4)


def test_the_refusal_lists_all_methods_that_work() -> None:
    with pytest.raises(InputError) as info:
        check_many_labels(kdlab.DKD, kdlab.DKD.made_from(), kdlab.methods.Method)
    listed = re.search(r"Use one of (.*); a class of your own", str(info.value))
    assert listed is not None
    assert set(listed[1].split(", ")) == METHODS
    for name, cls in made_methods().items():
        able = bool(vars(cls.made_from).get("takes_many_labels"))
        assert able == (name in METHODS)


class Inherits(SoftTargets):
    """It may do anything with logits."""


class OwnTerms(kdlab.KD):
    """It may do anything with labels."""

    def terms(self, batch: Any, student: Output) -> dict[str, Tensor]:
        return super().terms(batch, student)


def test_what_a_class_inherits_is_not_enough() -> None:
    with pytest.raises(InputError, match="Inherits needs one class per window"):
        check_many_labels(kdlab.Distillation, Inherits(), kdlab.methods.Method)
    with pytest.raises(InputError, match=r"OwnTerms: .* terms of OwnTerms needs one class .* takes_many_labels = True"):
        check_many_labels(OwnTerms, SoftTargets(), kdlab.methods.Method)


# ---------------------------------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize("parts", [1, 3])
def test_metrics_are_those_of_sklearn(parts: int) -> None:
    logits, target = batch(6, 30)
    logits = logits.float() / 20  # all between 0 and 1 or below: never taken for probabilities
    target[:, 3] = 0.0  # a class that no window has
    found = metrics_of("val", 4, many=True)
    for z, y in zip(logits.chunk(parts), target.float().chunk(parts), strict=True):
        found.update(z, y)
    found.update(logits[:2], torch.full((2, 4), -1.0))  # unlabelled
    values = {name: float(value) for name, value in found.compute().items()}
    p, y = logits.double().sigmoid().numpy(), target.numpy()
    assert values["val/accuracy"] == pytest.approx(sk.accuracy_score(y, p > 0.5))
    assert values["val/f1"] == pytest.approx(sk.f1_score(y, p > 0.5, average="macro", zero_division=0))
    assert values["val/loss"] == pytest.approx(
        np.mean([sk.log_loss(y[:, k], p[:, k], labels=[0, 1]) for k in range(4)])
    )


def test_evaluation_numbers_are_those_of_sklearn() -> None:
    logits, target = batch(7, 60)
    p, y = logits.sigmoid().numpy(), target.numpy().astype(int)
    y[:, 3] = 0
    found, each = many_scores(p, y), label_scores(p, y)
    precision = [sk.average_precision_score(y[:, k], p[:, k]) for k in range(3)]
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, p > 0.5))
    assert found["f1"] == pytest.approx(sk.f1_score(y, p > 0.5, average="macro", zero_division=0), rel=1e-6)
    assert found["map"] == pytest.approx(np.mean(precision), rel=1e-6)
    assert found["nll"] == pytest.approx(np.mean([sk.log_loss(y[:, k], p[:, k], labels=[0, 1]) for k in range(4)]))
    assert average_precision(p, y)[:3] == pytest.approx(precision, rel=1e-6)
    assert np.isnan(average_precision(p, y)[3])
    assert label_counts(p, y).tolist() == sk.multilabel_confusion_matrix(y, p > 0.5).tolist()
    wanted = sk.precision_recall_fscore_support(y, p > 0.5, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), wanted, strict=True):
        np.testing.assert_allclose(each[name], values, rtol=1e-12)
    for k in range(4):  # Guo et al. 2017, of the decision for or against the class
        confidence, right = np.maximum(p[:, k], 1 - p[:, k]), (p[:, k] > 0.5) == y[:, k]
        bins = np.minimum(np.ceil(confidence * 15).astype(int), 15)
        gaps = [abs(right[bins == b].sum() - confidence[bins == b].sum()) for b in range(1, 16)]
        assert each["ece"][k] == pytest.approx(sum(gaps) / 60)
    never = many_scores(p, np.zeros_like(y))
    assert np.isnan(never["map"])
    for wrong in (p + 1, np.where(p > 2, p, np.nan)):
        with pytest.raises(InputError, match="probabilities: must be from 0 to 1"):
            many_scores(wrong, y)
    with pytest.raises(InputError, match=r"target: must be rows of 0 and 1, but got \[-1\]"):
        many_scores(p, np.full_like(y, -1))
    with pytest.raises(InputError, match="must both be"):
        many_scores(p, y[:, 0])


def test_predictions_and_sets_of_classes() -> None:
    logits, target = batch(8, 200, 5)
    found = is_right(logits, target, many=True)
    assert found.tolist() == [bool(((z > 0) == (y > 0.5)).all()) for z, y in zip(logits, target, strict=True)]
    assert not is_right(logits[:, :3], target, many=True).any()  # a net with other classes
    assert predicted(logits.softmax(1), many=False).equal(logits.argmax(1))
    for classes in (5, 40):
        _, rows = batch(9, 200, classes)
        rows[100:] = rows[:100]
        codes, count = patterns(rows, classes, many=True)
        assert 0 <= int(codes.min()) <= int(codes.max()) < count
        sets = [tuple(row) for row in rows.int().tolist()]
        share = max(sets.count(one) for one in set(sets))
        assert int(torch.bincount(codes).max()) == share
    assert patterns(torch.tensor([2, 0]), 3, many=False)[1] == 3


# ------------------------------------------------------------------------------------------------------------- data

RNG = np.random.default_rng(0)
Y = (RNG.random((120, 3)) < [0.5, 0.3, 0.2]).astype(int)
X = RNG.normal(size=(120, 2, 32)).astype(np.float32)
WHO = np.arange(120) // 12
NAMES = ["walk", "sit", "talk"]


def data(**changes: Any) -> ArrayDataModule:
    return ArrayDataModule(X, Y, WHO, **{"labels": "many", "classes": NAMES, "batch_size": 16, "seed": 0, **changes})


@pytest.mark.parametrize("y", [Y, Y.astype(bool), Y.astype(np.float32), Y.tolist(), torch.from_numpy(Y)])
def test_rows_of_labels(y: Any) -> None:
    module = ArrayDataModule(X, y, WHO, labels="many", classes=NAMES, batch_size=16)
    module.setup()
    assert module.many_labels
    assert module.classes == NAMES
    assert module.fingerprint["labels_per_window"] == "many"
    train = module.train_index
    assert module.class_counts == Y[train].sum(0).tolist()
    seen = {}
    for stage in ("train", "val", "test"):
        for found in module.batches(stage):
            assert found.target.dtype == torch.float32
            seen |= dict(zip(found.index.tolist(), found.target.tolist(), strict=True))
    assert [seen[i] for i in range(120)] == Y.tolist()
    shuffled = next(iter(module.train_dataloader()))
    assert shuffled.target.tolist() == Y[shuffled.index].tolist()


def test_default_is_one_label_and_its_fingerprint_is_as_before() -> None:
    one = ArrayDataModule(X, WHO % 3, WHO)
    assert not one.many_labels
    assert "labels_per_window" not in one.fingerprint
    assert ArrayDataModule(X, WHO % 3, WHO, labels="one").fingerprint == one.fingerprint
    assert not BasicMotions().many_labels


def test_an_npz_with_its_own_test_split(tmp_path: Path) -> None:
    arrays = {"x_train": X[:96], "y_train": Y[:96], "x_test": X[96:], "y_test": Y[96:], "classes": np.array(NAMES)}
    np.savez(tmp_path / "many.npz", **arrays, subject_train=WHO[:96], subject_test=WHO[96:])
    module = ArrayDataModule(path=tmp_path / "many.npz", labels="many")
    module.setup()
    assert module.classes == NAMES
    assert module.counts["test"]["windows"] == 24
    assert next(iter(module.batches("test", 24))).target.tolist() == Y[96:].tolist()
    unnamed = ArrayDataModule(X, Y, WHO, labels="many")
    assert unnamed.classes == ["0", "1", "2"]


def test_windows_to_predict_are_unlabelled() -> None:
    module = data(x_predict=X[:3])
    module.setup()
    assert next(iter(module.predict_dataloader())).target.tolist() == [[-1.0] * 3] * 3


@pytest.mark.parametrize("mix", [Mixup(), CutMix()])
def test_mixed_rows(mix: Any) -> None:
    module = data(mix=mix)
    module.setup()
    found = next(iter(module.train_dataloader()))
    own = torch.from_numpy(Y[found.index]).float()
    assert ((found.target >= 0) & (found.target <= 1)).all()
    share = {round(float(v), 5) for v in found.target.unique()} - {0.0, 1.0}
    assert len(share) == 2  # lambda and 1 - lambda
    assert sum(share) == pytest.approx(1.0, abs=1e-5)
    near = [float((found.target - w * own).min()) > -1e-4 for w in share]
    assert any(near)  # the own labels have a share of lambda everywhere


@pytest.mark.parametrize("known", ["subject", "recording", "nothing"])
def test_splits_hold_every_class_on_both_sides(known: str) -> None:
    who = {"subject": {"subject": WHO}, "recording": {"recording": WHO // 2}, "nothing": {}}[known]
    rows = Y.copy()
    rows[WHO == 3] = 0  # a person without any class
    module = ArrayDataModule(X, rows, labels="many", classes=NAMES, **who)
    module.setup()
    stages = [set(found.index.tolist()) for s in ("train", "val", "test") for found in [next(module.batches(s, 999))]]
    assert sorted(i for stage in stages for i in stage) == list(range(120))
    for stage in ("train", "val"):
        assert next(module.batches(stage, 999)).target.sum(0).min() > 0


def test_columns_without_training_windows_and_missing_samples(tmp_path: Path, caplog: Any) -> None:
    rows = Y.copy()
    rows[:, 2] = 0
    with pytest.raises(InputError, match="no training window of class talk"):
        ArrayDataModule(X, rows, WHO, labels="many", classes=NAMES).setup()
    gaps = X.copy()
    gaps[:4, 0, 0] = np.nan
    module = ArrayDataModule(gaps, Y, WHO, labels="many", classes=NAMES, missing="drop")
    module.setup()
    assert len(module.data) == 116
    lost = ", ".join(f"{n} of {c}" for n, c in zip(Y[:4].sum(0).tolist(), NAMES, strict=True) if n)
    assert f"left out 4 of 120 windows with missing samples ({lost})" in caplog.text
    module.plot_views(tmp_path / "views.png")
    assert (tmp_path / "views.png").stat().st_size > 1000


NAN = np.where(Y == 1, np.nan, 0.0)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"labels": None}, r"y must be one value per window, shape \(120,\), but got 3 columns\..*declare labels: many"),
    ({"labels": "one", "y": Y.tolist()}, r"y must be one value per window.*declare labels: many"),
    ({"labels": "few"}, "ArrayDataModule: labels must be a mapping such as .*, 'one' or 'many', but got 'few'"),
    ({"y": Y * 2}, rf"y must be 0 or 1 .* but got {int(Y.sum())} of 360 other values, the first 2 in row .* threshold"),
    (
        {"y": NAN},
        rf"but got {int(Y.sum())} of 360 other values, the first nan in row .*\. Leave windows without labels",
    ),
    ({"y": -Y}, "but got .* other values, the first -1"),
    ({"y": Y * 0.5}, "probabilities become labels by a threshold"),
    ({"y": Y[:, 0]}, r"y must be rows of 0 and 1, shape \(120, classes\).*but got shape \(120,\)"),
    ({"y": Y[:50]}, r"rows of 0 and 1, shape \(120, classes\).*\(50, 3\)"),
    ({"y": Y.astype(str)}, "y must be real numbers"),
    ({"y": Y[:, :1], "classes": None}, "a column for each of at least two classes"),
    ({"classes": ["walk", "sit"]}, "classes must be a name for each of the 3 columns of y, but got 2"),
    ({"classes": ["walk", "sit", "walk"]}, "classes must be different names|more than once"),
    ({"x_test": X[:9], "y_test": Y[:9, :2], "subject_test": WHO[:9] + 90}, "must have the same columns, .* 3 and 2"),
    ({"sampling": "balanced"}, "ArrayDataModule: sampling must be left out where labels is 'many'"),
    ({"drop_classes": ["sit"]}, "drop_classes must be left out where labels is 'many'"),
    ({"unknown_classes": ["sit"]}, "unknown_classes must be left out"),
    ({"train_per_class": 2}, "train_per_class must be left out"),
    ({"views": {"raw": Raw(), "raw/pair": None}}, r"views\['raw/pair'\] must be left out"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_labels_and_settings(changes: dict[str, Any], message: str) -> None:
    given = {"x": X, "y": Y, "subject": WHO, "labels": "many", "classes": NAMES, **changes}
    with pytest.raises(InputError, match=message):
        ArrayDataModule(**given).setup()


def test_other_data_modules_refuse_it() -> None:
    message = r"labels must be 'one' or a mapping .* ArrayDataModule\(x, y, labels='many'\)"
    with pytest.raises(InputError, match=f"BasicMotions: {message}"):
        BasicMotions(labels="many")
    with pytest.raises(InputError, match=f"RecordingDataModule: {message}"):
        kdlab.data.RecordingDataModule(
            "folder", channels=["x"], window=10, sampling_rate=10, subject={"folder": 0}, labels="many"
        )


class Several(WindowDataModule):
    """A data set of one's own."""

    takes_many_labels = True

    def load(self) -> WindowSet:
        channels = {"raw": ["a", "b"]}
        return WindowSet({"raw": X}, Y, ["a", "b", "c"], channels, WHO, labels="many")


def test_a_data_set_of_ones_own() -> None:
    module = Several(labels="many")
    module.setup()
    assert module.class_counts == Y[module.train_index].sum(0).tolist()
    with pytest.raises(InputError, match=r"Several: load\(\) must give windows with labels='one', .* labels='many'"):
        Several().setup()


# ---------------------------------------------------------------------------------------------------- two processes


def shared(rows: slice) -> dict[str, Tensor]:
    logits, target = batch(10)
    target[2] = target[3] = target[9] = -1.0
    layer = torch.nn.Linear(4, 4, bias=False).double()
    torch.nn.init.eye_(layer.weight)
    student: Any = torch.nn.parallel.DistributedDataParallel(layer) if dist.is_initialized() else layer
    objective = CrossEntropy(**OPTIONS)
    objective.use_many_labels()
    loss = objective.label_loss(student(logits[rows]), target[rows])
    loss.backward()
    assert layer.weight.grad is not None
    return {"loss": loss.detach(), "grad": layer.weight.grad}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    torch.save(shared(slice(6 * rank, 6 * rank + 6)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """With two unlabelled windows on one and one on the other."""
    mp.spawn(worker, (str(tmp_path),), nprocs=2)
    found, one = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)], shared(slice(None))
    torch.testing.assert_close((found[0]["loss"] + found[1]["loss"]) / 2, one["loss"], rtol=1e-12, atol=0)
    for rank in found:
        torch.testing.assert_close(rank["grad"], one["grad"], rtol=1e-10, atol=1e-14)
