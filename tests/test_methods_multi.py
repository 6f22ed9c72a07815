"""Methods with several teachers and Annealing-KD: their weights, terms and fits, against independent references."""

from __future__ import annotations

import copy
import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

import kdlab
from kdlab import AEKD, AVER, CAMKD, EBKD, KD, TGD, TPKD, AnnealingKD, Distillation, Teacher, TeacherCache
from kdlab import functional as fn
from kdlab.augment import Mix2
from kdlab.data import BasicMotions
from kdlab.methods.aekd import AEKDObjective
from kdlab.methods.annealing_kd import AnnealingKDObjective, annealing_factor
from kdlab.methods.aver import AVERObjective
from kdlab.methods.ca_mkd import CAMKDObjective
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.ebkd import EBKDObjective
from kdlab.objective import Objective
from kdlab.objectives import SoftTargets
from kdlab.types import InputError, Output
from kdlab.views import GramianAngularField, PersistenceImage, Raw
from tests import references as ref
from tests.conftest import net, trainer

Array = NDArray[np.float64]
NAMES = ("raw", "pi", "gaf")
BATCH, CLASSES = 7, 5
TARGET = torch.arange(BATCH) % CLASSES
MIXED = torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(8), dtype=torch.float64).softmax(1)
several = pytest.mark.parametrize("count", [2, 3])
targets = pytest.mark.parametrize("target", [TARGET, MIXED], ids=["indices", "probabilities"])


def logits(seed: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some(count: int) -> dict[str, Tensor]:
    return {name: logits(seed) for seed, name in enumerate(NAMES[:count], start=10)}


def outputs(teachers: dict[str, Tensor]) -> dict[str, Output]:
    return {name: Output(value, {}) for name, value in teachers.items()}


# ------------------------------------------------------------------------------------------------ weights, once more


def entropy_reference(teachers: list[Array]) -> Array:
    """(M, B), sum 1: loops over samples and teachers."""
    out = np.zeros((len(teachers), BATCH))
    for i in range(BATCH):
        entropies = [-sum(p * math.log(p) for p in ref.softmax(z[i])) for z in teachers]
        raw = [1 - h / sum(entropies) for h in entropies]
        out[:, i] = [w / sum(raw) for w in raw]
    return out


def confidence_reference(teachers: list[Array], target: Array) -> Array:
    out = np.zeros((len(teachers), BATCH))
    for i in range(BATCH):
        losses = [ref.cross_entropy(z[i : i + 1], target[i : i + 1]) for z in teachers]
        total = sum(math.exp(loss) for loss in losses)
        raw = [1 - math.exp(loss) / total for loss in losses]
        out[:, i] = [w / sum(raw) for w in raw]
    return out


def shortest(gradients: Array, bound: float) -> Array:
    """The quadratic programme by a general solver."""
    count, bound = len(gradients), min(max(bound, 1 / len(gradients)), 1.0)
    gram = gradients @ gradients.T / np.sum(gradients**2)
    found = minimize(
        lambda w: w @ gram @ w,
        np.full(count, 1 / count),
        jac=lambda w: 2 * gram @ w,
        bounds=[(0, bound)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones_like(w)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return np.asarray(found.x)


@several
@targets
def test_weights_by_entropy_and_confidence(count: int, target: Tensor) -> None:
    teachers = some(count)
    arrays = [z.numpy() for z in teachers.values()]
    for found, expected in (
        (fn.entropy_weights(teachers), entropy_reference(arrays)),
        (fn.confidence_weights(teachers, target), confidence_reference(arrays, target.numpy())),
    ):
        assert list(found) == list(teachers)
        np.testing.assert_allclose(torch.stack(list(found.values())).numpy(), expected, rtol=1e-10)
        assert expected.std() > 0.05
    swapped = fn.entropy_weights(dict(reversed(teachers.items())))
    torch.testing.assert_close(swapped["raw"], fn.entropy_weights(teachers)["raw"])


def test_sure_teachers_and_single_ones() -> None:
    certain = torch.tensor([[1e4, 0.0, 0.0], [5.0, 0.0, 0.0]])
    found = fn.entropy_weights({"a": certain, "b": certain.roll(1, 1), "c": certain.roll(2, 1)})
    assert all(weight.tolist() == pytest.approx([1 / 3, 1 / 3]) for weight in found.values())
    one = torch.tensor([[1e4, 0.0, 0.0], [5.0, 0.0, 0.0]])
    unsure = torch.tensor([[1.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    assert fn.entropy_weights({"a": one, "b": unsure})["a"].tolist() == pytest.approx([1.0, 0.5])
    assert fn.entropy_weights({"a": one})["a"].tolist() == [1.0, 1.0]
    assert fn.confidence_weights({"a": one}, torch.tensor([2, 0]))["a"].tolist() == [1.0, 1.0]
    assert fn.least_norm_weights(torch.randn(1, 4)).tolist() == pytest.approx([1.0])


@several
def test_gradients_are_those_of_the_divergence(count: int) -> None:
    student, teachers = logits(1).requires_grad_(), some(count)
    found = fn.logit_gradients(student, teachers, 2.5)
    for row, teacher in zip(found, teachers.values(), strict=True):
        # d (sum_i KD_i) / d z_si is each sample's own gradient
        (expected,) = torch.autograd.grad(fn.soft_target_kl(student, teacher, 2.5, "none").sum(), student)
        torch.testing.assert_close(row, expected.mean(0))
    assert not found.requires_grad


@pytest.mark.parametrize("bound", [0.2, 0.45, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_shortest_mixture(count: int, bound: float) -> None:
    random = np.random.default_rng(count)
    for width in (1, 2, count, 9):
        for shift in (0.0, 1.0, 5.0):
            gradients = 10 ** random.normal() * (random.normal(size=(count, width)) + shift * random.normal(size=width))
            expected = shortest(gradients, bound)
            for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
                found = fn.least_norm_weights(torch.tensor(gradients, dtype=dtype), bound)
                assert found.dtype == dtype
                weights = found.double().numpy()
                assert weights.sum() == pytest.approx(1, abs=1e-5)
                assert weights.min() >= 0
                assert weights.max() <= max(bound, 1 / count) + 1e-6
                scale = np.sum(gradients**2)
                excess = (np.sum((weights @ gradients) ** 2) - np.sum((expected @ gradients) ** 2)) / scale
                assert excess < tolerance, (gradients, weights, expected)


def test_two_teachers_have_a_closed_form() -> None:
    for seed in range(20):
        a, b = torch.randn(2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for bound in (0.6, 1.0):
            first = float(((b - a) @ b / (a - b).square().sum()).clamp(1 - bound, bound))
            assert fn.least_norm_weights(torch.stack([a, b]), bound).tolist() == pytest.approx([first, 1 - first])
    same = fn.least_norm_weights(torch.ones(3, 4, dtype=torch.float64))
    assert same.tolist() == pytest.approx([1 / 3] * 3, abs=1e-2)
    assert fn.least_norm_weights(torch.zeros(2, 4)).tolist() == pytest.approx([0.5, 0.5])
    tiny = fn.least_norm_weights(1e-30 * torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    assert tiny.tolist() == pytest.approx([0.8, 0.2], abs=1e-4)


def test_a_step_along_the_shortest_mixture_hurts_no_teacher() -> None:
    student, teachers = logits(1), some(3)
    gradients = fn.logit_gradients(student, teachers)
    weights = fn.least_norm_weights(gradients)
    direction = weights @ gradients
    assert (gradients @ direction >= direction.square().sum() - 1e-9).all()


# ------------------------------------------------------------------------------------------------------------- terms


def divergences(student: Tensor, teachers: dict[str, Tensor], temperature: float = 4.0) -> Array:
    return np.stack([ref.soft_target_kl(student.numpy(), z.numpy(), temperature) for z in teachers.values()])


def ebkd(student: Tensor, teachers: dict[str, Tensor], target: Tensor) -> Array:
    return entropy_reference([z.numpy() for z in teachers.values()])


def ca_mkd(student: Tensor, teachers: dict[str, Tensor], target: Tensor) -> Array:
    return confidence_reference([z.numpy() for z in teachers.values()], target.numpy())


def aekd(student: Tensor, teachers: dict[str, Tensor], target: Tensor) -> Array:
    p = np.stack([ref.softmax(z) for z in student.numpy() / 4.0])
    pulls = [4.0 * (p - np.stack([ref.softmax(z) for z in t.numpy() / 4.0])).mean(0) for t in teachers.values()]
    return np.repeat(shortest(np.stack(pulls), 0.6)[:, None], BATCH, 1)


ADAPTIVE: dict[type[Any], Callable[..., Array]] = {EBKDObjective: ebkd, CAMKDObjective: ca_mkd, AEKDObjective: aekd}


@several
@targets
@pytest.mark.parametrize("cls", ADAPTIVE)
def test_adaptive_terms(cls: type[Any], count: int, target: Tensor) -> None:
    student, teachers = logits(1), some(count)
    weights, values = ADAPTIVE[cls](student, teachers, target), divergences(student, teachers)
    expected = 0.7 * (weights * values).sum(0).mean()
    for kl_reduction, divisor in (("batchmean", 1), ("mean", CLASSES)):
        objective = cls(kd_weight=0.7, kl_reduction=kl_reduction)
        terms = objective(student=Output(student, {}), teachers=outputs(teachers), target=target)
        assert float(terms["kd"]) == pytest.approx(expected / divisor, rel=1e-6)
        assert float(terms["ce"]) == pytest.approx(0.3 * ref.cross_entropy(student.numpy(), target.numpy()), rel=1e-6)
        means = {f"weight_{name}": row.mean() for name, row in zip(teachers, weights, strict=True)}
        assert {k: float(v) for k, v in objective.found.items()} == pytest.approx(means, abs=1e-5)
    assert sum(means.values()) == pytest.approx(1)


@several
@targets
def test_released_scales(count: int, target: Tensor) -> None:
    """The released training loop: weights of EBKD that sum to M - 1, and another division by M for both."""
    student, teachers = logits(1), some(count)
    values = divergences(student, teachers)
    entropies = np.zeros((count, BATCH))
    losses = np.zeros((count, BATCH))
    for m, z in enumerate(teachers.values()):
        for i in range(BATCH):
            p, y = ref.softmax(z[i].numpy()), target[i].numpy()
            entropies[m, i] = -(p * np.log(p)).sum()
            losses[m, i] = -np.log(p[int(y)]) if y.ndim == 0 else -(y * np.log(p)).sum()
    by_entropy = 1 - entropies / entropies.sum(0)
    by_loss = (1 - np.exp(losses) / np.exp(losses).sum(0)) / (count - 1)
    for cls, weights in ((EBKDObjective, by_entropy), (CAMKDObjective, by_loss)):
        objective = cls(kd_weight=1.0, mkd_scale="released")
        terms = objective(student=Output(student, {}), teachers=outputs(teachers), target=target)
        assert float(terms["kd"]) == pytest.approx((weights * values).sum() / (BATCH * count), rel=1e-6)
        assert sum(map(float, objective.found.values())) == pytest.approx((weights / count).sum(0).mean(), rel=1e-6)
        ours = cls(kd_weight=1.0)(student=Output(student, {}), teachers=outputs(teachers), target=target)
        assert float(ours["kd"]) > 1.2 * float(terms["kd"])
        with pytest.raises(InputError, match=r"mkd_scale='released'.*'raw' alone"):
            objective.check(batch_size=8, teachers=["raw"])


@several
def test_averages(count: int) -> None:
    student, teachers = logits(1), some(count)
    arguments = {"student": Output(student, {}), "teachers": outputs(teachers), "target": TARGET}
    loss, mean = AVERObjective()(**arguments), AVERObjective(mode="logits")(**arguments)
    assert float(loss["kd"]) == pytest.approx(0.9 * divergences(student, teachers).mean(), rel=1e-6)
    merged = np.mean([z.numpy() for z in teachers.values()], 0)
    assert float(mean["kd"]) == pytest.approx(0.9 * ref.soft_target_kl(student.numpy(), merged).mean(), rel=1e-6)
    assert abs(float(loss["kd"]) - float(mean["kd"])) > 0.01
    assert loss["ce"] == mean["ce"]
    assert loss == SoftTargets()(**arguments)
    small = AVERObjective(mode="logits", kl_reduction="mean")(**arguments)
    assert float(small["kd"]) == pytest.approx(float(mean["kd"]) / CLASSES)


def test_fixed_weights_by_name_are_plain_kd() -> None:
    student, teachers = logits(1), some(3)
    weights = {"gaf": 0.2, "raw": 0.5, "pi": 0.3}
    module = KD(net(), {name: Teacher(net=net()) for name in NAMES}, kd_weight=0.7, weights=weights)
    terms = module.objective(student=Output(student, {}), teachers=outputs(teachers), target=TARGET)
    values = dict(zip(teachers, divergences(student, teachers).mean(1), strict=True))
    assert float(terms["kd"]) == pytest.approx(0.7 * sum(weights[name] * values[name] for name in NAMES), rel=1e-6)


@pytest.mark.parametrize("factor", [0.1, 1.0])
def test_regression(factor: float) -> None:
    student, teachers = logits(1), some(2)
    mean = (teachers["raw"] + teachers["pi"]).numpy() / 2
    expected = sum((student[i, k].item() - factor * mean[i, k]) ** 2 for i in range(BATCH) for k in range(CLASSES)) / (
        BATCH * CLASSES
    )
    objective = AnnealingKDObjective(kd_weight=0.25, factor=factor)
    terms = objective(student=Output(student, {}), teachers=outputs(teachers), target=TARGET)
    assert float(terms["regression"]) == pytest.approx(0.25 * expected, rel=1e-6)
    assert float(terms["ce"]) == pytest.approx(0.75 * ref.cross_entropy(student.numpy(), TARGET.numpy()), rel=1e-6)
    assert torch.autograd.gradcheck(lambda z: fn.logit_regression(z, teachers["raw"], 0.3), (student.requires_grad_(),))
    assert fn.logit_regression(student.detach().bfloat16(), teachers["raw"].bfloat16()).dtype == torch.float32


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "AVER": AVERObjective,
    "AVER logits": lambda: AVERObjective(mode="logits"),
    "EBKD": EBKDObjective,
    "EBKD released": lambda: EBKDObjective(mkd_scale="released"),
    "CAMKD": CAMKDObjective,
    "CAMKD released": lambda: CAMKDObjective(mkd_scale="released"),
    "AEKD": AEKDObjective,
    "AEKD unbounded": lambda: AEKDObjective(max_weight=1.0),
    "AnnealingKD": AnnealingKDObjective,
}


@several
@pytest.mark.parametrize("name", OBJECTIVES)
def test_contract_with_several_teachers(name: str, count: int) -> None:
    objective = OBJECTIVES[name]()
    objective.check(batch_size=BATCH, teachers=NAMES[:count])
    assert objective.needs(NAMES[:count]) == {n: {} for n in NAMES[:count]}
    student = logits(1).float().requires_grad_()
    teachers = {n: z.float().requires_grad_() for n, z in some(count).items()}
    terms = objective(student=Output(student, {}), teachers=outputs(teachers), target=TARGET)
    assert all(term.dtype == torch.float32 and term.shape == () and term > 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 0
    assert all(z.grad is None for z in teachers.values())
    equal = objective(student=Output(student, {}), teachers=dict.fromkeys(teachers, Output(student, {})), target=TARGET)
    assert all(abs(term.item()) < 1e-6 for key, term in equal.items() if key != "ce")
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    mixed = objective(
        student=Output(student[order], {}),
        teachers=outputs({n: z[order] for n, z in teachers.items()}),
        target=TARGET[order],
    )
    renamed = objective(student=Output(student, {}), teachers=outputs(dict(reversed(teachers.items()))), target=TARGET)
    half = outputs({n: z.detach().bfloat16() for n, z in teachers.items()})
    with torch.autocast("cpu", torch.bfloat16):
        low = objective(student=Output(student.detach().bfloat16(), {}), teachers=half, target=TARGET)
    for key, term in terms.items():
        assert float(mixed[key]) == pytest.approx(float(term), rel=1e-4)
        assert float(renamed[key]) == pytest.approx(float(term), rel=1e-4)
        assert low[key].dtype == torch.float32
        assert float(low[key]) == pytest.approx(float(term), rel=0.1)
    assert not objective.state_dict()
    assert copy.deepcopy(objective).settings() == objective.settings()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_fullgraph(name: str) -> None:
    objective = OBJECTIVES[name]()
    student, teachers = Output(logits(1).float(), {}), outputs({n: z.float() for n, z in some(3).items()})

    def loss(student: Output, teachers: dict[str, Output], target: Tensor) -> Tensor:
        return torch.stack(list(objective(student=student, teachers=teachers, target=target).values())).sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    assert float(compiled(student, teachers, TARGET)) == pytest.approx(float(loss(student, teachers, TARGET)), rel=1e-5)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "mode": (lambda: AVERObjective(mode="sum"), "mode.*'sum'"),  # type: ignore[arg-type]
    "scale": (lambda: EBKDObjective(mkd_scale="paper"), "mkd_scale.*'paper'"),  # type: ignore[arg-type]
    "bound": (lambda: AEKDObjective(max_weight=0.0), "max_weight.*0.0"),
    "many": (lambda: AEKDObjective().check(batch_size=8, teachers=[f"t{i}" for i in range(9)]), "at most 8.*9"),
    "no teacher": (lambda: EBKDObjective().check(batch_size=8, teachers=[]), "at least one teacher"),
    "no teacher here": (lambda: AnnealingKDObjective().check(batch_size=8, teachers=[]), "at least one teacher"),
    "factor": (lambda: AnnealingKDObjective(factor=1.5), "factor.*from 0 to 1.*1.5"),
    "t_max": (
        lambda: AnnealingKD(net(), {"raw": Teacher(net=net())}, t_max=0),
        "t_max must be a whole number at least 1, but got 0",
    ),
    "epochs": (
        lambda: AnnealingKD(net(), {"raw": Teacher(net=net())}, regression_epochs=0),
        "regression_epochs must be a whole number at least 1, but got 0",
    ),
    "shapes": (lambda: fn.entropy_weights({"a": logits(1), "b": logits(2)[:3]}), r"\(7, 5\).*\(3, 5\)"),
    "labels": (lambda: fn.confidence_weights(some(2), TARGET[:3]), r"\(7, 5\).*\(3,\)"),
    "student": (lambda: fn.logit_gradients(logits(1)[:3], some(2)), r"\(3, 5\).*\(7, 5\)"),
    "regression": (lambda: fn.logit_regression(logits(1)[:3], logits(2)), r"\(3, 5\).*\(7, 5\)"),
    "rows": (lambda: fn.least_norm_weights(torch.ones(9, 2)), r"1 to 8 teachers.*\(9, 2\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        call()


# --------------------------------------------------------------------------------------------------------- two ranks


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_ranks_equal_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each half of a batch, with the sum over ranks as the other half contributes to it."""
    halves, teachers = (slice(0, 3), slice(3, 6)), some(3)

    def gradient(rows: slice, other: slice | None = None) -> Tensor:
        student = logits(1).requires_grad_()
        theirs = (
            None if other is None else fn.logit_gradients(logits(1)[other], {n: z[other] for n, z in some(3).items()})
        )
        monkeypatch.setattr(kdlab.distributed, "total", lambda x: x if theirs is None else x + theirs)
        answers = outputs({n: z[rows] for n, z in teachers.items()})
        terms = OBJECTIVES[name]()(student=Output(student[rows], {}), teachers=answers, target=TARGET[rows])
        torch.stack(list(terms.values())).sum().backward()
        assert student.grad is not None
        return student.grad

    whole = gradient(slice(0, 6))
    torch.testing.assert_close((gradient(*halves) + gradient(*reversed(halves))) / 2, whole)
    apart = (gradient(halves[0]) + gradient(halves[1])) / 2
    assert torch.allclose(apart, whole) == (not name.startswith("AEKD"))  # the others weigh sample by sample


# -------------------------------------------------------------------------------------------------------------- fits


@pytest.fixture(scope="module")
def three(teachers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A third teacher, on Gramian angular fields."""
    folder = tmp_path_factory.mktemp("gaf")
    pl.seed_everything(0)
    fit = trainer(folder, max_epochs=1)
    fit.fit(kdlab.Supervised(net(ndim=2), view="gaf"), BasicMotions(views={"gaf": GramianAngularField(size=16)}))
    fit.save_checkpoint(folder / "gaf.ckpt")
    return {**teachers, "gaf": str(folder / "gaf.ckpt")}


def data(**kwargs: Any) -> BasicMotions:
    views = {"raw": Raw(), "pi": PersistenceImage(size=16), "gaf": GramianAngularField(size=16)}
    return BasicMotions(views=views, batch_size=8, **kwargs)


def ask(files: dict[str, str], *names: str) -> dict[str, Teacher]:
    return {name: Teacher(files[name], view=name) for name in names or NAMES}


WEIGHTS = {"raw": 0.5, "pi": 0.3, "gaf": 0.2}
FITS: dict[str, tuple[type[Distillation], dict[str, Any]]] = {
    "KD": (KD, {"weights": WEIGHTS}),
    "AVER": (AVER, {}),
    "AVER logits": (AVER, {"mode": "logits"}),
    "EBKD": (EBKD, {}),
    "CAMKD": (CAMKD, {}),
    "AEKD": (AEKD, {}),
    "AnnealingKD": (AnnealingKD, {"regression_epochs": 1}),
    "TGD": (TGD, {"weights": WEIGHTS}),
    "TPKD": (TPKD, {"weights": WEIGHTS}),
    "TPKD sp": (TPKD, {"weights": WEIGHTS, "oth": "sp"}),
}


@pytest.mark.parametrize("name", FITS)
def test_three_teachers_with_and_without_cache(name: str, three: dict[str, str], tmp_path: Path) -> None:
    cls, settings = FITS[name]
    students = []
    for cache in (None, TeacherCache()):
        pl.seed_everything(1)
        module = cls(net(), ask(three), cache=cache, **settings)
        logger = CSVLogger(tmp_path, version=str(cache is None))
        fit = trainer(tmp_path, max_epochs=2, logger=logger, log_every_n_steps=1)
        fit.fit(module, data(seed=1))
        students.append(module.net.state_dict())
        assert fit.global_step > 2
    for key, value in students[0].items():
        torch.testing.assert_close(value, students[1][key], rtol=1e-3, atol=1e-4, msg=key)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = [{n: float(row[f"train/weight_{n}"]) for n in NAMES} for row in rows if row.get("train/weight_raw")]
    assert len(logged) == (0 if name == "AnnealingKD" else 2)  # it has no weights, but the teachers' mean
    for weights in logged:
        assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
        assert name not in ("EBKD", "CAMKD", "AEKD") or max(weights.values()) > min(weights.values()) + 1e-3


def test_command_line_sees_all_arguments() -> None:
    from jsonargparse import ArgumentParser

    own = {AVER: "mode", EBKD: "mkd_scale", CAMKD: "mkd_scale", AEKD: "max_weight", AnnealingKD: "t_max"}
    for method, name in own.items():
        added = set(ArgumentParser(exit_on_error=False).add_class_arguments(method, "model"))
        assert {f"model.{name}", "model.student_view", "model.student_init", "model.cache"} <= added
        assert "model.objective" not in added


# ------------------------------------------------------------------------------------------------------ Annealing-KD


def test_factor_is_the_papers() -> None:
    for t_max, epochs in ((10, 200), (10, 10), (4, 12)):
        length = epochs // t_max
        expected = [1 - (t - 1) / t_max for t in range(t_max, 0, -1) for _ in range(length)]
        found = [annealing_factor(epoch, epochs, t_max) for epoch in range(epochs)]
        assert found == pytest.approx(expected)
    assert [annealing_factor(epoch, 3, 10) for epoch in range(4)] == [0.4, 0.7, 1.0, 1.0]
    assert annealing_factor(0, 1) == 1.0


#: validation accuracies of the first part, as a net might have them: the best is reached twice, then lost
GIVEN = (0.25, 0.5, 0.75, 0.75, 0.5, 0.25)


class Watched(AnnealingKD):
    """Notes what each epoch was trained with and which weights it left; each is judged by a given accuracy."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[int, float, float, bool]] = []
        self.left: list[dict[str, Tensor]] = []
        self.started: dict[str, Tensor] = {}
        self.momentum = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.second_part and not self.started:
            self.started = {key: value.clone() for key, value in self.net.state_dict().items()}
            self.momentum = bool(self.trainer.optimizers[0].state)
        note = (self.current_epoch, float(self.objective.factor), float(self.objective.kd_weight), self.second_part)
        if note not in self.seen:
            self.seen.append(note)
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        accuracy = GIVEN[self.current_epoch] if self.current_epoch < len(GIVEN) else 0.0
        given = {"val/accuracy": torch.tensor(accuracy)}
        with mock.patch.object(self.metrics["val"], "compute", return_value=given):
            super().on_validation_epoch_end()
        self.left.append({key: value.clone() for key, value in self.net.state_dict().items()})


def test_second_part_starts_from_the_best_of_the_first(teachers: dict[str, str], tmp_path: Path) -> None:
    pl.seed_everything(0)
    asked = []
    module = Watched(net(), ask(teachers, "raw"), regression_epochs=6, t_max=3)
    answer = module.teacher_outputs
    module.teacher_outputs = lambda batch: (asked.append(module.current_epoch), answer(batch))[1]  # type: ignore
    fit = trainer(tmp_path, max_epochs=9, num_sanity_val_steps=1)
    fit.fit(module, BasicMotions(batch_size=8))
    factors = [1 / 3, 1 / 3, 2 / 3, 2 / 3, 1.0, 1.0]
    assert [note[1] for note in module.seen] == pytest.approx([*factors, 1.0, 1.0, 1.0])
    assert [note[2:] for note in module.seen] == [(1.0, False)] * 6 + [(0.0, True)] * 3
    left = module.left[1:]  # the sanity check does not count
    assert len(left) == 9
    assert all(torch.equal(value, left[3][key]) for key, value in module.started.items())  # of equals the later
    assert not all(torch.equal(value, left[2][key]) for key, value in module.started.items())
    assert not all(torch.equal(value, left[5][key]) for key, value in module.started.items())
    assert not module.momentum
    assert set(asked) == set(range(6))


@pytest.mark.parametrize("stop", [{"max_epochs": 2}, {"max_steps": 7}, {"max_epochs": 4}, {"max_steps": 19}], ids=str)
def test_interrupted_equals_uninterrupted(teachers: dict[str, str], tmp_path: Path, stop: dict[str, int]) -> None:
    epochs = 6

    def run(folder: str, limit: dict[str, int], path: Path | None = None) -> tuple[pl.Trainer, AnnealingKD]:
        pl.seed_everything(3)
        module = AnnealingKD(net(), ask(teachers, "raw"), regression_epochs=4, t_max=4)
        fit = trainer(tmp_path / folder, **limit)
        fit.fit(module, BasicMotions(augment=Mix2(), seed=3, batch_size=8), ckpt_path=path, weights_only=True)
        return fit, module

    _, whole = run("whole", {"max_epochs": epochs})
    first, cut = run("first", {"max_epochs": epochs, **stop})
    first.save_checkpoint(tmp_path / "half.ckpt")
    assert bool(read_checkpoint(tmp_path / "half.ckpt")["annealing_kd"]["best"]) == (not cut.second_part)
    _, resumed = run("second", {"max_epochs": epochs}, tmp_path / "half.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert {k: float(v) for k, v in whole.objective.settings().items()} == {
        k: float(v) for k, v in resumed.objective.settings().items()
    }


@pytest.mark.parametrize("method", [KD, TGD, AVER])
def test_fixed_weights_are_logged_for_each_teacher(method: type[Distillation], tmp_path: Path) -> None:
    given = {} if method is AVER else {"weights": {"raw": 0.75, "pi": 0.25}}
    few = {"limit_train_batches": 1, "max_epochs": 1, "limit_val_batches": 1}
    data = BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)})
    teachers = {"raw": Teacher(net=net()), "pi": Teacher(net=net(ndim=2), view="pi")}
    run = trainer(tmp_path, **few)
    run.fit(method(net(), teachers, **given), data)
    expected = given.get("weights", {"raw": 0.5, "pi": 0.5})
    assert {n: float(run.callback_metrics[f"train/weight_{n}"]) for n in teachers} == pytest.approx(expected)
    one = trainer(tmp_path, **few)
    one.fit(KD(net(), {"raw": Teacher(net=net())}), data)
    assert not any("weight_raw" in name for name in one.callback_metrics)


def test_camkd_decay() -> None:
    objective = CAMKDObjective(kd_weight=0.8, distill_decay=True)
    assert objective.moves == ("kd_weight",)
    weights = []
    for epoch in (9, 0, 4, 5, 7):  # a function of the epoch alone, in any order
        objective.at(epoch, epochs=10)
        weights.append(round(float(objective.kd_weight), 6))
    assert weights == [0.0, 0.8, 0.8, 0.64, 0.32]
    with pytest.raises(InputError, match="distill_decay needs a fit with a planned end"):
        objective.at(0)
    assert CAMKDObjective().moves == ()
