"""Autocast and its absence, for what half precision would make wrong or a device does not have in it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

#: Kinds of devices that autocast knows, found once: the compiler of older versions of torch (2.9) cannot trace how.
KINDS = frozenset(
    kind
    for kind in ("cpu", "cuda", "hpu", "ipu", "maia", "mps", "mtia", "privateuseone", "xla", "xpu")
    if torch.amp.is_autocast_available(kind)
)


def is_on(kind: str) -> bool:
    """Whether autocast is enabled on a kind of device; not on one that it does not know, such as ``"meta"``.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     is_on("cpu"), is_on("meta")
        (True, False)
    """
    return kind in KINDS and torch.is_autocast_enabled(kind)


def off(kind: str) -> AbstractContextManager[object]:
    """Disable autocast within a block; nothing where it is not on, so that exported programs hold no trace of it.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), off("cpu"):
        ...     is_on("cpu")
        False
    """
    return torch.autocast(kind, enabled=False) if is_on(kind) else nullcontext()
