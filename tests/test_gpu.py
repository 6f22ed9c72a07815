"""What only a GPU can show; skipped, with the reason, where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch

from kdlab import AMD, TGD, TPKD, Teacher
from kdlab.callbacks import TemperatureAnnealing, WeightAnnealing
from kdlab.data import BasicMotions
from kdlab.views import (
    GramianAngularField,
    MarkovTransitionField,
    PersistenceImage,
    Raw,
    RecurrencePlot,
    Spectrogram,
)
from tests.configs import LIMIT, Made, arguments_of, config_of, configs_of, fit_test_predict, needed_by, words_of
from tests.conftest import PATIENCE, net, trainer
from tests.test_study import toy

LIMIT_HERE = [word.replace("accelerator=cpu", "accelerator=gpu") for word in LIMIT]
LIMIT_HERE.append("--trainer.limit_train_batches=3")
CONFIGS = configs_of("basic_motions")
CACHED = [name for name in CONFIGS if arguments_of(name).get("teachers")]
pytestmark = pytest.mark.gpu


def both_views(**kwargs):
    return BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, **kwargs)


def two(teachers):
    return {"raw": Teacher(teachers["raw"], view="raw"), "pi": Teacher(teachers["pi"], view="pi")}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("method", [AMD, TGD, TPKD])
def test_a_fit_on_the_device(method, precision, teachers, tmp_path):
    pl.seed_everything(0)
    chosen = {"raw": Teacher(teachers["raw"])} if method is AMD else two(teachers)
    module = method(net(), chosen)
    finite = {"gradient_clip_val": 1.0} if precision == "16-mixed" else {}  # with the papers' weights float16 overflows
    run = trainer(tmp_path, accelerator="gpu", devices=1, precision=precision, num_sanity_val_steps=0, **finite)
    run.fit(module, both_views())
    assert all(torch.isfinite(p).all() for p in module.parameters())
    assert torch.isfinite(run.callback_metrics["train/loss"])


@pytest.mark.parametrize(
    "view",
    [
        Raw(),
        GramianAngularField(size=32),
        PersistenceImage(size=32),
        MarkovTransitionField(),
        RecurrencePlot(dimension=2),
        Spectrogram(floor=None),
    ],
)
def test_views_on_the_device_equal_the_host(view):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 3, 100)).astype("float32"))
    on_device = view(x.cuda())
    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), view(x), atol=2e-5, rtol=0)


def test_annealing_does_not_wait_for_the_device(teachers, tmp_path):
    module = TPKD(net(), two(teachers)).cuda()
    callbacks = [TemperatureAnnealing(), WeightAnnealing()]
    for callback in callbacks:
        callback.steps = 10
    run = pl.Trainer(logger=False, enable_checkpointing=False)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for callback in callbacks:
            callback.on_train_batch_start(run, module, None, 0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert float(module.objective.temperature) == pytest.approx(8.0)


class Strict(pl.Callback):
    """Nothing in a step of training makes the host wait for the device, after the first, which moves constants."""

    def __init__(self):
        self.steps = 0

    def on_train_batch_start(self, *_):
        if self.steps:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, *_):
        torch.cuda.set_sync_debug_mode("default")
        self.steps += 1

    def on_exception(self, *_):
        torch.cuda.set_sync_debug_mode("default")


def fit_strictly(name, *words):
    for needed in needed_by(config_of(name)["model"]):
        fit_test_predict(needed)
    place = f"--run=strict/{name}{len(words)}"
    made = Made(["fit", *words_of(name), *LIMIT_HERE, place, "--trainer.log_every_n_steps=50", *words])
    made.trainer.callbacks.append(strict := Strict())
    made.trainer.fit(made.model, made.datamodule)
    assert strict.steps == 3
    assert torch.isfinite(made.trainer.callback_metrics["train/loss"])
    assert all(torch.isfinite(p).all() for p in made.model.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_no_method_waits_for_the_device(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    fit_strictly(name)


@pytest.mark.parametrize("name", CACHED)
def test_no_method_with_cached_teachers_waits_for_the_device(name, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    fit_strictly(name, '--model.init_args.cache={"teacher_input": "clean"}')


@pytest.mark.parametrize(
    "words",
    [
        ["--model.init_args.class_weights=balanced", "--model.init_args.label_smoothing=0.1"],
        ["--model.init_args.focal_gamma=2.0"],
        ["--model.init_args.learn_temperature=true"],
        ["--model.init_args.standardise=true"],
        ["--trainer.gradient_clip_val=1.0"],
        ["--trainer.accumulate_grad_batches=2"],
        ["--trainer.precision=bf16-mixed"],
        ["--trainer.callbacks+=EpochAveraging"],
        ["--data.init_args.augment=Mix1", "--data.init_args.mix=Mixup"],
    ],
    ids=lambda words: words[0].split(".")[-1],
)
def test_no_option_waits_for_the_device(words, laboratory, monkeypatch):
    monkeypatch.chdir(laboratory)
    fit_strictly("basic_motions/kd", *words)


def command(*words, **environment):
    """The command line, as a process of its own."""
    code = "import sys; from kdlab.cli import main; sys.exit(main())"
    ran = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_student_of_the_device_is_read_without_one(laboratory, monkeypatch):
    """Trained on a GPU, tested and exported on a machine that has none."""
    monkeypatch.chdir(laboratory)
    words, folder = words_of("basic_motions/scratch"), "runs/basic_motions/of_the_device"
    command("fit", *words, "--run=basic_motions/of_the_device", *LIMIT_HERE)
    without = {"CUDA_VISIBLE_DEVICES": ""}
    command("test", *words, *LIMIT, "--ckpt_path", folder, **without)
    command("export", folder, "--output", "student.pt2", **without)
    assert Path("student.pt2").is_file()


def test_several_jobs_of_a_study_share_the_device(tmp_path):
    """Each process has the GPU for itself; rows are those of one process."""
    path = toy(tmp_path)
    for config in ("supervised.yaml", "student.yaml"):
        file = tmp_path / config
        file.write_text(file.read_text().replace("accelerator: cpu", "accelerator: gpu\n  devices: 1"))
    for jobs in ("1", "3"):
        command("study", str(path), "--root", str(tmp_path / jobs), "--jobs", jobs)
    one, three = (pd.read_csv(tmp_path / jobs / "toy/study/results.csv") for jobs in ("1", "3"))
    assert len(one) == len(three) == 5
    np.testing.assert_allclose(one["test_accuracy"], three["test_accuracy"], atol=0.1)
