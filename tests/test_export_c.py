"""Students in C: the compiled program is the int8 program of its equations, bit for bit; other nets are refused."""

import hashlib
import json
import math
import re
import shutil
import subprocess
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.prune import random_unstructured

import kdlab
import kdlab.export
from benchmarks import c_form
from benchmarks.c_form import STRICT, strange, through_sanitizers
from kdlab.data import ArrayDataModule, BasicMotions
from kdlab.export import command
from kdlab.export.c import interpret, load, write
from kdlab.export.c.calibrate import forward
from kdlab.export.c.compiled import Compiled, Interpreted
from kdlab.export.c.emit import STACK, emit
from kdlab.export.c.fixed import pair, requantised
from kdlab.export.c.interpret import read, run
from kdlab.export.c.lower import lower
from kdlab.export.c.plan import plan
from kdlab.export.c.text import comment, identifier
from kdlab.export.c.write import quantised
from kdlab.export.physical import PhysicalNet
from kdlab.nets import (
    FCN,
    VGG,
    Adapter,
    CifarResNet,
    InceptionTime,
    MobileNetV2,
    RecurrentNet,
    TransformerEncoder,
    WideResNet,
)
from kdlab.nets.base import Backbone, BatchNorm1d, Conv1d
from kdlab.types import InputError, MissingFileError
from kdlab.views import Raw

CHOSEN = ["gyroscope_z", "accelerometer_x", "accelerometer_y", "gyroscope_x"]
GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(GCC is None, reason="no gcc on this machine")
needs_nm = pytest.mark.skipif(GCC is None or shutil.which("nm") is None, reason="no gcc or no nm on this machine")


class Odd(Backbone):
    """What the two nets have not: even kernels, strides of 3, biases, a ReLU of what others read, a shared layer."""

    def __init__(self) -> None:
        super().__init__(3, 5)
        self.first, self.norm = Conv1d(3, 7, 4, stride=3, padding=3), BatchNorm1d(7, affine=False)
        self.twice, self.each = Conv1d(7, 7, 1), Conv1d(7, 7, 5, stride=2, padding=4, groups=7)
        self.relu, self.head = nn.ReLU6(), nn.Linear(7, 5, bias=False)

    def taps(self, x):
        x = self.first(x)
        y = self.norm(x) + self.relu(x)
        y = self.twice(y)
        y = self.each(self.twice(y) + y + F.relu(y))
        return {"stage1": x.abs(), "embedding": torch.relu(y).mean(-1)}


class Foreign(nn.Module):
    """A net of someone else, for `Adapter`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv1d(3, 8, 5, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean(-1))


class AsItIs(Foreign):
    """One that torch.fx cannot follow."""

    def forward(self, x):
        return super().forward(x if self.training else x + 0)


class Usual(nn.Module):
    """How others write nets: a norm first, layers in place before a residual sum, pooling layers, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.stem, self.conv = nn.BatchNorm1d(3), nn.Conv1d(3, 8, 3, padding=1), nn.Conv1d(8, 8, 3, 1, 1)
        self.relu, self.pool, self.drop = nn.ReLU(inplace=True), nn.AdaptiveAvgPool1d(1), nn.Dropout(0.3)
        self.stem, self.last, self.head = (
            nn.utils.parametrizations.weight_norm(self.stem),
            nn.BatchNorm1d(8),
            nn.Linear(8, 5),
        )

    def forward(self, x):
        x = self.stem(self.relu(self.first(x)))
        x = self.conv(self.relu(x)) + x
        F.relu6(x, inplace=True)
        return self.head(self.drop(self.last(torch.flatten(self.pool(x), 1))))


def adapted(net, **arguments):
    return Adapter(net, head="head", in_channels=3, num_classes=5, **arguments)


NETS = {
    "wrn10": lambda: WideResNet(10, 1, in_channels=3, num_classes=5),
    "wrn16-2": lambda: WideResNet(16, 2, in_channels=3, num_classes=5),
    "mobilenet": lambda: MobileNetV2(0.25, in_channels=3, num_classes=5),
    "mobilenet relu": lambda: MobileNetV2(0.125, expansion=2, in_channels=3, num_classes=5, activation="relu"),
    "cifar resnet": lambda: CifarResNet(8, ndim=1, in_channels=3, num_classes=5),
    "odd": Odd,
    "fcn": lambda: FCN(8, in_channels=3, num_classes=5),
    "adapter": lambda: adapted(Foreign(), taps={"stage1": "norm"}),
    "usual": lambda: adapted(Usual()),
}
SCALE = {"offset": [1013.0, 0.0, -9.81], "divisor": [4.0, 0.2, 3.0], "clip": False}


def trained(name: str, clip: bool = False) -> tuple[PhysicalNet, np.ndarray]:
    """A net whose batch norms have statistics of their own, and windows ``(N, 3, 61)`` in physical units."""
    torch.manual_seed(sum(map(ord, name)))
    net, x = (
        NETS[name](),
        torch.randn(96, 3, 61) * torch.tensor([[1.0], [2.0], [0.5]]) + torch.tensor([[0.3], [0], [1]]),
    )
    if clip:
        x = torch.sigmoid(x)
    net.standardize.fill([0.3, 0.0, 1.0], [1.0, 2.0, 0.5])
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = None
            if module.affine:
                nn.init.uniform_(module.weight, -0.5, 1.5)
                nn.init.normal_(module.bias)
    with torch.no_grad():
        for part in x.split(48):
            net.train()(part)
    scale = {**SCALE, "clip": clip}
    windows = x.double() * torch.tensor(SCALE["divisor"])[:, None] + torch.tensor(SCALE["offset"])[:, None]
    return PhysicalNet(net.eval().requires_grad_(False), **scale).eval(), windows.numpy().astype(np.float32)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A checkpoint of a student on four channels of BasicMotions, see tests/files/README.md."""
    kept = Path(__file__).parent / "files/student_basic_motions.ckpt"
    return Path(shutil.copy(kept, tmp_path_factory.mktemp("student") / "student.ckpt"))


def motions(**kwargs):
    return BasicMotions(views={"raw": Raw(CHOSEN)}, seed=0, scale="minmax", **kwargs)


@pytest.fixture(scope="module")
def exported(student):
    return kdlab.export.export(student, motions(), format="c", windows="test", name="wrist-2", self_test=True)


# ------------------------------------------------------------------ the layers
@pytest.mark.parametrize("name", NETS)
def test_layers_are_the_net(name):
    """In float64, batch norms folded: the logits of the net itself."""
    module, windows = trained(name)
    net = module.net.double()
    x = torch.from_numpy(windows).double()
    graph = lower(net, 61)
    scaled = (x - torch.tensor(SCALE["offset"])[:, None]) / torch.tensor(SCALE["divisor"])[:, None]
    logits = forward(graph, scaled)[graph.layers[-1].name]
    torch.testing.assert_close(logits, net(scaled).logits, atol=1e-9, rtol=1e-9)
    assert sum(type(layer).__name__ == "Dense" for layer in graph.layers) == 1
    assert len({layer.name for layer in graph.layers}) == len(graph.layers)


class Between(Backbone):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__(3, 5)
        self.middle, self.head = nn.Sequential(Conv1d(3, 4, 3), layer), nn.Linear(4, 5)

    def taps(self, x):
        return {"embedding": self.middle(x).mean(2)}


class Computed(Between):
    """A convolution, and what is computed from its features."""

    def __init__(self, compute, conv: type[nn.Conv1d] = nn.Conv1d, head: nn.Module | None = None) -> None:
        super().__init__(nn.Identity())
        self.conv, self.relu = conv(4, 4, 3, padding=1), nn.ReLU(True)
        self.one, self.two, self.flat = nn.AdaptiveAvgPool1d(1), nn.AdaptiveAvgPool1d(2), nn.Flatten()
        self.compute, self.head = compute, head or self.head

    def taps(self, x):
        return {"embedding": self.compute(self, self.middle(x))}


def plain(net, x):
    return net.conv(x).mean(2)


def residual(change):
    """A residual sum of features behind a statement that changes them."""

    def compute(net, x):
        change(net, x)
        return (net.conv(x) + x).mean(2)

    return compute


def plus(net, x):
    x += net.conv(x)


def times(net, x):
    x *= x


def zero(net, x):
    x[:, 0] = 0


SAME = {
    "layer in place": residual(lambda net, x: net.relu(x)),
    "layer in place, used": lambda net, x: (net.conv(net.relu(x)) + x).mean(2),
    "relu_": residual(lambda net, x: x.relu_()),
    "torch.relu_": residual(lambda net, x: torch.relu_(x)),
    "F.relu": residual(lambda net, x: F.relu(x, True)),
    "F.relu6": residual(lambda net, x: F.relu6(x, inplace=True)),
    "add_": residual(lambda net, x: x.add_(net.conv(x))),
    "+=": residual(plus),
    "read before": lambda net, x: (net.conv(x) + net.relu(x) + x).mean(2),
    "not the clone": lambda net, x: (x.clone() + net.relu(x)).mean(2),
    "a view": lambda net, x: (lambda y: (net.relu(y.squeeze(-1)), y.flatten(1))[1])(x.mean(2, keepdim=True)),
    "mean dim=2": lambda net, x: F.relu(x).mean(dim=2),
    "torch.mean": lambda net, x: torch.mean(x, dim=[-1], keepdim=True).squeeze(2),
    "pooling": lambda net, x: net.flat(net.one(input=x)),
    "F.pooling": lambda net, x: torch.flatten(F.adaptive_avg_pool1d(x, 1), 1),
    "dropout": lambda net, x: F.dropout(x, 0.5, net.training).mean(2),
    "no layer": lambda net, x: x.mean(2),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_computed_otherwise_is_the_same(name):
    """In place, or by another name."""
    torch.manual_seed(0)
    net, x = Computed(SAME[name]).eval().double(), torch.randn(8, 3, 61, dtype=torch.float64)
    graph = lower(net, 61)
    torch.testing.assert_close(forward(graph, x)[graph.layers[-1].name], net(x).logits)


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.spectral_norm, random_unstructured])
def test_hooks_that_compute_weights_are_computed(wrap):
    """With numbers that were loaded after the last forward pass."""
    torch.manual_seed(0)
    net, x = Computed(plain).eval(), torch.randn(8, 3, 61)
    wrap(net.conv, "weight", **({"amount": 0.5} if wrap is random_unstructured else {}))
    net.eval().load_state_dict({name: 2 * value for name, value in net.state_dict().items()})
    graph = lower(net, 61)
    expected = net(x).logits.detach().double()
    torch.testing.assert_close(forward(graph, x)[graph.layers[-1].name], expected, atol=1e-5, rtol=1e-5)


def test_computed_weights_are_int8():
    module, windows = trained("usual")
    _, graph = quantised(module, 61, SCALE, windows)
    weights = sum(p.numel() for p in module.net.parameters() if p.ndim > 1)
    norms = 3 + 8  # their factors, of layers that are not folded
    assert write._share(graph, module.net) == (weights + norms) / sum(p.numel() for p in module.net.parameters())


class Standardised(nn.Conv1d):
    def forward(self, x):
        return F.conv1d(x, self.weight - self.weight.mean(), self.bias, padding=1)


class Causal(nn.Conv1d):
    def _conv_forward(self, input, weight, bias):
        return super()._conv_forward(F.pad(input, (2, 0)), weight, bias)


def hooked(register: str) -> Backbone:
    net = adapted(Foreign())
    getattr(net.body.conv, register)(lambda module, *given: None)
    return net


class Called(Between):
    """Computes what is no layer."""

    def taps(self, x):
        return {"embedding": torch.tanh(self.middle(x)).mean(2)}


class Shifted(Between):
    def taps(self, x):
        return {"embedding": (self.middle(x) + 1.0).mean(2)}


REFUSED = {
    "gru": (lambda: RecurrentNet("gru", 1, 8, in_channels=3, num_classes=5), r"layers\.0 \(GRU\)"),
    "transformer": (
        lambda: TransformerEncoder(in_channels=3, num_classes=5, dim=8, layers=1, heads=2),
        r"\w+[\w.]* \(\w+\)",
    ),
    "vgg": (lambda: VGG(8, in_channels=3, num_classes=5), r"[\w.]+ \(MaxPool1d\)"),
    "inception": (lambda: InceptionTime(3, 4, in_channels=3, num_classes=5), r"[\w.]+ \(MaxPool1d\)"),
    "images": (lambda: WideResNet(10, 1, 2, in_channels=3, num_classes=5), "WideResNet for images"),
    "gelu": (lambda: Between(nn.GELU()), r"middle\.1 \(GELU\)"),
    "leaky": (lambda: Between(nn.LeakyReLU()), r"middle\.1 \(LeakyReLU\)"),
    "pooling": (lambda: Between(nn.AvgPool1d(2)), r"middle\.1 \(AvgPool1d\)"),
    "groups": (lambda: Between(nn.Conv1d(4, 4, 3, groups=2)), r"middle\.1 \(Conv1d\) with groups=2"),
    "dilation": (lambda: Between(nn.Conv1d(4, 4, 3, dilation=2)), r"middle\.1 \(Conv1d\) with groups=1, dilation=2"),
    "circular": (
        lambda: Between(nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")),
        r"middle\.1 \(Conv1d\) with .*circular",
    ),
    "same": (
        lambda: Between(nn.Conv1d(4, 4, 3, padding="same", dilation=3)),
        r"middle\.1 \(Conv1d\) with .*dilation=3",
    ),
    "padding": (lambda: Between(nn.Conv1d(4, 4, 3, padding=3)), r"middle\.1 \(Conv1d\) with padding=3"),
    "too short": (lambda: Between(nn.Conv1d(4, 4, 70)), r"middle\.1 \(Conv1d\), which finds a window of 59 samples"),
    "linear": (lambda: Between(nn.Linear(59, 5)), r"middle\.1 \(Linear\), which does not come after the mean"),
    "batch": (
        lambda: Between(nn.BatchNorm1d(4, track_running_stats=False)),
        r"middle\.1 \(BatchNorm1d\) without running statistics",
    ),
    "as it is": (
        lambda: adapted(AsItIs()),
        "Adapter of a net whose graph cannot be used, since its forward in training",
    ),
    "tanh": (lambda: Called(nn.ReLU()), r"tanh\(\.\.\.\)"),
    "standardised": (lambda: Computed(plain, Standardised), r"conv \(Standardised\), whose forward pass is its own"),
    "causal": (lambda: Computed(plain, Causal), r"conv \(Causal\), whose forward pass is its own"),
    "head": (
        lambda: Computed(plain, head=nn.Sequential(nn.Linear(4, 5), nn.ReLU())),
        r"head\.1 \(ReLU\), which comes after the linear layer",
    ),
    "hook": (lambda: hooked("register_forward_hook"), r"body\.conv \(Conv1d\) with a forward hook.* Remove it"),
    "pre hook": (lambda: hooked("register_forward_pre_hook"), r"body\.conv \(Conv1d\) with a forward hook"),
    "*=": (lambda: Computed(residual(times)), r"imul\(.* in place\. Write it without that \(inplace=False"),
    "assignment": (lambda: Computed(residual(zero)), r"Computed, whose graph cannot be read \(.*item assignment"),
    "out": (lambda: Computed(residual(lambda net, x: torch.add(x, x, out=x))), r"add\(\.\.\.\) .* in place"),
    "slice": (lambda: Computed(residual(lambda net, x: x[:, :2].zero_())), r"getitem\(\.\.\.\) in Computed"),
    "hardtanh": (
        lambda: Computed(residual(lambda net, x: net.head(x)), head=nn.Hardtanh(inplace=True)),
        r"head \(Hardtanh\)",
    ),
    "hardtanh_": (lambda: Computed(residual(lambda net, x: F.hardtanh_(x))), r"hardtanh_\(\.\.\.\) .* in place"),
    "mean": (lambda: Computed(lambda net, x: x.mean(1)), r"mean\(\.\.\.\) in Computed over dim=1"),
    "two": (lambda: Computed(lambda net, x: net.flat(net.two(x))), r"two \(AdaptiveAvgPool1d\) with output_size=2"),
    "dropout": (lambda: Computed(lambda net, x: F.dropout(x).mean(2)), r"dropout\(\.\.\.\) .* random numbers"),
    "constant": (lambda: Shifted(nn.ReLU()), r"add\(\.\.\.\) in Shifted, which reads a constant"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_layers_are_refused_by_name(name):
    make, match = REFUSED[name]
    with pytest.raises(InputError, match=rf"format='c': layers must be .*, but got {match}.*format='onnx'"):
        lower(make().eval(), 61)


def test_a_forward_of_its_own_is_refused():
    class Own(Between):
        def forward(self, x):
            return super().forward(-x)

    with pytest.raises(InputError, match="got Own, whose forward pass is its own"):
        lower(Own(nn.ReLU()).eval(), 61)


def test_layers_that_are_not_the_net_are_refused():
    """What no graph shows: the forward pass does something else where it is not traced."""

    def compute(net, x):
        return plain(net, 2 * x if isinstance(x, torch.Tensor) else x)

    module = PhysicalNet(Computed(compute).eval(), **SCALE).eval()
    with pytest.raises(InputError, match=r"format='c': the layers .* Computed must have its logits.*'torch\.export'"):
        quantised(module, 61, SCALE, trained("fcn")[1])


# ------------------------------------------------------------------ the numbers
def test_fixed_point_is_exact():
    """Multiplier and shift against rational numbers; the sums are `floor(a m / 2^n + 1/2)`."""
    rng = np.random.default_rng(0)
    factors = np.concatenate([10 ** rng.uniform(-12, 8, 300), [0.5, 1.0, 1 - 2**-40, 2.0**29, 2.0**-40]])
    made = requantised(factors, 0)
    for factor, multiplier, shift in zip(factors, made.multiplier.tolist(), made.shift.tolist(), strict=True):
        assert 0 <= multiplier < 2**31
        assert 1 <= shift <= 62
        got, given = Fraction(multiplier, 2**shift), Fraction(float(factor))
        assert abs(got - given) <= max(given / 2**30, Fraction(1, 2**63))
        assert abs(-(2**31) * multiplier) + 2 ** (shift - 1) < 2**63
    one, other = 10 ** rng.uniform(-6, 3, (2, 300))
    first, second, shift = (a.tolist() for a in pair(one, other))
    for a, b, m, k, n in zip(one, other, first, second, shift, strict=True):
        assert 2**16 * (m + k) + 2 ** (n - 1) < 2**63
        assert abs(Fraction(m, 2**n) - Fraction(float(a))) <= Fraction(max(a, b)) / 2**23 + Fraction(1, 2**41)
        assert abs(Fraction(k, 2**n) - Fraction(float(b))) <= Fraction(max(a, b)) / 2**23 + Fraction(1, 2**41)
    for wrong in (0.0, -1.0, np.nan, np.inf, 2.0**30):
        with pytest.raises(InputError, match=r"between 0 and 2\^30"):
            requantised(np.array([1.0, wrong]), 0)


def by_hand(program, window):
    """Logits of one window with Python's integers, sample by sample; the first layers alone, which is enough work."""
    reader, values = program.reader, {}
    x = ((window - reader.offset[:, None]) - reader.rest[:, None]) / reader.divisor[:, None]
    values["window"] = [
        [math.floor(float(np.float32(min(max(v, -128), 127)) + np.float32(128.5))) - 128 for v in row] for row in x
    ]
    for layer in program.layers:
        if not hasattr(layer, "geometry"):
            break
        geometry, (source,), zero = layer.geometry, layer.inputs, layer.zeros[0]
        rows = values[source.name]
        out = []
        for o in range(layer.output.channels):
            inputs = [o] if geometry.depthwise else range(source.channels)
            row = []
            for t in range(layer.output.length):
                total = int(layer.bias[o])
                for i, c in enumerate(inputs):
                    for k in range(geometry.kernel):
                        s = t * geometry.stride - geometry.padding + k
                        if 0 <= s < source.length:
                            total += int(layer.weight[o, i, k]) * (rows[c][s] - zero)
                exact = Fraction(total * int(layer.to.multiplier[o]), 2 ** int(layer.to.shift[o]))
                most = 2**15 if layer.to.wide else 2**7
                row.append(min(max(math.floor(exact + Fraction(1, 2)) + layer.to.zero, -most), most - 1))
            out.append(row)
        values[layer.output.name] = out
    return values


def test_the_equations_by_hand():
    module, windows = trained("wrn10")
    program, _ = quantised(module, 61, SCALE, windows)
    expected = by_hand(program, windows[0])
    values = {"window": read(program.reader, windows[:1])}
    for layer in program.layers:
        if layer.output.name not in expected:
            break
        values[layer.output.name] = interpret._layer(layer, values)
    assert len(values) == len(expected) > 4
    for name, rows in expected.items():
        assert values[name][0].tolist() == rows, name


@pytest.mark.parametrize("name", NETS)
def test_int8_keeps_the_logits(name):
    """To hundredths of their spread, on windows of no calibration too; random nets are worse than trained ones."""
    module, windows = trained(name)
    program, _ = quantised(module, 61, SCALE, windows[:64])
    with torch.no_grad():
        exact = module(torch.from_numpy(windows)).numpy()
    error = np.abs(run(program, windows) - exact).mean() / exact.std()
    assert error < (0.35 if name == "mobilenet" else 0.12), error


def test_features_are_placed_without_overlap():
    """Values that are needed at the same time share no byte, unless a layer works in place."""
    for name in NETS:
        module, windows = trained(name)
        program, _ = quantised(module, 61, SCALE, windows[:8])
        places = plan(program)
        held, sizes = {"window"}, {"window": program.bytes(program.reader.output)}
        last = {v.name: i for i, layer in enumerate(program.layers) for v in layer.inputs}
        lowest = 0
        for i, layer in enumerate(program.layers[:-1]):
            y = layer.output
            sizes[y.name] = program.bytes(y)
            pointwise = type(layer).__name__ == "IntAddition" or (
                type(layer).__name__ == "IntConvolution" and layer.geometry.kernel == 1 and layer.geometry.depthwise
            )
            for other in held:
                at, there = places.places[y.name], places.places[other]
                apart = at + sizes[y.name] <= there or there + sizes[other] <= at
                in_place = (
                    pointwise
                    and at == there
                    and sizes[y.name] == sizes[other]
                    and other in {v.name for v in layer.inputs}
                    and last[other] == i
                )
                assert apart or in_place, (name, y.name, other)
            held = {v for v in held if last[v] > i} | ({y.name} if last.get(y.name, -1) > i else set())
            lowest = max(lowest, sum(sizes[v] for v in held))
            assert places.places[y.name] + sizes[y.name] <= places.bytes
        assert lowest <= places.bytes <= 1.5 * lowest + sizes["window"] + max(sizes.values()), name


# ------------------------------------------------------------------ the program
def written(folder, name, clip=False):
    """The C files of a net, its program, and windows."""
    module, windows = trained(name, clip)
    program, _ = quantised(module, 61, {**SCALE, "clip": clip}, windows[:64])
    card = {
        "kdlab": "1", "name": "a", "classes": [*"abcd", "*/ ??/ \\"], "sampling_rate": 50.0,
        "provenance": {"net": None},
        "channels": [{"name": "x", "unit": "µT /* \n"}] * 3, "input": {"shape": ["batch", 3, 61]},
    }  # fmt: skip
    source = emit(program, plan(program), "net", "net.h", card)
    (folder / "net.c").write_text(source.source, encoding="ascii")
    (folder / "net.h").write_text(source.header, encoding="ascii")
    return program, source, windows


def gcc(folder, *words):
    made = subprocess.run(["gcc", *words], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stderr


@needs_nm
@pytest.mark.parametrize(("name", "clip"), [(name, name == "odd") for name in NETS])
def test_the_program_is_the_equations(name, clip, tmp_path):
    program, source, windows = written(tmp_path, name, clip)
    assert gcc(tmp_path, *STRICT, "-pedantic", "-fstack-usage", "-shared", "-fPIC", "net.c", "-o", "net.so") == ""
    compiled = Compiled(tmp_path / "net.so", "net_predict", (3, 61), 5)
    x = np.concatenate([windows, strange(32, (3, 61))])
    assert np.array_equal(compiled(torch.from_numpy(x)).numpy(), run(program, x), equal_nan=True)
    frames = [int(line.split("\t")[1]) for path in tmp_path.glob("*.su") for line in path.read_text().splitlines()]
    assert 0 < sum(frames) < STACK
    # nothing but the function is exported or imported; RAM and flash are those of the head
    gcc(tmp_path, "-std=c99", "-O0", "-c", "net.c", "-o", "net.o")  # which keeps all structures
    symbols = [
        line.split() for line in subprocess.check_output(["nm", "-S", "net.o"], cwd=tmp_path, text=True).splitlines()
    ]
    assert [words[-1] for words in symbols if words[-2].isupper()] == ["net_predict"]
    sizes = {words[-1]: int(words[1], 16) for words in symbols if len(words) == 4 and words[2] in "rbd"}
    assert sizes.pop("scratch") == source.ram == plan(program).bytes
    layers = {key: size for key, size in sizes.items() if key.endswith("_layer")}
    assert sum(sizes.values()) - sum(layers.values()) == source.tables
    assert len(layers) == len(program.layers)
    for words in (
        f"{source.ram} bytes of static",
        f"{source.tables} bytes of weights",
        f"{source.descriptions} bytes of",
    ):
        assert words in source.source


@needs_gcc
@pytest.mark.parametrize("name", ["odd", "mobilenet relu"])
def test_strange_windows_under_the_sanitizers(name, tmp_path):
    program, _, windows = written(tmp_path, name)
    x = np.concatenate([windows[:8], strange(240, (3, 61), seed=1)])
    got, expected = through_sanitizers(tmp_path, "net", x), run(program, x)
    assert np.array_equal(got, expected, equal_nan=True)
    finite = np.isfinite(x).all((1, 2))
    assert 50 < finite.sum() < 240
    assert np.isfinite(got[finite]).all()
    assert np.isnan(got[~finite]).all()


@needs_gcc
def test_the_header_is_read_by_cpp_and_twice(tmp_path):
    written(tmp_path, "wrn10")
    (tmp_path / "user.c").write_text(
        '#include "net.h"\n#include "net.h"\nfloat w[NET_CHANNELS * NET_LENGTH], y[NET_CLASSES];\n'
        "int main(void) { net_predict(w, y); return NET_CHANNELS != 3 || NET_LENGTH != 61 || NET_CLASSES != 5; }\n"
    )
    gcc(tmp_path, *STRICT, "net.c", "user.c", "-o", "user")
    assert subprocess.run([tmp_path / "user"]).returncode == 0


@needs_gcc
def test_the_benchmark(tmp_path, capsys):
    """What `python -m benchmarks.c_form` prints, at a size whose figures mean nothing."""
    case = (lambda: BasicMotions(batch_size=16), lambda: WideResNet(10, 1, in_channels=6, num_classes=4), 1)
    found = c_form.measure("WRN10-1", case, count=24, fuzz=24, folder=tmp_path)
    assert set(found) == {"checkpoint", "c"}
    out = capsys.readouterr().out
    assert "WRN10-1: 6 x 100, basic_motions, 24 test windows" in out
    for row in ("PyTorch", "ONNX float32", "ONNX int8", "C int8"):
        assert re.search(rf"{row} +[\d.]+ %  equal decisions +[\d.]+ % +[\d.]+ kB +[\d.]+ ms", out)
    assert re.search(r"24 strange windows under the sanitizers, \d+ of them not finite .*equal bits, no finding", out)


def test_words_in_c():
    assert identifier("läuft 3") == "l_uft_3"
    for wrong in ("", "___", "äöü", "a" * 101):
        with pytest.raises(InputError, match=r"name: must hold letters or digits"):
            identifier(wrong)
    for words in ("*/", "/*/", "**//", "a\\", "??/", "µ", "\u202e", "\x00", "/**/"):
        made = comment(words)
        assert made.isascii()
        assert made.isprintable()
        assert not re.search(r"\*/|/\*|\?\?", made)
        assert not made.endswith("\\")


# ------------------------------------------------------------------ the export
@needs_gcc
def test_export(exported, student):
    folder, card = student.parent, exported.card
    assert sorted(path.name for path in folder.iterdir()) == [
        "student.ckpt", "wrist_2.c", "wrist_2.c.json", "wrist_2.h", "wrist_2_self_test.c",
    ]  # fmt: skip
    assert card == json.loads((folder / "wrist_2.c.json").read_text())
    assert (card["format"], card["c"]["function"], card["c"]["compiler"]) == ("c", "wrist_2_predict", "cc")
    assert card["c"]["header"]["sha256"] == hashlib.sha256((folder / "wrist_2.h").read_bytes()).hexdigest()
    assert card["file"]["sha256"] == hashlib.sha256((folder / "wrist_2.c").read_bytes()).hexdigest()
    assert card["check"]["accuracy"] == {"before": 1.0, "after": 1.0}
    assert card["check"]["passed"] is True
    assert card["quantisation"]["calibrated_on"] == {"windows": "train", "count": 32}
    assert card["quantisation"]["int8_share"] > 0.95
    assert card["size"]["after"] == sum(card["c"]["flash"].values()) < 0.35 * card["size"]["weights"]
    assert card["latency"]["after"] > 0
    said = command.summary(exported)
    assert "C99: wrist_2_predict in wrist_2.h, self-test wrist_2_self_test.c; RAM 8,000 bytes" in said
    with pytest.raises(InputError, match=r"got C source, .*kdlab\.export\.c\.load\('NAME\.so'\)"):
        kdlab.export.load(exported.path)


@needs_gcc
def test_the_self_test_finds_a_wrong_weight(exported, tmp_path):
    for path in exported.path.parent.glob("wrist_2*"):
        shutil.copy(path, tmp_path)
    words = (*STRICT, "wrist_2.c", "wrist_2_self_test.c", "-o", "test")
    gcc(tmp_path, *words)
    made = subprocess.run([tmp_path / "test"], capture_output=True, text=True)
    assert (made.returncode, made.stdout.splitlines()[-1]) == (0, "wrist_2: 4 of 4 windows as expected")
    text = (tmp_path / "wrist_2.c").read_text()
    changed = re.sub(r"(head_bias\[4\] = \{\n +)(-?\d+)", lambda m: f"{m[1]}{int(m[2]) + 1}", text)
    assert changed != text
    (tmp_path / "wrist_2.c").write_text(changed)
    gcc(tmp_path, *words)
    made = subprocess.run([tmp_path / "test"], capture_output=True, text=True)
    assert (made.returncode, made.stdout.splitlines()[-1]) == (1, "wrist_2: 0 of 4 windows as expected")
    assert "logits DIFFER" in made.stdout


@needs_gcc
def test_a_library_is_loaded_with_its_card(exported, tmp_path):
    data = motions()
    data.setup()
    windows = np.asarray(data.data.windows["raw"])[:, [list(data.channels["raw"]).index(c) for c in CHOSEN]]
    for path in exported.path.parent.glob("wrist_2*"):
        shutil.copy(path, tmp_path)
    with pytest.raises(MissingFileError, match="must have a shared library beside it"):
        load(tmp_path)
    gcc(tmp_path, "-std=c99", "-O1", "-shared", "-fPIC", "wrist_2.c", "-o", "libwrist_2.so")
    for path in (tmp_path, tmp_path / "libwrist_2.so"):
        loaded = load(path)
        assert torch.equal(loaded(windows), exported(windows))
        assert torch.equal(loaded(windows[3]), exported(windows)[3])
    assert loaded.shape == (4, 100)
    with pytest.raises(InputError, match="finite"):
        loaded(np.full((4, 100), np.nan))
    assert bool(loaded.module(torch.full((1, 4, 100), torch.nan)).isnan().all())
    text = (tmp_path / "wrist_2.c").read_text()
    (tmp_path / "other.c").write_text(re.sub(r"(stem_bias\[16\] = \{\n +)(-?\d+)", r"\g<1>90000", text))
    gcc(tmp_path, "-std=c99", "-shared", "-fPIC", "other.c", "-o", "other.so")
    with pytest.raises(InputError, match=r"was not compiled from the export that wrist_2\.c\.json describes"):
        load(tmp_path / "other.so")
    with pytest.raises(InputError, match=r"several \(libwrist_2\.so, other\.so\)"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"must be a shared library of this machine"):
        load(shutil.copy(tmp_path / "wrist_2.c", tmp_path / "text.so"))
    (tmp_path / "wrist_2.c.json").unlink()
    with pytest.raises(MissingFileError, match=r"must have a card \(NAME\.c\.json\) beside it"):
        load(tmp_path / "other.so")


def test_without_a_compiler_the_equations_are_checked(student, exported, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.warns(UserWarning, match="no C compiler was found"):
        made = kdlab.export.export(
            student, motions(), tmp_path / "plain.c", format="c", quantize="int8", windows="test"
        )
    assert isinstance(made.module, Interpreted)
    assert (made.card["c"]["compiler"], made.card["latency"]["after"]) == (None, None)
    assert made.card["c"]["probe"] == exported.card["c"]["probe"]
    assert made.card["c"]["self_test"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.c", "plain.c.json", "plain.h"]
    assert "latency, batch 1, one thread: not measured (no compiler)" in command.summary(made)
    assert "void student_predict(" in (tmp_path / "plain.h").read_text()  # called by its run
    assert '#include "plain.h"' in made.path.read_text()


@needs_gcc
def test_a_compiler_that_computes_something_else_is_refused(student, tmp_path, monkeypatch):
    wrong = tmp_path / "wrong-cc"
    wrong.write_text('#!/bin/sh\nsed -i "s/float y = window/float y = 2.0f * window/" "$6"\nexec gcc "$@"\n')
    wrong.chmod(0o755)
    for words, match in ((str(wrong), "must be those of the equations, but differ"), ("false", "refuses the source")):
        monkeypatch.setenv("CC", words)
        with pytest.raises(InputError, match=match):
            kdlab.export.export(student, motions(), tmp_path / "made.c", format="c")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["wrong-cc"]


def test_the_command(student, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CC", "none")

    def build(config, overrides):
        assert (config, overrides) == ("mine.yaml", ["--data.seed=0"])
        return None, motions()

    words = ["--format", "c", "--name", "On wrist", "--self-test", "--config", "mine.yaml", "--data.seed=0"]
    with pytest.warns(UserWarning, match="no C compiler"):
        made = command.main([str(student), *words, "--output", str(tmp_path / "w.c")], build)
    assert made.card["c"]["function"] == "On_wrist_predict"
    assert made.card["c"]["self_test"] == "w_self_test.c"
    assert "C99: On_wrist_predict in w.h, self-test w_self_test.c" in capsys.readouterr().out


def test_c_arguments_and_files(student, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "none")
    data = motions()

    def refused(match, path, **kwargs):
        with pytest.raises(InputError, match=match):
            kdlab.export.export(student, data, path, **kwargs)

    refused("name='a': is an argument of format='c'", tmp_path / "x.pt", format="torch", name="a")
    refused("self_test=True: is an argument of format='c'", tmp_path / "x.onnx", format="onnx", self_test=True)
    refused("must end in .c for format 'c'", tmp_path / "x.h", format="c")
    refused("name: must hold letters or digits", tmp_path / "x.c", format="c", name="äöü")
    refused("must be called by letters", tmp_path / 'a".c', format="c")
    assert list(tmp_path.iterdir()) == []
    for taken in ("x.h", "x_self_test.c", "x.c.json"):
        (tmp_path / taken).write_text("mine")
        refused(rf"{taken} exists\. Pass overwrite", tmp_path / "x.c", format="c")
        assert (tmp_path / taken).read_text() == "mine"
        (tmp_path / taken).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no compiler
        kdlab.export.export(student, data, tmp_path / "x.c", format="c", self_test=True)
        assert len(list(tmp_path.iterdir())) == 4
        kdlab.export.export(student, data, tmp_path / "x.c", format="c", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.c", "x.c.json", "x.h"]  # no test of other weights


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    data = ArrayDataModule(
        np.random.default_rng(0).normal(size=(24, 3, 40)), np.arange(24) % 2, np.arange(24) // 4, batch_size=8
    )
    data.setup()
    net = RecurrentNet("gru", 1, 8, in_channels=3, num_classes=2)
    net.standardize.fill()
    with pytest.raises(InputError, match=r"format='c': .*layers\.0 \(GRU\)"):
        kdlab.export.export(net, data, tmp_path / "gru.c", format="c")
    assert list(tmp_path.iterdir()) == []
