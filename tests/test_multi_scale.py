"""The multi-scale cross-attention net: against its equations in float64, from one source and two, and on anomalies."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import kdlab
from kdlab import Supervised
from kdlab.callbacks import OpenSetScore
from kdlab.data import BasicMotions
from kdlab.evaluate import parameters
from kdlab.nets import MultiScaleAttention, SensorFusion, WideResNet
from kdlab.nets.recorded import check_made_alike, same_net
from kdlab.types import InputError
from tests.conftest import trainer


def numbers(module, name):
    return getattr(module, name).detach().numpy()


def linear(layer, x):
    weight = numbers(layer, "weight")
    return x @ weight.reshape(len(weight), -1).T + numbers(layer, "bias")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolved(layer, x, stride=1):
    weight = numbers(layer, "weight")
    half = weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (half, half)))
    starts = range(0, x.shape[1] + 2 * half - weight.shape[2] + 1, stride)
    out = np.stack([np.einsum("ock,ck->o", weight, padded[:, t : t + weight.shape[2]]) for t in starts], 1)
    return out if layer.bias is None else out + numbers(layer, "bias")[:, None]


def normed(norm, x):
    mean, var, weight, bias = (numbers(norm, n)[:, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def branch(part, x):
    h = np.maximum(normed(part.norm, convolved(part.conv, x)), 0)
    u = h * sigmoid(linear(part.excite, np.maximum(linear(part.squeeze, h.mean(1)), 0)))[:, None]
    return u * sigmoid(convolved(part.gate, np.stack([u.mean(0), u.max(0)])))


def attended(part, tokens, others):
    dim = tokens.shape[1] // part.heads
    query, (key, value) = linear(part.query, tokens), np.split(linear(part.read, others), 2, 1)
    seen = []
    for h in range(part.heads):
        columns = slice(h * dim, (h + 1) * dim)
        score = query[:, columns] @ key[:, columns].T / np.sqrt(dim)
        weights = np.exp(score) / np.exp(score).sum(1, keepdims=True)
        seen.append(weights @ value[:, columns])
    y = tokens + linear(part.join, np.concatenate(seen, 1))
    centred = y - y.mean(1, keepdims=True)
    return centred / np.sqrt(y.var(1, keepdims=True) + 1e-5) * numbers(part.norm, "weight") + numbers(part.norm, "bias")


@pytest.mark.parametrize("groups", [None, {"left": 1, "right": 2}])
def test_it_is_its_equations(groups):
    torch.manual_seed(0)
    net = MultiScaleAttention(groups, channels=6, dim=8, in_channels=3, num_classes=4).double().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.LayerNorm):
            statistics = [module.running_mean, module.running_var] if hasattr(module, "running_mean") else []
            for value in (module.weight.data, module.bias.data, *statistics):
                value.uniform_(0.5, 1.5)
    net.standardize.fill([0.1] * 3, [2.0] * 3)
    x = torch.randn(1, 3, 22, dtype=torch.float64)
    features = net(x).features
    window = (x[0].numpy() - 0.1) / 2
    parts = [window] if groups is None else [window[:1], window[1:]]
    gated = [branch(b, p) for p, source in zip(parts, net.branches.values(), strict=True) for b in source]
    np.testing.assert_allclose(features["stage1"][0].detach(), np.concatenate(gated), atol=1e-9)
    tokens = [linear(layer, g[:, :20].reshape(6, 5, 4).mean(2).T) for layer, g in zip(net.tokens, gated, strict=True)]
    read = []
    for i, part in enumerate(net.attention):
        source = i // 3
        asked = [t for j, t in enumerate(tokens) if (j != i if groups is None else j // 3 != source)]
        assert len(asked) == (2 if groups is None else 3)
        read.append(attended(part, tokens[i], np.concatenate(asked)))
    total = np.sum(read, 0).T
    np.testing.assert_allclose(features["stage2"][0].detach(), total, atol=1e-9)
    down = np.maximum(normed(net.down[1], convolved(net.down[0], total, 2)), 0)
    np.testing.assert_allclose(features["stage3"][0].detach(), down, atol=1e-9)
    np.testing.assert_allclose(features["embedding"][0].detach(), down.mean(1), atol=1e-9)


def test_about_twenty_thousand_parameters():
    assert 18_000 < parameters(MultiScaleAttention(in_channels=3, num_classes=5)) < 22_000


def test_each_source_reads_the_other():
    """Without a change of the tokens of a source itself: they are added, so its own attention alone is looked at."""
    torch.manual_seed(0)
    net = MultiScaleAttention({"phone": 2, "watch": 2}, num_classes=4).eval()
    read: dict[int, torch.Tensor] = {}
    for i, part in enumerate(net.attention):
        part.join.register_forward_hook(lambda module, given, out, i=i: read.__setitem__(i, out.detach()))
    x = torch.randn(2, 4, 32)
    net(x)
    before = dict(read)
    x[:, 2:] += torch.randn(2, 2, 32)  # another watch
    net(x)
    assert all(not torch.allclose(before[i], read[i]) for i in range(6))  # keys of the phone's, queries of the watch's
    net.attention[0].query.weight.data.zero_()  # even attention: the mean of the other source's values alone
    net.attention[0].query.bias.data.zero_()
    net(x)
    before = read[0]
    x[:, :2] += 1
    net(x)
    torch.testing.assert_close(read[0], before)


def test_groups_are_checked_under_the_name_of_the_net():
    with pytest.raises(InputError, match=r"MultiScaleAttention: groups must be .*got \{'left': 0"):
        MultiScaleAttention({"left": 0, "right": 3})
    with pytest.raises(InputError, match=r"one or two groups.*but got 3 groups"):
        MultiScaleAttention({"a": 1, "b": 1, "c": 1})
    with pytest.raises(InputError, match=r"SensorFusion: in_channels must be the sum"):
        SensorFusion({"a": 1}, in_channels=2)


@pytest.mark.parametrize("net", [MultiScaleAttention, SensorFusion])
@pytest.mark.parametrize("groups", [{"a": [0, 1, 2], "b": [3, 4, 5]}, {"a": "3"}, {"a": True}, ["a", "b"]])
def test_groups_are_numbers_of_channels(net, groups):
    with pytest.raises(InputError, match=r"groups must be \{sensor: number of channels\}.*Write for example groups=\{"):
        net(groups=groups)


def test_anomalies(tmp_path):
    """Windows of a class that is held out, scored by the net; the AUROC is scikit-learn's on the same scores."""
    data = BasicMotions(unknown_classes=["Running"], batch_size=16)
    run = trainer(tmp_path, max_epochs=1, callbacks=[OpenSetScore("energy")])
    module = Supervised(MultiScaleAttention({"accelerometer": 3, "gyroscope": 3}, num_classes=3))
    run.fit(module, data)
    logged = run.test(module, data, verbose=False)[0]["test/open_set_auroc"]
    net = module.net.eval()
    with torch.no_grad():
        known, unknown = (
            np.concatenate([net(b.views["raw"]).logits.logsumexp(1).numpy() for b in data.batches(stage)])
            for stage in ("test", "unknown")
        )
    expected = roc_auc_score([1] * len(known) + [0] * len(unknown), np.concatenate([known, unknown]))
    assert logged == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", [MultiScaleAttention, SensorFusion])
def test_weights_of_another_order_of_sources_or_other_heads_are_refused(kind, tmp_path):
    """They fit by their shapes, and another net computes something else with them."""
    given, data = {"left": 3, "right": 3}, BasicMotions(batch_size=8)
    fit = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    fit.fit(kdlab.Supervised(kind(given, num_classes=4)), data)
    path = tmp_path / "net.ckpt"
    fit.save_checkpoint(path)

    def other():
        return kind({"right": 3, "left": 3}, num_classes=4)

    assert not same_net(other().spec, kind(given, num_classes=4).spec)
    student, refused = (
        WideResNet(10, 1, in_channels=6, num_classes=4),
        r"groups=\{'left': 3, 'right': 3\}, not \{'right': 3",
    )
    with pytest.raises(
        InputError, match=rf"init: .*must hold the weights of a net that is made as this one.*{refused}"
    ):
        trainer(tmp_path, max_epochs=1).fit(kdlab.Supervised(other(), init=str(path)), data)
    with pytest.raises(InputError, match=rf"teacher 'raw': .*{refused}"):
        trainer(tmp_path, max_epochs=1).fit(kdlab.KD(student, {"raw": kdlab.Teacher(str(path), net=other())}), data)
    with pytest.raises(InputError, match=rf"CKPT: .*{refused}"):
        kdlab.load(path, net=other())
    with pytest.raises(InputError, match="ckpt_path: the net must be that of the configuration"):
        trainer(tmp_path).test(kdlab.Supervised(other()), data, ckpt_path=path)
    assert kdlab.load(path, net=kind(given, num_classes=4)).classes


def test_what_changes_nothing_in_a_net_may_differ():
    one, other = (
        {"class_path": f"{module}.Net", "init_args": {"dropout": p, "widths": widths, "net": {"heads": 2}, **more}}
        for module, p, widths, more in (("__main__", 0.1, (8, 16), {}), ("mine", 0.0, [8, 16], {"new": 3}))
    )
    check_made_alike(one, other, "init")
    other["init_args"]["net"]["heads"] = 4
    with pytest.raises(InputError, match=r"init must hold .*its net has heads=2, not 4"):
        check_made_alike(one, other, "init")
