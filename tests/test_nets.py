import copy
import pickle
import re

import pytest
import torch

from kdlab.nets import Backbone, CifarResNet, ResNet, Standardize, WideResNet, build
from kdlab.types import InputError, Output

# parameters of WRN-depth-width: 1-D 3 channels 14 classes, 1-D 40/12, 2-D 3/14, 2-D 3/10
SIZES = {
    (16, 1): (61_374, 63_020, 175_326, 175_066),
    (16, 2): (240_318, 241_836, 692_190, 691_674),
    (16, 3): (536_254, 537_644, 1_550_302, 1_549_530),
    (16, 8): (3_774_654, 3_775_404, 10_963_422, 10_961_370),
    (28, 1): (126_782, 128_428, 369_758, 369_498),
    (28, 3): (1_119_550, 1_120_940, 3_294_814, 3_294_042),
    (40, 1): (192_190, 193_836, 564_190, 563_930),
    (40, 2): (759_998, 761_516, 2_244_062, 2_243_546),
}


@pytest.mark.parametrize(("depth", "width"), SIZES)
def test_parameter_counts(depth, width):
    nets = [WideResNet(depth, width, n, c, k) for n, c, k in ((1, 3, 14), (1, 40, 12), (2, 3, 14), (2, 3, 10))]
    assert tuple(sum(p.numel() for p in net.parameters()) for net in nets) == SIZES[depth, width]


@pytest.mark.parametrize(("ndim", "shape", "sides"), [(1, (500,), (500, 250, 125)), (2, (50, 50), (50, 25, 13))])
def test_taps_are_the_stages(ndim, shape, sides):
    net = WideResNet(16, 2, ndim, 3, 5)
    for mode in (True, False):
        output = net.train(mode)(torch.randn(2, 3, *shape))
        assert isinstance(output, Output)
        assert output.logits.shape == (2, 5)
        for i, side in enumerate(sides, start=1):
            assert output.features[f"stage{i}"].shape == (2, 16 * 2**i, *(side,) * ndim)
        assert output.features["embedding"].shape == (2, 128)
    assert (output.features["stage3"] < 0).any()  # pre-activation: both signs


def test_one_block_by_hand():
    """The first block of a stage feeds BN-ReLU to both branches; the others add their raw input."""
    torch.manual_seed(0)
    net = WideResNet(16, 1, 1, 3, 4).eval().double()
    x = torch.randn(2, 16, 20, dtype=torch.float64)

    def bn_relu(norm, value):
        scaled = (value - norm.running_mean[:, None]) / (norm.running_var[:, None] + norm.eps).sqrt()
        return (scaled * norm.weight[:, None] + norm.bias[:, None]).relu()

    first, second = net.stages[1][0], net.stages[1][1]
    active = bn_relu(first.norm1, x)
    inner = first.conv2(bn_relu(first.norm2, first.conv1(active)))
    torch.testing.assert_close(first(x), first.shortcut(active) + inner)
    y = first(x)
    inner = second.conv2(bn_relu(second.norm2, second.conv1(bn_relu(second.norm1, y))))
    torch.testing.assert_close(second(y), y + inner)
    assert net.stages[0][0].shortcut is None


def test_standardize_travels_and_refuses():
    layer = Standardize(3)
    x = torch.randn(4, 3, 7) * 5 + 2
    torch.testing.assert_close(layer(x), x)
    layer.fill([1.0, 2.0, 3.0], [2.0, 0.0, 4.0])  # a channel that never moves is divided by 1
    expected = (x - torch.tensor([1.0, 2.0, 3.0])[:, None]) / torch.tensor([2.0, 1.0, 4.0])[:, None]
    torch.testing.assert_close(layer(x), expected)
    other = Standardize(3)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x), expected)
    with pytest.raises(InputError, match="3 numbers"):
        layer.fill([0.0], [1.0])
    with pytest.raises(InputError, match="finite"):
        layer.fill([float("nan")] * 3, [1.0] * 3)


def test_a_net_rebuilds_itself():
    net = WideResNet(10, width=2, in_channels=5, num_classes=3).eval()
    again = build(net.spec).eval()
    again.load_state_dict(net.state_dict())
    x = torch.randn(2, 5, 32)
    for same in (again, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(same(x).logits, net(x).logits)
        assert same.spec == net.spec


@pytest.mark.parametrize("path", ["os.system", "torch.nn.Linear", "nowhere.Net", "", "kdlab.nets.base"])
def test_build_makes_nothing_but_nets(path):
    with pytest.raises(InputError):
        build({"class_path": path, "init_args": {}})


@pytest.mark.parametrize("shape", [(2, 4, 100), (2, 3, 3), (2, 3, 8, 8), (3, 100)])
def test_wrong_shapes_name_both(shape):
    with pytest.raises(InputError, match=r"x must be of shape \(B, 3, T\).*got"):
        WideResNet(10, 1, 1, 3, 4)(torch.zeros(shape))


@pytest.mark.parametrize(
    "arguments", [{"depth": 17}, {"depth": 4}, {"width": 0}, {"num_classes": 1}, {"ndim": 3}, {"in_channels": 0}]
)
def test_wrong_arguments(arguments):
    with pytest.raises(InputError, match=r"must have"):
        WideResNet(**arguments)


@pytest.mark.parametrize("arguments", [{"depth": 16.0}, {"depth": "16"}, {"depth": None}, {"width": 1.5}])
def test_sizes_are_whole_numbers(arguments):
    value = re.escape(repr(next(iter(arguments.values()))))
    with pytest.raises(InputError, match=rf"WideResNet: must have integers depth = 6 n \+ 4.*={value}"):
        WideResNet(**arguments)


def test_released_key_names_are_read():
    net = WideResNet(16, 3, 1, 3, 4)
    back = [("stem.", "conv1."), ("norm1", "batch_norm1"), ("norm2", "batch_norm2"), ("shortcut", "conv_inp")]
    released = {}
    for key, value in net.state_dict().items():
        if key.startswith("standardize."):
            continue
        for ours, theirs in back:
            key = key.replace(ours, theirs)
        for i in range(3):
            key = key.replace(f"stages.{i}.", f"block{i + 1}.nblockLayer.")
        released[key.replace("head.", "fc.") if not key.startswith("norm.") else "batch_" + key] = value
    renamed = WideResNet.rename_released(released)
    assert set(renamed) == {k for k in net.state_dict() if not k.startswith("standardize.")}


def test_backbone_is_abstract():
    with pytest.raises(NotImplementedError):
        Backbone(3, 2)(torch.zeros(1, 3, 5))


@pytest.mark.parametrize("cls", [ResNet, CifarResNet])
def test_narrow_images_are_not_laid_out_in_channels_last(cls):
    """Where torch's kernel would write outside its memory; the gradient is that of float64."""
    torch.manual_seed(0)
    depth = {"depth": 18, "stem": "cifar"} if cls is ResNet else {"depth": 8}
    net = cls(width=8, ndim=2, in_channels=6, num_classes=4, **depth)
    assert net.memory_format == "contiguous"
    assert cls(width=16, ndim=2, in_channels=6, num_classes=4, **depth).memory_format is None
    assert cls(width=8, ndim=1, in_channels=6, num_classes=4, **depth).memory_format is None
    x = torch.randn(4, 6, 50, 50)
    net.eval()(x).logits.square().sum().backward()
    found = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    net.double()(x.double()).logits.square().sum().backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(found[name].double(), p.grad, rtol=1e-3, atol=1e-3 * float(p.grad.abs().max()))
