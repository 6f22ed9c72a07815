"""How a study ends early: a signal raises `Ended`, which no job may take for a failure of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lightning.pytorch.utilities.exceptions import SIGTERMException

from kdlab.remedies import error_line
from kdlab.streams import last_line, reader_is_gone
from kdlab.types import InputError

_KEPT = "What is done is kept: run the same command again, or name another folder with --root"
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_seen: list[int] = []
_deferred = 0


class Ended(BaseException):
    """A signal ended the study. It is no `Exception`, so that what recovers from errors lets it pass.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status, as shells count it.

        >>> Ended(signal.SIGTERM).status, Ended(signal.SIGINT).status
        (143, 130)
        """
        return 128 + self.signum


def end_of(error: BaseException) -> Ended | None:
    """The signal behind what a job raised; None where it is a failure of the job.

    Lightning turns a SIGTERM into a `SystemExit` of its own and a Ctrl-C into ``SystemExit(1)``.
    """
    if isinstance(error, Ended):
        return error
    if isinstance(error, SIGTERMException):
        return Ended(signal.SIGTERM)
    cut = isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt)
    )
    return Ended(signal.SIGINT) if cut else None


@contextmanager
def ending_by_signals() -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP raise `Ended`; one that is ignored (``nohup``) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _seen.clear()
    old = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in old.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _seen.clear()


@contextmanager
def ending(what: str) -> Iterator[None]:
    """Within the block signals end a study: with one line, and with their status.

    Args:
        what: ends, for the line.

    Raises:
        InputError: a file cannot be written.
        SystemExit: with the status of the signal.
    """
    try:
        with ending_by_signals():
            yield
    except InputError:
        raise
    except OSError as error:
        if isinstance(error, BrokenPipeError) and reader_is_gone():  # kdlab study FILE --list | head
            raise
        raise InputError(f"kdlab study: {error_line(error)} {_KEPT}.") from error
    except (KeyboardInterrupt, SystemExit, Ended) as error:
        if (end := end_of(error)) is None:
            raise
        last_line(f"error: {signal.Signals(end.signum).name} ended the {what}; the same command resumes it.")
        sys.exit(end.status)


def _raise(signum: int, frame: FrameType | None) -> None:
    _seen.append(signum)
    if not _deferred:
        raise Ended(signum)


def check() -> None:
    """Raise `Ended` where a signal came, also where what ran then swallowed the exception."""
    if _seen:
        raise Ended(_seen[0])


@contextmanager
def deferred() -> Iterator[None]:
    """Within the block signals wait; a Ctrl-C does not reach the processes that it starts, their parent ends them."""
    global _deferred
    masks = hasattr(signal, "pthread_sigmask")
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    _deferred += 1
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        _deferred -= 1
    check()


def end_worker_by_signals() -> None:
    """In a worker process: a Ctrl-C is for the study alone; SIGTERM and SIGHUP end the job, then the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _SIGNALS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


_working = False


@contextmanager
def working() -> Iterator[None]:
    """In a worker process: within the block a signal raises `Ended`, outside it the process ends without more."""
    global _working
    _working = True
    try:
        yield
    finally:
        _working = False


def _leave(signum: int, frame: FrameType | None) -> None:
    _seen.append(signum)
    if _working:
        raise Ended(signum)
    os._exit(128 + signum)


def leave(end: Ended) -> None:
    """End a worker process whose job was cut, and what the job's loggers started."""
    with contextlib.suppress(Exception):
        if (wandb := sys.modules.get("wandb")) is not None:
            wandb.teardown(end.status)
    os._exit(end.status)
