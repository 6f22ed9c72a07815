"""ResNets, VGG, MobileNetV2, recurrent nets, Transformer and adapted nets: sizes, taps and what each computes."""

import copy
import os
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import kdlab
from kdlab import KD, Supervised, Teacher, cli, nets
from kdlab.citations import BIBTEX
from kdlab.data import BasicMotions
from kdlab.evaluate import macs, nets_table, parameters
from kdlab.functional import attention_transfer, gram, similarity_preserving
from kdlab.methods.view_checks import check_view
from kdlab.nets import (
    FCN,
    VGG,
    Adapter,
    AttentionLSTM,
    CifarResNet,
    InceptionTime,
    MobileNetV2,
    MultiScaleAttention,
    RecurrentNet,
    ResNet,
    ResNet8x4,
    ResNet32x4,
    Seq2Seq,
    TransformerEncoder,
    WideResNet,
    build,
)
from kdlab.types import InputError
from kdlab.views import GramianAngularField, Raw
from tests.conftest import REPOSITORY, trainer

# ---------------------------------------------------------------------------------------------------------------- size


@pytest.mark.parametrize(
    ("cls", "arguments", "counts"),
    [  # 2-D 3 channels 10 classes, 1-D 3 channels 14 classes, 1-D 40 channels 12 classes
        (CifarResNet, {"depth": 8}, (78_042, 28_862, 30_508)),
        (CifarResNet, {"depth": 20}, (272_474, 94_270, 95_916)),
        (CifarResNet, {"depth": 26}, (369_690, 126_974, 128_620)),
        (CifarResNet, {"depth": 44}, (661_338, 225_086, 226_732)),
        (VGG, {"depth": 8}, (3_918_858, 1_314_702, 1_320_780)),
        (VGG, {"depth": 13}, (9_416_010, 3_150_030, 3_156_108)),
        (ResNet, {"depth": 18, "stem": "cifar"}, (11_173_962, None, None)),
        (ResNet, {"depth": 50, "stem": "cifar"}, (23_520_842, None, None)),
        (ResNet, {"depth": 18, "width": 8}, (None, 62_182, 64_124)),
        (ResNet, {"depth": 18, "width": 64}, (None, 3_851_982, 3_867_532)),
        (ResNet, {"depth": 50, "width": 8}, (None, 258_854, 260_412)),
        (MobileNetV2, {"width": 0.5}, (697_546, None, None)),
    ],
)
def test_parameter_counts(cls, arguments, counts):
    for (ndim, channels, classes), count in zip(((2, 3, 10), (1, 3, 14), (1, 40, 12)), counts, strict=True):
        with torch.device("meta"):
            net = cls(ndim=ndim, in_channels=channels, num_classes=classes, **arguments)
        assert count in (None, parameters(net))


@pytest.mark.parametrize(
    ("depth", "count", "work"),  # as published for torchvision's nets on 224 pixels
    [(18, 11_689_512, 1_814_073_344), (34, 21_797_672, 3_663_761_408), (50, 25_557_032, 4_089_184_256)],
)
def test_imagenet_sizes(depth, count, work):
    with torch.device("meta"):
        net = ResNet(depth, 64, 2, "imagenet", 3, 1000)
    assert (parameters(net), macs(net, (3, 224, 224))) == (count, work)


def test_work_of_recurrent_and_attending_nets():
    lstm = RecurrentNet("lstm", layers=2, hidden=8, in_channels=3, num_classes=5)
    assert macs(lstm, (3, 20)) == 20 * 4 * 8 * ((3 + 8) + (8 + 8)) + 8 * 5
    encoder = TransformerEncoder(1, 16, 2, patch=5, expansion=2, in_channels=3, num_classes=4)
    n, d = 4, 16
    assert macs(encoder, (3, 20)) == n * 5 * 3 * d + n * (3 + 1 + 2 + 2) * d * d + 2 * n * n * d + d * 4


# ------------------------------------------------------------------------------------------------------------ contract

FAMILIES = {
    **{
        f"{name}-{ndim}": (cls, {**arguments, "ndim": ndim}, shape, sides)
        for name, cls, arguments, sizes in (
            ("resnet", ResNet, {"width": 4}, ((66, (17, 9, 5)), (33, (9, 5, 3)))),
            ("bottleneck", ResNet, {"depth": 50, "width": 2, "stem": "cifar"}, ((30, (30, 15, 8)), (9, (9, 5, 3)))),
            ("cifar", CifarResNet, {"depth": 8, "width": 4}, ((30, (30, 15, 8)), (9, (9, 5, 3)))),
            ("vgg", VGG, {}, ((30, (15, 7, 3)), (16, (8, 4, 2)))),
            ("mobilenet", MobileNetV2, {"width": 0.125}, ((30, (15, 8, 4)), (17, (9, 5, 3)))),
        )
        for ndim, (side, sides) in enumerate(sizes, start=1)
        for shape in [(side,) * ndim]
    },
    **{kind: (RecurrentNet, {"kind": kind, "hidden": 8}, (30,), (30,) * 3) for kind in ("rnn", "gru", "lstm")},
    "attention": (AttentionLSTM, {"hidden": 8, "attention": 4}, (30,), (30,) * 3),
    "transformer": (TransformerEncoder, {"dim": 16}, (30,), (4,) * 3),
    "token": (TransformerEncoder, {"dim": 16, "pool": "token", "positions": "learned"}, (30,), (4,) * 3),
    "seq2seq": (Seq2Seq, {"hidden": 8}, (30,), (30,) * 3),
    "seq2seq attention": (Seq2Seq, {"hidden": 8, "attention": True}, (30,), (30,) * 3),
    "fcn": (FCN, {"width": 8}, (30,), (30,) * 3),
    "inception": (InceptionTime, {"filters": 4, "bottleneck": 5}, (30,), (30,) * 3),
    "scales": (MultiScaleAttention, {"channels": 6, "dim": 8}, (30,), (30, 7, 4)),
    "two sources": (MultiScaleAttention, {"groups": {"a": 1, "b": 2}, "dim": 8}, (30,), (30, 7, 4)),
}


def family(name, **more):
    torch.manual_seed(0)
    cls, arguments, shape, _ = FAMILIES[name]
    net = cls(in_channels=3, num_classes=5, **arguments, **more)
    net.standardize.fill([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    return net, torch.randn(4, 3, *shape)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_keeps_the_contract(name):
    net, x = family(name)
    *_, sides = FAMILIES[name]
    output = net.train()(x)
    assert [tap for tap in output.features if tap != "attention"] == ["stage1", "stage2", "stage3", "embedding"]
    assert list(output.features)[-1] == "embedding"
    for i, side in enumerate(sides, start=1):
        assert output.features[f"stage{i}"].shape[2:] == (side,) * net.ndim
    assert output.features["embedding"].ndim == 2
    torch.testing.assert_close(output.logits, net.head(output.features["embedding"]))
    F.cross_entropy(output.logits, torch.arange(4)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    net.eval()
    alone, together = net(x[:1]).logits, net(x).logits[:1]
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    again = build(net.spec).eval()
    again.load_state_dict(net.state_dict())
    for same in (again, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(same(x).logits, net(x).logits)
        assert same.spec == net.spec
    with torch.autocast("cpu", torch.bfloat16):
        half = net(x).logits
    assert (half.float() - net(x).logits).abs().max() < 0.1 * (1 + net(x).logits.abs().max())
    assert type(net).paper
    assert set(type(net).paper) <= set(BIBTEX)


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name][0].lays_out])
def test_channels_last_changes_nothing_but_the_layout(name):
    plain, x = family(name)
    plain, x = plain.double(), x.double()
    last = copy.deepcopy(plain)
    plain.memory_format, last.memory_format = "contiguous", "channels_last"
    for mode in (True, False):
        ours, theirs = last.train(mode)(x), plain.train(mode)(x)
        torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-9, atol=1e-9)
        for tap, feature in theirs.features.items():
            torch.testing.assert_close(ours.features[tap], feature, rtol=1e-9, atol=1e-9)
    assert ours.features["stage1"].stride(1) == 1


@pytest.mark.parametrize("name", ["cifar-1", "vgg-2", "token", "inception", "two sources"])
def test_a_family_is_captured_as_one_graph(name):
    net, x = family(name)
    torch._dynamo.reset()
    compiled = torch.compile(net.eval(), backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(x).logits, net(x).logits)
    program = torch.export.export(net, (x,))
    torch.testing.assert_close(program.module()(x).logits, net(x).logits)


def test_windows_that_are_too_short_are_refused():
    for net in (ResNet(in_channels=3, width=4), ResNet(in_channels=3, width=4, ndim=2)):
        axes = "T at least 32" if net.ndim == 1 else "H, W at least 32"
        with pytest.raises(InputError, match=rf"{axes}, but got \(2, 3, 30"):
            net(torch.zeros(2, 3, *(30,) * net.ndim))
    with pytest.raises(InputError, match=r"max_tokens=3 patches of 8 samples, but got \(2, 3, 30\), which makes 4"):
        TransformerEncoder(max_tokens=3)(torch.zeros(2, 3, 30))


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (ResNet, {"depth": 20}),
        (ResNet, {"stem": "none"}),
        (ResNet, {"width": 0}),
        (CifarResNet, {"depth": 18}),
        (VGG, {"depth": 10}),
        (VGG, {"pools": 5}),
        (MobileNetV2, {"width": 0.01}),
        (MobileNetV2, {"expansion": 0}),
        (RecurrentNet, {"kind": "elman"}),
        (RecurrentNet, {"layers": 0}),
        (AttentionLSTM, {"dropout": 1.0}),
        (AttentionLSTM, {"attention": 0}),
        (TransformerEncoder, {"dim": 30}),
        (FCN, {"width": 0}),
        (MultiScaleAttention, {"heads": 3}),
        (MultiScaleAttention, {"in_channels": 4, "groups": {"a": 1, "b": 2}}),
        (InceptionTime, {"depth": 4}),
        (InceptionTime, {"kernel": 3}),
        (TransformerEncoder, {"positions": "none"}),
        (TransformerEncoder, {"pool": "max"}),
    ],
)
def test_wrong_arguments(cls, arguments):
    value = next(iter(arguments.values()))
    with pytest.raises(InputError, match=rf"must .*got .*{value}"):
        cls(**arguments)


# ---------------------------------------------------------------------------------------------- what each net computes


def bn(norm, value):
    shape = (1, -1) + (1,) * (value.ndim - 2)
    mean, var, weight, bias = (v.view(shape) for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (value - mean) / (var + 1e-5).sqrt() * weight + bias


def shaken(net):
    """In float64 with running statistics and weights of the norms that are not the identity."""
    for module in net.double().eval().modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for value in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                value.uniform_(0.5, 1.5)
    return net


def test_residual_blocks_by_hand():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 12, dtype=torch.float64)
    block = shaken(CifarResNet(8, width=4)).stages[1][0]
    inner = F.conv1d(
        bn(block.norm1, F.conv1d(x, block.conv1.weight, None, 2, 1)).relu(), block.conv2.weight, None, 1, 1
    )
    skip = bn(block.shortcut[1], F.conv1d(x, block.shortcut[0].weight, None, 2))
    torch.testing.assert_close(block(x), (bn(block.norm2, inner) + skip).relu())
    first, second = shaken(ResNet(50, width=4, ndim=1)).stages[0][:2]
    wide = first(x)
    assert (wide.shape, first.conv2.stride, second.shortcut) == ((2, 16, 12), (1,), None)
    out = bn(second.norm1, F.conv1d(wide, second.conv1.weight)).relu()
    out = bn(second.norm2, F.conv1d(out, second.conv2.weight, None, 1, 1)).relu()
    out = bn(second.norm3, F.conv1d(out, second.conv3.weight))
    torch.testing.assert_close(second(wide), (out + wide).relu())


def test_an_inverted_residual_by_hand():
    torch.manual_seed(0)
    net = shaken(MobileNetV2(0.25, ndim=2))
    first, second = net.groups[2][:2]
    assert (first.residual, second.residual, first.layers[3].stride) == (False, True, (2, 2))
    x = 3 * torch.randn(2, 8, 6, 6, dtype=torch.float64)
    widen, depthwise, narrow = (layer for layer in second.layers if isinstance(layer, nn.Conv2d))
    norms = [layer for layer in second.layers if isinstance(layer, nn.BatchNorm2d)]
    inner = bn(norms[0], torch.einsum("oi,bihw->bohw", widen.weight[:, :, 0, 0], x)).clamp(0, 6)
    padded = F.pad(inner, (1, 1, 1, 1))
    weight = depthwise.weight[:, 0]
    inner = sum(
        padded[:, :, i : i + 6, j : j + 6] * weight[None, :, i, j, None, None] for i in (0, 1, 2) for j in (0, 1, 2)
    )
    inner = torch.einsum("oi,bihw->bohw", narrow.weight[:, :, 0, 0], bn(norms[1], inner).clamp(0, 6))
    torch.testing.assert_close(second(x), x + bn(norms[2], inner))


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_recurrent_layers_are_torch_s(kind):
    torch.manual_seed(0)
    net = RecurrentNet(kind, 2, 8, in_channels=3).eval()
    peer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind](3, 8, num_layers=2, batch_first=True)
    for i, layer in enumerate(net.layers):
        peer.load_state_dict({k[:-1] + str(i): v for k, v in layer.state_dict().items()}, strict=False)
    x = torch.randn(2, 3, 20)
    states = peer(x.transpose(1, 2))[0]
    features = net(x).features
    torch.testing.assert_close(features["stage2"], states.transpose(1, 2))
    torch.testing.assert_close(features["embedding"], states[:, -1])


def test_attention_reads_the_states_by_hand():
    torch.manual_seed(0)
    net = AttentionLSTM(1, 8, 4, in_channels=3).double().eval()
    features = net(torch.randn(2, 3, 20, dtype=torch.float64)).features
    states = features["stage1"]
    score = torch.stack([(net.score[2].weight @ torch.tanh(net.score[0](states[..., t])).T)[0] for t in range(20)], 1)
    weights = score.exp() / score.exp().sum(1, keepdim=True)
    torch.testing.assert_close(features["attention"][:, 0], weights)
    torch.testing.assert_close(features["embedding"], torch.einsum("bt,bht->bh", weights, states))


@pytest.mark.parametrize("pool", ["mean", "token"])
def test_transformer_layers_are_torch_s(pool):
    torch.manual_seed(0)
    net = TransformerEncoder(1, 16, 2, patch=5, pool=pool, in_channels=3).eval()
    peer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
    layer, names = net.layers[0], {"mix.": "self_attn.in_proj_", "join.": "self_attn.out_proj.", "widen": "linear1"}
    state = {}
    for key, value in layer.state_dict().items():
        for ours, theirs in {**names, "narrow": "linear2"}.items():
            key = key.replace(ours, theirs)
        state[key] = value
    peer.load_state_dict(state)
    x = torch.randn(2, 3, 52)
    patches = F.pad(x, (0, 3)).unfold(2, 5, 5)  # B, C, N, P
    tokens = torch.einsum("bcnp,dcp->bnd", patches, net.patch.weight) + net.patch.bias
    angle = torch.arange(11)[:, None] / 10_000 ** (torch.arange(8) / 8)
    tokens = tokens + torch.cat([angle.sin(), angle.cos()], 1)
    if pool == "token":
        tokens = torch.cat([net.token.expand(2, 1, 16), tokens], 1)
    out = peer(tokens)
    features = net(x).features
    torch.testing.assert_close(features["stage1"], out[:, -11:].transpose(1, 2), rtol=1e-4, atol=1e-5)
    normal = F.layer_norm(out, (16,))
    expected = normal.mean(1) if pool == "mean" else normal[:, 0]
    torch.testing.assert_close(features["embedding"], expected, rtol=1e-4, atol=1e-5)


def test_released_key_names_are_read():
    net = ResNet(18, width=4)
    released = {}
    for key in net.state_dict():
        if key.startswith("standardize."):
            continue
        key = key.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.").replace("head.", "fc.")
        for i in range(4):
            key = key.replace(f"stages.{i}.", f"layer{i + 1}.")
        released[key.replace(".norm", ".bn").replace("shortcut", "downsample")] = torch.zeros(())
    assert {"layer2.0.downsample.1.weight", "layer4.1.bn2.bias", "fc.weight", "bn1.weight"} <= set(released)
    ours = {key for key in net.state_dict() if not key.startswith("standardize.")}
    assert set(ResNet.rename_released(released)) == ours


class ReleasedVGG(nn.Module):
    """VGG8 under the key names of the released weights, for 32 pixels."""

    def __init__(self):
        super().__init__()
        channels = 3
        for i, width in enumerate((64, 128, 256, 512, 512)):
            setattr(self, f"block{i}", nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)))
            channels = width
        self.classifier = nn.Linear(512, 7)

    def forward(self, x):
        for i in range(5):
            x = F.relu(getattr(self, f"block{i}")(x))
            x = F.max_pool2d(x, 2) if i < 3 else x
        return self.classifier(x.mean((2, 3)))


class ReleasedInverted(nn.Module):
    def __init__(self, inside, channels, out, stride):
        super().__init__()
        wide = inside * channels
        self.conv = nn.Sequential(
            *(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
            *(nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
            *(nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out)),
        )
        self.add = stride == 1 and channels == out

    def forward(self, x):
        return x + self.conv(x) if self.add else self.conv(x)


class ReleasedMobileNet(nn.Module):
    """MobileNetV2 at width 1/2 under the key names of the released weights."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks, channels = nn.ModuleList(), 16
        sizes = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
        for i, (full, count, stride) in enumerate(sizes):
            parts = []
            for j in range(count):
                parts.append(ReleasedInverted(6 if i else 1, channels, full // 2, stride if j == 0 else 1))
                channels = full // 2
            self.blocks.append(nn.Sequential(*parts))
        self.conv2 = nn.Sequential(nn.Conv2d(channels, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU())
        self.classifier = nn.Sequential(nn.Linear(1280, 7))

    def forward(self, x):
        x = self.conv1(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.conv2(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("released", "net"),
    [
        (ReleasedVGG, VGG(8, 2, num_classes=7)),
        (ReleasedMobileNet, MobileNetV2(ndim=2, num_classes=7, activation="relu")),
    ],
)
def test_weights_under_released_key_names_give_the_released_outputs(released, net, tmp_path):
    torch.manual_seed(0)
    theirs = released()
    for module in theirs.modules():  # statistics and weights that matter
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.weight, 2.0, 6.0)
    torch.save({"model": theirs.state_dict()}, tmp_path / "released.pth")
    teacher = kdlab.Teacher(checkpoint=str(tmp_path / "released.pth"), net=net, mean=[0.0] * 3, std=[1.0] * 3)
    teacher.load()
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(teacher(x).logits, theirs.eval()(x), rtol=1e-4, atol=1e-4)


def test_released_weights_of_another_activation_are_refused():
    with pytest.raises(InputError, match=r"MobileNetV2: activation must be 'relu'.*got 'relu6'.*activation='relu'"):
        MobileNetV2(ndim=2).rename_released(ReleasedMobileNet().state_dict())
    with pytest.raises(InputError, match="activation must be 'relu6' or 'relu', but got 'tanh'"):
        MobileNetV2(activation="tanh")
    ours = MobileNetV2(ndim=2)  # kdlab's own key names are read as they are
    assert set(ours.rename_released(ours.state_dict())) == set(ours.state_dict())


def test_released_four_stage_nets_call_the_head_linear():
    assert list(ResNet.rename_released({"linear.weight": torch.zeros(1)})) == ["head.weight"]


@pytest.mark.parametrize(("cls", "parameters"), [(ResNet8x4, 1_233_540), (ResNet32x4, 7_433_860)])
def test_nets_four_times_as_wide(cls, parameters):
    net = cls(ndim=2, num_classes=100)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net.stem[0].out_channels == 32
    assert [f.shape[1] for f in net(torch.randn(2, 3, 32, 32)).features.values()] == [64, 128, 256, 256]
    assert build(net.spec).spec == net.spec
    with pytest.raises(InputError, match="stem_width"):
        CifarResNet(8, stem_width=0)


# ------------------------------------------------------------------------------------------- nets of different families


def test_features_of_different_size_or_rank_meet_by_rule():
    torch.manual_seed(0)
    image, signal = torch.randn(4, 3, 16, 16), torch.randn(4, 3, 40)
    vgg, wide = VGG(ndim=2)(image).features, WideResNet(10, ndim=2)(image).features
    series = CifarResNet(8)(signal).features
    with pytest.raises(InputError, match=r"\(4, 16, 16, 16\).*\(4, 128, 8, 8\).*resize='pool'"):
        attention_transfer(wide["stage1"], vgg["stage1"])
    pooled = F.avg_pool2d(wide["stage1"], 2)
    expected = attention_transfer(pooled, vgg["stage1"])
    torch.testing.assert_close(attention_transfer(wide["stage1"], vgg["stage1"], resize="pool"), expected)
    with pytest.raises(InputError, match=r"\(4, 16, 40\).*\(4, 128, 8, 8\)"):
        attention_transfer(series["stage1"], vgg["stage1"], resize="pool")
    grams = [torch.einsum("id,jd->ij", f.flatten(1), f.flatten(1)) for f in (series["stage1"], vgg["stage1"])]
    assert [gram(f).shape for f in (series["stage1"], vgg["stage1"])] == [(4, 4), (4, 4)]
    difference = F.normalize(grams[0]) - F.normalize(grams[1])
    torch.testing.assert_close(similarity_preserving(series["stage1"], vgg["stage1"]), difference.square().mean())


# ------------------------------------------------------------------------------------------------------------- adapter


class Foreign(nn.Module):
    """A net as anyone writes it: a container, work in place, one layer called twice, a functional ReLU."""

    def __init__(self, channels: int = 6, classes: int = 4) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(channels, 8, 3), nn.BatchNorm1d(8))
        self.act = nn.ReLU(inplace=True)
        self.back = nn.Conv1d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, classes)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = self.act(self.front(x))
        x += self.act(self.back(x))
        return self.fc(F.relu(x).mean(-1))


def foreign(channels=6, classes=4):
    return Foreign(channels, classes)


HERE = {"class_path": f"{__name__}.Foreign", "init_args": {"channels": 6, "classes": 4}}


def adapted(net=HERE, taps=None, **kwargs):
    taps = {"stage1": "front", "stage2": "back", "stage3": "relu"} if taps is None else taps
    return Adapter(net, **{"head": "fc", "in_channels": 6, "num_classes": 4, **kwargs}, taps=taps)


def test_an_adapted_net_answers_as_before():
    torch.manual_seed(0)
    net = Foreign().eval()
    backbone = adapted(net).eval()
    x = torch.randn(4, 6, 20)
    logits, features = backbone(x)
    torch.testing.assert_close(logits, net(x))
    assert list(features) == ["stage1", "stage2", "stage3", "embedding"]
    torch.testing.assert_close(features["stage1"], net.front(x))  # before the ReLU that works in place
    assert (features["stage1"] < 0).any()
    torch.testing.assert_close(features["embedding"], features["stage3"].mean(-1))
    assert {key.split(".")[0] for key in backbone.state_dict()} == {"standardize", "body", "head"}
    assert not any("unused" in key or "fc" in key for key in backbone.state_dict())
    for same in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        torch.testing.assert_close(same(x).logits, logits)
        assert same.spec == backbone.spec
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(backbone, backend="eager", fullgraph=True)(x).logits, logits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"taps": {"stage1": "frnt"}},
            r"stage1 must be .*frnt.*Did you mean .front.*There are: .*front.0.*relu",
        ),
        (
            {"taps": {"stage1": "act"}},
            r"stage1 must be one output, but got 'act', .* 2 times. Name the node: act, act_1",
        ),
        ({"head": "back"}, r"head must be the layer whose output the net returns.*'back'.*fc"),
        ({"head": "unused"}, r"head must be a module .*'unused'"),
        ({"num_classes": 5}, r"head 'fc' has 4 classes, but num_classes=5"),
        (
            {"taps": {"embedding": "back"}},
            r"taps names 'back' as 'embedding', but that is what goes into the head 'fc'",
        ),
        ({"net": {"class_path": "nowhere.Net"}}, r"class_path.*No module named 'nowhere'"),
        (
            {"net": {"class_path": HERE["class_path"], "init_args": {"depth": 1}}},
            r"init_args must be arguments of .*depth",
        ),
        ({"net": {"class_path": "os.getcwd"}}, r"must be a torch.nn.Module, but .*a str"),
    ],
)
def test_an_adapter_names_what_is_wrong(arguments, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        adapted(**arguments)


def test_a_net_that_cannot_be_followed():
    class Decides(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"cannot follow the forward of Decides.*without decisions"):
        adapted(Decides(), taps={})
    flat = nn.Sequential(nn.Conv1d(6, 8, 3), nn.Linear(18, 4))
    with pytest.raises(InputError, match=r"embedding \(B, D\).*got \(2, 8, 18\)"):
        adapted(flat, taps={}, head="1")(torch.zeros(2, 6, 20))


@pytest.mark.parametrize("net", [{"class_path": "os.system", "init_args": {"command": "true"}}, {"module": "x"}, None])
def test_a_checkpoint_has_no_function_called(net, monkeypatch):
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("called"))
    with pytest.raises(InputError, match=r"cannot be built again.*net=Adapter|no net of this name is imported.*net="):
        build({"class_path": "kdlab.nets.adapter.Adapter", "init_args": {"net": net, "head": "fc"}})


def test_a_function_makes_a_net_too():
    net = adapted({"class_path": f"{__name__}.foreign", "init_args": {}})
    assert net.eval()(torch.zeros(1, 6, 20)).logits.shape == (1, 4)
    with pytest.raises(InputError, match=r"no net of this name is imported.*net="):
        build(net.spec)


def test_adapted_nets_teach_and_learn(tmp_path):
    """From its own checkpoint a net of a class rebuilds itself; weights saved without the adapter are read too."""
    run = trainer(tmp_path, max_epochs=1)
    run.fit(Supervised(adapted()), BasicMotions())
    file = tmp_path / "net.ckpt"
    run.save_checkpoint(file)
    trained = run.lightning_module.net.eval()
    teacher = Teacher(file).load()
    x = torch.randn(4, 6, 100)
    torch.testing.assert_close(teacher(x).logits, trained(x).logits)
    run = trainer(tmp_path, max_steps=1)
    run.fit(KD(adapted(), {"raw": Teacher(file)}), BasicMotions())
    assert torch.isfinite(run.callback_metrics["train/kd"])
    plain = nn.Sequential(nn.Conv1d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    backbone = adapted(copy.deepcopy(plain), taps={}, head="4")
    nn.init.zeros_(backbone.head.weight)
    teacher = Teacher(tmp_path / "plain.pt", net=backbone, mean=[0.0] * 6, std=[1.0] * 6).load()
    torch.testing.assert_close(teacher(x).logits, plain(x))


# ---------------------------------------------------------------------------------------------------------- from YAML


NAMED = {
    "ResNet": 18,
    "CifarResNet": 8,
    "VGG": 8,
    "MobileNetV2": 0,
    "RecurrentNet": 0,
    "TransformerEncoder": 0,
    "FCN": 0,
}


def test_nets_from_yaml(tmp_path):
    config = str(REPOSITORY / "experiments" / "basic_motions" / "scratch.yaml")
    arguments = ["--model.init_args.net.init_args.in_channels=6", "--model.init_args.net.init_args.num_classes=4"]
    for name, depth in NAMED.items():
        given = [f"--model.init_args.net.init_args.depth={depth}"] * (depth > 0)
        module, _ = cli.build(config, [f"--model.init_args.net={name}", *arguments, *given])
        assert type(module.net) is getattr(nets, name)
    (tmp_path / "adapter.yaml").write_text(
        f"""
data: {{class_path: BasicMotions}}
model:
  class_path: Supervised
  init_args:
    net:
      class_path: Adapter
      init_args:
        net: {{class_path: {__name__}.Foreign, init_args: {{channels: 6}}}}
        head: fc
        taps: {{stage1: front}}
        in_channels: 6
        num_classes: 4
"""
    )
    module, _ = cli.build(tmp_path / "adapter.yaml")
    assert isinstance(module.net, Adapter)
    assert module.net.spec["init_args"]["net"] == {"class_path": f"{__name__}.Foreign", "init_args": {"channels": 6}}
    assert build(module.net.spec).spec == module.net.spec


def test_small_images_are_told_of_the_other_stem():
    small = torch.zeros(2, 3, 16, 16)
    with pytest.raises(
        InputError, match=r"at least 32, but got \(2, 3, 16, 16\)\. Use .* larger image, or stem='cifar'\.$"
    ):
        ResNet(18, width=4, ndim=2)(small)
    assert ResNet(18, width=4, ndim=2, stem="cifar")(small).logits.shape == (2, 10)
    with pytest.raises(InputError, match=r"larger image\.$"):  # has no other stem
        ResNet(18, width=4, ndim=2, stem="cifar")(small[..., :4])
    data = BasicMotions(views={"raw": Raw(), "gaf": GramianAngularField(16)})
    image = ResNet(18, width=4, ndim=2, in_channels=6, num_classes=4)
    with pytest.raises(InputError, match=r"axes of at least 32 .* Use .* larger image, or stem='cifar' of the net\.$"):
        check_view("the student", "gaf", image, data)


def test_the_table_of_nets(capsys):
    words = ["--only", "resnet8", "--length", "3", "--size", "8", "--classes", "10", "--runs", "1"]
    nets_table.main(words)
    said = capsys.readouterr()
    assert said.err.splitlines() == ["measuring ResNet8, 1-D 3x3", "measuring ResNet8, 2-D 3x8x8"]
    _, _, signal, image = said.out.strip().splitlines()
    assert [cell.strip() for cell in signal.strip("|").split("|")] == ["ResNet8", "1-D 3x3", "28,602", "needs 4", ""]
    cells = [cell.strip() for cell in image.strip("|").split("|")]
    assert cells[:4] == ["ResNet8", "2-D 3x8x8", "78,042", f"{macs(CifarResNet(8, ndim=2), (3, 8, 8)) / 1e6:.2f}"]
    assert float(cells[4]) > 0
    nets_table.main(["--only", "resnet18*cifar", "--ndim", "2", "--size", "8", "16", "--runs", "1"])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["ResNet18 cifar", "2-D 3x8x8"], ["ResNet18 cifar", "2-D 3x16x16"]]
    assert rows[1][3] == f"{macs(ResNet(18, ndim=2, stem='cifar', num_classes=14), (3, 16, 16)) / 1e6:.2f}"
    with pytest.raises(InputError, match=r"must fit one of WRN16-1.*but got 'nothing'"):
        nets_table.main(["--only", "nothing"])
    with pytest.raises(InputError, match="classes at least 2"):
        nets_table.main(["--classes", "1"])
    for cls, given in nets_table.NETS.values():  # all can be built
        with torch.device("meta"):
            assert cls(**given).head.out_features == 10
    assert kdlab.nets.WideResNet in {cls for cls, _ in nets_table.NETS.values()}
