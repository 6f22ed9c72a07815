"""Whether a day of recording trains in little memory: ``python -m benchmarks.recording [folder]``.

Six persons, 12 channels at 100 Hz, one of them for 24 hours and the others for an hour each, once as npz and once as
CSV (1.6 GB in all, in a temporary folder below ``folder``, and half a GB per format of what is kept of them). For each
format, a WRN16-1 is trained for 100 steps with a Lightning Trainer in two fresh processes: one that reads the
recordings, one that finds them read. Printed are the seconds until the first step, those of the steps (and ten batches
of validation), and the peak of the resident memory.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

CHANNELS = [f"{place}_{sensor}_{axis}" for place in ("wrist", "hip") for sensor in ("acc", "gyro") for axis in "xyz"]
CLASSES = ("sitting", "standing", "walking", "running")
RATE, HOURS, STEPS, MOST = 100, {"s01": 24, "s02": 1, "s03": 1, "s04": 1, "s05": 1, "s06": 1}, 100, 2.0


def hour(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Signal ``(360000, 12)`` and class ``(360000,)`` of an hour in which the activity changes every minute."""
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.permutation(60) % len(CLASSES), 60 * RATE)
    seconds = np.arange(len(label)) / RATE
    size, pace = np.array([0.02, 0.05, 0.6, 1.5])[label], np.array([0.2, 0.3, 1.8, 2.7])[label]
    phase = 2 * np.pi * np.cumsum(pace) / RATE
    x = rng.normal(0, 0.1, (len(label), len(CHANNELS)))
    for c in range(len(CHANNELS)):
        x[:, c] += np.cos(c + label) + size * np.sin(phase + c) + 0.1 * np.sin(seconds / 600)
    return x.astype(np.float32).round(4), label


def write_npz(file: Path, x: np.ndarray, label: np.ndarray, hours: int) -> None:
    """One hour, so many times over, without ever being completely in memory."""
    words = np.array(CLASSES)[label]
    with zipfile.ZipFile(file, "w") as archive:
        for key, part in (("x", x), ("y", words)):
            head = {"descr": part.dtype.str, "fortran_order": False, "shape": (hours * len(part), *part.shape[1:])}
            with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(stream, head)
                for _ in range(hours):
                    stream.write(part.tobytes())


def write_csv(file: Path, x: np.ndarray, label: np.ndarray, hours: int) -> None:
    """The same as text."""
    rows = (",".join(f"{v:.4f}" for v in row) for row in x.tolist())
    text = "".join(f"{row},{CLASSES[k]}\n" for row, k in zip(rows, label.tolist(), strict=True))
    with file.open("w") as stream:
        stream.write(",".join([*CHANNELS, "label"]) + "\n")
        for _ in range(hours):
            stream.write(text)


def peak() -> float:
    """The most memory that this process has had, in GB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e9
    raise RuntimeError("no VmHWM in /proc/self/status: this is measured on Linux")


def train(root: Path, cache: Path) -> None:
    """Train, and print what it took as JSON."""
    begin = time.perf_counter()
    import lightning.pytorch as pl
    import torch

    import kdlab
    from kdlab.data import RecordingDataModule
    from kdlab.nets import WideResNet

    class Clock(pl.Callback):
        first = 0.0

        def on_train_batch_start(self, *_: object) -> None:
            self.first = self.first or time.perf_counter()

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    imported, clock = peak(), Clock()
    data = RecordingDataModule(
        root,
        channels=CHANNELS,
        window=200,
        step=100,
        sampling_rate=RATE,
        test_subjects=["s06"],
        val_subjects=["s04", "s05"],
        cache_dir=cache,
        seed=0,
    )
    net = WideResNet(16, 1, in_channels=len(CHANNELS), num_classes=len(CLASSES))
    trainer = pl.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=False,
        callbacks=[clock],
        limit_val_batches=10,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(kdlab.Supervised(net), data)
    end = time.perf_counter()
    print(
        json.dumps(
            {
                "windows": data.counts["train"]["windows"],
                "imported": imported,
                "peak": peak(),
                "first": clock.first - begin,
                "all": end - begin,
                "steps": trainer.global_step,
            }
        )
    )


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "train":
        return train(Path(sys.argv[2]), Path(sys.argv[3]))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        for kind, write in (("npz", write_npz), ("csv", write_csv)):
            (Path(folder) / kind).mkdir()
            for seed, (subject, hours) in enumerate(HOURS.items()):
                write(Path(folder) / kind / f"{subject}_day.{kind}", *hour(seed), hours)
        print(f"{'':24}{'to the first step':>20}{'100 steps':>12}{'peak memory':>14}{'after import':>14}")
        for kind in ("npz", "csv"):
            for state in ("read", "found read"):
                command = [sys.executable, "-m", "benchmarks.recording", "train", f"{folder}/{kind}", f"{folder}/kept"]
                answer = subprocess.run(command, capture_output=True, text=True)
                if answer.returncode:
                    raise SystemExit(answer.stderr)
                told = json.loads(answer.stdout.splitlines()[-1])
                verdict = "met" if told["peak"] < MOST and told["steps"] == STEPS else "MISSED"
                print(
                    f"{kind + ', ' + state:24}{told['first']:>18.0f} s{told['all'] - told['first']:>10.0f} s"
                    f"{told['peak']:>11.2f} GB{told['imported']:>11.2f} GB   {verdict}: below {MOST:g} GB, "
                    f"{told['windows']} training windows"
                )
    return None


if __name__ == "__main__":
    main()
