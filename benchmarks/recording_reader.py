"""How fast recordings are read, before and after a change: ``python -m benchmarks.recording_reader [folder]``.

Two folders of tables, three channels at 50 Hz and a label: 2,000 files of a minute, and 5 files of 24 hours (4.3
million rows each); each once without and once with a column of times (up to 0.9 GB at a time, in a temporary folder
below ``folder``). Both versions of kdlab read each folder in a fresh process, one after the other; with ``--times``
several times, of which the least counts. Printed are the seconds of processor time, their ratio, and the peak of the
resident memory above that after the imports.

The version before is unpacked from git: ``--before COMMIT``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
BEFORE, MOST, RATE = "2676dcb", 1.5, 50
FOLDERS = {"2,000 files of a minute": (2000, 1 / 60), "5 files of 24 hours": (5, 24.0)}


def write(folder: Path, files: int, hours: float, timed: bool) -> float:
    """Files of one person each; how many MB they have."""
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), int(hours * 3600 * RATE)
    first = folder / "s0000_day.csv"
    with first.open("w") as stream:
        stream.write(("time," if timed else "") + "x,y,z,label\n")
        for start in range(0, rows, 3600 * RATE):
            count = min(3600 * RATE, rows - start)
            table = rng.normal(0, 1, (count, 3)).round(4).tolist()
            stamps = (1_700_000_000 + (start + np.arange(count)) / RATE).tolist()
            for k, (t, (x, y, z)) in enumerate(zip(stamps, table, strict=True)):
                label = ("sitting", "standing", "walking")[k // 3000 % 3]
                stream.write((f"{t:.2f}," if timed else "") + f"{x:.4f},{y:.4f},{z:.4f},{label}\n")
    for k in range(1, files):
        shutil.copyfile(first, folder / f"s{k:04d}_day.csv")
    return files * first.stat().st_size / 1e6


def memory(key: str) -> float:
    """Of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no {key} in /proc/self/status: this is measured on Linux")


def read(folder: Path, cache: Path, timed: bool) -> None:
    """Read a folder, and print what it took as JSON."""
    from kdlab.data import RecordingDataModule

    data = RecordingDataModule(
        folder,
        channels=["x", "y", "z"],
        window=100,
        sampling_rate=RATE,
        pattern=r"(?P<subject>[^_]+)_.*",
        time="time" if timed else None,
        cache_dir=cache,
    )
    imported, begin = memory("VmRSS"), time.process_time()
    data.prepare_data()
    print(json.dumps({"seconds": time.process_time() - begin, "memory": memory("VmHWM") - imported}))


def measured(version: Path, folder: Path, timed: bool, times: int) -> dict[str, float]:
    """The least seconds and the most memory with one version of kdlab."""
    found = []
    script = version / "reader_of_this_version.py"
    script.write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    for _ in range(times):
        with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
            command = [sys.executable, str(script), "--read", str(folder), "--cache", cache, *(["--timed"] * timed)]
            environment = {**os.environ, "PYTHONPATH": str(version)}
            answer = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=version)
            if answer.returncode:
                raise SystemExit(answer.stderr)
            found.append(json.loads(answer.stdout.splitlines()[-1]))
    return {"seconds": min(f["seconds"] for f in found), "memory": max(f["memory"] for f in found)}


def unpacked(commit: str, target: Path) -> Path:
    """kdlab as it was."""
    answer = subprocess.run(["git", "archive", commit, "kdlab"], capture_output=True, cwd=ROOT)
    if answer.returncode:
        raise SystemExit(f"--before {commit}: {answer.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as archive:
        archive.extractall(target, filter="data")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", help="where the temporary folder is made")
    parser.add_argument("--before", default=BEFORE, help="commit to compare with")
    parser.add_argument("--times", type=int, default=1, help="how often each is read")
    parser.add_argument("--small", action="store_true", help="a hundredth of the data")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--timed", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read is not None:
        return read(given.read, given.cache, given.timed)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; before: {given.before}")
    print(f"{'':42}{'before':>10}{'after':>10}{'ratio':>8}{'memory':>22}")
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        before = unpacked(given.before, Path(place) / "before")
        after = Path(place) / "after"
        shutil.copytree(ROOT / "kdlab", after / "kdlab", ignore=shutil.ignore_patterns("__pycache__"))
        for name, (files, hours) in FOLDERS.items():
            for timed in (False, True):
                folder = Path(place) / "data"
                parts = (max(2, files // 100), hours) if given.small and files > 5 else (files, hours)
                parts = (parts[0], hours / 100) if given.small and files == 5 else parts
                size = write(folder, *parts, timed)
                old, new = (measured(version, folder, timed, given.times) for version in (before, after))
                ratio = new["seconds"] / old["seconds"]
                title = f"{name}{', with times' * timed} ({size:.0f} MB)"
                print(
                    f"{title:42}{old['seconds']:>8.1f} s{new['seconds']:>8.1f} s{ratio:>8.2f}"
                    f"{old['memory']:>9.0f} -> {new['memory']:.0f} MB   "
                    f"{'met' if ratio <= MOST else 'MISSED'}: at most {MOST:g}",
                    flush=True,
                )
                shutil.rmtree(folder)
    return None


if __name__ == "__main__":
    main()
