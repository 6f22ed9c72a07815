"""How a command ends: an exit status that shells and schedulers understand, and one line for what went wrong."""

from __future__ import annotations

import codecs
import errno
import locale
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TextIO

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException

from kdlab.files import one_line
from kdlab.types import InputError

#: exit statuses, as shells have them: 128 and the signal's number
INTERRUPTED, TERMINATED, CLOSED_PIPE = 130, 143, 141

_FULL = "Free some space, or write elsewhere (--trainer.default_root_dir, --output, --out)"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: "Check the permissions, or name another place",
    errno.EPERM: "Check the permissions, or name another place",
    errno.EROFS: "Name a place that can be written",
    errno.ENOTDIR: "A folder is needed there: name another place",
    errno.EEXIST: "A folder is needed there: name another place",
    errno.EISDIR: "A file is needed there: name another place",
    errno.ENOENT: "Name a file or folder that exists",
    errno.ENAMETOOLONG: "Shorten the name",
    errno.EMFILE: "Raise the limit (ulimit -n), or lower num_workers",
    errno.ENOMEM: "Lower batch_size or num_workers, or close other programs",
}
_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|Cannot allocate memory", re.IGNORECASE)
_WORKER = re.compile(r"DataLoader worker|shared memory|/torch_\d|bus error|unable to (?:write|open|mmap|resize)", re.I)


@contextmanager
def ending() -> Iterator[None]:
    """Run a command: what it raises becomes an exit status and, where it is no fault of the program, one line.

    SIGTERM ends it with 143 and Ctrl-C with 130, what a user can mend with 1; a pipe that its reader closed is quiet.

    Raises:
        SystemExit: with the status; an error of another kind passes through, with its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        _never_refuse(stream)
    received: list[int] = []
    with _on_sigterm(received):
        try:
            yield
            sys.stdout.flush()
        except KeyboardInterrupt:
            _end(INTERRUPTED, "interrupted (Ctrl-C).")
        except SIGTERMException:
            received.append(signal.SIGTERM)
        except SystemExit:
            if not received:
                raise
        except BaseException as error:
            if isinstance(error, BrokenPipeError) and _reader_is_gone():
                _discard_output()
                raise SystemExit(CLOSED_PIPE) from None
            line = said(error)
            if line is None:
                raise
            if isinstance(error, OSError) and error.filename is None:
                _discard_output()  # it may be standard output that is full, and Python flushes it once more
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


def said(error: BaseException) -> str | None:
    """What an error says in one line, with a remedy; None for one that only a programmer can mend.

    >>> said(OSError(errno.ENAMETOOLONG, "File name too long", "runs/a"))
    "'runs/a': File name too long. Shorten the name."
    """
    text = _own_part(error)
    if isinstance(error, InputError | MisconfigurationException):
        return text
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and _MEMORY.search(text)
    ):
        return f"out of memory ({one_line(text)}). Lower batch_size or num_workers, or use a smaller net or view."
    if isinstance(error, RuntimeError) and _WORKER.search(text):
        return (
            f"num_workers: a worker process of the data loader ended ({one_line(text)}). Lower num_workers or "
            "batch_size, set num_workers=0, or give the machine more shared memory (/dev/shm) or memory."
        )
    if isinstance(error, UnicodeError):
        return (
            f"the locale's encoding cannot hold a name ({one_line(text)}). Set PYTHONUTF8=1, or a UTF-8 locale such "
            "as LC_ALL=C.UTF-8."
        )
    if isinstance(error, OSError):
        place = repr(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else "a file of this run"
        remedy = _REMEDIES.get(error.errno or 0, "Check that the place exists and can be read and written")
        return f"{place}: {one_line(error.strerror or text)}. {remedy}."
    return None


def clarify(error: SystemExit) -> None:
    """Tell an end by a signal from others: Lightning exits with 0 after SIGTERM, and with 1 after Ctrl-C.

    Raises:
        KeyboardInterrupt: if that is behind it.
    """
    if isinstance(error, SIGTERMException):
        error.code = TERMINATED
    elif isinstance(error.__context__, KeyboardInterrupt):
        raise KeyboardInterrupt from error


def _own_part(error: BaseException) -> str:
    """What an error says; of one from a loader's worker, which comes with the worker's traceback, its last part."""
    text = str(error)
    text = re.split(r"\n[\w.]+: ", text)[-1].strip() if "Original Traceback" in text else text
    return text if len(text) < 900 else f"{text[:600]} ... {text[-200:]}"  # a value in it may be of any length


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


def _end(status: int, line: str) -> NoReturn:
    with suppress(OSError):  # nobody reads it
        print(f"error: {line}", file=sys.stderr, flush=True)
    raise SystemExit(status)


def _never_refuse(stream: TextIO | Any) -> None:
    """In a locale without umlauts, print an escape instead of ending with an error."""
    if stream is not None and hasattr(stream, "reconfigure") and stream.errors in ("strict", "surrogateescape"):
        with suppress(OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")


def _reader_is_gone() -> bool:
    """Has the program that standard output or error is piped to ended?"""
    for stream in (sys.stdout, sys.stderr):
        try:
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
                return True
        except (OSError, ValueError, AttributeError):  # closed, replaced, or a system without poll
            continue
    return False


def _discard_output() -> None:
    """Let the interpreter's last flush go nowhere, if standard output cannot take it."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
