"""A method and a view in a user's own file work from YAML, without a word about them in kdlab."""

import sys
from pathlib import Path

import pytest
import torch

import kdlab
from kdlab import cli
from kdlab.data import BasicMotions
from kdlab.methods.checkpoints import read_checkpoint
from tests.conftest import trainer

CODE = '''
"""What a user writes: one view, one objective, one method; and the latter two with constructors by hand."""

from dataclasses import dataclass

import torch

import kdlab
from kdlab import Distillation
from kdlab.fields import Setting, setting
from kdlab.methods.made import Distilled
from kdlab.objectives import SoftTargets
from kdlab.views import View


@dataclass(frozen=True)
class Magnitude(View):
    """Length of the acceleration and of the angular rate."""

    power: float = 2.0

    def shape(self, channels, length):
        return (channels // 3, length)

    def compute(self, x):
        return x.unflatten(1, (-1, 3)).abs().pow(self.power).sum(2).pow(1 / self.power).float()


class ToyObjective(SoftTargets):
    """Soft targets, and embeddings through a linear layer that learns, too."""

    zero_when_equal = False
    reason = "the layer starts anywhere"

    toy_weight: Setting = setting("weight of the embeddings, at least 0.", default=2.0)
    kd_weight: Setting = setting(default=0.5)

    def make_adapters(self, student, teachers, classifiers):
        (teacher,) = teachers.values()
        widths = student.features["embedding"].shape[1], teacher.features["embedding"].shape[1]
        return {"layer": torch.nn.Linear(*widths)}

    def forward(self, *, student, teachers, target, index=None):
        self.adapt(student=student, teachers=teachers)
        (teacher,) = teachers.values()
        made = self.adapted("layer", student.features["embedding"])
        terms = super().forward(student=student, teachers=teachers, target=target)
        return {**terms, "toy": self.toy_weight * (made - teacher.features["embedding"].detach()).square().mean()}


class Toy(Distilled, objective=ToyObjective):
    """The toy method."""


class ByHandObjective(ToyObjective):
    """The same with a constructor, and without the index."""

    def __init__(self, toy_weight: float = 2.0, kd_weight: float = 0.5, more: float = 1.0) -> None:
        super().__init__(kd_weight=kd_weight, toy_weight=toy_weight)
        self.setting("more", more)

    def forward(self, *, student, teachers, target):
        return super().forward(student=student, teachers=teachers, target=target)


class ByHand(Distillation):
    """The toy method with a constructor."""

    def __init__(self, student: kdlab.nets.Backbone, teachers: dict[str, kdlab.Teacher], *, toy_weight: float = 2.0,
                 **kwargs) -> None:
        super().__init__(student, teachers, ByHandObjective(toy_weight), **kwargs)
'''

TEACHER = """
run: mine/teacher
model:
  class_path: Supervised
  init_args:
    net: {class_path: WideResNet, init_args: {depth: 10, width: 2, in_channels: 2, num_classes: 4}}
    view: magnitude
data: {class_path: BasicMotions, init_args: {batch_size: 8, views: {magnitude: {class_path: mine.Magnitude}}}}
"""
STUDENT = """
run: mine/toy
model:
  class_path: mine.Toy
  init_args:
    student: {class_path: WideResNet, init_args: {depth: 10, width: 1, in_channels: 6, num_classes: 4}}
    teachers: {magnitude: {checkpoint: runs/mine/teacher, view: magnitude}}
    toy_weight: 0.5
data:
  class_path: BasicMotions
  init_args: {batch_size: 8, views: {raw: Raw, magnitude: {class_path: mine.Magnitude, init_args: {power: 2.0}}}}
"""
FAST = [
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with the user's files."""
    for name, text in (("mine.py", CODE), ("teacher.yaml", TEACHER), ("toy.yaml", STUDENT)):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])  # as the command does with the folder it runs in
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("name", ["Toy", "ByHand"])
def test_a_method_and_a_view_of_ones_own_from_yaml(name, mine):
    toy = mine / "toy.yaml"
    toy.write_text(toy.read_text().replace("mine.Toy", f"mine.{name}"))
    cli.run(["fit", "--config", "teacher.yaml", *FAST])
    fitted = cli.run(["fit", "--config", "toy.yaml", *FAST])
    assert {"train/ce", "train/kd", "train/toy", "train/toy_weight"} <= set(fitted.trainer.callback_metrics)
    assert ("train/more" in fitted.trainer.callback_metrics) == (name == "ByHand")
    assert {k: float(v) for k, v in fitted.model.objective.settings().items() if k in ("toy_weight", "kd_weight")} == {
        "toy_weight": 0.5,
        "kd_weight": 0.5,
    }
    layer = fitted.model.objective.adapters["layer"]
    assert (layer.in_features, layer.out_features) == (64, 128)
    (optimizer,) = fitted.trainer.optimizers
    learning = [p for group in optimizer.param_groups for p in group["params"]]
    assert sum(any(p is q for q in learning) for p in layer.parameters()) == 2
    assert len({id(p) for p in learning}) == len(learning) == len(list(fitted.model.net.parameters())) + 2
    gone = "--model.init_args.teachers.magnitude.checkpoint=gone"
    tested = cli.run(["test", "--config", "toy.yaml", *FAST, "--ckpt_path", "runs/mine/toy", gone])
    assert 0 <= tested.trainer.callback_metrics["test/accuracy"] <= 1
    assert not tested.model.objective.adapters
    predicted = cli.run(["predict", "--config", "toy.yaml", *FAST, "--ckpt_path", "runs/mine/toy", gone])
    assert (Path(predicted.trainer.log_dir) / "predictions.csv").is_file()
    checkpoint = read_checkpoint("runs/mine/toy/version_0/checkpoints/best.ckpt")
    assert {k for k in checkpoint["state_dict"] if not k.startswith("net.")} == {
        "objective.adapters.layer.weight",
        "objective.adapters.layer.bias",
    }
    student = kdlab.Teacher("runs/mine/toy").load()  # a student with adapters can teach
    assert student(torch.zeros(2, 6, 100)).logits.shape == (2, 4)


def test_what_a_fit_learnt_is_resumed_with_the_adapters(mine):
    cli.run(["fit", "--config", "teacher.yaml", *FAST])
    half = cli.run(["fit", "--config", "toy.yaml", *FAST]).model.objective.adapters["layer"].weight
    path = "runs/mine/toy/version_0/checkpoints/last.ckpt"
    held = read_checkpoint(path)["state_dict"]["objective.adapters.layer.weight"]
    assert torch.equal(held, half)
    words = ["fit", "--config", "toy.yaml", *FAST, "--ckpt_path", path]
    done = cli.run([*words, "--trainer.max_epochs=1"]).model.objective.adapters["layer"].weight
    assert torch.equal(done, half)
    more = cli.run([*words, "--trainer.max_epochs=2"]).model.objective.adapters["layer"].weight
    assert not torch.equal(more, half)


def test_plain_loaders_do_not_say_what_adapters_to_make(mine):
    from mine import Toy

    cli.run(["fit", "--config", "teacher.yaml", *FAST])
    windows = BasicMotions(batch_size=8)
    windows.setup()
    net = kdlab.nets.WideResNet(10, 1, in_channels=6, num_classes=4)
    teacher = kdlab.Teacher("runs/mine/teacher", view="magnitude")
    method = Toy(net, {"magnitude": teacher})
    with pytest.raises(kdlab.InputError, match=r"Toy: teacher 'magnitude' reads view 'magnitude', but the batch"):
        trainer(mine, max_epochs=1).fit(method, windows.train_dataloader())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("toy_wieght: 0.5", "toy_wieght"),
        ("toy_weight: [0.5]", "toy_weight"),
        ("toy_weight: -0.5", "ToyObjective: toy_weight must be at least 0 and finite, but got -0.5"),
        ("kl_reduction: sum", "kl_reduction"),
    ],
)
def test_wrong_arguments_of_ones_own_method_are_refused_by_name(line, message, mine, capsys):
    toy = mine / "toy.yaml"
    toy.write_text(toy.read_text().replace("toy_weight: 0.5", line))
    with pytest.raises((SystemExit, kdlab.InputError)) as raised:
        cli.run(["fit", "--config", "toy.yaml", *FAST])
    assert message in str(raised.value) + capsys.readouterr().err
    assert not (mine / "runs").exists()


def test_a_missing_file_of_ones_own_is_named(mine, capsys):
    (mine / "mine.py").unlink()
    with pytest.raises(SystemExit):
        cli.run(["fit", "--config", "teacher.yaml", *FAST])
    assert "No module named 'mine'" in capsys.readouterr().err.strip().splitlines()[-1]
