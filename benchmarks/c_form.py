"""What a student in C costs and keeps: ``python -m benchmarks.c_form [--net NAME] [--windows N] [--epochs N]``.

Three students are trained briefly on real recordings (ShoulderWatch of seglearn, and SP-SW-HAR in the folder that
``KDLAB_DATA`` names), exported in C and in ONNX (float32 and int8), and compared on the same test windows of people who
were not trained on: accuracy, bytes of constants, code and scratch, and the time of one window on one thread, compiled
with ``-O2`` and measured in turns. Then windows that no sensor gives (constant, huge, denormal, NaN, infinite, random
bits) go through the program compiled with the sanitizers of addresses and undefined behaviour; their logits must be
those of the equations in numpy, bit for bit.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

import kdlab
import kdlab.export
import kdlab.export.c
from benchmarks.views import machine
from kdlab.data import SPSWHAR, ShoulderWatch, WindowDataModule
from kdlab.data.spread import spread
from kdlab.evaluate.cost import latency
from kdlab.export.c.interpret import run
from kdlab.export.c.ir import Program
from kdlab.export.c.write import quantised
from kdlab.export.comparing import physical_windows
from kdlab.export.make import read_net
from kdlab.export.physical import PhysicalNet
from kdlab.export.stored import OnnxModule
from kdlab.nets import Backbone, MobileNetV2, WideResNet
from kdlab.views import Raw

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-O2")
WATCH = [f"watch_{kind}_{axis}" for kind in ("acc", "gyro") for axis in "xyz"]
PEOPLE = list(range(1, 8))  # of 23
FUZZ = """\
#include "{name}.h"
#include <stdio.h>

int main(void)
{{
    static float window[{NAME}_CHANNELS * {NAME}_LENGTH];
    float logits[{NAME}_CLASSES];
    while (fread(window, sizeof window, 1, stdin) == 1) {{
        {name}_predict(window, logits);
        fwrite(logits, sizeof logits, 1, stdout);
    }}
    return 0;
}}
"""


def shoulder(**kwargs: Any) -> WindowDataModule:
    return ShoulderWatch(step=80, test_subjects=[2, 4, 6, 8], val_count=2, batch_size=64, seed=0, **kwargs)


def phone() -> WindowDataModule:
    root = Path(os.environ["KDLAB_DATA"]) / "sp_sw_har_original.tar.xz"
    return SPSWHAR(root, views={"raw": Raw(channels=WATCH)}, test_subjects=PEOPLE, batch_size=64, seed=0)


Case = tuple[Callable[[], WindowDataModule], Callable[[], Backbone], int]
#: name -> data, net, epochs
CASES: dict[str, Case] = {
    "WRN10-1": (lambda: shoulder(sensors="accelerometer"), lambda: WideResNet(10, 1, in_channels=3, num_classes=7), 8),
    "WRN16-1": (shoulder, lambda: WideResNet(16, 1, in_channels=6, num_classes=7), 8),
    "MobileNetV2": (phone, lambda: MobileNetV2(0.5, in_channels=6, num_classes=5), 6),
}


def fitted(data: WindowDataModule, net: Backbone, epochs: int, folder: Path) -> Path:
    """Checkpoint of a short training."""
    module = kdlab.Supervised(net, optimizer=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-4))
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / "student.ckpt")
    return folder / "student.ckpt"


def place_of(exported: kdlab.export.Exported, data: WindowDataModule) -> tuple[str, list[int]]:
    """The source and the channels that a net reads."""
    source, names = next(iter(data.channels.items()))
    return source, [list(names).index(channel["name"]) for channel in exported.card["channels"]]


def test_windows(exported: kdlab.export.Exported, data: WindowDataModule, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to so many test windows in physical units, evenly spread, and their labels."""
    source, channels = place_of(exported, data)
    batches = list(data.batches("test", 256, []))
    index, target = (torch.cat([getattr(b, key) for b in batches]).numpy() for key in ("index", "target"))
    picked = spread(np.arange(len(index)), most)
    return physical_windows(data, source, channels, index[picked]), target[picked]


def strange(count: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Windows ``(N, C, T)`` that no sensor gives, of eight kinds in turn."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (count, *shape)).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        x[0::8] = rng.choice(np.float32([0, -0.0, 1, -9.81, 127, 1e6, -3e38]), (len(x[0::8]), 1, 1))
        x[1::8] *= np.float32(10) ** rng.uniform(3, 38, (len(x[1::8]), 1, 1)).astype(np.float32)
        x[2::8] = rng.integers(0, 2**23, x[2::8].shape, dtype=np.uint32).view(np.float32)  # denormal
        x[3::8] = rng.integers(0, 2**32, x[3::8].shape, dtype=np.uint32).view(np.float32)  # any bits
        x[4::8] *= rng.uniform(0, 100, (len(x[4::8]), 1, 1)).astype(np.float32)
        x[5::8] = np.sign(x[5::8]) * np.finfo(np.float32).max
    for start, value in ((6, np.nan), (7, np.inf)):
        part = x[start::8]
        where = rng.integers(0, shape[0] * shape[1], len(part))
        part.reshape(len(part), -1)[np.arange(len(part)), where] = value * rng.choice([-1, 1], len(part))
    return x


def through_sanitizers(folder: Path, name: str, windows: np.ndarray) -> np.ndarray:
    """Logits of the program that is compiled with sanitizers; it ends where one of them finds something."""
    (folder / "fuzz.c").write_text(FUZZ.format(name=name, NAME=name.upper()), encoding="ascii")
    subprocess.run(["gcc", *STRICT, *SANITIZERS, f"{name}.c", "fuzz.c", "-o", "fuzz"], cwd=folder, check=True)
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    made = subprocess.run([folder / "fuzz"], input=windows.tobytes(), capture_output=True, env=environment, check=True)
    assert not made.stderr, made.stderr.decode()
    return np.frombuffer(made.stdout, dtype=np.float32).reshape(len(windows), -1)


def compiled(folder: Path, name: str) -> tuple[kdlab.export.Exported, dict[str, int]]:
    """The library at ``-O2``, and bytes of code and scratch on this machine (``-Os``)."""
    subprocess.run(["gcc", *STRICT, "-shared", "-fPIC", f"{name}.c", "-o", f"{name}.so"], cwd=folder, check=True)
    subprocess.run(["gcc", "-std=c99", "-Os", "-c", f"{name}.c", "-o", f"{name}.o"], cwd=folder, check=True)
    listed = subprocess.run(["size", "-A", f"{name}.o"], cwd=folder, capture_output=True, text=True, check=True).stdout
    parts = {
        words[0]: int(words[1])
        for words in map(str.split, listed.splitlines())
        if words and words[0] in (".text", ".bss")
    }
    return kdlab.export.c.load(folder / f"{name}.so"), {"code": parts[".text"], "scratch": parts[".bss"]}


def milliseconds(modules: dict[str, Any], shape: tuple[int, ...]) -> dict[str, float]:
    """The least of five medians of each, in turns."""
    turns = [{name: latency(module, shape) for name, module in modules.items()} for _ in range(5)]
    return {name: min(turn[name] for turn in turns) for name in modules}


def measure(name: str, case: Case, count: int, fuzz: int, folder: Path, epochs: int | None = None) -> dict[str, float]:
    """Train, export, compare, and print; the accuracy of the checkpoint and of the C program."""
    data, net, most = case[0](), case[1](), case[2] if epochs is None else epochs
    begin = time.perf_counter()
    path = fitted(data, net, most, folder)
    trained = time.perf_counter() - begin
    begin = time.perf_counter()
    word = name.lower().replace("-", "_")
    made = kdlab.export.export(path, data, format="c", self_test=True, windows="test", name=word)
    exported = time.perf_counter() - begin
    library, bytes_ = compiled(folder, word)
    files = {
        "PyTorch": kdlab.export.export(path, data, folder / "student.pt", format="torch", windows="test"),
        "ONNX float32": kdlab.export.export(path, data, folder / "float.onnx", format="onnx", windows="test"),
        "ONNX int8": kdlab.export.export(
            path, data, folder / "int8.onnx", format="onnx", quantize="int8", windows="test"
        ),
        "C int8": library,
    }
    windows, target = test_windows(made, data, count)
    logits = {key: file(windows).numpy() for key, file in files.items()}
    right = {key: 100 * float((value.argmax(1) == target).mean()) for key, value in logits.items()}
    runners = {
        key: OnnxModule(file.path, threads=1) if key.startswith("ONNX") else file.module for key, file in files.items()
    }
    times = milliseconds(runners, made.shape)
    flash = sum(made.card["c"]["flash"].values())
    assert bytes_["scratch"] == made.card["c"]["ram"]["static"]
    print(f"{name}: {made.shape[0]} x {made.shape[1]}, {data.name}, {len(target)} test windows ", end="")
    print(f"(trained {trained:.0f} s, exported in C {exported:.1f} s)")
    for key in files:
        size = flash + bytes_["code"] if key == "C int8" else files[key].path.stat().st_size
        same = 100 * float((logits[key].argmax(1) == logits["PyTorch"].argmax(1)).mean())
        print(f"  {key:<13}{right[key]:6.1f} %  equal decisions {same:5.1f} %  {size / 1000:7.1f} kB  ", end="")
        print(f"{times[key]:6.3f} ms")
    print(f"  C: flash {flash} bytes and {bytes_['code']} of code (-Os), RAM {bytes_['scratch']} bytes")
    fuzzed(made, path, data, word, fuzz, folder)
    return {"checkpoint": right["PyTorch"], "c": right["C int8"]}


def program_of(path: Path, data: WindowDataModule, made: kdlab.export.Exported) -> Program:
    """The int8 program of a checkpoint, made again."""
    _, net = read_net(path)
    source, channels = place_of(made, data)
    shown = physical_windows(
        data, source, channels, spread(data.train_index, made.card["quantisation"]["calibrated_on"]["count"])
    )
    module = PhysicalNet(net, **made.card["scale"]).eval()
    return quantised(module, made.shape[-1], made.card["scale"], shown)[0]


def fuzzed(made: Any, path: Path, data: WindowDataModule, word: str, count: int, folder: Path) -> None:
    """Strange windows under the sanitizers against the equations."""
    begin = time.perf_counter()
    program = program_of(path, data, made)
    x = strange(count, made.shape)
    got = through_sanitizers(folder, word, x)
    expected = np.concatenate([run(program, part) for part in np.array_split(x, max(1, count // 64))])
    assert np.array_equal(got, expected, equal_nan=True)
    finite = np.isfinite(x).all((1, 2))
    assert np.isfinite(got[finite]).all()
    assert np.isnan(got[~finite]).all()
    print(
        f"  {count} strange windows under the sanitizers, {(~finite).sum()} of them not finite (all logits NaN): ",
        end="",
    )
    print(f"equal bits, no finding ({time.perf_counter() - begin:.0f} s)")


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=CASES, action="append", help="default: all")
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--fuzz", type=int, default=10_000)
    parser.add_argument("--epochs", type=int)
    given = parser.parse_args(words)
    for name in ("lightning.pytorch", "lightning.fabric", "kdlab"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    print(machine(("torch", "onnxruntime"), "one thread"))
    for name in given.net or CASES:
        pl.seed_everything(0)
        with tempfile.TemporaryDirectory() as folder:
            measure(name, CASES[name], given.windows, given.fuzz, Path(folder), given.epochs)


if __name__ == "__main__":
    main()
