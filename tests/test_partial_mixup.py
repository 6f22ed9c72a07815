"""Partial mixup: which windows are mixed, how much, and the method that goes with it, against its equation."""

import numpy as np
import pytest
import torch
from scipy import stats

from kdlab import KD, MixKD, Teacher
from kdlab.augment import Noise
from kdlab.data import BasicMotions, PartialMixup
from kdlab.data.mixing import Mixture
from kdlab.methods.mix_kd import MixKDObjective
from kdlab.types import InputError, Output
from tests import references as ref
from tests.conftest import net, trainer


def drawn(mix, count=64, times=400, seed=0):
    rng = np.random.default_rng(seed)
    return [mix(count, (10,), rng) for _ in range(times)]


@pytest.mark.parametrize(("fraction", "count"), [(0.1, 64), (0.1, 4), (0.5, 8), (1.0, 7), (0.0, 7)])
def test_the_exact_draw_mixes_its_fraction(fraction, count):
    mixed = [int((m.weight < 1).sum()) for m in drawn(PartialMixup(fraction=fraction), count, 2000)]
    assert set(mixed) <= {int(fraction * count), int(np.ceil(fraction * count))}
    assert np.mean(mixed) == pytest.approx(fraction * count, abs=0.05)
    for mixture in drawn(PartialMixup(fraction=fraction), count, 50):
        moved = mixture.partner != np.arange(count)
        assert np.array_equal(moved, mixture.weight < 1)  # each with another window, and no other has a partner


def test_every_window_and_every_partner_is_drawn_alike():
    found = np.zeros((6, 6))
    for mixture in drawn(PartialMixup(fraction=0.5), 6, 4000):
        found[np.flatnonzero(mixture.weight < 1), mixture.partner[mixture.weight < 1]] += 1
    assert not found.diagonal().any()
    others = found[~np.eye(6, dtype=bool)]
    assert stats.chisquare(others).pvalue > 1e-3


def test_the_released_draw_mixes_more():
    shares = [(m.weight < 1).mean() for m in drawn(PartialMixup(draw="released"))]
    assert np.mean(shares) == pytest.approx((1 - 1 / 64) ** 57, abs=0.01)  # 57 draws of 64 windows miss 41 %
    assert all(sorted(m.partner) == list(range(64)) for m in drawn(PartialMixup(draw="released"), times=20))


def test_each_pair_has_a_share_of_its_own():
    weights = np.concatenate([m.weight[m.weight < 1] for m in drawn(PartialMixup(0.4, fraction=0.5))])
    assert stats.kstest(weights, stats.beta(0.4, 0.4).cdf).pvalue > 0.01
    assert len(set(weights)) == len(weights)


def test_windows_images_and_labels_are_blended_alike():
    rng = np.random.default_rng(0)
    mixture = Mixture(np.array([2, 1, 0]), np.array([0.25, 1.0, 0.6]))
    for x in (rng.normal(size=(3, 2, 5)).astype(np.float32), rng.normal(size=(3, 2, 4, 4))):
        found = mixture.windows(x)
        assert found.dtype == x.dtype
        assert np.allclose(found[0], 0.25 * x[0] + 0.75 * x[2], atol=1e-6)
        assert np.array_equal(found[1], x[1])
        assert np.allclose(found[2], 0.6 * x[2] + 0.4 * x[0], atol=1e-6)
    target = mixture.target(np.array([0, 1, -1]), 2)
    assert np.allclose(target, [[0.25, 0], [0, 1], [0.4, 0]])
    several = mixture.target(np.array([[1, 1], [-1, -1], [0, 1]]), 2)
    assert np.allclose(several, [[0.25, 1], [-1, -1], [0.4, 1]])
    without = mixture.target(np.array([[1, 1], [0, 1], [-1, -1]]), 2)
    assert np.allclose(without, [[-1, -1], [0, 1], [-1, -1]])


def test_batches_of_a_data_module():
    settings = {"seed": 4, "batch_size": 8, "augment": Noise(0.1)}
    plain = list(BasicMotions(**settings).train_dataloader())
    mixed = list(BasicMotions(mix=PartialMixup(fraction=0.25), **settings).train_dataloader())
    for one, other in zip(plain, mixed, strict=True):
        changed = (one.views["raw"] != other.views["raw"]).flatten(1).any(1)
        assert int(changed.sum()) == 2
        rows = torch.nn.functional.one_hot(one.target, 4).float()
        assert torch.equal(other.target[~changed], rows[~changed])
        assert torch.allclose(other.target.sum(1), torch.ones(8))


def test_refusals():
    for name, bad in (("fraction", 1.1), ("fraction", -0.1), ("draw", "replaced"), ("alpha", 0.0)):
        with pytest.raises(InputError, match=f"mix: {name} must be"):
            PartialMixup(**{name: bad})
    assert not (drawn(PartialMixup(fraction=1.0), 1, 5)[0].weight < 1).any()  # a last batch of one window


def test_the_objective_by_hand():
    rng = np.random.default_rng(0)
    own, raw, pi = rng.normal(0, 3, (3, 8, 5))
    target = rng.dirichlet(np.ones(5), 8)
    s, a, b = (z / z.std(1, ddof=1, keepdims=True) for z in (own, raw, pi))
    kd = 0.7 * ref.soft_target_kl(s, a, 1.0).mean() + 0.3 * ref.soft_target_kl(s, b, 1.0).mean()
    teachers = {"raw": Output(torch.tensor(raw), {}), "pi": Output(torch.tensor(pi), {})}
    objective = MixKDObjective(kd_weight=0.8, weights={"raw": 0.7, "pi": 0.3})
    terms = objective(student=Output(torch.tensor(own), {}), teachers=teachers, target=torch.tensor(target))
    assert float(terms["kd"]) == pytest.approx(0.8 * kd)
    assert float(terms["ce"]) == pytest.approx(0.2 * ref.cross_entropy(s, target))


@pytest.mark.parametrize("method", [MixKD, KD])
def test_an_interrupted_fit_equals_an_uninterrupted_one(method, tmp_path):
    def run(path=None, **limit):
        torch.manual_seed(3)
        taught = net()
        module = method(net(), {"raw": Teacher(net=taught, mean=[0.0] * 6, std=[1.0] * 6)})
        fit = trainer(tmp_path, limit_val_batches=0, **{"max_epochs": 2, **limit})
        data = BasicMotions(batch_size=8, seed=3, mix=PartialMixup(fraction=0.3))
        fit.fit(module, data, ckpt_path=path, weights_only=True if path else None)
        return fit, module

    _, complete = run()
    first, _ = run(max_steps=3)
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = run(tmp_path / "half.ckpt")
    for key, value in complete.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[key]), key
        assert value.isfinite().all()
