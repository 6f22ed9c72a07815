"""Replay a recording through a trained student, and print what it decides: ``python examples/stream.py RUN RECORDING``.

The recording is a CSV, or a file of a wrist device (GENEActiv ``.bin``, Axivity ``.cwa``, ActiGraph ``.gt3x``, with
``pip install actfast``). Its samples are pushed in pieces, as a sensor would give them::

    python examples/stream.py runs/shoulder_watch/student walk.csv --time time --hop 50 --smooth 3 --dwell 2
    python examples/stream.py student.so night.cwa --trust --columns x y z --rate found
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import kdlab
from kdlab.stream import Decision, Stream, Student

DEVICES = (".bin", ".cwa", ".gt3x")
AXES = {"acceleration": ("x", "y", "z"), "gyroscope": ("gx", "gy", "gz")}


def parser() -> argparse.ArgumentParser:
    """The options."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("student", help="run folder, checkpoint, exported file or compiled C form")
    words.add_argument("recording", type=Path)
    words.add_argument("--columns", nargs="+", help="of the recording, for the student's channels, in their order")
    words.add_argument("--factor", type=float, default=1.0, help="of all values: 0.0174533 makes rad/s of deg/s")
    words.add_argument("--time", help="column of the time stamps of a CSV; without it samples come at --rate")
    words.add_argument("--time-unit", default="s")
    words.add_argument("--rate", help="of the samples, hertz, or 'found'; default: the student's")
    words.add_argument("--hop", type=int, help="samples from one window to the next; default: no overlap")
    words.add_argument("--smooth", type=int, default=1, help="windows whose probabilities are averaged")
    words.add_argument("--dwell", type=float, default=0.0, help="seconds before the stable decision changes")
    words.add_argument("--piece", type=int, default=50, help="samples that are pushed at a time")
    words.add_argument("--card", help="of a compiled C form")
    words.add_argument("--name", help="of a compiled C form")
    words.add_argument("--trust", action="store_true", help="load a compiled C form, which is code")
    words.add_argument("--all", action="store_true", help="print every window, not only changes")
    return words


def columns_of(file: Path, stamp: str | None) -> tuple[pd.DataFrame, Any]:
    """The values of a recording by column, and its time stamps (None: it has none)."""
    if file.suffix.lower() not in DEVICES:
        table = pd.read_csv(file)
        return table, None if stamp is None else table[stamp].to_numpy()
    import actfast

    rows = actfast.read(str(file))["timeseries"]["high_frequency"]
    found = {
        name: rows[sensor][:, k] for sensor, names in AXES.items() if sensor in rows for k, name in enumerate(names)
    }
    return pd.DataFrame(found), rows["datetime"]


def replay(stream: Stream, times: Any, samples: np.ndarray, piece: int) -> Iterator[Decision]:
    """Push a recording piece by piece."""
    for at in range(0, len(samples), piece):
        part = slice(at, at + piece)
        yield from stream.push(None if times is None else times[part], samples[part])
    yield from stream.end()


def lines(decisions: Sequence[Decision], every: bool) -> Iterator[str]:
    """Each stretch of one stable decision, or every window."""
    if every:
        for one in decisions:
            top = "" if one.probabilities is None else f"{max(one.probabilities):.2f}"
            yield f"{one.start:.2f} {one.end:.2f} {one.prediction or one.reason} {top} stable: {one.stable or '-'}"
        return
    for state, part in groupby(decisions, key=lambda one: one.reason or one.stable or "-"):
        stretch = list(part)
        yield f"{stretch[0].start:.2f} to {stretch[-1].end:.2f} s: {state} ({len(stretch)} windows)"


def main(words: Sequence[str] | None = None) -> list[Decision]:
    """Replay and print. Returns the decisions."""
    given = parser().parse_args(words)
    student: Student = kdlab.load(given.student, card=given.card, name=given.name, trust=given.trust)
    reads = [f"{name} ({unit or 'unit not known'})" for name, unit in zip(student.channels, student.units, strict=True)]
    print(f"{', '.join(student.classes)}; reads {', '.join(reads)} at {student.sampling_rate} Hz")
    table, times = columns_of(given.recording, given.time)
    device = given.recording.suffix.lower() in DEVICES
    stream = Stream(
        student,
        hop=given.hop,
        recorded_at="found" if given.rate == "found" else None if given.rate is None else float(given.rate),
        time_unit="ns" if device else given.time_unit,
        smooth=given.smooth,
        dwell=given.dwell,
    )
    samples = table[list(given.columns or student.channels)].to_numpy(np.float64) * given.factor
    begin = time.perf_counter()
    decisions = list(replay(stream, times, samples, given.piece))
    took = time.perf_counter() - begin
    print("\n".join(lines(decisions, given.all)))
    print(f"{stream.report.line()}; {stream.decided} windows decided, {stream.undecided} not; {took:.2f} s")
    return decisions


if __name__ == "__main__":
    main()
