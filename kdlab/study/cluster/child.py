"""The process of a job that was given out: signals for the one that waits for it do not end it."""

from __future__ import annotations

import os
import signal
import threading
import time

#: as ``python -c``; the words of the command come after it
PROGRAM = "from kdlab.study.cluster.child import begin; begin(); from kdlab.cli import main; main()"
_OFTEN = 0.5  # seconds


def begin() -> None:
    """Leave the signal that announces the end of a job to the parent, and end with the parent, also if it was killed.

    The end of a parent shows by another parent in its place.
    """
    if hasattr(signal, "SIGUSR2"):
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_OFTEN)
    os._exit(1)
