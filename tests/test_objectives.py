"""The contracts that every objective keeps, found by walking the subclasses, and what each one computes."""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

import kdlab.methods
from kdlab import citations, functional
from kdlab.methods.amd import AMD, AMDObjective
from kdlab.methods.annealing_kd import AnnealingKD
from kdlab.methods.at import AT, ATObjective
from kdlab.methods.ca_mkd import CAMKD
from kdlab.methods.dask import DASKObjective
from kdlab.methods.dist import DIST, DISTObjective
from kdlab.methods.distillation import Distillation
from kdlab.methods.dkd import DKD, DKDObjective
from kdlab.methods.eskd import ESKD
from kdlab.methods.full_kd import FullKD
from kdlab.methods.kd import KD
from kdlab.methods.logit_standardisation import LogitStandardisation, LogitStandardisationObjective
from kdlab.methods.made import Distilled
from kdlab.methods.mtkd_rl import MTKDRL, MTKDRLObjective
from kdlab.methods.pkt import PKT, PKTObjective
from kdlab.methods.review_kd import ReviewKD
from kdlab.methods.rkd import RKD, RKDObjective
from kdlab.methods.simkd import SimKD, SimKDObjective
from kdlab.methods.sp import SP, SPObjective
from kdlab.methods.teacher import Teacher
from kdlab.methods.tgd import TGD, TGDObjective
from kdlab.methods.topological_kd import TopologicalKD, TopologicalKDObjective
from kdlab.methods.tpkd import TPKD, TPKDObjective
from kdlab.nets import ReusedClassifier, WideResNet
from kdlab.nets.base import Backbone
from kdlab.objective import Objective
from kdlab.objectives import CrossEntropy, SoftTargets
from kdlab.types import InputError, Output
from tests import references as ref

for module in pkgutil.iter_modules(kdlab.methods.__path__):
    importlib.import_module(f"kdlab.methods.{module.name}")


def walk(cls: type[Objective]) -> Iterator[type[Objective]]:
    for sub in cls.__subclasses__():
        if sub.__module__.startswith("kdlab.") and not inspect.isabstract(sub):
            yield sub
        yield from walk(sub)


OBJECTIVES = sorted(set(walk(Objective)), key=lambda cls: cls.__name__)
TAPS = ("stage1", "stage2", "stage3")
SIZES = {"1-D": [(16,), (8,), (5,)], "2-D": [(8, 8), (6, 5), (4, 4)]}
each = pytest.mark.parametrize("cls", OBJECTIVES)
ranks = pytest.mark.parametrize("ndim", SIZES)


def output(seed: int, ndim: str = "1-D", batch: int = 8, channels: int = 3, classes: int = 4) -> Output:
    random = torch.Generator().manual_seed(seed)
    features = {
        tap: torch.randn(batch, channels * 2**i, *size, generator=random) * torch.linspace(0.2, 2, size[-1])
        for i, (tap, size) in enumerate(zip(TAPS, SIZES[ndim], strict=True))
    }
    features["embedding"] = torch.randn(batch, 4 * channels, generator=random)
    return Output(3 * torch.randn(batch, classes, generator=random), features)


def names(objective: Objective) -> list[str]:
    if getattr(objective, "map_teacher", None) is not None:
        return [objective.map_teacher]
    if isinstance(objective, MTKDRLObjective):  # its agent chooses between two and more
        return ["raw", "pi"]
    return list(getattr(objective, "weights", None) or ["raw"])


def teachers(objective: Objective, ndim: str = "1-D", batch: int = 8) -> dict[str, Output]:
    channels = 3 if isinstance(objective, SimKDObjective) else 5  # its projector has made them equal
    return {name: output(10 + i, ndim, batch, channels) for i, name in enumerate(names(objective))}


def learn(out: Output) -> Output:
    return Output(out.logits.clone().requires_grad_(), {k: v.clone().requires_grad_() for k, v in out.features.items()})


def tensors(out: Output) -> list[Tensor]:
    return [out.logits, *out.features.values()]


TARGET = torch.arange(8) % 4
MIXED = torch.randn(8, 4, generator=torch.Generator().manual_seed(3)).softmax(1)


def test_walk_finds_them() -> None:
    assert {CrossEntropy, SoftTargets, AMDObjective, TGDObjective, TPKDObjective} <= set(OBJECTIVES)
    assert {ATObjective, SPObjective, RKDObjective, PKTObjective, DKDObjective, DISTObjective} <= set(OBJECTIVES)
    assert {LogitStandardisationObjective, TopologicalKDObjective} <= set(OBJECTIVES)


#: terms of windows without a label, of which there are none here
OF_UNLABELLED = ("pseudo",)


@each
@ranks
@pytest.mark.parametrize("target", [TARGET, MIXED], ids=["indices", "probabilities"])
def test_terms(cls: type[Objective], ndim: str, target: Tensor) -> None:
    objective = cls()
    student, others = learn(output(1, ndim)), {k: learn(v) for k, v in teachers(objective, ndim).items()}
    objective.check(batch_size=8, teachers=others)
    terms = objective(student=student, teachers=others, target=target)
    assert next(iter(terms)) == "ce"
    for name, term in terms.items():
        assert term.shape == (), name
        assert term.dtype == torch.float32, name
        assert term.isfinite(), name
        assert term > 0 or objective.settings()[f"{name}_weight"] == 0 or name in OF_UNLABELLED, name
    torch.stack(list(terms.values())).sum().backward()
    assert student.logits.grad is not None
    for tap in objective.taps:
        grad = student.features[tap].grad
        assert grad is not None
        assert grad.isfinite().all()
        assert grad.abs().max() > 0
    assert all(t.grad is None for other in others.values() for t in tensors(other))
    again = objective(student=output(2, ndim), teachers=teachers(objective, ndim), target=TARGET)
    assert list(again) == list(terms)


@each
@ranks
def test_zero_when_equal_and_order(cls: type[Objective], ndim: str) -> None:
    objective = cls()
    student, others = output(1, ndim), teachers(objective, ndim)
    if objective.zero_when_equal:
        equal = cls()(student=student, teachers=dict.fromkeys(others, student), target=TARGET)
        assert all(abs(float(term)) < 1e-6 for name, term in equal.items() if name != "ce"), equal
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])

    def mixed(out: Output) -> Output:
        return Output(out.logits[order], {k: v[order] for k, v in out.features.items()})

    before = objective(student=student, teachers=others, target=TARGET)
    after = objective(student=mixed(student), teachers={k: mixed(v) for k, v in others.items()}, target=TARGET[order])
    same = all(float(after[name]) == pytest.approx(float(before[name]), rel=1e-5) for name in before)
    assert same == objective.order_invariant
    assert bool(objective.reason) == (not (objective.order_invariant and objective.zero_when_equal))


@pytest.mark.parametrize(
    ("cls", "ndim"), [(c, n) for c in OBJECTIVES for n in SIZES if n == "1-D" or c.reads == "attention"]
)
def test_compiles_without_a_break(cls: type[Objective], ndim: str) -> None:
    objective, student, others = cls(), learn(output(1, ndim)), teachers(cls(), ndim)
    objective.adapt(student=student, teachers=others)
    torch._dynamo.reset()
    compiled = torch.compile(objective, fullgraph=True, backend="eager")
    terms = compiled(student=student, teachers=others, target=TARGET)
    torch.stack(list(terms.values())).sum().backward()
    plain = learn(output(1, ndim))
    expected = objective(student=plain, teachers=others, target=TARGET)
    torch.stack(list(expected.values())).sum().backward()
    assert list(terms) == list(expected)
    for name, term in terms.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=1e-6), name
    for ours, theirs in zip(tensors(student), tensors(plain), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad)


@each
def test_compiles_for_sizes_that_change(cls: type[Objective]) -> None:
    """What torch does after the second size of a batch: sizes are no constants of the program."""
    objective, student, others = cls(), output(1), teachers(cls())
    objective.adapt(student=student, teachers=others)
    torch._dynamo.reset()
    compiled = torch.compile(objective, fullgraph=True, backend="eager", dynamic=True)
    assert compiled(student=student, teachers=others, target=TARGET).keys()


@each
@ranks
def test_half_precision_and_double(cls: type[Objective], ndim: str) -> None:
    objective = cls()

    def cast(out: Output, dtype: torch.dtype) -> Output:
        return Output(out.logits.to(dtype), {k: v.to(dtype) for k, v in out.features.items()})

    student, others = output(1, ndim), teachers(objective, ndim)
    expected = objective(student=student, teachers=others, target=TARGET)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = objective(student=student, teachers=others, target=TARGET)
        low = learn(cast(student, torch.bfloat16))
        terms = objective(student=low, teachers={k: cast(v, torch.bfloat16) for k, v in others.items()}, target=TARGET)
    assert mixed == expected
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(t.grad is None or t.grad.isfinite().all() for t in tensors(low))
    objective.adapters.double()
    double = objective(
        student=cast(student, torch.float64),
        teachers={k: cast(v, torch.float64) for k, v in others.items()},
        target=TARGET,
    )
    assert all(term.dtype == torch.float64 for term in double.values())
    for name, term in double.items():
        assert float(term) == pytest.approx(float(expected[name]), rel=1e-4), name


#: options by which features are reduced in another way
REDUCED: tuple[dict[str, Any], ...] = ({}, {"pooled": True}, {"tap": "stage3"})


def reductions(cls: type[Objective]) -> list[dict[str, Any]]:
    """Those that an objective has; DASK compares vectors alone."""
    has = [options for options in REDUCED if options.keys() <= cls.declared().keys()]
    return [options for options in has if cls is not DASKObjective or "tap" not in options]


@pytest.mark.parametrize(("cls", "options"), [(cls, options) for cls in OBJECTIVES for options in reductions(cls)])
def test_half_precision_is_promoted_before_anything_is_computed(cls: type[Objective], options: dict[str, Any]) -> None:
    """Features far from 0, whose means half precision would round, are those of the same values in float32."""
    given = cls(**options)

    def rounded(out: Output, dtype: torch.dtype) -> Output:
        near = Output(out.logits, {name: value / 8 + 10 for name, value in out.features.items()})
        return Output(near.logits.bfloat16().to(dtype), {k: v.bfloat16().to(dtype) for k, v in near.features.items()})

    student, others = output(1), teachers(given)
    given.adapt(student=student, teachers=others)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        objective = copy.deepcopy(given)
        objective.advance(3, 8, step=2, epochs=20)
        taught = {name: rounded(out, dtype) for name, out in others.items()}
        found.append(objective(student=rounded(student, dtype), teachers=taught, target=TARGET))
    low, full = found
    for name, term in full.items():
        assert float(low[name]) == pytest.approx(float(term), rel=1e-5, abs=1e-7), name


@each
def test_dead_features(cls: type[Objective]) -> None:
    objective = cls()
    dead = learn(Output(torch.zeros(8, 4), {k: torch.zeros_like(v) for k, v in output(1).features.items()}))
    terms = objective(student=dead, teachers=teachers(objective), target=TARGET)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    assert loss.isfinite()
    assert all(t.grad is None or t.grad.isfinite().all() for t in tensors(dead))


@each
def test_settings_are_buffers_that_are_set_and_not_saved(cls: type[Objective]) -> None:
    objective = cls()
    assert not objective.state_dict()
    assert set(objective.settings()) == {name for name, b in objective.named_buffers() if b.ndim == 0}
    for name, value in objective.settings().items():
        assert value.shape == ()
        assert value.dtype == torch.float32
        objective.set(name, 0.5)
        assert objective.settings()[name] is value
        assert float(value) == 0.5
        with pytest.raises(InputError, match=name):
            objective.set(name, -1.0)
        with pytest.raises(InputError, match=name):
            objective.set(name, float("nan"))
    with pytest.raises(InputError, match="but got 'gamma'"):
        objective.set("gamma", 1.0)
    twin = copy.deepcopy(objective)
    assert twin.settings().keys() == objective.settings().keys()
    objective.to(torch.bfloat16)
    assert all(b.dtype == torch.float32 for b in objective.settings().values())


@each
@ranks
def test_nothing_waits_for_a_device(cls: type[Objective], ndim: str) -> None:
    """On the meta device, where reading a number raises and no tensor may be left behind."""
    objective = cls()

    def move(out: Output) -> Output:
        return Output(out.logits.to("meta"), {k: v.to("meta") for k, v in out.features.items()})

    objective.adapt(student=output(1, ndim), teachers=teachers(objective, ndim))
    objective.to("meta").advance(3, 8, step=2, epochs=20)
    others = {k: move(v) for k, v in teachers(objective, ndim).items()}
    for _ in range(2):
        terms = objective(student=learn(move(output(1, ndim))), teachers=others, target=TARGET.to("meta"))
        assert all(term.is_meta for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    for name in objective.settings():
        objective.set(name, 0.5)


@pytest.mark.gpu
@each
def test_no_synchronisation(cls: type[Objective]) -> None:
    objective = cls().cuda()

    def move(out: Output) -> Output:
        return Output(out.logits.cuda(), {k: v.cuda() for k, v in out.features.items()})

    student, target = learn(move(output(1))), TARGET.cuda()
    others = {k: move(v) for k, v in teachers(objective).items()}
    objective(student=student, teachers=others, target=target)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for name in objective.settings():
            objective.set(name, 0.5)
        terms = objective(student=student, teachers=others, target=target)
        torch.stack(list(terms.values())).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = copy.deepcopy(objective).cpu()(student=output(1), teachers=teachers(objective), target=TARGET)
    for name, term in terms.items():
        assert float(term) == pytest.approx(float(expected[name]), rel=1e-3), name


# ------------------------------------------------------------------------------------------------- what each computes


def array(x: Tensor) -> np.ndarray:
    return x.double().numpy()


def test_soft_targets_value() -> None:
    student, others = output(1), {"a": output(2), "b": output(3)}
    logits = array(student.logits)
    ce = ref.cross_entropy(logits, TARGET.numpy())
    kd = {k: ref.soft_target_kl(logits, array(v.logits), 2.0).mean() for k, v in others.items()}
    equal = SoftTargets(temperature=2.0, kd_weight=0.75)(student=student, teachers=others, target=TARGET)
    assert float(equal["ce"]) == pytest.approx(0.25 * ce, rel=1e-5)
    assert float(equal["kd"]) == pytest.approx(0.75 * (kd["a"] + kd["b"]) / 2, rel=1e-5)
    weighted = SoftTargets(temperature=2.0, kd_weight=0.75, weights={"b": 0.9, "a": 0.1}, kl_reduction="mean")(
        student=student, teachers=others, target=TARGET
    )
    assert float(weighted["kd"]) == pytest.approx(0.75 * (0.1 * kd["a"] + 0.9 * kd["b"]) / 4, rel=1e-5)


@ranks
def test_amd_value(ndim: str) -> None:
    student, raw, other = output(1, ndim), output(2, ndim, channels=5), output(3, "2-D")
    values = [ref.angular_margin(array(student.features[t]), array(raw.features[t])) for t in TAPS]
    terms = AMDObjective()(student=student, teachers={"raw": raw}, target=TARGET)
    assert float(terms["margin"]) == pytest.approx(5000 * sum(values) / 3, rel=1e-4)
    both = AMDObjective(map_teacher="raw", taps=("stage2",), margin_weight=3.0)
    both.check(batch_size=8, teachers=["pi", "raw"])
    terms = both(student=student, teachers={"pi": other, "raw": raw}, target=TARGET)
    assert float(terms["margin"]) == pytest.approx(3 * values[1], rel=1e-4)
    kd = [ref.soft_target_kl(array(student.logits), array(t.logits)).mean() for t in (raw, other)]
    assert float(terms["kd"]) == pytest.approx(0.9 * sum(kd) / 2, rel=1e-5)


def test_amd_weights_labels_separately_where_ce_weight_is_given() -> None:
    student, raw = output(1), output(2)
    halves = AMDObjective(kd_weight=0.5)(student=student, teachers={"raw": raw}, target=TARGET)
    ones = AMDObjective(kd_weight=1.0, ce_weight=1.0)(student=student, teachers={"raw": raw}, target=TARGET)
    assert float(ones["ce"]) == pytest.approx(2 * float(halves["ce"]))
    assert float(ones["kd"]) == pytest.approx(2 * float(halves["kd"]))
    assert float(ones["margin"]) == pytest.approx(float(halves["margin"]))
    assert "ce_weight" not in AMDObjective().settings()
    with pytest.raises(InputError, match=r"ce_weight.*-1"):
        AMDObjective(ce_weight=-1.0)


@pytest.mark.parametrize("merge", ["raw", "normalised"])
def test_tgd_value(merge: str) -> None:
    student, others = output(1), {"raw": output(2), "pi": output(3, "2-D", channels=5)}
    weights = {"raw": 0.99, "pi": 0.01}
    objective = TGDObjective(merge=merge)
    terms = objective(student=student, teachers=others, target=TARGET)
    values = [
        ref.merged_similarity(
            array(student.features[tap]), {k: array(v.features[tap]) for k, v in others.items()}, weights, merge
        )
        for tap in TAPS
    ]
    assert float(terms["similarity"]) == pytest.approx(1000 * sum(values), rel=1e-4)
    assert {k: round(float(v), 6) for k, v in objective.settings().items()} == {
        "temperature": 4.0,
        "kd_weight": 0.9,
        "similarity_weight": 3000.0,
    }


@pytest.mark.parametrize("oth", ["rows", "square", "sp"])
def test_tpkd_value(oth: str) -> None:
    student, others = output(1), {"raw": output(2), "pi": output(3, "2-D", channels=5)}
    weights = {"raw": 0.7, "pi": 0.3}
    terms = TPKDObjective(oth=oth, taps=("stage1", "stage3"))(student=student, teachers=others, target=TARGET)
    values = []
    for tap in ("stage1", "stage3"):
        own, theirs = array(student.features[tap]), {k: array(v.features[tap]) for k, v in others.items()}
        if oth == "sp":
            values.append(ref.merged_similarity(own, theirs, weights))
        else:
            values.append(ref.orthogonal_similarity(own, theirs, weights, 4, oth))
    assert float(terms["similarity"]) == pytest.approx(350 * sum(values), rel=1e-4)
    assert float(terms["ce"]) == pytest.approx(0.3 * ref.cross_entropy(array(student.logits), TARGET.numpy()), rel=1e-5)


REFUSED: dict[str, tuple[Any, str]] = {
    "temperature": (lambda: SoftTargets(temperature=0.0), "temperature.*0.0"),
    "kd_weight": (lambda: SoftTargets(kd_weight=1.5), "kd_weight.*from 0 to 1.*1.5"),
    "weights": (lambda: SoftTargets(weights={"raw": -1.0}), "weights.*-1.0"),
    "zero weights": (lambda: SoftTargets(weights={"raw": 0.0}), "weights"),
    "reduction": (lambda: SoftTargets(kl_reduction="sum"), "kl_reduction.*'sum'"),
    "gamma": (lambda: TGDObjective(similarity_weight=-1.0), "similarity_weight.*-1"),
    "merge": (lambda: TGDObjective(merge="mean"), "merge.*'mean'"),
    "taps": (lambda: TGDObjective(taps=()), "taps"),
    "taps twice": (lambda: AMDObjective(taps=("stage1", "stage1")), "taps.*stage1"),
    "beta": (lambda: TPKDObjective(similarity_weight=float("inf")), "similarity_weight.*inf"),
    "patches": (lambda: TPKDObjective(patches=0), "patches must be a whole number.* at least 1.*0"),
    "oth": (lambda: TPKDObjective(oth="columns"), "oth must be 'rows' or .*'columns'"),
    "margin": (lambda: AMDObjective(margin=0.0), "margin must be above 0 and finite, but got 0.0"),
    "margin_weight": (lambda: AMDObjective(margin_weight=-1.0), "margin_weight.*-1"),
    "local": (lambda: AMDObjective(local_weight=2.0), "local_weight must be from 0 to 1, but got 2.0"),
    "no teacher": (lambda: SoftTargets().check(batch_size=8, teachers=[]), "at least one teacher"),
    "names": (lambda: TGDObjective().check(batch_size=8, teachers=["raw"]), r"\['raw'\].*\['pi', 'raw'\]"),
    "pairs": (
        lambda: TGDObjective().check(batch_size=1, teachers=["raw", "pi"]),
        "batch_size must be at least 2.*but got 1",
    ),
    "divides": (lambda: TPKDObjective().check(batch_size=10, teachers=["raw", "pi"]), "patches=4.*10 windows"),
    "single rows": (lambda: TPKDObjective().check(batch_size=4, teachers=["raw", "pi"]), "two rows.*4 windows"),
    "map teacher": (
        lambda: AMDObjective().check(batch_size=8, teachers=["raw", "pi"]),
        r"map_teacher.*\['pi', 'raw'\]",
    ),
    "map teacher name": (
        lambda: AMDObjective(map_teacher="gaf").check(batch_size=8, teachers=["raw"]),
        r"map_teacher.*\['raw'\].*'gaf'",
    ),
    "forward names": (
        lambda: TGDObjective()(student=output(1), teachers={"raw": output(2)}, target=TARGET),
        r"\['raw'\].*\['pi', 'raw'\]",
    ),
    "tap": (
        lambda: AMDObjective(taps=("layer4",))(student=output(1), teachers={"raw": output(2)}, target=TARGET),
        "the student has no tap 'layer4'.*'stage1'",
    ),
    "batch": (
        lambda: TGDObjective(weights={"raw": 1.0})(
            student=output(1), teachers={"raw": Output(output(2).logits, output(2, batch=4).features)}, target=TARGET
        ),
        r"\(8, 3, 16\).*'raw'.*\(4, 3, 16\)",
    ),
    "target": (lambda: CrossEntropy()(student=output(1), teachers={}, target=TARGET[:4]), r"\(8, 4\).*\(4,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        call()


def test_check_accepts_what_works() -> None:
    TPKDObjective().check(batch_size=8, teachers=["pi", "raw"])
    TPKDObjective(oth="sp").check(batch_size=10, teachers=["pi", "raw"])
    TPKDObjective().check(batch_size=None, teachers=["pi", "raw"])
    CrossEntropy().check(batch_size=1, teachers=[])


# ----------------------------------------------------------------------------------------------------------- methods


def net(ndim: int = 1) -> WideResNet:
    return WideResNet(10, 1, ndim, in_channels=3, num_classes=4)


def walk_methods(cls: type[Distillation]) -> Iterator[type[Distillation]]:
    for sub in cls.__subclasses__():
        if sub.__module__.startswith("kdlab.") and sub is not Distilled:
            yield sub
        yield from walk_methods(sub)


METHODS = sorted(set(walk_methods(Distillation)), key=lambda cls: cls.__name__)
each_method = pytest.mark.parametrize("method", METHODS)
#: arguments of a method that its objective has not, for what the method itself does
ITS_OWN = {AnnealingKD: {"regression_epochs", "t_max"}}
#: fields of its objective that a method sets itself
FIXED = {AnnealingKD: {"kd_weight", "factor"}, CAMKD: {"first_epoch"}}
#: fields of its objective that have another default in the method
OTHER_DEFAULT = {DKD: {"warm_up": 20}, ReviewKD: {"warm_up": 20}, MTKDRL: {"equal_epochs": 1}}


def student(method: type[Distillation]) -> Backbone:
    return ReusedClassifier(net(), net()) if method is SimKD else net()


def build(method: type[Distillation], **arguments: Any) -> Distillation:
    roles = names(method(student(method), {"raw": Teacher(net=net())}).objective)
    nets = {name: Teacher(net=net(2 if name == "pi" else 1), view=name) for name in roles}
    return method(student(method), nets, student_view="raw", **arguments)


def arguments_of(cls: type) -> dict[str, Any]:
    return {k: p.default for k, p in inspect.signature(cls.__init__).parameters.items() if k != "self"}


def test_walk_finds_methods() -> None:
    assert {KD, ESKD, FullKD, AMD, TGD, TPKD, AT, SP, RKD, PKT, DKD, DIST} <= set(METHODS)
    assert {LogitStandardisation, TopologicalKD} <= set(METHODS)
    public = set(kdlab.__all__)
    assert all(method.__name__ in public and method.__name__ in kdlab.methods.__all__ for method in METHODS)


@each_method
def test_methods_build_their_objective(method: type[Distillation]) -> None:
    known = arguments_of(method)
    chosen: dict[str, Any] = {k: 0.25 for k in build(method).objective.settings() if k in known}
    chosen |= {"kl_reduction": "mean"} if "kl_reduction" in known else {}
    module = build(method, **chosen)
    for name, value in chosen.items():
        assert getattr(module.objective, name) == value, name
    assert type(module.objective) in OBJECTIVES
    views = {"raw": torch.randn(8, 3, 24), "pi": torch.randn(8, 3, 16, 16)}
    answers = {name: teacher.load()(views[name]) for name, teacher in module.named_teachers()}
    terms = module.objective(student=module.student(views["raw"]), teachers=answers, target=TARGET)
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.student.parameters() if p.requires_grad)


@each_method
def test_methods_have_the_arguments_of_their_objective(method: type[Distillation]) -> None:
    ours, shared, fields = (arguments_of(cls) for cls in (method, Distillation, type(build(method).objective)))
    assert {k: v for k, v in shared.items() if k != "objective"}.items() <= ours.items()
    assert set(ours) - set(shared) - set(fields) == ITS_OWN.get(method, set())
    assert set(fields) - set(ours) == FIXED.get(method, set())
    assert {k: ours[k] for k in fields if k in ours and ours[k] != fields[k]} == OTHER_DEFAULT.get(method, {})


@each_method
def test_command_line_sees_all_arguments(method: type[Distillation]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    added = set(parser.add_class_arguments(method, "model"))
    assert {"model.student_view", "model.optimizer", "model.scheduler", "model.student_init"} <= added
    assert {f"model.{name}" for name in arguments_of(method) if name != "kwargs"} <= added
    assert "model.objective" not in added


@each
def test_objectives_cite_their_paper(cls: type[Objective]) -> None:
    if cls is not CrossEntropy:
        assert cls.paper
    entries = citations.bibtex(cls.paper)
    assert all(f"{{{key}," in entries for key in cls.paper)


@each_method
def test_a_run_cites_all_that_it_used(method: type[Distillation]) -> None:
    module = build(method)
    cited = citations.papers(module.modules())
    unused = {"hinton2015distilling"} if module.objective.settings().get("kd_weight") == 0 else set()
    assert set(type(module.objective).paper) - unused <= set(cited)
    assert not unused & set(cited)
    assert set(getattr(method, "paper", ())) <= set(cited)
    assert citations.bibtex(cited).count("@") == len(cited)


def test_entries_are_whole() -> None:
    for key, entry in citations.BIBTEX.items():
        assert re.fullmatch(
            r"@(article|inproceedings|misc)\{" + key + r",\n(  [^\n]+\n)+\}", re.sub(r"\n    ", " ", entry)
        ), key
        fields = re.findall(r"^  (\w+) = \{", entry, re.M)
        assert {"title", "author", "year"} < set(fields)
        assert len(set(fields)) == len(fields)
        assert entry.count("{") == entry.count("}")
    with pytest.raises(InputError, match="'nobody2020'"):
        citations.bibtex(["nobody2020"])


def test_teachers_by_provenance() -> None:
    early, full = ({"stopped_early": flag, "epoch": 3, "max_epochs": 9} for flag in (True, False))
    for provenance in (early, full, {}, {"stopped_early": None}):
        build(KD).check_teacher("raw", provenance)
    for provenance in (early, {}, {"stopped_early": None}):
        build(ESKD).check_teacher("raw", provenance)
    for provenance in (full, {}, {"stopped_early": None}):
        build(FullKD).check_teacher("raw", provenance)
    with pytest.raises(InputError, match=r"'raw' was not stopped early.*3 of 9.*EarlyStoppedTeacher"):
        build(ESKD).check_teacher("raw", full)
    with pytest.raises(InputError, match=r"'raw' was stopped early.*teacher-full.ckpt"):
        build(FullKD).check_teacher("raw", early)
    assert FullKD.teacher_files == ("teacher-full.ckpt", "last.ckpt")
    assert ESKD.teacher_files == KD.teacher_files == ("teacher.ckpt", "best.ckpt")


def test_objective_and_function_agree_on_one_tap() -> None:
    student, other = output(1), output(2)
    terms = TGDObjective(similarity_weight=1.0, weights={"raw": 1.0}, taps=("stage2",))(
        student=student, teachers={"raw": other}, target=TARGET
    )
    assert terms["similarity"] == functional.similarity_preserving(student.features["stage2"], other.features["stage2"])
