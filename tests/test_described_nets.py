"""Nets that a checkpoint describes: classes are found as objects, and nothing is called before all of it is checked."""

import sys
import types

import pytest
import torch
from torch import nn

import kdlab
from kdlab.methods.checkpoints import KEY, net_of
from kdlab.nets import Adapter, AngularNet, Backbone, ReusedClassifier, WideResNet, build, described, register
from kdlab.types import InputError

A, W = "kdlab.nets.adapter.Adapter", "kdlab.nets.wide_resnet.WideResNet"
ANGULAR, REUSED = "kdlab.nets.angular.AngularNet", "kdlab.nets.reused.ReusedClassifier"
FUSION = "kdlab.nets.fusion.SensorFusion"


def spec(path, /, **init_args):
    return {"class_path": path, "init_args": init_args}


def adapter(net, **more):
    return spec(A, head="x", in_channels=6, num_classes=4, net=net, **more)


class Reader(nn.Module):
    """A class of somebody's that has a side effect when it is made."""

    made = 0

    def __init__(self, path: str = ""):
        super().__init__()
        type(self).made += 1


class Holder(Backbone):
    """A net of a user's that takes any argument and imports what its own says."""

    made = 0

    def __init__(self, parts=None, in_channels: int = 3, num_classes: int = 4):
        super().__init__(in_channels, num_classes)
        type(self).made += 1
        self.head = nn.Linear(3, num_classes)


HOLDER, READER = (f"{cls.__module__}.{cls.__qualname__}" for cls in (Holder, Reader))


class Evil(types.ModuleType):
    """A module that runs code when a name is looked up in it."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"{name} was looked up")


COMMAND = {"command": "touch pwned"}
SYSTEM = {"class_path": "os.system", "init_args": COMMAND}
HOSTILE = {
    "a function": adapter(SYSTEM),
    "an adapter in an adapter": adapter(spec(A, head="x", net=SYSTEM)),
    "an adapter in an adapter without code": adapter(adapter(spec("torch.nn.Linear", in_features=2, out_features=4))),
    "behind an angular head": spec(ANGULAR, net=adapter(adapter(SYSTEM))),
    "in a reused classifier": spec(REUSED, net=spec(W), classifier=adapter(adapter(SYSTEM))),
    "in a reused net": spec(REUSED, net=adapter(SYSTEM), classifier=spec(W)),
    "in a reused net in an adapter": adapter(spec(REUSED, net=spec(W), classifier=adapter(SYSTEM))),
    "at the top": SYSTEM,
    "in a list of a user's net": spec(HOLDER, parts=[1, [spec(W), SYSTEM]]),
    "in a mapping of a user's net": spec(HOLDER, parts={"a": {"b": SYSTEM}}),
    "in an argument that is none": spec(W, other={"c": [SYSTEM]}),
    "in the branches of a fusion": spec(FUSION, groups={"a": SYSTEM}),
    "beside init_args": {**spec(W), "dict_kwargs": SYSTEM},
    "in init_args of a layer": adapter(spec(READER, path=[SYSTEM])),
    "a class path that is a list": spec(HOLDER, parts={"class_path": ["os", "system"]}),
    "a module's attribute": adapter(spec("evil_module.anything")),
    "a module that is not loaded": adapter(spec("antigravity.Fly")),
    "a function that makes nets": adapter(spec("torch.hub.load", repo_or_dir="x", model="y")),
    "a ScriptModule": adapter(spec("torch.jit.ScriptModule")),
    "a traced module": adapter(spec("torch.jit._trace.TopLevelTracedModule")),
    "a GraphModule": adapter(spec("torch.fx.graph_module.GraphModule", root={}, graph={})),
    "a LightningModule": adapter(spec("kdlab.methods.supervised.Supervised", net=spec(W))),
    "a teacher": adapter(spec("kdlab.methods.teacher.Teacher", checkpoint="/etc/passwd")),
    "an objective": adapter(spec("kdlab.objective.SoftTargets")),
    "a metric": adapter(spec("torchmetrics.classification.accuracy.MulticlassAccuracy", num_classes=4)),
    "a class that is no module": adapter(spec("pathlib.Path", args="x")),
    "a class of exceptions": spec("builtins.SystemExit"),
    "no class": adapter({"module": "torch.nn.Linear"}),
    "a layer at the top": spec("torch.nn.Linear", in_features=3, out_features=4),
    "a layer in place of a net": spec(ANGULAR, net=spec("torch.nn.Linear", in_features=3, out_features=4)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_is_called(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "evil_module", Evil("evil_module"))
    Holder.made = Reader.made = 0
    described_net = HOSTILE[what]
    for made in (described_net, spec(ANGULAR, net=described_net), spec(REUSED, net=spec(W), classifier=described_net)):
        with pytest.raises(InputError) as error:
            build(made)
        assert "\n" not in str(error.value)
        assert not list(tmp_path.iterdir())
        assert Holder.made == Reader.made == 0
    assert "antigravity" not in sys.modules


DEEP = spec(W)
for _ in range(40):
    DEEP = spec(ANGULAR, net=DEEP)
CIRCLE = spec(HOLDER, parts={})
CIRCLE["init_args"]["parts"]["a"] = CIRCLE
SHARED = spec(W)
for _ in range(14):
    SHARED = spec(REUSED, net=SHARED, classifier=SHARED)
OUT_OF_BOUNDS = {
    "a width of 10^6": (spec(W, width=10**6), "width"),
    "10^13 classes": (spec(W, num_classes=10**13), "num_classes"),
    "a number of 10^5 digits": (spec(W, width=10**100_000), "width"),
    "a depth of 10^5": (spec(W, depth=10**5), "depth"),
    "many layers within bounds": (spec("kdlab.nets.recurrent.RecurrentNet", layers=60_000, hidden=1), "layers"),
    "a list of 10^6": (spec(HOLDER, parts=[1] * 10**6), "values"),
    "a long word": (spec(HOLDER, parts="a" * 10**6), "characters"),
    "a long key": (spec(HOLDER, parts={"a" * 10**6: 1}), "keys"),
    "a key that is no word": (spec(HOLDER, parts={1: 1}), "keys"),
    "NaN": (spec("kdlab.nets.mobilenet.MobileNetV2", width=float("nan")), "width"),
    "infinity": (spec("kdlab.nets.mobilenet.MobileNetV2", width=float("inf")), "width"),
    "a tensor": (spec(HOLDER, parts=[torch.zeros(3)]), "plain"),
    "bytes": (spec(HOLDER, parts=b"x"), "plain"),
    "forty levels": (DEEP, "levels"),
    "a circle": (CIRCLE, "levels|values"),
    "2^14 nets that share one": (SHARED, "levels|values"),
    "a width that multiplies": (spec(W, width=2000), "MiB"),
    "a wide layer in an adapter": (
        adapter(spec("torch.nn.Linear", in_features=60_000, out_features=60_000)),
        "MiB",
    ),
    "a broad embedding": (adapter(spec("torch.nn.Embedding", num_embeddings=65_000, embedding_dim=65_000)), "MiB"),
    "a wide bilinear layer": (
        adapter(spec("torch.nn.Bilinear", **dict.fromkeys(("in1_features", "in2_features"), 9999), out_features=9999)),
        "MiB",
    ),
    "positions": (spec("kdlab.nets.transformer.TransformerEncoder", dim=65_536, max_tokens=65_536), "MiB"),
    "a float width": (spec("kdlab.nets.mobilenet.MobileNetV2", width=60_000.0), "MiB"),
    "init_args that are a list": ({"class_path": W, "init_args": [1]}, "init_args"),
    "a net that is a list": ([1], "class_path"),
    "a net that is a word": ("WideResNet", "class_path"),
    "wrong names": (spec(W, breadth=3), "fit"),
    "wrong kinds": (spec(W, in_channels="six"), "fit|in_channels"),
    "a negative size": (adapter(spec("torch.nn.Linear", in_features=-5, out_features=4)), "fit"),
}


@pytest.mark.parametrize("what", OUT_OF_BOUNDS)
def test_values_out_of_bounds(what):
    made, match = OUT_OF_BOUNDS[what]
    Holder.made = 0
    with pytest.raises(InputError, match=match) as error:
        build(made)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1500
    assert Holder.made == 0


def test_a_net_of_many_small_operations_ends():
    with pytest.raises(InputError, match="too many layers"):
        build(spec(HOLDER.replace("Holder", "Endless")))


class Endless(Backbone):
    """A net whose constructor would take hours."""

    def __init__(self, in_channels: int = 3, num_classes: int = 4):
        super().__init__(in_channels, num_classes)
        self.head = nn.ModuleList(nn.Linear(1, 1) for _ in range(10**7))


def test_a_product_of_two_vectors_is_measured_before_it_is_made():
    class Outer(Backbone):
        def __init__(self, size: int = 30_000, in_channels: int = 3, num_classes: int = 4):
            super().__init__(in_channels, num_classes)
            ones = torch.ones(size)
            self.register_buffer("table", ones[:, None] * ones)

    path = f"{Outer.__module__}.{Outer.__qualname__}"
    assert build(spec(path, size=100)).table.shape == (100, 100)
    with pytest.raises(InputError, match="MiB"):
        build(spec(path))


def test_a_large_net_is_made_for_large_weights(monkeypatch):
    monkeypatch.setattr(described, "MOST_BYTES", 2**16)
    large = WideResNet(10, 2, in_channels=6, num_classes=4)
    with pytest.raises(InputError, match="MiB"):
        build(large.spec)
    assert build(large.spec, large.state_dict()).spec == large.spec
    angular = AngularNet(WideResNet(10, 2, in_channels=6, num_classes=4))
    assert build(angular.spec, large.state_dict()).spec == angular.spec  # the limit is that of all of the net
    shared = {"w": torch.zeros(1).expand(10**9)}  # a file can say so in a few bytes
    with pytest.raises(InputError, match="MiB"):
        build(large.spec, shared)


def rebuilt(net):
    again = build(net.spec)
    assert again.spec == net.spec
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}
    return again


class Plain(nn.Module):
    """A net of somebody's."""

    def __init__(self, channels: int = 6, sizes: tuple = (4, 8)):
        super().__init__()
        self.conv, self.fc = nn.Conv1d(channels, sizes[1], 3), nn.Linear(sizes[1], 4)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean(2))


def test_what_was_rebuilt_is_rebuilt():
    def wide(width=1):
        return WideResNet(10, width, in_channels=6, num_classes=4)

    path = f"{Plain.__module__}.{Plain.__qualname__}"
    adapted = Adapter({"class_path": path, "init_args": {"sizes": [4, 16]}}, "fc", in_channels=6, num_classes=4)
    for net in (wide(), AngularNet(wide()), ReusedClassifier(wide(), wide(2)), adapted):
        rebuilt(net)
    x = torch.randn(2, 6, 20)
    again = rebuilt(adapted).eval()
    again.load_state_dict(adapted.state_dict())
    torch.testing.assert_close(again(x).logits, adapted.eval()(x).logits)
    alias = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 3, "out_features": 4}}
    assert isinstance(described.find(alias["class_path"]), type)  # as a loaded module names it


def function_net(channels: int = 6):
    return nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, 4))


class Safe(kdlab.Supervised):
    pass


def test_register_admits_others(monkeypatch):
    monkeypatch.setattr(described, "_registered", {})
    path = f"{function_net.__module__}.{function_net.__qualname__}"
    made = Adapter({"class_path": path}, "2", in_channels=6, num_classes=4)  # a config of one's own may name a function
    with pytest.raises(InputError, match=r"no net of this name|kdlab\.nets\.register"):
        build(made.spec)
    assert register(function_net) is function_net
    assert rebuilt(made)(torch.zeros(2, 6, 9)).logits.shape == (2, 4)
    with pytest.raises(InputError, match=r"kdlab\.nets\.register"):
        build(adapter(spec(f"{Safe.__module__}.Safe")))
    register(Safe)
    assert described.find(f"{Safe.__module__}.Safe") is Safe
    for wrong in (len, 3, dict, "torch.nn.Linear"):
        with pytest.raises(InputError, match="register: cls must be"):
            register(wrong)


def test_an_adapter_in_a_users_own_config_may_call_functions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = Adapter({"class_path": f"{__name__}.function_net", "init_args": {"channels": 3}}, "2", num_classes=4)
    assert net(torch.zeros(1, 3, 5)).logits.shape == (1, 4)


def test_the_file_is_named():
    checkpoint = {KEY: {"net": spec(W, width=10**6), "view": "raw"}, "state_dict": {}}
    with pytest.raises(InputError, match=r"^teacher: 'a\.ckpt': net 'kdlab.*width must be a number between"):
        net_of(checkpoint, "teacher: 'a.ckpt'")
    with pytest.raises(InputError, match=r"^teacher: 'a\.ckpt': the weights are not those of"):
        net_of({KEY: {"net": spec(W), "view": "raw"}, "state_dict": {"net.x": torch.zeros(1)}}, "teacher: 'a.ckpt'")
