"""Nets of other libraries on the device: rebuilt from their classes, given again, or exported as they are."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from torch import nn

from kdlab import KD, Supervised, Teacher, cli
from kdlab.data import CIFAR10, ArrayDataModule, BasicMotions
from kdlab.evaluate import command, evaluate
from kdlab.evaluate.command import restore
from kdlab.export import export, load
from kdlab.export import main as export_command
from kdlab.nets import Adapter, WideResNet, as_backbone, build, register
from kdlab.nets.recorded import is_complete, same_net
from kdlab.types import InputError
from kdlab.views import Raw
from tests.conftest import trainer
from tests.fixtures import write_cifar10
from tests.outside_nets import TimmLike, TorchvisionLike
from tests.test_outside_nets import NETS, made
from tests.test_user_code import FAST

X = torch.randn(6, 6, 100, generator=torch.Generator().manual_seed(5))


def fitted(folder: Path, method: Any, data: Any, **kwargs: Any) -> Path:
    """Fit a method for an epoch; its checkpoint."""
    torch.manual_seed(0)
    fit = trainer(folder, max_epochs=1, **kwargs)
    fit.fit(method, data)
    fit.save_checkpoint(folder / "student.ckpt")
    return folder / "student.ckpt"


def physical(exported: Any, scaled: torch.Tensor) -> torch.Tensor:
    """Scaled windows in the units of the card."""
    offset, divisor = (torch.tensor(exported.card["scale"][key])[:, None] for key in ("offset", "divisor"))
    return scaled.double() * divisor + offset


# ---- every kind of net, in every format ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_a_student_from_outside_in_int8(name: str, tmp_path: Path) -> None:
    _, teacher = made(name)
    _, student = made(name, spec=True)
    method = KD(student, {"raw": Teacher(net=teacher)})
    data = BasicMotions()
    path = fitted(tmp_path, method, data)
    exported = export(path, data, format="onnx", quantize="int8", tolerance=100)
    quantisation = exported.card["quantisation"]
    assert quantisation["int8_share"] > 0.6
    paths = dict(method.net.named_modules())
    assert all(type(paths[one["layer"]]).__name__ == one["class"] for one in quantisation["float32"])
    method.net.eval()
    with torch.no_grad():
        expected = method.net(X).logits
    assert float((exported(physical(exported, X)) - expected).abs().max()) < 0.2 * float(expected.abs().max())


def test_a_plain_module_is_exported_from_the_process_that_trained_it(tmp_path: Path) -> None:
    """The live method, and its checkpoint with a net of its kind; `torch` needs the class, and says so."""
    data = BasicMotions()
    method = KD(TimmLike(), {"raw": Teacher(net=TorchvisionLike())}, num_classes=4)
    path = fitted(tmp_path, method, data)
    state = copy.deepcopy(method.state_dict())
    assert not is_complete(method.net.spec)
    with torch.no_grad():
        expected = method.net.eval()(X).logits
    live = export(method, data, tmp_path / "live.pt2")
    again = export(path, data, tmp_path / "given.pt2", net=TimmLike())
    alone = export(method.net, data, tmp_path / "alone.pt2")
    for exported in (live, again, alone):
        torch.testing.assert_close(exported(physical(exported, X)), expected, rtol=1e-4, atol=1e-4)
        assert exported.card["check"]["agreement"] == 1
    assert live.card["name"] == "live"
    assert live.card["provenance"]["checkpoint"] is None
    assert live.card["size"]["before"] is None
    assert live.card["provenance"]["fingerprint"] == again.card["provenance"]["fingerprint"]
    assert live.card["provenance"]["weights"] == again.card["provenance"]["weights"]
    assert live.card["provenance"]["method"] == "KD"
    assert alone.card["provenance"]["method"] is None
    assert "checkpoint" not in export_summary(live)
    for key, value in method.state_dict().items():  # the caller's is not changed
        assert value.equal(state[key]), key
    assert all(parameter.requires_grad for parameter in method.net.parameters())

    with pytest.raises(InputError, match=r"student\.ckpt.*cannot be built again.*net=.*register"):
        export(path, data, tmp_path / "x.pt2")
    with pytest.raises(InputError, match=r"student\.ckpt.*cannot be built again"):
        restore(path, BasicMotions())
    with pytest.raises(InputError, match=r"format='torch': .*torch\.export' or 'onnx', or call kdlab\.nets\.register"):
        export(method, data, tmp_path / "x.pt", format="torch")
    with pytest.raises(InputError, match=r"path: must name the file .*'student\.onnx'"):
        export(method, data, format="onnx")
    with pytest.raises(InputError, match=r"the weights are not those of"):
        export(path, data, tmp_path / "x.pt2", net=TimmLike(width=4))
    with pytest.raises(InputError, match=r"KD: must have been trained in this process"):
        export(KD(TimmLike(), {"raw": Teacher(net=TorchvisionLike())}, num_classes=4), data, tmp_path / "x.pt2")
    two = BasicMotions(views={"raw": Raw(), "other": Raw()})
    with pytest.raises(InputError, match=r"net: a net alone must come with .* one view, but got raw, other"):
        export(method.net, two, tmp_path / "x.pt2")
    assert not list(tmp_path.glob("x.*"))


def export_summary(exported: Any) -> str:
    from kdlab.export.command import summary

    return summary(exported).partition("latency")[0]


# ---- registered classes ----------------------------------------------------------------------------------------------


@register
class Registered(TimmLike):
    """A class whose nets can be described."""

    def __init__(self, in_chans: int = 6, *, width: int = 8, activation: Any = None, **more: Any) -> None:
        super().__init__(in_chans, width=width, **more)
        self.activation = activation or nn.Identity()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(super().forward_features(x))


class Derived(Registered):
    """Not registered itself."""


def test_nets_of_registered_classes_are_described(tmp_path: Path) -> None:
    student = Registered(6, width=4, num_classes=4)
    data = BasicMotions()
    method = Supervised(student, num_classes=4)
    described = {"class_path": f"{__name__}.Registered", "init_args": {"in_chans": 6, "width": 4, "num_classes": 4}}
    assert method.net.spec["init_args"]["net"] == described
    path = fitted(tmp_path, method, data)
    with torch.no_grad():
        expected = method.net.eval()(X).logits
    assert Teacher(str(path)).load()(X).logits.equal(expected)
    module = restore(path, BasicMotions())
    assert module.net.eval()(X).logits.equal(expected)
    for format in ("torch", "torch.export"):
        exported = export(path, data, format=format)
        torch.testing.assert_close(load(exported.path)(physical(exported, X)), expected, rtol=1e-4, atol=1e-4)
    copied = as_backbone(copy.deepcopy(student), "KD", 4)
    assert copied.spec == method.net.spec


def test_what_is_not_known_is_not_described() -> None:
    """A class that is not registered, values that no file holds, and layers that were changed after construction."""
    changed = Registered()
    changed.stages[0] = nn.Identity()
    swapped = Registered()
    swapped.fc = nn.Linear(8, 3)
    for net in (
        TimmLike(),
        Derived(),
        Registered(activation=nn.ReLU()),
        changed,
        swapped,
        Registered(width=8, in_chans=True + 5),
    ):
        spec = as_backbone(net, "KD").spec
        known = type(net) is Registered and net not in (changed, swapped) and isinstance(net.activation, nn.Identity)
        assert is_complete(spec) == known
        if known:
            assert build(spec).spec == spec
    with pytest.raises(TypeError, match="depth"):
        Registered(depth=3)
    assert register(Registered) is Registered  # twice


def test_descriptions_of_earlier_versions_are_the_same_net() -> None:
    new, old = as_backbone(Registered(), "KD").spec, as_backbone(Registered(), "KD").spec
    old["init_args"]["net"] = {"module": f"{__name__}.Registered"}
    assert same_net(old, new)
    assert same_net(new, old)
    assert not same_net(old, as_backbone(TimmLike(), "KD").spec)
    assert not same_net(new, as_backbone(Registered(width=4), "KD").spec)
    assert not same_net(old, {**new, "init_args": {**new["init_args"], "head": "other"}})
    method = Supervised(Registered(), num_classes=4)
    checkpoint = {"kdlab": {**method.describe(), "net": old}, "state_dict": method.state_dict()}
    data = BasicMotions()
    data.setup()
    method.trained_on = data.fingerprint
    checkpoint["kdlab"]["fingerprint"] = data.fingerprint
    method.check_checkpoint(checkpoint, data)


# ---- the command line ------------------------------------------------------------------------------------------------

MINE = """
import kdlab
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv, self.fc = nn.Conv1d(6, width, 5), nn.Linear(width, 4)

    def forward(self, x):
        return self.fc(self.conv(x).mean(2))


class Mine(kdlab.Supervised):
    def __init__(self):
        super().__init__(Net(4), num_classes=4)
"""


def test_runs_with_plain_modules_from_yaml(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """By their class in an Adapter (rebuilt where it is imported), and inside a method of one's own (trusted)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "outside_mine.py").write_text(MINE)
    data = {"class_path": "BasicMotions", "init_args": {"batch_size": 8}}
    adapter = {"head": "fc", "in_channels": 6, "num_classes": 4, "net": {"class_path": "outside_mine.Net"}}
    net = {"class_path": "kdlab.nets.Adapter", "init_args": adapter}
    models = {
        "adapter": {"class_path": "Supervised", "init_args": {"net": net}},
        "method": {"class_path": "outside_mine.Mine"},
    }
    words = ["--no-robustness", "--no-embedding", "--overwrite"]
    for run, model in models.items():
        (tmp_path / f"{run}.yaml").write_text(yaml.safe_dump({"run": f"m/{run}", "model": model, "data": data}))
        line = cli.run(["fit", "--config", f"{run}.yaml", *FAST])
        trusted = command.main([f"runs/m/{run}", *words, "--trust-config"], cli.build)[run]
        exported = export_command([f"runs/m/{run}", "--trust-config", "--format", "onnx"], cli.build)
        assert exported.path == Path(f"runs/m/{run}/version_0/checkpoints/{run}.onnx")
        assert exported.card["name"] == run
        assert exported.card["check"]["agreement"] == 1
        own = evaluate(line.model, line.datamodule, robustness=False, embedding=False, cost=False)
        assert trusted.scalars["accuracy"] == own.scalars["accuracy"]
    assert command.main(["runs/m/adapter", *words], cli.build)  # its class is imported by now
    with pytest.raises(InputError, match=r"cannot be built again.*--trust-config.*register.*YAML"):
        export_command(["runs/m/method", "--format", "onnx", "--overwrite"], cli.build)
    sys.modules["outside_mine"].Net.__module__ = "gone"  # as in a new process
    with pytest.raises(InputError, match=r"no net of this name is imported.*--trust-config"):
        export_command(["runs/m/adapter", "--format", "torch"], cli.build)
    models["method"] = {"class_path": "Supervised", "init_args": {"net": {"class_path": "outside_mine.Net"}}}
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump({"model": models["method"], "data": data}))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.run(["fit", "--config", "plain.yaml", *FAST])
    assert "Write {class_path: Adapter, init_args: {net: {class_path: outside_mine.Net}" in capsys.readouterr().err


# ---- names -----------------------------------------------------------------------------------------------------------


def test_files_are_called_by_their_run(tmp_path: Path) -> None:
    data = BasicMotions()
    student = fitted(tmp_path, Supervised(WideResNet(10, 1, in_channels=6, num_classes=4)), data).read_bytes()

    def put(name: str, *, config: bool = True) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(student)
        if config:
            folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
            (folder / "config.yaml").write_text("{}")
            (folder / "finished.json").write_text("{}")
        return path

    def name(path: Path, **kwargs: Any) -> str:
        exported = export(path, data, format="torch", **kwargs)
        assert exported.path.parent == (path if path.is_file() else exported.path).parent
        return exported.path.name

    best = put("runs/m/tpkd/version_0/checkpoints/best.ckpt")
    assert name(tmp_path / "runs/m/tpkd") == "tpkd.pt"
    with pytest.raises(InputError, match=r"tpkd\.pt, .*tpkd\.pt\.json exists\. Pass overwrite=True \(--overwrite\)"):
        export(best, data, format="torch")
    assert name(best, overwrite=True) == "tpkd.pt"
    assert name(put("runs/m/tpkd/version_0/checkpoints/last.ckpt")) == "tpkd.last.pt"
    teacher = put("runs/m/tpkd/version_0/checkpoints/teacher.ckpt")
    with pytest.raises(InputError, match="exists"):  # the run's is another checkpoint now
        export(teacher, data, format="torch")
    assert name(best) == "tpkd.best.pt"
    assert name(put("sent/amd/best.ckpt")) == "amd.pt"
    assert name(put("study/kd/fold1-seed0-0c7d820f09/version_0/checkpoints/best.ckpt")) == "fold1-seed0-0c7d820f09.pt"
    (tmp_path / "study/eskd/fold1-seed0-0c7d820f09").mkdir(parents=True)
    (tmp_path / "study/eskd/fold1-seed0-0c7d820f09/job.yaml").write_text("{}")
    made_by_study = put("study/eskd/fold1-seed0-0c7d820f09/version_0/checkpoints/best.ckpt")
    assert name(made_by_study) == "eskd-fold1-seed0.pt"
    assert name(put("lightning_logs/version_2/checkpoints/epoch=3.ckpt", config=False)) == "epoch=3.pt"
    assert name(put("mine/model.ckpt", config=False)) == "model.pt"


# ---- the comparison of float files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e5])
def test_logits_of_any_size_are_compared_as_strictly(size: float, tmp_path: Path, monkeypatch: Any) -> None:
    """An absolute 1e-4 refuses honest files of large logits, and keeps any file of tiny ones."""
    data = BasicMotions()
    torch.manual_seed(0)
    method = Supervised(WideResNet(10, 1, in_channels=6, num_classes=4))
    fitted(tmp_path, method, data)
    net = method.net.eval()
    with torch.no_grad():
        net.head.weight *= size
        net.head.bias *= size
    exported = export(method, data, tmp_path / "honest.onnx", format="onnx")
    check = exported.card["check"]
    windows = torch.cat([batch.views["raw"] for batch in data.batches("val")])
    with torch.no_grad():
        single, double = net(windows).logits, copy.deepcopy(net).double()(windows.double()).logits
    rounding = float((single - double).abs().max())
    assert check["largest_logit"] == pytest.approx(float(single.abs().max()))
    assert check["logit_tolerance"] == pytest.approx(5e-6 * float(single.abs().max()) + 10 * rounding)
    got = exported(physical(exported, windows)).double()
    np.testing.assert_allclose(got.numpy(), double.numpy(), rtol=0, atol=check["logit_tolerance"] + rounding)
    assert check["largest_logit_difference"] <= check["logit_tolerance"]
    assert check["agreement"] == 1
    assert check["logit_tolerance"] < 1e-3 * check["largest_logit"]

    from kdlab.export import make

    honest = make.write

    def write(module: Any, *args: Any) -> None:
        with torch.no_grad():
            module.net.head.weight *= 1.001
        honest(module, *args)

    monkeypatch.setattr(make, "write", write)
    with pytest.raises(InputError, match=r"differ from the checkpoint's by .* and 0 of 8 decisions; it was not kept"):
        export(method, data, tmp_path / "wrong.pt", format="torch")
    assert not (tmp_path / "wrong.pt").exists()


class SingleOnly(nn.Module):
    """Computes in float32 whatever it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv1d(6, 8, 5), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x.float()).mean(2))


def test_a_net_that_computes_in_float32_only(tmp_path: Path) -> None:
    data = BasicMotions()
    method = Supervised(SingleOnly(), num_classes=4)
    fitted(tmp_path, method, data)
    check = export(method, data, tmp_path / "x.onnx", format="onnx").card["check"]
    assert check["logit_tolerance"] == pytest.approx(5.5e-5 * check["largest_logit"])


# ---- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["torch", "torch.export", "onnx", "int8"])
def test_twelve_channels_and_an_odd_length(format: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (72, 12, 37))
    data = ArrayDataModule(x, np.arange(72) % 3, subject=np.arange(72) // 8, batch_size=16, sampling_rate=25.0)
    method = Supervised(Registered(12, num_classes=3), num_classes=3)
    path = fitted(tmp_path, method, data)
    kind = {"format": "onnx", "quantize": "int8", "tolerance": 100} if format == "int8" else {"format": format}
    exported = load(export(path, data, **kind).path)
    card = exported.card
    assert card["input"] == {"name": "windows", "shape": ["batch", 12, 37], "dtype": "float32"}
    assert card["window"] == {"samples": 37, "seconds": 37 / 25}
    assert (len(card["channels"]), card["output"]["shape"]) == (12, ["batch", 3])
    offset, divisor = (np.array(card["scale"][key])[:, None] for key in ("offset", "divisor"))
    net = copy.deepcopy(method.net).double().eval()
    with torch.no_grad():
        expected = net(torch.from_numpy((x[:7].astype(np.float32) - offset) / divisor)).logits.float()
    size = float(expected.abs().max())
    for count in (1, 2, 7):
        got = exported(x[:count])
        assert got.dtype == torch.float32
        tolerance = 0.2 * size if format == "int8" else 1e-4 * size
        torch.testing.assert_close(got, expected[:count], rtol=0, atol=tolerance)
    if exported.path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(exported.path)
        assert session.get_inputs()[0].shape == ["batch", 12, 37]
        assert session.get_inputs()[0].type == session.get_outputs()[0].type == "tensor(float)"
    assert json.loads(exported.path.with_name(f"{exported.path.name}.json").read_text()) == card


@register
class Pictures(nn.Module):
    """Depthwise and grouped convolutions, functional dropout and a dict of outputs."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, stride=2)
        self.depth = nn.Conv2d(width, width, 3, groups=width)
        self.mix = nn.Conv2d(width, 2 * width, 1, groups=2)
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, pixel_values: torch.Tensor, return_dict: bool | None = None) -> Any:
        x = torch.relu(self.mix(torch.relu(self.depth(self.stem(pixel_values)))))
        logits = self.fc(nn.functional.dropout(x.mean((2, 3)), 0.5, self.training))
        return (logits,) if return_dict is False else {"logits": logits}


def test_images_of_a_net_with_a_dict_of_outputs(tmp_path: Path) -> None:
    data = CIFAR10(write_cifar10(tmp_path / "data"), views={"raw": Raw(["blue", "red"])}, batch_size=40)
    student = Adapter(Pictures(), "fc", ndim=2, in_channels=2, num_classes=10, output="logits")
    method = Supervised(student)
    path = fitted(tmp_path, method, data)
    x = torch.rand(5, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    for format in ("torch", "torch.export", "onnx", "int8"):
        kind = {"format": "onnx", "quantize": "int8", "tolerance": 100} if format == "int8" else {"format": format}
        exported = load(export(path, data, **kind).path)
        offset, divisor = (torch.tensor(exported.card["scale"][key])[:, None, None] for key in ("offset", "divisor"))
        with torch.no_grad():
            expected = method.net.eval()((x - offset) / divisor).logits
        tolerance = (0.2 if format == "int8" else 1e-4) * float(expected.abs().max())
        torch.testing.assert_close(exported(x), expected, rtol=0, atol=tolerance)
        torch.testing.assert_close(exported(x[:1]), expected[:1], rtol=0, atol=tolerance)
        assert exported.card["input"]["shape"] == ["batch", 2, 32, 32]
    assert exported.card["quantisation"]["int8_share"] > 0.8


def test_windows_that_lose_digits_in_float32(tmp_path: Path) -> None:
    """Stored in float64 around an offset of 10^5 standard deviations: the file reads them rounded."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", 1e5 + rng.normal(size=(72, 6, 40)))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = ArrayDataModule(x, np.arange(72) % 3, subject=np.arange(72) // 8, batch_size=16)
    method = Supervised(WideResNet(10, 1, in_channels=6, num_classes=3))
    fitted(tmp_path, method, data)
    check = export(method, data, tmp_path / "x.pt", format="torch").card["check"]
    assert check["largest_logit_difference"] <= check["logit_tolerance"]
    assert check["largest_logit_difference"] > 1e-4 * check["largest_logit"]  # of the input, not of the net
