"""Mixup and CutMix: recovered from the batches themselves, the same for every source and version, resumed exactly."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from kdlab import AMD, CSKD, DDGSD, KD, PSKD, Supervised, Teacher, TeacherCache, TFKDSelf, TFKDVirtual, cli
from kdlab.augment import Mix2, Noise
from kdlab.data import BasicMotions, CutMix, Mixup, WindowDataModule, WindowSet
from kdlab.data.mixing import Mixture
from kdlab.types import Batch, InputError
from kdlab.views import PersistenceImage, Raw
from tests.conftest import REPOSITORY, net, trainer


def loaded(**settings: Any) -> list[Batch]:
    """The training batches of an epoch of BasicMotions."""
    return list(BasicMotions(seed=4, batch_size=8, **settings).train_dataloader())


def recovered(plain: Tensor, mixed: Tensor) -> tuple[list[int], list[float]]:
    """Each window's partner and lambda, by least squares over all pairs: nothing is known of how they were drawn."""
    x, m = plain.flatten(1).double().numpy(), mixed.flatten(1).double().numpy()
    partner, weight = [], []
    for i in range(len(x)):
        best = (float(np.abs(m[i] - x[i]).max()), i, 1.0)
        alone = best[0] < 1e-5  # its own partner
        for j in range(len(x)):
            if j != i and not alone:
                line = x[i] - x[j]
                share = float((m[i] - x[j]) @ line / (line @ line))
                best = min(best, (float(np.abs(m[i] - share * x[i] - (1 - share) * x[j]).max()), j, share))
        assert best[0] < 1e-5
        partner.append(best[1])
        weight.append(best[2])
    return partner, weight


def labels(target: Tensor, partner: list[int], weight: float, classes: int) -> np.ndarray:
    found = np.zeros((len(target), classes))
    for i, j in enumerate(partner):
        found[i, int(target[i])] += weight
        found[i, int(target[j])] += 1 - weight
    return found


# ------------------------------------------------------------------------------------------------------------ batches


def test_mixup_blends_windows_and_labels() -> None:
    for plain, mixed in zip(loaded(), loaded(mix=Mixup(1.0)), strict=True):
        assert torch.equal(plain.index, mixed.index)
        partner, weights = recovered(plain.views["raw"], mixed.views["raw"])
        moved = [w for i, (j, w) in enumerate(zip(partner, weights, strict=True)) if i != j]
        assert sorted(partner) == list(range(8))
        assert len(moved) >= 2
        assert 0 <= moved[0] <= 1
        assert moved == pytest.approx([moved[0]] * len(moved), abs=1e-5)
        assert mixed.target.dtype == torch.float32
        assert mixed.target.numpy() == pytest.approx(labels(plain.target, partner, moved[0], 4), abs=1e-5)


def test_cutmix_replaces_a_stretch_of_time() -> None:
    lengths = []
    for plain, mixed in zip(loaded(), loaded(mix=CutMix()), strict=True):
        x, m = plain.views["raw"].numpy(), mixed.views["raw"].numpy()
        changed = np.flatnonzero((x != m).any((0, 1)))
        first, last = changed.min(), changed.max()
        partner = [next(j for j in range(8) if (m[i, :, changed] == x[j, :, changed]).all()) for i in range(8)]
        assert sorted(partner) == list(range(8))
        for i, j in enumerate(partner):
            assert (m[i, :, first : last + 1] == x[j, :, first : last + 1]).all()
            assert (m[i, :, :first] == x[i, :, :first]).all()
            assert (m[i, :, last + 1 :] == x[i, :, last + 1 :]).all()
        lengths.append(last + 1 - first)
        assert mixed.target.numpy() == pytest.approx(labels(plain.target, partner, 1 - lengths[-1] / 100, 4), abs=1e-6)
    assert len(set(lengths)) > 1


@pytest.mark.parametrize("mix", [Mixup(1.0), CutMix()])
def test_images(mix: Mixup | CutMix) -> None:
    x = np.random.default_rng(0).normal(size=(6, 3, 12, 10)).astype(np.float32)
    seen = set()
    for seed in range(20):
        mixture = mix(6, (12, 10), np.random.default_rng(seed))
        m, y = mixture.windows(x), x[mixture.partner]
        if isinstance(mix, Mixup):
            assert m == pytest.approx(mixture.weight * x + (1 - mixture.weight) * y, abs=1e-6)
            continue
        inside = (m != x).any((0, 1))
        assert (m[:, :, inside] == y[:, :, inside]).all()
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if len(rows):  # one box
            assert inside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        assert mixture.weight == pytest.approx(1 - inside.sum() / 120)
        seen.add(inside.sum())
    assert isinstance(mix, Mixup) or len(seen) > 5


def test_lambda_is_of_the_beta_distribution() -> None:
    random = np.random.default_rng(0)
    found = [Mixup(0.4)(2, (4,), random).weight for _ in range(4000)]
    assert stats.kstest(found, stats.beta(0.4, 0.4).cdf).pvalue > 0.01
    assert stats.kstest(found, stats.beta(1.0, 1.0).cdf).pvalue < 1e-6
    kept = [1 - Mixup(probability=0.25)(8, (4,), random).weight for _ in range(2000)]
    assert np.mean(np.array(kept) > 0) == pytest.approx(0.25, abs=0.04)


def test_cutmix_cuts_the_share_that_it_drew() -> None:
    """Where nothing is clipped, the sides are (1 - lambda)^(1/n), rounded down; the released code loses one if odd."""
    mix, sides = CutMix(), (64, 48)
    for weight, expected in ((0.75, (32, 24)), (0.5, (45, 33))):
        boxes = [mix.mixture(np.arange(2), weight, sides, np.random.default_rng(s)).box for s in range(60)]
        lengths = [tuple(b - a for a, b in box) for box in boxes]
        assert max(lengths) == expected
        assert all(0 <= a <= b <= side for box in boxes for (a, b), side in zip(box, sides, strict=True))


class TwoSources(WindowDataModule):
    """BasicMotions' accelerometer, and its gyroscope at half the rate."""

    name = "two"

    def load(self) -> WindowSet:
        data = BasicMotions().data
        x = np.asarray(data.windows["raw"])
        return WindowSet(
            {"fast": x[:, :3], "slow": x[:, 3:, ::2].copy()},
            data.target,
            data.classes,
            {"fast": list("xyz"), "slow": list("xyz")},
            recording=data.recording,
            test=data.test,
        )


def test_sources_and_versions_are_mixed_alike() -> None:
    views: dict[str, Any] = {"fast": Raw(source="fast"), "slow": Raw(source="slow"), "fast/clean": None}
    views |= {"fast/second": None, "slow/pair": None}
    settings: dict[str, Any] = {"views": views, "batch_size": 8, "seed": 2, "augment": Noise(0.5)}
    for plain, mixed in zip(
        TwoSources(**settings).train_dataloader(),
        TwoSources(mix=Mixup(1.0), **settings).train_dataloader(),
        strict=True,
    ):
        assert torch.equal(plain.views["fast/clean"], mixed.views["fast/clean"])
        partner, weights = recovered(plain.views["fast"], mixed.views["fast"])
        weight = next(w for i, w in enumerate(weights) if partner[i] != i)
        for key in ("slow", "fast/second", "slow/pair"):
            x = plain.views[key]
            torch.testing.assert_close(mixed.views[key], weight * x + (1 - weight) * x[partner], rtol=0, atol=1e-4)
    for plain, mixed in zip(
        TwoSources(**settings).train_dataloader(),
        TwoSources(mix=CutMix(), **settings).train_dataloader(),
        strict=True,
    ):
        fast, slow = ((plain.views[k] != mixed.views[k]).any(0).any(0) for k in ("fast", "slow"))
        assert abs(int(fast.sum()) - 2 * int(slow.sum())) <= 2
        assert abs(int(fast.nonzero()[0]) - 2 * int(slow.nonzero()[0])) <= 1


def test_views_are_of_the_mixed_window() -> None:
    image = PersistenceImage(size=16)
    views: dict[str, Any] = {"raw": Raw(), "pi": image, "raw/clean": None, "pi/clean": None}
    plain, mixed = loaded(views=views)[0], loaded(views=views, mix=Mixup(1.0))[0]
    torch.testing.assert_close(mixed.views["pi"], image(mixed.views["raw"].numpy()))
    assert not torch.equal(mixed.views["pi"], plain.views["pi"])
    for key in ("raw", "pi"):
        assert torch.equal(mixed.views[f"{key}/clean"], plain.views[key])


def test_only_training_is_mixed() -> None:
    plain, mixed = BasicMotions(), BasicMotions(mix=Mixup(1.0))
    for stage in ("val", "test"):
        loaders = [(d.val_dataloader if stage == "val" else d.test_dataloader)() for d in (plain, mixed)]
        for a, b in zip(*loaders, strict=True):
            assert torch.equal(a.target, b.target)
            assert torch.equal(a.views["raw"], b.views["raw"])
    for a, b in zip(plain.batches("train"), mixed.batches("train"), strict=True):
        assert torch.equal(a.views["raw"], b.views["raw"])
        assert not b.target.is_floating_point()
    assert plain.fingerprint == mixed.fingerprint
    assert plain.view_statistics("raw") == mixed.view_statistics("raw")


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    def epochs(workers: int, seed: int = 4) -> list[list[Batch]]:
        loader: Any = BasicMotions(seed=seed, num_workers=workers, mix=Mixup(1.0)).train_dataloader()
        found = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            found.append(list(loader))
        return found

    alone, workers = epochs(0), epochs(2)
    for epoch, other in zip(alone, workers, strict=True):
        for a, b in zip(epoch, other, strict=True):
            assert torch.equal(a.target, b.target)
            assert torch.equal(a.views["raw"], b.views["raw"])
    weights = {float(batch.target.max(1).values.min()) for epoch in alone for batch in epoch}
    assert len(weights) > 4  # each batch has its own
    assert not torch.equal(alone[0][0].target, epochs(0, seed=5)[0][0].target)


# --------------------------------------------------------------------------------------------------------------- fits


@pytest.mark.parametrize("stop", [{"max_epochs": 2}, {"max_steps": 6}], ids=["epoch", "middle"])
@pytest.mark.parametrize("mix", [Mixup(0.4), CutMix(probability=0.5)], ids=["mixup", "cutmix"])
def test_resumed_is_uninterrupted(mix: Any, stop: dict[str, int], tmp_path: Any) -> None:
    def fitted(path: Any = None, **limit: int) -> tuple[Any, Tensor]:
        torch.manual_seed(5)
        module = Supervised(net())
        run = trainer(tmp_path, **{"max_epochs": 4, **limit})
        run.fit(
            module,
            BasicMotions(seed=3, mix=mix, augment=Noise(0.1)),
            ckpt_path=path,
            weights_only=True if path else None,
        )
        return run, torch.cat([p.detach().flatten() for p in module.net.parameters()])

    _, whole = fitted()
    half, _ = fitted(**stop)
    half.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = fitted(tmp_path / "half.ckpt")
    assert torch.equal(whole, resumed)


@pytest.mark.parametrize("name", ["Supervised", "KD", "AMD", "CSKD", "DDGSD", "TFKDSelf", "TFKDVirtual"])
def test_methods_cope(name: str, teachers: dict[str, str], tmp_path: Any) -> None:
    raw = {"raw": Teacher(teachers["raw"])}
    made: dict[str, Any] = {
        "Supervised": lambda: Supervised(net()),
        "KD": lambda: KD(net(), raw),
        "AMD": lambda: AMD(net(), raw),
        "CSKD": lambda: CSKD(net()),
        "DDGSD": lambda: DDGSD(net()),
        "TFKDSelf": lambda: TFKDSelf(net(), raw),
        "TFKDVirtual": lambda: TFKDVirtual(net()),
    }
    views: dict[str, Any] = {"raw": Raw(), "raw/pair": None, "raw/second": None}
    run = trainer(tmp_path, max_epochs=1)
    run.fit(made[name](), BasicMotions(views=views, augment=Mix2(), mix=CutMix()))
    assert run.callback_metrics["train/loss"].isfinite()
    assert 0 <= run.callback_metrics["val/accuracy"] <= 1


def test_past_predictions_are_of_another_mixture(tmp_path: Any) -> None:
    with pytest.raises(InputError, match=r"PSKD.*another mixture.*but got Mixup\(alpha=0\.2"):
        trainer(tmp_path).fit(PSKD(net()), BasicMotions(mix=Mixup(0.2)))


@pytest.mark.parametrize("view", ["raw", "raw/clean"])
def test_what_the_teacher_of_a_mixed_student_sees(
    view: str, teachers: dict[str, str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[Tensor, Tensor, Tensor]] = []

    class Watched(AMD):
        def terms(self, batch: Batch, student: Any) -> dict[str, Tensor]:
            steps.append((batch.views["raw"], self.teacher_outputs(batch)["raw"].logits, batch.target))
            with torch.no_grad():
                mixed, clean = (self.teachers["raw"](batch.views[key]).logits for key in ("raw", "raw/clean"))
            assert torch.equal(steps[-1][1], clean if view == "raw/clean" else mixed)
            assert not torch.equal(clean, mixed)
            return super().terms(batch, student)

    module = Watched(net(), {"raw": Teacher(teachers["raw"], view=view)})
    trainer(tmp_path, max_steps=2).fit(
        module, BasicMotions(views={"raw": Raw(), "raw/clean": None}, mix=Mixup(1.0), seed=1)
    )
    assert len(steps) == 2
    assert steps[0][2].shape == (8, 4)


def test_a_cache_takes_no_mixed_windows(teachers: dict[str, str], tmp_path: Any) -> None:
    def fit(view: str = "raw", cache: TeacherCache | None = None, **change: Any) -> None:
        module = KD(net(), {"raw": Teacher(teachers["raw"], view=view)}, cache=cache or TeacherCache())
        data = BasicMotions(views={"raw": Raw(), "raw/clean": None}, mix=Mixup(0.2), **change)
        trainer(tmp_path, max_steps=2).fit(module, data)

    with pytest.raises(
        InputError, match=r"cache: teacher 'raw'.*\(mix: Mixup\(alpha=0\.2[^)]*\)\).*teacher_input='clean'"
    ) as said:
        fit()
    assert "augment" not in str(said.value)
    with pytest.raises(InputError, match=r"\(mix: Mixup\([^)]*\), augment: Noise\([^)]*\)\)"):
        fit(augment=Noise(0.25))
    fit(cache=TeacherCache(teacher_input="clean"))
    fit(view="raw/clean")


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixup(alpha=0.0), "alpha must be above 0"),
        (lambda: CutMix(alpha=float("nan")), "alpha must be above 0"),
        (lambda: CutMix(probability=1.5), "probability.*1.5"),
        (lambda: BasicMotions(batch_size=1, mix=Mixup()), "mix:.*batch_size=1"),
        (
            lambda: Mixture(np.array([1, 0]), 0.5, ((0, 2),), (4,)).windows(np.zeros((2, 1, 4, 4), np.float32)),
            "1 axes and another one of 2.*Mixup",
        ),
    ],
)
def test_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_cited(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(REPOSITORY / "experiments/basic_motions/amd_mixup.yaml")
    monkeypatch.setattr(sys, "argv", ["kdlab", "cite", "--config", config])
    cli.main()
    printed = capsys.readouterr().out
    assert "{zhang2018mixup," in printed
    assert "{jeon2023leveraging," in printed
