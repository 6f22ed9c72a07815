"""Jobs that found no memory beside others: they wait for these to end, and are run again alone, once."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import torch

from kdlab.files import read_text
from kdlab.types import InputError

_LACKED = re.compile(r"MemoryError|out of memory|can't allocate memory|not enough memory", re.IGNORECASE)


class NoMemory(str):
    """The reason of a failure, where memory was lacking, of the machine or of a GPU."""


def again_line(name: str) -> str:
    """What is printed of a job that found no memory.

    >>> again_line("kd/seed0")
    'kd/seed0: out of memory beside other jobs; it waits for them, and is run again alone (fewer --jobs avoid this)'
    """
    return (
        f"{name}: out of memory beside other jobs; it waits for them, and is run again alone (fewer --jobs avoid this)"
    )


def lacked(folder: Path) -> bool:
    """Whether the job of a folder wrote down that it found no memory."""
    try:
        return _LACKED.search(read_text(folder / "error.txt", "error.txt")) is not None
    except InputError:
        return False


def release() -> None:
    """Give back the memory of the GPU that this process holds and does not use, which the jobs of others may need."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()
