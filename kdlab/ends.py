"""How a command ends: an exit status that shells and schedulers understand, and one line for what went wrong."""

from __future__ import annotations

import codecs
import locale
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from kdlab.remedies import error_line
from kdlab.streams import discard_output, last_line, never_refuse, reader_is_gone

#: exit statuses, as shells have them: 128 and the signal's number
INTERRUPTED, TERMINATED, CLOSED_PIPE = 130, 143, 141


@contextmanager
def ending() -> Iterator[None]:
    """Run a command: what it raises becomes an exit status and, where it is no fault of the program, one line.

    SIGTERM ends it with 143 and Ctrl-C with 130, what a user can correct with 1; a closed pipe is quiet.

    Raises:
        SystemExit: with the status; an error of another kind passes through, with its traceback.
    """
    never_refuse()
    received: list[int] = []
    with _on_sigterm(received):
        try:
            yield
            sys.stdout.flush()
        except KeyboardInterrupt:
            _end(INTERRUPTED, "interrupted (Ctrl-C).")
        except SystemExit as error:
            if _of_lightning(error):
                received.append(signal.SIGTERM)
            if not received:
                raise
        except BaseException as error:
            if isinstance(error, BrokenPipeError) and reader_is_gone():
                discard_output()
                raise SystemExit(CLOSED_PIPE) from None
            line = error_line(error)
            if line is None:
                raise
            _end(1, line)
    if received:
        _end(TERMINATED, "ended by SIGTERM.")


def restart_in_utf8(words: Sequence[str]) -> None:
    """Run this command in Python's UTF-8 mode, where the locale has another encoding.

    Then configs, run names and tables are UTF-8 everywhere, also in what other packages read and write.

    Args:
        words: of the command line; nothing is restarted unless this process was started with them.
    """
    if os.name != "posix" or sys.flags.utf8_mode or codecs.lookup(locale.getpreferredencoding(False)).name == "utf-8":
        return
    if words and sys.orig_argv[-len(words) :] == list(words):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def clarify(error: SystemExit) -> None:
    """Give an end by a signal its own status: Lightning exits with 0 after SIGTERM, and with 1 after Ctrl-C.

    Raises:
        KeyboardInterrupt: if that is behind it.
    """
    if _of_lightning(error):
        error.code = TERMINATED
    elif isinstance(error.__context__, KeyboardInterrupt):
        raise KeyboardInterrupt from error


@contextmanager
def _on_sigterm(received: list[int]) -> Iterator[None]:
    """End the process by an exception, so that what is half-written is removed; Lightning calls this handler too."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a forked worker
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        received.append(number)
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _of_lightning(error: SystemExit) -> bool:
    """Whether Lightning received SIGTERM; its exception is known only where Lightning is imported."""
    module = sys.modules.get("lightning.pytorch.utilities.exceptions")
    return module is not None and isinstance(error, module.SIGTERMException)


def _end(status: int, line: str) -> NoReturn:
    last_line(f"error: {line}")
    raise SystemExit(status)
