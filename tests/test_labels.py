"""The label term: class weights, label smoothing and the focal factor; objectives, fits, two processes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from numpy.typing import NDArray
from torch import Tensor

from kdlab import KD, PSKD, InputError, Supervised, Teacher, functional
from kdlab.data import ArrayDataModule
from kdlab.data.mixing import Mixup
from kdlab.labelled import Labelled, balanced_weights
from kdlab.methods.a_softmax import ASoftmaxObjective
from kdlab.methods.class_weights import weight_classes
from kdlab.methods.stubs import made_methods
from kdlab.methods.windows import windows_of
from kdlab.nets import WideResNet
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy, SoftTargets
from kdlab.types import Output
from tests.conftest import trainer
from tests.test_objectives import OBJECTIVES, TARGET, output, teachers

WEIGHTS = [0.3, 2.0, 1.1, 0.7]
OPTIONS = {"class_weights": WEIGHTS, "label_smoothing": 0.2, "focal_gamma": 1.5}


def batch(mixed: bool) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(12, 4, generator=random, dtype=torch.float64)
    target = torch.randint(4, (12,), generator=random)
    return logits, torch.randn(12, 4, generator=random, dtype=torch.float64).softmax(1) if mixed else target


def reference(
    logits: NDArray[Any],
    target: NDArray[Any],
    weights: list[float] | None,
    smoothing: float,
    gamma: float,
) -> float:
    """Lin et al. 2017 with a weight per class and labels that are spread, window by window, from the equation."""
    total, divisor, classes = 0.0, 0.0, logits.shape[1]
    w = [1.0] * classes if weights is None else weights
    for z, y in zip(logits, target, strict=True):
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        own = y if target.ndim == 2 else np.eye(classes)[y]
        for c in range(classes):
            share = (1 - smoothing) * own[c] + smoothing / classes
            total -= w[c] * share * (1 - p[c]) ** gamma * np.log(p[c])
        divisor += 1.0 if target.ndim == 2 else w[y]
    return total / divisor


@pytest.mark.parametrize("mixed", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
def test_it_is_the_cross_entropy_of_torch(mixed: bool, weights: list[float] | None, smoothing: float) -> None:
    logits, target = batch(mixed)
    w = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    own, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing).label_loss(own, target)
    wanted = torch.nn.functional.cross_entropy(other, target, weight=w, label_smoothing=smoothing)
    torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(functional.cross_entropy(own, target, w, smoothing), wanted, rtol=1e-12, atol=0)
    loss.backward()
    wanted.backward()
    torch.testing.assert_close(own.grad, other.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("mixed", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_loss(mixed: bool, gamma: float) -> None:
    logits, target = batch(mixed)
    for weights, smoothing in ((None, 0.0), (WEIGHTS, 0.0), (WEIGHTS, 0.2)):
        objective = CrossEntropy(class_weights=weights, label_smoothing=smoothing, focal_gamma=gamma)
        wanted = reference(logits.numpy(), target.numpy(), weights, smoothing, gamma)
        assert float(objective.label_loss(logits, target)) == pytest.approx(wanted, rel=1e-12)
        x = logits.clone().requires_grad_()
        torch.autograd.gradcheck(lambda z, o=objective: o.label_loss(z, target), x)


def test_a_sure_net_has_a_finite_gradient() -> None:
    for gamma in (0.1, 0.5, 2.0):
        logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
        loss = functional.cross_entropy(logits, torch.tensor([0, 0]), focal_gamma=gamma)
        loss.backward()
        assert loss.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


def test_defaults_are_the_plain_cross_entropy() -> None:
    for mixed in (False, True):
        logits, target = batch(mixed)
        assert torch.equal(CrossEntropy().label_loss(logits, target), torch.nn.functional.cross_entropy(logits, target))


def test_a_batch_of_classes_without_weight_has_loss_zero() -> None:
    objective = CrossEntropy(class_weights=[0.0, 1.0])
    assert float(objective.label_loss(torch.randn(3, 2), torch.tensor([0, 0, 0]))) == 0.0


# ---------------------------------------------------------------------------------------------------- every objective


@pytest.mark.parametrize("cls", OBJECTIVES)
@pytest.mark.parametrize("mixed", [False, True], ids=["indices", "probabilities"])
def test_every_objective_changes_its_label_term_alone(cls: type[Objective], mixed: bool) -> None:
    assert issubclass(cls, Labelled)
    target = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).softmax(1) if mixed else TARGET.flip(0)
    found = []
    for options in ({}, OPTIONS):
        torch.manual_seed(0)
        extra: dict[str, Any] = {"ce_weight": 1.0} if "ce_weight" in cls.declared() else {}
        objective = cls(**options, **extra)
        student = output(1)
        student = student._replace(logits=student.logits * torch.tensor([1.0, 0.2, 1.5, 0.7]))
        others = teachers(objective)
        objective.check(batch_size=8, teachers=others)
        found.append(objective(student=student, teachers=others, target=target))
        if options:
            objective.check_labels_used()  # type: ignore[attr-defined]
    plain, changed = found
    assert float(changed["ce"]) != pytest.approx(float(plain["ce"]), rel=1e-3)
    assert all(torch.equal(changed[name], plain[name]) for name in plain if name != "ce")


def test_every_method_has_the_arguments() -> None:
    for name, cls in {**made_methods(), "Supervised": Supervised}.items():
        import inspect

        given = {k: p.default for k, p in inspect.signature(cls).parameters.items() if k in OPTIONS}
        assert given == {"class_weights": None, "label_smoothing": 0.0, "focal_gamma": 0.0}, name
        assert all(f"    {option}: " in (cls.__doc__ or "") for option in OPTIONS), name


def test_soft_targets_have_the_value_of_the_formula() -> None:
    logits, target = batch(False)
    student, teacher = Output(logits, {}), Output(logits.flip(0), {})
    terms = SoftTargets(kd_weight=0.25, **OPTIONS)(student=student, teachers={"raw": teacher}, target=target)  # type: ignore[arg-type]
    wanted = 0.75 * reference(logits.numpy(), target.numpy(), WEIGHTS, 0.2, 1.5)
    assert float(terms["ce"]) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("mixed", [False, True], ids=["indices", "probabilities"])
def test_angular_losses_are_weighted(mixed: bool) -> None:
    """Window by window: the angular cross-entropy for every class as the true one."""
    logits, target = batch(mixed)
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x = x / x.norm(dim=1, keepdim=True) * 20
    objective = ASoftmaxObjective(margin=3, cosine_weight=1.0, **OPTIONS)  # type: ignore[arg-type]
    got = objective(student=Output(logits, {"embedding": x}), teachers={}, target=target)["ce"]
    total, divisor = 0.0, 0.0
    for i in range(12):
        own = target[i] if mixed else torch.eye(4, dtype=torch.float64)[target[i]]
        for c in range(4):
            theta = np.arccos(float(logits[i, c]) / 20)
            k = np.floor(theta * 3 / np.pi)
            z = logits[i].numpy().copy()
            z[c] = 20 * (np.cos(theta) + (-1) ** k * np.cos(3 * theta) - 2 * k) / 2
            loss = np.log(np.exp(z - z.max()).sum()) + z.max() - z[c]
            share = 0.8 * float(own[c]) + 0.05
            total += WEIGHTS[c] * share * (1 - np.exp(-loss)) ** 1.5 * loss
        divisor += 1.0 if mixed else WEIGHTS[int(target[i])]
    assert float(got) == pytest.approx(total / divisor, rel=1e-9)
    plain = ASoftmaxObjective(margin=3, cosine_weight=1.0)
    same = ASoftmaxObjective(margin=3, cosine_weight=1.0, class_weights=[1.0] * 4)
    both = [o(student=Output(logits, {"embedding": x}), teachers={}, target=target)["ce"] for o in (plain, same)]
    torch.testing.assert_close(*both, rtol=1e-12, atol=0)


class Own(SoftTargets):
    """Its label term is its own."""

    def forward(self, *, student: Any, teachers: Any, target: Any, index: Any = None) -> dict[str, Tensor]:
        return {"ce": functional.cross_entropy(student.logits, target)}


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("value", [[1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], "even", [], 2.0, ["a"]])
def test_wrong_class_weights(value: Any) -> None:
    with pytest.raises(InputError, match=r"^CrossEntropy: class_weights must be finite numbers .* List them"):
        CrossEntropy(class_weights=value)


@pytest.mark.parametrize(("name", "value"), [("label_smoothing", 1.1), ("focal_gamma", -1.0)])
def test_options_out_of_range(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^CrossEntropy: {name} must be .*, but got {re.escape(str(value))}"):
        CrossEntropy(**{name: value})


def test_refusals() -> None:
    with pytest.raises(InputError, match="class_weights='balanced' are not known before a fit"):
        CrossEntropy(class_weights="balanced").label_loss(*batch(False))
    with pytest.raises(InputError, match="one number for each of the 4 classes"):
        CrossEntropy(class_weights=[1.0, 2.0]).label_loss(*batch(False))
    with pytest.raises(InputError, match=r"KD: .* got none of run\. Hold out"):
        balanced_weights("KD", [3, 0], ["walk", "run"])
    with pytest.raises(InputError, match=r"plain loaders has no class_counts\. List the weights"):
        weight_classes("KD", CrossEntropy(class_weights="balanced"), windows_of(None), 4)
    with pytest.raises(InputError, match="Supervised: class_weights must be an argument of the objective"):
        Supervised(net(), objective=CrossEntropy(), class_weights=WEIGHTS)
    with pytest.raises(TypeError, match="Supervised: has no argument 'smoothing'"):
        Supervised(net(), smoothing=0.1)


# -------------------------------------------------------------------------------------------------------------- fits


def net() -> WideResNet:
    torch.manual_seed(0)
    return WideResNet(10, 1, in_channels=2, num_classes=3)


def windows(**kwargs: Any) -> ArrayDataModule:
    """Ten people with 12 windows each: 8, 3 and 1 of the three classes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2, 32)).astype(np.float32)
    target = np.tile([0] * 8 + [1] * 3 + [2], 10)
    x[:, 0] += 2 * target[:, None]
    return ArrayDataModule(x, target, np.arange(120) // 12, **{"batch_size": 16, "seed": 0, **kwargs})


def fitted(folder: Path, module: Any, data: Any, **kwargs: Any) -> pl.Trainer:
    pl.seed_everything(0)
    run = trainer(folder, **{"limit_val_batches": 0, **kwargs})
    run.fit(module, data)
    return run


class Losses(pl.Callback):
    """The label term of every step, beside that of torch."""

    def __init__(self, weights: list[float], smoothing: float) -> None:
        self.weights, self.smoothing, self.found, self.wanted = weights, smoothing, [], []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        inner = type(pl_module.objective).forward

        def recorded(**given: Any) -> Any:
            terms = inner(pl_module.objective, **given)
            logits, target = given["student"].logits.detach(), given["target"]
            w = torch.tensor(self.weights)
            want = torch.nn.functional.cross_entropy(logits, target, weight=w, label_smoothing=self.smoothing)
            self.found.append(float(terms["ce"].detach()))
            self.wanted.append(float(want))
            return terms

        pl_module.objective.forward = recorded


@pytest.mark.parametrize("mix", [None, Mixup()], ids=["labels", "mixup"])
def test_balanced_weights_of_a_fit(mix: Any, tmp_path: Path) -> None:
    data = windows(mix=mix)
    data.setup()
    counts = np.bincount(data.data.target[data.train_index])
    assert data.class_counts == counts.tolist()
    assert data.class_counts[0] == 8 * data.class_counts[2] > 0
    weights = (counts.sum() / (3 * counts)).tolist()
    module = Supervised(net(), class_weights="balanced", label_smoothing=0.1)
    losses = Losses(weights, 0.1)
    fitted(tmp_path, module, data, callbacks=[losses])
    assert len(losses.found) > 3
    np.testing.assert_allclose(losses.found, losses.wanted, rtol=1e-5)
    assert module.describe()["class_weights"] == weights
    assert module.describe()["objective"]["arguments"]["class_weights"] == "balanced"


def test_a_resumed_fit_equals_one_that_was_not_interrupted(tmp_path: Path) -> None:
    def method() -> KD:
        teacher = Teacher(net=net(), mean=[0.0, 0.0], std=[1.0, 1.0])
        return KD(net(), {"raw": teacher}, class_weights="balanced", focal_gamma=2.0, label_smoothing=0.1)

    complete = method()
    fitted(tmp_path, complete, windows(), max_epochs=3)
    first = fitted(tmp_path, method(), windows(), max_epochs=2)
    first.save_checkpoint(tmp_path / "last.ckpt")
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert any("class_weights" in value for value in kept.values() if isinstance(value, dict))
    assert not [key for key in kept["state_dict"] if "weights" in key.rpartition(".")[2]]
    resumed = method()
    trainer(tmp_path, max_epochs=3, limit_val_batches=0).fit(resumed, windows(), ckpt_path=tmp_path / "last.ckpt")
    for name, value in complete.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    plain = KD(net(), {"raw": Teacher(net=net(), mean=[0.0, 0.0], std=[1.0, 1.0])})
    fitted(tmp_path, plain, windows(), max_epochs=3)
    assert not torch.equal(plain.net.head.weight, complete.net.head.weight)


def test_wrong_options_are_found_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Supervised: class_weights must be one number for each of the 3 classes"):
        fitted(tmp_path, Supervised(net(), class_weights=WEIGHTS), windows())
    own = Supervised(net(), objective=Own(class_weights=[1.0, 2.0, 3.0]))
    with pytest.raises(InputError, match=r"^Own: class_weights, .* must be left out"):
        fitted(tmp_path, own, windows())


def test_methods_that_make_their_own_teacher(tmp_path: Path) -> None:
    """The term with past outputs is not weighted; of a batch, the sum over windows is divided by the weights."""
    module = PSKD(net(), class_weights="balanced")
    fitted(tmp_path, module, windows())
    assert module.objective.label_weights == pytest.approx([0.5, 4 / 3, 4.0])


# ------------------------------------------------------------------------------------------------------ two processes


def shared(rows: slice, mixed: bool) -> dict[str, Tensor]:
    logits, target = batch(mixed)
    layer = torch.nn.Linear(4, 4, bias=False).double()
    torch.nn.init.eye_(layer.weight)
    student: Any = layer
    if dist.is_initialized():
        student = torch.nn.parallel.DistributedDataParallel(layer)
    loss = CrossEntropy(**OPTIONS).label_loss(student(logits[rows]), target[rows])  # type: ignore[arg-type]
    loss.backward()
    assert layer.weight.grad is not None
    return {"loss": loss.detach(), "grad": layer.weight.grad}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    rows = slice(6 * rank, 6 * rank + 6)
    torch.save([shared(rows, mixed) for mixed in (False, True)], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    mp.spawn(worker, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for mixed in (False, True):
        one = shared(slice(None), mixed)
        mean = torch.stack([rank[mixed]["loss"] for rank in found]).mean()
        torch.testing.assert_close(mean, one["loss"], rtol=1e-12, atol=0)
        for rank in found:
            torch.testing.assert_close(rank[mixed]["grad"], one["grad"], rtol=1e-10, atol=1e-14)
    logits, target = batch(False)
    local = [CrossEntropy(**OPTIONS).label_loss(logits[s], target[s]) for s in (slice(6), slice(6, 12))]  # type: ignore[arg-type]
    assert abs(float(sum(local) / 2 - shared(slice(None), False)["loss"])) > 1e-3  # a mean of local means differs


@pytest.mark.parametrize("label", [-2, 4])
def test_an_index_that_is_no_class_is_refused_with_and_without_options(label: int) -> None:
    logits, target = batch(False)
    target[3] = label
    for options in ({}, {"class_weights": torch.tensor(WEIGHTS)}, {"label_smoothing": 0.1}):
        with pytest.raises(InputError, match=rf"from -1 \(-1: no label\) to 3, for 4 classes, but got {label}"):
            functional.cross_entropy(logits, target, **options)  # type: ignore[arg-type]


def test_a_semantic_distance_has_a_class_for_each_window() -> None:
    vector, table = torch.ones(3, 2), torch.eye(2)
    for wrong in (torch.zeros(3, 1, dtype=torch.long), torch.zeros(1, dtype=torch.long), torch.ones(1, 2)):
        with pytest.raises(InputError, match=r"vectors are \(3, 2\), .* and target is \("):
            functional.class_semantic_distance(vector, wrong, table)
    for label in (-1, 2):
        with pytest.raises(InputError, match=f"from 0 to 1, for 2 classes, but got {label}"):
            functional.class_semantic_distance(vector, torch.tensor([0, 1, label]), table)
