"""What only a GPU can show; skipped, with the reason, where there is none."""

import lightning.pytorch as pl
import numpy as np
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
from tests.conftest import net, trainer

pytestmark = pytest.mark.gpu


def both_views(**kwargs):
    return BasicMotions(views={"raw": Raw(), "pi": PersistenceImage(size=16)}, **kwargs)


def two(teachers):
    return {"raw": Teacher(teachers["raw"], view="raw"), "pi": Teacher(teachers["pi"], view="pi")}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("method", [AMD, TGD, TPKD])
def test_a_fit_on_the_device(method, precision, teachers, tmp_path):
    chosen = {"raw": Teacher(teachers["raw"])} if method is AMD else two(teachers)
    module = method(net(), chosen)
    run = trainer(tmp_path, accelerator="gpu", devices=1, precision=precision, num_sanity_val_steps=0)
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
