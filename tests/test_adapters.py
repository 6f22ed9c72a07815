"""Methods that learn adapters besides the student: what they compute, that the adapters learn and are left behind."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import kdlab
from kdlab import (
    AFD,
    AFDS,
    CAD,
    CAMKD,
    COMODO,
    CRD,
    MTKDRL,
    VID,
    DiffKD,
    Distillation,
    FitNet,
    ReviewKD,
    SimKD,
    Supervised,
    Teacher,
    functional,
)
from kdlab.data import BasicMotions
from kdlab.evaluate.cost import macs, parameters
from kdlab.export.make import export
from kdlab.methods.afd import AFDObjective, LayerAttention
from kdlab.methods.afds import AFDSObjective
from kdlab.methods.ca_mkd import CAMKDObjective
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.crd import CRDObjective, Memory
from kdlab.methods.fitnet import FitNetObjective, regressor
from kdlab.methods.simkd import SimKDObjective
from kdlab.methods.vid import VIDObjective
from kdlab.nets import VGG, AttentionLSTM, CifarResNet, MobileNetV2, RecurrentNet, ResNet, ReusedClassifier, WideResNet
from kdlab.nets.base import Backbone, build
from kdlab.objective import Objective
from kdlab.types import InputError, Output
from kdlab.views import PersistenceImage, Raw
from tests import references as ref
from tests.conftest import net, trainer

Array = NDArray[np.float64]
TAPS = ("stage1", "stage2", "stage3")
SIZES: dict[str, list[tuple[int, ...]]] = {"1-D": [(16,), (8,), (5,)], "2-D": [(8, 8), (6, 5), (4, 4)]}
BATCH, CLASSES = 6, 4
TARGET = torch.arange(BATCH) % CLASSES
kinds = pytest.mark.parametrize("ndim", SIZES)


def output(seed: int, ndim: str = "1-D", channels: int = 3, sizes: list[tuple[int, ...]] | None = None) -> Output:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    features = {
        tap: draw(BATCH, channels * 2**i, *size)
        for i, (tap, size) in enumerate(zip(TAPS, sizes or SIZES[ndim], strict=True))
    }
    features["embedding"] = draw(BATCH, 4 * channels)
    return Output(3 * draw(BATCH, CLASSES), features)


def made(objective: Objective, student: Output, teachers: dict[str, Output], **kwargs: Any) -> Objective:
    """With adapters in float64, none of whose numbers is the one that it begins with."""
    torch.manual_seed(1)
    objective.adapt(student=student, teachers=teachers, **kwargs)
    objective.adapters.double()
    with torch.no_grad():
        for parameter in objective.adapters.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, dtype=torch.float64)
    return objective


# ------------------------------------------------------------------------------- the layers once more, without torch.nn


def linear(x: Array, layer: nn.Module) -> Array:
    weight, bias = layer.weight.detach().numpy(), layer.bias
    return np.array([weight @ row + (0 if bias is None else bias.detach().numpy()) for row in x])


def pointwise(x: Array, layer: nn.Module) -> Array:
    """A 1x1 convolution: a linear map at every position."""
    weight = layer.weight.detach().numpy().reshape(layer.weight.shape[:2])
    out = np.einsum("oc,bcp->bop", weight, x.reshape(*x.shape[:2], -1))
    if layer.bias is not None:
        out = out + layer.bias.detach().numpy()[None, :, None]
    return out.reshape(len(x), -1, *x.shape[2:])


def norm(x: Array, layer: nn.Module) -> Array:
    """Batch norm in training: over all but the channels."""
    axes = (0, *range(2, x.ndim))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    gain, shift = (p.detach().numpy().reshape(shape) for p in (layer.weight, layer.bias))
    return (x - mean) / np.sqrt(var + layer.eps) * gain + shift


def relu(x: Array) -> Array:
    return np.where(x > 0, x, 0.0)


def numbers(x: Tensor) -> Array:
    return x.detach().double().numpy()


def check_value(found: Tensor, expected: float) -> None:
    assert found.dtype == torch.float64
    assert float(found.detach()) == pytest.approx(expected, rel=1e-9)


# -------------------------------------------------------------------------------------------------- what each computes


@kinds
@pytest.mark.parametrize("with_relu", [True, False])
def test_fitnet_value(ndim: str, with_relu: bool) -> None:
    student, teachers = output(1, ndim), {"raw": output(2, ndim, 5), "other": output(3, ndim, 4)}
    weights = {"raw": 0.75, "other": 0.25}
    taps = ("stage1", "stage2")
    objective = made(FitNetObjective(hint_weight=7.0, weights=weights, taps=taps, relu=with_relu), student, teachers)
    expected = 0.0
    for tap in taps:
        for name, weight in weights.items():
            layers = objective.adapters[f"{name}_{tap}"]
            guess = norm(pointwise(numbers(student.features[tap]), layers[0]), layers[1])
            guess = relu(guess) if with_relu else guess
            expected += weight * ((guess - numbers(teachers[name].features[tap])) ** 2).mean()
    check_value(objective(student=student, teachers=teachers, target=TARGET)["hint"], 7 * expected / 2)


@pytest.mark.parametrize(
    ("own", "other"), [(50, 25), (25, 50), (25, 25), (30, 20), (32, 8)], ids=["double", "half", "same", "valid", "four"]
)
def test_strided_regressors_have_the_teachers_size(own: int, other: int) -> None:
    for ndim in (1, 2):
        a, b = torch.randn(2, 3, *(own,) * ndim), torch.randn(2, 4, *(other,) * ndim)
        layers = regressor(a, b, resize="strided")
        assert layers(a).shape == b.shape
        kernel = {50: 3, 25: 1 if other == 25 else 4, 30: 11, 32: 25}[own]
        assert layers[0].kernel_size == (kernel,) * ndim
    with pytest.raises(InputError, match=r"strided.*\(2, 3, 20\).*\(2, 4, 30\).*pool"):
        regressor(torch.zeros(2, 3, 20), torch.zeros(2, 4, 30), resize="strided")


@kinds
def test_vid_value(ndim: str) -> None:
    student, teachers = output(1, ndim), {"raw": output(2, ndim, 5)}
    objective = made(VIDObjective(information_weight=2.0), student, teachers)
    expected = 0.0
    for tap in TAPS:
        guess = objective.adapters[f"raw_{tap}"]
        mean = numbers(student.features[tap])
        for i, layer in enumerate(guess.mean):
            mean = pointwise(mean, layer) if i % 2 == 0 else relu(mean)
        other = numbers(teachers["raw"].features[tap])
        total = 0.0
        for c in range(other.shape[1]):
            variance = math.log1p(math.exp(float(guess.spread[c].detach()))) + 1e-5
            total += sum(0.5 * (d**2 / variance + math.log(variance)) for d in (other - mean)[:, c].ravel())
        expected += total / other.size
    check_value(objective(student=student, teachers=teachers, target=TARGET)["information"], 2 * expected / 3)


def test_vid_begins_with_a_variance_of_five() -> None:
    objective, student = VIDObjective(), output(1)
    objective.adapt(student=student, teachers={"raw": student})
    assert objective.adapters["raw_stage1"].variance().tolist() == pytest.approx([5.0] * 3)


@kinds
def test_afd_value(ndim: str) -> None:
    student, teachers = output(1, ndim), {"raw": output(2, ndim, 5)}
    objective = made(AFDObjective(attention_weight=3.0, width=7), student, teachers)
    attend = objective.adapters["raw"]
    assert isinstance(attend, LayerAttention)
    own = [numbers(student.features[t]) for t in TAPS]
    others = [numbers(teachers["raw"].features[t]) for t in TAPS]
    pooled = [x.reshape(*x.shape[:2], -1).mean(2) for x in own]
    keys = [relu(norm(linear(x, layer[0]), layer[1])) for x, layer in zip(pooled, attend.key, strict=True)]
    # the second layer is shared: its batch norm sees the keys of all student layers of a window as so many samples
    rows = np.array([keys[s][i] for i in range(BATCH) for s in range(3)])
    wide = norm(linear(rows, attend.bilinear[0]), attend.bilinear[1]).reshape(BATCH, 3, 3, 7)
    places_s, places_t = numbers(attend.student_place), numbers(attend.teacher_place)
    expected = 0.0
    for t, other in enumerate(others):
        query = norm(linear(other.reshape(*other.shape[:2], -1).mean(2), attend.query[t][0]), attend.query[t][1])
        for i in range(BATCH):
            match = [(wide[i, s, t] @ query[i] + places_t[t] @ places_s[s]) / math.sqrt(7) for s in range(3)]
            target = ref.unit(ref.energy(other[i])).ravel()
            for s, share in enumerate(ref.softmax(np.array(match))):
                energy = ref.energy(own[s][i])
                map_ = ref.unit(ref.pool(energy[None, None], other.shape[2:])[0, 0]).ravel()
                expected += share * ((map_ - target) ** 2).mean() / BATCH
    found = objective(student=student, teachers=teachers, target=TARGET)
    check_value(found["attention"], 3 * expected)
    objective.set("ce_weight", 0.1)  # 1 by default, as in the released training
    less = objective(student=student, teachers=teachers, target=TARGET)
    torch.testing.assert_close(less["ce"], 0.1 * functional.cross_entropy(student.logits, TARGET))
    torch.testing.assert_close(found["ce"], functional.cross_entropy(student.logits, TARGET))


@kinds
@pytest.mark.parametrize("channels", [3, 5])
def test_afds_value(ndim: str, channels: int) -> None:
    student, teachers = output(1, ndim), {"raw": output(2, ndim, channels)}
    objective = made(AFDSObjective(channel_weight=3.0, taps=("stage1", "stage3")), student, teachers)
    expected = 0.0
    for tap in ("stage1", "stage3"):
        attend = objective.adapters[f"raw_{tap}"]
        own, other = numbers(student.features[tap]), numbers(teachers["raw"].features[tap])
        if channels != 3:
            own = pointwise(own, attend.match)
        assert sum(p.numel() for p in attend.match.parameters()) == (
            0 if channels == 3 else attend.match.weight.numel() + other.shape[1]
        )
        gates = relu(linear(other.reshape(*other.shape[:2], -1).mean(2), attend.attention[0]))
        gates = 1 / (1 + np.exp(-linear(gates, attend.attention[2])))
        for i in range(BATCH):
            for c in range(other.shape[1]):
                difference = ref.unit(own[i, c]) - ref.unit(other[i, c])
                expected += gates[i, c] / gates[i].sum() * (difference**2).mean() / BATCH
    check_value(objective(student=student, teachers=teachers, target=TARGET)["channels"], 3 * expected / 2)


@pytest.mark.parametrize(("bias", "total"), [(-25.0, 1.0), (-1000.0, 0.0)], ids=["small", "none"])
def test_afds_weights_of_closed_gates(bias: float, total: float) -> None:
    """Gates of 1e-11 still count by their share; gates of exactly 0 teach nothing, and break nothing."""
    student, teachers = output(1), {"raw": output(2)}
    student.features["stage1"].requires_grad_()
    objective = AFDSObjective(channel_weight=3.0, taps=("stage1",))
    objective.adapt(student=student, teachers=teachers)
    attend = objective.adapters.double()["raw_stage1"]
    torch.nn.init.zeros_(attend.attention[2].weight)
    torch.nn.init.constant_(attend.attention[2].bias, bias)
    sums = attend.weights(teachers["raw"].features["stage1"]).sum(1)
    torch.testing.assert_close(sums, torch.full_like(sums, total))
    term = objective(student=student, teachers=teachers, target=TARGET)["channels"]
    term.backward()
    assert (float(term.detach()) > 0) == (total > 0)
    for gradient in (student.features["stage1"].grad, *(p.grad for p in attend.parameters())):
        assert gradient is not None
        assert gradient.isfinite().all()


def classify(bias: float) -> Callable[[Tensor], Tensor]:
    """A stand-in for the rest of a teacher: pooling and fixed sums of channels."""
    return lambda x: x.flatten(2).mean(2)[:, :CLASSES] * 5 + bias * torch.arange(CLASSES, dtype=x.dtype)


@kinds
@pytest.mark.parametrize("scale", ["normalised", "released"])
def test_camkd_feature_value(ndim: str, scale: Any) -> None:
    student = output(1, ndim)
    teachers = {"raw": output(2, ndim, 5), "a": output(3, ndim, 4), "b": output(4, ndim, 3)}
    rests = {name: classify(bias) for name, bias in zip(teachers, (0.0, 1.0, -2.0), strict=True)}
    objective = made(CAMKDObjective(feature_weight=50.0, mkd_scale=scale), student, teachers, classifiers=rests)
    own = numbers(student.features["stage3"])
    embedded, losses = {}, {}
    for name in teachers:
        layers = objective.adapters[name]
        embedded[name] = relu(norm(pointwise(own, layers[0]), layers[1]))
        logits = numbers(rests[name](torch.tensor(embedded[name])))
        losses[name] = [ref.cross_entropy(logits[i : i + 1], TARGET[i : i + 1].numpy()) for i in range(BATCH)]
    expected, mean = 0.0, dict.fromkeys(teachers, 0.0)
    for i in range(BATCH):
        total = sum(math.exp(losses[name][i]) for name in teachers)
        for name, out in teachers.items():
            weight = (1 - math.exp(losses[name][i]) / total) / 2
            mean[name] += weight / BATCH
            expected += weight * ((embedded[name][i] - numbers(out.features["stage3"])[i]) ** 2).mean() / BATCH
    factor = 1 / 3 if scale == "released" else 1  # the code's extra M
    terms = objective(student=student, teachers=teachers, target=TARGET)
    assert list(terms) == ["ce", "kd", "feature"]
    check_value(terms["feature"], 50 * factor * expected)
    for name, weight in mean.items():
        assert float(objective.observed()[f"weight_{name}_feature"]) == pytest.approx(factor * weight)
    assert len({round(v, 3) for v in mean.values()}) == 3
    objective.feature_part = 0.0
    assert float(objective(student=student, teachers=teachers, target=TARGET)["feature"].detach()) == 0.0


@pytest.mark.parametrize("size", [3, 5, 9, 12])
def test_camkd_fits_the_students_map_where_asked(size: int) -> None:
    student, teachers = output(1), {"raw": output(2, sizes=[(4,), (4,), (size,)]), "a": output(3)}
    given = {"classifiers": {name: classify(0.0) for name in teachers}}
    objective = CAMKDObjective(feature_weight=50.0, resize="resample")
    made(objective, student, teachers, **given)
    own, _ = objective._maps("raw", student, teachers["raw"])
    feature = student.features["stage3"]
    if size <= 5:
        assert torch.allclose(own, torch.tensor(ref.pool(numbers(feature), (size,))))
    else:  # between the centres of two positions, linearly
        places = (np.arange(size) + 0.5) * 5 / size - 0.5
        line = [np.interp(places, np.arange(5), row) for row in numbers(feature).reshape(-1, 5)]
        assert np.allclose(numbers(own).reshape(-1, size), line)
    assert objective(student=student, teachers=teachers, target=TARGET)["feature"].isfinite()
    if size != 5:
        with pytest.raises(InputError, match=rf"\(6, 12, 5\).*\(6, 12, {size}\)"):
            CAMKDObjective(feature_weight=50.0).adapt(student=student, teachers=teachers, **given)


def test_camkd_without_the_part_on_maps_has_nothing_to_learn() -> None:
    objective = CAMKDObjective()
    assert not objective.adapts
    assert objective.needs(["raw"]) == {"raw": {}}
    flat, images = output(1), {"raw": output(2), "pi": output(3, "2-D")}
    assert list(objective(student=flat, teachers=images, target=TARGET)) == ["ce", "kd"]
    assert not objective.adapters
    assert "feature_weight" not in objective.settings()
    with pytest.raises(InputError, match="but got 'feature_weight'"):
        objective.set("feature_weight", 1.0)
    with pytest.raises(InputError, match=r"classifiers.*\['raw'\].*net.classify"):
        CAMKDObjective(feature_weight=1.0)(student=flat, teachers={"raw": output(2)}, target=TARGET)


@kinds
def test_simkd_value(ndim: str) -> None:
    student, teacher = output(1, ndim), output(2, ndim)
    objective = SimKDObjective(feature_weight=2.0, ce_weight=0.5, kd_weight=0.25, temperature=3.0)
    terms = objective(student=student, teachers={"raw": teacher}, target=TARGET)
    difference = numbers(student.features["stage3"]) - numbers(teacher.features["stage3"])
    check_value(terms["feature"], 2 * (difference**2).mean())
    logits = numbers(student.logits)
    assert float(terms["ce"]) == pytest.approx(0.5 * ref.cross_entropy(logits, TARGET.numpy()))
    kd = ref.soft_target_kl(logits, numbers(teacher.logits), 3.0).mean()
    assert float(terms["kd"]) == pytest.approx(0.25 * kd)
    assert {name: float(v) for name, v in SimKDObjective().settings().items()} == {
        "feature_weight": 1.0,
        "ce_weight": 0.0,
        "kd_weight": 0.0,
        "temperature": 4.0,
    }


# ------------------------------------------------------------------------------------------------------------- contrast


def contrast(own: Array, bank: Array, rows: list[int], others: list[list[int]], log_z: float, t: float) -> float:
    """NCE of one direction, pair by pair."""
    total, count = 0.0, len(bank)
    for v, row, drawn in zip(own, rows, others, strict=True):
        share = len(drawn) / count
        p = math.exp(v @ bank[row] / t - log_z)
        total -= math.log(p / (p + share))
        for other in drawn:
            p = math.exp(v @ bank[other] / t - log_z)
            total -= math.log(share / (p + share))
    return total / len(own)


def constant(own: Array, bank: Array, rows: list[int], others: list[list[int]], t: float) -> float:
    scores = [math.exp(v @ bank[j] / t) for v, row, d in zip(own, rows, others, strict=True) for j in [row, *d]]
    return math.log(len(bank) * sum(scores) / len(scores))


def embeddings(objective: Objective, student: Output, teacher: Output) -> tuple[Array, Array]:
    pairs = ((student, "student_raw"), (teacher, "teacher_raw"))
    found = [linear(numbers(out.features["embedding"]), objective.adapters[key]) for out, key in pairs]
    return tuple(np.array([ref.unit(row) for row in x]) for x in found)  # type: ignore[return-value]


def test_crd_value_of_a_batch_by_itself() -> None:
    student, teacher = output(1), output(2, channels=5)
    objective = made(CRDObjective(contrast_weight=3.0, width=5, contrast_temperature=0.2), student, {"raw": teacher})
    own, theirs = embeddings(objective, student, teacher)
    rows = list(range(BATCH))
    others = [[j for j in rows if j != i] for i in rows]
    expected = 0.0
    for a, b in ((own, theirs), (theirs, own)):
        expected += contrast(a, b, rows, others, constant(a, b, rows, others, 0.2), 0.2)
    check_value(objective(student=student, teachers={"raw": teacher}, target=TARGET)["contrast"], 3 * expected)


KEYS = [4, 900, 17, 33, 250, 8, 61]  # no order, with gaps
INDEX = torch.tensor([33, 4, 900, 8, 17, 250])


@pytest.mark.parametrize("negatives", [16384, 6, 3])
def test_crd_value_with_memory_over_two_steps(negatives: int) -> None:
    student, teacher = output(1), output(2, channels=5)
    objective = CRDObjective(width=5, negatives=negatives, contrast_temperature=0.2, contrast_weight=3.0, seed=4)
    objective.remember(KEYS)
    made(objective, student, {"raw": teacher})
    memory = objective.adapters["memory_raw"]
    assert isinstance(memory, Memory)
    assert memory.keys.tolist() == sorted(KEYS)
    banks = numbers(memory.banks)  # of the student, of the teacher
    assert float(np.abs(banks).max()) <= math.sqrt(3 / 5)
    rows = [sorted(KEYS).index(int(i)) for i in INDEX]
    log_z: list[float] = []
    for step in range(2):
        if negatives >= 6:
            others = [[j for j in range(7) if j != row] for row in rows]
        else:
            others = objective._draw(memory, memory.rows(INDEX), torch.arange(BATCH)).tolist()
            for row, drawn in zip(rows, others, strict=True):
                assert len(drawn) == 3
                assert row not in drawn
                assert set(drawn) <= set(range(7))
        own, theirs = embeddings(objective, student, teacher)
        directions = [(own, banks[1]), (theirs, banks[0])]
        if not log_z:  # of the first batch
            log_z = [constant(v, bank, rows, others, 0.2) for v, bank in directions]
        expected = sum(contrast(v, bank, rows, others, z, 0.2) for (v, bank), z in zip(directions, log_z, strict=True))
        terms = objective(student=student, teachers={"raw": teacher}, target=TARGET, index=INDEX)
        check_value(terms["contrast"], 3 * expected)
        for bank, v in ((banks[0], own), (banks[1], theirs)):
            for row, new in zip(rows, v, strict=True):
                bank[row] = ref.unit(0.5 * bank[row] + 0.5 * new)
        assert np.allclose(numbers(memory.banks), banks, rtol=1e-12)
        assert int(memory.step) == step + 1
        with torch.no_grad():  # what the optimiser would do
            objective.adapters["student_raw"].weight *= -1


def test_crd_differs_from_the_released_equation_by_its_eps_alone() -> None:
    """1e-7 in the denominators: the terms as the code writes them."""
    random = np.random.default_rng(0)
    positive, negative, windows = random.normal(size=4) - 1, random.normal(size=(4, 9)) - 3, 20
    share, eps, total = 9 / windows, 1e-7, 0.0
    for i in range(4):
        p = math.exp(positive[i])
        total -= math.log(p / (p + share + eps))
        total -= sum(math.log(share / (math.exp(q) + share + eps)) for q in negative[i])
    found = float(functional.noise_contrast(torch.tensor(positive), torch.tensor(negative), windows))
    assert found == pytest.approx(total / 4, rel=1e-5)
    assert found != total / 4


def test_crd_draws_depend_on_seed_and_step_alone() -> None:
    def draws(seed: int, step: int) -> Tensor:
        objective = CRDObjective(negatives=40, seed=seed)
        objective.remember(range(500))
        memory = Memory(torch.arange(500), 4, seed)
        memory.step += step
        torch.rand(7)  # no global generator matters
        return objective._draw(memory, torch.arange(BATCH), torch.arange(BATCH))

    assert torch.equal(draws(0, 3), draws(0, 3))
    assert not torch.equal(draws(0, 3), draws(0, 4))
    assert not torch.equal(draws(0, 3), draws(1, 3))
    assert torch.equal(Memory(torch.arange(9), 4, 2).banks, Memory(torch.arange(9), 4, 2).banks)


def test_crd_writes_nothing_in_evaluation_or_without_an_index() -> None:
    student, teacher = output(1), output(2)
    objective = CRDObjective(width=5)
    objective.remember(KEYS)
    made(objective, student, {"raw": teacher})
    before = {k: v.clone() for k, v in objective.state_dict().items()}
    objective(student=student, teachers={"raw": teacher}, target=TARGET)
    objective.eval()
    read = objective(student=student, teachers={"raw": teacher}, target=TARGET, index=INDEX)["contrast"]
    after = objective.state_dict()
    assert all(torch.equal(after[k], v) or (v.isnan() & after[k].isnan()).all() for k, v in before.items())
    objective.train()
    assert objective(student=student, teachers={"raw": teacher}, target=TARGET, index=INDEX)["contrast"] == read
    assert not torch.equal(objective.state_dict()["adapters.memory_raw.banks"], before["adapters.memory_raw.banks"])


def test_crd_refusals() -> None:
    student, teachers = output(1), {"raw": output(2)}
    objective = CRDObjective(width=5)
    with pytest.raises(InputError, match="remember"):
        objective(student=student, teachers=teachers, target=TARGET, index=INDEX)
    with pytest.raises(InputError, match="training windows of the memory, but got other"):
        objective.remember(KEYS)
    objective = CRDObjective(width=5)
    with pytest.raises(InputError, match="at least 2 training windows, but got 1"):
        objective.remember([3, 3])
    objective.remember(KEYS)
    with pytest.raises(InputError, match="the 7 windows that the memory was made for, but got window 5"):
        objective(student=student, teachers=teachers, target=TARGET, index=torch.tensor([4, 8, 17, 5, 33, 61]))
    for name, bad, wanted in (
        ("width", 0, "a whole number at least 1"),
        ("negatives", 0, "a whole number at least 1"),
        ("contrast_temperature", 0.0, "above 0"),
        ("momentum", 1.0, "below 1"),
        ("momentum", -0.5, "at least 0"),
        ("momentum", math.nan, "at least 0"),
    ):
        with pytest.raises(InputError, match=rf"^CRDObjective: {name} must be {wanted}.*, but got {bad}\.$"):
            CRDObjective(**{name: bad})
    with pytest.raises(InputError, match=r"batch_size must be at least 2.*but got 1"):
        CRDObjective().check(batch_size=1, teachers=["raw"])


def test_crd_contrasts_the_windows_of_a_batch_in_a_method_that_knows_no_others(
    teachers: dict[str, str], tmp_path: Path
) -> None:
    """`Distillation` sets no training windows; `CRD` refuses data that do not name them."""
    objective = CRDObjective(width=5)
    run = trainer(tmp_path, max_steps=2, limit_val_batches=0)
    run.fit(Distillation(net(), {"raw": Teacher(teachers["raw"])}, objective), windows())
    assert run.callback_metrics["train/contrast"] > 0
    assert set(objective.adapters) == {"student_raw", "teacher_raw"}
    loader = torch.utils.data.DataLoader(list(windows_of("train")), batch_size=None)
    module, x = method("CRD", teachers["raw"]), torch.zeros(2, 6, 100)
    module.objective.adapt(student=module.net(x), teachers={"raw": Teacher(teachers["raw"]).load()(x)})
    with pytest.raises(
        InputError, match=r"CRD: the index of all training windows must be known, .*objective\.remember\(range\(N\)\)"
    ):
        trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, loader)


def step_of(rows: slice | list[int], index: Tensor) -> dict[str, Any]:
    """Two steps of CRD on these rows of given features: value, gradients of features and adapters, and the memory."""
    torch.manual_seed(0)
    objective = CRDObjective(width=5, negatives=4, contrast_temperature=0.2)
    objective.remember(KEYS)
    found: dict[str, Any] = {}
    for step in range(2):
        outs = [output(10 * step + seed, channels=c) for seed, c in ((1, 3), (2, 5))]
        student, teacher = (Output(o.logits[rows], {k: v[rows] for k, v in o.features.items()}) for o in outs)
        own = student.features["embedding"].requires_grad_()
        objective.adapt(student=student, teachers={"raw": teacher})
        objective.zero_grad()
        terms = objective(student=student, teachers={"raw": teacher}, target=TARGET[rows], index=index[rows])
        terms["contrast"].backward()
        grads = torch.cat([p.grad.flatten() for p in objective.adapters.parameters() if p.grad is not None])
        found[f"value {step}"], found[f"own {step}"], found[f"adapters {step}"] = terms["contrast"], own.grad, grads
    return {k: v.detach() for k, v in found.items()} | dict(objective.state_dict())


def test_crd_draws_for_a_window_wherever_it_stands() -> None:
    order = [3, 0, 5, 1, 4, 2]
    straight, mixed = (step_of(rows, INDEX) for rows in (list(range(6)), order))
    for name, value in straight.items():
        there = value[order] if name.startswith("own") else value
        assert torch.allclose(mixed[name], there, rtol=1e-4, atol=1e-7, equal_nan=True), name


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    torch.save(step_of(slice(3 * rank, 3 * rank + 3), INDEX), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_crd_on_two_ranks_is_that_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    mp.spawn(worker, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    one = step_of(slice(None), INDEX)
    for key, value in one.items():
        if key.startswith(("value", "adapters ")):  # what DistributedDataParallel takes the mean of
            torch.testing.assert_close(torch.stack([r[key] for r in ranks]).mean(0), value)
        elif key.startswith("own"):
            torch.testing.assert_close(torch.cat([r[key] for r in ranks]) / 2, value)
        else:  # embeddings, memory, constants and step: the same everywhere
            assert torch.equal(ranks[0][key], ranks[1][key]), key
            torch.testing.assert_close(ranks[0][key], value)
    assert one["adapters.memory_raw.step"].tolist() == [2]


# ------------------------------------------------------------------------------------------------------------- refusals


SINGLE: dict[str, Callable[..., Objective]] = {
    "FitNet": lambda **kw: FitNetObjective(taps=("stage3",), **kw),
    "VID": lambda **kw: VIDObjective(taps=("stage3",), **kw),
    "AFDS": lambda **kw: AFDSObjective(taps=("stage3",), **kw),
    "SimKD": lambda **kw: SimKDObjective(**kw),
}


@pytest.mark.parametrize("name", SINGLE)
def test_maps_of_another_size_or_rank(name: str) -> None:
    student, longer, image = output(1), output(2, sizes=[(16,), (8,), (7,)]), output(2, "2-D")
    with pytest.raises(InputError, match=r"\(6, 12, 5\).*\(6, 12, 7\).*resize"):
        SINGLE[name]()(student=student, teachers={"raw": longer}, target=TARGET)
    with pytest.raises(InputError, match=r"[Dd]imensionality.*\(6, 12, 5\).*\(6, 12, 4, 4\)"):
        SINGLE[name](resize="pool")(student=student, teachers={"raw": image}, target=TARGET)
    with pytest.raises(InputError, match=r"resize must be 'pool' .*or None, but got 'stretch'"):
        SINGLE[name](resize="stretch")
    pooled = Output(longer.logits, {"stage3": torch.tensor(ref.pool(numbers(longer.features["stage3"]), (5,)))})
    values = []
    for teacher, resize in ((longer, "pool"), (pooled, None)):
        objective = SINGLE[name](resize=resize)
        if objective.adapts:
            made(objective, student, {"raw": teacher})
        *_, value = objective(student=student, teachers={"raw": teacher}, target=TARGET).values()
        values.append(float(value.detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_strided_refuses_another_rank_and_afd_too() -> None:
    student, image = output(1), {"raw": output(2, "2-D")}
    for objective in (FitNetObjective(resize="strided"), AFDObjective()):
        with pytest.raises(InputError, match=r"[Dd]imensionality.*\(6, \d+, \d+\).*\(6, \d+, \d, \d\)"):
            objective.adapt(student=student, teachers=image)
    with pytest.raises(InputError, match=r"positions.*embedding"):
        FitNetObjective(taps=("embedding",))(student=student, teachers={"raw": output(2)}, target=TARGET)
    with pytest.raises(InputError, match=r"at least 2 per process.*batch norm, but got 1"):
        AFDObjective().check(batch_size=1, teachers=["raw"])


def test_camkd_says_what_it_takes() -> None:
    """And not what others take: it has no taps, and pools nothing."""
    student, given = output(1), {"classifiers": {"pi": classify(0.0)}}
    for other, remedy in (
        (output(2, sizes=[(16,), (8,), (7,)]), r"Set resize='resample', which fits.* feature_weight=0\.$"),
        (output(2, "2-D"), r"Take teachers that read a view of the student's kind.* feature_weight=0\.$"),
    ):
        with pytest.raises(InputError, match=rf"^CAMKDObjective: teacher 'pi', tap 'stage3': .*{remedy}") as said:
            CAMKDObjective(feature_weight=50.0).adapt(student=student, teachers={"pi": other}, **given)
        assert "pool" not in str(said.value)
        assert "other taps" not in str(said.value)


@pytest.mark.parametrize("name", ["FitNet", "VID", "AFDS", "AFD"])
def test_a_teacher_of_weight_0_gets_no_adapter_and_need_not_fit(name: str) -> None:
    made_by = {**SINGLE, "AFD": lambda **kw: AFDObjective(taps=("stage3",), **kw)}[name]
    student, raw, image = output(1), output(2), output(3, "2-D")
    alone, both = made_by(weights={"raw": 0.7}), made_by(weights={"raw": 0.7, "pi": 0.0})
    made(alone, student, {"raw": raw})
    made(both, student, {"raw": raw, "pi": image})
    assert set(both.adapters) == set(alone.adapters)
    expected, terms = (
        objective(student=student, teachers=teachers, target=TARGET)
        for objective, teachers in ((alone, {"raw": raw}), (both, {"raw": raw, "pi": image}))
    )
    assert {k: float(v.detach()) for k, v in terms.items()} == {k: float(v.detach()) for k, v in expected.items()}
    both.weights = {"raw": 0.7, "pi": 0.3}  # no setting, so no callback of ours can do this
    with pytest.raises(InputError, match=r"adapter 'pi.*weight is 0 as the fit begins"):
        both(student=student, teachers={"raw": raw, "pi": output(3)}, target=TARGET)


def test_strided_fits_what_is_half_as_long() -> None:
    student, teachers = output(1), {"raw": output(2, sizes=[(8,), (16,), (5,)])}
    objective = FitNetObjective(taps=("stage1", "stage2"), resize="strided")
    made(objective, student, teachers)
    assert objective(student=student, teachers=teachers, target=TARGET)["hint"].isfinite()


@pytest.mark.parametrize("name", ["FitNet", "VID", "AFDS", "AFD", "AT", "AMD"])
def test_what_does_not_fit_is_told_with_method_and_teacher(name: str, teachers: dict[str, str], tmp_path: Path) -> None:
    both = {"raw": Teacher(teachers["raw"]), "image": Teacher(teachers["pi"], view="pi")}
    more = {"map_teacher": "image"} if name == "AMD" else {}
    module = getattr(kdlab, name)(net(), both, taps=("stage2",), **more)
    said = (
        rf"^{name}Objective: teacher 'image', tap 'stage2': .*student has \(2, 32, 50\), the teacher "
        r"\(2, 32, 8, 8\)\. Use a teacher of the student's kind of view, or a method on Gram matrices or logits\.$"
    )
    with pytest.raises(InputError, match=said):
        trainer(tmp_path).fit(module, BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}))


@pytest.mark.parametrize("name", ["FitNet", "VID", "AFDS"])
def test_two_pairs_may_not_share_an_adapter(name: str) -> None:
    objective = {"FitNet": FitNetObjective, "VID": VIDObjective, "AFDS": AFDSObjective}[name](taps=("b", "a_b"))
    out = Output(torch.zeros(2, 4), {tap: torch.zeros(2, 3, 5) for tap in ("b", "a_b")})
    with pytest.raises(InputError, match=r"teacher 'raw_a' with tap 'b' and another pair.*'raw_a_b'.*Rename"):
        objective.adapt(student=out, teachers={"raw": out, "raw_a": out})
    assert not objective.adapters
    objective.adapt(student=out, teachers={"raw": out, "a": out})
    assert set(objective.adapters) == {"raw_b", "raw_a_b", "a_b", "a_a_b"}


def test_simkd_refusals() -> None:
    with pytest.raises(InputError, match=r"SimKD: student must be.*but got WideResNet.*ReusedClassifier"):
        SimKD(net(), {"raw": Teacher(net=net())})
    with pytest.raises(InputError, match=r"teachers must be one.*classifier.*\['pi', 'raw'\]"):
        SimKDObjective().check(batch_size=8, teachers=["raw", "pi"])
    with pytest.raises(InputError, match=r"channels.*\(6, 12, 5\).*\(6, 20, 5\)"):
        SimKDObjective()(student=output(1), teachers={"raw": output(2, channels=5)}, target=TARGET)
    with pytest.raises(InputError, match=r"ndim=1 and 4 classes.*ndim=2 and 4 classes"):
        ReusedClassifier(net(), net(ndim=2))
    with pytest.raises(InputError, match=r"RecurrentNet.*map"):
        ReusedClassifier(net(), RecurrentNet(layers=3, in_channels=6, num_classes=4))
    with pytest.raises(InputError, match="no tap 'stage3'; it has 'stage1', 'embedding'"):
        ReusedClassifier(RecurrentNet(layers=1, in_channels=6, num_classes=4), net())
    with pytest.raises(InputError, match=r"made for the classifier of .*'width': 1.*'width': 2"):
        ReusedClassifier(net(), net()).reuse(net(width=2))


def test_simkd_names_a_classifier_that_is_not_the_teachers(teachers: dict[str, str], tmp_path: Path) -> None:
    module = SimKD(ReusedClassifier(net(), net(width=2)), {"raw": Teacher(teachers["raw"])})
    with pytest.raises(InputError, match=r"made for the classifier of .*'width': 2.*'width': 1.*Set classifier="):
        trainer(tmp_path, max_steps=1).fit(module, windows())


# ------------------------------------------------------------------------------------------------ borrowed classifiers

BODIES: dict[str, Callable[[int], Backbone]] = {
    "WideResNet": lambda ndim: WideResNet(10, 1, ndim, in_channels=3, num_classes=5),
    "CifarResNet": lambda ndim: CifarResNet(8, ndim=ndim, in_channels=3, num_classes=5),
    "ResNet": lambda ndim: ResNet(18, ndim=ndim, width=8, in_channels=3, num_classes=5),
    "VGG": lambda ndim: VGG(8, ndim=ndim, in_channels=3, num_classes=5),
    "MobileNetV2": lambda ndim: MobileNetV2(0.5, ndim=ndim, in_channels=3, num_classes=5),
}


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("name", BODIES)
def test_a_reused_classifier_answers_as_its_teacher_would(name: str, ndim: int) -> None:
    torch.manual_seed(0)
    teacher, body = BODIES[name](ndim), BODIES["WideResNet"](ndim)
    side = 8 * max(teacher.stride, body.stride)
    x = torch.randn(4, 3, *(side,) * ndim)
    teacher.train()(x)  # statistics other than those of the beginning
    made_net = ReusedClassifier(body, BODIES[name](ndim)).reuse(teacher)
    output_ = made_net.train()(x)
    assert torch.equal(output_.logits, teacher.eval().classify(output_.features["stage3"]))
    assert torch.allclose(output_.features["stage1"], body.train()(x).features["stage1"], atol=1e-5)
    assert list(output_.features) == ["stage1", "stage2", "stage3", "embedding"]
    # the classifier is frozen, in evaluation mode, and nothing is held that nobody reads
    before = {k: v.clone() for k, v in made_net.state_dict().items()}
    made_net(x).logits.square().sum().backward()
    for key, parameter in made_net.named_parameters():
        frozen = key.startswith(("rest.", "head."))
        assert parameter.requires_grad is not frozen, key
        assert (parameter.grad is None) is frozen, key
    assert all(torch.equal(v, before[k]) for k, v in made_net.state_dict().items() if k.startswith(("rest.", "head.")))
    assert not any(m.training for m in (*made_net.rest.modules(), *made_net.head.modules()))
    whole = sum(p.numel() for p in teacher.parameters())
    assert sum(p.numel() for p in (*made_net.rest.parameters(), *made_net.head.parameters())) < whole
    # and a checkpoint's description makes it again
    again = build(made_net.spec)
    again.load_state_dict(made_net.state_dict())
    assert torch.equal(again.eval()(x).logits, made_net.eval()(x).logits)
    assert parameters(made_net) == sum(p.numel() for p in made_net.parameters())
    assert macs(made_net, (3, *(side,) * ndim)) > macs(body, (3, *(side,) * ndim)) / 2


@pytest.mark.parametrize(
    "body",
    [AttentionLSTM(layers=3, in_channels=3, num_classes=5), RecurrentNet(layers=4, in_channels=3, num_classes=5)],
    ids=["attention", "fourth layer"],
)
def test_what_no_loss_sees_is_frozen(body: Backbone) -> None:
    """Else several processes would wait for its gradient."""
    made_net = ReusedClassifier(body, BODIES["WideResNet"](1))
    made_net(torch.randn(4, 3, 40)).logits.square().sum().backward()
    held = {key: p for key, p in made_net.named_parameters() if key.startswith(("body.", "projector."))}
    assert all(p.requires_grad == (p.grad is not None) for p in held.values())
    assert any(not p.requires_grad for p in held.values())
    again = build(made_net.spec)
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in made_net.parameters()]


def test_a_reused_classifier_lays_out_as_its_nets_do() -> None:
    made_net = ReusedClassifier(BODIES["WideResNet"](1), BODIES["WideResNet"](1), relu=True).eval()
    x = torch.randn(2, 3, 40)
    answers = []
    for way in ("channels_last", "contiguous"):
        made_net.memory_format = way  # type: ignore[assignment]
        answers.append(made_net(x))
    torch.testing.assert_close(answers[0].logits, answers[1].logits, atol=1e-5, rtol=1e-4)
    assert answers[0].features["stage3"].shape == answers[1].features["stage3"].shape == (2, 64, 10)
    assert answers[0].features["stage3"].min() >= 0
    recurrent = ReusedClassifier(RecurrentNet(layers=3, in_channels=3, num_classes=5), BODIES["WideResNet"](1)).eval()
    assert recurrent(x).features["stage3"].shape == (2, 64, 40)


# ------------------------------------------------------------------------------------------------------ fits, and after

METHODS: dict[str, Callable[..., Distillation]] = {
    "FitNet": lambda student, teachers, **kw: FitNet(student, teachers, **kw),
    "VID": lambda student, teachers, **kw: VID(student, teachers, **kw),
    "CAMKD": lambda student, teachers, **kw: CAMKD(student, teachers, feature_weight=50.0, **kw),
    "AFD": lambda student, teachers, **kw: AFD(student, teachers, width=16, **kw),
    "AFDS": lambda student, teachers, **kw: AFDS(student, teachers, **kw),
    "SimKD": lambda student, teachers, **kw: SimKD(ReusedClassifier(student, net()), teachers, **kw),
    "CRD": lambda student, teachers, **kw: CRD(student, teachers, width=16, negatives=10, **kw),
    "DiffKD": lambda student, teachers, **kw: DiffKD(student, teachers, **kw),
    "CAD": lambda student, teachers, **kw: CAD(student, teachers, **kw),
    "ReviewKD": lambda student, teachers, **kw: ReviewKD(student, teachers, **kw),
    "MTKDRL": lambda student, teachers, **kw: MTKDRL(
        student, {**teachers, "twin": copy.deepcopy(teachers["raw"])}, hidden=8, agent_steps=3, mixing="learnt", **kw
    ),
    "COMODO": lambda student, teachers, **kw: COMODO(student, teachers, queue=20, hidden=8, **kw),
}
each = pytest.mark.parametrize("name", METHODS)


def method(name: str, file: str, **kwargs: Any) -> Distillation:
    return METHODS[name](net(), {"raw": Teacher(file)}, **kwargs)


def windows(**kwargs: Any) -> BasicMotions:
    return BasicMotions(batch_size=8, **kwargs)


class Watched(pl.Callback):
    """Copies of what learns, before the first step, and what the optimiser holds."""

    def on_train_start(self, fit: pl.Trainer, module: pl.LightningModule) -> None:
        self.before = {k: v.detach().clone() for k, v in module.named_parameters()}
        self.held = [id(p) for group in fit.optimizers[0].param_groups for p in group["params"]]
        self.memory = {k: v.clone() for k, v in module.state_dict().items() if "memory" in k}


@each
def test_adapters_learn_and_are_left_behind(name: str, teachers: dict[str, str], tmp_path: Path) -> None:
    pl.seed_everything(0)
    watched = Watched()
    module = method(name, teachers["raw"])
    fit = trainer(tmp_path, max_epochs=2, callbacks=[watched])
    fit.fit(module, windows())
    learnt = {k: p for k, p in module.named_parameters() if p.requires_grad}
    assert sorted(map(id, learnt.values())) == sorted(watched.held)
    assert len(set(watched.held)) == len(watched.held)
    adapters = [k for k in learnt if k.startswith("objective.adapters.")]
    assert bool(adapters) == (name != "SimKD")
    untrained = ("norm", "head.bias") if name == "COMODO" else ("norm",)  # without labels nothing reaches the head
    assert all(not torch.equal(p, watched.before[k]) for k, p in learnt.items() if not any(u in k for u in untrained))
    assert all(p.isfinite().all() for p in learnt.values())
    if name == "CRD":  # the dry run before the fit has not touched it
        assert watched.memory["objective.adapters.memory_raw.log_z"].isnan().all()
        assert watched.memory["objective.adapters.memory_raw.step"].tolist() == [0]
    file = tmp_path / "student.ckpt"
    fit.save_checkpoint(file)
    held = read_checkpoint(file)["state_dict"]
    assert {k for k in held if k.startswith("objective.adapters.")} == {
        k for k in module.state_dict() if k.startswith("objective.")
    }
    # test and predict, in a new process so to say: no teacher's file, no adapters
    fresh = METHODS[name](net(), {"raw": Teacher(str(tmp_path / "gone.ckpt"))})
    run = trainer(tmp_path)
    (result,) = run.test(fresh, windows(), ckpt_path=file, weights_only=True, verbose=False)
    batches = run.predict(fresh, windows(), ckpt_path=file, weights_only=True)
    assert not fresh.objective.adapters
    right = torch.cat([b["prediction"] == b["target"] for b in batches])
    assert right.float().mean().item() == pytest.approx(result["test/accuracy"])
    # a teacher, with the same answers and nothing of the adapters
    taught = Teacher(str(file)).load()
    x = torch.cat([b.views["raw"] for b in windows_of("test")])
    assert torch.equal(taught(x).logits, module.net.eval()(x).logits)
    assert {f"net.{k}" for k in taught.net.state_dict()} == {k for k in held if k.startswith("net.")}
    trainer(tmp_path, max_steps=1).fit(
        METHODS[name](net(), {"raw": Teacher(net=net())}, student_init=str(file)), windows()
    )
    trainer(tmp_path, max_steps=1).fit(Supervised(build(module.net.spec), init=str(file)), windows())


def windows_of(part: str) -> Any:
    data = windows()
    data.setup()
    return data.batches(part)


@each
def test_a_student_is_exported_without_its_adapters(name: str, teachers: dict[str, str], tmp_path: Path) -> None:
    fit = trainer(tmp_path, max_steps=2)
    module = method(name, teachers["raw"])
    fit.fit(module, windows())
    fit.save_checkpoint(tmp_path / "student.ckpt")
    made_file = export(tmp_path / "student.ckpt", windows(), format="torch")
    size = sum(t.numel() * t.element_size() for t in module.net.state_dict().values())
    assert made_file.card["size"]["weights"] == size


@pytest.mark.parametrize("name", ["FitNet", "CRD", "CAD", "CAMKD", "COMODO", "DiffKD", "MTKDRL", "ReviewKD", "SimKD"])
@pytest.mark.parametrize("stop", [{"max_epochs": 1}, {"max_steps": 4}], ids=["epoch", "middle"])
def test_interrupted_equals_uninterrupted(
    name: str, stop: dict[str, int], teachers: dict[str, str], tmp_path: Path
) -> None:
    """Bit for bit, adapters, their statistics and the memory included."""

    def run(limit: dict[str, int], path: Path | None = None) -> tuple[pl.Trainer, Distillation]:
        pl.seed_everything(3 if path is None else 4)
        module = method(name, teachers["raw"])
        if path is None:
            pl.seed_everything(3)
        fit = trainer(tmp_path, max_epochs=3, **limit) if "max_epochs" not in limit else trainer(tmp_path, **limit)
        fit.fit(module, windows(seed=3), ckpt_path=path, weights_only=True)
        return fit, module

    _, whole = run({})
    first, _ = run(stop)
    first.save_checkpoint(tmp_path / "half.ckpt")
    second, resumed = run({}, tmp_path / "half.ckpt")
    assert second.global_step > first.global_step > 0
    state = resumed.state_dict()
    assert list(state) == list(whole.state_dict())
    for key, value in whole.state_dict().items():
        assert torch.equal(value, state[key]), key
    if name == "CRD":
        assert int(state["objective.adapters.memory_raw.step"]) == second.global_step


def test_a_fit_of_a_loaded_method_begins_with_its_trained_adapters(teachers: dict[str, str], tmp_path: Path) -> None:
    def given(name: str = "raw") -> dict[str, Any]:
        return {"student": net(), "teachers": {name: kdlab.Teacher(teachers["raw"])}}

    run = trainer(tmp_path, max_epochs=1)
    run.fit(kdlab.FitNet(**given()), BasicMotions())
    path = tmp_path / "fitted.ckpt"
    run.save_checkpoint(path)
    held = read_checkpoint(str(path))["state_dict"]
    loaded = kdlab.FitNet.load_from_checkpoint(path, **given())
    tester = trainer(tmp_path)
    tester.test(loaded, BasicMotions(), verbose=False)
    assert not loaded.objective.adapters
    tester.save_checkpoint(tmp_path / "again.ckpt")  # of weights alone, with what waits for the next fit
    again = read_checkpoint(str(tmp_path / "again.ckpt"))["state_dict"]
    assert again.keys() == held.keys()
    assert all(torch.equal(value, held[name]) for name, value in again.items())
    trainer(tmp_path, max_epochs=0).fit(loaded, BasicMotions())
    own = {name: value for name, value in loaded.state_dict().items() if "adapters" in name}
    assert own
    assert all(torch.equal(value, held[name]) for name, value in own.items())
    other = kdlab.FitNet.load_from_checkpoint(path, **given("other"))
    with pytest.warns(UserWarning, match="not those of this fit, which begins with new ones"):
        trainer(tmp_path, max_epochs=0).fit(other, BasicMotions())


def test_camkd_has_its_part_on_maps_from_the_second_epoch_on(teachers: dict[str, str], tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []

    class Noted(CAMKD):
        def terms(self, batch: Any, student: Output) -> dict[str, Tensor]:
            found = super().terms(batch, student)
            seen.append((self.trainer.current_epoch, float(found["feature"].detach())))
            return found

    module = Noted(net(), {"raw": Teacher(teachers["raw"])}, feature_weight=50.0)
    trainer(tmp_path, max_epochs=3).fit(module, windows())
    assert {epoch for epoch, _ in seen} == {0, 1, 2}
    assert all((value > 0) == (epoch > 0) for epoch, value in seen)


def test_camkd_objective_by_itself_has_its_part_on_maps_from_the_first_epoch_on() -> None:
    by_itself, method = CAMKDObjective(feature_weight=50.0), CAMKD(net(), {"raw": Teacher(net=net())}).objective
    for objective, expected in ((by_itself, [1.0, 1.0, 1.0]), (method, [0.0, 1.0, 1.0])):
        for epoch in (2, 0, 1, 0):  # the epoch alone decides, as in a fit that resumes
            objective.at(epoch, 8, step=5)
            assert objective.feature_part == expected[epoch]


def test_camkd_asks_its_teachers_own_classifiers(teachers: dict[str, str], tmp_path: Path) -> None:
    module = METHODS["CAMKD"](net(), {"raw": Teacher(teachers["raw"]), "twin": Teacher(teachers["raw"])})
    trainer(tmp_path, max_steps=2).fit(module, windows())
    objective = module.objective
    assert isinstance(objective, CAMKDObjective)
    held = dict(module.named_teachers())["raw"].net
    assert held is not None
    answer = held(torch.randn(3, 6, 100))
    torch.testing.assert_close(objective._classifiers["raw"](answer.features["stage3"]), answer.logits)
    assert not [k for k in module.state_dict() if k.startswith(("teachers", "objective._"))]


class Centres(Objective):
    """Labels, and a centre for each class in a space that is learnt beside the net; no teachers."""

    taps = ("embedding",)

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout

    def make_adapters(self, student: Output, teachers: dict[str, Output], classifiers: Any) -> dict[str, nn.Module]:
        size, classes = student.features["embedding"].shape[1], student.logits.shape[1]
        space = nn.Sequential(nn.Linear(size, 5), nn.BatchNorm1d(5), nn.Dropout(self.dropout))
        return {"space": space, "centres": nn.Embedding(classes, 5)}

    def forward(self, *, student: Output, teachers: dict[str, Output], target: Tensor) -> dict[str, Tensor]:
        self.adapt(student=student, teachers=teachers)
        there, centres = self.adapted("space", student.features["embedding"]), self.adapted("centres", target)
        return {
            "ce": functional.cross_entropy(student.logits, target),
            "centre": (there - centres).square().mean(),
        }


def test_without_teachers_adapters_learn_too_and_are_left_behind(tmp_path: Path) -> None:
    watched, module = Watched(), Supervised(net(), objective=Centres())
    fit = trainer(tmp_path, callbacks=[watched])
    fit.fit(module, windows())
    assert "train/centre" in fit.callback_metrics
    learnt = {k: p for k, p in module.named_parameters() if p.requires_grad}
    assert sorted(map(id, learnt.values())) == sorted(watched.held)
    named = {f"objective.adapters.{k}" for k in ("space.0.weight", "space.0.bias", "centres.weight")}
    assert named < set(learnt)
    assert all(not torch.equal(learnt[k], watched.before[k]) for k in named)
    file = tmp_path / "whole.ckpt"
    fit.save_checkpoint(file)
    held = read_checkpoint(file)["state_dict"]
    assert {k for k in held if k.startswith("objective.")} == {
        f"objective.adapters.{k}" for k in module.objective.adapters.state_dict()
    }
    assert all(torch.equal(held[k], v) for k, v in module.state_dict().items())
    fresh, run = Supervised(net(), objective=Centres()), trainer(tmp_path)
    (result,) = run.test(fresh, windows(), ckpt_path=file, weights_only=True, verbose=False)
    batches = run.predict(fresh, windows(), ckpt_path=file, weights_only=True)
    assert not fresh.objective.adapters
    right = torch.cat([b["prediction"] == b["target"] for b in batches])
    assert right.float().mean().item() == pytest.approx(result["test/accuracy"])


@pytest.mark.parametrize("stop", [{"max_epochs": 1}, {"max_steps": 4}], ids=["epoch", "middle"])
def test_without_teachers_interrupted_equals_uninterrupted(stop: dict[str, int], tmp_path: Path) -> None:
    def run(seed: int, path: Path | None = None, **limit: int) -> tuple[pl.Trainer, Supervised]:
        pl.seed_everything(seed)
        fit, module = trainer(tmp_path, **{"max_epochs": 3, **limit}), Supervised(net(), objective=Centres())
        fit.fit(module, windows(seed=3), ckpt_path=path, weights_only=True)
        return fit, module

    _, whole = run(3)
    first, _ = run(3, **stop)
    first.save_checkpoint(tmp_path / "half.ckpt")
    second, resumed = run(4, tmp_path / "half.ckpt")
    assert second.global_step > first.global_step > 0
    state = resumed.state_dict()
    assert list(state) == list(whole.state_dict())
    for key, value in whole.state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("taught", [False, True], ids=["Supervised", "Distillation"])
def test_a_dry_run_leaves_everything_as_it_was(taught: bool) -> None:
    """Bit for bit: statistics, random numbers, and of every part whether it trains."""
    data, student, teacher = windows(), net(), Teacher(net=net(), mean=[0.0] * 6, std=[1.0] * 6).load()
    data.setup()
    student.standardize.fill(*(data.view_statistics("raw") or ()))
    student.stages[1].eval()  # as someone has it who freezes its statistics
    objective = Centres(dropout=0.5)
    module = Distillation(student, {"raw": teacher}, objective) if taught else Supervised(student, objective=objective)

    def state() -> tuple[dict[str, Tensor], dict[str, bool], Tensor]:
        parts = {name: part.training for name, part in module.named_modules() if name}
        values = module.state_dict() | {f"teacher.{k}": v for k, v in teacher.net.state_dict().items()}
        return {k: v.clone() for k, v in values.items()}, parts, torch.get_rng_state()

    for adapters in ("made", "there already"):
        before = state()
        module.prepare(data, "fit")
        after = state()
        assert all(torch.equal(after[0][key], value) for key, value in before[0].items()), adapters
        assert {name: after[1][name] for name in before[1]} == before[1], adapters
        assert torch.equal(after[2], before[2]), adapters
        assert objective.adapters
        assert all(part.training for part in objective.modules())
    assert int(objective.adapters.state_dict()["space.1.num_batches_tracked"]) == 0


class Direct(VIDObjective):
    """Needs nothing in between where features have equal shapes."""

    def make_adapters(self, student: Output, teachers: dict[str, Output], classifiers: Any) -> dict[str, nn.Module]:
        return {}

    def distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        return functional.mean_square(student, teacher)


def test_an_objective_may_find_that_it_needs_no_adapters(teachers: dict[str, str], tmp_path: Path) -> None:
    objective = Direct()
    assert not objective.ready
    run = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    run.fit(Distillation(net(), {"raw": Teacher(teachers["raw"])}, objective), windows())
    assert objective.ready
    assert not objective.adapters
    assert run.global_step == 1


def test_adapters_are_made_from_the_first_batch_of_plain_loaders(teachers: dict[str, str], tmp_path: Path) -> None:
    loader = torch.utils.data.DataLoader(list(windows_of("train")), batch_size=None)
    module = method("FitNet", teachers["raw"])
    trainer(tmp_path, max_steps=1).fit(module, loader)
    made = {name: adapter.state_dict() for name, adapter in module.objective.adapters.items()}
    again, x = method("FitNet", teachers["raw"]), torch.zeros(2, 6, 100)
    taught = Teacher(teachers["raw"]).load()
    again.objective.adapt(student=again.net(x), teachers={"raw": taught(x)})
    assert {n: {k: v.shape for k, v in state.items()} for n, state in made.items()} == {
        n: {k: v.shape for k, v in adapter.state_dict().items()} for n, adapter in again.objective.adapters.items()
    }
    trainer(tmp_path, max_steps=1).fit(again, loader)


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
@each
def test_adapters_stay_in_float32(name: str, precision: Any, teachers: dict[str, str], tmp_path: Path) -> None:
    module = method(name, teachers["raw"])
    trainer(tmp_path, max_steps=2, precision=precision, limit_val_batches=0).fit(module, windows())
    floats = {v.dtype for v in module.objective.state_dict().values() if v.is_floating_point()}
    assert floats <= {torch.float32}
    assert all(v.isfinite().all() for k, v in module.state_dict().items() if "log_z" not in k)


def test_smaller_data_with_images(teachers: dict[str, str], tmp_path: Path) -> None:
    """Two-dimensional student and teacher of other widths, all taps."""
    data = BasicMotions(views={"pi": PersistenceImage(size=16), "raw": Raw()}, batch_size=8)
    wide = Teacher(net=net(ndim=2, width=2), view="pi", mean=[0.0] * 6, std=[1.0] * 6)
    for cls in (FitNet, VID, AFD, AFDS, CRD):
        module = cls(net(ndim=2), {"pi": wide}, student_view="pi")
        trainer(tmp_path, max_steps=2, limit_val_batches=0).fit(module, data)
        assert all(p.isfinite().all() for p in module.parameters())
    borrowed = ReusedClassifier(net(ndim=2), net(ndim=2, width=2))
    trainer(tmp_path, max_steps=2).fit(SimKD(borrowed, {"pi": wide}, student_view="pi"), data)


def test_interpolation_is_torchs() -> None:
    """The rule that images share with windows: bilinear, between the centres of positions."""
    student, teachers = output(1, "2-D"), {"raw": output(2, "2-D", sizes=[(4, 4), (4, 4), (7, 6)])}
    objective = CAMKDObjective(feature_weight=1.0, resize="resample")
    own, other = objective._maps("raw", student, teachers["raw"])
    assert own.shape[2:] == other.shape[2:]
    expected = F.interpolate(student.features["stage3"], size=(7, 6), mode="bilinear", align_corners=False)
    assert torch.equal(own, expected)
