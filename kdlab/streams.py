"""Standard output and error that may be full, closed, or of an encoding that lacks a character."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from typing import Any


def never_refuse() -> None:
    """Print an escape for a character that the locale lacks (``ü``, ``±`` in a table), in place of an error."""
    for stream in _streams():
        if hasattr(stream, "reconfigure") and stream.errors in ("strict", "surrogateescape"):
            with suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def last_line(text: str) -> None:
    """Print a last line on standard error; what a full or closed stream cannot take is discarded."""
    for stream in _streams():
        try:
            if stream is sys.stderr:
                print(text, file=stream)
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def discard_output() -> None:
    """Discard what standard output cannot take, so that the interpreter's last flush does not fail."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _discard(sys.stdout)


def reader_is_gone() -> bool:
    """Whether the program that reads standard output or error through a pipe has ended."""
    for stream in _streams():
        try:
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
                return True
        except (OSError, ValueError, AttributeError):  # closed, replaced, or a system without poll
            continue
    return False


def _streams() -> list[Any]:
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def _discard(stream: Any) -> None:
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
