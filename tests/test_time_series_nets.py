"""InceptionTime and the fully convolutional net: the papers' sizes, and outputs against their equations in float64."""

import numpy as np
import pytest
import torch

from kdlab.evaluate import macs, parameters
from kdlab.nets import FCN, InceptionTime
from kdlab.types import InputError


def convolved(x, weight, bias=None):
    """``(C, T)`` with ``(O, C, K)``: zeros around keep the length; of an even kernel, one more of them behind."""
    kernel = weight.shape[2]
    padded = np.pad(x, ((0, 0), ((kernel - 1) // 2, kernel // 2)))
    out = np.stack([np.einsum("ock,ck->o", weight, padded[:, t : t + kernel]) for t in range(x.shape[1])], 1)
    return out if bias is None else out + bias[:, None]


def normed(norm, x):
    mean, var, weight, bias = (
        v.detach().numpy()[:, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def shaken(net):
    """In float64 with statistics and weights of the norms that are not the identity."""
    for module in net.double().eval().modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            for value in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                value.uniform_(0.5, 1.5)
    net.standardize.fill([0.1] * net.in_channels, [2.0] * net.in_channels)
    return net


def weight_of(conv):
    return conv.weight.detach().numpy()


def without_head(net):
    return parameters(net) - parameters(net.head)


@pytest.mark.parametrize("channels", [1, 6])
def test_the_papers_sizes(channels):
    """264,704 and 420,192 on one channel, without the linear layer; each further channel by the first layers' sizes."""
    fcn = sum(a * b * k + 3 * b for a, b, k in ((channels, 128, 8), (128, 256, 5), (256, 128, 3)))
    assert without_head(FCN(in_channels=channels)) == fcn
    narrow = 0 if channels == 1 else channels * 32
    first = narrow + (1 if channels == 1 else 32) * 70 * 32 + channels * 32 + 2 * 128
    inner = 128 * 32 + 32 * 70 * 32 + 128 * 32 + 2 * 128
    skips = channels * 128 + 2 * 128 + 128 * 128 + 2 * 128
    assert without_head(InceptionTime(in_channels=channels)) == first + 5 * inner + skips
    if channels == 1:
        assert (fcn, first + 5 * inner + skips) == (264_704, 420_192)


def test_every_sample_costs_the_weights_of_the_convolutions():
    net = FCN(in_channels=3, num_classes=5)
    per_sample = 3 * 128 * 8 + 128 * 256 * 5 + 256 * 128 * 3
    assert macs(net, (3, 50)) == 50 * per_sample + 128 * 5


def test_the_fully_convolutional_net_by_hand():
    torch.manual_seed(0)
    net = shaken(FCN(4, in_channels=3, num_classes=5))
    x = torch.randn(2, 3, 12, dtype=torch.float64)
    features = net(x).features
    for sample in range(2):
        h = (x[sample].numpy() - 0.1) / 2
        for i, (conv, norm, _) in enumerate(net.blocks, start=1):
            h = np.maximum(normed(norm, convolved(h, weight_of(conv), conv.bias.detach().numpy())), 0)
            np.testing.assert_allclose(features[f"stage{i}"][sample].detach(), h, atol=1e-9)
        np.testing.assert_allclose(features["embedding"][sample].detach(), h.mean(1), atol=1e-9)
    torch.testing.assert_close(net.classify(features["stage3"]), net(x).logits)


@pytest.mark.parametrize(("channels", "bottleneck"), [(1, 5), (3, 5), (3, 0)])
def test_inception_by_hand(channels, bottleneck):
    torch.manual_seed(0)
    net = shaken(InceptionTime(6, 2, bottleneck, 9, in_channels=channels, num_classes=4))
    x = torch.randn(1, channels, 14, dtype=torch.float64)
    features = net(x).features

    def module(part, h):
        narrow = h if (channels == 1 and len(h) == 1) or not bottleneck else convolved(h, weight_of(part.bottleneck))
        around = np.pad(h, ((0, 0), (1, 1)), constant_values=-np.inf)
        highest = np.stack([around[:, t : t + 3].max(1) for t in range(h.shape[1])], 1)
        parts = [convolved(narrow, weight_of(conv)) for conv in part.convs]
        assert [conv.kernel_size[0] for conv in part.convs] == [9, 4, 2]
        out = np.concatenate([*parts, convolved(highest, weight_of(part.pooled))])
        return np.maximum(normed(part.norm, out), 0)

    h = (x[0].numpy() - 0.1) / 2
    for i, (block, (skip, norm)) in enumerate(zip(net.blocks, net.shortcuts, strict=True)):
        out = h
        for j, part in enumerate(block):
            out = module(part, out)
            if i + j == 0:
                np.testing.assert_allclose(features["stage1"][0].detach(), out, atol=1e-9)
        h = np.maximum(out + normed(norm, convolved(h, weight_of(skip))), 0)
        np.testing.assert_allclose(features[f"stage{i + 2}"][0].detach(), h, atol=1e-9)
    np.testing.assert_allclose(features["embedding"][0].detach(), h.mean(1), atol=1e-9)
    torch.testing.assert_close(net.classify(features["stage3"]), net(x).logits)


def test_inception_of_other_depths():
    x = torch.randn(2, 3, 20)
    deep = InceptionTime(9, 2, in_channels=3, num_classes=4).eval()
    features = deep(x).features
    assert list(features) == ["stage1", "stage2", "stage3", "stage4", "embedding"]
    torch.testing.assert_close(deep.classify(features["stage3"]), deep(x).logits)
    with pytest.raises(InputError, match="InceptionTime: embed must"):
        InceptionTime(3, 2).embed(x)
