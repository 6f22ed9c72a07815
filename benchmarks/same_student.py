"""Whether cached teachers give the same student: ``python -m benchmarks.same_student``.

TPKD for three epochs on SP-SW-HAR (``KDLAB_DATA`` names its folder), with the teachers run in every step and with
their outputs cached, from the same start: the largest difference of any weight. For comparison, the same with one
part in ten million of noise on the student's first weights, and the time of both fits. The two teachers, on all
channels and on their persistence images, are trained for one epoch first.
"""

from __future__ import annotations

import logging
import os
import platform
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch

import kdlab
from benchmarks.views import processor, version
from kdlab.data import SPSWHAR
from kdlab.nets import Backbone, WideResNet
from kdlab.views import PersistenceImage, Raw

EPOCHS, MOST = 3, 1e-4
WATCH = tuple(f"watch_{kind}_{axis}" for kind in ("acc", "gyro") for axis in "xyz")


def data() -> SPSWHAR:
    views = {"raw": Raw(), "pi": PersistenceImage(size=32), "watch": Raw(channels=WATCH)}
    root = Path(os.environ["KDLAB_DATA"]) / "sp_sw_har_original.tar.xz"
    return SPSWHAR(root, views=views, val_fraction=0.25, seed=0)


def fit(module: pl.LightningModule, datamodule: SPSWHAR, epochs: int) -> float:
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    begin = time.perf_counter()
    trainer.fit(module, datamodule)
    return time.perf_counter() - begin


def teacher(view: str, ndim: int, datamodule: SPSWHAR) -> Backbone:
    pl.seed_everything(0, verbose=False)
    net = WideResNet(16, 1, ndim, in_channels=12, num_classes=5)
    fit(kdlab.Supervised(net, view=view), datamodule, 1)
    return net


def student(
    nets: dict[str, Backbone], datamodule: SPSWHAR, cache: kdlab.TeacherCache | None, noise: float = 0.0
) -> tuple[dict[str, torch.Tensor], float]:
    """The trained weights, and the seconds that they took."""
    pl.seed_everything(1, verbose=False)
    net = WideResNet(16, 1, 1, in_channels=6, num_classes=5)
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(1 + noise * torch.randn_like(weight))
    teachers = {name: kdlab.Teacher(net=one, view=name) for name, one in nets.items()}
    module = kdlab.TPKD(net, teachers, similarity_weight=20.0, student_view="watch", cache=cache)
    seconds = fit(module, datamodule, EPOCHS)
    return {name: value.detach().clone().double() for name, value in net.state_dict().items()}, seconds


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread, Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "numpy")))
    datamodule = data()
    datamodule.setup("fit")
    nets = {"raw": teacher("raw", 1, datamodule), "pi": teacher("pi", 2, datamodule)}
    live, live_seconds = student(nets, datamodule, None)
    cached, cached_seconds = student(nets, datamodule, kdlab.TeacherCache())
    noisy, _ = student(nets, datamodule, kdlab.TeacherCache(), noise=1e-7)
    difference = apart(live, cached)
    print(f"{len(datamodule.train_index)} training windows of SP-SW-HAR, {EPOCHS} epochs, batches of 64\n")
    met = "met" if difference <= MOST else "MISSED"
    print(f"largest difference of any weight   {difference:.1e}   {met}: at most 1e-4")
    print(f"with 1e-7 of noise on the start    {apart(cached, noisy):.1e}")
    print(f"fit, teachers run in every step  {live_seconds:.0f} s")
    print(f"fit, teachers cached             {cached_seconds:.0f} s, filling the cache included")


if __name__ == "__main__":
    main()
