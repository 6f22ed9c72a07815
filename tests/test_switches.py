"""The switches of the training step: what each leaves as it is, what it changes, and what is refused."""

import copy
from collections import Counter

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kdlab import KD, TPKD, Supervised, Teacher, TeacherCache, cli
from kdlab.callbacks import ConfusionMatrixPicture, TemperatureAnnealing, WeightAnnealing
from kdlab.data import BasicMotions
from kdlab.methods import finite
from kdlab.methods.checkpoints import KEY, read_checkpoint
from kdlab.nets import WideResNet, build
from kdlab.types import InputError
from kdlab.views import PersistenceImage, Raw
from tests.conftest import REPOSITORY, net, trainer


def both_views(**kwargs):
    return BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, **kwargs)


def tpkd(teachers, cache=None, **kwargs):
    chosen = {name: Teacher(teachers[name], view=name) for name in ("raw", "pi")}
    return TPKD(net(), chosen, weights={"raw": 0.7, "pi": 0.3}, cache=cache, **kwargs)


# ------------------------------------------------------------------------------------------------------ memory format


def two_formats(ndim, dtype=torch.float32, **kwargs):
    torch.manual_seed(0)
    plain = WideResNet(16, 1, ndim, in_channels=3, num_classes=5, **kwargs).to(dtype)
    plain.standardize.fill([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    last = copy.deepcopy(plain)
    plain.memory_format, last.memory_format = "contiguous", "channels_last"
    return plain, last


@pytest.mark.parametrize(("ndim", "shape"), [(1, (50,)), (1, (7,)), (2, (16, 12))])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_channels_last_changes_nothing_but_the_layout(ndim, shape, dtype, tolerance):
    """Outputs, taps, gradients and running statistics, in training and in evaluation."""
    plain, last = two_formats(ndim, dtype)
    x = torch.randn(6, 3, *shape, dtype=dtype)
    y = torch.arange(6) % 5
    for mode in (True, False):
        outputs = [n.train(mode)(x) for n in (plain, last)]
        torch.testing.assert_close(outputs[1].logits, outputs[0].logits, rtol=tolerance, atol=tolerance)
        for tap, feature in outputs[0].features.items():
            other = outputs[1].features[tap]
            assert other.shape == feature.shape
            torch.testing.assert_close(other, feature, rtol=tolerance, atol=tolerance)
    assert outputs[1].features["stage1"].stride(1) == 1
    assert outputs[0].features["stage1"].stride(-1) == 1
    for n in (plain, last):
        torch.nn.functional.cross_entropy(n.train()(x).logits, y).backward()
    for ours, theirs in zip(last.parameters(), plain.parameters(), strict=True):
        assert bool(torch.isfinite(ours.grad).all())
        if (
            dtype == torch.float64
        ):  # in float32 rounding decides the ReLU of a value near zero, and with it the gradient
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=10 * tolerance, atol=tolerance)
    for name, value in plain.state_dict().items():
        other = last.state_dict()[name]
        assert other.shape == value.shape
        assert other.stride() == value.stride()
        torch.testing.assert_close(other, value, rtol=tolerance, atol=tolerance)
    assert last.spec == plain.spec
    assert list(last.state_dict()) == list(plain.state_dict()) == list(build(last.spec).state_dict())


def test_a_cpu_has_channels_last_by_default():
    plain, last = two_formats(1)
    x = torch.randn(4, 3, 40)
    default = copy.deepcopy(plain)
    default.memory_format = None
    assert torch.equal(default.eval()(x).logits, last.eval()(x).logits)


def test_memory_format_of_a_method_and_its_teachers(teachers, tmp_path):
    chosen = {"raw": Teacher(teachers["raw"], memory_format="contiguous")}
    module = KD(net(), chosen, memory_format="channels_last")
    run = trainer(tmp_path, max_steps=1)
    run.fit(module, BasicMotions())
    assert (module.net.memory_format, module.teachers["raw"].net.memory_format) == ("channels_last", "contiguous")
    run.save_checkpoint(tmp_path / "net.ckpt")
    other = Supervised(net(), memory_format="contiguous")
    trainer(tmp_path).test(other, BasicMotions(), ckpt_path=tmp_path / "net.ckpt", weights_only=True, verbose=False)
    for cls in (lambda **k: Supervised(net(), **k), lambda **k: Teacher(net=net(), **k)):
        with pytest.raises(InputError, match=r"memory_format.*'sideways'"):
            cls(memory_format="sideways")


# ----------------------------------------------------------------------------------------------------------- precision


def test_precision_of_a_teacher(teachers):
    x = torch.randn(8, 6, 100, generator=torch.Generator().manual_seed(0))
    plain, half, full = (Teacher(teachers["raw"], precision=p).load() for p in (None, "bf16", "32"))
    exact = plain(x).logits
    assert half(x).logits.dtype == torch.bfloat16
    off = (half(x).logits.float() - exact).abs().max()
    assert 0 < off < 0.05 * exact.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(full(x).logits, exact)
        assert torch.equal(plain(x).logits, half(x).logits)  # the trainer's
    with pytest.raises(InputError, match=r"precision.*'8'"):
        Teacher(net=net(), precision="8")


def test_what_a_teacher_said_in_another_precision_or_format_is_not_taken(teachers, tmp_path):
    files = []
    for settings in ({}, {"precision": "bf16"}, {"memory_format": "contiguous"}, {}):
        cache = TeacherCache(folder=str(tmp_path / "cache"))
        module = KD(net(), {"raw": Teacher(teachers["raw"], **settings)}, cache=cache)
        trainer(tmp_path, max_steps=1).fit(module, BasicMotions())
        files.append(len(list((tmp_path / "cache").iterdir())))
    assert files == [1, 2, 3, 3]


def test_mixed_precision_keeps_the_terms_in_float32(teachers, tmp_path, monkeypatch):
    seen = []
    terms = TPKD.terms
    monkeypatch.setattr(TPKD, "terms", lambda self, b, s: (seen.append((s, terms(self, b, s))), seen[-1][1])[1])
    run = trainer(tmp_path, max_steps=2, precision="bf16-mixed")
    run.fit(tpkd(teachers), both_views())
    student, found = seen[-1]
    assert student.logits.dtype == torch.bfloat16
    assert {term.dtype for term in found.values()} == {torch.float32}
    assert all(torch.isfinite(term) for term in found.values())
    assert all(p.dtype == torch.float32 for p in run.lightning_module.parameters())


# ------------------------------------------------------------------------------------------------------------- compile


def fitted(folder, compile, path=None, **limit):
    pl.seed_everything(1)
    module = Supervised(net(), compile=compile)
    run = trainer(folder, **{"max_epochs": 2, **limit})
    run.fit(module, BasicMotions(seed=1), ckpt_path=path, weights_only=True if path else None)
    run.save_checkpoint(folder / "net.ckpt")
    return module, folder / "net.ckpt"


def test_a_compiled_student_is_saved_and_resumed_like_any_other(tmp_path, monkeypatch):
    """With a backend that runs the captured program as it is, weights are equal to the last bit."""
    called = []
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **k: (called.append(k), compiled(self, **k))[1])
    _, plain_file = fitted(tmp_path / "plain", False)
    assert not called
    module, file = fitted(tmp_path / "compiled", "eager")
    assert called == [{"backend": "eager", "dynamic": False}]
    assert module.net._compiled_call_impl is None  # the fit is over
    ours, theirs = read_checkpoint(file), read_checkpoint(plain_file)
    assert ours[KEY] == theirs[KEY]
    assert list(ours["state_dict"]) == list(theirs["state_dict"])
    assert all(torch.equal(value, theirs["state_dict"][key]) for key, value in ours["state_dict"].items())
    _, half = fitted(tmp_path / "half", "eager", max_epochs=1)
    resumed, _ = fitted(tmp_path / "resumed", "eager", half)
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in resumed.state_dict().items())


@pytest.mark.parametrize("backend", ["nonsense", True])
def test_no_compiler(backend, tmp_path, monkeypatch):
    if backend is True:
        monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    torch._dynamo.reset()
    with pytest.raises(InputError, match=r"compile: .*backend '(nonsense|inductor)'.*set compile to false"):
        trainer(tmp_path).fit(Supervised(net(), compile=backend), BasicMotions())


# ---------------------------------------------------------------------------------------------------------------- YAML


def test_all_from_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast.yaml").write_text(
        """
trainer: {precision: bf16-mixed, accelerator: cpu, max_steps: 1, limit_val_batches: 1, enable_progress_bar: false}
model:
  init_args:
    compile: eager
    memory_format: contiguous
    net: {init_args: {depth: 10}}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05, fused: true}}
data: {init_args: {pin_memory: false}}
"""
    )
    config = REPOSITORY / "experiments" / "basic_motions" / "scratch.yaml"
    done = cli.run(["fit", "--config", str(config), "--config", "fast.yaml"])
    assert done.trainer.global_step > 0
    assert done.model.net.memory_format == "contiguous"
    assert done.trainer.optimizers[0].param_groups[0]["fused"] is True
    assert done.datamodule.pin_memory is False


# ---------------------------------------------------------------------------------------------------------- evaluation


@pytest.fixture
def computed(monkeypatch):
    """How many persistence images were computed."""
    counts = Counter()
    compute = PersistenceImage.compute
    monkeypatch.setattr(PersistenceImage, "compute", lambda self, x: (counts.update(pi=len(x)), compute(self, x))[1])
    return counts


def test_evaluation_computes_the_students_view_alone(teachers, tmp_path, computed):
    data = both_views()
    run = trainer(tmp_path, max_epochs=3, num_sanity_val_steps=2, callbacks=[ConfusionMatrixPicture()])
    module = tpkd(teachers)
    run.fit(module, data)
    trained = 3 * 8 * (data.counts["train"]["windows"] // 8)
    checks = 8  # two windows for each patch, of which half go through the view to find its shape at most
    assert trained + data.counts["val"]["windows"] <= computed["pi"] <= trained + data.counts["val"]["windows"] + checks
    computed.clear()
    run.validate(module, data, verbose=False)
    (result,) = run.test(module, data, verbose=False)
    predicted = run.predict(module, data)
    assert not computed
    right = torch.cat([batch["prediction"] == batch["target"] for batch in predicted])
    assert float(right.float().mean()) == pytest.approx(result["test/accuracy"])
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert set(next(iter(loader)).views) == {"raw", "pi"}  # all is back for whoever asks next


def test_accuracy_of_the_teachers(teachers, tmp_path):
    """By hand, and with another number of windows."""
    for limit, windows in ((1.0, None), (1, 4)):
        data = both_views(batch_size=4)
        module = tpkd(teachers, patches=2)
        trainer(tmp_path, max_steps=1, limit_val_batches=limit).fit(module, data)
        (batch,) = data.batches("val", 10**6)
        for name, teacher in module.named_teachers():
            hits = teacher(batch.views[name]).logits.argmax(1) == batch.target
            assert module.teacher_scores[name].accuracy == pytest.approx(float(hits[:windows].float().mean())), name


def test_a_method_that_evaluates_on_more_views(tmp_path):
    class Two(Supervised):
        def evaluation_views(self):
            return {"raw", "pi"}

        def validation_step(self, batch, batch_idx):
            self.seen = set(batch.views)

    module = Two(net())
    trainer(tmp_path).validate(module, both_views(), verbose=False)
    assert module.seen == {"raw", "pi"}


# ------------------------------------------------------------------------------------------------ waiting for a device


class Waits(TorchDispatchMode):
    """Counts what would make a host wait for its device."""

    asked = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "bincount", "_unique2")

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in self.asked:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


class Watch(pl.Callback):
    def __init__(self):
        self.waits, self.steps = Waits(), 0

    def on_train_batch_start(self, *_):
        self.waits.__enter__()

    def on_train_batch_end(self, *_):
        self.waits.__exit__(None, None, None)
        self.steps += 1


def test_a_step_waits_for_nothing(teachers, tmp_path, monkeypatch):
    monkeypatch.setattr(finite, "at_once", lambda device: False)  # as on a GPU
    watch = Watch()
    callbacks = [watch, TemperatureAnnealing(), WeightAnnealing()]
    trainer(tmp_path, max_epochs=2, callbacks=callbacks).fit(tpkd(teachers), both_views())
    assert watch.steps > 4
    assert not watch.waits.found
    with watch.waits:
        float(torch.ones(1))
    assert watch.waits.found  # it does count


@pytest.mark.gpu
@pytest.mark.parametrize("cached", [False, True])
def test_a_step_on_a_gpu_waits_for_nothing(cached, teachers, tmp_path):
    class Strict(pl.Callback):
        def on_train_batch_start(self, *_):
            torch.cuda.set_sync_debug_mode("error")

        def on_train_batch_end(self, *_):
            torch.cuda.set_sync_debug_mode("default")

    module = tpkd(teachers, TeacherCache() if cached else None)
    try:
        trainer(tmp_path, accelerator="gpu", devices=1, callbacks=[Strict()]).fit(module, both_views())
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_switches_on_a_gpu(precision, teachers, tmp_path):
    chosen = {"raw": Teacher(teachers["raw"], precision="16", memory_format="channels_last")}
    module = KD(net(), chosen, compile=True, memory_format="channels_last")
    run = trainer(tmp_path, accelerator="gpu", devices=1, precision=precision)
    run.fit(module, BasicMotions())
    assert np.isfinite(float(run.callback_metrics["train/loss"]))
