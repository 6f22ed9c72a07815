"""How many threads each job of a study computes with: chosen by a fixed rule, so that results do not depend on load."""

from __future__ import annotations

import os

import torch

from kdlab.types import InputError


def threads_of(given: int | None) -> tuple[int | None, str]:
    """The threads of every job, and a line that says so.

    The nets of sensor windows are small, and threads wait for each other by spinning, which takes long on busy cores.
    So a job has one, and ``--jobs`` uses the cores. The number neither depends on the load nor on ``--jobs``, because
    it may change the last bits of a sum.

    Args:
        given: ``--threads``.

    Returns:
        The number, and a line to print. None where there is a GPU, whose jobs share the cores.

    Raises:
        InputError: it is less than 1.
    """
    if given is not None:
        if given < 1:
            raise InputError(f"--threads: must be at least 1, but got {given}. Raise it.")
        return given, f"threads: {given} per job (--threads)"
    if os.environ.get("OMP_NUM_THREADS"):
        found = torch.get_num_threads()
        return found, f"threads: {found} per job (OMP_NUM_THREADS)"
    if torch.cuda.is_available():
        return None, "threads: the cores are shared by the jobs, each on a GPU; --threads chooses"
    return 1, "threads: 1 per job; --threads chooses another number, --jobs runs several at a time"


def use(threads: int | None) -> None:
    """Compute with so many threads in this process; None changes nothing."""
    if threads is not None:
        torch.set_num_threads(threads)
