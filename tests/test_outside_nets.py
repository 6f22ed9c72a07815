"""Nets of other libraries as students and teachers: in training and evaluation as they are without kdlab."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab import AT, KD, Supervised, Teacher
from kdlab.cache import TeacherCache
from kdlab.data import BasicMotions
from kdlab.export.make import export
from kdlab.nets import Adapter, AngularNet, as_backbone, build
from kdlab.types import InputError
from tests.conftest import trainer
from tests.outside_nets import BatchStatistics, HFLike, TimmLike, TorchvisionLike

#: class, head, taps, further arguments of the adapter
NETS: dict[str, tuple[type[nn.Module], str, dict[str, str], dict[str, Any]]] = {
    "timm": (TimmLike, "fc", {"stage1": "stages.0", "stage2": "stages.1"}, {}),
    "torchvision": (TorchvisionLike, "fc", {"stage1": "layer1", "stage2": "layer2"}, {}),
    "hugging face": (HFLike, "classifier", {"stage1": "embeddings", "stage2": "encoder"}, {"output": "logits"}),
    "statistics": (BatchStatistics, "fc", {"stage1": "conv"}, {}),
}
every = pytest.mark.parametrize("name", NETS)
X = torch.randn(6, 6, 100, generator=torch.Generator().manual_seed(5))


def made(name: str, taps: bool = True, spec: bool = False, **arguments: Any) -> tuple[nn.Module, Adapter]:
    """A net, and another copy of it in an adapter."""
    cls, head, places, more = NETS[name]
    torch.manual_seed(3)
    net = cls()
    given: Any = {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": {}} if spec else net
    adapted = Adapter(
        given,
        **{"head": head, "taps": places if taps else None, "in_channels": 6, "num_classes": 4, **more, **arguments},
    )
    return net, adapted


def logits(name: str, output: Any) -> Tensor:
    found: Tensor = output["logits"] if name == "hugging face" else output
    return found


@every
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("taps", [True, False])
def test_a_net_is_as_it_was_in_both_modes(name: str, training: bool, taps: bool) -> None:
    """Whatever mode it is in when it is wrapped; the adapter's numbers are those of the net alone."""
    cls, head, places, more = NETS[name]
    torch.manual_seed(3)
    net = cls().train(training)
    before = copy.deepcopy(net)
    adapted = Adapter(net, head, places if taps else None, in_channels=6, num_classes=4, **more)
    for key, value in before.state_dict().items():
        assert value.equal(net.state_dict()[key]), key
    assert vars(before).keys() == vars(net).keys()
    for mode in (True, False, True):
        net.train(mode)
        adapted.train(mode)
        torch.manual_seed(7)
        expected = logits(name, net(X))
        torch.manual_seed(7)
        found = adapted(X)
        assert found.logits.equal(expected)
        assert list(found.features) == [*(places if taps else ()), "embedding"]
    for key, value in net.state_dict().items():  # running statistics moved by as much
        key = f"head.{key.removeprefix(f'{head}.')}" if key.startswith(f"{head}.") else f"body.{key}"
        assert adapted.state_dict()[key].equal(value), key
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in adapted.modules())


@every
def test_gradients_are_those_of_the_net(name: str) -> None:
    net, adapted = made(name)
    torch.manual_seed(7)
    F.cross_entropy(logits(name, net(X)), torch.arange(6) % 4).backward()
    torch.manual_seed(7)
    F.cross_entropy(adapted(X).logits, torch.arange(6) % 4).backward()
    head = NETS[name][1]
    own = dict(adapted.named_parameters())
    for key, parameter in net.named_parameters():
        there = f"head.{key.removeprefix(f'{head}.')}" if key.startswith(f"{head}.") else f"body.{key}"
        torch.testing.assert_close(own[there].grad, parameter.grad)
    assert len(own) == len(list(net.parameters()))


def test_taps_are_outputs_of_modules_before_work_in_place() -> None:
    net, adapted = made("torchvision")
    net.eval()
    features = adapted.eval()(X).features
    first = net.layer1(F.relu(net.bn1(net.conv1(X))))
    second = net.layer2(F.relu(first))
    assert features["stage1"].equal(first)
    assert (features["stage1"] < 0).any()  # the ReLU that follows works in place
    assert features["stage2"].equal(second)
    torch.testing.assert_close(features["embedding"], F.relu(second).mean(2))
    again = pickle.loads(pickle.dumps(copy.deepcopy(adapted)))
    assert again(X).logits.equal(adapted(X).logits)
    assert AngularNet(adapted).eval()(X).features["stage2"].equal(second)


def test_a_frozen_teacher_keeps_its_statistics() -> None:
    for name in NETS:
        net, adapted = made(name)
        teacher = Teacher(net=adapted, mean=[0.0] * 6, std=[1.0] * 6).load().train()
        before = copy.deepcopy(teacher.net.state_dict())  # type: ignore[union-attr]
        found = [teacher(X + shift).logits for shift in (0, 5, 0)]
        assert found[0].equal(found[2])
        with torch.no_grad():  # with gradients, torch's attention takes another kernel
            assert found[0].equal(logits(name, net.eval()(X)))
        for key, value in teacher.net.state_dict().items():  # type: ignore[union-attr]
            assert value.equal(before[key]), key


class Drawing(nn.Module):
    """Draws in Python, reads a buffer in Python, assigns data, or skips a layer where a flag is None."""

    def __init__(self, kind: str = "random") -> None:
        super().__init__()
        self.kind, self.conv, self.fc = kind, nn.Conv1d(6, 8, 3), nn.Linear(8, 4)
        self.register_buffer("scale", torch.full((8,), 2.0))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.kind == "data":
            self.conv.weight.data = torch.renorm(self.conv.weight.data, 2, 0, 0.5)
        x = torch.relu(self.conv(x))
        if self.kind == "random" and random.random() < 0.5:
            x = 3 * x
        if self.kind == "torch" and torch.rand(()) < 0.5:
            x = 3 * x
        if self.kind == "buffer":
            x = x * self.scale.view(1, -1, 1)
        if self.kind == "mask" and mask is not None:
            x = x * mask
        return self.fc(x.mean(2))


@pytest.mark.parametrize("kind", ["random", "torch", "buffer", "data", "mask"])
def test_other_python_state(kind: str) -> None:
    torch.manual_seed(0)
    net = Drawing(kind)
    states = random.getstate(), torch.get_rng_state()
    adapted = Adapter(net, "fc", {"stage1": "conv"}, in_channels=6, num_classes=4).eval()
    assert random.getstate() == states[0]
    assert torch.get_rng_state().equal(states[1])
    changed = {**adapted.state_dict(), "body.conv.weight": 3 * net.conv.weight}
    if "body.scale" in changed:
        changed["body.scale"] = torch.arange(8.0)
        net.scale.copy_(torch.arange(8.0))
    adapted.load_state_dict(changed)
    with torch.no_grad():
        net.conv.weight.mul_(3)
    net.eval()
    for seed in range(6):
        torch.manual_seed(seed)
        random.seed(seed)
        expected = net(X)
        torch.manual_seed(seed)
        random.seed(seed)
        torch.testing.assert_close(adapted(X).logits, expected)


def test_nets_that_are_followed_keep_their_graph() -> None:
    from tests.test_nets_more import Foreign, adapted

    net = adapted(Foreign())
    assert not net.as_is
    assert isinstance(net.body, torch.fx.GraphModule)
    assert "arguments" not in net.spec["init_args"]
    assert "output" not in net.spec["init_args"]


class Fixed(nn.Module):
    """Reads windows of one length, which is not that of the comparison with its graph."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how = how
        self.trunk = nn.Sequential(nn.Conv1d(6, 8, 3, padding=1), nn.BatchNorm1d(8), nn.Flatten())
        self.fc = nn.Linear(800, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no_grad":
            with torch.no_grad():
                x = self.trunk(x)
        elif self.how.startswith("autocast"):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.how == "autocast on"):
                x = self.trunk(x).float()
        else:
            x = self.trunk(x)
        return self.fc(Negated.apply(x) if self.how == "function" else x)

    def train(self, mode: bool = True) -> Fixed:
        super().train(mode)
        if self.how == "norm_eval":
            self.trunk[1].eval()
        return self


class Negated(torch.autograd.Function):
    """The gradient changes its sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


def hooked(how: str) -> Fixed:
    """A net that does more than the operations of its graph."""
    torch.manual_seed(0)
    net = Fixed(how)
    if how == "pre-hook":
        net.register_forward_pre_hook(lambda module, given: (given[0] * 10,))
    elif how == "hook":
        net.register_forward_hook(lambda module, given, output: None)
    elif how == "backward hook":
        net.trunk.register_full_backward_hook(lambda module, grads, _: (grads[0] * 2,))
    elif how == "patched":
        net.forward = lambda x: type(net).forward(net, x) * 2  # type: ignore[method-assign]
    return net


ASIDE = ["no_grad", "autocast on", "autocast off", "norm_eval", "function", "pre-hook", "hook", "backward hook"]


@pytest.mark.parametrize("how", ASIDE)
@pytest.mark.parametrize("casts", [False, True])
def test_what_a_net_does_besides_its_operations_is_kept(how: str, casts: bool) -> None:
    """Also for windows of a length that is not known where the net is wrapped."""
    net = hooked(how).train()
    adapted = Adapter(copy.deepcopy(net), "fc", in_channels=6, num_classes=4).train()
    assert adapted.as_is
    found = []
    for one in (net, adapted):
        x = X.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=casts):
            out = one(x)
            out = out if one is net else out.logits
        out.float().square().sum().backward()
        grads = {n.rpartition(".")[2] + str(p.shape): p.grad for n, p in one.named_parameters() if p.grad is not None}
        moved = [b for n, b in one.named_buffers() if "standardize" not in n]
        found.append((out, moved, grads, [] if x.grad is None else [x.grad]))
    torch.testing.assert_close(found[1], found[0])


def test_a_patched_forward_is_not_that_of_the_class() -> None:
    assert Adapter(hooked("patched"), "fc", in_channels=6, num_classes=4).as_is


def test_a_frozen_trunk_stays_in_a_fit(tmp_path: Path) -> None:
    for how in ("no_grad", "norm_eval"):
        net = hooked(how)
        method = Supervised(copy.deepcopy(net), num_classes=4)
        trainer(tmp_path, max_steps=2).fit(method, BasicMotions(batch_size=8))
        held = method.net.body.state_dict()
        assert held["trunk.0.weight"].equal(net.trunk[0].weight) == (how == "no_grad")
        assert held["trunk.1.running_mean"].equal(net.trunk[1].running_mean) == (how == "norm_eval")


def test_hooks_and_modes_that_a_graph_has_are_followed() -> None:
    """A ``train()`` that does nothing more, hooks of layers, forward hooks of blocks, frozen weights."""
    net = Fixed()
    net.trunk[0].register_full_backward_hook(lambda module, grads, _: None)
    net.trunk.register_forward_hook(lambda module, given, output: output * 3)
    net.trunk[0].requires_grad_(False)
    with torch.no_grad():
        adapted = Adapter(net, "fc", in_channels=6, num_classes=4).eval()
    assert not adapted.as_is
    assert not torch.is_autocast_enabled("cpu")
    torch.testing.assert_close(adapted(X).logits, net.eval()(X))


# ---- compiling and exporting ----------------------------------------------------------------------------------------


@every
def test_compiled(name: str) -> None:
    for taps in (False, True):
        torch._dynamo.reset()
        _, adapted = made(name, taps)
        adapted.eval()
        expected = adapted(X)
        if taps:
            with pytest.raises(Exception, match=r"Adapter: this net runs as it is, and its taps .* fullgraph=True"):
                torch.compile(adapted, backend="eager", fullgraph=True)(X)
            torch._dynamo.reset()
        found = torch.compile(adapted, backend="eager", fullgraph=not taps)(X)
        assert found.logits.equal(expected.logits)
        assert list(found.features) == list(expected.features)
        for tap, feature in expected.features.items():
            assert found.features[tap].equal(feature)


# ---- refusals -------------------------------------------------------------------------------------------------------


class Flagged(nn.Module):
    """Needs a second input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor, lengths: Any) -> Any:
        return {"out": self.fc(x.mean(2)) if lengths is None else self.fc(x[..., 0]), "aux": x}


class Ends(TimmLike):
    """Ends in a softmax, or calls its head twice."""

    def __init__(self, how: str = "softmax") -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out.softmax(1) if self.how == "softmax" else out + super().forward(x)


def test_what_to_give_is_said() -> None:
    def adapt(net: nn.Module, head: str = "fc", **more: Any) -> Adapter:
        return Adapter(net, head, in_channels=6, num_classes=4, **more)

    with pytest.raises(InputError, match=r"Flagged\.forward\(x, lengths\).*lengths is missing\. Set arguments=\{'len"):
        adapt(Flagged())
    with pytest.raises(InputError, match=r"got 'length'"):
        adapt(Flagged(), arguments={"lengths": None, "length": 3})
    with pytest.raises(InputError, match=r"output must name the logits.*'out', 'aux'.*None\. Set output="):
        adapt(Flagged(), arguments={"lengths": None})
    right = adapt(Flagged(), arguments={"lengths": None}, output="out")
    assert right(X).logits.shape == (6, 4)
    with pytest.raises(
        InputError, match=r"HFLike returns, a \w+ with 'logits', but got None\. Set output=.*return_dict"
    ):
        made("hugging face", output=None)
    with pytest.raises(InputError, match=r"with 'logits', 'hidden_states', but got 'logit'"):
        made("hugging face", output="logit", arguments={"output_hidden_states": True})[1](X)
    net, tuple_ = made("hugging face", output=0, arguments={"return_dict": False})
    assert tuple_.eval()(X).logits.equal(net.eval()(X)["logits"])
    for how, reason in {"softmax": "followed by other operations", "twice": "called 2 times"}.items():
        with pytest.raises(
            InputError, match=rf"head must be the layer whose output Ends returns.*'fc', which is {reason}"
        ):
            adapt(Ends(how))(X)
    with pytest.raises(
        InputError, match=r"stage1 must be the path .*'stages\.3'.*Did you mean 'stages\.[01]'.*as it is"
    ):
        made("timm", taps=False)[1].__class__(TimmLike(), "fc", {"stage1": "stages.3"}, in_channels=6, num_classes=4)
    with pytest.raises(InputError, match=r"stage1 must be a module with one tensor.*'relu', which is called 3 times"):
        Adapter(TorchvisionLike(), "fc", {"stage1": "relu"}, in_channels=6, num_classes=4)(X)
    with pytest.raises(InputError, match=r"head 'fc' has 4 classes, but num_classes=5"):
        Adapter(TimmLike(), "fc", in_channels=6, num_classes=5)


def test_a_net_that_cannot_be_copied_is_refused() -> None:
    """The weights of the old form of weight normalisation are no leaves of the graph of gradients."""
    net = nn.Sequential(nn.Conv1d(3, 4, 5), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.nn.utils.weight_norm(net[0])
    with pytest.raises(InputError, match=r"copy\.deepcopy.*use torch\.nn\.utils\.parametrizations\.weight_norm"):
        Adapter(net, head="3", in_channels=3, num_classes=4)
    torch.nn.utils.remove_weight_norm(net[0])
    nn.utils.parametrizations.weight_norm(net[0])
    Adapter(net, head="3", in_channels=3, num_classes=4)


def test_a_failed_pass_leaves_no_hook() -> None:
    _, adapted = made("timm")
    with pytest.raises(RuntimeError):
        adapted.taps(torch.zeros(2, 3, 100))
    assert not any(module._forward_hooks for module in adapted.modules())
    assert adapted._open.seen is None
    assert adapted(X).logits.shape == (6, 4)


# ---- files ----------------------------------------------------------------------------------------------------------


class Unused(TorchvisionLike):
    """Has a layer that no forward pass reads."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Linear(2, 2)
        self.register_buffer("scale", torch.full((8,), 2.0))

    def _forward_impl(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x))) * self.scale.view(1, -1, 1)
        return self.fc(F.dropout(x.mean(2), training=self.training))


def test_weights_of_earlier_versions_are_read() -> None:
    """Those of the graph: without layers that are not read, with a constant that was made from a buffer."""
    adapted = Adapter(Unused(), "fc", in_channels=6, num_classes=4)
    assert adapted.as_is
    held = {
        k: v
        for k, v in adapted.state_dict().items()
        if not k.startswith(("body.auxiliary", "body.layer", "body.scale"))
    }
    held["body._tensor_constant0"] = torch.ones(1, 8, 1)
    other = Adapter(Unused(), "fc", in_channels=6, num_classes=4)
    other.load_state_dict(held)
    assert other.eval()(X).logits.equal(adapted.eval()(X).logits)
    holder = nn.ModuleDict({"net": other})
    holder.load_state_dict({f"net.{k}": v for k, v in held.items()})
    assert not any(p.requires_grad for n, p in other.named_parameters() if "auxiliary" in n)
    del held["body.conv1.weight"]
    with pytest.raises(RuntimeError, match=r"conv1\.weight"):
        other.load_state_dict(held)
    with pytest.raises(RuntimeError, match=r"body\.other"):
        other.load_state_dict({**adapted.state_dict(), "body.other": torch.ones(1)})


@every
def test_checkpoints_describe_the_net(name: str) -> None:
    _, adapted = made(name, spec=True)
    again = build(adapted.spec)
    assert again.spec == adapted.spec
    again.load_state_dict(adapted.state_dict())
    assert again.eval()(X).logits.equal(adapted.eval()(X).logits)


@every
def test_students_and_teachers(name: str, tmp_path: Path) -> None:
    """Trained, as a teacher live and cached, as a student interrupted and resumed, exported."""
    torch.manual_seed(0)
    _, net = made(name, spec=True)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(Supervised(net), BasicMotions())
    run.save_checkpoint(tmp_path / "teacher.ckpt")
    taps = tuple(NETS[name][2])[:1]

    def distil(cache: TeacherCache | None, epochs: int, resume: str | None = None) -> tuple[Any, Any]:
        torch.manual_seed(1)
        _, student = made(name, spec=True)
        method = AT(student, {"raw": Teacher(str(tmp_path / "teacher.ckpt"))}, taps=taps, kd_weight=0.5, cache=cache)
        fit = trainer(tmp_path, max_epochs=epochs)
        torch.manual_seed(2)
        fit.fit(method, BasicMotions(), ckpt_path=resume, weights_only=True)
        return fit, method

    live, method = distil(None, 2)
    cached, _ = distil(TeacherCache(), 2)
    for key in ("train/ce", "train/kd", "train/attention", "val/loss"):
        torch.testing.assert_close(live.callback_metrics[key], cached.callback_metrics[key])
    expected = method.student.eval()(X).logits
    first, _ = distil(None, 1)
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = distil(None, 2, str(tmp_path / "half.ckpt"))
    if name == "statistics":  # draws nothing at random
        assert resumed.student.eval()(X).logits.equal(expected)
    assert resumed.student.state_dict().keys() == method.student.state_dict().keys()
    live.save_checkpoint(tmp_path / "student.ckpt")
    for format in ("torch", "torch.export", "onnx"):
        exported = export(tmp_path / "student.ckpt", BasicMotions(), format=format)
        data = BasicMotions()
        data.setup()
        batch = next(iter(data.batches("val")))
        scale = exported.card["scale"]
        windows = (
            batch.views["raw"].double() * torch.tensor(scale["divisor"])[:, None]
            + torch.tensor(scale["offset"])[:, None]
        )
        with torch.no_grad():
            own = method.student(batch.views["raw"]).logits
        torch.testing.assert_close(exported(windows), own, rtol=1e-3, atol=1e-3)


def test_a_net_of_a_module_is_given_again(tmp_path: Path) -> None:
    net, adapted = made("timm")
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    teacher = Teacher(str(tmp_path / "weights.pt"), net=made("timm")[1], mean=[0.0] * 6, std=[1.0] * 6).load()
    assert teacher(X).logits.equal(net.eval()(X))
    method = KD(adapted, {"raw": teacher})
    assert method.student is adapted


# ---- plain modules --------------------------------------------------------------------------------------------------


class FixedSize(nn.Module):
    """Reads windows of 100 samples alone; its heads stand in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4 * 96, 4)
        self.conv = nn.Conv1d(6, 4, 5)
        self.auxiliary = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.dropout(self.conv(x).flatten(1), training=self.training))


class TwoHeads(TimmLike):
    """A second head of as many classes, registered last and used in no pass."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(8, 4)


class Sentences(nn.Module):
    """Begins with an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.fc = nn.Embedding(10, 4), nn.Linear(4, 4)


def test_plain_modules_teach_and_learn(tmp_path: Path) -> None:
    torch.manual_seed(4)
    student, other = TimmLike(), TorchvisionLike()
    teacher = Teacher(net=other, mean=[0.5] * 6, std=[2.0] * 6)
    method = KD(student, {"raw": teacher}, num_classes=4, kd_weight=0.3, temperature=2.0)
    teacher.load()
    method.net.standardize.fill([1.0] * 6, [3.0] * 6)
    with torch.no_grad():
        own, taught = student.eval()((X - 1) / 3), other.eval()((X - 0.5) / 2)
    method.net.eval()
    target = torch.arange(6) % 4
    terms = method.objective(student=method.net(X), teachers={"raw": teacher(X)}, target=target)
    p, q = (taught.double() / 2).softmax(1), (own.double() / 2).softmax(1)
    kl = 4 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(terms["kd"].double(), 0.3 * kl, rtol=1e-5, atol=1e-7)
    ce = -own.double().log_softmax(1)[torch.arange(6), target].mean()
    torch.testing.assert_close(terms["ce"].double(), 0.7 * ce, rtol=1e-5, atol=1e-7)

    fit = trainer(tmp_path, max_epochs=1)
    method = KD(student, {"raw": Teacher(net=other)}, num_classes=4, cache=TeacherCache())
    fit.fit(method, BasicMotions())
    fit.test(method, BasicMotions())
    fit.save_checkpoint(tmp_path / "student.ckpt")
    again = Teacher(str(tmp_path / "student.ckpt"), net=TimmLike()).load()
    assert again(X).logits.equal(method.net.eval()(X).logits)
    with pytest.raises(InputError, match=r"student\.ckpt.*cannot be built again.*net="):
        Teacher(str(tmp_path / "student.ckpt")).load()
    resumed = KD(TimmLike(), {"raw": Teacher(net=other)}, num_classes=4)
    trainer(tmp_path, max_epochs=2).fit(
        resumed, BasicMotions(), ckpt_path=str(tmp_path / "student.ckpt"), weights_only=True
    )
    assert not resumed.net.state_dict()["head.weight"].equal(method.net.state_dict()["head.weight"])


def test_the_head_of_a_plain_module() -> None:
    fixed = as_backbone(FixedSize(), "KD", 4).eval()
    assert isinstance(fixed, Adapter)
    assert (fixed.head_path, fixed.in_channels, fixed.ndim) == ("fc", 6, 1)
    assert fixed(X).logits.shape == (6, 4)
    with pytest.raises(InputError, match=r"got 'auxiliary', which is called 0 times"):
        as_backbone(FixedSize(), "KD").eval()(
            X
        )  # three classes: known in the first pass, for no window was read before
    two = as_backbone(TwoHeads(), "KD", 4)
    assert isinstance(two, Adapter)
    assert two.head_path == "fc"
    image = as_backbone(nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)), "KD")
    assert (image.ndim, image.in_channels, image.num_classes) == (2, 3, 5)
    with pytest.raises(InputError, match=r"KD: num_classes must be the 5 of the net, but got 4"):
        as_backbone(image, "KD", 4)
    with pytest.raises(
        InputError, match=r"Supervised: net must .* has no linear layer of 7 outputs. Pass kdlab\.nets\.Ada"
    ):
        Supervised(TimmLike(), num_classes=7)
    with pytest.raises(InputError, match=r"Teacher: net must begin with a convolution.*Sentences has no convolution"):
        Teacher(net=Sentences())
    with pytest.raises(InputError, match=r"Supervised: net must be a Backbone or a torch\.nn\.Module, but got 3"):
        Supervised(3)  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"HFLike returns.*'logits'.*Set output=.*Pass kdlab\.nets\.Adapter\(HFLike\(\.\.\."
    ):
        Supervised(HFLike(), num_classes=4)
    with pytest.raises(
        InputError, match=r"FlaggedConv\.forward\(x, lengths\).*Set arguments=.*Pass kdlab\.nets\.Adapter"
    ):
        Teacher(net=FlaggedConv())


class FlaggedConv(Flagged):
    """The same, behind a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 3)
