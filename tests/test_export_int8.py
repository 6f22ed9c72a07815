"""An int8 file says which share of its weights is int8, and is refused where it is too small."""

import json
import math

import lightning.pytorch as pl
import numpy as np
import onnx
import pytest
import torch
from torch import nn

import kdlab
from kdlab.data import ArrayDataModule
from kdlab.export import command, export
from kdlab.export.int8 import to_int8
from kdlab.export.origins import Origins
from kdlab.export.physical import PhysicalNet
from kdlab.export.tracing import to_onnx
from kdlab.nets import RecurrentNet
from kdlab.nets.base import Backbone, BatchNorm1d, Conv1d
from kdlab.types import InputError
from tests.conftest import trainer


class Around(Backbone):
    """Layers, pooled over their last axes, and a linear head."""

    def __init__(self, layers: nn.Module, ndim: int = 1, width: int = 16) -> None:
        super().__init__(6, 4, ndim)
        self.layers, self.head = layers, nn.Linear(width, 4)

    def taps(self, x):
        return {"embedding": self.layers(x).flatten(2).mean(2)}


class Recurrent(nn.Module):
    """A recurrent layer of torch over the samples of a window."""

    def __init__(self, kind: type[nn.RNNBase], **kwargs) -> None:
        super().__init__()
        self.layer = kind(6, 16, batch_first=True, **kwargs)

    def forward(self, x):
        return self.layer(x.transpose(1, 2))[0].transpose(1, 2)


class Attention(nn.Module):
    """Self-attention over the samples of a window."""

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Conv1d(6, 16, 1)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x):
        x = self.widen(x).transpose(1, 2)
        return self.attention(x, x, x, need_weights=False)[0].transpose(1, 2)


class Table(nn.Module):
    """Looks the first channel up in a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)

    def forward(self, x):
        return self.table((x[:, 0] * 10 + 25).long().clamp(0, 49)).transpose(1, 2)


class Positions(nn.Module):
    """Adds a large constant table, and multiplies by a weight that is no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 16))
        self.register_buffer("positions", torch.randn(20, 16))

    def forward(self, x):
        return ((x.transpose(1, 2) @ self.weight) + self.positions).transpose(1, 2)


class Fused(nn.Module):
    """A large convolution whose norm the runtime fuses into it, under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = Conv1d(6, 128, 11, padding=5), BatchNorm1d(128)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x.unsqueeze(2)))).squeeze(2)


class Extremes(nn.Module):
    """Maxima, minima and norms over the channels of a convolution, beside it: reductions of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 13, 3)

    def forward(self, x):
        x = self.conv(x)
        return torch.cat([x, x.amax(1, keepdim=True), x.amin(1, keepdim=True), x.norm(dim=1, keepdim=True)], 1)


def signals(first: nn.Module, *more: nn.Module) -> Backbone:
    return Around(nn.Sequential(first, *more))


#: name -> net, and the module that stays float32 with its class, of nets that are refused
NETS = {
    "gru": (lambda: Around(Recurrent(nn.GRU)), ("layers.layer", "GRU")),
    "lstm": (lambda: Around(Recurrent(nn.LSTM, bidirectional=True), width=32), ("layers.layer", "LSTM")),
    "embedding": (lambda: Around(Table()), ("layers.table", "Embedding")),
    "transposed": (
        lambda: signals(nn.Conv1d(6, 12, 3, stride=2), nn.ConvTranspose1d(12, 16, 4)),
        ("layers.1", "ConvTranspose1d"),
    ),
    "attention": (lambda: Around(Attention()), None),
    "transformer": (
        lambda: kdlab.nets.TransformerEncoder(in_channels=6, num_classes=4, dim=16, layers=1, heads=2),
        None,
    ),
    "extremes": (lambda: signals(Extremes()), None),
    "multi scale": (lambda: kdlab.nets.MultiScaleAttention(None, 4, 8, in_channels=6, num_classes=4), None),
    "two sources": (lambda: kdlab.nets.MultiScaleAttention({"left": 3, "right": 3}, 4, 8, num_classes=4), None),
    "inception": (lambda: kdlab.nets.InceptionTime(3, 8, in_channels=6, num_classes=4), None),
    "fcn": (lambda: kdlab.nets.FCN(8, in_channels=6, num_classes=4), None),
    "grouped": (lambda: signals(nn.Conv1d(6, 12, 3, groups=6), nn.Conv1d(12, 16, 1), nn.BatchNorm1d(16)), None),
    "images": (lambda: Around(nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3)), ndim=2), None),
    "positions": (lambda: Around(Positions()), None),
    "fused": (lambda: Around(Fused(), width=128), None),
    "weight norm": (lambda: signals(nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 16, 3))), None),
}


def traced(net: Backbone):
    """Its ONNX model, the origins of the weights, and windows to calibrate on."""
    shape = (6, 20) if net.ndim == 1 else (6, 12, 12)
    model, known = to_onnx(PhysicalNet(net.eval(), [0.0] * 6, [1.0] * 6).eval(), shape)
    return model, known, np.random.default_rng(0).normal(size=(16, *shape)).astype(np.float32)


def share_in_file(model, net: nn.Module) -> float:
    """The numbers that the int8 inputs of ``DequantizeLinear`` hold, of all parameters."""
    read = {node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    held = [t for t in model.graph.initializer if t.name in read and t.data_type == onnx.TensorProto.INT8]
    return sum(math.prod(t.dims) for t in held) / sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_the_share_is_that_in_the_file(name):
    make, refused = NETS[name]
    torch.manual_seed(1)
    net = make()
    given = traced(net)
    model, counted = to_int8(*given, 0.0)
    assert counted.share == pytest.approx(share_in_file(model, net), abs=0.06 if name == "weight norm" else 1e-9)
    floats = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    for one in counted.left:  # names of modules of the net
        assert type(net.get_submodule(one["layer"])).__name__.endswith(one["class"])
    assert all(one["weights"] > 0 for one in counted.left)
    assert floats
    if refused is None:
        assert counted.share > 0.5
        return
    assert counted.share < 0.5
    assert (counted.left[0]["layer"], counted.left[0]["class"]) == refused
    assert counted.left[0]["weights"] == sum(p.numel() for p in net.get_submodule(refused[0]).parameters())
    with pytest.raises(InputError, match=rf"at least 50 %, but is .*{refused[0]} \({refused[1]}, [\d,]+\).*Leave out"):
        to_int8(*given, 0.5)


def test_names_that_the_runtime_makes():
    read = {"unsqueeze_3": ("net.a.weight", "val_1"), "val_2": ("unsqueeze_3", "net.b.bias")}
    known = Origins({"net.a.weight": 6, "net.b.bias": 2}, read, {"net.a": "Conv1d"})
    assert known.parameters("ConvBnFusion_W_unsqueeze_3_token_2") == {"net.a.weight"}
    assert known.parameters("val_2") == {"net.a.weight", "net.b.bias"}
    assert known.parameters("ConvAddFusion_B_net.b.bias") == {"net.b.bias"}
    assert known.parameters("const_transpose_optimizer") == set()
    assert known.layer("net.a.weight") == ("a", "Conv1d")


def test_a_recurrent_student_is_refused_or_declared(tmp_path, capsys):
    pl.seed_everything(0)
    x = np.random.default_rng(0).normal(size=(60, 6, 20))  # short: the file has each step of a recurrent layer
    data = ArrayDataModule(x, np.arange(60) % 4, subject=np.arange(60) // 6, batch_size=16)
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(kdlab.Supervised(RecurrentNet("gru", 1, 16, in_channels=6, num_classes=4)), data)
    fit.save_checkpoint(tmp_path / "student.ckpt")
    how = {"format": "onnx", "quantize": "int8"}
    with pytest.raises(InputError, match=r"at least 50 %, but is 5\.\d %\. .*layers\.0 \(GRU, 1,152\).*--int8-minimum"):
        export(tmp_path / "student.ckpt", data, **how)
    assert [path.name for path in tmp_path.iterdir()] == ["student.ckpt"]
    with pytest.raises(InputError, match=r"int8_minimum: must be a share from 0 to 1, but got 50"):
        export(tmp_path / "student.ckpt", data, **how, int8_minimum=50)
    made = export(tmp_path / "student.ckpt", data, **how, int8_minimum=0.01, tolerance=100)
    card = json.loads(made.path.with_name(f"{made.path.name}.json").read_text())["quantisation"]
    assert card["int8_share"] == pytest.approx(
        share_in_file(onnx.load(made.path), RecurrentNet("gru", 1, 16, in_channels=6, num_classes=4)), abs=1e-4
    )
    assert card["int8_minimum"] == 0.01
    assert card["float32"][0] == {"layer": "layers.0", "class": "GRU", "weights": 1152}
    assert "int8: 5.2 % of the weights; float32: layers.0 (GRU, 1,152)" in command.summary(made)
