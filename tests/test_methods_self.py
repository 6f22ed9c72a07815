"""Teacher-free and self-distillation: each method against its equation, released code, and in whole fits."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from jsonargparse import ArgumentParser
from torch import Tensor

import kdlab
from kdlab import AMC, CSKD, DDGSD, PSKD, ASoftmax, Supervised, Teacher, TFKDSelf, TFKDVirtual, citations
from kdlab.augment import Mix2, Noise
from kdlab.data import BasicMotions
from kdlab.data.sampler import ClassPairs, stream
from kdlab.methods.checkpoints import read_checkpoint
from kdlab.methods.cs_kd import CSKDObjective
from kdlab.methods.ddgsd import DDGSDObjective, symmetric_kl
from kdlab.methods.ps_kd import PastPredictions, PSKDObjective
from kdlab.methods.tf_kd import TFKDSelfObjective, TFKDVirtualObjective, virtual_teacher
from kdlab.objective import Objective
from kdlab.objectives import SoftTargets
from kdlab.types import Batch, InputError, Output
from kdlab.views import GramianAngularField, Raw
from tests import references as ref
from tests.conftest import net, trainer

BATCH, CLASSES = 8, 5
TARGET = torch.arange(BATCH) % CLASSES
MIXED = torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(8), dtype=torch.float64).softmax(1)
targets = pytest.mark.parametrize("target", [TARGET, MIXED], ids=["indices", "probabilities"])


def output(seed: int, batch: int = BATCH, classes: int = CLASSES) -> Output:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, classes, generator=random, dtype=torch.float64)
    return Output(logits, {"embedding": torch.randn(batch, 6, generator=random, dtype=torch.float64)})


def values(objective: Objective, student: Output, target: Tensor, **teachers: Output) -> dict[str, float]:
    return {k: float(v) for k, v in objective(student=student, teachers=teachers, target=target).items()}


def near(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-6, abs=1e-12)


def halves(out: Output) -> tuple[np.ndarray, np.ndarray]:
    return out.logits[: BATCH // 2].numpy(), out.logits[BATCH // 2 :].numpy()


# ------------------------------------------------------------------------------------------------------------- DDGSD


@targets
@pytest.mark.parametrize("detach", [False, True])
def test_ddgsd(detach: bool, target: Tensor) -> None:
    both, rows = output(1), BATCH // 2
    a, b = halves(both)
    ce = sum(ref.cross_entropy(z, target[at].numpy()) for z, at in ((a, slice(rows)), (b, slice(rows, None))))
    kl = ref.soft_target_kl(a, b, 3.0).mean() + ref.soft_target_kl(b, a, 3.0).mean()
    embedding = both.features["embedding"].numpy()
    difference = [sum(embedding[:rows, k]) / rows - sum(embedding[rows:, k]) / rows for k in range(6)]
    expected = {"ce": ce, "kd": 2 * kl, "discrepancy": 0.1 * sum(d * d for d in difference)}
    assert values(DDGSDObjective(kd_weight=2.0, discrepancy_weight=0.1, detach_targets=detach), both, target) == near(
        expected
    )
    mean = DDGSDObjective(kl_reduction="mean", detach_targets=detach)
    assert values(mean, both, target)["kd"] == near(kl / CLASSES)


def test_ddgsd_of_self_kd_lib() -> None:
    """The mean of the cross-entropies, tau 4, detached targets: in value and in gradient."""
    both = output(1)
    z = both.logits.clone().requires_grad_()
    objective = DDGSDObjective(temperature=4.0, ce_weight=0.5, discrepancy_weight=0.0, detach_targets=True)
    terms = objective(student=Output(z, both.features), teachers={}, target=TARGET)
    (ours,) = torch.autograd.grad(terms["ce"] + terms["kd"], z)
    rows = BATCH // 2
    loss = (F.cross_entropy(z[:rows], TARGET[:rows]) + F.cross_entropy(z[rows:], TARGET[rows:])) / 2
    for one, other in ((z[:rows], z[rows:]), (z[rows:], z[:rows])):
        soft = (other.detach() / 4).softmax(1)
        loss = loss + 16 * (soft * (soft.log() - (one / 4).log_softmax(1))).sum() / rows
    (theirs,) = torch.autograd.grad(loss, z)
    assert (terms["ce"] + terms["kd"]).item() == near(loss.item())
    torch.testing.assert_close(ours, theirs)
    undetached = DDGSDObjective(temperature=4.0, ce_weight=0.5, discrepancy_weight=0.0)
    (whole,) = torch.autograd.grad(
        sum(undetached(student=Output(z, both.features), teachers={}, target=TARGET).values()), z
    )
    assert not torch.allclose(whole, theirs, rtol=1e-2)


def test_ddgsd_is_zero_for_equal_distortions_and_sends_gradients_to_both() -> None:
    half = output(1, BATCH // 2)
    twice = Output(torch.cat([half.logits] * 2), {"embedding": torch.cat([half.features["embedding"]] * 2)})
    found = values(DDGSDObjective(), twice, TARGET)
    assert found["kd"] == found["discrepancy"] == 0 < found["ce"]
    a, b = output(2).logits.requires_grad_(), output(3).logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: symmetric_kl(x, y, 2.0), (a, b))
    with pytest.raises(InputError, match=r"one distortion after the other.*7 rows"):
        DDGSDObjective()(student=output(1, 7), teachers={}, target=TARGET[:7])


# ------------------------------------------------------------------------------------------------------------- PS-KD


@targets
def test_ps_kd(target: Tensor) -> None:
    now, past = output(1), output(2)
    p = np.stack([ref.softmax(z) for z in past.logits.numpy()])
    onehot = target.numpy() if target.is_floating_point() else np.eye(CLASSES)[target.numpy()]
    found = values(PSKDObjective(past_weight=0.3), now, target, past=past)
    assert sum(found.values()) == near(ref.cross_entropy(now.logits.numpy(), 0.7 * onehot + 0.3 * p))
    assert found["past"] == near(0.3 * ref.cross_entropy(now.logits.numpy(), p))
    sure = Output(F.one_hot(TARGET, CLASSES).double().log(), {})  # the label itself: minus infinity elsewhere
    found = values(PSKDObjective(past_weight=0.3), now, TARGET, past=sure)
    assert sum(found.values()) == near(ref.cross_entropy(now.logits.numpy(), TARGET.numpy()))


def test_past_predictions() -> None:
    past = PastPredictions(CLASSES)
    p = output(1).logits.softmax(1)
    past.write(torch.tensor([40, 3]), p[:2])
    assert past.probabilities.shape == (41, CLASSES)
    assert past.probabilities.dtype == torch.float16
    found = past.read(torch.tensor([3, 90, 40]), torch.tensor([0, 2, 0]))
    torch.testing.assert_close(found[[0, 2]].double(), p[[1, 0]], rtol=1e-3, atol=1e-4)
    assert found[1].tolist() == [0, 0, 1, 0, 0]
    assert torch.equal(past.read(torch.tensor([7]), MIXED[:1]), MIXED[:1].float())


class Watched(PSKD):
    """Notes the windows, answers and terms of each step."""

    def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
        terms = super().terms(batch, student)
        if not hasattr(self, "seen"):
            self.seen: list[tuple[int, list[int], np.ndarray, np.ndarray, dict[str, float]]] = []
        note = (batch.index.tolist(), student.logits.detach().double().numpy(), batch.target.numpy())
        self.seen.append((self.current_epoch, *note, {k: v.item() for k, v in terms.items()}))
        return terms


def test_ps_kd_in_a_fit(tmp_path: Path) -> None:
    """Every step once more, from a dictionary: shuffled, augmented, with windows that an epoch leaves out."""
    pl.seed_everything(0)
    epochs, module, data = 4, Watched(net(), past_weight=0.6), BasicMotions(batch_size=10, augment=Mix2())
    trainer(tmp_path, max_epochs=epochs).fit(module, data)
    said: dict[int, np.ndarray] = {}
    last: dict[int, int] = {}
    older = 0
    for epoch, index, logits, target, terms in module.seen:
        alpha = 0.6 * (epoch + 1) / epochs
        older += sum(last.get(i, epoch) < epoch - 1 for i in index)
        soft = np.stack([said.get(i, np.eye(4)[y]) for i, y in zip(index, target, strict=True)])
        expected = ref.cross_entropy(logits, (1 - alpha) * np.eye(4)[target] + alpha * soft)
        assert sum(terms.values()) == pytest.approx(expected, rel=2e-3)
        if epoch == 0:
            assert sum(terms.values()) == pytest.approx(ref.cross_entropy(logits, target), rel=1e-5)
        said |= {i: ref.softmax(z) for i, z in zip(index, logits, strict=True)}
        last |= dict.fromkeys(index, epoch)
    assert older > 0
    assert len({index[0] for _, index, *_ in module.seen}) > 4  # shuffled
    for i in data.train_index:
        found = module.past.probabilities[i].double().numpy()
        np.testing.assert_allclose(found, said.get(i, np.zeros(4)), atol=1e-3)


def test_ps_kd_keeps_the_past_in_full_checkpoints_only(tmp_path: Path) -> None:
    module = PSKD(net())
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(module, BasicMotions(batch_size=8))
    for name, weights in (("small", True), ("full", False)):
        fit.save_checkpoint(tmp_path / f"{name}.ckpt", weights_only=weights)
        checkpoint = read_checkpoint(tmp_path / f"{name}.ckpt")
        assert ("ps_kd" in checkpoint) == (not weights)
        assert not any("past" in key for key in checkpoint["state_dict"])
        Teacher(str(tmp_path / f"{name}.ckpt")).load()
        fresh = trainer(tmp_path / name)
        fresh.test(
            PSKD(net()),
            BasicMotions(),
            ckpt_path=tmp_path / f"{name}.ckpt",
            weights_only=True,
            verbose=False,
        )
    assert module.past.probabilities.any()
    module.trainer.state.fn = "fit"
    module.setup("fit")  # another fit begins anew
    assert not module.past.probabilities.any()


# ------------------------------------------------------------------------------------------------------------- TF-KD


@targets
def test_tf_kd_self(target: Tensor) -> None:
    student, teacher = output(1), output(2)
    ce = ref.cross_entropy(student.logits.numpy(), target.numpy())
    kl = ref.soft_target_kl(student.logits.numpy(), teacher.logits.numpy(), 6.0).mean()
    assert values(TFKDSelfObjective(), student, target, raw=teacher) == near({"ce": 0.05 * ce, "kd": 0.95 * kl})
    scaled = values(TFKDSelfObjective(kd_weight=0.4, multiplier=3.0), student, target, raw=teacher)
    assert scaled == near({"ce": 0.6 * ce, "kd": 0.4 * 3 * kl})
    with pytest.raises(InputError, match=r"one teacher.*raw, pi.*Use KD"):
        TFKDSelfObjective().check(batch_size=8, teachers=["raw", "pi"])


@targets
def test_tf_kd_virtual(target: Tensor) -> None:
    logits = output(1).logits.numpy()
    onehot = target.numpy() if target.is_floating_point() else np.eye(CLASSES)[target.numpy()]
    total = 0.0
    for z, y in zip(logits, onehot, strict=True):
        u = [sum(y[j] * (0.9 if j == k else 0.1 / (CLASSES - 1)) for j in range(CLASSES)) for k in range(CLASSES)]
        assert sum(u) == pytest.approx(1)
        t, p = ref.softmax(np.array(u) / 7), ref.softmax(z)
        total += sum(t[k] * (math.log(t[k]) - math.log(p[k])) for k in range(CLASSES))
    expected = {"ce": 0.8 * ref.cross_entropy(logits, target.numpy()), "kd": 0.2 * 3 * total / BATCH}
    objective = TFKDVirtualObjective(kd_weight=0.2, temperature=7.0, multiplier=3.0, correct=0.9)
    assert values(objective, output(1), target) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match=r"correct.*1\.0"):
        TFKDVirtualObjective(correct=1.0)


def test_tf_kd_of_released_code() -> None:
    """The mean over B x K, times 50 (self) and 100 (virtual), with 100 classes."""
    student, teacher = output(1, classes=100), output(2, classes=100)
    z, t = student.logits, teacher.logits
    kl = torch.nn.KLDivLoss(reduction="mean")
    expected = 0.95 * 36 * 50 * float(kl((z / 6).log_softmax(1), (t / 6).softmax(1)))
    ours = values(TFKDSelfObjective(multiplier=50.0, kl_reduction="mean"), student, TARGET, raw=teacher)
    assert ours["kd"] == near(expected)
    assert values(TFKDSelfObjective(multiplier=0.5), student, TARGET, raw=teacher)["kd"] == near(expected)
    u = torch.full_like(z, 0.01 / 99)
    for i, y in enumerate(TARGET):
        u[i, y] = 0.99
    expected = 0.1 * 100 * float(kl(z.log_softmax(1), (u / 20).softmax(1)))
    ours = values(TFKDVirtualObjective(multiplier=100.0, kl_reduction="mean"), student, TARGET)
    assert ours["kd"] == pytest.approx(expected, rel=1e-5)
    assert values(TFKDVirtualObjective(), student, TARGET)["kd"] == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(virtual_teacher(TARGET, 100), u.float())


def test_tf_kd_self_wants_a_copy(teachers: dict[str, str], tmp_path: Path) -> None:
    fit = trainer(tmp_path, max_epochs=1)
    module = TFKDSelf(net(), {"raw": Teacher(teachers["raw"])})
    fit.fit(module, BasicMotions(batch_size=8))
    assert fit.global_step > 2
    for other in (net(width=2), net(depth=16)):
        with pytest.raises(InputError, match=r"'raw' must be an earlier copy.*'depth': 10.*use KD"):
            trainer(tmp_path).fit(TFKDSelf(other, {"raw": Teacher(teachers["raw"])}), BasicMotions(batch_size=8))
    views = {"raw": Raw(), "same": Raw()}
    with pytest.raises(InputError, match=r"earlier copy.*'raw'.*'same'"):
        trainer(tmp_path).fit(
            TFKDSelf(net(), {"raw": Teacher(teachers["raw"], view="same")}), BasicMotions(views=views, batch_size=8)
        )


# ------------------------------------------------------------------------------------------------------------- CS-KD


@targets
def test_cs_kd(target: Tensor) -> None:
    student, one, two = output(1), output(2), output(3)
    ce = ref.cross_entropy(student.logits.numpy(), target.numpy())
    kl = [ref.soft_target_kl(student.logits.numpy(), t.logits.numpy(), 4.0).mean() for t in (one, two)]
    assert values(CSKDObjective(), student, target, pair=one) == near({"ce": ce, "kd": kl[0]})
    several = values(CSKDObjective(kd_weight=3.0, kl_reduction="mean"), student, target, a=one, b=two)
    assert several["kd"] == near(3 * (kl[0] + kl[1]) / 2 / CLASSES)


def test_cs_kd_of_released_code() -> None:
    """The sum over B x K, times T^2, over B."""
    student, partner = output(1), output(2)
    q = (partner.logits / 4).softmax(1)
    expected = 16 * float(F.kl_div((student.logits / 4).log_softmax(1), q, reduction="sum")) / BATCH
    assert values(CSKDObjective(), student, TARGET, pair=partner)["kd"] == near(expected)


def test_pairs() -> None:
    target = np.array([0, 1, 1, 0, 2, 1, 0, 1])
    rows = np.array([0, 1, 2, 3, 4, 5])  # 6 and 7 are held out
    pairs = ClassPairs(rows, target, seed=1)
    found = {i: [pairs(epoch, i) for epoch in range(300)] for i in rows.tolist()}
    assert {i: set(partners) for i, partners in found.items()} == {
        0: {3},
        1: {2, 5},
        2: {1, 5},
        3: {0},
        4: {4},
        5: {1, 2},
    }
    assert 110 < found[1].count(2) < 190
    assert found[1] == [ClassPairs(rows, target, seed=1)(epoch, 1) for epoch in range(300)]
    assert found[1] != [ClassPairs(rows, target, seed=2)(epoch, 1) for epoch in range(300)]


def test_pairs_of_the_data_module() -> None:
    views = {"raw": Raw(), "raw/pair": None, "gaf/pair": GramianAngularField(size=8)}
    data = BasicMotions(views=views, batch_size=8, seed=4)
    loader, whole = data.train_dataloader(), next(data.batches("train", 1000, ["raw"]))
    known = {i: (x, y) for i, x, y in zip(whole.index.tolist(), whole.views["raw"], whole.target.tolist(), strict=True)}

    def partners(epoch: int) -> dict[int, int]:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        found = {}
        for batch in loader:
            for i, x, gaf in zip(batch.index.tolist(), batch.views["raw/pair"], batch.views["gaf/pair"], strict=True):
                (found[i],) = (j for j, (y, _) in known.items() if torch.equal(x, y))
                torch.testing.assert_close(gaf, GramianAngularField(size=8)(x.numpy()))
        return found

    first, second = partners(0), partners(1)
    assert all(known[i][1] == known[j][1] and i != j for i, j in (first | second).items())
    assert first != second
    again = {i: j for i, j in first.items() if i in partners(0)}
    assert again == first
    shared = set(first) & set(second)
    assert sum(first[i] == second[i] for i in shared) < len(shared) / 2
    assert data.training_view("raw/pair")["augmentation"] == "another window of the class"
    assert data.training_view("raw")["augmentation"] is None
    for stage in ("val", "test"):
        batch = next(iter(data.batches(stage, 4)))
        assert torch.equal(batch.views["raw"], batch.views["raw/pair"])


def test_partners_are_augmented_by_themselves() -> None:
    noise, views = Noise(0.5), {"raw": Raw(), "raw/clean": None, "raw/pair": None}
    data = BasicMotions(views=views, batch_size=8, augment=noise, seed=4)
    batch, whole = next(iter(data.train_dataloader())), next(data.batches("train", 1000, ["raw"]))
    clean = dict(zip(whole.index.tolist(), whole.views["raw"].numpy(), strict=True))
    pairs = ClassPairs(data.train_index, data.data.target, seed=4)
    for i, x, own, before in zip(
        batch.index.tolist(), *(batch.views[key] for key in ("raw/pair", *views)[:3]), strict=True
    ):
        partner = clean[pairs(0, i)]
        np.testing.assert_array_equal(x.numpy(), noise(partner, stream(4, 0, i, draw=5)))
        drawn = np.corrcoef((x.numpy() - partner).ravel(), (own - before).numpy().ravel())
        assert abs(drawn[0, 1]) < 0.2


def test_cs_kd_sends_no_gradient_to_the_partner() -> None:
    x, partner = torch.randn(2, BATCH, 6, 20, generator=torch.Generator().manual_seed(0))
    batch = Batch({"raw": x, "raw/pair": partner}, torch.arange(BATCH) % 4, torch.arange(BATCH))
    torch.manual_seed(0)
    module = CSKD(net()).train()
    terms = module.terms(batch, module.net(x))
    torch.stack(list(terms.values())).sum().backward()
    torch.manual_seed(0)
    twin = net().train()
    own = twin(x).logits
    soft = (twin(partner).logits.detach() / 4).softmax(1)
    kd = 16 * F.kl_div((own / 4).log_softmax(1), soft, reduction="batchmean")
    (F.cross_entropy(own, batch.target) + kd).backward()
    for (name, ours), theirs in zip(module.net.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    assert torch.equal(module.net.norm.running_mean, twin.norm.running_mean)  # both passes count


# -------------------------------------------------------------------------------------------------------------- fits

METHODS: dict[type[Supervised], dict[str, Any]] = {
    DDGSD: {"augment": Mix2(), "views": {"raw": Raw(), "raw/second": None}},
    PSKD: {"augment": Mix2()},
    CSKD: {"augment": Mix2(), "views": {"raw": Raw(), "raw/pair": None}},
    TFKDVirtual: {},
}


@pytest.mark.parametrize(
    ("method", "stop"),
    [
        (PSKD, {"max_epochs": 2}),
        (PSKD, {"max_steps": 6}),
        (DDGSD, {"max_steps": 6}),
        (CSKD, {"max_epochs": 1}),
        (CSKD, {"max_steps": 6}),
    ],
    ids=str,
)
def test_interrupted_equals_uninterrupted(method: type[Supervised], stop: dict[str, int], tmp_path: Path) -> None:
    def run(folder: str, path: Path | None = None, **limit: int) -> tuple[pl.Trainer, Supervised]:
        pl.seed_everything(3)
        module = method(net(), **({"epochs": 3} if method is PSKD else {}))
        fit = trainer(tmp_path / folder, **{"max_epochs": 3, **limit}, limit_val_batches=0)
        fit.fit(module, BasicMotions(seed=3, batch_size=8, **METHODS[method]), ckpt_path=path, weights_only=True)
        return fit, module

    _, whole = run("whole")
    first, _ = run("first", **stop)
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = run("second", tmp_path / "half.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    if isinstance(whole, PSKD) and isinstance(resumed, PSKD):
        assert torch.equal(whole.past.probabilities, resumed.past.probabilities)
        assert float(resumed.objective.settings()["past_weight"]) == pytest.approx(0.8)


def test_ddgsd_trains_on_both_distortions(tmp_path: Path) -> None:
    class Noted(DDGSD):
        def terms(self, batch: Batch, student: Output) -> dict[str, Tensor]:
            x = batch.views["raw"]
            assert len(x) == 2 * len(batch.index) == len(batch.target) == len(student.logits)
            assert torch.equal(batch.target[:8], batch.target[8:])
            assert not torch.equal(x[:8], x[8:])
            return super().terms(batch, student)

    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(Noted(net()), BasicMotions(batch_size=8, **METHODS[DDGSD]))
    assert {"train/ce", "train/kd", "train/discrepancy", "train/temperature"} <= set(fit.callback_metrics)
    assert float(fit.callback_metrics["train/kd"]) > 0


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "second": (DDGSD, {"augment": Mix2()}, r"DDGSD.*'raw/second'.*emits 'raw'.*raw/second: null"),
    "augment": (
        DDGSD,
        {"views": METHODS[DDGSD]["views"]},
        r"DDGSD: augment of the data module must be set.*Set the data module's augment",
    ),
    "pair": (CSKD, {}, r"CSKD.*'raw/pair'.*emits 'raw'.*raw/pair: null"),
    "same": (CSKD, {"views": {"raw": Raw(), "raw/pair": Raw([0])}}, r"CSKD.*must be the same view"),
    "end": (PSKD, {}, r"PSKD.*no planned end.*epochs="),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, tmp_path: Path) -> None:
    method, settings, message = REFUSED[case]
    limit = {"max_epochs": -1, "max_time": "00:00:01:00"} if case == "end" else {"max_epochs": 1}
    with pytest.raises(InputError, match=message):
        trainer(tmp_path, **limit).fit(method(net()), BasicMotions(batch_size=8, **settings))
    with pytest.raises(InputError, match="epochs must be a whole number at least 1, but got 0"):
        PSKD(net(), epochs=0)


#: fields of its objective that a method sets itself, and defaults that differ
FIXED: dict[type[Supervised], set[str]] = {PSKD: {"growing"}, ASoftmax: {"falling", "cosine_weight"}}
OTHER_DEFAULT: dict[type[Supervised], dict[str, Any]] = {AMC: {"ramp_up": 50}}


@pytest.mark.parametrize("method", [*METHODS, ASoftmax, AMC])
def test_methods_have_the_arguments_of_their_objective(method: type[Supervised]) -> None:
    def arguments(cls: type) -> dict[str, Any]:
        return {k: p.default for k, p in inspect.signature(cls).parameters.items()}

    ours, shared, fields = (arguments(cls) for cls in (method, Supervised, type(method(net()).objective)))
    assert {k: v for k, v in shared.items() if k != "objective"}.items() <= ours.items()
    assert set(ours) == set(shared) - {"objective"} | set(fields) - FIXED.get(method, set())
    assert {k: ours[k] for k in fields if k in ours and ours[k] != fields[k]} == OTHER_DEFAULT.get(method, {})
    chosen = dict.fromkeys([k for k in method(net()).objective.settings() if k in ours], 0.25)
    settings = method(net(), **chosen).objective.settings()
    assert {k: float(settings[k]) for k in chosen} == chosen
    added = set(ArgumentParser(exit_on_error=False).add_class_arguments(method, "model"))
    assert {f"model.{k}" for k in ours} <= added
    assert "model.objective" not in added
    assert not {f"model.{k}" for k in FIXED.get(method, ())} & added
    assert method.__name__ in kdlab.__all__
    assert method.__name__ in kdlab.methods.__all__
    module = method(net())
    cited = citations.papers(module.modules())
    assert set(type(module.objective).paper) <= set(cited)
    assert citations.bibtex(cited).count("@") == len(cited)


def test_values_that_a_method_sets_itself_are_no_arguments() -> None:
    with pytest.raises(
        TypeError, match=r"PSKD: has no argument 'growing'\. Its arguments are net, .*past_weight, epochs"
    ):
        PSKD(net(), growing=False)
    with pytest.raises(TypeError, match=r"ASoftmax: has no argument 'cosine_weight'\. Its arguments are net, .*margin"):
        ASoftmax(net(), cosine_weight=1.0)


# --------------------------------------------------------------------------------------------------------- processes


def steps(rank: int, world: int) -> dict[str, Any]:
    """DDGSD's terms and gradients, and PS-KD's predictions, on this rank's share of the windows."""
    own = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    a, b = output(1), output(2)
    logits, embedding = (
        torch.cat([x[own], y[own]]).requires_grad_()
        for x, y in ((a.logits, b.logits), (a.features["embedding"], b.features["embedding"]))
    )
    student, target = Output(logits, {"embedding": embedding}), torch.cat([TARGET[own], TARGET[own]])
    terms = DDGSDObjective(discrepancy_weight=3.0)(student=student, teachers={}, target=target)
    torch.stack(list(terms.values())).sum().backward()
    assert logits.grad is not None
    assert embedding.grad is not None
    module = PSKD(net(classes=CLASSES))
    past = []
    for epoch in range(2):
        batch = Batch({}, TARGET[own], torch.arange(10, 10 + BATCH)[own])
        module.terms(batch, Output((a, b)[epoch].logits[own].float(), {}))
        past.append(module.past.probabilities.clone())
    return {
        "terms": {k: v.detach() for k, v in terms.items()},
        "grad": torch.cat([logits.grad, embedding.grad], 1) / world,
        "past": past,
    }


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    torch.save(steps(rank, 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gloo")
    mp.start_processes(worker, (str(folder),), nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_two_processes_equal_one(processes: list[dict[str, Any]]) -> None:
    one = steps(0, 1)
    for key, term in one["terms"].items():
        torch.testing.assert_close(torch.stack([found["terms"][key] for found in processes]).mean(), term)
    assert processes[0]["terms"]["discrepancy"] == processes[1]["terms"]["discrepancy"]
    shares = [found["grad"].chunk(2) for found in processes]
    torch.testing.assert_close(torch.cat([torch.cat([s[half] for s in shares]) for half in range(2)]), one["grad"])
    for found in processes:
        assert all(torch.equal(a, b) for a, b in zip(found["past"], one["past"], strict=True))
    assert not torch.equal(*one["past"])
    assert one["past"][0][10:].sum(1).tolist() == pytest.approx([1.0] * BATCH, abs=1e-2)


def test_soft_targets_are_the_self_variant_with_one_teacher() -> None:
    student, teacher = output(1), output(2)
    plain = values(SoftTargets(temperature=6.0, kd_weight=0.95), student, TARGET, raw=teacher)
    assert values(TFKDSelfObjective(), student, TARGET, raw=teacher) == plain
