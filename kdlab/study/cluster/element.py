"""One element of an array: a command of a study in a process of its own, which can be cut and put back."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from kdlab.study.cluster.child import PROGRAM

GRACE = 15.0  # seconds that a command has to end in, before it is killed; less than submitit leaves a job
_OFTEN = 0.1
_running: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True)
class Element:
    """A ``kdlab`` command that submitit runs.

    A job that is pre-empted or runs out of time is ended as a SIGTERM ends it, and put back into the queue with the
    same command: what the study has done is kept, and the job that was cut begins again.

    Args:
        words: of the command, without ``kdlab``.
        folder: where it is run.
        gpu: of the machine, which it alone sees; None: those that its process sees.
        program: in Python, which reads the words.
        owner: a process of this machine with whose end the command ends, however that came; None: of no process.
    """

    words: tuple[str, ...]
    folder: str
    gpu: str | None = None
    program: str = PROGRAM
    owner: int | None = None

    def __call__(self) -> None:
        """Run the command.

        Raises:
            RuntimeError: it did not end well.
        """
        environment = dict(os.environ)
        if self.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        command = [sys.executable, "-c", self.program, *self.words]
        # in a session of its own: a signal for the job reaches the process that waits here, and that one ends it
        process = subprocess.Popen(command, cwd=self.folder, env=environment, start_new_session=True)
        _running.add(process)
        try:
            while not _has_ended(process.pid):
                if self.owner is not None and not _is_there(self.owner):
                    end(process)
                time.sleep(_OFTEN)
            status = process.wait()
        finally:
            end(process)
            _running.discard(process)
        if status:
            raise RuntimeError(f"{shlex.join(['kdlab', *self.words])} ended with status {status}; see above")

    def checkpoint(self) -> Any:
        """End the command, and hand over what to run when the job begins once more; submitit calls it."""
        from submitit.helpers import DelayedSubmission

        for process in list(_running):
            end(process)
        return DelayedSubmission(self)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started; kill what does not end in time.

    It may be called by a handler of a signal, while :meth:`Element.__call__` waits for the same process, so that it
    takes no lock of `subprocess`.
    """
    if process.returncode is not None or _has_ended(process.pid):
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.kill if number == signal.SIGTERM else os.killpg)(process.pid, number)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            if _has_ended(process.pid):
                return
            time.sleep(_OFTEN)


def _has_ended(pid: int) -> bool:
    """Whether a child process has ended, which stays to be waited for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # another user's process has its number
        return False
    return True
