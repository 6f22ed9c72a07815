"""What a user can do about an error: one line with the place, the reason and a remedy."""

from __future__ import annotations

import errno
import os
import re

from kdlab.files import one_line
from kdlab.types import InputError

_FULL = "Free some space, or write elsewhere (--root, --trainer.default_root_dir, --output, --out)"
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


def error_line(error: BaseException) -> str | None:
    """An error in one line, with a remedy; None for one that only a programmer can correct.

    >>> error_line(OSError(errno.ENAMETOOLONG, "File name too long", "runs/a"))
    "'runs/a': File name too long. Shorten the name."
    """
    text = _own_part(error)
    if isinstance(error, InputError):
        return text
    from lightning.fabric.utilities.exceptions import (
        MisconfigurationException,  # takes seconds, which help does without
    )

    if isinstance(error, MisconfigurationException):
        return text
    if _lacks_memory(error):
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was lacking, of the machine or of a GPU, for what failed or for what led to it.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("size must be at least 1"))
    (True, False)
    """
    cause: BaseException | None = error
    while cause is not None and not _lacks_memory(cause):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _lacks_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and _MEMORY.search(_own_part(error)) is not None
    )


def _own_part(error: BaseException) -> str:
    """The message of an error; of one that comes with the traceback of a loader's worker, the last part."""
    text = str(error)
    text = re.split(r"\n[\w.]+: ", text)[-1].strip() if "Original Traceback" in text else text
    return text if len(text) < 900 else f"{text[:600]} ... {text[-200:]}"  # a value in it may be of any length
