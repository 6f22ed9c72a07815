"""Methods of one teacher at a time: each objective against its equation, and against the numbers of released code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdlab.data import BasicMotions
from kdlab.methods.at import ATObjective
from kdlab.methods.dist import DISTObjective
from kdlab.methods.dkd import DKD, DKDObjective
from kdlab.methods.logit_standardisation import LogitStandardisationObjective
from kdlab.methods.pkt import PKTObjective
from kdlab.methods.rkd import RKDObjective
from kdlab.methods.sp import SPObjective
from kdlab.methods.teacher import Teacher
from kdlab.methods.topological_kd import TopologicalKDObjective
from kdlab.objective import Objective
from kdlab.objectives import SoftTargets
from kdlab.types import Batch, InputError, Output
from tests import references as ref
from tests.conftest import net, trainer

TAPS = {"stage1": (16,), "stage2": (8,), "stage3": (5,)}
TARGET = torch.arange(8) % 4


def output(seed: int, channels: int = 3, ndim: int = 1) -> Output:
    random = torch.Generator().manual_seed(seed)
    features = {
        tap: torch.randn(8, channels, *(size * ndim), generator=random) * torch.linspace(0.2, 2, size[0])
        for tap, size in TAPS.items()
    }
    features["embedding"] = torch.randn(8, 4 * channels, generator=random)
    return Output(3 * torch.randn(8, 4, generator=random), features)


STUDENT, RAW, OTHER = output(1), output(2, channels=5), output(3, channels=2)
IMAGES = output(4, channels=4, ndim=2)


def array(x: torch.Tensor) -> np.ndarray:
    return x.double().numpy()


def logits(out: Output) -> np.ndarray:
    return array(out.logits)


def feature(out: Output, tap: str) -> np.ndarray:
    return array(out.features[tap])


def terms(objective: Objective, **teachers: Output) -> dict[str, float]:
    objective.check(batch_size=8, teachers=teachers)
    return {k: float(v) for k, v in objective(student=STUDENT, teachers=teachers, target=TARGET).items()}


CE = ref.cross_entropy(logits(STUDENT), TARGET.numpy())


def near(expected: dict[str, float]) -> object:
    return pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_at() -> None:
    values = [ref.attention_transfer(feature(STUDENT, tap), feature(RAW, tap)) for tap in TAPS]
    other = [ref.attention_transfer(feature(STUDENT, tap), feature(OTHER, tap)) for tap in TAPS]
    assert terms(ATObjective(), raw=RAW) == near({"ce": CE, "kd": 0, "attention": 3000 * sum(values) / 3})
    two = ATObjective(attention_weight=10.0, weights={"raw": 0.8, "other": 0.2}, taps=("stage2",))
    assert terms(two, raw=RAW, other=OTHER)["attention"] == near(10 * (0.8 * values[1] + 0.2 * other[1]))


def test_at_of_released_code() -> None:
    """1000 on the sum of three taps, and RepDistiller's pooling to the smaller map."""
    larger = Output(RAW.logits, {tap: torch.cat([x, x.flip(2)], 2) for tap, x in RAW.features.items() if tap in TAPS})
    total = 0.0
    for tap in TAPS:
        small = F.adaptive_avg_pool1d(larger.features[tap].double(), TAPS[tap][0])
        maps = [F.normalize(x.pow(2).mean(1), dim=1) for x in (STUDENT.features[tap].double(), small)]
        total += float((maps[0] - maps[1]).pow(2).mean())
    assert terms(ATObjective(resize="pool"), raw=larger)["attention"] == near(1000 * total)
    with pytest.raises(InputError, match=r"\(8, 3, 16\).*\(8, 5, 32\)"):
        terms(ATObjective(), raw=larger)
    for resize in (None, "pool"):
        with pytest.raises(InputError, match=r"\(8, 3, 16\).*\(8, 4, 16, 16\)"):
            terms(ATObjective(resize=resize), pi=IMAGES)


def test_at_needs_energies_alone() -> None:
    assert ATObjective().needs(["raw"]) == {"raw": dict.fromkeys(TAPS, "attention")}
    assert ATObjective(resize="pool").needs(["raw"]) == {"raw": dict.fromkeys(TAPS, "feature")}
    assert SPObjective().needs(["raw"]) == {"raw": dict.fromkeys(TAPS, "gram")}
    assert RKDObjective().needs(["raw"]) == PKTObjective().needs(["raw"]) == {"raw": {"embedding": "feature"}}
    for objective in (DKDObjective(), DISTObjective(), LogitStandardisationObjective(), TopologicalKDObjective()):
        assert objective.needs(["raw", "pi"]) == {"raw": {}, "pi": {}}


def test_sp() -> None:
    values = [ref.similarity_preserving(feature(STUDENT, tap), feature(IMAGES, tap)) for tap in TAPS]
    assert terms(SPObjective(), pi=IMAGES) == near({"ce": CE, "kd": 0, "similarity": 1000 * sum(values)})
    other = ref.similarity_preserving(feature(STUDENT, "stage2"), feature(RAW, "stage2"))
    two = SPObjective(similarity_weight=10.0, weights={"pi": 0.8, "raw": 0.2}, taps=("stage2",))
    assert terms(two, raw=RAW, pi=IMAGES)["similarity"] == near(10 * (0.8 * values[1] + 0.2 * other))


def test_sp_of_released_code() -> None:
    """RepDistiller: the last stage alone, the squares summed over B^2."""
    grams = [F.normalize(x @ x.T) for x in (out.features["stage3"].double().flatten(1) for out in (STUDENT, RAW))]
    expected = float((grams[0] - grams[1]).pow(2).sum() / 64)
    assert terms(SPObjective(taps=("stage3",)), raw=RAW)["similarity"] == near(3000 * expected)


def test_rkd() -> None:
    own, other = feature(STUDENT, "embedding"), feature(IMAGES, "embedding")
    distance, angle = ref.relational_distance(own, other), ref.relational_angle(own, other)
    expected = {"ce": CE, "kd": 0, "distance": 25 * distance, "angle": 50 * angle}
    assert terms(RKDObjective(), pi=IMAGES) == near(expected)
    own, other = feature(STUDENT, "stage1"), feature(IMAGES, "stage1")
    stage = ref.relational_distance(own, other), ref.relational_angle(own, other)
    metric = terms(RKDObjective(distance_weight=1.0, angle_weight=2.0, taps=("embedding", "stage1")), pi=IMAGES)
    assert metric["distance"] == near((distance + stage[0]) / 2)
    assert metric["angle"] == near(angle + stage[1])


def test_rkd_of_two_windows_teaches_nothing() -> None:
    student, teacher = (Output(out.logits[:2], {"embedding": out.features["embedding"][:2]}) for out in (STUDENT, RAW))
    found = RKDObjective()(student=student, teachers={"raw": teacher}, target=TARGET[:2])
    assert float(found["distance"] + found["angle"]) < 1e-6
    with pytest.raises(InputError, match=r"batch_size must be at least 3.*but got 2"):
        RKDObjective().check(batch_size=2, teachers=["raw"])


def test_pkt() -> None:
    own, other = feature(STUDENT, "embedding"), feature(RAW, "embedding")
    expected = {"ce": CE, "kd": 0, "affinity": 30000 * ref.affinity_divergence(own, other)}
    assert terms(PKTObjective(), raw=RAW) == near(expected)
    paper = ref.affinity_divergence(own, other, self_pairs=False)
    assert terms(PKTObjective(affinity_weight=64.0, self_pairs=False), raw=RAW)["affinity"] == near(64 * paper)
    PKTObjective().check(batch_size=2, teachers=["raw"])
    with pytest.raises(InputError, match=r"batch_size must be at least 3.*but got 2"):
        PKTObjective(self_pairs=False).check(batch_size=2, teachers=["raw"])


def test_pkt_of_released_code() -> None:
    """The mean over B x B, self-similarities included."""
    q = []
    for out in (STUDENT, RAW):
        x = F.normalize(out.features["embedding"].double())
        similarity = (x @ x.T + 1) / 2
        q.append(similarity / similarity.sum(1, keepdim=True))
    expected = float((q[1] * torch.log((q[1] + 1e-7) / (q[0] + 1e-7))).mean())
    assert terms(PKTObjective(), raw=RAW)["affinity"] == near(30000 * expected)


def test_dkd() -> None:
    true_class, others = ref.decoupled(logits(STUDENT), logits(RAW), TARGET.numpy())
    assert terms(DKDObjective(), raw=RAW) == near({"ce": CE, "target": true_class, "others": 8 * others})
    second = ref.decoupled(logits(STUDENT), logits(OTHER), TARGET.numpy(), 2.0)
    first = ref.decoupled(logits(STUDENT), logits(RAW), TARGET.numpy(), 2.0)
    weights = {"target_weight": 3.0, "others_weight": 2.0, "ce_weight": 0.5}
    two = DKDObjective(**weights, temperature=2.0, weights={"raw": 0.9, "other": 0.1})
    two.set("ramp", 0.25)
    expected = [0.9 * a + 0.1 * b for a, b in zip(first, second, strict=True)]
    assert terms(two, other=OTHER, raw=RAW) == near(
        {"ce": CE / 2, "target": 0.25 * 3 * expected[0], "others": 0.25 * 2 * expected[1]}
    )


def test_dkd_of_released_code() -> None:
    """mdistiller: two sums of probabilities, and the true class lowered by 1000."""
    mask = F.one_hot(TARGET, 4).bool()
    pairs, rest = [], []
    for out in (STUDENT, RAW):
        z = out.logits.double() / 4
        p = z.softmax(1)
        pairs.append(torch.stack([(p * mask).sum(1), (p * ~mask).sum(1)], 1))
        rest.append((z - 1000 * mask).log_softmax(1))
    true_class = 16 * F.kl_div(pairs[0].log(), pairs[1], reduction="sum") / 8
    others = 16 * F.kl_div(rest[0], rest[1].exp(), reduction="sum") / 8
    found = terms(DKDObjective(), raw=RAW)
    assert found["target"] == near(float(true_class))
    assert found["others"] == near(8 * float(others))


def test_dkd_by_mean_is_smaller_by_the_number_of_events() -> None:
    whole, mean = (terms(DKDObjective(kl_reduction=kind), raw=RAW) for kind in ("batchmean", "mean"))
    assert mean == near({"ce": CE, "target": whole["target"] / 2, "others": whole["others"] / 3})
    with pytest.raises(InputError, match="kl_reduction must be 'batchmean' or 'mean', but got 'sum'"):
        DKDObjective(kl_reduction="sum")  # type: ignore[arg-type]


@pytest.mark.parametrize(("warm_up", "expected"), [(2, [0.5, 1.0, 1.0]), (0, [1.0, 1.0, 1.0]), (20, [0.05, 0.1, 0.15])])
def test_dkd_warms_up_from_epoch_to_epoch(warm_up: int, expected: list[float], tmp_path: Path) -> None:
    factors: list[float] = []

    class Watched(DKD):
        def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
            factors.append(float(self.objective.ramp))
            return super().training_step(batch, batch_idx)

    module = Watched(net(), {"raw": Teacher(net=net())}, warm_up=warm_up)
    trainer(tmp_path, max_epochs=3, limit_train_batches=1, limit_val_batches=0).fit(module, BasicMotions())
    assert factors == pytest.approx(expected)


def test_dkd_refuses_two_classes_and_a_negative_warm_up() -> None:
    two = Output(STUDENT.logits[:, :2], {})
    with pytest.raises(InputError, match=r"three classes.*\(8, 2\)"):
        DKDObjective()(student=two, teachers={"raw": two}, target=TARGET % 2)
    with pytest.raises(InputError, match=r"warm_up must be a whole number.* at least 0.*-1"):
        DKD(net(), {"raw": Teacher(net=net())}, warm_up=-1)


def test_dkd_on_standardised_logits() -> None:
    def z_scores(x: Output) -> Output:
        z = logits(x)
        return Output(torch.tensor((z - z.mean(1, keepdims=True)) / (z.std(1, ddof=1, keepdims=True) + 1e-7)), {})

    found = terms(DKDObjective(temperature=2.0, standardise=True), raw=RAW)
    plain = DKDObjective(temperature=2.0)
    expected = plain(student=z_scores(STUDENT), teachers={"raw": z_scores(RAW)}, target=TARGET)
    assert found == near({"ce": CE, "target": float(expected["target"]), "others": float(expected["others"])})


def test_attention_as_in_the_paper() -> None:
    maps = [[ref.unit(ref.energy(x)).ravel() for x in numbers] for numbers in (features(STUDENT), features(RAW))]
    norms = np.mean([np.sqrt(((a - b) ** 2).sum()) for a, b in zip(*maps, strict=True)])
    found = terms(ATObjective(attention_weight=3.0, taps=("stage1",), mode="paper"), raw=RAW)
    assert found["attention"] == pytest.approx(3 * norms / 2, rel=1e-5)
    with pytest.raises(InputError, match="ATObjective: mode must be 'code' or 'paper', but got 'mean'"):
        ATObjective(mode="mean")
    same = terms(ATObjective(mode="paper"), raw=STUDENT)
    assert same["attention"] == 0


def test_dist() -> None:
    inter, intra = ref.relations_of_classes(logits(STUDENT), logits(RAW))
    assert terms(DISTObjective(), raw=RAW) == near({"ce": CE, "inter": 2 * inter, "intra": 2 * intra})
    first = ref.relations_of_classes(logits(STUDENT), logits(RAW), 1.0)
    second = ref.relations_of_classes(logits(STUDENT), logits(OTHER), 1.0)
    mixed = {"inter_weight": 1.0, "intra_weight": 3.0, "temperature": 1.0, "ce_weight": 0.5}
    two = terms(DISTObjective(**mixed, weights={"raw": 0.9, "other": 0.1}), raw=RAW, other=OTHER)
    expected = [0.9 * a + 0.1 * b for a, b in zip(first, second, strict=True)]
    assert two == near({"ce": CE / 2, "inter": expected[0], "intra": 3 * expected[1]})
    with pytest.raises(InputError, match=r"batch_size must be at least 2.*but got 1"):
        DISTObjective().check(batch_size=1, teachers=["raw"])


def features(x: Output) -> np.ndarray:
    return x.features["stage1"].double().numpy()


def codes_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """One row: Pearson's correlation with 1e-8 in the denominator."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum()) * np.sqrt((b * b).sum()) + 1e-8))


def test_dist_leaves_out_classes_that_are_absent() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 1, (2, 12, 14))
    for z in (student, teacher):
        z[:, 5:] -= 14  # nine classes that no window is likely to be
    p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (student, teacher))
    inter = 1 - np.mean([codes_correlation(a, b) for a, b in zip(p, q, strict=True)])
    intra = 1 - np.mean([codes_correlation(p[:, k], q[:, k]) for k in range(14)])
    own = torch.tensor(student, requires_grad=True)
    gradients = {}
    for eps in (1e-8, 0.0):
        objective = DISTObjective(temperature=1.0, inter_weight=1.0, intra_weight=1.0, eps=eps)
        found = objective(
            student=Output(own, {}), teachers={"raw": Output(torch.tensor(teacher), {})}, target=torch.arange(12)
        )
        if eps:
            assert [found["inter"].item(), found["intra"].item()] == pytest.approx([inter, intra], rel=1e-6)
        (gradient,) = torch.autograd.grad(found["intra"], own)
        gradients[eps] = float(gradient[:, 5:].norm())
    assert gradients[1e-8] < gradients[0.0] / 3
    assert DISTObjective(eps=0.0).zero_when_equal
    assert not DISTObjective().zero_when_equal
    with pytest.raises(InputError, match="DISTObjective: eps must be at least 0 and finite, but got -1"):
        DISTObjective(eps=-1.0)


def test_logit_standardisation() -> None:
    values = [
        ref.soft_target_kl(ref.standardised(logits(STUDENT)), ref.standardised(logits(out)), 2.0).mean()
        for out in (RAW, OTHER)
    ]
    # the released weights: .1 for the labels, 9 for the teacher
    assert terms(LogitStandardisationObjective(), raw=RAW) == near({"ce": 0.1 * CE, "kd": 9 * values[0]})
    two = LogitStandardisationObjective(kd_weight=0.5, factor=1.0, weights={"raw": 0.8, "other": 0.2})
    assert terms(two, raw=RAW, other=OTHER) == near({"ce": CE / 2, "kd": 0.4 * values[0] + 0.1 * values[1]})
    mean = LogitStandardisationObjective(kl_reduction="mean")
    assert terms(mean, raw=RAW)["kd"] == near(9 * values[0] / 4)


def test_logit_standardisation_sees_no_scale_and_no_shift() -> None:
    stretched = Output(5 * RAW.logits + 3, {})
    ours = [terms(LogitStandardisationObjective(), raw=out)["kd"] for out in (RAW, stretched)]
    plain = [terms(SoftTargets(), raw=out)["kd"] for out in (RAW, stretched)]
    assert ours[0] == pytest.approx(ours[1], rel=1e-5)
    assert plain[0] != pytest.approx(plain[1], rel=0.1)


def test_topological_kd() -> None:
    own = ref.standardised(logits(STUDENT))
    raw, pi = (ref.soft_target_kl(2 * own, 2 * ref.standardised(logits(out)), 1.0).mean() for out in (RAW, IMAGES))
    ce = ref.cross_entropy(own, TARGET.numpy())
    expected = {"ce": 0.01 * ce, "kd": 0.99 * 16 * (0.3 * raw + 0.7 * pi)}
    assert terms(TopologicalKDObjective(), raw=RAW, pi=IMAGES) == near(expected)
    one = TopologicalKDObjective(kd_weight=0.5, scale=1.0, factor=3.0, weights={"raw": 1.0})
    value = ref.soft_target_kl(own, ref.standardised(logits(RAW)), 1.0).mean()
    assert terms(one, raw=RAW) == near({"ce": 0.5 * ce, "kd": 1.5 * value})


def test_topological_kd_of_released_code() -> None:
    """TDA_KD: logits over their unbiased standard deviation, doubled; the mean over B x K; 16; .7 for the image."""
    z = {k: out.logits.double() for k, out in {"s": STUDENT, "raw": RAW, "pi": IMAGES}.items()}
    z = {k: v / v.std(1, keepdim=True) for k, v in z.items()}
    kl = {
        k: F.kl_div((2 * z["s"]).log_softmax(1), (2 * z[k]).softmax(1), reduction="none").mean() for k in ("raw", "pi")
    }
    expected = {
        "ce": 0.01 * float(F.cross_entropy(z["s"], TARGET)),
        "kd": 0.99 * 16 * float(0.7 * kl["pi"] + 0.3 * kl["raw"]),
    }
    assert terms(TopologicalKDObjective(kl_reduction="mean"), raw=RAW, pi=IMAGES) == near(expected)


@pytest.mark.parametrize("eps", [0.0, 0.5])
def test_topological_kd_adds_to_the_standard_deviation(eps: float) -> None:
    own, raw, pi = (z / (z.std(1, ddof=1, keepdims=True) + eps) for z in map(logits, (STUDENT, RAW, IMAGES)))
    kd = 0.3 * ref.soft_target_kl(2 * own, 2 * raw, 1.0).mean() + 0.7 * ref.soft_target_kl(2 * own, 2 * pi, 1.0).mean()
    expected = {"ce": 0.01 * ref.cross_entropy(own, TARGET.numpy()), "kd": 0.99 * 16 * kd}
    assert terms(TopologicalKDObjective(eps=eps), raw=RAW, pi=IMAGES) == near(expected)


@pytest.mark.parametrize("cls", [ATObjective, SPObjective, RKDObjective, PKTObjective])
def test_soft_targets_are_an_option(cls: type[SoftTargets]) -> None:
    kd = ref.soft_target_kl(logits(STUDENT), logits(RAW), 3.0).mean()
    found = terms(cls(kd_weight=0.9, temperature=3.0), raw=RAW)
    assert found["ce"] == near(0.1 * CE)
    assert found["kd"] == near(0.9 * kd)
    assert terms(cls(kd_weight=0.9, temperature=3.0, kl_reduction="mean"), raw=RAW)["kd"] == near(0.9 * kd / 4)


REFUSED = {
    "attention_weight": lambda: ATObjective(attention_weight=-1.0),
    "taps": lambda: ATObjective(taps=()),
    "similarity_weight": lambda: SPObjective(similarity_weight=-1.0),
    "distance_weight": lambda: RKDObjective(distance_weight=-1.0),
    "angle_weight": lambda: RKDObjective(angle_weight=float("nan")),
    "affinity_weight": lambda: PKTObjective(affinity_weight=-1.0),
    "others_weight": lambda: DKDObjective(others_weight=-1.0),
    "ce_weight": lambda: DISTObjective(ce_weight=-1.0),
    "factor": lambda: LogitStandardisationObjective(factor=-1.0),
    "scale": lambda: TopologicalKDObjective(scale=-1.0),
    "kl_reduction": lambda: TopologicalKDObjective(kl_reduction="sum"),
    "eps must be at least 0": lambda: TopologicalKDObjective(eps=-1e-7),
    r"\['raw'\].*\['pi', 'raw'\]": lambda: TopologicalKDObjective().check(batch_size=8, teachers=["raw"]),
    "weights must be at least 0": lambda: DKDObjective(weights={"raw": -1.0}),
    "at least one teacher": lambda: DISTObjective().check(batch_size=8, teachers=[]),
}


def test_maps_name_method_teacher_and_tap() -> None:
    out = Output(torch.zeros(2, 4), {"embedding": torch.zeros(2, 8), "stage1": torch.zeros(2, 3, 10)})
    image = Output(out.logits, {"stage1": torch.zeros(2, 3, 6, 6)})
    target = torch.tensor([0, 1])
    with pytest.raises(InputError, match=r"^ATObjective: teacher 'raw', tap 'embedding': A map needs positions"):
        ATObjective(taps=("embedding",))(student=out, teachers={"raw": out}, target=target)
    objective = ATObjective(taps=("stage1",))
    with pytest.raises(
        InputError, match=r"^ATObjective: teacher 'pi', tap 'stage1': Maps.*\(2, 3, 10\).*\(2, 3, 6, 6\)"
    ):
        objective(student=out, teachers={"raw": out, "pi": image}, target=target)


def test_a_teacher_of_weight_0_is_not_compared() -> None:
    """Nor need its maps fit, or be there."""
    draw = torch.Generator().manual_seed(0)
    student, raw = (Output(torch.zeros(2, 4), {"stage1": torch.randn(2, 3, 10, generator=draw)}) for _ in range(2))
    target = torch.tensor([0, 1])
    expected = ATObjective(weights={"raw": 0.6}, taps=("stage1",))(
        student=student, teachers={"raw": raw}, target=target
    )
    for features in ({"stage1": torch.zeros(2, 3, 6, 6)}, {}):
        objective = ATObjective(weights={"raw": 0.6, "pi": 0.0}, taps=("stage1",))
        teachers = {"raw": raw, "pi": Output(torch.zeros(2, 4), features)}
        assert objective(student=student, teachers=teachers, target=target) == expected
    objective.weights = {"raw": 0.6, "pi": 0.1}  # weights are no settings, but a user's own code may change them
    with pytest.raises(InputError, match="teacher 'pi' has no tap 'stage1'"):
        objective(student=student, teachers=teachers, target=target)


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message: str) -> None:
    with pytest.raises(InputError, match=message):
        REFUSED[message]()
