"""SAKDN: the coupled teachers, the ablation maps and the terms, each against its equation; and both through a fit."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from kdlab import SAKDN, SAKDNTeacher, Teacher, TeacherCache, functional
from kdlab.callbacks import EarlyStoppedTeacher
from kdlab.data import UTDMHAD, BasicMotions
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.class_embeddings import read_embeddings
from kdlab.methods.sakdn_objective import SAKDNObjective
from kdlab.methods.sakdn_teacher import SAKDNTeacherObjective
from kdlab.nets import SPAMFM, SensorFusion, WideResNet, build
from kdlab.types import InputError, MissingFileError, Output
from kdlab.views import GramianAngularField, Raw
from tests import references as ref
from tests.conftest import net, trainer
from tests.fixtures import write_utdmhad

Array = NDArray[np.float64]
GROUPS = {"acc": 3, "gyro": 3}
TARGET = torch.arange(8) % 4
TAPS = ("stage1", "stage2", "stage3")
TABLE = torch.randn(4, 6, generator=torch.Generator().manual_seed(9)) + 0.05


def array(x: Tensor) -> Array:
    return x.detach().double().numpy()


# ------------------------------------------------------------------------------------------------------------- SPAMFM
def gated(features: list[Array], module: SPAMFM) -> list[Array]:
    """The equation, sample by sample."""
    codes = []
    for feature in features:
        batch = len(feature)
        inner = [[float((feature[i] * feature[j]).sum()) for j in range(batch)] for i in range(batch)]
        pooled = feature.reshape(batch, feature.shape[1], -1).mean(2)
        mixed = np.zeros_like(pooled)
        for i in range(batch):
            length = math.sqrt(sum(v * v for v in inner[i]))
            for j in range(batch):
                mixed[i] += inner[i][j] / length * pooled[j]
        codes.append(mixed)
    out = []
    for m, feature in enumerate(features):
        result = np.zeros_like(feature)
        for i in range(len(feature)):
            three = (
                np.concatenate([code[i] for code in codes]),
                sum(code[i] for code in codes),
                np.prod([code[i] for code in codes], axis=0),
            )
            gate = np.zeros(feature.shape[1])
            for code, layers in zip(three, module.gates[m], strict=True):
                (w1, b1), (w2, b2) = ((array(layers[k].weight), array(layers[k].bias)) for k in (0, 2))
                gate += 1 / (1 + np.exp(-(w2 @ np.maximum(w1 @ code + b1, 0) + b2)))
            for c in range(feature.shape[1]):
                result[i, c] = feature[i, c] * gate[c]
        out.append(result)
    return out


@pytest.mark.parametrize("sensors", [1, 2, 3])
@pytest.mark.parametrize("size", [(), (7,), (3, 4)], ids=["vector", "1-D", "2-D"])
def test_gates_are_those_of_the_equation(sensors: int, size: tuple[int, ...]) -> None:
    torch.manual_seed(sensors)
    module = SPAMFM(8, sensors).double()
    features = [torch.randn(5, 8, *size, dtype=torch.float64) for _ in range(sensors)]
    for ours, theirs in zip(module(features), gated([array(f) for f in features], module), strict=True):
        np.testing.assert_allclose(array(ours), theirs, rtol=1e-10)
    assert module.gates[0][0][0].weight.shape == (sensors * 2, sensors * 8)  # a quarter of the code
    assert module.gates[0][1][0].weight.shape == (2, 8)


def test_gates_read_the_batch_in_full_precision() -> None:
    module = SPAMFM(4, 2)
    features = [100 * torch.randn(6, 4, 5000) for _ in range(2)]  # inner products beyond half precision
    with torch.autocast("cpu", torch.bfloat16):
        low = module([f.bfloat16() for f in features])
    full = module([f.bfloat16().float() for f in features])
    for a, b in zip(low, full, strict=True):
        assert a.isfinite().all()
        assert a.sub(b).abs().max() < 0.05 * b.abs().max()
    dead = module([torch.zeros(3, 4, 5), torch.zeros(3, 4, 5, requires_grad=True)])
    assert all(not part.any() for part in dead)


def test_a_dead_sample_sends_no_gradient_that_breaks_the_others() -> None:
    torch.manual_seed(0)
    module, dead, other = SPAMFM(4, 2), torch.randn(5, 4), torch.randn(5, 4, requires_grad=True)
    dead[2] = 0
    dead.requires_grad_()
    torch.stack([part.square().sum() for part in module([dead, other])]).sum().backward()
    assert dead.grad is not None
    assert dead.grad.abs().max() < 1e3
    assert dead.grad[[0, 1, 3, 4]].abs().amin(1).min() > 0


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([torch.zeros(2, 4, 5)], r"features must be 2 with 4 channels.*\(2, 4, 5\)"),
        ([torch.zeros(2, 4, 5), torch.zeros(2, 3, 5)], r"\(2, 3, 5\)"),
    ],
)
def test_gates_refuse(features: list[Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SPAMFM(4, 2)(features)
    with pytest.raises(InputError, match="reduction must be at least 1"):
        SPAMFM(4, 2, 0)


# -------------------------------------------------------------------------------------------------------- SensorFusion
def fusion(ndim: int = 1, **arguments: Any) -> SensorFusion:
    return SensorFusion(**{"groups": GROUPS, "depth": 10, "ndim": ndim, "num_classes": 4, **arguments})


def windows(ndim: int, count: int = 6, channels: int = 6) -> Tensor:
    return torch.randn(count, channels, *(16,) * ndim, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("ndim", [1, 2])
def test_fusion_answers_with_the_taps_of_every_sensor(ndim: int) -> None:
    torch.manual_seed(0)
    module = fusion(ndim, width=2, semantic_size=5).eval()
    x = windows(ndim)
    out = module(x)
    for i, side in enumerate((16, 8, 4)):
        for sensor in GROUPS:
            assert out.features[f"{sensor}/stage{i + 1}"].shape == (6, 32 * 2**i, *(side,) * ndim)
        both = torch.cat([out.features[f"{sensor}/stage{i + 1}"] for sensor in GROUPS], 1)
        assert both.equal(out.features[f"stage{i + 1}"])
    for sensor in GROUPS:
        assert out.features[f"{sensor}/embedding"].shape == (6, 128)
        assert out.features[f"{sensor}/semantic"].shape == (6, 5)
    mean = (out.features["acc/logits"] + out.features["gyro/logits"]) / 2
    torch.testing.assert_close(out.logits, mean)
    assert list(out.features)[-1] == "embedding"
    assert out.features["embedding"].shape == (6, 10)
    torch.testing.assert_close(module.classify(out.features["stage3"]), out.logits)
    module.memory_format = "contiguous"
    torch.testing.assert_close(module(x).logits, out.logits, rtol=1e-4, atol=1e-5)
    again = build(module.spec)
    again.load_state_dict(module.state_dict())
    assert again.eval()(x).logits.sub(out.logits).abs().max() < 1e-5


def test_branches_are_wide_residual_networks_between_gates() -> None:
    """With gates that are all 1 the logits are those of a WideResNet a sensor, behind the semantic layer."""
    torch.manual_seed(0)
    module, x = fusion().eval(), windows(1)
    for one in module.fusion:
        for parameter in one.parameters():
            nn.init.zeros_(parameter)
        for gates in one.gates:
            for gate in gates:
                gate[2].bias.data.fill_(math.log(1 / 2))  # a sigmoid of 1/3
    out = module(x)
    for sensor, part in zip(GROUPS, (x[:, :3], x[:, 3:]), strict=True):
        plain = WideResNet(10, 1, in_channels=3, num_classes=4).eval()
        plain.stem, plain.norm = module.stems[sensor], module.norms[sensor]
        plain.stages = nn.ModuleList(stage[sensor] for stage in module.stages)
        expected = plain(part).features
        for tap in (*TAPS, "embedding"):
            torch.testing.assert_close(out.features[f"{sensor}/{tap}"], expected[tap], rtol=1e-4, atol=1e-5)
        semantic = module.semantic[sensor](expected["embedding"])
        torch.testing.assert_close(out.features[f"{sensor}/semantic"], semantic, rtol=1e-4, atol=1e-5)


def test_an_answer_depends_on_the_batch_and_not_on_its_order() -> None:
    torch.manual_seed(0)
    module, x = fusion().eval(), windows(1)
    whole, order = module(x).logits, torch.tensor([3, 1, 5, 0, 2, 4])
    assert module(x[:3]).logits.sub(whole[:3]).abs().max() > 1e-4
    torch.testing.assert_close(module(x[order]).logits, whole[order], rtol=1e-4, atol=1e-5)
    assert module.batch_relational


@pytest.mark.parametrize("ndim", [1, 2])
def test_fusion_compiles_without_a_break(ndim: int) -> None:
    torch.manual_seed(0)
    module, x = fusion(ndim).eval(), windows(ndim)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x).logits, module(x).logits)


def test_everything_in_it_learns_but_the_class_embeddings() -> None:
    torch.manual_seed(0)
    module = fusion(semantic_size=16)
    module(windows(1)).logits.square().sum().backward()
    still = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert still == ["class_embeddings"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": {}}, "at least one channel"),
        ({"groups": {"acc": 0}}, r"\{'acc': 0\}"),
        ({"groups": {"keys": 3}}, "keys"),
        ({"groups": {"left arm": 3}}, "left arm"),
        ({"in_channels": 7}, r"sum of the groups, 6 .*but got 7"),
        ({"semantic_size": 0}, "semantic_size.*0"),
        ({"depth": 12}, "6 n"),
    ],
)
def test_fusion_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fusion(**arguments)


# ------------------------------------------------------------------------------------------------- weights of meaning
@pytest.mark.parametrize("kind", ["cosine", "relative"])
def test_semantic_weight(kind: Any) -> None:
    prediction, ablated = torch.tensor([0, 1, 2, 3]), torch.tensor([2, 1, 3, 0])
    table, expected = array(TABLE), []
    for p, a in zip(prediction.tolist(), ablated.tolist(), strict=True):
        real, other = table[p], table[a]
        if kind == "cosine":
            expected.append(1 - real @ other / math.sqrt(real @ real) / math.sqrt(other @ other))
        else:  # as released
            expected.append(float(np.mean((real - other) / real)))
    ours = functional.semantic_weight(prediction, ablated, TABLE.double(), kind)
    np.testing.assert_allclose(array(ours), expected, rtol=1e-10, atol=1e-12)
    one = functional.semantic_weight(prediction, torch.tensor([2]), TABLE.double(), kind)
    assert one[2].abs() < 1e-12
    assert one[0] == ours[0]


def test_semantic_weight_of_one_hot_embeddings() -> None:
    prediction, ablated = torch.tensor([0, 1, 2, 3]), torch.tensor([1])
    weight = functional.semantic_weight(prediction, ablated)
    assert weight.tolist() == [1, 0, 1, 1]
    torch.testing.assert_close(weight, functional.semantic_weight(prediction, ablated, torch.eye(4)))
    with pytest.raises(InputError, match=r"one-hot embeddings have zeros.*'cosine'"):
        functional.semantic_weight(prediction, ablated, kind="relative")
    with pytest.raises(InputError, match="'other'"):
        functional.semantic_weight(prediction, ablated, kind="other")  # type: ignore[arg-type]


def test_semantic_weight_near_zero_stays_finite() -> None:
    table = torch.tensor([[1e-30, 1.0], [1.0, 1.0]])
    weight = functional.semantic_weight(torch.tensor([0, 1]), torch.tensor([1, 0]), table, "relative")
    assert weight.isfinite().all()
    assert weight[0] == -5e5
    functional.check_embeddings(table, "relative")
    for wrong, message in (
        (torch.eye(3), "6 of 9 are 0"),
        (torch.tensor([[1.0, float("nan")]]), "NaN"),
        (torch.ones(3), r"\(3,\)"),
    ):
        with pytest.raises(InputError, match=message):
            functional.check_embeddings(wrong, "relative")


# --------------------------------------------------------------------------------------------------------------- maps
def ablation_map(feature: Array, weight: Array) -> Array:
    out = np.zeros((len(feature), *feature.shape[2:]))
    for i in range(len(feature)):
        for position in np.ndindex(*feature.shape[2:]):
            out[(i, *position)] = max(0.0, weight[i] * sum(float(c[position]) for c in feature[i]))
    return out


def between(values: Array, size: int) -> Array:
    """Linear interpolation of one axis at the centres of ``size`` equal parts."""
    ratio = len(values) / size
    out = []
    for i in range(size):
        at = max((i + 0.5) * ratio - 0.5, 0.0)
        left = min(math.floor(at), len(values) - 1)
        right, part = min(left + 1, len(values) - 1), at - left
        out.append((1 - part) * values[left] + part * values[right])
    return np.array(out)


def resized(maps: Array, size: tuple[int, ...]) -> Array:
    for axis, side in enumerate(size, start=1):
        if maps.shape[axis] != side:
            maps = np.apply_along_axis(between, axis, maps, side)
    return maps


def ablation_distance(student: Array, teacher: Array, collapse: bool = False) -> float:
    def normal(maps: Array) -> Array:
        maps = maps - maps.min()
        return maps / maps.max() if maps.max() > 0 else maps  # as published, over the whole batch

    own, other = normal(student), normal(teacher)
    if collapse:
        other = other.mean(1)
    size = tuple(min(a, b) for a, b in zip(own.shape[1:], other.shape[1:], strict=True))
    own, other = resized(own, size), resized(other, size)
    total, count = 0.0, 0
    for i in range(len(own)):
        for rest in np.ndindex(*own.shape[2:]):  # the norm runs along the first axis of positions
            a, b = own[(i, slice(None), *rest)], other[(i, slice(None), *rest)]
            total += float(((ref.unit(a) - ref.unit(b)) ** 2).sum())
            count += len(a)
    return total / count


SHAPES = [((16,), (16,)), ((8,), (20,)), ((20,), (8,)), ((6, 5), (6, 5)), ((4, 6), (9, 9)), ((8, 8), (5, 3))]


@pytest.mark.parametrize(("own", "other"), SHAPES)
def test_maps_and_their_distance(own: tuple[int, ...], other: tuple[int, ...]) -> None:
    random = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(5, 3, *own, generator=random), torch.randn(5, 4, *other, generator=random) + 0.1
    student, teacher = student.double().requires_grad_(), teacher.double().requires_grad_()
    weights = torch.tensor([0.5, 2.0, 0.0, -1.0, 1.0]).double(), torch.tensor([1.0, 0.3, 0.7, 2.0, 0.1]).double()
    maps = functional.ablation_map(student, weights[0]), functional.ablation_map(teacher, weights[1])
    expected = [ablation_map(array(f), array(w)) for f, w in zip((student, teacher), weights, strict=True)]
    for ours, theirs in zip(maps, expected, strict=True):
        np.testing.assert_allclose(array(ours), theirs, atol=1e-12)
    distance = functional.ablation_distance(*maps)
    assert distance.item() == pytest.approx(ablation_distance(*expected), rel=1e-9)
    distance.backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.isfinite().all()
    reached = student.grad.flatten(1).abs().amax(1) > 0
    assert reached.tolist() == [True, True, False, True, True]  # a weight of 0 turns a window off


def test_maps_of_released_code() -> None:
    """On equal grids the value is that of its lines in NumPy; what trains is ours alone."""
    random = torch.Generator().manual_seed(4)
    features = [torch.randn(4, 3, 6, 6, generator=random).requires_grad_() for _ in range(2)]
    predicted, of_zeros = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 2, 2, 0])
    table, released, ours = TABLE.numpy(), [], []
    for feature in features:
        real, ablated = table[predicted.numpy()], table[of_zeros.numpy()]
        w = np.mean((real - ablated) / real, axis=1)
        m = np.maximum(np.sum(feature.detach().numpy() * w[:, None, None, None], axis=1), 0)
        m -= np.min(m)
        if np.max(m) != 0:
            m /= np.max(m)
        released.append(torch.tensor(m, dtype=torch.float32))
        weight = functional.semantic_weight(predicted, of_zeros, TABLE, "relative")
        ours.append(functional.ablation_map(feature, weight))
    theirs = F.mse_loss(F.normalize(released[1], p=2, dim=1), F.normalize(released[0], p=2, dim=1))
    distance = functional.ablation_distance(*ours)
    assert distance.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert not theirs.requires_grad
    distance.backward()
    assert features[0].grad is not None
    assert features[0].grad.abs().max() > 0


def test_image_maps_beside_signal_maps_only_by_a_named_rule() -> None:
    random = torch.Generator().manual_seed(6)
    signal, image = torch.rand(4, 12, generator=random), torch.rand(4, 5, 8, generator=random)
    with pytest.raises(InputError, match=r"\(4, 12\).*\(4, 5, 8\).*collapse='rows'"):
        functional.ablation_distance(signal, image)
    value = functional.ablation_distance(signal.double(), image.double(), "rows")
    assert float(value) == pytest.approx(ablation_distance(array(signal), array(image), collapse=True), rel=1e-9)
    with pytest.raises(InputError, match=r"\(4, 5, 8\).*\(4, 12\)"):
        functional.ablation_distance(image, signal, "rows")
    assert functional.ablation_distance(image, image, "rows") == 0  # images beside images stay images
    with pytest.raises(InputError, match="'columns'"):
        functional.ablation_distance(signal, image, "columns")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(2, 3\)"):
        functional.ablation_map(torch.zeros(2, 3))


def test_maps_of_zeros() -> None:
    student = torch.zeros(3, 2, 5, requires_grad=True)
    for teacher in (torch.zeros(3, 5), torch.rand(3, 5)):
        distance = functional.ablation_distance(functional.ablation_map(student), teacher)
        assert distance.isfinite()
        distance.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


# ---------------------------------------------------------------------------------------------------------- objectives
def output(seed: int, sensors: tuple[str, ...] = (), ndim: int = 1, zeros: bool = True, width: int = 12) -> Output:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    features: dict[str, Tensor] = {}
    for sensor in sensors or ("",):
        stem = f"{sensor}/" if sensor else ""
        features |= {f"{stem}{t}": draw(8, 3 + seed, *(n,) * ndim) for t, n in zip(TAPS, (16, 8, 5), strict=True)}
        if sensor:
            features |= {f"{stem}semantic": draw(8, 6), f"{stem}logits": 3 * draw(8, 4)}
        if zeros:
            features[f"{stem}ablated"] = draw(1, 4)
    features["embedding"] = draw(8, width)
    return Output(3 * draw(8, 4), features)


def map_term(student: Output, teacher: Output, sensor: str, kind: str = "cosine", collapse: bool = False) -> float:
    stem = f"{sensor}/" if sensor else ""

    def maps(out: Output, stem: str, tap: str) -> Array:
        logits = out.features[f"{stem}logits"] if stem else out.logits
        weight = np.ones(8)
        if f"{stem}ablated" in out.features:
            a = array(TABLE)[int(out.features[f"{stem}ablated"].argmax())]
            for i in range(8):
                e = array(TABLE)[int(logits[i].argmax())]
                if kind == "relative":
                    weight[i] = np.mean((e - a) / e)
                else:
                    weight[i] = 1 - e @ a / math.sqrt((e @ e) * (a @ a))
        return ablation_map(array(out.features[stem + tap]), weight)

    return sum(ablation_distance(maps(student, "", t), maps(teacher, stem, t), collapse) for t in TAPS) / 3


@pytest.mark.parametrize("kind", ["cosine", "relative"])
@pytest.mark.parametrize("ndim", [1, 2])
def test_student_terms(kind: Any, ndim: int) -> None:
    """Two teachers, one of two sensors, with unequal weights."""
    student, both, raw = output(1, ndim=ndim), output(2, ("acc", "gyro"), ndim), output(3, ndim=ndim, width=7)
    objective = SAKDNObjective(
        map_weight=2.0,
        semantic_weight=3.0,
        temperature=2.0,
        kd_weight=0.5,
        weights={"both": 0.75, "raw": 0.25},
        gsdm_weight=kind,
        class_embeddings=TABLE.tolist(),
    )
    teachers = {"both": both, "raw": raw}
    objective.check(batch_size=8, teachers=teachers)
    terms = objective(student=student, teachers=teachers, target=TARGET)
    layers = {name: (array(layer.weight), array(layer.bias)) for name, layer in objective.adapters.items()}
    assert {name: w.shape for name, (w, _) in layers.items()} == {"both": (6, 12), "raw": (7, 12)}
    kd = semantic = maps = 0.0
    for name, sensor, share in (("both", "acc", 0.375), ("both", "gyro", 0.375), ("raw", "", 0.25)):
        teacher, (w, b) = teachers[name], layers[name]
        logits = teacher.features[f"{sensor}/logits"] if sensor else teacher.logits
        vector = teacher.features[f"{sensor}/semantic"] if sensor else teacher.features["embedding"]
        kd += share * ref.soft_target_kl(array(student.logits), array(logits), 2.0).mean()
        guess = np.array([w @ f + b for f in array(student.features["embedding"])])
        semantic += share * float(((guess - array(vector)) ** 2).mean())
        maps += share * map_term(student, teacher, sensor, kind)
    expected = {
        "ce": ref.cross_entropy(array(student.logits), TARGET.numpy()),
        "kd": 0.5 * kd,
        "map": 2 * maps,
        "semantic": 3 * semantic,
    }
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(expected, rel=1e-4)
    assert list(terms) == list(expected)


def test_student_terms_without_logits_for_zeros_weight_all_maps_equally() -> None:
    student, teacher = output(1, zeros=False), output(2, zeros=False)
    terms = SAKDNObjective()(student=student, teachers={"raw": teacher}, target=TARGET)
    assert float(terms["map"]) == pytest.approx(map_term(student, teacher, ""), rel=1e-4)


def test_an_image_teacher_of_a_signal_student() -> None:
    student, teacher = output(1), output(2, ("acc",), ndim=2)
    with pytest.raises(InputError, match="collapse='rows'"):
        SAKDNObjective()(student=student, teachers={"gaf": teacher}, target=TARGET)
    objective = SAKDNObjective(class_embeddings=TABLE.tolist(), collapse="rows")
    terms = objective(student=student, teachers={"gaf": teacher}, target=TARGET)
    assert float(terms["map"]) == pytest.approx(map_term(student, teacher, "acc", collapse=True), rel=1e-4)


@pytest.mark.parametrize("ndim", [1, 2])
def test_gradients_reach_the_student_only(ndim: int) -> None:
    def learn(out: Output) -> Output:
        features = {k: v.clone().requires_grad_() for k, v in out.features.items()}
        return Output(out.logits.clone().requires_grad_(), features)

    student, teacher = learn(output(1, ndim=ndim)), learn(output(2, ("acc", "gyro"), ndim))
    objective = SAKDNObjective(class_embeddings=TABLE.tolist())
    terms = objective(student=student, teachers={"both": teacher}, target=TARGET)
    terms["map"].backward(retain_graph=True)
    assert all(student.features[tap].grad.abs().max() > 0 for tap in TAPS)
    assert student.logits.grad is None  # the weights come from an argmax
    torch.stack(list(terms.values())).sum().backward()
    assert student.logits.grad is not None
    assert student.features["embedding"].grad.abs().max() > 0
    assert objective.adapters["both"].weight.grad.abs().max() > 0
    assert teacher.logits.grad is None
    assert all(value.grad is None for value in teacher.features.values())
    assert student.features["ablated"].grad is None


def test_teacher_terms() -> None:
    out = output(2, ("acc", "gyro"))
    objective = SAKDNTeacherObjective(semantic_weight=0.5, class_embeddings=TABLE.tolist())
    terms = objective(student=out, teachers={}, target=TARGET)
    ce = [ref.cross_entropy(array(out.features[f"{s}/logits"]), TARGET.numpy()) for s in ("acc", "gyro")]
    rows = array(TABLE)[TARGET.numpy()]
    gap = [float(np.abs(array(out.features[f"{s}/semantic"]) - rows).mean()) for s in ("acc", "gyro")]
    assert {k: float(v) for k, v in terms.items()} == pytest.approx({"ce": sum(ce) / 2, "semantic": sum(gap) / 4})
    mixed = torch.rand(8, 4).softmax(1)
    terms = SAKDNTeacherObjective(class_embeddings=TABLE.tolist())(student=out, teachers={}, target=mixed)
    rows = array(mixed) @ array(TABLE)
    gap = [float(np.abs(array(out.features[f"{s}/semantic"]) - rows).mean()) for s in ("acc", "gyro")]
    assert float(terms["semantic"]) == pytest.approx(sum(gap) / 2, rel=1e-5)


def test_teacher_terms_of_a_net_without_sensors() -> None:
    out, objective = output(2), SAKDNTeacherObjective(class_embeddings="one-hot")
    terms = objective(student=out, teachers={}, target=TARGET)
    layer = objective.adapters["semantic"]
    vector = array(out.features["embedding"]) @ array(layer.weight).T + array(layer.bias)
    assert float(terms["semantic"]) == pytest.approx(float(np.abs(vector - np.eye(4)[TARGET.numpy()]).mean()), rel=1e-5)
    assert float(terms["ce"]) == pytest.approx(ref.cross_entropy(array(out.logits), TARGET.numpy()), rel=1e-5)


def test_a_learned_table_receives_a_gradient() -> None:
    out, objective = output(2, ("acc", "gyro")), SAKDNTeacherObjective(class_embeddings="learned")
    objective(student=out, teachers={}, target=TARGET)["semantic"].backward()
    table = objective.adapters["classes"].weight
    assert table.shape == (4, 6)
    assert table.grad.abs().max() > 0


REFUSED: dict[str, tuple[Any, str]] = {
    "relative of one-hot": (
        lambda: SAKDNObjective(gsdm_weight="relative", class_embeddings="one-hot"),
        "relative weights.*one-hot",
    ),
    "relative of nothing": (
        lambda: SAKDNObjective(gsdm_weight="relative")(student=output(1), teachers={"raw": output(2)}, target=TARGET),
        "one-hot embeddings have zeros",
    ),
    "relative of zeros": (
        lambda: SAKDNObjective(gsdm_weight="relative", class_embeddings=[[1.0, 0.0], [1.0, 1.0]]),
        "1 of 4 are 0",
    ),
    "kind": (lambda: SAKDNObjective(gsdm_weight="mean"), "gsdm_weight.*'mean'"),
    "collapse": (lambda: SAKDNObjective(collapse="columns"), "collapse.*'columns'"),
    "reduction": (lambda: SAKDNObjective(kl_reduction="sum"), "kl_reduction.*'sum'"),
    "weight": (lambda: SAKDNObjective(map_weight=-1.0), "map_weight.*-1"),
    "classes": (
        lambda: SAKDNObjective(class_embeddings=[[1.0, 2.0], [2.0, 1.0]])(
            student=output(1), teachers={"raw": output(2)}, target=TARGET
        ),
        r"each of the 4 classes.*\(2, 2\)",
    ),
    "teacher's classes": (
        lambda: SAKDNTeacherObjective(class_embeddings=[[1.0] * 6] * 3)(
            student=output(2, ("acc",)), teachers={}, target=TARGET
        ),
        r"each of the 4 classes.*\(3, 6\)",
    ),
    "length": (
        lambda: SAKDNTeacherObjective(class_embeddings="one-hot")(
            student=output(2, ("acc",)), teachers={}, target=TARGET
        ),
        r"\(8, 6\).*\(4, 4\).*semantic_size=4",
    ),
    "no rows": (lambda: read_embeddings([[1.0], [1.0, 2.0]]), "table of numbers"),
    "no file": (lambda: read_embeddings("nowhere.npy"), "'nowhere.npy' does not exist"),
    "map": (
        lambda: SAKDNObjective(taps=("embedding",))(student=output(1), teachers={"raw": output(2)}, target=TARGET),
        r"^SAKDNObjective: the student, tap 'embedding': A map needs positions.*\(8, 12\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        call()


def test_class_embeddings_are_read_from_files(tmp_path: Path) -> None:
    table = TABLE.numpy()
    np.save(tmp_path / "a.npy", table)
    np.savez(tmp_path / "a.npz", words=table)
    np.savetxt(tmp_path / "a.csv", table, delimiter=",")
    for name in ("a.npy", "a.npz", "a.csv"):
        read = read_embeddings(str(tmp_path / name))
        assert read is not None
        torch.testing.assert_close(read, TABLE)
    assert read_embeddings("one-hot") is None
    np.savez(tmp_path / "two.npz", a=table, b=table)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "words.csv").write_text("a,b\n")
    for name in ("two.npz", "objects.npy", "words.csv"):
        with pytest.raises(InputError, match=f"{name}.*cannot be read"):
            read_embeddings(str(tmp_path / name))
    with pytest.raises(MissingFileError):
        read_embeddings(str(tmp_path / "gone.npy"))


# --------------------------------------------------------------------------------------------------------------- fits
def motions(**views: Any) -> BasicMotions:
    return BasicMotions(views={"raw": Raw(), **views}, batch_size=8)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Fusion teachers on the signal and on Gramian angular fields, two epochs each."""
    files = {}
    for view, ndim, embeddings in (("raw", 1, "one-hot"), ("gaf", 2, "learned")):
        torch.manual_seed(0)
        stop = EarlyStoppedTeacher(smoothing=1, patience=5, stop=False)
        run = trainer(tmp_path_factory.mktemp(view), callbacks=[stop])
        module = SAKDNTeacher(fusion(ndim), view=view, class_embeddings=embeddings)
        run.fit(module, motions(gaf=GramianAngularField(size=16)))
        assert {"train/ce", "train/semantic"} <= set(run.callback_metrics)
        assert stop.checkpoint is not None
        files[view] = stop.checkpoint
    return files


def test_teachers_carry_their_class_embeddings(taught: dict[str, str]) -> None:
    one_hot, learned = (read_checkpoint(taught[name])["state_dict"] for name in ("raw", "gaf"))
    assert one_hot["net.class_embeddings"].equal(torch.eye(4))
    assert not [key for key in one_hot if key.startswith("objective.")]
    assert learned["net.class_embeddings"].equal(learned["objective.adapters.classes.weight"])
    teacher = Teacher(taught["gaf"], view="gaf").load()
    assert teacher.net is not None
    assert teacher.net.class_embeddings.equal(learned["net.class_embeddings"])
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_teacher_with_a_learned_table_is_tested_without_it(taught: dict[str, str], tmp_path: Path) -> None:
    module = SAKDNTeacher(fusion(2), view="gaf", class_embeddings="learned")
    data = motions(gaf=GramianAngularField(size=16))
    results = trainer(tmp_path).test(module, data, ckpt_path=taught["gaf"], weights_only=True, verbose=False)
    assert 0 <= results[0]["test/accuracy"] <= 1
    assert not module.objective.adapters


def test_any_net_learns_towards_class_embeddings(tmp_path: Path) -> None:
    module = SAKDNTeacher(net(), class_embeddings=TABLE.tolist())
    trainer(tmp_path, max_epochs=1).fit(module, motions())
    assert module.objective.adapters["semantic"].weight.shape == (6, 64)
    with pytest.raises(InputError, match="semantic_size=6"):
        trainer(tmp_path, max_epochs=1).fit(SAKDNTeacher(fusion(), class_embeddings=TABLE.tolist()), motions())


@pytest.mark.parametrize("view", ["raw", "gaf"])
def test_a_student_is_fitted_tested_and_kept_without_its_teachers(
    view: str, taught: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    empty: list[int] = []
    forward = Teacher.forward

    def counted(self: Teacher, x: Tensor) -> Output:
        if not x.any():
            empty.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(Teacher, "forward", counted)
    module = SAKDN(net(), {view: Teacher(taught[view], view=view)}, collapse="rows")
    data = motions(gaf=GramianAngularField(size=16))
    run = trainer(tmp_path)
    run.fit(module, data)
    assert empty == [8]  # once, as many windows as in a batch, because the gates look at all of them
    assert run.callback_metrics["train/map"] > 0
    carried = read_checkpoint(taught[view])["state_dict"]["net.class_embeddings"]
    assert module.objective.table.equal(carried)
    assert not any(p.grad is not None for _, t in module.named_teachers() for p in t.parameters())
    run.save_checkpoint(tmp_path / "student.ckpt")
    state = read_checkpoint(tmp_path / "student.ckpt")["state_dict"]
    own = {f"net.{key}" for key in net().state_dict()}
    adapter = f"objective.adapters.{view}"
    assert set(state) == own | {f"{adapter}.weight", f"{adapter}.bias"}
    assert state[f"{adapter}.weight"].shape == (4, 64)
    fresh = SAKDN(net(), {view: Teacher("gone", view=view)})
    trainer(tmp_path).test(fresh, motions(), ckpt_path=tmp_path / "student.ckpt", weights_only=True, verbose=False)
    assert not fresh.objective.adapters


def test_asking_about_zeros_changes_nothing_in_the_student(taught: dict[str, str], tmp_path: Path) -> None:
    module = SAKDN(net(), {"raw": Teacher(taught["raw"])})
    data = motions()
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, data)
    batch = next(iter(data.train_dataloader()))
    module.net.train()
    before = copy.deepcopy(module.net.state_dict())
    said = module._zeros_for_student(batch)["ablated"]
    assert said.shape == (1, 4)
    assert not said.requires_grad
    assert module.net.training
    assert all(before[key].equal(value) for key, value in module.net.state_dict().items())
    torch.testing.assert_close(said, module.net.eval()(torch.zeros(1, 6, 100)).logits)


def test_ordinary_nets_teach_too_with_and_without_a_cache(teachers: dict[str, str], tmp_path: Path) -> None:
    maps = []
    for cache in (None, TeacherCache()):
        torch.manual_seed(2)
        module = SAKDN(net(), {"raw": Teacher(teachers["raw"])}, cache=cache)
        run = trainer(tmp_path, max_epochs=1)
        run.fit(module, BasicMotions(batch_size=8, seed=1))
        maps.append(float(run.callback_metrics["train/map"]))
    assert maps[0] == pytest.approx(maps[1], rel=1e-4)
    assert module.objective.table is None  # nobody carries one: one-hot


def test_fits_refuse_what_cannot_be(taught: dict[str, str], teachers: dict[str, str], tmp_path: Path) -> None:
    data = motions(gaf=GramianAngularField(size=16))

    def fit(students_net: nn.Module, roles: dict[str, Teacher], **arguments: Any) -> None:
        trainer(tmp_path, max_epochs=1).fit(SAKDN(students_net, roles, **arguments), data)

    raw, gaf = (lambda: Teacher(taught["raw"])), (lambda: Teacher(taught["gaf"], view="gaf"))
    with pytest.raises(InputError, match=r"teacher 'raw' \(SensorFusion\).*depends on its batch"):
        fit(net(), {"raw": raw()}, cache=TeacherCache())
    with pytest.raises(InputError, match="raw, gaf were trained towards different class embeddings"):
        fit(net(), {"raw": raw(), "gaf": gaf()}, collapse="rows")
    with pytest.raises(InputError, match=re.escape("collapse='rows'")):
        fit(net(), {"gaf": gaf()})
    with pytest.raises(InputError, match="12 of 16 are 0"):
        fit(net(), {"raw": raw()}, gsdm_weight="relative")
    plain = SAKDN(net(), {"raw": Teacher(teachers["raw"])}, gsdm_weight="relative")  # which carries no embeddings
    with pytest.raises(InputError, match=r"class_embeddings: relative weights.*gsdm_weight='cosine'"):
        plain.prepare(data, "fit")
    with pytest.raises(InputError, match="one-hot embeddings have zeros"):
        SAKDNObjective(gsdm_weight="relative")(student=output(1), teachers={"raw": output(2)}, target=TARGET)


# ---------------------------------------------------------------------------------------------------------- UTD-MHAD
def test_utd_mhad_has_both_sensors_in_one_view(tmp_path: Path) -> None:
    root = write_utdmhad(tmp_path / "utd", subjects=(1, 2, 3, 5))
    views = {"raw": Raw(), "both": Raw(source="both"), "gaf": GramianAngularField(size=16, source="both")}
    data = UTDMHAD(root, views=views, batch_size=4, skeleton_origin="start")
    data.setup()
    batch = next(data.batches("train"))
    assert batch.views["both"].shape[1:] == (66, 128)
    assert batch.views["gaf"].shape[1:] == (66, 16, 16)
    assert batch.views["both"][:, :6].equal(batch.views["raw"])
    assert data.channels["both"] == data.channels["inertial"] + data.channels["skeleton"]
    moved = data.data.windows
    assert not moved["skeleton"][:, :, 0].any()
    assert not moved["both"][:, 6:, 0].any()
    plain = UTDMHAD(root).load().windows
    np.testing.assert_allclose(moved["skeleton"], plain["skeleton"] - plain["skeleton"][:, :, :1], atol=1e-5)
    np.testing.assert_array_equal(plain["both"][:, :6], plain["inertial"])
    np.testing.assert_allclose(plain["both"][:, 6:, [0, -1]], plain["skeleton"][:, :, [0, -1]], atol=1e-6)
    with pytest.raises(InputError, match="skeleton_origin must be 'camera' or 'start', but got 'hip'"):
        UTDMHAD(root, skeleton_origin="hip")  # type: ignore[arg-type]
    torch.manual_seed(0)
    teacher = SAKDNTeacher(SensorFusion({**GROUPS, "skeleton": 60}, 10, num_classes=27), view="both")
    trainer(tmp_path, max_epochs=1).fit(teacher, data)
    student = SAKDN(net(classes=27), {"both": Teacher(net=teacher.net, view="both")})
    run = trainer(tmp_path, max_epochs=1)
    run.fit(student, UTDMHAD(root, views=views, batch_size=4, skeleton_origin="start"))
    assert run.callback_metrics["train/semantic"] > 0
