"""Nets of published weights: key names, shapes and features of twins with random weights, refusals, and training."""

import json
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import kdlab
from kdlab import KD, Supervised, Teacher, cli
from kdlab.data import ArrayDataModule, BasicMotions, Scale
from kdlab.export import export
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.methods.foreign_weights import with_foreign_weights
from kdlab.methods.published_input import warn_of_other_input
from kdlab.nets import LIMUBERT, HARNet, Mantis, WideResNet
from kdlab.types import InputError
from kdlab.views import GramianAngularField, Raw, Resampled
from tests.configs import config_of
from tests.conftest import trainer

HAR = {
    5: [(64, 2, 2, 2), (128, 2, 2, 2), (256, 2, 3, 1), (256, 2, 3, 1), (512, 0, 3, 1)],
    10: [(64, 2, 2, 2), (128, 2, 2, 2), (256, 2, 5, 1), (512, 2, 5, 1), (1024, 0, 3, 1)],
    30: [(64, 2, 3, 1), (128, 2, 3, 1), (256, 2, 5, 1), (512, 2, 5, 1), (1024, 0, 4, 0)],
}


# ------------------------------------------------------------------------- files as their authors publish them, random
def norm_shapes(name, size):
    return {f"{name}.{k}": (size,) for k in ("weight", "bias", "running_mean", "running_var")} | {
        f"{name}.num_batches_tracked": ()
    }


def low_pass(factor, order):
    kernel = np.ones(factor)
    for _ in range(order):
        kernel = np.convolve(kernel, np.ones(factor))
    return kernel / kernel.sum()


def har_shapes(seconds):
    shapes, before = {}, 3
    for i, (width, blocks, factor, order) in enumerate(HAR[seconds], start=1):
        name = f"feature_extractor.layer{i}"
        shapes[f"{name}.0.weight"] = (width, before, 5)
        for j in range(1, blocks + 1):
            for part in ("bn1", "bn2"):
                shapes |= norm_shapes(f"{name}.{j}.{part}", width)
            shapes |= {f"{name}.{j}.{part}.weight": (width, width, 5) for part in ("conv1", "conv2")}
        shapes |= norm_shapes(f"{name}.{blocks + 1}", width)
        shapes[f"{name}.{blocks + 3}.kernel"] = (width, 1, len(low_pass(factor, order)))
        before = width
    return shapes


def limu_shapes():
    linear = {"embed.lin": (72, 6), "proj": (72, 72), "pwff.fc1": (144, 72), "pwff.fc2": (72, 144)}
    linear |= {f"attn.proj_{k}": (72, 72) for k in "qkv"}
    shapes = {f"transformer.{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"transformer.{name}.bias": shape[:1] for name, shape in linear.items()}
    shapes |= {f"transformer.{n}.{k}": (72,) for n in ("embed.norm", "norm1", "norm2") for k in ("gamma", "beta")}
    return shapes | {"transformer.embed.pos_embed.weight": (120, 72)}


LIMU_HEADS = {
    **{f"{name}.{k}": s for name in ("fc", "linear") for k, s in (("weight", (72, 72)), ("bias", (72,)))},
    **{"norm.gamma": (72,), "norm.beta": (72,), "decoder.weight": (6, 72), "decoder.bias": (6,)},
}


def mantis_shapes():
    t, v = "tokgen_unit", "vit_unit"
    shapes = {f"{v}.cls_token": (256,), f"{v}.pos_encoder.pe": (33, 1, 256)}
    for i in range(2):
        shapes |= {f"{t}.convs.{i}.conv.weight": (256, 1, 17), f"{t}.convs.{i}.conv.bias": (256,)}
        shapes |= {f"{t}.layer_norms.{i}.{k}": (256,) for k in ("weight", "bias")}
        shapes[f"{t}.scalar_encoders.{i}.scales"] = (9,)
        for j in range(9):
            name = f"{t}.scalar_encoders.{i}.encoders.{j}"
            shapes |= {f"{name}.w": (1, 32), f"{name}.b": (1, 32)}
            shapes |= {f"{name}.layer_norm.{k}": (32,) for k in ("weight", "bias")}
    shapes |= {f"{t}.linear_encoder.linear.weight": (256, 576), f"{t}.linear_encoder.linear.bias": (256,)}
    shapes |= {f"{t}.linear_encoder.layer_norm.{k}": (256,) for k in ("weight", "bias")}
    for i in range(6):
        a, f = (f"{v}.transformer.layers.{i}.{j}" for j in (0, 1))
        shapes |= {f"{n}.norm.{k}": (256,) for n in (a, f) for k in ("weight", "bias")}
        shapes |= {f"{a}.fn.to_qkv.weight": (3072, 256), f"{a}.fn.to_out.0.weight": (256, 1024)}
        shapes |= {f"{a}.fn.to_out.0.bias": (256,), f"{f}.fn.net.0.weight": (512, 256), f"{f}.fn.net.0.bias": (512,)}
        shapes |= {f"{f}.fn.net.3.weight": (256, 512), f"{f}.fn.net.3.bias": (256,)}
    return shapes


MANTIS_HEAD = {"prj.0.weight": (256,), "prj.0.bias": (256,), "prj.1.weight": (256, 256), "prj.1.bias": (256,)}


def drawn(shapes, seed=0):
    """Random weights; norms are near 1, and variances above 0."""
    random, state = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=random) if shape else torch.tensor(7)
        if name.endswith(("running_var", "gamma")) or (name.endswith("weight") and len(shape) == 1):
            value = 0.5 + value.abs()
        elif len(shape) > 1 and not name.endswith((".pe", ".w", ".b", "pos_embed.weight")):
            value = value / math.sqrt(math.prod(shape[1:]))
        state[name] = value
    return state


def har_state(seconds, seed=0):
    state = drawn(har_shapes(seconds), seed)
    for i, (width, blocks, factor, order) in enumerate(HAR[seconds], start=1):
        kernel = torch.tensor(low_pass(factor, order), dtype=torch.float32)
        state[f"feature_extractor.layer{i}.{blocks + 3}.kernel"] = kernel.repeat(width, 1, 1)
    return state


def mantis_state():
    state = drawn(mantis_shapes())
    for i in range(2):
        state[f"tokgen_unit.scalar_encoders.{i}.scales"] = torch.tensor([10.0**n for n in range(-4, 5)])
    return state


def numbers(shapes):
    """Parameters: what is no buffer."""
    buffers = ("running_mean", "running_var", "num_batches_tracked", ".kernel", ".scales", ".pe")
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(buffers))


def without_head(net):
    return sum(p.numel() for name, p in net.named_parameters() if not name.startswith("head."))


def own_shapes(make):
    with torch.device("meta"):
        net = make()
    return net.published(), without_head(net)


def test_names_shapes_and_numbers_are_the_published_ones():
    for seconds, count in ((5, 4_227_904), (10, 10_457_408), (30, 10_457_408)):
        assert own_shapes(lambda s=seconds: HARNet(s)) == (har_shapes(seconds), count)
        assert numbers(har_shapes(seconds)) == count
    assert own_shapes(LIMUBERT) == (limu_shapes(), 51_552)
    assert numbers(limu_shapes() | LIMU_HEADS) == 62_646  # "62 k"
    assert own_shapes(Mantis) == (mantis_shapes(), 8_037_632)
    assert numbers(mantis_shapes() | MANTIS_HEAD) == 8_103_936  # "8 M"


# --------------------------------------------------------------------- the published nets, written from their equations
def har_by_hand(state, seconds, x):
    state = {name: value.double() for name, value in state.items()}

    def conv(name, x):
        return F.conv1d(torch.cat([x[..., -2:], x, x[..., :2]], 2), state[f"{name}.weight"])

    def bn(name, x):
        mean, var, weight, bias = (
            state[f"{name}.{k}"].view(1, -1, 1) for k in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    outputs = []
    for i, (width, blocks, factor, order) in enumerate(HAR[seconds], start=1):
        name = f"feature_extractor.layer{i}"
        x = conv(f"{name}.0", x)
        for j in range(1, blocks + 1):
            inner = conv(f"{name}.{j}.conv1", bn(f"{name}.{j}.bn1", x).clamp(min=0))
            x = x + conv(f"{name}.{j}.conv2", bn(f"{name}.{j}.bn2", inner).clamp(min=0))
        x = bn(f"{name}.{blocks + 1}", x).clamp(min=0)
        kernel = torch.tensor(low_pass(factor, order)).repeat(width, 1, 1)
        x = F.conv1d(x, kernel, stride=factor, padding=order * (factor - 1) // 2, groups=width)
        outputs.append(x)
    return [*outputs[:-1], outputs[-1].flatten(1)]


def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def attention(q, k, v, heads):
    parts = [t.chunk(heads, -1) for t in (q, k, v)]
    out = [(a @ b.transpose(1, 2) / math.sqrt(a.shape[2])).softmax(2) @ c for a, b, c in zip(*parts, strict=True)]
    return torch.cat(out, 2)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def limu_by_hand(state, x):
    w = {name.removeprefix("transformer."): value.double() for name, value in state.items()}

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        return layer_norm(x, w[f"{name}.gamma"], w[f"{name}.beta"], 1e-12)

    h = norm("embed.norm", linear("embed.lin", x.transpose(1, 2)))
    h = norm("embed.norm", h + w["embed.pos_embed.weight"][: h.shape[1]])
    outputs = []
    for _ in range(4):
        h = attention(*(linear(f"attn.proj_{k}", h) for k in "qkv"), 4)
        h = norm("norm1", h + linear("proj", h))
        h = norm("norm2", h + linear("pwff.fc2", gelu(linear("pwff.fc1", h))))
        outputs.append(h.transpose(1, 2))
    return [*outputs, h.mean(1)]


def mantis_by_hand(state, x):
    """Of one channel at a time, ``(B, T)``."""
    w = {name: value.double() for name, value in state.items()}

    def norm(name, x, eps=1e-5):
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], eps)

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    def code(i, value):
        scales = [10.0**n for n in range(-4, 5)]
        name = f"tokgen_unit.scalar_encoders.{i}.encoders"
        weights = torch.stack([1 / (value.abs() / k + 1.1).log() for k in scales], -1).abs()
        weights = weights / weights.sum(-1, keepdim=True)
        codes = [
            norm(f"{name}.{j}.layer_norm", value[..., None] * w[f"{name}.{j}.w"] + k * w[f"{name}.{j}.b"], 1e-15)
            for j, k in enumerate(scales)
        ]
        return sum(weights[..., j, None] * one for j, one in enumerate(codes))

    change = torch.cat([x[:, 1:] - x[:, :-1], torch.zeros_like(x[:, :1])], 1)
    patches, parts = x.reshape(len(x), 32, -1), []
    for i, series in enumerate((change, x)):
        scaled = (series - series.mean(1, keepdim=True)) / (series.std(1, keepdim=True) + 1e-5)
        conv = f"tokgen_unit.convs.{i}.conv"
        out = F.conv1d(F.pad(scaled, (8, 8))[:, None], w[f"{conv}.weight"], w[f"{conv}.bias"]).transpose(1, 2)
        parts.append(norm(f"tokgen_unit.layer_norms.{i}", out).reshape(len(x), 32, -1, 256).mean(2))
    parts += [code(0, patches.mean(2)), code(1, patches.std(2))]
    name = "tokgen_unit.linear_encoder"
    tokens = norm(f"{name}.layer_norm", linear(f"{name}.linear", torch.cat(parts, 2)), 1e-15)
    h = torch.cat([w["vit_unit.cls_token"].expand(len(x), 1, -1), tokens], 1) + w["vit_unit.pos_encoder.pe"][:, 0]
    outputs = []
    for i in range(6):
        a, f = (f"vit_unit.transformer.layers.{i}.{j}" for j in (0, 1))
        q, k, v = linear(f"{a}.fn.to_qkv", norm(f"{a}.norm", h)).chunk(3, 2)
        h = h + linear(f"{a}.fn.to_out.0", attention(q, k, v, 8))
        h = h + linear(f"{f}.fn.net.3", gelu(linear(f"{f}.fn.net.0", norm(f"{f}.norm", h))))
        outputs.append(h)
    return [*(h[:, 1:].transpose(1, 2) for h in outputs), outputs[-1][:, 0]]


def test_features_are_those_of_the_published_nets():
    random = torch.Generator().manual_seed(1)
    heads = ("aot_h", "scale_h", "permute_h", "time_w_h")
    tasks = {f"{head}.linear1.{k}": torch.zeros(2) for head in heads for k in ("weight", "bias")}
    state, x = har_state(5), torch.randn(2, 3, 150, generator=random)
    net = HARNet(5, num_classes=4).eval()
    net.take_published({f"module.{name}": value for name, value in (state | tasks).items()}, "file")
    compare(net, x, har_by_hand(state, 5, x.double()))
    assert net.standardize.filled

    state, x = drawn(limu_shapes()), torch.randn(2, 6, 120, generator=random)
    net = LIMUBERT(num_classes=4).eval()
    net.take_published(state | drawn(LIMU_HEADS), "file")
    compare(net, x, limu_by_hand(state, x.double()))

    state, x = mantis_state(), torch.randn(2, 2, 96, generator=random).cumsum(2)
    net = Mantis(in_channels=2, num_classes=4).eval()
    later = {name.replace("vit_unit.", "transf_unit."): value for name, value in state.items()}
    net.take_published(later | drawn(MANTIS_HEAD), "file")
    place = Mantis(depth=1).vit_unit.pos_encoder.pe[5, 0, :2]  # a buffer of the published file
    torch.testing.assert_close(place, torch.tensor([math.sin(5), math.cos(5)]))
    channels = [mantis_by_hand(state, x[:, c].double()) for c in range(2)]
    compare(net, x, [torch.cat(parts, 1) for parts in zip(*channels, strict=True)])


def compare(net, x, expected):
    net.double()
    features = net(x.double()).features
    assert len(features) == len(expected)
    for (name, found), hand in zip(features.items(), expected, strict=True):
        torch.testing.assert_close(found, hand, rtol=1e-6, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
    torch.testing.assert_close(net(x.double()).logits, net.head(features["embedding"]))


# ------------------------------------------------------------------------------------------------------------- refusals
def test_other_weights_are_refused_by_name():
    state, net = drawn(limu_shapes()), LIMUBERT(num_classes=4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    lacking = {name: value for name, value in state.items() if not name.endswith("fc1.bias")}
    wrong = {
        r"1 missing \(transformer\.pwff\.fc1\.bias\); 1 of another net \(stem\.weight\)": lacking
        | {"stem.weight": torch.ones(1)},
        r"51 missing|\d+ missing .*and \d+ more.*of another net": har_state(5),
        r"1 not tensors \(transformer\.proj\.bias\)": state | {"transformer.proj.bias": "x"},
        r"shapes.*1 differ \(transformer\.embed\.lin\.weight \(72, 9\), not \(72, 6\)\)": state
        | {"transformer.embed.lin.weight": torch.ones(72, 9)},
        r"finite, but transformer\.proj\.bias": state | {"transformer.proj.bias": torch.full((72,), torch.nan)},
    }
    for match, given in wrong.items():
        with pytest.raises(InputError, match=f"(?s)init: file: .*{match}"):
            net.take_published(given, "init: file")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    for other, x in (
        (HARNet(5), torch.zeros(1, 3, 160)),
        (Mantis(depth=1), torch.zeros(1, 3, 100)),
        (net, torch.zeros(1, 6, 121)),
    ):
        with pytest.raises(InputError, match=rf"{type(other).__name__}: x must have .*samples, but got"):
            other(x)
    for make in (lambda: HARNet(7), lambda: LIMUBERT(heads=5), lambda: Mantis(dropout=1.0)):
        with pytest.raises(InputError, match="must"):
            make()


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["encoder.", "_orig_mod.", "module.backbone.", "model.module."])
def test_names_behind_a_prefix_and_weights_in_another_dict(prefix, wrapper):
    state, net = drawn(limu_shapes()), LIMUBERT(num_classes=4)
    given = {prefix + name: value for name, value in state.items()} | drawn(LIMU_HEADS)
    net.take_published(given if wrapper is None else {"epoch": 3, wrapper: given}, "file")
    assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())


def test_other_names_behind_a_prefix():
    later = {name.replace("vit_unit.", "encoder.transf_unit."): value for name, value in mantis_state().items()}
    later = {name if name.startswith("encoder.") else f"encoder.{name}": value for name, value in later.items()}
    mantis = Mantis(num_classes=4)
    mantis.take_published(later, "file")
    assert torch.equal(mantis.vit_unit.cls_token, later["encoder.transf_unit.cls_token"])
    given, net = (WideResNet(10, 1, in_channels=2, num_classes=3) for _ in range(2))
    foreign = {f"encoder.{n}": v for n, v in given.state_dict().items() if not n.startswith("standardize.")}
    with_foreign_weights(net, {"state_dict": foreign}, "file", statistics_given=True)
    assert torch.equal(net.head.weight, given.head.weight)


def test_weights_of_two_nets_and_whole_numbers_are_refused():
    state, net = drawn(limu_shapes()), LIMUBERT(num_classes=4)
    two = {f"{part}.{name}": value for part in ("student", "teacher") for name, value in state.items()}
    with pytest.raises(InputError, match=r"21 of another net \(teacher\.transformer"):
        net.take_published(two, "file")
    with pytest.raises(InputError, match=r"must be floating-point numbers .* are torch\.int8\. .*not quantised"):
        net.take_published({name: value.to(torch.int8) for name, value in state.items()}, "file")


def write_safetensors(path, state):
    table, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, value in state.items():
        raw = value.contiguous().numpy().tobytes()
        kind = {torch.float32: "F32", torch.int64: "I64"}[value.dtype]
        table[name] = {
            "dtype": kind,
            "shape": list(value.shape),
            "data_offsets": [len(numbers), len(numbers) + len(raw)],
        }
        numbers += raw
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + numbers)


# ------------------------------------------------------------------------------------------------------------- training
def test_a_linear_head_on_published_weights(tmp_path):
    """From a file of either format to a student, whose card names the licence; the body is as in the file."""
    state = drawn(limu_shapes())
    torch.save({f"module.{name}": value for name, value in (state | drawn(LIMU_HEADS)).items()}, tmp_path / "limu.pt")
    write_safetensors(tmp_path / "limu.safetensors", state)
    nets = []
    for name in ("limu.pt", "limu.safetensors"):
        torch.manual_seed(0)
        net = LIMUBERT(num_classes=4)
        head = net.head.weight.detach().clone()
        module = Supervised(net, init=str(tmp_path / name), freeze="body")
        run = trainer(tmp_path, max_epochs=1)
        run.fit(module, BasicMotions())
        held = {k: v for k, v in net.state_dict().items() if k.startswith("transformer.")}
        assert all(torch.equal(held[k], state[k]) for k in state)
        assert not torch.equal(net.head.weight, head)
        assert net.standardize.filled
        assert net.standardize.mean.abs().max() == 0
        assert all(p.requires_grad for p in net.parameters())  # the caller's net is as it was
        nets.append(net)
    torch.testing.assert_close(nets[0].head.weight, nets[1].head.weight)
    run.save_checkpoint(tmp_path / "teacher.ckpt")
    described = read_checkpoint(tmp_path / "teacher.ckpt")[KEY]["published"]
    assert described | {"sha256": ""} == {
        "net": "LIMUBERT",
        "file": "limu.safetensors",
        "sha256": "",
        "licence": LIMUBERT.licence,
    }
    (tmp_path / "limu.safetensors").unlink()  # its checkpoints hold all weights
    teacher = Teacher(str(tmp_path / "teacher.ckpt")).load()
    x = torch.randn(2, 6, 100)
    torch.testing.assert_close(teacher(x).logits, nets[1].eval()(x).logits)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(
        KD(WideResNet(10, 1, in_channels=6, num_classes=4), {"raw": Teacher(str(tmp_path / "teacher.ckpt"))}),
        BasicMotions(),
    )
    run.save_checkpoint(tmp_path / "student.ckpt")
    made = export(tmp_path / "student.ckpt", BasicMotions(), tmp_path / "student.pt", format="torch", tolerance=100)
    provenance = made.card["provenance"]
    assert provenance["licences"] == provenance["teachers"]["raw"]["licences"] == [LIMUBERT.licence]


def test_cite_prints_the_licence(tmp_path, monkeypatch, capsys):
    config = config_of("basic_motions/scratch")
    config["model"]["init_args"]["net"] = {"class_path": "LIMUBERT", "init_args": {"num_classes": 4}}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    monkeypatch.setattr("sys.argv", ["kdlab", "cite", "--config", str(path)])
    cli.main()
    said = capsys.readouterr().out
    assert "@inproceedings{xu2021limu," in said
    assert f"% Licence of the published weights of {LIMUBERT.licence}" in said


def test_damaged_files_are_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"12345")
    write_safetensors(tmp_path / "b.safetensors", {"x": torch.ones(4)})
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes()[:-4])
    for name in "ab":
        module = Supervised(LIMUBERT(num_classes=4), init=str(tmp_path / f"{name}.safetensors"))
        with pytest.raises(InputError, match=r"init: .*safetensors' must be a complete file"):
            trainer(tmp_path, max_epochs=1).fit(module, BasicMotions())


def fitted(folder, epochs, ckpt_path=None, freeze=("stem", "stages.0")):
    torch.manual_seed(0)
    net = WideResNet(10, 1, in_channels=6, num_classes=4)
    module = Supervised(net, freeze=None if freeze is None else list(freeze))
    run = trainer(folder, max_epochs=epochs)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    run.fit(module, BasicMotions(), ckpt_path=ckpt_path)
    return run, net, before


def test_frozen_parts_stay_as_they_are_and_a_resumed_fit_is_equal(tmp_path):
    run, net, before = fitted(tmp_path, 2)
    after = net.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert not any(name.startswith(("stem.", "stages.0.")) for name in moved)  # running statistics too
    assert {"stages.1.0.norm1.running_mean", "stages.2.0.conv1.weight", "head.weight"} <= moved
    count = sum(p.numel() for group in run.optimizers[0].param_groups for p in group["params"])
    inside = sum(p.numel() for n, p in net.named_parameters() if n.startswith(("stem.", "stages.0.")))
    assert count == sum(p.numel() for p in net.parameters()) - inside
    first, *_ = fitted(tmp_path, 1)
    first.save_checkpoint(tmp_path / "one.ckpt")
    _, resumed, _ = fitted(tmp_path, 2, ckpt_path=tmp_path / "one.ckpt")
    assert all(torch.equal(resumed.state_dict()[name], after[name]) for name in after)


def test_what_cannot_be_frozen_is_refused():
    net = WideResNet(10, 1, in_channels=6, num_classes=4)
    with pytest.raises(
        InputError, match=r"Supervised: freeze must be 'body' or paths .*got 'stm'.*Its parts are .*stem"
    ):
        Supervised(net, freeze=["stm"])
    with pytest.raises(InputError, match="freeze must leave parameters"):
        Supervised(net, freeze=[name for name, _ in net.named_children()])
    assert all(p.requires_grad for p in net.parameters())
    assert kdlab.ASoftmax(net, freeze="body").frozen_parts == "body"  # methods without teachers have it too


def inertial(factor=1.0, names=("ax", "ay", "az", "gx", "gy", "gz"), rate=20.0, **more):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (36, 6, 120)) + np.array([0, 0, 1, 0, 0, 0])[:, None]
    x[:, :3] *= factor
    return ArrayDataModule(
        x.astype("float32"),
        np.arange(36) % 3,
        subject=np.arange(36) // 6,
        classes=["a", "b", "c"],
        channels=list(names),
        sampling_rate=rate,
        batch_size=8,
        **more,
    )


@pytest.mark.parametrize(
    ("given", "view", "told"),
    [
        ({}, "raw", "scaled by numbers of the training windows.*scale: none, or views"),
        ({"scale": "none"}, "raw", ""),
        ({"views": {"raw/physical": Raw()}}, "raw/physical", ""),
        ({"factor": 9.80665, "scale": "none"}, "raw", "an acceleration of 11.*divide m/s2 by 9.80665"),
        ({"factor": 9.80665, "scale": Scale([0.0] * 6, [9.80665] * 3 + [1.0] * 3)}, "raw", ""),
        ({"factor": 1000, "views": {"raw/physical": Raw()}}, "raw/physical", "an acceleration of 1.*e.03"),
        ({"rate": 50.0, "scale": "none"}, "raw", "windows at 50 Hz"),
        (
            {"names": [f"{k}_{a}" for k in ("gyr", "acc") for a in "xyz"], "scale": "none"},
            "raw",
            "channels gyr_x, .*order",
        ),
        ({"rate": 50.0, "views": {"gaf": GramianAngularField(size=8)}}, "gaf", ""),
        ({"rate": 50.0, "views": {"r": Resampled(20.0, length=40)}}, "r", ""),
    ],
)
def test_windows_that_published_weights_were_not_trained_on_are_told(given, view, told, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("kdlab.methods.published_input.rank_zero_warn", said.append)
    data = inertial(**given)
    data.setup("fit")
    warn_of_other_input("init", LIMUBERT(num_classes=3), view, data)
    assert len(said) == bool(told)
    if told:
        assert re.search(
            rf"^init: LIMUBERT was trained on acceleration in g and turning in rad/s as .*20 Hz.*{told}", said[0]
        )
    warn_of_other_input("init", Mantis(in_channels=6, num_classes=3), view, inertial())  # reads anything
    assert len(said) == bool(told)


def test_a_fit_from_published_weights_tells_of_its_windows_and_arguments(tmp_path):
    state = {f"transformer.{n}": v for n, v in LIMUBERT().transformer.state_dict().items()}
    torch.save(state, tmp_path / "limu.pt")
    module = Supervised(LIMUBERT(heads=8, num_classes=3), init=str(tmp_path / "limu.pt"), freeze="body")
    with pytest.warns(UserWarning, match="LIMUBERT was published with") as told:
        trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(module, inertial())
    text = [str(one.message) for one in told]
    assert any("LIMUBERT was published with layers=4, heads=4" in one and "has heads=8" in one for one in text)
    assert any("without gravity" in one for one in text)
