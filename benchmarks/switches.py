"""What each switch of the training step gains and changes: ``python -m benchmarks.switches``.

The student is WRN16-1 on windows 3 x 500 in batches of 64, the teacher WRN16-3 on images 64 x 64, the distillation step
TPKD with a teacher on each view, run in every step. Every switch is measured off and on in one run, in turns; a time
is the median over steps, of the processor's time on a CPU. What a switch changes is the largest difference of any
weight after the first step and after the last, in which training makes roundings grow; for a teacher, of any logit, in
standard deviations of the logits. ``OMP_NUM_THREADS`` sets the threads, one by default. With a GPU, student and teacher
run there, and pinned memory and fp16 are measured too.
"""

from __future__ import annotations

import copy
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import kdlab
from benchmarks.views import processor, version
from kdlab.data import ArrayDataModule
from kdlab.nets import WideResNet
from kdlab.views import PersistenceImage, Raw

BATCH, CLASSES = 64, 6
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLOCK = time.perf_counter if DEVICE.type == "cuda" else time.process_time
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def net(width: int = 1, ndim: int = 1, memory_format: Any = None) -> Any:
    torch.manual_seed(0)
    made = WideResNet(16, width, ndim, in_channels=3, num_classes=CLASSES).to(DEVICE)
    made.standardize.fill()
    made.memory_format = memory_format
    return made


def seconds(work: Callable[[], Any], clock: Callable[[], float] = CLOCK) -> float:
    begin = clock()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return clock() - begin


class Student:
    """A student that is trained by hand, one step a call."""

    def __init__(self, memory_format: Any = None, precision: str = "", compiled: bool = False, fused: bool = False):
        self.net = net(memory_format=memory_format).train()
        self.dtype = HALF.get(precision)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, fused=fused or None
        )
        if compiled:
            self.net.compile(dynamic=False)
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(BATCH, 3, 500, generator=generator).to(DEVICE)
        self.y = torch.randint(CLASSES, (BATCH,), generator=generator).to(DEVICE)

    def __call__(self) -> None:
        """One step."""
        half = nullcontext() if self.dtype is None else torch.autocast(DEVICE.type, self.dtype)
        with half:
            loss = F.cross_entropy(self.net(self.x).logits.float(), self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def result(self) -> Tensor:
        """The weights."""
        return torch.cat([p.detach().flatten() for p in self.net.parameters()])


class Update(Student):
    """The optimiser's step alone."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        super().__call__()

    def __call__(self) -> None:
        """One update, with the gradients of the first step."""
        self.optimizer.step()


class Forward:
    """Forward passes of a teacher on a batch of images."""

    def __init__(self, memory_format: Any = None, precision: Any = None, batch: int = 16):
        self.teacher = kdlab.Teacher(net=net(3, 2), precision=precision, memory_format=memory_format).load().to(DEVICE)
        self.x = torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(1)).to(DEVICE)
        self.logits = torch.zeros(0)

    def __call__(self) -> None:
        """Ask."""
        self.logits = self.teacher(self.x).logits.float()

    def result(self) -> Tensor:
        """The logits, in standard deviations."""
        return self.logits / self.logits.std()


class Distilled:
    """A TPKD step with forward passes of both teachers."""

    def __init__(self, memory_format: Any = None):
        teachers = {
            name: kdlab.Teacher(view=name, net=net(3, ndim), memory_format=memory_format)
            for name, ndim in (("raw", 1), ("pi", 2))
        }
        self.module = kdlab.TPKD(net(), teachers, similarity_weight=20.0, memory_format=memory_format).to(DEVICE)
        for teacher in teachers.values():
            teacher.load()
        self.optimizer = self.module.configure_optimizers()
        generator = torch.Generator().manual_seed(1)
        views = {
            "raw": torch.randn(BATCH, 3, 500, generator=generator),
            "pi": torch.randn(BATCH, 3, 64, 64, generator=generator),
        }
        self.batch = kdlab.Batch(
            {name: view.to(DEVICE) for name, view in views.items()},
            torch.randint(CLASSES, (BATCH,), generator=generator).to(DEVICE),
            torch.arange(BATCH).to(DEVICE),
        )

    def __call__(self) -> None:
        """One step."""
        terms = self.module.terms(self.batch, self.module.net(self.batch.views["raw"]))
        self.optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        self.optimizer.step()

    def result(self) -> Tensor:
        """The student's weights."""
        return torch.cat([p.detach().flatten() for p in self.module.net.parameters()])


class Moved:
    """Batches that go to the GPU."""

    def __init__(self, pinned: bool):
        self.x = torch.randn(BATCH, 3, 64, 64)
        self.x = self.x.pin_memory() if pinned else self.x

    def __call__(self) -> None:
        """Move one."""
        self.there = self.x.to(DEVICE, non_blocking=True)

    def result(self) -> Tensor:
        """What arrived."""
        return self.there


class Result(NamedTuple):
    """Median seconds of a step off and on, how much longer the first took, and what the switch changes."""

    off: float
    on: float
    longer: float
    first_change: float
    last_change: float


def compare(off: Any, on: Any, steps: int) -> Result:
    def apart() -> float:
        return float((on.result() - off.result()).abs().max())

    longer = -seconds(off, time.perf_counter) + seconds(on, time.perf_counter)
    first = apart()
    times = [(seconds(off), seconds(on)) for _ in range(steps - 1)]
    before, after = (statistics.median(column) for column in zip(*times, strict=True))
    return Result(before, after, longer, first, apart())


def rows() -> Iterator[tuple[str, str, Any, Any, int]]:
    """What is measured, the switch, off, on, and the number of steps."""
    slow = DEVICE.type == "cpu"
    yield "student's step", "channels_last", Student("contiguous"), Student("channels_last"), 11
    yield "student's step", "bf16", Student(), Student(precision="bf16"), 3 if slow else 11
    yield "student's step", "fused SGD", Student(), Student(fused=True), 11
    yield "optimiser alone", "fused SGD", Update(), Update(fused=True), 101
    yield "2-D teacher", "channels_last", Forward("contiguous"), Forward("channels_last"), 6
    yield "2-D teacher", "bf16", Forward(batch=8), Forward(batch=8, precision="bf16"), 2 if slow else 11
    yield "TPKD's step", "channels_last", Distilled("contiguous"), Distilled("channels_last"), 4 if slow else 11
    if not slow:
        yield "student's step", "fp16", Student(), Student(precision="fp16"), 11
        yield "2-D teacher", "fp16", Forward(), Forward(precision="16"), 11
        yield "a batch to the GPU", "pinned memory", Moved(False), Moved(True), 101
    yield "student's step", "compile", Student(), Student(compiled=True), 11


def validation() -> tuple[float, float]:
    """Seconds of a student's validation with the teachers' views, and without."""
    x, person = torch.randn(600, 3, 500, generator=torch.Generator().manual_seed(1)).numpy(), np.arange(600) // 60
    views = {"raw": Raw(), "pi": PersistenceImage(size=64)}
    data = ArrayDataModule(
        x, np.arange(600) % CLASSES, person, views=views, test_subjects=[0], val_subjects=[1, 2, 3, 4]
    )
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    everything = kdlab.Supervised(net().cpu())
    own = copy.deepcopy(everything)
    everything.evaluation_views = lambda: {"raw", "pi"}  # type: ignore[method-assign]
    times = [
        tuple(
            seconds(lambda module=module: trainer.validate(module, data, verbose=False)) for module in (everything, own)
        )
        for _ in range(4)
    ]
    before, after = (statistics.median(column) for column in zip(*times[1:], strict=True))
    return before, after


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    print(
        f"{processor()}, {where}, {os.cpu_count()} cores, {torch.get_num_threads()} thread, "
        f"Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "numpy")))
    if DEVICE.type == "cpu":
        print("no GPU: fp16 and pinned memory are not measured")
    print(f"\n{'':20}{'switch':16}{'off':>10}{'on':>10}{'faster':>9}{'changes: first, last step':>28}")
    show("validation", "own view only", *validation(), 0, 0)
    for what, switch, off, on, steps in rows():
        found = compare(off, on, steps)
        note = f"  its first step takes {found.longer:.0f} s longer" if switch == "compile" else ""
        show(what, switch, found.off, found.on, found.first_change, found.last_change, note)


def show(what: str, switch: str, off: float, on: float, first: float, last: float, note: str = "") -> None:
    times = f"{1e3 * off:>7.1f} ms{1e3 * on:>7.1f} ms{off / on:>8.2f}x"
    print(f"{what:20}{switch:16}{times}{first:>16.0e}{last:>12.0e}{note}", flush=True)


if __name__ == "__main__":
    main()
