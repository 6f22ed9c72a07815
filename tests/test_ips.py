"""IPS against its equation in float64: the swap, the draw, and fits of pairs."""

import numpy as np
import pytest
import torch
from scipy import stats

from kdlab import IPS
from kdlab.augment import Noise
from kdlab.data import BasicMotions, Mixup
from kdlab.methods.ips import IPSObjective
from kdlab.methods.swap import drawn_cells, swap
from kdlab.types import InputError, Output
from kdlab.views import Raw
from tests import references as ref
from tests.conftest import net, trainer
from tests.test_adapters import check_value

PAIRS = {"raw": Raw(), "raw/pair": None}


def test_segments_of_time_are_exchanged():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 5, 3, 21))
    cells = rng.random((5, 4)) < 0.5
    a, b = (x.numpy() for x in swap(*map(torch.tensor, (one, two, cells)), 4))
    bounds = [0, 6, 11, 16, 21]  # as equal as they can be
    for i in range(5):
        for cell in range(4):
            part = (i, slice(None), slice(bounds[cell], bounds[cell + 1]))
            first, second = (two, one) if cells[i, cell] else (one, two)
            assert np.array_equal(a[part], first[part])
            assert np.array_equal(b[part], second[part])


def test_cells_of_images_are_exchanged():
    one, two = torch.zeros(1, 2, 6, 9), torch.ones(1, 2, 6, 9)
    cells = torch.zeros(1, 9, dtype=torch.bool)
    cells[0, [1, 8]] = True  # above in the middle; below to the right
    a, b = swap(one, two, cells, 3)
    expected = np.zeros((6, 9))
    expected[:2, 3:6] = expected[4:, 6:] = 1
    assert np.array_equal(a[0, 1].numpy(), expected)
    assert torch.equal(b, 1 - a)


def test_the_draw():
    drawn = drawn_cells(torch.arange(4000), 8, 3, 0.6, seed=1, step=5)
    count = drawn.sum(1)
    assert set(count.tolist()) == {0, 3}
    assert (count > 0).float().mean().item() == pytest.approx(0.6, abs=0.03)
    assert stats.chisquare(drawn.sum(0).numpy()).pvalue > 1e-3
    assert torch.equal(drawn[7:9], drawn_cells(torch.arange(7, 9), 8, 3, 0.6, seed=1, step=5))
    assert not torch.equal(drawn, drawn_cells(torch.arange(4000), 8, 3, 0.6, seed=1, step=6))


def test_ips_by_hand():
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 2, (2, 6, 4))
    target = np.arange(6) % 4
    kd = (ref.soft_target_kl(one, two, 3.0) + ref.soft_target_kl(two, one, 3.0)).mean()
    ce = ref.cross_entropy(one, target) + ref.cross_entropy(two, target)
    both = torch.tensor(np.concatenate([one, two]), requires_grad=True)
    objective = IPSObjective(kd_weight=2.0, temperature=3.0, ce_weight=0.5)
    terms = objective(student=Output(both, {}), teachers={}, target=torch.tensor(np.tile(target, 2)))
    check_value(terms["kd"], 2 * kd)
    check_value(terms["ce"], 0.5 * ce)
    terms["kd"].backward()
    assert (both.grad.abs().sum(1) > 0).all()  # both sides learn


@pytest.mark.parametrize("mix", [None, Mixup(1.0)])
def test_a_fit_of_pairs_is_resumed(mix, tmp_path):
    seen = []

    class Watched(IPS):
        def terms(self, batch, student):
            seen.append(batch)
            return super().terms(batch, student)

    def run(path=None, **limit):
        torch.manual_seed(3)
        module = Watched(net(), segments=5, swapped=2)
        fit = trainer(tmp_path, limit_val_batches=0, **{"max_epochs": 2, **limit})
        fit.fit(
            module,
            BasicMotions(batch_size=8, seed=3, views=PAIRS, augment=Noise(0.01), mix=mix),
            ckpt_path=path,
            weights_only=True if path else None,
        )
        return fit, module

    _, complete = run()
    assert all(len(batch.views["raw"]) == 16 == len(batch.target) for batch in seen)
    first, _ = run(max_steps=3)
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = run(tmp_path / "half.ckpt")
    for key, value in complete.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[key]), key


def test_ips_refusals(tmp_path):
    def fit(module, **settings):
        trainer(tmp_path, max_steps=1).fit(module, BasicMotions(**{"views": PAIRS, **settings}))

    with pytest.raises(InputError, match=r"reads view 'raw/pair' beside 'raw'"):
        fit(IPS(net()), views={"raw": Raw()})
    with pytest.raises(InputError, match=r"swapped must be below the number of cells, 4, but got 4"):
        fit(IPS(net(), segments=4))
    with pytest.raises(InputError, match=r"segments must be at most the positions of a window, 100, but got 101"):
        fit(IPS(net(), segments=101))
    with pytest.raises(InputError, match=r"kd_weight must be a number.*'auto'"):
        fit(IPS(net(), kd_weight="auto"))
    with pytest.raises(InputError, match=r"both halves|one half after the other, but got 3 rows"):
        IPSObjective()(student=Output(torch.zeros(3, 2), {}), teachers={}, target=torch.zeros(3).long())
