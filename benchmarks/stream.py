"""Windows per second and latency of a student in each form: ``python -m benchmarks.stream [RUN] [--library SO]``.

The student is that of a run on ShoulderWatch, or without one an untrained WRN16-1 on its gyroscope (4 s at 50 Hz). For
each form are printed: windows per second of ``predict`` with 100 windows at once, milliseconds of one window, and of a
stream with one decision per second: microseconds of processor time per sample where samples come one by one, the
longest push, microseconds per sample where 50 come at a time, and by how much that is faster than the sensor. Then the
recordings of the test people are replayed, and the decisions compared with those on the windows of the data module. One
thread.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

import kdlab
import kdlab.export
from kdlab.data import ShoulderWatch
from kdlab.data.shoulder_watch import ARMS, LABELS, find_file, read_recordings
from kdlab.evaluate import trust
from kdlab.export import FORMATS
from kdlab.methods.checkpoints import KEPT_FILES, find_checkpoint
from kdlab.nets import WideResNet
from kdlab.stream import Student
from kdlab.views import Raw

CHANNELS = [f"{sensor}_{axis}" for sensor in ("accelerometer", "gyroscope") for axis in "xyz"]
TITLES = ("windows/s", "ms/window", "us/sample, 1", "longest push, ms", "us/sample, 50", "x real time")
HEAD = f"{'form':>14} " + " ".join(f"{title:>16}" for title in TITLES)


def forms(run: str | None, wanted: Sequence[str], folder: Path) -> tuple[dict[str, Student], ShoulderWatch]:
    """The student in each form, and its data module."""
    found: dict[str, Student] = {}
    if run is None:
        pl.seed_everything(0)
        data: Any = ShoulderWatch(sensors="gyroscope", views={"raw": Raw()})
        source: Any = WideResNet(16, 1, in_channels=3, num_classes=7).eval()
    else:
        source = find_checkpoint(run, KEPT_FILES, "RUN")
        config = trust.config_beside(source)
        assert config is not None, f"no config.yaml beside {source}"
        data = trust.data_module(config)
        found["checkpoint"] = kdlab.load(source)
    data.setup()
    for form in wanted:
        format, quantize = ("onnx", "int8") if form == "int8" else (form, None)
        place = folder / f"{form.replace('.', '_')}{FORMATS[format]}"
        found[form] = kdlab.load(kdlab.export.export(source, data, place, format=format, quantize=quantize).path)
    return found, data


def once(function: Any, seconds: float) -> float:
    """Seconds of a call: the median of those that fit into a time, at least three."""
    took: list[float] = []
    while len(took) < 3 or sum(took) < seconds:
        begin = time.perf_counter()
        function()
        took.append(time.perf_counter() - begin)
    return float(np.median(took))


def pushed(student: Student, recording: np.ndarray, piece: int) -> tuple[float, float]:
    """Processor seconds of a recording that is pushed, with a decision per second, and seconds of the longest push."""
    rate, longest = float(student.sampling_rate or 1), 0.0
    stream, used = kdlab.Stream(student, hop=int(rate)), time.process_time()
    for k in range(0, len(recording), piece):
        part = recording[k : k + piece]
        begin = time.perf_counter()
        stream.push((k + np.arange(len(part))) / rate, part)
        longest = max(longest, time.perf_counter() - begin)
    return time.process_time() - used, longest


def measure(student: Student, windows: np.ndarray, recording: np.ndarray, seconds: float) -> list[float]:
    """The figures of a row, in the order of `HEAD`."""
    rate = float(student.sampling_rate or 1)
    student.predict(windows[:1])
    per_window = once(lambda: student.predict(windows[0]), seconds)
    per_second = len(windows) / once(lambda: student.predict(windows), seconds)
    (one, longest), (many, _), count = pushed(student, recording, 1), pushed(student, recording, 50), len(recording)
    return [per_second, 1e3 * per_window, 1e6 * one / count, 1e3 * longest, 1e6 * many / count, count / (rate * many)]


def replayed(student: Student, data: ShoulderWatch) -> tuple[int, int, float, float]:
    """Decisions on the test people's recordings: how many, how many as on the windows, largest difference, accuracy."""
    recordings = read_recordings(find_file().read_bytes(), "seglearn")
    index = next(iter(data.batches("test", 10**6))).index.numpy()
    names, physical = np.asarray(data.data.recording)[index], np.asarray(data.data.windows["raw"][index])
    own = data.channels["raw"]
    count, same, largest, right = 0, 0, 0.0, 0
    for x, y, who, arm in zip(*(recordings[key] for key in ("X", "y", "subject", "side")), strict=True):
        label = str(recordings["y_labels"][int(y)])
        mine = names == f"{int(who)}-{ARMS[int(arm)]}-{label}"
        if not mine.any():
            continue
        stream = kdlab.Stream(student, hop=data.step, channels=CHANNELS)
        decisions = [*stream.push(None, x), *stream.end()]
        expected = student.probabilities(physical[mine], channels=own)
        found = np.array([one.probabilities for one in decisions])
        count, largest = count + len(found), max(largest, float(np.abs(found - expected).max()))
        same += int((found.argmax(1) == expected.argmax(1)).sum())
        right += sum(one.prediction == label for one in decisions)
    return count, same, largest, right / count


def main(words: Sequence[str] | None = None) -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("run", nargs="?")
    given.add_argument("--forms", nargs="*", default=["torch", "torch.export", "onnx", "int8"])
    given.add_argument("--library", help="a compiled C form, with its card beside it")
    given.add_argument("--quick", action="store_true", help="sizes whose figures mean nothing")
    options = given.parse_args(words)
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    try:
        students, data = forms(options.run, options.forms, folder)
        if options.library:
            students["c"] = kdlab.load(options.library, trust=True)
        recording = np.asarray(read_recordings(find_file().read_bytes(), "seglearn")["X"][0])
        assert recording.shape[1] == len(LABELS)
        print(f"{platform.processor() or platform.machine()}, one thread\n{HEAD}")
        for form, student in students.items():
            places = [CHANNELS.index(name) for name in student.channels]
            rows = recording[: 400 if options.quick else None, places]
            windows = np.stack([rows[k : k + student.shape[1]].T for k in range(0, 100)])
            figures = measure(student, windows, rows, 0.01 if options.quick else 2.0)
            print(f"{form:>14} " + " ".join(f"{figure:16.4g}" for figure in figures))
        late = kdlab.Stream(student).latency
        print(f"a decision needs samples of at most {late:.3f} s after the last one of its window")
        for form, student in students.items():
            count, same, largest, accuracy = replayed(student, data)
            print(
                f"{form}: {count} decisions on the test people's recordings, {same} as on the windows (probabilities "
                f"within {largest:.1g}), accuracy {100 * accuracy:.1f} %"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
