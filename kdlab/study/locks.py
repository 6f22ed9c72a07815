"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kdlab.types import InputError

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

LOCK = ".study.lock"  # of a study's folder
_WITHOUT = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # file systems without locks
_held: set[IO[str]] = set()


@contextmanager
def alone(path: Path, where: str, what: str) -> Iterator[None]:
    """Hold a lock within the block.

    Args:
        path: the lock's file, in a folder that exists; it stays, and has no effect while no process holds it.
        where: what is held, for the message.
        what: what kind of thing it is.

    Raises:
        InputError: another process holds it.
    """
    with path.open("a+", encoding="utf-8") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{where}: another process runs this {what}{_holder(lock)}. Wait for it to end, or end it."
                ) from None
            except OSError as error:
                if error.errno not in _WITHOUT:
                    raise
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        _held.add(lock)
        try:
            yield
        finally:
            _held.discard(lock)


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    text = lock.read(200).strip()
    return f" ({text})" if text.startswith("process ") and text.isprintable() else ""


def _let_go() -> None:
    """A forked process (a loader's worker) would hold the lock after the death of the one that took it."""
    for lock in _held:
        os.close(lock.fileno())
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
