"""How much memory the decoding of a long raw file takes, in parts of what is decoded.

Run ``KDLAB_DATA=... python -m benchmarks.long.device_memory``: writes a long .cwa, .bin and .gt3x from the short real
files and from random samples, decodes each in a process of its own and prints the peak. Takes a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.device_files import write_gt3x

MEASURE = """
import sys
from pathlib import Path
import numpy as np
import actfast, kdlab.data
from kdlab.data.recordings.raw import read_raw
from kdlab.data.recordings.book import Book
from kdlab.data.recordings.grid import Grid
from kdlab.data.recordings.reading import Reading
def resident(key):
    return next(int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith(key))
file = Path(sys.argv[1])
reading = Reading(Grid(rate=50.0, channels=("x", "y", "z")), None)
before = resident("VmRSS")
rows = sum(len(piece.label) for piece in read_raw(file, reading, Book("file"), Path(sys.argv[2])))
print(rows, resident("VmHWM") - before)
"""


def main() -> None:
    """Write, decode, print."""
    devices = Path(os.environ["KDLAB_DATA"]) / "devices"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        cwa = (devices / "ax6_testfile.cwa").read_bytes()
        (place / "a.cwa").write_bytes(cwa[:1024] + cwa[1024:] * 700)
        text = (devices / "GENEActiv_testfile.bin").read_bytes()
        begin, end, count = text.index(b"Recorded Data"), text.rindex(b"Recorded Data"), 16 * 900
        head = text[:begin].replace(b"Number of Pages:222048", f"Number of Pages:{count}".encode())
        (place / "a.bin").write_bytes(head + text[begin:end] * 900)
        write_gt3x(place / "a.gt3x", np.random.default_rng(0).integers(-500, 500, (3_000_000, 3)), rate=100)
        for name, width in (("a.cwa", 32), ("a.bin", 25), ("a.gt3x", 20)):
            out = subprocess.run(
                [sys.executable, "-c", MEASURE, str(place / name), folder], capture_output=True, text=True, check=True
            ).stdout.split()
            arrays = int(out[-2]) * width / 1e6
            print(f"{name}: {out[-2]} samples, arrays {arrays:.0f} MB, peak {float(out[-1]):.0f} MB above what was "
                  f"there before: {float(out[-1]) / arrays:.2f} times")  # fmt: skip


if __name__ == "__main__":
    main()
